//! FLV tags in, effects out: demuxer, timeline, segmenter and muxer as one pure value.
//!
//! `push` takes a tag, `poll` gives what is to be done, in the only order in which it may be done:
//! the bytes of a segment, then the segment, and only then may anybody hear of it. Whoever carries
//! the effects out (a live session, the offline packager, a test) gets the same bytes for the same
//! tags. A few more than 500 lines: the order of effects is seen only where all of them are made.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used
    )
)]

mod dates;
mod held;

use crate::flv::{self, Demuxer, Sample, TagKind};
use crate::media::codec::h265;
use crate::media::timeline::{Placed, Samples, Timeline, WireTime};
use crate::media::track::VideoCodec;
use crate::media::{
    Begin, Duration, Frame, Part, Rope, Segment, Timestamp, TrackKind, Tracks, Units, WallTime,
};
pub use crate::mux::ts::{BLOCK_BYTES, Blocks};
use crate::mux::ts::{Muxer, Packets};
pub use crate::segment::Policy;
use crate::segment::{Cut, Opening, Segmenter};
use bytes::Bytes;
use dates::Dates;
use held::{Arrival, Held};
pub use held::{FRAME_WAIT, HELD_BYTES_MAX, LEAD_IN_MAX, TRACK_WAIT};
use std::collections::{BTreeMap, VecDeque};

/// Length of a segment: one that grows beyond it is cut without a key frame. At 200 Mbit/s it holds ten
/// seconds.
pub const SEGMENT_BYTES_MAX: u64 = 256 << 20;

/// A key frame that is later than this does not follow the distance of those before it.
const KEY_FRAME_LATE_MAX: Duration = Duration::from_ms(200);

/// What is to be done, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// From the next segment on these are the tracks.
    Tracks(Tracks),
    /// A segment begins: all that is known of it, which is not yet its duration and its size.
    Open(Segment),
    /// Bytes of the open segment.
    Write(Bytes),
    /// All bytes written so far end a part: they should reach the disk now.
    Part(Part),
    /// The open segment is whole. It may be named once its bytes are safe.
    Segment {
        /// The segment.
        segment: Segment,
        /// `EXT-X-TARGETDURATION` of its recording, in seconds: never changes.
        target_duration_s: u32,
    },
}

/// What a session has counted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Stats {
    /// Pictures in segments.
    pub video_frames: u64,
    /// Audio frames in segments.
    pub audio_frames: u64,
    /// Bytes of media that came in.
    pub bytes: u64,
    /// Frames and tags that are in no segment, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// Jumps of time and changes of tracks.
    pub discontinuities: u64,
    /// Segments that begin where decoding cannot start.
    pub forced_cuts: u64,
    /// When the newest key frame of the video is shown.
    pub last_key: Option<Timestamp>,
    /// How long after the one before.
    pub key_interval: Option<Duration>,
}

/// One session's way from tags to segments.
#[derive(Debug)]
pub struct Pipeline {
    demuxer: Demuxer,
    timeline: Timeline,
    segmenter: Segmenter,
    begin: Begin,
    state: State,
    /// Set while a changed video configuration waits for its first key frame.
    awaits_key: bool,
    /// Sound that changed with it, and waits with it: a segment of one track alone stops players.
    changed_sound: Vec<Arrival>,
    dates: Dates,
    /// Until a picture that is shown after this one, leading pictures lack what they refer to.
    leading_of: Option<Timestamp>,
    keys: Option<KeyFrames>,
    segment_bytes_max: u64,
    out: Packets,
    effects: VecDeque<Effect>,
    stats: Stats,
}

/// When the last two frames came with which a segment could begin.
#[derive(Clone, Copy, Debug)]
struct KeyFrames {
    last: Timestamp,
    apart: Duration,
}

#[derive(Debug)]
enum State {
    Gathering(Held),
    Running { muxer: Box<Muxer>, tracks: Tracks },
}

impl Pipeline {
    /// A pipeline that cuts by `policy` and goes on where `begin` says.
    pub fn new(policy: Policy, begin: Begin) -> Self {
        Self {
            demuxer: Demuxer::new(),
            timeline: Timeline::new(),
            segmenter: Segmenter::new(policy, begin.number, begin.target_duration_s),
            begin,
            state: State::Gathering(Held::default()),
            awaits_key: false,
            changed_sound: Vec::new(),
            dates: Dates::default(),
            leading_of: None,
            keys: None,
            segment_bytes_max: SEGMENT_BYTES_MAX,
            out: Packets::new(Blocks::default()),
            effects: VecDeque::new(),
            stats: Stats::default(),
        }
    }

