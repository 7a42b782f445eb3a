//! A channel's life: made, pushed to, seen, clipped, disabled, deleted.

use crate::server::{Push, Server, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

#[test]
fn a_channel_from_its_making_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let token = server.token.clone().expect("the first start");
    let api = |method: &str, path: &str, body| server.ask(&token, method, path, body);
    let base = "/api/v1/channels/live/studio";

    let settings = json!({"description": "Studio 1", "labels": {"kind": "tv"}, "window": 4,
        "playlist_name": "tv.m3u8"});
    let made = api("PUT", base, Some(settings.clone()));
    assert_eq!(made.status, 201, "{}", made.text);
    let key = made.json()["key"].as_str().expect("shown once").to_owned();
    let again = api("PUT", base, Some(settings));
    assert_eq!((again.status, again.json()["key"].is_null()), (200, true));
    assert_eq!(
        api("GET", &format!("{base}/status"), None).json()["state"],
        "idle"
    );
    assert_eq!(server.get("/hls/live/studio/tv.m3u8").status, 404);

    let mut push = Push::start(&server.rtmp(&format!("live/studio?key={key}")));
    let live = wait_for("a live status", SOON, || {
        let status = api("GET", &format!("{base}/status"), None).json();
        (status["live"]["video_frames"].as_u64() > Some(75)).then_some(status)
    });
    let video = &live["live"]["tracks"]["video"];
    assert_eq!(
        (&video["width"], &video["height"]),
        (&json!(320), &json!(180))
    );
    assert_eq!(video["frame_rate"], 25.0);
    assert_eq!(live["live"]["key_frame_interval_ms"], 1000);
    assert!(
        live["live"]["tracks"]["audio"]["bit_rate"].as_u64() > Some(1000),
        "{live}"
    );
    for query in ["state=live", "label=kind=tv", "hub=live&prefix=stu"] {
        let listed = api("GET", &format!("/api/v1/channels?{query}"), None).json();
        assert_eq!(listed["items"][0]["channel"], "studio", "{query}: {listed}");
        assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{query}");
    }
    let index = server.get("/hls/live/studio/tv.m3u8");
    assert_eq!(index.status, 200);
    let media = index
        .text
        .lines()
        .find(|line| line.contains("media.m3u8"))
        .expect("a playlist");
    let media = server.get(&format!("/hls/live/studio/{media}"));
    assert!(media.text.contains("0000/00000000.ts"), "{}", media.text);
    assert_eq!(
        api("GET", &format!("{base}/status"), None).json()["live"]["viewers"],
        1
    );

    let disabled = api("POST", &format!("{base}/disable?if_live=refuse"), None);
    assert_eq!(disabled.status, 409, "{}", disabled.text);
    assert!(push.runs());
    let disabled = api("POST", &format!("{base}/disable"), None);
    assert_eq!(disabled.json()["state"], "disabled");
    assert!(
        push.ended_within(Duration::from_secs(2)),
        "the encoder is told to stop"
    );
    let mut refused = Push::start(&server.rtmp(&format!("live/studio?key={key}")));
    assert!(
        refused.ended_within(Duration::from_secs(5)),
        "nobody may push"
    );

    let history = wait_for("the session's end", SOON, || {
        let history = api("GET", &format!("{base}/sessions"), None).json();
        history["items"][0]["end"].is_string().then_some(history)
    });
    let session = &history["items"][0];
    assert_eq!(session["reason"], "the channel was disabled");
    assert!(session["video_frames"].as_u64() > Some(75), "{session}");
    clips(&server, &token, base, session);
    assert_eq!(api("DELETE", base, None).status, 204);
    assert_eq!(api("GET", base, None).status, 404);
    assert_eq!(
        server.get("/hls/live/studio/tv.m3u8").status,
        404,
        "deleted is not public"
    );
    let log = server.log();
    assert!(
        !log.contains(&key) && !log.contains(&token),
        "no secret is logged"
    );
}

