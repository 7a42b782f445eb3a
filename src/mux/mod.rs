//! Containers of a segment: frames in, bytes out.
//!
//! Knows nothing of files, names or playlists.

pub mod ts;
