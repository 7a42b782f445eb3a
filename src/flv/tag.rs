//! Headers of audio and video tags: the legacy forms (Adobe FLV 10.1, annex E.4.2 and E.4.3) and
//! Enhanced RTMP v1 and v2 (ExAudioTagHeader, ExVideoTagHeader).
//!
//! Says what a header says and where the first track's payload lies; what a codec is good for is
//! not known here.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::Dropped;
use crate::media::{Rope, TrackKind};
use std::fmt;

/// The header of an audio or video tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Video: the flag says key frame. A hint.
    pub key: bool,
    /// TimestampOffsetNano of a ModEx, below a million.
    pub nano: u32,
    /// What the packet is.
    pub packet: Packet,
    /// The first track (id 0, or the only one), if the tag holds a piece of it.
    pub track: Option<Track>,
    /// Whether the tag holds pieces of other tracks.
    pub secondary: bool,
}

/// The payload of one track in a tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track {
    /// How it is coded.
    pub coding: Coding,
    /// Presentation minus decoding time in milliseconds; 0 where the form has none.
    pub composition_ms: i32,
    /// Offset of the payload in the tag.
    pub at: usize,
    /// Offset of its end.
    pub end: usize,
}

/// What a packet is, over both kinds and both forms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Packet {
    /// Configuration record.
    SequenceStart,
    /// Coded media.
    Frames,
    /// The sequence ends; another may begin.
    SequenceEnd,
    /// What needs no answer: seek commands, colour metadata, channel layouts, AV1 in MPEG-2 TS.
    Information,
    /// A packet type that is not known.
    Unknown(u8),
}

/// How a track is coded, as the wire names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Coding {
    /// Number in the four bits of a legacy video header.
    LegacyVideo(u8),
    /// Number in the four bits of a legacy audio header.
    LegacyAudio(u8),
    /// FourCC of Enhanced RTMP.
    FourCc([u8; 4]),
}

/// FourCC of H.264.
pub const AVC1: [u8; 4] = *b"avc1";
/// FourCC of H.265.
pub const HVC1: [u8; 4] = *b"hvc1";
/// FourCC of H.266.
pub const VVC1: [u8; 4] = *b"vvc1";
/// FourCC of AAC.
pub const MP4A: [u8; 4] = *b"mp4a";
/// FourCC of MP3.
pub const MP3: [u8; 4] = *b".mp3";
/// Legacy number of AVC.
pub const VIDEO_AVC: u8 = 7;
/// Legacy number of HEVC, an extension of Chinese networks with the layout of AVC.
pub const VIDEO_HEVC: u8 = 12;
/// Legacy number of MP3.
pub const AUDIO_MP3: u8 = 2;
/// Legacy number of AAC.
pub const AUDIO_AAC: u8 = 10;
/// Legacy number of MP3 at 8 kHz.
pub const AUDIO_MP3_8K: u8 = 14;

/// ModEx prefixes in one header at most; one is known, so more than a few are an attack.
const MODEX_MAX: usize = 16;
/// Tracks in one message at most, as their id has eight bits.
const TRACKS_MAX: usize = 256;

/// Reads the header of a video tag.
pub fn video(body: &Rope) -> Result<Header, Dropped> {
    let mut head = Head { body, at: 0 };
    let [first] = head.take().map_err(|_| Dropped::Empty)?;
    if first & 0x80 != 0 {
        return extended(&mut head, TrackKind::Video, first & 0x0f, first >> 4 & 7);
    }
    let frame_type = first >> 4;
    if frame_type == FRAME_COMMAND {
        return Ok(Header::information());
    }
    let coding = first & 0x0f;
    let mut header = Header {
        key: is_key(frame_type),
        packet: Packet::Frames,
        ..Header::information()
    };
    let mut composition_ms = 0;
    if matches!(coding, VIDEO_AVC | VIDEO_HEVC) {
        let [packet_type] = head.take()?;
        header.packet = match packet_type {
            0 => Packet::SequenceStart,
            1 => Packet::Frames,
            2 => Packet::SequenceEnd,
            other => Packet::Unknown(other),
        };
        if matches!(packet_type, 0 | 1) {
            composition_ms = signed(head.take()?);
        }
    }
    header.track = Some(Track {
        coding: Coding::LegacyVideo(coding),
        composition_ms,
        at: head.at,
        end: body.len(),
    });
    Ok(header)
}

