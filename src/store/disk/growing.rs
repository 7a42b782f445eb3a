//! A file that a segment is written into: a new one, or one that is written over.
//!
//! Behind the new bytes of one that is written over there are older ones, which look just like them.
//! A [`STOP`] stands between: where the next packet will begin. The bytes of a write go behind it
//! first, with a stop of their own, then the first of them takes its place. Wherever a kill falls, the
//! file reads as what was written before, or as that and all of the write.

use super::files::{write_blocks, write_slices};
use super::spares::Spare;
use bytes::Bytes;
use smallvec::SmallVec;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// No packet of a transport stream begins with it: it is the sync byte, inverted (ISO 13818-1 §2.4.3.2).
const STOP: u8 = !0x47;

/// The file.
pub(super) enum Growing {
    New(File),
    Over {
        file: File,
        /// Bytes of the new segment.
        written: u64,
    },
}

impl Growing {
    /// Begins a new file.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        File::create(path).map(Self::New)
    }

    /// Begins to write over a spare, which becomes `path`.
    pub(super) fn over(spare: Spare, path: &Path) -> io::Result<Self> {
        let Spare { file, path: old } = spare;
        let begun = file.write_all_at(&[STOP], 0);
        let begun = begun.and_then(|()| std::fs::rename(&old, path));
        if let Err(error) = begun {
            let _ = std::fs::remove_file(&old);
            return Err(error);
        }
        Ok(Self::Over { file, written: 0 })
    }

    /// Writes whole packets behind what is there.
    pub(super) fn write(&mut self, blocks: &[Bytes]) -> io::Result<()> {
        match self {
            Self::New(file) => write_blocks(file, blocks),
            Self::Over { file, written } => write_over(file, written, blocks),
        }
    }

    /// Nothing follows.
    pub(super) fn end(&self) -> io::Result<()> {
        match self {
            Self::New(_) => Ok(()),
            Self::Over { file, written } => file.set_len(*written),
        }
    }

    /// Forces it to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        let (Self::New(file) | Self::Over { file, .. }) = self;
        file.sync_data()
    }
}

fn write_over(file: &File, written: &mut u64, blocks: &[Bytes]) -> io::Result<()> {
    let Some(first) = blocks.iter().find_map(|block| block.first()) else {
        return Ok(());
    };
    let stop = [STOP];
    let mut slices: SmallVec<[IoSlice<'_>; 16]> =
        blocks.iter().map(|block| IoSlice::new(block)).collect();
    slices.push(IoSlice::new(&stop));
    let len: usize = blocks.iter().map(Bytes::len).sum();
    let mut rest = slices.as_mut_slice();
    IoSlice::advance_slices(&mut rest, 1);
    let mut at = *written + 1;
    write_slices(rest, |slices| {
        let wrote = rustix::io::pwritev(file, slices, at)?;
        at += wrote as u64;
        Ok(wrote)
    })?;
    file.write_all_at(&[*first], *written)?;
    *written += len as u64;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Recycle;
    use super::super::room::Room;
    use super::super::spares::Spares;
    use super::*;
    use crate::store::disk::Fsync;
    use std::sync::Arc;

    const PACKET: usize = 188;

    /// So many packets whose bytes are `fill` behind the sync byte.
    fn packets(count: usize, fill: u8) -> Bytes {
        let mut packet = [fill; PACKET];
        packet[0] = 0x47;
        packet.repeat(count).into()
    }

    /// What a reader takes for media.
    fn readable(bytes: &[u8]) -> &[u8] {
        let mut packets = bytes.chunks(PACKET);
        let whole = packets.position(|packet| packet[0] != 0x47);
        &bytes[..whole.map_or(bytes.len(), |whole| whole * PACKET)]
    }

    #[test]
    fn older_bytes_never_follow_new_ones() {
        let root = tempfile::tempdir().expect("a folder");
        let spares = Spares::new(
            root.path(),
            Arc::new(Room::new(root.path())),
            Fsync::None,
            Recycle::Always,
        );
        let spares = spares.expect("they are allowed");
        spares.begin().expect("a folder");
        for (old, blocks) in [(100, [3, 5, 2]), (4, [3, 5, 2]), (10, [3, 5, 2])] {
            let path = root.path().join("0.ts");
            std::fs::write(&path, packets(old, 0)).expect("there is room");
            assert!(spares.offer(&path).expect("it is there"));
            spares.let_rest();
            let spare = spares.take().expect("one");
            let mut growing = Growing::over(spare, &path).expect("there is room");
            let read = || std::fs::read(&path).expect("it is there");
            assert_eq!(readable(&read()), b"");
            let mut expected = Vec::new();
            for (nth, count) in blocks.into_iter().enumerate() {
                let (one, two) = (packets(count, nth as u8 + 1), packets(1, 77));
                let empty = Bytes::new();
                growing
                    .write(&[empty.clone(), one.clone(), empty, two.clone()])
                    .expect("there is room");
                growing.write(&[]).expect("nothing to do");
                expected.extend_from_slice(&one);
                expected.extend_from_slice(&two);
                assert_eq!(readable(&read()), expected);
            }
            growing.end().expect("it is cut");
            assert_eq!(read(), expected);
        }
    }

    /// The kernel may stop a write after any of its bytes.
    #[test]
    fn a_write_that_a_kill_cuts_short_leaves_no_trace() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("0.ts");
        let written = packets(2, 1);
        let write = packets(3, 2);
        for cut in 0..=write.len() {
            let mut bytes = packets(9, 0).to_vec();
            bytes[..written.len()].copy_from_slice(&written);
            bytes[written.len()] = STOP;
            let behind = [&write[1..], &[STOP]].concat();
            bytes[written.len() + 1..][..cut].copy_from_slice(&behind[..cut]);
            assert_eq!(readable(&bytes), written, "{cut}");
        }
        std::fs::write(&path, packets(9, 0)).expect("there is room");
        let file = File::options().write(true).open(&path).expect("there");
        let mut at = 0;
        write_over(&file, &mut at, std::slice::from_ref(&written)).expect("there is room");
        write_over(&file, &mut at, std::slice::from_ref(&write)).expect("there is room");
        let expected = [written, write].concat();
        let read = std::fs::read(&path).expect("there");
        assert_eq!(readable(&read), expected);
    }
}
