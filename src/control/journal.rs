//! A recording's own index: one line of JSON for each thing that happened, appended after it did.
//!
//! The store describes itself by it: from this object alone a recording's playlists are rendered,
//! after a restart too. A line that a crash cut off is the last one and is left out.

use super::meter::Counts;
use crate::media::{Duration, Segment, Timestamp, Tracks, WallTime};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Version of the format, in its first line.
const VERSION: u32 = 1;

/// One line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Line {
    /// The recording begins.
    Recording {
        /// Format of the lines.
        version: u32,
        /// The channel, as `hub/channel`.
        channel: String,
        /// Milliseconds since the Unix epoch.
        began_ms: i64,
    },
    /// A push into it begins.
    Session {
        /// Milliseconds since the Unix epoch.
        began_ms: i64,
        /// Address of the publisher.
        remote: String,
        /// What the encoder calls itself.
        encoder: Option<String>,
        /// The server that took it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
    /// From the next segment on these are the tracks.
    Tracks(TrackLine),
    /// A segment is stored.
    Segment(SegmentLine),
    /// The push is over.
    SessionEnd {
        /// Milliseconds since the Unix epoch.
        ended_ms: i64,
        /// Why.
        reason: String,
        /// All that it counted.
        #[serde(flatten)]
        counted: Counted,
    },
    /// The bytes of a segment that was listed are gone; it is a gap.
    Lost {
        /// Media sequence number.
        number: u64,
    },
    /// The push was cut off when the server was killed.
    Interrupted {
        /// When its last bytes were written, in milliseconds since the Unix epoch.
        ended_ms: i64,
        /// What it had counted when its last segment began.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        counted: Option<Counted>,
    },
    /// Retention lets go of segments: nothing names them from here on, and their objects are gone
    /// or go soon. The newest such line counts.
    Expired(Trim),
    /// Nothing follows: the recording is over.
    End {
        /// Milliseconds since the Unix epoch.
        ended_ms: i64,
    },
}

/// What a session counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Counted {
    /// Pictures in segments.
    pub video_frames: u64,
    /// Audio frames in segments.
    pub audio_frames: u64,
    /// Frames and tags that are in no segment.
    pub dropped: u64,
    /// Bytes of media that came in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Jumps of time and changes of tracks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discontinuities: Option<u64>,
}

/// Which segments of a recording have expired.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Trim {
    /// Those before this number, but for `kept`.
    pub before: u64,
    /// Discontinuities before that number: EXT-X-DISCONTINUITY-SEQUENCE begins with them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub discontinuities: u64,
    /// First and last number of runs that stay, because a clip or a hold names them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub kept: Vec<(u64, u64)>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Trim {
    /// Whether a segment has expired.
    pub fn has_expired(&self, number: u64) -> bool {
        let kept = |(first, last): &(u64, u64)| (*first..=*last).contains(&number);
        number < self.before && !self.kept.iter().any(kept)
    }

    /// The runs of numbers that have.
    pub fn runs(&self) -> Vec<Range<i64>> {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let (mut runs, mut from) = (Vec::new(), 0);
        for (first, last) in &self.kept {
            runs.push(from..number(*first));
            from = number(last.saturating_add(1));
        }
        runs.push(from..number(self.before));
        runs.retain(|run| !run.is_empty());
        runs
    }
}

/// What playlists say of tracks.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct TrackLine {
    /// RFC 6381 codec strings, video first.
    pub codecs: Vec<String>,
    /// Cropped width and height.
    pub resolution: Option<(u32, u32)>,
    /// Numerator and denominator of the frames per second, if the bitstream tells.
    pub frame_rate: Option<(u32, u32)>,
    /// Samples per second and channels of the audio track, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sound: Option<(u32, u8)>,
}

