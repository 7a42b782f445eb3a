//! A socket that the runtime watches, or that is read at a beat.
//!
//! A publisher sends some 75 small writes a second. Each wakes the runtime, and at hundreds of
//! publishers that is most of what they cost. So when there are many, their sockets are taken out of
//! the runtime's watch and read at a beat: a few larger reads, many connections at one waking.
//! `benches/compare/compare.py --publishers 200` shows what it is worth. One that sends faster than it
//! is read would wake the runtime with each packet, too: it is read again and again, with short naps.

use super::room;
use super::stream::Stream;
use crate::clock;
use bytes::Bytes;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Time between two readings at a beat: what is received waits in the kernel for at most this.
const BEAT: Duration = Duration::from_millis(150);
/// Connections read at so many different times within a beat, or all would want the processor at once.
const PHASES: usize = 8;
/// Publishers from which on it pays to read at a beat. Fewer cost nothing worth saving.
const PUBLISHERS_MIN: usize = 8;
/// How long a peer that filled two readings in one beat, and so may fill its kernel buffer, is read
/// as soon as it sends.
const BURST: Duration = Duration::from_secs(1);
/// Time between two readings of a peer that sends faster than it is read. To be woken by each of its
/// packets costs more than to take them together: `benches/compare/compare.py --full-speed 1`.
const NAP: Duration = Duration::from_millis(1);
/// A reading that brings less is not worth the next nap.
const NAP_BYTES_MIN: usize = room::BYTES / 4;

/// How many publish now, and when the beat falls. Shared by all connections.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    publishers: AtomicUsize,
    /// Publishers so far: neighbours are read at different times.
    counted: AtomicUsize,
    epoch: Instant,
}

/// One publisher, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    pace: Pace,
    phase: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self(Arc::new(Inner {
            publishers: AtomicUsize::new(0),
            counted: AtomicUsize::new(0),
            epoch: clock::monotonic(),
        }))
    }
}

impl Pace {
    pub(super) fn count(&self) -> Counted {
        self.0.publishers.fetch_add(1, Ordering::Relaxed);
        let phase = self.0.counted.fetch_add(1, Ordering::Relaxed) % PHASES;
        Counted {
            pace: self.clone(),
            phase: BEAT * u32::try_from(phase).unwrap_or(0) / PHASES as u32,
        }
    }
}

impl Counted {
    fn is_worth_it(&self) -> bool {
        self.pace.0.publishers.load(Ordering::Relaxed) >= PUBLISHERS_MIN
    }

    /// The next beat after `now`: the same for all of a phase, so that one waking serves many.
    fn next(&self, now: Instant) -> Instant {
        let first = self.pace.0.epoch + self.phase;
        let since = now.saturating_duration_since(first).as_nanos();
        let beats = since / BEAT.as_nanos() + 1;
        let until = u64::try_from(beats * BEAT.as_nanos()).unwrap_or(u64::MAX);
        first + Duration::from_nanos(until)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.pace.0.publishers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket and how it is read.
pub(super) struct Socket {
    mode: Mode,
    /// The last reading may have left something behind.
    more: bool,
    /// A burst is over then.
    burst_until: Option<Instant>,
    /// It sends faster than it is read.
    floods: bool,
}

enum Mode {
    Watched(TcpStream),
    /// Read at its beat, or after a nap.
    Unwatched(std::net::TcpStream),
    /// Always watched: what is in the kernel's buffer says little about what is in a record.
    Tls(Box<TlsStream<TcpStream>>),
    /// Between the other two, or when changing over failed.
    Gone,
}

/// What a reading brought.
pub(super) enum Arrived {
    /// Bytes, at least one.
    Bytes(Bytes),
    /// Nothing yet.
    Nothing,
    /// The peer has hung up.
    End,
}

impl Socket {
    pub(super) fn new(stream: Stream) -> Self {
        Self {
            mode: match stream {
                Stream::Plain(stream) => Mode::Watched(stream),
                Stream::Tls(stream) => Mode::Tls(stream),
            },
            more: false,
            burst_until: None,
            floods: false,
        }
    }

    /// Reads a publisher at its beat if that pays, until `wanted`, from when on bytes are read as
    /// soon as they come. Everybody else is read as soon as bytes come.
    pub(super) fn choose(
        &mut self,
        publisher: Option<&Counted>,
        wanted: Option<Instant>,
    ) -> io::Result<()> {
        let now = clock::monotonic();
        let bursts = self.burst_until.is_some_and(|until| now < until);
        let urgent = wanted.is_some_and(|at| at <= now);
        let at_beat = !urgent && !bursts && publisher.is_some_and(Counted::is_worth_it);
        let unwatched = at_beat || self.floods;
        self.mode = match std::mem::replace(&mut self.mode, Mode::Gone) {
            Mode::Watched(stream) if unwatched => Mode::Unwatched(stream.into_std()?),
            Mode::Unwatched(stream) if !unwatched => Mode::Watched(TcpStream::from_std(stream)?),
            unchanged => unchanged,
        };
        Ok(())
    }

    /// Waits for bytes, for the beat, until bytes are `wanted` or until `deadline`. Cancelling it
    /// loses nothing.
    pub(super) async fn read(
        &mut self,
        publisher: Option<&Counted>,
        wanted: Option<Instant>,
        deadline: Instant,
    ) -> io::Result<Arrived> {
        let read = match &mut self.mode {
            Mode::Watched(stream) => {
                let readable = tokio::time::timeout_at(deadline.into(), stream.readable()).await;
                let Ok(readable) = readable else {
                    return Ok(Arrived::Nothing);
                };
                readable?;
                room::read(|room| stream.try_read(room))
            }
            Mode::Unwatched(stream) => {
                if self.more {
                    tokio::task::consume_budget().await;
                } else {
                    let now = clock::monotonic();
                    let beat = publisher.map_or(now, |publisher| publisher.next(now));
                    let beat = wanted.map_or(beat, |wanted| wanted.min(beat));
                    let until = if self.floods { now + NAP } else { beat };
                    tokio::time::sleep_until(until.min(deadline).into()).await;
                }
                room::read(|room| stream.read(room))
            }
            Mode::Tls(stream) => {
                let read = poll_fn(|cx| read_tls(stream, cx));
                match tokio::time::timeout_at(deadline.into(), read).await {
                    Err(_) => return Ok(Arrived::Nothing),
                    // Hung up without TLS's own goodbye, as most encoders do.
                    Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Ok(Arrived::End);
                    }
                    Ok(read) => read,
                }
            }
            Mode::Gone => return Ok(Arrived::End),
        };
        let read = match read {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.more = false;
                self.floods = false;
                return Ok(Arrived::Nothing);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                return Ok(Arrived::Nothing);
            }
            other => other?,
        };
        let full = read.len() >= room::BYTES;
        if full && self.more {
            self.burst_until = Some(clock::monotonic() + BURST);
            self.floods = true;
        }
        self.floods &= read.len() >= NAP_BYTES_MIN;
        self.more = full;
        Ok(match read.is_empty() {
            true => Arrived::End,
            false => Arrived::Bytes(read),
        })
    }

