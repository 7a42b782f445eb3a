//! The floor of serving: answers every request on a kept HTTP/1.1 connection with one file, and does nothing else.
//!
//! `floor LISTEN FILE sendfile` lets the kernel send the file out of its page cache; `floor LISTEN FILE memory`
//! writes the same bytes from memory, as a server with a cache does.

use rustix::fs::sendfile;
use std::fs::File;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

/// Where the bytes come from.
enum Body {
    File(File),
    Memory(Vec<u8>),
}

#[tokio::main]
async fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (listen, path, body) = match *arguments.as_slice() {
        [listen, path, "memory"] => (listen, path, Body::Memory(std::fs::read(path)?)),
        [listen, path, "sendfile"] => (listen, path, Body::File(File::open(path)?)),
        _ => {
            eprintln!("usage: floor LISTEN FILE sendfile|memory");
            std::process::exit(2);
        }
    };
    let size = std::fs::metadata(path)?.len();
    let body = Arc::new(body);
    let listener = TcpListener::bind(listen).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let body = body.clone();
        tokio::spawn(async move {
            // wrk hangs up in the middle of an answer when its time is over.
            let _ = serve(stream, &body, size).await;
        });
    }
}

async fn serve(mut stream: TcpStream, body: &Body, size: u64) -> io::Result<()> {
    let head =
        format!("HTTP/1.1 200 OK\r\nContent-Type: video/mp2t\r\nContent-Length: {size}\r\n\r\n");
    let mut request = Vec::new();
    loop {
        while !request.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut request).await? == 0 {
                return Ok(());
            }
        }
        request.clear();
        stream.write_all(head.as_bytes()).await?;
        match body {
            Body::Memory(bytes) => stream.write_all(bytes).await?,
            Body::File(file) => {
                let mut at = 0;
                while at < size {
                    let left = usize::try_from(size - at).unwrap_or(usize::MAX);
                    let send = || Ok(sendfile(&stream, file, Some(&mut at), left)?);
                    stream.async_io(Interest::WRITABLE, send).await?;
                }
            }
        }
    }
}
