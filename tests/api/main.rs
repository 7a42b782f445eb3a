//! The API of a real server: its binary, its database, and encoders that push.
//!
//! Needs Debian's packages `ffmpeg` and `postgresql`.

#![allow(clippy::disallowed_methods)] // real time is what is waited for here

mod archive;
mod away;
mod channels;
mod measure;
mod postgres;
mod restart;
mod rights;
mod schema;
mod server;
#[allow(dead_code, reason = "shared with the end-to-end tests")]
#[path = "../e2e/support/mod.rs"]
mod support;
