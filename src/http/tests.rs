//! The face as clients see it: raw requests over TCP.

use super::*;
use crate::catalog::Catalog;
use crate::control::auth::{Policy, Presented};
use crate::control::journal::Line;
use crate::control::live::{Claim, Publisher, SecondPublisher};
use crate::control::{Control, Settings};
use crate::key::{Container, RecordingKey};
use crate::media::track::VideoCodec;
use crate::media::{self, Segment, Timestamp, Tracks, VideoConfig, WallTime};
use crate::net::{Expects, Listener, Nets, Seats};
use crate::store::Store;
use crate::store::disk::{self, Disk};
use bytes::Bytes;
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const CACHE_BYTES: u64 = 1024 * 1024;
const SEATS: Seats = Seats {
    all: 100,
    address: 100,
    strangers: 100,
};
/// Too large for the cache: 64 KiB is its sixteenth.
const LARGE: usize = 300_000;

struct World {
    addr: SocketAddr,
    control: Control,
    key: RecordingKey,
    stop: CancellationToken,
    server: JoinHandle<()>,
    claim: Mutex<Option<Claim>>,
    _dirs: [tempfile::TempDir; 2],
}

struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(": "));
        lines.find_map(|(key, value)| key.eq_ignore_ascii_case(name).then_some(value))
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }
}

fn pattern(len: usize) -> Bytes {
    (0..len)
        .map(|at| (at % 251) as u8)
        .collect::<Vec<_>>()
        .into()
}

/// A server with one recording that is being made: segments 0 (10 bytes), 1 (large) and 2 (nothing).
async fn world(limits: Limits) -> World {
    world_with(limits, Front::default(), SEATS).await
}

async fn world_with(limits: Limits, front: Front, seats: Seats) -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let disk = Disk::new(
        dir.path(),
        &dir.path().join(".running"),
        disk::Settings::default(),
    )
    .expect("a disk");
    let settings = Settings {
        publish: Policy::Open,
        node: "test".to_owned(),
        window_segments: 6,
        reconnect_window: Duration::from_secs(30),
        second_publisher: SecondPublisher::Takeover,
        cache_bytes: CACHE_BYTES,
        playlist_bytes: 1 << 20,
    };
    let store = Store::local(dir.path()).expect("a store");
    let books = tempfile::tempdir().expect("a directory");
    let catalog = Catalog::sqlite(&books.path().join("catalog.sqlite")).await;
    let opened = Control::open(settings, store.clone(), disk, catalog.expect("a catalog"));
    let control = opened.await.expect("opens");
    let (claim, key) = push(&control, "a~b").await;
    for (number, len) in [(0, 10), (1, LARGE), (2, 0)] {
        let object = key.segment(number, Container::Ts);
        store.put(&object, pattern(len)).await.expect("room");
        let segment = segment(number, len as u64);
        let lines = Line::segment(&segment, 2).to_text();
        let writer = claim.disk_writer();
        writer
            .line(key.journal(), lines, |done| assert!(done.is_ok()))
            .await;
        writer.flush().await;
        claim.recording().list(segment, 2);
    }
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = Listener::bind(any, Expects::Http, seats).expect("a port");
    let addr = listener.local_addr().expect("bound");
    let stop = CancellationToken::new();
    let server = tokio::spawn(serve(
        listener,
        router(control.clone()),
        limits,
        front,
        stop.clone(),
    ));
    World {
        addr,
        control,
        key,
        stop,
        server,
        claim: Mutex::new(Some(claim)),
        _dirs: [dir, books],
    }
}

