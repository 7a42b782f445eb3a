//! A bounded reader of bit fields and Exp-Golomb codes (ITU-T H.264 §7.2, §9.1).

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::Error;

/// Reads bits from the most significant one on. Reading beyond the end is [`Error::Truncated`].
#[derive(Clone, Debug)]
pub struct BitReader<'a> {
    bytes: &'a [u8],
    /// Position in bits.
    at: usize,
}

impl<'a> BitReader<'a> {
    /// A reader at the first bit.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Number of bits that are left.
    pub const fn left(&self) -> usize {
        self.bytes.len().saturating_mul(8).saturating_sub(self.at)
    }

    /// Reads one bit.
    pub fn bit(&mut self) -> Result<bool, Error> {
        let byte = self.bytes.get(self.at >> 3).ok_or(Error::Truncated)?;
        let bit = byte >> (7 & !self.at) & 1;
        self.at = self.at.saturating_add(1);
        Ok(bit == 1)
    }

    /// Reads an unsigned number of `count` bits, at most 32.
    pub fn bits(&mut self, count: u32) -> Result<u32, Error> {
        debug_assert!(count <= 32);
        let mut value = 0;
        for _ in 0..count {
            value = value << 1 | u32::from(self.bit()?);
        }
        Ok(value)
    }

    /// Reads an unsigned number of `count` bits, at most 8.
    pub fn byte(&mut self, count: u32) -> Result<u8, Error> {
        debug_assert!(count <= 8);
        Ok(self.bits(count)?.to_le_bytes()[0])
    }

    /// Passes over `count` bits.
    pub fn skip(&mut self, count: usize) -> Result<(), Error> {
        if count > self.left() {
            return Err(Error::Truncated);
        }
        self.at = self.at.saturating_add(count);
        Ok(())
    }

    /// Passes over what is left of a byte that has been begun.
    pub fn align(&mut self) {
        self.at = self.at.saturating_add(7) & !7;
    }

    /// Reads ue(v), an unsigned Exp-Golomb code of at most 32 bits of value.
    pub fn ue(&mut self) -> Result<u32, Error> {
        let mut zeros: u32 = 0;
        while !self.bit()? {
            zeros = zeros.saturating_add(1);
            if zeros > 31 {
                return Err(Error::Invalid("Exp-Golomb code of more than 32 bits"));
            }
        }
        let rest = self.bits(zeros)?;
        Ok(rest.saturating_add((1_u32 << zeros).saturating_sub(1)))
    }

    /// Reads ue(v) and refuses what is above `max`.
    pub fn ue_max(&mut self, max: u32, name: &'static str) -> Result<u32, Error> {
        let value = self.ue()?;
        if value > max {
            return Err(Error::Invalid(name));
        }
        Ok(value)
    }

    /// Reads se(v), a signed Exp-Golomb code.
    pub fn se(&mut self) -> Result<i64, Error> {
        let code = i64::from(self.ue()?);
        let magnitude = code.saturating_add(1) >> 1;
        Ok(if code & 1 == 1 {
            magnitude
        } else {
            magnitude.saturating_neg()
        })
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

    #[test]
    fn exp_golomb_codes_as_in_table_9_2() {
        // H.264 table 9-2: 1, 010, 011, 00100, 00101, 00110, 00111, 0001000
        let bytes = [0b1010_0110, 0b0100_0010, 0b1001_1000, 0b1110_0010, 0];
        let mut reader = BitReader::new(&bytes);
        for expected in 0..=7 {
            assert_eq!(reader.ue().unwrap(), expected);
        }
        let mut reader = BitReader::new(&bytes);
        for expected in [0, 1, -1, 2, -2, 3, -3, 4] {
            assert_eq!(reader.se().unwrap(), expected);
        }
    }

    #[test]
    fn codes_that_do_not_end_are_refused() {
        assert_eq!(
            BitReader::new(&[0; 64]).ue(),
            Err(Error::Invalid("Exp-Golomb code of more than 32 bits"))
        );
        assert_eq!(BitReader::new(&[0, 0]).ue(), Err(Error::Truncated));
        let mut largest = [0; 9];
        largest[3] = 1;
        largest[4..8].fill(0xff);
        assert_eq!(BitReader::new(&largest).ue(), Ok(u32::MAX - 1));
    }
}
