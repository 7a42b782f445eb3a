//! Files of expired segments that wait to be written over.
//!
//! A new file costs the kernel an inode, blocks and fresh pages, and a removed one costs giving them
//! back; a file that is written over has them all. It is reused only if nobody else has it: no other
//! name, and no other descriptor of this process or of any other, so whoever still reads an expired
//! segment reads it to its end.

use super::room::Room;
use super::{Fsync, Recycle};
use crate::clock;
use crate::metrics;
use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Their folder. No hub has such a name.
const FOLDER: &str = ".spare";
/// Bytes that they hold at most: some seconds of a busy server.
const BYTES_MAX: u64 = 512 << 20;
/// Of what is free on the disk they hold at most this share.
const FREE_SHARE: u64 = 8;
/// So long a file rests: somebody may have found its old name and not have opened it yet.
const REST: Duration = Duration::from_secs(1);
/// What systems tell apart their starts by (random(4)).
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How a marker says that its open file has older bytes behind the new ones.
const NOTE: &[u8] = b"over ";

/// The files, oldest first.
pub(in crate::store) struct Spares {
    folder: PathBuf,
    room: Arc<Room>,
    boot: String,
    next: AtomicU64,
    begun: AtomicBool,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    files: VecDeque<Resting>,
    bytes: u64,
}

struct Resting {
    path: PathBuf,
    len: u64,
    since: Instant,
}

/// A file that nobody else has.
pub(super) struct Spare {
    pub(super) file: File,
    pub(super) path: PathBuf,
}

impl Spares {
    /// Spares below `root`, if they are wanted and a power cut cannot bring back what they held.
    pub(super) fn new(
        root: &Path,
        room: Arc<Room>,
        fsync: Fsync,
        recycle: Recycle,
    ) -> Option<Self> {
        if !allows(root, fsync, recycle) {
            return None;
        }
        let boot = fs::read_to_string(BOOT_ID).ok()?;
        Some(Self {
            folder: root.join(FOLDER),
            room,
            boot: boot.trim().to_owned(),
            next: AtomicU64::new(0),
            begun: AtomicBool::new(false),
            held: Mutex::default(),
        })
    }

    /// From now on files are taken.
    pub(super) fn begin(&self) -> io::Result<()> {
        fs::create_dir(&self.folder)?;
        self.begun.store(true, Ordering::Release);
        Ok(())
    }

    /// Takes the file of an object that is gone; false if it is to be removed.
    pub(in crate::store) fn offer(&self, path: &Path) -> io::Result<bool> {
        if !self.begun.load(Ordering::Acquire) {
            return Ok(false);
        }
        let meta = fs::symlink_metadata(path)?;
        let len = meta.len();
        let most = BYTES_MAX.min(self.room.free()? / FREE_SHARE);
        // Until it is among them: several offer at a time.
        let mut held = self.held();
        if !meta.is_file() || meta.nlink() != 1 || held.bytes + len > most {
            return Ok(false);
        }
        if meta.permissions().readonly() {
            // In the spool that meant that it was confirmed.
            fs::set_permissions(path, fs::Permissions::from_mode(meta.mode() | 0o200))?;
        }
        let nth = self.next.fetch_add(1, Ordering::Relaxed);
        let spare = self.folder.join(nth.to_string());
        fs::rename(path, &spare)?;
        held.bytes += len;
        held.files.push_back(Resting {
            path: spare,
            len,
            since: clock::monotonic(),
        });
        Ok(true)
    }

    /// A file that can be written over, if there is one.
    pub(super) fn take(&self) -> Option<Spare> {
        loop {
            let path = self.rested()?;
            match open_alone(&path) {
                Ok(Some(file)) => {
                    metrics::RECYCLED.add(1);
                    return Some(Spare { file, path });
                }
                // Whoever has it open keeps it without a name.
                Ok(None) | Err(_) => drop(fs::remove_file(&path)),
            }
        }
    }

