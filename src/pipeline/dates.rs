//! What time of the wall clock the media has: an anchor, from which dates go with the media.
//!
//! A publisher that stops its clock for a while leaves them behind. A pause and a late network look the
//! same at first, but what a network held back comes faster than it plays, and a pause is never made up
//! for. So the anchor moves when media has been late by the same time for a while, and only forward.

use crate::media::{Duration, Timestamp, WallTime};
use std::collections::VecDeque;

/// Media that is less late than this leaves the anchor where it is: networks are that late.
const LATE_MIN: Duration = Duration::from_secs(2);
/// How much what is steadily late may vary.
const STEADY: Duration = Duration::from_ms(500);
/// Seconds of arrivals that are looked at.
const SECONDS: usize = 10;

/// Dates of one session.
#[derive(Debug, Default)]
pub(super) struct Dates {
    anchor: Option<(Timestamp, WallTime)>,
    /// The least that media was late by in each of the last seconds in which some came.
    late: VecDeque<Duration>,
    /// When the newest of these seconds began.
    second: Option<WallTime>,
}

impl Dates {
    /// Whether nothing is dated yet.
    pub(super) fn is_empty(&self) -> bool {
        self.anchor.is_none()
    }

    /// Time jumps: what comes next is dated anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Media of the time `at` comes in now.
    pub(super) fn arrived(&mut self, at: Timestamp, now: WallTime) {
        let Some((anchor, date)) = self.anchor else {
            return;
        };
        let late = now - (date + (at - anchor));
        let second = self.second.get_or_insert(now);
        let passed = now - *second;
        if passed >= Duration::from_secs(1) || passed < Duration::ZERO || self.late.is_empty() {
            *second = now;
            if self.late.len() >= SECONDS {
                self.late.pop_front();
            }
            self.late.push_back(late);
        } else if let Some(least) = self.late.back_mut() {
            *least = late.min(*least);
        }
    }

    /// The date of a segment that begins at `start`, now.
    pub(super) fn date(&mut self, start: Timestamp, now: WallTime) -> WallTime {
        let (anchor, date) = *self.anchor.get_or_insert((start, now));
        let late = self.steadily_late();
        let date = date + (start - anchor) + late;
        if !late.is_empty() {
            self.anchor = Some((start, date));
            self.late.clear();
        }
        date
    }

    fn steadily_late(&self) -> Duration {
        let (Some(least), Some(most)) = (self.late.iter().min(), self.late.iter().max()) else {
            return Duration::ZERO;
        };
        let steady = self.late.len() >= SECONDS && *most - *least <= STEADY;
        if !steady || *least < LATE_MIN {
            return Duration::ZERO;
        }
        *least
    }
}
