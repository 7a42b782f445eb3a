//! Playlists of what was recorded: one recording from its beginning, or a range over several.

use super::media::{self, Entry, Kind, MediaPlaylist};
use crate::id::RecordingId;
use crate::media::Segment;

/// One recording's share of a range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Stretch<'a> {
    /// The recording.
    pub recording: &'a RecordingId,
    /// Its consecutive segments within the range.
    pub segments: &'a [Segment],
}

/// The playlist of a whole recording, beside its segments. While it is not `ended` it is of type
/// EVENT and only grows; then `target_duration_s` must be what it was and will be. A segment that
/// is longer raises it, as in [`super::Window::push`].
///
/// A recording that has lost its beginning, with so many discontinuities in it as `lost` says, keeps
/// its numbers and promises nothing about its changes.
pub fn render(
    target_duration_s: u32,
    lost: Option<u64>,
    segments: &[Segment],
    ended: bool,
) -> String {
    let entries = segments.iter().enumerate().map(|(at, segment)| {
        // Never before the first of all, which follows nothing.
        let tag = segment.discontinuity && (at > 0 || lost.is_some());
        Entry::within_recording(segment, tag)
    });
    let kind = match (ended, lost) {
        (true, _) => Kind::Vod,
        (false, None) => Kind::Event,
        (false, Some(_)) => Kind::Sliding,
    };
    let begins = Begins {
        media_sequence: segments.first().map_or(0, |segment| segment.number),
        discontinuities: lost.unwrap_or(0),
    };
    text(target_duration_s, begins, entries.collect(), kind)
}

/// The playlist of `stretches` one after the other, beside the folders of their recordings. Its
/// numbers are its own and begin at zero; every change of recording is a discontinuity.
pub fn render_range(target_duration_s: u32, stretches: &[Stretch<'_>]) -> String {
    let mut entries: Vec<Entry<'_>> = Vec::new();
    for stretch in stretches {
        let begins_anew = !entries.is_empty();
        entries.extend(
            stretch
                .segments
                .iter()
                .enumerate()
                .map(|(at, segment)| Entry {
                    recording: Some(stretch.recording),
                    segment,
                    discontinuity: if at == 0 {
                        begins_anew
                    } else {
                        segment.discontinuity
                    },
                }),
        );
    }
    text(target_duration_s, Begins::default(), entries, Kind::Vod)
}

/// What came before the first segment.
#[derive(Default)]
struct Begins {
    media_sequence: u64,
    discontinuities: u64,
}

fn text(target_duration_s: u32, begins: Begins, segments: Vec<Entry<'_>>, kind: Kind) -> String {
    let longest = segments
        .iter()
        .map(|entry| media::target_duration_for(entry.segment.duration))
        .max();
    let any = |entry: &Entry<'_>| entry.discontinuity;
    let discontinuous = begins.discontinuities > 0 || segments.iter().any(any);
    media::render(&MediaPlaylist {
        kind,
        target_duration_s: target_duration_s.max(longest.unwrap_or(0)),
        media_sequence: begins.media_sequence,
        discontinuity_sequence: discontinuous.then_some(begins.discontinuities),
        independent: segments
            .iter()
            .all(|entry| entry.segment.independent || entry.segment.gap),
        segments,
        ended: kind == Kind::Vod,
    })
}

#[cfg(test)]
mod tests {
    use super::super::media::tests::{segment, strict};
    use super::*;

    fn broken(number: u64) -> Segment {
        Segment {
            discontinuity: true,
            ..segment(number, 2000)
        }
    }

    #[test]
    fn a_recording_grows_and_then_stands() {
        let mut segments = vec![broken(7), segment(8, 2000), broken(9)];
        let live = render(4, None, &segments, false);
        segments.push(segment(10, 1000));
        let grown = render(4, None, &segments, false);
        assert!(grown.starts_with(&live), "{grown}");
        let settled = render(4, None, &segments, true);
        assert_eq!(
            settled,
            format!("{}#EXT-X-ENDLIST\n", grown.replace("EVENT", "VOD"))
        );
        let back = strict(&settled);
        assert_eq!(back.media_sequence, 7);
        assert_eq!(back.segments.len(), 4);
        assert_eq!(settled.matches("#EXT-X-DISCONTINUITY\n").count(), 1);
        assert!(settled.contains("#EXT-X-DISCONTINUITY-SEQUENCE:0\n"));
    }

    #[test]
    fn nothing_recorded_is_a_playlist_too() {
        let back = strict(&render(4, None, &[], true));
        assert_eq!((back.segments.len(), back.end_list), (0, true));
    }

    #[test]
    fn recordings_join_with_a_discontinuity() {
        let one = RecordingId::at(0, 1);
        let two = RecordingId::at(3_600_000, 2);
        let (first, second) = ([broken(41), segment(42, 2000)], [broken(0), broken(1)]);
        let stretch = |recording, segments| Stretch {
            recording,
            segments,
        };
        let text = render_range(
            4,
            &[
                stretch(&one, &first),
                stretch(&two, &[]),
                stretch(&two, &second),
            ],
        );
        let back = strict(&text);
        let rows: Vec<_> = back
            .segments
            .iter()
            .map(|s| (s.uri.as_str(), s.discontinuity))
            .collect();
        assert_eq!(
            rows,
            [
                ("19700101T000000000-0001/0000/00000041.ts", false),
                ("19700101T000000000-0001/0000/00000042.ts", false),
                ("19700101T010000000-0002/0000/00000000.ts", true),
                ("19700101T010000000-0002/0000/00000001.ts", true),
            ]
        );
        assert_eq!(back.media_sequence, 0);
    }

    #[test]
    fn a_day_stays_small() {
        let day: Vec<_> = (0..43_200).map(|number| segment(number, 2000)).collect();
        let text = render(4, None, &day, true);
        assert!(text.len() < 5_000_000, "{} bytes", text.len());
    }
}
