//! Writes growing segments into a local store: parts are appended, a finished segment gets its name.
//!
//! Files are written by a few threads of their own, never by the runtime's. Each [`Writer`] (one a
//! session) stays on one thread, so its jobs are done in order: the bytes of a segment, then its
//! name, then its line in the recording's index, and only then is whoever asked told. A crash may
//! leave an unfinished file (`….part`), which nothing names.
//!
//! The queue of a thread is bounded. When it is full, writers wait, so publishers are slowed down
//! by TCP; nothing is dropped.

use crate::clock;
use bytes::Bytes;
use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
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
    threads: Vec<mpsc::Sender<Queued>>,
    next: AtomicU64,
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
    },
    Append {
        bytes: Bytes,
    },
    EndPart,
    Finish {
        index: String,
        line: String,
        done: Done,
    },
    Line {
        index: String,
        line: String,
        done: Done,
    },
    Flush {
        done: oneshot::Sender<()>,
    },
    Close,
}

impl Disk {
    /// Writes under `root` with so many threads.
    pub fn new(root: &Path, threads: usize, fsync: Fsync) -> io::Result<Self> {
        std::fs::create_dir_all(root)?;
        let threads = (0..threads.max(1)).map(|nth| {
            let (to, from) = mpsc::channel(QUEUE_MAX);
            let thread = Thread {
                root: root.to_owned(),
                fsync,
                open: HashMap::new(),
                index: HashMap::new(),
                folder: HashMap::new(),
                warned: None,
            };
            std::thread::Builder::new()
                .name(format!("disk-{nth}"))
                .spawn(move || thread.run(from))?;
            Ok(to)
        });
        Ok(Self(Arc::new(Inner {
            root: root.to_owned(),
            threads: threads.collect::<io::Result<_>>()?,
            next: AtomicU64::new(0),
        })))
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.0.root
    }

    /// A writer for one session.
    pub fn writer(&self) -> Writer {
        let id = self.0.next.fetch_add(1, Ordering::Relaxed);
        let nth = usize::try_from(id).unwrap_or(0) % self.0.threads.len();
        Writer {
            disk: self.clone(),
            id,
            thread: self.0.threads[nth].clone(),
        }
    }
}

impl Writer {
    /// Begins the object; what was open before is given up.
    pub async fn open(&self, object: String) {
        self.queue(Job::Open { object }).await;
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
    /// (on the writing thread: it must be quick).
    pub async fn finish(
        &self,
        index: String,
        line: String,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) {
        let done = Box::new(done);
        self.queue(Job::Finish { index, line, done }).await;
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
    fsync: Fsync,
    open: HashMap<u64, Growing>,
    /// The index that each writer appended to last.
    index: HashMap<u64, (String, File)>,
    /// The folder that each writer made last.
    folder: HashMap<u64, PathBuf>,
    warned: Option<Instant>,
}

/// A file without its name yet.
struct Growing {
    path: PathBuf,
    file: Result<File, WriteError>,
}

impl Thread {
    fn run(mut self, mut jobs: mpsc::Receiver<Queued>) {
        while let Some(Queued { writer, since, job }) = jobs.blocking_recv() {
            self.watch_lag(since, jobs.len());
            match job {
                Job::Open { object } => self.open(writer, &object),
                Job::Append { bytes } => self.append(writer, &bytes),
                Job::EndPart if self.fsync == Fsync::Part => self.sync(writer),
                Job::EndPart => {}
                Job::Finish { index, line, done } => {
                    let result = self.finish(writer);
                    done(result.and_then(|()| self.line(writer, index, &line)));
                }
                Job::Line { index, line, done } => done(self.line(writer, index, &line)),
                Job::Flush { done } => {
                    // Nobody waits any more if this fails.
                    let _ = done.send(());
                }
                Job::Close => {
                    self.folder.remove(&writer);
                    self.index.remove(&writer);
                    self.open.remove(&writer);
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

    fn open(&mut self, writer: u64, object: &str) {
        let path = self.root.join(format!("{object}.part"));
        let file = self.create(writer, &path);
        self.open.insert(writer, Growing { path, file });
    }

    fn create(&mut self, writer: u64, path: &Path) -> Result<File, WriteError> {
        let folder = path.parent().unwrap_or(&self.root);
        if self.folder.get(&writer).map(PathBuf::as_path) != Some(folder) {
            std::fs::create_dir_all(folder).map_err(failed("make the folder", folder))?;
            self.folder.insert(writer, folder.to_owned());
        }
        File::create(path).map_err(failed("create", path))
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

    fn finish(&mut self, writer: u64) -> Result<(), WriteError> {
        if self.fsync != Fsync::None {
            self.sync(writer);
        }
        let Some(Growing { path, file }) = self.open.remove(&writer) else {
            return Ok(());
        };
        let named = path.with_extension("");
        let result =
            file.and_then(|_| std::fs::rename(&path, &named).map_err(failed("name", &named)));
        if result.is_err() {
            // Half a segment is of no use, and its room may be just what is missing.
            let _ = std::fs::remove_file(&path);
            self.folder.remove(&writer);
        }
        result
    }

    fn line(&mut self, writer: u64, index: String, line: &str) -> Result<(), WriteError> {
        let path = self.root.join(&index);
        let mut append = || {
            let mut file = match self.index.remove(&writer) {
                Some((open, file)) if open == index => file,
                _ => {
                    if let Some(folder) = path.parent() {
                        std::fs::create_dir_all(folder)?;
                    }
                    OpenOptions::new().create(true).append(true).open(&path)?
                }
            };
            file.write_all(line.as_bytes())?;
            if self.fsync != Fsync::None {
                file.sync_data()?;
            }
            self.index.insert(writer, (index.clone(), file));
            Ok(())
        };
        append().map_err(failed("append to", &path))
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
        let disk = Disk::new(root.path(), 2, Fsync::Part).expect("a disk");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writer = disk.writer();
        for n in 0..3 {
            let object = format!("live/a/r/0000/{n}.ts");
            writer.open(object.clone()).await;
            writer.append(Bytes::from_static(b"one ")).await;
            writer.end_part().await;
            writer.append(Bytes::from_static(b"two")).await;
            let path = root.path().join(&object);
            let index = root.path().join("live/a/r/index");
            let seen = seen.clone();
            writer
                .finish("live/a/r/index".into(), format!("{n}\n"), move |result| {
                    assert!(result.is_ok());
                    let named = std::fs::read(&path).expect("the segment");
                    let lines = std::fs::read_to_string(&index).expect("the index");
                    seen.lock().expect("not poisoned").push((named, lines));
                })
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
        let disk = Disk::new(root.path(), 1, Fsync::None).expect("a disk");
        std::fs::write(
            root.path().join("blocked"),
            "a file where a folder should be",
        )
        .expect("written");
        let results = Arc::new(Mutex::new(Vec::new()));
        let writer = disk.writer();
        for object in ["blocked/0.ts", "free/1.ts"] {
            let results = results.clone();
            writer.open(object.to_owned()).await;
            writer.append(Bytes::from_static(b"x")).await;
            let done = move |result: Result<(), WriteError>| {
                results
                    .lock()
                    .expect("not poisoned")
                    .push(result.map_err(|e| e.to_string()));
            };
            writer
                .finish("free/index".into(), "line\n".into(), done)
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
            b"line\n"
        );
    }
}
