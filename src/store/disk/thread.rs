//! One thread that writes files: the jobs of its writers, in order.

use super::files::{
    append, create_marker, make_folder, open_index, remove_empty, replace, sync_folder,
};
use super::growing::Growing;
use super::room::Room;
use super::spares::{Spare, Spares};
use super::{Fsync, Job, Queued, Rewrite, WriteError, failed};
use crate::clock;
use crate::metrics;
use crate::store::Spool;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// What waited longer than this is worth a line in the log: the disk is slower than the publishers.
const LAG_WARN: Duration = Duration::from_secs(1);
/// Such lines come at most this often.
const LAG_WARN_INTERVAL: Duration = Duration::from_secs(10);
/// Lines owed to the index of one recording, in bytes; a day of gaps and more.
const OWED_MAX: usize = 8 << 20;
/// A marker is written over its predecessor in one page, which needs no room on a full disk and is
/// whole whenever the process is killed.
const MARKER_PAGE: usize = 4096;

/// One of the threads, and the files that it has open.
pub(super) struct Thread {
    root: PathBuf,
    markers_root: PathBuf,
    fsync: Fsync,
    spool: Option<Spool>,
    room: Arc<Room>,
    spares: Option<Arc<Spares>>,
    open: HashMap<u64, Open>,
    /// The index that each writer appended to last.
    index: HashMap<u64, (String, File)>,
    /// The folder that each writer made last.
    folder: HashMap<u64, PathBuf>,
    /// The marker of each writer.
    markers: HashMap<u64, (String, File)>,
    /// Lines that could not be appended, by index.
    owed: HashMap<String, String>,
    warned: Option<Instant>,
}

/// A file without its name yet.
struct Open {
    object: String,
    path: PathBuf,
    file: Result<Growing, WriteError>,
    size: u64,
}

impl Thread {
    pub(super) fn new(
        root: &Path,
        markers: &Path,
        fsync: Fsync,
        spool: Option<Spool>,
        room: Arc<Room>,
        spares: Option<Arc<Spares>>,
    ) -> Self {
        Self {
            root: root.to_owned(),
            markers_root: markers.to_owned(),
            fsync,
            spool,
            room,
            spares,
            open: HashMap::new(),
            index: HashMap::new(),
            folder: HashMap::new(),
            markers: HashMap::new(),
            owed: HashMap::new(),
            warned: None,
        }
    }

    pub(super) fn run(mut self, mut batches: mpsc::Receiver<Queued>) {
        while let Some(queued) = batches.blocking_recv() {
            self.watch_lag(queued.since, batches.len());
            for job in queued.jobs {
                self.carry_out(queued.writer, queued.since, job);
            }
            drop(queued.room);
        }
    }

    fn carry_out(&mut self, writer: u64, since: Instant, job: Job) {
        match job {
            Job::Open {
                object,
                marker,
                text,
            } => {
                let spare = self.spare();
                self.mark(writer, marker, text, spare.is_some());
                self.open(writer, &object, spare);
            }
            Job::Append { blocks, ends_part } => {
                self.append(writer, &blocks);
                if ends_part && self.fsync == Fsync::Part {
                    self.sync(writer);
                }
            }
            Job::Finish {
                index,
                line,
                lost,
                done,
            } => {
                metrics::DISK_LAG.record(clock::monotonic().saturating_duration_since(since));
                done(self.store(writer, index, &line, &lost));
            }
            Job::Line { index, line, done } => done(self.note(writer, index, &line)),
            Job::Rewrite {
                index,
                rewrite,
                done,
            } => done(self.rewrite(&index, rewrite)),
            Job::Unmark { marker, index } => self.unmark(&marker, &index),
            Job::Flush { done } => {
                // Nobody waits any more if this fails.
                let _ = done.send(());
            }
            Job::Close => {
                self.folder.remove(&writer);
                self.markers.remove(&writer);
                self.index.remove(&writer);
                if let (Some(open), Some(spool)) = (self.open.remove(&writer), &self.spool) {
                    spool.shrank(open.size);
                }
            }
        }
    }

