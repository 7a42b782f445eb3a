//! Finishes what a killed server was writing, before the new one takes its first publisher.
//!
//! Reads only the markers of recordings that were not over and their indexes, so a start takes no
//! longer for a large store. A segment that was cut off ends at its last whole frame and gets its
//! name and its line; its push is closed as interrupted; a recording whose publisher may still come
//! back waits for it, and any other is ended. Killed in the middle of this, the next start does the
//! rest: every step is done once or again.

use crate::control::journal::{Index, Line, Marker, SegmentLine};
use crate::key::{Container, RecordingKey};
use crate::media::{Duration, Segment, WallTime};
use crate::mux::ts::{Salvaged, salvage};
use crate::segment::Policy;
use crate::store::disk::{self, Disk};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Levels of folders between the markers' root and a marker: those of a hub, and the channel.
const MARKER_DEPTH: usize = crate::id::HUB_LEVELS_MAX + 1;
/// Newest segments of an index whose files are compared with it: a power cut loses the newest.
const COMPARED: usize = 32;
/// Numbers between the end of an index and the segment that was open: a full disk leaves a hole.
const HOLE_MAX: u64 = 100_000;
/// How long a frame is taken to last where only the target duration depends on it.
const FRAME: Duration = Duration::from_ms(40);

/// What the configuration says.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Lengths of segments.
    pub policy: Policy,
    /// Whether segments stay where they were written; otherwise they leave when they are uploaded.
    pub keeps_segments: bool,
}

/// A recording whose publisher may come back.
#[derive(Clone, PartialEq, Debug)]
pub struct Waiting {
    /// Its name.
    pub key: RecordingKey,
    /// All of it.
    pub index: Index,
    /// How long its publisher may still take.
    pub left: std::time::Duration,
}

/// What was found and done.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Recovered {
    /// Recordings that wait for their publishers.
    pub waiting: Vec<Waiting>,
    /// Recordings that were ended.
    pub ended: usize,
    /// Segments that were cut off and have their names now.
    pub salvaged: usize,
    /// Segments that are gaps now.
    pub lost: usize,
}

/// The recordings that have a marker: they were not over when the server was killed.
pub fn cut_off(disk: &Disk) -> io::Result<Vec<RecordingKey>> {
    let mut keys = Vec::new();
    for path in markers(disk.markers())? {
        let name = path.strip_prefix(disk.markers()).ok();
        let name = name.and_then(Path::to_str);
        match name.and_then(RecordingKey::of_marker) {
            Some(key) => keys.push(key),
            None => {
                tracing::warn!(path = %path.display(), "not a marker; it is left alone");
            }
        }
    }
    Ok(keys)
}

/// Finishes recordings that were cut off, each with how long its ended push may be taken up again.
/// One that cannot be finished keeps its marker and is left alone until the next start.
pub fn recover(
    disk: &Disk,
    settings: Settings,
    cut_off: &[(RecordingKey, std::time::Duration)],
    now: WallTime,
) -> Recovered {
    let mut recovered = Recovered::default();
    for (key, reconnect_window) in cut_off {
        let recovery = Recovery::new(disk, settings, key.clone(), *reconnect_window);
        match recovery.and_then(|recovery| recovery.run(now, &mut recovered)) {
            Ok(()) => {}
            Err(error) => {
                tracing::error!(recording = %key, %error, "what a crash left cannot be finished; its marker stays")
            }
        }
    }
    recovered
}

/// For how many milliseconds nothing of a recording was written, by its marker, its index and the
/// segment that was open.
pub fn idle_ms(disk: &Disk, key: &RecordingKey, now: WallTime) -> u128 {
    let marker = disk.markers().join(key.marker());
    let open = fs::read(&marker).ok().and_then(|text| Marker::parse(&text));
    let open = open.map(|marker| key.segment(marker.open.number, Container::Ts));
    let mut files = vec![marker, disk.root().join(key.journal())];
    files.extend(
        open.iter()
            .map(|object| disk.root().join(format!("{object}.part"))),
    );
    let newest = files.iter().filter_map(|path| modified(path).ok()).max();
    let since = now.unix_ms().saturating_sub(newest.map_or(0, unix_ms));
    since.max(0).unsigned_abs().into()
}

