//! What was pushed: sessions, segments, and playlists over any time, by the catalog.

pub use crate::catalog::{AuditRow, SegmentRow, SessionRow, flags};

use super::{Control, Error, Lookup};
use crate::catalog::RecordingRow;
use crate::clock;
use crate::id::ChannelId;
use crate::key::RecordingKey;
use crate::media::Segment;
use crate::playlist::vod::{self, Stretch};
use crate::playlist::{Document, Freshness};
use std::ops::Range;

/// Segments in one playlist: four days of two seconds. Bounds what one question costs.
pub const PLAYLIST_SEGMENTS_MAX: usize = 172_800;
/// Recordings that one playlist joins.
const RECORDINGS_MAX: usize = 10_000;
/// What is younger than this may still get segments.
const SETTLES_MS: i64 = 60_000;

/// Segments of one recording.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordedSegments {
    /// The recording.
    pub recording: RecordingKey,
    /// Its segments, by number.
    pub segments: Vec<SegmentRow>,
}

/// A time in which something was pushed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Period {
    /// In milliseconds since the Unix epoch.
    pub start_ms: i64,
    /// `None` while it goes on.
    pub end_ms: Option<i64>,
}

impl Control {
    /// The sessions of a channel that touch `range` (milliseconds since the Unix epoch), newest
    /// first, from before the one that began at `before`.
    pub async fn sessions(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<SessionRow>, Error> {
        Ok(self
            .catalog()
            .sessions(channel, range, before, limit)
            .await?)
    }

    /// The first `limit` segments of a channel with media in `range`, in order, from `from` on: a
    /// recording and a number in it.
    pub async fn segments(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        from: Option<(RecordingKey, i64)>,
        limit: usize,
    ) -> Result<Vec<RecordedSegments>, Error> {
        let mut left = limit;
        let mut found = Vec::new();
        let recordings = self.recordings(channel, range.clone()).await?;
        let skipped = |row: &&RecordingRow| match &from {
            Some((key, _)) => row.key.recording < key.recording,
            None => false,
        };
        for row in recordings.iter().skip_while(skipped) {
            let first = from.as_ref().filter(|(key, _)| *key == row.key);
            let first = first.map_or(0, |(_, number)| *number);
            let rows = self
                .catalog()
                .segments(&row.key, range.clone(), first, left);
            let segments = rows.await?;
            left -= segments.len().min(left);
            if !segments.is_empty() {
                found.push(RecordedSegments {
                    recording: row.key.clone(),
                    segments,
                });
            }
            if left == 0 {
                break;
            }
        }
        Ok(found)
    }

    async fn recordings(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
    ) -> Result<Vec<RecordingRow>, Error> {
        Ok(self
            .catalog()
            .recordings(channel, range, RECORDINGS_MAX)
            .await?)
    }

    /// The times within `range` in which something was pushed, joined where they touch, in order.
    pub async fn periods(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        limit: usize,
    ) -> Result<Vec<Period>, Error> {
        let sessions = self.sessions(channel, range, None, limit).await?;
        let mut periods: Vec<Period> = Vec::new();
        for session in sessions.iter().rev() {
            let next = Period {
                start_ms: session.began_ms,
                end_ms: session.ended_ms,
            };
            match periods.last_mut() {
                Some(last) if last.end_ms.is_none_or(|end| end >= next.start_ms) => {
                    let ends = last.end_ms.zip(next.end_ms);
                    last.end_ms = ends.map(|(last, next)| last.max(next));
                }
                Some(_) | None => periods.push(next),
            }
        }
        Ok(periods)
    }

    /// The playlist of everything that was pushed in `range`, over as many recordings as it takes.
    pub async fn range_document(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
    ) -> Result<Document, Lookup> {
        if range.is_empty() {
            return Err(Lookup::Range("it ends before it begins"));
        }
        let most = PLAYLIST_SEGMENTS_MAX + 1;
        let found = self.segments(channel, range.clone(), None, most).await?;
        let count: usize = found.iter().map(|found| found.segments.len()).sum();
        if count == 0 {
            return Err(Lookup::Nothing(channel.clone()));
        }
        if count > PLAYLIST_SEGMENTS_MAX {
            return Err(Lookup::Range(
                "it has more segments than one playlist may name",
            ));
        }
        let recordings = self.recordings(channel, range.clone()).await?;
        let target = recordings.iter().map(|row| row.target_duration_s).max();
        let target = target.and_then(|target| u32::try_from(target).ok());
        let freshness = match range.end < clock::now().unix_ms() - SETTLES_MS {
            true => Freshness::Settled,
            false => Freshness::Live { max_age_s: 1 },
        };
        let render = move || Document::new(text(&found, target.unwrap_or(0)), freshness);
        // The runtime is stopping if this fails.
        let rendered = tokio::task::spawn_blocking(render).await;
        rendered.map_err(|_| Lookup::Nothing(channel.clone()))
    }
}

/// The playlist's text. Where rows are missing a stretch ends: what follows is another one.
fn text(found: &[RecordedSegments], target_duration_s: u32) -> String {
    let segments: Vec<Vec<Segment>> = found
        .iter()
        .map(|found| found.segments.iter().map(SegmentRow::segment).collect())
        .collect();
    let stretches: Vec<Stretch<'_>> = found
        .iter()
        .zip(&segments)
        .flat_map(|(found, segments)| {
            let consecutive = segments.chunk_by(|a, b| a.number + 1 == b.number);
            consecutive.map(|segments| Stretch {
                recording: &found.recording.recording,
                segments,
            })
        })
        .collect();
    vod::render_range(target_duration_s, &stretches)
}
