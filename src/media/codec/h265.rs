//! H.265: the configuration record and sequence parameter sets.

use super::bits::BitReader;
use super::h264::{SEI_RECOVERY_POINT, skip_vui_description, small};
use super::nal::{LengthSize, unescape};
use super::{Error, ParameterRecord, RecordReader, cropped, frame_rate};
use std::fmt::Write;

/// Video parameter set.
pub const NAL_VPS: u8 = 32;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 33;
/// Picture parameter set.
pub const NAL_PPS: u8 = 34;
/// Access unit delimiter.
pub const NAL_AUD: u8 = 35;
/// End of sequence.
pub const NAL_END_OF_SEQUENCE: u8 = 36;
/// End of bitstream.
pub const NAL_END_OF_BITSTREAM: u8 = 37;
/// Filler data.
pub const NAL_FILLER: u8 = 38;
/// Supplemental enhancement information before the picture.
pub const NAL_SEI_PREFIX: u8 = 39;

/// SEI payload type of a recovery point (§D.2.8).
pub const SEI_RECOVERY: u32 = SEI_RECOVERY_POINT;

/// Bytes of a unit header (§7.3.1.2).
pub const NAL_HEADER_LEN: usize = 2;

/// nal_unit_type from the first byte of a unit.
pub const fn nal_type(header: u8) -> u8 {
    header >> 1 & 0x3f
}

/// nuh_layer_id: 0 for the base layer, which is the only one that plain decoders look at.
pub fn layer(unit: &[u8]) -> u8 {
    match unit {
        [first, second, ..] => (first & 1) << 5 | second >> 3,
        _ => 0,
    }
}

/// Whether units of this type are slice segments.
pub const fn is_slice(nal_type: u8) -> bool {
    nal_type < NAL_VPS
}

/// Whether slices of this type make a picture at which decoding can start (IRAP: BLA, IDR, CRA).
pub const fn is_irap(nal_type: u8) -> bool {
    matches!(nal_type, 16..=21)
}

/// Whether slices of this type make an IDR picture, which no leading picture refers beyond.
pub const fn is_idr(nal_type: u8) -> bool {
    matches!(nal_type, 19 | 20)
}

/// Whether slices of this type make a leading picture that refers to pictures before its IRAP (RASL).
pub const fn is_rasl(nal_type: u8) -> bool {
    matches!(nal_type, 8 | 9)
}

/// Reads an HEVCDecoderConfigurationRecord (ISO 14496-15 §8.3.3.1).
///
/// Everything before the arrays but the length size is not looked at: the parameter sets say the
/// same. SEI that describes the whole stream (HDR) is kept behind the sets; the banner of an
/// encoder (user data, unregistered) is not, as it would be repeated at every key frame.
pub fn parse_record(record: &[u8]) -> Result<ParameterRecord, Error> {
    const USER_DATA_UNREGISTERED: u8 = 5;
    let mut reader = RecordReader::new(record);
    let [.., length_size, arrays] = reader.take::<23>()?;
    let length_size = LengthSize::from_minus_one(length_size)
        .ok_or(Error::Invalid("NAL unit lengths of 3 bytes"))?;
    for _ in 0..arrays {
        let [_completeness_and_type, high, low] = reader.take()?;
        for _ in 0..u16::from_be_bytes([high, low]) {
            reader.take_set(|set| match set {
                [header, _, payload_type, ..] if nal_type(*header) == NAL_SEI_PREFIX => {
                    *payload_type != USER_DATA_UNREGISTERED
                }
                [header, ..] => matches!(nal_type(*header), NAL_VPS | NAL_SPS | NAL_PPS),
                [] => false,
            })?;
        }
    }
    Ok(ParameterRecord {
        length_size,
        parameter_sets: reader.sets,
    })
}

