//! `millstream push`: a publisher, for files, for tests and for load.
//!
//! Handshake and commands are `rml_rtmp`'s, so the server is not its own peer; media messages keep
//! their timestamps and their bytes.

use super::{Failure, because};
use crate::clock;
use crate::flv::{self, TagKind};
use bytes::{Bytes, BytesMut};
use indicatif::{ProgressBar, ProgressStyle};
use rml_rtmp::chunk_io::{ChunkDeserializationError, ChunkDeserializer, ChunkSerializationError};
use rml_rtmp::handshake::{Handshake, HandshakeError, HandshakeProcessResult, PeerType};
use rml_rtmp::messages::RtmpMessage;
use rml_rtmp::sessions::{
    ClientSession, ClientSessionConfig, ClientSessionError, ClientSessionEvent,
    ClientSessionResult, PublishRequestType,
};
use rml_rtmp::time::RtmpTimestamp;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Chunks this large: fewer headers than the 128 bytes that RTMP begins with.
const CHUNK_BYTES: u32 = 4096;
/// How long the server may take for each answer.
const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Bytes that are written at once at full speed.
const WRITE_BYTES: usize = 256 << 10;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// FLV file to publish.
    input: PathBuf,
    /// Where to: `rtmp://host:1935/hub/channel?key=…`. With several connections `{n}` in it becomes
    /// the number of each; without it `-n` is appended to the channel from the second on.
    url: String,
    /// `realtime`, or `max` for as fast as the server takes it.
    #[arg(long, default_value = "realtime")]
    speed: Speed,
    /// Begin again at the end, for ever.
    #[arg(long = "loop")]
    repeat: bool,
    /// Publish so many times at once.
    #[arg(long, default_value_t = 1, value_name = "N")]
    connections: u32,
}

/// How fast to publish.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Speed {
    /// As the timestamps say.
    Realtime,
    /// As fast as the server takes it.
    Max,
}

/// Why publishing ended early.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Not `rtmp://host/hub/channel`.
    #[error("{0:?} is no RTMP URL: write rtmp://host:1935/hub/channel?key=…")]
    Url(String),
    /// The socket failed.
    #[error("connection to {host} failed")]
    Socket {
        /// Host and port.
        host: String,
        /// Why.
        source: io::Error,
    },
    /// The server does not speak RTMP as expected.
    #[error("{0}")]
    Protocol(String),
    /// The server said no.
    #[error("the server refused: {0}")]
    Refused(String),
    /// The server does not answer.
    #[error("no answer from the server within {} s", ANSWER_MAX.as_secs())]
    Silent,
}

/// A file as it is published: its tags, in memory.
pub struct Clip {
    tags: Vec<flv::Tag>,
    /// From the first timestamp to the end of the last frame.
    length_ms: u32,
}

/// A publisher with an accepted publish.
pub struct Pusher {
    session: ClientSession,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    host: String,
    input: BytesMut,
    statuses: Statuses,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let named = arguments.input.display();
    let bytes =
        std::fs::read(&arguments.input).map_err(|e| because(format!("cannot read {named}"), &e))?;
    let clip = Arc::new(Clip::parse(bytes.into()).map_err(|e| because(&named, &e))?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let bar = ProgressBar::new(u64::from(clip.length_ms) * u64::from(arguments.connections));
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent} % pushed, {eta} left") {
        bar.set_style(style);
    }
    runtime.block_on(async {
        let pushes = (0..arguments.connections).map(|n| {
            let (clip, bar) = (clip.clone(), bar.clone());
            let (url, speed, repeat) =
                (url_of(&arguments.url, n), arguments.speed, arguments.repeat);
            tokio::spawn(async move { push(&clip, &url, speed, repeat, &bar).await })
        });
        let mut failed = None;
        for push in pushes.collect::<Vec<_>>() {
            if let Err(error) = push.await? {
                bar.suspend(|| eprintln!("millstream: {}", because("push", &error)));
                failed = Some(error);
            }
        }
        bar.finish_and_clear();
        failed.map_or(Ok(()), |error| {
            Err(because(format!("{named} was not pushed whole"), &error))
        })
    })
}

