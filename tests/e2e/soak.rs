//! A crowd for a while: publishers that come and go, change their picture, jump in time and vanish,
//! and viewers who check every playlist they see against the one before.
//!
//! `MILLSTREAM_SOAK_MINUTES` makes it long and the crowd large; `scripts/soak-test.sh` sets it.

use crate::support::browser::{Page, Playback, play};
use crate::support::clips;
use crate::support::playlist::{Media, Multivariant};
use crate::support::process::{ffmpeg, run};
use crate::support::recording::join;
use crate::support::server::Server;
use crate::support::watch::{Clock, changes, instants};
use crate::support::{http, wait_for};
use bytes::Bytes;
use millstream::cli::{self, PushError, Pusher};
use millstream::flv::Tag;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// What a publisher sends at once, and a viewer waits between two looks.
const TICK: Duration = Duration::from_millis(50);
const LOOK: Duration = Duration::from_millis(900);
/// For a whole answer; the machine may be busy.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// What the log and the runtime may have opened meanwhile.
const DESCRIPTORS_SLACK: usize = 6;
/// Faults beyond these follow from them.
const FAULTS_MAX: usize = 20;
/// How long the browser stays with one channel.
const PLAYED_S: u32 = 20;
/// What hls.js tells of when publishers pause and jump: it had nothing to play for a while, and went on.
const OF_PAUSES: [&str; 5] = [
    "bufferStalledError",
    "bufferNudgeOnStall",
    "bufferSeekOverHole",
    "stall",
    "jump",
];

#[test]
fn a_crowd_leaves_nothing_behind() {
    let minutes: Option<f64> = std::env::var("MILLSTREAM_SOAK_MINUTES")
        .ok()
        .map(|text| text.parse().expect("minutes"));
    let (time, publishers, viewers) = match minutes {
        Some(minutes) => (Duration::from_secs_f64(60.0 * minutes), 100, 200),
        None => (Duration::from_secs(8), 8, 16),
    };
    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [
        ("hls.segment_duration", "1s"),
        ("hls.reconnect_window", "5s"),
        // What would fill up in hours is full in minutes.
        ("http.cache", "16MiB"),
        ("http.playlist_cache", "4MiB"),
    ];
    let server = Server::start(data.path(), &settings);
    let (_, descriptors_before) = server.resources();
    let crowd = Arc::new(Crowd::new(&server, publishers));
    let plays_until = std::time::Instant::now() + time;
    let indexes = crowd.indexes.clone();
    // A browser's player among the others, where there is time for one.
    let player = minutes.map(|_| std::thread::spawn(move || zap(&indexes, plays_until)));

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime");
    let samples = runtime.block_on(crowd.clone().run(&server, time, viewers));

    let seen = crowd.seen();
    eprintln!("{publishers} publishers, {viewers} viewers, {time:?}: {seen:#?}");
    for what in ["playlist versions", "segments fetched", "rude ends"] {
        assert!(
            seen.counts.get(what).is_some_and(|count| *count > 0),
            "no {what}"
        );
    }
    // Recordings end when the reconnect window has passed.
    let closed = || server.resources().1 <= descriptors_before + DESCRIPTORS_SLACK;
    let waited = std::time::Instant::now();
    while !closed() && waited.elapsed() < 30 * LOOK {
        std::thread::sleep(TICK);
    }
    let (memory, descriptors) = server.resources();
    eprintln!(
        "descriptors: {descriptors_before} before, {descriptors} after; {} MiB in the end",
        memory >> 20
    );
    assert!(closed(), "descriptors are left open");
    for (nth, (memory, descriptors)) in samples
        .iter()
        .enumerate()
        .step_by((samples.len() / 12).max(1))
    {
        eprintln!(
            "sample {nth}: {} MiB, {descriptors} descriptors",
            memory >> 20
        );
    }
    let playlists = server.metric("millstream_playlist_cache_bytes") as u64;
    eprintln!("playlists of ended recordings: {} MiB", playlists >> 20);
    log_is_quiet(&server);
    assert!(seen.faults.is_empty(), "{:#?}", seen.faults);
    if minutes.is_some_and(|minutes| minutes >= 5.0) {
        flat(&samples);
    }
    if let Some(player) = player {
        let played = player.join().expect("hls.js is content");
        eprintln!("hls.js played {played:.0} s live");
    }
    content(&server, publishers);
}

