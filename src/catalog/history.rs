//! History: recordings, sessions and segments.

use super::sql::Sql;
use super::{Catalog, Error, column};
use crate::id::{ChannelId, RecordingId};
use crate::key::RecordingKey;
use crate::media::{Duration, Segment, Timestamp, WallTime};
use sha2::{Digest, Sha256};
use sqlx::AnyConnection;
use sqlx::any::AnyRow;
use std::collections::BTreeSet;
use std::ops::Range;

/// Bits of [`SegmentRow::flags`].
pub mod flags {
    /// A discontinuity stands before it.
    pub const DISCONTINUITY: i64 = 1;
    /// It does not begin with a key frame.
    pub const DEPENDENT: i64 = 2;
    /// Its media is missing.
    pub const GAP: i64 = 4;
    /// Retention has withdrawn it: nothing names it any more, and its object goes soon.
    pub const EXPIRED: i64 = 8;
}

/// No segment is longer (the configuration refuses more): how far before a range its first may begin.
const SEGMENT_MAX_MS: i64 = 120_000;

/// A recording as the catalog keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RecordingRow {
    /// Its name.
    pub key: RecordingKey,
    /// When its media begins, in milliseconds since the Unix epoch.
    pub began_ms: i64,
    /// When its last segment ends.
    pub until_ms: i64,
    /// When it was ended for good.
    pub ended_ms: Option<i64>,
    /// EXT-X-TARGETDURATION in seconds; 0 before the first segment.
    pub target_duration_s: i64,
    /// Segments.
    pub segments: i64,
    /// Their bytes.
    pub bytes: i64,
}

/// A session as the catalog keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SessionRow {
    /// The recording that it is part of.
    pub recording: RecordingKey,
    /// When it began, in milliseconds since the Unix epoch; unique in its recording.
    pub began_ms: i64,
    /// When it ended; `None` while it runs.
    pub ended_ms: Option<i64>,
    /// Why it ended.
    pub reason: Option<String>,
    /// Address of the publisher.
    pub remote: String,
    /// What the encoder calls itself.
    pub encoder: Option<String>,
    /// Its tracks, as JSON.
    pub tracks: String,
    /// Bytes of media that came in.
    pub bytes: i64,
    /// Pictures in segments.
    pub video_frames: i64,
    /// Audio frames in segments.
    pub audio_frames: i64,
    /// Frames and tags that are in no segment.
    pub dropped: i64,
    /// Jumps of time and changes of tracks.
    pub discontinuities: i64,
    /// Segments whose media is missing.
    pub gaps: i64,
    /// The server that took it.
    pub node: String,
}

/// A segment as the catalog keeps it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentRow {
    /// Number within its recording.
    pub number: i64,
    /// Beginning of its session.
    pub session_ms: i64,
    /// Wall-clock time of its first frame, in milliseconds since the Unix epoch.
    pub date_ms: i64,
    /// In ticks of 90 kHz.
    pub duration: i64,
    /// Bytes.
    pub size: i64,
    /// See [`flags`].
    pub flags: i64,
}

