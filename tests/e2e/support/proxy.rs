//! Stands before an S3 server, counts what is written there, and fails as stores fail.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What goes wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Connections are closed at once.
    Down,
    /// Requests are not answered until that changes.
    Hanging,
    /// Each takes so much longer.
    Slow(Duration),
    /// One in three is answered with 500 or 503; half of those are carried out all the same.
    Failing,
}

/// A write that the server has carried out.
#[derive(Clone, Debug)]
pub(crate) struct Put {
    /// Path without the query.
    pub(crate) path: String,
    /// What was written, if it is a text.
    pub(crate) text: String,
}

/// A proxy on a port of its own, until the test ends.
pub(crate) struct Proxy {
    shared: Arc<Shared>,
    port: u16,
}

struct Shared {
    upstream: u16,
    fault: Mutex<Fault>,
    changed: Condvar,
    requests: AtomicU64,
    refused: AtomicU64,
    puts: Mutex<Vec<Put>>,
    /// Of every GET the path and the range.
    gets: Mutex<Vec<(String, String)>>,
}

impl Proxy {
    pub(crate) fn start(upstream: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("there are free ports");
        let port = listener.local_addr().expect("it is bound").port();
        let shared = Arc::new(Shared {
            upstream,
            fault: Mutex::new(Fault::None),
            changed: Condvar::new(),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            puts: Mutex::default(),
            gets: Mutex::default(),
        });
        let serving = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = serving.clone();
                // Whatever breaks a connection, the client tries again on another.
                std::thread::spawn(move || shared.serve(&client).ok());
            }
        });
        Self { shared, port }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn set(&self, fault: Fault) {
        *lock(&self.shared.fault) = fault;
        self.shared.changed.notify_all();
    }

    /// Requests that were answered with a failure of the proxy's own.
    pub(crate) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::SeqCst)
    }

    /// What the server has written, in order.
    pub(crate) fn puts(&self) -> Vec<Put> {
        lock(&self.shared.puts).clone()
    }

    /// The ranges, empty for the whole, of which somebody has asked for the object with this path.
    pub(crate) fn gets(&self, path: &str) -> Vec<String> {
        let gets = lock(&self.shared.gets);
        let of_path = gets.iter().filter(|(asked, _)| asked.ends_with(path));
        of_path.map(|(_, range)| range.clone()).collect()
    }

    /// How often each object was written.
    pub(crate) fn puts_by_path(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for put in self.puts() {
            *counts.entry(put.path).or_default() += 1;
        }
        counts
    }
}

impl Shared {
    fn fault(&self) -> MutexGuard<'_, Fault> {
        lock(&self.fault)
    }

    fn serve(&self, client: &TcpStream) -> std::io::Result<()> {
        if *self.fault() == Fault::Down {
            return Ok(());
        }
        client.set_nodelay(true)?;
        let mut from_client = BufReader::new(client);
        let server = TcpStream::connect(("127.0.0.1", self.upstream))?;
        server.set_nodelay(true)?;
        let mut from_server = BufReader::new(&server);
        while let Some(request) = Message::read(&mut from_client, false)? {
            let number = self.requests.fetch_add(1, Ordering::SeqCst);
            if request.method() == "GET" {
                lock(&self.gets).push((request.path(), request.header("range")));
            }
            let fault = {
                let hangs = |fault: &mut Fault| *fault == Fault::Hanging;
                let waited = self.changed.wait_while(self.fault(), hangs);
                *waited.unwrap_or_else(PoisonError::into_inner)
            };
            match fault {
                Fault::Down => return Ok(()),
                Fault::Slow(delay) => std::thread::sleep(delay),
                _ => {}
            }
            let fails = fault == Fault::Failing && number.is_multiple_of(3);
            let carried_out = !fails || number.is_multiple_of(2);
            let mut answer = None;
            if carried_out {
                (&server).write_all(&request.bytes)?;
                let to_head = request.method() == "HEAD";
                answer = Message::read(&mut from_server, to_head)?;
                let good = answer.as_ref().is_some_and(Message::is_success);
                if request.method() == "PUT" && good {
                    lock(&self.puts).push(request.put());
                }
            }
            if fails {
                self.refused.fetch_add(1, Ordering::SeqCst);
                let status =
                    ["500 Internal Server Error", "503 Slow Down"][(number / 3 % 2) as usize];
                write!(&*client, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n")?;
                continue;
            }
            let Some(answer) = answer else { return Ok(()) };
            (&*client).write_all(&answer.bytes)?;
        }
        Ok(())
    }
}

/// A request or an answer of HTTP/1.1 as it came.
struct Message {
    bytes: Vec<u8>,
    head_len: usize,
}

impl Message {
    /// The next one; `None` when the other end has closed.
    fn read(from: &mut impl BufRead, without_body: bool) -> std::io::Result<Option<Self>> {
        let mut bytes = Vec::new();
        let (mut length, mut chunked) = (0, false);
        loop {
            let begin = bytes.len();
            if from.read_until(b'\n', &mut bytes)? == 0 {
                return Ok(None);
            }
            let line = String::from_utf8_lossy(&bytes[begin..]).to_ascii_lowercase();
            if line.trim().is_empty() {
                break;
            }
            match line.split_once(':') {
                Some(("content-length", value)) => length = value.trim().parse().unwrap_or(0),
                Some(("transfer-encoding", value)) => chunked = value.contains("chunked"),
                _ => {}
            }
        }
        let head_len = bytes.len();
        let status = String::from_utf8_lossy(&bytes[..head_len.min(12)]).into_owned();
        if without_body || status.ends_with("204") || status.ends_with("304") {
            return Ok(Some(Self { bytes, head_len }));
        }
        from.take(length).read_to_end(&mut bytes)?;
        while chunked {
            let begin = bytes.len();
            from.read_until(b'\n', &mut bytes)?;
            let size = String::from_utf8_lossy(&bytes[begin..]).trim().to_owned();
            let size = u64::from_str_radix(&size, 16).unwrap_or(0);
            from.take(size + 2).read_to_end(&mut bytes)?;
            chunked = size > 0;
        }
        Ok(Some(Self { bytes, head_len }))
    }

    fn word(&self, nth: usize) -> String {
        let head = String::from_utf8_lossy(&self.bytes[..self.head_len]);
        let words = head.split_whitespace().nth(nth);
        words.unwrap_or_default().to_owned()
    }

    fn method(&self) -> String {
        self.word(0)
    }

    fn is_success(&self) -> bool {
        self.word(1).starts_with('2')
    }

    /// Without the query.
    fn path(&self) -> String {
        let target = self.word(1);
        target.split('?').next().unwrap_or_default().to_owned()
    }

    /// The value of a header, empty if it is not there.
    fn header(&self, name: &str) -> String {
        let head = String::from_utf8_lossy(&self.bytes[..self.head_len]);
        let value = head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name)
                .then(|| value.trim().to_owned())
        });
        value.unwrap_or_default()
    }

    fn put(&self) -> Put {
        let path = self.path();
        let is_text = path.ends_with(".m3u8") || path.ends_with(".jsonl");
        let body = &self.bytes[self.head_len..];
        let text = match is_text {
            true => String::from_utf8_lossy(body).into_owned(),
            false => String::new(),
        };
        Put { path, text }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
