//! What the metrics are told of a session.

use crate::metrics;
use crate::pipeline::Pipeline;

/// What the metrics know of this session.
#[derive(Default)]
pub(super) struct Told {
    bytes: u64,
    video_frames: u64,
    audio_frames: u64,
    dropped: u64,
}

impl Told {
    /// What has come since.
    pub(super) fn tell(&mut self, pipeline: &Pipeline) {
        let stats = pipeline.stats();
        let tell = |metric: &metrics::Counter, known: &mut u64, now: u64| {
            metric.add(now.saturating_sub(*known));
            *known = now;
        };
        tell(&metrics::INGEST_BYTES, &mut self.bytes, stats.bytes);
        tell(
            &metrics::VIDEO_FRAMES,
            &mut self.video_frames,
            stats.video_frames,
        );
        tell(
            &metrics::AUDIO_FRAMES,
            &mut self.audio_frames,
            stats.audio_frames,
        );
        tell(
            &metrics::DROPPED,
            &mut self.dropped,
            stats.dropped.values().sum(),
        );
    }
}
