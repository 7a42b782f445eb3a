//! A millstream that runs, and what talks to it.

use crate::support::port::free_port;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A server in a folder of its own; ended with this value.
pub(crate) struct Server {
    process: Child,
    pub(crate) http: String,
    pub(crate) rtmp_port: u16,
    /// The administrator's token, if this was the first start.
    pub(crate) token: Option<String>,
    /// The key of live/stream, if this was the first start.
    pub(crate) key: Option<String>,
    log: PathBuf,
}

/// An answer of the API.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) text: String,
}

impl Answer {
    /// Its JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }
}

impl Server {
    /// Starts a server on `folder` and waits until it is ready.
    pub(crate) fn start(folder: &Path, settings: &[&str]) -> Self {
        let (http_port, rtmp_port) = (free_port(), free_port());
        let log = folder.join("log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
        command.current_dir(folder).arg("serve");
        for setting in [
            format!("http.listen=127.0.0.1:{http_port}"),
            format!("rtmp.listen=127.0.0.1:{rtmp_port}"),
            "hls.segment_duration=1s".to_owned(),
        ] {
            command.args(["--set", &setting]);
        }
        for setting in settings {
            command.args(["--set", setting]);
        }
        let out = File::options().create(true).append(true).open(&log);
        let mut process = command
            .stdout(Stdio::piped())
            .stderr(out.expect("a log"))
            .spawn()
            .expect("millstream runs");
        let out = process.stdout.take().expect("piped");
        let mut greeting = Vec::new();
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            // An empty line is the last.
            let last = line.is_empty() && greeting.len() > 3;
            greeting.push(line);
            if last {
                break;
            }
        }
        Self::ready(process, http_port, rtmp_port, folder, &greeting)
    }

    fn ready(
        process: Child,
        http: u16,
        rtmp_port: u16,
        folder: &Path,
        greeting: &[String],
    ) -> Self {
        let after = |word: &str| {
            let line = greeting.iter().find(|line| line.contains(word))?;
            Some(line.rsplit_once(word)?.1.trim().to_owned())
        };
        let server = Self {
            process,
            http: format!("http://127.0.0.1:{http}"),
            rtmp_port,
            token: after("API token"),
            key: after("stream?key=").filter(|key| !key.starts_with('…')),
            log: folder.join("log"),
        };
        let ready = format!("{}/readyz", server.http);
        let log = || server.log();
        wait_for("the server", Duration::from_secs(20), || {
            assert!(!greeting.is_empty(), "it ended: {}", log());
            (get(&ready, None).status == 200).then_some(())
        });
        server
    }

    /// What it logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks the API as the owner of `token`.
    pub(crate) fn ask(&self, token: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        ask(&format!("{}{path}", self.http), method, Some(token), body)
    }

    /// Asks for something that everybody may have.
    pub(crate) fn get(&self, path: &str) -> Answer {
        get(&format!("{}{path}", self.http), None)
    }

    /// The URL to push to.
    pub(crate) fn rtmp(&self, rest: &str) -> String {
        format!("rtmp://127.0.0.1:{}/{rest}", self.rtmp_port)
    }

    /// Kills it as a fault would.
    pub(crate) fn kill(mut self) {
        self.process.kill().expect("it runs");
        let _ = self.process.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn get(url: &str, token: Option<&str>) -> Answer {
    ask(url, "GET", token, None)
}

/// One request.
pub(crate) fn ask(url: &str, method: &str, token: Option<&str>, body: Option<Value>) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(20)))
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    if let Some(token) = token {
        request = request.header("Authorization", format!("Bearer {token}"));
    }
    let text = match body {
        None => String::new(),
        Some(body) => {
            request = request.header("Content-Type", "application/json");
            body.to_string()
        }
    };
    let response = match text.is_empty() {
        true => agent.run(request.body(()).expect("a request")),
        false => agent.run(request.body(text).expect("a request")),
    };
    match response {
        Ok(mut response) => Answer {
            status: response.status().as_u16(),
            // Events have no end: that they begin is the answer.
            text: match response.body().mime_type() {
                Some("text/event-stream") => String::new(),
                _ => response.body_mut().read_to_string().unwrap_or_default(),
            },
        },
        Err(error) => Answer {
            status: 0,
            text: error.to_string(),
        },
    }
}

/// ffmpeg that pushes a test picture and a tone; ended with this value.
pub(crate) struct Push(Child);

impl Push {
    /// Begins to push to `url` in real time.
    pub(crate) fn start(url: &str) -> Self {
        let child = Command::new("ffmpeg")
            .args([
                "-v",
                "error",
                "-re",
                "-f",
                "lavfi",
                "-i",
                "testsrc2=size=320x180:rate=25",
            ])
            .args(["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000"])
            .args([
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-g",
                "25",
                "-pix_fmt",
                "yuv420p",
            ])
            .args(["-c:a", "aac", "-f", "flv", url])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self(child.expect("ffmpeg runs"))
    }

    /// Waits until it was ended by the server.
    pub(crate) fn ended_within(&mut self, limit: Duration) -> bool {
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if matches!(self.0.try_wait(), Ok(Some(_))) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(None))
    }

    /// Stops as a person does, with an orderly end.
    pub(crate) fn stop(mut self) {
        let _ = Command::new("kill")
            .args(["-INT", &self.0.id().to_string()])
            .status();
        let _ = self.0.wait();
    }
}

impl Drop for Push {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Asks again until there is an answer.
pub(crate) fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(Instant::now() < deadline, "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
}
