//! A finished playlist with all its segments: fetched, walked, compared with what it says.

use super::http;
use super::playlist::{Media, Multivariant};
use super::tswalk::{Segment, Walker};
use super::wait_for;
use std::path::Path;
use std::time::Duration;

/// EXTINF may be off by a frame of the slowest clip.
const DURATION_TOLERANCE: f64 = 0.045;
/// The reconnect windows of tests are a few seconds.
const END_LIMIT: Duration = Duration::from_secs(20);

/// A media playlist and the bytes of its segments.
pub(crate) struct Recording {
    pub(crate) url: String,
    pub(crate) playlist: Media,
    pub(crate) files: Vec<Vec<u8>>,
    pub(crate) segments: Vec<Segment>,
}

impl Recording {
    /// Reads the media playlist at `url`, a path or a URL, and everything that it names; fails at the first defect.
    pub(crate) fn read(url: &str) -> Self {
        let playlist = Media::parse(&text(url)).unwrap_or_else(|error| panic!("{url}: {error}"));
        let files: Vec<_> = playlist
            .segments
            .iter()
            .map(|entry| bytes(&join(url, &entry.uri)))
            .collect();
        let mut walker = Walker::default();
        let mut segments = Vec::new();
        for (entry, file) in playlist.segments.iter().zip(&files) {
            if entry.discontinuity {
                walker.discontinuity();
            }
            let segment = walker.walk(file);
            segments.push(segment.unwrap_or_else(|faults| panic!("{}: {faults:#?}", entry.uri)));
        }
        let recording = Self {
            url: url.to_owned(),
            playlist,
            files,
            segments,
        };
        recording.durations_are_true();
        recording.independence_is_true();
        recording
    }

    /// Reads what the multivariant playlist at `url` names.
    pub(crate) fn of_index(url: &str) -> Self {
        let index =
            Multivariant::parse(&text(url)).unwrap_or_else(|error| panic!("{url}: {error}"));
        Self::read(&join(url, &index.uri))
    }

    /// Where each segment is.
    pub(crate) fn segment_urls(&self) -> Vec<String> {
        self.playlist
            .segments
            .iter()
            .map(|entry| join(&self.url, &entry.uri))
            .collect()
    }

    fn durations_are_true(&self) {
        let mut drift = 0.0;
        for (index, pair) in self.segments.windows(2).enumerate() {
            if self.playlist.segments[index + 1].discontinuity {
                continue;
            }
            let Entry { uri, duration } = self.entry(index);
            let measured = (pair[1].start() - pair[0].start()) as f64 / 90_000.0;
            drift += measured - duration;
            assert!(
                (measured - duration).abs() < DURATION_TOLERANCE,
                "{uri}: EXTINF {duration}, measured {measured}"
            );
            assert!(
                drift.abs() < DURATION_TOLERANCE,
                "{uri}: EXTINFs are {drift} s off together"
            );
        }
    }

    /// RFC 8216 §4.3.5.1: every segment can be decoded on its own, or the playlist does not say so.
    fn independence_is_true(&self) {
        let all = self.segments.iter().all(Segment::is_independent);
        assert!(
            all || !self.playlist.independent,
            "{}: EXT-X-INDEPENDENT-SEGMENTS is not true",
            self.url
        );
    }

    fn entry(&self, index: usize) -> Entry<'_> {
        let entry = &self.playlist.segments[index];
        Entry {
            uri: &entry.uri,
            duration: entry.duration,
        }
    }
}

struct Entry<'a> {
    uri: &'a str,
    duration: f64,
}

/// Resolves a URI of the playlist at `base`; the server's are relative.
pub(crate) fn join(base: &str, uri: &str) -> String {
    assert!(
        !uri.starts_with('/') && !uri.contains("://") && !uri.contains(".."),
        "{uri} is not relative"
    );
    let base = base.split('?').next().unwrap_or(base);
    let folder = base.rfind('/').map_or("", |slash| &base[..=slash]);
    format!("{folder}{uri}")
}

fn text(url: &str) -> String {
    String::from_utf8(bytes(url)).expect("a playlist is UTF-8")
}

fn bytes(url: &str) -> Vec<u8> {
    if url.starts_with("http://") {
        http::get(url).body
    } else {
        std::fs::read(Path::new(url)).unwrap_or_else(|error| panic!("{url}: {error}"))
    }
}

/// Waits until nobody is live at `index` any more, and reads what is left: the VOD.
pub(crate) fn finished(index: &str) -> Recording {
    wait_for(&format!("the end of {index}"), END_LIMIT, || {
        let reply = http::try_get(index).filter(|reply| reply.status == 200)?;
        let variant =
            Multivariant::parse(&reply.text()).unwrap_or_else(|error| panic!("{index}: {error}"));
        let media = http::get(&join(index, &variant.uri)).text();
        media.contains("#EXT-X-ENDLIST").then_some(())
    });
    Recording::of_index(index)
}
