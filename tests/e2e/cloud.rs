//! Viewers of what only a remote store has: by way of this server, or sent there.

use crate::support::clips::{Clip, SHORT_GOP};
use crate::support::port::free_port;
use crate::support::process::{Running, millstream, run, succeed};
use crate::support::proxy::{Fault, Proxy};
use crate::support::publisher::{Speed, own_push};
use crate::support::recording::Recording;
use crate::support::server::Server;
use crate::support::weed::Weed;
use crate::support::{http, lossless, wait_for};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

const SOON: Duration = Duration::from_secs(30);
const READERS: usize = 100;
/// An object that nobody may hold in memory as often as it is read.
const LARGE: usize = 48 << 20;
const LARGE_READERS: usize = 8;
/// What reading it may cost.
const GROWTH_MAX: u64 = 24 << 20;

struct World {
    weed: Weed,
    proxy: Proxy,
    data: tempfile::TempDir,
    settings: Vec<(&'static str, String)>,
}

impl World {
    fn new(more: &[(&'static str, &str)]) -> Self {
        let weed = Weed::start();
        let proxy = Proxy::start(weed.port());
        let mut settings = weed.settings_at(proxy.port());
        settings.push(("hls.reconnect_window", "1s".to_owned()));
        settings.extend(more.iter().map(|(key, value)| (*key, (*value).to_owned())));
        Self {
            weed,
            proxy,
            data: tempfile::tempdir().expect("a folder for the server"),
            settings,
        }
    }

    /// A server that has nothing in memory yet.
    fn server(&self) -> Server {
        let settings: Vec<_> = { self.settings.iter() }
            .map(|(key, value)| (*key, value.as_str()))
            .collect();
        Server::start(self.data.path(), &settings)
    }

    /// A recording that only the store has.
    fn record(&self, server: &Server, clip: &Clip, name: &str) -> String {
        let push = own_push(clip, &server.publish_url(name), Speed::Max);
        assert!(push.finish(SOON).status.success());
        let spool = self.data.path().join("data/spool");
        wait_for("the recording to leave the spool", SOON, || {
            let left = std::fs::read_dir(&spool).ok()?.next();
            left.is_none().then_some(())
        });
        let index = http::get(&server.index_url(name)).text();
        let uri = index.lines().find(|line| !line.starts_with('#'));
        let folder = uri.and_then(|uri| uri.split('/').next()).expect("a URI");
        format!("live/{name}/{folder}")
    }
}

#[test]
fn readers_of_one_cold_segment_cost_the_store_one_request() {
    let world = World::new(&[]);
    let mut server = world.server();
    let folder = world.record(&server, &SHORT_GOP, "cold");
    server.stop(rustix::process::Signal::TERM);
    let server = world.server();
    let object = format!("{folder}/0000/00000001.ts");
    let url = server.url(&format!("/hls/{object}"));
    world.proxy.set(Fault::Slow(Duration::from_millis(500)));
    let bodies: Vec<_> = std::thread::scope(|scope| {
        let readers: Vec<_> = { 0..READERS }
            .map(|_| scope.spawn(|| http::get(&url).body))
            .collect();
        let bodies = readers.into_iter().map(|one| one.join().expect("it reads"));
        bodies.collect()
    });
    world.proxy.set(Fault::None);
    let original = fetched(&world.weed, &object);
    assert!(bodies.iter().all(|body| *body == original));
    let part = http::request("GET", &url, &[("range", "bytes=188-375")]);
    assert_eq!((part.status, &part.body[..]), (206, &original[188..376]));
    assert_eq!(world.proxy.gets(&object), [""], "one request for all");
}

fn fetched(weed: &Weed, object: &str) -> Vec<u8> {
    let file = tempfile::NamedTempFile::new().expect("there is room");
    assert!(weed.fetch(object, file.path()), "no {object} in the bucket");
    std::fs::read(file.path()).expect("just written")
}

/// Eight slow readers of an object that is larger than what a segment may take of memory.
#[test]
fn a_large_object_is_streamed_by_ranges() {
    let world = World::new(&[("http.cache", "8MiB")]);
    let server = world.server();
    let folder = world.record(&server, &SHORT_GOP, "large");
    // Nobody knows yet how large it is: nobody has read it.
    let object = format!("{folder}/0000/00000002.ts");
    let bytes: Vec<u8> = (0..LARGE).map(|at| (at / 188 % 251) as u8).collect();
    let file = tempfile::NamedTempFile::new().expect("there is room");
    std::fs::write(file.path(), &bytes).expect("there is room");
    assert!(world.weed.put(&object, file.path()));

    let path = format!("/hls/{object}");
    let (from, to) = (LARGE / 2, LARGE / 2 + 999);
    let range = format!("bytes={from}-{to}");
    for _ in 0..2 {
        let part = http::request("GET", &server.url(&path), &[("range", &range)]);
        assert_eq!((part.status, &part.body[..]), (206, &bytes[from..=to]));
    }
    let asked = world.proxy.gets(&object);
    assert_eq!(asked, ["", &range, &range], "the first finds out its size");

    let before = server.memory();
    let mut most = before;
    let address = server.url("").replace("http://", "");
    let mut readers: Vec<_> = { 0..LARGE_READERS }
        .map(|_| {
            let mut reader = TcpStream::connect(&address).expect("it listens");
            write!(reader, "GET {path} HTTP/1.1\r\nhost: {address}\r\n\r\n").expect("sent");
            reader
        })
        .collect();
    // A little at a time of each: all of them are under way together.
    let mut buffer = vec![0; 1 << 20];
    for _ in 0..20 {
        for reader in &mut readers {
            reader.read_exact(&mut buffer).expect("more is to come");
        }
        most = most.max(server.memory());
    }
    drop(readers);
    let mib = |bytes: u64| bytes >> 20;
    println!(
        "{LARGE_READERS} readers of {} MiB: memory {} MiB before, at most {} MiB",
        LARGE >> 20,
        mib(before),
        mib(most)
    );
    assert!(most < before + GROWTH_MAX, "memory grew");
}

/// What curl says: status and what it was sent to.
fn curl(arguments: &[&str]) -> (String, Vec<u8>) {
    let file = tempfile::NamedTempFile::new().expect("there is room");
    let mut command = Command::new("curl");
    command.args(["-s", "-m", "20", "-w", "%{http_code} %{redirect_url}"]);
    command.arg("-o").arg(file.path()).args(arguments);
    let output = run(&mut command);
    let body = std::fs::read(file.path()).expect("just written");
    (output.stdout, body)
}

#[test]
fn viewers_are_sent_to_the_store_with_a_url_that_expires() {
    let store = World::new(&[]);
    let direct = format!("http://127.0.0.1:{}", store.weed.port());
    let more = [
        ("store.read", "redirect".to_owned()),
        ("store.read_endpoint", direct.clone()),
        ("store.read_expires", "2s".to_owned()),
    ];
    let world = World {
        settings: store.settings.iter().cloned().chain(more).collect(),
        ..store
    };
    let server = world.server();
    // What is live is served from here, whatever the store does.
    let live = own_push(&SHORT_GOP, &server.publish_url("now"), Speed::RealTime);
    wait_for("a live segment", SOON, || {
        http::try_get(&server.index_url("now")).filter(|reply| reply.status == 200)
    });
    drop(Recording::of_index(&server.index_url("now")));
    drop(live);

    let folder = world.record(&server, &SHORT_GOP, "away");
    let object = format!("{folder}/0000/00000000.ts");
    let url = server.url(&format!("/hls/{object}"));
    let original = fetched(&world.weed, &object);
    let (sent, _) = curl(&[&url]);
    let place = sent.strip_prefix("302 ").expect("a redirect");
    assert!(place.starts_with(&direct), "{place}");
    let reply = http::request("GET", &url, &[]);
    assert_eq!(reply.header("cache-control"), "private, max-age=1");
    assert_eq!(reply.header("access-control-allow-origin"), "*");
    assert_eq!(curl(&["-L", &url]), ("200 ".to_owned(), original.clone()));
    let part = curl(&["-L", "-r", "188-375", &url]);
    assert_eq!(part, ("206 ".to_owned(), original[188..376].to_vec()));
    assert_eq!(curl(&["-L", "-I", &url]).0, "200 ");
    // Playlists come from here; ffmpeg and ffprobe follow to the segments.
    lossless::assert_whole(&SHORT_GOP, &server.url(&format!("/hls/{folder}/vod.m3u8")));
    assert!(world.proxy.gets(".ts").is_empty(), "none by way of here");

    let signature = place.rsplit_once("Signature=").expect("a signature").1;
    assert!(!server.log().contains(signature), "it is in the log");
    std::thread::sleep(Duration::from_millis(3200));
    assert_eq!(curl(&[place]).0, "403 ", "the URL has expired");

    // Who may not play it is not sent anywhere, nor who may from some addresses only.
    let log = server.log();
    let (_, token) = log.split_once("ms_").expect("the first start says it");
    let token: String = { token.chars() }
        .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
        .collect();
    let set = |settings: &str, expected: &str| {
        succeed(
            Command::new("curl")
                .args(["-s", "-f", "-X", "PUT"])
                .args(["-H", "Content-Type: application/json"])
                .args(["-H", &format!("Authorization: Bearer ms_{token}")])
                .args(["-d", settings])
                .arg(server.url("/api/v1/channels/live/away")),
        );
        wait_for(settings, SOON, || {
            (curl(&[&url]).0 == expected).then_some(())
        });
    };
    set(r#"{"play_from":["127.0.0.0/8"]}"#, "200 ");
    set(r#"{"playback":"signed"}"#, "403 ");
}

#[test]
fn a_store_that_signs_nothing_is_refused_at_the_start() {
    let check = |settings: &[&str], environment: &[(&str, &str)], expected: &str| {
        let data = tempfile::tempdir().expect("a folder for the server");
        let mut command = millstream();
        command.arg("serve").current_dir(data.path());
        let any = |name: &str| format!("{name}=127.0.0.1:{}", free_port());
        let listen = [any("rtmp.listen"), any("http.listen")];
        let settings = settings.iter().map(|one| (*one).to_owned());
        for setting in settings.chain(listen) {
            command.args(["--set", &setting]);
        }
        command.args(["--set", "store.read=redirect"]);
        command.envs(environment.iter().copied());
        let output = Running::start(&mut command).finish(SOON);
        let said = output.stderr;
        assert!(
            !output.status.success() && said.contains(expected),
            "{said}"
        );
    };
    check(&[], &[], "needs a remote store");
    let sas = [
        ("AZURE_STORAGE_ACCOUNT_NAME", "account"),
        ("AZURE_STORAGE_SAS_KEY", "sv=2024-01-01&sig=c2lnbmVk"),
    ];
    let az = ["store.url=az://container"];
    check(&az, &sas, "az://container does not");
    let bad = ["store.url=s3://bucket", "store.read_expires=8days"];
    check(&bad, &[], "must be 1s to 7days");
}
