//! AAC: AudioSpecificConfig (ISO 14496-3 §1.6.2.1) and ADTS headers (§1.A.2.2).

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::Error;
use super::bits::BitReader;
use crate::media::track::{AudioCodec, AudioConfig};

/// Bytes of a raw frame at most: what the 13-bit length of an ADTS header of 7 bytes can tell.
pub const FRAME_BYTES_MAX: usize = 8191 - 7;

/// Bytes of AudioSpecificConfig that are looked at; the longest that says anything has a program
/// config element with a comment of 255 bytes.
const CONFIG_BYTES_MAX: usize = 512;

/// Sampling rates by samplingFrequencyIndex (table 1.18).
const RATES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];

const SBR: u8 = 5;
const PARAMETRIC_STEREO: u8 = 29;

/// Reads an AudioSpecificConfig.
///
/// What is said of SBR and parametric stereo, in front or behind (sync extension 0x2b7), goes to the
/// codec string and the channels only: frames are counted at the core rate. What an ADTS header
/// cannot say is refused by name.
pub fn parse_config(bytes: &[u8]) -> Result<AudioConfig, Error> {
    let mut r = BitReader::new(
        bytes
            .get(..CONFIG_BYTES_MAX.min(bytes.len()))
            .unwrap_or_default(),
    );
    let mut signalled = object_type(&mut r)?;
    let rate = rate(&mut r)?;
    let mut channel_configuration = r.byte(4)?;
    let mut core = signalled;
    if matches!(signalled, SBR | PARAMETRIC_STEREO) {
        self::rate(&mut r)?;
        core = object_type(&mut r)?;
    }
    // ADTS has two bits for the profile, which is the object type less one: Main, LC, SSR, LTP.
    if !(1..=4).contains(&core) {
        return Err(Error::Unsupported(object_type_name(core)));
    }
    let frequency_index = RATES
        .iter()
        .position(|&known| known == rate)
        .and_then(|index| u8::try_from(index).ok())
        .ok_or_else(|| Error::Unsupported(format!("AAC at {rate} Hz")))?;

    let short_frames = r.bit()?;
    if r.bit()? {
        r.skip(14)?;
    }
    let extension = r.bit()?;
    if channel_configuration == 0 {
        channel_configuration = program_config(&mut r)?;
    }
    if extension {
        // extensionFlag3, the only field behind it for these object types
        r.skip(1)?;
    }
    let mut channels = match channel_configuration {
        1..=6 => channel_configuration,
        7 => 8,
        other => {
            return Err(Error::Unsupported(format!(
                "AAC with channel configuration {other}{}",
                if matches!(other, 12 | 14) {
                    " (7.1)"
                } else {
                    ""
                }
            )));
        }
    };
    if signalled == core {
        signalled = sync_extension(&mut r).unwrap_or(None).unwrap_or(core);
    }
    if signalled == PARAMETRIC_STEREO && channels == 1 {
        channels = 2;
    }
    Ok(AudioConfig {
        codec: AudioCodec::Aac {
            object_type: core,
            frequency_index,
            channel_configuration,
        },
        sample_rate: rate,
        samples_per_frame: if short_frames { 960 } else { 1024 },
        channels,
        codec_string: format!("mp4a.40.{signalled}"),
    })
}

/// GetAudioObjectType (table 1.16).
fn object_type(r: &mut BitReader<'_>) -> Result<u8, Error> {
    match r.byte(5)? {
        31 => Ok(r.byte(6)?.saturating_add(32)),
        short => Ok(short),
    }
}

/// samplingFrequencyIndex, and the 24-bit rate behind its escape.
fn rate(r: &mut BitReader<'_>) -> Result<u32, Error> {
    let index = r.bits(4)?;
    let rate = match index {
        15 => r.bits(24)?,
        _ => RATES.get(index as usize).copied().unwrap_or(0),
    };
    if rate == 0 {
        return Err(Error::Invalid("reserved sampling rate"));
    }
    Ok(rate)
}

/// The backward-compatible signalling behind the config proper (§1.6.2.1, §1.6.6).
fn sync_extension(r: &mut BitReader<'_>) -> Result<Option<u8>, Error> {
    if r.left() < 16 || r.bits(11)? != 0x2b7 || object_type(r)? != SBR || !r.bit()? {
        return Ok(None);
    }
    rate(r)?;
    let stereo = r.left() >= 12 && r.bits(11)? == 0x548 && r.bit()?;
    Ok(Some(if stereo { PARAMETRIC_STEREO } else { SBR }))
}

