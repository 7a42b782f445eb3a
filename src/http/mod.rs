//! HTTP: connections, routes, and the delivery of playlists and segments.
//!
//! Decides nothing about media: it asks [`crate::control`] and says what it heard in HTTP.
//!
//! ```text
//! server ─ gate ─ routes ─┬─ delivery ─┐
//!                         ├─ page ─────┼─ representation (ranges, conditions, encodings)
//!                         └─ problem   ┘
//! ```

mod conditions;
mod delivery;
mod forwarded;
mod gate;
mod held;
mod page;
mod problem;
mod quiet;
mod range;
mod rate;
mod representation;
mod routes;
mod server;

pub use gate::Gate;
pub use problem::{Problem, of_catalog};
pub use rate::Rate;
pub use representation::Representation;
pub use routes::router;
pub use server::{ANSWER_BYTES_MAX, CONNECTION_BYTES_MAX, Front, Limits, Peer, Server, serve};

#[cfg(test)]
mod tests;
