//! A rate limit holds a run back, and does not hold up its end.

use kafka_backup::backup::{self, Outcome};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::json;

use crate::broker::Broker;
use crate::configs;
use crate::topic::{Log, Topic};

const PARTITIONS: u64 = 600;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limited_run_falls_behind_one_without_limit_and_stops_when_it_is_asked_to() {
    let logs = (0..PARTITIONS).map(|partition| Log::of_noise(1, 100, partition));
    let broker = Broker::start(vec![Topic::new("limited", logs.collect())]).await;
    for limit in [json!({ "recordsPerSecond": 1 }), json!({ "bytesPerSecond": 100 })] {
        let (limited, unlimited) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (progress, stop) = (Progress::default(), Stop::default());
        let run = {
            let config = configs::backup(&broker, limited.path(), json!({ "rateLimit": limit, "parallelism": 2 }));
            let (progress, stop) = (progress.clone(), stop.clone());
            tokio::spawn(async move { backup::run(&config, &progress, &stop).await })
        };
        while progress.snapshot().records == 0 {
            tokio::task::yield_now().await;
        }
        let config = configs::backup(&broker, unlimited.path(), json!({}));
        let report = backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
        assert_eq!((report.outcome, report.records), (Outcome::Completed, PARTITIONS));
        // One that takes minutes by its limit is far from its end when the other, begun after it, is at its own.
        let moved = progress.snapshot().records;
        assert!(moved < PARTITIONS / 2, "{moved} of {PARTITIONS} records");

        // All that waits for the limit is stored at once; to wait on would take these minutes.
        stop.set();
        let stopped = tokio::time::timeout(std::time::Duration::from_secs(60), run).await.expect("it ends").unwrap();
        assert!(matches!(stopped, Err(backup::Error::Interrupted { .. })), "{stopped:?}");
    }
}
