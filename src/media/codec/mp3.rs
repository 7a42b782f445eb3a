//! MPEG audio layer III: frame headers (ISO 11172-3 §2.4.1.3, ISO 13818-3 §2.4.1.3).

#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]

use super::Error;
use crate::media::track::{AudioCodec, AudioConfig};

/// Bytes of a frame header.
pub const HEADER_LEN: usize = 4;

/// The header of one frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// Samples per second.
    pub sample_rate: u32,
    /// Samples in the frame: 1152, or 576 for the lower rates of MPEG-2 and 2.5.
    pub samples_per_frame: u32,
    /// 1 or 2.
    pub channels: u8,
    /// Bytes of the frame with its header.
    pub frame_len: usize,
}

impl Header {
    /// Reads a header.
    pub fn parse([b0, b1, b2, b3]: [u8; HEADER_LEN]) -> Result<Self, Error> {
        // kbit/s of layer III (table B.1 in 11172-3 §2.4.2.3, and 13818-3 §2.4.2.3)
        const MPEG1: [u32; 14] = [
            32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320,
        ];
        const MPEG2: [u32; 14] = [8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

        if b0 != 0xff || b1 & 0xe0 != 0xe0 {
            return Err(Error::Invalid("no MPEG audio frame"));
        }
        if b1 & 0x06 != 0x02 {
            return Err(Error::Invalid("MPEG audio of another layer than III"));
        }
        let (shift, rates) = match b1 >> 3 & 3 {
            3 => (0, MPEG1),
            2 => (1, MPEG2),
            0 => (2, MPEG2),
            _ => return Err(Error::Invalid("reserved MPEG audio version")),
        };
        let sample_rate = match b2 >> 2 & 3 {
            0 => 44_100_u32,
            1 => 48_000,
            2 => 32_000,
            _ => return Err(Error::Invalid("reserved sampling rate")),
        } >> shift;
        let kbps = match b2 >> 4 {
            0 => return Err(Error::Unsupported("MP3 of free format".to_owned())),
            index => rates
                .get(usize::from(index).saturating_sub(1))
                .copied()
                .ok_or(Error::Invalid("reserved bit rate"))?,
        };
        let samples_per_frame: u32 = if shift == 0 { 1152 } else { 576 };
        let bytes = samples_per_frame
            .saturating_mul(kbps)
            .saturating_mul(1000 / 8)
            .checked_div(sample_rate)
            .unwrap_or(0);
        let padding = u32::from(b2 >> 1 & 1);
        Ok(Self {
            sample_rate,
            samples_per_frame,
            channels: if b3 >> 6 == 3 { 1 } else { 2 },
            frame_len: bytes.saturating_add(padding) as usize,
        })
    }

    /// The configuration that the header tells.
    pub fn config(&self) -> AudioConfig {
        AudioConfig {
            codec: AudioCodec::Mp3,
            sample_rate: self.sample_rate,
            samples_per_frame: self.samples_per_frame,
            channels: self.channels,
            codec_string: "mp4a.40.34".to_owned(),
        }
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

    #[test]
    fn headers() {
        let check = |name: &str, header: &str, rate, samples, channels, len| {
            let expected = Header {
                sample_rate: rate,
                samples_per_frame: samples,
                channels,
                frame_len: len,
            };
            let header = Header::parse(hex(header).try_into().unwrap());
            assert_eq!(header, Ok(expected), "{name}");
        };
        // libmp3lame of ffmpeg 9.0.2, sine at 44.1 kHz: tags of 209 and 210 bytes, with one byte of tag header
        check("MPEG-1, 64 kbit/s", "fffb50c4", 44_100, 1152, 1, 208);
        check("the same, padded", "fffb52c4", 44_100, 1152, 1, 209);
        check("MPEG-1, 320 kbit/s", "fffbe400", 48_000, 1152, 2, 960);
        check("MPEG-2, 64 kbit/s", "fff38064", 22_050, 576, 2, 208);
        check("MPEG-2.5, 8 kbit/s", "ffe318c4", 8_000, 576, 1, 72);
    }

    #[test]
    fn what_is_no_layer_three_is_refused() {
        let check = |header: &str, expected: &str| {
            let header = Header::parse(hex(header).try_into().unwrap());
            assert_eq!(
                header.map_err(|error| error.to_string()),
                Err(expected.to_owned())
            );
        };
        check("494433 03".replace(' ', "").as_str(), "no MPEG audio frame");
        check("fffd50c4", "MPEG audio of another layer than III");
        check("fff150c4", "MPEG audio of another layer than III");
        check("ffeb50c4", "reserved MPEG audio version");
        check("fffb5cc4", "reserved sampling rate");
        check("fffbf0c4", "reserved bit rate");
        check("fffb00c4", "MP3 of free format is not supported");
    }

    #[test]
    fn no_header_panics() {
        for second in 0..=u8::MAX {
            for third in 0..=u8::MAX {
                let _ = Header::parse([0xff, second, third, 0]);
            }
        }
    }
}