/// The number by which rows name a recording: of its name, so it is the same whoever writes it.
pub fn recording_key(key: &RecordingKey) -> i64 {
    let digest = Sha256::digest(key.to_string().as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    i64::from_le_bytes(first)
}

const RECORDING: &str = "SELECT hub, channel, id, began_ms, until_ms, ended_ms, target_duration_s, \
     segments, bytes FROM recordings";
const SESSION: &str = "SELECT hub, channel, recording_id, began_ms, ended_ms, reason, remote, encoder, \
     tracks, bytes, video_frames, audio_frames, dropped, discontinuities, gaps, node FROM sessions";
/// One column: a row of a day's forty thousand costs by its columns.
pub(super) const SEGMENT: &str = "SELECT number || ' ' || session_ms || ' ' || date_ms || ' ' || duration || ' ' \
     || size || ' ' || flags FROM segments";

impl Catalog {
    /// The recordings of a channel with media in `range` (milliseconds since the Unix epoch), in order.
    pub async fn recordings(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        limit: usize,
    ) -> Result<Vec<RecordingRow>, Error> {
        let mut sql = Sql::new(RECORDING);
        sql.push(
            " WHERE hub = ? AND channel = ? AND began_ms < ? AND until_ms > ? ORDER BY began_ms LIMIT ?",
            [
                channel.hub.as_str().into(),
                channel.name.as_str().into(),
                range.end.into(),
                range.start.into(),
                limit_of(limit).into(),
            ],
        );
        let rows = sql.rows(self, "list recordings").await?;
        rows.iter().map(RecordingRow::read).collect()
    }

    /// The sessions of a channel that touch `range`, newest first, from before the one that began
    /// at `before`.
    pub async fn sessions(
        &self,
        channel: &ChannelId,
        range: Range<i64>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<SessionRow>, Error> {
        let mut sql = Sql::new(SESSION);
        let end = before.map_or(range.end, |before| before.min(range.end));
        sql.push(
            " WHERE hub = ? AND channel = ? AND began_ms < ? AND (ended_ms IS NULL OR ended_ms > ?)",
            [
                channel.hub.as_str().into(),
                channel.name.as_str().into(),
                end.into(),
                range.start.into(),
            ],
        );
        let limit = limit_of(limit).into();
        sql.push(" ORDER BY began_ms DESC LIMIT ?", [limit]);
        let rows = sql.rows(self, "list sessions").await?;
        rows.iter().map(SessionRow::read).collect()
    }

    /// The sessions of a recording, in order.
    pub async fn sessions_of(&self, recording: &RecordingKey) -> Result<Vec<SessionRow>, Error> {
        let mut sql = Sql::new(SESSION);
        let key = recording_key(recording).into();
        sql.push(" WHERE recording = ? ORDER BY began_ms", [key]);
        let rows = sql.rows(self, "list sessions").await?;
        rows.iter().map(SessionRow::read).collect()
    }

    /// A recording by its name.
    pub async fn recording(&self, key: &RecordingKey) -> Result<Option<RecordingRow>, Error> {
        let mut sql = Sql::new(RECORDING);
        sql.push(" WHERE key = ?", [recording_key(key).into()]);
        let rows = sql.rows(self, "read a recording").await?;
        rows.first().map(RecordingRow::read).transpose()
    }

    /// The first `limit` of all recordings, by channel and name, after the one named `after`.
    pub async fn all_recordings(
        &self,
        after: Option<&RecordingKey>,
        limit: usize,
    ) -> Result<Vec<RecordingRow>, Error> {
        let mut sql = Sql::new(RECORDING);
        if let Some(after) = after {
            let place = [
                after.channel.hub.as_str().into(),
                after.channel.name.as_str().into(),
                after.recording.as_str().into(),
            ];
            sql.push(" WHERE (hub, channel, id) > (?, ?, ?)", place);
        }
        let limit = limit_of(limit).into();
        sql.push(" ORDER BY hub, channel, id LIMIT ?", [limit]);
        let rows = sql.rows(self, "list recordings").await?;
        rows.iter().map(RecordingRow::read).collect()
    }

    /// The sessions that `node` began and that nobody ended.
    pub async fn running(&self, node: &str, limit: usize) -> Result<Vec<SessionRow>, Error> {
        let mut sql = Sql::new(SESSION);
        sql.push(
            " WHERE node = ? AND ended_ms IS NULL ORDER BY began_ms LIMIT ?",
            [node.into(), limit_of(limit).into()],
        );
        let rows = sql.rows(self, "list sessions").await?;
        rows.iter().map(SessionRow::read).collect()
    }

    /// The segments of a recording that have media in `range`, by number, from number `from` on.
    pub async fn segments(
        &self,
        recording: &RecordingKey,
        range: Range<i64>,
        from: i64,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, Error> {
        let mut sql = Sql::new(SEGMENT);
        sql.push(
            " WHERE recording = ? AND date_ms > ? AND date_ms < ? AND number >= ? AND (flags & 8) = 0 \
             ORDER BY number LIMIT ?",
            [
                recording_key(recording).into(),
                range.start.saturating_sub(SEGMENT_MAX_MS).into(),
                range.end.into(),
                from.into(),
                limit_of(limit).into(),
            ],
        );
        let rows = sql.rows(self, "list segments").await?;
        let read = |row: &AnyRow| SegmentRow::unpack(column(row, 0)?);
        let mut segments = rows.iter().map(read).collect::<Result<Vec<_>, Error>>()?;
        segments.retain(|segment| segment.until_ms() > range.start);
        Ok(segments)
    }
}

impl Catalog {
    /// The segments of a recording that begin in `range`, by number; with `expired` those too that
    /// nothing names any more and that may still be there.
    pub async fn segments_begun(
        &self,
        recording: &RecordingKey,
        range: Range<i64>,
        expired: bool,
        limit: usize,
    ) -> Result<Vec<SegmentRow>, Error> {
        let mut sql = Sql::new(SEGMENT);
        let hidden = if expired { 0 } else { flags::EXPIRED };
        sql.push(
            " WHERE recording = ? AND date_ms >= ? AND date_ms < ? AND (flags & ?) = 0 \
             ORDER BY number LIMIT ?",
            [
                recording_key(recording).into(),
                range.start.into(),
                range.end.into(),
                hidden.into(),
                limit_of(limit).into(),
            ],
        );
        let rows = sql.rows(self, "list segments").await?;
        let read = |row: &AnyRow| SegmentRow::unpack(column(row, 0)?);
        rows.iter().map(read).collect()
    }
}

pub(super) fn limit_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// What the backlog writes: each can be written twice and changes nothing the second time.
pub(super) async fn write_recording(
    on: &mut AnyConnection,
    key: &RecordingKey,
    began_ms: i64,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO recordings (key, hub, channel, id, began_ms, until_ms, ended_ms, \
         target_duration_s, segments, bytes, oldest_ms) VALUES ($1, $2, $3, $4, $5, $5, NULL, 0, 0, 0, $5) \
         ON CONFLICT (key) DO UPDATE SET began_ms = excluded.began_ms \
         WHERE excluded.began_ms < recordings.began_ms",
    )
    .bind(recording_key(key))
    .bind(key.channel.hub.as_str())
    .bind(key.channel.name.as_str())
    .bind(key.recording.as_str())
    .bind(began_ms)
    .execute(on)
    .await
    .map(drop)
}

pub(super) async fn lose_segment(
    on: &mut AnyConnection,
    key: &RecordingKey,
    number: i64,
) -> Result<(), sqlx::Error> {
    let lose =
        sqlx::query("UPDATE segments SET flags = flags | $1 WHERE recording = $2 AND number = $3");
    let lose = lose.bind(flags::GAP).bind(recording_key(key)).bind(number);
    lose.execute(on).await.map(drop)
}

pub(super) async fn end_recording(
    on: &mut AnyConnection,
    key: &RecordingKey,
    ended_ms: i64,
) -> Result<(), sqlx::Error> {
    let end = sqlx::query("UPDATE recordings SET ended_ms = $1 WHERE key = $2");
    let end = end.bind(ended_ms).bind(recording_key(key));
    end.execute(on).await.map(drop)
}

pub(super) async fn write_session(
    on: &mut AnyConnection,
    row: &SessionRow,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO sessions (recording, began_ms, hub, channel, recording_id, ended_ms, reason, \
         remote, encoder, tracks, bytes, video_frames, audio_frames, dropped, discontinuities, gaps, \
         node) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17) \
         ON CONFLICT (recording, began_ms) DO UPDATE SET ended_ms = excluded.ended_ms, \
         reason = excluded.reason, tracks = excluded.tracks, bytes = excluded.bytes, \
         video_frames = excluded.video_frames, audio_frames = excluded.audio_frames, \
         dropped = excluded.dropped, discontinuities = excluded.discontinuities, gaps = excluded.gaps",
    )
    .bind(recording_key(&row.recording))
    .bind(row.began_ms)
    .bind(row.recording.channel.hub.as_str())
    .bind(row.recording.channel.name.as_str())
    .bind(row.recording.recording.as_str())
    .bind(row.ended_ms)
    .bind(row.reason.as_deref())
    .bind(row.remote.as_str())
    .bind(row.encoder.as_deref())
    .bind(row.tracks.as_str())
    .bind(row.bytes)
    .bind(row.video_frames)
    .bind(row.audio_frames)
    .bind(row.dropped)
    .bind(row.discontinuities)
    .bind(row.gaps)
    .bind(row.node.as_str())
    .execute(on)
    .await
    .map(drop)
}

