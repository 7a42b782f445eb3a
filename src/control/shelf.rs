//! The playlists of a recording as objects in the store, for viewers who come past this server.

use super::journal::Index;
use super::recording::Recording;
use crate::key::{MediaPath, RecordingKey};
use crate::playlist::{Freshness, vod};
use crate::store::spool::{Published, Shelf};

/// Seconds for which caches may keep a playlist that does not change any more; retention may still
/// shorten it.
const SETTLED_S: u32 = 3600;

/// Follows the index of one recording.
pub struct Playlists {
    recording: Recording,
}

impl Playlists {
    /// The playlists of a recording, with so many segments in the live one.
    pub fn new(key: &RecordingKey, window_segments: usize) -> Self {
        Self {
            recording: Recording::new(key.clone(), window_segments),
        }
    }
}

impl Shelf for Playlists {
    fn extend(&mut self, lines: &[u8]) {
        let mut index = Index::parse(lines);
        index.ended = false;
        self.recording.read_on(index);
    }

    fn current(&mut self) -> Vec<Published> {
        let key = self.recording.key();
        let paths = [
            (MediaPath::Media(key.clone()), self.recording.media()),
            (
                MediaPath::Index(key.channel.clone()),
                self.recording.index(),
            ),
        ];
        let published = paths.into_iter().filter_map(|(path, document)| {
            let document = document?;
            let max_age_s = match document.freshness() {
                Freshness::Live { max_age_s } => max_age_s,
                Freshness::Settled => SETTLED_S,
            };
            Some(Published {
                object: path.to_string(),
                text: document.text().clone(),
                max_age_s,
            })
        });
        published.collect()
    }

    fn settled(&mut self, index: &[u8]) -> Vec<Published> {
        let key = self.recording.key().clone();
        let index = Index::parse(index);
        let text = vod::render(index.target_duration_s, &index.segments, true);
        let whole = Published {
            object: MediaPath::Vod(key.clone()).to_string(),
            text: text.into(),
            max_age_s: SETTLED_S,
        };
        // The window of a recording that was shelved in pieces is the same as that of the whole.
        self.recording.end();
        std::iter::once(whole).chain(self.current()).collect()
    }
}