/// Reads the header of an audio tag.
pub fn audio(body: &Rope) -> Result<Header, Dropped> {
    const EXTENDED: u8 = 9;
    let mut head = Head { body, at: 0 };
    let [first] = head.take().map_err(|_| Dropped::Empty)?;
    let coding = first >> 4;
    if coding == EXTENDED {
        return extended(&mut head, TrackKind::Audio, first & 0x0f, 0);
    }
    let mut packet = Packet::Frames;
    if coding == AUDIO_AAC {
        packet = match head.take() {
            Ok([0]) => Packet::SequenceStart,
            Ok([1]) => Packet::Frames,
            Ok([other]) => Packet::Unknown(other),
            Err(_) => return Err(Dropped::Empty),
        };
    }
    Ok(Header {
        packet,
        track: Some(Track {
            coding: Coding::LegacyAudio(coding),
            composition_ms: 0,
            at: head.at,
            end: body.len(),
        }),
        ..Header::information()
    })
}

const FRAME_COMMAND: u8 = 5;

/// Key frame, or generated key frame.
const fn is_key(frame_type: u8) -> bool {
    matches!(frame_type, 1 | 4)
}

/// The part that both Ex headers share, from the packet type on.
fn extended(
    head: &mut Head<'_>,
    kind: TrackKind,
    packet_type: u8,
    frame_type: u8,
) -> Result<Header, Dropped> {
    const MODEX: u8 = 7;
    const VIDEO_METADATA: u8 = 4;
    let mut header = Header {
        key: is_key(frame_type),
        ..Header::information()
    };
    let mut packet_type = packet_type;
    let mut prefixes = 0..MODEX_MAX;
    while packet_type == MODEX {
        prefixes.next().ok_or(Dropped::BrokenTag {
            reason: "more than 16 ModEx prefixes",
        })?;
        packet_type = mod_ex(head, &mut header.nano)?;
    }
    // The packet type goes first: FFmpeg sends colour metadata with the frame type of a command.
    if frame_type == FRAME_COMMAND && packet_type != VIDEO_METADATA {
        return Ok(header);
    }
    let multitrack_type = match kind {
        TrackKind::Video => 6,
        TrackKind::Audio => 5,
    };
    if packet_type == multitrack_type {
        return multitrack(head, kind, multitrack_type, header);
    }
    header.packet = packet(kind, packet_type);
    let coding = Coding::FourCc(head.take()?);
    let end = head.body.len();
    header.track = Some(track(head, coding, packet_type, end)?);
    Ok(header)
}

/// Reads one ModEx prefix and returns the packet type behind it; one of unknown type is passed over.
fn mod_ex(head: &mut Head<'_>, nano: &mut u32) -> Result<u8, Dropped> {
    const TIMESTAMP_OFFSET_NANO: u8 = 0;
    const NANO_MAX: u32 = 999_999;
    let [short] = head.take()?;
    let size = match short {
        0xff => usize::from(u16::from_be_bytes(head.take()?)),
        short => usize::from(short),
    }
    .saturating_add(1);
    let mut data = head.clone();
    head.skip(size)?;
    let [types] = head.take()?;
    if types >> 4 == TIMESTAMP_OFFSET_NANO && size >= 3 {
        let [a, b, c] = data.take()?;
        let claimed = u32::from_be_bytes([0, a, b, c]);
        *nano = if claimed <= NANO_MAX { claimed } else { 0 };
    }
    Ok(types & 0x0f)
}

/// Walks over the tracks of a multitrack message; any that overruns drops the message.
fn multitrack(
    head: &mut Head<'_>,
    kind: TrackKind,
    multitrack_type: u8,
    mut header: Header,
) -> Result<Header, Dropped> {
    const ONE_TRACK: u8 = 0;
    const MANY_CODECS: u8 = 2;
    let [types] = head.take()?;
    let (form, packet_type) = (types >> 4, types & 0x0f);
    if form > MANY_CODECS {
        return Err(Dropped::BrokenTag {
            reason: "unknown form of multitrack",
        });
    }
    if packet_type == multitrack_type {
        return Err(Dropped::BrokenTag {
            reason: "multitrack within multitrack",
        });
    }
    header.packet = packet(kind, packet_type);
    let shared = match form {
        MANY_CODECS => None,
        _ => Some(head.take()?),
    };
    let mut count = 0..TRACKS_MAX;
    while head.left() > 0 {
        count.next().ok_or(Dropped::BrokenTag {
            reason: "more than 256 tracks in a message",
        })?;
        let coding = Coding::FourCc(match shared {
            Some(shared) => shared,
            None => head.take()?,
        });
        let [id] = head.take()?;
        let len = match form {
            ONE_TRACK => head.left(),
            _ => {
                let [a, b, c] = head.take()?;
                u32::from_be_bytes([0, a, b, c]) as usize
            }
        };
        let mut payload = head.clone();
        head.skip(len)?;
        if id == 0 && header.track.is_none() {
            header.track = Some(track(&mut payload, coding, packet_type, head.at)?);
        } else {
            header.secondary = true;
        }
    }
    Ok(header)
}

