//! Reading of what codecs say of themselves: parameter sets, configuration records, frame headers.
//!
//! Pure and bounded: every reader takes bytes that a stranger wrote and returns a value or an
//! [`Error`]. Knows nothing of the container the bytes came in.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

pub mod bits;
pub mod nal;

pub mod h264;
pub mod h265;

pub mod aac;
pub mod mp3;

use bytes::Bytes;
use nal::LengthSize;

/// Width or height beyond which a picture is taken for damage: the largest side that level 6.2
/// allows (ITU-T H.264 §A.3.1, H.265 §A.4.1: the square root of eight times the picture size).
pub const DIMENSION_MAX: u32 = 16_888;

/// What keeps a header from being read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// It ends before it is complete.
    #[error("it ends early")]
    Truncated,
    /// A field has a value that the standard does not allow.
    #[error("{0}")]
    Invalid(&'static str),
    /// A size or count is beyond the named limit.
    #[error("more than {0}")]
    Limit(&'static str),
    /// It is sound, but describes something that we cannot carry.
    #[error("{0} is not supported")]
    Unsupported(String),
}

impl Error {
    /// A fixed text, for counters that must not keep what a stranger wrote.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Truncated => "it ends early",
            Self::Invalid(reason) | Self::Limit(reason) => reason,
            Self::Unsupported(_) => "not supported",
        }
    }
}

/// Bytes of all parameter sets of one stream at most. Real ones need some hundred.
pub const PARAMETER_SETS_BYTES_MAX: usize = 64 * 1024;
/// Number of parameter sets of one stream at most; H.264 has ids for 32 SPS and 256 PPS.
pub const PARAMETER_SETS_MAX: usize = 320;

/// What an AVC or HEVC decoder configuration record holds (ISO 14496-15 §5.3.3.1, §8.3.3.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ParameterRecord {
    /// Length fields before the NAL units of the samples.
    pub length_size: LengthSize,
    /// Parameter sets in the order of the record, without start codes. May be empty.
    pub parameter_sets: Vec<Bytes>,
}

/// Splits parameter sets off a configuration record.
struct RecordReader<'a> {
    rest: &'a [u8],
    sets: Vec<Bytes>,
    bytes: usize,
}

impl<'a> RecordReader<'a> {
    const fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            sets: Vec::new(),
            bytes: 0,
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (head, rest) = self.rest.split_first_chunk().ok_or(Error::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// A 16-bit length and that many bytes; `keep` decides whether they are a set to remember.
    fn take_set(&mut self, keep: impl Fn(&[u8]) -> bool) -> Result<(), Error> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        let (set, rest) = self.rest.split_at_checked(len).ok_or(Error::Truncated)?;
        self.rest = rest;
        if set.is_empty() || !keep(set) {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(len);
        if self.bytes > PARAMETER_SETS_BYTES_MAX {
            return Err(Error::Limit("64 KiB of parameter sets"));
        }
        if self.sets.len() >= PARAMETER_SETS_MAX {
            return Err(Error::Limit("320 parameter sets"));
        }
        // A copy, so that a configuration does not keep a read buffer alive for hours.
        self.sets.push(Bytes::copy_from_slice(set));
        Ok(())
    }
}

/// Divides both by their greatest common divisor; `None` for a rate of 0, without end, or beyond
/// a thousand frames per second.
fn frame_rate(numerator: u64, denominator: u64) -> Option<(u32, u32)> {
    const FRAMES_PER_SECOND_MAX: u64 = 1000;
    let (mut a, mut b) = (numerator, denominator);
    while b != 0 {
        (a, b) = (b, a.checked_rem(b)?);
    }
    let (numerator, denominator) = (numerator.checked_div(a)?, denominator.checked_div(a)?);
    let plausible = numerator > 0
        && denominator > 0
        && numerator <= denominator.saturating_mul(FRAMES_PER_SECOND_MAX);
    plausible.then_some(())?;
    Some((
        u32::try_from(numerator).ok()?,
        u32::try_from(denominator).ok()?,
    ))
}

/// The size that is left of a coded picture after its cropping window; the limits hold for both.
fn cropped(
    coded: (u64, u64),
    crop_horizontal: u64,
    crop_vertical: u64,
) -> Result<(u32, u32), Error> {
    let side = |coded: u64, crop: u64| {
        if coded == 0 || coded > u64::from(DIMENSION_MAX) {
            return Err(Error::Limit("16888 pixels a side"));
        }
        match coded.checked_sub(crop) {
            Some(left) if left > 0 => {
                u32::try_from(left).map_err(|_| Error::Invalid("picture size"))
            }
            _ => Err(Error::Invalid("cropping window larger than the picture")),
        }
    };
    Ok((
        side(coded.0, crop_horizontal)?,
        side(coded.1, crop_vertical)?,
    ))
}

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Bytes from hexadecimal digits.
    pub(crate) fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks_exact(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }

    /// An unsigned Exp-Golomb code as binary digits.
    pub(crate) fn ue(value: u32) -> String {
        let digits = format!("{:b}", u64::from(value) + 1);
        "0".repeat(digits.len() - 1) + &digits
    }

    #[test]
    fn frame_rates_are_reduced_and_plausible() {
        assert_eq!(frame_rate(60_000, 2002), Some((30_000, 1001)));
        assert_eq!(frame_rate(50, 2), Some((25, 1)));
        assert_eq!(frame_rate(0, 1), None);
        assert_eq!(frame_rate(25, 0), None);
        assert_eq!(frame_rate(0, 0), None);
        assert_eq!(frame_rate(u64::MAX, 1), None);
        assert_eq!(frame_rate(1, u64::MAX), None);
    }
}
