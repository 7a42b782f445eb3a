//! H.264: the configuration record, sequence parameter sets, and the first fields of a slice.

use super::bits::BitReader;
use super::nal::{LengthSize, unescape};
use super::{Error, ParameterRecord, RecordReader, cropped, frame_rate};

/// Slice of an IDR picture.
pub const NAL_IDR: u8 = 5;
/// Supplemental enhancement information.
pub const NAL_SEI: u8 = 6;
/// Sequence parameter set.
pub const NAL_SPS: u8 = 7;
/// Picture parameter set.
pub const NAL_PPS: u8 = 8;
/// Access unit delimiter.
pub const NAL_AUD: u8 = 9;
/// End of sequence.
pub const NAL_END_OF_SEQUENCE: u8 = 10;
/// End of stream.
pub const NAL_END_OF_STREAM: u8 = 11;
/// Filler data.
pub const NAL_FILLER: u8 = 12;

/// SEI payload type of a recovery point (§D.1.8); the same number in H.265.
pub const SEI_RECOVERY_POINT: u32 = 6;

/// nal_unit_type from the first byte of a unit.
pub const fn nal_type(header: u8) -> u8 {
    header & 0x1f
}

/// Whether units of this type are slices or slice data partitions of the primary picture.
pub const fn is_slice(nal_type: u8) -> bool {
    matches!(nal_type, 1..=NAL_IDR)
}

/// Reads an AVCDecoderConfigurationRecord (ISO 14496-15 §5.3.3.1).
///
/// The profile bytes, the reserved bits, the version and everything behind the PPS are not looked
/// at: encoders get them wrong, and the parameter sets say the same.
pub fn parse_record(record: &[u8]) -> Result<ParameterRecord, Error> {
    let mut reader = RecordReader::new(record);
    let [_version, _profile, _compatibility, _level, length_size] = reader.take()?;
    let length_size = LengthSize::from_minus_one(length_size)
        .ok_or(Error::Invalid("NAL unit lengths of 3 bytes"))?;
    let [sps_count] = reader.take()?;
    for _ in 0..sps_count & 0x1f {
        reader.take_set(|set| set_type(set) == Some(NAL_SPS))?;
    }
    let [pps_count] = reader.take()?;
    for _ in 0..pps_count {
        reader.take_set(|set| set_type(set) == Some(NAL_PPS))?;
    }
    Ok(ParameterRecord {
        length_size,
        parameter_sets: reader.sets,
    })
}

fn set_type(set: &[u8]) -> Option<u8> {
    set.first().map(|&header| nal_type(header))
}

/// What a sequence parameter set says (§7.3.2.1.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sps {
    /// seq_parameter_set_id.
    pub id: u8,
    /// profile_idc.
    pub profile: u8,
    /// The constraint_set flags and reserved bits, as the byte they are.
    pub constraints: u8,
    /// level_idc.
    pub level: u8,
    /// Width in pixels after cropping.
    pub width: u32,
    /// Height in pixels of a frame after cropping.
    pub height: u32,
    /// Frames per second as numerator and denominator, if the VUI tells.
    pub frame_rate: Option<(u32, u32)>,
}

