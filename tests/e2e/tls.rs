//! RTMPS and HTTPS beside their plain selves, with certificates that change, and those who knock at
//! the wrong door.

use crate::support::clips::SHORT_GOP;
use crate::support::port::free_port;
use crate::support::process::{run, succeed};
use crate::support::publisher::{Speed, ffmpeg_push};
use crate::support::recording::finished;
use crate::support::server::Server;
use crate::support::watch::Watch;
use crate::support::{lossless, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
const PUSH_LIMIT: Duration = Duration::from_secs(40);

/// A server with a certificate of its own in `tls.crt` and `tls.key`.
struct Secure {
    server: Server,
    folder: tempfile::TempDir,
    rtmps: u16,
    https: u16,
}

impl Secure {
    fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder for the server");
        certificate(folder.path(), "first");
        let (rtmps, https) = (free_port(), free_port());
        let at = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
        let settings = [
            ("tls.certificate", &*at("tls.crt")),
            ("tls.key", &*at("tls.key")),
            ("rtmp.tls_listen", &*format!("127.0.0.1:{rtmps}")),
            ("http.tls_listen", &*format!("127.0.0.1:{https}")),
            ("hls.reconnect_window", "1s"),
        ];
        let server = Server::start(folder.path(), &settings);
        Self {
            server,
            folder,
            rtmps,
            https,
        }
    }

    /// What curl gets from the HTTPS port, trusting our certificate alone: protocol, status, and the
    /// certificate's subject.
    fn curl(&self, version: &str) -> String {
        let mut command = Command::new("curl");
        let url = format!("https://localhost:{}/readyz", self.https);
        command.args(["-sS", "-v", "--max-time", "10", version, "--cacert"]);
        command.arg(self.folder.path().join("tls.crt"));
        command.args(["-w", "%{http_version} %{http_code}", &url]);
        let output = run(&mut command);
        output.stdout + &output.stderr
    }
}

/// A new key and its certificate for localhost, whose subject has `name` in it.
fn certificate(folder: &Path, name: &str) {
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]);
    command.args(["-pkeyopt", "ec_paramgen_curve:prime256v1"]);
    command.args(["-subj", &format!("/O={name}/CN=localhost")]);
    command.args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]);
    command.args(["-keyout", "new.key", "-out", "new.crt"]);
    succeed(command.current_dir(folder));
    // At once, as those who renew certificates do it.
    for ending in ["key", "crt"] {
        let from = folder.join(format!("new.{ending}"));
        std::fs::rename(from, folder.join(format!("tls.{ending}"))).expect("a folder of ours");
    }
}

#[test]
fn a_push_over_rtmps_is_whole_and_played_over_https() {
    let secure = Secure::start();
    let server = &secure.server;
    let url = |name: &str| format!("rtmps://127.0.0.1:{}/live/{name}", secure.rtmps);
    let watch = Watch::start(server.index_url("slow"));
    let slow = ffmpeg_push(&SHORT_GOP, &url("slow"), Speed::RealTime);
    let fast = ffmpeg_push(&SHORT_GOP, &url("fast"), Speed::Max).finish(PUSH_LIMIT);
    assert!(fast.status.success(), "{}", fast.stderr);
    lossless::assert_whole(&SHORT_GOP, &finished(&server.index_url("fast")).url);
    let told = secure.curl("--http2");
    assert!(told.contains("2 200"), "{told}");
    assert!(told.contains("O=first"), "{told}");
    let told = secure.curl("--http1.1");
    assert!(told.contains("1.1 200"), "{told}");

    // A certificate that cannot be used changes nothing.
    let key = secure.folder.path().join("tls.key");
    let good = std::fs::read(&key).expect("ours");
    std::fs::write(&key, "nonsense").expect("ours");
    wait_for("a line about the bad key", SOON, || {
        let lines = server.log_lines("the old one serves on");
        (lines.len() == 1).then_some(())
    });
    assert!(secure.curl("--http2").contains("O=first"));
    std::fs::write(&key, good).expect("ours");

    certificate(secure.folder.path(), "second");
    wait_for("the new certificate", SOON, || {
        secure.curl("--http2").contains("O=second").then_some(())
    });
    let slow = slow.finish(PUSH_LIMIT);
    assert!(slow.status.success(), "nobody is dropped: {}", slow.stderr);
    lossless::assert_whole(&SHORT_GOP, &finished(&server.index_url("slow")).url);
    watch.finish();
}

#[test]
fn the_wrong_door_is_closed_at_once_with_one_line() {
    let secure = Secure::start();
    let plain_rtmp = secure.server.rtmp_address();
    let plain_http = secure.server.url("").replace("http://", "");
    let tls = |port: u16| format!("127.0.0.1:{port}");
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let get = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    let cases: [(&str, &[u8], &str); 8] = [
        (&plain_rtmp, hello, "speaks TLS"),
        (&plain_rtmp, get, "speaks HTTP"),
        (&plain_rtmp, b"PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\n", "PROXY"),
        (&plain_http, hello, "speaks TLS"),
        (&plain_http, &[3, 0, 0, 0], "speaks RTMP"),
        (
            &tls(secure.rtmps),
            &[3, 0, 0, 0],
            "speaks RTMP on a TLS port",
        ),
        (&tls(secure.https), get, "speaks HTTP on a TLS port"),
        (&tls(secure.https), hello, "TLS"),
    ];
    for (address, bytes, expected) in cases {
        let mut stream = TcpStream::connect(address).expect("the server listens");
        let port = stream.local_addr().expect("connected").port();
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
        stream.write_all(bytes).expect("open");
        if bytes == hello && expected == "TLS" {
            // Half a greeting waits for its other half, or its end.
            sleep(Duration::from_millis(100));
            stream.shutdown(std::net::Shutdown::Write).expect("open");
        }
        let mut rest = Vec::new();
        // Closed or reset, at once.
        let _ = stream.read_to_end(&mut rest);
        let lines = wait_for(expected, SOON, || {
            let lines = secure.server.log_lines(&format!("127.0.0.1:{port}"));
            (!lines.is_empty()).then_some(lines)
        });
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains(expected), "{expected}: {lines:#?}");
    }
}

#[test]
fn a_trusted_proxy_tells_whose_connection_it_is() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [("net.trusted_proxies", "[\"127.0.0.1/32\"]")];
    let server = Server::start(data.path(), &settings);
    let v2: &[u8] =
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x09\xc6\x33\x64\x01\x12\x67\x07\x8f";
    let v1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 4711 1935\r\n";
    for (preface, client) in [(v1, "192.0.2.7:4711"), (v2, "192.0.2.9:4711")] {
        let mut stream = TcpStream::connect(server.rtmp_address()).expect("the server listens");
        let (first, second) = preface.split_at(9);
        stream.write_all(first).expect("open");
        sleep(Duration::from_millis(50));
        stream.write_all(second).expect("open");
        stream.write_all(b"\x06noise").expect("open");
        let lines = wait_for(client, SOON, || {
            let lines = server.log_lines(client);
            (!lines.is_empty()).then_some(lines)
        });
        assert!(lines[0].contains("RTMP version 6"), "{lines:#?}");
    }
    // Without a preface it speaks for itself.
    let push = ffmpeg_push(&SHORT_GOP, &server.publish_url("own"), Speed::Max);
    assert!(push.finish(PUSH_LIMIT).status.success());
}
