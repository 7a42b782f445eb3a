//! A check after the world has stopped at each request of the store in turn.

use super::*;
use crate::catalog::{Catalog, Entry, SegmentRow, SessionRow};
use crate::control::journal::{Index, Line};
use crate::control::ledger::TrackInfo;
use crate::control::tests::settings;
use crate::id::RecordingId;
use crate::key::Container;
use crate::media::{Segment, Timestamp, WallTime};
use crate::store::disk::{self, Batch, Disk};
use crate::store::fault::Faults;
use crate::store::{Spool, Store, spool};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SEGMENTS: u64 = 5;
const BEGAN_MS: i64 = 1_763_696_695_000;

fn key() -> RecordingKey {
    RecordingKey {
        channel: ChannelId::new("live", "a").expect("a name"),
        recording: RecordingId::at(BEGAN_MS, 0),
    }
}

fn segment(number: u64) -> Segment {
    let at_ms = 2_000 * i64::try_from(number).expect("small");
    Segment {
        number,
        start: Timestamp::from_ms(at_ms),
        program_date_time: WallTime::from_unix_ms(BEGAN_MS + at_ms),
        duration: crate::media::Duration::from_ms(2_000),
        size: 1_000 + number,
        discontinuity: number == 2,
        independent: true,
        gap: false,
        parts: Vec::new(),
    }
}

/// What a process has: a disk whose spool goes to `store`.
fn process(root: &Path, store: &Store) -> (Disk, Spool) {
    let settings = spool::Settings {
        limit: 1 << 30,
        uploads: 4,
        pause: Duration::from_millis(2),
        index_interval: Duration::from_millis(5),
    };
    let (spooled, markers) = (root.join("spool"), root.join("running"));
    let spool = Spool::new(&spooled, store.clone(), settings);
    let disk = Disk::with_spool(&spooled, &markers, disk::Settings::default(), spool.clone());
    (disk.expect("a disk"), spool)
}

async fn control(root: &Path, store: &Store, disk: Disk, spool: &Spool) -> Control {
    let catalog = Catalog::sqlite(&root.join("catalog.sqlite")).await;
    let opened = Control::open(settings(), store.clone(), disk, catalog.expect("a catalog"));
    let control = opened.await.expect("opens");
    spool.follow(crate::control::confirmed::followers(&control, false));
    let open = |key: &RecordingKey| root.join("running").join(key.marker()).exists();
    spool.resume(open, Index::ends).expect("a spool");
    control
        .recover_history(Vec::new())
        .await
        .expect("recovered");
    let by = crate::control::auth::Caller::server("test");
    let made = control.put_if_missing(&by, &key().channel).await;
    made.expect("made");
    control
}

/// One push, as publish writes it: data, then index, then rows.
async fn push(disk: &Disk, control: &Control) {
    let key = key();
    let writer = disk.writer(&key.folder());
    let begin = Line::recording(key.channel.to_string(), WallTime::from_unix_ms(BEGAN_MS));
    let session = Line::Session {
        began_ms: BEGAN_MS,
        remote: "192.0.2.1:5".to_owned(),
        encoder: None,
        node: Some("a".to_owned()),
    };
    let mut notes = begin.to_text() + &session.to_text();
    control.backlog().push(Entry::Recording {
        key: key.clone(),
        began_ms: BEGAN_MS,
    });
    for number in 0..SEGMENTS {
        let segment = segment(number);
        let object = key.segment(number, Container::Ts);
        let mut batch = Batch::default();
        batch.open(object, key.marker(), "m\n".to_owned());
        let len = usize::try_from(segment.size).expect("small");
        batch.append(vec![7; len].into());
        let line = std::mem::take(&mut notes) + &Line::segment(&segment, 2).to_text();
        let (told, result) = tokio::sync::oneshot::channel();
        let done = move |result: Result<(), _>| told.send(result.is_ok()).expect("awaited");
        batch.finish(key.journal(), line, String::new(), done);
        writer.send(&mut batch).await;
        assert!(result.await.expect("an answer"));
    }
    let ended_ms = BEGAN_MS + 10_000;
    let counted = crate::control::journal::Counted::default();
    let reason = "the encoder stopped".to_owned();
    let end = Line::SessionEnd {
        ended_ms,
        reason: reason.clone(),
        counted,
    };
    let lines = end.to_text() + &Line::End { ended_ms }.to_text();
    writer.line(key.journal(), lines, |_| {}).await;
    writer.unmark(key.marker(), key.journal()).await;
    writer.flush().await;
    let row = SessionRow {
        recording: key.clone(),
        began_ms: BEGAN_MS,
        ended_ms: Some(ended_ms),
        reason: Some(reason),
        remote: "192.0.2.1:5".to_owned(),
        encoder: None,
        tracks: crate::control::json(&TrackInfo::default()),
        bytes: 5_000,
        video_frames: 0,
        audio_frames: 0,
        dropped: 0,
        discontinuities: 1,
        gaps: 0,
        node: "a".to_owned(),
    };
    control.backlog().push(Entry::Session(Box::new(row)));
    control.backlog().push(Entry::End { key, ended_ms });
}

