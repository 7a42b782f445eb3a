//! What do many viewers of one live playlist wait for an answer?
//!
//! `viewers HOST:PORT PATH [VIEWERS] [SECONDS]` opens a connection for each viewer; each asks for the
//! playlist every two seconds, as players do, at a time of its own, and takes it compressed. Prints how
//! long answers took from when they were due, and how many different playlists were seen. With
//! `millstream push --connections 100 --loop` beside it, it measures a busy server, which needs
//! `http.connections_per_address` and `http.requests_per_address` raised for so many from one address.

#![allow(clippy::disallowed_methods)] // it measures: it reads clocks

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

/// How often a player asks where segments take two seconds.
const PERIOD: Duration = Duration::from_secs(2);
/// Connections that are being opened at a time: a queue of connections is not what is measured.
const OPENING: usize = 64;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host, path, rest @ ..] = arguments.as_slice() else {
        return Err("usage: viewers HOST:PORT PATH [VIEWERS] [SECONDS]".into());
    };
    let viewers: u32 = rest.first().map_or(Ok(10_000), |text| text.parse())?;
    let seconds: u64 = rest.get(1).map_or(Ok(30), |text| text.parse())?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept-Encoding: gzip\r\n\r\n");
    let (request, opening) = (
        Arc::<[u8]>::from(request.into_bytes()),
        Arc::new(Semaphore::new(OPENING)),
    );
    let mut open = tokio::task::JoinSet::new();
    for _ in 0..viewers {
        let (host, opening) = (host.clone(), opening.clone());
        open.spawn(async move {
            let _turn = opening.acquire().await?;
            let stream = TcpStream::connect(host).await?;
            stream.set_nodelay(true)?;
            Ok::<_, Failure>(stream)
        });
    }
    let streams = open.join_all().await;
    let begin = Instant::now() + Duration::from_secs(1);
    let mut watch = tokio::task::JoinSet::new();
    for (nth, stream) in (0u32..).zip(streams) {
        let first = begin + PERIOD * nth / viewers;
        let end = begin + Duration::from_secs(seconds);
        watch.spawn(view(stream?, request.clone(), first, end));
    }
    let (mut waits, mut tags) = (Vec::new(), HashSet::new());
    for seen in watch.join_all().await {
        let (waited, etags) = seen?;
        waits.extend(waited);
        tags.extend(etags);
    }
    waits.sort_unstable();
    let at = |permille: usize| waits.get(waits.len().saturating_sub(1) * permille / 1000);
    let ms = |wait: Option<&Duration>| wait.map_or(f64::NAN, |wait| wait.as_secs_f64() * 1000.0);
    println!(
        "{viewers} viewers, {} answers, {} playlists: median {:.2} ms, p99 {:.2} ms, most {:.2} ms",
        waits.len(),
        tags.len(),
        ms(at(500)),
        ms(at(990)),
        ms(at(1000))
    );
    Ok(())
}

/// How long each answer took, and the entity tags that were seen.
async fn view(
    mut stream: TcpStream,
    request: Arc<[u8]>,
    mut due: Instant,
    end: Instant,
) -> Result<(Vec<Duration>, HashSet<String>), Failure> {
    let (mut waited, mut tags) = (Vec::new(), HashSet::new());
    let mut answer = Vec::new();
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        stream.write_all(&request).await?;
        answer.clear();
        let mut whole = usize::MAX;
        while answer.len() < whole {
            if stream.read_buf(&mut answer).await? == 0 {
                return Err("the server hung up".into());
            }
            if let (usize::MAX, Some(head)) = (whole, head(&answer)) {
                if !head.starts_with("http/1.1 200") {
                    return Err(head.into());
                }
                let length = field(&head, "content-length").ok_or("no content-length")?;
                whole = head.len() + length.parse::<usize>()?;
                tags.extend(field(&head, "etag").map(str::to_owned));
            }
        }
        waited.push(due.elapsed());
        due += PERIOD;
    }
    Ok((waited, tags))
}

/// The head of an answer, once it is there, in lower case.
fn head(answer: &[u8]) -> Option<String> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(answer.get(..end + 4)?);
    Some(head.to_ascii_lowercase())
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines.find_map(|(field, value)| (field == name).then_some(value))
}
