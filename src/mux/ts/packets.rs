//! Where packets go: blocks of one size, used again when what is in them has been written.

use super::packet::{BODY_LEN, HEADER_LEN, PACKET_LEN};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Bytes of a block: whole packets, and 32 KiB with what the allocator puts beside them.
pub const BLOCK_BYTES: usize = 174 * PACKET_LEN;
/// After so many blocks that were taken or given back those go that nobody has needed meanwhile.
const ROUND: usize = 256;

type Block = Box<[u8]>;

/// Blocks that nobody uses at this moment. What one writer has no use for serves the next, so many
/// of them take the memory that they hold now, not what each has held at some time. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Blocks(Arc<Mutex<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    free: Vec<Block>,
    /// The fewest that were free in this round.
    spare: usize,
    turns: usize,
}

/// The packets that one muxer writes, in their order.
#[derive(Debug)]
pub struct Packets {
    blocks: Blocks,
    open: Block,
    /// So much of `open` is written.
    at: usize,
    full: VecDeque<Bytes>,
    /// Bytes that went out of `open`.
    gone: u64,
}

/// A block until its last reader is done.
struct Filled {
    block: Block,
    len: usize,
    blocks: Blocks,
}

impl Blocks {
    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Block {
        let known = {
            let mut pool = self.pool();
            let known = pool.free.pop();
            pool.spare = pool.spare.min(pool.free.len());
            pool.turn();
            known
        };
        known.unwrap_or_else(|| vec![0; BLOCK_BYTES].into_boxed_slice())
    }

    fn give_back(&self, block: Block) {
        if !block.is_empty() {
            let mut pool = self.pool();
            pool.free.push(block);
            pool.turn();
        }
    }
}

impl Pool {
    fn turn(&mut self) {
        self.turns = self.turns.saturating_add(1);
        if self.turns >= ROUND {
            // Those at the front have not been used for longest.
            self.free.drain(..self.spare.min(self.free.len()));
            self.spare = self.free.len();
            self.turns = 0;
        }
    }
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        self.block.get(..self.len).unwrap_or(&self.block)
    }
}

impl Drop for Filled {
    fn drop(&mut self) {
        self.blocks.give_back(std::mem::take(&mut self.block));
    }
}

impl Packets {
    /// Into blocks from among `blocks`.
    pub fn new(blocks: Blocks) -> Self {
        Self {
            blocks,
            open: Block::default(),
            at: 0,
            full: VecDeque::new(),
            gone: 0,
        }
    }

    /// Bytes that were written so far.
    pub fn written(&self) -> u64 {
        self.gone.saturating_add(self.at as u64)
    }

    /// The next bytes that can go on their way: they filled a block, or were cut off.
    pub fn next_full(&mut self) -> Option<Bytes> {
        self.full.pop_front()
    }

    /// Lets all that was written go on its way.
    pub fn cut(&mut self) {
        if self.at > 0 {
            self.gone = self.written();
            let filled = Filled {
                block: std::mem::take(&mut self.open),
                len: std::mem::take(&mut self.at),
                blocks: self.blocks.clone(),
            };
            self.full.push_back(Bytes::from_owner(filled));
        }
    }

    /// Makes room for a packet. What is put next is one, whole.
    pub(super) fn begin_packet(&mut self) {
        if self.open.len().saturating_sub(self.at) < PACKET_LEN {
            self.cut();
            self.open = self.blocks.take();
        }
    }

    /// Appends to the packet that was begun.
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let room = self.open.get_mut(self.at..).unwrap_or_default();
        if let Some(room) = room.get_mut(..bytes.len()) {
            room.copy_from_slice(bytes);
            self.at = self.at.saturating_add(bytes.len());
        }
    }

    /// Appends packets that are full of payload, as many as there is room for in this block; how
    /// many those are.
    pub(super) fn put_packets(
        &mut self,
        bodies: &[[u8; BODY_LEN]],
        mut header: impl FnMut() -> [u8; HEADER_LEN],
    ) -> usize {
        let room = self.open.get_mut(self.at..).unwrap_or_default();
        let (packets, _) = room.as_chunks_mut::<PACKET_LEN>();
        for (packet, body) in packets.iter_mut().zip(bodies) {
            let (head, tail) = packet.split_at_mut(HEADER_LEN);
            head.copy_from_slice(&header());
            tail.copy_from_slice(body);
        }
        let count = packets.len().min(bodies.len());
        self.at = self.at.saturating_add(count.saturating_mul(PACKET_LEN));
        count
    }
}

impl Drop for Packets {
    fn drop(&mut self) {
        self.blocks.give_back(std::mem::take(&mut self.open));
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
    fn full_packets_are_the_same_as_those_put_piece_by_piece() {
        let bodies: Vec<_> = (0..400).map(|n| [n as u8; BODY_LEN]).collect();
        let (mut one, mut other) = (
            Packets::new(Blocks::default()),
            Packets::new(Blocks::default()),
        );
        let mut rest = bodies.as_slice();
        let mut number = 0_u32;
        while !rest.is_empty() {
            one.begin_packet();
            let done = one.put_packets(rest, || {
                number += 1;
                number.to_be_bytes()
            });
            rest = &rest[done..];
        }
        for (number, body) in (1_u32..).zip(&bodies) {
            other.begin_packet();
            other.put(&number.to_be_bytes());
            other.put(body);
        }
        one.cut();
        other.cut();
        assert_eq!(all(&mut one).concat(), all(&mut other).concat());
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
    fn what_a_burst_took_is_let_go() {
        let blocks = Blocks::default();
        let mut packets = Packets::new(blocks.clone());
        fill(&mut packets, 1000 * 174);
        let free = || blocks.pool().free.len();
        assert_eq!(free(), 0);
        drop(all(&mut packets));
        assert!(free() > 200, "{} are free", free());
        for _ in 0..2 * ROUND {
            fill(&mut packets, 174);
            all(&mut packets);
        }
        assert!(free() <= 2, "{} are free", free());
    }
}
