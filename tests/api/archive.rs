//! The store describes itself: a catalog that was lost is made again from it, and a check finds what
//! is not as it should be and mends it.

use crate::postgres::Postgres;
use crate::server::{Push, Server, wait_for};
use crate::support::port::free_port;
use crate::support::weed::Weed;
use serde_json::{Value, json};
use sqlx::Connection;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(20);
/// Any publisher, and recordings that end soon after their pushes.
const SETTINGS: [&str; 2] = ["auth.publish=open", "hls.reconnect_window=1s"];

/// Everything that an application sees of the past.
fn answers(server: &Server, token: &str) -> Vec<(String, Value)> {
    let mut answers = Vec::new();
    let mut ask = |path: String| {
        let answer = server.ask(token, "GET", &path, None);
        let json = answer.json();
        answers.push((path, json!([answer.status, json])));
        answers.last().expect("just added").1[1].clone()
    };
    let channels = ask("/api/v1/channels?limit=1000".to_owned());
    let mut names: Vec<String> = channels["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(name)
        .collect();
    // A deleted channel shows nothing, before and after.
    names.push("live/gone".to_owned());
    for name in names {
        let base = format!("/api/v1/channels/{name}");
        for list in [
            "",
            "/sessions",
            "/segments?limit=1000",
            "/periods",
            "/clips",
            "/holds",
        ] {
            ask(format!("{base}{list}"));
        }
    }
    answers
}

fn name(channel: &Value) -> String {
    let text = |field: &str| channel[field].as_str().expect("a name").to_owned();
    format!("{}/{}", text("hub").replace('/', "%2F"), text("channel"))
}

/// Every playlist on demand, as text.
fn playlists(server: &Server, token: &str) -> Vec<(String, String)> {
    let sessions = "/api/v1/channels/a%2Fb/cam/sessions";
    let sessions = server.ask(token, "GET", sessions, None).json();
    let mut paths = vec![
        "/hls/a/b/cam/index.m3u8".to_owned(),
        "/hls/a/b/cam/index.m3u8?start=1".to_owned(),
        "/hls/a/b/cam/index.m3u8?start=1&end=4000000000".to_owned(),
        "/hls/a/b/cam/clip-all.m3u8".to_owned(),
        "/hls/a/b/cam/clip-first.m3u8".to_owned(),
    ];
    for session in sessions["items"].as_array().expect("a list") {
        let recording = session["recording"].as_str().expect("an id");
        paths.push(format!("/hls/a/b/cam/{recording}/vod.m3u8"));
    }
    let get = |path: String| {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.text);
        (path, answer.text)
    };
    paths.into_iter().map(get).collect()
}

/// Channels of all kinds, three pushes in two recordings, one of them cut off, and clips.
fn fill(folder: &Path, settings: &[&str]) -> (Server, String) {
    let server = Server::start(folder, settings);
    let token = server.token.clone().expect("the first start");
    let ask = |method: &str, path: &str, body: Value| {
        let answer = server.ask(
            &token,
            method,
            &format!("/api/v1/channels/{path}"),
            Some(body),
        );
        assert!(answer.status < 300, "{method} {path}: {}", answer.text);
    };
    let cam = json!({"description": "Küche", "labels": {"floor": "1"}, "segment_duration_ms": 1000,
        "play_from": ["127.0.0.0/8", "::1/128"], "publish_not_from": ["192.0.2.1/32"], "bit_rate_max": 9000000,
        "reconnect_window_ms": 4000, "retention_s": 86400});
    ask("PUT", "a%2Fb/cam", cam);
    ask(
        "PUT",
        "a%2Fb/off",
        json!({"enabled": false, "playback": "signed", "publish": "signed"}),
    );
    ask(
        "PUT",
        "other/never",
        json!({"window": 12, "playlist_name": "x.m3u8"}),
    );
    ask("PUT", "live/gone", json!({}));
    push(&server, &token, "live/gone", 1);
    push(&server, &token, "a/b/cam", 1);
    // Within the window: the same recording, behind a discontinuity.
    push(&server, &token, "a/b/cam", 2);
    let hold = json!({"start": "2026-01-01T00:00:00Z", "end": "2200-01-01T00:00:00Z"});
    ask("PUT", "a%2Fb/cam/holds/court", hold.clone());
    // What has to be kept does not go with the channel.
    ask("PUT", "live/gone/holds/proof", hold);
    ask("DELETE", "live/gone", json!({}));
    std::thread::sleep(Duration::from_secs(5));
    let all =
        json!({"name": "all", "start": "2026-01-01T00:00:00Z", "end": "2200-01-01T00:00:00Z"});
    ask("POST", "a%2Fb/cam/clips", all);
    // Cut off in the third push.
    let third = Push::start(&server.rtmp("a/b/cam"));
    wait_for("two segments of the third push", SOON, || {
        let text = server.get("/hls/a/b/cam/clip-all.m3u8").text;
        let recordings = text.matches("#EXT-X-DISCONTINUITY\n").count();
        (recordings == 2 && text.matches("#EXTINF").count() >= 7).then_some(())
    });
    server.kill();
    drop(third);
    let server = Server::start(folder, settings);
    let sessions = "/api/v1/channels/a%2Fb/cam/sessions";
    let sessions = server.ask(&token, "GET", sessions, None).json();
    let oldest = &sessions["items"][2];
    let first = json!({"name": "first", "start": oldest["start"], "end": oldest["end"]});
    let path = "/api/v1/channels/a%2Fb/cam/clips";
    assert_eq!(server.ask(&token, "POST", path, Some(first)).status, 201);
    // Until the cut-off recording's window is over, and the store knows of the last clip.
    std::thread::sleep(Duration::from_secs(6));
    (server, token)
}

