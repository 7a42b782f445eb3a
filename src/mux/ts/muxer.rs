//! Frames in, packets out: which PES goes out when, and what rides on it.

use super::adts;
use super::annexb::AccessUnit;
use super::packet::{Adaptation, PACKET_LEN, Payload, PidStream, Ticks33};
use super::packets::Packets;
use super::pcr::{LAG_MAX, Pcr, PcrClock};
use super::pes::{AUDIO_PAYLOAD_MAX, Header};
use super::psi::{AUDIO_PID, Psi, VIDEO_PID};
use crate::media::track::AudioCodec;
use crate::media::{AudioConfig, Duration, Frame, Timestamp, TrackKind, Tracks};

/// An audio PES that would become larger is ended first, as ffmpeg does it: with its header it
/// fills 16 packets, so little is stuffing.
const AUDIO_PES_SIZE: usize = 2930;
/// An audio PES that would become longer is ended first: bounds how late audio is written. With
/// longer ones ffmpeg's HLS reader misdates the first frames of a playlist by one frame.
const AUDIO_PES_DURATION: Duration = Duration::from_ms(300);
/// Clock values that the packets of one audio PES carry if there is no video: one for each 100 ms
/// that it lasts.
const CLOCKS_PER_AUDIO_PES: u8 = 3;
/// A segment with fewer packets is filled up by repeating its tables: readers tell a transport
/// stream by some packets in a row (ffmpeg by 2,244 bytes), and a last segment may hold one frame.
const SEGMENT_PACKETS_MIN: usize = 12;
/// A frame whose time is further from where the samples before it end begins a PES of its own:
/// only the first frame of a PES has its time written, the others are counted from there.
const AUDIO_DRIFT_MAX: Duration = Duration::from_ms(1);

/// Writes the frames of one rendition as an MPEG transport stream.
///
/// A segment is what stands between two calls of [`Self::start_segment`]; counters, clock and
/// timestamps run on from one to the next. Times on the wire are 10 s after those of the frames,
/// modulo 2^33 ticks.
#[derive(Debug)]
pub struct Muxer {
    tracks: Tracks,
    psi: Psi,
    video: PidStream,
    audio: PidStream,
    clock: PcrClock,
    pending: PendingAudio,
}

impl Muxer {
    /// A muxer for these tracks. The first call after it is [`Self::start_segment`].
    pub fn new(tracks: Tracks) -> Self {
        Self {
            psi: Psi::new(&tracks),
            clock: PcrClock::new(&tracks),
            tracks,
            video: PidStream::new(VIDEO_PID),
            audio: PidStream::new(AUDIO_PID),
            pending: PendingAudio::default(),
        }
    }

    /// Takes other tracks or configurations. Comes after [`Self::flush`] of the old segment and
    /// before [`Self::start_segment`] of a new one, which follows a discontinuity (RFC 8216
    /// §4.3.2.3). The version of the PMT grows only if what it says has changed.
    pub fn set_tracks(&mut self, tracks: Tracks) {
        self.psi.set_tracks(&tracks);
        self.clock.set_tracks(&tracks);
        self.tracks = tracks;
    }

    /// Begins a segment with PAT and PMT. The next frame brings a clock value with it.
    pub fn start_segment(&mut self, out: &mut Packets) {
        self.psi.write(out);
        self.clock.start_segment();
    }

    /// Writes a video frame; takes an audio frame into the pending PES, and writes that first if
    /// it is full. Ignores what the demuxer does not let through: frames of a track that is not in
    /// the tracks, pictures without units, audio frames larger than their framing can express
    /// (AAC: 8,184 bytes, MP3: 65,527).
    pub fn write(&mut self, frame: &Frame, out: &mut Packets) {
        match frame.kind {
            TrackKind::Video => self.write_video(frame, out),
            TrackKind::Audio => self.write_audio(frame, out),
        }
    }

    /// Ends the pending audio PES, so that every frame given so far is in `out`. Before a part or
    /// a segment ends.
    pub fn flush(&mut self, out: &mut Packets) {
        let Some(first) = self.pending.first else {
            return;
        };
        if self.tracks.video.is_none() {
            self.clock.begin_at(first);
        }
        let adaptation = self.adaptation(TrackKind::Audio, true, out);
        let len = self.pending.data.len();
        let header = Header::new(TrackKind::Audio, first, first, len);
        let len = len.saturating_add(header.as_bytes().len());
        let mut payload = Payload::begin(&mut self.audio, &adaptation, len, out);
        payload.put(header.as_bytes());
        let mut data = self.pending.data.as_slice();
        if self.tracks.video.is_none() {
            let share = data.len().div_ceil(usize::from(CLOCKS_PER_AUDIO_PES));
            // The first packet has its value already; the last share has no packet behind it.
            for _ in 1..CLOCKS_PER_AUDIO_PES {
                let Some((now, later)) = data.split_at_checked(share) else {
                    break;
                };
                let Some(pcr) = self.clock.ride() else {
                    break;
                };
                payload.put(now);
                payload.ride(with_clock(Some(pcr), false));
                data = later;
            }
        }
        payload.put(data);
        self.pending.clear();
    }

    /// Ends a segment of `size` bytes, of which the last are in `out`: a tiny one is filled up.
    /// Comes after [`Self::flush`].
    pub fn end_segment(&mut self, size: u64, out: &mut Packets) {
        let packets = usize::try_from(size).unwrap_or(usize::MAX) / PACKET_LEN;
        for _ in 0..SEGMENT_PACKETS_MIN.saturating_sub(packets).div_ceil(2) {
            self.psi.write(out);
        }
    }

