//! 10,000 partitions with little data each: objects and requests follow the bytes, not the partitions.

use std::path::Path;
use std::time::Duration;

use kafka_backup::backup::{self, BackupReport, Outcome};
use kafka_backup::config::backup::PARALLELISM;
use kafka_backup::config::verify::Level;
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use kafka_backup::{restore, verify};
use kafka_protocol::messages::ApiKey;
use serde_json::json;
use tempfile::TempDir;

use crate::broker::Broker;
use crate::configs;
use crate::topic::{Log, Topic};

const TOPICS: usize = 100;
const PARTITIONS: usize = 100;

/// Topics of which every tenth partition is empty, and the others have so many batches of about so many bytes.
fn topics(count: usize, batches: usize, value_bytes: usize) -> Vec<Topic> {
    let log = |topic: usize, partition: usize| match partition % 10 {
        0 => Log::default(),
        _ => Log::of_noise(batches, value_bytes, (topic * PARTITIONS + partition) as u64),
    };
    let topic = |number: usize| {
        Topic::new(&format!("topic-{number}"), (0..PARTITIONS).map(|partition| log(number, partition)).collect())
    };
    (0..count).map(topic).collect()
}

/// A finished backup of all that the broker has.
struct BackedUp {
    folder: TempDir,
    report: BackupReport,
}

impl BackedUp {
    async fn of(broker: &Broker, segment_bytes_max: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = configs::backup(broker, folder.path(), json!({ "segmentBytesMax": segment_bytes_max }));
        let report = backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
        let (partitions, records, bytes) = (broker.topics().iter().flat_map(|topic| &topic.partitions))
            .fold((0, 0, 0), |(partitions, records, bytes), log| {
                (partitions + 1, records + log.end_offset(), bytes + log.bytes())
            });
        assert_eq!(report.outcome, Outcome::Completed, "{report:?}");
        assert_eq!((report.partitions, report.records, report.bytes), (partitions, records as u64, bytes as u64));
        Self { folder, report }
    }

    async fn verify(&self) {
        let config = configs::verify(self.folder.path());
        assert_eq!(config.level, Level::Records);
        let verified = verify::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
        assert_eq!(verified.outcome, verify::Outcome::Intact, "{:?}", verified.findings);
        assert_eq!(verified.records, self.report.records);
        assert!(verified.leftovers.is_empty(), "{:?}", verified.leftovers);
    }

    fn segments(&self) -> usize {
        objects(&self.folder.path().join("archives").join(configs::ARCHIVE).join("segments"))
    }

    fn other_objects(&self) -> usize {
        objects(self.folder.path()) - self.segments()
    }
}

fn objects(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| if path.is_dir() { objects(&path) } else { 1 }).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_partitions_make_no_more_objects_than_a_hundred() {
    let few = Broker::start(topics(1, 1, 100)).await;
    let many = Broker::start(topics(TOPICS, 1, 100)).await;
    assert_eq!(many.topics().iter().map(|topic| topic.partitions.len()).sum::<usize>(), 10_000);

    let of_few = BackedUp::of(&few, 128 << 20).await;
    let of_many = BackedUp::of(&many, 128 << 20).await;
    of_many.verify().await;

    // A worker fills one segment; all else is what every backup has, whatever its size.
    assert!(of_many.segments() <= PARALLELISM, "{} segments", of_many.segments());
    assert_eq!(of_many.other_objects(), of_few.other_objects());
    // Nor may a broker be asked once a partition: hundreds of them share a request.
    assert!(many.requests_of(ApiKey::Fetch) <= 10_000 / 100, "{} fetches", many.requests_of(ApiKey::Fetch));
    assert!(many.requests() <= 200, "{} requests", many.requests());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_sends_batches_of_many_partitions_in_one_request() {
    const BATCHES: usize = 4;
    let source = Broker::start(topics(1, BATCHES, 100)).await;
    let backed_up = BackedUp::of(&source, 128 << 20).await;
    let target = Broker::start(vec![Topic::new("topic-0", (0..PARTITIONS).map(|_| Log::default()).collect())]).await;
    // What is ready while requests are answered leaves together.
    target.append_within(Duration::from_millis(50));
    let config = configs::restore(&target, backed_up.folder.path(), json!({ "keepBatches": true }));
    let report = restore::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records), (restore::Outcome::Completed, backed_up.report.records), "{report:?}");
    let batches: usize = target.topics()[0].partitions.iter().map(|log| log.state().batches.len()).sum();
    assert_eq!(batches, 90 * BATCHES);
    let requests = target.requests_of(ApiKey::Produce);
    assert!(requests <= (batches / 6) as u64, "{requests} requests for {batches} batches");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_bytes_in_as_many_partitions_make_more_objects_in_proportion() {
    const SEGMENT_BYTES_MAX: u64 = 1 << 20;
    let mut counts = Vec::new();
    for batches in [1, 8] {
        let broker = Broker::start(topics(TOPICS, batches, 500)).await;
        let backed_up = BackedUp::of(&broker, SEGMENT_BYTES_MAX).await;
        backed_up.verify().await;
        let full = usize::try_from(backed_up.report.stored_bytes.div_ceil(SEGMENT_BYTES_MAX)).unwrap();
        let segments = backed_up.segments();
        // All but the last one of each worker are full.
        assert!(segments <= full + PARALLELISM, "{segments} segments for {full} MiB");
        counts.push(segments);
    }
    assert!(counts[1] > counts[0], "{counts:?}");
}
