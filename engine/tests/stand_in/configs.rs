//! What the runs against the stand-in are told.

use std::path::Path;
use std::time::Duration;

use kafka_backup::backup::Patience;
use kafka_backup::config::backup::{BackupConfig, Checked};
use kafka_backup::config::list::ListConfig;
use kafka_backup::config::restore::{self, RestoreConfig};
use kafka_backup::config::verify::VerifyConfig;
use kafka_backup::describe;
use kafka_backup::format::layout::BackupId;
use kafka_backup::format::manifest::Manifest;
use serde_json::{Value, json};

use crate::broker::Broker;

pub const ARCHIVE: &str = "stand-in";

/// As much as a test has.
pub const PATIENCE: Patience = Patience {
    alone_wait: Duration::from_millis(50),
    empty_end: Duration::from_millis(300),
    stall: Duration::from_millis(600),
    catch_up_min: Duration::from_millis(500),
};

/// A backup of all that the broker has into a folder, with these settings besides.
pub fn backup(broker: &Broker, folder: &Path, settings: Value) -> Checked {
    let config = between(broker, folder, settings);
    serde_json::from_value::<BackupConfig>(config).unwrap().check().unwrap()
}

/// A restore of the newest backup in that folder, with these settings besides.
pub fn restore(broker: &Broker, folder: &Path, settings: Value) -> restore::Checked {
    let config = between(broker, folder, settings);
    serde_json::from_value::<RestoreConfig>(config).unwrap().check().unwrap()
}

/// The settings of a run between the broker and that folder, and these besides.
fn between(broker: &Broker, folder: &Path, settings: Value) -> Value {
    let mut config = json!({ "cluster": broker.config(), "storage": url(folder), "archive": ARCHIVE });
    let Value::Object(settings) = settings else { panic!("settings are an object") };
    config.as_object_mut().unwrap().extend(settings);
    config
}

/// What the manifest says of a backup in that folder.
pub async fn manifest(folder: &Path, backup: &BackupId) -> Manifest {
    let config = serde_json::from_value(json!({ "storage": url(folder), "backup": backup })).unwrap();
    describe::run(&config).await.unwrap().manifest
}

/// A look at every record in that folder.
pub fn verify(folder: &Path) -> VerifyConfig {
    serde_json::from_value(json!({ "storage": url(folder), "archive": ARCHIVE })).unwrap()
}

/// The backups in that folder.
pub fn list(folder: &Path) -> ListConfig {
    serde_json::from_value(json!({ "storage": url(folder), "archive": ARCHIVE })).unwrap()
}

fn url(folder: &Path) -> String {
    format!("file://{}", folder.display())
}