    fn watch_lag(&mut self, since: Instant, waiting: usize) {
        let now = clock::monotonic();
        let lag = now.saturating_duration_since(since);
        let quiet = self.warned.is_none_or(|at| now - at > LAG_WARN_INTERVAL);
        if lag > LAG_WARN && quiet {
            self.warned = Some(now);
            tracing::warn!(
                lag_ms = lag.as_millis(),
                waiting,
                root = %self.root.display(),
                "the disk is slower than the publishers; they are slowed down"
            );
        }
    }

    /// A file to write the next segment over, if there is room for a segment at all.
    fn spare(&self) -> Option<Spare> {
        let has_room = self.spool.as_ref().is_none_or(Spool::has_room);
        self.spares.as_ref().filter(|_| has_room)?.take()
    }

    /// Without its marker a segment that a crash cuts off stays without a name; it is written all the same.
    fn mark(&mut self, writer: u64, marker: String, text: String, is_over: bool) {
        let mut page = text.into_bytes();
        if let Some(spares) = self.spares.as_ref().filter(|_| is_over) {
            page.extend_from_slice(&spares.note());
        }
        page.resize(page.len().next_multiple_of(MARKER_PAGE), b' ');
        let path = self.markers_root.join(&marker);
        let known = self.markers.remove(&writer);
        let known = known.filter(|(name, _)| *name == marker);
        // With `segment` a power cut may cost the open segment, but the recording must be found.
        let sync = match self.fsync {
            Fsync::None => false,
            Fsync::Segment => known.is_none(),
            Fsync::Part => true,
        };
        let write = || -> io::Result<File> {
            let file = match known {
                Some((_, file)) => file,
                None => create_marker(&self.markers_root, &path, self.fsync)?,
            };
            file.write_all_at(&page, 0)?;
            if sync {
                file.sync_data()?;
            }
            Ok(file)
        };
        match write() {
            Ok(file) => {
                self.markers.insert(writer, (marker, file));
            }
            Err(error) => {
                let path = path.display();
                tracing::error!(%path, %error, "a marker cannot be written; a crash now costs the open segment");
            }
        }
    }

