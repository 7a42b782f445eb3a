//! Tags, codec headers, times: whatever they are, what comes out is sound.

use super::feed::{Feed, pieces};
use bytes::Bytes;
use millstream::flv::{Demuxer, Reader, Tag, TagKind};
use millstream::media::codec::nal::{self, LengthSize};
use millstream::media::codec::{aac, h264, h265, mp3};
use millstream::media::timeline::{Samples, Timeline, WireTime};
use millstream::media::{Begin, Duration, Rope, Timestamp, TrackKind, Unit, WallTime};
use millstream::mux::ts;
use millstream::pipeline::{Effect, Pipeline, Policy};
use mpeg2ts::ts::{ReadTsPacket, TsPacketReader, TsPayload};
use std::collections::HashMap;

const NOON: WallTime = WallTime::from_unix_ms(1_763_700_000_000);
const POLICY: Policy = Policy {
    target: Duration::from_secs(2),
    max: Duration::from_secs(10),
    part: Duration::from_ms(500),
};

/// A file in any split gives the same tags; any tag passes the demuxer, and what it names is in it.
pub fn flv(data: &[u8]) {
    let mut feed = Feed::new(data);
    let seed = feed.u8();
    let bytes = feed.rest();
    let (tags, end) = read([Bytes::copy_from_slice(bytes)]);
    let (split_tags, split_end) = read(pieces(bytes, seed));
    assert!(
        tags.len() == split_tags.len()
            && tags.iter().zip(&split_tags).all(|(a, b)| {
                (a.kind, a.timestamp_ms, a.body.to_bytes())
                    == (b.kind, b.timestamp_ms, b.body.to_bytes())
            })
    );
    assert_eq!(end, split_end);
    let (mut whole, mut split) = (Demuxer::new(), Demuxer::new());
    for tag in tags {
        let mut rope = Rope::new();
        pieces(&tag.body.to_bytes(), seed)
            .into_iter()
            .for_each(|piece| rope.push(piece));
        let one = whole.push(tag.kind, tag.timestamp_ms, tag.body.clone());
        let two = split.push(tag.kind, tag.timestamp_ms, rope);
        let (Ok(one), Ok(two)) = (&one, &two) else {
            assert_eq!(one.is_err(), two.is_err());
            return;
        };
        assert_eq!(
            (one.tracks_changed, &one.dropped),
            (two.tracks_changed, &two.dropped)
        );
        let of = |sample: &Option<millstream::flv::Sample>| {
            sample.as_ref().map(|sample| {
                let data = sample.data.to_bytes();
                for Unit { offset, len } in &sample.units {
                    assert!(*len > 0 && (offset + len) as usize <= data.len());
                }
                (sample.key, sample.frames, sample.units.clone(), data)
            })
        };
        assert_eq!(of(&one.sample), of(&two.sample));
    }
}

fn read(pieces: impl IntoIterator<Item = Bytes>) -> (Vec<Tag>, String) {
    let mut reader = Reader::new();
    let mut tags = Vec::new();
    for piece in pieces {
        reader.push(piece);
        loop {
            match reader.next_tag() {
                Ok(Some(tag)) => tags.push(tag),
                Ok(None) => break,
                Err(error) => return (tags, error.to_string()),
            }
        }
    }
    let end = reader.finish();
    (
        tags,
        end.map_or_else(|error| error.to_string(), |()| String::new()),
    )
}

/// Every reader of what a codec says of itself.
pub fn records(data: &[u8]) {
    let plausible = |width: u32, height: u32| {
        assert!(width <= 16_888 && height <= 16_888, "{width}x{height}");
    };
    if let Ok(record) = h264::parse_record(data) {
        for set in &record.parameter_sets {
            unit(set, plausible);
        }
    }
    if let Ok(record) = h265::parse_record(data) {
        for set in &record.parameter_sets {
            unit(set, plausible);
        }
    }
    unit(data, plausible);
    if let Ok(config) = aac::parse_config(data) {
        assert!(
            config.sample_rate > 0 && config.samples_per_frame > 0,
            "{config:?}"
        );
    }
    if let Some(head) = data.first_chunk()
        && let Ok(header) = mp3::Header::parse(*head)
    {
        let config = header.config();
        assert!(
            config.sample_rate > 0 && config.samples_per_frame > 0,
            "{config:?}"
        );
    }
    if let Some(head) = data.first_chunk()
        && let Some(adts) = aac::Adts::parse(*head)
    {
        let _ = adts.config();
    }
    let mut rope = Rope::new();
    pieces(data, 3)
        .into_iter()
        .for_each(|piece| rope.push(piece));
    let whole = Rope::from(Bytes::copy_from_slice(data));
    for size in [LengthSize::One, LengthSize::Two, LengthSize::Four] {
        let units = nal::split(&whole, 0, data.len(), size);
        assert_eq!(units, nal::split(&rope, 0, data.len(), size));
        for found in units.iter().flatten() {
            let Unit { offset, len } = found.unit;
            assert!(
                len > 0 && (offset + len) as usize <= data.len(),
                "{found:?}"
            );
            assert_eq!(data.get(offset as usize), Some(&found.header));
            for (header_len, wanted) in [(1, 6), (2, 4)] {
                nal::sei_has_payload(&rope, found.unit, header_len, wanted);
            }
        }
    }
}

