//! What a track is: its codec and what the bitstream's own headers say of it.

use bytes::Bytes;
use std::sync::Arc;

/// Which of the two elementary streams of a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum TrackKind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
}

/// Coding of a video track.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum VideoCodec {
    /// ITU-T H.264, ISO 14496-10.
    H264,
    /// ITU-T H.265, ISO 23008-2.
    H265,
}

/// Coding of an audio track.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AudioCodec {
    /// ISO 14496-3 AAC; the frame is one raw_data_block, without ADTS header.
    Aac {
        /// Audio object type of the core (2 for LC; HE-AAC keeps 2 here, its extension is in the codec string).
        object_type: u8,
        /// Index of the core sampling rate as ADTS writes it.
        frequency_index: u8,
        /// Channel configuration, 1 to 7 as ADTS can carry it.
        channel_configuration: u8,
    },
    /// MPEG-1 or MPEG-2 layer III; the frame has its own header.
    Mp3,
}

/// A video track as its parameter sets describe it. Equal values need no new segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VideoConfig {
    /// Coding.
    pub codec: VideoCodec,
    /// Parameter sets in the order in which they go before an IDR: (VPS,) SPS, PPS; without start codes.
    pub parameter_sets: Vec<Bytes>,
    /// Cropped width in pixels, 0 if the bitstream does not tell.
    pub width: u32,
    /// Cropped height in pixels, 0 if the bitstream does not tell.
    pub height: u32,
    /// Frames per second as numerator and denominator, if the bitstream's timing information tells.
    pub frame_rate: Option<(u32, u32)>,
    /// RFC 6381 codec string, for example `avc1.64001f`.
    pub codec_string: String,
}

/// An audio track as its configuration record or frame header describes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AudioConfig {
    /// Coding.
    pub codec: AudioCodec,
    /// Samples per second by which frames are counted: the core rate for HE-AAC.
    pub sample_rate: u32,
    /// Samples in one frame at `sample_rate`: 1024 or 960 for AAC, 1152 or 576 for MP3.
    pub samples_per_frame: u32,
    /// Channels that are heard.
    pub channels: u8,
    /// RFC 6381 codec string, for example `mp4a.40.2`.
    pub codec_string: String,
}

/// The tracks of a session at one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tracks {
    /// The video track, if there is one.
    pub video: Option<Arc<VideoConfig>>,
    /// The audio track, if there is one.
    pub audio: Option<Arc<AudioConfig>>,
}

impl Tracks {
    /// Whether there is no track at all.
    pub fn is_empty(&self) -> bool {
        self.video.is_none() && self.audio.is_none()
    }

    /// Whether the track of this kind is there.
    pub fn has(&self, kind: TrackKind) -> bool {
        match kind {
            TrackKind::Video => self.video.is_some(),
            TrackKind::Audio => self.audio.is_some(),
        }
    }
}