const fn packet(kind: TrackKind, packet_type: u8) -> Packet {
    match (kind, packet_type) {
        (_, 0) => Packet::SequenceStart,
        (_, 1) | (TrackKind::Video, 3) => Packet::Frames,
        (_, 2) => Packet::SequenceEnd,
        (_, 4) | (TrackKind::Video, 5) => Packet::Information,
        (_, other) => Packet::Unknown(other),
    }
}

/// A track whose payload begins at the head. Only some codings have a composition time, and those
/// only in CodedFrames, not in CodedFramesX.
fn track(
    head: &mut Head<'_>,
    coding: Coding,
    packet_type: u8,
    end: usize,
) -> Result<Track, Dropped> {
    const CODED_FRAMES: u8 = 1;
    let reordered = matches!(coding, Coding::FourCc(AVC1 | HVC1 | VVC1));
    let composition_ms = match packet_type {
        CODED_FRAMES if reordered && end.saturating_sub(head.at) < 3 => {
            return Err(Dropped::BrokenTag { reason: ENDS_EARLY });
        }
        CODED_FRAMES if reordered => signed(head.take()?),
        _ => 0,
    };
    Ok(Track {
        coding,
        composition_ms,
        at: head.at,
        end,
    })
}

/// A signed 24-bit number.
const fn signed([a, b, c]: [u8; 3]) -> i32 {
    i32::from_be_bytes([a, b, c, 0]) >> 8
}

impl Header {
    const fn information() -> Self {
        Self {
            key: false,
            nano: 0,
            packet: Packet::Information,
            track: None,
            secondary: false,
        }
    }
}

const ENDS_EARLY: &str = "its header ends early";

/// A place in the header.
#[derive(Clone)]
struct Head<'a> {
    body: &'a Rope,
    at: usize,
}

impl Head<'_> {
    const fn left(&self) -> usize {
        self.body.len().saturating_sub(self.at)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], Dropped> {
        let mut out = [0; N];
        if self.body.copy_at(self.at, &mut out) < N {
            return Err(Dropped::BrokenTag { reason: ENDS_EARLY });
        }
        self.at = self.at.saturating_add(N);
        Ok(out)
    }

    fn skip(&mut self, count: usize) -> Result<(), Dropped> {
        if count > self.left() {
            return Err(Dropped::BrokenTag {
                reason: "a size reaches beyond its end",
            });
        }
        self.at = self.at.saturating_add(count);
        Ok(())
    }
}

impl fmt::Display for Coding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::LegacyVideo(number) => match number {
                1 => "JPEG",
                2 => "Sorenson H.263",
                3 => "Screen video",
                4 => "VP6",
                5 => "VP6 with alpha",
                6 => "Screen video 2",
                7 => "H.264",
                12 => "H.265",
                13 => "AV1",
                other => return write!(f, "number {other}"),
            },
            Self::LegacyAudio(number) => match number {
                0 | 3 => "PCM",
                1 => "ADPCM",
                2 | 14 => "MP3",
                4..=6 => "Nellymoser",
                7 => "G.711 A-law",
                8 => "G.711 mu-law",
                10 => "AAC",
                11 => "Speex",
                13 => "Opus",
                other => return write!(f, "number {other}"),
            },
            Self::FourCc(code) => match code {
                b"avc1" => "H.264",
                b"hvc1" => "H.265",
                b"vvc1" => "H.266",
                b"av01" => "AV1",
                b"vp08" => "VP8",
                b"vp09" => "VP9",
                b"mp4a" => "AAC",
                b".mp3" => "MP3",
                b"Opus" => "Opus",
                b"fLaC" => "FLAC",
                b"ac-3" => "AC-3",
                b"ec-3" => "E-AC-3",
                other => return write!(f, "FourCC {}", other.escape_ascii()),
            },
        };
        f.write_str(name)
    }
}
