//! What comes out of the demuxer: samples, reasons for having dropped something, fatal errors.

use crate::media::{Rope, TrackKind, Units};
use std::fmt;

/// What one tag amounted to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Demuxed {
    /// The tracks differ in meaning from before this tag; holds for this sample and all after it.
    pub tracks_changed: bool,
    /// The picture or sound in the tag.
    pub sample: Option<Sample>,
    /// Why media in this tag was dropped. May stand beside a sample (a second track in one message).
    pub dropped: Option<Dropped>,
}

/// One picture, or the audio frames of one tag, with the times of the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sample {
    /// The track it belongs to.
    pub kind: TrackKind,
    /// Decoding time: the 32-bit milliseconds of the wire, untouched.
    pub timestamp_ms: u32,
    /// Presentation minus decoding time in milliseconds, a signed 24-bit number.
    pub composition_ms: i32,
    /// Nanoseconds to add to the presentation time (Enhanced RTMP v2, TimestampOffsetNano), below a million.
    pub nano: u32,
    /// Whether decoding can start here: H.264 IDR, HEVC IRAP; always for audio.
    pub key: bool,
    /// Where a decoder can start though not cleanly: a flagged H.264 recovery point or open GOP
    /// (then `key` is false), an HEVC CRA or BLA whose leading pictures may not decode (then `key` is true).
    pub recovery: bool,
    /// The bytes. Video: with length fields and the tag's header, only `units` of it are to be used.
    /// Audio: the frame without any ADTS header.
    pub data: Rope,
    /// Video: the NAL units that go to the output, in order; no delimiters; parameter sets only
    /// where they change inside a group of pictures. Audio: one entry a frame if there are several
    /// frames in `data`, else empty.
    pub units: Units,
    /// How many frames `data` holds: 1, or more if an audio tag carries several.
    pub frames: u16,
}

/// Why media was dropped.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Dropped {
    /// A frame before the configuration of its track.
    NoConfig {
        /// The track.
        kind: TrackKind,
    },
    /// A configuration record or parameter set that cannot be read; the one before stays in force.
    BrokenConfig {
        /// The track.
        kind: TrackKind,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A tag header that ends early or contradicts itself.
    BrokenTag {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A NAL unit that reaches beyond its tag: the whole access unit is dropped.
    BrokenNal {
        /// Offset of the unit's length field in the tag.
        offset: u32,
    },
    /// An audio frame whose own header is broken.
    BrokenAudio {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Only delimiters, filler or end marks.
    NoSlice,
    /// A coded frame without bytes.
    Empty,
    /// More bytes or units than the named limit allows.
    Oversize {
        /// The limit.
        limit: &'static str,
    },
    /// A track of a multitrack message other than the first.
    SecondaryTrack,
    /// A packet type that no version of Enhanced RTMP known here defines.
    UnknownPacket {
        /// The track.
        kind: TrackKind,
        /// The packet type on the wire.
        packet_type: u8,
    },
}

/// Why a publish cannot go on; the text is what the encoder is shown.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// A coding that cannot be put into segments.
    #[error(
        "{} codec {name} is not supported (video: H.264, H.265; audio: AAC, MP3)",
        word(*.kind)
    )]
    UnsupportedCodec {
        /// The track.
        kind: TrackKind,
        /// The coding by its usual name, or its number or FourCC.
        name: String,
    },
}

impl fmt::Display for Dropped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NoConfig { kind } => {
                write!(f, "{} frame before its configuration", word(kind))
            }
            Self::BrokenConfig { kind, reason } => {
                write!(f, "broken {} configuration: {reason}", word(kind))
            }
            Self::BrokenTag { reason } => write!(f, "broken tag: {reason}"),
            Self::BrokenNal { offset } => {
                write!(f, "NAL unit at byte {offset} reaches beyond its tag")
            }
            Self::BrokenAudio { reason } => write!(f, "broken audio frame: {reason}"),
            Self::NoSlice => f.write_str("video tag without a picture"),
            Self::Empty => f.write_str("empty frame"),
            Self::Oversize { limit } => write!(f, "more than {limit}"),
            Self::SecondaryTrack => f.write_str("track other than the first of a multitrack push"),
            Self::UnknownPacket { kind, packet_type } => {
                write!(f, "unknown {} packet type {packet_type}", word(kind))
            }
        }
    }
}

const fn word(kind: TrackKind) -> &'static str {
    match kind {
        TrackKind::Video => "video",
        TrackKind::Audio => "audio",
    }
}
