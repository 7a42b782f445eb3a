//! NAL units: how they are delimited, in ropes without copying, and how their payload is unescaped.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use crate::media::{Rope, Unit};
use bytes::Bytes;
use smallvec::SmallVec;

/// NAL units in one access unit at most. Real pictures have one for each slice, macroblock row or
/// tile and a few messages; beyond this the list itself would be the load.
pub const UNITS_MAX: usize = 4096;

/// A NAL unit where it lies, with the first byte of its header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NalUnit {
    /// Its place.
    pub unit: Unit,
    /// The byte that holds its type.
    pub header: u8,
}

/// The NAL units of an access unit; no allocation for the usual number.
pub type NalUnits = SmallVec<[NalUnit; 8]>;

/// Why an access unit cannot be split. Offsets count from the beginning of the rope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SplitError {
    /// A length field that reaches beyond the end, or is itself cut off.
    Overrun {
        /// Where the length field begins.
        offset: u32,
    },
    /// More than [`UNITS_MAX`] units.
    TooMany,
}

/// How many bytes a length field has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LengthSize {
    /// 8-bit lengths.
    One,
    /// 16-bit lengths.
    Two,
    /// 32-bit lengths, what all encoders send.
    Four,
}

impl LengthSize {
    /// From lengthSizeMinusOne (ISO 14496-15 §5.3.3.1.2); 2 is not allowed there.
    pub const fn from_minus_one(value: u8) -> Option<Self> {
        match value & 3 {
            0 => Some(Self::One),
            1 => Some(Self::Two),
            3 => Some(Self::Four),
            _ => None,
        }
    }

    /// Bytes of the field.
    pub const fn bytes(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Four => 4,
        }
    }
}

/// Splits the access unit in `rope[at..end]`, in whichever of the two forms it is.
///
/// Some encoders write start codes (ITU-T H.264 annex B) where lengths belong. `00 00 00 01` is a
/// possible length, of a unit with one byte; so lengths are believed if they lead exactly to the end.
pub fn split(
    rope: &Rope,
    at: usize,
    end: usize,
    length_size: LengthSize,
) -> Result<NalUnits, SplitError> {
    let mut first = [0; 4];
    let _ = Cursor::new(rope, at, end).peek(&mut first);
    let start_code = matches!(first, [0, 0, 1, _] | [0, 0, 0, 1]);
    if start_code && length_size != LengthSize::Four {
        return split_annex_b(rope, at, end);
    }
    match split_lengths(rope, at, end, length_size) {
        Err(SplitError::Overrun { .. }) if start_code => split_annex_b(rope, at, end),
        split => split,
    }
}

/// Splits units that stand behind length fields (ISO 14496-15 §5.3.4.2).
///
/// Empty units are passed over, zero bytes at the end of a unit or of the whole are left out.
pub fn split_lengths(
    rope: &Rope,
    at: usize,
    end: usize,
    length_size: LengthSize,
) -> Result<NalUnits, SplitError> {
    let mut units = NalUnits::new();
    let mut cursor = Cursor::new(rope, at, end);
    while cursor.left() > 0 {
        let offset = cursor.at;
        let overrun = SplitError::Overrun {
            offset: to_u32(offset),
        };
        let mut field = [0; 4];
        let size = length_size.bytes();
        let low_bytes = field.get_mut(4_usize.saturating_sub(size)..);
        if cursor.read(low_bytes.unwrap_or_default()) < size {
            // Padding behind the last unit is no damage.
            if field == [0; 4] {
                break;
            }
            return Err(overrun);
        }
        let len = u32::from_be_bytes(field) as usize;
        if len > cursor.left() {
            return Err(overrun);
        }
        push_trimmed(&mut units, &mut cursor, len)?;
    }
    Ok(units)
}

