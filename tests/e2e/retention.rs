//! Retention under load: a byte limit is kept, and no player misses a segment.

use crate::support::clips::{self, Clip, SHOW_SHORT_GOP};
use crate::support::http;
use crate::support::playlist::Media;
use crate::support::process::{millstream, run};
use crate::support::publisher::{Speed, ffmpeg_push, own_push};
use crate::support::recording::join;
use crate::support::server::Server;
use crate::support::wait_for;
use crate::support::watch::Watch;
use crate::support::weed::Weed;
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: u64 = 4 << 20;
/// So many channels, one of them from ffmpeg.
const CHANNELS: usize = 3;
const CLIP: Clip = clips::SHOW;
const SOON: Duration = Duration::from_secs(20);
const SETTINGS: [(&str, &str); 5] = [
    ("hls.segment_duration", "2s"),
    ("hls.window", "3"),
    ("retention.grace", "1s"),
    ("retention.interval", "500ms"),
    ("hls.reconnect_window", "30s"),
];

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => bytes_below(&entry.path()),
        _ => entry.metadata().map_or(0, |meta| meta.len()),
    });
    sizes.sum()
}

/// The whole playlist of what `index` names, and its URL.
fn vod(index: &str) -> (String, Media) {
    wait_for("a playlist", Duration::from_secs(10), || {
        let text = http::try_get(index)?.text();
        let uri = text
            .lines()
            .find(|line| !line.starts_with('#') && !line.is_empty())?;
        let url = join(index, uri).replace("/media.m3u8", "/vod.m3u8");
        let reply = http::try_get(&url).filter(|reply| reply.status == 200)?;
        Some((url, Media::parse(&reply.text()).expect("a playlist")))
    })
}

/// What a whole playlist names is there; returns the number of its first segment.
fn assert_all_there(index: &str) -> u64 {
    let (url, media) = vod(index);
    for entry in media.segments.iter().filter(|entry| !entry.gap) {
        let reply = http::request("GET", &join(&url, &entry.uri), &[]);
        assert_eq!(reply.status, 200, "{url} names {}", entry.uri);
    }
    media.media_sequence
}

#[test]
fn a_busy_server_stays_under_its_limit_and_no_player_misses_a_segment() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut settings = SETTINGS.to_vec();
    settings.push(("retention.bytes", "4MiB"));
    let mut server = Server::start(folder.path(), &settings);
    let media = folder.path().join("data/media");
    let names: Vec<_> = (0..CHANNELS).map(|nth| format!("busy{nth}")).collect();
    let mut pushes: Vec<_> = (names.iter().enumerate())
        .map(|(nth, name)| {
            let push = if nth == 0 { ffmpeg_push } else { own_push };
            push(&CLIP, &server.publish_url(name), Speed::RealTime)
        })
        .collect();
    let watches: Vec<_> = (names.iter())
        .map(|name| Watch::start(server.index_url(name)))
        .collect();
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(44) {
        most = most.max(bytes_below(&media));
        std::thread::sleep(Duration::from_millis(250));
    }
    println!("at most {most} bytes under a limit of {}", LIMIT);
    assert!(most <= LIMIT, "{most} bytes");
    assert!(most > 1 << 20, "the limit was never near: {most} bytes");
    for name in &names {
        assert!(
            assert_all_there(&server.index_url(name)) > 0,
            "{name} lost its beginning"
        );
    }
    for watch in watches {
        watch.finish();
    }
    // Killed in the middle of its work, it goes on with it.
    server.kill();
    pushes
        .iter_mut()
        .for_each(|push| push.signal(rustix::process::Signal::KILL));
    drop(pushes);
    let server = Server::start(folder.path(), &settings);
    for name in &names {
        assert_all_there(&server.index_url(name));
    }
    wait_for("what had expired to go", Duration::from_secs(20), || {
        let sum: u64 = names.iter().map(|name| listed_bytes(&server, name)).sum();
        // Indexes and the segments that were open come on top.
        (bytes_below(&media) <= sum + (64 << 10)).then_some(())
    });
}

/// What the bucket's playlist of a recording names, all of which has to be there.
fn all_in_the_bucket(weed: &Weed, playlist: &str) -> Option<Media> {
    let url = weed.public_url(playlist);
    let reply = http::try_get(&url).filter(|reply| reply.status == 200)?;
    let media = Media::parse(&reply.text()).expect("a playlist");
    for entry in media.segments.iter().filter(|entry| !entry.gap) {
        let reply = http::request("HEAD", &join(&url, &entry.uri), &[]);
        assert_eq!(reply.status, 200, "{playlist} names {}", entry.uri);
    }
    Some(media)
}

fn is_there(weed: &Weed, name: &str) -> bool {
    weed.list()
        .iter()
        .any(|(object, _)| object.starts_with(name))
}

