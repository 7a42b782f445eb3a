//! What a channel has of media, by time: its newest segments, the segments of a range, and clips.

use super::auth::Caller;
use super::recording::Recent;
use super::{Control, Error};
use crate::catalog::ClipRow;
use crate::clock;
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
        if let Some(making) = self.registry().recording(channel)
            && let Some(recent) = making.recent()
        {
            return Ok(Some(recent));
        }
        let Some(key) = self.0.archive.newest(channel).await? else {
            return Ok(None);
        };
        let archived = self.0.archive.recording(&key).await?;
        Ok(archived.map(|archived| archived.recent.clone()))
    }

    /// The segments of a channel that begin in `range` (milliseconds since the Unix epoch), in
    /// order, as many as `limit`. Those that a running push has just finished are among them.
    pub async fn segments_between(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        limit: usize,
    ) -> Result<Vec<Placed>, Error> {
        let catalog = self.catalog();
        let recordings = catalog.recordings(channel, range.clone(), RECORDINGS_MAX);
        let mut found: Vec<Placed> = Vec::new();
        for recording in recordings.await? {
            let left = limit.saturating_sub(found.len());
            // One that began before the range may be among the rows.
            let rows = catalog.segments(&recording.key, range.clone(), 0, left.saturating_add(1));
            let rows = rows.await?.into_iter();
            let rows = rows.filter(|row| range.contains(&row.date_ms)).take(left);
            found.extend(rows.map(|row| Placed {
                recording: recording.key.clone(),
                segment: row.segment(),
            }));
        }
        self.add_unwritten(channel, &range, &mut found);
        found.truncate(limit);
        Ok(found)
    }

    /// Adds the segments of a running push whose rows are still on their way.
    fn add_unwritten(&self, channel: &ChannelId, range: &Range<i64>, found: &mut Vec<Placed>) {
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

    /// TEMP
    pub async fn sessions(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<crate::catalog::SessionRow>, Error> {
        Ok(self
            .catalog()
            .sessions(channel, range, before, limit)
            .await?)
    }

    /// The range of a clip, in milliseconds since the Unix epoch; `None` if there is no such clip.
    pub async fn clip_range(
        &self,
        channel: &ChannelId,
        name: &str,
    ) -> Result<Option<Range<i64>>, Error> {
        let clip = self.catalog().clip(channel, name).await?;
        Ok(clip.map(|clip| clip.start_ms..clip.end_ms))
    }

    /// Gives a range of a channel's time a name; a clip of the same name is replaced.
    pub async fn name_range(
        &self,
        by: &Caller,
        channel: &ChannelId,
        name: &str,
        range: Range<i64>,
    ) -> Result<(), Error> {
        let clip = ClipRow {
            name: name.to_owned(),
            start_ms: range.start,
            end_ms: range.end,
            created_ms: clock::now().unix_ms(),
        };
        self.catalog().put_clip(channel, &clip).await?;
        let object = format!("{channel}/{name}");
        self.note(by, "put clip", &object, "{}").await;
        Ok(())
    }

    /// Takes a name from a range; false if there is none of that name.
    pub async fn forget_range(
        &self,
        by: &Caller,
        channel: &ChannelId,
        name: &str,
    ) -> Result<bool, Error> {
        let deleted = self.catalog().delete_clip(channel, name).await?;
        if deleted {
            let object = format!("{channel}/{name}");
            self.note(by, "delete clip", &object, "{}").await;
        }
        Ok(deleted)
    }
}
