//! Bytes of one message, as the slices of the read buffer in which they arrived.

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use std::fmt;

/// The slices of a rope; a message that came in one piece has one and needs no allocation.
pub type Slices = SmallVec<[Bytes; 4]>;

/// A run of bytes made of slices of shared buffers. Cloning and slicing copy no byte.
#[derive(Clone, Default)]
pub struct Rope {
    slices: Slices,
    len: usize,
}

impl Rope {
    /// An empty rope.
    pub const fn new() -> Self {
        Self {
            slices: SmallVec::new_const(),
            len: 0,
        }
    }

    /// Number of bytes.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bytes.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a slice.
    pub fn push(&mut self, slice: Bytes) {
        if !slice.is_empty() {
            self.len = self.len.saturating_add(slice.len());
            self.slices.push(slice);
        }
    }

    /// The slices, in order.
    pub fn slices(&self) -> &[Bytes] {
        &self.slices
    }

    /// The byte at `at`, if the rope is that long.
    pub fn get(&self, at: usize) -> Option<u8> {
        let mut byte = [0];
        (self.copy_at(at, &mut byte) == 1).then_some(byte[0])
    }

    /// Fills `out` from offset `at`; returns how many bytes there were.
    pub fn copy_at(&self, at: usize, out: &mut [u8]) -> usize {
        let mut done = 0;
        for piece in self.pieces(at, out.len()) {
            let end = piece.len().saturating_add(done);
            if let Some(target) = out.get_mut(done..end) {
                target.copy_from_slice(piece);
                done = end;
            }
        }
        done
    }

    /// Borrowed pieces of the range `at..at + len`, cut short where the rope ends.
    pub fn pieces(&self, at: usize, len: usize) -> impl Iterator<Item = &[u8]> {
        let mut skip = at;
        let mut left = len;
        self.slices.iter().filter_map(move |slice| {
            if let Some(rest) = skip.checked_sub(slice.len()) {
                skip = rest;
                return None;
            }
            let tail = slice.get(skip..)?;
            skip = 0;
            let piece = tail.get(..left.min(tail.len()))?;
            left = left.saturating_sub(piece.len());
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// A rope over the range `at..at + len`, cut short where this one ends; shares the bytes.
    pub fn slice(&self, at: usize, len: usize) -> Self {
        let mut out = Self::new();
        let mut skip = at;
        let mut left = len;
        for slice in &self.slices {
            if let Some(rest) = skip.checked_sub(slice.len()) {
                skip = rest;
                continue;
            }
            let end = slice.len().min(skip.saturating_add(left));
            left = left.saturating_sub(end.saturating_sub(skip));
            out.push(slice.slice(skip..end));
            skip = 0;
            if left == 0 {
                break;
            }
        }
        out
    }

    /// All bytes in one piece; copies only if there are several slices.
    pub fn to_bytes(&self) -> Bytes {
        match self.slices.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => {
                let mut whole = BytesMut::with_capacity(self.len);
                for slice in many {
                    whole.extend_from_slice(slice);
                }
                whole.freeze()
            }
        }
    }
}

impl From<Bytes> for Rope {
    fn from(slice: Bytes) -> Self {
        let mut rope = Self::new();
        rope.push(slice);
        rope
    }
}

impl From<Slices> for Rope {
    fn from(slices: Slices) -> Self {
        let len = slices.iter().map(Bytes::len).sum();
        Self { slices, len }
    }
}

impl PartialEq for Rope {
    fn eq(&self, other: &Self) -> bool {
        self.len == other.len
            && self
                .slices
                .iter()
                .flatten()
                .eq(other.slices.iter().flatten())
    }
}

impl Eq for Rope {}

impl fmt::Debug for Rope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut head = [0; 16];
        let shown = self.copy_at(0, &mut head);
        write!(f, "{} bytes [", self.len)?;
        for byte in head.iter().take(shown) {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(if self.len > shown { "…]" } else { "]" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rope(pieces: &[&'static [u8]]) -> Rope {
        let mut rope = Rope::new();
        for piece in pieces {
            rope.push(Bytes::from_static(piece));
        }
        rope
    }

    #[test]
    fn a_rope_reads_like_the_bytes_it_is_made_of() {
        let whole: &[u8] = b"abcdefghij";
        for cut in [
            &[&b"abcdefghij"[..]][..],
            &[b"a", b"bcd", b"efghi", b"j"],
            &[b"abcde", b"", b"fghij"],
        ] {
            let rope = rope(cut);
            for at in 0..=whole.len() + 1 {
                for len in 0..=whole.len() + 1 {
                    let expected = &whole
                        [at.min(whole.len())..(at + len).min(whole.len()).max(at.min(whole.len()))];
                    assert_eq!(
                        rope.slice(at, len).to_bytes(),
                        expected,
                        "{cut:?} {at} {len}"
                    );
                    assert_eq!(
                        rope.pieces(at, len).flatten().copied().collect::<Vec<_>>(),
                        expected
                    );
                    let mut out = vec![0; len];
                    assert_eq!(rope.copy_at(at, &mut out), expected.len());
                }
                assert_eq!(rope.get(at), whole.get(at).copied());
            }
        }
    }
}
