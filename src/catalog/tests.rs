//! The same tests on SQLite and on a real PostgreSQL.

use super::*;
use crate::clock;
use crate::id::{ChannelId, RecordingId};
use crate::key::RecordingKey;
use crate::media::{Segment, Timestamp, WallTime};
use std::collections::BTreeMap;

#[path = "../../tests/e2e/support/port.rs"]
mod port;
#[path = "../../tests/api/postgres.rs"]
mod postgres;
use port::free_port;
use postgres::Postgres;

/// Runs `test` on both databases.
async fn on_both<F: Future<Output = ()>>(test: impl Fn(Catalog) -> F) {
    let folder = tempfile::tempdir().expect("a folder");
    let sqlite = Catalog::sqlite(&folder.path().join("a b%?.sqlite")).await;
    test(sqlite.expect("opens")).await;
    let server = Postgres::start(free_port());
    let postgres = Catalog::open(&server.url()).await.expect("opens");
    test(postgres.clone()).await;
    postgres.close().await;
}

fn id(hub: &str, name: &str) -> ChannelId {
    ChannelId::new(hub, name).expect("names")
}

fn channel(hub: &str, name: &str) -> ChannelRow {
    ChannelRow {
        id: id(hub, name),
        enabled: true,
        settings: "{}".to_owned(),
        created_ms: 1,
        changed_ms: 1,
        retention_s: None,
        retention_bytes: None,
    }
}

fn recording(name: &str, at: i64) -> RecordingKey {
    RecordingKey {
        channel: id("live", name),
        recording: RecordingId::at(at, 7),
    }
}

fn segment(number: u64, at: i64) -> SegmentRow {
    let segment = Segment {
        number,
        start: Timestamp::ZERO,
        program_date_time: WallTime::from_unix_ms(at),
        duration: crate::media::Duration::from_ms(2_000),
        size: 1000,
        discontinuity: number == 1,
        independent: true,
        gap: number == 2,
        parts: Vec::new(),
    };
    let row = SegmentRow::of(&segment, 5);
    assert_eq!(row.segment(), segment);
    row
}

fn session(key: &RecordingKey, began_ms: i64) -> SessionRow {
    SessionRow {
        recording: key.clone(),
        began_ms,
        ended_ms: None,
        reason: None,
        remote: "192.0.2.1:5".to_owned(),
        encoder: Some("OBS".to_owned()),
        tracks: "{}".to_owned(),
        bytes: 1,
        video_frames: 2,
        audio_frames: 3,
        dropped: 4,
        discontinuities: 5,
        gaps: 6,
        node: "a".to_owned(),
    }
}

