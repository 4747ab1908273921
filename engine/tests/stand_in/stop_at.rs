//! Runs that are stopped at an offset of a log.

use std::path::Path;
use std::sync::{Arc, Mutex};

use kafka_backup::backup;
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::Value;

use crate::broker::Broker;
use crate::configs::{self, PATIENCE};
use crate::topic::Log;

/// Stops a run when the log is asked for an offset; from there on the log gives nothing meanwhile.
#[derive(Debug, Clone, Default)]
pub struct StopAt(Arc<Mutex<Option<(i64, Stop)>>>);

impl StopAt {
    /// The log that stops runs. It has no other script.
    pub fn with(&self, log: Log) -> Log {
        let stops = Arc::clone(&self.0);
        log.with(move |log, offset| {
            let stops = stops.lock().unwrap();
            let reached = stops.as_ref().filter(|(end_offset, _)| offset >= *end_offset);
            log.is_silent = reached.is_some();
            if let Some((_, stop)) = reached {
                stop.set();
            }
        })
    }

    /// Makes a run that stores the log up to this offset, where a batch begins, and is stopped there. The log is as before then.
    pub async fn run(&self, broker: &Broker, folder: &Path, settings: Value, end_offset: i64) {
        let stop = Stop::default();
        *self.0.lock().unwrap() = Some((end_offset, stop.clone()));
        let config = configs::backup(broker, folder, settings);
        let ended = backup::run_with(PATIENCE, &config, &Progress::default(), &stop).await;
        assert!(matches!(ended, Err(backup::Error::Interrupted { .. })), "{ended:?}");
        *self.0.lock().unwrap() = None;
    }
}
