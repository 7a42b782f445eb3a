//! Accepts connections, as many as there are places, and finds out what each of them is.
//!
//! [`Listener::accept`] never waits for a peer. What a peer has to say first (a proxy's preface, a
//! TLS handshake) is heard by [`Arrival::enter`], in the connection's own task and within a time.

use super::first::{First, first};
use super::lobby::{Lobby, NoPlace, Place, Progress, Seats};
use super::proxy::{self, Found, Malformed};
use super::stream::Stream;
use ipnet::IpNet;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Connections that the kernel holds until they are accepted.
const BACKLOG: i32 = 1024;
/// Rest after an accept that failed, so that a process without descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A vanished peer is probed after this.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// Pause between two looks at a preface that comes in pieces.
const PREFACE_PAUSE: Duration = Duration::from_millis(10);
/// Lines about connections without a place come at most this often.
const REFUSED_INTERVAL: Duration = Duration::from_secs(10);

/// Networks that can be changed while they are used. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub struct Nets(Arc<RwLock<Vec<IpNet>>>);

impl Nets {
    /// These.
    pub fn new(nets: Vec<IpNet>) -> Self {
        Self(Arc::new(RwLock::new(nets)))
    }

    /// These from now on.
    pub fn set(&self, nets: Vec<IpNet>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = nets;
    }

    /// Whether `address` is in one of them.
    pub fn contain(&self, address: IpAddr) -> bool {
        let nets = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let address = address.to_canonical();
        nets.iter().any(|net| net.contains(&address))
    }
}

/// What is spoken at a listener.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expects {
    /// RTMP, which finds out itself what is none.
    Rtmp,
    /// HTTP.
    Http,
    /// Either: whoever accepts looks at the first byte.
    Either,
}

/// A listening socket with places for connections.
pub struct Listener {
    socket: TcpListener,
    lobby: Lobby,
    expects: Expects,
    tls: Option<TlsAcceptor>,
    proxies: Nets,
    refused: u64,
    told: Option<Instant>,
}

/// A connection of which nothing is known yet.
pub struct Arrival {
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    lobby: Lobby,
    expects: Expects,
    tls: Option<TlsAcceptor>,
    proxied: bool,
    since: Instant,
}

/// A connection that has its place until it is dropped.
pub struct Accepted {
    /// Its bytes.
    pub stream: Stream,
    /// The other end, as a proxy that is believed told it.
    pub peer: SocketAddr,
    /// Its place among the connections allowed.
    pub place: Place,
    /// When it was accepted.
    pub since: Instant,
}

