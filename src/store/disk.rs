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
mod growing;
mod room;
mod spares;
mod thread;

pub(crate) use files::{remove_empty, write_blocks};
pub use room::NoRoom;
pub(super) use spares::Spares;
pub(crate) use spares::is_doubtful;

use super::Spool;
use crate::clock;
use crate::metrics;
use bytes::Bytes;
use files::{append, open_index};
use room::Room;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;
use thread::Thread;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

/// Batches that wait for one thread.
const QUEUE_MAX: usize = 256;
/// Bytes in the batches that wait for all threads together; bounds memory, whatever their size.
pub const QUEUED_BYTES_MAX: usize = 64 << 20;
/// Of these so many may be one writer's: one that is too fast leaves room for the others.
const QUEUED_BYTES_OF_WRITER_MAX: usize = 4 << 20;
/// They are counted in these.
const QUEUED_UNIT: usize = 1 << 10;

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

/// Whether new segments are written over the files of expired ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recycle {
    /// Never.
    Never,
    /// If no power cut can leave the bytes of an expired segment under the name of a new one.
    Durable,
    /// Even then, but never with [`Fsync::Part`].
    Always,
}

/// How files are written.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// By so many threads.
    pub threads: usize,
    /// What a power cut may cost.
    pub fsync: Fsync,
    /// What becomes of the files of expired segments.
    pub recycle: Recycle,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threads: 1,
            fsync: Fsync::None,
            recycle: Recycle::Durable,
        }
    }
}

/// The directory and the threads that write into it. Cheap to clone.
#[derive(Clone)]
pub struct Disk(Arc<Inner>);

struct Inner {
    root: PathBuf,
    markers: PathBuf,
    fsync: Fsync,
    spool: Option<Spool>,
    room: Arc<Room>,
    spares: Option<Arc<Spares>>,
    threads: Vec<mpsc::Sender<Queued>>,
    /// What is left of [`QUEUED_BYTES_MAX`].
    queued: Arc<Semaphore>,
    next: AtomicU64,
    hasher: std::hash::RandomState,
}

/// One session's way to the disk. What was not finished when it is dropped stays without a name.
pub struct Writer {
    disk: Disk,
    id: u64,
    thread: mpsc::Sender<Queued>,
    /// What is left of [`QUEUED_BYTES_OF_WRITER_MAX`].
    queued: Arc<Semaphore>,
}

/// Why something is not on the disk.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct WriteError {
    action: &'static str,
    path: PathBuf,
    source: Arc<io::Error>,
}

/// Makes a shorter text of an index, if that is worth it.
type Rewrite = fn(&[u8]) -> Option<Vec<u8>>;
type Done = Box<dyn FnOnce(Result<(), WriteError>) + Send>;

struct Queued {
    writer: u64,
    since: Instant,
    jobs: Vec<Job>,
    /// Given back when they are done.
    room: Option<Places>,
}

/// A writer's own share, and that of all.
type Places = (OwnedSemaphorePermit, OwnedSemaphorePermit);

/// What one writer wants done, in order. Handed over together it wakes the thread once.
#[derive(Default)]
pub struct Batch {
    jobs: Vec<Job>,
    bytes: usize,
}

