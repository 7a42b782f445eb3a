//! `onMetaData`: what an encoder says of itself.
//!
//! For information only. Tracks, sizes and rates come from the bitstream, because encoders
//! announce AVC while sending HEVC, sizes of 0 and rates of infinity. Reads AMF0 (Adobe, 2007) with
//! bounds of its own and forgives whatever it does not understand.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use crate::media::Rope;
use bytes::Bytes;

/// What the encoder claims. Numbers are finite and positive, texts short and printable.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Metadata {
    /// The software that sends, for example `obs-output module (libobs version 30.0.2)`.
    pub encoder: Option<String>,
    /// Claimed width in pixels.
    pub width: Option<u32>,
    /// Claimed height in pixels.
    pub height: Option<u32>,
    /// Claimed frames per second.
    pub frame_rate: Option<f64>,
    /// Claimed video rate in kbit/s.
    pub video_kbps: Option<f64>,
    /// Claimed audio rate in kbit/s.
    pub audio_kbps: Option<f64>,
    /// Claimed length in seconds, of a file.
    pub duration_s: Option<f64>,
    /// Claimed size in bytes, of a file.
    pub file_size: Option<u64>,
}

/// Bytes of a data tag that are read; OBS sends some 500, custom fields can be anything.
const METADATA_BYTES_MAX: usize = 64 * 1024;
/// Characters of a text that are kept.
const TEXT_CHARS_MAX: usize = 256;
/// How deep values may stand within values.
const DEPTH_MAX: u32 = 8;

impl Metadata {
    /// Reads the body of a data tag; `None` if it is no `onMetaData`. What cannot be read ends the
    /// reading, what was read before it is kept.
    pub fn parse(body: &Rope) -> Option<Self> {
        let bytes: Bytes = body.slice(0, METADATA_BYTES_MAX).to_bytes();
        let mut reader = Reader { rest: &bytes };
        let mut name = reader.name()?;
        // The command by which an RTMP publisher makes the server keep it.
        if name == b"@setDataFrame" {
            name = reader.name()?;
        }
        if name != b"onMetaData" {
            return None;
        }
        let mut metadata = Self::default();
        let _ = reader.properties(&mut metadata);
        Some(metadata)
    }

    fn set(&mut self, key: &[u8], value: &Value<'_>) {
        match key {
            b"encoder" => self.encoder = value.text(),
            b"width" => self.width = value.whole(),
            b"height" => self.height = value.whole(),
            b"framerate" => self.frame_rate = value.number(),
            b"videodatarate" => self.video_kbps = value.number(),
            b"audiodatarate" => self.audio_kbps = value.number(),
            b"duration" => self.duration_s = value.number(),
            b"filesize" => self.file_size = value.number().map(|number| number as u64),
            _ => {}
        }
    }
}

/// A value of AMF0, as far as it is of interest.
enum Value<'a> {
    Number(f64),
    Text(&'a [u8]),
    Other,
}

impl Value<'_> {
    /// Finite and positive; texts are read as numbers, because some encoders send them so.
    fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Text(text) => std::str::from_utf8(text).ok()?.trim().parse().ok()?,
            Self::Other => return None,
        };
        (number.is_finite() && number > 0.0).then_some(number)
    }

    fn whole(&self) -> Option<u32> {
        let number = self.number()?;
        (number >= 1.0 && number <= f64::from(u32::MAX)).then_some(number as u32)
    }

    fn text(&self) -> Option<String> {
        let Self::Text(text) = self else {
            return None;
        };
        let text: String = String::from_utf8_lossy(text)
            .chars()
            .filter(|char| !char.is_control())
            .take(TEXT_CHARS_MAX)
            .collect();
        (!text.is_empty()).then_some(text)
    }
}

/// Reads AMF0 (Adobe AMF0 specification §2) from the front; `None` wherever it ends or is not understood.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*head)
    }

    fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(head)
    }

    fn short_text(&mut self) -> Option<&'a [u8]> {
        let len = u16::from_be_bytes(self.take()?);
        self.bytes(usize::from(len))
    }

    /// A string value.
    fn name(&mut self) -> Option<&'a [u8]> {
        match self.take()? {
            [STRING] => self.short_text(),
            _ => None,
        }
    }

    /// The properties of an object or ECMA array, into `metadata`.
    fn properties(&mut self, metadata: &mut Metadata) -> Option<()> {
        match self.take()? {
            [OBJECT] => {}
            [ECMA_ARRAY] => {
                // The count is only a hint (§2.10); the end mark counts.
                self.take::<4>()?;
            }
            _ => return None,
        }
        loop {
            let key = self.short_text()?;
            let [marker] = self.take()?;
            if marker == OBJECT_END {
                return Some(());
            }
            let value = self.value(marker, 0)?;
            metadata.set(key, &value);
        }
    }

    fn value(&mut self, marker: u8, depth: u32) -> Option<Value<'a>> {
        if depth > DEPTH_MAX {
            return None;
        }
        match marker {
            NUMBER => return Some(Value::Number(f64::from_be_bytes(self.take()?))),
            STRING => return self.short_text().map(Value::Text),
            LONG_STRING | XML => {
                let len = u32::from_be_bytes(self.take()?);
                return self.bytes(len as usize).map(Value::Text);
            }
            BOOLEAN => {
                self.take::<1>()?;
            }
            NULL | UNDEFINED | UNSUPPORTED => {}
            REFERENCE => {
                self.take::<2>()?;
            }
            DATE => {
                self.take::<10>()?;
            }
            OBJECT | ECMA_ARRAY | TYPED_OBJECT => self.skip_properties(marker, depth)?,
            STRICT_ARRAY => {
                for _ in 0..u32::from_be_bytes(self.take()?) {
                    let [marker] = self.take()?;
                    self.value(marker, depth.saturating_add(1))?;
                }
            }
            _ => return None,
        }
        Some(Value::Other)
    }

    fn skip_properties(&mut self, marker: u8, depth: u32) -> Option<()> {
        match marker {
            ECMA_ARRAY => {
                self.take::<4>()?;
            }
            TYPED_OBJECT => {
                self.short_text()?;
            }
            _ => {}
        }
        loop {
            self.short_text()?;
            let [marker] = self.take()?;
            if marker == OBJECT_END {
                return Some(());
            }
            self.value(marker, depth.saturating_add(1))?;
        }
    }
}