/// The URL of connection `n`.
fn url_of(url: &str, n: u32) -> String {
    if url.contains("{n}") || n == 0 {
        return url.replace("{n}", &n.to_string());
    }
    match url.split_once('?') {
        Some((path, query)) => format!("{path}-{n}?{query}"),
        None => format!("{url}-{n}"),
    }
}

async fn push(
    clip: &Clip,
    url: &str,
    speed: Speed,
    repeat: bool,
    bar: &ProgressBar,
) -> Result<(), PushError> {
    let mut pusher = Pusher::connect(url).await?;
    pusher
        .clip(clip, speed, repeat, |ms| bar.inc(ms.into()))
        .await?;
    pusher.stop().await
}

impl Clip {
    /// Reads an FLV file.
    pub fn parse(bytes: Bytes) -> Result<Self, flv::file::FileError> {
        let mut reader = flv::Reader::new();
        reader.push(bytes);
        let mut tags = Vec::new();
        while let Some(tag) = reader.next_tag()? {
            if tag.kind != TagKind::Data {
                tags.push(tag);
            }
        }
        let first = tags.first().map_or(0, |tag| tag.timestamp_ms);
        let mut times: Vec<u32> = tags
            .iter()
            .map(|tag| tag.timestamp_ms.wrapping_sub(first))
            .collect();
        times.sort_unstable();
        times.dedup();
        let last = times.last().copied().unwrap_or(0);
        // The last frame lasts about as long as the gaps between frames of one track.
        let frame = if times.len() > 1 { 40 } else { 0 };
        Ok(Self {
            tags,
            length_ms: last.saturating_add(frame),
        })
    }
}

impl Clip {
    /// The tags, in order.
    pub fn tags(&self) -> &[flv::Tag] {
        &self.tags
    }
}

impl Pusher {
    /// Connects and publishes; returns when the server has accepted.
    pub async fn connect(url: &str) -> Result<Self, PushError> {
        let Address { host, app, stream } = Address::parse(url)?;
        let socket = |source| PushError::Socket {
            host: host.clone(),
            source,
        };
        let tcp = TcpStream::connect(&host).await.map_err(socket)?;
        tcp.set_nodelay(true).map_err(socket)?;
        let (reader, writer) = tcp.into_split();
        let mut config = ClientSessionConfig::new();
        config.chunk_size = CHUNK_BYTES;
        config.flash_version = concat!("millstream/", env!("CARGO_PKG_VERSION")).to_owned();
        config.tc_url = Some(format!("rtmp://{host}/{app}"));
        let (session, first) = ClientSession::new(config).map_err(protocol)?;
        let mut pusher = Self {
            session,
            reader,
            writer,
            host,
            input: BytesMut::new(),
            statuses: Statuses::new(),
        };
        pusher.shake_hands().await?;
        pusher.answer(first).await?;
        let connect = pusher.session.request_connection(app).map_err(protocol)?;
        pusher.answer(vec![connect]).await?;
        pusher
            .wait_for(ClientSessionEvent::ConnectionRequestAccepted)
            .await?;
        let publish = pusher
            .session
            .request_publishing(stream, PublishRequestType::Live);
        pusher.answer(vec![publish.map_err(protocol)?]).await?;
        pusher
            .wait_for(ClientSessionEvent::PublishRequestAccepted)
            .await?;
        Ok(pusher)
    }

