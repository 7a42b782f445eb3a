//! Who may do what: every route with every credential, and signed playback.

use crate::server::{Push, Server, ask, wait_for};
use serde_json::{Value, json};
use std::time::Duration;

/// Reached without credentials: what is meant to be public, and nothing else.
const PUBLIC: &[(&str, u16)] = &[
    ("/", 200),
    ("/healthz", 200),
    ("/readyz", 200),
    ("/metrics", 200),
    ("/api/openapi.json", 200),
    ("/api/docs", 200),
    ("/api/v1/live", 200),
    ("/hls/live/stream/index.m3u8", 404),
    ("/nothing", 404),
];

/// Least scope by operation.
fn scope(method: &str, path: &str) -> &'static str {
    match (method, path) {
        (_, path) if path.contains("/tokens") || path.contains("/audit") => "admin",
        ("get", _) => "read",
        _ => "channels",
    }
}

#[test]
fn every_route_wants_its_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &[]);
    let admin = server.token.clone().expect("the first start");
    for (path, status) in PUBLIC {
        assert_eq!(server.get(path).status, *status, "{path}");
    }
    let token = |scope: &str, hub: Option<&str>| {
        let body = json!({"name": "walk", "scope": scope, "hub": hub});
        let made = server.ask(&admin, "POST", "/api/v1/tokens", Some(body));
        assert_eq!(made.status, 201, "{}", made.text);
        made.json()["token"]
            .as_str()
            .expect("shown once")
            .to_owned()
    };
    let ladder = [
        ("read", token("read", None)),
        ("channels", token("channels", None)),
        ("admin", token("admin", None)),
    ];
    let elsewhere = token("channels", Some("elsewhere"));
    let document = server.get("/api/openapi.json").json();
    let mut walked = 0;
    for (template, methods) in document["paths"].as_object().expect("paths") {
        let path = template
            .replace("{hub}", "live")
            .replace("{channel}", "nobody");
        let path = path.replace("{name}", "x").replace("{id}", "x");
        let url = format!("{}{path}", server.http);
        for method in methods.as_object().expect("methods").keys() {
            let upper = method.to_uppercase();
            let what = format!("{upper} {path}");
            let body = || Some(json!({})).filter(|_| method != "get" && method != "delete");
            for stranger in [None, Some("ms_wrong"), Some("")] {
                let answer = ask(&url, &upper, stranger, body());
                assert_eq!(
                    answer.status, 401,
                    "{what} without a token: {}",
                    answer.text
                );
                assert_eq!(answer.json()["status"], 401, "{what}");
            }
            let mut allowed = false;
            for (name, token) in &ladder {
                allowed |= *name == scope(method, &path);
                let answer = ask(&url, &upper, Some(token), body());
                assert_eq!(
                    answer.status != 403,
                    allowed,
                    "{what} as {name}: {}",
                    answer.text
                );
                assert!(answer.status < 500, "{what} as {name}: {}", answer.text);
            }
            let status = ask(&url, &upper, Some(&elsewhere), body()).status;
            // A token of one hub lists that hub, and hears of it.
            let own_list = path == "/api/v1/channels" || path == "/api/v1/events";
            assert_eq!(
                status == 403,
                !own_list,
                "{what} with another hub's token: {status}"
            );
            walked += 1;
        }
    }
    assert_eq!(walked, 29);
}

