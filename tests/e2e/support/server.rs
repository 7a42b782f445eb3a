//! A server of our own on free ports, that ends with the test.

use super::port::free_port;
use super::process::{Running, millstream};
use super::{http, wait_for};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

/// A start takes tens of milliseconds; a loaded machine gets its time.
const START_LIMIT: Duration = Duration::from_secs(20);
/// By then every session must have been closed properly.
const STOP_LIMIT: Duration = Duration::from_secs(15);

pub(crate) struct Server {
    running: Running,
    rtmp_port: u16,
    http_port: u16,
}

impl Server {
    /// Starts `millstream serve` with its data in `data`, open to any publisher unless `settings` say otherwise.
    pub(crate) fn start(data: &Path, settings: &[(&str, &str)]) -> Self {
        Self::start_with(data, &[], settings)
    }

    /// Starts `millstream serve --demo`.
    pub(crate) fn start_demo(data: &Path) -> Self {
        Self::start_with(data, &["--demo"], &[])
    }

    fn start_with(data: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> Self {
        let (rtmp_port, http_port) = (free_port(), free_port());
        let mut command = millstream();
        command.arg("serve").args(arguments).current_dir(data);
        let mut set = |name: &str, value: &str| {
            command.arg("--set").arg(format!("{name}={value}"));
        };
        set("data_dir", &data.join("data").to_string_lossy());
        set("rtmp.listen", &format!("127.0.0.1:{rtmp_port}"));
        set("http.listen", &format!("127.0.0.1:{http_port}"));
        set("auth.publish", "open");
        for (name, value) in settings {
            set(name, value);
        }
        let mut server = Self {
            running: Running::start(&mut command),
            rtmp_port,
            http_port,
        };
        server.wait_until_ready();
        server
    }

    fn wait_until_ready(&mut self) {
        let health = self.url("/readyz");
        wait_for("the server's /readyz", START_LIMIT, || {
            assert!(
                self.running.is_running(),
                "the server ended at its start\n{}",
                self.log()
            );
            http::try_get(&health).filter(|reply| reply.status == 200)
        });
    }

    /// The API token that its first start prints; it may be ready before we have read that.
    pub(crate) fn first_token(&self) -> String {
        wait_for("the first start's API token", START_LIMIT, || {
            let printed = self.running.stdout();
            // A line that has its end.
            let (_, rest) = printed.split_once("API token")?;
            Some(rest.split_once('\n')?.0.trim().to_owned())
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    pub(crate) fn rtmp_address(&self) -> String {
        format!("127.0.0.1:{}", self.rtmp_port)
    }

    /// Where to push to `live/NAME`; `name` may have a query.
    pub(crate) fn publish_url(&self, name: &str) -> String {
        format!("rtmp://{}/live/{name}", self.rtmp_address())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.http_port)
    }

    /// The multivariant playlist of `live/NAME`.
    pub(crate) fn index_url(&self, name: &str) -> String {
        self.url(&format!("/hls/live/{name}/index.m3u8"))
    }

    /// All it has printed so far: the log, one line an event, and what it says at its start.
    pub(crate) fn log(&self) -> String {
        self.running.stdout() + &self.running.stderr()
    }

    /// Log lines that contain `text`.
    pub(crate) fn log_lines(&self, text: &str) -> Vec<String> {
        self.running
            .stderr()
            .lines()
            .filter(|line| line.contains(text))
            .map(str::to_owned)
            .collect()
    }

    /// What its log says, as an operator sums it up: how often each line came, without its values.
    pub(crate) fn summary(&self) -> BTreeMap<String, usize> {
        let mut lines = BTreeMap::new();
        for line in self.running.stderr().lines() {
            let words = line.split_whitespace().skip(1);
            let words: Vec<_> = words.take_while(|word| !word.contains('=')).collect();
            *lines.entry(words.join(" ")).or_default() += 1;
        }
        lines
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory(&self) -> u64 {
        self.running.memory()
    }

    /// A value of its `/metrics`, by name and label.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = http::get(&self.url("/metrics")).text();
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let value = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        value.trim().parse().expect("a number")
    }

    /// Its log alone, without what it prints at its start.
    pub(crate) fn running_log(&self) -> String {
        self.running.stderr()
    }

    /// Tells it something, as systemd does.
    pub(crate) fn signal(&mut self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Its memory in bytes and its open descriptors.
    pub(crate) fn resources(&self) -> (u64, usize) {
        (self.running.memory(), self.running.descriptors())
    }

    /// Asks it to end, as systemd and Ctrl-C do.
    pub(crate) fn stop(&mut self, signal: Signal) -> ExitStatus {
        self.running.signal(signal);
        let status = self.running.wait(STOP_LIMIT);
        status.unwrap_or_else(|| panic!("still running {STOP_LIMIT:?} after {signal:?}"))
    }

    /// Kills it as a power cut would.
    pub(crate) fn kill(&mut self) {
        self.running.signal(Signal::KILL);
        self.running.wait(STOP_LIMIT);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- what the server said ---\n{}---", self.log());
        } else {
            let panics = self.log_lines("panicked at");
            assert!(panics.is_empty(), "the server panicked: {panics:?}");
        }
    }
}
