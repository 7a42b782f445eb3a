//! Values out of a fuzzer's bytes; when these end, zeros.

use bytes::Bytes;

pub(crate) struct Feed<'a>(&'a [u8]);

impl<'a> Feed<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        taken
    }

    pub(crate) fn u8(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes([self.u8(), self.u8()])
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes([self.u8(), self.u8(), self.u8(), self.u8()])
    }

    pub(crate) fn i64(&mut self) -> i64 {
        (i64::from(self.u32()) << 32) | i64::from(self.u32())
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        self.take(usize::MAX)
    }
}

/// The same bytes in pieces, whose lengths depend on `seed`.
pub(crate) fn pieces(bytes: &[u8], seed: u8) -> Vec<Bytes> {
    let mut state = u32::from(seed) | 0x100;
    let mut rest = bytes;
    let mut pieces = Vec::new();
    while !rest.is_empty() {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        // Mostly tiny, sometimes long.
        let len = match (state >> 16) % 4 {
            0 => 1,
            1 => (state >> 20) as usize % 12 + 1,
            2 => (state >> 20) as usize % 150 + 1,
            _ => (state >> 20) as usize % 1500 + 1,
        };
        let (piece, behind) = rest.split_at(len.min(rest.len()));
        pieces.push(Bytes::copy_from_slice(piece));
        rest = behind;
    }
    pieces
}
