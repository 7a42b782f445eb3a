//! Bits per second of a rendition as its playlist states them (RFC 8216 §4.3.4.2).

use crate::media::{Duration, Segment};
use std::collections::VecDeque;

/// Segments that one peak may span; bounds the work on segments that are very short.
const RUN_SEGMENTS_MAX: usize = 64;
/// What is stated lies so much above what was measured, in percent: the value then stands for a
/// while, and stays within the tenth that Apple's authoring specification (§1.29) allows.
const HEADROOM_PERCENT: u128 = 5;
/// The average may fall to this share of what is stated before it is stated anew, in percent.
const AVERAGE_LEAST_PERCENT: u128 = 90;

/// Running measurement of a rendition. What it states changes rarely: it never goes back for the
/// peak, and only by steps for the average.
#[derive(Clone, Debug)]
pub struct Bandwidth {
    target_duration: Duration,
    /// The newest segments, together at most one and a half target durations.
    run: VecDeque<Sample>,
    total: Sample,
    stated_peak: u64,
    stated_average: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Sample {
    bytes: u64,
    ticks: u64,
}

impl Bandwidth {
    /// A measurement that begins.
    pub fn new(target_duration_s: u32) -> Self {
        Self {
            target_duration: Duration::from_secs(i64::from(target_duration_s.max(1))),
            run: VecDeque::new(),
            total: Sample::default(),
            stated_peak: 0,
            stated_average: 0,
        }
    }

    /// Takes the next segment into account. One that is missing has no bytes to count.
    pub fn push(&mut self, segment: &Segment) {
        let ticks = u64::try_from(segment.duration.ticks()).unwrap_or(0);
        if segment.gap || ticks == 0 {
            return;
        }
        let sample = Sample {
            bytes: segment.size,
            ticks,
        };
        self.total = self.total.and(sample);
        let average = self.total.bits_per_second();
        if average > self.stated_average || is_far_below(average, self.stated_average) {
            self.stated_average = with_headroom(average);
        }
        let peak = self.peak_ending_with(sample).unwrap_or(average);
        if peak.max(average) > self.stated_peak {
            self.stated_peak = with_headroom(peak.max(average));
        }
    }

    /// BANDWIDTH: the peak, or `None` before the first segment.
    pub fn peak(&self) -> Option<u64> {
        (self.stated_peak > 0).then_some(self.stated_peak)
    }

    /// AVERAGE-BANDWIDTH, never above the peak; `None` before the first segment.
    pub fn average(&self) -> Option<u64> {
        (self.stated_average > 0).then(|| self.stated_average.min(self.stated_peak))
    }

    /// The largest rate of any run of segments that ends with this one and lasts between half and
    /// one and a half target durations, which is how the peak is defined; a longer one counts alone.
    fn peak_ending_with(&mut self, sample: Sample) -> Option<u64> {
        let target = u64::try_from(self.target_duration.ticks()).unwrap_or(0);
        let (least, most) = (target / 2, target.saturating_add(target / 2));
        self.run.push_back(sample);
        if self.run.len() > RUN_SEGMENTS_MAX {
            self.run.pop_front();
        }
        let mut sum = Sample::default();
        let mut peak = None;
        let mut kept = 0_usize;
        for sample in self.run.iter().rev() {
            sum = sum.and(*sample);
            if kept > 0 && sum.ticks > most {
                break;
            }
            kept = kept.saturating_add(1);
            if sum.ticks >= least {
                peak = peak.max(Some(sum.bits_per_second()));
            }
        }
        self.run.drain(..self.run.len().saturating_sub(kept));
        peak
    }
}

impl Sample {
    fn and(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            ticks: self.ticks.saturating_add(other.ticks),
        }
    }

    fn bits_per_second(self) -> u64 {
        let ticks_per_second = u128::from(crate::media::time::TICKS_PER_SECOND.unsigned_abs());
        let bits = u128::from(self.bytes).saturating_mul(8 * ticks_per_second);
        saturated(bits.div_ceil(u128::from(self.ticks.max(1))))
    }
}

fn is_far_below(measured: u64, stated: u64) -> bool {
    u128::from(measured) * 100 < u128::from(stated) * AVERAGE_LEAST_PERCENT
}

/// With headroom, rounded up to a whole kilobit.
fn with_headroom(rate: u64) -> u64 {
    let raised = (u128::from(rate) * (100 + HEADROOM_PERCENT)).div_ceil(100);
    saturated(raised.div_ceil(1000).saturating_mul(1000))
}

fn saturated(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::media::tests::segment;
    use super::*;

    fn measured(target_duration_s: u32, rows: &[(i64, u64)]) -> (Option<u64>, Option<u64>) {
        let mut bandwidth = Bandwidth::new(target_duration_s);
        for (ms, size) in rows {
            bandwidth.push(&Segment {
                size: *size,
                ..segment(0, *ms)
            });
        }
        (bandwidth.peak(), bandwidth.average())
    }

    #[test]
    fn a_peak_is_over_about_one_target_duration() {
        let check = |rows: &[(i64, u64)], peak, average| {
            assert_eq!(
                measured(4, rows),
                (Some(peak), Some(average)),
                "{rows:?} (milliseconds, bytes)"
            );
        };
        check(&[(4000, 500_000)], 1_050_000, 1_050_000);
        check(&[(4000, 500_000), (4000, 1_000_000)], 2_100_000, 1_575_000);
        // A key frame alone in a short last segment is no peak.
        check(&[(4000, 500_000), (40, 50_000)], 1_144_000, 1_144_000);
        check(&[(40, 50_000)], 10_500_000, 10_500_000); // nothing else is known yet
        check(&[(20_000, 2_500_000)], 1_050_000, 1_050_000);
        check(&[(0, 500), (4000, 500_000)], 1_050_000, 1_050_000);
        assert_eq!(measured(4, &[]), (None, None));
    }

    #[test]
    fn what_is_stated_changes_rarely() {
        let mut bandwidth = Bandwidth::new(4);
        let mut stated = Vec::new();
        for number in 0..1000 {
            let size = 500_000 + number * 7919 % 20_000;
            bandwidth.push(&Segment {
                size,
                ..segment(number, 4000)
            });
            stated.push((bandwidth.peak(), bandwidth.average()));
        }
        stated.dedup();
        assert!(stated.len() <= 3, "{stated:?}");
        for number in 0..4000 {
            let size = 100_000;
            bandwidth.push(&Segment {
                size,
                ..segment(number, 4000)
            });
            stated.push((bandwidth.peak(), bandwidth.average()));
        }
        stated.dedup();
        assert!(stated.len() <= 25, "{} values", stated.len());
        assert!(bandwidth.average() < bandwidth.peak());
    }

    #[test]
    fn sizes_at_the_limit_do_no_harm() {
        let (peak, _) = measured(1, &[(1, u64::MAX), (1, u64::MAX)]);
        assert!(peak > Some(0));
    }
}
