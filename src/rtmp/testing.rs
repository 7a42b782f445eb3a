//! A publisher for tests, which can write every form of chunk there is.

use super::address::Query;
use super::amf0::{Encoder, Value, decode};
use super::chunk::Reader;
use super::event::{Config, Event, Seed};
use super::message::{MessageKind, RawMessage, StreamId, type_id};
use super::session::Session;
use bytes::Bytes;
use std::collections::HashMap;

/// A message to send.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) csid: u32,
    pub(super) type_id: u8,
    pub(super) stream: u32,
    pub(super) timestamp: u32,
    pub(super) payload: Vec<u8>,
}

/// The sending half of a chunk stream connection, written without a look at the reader.
pub(super) struct Sender {
    pub(super) out: Vec<u8>,
    pub(super) chunk_size: usize,
    /// Whether type 3 chunks repeat an extended timestamp: ffmpeg does, older librtmp does not.
    pub(super) repeats: bool,
    pub(super) last: HashMap<u32, Last>,
}

#[derive(Clone)]
pub(super) struct Last {
    timestamp: u32,
    delta: u32,
    len: usize,
    type_id: u8,
    stream: u32,
    extended: Option<u32>,
}

/// A message that is being sent.
pub(super) struct Sending {
    csid: u32,
    rest: Vec<u8>,
    continues: bool,
}

impl Default for Sender {
    fn default() -> Self {
        Self {
            out: Vec::new(),
            chunk_size: 128,
            repeats: true,
            last: HashMap::new(),
        }
    }
}

/// A basic header, in the form of `len` bytes.
pub(super) fn basic(format: u8, csid: u32, len: usize) -> Vec<u8> {
    let format = format << 6;
    match len {
        1 => vec![format | u8::try_from(csid).unwrap()],
        2 => vec![format, u8::try_from(csid - 64).unwrap()],
        _ => [
            &[format | 1],
            &u16::try_from(csid - 64).unwrap().to_le_bytes()[..],
        ]
        .concat(),
    }
}

/// A basic header in its shortest form.
pub(super) fn short_basic(format: u8, csid: u32) -> Vec<u8> {
    basic(
        format,
        csid,
        if csid < 64 {
            1
        } else if csid < 320 {
            2
        } else {
            3
        },
    )
}

impl Sender {
    /// Begins a message with a header of type `wish`, or of the next lower type that can say it.
    pub(super) fn begin(&mut self, wish: u8, message: &Sent) -> Sending {
        let (csid, len, timestamp) = (message.csid, message.payload.len(), message.timestamp);
        let last = self.last.get(&csid).cloned();
        let format = last.as_ref().map_or(0, |last| {
            let same_stream = last.stream == message.stream;
            let same = same_stream && last.len == len && last.type_id == message.type_id;
            let delta = timestamp.wrapping_sub(last.timestamp);
            let possible = if same && delta == last.delta {
                3
            } else if same {
                2
            } else {
                u8::from(same_stream)
            };
            possible.min(wish)
        });
        let time = match (&last, format) {
            (Some(last), 1..) => timestamp.wrapping_sub(last.timestamp),
            _ => timestamp,
        };
        self.out.extend(short_basic(format, csid));
        let mut extended = (time >= 0xff_ffff).then_some(time);
        if format <= 2 {
            self.out.extend(&time.min(0xff_ffff).to_be_bytes()[1..]);
        }
        if format <= 1 {
            self.out
                .extend(&u32::try_from(len).unwrap().to_be_bytes()[1..]);
            self.out.push(message.type_id);
        }
        if format == 0 {
            self.out.extend(message.stream.to_le_bytes());
        }
        if format == 3 {
            extended = last.and_then(|last| last.extended);
        }
        if format < 3 || self.repeats {
            extended
                .into_iter()
                .for_each(|extended| self.out.extend(extended.to_be_bytes()));
        }
        self.last.insert(
            csid,
            Last {
                timestamp,
                delta: time,
                len,
                type_id: message.type_id,
                stream: message.stream,
                extended,
            },
        );
        Sending {
            csid,
            rest: message.payload.clone(),
            continues: false,
        }
    }

    /// Sends the next chunk of a message; `true` when it was the last.
    pub(super) fn go_on(&mut self, sending: &mut Sending) -> bool {
        if sending.continues {
            self.out.extend(short_basic(3, sending.csid));
            let extended = self.last[&sending.csid].extended.filter(|_| self.repeats);
            extended
                .into_iter()
                .for_each(|extended| self.out.extend(extended.to_be_bytes()));
        }
        sending.continues = true;
        let len = self.chunk_size.min(sending.rest.len());
        self.out.extend(sending.rest.drain(..len));
        sending.rest.is_empty()
    }

    /// Sends a whole message.
    pub(super) fn send(&mut self, message: &Sent) {
        let mut sending = self.begin(3, message);
        while !self.go_on(&mut sending) {}
    }

    pub(super) fn control(&mut self, type_id: u8, payload: &[u8]) {
        let payload = payload.to_vec();
        self.send(&Sent {
            csid: 2,
            type_id,
            stream: 0,
            timestamp: 0,
            payload,
        });
    }

    pub(super) fn set_chunk_size(&mut self, size: u32) {
        self.control(type_id::SET_CHUNK_SIZE, &size.to_be_bytes());
        self.chunk_size = size as usize;
    }

