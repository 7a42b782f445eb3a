//! A real player: Chromium with hls.js, live and afterwards.

use crate::support::browser::{Page, play};
use crate::support::clips::{self, Clip};
use crate::support::http;
use crate::support::playlist::{Media, Multivariant};
use crate::support::publisher::{Speed, ffmpeg_push};
use crate::support::recording::{finished, join};
use crate::support::server::Server;
use crate::support::wait_for;
use crate::support::watch::Watch;
use std::time::Duration;

/// How long a live stream must play without an error event.
const LIVE_SECONDS: u32 = 20;

#[test]
fn the_demo_plays_on_the_servers_own_page() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start_demo(data.path());
    let watch = Watch::start(server.index_url("demo"));
    wait_for_segments(&server.index_url("demo"));
    let playback = play(&Page::Own(&server.url("/?play=live/demo")), LIVE_SECONDS);
    playback.assert_smooth(f64::from(LIVE_SECONDS));
    watch.finish();
}

#[test]
fn a_push_plays_live() {
    plays_live(&clips::SHOW);
}

#[test]
fn short_gops_play_live() {
    plays_live(&clips::SHOW_SHORT_GOP);
}

fn plays_live(clip: &Clip) {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[]);
    let index = server.index_url(clip.name);
    let watch = Watch::start(index.clone());
    // Browsers take turns, so each gets a push of its own when it is there.
    let playback = crate::support::browser::in_turn(|| {
        let _publisher = ffmpeg_push(clip, &server.publish_url(clip.name), Speed::RealTime);
        wait_for_segments(&index);
        crate::support::browser::play_now(&Page::Bare(&index), LIVE_SECONDS)
    });
    playback.assert_smooth(f64::from(LIVE_SECONDS));
    watch.finish();
}

#[test]
fn recordings_play_to_their_end() {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let clips = [
        clips::FILM,
        clips::SHORT_GOP,
        clips::SURROUND,
        clips::MP3,
        clips::VIDEO_ONLY,
        clips::OBS_DEFAULT,
    ];
    for clip in &clips {
        let output = ffmpeg_push(clip, &server.publish_url(clip.name), Speed::Max)
            .finish(Duration::from_secs(60));
        assert!(output.status.success(), "{}", output.stderr);
    }
    for clip in &clips {
        let index = server.index_url(clip.name);
        finished(&index);
        let seconds = f64::from(clip.seconds);
        let playback = play(&Page::Bare(&index), clip.seconds + 5);
        playback.assert_smooth(seconds);
        let duration = playback.report["duration"].as_f64().unwrap_or(0.0);
        assert!(
            (duration - seconds).abs() < 0.3,
            "{}: {duration} s",
            clip.name
        );
        assert_eq!(playback.report["ended"], true, "{}", clip.name);
    }
}

/// A player that opens a playlist of one segment has nothing to play while it waits for the next.
fn wait_for_segments(index: &str) {
    wait_for("three segments", Duration::from_secs(30), || {
        let reply = http::try_get(index).filter(|reply| reply.status == 200)?;
        let variant = Multivariant::parse(&reply.text()).ok()?;
        let media = Media::parse(&http::get(&join(index, &variant.uri)).text()).ok()?;
        (media.segments.len() >= 3).then_some(())
    });
}
