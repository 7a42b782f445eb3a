//! A recording that is being made: its live window and the playlists rendered from it.
//!
//! "Data, then index, then news" ends here: [`Recording::list`] is called when a segment's bytes
//! have their name and their line in the index, and only then do playlists name it. A crash before
//! that leaves a segment that no playlist names; a crash after it loses nothing.

use super::journal::{Index, TrackLine, Trim};
use super::ledger::TrackInfo;
use crate::key::{self, Container, RecordingKey};
use crate::media::{Begin, Segment, Tracks, WallTime};
use crate::playlist::{
    Bandwidth, Document, Freshness, Variant, Window, WindowConfig, multivariant,
};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is listed of one recording.
pub struct Recording {
    key: RecordingKey,
    window_segments: usize,
    state: Mutex<State>,
}

/// The newest segments of a recording: those of its live window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recent {
    /// The recording.
    pub recording: RecordingKey,
    /// Its newest segments, by number.
    pub segments: Vec<Segment>,
    /// Discontinuities before the first of them (RFC 8216 §4.3.3.3).
    pub discontinuity_sequence: u64,
    /// EXT-X-TARGETDURATION in seconds.
    pub target_duration_s: u32,
    /// Whether nothing follows.
    pub ended: bool,
}

#[derive(Default)]
struct State {
    tracks: TrackLine,
    info: TrackInfo,
    /// What retention had taken before the first segment that is known here.
    trim: Option<Trim>,
    /// From the first segment on, which fixes the target duration.
    listed: Option<Listed>,
}

struct Listed {
    window: Window,
    bandwidth: Bandwidth,
    ends: WallTime,
    media: Document,
    index: Document,
}

impl Recording {
    /// A recording that has no segment yet.
    pub fn new(key: RecordingKey, window_segments: usize) -> Self {
        Self {
            key,
            window_segments,
            state: Mutex::default(),
        }
    }

    /// The recording as its index tells it.
    pub fn from_index(key: RecordingKey, window_segments: usize, index: &Index) -> Self {
        let recording = Self::new(key, window_segments);
        recording.read_on(index.clone());
        recording
    }

    /// What lines that were added to its index tell.
    pub fn read_on(&self, added: Index) {
        if added.tracks != TrackLine::default() {
            self.state().tracks = added.tracks;
        }
        if added.trim.is_some() {
            self.state().trim = added.trim;
        }
        for segment in added.segments {
            self.add(segment, added.target_duration_s);
        }
        self.render(added.ended);
    }

    /// Its name.
    pub fn key(&self) -> &RecordingKey {
        &self.key
    }

    /// The object name of a segment of it.
    pub fn segment_object(&self, number: u64) -> String {
        self.key.segment(number, Container::Ts)
    }

    /// Where the next session takes it up.
    pub fn begin(&self) -> Begin {
        let state = self.state();
        state
            .listed
            .as_ref()
            .map_or_else(Begin::default, |listed| Begin {
                number: listed.window.next_number().unwrap_or(0),
                continues: true,
                target_duration_s: Some(listed.window.target_duration_s()),
                not_before: Some(listed.ends),
            })
    }

    /// From the next segment on these are the tracks.
    pub fn set_tracks(&self, tracks: &Tracks) {
        let mut state = self.state();
        state.tracks = tracks.into();
        state.info = tracks.into();
    }

    /// The tracks of the session that writes it.
    pub fn track_info(&self) -> TrackInfo {
        self.state().info.clone()
    }

    /// What playlists say of its tracks.
    pub fn tracks(&self) -> TrackLine {
        self.state().tracks.clone()
    }

    /// Names a segment whose bytes are safe.
    pub fn list(&self, segment: Segment, target_duration_s: u32) {
        self.add(segment, target_duration_s);
        self.render(false);
    }

    /// Nothing follows.
    pub fn end(&self) {
        self.render(true);
    }

    /// The live media playlist, once there is a segment.
    pub fn media(&self) -> Option<Document> {
        Some(self.state().listed.as_ref()?.media.clone())
    }

    /// The multivariant playlist, once there is a segment.
    pub fn index(&self) -> Option<Document> {
        Some(self.state().listed.as_ref()?.index.clone())
    }

    /// Its newest segments, once there is one.
    pub fn recent(&self) -> Option<Recent> {
        let state = self.state();
        let window = &state.listed.as_ref()?.window;
        Some(Recent {
            recording: self.key.clone(),
            segments: window.segments().cloned().collect(),
            discontinuity_sequence: window.discontinuity_sequence(),
            target_duration_s: window.target_duration_s(),
            ended: window.is_ended(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // The state is whole after every statement that changes it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, segment: Segment, target_duration_s: u32) {
        let mut state = self.state();
        let State { trim, listed, .. } = &mut *state;
        let listed = listed.get_or_insert_with(|| Listed {
            window: self.window(target_duration_s, trim.as_ref(), segment.number),
            bandwidth: Bandwidth::new(target_duration_s),
            ends: WallTime::default(),
            media: Document::new(String::new(), Freshness::Settled),
            index: Document::new(String::new(), Freshness::Settled),
        });
        listed.ends = segment.program_date_time + segment.duration;
        listed.bandwidth.push(&segment);
        let number = segment.number;
        if let Err(error) = listed.window.push(segment) {
            tracing::error!(recording = %self.key, number, %error, "segment is left out of the playlist");
        }
    }

    /// The window before the first segment that is known.
    fn window(&self, target_duration_s: u32, trim: Option<&Trim>, first: u64) -> Window {
        let config = WindowConfig {
            segments: self.window_segments,
            target_duration_s,
        };
        match trim {
            None => Window::new(config),
            Some(trim) => Window::trimmed(config, first, trim.discontinuities),
        }
    }

    fn render(&self, ended: bool) {
        let mut state = self.state();
        let State { tracks, listed, .. } = &mut *state;
        let Some(listed) = listed else {
            return;
        };
        if ended {
            listed.window.end();
        }
        let freshness = match ended {
            true => Freshness::Settled,
            false => Freshness::Live {
                max_age_s: listed.window.target_duration_s() / 2,
            },
        };
        listed.media = Document::new(listed.window.render(), freshness);
        let recording = &self.key.recording;
        let variant = Variant {
            uri: match ended {
                true => key::vod_uri(recording),
                false => key::media_uri(recording),
            },
            bandwidth: listed.bandwidth.peak().unwrap_or(1),
            average_bandwidth: listed.bandwidth.average(),
            codecs: tracks.codecs.clone(),
            resolution: tracks.resolution,
            frame_rate: tracks.frame_rate,
        };
        let text = multivariant::render(&[variant], listed.window.is_independent());
        // The next push may begin at any time, and then this names its recording.
        let max_age_s = listed.window.target_duration_s() / 2;
        listed.index = Document::new(text, Freshness::Live { max_age_s });
    }
}
