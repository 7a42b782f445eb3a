//! Everybody at once: silent, slow, greedy, restless and noisy connections, while honest publishers
//! push. Their streams are whole and on time, memory stays under the ceiling that the server computed,
//! and when it is over nothing is left open.
//!
//! `MILLSTREAM_ATTACK` says how large, in percent; `scripts/attack-test.sh` does it whole.

use crate::support::clips::{SHORT_GOP, SHOW_SHORT_GOP};
use crate::support::playlist::Media;
use crate::support::publisher::own_push_many;
use crate::support::recording::{finished, join};
use crate::support::server::Server;
use crate::support::watch::Watch;
use crate::support::{http, lossless, wait_for};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

/// Of the whole, in CI.
const PERCENT: usize = 5;
/// The attackers' addresses: 127.0.0.2 and on.
const ADDRESSES: usize = 20;
/// Honest publishers come a few at a time.
const AT_ONCE: usize = 5;
/// Longest time between two versions of a live playlist of two-second segments, on a machine that
/// the attackers, the publishers and the viewers share.
const LATE_MAX: Duration = Duration::from_secs(5);

/// What attackers do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    /// Connects and says nothing.
    Silent,
    /// Sends a byte now and then.
    Slow,
    /// Declares a message of 16 MB and sends as much of it as it may.
    Greedy,
    /// Connects, begins, hangs up, again.
    Restless,
    /// Sends anything.
    Noisy,
}

/// How many of them there are.
const ATTACKERS: [(Way, usize); 5] = [
    (Way::Silent, 2000),
    (Way::Slow, 200),
    (Way::Greedy, 64),
    (Way::Restless, 50),
    (Way::Noisy, 20),
];
const HONEST: usize = 50;
/// Files that the catalog's pool may have open beyond those at the start.
const POOL: usize = 32;

#[test]
fn honest_publishers_do_not_notice() {
    let percent = std::env::var("MILLSTREAM_ATTACK");
    let percent = percent.map_or(PERCENT, |text| text.parse().expect("a number"));
    let share = |whole: usize| (whole * percent / 100).max(1);
    let honest = share(HONEST).max(4);
    let clip = if percent < 50 {
        SHORT_GOP
    } else {
        SHOW_SHORT_GOP
    };

    let data = tempfile::tempdir().expect("a folder for the server");
    let settings = [
        ("hls.reconnect_window", "1s"),
        // Less than there are attackers, whatever the size.
        ("rtmp.pending_max", &*share(500).max(30).to_string()),
        ("rtmp.connections_max", &*share(700).max(50).to_string()),
        ("http.connections_max", &*share(600).max(60).to_string()),
        ("http.cache", "64MiB"),
        ("ingest.memory", "64MiB"),
    ];
    let mut server = Server::start(data.path(), &settings);
    let before = descriptors(server.pid());

    let runtime = tokio::runtime::Runtime::new().expect("threads");
    let tried = Arc::new(AtomicU64::new(0));
    let doors = [server.rtmp_address(), server.url("").replace("http://", "")];
    let doors = doors.map(|door| door.parse::<SocketAddr>().expect("an address"));
    let addresses = share(ADDRESSES).max(4);
    let mut nth = 0;
    for (way, whole) in ATTACKERS {
        for _ in 0..share(whole) {
            nth += 1;
            let from = SocketAddr::from(([127, 0, 0, 2 + (nth % addresses) as u8], 0));
            // One of four knocks at the viewers' door, if it has something to say there.
            let http = nth % 4 == 0 && matches!(way, Way::Silent | Way::Slow | Way::Noisy);
            let to = doors[usize::from(http)];
            runtime.spawn(attack(way, from, to, tried.clone()));
        }
    }
    std::thread::sleep(Duration::from_secs(2));

    let watched = server.index_url("honest-0-0");
    let watch = Watch::start(watched.clone());
    let late = std::thread::spawn(move || longest_wait(&watched));
    let groups: Vec<_> = (0..honest.div_ceil(AT_ONCE))
        .map(|group| {
            std::thread::sleep(Duration::from_millis(300));
            let url = server.publish_url(&format!("honest-{group}"));
            own_push_many(&clip, &url, AT_ONCE)
        })
        .collect();
    let names: Vec<_> = (0..groups.len())
        .flat_map(|group| (0..AT_ONCE).map(move |n| format!("honest-{group}-{n}")))
        .collect();
    for group in groups {
        let pushed = group.finish(Duration::from_secs(150));
        assert!(pushed.status.success(), "{}", pushed.stderr);
    }
    watch.finish();
    let late = late.join().expect("the poll does not panic");
    let peak = peak_bytes(server.pid());
    runtime.shutdown_timeout(Duration::from_secs(5));

    // Sockets to the last one; the catalog may have opened its file more often for more writers.
    let after = wait_for("descriptors as before", Duration::from_secs(40), || {
        let now = descriptors(server.pid());
        (now.0 <= before.0 && now.1 <= before.1 + POOL).then_some(now)
    });
    for name in &names {
        let recording = finished(&server.index_url(name));
        lossless::assert_whole(&clip, &recording.url);
    }
    let ceiling = ceiling(&server);
    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    println!(
        "{nth} attackers made {} connections; {} streams are whole; longest wait for a playlist {:.2} s; \
         memory at most {:.1} MB, ceiling {:.1} MB; sockets and descriptors {before:?} before, {after:?} afterwards",
        tried.load(Ordering::Relaxed),
        names.len(),
        late.as_secs_f64(),
        megabytes(peak),
        megabytes(ceiling),
    );
    println!("its log: {:#?}", server.summary());
    assert!(server.log_lines(" ERROR ").is_empty(), "nothing went wrong");
    assert!(peak < ceiling, "{peak} bytes of {ceiling}");
    assert!(late < LATE_MAX, "a playlist was late: {late:?}");
    assert!(server.stop(rustix::process::Signal::TERM).success());
}

