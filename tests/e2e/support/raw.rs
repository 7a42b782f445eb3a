//! A publisher that can be rude: RTMP by hand on a plain socket.

use millstream::cli::Clip;
use millstream::flv::{Tag, TagKind};
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// For an answer; the machine may be busy.
const ANSWER_MAX: Duration = Duration::from_secs(20);

pub(crate) struct Raw {
    pub(crate) socket: TcpStream,
    /// Whether it says that it can connect anew when it is asked to (Enhanced RTMP, capsEx).
    pub(crate) can_reconnect: bool,
    /// All that was said since the handshake.
    heard: Vec<u8>,
}

impl Raw {
    /// Behind its handshake.
    pub(crate) fn connect(address: &str) -> Self {
        Self::connect_through("", address)
    }

    /// The same by a proxy that says this first.
    pub(crate) fn connect_through(preface: &str, address: &str) -> Self {
        let mut socket = TcpStream::connect(address).expect("the server listens");
        socket.write_all(preface.as_bytes()).expect("it listens");
        socket
            .set_read_timeout(Some(ANSWER_MAX))
            .expect("a timeout");
        let hello = [&[3_u8][..], &[0; 1536]].concat();
        socket.write_all(&hello).expect("it listens");
        let mut answer = [0; 1 + 2 * 1536];
        socket.read_exact(&mut answer).expect("S0, S1 and S2");
        socket.write_all(&answer[1..1537]).expect("it listens");
        Self {
            socket,
            can_reconnect: false,
            heard: Vec::new(),
        }
    }

    /// Asks to publish; the code of the answer, such as `NetStream.Publish.Start`.
    pub(crate) fn publish(&mut self, app: &str, name: &str) -> String {
        let caps = [&[0, 6][..], b"capsEx", &[0], &1.0_f64.to_be_bytes()].concat();
        let caps = if self.can_reconnect { caps } else { Vec::new() };
        let app = [&[3, 0, 3][..], b"app", &string(app), &caps, &[0, 0, 9]].concat();
        self.command(0, "connect", &app);
        self.command(0, "createStream", &[5]);
        let arguments = [&[5][..], &string(name), &string("live")].concat();
        self.command(1, "publish", &arguments);
        self.hear("NetStream.Publish.")
    }

    pub(crate) fn command(&mut self, stream: u32, name: &str, arguments: &[u8]) {
        let number = [&[0_u8][..], &2.0_f64.to_be_bytes()].concat();
        let payload = [&string(name)[..], &number, arguments].concat();
        self.message(20, stream, 0, &payload).expect("it listens");
    }

    /// A message in chunks of 128 bytes.
    pub(crate) fn message(
        &mut self,
        type_id: u8,
        stream: u32,
        at: u32,
        payload: &[u8],
    ) -> std::io::Result<()> {
        let mut bytes = vec![4];
        bytes.extend(&at.to_be_bytes()[1..]);
        bytes.extend(&u32::try_from(payload.len()).expect("short").to_be_bytes()[1..]);
        bytes.push(type_id);
        bytes.extend(stream.to_le_bytes());
        for (nth, chunk) in payload.chunks(128).enumerate() {
            if nth > 0 {
                bytes.push(0xc4);
            }
            bytes.extend(chunk);
        }
        self.socket.write_all(&bytes)
    }

    /// Sends the tags up to `end_ms` at once.
    pub(crate) fn send(&mut self, tags: &[Tag], end_ms: u32) {
        self.send_between(tags, 0, end_ms);
    }

    /// Sends the tags from `start_ms` to `end_ms` at once.
    pub(crate) fn send_between(&mut self, tags: &[Tag], start_ms: u32, end_ms: u32) {
        let tags = tags.iter().filter(|tag| tag.timestamp_ms >= start_ms);
        for tag in tags.take_while(|tag| tag.timestamp_ms < end_ms) {
            let kind = if tag.kind == TagKind::Audio { 8 } else { 9 };
            self.message(kind, 1, tag.timestamp_ms, &tag.body.to_bytes())
                .expect("it listens");
        }
    }

    /// Listens until the word that begins so has come whole; empty if the server hangs up before.
    pub(crate) fn hear(&mut self, start: &str) -> String {
        loop {
            if let Some(at) = self
                .heard
                .windows(start.len())
                .position(|window| window == start.as_bytes())
            {
                let word = self.heard[at..]
                    .iter()
                    .take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'.');
                let word = String::from_utf8(word.copied().collect()).expect("ASCII");
                if at + word.len() < self.heard.len() {
                    self.heard.drain(..at + word.len());
                    return word;
                }
            }
            let mut more = [0; 4096];
            match self.socket.read(&mut more) {
                Ok(0) => return String::new(),
                Ok(read) => self.heard.extend(&more[..read]),
                Err(error) => panic!("waiting for {start}: {error}"),
            }
        }
    }

    /// Waits until the server hangs up; how long that took.
    pub(crate) fn until_closed(&mut self) -> Duration {
        let began = Instant::now();
        let mut sink = [0; 4096];
        loop {
            match self.socket.read(&mut sink) {
                Ok(0) => return began.elapsed(),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return began.elapsed(),
                Err(error) => panic!("the server keeps the connection: {error}"),
            }
        }
    }
}

fn string(text: &str) -> Vec<u8> {
    let len = u16::try_from(text.len()).expect("short");
    [&[2][..], &len.to_be_bytes(), text.as_bytes()].concat()
}

/// The tags of a clip.
pub(crate) fn tags(clip: &super::clips::Clip) -> Vec<Tag> {
    let bytes = std::fs::read(clip.path()).expect("a clip");
    Clip::parse(bytes.into())
        .expect("an FLV file")
        .tags()
        .to_vec()
}
