//! The program clock: what its next value is and which packet carries it (ISO 13818-1 §2.7.2).
//!
//! A value must not be above any time that is still to be decoded. What is still to come is not
//! known, but each track's times only grow, so the clock follows the slower track, with a margin.

use crate::media::{Duration, Timestamp, TrackKind, Tracks};

/// How far the clock stays behind the slower track's newest frame, as ffmpeg has it: room for
/// the audio that waits for its PES to fill, and for a player to buffer.
const MARGIN: Duration = Duration::from_ms(700);
/// Longest distance of two values (§2.7.2).
const INTERVAL_MAX: Duration = Duration::from_ms(100);
/// How far the clock may fall behind the value it could have before packets are spent on it alone.
const TRAIL_MAX: Duration = Duration::from_ms(100);
/// A track that is further behind the other one holds the clock back no longer: its encoder has
/// stopped or its timestamps are wrong, and the other track must stay playable.
pub(super) const LAG_MAX: Duration = Duration::from_secs(1);
/// Longest hole that is filled with values: bounds what a jump of the timeline costs, here 100 packets.
const FILL_MAX: Duration = Duration::from_secs(10);
/// Over an announced discontinuity the clock counts as running on if it grows by no more than this.
const CONTINUES_MAX: Duration = Duration::from_secs(1);

/// A value of the clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pcr {
    pub(super) at: Timestamp,
    /// It does not continue the values before.
    pub(super) discontinuity: bool,
}

#[derive(Default, Debug)]
pub(super) struct PcrClock {
    /// Whether both tracks are there: one that is still silent is waited for, too.
    paired: bool,
    /// Newest decoding time of each track; of a silent one that of the other's first frame.
    video: Option<Timestamp>,
    audio: Option<Timestamp>,
    /// The value written last.
    last: Option<Timestamp>,
    /// A segment has begun and has no value yet.
    segment_needs_one: bool,
    /// The timeline was announced to jump.
    jump: Jump,
}

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Jump {
    #[default]
    No,
    /// The next frame shows whether it does.
    Announced,
    /// It did; the next value says so.
    Seen,
}

impl PcrClock {
    pub(super) fn new(tracks: &Tracks) -> Self {
        let mut clock = Self::default();
        clock.set_tracks(tracks);
        clock
    }

    pub(super) fn set_tracks(&mut self, tracks: &Tracks) {
        for kind in [TrackKind::Video, TrackKind::Audio] {
            if !tracks.has(kind) {
                *self.newest(kind) = None;
            }
        }
        self.paired = tracks.video.is_some() && tracks.audio.is_some();
    }

    pub(super) fn start_segment(&mut self) {
        self.segment_needs_one = true;
    }

    /// The next frames may be anywhere in time.
    pub(super) fn discontinuity(&mut self) {
        *self = Self {
            paired: self.paired,
            last: self.last,
            segment_needs_one: self.segment_needs_one,
            jump: match self.jump {
                Jump::No => Jump::Announced,
                announced => announced,
            },
            ..Self::default()
        };
    }

    /// A frame is about to be written.
    pub(super) fn observe(&mut self, kind: TrackKind, dts: Timestamp) {
        *self.newest(kind) = Some(dts);
        if self.paired {
            self.video.get_or_insert(dts);
            self.audio.get_or_insert(dts);
        }
        if let (Jump::Announced, Some(now), Some(last)) = (self.jump, self.now(), self.last) {
            let continues = now > last && now - last <= CONTINUES_MAX;
            self.jump = if continues { Jump::No } else { Jump::Seen };
            if !continues {
                self.last = None;
            }
        }
    }

    /// Frames from `first` on are about to be written together: a clock that has no value yet begins
    /// with the first of them and not with the newest.
    pub(super) fn begin_at(&mut self, first: Timestamp) {
        if self.last.is_none() && self.jump == Jump::No {
            self.last = Some(first - MARGIN - INTERVAL_MAX);
        }
    }

    /// A value that a packet of its own must carry before more payload is written, when the packets
    /// of that payload can carry `riders` values; ask until `None`.
    pub(super) fn fill(&mut self, riders: i64) -> Option<Pcr> {
        let (now, last) = (self.now()?, self.last?);
        if now - last > FILL_MAX {
            self.last = Some(now - INTERVAL_MAX);
            return None;
        }
        let carried = Duration::from_ticks(INTERVAL_MAX.ticks().saturating_mul(riders));
        (now - last > carried + TRAIL_MAX).then(|| self.emit(last + INTERVAL_MAX))
    }

    /// The value that must stand before payload of a PID that carries none.
    pub(super) fn stand_alone(&mut self) -> Option<Pcr> {
        let now = self.now()?;
        self.segment_needs_one.then(|| self.emit(now))
    }

    /// The value to be carried by a packet that is written anyway, if one is due. It may be due
    /// since a while: then it is the one that was, and the clock trails until the next.
    pub(super) fn ride(&mut self) -> Option<Pcr> {
        let now = self.now()?;
        let due = self.last.is_none_or(|last| now - last >= INTERVAL_MAX);
        (due || self.segment_needs_one).then(|| self.emit(now))
    }

    /// Writes `now`, or what monotony and the longest distance make of it.
    fn emit(&mut self, now: Timestamp) -> Pcr {
        let at = match self.last {
            Some(last) => now.clamp(last + Duration::TICK, last + INTERVAL_MAX),
            None => now,
        };
        let discontinuity = self.jump == Jump::Seen;
        self.last = Some(at);
        self.segment_needs_one = false;
        self.jump = Jump::No;
        Pcr { at, discontinuity }
    }

    /// The highest value that is safe.
    fn now(&self) -> Option<Timestamp> {
        let newest = match (self.video, self.audio) {
            (Some(video), Some(audio)) => video.min(audio).max(video.max(audio) - LAG_MAX),
            (video, audio) => video.or(audio)?,
        };
        Some(newest - MARGIN)
    }

    fn newest(&mut self, kind: TrackKind) -> &mut Option<Timestamp> {
        match kind {
            TrackKind::Video => &mut self.video,
            TrackKind::Audio => &mut self.audio,
        }
    }
}