    /// Sends a clip, once or for ever; `sent` hears how much media time went out.
    pub async fn clip(
        &mut self,
        clip: &Clip,
        speed: Speed,
        repeat: bool,
        mut sent: impl FnMut(u32),
    ) -> Result<(), PushError> {
        let first = clip.tags.first().map_or(0, |tag| tag.timestamp_ms);
        let begun = tokio::time::Instant::from_std(clock::monotonic());
        let mut batch = Vec::with_capacity(WRITE_BYTES);
        let (mut round, mut last) = (0_u64, 0);
        loop {
            for tag in &clip.tags {
                let at = tag.timestamp_ms.wrapping_sub(first);
                let elapsed = round * u64::from(clip.length_ms) + u64::from(at);
                if speed == Speed::Realtime {
                    let due = begun + Duration::from_millis(elapsed);
                    if due.into_std() > clock::monotonic() {
                        self.write(&mut batch).await?;
                        self.listen_until(due).await?;
                    }
                }
                self.encode(tag, elapsed + u64::from(first), round, &mut batch)?;
                if batch.len() >= WRITE_BYTES {
                    self.write(&mut batch).await?;
                }
                if at > last {
                    sent(at - last);
                    last = at;
                }
            }
            self.write(&mut batch).await?;
            if !repeat {
                return Ok(());
            }
            round += 1;
            last = 0;
        }
    }

    /// Sends one tag at once, for who measures.
    pub async fn tag(&mut self, tag: &flv::Tag) -> Result<(), PushError> {
        let mut batch = Vec::new();
        self.encode(tag, tag.timestamp_ms.into(), 0, &mut batch)?;
        self.write(&mut batch).await
    }

    /// Ends the publish and waits for the server to hang up.
    pub async fn stop(mut self) -> Result<(), PushError> {
        let stop = self.session.stop_publishing().map_err(protocol)?;
        self.answer(stop).await?;
        self.writer.shutdown().await.map_err(|e| self.socket(e))?;
        let mut sink = [0; 4096];
        let drain =
            async { while matches!(self.reader.read(&mut sink).await, Ok(read) if read > 0) {} };
        // A server that does not hang up is left.
        let _ = tokio::time::timeout(ANSWER_MAX, drain).await;
        Ok(())
    }

    fn encode(
        &mut self,
        tag: &flv::Tag,
        at_ms: u64,
        round: u64,
        batch: &mut Vec<u8>,
    ) -> Result<(), PushError> {
        let body = tag.body.to_bytes();
        // Configuration once: it does not change from round to round.
        if round > 0 && is_configuration(tag.kind, &body) {
            return Ok(());
        }
        // RTMP time has 32 bits and wraps (§4).
        let at = RtmpTimestamp::new((at_ms & u64::from(u32::MAX)) as u32);
        let result = match tag.kind {
            TagKind::Audio => self.session.publish_audio_data(body, at, false),
            TagKind::Video => self.session.publish_video_data(body, at, false),
            TagKind::Data => return Ok(()),
        };
        if let ClientSessionResult::OutboundResponse(packet) = result.map_err(protocol)? {
            batch.extend_from_slice(&packet.bytes);
        }
        Ok(())
    }

    async fn write(&mut self, batch: &mut Vec<u8>) -> Result<(), PushError> {
        if !batch.is_empty() {
            let written = self.writer.write_all(batch).await;
            batch.clear();
            if let Err(error) = written {
                // The server may have said why before it hung up.
                self.hear().await?;
                return Err(self.socket(error));
            }
        }
        Ok(())
    }

    /// Reads what the server says until `due`: acknowledgements, pings, a refusal.
    async fn listen_until(&mut self, due: tokio::time::Instant) -> Result<(), PushError> {
        loop {
            self.input.reserve(4096);
            let read = tokio::time::timeout_at(due, self.reader.read_buf(&mut self.input)).await;
            match read {
                Err(_) => return Ok(()),
                Ok(Ok(0)) => return Err(PushError::Refused("it hung up".to_owned())),
                Ok(Ok(_)) => self.hear().await?,
                Ok(Err(error)) => return Err(self.socket(error)),
            }
        }
    }

