//! MPEG-TS for HLS (ISO 13818-1, RFC 8216 §3.2): one program, at most one video and one audio
//! stream, written so that a frame's bytes are copied once, from the read buffer into the packets.
//!
//! In the order in which a frame passes: [`muxer`] decides what goes out and when, `annexb` and
//! `adts` frame it for the elementary stream, `pes` heads it, `pcr` keeps the clock, `packet` lays
//! it out in 188 bytes, `packets` lets them fill blocks, `psi` says what the streams are. `salvage`
//! reads back what a crash cut off.
//!
//! Where a segment begins is the caller's decision.

#![forbid(unsafe_code)]
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

pub mod muxer;
pub mod salvage;

mod adts;
mod annexb;
mod packet;
mod packets;
mod pcr;
mod pes;
mod psi;

pub use muxer::Muxer;
pub use packets::{BLOCK_BYTES, Blocks, Packets};
pub use salvage::{Salvaged, salvage};

#[cfg(test)]
mod tests;