/// The last third against the second: what grows with time shows, what a crowd needs does not.
fn flat(samples: &[(u64, usize)]) {
    let third = samples.len() / 3;
    let mean = |range: &[(u64, usize)], of: fn(&(u64, usize)) -> f64| {
        range.iter().map(of).sum::<f64>() / range.len() as f64
    };
    for (what, of, slack) in [
        ("bytes", (|s| s.0 as f64) as fn(&(u64, usize)) -> f64, 8e6),
        ("descriptors", |s| s.1 as f64, 20.0),
    ] {
        let (middle, end) = (
            mean(&samples[third..2 * third], of),
            mean(&samples[2 * third..], of),
        );
        eprintln!("{what}: {middle:.0} in the second third, {end:.0} in the last");
        assert!(
            end <= middle * 1.1 + slack,
            "{what} grow from {middle:.0} to {end:.0}"
        );
    }
}

/// What the crowd did is no error of the server's.
fn log_is_quiet(server: &Server) {
    let errors = server.log_lines("ERROR");
    assert!(errors.is_empty(), "{errors:#?}");
    eprintln!("its log: {:#?}", server.summary());
}

/// Follows one channel after another with hls.js, as long as there is time; seconds that were played.
fn zap(indexes: &[String], until: std::time::Instant) -> f64 {
    let mut played = 0.0;
    for index in indexes.iter().cycle() {
        let left = until.saturating_duration_since(std::time::Instant::now());
        if left < Duration::from_secs(2 * u64::from(PLAYED_S)) {
            break;
        }
        if http::try_get(index).is_some_and(|reply| reply.status == 200) {
            let playback = play(&Page::Bare(index), PLAYED_S);
            assert_content(index, &playback);
            played += playback.progress;
        }
        std::thread::sleep(LOOK);
    }
    played
}

/// Whatever its publisher did: a player finds nothing wrong with what it is given.
fn assert_content(index: &str, playback: &Playback) {
    let forgiven = |error: &&serde_json::Value| {
        let says = |key: &str| OF_PAUSES.contains(&error[key].as_str().unwrap_or_default());
        error["fatal"] != true && (says("details") || says("what"))
    };
    let wrong: Vec<_> = playback.errors.iter().filter(|e| !forgiven(e)).collect();
    assert!(wrong.is_empty(), "{index}: {wrong:#?}");
}

/// ffmpeg and hls.js play what is left of some channels, over all their changes, without an error.
fn content(server: &Server, publishers: usize) {
    for nth in [0, publishers / 2] {
        let index = server.index_url(&name(nth));
        wait_for("a recording's end", 30 * LOOK, || {
            let variant = Multivariant::parse(&http::try_get(&index)?.text()).ok()?;
            let media = Media::parse(&http::try_get(&join(&index, &variant.uri))?.text()).ok()?;
            media.ended.then_some(())
        });
        let output = run(ffmpeg().args(["-v", "error", "-i", &index, "-f", "null", "-"]));
        // Its null output counts frames at the first picture's rate; at the other rate it grumbles.
        let own = |line: &&str| !line.is_empty() && !line.contains("increasing dts to muxer");
        let faults: Vec<_> = output.stderr.lines().filter(own).collect();
        assert!(
            output.status.success() && faults.is_empty(),
            "{index}: {faults:#?}"
        );
        let playback = play(&Page::Bare(&index), PLAYED_S / 4);
        assert_content(&index, &playback);
        assert!(playback.decoded > 0, "{index}: {:#?}", playback.report);
    }
}

fn name(nth: usize) -> String {
    format!("crowd{nth}")
}

/// Everybody, and what they saw.
struct Crowd {
    clips: [Vec<Tag>; 2],
    publish_urls: Vec<String>,
    indexes: Vec<String>,
    seen: Mutex<Seen>,
}

#[derive(Default, Debug, Clone)]
struct Seen {
    counts: BTreeMap<&'static str, u64>,
    faults: Vec<String>,
}

