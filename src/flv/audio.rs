//! The audio side of the demuxer: AAC with its AudioSpecificConfig, MP3 with its frame headers.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::{Dropped, Error};
use crate::media::codec::{self, aac, mp3};
use crate::media::track::AudioCodec;
use crate::media::{AudioConfig, Rope, TrackKind, Unit, Units};
use bytes::Bytes;
use std::sync::Arc;

/// Frames in one tag at most; encoders send one.
const FRAMES_MAX: usize = 64;
/// Bytes of a configuration that are read; see [`aac::parse_config`].
const CONFIG_BYTES_MAX: usize = 512;

/// The audio track.
#[derive(Debug, Default)]
pub(super) struct Audio {
    /// The AudioSpecificConfig in force, as it was sent.
    specific: Option<Bytes>,
    config: Option<Arc<AudioConfig>>,
}

/// The frames of a tag, and whether the configuration changed with them.
pub(super) struct Sound {
    pub(super) changed: bool,
    pub(super) data: Rope,
    /// Where the frames lie, if there are several.
    pub(super) units: Units,
}

/// Why a tag gives no sound.
pub(super) enum Failure {
    Dropped(Dropped),
    Fatal(Error),
}

impl From<Dropped> for Failure {
    fn from(dropped: Dropped) -> Self {
        Self::Dropped(dropped)
    }
}

impl Audio {
    pub(super) const fn config(&self) -> Option<&Arc<AudioConfig>> {
        self.config.as_ref()
    }

    /// Takes an AudioSpecificConfig; returns whether the configuration changed.
    pub(super) fn aac_config(&mut self, specific: &Rope) -> Result<bool, Failure> {
        let specific = specific.slice(0, CONFIG_BYTES_MAX).to_bytes();
        if specific.is_empty() {
            return Err(Dropped::Empty.into());
        }
        if self.specific.as_ref() == Some(&specific) {
            return Ok(false);
        }
        let config = aac::parse_config(&specific).map_err(|error| match error {
            codec::Error::Unsupported(name) => unsupported(name),
            error => Failure::Dropped(Dropped::BrokenConfig {
                kind: TrackKind::Audio,
                reason: error.reason(),
            }),
        })?;
        self.specific = Some(Bytes::copy_from_slice(&specific));
        Ok(self.update(config))
    }

    /// Takes the raw AAC frame of a tag, or frames with the ADTS headers that some encoders leave on.
    pub(super) fn aac_frame(&mut self, data: Rope) -> Result<Sound, Failure> {
        let mut head = [0; aac::ADTS_LEN];
        if data.copy_at(0, &mut head) == head.len()
            && let Some(header) = aac::Adts::parse(head)
            && let Some(stripped) = strip_adts(&data)
        {
            let changed = self.follow_adts(header);
            return self.aac_sound(stripped, changed);
        }
        if data.is_empty() {
            return Err(Dropped::Empty.into());
        }
        if data.len() > aac::FRAME_BYTES_MAX {
            return Err(FRAME_TOO_LARGE.into());
        }
        self.aac_sound((data, Units::new()), false)
    }

    fn aac_sound(&self, (data, units): (Rope, Units), changed: bool) -> Result<Sound, Failure> {
        let configured = self
            .config
            .as_ref()
            .is_some_and(|config| matches!(config.codec, AudioCodec::Aac { .. }));
        if !configured {
            return Err(Failure::Dropped(Dropped::NoConfig {
                kind: TrackKind::Audio,
            }));
        }
        if data.is_empty() {
            return Err(Dropped::Empty.into());
        }
        Ok(Sound {
            changed,
            data,
            units,
        })
    }

    /// Without an AudioSpecificConfig the ADTS header is the configuration.
    fn follow_adts(&mut self, header: aac::Adts) -> bool {
        if self.specific.is_some() {
            return false;
        }
        let said = AudioCodec::Aac {
            object_type: header.object_type,
            frequency_index: header.frequency_index,
            channel_configuration: header.channel_configuration,
        };
        if self
            .config
            .as_ref()
            .is_some_and(|config| config.codec == said)
        {
            return false;
        }
        header.config().is_some_and(|config| self.update(config))
    }

