//! FLV tags, as RTMP messages and FLV files carry them, become samples and track changes.
//!
//! A byte passes [`mod@file`] (only when it comes from a file), then [`tag`], which reads the header of
//! one tag, then [`demux`], which remembers the tracks and hands the payload to the video or the
//! audio side. Knows nothing of RTMP, sockets or time lines: a timestamp leaves as it came.
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

mod audio;
pub mod demux;
pub mod file;
pub mod metadata;
mod parameter_sets;
pub mod sample;
pub mod tag;
mod video;

pub use demux::Demuxer;
pub use file::{Reader, Tag, TagKind};
pub use metadata::Metadata;
pub use sample::{Demuxed, Dropped, Error, Sample};

#[cfg(test)]
#[cfg(test)]
mod tests;