/// A push that begins, with the tracks that a camera has.
async fn push(control: &Control, name: &str) -> (Claim, RecordingKey) {
    let grant = control
        .may_publish("live", name, &Presented::default(), [192, 0, 2, 1].into())
        .await
        .expect("open to all");
    let publisher = Publisher::default();
    let claim = control
        .claim(&grant, &publisher)
        .await
        .expect("nobody else");
    claim.recording().set_tracks(&Tracks {
        video: Some(Arc::new(VideoConfig {
            codec: VideoCodec::H264,
            parameter_sets: Vec::new(),
            width: 1280,
            height: 720,
            frame_rate: None,
            codec_string: "avc1.64001f".to_owned(),
        })),
        audio: None,
    });
    let key = claim.recording().key().clone();
    (claim, key)
}

fn segment(number: u64, size: u64) -> Segment {
    Segment {
        number,
        start: Timestamp::from_ms(2_000 * number as i64),
        program_date_time: WallTime::from_unix_ms(2_000 * number as i64),
        duration: media::Duration::from_secs(2),
        size,
        discontinuity: false,
        independent: true,
        gap: false,
        parts: Vec::new(),
    }
}

impl World {
    /// The push is over.
    fn leave(&self) {
        self.claim.lock().expect("not poisoned").take();
    }

    /// Asks for `path`; `{r}` in it is the recording's folder. `more` is header lines.
    async fn ask(&self, method: &str, path: &str, more: &str) -> Answer {
        let path = path.replace("{r}", &format!("/hls/{}", self.key));
        let mut stream = TcpStream::connect(self.addr).await.expect("a connection");
        let request =
            format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{more}\r\n");
        stream.write_all(request.as_bytes()).await.expect("open");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        parse(&answer)
    }

    async fn get(&self, path: &str, more: &str) -> Answer {
        self.ask("GET", path, more).await
    }
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8(answer[..end].to_vec()).expect("text");
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|s| s.parse().ok())
        .expect("a status");
    Answer {
        status,
        head,
        body: answer[end + 4..].to_vec(),
    }
}

const SEGMENT: &str = "{r}/0000/00000000.ts";

#[tokio::test]
async fn ranges() {
    let world = world(Limits::default()).await;
    let check = async |path, range: &str, expected: (u16, Option<&str>, usize, usize)| {
        let answer = world.get(path, &format!("Range: {range}\r\n")).await;
        let (status, part, from, to) = expected;
        assert_eq!(answer.status, status, "{path} {range}");
        assert_eq!(answer.header("content-range"), part, "{path} {range}");
        if status != 416 {
            assert_eq!(answer.body, pattern(to)[from..], "{path} {range}");
            let len = (to - from).to_string();
            assert_eq!(answer.header("content-length"), Some(len.as_str()));
            assert_eq!(answer.header("content-type"), Some("video/mp2t"));
            assert_eq!(answer.header("accept-ranges"), Some("bytes"));
        }
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    };
    check(SEGMENT, "bytes=0-0", (206, Some("bytes 0-0/10"), 0, 1)).await;
    check(SEGMENT, "bytes=0-", (206, Some("bytes 0-9/10"), 0, 10)).await;
    check(SEGMENT, "bytes=-5", (206, Some("bytes 5-9/10"), 5, 10)).await;
    check(SEGMENT, "bytes=4-99", (206, Some("bytes 4-9/10"), 4, 10)).await;
    check(SEGMENT, "bytes=10-", (416, Some("bytes */10"), 0, 0)).await;
    check(SEGMENT, "bytes=5-2", (200, None, 0, 10)).await;
    check(SEGMENT, "bytes=0-0,2-3", (200, None, 0, 10)).await;
    let large = "{r}/0000/00000001.ts";
    check(
        large,
        "bytes=5-262200",
        (206, Some("bytes 5-262200/300000"), 5, 262_201),
    )
    .await;
    check(
        large,
        "bytes=-1",
        (206, Some("bytes 299999-299999/300000"), 299_999, LARGE),
    )
    .await;
    check(large, "bytes=300000-", (416, Some("bytes */300000"), 0, 0)).await;
    check(large, "none", (200, None, 0, LARGE)).await;
    let empty = "{r}/0000/00000002.ts";
    check(empty, "none", (200, None, 0, 0)).await;
    check(empty, "bytes=0-", (416, Some("bytes */0"), 0, 0)).await;
}

