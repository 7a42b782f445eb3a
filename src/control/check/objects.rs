//! A recording's objects against its index.

use super::{How, Orphan, Problem, Report, ms};
use crate::clock;
use crate::control::journal::{Index, Line, SegmentLine};
use crate::control::{Control, Error};
use crate::key::{Container, MediaPath, RecordingKey};
use crate::store::{self, Meta};
use bytes::Bytes;
use futures_util::TryStreamExt;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// How a file is called while a segment is written to it.
const OPEN: &str = ".part";

impl Control {
    /// Looks at a recording that has a folder in the store or in the spool.
    pub(super) async fn check_recording(
        &self,
        key: &RecordingKey,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        let objects = self.objects_of(key).await?;
        let marker = modified(&self.disk().markers().join(key.marker()));
        let newest = objects.values().map(|meta| meta.modified).max().max(marker);
        let touched = newest.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
        let touched_ms = touched.map_or(0, ms);
        if self.is_spooled(key) {
            return self.check_spooled(key, &objects, how, report).await;
        }
        let Some((text, _)) = self.archive().index(key).await? else {
            return self
                .check_without_index(key, &objects, how, touched_ms, report)
                .await;
        };
        let index = Index::parse(&text);
        if !index.ended && clock::now().unix_ms() - touched_ms < self.idle_ms(key, how).await? {
            report.running.push(key.clone());
            return Ok(());
        }
        if marker.is_some() {
            report.add(key, Problem::Unfinished, false);
            return Ok(());
        }
        let mut added = self.missing(key, &index, &objects, how, report);
        self.check_orphans(key, &index, &objects, how, report)
            .await?;
        let rows = self.rows_behind(key, &index, &objects, how, report).await?;
        added += &rows;
        let was_open = !index.ended;
        if was_open {
            report.add(key, Problem::NotEnded, how.repair);
            let mut whole = index.clone();
            whole.extend(added.as_bytes());
            let until = whole
                .segments
                .last()
                .map(|last| last.program_date_time + last.duration);
            let ended_ms = until.map_or(touched_ms, |until| until.unix_ms());
            if index.pushing {
                let counted = None;
                added += &Line::Interrupted { ended_ms, counted }.to_text();
            }
            added += &Line::End { ended_ms }.to_text();
        }
        if how.repair && !added.is_empty() {
            self.append(key, &text, &added).await?;
        }
        self.check_history(key, how, report).await
    }

