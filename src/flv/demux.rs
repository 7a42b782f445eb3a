//! From tags to samples: remembers the tracks, knows which payload belongs to which.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::audio::{Audio, Failure, Sound};
use super::tag::{self, Coding, Header, Packet, Track};
use super::video::{Picture, Video};
use super::{Demuxed, Dropped, Error, Metadata, Sample, TagKind};
use crate::media::track::VideoCodec;
use crate::media::{Rope, TrackKind, Tracks};

/// Bytes of a tag at most: what its 24-bit size field can tell. RTMP messages have the same.
pub const TAG_BYTES_MAX: usize = 0x00ff_ffff;

/// The tracks of one publish, and what is needed to read its next tag.
///
/// Looks at tag headers, NAL unit lengths and headers, parameter sets and nothing else of the
/// payload, and copies none of it.
#[derive(Debug, Default)]
pub struct Demuxer {
    tracks: Tracks,
    video: Option<Video>,
    audio: Audio,
    metadata: Option<Metadata>,
}

impl Demuxer {
    /// A demuxer that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the body of one FLV tag, which is the payload of one RTMP message.
    ///
    /// An error ends the publish. Everything else that is wrong with a tag costs this tag only and is
    /// told in `dropped` of what is returned.
    pub fn push(&mut self, kind: TagKind, timestamp_ms: u32, body: Rope) -> Result<Demuxed, Error> {
        if body.len() > TAG_BYTES_MAX {
            return Ok(Demuxed::dropped(Dropped::Oversize {
                limit: "16 MiB in a tag",
            }));
        }
        let (header, kind) = match kind {
            TagKind::Data => {
                if let Some(metadata) = Metadata::parse(&body) {
                    self.metadata = Some(metadata);
                }
                return Ok(Demuxed::default());
            }
            TagKind::Video => (tag::video(&body), TrackKind::Video),
            TagKind::Audio => (tag::audio(&body), TrackKind::Audio),
        };
        let header = match header {
            Ok(header) => header,
            Err(dropped) => return Ok(Demuxed::dropped(dropped)),
        };
        let secondary = header.secondary.then_some(Dropped::SecondaryTrack);
        let Some(track) = header.track else {
            return Ok(Demuxed {
                dropped: secondary,
                ..Demuxed::default()
            });
        };
        let mut demuxed = match kind {
            TrackKind::Video => self.video(&header, track, timestamp_ms, body)?,
            TrackKind::Audio => self.audio(&header, track, timestamp_ms, &body)?,
        };
        demuxed.dropped = demuxed.dropped.or(secondary);
        Ok(demuxed)
    }

    /// The tracks as configured so far.
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// What the encoder says of itself; for information only.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }

    fn video(
        &mut self,
        header: &Header,
        track: Track,
        timestamp_ms: u32,
        body: Rope,
    ) -> Result<Demuxed, Error> {
        let codec = video_codec(track.coding)?;
        if let Some(nothing) = without_media(header.packet, TrackKind::Video) {
            return Ok(nothing);
        }
        // Another codec begins with nothing known, and takes over when it has a configuration.
        let mut other = None;
        let current = match &mut self.video {
            Some(current) if current.codec() == codec => current,
            Some(current) if current.config().is_some() => other.insert(Video::new(codec)),
            unset => unset.insert(Video::new(codec)),
        };
        let result = if header.packet == Packet::SequenceStart {
            let record = body.slice(track.at, track.end.saturating_sub(track.at));
            current
                .sequence_start(&record.to_bytes())
                .map(|changed| (changed, None))
        } else {
            current
                .access_unit(header.key, body, track.at, track.end)
                .map(|picture| {
                    let changed = picture.as_ref().is_some_and(|picture| picture.changed);
                    (changed, picture)
                })
        };
        if other.as_ref().is_some_and(|other| other.config().is_some()) {
            self.video = other;
        }
        let (tracks_changed, picture) = match result {
            Ok(result) => result,
            Err(dropped) => return Ok(Demuxed::dropped(dropped)),
        };
        if tracks_changed {
            let config = self.video.as_ref().and_then(Video::config);
            self.tracks.video = config.cloned();
        }
        let dropped = picture.as_ref().and_then(|picture| picture.dropped);
        Ok(Demuxed {
            tracks_changed,
            sample: picture.map(|picture| video_sample(header, track, timestamp_ms, picture)),
            dropped,
        })
    }

