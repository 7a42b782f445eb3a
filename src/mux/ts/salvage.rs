//! What is whole in a transport stream of ours that was cut off: after a crash, a segment ends there.

use crate::media::Duration;
use mpeg2ts::ts::payload::Pes;
use mpeg2ts::ts::{ReadTsPacket, TsPacket, TsPacketReader, TsPayload};

/// Timestamps on the wire run over here (ISO 13818-1 §2.4.3.7).
const TICKS_MODULUS: u64 = 1 << 33;
/// How long a lone picture is taken to last.
const LONE_PICTURE: u64 = 3_600;
/// Sampling frequencies of ADTS (ISO 14496-3 table 1.18).
const FREQUENCIES: [u32; 13] = [
    96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000,
    7_350,
];
const SAMPLES_PER_ADTS_FRAME: u64 = 1024;
/// Bytes of a PES header that its length counts: flags, and each of its timestamps (ISO 13818-1 §2.4.3.6).
const FLAGS: usize = 3;
const STAMP: usize = 5;

/// The whole beginning of a segment that was cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Salvaged {
    /// Bytes from the beginning that are whole PES packets.
    pub len: usize,
    /// From its first picture to the end of its last one; of sound, if there is no picture.
    pub duration: Duration,
    /// Pictures.
    pub pictures: u64,
}

/// Finds the end of the last whole PES packet; `None` if there is none.
///
/// Nothing is left out between: a frame is in the result with all frames written before it.
pub fn salvage(bytes: &[u8]) -> Option<Salvaged> {
    let mut reader = TsPacketReader::new(bytes);
    let mut found = Found::default();
    let mut at = 0;
    // An error is a packet that is cut off or was never written, or the end of what is written over an
    // older segment: whatever follows is not whole.
    while let Ok(Some(packet)) = reader.read_ts_packet() {
        let adaptation = packet.adaptation_field.as_ref();
        let stuffed = adaptation.is_some_and(|adaptation| adaptation.pcr.is_none());
        match packet.payload {
            Some(TsPayload::PesStart(pes)) => {
                let whole = found.begin(at, &pes);
                if !whole {
                    break;
                }
            }
            Some(TsPayload::PesContinuation(data)) => found.go_on(&data, stuffed),
            _ => {}
        }
        at = at.saturating_add(TsPacket::SIZE);
    }
    found.finish(at)
}

#[derive(Default)]
struct Found {
    open: Option<Open>,
    video: Span,
    audio: Span,
}

/// The PES packet that is being read.
struct Open {
    at: usize,
    is_video: bool,
    /// Decoding time on the wire.
    time: u64,
    /// Payload bytes that it says it has; pictures of more than 64 KiB do not say.
    len: Option<usize>,
    read: usize,
    /// Whether its last packet was filled up, which only a last packet is.
    stuffed: bool,
    /// Sampling frequency and frames of AAC.
    adts: Adts,
}

impl Found {
    /// False if the one before is not whole.
    fn begin(&mut self, at: usize, pes: &Pes) -> bool {
        if let Some(open) = self.open.take() {
            if open.len.is_some_and(|len| open.read < len) {
                self.open = Some(open);
                return false;
            }
            self.keep(&open);
        }
        let header = &pes.header;
        let stamps = [header.pts, header.dts].into_iter().flatten().count();
        let optional = stamps.saturating_mul(STAMP).saturating_add(FLAGS);
        let len = usize::from(pes.pes_packet_len);
        let time = header.dts.or(header.pts).map_or(0, |time| time.as_u64());
        let mut open = Open {
            at,
            is_video: header.stream_id.is_video(),
            time,
            len: (len > 0).then(|| len.saturating_sub(optional)),
            read: 0,
            stuffed: false,
            adts: Adts::default(),
        };
        open.take(&pes.data);
        self.open = Some(open);
        true
    }

