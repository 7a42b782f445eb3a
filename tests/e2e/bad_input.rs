//! Those who speak no RTMP, those who may not, and those who send what no segment can hold: one log
//! line that says who and why, a clean close, and nothing broken for the others.

use crate::support::clips::{self, Clip};
use crate::support::publisher::{Speed, ffmpeg_push};
use crate::support::recording::finished;
use crate::support::server::Server;
use crate::support::{lossless, wait_for};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Longer than any time that the server gives a handshake.
const CLOSE_LIMIT: Duration = Duration::from_secs(30);
const PUSH_LIMIT: Duration = Duration::from_secs(40);

#[test]
fn strangers_are_sent_away_with_one_log_line_each() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    // Reproducible noise; its first byte is no RTMP version.
    let noise: Vec<u8> = (1..8192u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    let tls_hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and so on";
    let mut version_3_then_noise = vec![3];
    version_3_then_noise.extend_from_slice(&noise);
    version_3_then_noise.extend_from_slice(&noise);
    let cases: [(&str, &[u8]); 5] = [
        ("noise", &noise),
        ("TLS", tls_hello),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        ("a handshake and then noise", &version_3_then_noise),
        ("half a handshake", &version_3_then_noise[..700]),
    ];
    for (what, bytes) in cases {
        let port = send(&server, bytes);
        let lines = wait_for(
            &format!("a log line about {what}"),
            Duration::from_secs(5),
            || {
                let lines = server.log_lines(&format!("127.0.0.1:{port}"));
                (!lines.is_empty()).then_some(lines)
            },
        );
        assert_eq!(lines.len(), 1, "{what}: one line: {lines:#?}");
    }
    push_whole(&server, "afterwards");
}

/// Sends `bytes` and half-closes; the server must close too. Returns our port.
fn send(server: &Server, bytes: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(server.rtmp_address()).expect("the server listens");
    let port = stream.local_addr().expect("connected").port();
    stream
        .set_read_timeout(Some(CLOSE_LIMIT))
        .expect("a timeout");
    // It may have closed already: that is as good.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        let closed = error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(closed, "the server keeps the connection: {error}");
    }
    port
}

#[test]
fn a_wrong_key_is_refused_where_the_publisher_sees_it() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(
        data.path(),
        &[("auth.publish", "key"), ("hls.reconnect_window", "1s")],
    );
    for name in ["stream?key=wrong", "stream", "nobody-made-this?key=wrong"] {
        let stderr = refused(&server, &clips::PLAIN, name);
        assert!(
            stderr.contains("Server error"),
            "ffmpeg shows the status: {stderr}"
        );
    }
    let printed = server.log();
    let key =
        key_in(&printed).unwrap_or_else(|| panic!("the first start prints the key: {printed}"));
    push_whole(&server, &format!("stream?key={key}"));
    let lines = server.running_log();
    assert_eq!(
        lines.matches(&key).count(),
        0,
        "the log keeps the key to itself"
    );
}

#[test]
fn codecs_without_packaging_are_refused_by_name() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let check = |clip: &Clip, codec: &str| {
        let stderr = refused(&server, clip, clip.name);
        assert!(
            stderr.contains("Server error"),
            "ffmpeg shows the status: {stderr}"
        );
        assert!(
            stderr.to_lowercase().contains(codec),
            "{codec} is named: {stderr}"
        );
        let lines = server.log_lines(&format!("live/{}", clip.name));
        assert!(
            lines.iter().any(|line| line.to_lowercase().contains(codec)),
            "{lines:#?}"
        );
    };
    check(&clips::SORENSON, "sorenson");
    check(&clips::SPEEX, "speex");
    push_whole(&server, "afterwards");
}

/// Pushes in real time, so that the refusal comes while the publisher still listens.
fn refused(server: &Server, clip: &Clip, name: &str) -> String {
    let output = ffmpeg_push(clip, &server.publish_url(name), Speed::RealTime).finish(PUSH_LIMIT);
    assert!(
        !output.status.success(),
        "{name} was not refused: {}",
        output.stderr
    );
    output.stderr
}

/// A server that refused somebody still serves the next, without loss.
fn push_whole(server: &Server, name: &str) {
    let output =
        ffmpeg_push(&clips::PLAIN, &server.publish_url(name), Speed::Max).finish(PUSH_LIMIT);
    assert!(output.status.success(), "{}", output.stderr);
    let channel = name.split('?').next().unwrap_or(name);
    let index = server.index_url(channel);
    finished(&index);
    lossless::assert_whole(&clips::PLAIN, &index);
}

/// The value behind `key=` in what the server printed.
fn key_in(text: &str) -> Option<String> {
    let (_, rest) = text.split_once("key=")?;
    let key: String = rest
        .chars()
        .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        .collect();
    (!key.is_empty()).then_some(key)
}

/// Frames that make no sense are dropped and counted; their neighbours arrive.
#[test]
fn broken_frames_break_nothing_else() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let broken = data.path().join("broken.flv");
    let mut file = std::fs::read(clips::PLAIN.path()).expect("the clip is there");
    let spoilt = spoil(&mut file);
    std::fs::write(&broken, file).expect("written");

    let mut command = crate::support::process::millstream();
    command
        .arg("push")
        .arg(&broken)
        .arg(server.publish_url("broken"))
        .args(["--speed", "max"]);
    crate::support::process::succeed(&mut command);
    let recording = finished(&server.index_url("broken"));
    let pictures: usize = recording
        .segments
        .iter()
        .map(|segment| segment.video.len())
        .sum();
    assert_eq!(pictures, 250 - spoilt, "all pictures but the broken ones");
    let told = server.log_lines("live/broken");
    assert!(
        told.iter().any(|line| line.contains(&spoilt.to_string())),
        "the dropped frames are counted: {told:#?}"
    );
}

/// Overwrites the length of the NAL units in every fortieth picture; returns how many.
fn spoil(file: &mut [u8]) -> usize {
    let (mut at, mut pictures, mut spoilt) = (13, 0, 0);
    while at + 11 < file.len() {
        let size = usize::from(file[at + 1]) << 16
            | usize::from(file[at + 2]) << 8
            | usize::from(file[at + 3]);
        let body = at + 11;
        if file[at] == 9 && file[body] == 0x27 && file[body + 1] == 1 {
            pictures += 1;
            if pictures % 40 == 0 {
                file[body + 5..body + 9].fill(0xff);
                spoilt += 1;
            }
        }
        at = body + size + 4;
    }
    spoilt
}
