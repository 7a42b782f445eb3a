//! Killed at random moments of a push, again and again: what a new start makes of it.
//!
//! `MILLSTREAM_KILLS` says how often; `scripts/kill-test.sh` does it two hundred times.

use crate::support::clips::{SHOW, SHOW_SHORT_GOP};
use crate::support::playlist::{Media, Multivariant};
use crate::support::publisher::{Speed, own_push, own_push_many};
use crate::support::recording::{Recording, finished, join};
use crate::support::server::Server;
use crate::support::watch::Watch;
use crate::support::weed::Weed;
use crate::support::{http, probe, wait_for};
use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

const KILLS: u32 = 4;
/// A kill comes after between nothing and so much media.
const PUSHED_MAX: Duration = Duration::from_secs(4);
/// Promised: a start with a recording that was cut off takes less. A machine that is busy with
/// other things may take longer now and then.
const START_MAX: Duration = Duration::from_secs(2);
const START_BUSY_MAX: Duration = Duration::from_secs(10);
/// Until all that was promised is there again; a longer wait is shown with the server's log.
const SLOW: Duration = Duration::from_secs(8);
/// A packet of a transport stream, and what it begins with.
const PACKET: usize = 188;
const SYNC: u8 = 0x47;
/// One part, and what a connection, a first key frame and a busy machine take.
const LOST_MAX: f64 = 0.5 + 1.0;

#[test]
fn local_disk() {
    let data = tempfile::tempdir().expect("a folder for the server");
    killed_at_random(data.path(), &[("hls.reconnect_window", "15s")], "media");
}

#[test]
fn object_store() {
    let weed = Weed::start();
    let data = tempfile::tempdir().expect("a folder for the server");
    let of_store = weed.settings();
    let mut settings: Vec<_> = of_store.iter().map(|(k, v)| (*k, v.as_str())).collect();
    // SeaweedFS takes its time for the first objects.
    settings.push(("hls.reconnect_window", "15s"));
    killed_at_random(data.path(), &settings, "spool");
}

/// What viewers have been promised: the bytes behind every path that a playlist named.
#[derive(Default)]
struct Promised {
    bytes: BTreeMap<String, Vec<u8>>,
    /// By recording.
    media_sequence: BTreeMap<String, u64>,
}

fn killed_at_random(data: &Path, settings: &[(&str, &str)], folder: &str) {
    let kills = std::env::var("MILLSTREAM_KILLS").map_or(KILLS, |n| n.parse().expect("a number"));
    let mut promised = Promised::default();
    let mut lost_max: f64 = 0.0;
    let mut total = 0.0;
    let mut starts = Vec::new();
    let (mut server, _) = started(data, settings);
    let watch = Watch::start(server.index_url("killed"));
    for nth in 0..kills {
        let index = server.index_url("killed");
        let push = own_push(&SHOW, &server.publish_url("killed"), Speed::RealTime);
        let began = Instant::now();
        let random = RandomState::new().hash_one(nth) % PUSHED_MAX.as_millis() as u64;
        sleep(Duration::from_millis(random));
        promised.note(&index);
        let pushed = began.elapsed().as_secs_f64();
        watch.away();
        server.kill();
        drop(push);
        let root = data.join("data").join(folder);
        let parts = unfinished(&root);

        let killed = Instant::now();
        let took;
        (server, took) = started(data, settings);
        starts.push(took);
        let index = server.index_url("killed");
        watch.back(index.clone());
        promised.keep(&index);
        let again = killed.elapsed();
        if again > SLOW {
            let log = server.log_lines("");
            eprintln!(
                "kill {nth} after {random} ms: {again:?} until all was there again\n{}",
                log.join("\n")
            );
        }
        parts_are_kept(&parts);
        let length = length(&root);
        let lost = pushed - (length - total);
        assert!(
            lost < LOST_MAX,
            "kill {nth}: {pushed:.3} s were pushed, {:.3} s are there",
            length - total
        );
        (lost_max, total) = (lost_max.max(lost), length);
    }
    starts.sort_unstable();
    let median = starts[starts.len() / 2];
    assert!(median < START_MAX, "half of all starts took {median:?}");
    let index = server.index_url("killed");
    let recording = finished(&index);
    promised.keep(&index);
    watch.finish();
    eprintln!(
        "{kills} kills: {} segments, {total:.1} s; at most {lost_max:.3} s between the push and the VOD; starts took {median:?}, at most {:?}",
        recording.segments.len(),
        starts[starts.len() - 1]
    );
    decodes(&recording);
}