enum Job {
    Open {
        object: String,
        marker: String,
        text: String,
    },
    Append {
        blocks: Vec<Bytes>,
        /// A part ends with them or among them: a sync of all is one of the part.
        ends_part: bool,
    },
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
    Rewrite {
        index: String,
        rewrite: Rewrite,
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
    /// Writes objects under `root` and markers under `markers`.
    pub fn new(root: &Path, markers: &Path, settings: Settings) -> io::Result<Self> {
        Self::make(root, markers, settings, None)
    }

    /// The same for a remote store: what is written goes on to `spool`, whose directory `root` is.
    pub fn with_spool(
        root: &Path,
        markers: &Path,
        settings: Settings,
        spool: Spool,
    ) -> io::Result<Self> {
        Self::make(root, markers, settings, Some(spool))
    }

    fn make(
        root: &Path,
        markers: &Path,
        settings: Settings,
        spool: Option<Spool>,
    ) -> io::Result<Self> {
        let Settings {
            threads,
            fsync,
            recycle,
        } = settings;
        std::fs::create_dir_all(root)?;
        std::fs::create_dir_all(markers)?;
        let room = Arc::new(Room::new(root));
        let spares = Spares::new(root, room.clone(), fsync, recycle).map(Arc::new);
        if let (Some(spool), Some(spares)) = (&spool, &spares) {
            spool.recycle(spares.clone());
        }
        let threads = (0..threads.max(1)).map(|nth| {
            let (to, from) = mpsc::channel(QUEUE_MAX);
            let thread = Thread::new(
                root,
                markers,
                fsync,
                spool.clone(),
                room.clone(),
                spares.clone(),
            );
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
            queued: Arc::new(Semaphore::new(QUEUED_BYTES_MAX / QUEUED_UNIT)),
            threads: threads.collect::<io::Result<_>>()?,
            room,
            spares,
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

    /// From now on files are used again, if that is wanted. Below one root only one process may do so:
    /// it removes what an earlier one has left.
    pub fn begin_recycling(&self) -> io::Result<()> {
        spares::clear(self.root())?;
        self.0
            .spares
            .as_ref()
            .map_or(Ok(()), |spares| spares.begin())
    }

    /// From now on new publishers find no room when less than this is free.
    pub fn keep_free(&self, bytes: u64) {
        self.0.room.set_reserve(bytes);
    }

    /// Why there is no room for another publisher, if so. Asks the disk.
    pub fn lacks_room(&self) -> Option<NoRoom> {
        self.0.room.lacks()
    }

    /// Takes the files of objects of a local store that are gone, to write new segments over them.
    /// Returns what is left to be removed.
    pub async fn let_go(&self, mut objects: Vec<String>) -> Vec<String> {
        let Some(spares) = self.0.spares.clone() else {
            return objects;
        };
        let root = self.root().to_owned();
        let kept = tokio::task::spawn_blocking(move || {
            objects.retain(|object| !spares.offer(&root.join(object)).unwrap_or(false));
            objects
        });
        // What was taken is as good as removed, what was not is found by the next look at the store.
        kept.await.unwrap_or_default()
    }

    /// Bytes of files that wait to be written over.
    pub fn spare_bytes(&self) -> u64 {
        self.0.spares.as_ref().map_or(0, |spares| spares.bytes())
    }

    /// Tells the metrics what waits for the threads, and what is in the spool.
    pub fn measure(&self) {
        let threads = self.0.threads.iter();
        let waiting: usize = threads.map(|to| to.max_capacity() - to.capacity()).sum();
        metrics::DISK_JOBS.set(waiting as f64);
        metrics::DISK_SPARE.set(self.spare_bytes() as f64);
        metrics::DISK_FREE.set(self.0.room.free().unwrap_or(0) as f64);
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
            queued: Arc::new(Semaphore::new(QUEUED_BYTES_OF_WRITER_MAX / QUEUED_UNIT)),
        }
    }
}

impl Batch {
    /// Writes `text` into the file `marker`, then begins the object; what was open before is given up.
    pub fn open(&mut self, object: String, marker: String, text: String) {
        self.jobs.push(Job::Open {
            object,
            marker,
            text,
        });
    }

    /// Appends to the open object; what is appended in a row is written at once.
    pub fn append(&mut self, bytes: Bytes) {
        self.bytes += bytes.len();
        match self.jobs.last_mut() {
            Some(Job::Append { blocks, .. }) => blocks.push(bytes),
            _ => self.jobs.push(Job::Append {
                blocks: vec![bytes],
                ends_part: false,
            }),
        }
    }

    /// What was appended so far is a part.
    pub fn end_part(&mut self) {
        match self.jobs.last_mut() {
            Some(Job::Append { ends_part, .. }) => *ends_part = true,
            _ => self.jobs.push(Job::Append {
                blocks: Vec::new(),
                ends_part: true,
            }),
        }
    }

    /// Gives the open object its name, then appends `line` to the object `index`, then calls `done`
    /// (on the writing thread: it must be quick). If the object has no name in the end, the index
    /// gets `lost` instead, and `done` the reason.
    pub fn finish(
        &mut self,
        index: String,
        line: String,
        lost: String,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) {
        self.jobs.push(Job::Finish {
            index,
            line,
            lost,
            done: Box::new(done),
        });
    }

    /// Bytes to append.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether something is to be done beside appending to a part that goes on.
    pub fn ends_something(&self) -> bool {
        let goes_on = |job: &Job| matches!(job, Job::Append { ends_part, .. } if !ends_part);
        !self.jobs.iter().all(goes_on)
    }
}

impl Writer {
    /// Hands over what is in `batch`, which is empty then. Waits while too much waits already.
    pub async fn send(&self, batch: &mut Batch) {
        if batch.jobs.is_empty() {
            return;
        }
        let units = batch.bytes.div_ceil(QUEUED_UNIT);
        let units = units.min(QUEUED_BYTES_OF_WRITER_MAX / QUEUED_UNIT);
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        // Never closed.
        let own = self.queued.clone().acquire_many_owned(units).await;
        let all = self.disk.0.queued.clone().acquire_many_owned(units).await;
        let room = own.ok().zip(all.ok());
        let Batch { jobs, .. } = std::mem::take(batch);
        self.queue(jobs, room).await;
    }

    /// Appends `line` to the object `index`, then calls `done`.
    pub async fn line(
        &self,
        index: String,
        line: String,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) {
        let done = Box::new(done);
        self.queue(vec![Job::Line { index, line, done }], None)
            .await;
    }

    /// Writes the object `index` anew as `rewrite` makes it, or leaves it, then calls `done`. A crash
    /// leaves the old one or the new one.
    pub async fn rewrite(
        &self,
        index: String,
        rewrite: fn(&[u8]) -> Option<Vec<u8>>,
        done: impl FnOnce(Result<(), WriteError>) + Send + 'static,
    ) {
        let done = Box::new(done);
        let job = Job::Rewrite {
            index,
            rewrite,
            done,
        };
        self.queue(vec![job], None).await;
    }

    /// Removes the marker, if the object `index` has all its lines.
    pub async fn unmark(&self, marker: String, index: String) {
        self.queue(vec![Job::Unmark { marker, index }], None).await;
    }

    /// Waits until everything that was asked for is done.
    pub async fn flush(&self) {
        let (done, waits) = oneshot::channel();
        self.queue(vec![Job::Flush { done }], None).await;
        // An error means that the thread is gone, and everything was done before it went.
        let _ = waits.await;
    }

    async fn queue(&self, jobs: Vec<Job>, room: Option<Places>) {
        let queued = Queued {
            writer: self.id,
            since: clock::monotonic(),
            jobs,
            room,
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
            jobs: vec![Job::Close],
            room: None,
        };
        if let Err(mpsc::error::TrySendError::Full(queued)) = self.thread.try_send(queued) {
            let thread = self.thread.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { thread.send(queued).await.ok() });
            }
        }
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
    use std::time::Duration;

    #[tokio::test]
    async fn a_segment_has_its_name_and_its_line_before_anybody_is_told() {
        let root = tempfile::tempdir().expect("a folder");
        let disk = Disk::new(
            root.path(),
            &root.path().join(".running"),
            Settings {
                threads: 2,
                fsync: Fsync::Part,
                ..Settings::default()
            },
        )
        .expect("a disk");
        let seen = Arc::new(Mutex::new(Vec::new()));
        let writer = disk.writer("a");
        for n in 0..3 {
            let object = format!("live/a/r/0000/{n}.ts");
            let mut batch = Batch::default();
            batch.open(object.clone(), "m".into(), format!("{n}\n"));
            batch.append(Bytes::from_static(b"one"));
            assert!(batch.ends_something(), "a segment begins");
            writer.send(&mut batch).await;
            batch.append(Bytes::from_static(b" "));
            assert!(!batch.ends_something());
            batch.end_part();
            assert!(batch.ends_something());
            batch.append(Bytes::from_static(b"two"));
            assert_eq!(batch.bytes(), 4);
            let path = root.path().join(&object);
            let index = root.path().join("live/a/r/index");
            let seen = seen.clone();
            let done = move |result: Result<(), WriteError>| {
                assert!(result.is_ok());
                let named = std::fs::read(&path).expect("the segment");
                let lines = std::fs::read_to_string(&index).expect("the index");
                seen.lock().expect("not poisoned").push((named, lines));
            };
            let lost = String::new();
            batch.finish("live/a/r/index".into(), format!("{n}\n"), lost, done);
            writer.send(&mut batch).await;
            assert_eq!(batch.bytes(), 0);
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
        let disk = Disk::new(
            root.path(),
            &root.path().join(".running"),
            Settings::default(),
        )
        .expect("a disk");
        std::fs::write(
            root.path().join("blocked"),
            "a file where a folder should be",
        )
        .expect("written");
        let results = Arc::new(Mutex::new(Vec::new()));
        let writer = disk.writer("a");
        for object in ["blocked/0.ts", "free/1.ts"] {
            let results = results.clone();
            let mut batch = Batch::default();
            batch.open(object.to_owned(), "m".into(), "x\n".into());
            batch.append(Bytes::from_static(b"x"));
            let done = move |result: Result<(), WriteError>| {
                results
                    .lock()
                    .expect("not poisoned")
                    .push(result.map_err(|e| e.to_string()));
            };
            batch.finish("free/index".into(), "line\n".into(), "lost\n".into(), done);
            writer.send(&mut batch).await;
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

    /// A disk that stands still stops a writer when so many bytes wait, all of them when more do, and
    /// loses none.
    #[tokio::test]
    async fn bytes_that_wait_are_bounded() {
        const MIB: usize = 1 << 20;
        let root = tempfile::tempdir().expect("a folder");
        let disk = Disk::new(
            root.path(),
            &root.path().join(".running"),
            Settings::default(),
        )
        .expect("a disk");
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let stand_still = move |_: Result<(), WriteError>| wait.recv().expect("it goes on");
        let idle = disk.writer("a");
        idle.line("index".into(), "line\n".into(), stand_still)
            .await;

        let block = Bytes::from(vec![7; MIB]);
        let (moment, long) = (Duration::from_millis(50), Duration::from_secs(20));
        let waits = async |writer: &Writer, time| {
            let mut batch = Batch::default();
            batch.append(block.clone());
            let sent = tokio::time::timeout(time, writer.send(&mut batch));
            sent.await.is_err()
        };
        let writers = QUEUED_BYTES_MAX / QUEUED_BYTES_OF_WRITER_MAX;
        let writers: Vec<_> = (0..writers).map(|_| disk.writer("a")).collect();
        for (nth, writer) in writers.iter().enumerate() {
            let mut batch = Batch::default();
            batch.open(format!("a/{nth}.ts"), format!("{nth}"), "x\n".into());
            writer.send(&mut batch).await;
            for _ in 0..QUEUED_BYTES_OF_WRITER_MAX / MIB {
                assert!(!waits(writer, long).await, "there is room for writer {nth}");
            }
            assert!(
                waits(writer, moment).await,
                "writer {nth} has had its share"
            );
        }
        assert!(waits(&idle, moment).await, "all have had theirs");
        go.send(()).expect("it stands still");
        for (nth, writer) in writers.iter().enumerate() {
            assert!(!waits(writer, long).await, "writer {nth} goes on");
            let mut batch = Batch::default();
            let done = |result: Result<(), WriteError>| assert!(result.is_ok());
            batch.finish("a/index".into(), String::new(), String::new(), done);
            writer.send(&mut batch).await;
            writer.flush().await;
            let written = std::fs::metadata(root.path().join(format!("a/{nth}.ts")));
            let written = written.expect("the segment").len();
            assert_eq!(written, (QUEUED_BYTES_OF_WRITER_MAX + MIB) as u64);
        }
    }
}