/// What a sequence parameter set says (§7.3.2.2.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sps {
    /// sps_seq_parameter_set_id.
    pub id: u8,
    /// Profile, tier and level.
    pub profile: ProfileTierLevel,
    /// Width in pixels within the conformance window.
    pub width: u32,
    /// Height in pixels within the conformance window.
    pub height: u32,
    /// Pictures per second as numerator and denominator, if the VUI tells.
    pub frame_rate: Option<(u32, u32)>,
}

/// The general part of profile_tier_level (§7.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProfileTierLevel {
    /// general_profile_space.
    pub space: u8,
    /// general_tier_flag: the high tier.
    pub high_tier: bool,
    /// general_profile_idc.
    pub profile: u8,
    /// general_profile_compatibility_flags, flag 0 in the highest bit.
    pub compatibility: u32,
    /// The six bytes of constraint flags.
    pub constraints: [u8; 6],
    /// general_level_idc, 30 times the level.
    pub level: u8,
}

impl Sps {
    /// Reads the unit with its two header bytes, emulation prevention still in it.
    pub fn parse(unit: &[u8]) -> Result<Self, Error> {
        let rbsp = unescape(unit);
        let mut r = BitReader::new(&rbsp);
        r.skip(16)?;
        r.skip(4)?;
        let sub_layers_minus1 = r.bits(3)?;
        r.skip(1)?;
        let profile = ProfileTierLevel::parse(&mut r, sub_layers_minus1)?;
        let id = small(r.ue_max(15, "sps_seq_parameter_set_id above 15")?);
        let chroma_format = r.ue_max(3, "chroma_format_idc above 3")?;
        if chroma_format == 3 {
            r.skip(1)?;
        }
        let coded = (u64::from(r.ue()?), u64::from(r.ue()?));
        let mut window = [0; 4];
        if r.bit()? {
            for side in &mut window {
                *side = u64::from(r.ue()?);
            }
        }
        let [left, right, top, bottom] = window;
        // SubWidthC and SubHeightC (table 6-1)
        let (unit_x, unit_y) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let (width, height) = cropped(
            coded,
            left.saturating_add(right).saturating_mul(unit_x),
            top.saturating_add(bottom).saturating_mul(unit_y),
        )?;
        Ok(Self {
            id,
            profile,
            width,
            height,
            // Only a hint that stands behind much else: no reason to refuse the picture size.
            frame_rate: timing(&mut r, sub_layers_minus1).unwrap_or(None),
        })
    }

    /// RFC 6381 codec string as ISO 14496-15 annex E.3 forms it, for example `hvc1.1.6.L93.90`.
    pub fn codec_string(&self) -> String {
        let p = &self.profile;
        let space = match p.space {
            1 => "A",
            2 => "B",
            3 => "C",
            _ => "",
        };
        let mut text = format!(
            "hvc1.{space}{}.{:X}.{}{}",
            p.profile,
            p.compatibility.reverse_bits(),
            if p.high_tier { 'H' } else { 'L' },
            p.level
        );
        let used = p.constraints.iter().rposition(|&byte| byte != 0);
        let count = used.map_or(0, |last| last.saturating_add(1));
        for byte in p.constraints.iter().take(count) {
            // Writing to a String cannot fail.
            let _ = write!(text, ".{byte:X}");
        }
        text
    }
}

impl ProfileTierLevel {
    fn parse(r: &mut BitReader<'_>, sub_layers_minus1: u32) -> Result<Self, Error> {
        let space = r.byte(2)?;
        let high_tier = r.bit()?;
        let profile = r.byte(5)?;
        let compatibility = r.bits(32)?;
        let mut constraints = [0; 6];
        for byte in &mut constraints {
            *byte = r.byte(8)?;
        }
        let level = r.byte(8)?;
        if sub_layers_minus1 > 0 {
            let mut present = [(false, false); 8];
            for flags in &mut present {
                *flags = (r.bit()?, r.bit()?);
            }
            for (profile, level) in present.iter().take(sub_layers_minus1 as usize) {
                r.skip(if *profile { 88 } else { 0 })?;
                r.skip(if *level { 8 } else { 0 })?;
            }
        }
        Ok(Self {
            space,
            high_tier,
            profile,
            compatibility,
            constraints,
            level,
        })
    }
}

