//! A real PostgreSQL (Debian package `postgresql`) in a temporary folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long a server may take to start.
const START_MAX_S: u32 = 20;

/// A database server that ends with this value.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    port: u16,
    server: Child,
}

impl Postgres {
    /// Makes an empty cluster and starts its server on a free port. It refuses to run as root, so it is `postgres`.
    pub(crate) fn start(port: u16) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).expect("ours");
        let data = folder.path().join("data");
        let made = program("initdb")
            .args(["--auth=trust", "--username=millstream", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.expect("initdb runs").success());
        let server = run(folder.path(), port);
        Self {
            folder,
            port,
            server,
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        format!("postgres://millstream@127.0.0.1:{}/postgres", self.port)
    }

    /// Ends the server at once, as a fault would; its data stays.
    pub(crate) fn stop(&mut self) {
        let pid = fs::read_to_string(self.folder.path().join("data/postmaster.pid"));
        if let Some(pid) = pid
            .ok()
            .and_then(|text| Some(text.lines().next()?.to_owned()))
        {
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
        }
        let _ = self.server.wait();
    }

    /// Starts it again on the same port.
    pub(crate) fn restart(&mut self) {
        self.server = run(self.folder.path(), self.port);
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(folder: &Path, port: u16) -> Child {
    let mut server = program("postgres")
        .arg("-D")
        .arg(folder.join("data"))
        .args(["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"])
        .args(["-c", "unix_socket_directories=", "-p", &port.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("postgres runs");
    for _ in 0..START_MAX_S * 20 {
        let ready = program("pg_isready")
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .status();
        if ready.is_ok_and(|ready| ready.success()) {
            return server;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = server.kill();
    let _ = server.wait();
    panic!("PostgreSQL does not start");
}

/// A program of the newest PostgreSQL that is installed.
fn program(name: &str) -> Command {
    let root = Path::new("/usr/lib/postgresql");
    let versions = fs::read_dir(root).expect("Debian's package postgresql is installed");
    let newest: Option<PathBuf> = versions.flatten().map(|version| version.path()).max();
    let path = newest.expect("a version").join("bin").join(name);
    let mut command = Command::new("runuser");
    command
        .args(["-u", "postgres", "--"])
        .arg(path)
        .current_dir("/");
    command
}
