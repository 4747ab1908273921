//! Restores of a real backup under other names: the configuration of each, and whether the broker has its records and offsets afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::kafka::Kafka;
use e2e::witness::At;
use kafka_backup::clock::utc;
use serde_json::{Value, json};

use super::{ARCHIVE, PARTITIONS_OF_A_TOPIC, cluster, group_name, topic_name};

/// A restore, and what there has to be when it has completed.
#[derive(Debug, Clone)]
pub struct Restored {
    /// Its id, with which the names in the target begin.
    pub id: &'static str,
    /// How many partitions, all those of the first topics.
    pub partitions: usize,
    /// How many groups, all that the backup has; 0 restores none.
    pub groups: usize,
    /// The latest timestamp, in milliseconds since 1970.
    pub point_in_time_ms: Option<i64>,
    /// How many records each partition has then.
    pub records: i64,
}

impl Restored {
    fn target(&self, source: &str) -> String {
        format!("{}-{source}", self.id)
    }

    fn topics(&self) -> impl Iterator<Item = (String, usize)> {
        let numbers: Range<usize> = 0..self.partitions.div_ceil(PARTITIONS_OF_A_TOPIC);
        numbers.map(move |number| (topic_name(number), cluster::partitions_of(number, self.partitions)))
    }

    /// The configuration file of the restore: thousands of names are too many for a command line.
    pub fn config(&self, storage: &str, bootstrap: &str) -> Value {
        let mapping = |names: Vec<String>| -> BTreeMap<String, String> {
            names.into_iter().map(|name| (name.clone(), self.target(&name))).collect()
        };
        let topics: Vec<String> = self.topics().map(|(name, _)| name).collect();
        let mut config = json!({
            "run": "restore",
            "storage": storage,
            "archive": ARCHIVE,
            "restoreId": self.id,
            "cluster": { "bootstrapServers": [bootstrap] },
            "topics": topics,
            "topicMapping": mapping(topics.clone()),
        });
        if self.groups > 0 {
            // Empty means all.
            config["consumerGroups"] = json!([]);
            config["groupMapping"] = json!(mapping((0..self.groups).map(group_name).collect()));
        }
        if let Some(at_ms) = self.point_in_time_ms {
            config["pointInTime"] = json!(utc(at_ms));
        }
        config
    }

    /// Sees that the broker has all of it, and deletes the topics, so that the next restore does not add to them.
    pub fn take(&self, kafka: &Kafka) -> Result<()> {
        let witness = kafka.witness();
        let mut targets = Vec::new();
        for (source, partitions) in self.topics() {
            let target = self.target(&source);
            let ends = witness.offsets(&target, At::Latest)?;
            ensure!(
                ends == vec![self.records; partitions],
                "{target} should have {} records in each of {partitions} partitions, and ends at {ends:?}",
                self.records
            );
            targets.push(target);
        }
        for number in 0..self.groups {
            let group = self.target(&group_name(number));
            let found = witness.group_offsets(&group)?.len();
            let wanted = cluster::offsets_of_a_group(self.partitions);
            ensure!(found == wanted, "{group} should have {wanted} committed offsets, and has {found}");
        }
        witness.delete_topics(&targets.iter().map(String::as_str).collect::<Vec<_>>())?;
        self.wait_until_deleted(&kafka.data_folder(1))
    }

    /// A broker answers before the files are gone, of which it has one open for each partition.
    fn wait_until_deleted(&self, data_folder: &Path) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(600);
        let (begin, prefix) = (Instant::now(), format!("{}-", self.id));
        let are_left = || -> Result<bool> {
            let mut entries = fs::read_dir(data_folder).context("the broker has no folder")?.flatten();
            Ok(entries.any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)))
        };
        while are_left()? {
            ensure!(begin.elapsed() < PATIENCE, "the topics of the restore {} are not deleted", self.id);
            sleep(Duration::from_millis(200));
        }
        Ok(())
    }
}
