//! The only reader of time and of randomness.
//!
//! Everything else is told the time, so that tests can say what time it is.

#![allow(clippy::disallowed_methods)] // here is where the disallowed clocks are read

use crate::media::WallTime;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// The time of the wall clock.
pub fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    WallTime::from_unix_ms(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// The time of a clock that never steps.
pub fn monotonic() -> Instant {
    Instant::now()
}

/// Random bytes from the operating system.
///
/// # Panics
///
/// If the operating system has none to give: then no key made here would be a secret.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    #[allow(clippy::expect_used)]
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}
