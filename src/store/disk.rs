//! Writes growing segments into a local store: parts are appended, a finished segment gets its name.
//!
//! Files are written by a few threads of their own, never by the runtime's. Each [`Writer`] (one a
//! session) stays on one thread, so its jobs are done in order: the bytes of a segment, then its
//! name, then its line in the recording's index, and only then is whoever asked told. A crash may
//! leave an unfinished file (`….part`), which nothing names. Before a segment begins, the marker of
//! its recording says so: whoever starts after a crash looks at the markers alone.
//!
//! A line that cannot be appended (a full disk) is owed: it goes before the next one.
//!
//! The queue of a thread is bounded. When it is full, writers wait, so publishers are slowed down
//! by TCP; nothing is dropped.

mod files;

pub(crate) use files::remove_empty;

use super::Spool;
use crate::clock;
use crate::metrics;
use bytes::Bytes;
use files::{append, create_marker, make_folder, open_index, sync_folder};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Jobs that wait for one thread. A job is at most some hundred KiB of a part, so this bounds memory.
const QUEUE_MAX: usize = 256;
/// A job that waited longer than this is worth a line in the log: the disk is slower than the publishers.
const LAG_WARN: Duration = Duration::from_secs(1);
/// Such lines come at most this often.
const LAG_WARN_INTERVAL: Duration = Duration::from_secs(10);
/// Lines owed to the index of one recording, in bytes; a day of gaps and more.
const OWED_MAX: usize = 8 << 20;
/// A marker is written over its predecessor in one page, which needs no room on a full disk and is
/// whole whenever the process is killed.
const MARKER_PAGE: usize = 4096;

/// What is forced to the disk, and when.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fsync {
    /// Nothing: the operating system decides.
    None,
    /// Each finished segment and its line in the index.
    Segment,
    /// Each part as well.
    Part,
}

/// The directory and the threads that write into it. Cheap to clone.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    root: PathBuf,
    markers: PathBuf,
    fsync: Fsync,
    spool: Option<Spool>,
    threads: Vec<mpsc::Sender<Queued>>,
    next: AtomicU64,
    hasher: std::hash::RandomState,
}

/// One session's way to the disk. What was not finished when it is dropped stays without a name.
pub struct Writer {
    disk: Disk,
    id: u64,
    thread: mpsc::Sender<Queued>,
}

/// Why something is not on the disk.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct WriteError {
    action: &'static str,
    path: PathBuf,
    source: Arc<io::Error>,
}

type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

struct Queued {
    writer: u64,
    since: Instant,
    job: Job,
}

enum Job {
    Open {
        object: String,
        marker: String,
        text: String,
    },
    Append {
        bytes: Bytes,
    },
    EndPart,
    Finish {
        index: String,
        line: String,
        lost: String,
        done: Done,
    },
    Line {
        index: String,
        line: String,
        done: Done,
    },
    Unmark {
        marker: String,
        index: String,
    },
    Flush {
        done: oneshot::Sender<()>,
    },
    Close,
}

impl Disk {
    /// Writes objects under `root` and markers under `markers` with so many threads.
    pub fn new(root: &Path, markers: &Path, threads: usize, fsync: Fsync) -> io::Result<Self> {
        Self::make(root, markers, threads, fsync, None)
    }

    /// The same for a remote store: what is written goes on to `spool`, whose directory `root` is.
    pub fn with_spool(
        root: &Path,
        markers: &Path,
        threads: usize,
        fsync: Fsync,
        spool: Spool,
    ) -> io::Result<Self> {
        Self::make(root, markers, threads, fsync, Some(spool))
    }

