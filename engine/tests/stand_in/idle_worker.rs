//! What a worker has read is in a checkpoint while the others read on.

use std::path::Path;
use std::time::Duration;

use kafka_backup::backup::{self, Outcome, Patience};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::json;

use crate::broker::Broker;
use crate::configs;
use crate::topic::{Log, Topic};

/// So many offsets a worker takes alone.
const OFFSETS: usize = 100_000;

/// A partition of one batch.
fn large() -> Log {
    let log = Log::default();
    log.state().push(OFFSETS, None, Vec::new());
    log
}

/// Whether a run has written a checkpoint in that folder.
fn has_checkpoint(folder: &Path) -> bool {
    let Ok(backups) = std::fs::read_dir(folder.join("archives").join(configs::ARCHIVE).join("progress")) else {
        return false;
    };
    let mut objects = backups.flat_map(|backup| std::fs::read_dir(backup.unwrap().path()).unwrap());
    // The others are the cut and what is being written.
    objects.any(|object| object.unwrap().file_name().to_string_lossy().starts_with("e0"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_without_work_has_read_is_in_a_checkpoint_before_the_others_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    // The second partition gives nothing until the first one is in a checkpoint.
    let waiting = large().with(move |log, _| log.is_silent = !has_checkpoint(&path));
    let broker = Broker::start(vec![Topic::new("orders", vec![large(), waiting])]).await;
    let settings = json!({ "parallelism": 2, "checkpointIntervalSecs": 1 });
    let config = configs::backup(&broker, folder.path(), settings);
    let patience =
        Patience { alone_wait: Duration::from_millis(50), stall: Duration::from_secs(20), ..Patience::default() };
    let report = backup::run_with(patience, &config, &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 2 * OFFSETS as u64), "{report:?}");
}
