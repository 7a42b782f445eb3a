//! The disk is full for a while: what had no room is a gap, and the rest goes on.

use crate::support::clips::{AUDIO_ONLY, SHOW, SHOW_SHORT_GOP};
use crate::support::http;
use crate::support::playlist::Media;
use crate::support::process::run;
use crate::support::publisher::{Speed, own_push};
use crate::support::recording::join;
use crate::support::server::Server;
use crate::support::wait_for;
use crate::support::watch::Watch;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

/// Room for the clip and for a catalog with its log.
const DISK: usize = 6 << 20;
/// What the ballast leaves: room for some seconds of the clip.
const LEFT: u64 = 400 << 10;
/// What is left of a disk that is full.
const FULL: u64 = 100 << 10;
/// More than a segment that is given up leaves free for a moment.
const RESERVE: &str = "300KiB";
/// Long enough to fill what the ballast leaves, and to lose some segments.
const FULL_AFTER: Duration = Duration::from_secs(20);

struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let output = run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK}"), "tmpfs"])
            .arg(folder.path()));
        assert!(output.status.success(), "{}: run as root", output.stderr);
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// Bytes that may still be written.
    fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).expect("a file system");
        found.f_bavail * found.f_frsize
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(self.path()));
    }
}

#[test]
fn a_full_disk_makes_gaps_and_recovers_by_itself() {
    let disk = Mounted::new();
    let settings = [("hls.reconnect_window", "1m"), ("store.reserve", RESERVE)];
    let mut server = Server::start(disk.path(), &settings);
    assert_eq!(
        readiness(&server),
        (200, r#"{"state":"ready","reasons":[]}"#.to_owned())
    );
    let watch = Watch::start(server.index_url("full"));
    let push = own_push(&SHOW, &server.publish_url("full"), Speed::RealTime);
    wait_for("a segment", Duration::from_secs(10), || {
        let reply = http::try_get(&server.index_url("full"))?;
        (reply.status == 200).then_some(())
    });
    let ballast = disk.path().join("ballast");
    let free = disk
        .free()
        .checked_sub(LEFT)
        .expect("more than that is free");
    let ballast_len = usize::try_from(free).expect("a small disk");
    std::fs::write(&ballast, vec![1; ballast_len]).expect("there is room for it");
    sleep(FULL_AFTER);
    let (status, text) = readiness(&server);
    assert_eq!(status, 200, "running pushes and viewers are served: {text}");
    assert!(
        text.contains("\"degraded\"") && text.contains("disk_full"),
        "{text}"
    );
    let refused = own_push(&SHOW, &server.publish_url("second"), Speed::RealTime);
    let refused = refused.finish(Duration::from_secs(10));
    assert!(!refused.status.success());
    let told = server.log_lines("publish refused");
    assert!(told[0].contains("disk is nearly full"), "{told:?}");

    std::fs::remove_file(&ballast).expect("it was there");
    // The catalog had no room either, and tries again after some seconds.
    wait_for("everything to be in order", Duration::from_secs(15), || {
        readiness(&server).1.contains("\"ready\"").then_some(())
    });
    let second = own_push(&AUDIO_ONLY, &server.publish_url("second"), Speed::Max);
    assert!(second.finish(Duration::from_secs(30)).status.success());
    assert!(push.finish(Duration::from_secs(60)).status.success());

    let before = whole(&server);
    let gaps = before.segments.iter().filter(|entry| entry.gap).count();
    assert!((1..20).contains(&gaps), "{gaps} gaps");
    assert!(!before.segments[0].gap && before.segments.last().is_some_and(|last| !last.gap));
    let seconds = before.duration();
    assert!(
        (48.0..=51.0).contains(&seconds),
        "{seconds} s, gaps included"
    );
    let lost = server.log_lines("segment is lost; the playlist shows a gap");
    assert_eq!(lost.len(), gaps);
    assert!(lost[0].contains("No space left"), "{}", lost[0]);

    watch.away();
    server.kill();
    let server = Server::start(disk.path(), &settings);
    watch.back(server.index_url("full"));
    let after = whole(&server);
    let lines = |media: &Media| -> Vec<_> {
        media
            .segments
            .iter()
            .map(|entry| entry.lines.clone())
            .collect()
    };
    assert_eq!(lines(&after), lines(&before), "the index tells the same");
    watch.finish();
}

/// Nobody removes anything by hand: what is old goes.
#[test]
fn retention_makes_room_on_a_full_disk() {
    let disk = Mounted::new();
    let settings = [
        ("hls.reconnect_window", "2s"),
        ("hls.segment_duration", "1s"),
        ("hls.window", "3"),
        ("store.reserve", RESERVE),
        ("retention.free_space", "1MiB"),
        ("retention.grace", "1s"),
        ("retention.interval", "500ms"),
    ];
    let server = Server::start(disk.path(), &settings);
    let old = own_push(&SHOW_SHORT_GOP, &server.publish_url("old"), Speed::Max);
    assert!(old.finish(Duration::from_secs(30)).status.success());
    let push = own_push(
        &SHOW_SHORT_GOP,
        &server.publish_url("full"),
        Speed::RealTime,
    );
    wait_for("a segment", Duration::from_secs(10), || {
        let reply = http::try_get(&server.index_url("full"))?;
        (reply.status == 200).then_some(())
    });
    let ballast = usize::try_from(disk.free().saturating_sub(FULL)).expect("a small disk");
    std::fs::write(disk.path().join("ballast"), vec![1; ballast]).expect("there is room for it");
    wait_for("the disk to be full", Duration::from_secs(10), || {
        readiness(&server).1.contains("disk_full").then_some(())
    });
    wait_for("room", Duration::from_secs(30), || {
        readiness(&server).1.contains("\"ready\"").then_some(())
    });
    // The push has gone on, and nobody has to wait for it to end.
    sleep(Duration::from_secs(5));
    let (_, state) = readiness(&server);
    assert!(state.contains("\"ready\""), "{state}");
    assert!(disk.free() > 600 << 10, "{} bytes are free", disk.free());
    let media = whole(&server);
    assert!(media.segments.last().is_some_and(|last| !last.gap));
    let others = own_push(&AUDIO_ONLY, &server.publish_url("second"), Speed::Max);
    assert!(others.finish(Duration::from_secs(30)).status.success());
    drop(push);
}

fn readiness(server: &Server) -> (u16, String) {
    let reply = http::request("GET", &server.url("/readyz"), &[]);
    (reply.status, reply.text())
}

/// The whole playlist; what it names is there, and its gaps are not.
fn whole(server: &Server) -> Media {
    let index = server.index_url("full");
    let media = wait_for("a playlist", Duration::from_secs(5), || {
        let text = http::try_get(&index)?.text();
        text.lines()
            .find(|line| line.ends_with("media.m3u8"))
            .map(str::to_owned)
    });
    let vod = join(&index, &media).replace("/media.m3u8", "/vod.m3u8");
    let playlist = Media::parse(&http::get(&vod).text()).expect("a playlist");
    for entry in &playlist.segments {
        let reply = http::request("GET", &join(&vod, &entry.uri), &[]);
        let expected = if entry.gap { 404 } else { 200 };
        assert_eq!(reply.status, expected, "{}", entry.uri);
    }
    playlist
}
