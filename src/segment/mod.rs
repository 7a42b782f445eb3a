//! Cuts the frames of a session into segments and parts.
//!
//! [`Policy`] says where to cut, [`Segmenter`] keeps the books of the open segment. Neither knows
//! containers, names or playlists, and neither looks at a clock.
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

mod policy;
mod segmenter;

pub use policy::{Cut, Policy};
pub use segmenter::{Opening, Segmenter};
