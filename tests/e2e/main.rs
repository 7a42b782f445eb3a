//! The whole way, on real input: ffmpeg and our own publisher push, ffprobe, Chromium and readers
//! written for these tests read. Nothing here uses the server's own modules, but for the reading of clips
//! by those who push by hand, and for the soak, whose publishers are `millstream push` in one process.
//!
//! A tool that is missing fails a test, it does not skip it: run `make setup`.
#![allow(clippy::disallowed_methods)] // Tests wait for real media in real time.

mod support;

mod oracles;

mod push;
mod remux;

mod limits;
mod live_playlist;
mod networks;
mod playback;

mod bad_input;
mod cloud;
mod delivery;
mod disk_full;
mod hostile;
mod kill;
mod outage;
mod retention;
mod shutdown;
mod soak;

mod oss;
mod tls;

mod attack;
mod operations;