    fn go_on(&mut self, data: &[u8], stuffed: bool) {
        if let Some(open) = &mut self.open {
            open.take(data);
            open.stuffed = stuffed;
        }
    }

    fn keep(&mut self, open: &Open) {
        let lasts = open.adts.duration();
        let span = match open.is_video {
            true => &mut self.video,
            false => &mut self.audio,
        };
        span.push(open.time, lasts);
    }

    fn finish(mut self, end: usize) -> Option<Salvaged> {
        let mut len = end;
        if let Some(open) = self.open.take() {
            let whole = match open.len {
                Some(len) => open.read >= len,
                // Our muxer fills up the last packet of each that does not say its length.
                None => open.stuffed,
            };
            match whole {
                true => self.keep(&open),
                false => len = open.at,
            }
        }
        let span = if self.video.count > 0 {
            &self.video
        } else {
            &self.audio
        };
        (span.count > 0).then(|| Salvaged {
            len,
            duration: span.duration(),
            pictures: self.video.count,
        })
    }
}

impl Open {
    fn take(&mut self, data: &[u8]) {
        self.read = self.read.saturating_add(data.len());
        if !self.is_video {
            self.adts.take(data);
        }
    }
}

/// Counts ADTS frames in payload that comes in pieces (ISO 13818-7 §6.2).
#[derive(Default)]
struct Adts {
    /// Bytes of the current frame that are still to come.
    left: usize,
    header: Vec<u8>,
    frames: u64,
    frequency: u32,
}

impl Adts {
    const HEADER: usize = 7;

    fn take(&mut self, mut data: &[u8]) {
        while !data.is_empty() {
            let skipped = self.left.min(data.len());
            self.left = self.left.saturating_sub(skipped);
            data = data.get(skipped..).unwrap_or_default();
            let wanted = Self::HEADER
                .saturating_sub(self.header.len())
                .min(data.len());
            if self.left > 0 || wanted == 0 {
                return;
            }
            self.header
                .extend_from_slice(data.get(..wanted).unwrap_or_default());
            data = data.get(wanted..).unwrap_or_default();
            if let [0xff, sync, c, d, e, f, _] = self.header[..]
                && sync & 0xf6 == 0xf0
            {
                let len = usize::from(d & 3) << 11 | usize::from(e) << 3 | usize::from(f >> 5);
                let index = usize::from(c >> 2 & 0xf);
                self.frequency = FREQUENCIES.get(index).copied().unwrap_or(0);
                self.frames = self.frames.saturating_add(1);
                self.left = len.saturating_sub(Self::HEADER);
                self.header.clear();
            }
        }
    }

    /// Ticks that the frames last; `None` if it is not AAC.
    fn duration(&self) -> Option<u64> {
        let samples = self.frames.checked_mul(SAMPLES_PER_ADTS_FRAME)?;
        let ticks = samples
            .checked_mul(90_000)?
            .checked_div(self.frequency.into())?;
        (ticks > 0).then_some(ticks)
    }
}

/// Times of one stream.
#[derive(Default)]
struct Span {
    count: u64,
    first: u64,
    last: u64,
    /// What the last one lasts: what it says itself, or the step to it.
    lasts: u64,
}

impl Span {
    fn push(&mut self, time: u64, lasts: Option<u64>) {
        if self.count == 0 {
            self.first = time;
            self.lasts = LONE_PICTURE;
        } else {
            self.lasts = since(self.last, time);
        }
        self.lasts = lasts.unwrap_or(self.lasts);
        self.last = time;
        self.count = self.count.saturating_add(1);
    }

    fn duration(&self) -> Duration {
        let ticks = since(self.first, self.last).saturating_add(self.lasts);
        Duration::from_ticks(i64::try_from(ticks).unwrap_or(i64::MAX))
    }
}

