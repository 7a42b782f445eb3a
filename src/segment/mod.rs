//! Cuts the frames of a session into segments and parts.
//!
//! [`Policy`] says where to cut, [`Segmenter`] keeps the books of the open segment. Neither knows
//! containers, names or playlists, and neither looks at a clock.

mod policy;
mod segmenter;

pub use policy::{Cut, Policy};
pub use segmenter::{Opening, Segmenter};