fn push(server: &Server, token: &str, channel: &str, nth: usize) {
    let push = Push::start(&server.rtmp(channel));
    let (hub, name) = channel.rsplit_once('/').expect("a hub");
    let base = format!("/api/v1/channels/{}/{name}", hub.replace('/', "%2F"));
    let count = |what: &str| {
        let listed = server
            .ask(token, "GET", &format!("{base}/{what}"), None)
            .json();
        listed["items"].as_array().map_or(0, Vec::len)
    };
    wait_for("two segments", SOON, || {
        (count("sessions") == nth && count("segments") >= 2 * nth).then_some(())
    });
    push.stop();
    wait_for("the end of the push", SOON, || {
        let listed = server
            .ask(token, "GET", &format!("{base}/sessions"), None)
            .json();
        listed["items"][0]["end"].is_string().then_some(())
    });
}

/// `millstream catalog …`: whether it ended well, and what it said.
fn catalog(folder: &Path, command: &[&str], settings: &[&str]) -> (bool, String) {
    let mut run = Command::new(env!("CARGO_BIN_EXE_millstream"));
    run.current_dir(folder).arg("catalog").args(command);
    for setting in settings {
        run.args(["--set", setting]);
    }
    let output = run.output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !errors.contains("\u{1b}["),
        "no progress without a terminal: {errors}"
    );
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), said + &errors)
}

fn lose_sqlite(folder: &Path) {
    for file in ["catalog.sqlite", "catalog.sqlite-wal", "catalog.sqlite-shm"] {
        let _ = fs::remove_file(folder.join("data").join(file));
    }
}

/// The catalog of `before` is lost; that of `after` is empty.
fn comes_back(before: &[&str], after: &[&str]) {
    let folder = tempfile::tempdir().expect("a folder");
    let of = |more: &[&'static str], settings: &[&str]| -> Vec<String> {
        more.iter()
            .chain(settings)
            .map(|text| (*text).to_owned())
            .collect()
    };
    let (before, after) = (of(&SETTINGS, before), of(&SETTINGS, after));
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    let after: Vec<&str> = after.iter().map(String::as_str).collect();
    let (server, token) = fill(folder.path(), &before);
    let known = (answers(&server, &token), playlists(&server, &token));
    server.kill();
    let (clean, said) = catalog(folder.path(), &["check", "--idle", "0"], &before);
    assert!(clean && said.contains(" 0 findings"), "{said}");

    lose_sqlite(folder.path());
    let (done, said) = catalog(folder.path(), &["rebuild"], &after);
    assert!(
        done && said.starts_with("5 channels, 3 recordings"),
        "{said}"
    );
    let (clean, said) = catalog(folder.path(), &["check", "--idle", "0"], &after);
    assert!(clean && said.contains(" 0 findings"), "{said}");
    let server = Server::start(folder.path(), &after);
    let token = server
        .token
        .clone()
        .expect("tokens are lost with the catalog");
    let (found, texts) = (answers(&server, &token), playlists(&server, &token));
    for hold in ["a%2Fb/cam/holds/court", "live/gone/holds/proof"] {
        let kept = server.ask(&token, "GET", &format!("/api/v1/channels/{hold}"), None);
        assert_eq!(kept.status, 200, "{hold}: {}", kept.text);
    }
    for (before, after) in known.0.iter().zip(&found) {
        assert_eq!(before, after);
    }
    assert_eq!(known.0.len(), found.len());
    assert_eq!(known.1, texts, "byte for byte");
    // Once more changes nothing.
    let (done, said) = catalog(folder.path(), &["rebuild"], &after);
    assert!(done, "{said}");
    assert_eq!(answers(&server, &token), found);
}

#[test]
fn a_lost_catalog_comes_back_whole_on_sqlite() {
    comes_back(&[], &[]);
}

#[test]
fn a_lost_catalog_comes_back_whole_on_postgresql() {
    let (old, new) = (Postgres::start(free_port()), Postgres::start(free_port()));
    let url = |database: &Postgres| format!("catalog.url={}", database.url());
    comes_back(&[&url(&old)], &[&url(&new)]);
}

#[test]
fn a_lost_catalog_comes_back_whole_from_an_object_store() {
    let weed = Weed::start();
    let settings = weed.settings();
    let settings: Vec<String> = settings
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let settings: Vec<&str> = settings.iter().map(String::as_str).collect();
    comes_back(&settings, &settings);
}