#[tokio::test]
async fn conditions() {
    let world = world(Limits::default()).await;
    let media = "{r}/media.m3u8";
    for path in [SEGMENT, media] {
        let plain = world.get(path, "").await;
        let etag = plain.header("etag").expect("a tag").to_owned();
        let check = async |more: String, expected| {
            let answer = world.get(path, &more).await;
            assert_eq!(answer.status, expected, "{path} {more}");
            if expected == 304 {
                assert!(answer.body.is_empty());
                for name in [
                    "etag",
                    "cache-control",
                    "vary",
                    "access-control-allow-origin",
                ] {
                    assert_eq!(answer.header(name), plain.header(name), "{name} of {path}");
                }
            }
        };
        check(format!("If-None-Match: {etag}\r\n"), 304).await;
        check("If-None-Match: *\r\n".to_owned(), 304).await;
        check("If-None-Match: \"other\"\r\n".to_owned(), 200).await;
        check(format!("If-Match: {etag}\r\n"), 200).await;
        check("If-Match: \"other\"\r\n".to_owned(), 412).await;
        check(format!("If-Range: {etag}\r\nRange: bytes=1-2\r\n"), 206).await;
        check(
            "If-Range: \"other\"\r\nRange: bytes=1-2\r\n".to_owned(),
            200,
        )
        .await;
        check(
            format!("If-None-Match: {etag}\r\nRange: bytes=99-\r\n"),
            304,
        )
        .await;
    }
}

#[tokio::test]
async fn encodings() {
    let world = world(Limits::default()).await;
    let plain = world.get("{r}/media.m3u8", "").await;
    let gzip = world
        .get("{r}/media.m3u8", "Accept-Encoding: gzip\r\n")
        .await;
    let text = plain.text();
    assert!(
        text.starts_with("#EXTM3U\n") && text.contains("/00000002.ts"),
        "{text}"
    );
    assert_eq!(
        (
            plain.header("content-encoding"),
            gzip.header("content-encoding")
        ),
        (None, Some("gzip"))
    );
    assert_eq!(
        (plain.header("vary"), gzip.header("vary")),
        (Some("accept-encoding"), Some("accept-encoding"))
    );
    assert_ne!(plain.header("etag"), gzip.header("etag"));
    let len = gzip.body.len().to_string();
    assert_eq!(gzip.header("content-length"), Some(len.as_str()));
    let mut back = String::new();
    flate2::read::GzDecoder::new(&gzip.body[..])
        .read_to_string(&mut back)
        .expect("gzip");
    assert_eq!(back, text);
    let refused = world
        .get("{r}/media.m3u8", "Accept-Encoding: gzip;q=0\r\n")
        .await;
    assert_eq!(refused.text(), text);
    let segment = world.get(SEGMENT, "Accept-Encoding: gzip\r\n").await;
    assert_eq!(
        (segment.header("content-encoding"), segment.header("vary")),
        (None, None)
    );
}