fn since(earlier: u64, later: u64) -> u64 {
    later.wrapping_sub(earlier) % TICKS_MODULUS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flv::TagKind;
    use crate::media::{Begin, Rope, WallTime};
    use crate::pipeline::{Effect, Pipeline, Policy};
    use bytes::Bytes;

    /// What stands between the bytes of a segment and those that it is written over.
    const STOP: u8 = 0xb8;

    /// The first segment of the clip that comes with the server, and where its parts end.
    fn segment() -> (Vec<u8>, Vec<usize>, Duration) {
        let clip: &[u8] = include_bytes!("../../../assets/demo.flv");
        let policy = Policy {
            target: Duration::from_secs(2),
            max: Duration::from_secs(10),
            part: Duration::from_ms(500),
        };
        let mut pipeline = Pipeline::new(policy, Begin::default());
        let (mut bytes, mut parts) = (Vec::new(), Vec::new());
        for (kind, timestamp, body) in tags(clip) {
            pipeline
                .push(kind, timestamp, Rope::from(body), WallTime::default())
                .expect("a good clip");
            while let Some(effect) = pipeline.poll() {
                match effect {
                    Effect::Write(more) => bytes.extend_from_slice(&more),
                    Effect::Part(_) => parts.push(bytes.len()),
                    Effect::Segment { segment, .. } => return (bytes, parts, segment.duration),
                    Effect::Open(_) | Effect::Tracks(_) => {}
                }
            }
        }
        panic!("the clip has no segment");
    }

    /// FLV file format §E.3: a header of 9 bytes, then tags of 11 bytes, body and 4 bytes.
    fn tags(clip: &[u8]) -> Vec<(TagKind, u32, Bytes)> {
        let mut rest = &clip[13..];
        let mut tags = Vec::new();
        while rest.len() > 11 {
            let len = u32::from_be_bytes([0, rest[1], rest[2], rest[3]]) as usize;
            let timestamp = u32::from_be_bytes([rest[7], rest[4], rest[5], rest[6]]);
            let kind = match rest[0] {
                8 => TagKind::Audio,
                9 => TagKind::Video,
                _ => TagKind::Data,
            };
            tags.push((kind, timestamp, Bytes::copy_from_slice(&rest[11..11 + len])));
            rest = &rest[11 + len + 4..];
        }
        tags
    }

    #[test]
    fn every_part_is_kept_whole_and_every_cut_is_a_beginning() {
        let (bytes, parts, duration) = segment();
        let whole = salvage(&bytes).expect("frames");
        assert_eq!(whole.len, bytes.len());
        let error = (whole.duration - duration).abs();
        assert!(
            error <= Duration::from_ms(1),
            "{whole:?} is not {duration:?}"
        );
        for end in &parts {
            let found = salvage(&bytes[..*end]).expect("frames");
            assert_eq!(found.len, *end, "a part is whole");
            let over = [&bytes[..*end], &[STOP], &bytes[1..]].concat();
            assert_eq!(salvage(&over), Some(found), "written over");
        }
        let mut last = 0;
        for cut in (0..bytes.len()).step_by(61) {
            let found = salvage(&bytes[..cut]);
            let len = found.map_or(0, |found| found.len);
            assert!(
                len <= cut && len >= last && len.is_multiple_of(188),
                "{cut}"
            );
            let kept = parts.iter().rev().find(|end| **end <= cut);
            assert!(kept.is_none_or(|end| len >= *end), "{cut} has a part more");
            last = len;
        }
    }

    #[test]
    fn what_was_never_written_is_not_kept() {
        let (mut bytes, parts, _) = segment();
        let end = parts[1];
        bytes[end..].fill(0); // a power cut: the file has its length, and not its bytes
        assert_eq!(salvage(&bytes).map(|found| found.len), Some(end));
        assert_eq!(salvage(&[]), None);
        assert_eq!(salvage(&bytes[..376]), None, "tables alone");
        assert_eq!(salvage(&[0x47; 1000]), None);
    }
}
