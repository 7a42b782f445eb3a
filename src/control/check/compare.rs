//! A recording's rows against its index.

use super::{How, Problem, Report};
use crate::catalog::{Entry, RecordingRow, SegmentRow, flags};
use crate::control::restore::INTERRUPTED;
use crate::control::{Control, Error};
use crate::key::RecordingKey;
use std::collections::BTreeMap;

/// What an index says that the rows should be.
#[derive(Default)]
struct Wanted {
    began_ms: i64,
    ended_ms: Option<i64>,
    target_duration_s: i64,
    /// Those that have not expired.
    segments: BTreeMap<i64, SegmentRow>,
    /// The first number that has not expired, if retention has taken some: what is left of those
    /// goes by itself.
    expired_before: Option<i64>,
}

impl Control {
    /// Compares the rows of a recording with its index, and makes them the same.
    pub(super) async fn check_history(
        &self,
        key: &RecordingKey,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        let told = self.told(key).await?;
        let before = report.findings.len();
        let wanted = Wanted::of(&told);
        let sessions = self.catalog().sessions_of(key).await?;
        for entry in &told {
            let Entry::Session(row) = entry else { continue };
            let problem = match sessions.iter().find(|known| known.began_ms == row.began_ms) {
                Some(known) if known == row.as_ref() => continue,
                Some(known) if known.ended_ms.is_none() => Problem::SessionOpen {
                    began_ms: row.began_ms,
                },
                Some(_) | None => Problem::RowsDiffer {
                    what: "a session",
                    count: 1,
                },
            };
            report.add(key, problem, how.repair);
        }
        let open = sessions.iter().filter(|known| {
            let is_told = |entry: &Entry| {
                matches!(entry, Entry::Session(row) if row.began_ms == known.began_ms)
            };
            known.ended_ms.is_none() && !told.iter().any(is_told)
        });
        // A push of which no segment was stored: the index does not know it.
        let open: Vec<_> = open.cloned().collect();
        for mut row in open {
            let began_ms = row.began_ms;
            report.add(key, Problem::SessionOpen { began_ms }, how.repair);
            if how.repair {
                row.ended_ms = Some(began_ms);
                row.reason = Some(INTERRUPTED.to_owned());
                self.push_slowly(Entry::Session(Box::new(row))).await;
            }
        }
        self.check_segments(key, &wanted, how, report).await?;
        if how.repair && report.findings.len() > before {
            self.written().await;
            self.catalog()
                .rewrite(&wanted.row(key), &wanted.rows(), &told)
                .await?;
        }
        Ok(())
    }

    async fn check_segments(
        &self,
        key: &RecordingKey,
        wanted: &Wanted,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        let all = i64::MIN..i64::MAX;
        let known = self
            .catalog()
            .segments_begun(key, all, false, usize::MAX)
            .await?;
        let known: BTreeMap<i64, SegmentRow> = known.iter().map(|row| (row.number, *row)).collect();
        let (mut missing, mut differ) = (0, 0);
        for (number, row) in &wanted.segments {
            match known.get(number) {
                None => missing += 1,
                Some(known) => differ += usize::from(known != row),
            }
        }
        differ += known
            .keys()
            .filter(|number| !wanted.segments.contains_key(number))
            .count();
        if missing > 0 {
            let problem = Problem::RowsMissing { segments: missing };
            report.add(key, problem, how.repair);
        }
        if differ > 0 {
            let what = "segments";
            let count = differ;
            report.add(key, Problem::RowsDiffer { what, count }, how.repair);
        }
        let mut row = self.catalog().recording(key).await?;
        let expired_before = wanted.expired_before;
        let last = wanted.segments.keys().next_back().copied();
        let wanted = wanted.row(key);
        if let (Some(row), Some(before)) = (row.as_mut(), expired_before) {
            // What has expired may be there still: it counts until it is gone.
            (row.segments, row.bytes) = (wanted.segments, wanted.bytes);
            row.began_ms = wanted.began_ms;
            if last.is_none_or(|last| last < before) {
                row.until_ms = wanted.until_ms;
            }
        }
        if wanted.segments > 0 && row != Some(wanted) && missing == 0 {
            let (what, count) = ("the recording", 1);
            report.add(key, Problem::RowsDiffer { what, count }, how.repair);
        }
        Ok(())
    }

    /// A recording whose index is not in the store: its segments are gaps.
    pub(super) async fn check_lost(
        &self,
        key: &RecordingKey,
        how: How,
        report: &mut Report,
    ) -> Result<(), Error> {
        let all = i64::MIN..i64::MAX;
        let rows = self
            .catalog()
            .segments_begun(key, all, false, usize::MAX)
            .await?;
        let named: Vec<_> = rows
            .iter()
            .filter(|row| row.flags & flags::GAP == 0)
            .collect();
        if named.is_empty() {
            return Ok(());
        }
        let segments = named.len();
        if self.is_spooled(key) {
            report.add(key, Problem::Spooled, false);
            return Ok(());
        }
        report.add(key, Problem::NoIndex { segments }, how.repair);
        if how.repair {
            for row in named {
                let (key, number) = (key.clone(), row.number);
                self.push_slowly(Entry::Lost { key, number }).await;
            }
        }
        Ok(())
    }
}

impl Wanted {
    fn of(told: &[Entry]) -> Self {
        let mut wanted = Self::default();
        for entry in told {
            match entry {
                Entry::Recording { began_ms, .. } => wanted.began_ms = *began_ms,
                Entry::Segment {
                    row,
                    target_duration_s,
                    ..
                } => {
                    wanted.target_duration_s = *target_duration_s;
                    if row.flags & flags::EXPIRED == 0 {
                        wanted.segments.insert(row.number, *row);
                    }
                }
                Entry::Lost { number, .. } => {
                    if let Some(row) = wanted.segments.get_mut(number) {
                        row.flags |= flags::GAP;
                    }
                }
                Entry::End { ended_ms, .. } => wanted.ended_ms = Some(*ended_ms),
                Entry::Expired { expiry, .. } => {
                    wanted.expired_before = Some(expiry.numbers.end);
                }
                Entry::Session(_) => {}
            }
        }
        wanted
    }

    fn rows(&self) -> Vec<SegmentRow> {
        self.segments.values().copied().collect()
    }

    /// The recording's own row.
    fn row(&self, key: &RecordingKey) -> RecordingRow {
        let rows = self.segments.values();
        let began = rows.clone().map(|row| row.date_ms).min();
        let until = rows.clone().map(SegmentRow::until_ms).max();
        RecordingRow {
            key: key.clone(),
            began_ms: began.map_or(self.began_ms, |at| at.min(self.began_ms)),
            until_ms: until.map_or(self.began_ms, |until| until.max(self.began_ms)),
            ended_ms: self.ended_ms,
            target_duration_s: self.target_duration_s,
            segments: i64::try_from(rows.len()).unwrap_or(i64::MAX),
            bytes: rows.map(|row| row.size).sum(),
        }
    }
}
