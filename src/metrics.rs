//! Every metric of the server in one place: its name, its unit and what it says.
//!
//! Names follow the conventions of Prometheus: base units (seconds, bytes) last, and `_total` at the
//! end of what only grows. None has a label for a channel: ten thousand channels would be as many
//! series of each. Counters move once per part, segment, request or upload, never once per frame;
//! most gauges are set when somebody is about to read them.
//!
//! A new metric is one line in the list below; whoever counts calls it by its name there.
//! Before [`install`] (in tests, and in commands that are no server) counting does nothing.

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use std::sync::OnceLock;
use std::time::Duration;

/// Declares metrics: a kind, an identifier, the name with at most one label, and the help text.
macro_rules! declare {
    ($($kind:ident $ident:ident $name:literal $([$label:literal = $value:literal])? $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $ident: $kind = $kind::new(Described {
                name: $name,
                label: first(&[$(($label, $value))?]),
                help: $help,
            });
        )*

        static ALL: &[&(dyn Metric + Sync)] = &[$(&$ident),*];
    };
}

declare! {
    // Publishing
    Gauge   PUBLISHERS "millstream_publishers" "Pushes that run.";
    Gauge   RTMP_CONNECTIONS "millstream_rtmp_connections" "Open RTMP connections, publishing or not.";
    Counter SESSIONS "millstream_sessions_total" "Pushes that began.";
    Counter REFUSED "millstream_publishes_refused_total" "Publishes that were refused.";
    Counter INGEST_BYTES "millstream_ingest_bytes_total" "Bytes of media that were received.";
    Counter VIDEO_FRAMES "millstream_ingest_frames_total" ["kind" = "video"] "Frames that went into segments.";
    Counter AUDIO_FRAMES "millstream_ingest_frames_total" ["kind" = "audio"] "Frames that went into segments.";
    Counter DROPPED "millstream_ingest_dropped_total" "Frames and tags that are in no segment.";
    Counter SEGMENTS "millstream_segments_total" ["state" = "whole"] "Segments that were listed.";
    Counter GAPS "millstream_segments_total" ["state" = "gap"] "Segments that were listed.";

    // Delivery
    Gauge   HTTP_CONNECTIONS "millstream_http_connections" "Open HTTP connections.";
    Counter HTTP_INFORMED "millstream_http_responses_total" ["class" = "1xx"] "Answers by class of their status.";
    Counter HTTP_OK "millstream_http_responses_total" ["class" = "2xx"] "Answers by class of their status.";
    Counter HTTP_REDIRECTED "millstream_http_responses_total" ["class" = "3xx"] "Answers by class of their status.";
    Counter HTTP_REFUSED "millstream_http_responses_total" ["class" = "4xx"] "Answers by class of their status.";
    Counter HTTP_FAILED "millstream_http_responses_total" ["class" = "5xx"] "Answers by class of their status.";
    Counter HTTP_SENT "millstream_http_sent_bytes_total" "Bytes that were written to HTTP connections, headers included.";
    Counter PLAYLISTS "millstream_playlists_served_total" "Playlists that were asked for and found.";
    Counter CACHE_HITS "millstream_cache_requests_total" ["result" = "hit"] "Segments that were asked for, by whether they were in memory.";
    Counter CACHE_MISSES "millstream_cache_requests_total" ["result" = "miss"] "Segments that were asked for, by whether they were in memory.";
    Gauge   CACHE_BYTES "millstream_cache_bytes" "Segments in memory.";
    Gauge   PLAYLIST_BYTES "millstream_playlist_cache_bytes" "Playlists of ended recordings in memory, each as if it were held compressed as well.";

    // Disk and store
    Gauge   DISK_FREE "millstream_disk_free_bytes" "Room on the disk of segments, or of the spool.";
    Gauge   DISK_JOBS "millstream_disk_queue_jobs" "Jobs that wait for the threads that write files.";
    Gauge   DISK_SPARE "millstream_disk_spare_bytes" "Files of expired segments that wait to be written over.";
    Counter RECYCLED "millstream_disk_recycled_files_total" "Segments that were begun over the file of an expired one.";
    Histogram DISK_LAG "millstream_disk_queue_seconds" "How long the end of a segment waited for its thread.";
    Gauge   SPOOL_BYTES "millstream_spool_bytes" "Segments in the spool, with those that are confirmed and kept for live viewers.";
    Gauge   SPOOL_LIMIT "millstream_spool_limit_bytes" "What the spool may take.";
    Gauge   SPOOL_SEGMENTS "millstream_spool_segments" "Segments that the store has not confirmed.";
    Gauge   SPOOL_AGE "millstream_spool_oldest_seconds" "Age of the oldest segment that the store has not confirmed.";
    Gauge   UPLOADS "millstream_store_uploads" "Writes to the store under way.";
    Histogram UPLOAD_SECONDS "millstream_store_upload_seconds" "How long a segment took from the first attempt to the confirmation.";
    Counter STORE_FAILURES "millstream_store_failures_total" "Writes to the store that failed and are tried again.";
    Counter STORED_SEGMENTS "millstream_store_stored_segments_total" "Segments that the store has confirmed.";
    Counter STORED_BYTES "millstream_store_stored_bytes_total" "Bytes of segments that the store has confirmed.";
    Counter DELETED_BYTES "millstream_store_deleted_bytes_total" "Bytes of segments that retention has deleted.";
    Counter DELETED_SEGMENTS "millstream_store_deleted_segments_total" "Segments that retention has deleted.";

    // What a killed server left
    Counter RECOVERED_WAITING "millstream_recovery_recordings_total" ["result" = "waiting"] "Recordings that the last start found cut off.";
    Counter RECOVERED_ENDED "millstream_recovery_recordings_total" ["result" = "ended"] "Recordings that the last start found cut off.";
    Counter SALVAGED "millstream_recovery_segments_total" ["result" = "salvaged"] "Segments that the last start found cut off.";
    Counter LOST "millstream_recovery_segments_total" ["result" = "lost"] "Segments that the last start found cut off.";

    // Catalog
    Gauge   CATALOG_ROWS "millstream_catalog_waiting_rows" "Rows of history that wait for the catalog.";
    Counter CATALOG_REFUSED "millstream_catalog_refused_rows_total" "Rows of history that found no room to wait and are written later.";

    // The process
    Gauge   RESIDENT "process_resident_memory_bytes" "Memory of the process.";
}

