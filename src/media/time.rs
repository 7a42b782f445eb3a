//! Time of the media path: ticks of 90 kHz (ISO 13818-1 §2.4.3.6) and wall-clock instants.
//!
//! The wire's integers become these types in [`super::timeline`] and leave them in `mux` and
//! `playlist`; nowhere else does a bare integer mean time.

use std::fmt;
use std::ops::{Add, AddAssign, Neg, Sub};

/// Ticks in one second.
pub const TICKS_PER_SECOND: i64 = 90_000;
/// Ticks in one millisecond.
pub const TICKS_PER_MS: i64 = 90;

/// A point on a media timeline, in ticks of 90 kHz; unwrapped, so it never runs over in practice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// A span of media time, in ticks of 90 kHz. May be negative.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration(i64);

/// An instant of the wall clock: milliseconds since the Unix epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(i64);

impl Timestamp {
    /// The origin of the timeline.
    pub const ZERO: Self = Self(0);

    /// From ticks of 90 kHz.
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// From milliseconds, saturating.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(TICKS_PER_MS))
    }

    /// Ticks of 90 kHz since the origin.
    pub const fn ticks(self) -> i64 {
        self.0
    }
}

impl Duration {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// One tick of 90 kHz, the smallest step a decoding time may make.
    pub const TICK: Self = Self(1);

    /// From ticks of 90 kHz.
    pub const fn from_ticks(ticks: i64) -> Self {
        Self(ticks)
    }

    /// From milliseconds, saturating.
    pub const fn from_ms(ms: i64) -> Self {
        Self(ms.saturating_mul(TICKS_PER_MS))
    }

    /// From whole seconds, saturating.
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(TICKS_PER_SECOND))
    }

    /// The time that `samples` last at `rate` per second, rounded to the nearest tick.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "the rate is not 0, and the rest is less than it, so 49 bits hold what is added"
    )]
    pub const fn from_samples(samples: i64, rate: u32) -> Self {
        let rate = if rate == 0 { 1 } else { rate as i64 };
        let whole = samples / rate;
        let rest = samples % rate;
        Self(
            whole
                .saturating_mul(TICKS_PER_SECOND)
                .saturating_add((rest * TICKS_PER_SECOND + rate / 2) / rate),
        )
    }

    /// Ticks of 90 kHz.
    pub const fn ticks(self) -> i64 {
        self.0
    }

    /// Milliseconds, rounded to the nearest.
    pub const fn as_ms(self) -> i64 {
        self.0
            .saturating_add(TICKS_PER_MS / 2)
            .div_euclid(TICKS_PER_MS)
    }

    /// Seconds, for playlists and people.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / TICKS_PER_SECOND as f64
    }

    /// The length without its sign.
    pub const fn abs(self) -> Self {
        Self(self.0.saturating_abs())
    }

    /// Whether no time, or less than none, passes.
    pub const fn is_empty(self) -> bool {
        self.0 <= 0
    }
}

impl From<std::time::Duration> for Duration {
    fn from(value: std::time::Duration) -> Self {
        let ticks = value.as_nanos().saturating_mul(TICKS_PER_SECOND as u128) / 1_000_000_000;
        Self(i64::try_from(ticks).unwrap_or(i64::MAX))
    }
}

/// What is less than none becomes none.
impl From<Duration> for std::time::Duration {
    fn from(value: Duration) -> Self {
        let ticks = u64::try_from(value.0).unwrap_or(0);
        Self::from_nanos(ticks.saturating_mul(100_000) / 9)
    }
}

impl WallTime {
    /// From milliseconds since the Unix epoch.
    pub const fn from_unix_ms(ms: i64) -> Self {
        Self(ms)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Sub for Timestamp {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        Duration(self.0.saturating_sub(rhs.0))
    }
}

impl Add for Duration {
    type Output = Self;
    fn add(self, rhs: Self) -> Self {
        Self(self.0.saturating_add(rhs.0))
    }
}

impl AddAssign for Duration {
    fn add_assign(&mut self, rhs: Self) {
        *self = *self + rhs;
    }
}

impl Sub for Duration {
    type Output = Self;
    fn sub(self, rhs: Self) -> Self {
        Self(self.0.saturating_sub(rhs.0))
    }
}

impl Neg for Duration {
    type Output = Self;
    fn neg(self) -> Self {
        Self(self.0.saturating_neg())
    }
}

impl Add<Duration> for WallTime {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        Self(self.0.saturating_add(rhs.as_ms()))
    }
}

impl Sub for WallTime {
    type Output = Duration;
    fn sub(self, rhs: Self) -> Duration {
        Duration::from_ms(self.0.saturating_sub(rhs.0))
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "@{:.6}s", self.0 as f64 / TICKS_PER_SECOND as f64)
    }
}

impl fmt::Debug for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.6}s", self.as_secs_f64())
    }
}

impl fmt::Debug for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "unix {} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_become_ticks_without_drift() {
        for rate in [8_000, 22_050, 44_100, 48_000, 96_000] {
            let day = i64::from(rate) * 86_400;
            assert_eq!(
                Duration::from_samples(day, rate),
                Duration::from_secs(86_400),
                "a day at {rate} Hz"
            );
        }
        assert_eq!(Duration::from_samples(1024, 44_100).ticks(), 2090);
        assert_eq!(Duration::from_samples(2048, 44_100).ticks(), 4180);
        assert_eq!(Duration::from_samples(1024, 48_000).ticks(), 1920);
    }

    #[test]
    fn milliseconds_round_to_the_nearest() {
        let check =
            |ticks, ms| assert_eq!(Duration::from_ticks(ticks).as_ms(), ms, "{ticks} ticks");
        check(0, 0);
        check(44, 0);
        check(45, 1);
        check(90, 1);
        check(-45, 0);
        check(-46, -1);
    }
}
