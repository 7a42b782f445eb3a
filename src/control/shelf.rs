//! The playlists of a recording as objects in the store, for viewers who come past this server.

use super::journal::Index;
use super::recording::Recording;
use crate::id::RecordingId;
use crate::key::{MediaPath, RecordingKey};
use crate::playlist::{Document, Freshness, vod};
use crate::store::spool::Published;
use bytes::Bytes;

/// Seconds for which caches may keep a playlist that does not change any more; retention may still
/// shorten it.
const SETTLED_S: u32 = 3600;

/// Follows the index of one recording.
pub(super) struct Playlists {
    recording: Recording,
    /// The multivariant playlist that was given out last.
    index: Option<Bytes>,
}

impl Playlists {
    /// The playlists of a recording, with so many segments in the live one.
    pub(super) fn new(key: &RecordingKey, window_segments: usize) -> Self {
        Self {
            recording: Recording::new(key.clone(), window_segments),
            index: None,
        }
    }

    /// Lines that were added to the index.
    pub(super) fn extend(&mut self, lines: &[u8]) {
        let mut index = Index::parse(lines);
        index.ended = false;
        self.recording.read_on(index);
    }

    /// The playlists of a recording that goes on. The multivariant one has new averages after every
    /// segment; it is worth a write when it says something else, or has promised too little.
    pub(super) fn current(&mut self) -> Vec<Published> {
        let worth = self.recording.index().is_some_and(|index| {
            let before = self.index.as_deref().map(shape);
            let (now, peak) = shape(index.text());
            before.is_none_or(|(before, promised)| before != now || promised < peak)
        });
        match worth {
            true => self.all(),
            false => self.media().into_iter().collect(),
        }
    }

    /// The playlists of a recording that is over, from its whole index.
    pub(super) fn settled(&mut self, index: &[u8]) -> Vec<Published> {
        let key = self.recording.key().clone();
        let index = Index::parse(index);
        let text = vod::render(
            index.target_duration_s,
            index.discontinuities(),
            &index.segments,
            true,
        );
        let whole = Published {
            object: MediaPath::Vod(key.clone()).to_string(),
            text: text.into(),
            max_age_s: SETTLED_S,
        };
        // The window of a recording that was shelved in pieces is the same as that of the whole.
        self.recording.end();
        std::iter::once(whole).chain(self.all()).collect()
    }

    fn all(&mut self) -> Vec<Published> {
        let channel = self.recording.key().channel.clone();
        let document = self.recording.index();
        self.index = document.as_ref().map(|document| document.text().clone());
        let index = document.map(|document| published(MediaPath::Index(channel), &document));
        self.media().into_iter().chain(index).collect()
    }

    fn media(&self) -> Option<Published> {
        let path = MediaPath::Media(self.recording.key().clone());
        Some(published(path, &self.recording.media()?))
    }
}

/// Whether `theirs`, found in the store in the place of `ours`, a playlist or the index of `key`, is
/// ahead of it: a multivariant playlist that names a newer recording, or another that goes on further.
pub(super) fn is_behind(key: &RecordingKey, ours: &Published, theirs: &[u8]) -> bool {
    if ours.object == key.journal() {
        return told(theirs) > told(&ours.text);
    }
    let of_channel = ours.object == MediaPath::Index(key.channel.clone()).to_string();
    match of_channel {
        true => named_by(theirs).is_some_and(|named| named > key.recording),
        false => reach(theirs) > reach(&ours.text),
    }
}

fn published(path: MediaPath, document: &Document) -> Published {
    let max_age_s = match document.freshness() {
        Freshness::Live { max_age_s } => max_age_s,
        Freshness::Settled => SETTLED_S,
    };
    Published {
        object: path.to_string(),
        text: document.text().clone(),
        max_age_s,
    }
}

/// The recording that a channel's playlist names.
pub(super) fn named_by(playlist: &[u8]) -> Option<RecordingId> {
    let text = std::str::from_utf8(playlist).ok()?;
    let uri = text.lines().find(|line| !line.starts_with('#'))?;
    uri.split('/').next()?.parse().ok()
}

/// The last segment of an index, and whether it is over. What has expired may be gone from it.
fn told(index: &[u8]) -> (Option<u64>, bool) {
    let last = Index::ends(index).last().map(|(number, _)| *number);
    (last, Index::parse(index).ended)
}

/// The number after the last segment of a media playlist, and whether it is over.
fn reach(playlist: &[u8]) -> (u64, bool) {
    let text = String::from_utf8_lossy(playlist);
    let first = text
        .lines()
        .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:")?.parse().ok());
    let segments = text.lines().filter(|line| line.starts_with("#EXTINF"));
    let next = first
        .unwrap_or(0_u64)
        .saturating_add(segments.count() as u64);
    (next, text.contains("#EXT-X-ENDLIST"))
}

/// A multivariant playlist without its bandwidths, and the peak that it promises.
fn shape(playlist: &[u8]) -> (String, u64) {
    let text = String::from_utf8_lossy(playlist);
    let mut peak = 0;
    let attributes = text.split_inclusive([',', ':', '\n']).filter(|attribute| {
        if let Some(value) = attribute.strip_prefix("BANDWIDTH=") {
            let digits = value.trim_end_matches(|c: char| !c.is_ascii_digit());
            peak = digits.parse().unwrap_or(u64::MAX);
        }
        !attribute.starts_with("BANDWIDTH=") && !attribute.starts_with("AVERAGE-BANDWIDTH=")
    });
    let rest = attributes.collect();
    (rest, peak)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_multivariant_playlist_is_known_by_what_it_says_beside_averages() {
        let text = |peak: u64, average: u64, codec: &str| {
            format!(
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH={peak},AVERAGE-BANDWIDTH={average},CODECS=\"{codec}\"\nr/media.m3u8\n"
            )
        };
        let (one, peak) = shape(text(1000, 900, "avc1").as_bytes());
        let (same, more) = shape(text(2000, 800, "avc1").as_bytes());
        let (other, _) = shape(text(1000, 900, "hvc1").as_bytes());
        assert_eq!((&one, peak, more), (&same, 1000, 2000));
        assert_ne!(one, other);
    }

    #[test]
    fn the_store_is_ahead_by_a_newer_recording_or_by_more_segments() {
        let key = |nth| RecordingKey {
            channel: crate::id::ChannelId::new("live", "a").expect("a name"),
            recording: RecordingId::at(nth, 0),
        };
        let index = |nth| Published {
            object: MediaPath::Index(key(nth).channel).to_string(),
            text: format!("#EXTM3U\n{}\n", crate::key::media_uri(&key(nth).recording)).into(),
            max_age_s: 1,
        };
        for (ours, theirs, behind) in [(1, 1, false), (1, 2, true), (2, 1, false)] {
            let found = is_behind(&key(ours), &index(ours), &index(theirs).text);
            assert_eq!(found, behind, "{ours} against {theirs}");
        }
        let media = |first: u64, segments: usize, end: &str| Published {
            object: MediaPath::Media(key(1)).to_string(),
            text: format!(
                "#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:{first}\n{}{end}",
                "#EXTINF:2,\nx.ts\n".repeat(segments)
            )
            .into(),
            max_age_s: 1,
        };
        let ours = media(5, 6, "");
        for (theirs, behind) in [
            (media(5, 6, ""), false),
            (media(4, 6, ""), false),
            (media(6, 6, ""), true),
            (media(5, 6, "#EXT-X-ENDLIST\n"), true),
        ] {
            assert_eq!(is_behind(&key(1), &ours, &theirs.text), behind);
        }
    }
}
