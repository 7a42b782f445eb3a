//! `millstream remux`: the whole pipeline without a network.

use crate::support::clips::{self, Clip};
use crate::support::process::{ffmpeg, millstream, succeed};
use crate::support::recording::Recording;
use crate::support::{lossless, probe};
use std::path::{Path, PathBuf};
use std::process::Stdio;

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

/// Everything that was in the file is in the segments, and strangers read them without complaint.
fn check(clip: &Clip) {
    let folder = tempfile::tempdir().expect("a folder for the output");
    let index = remux(clip, folder.path());
    let index = index.to_string_lossy();
    let recording = Recording::of_index(&index);
    assert!(recording.playlist.ended, "{index}: no EXT-X-ENDLIST");
    lossless::assert_whole(clip, &index);
    assert_readable(&index, &recording);
}

/// Demands that ffmpeg reads the playlists, and every segment on its own, without a word.
pub(crate) fn assert_readable(index: &str, recording: &Recording) {
    for playlist in [index, &recording.url] {
        assert_eq!(probe::complaints(playlist), "", "{playlist}");
    }
    for (url, segment) in recording.segment_urls().iter().zip(&recording.segments) {
        // After a forced cut there is nothing that a decoder could begin with.
        if segment.is_independent() {
            assert_eq!(probe::complaints(url), "", "{url}");
            let first = probe::packets(url);
            assert!(
                first.video.first().is_none_or(|packet| packet.key),
                "{url} does not begin with a key frame"
            );
        }
    }
}

/// Packages `clip` into `folder`; returns the multivariant playlist.
pub(crate) fn remux(clip: &Clip, folder: &Path) -> PathBuf {
    succeed(
        millstream()
            .arg("remux")
            .arg(clip.path())
            .arg("--output")
            .arg(folder),
    );
    index_under(folder)
}

fn index_under(folder: &Path) -> PathBuf {
    let found = find(folder, "index.m3u8");
    assert_eq!(found.len(), 1, "one multivariant playlist: {found:?}");
    found[0].clone()
}

fn find(folder: &Path, name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the output can be read") {
        let path = entry.expect("the output can be read").path();
        if path.is_dir() {
            found.extend(find(&path, name));
        } else if path.ends_with(name) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_pipe_is_as_good_as_a_file() {
    let folder = tempfile::tempdir().expect("a folder for the output");
    let (by_file, by_pipe) = (folder.path().join("file"), folder.path().join("pipe"));
    let from_file = Recording::of_index(&remux(&clips::PLAIN, &by_file).to_string_lossy());

    let clip = std::fs::File::open(clips::PLAIN.path()).expect("the clip is there");
    let mut command = millstream();
    command
        .args(["remux", "-", "--output"])
        .arg(&by_pipe)
        .stdin(Stdio::from(clip));
    succeed(&mut command);
    let from_pipe = Recording::of_index(&index_under(&by_pipe).to_string_lossy());
    assert!(
        from_file.files == from_pipe.files,
        "other segments from a pipe"
    );
}

#[test]
fn a_file_that_is_no_flv_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder for the output");
    let input = folder.path().join("holiday.mp4");
    std::fs::write(&input, b"\0\0\0\x18ftypmp42 and nothing that would be FLV").expect("written");
    let output = crate::support::process::run(
        millstream()
            .arg("remux")
            .arg(&input)
            .arg("--output")
            .arg(folder.path().join("out")),
    );
    assert_eq!(output.status.code(), Some(1), "{}", output.stderr);
    assert!(output.stderr.contains("holiday.mp4"), "{}", output.stderr);
    assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
}

/// ISO 13818-1 has its price; ours is not above that of ffmpeg's muxer for the same frames.
#[test]
fn overhead_is_no_worse_than_that_of_ffmpeg() {
    let mut worse = Vec::new();
    for clip in [
        clips::PLAIN,
        clips::SHORT_GOP,
        clips::FILM,
        clips::AUDIO_ONLY,
    ] {
        let folder = tempfile::tempdir().expect("a folder for the output");
        let ours = Recording::of_index(&remux(&clip, folder.path()).to_string_lossy());
        let our_bytes: usize = ours.files.iter().map(Vec::len).sum();
        let payload: usize = ours
            .segments
            .iter()
            .map(|segment| segment.payload_bytes)
            .sum();

        let theirs = folder.path().join("theirs.m3u8");
        let mut command = ffmpeg();
        command.arg("-i").arg(clip.path()).args([
            "-c",
            "copy",
            "-f",
            "hls",
            "-hls_time",
            "2",
            "-hls_list_size",
            "0",
        ]);
        succeed(command.arg(&theirs));
        let segments = std::fs::read_dir(folder.path())
            .expect("read")
            .filter_map(Result::ok);
        let is_segment = |entry: &std::fs::DirEntry| {
            entry
                .path()
                .extension()
                .is_some_and(|extension| extension == "ts")
        };
        let their_bytes: u64 = segments
            .filter(is_segment)
            .map(|entry| entry.metadata().expect("size").len())
            .sum();

        let percent = 100.0 * (our_bytes - payload) as f64 / payload as f64;
        eprintln!(
            "{}: {our_bytes} bytes, {percent:.2} % over the elementary streams; ffmpeg {their_bytes}",
            clip.name
        );
        if our_bytes as u64 > their_bytes {
            worse.push((clip.name, our_bytes, their_bytes));
        }
    }
    assert!(
        worse.is_empty(),
        "more bytes than ffmpeg's muxer: {worse:?}"
    );
}
