//! What a session is told and what it tells: the vocabulary between [`Session`](super::Session) and its caller.

use super::address::Query;
use super::command::ConnectInfo;
use super::message::{MessageKind, Payload, StreamId};
use bytes::Bytes;
use std::fmt;

/// What a session tells its peer and allows it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Chunk size of what we send.
    pub chunk_size: u32,
    /// How often the peer is to acknowledge, and how often we do if it does not say; in bytes.
    pub window_ack_size: u32,
    /// Length of a message; protects memory. A 4K key frame has some MiB.
    pub message_size_max: usize,
    /// Unfinished messages of all chunk streams together; protects memory.
    pub partial_bytes_max: usize,
    /// The same until a publish is accepted for the first time, and media that waits for that; a stranger gets less.
    pub pending_bytes_max: usize,
    /// Video FourCCs announced to Enhanced RTMP clients.
    pub video_fourccs: &'static [&'static str],
    /// Audio FourCCs announced to Enhanced RTMP clients.
    pub audio_fourccs: &'static [&'static str],
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chunk_size: 4096,
            window_ack_size: 2_500_000,
            message_size_max: 16 << 20,
            partial_bytes_max: 32 << 20,
            pending_bytes_max: 4 << 20,
            video_fourccs: &["avc1", "hvc1"],
            audio_fourccs: &["mp4a", ".mp3"],
        }
    }
}

/// Random bytes for the handshake, made by the caller.
#[derive(Clone, Copy)]
pub struct Seed(pub [u8; 32]);

/// How far a connection has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// Versions and random bytes are exchanged.
    Handshake,
    /// The handshake is over; `connect` has not come.
    Connecting,
    /// `connect` was answered; nothing is published.
    Connected,
    /// A publish waits for [`Session::accept_publish`](super::Session::accept_publish) or [`Session::reject_publish`](super::Session::reject_publish), and none runs.
    Pending,
    /// A publish runs.
    Publishing,
}

/// What happened.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// `connect` was answered.
    Connected(ConnectInfo),
    /// The peer wants to publish, and waits for the answer.
    Publish(PublishRequest),
    /// Media of an accepted publish.
    Message(Message),
    /// The peer ended a publish, accepted or not.
    Unpublish {
        /// The NetStream that it ran on.
        stream: StreamId,
        /// How it said so.
        cause: StopCause,
    },
    /// The answer to [`Session::ping`](super::Session::ping).
    PingResponse {
        /// The number that was sent.
        timestamp_ms: u32,
    },
}

/// What a peer wants to publish.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublishRequest {
    /// The NetStream to answer on.
    pub stream: StreamId,
    /// Host and port of `tcUrl`, as the peer wrote them: where it thinks it is.
    pub host: Option<String>,
    /// All but the last element of the path of app and stream name; may be empty.
    pub app: String,
    /// The last element of that path; never empty.
    pub name: String,
    /// The queries of stream name, app and `tcUrl`, in this order.
    pub query: Query,
    /// Name and version of the encoder, as it says.
    pub encoder: Option<String>,
}

/// One media message, whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// The NetStream of the publish.
    pub stream: StreamId,
    /// What it carries.
    pub kind: MessageKind,
    /// Milliseconds on the publisher's clock; wraps at 2³² (§4), with ffmpeg at 2³¹.
    pub timestamp: u32,
    /// Its bytes, at least one.
    pub payload: Payload,
}

/// How a peer ends a publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StopCause {
    /// `FCUnpublish`: the first of two commands with which most encoders stop.
    FcUnpublish,
    /// `deleteStream`.
    DeleteStream,
    /// `closeStream`.
    CloseStream,
}

/// Why a publish is refused or ended by the server; the codes are those that encoders react to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The name is not one, is in use, or was taken over.
    BadName,
    /// The peer may not publish here (any more).
    Denied,
    /// The server cannot take this stream: codec, space, load.
    Rejected,
    /// The server goes away.
    Shutdown,
}

impl Refusal {
    /// The `code` of the `onStatus`.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadName => "NetStream.Publish.BadName",
            Self::Denied => "NetStream.Publish.Denied",
            Self::Rejected => "NetStream.Publish.Rejected",
            Self::Shutdown => "NetConnection.Connect.AppShutdown",
        }
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len: usize = self.payload.iter().map(Bytes::len).sum();
        write!(
            f,
            "{:?} of stream {} at {} ms, {len} bytes:",
            self.kind, self.stream, self.timestamp
        )?;
        let mut bytes = self.payload.iter().flatten();
        bytes
            .by_ref()
            .take(16)
            .try_for_each(|byte| write!(f, " {byte:02x}"))?;
        f.write_str(if bytes.next().is_some() { " …" } else { "" })
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(…)")
    }
}
