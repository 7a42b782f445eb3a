//! How much a publisher may send: bits and frames in a second, and for how long.
//!
//! Looked at once a second. A second above the limit is a strike, one above twice the limit is ten; a
//! second below takes one back. The first strike is a warning, thirty are the end: half a minute a
//! little too fast, or three seconds far too fast. A large key frame is neither.

use std::fmt;
use std::time::{Duration, Instant};

/// Strikes that end a publish.
const STRIKES_MAX: u32 = 30;
/// What a second far above the limit counts.
const FAR_ABOVE: u32 = 10;

/// What a publisher may.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Quota {
    /// Bits of media in a second; 0 for any number.
    pub bits: u64,
    /// Messages with a frame in a second of the stream's own time or of ours, whichever is longer; 0 for
    /// any number.
    pub frames: u64,
    /// Length of a publish; 0 for any.
    pub length: Duration,
}

/// What is too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Excess {
    Bits { sent: u64, max: u64 },
    Frames { sent: u64, max: u64 },
    Length { max: Duration },
}

/// What is to be done about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Warn(Excess),
    End(Excess),
}

/// What a publisher has sent.
#[derive(Debug)]
pub(super) struct Account {
    quota: Quota,
    began: Instant,
    second: u64,
    bits: u64,
    frames: u64,
    newest_ms: Option<u32>,
    advanced_ms: u64,
    strikes: u32,
}

impl Account {
    pub(super) fn new(quota: Quota, began: Instant) -> Self {
        Self {
            quota,
            began,
            second: 0,
            bits: 0,
            frames: 0,
            newest_ms: None,
            advanced_ms: 0,
            strikes: 0,
        }
    }

    /// Takes a message of `len` bytes.
    pub(super) fn take(&mut self, len: usize, timestamp_ms: u32, now: Instant) -> Option<Verdict> {
        let since = now.saturating_duration_since(self.began);
        let verdict = match since.as_secs() {
            same if same == self.second => None,
            next => self.look(next),
        };
        self.bits += 8 * len as u64;
        self.frames += 1;
        let ahead = timestamp_ms.wrapping_sub(self.newest_ms.unwrap_or(timestamp_ms));
        if ahead < 1 << 31 {
            // A jump is no media.
            self.advanced_ms += u64::from(ahead.min(1000));
            self.newest_ms = Some(timestamp_ms);
        }
        let max = self.quota.length;
        if !max.is_zero() && since >= max {
            return Some(Verdict::End(Excess::Length { max }));
        }
        verdict
    }

    /// A second is over, and perhaps more without a message.
    fn look(&mut self, next: u64) -> Option<Verdict> {
        let passed = next.saturating_sub(std::mem::replace(&mut self.second, next));
        let sent = std::mem::take(&mut self.bits) / passed.max(1);
        let frames = std::mem::take(&mut self.frames);
        let media_s = std::mem::take(&mut self.advanced_ms) / 1000;
        let frames = frames / media_s.max(passed).max(1);
        let (bits_max, frames_max) = (self.quota.bits, self.quota.frames);
        let strikes = |sent: u64, max: u64| match max {
            0 => 0,
            max if sent > max.saturating_mul(2) => FAR_ABOVE,
            max => u32::from(sent > max),
        };
        let (of_bits, of_frames) = (strikes(sent, bits_max), strikes(frames, frames_max));
        if of_bits.max(of_frames) == 0 {
            let quiet = u32::try_from(passed).unwrap_or(u32::MAX);
            self.strikes = self.strikes.saturating_sub(quiet);
            return None;
        }
        let excess = match of_bits >= of_frames {
            true => Excess::Bits {
                sent,
                max: bits_max,
            },
            false => Excess::Frames {
                sent: frames,
                max: frames_max,
            },
        };
        let first = self.strikes == 0;
        self.strikes += of_bits.max(of_frames);
        match self.strikes >= STRIKES_MAX {
            true => Some(Verdict::End(excess)),
            false => first.then_some(Verdict::Warn(excess)),
        }
    }
}

/// What the encoder shows.
impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kilo = |bits: u64| bits / 1000;
        match self {
            Self::Bits { sent, max } => write!(
                f,
                "{} kbit/s are more than the {} kbit/s that are allowed here (bit_rate_max)",
                kilo(*sent),
                kilo(*max)
            ),
            Self::Frames { sent, max } => write!(
                f,
                "{sent} frames a second are more than the {max} that are allowed here (ingest.frame_rate_max)"
            ),
            Self::Length { max } => write!(
                f,
                "this push has lasted {} s, as long as is allowed here (ingest.session_max); a new one is welcome",
                max.as_secs()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends so many messages of so many bytes in each second; what is said, and in which second.
    fn check(quota: Quota, seconds: &[(u32, usize)], media: u32, expected: &[(usize, &str)]) {
        let began = crate::clock::monotonic();
        let mut account = Account::new(quota, began);
        let mut told = Vec::new();
        for (second, &(messages, len)) in seconds.iter().enumerate() {
            for nth in 0..messages {
                let at = second as f64 + f64::from(nth) / f64::from(messages);
                let now = began + Duration::from_secs_f64(at);
                let timestamp = (at * 1000.0) as u32 * media;
                let verdict = account.take(len, timestamp, now);
                told.extend(verdict.map(|verdict| match verdict {
                    Verdict::Warn(_) => (second, "warn"),
                    Verdict::End(_) => (second, "end"),
                }));
            }
        }
        told.truncate(expected.len().max(1));
        assert_eq!(told, expected);
    }

    #[test]
    fn the_rate_is_warned_about_and_then_ends() {
        let quota = Quota {
            bits: 8_000,
            ..Quota::default()
        };
        check(quota, &[(10, 100); 60], 1, &[]);
        check(quota, &[(10, 300); 10], 1, &[(1, "warn"), (3, "end")]);
        check(quota, &[(10, 150); 40], 1, &[(1, "warn"), (30, "end")]);
        // A large picture now and then.
        let bursts: Vec<(u32, usize)> = (0..60)
            .map(|n| (10, if n % 4 == 0 { 150 } else { 50 }))
            .collect();
        let began = crate::clock::monotonic();
        let mut account = Account::new(quota, began);
        let ends = bursts.iter().enumerate().any(|(second, &(messages, len))| {
            (0..messages).any(|nth: u32| {
                let now =
                    began + Duration::from_millis(second as u64 * 1000 + u64::from(nth) * 100);
                matches!(account.take(len, 0, now), Some(Verdict::End(_)))
            })
        });
        assert!(!ends);
    }

    /// A file that is pushed a hundred times as fast as it plays has no more frames in a second of its own.
    #[test]
    fn frames_count_by_the_longer_clock() {
        let quota = Quota {
            frames: 100,
            ..Quota::default()
        };
        check(quota, &[(500, 1); 10], 1, &[(1, "warn"), (3, "end")]);
        check(quota, &[(500, 1); 10], 10, &[]);
        check(quota, &[(90, 1); 10], 0, &[]);
    }

    #[test]
    fn a_push_has_a_longest_length() {
        let quota = Quota {
            length: Duration::from_secs(5),
            ..Quota::default()
        };
        check(quota, &[(10, 1); 10], 1, &[(5, "end")]);
    }
}
