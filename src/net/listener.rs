//! Accepts connections, as many at a time as there are permits.

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// Rest after an accept that failed, so that a process without descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A vanished peer is probed after this.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// A listening socket with a limit of connections.
pub struct Listener {
    socket: TcpListener,
    permits: Arc<Semaphore>,
}

/// A connection that counts against the limit until it is dropped.
pub struct Accepted {
    /// The socket.
    pub stream: TcpStream,
    /// The other end.
    pub peer: SocketAddr,
    /// Its place among the connections allowed.
    pub permit: OwnedSemaphorePermit,
}

impl Listener {
    /// Listens on `address` as [`listen`] does.
    pub fn bind(address: SocketAddr, connections_max: usize) -> io::Result<Self> {
        Ok(Self {
            socket: listen(address)?,
            permits: Arc::new(Semaphore::new(connections_max)),
        })
    }

    /// Where it listens, with the port that was chosen for port 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection. Beyond the limit it waits; when the process has no descriptor left it
    /// says so and tries again.
    pub async fn accept(&self) -> Accepted {
        loop {
            let Ok(permit) = self.permits.clone().acquire_owned().await else {
                // The semaphore is never closed.
                std::future::pending::<()>().await;
                continue;
            };
            match self.socket.accept().await {
                Ok((stream, peer)) => {
                    tune(&stream);
                    return Accepted {
                        stream,
                        peer: unmapped(peer),
                        permit,
                    };
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

/// A listening socket; an IPv6 wildcard takes IPv4 as well, and a machine without IPv6 gets the IPv4
/// wildcard instead.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match bind(address) {
        Err(error) if address.is_ipv6() && address.ip().is_unspecified() && no_ipv6(&error) => {
            bind(SocketAddr::from(([0, 0, 0, 0], address.port())))?
        }
        other => other?,
    };
    TcpListener::from_std(socket.into())
}

fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn no_ipv6(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::AddrNotAvailable
    ) || error.raw_os_error() == Some(97) // EAFNOSUPPORT
}

fn tune(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE / 3);
    // Either may fail on a socket that is gone already; reading from it will tell.
    let _ = SockRef::from(stream).set_tcp_keepalive(&keepalive);
    let _ = stream.set_nodelay(true);
}

/// `::ffff:192.0.2.1` as `192.0.2.1`.
fn unmapped(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}
