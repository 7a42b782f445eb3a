//! The video side of the demuxer: parameter sets and access units.
//!
//! Parameter sets are kept by kind and id. They come from the configuration record and from the
//! stream itself; the last one before a key frame holds, and goes into the track's configuration
//! instead of the picture.

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::Dropped;
use super::parameter_sets::{ParameterSets, SETS_TOO_LARGE, broken_config};
use crate::media::codec::nal::{self, LengthSize, NalUnit, NalUnits, SplitError};
use crate::media::codec::{self, PARAMETER_SETS_BYTES_MAX, ParameterRecord, h264, h265};
use crate::media::track::VideoCodec;
use crate::media::{Rope, TrackKind, Unit, Units, VideoConfig};
use bytes::Bytes;
use smallvec::SmallVec;
use std::sync::Arc;

/// Bytes that wait for their picture at most: messages that came in tags of their own.
const WAITING_BYTES_MAX: usize = 64 * 1024;
/// Units that wait for their picture at most.
const WAITING_UNITS_MAX: usize = 64;
/// Parameter sets at most that were sent within a group of pictures and wait for its end.
const LATE_SETS_MAX: usize = 64;

/// The video track and what is needed to read its next picture.
#[derive(Debug)]
pub(super) struct Video {
    codec: VideoCodec,
    length_size: LengthSize,
    /// Parameter sets of the last record as it was sent; encoders repeat it, and a repetition must
    /// not undo what the stream has said since.
    record: Vec<Bytes>,
    /// Parameter sets in force.
    sets: ParameterSets,
    /// Sets that changed within a group of pictures: they stayed in their pictures, and join `sets`
    /// at the next picture where decoding can start.
    late: SmallVec<[Bytes; 2]>,
    /// Units that came without a picture and belong to the next one.
    waiting: Waiting,
    config: Option<Arc<VideoConfig>>,
}

/// A picture, and whether the configuration changed with it.
pub(super) struct Picture {
    pub(super) changed: bool,
    pub(super) key: bool,
    pub(super) recovery: bool,
    pub(super) data: Rope,
    pub(super) units: Units,
    pub(super) dropped: Option<Dropped>,
}

#[derive(Debug, Default)]
struct Waiting {
    data: Rope,
    units: NalUnits,
}

impl Video {
    pub(super) fn new(codec: VideoCodec) -> Self {
        Self {
            codec,
            length_size: LengthSize::Four,
            record: Vec::new(),
            sets: ParameterSets::default(),
            late: SmallVec::new(),
            waiting: Waiting::default(),
            config: None,
        }
    }

    pub(super) const fn codec(&self) -> VideoCodec {
        self.codec
    }

    pub(super) const fn config(&self) -> Option<&Arc<VideoConfig>> {
        self.config.as_ref()
    }

    /// Takes a configuration record; returns whether the configuration changed.
    pub(super) fn sequence_start(&mut self, record: &Bytes) -> Result<bool, Dropped> {
        let record = read_record(self.codec, record).map_err(|error| broken_config(&error))?;
        if record.parameter_sets == self.record {
            self.length_size = record.length_size;
            return Ok(false);
        }
        let mut sets = ParameterSets::default();
        for bytes in &record.parameter_sets {
            sets.put(self.codec, bytes)?;
        }
        if !sets.are_complete() {
            // What is missing is what was known before, or comes with a picture.
            let mut merged = self.sets.clone();
            for bytes in &record.parameter_sets {
                merged.put(self.codec, bytes)?;
            }
            sets = merged;
        }
        self.length_size = record.length_size;
        self.record = record.parameter_sets;
        self.sets = sets;
        self.late.clear();
        Ok(self.update_config())
    }

    /// Takes an access unit, which lies in `body[at..end]`. `None` if it held no picture but units
    /// that are kept for the next one.
    pub(super) fn access_unit(
        &mut self,
        flagged_key: bool,
        body: Rope,
        at: usize,
        end: usize,
    ) -> Result<Option<Picture>, Dropped> {
        let found = nal::split(&body, at, end, self.length_size).map_err(|error| match error {
            SplitError::Overrun { offset } => Dropped::BrokenNal { offset },
            SplitError::TooMany => Dropped::Oversize {
                limit: "4096 NAL units in a picture",
            },
        })?;
        if found.is_empty() {
            return Err(Dropped::Empty);
        }
        let Some(slice) = found
            .iter()
            .copied()
            .find(|unit| self.role(unit.header) == Role::Slice)
        else {
            self.keep_waiting(&body, &found)?;
            return Ok(None);
        };
        let (data, found, slice) = std::mem::take(&mut self.waiting).before(body, found, slice);

        let (key, recovery) = self.entry(&data, &found, slice, flagged_key);
        let mut picture = Picture {
            changed: false,
            key,
            recovery,
            units: Units::new(),
            dropped: None,
            data,
        };
        self.sort_units(&mut picture, &found);
        if key && self.sets.have_several_sps() {
            let pps = self.slice_pps(&picture.data, slice.unit);
            picture.changed |= self.sets.activate(pps) && self.update_config();
        }
        if self.config.is_none() {
            return Err(Dropped::NoConfig {
                kind: TrackKind::Video,
            });
        }
        Ok(Some(picture))
    }

