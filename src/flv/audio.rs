//! The audio side.
