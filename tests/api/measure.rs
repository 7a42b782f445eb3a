//! How long answers take with 100,000 channels and 5,000,000 segments, on both databases.
//!
//! ```text
//! cargo test --release --test api measure -- --ignored --nocapture
//! ```

use crate::postgres::Postgres;
use crate::server::Server;
use crate::support::port::free_port;
use millstream::catalog::{Catalog, recording_key};
use millstream::key::RecordingKey;
use sqlx::{AnyPool, Executor};
use std::time::{Duration, Instant};

const CHANNELS: i64 = 100_000;
/// Days of 43,200 segments of two seconds, each of another channel.
const DAYS: i64 = 116;
const DAY: i64 = 43_200;
/// 2026-01-01T00:00:00Z.
const BEGIN_S: i64 = 1_767_225_600;
const ASKED: usize = 21;

#[test]
#[ignore = "takes minutes; it is for numbers"]
fn answers_are_quick_however_much_there_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("data/catalog.sqlite");
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    measure(
        "SQLite",
        folder.path(),
        &format!("sqlite://{}?mode=rwc", file.display()),
        &[],
    );
    let folder = tempfile::tempdir().expect("a folder");
    let database = Postgres::start(free_port());
    let setting = format!("catalog.url={}", database.url());
    measure("PostgreSQL", folder.path(), &database.url(), &[&setting]);
}

fn measure(name: &str, folder: &std::path::Path, url: &str, settings: &[&str]) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let began = Instant::now();
    runtime.block_on(fill(url));
    println!("{name}: filled in {:.0?}", began.elapsed());
    let server = Server::start(folder, settings);
    let token = server.token.clone().expect("the first start");
    let median = |what: &str, limit_ms: u64, path: &dyn Fn(usize) -> String| {
        let mut times: Vec<Duration> = (0..ASKED)
            .map(|at| {
                let path = path(at);
                let asked = Instant::now();
                let answer = server.ask(&token, "GET", &path, None);
                assert_eq!(answer.status, 200, "{path}: {}", answer.text);
                asked.elapsed()
            })
            .collect();
        times.sort_unstable();
        let median = times[ASKED / 2];
        println!(
            "{name}: {what}: median {median:.1?}, longest {:.1?}",
            times[ASKED - 1]
        );
        assert!(
            median < Duration::from_millis(limit_ms),
            "{what}: {median:?}"
        );
    };
    let channel = |at: usize| format!("c{:06}", (at * 4_001) % CHANNELS as usize);
    median("status", 10, &|at| {
        format!("/api/v1/channels/live/{}/status", channel(at))
    });
    median("page of the listing", 10, &|at| {
        format!("/api/v1/channels?limit=100&marker=live/{}", channel(at))
    });
    median("page by label", 10, &|at| {
        format!("/api/v1/channels?label=group=g{}", at % 100)
    });
    median("sessions", 10, &|at| {
        format!("/api/v1/channels/live/c{:06}/sessions", at)
    });
    median("playlist of a day", 150, &|at| {
        let end = BEGIN_S + 86_400;
        format!("/hls/live/c{at:06}/index.m3u8?start={BEGIN_S}&end={end}")
    });
    let day = server.get(&format!(
        "/hls/live/c000000/index.m3u8?start={BEGIN_S}&end={}",
        BEGIN_S + 86_400
    ));
    assert_eq!(day.text.matches("#EXTINF").count() as i64, DAY);
}

/// Numbers from 0 up to `$1`, in both databases.
const NUMBERS: &str = "WITH RECURSIVE n(i) AS (SELECT CAST(0 AS BIGINT) UNION ALL SELECT i + 1 FROM n WHERE i < $1 - 1)";

async fn fill(url: &str) {
    Catalog::open(url).await.expect("opens").close().await;
    let pool = AnyPool::connect(url).await.expect("connects");
    let name = "'c' || substr('000000' || i, length('000000' || i) - 5)";
    let insert = |into: &str, select: String| {
        sqlx::AssertSqlSafe(format!(
            "INSERT INTO {into} SELECT * FROM ({NUMBERS} SELECT {select} FROM n) AS rows"
        ))
    };
    let channels = insert(
        "channels (hub, name, enabled, settings, created_ms, changed_ms)",
        format!("'live', {name}, 1, '{{}}', 0, 0"),
    );
    pool.execute(sqlx::query(channels).bind(CHANNELS))
        .await
        .expect("channels");
    let labels = insert(
        "channel_labels",
        format!("'group', 'g' || (i % 100), 'live', {name}"),
    );
    pool.execute(sqlx::query(labels).bind(CHANNELS))
        .await
        .expect("labels");
    for day in 0..DAYS {
        let id = "20260101T000000000-0000";
        let key: RecordingKey = RecordingKey {
            channel: format!("live/c{day:06}").parse().expect("a name"),
            recording: id.parse().expect("an id"),
        };
        let (key, begin, end) = (
            recording_key(&key),
            BEGIN_S * 1000,
            (BEGIN_S + 86_400) * 1000,
        );
        let recording = format!(
            "INSERT INTO recordings (key, hub, channel, id, began_ms, until_ms, ended_ms, target_duration_s, segments, bytes, oldest_ms) VALUES ({key}, 'live', 'c{day:06}', '{id}', {begin}, {end}, {end}, 2, {DAY}, 0, {begin})"
        );
        pool.execute(sqlx::query(sqlx::AssertSqlSafe(recording)))
            .await
            .expect("recording");
        let session = format!(
            "INSERT INTO sessions VALUES ({key}, {begin}, 'live', 'c{day:06}', '{id}', {end}, 'x', 'x', NULL, '{{}}', 0, 0, 0, 0, 0, 0, 'x')"
        );
        pool.execute(sqlx::query(sqlx::AssertSqlSafe(session)))
            .await
            .expect("session");
        let select = format!("{key}, i, {begin}, {begin} + 2000 * i, 180000, 700000, 0");
        let segments = insert("segments", select);
        pool.execute(sqlx::query(segments).bind(DAY))
            .await
            .expect("segments");
    }
    let _ = pool.execute("ANALYZE").await;
    pool.close().await;
}
