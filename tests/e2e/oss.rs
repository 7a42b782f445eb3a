//! The OSS LiveChannel API, used by a client that nobody here wrote: the SDK from PyPI.

use crate::support::port::free_port;
use crate::support::process::{Running, tool};
use crate::support::server::Server;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest script pushes six times in real time.
const LIMIT: Duration = Duration::from_secs(240);

/// A server with the API on a port of its own.
struct Oss {
    server: Server,
    port: u16,
}

impl Oss {
    fn start(data: &Path) -> Self {
        let cnames = "[compat.oss.cnames]\n\"media.localhost\" = \"cname-bucket\"\n";
        let limits = "[compat.oss.limits]\nlookak = { read_only = true }\n\
            elseak = { buckets = [\"else-bucket\"] }\n";
        std::fs::write(data.join("config.toml"), format!("{cnames}{limits}"))
            .expect("a folder of this test");
        let port = free_port();
        let settings = [
            ("auth.publish", "key"),
            ("compat.oss.listen", &*format!("127.0.0.1:{port}")),
            ("compat.oss.keys.testak", "testsk"),
            ("auth.play_not_from.shut-bucket", "[\"127.0.0.0/8\"]"),
            ("auth.publish_not_from.shut-bucket", "[\"127.0.0.0/8\"]"),
            ("compat.oss.keys.lookak", "looksk"),
            ("compat.oss.keys.elseak", "elsesk"),
            ("log.level", "debug"),
        ];
        let server = Server::start(data, &settings);
        Self { server, port }
    }

    /// Runs a part of the script; it must say that all was as it should be.
    fn run(&self, part: &str) {
        let output = Running::start(&mut script(part, self.port)).finish(LIMIT);
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(output.status.success() && output.stdout == "ok\n", "{said}");
    }

    /// Neither secrets nor signatures are in the log.
    fn is_discreet(&self) {
        let log = self.server.log();
        for secret in ["testsk", "looksk", "Signature=", "authorization", "TOK+"] {
            assert!(!log.contains(secret), "{secret:?} is in the log:\n{log}");
        }
    }
}

fn script(part: &str, port: u16) -> Command {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/oss/live_channel.py");
    let mut command = Command::new(tool("tests/.tools/venv/bin/python"));
    command.arg(path).arg(part).arg(port.to_string());
    command
}

#[test]
fn a_channel_lives_its_life_by_the_sdk_and_outlives_the_server() {
    let data = tempfile::tempdir().expect("a folder");
    let mut oss = Oss::start(data.path());
    oss.run("story");
    oss.is_discreet();
    oss.server.kill();
    drop(oss);
    let oss = Oss::start(data.path());
    oss.run("after");
}

#[test]
fn every_call_is_answered_in_every_signature_and_addressing() {
    let data = tempfile::tempdir().expect("a folder");
    let oss = Oss::start(data.path());
    oss.run("calls");
    oss.is_discreet();
}

#[test]
fn nobody_reads_or_changes_anything_without_the_right_to() {
    let data = tempfile::tempdir().expect("a folder");
    let oss = Oss::start(data.path());
    oss.run("walk");
    oss.is_discreet();
}

#[test]
fn requests_as_other_sdks_write_them_are_answered() {
    let data = tempfile::tempdir().expect("a folder");
    let oss = Oss::start(data.path());
    oss.run("raw");
    oss.is_discreet();
}