/// Makes a recording and its segments what they are said to be. What has expired and is not gone yet
/// stays as it is.
pub(super) async fn rewrite(
    on: &mut AnyConnection,
    row: &RecordingRow,
    segments: &[SegmentRow],
) -> Result<(), sqlx::Error> {
    let key = recording_key(&row.key);
    write_recording(on, &row.key, row.began_ms).await?;
    let known = sqlx::query_scalar::<_, i64>(
        "SELECT number FROM segments WHERE recording = $1 AND (flags & $2) = 0",
    );
    let mut surplus: BTreeSet<i64> = known
        .bind(key)
        .bind(flags::EXPIRED)
        .fetch_all(&mut *on)
        .await?
        .into_iter()
        .collect();
    for segment in segments {
        surplus.remove(&segment.number);
        let write = sqlx::query(
            "INSERT INTO segments (recording, number, session_ms, date_ms, duration, size, flags) \
             VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (recording, number) DO UPDATE SET \
             session_ms = excluded.session_ms, date_ms = excluded.date_ms, \
             duration = excluded.duration, size = excluded.size, flags = excluded.flags",
        );
        let write = write
            .bind(key)
            .bind(segment.number)
            .bind(segment.session_ms)
            .bind(segment.date_ms)
            .bind(segment.duration)
            .bind(segment.size)
            .bind(segment.flags);
        write.execute(&mut *on).await?;
    }
    for number in surplus {
        let delete = sqlx::query("DELETE FROM segments WHERE recording = $1 AND number = $2");
        delete.bind(key).bind(number).execute(&mut *on).await?;
    }
    sqlx::query(
        "UPDATE recordings SET began_ms = $1, until_ms = $2, ended_ms = $3, target_duration_s = $4, \
         segments = (SELECT COUNT(*) FROM segments WHERE recording = $5), \
         bytes = (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM segments WHERE recording = $5), \
         withdrawn = (SELECT CAST(COALESCE(SUM(size), 0) AS BIGINT) FROM segments \
         WHERE recording = $5 AND (flags & $6) <> 0) WHERE key = $5",
    )
    .bind(row.began_ms)
    .bind(row.until_ms)
    .bind(row.ended_ms)
    .bind(row.target_duration_s)
    .bind(key)
    .bind(flags::EXPIRED)
    .execute(on)
    .await
    .map(drop)
}

