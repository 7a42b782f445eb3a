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

#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::codec::tests::hex;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn rope(text: &str) -> Rope {
        Bytes::from(hex(&text.replace(' ', ""))).into()
    }

    const HVC1: Coding = Coding::FourCc(super::HVC1);
    const AVC1: Coding = Coding::FourCc(super::AVC1);
    const MP4A: Coding = Coding::FourCc(super::MP4A);

    fn track(coding: Coding, composition_ms: i32, at: usize, end: usize) -> Option<Track> {
        Some(Track {
            coding,
            composition_ms,
            at,
            end,
        })
    }

    #[test]
    fn video_headers() {
        let check = |name: &str, tag: &str, key, packet, track| {
            let expected = Header {
                key,
                nano: 0,
                packet,
                track,
                secondary: false,
            };
            assert_eq!(video(&rope(tag)), Ok(expected), "{name}");
        };
        use Packet::{Frames, Information, SequenceEnd, SequenceStart, Unknown};
        let avc = Coding::LegacyVideo(VIDEO_AVC);
        let hevc = Coding::LegacyVideo(VIDEO_HEVC);
        // ffmpeg 9.0.2 unless said otherwise
        check(
            "AVC record",
            "17 00 000000 0142c00c",
            true,
            SequenceStart,
            track(avc, 0, 5, 9),
        );
        check(
            "AVC frame",
            "27 01 0000c8 00",
            false,
            Frames,
            track(avc, 200, 5, 6),
        );
        check(
            "before decoding (Wirecast)",
            "27 01 ffffb0 00",
            false,
            Frames,
            track(avc, -80, 5, 6),
        );
        check(
            "lowest",
            "27 01 800000",
            false,
            Frames,
            track(avc, -8_388_608, 5, 5),
        );
        check(
            "end",
            "17 02 000000",
            true,
            SequenceEnd,
            track(avc, 0, 2, 5),
        );
        check("short end", "17 02", true, SequenceEnd, track(avc, 0, 2, 2));
        check(
            "AVC packet 3",
            "17 03 000000",
            true,
            Unknown(3),
            track(avc, 0, 2, 5),
        );
        check(
            "HEVC by number (SRS)",
            "1c 01 000000 00",
            true,
            Frames,
            track(hevc, 0, 5, 6),
        );
        check(
            "generated key frame",
            "47 01 000000 00",
            true,
            Frames,
            track(avc, 0, 5, 6),
        );
        check(
            "frame type 0 (OBS)",
            "07 01 000000 00",
            false,
            Frames,
            track(avc, 0, 5, 6),
        );
        check(
            "VP6",
            "14 00",
            true,
            Frames,
            track(Coding::LegacyVideo(4), 0, 1, 2),
        );
        check("seek command", "57 00", false, Information, None);
        check("empty command", "57", false, Information, None);
        check(
            "HEVC record",
            "90 68766331 0101",
            true,
            SequenceStart,
            track(HVC1, 0, 5, 7),
        );
        check(
            "HEVC frame",
            "91 68766331 000043 00",
            true,
            Frames,
            track(HVC1, 67, 8, 9),
        );
        check(
            "HEVC frame without time",
            "a3 68766331 00",
            false,
            Frames,
            track(HVC1, 0, 5, 6),
        );
        check(
            "AV1 has no time",
            "91 61763031 0a",
            true,
            Frames,
            track(Coding::FourCc(*b"av01"), 0, 5, 6),
        );
        check(
            "colours",
            "d4 68766331 02",
            false,
            Information,
            track(HVC1, 0, 5, 6),
        );
        check("extended command", "d1 00", false, Information, None);
        check(
            "end of HEVC",
            "92 68766331",
            true,
            SequenceEnd,
            track(HVC1, 0, 5, 5),
        );
        check(
            "AV1 in TS",
            "95 61763031 80",
            true,
            Information,
            track(Coding::FourCc(*b"av01"), 0, 5, 6),
        );
        check(
            "packet 9",
            "99 68766331 80",
            true,
            Unknown(9),
            track(HVC1, 0, 5, 6),
        );
        check(
            "one track",
            "96 00 61766331 00 0142",
            true,
            SequenceStart,
            track(AVC1, 0, 7, 9),
        );
    }

    #[test]
    fn audio_headers() {
        let check = |name: &str, tag: &str, packet, track| {
            let header = audio(&rope(tag)).map(|header| (header.packet, header.track));
            assert_eq!(header, Ok((packet, track)), "{name}");
        };
        use Packet::{Frames, Information, SequenceEnd, SequenceStart, Unknown};
        let aac = Coding::LegacyAudio(AUDIO_AAC);
        check(
            "AAC config",
            "af 00 1208",
            SequenceStart,
            track(aac, 0, 2, 4),
        );
        check("AAC frame", "af 01 dc00", Frames, track(aac, 0, 2, 4));
        check("AAC packet 2", "af 02", Unknown(2), track(aac, 0, 2, 2));
        check(
            "MP3",
            "2e fffb",
            Frames,
            track(Coding::LegacyAudio(AUDIO_MP3), 0, 1, 3),
        );
        check(
            "AAC config by name",
            "90 6d703461 1208",
            SequenceStart,
            track(MP4A, 0, 5, 7),
        );
        check(
            "AAC frame by name",
            "91 6d703461 dc00",
            Frames,
            track(MP4A, 0, 5, 7),
        );
        check(
            "layout",
            "94 6d703461 01010000",
            Information,
            track(MP4A, 0, 5, 9),
        );
        check("end", "92 6d703461", SequenceEnd, track(MP4A, 0, 5, 5));
        check(
            "one track",
            "95 01 6d703461 00 dc",
            Frames,
            track(MP4A, 0, 7, 8),
        );
    }

    #[test]
    fn several_tracks_in_a_message() {
        let check = |name: &str, tag: &str, expected: Result<_, &'static str>| {
            let seen = video(&rope(tag)).map(|header| (header.track, header.secondary));
            let expected = expected.map_err(|reason| Dropped::BrokenTag { reason });
            assert_eq!(seen, expected, "{name}");
        };
        check(
            "second only",
            "96 01 61766331 01 000000 41",
            Ok((None, true)),
        );
        check(
            "two of one codec",
            "96 11 61766331 00 000005 00001441aa 07 000004 00000042",
            Ok((track(AVC1, 20, 13, 15), true)),
        );
        check(
            "two codecs, ours last",
            "96 20 61763031 01 000001 aa 68766331 00 000002 0101",
            Ok((track(HVC1, 0, 19, 21), true)),
        );
        check(
            "the same id again",
            "96 13 61766331 00 000001 aa 00 000001 bb",
            Ok((track(AVC1, 0, 10, 11), true)),
        );
        check("none", "96 11 61766331", Ok((None, false)));
        let beyond = Err("a size reaches beyond its end");
        check("overrun", "96 13 61766331 00 000002 aa", beyond);
        check(
            "overrun of another",
            "96 13 61766331 00 000001 aa 01 ffffff",
            beyond,
        );
        check(
            "payload too short for its time",
            "96 11 61766331 00 000002 0000",
            Err(ENDS_EARLY),
        );
        check(
            "nested",
            "96 16 61766331 00",
            Err("multitrack within multitrack"),
        );
        check(
            "form 3",
            "96 31 61766331 00",
            Err("unknown form of multitrack"),
        );
        check("cut off", "96 11 6176", Err(ENDS_EARLY));
        let many = "96 13 61766331".to_owned() + &"01000000".repeat(TRACKS_MAX + 1);
        check("too many", &many, Err("more than 256 tracks in a message"));
    }

    #[test]
    fn prefixes() {
        let check = |name: &str, tag: &str, expected: Result<(u32, usize), &'static str>| {
            let seen = video(&rope(tag))
                .map(|header| (header.nano, header.track.map_or(0, |track| track.at)));
            let expected = expected.map_err(|reason| Dropped::BrokenTag { reason });
            assert_eq!(seen, expected, "{name}");
        };
        check("offset", "97 02 0f423f 03 68766331 aa", Ok((999_999, 10)));
        check(
            "offset too large",
            "97 02 0f4240 03 68766331 aa",
            Ok((0, 10)),
        );
        check("unknown type", "97 01 abcd 53 68766331 aa", Ok((0, 9)));
        check("chained", "97 00 ab 57 02 000007 03 68766331", Ok((7, 13)));
        let long = format!("97 ff 0100 {} 03 68766331", "00".repeat(257));
        check("16-bit size", &long, Ok((0, 266)));
        check("offset of 2 bytes", "97 01 0001 03 68766331", Ok((0, 9)));
        check(
            "size beyond",
            "97 10 00",
            Err("a size reaches beyond its end"),
        );
        check("nothing behind", "97 00 00", Err(ENDS_EARLY));
        let many = "97".to_owned() + &"000057".repeat(MODEX_MAX) + "00005368766331";
        check("too many", &many, Err("more than 16 ModEx prefixes"));
    }

    #[test]
    fn codings_have_names() {
        let check = |coding: Coding, name: &str| assert_eq!(coding.to_string(), name);
        check(Coding::LegacyVideo(13), "AV1");
        check(Coding::LegacyVideo(9), "number 9");
        check(Coding::LegacyAudio(11), "Speex");
        check(Coding::FourCc(*b"abcd"), "FourCC abcd");
        check(Coding::FourCc(*b"a\n\x00\xff"), "FourCC a\\n\\x00\\xff");
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_payloads_lie_within(
            first in prop_oneof![0x80..0xff_u8, any::<u8>()],
            rest in prop::collection::vec(any::<u8>(), 0..60),
        ) {
            let body = Rope::from(Bytes::from([&[first], &rest[..]].concat()));
            for header in [video(&body), audio(&body)] {
                if let Ok(Header { track: Some(track), .. }) = header {
                    prop_assert!(track.at <= track.end && track.end <= body.len());
                }
            }
        }
    }
}