/// Splits units that stand behind start codes (ITU-T H.264 annex B).
pub fn split_annex_b(rope: &Rope, at: usize, end: usize) -> Result<NalUnits, SplitError> {
    let mut units = NalUnits::new();
    let mut begin: Option<Cursor<'_>> = None;
    let mut zeros: usize = 0;
    let mut cursor = Cursor::new(rope, at, end);
    while let Some(byte) = cursor.next_byte() {
        if byte == 1 && zeros >= 2 {
            let code = zeros.min(3).saturating_add(1);
            if let Some(mut unit) = begin.take() {
                let len = cursor.at.saturating_sub(code).saturating_sub(unit.at);
                push_trimmed(&mut units, &mut unit, len)?;
            }
            begin = Some(cursor.clone());
        }
        zeros = if byte == 0 {
            zeros.saturating_add(1)
        } else {
            0
        };
    }
    if let Some(mut unit) = begin {
        let len = unit.left();
        push_trimmed(&mut units, &mut unit, len)?;
    }
    Ok(units)
}

/// Adds the unit of `len` bytes at the cursor, without trailing zero bytes, and moves behind it.
fn push_trimmed(
    units: &mut NalUnits,
    cursor: &mut Cursor<'_>,
    len: usize,
) -> Result<(), SplitError> {
    let offset = cursor.at;
    let begin = cursor.clone();
    let mut trimmed = len;
    cursor.skip(len.saturating_sub(1));
    if len > 0 && cursor.next_byte() == Some(0) {
        trimmed = begin.clone().len_without_trailing_zeros(len);
    }
    let header = begin.clone().next_byte().unwrap_or_default();
    if trimmed == 0 {
        return Ok(());
    }
    if units.len() >= UNITS_MAX {
        return Err(SplitError::TooMany);
    }
    units.push(NalUnit {
        unit: Unit {
            offset: to_u32(offset),
            len: to_u32(trimmed),
        },
        header,
    });
    Ok(())
}

/// The bytes of a unit of at most `max` bytes in one piece; `None` if it is longer.
pub fn unit_bytes(rope: &Rope, unit: Unit, max: usize) -> Option<Bytes> {
    let len = unit.len as usize;
    (len <= max).then(|| rope.slice(unit.offset as usize, len).to_bytes())
}

/// Removes emulation prevention bytes: `00 00 03` stands for `00 00` (ITU-T H.264 §7.4.1.1).
pub fn unescape(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut zeros = 0_u8;
    for &byte in bytes {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 {
            zeros.saturating_add(1)
        } else {
            0
        };
        out.push(byte);
    }
    out
}

/// Walks over the payload types of an SEI unit (ITU-T H.264 §7.3.2.3.1, H.265 §7.3.5) that begins
/// behind its unit header of `header_len` bytes. Looks at the first `SEI_BYTES_MAX` bytes.
pub fn sei_has_payload(rope: &Rope, unit: Unit, header_len: usize, wanted: u32) -> bool {
    const SEI_BYTES_MAX: usize = 4096;
    let len = (unit.len as usize).min(SEI_BYTES_MAX);
    let bytes = unescape(&rope.slice(unit.offset as usize, len).to_bytes());
    let mut rest = bytes.get(header_len..).unwrap_or_default();
    // 0x80 alone is the stop bit behind the last message.
    while rest.len() > 1 {
        let Some(payload_type) = sei_number(&mut rest) else {
            return false;
        };
        if payload_type == wanted {
            return true;
        }
        let Some(size) = sei_number(&mut rest) else {
            return false;
        };
        rest = rest.get(size as usize..).unwrap_or_default();
    }
    false
}

/// A payload type or size: as many 0xff as it holds, then the rest.
fn sei_number(rest: &mut &[u8]) -> Option<u32> {
    let mut value: u32 = 0;
    loop {
        let (&byte, tail) = rest.split_first()?;
        *rest = tail;
        value = value.saturating_add(u32::from(byte));
        if byte != 0xff {
            return Some(value);
        }
    }
}

/// Offsets fit: a rope that is split here is one tag, at most 16 MiB.
fn to_u32(value: usize) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

/// A place in a rope that only moves forward, so that a walk costs one pass over the slices.
#[derive(Clone)]
struct Cursor<'a> {
    /// What is left of the slice it stands in.
    head: &'a [u8],
    tail: std::slice::Iter<'a, Bytes>,
    at: usize,
    end: usize,
}

