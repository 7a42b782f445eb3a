//! RTMP as a server speaks it to a publisher: bytes in, events and bytes out.
//!
//! ```text
//! handshake ─ chunk (chunks → messages) ─ message ─ amf0 ─ command ─ address ─ session
//! ```
//!
//! [`Session`] is the only entrance. It owns no socket, clock or randomness and knows nothing of FLV,
//! codecs, authorisation or what becomes of a publish: the caller accepts or refuses it.
//!
//! Section numbers refer to Adobe's "Real-Time Messaging Protocol (RTMP) specification 1.0" (2012);
//! "Enhanced RTMP" is veovera's Enhanced RTMP v2.
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

mod handshake;

mod chunk;
mod message;

mod amf0;
mod command;

mod address;

mod event;
mod session;

mod error;
mod output;

#[cfg(test)]
mod testing;

pub use address::Query;
pub use command::ConnectInfo;
pub use error::{Error, ErrorKind, Fault};
pub use event::{Config, Event, Message, PublishRequest, Refusal, Seed, Stage, StopCause};
pub use message::{MessageKind, Payload, StreamId};
pub use session::Session;
