//! Rows of history written again from the recordings' own indexes in the store.
//!
//! Needed when a process was killed before its rows were written, and when the queue before the
//! catalog was full. Rows that are there stay as they are.

use super::journal::{Counted, Line, TrackLine, Trim, trim_of};
use super::ledger::{AudioInfo, TrackInfo, VideoInfo};
use super::{Control, Error};
use crate::catalog::{Cause, Entry, Expiry, NEVER, SegmentRow, SessionRow, flags};
use crate::clock;
use crate::id::ChannelId;
use crate::key::RecordingKey;
use crate::media::Segment;
use crate::store::Spool;
use std::collections::BTreeSet;

/// Sessions that one pass closes; the next pass has the rest.
const SESSIONS_MAX: usize = 1_000;
/// Rows of restored recordings that wait for the catalog at a time.
const WAITING_MAX: usize = 10_000;
/// What an interrupted session says of its end.
pub(super) const INTERRUPTED: &str = "the server was interrupted";

/// What had expired when an index is read goes after this: its readers are gone by then.
const EXPIRED_STAY_MS: i64 = 60_000;

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
        // Of what was in the spool rows may be missing too, even if it was uploaded meanwhile; its
        // index stays there until they are written.
        recordings.extend(self.disk().spool().map(Spool::resumed).unwrap_or_default());
        let these = recordings.iter().cloned();
        self.0.restoring().get_or_insert_default().extend(these);
        let control = self.clone();
        let start_ms = clock::now().unix_ms();
        let restoring = tokio::spawn(async move {
            for key in &recordings {
                if let Err(error) = control.restore_missing(key, start_ms).await {
                    tracing::error!(recording = %key, %error, "history has a gap");
                }
            }
            control.written().await;
            control.0.restoring().get_or_insert_default().clear();
        });
        // It goes on when this has waited long enough.
        let _ = tokio::time::timeout(WAIT_MAX, restoring).await;
        Ok(closed)
    }

    async fn close(&self, row: &SessionRow) -> Result<(), Error> {
        let index = self.archive().index(&row.recording).await?;
        let end = index.and_then(|(text, _)| SessionEnd::read(&text, row.began_ms));
        let mut closed = row.clone();
        end.unwrap_or_default().apply(&mut closed);
        self.backlog().push(Entry::Session(Box::new(closed)));
        Ok(())
    }

    pub(super) async fn written(&self) {
        while self.backlog().health().waiting > 0 {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Writes the rows of a recording that a killed process had not yet written. Sessions that have
    /// a row keep it, and those since the start write it: their own accounts know more than the
    /// index does.
    async fn restore_missing(&self, key: &RecordingKey, start_ms: i64) -> Result<(), Error> {
        let entries = self.told(key).await?;
        let known = self.catalog().sessions_of(key).await?;
        let known: BTreeSet<i64> = known.into_iter().map(|row| row.began_ms).collect();
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
    pub(super) async fn push_slowly(&self, entry: Entry) {
        while self.backlog().health().waiting > WAITING_MAX {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        self.backlog().push(entry);
    }

    /// Writes again what a full queue refused. Call it now and then.
    pub async fn restore_torn(&self) {
        for key in self.backlog().take_torn() {
            let live = self.registry().is_live(&key.channel);
            match self.told(&key).await {
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

    /// Makes hubs, channels, clips and history again from the store: what the catalog has stays, what
    /// is missing is written. `progress` hears how many channels are done, of how many, and which is
    /// next. Returns how many channels and recordings the store has.
    ///
    /// Channels come back without a key: no credential is in the store.
    pub async fn rebuild(
        &self,
        progress: impl Fn(usize, usize, &ChannelId),
    ) -> Result<(usize, usize), Error> {
        let found = self.walk().await?;
        for hub in &found.hubs {
            self.restore_hub(hub).await?;
        }
        let mut recordings = 0;
        for (nth, channel) in found.channels.iter().enumerate() {
            progress(nth, found.channels.len(), channel);
            self.restore_channel_row(channel).await?;
            recordings += self.restore_channel(channel).await?;
        }
        self.written().await;
        Ok((found.channels.len(), recordings))
    }

    async fn restore_channel(&self, channel: &ChannelId) -> Result<usize, Error> {
        let mut recordings = 0;
        for key in self.archive().of_channel(channel).await? {
            let told = self.told(&key).await?;
            recordings += usize::from(!told.is_empty());
            let known = self.catalog().sessions_of(&key).await?;
            for entry in told {
                match &entry {
                    Entry::Session(row)
                        if known.iter().any(|known| known.began_ms == row.began_ms) => {}
                    _ => self.push_slowly(entry).await,
                }
            }
        }
        Ok(recordings)
    }

    /// The rows of a recording, as its index tells them; none if it has no index. Of one that waits
    /// in the spool of a server that does not run it is what the store has: the next start knows the
    /// rest.
    pub(super) async fn told(&self, key: &RecordingKey) -> Result<Vec<Entry>, Error> {
        let index = self.archive().index(key).await?;
        let (text, confirmed) = index.unwrap_or_default();
        let known = self.catalog().sessions_of(key).await?;
        Ok(entries(
            key,
            &text,
            confirmed,
            &self.settings().node,
            &known,
        ))
    }
}

/// How a session ended that its process could not close, as its recording's index tells it.
#[derive(Default)]
struct SessionEnd {
    ended_ms: i64,
    reason: Option<String>,
    tracks: Option<TrackLine>,
    gaps: i64,
    counted: Option<Counted>,
}

impl SessionEnd {
    /// Of the session that began at `began_ms`; `None` if the index does not know it.
    fn read(text: &[u8], began_ms: i64) -> Option<Self> {
        let mut end = None::<Self>;
        let mut last_segment = None;
        for line in text.split(|byte| *byte == b'\n') {
            // A day has forty thousand of these; only the last is read.
            if line.starts_with(b"{\"segment\"") {
                if let Some(end) = &mut end {
                    end.gaps += i64::from(line.ends_with(GAP_LINE));
                    last_segment = Some(line);
                }
                continue;
            }
            match (serde_json::from_slice(line), &mut end) {
                (Ok(Line::Session { .. }), Some(_)) => break,
                (Ok(Line::Session { began_ms: at, .. }), None) if at == began_ms => {
                    end = Some(Self::default());
                }
                (Ok(Line::Tracks(line)), Some(end)) => end.tracks = Some(line),
                (
                    Ok(Line::SessionEnd {
                        ended_ms,
                        reason,
                        counted,
                    }),
                    Some(end),
                ) => {
                    (end.ended_ms, end.reason) = (ended_ms, Some(reason));
                    end.counted = Some(counted);
                    last_segment = None;
                    break;
                }
                (Ok(Line::Interrupted { ended_ms, counted }), Some(end)) => {
                    (end.ended_ms, end.counted) = (ended_ms, counted);
                    last_segment = None;
                    break;
                }
                _ => {}
            }
        }
        if let Ok(Line::Segment(line)) = serde_json::from_slice(last_segment.unwrap_or_default())
            && let Some(end) = &mut end
        {
            end.ended_ms = SegmentRow::of(&Segment::from(&line), began_ms).until_ms();
        }
        end
    }

    /// What the row of the session is when it has ended so.
    fn apply(self, row: &mut SessionRow) {
        row.ended_ms = Some(self.ended_ms.max(row.began_ms));
        row.reason = Some(self.reason.unwrap_or_else(|| INTERRUPTED.to_owned()));
        row.gaps = self.gaps;
        if let Some(line) = self.tracks {
            row.tracks = super::json(&tracks(line));
        }
        if let Some(counted) = self.counted {
            count(row, counted);
        }
    }
}

/// How the line of a segment ends whose media is missing.
const GAP_LINE: &[u8] = b"\"gap\":true}}";

fn count(row: &mut SessionRow, counted: Counted) {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    row.video_frames = number(counted.video_frames);
    row.audio_frames = number(counted.audio_frames);
    row.dropped = number(counted.dropped);
    // Indexes of earlier versions do not tell these.
    row.bytes = counted.bytes.map_or(row.bytes, number);
    row.discontinuities = counted.discontinuities.map_or(row.discontinuities, number);
}

/// The rows of a recording, as its index tells them: of segments, those whose lines are within its
/// first `confirmed` bytes. What indexes of earlier versions did not tell is as in the rows that are
/// `known`; if there is none, it was this `node`.
fn entries(
    key: &RecordingKey,
    text: &[u8],
    confirmed: usize,
    node: &str,
    known: &[SessionRow],
) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut end = 0;
    let mut session: Option<SessionRow> = None;
    let trim = trim_of(text).unwrap_or_default();
    let (mut oldest_ms, mut kept) = (NEVER, 0);
    // Whether the index has said what it counted, and what its sound is.
    let (mut told, mut heard) = (false, false);
    let known_of = |began_ms: i64| known.iter().find(|known| known.began_ms == began_ms);
    let close =
        |session: &mut Option<SessionRow>, told: bool, heard: bool, entries: &mut Vec<Entry>| {
            let Some(mut row) = session.take() else {
                return;
            };
            if let Some(known) = known_of(row.began_ms) {
                if !told {
                    row.bytes = known.bytes;
                    row.discontinuities = known.discontinuities;
                }
                if !heard {
                    row.tracks.clone_from(&known.tracks);
                }
                if trim.before > 0 {
                    // The lines of those that have expired may be gone.
                    row.gaps = row.gaps.max(known.gaps);
                }
            }
            entries.push(Entry::Session(Box::new(row)));
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
                node: of,
            }) => {
                close(&mut session, told, heard, &mut entries);
                (told, heard) = (false, false);
                let before = || known_of(began_ms).map(|known| known.node.clone());
                let node = of.or_else(before).unwrap_or_else(|| node.to_owned());
                session = Some(begun(key, began_ms, remote, encoder, node));
            }
            Ok(Line::Tracks(line)) => {
                heard = line.sound.is_some() || line.codecs.len() < 2;
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
                let mut row = SegmentRow::of(&segment, session_ms);
                if trim.has_expired(line.number) {
                    // It may still be there, and goes by its row.
                    row.flags |= flags::EXPIRED;
                } else if line.number < trim.before {
                    kept += 1;
                } else {
                    oldest_ms = oldest_ms.min(row.date_ms);
                }
                entries.extend(is_confirmed.then(|| Entry::Segment {
                    key: key.clone(),
                    row,
                    target_duration_s: line.target_duration_s.into(),
                }));
            }
            Ok(Line::SessionEnd {
                ended_ms,
                reason,
                counted,
            }) => {
                if let Some(row) = &mut session {
                    row.ended_ms = Some(ended_ms);
                    row.reason = Some(reason);
                    count(row, counted);
                }
                told = counted.bytes.is_some();
                close(&mut session, told, heard, &mut entries);
            }
            Ok(Line::Interrupted { ended_ms, counted }) => {
                if let Some(row) = &mut session {
                    row.ended_ms = Some(ended_ms.max(row.began_ms));
                    if let Some(counted) = counted {
                        count(row, counted);
                        told = true;
                    }
                }
                close(&mut session, told, heard, &mut entries);
            }
            Ok(Line::Lost { number }) if is_confirmed => {
                let number = i64::try_from(number).unwrap_or(i64::MAX);
                entries.push(Entry::Lost {
                    key: key.clone(),
                    number,
                });
            }
            Ok(Line::Expired(_)) => {}
            Ok(Line::End { ended_ms }) => entries.push(Entry::End {
                key: key.clone(),
                ended_ms,
            }),
            Ok(Line::Lost { .. }) | Err(_) => {}
        }
    }
    close(&mut session, told, heard, &mut entries);
    if trim != Trim::default() {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let expiry = Expiry {
            numbers: 0..number(trim.before),
            cause: Cause::Told,
            runs: trim.runs(),
            oldest_ms,
            kept,
            discontinuities: number(trim.discontinuities),
            due_ms: clock::now().unix_ms() + EXPIRED_STAY_MS,
        };
        let (key, expiry) = (key.clone(), Box::new(expiry));
        entries.push(Entry::Expired { key, expiry });
    }
    entries
}

fn begun(
    key: &RecordingKey,
    began_ms: i64,
    remote: String,
    encoder: Option<String>,
    node: String,
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
        node,
    }
}

/// What an index says of tracks.
fn tracks(line: TrackLine) -> TrackInfo {
    // All sound that can be packaged is of this family (RFC 6381 §3.3), no picture is.
    let is_sound = |codec: &String| codec.starts_with("mp4a");
    let (sound, pictures): (Vec<_>, Vec<_>) = line.codecs.into_iter().partition(is_sound);
    let (width, height) = line.resolution.unwrap_or_default();
    let (sample_rate, channels) = line.sound.unwrap_or_default();
    TrackInfo {
        video: pictures.into_iter().next().map(|codec| VideoInfo {
            codec,
            width,
            height,
            frame_rate: line.frame_rate,
        }),
        audio: sound.into_iter().next().map(|codec| AudioInfo {
            codec,
            sample_rate,
            channels,
        }),
    }
}
