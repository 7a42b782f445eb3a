//! Those who push: two ffmpegs and our own.

use super::clips::Clip;
use super::process::{Running, ffmpeg, millstream, newer_ffmpeg};
use std::process::Command;

/// How fast a clip is sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speed {
    RealTime,
    Max,
}

/// ffmpeg sends the clip's frames untouched.
pub(crate) fn ffmpeg_push(clip: &Clip, url: &str, speed: Speed) -> Running {
    let mut command = if clip.is_hevc() {
        newer_ffmpeg()
    } else {
        ffmpeg()
    };
    if speed == Speed::RealTime {
        command.arg("-re");
    }
    command
        .arg("-i")
        .arg(clip.path())
        .args(["-c", "copy", "-f", "flv", url]);
    Running::start(&mut command)
}

/// `millstream push` sends the clip tag by tag.
pub(crate) fn own_push(clip: &Clip, url: &str, speed: Speed) -> Running {
    let mut command: Command = millstream();
    command.arg("push").arg(clip.path()).arg(url);
    if speed == Speed::Max {
        command.args(["--speed", "max"]);
    }
    Running::start(&mut command)
}

/// The same on so many connections: to `{url}-0`, `{url}-1`, …
pub(crate) fn own_push_many(clip: &Clip, url: &str, count: usize) -> Running {
    let mut command: Command = millstream();
    command.arg("push").arg(clip.path());
    command.arg(format!("{url}-{{n}}"));
    command.args(["--connections", &count.to_string()]);
    Running::start(&mut command)
}
