//! Connections: HTTP/1.1 and HTTP/2 without negotiation on one port, all of them bounded.

use super::quiet::Quiet;
use crate::metrics;
use axum::Router;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Header fields of one request; protects memory from requests that are all header.
const HEADERS_MAX: usize = 64;
/// Bytes that are read ahead of one HTTP/1 connection, which no header may exceed.
const HEADER_LEN_MAX: usize = 32 * 1024;
/// Requests at one time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;
/// Bytes of answers that one HTTP/2 stream may have copied and not sent.
const STREAM_SEND_MAX: usize = 256 * 1024;
/// Time between the pings that find out whether an HTTP/2 client is still there, and for the answer.
const PING: Duration = Duration::from_secs(20);
/// Pause after the system refused a connection for want of files or memory: others may end.
const REFUSED_PAUSE: Duration = Duration::from_millis(200);

/// What a listener allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Connections at one time; more wait in the kernel's backlog until one ends.
    pub connections_max: usize,
    /// Time for the header of a request, and so the longest pause between two on one HTTP/1
    /// connection: longer than players wait between two looks at a playlist.
    pub header_timeout: Duration,
    /// Time in which a connection must move at least one byte in one direction.
    pub quiet_timeout: Duration,
    /// Time that answers under way get when the server stops.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 10_000,
            header_timeout: Duration::from_secs(30),
            quiet_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// The other end of a connection: an extension of its requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub SocketAddr);

/// Serves `router` on `listener` until `stop`; then finishes the answers under way, within their
/// time.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, stop: CancellationToken) {
    let server = Server::new(router, limits);
    let permits = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let accepted = async {
            let permit = permits.clone().acquire_owned().await;
            (accept(&listener).await, permit)
        };
        let ((stream, peer), permit) = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        let connection = server.connection(stream, peer);
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(listener);
    server.drain().await;
}

/// The next connection. What the peer did wrong is not our trouble; what the system lacks may come
/// back, and asking at once again would spin.
async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error)
                if matches!(
                    error.kind(),
                    ConnectionAborted | ConnectionReset | Interrupted
                ) => {}
            Err(error) => {
                tracing::warn!("http: cannot accept a connection, trying again: {error}");
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// What serves connections, whoever accepts them.
pub struct Server {
    builder: Builder<TokioExecutor>,
    router: Router,
    limits: Limits,
    graceful: GracefulShutdown,
    abort: CancellationToken,
}

impl Server {
    /// Serves `router`. Of the limits, `connections_max` is for who accepts.
    pub fn new(router: Router, limits: Limits) -> Self {
        Self {
            builder: builder(limits),
            router,
            limits,
            graceful: GracefulShutdown::new(),
            abort: CancellationToken::new(),
        }
    }

    /// Finishes the answers under way, within their time.
    pub async fn drain(self) {
        let Self {
            graceful,
            abort,
            limits,
            ..
        } = self;
        let drained = tokio::time::timeout(limits.drain_timeout, graceful.shutdown()).await;
        if drained.is_err() {
            tracing::info!("http: answers were still under way when their time was over");
        }
        abort.cancel();
    }

    /// Serves one connection to its end, once it is awaited.
    pub fn connection(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
    ) -> impl Future<Output = ()> + Send + 'static {
        // Answers are written whole; waiting for more to fill a packet only delays playlists.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(Quiet::new(stream, self.limits.quiet_timeout));
        let service = self
            .router
            .clone()
            .map_request(move |mut request: Request<_>| {
                request.extensions_mut().insert(Peer(peer));
                request
            })
            .map_response(|response: Response<_>| {
                count(response.status().as_u16());
                response
            });
        let service = TowerToHyperService::new(service);
        let connection = self.builder.serve_connection(io, service);
        let connection = self.graceful.watch(connection.into_owned());
        let abort = self.abort.clone();
        async move {
            let _open = metrics::HTTP_CONNECTIONS.hold();
            tokio::select! {
                result = connection => if let Err(error) = result {
                    tracing::debug!("http: a connection broke: {error}");
                },
                () = abort.cancelled() => {}
            }
        }
    }
}

fn count(status: u16) {
    let class = match status {
        ..200 => &metrics::HTTP_INFORMED,
        200..300 => &metrics::HTTP_OK,
        300..400 => &metrics::HTTP_REDIRECTED,
        400..500 => &metrics::HTTP_REFUSED,
        _ => &metrics::HTTP_FAILED,
    };
    class.add(1);
}

fn builder(limits: Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEADER_LEN_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LEN_MAX as u32)
        .max_send_buf_size(STREAM_SEND_MAX)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}