/// Why a connection was closed before it began.
#[derive(Debug, thiserror::Error)]
pub enum NoEntry {
    /// A ClientHello where none is expected.
    #[error("the peer speaks TLS on a port without it")]
    Tls,
    /// Anything else where one is expected.
    #[error("the peer speaks {0} on a TLS port")]
    Plain(First),
    /// Another protocol.
    #[error("the peer speaks {0} on an HTTP port")]
    NotHttp(First),
    /// A trusted proxy is not understood.
    #[error("the proxy sends {0}")]
    Proxy(#[from] Malformed),
    /// The address that a proxy tells has enough connections.
    #[error(transparent)]
    NoPlace(#[from] NoPlace),
    /// The handshake failed.
    #[error("TLS: {0}")]
    Handshake(io::Error),
    /// The peer hung up or the socket failed.
    #[error("connection lost: {0}")]
    Lost(#[from] io::Error),
    /// Nothing, or not enough, within the time.
    #[error("nothing within {} s of connecting", .0.as_secs())]
    Silent(Duration),
    /// It made room for another.
    #[error("it made room for another: too many connections wait")]
    Displaced,
}

impl NoEntry {
    /// Writes its line: what the peer said is worth a warning, what it did not say is not.
    fn log(&self, remote: SocketAddr) {
        match self {
            Self::Lost(_) | Self::Silent(_) | Self::Displaced => {
                tracing::debug!(%remote, error = %self, "closed before it began");
            }
            _ => tracing::warn!(%remote, error = %self, "closed before it began"),
        }
    }
}

impl Listener {
    /// Listens on `address` as [`listen`] does, with so many places.
    pub fn bind(address: SocketAddr, expects: Expects, seats: Seats) -> io::Result<Self> {
        Self::with_lobby(address, expects, Lobby::new(seats))
    }

    /// The same with the places of another listener: plain and TLS share theirs.
    pub fn with_lobby(address: SocketAddr, expects: Expects, lobby: Lobby) -> io::Result<Self> {
        Ok(Self {
            socket: listen(address)?,
            lobby,
            expects,
            tls: None,
            proxies: Nets::default(),
            refused: 0,
            told: None,
        })
    }

    /// Accepts only TLS.
    pub fn with_tls(mut self, tls: TlsAcceptor) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Believes these when they tell whose connection they pass on.
    pub fn with_proxies(mut self, proxies: Nets) -> Self {
        self.proxies = proxies;
        self
    }

    /// Where it listens, with the port that was chosen for port 0.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The room that its connections are in.
    pub fn lobby(&self) -> &Lobby {
        &self.lobby
    }

    /// The networks that it believes.
    pub fn proxies(&self) -> &Nets {
        &self.proxies
    }

    /// The next connection that has a place; others are closed. When the process has no descriptor
    /// left it says so and tries again.
    pub async fn accept(&mut self) -> Arrival {
        loop {
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) if is_the_peers(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let peer = unmapped(peer);
            let proxied = self.proxies.contain(peer.ip());
            let place = match self.lobby.enter(peer.ip(), proxied) {
                Ok(place) => place,
                Err(error) => {
                    self.tell(peer, error);
                    continue;
                }
            };
            tune(&stream);
            return Arrival {
                stream,
                peer,
                place,
                lobby: self.lobby.clone(),
                expects: self.expects,
                tls: self.tls.clone(),
                proxied,
                since: crate::clock::monotonic(),
            };
        }
    }

    fn tell(&mut self, remote: SocketAddr, why: NoPlace) {
        self.refused += 1;
        let now = crate::clock::monotonic();
        let recent = |at| now.saturating_duration_since(at) < REFUSED_INTERVAL;
        if !self.told.is_some_and(recent) {
            tracing::warn!(%remote, %why, connections = self.refused, "closed: no place for it");
            (self.told, self.refused) = (Some(now), 0);
        }
    }
}

impl Arrival {
    /// The other end, as far as it is known.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Hears what the peer has to say before its protocol begins, at most so long. `None`: it was closed,
    /// and the log says why.
    pub async fn enter(self, within: Duration) -> Option<Accepted> {
        let (remote, lobby) = (self.peer, self.lobby.clone());
        match self.try_enter(within).await {
            Ok(accepted) => Some(accepted),
            Err(error) => {
                if lobby.may_tell() {
                    error.log(remote);
                }
                None
            }
        }
    }

    async fn try_enter(self, within: Duration) -> Result<Accepted, NoEntry> {
        let displaced = self.place.displaced();
        tokio::select! {
            entered = tokio::time::timeout(within, self.hear()) => {
                entered.map_err(|_| NoEntry::Silent(within))?
            }
            () = displaced => Err(NoEntry::Displaced),
        }
    }

    async fn hear(mut self) -> Result<Accepted, NoEntry> {
        first(&self.stream).await?;
        self.place.reached(Progress::Spoke);
        if self.proxied
            && let Some(client) = preface(&mut self.stream).await?
        {
            self.peer = unmapped(client);
            self.place.belongs_to(self.peer.ip())?;
        }
        let stream = match self.tls {
            Some(tls) => match first(&self.stream).await? {
                First::Tls => {
                    let stream = tls.accept(self.stream).await.map_err(NoEntry::Handshake)?;
                    Stream::Tls(Box::new(stream))
                }
                other => return Err(NoEntry::Plain(other)),
            },
            None => {
                if self.expects == Expects::Http {
                    match first(&self.stream).await? {
                        First::Http => {}
                        First::Tls => return Err(NoEntry::Tls),
                        other => return Err(NoEntry::NotHttp(other)),
                    }
                }
                Stream::Plain(self.stream)
            }
        };
        Ok(Accepted {
            stream,
            peer: self.peer,
            place: self.place,
            since: self.since,
        })
    }
}

/// Takes a proxy's preface off the stream, if there is one.
async fn preface(stream: &mut TcpStream) -> Result<Option<SocketAddr>, NoEntry> {
    let mut bytes = [0; proxy::PREFACE_MAX];
    loop {
        let read = stream.peek(&mut bytes).await?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
        }
        match proxy::read(bytes.get(..read).unwrap_or_default())? {
            Found::None => return Ok(None),
            // What was peeked at is there at the next look, too: no readiness tells of the rest.
            Found::Begun => tokio::time::sleep(PREFACE_PAUSE).await,
            Found::Whole(preface) => {
                let taken = bytes.get_mut(..preface.len).unwrap_or_default();
                stream.read_exact(taken).await?;
                return Ok(preface.client);
            }
        }
    }
}

/// A connection that was gone before it was accepted.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | Interrupted
    )
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
