//! Publishers and viewers come only from where they may, whoever passes them on.

use crate::support::clips::SHORT_GOP;
use crate::support::process::millstream;
use crate::support::raw::{self, Raw};
use crate::support::server::Server;
use crate::support::{http, wait_for};
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);

/// What `millstream channel` prints.
pub(crate) fn channel(server: &Server, arguments: &[&str]) -> String {
    let token = server.first_token();
    let mut command = millstream();
    command.args(["channel", "--server", &server.url(""), "--token", &token]);
    let done = command.args(arguments).output().expect("it runs");
    let out = String::from_utf8_lossy(&done.stdout).into_owned();
    let told = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{arguments:?}: {told}");
    out
}

#[test]
fn networks_of_hubs_and_channels_count_for_true_addresses() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [
        ("net.trusted_proxies", "[\"127.0.0.1/32\"]"),
        ("auth.publish_from", "{ live = [\"192.0.2.0/24\"] }"),
        ("auth.play_not_from", "{ live = [\"198.51.100.66/32\"] }"),
    ];
    let server = Server::start(data.path(), &settings);
    channel(
        &server,
        &[
            "create",
            "live/own",
            "--set",
            "publish_from=198.51.100.7",
            "--set",
            "publish_not_from=2001:db8::/32",
            "--set",
            "play_from=198.51.100.0/24, 2001:db8::/32",
            "--set",
            "publish=open",
        ],
    );

    let publish = |from: &str, name: &str| {
        let preface = format!("PROXY TCP4 {from} 203.0.113.1 4711 1935\r\n");
        let mut raw = Raw::connect_through(&preface, &server.rtmp_address());
        let answer = raw.publish("live", name);
        (answer == "NetStream.Publish.Start").then_some(raw)
    };
    assert!(publish("192.0.2.7", "other").is_some());
    assert!(publish("198.51.100.7", "other").is_none());
    assert!(publish("198.51.100.7", "stranger").is_none());
    assert!(!channel(&server, &["list"]).contains("stranger"));
    assert!(publish("192.0.2.7", "own").is_none());
    for (name, from) in [("other", "198.51.100.7"), ("own", "192.0.2.7")] {
        let why = format!("channel live/{name} is not published to from {from}");
        let lines = server.log_lines(&why);
        assert_eq!(lines.len(), 1, "{why}: {}", server.log());
        assert!(
            lines[0].contains(&format!("remote={from}:4711")),
            "{lines:?}"
        );
    }
    let mut push = publish("198.51.100.7", "own").expect("its own list counts");
    push.send(&raw::tags(&SHORT_GOP), 8_000);

    let ask = |header: (&str, &str), url: &str| http::request("GET", url, &[header]);
    let here = ("x-forwarded-for", "198.51.100.9");
    let index_url = server.index_url("own");
    let index = wait_for("a playlist", SOON, || {
        Some(ask(here, &index_url)).filter(|reply| reply.status == 200)
    });
    let uri = |text: String| {
        let line = text.lines().find(|line| !line.starts_with('#'));
        line.expect("a URI").to_owned()
    };
    let media_url = server.url(&format!("/hls/live/own/{}", uri(index.text())));
    let media = ask(here, &media_url);
    let (folder, _) = media_url.rsplit_once('/').expect("a path");
    let segment_url = format!("{folder}/{}", uri(media.text()));
    let live_url = server.url("/api/v1/live");
    for (header, status) in [
        (here, 200),
        (("forwarded", "for=\"[2001:db8::7]:4711\""), 200),
        (("x-forwarded-for", "198.51.100.66"), 403),
        (("x-forwarded-for", "192.0.2.7"), 403),
        // What a stranger writes in front of its own address.
        (("x-forwarded-for", "198.51.100.9, 192.0.2.7"), 403),
        (("forwarded", "for=198.51.100.9, for=unknown"), 403),
        (("accept", "*/*"), 403),
    ] {
        for url in [&index_url, &media_url, &segment_url] {
            let reply = ask(header, url);
            assert_eq!(reply.status, status, "{url} {header:?}");
            let kept = reply.header("cache-control");
            assert!(
                kept.starts_with("private") || kept == "no-store",
                "{url} {header:?}: {kept}"
            );
        }
        let live = ask(header, &live_url).text();
        assert_eq!(live.contains("own"), status == 200, "{header:?}: {live}");
    }
    let refused = ask(("x-forwarded-for", "192.0.2.7"), &index_url).text();
    assert!(
        refused.contains("channel live/own is not played from 192.0.2.7"),
        "{refused}"
    );

    // Viewers at once, and over the catalog: the card has it too.
    let shown = channel(&server, &["show", "live/own"]);
    assert!(shown.contains("198.51.100.7/32"), "{shown}");
    let card = data.path().join("data/media/live/own/.channel.json");
    wait_for("the card", SOON, || {
        let text = std::fs::read_to_string(&card).ok()?;
        text.contains(r#""play_from":["198.51.100.0/24","2001:db8::/32"]"#)
            .then_some(())
    });
    channel(&server, &["update", "live/own", "--set", "play_from=null"]);
    assert_eq!(
        ask(("x-forwarded-for", "192.0.2.7"), &index_url).status,
        200
    );
    let denied = ask(("x-forwarded-for", "198.51.100.66"), &index_url);
    assert_eq!(denied.status, 403, "the configuration's denial stays");
}