    /// Takes the MP3 frames of a tag; the header of the first is the configuration.
    pub(super) fn mp3_frames(&mut self, data: Rope) -> Result<Sound, Failure> {
        if data.is_empty() {
            return Err(Dropped::Empty.into());
        }
        let first = match mp3_header(&data, 0) {
            Some(Ok(header)) => header,
            Some(Err(codec::Error::Unsupported(name))) => return Err(unsupported(name)),
            Some(Err(error)) => {
                return Err(Failure::Dropped(Dropped::BrokenAudio {
                    reason: error.reason(),
                }));
            }
            None => {
                return Err(Failure::Dropped(Dropped::BrokenAudio {
                    reason: "its header ends early",
                }));
            }
        };
        let mut units = Units::new();
        let mut at: usize = 0;
        let mut next = Some(first);
        while let Some(header) = next {
            if units.len() >= FRAMES_MAX {
                return Err(TOO_MANY_FRAMES.into());
            }
            let len = header.frame_len.min(data.len().saturating_sub(at));
            units.push(unit(at, len));
            at = at.saturating_add(len);
            next = mp3_header(&data, at).and_then(Result::ok);
        }
        if units.len() == 1 {
            units.clear();
        }
        let same = self.config.as_ref().is_some_and(|config| {
            config.codec == AudioCodec::Mp3
                && config.sample_rate == first.sample_rate
                && config.samples_per_frame == first.samples_per_frame
                && config.channels == first.channels
        });
        let changed = !same && self.update(first.config());
        self.specific = None;
        Ok(Sound {
            changed,
            data,
            units,
        })
    }

    fn update(&mut self, config: AudioConfig) -> bool {
        if self.config.as_deref() == Some(&config) {
            return false;
        }
        self.config = Some(Arc::new(config));
        true
    }
}

const FRAME_TOO_LARGE: Dropped = Dropped::Oversize {
    limit: "8184 bytes in an AAC frame",
};
const TOO_MANY_FRAMES: Dropped = Dropped::Oversize {
    limit: "64 audio frames in a tag",
};

/// Takes the headers off a row of ADTS frames; `None` if these bytes are no such row.
fn strip_adts(data: &Rope) -> Option<(Rope, Units)> {
    let mut stripped = Rope::new();
    let mut units = Units::new();
    let mut at: usize = 0;
    while at < data.len() {
        let mut head = [0; aac::ADTS_LEN];
        if data.copy_at(at, &mut head) < head.len() || units.len() >= FRAMES_MAX {
            return None;
        }
        let header = aac::Adts::parse(head)?;
        let end = at.checked_add(header.frame_len)?;
        if end > data.len() {
            return None;
        }
        let len = header.frame_len.saturating_sub(header.header_len);
        if len > 0 {
            units.push(unit(stripped.len(), len));
            let frame = data.slice(at.saturating_add(header.header_len), len);
            for slice in frame.slices() {
                stripped.push(slice.clone());
            }
        }
        at = end;
    }
    if units.len() == 1 {
        units.clear();
    }
    Some((stripped, units))
}

fn mp3_header(data: &Rope, at: usize) -> Option<Result<mp3::Header, codec::Error>> {
    let mut head = [0; mp3::HEADER_LEN];
    (data.copy_at(at, &mut head) == head.len()).then(|| mp3::Header::parse(head))
}

/// Offsets fit: a tag has at most 16 MiB.
fn unit(at: usize, len: usize) -> Unit {
    Unit {
        offset: u32::try_from(at).unwrap_or(u32::MAX),
        len: u32::try_from(len).unwrap_or(u32::MAX),
    }
}

const fn unsupported(name: String) -> Failure {
    Failure::Fatal(Error::UnsupportedCodec {
        kind: TrackKind::Audio,
        name,
    })
}
