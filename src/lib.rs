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
//! [`rtmp`] and everything from [`flv`] to [`pipeline`] are pure: values in, values out, no socket, file
//! or clock.

pub mod id;
pub mod key;

pub mod net;

pub mod rtmp;

pub mod flv;

pub mod media;

pub mod segment;

pub mod mux;

pub mod pipeline;

pub mod publish;

pub mod store;

pub mod recover;

pub mod playlist;

pub mod catalog;

pub mod control;

pub mod http;

pub mod api;
pub mod compat;

pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod metrics;
