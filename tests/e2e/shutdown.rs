//! What is left when the server goes: properly, or like a light.

use crate::support::clips::{SHOW, SHOW_SHORT_GOP};
use crate::support::http;
use crate::support::lossless;
use crate::support::playlist::{Media, Multivariant};
use crate::support::publisher::{Speed, ffmpeg_push};
use crate::support::raw::{self, Raw};
use crate::support::recording::{Recording, finished, join};
use crate::support::server::Server;
use crate::support::watch::Watch;
use rustix::process::Signal;
use std::thread::sleep;
use std::time::{Duration, Instant};

const PUSHED: Duration = Duration::from_secs(7);

#[test]
fn sigterm_loses_nothing() {
    ends_properly(Signal::TERM);
}

#[test]
fn ctrl_c_loses_nothing() {
    ends_properly(Signal::INT);
}

fn ends_properly(signal: Signal) {
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [("stop.recordings", "end")];
    let mut server = Server::start(data.path(), &settings);
    let watch = Watch::start(server.index_url("cut"));
    let publisher = ffmpeg_push(&SHOW, &server.publish_url("cut"), Speed::RealTime);
    sleep(PUSHED);
    watch.away();
    let asked = Instant::now();
    let status = server.stop(signal);
    assert!(status.success(), "{status}");
    assert!(
        asked.elapsed() < Duration::from_secs(10),
        "it took {:?}",
        asked.elapsed()
    );
    drop(publisher);

    let server = Server::start(data.path(), &[]);
    let index = server.index_url("cut");
    watch.back(index.clone());
    let recording = Recording::of_index(&index);
    assert!(recording.playlist.ended, "the playlist has its end");
    let seconds = lossless::assert_beginning(&SHOW, &index);
    assert!(
        seconds > PUSHED.as_secs_f64() - 1.5,
        "{seconds} s of {PUSHED:?}"
    );
    watch.finish();
}

/// A restart: the recording goes on where it was, and ends when nobody comes back.
#[test]
fn a_stopped_recording_waits_for_the_next_start() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let mut server = Server::start(data.path(), &[]);
    let url = server.publish_url("restart");
    let watch = Watch::start(server.index_url("restart"));
    let publisher = ffmpeg_push(&SHOW_SHORT_GOP, &url, Speed::RealTime);
    sleep(PUSHED);
    let index = server.index_url("restart");
    let before = Multivariant::parse(&http::get(&index).text()).expect("a playlist");
    watch.away();
    assert!(server.stop(Signal::TERM).success());
    assert_eq!(server.log_lines("publish ended").len(), 1);
    drop(publisher);

    let server = Server::start(data.path(), &[("hls.reconnect_window", "8s")]);
    let index = server.index_url("restart");
    watch.back(index.clone());
    let after = Multivariant::parse(&http::get(&index).text()).expect("a playlist");
    assert_eq!(before.uri, after.uri, "viewers stay with their playlist");
    let media = Media::parse(&http::get(&join(&index, &after.uri)).text()).expect("a playlist");
    assert!(!media.ended, "players wait for more");
    let again = ffmpeg_push(
        &SHOW_SHORT_GOP,
        &server.publish_url("restart"),
        Speed::RealTime,
    );
    crate::support::wait_for("the recording to go on", Duration::from_secs(15), || {
        let next = Media::parse(&http::get(&join(&index, &after.uri)).text()).ok()?;
        (next.media_sequence + next.segments.len() as u64
            > media.media_sequence + media.segments.len() as u64)
            .then_some(())
    });
    drop(again);
    finished(&index);
    watch.finish();
}

