//! HTTP as players, caches and attackers use it, on a finished and a live channel.

use crate::support::clips;
use crate::support::http::{Reply, get, request};
use crate::support::process::succeed;
use crate::support::publisher::{Speed, ffmpeg_push};
use crate::support::recording::{Recording, finished};
use crate::support::server::Server;
use crate::support::watch::Watch;
use std::io::Read;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A server with a recording at `live/done`.
struct Served {
    server: Server,
    recording: Recording,
    _data: TempDir,
}

fn served() -> Served {
    let data = tempfile::tempdir().expect("a folder for the server");
    let server = Server::start(data.path(), &[("hls.reconnect_window", "1s")]);
    let push = ffmpeg_push(&clips::PLAIN, &server.publish_url("done"), Speed::Max);
    assert!(push.finish(Duration::from_secs(60)).status.success());
    let recording = finished(&server.index_url("done"));
    Served {
        server,
        recording,
        _data: data,
    }
}

impl Served {
    fn segment(&self) -> (String, &[u8]) {
        (
            self.recording.segment_urls()[1].clone(),
            &self.recording.files[1],
        )
    }
}

#[test]
fn segments_are_for_ever_and_playlists_are_not() {
    let served = served();
    let (segment, _) = served.segment();
    let cache = |url: &str| get(url).header("cache-control").to_owned();
    let segment_cache = cache(&segment);
    assert!(
        segment_cache.contains("immutable") && seconds_in(&segment_cache) >= 86_400,
        "{segment_cache}"
    );
    assert_eq!(get(&segment).header("content-type"), "video/mp2t");

    let watch = Watch::start(served.server.index_url("now"));
    let _push = ffmpeg_push(
        &clips::SHOW,
        &served.server.publish_url("now"),
        Speed::RealTime,
    );
    let index = served.server.index_url("now");
    let live = crate::support::wait_for("a live playlist", Duration::from_secs(15), || {
        let reply = request("GET", &index, &[]);
        let of_missing = reply.header("cache-control").to_owned();
        if reply.status == 404 {
            assert!(
                of_missing.contains("no-store")
                    || of_missing.contains("no-cache")
                    || seconds_in(&of_missing) <= 1,
                "{of_missing}"
            );
        }
        (reply.status == 200).then_some(reply)
    });
    let live_cache = live.header("cache-control");
    assert!(
        live_cache.contains("no-cache")
            || (live_cache.contains("max-age") && seconds_in(live_cache) <= 2),
        "{live_cache}"
    );
    let kind = live.header("content-type");
    assert!(kind.starts_with("application/vnd.apple.mpegurl"), "{kind}");
    watch.finish();
}

fn seconds_in(cache_control: &str) -> u64 {
    let (_, rest) = cache_control.split_once("max-age=").unwrap_or(("", "0"));
    rest.split(|c: char| !c.is_ascii_digit())
        .next()
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0)
}

/// RFC 9110 §14.
#[test]
fn ranges() {
    let served = served();
    let (url, bytes) = served.segment();
    let length = bytes.len();
    let last = length - 1;
    let check = |range: &str, status: u16, expected: std::ops::Range<usize>| {
        let reply = request("GET", &url, &[("range", range)]);
        assert_eq!(reply.status, status, "{range}");
        match status {
            206 => {
                let content_range =
                    format!("bytes {}-{}/{length}", expected.start, expected.end - 1);
                assert_eq!(reply.header("content-range"), content_range, "{range}");
                assert!(reply.body == bytes[expected], "{range}");
            }
            416 => assert_eq!(
                reply.header("content-range"),
                format!("bytes */{length}"),
                "{range}"
            ),
            _ => assert!(reply.body == bytes, "{range}"),
        }
        assert_eq!(reply.header("access-control-allow-origin"), "*", "{range}");
    };
    check("bytes=0-0", 206, 0..1);
    check("bytes=0-", 206, 0..length);
    check("bytes=188-375", 206, 188..376);
    check("bytes=-5", 206, length - 5..length);
    check(&format!("bytes={last}-"), 206, last..length);
    check(&format!("bytes=100-{}", length + 100), 206, 100..length);
    check(&format!("bytes=-{}", length + 100), 206, 0..length);
    check(&format!("bytes={length}-"), 416, 0..0);
    check("bytes=-0", 416, 0..0);
    check("bytes=5-2", 200, 0..length);
    check("bytes=x-y", 200, 0..length);
    check("lines=1-2", 200, 0..length);
    check("bytes=99999999999999999999999-", 416, 0..0);

    let etag = get(&url).header("etag").to_owned();
    let only_if = |validator: &str| {
        request(
            "GET",
            &url,
            &[("range", "bytes=0-0"), ("if-range", validator)],
        )
        .status
    };
    assert_eq!(only_if(&etag), 206);
    assert_eq!(only_if("\"another\""), 200);
}

