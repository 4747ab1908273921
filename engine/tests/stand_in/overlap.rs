//! A broker that divides its log into other batches than before, as some do that compact logs in object storage.

use kafka_backup::backup::{self, Outcome};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use kafka_backup::verify;
use serde_json::json;

use crate::broker::Broker;
use crate::configs::{self, PATIENCE};
use crate::topic::{Log, Topic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_returns_a_batch_of_what_was_read_before_is_named_and_the_others_are_in_the_backup() {
    let log = Log::of_keys(&["a", "b", "c"]).with(|log, offset| {
        if offset == 1 {
            // The second response begins at 0.
            log.batches.clear();
            log.push(3, Some("c"), b"v".to_vec());
        }
    });
    // It is read on after the other was given up: a response has one of its batches.
    let orders = Topic::new("orders", vec![Log::of_noise(4, 700_000, 1)]);
    let broker = Broker::start(vec![Topic::compacted("keys", log), orders]).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configs::backup(&broker, folder.path(), json!({}));
    let report = backup::run_with(PATIENCE, &config, &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 4), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert!(problem.starts_with("partition keys-0 is not in the backup"), "{problem}");
    assert!(problem.contains("a batch at 0 reaches into the batches before 1"), "{problem}");
    let manifest = configs::manifest(folder.path(), &report.backup_id).await;
    for topic in manifest.topics {
        assert_eq!(topic.partitions[0].missing, topic.topic.name == "keys", "{}", topic.topic.name);
    }
    let verified = verify::run(&configs::verify(folder.path()), &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!(verified.outcome, verify::Outcome::Intact, "{:?}", verified.findings);
}
