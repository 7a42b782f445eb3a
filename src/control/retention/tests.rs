//! Retention over real files and a real catalog: what expires, what stays, and that it goes on
//! wherever it was stopped.

mod cloud;

use super::*;
use crate::catalog::{Entry, SegmentRow as Row};
use crate::control::check::{Finding, How, Orphan, Problem};
use crate::control::journal::{Index, Line};
use crate::control::ranges::RangeKind;
use crate::control::settings::ChannelSettings;
use crate::control::tests::{id, me, open};
use crate::control::{Catalog, Policy};
use crate::key::{Container, MediaPath, RecordingKey};
use crate::media::{Duration as Span, Segment, Timestamp, WallTime};
use std::path::Path;

const SIZE: usize = 1000;
const SECOND_MS: i64 = 1000;

struct World {
    control: Control,
    dir: tempfile::TempDir,
    began_ms: i64,
}

async fn world() -> World {
    let dir = tempfile::tempdir().expect("a directory");
    let control = start(dir.path()).await;
    let began_ms = clock::now().unix_ms() - 1000 * SECOND_MS;
    World {
        control,
        dir,
        began_ms,
    }
}

async fn start(dir: &Path) -> Control {
    let catalog = Catalog::sqlite(&dir.join("catalog.sqlite")).await;
    open(&dir.join("media"), Policy::Key, catalog.expect("a catalog")).await
}

const SETTINGS: Settings = Settings {
    age: None,
    channel_bytes: None,
    bytes: None,
    free_space: None,
    grace: Duration::ZERO,
    interval: Duration::from_millis(1),
    deletes_per_second: 1_000_000,
};

impl World {
    /// An ended recording of `count` seconds that began so many seconds after the world did; every
    /// tenth segment has a discontinuity.
    async fn record(&self, name: &str, after_s: i64, count: u64) -> RecordingKey {
        let began_ms = self.began_ms + after_s * SECOND_MS;
        let key = RecordingKey {
            channel: id(name),
            recording: crate::id::RecordingId::at(began_ms, 7),
        };
        let root = self.dir.path().join("media");
        let began = WallTime::from_unix_ms(began_ms);
        let mut text = Line::recording(key.channel.to_string(), began).to_text();
        let push = |entry| self.control.backlog().push(entry);
        push(Entry::Recording {
            key: key.clone(),
            began_ms,
        });
        for number in 0..count {
            let date_ms = began_ms + number as i64 * SECOND_MS;
            let segment = Segment {
                number,
                start: Timestamp::ZERO,
                program_date_time: WallTime::from_unix_ms(date_ms),
                duration: Span::from_ms(SECOND_MS),
                size: SIZE as u64,
                discontinuity: number % 10 == 0,
                independent: true,
                gap: false,
                parts: Vec::new(),
            };
            text += &Line::segment(&segment, 1).to_text();
            push(Entry::Segment {
                key: key.clone(),
                // Its index has no session.
                row: Row::of(&segment, 0),
                target_duration_s: 1,
            });
            let path = root.join(key.segment(number, Container::Ts));
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("room");
            std::fs::write(path, [7; SIZE]).expect("room");
        }
        let ended_ms = began_ms + count as i64 * SECOND_MS;
        text += &Line::End { ended_ms }.to_text();
        std::fs::write(root.join(key.journal()), text).expect("room");
        push(Entry::End {
            key: key.clone(),
            ended_ms,
        });
        while self.control.backlog().health().waiting > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        key
    }

    fn ms(&self, after_s: i64) -> i64 {
        self.began_ms + after_s * SECOND_MS
    }

    /// Numbers of a recording's segments that are on the disk.
    fn files(&self, key: &RecordingKey) -> Vec<u64> {
        let root = self.dir.path().join("media");
        let there = |number: &u64| root.join(key.segment(*number, Container::Ts)).exists();
        (0..200).filter(there).collect()
    }

    async fn vod(&self, key: &RecordingKey) -> Option<String> {
        let document = self.control.document(&MediaPath::Vod(key.clone())).await;
        document
            .ok()
            .map(|document| String::from_utf8_lossy(document.text()).into_owned())
    }

    /// Numbers that history names.
    async fn listed(&self, key: &RecordingKey) -> Vec<i64> {
        let rows = self
            .control
            .catalog()
            .segments(key, 0..i64::MAX, 0, 1000)
            .await;
        rows.expect("listed").iter().map(|row| row.number).collect()
    }

    fn retention(&self, settings: Settings) -> Retention {
        Retention::new(self.control.clone(), settings, false)
    }
}

