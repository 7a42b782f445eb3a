//! The store goes away during pushes, in all the ways in which stores go away.
//!
//! `MILLSTREAM_OUTAGE_CHANNELS` and `MILLSTREAM_OUTAGE_SECONDS` make it more and longer, and
//! `MILLSTREAM_OUTAGE_KBITS` the pictures larger; `scripts/outage-test.sh` does all of that.

use crate::support::clips::{Clip, SHOW, SHOW_SHORT_GOP};
use crate::support::http;
use crate::support::lossless;
use crate::support::playlist::Media;
use crate::support::proxy::{Fault, Proxy, Put};
use crate::support::publisher::{Speed, own_push};
use crate::support::recording::{finished, join};
use crate::support::server::Server;
use crate::support::wait_for;
use crate::support::watch::Watch;
use crate::support::weed::Weed;
use std::collections::BTreeSet;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

const CHANNELS: u32 = 4;
/// How long the store is away.
const AWAY: u32 = 10;
/// Pushes run so long before that, and so long afterwards.
const BEFORE: u32 = 6;
const AFTER: u32 = 8;
/// After an outage the uploads have caught up and the recordings have left the spool by then.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// What memory may grow by while nothing can be uploaded: what waits is on the disk.
const GROWTH_MAX: u64 = 12 << 20;

#[test]
fn a_store_that_is_killed() {
    outage(|weed, _, pause| {
        weed.kill();
        pause();
        weed.resume();
    });
}

#[test]
fn a_store_that_hangs() {
    outage(|weed, _, pause| {
        weed.freeze();
        pause();
        weed.thaw();
    });
}

#[test]
fn a_store_that_is_slow() {
    outage(|_, proxy, pause| {
        proxy.set(Fault::Slow(Duration::from_millis(1500)));
        pause();
        proxy.set(Fault::None);
    });
}

#[test]
fn a_store_that_fails_a_third_of_all_requests() {
    outage(|_, proxy, pause| {
        proxy.set(Fault::Failing);
        pause();
        assert!(proxy.refused() > 10, "{} requests failed", proxy.refused());
        proxy.set(Fault::None);
    });
}

fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |n| n.parse().expect("a number"))
}

/// Viewers of this server notice nothing, memory stays what it is, and afterwards the bucket has
/// everything.
fn outage(fails: impl FnOnce(&mut Weed, &Proxy, &dyn Fn())) {
    let channels = number("MILLSTREAM_OUTAGE_CHANNELS", CHANNELS);
    let away = number("MILLSTREAM_OUTAGE_SECONDS", AWAY);
    let clip = Clip {
        name: "outage",
        seconds: BEFORE + away + AFTER,
        ..SHOW_SHORT_GOP
    };
    clip.path();
    let mut weed = Weed::start();
    let proxy = Proxy::start(weed.port());
    let data = tempfile::tempdir().expect("a folder for the server");
    let of_store = weed.settings_at(proxy.port());
    let mut settings: Vec<_> = of_store.iter().map(|(k, v)| (*k, v.as_str())).collect();
    settings.push(("hls.reconnect_window", "2s"));
    let server = Server::start(data.path(), &settings);
    let name = |nth| format!("out{nth}");
    let pushes: Vec<_> = (0..channels)
        .map(|nth| own_push(&clip, &server.publish_url(&name(nth)), Speed::RealTime))
        .collect();
    let watch = Watch::start(server.index_url(&name(0)));
    sleep(Duration::from_secs(BEFORE.into()));
    let before = server.memory();
    let peak = std::cell::Cell::new(before);
    let waiting = std::cell::Cell::new(0.0);
    let pause = || {
        let began = Instant::now();
        while began.elapsed() < Duration::from_secs(away.into()) {
            sleep(Duration::from_millis(500));
            peak.set(peak.get().max(server.memory()));
        }
        waiting.set(server.metric("millstream_spool_bytes "));
    };
    fails(&mut weed, &proxy, &pause);
    for push in pushes {
        assert!(push.finish(Duration::from_secs(120)).status.success());
    }
    let began = Instant::now();
    watch.finish();
    let spool = data.path().join("data/spool");
    wait_for("the uploads", CATCH_UP_MAX, || {
        is_empty(&spool).then_some(())
    });
    let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    eprintln!(
        "{channels} channels, {away} s: memory {:.1} MiB before, at most {:.1} MiB while {:.1} MiB were in the spool; \
         all in the bucket {:.1} s after the pushes, {} writes failed and were tried again",
        mib(before),
        mib(peak.get()),
        waiting.get() / f64::from(1 << 20),
        began.elapsed().as_secs_f64(),
        server.metric("millstream_store_failures_total "),
    );
    assert!(peak.get() < before + GROWTH_MAX, "memory grew");
    for nth in 0..channels {
        let recording = finished(&server.index_url(&name(nth)));
        lossless::assert_whole(&clip, &recording.url);
        bucket_has_it(&weed, &recording.url, &recording.playlist, &recording.files);
    }
    data_came_before_who_names_it(&proxy.puts());
}

