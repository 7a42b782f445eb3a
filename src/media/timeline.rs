//! Continuous time from the 32-bit milliseconds of the wire.
//!
//! One timeline serves one session. It unwraps the counter (at 2^32 as the RTMP specification says
//! in §4, and at 2^31 where ffmpeg wraps), maps it to ticks, keeps decoding times growing, counts
//! audio by its samples and says where time jumped. It depends on nothing but what it is told, so
//! the same input gives the same output, live or from a file.

use super::{Duration, Timestamp, TrackKind};

/// A step back up to this long is jitter: the frame is kept, right after its predecessor.
pub const BACKWARD_MAX: Duration = Duration::from_ms(500);
/// Silence of all tracks longer than this is a gap and not a long frame.
pub const GAP_MAX: Duration = Duration::from_secs(3);
/// The same for a session that has only video: a screen may stand still for seconds.
pub const GAP_MAX_VIDEO_ONLY: Duration = Duration::from_secs(10);
/// How far the sample count of audio may lie beside the wire's milliseconds before it gives way at
/// once; below this it is drawn nearer in steps that nobody hears.
pub const AUDIO_DRIFT_MAX: Duration = Duration::from_ms(40);
/// The wire rounds to a millisecond, so does the anchor: so much deviation says nothing. One tick
/// more for our own rounding.
const AUDIO_ROUNDING: i64 = 91;
/// Largest step in ticks by which one audio frame is drawn nearer to the wire's clock.
const AUDIO_STEP: i64 = 45;
/// Sound that runs less than this ahead of the pictures is merely interleaved so.
const LEAD_MIN: Duration = Duration::from_ms(250);
/// How far sound may run ahead of the pictures and still be in step with them; tracks that begin
/// further apart are put together.
const LEAD_MAX: Duration = GAP_MAX_VIDEO_ONLY;
/// How long a lead counts after it was seen, in the time of the pictures: longer than the bursts in
/// which some encoders send one track after the other.
const LEAD_STAYS: Duration = Duration::from_secs(10);
/// What a frame is taken to last when a track has shown only one.
const FRAME_DURATION_DEFAULT: Duration = Duration::from_ms(33);

/// When a frame is decoded and shown, on the session's continuous timeline.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Placed {
    /// Presentation time, never before `dts`.
    pub pts: Timestamp,
    /// Decoding time, greater than that of every earlier frame of the track.
    pub dts: Timestamp,
    /// Whether the wire's time jumped here: what follows is joined without a hole.
    pub jump: bool,
}

/// The time a frame carries on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WireTime {
    /// RTMP or FLV timestamp: the decoding time.
    pub timestamp_ms: u32,
    /// Composition time offset: presentation minus decoding time.
    pub composition_ms: i32,
    /// Additional nanoseconds of presentation time (Enhanced RTMP v2, TimestampOffsetNano).
    pub nanos: u32,
}

/// How long an audio frame lasts by its samples.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Samples {
    /// Samples in this frame.
    pub count: u32,
    /// Samples per second.
    pub rate: u32,
}

/// The timeline of one session. See the module.
#[derive(Debug, Default)]
pub struct Timeline {
    unwrap: Option<Unwrap>,
    video: Track,
    audio: Track,
    audio_clock: Option<AudioClock>,
    lead: Lead,
    /// How far decoding times are moved ahead because composition offsets are negative.
    composition_shift: Duration,
    adjusted: u64,
}

#[derive(Debug, Default)]
struct Track {
    /// Ticks added to the unwrapped time. `None` until the track's first frame.
    offset: Option<Duration>,
    last: Option<Timestamp>,
    frame_duration: Option<Duration>,
    /// Where the other track ended when the newest frame came.
    other_end: Option<Timestamp>,
    /// The track before this one's jump: frames of the other track may follow it or not.
    rebased_to: Option<Duration>,
}

/// How far the sound runs ahead of the pictures it comes with: the most of the last seconds.
#[derive(Debug, Default)]
struct Lead {
    most: Duration,
    most_before: Duration,
    since: Option<Timestamp>,
}

