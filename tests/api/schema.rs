//! The API's description against the API: Schemathesis (PyPI) asks whatever the description allows,
//! and much that it does not. No answer is a 5xx or one that is not described.

use crate::server::{Push, Server, wait_for};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

/// How long it asks: `MILLSTREAM_SCHEMA_S=600` for a long look.
fn seconds() -> String {
    std::env::var("MILLSTREAM_SCHEMA_S").unwrap_or_else(|_| "45".to_owned())
}

#[test]
fn every_answer_is_as_the_description_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["auth.publish=open"]);
    let token = server.token.clone().expect("the first start");
    // Something that is live, and something that was.
    let push = Push::start(&server.rtmp("live/b"));
    let sessions = "/api/v1/channels/live/b/sessions";
    wait_for("a session", Duration::from_secs(15), || {
        let found = server.ask(&token, "GET", sessions, None).json();
        found["items"][0].is_object().then_some(())
    });
    let python = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/.tools/venv/bin");
    let output = Command::new(format!("{python}/schemathesis"))
        .current_dir(folder.path())
        .args(["run", &format!("{}/api/openapi.json", server.http)])
        .args(["-H", &format!("Authorization: Bearer {token}")])
        .args(["--checks", CHECKS, "--max-time", &seconds()])
        // It has no end: looked at below.
        .args(["--exclude-path", "/api/v1/events"])
        .args([
            "--continue-on-failure",
            "--request-timeout",
            "10",
            "--warnings",
            "off",
        ])
        .output()
        .expect("scripts/setup.sh tests has installed it");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", server.log());
    assert!(
        said.contains("test cases") || said.contains("Test cases"),
        "{said}"
    );
    let log = server.log();
    assert!(
        !log.contains("panicked") && !log.contains(" ERROR "),
        "{log}"
    );
    push.stop();
}

const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_schema_conformance";

#[test]
fn events_are_as_the_description_says() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["auth.publish=open"]);
    let token = server.token.clone().expect("the first start");
    let document = server.get("/api/openapi.json").json();
    let events = &document["paths"]["/api/v1/events"]["get"]["responses"];
    let described = &events["200"]["content"]["text/event-stream"]["schema"];
    assert_eq!(described["type"], "string", "{described}");

    let host = server.http.strip_prefix("http://").expect("a URL");
    let mut stream = TcpStream::connect(host).expect("it listens");
    let limit = Some(Duration::from_secs(20));
    stream.set_read_timeout(limit).expect("a limit");
    write!(
        stream,
        "GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\r\n"
    )
    .expect("it reads");
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    assert_eq!(lines.next().as_deref(), Some("HTTP/1.1 200 OK"));
    let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
    let is_stream = |line: &String| line.eq_ignore_ascii_case("content-type: text/event-stream");
    assert!(head.iter().any(is_stream), "{head:?}");

    let push = Push::start(&server.rtmp("live/b"));
    let mut seen: Vec<(String, Value)> = Vec::new();
    let (mut name, mut last) = (String::new(), 0);
    for line in lines.by_ref() {
        if let Some(id) = line.strip_prefix("id: ") {
            let id: u64 = id.parse().expect("a number");
            assert!(id > last, "ids grow: {line}");
            last = id;
        } else if let Some(event) = line.strip_prefix("event: ") {
            event.clone_into(&mut name);
        } else if let Some(data) = line.strip_prefix("data: ") {
            let data: Value = serde_json::from_str(data).expect("JSON");
            seen.push((std::mem::take(&mut name), data));
            if seen.iter().any(|(name, _)| name == "segment_stored") {
                break;
            }
        }
    }
    let first = |wanted: &str| {
        let found = seen.iter().find(|(name, _)| name == wanted);
        found
            .unwrap_or_else(|| panic!("{wanted} in {seen:?}"))
            .1
            .clone()
    };
    for name in ["channel_changed", "session_started", "segment_stored"] {
        let data = first(name);
        assert_eq!(
            (&data["hub"], &data["channel"]),
            (&json!("live"), &json!("b"))
        );
        let at = data["at"].as_str().expect("a time");
        assert!(at.ends_with('Z') && at.len() == 24, "{at}");
    }
    let segment = first("segment_stored");
    for field in ["number", "duration_ms", "bytes"] {
        assert!(segment[field].is_u64(), "{segment}");
    }
    assert!(segment["recording"].is_string() && first("session_started")["remote"].is_string());
    push.stop();
}
