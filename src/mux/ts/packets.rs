//! Where packets go: blocks of one size, used again when what is in them has been written.

use super::packet::PACKET_LEN;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a block: whole packets, and 32 KiB with what the allocator puts beside them.
pub const BLOCK_BYTES: usize = 174 * PACKET_LEN;
/// So many blocks are looked at for one that nobody reads any more, before another is made.
const TRIES: usize = 4;
/// Blocks that are kept in any case; of more, a free one goes with every so many that are taken.
const KEPT: usize = 32;
const LET_GO_EVERY: usize = 16;

/// Blocks that were filled by anybody, to be filled again. What one writer has no use for serves the
/// next, so many of them take the memory that they hold in this moment, not what each has held at
/// some time. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Blocks(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    /// The longest known first. Some are still read.
    filled: VecDeque<BytesMut>,
    taken: usize,
}

/// The packets that one muxer writes, in their order.
#[derive(Debug)]
pub struct Packets {
    blocks: Blocks,
    open: BytesMut,
    full: VecDeque<Bytes>,
    /// Bytes that went out of `open`.
    gone: u64,
}

impl Blocks {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An empty block, in exchange for a full one.
    fn exchange(&self, full: Option<BytesMut>) -> BytesMut {
        let mut pool = self.pool();
        let free = (0..TRIES).find_map(|_| pool.free());
        pool.taken = pool.taken.wrapping_add(1);
        if pool.filled.len() > KEPT && pool.taken.is_multiple_of(LET_GO_EVERY) {
            drop(pool.free());
        }
        pool.filled.extend(full);
        free.unwrap_or_else(|| BytesMut::with_capacity(BLOCK_BYTES))
    }
}

impl Pool {
    /// The block that has been known for longest, if nobody reads it any more.
    fn free(&mut self) -> Option<BytesMut> {
        let mut block = self.filled.pop_front()?;
        if block.try_reclaim(BLOCK_BYTES) {
            return Some(block);
        }
        self.filled.push_back(block);
        None
    }
}

impl Packets {
    /// Into blocks from among `blocks`.
    pub fn new(blocks: Blocks) -> Self {
        Self {
            blocks,
            open: BytesMut::new(),
            full: VecDeque::new(),
            gone: 0,
        }
    }

    /// Bytes that were written so far.
    pub fn written(&self) -> u64 {
        self.gone.saturating_add(self.open.len() as u64)
    }

    /// The next bytes that can go on their way: they filled a block, or were cut off.
    pub fn next_full(&mut self) -> Option<Bytes> {
        self.full.pop_front()
    }

    /// Lets all that was written go on its way.
    pub fn cut(&mut self) {
        if !self.open.is_empty() {
            self.gone = self.written();
            self.full.push_back(self.open.split().freeze());
        }
    }

    /// Makes room for a packet. What is put next is one, whole.
    pub(super) fn begin_packet(&mut self) {
        if self.open.capacity().saturating_sub(self.open.len()) < PACKET_LEN {
            self.cut();
            // The first one has no predecessor.
            let full = (self.gone > 0).then(|| std::mem::take(&mut self.open));
            self.open = self.blocks.exchange(full);
        }
    }

    /// Appends to the packet that was begun.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        self.open.extend_from_slice(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fill(packets: &mut Packets, count: usize) {
        for nth in 0..count {
            packets.begin_packet();
            packets.put(&[nth as u8; PACKET_LEN]);
        }
    }

    fn all(packets: &mut Packets) -> Vec<Bytes> {
        std::iter::from_fn(|| packets.next_full()).collect()
    }

    #[test]
    fn packets_come_out_whole_and_in_order() {
        let mut packets = Packets::new(Blocks::default());
        for count in [1, 173, 174, 175, 500, 0, 1] {
            let before = packets.written();
            fill(&mut packets, count);
            assert_eq!(packets.written() - before, (count * PACKET_LEN) as u64);
            packets.cut();
            let pieces = all(&mut packets);
            assert!(pieces.iter().all(|piece| piece.len() % PACKET_LEN == 0));
            let expected: Vec<_> = (0..count).flat_map(|n| [n as u8; PACKET_LEN]).collect();
            assert_eq!(pieces.concat(), expected, "{count} packets");
        }
        assert!(packets.next_full().is_none());
    }

    #[test]
    fn what_is_read_no_more_is_filled_again_by_whoever_comes_next() {
        let blocks = Blocks::default();
        let mut one = Packets::new(blocks.clone());
        let mut other = Packets::new(blocks.clone());
        fill(&mut one, 3 * 174);
        one.cut();
        let pieces = all(&mut one);
        let places: Vec<_> = pieces.iter().map(|piece| piece.as_ptr()).collect();
        fill(&mut other, 1);
        assert!(!places.contains(&other.open.as_ptr()), "it is being read");
        drop(pieces);
        fill(&mut other, 174);
        assert!(places.contains(&other.open.as_ptr()));
    }

    #[test]
    fn a_slow_reader_gives_its_blocks_back_in_the_end() {
        let blocks = Blocks::default();
        let mut packets = Packets::new(blocks.clone());
        fill(&mut packets, 1000 * 174);
        let known = || blocks.pool().filled.len();
        let waits = all(&mut packets);
        assert!(known() > 900);
        drop(waits);
        for _ in 0..2_000 * LET_GO_EVERY {
            fill(&mut packets, 174);
            all(&mut packets);
        }
        assert!(known() <= KEPT + 1, "{} are kept", known());
    }
}
