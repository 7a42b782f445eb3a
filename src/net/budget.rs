//! How much all connections together may hold of what publishers send, and of what they are answered.
//!
//! A message is held from its first byte until what was made of it is on its way to the disk, a reply until
//! the peer has read it. Each connection may always hold a little; beyond that it holds what all share, and when that is used
//! up whoever wants more has to go.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a connection may hold whatever the others do: an ordinary picture.
pub const FREE_BYTES: usize = 256 << 10;

/// What all share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    max: usize,
    used: AtomicUsize,
}

/// One connection's part of it, given back when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    budget: Budget,
    used: usize,
}

impl Budget {
    /// So many bytes for all.
    pub fn new(max: usize) -> Self {
        let used = AtomicUsize::new(0);
        Self(Arc::new(Inner { max, used }))
    }

    /// The same in all.
    pub fn max(&self) -> usize {
        self.0.max
    }

    pub(super) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            used: 0,
        }
    }
}

impl Share {
    /// The connection holds so much now; false if that is more than there is.
    pub(super) fn hold(&mut self, bytes: usize) -> bool {
        let wanted = bytes.saturating_sub(FREE_BYTES);
        if wanted == self.used {
            return true;
        }
        let (used, before) = (&self.budget.0.used, self.used);
        self.used = wanted;
        if wanted < before {
            used.fetch_sub(before - wanted, Ordering::Relaxed);
            return true;
        }
        let more = wanted - before;
        used.fetch_add(more, Ordering::Relaxed) + more <= self.budget.0.max
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.used.fetch_sub(self.used, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_little_is_free_and_the_rest_is_shared() {
        let budget = Budget::new(1000);
        let (mut one, mut other) = (budget.share(), budget.share());
        assert!(one.hold(FREE_BYTES));
        assert!(one.hold(FREE_BYTES + 900));
        assert!(other.hold(FREE_BYTES + 100));
        assert!(!other.hold(FREE_BYTES + 101), "nothing is left");
        drop(other);
        assert!(one.hold(FREE_BYTES + 1000));
        assert!(one.hold(10));
        assert_eq!(budget.0.used.load(Ordering::Relaxed), 0);
    }
}
