//! Rows of history written again from the recordings' own indexes in the store.
//!
//! Needed when a process was killed before its rows were written, and when the queue before the
//! catalog was full. Rows that are there stay as they are.

use super::auth::Caller;
use super::journal::Line;
use super::ledger::{AudioInfo, TrackInfo, VideoInfo};
use super::{Control, Error};
use crate::catalog::{Entry, SegmentRow, SessionRow};
use crate::clock;
use crate::id::{ChannelId, HUB_LEVELS_MAX, RecordingId};
use crate::key::RecordingKey;
use crate::media::Segment;
use crate::store::Spool;
use std::collections::BTreeSet;

/// Sessions that one pass closes; the next pass has the rest.
const SESSIONS_MAX: usize = 1_000;
/// Rows of restored recordings that wait for the catalog at a time.
const WAITING_MAX: usize = 10_000;
/// What an interrupted session says of its end.
const INTERRUPTED: &str = "the server was interrupted";

/// How long a start waits for the rows of killed pushes. A day's are written behind its first pushes.
const WAIT_MAX: std::time::Duration = std::time::Duration::from_millis(500);

impl Control {
    /// Closes the sessions that a process of this name left open when it was killed, and writes
    /// what it had not yet written of them and of the recordings that it left `cut_off`. Call it
    /// before anybody publishes.
    pub async fn recover_history(&self, cut_off: Vec<RecordingKey>) -> Result<usize, Error> {
        let mut closed = 0;
        let mut recordings: BTreeSet<RecordingKey> = cut_off.into_iter().collect();
        loop {
            let node = &self.settings().node;
            let open = self.catalog().running(node, SESSIONS_MAX).await?;
            for row in &open {
                self.close(row).await?;
                recordings.insert(row.recording.clone());
            }
            closed += open.len();
            self.written().await;
            if open.len() < SESSIONS_MAX {
                break;
            }
        }
        // Of what is in the spool rows may be missing too; it stays there until they are written.
        recordings.extend(self.disk().spool().map(Spool::all).unwrap_or_default());
        self.0.restoring().extend(recordings.iter().cloned());
        let control = self.clone();
        let start_ms = clock::now().unix_ms();
        let restoring = tokio::spawn(async move {
            for key in &recordings {
                if let Err(error) = control.restore_missing(key, start_ms).await {
                    tracing::error!(recording = %key, %error, "history has a gap");
                }
            }
            control.written().await;
            control.0.restoring().clear();
        });
        // It goes on when this has waited long enough.
        let _ = tokio::time::timeout(WAIT_MAX, restoring).await;
        Ok(closed)
    }

    async fn close(&self, row: &SessionRow) -> Result<(), Error> {
        let index = self.archive().index(&row.recording).await?;
        let end = index.and_then(|(text, _)| session_end(&text, row.began_ms));
        let (ended_ms, reason) = end.unwrap_or((row.began_ms, INTERRUPTED.to_owned()));
        let mut closed = row.clone();
        closed.ended_ms = Some(ended_ms.max(row.began_ms));
        closed.reason = Some(reason);
        self.backlog().push(Entry::Session(Box::new(closed)));
        Ok(())
    }

    async fn written(&self) {
        while self.backlog().health().waiting > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Writes the rows of a recording that a killed process had not yet written. Sessions that have
    /// a row keep it, and those since the start write it: their own accounts know more than the
    /// index does.
    async fn restore_missing(&self, key: &RecordingKey, start_ms: i64) -> Result<(), Error> {
        let entries = self.read_index(key).await?;
        let known = self.catalog().sessions_of(key).await?;
        let known: BTreeSet<i64> = known.into_iter().collect();
        for entry in entries {
            match &entry {
                Entry::Session(row)
                    if known.contains(&row.began_ms) || row.began_ms >= start_ms => {}
                _ => self.push_slowly(entry).await,
            }
        }
        Ok(())
    }

    /// Hands a row over when the queue has room for those of running pushes too.
    async fn push_slowly(&self, entry: Entry) {
        while self.backlog().health().waiting > WAITING_MAX {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        self.backlog().push(entry);
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
            let within = self.archive().folders(&folder).await?;
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
        let mut recordings = 0;
        for key in self.archive().of_channel(channel).await? {
            let entries = self.read_index(&key).await?;
            recordings += usize::from(!entries.is_empty());
            for entry in entries {
                self.push_slowly(entry).await;
            }
        }
        Ok(recordings)
    }

    async fn read_index(&self, key: &RecordingKey) -> Result<Vec<Entry>, Error> {
        let index = self.archive().index(key).await?;
        let (text, confirmed) = index.unwrap_or_default();
        Ok(entries(key, &text, confirmed, &self.settings().node))
    }
}

/// When and why the session that began at `began_ms` ended, as its recording's index tells it.
fn session_end(text: &[u8], began_ms: i64) -> Option<(i64, String)> {
    let mut inside = false;
    let mut last_segment = None;
    for line in text.split(|byte| *byte == b'\n') {
        // A day has forty thousand of these; only the last is read.
        if line.starts_with(b"{\"segment\"") {
            last_segment = Some(line).filter(|_| inside).or(last_segment);
            continue;
        }
        match serde_json::from_slice(line) {
            Ok(Line::Session { .. }) if inside => break,
            Ok(Line::Session { began_ms: at, .. }) => inside = at == began_ms,
            Ok(Line::SessionEnd {
                ended_ms, reason, ..
            }) if inside => return Some((ended_ms, reason)),
            Ok(Line::Interrupted { ended_ms }) if inside => {
                return Some((ended_ms, INTERRUPTED.to_owned()));
            }
            _ => {}
        }
    }
    match serde_json::from_slice(last_segment?) {
        Ok(Line::Segment(line)) => {
            let row = SegmentRow::of(&Segment::from(&line), began_ms);
            Some((row.until_ms(), INTERRUPTED.to_owned()))
        }
        _ => None,
    }
}

/// The rows of a recording, as its index tells them: of segments, those whose lines are within its
/// first `confirmed` bytes.
fn entries(key: &RecordingKey, text: &[u8], confirmed: usize, node: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut end = 0;
    let mut session: Option<SessionRow> = None;
    let close = |session: &mut Option<SessionRow>, entries: &mut Vec<Entry>| {
        entries.extend(session.take().map(|row| Entry::Session(Box::new(row))));
    };
    for line in text.split(|byte| *byte == b'\n') {
        end += line.len() + 1;
        let is_confirmed = end <= confirmed;
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
                entries.extend(is_confirmed.then(|| Entry::Segment {
                    key: key.clone(),
                    row: SegmentRow::of(&segment, session_ms),
                    target_duration_s: line.target_duration_s.into(),
                }));
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
            // What it had counted is lost; its segments were counted above.
            Ok(Line::Interrupted { ended_ms }) => {
                if let Some(row) = &mut session {
                    row.ended_ms = Some(ended_ms);
                }
                close(&mut session, &mut entries);
            }
            Ok(Line::Lost { number }) if is_confirmed => {
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                entries.push(Entry::Lost {
                    key: key.clone(),
                    number,
                });
            }
            Ok(Line::End { ended_ms }) => entries.push(Entry::End {
                key: key.clone(),
                ended_ms,
            }),
            Ok(Line::Lost { .. }) | Err(_) => {}
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
