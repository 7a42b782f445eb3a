//! One connection: moves bytes between its socket and its [`rtmp::Session`], and watches the time.
//!
//! Whoever holds the connection asks for the next event and answers it; nothing runs beside that.

use super::budget::{Budget, Share};
use super::room;
use super::socket::{Arrived, Counted, Pace, Socket};
use super::stream::Stream;
use crate::clock;
use crate::rtmp::{self, Event, Refusal, Session, Stage, StreamId};
use bytes::{Buf, Bytes};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Answers that a peer has not read. A publisher that never reads gets no more than acknowledgements,
/// some bytes for every few megabytes that it sends, so this is reached by abuse only.
const UNREAD_BYTES_MAX: usize = 256 << 10;
/// What is waited for may come so much earlier than its timestamp says.
const EARLY: Duration = Duration::from_millis(15);
/// How long answers that the socket did not take wait to be offered again.
const RETRY: Duration = Duration::from_millis(50);
/// How long the last words may take, and how long the peer has to hang up after them.
const GOODBYE: Duration = Duration::from_secs(2);

/// What a connection has at most beside what it is counted to hold: what is read at once, its task.
pub const CONNECTION_BYTES: usize = room::BYTES + (64 << 10);

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
    /// It sends faster than can be taken, while others do so too.
    #[error(
        "all connections together hold {max} bytes of messages, and this one wants more (ingest.memory)"
    )]
    Memory {
        /// The limit.
        max: usize,
    },
    /// It does not read what it is sent.
    #[error("{UNREAD_BYTES_MAX} bytes of answers are unread")]
    Unread,
}

/// A socket and the protocol spoken on it.
pub struct Connection {
    socket: Socket,
    peer: SocketAddr,
    session: Session,
    timeouts: Timeouts,
    pace: Pace,
    /// While a publish runs.
    counted: Option<Counted>,
    wanted: Option<Instant>,
    output: VecDeque<Bytes>,
    unread: usize,
    opened: Instant,
    heard: Instant,
    pinged: bool,
    failed: Option<rtmp::Error>,
    budget: Budget,
    share: Share,
}

impl Connection {
    /// Speaks RTMP on `stream`, which is open since `opened`.
    pub fn new(
        stream: Stream,
        peer: SocketAddr,
        opened: Instant,
        config: rtmp::Config,
        timeouts: Timeouts,
        pace: Pace,
        budget: Budget,
    ) -> Self {
        Self {
            socket: Socket::new(stream),
            peer,
            session: Session::new(config, rtmp::Seed(clock::random())),
            timeouts,
            pace,
            counted: None,
            wanted: None,
            output: VecDeque::new(),
            unread: 0,
            opened,
            heard: opened,
            pinged: false,
            failed: None,
            share: budget.share(),
            budget,
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

    /// How far the peer has come.
    pub fn stage(&self) -> Stage {
        self.session.stage()
    }

    /// The next event; `None` when the peer has hung up. Everything that came before an error is
    /// given out before the error. Cancelling it loses nothing.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            if let Some(event) = self.poll() {
                return Ok(Some(event));
            }
            if let Some(error) = self.failed.take() {
                return Err(error.into());
            }
            self.send()?;
            if !self.turn().await? {
                return Ok(None);
            }
        }
    }

    /// The next event that has arrived already.
    pub fn poll(&mut self) -> Option<Event> {
        self.session.poll_event()
    }

    /// The caller holds so many bytes of messages that it has taken.
    pub fn holds(&mut self, taken: usize) -> Result<(), Error> {
        let max = self.budget.max();
        let held = self.session.held().saturating_add(self.unread);
        match self.share.hold(held.saturating_add(taken)) {
            true => Ok(()),
            false => Err(Error::Memory { max }),
        }
    }

    /// Tells how long after the bytes that came last something should come that is waited for:
    /// that is read when it comes, and not at the beat at which many publishers are read.
    pub fn expect(&mut self, within: Option<Duration>) {
        self.wanted = within.map(|within| self.heard + within.saturating_sub(EARLY));
    }

    /// Lets the publish begin.
    pub fn accept(&mut self, stream: StreamId) {
        self.session.accept_publish(stream);
        self.counted = Some(self.pace.count());
    }

    /// Refuses the publish, in words that the encoder shows.
    pub fn reject(&mut self, stream: StreamId, refusal: Refusal, description: &str) {
        self.session.reject_publish(stream, refusal, description);
    }

    /// Ends a running publish, in words that the encoder shows.
    pub fn end(&mut self, stream: StreamId, refusal: Refusal, description: &str) {
        self.session.end_publish(stream, refusal, description);
    }

    /// Asks the peer to connect anew, if it knows how to; false: it does not.
    pub fn ask_to_reconnect(&mut self, description: &str) -> bool {
        self.session.request_reconnect(description)
    }

    /// Sends what is left to say and hangs up in order: what was said is not lost to a reset.
    pub async fn close(mut self) {
        while let Some(bytes) = self.session.poll_output() {
            self.output.push_back(bytes);
        }
        let goodbye = self.socket.say_goodbye(self.output.into_iter());
        // Who does not take the last words in time goes without them.
        let _ = tokio::time::timeout(GOODBYE, goodbye).await;
    }

    /// Reads or waits once; false when the peer has hung up.
    async fn turn(&mut self) -> Result<bool, Error> {
        let publishing = self.session.stage() == Stage::Publishing;
        if !publishing && self.counted.take().is_some() {
            // Its publish has ended: as much time as a newcomer has to hang up, or to publish again.
            self.opened = clock::monotonic();
        }
        let publisher = self.counted.as_ref();
        self.socket.choose(publisher, self.wanted)?;
        let deadline = self.deadline();
        let until = match self.output.is_empty() {
            true => deadline,
            false => deadline.min(clock::monotonic() + RETRY),
        };
        match self.socket.read(publisher, self.wanted, until).await? {
            Arrived::Bytes(input) => {
                self.heard = clock::monotonic();
                self.pinged = false;
                // Reported after the events that the same bytes brought.
                self.failed = self.session.handle_input(input).err();
                self.holds(0)?;
            }
            Arrived::Nothing if clock::monotonic() >= deadline => self.wake()?,
            Arrived::Nothing => {}
            Arrived::End => return Ok(false),
        }
        Ok(true)
    }

    /// When the peer is overdue, or is to be asked for a sign of life.
    fn deadline(&self) -> Instant {
        match self.session.stage() {
            Stage::Publishing if self.pinged => self.heard + self.timeouts.idle,
            Stage::Publishing => self.heard + self.timeouts.idle / 2,
            _ => self.opened + self.timeouts.publish,
        }
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

    /// Sends what the socket takes.
    fn send(&mut self) -> Result<(), Error> {
        while let Some(bytes) = self.session.poll_output() {
            self.unread += bytes.len();
            self.output.push_back(bytes);
        }
        self.socket.flush_now()?;
        while let Some(front) = self.output.front_mut() {
            let written = self.socket.write_now(front)?;
            self.unread -= written;
            front.advance(written);
            if !front.is_empty() {
                break;
            }
            self.output.pop_front();
        }
        self.socket.flush_now()?;
        match self.unread > UNREAD_BYTES_MAX {
            true => Err(Error::Unread),
            false => Ok(()),
        }
    }
}
