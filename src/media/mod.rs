//! The vocabulary that every stage of the media path shares: time, tracks, frames, segments.
//!
//! Knows nothing of FLV, RTMP, MPEG-TS, files or playlists.
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used
    )
)]

pub mod codec;
pub mod frame;
pub mod rope;
pub mod segment;
pub mod time;
pub mod timeline;
pub mod track;

pub use frame::{Frame, Unit, Units};
pub use rope::Rope;
pub use segment::{Begin, Part, Segment};
pub use time::{Duration, Timestamp, WallTime};
pub use track::{AudioConfig, TrackKind, Tracks, VideoConfig};