/// Every push decodes without a complaint. They are read one by one: between them time jumps, and
/// ffmpeg's own repair of that is not what is tested.
fn decodes(recording: &Recording) {
    let mut pushes: Vec<Vec<u8>> = Vec::new();
    for (entry, file) in recording.playlist.segments.iter().zip(&recording.files) {
        match pushes.last_mut() {
            Some(push) if !entry.discontinuity => push.extend(file),
            _ => pushes.push(file.clone()),
        }
    }
    for push in pushes {
        let file = tempfile::NamedTempFile::with_suffix(".ts").expect("there is room");
        std::fs::write(file.path(), push).expect("there is room");
        let complaints = probe::complaints(&file.path().to_string_lossy());
        assert!(complaints.is_empty(), "{complaints}");
    }
}

fn started(data: &Path, settings: &[(&str, &str)]) -> (Server, Duration) {
    let began = Instant::now();
    let server = Server::start(data, settings);
    let took = began.elapsed();
    assert!(took < START_BUSY_MAX, "the start took {took:?}");
    (server, took)
}

/// The live playlist that the channel has now, if it has one.
fn live(index: &str) -> Option<(String, Media)> {
    let reply = http::try_get(index).filter(|reply| reply.status == 200)?;
    let variant = Multivariant::parse(&reply.text()).expect("a multivariant playlist");
    let url = join(index, &variant.uri);
    let media = Media::parse(&http::get(&url).text()).expect("a media playlist");
    Some((url, media))
}

/// Seconds that the indexes below `root` speak of.
fn length(root: &Path) -> f64 {
    let indexes = files(root, "jsonl");
    let text = indexes
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("an index"));
    let ticks = |line: &str| {
        let (_, rest) = line.split_once("\"duration\":")?;
        rest.split(',').next()?.parse::<f64>().ok()
    };
    let all: f64 = text
        .map(|text| text.lines().filter_map(ticks).sum::<f64>())
        .sum();
    all / 90_000.0
}

impl Promised {
    fn note(&mut self, index: &str) {
        let Some((url, media)) = live(index) else {
            return;
        };
        if !media.ended {
            let before = self.media_sequence.insert(path(&url), media.media_sequence);
            assert!(
                before.is_none_or(|before| media.media_sequence >= before),
                "the media sequence went back"
            );
        }
        for entry in media.segments {
            let url = join(&url, &entry.uri);
            let bytes = http::get(&url).body;
            let before = self.bytes.insert(path(&url), bytes.clone());
            assert!(
                before.is_none_or(|before| before == bytes),
                "{} has changed",
                entry.uri
            );
        }
    }

    /// Everything that was ever named is there as it was.
    fn keep(&mut self, index: &str) {
        self.note(index);
        assert!(
            self.bytes.is_empty() || live(index).is_some(),
            "what was listed is gone"
        );
        let (server, _) = index.split_once("/hls/").expect("a media URL");
        for (path, bytes) in &self.bytes {
            let now = http::get(&format!("{server}/hls/{path}")).body;
            assert!(now == *bytes, "{path} has changed");
        }
    }
}

/// What a URL means on any port.
fn path(url: &str) -> String {
    url.split_once("/hls/").expect("a media URL").1.to_owned()
}

/// Segments without a name, as the kill left them.
fn unfinished(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let read = |path: PathBuf| {
        let bytes = std::fs::read(&path).expect("it was just there");
        (path, bytes)
    };
    files(root, "part").into_iter().map(read).collect()
}

