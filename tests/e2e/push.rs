//! A real push over RTMP: the same promises as `remux`, by ffmpeg and by our own publisher.

use crate::networks::channel;
use crate::remux::{assert_readable, remux};
use crate::support::clips::{self, Clip};
use crate::support::lossless;
use crate::support::publisher::{Speed, ffmpeg_push, own_push};
use crate::support::recording::{Recording, finished};
use crate::support::server::Server;
use crate::support::watch::Watch;
use std::time::Duration;

const PUSH_LIMIT: Duration = Duration::from_secs(60);

macro_rules! table {
    ($($name:ident: $clip:ident,)*) => {$(
        #[test]
        fn $name() {
            check(&clips::$clip);
        }
    )*};
}

table! {
    plain: PLAIN,
    gops_of_ten_seconds: LONG_GOP,
    gops_of_half_a_second_at_60_fps: SHORT_GOP,
    film_rate_and_mono: FILM,
    surround_sound: SURROUND,
    irregular_key_frames: OBS_DEFAULT,
    mp3: MP3,
    audio_only: AUDIO_ONLY,
    video_only: VIDEO_ONLY,
    hevc: HEVC,
}

fn check(clip: &Clip) {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);

    let by_ffmpeg = pushed(&server, clip, "by_ffmpeg", ffmpeg_push);
    assert_readable(&server.index_url("by_ffmpeg"), &by_ffmpeg);

    let by_us = pushed(&server, clip, "by_us", own_push);
    let folder = tempfile::tempdir().expect("a folder for the output");
    let remuxed = Recording::of_index(&remux(clip, folder.path()).to_string_lossy());
    assert_eq!(
        by_us.files.len(),
        remuxed.files.len(),
        "{}: segments",
        clip.name
    );
    for (index, (pushed, remuxed)) in by_us.files.iter().zip(&remuxed.files).enumerate() {
        assert!(
            pushed == remuxed,
            "{}: segment {index} differs between push and remux",
            clip.name
        );
    }
}

/// Pushes `clip` as fast as it goes and returns the VOD, which must hold all of it.
fn pushed(
    server: &Server,
    clip: &Clip,
    name: &str,
    push: fn(&Clip, &str, Speed) -> crate::support::process::Running,
) -> Recording {
    let output = push(clip, &server.publish_url(name), Speed::Max).finish(PUSH_LIMIT);
    assert!(
        output.status.success(),
        "{name}: {}\n{}",
        output.status,
        output.stderr
    );
    let index = server.index_url(name);
    let recording = finished(&index);
    lossless::assert_whole(clip, &index);
    recording
}

#[test]
fn a_forced_cut_keeps_the_target_duration_and_says_what_it_costs() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [("hls.reconnect_window", "1s"), ("hls.segment_max", "4s")];
    let server = Server::start(data.path(), &settings);
    let recording = pushed(&server, &clips::LONG_GOP, "forced", own_push);
    let dependent = recording
        .segments
        .iter()
        .filter(|segment| !segment.is_independent())
        .count();
    assert!(
        dependent >= 2,
        "GOPs of 10 s in segments of 4 s begin without a key frame; {dependent} do"
    );
    assert!(!recording.playlist.independent);
    assert!(
        recording.playlist.target_duration <= 5,
        "target duration {}",
        recording.playlist.target_duration
    );
}

#[test]
fn a_killed_publisher_leaves_a_recording_that_plays() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let watch = Watch::start(server.index_url("killed"));
    let mut publisher = ffmpeg_push(&clips::SHOW, &server.publish_url("killed"), Speed::RealTime);
    std::thread::sleep(Duration::from_secs(6));
    publisher.signal(rustix::process::Signal::KILL);
    let recording = finished(&server.index_url("killed"));
    watch.finish();
    let seconds = lossless::assert_beginning(&clips::SHOW, &recording.url);
    assert!(seconds > 4.5, "{seconds} s of 6 s are there");
}

/// What the server says is what the publisher shows: at the publish, and when it is ended.
#[test]
fn our_publisher_tells_why_it_is_refused() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [("ingest.session_max", "2s")];
    let server = Server::start(data.path(), &settings);
    let shut = ["create", "live/shut", "--set", "enabled=false"];
    channel(&server, &[&shut[..], &["--set", "publish=open"]].concat());
    let keyed = ["create", "live/keyed", "--set", "publish=key"];
    channel(&server, &keyed);
    for (name, why) in [
        (
            "shut",
            "channel live/shut is disabled (NetStream.Publish.Denied)",
        ),
        ("keyed?key=x", "wrong stream key for channel live/keyed"),
        ("long", "as long as is allowed here"),
    ] {
        let push = own_push(
            &clips::SHORT_GOP,
            &server.publish_url(name),
            Speed::RealTime,
        );
        let ended = push.finish(PUSH_LIMIT);
        assert!(!ended.status.success(), "{name}");
        assert!(ended.stderr.contains(why), "{name}: {}", ended.stderr);
    }
}
