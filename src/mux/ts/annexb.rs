//! A picture as a byte stream (ITU-T H.264 and H.265, Annex B): delimiter, parameter sets, NAL units.

use super::packet::Payload;
use crate::media::track::VideoCodec;
use crate::media::{Frame, Rope, Unit, VideoConfig};
use bytes::Bytes;

/// The long start code: before the delimiter, parameter sets and the first unit.
const LONG: [u8; 4] = [0, 0, 0, 1];
/// The short one: before the others.
const SHORT: [u8; 3] = [0, 0, 1];
/// Access unit delimiter with primary_pic_type 7: any slices (H.264 §7.4.2.4).
const DELIMITER_H264: &[u8] = &[0, 0, 0, 1, 0x09, 0xf0];
/// Access unit delimiter with pic_type 2: any slices (H.265 §7.4.3.5).
const DELIMITER_H265: &[u8] = &[0, 0, 0, 1, 0x46, 0x01, 0x50];

/// One access unit, of which nothing is copied before it is written.
pub(super) struct AccessUnit<'a> {
    delimiter: &'static [u8],
    parameter_sets: &'a [Bytes],
    data: &'a Rope,
    units: &'a [Unit],
}

impl<'a> AccessUnit<'a> {
    pub(super) fn new(config: &'a VideoConfig, frame: &'a Frame) -> Self {
        Self {
            delimiter: match config.codec {
                VideoCodec::H264 => DELIMITER_H264,
                VideoCodec::H265 => DELIMITER_H265,
            },
            parameter_sets: if frame.key {
                &config.parameter_sets
            } else {
                &[]
            },
            data: &frame.data,
            units: &frame.units,
        }
    }

    /// Bytes that [`Self::write`] puts.
    pub(super) fn len(&self) -> usize {
        let sets = self.parameter_sets.iter().map(Bytes::len);
        let sets = sets.map(|len| len.saturating_add(LONG.len()));
        let units = self.starts().map(|(start, unit)| {
            let (_, len) = self.range(unit);
            len.saturating_add(start.len())
        });
        sets.chain(units)
            .fold(self.delimiter.len(), usize::saturating_add)
    }

    pub(super) fn write(&self, payload: &mut Payload<'_>) {
        payload.put(self.delimiter);
        for set in self.parameter_sets {
            payload.put(&LONG);
            payload.put(set);
        }
        let mut cursor = Cursor::new(self.data);
        for (start, unit) in self.starts() {
            payload.put(start);
            let (offset, len) = self.range(unit);
            cursor.copy(offset, len, payload);
        }
    }

    fn starts(&self) -> impl Iterator<Item = (&'static [u8], &Unit)> {
        self.units.iter().enumerate().map(|(index, unit)| {
            let start: &[u8] = if index == 0 { &LONG } else { &SHORT };
            (start, unit)
        })
    }

    /// Offset and length of a unit, within the data.
    fn range(&self, unit: &Unit) -> (usize, usize) {
        let offset = usize::try_from(unit.offset).unwrap_or(usize::MAX);
        let len = usize::try_from(unit.len).unwrap_or(usize::MAX);
        (offset, len.min(self.data.len().saturating_sub(offset)))
    }
}

/// Walks a rope once for all units: with small chunks a picture has thousands of slices, and a
/// walk from the front for each of its units would be quadratic.
struct Cursor<'a> {
    rope: &'a Rope,
    /// Slices from the current one on.
    rest: &'a [Bytes],
    /// Offset of the current slice.
    at: usize,
}

impl<'a> Cursor<'a> {
    fn new(rope: &'a Rope) -> Self {
        Self {
            rope,
            rest: rope.slices(),
            at: 0,
        }
    }

    fn copy(&mut self, offset: usize, mut len: usize, payload: &mut Payload<'_>) {
        if offset < self.at {
            *self = Self::new(self.rope);
        }
        let mut skip = offset.saturating_sub(self.at);
        while let Some((slice, later)) = self.rest.split_first() {
            if let Some(tail) = slice.get(skip..).filter(|tail| !tail.is_empty()) {
                let piece = tail.get(..len).unwrap_or(tail);
                payload.put(piece);
                len = len.saturating_sub(piece.len());
                if len == 0 {
                    return;
                }
            }
            skip = skip.saturating_sub(slice.len());
            self.at = self.at.saturating_add(slice.len());
            self.rest = later;
        }
    }
}
