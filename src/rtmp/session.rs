//! One connection of a publisher: input in, events and output out.
//!
//! After each [`Session::handle_input`], and after each call that answers a publish, the caller takes all
//! events and all output. The same bytes in any split give the same events and the same replies; only
//! Acknowledgements stand where the input ended, and the answer to a publish where the caller gave it: what
//! the peer does on that stream until then waits for the answer.
//!
//! More than 500 lines: the commands, the streams that they move and the events that these give are one
//! state machine, and taking it apart would hide which state each message meets.

use super::address::Address;
use super::amf0;
use super::chunk::Reader;
use super::command::{Call, Command, Connect};
use super::error::{Error, ErrorKind};
use super::event::{Config, Event, Message, PublishRequest, Refusal, Seed, Stage, StopCause};
use super::handshake::Handshake;
use super::message::{MessageKind, RawMessage, StreamId, type_id};
use super::output::{Output, user_control};
use bytes::Bytes;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::mem;
use tracing::trace;

/// NetStreams of one connection; OBS opens one, multi-stream encoders a few.
const STREAMS_MAX: usize = 16;
/// Length of a command; protects memory from decoded values. The longest `connect` seen has under 1 KiB.
const COMMAND_LEN_MAX: usize = 64 << 10;
/// Messages that one input may bring; a read of 256 KiB of the smallest real ones (8 ms of G.711) has about 3,500.
const EVENTS_MAX: usize = 8_192;
/// Replies that wait to be sent; an honest peer causes about 1 KiB.
const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// What a message costs that is held back, besides its bytes.
const HELD_OVERHEAD: usize = 128;
/// Smallest window of acknowledgements that is honoured; a window of 1 would cost a reply per read.
const WINDOW_ACK_SIZE_MIN: u32 = 4096;

/// Memory of an event, with its share of the queue's growth; a test compares.
const EVENT_LEN: usize = 512;
/// Room for events that a session keeps when all are taken: what an ordinary reading brings.
const EVENTS_KEPT: usize = 32;

/// One connection, from its first byte on.
pub struct Session {
    config: Config,
    /// Until it is over.
    handshake: Option<Box<Handshake>>,
    reader: Reader,
    output: Output,
    events: VecDeque<Event>,
    connect: Option<Connect>,
    streams: Vec<NetStream>,
    /// The id that `createStream` gives next, if it is free.
    next_stream: u32,
    /// The last `FCPublish`, until its publish is accepted.
    fc_publish: Option<f64>,
    held_bytes: usize,
    /// Of messages among the events.
    queued_bytes: usize,
    dropped: u64,
    received: u64,
    acknowledged: u64,
    /// How often the peer wants acknowledgements.
    ack_window: u32,
    /// The last Window Acknowledgement Size that we sent.
    window_sent: u32,
    failed: Option<Error>,
}

struct NetStream {
    id: StreamId,
    state: StreamState,
    /// The stream name as it was sent: `FCUnpublish` names it.
    name: String,
}

enum StreamState {
    Idle,
    /// Waits for the caller's answer.
    Pending(Pending),
    Publishing,
    /// Refused or ended by us; what the peer still sends is dropped.
    Ended,
}

/// What the peer does on a stream before the caller has answered: not every encoder waits.
#[derive(Default)]
struct Pending {
    /// Media, the end of the publish, the next one.
    events: VecDeque<Event>,
    /// The peer has ended it already.
    ended: bool,
    /// The peer has deleted the stream already.
    deleted: bool,
}

impl Session {
    /// A connection that was just accepted.
    pub fn new(config: Config, seed: Seed) -> Self {
        let partial_bytes_max = config.pending_bytes_max.min(config.partial_bytes_max);
        Self {
            handshake: Some(Box::new(Handshake::new(seed.0))),
            reader: Reader::new(config.message_size_max, partial_bytes_max),
            output: Output::new(),
            events: VecDeque::new(),
            connect: None,
            streams: Vec::new(),
            next_stream: 1,
            fc_publish: None,
            held_bytes: 0,
            queued_bytes: 0,
            dropped: 0,
            received: 0,
            acknowledged: 0,
            ack_window: config.window_ack_size.max(WINDOW_ACK_SIZE_MIN),
            window_sent: 0,
            failed: None,
            config,
        }
    }

