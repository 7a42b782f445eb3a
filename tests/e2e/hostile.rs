//! Publishers that break off, hang, collide and lie, at the real server.

use crate::support::clips::PLAIN;
use crate::support::raw::{self, Raw};
use crate::support::recording::finished;
use crate::support::server::Server;
use crate::support::watch::Watch;
use socket2::SockRef;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::thread::{scope, sleep};
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
/// What a busy machine may add to a deadline.
const LATE_MAX: Duration = Duration::from_secs(10);

#[test]
fn slow_and_silent_strangers_are_gone_in_time() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [("rtmp.publish_timeout", "3s"), ("rtmp.idle_timeout", "3s")];
    let server = Server::start(data.path(), &settings);
    let address = server.rtmp_address();
    scope(|scope| {
        scope.spawn(|| {
            let socket = TcpStream::connect(&address).expect("the server listens");
            assert!(closed(&socket, || ()) < LATE_MAX, "said nothing");
        });
        scope.spawn(|| {
            // A byte now and then is no life: the deadline is one for all of it.
            let mut socket = TcpStream::connect(&address).expect("the server listens");
            let _ = socket.write_all(&[3]);
            let trickle = socket.try_clone().expect("a handle");
            let took = closed(&socket, || {
                let _ = (&trickle).write_all(&[0]);
            });
            assert!(took < LATE_MAX, "trickled for {took:?}");
        });
        scope.spawn(|| {
            let mut connected = Raw::connect(&address);
            assert!(connected.until_closed() < LATE_MAX, "never published");
        });
        scope.spawn(|| {
            let mut silent = Raw::connect(&address);
            assert_eq!(silent.publish("live", "silent"), "NetStream.Publish.Start");
            assert!(silent.until_closed() < LATE_MAX, "published nothing");
        });
    });
    let lines = server.log_lines("live/silent");
    assert!(
        lines.iter().any(|line| line.contains("nothing received")),
        "{lines:#?}"
    );
}

/// How long until the server hangs up, with `act` between.
fn closed(mut socket: &TcpStream, mut act: impl FnMut()) -> Duration {
    use std::io::Read;
    let began = Instant::now();
    socket
        .set_read_timeout(Some(SECOND / 4))
        .expect("a timeout");
    let mut sink = [0; 4096];
    while began.elapsed() < 2 * LATE_MAX {
        match socket.read(&mut sink) {
            Ok(0) => break,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break,
            _ => act(),
        }
    }
    began.elapsed()
}

#[test]
fn a_second_publisher_takes_over_or_is_refused() {
    let tags = raw::tags(&PLAIN);
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let watch = Watch::start(server.index_url("both"));
    let mut first = Raw::connect(&server.rtmp_address());
    assert_eq!(first.publish("live", "both"), "NetStream.Publish.Start");
    first.send(&tags, 5_000);
    let mut second = Raw::connect(&server.rtmp_address());
    assert_eq!(second.publish("live", "both"), "NetStream.Publish.Start");
    assert_eq!(
        first.hear("NetStream.Publish."),
        "NetStream.Publish.BadName"
    );
    first.until_closed();
    second.send(&tags, 5_000);
    drop(second);
    let playlist = finished(&server.index_url("both")).playlist;
    watch.finish();
    let joined = playlist
        .segments
        .iter()
        .filter(|segment| segment.discontinuity);
    assert_eq!(joined.count(), 1, "one recording, continued");
    assert!(
        playlist.duration() > 9.9,
        "{} s of both",
        playlist.duration()
    );

    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [
        ("hls.reconnect_window", "1s"),
        ("ingest.second_publisher", "reject"),
    ];
    let server = Server::start(data.path(), &settings);
    let mut first = Raw::connect(&server.rtmp_address());
    assert_eq!(first.publish("live", "one"), "NetStream.Publish.Start");
    let mut second = Raw::connect(&server.rtmp_address());
    assert_eq!(second.publish("live", "one"), "NetStream.Publish.BadName");
    second.until_closed();
    first.send(&tags, 5_000);
    drop(first);
    assert!(finished(&server.index_url("one")).playlist.duration() > 4.0);
}

