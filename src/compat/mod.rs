//! Foreign APIs: their wire shapes and signatures on one side, [`crate::control`] on the other.
//!
//! Each folder can be deleted without touching anything else.

pub mod oss;