    /// The same with blocks that others fill as well.
    #[must_use]
    pub fn with_blocks(mut self, blocks: Blocks) -> Self {
        self.out = Packets::new(blocks);
        self
    }

    /// Takes one tag. `now` dates segments; it decides nothing else.
    ///
    /// An error ends the publish; what was taken before stays good.
    pub fn push(
        &mut self,
        kind: TagKind,
        timestamp_ms: u32,
        body: Rope,
        now: WallTime,
    ) -> Result<(), flv::Error> {
        add(&mut self.stats.bytes, body.len());
        let waits = !self.changed_sound.is_empty();
        let audio_before = waits.then(|| self.demuxer.tracks().audio.clone());
        let demuxed = self.demuxer.push(kind, timestamp_ms, body)?;
        if let Some(reason) = demuxed.dropped {
            self.drop_frame(&reason.to_string());
        }
        if demuxed.tracks_changed
            && let State::Running { tracks, .. } = &self.state
        {
            self.awaits_key = self.demuxer.tracks().video != tracks.video;
            if audio_before.is_some_and(|before| before != self.demuxer.tracks().audio) {
                for _ in std::mem::take(&mut self.changed_sound) {
                    self.drop_frame("sound between two changes of its parameters");
                }
            } else if !self.awaits_key {
                self.go_on_with_changed_sound(now);
            }
        }
        if let Some(sample) = demuxed.sample {
            for arrival in self.place(sample) {
                self.arrive(arrival, now);
            }
        }
        Ok(())
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// No more tags: what was held is put out and the open segment is ended.
    pub fn finish(&mut self, now: WallTime) {
        if let State::Gathering(held) = &self.state
            && !held.arrivals.is_empty()
        {
            self.release(now);
        }
        self.go_on_with_changed_sound(now);
        let end = self.timeline.end();
        if let Some(at) = end.or_else(|| self.segmenter.opening().map(|o| o.start)) {
            self.end_segment(at);
        }
    }

    /// How long after the newest media a key frame should come that would end the segment, by the
    /// distance of the last two; `None` if none is expected.
    pub fn key_frame_due(&self) -> Option<Duration> {
        let (keys, now) = (self.keys?, self.timeline.end()?);
        let expected = keys.last + keys.apart;
        let overdue = now - expected > KEY_FRAME_LATE_MAX;
        let ends = !overdue && self.segmenter.would_end_at(expected.max(now));
        ends.then(|| (expected - now).max(Duration::ZERO))
    }

    /// The same with a limit that a test can reach.
    #[must_use]
    pub fn with_segment_bytes_max(mut self, max: u64) -> Self {
        self.segment_bytes_max = max;
        self
    }

    /// Bytes of frames that wait for a key frame or the second track.
    pub fn held_bytes(&self) -> usize {
        match &self.state {
            State::Gathering(held) => held.bytes,
            State::Running { .. } => {
                let waits = self.changed_sound.iter();
                waits.map(|arrival| arrival.frame.data.len()).sum()
            }
        }
    }

    /// What has been counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What the encoder says of itself.
    pub fn metadata(&self) -> Option<&flv::Metadata> {
        self.demuxer.metadata()
    }

    /// Puts a sample on the timeline; an audio tag may hold several frames.
    fn place(&mut self, sample: Sample) -> Vec1<Arrival> {
        let wire = WireTime {
            timestamp_ms: sample.timestamp_ms,
            composition_ms: sample.composition_ms,
            nanos: sample.nano,
        };
        let end_before = self.timeline.end();
        if sample.kind == TrackKind::Video {
            let placed = self.timeline.video(wire);
            return Vec1::One(Arrival {
                can_start: sample.key || sample.recovery,
                independent: sample.key && !sample.recovery,
                jump: placed.jump,
                end_before,
                frame: frame(
                    TrackKind::Video,
                    placed,
                    sample.key || sample.recovery,
                    sample.data,
                    sample.units,
                ),
            });
        }
        let (rate, per_frame) = self
            .demuxer
            .tracks()
            .audio
            .as_ref()
            .map_or((1, 0), |audio| (audio.sample_rate, audio.samples_per_frame));
        let samples = Samples {
            count: per_frame.saturating_mul(sample.frames.into()),
            rate,
        };
        let placed = self.timeline.audio(wire, samples);
        let arrival = |placed: Placed, data| Arrival {
            can_start: true,
            independent: true,
            jump: placed.jump,
            end_before,
            frame: frame(TrackKind::Audio, placed, true, data, Units::new()),
        };
        if sample.units.len() < 2 {
            return Vec1::One(arrival(placed, sample.data));
        }
        let split = sample.units.iter().enumerate().map(|(nth, unit)| {
            let later = Duration::from_samples((nth as i64).saturating_mul(per_frame.into()), rate);
            let placed = Placed {
                pts: placed.pts + later,
                dts: placed.dts + later,
                jump: placed.jump && nth == 0,
            };
            arrival(
                placed,
                sample.data.slice(unit.offset as usize, unit.len as usize),
            )
        });
        Vec1::Many(split.collect())
    }

    fn arrive(&mut self, arrival: Arrival, now: WallTime) {
        match &mut self.state {
            State::Running { .. } => self.change(arrival, now),
            State::Gathering(held) => {
                let refused = held.keep(arrival);
                let ready = held.is_ready(self.demuxer.tracks());
                for _ in 0..refused {
                    self.drop_frame(BEFORE_KEY_FRAME);
                }
                if ready {
                    self.release(now);
                }
            }
        }
    }

    /// Begins with what was held: the key frame first, then the rest in the order of arrival.
    fn release(&mut self, now: WallTime) {
        let State::Gathering(held) = &mut self.state else {
            return;
        };
        let mut held = std::mem::take(held);
        let all = self.demuxer.tracks();
        let first_video = held.first_video();
        let tracks = Tracks {
            video: first_video.and(all.video.clone()),
            audio: all.audio.clone(),
        };
        self.state = State::Running {
            muxer: Box::new(Muxer::new(tracks.clone())),
            tracks: tracks.clone(),
        };
        self.effects.push_back(Effect::Tracks(tracks));
        if let Some(key) = first_video.and_then(|at| held.arrivals.remove(at)) {
            self.leading_of = (!key.independent).then_some(key.frame.pts);
            self.go_on(key, now);
        }
        for arrival in held.arrivals {
            self.go_on(arrival, now);
        }
    }

    /// Goes on. When pictures and sound change at one time, they do so behind one discontinuity: sound that
    /// comes first waits for the key frame, as it does in the beginning.
    fn change(&mut self, mut arrival: Arrival, now: WallTime) {
        let State::Running { tracks, .. } = &self.state else {
            return;
        };
        if !self.awaits_key {
            return self.go_on(arrival, now);
        }
        if arrival.frame.kind == TrackKind::Audio && tracks.audio != self.demuxer.tracks().audio {
            let first = self.changed_sound.first().unwrap_or(&arrival);
            let waited = arrival.frame.dts - first.frame.dts;
            let full = self.held_bytes() > HELD_BYTES_MAX;
            self.changed_sound.push(arrival);
            if waited > LEAD_IN_MAX || full {
                self.go_on_with_changed_sound(now);
            }
            return;
        }
        if !arrival.can_start {
            return self.go_on(arrival, now);
        }
        if let Some(first) = self.changed_sound.first() {
            arrival.end_before = first.end_before;
        }
        for sound in &mut self.changed_sound {
            arrival.jump |= std::mem::take(&mut sound.jump);
        }
        self.go_on(arrival, now);
        self.go_on_with_changed_sound(now);
    }

    fn go_on_with_changed_sound(&mut self, now: WallTime) {
        for sound in std::mem::take(&mut self.changed_sound) {
            self.go_on(sound, now);
        }
    }

    fn go_on(&mut self, arrival: Arrival, now: WallTime) {
        let is_video = arrival.frame.kind == TrackKind::Video;
        // A changed video track begins with a key frame; a changed audio track at once.
        if is_video && self.awaits_key && !arrival.can_start {
            return self.drop_frame("video frame between new parameters and their key frame");
        }
        if self.lacks_references(&arrival.frame) {
            return self.drop_frame(LEADING);
        }
        let configured = self.demuxer.tracks();
        let State::Running { muxer, tracks } = &mut self.state else {
            return;
        };
        let mut at = self.timeline.in_step(arrival.frame.kind, arrival.frame.dts);
        self.dates.arrived(at, now);
        let mut switched = false;
        if is_video && self.awaits_key {
            self.awaits_key = false;
            // Sound whose parameters came before this key frame changes here, too.
            tracks.clone_from(configured);
            self.leading_of = (!arrival.independent).then_some(arrival.frame.pts);
            switched = true;
        }
        if !is_video && tracks.audio != configured.audio {
            tracks.audio.clone_from(&configured.audio);
            switched = true;
            // Sound may lie behind the pictures that are in the segment already.
            at = at.max(self.timeline.last(TrackKind::Video).unwrap_or(at));
        }
        let begins_here = switched && self.segmenter.is_open();
        if begins_here {
            let tracks = tracks.clone();
            match arrival.jump {
                true => {
                    self.end_segment(arrival.end_before.unwrap_or(at));
                    self.dates.clear();
                }
                false => self.end_segment(at),
            }
            if let State::Running { muxer, .. } = &mut self.state {
                muxer.set_tracks(tracks.clone());
            }
            self.effects.push_back(Effect::Tracks(tracks));
            add(&mut self.stats.discontinuities, 1);
            self.begin_segment(&arrival, at, true, now);
        } else if switched {
            muxer.set_tracks(tracks.clone());
        }
        if is_video && arrival.can_start {
            let last = arrival.frame.dts;
            let apart = self.keys.map_or(Duration::ZERO, |keys| last - keys.last);
            self.keys = Some(KeyFrames { last, apart });
        }
        if !begins_here {
            self.cut(&arrival, at, now);
        }
        self.mux(&arrival.frame);
    }

    /// Whether a picture refers to some from before the first: leading pictures of an open group
    /// with which the output begins. HEVC has a name for them (RASL), in H.264 their time shows it.
    fn lacks_references(&mut self, frame: &Frame) -> bool {
        let (Some(first), TrackKind::Video) = (self.leading_of, frame.kind) else {
            return false;
        };
        if frame.pts > first {
            self.leading_of = None;
        }
        if frame.pts >= first {
            return false;
        }
        let video = self.demuxer.tracks().video.as_ref();
        match video.map(|video| video.codec) {
            Some(VideoCodec::H265) => frame.units.iter().any(|unit| {
                let header = frame.data.get(unit.offset as usize);
                header.is_some_and(|header| h265::is_rasl(h265::nal_type(header)))
            }),
            _ => true,
        }
    }

    /// Ends what has to end before this frame, which is at `at` for the segments, and begins the
    /// next segment.
    fn cut(&mut self, arrival: &Arrival, at: Timestamp, now: WallTime) {
        let State::Running { tracks, .. } = &self.state else {
            return;
        };
        let frame = &arrival.frame;
        let leads = tracks.video.is_none() || frame.kind == TrackKind::Video;
        let can_start = arrival.can_start && leads;
        if !self.segmenter.is_open() {
            let continues = self.begin.continues && self.dates.is_empty();
            return self.begin_segment(arrival, at, continues, now);
        }
        // Sound can be cut anywhere, so it is never cut early.
        let lasts = match tracks.video {
            Some(_) => self.timeline.frame_duration(frame.kind),
            None => Duration::ZERO,
        };
        let cut = match self.segmenter.decide(at, can_start, lasts) {
            _ if arrival.jump => Cut::Gap,
            Cut::None | Cut::Part if self.segmenter.size() > Some(self.segment_bytes_max) => {
                Cut::Forced
            }
            cut => cut,
        };
        match cut {
            Cut::None => {}
            Cut::Part => {
                self.flush();
                if let Some(part) = self.segmenter.end_part(at, can_start) {
                    self.effects.push_back(Effect::Part(part));
                }
            }
            Cut::Segment | Cut::Forced => {
                self.end_segment(at);
                self.begin_segment(arrival, at, false, now);
            }
            Cut::Gap => {
                self.end_segment(arrival.end_before.unwrap_or(at));
                self.dates.clear();
                add(&mut self.stats.discontinuities, 1);
                if let State::Running { muxer, .. } = &mut self.state {
                    muxer.discontinuity();
                }
                self.begin_segment(arrival, at, true, now);
            }
        }
    }

    fn begin_segment(
        &mut self,
        arrival: &Arrival,
        at: Timestamp,
        discontinuity: bool,
        now: WallTime,
    ) {
        let State::Running { muxer, tracks } = &mut self.state else {
            return;
        };
        let leads = tracks.video.is_none() || arrival.frame.kind == TrackKind::Video;
        let independent = arrival.independent && leads;
        if !independent {
            add(&mut self.stats.forced_cuts, 1);
        }
        let start = self.segmenter.earliest(at);
        let not_before = self.begin.not_before.unwrap_or(now);
        let opening = Opening {
            start,
            program_date_time: self.dates.date(start, now.max(not_before)),
            discontinuity,
            independent,
        };
        let segment = opening.segment(self.segmenter.number());
        self.effects.push_back(Effect::Open(segment));
        self.segmenter.begin(opening);
        let before = self.out.written();
        muxer.start_segment(&mut self.out);
        self.wrote_since(before);
    }

    fn mux(&mut self, frame: &Frame) {
        let State::Running { muxer, .. } = &mut self.state else {
            return;
        };
        match frame.kind {
            TrackKind::Video => {
                add(&mut self.stats.video_frames, 1);
                if frame.key {
                    let before = self.stats.last_key.replace(frame.pts);
                    self.stats.key_interval = before.map(|before| frame.pts - before);
                }
            }
            TrackKind::Audio => add(&mut self.stats.audio_frames, 1),
        }
        let before = self.out.written();
        muxer.write(frame, &mut self.out);
        self.wrote_since(before);
    }

    /// Everything that was muxed becomes bytes to write.
    fn flush(&mut self) {
        if let State::Running { muxer, .. } = &mut self.state {
            let before = self.out.written();
            muxer.flush(&mut self.out);
            self.out.cut();
            self.wrote_since(before);
        }
    }

    /// What has filled blocks goes on its way.
    fn wrote_since(&mut self, before: u64) {
        let wrote = self.out.written().saturating_sub(before);
        self.segmenter.wrote(wrote);
        while let Some(bytes) = self.out.next_full() {
            self.effects.push_back(Effect::Write(bytes));
        }
    }

    fn end_segment(&mut self, at: Timestamp) {
        let (Some(size), State::Running { muxer, .. }) = (self.segmenter.size(), &mut self.state)
        else {
            return;
        };
        let before = self.out.written();
        muxer.flush(&mut self.out);
        let flushed = self.out.written().saturating_sub(before);
        muxer.end_segment(size.saturating_add(flushed), &mut self.out);
        self.out.cut();
        self.wrote_since(before);
        let lasts = self.timeline.frame_duration(TrackKind::Video);
        if let Some(part) = self.segmenter.end_part(at, false) {
            self.effects.push_back(Effect::Part(part));
        }
        let Some(segment) = self.segmenter.end_segment(at, lasts) else {
            return;
        };
        self.begin.not_before = Some(segment.program_date_time + segment.duration);
        let target_duration_s = self.segmenter.promise().unwrap_or(1);
        self.effects.push_back(Effect::Segment {
            segment,
            target_duration_s,
        });
    }

    fn drop_frame(&mut self, reason: &str) {
        // Reasons that carry a number out of the input must not grow the table without bound.
        let full = self.stats.dropped.len() >= DROP_REASONS_MAX;
        let known = self.stats.dropped.contains_key(reason);
        let reason = if full && !known { "other" } else { reason };
        add(self.stats.dropped.entry(reason.to_owned()).or_default(), 1);
    }
}

/// Different reasons that are counted apart.
const DROP_REASONS_MAX: usize = 32;
const LEADING: &str = "leading picture of the first open group";
const BEFORE_KEY_FRAME: &str = "frame before the first key frame";

fn add(counter: &mut u64, more: usize) {
    *counter = counter.saturating_add(more as u64);
}

fn frame(kind: TrackKind, placed: Placed, key: bool, data: Rope, units: Units) -> Frame {
    Frame {
        kind,
        pts: placed.pts,
        dts: placed.dts,
        key,
        data,
        units,
    }
}

/// Nearly always one; then it costs no allocation.
enum Vec1<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> IntoIterator for Vec1<T> {
    type Item = T;
    type IntoIter = std::iter::Chain<std::option::IntoIter<T>, std::vec::IntoIter<T>>;
    fn into_iter(self) -> Self::IntoIter {
        let (one, many) = match self {
            Self::One(one) => (Some(one), Vec::new()),
            Self::Many(many) => (None, many),
        };
        one.into_iter().chain(many)
    }
}