    fn rested(&self) -> Option<PathBuf> {
        let now = clock::monotonic();
        let mut held = self.held();
        let rests = |file: &&Resting| now.saturating_duration_since(file.since) >= REST;
        held.files.front().filter(rests)?;
        let file = held.files.pop_front()?;
        held.bytes -= file.len;
        Some(file.path)
    }

    /// Bytes that they hold.
    pub(super) fn bytes(&self) -> u64 {
        self.held().bytes
    }

    /// What the marker says while a segment is written over a spare.
    pub(super) fn note(&self) -> Vec<u8> {
        [NOTE, self.boot.as_bytes(), b"\n"].concat()
    }

    /// As if all had rested.
    #[cfg(test)]
    pub(super) fn let_rest(&self) {
        for file in &mut self.held().files {
            file.since -= REST;
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Spares {
    fn drop(&mut self) {
        if *self.begun.get_mut() {
            // They are removed at the next start otherwise.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Removes what an earlier process has left below `root`.
pub(super) fn clear(root: &Path) -> io::Result<()> {
    match fs::remove_dir_all(root.join(FOLDER)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether the system has started anew since a marker was written whose open file was one that is
/// written over. Of such a file nobody can tell which of its pages had reached the disk.
pub(crate) fn is_doubtful(marker: &[u8]) -> bool {
    let mut lines = marker.split(|byte| *byte == b'\n');
    let noted = lines.find_map(|line| line.strip_prefix(NOTE));
    noted.is_some_and(|boot| fs::read(BOOT_ID).map_or(true, |now| now.trim_ascii() != boot))
}

/// A segment must not come back from a power cut with an older one's bytes in it: either it is on the
/// disk before it has its name, or nothing comes back at all.
fn allows(root: &Path, fsync: Fsync, recycle: Recycle) -> bool {
    match (recycle, fsync) {
        // A part that is safe ends in the middle of a file.
        (Recycle::Never, _) | (_, Fsync::Part) => false,
        (Recycle::Always, _) | (Recycle::Durable, Fsync::Segment) => true,
        (Recycle::Durable, Fsync::None) => is_volatile(root),
    }
}

/// Whether a folder is in memory (statfs(2), `f_type`).
fn is_volatile(root: &Path) -> bool {
    const TMPFS: i64 = 0x0102_1994;
    const RAMFS: i64 = 0x8584_58f6;
    let found = rustix::fs::statfs(root).map(|found| found.f_type);
    found.is_ok_and(|kind| [TMPFS, RAMFS].contains(&kind))
}

/// Opens a file for writing if no other descriptor and no other name of it is left.
fn open_alone(path: &Path) -> io::Result<Option<File>> {
    let file = OpenOptions::new().write(true).open(path)?;
    let alone = file.metadata()?.nlink() == 1 && lease(&file, libc::F_WRLCK).is_ok();
    if alone {
        lease(&file, libc::F_UNLCK)?;
    }
    Ok(alone.then_some(file))
}

/// Takes or gives back a lease: a write lease is granted only to who alone has a file open
/// (fcntl(2), `F_SETLEASE`). No crate in use has a safe face for it. What it buys is the whole of this
/// module: a file that somebody reads must not be written over.
fn lease(file: &File, kind: libc::c_int) -> io::Result<()> {
    #[expect(
        unsafe_code,
        reason = "fcntl with two integers, on a descriptor that is open"
    )]
    let result = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, kind) };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::disk::{self, Disk};

    fn spares(root: &Path) -> Spares {
        let room = Arc::new(Room::new(root));
        let spares = Spares::new(root, room, Fsync::None, Recycle::Always);
        let spares = spares.expect("they are allowed");
        spares.begin().expect("a folder");
        spares
    }

    fn segment(root: &Path, name: &str) -> PathBuf {
        let path = root.join(name);
        fs::write(&path, [0x47; 1000]).expect("there is room");
        path
    }

    /// As if it had rested.
    fn take(spares: &Spares) -> Option<Spare> {
        spares.let_rest();
        spares.take()
    }

    #[test]
    fn a_file_is_reused_when_nobody_else_has_it() {
        let root = tempfile::tempdir().expect("a folder");
        let spares = spares(root.path());
        let path = segment(root.path(), "0.ts");
        assert!(spares.offer(&path).expect("it is there"));
        assert!(!path.exists());
        assert_eq!(spares.bytes(), 1000);
        assert!(spares.take().is_none(), "it rests");
        let spare = take(&spares).expect("one");
        assert_eq!(spare.file.metadata().expect("open").len(), 1000);
        assert_eq!(spares.bytes(), 0);
        assert!(take(&spares).is_none());
    }

    #[test]
    fn what_somebody_reads_is_left_to_him() {
        let root = tempfile::tempdir().expect("a folder");
        let spares = spares(root.path());
        let path = segment(root.path(), "0.ts");
        let reader = File::open(&path).expect("it is there");
        assert!(spares.offer(&path).expect("it is there"));
        assert!(take(&spares).is_none(), "it is read");
        assert_eq!(reader.metadata().expect("open").nlink(), 0);
        assert_eq!(io::read_to_string(reader).expect("text").len(), 1000);
        // Another name, which a backup may have made, before and after.
        let path = segment(root.path(), "1.ts");
        fs::hard_link(&path, root.path().join("backup")).expect("a link");
        assert!(!spares.offer(&path).expect("it is there"));
        let path = segment(root.path(), "2.ts");
        assert!(spares.offer(&path).expect("it is there"));
        let held = spares.held().files[0].path.clone();
        fs::hard_link(held, root.path().join("later")).expect("a link");
        assert!(take(&spares).is_none());
        assert!(root.path().join("later").exists());
        // One that was confirmed can be written again.
        let path = segment(root.path(), "3.ts");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).expect("ours");
        assert!(spares.offer(&path).expect("it is there"));
        let spare = take(&spares).expect("one");
        let mode = spare.file.metadata().expect("open").mode();
        assert_eq!(mode & 0o777, 0o644);
    }

    #[test]
    fn only_what_a_power_cut_cannot_bring_back_is_written_over() {
        let disk = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a folder");
        let memory = tempfile::tempdir_in("/dev/shm").expect("a folder");
        let allowed =
            |fsync, recycle| [&disk, &memory].map(|root| allows(root.path(), fsync, recycle));
        let durable = Recycle::Durable;
        assert_eq!(allowed(Fsync::None, durable), [false, true]);
        assert_eq!(allowed(Fsync::Segment, durable), [true, true]);
        assert_eq!(allowed(Fsync::Part, Recycle::Always), [false, false]);
        assert_eq!(allowed(Fsync::None, Recycle::Always), [true, true]);
        assert_eq!(allowed(Fsync::Segment, Recycle::Never), [false, false]);
    }

    #[test]
    fn a_marker_of_another_start_of_the_system_is_doubtful() {
        let root = tempfile::tempdir().expect("a folder");
        let spares = spares(root.path());
        let marker = |note: &[u8]| [b"{}\n", note, b"    "].concat();
        assert!(!is_doubtful(&marker(&spares.note())));
        assert!(!is_doubtful(&marker(b"")));
        assert!(is_doubtful(&marker(b"over another-boot\n")));
    }

    #[test]
    fn the_files_of_an_earlier_process_are_removed_by_the_next_server_alone() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = root.path().join(FOLDER);
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("0"), b"x").expect("there is room");
        let settings = disk::Settings {
            recycle: Recycle::Always,
            ..disk::Settings::default()
        };
        let open = || Disk::new(root.path(), &root.path().join(".running"), settings);
        drop(open().expect("a disk")); // a command beside the server
        assert!(folder.join("0").exists());
        let disk = open().expect("a disk");
        disk.begin_recycling().expect("a folder");
        assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0);
    }
}
