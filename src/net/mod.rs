//! Sockets: accepts RTMP connections and pumps bytes between a socket and an [`crate::rtmp::Session`].
//!
//! Knows addresses, deadlines and back-pressure. Does not know who may publish, nor what FLV is.

mod conn;
mod listener;
mod socket;

pub use crate::rtmp::{Config, Event, Message, MessageKind, PublishRequest, Refusal, StreamId};
pub use conn::{Connection, Error, Timeouts};
pub use listener::{Accepted, Listener, listen};
pub use socket::Pace;