impl Sps {
    /// Reads the unit with its header byte, emulation prevention still in it.
    pub fn parse(unit: &[u8]) -> Result<Self, Error> {
        let rbsp = unescape(unit);
        let mut r = BitReader::new(&rbsp);
        r.skip(8)?;
        let (profile, constraints, level) = (r.byte(8)?, r.byte(8)?, r.byte(8)?);
        let id = small(r.ue_max(31, "seq_parameter_set_id above 31")?);
        let chroma = Chroma::parse(&mut r, profile)?;

        r.ue_max(12, "log2_max_frame_num_minus4 above 12")?;
        match r.ue_max(2, "pic_order_cnt_type above 2")? {
            0 => {
                r.ue_max(12, "log2_max_pic_order_cnt_lsb_minus4 above 12")?;
            }
            1 => {
                r.skip(1)?;
                r.se()?;
                r.se()?;
                for _ in 0..r.ue_max(255, "more than 255 reference frames in a cycle")? {
                    r.se()?;
                }
            }
            _ => {}
        }
        r.ue_max(16, "more than 16 reference frames")?;
        r.skip(1)?;

        let width_mbs = u64::from(r.ue()?).saturating_add(1);
        let height_units = u64::from(r.ue()?).saturating_add(1);
        let frames_only = r.bit()?;
        if !frames_only {
            r.skip(1)?;
        }
        // A field picture has half the lines: one map unit is two macroblocks high (§7.4.2.1.1).
        let fields: u64 = if frames_only { 1 } else { 2 };
        r.skip(1)?;
        let mut crop = [0; 4];
        if r.bit()? {
            for side in &mut crop {
                *side = u64::from(r.ue()?);
            }
        }
        let [left, right, top, bottom] = crop;
        let (unit_x, unit_y) = chroma.crop_unit();
        let (width, height) = cropped(
            (
                width_mbs.saturating_mul(16),
                height_units.saturating_mul(16).saturating_mul(fields),
            ),
            left.saturating_add(right).saturating_mul(unit_x),
            top.saturating_add(bottom)
                .saturating_mul(unit_y)
                .saturating_mul(fields),
        )?;

        Ok(Self {
            id,
            profile,
            constraints,
            level,
            width,
            height,
            // Only a hint, and encoders cut the VUI short: no reason to refuse the picture size.
            frame_rate: vui_frame_rate(&mut r).unwrap_or(None),
        })
    }

    /// RFC 6381 §3.3: `avc1.` and profile, constraints and level in hexadecimal.
    pub fn codec_string(&self) -> String {
        format!(
            "avc1.{:02x}{:02x}{:02x}",
            self.profile, self.constraints, self.level
        )
    }
}

/// How the chroma planes are sampled.
struct Chroma {
    format: u32,
    separate_planes: bool,
}

impl Chroma {
    /// Reads the fields that only some profiles have, from chroma_format_idc to the scaling lists.
    fn parse(r: &mut BitReader<'_>, profile: u8) -> Result<Self, Error> {
        let mut chroma = Self {
            format: 1,
            separate_planes: false,
        };
        if !matches!(
            profile,
            100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135
        ) {
            return Ok(chroma);
        }
        chroma.format = r.ue_max(3, "chroma_format_idc above 3")?;
        if chroma.format == 3 {
            chroma.separate_planes = r.bit()?;
        }
        r.ue_max(6, "luma of more than 14 bits")?;
        r.ue_max(6, "chroma of more than 14 bits")?;
        r.skip(1)?;
        if r.bit()? {
            let lists = if chroma.format == 3 { 12 } else { 8 };
            for list in 0..lists {
                if r.bit()? {
                    skip_scaling_list(r, if list < 6 { 16 } else { 64 })?;
                }
            }
        }
        Ok(chroma)
    }

    /// CropUnitX and CropUnitY of a frame (§7.4.2.1.1, table 6-1).
    const fn crop_unit(&self) -> (u64, u64) {
        match self.format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        }
    }
}

/// scaling_list (§7.3.2.1.1.1).
fn skip_scaling_list(r: &mut BitReader<'_>, size: u32) -> Result<(), Error> {
    let (mut last, mut next) = (8_i64, 8_i64);
    for _ in 0..size {
        if next != 0 {
            next = last.saturating_add(r.se()?).rem_euclid(256);
        }
        if next != 0 {
            last = next;
        }
    }
    Ok(())
}

/// The timing of vui_parameters (§E.1.1). A tick is the duration of a field, so a frame has two.
fn vui_frame_rate(r: &mut BitReader<'_>) -> Result<Option<(u32, u32)>, Error> {
    if !r.bit()? {
        return Ok(None);
    }
    skip_vui_description(r)?;
    if !r.bit()? {
        return Ok(None);
    }
    let units_in_tick = u64::from(r.bits(32)?);
    let time_scale = u64::from(r.bits(32)?);
    Ok(frame_rate(time_scale, units_in_tick.saturating_mul(2)))
}