#[derive(Debug)]
struct Unwrap {
    raw: u32,
    ms: i64,
}

#[derive(Debug)]
struct AudioClock {
    anchor: Timestamp,
    samples: i64,
    rate: u32,
}

impl Timeline {
    /// A timeline that begins with the first frame it is shown.
    pub fn new() -> Self {
        Self::default()
    }

    /// Places a video frame.
    pub fn video(&mut self, wire: WireTime) -> Placed {
        let (at, jump) = self.follow(TrackKind::Video, wire.timestamp_ms);
        let composition = Duration::from_ms(wire.composition_ms.into())
            + Duration::from_ticks(i64::from(wire.nanos).saturating_mul(9) / 100_000);
        if -composition > self.composition_shift {
            self.composition_shift = -composition;
        }
        let pts = at + composition;
        let placed = self.finish(TrackKind::Video, pts, at - self.composition_shift, jump);
        self.measure_lead(placed.dts);
        placed
    }

    /// Places an audio frame.
    pub fn audio(&mut self, wire: WireTime, samples: Samples) -> Placed {
        let offset = self.audio.offset;
        let (at, jump) = self.follow(TrackKind::Audio, wire.timestamp_ms);
        if self.audio.offset != offset {
            // Time was joined anew: counting starts here.
            self.audio_clock = None;
        }
        let at = AudioClock::place(&mut self.audio_clock, at, samples);
        let placed = self.finish(TrackKind::Audio, at, at, jump);
        if offset.is_none()
            && let Some(last) = self.video.last
        {
            self.measure_lead(last);
        }
        placed
    }

    /// How many frames got another decoding time than the wire said, to keep it growing.
    pub fn adjusted(&self) -> u64 {
        self.adjusted
    }

    /// Where the newest frame of all tracks ends, seen in step.
    pub fn end(&self) -> Option<Timestamp> {
        let audio = self.audio.end();
        let audio = audio.map(|end| self.in_step(TrackKind::Audio, end));
        self.video.end().max(audio)
    }

    /// Where a time of this track is on that of the pictures, if there are any: sound may run ahead
    /// of those it comes with by a constant, and is then no sign that time has passed.
    pub fn in_step(&self, kind: TrackKind, at: Timestamp) -> Timestamp {
        match kind {
            TrackKind::Video => at,
            TrackKind::Audio => at - self.lead.get(),
        }
    }

    /// Decoding time of a track's newest frame.
    pub fn last(&self, kind: TrackKind) -> Option<Timestamp> {
        self.track(kind).last
    }

    /// How long the newest frame of a track lasts, as its predecessors did.
    pub fn frame_duration(&self, kind: TrackKind) -> Duration {
        self.track(kind)
            .frame_duration
            .unwrap_or(FRAME_DURATION_DEFAULT)
    }

    fn track(&self, kind: TrackKind) -> &Track {
        match kind {
            TrackKind::Video => &self.video,
            TrackKind::Audio => &self.audio,
        }
    }