impl<'a> Cursor<'a> {
    fn new(rope: &'a Rope, at: usize, end: usize) -> Self {
        let mut cursor = Self {
            head: &[],
            tail: rope.slices().iter(),
            at: 0,
            end: end.min(rope.len()),
        };
        cursor.skip(at);
        cursor
    }

    const fn left(&self) -> usize {
        self.end.saturating_sub(self.at)
    }

    fn next_byte(&mut self) -> Option<u8> {
        let mut byte = [0];
        (self.read(&mut byte) == 1).then_some(byte[0])
    }

    fn peek(&self, out: &mut [u8]) -> usize {
        self.clone().read(out)
    }

    /// Copies to `out` and moves behind; returns how many bytes there were.
    fn read(&mut self, out: &mut [u8]) -> usize {
        let wanted = out.len().min(self.left());
        let mut done: usize = 0;
        while done < wanted {
            let piece = self.piece(wanted.saturating_sub(done));
            if piece.is_empty() {
                break;
            }
            let next = done.saturating_add(piece.len());
            if let Some(target) = out.get_mut(done..next) {
                target.copy_from_slice(piece);
            }
            done = next;
        }
        done
    }

    fn skip(&mut self, count: usize) {
        let mut left = count.min(self.left());
        while left > 0 {
            let piece = self.piece(left);
            if piece.is_empty() {
                break;
            }
            left = left.saturating_sub(piece.len());
        }
    }

