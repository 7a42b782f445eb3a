//! What a running session has received: totals, and rates over the last seconds.

use crate::media::WallTime;
use std::sync::{Mutex, PoisonError};

/// Seconds that are remembered: six whole ones for rates, the one before them, and the running one.
const SECONDS: usize = 8;

/// Kinds of messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Metadata and the like.
    Data,
}

/// What a session has counted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Bytes of media that came in.
    pub bytes: u64,
    /// Pictures in segments.
    pub video_frames: u64,
    /// Audio frames in segments.
    pub audio_frames: u64,
    /// Frames and tags that are in no segment.
    pub dropped: u64,
    /// Jumps of time and changes of tracks.
    pub discontinuities: u64,
    /// Time between the last two key frames, in milliseconds.
    pub key_interval_ms: Option<u64>,
}

/// Rates of the last seconds.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Rates {
    /// Bits of video a second.
    pub video_bit_rate: u64,
    /// Bits of audio a second.
    pub audio_bit_rate: u64,
    /// Bits of metadata a second.
    pub data_bit_rate: u64,
    /// Pictures a second.
    pub frame_rate: f64,
    /// How unevenly messages arrive, in milliseconds: the estimate of RFC 3550 §6.4.1.
    pub jitter_ms: f64,
}

/// Counts of one running session.
#[derive(Debug, Default)]
pub struct Meter(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    counts: Counts,
    seconds: [Second; SECONDS],
    first_s: Option<i64>,
    /// Arrival less timestamp of the newest video message (of any, while there is no video), in milliseconds.
    transit: Option<(Kind, i64)>,
    jitter_ms: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Second {
    at: i64,
    bytes: [u64; 3],
    /// Pictures so far at its end.
    frames: u64,
}

/// A message that has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taken {
    /// What it carries.
    pub kind: Kind,
    /// Its bytes.
    pub len: usize,
    /// Its time on the wire.
    pub timestamp_ms: u32,
}

impl Meter {
    /// These messages have come, in this order; with them it is so many.
    pub fn take(&self, messages: &[Taken], now: WallTime, counts: Counts) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = now.unix_ms().div_euclid(1000);
        state.first_s.get_or_insert(at);
        state.counts = counts;
        let second = &mut state.seconds[slot(at)];
        if second.at != at {
            *second = Second {
                at,
                ..Second::default()
            };
        }
        second.frames = counts.video_frames;
        for message in messages {
            second.bytes[message.kind as usize] += message.len as u64;
        }
        for message in messages {
            let sent_ms = i64::from(message.timestamp_ms);
            state.arrived(message.kind, now.unix_ms() - sent_ms);
        }
    }

    /// The totals.
    pub fn counts(&self) -> Counts {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).counts
    }

    /// The rates over the whole seconds before `now`.
    pub fn rates(&self, now: WallTime) -> Rates {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now_s = now.unix_ms().div_euclid(1000);
        let Some(first_s) = state.first_s else {
            return Rates::default();
        };
        // The first and the running second are not whole.
        let from = (first_s + 1).max(now_s - SECONDS as i64 + 2);
        let span = u64::try_from(now_s - from).unwrap_or(0);
        let within = |second: &&Second| (from..now_s).contains(&second.at);
        let whole = || state.seconds.iter().filter(within);
        let rate = |kind: Kind| {
            let bytes: u64 = whole().map(|second| second.bytes[kind as usize]).sum();
            (bytes * 8).checked_div(span).unwrap_or(0)
        };
        let newest = whole().map(|second| second.frames).max().unwrap_or(0);
        let before = state.seconds.iter().filter(|second| second.at == from - 1);
        let oldest = before.map(|second| second.frames).max().unwrap_or(newest);
        Rates {
            video_bit_rate: rate(Kind::Video),
            audio_bit_rate: rate(Kind::Audio),
            data_bit_rate: rate(Kind::Data),
            frame_rate: match span {
                0 => 0.0,
                span => newest.saturating_sub(oldest) as f64 / span as f64,
            },
            jitter_ms: state.jitter_ms,
        }
    }
}

impl State {
    fn arrived(&mut self, kind: Kind, transit_ms: i64) {
        if kind == Kind::Data {
            return;
        }
        match self.transit {
            // A jump of the clock is no jitter.
            Some((of, before)) if of == kind && (transit_ms - before).abs() < 10_000 => {
                let moved = (transit_ms - before).abs() as f64;
                self.jitter_ms += (moved - self.jitter_ms) / 16.0;
                self.transit = Some((kind, transit_ms));
            }
            Some((Kind::Video, _)) if kind == Kind::Audio => {}
            Some(_) | None => self.transit = Some((kind, transit_ms)),
        }
    }
}

fn slot(second: i64) -> usize {
    usize::try_from(second.rem_euclid(SECONDS as i64)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_last_whole_seconds() {
        let meter = Meter::default();
        let mut counts = Counts::default();
        let take = |kind, len, timestamp_ms, now, counts| {
            let message = Taken {
                kind,
                len,
                timestamp_ms,
            };
            meter.take(&[message], now, counts);
        };
        let at = |ms: i64| WallTime::from_unix_ms(1_000_000 + ms);
        assert_eq!(meter.rates(at(0)), Rates::default());
        for frame in 0..250_u32 {
            let ms = frame * 40;
            counts.video_frames += 1;
            take(Kind::Video, 1000, ms, at(ms.into()), counts);
            take(Kind::Audio, 100, ms, at(ms.into()), counts);
        }
        let rates = meter.rates(at(10_000));
        assert_eq!(
            (rates.video_bit_rate, rates.audio_bit_rate),
            (200_000, 20_000)
        );
        assert_eq!((rates.frame_rate, rates.jitter_ms), (25.0, 0.0));
        assert_eq!(meter.counts(), counts);
        take(Kind::Video, 1000, 10_000, at(10_000), counts);
        assert_eq!(
            meter.rates(at(10_000)).frame_rate,
            25.0,
            "the running second does not count"
        );
        assert_eq!(meter.rates(at(60_000)).video_bit_rate, 0, "it fell silent");
        take(Kind::Video, 1, 10_000, at(60_016), counts);
        take(Kind::Video, 1, 10_040, at(60_072), counts);
        assert_eq!(
            meter.rates(at(60_100)).jitter_ms,
            1.0,
            "a jump is none, 16 ms are"
        );
    }
}
