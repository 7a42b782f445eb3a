//! The video side.
