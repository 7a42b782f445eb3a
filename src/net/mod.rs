//! Sockets: accepts connections, for RTMP and for HTTP, and pumps bytes between a socket and an
//! [`crate::rtmp::Session`].
//!
//! ```text
//! listener ─ lobby (places) ─ proxy (whose it is) ─ first, tls ─ stream ─┬─ socket ─ conn ─ rtmp
//!                                                                        └─ http
//! ```
//!
//! Knows addresses, deadlines and back-pressure. Does not know who may publish, nor what FLV is.

mod budget;
mod conn;
mod first;
#[doc(hidden)]
pub mod fuzzing;
mod listener;
mod lobby;
mod proxy;
mod room;
mod socket;
mod stream;
mod tls;

pub use crate::rtmp::{Config, Event, Message, MessageKind, PublishRequest, Refusal, StreamId};
pub use budget::{Budget, FREE_BYTES};
pub use conn::{CONNECTION_BYTES, Connection, Error, Timeouts};
pub use first::{First, first};
pub use listener::{Accepted, Arrival, Expects, Listener, Nets, NoEntry, listen};
pub use lobby::{Block, Lobby, NoPlace, Place, Progress, Seats};
pub use room::Rooms;
pub use socket::Pace;
pub use stream::Stream;
pub use tls::{Certificate, TlsError};