fn unit(bytes: &[u8], plausible: impl Fn(u32, u32)) {
    if let Ok(sps) = h264::Sps::parse(bytes) {
        plausible(sps.width, sps.height);
        let codec = sps.codec_string();
        assert!(codec.len() == 11 && codec.starts_with("avc1."), "{codec}");
    }
    if let Ok(sps) = h265::Sps::parse(bytes) {
        plausible(sps.width, sps.height);
        let codec = sps.codec_string();
        assert!(
            codec.starts_with("hvc1.") || codec.starts_with("hev1."),
            "{codec}"
        );
        assert!(!codec.contains(['"', ',', ' ']), "{codec}");
    }
    let _ = h264::pps_ids(bytes);
    let _ = h264::SliceHead::parse(bytes);
    let _ = h265::pps_ids(bytes);
    let _ = h265::vps_id(bytes);
    let _ = h265::slice_pps(bytes);
}

/// Any timestamps: each track's decoding times grow, nothing is shown before it is decoded, and no
/// step is longer than the longest gap that is let stand.
pub fn timeline(data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut timeline = Timeline::new();
    let mut last: HashMap<bool, Timestamp> = HashMap::new();
    let (mut wire, mut both): (u32, Option<Timestamp>) = (0, None);
    while !feed.is_empty() {
        let how = feed.u8();
        wire = match how >> 1 & 7 {
            0 => feed.u32(),
            1 => wire.wrapping_add(feed.u16().into()),
            2 => wire.wrapping_sub(feed.u16().into()),
            3 => wire.wrapping_add(0x8000_0000),
            4 => wire,
            _ => wire.wrapping_add(u32::from(feed.u8())),
        };
        let is_video = how & 1 == 0;
        let placed = if is_video {
            let composition_ms = match how >> 4 & 3 {
                0 => 0,
                1 => i32::from(feed.u8()),
                2 => -i32::from(feed.u8()),
                // The field has 24 bits.
                _ => (feed.u32() << 8).cast_signed() >> 8,
            };
            let nanos = if how & 0x40 == 0 {
                0
            } else {
                feed.u32() % 1_000_000
            };
            timeline.video(WireTime {
                timestamp_ms: wire,
                composition_ms,
                nanos,
            })
        } else {
            let rates = [44_100, 48_000, 8_000, 96_000];
            let rate = rates[usize::from(how >> 6)];
            // Several frames may stand in one tag.
            let count = 1024 * (1 + u32::from(feed.u8() % 4));
            let wire = WireTime {
                timestamp_ms: wire,
                composition_ms: 0,
                nanos: 0,
            };
            timeline.audio(wire, Samples { count, rate })
        };
        assert!(
            placed.pts >= placed.dts,
            "{placed:?} is shown before it is decoded"
        );
        if let Some(before) = last.insert(is_video, placed.dts) {
            assert!(placed.dts > before, "{placed:?} after {before:?}");
        }
        let end = timeline.end().expect("a frame").max(placed.dts);
        if let Some(both) = both {
            // The longest gap that is let stand, the longest frame, several of them in a tag.
            assert!(end - both <= Duration::from_secs(20), "{both:?} to {end:?}");
        }
        both = both.max(Some(end));
        let kind = match is_video {
            true => TrackKind::Video,
            false => TrackKind::Audio,
        };
        let ahead = placed.dts - timeline.in_step(kind, placed.dts);
        let most = Duration::from_secs(10);
        assert!(ahead >= Duration::ZERO && ahead <= most, "{ahead:?}");
    }
}

fn unpack(data: &[u8]) -> Vec<Tag> {
    let mut feed = Feed::new(data);
    let mut tags = Vec::new();
    while !feed.is_empty() {
        let kind = match feed.u8() % 8 {
            2 => TagKind::Data,
            odd if odd % 2 == 1 => TagKind::Video,
            _ => TagKind::Audio,
        };
        let timestamp_ms = feed.u32();
        let len = feed.u16().into();
        let body = Bytes::copy_from_slice(feed.take(len)).into();
        tags.push(Tag {
            kind,
            timestamp_ms,
            body,
        });
    }
    tags
}

