//! Rows of history written again from the recordings' own indexes in the store.
//!
//! Needed when a process was killed before its rows were written, and when the queue before the
//! catalog was full. Rows that are there stay as they are.

use super::auth::Caller;
use super::journal::Line;
use super::ledger::{AudioInfo, TrackInfo, VideoInfo};
use super::{Control, Error};
use crate::catalog::{Entry, SegmentRow, SessionRow};
use crate::id::{ChannelId, HUB_LEVELS_MAX, RecordingId};
use crate::key::RecordingKey;
use crate::media::Segment;
use crate::store;

/// Sessions that one pass closes; the next pass has the rest.
const SESSIONS_MAX: usize = 1_000;
/// What an interrupted session says of its end.
const INTERRUPTED: &str = "the server was interrupted";

impl Control {
    /// Closes the sessions that a process of this name left open when it was killed, and writes
    /// what it had not yet written of them. Call it before anybody publishes.
    pub async fn recover_history(&self) -> Result<usize, Error> {
        let mut recovered = 0;
        loop {
            let node = &self.settings().node;
            let open = self.catalog().running(node, SESSIONS_MAX).await?;
            for row in &open {
                self.recover(row).await?;
            }
            recovered += open.len();
            while self.backlog().health().waiting > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            if open.len() < SESSIONS_MAX {
                return Ok(recovered);
            }
        }
    }

    async fn recover(&self, row: &SessionRow) -> Result<(), Error> {
        let restored = self.read_index(&row.recording).await?;
        let session = |entry: &Entry| match entry {
            Entry::Session(found) if found.began_ms == row.began_ms => {
                Some(SessionRow::clone(found))
            }
            Entry::Session(_)
            | Entry::Recording { .. }
            | Entry::Segment { .. }
            | Entry::End { .. } => None,
        };
        let found = restored.iter().find_map(session);
        let last = restored.iter().filter_map(|entry| match entry {
            Entry::Segment { row: segment, .. } => Some(segment.until_ms()),
            Entry::Recording { .. } | Entry::Session(_) | Entry::End { .. } => None,
        });
        let last = last.max().filter(|last| *last > row.began_ms);
        let ended_ms = found.as_ref().and_then(|found| found.ended_ms);
        let mut closed = row.clone();
        closed.ended_ms = ended_ms.or(last).or(Some(row.began_ms));
        closed.reason = found
            .and_then(|found| found.reason)
            .or_else(|| Some(INTERRUPTED.to_owned()));
        for entry in restored {
            if !matches!(entry, Entry::Session(_)) {
                self.backlog().push(entry);
            }
        }
        self.backlog().push(Entry::Session(Box::new(closed)));
        Ok(())
    }

    /// Writes again what a full queue refused. Call it now and then.
    pub async fn restore_torn(&self) {
        for key in self.backlog().take_torn() {
            let live = self.registry().is_live(&key.channel);
            match self.read_index(&key).await {
                Ok(entries) => {
                    tracing::info!(recording = %key, rows = entries.len(), "history is written again from the recording's index");
                    // Of a session that runs, its own account knows more.
                    let wanted = |entry: &Entry| !(live && matches!(entry, Entry::Session(_)));
                    entries
                        .into_iter()
                        .filter(wanted)
                        .for_each(|entry| self.backlog().push(entry));
                }
                Err(error) => tracing::error!(recording = %key, %error, "history has a gap"),
            }
        }
    }

    /// Makes every channel that the store has recordings of and the catalog does not know, and writes
    /// the rows that are missing. Returns how many channels and recordings the store has.
    ///
    /// Channels come back with the server's settings and without a key: those are in no recording.
    pub async fn rebuild(&self) -> Result<(usize, usize), Error> {
        let by = Caller::server("rebuild");
        let (mut channels, mut recordings) = (0, 0);
        let mut folders = vec![String::new()];
        while let Some(folder) = folders.pop() {
            let within = self.store().list_folders(&folder).await?;
            let is_recording = |name: &String| name.parse::<RecordingId>().is_ok();
            let (recorded, others): (Vec<_>, Vec<_>) = within.into_iter().partition(is_recording);
            if let Ok(channel) = folder.parse::<ChannelId>()
                && !recorded.is_empty()
            {
                self.put_if_missing(&by, &channel).await?;
                channels += 1;
                recordings += self.restore_channel(&channel).await?;
            }
            if folder.matches('/').count() < HUB_LEVELS_MAX {
                let path = |name: String| match folder.as_str() {
                    "" => name,
                    folder => format!("{folder}/{name}"),
                };
                folders.extend(others.into_iter().map(path));
            }
        }
        Ok((channels, recordings))
    }