    fn make(
        root: &Path,
        markers: &Path,
        threads: usize,
        fsync: Fsync,
        spool: Option<Spool>,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        std::fs::create_dir_all(markers)?;
        let threads = (0..threads.max(1)).map(|nth| {
            let (to, from) = mpsc::channel(QUEUE_MAX);
            let thread = Thread {
                root: root.to_owned(),
                markers_root: markers.to_owned(),
                fsync,
                spool: spool.clone(),
                open: HashMap::new(),
                index: HashMap::new(),
                folder: HashMap::new(),
                markers: HashMap::new(),
                owed: HashMap::new(),
                warned: None,
            };
            std::thread::Builder::new()
                .name(format!("disk-{nth}"))
                .spawn(move || thread.run(from))?;
            Ok(to)
        });
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            markers: markers.to_owned(),
            fsync,
            spool: spool.clone(),
            threads: threads.collect::<io::Result<_>>()?,
            next: AtomicU64::new(0),
            hasher: std::hash::RandomState::new(),
        })))
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// Where it goes from here, if the store is a remote one.
    pub fn spool(&self) -> Option<&Spool> {
        self.0.spool.as_ref()
    }

    /// Tells the metrics what waits for the threads, and what is in the spool.
    pub fn measure(&self) {
        let threads = self.0.threads.iter();
        let waiting: usize = threads.map(|to| to.max_capacity() - to.capacity()).sum();
        metrics::DISK_JOBS.set(waiting as f64);
        if let Some(spool) = self.spool() {
            spool.measure();
        }
    }

    /// The directory of the markers.
    pub fn markers(&self) -> &Path {
        &self.0.markers
    }

    /// Appends `line` to the object `index` at once, on this thread: at the start, before writers.
    pub fn append_now(&self, index: &str, line: &str) -> io::Result<()> {
        let Inner { root, fsync, .. } = &*self.0;
        let mut file = open_index(root, &root.join(index), *fsync)?;
        append(&mut file, line, *fsync).map(drop)
    }

    /// A writer for one session into `folder`. All writers into one folder share a thread, so what
    /// they do is in order.
    pub fn writer(&self, folder: &str) -> Writer {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let hash = std::hash::BuildHasher::hash_one(&self.0.hasher, folder);
        let nth = usize::try_from(hash % self.0.threads.len() as u64).unwrap_or(0);
        Writer {
            disk: self.clone(),
            id,
            thread: self.0.threads[nth].clone(),
        }
    }
}

impl Writer {
    /// Writes `text` into the file `marker`, then begins the object; what was open before is given up.
    pub async fn open(&self, object: String, marker: String, text: String) {
        let job = Job::Open {
            object,
            marker,
            text,
        };
        self.queue(job).await;
    }

    /// Appends to the open object.
    pub async fn append(&self, bytes: Bytes) {
        self.queue(Job::Append { bytes }).await;
    }

    /// What was appended so far is a part.
    pub async fn end_part(&self) {
        self.queue(Job::EndPart).await;
    }

    /// Gives the open object its name, then appends `line` to the object `index`, then calls `done`
    /// (on the writing thread: it must be quick). If the object has no name in the end, the index
    /// gets `lost` instead, and `done` the reason.
    pub async fn finish(
        &self,
        index: String,
        line: String,
        lost: String,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) {
        let done = Box::new(done);
        let job = Job::Finish {
            index,
            line,
            lost,
            done,
        };
        self.queue(job).await;
    }

    /// Appends `line` to the object `index`, then calls `done`.
    pub async fn line(
        &self,
        index: String,
        line: String,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) {
        let done = Box::new(done);
        self.queue(Job::Line { index, line, done }).await;
    }

    /// Removes the marker, if the object `index` has all its lines.
    pub async fn unmark(&self, marker: String, index: String) {
        self.queue(Job::Unmark { marker, index }).await;
    }

    /// Waits until everything that was asked for is done.
    pub async fn flush(&self) {
        let (done, waits) = oneshot::channel();
        self.queue(Job::Flush { done }).await;
        // An error means that the thread is gone, and everything was done before it went.
        let _ = waits.await;
    }

