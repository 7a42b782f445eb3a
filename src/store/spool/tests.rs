//! Segments through the spool into a store that fails in every way.

use super::*;
use crate::id::{ChannelId, RecordingId};
use crate::key::{Container, MediaPath};
use crate::store::disk::{self, Batch, Disk, Writer};
use crate::store::fault::Faults;
use futures_util::FutureExt;
use futures_util::TryStreamExt;

const SEGMENTS: u64 = 12;

/// Lines are `number\n`, the last one `end\n`.
fn ends(text: &[u8]) -> Vec<(u64, u64)> {
    let mut end = 0;
    let lines = std::str::from_utf8(text)
        .expect("text")
        .split_inclusive('\n');
    let ends = lines.filter_map(|line| {
        end += line.len() as u64;
        Some((line.trim().parse().ok()?, end))
    });
    ends.collect()
}

/// Publishes the lines themselves, and keeps what it was told as news.
struct Lines {
    key: RecordingKey,
    text: String,
    told: Told,
}

impl Lines {
    fn publish(&self, path: MediaPath, text: &str) -> Published {
        Published {
            object: path.to_string(),
            text: text.to_owned().into(),
            max_age_s: 1,
        }
    }

    fn index(&self) -> Published {
        let path = MediaPath::Index(self.key.channel.clone());
        self.publish(path, &self.key.recording.to_string())
    }
}

/// What followers were told as news, and whether they say that it is safe.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<String>>, Arc<AtomicBool>);

impl Told {
    fn text(&self) -> String {
        self.0.lock().expect("not poisoned").clone()
    }
}

impl Follower for Lines {
    fn extend(&mut self, lines: &[u8], fresh: bool) {
        let lines = std::str::from_utf8(lines).expect("text");
        self.text += lines;
        if fresh {
            *self.told.0.lock().expect("not poisoned") += lines;
        }
    }

    fn current(&mut self) -> Vec<Published> {
        let media = MediaPath::Media(self.key.clone());
        vec![self.publish(media, &self.text), self.index()]
    }

    fn settled(&mut self, index: &[u8]) -> Vec<Published> {
        let text = std::str::from_utf8(index).expect("text");
        let vod = MediaPath::Vod(self.key.clone());
        vec![self.publish(vod, text), self.index()]
    }

    fn index(&self, text: Vec<u8>) -> (Vec<u8>, u64) {
        (text, 0)
    }

    fn is_behind(&self, ours: &Published, theirs: &[u8]) -> bool {
        match ours.object.ends_with("index.m3u8") {
            true => theirs > &ours.text[..],
            false => theirs.len() > ours.text.len(),
        }
    }

    fn keep(&self) -> usize {
        3
    }

    fn safe(&self) -> BoxFuture<'static, ()> {
        let safe = self.told.1.clone();
        async move {
            while !safe.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
        .boxed()
    }
}

struct World {
    root: tempfile::TempDir,
    store: Store,
    key: RecordingKey,
    told: Told,
}

impl World {
    fn new() -> Self {
        Self {
            root: tempfile::tempdir().expect("a folder"),
            store: Store::memory(),
            told: Told(Arc::default(), Arc::new(AtomicBool::new(true))),
            key: RecordingKey {
                channel: ChannelId::new("live", "a").expect("a name"),
                recording: RecordingId::at(0, 0),
            },
        }
    }

    /// What a process has: a disk whose spool goes to a store with these faults.
    fn process(&self, faults: Faults) -> (Disk, Spool, Arc<AtomicU64>) {
        self.process_with(faults, 1 << 30)
    }

    fn process_with(&self, faults: Faults, limit: u64) -> (Disk, Spool, Arc<AtomicU64>) {
        let (store, requests) = self.store.failing(faults);
        let settings = Settings {
            limit,
            uploads: 8,
            pause: Duration::from_millis(2),
            index_interval: Duration::from_millis(5),
        };
        let told = self.told.clone();
        let root = self.root.path().join("spool");
        let spool = Spool::new(&root, store, settings);
        spool.follow(Box::new(move |key| {
            let follower = Lines {
                key: key.clone(),
                text: String::new(),
                told: told.clone(),
            };
            std::future::ready(Box::new(follower) as Box<dyn Follower>).boxed()
        }));
        let markers = self.root.path().join("running");
        let disk = Disk::with_spool(&root, &markers, disk::Settings::default(), spool.clone());
        let disk = disk.expect("a disk");
        let open = |key: &RecordingKey| markers.join(key.marker()).exists();
        spool.resume(open, ends).expect("a spool");
        (disk, spool, requests)
    }

    async fn segment(&self, writer: &Writer, number: u64) -> bool {
        let (told, result) = tokio::sync::oneshot::channel();
        let object = self.key.segment(number, Container::Ts);
        let mut batch = Batch::default();
        batch.open(object, self.key.marker(), "m\n".into());
        batch.append(bytes(number));
        let line = format!("{number}\n");
        let lost = format!("lost {number}\n");
        let done = move |result: Result<(), _>| {
            told.send(result.is_ok()).expect("the test waits");
        };
        batch.finish(self.key.journal(), line, lost, done);
        writer.send(&mut batch).await;
        result.await.expect("an answer")
    }