    /// Takes what arrived. After an error there is nothing more to say to this peer but what is in the output.
    pub fn handle_input(&mut self, mut input: Bytes) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        self.received = self.received.saturating_add(input.len() as u64);
        self.process(&mut input).map_err(|kind| {
            let at = self.received.saturating_sub(input.len() as u64);
            self.failed.insert(Error { kind, at }).clone()
        })
    }

    /// What happened since, oldest first.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if self.events.is_empty() {
            self.queued_bytes = 0;
            // One burst of tiny messages must not cost memory for ever.
            self.events.shrink_to(EVENTS_KEPT);
        }
        event
    }

    /// Bytes that are held: of unfinished messages, of those that wait for an answer, of what came with
    /// the last input and has not been taken, and of replies.
    pub fn held(&self) -> usize {
        let unfinished = self.reader.partial();
        let events = self.events.len().saturating_mul(EVENT_LEN);
        unfinished
            .saturating_add(self.held_bytes)
            .saturating_add(self.queued_bytes)
            .saturating_add(events)
            .saturating_add(self.output.len())
    }

    /// What is to be sent, in one piece.
    pub fn poll_output(&mut self) -> Option<Bytes> {
        self.output.take()
    }

    /// Lets a pending publish begin. Media that came meanwhile is among the events now.
    pub fn accept_publish(&mut self, stream: StreamId) {
        let Some(name) = self.answer(stream, true) else {
            return;
        };
        self.reader
            .set_partial_bytes_max(self.config.partial_bytes_max);
        self.output
            .user_control(user_control::STREAM_BEGIN, stream.0);
        if let Some(transaction) = self.fc_publish.take() {
            self.output.on_fc_publish(transaction, &name);
        }
        let code = "NetStream.Publish.Start";
        self.output.status(stream, "status", code, "publishing");
    }

    /// Refuses a pending publish; the encoder shows `description`. The connection stays.
    pub fn reject_publish(&mut self, stream: StreamId, refusal: Refusal, description: &str) {
        self.end_publish(stream, refusal, description);
    }

    /// Ends a publish, running or pending; the encoder shows `description`. The connection stays.
    pub fn end_publish(&mut self, stream: StreamId, refusal: Refusal, description: &str) {
        let found = self.streams.iter_mut().find(|found| found.id == stream);
        let running = found.filter(|found| matches!(found.state, StreamState::Publishing));
        let ended = match running {
            Some(running) => {
                running.state = StreamState::Ended;
                true
            }
            None => self.answer(stream, false).is_some(),
        };
        if ended {
            let code = refusal.code();
            self.output.status(stream, "error", code, description);
        }
    }

    /// Asks the peer for a sign of life; `timestamp_ms` comes back in [`Event::PingResponse`]. Not every encoder answers.
    pub fn ping(&mut self, timestamp_ms: u32) {
        if self.handshake.is_none() {
            self.output
                .user_control(user_control::PING_REQUEST, timestamp_ms);
        }
    }

    /// Asks the peer to connect anew (Enhanced RTMP), if it knows how to. `false`: it does not.
    pub fn request_reconnect(&mut self, description: &str) -> bool {
        let able = self
            .connect
            .as_ref()
            .is_some_and(|connect| connect.info.caps & 1 != 0);
        if able {
            let code = "NetConnection.Connect.ReconnectRequest";
            self.output.status(StreamId(0), "status", code, description);
        }
        able
    }

    /// How far the connection has come.
    pub fn stage(&self) -> Stage {
        let state =
            |wanted: fn(&StreamState) -> bool| self.streams.iter().any(|s| wanted(&s.state));
        if self.handshake.is_some() {
            Stage::Handshake
        } else if self.connect.is_none() {
            Stage::Connecting
        } else if state(|state| matches!(state, StreamState::Publishing)) {
            Stage::Publishing
        } else if state(|state| matches!(state, StreamState::Pending(_))) {
            Stage::Pending
        } else {
            Stage::Connected
        }
    }

    /// Bytes received so far.
    pub const fn received(&self) -> u64 {
        self.received
    }

    /// Media messages that belonged to no running publish, or were too much while one was pending.
    pub const fn dropped(&self) -> u64 {
        self.dropped
    }

    fn process(&mut self, input: &mut Bytes) -> Result<(), ErrorKind> {
        if let Some(handshake) = &mut self.handshake {
            if !handshake.handle(input, &mut self.output.buffer)? {
                return Ok(());
            }
            self.handshake = None;
        }
        while let Some(message) = self.reader.read(input)? {
            self.handle_message(message)?;
        }
        self.reader.end_input();
        if self.received.saturating_sub(self.acknowledged) >= self.ack_window.into() {
            self.acknowledged = self.received;
            // The sequence number wraps (§5.4.3).
            self.output.acknowledgement(self.received as u32);
        }
        Ok(())
    }

    /// Control messages count on whatever chunk stream and message stream they come: cameras mix them up.
    fn handle_message(&mut self, mut message: RawMessage) -> Result<(), ErrorKind> {
        match message.type_id {
            type_id::AUDIO => return self.media(MessageKind::Audio, message),
            type_id::VIDEO => return self.media(MessageKind::Video, message),
            type_id::DATA => return self.media(MessageKind::Data, message),
            type_id::DATA_AMF3 => {
                strip_selector(&mut message);
                return self.media(MessageKind::Data, message);
            }
            type_id::AGGREGATE => return self.aggregate(&message),
            type_id::SET_CHUNK_SIZE => {
                if let Some(size) = number(&message) {
                    self.reader.set_chunk_size(size)?;
                }
            }
            type_id::ABORT => number(&message)
                .into_iter()
                .for_each(|csid| self.reader.abort(csid)),
            type_id::ACKNOWLEDGEMENT => {}
            type_id::USER_CONTROL => self.user_control(&message),
            type_id::WINDOW_ACK_SIZE => {
                if let Some(size) = number(&message).filter(|size| *size > 0) {
                    self.ack_window = size.max(WINDOW_ACK_SIZE_MIN);
                }
            }
            type_id::SET_PEER_BANDWIDTH => self.set_peer_bandwidth(&message),
            type_id::COMMAND_AMF3 => {
                strip_selector(&mut message);
                self.command(&message)?;
            }
            type_id::COMMAND => self.command(&message)?,
            other => trace!(
                type_id = other,
                len = message.len(),
                "message of a type without use"
            ),
        }
        if self.output.len() > OUTPUT_BYTES_MAX {
            return Err(ErrorKind::Output {
                max: OUTPUT_BYTES_MAX,
            });
        }
        Ok(())
    }

    fn media(&mut self, kind: MessageKind, raw: RawMessage) -> Result<(), ErrorKind> {
        // Empty audio means silence (Enhanced RTMP), empty video and data nothing at all.
        if raw.payload.is_empty() {
            return Ok(());
        }
        let Some(stream) = find_publish(&mut self.streams, raw.stream) else {
            self.dropped = self.dropped.saturating_add(1);
            return Ok(());
        };
        let mut message = Message {
            stream: stream.id,
            kind,
            timestamp: raw.timestamp,
            payload: raw.payload,
        };
        match &mut stream.state {
            StreamState::Publishing => {
                if self.events.len() >= EVENTS_MAX {
                    return Err(ErrorKind::Events { max: EVENTS_MAX });
                }
                let len: usize = message.payload.iter().map(Bytes::len).sum();
                self.queued_bytes = self.queued_bytes.saturating_add(len);
                self.events.push_back(Event::Message(message));
            }
            StreamState::Pending(pending) if !pending.ended => {
                // Held messages must not keep read buffers alive.
                let copy: Bytes = message.payload.iter().flatten().copied().collect();
                message.payload = SmallVec::from_iter([copy]);
                let held = self
                    .held_bytes
                    .saturating_add(held_len(&Event::Message(message.clone())));
                if held > self.config.pending_bytes_max {
                    self.dropped = self.dropped.saturating_add(1);
                } else {
                    self.held_bytes = held;
                    pending.events.push_back(Event::Message(message));
                }
            }
            _ => self.dropped = self.dropped.saturating_add(1),
        }
        Ok(())
    }

    fn aggregate(&mut self, message: &RawMessage) -> Result<(), ErrorKind> {
        for part in message.split_aggregate() {
            let kind = match part.type_id {
                type_id::AUDIO => MessageKind::Audio,
                type_id::VIDEO => MessageKind::Video,
                type_id::DATA => MessageKind::Data,
                // Neither control messages nor aggregates belong into one.
                _ => continue,
            };
            self.media(kind, part)?;
        }
        Ok(())
    }

    fn user_control(&mut self, message: &RawMessage) {
        let payload = message.contiguous();
        let Some((&[e1, e0, v3, v2, v1, v0], _)) = payload.split_first_chunk() else {
            return;
        };
        let value = u32::from_be_bytes([v3, v2, v1, v0]);
        match u16::from_be_bytes([e1, e0]) {
            user_control::PING_REQUEST => {
                self.output.user_control(user_control::PING_RESPONSE, value)
            }
            user_control::PING_RESPONSE if self.events.len() < EVENTS_MAX => {
                self.events.push_back(Event::PingResponse {
                    timestamp_ms: value,
                });
            }
            // Buffer lengths, and events that no specification knows.
            _ => {}
        }
    }

    /// The peer limits what we may send before it acknowledges; we confirm, as §5.4.5 asks. Three kinds of
    /// limit are defined, others mean nothing.
    fn set_peer_bandwidth(&mut self, message: &RawMessage) {
        let payload = message.contiguous();
        if let Some((&[s3, s2, s1, s0, 0..=2], _)) = payload.split_first_chunk() {
            let size = u32::from_be_bytes([s3, s2, s1, s0]);
            if size != 0 && size != self.window_sent {
                self.window_sent = size;
                self.output.window_ack_size(size);
            }
        }
    }

    fn command(&mut self, message: &RawMessage) -> Result<(), ErrorKind> {
        let len = message.len();
        if len > COMMAND_LEN_MAX {
            return Err(ErrorKind::CommandTooLong {
                len,
                max: COMMAND_LEN_MAX,
            });
        }
        let values = amf0::decode(&message.contiguous())?;
        let Some(Command { transaction, call }) = Command::parse(&values) else {
            return Ok(());
        };
        match call {
            Call::Connect(connect) => self.connect(transaction, connect),
            Call::CreateStream => self.create_stream(transaction),
            Call::Publish { name } => return self.publish(message.stream, transaction, name),
            Call::FcPublish { .. } => {
                self.fc_publish = Some(transaction);
                self.output.result(transaction);
            }
            Call::FcUnpublish { name } => {
                let id = self.named(&name);
                self.unpublish(id, StopCause::FcUnpublish);
                self.output.result(transaction);
            }
            Call::CloseStream => {
                self.unpublish(Some(message.stream), StopCause::CloseStream);
                self.output.result(transaction);
            }
            Call::DeleteStream { stream } => {
                stream
                    .map(StreamId)
                    .into_iter()
                    .for_each(|id| self.delete_stream(id));
                self.output.result(transaction);
            }
            Call::Play => {
                let description = "playing over RTMP is not offered here, use HLS";
                let code = "NetStream.Play.StreamNotFound";
                self.output
                    .status(message.stream, "error", code, description);
            }
            Call::GetStreamLength if transaction != 0.0 => {
                self.output.result_number(transaction, 0.0)
            }
            Call::ReleaseStream | Call::Courtesy => self.output.result(transaction),
            Call::GetStreamLength | Call::Reply => {}
            Call::Unknown { name } => {
                trace!(name, "unknown command");
                self.output
                    .error(transaction, "NetConnection.Call.Failed", "unknown command");
            }
        }
        Ok(())
    }

    fn connect(&mut self, transaction: f64, connect: Connect) {
        if self.connect.is_some() {
            let code = "NetConnection.Connect.Rejected";
            self.output.error(transaction, code, "already connected");
            return;
        }
        self.window_sent = self.config.window_ack_size;
        self.output.window_ack_size(self.config.window_ack_size);
        self.output.set_peer_bandwidth(self.config.window_ack_size);
        // Before the first message that is longer than 128 bytes.
        self.output.set_chunk_size(self.config.chunk_size);
        let (video, audio) = (self.config.video_fourccs, self.config.audio_fourccs);
        self.output.connected(transaction, &connect, video, audio);
        self.events
            .push_back(Event::Connected(connect.info.clone()));
        self.connect = Some(connect);
    }

    fn create_stream(&mut self, transaction: f64) {
        while self
            .streams
            .iter()
            .any(|stream| stream.id.0 == self.next_stream)
        {
            self.next_stream = self.next_stream.wrapping_add(1).max(1);
        }
        let id = StreamId(self.next_stream);
        if self.add_stream(id).is_none() {
            self.output
                .error(transaction, "NetConnection.Call.Failed", "too many streams");
            return;
        }
        self.next_stream = self.next_stream.wrapping_add(1).max(1);
        self.output.result_number(transaction, id.0.into());
    }

    /// The NetStream `id`, made if it is new (some encoders publish on stream 1 without asking for one).
    fn add_stream(&mut self, id: StreamId) -> Option<&mut NetStream> {
        if !self.streams.iter().any(|stream| stream.id == id) {
            if self.streams.len() >= STREAMS_MAX {
                return None;
            }
            self.streams.push(NetStream {
                id,
                state: StreamState::Idle,
                name: String::new(),
            });
        }
        self.streams.iter_mut().find(|stream| stream.id == id)
    }

    fn publish(&mut self, id: StreamId, transaction: f64, name: String) -> Result<(), ErrorKind> {
        let Some(connect) = &self.connect else {
            return Err(ErrorKind::NotConnected { command: "publish" });
        };
        let address = Address::resolve(connect.app.as_deref(), connect.tc_url.as_deref(), &name);
        let encoder = connect.info.encoder.clone();
        trace!(stream = %id, app = address.app, name = address.name, transaction, "publish");
        let request = PublishRequest {
            stream: id,
            host: address.host,
            app: address.app,
            name: address.name,
            query: address.query,
            encoder,
        };
        if let Err((refusal, description)) = self.begin_publish(request, name) {
            let code = refusal.code();
            self.output.status(id, "error", code, description);
        }
        Ok(())
    }

    fn begin_publish(
        &mut self,
        request: PublishRequest,
        name: String,
    ) -> Result<(), (Refusal, &'static str)> {
        let room = self.held_bytes.saturating_add(COMMAND_LEN_MAX) <= self.config.pending_bytes_max;
        let Some(stream) = self.add_stream(request.stream) else {
            return Err((Refusal::Rejected, "too many streams on one connection"));
        };
        if stream.runs() {
            // The same request again is the same request.
            return match stream.name == name {
                true => Ok(()),
                false => Err((Refusal::BadName, "this stream publishes already")),
            };
        }
        if request.name.is_empty() {
            return Err((Refusal::BadName, "the stream has no name"));
        }
        let event = Event::Publish(request);
        if let StreamState::Pending(pending) = &mut stream.state {
            if !room {
                return Err((Refusal::Rejected, "too many publishes wait for an answer"));
            }
            (pending.ended, pending.deleted) = (false, false);
            let held = held_len(&event);
            pending.events.push_back(event);
            self.held_bytes = self.held_bytes.saturating_add(held);
        } else {
            stream.state = StreamState::Pending(Pending::default());
            stream.name = name;
            self.events.push_back(event);
        }
        Ok(())
    }

    /// The publish that `FCUnpublish` means: the one of that name, or the only one.
    fn named(&self, name: &str) -> Option<StreamId> {
        let mut running = self.streams.iter().filter(|stream| stream.runs());
        let named = running.clone().find(|stream| stream.name == name);
        let only = running.next().filter(|_| running.next().is_none());
        named.or(only).map(|stream| stream.id)
    }

    fn unpublish(&mut self, id: Option<StreamId>, cause: StopCause) {
        let Some(stream) = self.streams.iter_mut().find(|stream| Some(stream.id) == id) else {
            return;
        };
        if !stream.runs() {
            return;
        }
        let id = stream.id;
        let event = Event::Unpublish { stream: id, cause };
        match &mut stream.state {
            StreamState::Pending(pending) => {
                pending.ended = true;
                pending.events.push_back(event);
            }
            _ => {
                stream.state = StreamState::Idle;
                self.events.push_back(event);
            }
        }
        let code = "NetStream.Unpublish.Success";
        self.output.status(id, "status", code, "unpublished");
    }

    fn delete_stream(&mut self, id: StreamId) {
        self.unpublish(Some(id), StopCause::DeleteStream);
        self.streams.retain_mut(|stream| match &mut stream.state {
            StreamState::Pending(pending) if stream.id == id => {
                pending.deleted = true;
                true
            }
            _ => stream.id != id,
        });
    }

    /// Ends the wait for the caller's answer: what the peer did meanwhile has happened now, up to the next
    /// publish that wants an answer. The name of the publish; `None`: nothing waited.
    fn answer(&mut self, id: StreamId, accepted: bool) -> Option<String> {
        let stream = self.streams.iter_mut().find(|stream| stream.id == id)?;
        let StreamState::Pending(pending) = &mut stream.state else {
            return None;
        };
        let mut pending = mem::take(pending);
        let name = stream.name.clone();
        stream.state = match accepted {
            true => StreamState::Publishing,
            false => StreamState::Ended,
        };
        while let Some(event) = pending.events.pop_front() {
            self.held_bytes = self.held_bytes.saturating_sub(held_len(&event));
            match event {
                Event::Publish(_) => {
                    self.events.push_back(event);
                    stream.state = StreamState::Pending(pending);
                    return Some(name);
                }
                Event::Message(_) if !accepted => self.dropped = self.dropped.saturating_add(1),
                Event::Unpublish { .. } => {
                    stream.state = StreamState::Idle;
                    self.events.extend(accepted.then_some(event));
                }
                _ => self.events.push_back(event),
            }
        }
        if pending.deleted {
            self.streams.retain(|stream| stream.id != id);
        }
        Some(name)
    }
}

