//! The live window: the newest segments of a recording, which its live playlist names.
//!
//! Keeps both sequences right while segments leave (RFC 8216 §6.2.2). Does not know when a segment
//! is safe to name: whoever pushes one vouches for its bytes.

use super::media::{self, Entry, Kind, MediaPlaylist};
use crate::media::{Duration, Segment};
use std::collections::VecDeque;

/// Most segments that a window holds whatever its durations; protects memory and playlist size
/// from a stream of segments so short that three target durations never fill.
pub const WINDOW_SEGMENTS_MAX: usize = 4096;
/// Target durations that a live playlist never falls below by removing segments (RFC 8216 §6.2.2).
const TARGET_DURATIONS_MIN: i64 = 3;

/// How long a live playlist is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WindowConfig {
    /// Segments to keep; more are kept while these are shorter than three target durations.
    pub segments: usize,
    /// EXT-X-TARGETDURATION in seconds, which no segment may exceed; constant for the recording.
    pub target_duration_s: u32,
}

/// The newest segments of one recording. Its beginning moves, its past is two numbers.
#[derive(Clone, Debug)]
pub struct Window {
    config: WindowConfig,
    segments: VecDeque<Segment>,
    /// What the segments last together.
    duration: Duration,
    /// Number of the segment to come; `None` before the recording's first.
    next: Option<u64>,
    /// EXT-X-DISCONTINUITY tags that have left.
    discontinuity_sequence: u64,
    /// Whether there ever was one.
    discontinuous: bool,
    /// Whether every segment so far began with a key frame.
    independent: bool,
    ended: bool,
}

/// A window as it stood before a restart. Pushing a whole recording into a new window gives the
/// same; this is for when its beginning is not known any more.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// Number of the first of `segments`, or of the next to come if there are none.
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY tags that had left.
    pub discontinuity_sequence: u64,
    /// Whether every segment of the recording so far began with a key frame.
    pub independent: bool,
    /// The segments, consecutive from `media_sequence`.
    pub segments: Vec<Segment>,
}

/// Why a segment cannot come next.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PushError {
    /// A number is missing or comes again; naming it would break the sequence for every player.
    #[error("segment {found} cannot follow: the live window expects segment {expected}")]
    NotNext {
        /// The number that follows.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// EXT-X-ENDLIST is final.
    #[error("segment {found} cannot follow: the live window has ended")]
    Ended {
        /// The number that came.
        found: u64,
    },
}

impl Window {
    /// The window of a recording that begins. Its first segment may have any number.
    pub fn new(config: WindowConfig) -> Self {
        Self {
            config,
            segments: VecDeque::new(),
            duration: Duration::ZERO,
            next: None,
            discontinuity_sequence: 0,
            discontinuous: false,
            independent: true,
            ended: false,
        }
    }

    /// The window of a recording that has lost what came before segment `next`, with so many
    /// discontinuities in it.
    pub fn trimmed(config: WindowConfig, next: u64, discontinuity_sequence: u64) -> Self {
        Self {
            next: Some(next),
            discontinuity_sequence,
            discontinuous: discontinuity_sequence > 0,
            ..Self::new(config)
        }
    }

    /// The window of a recording that goes on after a restart.
    pub fn restore(config: WindowConfig, restored: Restored) -> Result<Self, PushError> {
        let mut window = Self::new(config);
        window.next = Some(restored.media_sequence);
        window.discontinuity_sequence = restored.discontinuity_sequence;
        window.discontinuous = restored.discontinuity_sequence > 0;
        window.independent = restored.independent;
        for segment in restored.segments {
            window.push(segment)?;
        }
        Ok(window)
    }

    /// Appends the next segment; the oldest leave. The flag for a discontinuity is cleared on the
    /// first segment of a recording: there is nothing that it could differ from.
    ///
    /// A segment longer than the target duration raises it. Neither may happen (RFC 8216
    /// §4.3.3.1); of the two, a player survives a changed target duration.
    pub fn push(&mut self, mut segment: Segment) -> Result<(), PushError> {
        let found = segment.number;
        if self.ended {
            return Err(PushError::Ended { found });
        }
        match self.next {
            None => segment.discontinuity = false,
            Some(expected) if expected != found => {
                return Err(PushError::NotNext { expected, found });
            }
            Some(_) => {}
        }
        self.next = Some(found.saturating_add(1));
        self.discontinuous |= segment.discontinuity;
        self.independent &= segment.independent || segment.gap;
        let least = media::target_duration_for(segment.duration);
        self.config.target_duration_s = self.config.target_duration_s.max(least);
        self.duration += segment.duration;
        self.segments.push_back(segment);
        while self.may_drop() {
            self.drop_oldest();
        }
        Ok(())
    }