fn markers(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![(root.to_owned(), 0)];
    while let Some((folder, depth)) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() && depth < MARKER_DEPTH => {
                    folders.push((entry.path(), depth + 1));
                }
                kind if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// One recording that is being finished.
struct Recovery<'a> {
    disk: &'a Disk,
    settings: Settings,
    key: RecordingKey,
    reconnect_window: std::time::Duration,
    marker: Option<Marker>,
    /// What has no name yet may have the bytes of an older segment in it.
    doubtful: bool,
    index: Index,
    /// When something of it was written last.
    touched: SystemTime,
}

impl<'a> Recovery<'a> {
    fn new(
        disk: &'a Disk,
        settings: Settings,
        key: RecordingKey,
        reconnect_window: std::time::Duration,
    ) -> io::Result<Self> {
        let marker = fs::read(disk.markers().join(key.marker()))?;
        let doubtful = disk::is_doubtful(&marker);
        let marker = Marker::parse(&marker);
        let path = disk.root().join(key.journal());
        let mut touched = UNIX_EPOCH;
        let index = match fs::read(&path) {
            Ok(text) => {
                touched = modified(&path)?;
                let whole = text.iter().rposition(|byte| *byte == b'\n');
                let whole = whole.map_or(0, |end| end + 1);
                if whole < text.len() {
                    let file = fs::OpenOptions::new().write(true).open(&path)?;
                    file.set_len(whole as u64)?;
                }
                Index::parse(text.get(..whole).unwrap_or_default())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Index::default(),
            Err(error) => return Err(error),
        };
        Ok(Self {
            disk,
            settings,
            key,
            reconnect_window,
            marker,
            doubtful,
            index,
            touched,
        })
    }

    fn run(mut self, now: WallTime, recovered: &mut Recovered) -> io::Result<()> {
        if !self.index.ended {
            self.compare(recovered)?;
            self.finish_segments(recovered)?;
        }
        if self.index.segments.is_empty() {
            // Nothing was ever listed, and there is nothing that could be.
            return self.unmark();
        }
        let ended_ms = unix_ms(self.touched);
        if self.index.pushing {
            let counted = self.marker.as_ref().map(|marker| marker.counted);
            self.append(&Line::Interrupted { ended_ms, counted }.to_text())?;
        }
        let silent_ms = now.unix_ms().saturating_sub(ended_ms).max(0);
        let silent = std::time::Duration::from_millis(silent_ms.unsigned_abs());
        let left = self.reconnect_window.checked_sub(silent);
        match left.filter(|_| !self.index.ended) {
            Some(left) => {
                let (key, index) = (self.key, self.index);
                tracing::info!(recording = %key, segments = index.segments.len(), left_s = left.as_secs(), "a recording that was cut off waits for its publisher");
                recovered.waiting.push(Waiting { key, index, left });
            }
            None => {
                if !self.index.ended {
                    self.append(&Line::End { ended_ms }.to_text())?;
                    tracing::info!(recording = %self.key, segments = self.index.segments.len(), "a recording that was cut off is ended");
                }
                recovered.ended += 1;
                self.unmark()?;
            }
        }
        Ok(())
    }

    /// After a power cut the newest lines may speak of bytes that never reached the disk.
    fn compare(&mut self, recovered: &mut Recovered) -> io::Result<()> {
        let newest = self.index.segments.iter().rev().take(COMPARED);
        let mut lost = Vec::new();
        for segment in newest.filter(|segment| !segment.gap) {
            let (named, part) = self.paths(segment.number);
            let size = size_of(&named)?;
            if size == Some(segment.size) || (size.is_none() && !self.settings.keeps_segments) {
                continue;
            }
            if size.is_none() && size_of(&part)? == Some(segment.size) {
                fs::rename(&part, &named)?;
                continue;
            }
            lost.push(segment.number);
        }
        for number in lost {
            tracing::error!(recording = %self.key, number, "a segment is not what its index says; it is a gap now");
            self.append(&Line::Lost { number }.to_text())?;
            recovered.lost += 1;
        }
        Ok(())
    }

    /// Gives names and lines to what was written after the last line of the index.
    fn finish_segments(&mut self, recovered: &mut Recovered) -> io::Result<()> {
        let Some(Marker { open, lines, .. }) = self.marker.clone() else {
            return Ok(());
        };
        let next = self.index.segments.last().map_or(0, |last| last.number + 1);
        if open.number < next {
            return Ok(());
        }
        let mut lines = Some(lines);
        for number in (next..open.number).take(HOLE_MAX as usize) {
            let between = self.between(number, &open);
            self.finish_segment(between, &mut lines, true, recovered)?;
        }
        self.finish_segment(open, &mut lines, false, recovered)
    }

    /// What is known of a segment between the end of the index and the one that was open.
    fn between(&self, number: u64, open: &SegmentLine) -> SegmentLine {
        let last = self.index.segments.last();
        let date = last.map_or(open.date_ms, |last| {
            (last.program_date_time + last.duration).unix_ms()
        });
        SegmentLine {
            number,
            date_ms: date.min(open.date_ms),
            start: last.map_or(open.start, |last| (last.start + last.duration).ticks()),
            ..open.clone()
        }
    }

    fn finish_segment(
        &mut self,
        line: SegmentLine,
        lines: &mut Option<String>,
        was_listed: bool,
        recovered: &mut Recovered,
    ) -> io::Result<()> {
        let mut segment = Segment::from(&line);
        match self.salvage(segment.number)? {
            Some(found) => {
                segment.duration = found.duration;
                segment.size = found.len as u64;
                recovered.salvaged += 1;
                tracing::info!(
                    recording = %self.key, number = segment.number, pictures = found.pictures,
                    seconds = found.duration.as_secs_f64(), bytes = found.len, "a segment that was cut off has its name"
                );
            }
            None if was_listed => {
                segment.gap = true;
                segment.duration =
                    Duration::from_secs(i64::from(self.index.target_duration_s.max(1)));
                recovered.lost += 1;
                tracing::error!(recording = %self.key, number = segment.number, "a segment is lost; it is a gap now");
            }
            // Nobody ever heard of this number.
            None => return Ok(()),
        }
        let target_duration_s = match self.index.target_duration_s {
            0 => self.settings.policy.promise(segment.duration, FRAME),
            seconds => seconds,
        };
        let text = lines.take().unwrap_or_default()
            + &Line::segment(&segment, target_duration_s).to_text();
        self.append(&text)
    }

    /// Cuts a segment's file to what is whole and names it.
    fn salvage(&mut self, number: u64) -> io::Result<Option<Salvaged>> {
        let (named, part) = self.paths(number);
        for path in [&named, &part] {
            let bytes = match fs::read(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                read => read?,
            };
            self.touched = self.touched.max(modified(path)?);
            let is_whole = path == &named || !self.doubtful;
            let found = salvage(&bytes).filter(|_| is_whole);
            let Some(found) = found else {
                fs::remove_file(path)?;
                continue;
            };
            let file = fs::OpenOptions::new().write(true).open(path)?;
            if found.len < bytes.len() {
                file.set_len(found.len as u64)?;
            }
            file.sync_data()?;
            fs::rename(path, &named)?;
            return Ok(Some(found));
        }
        Ok(None)
    }

    /// A segment's file with its name and without.
    fn paths(&self, number: u64) -> (PathBuf, PathBuf) {
        let object = self.key.segment(number, Container::Ts);
        let root = self.disk.root();
        (root.join(&object), root.join(format!("{object}.part")))
    }

    fn append(&mut self, text: &str) -> io::Result<()> {
        self.disk.append_now(&self.key.journal(), text)?;
        self.index.extend(text.as_bytes());
        Ok(())
    }

    fn unmark(&self) -> io::Result<()> {
        let path = self.disk.markers().join(self.key.marker());
        fs::remove_file(&path)?;
        disk::remove_empty(self.disk.markers(), path.parent());
        Ok(())
    }
}

fn size_of(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(meta) => Ok(Some(meta.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn modified(path: &Path) -> io::Result<SystemTime> {
    fs::metadata(path)?.modified()
}

fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
