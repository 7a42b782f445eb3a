//! Retention over a store that stops at each request in turn, and over many objects.

use super::{SETTINGS, SIZE, check, wind};
use crate::catalog::{Catalog, Entry, SegmentRow};
use crate::clock;
use crate::control::Control;
use crate::control::check::Problem;
use crate::control::journal::{Index, Line};
use crate::control::retention::{Retention, Settings};
use crate::control::shelf::{Playlists, named_by};
use crate::control::tests::{id, settings};
use crate::id::RecordingId;
use crate::key::{Container, MediaPath, RecordingKey};
use crate::media::{Duration as Span, Segment, Timestamp, WallTime};
use crate::store::disk::{self, Disk};
use crate::store::fault::Faults;
use crate::store::{Condition, Spool, Store, spool};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SEGMENTS: u64 = 6;
const BEGAN_MS: i64 = 1_763_696_695_000;
const SECOND_MS: i64 = 1_000;
/// Worlds that are made at one time.
const AT_ONCE: usize = 8;

/// An ended recording in a store in memory, with all its playlists.
struct Cloud {
    dir: tempfile::TempDir,
    store: Store,
    key: RecordingKey,
}

fn segment(number: u64) -> Segment {
    let after_ms = SECOND_MS * number as i64;
    Segment {
        number,
        start: Timestamp::from_ms(after_ms),
        program_date_time: WallTime::from_unix_ms(BEGAN_MS + after_ms),
        duration: Span::from_ms(SECOND_MS),
        size: SIZE as u64,
        discontinuity: false,
        independent: true,
        gap: false,
        parts: Vec::new(),
    }
}

impl Cloud {
    async fn new(segments: u64) -> Self {
        let cloud = Self {
            dir: tempfile::tempdir().expect("a directory"),
            store: Store::memory(),
            key: RecordingKey {
                channel: id("a"),
                recording: RecordingId::at(BEGAN_MS, 0),
            },
        };
        let key = &cloud.key;
        let (control, _) = cloud.process(Faults::default()).await;
        let by = crate::control::tests::me();
        let made = control.put_if_missing(&by, &key.channel).await;
        made.expect("a channel");
        let began = WallTime::from_unix_ms(BEGAN_MS);
        let mut text = Line::recording(key.channel.to_string(), began).to_text();
        let push = |entry| control.push_slowly(entry);
        let (began_ms, ended_ms) = (BEGAN_MS, BEGAN_MS + SECOND_MS * segments as i64);
        let of = key.clone();
        push(Entry::Recording { key: of, began_ms }).await;
        for number in 0..segments {
            let segment = segment(number);
            text += &Line::segment(&segment, 1).to_text();
            push(Entry::Segment {
                key: key.clone(),
                // Its recording has no session.
                row: SegmentRow::of(&segment, 0),
                target_duration_s: 1,
            })
            .await;
            let object = key.segment(number, Container::Ts);
            cloud.put(&object, vec![7; SIZE]).await;
        }
        text += &Line::End { ended_ms }.to_text();
        let of = key.clone();
        push(Entry::End { key: of, ended_ms }).await;
        cloud.put(&key.journal(), text.clone().into()).await;
        let mut shelf = Playlists::new(key, 6);
        shelf.extend(text.as_bytes());
        for published in shelf.settled(text.as_bytes()) {
            let written = cloud.store.publish(&published, Condition::Always).await;
            written.expect("room");
        }
        assert!(control.settle(Duration::from_secs(60)).await);
        cloud
    }

    async fn put(&self, object: &str, bytes: Vec<u8>) {
        let put = self.store.put(object, bytes.into()).await;
        put.expect("room");
    }

    /// A process whose store fails so, and the number of its requests.
    async fn process(&self, faults: Faults) -> (Control, Arc<AtomicU64>) {
        let (store, requests) = self.store.failing(faults);
        let root = self.dir.path();
        let spooled = spool::Settings {
            limit: 1 << 30,
            uploads: 4,
            pause: Duration::from_millis(2),
            index_interval: Duration::from_millis(5),
        };
        let spool = Spool::new(&root.join("spool"), store.clone(), spooled);
        let markers = root.join("running");
        let disk = Disk::with_spool(
            &root.join("spool"),
            &markers,
            disk::Settings::default(),
            spool,
        );
        let catalog = Catalog::sqlite(&root.join("catalog.sqlite")).await;
        let (disk, catalog) = (disk.expect("a disk"), catalog.expect("a catalog"));
        let opened = Control::open(settings(), store, disk, catalog).await;
        (opened.expect("opens"), requests)
    }

    async fn objects(&self) -> Vec<String> {
        let listed = self.store.list(&self.key.folder());
        let listed: Vec<_> = listed.try_collect().await.expect("a listing");
        listed.into_iter().map(|listed| listed.object).collect()
    }

    async fn segments_left(&self) -> u64 {
        let objects = self.objects().await;
        objects.iter().filter(|one| one.ends_with(".ts")).count() as u64
    }