    fn may_drop(&self) -> bool {
        let Some(oldest) = self.segments.front() else {
            return false;
        };
        let least = Duration::from_secs(
            TARGET_DURATIONS_MIN.saturating_mul(self.config.target_duration_s.into()),
        );
        let long_enough = self.duration - oldest.duration >= least;
        let len = self.segments.len();
        len > self.config.segments.max(1) && (long_enough || len > WINDOW_SEGMENTS_MAX)
    }

    fn drop_oldest(&mut self) {
        if let Some(gone) = self.segments.pop_front() {
            self.duration = self.duration - gone.duration;
            // It counts when the tag goes, not when it comes: a URI keeps its number (§6.2.2).
            let sequence = self.discontinuity_sequence;
            self.discontinuity_sequence = sequence.saturating_add(gone.discontinuity.into());
        }
    }

    /// Nothing follows: the playlist gets its EXT-X-ENDLIST, for ever.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// Whether [`Window::end`] was called.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    /// The segments that the playlist names.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &Segment> + DoubleEndedIterator {
        self.segments.iter()
    }

    /// Number of the first segment, or of the first to come.
    pub fn media_sequence(&self) -> u64 {
        let first = self.segments.front().map(|segment| segment.number);
        first.or(self.next).unwrap_or(0)
    }

    /// Number that the next segment must have; `None` before a recording's first.
    pub fn next_number(&self) -> Option<u64> {
        self.next
    }

    /// EXT-X-DISCONTINUITY tags that have left.
    pub fn discontinuity_sequence(&self) -> u64 {
        self.discontinuity_sequence
    }

    /// Whether every segment of the recording so far began with a key frame.
    pub fn is_independent(&self) -> bool {
        self.independent
    }

    /// EXT-X-TARGETDURATION in seconds.
    pub fn target_duration_s(&self) -> u32 {
        self.config.target_duration_s
    }

    /// What the playlist says.
    pub fn snapshot(&self) -> MediaPlaylist<'_> {
        let entry = |segment| Entry::within_recording(segment, segment.discontinuity);
        MediaPlaylist {
            kind: Kind::Sliding,
            target_duration_s: self.config.target_duration_s,
            media_sequence: self.media_sequence(),
            discontinuity_sequence: self.discontinuous.then_some(self.discontinuity_sequence),
            independent: self.independent,
            segments: self.segments.iter().map(entry).collect(),
            ended: self.ended,
        }
    }

    /// The playlist's text.
    pub fn render(&self) -> String {
        media::render(&self.snapshot())
    }
}

#[cfg(test)]
mod tests {
    use super::super::media::tests::{segment, strict};
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    const CONFIG: WindowConfig = WindowConfig {
        segments: 3,
        target_duration_s: 2,
    };

    /// Pushes segments of two seconds; a `d` has a discontinuity, an `x` no key frame.
    fn window(config: WindowConfig, shape: &str) -> Window {
        let mut window = Window::new(config);
        for (number, kind) in (0..).zip(shape.chars()) {
            let segment = Segment {
                discontinuity: kind == 'd',
                independent: kind != 'x',
                ..segment(number, 2000)
            };
            window.push(segment).expect("consecutive");
        }
        window
    }

    #[test]
    fn sequences_count_what_has_left() {
        let check = |shape, (media_sequence, discontinuity_sequence, tags)| {
            let window = window(CONFIG, shape);
            let text = window.render();
            let back = strict(&text);
            let listed = back.segments.iter().filter(|s| s.discontinuity).count();
            assert_eq!(back.media_sequence, media_sequence, "{shape}");
            assert_eq!(
                back.discontinuity_sequence, discontinuity_sequence,
                "{shape}"
            );
            assert_eq!(listed, tags, "{shape}");
            let has_tag = text.contains("DISCONTINUITY-SEQUENCE");
            assert_eq!(
                has_tag,
                shape.get(1..).is_some_and(|s| s.contains('d')),
                "{shape}"
            );
        };
        check("", (0, 0, 0));
        check("s", (0, 0, 0));
        check("d", (0, 0, 0)); // nothing to differ from
        check("sd", (0, 0, 1));
        check("sdss", (1, 0, 1)); // the tag still stands before the first
        check("sdsss", (2, 1, 0));
        check("dsssss", (3, 0, 0));
        check("sddddd", (3, 2, 3));
    }

    #[test]
    fn independence_does_not_come_back() {
        let check = |shape, expected| {
            let text = window(CONFIG, shape).render();
            assert_eq!(text.contains("INDEPENDENT-SEGMENTS"), expected, "{shape}");
            assert_eq!(strict(&text).independent_segments, expected);
        };
        check("sss", true);
        check("sxs", false);
        check("xsssssss", false);
    }