/// One attacker, again and again.
async fn attack(way: Way, from: SocketAddr, to: SocketAddr, tried: Arc<AtomicU64>) {
    loop {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(from).expect("all of 127.0.0.0/8 is ours");
        if let Ok(stream) = socket.connect(to).await {
            tried.fetch_add(1, Ordering::Relaxed);
            // Closed by the server, sooner or later.
            let _ = once(way, stream).await;
        }
        let pause = match way {
            Way::Restless | Way::Noisy => 20,
            Way::Silent | Way::Slow | Way::Greedy => 200,
        };
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

async fn once(way: Way, mut stream: TcpStream) -> std::io::Result<()> {
    let mut sink = [0; 4096];
    match way {
        Way::Silent => while stream.read(&mut sink).await? > 0 {},
        Way::Slow => {
            for byte in std::iter::once(3).chain(std::iter::repeat(b'G')) {
                stream.write_u8(byte).await?;
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        Way::Greedy => {
            let mut hello = vec![0; 1 + 2 * 1536];
            hello[0] = 3;
            stream.write_all(&hello).await?;
            // Chunk stream 4, a picture of 16 MB less one byte on message stream 1, in one chunk
            // after the size of chunks is set to that.
            stream
                .write_all(&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff])
                .await?;
            stream
                .write_all(&[4, 0, 0, 0, 0xff, 0xff, 0xff, 9, 1, 0, 0, 0])
                .await?;
            let body = [0xaa; 64 << 10];
            for _ in 0..48 {
                stream.write_all(&body).await?;
            }
            while stream.read(&mut sink).await? > 0 {}
        }
        Way::Restless => {
            stream.write_all(&[3; 100]).await?;
        }
        Way::Noisy => {
            let noise: Vec<u8> = (0..8192u32)
                .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
                .collect();
            loop {
                stream.write_all(&noise).await?;
            }
        }
    }
    Ok(())
}

/// The longest time between two versions of the live playlist, from the first to its end.
fn longest_wait(index: &str) -> Duration {
    let url = wait_for("a live playlist", Duration::from_secs(30), || {
        let text = http::try_get(index)
            .filter(|reply| reply.status == 200)?
            .text();
        let uri = text.lines().find(|line| line.ends_with("media.m3u8"))?;
        Some(join(index, uri))
    });
    let (mut newest, mut since, mut longest) = (0, Instant::now(), Duration::ZERO);
    loop {
        let media = Media::parse(&http::get(&url).text()).expect("a playlist");
        let next = media.media_sequence + media.segments.len() as u64;
        if media.ended {
            return longest;
        }
        if next != newest {
            (newest, since) = (next, Instant::now());
        }
        longest = longest.max(since.elapsed());
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Sockets, and everything that is open.
fn descriptors(pid: u32) -> (usize, usize) {
    let open: Vec<_> = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .expect("ours")
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .collect();
    let is_socket = |target: &&std::path::PathBuf| target.to_string_lossy().starts_with("socket:");
    (open.iter().filter(is_socket).count(), open.len())
}

/// The most memory that the process ever had resident.
fn peak_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("ours");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB"));
    kib.and_then(|kib| kib.trim().parse::<u64>().ok())
        .expect("a number")
        * 1024
}

/// What the server says that its settings amount to.
fn ceiling(server: &Server) -> u64 {
    let lines = server.log_lines("memory ceiling");
    let line = lines.first().expect("the server says so");
    let bytes = line.split("bytes=").nth(1).expect("a number");
    let digits: String = bytes.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}