/// The part of the VUI that H.264 and H.265 share: aspect ratio, overscan, colours, chroma location.
pub(super) fn skip_vui_description(r: &mut BitReader<'_>) -> Result<(), Error> {
    const EXTENDED_SAR: u32 = 255;
    if r.bit()? && r.bits(8)? == EXTENDED_SAR {
        r.skip(32)?;
    }
    if r.bit()? {
        r.skip(1)?;
    }
    if r.bit()? {
        r.skip(4)?;
        if r.bit()? {
            r.skip(24)?;
        }
    }
    if r.bit()? {
        r.ue()?;
        r.ue()?;
    }
    Ok(())
}

/// The ids of a picture parameter set: its own and that of its SPS.
pub fn pps_ids(unit: &[u8]) -> Result<(u8, u8), Error> {
    let rbsp = unescape(unit.get(..PPS_HEAD_LEN.min(unit.len())).unwrap_or_default());
    let mut r = BitReader::new(&rbsp);
    r.skip(8)?;
    let pps = r.ue_max(255, "pic_parameter_set_id above 255")?;
    let sps = r.ue_max(31, "seq_parameter_set_id above 31")?;
    Ok((small(pps), small(sps)))
}

const PPS_HEAD_LEN: usize = 16;

/// The first fields of a slice header (§7.3.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SliceHead {
    /// Whether the slice is decoded from itself alone (I or SI).
    pub intra: bool,
    /// The PPS it refers to.
    pub pps: u8,
}

/// How many bytes of a slice unit [`SliceHead::parse`] needs.
pub const SLICE_HEAD_LEN: usize = 24;

impl SliceHead {
    /// Reads the beginning of a unit of types 1, 2 or 5, with its header byte.
    pub fn parse(unit: &[u8]) -> Result<Self, Error> {
        let rbsp = unescape(unit);
        let mut r = BitReader::new(&rbsp);
        r.skip(8)?;
        r.ue()?;
        let slice_type = r.ue_max(9, "slice_type above 9")?;
        let pps = r.ue_max(255, "pic_parameter_set_id above 255")?;
        Ok(Self {
            intra: matches!(slice_type, 2 | 4 | 7 | 9),
            pps: small(pps),
        })
    }
}

