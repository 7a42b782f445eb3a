//! The floor of the comparison: accepts the same RTMP connections, reads them with large buffers,
//! writes the bytes to files that it rotates, and does nothing else.
//!
//! `pump LISTEN DIR [GATHER_KIB]`: with `GATHER_KIB` it writes only when so much has been gathered.

use bytes::{Bytes, BytesMut};
use millstream::rtmp::{Config, Event, Seed, Session};
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Room of one read.
const READ_BYTES: usize = 256 << 10;
/// A file is closed and the next begun after so many bytes: two seconds of 3 Mbit/s.
const FILE_BYTES: usize = 750_000;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(listen), Some(dir)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: pump LISTEN DIR [GATHER_KIB]");
        std::process::exit(2);
    };
    let gather = arguments
        .next()
        .and_then(|kib| kib.parse::<usize>().ok())
        .unwrap_or(0)
        << 10;
    let listener = TcpListener::bind(listen).await?;
    for number in 0_u64.. {
        let (stream, _) = listener.accept().await?;
        let dir = Path::new(&dir).join(number.to_string());
        std::fs::create_dir_all(&dir)?;
        tokio::spawn(async move {
            if let Err(error) = serve(stream, dir, gather).await {
                eprintln!("connection {number}: {error}");
            }
        });
    }
    Ok(())
}

async fn serve(mut stream: TcpStream, dir: PathBuf, gather: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = BytesMut::new();
    if !begin(&mut stream, &mut buffer).await? {
        return Ok(());
    }
    let (mut file, mut number, mut written) = (File::create(dir.join("0"))?, 0_u64, 0);
    loop {
        buffer.reserve(READ_BYTES);
        let read = stream.read_buf(&mut buffer).await?;
        if read == 0 || buffer.len() >= gather.max(1) {
            file.write_all(&buffer)?;
            written += buffer.len();
            buffer.clear();
        }
        if read == 0 {
            return Ok(());
        }
        if written >= FILE_BYTES {
            number += 1;
            written = 0;
            file = File::create(dir.join(number.to_string()))?;
        }
    }
}

/// Lets the peer begin to publish; then the protocol is over for this program.
async fn begin(stream: &mut TcpStream, buffer: &mut BytesMut) -> std::io::Result<bool> {
    let mut session = Session::new(Config::default(), Seed([7; 32]));
    loop {
        buffer.reserve(READ_BYTES);
        if stream.read_buf(buffer).await? == 0 {
            return Ok(false);
        }
        let input: Bytes = buffer.split().freeze();
        session.handle_input(input).map_err(std::io::Error::other)?;
        let mut publishes = false;
        while let Some(event) = session.poll_event() {
            if let Event::Publish(request) = event {
                session.accept_publish(request.stream);
                publishes = true;
            }
        }
        while let Some(output) = session.poll_output() {
            stream.write_all(&output).await?;
        }
        if publishes {
            return Ok(true);
        }
    }
}
