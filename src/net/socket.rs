//! A socket that the runtime watches, or that is read at a beat.
//!
//! A publisher sends some 75 small writes a second. Each wakes the runtime, and at hundreds of
//! publishers that is most of what they cost. So when there are many, their sockets are taken out of
//! the runtime's watch and read at a common beat: a few larger reads, many connections at one waking.
//! `benches/compare/compare.py --publishers 200` shows what it is worth.

use super::stream::Stream;
use crate::clock;
use bytes::BytesMut;
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// Time between two readings at a beat: what is received waits in the kernel for at most this.
pub(super) const BEAT: Duration = Duration::from_millis(60);
/// Publishers from which on it pays to read at a beat. Fewer cost nothing worth saving.
const PUBLISHERS_MIN: usize = 8;
/// A peer that sends this much in one beat fills its kernel buffer: it is read when it sends.
const BURST_BYTES: usize = 128 << 10;
/// Room of a read, least and most; it follows what comes.
const READ_BYTES_MIN: usize = 8 << 10;
pub(super) const READ_BYTES_MAX: usize = 256 << 10;

/// How many publish now, and when the beat falls. Shared by all connections.
#[derive(Clone, Debug)]
pub struct Pace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    publishers: AtomicUsize,
    epoch: Instant,
}

/// One publisher, counted until it is dropped.
#[derive(Debug)]
pub(super) struct Counted(Pace);

impl Default for Pace {
    fn default() -> Self {
        Self(Arc::new(Inner {
            publishers: AtomicUsize::new(0),
            epoch: clock::monotonic(),
        }))
    }
}

impl Pace {
    pub(super) fn count(&self) -> Counted {
        self.0.publishers.fetch_add(1, Ordering::Relaxed);
        Counted(self.clone())
    }

    fn is_worth_it(&self) -> bool {
        self.0.publishers.load(Ordering::Relaxed) >= PUBLISHERS_MIN
    }

    /// The next beat after `now`: the same for all, so that one waking serves many.
    fn next(&self, now: Instant) -> Instant {
        let since = now.saturating_duration_since(self.0.epoch).as_nanos();
        let beats = since / BEAT.as_nanos() + 1;
        let until = u64::try_from(beats * BEAT.as_nanos()).unwrap_or(u64::MAX);
        self.0.epoch + Duration::from_nanos(until)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.publishers.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A socket and how it is read.
pub(super) struct Socket {
    mode: Mode,
    room: usize,
}

enum Mode {
    Watched(TcpStream),
    AtBeat(std::net::TcpStream),
    /// Always watched: what is in the kernel's buffer says little about what is in a record.
    Tls(Box<TlsStream<TcpStream>>),
    /// Between the other two, or when changing over failed.
    Gone,
}

/// What a reading brought.
pub(super) enum Arrived {
    /// Bytes, at least one.
    Bytes(BytesMut),
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
            room: READ_BYTES_MIN,
        }
    }

    /// Reads at a beat if that pays and nothing urgent is expected, else as soon as bytes come.
    pub(super) fn choose(&mut self, pace: &Pace, urgent: bool) -> io::Result<()> {
        let beat = !urgent && self.room < BURST_BYTES && pace.is_worth_it();
        self.mode = match std::mem::replace(&mut self.mode, Mode::Gone) {
            Mode::Watched(stream) if beat => Mode::AtBeat(stream.into_std()?),
            Mode::AtBeat(stream) if !beat => Mode::Watched(TcpStream::from_std(stream)?),
            unchanged => unchanged,
        };
        Ok(())
    }

    /// Waits for bytes, for the beat, or until `deadline`. Cancelling it loses nothing.
    pub(super) async fn read(&mut self, pace: &Pace, deadline: Instant) -> io::Result<Arrived> {
        match &mut self.mode {
            Mode::Watched(stream) => {
                let readable = tokio::time::timeout_at(deadline.into(), stream.readable()).await;
                let Ok(readable) = readable else {
                    return Ok(Arrived::Nothing);
                };
                readable?;
                // Only now: a connection that waits holds no buffer.
                let mut buffer = BytesMut::with_capacity(self.room);
                let read = match stream.try_read_buf(&mut buffer) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        return Ok(Arrived::Nothing);
                    }
                    other => other?,
                };
                self.fit(read);
                Ok(if read == 0 {
                    Arrived::End
                } else {
                    Arrived::Bytes(buffer)
                })
            }
            Mode::AtBeat(stream) => {
                let next = pace.next(clock::monotonic()).min(deadline);
                tokio::time::sleep_until(next.into()).await;
                let mut buffer = BytesMut::zeroed(self.room);
                let mut read = 0;
                loop {
                    match stream.read(&mut buffer[read..]) {
                        Ok(0) if read == 0 => return Ok(Arrived::End),
                        // An end behind bytes is seen again at the next reading.
                        Ok(0) => break,
                        Ok(more) => read += more,
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                        Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                        Err(error) if read == 0 => return Err(error),
                        Err(_) => break,
                    }
                    if read < buffer.len() || buffer.len() >= READ_BYTES_MAX {
                        break;
                    }
                    buffer.resize(buffer.len() * 2, 0);
                }
                self.fit(read);
                buffer.truncate(read);
                Ok(if read == 0 {
                    Arrived::Nothing
                } else {
                    Arrived::Bytes(buffer)
                })
            }
            Mode::Tls(stream) => {
                let mut buffer = BytesMut::with_capacity(self.room);
                let read = stream.read_buf(&mut buffer);
                let read = match tokio::time::timeout_at(deadline.into(), read).await {
                    Err(_) => return Ok(Arrived::Nothing),
                    // Hung up without TLS's own goodbye, as most encoders do.
                    Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
                    Ok(read) => read?,
                };
                self.fit(read);
                Ok(match read {
                    0 => Arrived::End,
                    _ => Arrived::Bytes(buffer),
                })
            }
            Mode::Gone => Ok(Arrived::End),
        }
    }

    /// Sends what TLS has enciphered and the socket did not take.
    pub(super) fn flush_now(&mut self) -> io::Result<()> {
        match &mut self.mode {
            Mode::Tls(stream) => now_or_zero(|cx| {
                let flushed = Pin::new(&mut **stream).poll_flush(cx);
                flushed.map_ok(|()| 0)
            })
            .map(drop),
            Mode::Watched(_) | Mode::AtBeat(_) | Mode::Gone => Ok(()),
        }
    }

    /// Writes what the socket takes now; 0 if it takes nothing.
    pub(super) fn write_now(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match &mut self.mode {
            Mode::Watched(stream) => stream.try_write(bytes),
            Mode::AtBeat(stream) => stream.write(bytes),
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
            Mode::AtBeat(stream) => Stream::Plain(TcpStream::from_std(stream)?),
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

    /// Room for the next read: twice what came if it was full, less if it stays half empty.
    fn fit(&mut self, read: usize) {
        if read >= self.room {
            self.room = (read * 2).min(READ_BYTES_MAX);
        } else if read < self.room / 4 {
            self.room = (self.room / 2).max(READ_BYTES_MIN);
        }
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