impl NetStream {
    /// Whether the peer publishes here, as far as it knows.
    const fn runs(&self) -> bool {
        match &self.state {
            StreamState::Pending(pending) => !pending.ended,
            StreamState::Publishing => true,
            StreamState::Idle | StreamState::Ended => false,
        }
    }

    /// Whether the peer has deleted the stream, and only the caller's answer keeps it.
    const fn deleted(&self) -> bool {
        matches!(&self.state, StreamState::Pending(pending) if pending.deleted)
    }
}

/// The publish that a media message belongs to: its stream's, or, for a stream that does not exist (encoders
/// that write 0 or 1 whatever they were given), the only one.
fn find_publish(streams: &mut [NetStream], id: StreamId) -> Option<&mut NetStream> {
    if let Some(index) = streams
        .iter()
        .position(|stream| stream.id == id && !stream.deleted())
    {
        return streams.get_mut(index);
    }
    let mut running = streams.iter_mut().filter(|stream| stream.runs());
    let only = running.next()?;
    running.next().is_none().then_some(only)
}

/// What it costs to keep an event until the caller's answer.
fn held_len(event: &Event) -> usize {
    match event {
        Event::Message(message) => {
            let bytes: usize = message.payload.iter().map(Bytes::len).sum();
            bytes.saturating_add(HELD_OVERHEAD)
        }
        Event::Publish(_) => COMMAND_LEN_MAX,
        _ => 0,
    }
}

/// The four bytes of most control messages; `None`, and no harm done, if they are not there.
fn number(message: &RawMessage) -> Option<u32> {
    let payload = message.contiguous();
    payload
        .first_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
}

/// Takes off the byte in front of the AMF0 of messages that are called AMF3.
fn strip_selector(message: &mut RawMessage) {
    if message.payload.first().and_then(|piece| piece.first()) == Some(&0) {
        message.strip_selector();
    }
}

#[cfg(test)]
mod tests;