impl Crowd {
    fn new(server: &Server, publishers: usize) -> Self {
        let tags = |clip: &clips::Clip| {
            let bytes = std::fs::read(clip.path()).expect("a clip");
            cli::Clip::parse(Bytes::from(bytes))
                .expect("an FLV file")
                .tags()
                .to_vec()
        };
        Self {
            clips: [tags(&clips::SOAK), tags(&clips::SOAK_OTHER)],
            publish_urls: (0..publishers)
                .map(|n| server.publish_url(&name(n)))
                .collect(),
            indexes: (0..publishers)
                .map(|n| server.index_url(&name(n)))
                .collect(),
            seen: Mutex::default(),
        }
    }

    fn seen(&self) -> Seen {
        self.seen.lock().expect("no one panics").clone()
    }

    fn count(&self, what: &'static str) {
        *self
            .seen
            .lock()
            .expect("no one panics")
            .counts
            .entry(what)
            .or_default() += 1;
    }

    fn fault(&self, url: &str, text: impl AsRef<str>) {
        let mut seen = self.seen.lock().expect("no one panics");
        if seen.faults.len() < FAULTS_MAX {
            seen.faults.push(format!("{url}: {}", text.as_ref()));
        }
    }

    /// Runs for `time`; returns the server's memory and descriptors, sampled.
    async fn run(
        self: Arc<Self>,
        server: &Server,
        time: Duration,
        viewers: usize,
    ) -> Vec<(u64, usize)> {
        let until = Instant::now() + time;
        let mut tasks = JoinSet::new();
        for nth in 0..self.publish_urls.len() {
            let crowd = self.clone();
            tasks.spawn(async move { crowd.publisher(nth, until).await });
        }
        for nth in 0..viewers {
            let crowd = self.clone();
            tasks.spawn(async move { crowd.viewer(nth, until).await });
        }
        let mut samples = Vec::new();
        while Instant::now() < until {
            samples.push(server.resources());
            sleep((time / 100).min(5 * LOOK)).await;
        }
        while let Some(ended) = tasks.join_next().await {
            ended.expect("nobody panics");
        }
        samples
    }

    async fn publisher(&self, nth: usize, until: Instant) {
        let mut random = Random::new(nth as u64 + 1);
        // They do not all begin at once.
        sleep(Duration::from_millis(random.below(2_000))).await;
        while Instant::now() < until {
            match self.push(nth, until, &mut random).await {
                Ok(()) => self.count("pushes"),
                Err(PushError::Refused(reason)) => self.fault(&self.publish_urls[nth], reason),
                Err(error) => self.fault(&self.publish_urls[nth], error.to_string()),
            }
            // Back within the reconnect window, or too late for it.
            let away = [0, 500, 2_000, 9_000][random.below(4) as usize];
            sleep(Duration::from_millis(away)).await;
        }
    }

    /// One push: a stretch of one clip, then of the other, with jumps between; and an end.
    async fn push(&self, nth: usize, until: Instant, random: &mut Random) -> Result<(), PushError> {
        let mut pusher = Pusher::connect(&self.publish_urls[nth]).await?;
        let (mut base, mut which) = (random.below(1 << 32) as u32, random.below(2) as usize);
        for stretch in 0..=random.below(4) {
            let length = Duration::from_millis(2_000 + random.below(20_000));
            let sent = self
                .stretch(
                    &mut pusher,
                    which,
                    base,
                    length.min(until.duration_since(Instant::now())),
                )
                .await?;
            if Instant::now() >= until {
                break;
            }
            base = base.wrapping_add(sent);
            match random.below(3) {
                0 => {
                    self.count("changes of picture and sound");
                    which = 1 - which;
                }
                1 => {
                    self.count("jumps in time");
                    base = base.wrapping_add(random.below(1 << 31) as u32);
                }
                _ if stretch % 2 == 1 => {
                    self.count("pauses");
                    sleep(Duration::from_millis(random.below(3_000))).await;
                }
                _ => {}
            }
        }
        if random.below(2) == 0 {
            self.count("rude ends");
            drop(pusher);
            return Ok(());
        }
        self.count("proper ends");
        pusher.stop().await
    }

    /// Sends `length` of a clip from its beginning; how many milliseconds that was.
    async fn stretch(
        &self,
        pusher: &mut Pusher,
        which: usize,
        base: u32,
        length: Duration,
    ) -> Result<u32, PushError> {
        let began = Instant::now();
        let first = self.clips[which][0].timestamp_ms;
        let mut at = 0;
        for tag in &self.clips[which] {
            at = tag.timestamp_ms.wrapping_sub(first);
            let due = Duration::from_millis(at.into());
            if due > length {
                break;
            }
            if due > began.elapsed() + TICK / 2 {
                sleep_until(began + due).await;
            }
            let tag = Tag {
                timestamp_ms: base.wrapping_add(at),
                ..tag.clone()
            };
            pusher.tag(&tag).await?;
        }
        Ok(at + 40)
    }

