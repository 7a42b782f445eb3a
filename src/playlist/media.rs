//! A media playlist as a value, and its text (RFC 8216 §4.3.2, §4.3.3).
//!
//! The text is our own and not `m3u8-rs`'s, which holds a duration in an `f32` (at ten seconds that
//! is a microsecond, too coarse to add up), takes the number of decimals from one static of the
//! process, and leaves out a discontinuity sequence of zero (§4.3.3.3: players that join late need
//! it). The tests read every text back with it.

use crate::id::RecordingId;
use crate::key::{self, Container};
use crate::media::{Duration, Segment, WallTime};
use std::fmt::Write;

/// Lowest protocol version that has decimals in EXTINF (RFC 8216 §7); nothing we write needs more.
pub(crate) const VERSION: usize = 3;
/// About what one segment takes in the text; spares the growing string its copies.
const ENTRY_LEN: usize = 120;

/// What a playlist promises about its changes (EXT-X-PLAYLIST-TYPE, §4.3.3.5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Segments come at the end and leave at the beginning: no tag.
    Sliding,
    /// Segments only come.
    Event,
    /// Nothing changes.
    Vod,
}

/// Everything that a media playlist says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MediaPlaylist<'a> {
    /// What may change.
    pub kind: Kind,
    /// EXT-X-TARGETDURATION in seconds.
    pub target_duration_s: u32,
    /// Number of the first segment (EXT-X-MEDIA-SEQUENCE).
    pub media_sequence: u64,
    /// EXT-X-DISCONTINUITY tags that stood before the first segment and are gone; `None` leaves
    /// the tag out and is right only while there never was one.
    pub discontinuity_sequence: Option<u64>,
    /// Whether every segment begins with a key frame (EXT-X-INDEPENDENT-SEGMENTS).
    pub independent: bool,
    /// The segments in order.
    pub segments: Vec<Entry<'a>>,
    /// Whether nothing follows (EXT-X-ENDLIST).
    pub ended: bool,
}

/// A segment in a playlist.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// The recording it is of, if the playlist stands beside the recordings and not within one.
    pub recording: Option<&'a RecordingId>,
    /// The segment; its own discontinuity flag does not count here.
    pub segment: &'a Segment,
    /// Whether EXT-X-DISCONTINUITY stands before it.
    pub discontinuity: bool,
}

impl<'a> Entry<'a> {
    /// A segment in a playlist of its own recording.
    pub fn within_recording(segment: &'a Segment, discontinuity: bool) -> Self {
        Self {
            recording: None,
            segment,
            discontinuity,
        }
    }
}