fn files(root: &Path, extension: &str) -> Vec<PathBuf> {
    let mut folders = vec![root.to_owned()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    found
}

/// Every frame that had reached the disk is in the segment that has the name now.
fn parts_are_kept(parts: &[(PathBuf, Vec<u8>)]) {
    for (path, part) in parts {
        assert!(!path.exists(), "{} was left behind", path.display());
        let (named, part) = (path.with_extension(""), written(part));
        let Ok(segment) = std::fs::read(&named) else {
            // No frame was whole, or the store has confirmed it and it was removed.
            assert!(part.len() < 100 * 188 || path.to_string_lossy().contains("spool"));
            continue;
        };
        assert!(part.starts_with(&segment), "{}", named.display());
        let cut = part.len() - segment.len();
        assert!(cut < 64 * 1024, "{cut} bytes of whole frames were cut");
    }
}

/// What was written into it: whatever an older segment has left behind does not begin as a packet does.
fn written(part: &[u8]) -> &[u8] {
    let packets = part.chunks(PACKET);
    let whole = packets.take_while(|packet| packet[0] == SYNC).count();
    &part[..part.len().min(whole * PACKET)]
}

/// Below `root` markers say that they were written before the system was started.
fn started_anew(root: &Path) {
    for path in files(root, "open") {
        let text = std::fs::read_to_string(&path).expect("a marker");
        let text = text.replace("\nover ", "\nover x");
        std::fs::write(&path, text).expect("there is room");
    }
}

/// What was written over an expired segment is gone.
fn parts_are_given_up(parts: &[(PathBuf, Vec<u8>)]) {
    for (path, part) in parts {
        let is_over = written(part).len() + PACKET <= part.len();
        assert!(!path.exists(), "{} was left behind", path.display());
        assert!(!is_over || !path.with_extension("").exists());
    }
}

#[test]
fn over_the_files_of_expired_segments() {
    const PUSHES: usize = 4;
    const LAST: u32 = 2;
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [
        ("store.recycle", "always"),
        ("hls.segment_duration", "1s"),
        ("hls.window", "3"),
        ("hls.reconnect_window", "15s"),
        ("retention.bytes", "1MiB"),
        ("retention.grace", "1s"),
        ("retention.interval", "200ms"),
    ];
    let root = data.path().join("data/media");
    let (mut server, _) = started(data.path(), &settings);
    let mut reader: Option<(File, Vec<u8>)> = None;
    let mut over = 0;
    for nth in 0..=LAST {
        let url = server.publish_url("killed");
        let push = own_push_many(&SHOW_SHORT_GOP, &url, PUSHES);
        let reused = || server.metric("millstream_disk_recycled_files_total") >= 2.0;
        wait_for("files that are reused", Duration::from_secs(40), || {
            if let (None, Some(path)) = (&reader, files(&root, "ts").first()) {
                let mut file = File::open(path).expect("a segment");
                let mut bytes = Vec::new();
                file.read_to_end(&mut bytes).expect("it is there");
                reader = Some((file, bytes));
            }
            reused().then_some(())
        });
        let random = RandomState::new().hash_one(nth) % 1_500;
        sleep(Duration::from_millis(random));
        server.kill();
        drop(push);
        let parts = unfinished(&root);
        over += { parts.iter() }
            .filter(|(_, part)| written(part).len() + PACKET <= part.len())
            .count();
        if nth == LAST {
            // As if the power had failed: nobody knows which pages of an open file had reached the disk.
            started_anew(&data.path().join("data/running"));
        }
        (server, _) = started(data.path(), &settings);
        match nth {
            LAST => parts_are_given_up(&parts),
            _ => parts_are_kept(&parts),
        }
    }
    assert!(over > 0, "no kill fell on a file that was reused");
    let (mut file, before) = reader.expect("there was a segment");
    let mut now = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut now).expect("it is open");
    assert!(now == before, "a segment has changed under its reader");
    for nth in 0..PUSHES {
        decodes(&finished(&server.index_url(&format!("killed-{nth}"))));
    }
}

#[test]
fn a_long_recording_starts_as_fast() {
    const SEGMENTS: u64 = 43_200;
    let data = tempfile::tempdir().expect("a folder for the server");
    let mut server = Server::start(data.path(), &[("hls.reconnect_window", "1m")]);
    let push = own_push(&SHOW, &server.publish_url("day"), Speed::RealTime);
    sleep(Duration::from_secs(5));
    server.kill();
    drop(push);
    let marker = only_file(&data.path().join("data/running/live/day"));
    let name = marker.file_stem().expect("a name").to_os_string();
    let folder = data.path().join("data/media/live/day").join(name);
    // The beginning of a day is put before what was pushed; nothing of it is on the disk.
    let journal = folder.join("recording.jsonl");
    let text = std::fs::read_to_string(&journal).expect("an index");
    let (head, last) = text.trim_end().rsplit_once('\n').expect("lines");
    let head: Vec<_> = head.lines().filter(|l| !l.contains("segment\"")).collect();
    let mut day = head.join("\n") + "\n";
    let line = |number: u64| {
        let at = last.find("\"number\":").expect("a number") + 9;
        let end = at + last[at..].find(',').expect("more fields");
        format!(
            "{}{number}{},\"gap\":true}}}}\n",
            &last[..at],
            last[end..].trim_end_matches('}')
        )
    };
    (0..SEGMENTS).for_each(|number| day += &line(number));
    std::fs::write(&journal, day).expect("there is room");

    let began = Instant::now();
    let (server, took) = started(data.path(), &[("hls.reconnect_window", "1m")]);
    assert!(took < START_MAX, "the start took {took:?}");
    eprintln!("{SEGMENTS} segments: ready after {:?}", began.elapsed());
    let (_, media) = live(&server.index_url("day")).expect("it goes on");
    let newest = media.media_sequence + media.segments.len() as u64;
    assert_eq!(newest, SEGMENTS);
}

fn only_file(folder: &Path) -> PathBuf {
    let mut files = std::fs::read_dir(folder).expect("a folder");
    files.next().expect("a file").expect("a file").path()
}
