//! The real systems that the end-to-end tests, the demo and the benchmarks run against.
//!
//! Everything here is blocking and started on free ports, and everything ends with the process that started it, however
//! that process ends. [`kafka`], [`minio`] and [`kubernetes`] are the systems, [`image`] makes what the last one runs, and
//! [`strimzi`] leaves in it what Strimzi does; [`witness`], [`librdkafka`] and [`rskafka`] are clients that are not ours,
//! which write what a backup has to keep and read what a restore brought back; [`dump`] is the form in which they all hand
//! over records, and [`compare`] says where two dumps differ; [`hostile`] writes a log with everything in it that backup
//! tools have stumbled over, and [`sample`] much of the same; [`cli`] runs the binary under test, and [`running`] is a run
//! that is at work. [`motion`] sets a whole cluster in motion under backups and restores. [`slow_proxy`] puts a store far away,
//! [`recording_proxy`] keeps what clients send, and [`measure`] says what a run took.

pub mod cache;
pub mod certificates;
pub mod cli;
pub mod compare;
pub mod dump;
pub mod hostile;
pub mod image;
pub mod kafka;
pub mod kubernetes;
pub mod librdkafka;
pub mod measure;
pub mod minio;
pub mod motion;
pub mod operator;
pub mod port;
pub mod process;
pub mod recording_proxy;
pub mod rskafka;
pub mod running;
pub mod runs;
pub mod sample;
pub mod slow_proxy;
pub mod strimzi;
pub mod version;
pub mod witness;

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A name that no other test uses, in this process or in another one: `orders` becomes `orders-5f2c91d0-3`.
///
/// Tests that share a running system share nothing else, because their topics, groups and buckets are named by this.
pub fn unique(stem: &str) -> String {
    static PROCESS: LazyLock<u64> = LazyLock::new(|| RandomState::new().hash_one(std::process::id()));
    static NEXT: AtomicU64 = AtomicU64::new(1);
    format!("{stem}-{:08x}-{}", *PROCESS & 0xffff_ffff, NEXT.fetch_add(1, Ordering::Relaxed))
}