#[test]
fn head_is_get_without_its_body() {
    let served = served();
    let index = served.server.index_url("done");
    for url in [
        served.segment().0,
        index,
        served.recording.url.clone(),
        served.server.url("/hls/live/nothing/index.m3u8"),
    ] {
        let (get, head) = (request("GET", &url, &[]), request("HEAD", &url, &[]));
        assert_eq!(head.status, get.status, "{url}");
        assert!(head.body.is_empty(), "{url}");
        for name in [
            "content-type",
            "content-length",
            "etag",
            "cache-control",
            "access-control-allow-origin",
        ] {
            assert_eq!(head.header(name), get.header(name), "{url}: {name}");
        }
        assert_eq!(
            get.header("content-length"),
            get.body.len().to_string(),
            "{url}"
        );
    }
}

#[test]
fn what_a_cache_has_is_not_sent_again() {
    let served = served();
    for url in [
        served.segment().0,
        served.server.index_url("done"),
        served.recording.url.clone(),
    ] {
        let first = get(&url);
        let etag = first.header("etag");
        assert!(
            etag.starts_with('"') || etag.starts_with("W/\""),
            "{url}: {etag:?}"
        );
        for validator in [
            etag.to_owned(),
            format!("\"another\", {etag}"),
            "*".to_owned(),
        ] {
            let again = request("GET", &url, &[("if-none-match", &validator)]);
            assert_eq!(
                (again.status, again.body.len()),
                (304, 0),
                "{url}: {validator}"
            );
            assert_eq!(again.header("etag"), etag, "{url}");
            assert_eq!(
                again.header("cache-control"),
                first.header("cache-control"),
                "{url}"
            );
            assert_eq!(again.header("access-control-allow-origin"), "*", "{url}");
        }
        assert_eq!(
            request("GET", &url, &[("if-none-match", "\"another\"")]).status,
            200,
            "{url}"
        );
    }
}

#[test]
fn playlists_are_compressed_and_segments_are_not() {
    let served = served();
    let plain = get(&served.recording.url);
    let ask = |accept: &str| request("GET", &served.recording.url, &[("accept-encoding", accept)]);
    for accept in ["gzip", "br;q=1.0, gzip;q=0.5, *;q=0.1"] {
        let packed = ask(accept);
        assert_eq!(packed.header("content-encoding"), "gzip", "{accept}");
        assert_eq!(
            packed.header("content-length"),
            packed.body.len().to_string()
        );
        assert!(
            packed
                .header("vary")
                .to_lowercase()
                .contains("accept-encoding"),
            "{packed:?}"
        );
        assert!(
            packed.header("etag") != plain.header("etag") || plain.header("etag").starts_with("W/"),
            "one strong ETag for two bodies"
        );
        let mut text = Vec::new();
        flate2::read::GzDecoder::new(&packed.body[..])
            .read_to_end(&mut text)
            .expect("it is gzip");
        assert!(text == plain.body, "another text when compressed");
    }
    assert_eq!(ask("gzip;q=0").header("content-encoding"), "");
    assert!(
        plain
            .header("vary")
            .to_lowercase()
            .contains("accept-encoding")
    );
    let segment = request("GET", &served.segment().0, &[("accept-encoding", "gzip")]);
    assert_eq!(segment.header("content-encoding"), "");
}

#[test]
fn other_origins_may_play() {
    let served = served();
    let url = served.segment().0;
    let headers = [
        ("origin", "https://example.com"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "range,authorization"),
    ];
    let preflight = request("OPTIONS", &url, &headers);
    assert!(matches!(preflight.status, 200 | 204), "{preflight:?}");
    assert_eq!(preflight.header("access-control-allow-origin"), "*");
    assert!(
        preflight
            .header("access-control-allow-headers")
            .to_lowercase()
            .contains("range"),
        "{preflight:?}"
    );
    let reply = request("GET", &url, &headers[..1]);
    let exposed = reply.header("access-control-expose-headers").to_lowercase();
    assert!(
        exposed.contains("content-range") && exposed.contains("content-length"),
        "{exposed:?}"
    );
}