/// Buckets of the histograms, in seconds: from a write to the own machine to a store that hangs.
const SECONDS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
];
/// How often [`tidy`] is to be called.
pub const TIDY_EVERY: Duration = Duration::from_secs(5);

static EXPORTER: OnceLock<PrometheusHandle> = OnceLock::new();

/// Begins to count, for the life of the process.
pub fn install() {
    EXPORTER.get_or_init(|| {
        let every = Matcher::Suffix("_seconds".to_owned());
        // An error would mean that there are no buckets.
        let builder = PrometheusBuilder::new().set_buckets_for_metric(every, SECONDS);
        let recorder = builder.unwrap_or_default().build_recorder();
        let handle = recorder.handle();
        // An error means that another recorder is there, and then counting is its affair.
        let _ = metrics::set_global_recorder(recorder);
        handle
    });
    ALL.iter().for_each(|metric| metric.describe());
}

/// All metrics as Prometheus reads them (text format 0.0.4).
pub fn render() -> String {
    RESIDENT.set(resident_bytes() as f64);
    EXPORTER
        .get()
        .map(PrometheusHandle::render)
        .unwrap_or_default()
}

/// Sums up what histograms have collected. Call it every [`TIDY_EVERY`]: while nobody reads the
/// metrics, nothing else does, and they would grow.
pub fn tidy() {
    if let Some(exporter) = EXPORTER.get() {
        exporter.run_upkeep();
    }
}

/// What Linux says of this process; 0 elsewhere.
fn resident_bytes() -> u64 {
    const KIB: u64 = 1024;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * KIB
}

/// What is said of a metric.
#[derive(Debug)]
struct Described {
    name: &'static str,
    label: Option<(&'static str, &'static str)>,
    help: &'static str,
}

const fn first(labels: &[(&'static str, &'static str)]) -> Option<(&'static str, &'static str)> {
    match labels {
        [] => None,
        [label, ..] => Some(*label),
    }
}

impl Described {
    fn labels(&self) -> Vec<metrics::Label> {
        let label = |(name, value)| metrics::Label::from_static_parts(name, value);
        self.label.map(label).into_iter().collect()
    }
}

trait Metric {
    /// Makes it known, with its help and its value so far.
    fn describe(&self);
    #[cfg(test)]
    fn described(&self) -> (&Described, Kind);
}

#[cfg(test)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric for Counter {
    fn describe(&self) {
        metrics::describe_counter!(self.about.name, self.about.help);
        self.add(0);
    }

    #[cfg(test)]
    fn described(&self) -> (&Described, Kind) {
        (&self.about, Kind::Counter)
    }
}

impl Metric for Gauge {
    fn describe(&self) {
        metrics::describe_gauge!(self.about.name, self.about.help);
        self.set(0.0);
    }

    #[cfg(test)]
    fn described(&self) -> (&Described, Kind) {
        (&self.about, Kind::Gauge)
    }
}

impl Metric for Histogram {
    fn describe(&self) {
        metrics::describe_histogram!(self.about.name, self.about.help);
        // Known from now on, with nothing in it.
        self.handle();
    }

    #[cfg(test)]
    fn described(&self) -> (&Described, Kind) {
        (&self.about, Kind::Histogram)
    }
}

/// What only grows.
#[derive(Debug)]
pub struct Counter {
    about: Described,
    handle: OnceLock<metrics::Counter>,
}

