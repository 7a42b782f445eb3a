//! What a connection speaks, by its first byte, which stays where it is.

use std::fmt;
use std::io;
use tokio::net::TcpStream;

/// What a connection speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum First {
    /// The version byte of RTMP's handshake.
    Rtmp,
    /// A letter: the method of an HTTP request.
    Http,
    /// A TLS record that begins a handshake.
    Tls,
    /// None of them.
    Other(u8),
}

/// Waits for the first byte; a peer that hangs up is an error.
pub async fn first(stream: &TcpStream) -> io::Result<First> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(of(first[0])),
    }
}

const fn of(byte: u8) -> First {
    match byte {
        3 => First::Rtmp,
        0x16 => First::Tls,
        byte if byte.is_ascii_alphabetic() => First::Http,
        other => First::Other(other),
    }
}

impl fmt::Display for First {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rtmp => f.write_str("RTMP"),
            Self::Http => f.write_str("HTTP"),
            Self::Tls => f.write_str("TLS"),
            Self::Other(byte) => write!(f, "something that begins with {byte:#04x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    async fn check(sent: &[u8], expected: First) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let mut peer = TcpStream::connect(address).await.expect("open");
        let (mut ours, _) = listener.accept().await.expect("open");
        peer.write_all(sent).await.expect("open");
        assert_eq!(first(&ours).await.expect("open"), expected, "{sent:?}");
        let mut all = vec![0; sent.len()];
        ours.read_exact(&mut all).await.expect("nothing is lost");
        assert_eq!(all, sent);
    }

    #[tokio::test]
    async fn the_first_byte_tells_and_stays() {
        check(&[3, 0, 0], First::Rtmp).await;
        check(b"GET / HTTP/1.1", First::Http).await;
        check(b"PRI * HTTP/2.0", First::Http).await;
        check(&[0x16, 3, 1], First::Tls).await;
        check(&[6], First::Other(6)).await;
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(TcpStream::connect(address).await.expect("open"));
        let (ours, _) = listener.accept().await.expect("open");
        let error = first(&ours).await.expect_err("nobody");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