    async fn queue(&self, job: Job) {
        let queued = Queued {
            writer: self.id,
            since: clock::monotonic(),
            job,
        };
        if self.thread.send(queued).await.is_err() {
            tracing::error!(root = %self.disk.root().display(), "the thread that writes files is gone");
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let queued = Queued {
            writer: self.id,
            since: clock::monotonic(),
            job: Job::Close,
        };
        if let Err(mpsc::error::TrySendError::Full(queued)) = self.thread.try_send(queued) {
            let thread = self.thread.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { thread.send(queued).await.ok() });
            }
        }
    }
}

struct Thread {
    root: PathBuf,
    markers_root: PathBuf,
    fsync: Fsync,
    spool: Option<Spool>,
    open: HashMap<u64, Growing>,
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
struct Growing {
    object: String,
    path: PathBuf,
    file: Result<File, WriteError>,
    size: u64,
}

impl Thread {
    fn run(mut self, mut jobs: mpsc::Receiver<Queued>) {
        while let Some(Queued { writer, since, job }) = jobs.blocking_recv() {
            self.watch_lag(since, jobs.len());
            match job {
                Job::Open {
                    object,
                    marker,
                    text,
                } => {
                    self.mark(writer, marker, text);
                    self.open(writer, &object);
                }
                Job::Append { bytes } => self.append(writer, &bytes),
                Job::EndPart if self.fsync == Fsync::Part => self.sync(writer),
                Job::EndPart => {}
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

    /// Without its marker a segment that a crash cuts off stays without a name; it is written all the same.
    fn mark(&mut self, writer: u64, marker: String, text: String) {
        let mut page = text.into_bytes();
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
            let mut file = match known {
                Some((_, file)) => file,
                None => create_marker(&self.markers_root, &path, self.fsync)?,
            };
            file.rewind()?;
            file.write_all(&page)?;
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

    fn open(&mut self, writer: u64, object: &str) {
        let path = self.root.join(format!("{object}.part"));
        let file = match self.spool.as_ref().is_none_or(Spool::has_room) {
            true => self.create(writer, &path),
            false => Err(failed("write", &path)(io::Error::new(
                io::ErrorKind::StorageFull,
                "the spool has reached its limit",
            ))),
        };
        let object = object.to_owned();
        let growing = Growing {
            object,
            path,
            file,
            size: 0,
        };
        if let Some(given_up) = self.open.insert(writer, growing) {
            self.give_up(&given_up);
        }
    }

    /// Half a segment is of no use, and its room may be just what is missing.
    fn give_up(&mut self, growing: &Growing) {
        let _ = std::fs::remove_file(&growing.path);
        if let Some(spool) = &self.spool {
            spool.shrank(growing.size);
        }
    }

    fn create(&mut self, writer: u64, path: &Path) -> Result<File, WriteError> {
        let folder = path.parent().unwrap_or(&self.root);
        if self.folder.get(&writer).map(PathBuf::as_path) != Some(folder) {
            make_folder(&self.root, folder, self.fsync)
                .map_err(failed("make the folder", folder))?;
            self.folder.insert(writer, folder.to_owned());
        }
        let file = File::create(path).map_err(failed("create", path))?;
        if self.fsync == Fsync::Part {
            sync_folder(folder).map_err(failed("sync the folder", folder))?;
        }
        Ok(file)
    }

    fn append(&mut self, writer: u64, bytes: &[u8]) {
        let Some(growing) = self.open.get_mut(&writer) else {
            return;
        };
        if let Ok(file) = &mut growing.file
            && let Err(error) = file.write_all(bytes)
        {
            growing.file = Err(failed("write", &growing.path)(error));
        }
        if let (Ok(_), Some(spool)) = (&growing.file, &self.spool) {
            growing.size += bytes.len() as u64;
            spool.grew(bytes.len() as u64);
        }
    }

    fn sync(&mut self, writer: u64) {
        let Some(growing) = self.open.get_mut(&writer) else {
            return;
        };
        if let Ok(file) = &mut growing.file
            && let Err(error) = file.sync_data()
        {
            growing.file = Err(failed("sync", &growing.path)(error));
        }
    }

    /// Gives the open object its name; returns it and its size, if there was one.
    fn finish(&mut self, writer: u64) -> Result<Option<(String, u64)>, WriteError> {
        if self.fsync != Fsync::None {
            self.sync(writer);
        }
        let Some(growing) = self.open.remove(&writer) else {
            return Ok(None);
        };
        let named = growing.path.with_extension("");
        let rename = |()| std::fs::rename(&growing.path, &named).map_err(failed("name", &named));
        let whole = growing.file.as_ref().map(drop).map_err(Clone::clone);
        if let Err(error) = whole.and_then(rename) {
            self.give_up(&growing);
            self.folder.remove(&writer);
            return Err(error);
        }
        if let (true, Some(folder)) = (self.fsync != Fsync::None, named.parent()) {
            sync_folder(folder).map_err(failed("sync the folder", folder))?;
        }
        Ok(Some((growing.object, growing.size)))
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

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WriteError {
    let path = path.to_owned();
    move |source| WriteError {
        action,
        path,
        source: Arc::new(source),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[tokio::test]
    async fn a_segment_has_its_name_and_its_line_before_anybody_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        let disk =
            Disk::new(root.path(), &root.path().join(".running"), 2, Fsync::Part).expect("a disk");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writer = disk.writer("a");
        for n in 0..3 {
            let object = format!("live/a/r/0000/{n}.ts");
            writer
                .open(object.clone(), "m".into(), format!("{n}\n"))
                .await;
            writer.append(Bytes::from_static(b"one ")).await;
            writer.end_part().await;
            writer.append(Bytes::from_static(b"two")).await;
            let path = root.path().join(&object);
            let index = root.path().join("live/a/r/index");
            let seen = seen.clone();
            writer
                .finish(
                    "live/a/r/index".into(),
                    format!("{n}\n"),
                    String::new(),
                    move |result| {
                        assert!(result.is_ok());
                        let named = std::fs::read(&path).expect("the segment");
                        let lines = std::fs::read_to_string(&index).expect("the index");
                        seen.lock().expect("not poisoned").push((named, lines));
                    },
                )
                .await;
        }
        writer.flush().await;
        let seen = seen.lock().expect("not poisoned").clone();
        assert_eq!(
            seen,
            [
                (b"one two".to_vec(), "0\n".to_owned()),
                (b"one two".to_vec(), "0\n1\n".to_owned()),
                (b"one two".to_vec(), "0\n1\n2\n".to_owned()),
            ]
        );
    }

    #[tokio::test]
    async fn a_failure_is_told_and_the_next_segment_tries_anew() {
        let root = tempfile::tempdir().expect("a folder");
        let disk =
            Disk::new(root.path(), &root.path().join(".running"), 1, Fsync::None).expect("a disk");
        std::fs::write(
            root.path().join("blocked"),
            "a file where a folder should be",
        )
        .expect("written");
        let results = Arc::new(Mutex::new(Vec::new()));
        let writer = disk.writer("a");
        for object in ["blocked/0.ts", "free/1.ts"] {
            let results = results.clone();
            writer
                .open(object.to_owned(), "m".into(), "x\n".into())
                .await;
            writer.append(Bytes::from_static(b"x")).await;
            let done = move |result: Result<(), WriteError>| {
                results
                    .lock()
                    .expect("not poisoned")
                    .push(result.map_err(|e| e.to_string()));
            };
            writer
                .finish("free/index".into(), "line\n".into(), "lost\n".into(), done)
                .await;
        }
        writer.flush().await;
        let results = results.lock().expect("not poisoned").clone();
        assert!(
            results[0]
                .as_ref()
                .is_err_and(|e| e.contains("cannot make the folder")),
            "{results:?}"
        );
        assert_eq!(results[1], Ok(()));
        assert_eq!(
            std::fs::read(root.path().join("free/index")).expect("index"),
            b"lost\nline\n"
        );
    }
}