/// What playlists say of a segment.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SegmentLine {
    /// Media sequence number.
    pub number: u64,
    /// Decoding time of its first frame, in ticks of 90 kHz since its session began.
    pub start: i64,
    /// Program date time in milliseconds since the Unix epoch.
    pub date_ms: i64,
    /// In ticks of 90 kHz.
    pub duration: i64,
    /// Bytes.
    pub size: u64,
    /// EXT-X-TARGETDURATION of the recording, in seconds.
    pub target_duration_s: u32,
    /// Whether a discontinuity stands before it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub discontinuity: bool,
    /// Whether it does not begin with a key frame.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dependent: bool,
    /// Whether its media is missing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub gap: bool,
}

/// A recording as its index tells it.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Index {
    /// Its segments from the first that has not expired, by number.
    pub segments: Vec<Segment>,
    /// EXT-X-TARGETDURATION in seconds; 0 before the first segment.
    pub target_duration_s: u32,
    /// The tracks it had last.
    pub tracks: TrackLine,
    /// What retention took from its beginning: `segments` are those after it.
    pub trim: Option<Trim>,
    /// Segments before those that have not expired either: a clip or a hold names them.
    pub kept: Vec<Segment>,
    /// Whether a push into it has begun and not ended.
    pub pushing: bool,
    /// Whether it is over.
    pub ended: bool,
}

/// What is remembered of a recording that is not over, beside the store: enough to finish, after
/// the server was killed, what it was writing.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Marker {
    /// The segment that is being written; its duration and size are not known yet.
    pub open: SegmentLine,
    /// Lines that go to the index with that segment.
    pub lines: String,
    /// What the session had counted when it began to write that segment.
    #[serde(default)]
    pub counted: Counted,
}

impl Marker {
    /// As it is written, with its end of line.
    pub fn to_text(&self) -> String {
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }

    /// Reads the first line.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let line = text.split(|byte| *byte == b'\n').next()?;
        serde_json::from_slice(line).ok()
    }
}

impl Line {
    /// The first line of an index.
    pub fn recording(channel: String, began: WallTime) -> Self {
        Self::Recording {
            version: VERSION,
            channel,
            began_ms: began.unix_ms(),
        }
    }

    /// The line of a segment.
    pub fn segment(segment: &Segment, target_duration_s: u32) -> Self {
        Self::Segment(SegmentLine::new(segment, target_duration_s))
    }

    /// As it is appended, with its end of line.
    pub fn to_text(&self) -> String {
        // These types have no map with keys other than text: they always have a JSON form.
        let mut text = serde_json::to_string(self).unwrap_or_default();
        text.push('\n');
        text
    }
}

impl SegmentLine {
    /// What is said of a segment of a recording with this target duration.
    pub fn new(segment: &Segment, target_duration_s: u32) -> Self {
        Self {
            number: segment.number,
            start: segment.start.ticks(),
            date_ms: segment.program_date_time.unix_ms(),
            duration: segment.duration.ticks(),
            size: segment.size,
            target_duration_s,
            discontinuity: segment.discontinuity,
            dependent: !segment.independent,
            gap: segment.gap,
        }
    }
}

impl From<&Tracks> for TrackLine {
    fn from(tracks: &Tracks) -> Self {
        let video = tracks.video.as_ref();
        let audio = tracks.audio.as_ref();
        let codecs = video.map(|v| &v.codec_string).into_iter();
        Self {
            codecs: codecs
                .chain(audio.map(|a| &a.codec_string))
                .cloned()
                .collect(),
            resolution: video
                .map(|v| (v.width, v.height))
                .filter(|(w, h)| w * h > 0),
            frame_rate: video.and_then(|v| v.frame_rate),
            sound: audio.map(|a| (a.sample_rate, a.channels)),
        }
    }
}

impl From<Counts> for Counted {
    fn from(counts: Counts) -> Self {
        Self {
            video_frames: counts.video_frames,
            audio_frames: counts.audio_frames,
            dropped: counts.dropped,
            bytes: Some(counts.bytes),
            discontinuities: Some(counts.discontinuities),
        }
    }
}

impl From<&SegmentLine> for Segment {
    fn from(line: &SegmentLine) -> Self {
        Self {
            number: line.number,
            start: Timestamp::from_ticks(line.start),
            program_date_time: WallTime::from_unix_ms(line.date_ms),
            duration: Duration::from_ticks(line.duration),
            size: line.size,
            discontinuity: line.discontinuity,
            independent: !line.dependent,
            gap: line.gap,
            parts: Vec::new(),
        }
    }
}