    #[test]
    fn three_target_durations_stay() {
        let config = WindowConfig {
            segments: 2,
            target_duration_s: 4,
        };
        let window = window(config, "ssssssssss");
        assert_eq!(window.segments().len(), 6);
        let mut endless = Window::new(config);
        for number in 0..10_000 {
            endless.push(segment(number, 0)).expect("consecutive");
        }
        assert_eq!(endless.segments().len(), WINDOW_SEGMENTS_MAX);
    }

    #[test]
    fn what_cannot_follow_is_refused() {
        let mut window = window(CONFIG, "ss");
        let error = window.push(segment(3, 2000));
        assert_eq!(
            error,
            Err(PushError::NotNext {
                expected: 2,
                found: 3
            })
        );
        window.end();
        assert_eq!(
            window.push(segment(2, 2000)),
            Err(PushError::Ended { found: 2 })
        );
        assert!(
            window
                .render()
                .ends_with("0000/00000001.ts\n#EXT-X-ENDLIST\n")
        );
    }

    #[test]
    fn a_restored_window_says_the_same() {
        let before = window(CONFIG, "sdxdssd");
        let restored = Restored {
            media_sequence: before.media_sequence(),
            discontinuity_sequence: before.discontinuity_sequence(),
            independent: before.is_independent(),
            segments: before.segments().cloned().collect(),
        };
        let mut after = Window::restore(CONFIG, restored).expect("consecutive");
        assert_eq!(after.render(), before.render());
        let next = Segment {
            discontinuity: true,
            ..segment(7, 2000)
        };
        after.push(next).expect("consecutive");
        assert!(after.render().contains("#EXT-X-DISCONTINUITY\n"));
    }

    #[test]
    fn a_segment_that_is_too_long_raises_the_target() {
        let mut window = window(CONFIG, "s");
        window.push(segment(1, 7600)).expect("consecutive");
        assert_eq!(window.target_duration_s(), 8);
    }

    /// What a player may rely on from one version to the next (RFC 8216 §6.2.1, §6.2.2).
    #[derive(Default)]
    struct Watch {
        last: Option<m3u8_rs::MediaPlaylist>,
        /// URI → media sequence, discontinuity sequence, the segment as it was listed.
        seen: HashMap<String, (u64, u64, m3u8_rs::MediaSegment)>,
    }

    impl Watch {
        fn see(&mut self, text: &str) {
            let new = strict(text);
            let mut discontinuity = new.discontinuity_sequence;
            for (number, segment) in (new.media_sequence..).zip(&new.segments) {
                discontinuity += u64::from(segment.discontinuity);
                assert!(
                    segment.duration.round() as u64 <= new.target_duration,
                    "{text}"
                );
                assert!(segment.program_date_time.is_some());
                let row = (number, discontinuity, segment.clone());
                let known = self
                    .seen
                    .entry(segment.uri.clone())
                    .or_insert_with(|| row.clone());
                assert_eq!(*known, row, "{text}");
            }
            if let Some(last) = &self.last {
                assert!(!last.end_list, "an end is final");
                let gone = new.media_sequence.checked_sub(last.media_sequence);
                assert!(gone.is_some_and(|gone| gone <= last.segments.len() as u64));
                assert!(new.discontinuity_sequence >= last.discontinuity_sequence);
                assert_eq!(new.target_duration, last.target_duration);
                assert!(last.independent_segments || !new.independent_segments);
                if gone > Some(0) {
                    let total: f32 = new.segments.iter().map(|s| s.duration).sum();
                    assert!(total >= 3.0 * new.target_duration as f32 - 0.001, "{text}");
                }
            }
            self.last = Some(new);
        }
    }

    proptest! {
        #[test]
        fn no_version_contradicts_an_earlier_one(
            size in 1usize..8,
            first in 0u64..5000,
            rows in prop::collection::vec((1i64..6499, any::<bool>(), any::<bool>(), any::<bool>()), 1..60),
            restart in 0usize..60,
        ) {
            let config = WindowConfig { segments: size, target_duration_s: 6 };
            let mut window = Window::new(config);
            let mut watch = Watch::default();
            for (at, (ms, discontinuity, independent, gap)) in rows.into_iter().enumerate() {
                let number = first + at as u64;
                let new = Segment { discontinuity, independent, gap, ..segment(number, ms) };
                window.push(new).expect("consecutive");
                watch.see(&window.render());
                if at == restart {
                    window = Window::restore(config, Restored {
                        media_sequence: window.media_sequence(),
                        discontinuity_sequence: window.discontinuity_sequence(),
                        independent: window.is_independent(),
                        segments: window.segments().cloned().collect(),
                    }).expect("consecutive");
                    watch.see(&window.render());
                }
            }
            window.end();
            watch.see(&window.render());
        }
    }
}
