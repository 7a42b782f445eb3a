//! From tags to samples: remembers the tracks, knows which payload belongs to which.

use super::{Demuxed, Error, Metadata, TagKind};
use crate::media::{Rope, Tracks};

/// The tracks of one publish, and what is needed to read its next tag.
#[derive(Debug, Default)]
pub struct Demuxer {
    tracks: Tracks,
    metadata: Option<Metadata>,
}

impl Demuxer {
    /// A demuxer that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the body of one FLV tag, which is the payload of one RTMP message.
    pub fn push(
        &mut self,
        _kind: TagKind,
        _timestamp_ms: u32,
        _body: Rope,
    ) -> Result<Demuxed, Error> {
        Ok(Demuxed::default())
    }

    /// The tracks as configured so far.
    pub fn tracks(&self) -> &Tracks {
        &self.tracks
    }

    /// What the encoder says of itself; for information only.
    pub fn metadata(&self) -> Option<&Metadata> {
        self.metadata.as_ref()
    }
}
