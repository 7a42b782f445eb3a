//! Files and folders that a power cut does not unmake, where that is wanted.

use super::Fsync;
use bytes::Bytes;
use smallvec::SmallVec;
use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Write};
use std::path::Path;

/// Opens an index for appending; makes it if it is not there.
pub(super) fn open_index(root: &Path, path: &Path, fsync: Fsync) -> io::Result<File> {
    match OpenOptions::new().append(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let folder = path.parent().unwrap_or(root);
            make_folder(root, folder, fsync)?;
            let file = OpenOptions::new().create(true).append(true).open(path)?;
            if fsync != Fsync::None {
                sync_folder(folder)?;
            }
            Ok(file)
        }
        opened => opened,
    }
}

/// Opens a marker below `root`; what it says stays until it is written over.
pub(super) fn create_marker(root: &Path, path: &Path, fsync: Fsync) -> io::Result<File> {
    let folder = path.parent().unwrap_or(root);
    make_folder(root, folder, fsync)?;
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    if fsync != Fsync::None {
        sync_folder(folder)?;
    }
    Ok(file)
}

/// Appends all of `text` or nothing; returns the new length.
pub(super) fn append(file: &mut File, text: &str, fsync: Fsync) -> io::Result<u64> {
    let before = file.metadata()?.len();
    let written = file.write_all(text.as_bytes());
    if written.is_err() {
        file.set_len(before)?;
    } else if fsync != Fsync::None {
        file.sync_data()?;
    }
    written.map(|()| before + text.len() as u64)
}

/// Replaces a file by what `make` makes of it, if anything.
pub(super) fn replace(
    path: &Path,
    make: impl FnOnce(&[u8]) -> Option<Vec<u8>>,
    fsync: Fsync,
) -> io::Result<()> {
    let Some(text) = make(&std::fs::read(path)?) else {
        return Ok(());
    };
    // Ends like a segment without its name: what looks for those finds this too.
    let new = path.with_extension("jsonl.part");
    let write = || -> io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(&text)?;
        if fsync != Fsync::None {
            file.sync_data()?;
        }
        std::fs::rename(&new, path)
    };
    let written = write();
    if written.is_err() {
        let _ = std::fs::remove_file(&new);
    } else if let (true, Some(folder)) = (fsync != Fsync::None, path.parent()) {
        sync_folder(folder)?;
    }
    written
}

/// Writes all blocks, in one system call if the file takes them.
pub(crate) fn write_blocks(file: &mut File, blocks: &[Bytes]) -> io::Result<()> {
    let mut slices: SmallVec<[IoSlice<'_>; 16]> =
        blocks.iter().map(|block| IoSlice::new(block)).collect();
    write_slices(&mut slices, |slices| file.write_vectored(slices))
}

/// Writes all slices, as `write` takes them.
pub(super) fn write_slices(
    mut rest: &mut [IoSlice<'_>],
    mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    // Empty ones at the front would look like a file that takes nothing.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match write(rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut rest, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Makes `folder` below `root`; with `fsync`, so that a power cut does not unmake it.
pub(super) fn make_folder(root: &Path, folder: &Path, fsync: Fsync) -> io::Result<()> {
    // Retention may take a folder above it away in the moment in which it is empty.
    let made = std::fs::create_dir_all(folder);
    made.or_else(|_| std::fs::create_dir_all(folder))?;
    if fsync != Fsync::None {
        for made in folder.ancestors().take_while(|f| f.starts_with(root)) {
            sync_folder(made)?;
        }
    }
    Ok(())
}

/// Forces the names in a folder to the disk.
pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Removes `folder` and the folders above it as long as they are empty, up to `root`.
pub(crate) fn remove_empty(root: &Path, folder: Option<&Path>) {
    let folders = folder.into_iter().flat_map(Path::ancestors);
    for folder in folders.take_while(|f| *f != root && f.starts_with(root)) {
        // It is not empty, or somebody else was faster.
        if std::fs::remove_dir(folder).is_err() {
            return;
        }
    }
}