    /// The wire's time on the continuous timeline, and whether it jumped.
    fn follow(&mut self, kind: TrackKind, raw: u32) -> (Timestamp, bool) {
        let wire = Timestamp::from_ms(self.unwrap(raw));
        let (track, other) = match kind {
            TrackKind::Video => (&mut self.video, &mut self.audio),
            TrackKind::Audio => (&mut self.audio, &mut self.video),
        };
        let gap_max = match (kind, other.last) {
            (TrackKind::Video, None) => GAP_MAX_VIDEO_ONLY,
            _ => GAP_MAX,
        };
        let Some(offset) = track.offset else {
            // The first frame of the session is the origin; the first of the second track keeps
            // its distance to the other, unless that cannot be meant.
            let newest = other.end();
            let offset = other.offset.unwrap_or(Timestamp::ZERO - wire);
            let apart = newest.map(|newest| (wire + offset - newest).abs());
            let plausible = apart.is_none_or(|apart| apart <= LEAD_MAX);
            let offset = match newest {
                Some(newest) if !plausible => newest - wire,
                _ => offset,
            };
            track.offset = Some(offset);
            return (wire + offset, false);
        };
        let Some(expected) = track.end() else {
            return (wire + offset, false);
        };
        // As far as the other track has gone on since, time has passed for this one too. One that was
        // further behind than tracks are apart has only caught up.
        let newest = match (other.end(), track.other_end) {
            (Some(end), Some(before)) => {
                let before = before.max(expected - LEAD_MAX);
                expected + (end - before).max(Duration::ZERO)
            }
            (end, _) => end.map_or(expected, |end| end.max(expected)),
        };
        if let Some(rebased) = other.rebased_to {
            // The other track jumped: this one follows it if that continues it better.
            let miss = |offset| (wire + offset - expected).abs();
            if rebased != offset
                && miss(rebased) < miss(offset)
                && miss(rebased) <= GAP_MAX_VIDEO_ONLY
            {
                track.offset = Some(rebased);
                other.rebased_to = None;
                return (wire + rebased, false);
            }
        }
        let at = wire + offset;
        let forward = at - expected > gap_max && at - newest > gap_max;
        let backward = expected - at > BACKWARD_MAX + track.frame_duration.unwrap_or_default();
        if !forward && !backward {
            return (at, false);
        }
        let offset = newest - wire;
        track.offset = Some(offset);
        track.rebased_to = other.last.map(|_| offset);
        // What this track makes up for is no time that has passed for the other.
        other.other_end = other.other_end.map(|_| newest);
        (newest, true)
    }

    fn finish(&mut self, kind: TrackKind, pts: Timestamp, dts: Timestamp, jump: bool) -> Placed {
        let (track, other) = match kind {
            TrackKind::Video => (&mut self.video, &self.audio),
            TrackKind::Audio => (&mut self.audio, &self.video),
        };
        let floor = track.last.map(|last| last + Duration::TICK);
        let grown = floor.map_or(dts, |floor| dts.max(floor));
        if grown != dts {
            self.adjusted = self.adjusted.saturating_add(1);
        }
        if let Some(last) = track.last
            && grown - last > Duration::TICK
            && !jump
        {
            track.frame_duration = Some((grown - last).min(GAP_MAX));
        }
        track.last = Some(grown);
        track.other_end = other.end();
        Placed {
            pts: pts.max(grown),
            dts: grown,
            jump,
        }
    }

    fn measure_lead(&mut self, at: Timestamp) {
        if let (Some(video), Some(audio)) = (self.video.end(), self.audio.end()) {
            self.lead.measure(at, audio - video);
        }
    }

    fn unwrap(&mut self, raw: u32) -> i64 {
        let ms = match &self.unwrap {
            None => i64::from(raw),
            Some(last) => {
                let step = i64::from(raw.wrapping_sub(last.raw).cast_signed());
                // ffmpeg masks its timestamps to 31 bits: a fall by about 2^31 is a small step on.
                let half = 1_i64 << 31;
                let step = [step, step.saturating_add(half), step.saturating_sub(half)]
                    .into_iter()
                    .min_by_key(|step| step.abs())
                    .unwrap_or(step);
                last.ms.saturating_add(step)
            }
        };
        self.unwrap = Some(Unwrap { raw, ms });
        ms
    }
}

impl Track {
    /// Where the next frame is expected.
    fn end(&self) -> Option<Timestamp> {
        let last = self.last?;
        Some(last + self.frame_duration.unwrap_or(FRAME_DURATION_DEFAULT))
    }
}

impl Lead {
    /// The newest picture is at `at`, sound has come until `lead` beyond it.
    fn measure(&mut self, at: Timestamp, lead: Duration) {
        let since = self.since.get_or_insert(at);
        if at - *since > LEAD_STAYS {
            *since = at;
            self.most_before = std::mem::take(&mut self.most);
        }
        self.most = self.most.max(lead.min(LEAD_MAX));
    }

