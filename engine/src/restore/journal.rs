//! What a restore has to remember, in the archive that it reads.
//!
//! ```text
//! restores/<id>/lease/      who works on it
//! restores/<id>/intent      before a topic is deleted or created: which are to be deleted, by id
//! restores/<id>/prepared    before the first record: producer, topic ids, and where every partition ended
//! restores/<id>/maps/..     one for each partition that is finished
//! restores/<id>/done        the report
//! ```
//!
//! Each is created once. A restore that is run again begins behind the last of them that is there.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{Error, RestoreReport};
use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::layout::{ArchiveKeys, BackupId, RestoreId};
use crate::kafka::TopicPartition;
use crate::kafka::producer_id::Producer;
use crate::offsets::map::OffsetMap;
use crate::store::{Created, Store};

/// The newest version of journals.
pub const VERSION: u32 = 1;

/// What decides which records land where: the same request is the same restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Request {
    /// The backup.
    pub backup_id: BackupId,
    /// The cluster that is written to.
    pub target_cluster_id: String,
    /// Target names by source names.
    pub topics: BTreeMap<String, String>,
    /// The latest timestamp that is wanted, in milliseconds since the epoch.
    pub point_in_time_ms: Option<i64>,
    /// The earliest timestamp that is wanted, in milliseconds since the epoch.
    pub start_ms: Option<i64>,
    /// The header that is added.
    pub original_offset_header: Option<String>,
}

impl Request {
    /// The name that a restore has when it is given none.
    pub fn default_id(&self) -> RestoreId {
        let json = serde_json::to_vec(self).expect("a request has string keys");
        let digest = document::sha256_hex(&json);
        format!("r-{}", &digest[..16]).parse().expect("hexadecimal digits are a name")
    }
}

/// What a restore is about to do to topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// What was asked for.
    pub request: Request,
    /// Topics that are to be deleted first, with the ids that they had.
    pub overwritten: BTreeMap<String, Uuid>,
}

/// One target topic as it was before the first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PreparedTopic {
    /// The topic's name in the target.
    pub target: String,
    /// Its id in the target.
    pub topic_id: Uuid,
    /// The largest batch that is sent: how batches are split must not change between two runs.
    pub max_batch_bytes: u64,
    /// Where each partition ended, by number.
    pub base_offsets: Vec<i64>,
    /// What is set while data flows.
    pub configs_meanwhile: BTreeMap<String, String>,
    /// What is set after it; none for what is not set on the topic.
    pub configs_after: BTreeMap<String, Option<String>>,
}

/// Everything that must not change between two runs of one restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prepared {
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The topics, in the order of the plan.
    pub topics: Vec<PreparedTopic>,
}

impl Prepared {
    /// The one producer of the restore.
    pub fn producer(&self) -> Producer {
        Producer { id: self.producer_id, epoch: self.producer_epoch }
    }

    /// Whether the topics are still the ones that were written to.
    pub fn is_current(&self, ids: &BTreeMap<String, Uuid>) -> bool {
        self.topics.iter().all(|topic| ids.get(&topic.target) == Some(&topic.topic_id))
    }
}

/// The journal of one restore.
#[derive(Debug, Clone)]
pub struct Journal {
    store: Store,
    folder: String,
    /// The restore.
    pub id: RestoreId,
}

impl Journal {
    /// The journal of the restore of this id.
    pub fn new(store: Store, keys: &ArchiveKeys, id: RestoreId) -> Self {
        Self { store, folder: keys.restore_folder(&id), id }
    }

    /// The folder of its lease.
    pub fn lease(&self) -> String {
        format!("{}lease", self.folder)
    }

    fn map_key(&self, topic: usize, partition: i32) -> String {
        format!("{}maps/{topic:05}/{partition:06}", self.folder)
    }

    /// Writes the intent down; one that is there already counts.
    ///
    /// # Errors
    /// When it cannot be written, or the one that is there is of another request.
    pub async fn write_intent(&self, intent: Intent) -> Result<Intent, Error> {
        let written = self.create("intent", DocumentKind::Journal, intent.clone()).await?;
        if written.request == intent.request {
            return Ok(written);
        }
        Err(Error::OtherRequest { id: self.id.clone(), backup_id: written.request.backup_id })
    }

    /// What was prepared, if it was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn prepared(&self) -> Result<Option<Prepared>, Error> {
        self.read("prepared", DocumentKind::Journal).await
    }

    /// Writes down what was prepared; what is there already counts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_prepared(&self, prepared: Prepared) -> Result<Prepared, Error> {
        self.create("prepared", DocumentKind::Journal, prepared).await
    }

    /// The report of the restore, if it has ended.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn done(&self) -> Result<Option<RestoreReport>, Error> {
        self.read("done", DocumentKind::RestoreReport).await
    }

    /// Writes the report down: the restore has ended.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_done(&self, report: &RestoreReport) -> Result<(), Error> {
        let sealed = document::seal(DocumentKind::RestoreReport, VERSION, Encoding::Json, report);
        Ok(self.store.put(&format!("{}done", self.folder), sealed.into()).await?)
    }

    /// The map of a partition, if it is finished.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn map(&self, topic: usize, partition: i32) -> Result<Option<OffsetMap>, Error> {
        let key = self.map_key(topic, partition);
        match self.store.read(&key).await {
            Ok(bytes) => Ok(Some(OffsetMap::open(&bytes).map_err(|error| Error::Document { key, error })?)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes the map of a partition down: the partition is finished.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_map(&self, topic: usize, partition: i32, map: &OffsetMap) -> Result<(), Error> {
        self.store.create(&self.map_key(topic, partition), map.seal().into()).await?;
        Ok(())
    }

    async fn read<T: DeserializeOwned>(&self, name: &str, kind: DocumentKind) -> Result<Option<T>, Error> {
        let key = format!("{}{name}", self.folder);
        match self.store.read(&key).await {
            Ok(bytes) => {
                document::open(kind, VERSION, &bytes).map(Some).map_err(|error| Error::Document { key, error })
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn create<T: Serialize + DeserializeOwned>(
        &self,
        name: &str,
        kind: DocumentKind,
        value: T,
    ) -> Result<T, Error> {
        let key = format!("{}{name}", self.folder);
        let sealed = document::seal(kind, VERSION, Encoding::Json, &value);
        match self.store.create(&key, sealed.into()).await? {
            Created::New => Ok(value),
            Created::AlreadyThere => self.read(name, kind).await?.ok_or(Error::NoAnswer),
        }
    }
}

/// Where partitions ended, by number, as a journal keeps it.
pub fn base_offsets(ends: &BTreeMap<TopicPartition, i64>, topic: &str, partitions: usize) -> Option<Vec<i64>> {
    let end = |partition: usize| ends.get(&(topic.to_owned(), i32::try_from(partition).ok()?)).copied();
    (0..partitions).map(end).collect()
}