/// The bucket's own index of a recording names nothing that is gone already.
fn index_is_true(weed: &Weed, folder: &str) {
    let there: BTreeSet<String> = weed.list().into_iter().map(|(object, _)| object).collect();
    // Named after they were listed: what comes in meanwhile does not count.
    let url = weed.public_url(&format!("{folder}/recording.jsonl"));
    let Some(reply) = http::try_get(&url).filter(|reply| reply.status == 200) else {
        return;
    };
    let text = reply.text();
    let lines = text
        .lines()
        .map(|line| -> serde_json::Value { serde_json::from_str(line).expect("lines of JSON") });
    let lines: Vec<_> = lines.collect();
    let before = lines
        .iter()
        .filter_map(|line| line["expired"]["before"].as_u64());
    let before = before.max().unwrap_or(0);
    let object = |number: u64| format!("{folder}/{:04}/{number:08}.ts", number / 4_096);
    let is_segment = |one: &&String| one.starts_with(folder) && one.ends_with(".ts");
    let newest = there.iter().rfind(is_segment);
    for number in lines
        .iter()
        .filter_map(|line| line["segment"]["number"].as_u64())
    {
        let object = object(number);
        let is_old = newest.is_some_and(|newest| object <= *newest);
        let gone = number >= before && is_old && !there.contains(&object);
        assert!(
            !gone,
            "the index names {object}, before it {before} are gone"
        );
    }
}

/// The folder of a channel's newest recording.
fn folder_of(server: &Server, name: &str) -> String {
    let (url, _) = vod(&server.index_url(name));
    let (_, path) = url.split_once("/hls/").expect("a media URL");
    let (folder, _) = path.rsplit_once('/').expect("a playlist in a folder");
    folder.to_owned()
}

#[test]
fn a_bucket_stays_under_its_limit_and_its_playlists_follow() {
    let folder = tempfile::tempdir().expect("a folder");
    let weed = Weed::start_public();
    let of_store = weed.settings();
    let mut settings: Vec<_> = of_store.iter().map(|(k, v)| (*k, v.as_str())).collect();
    settings.extend(SETTINGS);
    settings.extend([
        ("hls.segment_duration", "1s"),
        ("hls.reconnect_window", "2s"),
        ("retention.bytes", "1MiB"),
        ("store.index_interval", "1s"),
    ]);
    let mut server = Server::start(folder.path(), &settings);
    let limit = 1 << 20;
    // At once, so the last of it is dated ten seconds from now and goes when that is old.
    let short = Clip {
        name: "bucket",
        seconds: 10,
        ..SHOW_SHORT_GOP
    };
    let old = own_push(&short, &server.publish_url("old"), Speed::Max);
    assert!(old.finish(Duration::from_secs(30)).status.success());
    let old = folder_of(&server, "old");
    let push = ffmpeg_push(&SHOW_SHORT_GOP, &server.publish_url("new"), Speed::RealTime);
    let watch = Watch::start(server.index_url("new"));
    let new = folder_of(&server, "new");
    let bytes = |weed: &Weed| -> u64 { weed.list().iter().map(|(_, size)| size).sum() };
    wait_for("the limit to be kept", Duration::from_secs(20), || {
        (bytes(&weed) <= limit).then_some(())
    });
    let began = Instant::now();
    let (mut most, mut trimmed) = (0, false);
    // Until all of the old one is gone, and some of the new one.
    while began.elapsed() < Duration::from_secs(20) || is_there(&weed, &old) {
        let late = began.elapsed() > Duration::from_secs(45);
        assert!(!late, "{old} is there: {:?}", weed.list());
        most = most.max(bytes(&weed));
        let whole = all_in_the_bucket(&weed, &format!("{old}/vod.m3u8"));
        trimmed |= whole.is_some_and(|whole| whole.media_sequence > 0);
        all_in_the_bucket(&weed, &format!("{old}/media.m3u8"));
        all_in_the_bucket(&weed, &format!("{new}/media.m3u8"));
        index_is_true(&weed, &new);
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("at most {most} bytes in the bucket under a limit of {limit}");
    assert!(most <= limit, "{most} bytes");
    assert!(most > limit / 2, "the limit was never near: {most} bytes");
    assert!(trimmed, "the whole playlist of an ended recording follows");
    let left = weed.list();
    let of_old = left
        .iter()
        .filter(|(name, _)| name.starts_with("live/old/"));
    let of_old: Vec<_> = of_old.filter(|(name, _)| !name.contains("/.")).collect();
    assert!(of_old.is_empty(), "{of_old:?}");
    let gone = http::request("GET", &server.index_url("old"), &[]);
    assert_eq!(gone.status, 404);

    drop(push);
    watch.finish();
    let spool = folder.path().join("data/spool");
    wait_for("the recording to leave the spool", SOON, || {
        let left = std::fs::read_dir(&spool).ok()?.next();
        left.is_none().then_some(())
    });
    let whole = all_in_the_bucket(&weed, &format!("{new}/vod.m3u8")).expect("it has ended");
    assert!(whole.media_sequence > 0 && whole.ended);
    let index = http::get(&weed.public_url(&format!("{new}/recording.jsonl"))).text();
    assert!(index.contains("{\"expired\""), "{index}");
    assert_eq!(
        server.log_lines("retention:"),
        [""; 0],
        "nothing went wrong"
    );
    server.stop(rustix::process::Signal::TERM);
    let mut check = millstream();
    check.args(["catalog", "check", "--idle", "0"]);
    let data = folder.path().join("data");
    check
        .arg("--set")
        .arg(format!("data_dir={}", data.display()));
    for (name, value) in &settings {
        check.arg("--set").arg(format!("{name}={value}"));
    }
    let output = run(&mut check);
    assert!(
        output.status.success(),
        "{}{}",
        output.stdout,
        output.stderr
    );
}

fn listed_bytes(server: &Server, name: &str) -> u64 {
    let (url, media) = vod(&server.index_url(name));
    let sizes = media.segments.iter().map(|entry| {
        let reply = http::request("HEAD", &join(&url, &entry.uri), &[]);
        reply.header("content-length").parse::<u64>().unwrap_or(0)
    });
    sizes.sum()
}
