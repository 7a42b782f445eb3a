//! Room to read into: one for all connections of a thread, one after the other.
//!
//! A connection that waits holds no buffer, and what is read lies in the processor's cache while it
//! is taken apart. What somebody keeps of a reading beyond the next one costs a new room.

use bytes::{Bytes, BytesMut};
use std::cell::Cell;
use std::io;

/// What one reading brings at most: stays in the cache of one processor beside what is made of it.
pub(super) const BYTES: usize = 128 << 10;
/// Less than this is copied: a few bytes that somebody keeps must not keep a whole room.
const COPIED_MAX: usize = BYTES / 4;

thread_local! {
    static ROOM: Cell<Bytes> = const { Cell::new(Bytes::new()) };
}

/// Lets `read` fill this thread's room and returns what it read.
pub(super) fn read(read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
    let room = ROOM.take().try_into_mut();
    let mut room = room.unwrap_or_else(|_| BytesMut::zeroed(BYTES));
    let result = read(&mut room);
    let room = room.freeze();
    let bytes = result.map(|len| match room.get(..len) {
        Some(few) if len < COPIED_MAX => Bytes::copy_from_slice(few),
        _ => room.slice(..len.min(room.len())),
    });
    ROOM.set(room);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let error = read(|_| Err(io::ErrorKind::WouldBlock.into())).expect_err("nothing");
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }
}