    /// The timeline jumps: the next frame's time has nothing to do with the last one's. Comes
    /// after [`Self::flush`]. If it turns out that the time runs on, nothing is signalled.
    pub fn discontinuity(&mut self) {
        self.clock.discontinuity();
    }

    fn write_video(&mut self, frame: &Frame, out: &mut Packets) {
        // Audio that has stopped coming must not wait until the clock has passed it.
        if self
            .pending
            .first
            .is_some_and(|first| frame.dts - first > LAG_MAX)
        {
            self.flush(out);
        }
        if self.tracks.video.is_none() || frame.units.is_empty() {
            return;
        }
        self.clock.observe(TrackKind::Video, frame.dts);
        let adaptation = self.adaptation(TrackKind::Video, frame.key, out);
        let Some(config) = &self.tracks.video else {
            return;
        };
        let unit = AccessUnit::new(config, frame);
        let len = unit.len();
        let header = Header::new(TrackKind::Video, frame.pts, frame.dts, len);
        let len = len.saturating_add(header.as_bytes().len());
        let begin = match header.is_bounded() {
            true => Payload::begin,
            false => Payload::begin_unbounded,
        };
        let mut payload = begin(&mut self.video, &adaptation, len, out);
        payload.put(header.as_bytes());
        unit.write(&mut payload);
    }

    fn write_audio(&mut self, frame: &Frame, out: &mut Packets) {
        let Some(config) = self.tracks.audio.clone() else {
            return;
        };
        let Some(header) = FrameHeader::new(&config, frame) else {
            return;
        };
        let len = header.as_bytes().len().saturating_add(frame.data.len());
        if !self.pending.takes(frame, len, &config) {
            self.flush(out);
        }
        self.clock.observe(TrackKind::Audio, frame.dts);
        self.pending.push(frame, header.as_bytes());
    }

    /// What the first packet of a PES carries besides it. Writes the clock values that have to
    /// stand before.
    fn adaptation(&mut self, kind: TrackKind, key: bool, out: &mut Packets) -> Adaptation {
        let has_video = self.tracks.video.is_some();
        let carries_clock = kind == TrackKind::Video || !has_video;
        let stream = if has_video {
            &mut self.video
        } else {
            &mut self.audio
        };
        let riders = if has_video { 1 } else { CLOCKS_PER_AUDIO_PES };
        while let Some(pcr) = self.clock.fill(riders.into()) {
            stream.write_adaptation(&with_clock(Some(pcr), false), out);
        }
        if carries_clock {
            return with_clock(self.clock.ride(), key);
        }
        if let Some(pcr) = self.clock.stand_alone() {
            stream.write_adaptation(&with_clock(Some(pcr), false), out);
        }
        Adaptation::default()
    }
}

fn with_clock(pcr: Option<Pcr>, random_access: bool) -> Adaptation {
    Adaptation {
        discontinuity: pcr.is_some_and(|pcr| pcr.discontinuity),
        random_access,
        pcr: pcr.map(|pcr| Ticks33::from(pcr.at)),
    }
}

/// What stands before an audio frame in the elementary stream.
enum FrameHeader {
    Adts([u8; adts::HEADER_LEN]),
    /// The frame has its own.
    None,
}

impl FrameHeader {
    /// `None` if the frame is too large for its framing.
    fn new(config: &AudioConfig, frame: &Frame) -> Option<Self> {
        let len = frame.data.len();
        match config.codec {
            AudioCodec::Aac {
                object_type,
                frequency_index,
                channel_configuration,
            } => adts::header(object_type, frequency_index, channel_configuration, len)
                .map(Self::Adts),
            AudioCodec::Mp3 => (len <= AUDIO_PAYLOAD_MAX).then_some(Self::None),
        }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Adts(bytes) => bytes,
            Self::None => &[],
        }
    }
}

/// Audio frames of the PES that is being filled. They are copied here: audio is small, and a slice
/// would keep alive the whole read buffer it is a part of.
#[derive(Default, Debug)]
struct PendingAudio {
    data: Vec<u8>,
    /// Presentation time of the first frame, if there is one.
    first: Option<Timestamp>,
    frames: i64,
}

impl PendingAudio {
    /// Whether a frame of `len` bytes can follow those that are there.
    fn takes(&self, frame: &Frame, len: usize, config: &AudioConfig) -> bool {
        let Some(first) = self.first else {
            return true;
        };
        let samples = i64::from(config.samples_per_frame);
        let lasting = |frames: i64| {
            Duration::from_samples(frames.saturating_mul(samples), config.sample_rate)
        };
        let drift = frame.pts - (first + lasting(self.frames));
        self.data.len().saturating_add(len) <= AUDIO_PES_SIZE
            && lasting(self.frames.saturating_add(1)) <= AUDIO_PES_DURATION
            && drift.abs() <= AUDIO_DRIFT_MAX
    }

    fn push(&mut self, frame: &Frame, header: &[u8]) {
        self.first.get_or_insert(frame.pts);
        self.frames = self.frames.saturating_add(1);
        self.data.extend_from_slice(header);
        for slice in frame.data.slices() {
            self.data.extend_from_slice(slice);
        }
    }

    fn clear(&mut self) {
        self.data.clear();
        self.first = None;
        self.frames = 0;
    }
}