/// Reads a program_config_element (§4.4.1.1) and returns the channel configuration with the same
/// elements in the same order (table 1.19), as then the frames decode alike.
fn program_config(r: &mut BitReader<'_>) -> Result<u8, Error> {
    r.skip(4 + 2 + 4)?;
    let (front, side, back) = (r.bits(4)?, r.bits(4)?, r.bits(4)?);
    let (lfe, data, coupling) = (r.bits(2)?, r.bits(3)?, r.bits(4)?);
    for bits in [4, 4, 3] {
        if r.bit()? {
            r.skip(bits)?;
        }
    }
    // Each front, side and back element is a pair or single; the shape is a text such as "13".
    let mut shape = [String::new(), String::new(), String::new()];
    for (elements, shape) in [front, side, back].into_iter().zip(&mut shape) {
        for _ in 0..elements {
            shape.push(if r.bit()? { '2' } else { '1' });
            r.skip(4)?;
        }
    }
    let tail = lfe
        .saturating_add(data)
        .saturating_mul(4)
        .saturating_add(coupling.saturating_mul(5));
    r.skip(tail as usize)?;
    r.align();
    let comment = r.bits(8)?;
    r.skip((comment as usize).saturating_mul(8))?;

    let [front, side, back] = shape;
    match (front.as_str(), side.as_str(), back.as_str(), lfe, coupling) {
        ("1", "", "", 0, 0) => Ok(1),
        ("2", "", "", 0, 0) => Ok(2),
        ("12", "", "", 0, 0) => Ok(3),
        ("12", "", "1", 0, 0) => Ok(4),
        ("12", "", "2", 0, 0) | ("12", "2", "", 0, 0) => Ok(5),
        ("12", "", "2", 1, 0) | ("12", "2", "", 1, 0) => Ok(6),
        ("122", "", "2", 1, 0) => Ok(7),
        _ => Err(Error::Unsupported(
            "AAC with a channel layout of its own (program config element)".to_owned(),
        )),
    }
}

fn object_type_name(object_type: u8) -> String {
    match object_type {
        17 => "AAC ER LC".to_owned(),
        19 => "AAC ER LTP".to_owned(),
        20 => "AAC scalable".to_owned(),
        23 => "AAC-LD".to_owned(),
        39 => "AAC-ELD".to_owned(),
        42 => "xHE-AAC (USAC)".to_owned(),
        other => format!("AAC object type {other}"),
    }
}

/// The header of an ADTS frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Adts {
    /// Bytes of the header: 7, or 9 with a checksum.
    pub header_len: usize,
    /// Bytes of the frame with its header.
    pub frame_len: usize,
    /// Audio object type.
    pub object_type: u8,
    /// Index of the sampling rate.
    pub frequency_index: u8,
    /// Channel configuration, 0 if it is in the frame.
    pub channel_configuration: u8,
}

/// Bytes of an ADTS header without checksum.
pub const ADTS_LEN: usize = 7;

impl Adts {
    /// Reads a header; `None` if these bytes are none. A raw frame never looks like one: it would
    /// begin with the element that ends a frame.
    pub fn parse(bytes: [u8; ADTS_LEN]) -> Option<Self> {
        let [b0, b1, b2, b3, b4, b5, _] = bytes;
        let frequency_index = b2 >> 2 & 0x0f;
        if b0 != 0xff || b1 & 0xf6 != 0xf0 || usize::from(frequency_index) >= RATES.len() {
            return None;
        }
        let header_len: usize = if b1 & 1 == 1 { 7 } else { 9 };
        let frame_len = usize::from(b3 & 3) << 11 | usize::from(b4) << 3 | usize::from(b5) >> 5;
        (frame_len >= header_len).then_some(Self {
            header_len,
            frame_len,
            object_type: (b2 >> 6).saturating_add(1),
            frequency_index,
            channel_configuration: (b2 & 1) << 2 | b3 >> 6,
        })
    }

