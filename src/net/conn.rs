//! One connection: moves bytes between its socket and its [`rtmp::Session`], and watches the time.
//!
//! Whoever holds the connection asks for the next event and answers it; nothing runs beside that.

use crate::clock;
use crate::rtmp::{self, Event, Refusal, Session, Stage, StreamId};
use bytes::{Buf, Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::WriteHalf;

/// Room that a read is given. Large enough for the reads of a full-speed publisher to be few.
const READ_BYTES: usize = 64 << 10;
/// Answers that a peer has not read. A publisher that never reads gets no more than acknowledgements,
/// some bytes for every few megabytes that it sends, so this is reached by abuse only.
const UNREAD_BYTES_MAX: usize = 256 << 10;
/// How long the last words may take, and how long the peer has to hang up after them.
const GOODBYE: Duration = Duration::from_secs(2);

/// How long a peer may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timeouts {
    /// From the connection to the accepted publish, in all: sending a byte now and then does not extend it.
    pub publish: Duration,
    /// Silence of a publisher.
    pub idle: Duration,
}

/// Why a connection ended other than by its peer's wish.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The peer broke the protocol.
    #[error("protocol: {0}")]
    Protocol(#[from] rtmp::Error),
    /// The socket failed: reset, unreachable.
    #[error("connection lost: {0}")]
    Socket(#[from] io::Error),
    /// It did not come to a publish.
    #[error("no publish within {} s of connecting (it got as far as: {stage:?})", after.as_secs())]
    NoPublish {
        /// The limit.
        after: Duration,
        /// How far it came.
        stage: Stage,
    },
    /// Nothing came.
    #[error("nothing received for {} s", after.as_secs())]
    Silent {
        /// The limit.
        after: Duration,
    },
    /// It does not read what it is sent.
    #[error("{UNREAD_BYTES_MAX} bytes of answers are unread")]
    Unread,
}

/// A socket and the protocol spoken on it.
pub struct Connection {
    stream: TcpStream,
    peer: SocketAddr,
    session: Session,
    timeouts: Timeouts,
    input: BytesMut,
    output: VecDeque<Bytes>,
    unread: usize,
    opened: Instant,
    heard: Instant,
    pinged: bool,
    failed: Option<rtmp::Error>,
}

impl Connection {
    /// Speaks RTMP on `stream`.
    pub fn new(
        stream: TcpStream,
        peer: SocketAddr,
        config: rtmp::Config,
        timeouts: Timeouts,
    ) -> Self {
        let now = clock::monotonic();
        Self {
            stream,
            peer,
            session: Session::new(config, rtmp::Seed(clock::random())),
            timeouts,
            input: BytesMut::new(),
            output: VecDeque::new(),
            unread: 0,
            opened: now,
            heard: now,
            pinged: false,
            failed: None,
        }
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Bytes received.
    pub fn received(&self) -> u64 {
        self.session.received()
    }

    /// The next event; `None` when the peer has hung up. Everything that came before an error is
    /// given out before the error. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.session.poll_event() {
                return Ok(Some(event));
            }
            if let Some(error) = self.failed.take() {
                return Err(error.into());
            }
            self.take_output()?;
            if !self.turn().await? {
                return Ok(None);
            }
        }
    }

    /// Lets the publish begin.
    pub fn accept(&mut self, stream: StreamId) {
        self.session.accept_publish(stream);
    }

    /// Refuses the publish, in words that the encoder shows.
    pub fn reject(&mut self, stream: StreamId, refusal: Refusal, description: &str) {
        self.session.reject_publish(stream, refusal, description);
    }

    /// Ends a running publish, in words that the encoder shows.
    pub fn end(&mut self, stream: StreamId, refusal: Refusal, description: &str) {
        self.session.end_publish(stream, refusal, description);
    }

    /// Sends what is left to say and hangs up in order: what was said is not lost to a reset.
    pub async fn close(mut self) {
        let goodbye = async {
            self.take_output()?;
            while let Some(mut front) = self.output.pop_front() {
                self.stream.write_all_buf(&mut front).await?;
            }
            self.stream.shutdown().await?;
            // Unread input would turn our FIN into a reset that overtakes the last words.
            let mut sink = [0; 4096];
            while self.stream.read(&mut sink).await? > 0 {}
            Ok::<_, Error>(())
        };
        // Who does not take the last words in time goes without them.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// Reads, writes or waits once; false when the peer has hung up.
    async fn turn(&mut self) -> Result<bool, Error> {
        let deadline = self.deadline()?;
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            self.input.reserve(READ_BYTES);
        }
        let (mut reader, mut writer) = self.stream.split();
        tokio::select! {
            read = reader.read_buf(&mut self.input) => {
                if read? == 0 {
                    return Ok(false);
                }
                self.heard = clock::monotonic();
                self.pinged = false;
                let input = self.input.split().freeze();
                // Reported after the events that the same bytes brought.
                self.failed = self.session.handle_input(input).err();
            }
            written = write_front(&mut writer, &self.output), if !self.output.is_empty() => {
                self.wrote(written?);
            }
            () = tokio::time::sleep_until(deadline.into()) => self.wake()?,
        }
        Ok(true)
    }

    /// When the peer is overdue, or is to be asked for a sign of life.
    fn deadline(&self) -> Result<Instant, Error> {
        Ok(match self.session.stage() {
            Stage::Publishing if self.pinged => self.heard + self.timeouts.idle,
            Stage::Publishing => self.heard + self.timeouts.idle / 2,
            _ => self.opened + self.timeouts.publish,
        })
    }

    fn wake(&mut self) -> Result<(), Error> {
        let stage = self.session.stage();
        if stage != Stage::Publishing {
            let after = self.timeouts.publish;
            return Err(Error::NoPublish { after, stage });
        }
        if self.pinged {
            let after = self.timeouts.idle;
            return Err(Error::Silent { after });
        }
        self.pinged = true;
        let since = self.heard - self.opened;
        self.session
            .ping(u32::try_from(since.as_millis()).unwrap_or(0));
        Ok(())
    }

    fn take_output(&mut self) -> Result<(), Error> {
        while let Some(bytes) = self.session.poll_output() {
            self.unread += bytes.len();
            self.output.push_back(bytes);
        }
        if self.unread > UNREAD_BYTES_MAX {
            return Err(Error::Unread);
        }
        Ok(())
    }

    fn wrote(&mut self, bytes: usize) {
        self.unread -= bytes;
        if let Some(front) = self.output.front_mut() {
            front.advance(bytes);
            if front.is_empty() {
                self.output.pop_front();
            }
        }
    }
}

async fn write_front(socket: &mut WriteHalf<'_>, output: &VecDeque<Bytes>) -> io::Result<usize> {
    match output.front() {
        Some(front) => socket.write(front).await,
        None => std::future::pending().await,
    }
}
