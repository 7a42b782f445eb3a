//! Where to cut.
//!
//! A segment ends at the first key frame at or after the target. `EXT-X-TARGETDURATION` never
//! changes (RFC 8216 §6.2.1), so it is fixed when the first segment ends: if that one kept to the
//! target, so will the rest, and the promise is the target; if its first group of pictures was
//! longer already (OBS by default lets 250 frames pass), the promise is the maximum. A segment that
//! would break the promise is cut at whatever frame comes, which is called forced.

use crate::media::Duration;

/// Lengths of segments and parts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Policy {
    /// A segment is cut at the first key frame at or after this.
    pub target: Duration,
    /// Longest segment: when no key frame comes, it is cut anyway.
    pub max: Duration,
    /// Length of a part.
    pub part: Duration,
}

/// What ends before a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cut {
    /// Nothing: the frame goes on.
    None,
    /// The part.
    Part,
    /// The segment, at a place where decoding can start.
    Segment,
    /// The segment, although decoding cannot start here.
    Forced,
    /// The segment; the time until this frame is a hole that no segment may be stretched over.
    Gap,
}

/// `EXTINF` is rounded to the nearest second and must not exceed the promise then (RFC 8216
/// §4.3.3.1): so far may a segment go beyond it, less a little for EXTINF's own decimals.
const ROUNDING: Duration = Duration::from_ms(490);

impl Policy {
    /// The promise (`EXT-X-TARGETDURATION`, in seconds) that a first segment of this length allows.
    pub fn promise(&self, first: Duration, frame: Duration) -> u32 {
        let seconds = if first <= self.target + tolerance(frame) {
            rounded(first).max(rounded(self.target))
        } else {
            rounded(first).max(rounded(self.max))
        };
        u32::try_from(seconds).unwrap_or(u32::MAX).max(1)
    }

    /// Longest segment that keeps the promise, or the one to be made.
    pub fn limit(&self, promise: Option<u32>) -> Duration {
        let seconds = promise.map_or_else(|| rounded(self.max).max(1), i64::from);
        Duration::from_secs(seconds) + ROUNDING
    }

    /// What to cut before a frame.
    ///
    /// `age` is how far the frame is from the start of the segment, `part_age` from that of the
    /// part, `frame` how long a frame of its track lasts, `promise` the target duration if it is
    /// fixed already.
    pub fn decide(
        &self,
        can_start: bool,
        age: Duration,
        part_age: Duration,
        frame: Duration,
        promise: Option<u32>,
    ) -> Cut {
        let limit = self.limit(promise);
        if age > limit {
            Cut::Gap
        } else if can_start && age + tolerance(frame) >= self.target && !age.is_empty() {
            Cut::Segment
        } else if age + frame > limit {
            Cut::Forced
        } else if part_age >= self.part {
            Cut::Part
        } else {
            Cut::None
        }
    }
}

/// A key frame that comes up to a frame and a half early is on time: timestamps are rounded, and
/// encoders that reorder pictures (x265) decode the second key frame a frame sooner than the first.
fn tolerance(frame: Duration) -> Duration {
    frame + Duration::from_ticks(frame.ticks() / 2)
}

/// Seconds, rounded half up as players do with `EXTINF`.
fn rounded(duration: Duration) -> i64 {
    (duration + Duration::from_ms(500))
        .ticks()
        .div_euclid(Duration::from_secs(1).ticks())
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: Policy = Policy {
        target: Duration::from_secs(2),
        max: Duration::from_secs(10),
        part: Duration::from_ms(500),
    };
    const FRAME: Duration = Duration::from_ms(40);

    #[test]
    fn the_promise_is_the_target_if_the_first_segment_kept_to_it() {
        let check = |first_ms, seconds| {
            let first = Duration::from_ms(first_ms);
            assert_eq!(POLICY.promise(first, FRAME), seconds, "{first_ms} ms");
        };
        check(2_000, 2);
        check(2_002, 2);
        check(2_059, 2);
        check(400, 2);
        check(2_400, 10);
        check(10_010, 10);
        check(10_490, 10);
    }

    #[test]
    fn cuts_come_at_key_frames_unless_the_promise_would_break() {
        let check = |can_start, age_ms, promise, expected| {
            let age = Duration::from_ms(age_ms);
            let cut = POLICY.decide(can_start, age, Duration::ZERO, FRAME, promise);
            assert_eq!(cut, expected, "{can_start} {age_ms} ms {promise:?}");
        };
        check(true, 1_920, Some(2), Cut::None);
        check(true, 1_940, Some(2), Cut::Segment);
        check(true, 2_000, Some(2), Cut::Segment);
        check(false, 2_000, Some(2), Cut::None);
        check(false, 2_440, Some(2), Cut::None);
        check(false, 2_460, Some(2), Cut::Forced);
        check(true, 2_460, Some(2), Cut::Segment);
        check(false, 2_500, Some(2), Cut::Gap);
        check(true, 2_500, Some(2), Cut::Gap);
        check(true, 8_333, None, Cut::Segment);
        check(false, 10_440, None, Cut::None);
        check(false, 10_460, None, Cut::Forced);
        check(false, 10_460, Some(10), Cut::Forced);
    }

    #[test]
    fn parts_end_inside_segments() {
        let cut = |part_ms| {
            POLICY.decide(
                false,
                Duration::from_ms(700),
                Duration::from_ms(part_ms),
                FRAME,
                None,
            )
        };
        assert_eq!(cut(480), Cut::None);
        assert_eq!(cut(500), Cut::Part);
    }
}