    /// At most `max` bytes of the slice it stands in, empty only at the end; moves behind them.
    fn piece(&mut self, max: usize) -> &'a [u8] {
        while self.head.is_empty() {
            match self.tail.next() {
                Some(slice) => self.head = slice,
                None => return &[],
            }
        }
        let (piece, rest) = self.head.split_at_checked(max).unwrap_or((self.head, &[]));
        self.head = rest;
        self.at = self.at.saturating_add(piece.len());
        piece
    }

    fn len_without_trailing_zeros(mut self, len: usize) -> usize {
        let mut kept: usize = 0;
        let mut seen: usize = 0;
        while seen < len {
            let piece = self.piece(len.saturating_sub(seen));
            if piece.is_empty() {
                break;
            }
            if let Some(last) = piece.iter().rposition(|&byte| byte != 0) {
                kept = seen.saturating_add(last).saturating_add(1);
            }
            seen = seen.saturating_add(piece.len());
        }
        kept
    }
}

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::tests::hex;
    use proptest::prelude::*;

    fn rope(bytes: &[u8], cuts: usize) -> Rope {
        let mut rope = Rope::new();
        for piece in bytes.chunks(cuts.max(1)) {
            rope.push(Bytes::copy_from_slice(piece));
        }
        rope
    }

    /// Splits in every partition into slices of one length and gives the units as hexadecimal text.
    fn check(name: &str, bytes: &str, size: LengthSize, expected: Result<&[&str], SplitError>) {
        let bytes = hex(bytes);
        for cuts in 1..=bytes.len() {
            let rope = rope(&bytes, cuts);
            let units = split(&rope, 0, rope.len(), size).map(|units| {
                let text = |unit: &NalUnit| {
                    let bytes = unit_bytes(&rope, unit.unit, 100).unwrap();
                    assert_eq!(bytes.first(), Some(&unit.header));
                    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
                };
                units.iter().map(text).collect::<Vec<String>>()
            });
            let expected =
                expected.map(|units| units.iter().map(|unit| (*unit).to_owned()).collect());
            assert_eq!(units, expected, "{name}, slices of {cuts}");
        }
    }

    #[test]
    fn units_behind_length_fields() {
        use LengthSize::{Four, One, Two};
        let overrun = |offset| Err(SplitError::Overrun { offset });
        check(
            "two",
            "00000002 0601 00000003 658884".replace(' ', "").as_str(),
            Four,
            Ok(&["0601", "658884"]),
        );
        check(
            "lengths of 2",
            "000206010003658884",
            Two,
            Ok(&["0601", "658884"]),
        );
        check(
            "lengths of 1",
            "02060103658884",
            One,
            Ok(&["0601", "658884"]),
        );
        check("one byte", "0000000109", Four, Ok(&["09"]));
        check(
            "empty ones",
            "00000000000000020601000000000000000165",
            Four,
            Ok(&["0601", "65"]),
        );
        check(
            "trailing zeros",
            "00000005658800000000000002060000000000",
            Four,
            Ok(&["6588", "06"]),
        );
        check("only zeros", "00000005000000000000", Four, Ok(&[]));
        check("padding", "0000000265880000", Four, Ok(&["6588"]));
        check("beyond the end", "000000036588", Four, overrun(0));
        check(
            "beyond the end, second",
            "0000000265880000000a4188",
            Four,
            overrun(6),
        );
        check("length cut off", "0000000265880001", Four, overrun(6));
        check("4 GiB", "ffffffff6588", Four, overrun(0));
    }

    #[test]
    fn units_behind_start_codes() {
        use LengthSize::{Four, Two};
        check(
            "4 bytes",
            "000000010601000000016588",
            Four,
            Ok(&["0601", "6588"]),
        );
        check(
            "3 bytes",
            "0000010601000001658800",
            Four,
            Ok(&["0601", "6588"]),
        );
        check(
            "lengths of 2 announced",
            "0000000165880102",
            Two,
            Ok(&["65880102"]),
        );
        check(
            "a unit of one byte is no start code",
            "000000010a000000024188",
            Four,
            Ok(&["0a", "4188"]),
        );
        check(
            "empty ones",
            "0000000100000001000000016588",
            Four,
            Ok(&["6588"]),
        );
    }

    #[test]
    fn the_number_of_units_is_bounded() {
        let bytes = [0, 0, 0, 1, 0x41].repeat(UNITS_MAX + 1);
        let split = |count: usize| {
            let end = count * 5;
            split_lengths(&rope(&bytes, 4096), 0, end, LengthSize::Four).map(|units| units.len())
        };
        assert_eq!(split(UNITS_MAX), Ok(UNITS_MAX));
        assert_eq!(split(UNITS_MAX + 1), Err(SplitError::TooMany));
    }

    #[test]
    fn escapes() {
        let check = |escaped: &str, raw: &str| assert_eq!(unescape(&hex(escaped)), hex(raw));
        check("000003", "0000");
        check("00000300000301", "0000000001");
        check("0003000003", "00030000");
        check("00000303", "000003");
    }

    #[test]
    fn payloads_of_messages() {
        let check = |unit: &str, wanted, expected| {
            let bytes = hex(unit);
            let unit = Unit {
                offset: 0,
                len: bytes.len() as u32,
            };
            let found = sei_has_payload(&rope(&bytes, 3), unit, 1, wanted);
            assert_eq!(found, expected, "{bytes:02x?} {wanted}");
        };
        // picture timing (1), then recovery point (6)
        check("060101320601c480", 6, true);
        check("0601013280", 6, false);
        check("06ff0a01aa80", 10, false);
        check("06ff0a01aa80", 265, true);
        check("0605ff", 6, false);
        check("06", 6, false);
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_units_lie_within(
            bytes in prop::collection::vec(prop_oneof![0..3_u8, any::<u8>()], 0..100),
            cuts in 1..20_usize,
            at in 0..10_usize,
            end in 0..110_usize,
        ) {
            for size in [LengthSize::One, LengthSize::Two, LengthSize::Four] {
                let cut = rope(&bytes, cuts);
                let units = split(&cut, at, end, size);
                prop_assert_eq!(&units, &split(&rope(&bytes, 100), at, end, size));
                let mut last = at as u32;
                for NalUnit { unit, .. } in units.unwrap_or_default() {
                    prop_assert!(unit.len > 0 && unit.offset >= last);
                    last = unit.offset + unit.len;
                    prop_assert!(last as usize <= end.min(bytes.len()));
                    sei_has_payload(&cut, unit, 1, 6);
                }
            }
        }
    }
}