    /// Follows one channel after another, as a player does.
    async fn viewer(&self, nth: usize, until: Instant) {
        let mut random = Random::new(nth as u64 + 1_000_003);
        let mut http = Client::default();
        while Instant::now() < until {
            let index = &self.indexes[random.below(self.indexes.len() as u64) as usize];
            let leaves =
                (Instant::now() + Duration::from_millis(5_000 + random.below(30_000))).min(until);
            if let Err(fault) = self.follow(&mut http, index, leaves).await {
                self.fault(index, fault);
                http = Client::default();
            }
        }
    }

    async fn follow(&self, http: &mut Client, index: &str, leaves: Instant) -> Result<(), String> {
        let (status, body) = http.get(index).await?;
        if status == 404 {
            // Nobody has pushed there yet.
            sleep(LOOK).await;
            return Ok(());
        }
        let text = text(status, body)?;
        let variant = Multivariant::parse(&text)?;
        // Once it has ended it is on demand: all of it under another name.
        let url = join(index, &variant.uri);
        let (mut before, mut next): (Option<Media>, u64) = (None, 0);
        while Instant::now() < leaves {
            let (status, body) = http.get(&url).await?;
            let media = Media::parse(&self::text(status, body)?)?;
            self.count("playlists");
            let faults = before
                .iter()
                .flat_map(|before| changes(before, &media))
                .chain(instants(&media, Clock::Pauses));
            faults.for_each(|fault| self.fault(&url, fault));
            if before.as_ref() != Some(&media) {
                self.count("playlist versions");
            }
            if before.is_none() {
                // A player begins three segments before the end.
                next = media.media_sequence + (media.segments.len() as u64).saturating_sub(3);
            }
            for (number, entry) in (media.media_sequence..).zip(&media.segments) {
                if number < next || entry.gap {
                    continue;
                }
                next = number + 1;
                let (status, bytes) = http.get(&join(&url, &entry.uri)).await?;
                self.count("segments fetched");
                let whole = status == 200
                    && !bytes.is_empty()
                    && bytes.len() % 188 == 0
                    && bytes.iter().step_by(188).all(|byte| *byte == 0x47);
                if !whole {
                    self.fault(&entry.uri, format!("{status}, {} bytes", bytes.len()));
                }
            }
            if media.ended {
                break;
            }
            before = Some(media);
            sleep(LOOK).await;
        }
        Ok(())
    }
}

fn text(status: u16, body: Vec<u8>) -> Result<String, String> {
    if status != 200 {
        return Err(format!(
            "status {status}: {}",
            String::from_utf8_lossy(&body)
        ));
    }
    String::from_utf8(body).map_err(|_| "not UTF-8".to_owned())
}

/// One viewer's connection, kept alive.
#[derive(Default)]
struct Client(Option<BufReader<TcpStream>>);

impl Client {
    async fn get(&mut self, url: &str) -> Result<(u16, Vec<u8>), String> {
        let answer = timeout(ANSWER_MAX, self.exchange(url)).await;
        answer
            .map_err(|_| format!("no answer within {ANSWER_MAX:?}"))?
            .map_err(|error| error.to_string())
    }

    async fn exchange(&mut self, url: &str) -> std::io::Result<(u16, Vec<u8>)> {
        let rest = url.strip_prefix("http://").unwrap_or(url);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let connection = match &mut self.0 {
            Some(connection) => connection,
            none => none.insert(BufReader::new(TcpStream::connect(host).await?)),
        };
        let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        connection.write_all(request.as_bytes()).await?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line).await? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(rest) = line.strip_prefix("http/1.1 ") {
                status = rest
                    .split(' ')
                    .next()
                    .and_then(|code| code.parse().ok())
                    .unwrap_or(0);
            } else if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().unwrap_or(0);
            } else if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        connection.read_exact(&mut body).await?;
        Ok((status, body))
    }
}

/// Xorshift: the same crowd in every run, as far as time allows.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % end
    }
}