impl Index {
    /// Reads an index. Lines of a later version and a line that was cut off are left out.
    pub fn parse(text: &[u8]) -> Self {
        let mut index = Self::default();
        index.extend(text);
        index
    }

    /// Numbers of the segments in an index, each with the length of the index up to its line's end.
    pub fn ends(text: &[u8]) -> Vec<(u64, u64)> {
        let mut end = 0;
        let lines = text.split_inclusive(|byte| *byte == b'\n');
        let ends = lines.filter_map(|line| {
            end += line.len() as u64;
            match serde_json::from_slice(line) {
                Ok(Line::Segment(segment)) => Some((segment.number, end)),
                _ => None,
            }
        });
        ends.collect()
    }

    /// Discontinuities before its first segment, if there may be any: `None` at the beginning of
    /// the recording.
    pub fn discontinuities(&self) -> Option<u64> {
        self.trim.as_ref().map(|trim| trim.discontinuities)
    }

    /// Reads on.
    pub fn extend(&mut self, text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n') {
            match serde_json::from_slice(line) {
                Ok(Line::Segment(line)) => {
                    self.target_duration_s = line.target_duration_s;
                    self.segments.push(Segment::from(&line));
                }
                Ok(Line::Tracks(tracks)) => self.tracks = tracks,
                Ok(Line::Session { .. }) => self.pushing = true,
                Ok(Line::SessionEnd { .. } | Line::Interrupted { .. }) => self.pushing = false,
                Ok(Line::Lost { number }) => {
                    let known = self.kept.iter_mut().chain(&mut self.segments).rev();
                    if let Some(segment) = { known }.find(|segment| segment.number == number) {
                        segment.gap = true;
                    }
                }
                Ok(Line::Expired(trim)) => {
                    let first = |segment: &Segment| segment.number < trim.before;
                    let before = self.segments.partition_point(first);
                    self.kept.extend(self.segments.drain(..before));
                    self.kept
                        .retain(|segment| !trim.has_expired(segment.number));
                    self.trim = Some(trim);
                }
                Ok(Line::End { .. }) => self.ended = true,
                Ok(Line::Recording { .. }) | Err(_) => {}
            }
        }
    }
}

/// The newest line that says what has expired. Looks at no other line.
pub fn trim_of(text: &[u8]) -> Option<Trim> {
    let mut lines = text.rsplit(|byte| *byte == b'\n');
    lines.find_map(|line| match line.starts_with(EXPIRED) {
        true => match serde_json::from_slice(line) {
            Ok(Line::Expired(trim)) => Some(trim),
            _ => None,
        },
        false => None,
    })
}

/// An index without the lines of segments that have expired; `None` if that is not worth writing it
/// anew.
pub fn compact(text: &[u8]) -> Option<Vec<u8>> {
    let trim = trim_of(text)?;
    let mut compacted = Vec::with_capacity(text.len() / 2);
    let mut tracks: &[u8] = &[];
    let mut expired: &[u8] = &[];
    for line in text.split_inclusive(|byte| *byte == b'\n') {
        // Most lines are of segments, and their number comes first.
        let keeps = match number_of(line) {
            Some(number) => !trim.has_expired(number),
            None if line.starts_with(EXPIRED) => {
                expired = line;
                false
            }
            None if line.starts_with(TRACKS) => {
                // The newest before a segment counts.
                tracks = line;
                false
            }
            None => true,
        };
        if keeps {
            compacted.extend_from_slice(std::mem::take(&mut tracks));
            compacted.extend_from_slice(line);
        }
    }
    compacted.extend_from_slice(tracks);
    compacted.extend_from_slice(expired);
    let saved = text.len() - compacted.len();
    (saved >= COMPACT_LEAST && saved >= compacted.len()).then_some(compacted)
}

