//! Retention under load: a byte limit is kept, and no player misses a segment.

use crate::support::clips::{self, Clip};
use crate::support::http;
use crate::support::playlist::Media;
use crate::support::publisher::{Speed, ffmpeg_push, own_push};
use crate::support::recording::join;
use crate::support::server::Server;
use crate::support::wait_for;
use crate::support::watch::Watch;
use std::path::Path;
use std::time::{Duration, Instant};

const LIMIT: u64 = 4 << 20;
/// So many channels, one of them from ffmpeg.
const CHANNELS: usize = 3;
const CLIP: Clip = clips::SHOW;
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

fn listed_bytes(server: &Server, name: &str) -> u64 {
    let (url, media) = vod(&server.index_url(name));
    let sizes = media.segments.iter().map(|entry| {
        let reply = http::request("HEAD", &join(&url, &entry.uri), &[]);
        reply.header("content-length").parse::<u64>().unwrap_or(0)
    });
    sizes.sum()
}