/// The transport stream of all segments of these tags.
pub(crate) fn muxed(tags: &[Tag]) -> Vec<u8> {
    let mut checked = Checked::default();
    checked.run(tags.to_vec());
    checked.stream
}

/// Any tags: segments of valid MPEG-TS, in order, within the promise, with every frame counted.
pub fn pipeline(data: &[u8]) {
    Checked::default().run(unpack(data));
}

#[derive(Default)]
struct Checked {
    stream: Vec<u8>,
    segment: Vec<u8>,
    in_parts: u64,
    open: bool,
    next: u64,
    promise: Option<u32>,
    pictures: u64,
    counters: HashMap<u16, u8>,
}

impl Checked {
    fn run(&mut self, tags: Vec<Tag>) {
        let mut pipeline = Pipeline::new(POLICY, Begin::default());
        for tag in tags {
            let room = tag.body.len();
            if pipeline
                .push(tag.kind, tag.timestamp_ms, tag.body, NOON)
                .is_err()
            {
                break;
            }
            let mut written = 0;
            while let Some(effect) = pipeline.poll() {
                if let Effect::Write(bytes) = &effect {
                    written += bytes.len();
                }
                self.effect(effect);
            }
            // What was held while tracks were gathered comes at once; then a tag makes its packets.
            let most = 64 * room + (16 << 20);
            assert!(
                written <= most,
                "{written} bytes of packets for a tag of {room}"
            );
        }
        pipeline.finish(NOON);
        while let Some(effect) = pipeline.poll() {
            self.effect(effect);
        }
        assert!(!self.open, "a segment is left open");
        assert_eq!(self.pictures, pipeline.stats().video_frames);
    }

    fn effect(&mut self, effect: Effect) {
        match effect {
            Effect::Tracks(tracks) => assert!(!self.open && !tracks.is_empty()),
            Effect::Open(segment) => {
                assert!(!self.open && segment.number == self.next);
                self.open = true;
                self.in_parts = 0;
                self.segment.clear();
                if segment.discontinuity {
                    self.counters.clear();
                }
            }
            Effect::Write(bytes) => {
                assert!(self.open && bytes.len() % 188 == 0);
                self.segment.extend(bytes);
            }
            Effect::Part(part) => {
                self.in_parts += part.size;
                assert_eq!(self.in_parts, self.segment.len() as u64);
            }
            Effect::Segment {
                segment,
                target_duration_s,
            } => {
                assert!(self.open && segment.number == self.next);
                assert_eq!(segment.size, self.segment.len() as u64);
                assert_eq!(segment.size, self.in_parts);
                assert!(segment.duration > Duration::ZERO, "{segment:?}");
                assert_eq!(
                    *self.promise.get_or_insert(target_duration_s),
                    target_duration_s
                );
                let rounded = segment.duration.as_secs_f64().round();
                assert!(rounded <= f64::from(target_duration_s), "{segment:?}");
                self.open = false;
                self.next += 1;
                self.transport_stream();
                self.stream.append(&mut self.segment);
            }
        }
    }

    /// The open segment as another reader sees it: tables first, packets in sequence.
    fn transport_stream(&mut self) {
        let mut reader = TsPacketReader::new(self.segment.as_slice());
        let mut nth = 0;
        while let Some(packet) = reader.read_ts_packet().expect("valid MPEG-TS") {
            match (nth, &packet.payload) {
                (0, payload) => assert!(matches!(payload, Some(TsPayload::Pat(_)))),
                (1, payload) => assert!(matches!(payload, Some(TsPayload::Pmt(_)))),
                (_, Some(TsPayload::PesStart(pes))) => {
                    self.pictures += u64::from(pes.header.stream_id.is_video());
                }
                _ => {}
            }
            let pid = packet.header.pid.as_u16();
            let counter = packet.header.continuity_counter.as_u8();
            let step = u8::from(packet.payload.is_some());
            if let Some(before) = self.counters.insert(pid, counter) {
                assert_eq!(counter, (before + step) & 15, "PID {pid}, packet {nth}");
            }
            nth += 1;
        }
        assert!(nth > 2, "a segment without media");
    }
}

/// Any bytes as a cut-off segment: what is kept is packets of the beginning, and stays kept.
pub fn salvage(data: &[u8]) {
    let Some(salvaged) = ts::salvage(data) else {
        return;
    };
    assert!(salvaged.len <= data.len() && salvaged.len.is_multiple_of(188));
    assert!(salvaged.duration >= Duration::ZERO);
}