/// Passes from the bit depths to the timing of the VUI (§7.3.2.2.1, §E.2.1).
fn timing(r: &mut BitReader<'_>, sub_layers_minus1: u32) -> Result<Option<(u32, u32)>, Error> {
    r.ue()?;
    r.ue()?;
    let poc_bits = r
        .ue_max(12, "log2_max_pic_order_cnt_lsb_minus4 above 12")?
        .saturating_add(4);
    let layers = if r.bit()? {
        sub_layers_minus1.saturating_add(1)
    } else {
        1
    };
    for _ in 0..layers {
        for _ in 0..3 {
            r.ue()?;
        }
    }
    for _ in 0..6 {
        r.ue()?;
    }
    if r.bit()? && r.bit()? {
        skip_scaling_lists(r)?;
    }
    r.skip(2)?;
    if r.bit()? {
        r.skip(8)?;
        r.ue()?;
        r.ue()?;
        r.skip(1)?;
    }
    skip_reference_picture_sets(r)?;
    if r.bit()? {
        for _ in 0..r.ue_max(32, "more than 32 long-term reference pictures")? {
            r.skip(poc_bits.saturating_add(1) as usize)?;
        }
    }
    r.skip(2)?;
    if !r.bit()? {
        return Ok(None);
    }
    skip_vui_description(r)?;
    r.skip(3)?;
    if r.bit()? {
        for _ in 0..4 {
            r.ue()?;
        }
    }
    if !r.bit()? {
        return Ok(None);
    }
    let units_in_tick = u64::from(r.bits(32)?);
    let time_scale = u64::from(r.bits(32)?);
    Ok(frame_rate(time_scale, units_in_tick))
}

/// scaling_list_data (§7.3.4).
fn skip_scaling_lists(r: &mut BitReader<'_>) -> Result<(), Error> {
    for (matrices, coefficients, has_dc) in
        [(6, 16, false), (6, 64, false), (6, 64, true), (2, 64, true)]
    {
        for _ in 0..matrices {
            if !r.bit()? {
                r.ue()?;
                continue;
            }
            if has_dc {
                r.se()?;
            }
            for _ in 0..coefficients {
                r.se()?;
            }
        }
    }
    Ok(())
}

/// All st_ref_pic_set of an SPS (§7.3.7, §7.4.8). A set may be told by its difference to the one
/// before, and then has as many flags as that has pictures: so the distances have to be known.
fn skip_reference_picture_sets(r: &mut BitReader<'_>) -> Result<(), Error> {
    const PICTURES_MAX: u32 = 16;
    const TOO_MANY: &str = "more than 16 reference pictures";
    let mut distances: Vec<i64> = Vec::new();
    for index in 0..r.ue_max(64, "more than 64 reference picture sets")? {
        if index > 0 && r.bit()? {
            let negative = r.bit()?;
            let step = i64::from(r.ue()?).saturating_add(1);
            let step = if negative {
                step.saturating_neg()
            } else {
                step
            };
            let mut next = Vec::new();
            for distance in distances.iter().copied().chain([0]) {
                let kept = r.bit()? || r.bit()?;
                let moved = distance.saturating_add(step);
                if kept && moved != 0 {
                    next.push(moved);
                }
            }
            // Before the picture from near to far, then after it from near to far (7-61, 7-62).
            next.sort_unstable_by_key(|&distance| (distance > 0, distance.abs()));
            distances = next;
        } else {
            let before = r.ue_max(PICTURES_MAX, TOO_MANY)?;
            let after = r.ue_max(PICTURES_MAX, TOO_MANY)?;
            distances.clear();
            for (count, sign) in [(before, -1), (after, 1)] {
                let mut distance: i64 = 0;
                for _ in 0..count {
                    distance = distance
                        .saturating_add(i64::from(r.ue()?))
                        .saturating_add(1);
                    r.skip(1)?;
                    distances.push(distance.saturating_mul(sign));
                }
            }
        }
        if distances.len() > PICTURES_MAX as usize {
            return Err(Error::Invalid(TOO_MANY));
        }
    }
    Ok(())
}