    async fn restore_channel(&self, channel: &ChannelId) -> Result<usize, Error> {
        let folders = self.store().list_folders(&channel.to_string()).await?;
        let mut recordings = 0;
        for folder in folders {
            let Some(recording) = folder.rsplit('/').next().and_then(|name| name.parse().ok())
            else {
                continue;
            };
            let key = RecordingKey {
                channel: channel.clone(),
                recording,
            };
            let entries = self.read_index(&key).await?;
            recordings += usize::from(!entries.is_empty());
            for entry in entries {
                while self.backlog().health().waiting > 10_000 {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                self.backlog().push(entry);
            }
        }
        Ok(recordings)
    }

    async fn read_index(&self, key: &RecordingKey) -> Result<Vec<Entry>, Error> {
        match self.store().get(&key.journal()).await {
            Ok(text) => Ok(entries(key, &text, &self.settings().node)),
            Err(store::Error::NotFound { .. }) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The rows of a recording, as its index tells them.
fn entries(key: &RecordingKey, text: &[u8], node: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut session: Option<SessionRow> = None;
    let close = |session: &mut Option<SessionRow>, entries: &mut Vec<Entry>| {
        entries.extend(session.take().map(|row| Entry::Session(Box::new(row))));
    };
    for line in text.split(|byte| *byte == b'\n') {
        match serde_json::from_slice(line) {
            Ok(Line::Recording { began_ms, .. }) => entries.push(Entry::Recording {
                key: key.clone(),
                began_ms,
            }),
            Ok(Line::Session {
                began_ms,
                remote,
                encoder,
            }) => {
                close(&mut session, &mut entries);
                session = Some(begun(key, began_ms, remote, encoder, node));
            }
            Ok(Line::Tracks(line)) => {
                if let Some(row) = &mut session {
                    row.tracks = super::json(&tracks(line));
                }
            }
            Ok(Line::Segment(line)) => {
                let segment = Segment::from(&line);
                let session_ms = session.as_ref().map_or(0, |row| row.began_ms);
                if let Some(row) = &mut session {
                    row.gaps += i64::from(segment.gap);
                    row.discontinuities += i64::from(segment.discontinuity);
                    row.bytes = row.bytes.saturating_add_unsigned(segment.size);
                    // Until its own end is read, it ends with its last segment.
                    row.ended_ms = Some(SegmentRow::of(&segment, session_ms).until_ms());
                }
                entries.push(Entry::Segment {
                    key: key.clone(),
                    row: SegmentRow::of(&segment, session_ms),
                    target_duration_s: line.target_duration_s.into(),
                });
            }
            Ok(Line::SessionEnd {
                ended_ms,
                reason,
                video_frames,
                audio_frames,
                dropped,
            }) => {
                let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
                if let Some(row) = &mut session {
                    row.ended_ms = Some(ended_ms);
                    row.reason = Some(reason);
                    row.video_frames = number(video_frames);
                    row.audio_frames = number(audio_frames);
                    row.dropped = number(dropped);
                }
                close(&mut session, &mut entries);
            }
            Ok(Line::End { ended_ms }) => entries.push(Entry::End {
                key: key.clone(),
                ended_ms,
            }),
            Err(_) => {}
        }
    }
    close(&mut session, &mut entries);
    entries
}

fn begun(
    key: &RecordingKey,
    began_ms: i64,
    remote: String,
    encoder: Option<String>,
    node: &str,
) -> SessionRow {
    SessionRow {
        recording: key.clone(),
        began_ms,
        ended_ms: Some(began_ms),
        reason: Some(INTERRUPTED.to_owned()),
        remote,
        encoder,
        tracks: super::json(&TrackInfo::default()),
        bytes: 0,
        video_frames: 0,
        audio_frames: 0,
        dropped: 0,
        discontinuities: 0,
        gaps: 0,
        node: node.to_owned(),
    }
}

/// What an index says of tracks: the first codec is the video's if there is a picture.
fn tracks(line: super::journal::TrackLine) -> TrackInfo {
    let mut codecs = line.codecs.into_iter();
    let video = line.resolution.and_then(|(width, height)| {
        Some(VideoInfo {
            codec: codecs.next()?,
            width,
            height,
            frame_rate: line.frame_rate,
        })
    });
    let audio = codecs.next().map(|codec| AudioInfo {
        codec,
        sample_rate: 0,
        channels: 0,
    });
    TrackInfo { video, audio }
}
