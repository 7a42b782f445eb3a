//! HLS playlists (RFC 8216 and its successor draft-pantos-hls-rfc8216bis): values in, text out.
//!
//! ```text
//! Segment ─ Window ─ MediaPlaylist ─ media::render ─┐
//! Segment ─ vod ─────────┘                          ├─ Document (text, gzip, ETag)
//! Segment ─ Bandwidth ─ Variant ─ multivariant ─────┘
//! ```
//!
//! Knows no clock, file or socket: what a playlist says is a function of the segments it was given.
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

pub mod bandwidth;
pub mod document;
pub mod media;
pub mod multivariant;
pub mod vod;
pub mod window;

pub use bandwidth::Bandwidth;
pub use document::{Document, Freshness};
pub use media::{Entry, Kind, MediaPlaylist};
pub use multivariant::Variant;
pub use window::{PushError, Restored, Window, WindowConfig};
