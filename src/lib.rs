//! millstream: RTMP in, HLS out.
//!
//! The modules stand in the order in which a byte travels. A newcomer reads them from the top:
//!
//! ```text
//! socket ─ net::conn ─ rtmp::Session ─ flv::Demuxer ─ media::Frame ─ segment::Segmenter ─ mux::ts
//!                                                                                          │
//!         player ─ http ─ playlist ← live window ← publish (carries out effects) ← pipeline ┘
//!                                    store ←──────────────────┘
//! ```
//!
//! Everything down to [`pipeline`] is pure: values in, values out, no socket, file or clock.

pub mod id;
pub mod key;

pub mod net;
pub mod rtmp;

pub mod flv;
pub mod media;
pub mod mux;
pub mod pipeline;
pub mod segment;

pub mod playlist;
pub mod publish;
pub mod recover;
pub mod store;

pub mod catalog;
pub mod control;
pub mod http;

pub mod api;
pub mod compat;

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
