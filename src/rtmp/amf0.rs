//! AMF0 (Action Message Format, 2007): the values of commands.
//!
//! A reader of what real encoders write: arrays with a wrong count, objects that end with the message,
//! types nobody uses. What was read before the damage stands; only depth and number are errors.

use super::error::ErrorKind;
use bytes::{BufMut, BytesMut};

/// Values within values; protects the stack. Real commands have three levels.
pub(super) const DEPTH_MAX: usize = 32;
/// Values of one message; protects memory, as a value of one byte becomes one of 32. Real commands have under 50.
pub(super) const VALUES_MAX: usize = 4096;

/// A value. Types that no command needs are read over and are [`Value::Other`].
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Value {
    Number(f64),
    Boolean(bool),
    String(String),
    /// An object, a typed object or an ECMA array: encoders use them for each other.
    Object(Vec<(String, Value)>),
    Array(Vec<Value>),
    Null,
    Other,
}

impl Value {
    pub(super) fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// The properties of an object; none of anything else.
    pub(super) fn properties(&self) -> &[(String, Value)] {
        match self {
            Self::Object(properties) => properties,
            _ => &[],
        }
    }

    /// The property called `name`, in any case of letters.
    pub(super) fn get(&self, name: &str) -> Option<&Value> {
        let found = self
            .properties()
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value)
    }
}

/// Reads the values of a message, up to its end or to damage.
pub(super) fn decode(bytes: &[u8]) -> Result<Vec<Value>, ErrorKind> {
    let mut decoder = Decoder {
        rest: bytes,
        values: 0,
        damaged: false,
    };
    let mut values = Vec::new();
    while !decoder.damaged && !decoder.rest.is_empty() {
        values.extend(decoder.value(0)?);
    }
    Ok(values)
}

struct Decoder<'a> {
    rest: &'a [u8],
    values: usize,
    damaged: bool,
}

impl<'a> Decoder<'a> {
    /// The next value. `None`: damage, and nothing of it can be used.
    fn value(&mut self, depth: usize) -> Result<Option<Value>, ErrorKind> {
        if depth >= DEPTH_MAX {
            return Err(ErrorKind::AmfDepth { max: DEPTH_MAX });
        }
        self.values = self.values.saturating_add(1);
        if self.values > VALUES_MAX {
            return Err(ErrorKind::AmfValues { max: VALUES_MAX });
        }
        let Some(&[marker]) = self.take() else {
            return Ok(None);
        };
        Ok(match marker {
            0x00 => self
                .take()
                .map(|bytes| Value::Number(f64::from_be_bytes(*bytes))),
            0x01 => self.take().map(|[byte]| Value::Boolean(*byte != 0)),
            0x02 => self.short_string().map(Value::String),
            0x03 => Some(Value::Object(self.properties(depth)?)),
            0x05 => Some(Value::Null),
            // undefined, unsupported
            0x06 | 0x0d => Some(Value::Other),
            // reference
            0x07 => self.take::<2>().map(|_| Value::Other),
            // ECMA array: its count is a hint, and often wrong
            0x08 => match self.take::<4>() {
                Some(_) => Some(Value::Object(self.properties(depth)?)),
                None => None,
            },
            0x0a => self.strict_array(depth)?,
            // date: milliseconds and a time zone
            0x0b => self.take::<10>().map(|_| Value::Other),
            0x0c => self.long_string().map(|text| Value::String(lossy(text))),
            // XML document
            0x0f => self.long_string().map(|_| Value::Other),
            // typed object
            0x10 => match self.short_string() {
                Some(_) => Some(Value::Object(self.properties(depth)?)),
                None => None,
            },
            0x11 => self.amf3(),
            _ => {
                self.damaged = true;
                None
            }
        })
    }

    /// Properties up to the end mark, or as many as there are.
    fn properties(&mut self, depth: usize) -> Result<Vec<(String, Value)>, ErrorKind> {
        let mut properties = Vec::new();
        while !self.rest.is_empty() && !self.damaged {
            let Some(name) = self.short_string() else {
                break;
            };
            if name.is_empty() && self.rest.first() == Some(&0x09) {
                self.take::<1>();
                break;
            }
            if let Some(value) = self.value(depth.saturating_add(1))? {
                properties.push((name, value));
            }
        }
        Ok(properties)
    }

    fn strict_array(&mut self, depth: usize) -> Result<Option<Value>, ErrorKind> {
        let Some(count) = self.take::<4>() else {
            return Ok(None);
        };
        let count = u32::from_be_bytes(*count) as usize;
        let mut values = Vec::new();
        while values.len() < count && !self.rest.is_empty() {
            match self.value(depth.saturating_add(1))? {
                Some(value) => values.push(value),
                None => break,
            }
        }
        self.damaged |= values.len() < count;
        Ok(Some(Value::Array(values)))
    }

