//! Limits, reached one by one: who reaches one is told which, and nobody else notices.

use crate::support::clips::SHORT_GOP;
use crate::support::publisher::{Speed, ffmpeg_push};
use crate::support::raw::{self, Raw};
use crate::support::server::Server;
use crate::support::{http, wait_for};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::thread::scope;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
const WARNED: &str = "a publisher sends too much";
const PUSH_LIMIT: Duration = Duration::from_secs(60);

/// The server's one line about a push that went beyond a limit.
fn check(settings: &[(&str, &str)], push: impl FnOnce(&Server), expected: &str) {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), settings);
    push(&server);
    let lines = wait_for(expected, SOON, || {
        let mut lines = server.log_lines(expected);
        lines.retain(|line| !line.contains(WARNED));
        Some(lines).filter(|lines| !lines.is_empty())
    });
    assert_eq!(lines.len(), 1, "{lines:#?}");
    let names_it = lines[0].contains("live/cam") && lines[0].contains("127.0.0.1");
    assert!(names_it, "who and what: {}", lines[0]);
    // The next is welcome.
    let mut honest = Raw::connect(&server.rtmp_address());
    assert_eq!(honest.publish("live", "honest"), "NetStream.Publish.Start");
    honest.send(&raw::tags(&SHORT_GOP), 3_000);
    wait_for("the honest stream", SOON, || {
        http::try_get(&server.index_url("honest")).filter(|reply| reply.status == 200)
    });
}

fn real_time(server: &Server) {
    let push = ffmpeg_push(&SHORT_GOP, &server.publish_url("cam"), Speed::RealTime);
    push.finish(PUSH_LIMIT);
}

/// Messages of `len` bytes, each on a chunk stream of its own, of which `sent` bytes come.
fn partial(server: &Server, streams: u8, len: u32, sent: usize) {
    const CHUNK: usize = 1 << 20;
    let mut raw = Raw::connect(&server.rtmp_address());
    assert_eq!(raw.publish("live", "cam"), "NetStream.Publish.Start");
    let size = u32::try_from(CHUNK).expect("small").to_be_bytes();
    raw.message(1, 0, 0, &size).expect("open");
    for csid in 0..streams {
        let csid = 10 + csid;
        let mut header = vec![csid, 0, 0, 0];
        header.extend(&len.to_be_bytes()[1..]);
        header.extend([9, 1, 0, 0, 0]);
        for nth in 0..sent.div_ceil(CHUNK) {
            let head = if nth == 0 {
                &header[..]
            } else {
                &[0xc0 | csid]
            };
            // The server may have hung up by now.
            let written = raw.socket.write_all(head);
            let chunk = vec![0; CHUNK.min(sent)];
            if written.and_then(|()| raw.socket.write_all(&chunk)).is_err() {
                return;
            }
        }
    }
    raw.until_closed();
}

#[test]
fn a_push_beyond_a_limit_ends_with_one_line() {
    scope(|scope| {
        scope.spawn(|| check(&[("ingest.session_max", "2s")], real_time, "has lasted 2 s"));
        scope.spawn(|| {
            let settings = [("ingest.frame_rate_max", "10")];
            let push = |server: &Server| {
                real_time(server);
                let warned = server.log_lines(WARNED);
                assert_eq!(warned.len(), 1, "{warned:#?}");
            };
            check(&settings, push, "are more than the 10 that are allowed");
        });
        scope.spawn(|| {
            let push = |server: &Server| partial(server, 1, 70_000, 1_000);
            let told = "a message of 70000 bytes on chunk stream 10 is longer than 65536";
            check(&[("ingest.message_max", "64KiB")], push, told);
        });
        scope.spawn(|| {
            let push = |server: &Server| partial(server, 3, 0xff_ffff, 12 << 20);
            check(
                &[],
                push,
                "unfinished messages hold more than 33554432 bytes",
            );
        });
        scope.spawn(|| {
            let push = |server: &Server| partial(server, 1, 0xff_ffff, 4 << 20);
            let told = "all connections together hold 1048576 bytes of messages";
            check(&[("ingest.memory", "1MiB")], push, told);
        });
    });
}

#[test]
fn answers_beyond_their_number_are_503() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("http.requests_max", "1")]);
    let token = server.first_token();
    // One answer that has no end.
    let address = server.url("");
    let address = address.trim_start_matches("http://");
    let request =
        format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n");
    // The answer before it, to whether the server is ready, may not be over yet.
    let listener = wait_for("the one place", SOON, || {
        let mut listener = TcpStream::connect(address).expect("the server listens");
        listener.write_all(request.as_bytes()).expect("open");
        let mut status = [0; 12];
        listener.read_exact(&mut status).expect("it answers");
        (&status == b"HTTP/1.1 200").then_some(listener)
    });
    let refused = http::request("GET", &server.url("/healthz"), &[]);
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), "1");
    assert!(
        refused.text().contains("as many answers"),
        "{}",
        refused.text()
    );
    drop(listener);
    // A body is read to its limit and no further.
    let url = server.url("/api/v1/channels/live/x");
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", &*authorization)];
    wait_for("room for a body", SOON, || {
        let reply = http::send("PUT", &url, &headers, &vec![b' '; 65_537]);
        assert!(matches!(reply.status, 413 | 503), "{}", reply.status);
        (reply.status == 413).then_some(())
    });
    wait_for("room", SOON, || {
        let reply = http::request("GET", &server.url("/healthz"), &[]);
        (reply.status == 200).then_some(())
    });
}
