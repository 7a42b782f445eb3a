//! The oracle over time: polls a channel's playlists while it is live and compares every version
//! with the one before. No public validator does.

use super::http::{self, Reply};
use super::playlist::{Entry, Media, Multivariant};
use super::recording::join;
use super::tswalk::Walker;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_millis(150);
/// One frame of the slowest clip, and the rounding of what is printed.
const TOLERANCE: f64 = 0.045;
/// Faults beyond these follow from them.
const FAULTS_MAX: usize = 30;

/// A watcher at work in its own thread.
pub(crate) struct Watch {
    stop: Arc<AtomicBool>,
    place: Arc<Mutex<Place>>,
    thread: JoinHandle<Watcher>,
}

/// Where the server is.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Place {
    index: String,
    /// It may be silent, or break off in the middle of an answer; what it does answer counts.
    away: bool,
    /// Counts what happened to it: what was asked before means nothing afterwards.
    moves: usize,
}

/// What a watcher saw.
pub(crate) struct Seen {
    /// The live playlists, in the order in which they appeared.
    pub(crate) recordings: Vec<Followed>,
}

/// A playlist over its versions.
pub(crate) struct Followed {
    pub(crate) url: String,
    pub(crate) versions: usize,
    /// Its newest version.
    pub(crate) last: Media,
    etag: String,
    body: Vec<u8>,
    walker: Walker,
    /// Media sequence number of the next segment that has not been fetched.
    next: u64,
}

/// What a segment's path stands for, for ever, wherever the server is.
struct Known {
    number: u64,
    discontinuity_sequence: u64,
    lines: Vec<String>,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Watcher {
    began: Option<Instant>,
    place: Arc<Mutex<Place>>,
    /// As it was when this poll began.
    here: Place,
    index: Option<String>,
    followed: Vec<Followed>,
    segments: BTreeMap<String, Known>,
    faults: Vec<String>,
}

impl Watch {
    /// Watches the multivariant playlist at `index` and all that it names.
    pub(crate) fn start(index: String) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let place = Arc::new(Mutex::new(Place {
            index,
            ..Place::default()
        }));
        let (stopped, placed) = (stop.clone(), place.clone());
        let thread = std::thread::spawn(move || {
            let mut watcher = Watcher {
                began: Some(Instant::now()),
                place: placed,
                ..Watcher::default()
            };
            while !stopped.load(Ordering::Relaxed) {
                watcher.poll();
                std::thread::sleep(INTERVAL);
            }
            watcher.poll();
            watcher
        });
        Self {
            stop,
            place,
            thread,
        }
    }

    /// The server is about to be stopped or killed: until it is [`back`](Self::back) nobody has to answer.
    pub(crate) fn away(&self) {
        let mut place = lock(&self.place);
        place.away = true;
        place.moves += 1;
    }

    /// The server runs again, and has the same playlist at `index`.
    pub(crate) fn back(&self, index: String) {
        let mut place = lock(&self.place);
        let moves = place.moves + 1;
        *place = Place {
            index,
            away: false,
            moves,
        };
    }

    /// Ends watching; fails if anything was wrong.
    pub(crate) fn finish(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        let mut watcher = self.thread.join().expect("the watcher does not panic");
        watcher.segments_linger();
        assert!(
            watcher.faults.is_empty(),
            "seen while watching:\n{}",
            watcher.faults.join("\n")
        );
        assert!(!watcher.followed.is_empty(), "no playlist appeared");
        let is_live = |followed: &Followed| followed.url.ends_with("/media.m3u8");
        Seen {
            recordings: watcher.followed.into_iter().filter(is_live).collect(),
        }
    }
}

fn lock(place: &Mutex<Place>) -> MutexGuard<'_, Place> {
    place
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// What a media URL means on any port.
fn path(url: &str) -> &str {
    url.split_once("/hls/").map_or(url, |(_, path)| path)
}

impl Watcher {
    /// The answer; a fault if there is none and the server was there all the time.
    fn ask(&mut self, url: &str, otherwise: &str) -> Option<Reply> {
        let reply = http::try_get(url);
        if reply.is_none() && self.is_there() {
            self.fault(url, otherwise);
        }
        reply
    }

    fn is_there(&self) -> bool {
        !self.here.away && *lock(&self.place) == self.here
    }

    fn fault(&mut self, url: &str, text: impl AsRef<str>) {
        if self.faults.len() < FAULTS_MAX {
            let seconds = self
                .began
                .map_or(0.0, |began| began.elapsed().as_secs_f64());
            self.faults
                .push(format!("{seconds:7.3} s {url}: {}", text.as_ref()));
        }
    }

    fn poll(&mut self) {
        self.here = lock(&self.place).clone();
        let index = self.here.index.clone();
        let Some(reply) = self.ask(&index, "no answer") else {
            return;
        };
        if reply.status == 404 && self.index.is_none() {
            return;
        }
        if let Some(text) = self.playlist_text(&index, &reply) {
            match Multivariant::parse(&text) {
                Ok(parsed) => self.variant(&index, &parsed),
                Err(error) => self.fault(&index, error),
            }
            self.index = Some(text);
        }
        for at in 0..self.followed.len() {
            let url = self.on_this_port(&self.followed[at].url);
            if let Some(reply) = self.ask(&url, "no answer") {
                self.version(at, &url, &reply);
            }
        }
    }

