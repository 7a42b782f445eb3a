//! The books of the open segment: when it began, what it holds, what its parts are.

use super::{Cut, Policy};
use crate::media::{Duration, Part, Segment, Timestamp, WallTime};

/// What is known of a segment when it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Opening {
    /// Decoding time of its first frame.
    pub start: Timestamp,
    /// Wall-clock time of its first frame.
    pub program_date_time: WallTime,
    /// Whether a discontinuity stands before it.
    pub discontinuity: bool,
    /// Whether decoding can start with it.
    pub independent: bool,
}

impl Opening {
    /// Segment `number` as far as it is known now.
    pub fn segment(&self, number: u64) -> Segment {
        Segment {
            number,
            start: self.start,
            program_date_time: self.program_date_time,
            duration: Duration::ZERO,
            size: 0,
            discontinuity: self.discontinuity,
            independent: self.independent,
            gap: false,
            parts: Vec::new(),
        }
    }
}

/// Counts segments and parts of one session.
#[derive(Debug)]
pub struct Segmenter {
    policy: Policy,
    promise: Option<u32>,
    number: u64,
    open: Option<Open>,
    /// Where the last segment ended.
    edge: Option<Timestamp>,
}

#[derive(Debug)]
struct Open {
    opening: Opening,
    size: u64,
    parts: Vec<Part>,
    part_start: Timestamp,
    part_size: u64,
    part_independent: bool,
}

impl Segmenter {
    /// Begins with segment `number`; `promise` is the target duration of the recording if an
    /// earlier session fixed it.
    pub fn new(policy: Policy, number: u64, promise: Option<u32>) -> Self {
        Self {
            policy,
            promise,
            number,
            open: None,
            edge: None,
        }
    }

    /// Bytes of the open segment, if one is open.
    pub fn size(&self) -> Option<u64> {
        self.open
            .as_ref()
            .map(|open| open.size.saturating_add(open.part_size))
    }

    /// Whether a segment is open.
    pub fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// `EXT-X-TARGETDURATION` in seconds, once the first segment has fixed it.
    pub fn promise(&self) -> Option<u32> {
        self.promise
    }

    /// What has to end before a frame that is decoded at `at`, lasts `frame` and with which
    /// decoding can start or not.
    pub fn decide(&self, at: Timestamp, can_start: bool, frame: Duration) -> Cut {
        let Some(open) = &self.open else {
            return Cut::None;
        };
        self.policy.decide(
            can_start,
            at - open.opening.start,
            at - open.part_start,
            frame,
            self.promise,
        )
    }

    /// Whether a key frame that is decoded at `at` would end the open segment.
    pub fn would_end_at(&self, at: Timestamp) -> bool {
        self.decide(at, true, Duration::ZERO) == Cut::Segment
    }

    /// Begins a segment.
    pub fn begin(&mut self, opening: Opening) {
        self.open = Some(Open {
            size: 0,
            parts: Vec::new(),
            part_start: opening.start,
            part_size: 0,
            part_independent: opening.independent,
            opening,
        });
    }

    /// Counts bytes of the open part.
    pub fn wrote(&mut self, bytes: u64) {
        if let Some(open) = &mut self.open {
            open.part_size = open.part_size.saturating_add(bytes);
        }
    }

    /// Ends the open part; the next begins at `at` with a frame from which one can decode or not.
    pub fn end_part(&mut self, at: Timestamp, can_start: bool) -> Option<Part> {
        let open = self.open.as_mut()?;
        if open.part_size == 0 {
            return None;
        }
        let part = Part {
            duration: at - open.part_start,
            size: open.part_size,
            independent: open.part_independent,
        };
        open.parts.push(part);
        open.size = open.size.saturating_add(part.size);
        open.part_start = at;
        open.part_size = 0;
        open.part_independent = can_start;
        Some(part)
    }

    /// Ends the open segment at `at`, its last part included; `frame` is how long its frames last.
    pub fn end_segment(&mut self, at: Timestamp, frame: Duration) -> Option<Segment> {
        // Tracks whose times lie apart may say that a segment ends before it began, and the last
        // sound of a session may end beyond the promise: neither becomes an EXTINF.
        let open = self.open.as_ref()?;
        let start = open.opening.start;
        let earliest = open.part_start.max(start + frame.max(Duration::TICK));
        let at = at
            .max(earliest)
            .min(start + self.policy.limit(self.promise));
        self.edge = Some(at);
        self.end_part(at, false);
        let open = self.open.take()?;
        let duration = at - open.opening.start;
        if self.promise.is_none() {
            self.promise = Some(self.policy.promise(duration, frame));
        }
        let segment = Segment {
            duration,
            size: open.size,
            parts: open.parts,
            ..open.opening.segment(self.number)
        };
        self.number = self.number.saturating_add(1);
        Some(segment)
    }

    /// Where a segment can begin whose first frame is decoded at `at`: not before the last one's end.
    pub fn earliest(&self, at: Timestamp) -> Timestamp {
        self.edge.map_or(at, |edge| at.max(edge))
    }

    /// The number of the open segment, or of the next.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// When the open segment began, and at what time of the wall clock.
    pub fn opening(&self) -> Option<&Opening> {
        self.open.as_ref().map(|open| &open.opening)
    }
}