#[test]
fn a_check_finds_and_mends_on_sqlite() {
    finds_and_mends(&[], |folder| {
        format!("sqlite://{}", folder.join("data/catalog.sqlite").display())
    });
}

#[test]
fn a_check_finds_and_mends_on_postgresql() {
    let database = Postgres::start(free_port());
    let setting = format!("catalog.url={}", database.url());
    finds_and_mends(&[&setting], |_| database.url());
}

fn finds_and_mends(more: &[&str], url: impl Fn(&Path) -> String) {
    let folder = tempfile::tempdir().expect("a folder");
    let settings: Vec<&str> = SETTINGS.iter().chain(more).copied().collect();
    let (server, token) = fill(folder.path(), &settings);
    let sessions = "/api/v1/channels/a%2Fb/cam/sessions";
    let sessions = server.ask(&token, "GET", sessions, None).json();
    let recording = |nth: usize| {
        sessions["items"][nth]["recording"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let (newest, oldest) = (recording(0), recording(2));
    let before = playlists(&server, &token);
    // Whoever writes is left alone.
    let push = Push::start(&server.rtmp("live/now"));
    wait_for("a playlist", SOON, || {
        (server.get("/hls/live/now/index.m3u8").status == 200).then_some(())
    });
    let (clean, said) = catalog(folder.path(), &["check", "--repair"], &settings);
    assert!(
        clean && said.contains("live/now") && said.contains("left alone"),
        "{said}"
    );
    push.stop();
    std::thread::sleep(Duration::from_secs(3));
    server.kill();

    let media = folder.path().join("data/media/a/b/cam");
    let file = |recording: &str, name: &str| -> PathBuf { media.join(recording).join(name) };
    fs::remove_file(file(&oldest, "0000/00000001.ts")).expect("a segment");
    fs::write(file(&oldest, "0000/00000000.ts.part"), "begun").expect("room");
    fs::write(file(&newest, "notes.txt"), "mine").expect("room");
    let index = fs::read_to_string(file(&newest, "recording.jsonl")).expect("an index");
    let ended = index.trim_end().rfind('\n').expect("lines");
    assert!(index[ended..].contains("\"end\""), "{}", &index[ended..]);
    fs::write(file(&newest, "recording.jsonl"), &index[..=ended]).expect("room");
    sql(
        &url(folder.path()),
        &[
            "DELETE FROM segments WHERE number = 2",
            "UPDATE segments SET duration = 1, flags = 2 WHERE number = 0",
            "UPDATE sessions SET ended_ms = NULL, reason = NULL WHERE hub = 'live'",
            "UPDATE sessions SET bytes = 1 WHERE hub = 'a/b'",
            "DELETE FROM clips WHERE name = 'first'",
        ],
    );
    let (clean, said) = catalog(folder.path(), &["check", "--idle", "0"], &settings);
    assert!(!clean, "{said}");
    for finding in [
        "segment 1 is listed and not in the store",
        "00000000.ts.part: a file that was begun and given up",
        "notes.txt: it is not this program's",
        "nobody writes it, and it was never ended",
        "segments are in its index and not in the catalog",
        "the catalog says something else than its index (segments,",
        "the catalog says something else than its index (a session,",
        "was never closed",
        "what the store knows of its settings and clips is not the newest",
    ] {
        assert!(said.contains(finding), "{finding:?} in {said}");
    }
    assert!(
        file(&oldest, "0000/00000000.ts.part").exists(),
        "it only looked"
    );
    let (clean, said) = catalog(
        folder.path(),
        &["check", "--idle", "0", "--repair"],
        &settings,
    );
    assert!(!clean && said.contains("(mended)"), "{said}");
    let (clean, said) = catalog(folder.path(), &["check", "--idle", "0"], &settings);
    assert!(
        !clean && said.contains(": 1 findings"),
        "only what is not ours is left: {said}"
    );
    fs::remove_file(file(&newest, "notes.txt")).expect("still there");
    let (clean, said) = catalog(folder.path(), &["check", "--idle", "0"], &settings);
    assert!(clean, "{said}");

    let server = Server::start(folder.path(), &settings);
    let after = server.get("/hls/a/b/cam/clip-all.m3u8").text;
    assert_eq!(after.matches("#EXT-X-GAP").count(), 1, "{after}");
    let (_, whole) = before
        .iter()
        .find(|(path, _)| path.ends_with("clip-all.m3u8"))
        .expect("asked");
    assert_eq!(
        after.replace("#EXT-X-GAP\n", ""),
        without_version(whole, &after)
    );
}

/// A gap needs a later version of the format.
fn without_version(text: &str, of: &str) -> String {
    let version = |text: &str| {
        text.lines()
            .find(|line| line.starts_with("#EXT-X-VERSION"))
            .expect("one")
            .to_owned()
    };
    text.replace(&version(text), &version(of))
}

fn sql(url: &str, statements: &[&'static str]) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        sqlx::any::install_default_drivers();
        let mut connection = sqlx::AnyConnection::connect(url)
            .await
            .expect("it is there");
        for statement in statements {
            let done = sqlx::query(*statement).execute(&mut connection).await;
            done.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.close().await.expect("it closes");
    });
}