#[tokio::test]
async fn freshness_and_types() {
    let world = world(Limits::default()).await;
    let check = async |path, kind, cache_control| {
        let answer = world.get(path, "").await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(
            answer.header("cache-control"),
            Some(cache_control),
            "{path}"
        );
    };
    let playlist = "application/vnd.apple.mpegurl";
    check("/hls/live/a~b/index.m3u8", playlist, "public, max-age=1").await;
    check("/hls/live/a%7Eb/index.m3u8", playlist, "public, max-age=1").await;
    check(
        "/hls/live/a~b/index.m3u8?token=x",
        playlist,
        "public, max-age=1",
    )
    .await;
    check("{r}/media.m3u8", playlist, "public, max-age=1").await;
    check("{r}/vod.m3u8", playlist, "public, max-age=1").await;
    check(SEGMENT, "video/mp2t", "public, max-age=31536000, immutable").await;
    check("/", "text/html; charset=utf-8", "no-cache").await;
    check("/api/v1/live", "application/json", "no-store").await;
    world.control.stop();
    world.leave();
    world.control.end_recordings().await;
    check("{r}/media.m3u8", playlist, "public, max-age=3600").await;
    check("{r}/vod.m3u8", playlist, "public, max-age=3600").await;
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let world = world(Limits::default()).await;
    for path in [
        SEGMENT,
        "{r}/0000/00000001.ts",
        "{r}/media.m3u8",
        "{r}/vod.m3u8",
        "/",
    ] {
        for more in ["", "Accept-Encoding: gzip\r\n"] {
            let (head, get) = (
                world.ask("HEAD", path, more).await,
                world.get(path, more).await,
            );
            let lines = |answer: &Answer| {
                let lines = answer.head.lines().filter(|line| !line.starts_with("date"));
                let mut lines: Vec<_> = lines.map(str::to_owned).collect();
                lines.sort_unstable();
                lines
            };
            assert_eq!(lines(&head), lines(&get), "{path}");
            assert!(head.body.is_empty() && !get.body.is_empty(), "{path}");
        }
    }
}

#[tokio::test]
async fn what_is_not_there_says_why() {
    let world = world(Limits::default()).await;
    let _begun = push(&world.control, "new").await;
    let check = async |path, why: &str| {
        let answer = world.get(path, "").await;
        assert_eq!(answer.status, 404, "{path}");
        let document: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{path}"
        );
        assert_eq!(
            (&document["title"], &document["status"]),
            (&"Not Found".into(), &404.into())
        );
        let detail = document["detail"].as_str().expect("a detail");
        assert!(detail.contains(why), "{path}: {detail}");
        if path.starts_with("/hls") || path.starts_with("{r}") {
            assert_eq!(answer.header("cache-control"), Some("max-age=1"), "{path}");
            assert_eq!(
                answer.header("access-control-allow-origin"),
                Some("*"),
                "{path}"
            );
        }
    };
    check("/hls/live/nobody/index.m3u8", "no channel live/nobody").await;
    check("/hls/live/new/index.m3u8", "first segment is not ready").await;
    check(
        "/hls/live/a~b/19700101T000000001-0001/media.m3u8",
        "no recording live/a~b/1970",
    )
    .await;
    check("{r}/0000/00000009.ts", "has no segment 9").await;
    check("{r}/0000/9.ts", "names no playlist").await;
    check("{r}/recording.jsonl", "names no playlist").await;
    check("/hls/live/..%2f..%2fconfig.m3u8", "names no playlist").await;
    check("/hls/../../etc/passwd", "names no playlist").await;
    check("/hls/%2e%2e/%2e%2e/etc/index.m3u8", "names no playlist").await;
    check("/hls/live/%00/index.m3u8", "names no playlist").await;
    check("/hls/live/%ff/index.m3u8", "names no playlist").await;
    check("/hls/a\\b/index.m3u8", "names no playlist").await;
    check("/nothing", "nothing at /nothing").await;
    check("/assets/../Cargo.toml", "no file ../Cargo.toml").await;
    check("/assets/%2e%2e/Cargo.toml", "no file ../Cargo.toml").await;
}

