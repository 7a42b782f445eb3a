//! SeaweedFS: a real S3 server, on ports and in a folder of its own.

use super::port::free_port;
use super::process::{Running, run, tool};
use super::{http, wait_for};
use rustix::process::Signal;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const KEY: &str = "test-key";
const SECRET: &str = "test-secret";
const BUCKET: &str = "recordings";
/// It brings up four servers in one process, each in its own time.
const START_LIMIT: Duration = Duration::from_secs(60);
/// A port that was free may be another's before all four have theirs; then it waits for ever.
const ATTEMPTS: usize = 3;
const ATTEMPT_LIMIT: Duration = Duration::from_secs(25);

pub(crate) struct Weed {
    running: Option<Running>,
    folder: tempfile::TempDir,
    ports: [u16; 4],
}

impl Weed {
    /// Starts it with an empty bucket.
    pub(crate) fn start() -> Self {
        Self::start_for("")
    }

    /// The same with a bucket that everybody may read and list.
    pub(crate) fn start_public() -> Self {
        let actions = format!(r#""Read:{BUCKET}","List:{BUCKET}""#);
        Self::start_for(&format!(r#",{{"name":"anonymous","actions":[{actions}]}}"#))
    }

    fn start_for(others: &str) -> Self {
        let weed = (0..ATTEMPTS).find_map(|_| Self::attempt(others));
        let weed =
            weed.unwrap_or_else(|| panic!("SeaweedFS does not come up in {ATTEMPTS} attempts"));
        weed.curl(&["-X", "PUT", "-o", "/dev/null"], "");
        // It makes its first volumes when the first object comes.
        let this_file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/support/weed.rs");
        wait_for("SeaweedFS to take an object", START_LIMIT, || {
            let code = weed.curl(&["-T", this_file, "-o", "/dev/null"], "/first");
            (code == "200").then_some(())
        });
        weed
    }

    /// On other ports and in another folder each time.
    fn attempt(others: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder for SeaweedFS");
        let identities = format!(
            r#"{{"identities":[{{"name":"test","credentials":[{{"accessKey":"{KEY}","secretKey":"{SECRET}"}}],"actions":["Admin","Read","Write","List"]}}{others}]}}"#
        );
        std::fs::write(folder.path().join("s3.json"), identities).expect("there is room");
        // Its own default for a gRPC port is the port plus 10,000, so those are nobody else's.
        let ports = std::array::from_fn(|_| free_port());
        let mut weed = Self {
            running: None,
            folder,
            ports,
        };
        weed.launch();
        let began = Instant::now();
        while began.elapsed() < ATTEMPT_LIMIT {
            if weed.answers() {
                return Some(weed);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("SeaweedFS does not come up on {:?}", weed.ports);
        None
    }

    /// Starts it again with what it has.
    pub(crate) fn resume(&mut self) {
        self.launch();
        wait_for("SeaweedFS", START_LIMIT, || self.answers().then_some(()));
    }

    fn answers(&self) -> bool {
        let code = self.curl(&["-I", "-o", "/dev/null"], "/");
        code == "200" || code == "404"
    }

    fn launch(&mut self) {
        let [master, volume, filer, s3] = self.ports;
        let mut command = Command::new(tool("tests/.tools/weed"));
        let folder = self.folder.path();
        command
            .args([
                "-logtostderr=true",
                "server",
                "-ip=127.0.0.1",
                "-filer",
                "-s3",
            ])
            .arg(format!("-dir={}", folder.display()))
            .arg(format!("-s3.config={}", folder.join("s3.json").display()))
            .arg(format!("-master.port={master}"))
            .arg(format!("-volume.port={volume}"))
            .arg(format!("-filer.port={filer}"))
            .arg(format!("-s3.port={s3}"))
            .args(["-s3.port.iceberg=0", "-s3.port.lance=0"])
            .args(["-volume.max=50", "-master.volumeSizeLimitMB=64"])
            .current_dir(folder);
        self.running = Some(Running::start(&mut command));
    }

    /// It goes like a light.
    pub(crate) fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.signal(Signal::KILL);
            running.wait(Duration::from_secs(10));
        }
    }

    /// It does not answer any more, and does not hang up either.
    pub(crate) fn freeze(&mut self) {
        self.signal(Signal::STOP);
    }

    /// It goes on.
    pub(crate) fn thaw(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) {
        if let Some(running) = &mut self.running {
            running.signal(signal);
        }
    }

    /// Settings of a server that keeps its recordings there.
    pub(crate) fn settings(&self) -> Vec<(&'static str, String)> {
        self.settings_at(self.ports[3])
    }

    /// The same by way of a proxy.
    pub(crate) fn settings_at(&self, port: u16) -> Vec<(&'static str, String)> {
        vec![
            ("store.url", format!("s3://{BUCKET}/archive")),
            ("store.endpoint", format!("http://127.0.0.1:{port}")),
            ("store.region", "us-east-1".to_owned()),
            ("store.access_key_id", KEY.to_owned()),
            ("store.secret_access_key", SECRET.to_owned()),
            ("store.publish_playlists", "true".to_owned()),
        ]
    }

    /// Where S3 is spoken.
    pub(crate) fn port(&self) -> u16 {
        self.ports[3]
    }

    /// Where everybody reads an object of the archive in a public bucket.
    pub(crate) fn public_url(&self, object: &str) -> String {
        format!("http://127.0.0.1:{}/{BUCKET}/archive/{object}", self.port())
    }

    /// Objects of a public archive and their sizes.
    pub(crate) fn list(&self) -> Vec<(String, u64)> {
        let url = format!("http://127.0.0.1:{}/{BUCKET}", self.port());
        let text = http::get(&format!("{url}?list-type=2&prefix=archive/")).text();
        assert!(text.contains("<IsTruncated>false"), "{text}");
        let inner = |part: &str, tag: &str| -> Option<String> {
            let (_, rest) = part.split_once(&format!("<{tag}>"))?;
            Some(rest.split_once('<')?.0.to_owned())
        };
        let objects = text.split("<Contents>").skip(1).map(|part| {
            let key = inner(part, "Key").expect("a name");
            let size = inner(part, "Size").and_then(|size| size.parse().ok());
            let object = key.strip_prefix("archive/").expect("what was asked for");
            (object.to_owned(), size.expect("a size"))
        });
        objects.collect()
    }

    /// Copies an object of the archive to `file`, as a viewer who reads the bucket gets it.
    pub(crate) fn fetch(&self, object: &str, file: &Path) -> bool {
        let file = file.to_string_lossy().into_owned();
        self.curl(&["-o", &file], &format!("/archive/{object}")) == "200"
    }

    /// Writes an object of the archive.
    pub(crate) fn put(&self, object: &str, file: &Path) -> bool {
        let file = file.to_string_lossy().into_owned();
        self.curl(&["-T", &file], &format!("/archive/{object}")) == "200"
    }

    fn curl(&self, arguments: &[&str], path: &str) -> String {
        let mut command = Command::new("curl");
        let output = run(command
            .args(["-s", "-m", "10", "-w", "%{stderr}%{http_code}"])
            .args(["--aws-sigv4", "aws:amz:us-east-1:s3"])
            .args(["--user", &format!("{KEY}:{SECRET}")])
            .args(arguments)
            .arg(format!("http://127.0.0.1:{}/{BUCKET}{path}", self.port())));
        output.stderr
    }
}
