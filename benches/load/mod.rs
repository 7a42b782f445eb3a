//! A publisher without a socket: the same frames, and the same bytes on the wire, every time.

#![allow(dead_code, missing_docs, unreachable_pub)] // each program uses a part of it

use bytes::{BufMut, Bytes, BytesMut};
use millstream::flv::TagKind;
use millstream::rtmp::{Config, Event, Message, Seed, Session};

/// Pictures between two key frames: a segment of two seconds.
const GROUP: u32 = 50;
const KEY_FRAME_BYTES: usize = 60_000;
const FRAME_BYTES: usize = 13_500;
const SOUND_BYTES: usize = 340;
/// What ffmpeg's libx264 wrote for 320x180.
const SPS: &[u8] =
    b"\x67\x42\xc0\x0c\xda\x05\x06\x7e\x7c\x04\x40\x00\x00\x03\x00\x40\x00\x00\x0c\x83\xc5\x0a\xa8";
const PPS: &[u8] = b"\x68\xce\x0f\xc8";

/// The body of one tag, or message.
#[derive(Clone)]
pub struct Tag {
    pub kind: TagKind,
    pub timestamp_ms: u32,
    pub body: Bytes,
}

/// What comes before the first frame.
pub fn configuration() -> Vec<Tag> {
    let mut video = BytesMut::from(&b"\x17\x00\x00\x00\x00\x01\x42\xc0\x0c\xff\xe1"[..]);
    video.put_u16(SPS.len() as u16);
    video.put_slice(SPS);
    video.put_slice(&[1]);
    video.put_u16(PPS.len() as u16);
    video.put_slice(PPS);
    let tag = |kind, body| Tag {
        kind,
        timestamp_ms: 0,
        body,
    };
    vec![
        tag(TagKind::Video, video.freeze()),
        // AAC-LC, 48 kHz, stereo.
        tag(TagKind::Audio, Bytes::from_static(b"\xaf\x00\x11\x90")),
    ]
}

/// `seconds` of about 3 Mbit/s from `start_ms` on: 25 pictures and 47 sounds in each.
pub fn frames(start_ms: u32, seconds: u32) -> Vec<Tag> {
    let mut tags = Vec::new();
    for n in 0..seconds * 25 {
        let key = n % GROUP == 0;
        let len = if key { KEY_FRAME_BYTES } else { FRAME_BYTES };
        tags.push(picture(start_ms + n * 40, key, len));
    }
    for n in 0..seconds * 48_000 / 1024 {
        let mut body = BytesMut::from(&b"\xaf\x01"[..]);
        body.resize(SOUND_BYTES, 0x21);
        tags.push(Tag {
            kind: TagKind::Audio,
            timestamp_ms: start_ms + n * 1024 / 48,
            body: body.freeze(),
        });
    }
    tags.sort_by_key(|tag| tag.timestamp_ms);
    tags
}

fn picture(timestamp_ms: u32, key: bool, len: usize) -> Tag {
    let (head, nal): (&[u8], u8) = match key {
        true => (b"\x17\x01\x00\x00\x00", 0x65),
        false => (b"\x27\x01\x00\x00\x00", 0x41),
    };
    let mut body = BytesMut::from(head);
    body.put_u32((len - 1) as u32);
    body.put_u8(nal);
    body.put_u8(0x9a);
    body.resize(len + 8, 0x5a);
    Tag {
        kind: TagKind::Video,
        timestamp_ms,
        body: body.freeze(),
    }
}

/// Messages as chunks of at most `chunk_size`, each message behind a full header.
pub fn chunks(tags: &[Tag], chunk_size: usize) -> Bytes {
    let mut out = BytesMut::new();
    for tag in tags {
        let (csid, type_id) = match tag.kind {
            TagKind::Audio => (4, 8),
            TagKind::Video => (6, 9),
            TagKind::Data => (5, 18),
        };
        message(
            &mut out,
            csid,
            type_id,
            tag.timestamp_ms,
            &tag.body,
            chunk_size,
        );
    }
    out.freeze()
}

fn message(out: &mut BytesMut, csid: u8, type_id: u8, at_ms: u32, body: &[u8], chunk_size: usize) {
    out.put_u8(csid);
    out.put_uint(at_ms.into(), 3);
    out.put_uint(body.len() as u64, 3);
    out.put_u8(type_id);
    out.put_u32_le(1);
    for (nth, chunk) in body.chunks(chunk_size).enumerate() {
        if nth > 0 {
            out.put_u8(0xc0 | csid);
        }
        out.put_slice(chunk);
    }
}

/// A session whose publisher was accepted and writes chunks of this size.
pub fn publishing(chunk_size: usize) -> Session {
    let mut session = Session::new(Config::default(), Seed([7; 32]));
    let mut out = BytesMut::new();
    // C0 and C1; the server does not look at C2.
    out.put_u8(3);
    out.resize(1 + 1536 + 1536, 0);
    let size = u32::try_from(chunk_size).expect("a chunk size");
    message(&mut out, 2, 1, 0, &size.to_be_bytes(), 128);
    let connect =
        b"\x02\x00\x07connect\x00\x3f\xf0\0\0\0\0\0\0\x03\x00\x03app\x02\x00\x04live\0\0\x09";
    message(&mut out, 3, 20, 0, connect, chunk_size);
    let publish = b"\x02\x00\x07publish\x00\x40\x08\0\0\0\0\0\0\x05\x02\x00\x01s\x02\x00\x04live";
    message(&mut out, 3, 20, 0, publish, chunk_size);
    session.handle_input(out.freeze()).expect("a publish");
    while let Some(event) = session.poll_event() {
        if let Event::Publish(request) = event {
            session.accept_publish(request.stream);
        }
    }
    while session.poll_output().is_some() {}
    session
}

/// Gives `wire` to the session as so many readings bring it; `each` gets the media messages.
pub fn read(session: &mut Session, wire: &Bytes, reading: usize, mut each: impl FnMut(Message)) {
    let mut rest = wire.clone();
    while !rest.is_empty() {
        let input = rest.split_to(rest.len().min(reading));
        session.handle_input(input).expect("good chunks");
        while let Some(event) = session.poll_event() {
            if let Event::Message(message) = event {
                each(message);
            }
        }
        while session.poll_output().is_some() {}
    }
}