/// What a check finds. Nobody writes cards here.
async fn check(control: &Control, repair: bool) -> Vec<Finding> {
    let how = How {
        repair,
        idle: Duration::ZERO,
    };
    let report = control.check(how, |_, _, _| {}).await.expect("looked");
    let found = report.findings.into_iter();
    found
        .filter(|finding| finding.problem != Problem::Card)
        .collect()
}

/// Makes what has expired due at once.
async fn wind(control: &Control) {
    let mut due = control.catalog().due(i64::MAX, 1000).await.expect("asked");
    due.sort_by_key(|due| due.due_ms);
    for due in due {
        let catalog = control.catalog();
        catalog.hurry(&due).await.expect("hurried");
    }
}

#[tokio::test]
async fn a_recording_loses_its_beginning_and_keeps_its_numbers() {
    let world = world().await;
    let key = world.record("a", 0, 100).await;
    let before = world.vod(&key).await.expect("a playlist");
    let age = Duration::from_secs(935); // 65 seconds of it are older
    let retention = world.retention(Settings {
        age: Some(age),
        ..SETTINGS
    });
    retention.expire().await.expect("expires");
    let listed = world.listed(&key).await;
    let first = listed[0];
    assert!((64..=70).contains(&first), "{first}");
    assert_eq!(
        world.files(&key).len(),
        100,
        "nobody who loaded it before misses anything"
    );
    let vod = world.vod(&key).await.expect("a playlist");
    assert!(
        vod.contains(&format!("#EXT-X-MEDIA-SEQUENCE:{first}\n")),
        "{vod}"
    );
    // The tags of 10 to 60, not of the first of all.
    let gone = (first - 1) / 10;
    assert!(
        vod.contains(&format!("#EXT-X-DISCONTINUITY-SEQUENCE:{gone}\n")),
        "{vod}"
    );
    let tail = vod.split_once("#EXT-X-PROGRAM").expect("segments").1;
    assert!(before.ends_with(tail), "the rest is as it was");
    retention.remove_due().await.expect("nothing is due");
    assert_eq!(world.files(&key).len(), 100);
    wind(&world.control).await;
    retention.remove_due().await.expect("removes");
    assert_eq!(world.files(&key).first(), Some(&(first as u64)));
    assert_eq!(world.files(&key).len() as i64, 100 - first);
    let usage = world.control.catalog().usage().await.expect("added up");
    assert_eq!(
        usage,
        Usage {
            bytes: (100 - first) * SIZE as i64,
            ..Usage::default()
        }
    );
}

#[tokio::test]
async fn clips_and_holds_keep_what_they_name_until_they_let_go() {
    let world = world().await;
    let key = world.record("a", 0, 100).await;
    world
        .control
        .put_if_missing(&me(), &key.channel)
        .await
        .expect("a channel");
    let name = |name: &str| name.parse().expect("a name");
    let (channel, by) = (&key.channel, me());
    let range = |from, to| world.ms(from)..world.ms(to);
    let clip = world
        .control
        .put_range(&by, RangeKind::Clip, channel, name("c"), range(10, 13))
        .await;
    clip.expect("a clip");
    let hold = world
        .control
        .put_range(&by, RangeKind::Hold, channel, name("h"), range(50, 52))
        .await;
    hold.expect("a hold");
    let retention = world.retention(Settings {
        bytes: Some(1),
        ..SETTINGS
    });
    retention.expire().await.expect("expires");
    wind(&world.control).await;
    retention.remove_due().await.expect("removes");
    assert_eq!(world.files(&key), [10, 11, 12, 50, 51]);
    assert_eq!(
        world.vod(&key).await,
        None,
        "it has no beginning and no end"
    );
    let clip = MediaPath::Clip(channel.clone(), name("c"));
    let clip = world.control.document(&clip).await.expect("the clip plays");
    let text = String::from_utf8_lossy(clip.text()).into_owned();
    assert_eq!(text.matches("#EXTINF").count(), 3, "{text}");

    world
        .control
        .delete_range(&by, RangeKind::Clip, channel, &name("c"))
        .await
        .expect("gone");
    retention.expire().await.expect("expires");
    wind(&world.control).await;
    retention.remove_due().await.expect("removes");
    assert_eq!(world.files(&key), [50, 51]);
    let index = std::fs::read(world.dir.path().join("media").join(key.journal())).expect("there");
    let trim = Index::parse(&index).trim.expect("it says so");
    assert_eq!((trim.before, trim.kept), (100, vec![(50, 51)]));

    // A hold outlives its channel.
    world
        .control
        .delete_channel(&by, channel, crate::control::channels::IfLive::End)
        .await
        .expect("gone");
    retention.expire().await.expect("expires");
    assert_eq!(world.listed(&key).await, [50, 51]);
    world
        .control
        .delete_range(&by, RangeKind::Hold, channel, &name("h"))
        .await
        .expect("gone");
    retention.expire().await.expect("expires");
    wind(&world.control).await;
    retention.remove_due().await.expect("removes");
    assert!(
        !world.dir.path().join("media/live").exists(),
        "empty folders go too"
    );
    let rows = world
        .control
        .catalog()
        .recordings(channel, 0..i64::MAX, 10)
        .await;
    assert_eq!(rows.expect("asked"), []);
}