    async fn text(&self, object: &str) -> Option<String> {
        let bytes = self.store.get(object).await.ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Whatever names something names what is there.
    async fn is_true(&self, moment: &str) {
        let key = &self.key;
        let objects = self.objects().await;
        let path = |path: MediaPath| path.to_string();
        let (media, vod) = (
            path(MediaPath::Media(key.clone())),
            path(MediaPath::Vod(key.clone())),
        );
        let there = |object: &String, by: &str| {
            assert!(objects.contains(object), "{moment}: {by} names {object}");
        };
        for playlist in [&media, &vod] {
            let text = self.text(playlist).await.unwrap_or_default();
            for uri in text.lines().filter(|line| line.ends_with(".ts")) {
                there(&format!("{}/{uri}", key.folder()), playlist);
            }
        }
        let index = path(MediaPath::Index(key.channel.clone()));
        if let Some(text) = self.text(&index).await {
            assert_eq!(named_by(text.as_bytes()), Some(key.recording.clone()));
            there(&media, &index);
        }
        let journal = self.text(&key.journal()).await.unwrap_or_default();
        for segment in Index::parse(journal.as_bytes()).segments {
            there(&key.segment(segment.number, Container::Ts), "the index");
        }
        let (control, _) = self.process(Faults::default()).await;
        let rows = control.catalog().unexpired(key, 0..i64::MAX, 1_000).await;
        for row in rows.expect("listed") {
            there(&key.segment(row.number as u64, Container::Ts), "history");
        }
    }
}

/// Half of it goes, and then all.
async fn work(control: &Control) {
    let keeps = |segments: u64| Settings {
        bytes: Some(segments * SIZE as u64),
        ..SETTINGS
    };
    let retention = Retention::new(control.clone(), keeps(SEGMENTS / 2), true);
    for kept in [SEGMENTS / 2, 0] {
        retention.set(Settings {
            bytes: Some(1.max(kept * SIZE as u64)),
            ..SETTINGS
        });
        retention.expire().await.expect("expires");
        wind(control).await;
        retention.remove_due().await.expect("removes");
        if kept > 0 {
            assert_eq!(check(control, false).await, []);
        }
    }
}

/// The requests that it takes, or where the world stops.
async fn stopped(faults: Faults) -> u64 {
    let cloud = Cloud::new(SEGMENTS).await;
    let (control, requests) = cloud.process(faults).await;
    let stop = faults.stop_at.or(faults.stop_after).unwrap_or(u64::MAX);
    let stopping = async {
        while requests.load(Ordering::SeqCst) < stop {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    tokio::select! {
        () = work(&control) => {}
        () = stopping => {}
    }
    drop(control);
    cloud.is_true(&format!("{faults:?}")).await;
    let (control, _) = cloud.process(Faults::default()).await;
    // Rows may be behind the index, and nothing else.
    for finding in check(&control, true).await {
        let behind = matches!(finding.problem, Problem::RowsDiffer { .. });
        assert!(behind && finding.mended, "{faults:?}: {finding}");
    }
    assert_eq!(check(&control, false).await, [], "{faults:?}");
    work(&control).await;
    assert_eq!(cloud.objects().await, [""; 0], "{faults:?}");
    let index = MediaPath::Index(cloud.key.channel.clone()).to_string();
    assert_eq!(cloud.text(&index).await, None, "{faults:?}");
    let row = control.catalog().recording(&cloud.key).await;
    assert_eq!(row.expect("asked"), None, "{faults:?}");
    requests.load(Ordering::SeqCst)
}

#[tokio::test]
async fn killed_between_any_two_requests_names_nothing_that_is_gone() {
    let total = stopped(Faults::default()).await;
    assert!(total > SEGMENTS + 10, "{total} requests");
    let at = (1..=total).map(|number| Faults {
        stop_at: Some(number),
        ..Faults::default()
    });
    let after = (1..=total).map(|number| Faults {
        stop_after: Some(number),
        ..Faults::default()
    });
    let all: Vec<_> = at.chain(after).collect();
    for some in all.chunks(AT_ONCE) {
        join_all(some.iter().map(|faults| stopped(*faults))).await;
    }
}

/// Many segments go at the pace that is set, and who writes meanwhile comes through.
#[tokio::test]
async fn many_deletions_keep_to_their_pace_beside_writes() {
    const MANY: u64 = 6_000;
    const PER_SECOND: u32 = 3_000;
    let cloud = Cloud::new(MANY).await;
    let (control, _) = cloud.process(Faults::default()).await;
    let settings = Settings {
        bytes: Some(1),
        deletes_per_second: PER_SECOND,
        ..SETTINGS
    };
    let retention = Retention::new(control.clone(), settings, true);
    retention.expire().await.expect("expires");
    wind(&control).await;
    let began = clock::monotonic();
    let writing = async {
        let mut slowest = Duration::ZERO;
        for nth in 0_u32.. {
            let at = clock::monotonic();
            let object = format!("live/b/{nth}");
            cloud.put(&object, vec![1; SIZE]).await;
            slowest = slowest.max(at.elapsed());
            let left = cloud.segments_left().await;
            let most = began.elapsed().as_secs_f64() * f64::from(PER_SECOND);
            // A batch goes at once, and then its time is waited for.
            let gone = (MANY - left) as f64;
            assert!(gone <= most + 1_000.0, "{gone} in {:?}", began.elapsed());
            if left == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        slowest
    };
    let (removed, slowest) = tokio::join!(retention.remove_due(), writing);
    removed.expect("removes");
    let took = began.elapsed();
    println!("{MANY} objects in {took:?}; a write took {slowest:?} at most");
    assert!(took >= Duration::from_millis(1_900), "{took:?}");
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
}
