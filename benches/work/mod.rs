//! Pieces of work that are worth measuring, one function each: set up once, then done again and again.

#![allow(dead_code, missing_docs, unreachable_pub)] // each program uses a part of it

use super::load::{self, Tag};
use bytes::Bytes;
use millstream::flv::{Demuxer, TagKind};
use millstream::media::{
    Begin, Duration, Frame, Rope, Segment, Timestamp, TrackKind, Units, WallTime,
};
use millstream::mux::ts::{Blocks, Muxer, Packets};
use millstream::pipeline::{Effect, Pipeline, Policy};
use millstream::playlist::{Window, WindowConfig, vod};
use millstream::rtmp::{Message, MessageKind};

/// Two seconds: one segment.
const SECONDS: u32 = 2;
/// What one reading of a busy connection brings.
const READING: usize = 40_000;

/// Work that can be done any number of times.
pub type Work = Box<dyn FnMut()>;

/// A work's name, and how it is set up.
pub type Named = (&'static str, fn() -> Work);

/// All works.
pub fn all() -> Vec<Named> {
    vec![
        ("chunks of 128", || chunks(128)),
        ("chunks of 4096", || chunks(4096)),
        ("chunks of 65536", || chunks(65536)),
        ("demux", demux),
        ("mux", mux),
        ("pipeline", || pipeline(4096)),
        ("pipeline, chunks of 128", || pipeline(128)),
        ("live playlist", live_playlist),
        ("playlist of 24 h", day_playlist),
    ]
}

/// Reads the chunks of one segment.
pub fn chunks(chunk_size: usize) -> Work {
    let mut session = load::publishing(chunk_size);
    let wire = load::chunks(&load::frames(0, SECONDS), chunk_size);
    Box::new(move || {
        load::read(&mut session, &wire, READING, |message| {
            std::hint::black_box(message);
        });
    })
}

/// Takes the tags of one segment apart.
pub fn demux() -> Work {
    let mut demuxer = Demuxer::new();
    for tag in load::configuration() {
        let _ = demuxer.push(tag.kind, 0, Rope::from(tag.body));
    }
    let tags = load::frames(0, SECONDS);
    Box::new(move || {
        for Tag {
            kind,
            timestamp_ms,
            body,
        } in &tags
        {
            let pushed = demuxer.push(*kind, *timestamp_ms, Rope::from(body.clone()));
            std::hint::black_box(pushed).expect("a good tag");
        }
    })
}

/// Packs the frames of one segment.
pub fn mux() -> Work {
    let mut demuxer = Demuxer::new();
    let mut frames = Vec::new();
    for tag in load::configuration()
        .into_iter()
        .chain(load::frames(0, SECONDS))
    {
        let demuxed = demuxer.push(tag.kind, tag.timestamp_ms, Rope::from(tag.body));
        if let Some(sample) = demuxed.expect("a good tag").sample {
            frames.push((
                sample.kind,
                sample.timestamp_ms,
                sample.key,
                sample.data,
                sample.units,
            ));
        }
    }
    let mut muxer = Muxer::new(demuxer.tracks().clone());
    let mut out = Packets::new(Blocks::default());
    let mut start_ms = 0;
    Box::new(move || {
        muxer.start_segment(&mut out);
        for (kind, at_ms, key, data, units) in &frames {
            let at = Timestamp::from_ms(start_ms + i64::from(*at_ms));
            muxer.write(&frame(*kind, at, *key, data, units), &mut out);
        }
        muxer.flush(&mut out);
        start_ms += i64::from(SECONDS) * 1000;
        while let Some(bytes) = out.next_full() {
            std::hint::black_box(bytes);
        }
    })
}

fn frame(kind: TrackKind, at: Timestamp, key: bool, data: &Rope, units: &Units) -> Frame {
    Frame {
        kind,
        pts: at,
        dts: at,
        key,
        data: data.clone(),
        units: units.clone(),
    }
}

/// From the wire to the bytes of one segment.
pub fn pipeline(chunk_size: usize) -> Work {
    let mut session = load::publishing(chunk_size);
    let mut pipeline = Pipeline::new(policy(), Begin::default());
    let now = WallTime::from_unix_ms(1_700_000_000_000);
    let push = move |pipeline: &mut Pipeline, at_ms: u32, message: Message| {
        let kind = match message.kind {
            MessageKind::Audio => TagKind::Audio,
            MessageKind::Video => TagKind::Video,
            MessageKind::Data => TagKind::Data,
        };
        let at_ms = at_ms.wrapping_add(message.timestamp);
        let body = Rope::from(message.payload);
        pipeline.push(kind, at_ms, body, now).expect("good media");
        let mut written = 0;
        while let Some(effect) = pipeline.poll() {
            if let Effect::Write(bytes) = effect {
                written += bytes.len();
            }
        }
        std::hint::black_box(written);
    };
    let first = load::chunks(&load::configuration(), chunk_size);
    load::read(&mut session, &first, READING, |message| {
        push(&mut pipeline, 0, message)
    });
    let wire: Bytes = load::chunks(&load::frames(0, SECONDS), chunk_size);
    let mut start_ms = 0_u32;
    Box::new(move || {
        load::read(&mut session, &wire, READING, |message| {
            push(&mut pipeline, start_ms, message);
        });
        start_ms = start_ms.wrapping_add(SECONDS * 1000);
    })
}

/// Segments of two seconds; parts of half a second.
pub fn policy() -> Policy {
    Policy {
        target: Duration::from_secs(2),
        max: Duration::from_secs(10),
        part: Duration::from_ms(500),
    }
}

fn segments(count: u64) -> Vec<Segment> {
    let start = WallTime::from_unix_ms(1_700_000_000_000);
    let segment = |number: u64| Segment {
        number,
        start: Timestamp::from_ms(number as i64 * 2000),
        program_date_time: start + Duration::from_ms(number as i64 * 2000),
        duration: Duration::from_ms(2000),
        size: 750_000 + number % 1000,
        discontinuity: false,
        independent: true,
        gap: false,
        parts: Vec::new(),
    };
    (0..count).map(segment).collect()
}

/// Renders a live playlist of ten segments.
pub fn live_playlist() -> Work {
    let mut window = Window::new(WindowConfig {
        segments: 10,
        target_duration_s: 2,
    });
    for segment in segments(100) {
        window.push(segment).expect("the next segment");
    }
    Box::new(move || {
        std::hint::black_box(window.render());
    })
}

/// Renders the playlist of a day.
pub fn day_playlist() -> Work {
    let segments = segments(43_200);
    Box::new(move || {
        std::hint::black_box(vod::render(2, None, &segments, true));
    })
}
