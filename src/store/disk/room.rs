//! Whether there is room on the disk for one publisher more, and whether it can be written at all.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What is written to find out whether anything can be.
const TRIAL: &[u8] = &[0; 4096];

/// Why there is no room for another publisher.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoRoom {
    /// Running pushes may need what is left.
    #[error(
        "the server's disk is nearly full: {} MiB are free, and {} MiB are kept for what runs; try again later",
        .free >> 20, .reserve >> 20
    )]
    Low {
        /// Bytes that are free.
        free: u64,
        /// Bytes that should be.
        reserve: u64,
    },
    /// The last write failed, and so does a trial.
    #[error("the server's disk cannot be written at the moment; try again later")]
    Unwritable,
}

/// What is known of the disk.
pub(super) struct Room {
    root: PathBuf,
    reserve: AtomicU64,
    /// The last segment could not be written.
    failing: AtomicBool,
}

impl Room {
    pub(super) fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            reserve: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }
    }

    pub(super) fn set_reserve(&self, bytes: u64) {
        self.reserve.store(bytes, Ordering::Relaxed);
    }

    /// A segment was written, or was not.
    pub(super) fn wrote(&self, well: bool) {
        self.failing.store(!well, Ordering::Relaxed);
    }

    /// Why there is no room, if so. Asks the disk: it takes a moment, and longer if it fails.
    pub(super) fn lacks(&self) -> Option<NoRoom> {
        let reserve = self.reserve.load(Ordering::Relaxed);
        // A disk that does not say what is free will say when it is full.
        let free = self.free().unwrap_or(u64::MAX);
        if free < reserve {
            return Some(NoRoom::Low { free, reserve });
        }
        if !self.failing.load(Ordering::Relaxed) {
            return None;
        }
        // Nobody may be publishing who would find out that it is over.
        match self.try_to_write() {
            Ok(()) => {
                self.wrote(true);
                None
            }
            Err(_) => Some(NoRoom::Unwritable),
        }
    }

    /// Bytes that are free for this process.
    pub(super) fn free(&self) -> io::Result<u64> {
        let found = rustix::fs::statvfs(&self.root)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }

    fn try_to_write(&self) -> io::Result<()> {
        let path = self.root.join(".trial");
        let written = fs::write(&path, TRIAL);
        written.and(fs::remove_file(&path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_lacks_room_below_its_reserve_and_while_it_cannot_be_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let room = Room::new(folder.path());
        assert_eq!(room.lacks(), None);
        let free = room.free().expect("a disk");
        assert!(free > 0);
        room.set_reserve(u64::MAX);
        let lacks = room.lacks().expect("nobody has so much");
        assert!(matches!(
            lacks,
            NoRoom::Low {
                reserve: u64::MAX,
                ..
            }
        ));
        room.set_reserve(0);
        room.wrote(false);
        assert_eq!(room.lacks(), None, "it can be written again");
        let gone = folder.path().join("gone");
        let room = Room::new(&gone);
        room.wrote(false);
        assert_eq!(room.lacks(), Some(NoRoom::Unwritable));
        fs::create_dir(&gone).expect("made");
        assert_eq!(room.lacks(), None);
        assert_eq!(fs::read_dir(&gone).expect("a folder").count(), 0);
    }
}