    async fn end(&self, writer: &Writer) {
        let line = "end\n".to_owned();
        writer.line(self.key.journal(), line, |_| {}).await;
        writer.unmark(self.key.marker(), self.key.journal()).await;
        writer.flush().await;
    }

    /// Whatever index and playlist the store has name only segments that it has, in order.
    async fn is_true(&self) {
        let listed: Vec<_> = { self.store.list("").try_collect().await }.expect("a listing");
        let media = MediaPath::Media(self.key.clone()).to_string();
        let vod = MediaPath::Vod(self.key.clone()).to_string();
        for index in [self.key.journal(), media, vod] {
            let Ok(text) = self.store.get(&index).await else {
                continue;
            };
            for (nth, (number, _)) in (0..).zip(ends(&text)) {
                assert_eq!(nth, number, "{index} is in order");
                let object = self.key.segment(number, Container::Ts);
                let there = listed.iter().any(|listed| listed.object == object);
                assert!(there, "{index} names {object}");
            }
        }
    }

    async fn is_complete(&self) {
        self.is_true().await;
        for number in 0..SEGMENTS {
            let object = self.key.segment(number, Container::Ts);
            let stored = self.store.get(&object).await.expect("every segment");
            assert_eq!(stored, bytes(number));
        }
        let index = self.store.get(&self.key.journal()).await.expect("an index");
        assert!(index.ends_with(b"\nend\n"));
        let vod = MediaPath::Vod(self.key.clone()).to_string();
        assert_eq!(self.store.get(&vod).await.expect("a playlist"), index);
        self.spool_is_empty().await;
    }