/// Bytes that are worth writing an index anew.
const COMPACT_LEAST: usize = 64 << 10;
const EXPIRED: &[u8] = b"{\"expired\"";
const TRACKS: &[u8] = b"{\"tracks\"";

/// The number that the line of a segment is about.
fn number_of(line: &[u8]) -> Option<u64> {
    let rest = [&b"{\"segment\":{\"number\":"[..], b"{\"lost\":{\"number\":"];
    let rest = rest.iter().find_map(|begin| line.strip_prefix(*begin))?;
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_forgets_what_has_expired_and_says_the_same() {
        let segment = |number: u64| Segment {
            number,
            start: Timestamp::from_ms(2_000 * number as i64),
            program_date_time: WallTime::from_unix_ms(1_763_696_695_123),
            duration: Duration::from_ms(2_000),
            size: 750_000,
            discontinuity: number % 700 == 10,
            independent: true,
            gap: false,
            parts: Vec::new(),
        };
        let mut text = Line::recording("live/a".to_owned(), WallTime::default()).to_text();
        let tracks = |codec: &str| {
            let codecs = vec![codec.to_owned()];
            let line = TrackLine {
                codecs,
                ..TrackLine::default()
            };
            Line::Tracks(line).to_text()
        };
        text += &tracks("old");
        for number in 0..2_000 {
            if number == 900 {
                text += &tracks("new");
            }
            text += &Line::segment(&segment(number), 2).to_text();
        }
        assert_eq!(compact(text.as_bytes()), None, "nothing has expired");
        let trim = Trim {
            before: 1_900,
            discontinuities: 3,
            kept: vec![(5, 6)],
        };
        text += &Line::Expired(Trim {
            before: 3,
            ..Trim::default()
        })
        .to_text();
        text += &Line::Expired(trim.clone()).to_text();
        text += &Line::segment(&segment(2_000), 2).to_text();
        let index = Index::parse(text.as_bytes());
        assert_eq!(index.segments.len(), 101);
        assert_eq!(index.discontinuities(), Some(3));
        let compacted = compact(text.as_bytes()).expect("worth it");
        assert!(compacted.len() * 15 < text.len());
        assert_eq!(Index::parse(&compacted), index);
        assert_eq!(trim_of(&compacted), Some(trim));
        let kept = Index::ends(&compacted);
        assert_eq!(kept.len(), 103, "a rebuild finds what a clip names");
        assert_eq!(compact(&compacted), None);
        for line in compacted
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
        {
            assert!(serde_json::from_slice::<Line>(line).is_ok());
        }
    }

    #[test]
    fn an_index_reads_back_and_a_cut_off_line_is_left_out() {
        let segment = |number| Segment {
            number,
            start: Timestamp::from_ms(2_000 * number as i64),
            program_date_time: WallTime::from_unix_ms(1_763_696_695_123),
            duration: Duration::from_ms(2_000),
            size: 750_000,
            discontinuity: number == 1,
            independent: number != 2,
            gap: false,
            parts: Vec::new(),
        };
        let tracks = TrackLine {
            codecs: vec!["avc1.64001f".to_owned(), "mp4a.40.2".to_owned()],
            resolution: Some((1280, 720)),
            frame_rate: Some((30_000, 1001)),
            sound: Some((48_000, 2)),
        };
        let mut text = Line::recording("live/a".to_owned(), WallTime::default()).to_text();
        text += &Line::Tracks(tracks.clone()).to_text();
        for number in 0..3 {
            text += &Line::segment(&segment(number), 2).to_text();
        }
        let whole = text.len();
        text += &Line::segment(&segment(3), 2).to_text();
        for cut in whole..text.len() - 1 {
            let index = Index::parse(&text.as_bytes()[..cut]);
            assert_eq!(
                index.segments,
                [segment(0), segment(1), segment(2)],
                "cut at {cut}"
            );
            assert_eq!((index.target_duration_s, index.ended), (2, false));
            assert_eq!(index.tracks, tracks);
        }
        text += &Line::End { ended_ms: 0 }.to_text();
        assert!(Index::parse(text.as_bytes()).ended);
    }
}