impl Counter {
    const fn new(about: Described) -> Self {
        let handle = OnceLock::new();
        Self { about, handle }
    }

    /// So much more.
    pub fn add(&self, more: u64) {
        if let Some(handle) = self.handle() {
            handle.increment(more);
        }
    }

    /// At least so much in all: for what is counted elsewhere.
    pub fn raise_to(&self, total: u64) {
        if let Some(handle) = self.handle() {
            handle.absolute(total);
        }
    }

    fn handle(&self) -> Option<&metrics::Counter> {
        EXPORTER.get()?;
        Some(
            self.handle
                .get_or_init(|| metrics::counter!(self.about.name, self.about.labels())),
        )
    }
}

/// What goes up and down.
#[derive(Debug)]
pub struct Gauge {
    about: Described,
    handle: OnceLock<metrics::Gauge>,
}

impl Gauge {
    const fn new(about: Described) -> Self {
        let handle = OnceLock::new();
        Self { about, handle }
    }

    /// It is so much now.
    pub fn set(&self, value: f64) {
        if let Some(handle) = self.handle() {
            handle.set(value);
        }
    }

    /// One more, until the value that is returned is dropped.
    pub fn hold(&'static self) -> Held {
        if let Some(handle) = self.handle() {
            handle.increment(1.0);
        }
        Held(self)
    }

    fn handle(&self) -> Option<&metrics::Gauge> {
        EXPORTER.get()?;
        Some(
            self.handle
                .get_or_init(|| metrics::gauge!(self.about.name, self.about.labels())),
        )
    }
}

/// Counts as one in a gauge.
#[derive(Debug)]
pub struct Held(&'static Gauge);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(handle) = self.0.handle() {
            handle.decrement(1.0);
        }
    }
}

/// How long something took, many times.
#[derive(Debug)]
pub struct Histogram {
    about: Described,
    handle: OnceLock<metrics::Histogram>,
}

impl Histogram {
    const fn new(about: Described) -> Self {
        let handle = OnceLock::new();
        Self { about, handle }
    }

    /// It took so long.
    pub fn record(&self, took: Duration) {
        if let Some(handle) = self.handle() {
            handle.record(took.as_secs_f64());
        }
    }

    fn handle(&self) -> Option<&metrics::Histogram> {
        EXPORTER.get()?;
        Some(
            self.handle
                .get_or_init(|| metrics::histogram!(self.about.name, self.about.labels())),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn names_keep_the_conventions_and_stand_for_one_thing() {
        let mut known: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for metric in ALL {
            let (about, kind) = metric.described();
            let name = about.name;
            let word = |c: char| c.is_ascii_lowercase() || c == '_';
            assert!(name.chars().all(word), "{name}");
            assert!(about.help.ends_with('.'), "{name}: a sentence");
            assert_eq!(name.ends_with("_total"), kind == Kind::Counter, "{name}");
            if kind == Kind::Histogram {
                assert!(name.ends_with("_seconds"), "{name} has its unit");
            }
            known.entry(name).or_default().push((about, kind));
        }
        for (name, all) in known {
            let (first, kind) = all[0];
            for (nth, (about, of)) in all.iter().enumerate() {
                assert_eq!((about.help, *of), (first.help, kind), "{name}");
                let key = |about: &Described| about.label.map(|(key, _)| key);
                assert_eq!(key(about), key(first), "{name}");
                let before = all[..nth].iter().map(|(about, _)| about.label);
                assert!(
                    !{ before }.any(|label| label == about.label),
                    "{name} twice"
                );
            }
        }
    }

    const fn about(name: &'static str) -> Described {
        let label = Some(("a", "b"));
        let help = "For a test.";
        Described { name, label, help }
    }

    static THINGS: Counter = Counter::new(about("test_things_total"));
    static OPEN: Gauge = Gauge::new(about("test_open"));
    static TOOK: Histogram = Histogram::new(about("test_took_seconds"));

    #[test]
    fn what_is_counted_is_rendered() {
        install();
        install();
        THINGS.describe();
        THINGS.add(2);
        THINGS.raise_to(7);
        let held = [OPEN.hold(), OPEN.hold()];
        TOOK.record(Duration::from_millis(40));
        tidy();
        let text = render();
        for line in [
            "# HELP test_things_total For a test.",
            "# TYPE test_things_total counter",
            "test_things_total{a=\"b\"} 7",
            "test_open{a=\"b\"} 2",
            "test_took_seconds_bucket{a=\"b\",le=\"0.025\"} 0",
            "test_took_seconds_bucket{a=\"b\",le=\"0.05\"} 1",
            "test_took_seconds_count{a=\"b\"} 1",
            "# TYPE millstream_store_upload_seconds histogram",
            "# HELP millstream_publishers Pushes that run.",
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in\n{text}");
        }
        drop(held);
        assert!(render().contains("test_open{a=\"b\"} 0\n"));
        assert!(resident_bytes() > 1 << 20);
    }
}