    /// One AMF3 value (marker 0x11 switches for one value). Scalars only: no encoder was seen to send more.
    fn amf3(&mut self) -> Option<Value> {
        let &[marker] = self.take()?;
        match marker {
            0x00 => Some(Value::Other),
            0x01 => Some(Value::Null),
            0x02 => Some(Value::Boolean(false)),
            0x03 => Some(Value::Boolean(true)),
            0x04 => self.u29().map(|number| {
                // 29 bits, signed
                let sign = if number & (1 << 28) != 0 {
                    f64::from(1 << 29)
                } else {
                    0.0
                };
                Value::Number(f64::from(number) - sign)
            }),
            0x05 => self
                .take()
                .map(|bytes| Value::Number(f64::from_be_bytes(*bytes))),
            0x06 => {
                let head = self.u29()?;
                if head & 1 == 0 {
                    return Some(Value::Other);
                }
                self.slice((head >> 1) as usize)
                    .map(|text| Value::String(lossy(text)))
            }
            _ => {
                self.damaged = true;
                None
            }
        }
    }

    /// AMF3's number of one to four bytes.
    fn u29(&mut self) -> Option<u32> {
        let mut number = 0u32;
        for _ in 0..3 {
            let &[byte] = self.take()?;
            number = (number << 7) | u32::from(byte & 0x7f);
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        let &[byte] = self.take()?;
        Some((number << 8) | u32::from(byte))
    }

    fn short_string(&mut self) -> Option<String> {
        let len = u16::from_be_bytes(*self.take()?);
        self.slice(len.into()).map(lossy)
    }

    fn long_string(&mut self) -> Option<&'a [u8]> {
        let len = u32::from_be_bytes(*self.take()?);
        self.slice(len as usize)
    }

    fn take<const N: usize>(&mut self) -> Option<&'a [u8; N]> {
        let Some((taken, rest)) = self.rest.split_first_chunk() else {
            self.damaged = true;
            return None;
        };
        self.rest = rest;
        Some(taken)
    }

    fn slice(&mut self, len: usize) -> Option<&'a [u8]> {
        let Some((taken, rest)) = self.rest.split_at_checked(len) else {
            self.damaged = true;
            return None;
        };
        self.rest = rest;
        Some(taken)
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

/// Appends values to a message.
#[derive(Default)]
pub(super) struct Encoder {
    out: BytesMut,
}

impl Encoder {
    /// A command begins: its name and the number of the call it belongs to.
    pub(super) fn command(name: &str, transaction: f64) -> Self {
        Self::default().string(name).number(transaction)
    }

    pub(super) fn number(mut self, number: f64) -> Self {
        self.out.put_u8(0x00);
        self.out.put_f64(number);
        self
    }

    pub(super) fn string(mut self, text: &str) -> Self {
        match u16::try_from(text.len()) {
            Ok(len) => {
                self.out.put_u8(0x02);
                self.out.put_u16(len);
            }
            Err(_) => {
                self.out.put_u8(0x0c);
                self.out
                    .put_u32(u32::try_from(text.len()).unwrap_or(u32::MAX));
            }
        }
        self.out.put_slice(text.as_bytes());
        self
    }

    pub(super) fn null(mut self) -> Self {
        self.out.put_u8(0x05);
        self
    }

    pub(super) fn undefined(mut self) -> Self {
        self.out.put_u8(0x06);
        self
    }

    /// An object, whose properties `fill` appends.
    pub(super) fn object(mut self, fill: impl FnOnce(Self) -> Self) -> Self {
        self.out.put_u8(0x03);
        let mut this = fill(self);
        this.out.put_slice(&[0, 0, 0x09]);
        this
    }

    /// A strict array of strings.
    pub(super) fn strings(mut self, texts: &[&str]) -> Self {
        self.out.put_u8(0x0a);
        self.out
            .put_u32(u32::try_from(texts.len()).unwrap_or(u32::MAX));
        texts.iter().fold(self, |this, text| this.string(text))
    }

    /// The name of the next property of an object.
    pub(super) fn name(mut self, name: &str) -> Self {
        self.out.put_u16(u16::try_from(name.len()).unwrap_or(0));
        self.out.put_slice(name.as_bytes());
        self
    }

