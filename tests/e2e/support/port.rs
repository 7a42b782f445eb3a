//! Ports for servers.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

/// Below all ports that the system gives to connections (`ip_local_port_range`): one that nobody
/// listens on stays free until the server that it is for does, and while that server is away.
const FIRST: u16 = 10_000;
/// SeaweedFS listens 10,000 above each of its ports too.
const COUNT: u16 = 10_000;

/// A port that nobody listens on, and that no other test was given.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let begin = u16::try_from(std::process::id() % u32::from(COUNT)).unwrap_or(0);
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let next = || begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST;
    let mut tried = (0..COUNT).map(|_| next());
    tried.find(free).expect("there are free ports")
}
