//! A stream that breaks when nothing moves: a peer that neither reads nor writes gives its
//! connection back, at whatever point of the protocol it fell silent.

use crate::metrics;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A peer that is written to takes at least so much within the limit: one that reads a byte now and
/// then holds its answer no longer than one that does not read at all.
const TAKEN_MIN: u64 = 64 << 10;

pub(super) struct Quiet<S> {
    stream: S,
    limit: Duration,
    timer: Pin<Box<Sleep>>,
    /// What the timer waits for, from the first wait after that happened.
    waits: Waits,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    /// It does not run.
    No,
    /// For a byte.
    ForMore,
    /// For so many bytes to be taken.
    ForRoom(u64),
}

impl<S> Quiet<S> {
    pub(super) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            timer: Box::pin(sleep(limit)),
            waits: Waits::ForMore,
        }
    }

    /// Passes on what reading said, unless it waited too long.
    fn watch_read(
        &mut self,
        polled: Poll<io::Result<()>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if polled.is_pending() {
            return self.wait(Waits::ForMore, cx);
        }
        // Bytes from a peer that is to take some change nothing.
        if self.waits == Waits::ForMore {
            self.waits = Waits::No;
        }
        polled
    }

    /// Passes on what writing said, unless the peer takes too little.
    fn watch_write(
        &mut self,
        polled: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let Poll::Ready(written) = polled else {
            return self.wait(Waits::ForRoom(TAKEN_MIN), cx);
        };
        let taken = *written.as_ref().unwrap_or(&0) as u64;
        self.waits = match self.waits {
            Waits::ForRoom(left) if taken < left => Waits::ForRoom(left - taken),
            _ => Waits::No,
        };
        Poll::Ready(written)
    }

    fn wait<T>(&mut self, waits: Waits, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        let begins = match (self.waits, waits) {
            (Waits::No, _) => true,
            // Silence is no fault of who waits for us, and the other way round.
            (Waits::ForMore, Waits::ForRoom(_)) => true,
            (Waits::ForMore | Waits::ForRoom(_), _) => false,
        };
        if begins {
            self.timer.set(sleep(self.limit));
            self.waits = waits;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Quiet<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.watch_read(polled, cx)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Quiet<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        count(&polled);
        self.watch_write(polled, cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        count(&polled);
        self.watch_write(polled, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        // Whoever writes flushes when everything was taken.
        if flushed.is_ready() && matches!(self.waits, Waits::ForRoom(_)) {
            self.waits = Waits::No;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn count(written: &Poll<io::Result<usize>>) {
    if let Poll::Ready(Ok(bytes)) = written {
        metrics::HTTP_SENT.add(*bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn silence_breaks_and_any_byte_helps() {
        let (mut peer, ours) = duplex(16);
        let mut quiet = Quiet::new(ours, Duration::from_secs(60));
        for _ in 0..5 {
            let (read, _) = tokio::join!(quiet.read_u8(), async {
                tokio::time::sleep(Duration::from_secs(50)).await;
                peer.write_u8(1).await.expect("open");
            });
            assert_eq!(read.expect("within time"), 1);
        }
        let error = quiet.read_u8().await.expect_err("silence");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_too_slowly_is_left() {
        let (mut peer, ours) = duplex(16);
        let mut quiet = Quiet::new(ours, Duration::from_secs(60));
        let reading = tokio::spawn(async move {
            while peer.read_u8().await.is_ok() {
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        });
        let error = quiet
            .write_all(&[0; 1000])
            .await
            .expect_err("a byte a second");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(quiet);
        reading.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_does_not_read_is_left() {
        let (_peer, ours) = duplex(16);
        let mut quiet = Quiet::new(ours, Duration::from_secs(60));
        let error = quiet.write_all(&[0; 100]).await.expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
