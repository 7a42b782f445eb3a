//! Where effects go: segments to the disk, lines to the index, news to the playlists.

use super::told::Told;
use crate::control::journal::{Line, Marker, SegmentLine};
use crate::control::ledger::Ledger;
use crate::control::recording::Recording;
use crate::media::Segment;
use crate::metrics;
use crate::pipeline::{Effect, Pipeline};
use crate::store::disk::{Batch, WriteError, Writer};
use std::sync::Arc;

/// Bytes of a part that are gathered at most before they go to the disk.
pub const GATHERED_MAX: usize = 256 << 10;
/// So many go there before more are waited for. At 3 Mbit/s a part has 190 KB: in three writes instead
/// of one it costs no more processor time and half the memory.
const GATHERED_MIN: usize = 48 << 10;

/// Where the effects of one session go.
pub(super) struct Output {
    writer: Writer,
    recording: Arc<Recording>,
    ledger: Ledger,
    /// What is to be done on the disk: one waking of its thread for all is cheaper than one for each.
    batch: Batch,
    /// Lines that go to the index with the next segment: without one they are not worth a folder.
    notes: String,
    any: bool,
    told: Told,
}

impl Output {
    pub(super) fn new(writer: Writer, recording: Arc<Recording>, ledger: Ledger) -> Self {
        Self {
            writer,
            recording,
            ledger,
            batch: Batch::default(),
            notes: String::new(),
            any: false,
            told: Told::default(),
        }
    }

    pub(super) fn note(&mut self, line: &Line) {
        self.notes += &line.to_text();
    }

    pub(super) async fn carry_out(&mut self, pipeline: &mut Pipeline) {
        while let Some(effect) = pipeline.poll() {
            match effect {
                Effect::Tracks(tracks) => {
                    self.note(&Line::Tracks((&tracks).into()));
                    self.recording.set_tracks(&tracks);
                    self.ledger.tracks(&tracks);
                }
                Effect::Open(segment) => self.open(&segment),
                Effect::Write(bytes) => self.batch.append(bytes),
                Effect::Part(_) => {
                    self.batch.end_part();
                    self.told.tell(pipeline);
                }
                Effect::Segment {
                    segment,
                    target_duration_s,
                } => self.store(segment, target_duration_s),
            }
            if self.batch.bytes() >= GATHERED_MAX {
                self.writer.send(&mut self.batch).await;
            }
        }
    }

    /// Tells the metrics what has come since they were told last.
    pub(super) fn tell(&mut self, pipeline: &Pipeline) {
        self.told.tell(pipeline);
    }

    /// Whether what was gathered should not wait for more: it ends something, or is not little.
    pub(super) fn is_due(&self) -> bool {
        self.batch.ends_something() || self.batch.bytes() >= GATHERED_MIN
    }

    /// Hands over what was gathered.
    pub(super) async fn hand_over(&mut self) {
        self.writer.send(&mut self.batch).await;
    }

    fn open(&mut self, segment: &Segment) {
        let key = self.recording.key();
        let object = self.recording.segment_object(segment.number);
        let marker = Marker {
            open: SegmentLine::new(segment, 0),
            lines: self.notes.clone(),
            counted: self.ledger.so_far(),
        };
        self.batch.open(object, key.marker(), marker.to_text());
    }

    /// Data, then index, then news: the bytes get their name, the index its line, the playlist its entry.
    fn store(&mut self, segment: Segment, target_duration_s: u32) {
        let index = self.recording.key().journal();
        let notes = std::mem::take(&mut self.notes);
        let gap = Segment {
            gap: true,
            ..segment.clone()
        };
        let stored = notes.clone() + &Line::segment(&segment, target_duration_s).to_text();
        let lost = notes + &Line::segment(&gap, target_duration_s).to_text();
        self.any = true;
        let recording = self.recording.clone();
        let ledger = self.ledger.clone();
        let news = move |result: Result<(), WriteError>| match result {
            Ok(()) => {
                recording.list(segment.clone(), target_duration_s);
                metrics::SEGMENTS.add(1);
                ledger.segment(&segment, target_duration_s);
            }
            Err(error) => {
                let number = segment.number;
                tracing::error!(
                    recording = %recording.key(), number, error = %chain(&error),
                    "segment is lost; the playlist shows a gap"
                );
                recording.list(gap.clone(), target_duration_s);
                metrics::GAPS.add(1);
                ledger.segment(&gap, target_duration_s);
            }
        };
        self.batch.finish(index, stored, lost, news);
    }

    /// Waits until everything is on the disk and listed.
    pub(super) async fn finish(mut self) {
        self.writer.send(&mut self.batch).await;
        if self.any && !self.notes.is_empty() {
            let index = self.recording.key().journal();
            let recording = self.recording.clone();
            let news = move |result: Result<(), WriteError>| {
                if let Err(error) = result {
                    tracing::error!(recording = %recording.key(), error = %chain(&error), "the end of the session is not in the index");
                }
            };
            self.writer
                .line(index, std::mem::take(&mut self.notes), news)
                .await;
        }
        self.writer.flush().await;
    }
}

/// An error and its causes as one sentence.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