    /// Where the server has now what it once had at `url`.
    fn on_this_port(&self, url: &str) -> String {
        let server = self.here.index.split_once("/hls/");
        server.map_or(url.to_owned(), |(server, _)| {
            format!("{server}/hls/{}", path(url))
        })
    }

    fn playlist_text(&mut self, url: &str, reply: &Reply) -> Option<String> {
        if reply.status != 200 {
            self.fault(url, format!("status {}", reply.status));
            return None;
        }
        if !reply
            .header("content-type")
            .starts_with("application/vnd.apple.mpegurl")
        {
            self.fault(
                url,
                format!("content type {:?}", reply.header("content-type")),
            );
        }
        if reply.header("access-control-allow-origin") != "*" {
            self.fault(url, "no Access-Control-Allow-Origin");
        }
        let text = String::from_utf8(reply.body.clone());
        text.map_err(|_| self.fault(url, "not UTF-8")).ok()
    }

    fn variant(&mut self, index: &str, multivariant: &Multivariant) {
        for name in ["BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS"] {
            let value = multivariant.attribute(name);
            if value.is_empty() || value == "0" {
                self.fault(index, format!("{name} is {value:?}"));
            }
        }
        let url = join(index, &multivariant.uri);
        let known = |followed: &Followed| path(&followed.url) == path(&url);
        if self.followed.iter().any(known) {
            return;
        }
        let Some(reply) = self.ask(&url, "named by the multivariant playlist, but no answer")
        else {
            return;
        };
        if reply.status != 200 {
            return self.fault(&url, "named by the multivariant playlist, but not there");
        }
        match Media::parse(&String::from_utf8_lossy(&reply.body)) {
            Ok(media) => {
                if media
                    .segments
                    .first()
                    .is_some_and(|first| first.discontinuity)
                    && media.media_sequence == 0
                {
                    self.fault(&url, "EXT-X-DISCONTINUITY before the first segment of all");
                }
                let next = media.media_sequence;
                self.followed.push(Followed {
                    url,
                    versions: 0,
                    last: media,
                    etag: String::new(),
                    body: Vec::new(),
                    walker: Walker::default(),
                    next,
                });
            }
            Err(error) => self.fault(&url, error),
        }
    }

    fn version(&mut self, at: usize, url: &str, reply: &Reply) {
        let Some(text) = self.playlist_text(url, reply) else {
            return;
        };
        let etag = reply.header("etag");
        let same_body = self.followed[at].body == reply.body;
        if etag.is_empty() {
            self.fault(url, "no ETag");
        } else if self.followed[at].versions > 0 && (self.followed[at].etag == etag) != same_body {
            self.fault(
                url,
                format!("the ETag {etag} does not change exactly when the bytes do"),
            );
        }
        if same_body {
            return;
        }
        let media = match Media::parse(&text) {
            Ok(media) => media,
            Err(error) => return self.fault(url, error),
        };
        let before = self.followed[at].last.clone();
        let dates = instants(&media, Clock::Runs);
        for fault in changes(&before, &media).into_iter().chain(dates) {
            self.fault(url, fault);
        }
        if !self.segments(at, url, &media) {
            return;
        }
        let followed = &mut self.followed[at];
        followed.versions += 1;
        followed.etag = etag.to_owned();
        followed.body = reply.body.clone();
        followed.last = media;
    }

    /// Each segment that is named is there at once, whole, and means what it meant before. False: the
    /// server has gone meanwhile.
    fn segments(&mut self, at: usize, url: &str, media: &Media) -> bool {
        let mut discontinuity_sequence = media.discontinuity_sequence;
        for (number, entry) in (media.media_sequence..).zip(&media.segments) {
            // The sequence counts the tags that were removed; the first segment's own is still here.
            discontinuity_sequence += u64::from(entry.discontinuity);
            let segment_url = join(url, &entry.uri);
            if let Some(known) = self.segments.get(path(&segment_url)) {
                let same = known.number == number
                    && known.discontinuity_sequence == discontinuity_sequence
                    && known.lines == entry.lines;
                if !same {
                    let then = (known.number, known.discontinuity_sequence, &known.lines);
                    let now = (number, discontinuity_sequence, &entry.lines);
                    self.fault(&segment_url, format!("was {then:?}, is {now:?}"));
                }
            } else if !entry.gap {
                let Some(bytes) = self.fetch(&segment_url) else {
                    return self.is_there();
                };
                let known = Known {
                    number,
                    discontinuity_sequence,
                    lines: entry.lines.clone(),
                    bytes,
                };
                self.segments.insert(path(&segment_url).to_owned(), known);
            }
            if number >= self.followed[at].next {
                self.walk(at, number, entry, &segment_url);
            }
        }
        true
    }