    /// Its last files go a moment after the shipment.
    async fn spool_is_empty(&self) {
        for _ in 0..1000 {
            let left = fs::read_dir(self.root.path().join("spool")).expect("a folder");
            if left.count() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        panic!("the spool is not empty");
    }
}

fn bytes(number: u64) -> Bytes {
    vec![number as u8; 1000 + number as usize].into()
}

async fn check(faults: Faults) {
    let world = World::new();
    let (disk, spool, _) = world.process(faults);
    let writer = disk.writer(&world.key.folder());
    for number in 0..SEGMENTS {
        assert!(world.segment(&writer, number).await);
        world.is_true().await;
    }
    world.end(&writer).await;
    spool.drain().await;
    world.is_complete().await;
    assert_eq!(spool.used(), 0);
    let index = world.store.get(&world.key.journal()).await.expect("there");
    assert_eq!(world.told.text().as_bytes(), index, "each line once");
}

#[tokio::test]
async fn everything_arrives_in_order_whatever_fails() {
    check(Faults::default()).await;
    check(Faults {
        refuse_every: 3,
        ..Faults::default()
    })
    .await;
    check(Faults {
        no_conditions: true,
        refuse_every: 5,
        ..Faults::default()
    })
    .await;
    check(Faults {
        lose_answer_every: 2,
        ..Faults::default()
    })
    .await;
    check(Faults {
        refuse_every: 2,
        lose_answer_every: 3,
        delay: Duration::from_millis(2),
        ..Faults::default()
    })
    .await;
}

/// The world stops at each request of the store in turn; a new process finishes.
#[tokio::test]
async fn killed_between_any_two_requests_nothing_is_missing() {
    let world = World::new();
    let (disk, spool, requests) = world.process(Faults::default());
    let writer = disk.writer(&world.key.folder());
    for number in 0..SEGMENTS {
        world.segment(&writer, number).await;
    }
    world.end(&writer).await;
    spool.drain().await;
    let total = requests.load(Ordering::SeqCst);
    assert!(total > SEGMENTS + 2, "{total} requests");

    for stop_at in 1..=total {
        let mut world = World::new();
        let (disk, _spool, requests) = world.process(Faults {
            stop_at: Some(stop_at),
            ..Faults::default()
        });
        let writer = disk.writer(&world.key.folder());
        for number in 0..SEGMENTS {
            world.segment(&writer, number).await;
        }
        world.end(&writer).await;
        // As many uploads as come before the stop; then the process is gone.
        for _ in 0..100 {
            if requests.load(Ordering::SeqCst) >= stop_at {
                break;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
        world.is_true().await;
        let first = std::mem::take(&mut world.told);
        world.told.1.store(true, Ordering::SeqCst);
        let (_, spool, _) = world.process(Faults::default());
        spool.drain().await;
        world.is_complete().await;
        // The second process takes up where the store's confirmations of the first ended. What was
        // confirmed and not told any more is restored by whoever keeps the rows.
        let whole = world.store.get(&world.key.journal()).await.expect("there");
        let whole = std::str::from_utf8(&whole).expect("text");
        assert!(whole.starts_with(&first.text()) && whole.ends_with(&world.told.text()));
    }
}

/// Nobody hears of a segment that the store does not have, and the index stays until all is told.
#[tokio::test]
async fn news_follow_the_store_and_the_index_waits_until_they_are_safe() {
    let world = World::new();
    world.told.1.store(false, Ordering::SeqCst);
    let down = Faults {
        refuse_every: 1,
        ..Faults::default()
    };
    let (disk, _, requests) = world.process(down);
    let writer = disk.writer(&world.key.folder());
    for number in 0..SEGMENTS {
        assert!(world.segment(&writer, number).await);
    }
    world.end(&writer).await;
    while requests.load(Ordering::SeqCst) < 20 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(world.told.text(), "", "nothing is confirmed");

    let (_, spool, _) = world.process(Faults::default());
    spool.drain().await;
    assert_eq!(world.told.text().lines().count() as u64, SEGMENTS + 1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let journal = world.root.path().join("spool").join(world.key.journal());
    assert!(journal.exists(), "who reads it again tells it again");
    world.told.1.store(true, Ordering::SeqCst);
    world.spool_is_empty().await;
}

/// A request of a process that was thought dead arrives after its successor's.
#[tokio::test]
async fn an_older_writer_does_not_undo_a_newer_one() {
    let world = World::new();
    let (disk, spool, _) = world.process(Faults::default());
    let writer = disk.writer(&world.key.folder());
    assert!(world.segment(&writer, 0).await);
    let media = MediaPath::Media(world.key.clone()).to_string();
    while world.store.get(&media).await.is_err() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let newer = Bytes::from_static(b"0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    for object in [&media, &world.key.journal()] {
        world.store.put(object, newer.clone()).await.expect("room");
    }
    assert!(world.segment(&writer, 1).await);
    world.end(&writer).await;
    spool.drain().await;
    for object in [&media, &world.key.journal()] {
        assert_eq!(
            world.store.get(object).await.expect("there"),
            newer,
            "{object}"
        );
    }
}

#[tokio::test]
async fn a_full_spool_refuses_and_shows_gaps_and_recovers() {
    let world = World::new();
    let down = Faults {
        refuse_every: 1,
        ..Faults::default()
    };
    let (disk, spool, _) = world.process_with(down, 5_000);
    let writer = disk.writer(&world.key.folder());
    let mut kept = 0;
    for number in 0..SEGMENTS {
        kept += u64::from(world.segment(&writer, number).await);
    }
    assert!((4..=6).contains(&kept), "{kept} segments had room");
    assert!(spool.refuses());
    let index = fs::read_to_string(disk.root().join(world.key.journal())).expect("an index");
    assert_eq!(index.matches("lost").count() as u64, SEGMENTS - kept);
    let used = spool.used();
    assert!(used < 7_000, "{used} bytes");

    world.end(&writer).await;
    let (_, spool, _) = world.process(Faults::default());
    spool.drain().await;
    assert!(spool.used() == 0 && !spool.refuses(), "there is room again");
}

#[tokio::test]
async fn one_recording_that_fails_holds_back_no_other() {
    let world = World::new();
    let (disk, spool, _) = world.process(Faults::default());
    let mut missing = World::new();
    missing.key.recording = RecordingId::at(1, 1);
    let stuck = disk.writer(&missing.key.folder());
    assert!(missing.segment(&stuck, 0).await);
    // Its file is gone before it is read: it is tried for ever.
    let _ = fs::remove_file(disk.root().join(missing.key.segment(0, Container::Ts)));
    let writer = disk.writer(&world.key.folder());
    for number in 0..SEGMENTS {
        world.segment(&writer, number).await;
    }
    world.end(&writer).await;
    while !spool
        .recordings(&world.key.channel)
        .iter()
        .all(|key| *key == missing.key)
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.is_true().await;
}

/// Uploads that hang hold all turns while indexes fall due: each recording goes on all the same.
#[tokio::test]
async fn more_recordings_than_uploads_at_a_time_do_not_wait_for_each_other() {
    let worlds: Vec<_> = (0..6u8)
        .map(|nth| {
            let mut world = World::new();
            world.key.recording = RecordingId::at(nth.into(), 0);
            world
        })
        .collect();
    let slow = Faults {
        delay: Duration::from_millis(20),
        ..Faults::default()
    };
    let (disk, spool, _) = worlds[0].process(slow);
    for number in 0..SEGMENTS {
        for world in &worlds {
            let writer = disk.writer(&world.key.folder());
            assert!(world.segment(&writer, number).await);
        }
    }
    for world in &worlds {
        world.end(&disk.writer(&world.key.folder())).await;
    }
    let drained = tokio::time::timeout(Duration::from_secs(20), spool.drain()).await;
    assert!(drained.is_ok(), "they wait for each other");
}

#[tokio::test]
async fn a_late_recording_does_not_take_the_channel_back() {
    let world = World::new();
    let mut newer = World::new();
    newer.key.recording = RecordingId::at(1, 0);
    let index = MediaPath::Index(world.key.channel.clone()).to_string();
    let (disk, spool, _) = world.process(Faults::default());
    for key in [&newer, &world] {
        let writer = disk.writer(&key.key.folder());
        assert!(key.segment(&writer, 0).await);
        key.end(&writer).await;
        spool.drain().await;
        let text = world.store.get(&index).await.expect("a playlist");
        assert_eq!(text, newer.key.recording.to_string());
    }
}
