//! What an earlier process left in the spool, and what is removed from it.

use super::super::disk::remove_empty;
use super::{Ends, Item};
use crate::key::{MediaPath, RecordingKey};
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

/// Object names of all indexes below `root`.
pub(super) fn find_indexes(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let object = path.strip_prefix(root).ok().and_then(Path::to_str);
            if object.is_some_and(|o| RecordingKey::of_journal(o).is_some()) {
                found.extend(object.map(str::to_owned));
            } else if depth < crate::id::HUB_LEVELS_MAX + 2 && path.is_dir() {
                folders.push((path, depth + 1));
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Segments of a recording that are not marked as confirmed, those that are, both in order, and the
/// bytes of all.
pub(super) fn unconfirmed(
    root: &Path,
    key: &RecordingKey,
    text: &[u8],
    ends: Ends,
) -> io::Result<(VecDeque<Item>, VecDeque<Item>, u64)> {
    let ends: HashMap<u64, u64> = ends(text).into_iter().collect();
    let (mut items, mut bytes) = (Vec::new(), 0);
    for object in list_segments(root, key)? {
        let meta = fs::metadata(root.join(&object))?;
        bytes += meta.len();
        let Some(MediaPath::Segment(_, number, _)) = MediaPath::parse(&object) else {
            continue;
        };
        let item = Item {
            object,
            size: meta.len(),
            index_len: ends.get(&number).copied().unwrap_or(0),
            since_ms: modified_ms(&meta),
        };
        items.push((number, meta.permissions().readonly(), item));
    }
    items.sort_unstable_by_key(|(number, ..)| *number);
    let (confirmed, waiting): (Vec<_>, Vec<_>) = items.into_iter().partition(|item| item.1);
    let items = |of: Vec<(u64, bool, Item)>| of.into_iter().map(|(.., item)| item).collect();
    Ok((items(waiting), items(confirmed), bytes))
}

fn modified_ms(meta: &fs::Metadata) -> i64 {
    let since = meta.modified().ok();
    let since = since.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

/// Length of the index before the line of `first`, which is not confirmed.
pub(super) fn end_before(ends: &[(u64, u64)], first: &Item) -> u64 {
    let before = ends.iter().take_while(|(_, end)| *end != first.index_len);
    before.last().map_or(0, |(_, end)| *end)
}

/// Object names of a recording's segments.
fn list_segments(root: &Path, key: &RecordingKey) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for folder in fs::read_dir(root.join(key.folder()))? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let object = path.strip_prefix(root).ok().and_then(Path::to_str);
            found.extend(object.filter(|o| o.ends_with(".ts")).map(str::to_owned));
        }
    }
    Ok(found)
}

/// Removes the segments of a recording from the spool; returns their bytes.
pub(super) fn remove_segments(root: &Path, key: &RecordingKey) -> io::Result<u64> {
    let mut bytes = 0;
    for object in list_segments(root, key)? {
        let path = root.join(object);
        bytes += fs::metadata(&path)?.len();
        fs::remove_file(&path)?;
    }
    Ok(bytes)
}

/// Removes what is left of a recording without segments.
pub(super) fn remove_index(root: &Path, key: &RecordingKey) -> io::Result<()> {
    let folder = root.join(key.folder());
    fs::remove_dir_all(&folder)?;
    remove_empty(root, folder.parent());
    Ok(())
}
