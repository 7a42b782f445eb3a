//! What a killed server still knows.

use crate::postgres::Postgres;
use crate::server::{Push, Server, wait_for};
use crate::support::port::free_port;
use serde_json::json;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_killed_server_knows_its_channels_keys_history_and_clips() {
    survives(&[]);
}

#[test]
fn the_same_on_postgresql() {
    let database = Postgres::start(free_port());
    survives(&[&format!("catalog.url={}", database.url())]);
}

fn survives(settings: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), settings);
    let token = server.token.clone().expect("the first start");
    let key = server.key.clone().expect("the first start");
    let base = "/api/v1/channels/live/stream";
    let patched = server.ask(&token, "PATCH", base, Some(json!({"description": "kept"})));
    assert_eq!(patched.status, 200, "{}", patched.text);
    let clip =
        json!({"name": "all", "start": "2026-01-01T00:00:00Z", "end": "2200-01-01T00:00:00Z"});
    assert_eq!(
        server
            .ask(&token, "POST", &format!("{base}/clips"), Some(clip))
            .status,
        201
    );
    let signed = server.ask(
        &token,
        "POST",
        &format!("{base}/publish-url"),
        Some(json!({})),
    );
    let signed = signed.json()["stream_key"]
        .as_str()
        .expect("a key")
        .to_owned();
    let push = Push::start(&server.rtmp(&format!("live/stream?key={key}")));
    let segments = |server: &Server| {
        let listed = server.ask(&token, "GET", &format!("{base}/segments?limit=1000"), None);
        listed.json()["items"].as_array().map_or(0, Vec::len)
    };
    let before = wait_for("segments", SOON, || {
        Some(segments(&server)).filter(|count| *count >= 3)
    });
    server.kill();
    drop(push);

    let server = Server::start(folder.path(), settings);
    assert_eq!(server.token, None, "not the first start");
    let channel = server.ask(&token, "GET", base, None);
    assert_eq!(channel.json()["settings"]["description"], "kept");
    let history = server
        .ask(&token, "GET", &format!("{base}/sessions"), None)
        .json();
    let session = &history["items"][0];
    assert_eq!(session["reason"], "the server was interrupted");
    assert!(
        session["end"].is_string() && session["tracks"]["video"]["width"] == 320,
        "{session}"
    );
    assert!(segments(&server) >= before);
    let playlist = server.get("/hls/live/stream/clip-all.m3u8");
    assert_eq!(playlist.text.matches("#EXTINF").count(), segments(&server));

    let _push = Push::start(&server.rtmp(&format!("live/{signed}")));
    wait_for("a second session", SOON, || {
        let history = server
            .ask(&token, "GET", &format!("{base}/sessions"), None)
            .json();
        (history["items"].as_array().map(Vec::len) == Some(2)).then_some(())
    });
    let two = wait_for("its segments", SOON, || {
        let playlist = server.get("/hls/live/stream/clip-all.m3u8").text;
        playlist
            .contains("#EXT-X-DISCONTINUITY\n")
            .then_some(playlist)
    });
    assert!(two.contains("#EXT-X-DISCONTINUITY-SEQUENCE:0\n"), "{two}");
}

#[test]
fn after_a_crash_each_channel_waits_for_its_publisher_as_long_as_it_is_set() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = ["auth.publish=open", "hls.reconnect_window=5m"];
    let server = Server::start(folder.path(), &settings);
    let token = server.token.clone().expect("the first start");
    let made = [("short", 1000), ("long", 600_000)].map(|(name, ms)| {
        let path = format!("/api/v1/channels/live/{name}");
        let body = json!({"reconnect_window_ms": ms});
        server.ask(&token, "PUT", &path, Some(body)).status
    });
    assert_eq!(made, [201, 201]);
    let index = |server: &Server, name: &str| server.get(&format!("/hls/live/{name}/index.m3u8"));
    let pushes = ["short", "long"].map(|name| Push::start(&server.rtmp(&format!("live/{name}"))));
    for name in ["short", "long"] {
        wait_for("a playlist", SOON, || {
            (index(&server, name).status == 200).then_some(())
        });
    }
    server.kill();
    drop(pushes);
    std::thread::sleep(Duration::from_millis(1500));
    let server = Server::start(folder.path(), &settings);
    let named = |name: &str| index(&server, name).text;
    assert!(named("short").contains("/vod.m3u8"), "its time is over");
    assert!(named("long").contains("/media.m3u8"), "it waits");
}

#[test]
fn a_lost_catalog_is_made_again_from_the_recordings() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["auth.publish=open"]);
    let token = server.token.clone().expect("the first start");
    let sessions = "/api/v1/channels/a%2Fb/c/sessions";
    let push = Push::start(&server.rtmp("a/b/c"));
    wait_for("a playlist", SOON, || {
        (server.get("/hls/a/b/c/index.m3u8").status == 200).then_some(())
    });
    push.stop();
    let history = |server: &Server, token: &str| {
        let history = server.ask(token, "GET", sessions, None).json();
        let session = history["items"][0].clone();
        session["end"].is_string().then_some(session)
    };
    let before = wait_for("the end", SOON, || history(&server, &token));
    server.kill();
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = std::fs::remove_file(folder.path().join("data").join(file));
    }
    let rebuilt = std::process::Command::new(env!("CARGO_BIN_EXE_millstream"))
        .current_dir(folder.path())
        .args(["catalog", "rebuild"])
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&rebuilt.stdout).into_owned();
    assert_eq!(text, "2 channels, 1 recordings\n");
    let server = Server::start(folder.path(), &["auth.publish=open"]);
    let token = server
        .token
        .clone()
        .expect("tokens are lost with the catalog");
    let after = history(&server, &token).expect("it is there");
    for field in [
        "recording",
        "start",
        "reason",
        "video_frames",
        "audio_frames",
    ] {
        assert_eq!(after[field], before[field], "{field}");
    }
    let playlist = server.get("/hls/a/b/c/index.m3u8?start=1");
    assert_eq!(playlist.status, 200, "{}", playlist.text);
}