    /// Sends what TLS has enciphered and the socket did not take.
    pub(super) fn flush_now(&mut self) -> io::Result<()> {
        match &mut self.mode {
            Mode::Tls(stream) => now_or_zero(|cx| {
                let flushed = Pin::new(&mut **stream).poll_flush(cx);
                flushed.map_ok(|()| 0)
            })
            .map(drop),
            Mode::Watched(_) | Mode::Unwatched(_) | Mode::Gone => Ok(()),
        }
    }

    /// Writes what the socket takes now; 0 if it takes nothing.
    pub(super) fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.mode {
            Mode::Watched(stream) => stream.try_write(bytes),
            Mode::Unwatched(stream) => stream.write(bytes),
            Mode::Tls(stream) => now_or_zero(|cx| Pin::new(&mut **stream).poll_write(cx, bytes)),
            Mode::Gone => Ok(0),
        };
        match written {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
            other => other,
        }
    }

    /// Writes all, then hangs up and waits for the peer to do so.
    pub(super) async fn say_goodbye(
        self,
        last_words: impl Iterator<Item = bytes::Bytes>,
    ) -> io::Result<()> {
        let mut stream = match self.mode {
            Mode::Watched(stream) => Stream::Plain(stream),
            Mode::Unwatched(stream) => Stream::Plain(TcpStream::from_std(stream)?),
            Mode::Tls(stream) => Stream::Tls(stream),
            Mode::Gone => return Ok(()),
        };
        for bytes in last_words {
            stream.write_all(&bytes).await?;
        }
        stream.shutdown().await?;
        // Unread input would turn our FIN into a reset that overtakes the last words.
        let mut sink = [0; 4096];
        while stream.read(&mut sink).await? > 0 {}
        Ok(())
    }
}

fn read_tls(stream: &mut TlsStream<TcpStream>, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
    let read = room::read(|room| {
        let mut room = ReadBuf::new(room);
        match Pin::new(stream).poll_read(cx, &mut room) {
            Poll::Ready(read) => read.map(|()| room.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        read => Poll::Ready(read),
    }
}

/// What can be done without waiting; 0 if nothing can. Nobody is woken for the rest: it is offered
/// again.
fn now_or_zero(
    poll: impl FnOnce(&mut Context<'_>) -> Poll<io::Result<usize>>,
) -> io::Result<usize> {
    match poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_flood_is_read_without_watching_and_what_follows_it_at_once() {
        const FLOOD: usize = 64 << 20;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let mut peer = std::net::TcpStream::connect(listener.local_addr().expect("it has one"))
            .expect("it listens");
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_nonblocking(true).expect("a socket");
        let stream = TcpStream::from_std(stream).expect("a runtime");
        let (go, told) = std::sync::mpsc::channel();
        let sends = std::thread::spawn(move || {
            let flood: Vec<u8> = (0..FLOOD).map(|nth| (nth / 7) as u8).collect();
            peer.write_all(&flood).expect("all are taken");
            told.recv().expect("it is told to go on");
            peer.write_all(b"and more").expect("they are taken");
            flood
        });
        let mut socket = Socket::new(Stream::Plain(stream));
        let mut took = Vec::new();
        let mut unwatched = 0;
        let mut take = async |socket: &mut Socket, wanted: usize, watched: bool| {
            let deadline = clock::monotonic() + Duration::from_secs(20);
            while took.len() < wanted || (watched && !matches!(socket.mode, Mode::Watched(_))) {
                assert!(
                    clock::monotonic() < deadline,
                    "{} bytes in 20 s",
                    took.len()
                );
                socket.choose(None, None).expect("either is possible");
                unwatched += usize::from(matches!(socket.mode, Mode::Unwatched(_)));
                let soon = clock::monotonic() + Duration::from_millis(10);
                match socket.read(None, None, soon).await.expect("no error") {
                    Arrived::Bytes(bytes) => took.extend_from_slice(&bytes),
                    Arrived::Nothing => {}
                    Arrived::End => panic!("it has not hung up"),
                }
            }
        };
        take(&mut socket, FLOOD, true).await;
        go.send(()).expect("it waits");
        take(&mut socket, FLOOD + b"and more".len(), false).await;
        let mut sent = sends.join().expect("no panic");
        sent.extend_from_slice(b"and more");
        assert!(took == sent, "every byte, in order");
        assert!(unwatched > 0, "it was a flood");
    }
}
