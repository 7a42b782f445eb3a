//! How many requests an address may make in a second.
//!
//! A bucket for each address that has asked lately: it fills at the rate, and holds two seconds of
//! it, for a page that asks for much at once.

use crate::net::Block;
use dashmap::DashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// Seconds of the rate that a bucket holds.
const HOLDS_S: f64 = 2.0;
/// Addresses that are told apart; protects memory. Beyond it those are forgotten that have not asked
/// for so long that their buckets are full again.
const ADDRESSES_MAX: usize = 200_000;

/// The buckets. Cheap to clone.
#[derive(Clone, Default)]
pub struct Rate(Arc<Inner>);

#[derive(Default)]
struct Inner {
    per_second: AtomicU32,
    buckets: DashMap<Block, Bucket>,
}

struct Bucket {
    left: f64,
    at: Instant,
}

impl Rate {
    /// So many requests a second; 0 for any number.
    pub fn new(per_second: u32) -> Self {
        let rate = Self::default();
        rate.set(per_second);
        rate
    }

    /// So many from now on.
    pub fn set(&self, per_second: u32) {
        self.0.per_second.store(per_second, Ordering::Relaxed);
    }

    /// Counts a request of `address`. An error is too many, and tells when the next one may come.
    pub(super) fn take(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let rate = f64::from(self.0.per_second.load(Ordering::Relaxed));
        if rate == 0.0 {
            return Ok(());
        }
        let full = rate * HOLDS_S;
        let fill = |bucket: &Bucket| {
            let passed = now.saturating_duration_since(bucket.at).as_secs_f64();
            (bucket.left + passed * rate).min(full)
        };
        if self.0.buckets.len() >= ADDRESSES_MAX {
            self.0.buckets.retain(|_, bucket| fill(bucket) < full);
        }
        if self.0.buckets.len() >= ADDRESSES_MAX {
            return Err(Duration::from_secs(1));
        }
        let mut bucket = { self.0.buckets.entry(Block::of(address)) }.or_insert(Bucket {
            left: full,
            at: now,
        });
        bucket.left = fill(&bucket);
        bucket.at = now;
        if bucket.left < 1.0 {
            let wait = (1.0 - bucket.left) / rate;
            return Err(Duration::from_secs_f64(wait));
        }
        bucket.left -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_does_not_use_up_anothers_share() {
        let rate = Rate::new(10);
        let began = crate::clock::monotonic();
        let (one, other) = ([192, 0, 2, 1].into(), [192, 0, 2, 2].into());
        for _ in 0..20 {
            assert_eq!(rate.take(one, began), Ok(()));
        }
        let wait = rate.take(one, began).expect_err("too many");
        assert_eq!(wait, Duration::from_millis(100));
        assert_eq!(rate.take(other, began), Ok(()));
        assert_eq!(rate.take(one, began + wait), Ok(()));
        assert!(rate.take(one, began + wait).is_err());
        rate.set(0);
        assert_eq!(rate.take(one, began), Ok(()));
    }
}
