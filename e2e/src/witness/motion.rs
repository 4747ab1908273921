//! What the Java client does in a cluster in motion: it watches, and it copies exactly once.

use std::path::Path;

use anyhow::Result;
use serde_json::json;

use super::Witness;
use crate::unique;

/// A reader of everything that is committed; see `e2e/java/Oracle.java` for what it writes.
#[derive(Debug)]
pub struct OracleReader {
    witness: Witness,
    name: String,
}

/// A Kafka Streams application (exactly_once_v2) that copies one topic to another.
#[derive(Debug)]
pub struct Transform {
    witness: Witness,
    group: String,
}

impl Witness {
    /// Starts to read all topics whose names begin with `prefix`, also those that are created later.
    ///
    /// # Errors
    /// When the file cannot be created.
    pub fn start_oracle(&self, prefix: &str, file: &Path) -> Result<OracleReader> {
        let name = unique("oracle");
        self.call::<()>("start_oracle", json!({ "oracle": name, "prefix": prefix, "file": file }))?;
        Ok(OracleReader { witness: self.clone(), name })
    }

    /// Starts an application that copies one topic to another, each record exactly once.
    ///
    /// # Errors
    /// Kafka's.
    pub fn start_transform(&self, group: &str, from: &str, to: &str) -> Result<Transform> {
        self.call::<()>("start_transform", json!({ "group": group, "from": from, "to": to }))?;
        Ok(Transform { witness: self.clone(), group: group.to_owned() })
    }
}

impl OracleReader {
    /// Ends the following of a topic, of this id, that is about to be deleted. The next one of its name is followed again.
    ///
    /// # Errors
    /// When the reader is gone.
    pub fn forget(&self, topic: &str, id: &str) -> Result<()> {
        self.witness.call("oracle_forget", json!({ "oracle": self.name, "topic": topic, "topic_id": id }))
    }

    /// Waits until everything is read that is committed by now, and ends; how many records there were.
    ///
    /// # Errors
    /// When it does not catch up.
    pub fn stop(self) -> Result<u64> {
        self.witness.call("stop_oracle", json!({ "oracle": self.name }))
    }
}

impl Transform {
    /// Ends the application.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop(self) -> Result<()> {
        self.witness.call("stop_transform", json!({ "group": self.group }))
    }
}