/// The low byte of a number that is known to fit.
pub(super) const fn small(value: u32) -> u8 {
    value.to_le_bytes()[0]
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
    use proptest::prelude::*;

    fn hex(text: &str) -> Vec<u8> {
        crate::media::codec::tests::hex(text)
    }

    #[test]
    fn sps_of_real_encoders() {
        let check = |name: &str, unit: &str, size: (u32, u32), rate, codec: &str| {
            let sps = Sps::parse(&hex(unit)).expect(name);
            assert_eq!((sps.width, sps.height), size, "{name}");
            assert_eq!(sps.frame_rate, rate, "{name}");
            assert_eq!(sps.codec_string(), codec, "{name}");
        };
        // libx264 of ffmpeg 9.0.2, -preset ultrafast, testsrc2 320x180 at 25; height is cropped from 192
        check(
            "baseline",
            "6742c00cda05067e7c0440000003004000000c83c50aa8",
            (320, 180),
            Some((25, 1)),
            "avc1.42c00c",
        );
        // the same with -x264-params aud=1:tff=1: interlaced, so map units are two macroblocks high
        check(
            "interlaced",
            "674d4015f40a19f93011000003000100000300321f142a",
            (320, 180),
            Some((25, 1)),
            "avc1.4d4015",
        );
        // the same with -pix_fmt yuv444p10le: chroma_format_idc 3, 10 bits
        check(
            "high 4:4:4 predictive",
            "67f4000c90d9b282833f1b80880000030008000003019078a14cb0",
            (320, 180),
            Some((25, 1)),
            "avc1.f4000c",
        );
    }

    #[test]
    fn an_sps_that_lies_is_refused() {
        // profile 66, level 30, id 0, frame_num, poc type 2, 1 reference: then what the case is about
        let check = |name: &str, tail: &str, expected: Error| {
            let bits = format!(
                "011001110100001000000000000111101{}{tail}",
                "1" /* frame_num */
            ) + &"0".repeat(128);
            let bytes: Vec<u8> = bits
                .as_bytes()
                .chunks_exact(8)
                .map(|byte| byte.iter().fold(0, |all, bit| all << 1 | (bit - b'0')))
                .collect();
            assert_eq!(Sps::parse(&bytes), Err(expected), "{name}");
        };
        let ue = crate::media::codec::tests::ue;
        let limit = Error::Limit("16888 pixels a side");
        let size = |w: u32, h: u32| format!("{}{}0{}{}", ue(2), ue(1), ue(w - 1), ue(h - 1));
        check("2^20 wide", &(size(65_536, 1) + "11"), limit.clone());
        check("2^20 high", &(size(1, 65_536) + "11"), limit.clone());
        check("2^36 wide", &(size(u32::MAX - 1, 1) + "11"), limit);
        check(
            "cropped to nothing",
            &(size(1, 1) + "111" + &ue(8) + &ue(0) + &ue(0) + &ue(0)),
            Error::Invalid("cropping window larger than the picture"),
        );
        check(
            "2^32 reference frames",
            &(ue(2) + &ue(u32::MAX - 1)),
            Error::Invalid("more than 16 reference frames"),
        );
        check(
            "zeros without end",
            &ue(2),
            Error::Invalid("Exp-Golomb code of more than 32 bits"),
        );
        assert_eq!(Sps::parse(&[0x67, 66, 0]), Err(Error::Truncated));
    }

    #[test]
    fn records_with_quirks() {
        let sps = "6742c00cda05067e7c0440000003004000000c83c50aa8";
        let pps = "68ce0fc8";
        let check = |name: &str, record: String, expected: Result<(usize, &[&str]), Error>| {
            let parsed =
                parse_record(&hex(&record)).map(|r| (r.length_size.bytes(), r.parameter_sets));
            let expected = expected.map(|(size, sets)| {
                let sets = sets.iter().map(|set| hex(set).into()).collect();
                (size, sets)
            });
            assert_eq!(parsed, expected, "{name}");
        };
        let good = format!("0142c00cffe10017{sps}010004{pps}");
        check("ffmpeg 9.0.2", good.clone(), Ok((4, &[sps, pps])));
        check(
            "trailing bytes",
            good.clone() + "00ff",
            Ok((4, &[sps, pps])),
        );
        check(
            "version 0, reserved bits 0",
            format!("0042c00c03010017{sps}010004{pps}"),
            Ok((4, &[sps, pps])),
        );
        check("no sets", "0142c00cffe000".into(), Ok((4, &[])));
        check(
            "two PPS, an empty one, lengths of 2",
            format!("0142c00cfde10017{sps}030004{pps}00000004{pps}"),
            Ok((2, &[sps, pps, pps])),
        );
        check(
            "lengths of 3",
            format!("0142c00cfee10017{sps}010004{pps}"),
            Err(Error::Invalid("NAL unit lengths of 3 bytes")),
        );
        check(
            "SPS beyond the end",
            format!("0142c00cffe100ff{sps}"),
            Err(Error::Truncated),
        );
        for cut in 0..hex(&good).len() {
            assert_eq!(
                parse_record(&hex(&good)[..cut]),
                Err(Error::Truncated),
                "cut to {cut}"
            );
        }
    }

    #[test]
    fn slice_heads() {
        let check = |unit: &str, intra, pps| {
            assert_eq!(SliceHead::parse(&hex(unit)), Ok(SliceHead { intra, pps }));
        };
        check("65888400", true, 0); // IDR: first_mb 0, type 7, pps 0
        check("419a22bc", false, 0); // P by libx264: first_mb 0, type 5
        check("419e4278", false, 0); // B by libx264: first_mb 0, type 6
        assert_eq!(pps_ids(&hex("68ce0fc8")), Ok((0, 0)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Sps::parse(&bytes);
            let _ = parse_record(&bytes);
            let _ = pps_ids(&bytes);
            let _ = SliceHead::parse(&bytes);
        }
    }
}