    fn get(&self) -> Duration {
        let most = self.most.max(self.most_before);
        if most < LEAD_MIN {
            return Duration::ZERO;
        }
        most
    }
}

impl AudioClock {
    /// The time of the next frame: by samples as long as the wire agrees.
    fn place(clock: &mut Option<Self>, wire: Timestamp, samples: Samples) -> Timestamp {
        let fresh = || Self {
            anchor: wire,
            samples: 0,
            rate: samples.rate,
        };
        let this = clock.get_or_insert_with(fresh);
        if this.rate != samples.rate {
            *this = fresh();
        }
        let mut at = this.anchor + Duration::from_samples(this.samples, this.rate);
        let miss = wire - at;
        if miss.abs() > AUDIO_DRIFT_MAX {
            *this = fresh();
            at = wire;
        } else if miss.abs().ticks() > AUDIO_ROUNDING {
            let excess = miss.abs().ticks().saturating_sub(AUDIO_ROUNDING);
            let step = Duration::from_ticks(excess.min(AUDIO_STEP));
            let step = if miss.ticks() < 0 { -step } else { step };
            this.anchor = this.anchor + step;
            at = at + step;
        }
        this.samples = this.samples.saturating_add(samples.count.into());
        // Whole seconds move into the anchor: the count stays small however long the session is.
        let second = i64::from(this.rate.max(1));
        this.anchor = this.anchor + Duration::from_secs(this.samples.div_euclid(second));
        this.samples = this.samples.rem_euclid(second);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn wire(timestamp_ms: u32) -> WireTime {
        WireTime {
            timestamp_ms,
            composition_ms: 0,
            nanos: 0,
        }
    }

    const AAC_44100: Samples = Samples {
        count: 1024,
        rate: 44_100,
    };

    /// Decoding times in ms of video frames with these wire times; `!` in front marks a jump.
    fn check_video(input: &[u32], expected: &[i64], jumps: &[usize]) {
        let mut timeline = Timeline::new();
        let placed: Vec<_> = input.iter().map(|at| timeline.video(wire(*at))).collect();
        let ms: Vec<_> = placed.iter().map(|p| p.dts.ticks() / 90).collect();
        assert_eq!(ms, expected, "{input:?}");
        let jumped: Vec<_> = (0..placed.len()).filter(|i| placed[*i].jump).collect();
        assert_eq!(jumped, jumps, "{input:?}");
    }

    #[test]
    fn the_wire_becomes_continuous_time() {
        check_video(&[0, 40, 80], &[0, 40, 80], &[]);
        check_video(&[19_999_999, 20_000_039], &[0, 40], &[]);
        check_video(&[u32::MAX - 19, 20, 60], &[0, 40, 80], &[]);
        // ffmpeg wraps at 31 bits.
        check_video(
            &[0x7fff_ffe0, 0x7fff_fff8, 0x18, 0x40],
            &[0, 24, 56, 96],
            &[],
        );
        // Equal and slightly smaller times grow by a tick and do not drift.
        check_video(&[0, 40, 40, 80, 70, 120], &[0, 40, 40, 80, 80, 120], &[]);
        // A screen that stands still is no gap, a jump is.
        check_video(&[0, 40, 9_000], &[0, 40, 9_000], &[]);
        check_video(&[0, 40, 30_080, 30_120], &[0, 40, 80, 120], &[2]);
        check_video(&[10_000, 10_040, 5_000, 5_040], &[0, 40, 80, 120], &[2]);
        check_video(&[0, 40, 16_777_200, 16_777_240], &[0, 40, 80, 120], &[2]);
    }

    #[test]
    fn both_tracks_jump_together_and_keep_their_distance() {
        let mut timeline = Timeline::new();
        for i in 0..50 {
            timeline.video(wire(1_000 + i * 40));
            timeline.audio(
                wire(1_010 + i * 40),
                Samples {
                    count: 1920,
                    rate: 48_000,
                },
            );
        }
        let video = timeline.video(wire(500_000));
        let audio = timeline.audio(
            wire(500_010),
            Samples {
                count: 1920,
                rate: 48_000,
            },
        );
        assert!(video.jump && !audio.jump);
        assert_eq!(audio.dts - video.dts, Duration::from_ms(10));
        let video = timeline.video(wire(500_040));
        let audio = timeline.audio(
            wire(500_050),
            Samples {
                count: 1920,
                rate: 48_000,
            },
        );
        assert!(!video.jump && !audio.jump);
        assert_eq!(audio.dts - video.dts, Duration::from_ms(10));
    }

    #[test]
    fn one_track_that_jumps_alone_does_not_flap() {
        let mut timeline = Timeline::new();
        let mut jumps = 0;
        for i in 0..500_u32 {
            let skew = if i < 100 { 0 } else { 60_000 };
            jumps += u32::from(timeline.video(wire(i * 40 + skew)).jump);
            jumps += u32::from(
                timeline
                    .audio(
                        wire(i * 40),
                        Samples {
                            count: 1920,
                            rate: 48_000,
                        },
                    )
                    .jump,
            );
        }
        assert_eq!(jumps, 1);
    }

    #[test]
    fn audio_with_a_constant_skew_keeps_it() {
        let mut timeline = Timeline::new();
        for i in 0..200_u32 {
            let video = timeline.video(wire(i * 40));
            let audio = timeline.audio(
                wire(3_000 + i * 40),
                Samples {
                    count: 1920,
                    rate: 48_000,
                },
            );
            assert!(!video.jump && !audio.jump);
            assert_eq!(audio.dts - video.dts, Duration::from_ms(3_000));
        }
    }

    #[test]
    fn aac_steps_by_its_samples_and_stays_within_the_wires_millisecond() {
        let mut timeline = Timeline::new();
        let mut last = None;
        for n in 0..200_000_u64 {
            let ms = (n * 1024 * 1000 + 22_050) / 44_100;
            let at = timeline.audio(wire(ms as u32), AAC_44100).dts;
            assert!((at - Timestamp::from_ms(ms as i64)).abs() <= Duration::from_ticks(91));
            if let Some(last) = last.replace(at) {
                let step: Duration = at - last;
                assert!(
                    (2089..=2090).contains(&step.ticks()),
                    "{step:?} at frame {n}"
                );
            }
        }
    }

    #[test]
    fn audio_follows_a_clock_that_drifts() {
        // An encoder whose clock runs 100 ppm fast, for ten hours.
        let mut timeline = Timeline::new();
        for n in 0..1_550_000_u64 {
            let ms = (n as f64 * 1024.0 / 44.1 * 1.0001) as u32;
            let at = timeline.audio(wire(ms), AAC_44100).dts;
            let miss = (at - Timestamp::from_ms(ms.into())).abs();
            assert!(miss < Duration::from_ms(3), "{miss:?} after {n} frames");
        }
    }

    #[test]
    fn negative_composition_times_move_decoding_ahead() {
        let mut timeline = Timeline::new();
        for i in 0..10 {
            let placed = timeline.video(WireTime {
                timestamp_ms: 1_000 + i * 40,
                composition_ms: -80,
                nanos: 0,
            });
            assert_eq!(placed.pts.ticks(), (i64::from(i) * 40 - 80) * 90);
            assert_eq!(placed.dts, placed.pts);
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_time_grows(input in proptest::collection::vec((any::<bool>(), any::<u32>(), -0x80_0000i32..0x80_0000), 1..200)) {
            let mut timeline = Timeline::new();
            let (mut video, mut audio) = (None, None);
            for (is_video, timestamp_ms, composition_ms) in input {
                let wire = WireTime { timestamp_ms, composition_ms, nanos: 0 };
                let (placed, last) = if is_video {
                    (timeline.video(wire), &mut video)
                } else {
                    (timeline.audio(wire, AAC_44100), &mut audio)
                };
                prop_assert!(placed.pts >= placed.dts);
                if let Some(last) = last.replace(placed.dts) {
                    prop_assert!(placed.dts > last);
                }
            }
        }
    }
}