/// An encoder that knows Enhanced RTMP's reconnect request gets one, goes of itself, and loses nothing;
/// one that does not go is sent away.
#[test]
fn encoders_that_can_are_asked_to_reconnect() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let mut server = Server::start(data.path(), &[]);
    let publish = |name: &str, capable: bool| {
        let mut raw = Raw::connect(&server.rtmp_address());
        raw.can_reconnect = capable;
        assert_eq!(raw.publish("live", name), "NetStream.Publish.Start");
        raw.send(&raw::tags(&SHOW_SHORT_GOP), 3_000);
        raw
    };
    let (mut goes, mut stays) = (publish("goes", true), publish("stays", true));
    let mut old = publish("old", false);
    crate::support::wait_for("segments", Duration::from_secs(15), || {
        let there = |name| http::try_get(&server.index_url(name)).map(|reply| reply.status);
        ["goes", "stays", "old"]
            .iter()
            .all(|name| there(name) == Some(200))
            .then_some(())
    });
    let asked = Instant::now();
    let stopped = std::thread::spawn(move || {
        assert!(server.stop(Signal::TERM).success());
        server
    });
    // Who cannot is ended at once.
    assert_eq!(old.hear("Net"), "NetConnection.Connect.AppShutdown");
    assert!(
        asked.elapsed() < Duration::from_secs(2),
        "{:?}",
        asked.elapsed()
    );
    let code = "NetConnection.Connect.ReconnectRequest";
    assert_eq!(goes.hear("NetConnection.Connect.Rec"), code);
    assert_eq!(stays.hear("NetConnection.Connect.Rec"), code);
    // Until then what it sends counts.
    goes.send_between(&raw::tags(&SHOW_SHORT_GOP), 3_000, 4_500);
    drop(goes);
    let took = stays.until_closed();
    assert!(
        asked.elapsed() > Duration::from_secs(2),
        "it had time: {took:?}"
    );
    let server = stopped.join().expect("it stops");
    let ends = server.log_lines("publish ended");
    let frames = |name: &str| {
        let line = ends
            .iter()
            .find(|line| line.contains(&format!("live/{name} ")));
        let line = line.unwrap_or_else(|| panic!("{name}: {ends:#?}"));
        let count = line.split("video_frames=").nth(1).expect("a count");
        count
            .split(' ')
            .next()
            .expect("a number")
            .parse::<u32>()
            .expect("a number")
    };
    assert!(frames("goes") > frames("old"), "{ends:#?}");
    assert_eq!(frames("stays"), frames("old"), "{ends:#?}");
}

#[test]
fn a_killed_server_leaves_what_it_had_named() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let mut server = Server::start(data.path(), &[]);
    let watch = Watch::start(server.index_url("killed"));
    let publisher = ffmpeg_push(
        &SHOW_SHORT_GOP,
        &server.publish_url("killed"),
        Speed::RealTime,
    );
    sleep(PUSHED);
    let index = server.index_url("killed");
    let variant = Multivariant::parse(&http::get(&index).text()).expect("a multivariant playlist");
    let media =
        Media::parse(&http::get(&join(&index, &variant.uri)).text()).expect("a media playlist");
    let named: Vec<String> = media
        .segments
        .iter()
        .map(|segment| segment.uri.clone())
        .collect();
    watch.away();
    server.kill();
    drop(publisher);

    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let index = server.index_url("killed");
    watch.back(index.clone());
    let recording = finished(&index);
    let left: Vec<String> = recording
        .playlist
        .segments
        .iter()
        .map(|segment| segment.uri.clone())
        .collect();
    assert!(
        left.starts_with(&named),
        "{named:?} were named, {left:?} are left"
    );
    lossless::assert_beginning(&SHOW_SHORT_GOP, &index);

    // The next push is a recording of its own; the old one stays.
    let _publisher = ffmpeg_push(
        &SHOW_SHORT_GOP,
        &server.publish_url("killed"),
        Speed::RealTime,
    );
    crate::support::wait_for("the next recording", Duration::from_secs(15), || {
        let variant =
            Multivariant::parse(&http::get(&index).text()).expect("a multivariant playlist");
        (!recording.url.ends_with(&variant.uri) && variant.uri.ends_with("media.m3u8"))
            .then_some(())
    });
    Recording::read(&recording.url);
    watch.finish();
}
