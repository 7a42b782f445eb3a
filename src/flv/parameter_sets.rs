//! The parameter sets of a stream, and the track configuration that they make.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::Dropped;
use crate::media::codec::{self, PARAMETER_SETS_BYTES_MAX, PARAMETER_SETS_MAX, h264, h265};
use crate::media::track::VideoCodec;
use crate::media::{Rope, TrackKind, Unit, VideoConfig};
use bytes::Bytes;

/// The parameter sets of a stream, sorted by kind, then as they came.
#[derive(Clone, Debug, Default)]
pub(super) struct ParameterSets {
    sets: Vec<ParameterSet>,
    bytes: usize,
    /// The SPS to which the last key frame refers, if there are several.
    active_sps: Option<u8>,
}

#[derive(Clone, Debug)]
struct ParameterSet {
    kind: SetKind,
    id: u8,
    /// The SPS to which a PPS refers.
    sps: u8,
    bytes: Bytes,
}

/// In the order in which they are sent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum SetKind {
    Vps,
    Sps,
    Pps,
    Message,
}

pub(super) const SETS_TOO_LARGE: Dropped = Dropped::Oversize {
    limit: "320 parameter sets or 64 KiB of them",
};

impl ParameterSets {
    fn of(&self, kind: SetKind) -> impl Iterator<Item = &ParameterSet> {
        self.sets.iter().filter(move |set| set.kind == kind)
    }

    pub(super) fn are_complete(&self) -> bool {
        self.of(SetKind::Sps).next().is_some() && self.of(SetKind::Pps).next().is_some()
    }

    pub(super) fn have_several_sps(&self) -> bool {
        self.of(SetKind::Sps).nth(1).is_some()
    }

    /// Whether the unit is one of the sets, byte for byte.
    pub(super) fn contain(&self, data: &Rope, unit: Unit) -> bool {
        let (at, len) = (unit.offset as usize, unit.len as usize);
        let same = |set: &ParameterSet| {
            let mut rest: &[u8] = &set.bytes;
            set.bytes.len() == len
                && data.pieces(at, len).all(|piece| {
                    let same = rest.starts_with(piece);
                    rest = rest.get(piece.len()..).unwrap_or_default();
                    same
                })
        };
        self.sets.iter().any(same)
    }

    /// Adds a set, or replaces the one with its id; returns whether anything is different then.
    pub(super) fn put(&mut self, codec: VideoCodec, bytes: &[u8]) -> Result<bool, Dropped> {
        let set = ParameterSet::parse(codec, bytes).map_err(|error| broken_config(&error))?;
        let Some(set) = set else {
            return Ok(false);
        };
        let same_id = |old: &ParameterSet| old.kind == set.kind && old.id == set.id;
        let count = self.sets.len();
        let old = self.sets.iter_mut().find(|old| same_id(old));
        let old_len = old.as_ref().map_or(0, |old| old.bytes.len());
        let total = self
            .bytes
            .saturating_sub(old_len)
            .saturating_add(bytes.len());
        if total > PARAMETER_SETS_BYTES_MAX {
            return Err(SETS_TOO_LARGE);
        }
        match old {
            Some(old) if old.bytes == set.bytes => return Ok(false),
            Some(old) => *old = set,
            None if count >= PARAMETER_SETS_MAX => return Err(SETS_TOO_LARGE),
            None => {
                let at = self.sets.partition_point(|other| other.kind <= set.kind);
                self.sets.insert(at, set);
            }
        }
        self.bytes = total;
        Ok(true)
    }

    /// Makes the SPS of this PPS the one that tells the picture size; returns whether it is another.
    pub(super) fn activate(&mut self, pps: Option<u8>) -> bool {
        let sps = self
            .of(SetKind::Pps)
            .find(|set| Some(set.id) == pps)
            .map(|set| set.sps);
        let changed = sps.is_some() && sps != self.active_sps;
        if changed {
            self.active_sps = sps;
        }
        changed
    }

    pub(super) fn config(&self, codec: VideoCodec) -> Option<VideoConfig> {
        if !self.are_complete() {
            return None;
        }
        let active = self
            .of(SetKind::Sps)
            .find(|set| Some(set.id) == self.active_sps);
        let sps = active.or_else(|| self.of(SetKind::Sps).next())?;
        let (width, height, frame_rate, codec_string) = match codec {
            VideoCodec::H264 => {
                let sps = h264::Sps::parse(&sps.bytes).ok()?;
                (sps.width, sps.height, sps.frame_rate, sps.codec_string())
            }
            VideoCodec::H265 => {
                let sps = h265::Sps::parse(&sps.bytes).ok()?;
                (sps.width, sps.height, sps.frame_rate, sps.codec_string())
            }
        };
        Some(VideoConfig {
            codec,
            parameter_sets: self.sets.iter().map(|set| set.bytes.clone()).collect(),
            width,
            height,
            frame_rate,
            codec_string,
        })
    }
}

impl ParameterSet {
    /// `None` if it is none of the base layer.
    fn parse(codec: VideoCodec, bytes: &[u8]) -> Result<Option<Self>, codec::Error> {
        let &header = bytes.first().ok_or(codec::Error::Truncated)?;
        let (kind, (id, sps)) = match codec {
            VideoCodec::H264 => match h264::nal_type(header) {
                h264::NAL_SPS => (SetKind::Sps, (h264::Sps::parse(bytes)?.id, 0)),
                h264::NAL_PPS => (SetKind::Pps, h264::pps_ids(bytes)?),
                _ => return Ok(None),
            },
            VideoCodec::H265 => match h265::nal_type(header) {
                _ if h265::layer(bytes) != 0 => return Ok(None),
                h265::NAL_VPS => (SetKind::Vps, (h265::vps_id(bytes)?, 0)),
                h265::NAL_SPS => (SetKind::Sps, (h265::Sps::parse(bytes)?.id, 0)),
                h265::NAL_PPS => (SetKind::Pps, h265::pps_ids(bytes)?),
                // The record's messages, told apart by their payload type.
                h265::NAL_SEI_PREFIX => {
                    let payload_type = bytes.get(h265::NAL_HEADER_LEN).copied();
                    (SetKind::Message, (payload_type.unwrap_or(0), 0))
                }
                _ => return Ok(None),
            },
        };
        Ok(Some(Self {
            kind,
            id,
            sps,
            // A copy, so that a configuration does not keep a read buffer alive for hours.
            bytes: Bytes::copy_from_slice(bytes),
        }))
    }
}

pub(super) const fn broken_config(error: &codec::Error) -> Dropped {
    Dropped::BrokenConfig {
        kind: TrackKind::Video,
        reason: error.reason(),
    }
}