impl RecordingRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            key: key(row)?,
            began_ms: column(row, 3)?,
            until_ms: column(row, 4)?,
            ended_ms: column(row, 5)?,
            target_duration_s: column(row, 6)?,
            segments: column(row, 7)?,
            bytes: column(row, 8)?,
        })
    }
}

impl SessionRow {
    fn read(row: &AnyRow) -> Result<Self, Error> {
        Ok(Self {
            recording: key(row)?,
            began_ms: column(row, 3)?,
            ended_ms: column(row, 4)?,
            reason: column(row, 5)?,
            remote: column(row, 6)?,
            encoder: column(row, 7)?,
            tracks: column(row, 8)?,
            bytes: column(row, 9)?,
            video_frames: column(row, 10)?,
            audio_frames: column(row, 11)?,
            dropped: column(row, 12)?,
            discontinuities: column(row, 13)?,
            gaps: column(row, 14)?,
            node: column(row, 15)?,
        })
    }
}

pub(super) fn key(row: &AnyRow) -> Result<RecordingKey, Error> {
    let (hub, channel, id): (String, String, String) =
        (column(row, 0)?, column(row, 1)?, column(row, 2)?);
    let wrong = |error: crate::id::NameError| Error::Row(error.to_string());
    Ok(RecordingKey {
        channel: ChannelId::new(&hub, &channel).map_err(wrong)?,
        recording: id.parse::<RecordingId>().map_err(wrong)?,
    })
}

impl SegmentRow {
    /// The row of a segment of the session that began at `session_ms`.
    pub fn of(segment: &Segment, session_ms: i64) -> Self {
        let flag = |set: bool, flag| if set { flag } else { 0 };
        Self {
            number: i64::try_from(segment.number).unwrap_or(i64::MAX),
            session_ms,
            date_ms: segment.program_date_time.unix_ms(),
            duration: segment.duration.ticks(),
            size: i64::try_from(segment.size).unwrap_or(i64::MAX),
            flags: flag(segment.discontinuity, flags::DISCONTINUITY)
                | flag(!segment.independent, flags::DEPENDENT)
                | flag(segment.gap, flags::GAP),
        }
    }

    /// The segment, as playlists want it.
    pub fn segment(&self) -> Segment {
        Segment {
            number: u64::try_from(self.number).unwrap_or(0),
            start: Timestamp::ZERO,
            program_date_time: WallTime::from_unix_ms(self.date_ms),
            duration: Duration::from_ticks(self.duration),
            size: u64::try_from(self.size).unwrap_or(0),
            discontinuity: self.flags & flags::DISCONTINUITY != 0,
            independent: self.flags & flags::DEPENDENT == 0,
            gap: self.flags & flags::GAP != 0,
            parts: Vec::new(),
        }
    }

    /// Where it ends, in milliseconds since the Unix epoch.
    pub fn until_ms(&self) -> i64 {
        let until = WallTime::from_unix_ms(self.date_ms) + Duration::from_ticks(self.duration);
        until.unix_ms()
    }

    pub(super) fn unpack(text: &str) -> Result<Self, Error> {
        let mut numbers = text.split(' ').map(str::parse::<i64>);
        let mut next = || match numbers.next() {
            Some(Ok(number)) => Ok(number),
            Some(Err(_)) | None => Err(Error::Row(format!("segment {text:?}"))),
        };
        Ok(Self {
            number: next()?,
            session_ms: next()?,
            date_ms: next()?,
            duration: next()?,
            size: next()?,
            flags: next()?,
        })
    }
}