#[tokio::test]
async fn methods() {
    let world = world(Limits::default()).await;
    for method in ["POST", "PUT", "DELETE", "TRACE", "PATCH"] {
        let answer = world.ask(method, SEGMENT, "Content-Length: 0\r\n").await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD, OPTIONS"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    }
    let asked = "Origin: http://x\r\nAccess-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: range\r\n";
    let answer = world.ask("OPTIONS", SEGMENT, asked).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    assert_eq!(
        answer.header("access-control-allow-methods"),
        Some("GET, HEAD, OPTIONS")
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .is_some_and(|h| h.contains("range"))
    );
    let answer = world.ask("PUT", "/healthz", "Content-Length: 0\r\n").await;
    assert_eq!(answer.status, 405);
    assert_eq!(world.get("/healthz", "").await.text(), "ok\n");
}

#[tokio::test]
async fn readiness_tells_the_states_apart() {
    let gate = Gate::default();
    let ask = async |path: &str| {
        let request = hyper::Request::get(path).body(axum::body::Body::empty());
        let response = tower::ServiceExt::oneshot(gate.router(), request.expect("a request"));
        let response = response.await.expect("never fails");
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await;
        (
            status,
            String::from_utf8_lossy(&body.expect("whole")).into_owned(),
        )
    };
    let starting = r#"{"state":"starting","reasons":[]}"#;
    assert_eq!(ask("/readyz").await, (503, starting.to_owned()));
    assert_eq!(ask("/healthz").await, (200, "ok\n".to_owned()));
    assert_eq!(ask("/hls/live/a/index.m3u8").await.0, 503);

    let world = world(Limits::default()).await;
    gate.open(router(world.control.clone()));
    let ready = r#"{"state":"ready","reasons":[]}"#;
    assert_eq!(ask("/readyz").await, (200, ready.to_owned()));
    assert_eq!(ask("/nothing").await.0, 404);

    world.control.stop();
    let draining = r#"{"state":"draining","reasons":[]}"#;
    assert_eq!(ask("/readyz").await, (503, draining.to_owned()));
    assert_eq!(ask("/healthz").await.0, 200);
}

#[tokio::test]
async fn the_live_list() {
    let world = world(Limits::default()).await;
    let rows: serde_json::Value =
        serde_json::from_slice(&world.get("/api/v1/live", "").await.body).expect("JSON");
    let row = &rows["channels"][0];
    assert_eq!(
        (&row["hub"], &row["channel"]),
        (&"live".into(), &"a~b".into())
    );
    assert_eq!(row["playlist"], "/hls/live/a~b/index.m3u8");
    assert_eq!(row["width"], 1280);
    assert!(row["since_ms"].as_i64().is_some_and(|ms| ms > 0));
    world.leave();
    assert!(world.control.live().is_empty());
}

#[tokio::test]
async fn a_connection_serves_many_requests() {
    let world = world(Limits::default()).await;
    let mut stream = TcpStream::connect(world.addr).await.expect("a connection");
    for _ in 0..20 {
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .expect("open");
        let mut answer = Vec::new();
        while !answer.ends_with(b"ok\n") {
            assert_ne!(stream.read_buf(&mut answer).await.expect("open"), 0);
        }
    }
}

#[tokio::test]
async fn http2_without_negotiation() {
    let world = world(Limits::default()).await;
    let stream = TcpStream::connect(world.addr).await.expect("a connection");
    let io = hyper_util::rt::TokioIo::new(stream);
    let executor = hyper_util::rt::TokioExecutor::new();
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .expect("HTTP/2");
    tokio::spawn(connection);
    for method in ["GET", "HEAD"] {
        let uri = format!("http://x/hls/{}", world.key.segment(1, Container::Ts));
        let request = hyper::Request::builder().method(method).uri(uri);
        let request = request.body(axum::body::Body::empty()).expect("a request");
        let response = sender.send_request(request).await.expect("an answer");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-length"], "300000");
        let body = axum::body::Body::new(response.into_body());
        let body = axum::body::to_bytes(body, LARGE).await.expect("a body");
        assert_eq!(body.len(), if method == "GET" { LARGE } else { 0 });
    }
}

#[tokio::test]
async fn a_header_that_never_ends_is_cut_off() {
    let limits = Limits {
        header_timeout: Duration::from_millis(300),
        quiet_timeout: Duration::from_millis(600),
        ..Limits::default()
    };
    let world = world(limits).await;
    for begin in ["", "GET / HTTP/1.1\r\nHost", "PRI * HT"] {
        let mut stream = TcpStream::connect(world.addr).await.expect("a connection");
        stream.write_all(begin.as_bytes()).await.expect("open");
        let mut answer = Vec::new();
        let end = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
        assert!(end.await.is_ok(), "{begin:?} was left open");
    }
    let line = format!("X: {}\r\n", "x".repeat(60_000));
    assert_eq!(world.get("/healthz", &line).await.status, 431);
}

/// Who has asked for something keeps the place; who has not makes room.
#[tokio::test]
async fn connections_beyond_the_limit_displace_silent_ones() {
    let seats = Seats {
        all: 2,
        address: 10,
        strangers: 2,
    };
    let world = world_with(Limits::default(), Front::default(), seats).await;
    let mut silent = TcpStream::connect(world.addr).await.expect("a connection");
    let mut asks = TcpStream::connect(world.addr).await.expect("a connection");
    let request = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    for _ in 0..2 {
        asks.write_all(request).await.expect("open");
        let mut answer = [0; 1024];
        assert_ne!(asks.read(&mut answer).await.expect("open"), 0);
        assert_eq!(world.get("/healthz", "").await.status, 200);
    }
    assert_eq!(silent.read(&mut [0]).await.expect("closed in order"), 0);
}

#[tokio::test]
async fn too_many_requests_of_one_address() {
    let front = Front {
        rate: Rate::new(2),
        proxies: Nets::new(vec!["127.0.0.1/32".parse().expect("a network")]),
        ..Front::default()
    };
    let world = world_with(Limits::default(), front, SEATS).await;
    for _ in 0..4 {
        assert_eq!(world.get("/healthz", "").await.status, 200);
    }
    let refused = world.get("/healthz", "").await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.header("retry-after"), Some("1"));
    let other = "X-Forwarded-For: 198.51.100.7\r\n";
    assert_eq!(world.get("/healthz", other).await.status, 200);
}