#[tokio::test]
async fn channels_are_listed_in_the_order_of_their_bytes() {
    on_both(|catalog| async move {
        let names = ["B", "a", "a-", "a.b", "a_", "aa", "ab", "b", "~"];
        for name in names {
            let labels = BTreeMap::from([("kind".to_owned(), name[..1].to_owned())]);
            let put = catalog.put_channel(&channel("live", name), &labels).await;
            put.expect("written");
        }
        let mut off = channel("other/hub", "a");
        off.enabled = false;
        let put = catalog.put_channel(&off, &BTreeMap::new()).await;
        put.expect("written");
        let list = async |filter: ChannelFilter, limit| -> Vec<String> {
            let rows = catalog.channels(&filter, limit).await.expect("listed");
            rows.iter().map(|row| row.id.to_string()).collect()
        };
        let hub = Some("live".to_owned());
        let all = list(ChannelFilter::default(), 100).await;
        assert_eq!(all.len(), names.len() + 1);
        assert!(all.is_sorted(), "{all:?}");
        let mut walked = Vec::new();
        let mut filter = ChannelFilter::default();
        loop {
            let page = catalog.channels(&filter, 3).await.expect("listed");
            let Some(last) = page.last() else { break };
            filter.after = Some((last.id.hub.to_string(), last.id.name.to_string()));
            walked.extend(page.iter().map(|row| row.id.to_string()));
        }
        assert_eq!(walked, all);
        let a = ChannelFilter {
            hub,
            prefix: Some("a".to_owned()),
            ..ChannelFilter::default()
        };
        assert_eq!(
            list(a, 100).await,
            [
                "live/a", "live/a-", "live/a.b", "live/a_", "live/aa", "live/ab"
            ]
        );
        let b = ChannelFilter {
            label: Some(("kind".to_owned(), "b".to_owned())),
            ..ChannelFilter::default()
        };
        assert_eq!(list(b, 100).await, ["live/b"]);
        let off = ChannelFilter {
            enabled: Some(false),
            ..ChannelFilter::default()
        };
        assert_eq!(list(off, 100).await, ["other/hub/a"]);
        assert_eq!(catalog.count_channels().await.expect("counted"), 10);
        assert!(
            catalog
                .delete_channel(&id("live", "b"))
                .await
                .expect("gone")
        );
        assert!(
            !catalog
                .delete_channel(&id("live", "b"))
                .await
                .expect("gone")
        );
        assert_eq!(catalog.channel(&id("live", "b")).await.expect("read"), None);
        let hubs = catalog.hubs(None, 10).await.expect("hubs");
        assert_eq!(hubs.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn segments_of_many_recordings_are_counted_once_each() {
    on_both(|catalog| async move {
        let keys: Vec<_> = (0..5).map(|n| recording(&format!("c{n}"), 1_000)).collect();
        let (backlog, task) = Backlog::start(catalog.clone());
        // Only the first has a row of its own before its segments; all come twice.
        let began_ms = 1_000;
        let key = keys[0].clone();
        backlog.push(Entry::Recording { key, began_ms });
        for number in (0..40).chain(0..40) {
            for (nth, key) in keys.iter().enumerate() {
                let mut row = segment(number, 10_000 + 2_000 * number as i64);
                if nth == 1 && number < 10 {
                    row.flags |= flags::EXPIRED;
                }
                backlog.push(Entry::Segment {
                    key: key.clone(),
                    row,
                    target_duration_s: 2,
                });
            }
        }
        drop(backlog);
        task.await.expect("ends when all is written");
        for (nth, key) in keys.iter().enumerate() {
            let row = catalog.recording(key).await.expect("read");
            let row = row.expect("there is one");
            let began_ms = if nth == 0 { 1_000 } else { 10_000 };
            assert_eq!((row.segments, row.bytes), (40, 40_000), "{key}");
            assert_eq!((row.began_ms, row.until_ms), (began_ms, 90_000), "{key}");
            assert_eq!(row.target_duration_s, 2);
        }
        let usage = catalog.usage().await.expect("asked");
        assert_eq!((usage.bytes, usage.withdrawn), (200_000, 10_000));
    })
    .await;
}

#[tokio::test]
async fn history_is_written_behind_the_pushes_and_bears_repetition() {
    on_both(|catalog| async move {
        let (backlog, task) = Backlog::start(catalog.clone());
        let key = recording("a", 10_000);
        for _ in 0..2 {
            backlog.push(Entry::Recording {
                key: key.clone(),
                began_ms: 10_000,
            });
            backlog.push(Entry::Session(Box::new(session(&key, 10_000))));
            for number in 0..5 {
                let row = segment(number, 10_100 + 2_000 * number as i64);
                backlog.push(Entry::Segment {
                    key: key.clone(),
                    row,
                    target_duration_s: 2,
                });
            }
        }
        let mut ended = session(&key, 10_000);
        ended.ended_ms = Some(20_100);
        ended.reason = Some("the encoder stopped".to_owned());
        backlog.push(Entry::Session(Box::new(ended.clone())));
        let other = recording("a", 90_000);
        backlog.push(Entry::Session(Box::new(session(&other, 90_000))));
        backlog.push(Entry::End {
            key: key.clone(),
            ended_ms: 50_000,
        });
        drop(backlog);
        task.await.expect("ends when all is written");

        let channel = &key.channel;
        let recordings = catalog
            .recordings(channel, 0..i64::MAX, 10)
            .await
            .expect("listed");
        let expected = RecordingRow {
            key: key.clone(),
            began_ms: 10_000,
            until_ms: 20_100,
            ended_ms: Some(50_000),
            target_duration_s: 2,
            segments: 5,
            bytes: 5000,
        };
        assert_eq!(recordings, [expected]);
        let none = catalog
            .recordings(channel, 20_100..30_000, 10)
            .await
            .expect("listed");
        assert_eq!(none, []);
        let range = |range| catalog.segments(&key, range, 0, 100);
        let numbers = |rows: Vec<SegmentRow>| rows.iter().map(|row| row.number).collect::<Vec<_>>();
        assert_eq!(
            numbers(range(0..100_000).await.expect("rows")),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(numbers(range(12_100..14_101).await.expect("rows")), [1, 2]);
        assert_eq!(
            range(0..100_000).await.expect("rows")[2],
            segment(2, 14_100)
        );

        let newest = catalog
            .sessions(channel, 0..i64::MAX, None, 10)
            .await
            .expect("listed");
        assert_eq!(newest, [session(&other, 90_000), ended.clone()]);
        let next = catalog
            .sessions(channel, 0..i64::MAX, Some(90_000), 10)
            .await
            .expect("listed");
        assert_eq!(next, [ended]);
        let running = catalog.running("a", 10).await.expect("listed");
        assert_eq!(running, [session(&other, 90_000)]);
        assert_eq!(catalog.running("b", 10).await.expect("listed"), []);
    })
    .await;
}

#[tokio::test]
async fn a_hub_is_removed_when_nothing_is_left_of_it() {
    on_both(|catalog| async move {
        let live = "live".parse().expect("a name");
        assert_eq!(catalog.hub(&live).await.expect("answers"), None);
        let row = |created_ms, access| HubRow { created_ms, access };
        catalog.put_hub(&live, row(5, 0)).await.expect("written");
        catalog.put_hub(&live, row(6, 2)).await.expect("written");
        let found = catalog.hub(&live).await.expect("answers");
        assert_eq!(found, Some(row(5, 2)), "its age stays");
        let channel = channel("live", "a");
        let labels = BTreeMap::new();
        catalog
            .put_channel(&channel, &labels)
            .await
            .expect("written");
        let kept = catalog.hub(&live).await.expect("answers");
        assert_eq!(kept, Some(row(5, 2)), "a channel changes nothing of it");
        assert!(!catalog.delete_hub(&live).await.expect("answers"));
        assert!(catalog.delete_channel(&channel.id).await.expect("answers"));
        assert!(catalog.delete_hub(&live).await.expect("answers"));
        assert!(!catalog.delete_hub(&live).await.expect("answers"));
    })
    .await;
}

#[tokio::test]
async fn credentials_clips_and_the_trail_are_kept() {
    on_both(|catalog| async move {
        let row = |id: &str, secret: &str| CredentialRow {
            kind: TOKEN.to_owned(),
            id: id.to_owned(),
            secret: secret.to_owned(),
            about: "{}".to_owned(),
            created_ms: 1,
        };
        catalog.put_credential(&row("a", "one")).await.expect("put");
        catalog
            .add_credential(&row("a", "two"))
            .await
            .expect("kept");
        catalog
            .put_credential(&row("b", "three"))
            .await
            .expect("put");
        let read = catalog.credential(TOKEN, "a").await.expect("read");
        assert_eq!(read, Some(row("a", "one")));
        let found = catalog.credential_by_digest(TOKEN, "three").await;
        assert_eq!(found.expect("read"), Some(row("b", "three")));
        assert_eq!(
            catalog
                .credential_by_digest(KEY, "three")
                .await
                .expect("read"),
            None
        );
        let listed = catalog
            .credentials(TOKEN, Some("a"), 9)
            .await
            .expect("listed");
        assert_eq!(listed, [row("b", "three")]);
        assert!(catalog.delete_credential(TOKEN, "a").await.expect("gone"));
        assert!(!format!("{listed:?}").contains("three"));

        let clip = |name: &str| RangeRow {
            name: name.to_owned(),
            start_ms: 1,
            end_ms: 2,
            created_ms: 3,
        };
        let of = id("live", "a");
        catalog
            .put_range(RangeKind::Clip, &of, &clip("x"))
            .await
            .expect("put");
        catalog
            .put_range(RangeKind::Clip, &of, &clip("y"))
            .await
            .expect("put");
        assert_eq!(
            catalog
                .ranges(RangeKind::Clip, &of, Some("x"), 9)
                .await
                .expect("listed"),
            [clip("y")]
        );
        assert!(
            catalog
                .delete_range(RangeKind::Clip, &of, "x")
                .await
                .expect("gone")
        );
        assert_eq!(
            catalog
                .range(RangeKind::Clip, &of, "x")
                .await
                .expect("read"),
            None
        );

        for at in [5, 6] {
            let row = AuditRow {
                id: at,
                at_ms: at,
                actor: "me".to_owned(),
                action: "did this".to_owned(),
                object: "live/a".to_owned(),
                detail: "{}".to_owned(),
            };
            catalog.add_audit(&row).await.expect("added");
        }
        let trail = catalog.audit(None, 9).await.expect("read");
        assert_eq!(trail.iter().map(|row| row.id).collect::<Vec<_>>(), [6, 5]);
        assert_eq!(catalog.audit(Some(6), 9).await.expect("read").len(), 1);
    })
    .await;
}

#[tokio::test]
async fn rows_wait_for_a_database_that_is_away_and_a_full_queue_remembers_whose_it_refused() {
    let mut server = Postgres::start(free_port());
    let catalog = Catalog::open(&server.url()).await.expect("opens");
    let (backlog, task) = Backlog::with_capacity(catalog.clone(), 8);
    let key = recording("a", 0);
    server.stop();
    let entry = |key: &RecordingKey| Entry::Recording {
        key: key.clone(),
        began_ms: 0,
    };
    backlog.push(entry(&key));
    while backlog.health().away.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let called = clock::monotonic();
    let error = catalog.channel(&key.channel).await.expect_err("away");
    assert!(error.is_passing(), "{error}");
    assert!(called.elapsed() < Duration::from_secs(5));
    let late = recording("late", 0);
    for _ in 0..9 {
        backlog.push(entry(&late));
    }
    assert_eq!((backlog.health().waiting, backlog.health().refused), (9, 1));
    assert!(backlog.take_torn().is_empty(), "no room yet");
    server.restart();
    while backlog.health().waiting > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(
        backlog.take_torn().into_iter().collect::<Vec<_>>(),
        std::slice::from_ref(&late)
    );
    for key in [&key, &late] {
        let rows = catalog
            .recordings(&key.channel, -1..1, 9)
            .await
            .expect("back");
        assert_eq!(rows.len(), 1, "{key}");
    }
    drop(backlog);
    task.await.expect("ends");
    catalog.close().await;
}

#[test]
fn a_password_is_not_shown() {
    let check = |url, shown: &str| assert_eq!(without_password(url), shown);
    check(
        "postgres://me:secret@host:5432/db?password=x",
        "postgres://host:5432/db",
    );
    check("sqlite:///a/b.sqlite?mode=rwc", "sqlite:///a/b.sqlite");
    check("secret", "no URL");
}

#[tokio::test]
async fn only_its_owner_reads_the_catalog_and_what_sqlite_puts_beside_it() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let catalog = Catalog::sqlite(&folder.path().join("catalog.sqlite")).await;
    let _open = catalog.expect("a catalog");
    let files: Vec<_> = std::fs::read_dir(folder.path())
        .expect("readable")
        .collect();
    assert!(!files.is_empty());
    for file in files {
        let file = file.expect("an entry");
        let mode = file.metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", file.path());
    }
}

#[tokio::test]
async fn what_expires_is_found_flagged_and_gone_on_both_databases() {
    on_both(|catalog| async move {
        let (mine, other) = (recording("a", 1_000), recording("b", 2_000));
        let own = ChannelRow {
            retention_s: Some(60),
            retention_bytes: Some(5_000),
            ..channel("live", "a")
        };
        let none = BTreeMap::new();
        catalog.put_channel(&own, &none).await.expect("written");
        let (backlog, writing) = Backlog::start(catalog.clone());
        for (key, at) in [(&mine, 1_000), (&other, 2_000)] {
            let (key, began_ms) = (key.clone(), at);
            backlog.push(Entry::Recording { key, began_ms });
        }
        for number in 0..10 {
            for key in [&mine, &other] {
                backlog.push(Entry::Segment {
                    key: key.clone(),
                    row: segment(number, 10_000 + number as i64 * 2_000),
                    target_duration_s: 2,
                });
            }
        }
        drop(backlog);
        writing.await.expect("written");

        let now = 1_000_000;
        let of = |found: Vec<Candidate>| found.into_iter().map(|c| c.key).collect::<Vec<_>>();
        let aged = async |age| of(catalog.aged(now, age, 10).await.expect("asked"));
        assert_eq!(
            aged(None).await,
            std::slice::from_ref(&mine),
            "by its own age"
        );
        assert_eq!(aged(Some(10)).await, [mine.clone(), other.clone()]);
        assert_eq!(aged(Some(999)).await, std::slice::from_ref(&mine));
        let large = catalog.too_large(None).await.expect("asked");
        assert_eq!(large.len(), 1);
        assert_eq!((large[0].1.bytes, large[0].2), (10_000, 5_000));
        assert_eq!(
            catalog.too_large(Some(6_000)).await.expect("asked").len(),
            2
        );
        let usage = catalog.usage().await.expect("asked");
        assert_eq!((usage.bytes, usage.target_duration_s), (20_000, 2));
        let oldest = catalog
            .oldest(Some(&mine.channel), 10)
            .await
            .expect("asked");
        assert_eq!(of(oldest), std::slice::from_ref(&mine));

        let clip = RangeRow {
            name: "c".to_owned(),
            start_ms: 12_000,
            end_ms: 13_000,
            created_ms: 1,
        };
        catalog
            .put_range(RangeKind::Clip, &mine.channel, &clip)
            .await
            .expect("written");
        let named = catalog.named_ranges(&mine.channel, 0..now).await;
        let named = named.expect("asked");
        assert_eq!((named.len(), &named[0]), (1, &(12_000..13_000)));
        let expiry = Expiry {
            numbers: 0..4,
            cause: Cause::Next,
            runs: vec![0..1, 2..4],
            oldest_ms: 18_000,
            kept: 1,
            discontinuities: 1,
            due_ms: 500,
        };
        catalog.expire(&mine, &expiry).await.expect("written");
        let numbers = |rows: Vec<SegmentRow>| rows.iter().map(|row| row.number).collect::<Vec<_>>();
        let listed = catalog.segments(&mine, 0..i64::MAX, 0, 100).await;
        assert_eq!(numbers(listed.expect("asked")), [1, 4, 5, 6, 7, 8, 9]);
        assert_eq!(
            of(catalog.with_kept(10).await.expect("asked")),
            std::slice::from_ref(&mine)
        );
        assert_eq!(catalog.usage().await.expect("asked").withdrawn, 3_000);
        assert_eq!(catalog.due(499, 10).await.expect("asked"), []);
        let due = catalog.due(500, 10).await.expect("asked");
        assert_eq!(
            (due[0].numbers.clone(), due[0].is_all, due[0].kept),
            (0..4, false, 1)
        );
        let gone = catalog.removable(&due[0], 100).await.expect("asked");
        assert_eq!(numbers(gone.clone()), [0, 2, 3]);
        // The clip lets go while they are on their way: what only it named stays for its own time.
        let release = Expiry {
            numbers: 1..4,
            cause: Cause::Released,
            runs: std::iter::once(1..2).collect(),
            kept: 0,
            due_ms: 600,
            ..expiry.clone()
        };
        catalog.expire(&mine, &release).await.expect("written");
        assert!(catalog.has_later(&due[0]).await.expect("asked"));
        catalog.gone(&due[0], &gone).await.expect("written");
        let gone = catalog.removable(&due[0], 100).await.expect("asked");
        assert_eq!(numbers(gone), [0; 0]);
        catalog.done(&due[0]).await.expect("written");
        let due = catalog.due(600, 10).await.expect("asked");
        assert_eq!((due.len(), due[0].numbers.clone()), (1, 1..2));
        assert!(!catalog.has_later(&due[0]).await.expect("asked"));
        let gone = catalog.removable(&due[0], 100).await.expect("asked");
        assert_eq!(numbers(gone.clone()), [1]);
        catalog.gone(&due[0], &gone).await.expect("written");
        catalog.done(&due[0]).await.expect("written");
        assert_eq!(catalog.due(now, 10).await.expect("asked"), []);
        let usage = catalog.usage().await.expect("asked");
        assert_eq!((usage.bytes, usage.withdrawn), (16_000, 0));
        catalog.forget_recording(&mine).await.expect("written");
        assert_eq!(aged(None).await, []);
        let hold = RangeRow {
            name: "h".to_owned(),
            start_ms: 1,
            end_ms: 2,
            created_ms: 3,
        };
        catalog
            .put_range(RangeKind::Hold, &mine.channel, &hold)
            .await
            .expect("written");
        assert_eq!(
            catalog
                .range(RangeKind::Hold, &mine.channel, "h")
                .await
                .expect("asked"),
            Some(hold)
        );
        assert!(
            catalog
                .delete_range(RangeKind::Hold, &mine.channel, "h")
                .await
                .expect("asked")
        );
        assert_eq!(catalog.unsynced_retention().await.expect("asked"), []);
    })
    .await;
}