/// At no moment did a playlist or an index in the bucket name a segment that was not there.
fn data_came_before_who_names_it(puts: &[Put]) {
    let mut there = BTreeSet::new();
    let (mut playlists, mut names) = (0, 0);
    for Put { path, text } in puts {
        there.insert(path.clone());
        let (folder, file) = path.rsplit_once('/').expect("objects are in folders");
        let named: Vec<String> = match file {
            "media.m3u8" | "vod.m3u8" => {
                let media = Media::parse(text).expect("a playlist");
                let whole = media.segments.into_iter().filter(|entry| !entry.gap);
                whole.map(|entry| entry.uri).collect()
            }
            "recording.jsonl" => {
                let lines = text.lines().filter(|line| line.starts_with("{\"segment\""));
                lines.map(uri_of_line).collect()
            }
            _ => continue,
        };
        playlists += 1;
        names += named.len();
        for uri in named {
            assert!(
                there.contains(&format!("{folder}/{uri}")),
                "{path} names {uri}"
            );
        }
    }
    assert!(
        playlists > 10 && names > 50,
        "{playlists} playlists, {names} names"
    );
}

/// The segment that a line of the index stands for, as playlists name it.
fn uri_of_line(line: &str) -> String {
    let (_, rest) = line.split_once("\"number\":").expect("a number");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let number: u64 = digits.parse().expect("a number");
    format!("{:04}/{number:08}.ts", number / 4_096)
}

/// What history has of a channel: the segments of a playlist over all its time.
fn history(server: &Server, name: &str) -> Vec<String> {
    let url = server.index_url(name) + "?start=1";
    match http::try_get(&url).filter(|reply| reply.status == 200) {
        None => Vec::new(),
        Some(reply) => {
            let media = Media::parse(&reply.text()).expect("a playlist");
            media.segments.into_iter().map(|entry| entry.uri).collect()
        }
    }
}

#[test]
fn history_names_what_the_store_has_confirmed_over_a_restart_too() {
    let weed = Weed::start();
    let proxy = Proxy::start(weed.port());
    let data = tempfile::tempdir().expect("a folder for the server");
    let of_store = weed.settings_at(proxy.port());
    let mut settings: Vec<_> = of_store.iter().map(|(k, v)| (*k, v.as_str())).collect();
    settings.push(("hls.reconnect_window", "2s"));
    let mut server = Server::start(data.path(), &settings);
    let watch = Watch::start(server.index_url("rows"));
    let push = own_push(&SHOW, &server.publish_url("rows"), Speed::RealTime);
    let live = |server: &Server| -> Option<Media> {
        let index = server.index_url("rows");
        let text = http::try_get(&index)
            .filter(|reply| reply.status == 200)?
            .text();
        let uri = text.lines().find(|line| !line.starts_with('#'))?.to_owned();
        Media::parse(&http::get(&join(&index, &uri)).text()).ok()
    };
    let next = |server: &Server| {
        live(server).map_or(0, |media| {
            media.media_sequence + media.segments.len() as u64
        })
    };
    wait_for("rows", Duration::from_secs(20), || {
        (history(&server, "rows").len() >= 2).then_some(())
    });
    proxy.set(Fault::Down);
    sleep(Duration::from_secs(1));
    let before = history(&server, "rows");
    let stored = || {
        proxy
            .puts()
            .iter()
            .filter(|put| put.path.ends_with(".ts"))
            .count()
    };
    assert!(before.len() <= stored(), "{} rows", before.len());
    wait_for(
        "segments that only the spool has",
        Duration::from_secs(20),
        || (next(&server) >= before.len() as u64 + 3).then_some(()),
    );
    assert_eq!(history(&server, "rows"), before, "nothing was confirmed");
    watch.away();
    server.kill();
    drop(push);
    let mut server = Server::start(data.path(), &settings);
    watch.back(server.index_url("rows"));
    let listed = next(&server);
    assert!(listed >= before.len() as u64 + 3, "live playback has them");
    assert_eq!(history(&server, "rows"), before, "nothing was confirmed");
    proxy.set(Fault::None);
    wait_for("the rows of a killed server", CATCH_UP_MAX, || {
        (history(&server, "rows").len() as u64 == listed).then_some(())
    });
    assert_eq!(stored() as u64, listed, "each was written once");
    let spool = data.path().join("data/spool");
    wait_for("the spool to forget", CATCH_UP_MAX, || {
        is_empty(&spool).then_some(())
    });
    watch.finish();
    server.stop(rustix::process::Signal::TERM);
}