    /// A recording that is on its way into the store. What the store's own index names already must be
    /// there; the spool may still have what is not.
    async fn check_spooled(
        &self,
        key: &RecordingKey,
        objects: &BTreeMap<String, Meta>,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        report.add(key, Problem::Spooled, false);
        let store = self.archive().store();
        let index = match store.get(&key.journal()).await {
            Ok(text) => Index::parse(&text),
            Err(store::Error::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for segment in index.segments.iter().filter(|segment| !segment.gap) {
            let object = key.segment(segment.number, Container::Ts);
            let found = objects.get(&object).map(|meta| meta.size);
            if found == Some(segment.size) {
                continue;
            }
            let file = self.disk().root().join(&object);
            let is_here = std::fs::metadata(&file).is_ok_and(|meta| meta.len() == segment.size);
            if how.repair && is_here {
                store.upload(&object, &file, segment.size).await?;
            }
            let number = segment.number;
            let problem = Problem::Missing { number, found };
            report.add(key, problem, how.repair && is_here);
        }
        Ok(())
    }

    /// Lines that make gaps of the segments that are listed and gone.
    fn missing(
        &self,
        key: &RecordingKey,
        index: &Index,
        objects: &BTreeMap<String, Meta>,
        how: How,
        report: &mut Report,
    ) -> String {
        let mut lines = String::new();
        let all = index.kept.iter().chain(&index.segments);
        for segment in all.filter(|segment| !segment.gap) {
            let object = key.segment(segment.number, Container::Ts);
            let found = objects.get(&object).map(|meta| meta.size);
            if found == Some(segment.size) {
                continue;
            }
            let number = segment.number;
            report.add(key, Problem::Missing { number, found }, how.repair);
            lines += &Line::Lost { number }.to_text();
        }
        lines
    }

    /// Lines for segments that the catalog knows and an index that was lost with its spool does not.
    async fn rows_behind(
        &self,
        key: &RecordingKey,
        index: &Index,
        objects: &BTreeMap<String, Meta>,
        how: How,
        report: &mut Report,
    ) -> Result<String, Error> {
        let next = index.segments.last().map_or(0, |last| last.number + 1);
        // Rows of what has expired may be behind the index.
        let expired = index.trim.as_ref().map_or(0, |trim| trim.before);
        let from = i64::try_from(next.max(expired)).unwrap_or(i64::MAX);
        let all = i64::MIN..i64::MAX;
        let rows = self.catalog().segments(key, all, from, usize::MAX).await?;
        if rows.is_empty() {
            return Ok(String::new());
        }
        let problem = Problem::LinesMissing {
            segments: rows.len(),
        };
        report.add(key, problem, how.repair);
        let mut start = index
            .segments
            .last()
            .map_or(0, |last| (last.start + last.duration).ticks());
        let recording = self.catalog().recording(key).await?;
        let target = recording.map_or(0, |row| row.target_duration_s);
        let target_duration_s = u32::try_from(target).unwrap_or(index.target_duration_s);
        let lines = rows.iter().map(|row| {
            let mut segment = row.segment();
            let object = key.segment(segment.number, Container::Ts);
            let found = objects.get(&object).map(|meta| meta.size);
            segment.gap |= found != Some(segment.size);
            let line = SegmentLine {
                start,
                ..SegmentLine::new(&segment, target_duration_s)
            };
            start += segment.duration.ticks();
            Line::Segment(line).to_text()
        });
        Ok(lines.collect())
    }

    /// What is in the recording's folder and in no index.
    async fn check_orphans(
        &self,
        key: &RecordingKey,
        index: &Index,
        objects: &BTreeMap<String, Meta>,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        let last = index.segments.last().map(|last| last.number);
        let expired_before = index.trim.as_ref().map_or(0, |trim| trim.before);
        let leaving = self.leaving(key, expired_before).await?;
        for object in objects.keys().filter(|object| **object != key.journal()) {
            let what = match MediaPath::parse(object) {
                Some(MediaPath::Media(_) | MediaPath::Vod(_)) => continue,
                Some(MediaPath::Segment(_, number, _)) => {
                    let mut listed = index.kept.iter().chain(&index.segments);
                    match listed.find(|segment| segment.number == number) {
                        None if leaving.contains(&number) => continue,
                        None if number < expired_before => Orphan::Expired,
                        None if last.is_none_or(|last| number > last) => {
                            let at = i64::try_from(number).unwrap_or(i64::MAX);
                            let row = self
                                .catalog()
                                .segments(key, i64::MIN..i64::MAX, at, 1)
                                .await?;
                            if row.iter().any(|row| row.number == at) {
                                continue;
                            }
                            Orphan::Behind
                        }
                        Some(segment) if !segment.gap => continue,
                        Some(_) | None => Orphan::OfGap,
                    }
                }
                _ if object.ends_with(OPEN) => Orphan::Leftover,
                _ => Orphan::Foreign,
            };
            self.orphan(key, object, what, how, report).await?;
        }
        Ok(())
    }

    /// Segments before this number that have rows: by those retention removes what has expired.
    async fn leaving(&self, key: &RecordingKey, before: u64) -> Result<BTreeSet<u64>, Error> {
        if before == 0 {
            return Ok(BTreeSet::new());
        }
        let all = i64::MIN..i64::MAX;
        let catalog = self.catalog();
        let rows = catalog.segments_begun(key, all, true, usize::MAX).await?;
        let numbers = rows.iter().filter_map(|row| u64::try_from(row.number).ok());
        Ok(numbers.filter(|number| *number < before).collect())
    }

    async fn orphan(
        &self,
        key: &RecordingKey,
        object: &str,
        what: Orphan,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        let garbage = matches!(what, Orphan::Leftover | Orphan::Expired);
        if garbage && how.repair {
            self.archive().store().delete(object).await?;
        }
        let object = object.to_owned();
        report.add(key, Problem::Orphan { object, what }, garbage && how.repair);
        Ok(())
    }

    async fn check_without_index(
        &self,
        key: &RecordingKey,
        objects: &BTreeMap<String, Meta>,
        how: How,
        touched_ms: i64,
        report: &mut Report,
    ) -> Result<(), Error> {
        if clock::now().unix_ms() - touched_ms < self.idle_ms(key, how).await? {
            report.running.push(key.clone());
            return Ok(());
        }
        if modified(&self.disk().markers().join(key.marker())).is_some() {
            report.add(key, Problem::Unfinished, false);
            return Ok(());
        }
        for object in objects.keys() {
            let what = match MediaPath::parse(object) {
                Some(MediaPath::Segment(..)) => Orphan::NoIndex,
                Some(MediaPath::Media(_) | MediaPath::Vod(_)) => continue,
                _ if object.ends_with(OPEN) => Orphan::Leftover,
                _ => Orphan::Foreign,
            };
            self.orphan(key, object, what, how, report).await?;
        }
        self.check_lost(key, how, report).await
    }

    /// For how long nothing is written of a recording that nobody writes: its publisher may come back.
    async fn idle_ms(&self, key: &RecordingKey, how: How) -> Result<i64, Error> {
        if how.idle.is_zero() {
            return Ok(0);
        }
        let window = self.reconnect_window(&key.channel).await?;
        Ok(ms(how.idle.max(window)))
    }

    /// Whether some of a recording is in the spool.
    pub(super) fn is_spooled(&self, key: &RecordingKey) -> bool {
        self.disk().spool().is_some() && self.disk().root().join(key.journal()).exists()
    }

    /// The objects of a recording.
    async fn objects_of(&self, key: &RecordingKey) -> Result<BTreeMap<String, Meta>, Error> {
        let listed = self.archive().store().list(&key.folder());
        let listed: Vec<_> = listed.try_collect().await?;
        Ok(listed
            .into_iter()
            .map(|one| (one.object, one.meta))
            .collect())
    }

    /// Adds lines to the index of a recording that nobody writes.
    pub(super) async fn append(
        &self,
        key: &RecordingKey,
        text: &Bytes,
        added: &str,
    ) -> Result<(), Error> {
        let journal = key.journal();
        if self.disk().spool().is_some() {
            let text = [text, added.as_bytes()].concat();
            self.archive().store().put(&journal, text.into()).await?;
        } else {
            let failed = |source| Error::Index {
                object: journal.clone(),
                source,
            };
            self.disk().append_now(&journal, added).map_err(failed)?;
        }
        self.archive().forget_recording(key);
        Ok(())
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).ok()?.modified().ok()
}