/// The playlists over the time of `session`.
fn clips(server: &Server, token: &str, base: &str, session: &Value) {
    let api = |method: &str, path: &str, body| server.ask(token, method, path, body);
    let segments = api("GET", &format!("{base}/segments?limit=1000"), None).json();
    let segments = segments["items"].as_array().expect("a list").clone();
    assert!(segments.len() >= 3, "{segments:?}");
    let periods = api("GET", &format!("{base}/periods"), None).json();
    assert_eq!(periods["items"][0]["end"], session["end"]);
    let from = chrono::DateTime::parse_from_rfc3339(session["start"].as_str().expect("text"));
    let from = from.expect("RFC 3339").timestamp();
    let all = server.get(&format!(
        "/hls/live/studio/index.m3u8?start={from}&end={}",
        from + 60
    ));
    assert_eq!(
        all.text.matches("#EXTINF").count(),
        segments.len(),
        "{}",
        all.text
    );
    assert!(all.text.ends_with("#EXT-X-ENDLIST\n"));
    let nothing = server.get("/hls/live/studio/index.m3u8?start=1&end=2");
    assert_eq!(nothing.status, 404);
    assert!(
        nothing.text.contains("nothing was pushed"),
        "{}",
        nothing.text
    );
    let clip = json!({"name": "goal", "start": segments[1]["start"], "end": segments[2]["start"]});
    let made = api("POST", &format!("{base}/clips"), Some(clip));
    assert_eq!(made.status, 201, "{}", made.text);
    let path = made.json()["playlist"].as_str().expect("a path").to_owned();
    let playlist = server.get(&path);
    assert_eq!(
        playlist.text.matches("#EXTINF").count(),
        1,
        "{}",
        playlist.text
    );
    let uri = playlist
        .text
        .lines()
        .find(|line| line.ends_with(".ts"))
        .expect("a segment");
    assert_eq!(server.get(&format!("/hls/live/studio/{uri}")).status, 200);
    assert_eq!(
        api("DELETE", &format!("{base}/clips/goal"), None).status,
        204
    );
    assert_eq!(server.get(&path).status, 404);
}

#[test]
fn the_command_line_does_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let token = server.token.clone().expect("the first start");
    let run = |arguments: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_millstream"))
            .arg("channel")
            .args(arguments)
            .env("MILLSTREAM_SERVER", &server.http)
            .env("MILLSTREAM_TOKEN", &token)
            .output()
            .expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.success(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (made, out, error) = run(&[
        "create",
        "tv/one",
        "--description",
        "First",
        "--set",
        "window=5",
    ]);
    assert!(made && out.contains("stream key "), "{out}{error}");
    let (_, out, _) = run(&["update", "tv/one", "--label", "a=b", "--json"]);
    let updated: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(
        (
            &updated["settings"]["labels"]["a"],
            &updated["settings"]["window"]
        ),
        (&json!("b"), &json!(5))
    );
    let (_, out, _) = run(&["list", "--hub", "tv"]);
    let rows: Vec<_> = out.lines().collect();
    assert!(
        rows.len() == 2 && rows[1].starts_with("tv/one   idle"),
        "{out}"
    );
    assert!(
        run(&["show", "tv/one"])
            .1
            .contains("window                  5")
    );
    assert!(run(&["disable", "tv/one"]).1.contains("disabled"));
    assert!(run(&["enable", "tv/one"]).1.contains("idle"));
    assert!(
        run(&["publish-url", "tv/one", "--expires", "10m"])
            .1
            .starts_with("rtmp://127.0.0.1:")
    );
    assert!(run(&["history", "tv/one"]).1.starts_with("START"));
    let (kicked, _, error) = run(&["kick", "tv/one"]);
    assert!(
        !kicked && error.contains("nobody publishes to channel tv/one"),
        "{error}"
    );
    assert!(run(&["delete", "tv/one"]).0);
    let (shown, _, error) = run(&["show", "tv/one"]);
    assert!(
        !shown && error.contains("there is no channel tv/one"),
        "{error}"
    );
}
