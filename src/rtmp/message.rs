//! Messages: what they are called on the wire, and the aggregate (§7.1.6) taken apart.

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;
use std::fmt;

/// The bytes of a message: slices of the buffers in which they arrived, in order.
pub type Payload = SmallVec<[Bytes; 4]>;

/// A NetStream of this connection: a message stream id (§4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a media message carries.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum MessageKind {
    /// An FLV audio tag's body.
    Audio,
    /// An FLV video tag's body.
    Video,
    /// AMF0 values, such as `@setDataFrame`.
    Data,
}

/// Message type ids (§5.4, §7.1).
pub(super) mod type_id {
    pub(in crate::rtmp) const SET_CHUNK_SIZE: u8 = 1;
    pub(in crate::rtmp) const ABORT: u8 = 2;
    pub(in crate::rtmp) const ACKNOWLEDGEMENT: u8 = 3;
    pub(in crate::rtmp) const USER_CONTROL: u8 = 4;
    pub(in crate::rtmp) const WINDOW_ACK_SIZE: u8 = 5;
    pub(in crate::rtmp) const SET_PEER_BANDWIDTH: u8 = 6;
    pub(in crate::rtmp) const AUDIO: u8 = 8;
    pub(in crate::rtmp) const VIDEO: u8 = 9;
    pub(in crate::rtmp) const DATA_AMF3: u8 = 15;
    pub(in crate::rtmp) const COMMAND_AMF3: u8 = 17;
    pub(in crate::rtmp) const DATA: u8 = 18;
    pub(in crate::rtmp) const COMMAND: u8 = 20;
    pub(in crate::rtmp) const AGGREGATE: u8 = 22;
}

/// A message as it came off the chunk streams.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct RawMessage {
    pub(super) type_id: u8,
    pub(super) stream: StreamId,
    /// Milliseconds; wraps.
    pub(super) timestamp: u32,
    pub(super) payload: Payload,
}

impl RawMessage {
    pub(super) fn len(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }

    /// All bytes in one piece; copies only what came in several.
    pub(super) fn contiguous(&self) -> Bytes {
        match self.payload.as_slice() {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.iter().flatten().copied().collect(),
        }
    }

    /// Drops the byte that says which AMF follows, in messages of types 15 and 17.
    pub(super) fn strip_selector(&mut self) {
        if let Some(first) = self.payload.iter_mut().find(|piece| !piece.is_empty()) {
            first.advance(1);
        }
        self.payload.retain(|piece| !piece.is_empty());
    }

    /// The messages within an aggregate, with the times they mean. A truncated tail ends the list.
    pub(super) fn split_aggregate(&self) -> impl Iterator<Item = RawMessage> + use<> {
        let mut rest = self.contiguous();
        let (stream, base) = (self.stream, self.timestamp);
        let mut offset = None;
        std::iter::from_fn(move || {
            let (type_id, timestamp, payload) = take_sub_message(&mut rest)?;
            // The aggregate's own timestamp is that of its first part.
            let offset = *offset.get_or_insert(base.wrapping_sub(timestamp));
            Some(RawMessage {
                type_id,
                stream,
                timestamp: timestamp.wrapping_add(offset),
                payload: SmallVec::from_iter(Some(payload).filter(|payload| !payload.is_empty())),
            })
        })
    }
}

/// Header (an FLV tag's), payload and back pointer, which nobody checks.
fn take_sub_message(rest: &mut Bytes) -> Option<(u8, u32, Bytes)> {
    let (&[type_id, l2, l1, l0, t2, t1, t0, t3, _, _, _], body) = rest.split_first_chunk::<11>()?;
    let len = u32::from_be_bytes([0, l2, l1, l0]) as usize;
    body.get(..len)?;
    rest.advance(11);
    let payload = rest.split_to(len);
    rest.advance(rest.len().min(4));
    Some((type_id, u32::from_be_bytes([t3, t2, t1, t0]), payload))
}

/// Joins `left` and `right`.
pub(super) fn join(left: &[u8], right: &[u8]) -> Bytes {
    let mut joined = BytesMut::with_capacity(left.len().saturating_add(right.len()));
    joined.extend_from_slice(left);
    joined.extend_from_slice(right);
    joined.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sub(type_id: u8, timestamp: u32, body: &[u8], back: u32) -> Vec<u8> {
        let [t3, t2, t1, t0] = timestamp.to_be_bytes();
        let len = u32::try_from(body.len()).unwrap().to_be_bytes();
        let head = [type_id, len[1], len[2], len[3], t2, t1, t0, t3, 9, 9, 9];
        [&head[..], body, &back.to_be_bytes()].concat()
    }

    fn parts(timestamp: u32, body: Vec<u8>) -> Vec<(u8, u32, Vec<u8>)> {
        let aggregate = RawMessage {
            type_id: type_id::AGGREGATE,
            stream: StreamId(1),
            timestamp,
            payload: SmallVec::from_iter([Bytes::from(body)]),
        };
        let parts = aggregate.split_aggregate();
        parts
            .map(|m| (m.type_id, m.timestamp, m.contiguous().to_vec()))
            .collect()
    }

    #[test]
    fn an_aggregate_is_re_timed_by_its_first_part() {
        let body = [
            sub(8, 5000, b"a", 12),
            sub(9, 5040, b"vv", 0xdead),
            sub(8, 4990, b"", 11),
        ]
        .concat();
        let expected = [
            (8, 100, b"a".to_vec()),
            (9, 140, b"vv".to_vec()),
            (8, 90, vec![]),
        ];
        assert_eq!(parts(100, body.clone()), expected);
        // Truncated anywhere in the third part, the first two stand; without a back pointer, the part stands.
        assert_eq!(parts(100, body[..body.len() - 5].to_vec()), expected[..2]);
        assert_eq!(parts(100, body[..body.len() - 4].to_vec()), expected);
        assert_eq!(parts(100, body[..body.len() - 3].to_vec()), expected);
        assert_eq!(parts(0, vec![8, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 1]), []);
        // 32 bits of time, the top byte behind the others.
        let wrapped = [sub(8, u32::MAX, b"a", 0), sub(8, 9, b"b", 0)].concat();
        assert_eq!(parts(u32::MAX, wrapped)[1].1, 9);
    }
}
