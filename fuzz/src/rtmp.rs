//! Bytes of an RTMP connection: whatever they are and however they are split, the same comes out.

use super::feed::{Feed, pieces};
use super::seeds;
use bytes::Bytes;
use millstream::flv::Metadata;
use millstream::media::Rope;
use millstream::rtmp::{Config, ErrorKind, Event, Message, Seed, Session, StopCause, StreamId};
use std::collections::BTreeMap;
use std::mem::discriminant;

/// What a connection amounted to. Media is compared by stream: between streams its order depends on
/// when a publish was answered.
#[derive(PartialEq, Debug, Default)]
struct Outcome {
    publishes: Vec<(StreamId, String, String)>,
    messages: BTreeMap<u32, Vec<(u32, Vec<u8>)>>,
    stops: BTreeMap<u32, Vec<StopCause>>,
}

fn outcome(input: impl IntoIterator<Item = Bytes>) -> (Outcome, Option<ErrorKind>) {
    let config = Config {
        message_size_max: 64 << 10,
        ..Config::default()
    };
    let mut session = Session::new(config, Seed([7; 32]));
    let mut outcome = Outcome::default();
    let mut error = None;
    for piece in input {
        let result = session.handle_input(piece);
        while let Some(event) = session.poll_event() {
            match event {
                Event::Publish(request) => {
                    assert!(!request.name.is_empty(), "a publish without a name");
                    session.accept_publish(request.stream);
                    let publish = (request.stream, request.app, request.name);
                    outcome.publishes.push(publish);
                }
                Event::Message(message) => {
                    let payload: Vec<u8> = message.payload.iter().flatten().copied().collect();
                    assert!(!payload.is_empty(), "an empty message");
                    let Message {
                        stream, timestamp, ..
                    } = message;
                    let messages = outcome.messages.entry(stream.0).or_default();
                    messages.push((timestamp, payload));
                }
                Event::Unpublish { stream, cause } => {
                    outcome.stops.entry(stream.0).or_default().push(cause);
                }
                Event::Connected(_) | Event::PingResponse { .. } => {}
            }
        }
        let mut output = 0;
        while let Some(bytes) = session.poll_output() {
            output += bytes.len();
        }
        assert!(output <= 2 << 20, "{output} bytes of answers at once");
        if let Err(failed) = result {
            error = Some(failed.kind);
            break;
        }
    }
    (outcome, error)
}

fn same_in_any_split(bytes: &[u8], seed: u8) {
    let (whole, failed) = outcome([Bytes::copy_from_slice(bytes)]);
    let (split, failed_split) = outcome(pieces(bytes, seed));
    // How many answers or events fit at once is a matter of the split.
    let by_split = |error: &Option<ErrorKind>| {
        matches!(
            error,
            Some(ErrorKind::Output { .. } | ErrorKind::Events { .. })
        )
    };
    if by_split(&failed) || by_split(&failed_split) {
        return;
    }
    assert_eq!(
        failed.as_ref().map(discriminant),
        failed_split.as_ref().map(discriminant),
        "{failed:?} in one piece, {failed_split:?} in pieces"
    );
    assert_eq!(whole, split);
}

/// A connection from its first byte on.
pub fn handshake(data: &[u8]) {
    let mut feed = Feed::new(data);
    let seed = feed.u8();
    same_in_any_split(feed.rest(), seed);
}

/// A connection behind its handshake: chunks, control messages, commands, media.
pub fn session(data: &[u8]) {
    let mut feed = Feed::new(data);
    let seed = feed.u8();
    let bytes = [seeds::handshake().as_slice(), feed.rest()].concat();
    same_in_any_split(&bytes, seed);
}

/// AMF0 as a command, as an AMF3 command, as metadata.
pub fn amf0(data: &[u8]) {
    let data = &data[..data.len().min(60_000)];
    for type_id in [20, 17] {
        let command = seeds::message(type_id, data);
        let bytes = [seeds::handshake().as_slice(), &command].concat();
        let _ = outcome([bytes.into()]);
    }
    let rope = Rope::from(Bytes::copy_from_slice(data));
    let metadata = Metadata::parse(&rope);
    let mut split = Rope::new();
    for piece in pieces(data, 1) {
        split.push(piece);
    }
    assert_eq!(metadata, Metadata::parse(&split));
    if let Some(metadata) = metadata {
        let text = format!("{metadata:?}");
        assert!(!text.contains("NaN") && !text.contains("inf,"), "{text}");
    }
}
