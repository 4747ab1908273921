//! How far a run has come: one source for the progress bar, for HTTP and for metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counters that every worker of a run adds to. Cloning gives another handle on the same counters.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    offsets_total: AtomicU64,
    offsets: AtomicU64,
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
            records: self.0.records.load(Ordering::Relaxed),
            bytes: self.0.bytes.load(Ordering::Relaxed),
        }
    }
}
