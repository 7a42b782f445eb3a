//! The header of a PES packet (ISO 13818-1 §2.4.3.6).

use super::packet::Ticks33;
use crate::media::{Timestamp, TrackKind};

/// Largest value of PES_packet_length.
const LENGTH_MAX: usize = 0xffff;
/// What PES_packet_length counts of a header without DTS: flags, header length and PTS.
const COUNTED_WITHOUT_DTS: usize = 8;
const DTS_LEN: usize = 5;

/// Most bytes an audio PES may carry: unlike video, its length must be written (§2.4.3.7).
pub(super) const AUDIO_PAYLOAD_MAX: usize = LENGTH_MAX - COUNTED_WITHOUT_DTS;

/// The bytes of a header: 14 with PTS, 19 with PTS and DTS.
pub(super) struct Header {
    bytes: [u8; 19],
    len: usize,
}

impl Header {
    pub(super) fn new(kind: TrackKind, pts: Timestamp, dts: Timestamp, payload: usize) -> Self {
        let (pts, dts) = (Ticks33::from(pts), Ticks33::from(dts));
        let both = pts != dts;
        let dts_len = if both { DTS_LEN } else { 0 };
        let counted = payload
            .saturating_add(COUNTED_WITHOUT_DTS)
            .saturating_add(dts_len);
        // 0 means "until the next one begins"; only video has pictures that large.
        let [length_high, length_low] = u16::try_from(counted).unwrap_or(0).to_be_bytes();
        let stream_id = match kind {
            TrackKind::Video => 0xe0,
            TrackKind::Audio => 0xc0,
        };
        let (prefix, flags, optional_len) = if both {
            (0b0011, 0b1100_0000, 10)
        } else {
            (0b0010, 0b1000_0000, 5)
        };
        let [p0, p1, p2, p3, p4] = stamp(prefix, pts);
        let [d0, d1, d2, d3, d4] = stamp(0b0001, dts);
        Self {
            bytes: [
                0,
                0,
                1,
                stream_id,
                length_high,
                length_low,
                // '10', not scrambled, data_alignment_indicator: an access unit follows at once.
                0b1000_0100,
                flags,
                optional_len,
                p0,
                p1,
                p2,
                p3,
                p4,
                d0,
                d1,
                d2,
                d3,
                d4,
            ],
            len: dts_len.saturating_add(14),
        }
    }

    /// Whether it says how long the payload is.
    pub(super) fn is_bounded(&self) -> bool {
        self.bytes.get(4..6) != Some(&[0, 0])
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&self.bytes)
    }
}

/// 33 bits in three groups, each closed by a marker bit, behind a prefix of four bits.
const fn stamp(prefix: u64, time: Ticks33) -> [u8; 5] {
    let ticks = time.get();
    let bits = prefix << 36
        | (ticks & 0x1_c000_0000) << 3
        | 1 << 32
        | (ticks & 0x3fff_8000) << 2
        | 1 << 16
        | (ticks & 0x7fff) << 1
        | 1;
    let [_, _, _, field @ ..] = bits.to_be_bytes();
    field
}