    fn fetch(&mut self, url: &str) -> Option<Vec<u8>> {
        let reply = self.ask(url, "named, but no answer")?;
        if reply.status != 200 || reply.header("content-type") != "video/mp2t" {
            self.fault(
                url,
                format!(
                    "status {}, type {:?}",
                    reply.status,
                    reply.header("content-type")
                ),
            );
        }
        if reply.header("content-length") != reply.body.len().to_string() {
            self.fault(
                url,
                format!(
                    "Content-Length {:?} of {}",
                    reply.header("content-length"),
                    reply.body.len()
                ),
            );
        }
        Some(reply.body)
    }

    /// Reads the segment behind the ones that were read before.
    fn walk(&mut self, at: usize, number: u64, entry: &Entry, url: &str) {
        let followed = &mut self.followed[at];
        // What is lost with a gap is missed in the packets' counters, too.
        if entry.discontinuity || entry.gap || number > followed.next {
            followed.walker.discontinuity();
        }
        followed.next = number + 1;
        let Some(known) = self.segments.get(path(url)) else {
            return;
        };
        let walked = followed.walker.walk(&known.bytes);
        for fault in walked.err().unwrap_or_default() {
            self.fault(url, fault);
        }
    }

    /// RFC 8216 §6.2.2: what left the window stays for those who still play it, unchanged.
    fn segments_linger(&mut self) {
        self.here = lock(&self.place).clone();
        assert!(!self.here.away, "the server has to be back");
        for (path, known) in std::mem::take(&mut self.segments) {
            let url = self.on_this_port(&path);
            let Some(reply) = self.ask(&url, "no answer") else {
                continue;
            };
            if reply.status != 200 || reply.body != known.bytes {
                let (status, len) = (reply.status, reply.body.len());
                self.fault(
                    &url,
                    format!("is another now: status {status}, {len} bytes"),
                );
            }
        }
    }
}

/// What may not change from one version to the next, and did.
pub(crate) fn changes(before: &Media, after: &Media) -> Vec<String> {
    let mut faults = Vec::new();
    let mut check = |holds: bool, text: String| {
        if !holds {
            faults.push(text);
        }
    };
    check(
        after.target_duration == before.target_duration,
        format!(
            "target duration {} was {}",
            after.target_duration, before.target_duration
        ),
    );
    check(
        after.kind == before.kind || after.ended,
        format!("type {:?} was {:?}", after.kind, before.kind),
    );
    check(
        after.version == before.version,
        format!("version {} was {}", after.version, before.version),
    );
    check(
        after.ended || !before.ended,
        "EXT-X-ENDLIST was taken back".into(),
    );
    check(
        !before.ended || after.segments == before.segments,
        "changed after its end".into(),
    );
    check(
        after.discontinuity_sequence >= before.discontinuity_sequence,
        format!(
            "discontinuity sequence {} was {}",
            after.discontinuity_sequence, before.discontinuity_sequence
        ),
    );
    let removed = after.media_sequence.checked_sub(before.media_sequence);
    check(
        removed.is_some(),
        format!(
            "media sequence {} was {}",
            after.media_sequence, before.media_sequence
        ),
    );
    let removed = usize::try_from(removed.unwrap_or(0)).unwrap_or(usize::MAX);
    check(
        removed <= before.segments.len(),
        format!("{removed} segments were removed that nobody saw"),
    );
    let kept = before.segments.get(removed..).unwrap_or_default();
    check(
        after.segments.starts_with(kept),
        format!("segments that stay are no longer {kept:#?}"),
    );
    check(
        removed == 0 || after.ended || after.duration() >= 3.0 * f64::from(after.target_duration),
        format!(
            "segments were removed, and {} s remain of a target duration of {} s",
            after.duration(),
            after.target_duration
        ),
    );
    faults
}

/// What a publisher's clock does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Clock {
    Runs,
    /// It stands still now and then, and what comes later is dated anew.
    Pauses,
}

/// Media that is less late than this is not dated anew.
const PAUSE_MIN: f64 = 2.0;

/// Program date times go with the media, and are of today.
pub(crate) fn instants(media: &Media, clock: Clock) -> Vec<String> {
    let mut faults = Vec::new();
    for pair in media.segments.windows(2) {
        let (Some(this), Some(next)) = (pair[0].program_date_time, pair[1].program_date_time)
        else {
            continue;
        };
        let apart = (next - this).num_milliseconds() as f64 / 1000.0;
        let uri = &pair[1].uri;
        let late = apart - pair[0].duration;
        if clock == Clock::Pauses && late > PAUSE_MIN - TOLERANCE {
            continue;
        }
        if apart <= 0.0 {
            faults.push(format!("program date time goes back {apart} s at {uri}"));
        } else if !pair[1].discontinuity && late.abs() > TOLERANCE {
            faults.push(format!(
                "program date time of {uri} is {apart} s on, after {} s of media",
                pair[0].duration
            ));
        }
    }
    if let Some(newest) = media
        .segments
        .last()
        .filter(|_| !media.ended)
        .and_then(|segment| segment.program_date_time)
    {
        let age = chrono::Utc::now()
            .signed_duration_since(newest)
            .num_seconds();
        if !(-60..600).contains(&age) {
            faults.push(format!(
                "the newest program date time {newest} is {age} s old"
            ));
        }
    }
    faults
}
