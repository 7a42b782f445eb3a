//! What every parser that sees a stranger's bytes must hold, as functions from bytes.
//!
//! Each function takes any bytes and panics if the server did something wrong: that is a fuzz target
//! (`fuzz_targets/`, run by `make fuzz`), and a test of a second (`tests/fuzz.rs` of the server
//! compiles this file, replays `regressions/` and mutates the seeds).

mod feed;
mod media;
mod playlist;
mod rtmp;
pub mod seeds;
mod web;

pub use media::{flv, pipeline, records, salvage, timeline};
pub use playlist::playlists;
pub use rtmp::{amf0, handshake, session};
pub use web::{names, oss, proxy};

/// A target: what it does with any bytes.
pub type Target = fn(&[u8]);

/// All targets by name.
pub const TARGETS: &[(&str, Target)] = &[
    ("handshake", handshake),
    ("session", session),
    ("amf0", amf0),
    ("flv", flv),
    ("records", records),
    ("timeline", timeline),
    ("pipeline", pipeline),
    ("salvage", salvage),
    ("playlists", playlists),
    ("names", names),
    ("oss", oss),
    ("proxy", proxy),
];