/// vps_video_parameter_set_id.
pub fn vps_id(unit: &[u8]) -> Result<u8, Error> {
    let header = unit.get(NAL_HEADER_LEN).ok_or(Error::Truncated)?;
    Ok(header >> 4)
}

/// The ids of a picture parameter set: its own and that of its SPS.
pub fn pps_ids(unit: &[u8]) -> Result<(u8, u8), Error> {
    let rbsp = unescape(unit.get(..HEAD_LEN.min(unit.len())).unwrap_or_default());
    let mut r = BitReader::new(&rbsp);
    r.skip(16)?;
    let pps = r.ue_max(63, "pps_pic_parameter_set_id above 63")?;
    let sps = r.ue_max(15, "pps_seq_parameter_set_id above 15")?;
    Ok((small(pps), small(sps)))
}

/// How many bytes of a slice segment [`slice_pps`] needs.
pub const HEAD_LEN: usize = 24;

/// The PPS that the beginning of a slice segment refers to (§7.3.6.1).
pub fn slice_pps(unit: &[u8]) -> Result<u8, Error> {
    let rbsp = unescape(unit);
    let mut r = BitReader::new(&rbsp);
    let header = r.byte(8)?;
    r.skip(8)?;
    r.skip(1)?;
    if matches!(nal_type(header), 16..=23) {
        r.skip(1)?;
    }
    r.ue_max(63, "slice_pic_parameter_set_id above 63")
        .map(small)
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
    use crate::media::codec::tests::{hex, ue};
    use proptest::prelude::*;

    // libx265 4.3 of ffmpeg 9.0.2, -preset ultrafast, testsrc2 640x362 at 30000/1001
    const VPS: &str = "40010c01ffff01600000030090000003000003003f959409";
    const SPS: &str =
        "42010101600000030090000003000003003fa005020171f26595952930bc05a02000007d20000ea601";
    const PPS: &str = "4401c073c189";

    #[test]
    fn sps_of_real_encoders() {
        let sps = Sps::parse(&hex(SPS)).unwrap();
        assert_eq!((sps.width, sps.height), (640, 362), "cropped from 368");
        assert_eq!(sps.frame_rate, Some((30_000, 1001)));
        assert_eq!(sps.codec_string(), "hvc1.1.6.L63.90");
        assert_eq!(vps_id(&hex(VPS)), Ok(0));
        assert_eq!(pps_ids(&hex(PPS)), Ok((0, 0)));
    }

    #[test]
    fn codec_strings() {
        let check = |profile: ProfileTierLevel, expected: &str| {
            let sps = Sps {
                id: 0,
                profile,
                width: 16,
                height: 16,
                frame_rate: None,
            };
            assert_eq!(sps.codec_string(), expected);
        };
        let main = ProfileTierLevel {
            space: 0,
            high_tier: false,
            profile: 1,
            compatibility: 0x6000_0000,
            constraints: [0xb0, 0, 0, 0, 0, 0],
            level: 93,
        };
        // The examples of ISO 14496-15 §E.3
        check(main, "hvc1.1.6.L93.B0");
        check(
            ProfileTierLevel {
                space: 1,
                high_tier: true,
                profile: 4,
                compatibility: 0x0800_0000,
                constraints: [0xb0, 0x23, 0, 0, 0, 0],
                level: 120,
            },
            "hvc1.A4.10.H120.B0.23",
        );
        check(
            ProfileTierLevel {
                constraints: [0; 6],
                ..main
            },
            "hvc1.1.6.L93",
        );
    }

    #[test]
    fn records_with_quirks() {
        let head = "0101600000009000000000003ff000fcfdf8f80000";
        let array = |kind: u8, sets: &[&str]| {
            let mut text = format!("{kind:02x}{:04x}", sets.len());
            for set in sets {
                text += &format!("{:04x}{set}", set.len() / 2);
            }
            text
        };
        let check = |name: &str, record: String, expected: Result<&[&str], Error>| {
            let parsed = parse_record(&hex(&record)).map(|r| r.parameter_sets);
            let expected =
                expected.map(|sets| sets.iter().map(|set| hex(set).into()).collect::<Vec<_>>());
            assert_eq!(parsed, expected, "{name}");
        };
        let arrays = array(0x20, &[VPS]) + &array(0x21, &[SPS]) + &array(0x22, &[PPS]);
        check(
            "ffmpeg 9.0.2",
            format!("{head}0f03{arrays}"),
            Ok(&[VPS, SPS, PPS]),
        );
        let banner = "4e0105ffffff";
        let light = "4e01900403e8019080"; // content light level: payload type 144
        check(
            "banner and HDR messages",
            format!("{head}0f04{arrays}{}", array(0x27, &[banner, light])),
            Ok(&[VPS, SPS, PPS, light]),
        );
        check(
            "several PPS, odd order",
            format!(
                "{head}0f02{}{}",
                array(0x22, &[PPS, PPS]),
                array(0x21, &[SPS])
            ),
            Ok(&[PPS, PPS, SPS]),
        );
        check("no arrays", format!("{head}0f00"), Ok(&[]));
        check(
            "lengths of 3",
            format!("{head}0e00"),
            Err(Error::Invalid("NAL unit lengths of 3 bytes")),
        );
        check(
            "more arrays claimed than there are",
            format!("{head}0f04{arrays}"),
            Err(Error::Truncated),
        );
        let many = array(0xa2, &[PPS; PARAMETER_SETS_MAX + 1]);
        check(
            "too many sets",
            format!("{head}0f01{many}"),
            Err(Error::Limit("320 parameter sets")),
        );
        let large = "44".repeat(0xffff);
        check(
            "too large sets",
            format!("{head}0f01{}", array(0xa2, &[&large, &large])),
            Err(Error::Limit("64 KiB of parameter sets")),
        );
    }

    use crate::media::codec::PARAMETER_SETS_MAX;

    #[test]
    fn reference_picture_sets_told_by_difference_are_counted_right() {
        // two sets: {-1, -3} and, moved by +1, {(-1+1 = 0 is left out), -2, +1}; then a third that
        // refers to the second, and so has 2 + 1 flags
        let bits = ue(3)
            + &(ue(2) + &ue(0) + &ue(0) + "1" + &ue(1) + "1")
            + &("1".to_owned() + "0" + &ue(0) + "1" + "1" + "1")
            + &("1".to_owned() + "0" + &ue(0) + "1" + "01" + "00");
        let mut padded = bits.clone();
        while !padded.len().is_multiple_of(8) {
            padded.push('0');
        }
        let bytes: Vec<u8> = padded
            .as_bytes()
            .chunks_exact(8)
            .map(|byte| byte.iter().fold(0, |all, bit| all << 1 | (bit - b'0')))
            .collect();
        let mut r = BitReader::new(&bytes);
        skip_reference_picture_sets(&mut r).unwrap();
        assert_eq!(r.left(), padded.len() - bits.len());
    }

    #[test]
    fn slices_name_their_pps() {
        // CRA, first slice, no_output_of_prior_pics 0, ue(5); then TRAIL_R, first slice, ue(0)
        assert_eq!(slice_pps(&[0x2a, 0x01, 0b1000_1100]), Ok(5));
        assert_eq!(slice_pps(&[0x02, 0x01, 0b1100_0000]), Ok(0));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sps::parse(&bytes);
            let _ = parse_record(&bytes);
            let _ = pps_ids(&bytes);
            let _ = slice_pps(&bytes);
        }

        #[test]
        fn no_damage_panics(at in 0..40_usize, bit in 0..8_u32, cut in 0..41_usize) {
            let mut bytes = hex(SPS);
            bytes[at] ^= 1 << bit;
            let _ = Sps::parse(&bytes);
            let _ = Sps::parse(&bytes[..cut]);
        }
    }
}