    pub(super) fn command(&mut self, stream: u32, message: Encoder) {
        let payload = message.finish().to_vec();
        self.send(&Sent {
            csid: 3,
            type_id: type_id::COMMAND,
            stream,
            timestamp: 0,
            payload,
        });
    }

    pub(super) fn media(&mut self, type_id: u8, stream: u32, timestamp: u32, payload: &[u8]) {
        let payload = payload.to_vec();
        self.send(&Sent {
            csid: u32::from(type_id),
            type_id,
            stream,
            timestamp,
            payload,
        });
    }

    pub(super) fn handshake(&mut self) {
        self.out.push(3);
        self.out.extend([0; 8]);
        self.out
            .extend((0..1528 + 1536).map(|i: u32| (i % 251) as u8));
    }

    pub(super) fn connect(&mut self, app: &str) {
        let message = Encoder::command("connect", 1.0);
        self.command(
            0,
            message.object(|o| o.name("app").string(app).name("flashVer").string("test/1")),
        );
    }

    /// What ffmpeg sends up to its `publish`, without waiting for replies.
    pub(super) fn publish(&mut self, stream: u32, name: &str) {
        self.command(
            0,
            Encoder::command("releaseStream", 2.0).null().string(name),
        );
        self.command(0, Encoder::command("FCPublish", 3.0).null().string(name));
        self.command(0, Encoder::command("createStream", 4.0).null());
        self.command(
            stream,
            Encoder::command("publish", 5.0)
                .null()
                .string(name)
                .string("live"),
        );
    }

    pub(super) fn stop(&mut self, stream: u32, name: &str) {
        self.command(0, Encoder::command("FCUnpublish", 6.0).null().string(name));
        self.command(
            0,
            Encoder::command("deleteStream", 7.0)
                .null()
                .number(stream.into()),
        );
    }
}

/// An event with its payload in one piece, for comparison.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Seen {
    Connected(String),
    Publish(u32, String, String, Query),
    Message(u32, MessageKind, u32, Vec<u8>),
    Other(Event),
}

pub(super) fn seen(event: Event) -> Seen {
    match event {
        Event::Connected(info) => Seen::Connected(info.app),
        Event::Publish(request) => {
            Seen::Publish(request.stream.0, request.app, request.name, request.query)
        }
        Event::Message(message) => Seen::Message(
            message.stream.0,
            message.kind,
            message.timestamp,
            message.payload.iter().flatten().copied().collect(),
        ),
        other => Seen::Other(other),
    }
}

/// A session and what came out of it.
pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) seen: Vec<Seen>,
    pub(super) output: Vec<u8>,
    /// Accept what is published, at once.
    pub(super) accepts: bool,
}

impl Peer {
    pub(super) fn new(config: Config) -> Self {
        Self {
            session: Session::new(config, Seed([9; 32])),
            seen: Vec::new(),
            output: Vec::new(),
            accepts: true,
        }
    }

    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), super::Error> {
        let result = self.session.handle_input(Bytes::copy_from_slice(bytes));
        self.drain();
        result
    }

    pub(super) fn drain(&mut self) {
        while let Some(event) = self.session.poll_event() {
            if let (true, Event::Publish(request)) = (self.accepts, &event) {
                self.session.accept_publish(request.stream);
            }
            self.seen.push(seen(event));
        }
        while let Some(output) = self.session.poll_output() {
            self.output.extend(output);
        }
    }

    /// What the server said so far, behind its handshake.
    pub(super) fn replies(&self) -> Vec<Reply> {
        let mut input = Bytes::copy_from_slice(&self.output[1 + 2 * 1536..]);
        let mut reader = Reader::new(1 << 20, 1 << 20);
        let mut replies = Vec::new();
        while let Some(message) = reader.read(&mut input).unwrap() {
            if message.type_id == type_id::SET_CHUNK_SIZE {
                let size = message.contiguous();
                reader
                    .set_chunk_size(u32::from_be_bytes(size[..4].try_into().unwrap()))
                    .unwrap();
            }
            replies.push(Reply::new(&message));
        }
        replies
    }

    /// Commands among the replies: stream, name, number, and `code` or number of the result.
    pub(super) fn calls(&self) -> Vec<(u32, String, f64, String)> {
        let call = |reply: Reply| match reply {
            Reply::Command(stream, values) => {
                let result = match &values[3..] {
                    [Value::Number(number), ..] => number.to_string(),
                    [value, ..] => value
                        .get("code")
                        .and_then(Value::as_str)
                        .unwrap_or("")
                        .to_owned(),
                    [] => String::new(),
                };
                let name = values[0].as_str().unwrap().to_owned();
                Some((stream, name, values[1].as_number().unwrap(), result))
            }
            Reply::Control(..) => None,
        };
        self.replies().into_iter().filter_map(call).collect()
    }
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Reply {
    Control(u8, Vec<u8>),
    Command(u32, Vec<Value>),
}

impl Reply {
    fn new(message: &RawMessage) -> Self {
        let payload = message.contiguous();
        let StreamId(stream) = message.stream;
        match message.type_id {
            type_id::COMMAND => Self::Command(stream, decode(&payload).unwrap()),
            type_id => Self::Control(type_id, payload.to_vec()),
        }
    }
}