/// One write for each segment, one of the live playlist for each change of it, and few others.
#[test]
fn nothing_is_written_more_often_than_needed() {
    let weed = Weed::start();
    let proxy = Proxy::start(weed.port());
    let data = tempfile::tempdir().expect("a folder for the server");
    let of_store = weed.settings_at(proxy.port());
    let mut settings: Vec<_> = of_store.iter().map(|(k, v)| (*k, v.as_str())).collect();
    settings.push(("hls.reconnect_window", "1s"));
    settings.push(("hls.segment_duration", "500ms"));
    settings.push(("store.index_interval", "5s"));
    let server = Server::start(data.path(), &settings);
    let clip = Clip {
        name: "writes",
        seconds: 16,
        ..SHOW_SHORT_GOP
    };
    let push = own_push(&clip, &server.publish_url("puts"), Speed::RealTime);
    assert!(push.finish(Duration::from_secs(60)).status.success());
    let recording = finished(&server.index_url("puts"));
    let spool = data.path().join("data/spool");
    wait_for("the uploads", CATCH_UP_MAX, || {
        is_empty(&spool).then_some(())
    });
    let puts = proxy.puts_by_path();
    let of = |end: &str| -> Vec<usize> {
        let matching = puts.iter().filter(|(path, _)| path.ends_with(end));
        matching.map(|(_, count)| *count).collect()
    };
    let segments = recording.segments.len();
    assert!(segments > 25, "{segments} segments");
    assert_eq!(of(".ts"), vec![1; segments]);
    let media = of("/media.m3u8")[0];
    assert!(
        (2..=segments + 1).contains(&media),
        "media.m3u8: {media} for {segments} segments"
    );
    let index = of("/puts/index.m3u8")[0];
    assert!((2..=8).contains(&index), "index.m3u8: {index}");
    let journal = of("/recording.jsonl")[0];
    assert!((2..=6).contains(&journal), "recording.jsonl: {journal}");
    assert_eq!(of("/vod.m3u8"), [1]);
    eprintln!(
        "{segments} segments: media.m3u8 {media}, index.m3u8 {index}, recording.jsonl {journal} writes"
    );
}

#[test]
fn a_store_that_is_down_at_the_start_and_over_a_restart() {
    let mut weed = Weed::start();
    let data = tempfile::tempdir().expect("a folder for the server");
    let of_store = weed.settings();
    let mut settings: Vec<_> = of_store.iter().map(|(k, v)| (*k, v.as_str())).collect();
    settings.push(("hls.reconnect_window", "1s"));
    weed.kill();
    let mut server = Server::start(data.path(), &settings);
    let push = own_push(&SHOW, &server.publish_url("down"), Speed::Max);
    assert!(push.finish(Duration::from_secs(60)).status.success());
    server.kill();
    drop(server);
    let server = Server::start(data.path(), &settings);
    weed.resume();
    let spool = data.path().join("data/spool");
    wait_for("the uploads", CATCH_UP_MAX, || {
        is_empty(&spool).then_some(())
    });
    let recording = finished(&server.index_url("down"));
    lossless::assert_beginning(&SHOW, &recording.url);
    bucket_has_it(&weed, &recording.url, &recording.playlist, &recording.files);
}

/// The bucket alone serves the recording: index, whole playlist, segments.
fn bucket_has_it(weed: &Weed, url: &str, playlist: &Media, files: &[Vec<u8>]) {
    let (_, path) = url.split_once("/hls/").expect("a media URL");
    let (folder, _) = path.rsplit_once('/').expect("a playlist in a folder");
    let scratch = tempfile::NamedTempFile::new().expect("there is room");
    let fetch = |object: &str| {
        assert!(
            weed.fetch(object, scratch.path()),
            "no {object} in the bucket"
        );
        std::fs::read(scratch.path()).expect("it was just written")
    };
    let text = String::from_utf8(fetch(&format!("{folder}/vod.m3u8"))).expect("text");
    let whole = Media::parse(&text).expect("a playlist");
    assert!(whole.ended, "the playlist in the bucket has its end");
    assert_eq!(whole.segments.len(), playlist.segments.len());
    let index = String::from_utf8(fetch(&format!("{folder}/recording.jsonl"))).expect("text");
    assert_eq!(index.matches("{\"segment\"").count(), files.len());
    assert!(index.ends_with("}\n") && index.contains("{\"end\""));
    for (entry, file) in whole.segments.iter().zip(files) {
        assert!(
            fetch(&format!("{folder}/{}", entry.uri)) == *file,
            "{}",
            entry.uri
        );
    }
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_none())
}