    fn audio(
        &mut self,
        header: &Header,
        track: Track,
        timestamp_ms: u32,
        body: &Rope,
    ) -> Result<Demuxed, Error> {
        let codec = audio_coding(track.coding)?;
        if let Some(nothing) = without_media(header.packet, TrackKind::Audio) {
            return Ok(nothing);
        }
        let data = body.slice(track.at, track.end.saturating_sub(track.at));
        let result = match (codec, header.packet) {
            (AudioCoding::Aac, Packet::SequenceStart) => {
                self.audio.aac_config(&data).map(|changed| (changed, None))
            }
            (AudioCoding::Mp3, Packet::SequenceStart) => return Ok(Demuxed::default()),
            (AudioCoding::Aac, _) => self
                .audio
                .aac_frame(data)
                .map(|sound| (sound.changed, Some(sound))),
            (AudioCoding::Mp3, _) => self
                .audio
                .mp3_frames(data)
                .map(|sound| (sound.changed, Some(sound))),
        };
        let (tracks_changed, sound) = match result {
            Ok(result) => result,
            Err(Failure::Dropped(dropped)) => return Ok(Demuxed::dropped(dropped)),
            Err(Failure::Fatal(error)) => return Err(error),
        };
        if tracks_changed {
            self.tracks.audio = self.audio.config().cloned();
        }
        Ok(Demuxed {
            tracks_changed,
            sample: sound.map(|sound| audio_sample(header, timestamp_ms, sound)),
            dropped: None,
        })
    }
}

impl Demuxed {
    fn dropped(dropped: Dropped) -> Self {
        Self {
            dropped: Some(dropped),
            ..Self::default()
        }
    }
}

/// The answer to packets that hold neither configuration nor frames.
fn without_media(packet: Packet, kind: TrackKind) -> Option<Demuxed> {
    match packet {
        Packet::SequenceStart | Packet::Frames => None,
        Packet::SequenceEnd | Packet::Information => Some(Demuxed::default()),
        Packet::Unknown(packet_type) => Some(Demuxed::dropped(Dropped::UnknownPacket {
            kind,
            packet_type,
        })),
    }
}

fn video_codec(coding: Coding) -> Result<VideoCodec, Error> {
    match coding {
        Coding::LegacyVideo(tag::VIDEO_AVC) | Coding::FourCc(tag::AVC1) => Ok(VideoCodec::H264),
        Coding::LegacyVideo(tag::VIDEO_HEVC) | Coding::FourCc(tag::HVC1) => Ok(VideoCodec::H265),
        other => Err(Error::UnsupportedCodec {
            kind: TrackKind::Video,
            name: other.to_string(),
        }),
    }
}

enum AudioCoding {
    Aac,
    Mp3,
}

fn audio_coding(coding: Coding) -> Result<AudioCoding, Error> {
    match coding {
        Coding::LegacyAudio(tag::AUDIO_AAC) | Coding::FourCc(tag::MP4A) => Ok(AudioCoding::Aac),
        Coding::LegacyAudio(tag::AUDIO_MP3 | tag::AUDIO_MP3_8K) | Coding::FourCc(tag::MP3) => {
            Ok(AudioCoding::Mp3)
        }
        other => Err(Error::UnsupportedCodec {
            kind: TrackKind::Audio,
            name: other.to_string(),
        }),
    }
}

fn video_sample(header: &Header, track: Track, timestamp_ms: u32, picture: Picture) -> Sample {
    Sample {
        kind: TrackKind::Video,
        timestamp_ms,
        composition_ms: track.composition_ms,
        nano: header.nano,
        key: picture.key,
        recovery: picture.recovery,
        data: picture.data,
        units: picture.units,
        frames: 1,
    }
}

fn audio_sample(header: &Header, timestamp_ms: u32, sound: Sound) -> Sample {
    Sample {
        kind: TrackKind::Audio,
        timestamp_ms,
        composition_ms: 0,
        nano: header.nano,
        key: true,
        recovery: false,
        frames: u16::try_from(sound.units.len().max(1)).unwrap_or(u16::MAX),
        data: sound.data,
        units: sound.units,
    }
}