    /// Names the units that go to the output, and takes the parameter sets out.
    fn sort_units(&mut self, picture: &mut Picture, found: &NalUnits) {
        let entry = picture.key || picture.recovery || self.config.is_none();
        let mut renewed = false;
        if entry {
            for bytes in std::mem::take(&mut self.late) {
                match self.sets.put(self.codec, &bytes) {
                    Ok(new) => renewed |= new,
                    Err(dropped) => picture.dropped = Some(dropped),
                }
            }
        }
        for &NalUnit { unit, header } in found {
            match self.role(header) {
                Role::Delimiter | Role::End => {}
                Role::Slice | Role::Message | Role::Filler | Role::Other => {
                    picture.units.push(unit);
                }
                Role::ParameterSet => {
                    if self.late.is_empty() && self.sets.contain(&picture.data, unit) {
                        continue;
                    }
                    let Some(bytes) =
                        nal::unit_bytes(&picture.data, unit, PARAMETER_SETS_BYTES_MAX)
                    else {
                        picture.dropped = Some(SETS_TOO_LARGE);
                        continue;
                    };
                    if !entry {
                        picture.units.push(unit);
                        self.keep_late(&bytes);
                        continue;
                    }
                    match self.sets.put(self.codec, &bytes) {
                        Ok(new) => renewed |= new,
                        Err(dropped) => picture.dropped = Some(dropped),
                    }
                }
            }
        }
        if renewed {
            picture.changed |= self.update_config();
        }
    }

    /// Keeps what a tag without a picture says for the next picture.
    fn keep_waiting(&mut self, body: &Rope, found: &NalUnits) -> Result<(), Dropped> {
        let mut absorbed = false;
        for found in found {
            match self.role(found.header) {
                Role::Delimiter | Role::End | Role::Filler | Role::Slice => continue,
                Role::ParameterSet
                    if self.late.is_empty() && self.sets.contain(body, found.unit) =>
                {
                    absorbed = true;
                    continue;
                }
                Role::ParameterSet | Role::Message | Role::Other => {}
            }
            absorbed = true;
            let len = found.unit.len as usize;
            let at = self.waiting.data.len();
            if at.saturating_add(len) > WAITING_BYTES_MAX
                || self.waiting.units.len() >= WAITING_UNITS_MAX
            {
                return Err(Dropped::Oversize {
                    limit: "64 KiB or 64 messages that wait for a picture",
                });
            }
            // A copy: what waits is small, and must not keep a read buffer alive.
            let bytes = body.slice(found.unit.offset as usize, len);
            for slice in bytes.slices() {
                self.waiting.data.push(Bytes::copy_from_slice(slice));
            }
            self.waiting.units.push(NalUnit {
                unit: Unit {
                    offset: u32::try_from(at).unwrap_or(u32::MAX),
                    len: found.unit.len,
                },
                header: found.header,
            });
        }
        if absorbed {
            Ok(())
        } else {
            Err(Dropped::NoSlice)
        }
    }

    fn keep_late(&mut self, bytes: &[u8]) {
        if self.late.len() >= LATE_SETS_MAX {
            self.late.remove(0);
        }
        self.late.push(Bytes::copy_from_slice(bytes));
    }

    /// Whether decoding can start at this picture, cleanly and at all. The flag only counts together
    /// with a sign in the bitstream: some encoders set it on everything.
    fn entry(
        &self,
        data: &Rope,
        found: &NalUnits,
        slice: NalUnit,
        flagged_key: bool,
    ) -> (bool, bool) {
        let (key, clean) = match self.codec {
            VideoCodec::H264 => {
                let idr = h264::nal_type(slice.header) == h264::NAL_IDR;
                (idr, idr)
            }
            VideoCodec::H265 => {
                let nal_type = h265::nal_type(slice.header);
                (h265::is_irap(nal_type), h265::is_idr(nal_type))
            }
        };
        if key || !flagged_key {
            return (key, key && !clean);
        }
        let (header_len, wanted) = match self.codec {
            VideoCodec::H264 => (1, h264::SEI_RECOVERY_POINT),
            VideoCodec::H265 => (h265::NAL_HEADER_LEN, h265::SEI_RECOVERY),
        };
        let message = found
            .iter()
            .filter(|found| self.role(found.header) == Role::Message)
            .any(|found| nal::sei_has_payload(data, found.unit, header_len, wanted));
        let intra = || {
            self.codec == VideoCodec::H264
                && h264::SliceHead::parse(&head(data, slice.unit)).is_ok_and(|head| head.intra)
        };
        (false, message || intra())
    }

