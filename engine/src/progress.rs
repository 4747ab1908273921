//! How far a run has come: one source for the progress bar, for HTTP and for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Counters that every worker of a run adds to. Cloning gives another handle on the same counters.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    offsets_total: AtomicU64,
    offsets: AtomicU64,
    offsets_before: AtomicU64,
    records: AtomicU64,
    bytes: AtomicU64,
}

/// The counters at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Snapshot {
    /// Offsets that the run has to deal with; 0 while that is not known.
    pub offsets_total: u64,
    /// Offsets that it has dealt with, holes among them.
    pub offsets: u64,
    /// Those of them that an earlier run had dealt with.
    pub offsets_before: u64,
    /// Records that it has copied.
    pub records: u64,
    /// Bytes of record batches that it has copied.
    pub bytes: u64,
}

impl Progress {
    /// Says how many offsets there are to deal with.
    pub fn expect_offsets(&self, offsets: u64) {
        self.0.offsets_total.store(offsets, Ordering::Relaxed);
    }

    /// Says that there are so many offsets more to deal with than was thought.
    pub fn expect_more(&self, offsets: u64) {
        self.0.offsets_total.fetch_add(offsets, Ordering::Relaxed);
    }

    /// Says of how many offsets an earlier run has dealt with.
    pub fn found_done(&self, offsets: u64) {
        self.0.offsets_before.fetch_add(offsets, Ordering::Relaxed);
        self.0.offsets.fetch_add(offsets, Ordering::Relaxed);
    }

    /// Adds what a worker has just done.
    pub fn add(&self, offsets: u64, records: u64, bytes: u64) {
        self.0.offsets.fetch_add(offsets, Ordering::Relaxed);
        self.0.records.fetch_add(records, Ordering::Relaxed);
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            offsets_total: self.0.offsets_total.load(Ordering::Relaxed),
            offsets: self.0.offsets.load(Ordering::Relaxed),
            offsets_before: self.0.offsets_before.load(Ordering::Relaxed),
            records: self.0.records.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
        }
    }
}

/// What the counters mean after some time: how far a run is, how fast it goes, and how long it will take if it goes on like
/// this. The one judgement for the bar, for HTTP and for metrics.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pace {
    /// Offsets that are dealt with, holes and those of an earlier run among them.
    pub offsets: u64,
    /// Offsets that the run has to deal with; 0 while that is not known.
    pub offsets_total: u64,
    /// From 0 to 100; `None` while it is not known how much there is to do.
    pub percent: Option<f64>,
    /// Records that this run has copied.
    pub records: u64,
    /// Bytes of record batches that this run has copied.
    pub bytes: u64,
    /// Milliseconds since the run began.
    pub elapsed_ms: u64,
    /// Bytes a second, over the whole run.
    pub bytes_per_second: u64,
    /// Records a second, over the whole run.
    pub records_per_second: u64,
    /// Seconds until the end; `None` before this run has done anything.
    pub eta_seconds: Option<u64>,
}

impl Snapshot {
    /// The pace of a run that has come so far in this time.
    pub fn pace(&self, elapsed: Duration) -> Pace {
        let Self { offsets_total, offsets, offsets_before, records, bytes } = *self;
        let elapsed_ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX);
        let a_second = |count: u64| count.saturating_mul(1000) / elapsed_ms.max(1);
        let done = u128::from(offsets.saturating_sub(offsets_before));
        let left = u128::from(offsets_total.saturating_sub(offsets));
        let is_known = offsets_total > 0;
        let left_ms = (u128::from(elapsed_ms) * left).checked_div(done).filter(|_| is_known);
        Pace {
            offsets,
            offsets_total,
            percent: is_known.then(|| percent(offsets, offsets_total)),
            records,
            bytes,
            elapsed_ms,
            bytes_per_second: a_second(bytes),
            records_per_second: a_second(records),
            eta_seconds: left_ms.map(|ms| u64::try_from(ms / 1000).unwrap_or(u64::MAX)),
        }
    }
}

/// To two digits after the point, and 100 only at the end.
fn percent(offsets: u64, offsets_total: u64) -> f64 {
    let hundredths = u128::from(offsets.min(offsets_total)) * 10_000 / u128::from(offsets_total.max(1));
    f64::from(u32::try_from(hundredths).unwrap_or(10_000)) / 100.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(progress: &Progress, seconds: u64) -> Pace {
        progress.snapshot().pace(Duration::from_secs(seconds))
    }

    #[test]
    fn nothing_is_said_of_the_end_before_it_is_known() {
        let progress = Progress::default();
        let pace = after(&progress, 3);
        assert_eq!((pace.percent, pace.eta_seconds, pace.elapsed_ms), (None, None, 3000));
        progress.expect_offsets(1000);
        progress.found_done(500);
        let pace = after(&progress, 5);
        assert_eq!((pace.percent, pace.eta_seconds), (Some(50.0), None));
    }

    #[test]
    fn the_time_left_follows_from_what_this_run_did_itself() {
        let progress = Progress::default();
        progress.expect_offsets(1000);
        progress.found_done(500);
        progress.add(100, 90, 1 << 20);
        let pace = after(&progress, 10);
        assert_eq!((pace.percent, pace.eta_seconds), (Some(60.0), Some(40)));
        assert_eq!((pace.records_per_second, pace.bytes_per_second), (9, 104_857));
    }

    #[test]
    fn only_the_end_is_a_hundred() {
        let at = |offsets| Snapshot { offsets, offsets_total: 1_000_000, ..Snapshot::default() }.pace(Duration::ZERO);
        assert_eq!((at(999_999).percent, at(1_000_000).percent), (Some(99.99), Some(100.0)));
        assert_eq!(at(1_000_000).eta_seconds, Some(0));
        assert_eq!(at(2_000_000).percent, Some(100.0));
    }
}