#[test]
fn metrics_are_for_all_or_for_tokens_that_see_the_whole_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(
        folder.path(),
        &[
            "http.metrics=token",
            "auth.publish=open",
            "store.fsync=segment",
        ],
    );
    let admin = server.token.clone().expect("the first start");
    let token = |hub: Option<&str>| {
        let body = json!({"name": "p", "scope": "read", "hub": hub});
        let made = server.ask(&admin, "POST", "/api/v1/tokens", Some(body));
        made.json()["token"].as_str().expect("shown").to_owned()
    };
    let url = format!("{}/metrics", server.http);
    for (token, status) in [
        (None, 401),
        (Some("ms_wrong".to_owned()), 401),
        (Some(token(Some("live"))), 403),
        (Some(token(None)), 200),
    ] {
        assert_eq!(ask(&url, "GET", token.as_deref(), None).status, status);
    }
    let value = |name: &str| {
        let text = server.ask(&admin, "GET", "/metrics", None).text;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("{name} in\n{text}"));
        value.trim().parse::<f64>().expect("a number")
    };
    assert_eq!(value("millstream_publishers"), 0.0);
    let _push = Push::start(&server.rtmp("live/measured"));
    wait_for("segments", Duration::from_secs(20), || {
        (value("millstream_segments_total{state=\"whole\"}") >= 2.0).then_some(())
    });
    assert_eq!(value("millstream_publishers"), 1.0);
    assert_eq!(value("millstream_rtmp_connections"), 1.0);
    assert!(value("millstream_ingest_frames_total{kind=\"video\"}") > 20.0);
    assert!(value("millstream_ingest_bytes_total") > 1000.0);
    assert!(value("millstream_disk_queue_seconds_count") >= 2.0);
    assert!(value("millstream_http_responses_total{class=\"4xx\"}") >= 3.0);
    assert!(value("millstream_http_sent_bytes_total") > 1000.0);
    assert!(value("process_resident_memory_bytes") > 1e6);
}

#[test]
fn a_signed_channel_plays_by_its_token_and_by_nothing_else() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(folder.path(), &["auth.publish=open"]);
    let admin = server.token.clone().expect("the first start");
    let api = |method: &str, path: &str, body: Value| server.ask(&admin, method, path, Some(body));
    for name in ["a", "b"] {
        let path = format!("/api/v1/channels/live/{name}");
        assert_eq!(api("PUT", &path, json!({"playback": "signed"})).status, 201);
    }
    let _push = Push::start(&server.rtmp("live/a"));
    let url = |name: &str, expires: u32| {
        let path = format!("/api/v1/channels/live/{name}/playback-url");
        let answer = api("POST", &path, json!({"expires_in_s": expires}));
        let url = answer.json()["url"].as_str().expect("a URL").to_owned();
        url.strip_prefix(&server.http)
            .expect("this server")
            .to_owned()
    };
    let signed = url("a", 60);
    let index = wait_for("a playlist", Duration::from_secs(15), || {
        Some(server.get(&signed)).filter(|answer| answer.status == 200)
    });
    let token = signed.split_once('?').expect("a query").1.to_owned();
    let uri = |text: &str| {
        let line = text.lines().find(|line| !line.starts_with('#'));
        line.expect("a URI").to_owned()
    };
    let media = uri(&index.text);
    assert!(media.ends_with(&token), "{media}");
    let folder_of = media.split_once('/').expect("a folder").0.to_owned();
    let media = server.get(&format!("/hls/live/a/{media}"));
    let segment = uri(&media.text);
    assert!(segment.ends_with(&token), "{segment}");
    let segment = format!("/hls/live/a/{folder_of}/{segment}");
    assert_eq!(server.get(&segment).status, 200);
    let bare = |path: &str| path.split_once('?').expect("a query").0.to_owned();
    for path in [&signed, &segment] {
        let path = bare(path);
        let other = url("b", 60);
        let other = other.split_once('?').expect("a query").1;
        for query in ["", "?token=", "?token=1-00", &format!("?{other}")] {
            let answer = server.get(&format!("{path}{query}"));
            assert_eq!(answer.status, 403, "{path}{query}: {}", answer.text);
        }
    }
    let short = url("a", 1);
    assert_eq!(server.get(&short).status, 200);
    std::thread::sleep(Duration::from_millis(2100));
    assert_eq!(server.get(&short).status, 403, "it has expired");
    let shown = server.get("/api/v1/live").json();
    assert_eq!(
        shown["channels"],
        json!([]),
        "it is nobody's business that it is live"
    );
    assert!(
        !server.log().contains(&token[6..]),
        "no signature is logged"
    );
}
