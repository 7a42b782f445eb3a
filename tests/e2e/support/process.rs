//! Other programs: started with a bound, ended by their id.

use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Protects the suite from a program that hangs; encoding and decoding of a clip take seconds.
const LIMIT: Duration = Duration::from_secs(120);

/// What a finished program left behind.
pub(crate) struct Output {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The server under test.
pub(crate) fn millstream() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millstream"));
    command.stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MILLSTREAM__") {
            command.env_remove(name);
        }
    }
    command
}

/// Debian's ffmpeg, silent but for problems.
pub(crate) fn ffmpeg() -> Command {
    quiet("ffmpeg")
}

/// A newer ffmpeg, which writes Enhanced RTMP.
pub(crate) fn newer_ffmpeg() -> Command {
    let path = tool("tests/.tools/ffmpeg");
    quiet(&path.to_string_lossy())
}

/// Something that `make setup` installs into the package's folder.
pub(crate) fn tool(path: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    assert!(
        path.exists(),
        "{} is missing: run `make setup`",
        path.display()
    );
    path
}

fn quiet(program: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["-hide_banner", "-nostdin", "-v", "warning", "-y"]);
    command
}

/// Runs `command` to its end, which must be a success; returns what it printed.
pub(crate) fn succeed(command: &mut Command) -> Output {
    let output = run(command);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}",
        output.status,
        output.stderr
    );
    output
}

/// Runs `command` to its end, whatever that is.
pub(crate) fn run(command: &mut Command) -> Output {
    Running::start(command).finish(LIMIT)
}

/// A program that runs beside the test, and not longer than the test.
pub(crate) struct Running {
    child: Child,
    name: String,
    stdout: File,
    stderr: File,
}

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let name = format!("{command:?}");
        let scratch = || tempfile::tempfile().expect("the machine has room for temporary files");
        let (stdout, stderr) = (scratch(), scratch());
        let sink =
            |file: &File| Stdio::from(file.try_clone().expect("a file handle can be cloned"));
        let child = (command.stdout(sink(&stdout)).stderr(sink(&stderr)).spawn())
            .unwrap_or_else(|error| panic!("{name}: {error}; run `make setup`"));
        Self {
            child,
            name,
            stdout,
            stderr,
        }
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self, limit: Duration) -> Output {
        let status = self.wait(limit);
        let status = status.unwrap_or_else(|| {
            panic!("{} ran longer than {limit:?}\n{}", self.name, self.stderr())
        });
        Output {
            status,
            stdout: contents(&self.stdout),
            stderr: self.stderr(),
        }
    }

    /// Its exit status, if it ends within `limit`.
    pub(crate) fn wait(&mut self, limit: Duration) -> Option<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return Some(status);
            }
            if began.elapsed() > limit {
                return None;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.wait(Duration::ZERO).is_none()
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        if self.is_running() {
            let _ = kill_process(Pid::from_child(&self.child), signal);
        }
    }

    /// Bytes of memory that it holds.
    pub(crate) fn memory(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        1024 * kib.expect("a running process has memory")
    }

    /// Its open descriptors. The catalog's do not count: it opens connections as it needs them, and
    /// keeps them.
    pub(crate) fn descriptors(&self) -> usize {
        let open = std::fs::read_dir(format!("/proc/{}/fd", self.child.id()));
        let links = { open.into_iter().flatten() }
            .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links
            .filter(|link| !link.to_string_lossy().contains("catalog"))
            .count()
    }

    pub(crate) fn stdout(&self) -> String {
        contents(&self.stdout)
    }

    pub(crate) fn stderr(&self) -> String {
        contents(&self.stderr)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::TERM);
        if self.wait(Duration::from_secs(5)).is_none() {
            self.signal(Signal::KILL);
            self.wait(Duration::from_secs(5));
        }
    }
}

/// All that was written to a file that a program still may write to. The handle shares its offset
/// with the writer's, so the file is opened anew.
fn contents(file: &File) -> String {
    use std::os::fd::AsRawFd;
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
    read.expect("a temporary file can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