/// Numbers of what is due may be among those of an earlier batch, whose time comes first.
#[tokio::test]
async fn what_a_clip_lets_go_of_has_its_own_grace() {
    let world = world().await;
    let key = world.record("a", 0, 100).await;
    let made = world.control.put_if_missing(&me(), &key.channel).await;
    made.expect("a channel");
    let name = || "c".parse().expect("a name");
    let (channel, by) = (&key.channel, me());
    let range = world.ms(10)..world.ms(13);
    let kind = RangeKind::Clip;
    let clip = world.control.put_range(&by, kind, channel, name(), range);
    clip.await.expect("a clip");
    let retention = world.retention(Settings {
        bytes: Some(1),
        ..SETTINGS
    });
    retention.expire().await.expect("expires");
    let catalog = world.control.catalog();
    let first = catalog.due(i64::MAX, 10).await.expect("asked");
    tokio::time::sleep(Duration::from_millis(5)).await;
    let name = name();
    let gone = world.control.delete_range(&by, kind, channel, &name);
    gone.await.expect("gone");
    retention.expire().await.expect("expires");
    for due in &first {
        catalog.hurry(due).await.expect("hurried");
    }
    retention.remove_due().await.expect("removes");
    assert_eq!(world.files(&key), [10, 11, 12], "somebody may watch it");
    wind(&world.control).await;
    retention.remove_due().await.expect("removes");
    let root = world.dir.path().join("media");
    assert!(!root.join(key.folder()).exists(), "nothing is left of it");
}

#[tokio::test]
async fn a_trimmed_recording_is_as_it_should_be_and_damage_in_it_is_found() {
    let world = world().await;
    let control = &world.control;
    let key = world.record("a", 0, 100).await;
    let made = control.put_if_missing(&me(), &key.channel).await;
    made.expect("a channel");
    let name = "c".parse().expect("a name");
    let range = world.ms(10)..world.ms(13);
    let by = me();
    let clip = control.put_range(&by, RangeKind::Clip, &key.channel, name, range);
    clip.await.expect("a clip");
    assert_eq!(check(control, false).await, []);
    let keeps = |segments: usize| {
        world.retention(Settings {
            bytes: Some(1.max((segments * SIZE) as u64)),
            ..SETTINGS
        })
    };
    keeps(40).expire().await.expect("expires");
    assert_eq!(check(control, false).await, [], "objects are still there");
    wind(control).await;
    keeps(40).remove_due().await.expect("removes");
    assert_eq!(check(control, false).await, []);

    let root = world.dir.path().join("media");
    let file = |number| root.join(key.segment(number, Container::Ts));
    for number in [11, 80] {
        std::fs::remove_file(file(number)).expect("it was kept");
    }
    std::fs::write(file(30), "late").expect("room");
    let (lost, of) = (70, key.clone());
    control
        .push_slowly(Entry::Lost {
            key: of,
            number: lost,
        })
        .await;
    control.written().await;
    let missing = |number| Problem::Missing {
        number,
        found: None,
    };
    let stray = Problem::Orphan {
        object: key.segment(30, Container::Ts),
        what: Orphan::Expired,
    };
    let differ = |count| Problem::RowsDiffer {
        what: "segments",
        count,
    };
    let problems = |found: Vec<Finding>| -> Vec<_> {
        { found.into_iter() }
            .map(|finding| finding.problem)
            .collect()
    };
    let found = check(control, false).await;
    assert!(found.iter().all(|finding| !finding.mended));
    assert_eq!(
        problems(found),
        [missing(11), missing(80), stray, differ(1)]
    );
    let found = check(control, true).await;
    assert!(found.iter().all(|finding| finding.mended), "{found:?}");
    assert_eq!(found.len(), 4);
    assert_eq!(check(control, false).await, []);
    assert!(!file(30).exists() && file(10).exists());
    let usage = control.catalog().usage().await.expect("added up");
    let listed = world.listed(&key).await;
    assert_eq!(usage.bytes, (listed.len() * SIZE) as i64);
    let clip = MediaPath::Clip(key.channel.clone(), "c".parse().expect("a name"));
    let clip = control.document(&clip).await.expect("it plays");
    let text = String::from_utf8_lossy(clip.text()).into_owned();
    assert_eq!(text.matches("#EXT-X-GAP").count(), 1, "{text}");

    // All of it has expired, and nothing has gone yet.
    keeps(0).expire().await.expect("expires");
    assert_eq!(check(control, false).await, []);
}