/// TLS, RTMP and noise on the HTTP port are closed at once, without an answer.
#[tokio::test]
async fn other_protocols_are_closed_at_once() {
    let world = world(Limits::default()).await;
    for first in [&[0x16, 3, 1, 0, 200][..], &[3, 0, 0], &[0xff]] {
        let mut stream = TcpStream::connect(world.addr).await.expect("a connection");
        stream.write_all(first).await.expect("open");
        let mut answer = Vec::new();
        let end = stream.read_to_end(&mut answer);
        let end = tokio::time::timeout(Duration::from_secs(5), end).await;
        // What we did not read resets the connection.
        assert!(end.is_ok(), "{first:?} was left open");
        assert!(answer.is_empty());
    }
}

#[tokio::test]
async fn stopping_finishes_what_is_under_way() {
    let limits = Limits {
        drain_timeout: Duration::from_millis(500),
        ..Limits::default()
    };
    let world = world(limits).await;
    let path = world.key.segment(1, Container::Ts);
    let mut reader = TcpStream::connect(world.addr).await.expect("a connection");
    let request = format!("GET /hls/{path} HTTP/1.1\r\nHost: x\r\n\r\n");
    reader.write_all(request.as_bytes()).await.expect("open");
    let mut begin = [0; 64];
    reader.read_exact(&mut begin).await.expect("an answer");
    let _idle = TcpStream::connect(world.addr).await.expect("a connection");
    world.stop.cancel();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.expect("to the end");
    assert!(rest.ends_with(&pattern(LARGE)[LARGE - 1000..]), "whole");
    let stopped = tokio::time::timeout(Duration::from_secs(5), world.server).await;
    assert!(stopped.is_ok(), "stopped in time");
    assert!(
        TcpStream::connect(world.addr).await.is_err(),
        "nobody listens"
    );
}
