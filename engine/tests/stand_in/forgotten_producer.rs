//! Brokers that have forgotten the producer of a restore: those before Kafka 2.5 take nothing more from it (KIP-360).

use std::ops::Range;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_backup::error::Kind;
use kafka_backup::format::batch::Batch;
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use kafka_backup::{backup, restore};
use serde_json::json;

use crate::broker::Broker;
use crate::configs;
use crate::topic::{Log, Topic};

/// Batches that have landed before the producer is forgotten.
const LANDED: usize = 2;
const RECORDS_OF_A_BATCH: usize = 3;
const RETRY_TIMEOUT: Duration = Duration::from_secs(1);

/// The batches of the topic's only partition: the offsets that each takes, and its records.
fn batches(broker: &Broker) -> Vec<(Range<i64>, Vec<u8>)> {
    let records = |bytes: &Bytes| Batch::parse(bytes).unwrap().records().to_vec();
    let log = broker.topics()[0].partitions[0].state();
    log.batches.iter().map(|(offsets, bytes)| (offsets.clone(), records(bytes))).collect()
}

/// Begins the restore, or resumes it. No batches are joined.
async fn run(broker: &Broker, folder: &Path) -> Result<restore::RestoreReport, restore::Error> {
    let mut cluster = broker.config();
    cluster.retry_timeout_ms = u64::try_from(RETRY_TIMEOUT.as_millis()).unwrap();
    let config = configs::restore(broker, folder, json!({ "cluster": cluster, "keepBatches": true }));
    restore::run(&config, &Progress::default(), &Stop::default()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_whose_producer_is_forgotten_fails_with_that_error_and_what_has_landed_is_there_once() {
    let log = Log::default();
    for number in 0..5 {
        log.state().push(RECORDS_OF_A_BATCH, None, vec![number; 100]);
    }
    let source = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configs::backup(&source, folder.path(), json!({}));
    backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
    let target = Broker::start(vec![Topic::new("orders", vec![Log::default()])]).await;
    let log = &target.topics()[0].partitions[0];

    log.state().forgets_producers_from = Some(LANDED);
    // The second run finds what the first one has written, and is refused as Redpanda before 24.2 does.
    for (which, code, says) in
        [("the first", 59, "UNKNOWN_PRODUCER_ID (59)"), ("the second", 45, "OUT_OF_ORDER_SEQUENCE_NUMBER (45)")]
    {
        log.state().unknown_producer = Some(code);
        let began = Instant::now();
        let failed = run(&target, folder.path()).await.unwrap_err();
        assert_eq!(failed.kind(), Kind::Conflict, "{which}");
        let error = failed.to_string();
        assert!(error.starts_with(&format!("topic \"orders\" partition 0: {says}")), "{which}: {error}");
        assert!(error.contains("restore --abandon r") && error.contains("Redpanda before 24.2"), "{which}: {error}");
        assert!(began.elapsed() >= RETRY_TIMEOUT, "{which} has not tried again: {:?}", began.elapsed());
        assert_eq!(batches(&target), batches(&source)[..LANDED], "{which}");
    }

    // Brokers of Kafka 2.5 and later take what is left.
    log.state().forgets_producers_from = None;
    log.state().takes_any_sequence = true;
    let report = run(&target, folder.path()).await.unwrap();
    assert_eq!((report.outcome, report.records), (restore::Outcome::Completed, 15), "{report:?}");
    assert_eq!(batches(&target), batches(&source));
}