    async fn hear(&mut self) -> Result<(), PushError> {
        let input = self.input.split();
        for event in self.take(&input).await? {
            if let ClientSessionEvent::UnhandleableOnStatusCode { code } = event {
                return Err(PushError::Refused(self.statuses.reason(code)));
            }
        }
        Ok(())
    }

    async fn shake_hands(&mut self) -> Result<(), PushError> {
        let mut handshake = Handshake::new(PeerType::Client);
        let hello = handshake.generate_outbound_p0_and_p1().map_err(protocol)?;
        self.send(&hello).await?;
        loop {
            let bytes = self.receive().await?;
            match handshake.process_bytes(&bytes).map_err(protocol)? {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    self.send(&response_bytes).await?
                }
                HandshakeProcessResult::Completed {
                    response_bytes,
                    remaining_bytes,
                } => {
                    self.send(&response_bytes).await?;
                    self.input.extend_from_slice(&remaining_bytes);
                    return Ok(());
                }
            }
        }
    }

    async fn wait_for(&mut self, wanted: ClientSessionEvent) -> Result<(), PushError> {
        loop {
            let input = if self.input.is_empty() {
                self.receive().await?
            } else {
                self.input.split()
            };
            for event in self.take(&input).await? {
                match event {
                    event if event == wanted => return Ok(()),
                    ClientSessionEvent::ConnectionRequestRejected { description } => {
                        return Err(PushError::Refused(description));
                    }
                    ClientSessionEvent::UnhandleableOnStatusCode { code } => {
                        return Err(PushError::Refused(self.statuses.reason(code)));
                    }
                    _ => {}
                }
            }
        }
    }

    /// Takes what the server said; returns the events.
    async fn take(&mut self, input: &[u8]) -> Result<Vec<ClientSessionEvent>, PushError> {
        self.statuses.hear(input);
        let results = self.session.handle_input(input).map_err(protocol)?;
        self.answer(results).await
    }

    /// Sends the answers among `results`; returns the events.
    async fn answer(
        &mut self,
        results: Vec<ClientSessionResult>,
    ) -> Result<Vec<ClientSessionEvent>, PushError> {
        let mut events = Vec::new();
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => self.send(&packet.bytes).await?,
                ClientSessionResult::RaisedEvent(event) => events.push(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
        Ok(events)
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), PushError> {
        self.writer
            .write_all(bytes)
            .await
            .map_err(|e| self.socket(e))
    }

    async fn receive(&mut self) -> Result<BytesMut, PushError> {
        self.input.reserve(4096);
        let read = tokio::time::timeout(ANSWER_MAX, self.reader.read_buf(&mut self.input)).await;
        match read.map_err(|_| PushError::Silent)? {
            Ok(0) => Err(PushError::Refused("it hung up".to_owned())),
            Ok(_) => Ok(self.input.split()),
            Err(error) => Err(self.socket(error)),
        }
    }

    fn socket(&self, source: io::Error) -> PushError {
        PushError::Socket {
            host: self.host.clone(),
            source,
        }
    }
}

/// Why the server says no. `rml_rtmp` tells the code of a status and not its description, so what the
/// server says is read once more.
struct Statuses {
    chunks: ChunkDeserializer,
    description: Option<String>,
}

impl Statuses {
    fn new() -> Self {
        Self {
            chunks: ChunkDeserializer::new(),
            description: None,
        }
    }

    fn hear(&mut self, input: &[u8]) {
        let mut input = input;
        while let Ok(Some(payload)) = self.chunks.get_next_message(input) {
            input = &[];
            match payload.to_rtmp_message() {
                Ok(RtmpMessage::SetChunkSize { size }) => {
                    let size = usize::try_from(size).unwrap_or(usize::MAX);
                    // One that is refused is refused by the session, too.
                    let _ = self.chunks.set_max_chunk_size(size);
                }
                Ok(RtmpMessage::Amf0Command {
                    command_name,
                    additional_arguments,
                    ..
                }) if command_name == "onStatus" => {
                    self.description = additional_arguments.into_iter().find_map(|argument| {
                        let mut fields = argument.get_object_properties()?;
                        fields.remove("description")?.get_string()
                    });
                }
                _ => {}
            }
        }
    }