/// How many requests the push takes, or where the world stops.
async fn stopped_at(stop_at: Option<u64>) -> u64 {
    let root = tempfile::tempdir().expect("a folder");
    let store = Store::memory();
    let faults = Faults {
        stop_at,
        ..Faults::default()
    };
    let (failing, requests): (Store, Arc<AtomicU64>) = store.failing(faults);
    let (disk, spool) = process(root.path(), &failing);
    let first = control(root.path(), &store, disk.clone(), &spool).await;
    push(&disk, &first).await;
    match stop_at {
        None => spool.drain().await,
        Some(stop_at) => {
            for _ in 0..200 {
                if requests.load(Ordering::SeqCst) >= stop_at {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    // The process is gone; the next one finishes what it left.
    first.settle(Duration::ZERO).await;
    let (disk, spool) = process(root.path(), &store);
    let control = control(root.path(), &store, disk, &spool).await;
    spool.drain().await;
    // The spool forgets a recording when its rows are written.
    let spooled = root.path().join("spool").join(key().journal());
    for _ in 0..1_000 {
        if !spooled.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let how = How {
        repair: false,
        idle: Duration::ZERO,
    };
    let report = control.check(how, |_, _, _| {}).await.expect("looked");
    let cards = |finding: &&Finding| !matches!(finding.problem, Problem::Card);
    let found: Vec<_> = report.findings.iter().filter(cards).collect();
    assert!(found.is_empty(), "stopped at {stop_at:?}: {found:?}");
    assert_eq!(report.recordings, 1);
    let rows = control
        .catalog()
        .segments_begun(&key(), i64::MIN..i64::MAX, false, 100)
        .await;
    let rows = rows.expect("listed");
    let wanted: Vec<_> = (0..SEGMENTS)
        .map(|number| SegmentRow::of(&segment(number), BEGAN_MS))
        .collect();
    assert_eq!(rows, wanted, "history misses nothing");
    requests.load(Ordering::SeqCst)
}

#[tokio::test]
async fn killed_between_any_two_requests_a_check_finds_nothing() {
    let total = stopped_at(None).await;
    assert!(total > SEGMENTS, "{total} requests");
    for stop_at in 1..=total {
        stopped_at(Some(stop_at)).await;
    }
}

/// The index in the store names what the store has lost, and the spool still has it.
#[tokio::test]
async fn what_the_spool_still_has_is_given_back_to_the_store() {
    let root = tempfile::tempdir().expect("a folder");
    let store = Store::memory();
    let (disk, spool) = process(root.path(), &store);
    let running = control(root.path(), &store, disk.clone(), &spool).await;
    let writer = disk.writer(&key().folder());
    for number in 0..SEGMENTS {
        let segment = segment(number);
        let object = key().segment(number, Container::Ts);
        let mut batch = Batch::default();
        batch.open(object, key().marker(), "m\n".to_owned());
        let len = usize::try_from(segment.size).expect("small");
        batch.append(vec![7; len].into());
        let line = Line::segment(&segment, 2).to_text();
        let lost = String::new();
        batch.finish(key().journal(), line, lost, |_| {});
        writer.send(&mut batch).await;
    }
    let named = async || match store.get(&key().journal()).await {
        Ok(text) => Index::parse(&text).segments.len(),
        Err(_) => 0,
    };
    while named().await < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let object = key().segment(0, Container::Ts);
    store.delete(&object).await.expect("gone");
    let check = async |repair: bool| {
        let idle = Duration::ZERO;
        let report = running.check(How { repair, idle }, |_, _, _| {}).await;
        let found = report.expect("looked").findings.into_iter();
        let found = found.filter(|finding| finding.problem != Problem::Card);
        let told = found.map(|finding| (finding.problem, finding.mended));
        told.collect::<Vec<_>>()
    };
    let missing = Problem::Missing {
        number: 0,
        found: None,
    };
    let spooled = (Problem::Spooled, false);
    let found = check(false).await;
    assert_eq!(found, [spooled.clone(), (missing.clone(), false)]);
    assert_eq!(check(true).await, [spooled.clone(), (missing, true)]);
    let back = store.get(&object).await.expect("it is there again");
    assert_eq!(back.len() as u64, segment(0).size);
    assert_eq!(check(false).await, [spooled]);
}
