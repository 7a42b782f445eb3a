//! Connections: HTTP/1.1 and HTTP/2 on one port, by what the client begins with; all of them bounded.

use super::forwarded::client;
use super::held::Held;
use super::problem::Problem;
use super::quiet::Quiet;
use super::rate::Rate;
use crate::clock;
use crate::metrics;
use crate::net::{Accepted, Listener, Nets, Progress};
use crate::store::PIECE_LEN;
use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::header::{HeaderValue, RETRY_AFTER};
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Header fields of one request; protects memory from requests that are all header.
const HEADERS_MAX: usize = 64;
/// Bytes that are read ahead of one HTTP/1 connection, which no header may exceed.
const HEADER_LEN_MAX: usize = 16 * 1024;
/// Requests at one time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 64;
/// Bytes of answers that one HTTP/2 stream may have copied and not sent.
const STREAM_SEND_MAX: usize = 64 * 1024;
/// Bytes of bodies that an HTTP/2 client may send before somebody reads them: no request has more.
const WINDOW: u32 = 64 * 1024;
/// What an answer under way holds beside a segment that is in memory anyway: what one stream may have
/// copied, and a piece of what is read for it. Before that, the request and its body take no more.
pub const ANSWER_BYTES_MAX: usize = STREAM_SEND_MAX + PIECE_LEN as usize;
/// What a connection holds beside its answers: what is read ahead, what is written, its task.
pub const CONNECTION_BYTES_MAX: usize = 2 * HEADER_LEN_MAX + 32 * 1024;
/// Time between the pings that find out whether an HTTP/2 client is still there, and for the answer.
const PING: Duration = Duration::from_secs(20);

/// What a listener allows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
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
            header_timeout: Duration::from_secs(30),
            quiet_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(5),
        }
    }
}

/// The other end of a connection: an extension of its requests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Peer(pub SocketAddr);

/// Who is let in, and how often.
#[derive(Clone)]
pub struct Front {
    /// Requests of one address.
    pub rate: Rate,
    /// Who is believed to tell whose request it passes on.
    pub proxies: Nets,
    /// Answers under way at one time.
    pub answers: Arc<Semaphore>,
}

impl Default for Front {
    fn default() -> Self {
        Self {
            rate: Rate::default(),
            proxies: Nets::default(),
            answers: Arc::new(Semaphore::new(10_000)),
        }
    }
}

/// Serves `router` on `listener` until `stop`; then finishes the answers under way, within their
/// time.
pub async fn serve(
    mut listener: Listener,
    router: Router,
    limits: Limits,
    front: Front,
    stop: CancellationToken,
) {
    let server = Server::new(router, limits, front);
    // As many as the listener has places, at most.
    let mut entering = JoinSet::new();
    loop {
        let entered = tokio::select! {
            arrival = listener.accept() => {
                entering.spawn(arrival.enter(limits.header_timeout));
                continue;
            }
            Some(Ok(entered)) = entering.join_next() => entered,
            () = stop.cancelled() => break,
        };
        if let Some(accepted) = entered {
            tokio::spawn(server.connection(accepted));
        }
    }
    drop(listener);
    server.drain().await;
}

/// What serves connections, whoever accepts them.
pub struct Server {
    builder: Builder<TokioExecutor>,
    router: Router,
    limits: Limits,
    front: Front,
    graceful: GracefulShutdown,
    abort: CancellationToken,
}

impl Server {
    /// Serves `router`.
    pub fn new(router: Router, limits: Limits, front: Front) -> Self {
        Self {
            builder: builder(limits),
            router,
            limits,
            front,
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
    pub fn connection(&self, accepted: Accepted) -> impl Future<Output = ()> + Send + 'static {
        let Accepted {
            stream,
            peer,
            place,
            ..
        } = accepted;
        let io = TokioIo::new(Quiet::new(stream, self.limits.quiet_timeout));
        let displaced = place.displaced();
        let (router, front) = (self.router.clone(), self.front.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            place.reached(Progress::Settled);
            let client = client(peer, request.headers(), &front.proxies);
            let taken = front.rate.take(client.ip(), clock::monotonic());
            let room = front.answers.clone().try_acquire_owned();
            let router = router.clone();
            async move {
                let answered = match (taken, room) {
                    (Err(wait), _) => Ok(too_many(wait)),
                    (Ok(()), Err(_)) => Ok(too_busy()),
                    (Ok(()), Ok(room)) => {
                        request.extensions_mut().insert(Peer(client));
                        let answered = router.oneshot(request).await;
                        answered.map(|answer| answer.map(|body| Held::body(body, room)))
                    }
                };
                if let Ok(response) = &answered {
                    count(response.status().as_u16());
                }
                answered
            }
        });
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
                () = displaced => tracing::debug!("http: a connection made room for another"),
            }
        }
    }
}

fn too_busy() -> Response {
    let detail = "as many answers are under way as may be; try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
        .into_response()
}

fn too_many(wait: Duration) -> Response {
    let detail = "too many requests from this address; try again when Retry-After says";
    let seconds = wait.as_secs_f64().ceil().max(1.0);
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
        .with(RETRY_AFTER, HeaderValue::from(seconds as u64))
        .into_response()
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
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .keep_alive_interval(PING)
        .keep_alive_timeout(PING);
    builder
}
