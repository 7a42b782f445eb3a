//! The frames before the output begins: held until a key frame is there and the second track has
//! shown itself, or has had its time to.

use crate::media::{Duration, Frame, Timestamp, TrackKind, Tracks};
use std::collections::VecDeque;

/// How long the first frames wait for the configuration of a second track, in media time.
pub const TRACK_WAIT: Duration = Duration::from_secs(1);
/// How long a track whose configuration is known may keep its first frame back.
pub const FRAME_WAIT: Duration = Duration::from_secs(2);
/// Audio this much before the first key frame is kept: encoders begin both tracks within it.
pub const LEAD_IN_MAX: Duration = Duration::from_ms(500);
/// Bytes that may wait for the first key frame and the second track; bounds a session's memory.
pub const HELD_BYTES_MAX: usize = 8 << 20;

/// A frame with what the cut needs to know about it.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) frame: Frame,
    /// Whether a segment may begin here.
    pub(super) can_start: bool,
    /// Whether a decoder that begins here shows every picture.
    pub(super) independent: bool,
    pub(super) jump: bool,
    /// Where the media before this frame ends.
    pub(super) end_before: Option<Timestamp>,
}

/// The frames that wait, in the order of arrival.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) arrivals: VecDeque<Arrival>,
    pub(super) bytes: usize,
    since: Option<Timestamp>,
    video_seen: bool,
}

impl Held {
    /// Keeps a frame if the output can begin with it or after it; returns how many are given up.
    pub(super) fn keep(&mut self, arrival: Arrival) -> u64 {
        self.since.get_or_insert(arrival.frame.dts);
        if arrival.frame.kind == TrackKind::Video {
            self.video_seen = true;
            if !arrival.can_start && self.first_video().is_none() {
                return 1;
            }
        }
        let newest = arrival.frame.dts;
        self.bytes = self.bytes.saturating_add(arrival.frame.data.len());
        self.arrivals.push_back(arrival);
        let mut refused = 0_u64;
        // Until the first key frame only a short lead-in of audio is of use.
        while self.video_seen
            && self.first_video().is_none()
            && let Some(oldest) = self.arrivals.front()
            && (newest - oldest.frame.dts > LEAD_IN_MAX || self.bytes > HELD_BYTES_MAX)
        {
            self.bytes = self.bytes.saturating_sub(oldest.frame.data.len());
            self.arrivals.pop_front();
            refused = refused.saturating_add(1);
        }
        if let Some(key) = self.first_video() {
            refused = refused.saturating_add(self.drop_before_lead_in(key));
        }
        refused
    }

    fn drop_before_lead_in(&mut self, key: usize) -> u64 {
        // Sound may lie behind the pictures it comes with: what came with the key frame counts.
        let with_it = self.arrivals.range(..=key).rev().take(2);
        let Some(start) = with_it.map(|arrival| arrival.frame.dts).min() else {
            return 0;
        };
        let mut refused = 0_u64;
        while let Some(oldest) = self.arrivals.front()
            && start - oldest.frame.dts > LEAD_IN_MAX
        {
            self.bytes = self.bytes.saturating_sub(oldest.frame.data.len());
            self.arrivals.pop_front();
            refused = refused.saturating_add(1);
        }
        refused
    }

    pub(super) fn first_video(&self) -> Option<usize> {
        self.arrivals
            .iter()
            .position(|arrival| arrival.frame.kind == TrackKind::Video)
    }

    /// Whether the output can begin.
    pub(super) fn is_ready(&self, tracks: &Tracks) -> bool {
        let (Some(since), Some(newest)) = (self.since, self.arrivals.back()) else {
            return false;
        };
        let waited = newest.frame.dts - since;
        let full = self.bytes >= HELD_BYTES_MAX;
        if self.first_video().is_some() {
            return tracks.audio.is_some() || waited >= TRACK_WAIT || full;
        }
        // Only audio so far: video whose pictures come is waited for, video that is only announced is not.
        match (&tracks.video, self.video_seen) {
            (Some(_), true) => false,
            (Some(_), false) => waited >= FRAME_WAIT || full,
            (None, _) => waited >= TRACK_WAIT || full,
        }
    }
}