    pub(super) fn finish(self) -> BytesMut {
        self.out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn string(text: &str) -> Value {
        Value::String(text.to_owned())
    }

    #[test]
    fn values_of_every_type_are_read_or_read_over() {
        let check = |bytes: &[u8], expected: &[Value]| {
            assert_eq!(decode(bytes).unwrap(), expected, "{bytes:02x?}");
            let with_more = [bytes, &[0x05]].concat();
            let mut expected = expected.to_vec();
            expected.push(Value::Null);
            assert_eq!(
                decode(&with_more).unwrap(),
                expected,
                "and null: {bytes:02x?}"
            );
        };
        check(b"\0\x40\x59\0\0\0\0\0\0", &[Value::Number(100.0)]);
        check(
            b"\x01\x01\x01\0",
            &[Value::Boolean(true), Value::Boolean(false)],
        );
        check(b"\x02\0\x04live", &[string("live")]);
        check(b"\x02\0\x02\xff\xfe", &[string("\u{fffd}\u{fffd}")]);
        check(b"\x0c\0\0\0\x04live", &[string("live")]);
        let app = Value::Object(vec![("app".into(), string("x"))]);
        check(
            b"\x03\0\x03app\x02\0\x01x\0\0\x09",
            std::slice::from_ref(&app),
        );
        // ECMA arrays with a count of 0 and of 4 billion hold what they hold.
        check(
            b"\x08\0\0\0\0\0\x03app\x02\0\x01x\0\0\x09",
            std::slice::from_ref(&app),
        );
        check(
            b"\x08\xff\xff\xff\xff\0\x03app\x02\0\x01x\0\0\x09",
            std::slice::from_ref(&app),
        );
        check(b"\x10\0\x01C\0\x03app\x02\0\x01x\0\0\x09", &[app]);
        check(
            b"\x0a\0\0\0\x02\x05\x02\0\x01x",
            &[Value::Array(vec![Value::Null, string("x")])],
        );
        check(
            b"\x06\x0d\x07\0\x01",
            &[Value::Other, Value::Other, Value::Other],
        );
        check(b"\x0b\0\0\0\0\0\0\0\0\0\x09", &[Value::Other]);
        check(b"\x0f\0\0\0\x03<a>", &[Value::Other]);
        // A name and a number with 0x09 in them do not end an object.
        let tab = Value::Object(vec![(
            "\t".into(),
            Value::Number(f64::from_bits(0x0900_0900_0900_0900)),
        )]);
        check(b"\x03\0\x01\t\0\x09\0\x09\0\x09\0\x09\0\0\0\x09", &[tab]);
        // AMF3 scalars, each behind the marker that switches for one value.
        check(
            b"\x11\x03\x11\x04\x81\x00",
            &[Value::Boolean(true), Value::Number(128.0)],
        );
        check(b"\x11\x04\xff\xff\xff\xff", &[Value::Number(-1.0)]);
        check(b"\x11\x06\x09live", &[string("live")]);
    }

    /// Envivio's encoders end the connect object with the message.
    #[test]
    fn envivio_leaves_objects_open() {
        let values =
            decode(b"\x02\0\x07connect\0\x3f\xf0\0\0\0\0\0\0\x03\0\x03app\x02\0\x04live").unwrap();
        assert_eq!(values[2].get("app").unwrap().as_str(), Some("live"));
        // And what is cut within a value keeps the values before it.
        let values = decode(b"\x03\0\x03app\x02\0\x04live\0\x05tcUrl\x02\0\xffrtmp").unwrap();
        assert_eq!(values[0].get("app").unwrap().as_str(), Some("live"));
    }

    #[test]
    fn bombs_are_refused() {
        let nested = b"\x0a\0\0\0\x01".repeat(10_000);
        assert_eq!(
            decode(&nested).unwrap_err(),
            ErrorKind::AmfDepth { max: DEPTH_MAX }
        );
        let nested = b"\x03\0\x01a".repeat(10_000);
        assert_eq!(
            decode(&nested).unwrap_err(),
            ErrorKind::AmfDepth { max: DEPTH_MAX }
        );
        let many = [5; VALUES_MAX + 1];
        assert_eq!(
            decode(&many).unwrap_err(),
            ErrorKind::AmfValues { max: VALUES_MAX }
        );
        assert_eq!(decode(&many[1..]).unwrap().len(), VALUES_MAX);
        // Four billion elements, of which one is there.
        let claim = decode(b"\x0a\xff\xff\xff\xff\x05").unwrap();
        assert_eq!(claim, [Value::Array(vec![Value::Null])]);
        // 64 KiB of name.
        let long = [&b"\x03\xff\xff"[..], &[b'k'; 65535], b"\x05\0\0\x09"].concat();
        assert_eq!(decode(&long).unwrap()[0].properties()[0].0.len(), 65535);
    }

    #[test]
    fn what_is_written_is_read() {
        let long = "x".repeat(70_000);
        let bytes = Encoder::command("_result", 2.0)
            .null()
            .undefined()
            .object(|o| {
                o.name("code")
                    .string("NetConnection")
                    .name("list")
                    .strings(&["avc1", "hvc1"])
            })
            .string(&long)
            .finish();
        let expected = [
            string("_result"),
            Value::Number(2.0),
            Value::Null,
            Value::Other,
            Value::Object(vec![
                ("code".into(), string("NetConnection")),
                (
                    "list".into(),
                    Value::Array(vec![string("avc1"), string("hvc1")]),
                ),
            ]),
            string(&long),
        ];
        assert_eq!(decode(&bytes).unwrap(), expected);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(
            prop_oneof![0u8..0x12, any::<u8>()], 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