    fn slice_pps(&self, data: &Rope, slice: Unit) -> Option<u8> {
        let head = head(data, slice);
        match self.codec {
            VideoCodec::H264 => h264::SliceHead::parse(&head).ok().map(|head| head.pps),
            VideoCodec::H265 => h265::slice_pps(&head).ok(),
        }
    }

    /// Makes the configuration of the sets in force; returns whether it differs from the one before.
    fn update_config(&mut self) -> bool {
        let Some(config) = self.sets.config(self.codec) else {
            return false;
        };
        if self.config.as_deref() == Some(&config) {
            return false;
        }
        self.config = Some(Arc::new(config));
        true
    }

    const fn role(&self, header: u8) -> Role {
        match self.codec {
            VideoCodec::H264 => match h264::nal_type(header) {
                nal_type if h264::is_slice(nal_type) => Role::Slice,
                h264::NAL_SEI => Role::Message,
                h264::NAL_SPS | h264::NAL_PPS => Role::ParameterSet,
                h264::NAL_AUD => Role::Delimiter,
                h264::NAL_END_OF_SEQUENCE | h264::NAL_END_OF_STREAM => Role::End,
                h264::NAL_FILLER => Role::Filler,
                _ => Role::Other,
            },
            VideoCodec::H265 => match h265::nal_type(header) {
                nal_type if h265::is_slice(nal_type) => Role::Slice,
                h265::NAL_SEI_PREFIX => Role::Message,
                h265::NAL_VPS | h265::NAL_SPS | h265::NAL_PPS => Role::ParameterSet,
                h265::NAL_AUD => Role::Delimiter,
                h265::NAL_END_OF_SEQUENCE | h265::NAL_END_OF_BITSTREAM => Role::End,
                h265::NAL_FILLER => Role::Filler,
                _ => Role::Other,
            },
        }
    }
}

/// What a NAL unit is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Role {
    Slice,
    Message,
    ParameterSet,
    Delimiter,
    End,
    Filler,
    Other,
}

impl Waiting {
    /// Puts what waited before a picture; the usual case, that nothing did, moves nothing.
    fn before(self, body: Rope, found: NalUnits, slice: NalUnit) -> (Rope, NalUnits, NalUnit) {
        if self.units.is_empty() {
            return (body, found, slice);
        }
        let mut data = self.data;
        let ahead = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let moved = |mut found: NalUnit| {
            found.unit.offset = found.unit.offset.saturating_add(ahead);
            found
        };
        for slice in body.slices() {
            data.push(slice.clone());
        }
        let mut units = self.units;
        units.extend(found.into_iter().map(moved));
        (data, units, moved(slice))
    }
}

/// Reads a record, or the start codes that some encoders write in its place.
fn read_record(codec: VideoCodec, record: &Bytes) -> Result<ParameterRecord, codec::Error> {
    if matches!(record.as_ref(), [0, 0, 1, ..] | [0, 0, 0, 1, ..]) {
        let rope = Rope::from(record.clone());
        let units = nal::split_annex_b(&rope, 0, rope.len())
            .map_err(|_| codec::Error::Limit("4096 NAL units in a configuration"))?;
        let parameter_sets = units
            .iter()
            .filter_map(|found| nal::unit_bytes(&rope, found.unit, PARAMETER_SETS_BYTES_MAX))
            .collect();
        return Ok(ParameterRecord {
            length_size: LengthSize::Four,
            parameter_sets,
        });
    }
    match codec {
        VideoCodec::H264 => h264::parse_record(record),
        VideoCodec::H265 => h265::parse_record(record),
    }
}

/// The beginning of a slice: enough for the fields that are looked at.
fn head(data: &Rope, slice: Unit) -> Bytes {
    const LEN: usize = if h264::SLICE_HEAD_LEN > h265::HEAD_LEN {
        h264::SLICE_HEAD_LEN
    } else {
        h265::HEAD_LEN
    };
    let len = (slice.len as usize).min(LEN);
    data.slice(slice.offset as usize, len).to_bytes()
}
