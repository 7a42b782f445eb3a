//! What an owner does while the server runs, and what nobody may ever see.

use crate::networks::channel;
use crate::support::clips::SHORT_GOP;
use crate::support::http;
use crate::support::publisher::{Speed, ffmpeg_push};
use crate::support::server::Server;
use crate::support::wait_for;
use rustix::process::Signal;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(15);
const PUSH_LIMIT: Duration = Duration::from_secs(40);

/// Whether a push gets through.
fn pushes(server: &Server, name: &str) -> bool {
    let push = ffmpeg_push(&SHORT_GOP, &server.publish_url(name), Speed::Max);
    push.finish(PUSH_LIMIT).status.success()
}

#[test]
fn the_configuration_is_read_anew() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let file = data.path().join("config.toml");
    let write = |text: &str| std::fs::write(&file, text).expect("ours");
    write("[log]\nlevel = \"info\"\n");
    let mut server = Server::start(data.path(), &[]);
    assert!(pushes(&server, "before"));

    write(
        "[log]\nlevel = \"debug\"\n[hls]\nwindow = 9\n[http]\nrequests_per_address = 1\n\
         [retention]\nage = \"1h\"\n[auth.publish_not_from]\n\"live/shut\" = [\"127.0.0.0/8\"]\n",
    );
    server.signal(Signal::HUP);
    let lines = wait_for("a line about the restart", SOON, || {
        Some(server.log_lines("these need a restart")).filter(|lines| !lines.is_empty())
    });
    assert!(lines[0].contains("hls.window"), "{lines:?}");
    let taken = server.log_lines("the configuration was read anew").join("");
    for key in [
        "log.level",
        "http.requests_per_address",
        "auth.publish_not_from",
        "retention.age",
    ] {
        assert!(taken.contains(key), "{taken}");
    }
    assert!(!pushes(&server, "shut"));
    let refused = server.log_lines("live/shut is not published to from 127.0.0.1");
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(pushes(&server, "open"));
    wait_for("too many requests", SOON, || {
        let answer = http::request("GET", &server.url("/healthz"), &[]);
        (answer.status == 429).then_some(())
    });

    write("[http]\nlisten = nonsense\n");
    server.signal(Signal::HUP);
    wait_for("a line about what cannot be read", SOON, || {
        let lines = server.log_lines("nothing changes");
        (!lines.is_empty()).then_some(())
    });
    assert!(pushes(&server, "after"));
}

/// What is sent too fast is warned about, then cut off with a status that ffmpeg shows.
#[test]
fn a_push_above_its_bit_rate_is_cut_off() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("ingest.bit_rate_max", "50kbit")]);
    // What is set of a channel counts instead.
    let free = ["create", "live/free", "--set", "bit_rate_max=0"];
    channel(&server, &[&free[..], &["--set", "publish=open"]].concat());
    let free = ffmpeg_push(&SHORT_GOP, &server.publish_url("free"), Speed::RealTime);
    let push = ffmpeg_push(&SHORT_GOP, &server.publish_url("fat"), Speed::RealTime);
    let ended = push.finish(PUSH_LIMIT);
    let told = format!("{}{}", ended.stderr, ended.stdout);
    assert_eq!(server.log_lines("a publisher sends too much").len(), 1);
    let ends = server.log_lines("publish ended");
    assert!(ends[0].contains("more than the 50 kbit/s"), "{ends:?}");
    assert!(!ended.status.success() || told.contains("kbit/s"), "{told}");
    assert!(free.finish(PUSH_LIMIT).status.success());
}

#[test]
fn no_secret_is_shown() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [
        ("auth.publish", "key"),
        ("auth.keys", "{ \"live/a\" = \"s3cret-stream-key\" }"),
        ("log.level", "trace"),
    ];
    let mut server = Server::start(data.path(), &settings);
    assert!(pushes(&server, "a?key=s3cret-stream-key"));
    assert!(!pushes(&server, "a?key=wr0ng-stream-key"));
    let token = [("authorization", "Bearer ms_wr0ng-token")];
    let answer = http::request("GET", &server.url("/api/v1/channels"), &token);
    assert_eq!(answer.status, 401);
    let warned = server.log_lines("shows this secret to every user");
    assert_eq!(warned.len(), 1, "{warned:?}");
    assert!(server.stop(Signal::TERM).success());
    let log = server.running_log();
    for secret in ["s3cret-stream-key", "wr0ng-stream-key", "wr0ng-token"] {
        let shown: Vec<_> = log.lines().filter(|line| line.contains(secret)).collect();
        assert!(shown.is_empty(), "{shown:#?}");
    }
}
