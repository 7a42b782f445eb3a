//! The store goes away during pushes, in all the ways in which stores go away.

use crate::support::clips::{SHOW, SHOW_SHORT_GOP};
use crate::support::lossless;
use crate::support::playlist::Media;
use crate::support::publisher::{Speed, own_push};
use crate::support::recording::finished;
use crate::support::server::Server;
use crate::support::wait_for;
use crate::support::watch::Watch;
use crate::support::weed::Weed;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

const CHANNELS: usize = 5;
/// After an outage the uploads have caught up and the recordings have left the spool by then.
const CATCH_UP_MAX: Duration = Duration::from_secs(60);

#[test]
fn a_store_that_is_killed() {
    outage(|weed, pause| {
        weed.kill();
        sleep(pause);
        weed.resume();
    });
}

#[test]
fn a_store_that_hangs() {
    outage(|weed, pause| {
        weed.freeze();
        sleep(pause);
        weed.thaw();
    });
}

/// Viewers of this server notice nothing, and afterwards the bucket has everything.
fn outage(fails: impl FnOnce(&mut Weed, Duration)) {
    let mut weed = Weed::start();
    let data = tempfile::tempdir().expect("a folder for the server");
    let of_store = weed.settings();
    let mut settings: Vec<_> = of_store.iter().map(|(k, v)| (*k, v.as_str())).collect();
    settings.push(("hls.reconnect_window", "2s"));
    let server = Server::start(data.path(), &settings);
    let name = |nth| format!("out{nth}");
    let pushes: Vec<_> = (0..CHANNELS)
        .map(|nth| {
            own_push(
                &SHOW_SHORT_GOP,
                &server.publish_url(&name(nth)),
                Speed::RealTime,
            )
        })
        .collect();
    let watch = Watch::start(server.index_url(&name(0)));
    sleep(Duration::from_secs(5));
    fails(&mut weed, Duration::from_secs(12));
    for push in pushes {
        assert!(push.finish(Duration::from_secs(120)).status.success());
    }
    watch.finish();

    let spool = data.path().join("data/spool");
    wait_for("the uploads", CATCH_UP_MAX, || {
        is_empty(&spool).then_some(())
    });
    for nth in 0..CHANNELS {
        let recording = finished(&server.index_url(&name(nth)));
        lossless::assert_whole(&SHOW_SHORT_GOP, &recording.url);
        bucket_has_it(&weed, &recording.url, &recording.playlist, &recording.files);
    }
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
