//! Chromium with hls.js, driven by tests/browser/play.mjs.

use super::process::{self, Running};
use serde_json::Value;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

/// What a player went through.
#[derive(Debug)]
pub(crate) struct Playback {
    /// Seconds of media that passed on the screen.
    pub(crate) progress: f64,
    /// Pictures that were decoded.
    pub(crate) decoded: u64,
    /// Error events of hls.js and of the video element, stalls with them; without [`START_HOLE_MAX`]'s.
    pub(crate) errors: Vec<Value>,
    /// Everything the driver tells, for a failure's message.
    pub(crate) report: Value,
}

/// What the browser opens.
pub(crate) enum Page<'a> {
    /// A page of the server's own.
    Own(&'a str),
    /// A bare player on another origin, for this playlist.
    Bare(&'a str),
}

/// hls.js puts the lowest decoding time at 0, so pictures with B-frames begin a little later, and it
/// may tell that it skipped to them, whoever muxed the stream. No longer hole is excused.
const START_HOLE_MAX: f64 = 0.3;

/// Who joins a live stream when it has more than its window begins somewhere in it: then hls.js may
/// tell that it went there from the start, where nothing was played. Under load it does now and then.
const JOINING: &str = "fragment loaded with buffer holes, seeking from 0 to ";
/// Seconds of a segment where nothing else is set: it goes to the beginning of one.
const SEGMENT: f64 = 2.0;

/// One browser at a time: two on one core stall each other.
static ONE_BROWSER: Mutex<()> = Mutex::new(());

/// Plays `seconds` of a page, or to the end of its video.
pub(crate) fn play(page: &Page<'_>, seconds: u32) -> Playback {
    in_turn(|| play_now(page, seconds))
}

/// Runs `work` when no other test has a browser.
pub(crate) fn in_turn<T>(work: impl FnOnce() -> T) -> T {
    let _one_browser = ONE_BROWSER
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    work()
}

/// Plays, while the caller has its turn.
pub(crate) fn play_now(page: &Page<'_>, seconds: u32) -> Playback {
    process::tool("node_modules/playwright-core");
    let (kind, url) = match page {
        Page::Own(url) => ("own", url),
        Page::Bare(url) => ("bare", url),
    };
    let mut command = Command::new("node");
    command
        .arg(process::tool("tests/browser/play.mjs"))
        .args([kind, url, &seconds.to_string()]);
    let output = Running::start(&mut command).finish(Duration::from_secs(u64::from(seconds) + 60));
    let report: Value = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}\n{}", output.stdout, output.stderr));
    Playback {
        progress: report["progress"].as_f64().unwrap_or(0.0),
        decoded: report["decoded"].as_u64().unwrap_or(0),
        errors: { report["errors"].as_array().into_iter().flatten() }
            .filter(|error| !is_start_hole(error, report["ended"] == false))
            .cloned()
            .collect(),
        report,
    }
}

fn is_start_hole(error: &Value, is_live: bool) -> bool {
    let reason = error["reason"].as_str().unwrap_or_default();
    let begins = |at: f64| match is_live && reason.starts_with(JOINING) {
        true => at % SEGMENT < START_HOLE_MAX,
        false => at < START_HOLE_MAX,
    };
    error["details"] == "bufferSeekOverHole"
        && error["fatal"] == false
        && error["at"].as_f64().is_some_and(begins)
}

impl Playback {
    /// Demands that it played all the time, without an error event.
    pub(crate) fn assert_smooth(&self, seconds: f64) {
        assert!(self.errors.is_empty(), "error events: {:#?}", self.report);
        assert!(self.decoded > 0, "no picture: {:#?}", self.report);
        assert!(
            self.progress >= seconds - 1.0,
            "{} s of {seconds} s played: {:#?}",
            self.progress,
            self.report
        );
    }
}
