//! What a session tells the catalog and the listeners, in the order in which it became true.

use super::events::Event;
use super::journal::Counted;
use super::meter::Counts;
use super::{Control, Publisher};
use crate::catalog::{Entry, SegmentRow, SessionRow};
use crate::clock;
use crate::key::RecordingKey;
use crate::media::{Segment, Tracks, WallTime};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the row of a running session is written again: what a killed process forgets of its
/// counts.
const REFRESH: Duration = Duration::from_secs(10);

/// The tracks of a session, as its row keeps them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct TrackInfo {
    /// The video track.
    pub video: Option<VideoInfo>,
    /// The audio track.
    pub audio: Option<AudioInfo>,
}

/// A video track.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VideoInfo {
    /// RFC 6381 codec string.
    pub codec: String,
    /// Cropped width in pixels.
    pub width: u32,
    /// Cropped height in pixels.
    pub height: u32,
    /// Numerator and denominator of the frames per second, if the bitstream tells.
    pub frame_rate: Option<(u32, u32)>,
}

/// An audio track.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AudioInfo {
    /// RFC 6381 codec string.
    pub codec: String,
    /// Samples per second.
    pub sample_rate: u32,
    /// Channels.
    pub channels: u8,
}

/// The account of one session. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    control: Control,
    state: Mutex<State>,
}

struct State {
    row: SessionRow,
    written: std::time::Instant,
}

impl Ledger {
    /// Opens the account of a session that begins now.
    pub(super) fn open(
        control: &Control,
        recording: &RecordingKey,
        publisher: &Publisher,
        begins_recording: bool,
    ) -> Self {
        let began_ms = clock::now().unix_ms();
        if begins_recording {
            control.backlog().push(Entry::Recording {
                key: recording.clone(),
                began_ms,
            });
        }
        let row = SessionRow {
            recording: recording.clone(),
            began_ms,
            ended_ms: None,
            reason: None,
            remote: publisher.remote.clone(),
            encoder: publisher.encoder.clone(),
            tracks: super::json(&TrackInfo::default()),
            bytes: 0,
            video_frames: 0,
            audio_frames: 0,
            dropped: 0,
            discontinuities: 0,
            gaps: 0,
            node: control.settings().node.clone(),
        };
        control.events().send(Event::SessionStarted {
            channel: recording.channel.clone(),
            recording: recording.recording.clone(),
            remote: row.remote.clone(),
        });
        let ledger = Self(Arc::new(Inner {
            control: control.clone(),
            state: Mutex::new(State {
                row,
                written: clock::monotonic(),
            }),
        }));
        ledger.write();
        ledger
    }

    /// When the session began.
    pub fn began(&self) -> WallTime {
        WallTime::from_unix_ms(self.state().row.began_ms)
    }

    /// The server that took it.
    pub fn node(&self) -> String {
        self.state().row.node.clone()
    }

    /// From now on these are the tracks.
    pub fn tracks(&self, tracks: &Tracks) {
        self.state().row.tracks = super::json(&TrackInfo::from(tracks));
        self.write();
    }

    /// A segment is on the disk, or lost for good, and in the live playlist. With a remote store its
    /// row and the news of it follow the store's confirmation ([`super::confirmed`]).
    pub fn segment(&self, segment: &Segment, target_duration_s: u32) {
        let (key, row) = {
            let mut state = self.state();
            state.row.gaps += i64::from(segment.gap);
            let row = SegmentRow::of(segment, state.row.began_ms);
            (state.row.recording.clone(), row)
        };
        let control = &self.0.control;
        if control.disk().spool().is_none() {
            control.tell_of_segment(&key, segment, row, target_duration_s);
        }
    }

    /// What was counted so far; written now and then.
    pub fn counted(&self, counts: Counts) {
        let due = {
            let mut state = self.state();
            state.row.take(counts);
            state.written.elapsed() >= REFRESH
        };
        if due {
            self.write();
        }
    }

    /// What was counted when this was last told.
    pub fn so_far(&self) -> Counted {
        let row = &self.state().row;
        let number = |count: i64| u64::try_from(count).unwrap_or(0);
        Counted {
            video_frames: number(row.video_frames),
            audio_frames: number(row.audio_frames),
            dropped: number(row.dropped),
            bytes: Some(number(row.bytes)),
            discontinuities: Some(number(row.discontinuities)),
        }
    }

    /// The session is over since `ended_ms` (milliseconds since the Unix epoch), as its line in the
    /// index says too.
    pub fn close(&self, counts: Counts, ended_ms: i64, reason: &str) {
        {
            let mut state = self.state();
            state.row.take(counts);
            state.row.ended_ms = Some(ended_ms);
            state.row.reason = Some(reason.to_owned());
        }
        self.write();
        let key = self.state().row.recording.clone();
        self.0.control.events().send(Event::SessionEnded {
            channel: key.channel,
            recording: key.recording,
            reason: reason.to_owned(),
        });
    }

    fn write(&self) {
        let mut state = self.state();
        state.written = clock::monotonic();
        let row = Box::new(state.row.clone());
        self.0.control.backlog().push(Entry::Session(row));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionRow {
    fn take(&mut self, counts: Counts) {
        let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.bytes = number(counts.bytes);
        self.video_frames = number(counts.video_frames);
        self.audio_frames = number(counts.audio_frames);
        self.dropped = number(counts.dropped);
        self.discontinuities = number(counts.discontinuities);
    }
}

impl From<&Tracks> for TrackInfo {
    fn from(tracks: &Tracks) -> Self {
        Self {
            video: tracks.video.as_ref().map(|video| VideoInfo {
                codec: video.codec_string.clone(),
                width: video.width,
                height: video.height,
                frame_rate: video.frame_rate,
            }),
            audio: tracks.audio.as_ref().map(|audio| AudioInfo {
                codec: audio.codec_string.clone(),
                sample_rate: audio.sample_rate,
                channels: audio.channels,
            }),
        }
    }
}
