//! Rooms to read into: a few for all connections of a thread, one after the other.
//!
//! A connection that waits holds no buffer, and what is read lies in the processor's cache while it
//! is taken apart. What somebody keeps of a reading beyond the next ones costs a new room.

use bytes::{Buf, Bytes, BytesMut};
use std::cell::RefCell;
use std::io;

/// What one reading brings at most: stays in the cache of one processor beside what is made of it.
pub(super) const BYTES: usize = 128 << 10;
/// Less than this is copied: a few bytes that somebody keeps must not keep a whole room.
const COPIED_MAX: usize = BYTES / 4;
/// A room begins with a line of the processor's cache. Zen 3 copies a file's pages four times slower to where
/// malloc puts large blocks, 16 bytes into a page: a remux on tmpfs takes 0.31 s so, and 0.21 s here.
const ALIGNED: usize = 64;
/// The tag of a file that a reading ends within keeps its room until the next reading has brought the rest. Of a
/// message on the wire nothing is kept so: what came of it is copied.
const ROOMS: usize = 2;

/// Rooms that are used in turn.
#[derive(Debug, Default)]
pub struct Rooms([Bytes; ROOMS]);

impl Rooms {
    /// None is made before it is needed.
    pub const fn new() -> Self {
        Self([const { Bytes::new() }; ROOMS])
    }

    /// Lets `read` fill one that nobody keeps anything of and returns what it read.
    pub fn read(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
        let is_free = |room: &Bytes| room.is_empty() || room.is_unique();
        // If none is, the first is left to whoever keeps something of it.
        let nth = self.0.iter().position(is_free).unwrap_or(0);
        let room = std::mem::take(&mut self.0[nth]).try_into_mut();
        let mut room = room
            .ok()
            .filter(|room| !room.is_empty())
            .unwrap_or_else(make);
        let result = read(&mut room);
        let room = room.freeze();
        let bytes = result.map(|len| match room.get(..len) {
            Some(few) if len < COPIED_MAX => Bytes::copy_from_slice(few),
            _ => room.slice(..len.min(room.len())),
        });
        self.0[nth] = room;
        bytes
    }
}

fn make() -> BytesMut {
    let mut room = BytesMut::zeroed(BYTES + ALIGNED);
    room.advance(room.as_ptr().align_offset(ALIGNED).min(ALIGNED));
    room.truncate(BYTES);
    room
}

thread_local! {
    static OF_THREAD: RefCell<Rooms> = const { RefCell::new(Rooms::new()) };
}

/// Lets `read` fill a room of this thread and returns what it read.
pub(super) fn read(read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
    OF_THREAD.with_borrow_mut(|rooms| rooms.read(read))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn what_was_read_stays_whatever_is_read_later() {
        let fill = |byte: u8, len: usize| {
            read(|room| {
                room[..len].fill(byte);
                Ok(len)
            })
            .expect("read")
        };
        for (first, second) in [(10, 20), (BYTES, BYTES), (COPIED_MAX, 1), (0, BYTES / 2)] {
            let kept = fill(1, first);
            assert_eq!(fill(2, second), vec![2; second]);
            assert_eq!(kept, vec![1; first]);
        }
        // What nobody keeps any more is read into again.
        let at = fill(3, BYTES).as_ptr();
        assert_eq!(fill(4, COPIED_MAX).as_ptr(), at);
        // A room that is kept takes no other's place; one more than there are rooms is new.
        let kept: Vec<_> = (0..=ROOMS).map(|_| fill(5, BYTES)).collect();
        let places: BTreeSet<_> = kept.iter().map(|bytes| bytes.as_ptr()).collect();
        assert_eq!(places.len(), ROOMS + 1);
        assert!(kept.iter().all(|bytes| *bytes == vec![5; BYTES]));
        assert!(places.iter().all(|place| place.align_offset(ALIGNED) == 0));
        drop(kept);
        let again: Vec<_> = (0..ROOMS).map(|_| fill(6, BYTES)).collect();
        assert!(again.iter().all(|bytes| places.contains(&bytes.as_ptr())));
        let error = read(|_| Err(io::ErrorKind::WouldBlock.into())).expect_err("nothing");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
