//! One coded picture or audio frame.

use super::{Rope, Timestamp, TrackKind};
use smallvec::SmallVec;

/// Where one NAL unit lies in the data of its frame: after its length field, without start code.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unit {
    /// Offset of the first byte (the NAL unit header).
    pub offset: u32,
    /// Length in bytes, never 0.
    pub len: u32,
}

/// The NAL units of a picture, in order.
pub type Units = SmallVec<[Unit; 8]>;

/// One coded picture or audio frame, with the time at which it is decoded and shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// The track it belongs to.
    pub kind: TrackKind,
    /// Presentation time.
    pub pts: Timestamp,
    /// Decoding time; grows strictly within a track.
    pub dts: Timestamp,
    /// Whether decoding can start here. By the bitstream, not by the wire's flag.
    pub key: bool,
    /// The bytes as they arrived; for video the NAL units that count are named by `units`.
    pub data: Rope,
    /// Video: the NAL units that go to the output (no delimiters, no parameter sets). Audio: empty, the frame is all of `data`.
    pub units: Units,
}