#[test]
fn every_way_to_stop_ends_alike() {
    let tags = raw::tags(&PLAIN);
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    type Stop = fn(Raw);
    let ways: [(&str, Stop); 5] = [
        ("properly", |mut raw| {
            raw.command(0, "FCUnpublish", &[5, 2, 0, 1, b'x']);
            raw.command(
                0,
                "deleteStream",
                &[&[5, 0][..], &1.0_f64.to_be_bytes()].concat(),
            );
            raw.until_closed_after_shutdown();
        }),
        ("close-stream", |mut raw| {
            raw.command(1, "closeStream", &[5]);
            raw.until_closed_after_shutdown();
        }),
        ("half-close", |mut raw| raw.until_closed_after_shutdown()),
        ("drop", drop),
        ("reset", |raw| {
            // Let it be read before the reset throws it away.
            sleep(SECOND);
            SockRef::from(&raw.socket)
                .set_linger(Some(Duration::ZERO))
                .expect("a socket");
        }),
    ];
    for (name, stop) in ways {
        let mut raw = Raw::connect(&server.rtmp_address());
        assert_eq!(raw.publish("live", name), "NetStream.Publish.Start");
        raw.send(&tags, 5_000);
        stop(raw);
    }
    // One that comes and goes all the time.
    let watch = Watch::start(server.index_url("flapping"));
    for _ in 0..25 {
        let mut raw = Raw::connect(&server.rtmp_address());
        assert_eq!(raw.publish("live", "flapping"), "NetStream.Publish.Start");
        raw.send(&tags, 100);
    }
    for (name, _) in ways {
        let playlist = finished(&server.index_url(name)).playlist;
        assert!(
            (4.9..5.1).contains(&playlist.duration()),
            "{name}: {} s",
            playlist.duration()
        );
        let ends = server.log_lines("publish ended");
        let ends = ends
            .iter()
            .filter(|line| line.contains(&format!("live/{name} ")));
        assert_eq!(ends.count(), 1, "{name} ends once");
    }
    let playlist = finished(&server.index_url("flapping")).playlist;
    watch.finish();
    assert!(playlist.segments.len() <= 25, "{}", playlist.segments.len());
    assert!(
        playlist
            .segments
            .iter()
            .all(|segment| segment.duration > 0.0)
    );
}

/// Encoders say that they stop and hang up a little later: nobody was a stranger.
#[test]
fn who_has_published_may_take_a_moment_to_hang_up() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("rtmp.publish_timeout", "2s")]);
    let mut raw = Raw::connect(&server.rtmp_address());
    assert_eq!(raw.publish("live", "leaves"), "NetStream.Publish.Start");
    raw.send(&raw::tags(&PLAIN), 1_000);
    sleep(3 * SECOND);
    raw.command(1, "closeStream", &[5]);
    sleep(SECOND);
    raw.until_closed_after_shutdown();
    crate::support::wait_for("the end in the log", LATE_MAX, || {
        (!server.log_lines("publish ended").is_empty()).then_some(())
    });
    assert_eq!(server.log_lines("before it published"), [""; 0]);
}

impl Raw {
    fn until_closed_after_shutdown(&mut self) {
        self.socket.shutdown(Shutdown::Write).expect("a socket");
        self.until_closed();
    }
}

#[test]
fn names_that_are_none_are_refused_and_leave_no_file() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[]);
    let long = "a".repeat(300);
    let names = [
        ("live/..", "../../../etc/x"),
        ("live", "..%2f..%2fx"),
        ("live", "%2e%2e"),
        ("live", ".hidden"),
        ("live", "a b"),
        ("live", "a\\b"),
        ("live", "a\0b"),
        ("live", "a\"b\n#EXT-X-ENDLIST"),
        ("live", "*"),
        ("live", "\u{202e}evil"),
        ("live", &long),
        ("..", "x"),
        ("", ""),
    ];
    scope(|scope| {
        for (app, name) in names {
            let address = server.rtmp_address();
            scope.spawn(move || {
                let mut raw = Raw::connect(&address);
                let code = raw.publish(app, name);
                assert!(
                    code != "NetStream.Publish.Start",
                    "{app:?} {name:?}: {code}"
                );
                raw.until_closed();
            });
        }
    });
    let files = walk(data.path());
    assert!(
        files
            .iter()
            .all(|path| path.contains("/media/live/.hub") || path.contains("/media/live/stream/")),
        "{files:?}"
    );
    // Nor does a name forge a line, or turn one around on the terminal.
    let forged = |c: char| c != '\n' && (c.is_control() || c == '\u{202e}');
    assert!(!server.running_log().contains(forged));
    assert!(
        server
            .log_lines("#EXT-X-ENDLIST")
            .iter()
            .all(|line| line.contains("publish refused"))
    );
}

/// All files below a folder, but for the catalog's. The first start makes live/stream.
fn walk(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(walk(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found.retain(|path| !path.contains("catalog"));
    found.sort();
    found
}
