//! What a connection speaks, by its first byte, which stays where it is.

use std::io;
use std::time::Duration;
use tokio::net::TcpStream;

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Speaks {
    /// The version byte of RTMP's handshake.
    Rtmp,
    /// A letter: the method of an HTTP request.
    Http,
    /// Neither.
    Neither,
}

/// Waits for the first byte, as long as `within`; a peer that hangs up or says nothing is an error.
pub async fn speaks(stream: &TcpStream, within: Duration) -> io::Result<Speaks> {
    let mut first = [0];
    let read = tokio::time::timeout(within, stream.peek(&mut first)).await;
    match read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(of(first[0])),
    }
}

fn of(byte: u8) -> Speaks {
    match byte {
        3 => Speaks::Rtmp,
        byte if byte.is_ascii_alphabetic() => Speaks::Http,
        _ => Speaks::Neither,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    const WITHIN: Duration = Duration::from_millis(200);

    async fn check(sent: &[u8], expected: Result<Speaks, io::ErrorKind>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut peer = TcpStream::connect(address).await.expect("open");
        let (mut ours, _) = listener.accept().await.expect("open");
        peer.write_all(sent).await.expect("open");
        let found = speaks(&ours, WITHIN).await.map_err(|error| error.kind());
        assert_eq!(found, expected, "{sent:?}");
        if !sent.is_empty() {
            let mut all = vec![0; sent.len()];
            ours.read_exact(&mut all).await.expect("nothing is lost");
            assert_eq!(all, sent);
        }
    }

    #[tokio::test]
    async fn the_first_byte_tells_and_stays() {
        check(&[3, 0, 0], Ok(Speaks::Rtmp)).await;
        check(b"GET / HTTP/1.1", Ok(Speaks::Http)).await;
        check(b"PRI * HTTP/2.0", Ok(Speaks::Http)).await;
        check(&[0x16, 3, 1], Ok(Speaks::Neither)).await;
        check(&[6], Ok(Speaks::Neither)).await;
        check(b"", Err(io::ErrorKind::TimedOut)).await;
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(TcpStream::connect(address).await.expect("open"));
        let (ours, _) = listener.accept().await.expect("open");
        let error = speaks(&ours, WITHIN).await.expect_err("nobody");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