const NUMBER: u8 = 0x00;
const BOOLEAN: u8 = 0x01;
const STRING: u8 = 0x02;
const OBJECT: u8 = 0x03;
const NULL: u8 = 0x05;
const UNDEFINED: u8 = 0x06;
const REFERENCE: u8 = 0x07;
const ECMA_ARRAY: u8 = 0x08;
const OBJECT_END: u8 = 0x09;
const STRICT_ARRAY: u8 = 0x0a;
const DATE: u8 = 0x0b;
const LONG_STRING: u8 = 0x0c;
const UNSUPPORTED: u8 = 0x0d;
const XML: u8 = 0x0f;
const TYPED_OBJECT: u8 = 0x10;

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(text: &str) -> Vec<u8> {
        [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
    }

    fn string(value: &str) -> Vec<u8> {
        [&[STRING][..], &text(value)].concat()
    }

    fn number(value: f64) -> Vec<u8> {
        [&[NUMBER][..], &value.to_be_bytes()].concat()
    }

    fn object(start: &[u8], properties: &[(&str, Vec<u8>)]) -> Vec<u8> {
        let mut out = start.to_vec();
        for (key, value) in properties {
            out.extend(text(key));
            out.extend(value);
        }
        out.extend([0, 0, OBJECT_END]);
        out
    }

    fn parse(pieces: &[Vec<u8>]) -> Option<Metadata> {
        Metadata::parse(&Bytes::from(pieces.concat()).into())
    }

    #[test]
    fn names_and_containers() {
        let properties = || {
            vec![
                ("width", number(1280.0)),
                ("stereo", vec![BOOLEAN, 1]),
                ("encoder", string("Lavf63.1.102")),
            ]
        };
        let expected = Metadata {
            width: Some(1280),
            encoder: Some("Lavf63.1.102".to_owned()),
            ..Metadata::default()
        };
        let array = object(&[ECMA_ARRAY, 0, 0, 0, 99], &properties());
        let plain = object(&[OBJECT], &properties());
        let check = |pieces: &[Vec<u8>], expected: Option<&Metadata>| {
            assert_eq!(parse(pieces).as_ref(), expected);
        };
        let (set, name) = (string("@setDataFrame"), string("onMetaData"));
        check(&[set.clone(), name.clone(), array.clone()], Some(&expected));
        check(&[name.clone(), plain], Some(&expected));
        check(std::slice::from_ref(&name), Some(&Metadata::default()));
        check(&[name, array[..array.len() - 2].to_vec()], Some(&expected));
        check(&[string("@clearDataFrame"), string("onMetaData")], None);
        check(&[string("onCuePoint"), array], None);
        check(&[set], None);
        check(&[], None);
    }

    #[test]
    fn values_that_are_no_use_never_leave() {
        let check = |key: &str, value: Vec<u8>, expected: Metadata| {
            let seen = parse(&[string("onMetaData"), object(&[OBJECT], &[(key, value)])]);
            assert_eq!(seen, Some(expected), "{key}");
        };
        let none = Metadata::default;
        for useless in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.0, -25.0] {
            check("framerate", number(useless), none());
            check("width", number(useless), none());
        }
        check("width", number(1e300), none());
        check("framerate", string("NaN"), none());
        check("framerate", string("1e999"), none());
        check("encoder", number(1.0), none());
        check("encoder", string(""), none());
        check(
            "framerate",
            string(" 29.97 "),
            Metadata {
                frame_rate: Some(29.97),
                ..none()
            },
        );
        check(
            "encoder",
            string(&("a\r\nb\0".to_owned() + &"ü".repeat(1000))),
            Metadata {
                encoder: Some("ab".to_owned() + &"ü".repeat(TEXT_CHARS_MAX - 2)),
                ..none()
            },
        );
        check(
            "custom",
            object(&[TYPED_OBJECT, 0, 1, b'x'], &[("a", vec![NULL])]),
            none(),
        );
    }

    #[test]
    fn depth_and_size_are_bounded() {
        let nest = |depth| {
            let deep = [STRICT_ARRAY, 0, 0, 0, 1].repeat(depth);
            let value = [deep, vec![NULL]].concat();
            let properties = [("a", value), ("width", number(16.0))];
            parse(&[string("onMetaData"), object(&[OBJECT], &properties)])
                .unwrap()
                .width
        };
        assert_eq!(nest(DEPTH_MAX as usize), Some(16));
        assert_eq!(nest(DEPTH_MAX as usize + 1), None);
        assert_eq!(nest(10_000), None);
        let long = [vec![LONG_STRING, 0, 1, 0, 0], vec![b'a'; 0x1_0000]].concat();
        let properties = [
            ("height", number(16.0)),
            ("a", long),
            ("width", number(16.0)),
        ];
        let seen = parse(&[string("onMetaData"), object(&[OBJECT], &properties)]).unwrap();
        assert_eq!((seen.height, seen.width), (Some(16), None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(prop_oneof![0..17_u8, any::<u8>()], 0..200)) {
            let _ = parse(&[string("onMetaData"), vec![OBJECT], bytes.clone()]);
            let _ = parse(&[bytes]);
        }
    }
}