#[test]
fn what_is_not_there_is_explained() {
    let served = served();
    let recording = served.recording.url.replace("vod.m3u8", "");
    let missing = [
        served.server.url("/hls/live/nobody/index.m3u8"),
        format!("{recording}0000/00009999.ts"),
        format!("{recording}recording.jsonl"),
        served
            .server
            .url("/hls/live/done/20200101T000000000-0000/media.m3u8"),
        served.server.url("/hls/"),
        served.server.url("/nothing/of/the/kind"),
    ];
    for url in missing {
        let reply = request("GET", &url, &[]);
        assert_eq!(reply.status, 404, "{url}");
        explains(&url, &reply);
        if url.contains("/hls/live/") {
            assert_eq!(reply.header("access-control-allow-origin"), "*", "{url}");
        }
    }
    for method in ["POST", "PUT", "DELETE"] {
        let reply = request(method, &served.segment().0, &[]);
        assert_eq!(reply.status, 405, "{method}");
        assert!(reply.header("allow").contains("GET"), "{method}: {reply:?}");
    }
}

/// An error is JSON with a sentence in it.
fn explains(url: &str, reply: &Reply) {
    // RFC 9457 has a type of its own for errors.
    let kind = reply.header("content-type");
    let is_json = ["application/json", "application/problem+json"]
        .iter()
        .any(|json| kind.starts_with(json));
    assert!(is_json, "{url}: {kind:?}");
    let error: serde_json::Value =
        serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{url}: {error}"));
    let has_sentence =
        |value: &serde_json::Value| value.as_str().is_some_and(|text| text.contains(' '));
    let values = error
        .as_object()
        .into_iter()
        .flat_map(|object| object.values());
    let nested = values
        .clone()
        .filter_map(|value| value.as_object())
        .flat_map(|object| object.values());
    assert!(
        values.clone().chain(nested).any(has_sentence),
        "{url}: {error}"
    );
}

#[test]
fn no_path_leaves_the_store() {
    let served = served();
    let base = served.recording.url.replace("vod.m3u8", "");
    let root = served.server.url("");
    let up = "../".repeat(12);
    let encoded = "%2e%2e%2f".repeat(12);
    let paths = [
        format!("{base}{up}etc/passwd"),
        format!("{root}/hls/{up}etc/passwd"),
        format!("{root}/{up}etc/passwd"),
        format!("{root}/hls/{encoded}etc/passwd"),
        format!("{root}/hls/live/{encoded}etc/passwd/index.m3u8"),
        format!("{root}/hls/live/%2fetc%2fpasswd"),
        format!("{root}/hls//etc/passwd"),
        format!("{root}/hls/live/..%5c..%5cetc%5cpasswd"),
        format!("{root}/hls/live/done%00/index.m3u8"),
        format!("{root}/hls/live/done/%252e%252e/index.m3u8"),
    ];
    for path in paths {
        let output = curl(&["--path-as-is", "-w", "\n%{http_code}", &path]);
        let (body, status) = output
            .rsplit_once('\n')
            .expect("curl prints the status last");
        assert!(matches!(status, "400" | "404"), "{path}: {status}");
        assert!(!body.contains("root:"), "{path}: {body}");
    }
}

#[test]
fn http_2_and_kept_connections() {
    let served = served();
    let (url, bytes) = served.segment();
    let size = bytes.len();
    let written = [
        "-w",
        "%{http_version} %{http_code} %{size_download} %{num_connects}\n",
        "-o",
        "/dev/null",
    ];
    let output = curl(&[&["--http2-prior-knowledge"], &written[..], &[&url]].concat());
    assert_eq!(output.trim(), format!("2 200 {size} 1"));
    let output = curl(
        &[
            &["--http1.1"],
            &written[..],
            &[&url, "-o", "/dev/null", &url],
        ]
        .concat(),
    );
    assert_eq!(output, format!("1.1 200 {size} 1\n1.1 200 {size} 0\n"));
}

fn curl(arguments: &[&str]) -> String {
    succeed(
        Command::new("curl")
            .args(["-sS", "--max-time", "20"])
            .args(arguments),
    )
    .stdout
}

#[test]
fn the_page_and_the_probe_are_there() {
    let served = served();
    let page = get(&served.server.url("/"));
    assert!(
        page.header("content-type").starts_with("text/html"),
        "{:?}",
        page.header("content-type")
    );
    assert!(page.text().contains("hls"), "the page has a player");
    get(&served.server.url("/healthz"));
}