    /// The description of the newest status, or at least its code.
    fn reason(&mut self, code: String) -> String {
        match self.description.take().filter(|text| !text.is_empty()) {
            Some(description) => format!("{description} ({code})"),
            None => code,
        }
    }
}

/// Whether a tag is a sequence header.
fn is_configuration(kind: TagKind, body: &[u8]) -> bool {
    match (kind, body) {
        (TagKind::Video, [first, packet, ..]) if first & 0x80 == 0 => {
            matches!(first & 0x0f, 7 | 12) && *packet == 0
        }
        (TagKind::Video, [first, ..]) => first & 0x0f == 0,
        (TagKind::Audio, [first, packet, ..]) => first >> 4 == 10 && *packet == 0,
        _ => false,
    }
}

struct Address {
    host: String,
    app: String,
    stream: String,
}

impl Address {
    fn parse(url: &str) -> Result<Self, PushError> {
        let wrong = || PushError::Url(without_query(url).to_owned());
        let rest = url.strip_prefix("rtmp://").ok_or_else(wrong)?;
        let (host, path) = rest.split_once('/').ok_or_else(wrong)?;
        let (path, query) = path
            .split_once('?')
            .map_or((path, None), |(path, query)| (path, Some(query)));
        let (app, stream) = path.rsplit_once('/').ok_or_else(wrong)?;
        if host.is_empty() || app.is_empty() || stream.is_empty() {
            return Err(wrong());
        }
        let has_port = host
            .rsplit_once(':')
            .is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        Ok(Self {
            host: if has_port {
                host.to_owned()
            } else {
                format!("{host}:1935")
            },
            app: app.to_owned(),
            stream: query.map_or_else(|| stream.to_owned(), |query| format!("{stream}?{query}")),
        })
    }
}

/// An URL without what may be a secret.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(path, _)| path)
}

fn protocol(error: impl Into<RtmpError>) -> PushError {
    PushError::Protocol(error.into().0)
}

/// rml_rtmp has an error for each of its parts.
struct RtmpError(String);

macro_rules! rtmp_errors {
    ($($name:ident),*) => {$(
        impl From<$name> for RtmpError {
            fn from(error: $name) -> Self {
                Self(error.to_string())
            }
        }
    )*};
}
rtmp_errors!(
    HandshakeError,
    ClientSessionError,
    ChunkSerializationError,
    ChunkDeserializationError
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_split_where_encoders_split_them() {
        let check = |url, host: &str, app: &str, stream: &str| {
            let address = Address::parse(url).expect(url);
            assert_eq!(
                (&*address.host, &*address.app, &*address.stream),
                (host, app, stream),
                "{url}"
            );
        };
        check("rtmp://h/live/a", "h:1935", "live", "a");
        check(
            "rtmp://h:1936/live/a?key=x/y",
            "h:1936",
            "live",
            "a?key=x/y",
        );
        check("rtmp://[::1]:1935/a/b/c", "[::1]:1935", "a/b", "c");
        for bad in [
            "http://h/live/a",
            "rtmp://h/a",
            "rtmp:///live/a",
            "rtmp://h/live/?key=secret",
        ] {
            let error = Address::parse(bad).err().map(|error| error.to_string());
            assert!(
                error.as_ref().is_some_and(|e| !e.contains("secret")),
                "{bad}: {error:?}"
            );
        }
    }

    #[test]
    fn each_connection_has_its_channel() {
        assert_eq!(url_of("rtmp://h/live/a?key=k", 0), "rtmp://h/live/a?key=k");
        assert_eq!(
            url_of("rtmp://h/live/a?key=k", 2),
            "rtmp://h/live/a-2?key=k"
        );
        assert_eq!(url_of("rtmp://h/live/a{n}", 0), "rtmp://h/live/a0");
    }
}
