//! A database that goes away while somebody pushes and somebody watches.

use crate::postgres::Postgres;
use crate::server::{Push, Server, wait_for};
use crate::support::port::free_port;
use std::time::{Duration, Instant};

/// How long the database is away: `MILLSTREAM_AWAY_S=60` for the whole minute.
fn away() -> Duration {
    let seconds = std::env::var("MILLSTREAM_AWAY_S").ok();
    Duration::from_secs(seconds.and_then(|text| text.parse().ok()).unwrap_or(8))
}

#[test]
fn a_push_goes_on_and_loses_nothing_while_the_database_is_away() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut database = Postgres::start(free_port());
    let setting = format!("catalog.url={}", database.url());
    let server = Server::start(folder.path(), &[&setting]);
    let token = server.token.clone().expect("the first start");
    let key = server.key.clone().expect("the first start");
    let soon = Duration::from_secs(15);
    let mut push = Push::start(&server.rtmp(&format!("live/stream?key={key}")));
    let live = "/hls/live/stream/index.m3u8";
    wait_for("a playlist", soon, || {
        (server.get(live).status == 200).then_some(())
    });
    assert_eq!(server.get("/readyz").json()["state"], "ready");

    database.stop();
    let gone = Instant::now();
    wait_for("/readyz to tell", soon, || {
        let told = server.get("/readyz");
        // It still takes pushes and viewers, so nobody should take it out of service.
        assert_eq!(told.status, 200);
        let told = told.json();
        let why = &told["reasons"][0]["name"];
        (told["state"] == "degraded" && why == "catalog_away").then_some(())
    });
    while gone.elapsed() < away() {
        assert!(push.runs(), "{}", server.log());
        let asked = Instant::now();
        assert_eq!(server.get(live).status, 200, "viewers go on watching");
        assert!(asked.elapsed() < Duration::from_secs(4));
        std::thread::sleep(Duration::from_millis(300));
    }
    let path = "/api/v1/channels/live/stream/segments?limit=1000";
    assert_eq!(server.ask(&token, "GET", path, None).status, 503);
    database.restart();
    wait_for("/readyz", soon, || {
        (server.get("/readyz").json()["state"] == "ready").then_some(())
    });
    push.stop();

    let sessions = "/api/v1/channels/live/stream/sessions";
    wait_for("the end of the session", soon, || {
        let history = server.ask(&token, "GET", sessions, None).json();
        history["items"][0]["end"].is_string().then_some(())
    });
    let listed = server.ask(&token, "GET", path, None).json();
    let numbers: Vec<_> = listed["items"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|segment| segment["number"].as_u64().expect("a number"))
        .collect();
    let expected: Vec<u64> = (0..numbers.len() as u64).collect();
    assert_eq!(numbers, expected, "every segment has its row");
    assert!(numbers.len() as u64 >= away().as_secs(), "{numbers:?}");
    assert!(server.log().contains("it is back"), "{}", server.log());
}
