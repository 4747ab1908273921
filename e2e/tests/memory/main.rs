//! The most memory that runs take over large compressed batches, and over many holes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod archive;

use std::path::Path;

use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::witness::At;
use e2e::{measure, unique};
use kafka_backup::format::batch::Compression;
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::record::OwnedRecord;
use serde_json::Value;

use self::archive::ARCHIVE;

const TIME_MS: i64 = 1_770_000_000_000;
/// What a pod of a run has by default, in MiB.
const POD_MIB: f64 = 512.0;
/// Records of a large batch, decompressed, in MiB: a run allows 64 MiB by default.
const LARGE_MIB: usize = 60;

/// A repository with a backup of one topic, and the topic's name; see [`archive::store`].
fn backed_up(stem: &str, partitions: i32, batch: &[u8], copies: i64) -> (Repository<'static>, String) {
    let (repository, topic) = (Repository::folder().unwrap(), unique(stem));
    archive::store(&repository.url(), &topic, partitions, batch, copies).unwrap();
    (repository, topic)
}

/// A backup of partitions of one batch each, which takes some kilobytes until it is decompressed.
fn backed_up_large_batches(partitions: i32) -> (Repository<'static>, String) {
    let zeros = Some(vec![0; LARGE_MIB << 20]);
    let record = OwnedRecord { timestamp_ms: TIME_MS, value: zeros, ..OwnedRecord::default() };
    let batch = BatchBuilder::new(0).compression(Compression::Zstd).record(record).build().unwrap();
    backed_up("large", partitions, &batch, 1)
}

/// Runs the engine to its end with as many threads as it has on a machine of so many cores: its report, and the most memory that it took,
/// in MiB.
fn measured(repository: &Repository<'_>, cores: &str, arguments: &[&str]) -> (Value, f64) {
    // A large batch for each core of a small machine would always fit.
    let mut cli = repository.cli(arguments).unwrap().env("TOKIO_WORKER_THREADS", cores);
    let program = Path::new(env!("CARGO_BIN_EXE_archive_scale"));
    let (figures, report) = measure::run_by(program, cli.command_mut()).unwrap();
    (serde_json::from_str(&report).unwrap(), figures.peak_mib)
}

/// The run has decompressed a large batch, and never too many of them at a time.
fn assert_fits_into_a_pod(peak_mib: f64) {
    assert!((LARGE_MIB as f64..POD_MIB).contains(&peak_mib), "{peak_mib} MiB");
}

#[test]
fn a_verification_of_large_batches_fits_into_the_memory_of_a_pod() {
    const AT_ONCE: &str = "16";
    let (repository, _) = backed_up_large_batches(16);
    let verify = ["verify", "--archive", ARCHIVE, "--level", "records", "--parallelism", AT_ONCE];
    let (report, peak_mib) = measured(&repository, AT_ONCE, &verify);
    assert_eq!(report["records"], 16, "{report}");
    assert_fits_into_a_pod(peak_mib);
}

#[test]
fn a_restore_that_has_to_change_large_batches_fits_into_the_memory_of_a_pod() {
    const AT_ONCE: &str = "8";
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let (repository, topic) = backed_up_large_batches(8);
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", ARCHIVE, "--offset-headers", "true"];
    let (report, peak_mib) = measured(&repository, AT_ONCE, &[&restore[..], &["--parallelism", AT_ONCE]].concat());
    assert_eq!(report["records"], 8, "{report}");
    assert_eq!(kafka.witness().offsets(&topic, At::Latest).unwrap(), [1; 8]);
    assert_fits_into_a_pod(peak_mib);
}

/// Each hole of a log ends a stretch of its offset map, be it a transaction marker or what the log cleaner has removed. These are of the
/// second kind, and inside of batches: millions of them take seconds, and as many markers would need millions of batches.
#[test]
fn a_restore_keeps_no_offset_maps_of_partitions_that_it_is_done_with() {
    const PARTITIONS: usize = 128;
    const BATCHES: i64 = 100;
    const RECORDS: i32 = 1_000;
    /// Offsets from one record to the next: in an offset map, five bytes a record. The maps of all partitions take 61 MiB.
    const APART: i32 = 2_147_000;
    const ADDED_MIB_MAX: f64 = 32.0;
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    // The maps of the few partitions that one worker has under way take little.
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", ARCHIVE, "--parallelism", "1"];
    let peaks_mib = |apart: i32| {
        let record = || OwnedRecord { timestamp_ms: TIME_MS, value: Some(vec![0]), ..OwnedRecord::default() };
        let add = |batch: BatchBuilder, number: i32| batch.record_at(number * apart, record());
        let batch = (0..RECORDS).fold(BatchBuilder::new(0), add).build().unwrap();
        let (repository, topic) = backed_up("holes", i32::try_from(PARTITIONS).unwrap(), &batch, BATCHES);
        // The second run reads the maps of all partitions.
        let peaks_mib = [false, true].map(|is_done| {
            let (report, peak_mib) = measured(&repository, "2", &restore);
            assert_eq!(report["alreadyRestored"], is_done, "{report}");
            peak_mib
        });
        let ends = kafka.witness().offsets(&topic, At::Latest).unwrap();
        assert_eq!(ends, [BATCHES * i64::from(RECORDS); PARTITIONS]);
        peaks_mib
    };
    let (without, with) = (peaks_mib(1), peaks_mib(APART));
    for (without, with) in without.into_iter().zip(with) {
        assert!(with < without + ADDED_MIB_MAX, "{with} MiB with holes, {without} MiB without any");
    }
}
