//! What HLS serves: a segment, and the parts it is made of.

use super::{Duration, Timestamp, WallTime};

/// The unit in which bytes reach the disk, and later what low-latency HLS names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// How much presentation time it holds.
    pub duration: Duration,
    /// Bytes.
    pub size: u64,
    /// Whether decoding can start at its first frame.
    pub independent: bool,
}

/// One finished segment of a recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// Media sequence number within the recording (RFC 8216 §4.3.3.2).
    pub number: u64,
    /// Decoding time of its first frame on the output timeline.
    pub start: Timestamp,
    /// Wall-clock time of its first frame (EXT-X-PROGRAM-DATE-TIME).
    pub program_date_time: WallTime,
    /// Distance to the first frame of the next one (EXTINF).
    pub duration: Duration,
    /// Bytes.
    pub size: u64,
    /// Whether EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
    /// Whether it begins with a key frame (audio only: always).
    pub independent: bool,
    /// Whether its media is missing (EXT-X-GAP).
    pub gap: bool,
    /// The parts it is made of.
    pub parts: Vec<Part>,
}

/// Where a session takes up its recording.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Begin {
    /// Media sequence number of its first segment.
    pub number: u64,
    /// Whether segments of an earlier session come before it.
    pub continues: bool,
    /// `EXT-X-TARGETDURATION` in seconds, if an earlier session fixed it.
    pub target_duration_s: Option<u32>,
    /// Program date time at which the earlier session ended.
    pub not_before: Option<WallTime>,
}