#[tokio::test]
async fn the_oldest_go_first_and_a_channel_may_have_its_own_limit() {
    let world = world().await;
    let old = world.record("a", 0, 50).await;
    let new = world.record("b", 25, 50).await;
    let limit = 60 * SIZE as u64;
    let retention = world.retention(Settings {
        bytes: Some(limit),
        ..SETTINGS
    });
    retention.expire().await.expect("expires");
    // 40 go: 25 while only the old one was there, then from both in turn.
    let (left_old, left_new) = (
        world.listed(&old).await.len(),
        world.listed(&new).await.len(),
    );
    assert_eq!(left_old + left_new, 60);
    assert!((17..=18).contains(&left_old), "{left_old}");
    let own = ChannelSettings {
        retention_s: Some(60),
        ..ChannelSettings::default()
    };
    world
        .control
        .put_channel(&me(), &old.channel, own)
        .await
        .expect("made");
    let retention = world.retention(Settings {
        age: Some(Duration::from_secs(100_000)),
        ..SETTINGS
    });
    retention.expire().await.expect("expires");
    assert_eq!(world.listed(&old).await, [0; 0]);
    assert_eq!(world.listed(&new).await.len(), left_new);
}

#[tokio::test]
async fn many_recordings_of_one_age_each_lose_at_once_what_they_have_to() {
    let world = world().await;
    let count = OLDEST + 20;
    let mut keys = Vec::new();
    for nth in 0..count {
        keys.push(world.record(&format!("c{nth}"), 0, 5).await);
    }
    let retention = world.retention(Settings {
        bytes: Some((count * 3 * SIZE) as u64),
        ..SETTINGS
    });
    retention.expire().await.expect("expires");
    for key in &keys {
        assert_eq!(world.listed(key).await, [2, 3, 4], "{key}");
    }
    let due = world.control.catalog().due(i64::MAX, 2 * count).await;
    assert_eq!(due.expect("a catalog").len(), count, "one look at each");
}

#[tokio::test]
async fn whoever_is_killed_anywhere_goes_on() {
    let world = world().await;
    let key = world.record("a", 0, 100).await;
    let settings = Settings {
        bytes: Some(40 * SIZE as u64),
        ..SETTINGS
    };
    world.retention(settings).expire().await.expect("expires");
    // Killed after some objects went and before their rows did.
    let root = world.dir.path().join("media");
    for number in [0, 1, 2, 30] {
        std::fs::remove_file(root.join(key.segment(number, Container::Ts))).expect("there");
    }
    let listed = world.listed(&key).await;
    let control = start(world.dir.path()).await;
    let world = World { control, ..world };
    assert_eq!(world.listed(&key).await, listed);
    wind(&world.control).await;
    world
        .retention(settings)
        .remove_due()
        .await
        .expect("goes on");
    assert_eq!(world.files(&key).len(), 40);

    // Killed between the index and the rows: the index is believed, and the rest follows.
    let text = std::fs::read(root.join(key.journal())).expect("there");
    let line = Line::Expired(crate::control::journal::Trim {
        before: 80,
        discontinuities: 7,
        kept: vec![],
    });
    std::fs::write(
        root.join(key.journal()),
        [text, line.to_text().into_bytes()].concat(),
    )
    .expect("room");
    let vod = world.vod(&key).await.expect("a playlist");
    assert!(
        vod.contains("#EXT-X-MEDIA-SEQUENCE:80\n#EXT-X-DISCONTINUITY-SEQUENCE:7\n"),
        "{vod}"
    );
    let tighter = Settings {
        bytes: Some(10 * SIZE as u64),
        ..SETTINGS
    };
    world.retention(tighter).expire().await.expect("expires");
    assert_eq!(world.listed(&key).await.len(), 10);

    // A catalog that is made again knows what has expired, and removes what is still there.
    std::fs::remove_file(world.dir.path().join("catalog.sqlite")).expect("there");
    let dir = tempfile::tempdir().expect("a directory");
    let catalog = Catalog::sqlite(&dir.path().join("catalog.sqlite")).await;
    let control = open(&root, Policy::Key, catalog.expect("a catalog")).await;
    control.rebuild(|_, _, _| {}).await.expect("rebuilt");
    control.settle(Duration::from_secs(10)).await;
    let world = World { control, ..world };
    assert_eq!(world.listed(&key).await, (90..100).collect::<Vec<_>>());
    assert_eq!(world.files(&key).len(), 40);
    wind(&world.control).await;
    world
        .retention(SETTINGS)
        .remove_due()
        .await
        .expect("goes on");
    assert_eq!(world.files(&key), (90..100).collect::<Vec<_>>());
}