/// The text of a media playlist.
pub fn render(playlist: &MediaPlaylist<'_>) -> String {
    let mut text =
        String::with_capacity(ENTRY_LEN.saturating_mul(playlist.segments.len().saturating_add(2)));
    head(&mut text, playlist);
    for entry in &playlist.segments {
        line(&mut text, entry);
    }
    if playlist.ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

// Writing to a string cannot fail, so the results of `write!` below say nothing.

fn head(text: &mut String, playlist: &MediaPlaylist<'_>) {
    let _ = write!(
        text,
        "#EXTM3U\n#EXT-X-VERSION:{VERSION}\n#EXT-X-TARGETDURATION:{}\n#EXT-X-MEDIA-SEQUENCE:{}\n",
        playlist.target_duration_s, playlist.media_sequence,
    );
    if let Some(sequence) = playlist.discontinuity_sequence {
        let _ = writeln!(text, "#EXT-X-DISCONTINUITY-SEQUENCE:{sequence}");
    }
    match playlist.kind {
        Kind::Sliding => {}
        Kind::Event => text.push_str("#EXT-X-PLAYLIST-TYPE:EVENT\n"),
        Kind::Vod => text.push_str("#EXT-X-PLAYLIST-TYPE:VOD\n"),
    }
    if playlist.independent {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
}

fn line(text: &mut String, entry: &Entry<'_>) {
    let segment = entry.segment;
    if entry.discontinuity {
        text.push_str("#EXT-X-DISCONTINUITY\n");
    }
    if segment.gap {
        text.push_str("#EXT-X-GAP\n");
    }
    text.push_str("#EXT-X-PROGRAM-DATE-TIME:");
    date_time(text, segment.program_date_time);
    let micros = micros(segment.duration);
    let _ = write!(
        text,
        "\n#EXTINF:{}.{:06},\n",
        micros / 1_000_000,
        micros % 1_000_000
    );
    let name = match entry.recording {
        Some(recording) => key::segment_uri(recording, segment.number, Container::Ts),
        None => key::segment_name(segment.number, Container::Ts),
    };
    text.push_str(&name);
    text.push('\n');
}

/// ISO 8601 in UTC with milliseconds.
fn date_time(text: &mut String, at: WallTime) {
    let at = chrono::DateTime::from_timestamp_millis(at.unix_ms()).unwrap_or_default();
    text.push_str(&at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true));
}

/// Microseconds to the nearest: six decimals are finer than a tick, so sums do not drift.
fn micros(duration: Duration) -> u64 {
    let ticks = u64::try_from(duration.ticks()).unwrap_or(0);
    ticks.saturating_mul(100).saturating_add(4) / 9
}

/// The least EXT-X-TARGETDURATION that may list a segment of this duration: rounded half up
/// (§4.3.3.1), at least one.
pub(crate) fn target_duration_for(duration: Duration) -> u32 {
    let rounded = micros(duration).saturating_add(500_000) / 1_000_000;
    u32::try_from(rounded).unwrap_or(u32::MAX).max(1)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A segment of `ms` milliseconds in a recording whose clock began at a fixed instant.
    pub(crate) fn segment(number: u64, ms: i64) -> Segment {
        let start = i64::try_from(number).expect("small") * 2000;
        Segment {
            number,
            start: crate::media::Timestamp::from_ms(start),
            program_date_time: WallTime::from_unix_ms(1_763_700_000_123 + start),
            duration: Duration::from_ms(ms),
            size: 1000,
            discontinuity: false,
            independent: true,
            gap: false,
            parts: Vec::new(),
        }
    }

    /// Reads a text as strangers do.
    pub(crate) fn strict(text: &str) -> m3u8_rs::MediaPlaylist {
        assert!(text.starts_with("#EXTM3U\n") && text.ends_with('\n') && text.is_ascii());
        let playlist = m3u8_rs::parse_media_playlist_res(text.as_bytes()).expect(text);
        assert!(playlist.unknown_tags.is_empty(), "{text}");
        playlist
    }

    #[test]
    fn a_window_becomes_text() {
        let first = segment(41, 2002);
        let lost = Segment {
            gap: true,
            ..segment(42, 2000)
        };
        let entry = |segment, discontinuity| Entry {
            recording: None,
            segment,
            discontinuity,
        };
        let text = render(&MediaPlaylist {
            kind: Kind::Sliding,
            target_duration_s: 6,
            media_sequence: 41,
            discontinuity_sequence: Some(0),
            independent: true,
            segments: vec![entry(&first, false), entry(&lost, true)],
            ended: true,
        });
        assert_eq!(
            text,
            "#EXTM3U\n\
             #EXT-X-VERSION:3\n\
             #EXT-X-TARGETDURATION:6\n\
             #EXT-X-MEDIA-SEQUENCE:41\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:0\n\
             #EXT-X-INDEPENDENT-SEGMENTS\n\
             #EXT-X-PROGRAM-DATE-TIME:2025-11-21T04:41:22.123Z\n\
             #EXTINF:2.002000,\n\
             0000/00000041.ts\n\
             #EXT-X-DISCONTINUITY\n\
             #EXT-X-GAP\n\
             #EXT-X-PROGRAM-DATE-TIME:2025-11-21T04:41:24.123Z\n\
             #EXTINF:2.000000,\n\
             0000/00000042.ts\n\
             #EXT-X-ENDLIST\n"
        );
        let back = strict(&text);
        assert_eq!(
            (back.media_sequence, back.target_duration, back.end_list),
            (41, 6, true)
        );
        assert!(back.segments.iter().any(|s| s.discontinuity));
    }

    #[test]
    fn durations_keep_six_decimals() {
        let check = |ticks, expected: &str| {
            let segment = Segment {
                duration: Duration::from_ticks(ticks),
                ..segment(0, 0)
            };
            let mut text = String::new();
            line(
                &mut text,
                &Entry {
                    recording: None,
                    segment: &segment,
                    discontinuity: false,
                },
            );
            assert!(
                text.contains(&format!("#EXTINF:{expected},\n")),
                "{ticks} ticks: {text}"
            );
        };
        check(0, "0.000000");
        check(-90_000, "0.000000");
        check(1, "0.000011");
        check(90_000, "1.000000");
        check(180_180, "2.002000");
        check(900_901, "10.010011");
        check(90_000 * 86_400, "86400.000000");
    }

    #[test]
    fn the_target_duration_rounds_half_up() {
        let check = |us: i64, expected| {
            let duration = Duration::from_ticks(us * 9 / 100);
            assert_eq!(target_duration_for(duration), expected, "{us} µs");
        };
        check(4_499_000, 4);
        check(4_500_000, 5);
        check(4_500_100, 5);
        check(10_000, 1);
        check(0, 1);
    }
}
