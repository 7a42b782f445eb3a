//! How long after the last byte of a segment's closing frame does the live playlist name the segment?
//!
//! `latency CLIP.flv RTMP_URL PLAYLIST_HOST:PORT /hls/HUB/CHANNEL/ [SECONDS]` publishes the clip in real
//! time and asks for the playlist without pause after each key frame. Prints one line: median, 99th
//! percentile and most, in milliseconds. With `millstream push --connections 200` beside it, it measures a
//! busy server. The clip's groups of pictures must be as long as the server's segments.

#![allow(clippy::disallowed_methods)] // it measures: it reads clocks

use millstream::cli::{Clip, Pusher};
use millstream::flv::TagKind;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A playlist that says nothing new for so long will not.
const PATIENCE: Duration = Duration::from_secs(2);

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [clip, url, host, folder, rest @ ..] = arguments.as_slice() else {
        return Err(
            "usage: latency CLIP.flv RTMP_URL HOST:PORT /hls/HUB/CHANNEL/ [SECONDS]".into(),
        );
    };
    let seconds = rest.first().map_or(Ok(60), |s| s.parse())?;
    let clip = Clip::parse(std::fs::read(clip)?.into())?;
    let mut pusher = Pusher::connect(url).await?;
    let mut viewer = Viewer {
        stream: TcpStream::connect(host).await?,
        folder: folder.clone(),
        media: None,
    };
    viewer.stream.set_nodelay(true)?;
    let begun = Instant::now();
    let (mut named, mut keys, mut samples) = (0, 0, Vec::new());
    for tag in clip.tags() {
        if begun.elapsed() > Duration::from_secs(seconds) {
            break;
        }
        let due = begun + Duration::from_millis(tag.timestamp_ms.into());
        tokio::time::sleep_until(due.into()).await;
        pusher.tag(tag).await?;
        let sent = Instant::now();
        let head = tag.body.to_bytes();
        let is_key =
            tag.kind == TagKind::Video && head.first() == Some(&0x17) && head.get(1) == Some(&1);
        keys += usize::from(is_key);
        // The first key frame opens the first segment; each further one closes one.
        while is_key && keys > 1 && sent.elapsed() < PATIENCE {
            let now = viewer.segments().await?;
            if now > named {
                samples.push(sent.elapsed());
                named = now;
                break;
            }
        }
    }
    pusher.stop().await?;
    samples.sort_unstable();
    let at = |share: usize| {
        samples.get((samples.len() * share / 100).min(samples.len().saturating_sub(1)))
    };
    let ms = |sample: Option<&Duration>| sample.map_or(f64::NAN, |s| s.as_secs_f64() * 1000.0);
    println!(
        "{} segments: median {:.2} ms, p99 {:.2} ms, most {:.2} ms",
        samples.len(),
        ms(at(50)),
        ms(at(99)),
        ms(samples.last())
    );
    Ok(())
}

/// A kept connection that asks for playlists.
struct Viewer {
    stream: TcpStream,
    folder: String,
    media: Option<String>,
}

impl Viewer {
    /// How many segments there have been, as the live playlist tells.
    async fn segments(&mut self) -> Result<u64, Failure> {
        if self.media.is_none() {
            let index = self.get(&format!("{}index.m3u8", self.folder)).await?;
            let media = index.lines().find(|line| line.ends_with("media.m3u8"));
            self.media = media.map(|media| format!("{}{media}", self.folder));
        }
        let Some(media) = self.media.clone() else {
            return Ok(0);
        };
        let text = self.get(&media).await?;
        let first = text
            .lines()
            .find_map(|line| line.strip_prefix("#EXT-X-MEDIA-SEQUENCE:"));
        let first: u64 = first.map_or(Ok(0), str::parse)?;
        Ok(first
            + text
                .lines()
                .filter(|line| line.starts_with("#EXTINF"))
                .count() as u64)
    }

    async fn get(&mut self, path: &str) -> Result<String, Failure> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            self.stream.read_buf(&mut answer).await?;
            let text = String::from_utf8_lossy(&answer);
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.lines().find_map(|line| {
                line.to_ascii_lowercase()
                    .strip_prefix("content-length: ")?
                    .parse()
                    .ok()
            });
            if body.len() >= length.unwrap_or(0) {
                return Ok(if head.starts_with("HTTP/1.1 200") {
                    body.to_owned()
                } else {
                    String::new()
                });
            }
        }
    }
}