    /// The configuration that the header tells; `None` if the channels are told in the frame only.
    pub fn config(&self) -> Option<AudioConfig> {
        let channels = match self.channel_configuration {
            0 => return None,
            7 => 8,
            same => same,
        };
        Some(AudioConfig {
            codec: AudioCodec::Aac {
                object_type: self.object_type,
                frequency_index: self.frequency_index,
                channel_configuration: self.channel_configuration,
            },
            sample_rate: RATES.get(usize::from(self.frequency_index)).copied()?,
            samples_per_frame: 1024,
            channels,
            codec_string: format!("mp4a.40.{}", self.object_type),
        })
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
    use proptest::prelude::*;

    #[test]
    fn configs() {
        #[derive(PartialEq, Debug)]
        struct Seen(u32, u32, u8, (u8, u8, u8), String);
        let check = |name: &str, config: &str, rate, samples, channels, adts, codec: &str| {
            let seen = parse_config(&hex(config)).map(|c| {
                let AudioCodec::Aac {
                    object_type,
                    frequency_index,
                    channel_configuration,
                } = c.codec
                else {
                    panic!("{name}");
                };
                let adts = (object_type, frequency_index, channel_configuration);
                Seen(
                    c.sample_rate,
                    c.samples_per_frame,
                    c.channels,
                    adts,
                    c.codec_string,
                )
            });
            let expected = Seen(rate, samples, channels, adts, codec.to_owned());
            assert_eq!(seen, Ok(expected), "{name}");
        };
        check(
            "LC 44.1 stereo",
            "1210",
            44_100,
            1024,
            2,
            (2, 4, 2),
            "mp4a.40.2",
        );
        check(
            "LC 48 mono",
            "1188",
            48_000,
            1024,
            1,
            (2, 3, 1),
            "mp4a.40.2",
        );
        // ffmpeg 9.0.2 says there that SBR is absent
        check(
            "LC 44.1 mono by ffmpeg",
            "120856e500",
            44_100,
            1024,
            1,
            (2, 4, 1),
            "mp4a.40.2",
        );
        check("LC 48 5.1", "11b0", 48_000, 1024, 6, (2, 3, 6), "mp4a.40.2");
        check(
            "LC 48 7.1 front",
            "11b8",
            48_000,
            1024,
            8,
            (2, 3, 7),
            "mp4a.40.2",
        );
        check("Main", "0a10", 44_100, 1024, 2, (1, 4, 2), "mp4a.40.1");
        check(
            "frames of 960",
            "1214",
            44_100,
            960,
            2,
            (2, 4, 2),
            "mp4a.40.2",
        );
        check(
            "HE-AAC, explicit",
            "2b920800",
            22_050,
            1024,
            2,
            (2, 7, 2),
            "mp4a.40.5",
        );
        check(
            "HE-AAC v2, explicit",
            "eb8a0800",
            22_050,
            1024,
            2,
            (2, 7, 1),
            "mp4a.40.29",
        );
        check(
            "HE-AAC, behind",
            "139056e5a0",
            22_050,
            1024,
            2,
            (2, 7, 2),
            "mp4a.40.5",
        );
        check(
            "HE-AAC v2, behind",
            "138856e5a54880",
            22_050,
            1024,
            2,
            (2, 7, 1),
            "mp4a.40.29",
        );
        check(
            "trailing zeros",
            "12100000000000",
            44_100,
            1024,
            2,
            (2, 4, 2),
            "mp4a.40.2",
        );
        check(
            "24-bit rate of the table",
            "1780562210",
            44_100,
            1024,
            2,
            (2, 4, 2),
            "mp4a.40.2",
        );
        // tag 0, LC, index 4; one front pair; and single, pair, back pair, LFE
        check(
            "PCE, stereo",
            "1200050400002000",
            44_100,
            1024,
            2,
            (2, 4, 2),
            "mp4a.40.2",
        );
        check(
            "PCE, 5.1",
            "12000508050001080000",
            44_100,
            1024,
            6,
            (2, 4, 6),
            "mp4a.40.2",
        );
    }

    #[test]
    fn configs_that_adts_cannot_carry_are_refused_by_name() {
        let check = |config: &str, expected: &str| {
            assert_eq!(
                parse_config(&hex(config)).map_err(|error| error.to_string()),
                Err(expected.to_owned())
            );
        };
        // ffmpeg 9.0.2 with -ac 8
        check(
            "11e056e500",
            "AAC with channel configuration 12 (7.1) is not supported",
        );
        check("f8e840", "AAC-ELD is not supported");
        check("ba10", "AAC-LD is not supported");
        check("1780181c90", "AAC at 12345 Hz is not supported");
        check(
            "120005040400210000",
            "AAC with a channel layout of its own (program config element) is not supported",
        );
        check("1690", "reserved sampling rate");
        check("12", "it ends early");
        check("", "it ends early");
    }

    #[test]
    fn adts_headers() {
        let header = |text: &str| Adts::parse(hex(text).try_into().unwrap());
        let lc = header("fff150802e7ffc").unwrap();
        assert_eq!((lc.header_len, lc.frame_len), (7, 0x173));
        let config = lc.config().unwrap();
        assert_eq!(config, parse_config(&hex("1210")).unwrap());
        assert_eq!(header("fff050802e7ffc").unwrap().header_len, 9);
        assert_eq!(header("fff15080001ffc"), None, "a frame without bytes");
        assert_eq!(header("fffb50802e7ffc"), None, "MP3");
        assert_eq!(header("fff17c802e7ffc"), None, "rate 15");
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse_config(&bytes);
        }

        #[test]
        fn no_program_config_panics(mut bytes in prop::collection::vec(any::<u8>(), 2..100)) {
            bytes[0] = 0x12;
            bytes[1] = 0;
            let _ = parse_config(&bytes);
        }
    }
}
