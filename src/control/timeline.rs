//! What a channel has of media, by time: its newest segments, and the segments of a range.

use super::recording::Recent;
use super::{Control, Error};
use crate::id::ChannelId;
use crate::key::RecordingKey;
use crate::media::Segment;
use std::ops::Range;

/// Recordings that one range reaches over; more are more pushes than minutes in a day.
const RECORDINGS_MAX: usize = 2_000;

/// A segment and the recording that it is of.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// The recording.
    pub recording: RecordingKey,
    /// The segment.
    pub segment: Segment,
}

impl Control {
    /// The newest segments of a channel, of its newest recording; `None` if it has none.
    pub async fn recent(&self, channel: &ChannelId) -> Result<Option<Recent>, Error> {
        let making = self.registry().recording(channel);
        if let Some(recent) = making.as_ref().and_then(|making| making.recent()) {
            return Ok(Some(recent));
        }
        let made = making.as_ref().map(|making| making.key());
        let Some(key) = self.0.archive.newest(channel, made).await? else {
            return Ok(None);
        };
        let archived = self.0.archive.recording(&key).await?;
        Ok(archived.map(|archived| archived.recent.clone()))
    }

    /// The segments of a channel that begin in `range` (milliseconds since the Unix epoch), in
    /// order, as many as `limit`. With a local store those that a running push
    /// has just finished are among them.
    pub async fn segments_between(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        limit: usize,
    ) -> Result<Vec<Placed>, Error> {
        self.placed(channel, range, false, limit).await
    }

    /// The segment of a channel that begins at `at_ms`, in milliseconds since the Unix epoch; also if
    /// nothing names it any more, but whoever loaded an older playlist may still want it.
    pub async fn segment_at(
        &self,
        channel: &ChannelId,
        at_ms: i64,
    ) -> Result<Option<Placed>, Error> {
        let moment = at_ms..at_ms.saturating_add(1);
        Ok(self.placed(channel, moment, true, 1).await?.pop())
    }

    async fn placed(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        expired: bool,
        limit: usize,
    ) -> Result<Vec<Placed>, Error> {
        let catalog = self.catalog();
        let recordings = catalog.recordings(channel, range.clone(), RECORDINGS_MAX);
        let mut found: Vec<Placed> = Vec::new();
        for recording in recordings.await? {
            let left = limit.saturating_sub(found.len());
            let rows = catalog.segments_begun(&recording.key, range.clone(), expired, left);
            found.extend(rows.await?.iter().map(|row| Placed {
                recording: recording.key.clone(),
                segment: row.segment(),
            }));
        }
        self.add_unwritten(channel, &range, &mut found);
        found.truncate(limit);
        Ok(found)
    }

    /// Adds the segments of a running push whose rows are still on their way. With a remote store
    /// those may not be confirmed yet, and history does not name them before.
    fn add_unwritten(&self, channel: &ChannelId, range: &Range<i64>, found: &mut Vec<Placed>) {
        if self.disk().spool().is_some() {
            return;
        }
        let making = self.registry().recording(channel);
        let Some(recent) = making.and_then(|making| making.recent()) else {
            return;
        };
        let written = found
            .iter()
            .filter(|placed| placed.recording == recent.recording);
        let newest = written.map(|placed| placed.segment.number).max();
        let inside = |segment: &Segment| {
            range.contains(&segment.program_date_time.unix_ms())
                && newest.is_none_or(|newest| segment.number > newest)
        };
        let unwritten = recent.segments.into_iter().filter(inside);
        found.extend(unwritten.map(|segment| Placed {
            recording: recent.recording.clone(),
            segment,
        }));
    }
}