    fn unmark(&mut self, marker: &str, index: &str) {
        if self.owed.contains_key(index) {
            return;
        }
        if let Some(spool) = &self.spool {
            spool.ended(index);
        }
        let path = self.markers_root.join(marker);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), %error, "a marker cannot be removed");
            }
            _ => remove_empty(&self.markers_root, path.parent()),
        }
    }

    fn open(&mut self, writer: u64, object: &str, spare: Option<Spare>) {
        let path = self.root.join(format!("{object}.part"));
        let file = match self.spool.as_ref().is_none_or(Spool::has_room) {
            true => self.begin(writer, &path, spare),
            false => Err(failed("write", &path)(io::Error::new(
                io::ErrorKind::StorageFull,
                "the spool has reached its limit",
            ))),
        };
        let object = object.to_owned();
        let open = Open {
            object,
            path,
            file,
            size: 0,
        };
        if let Some(given_up) = self.open.insert(writer, open) {
            self.give_up(&given_up);
        }
    }

    /// Half a segment is of no use, and its room may be just what is missing.
    fn give_up(&mut self, open: &Open) {
        let _ = std::fs::remove_file(&open.path);
        if let Some(spool) = &self.spool {
            spool.shrank(open.size);
        }
    }

    fn begin(
        &mut self,
        writer: u64,
        path: &Path,
        spare: Option<Spare>,
    ) -> Result<Growing, WriteError> {
        let folder = path.parent().unwrap_or(&self.root);
        if self.folder.get(&writer).map(PathBuf::as_path) != Some(folder) {
            make_folder(&self.root, folder, self.fsync)
                .map_err(failed("make the folder", folder))?;
            self.folder.insert(writer, folder.to_owned());
        }
        let begun = match spare {
            Some(spare) => Growing::over(spare, path),
            None => Growing::create(path),
        };
        let growing = begun.map_err(failed("create", path))?;
        if self.fsync == Fsync::Part {
            sync_folder(folder).map_err(failed("sync the folder", folder))?;
        }
        Ok(growing)
    }

    fn append(&mut self, writer: u64, blocks: &[Bytes]) {
        let Some(open) = self.open.get_mut(&writer) else {
            return;
        };
        if let Ok(file) = &mut open.file
            && let Err(error) = file.write(blocks)
        {
            open.file = Err(failed("write", &open.path)(error));
        }
        if let (Ok(_), Some(spool)) = (&open.file, &self.spool) {
            let bytes: u64 = blocks.iter().map(|block| block.len() as u64).sum();
            open.size += bytes;
            spool.grew(bytes);
        }
    }

    fn sync(&mut self, writer: u64) {
        let Some(open) = self.open.get_mut(&writer) else {
            return;
        };
        if let Ok(file) = &mut open.file
            && let Err(error) = file.sync()
        {
            open.file = Err(failed("sync", &open.path)(error));
        }
    }

    /// Gives the open object its name; returns it and its size, if there was one.
    fn finish(&mut self, writer: u64) -> Result<Option<(String, u64)>, WriteError> {
        let Some(open) = self.open.remove(&writer) else {
            return Ok(None);
        };
        let named = open.path.with_extension("");
        let rename = |()| std::fs::rename(&open.path, &named).map_err(failed("name", &named));
        let whole = open.file.as_ref().map_err(Clone::clone).and_then(|file| {
            file.end().map_err(failed("cut", &open.path))?;
            match self.fsync {
                Fsync::None => Ok(()),
                Fsync::Segment | Fsync::Part => file.sync().map_err(failed("sync", &open.path)),
            }
        });
        if let Err(error) = whole.and_then(rename) {
            self.give_up(&open);
            self.folder.remove(&writer);
            return Err(error);
        }
        if let (true, Some(folder)) = (self.fsync != Fsync::None, named.parent()) {
            sync_folder(folder).map_err(failed("sync the folder", folder))?;
        }
        Ok(Some((open.object, open.size)))
    }

    /// Whoever appends to this index next opens the new file.
    fn rewrite(&mut self, index: &str, rewrite: Rewrite) -> Result<(), WriteError> {
        let path = self.root.join(index);
        let replaced = replace(&path, rewrite, self.fsync);
        self.index.retain(|_, (open, _)| open != index);
        replaced.map_err(failed("write anew", &path))
    }

    /// Appends to an index; returns its length.
    fn line(&mut self, writer: u64, index: String, line: &str) -> Result<u64, WriteError> {
        let path = self.root.join(&index);
        let mut text = self.owed.remove(&index).unwrap_or_default();
        text += line;
        let file = match self.index.remove(&writer) {
            Some((known, file)) if known == index => Ok(file),
            _ => open_index(&self.root, &path, self.fsync),
        };
        let appended = file.and_then(|mut file| {
            let len = append(&mut file, &text, self.fsync)?;
            self.index.insert(writer, (index.clone(), file));
            Ok(len)
        });
        if appended.is_err() {
            if text.len() <= OWED_MAX {
                self.owed.insert(index, text);
            } else {
                tracing::error!(index, "too many lines are owed; the index has a hole");
            }
        }
        appended.map_err(failed("append to", &path))
    }

    /// Data, then index: what was written gets its name, then its line, and goes on to the spool.
    fn store(
        &mut self,
        writer: u64,
        index: String,
        line: &str,
        lost: &str,
    ) -> Result<(), WriteError> {
        let finished = self.finish(writer);
        self.room.wrote(finished.is_ok());
        let line = if finished.is_ok() { line } else { lost };
        let index_len = self.line(writer, index.clone(), line).inspect_err(|error| {
            // The bytes have their name, by which a start after a crash finds them.
            tracing::error!(%error, source = %error.source, "an index is behind; its line waits");
        });
        let index_len = index_len.ok();
        if let Some(spool) = &self.spool {
            match (&finished, index_len) {
                (Ok(Some((object, size))), _) => {
                    spool.stored(object.clone(), *size, &index, index_len);
                }
                (_, Some(index_len)) => spool.noted(&index, index_len),
                (_, None) => {}
            }
        }
        finished.map(drop)
    }

    fn note(&mut self, writer: u64, index: String, line: &str) -> Result<(), WriteError> {
        let index_len = self.line(writer, index.clone(), line)?;
        if let Some(spool) = &self.spool {
            spool.noted(&index, index_len);
        }
        Ok(())
    }
}
