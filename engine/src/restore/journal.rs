//! What a restore has to remember, in the archive that it reads.
//!
//! ```text
//! restores/<id>/lease/      who works on it
//! restores/<id>/intent      before a topic is deleted or created: what is asked for, and what happens to which topic
//! restores/<id>/created     the ids of the topics that it has created
//! restores/<id>/prepared    before the first record: producer, topic ids, and where every partition ended
//! restores/<id>/maps/..     one for each partition that is finished
//! restores/<id>/settings    what other programs have set on its topics meanwhile
//! restores/<id>/groups/..   for each group: where it stood before its offsets are committed, and that they are
//! restores/<id>/written     the report, before the topics get their own settings back
//! restores/<id>/done        the report
//! restores/<id>/abandoned   it is never to be resumed
//! ```
//!
//! Each but `created`, `settings` and `done` is created once. A restore that is run again begins behind the last of them that is there:
//!
//! | the last that is there | what the same command does | what `--abandon` does |
//! |---|---|---|
//! | nothing | decides and begins | refuses: there is nothing |
//! | `intent` | creates what is missing, replaces what it has not replaced | gives the topics that it created their settings |
//! | `prepared` | writes what is missing, under protective settings | gives its topics their own settings |
//! | `written` | gives the topics their own settings | likewise |
//! | `done` | commits offsets that are missing, and reports | nothing |
//! | `abandoned` | begins another restore, whose name has a number, unless topics hold its records | nothing |
//!
//! Beside the folder, `unfinished-restores/<id>` is there from before the intent until `done` or `abandoned` is, and
//! `restores-of/<backup id>/<id>` from before the intent on: so nobody has to look at the restores of years to find those that
//! hold topics or read a backup. When the backup has gone, `prune` leaves `intent` and `done` or `abandoned` of a restore that has
//! ended: they say what the same command has done.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::plan::Action;
use super::{Error, RestoreReport};
use crate::config::restore::ExistingTopics;
use crate::error::Kind;
use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::layout::{ArchiveKeys, BackupId, RestoreId};
use crate::kafka::TopicPartition;
use crate::kafka::groups::CommittedOffsets;
use crate::kafka::producer_id::Producer;
use crate::offsets::groups::GroupReport;
use crate::offsets::map::OffsetMap;
use crate::rewrite::BOUNDARY_RULES;
use crate::store::{Created, Store};

/// What an object holds that says something by its name.
const NAMED: &[u8] = b"{}\n";
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
    /// Target partitions by source partitions, by the topic's name in the source, of those that get another number; absent in
    /// journals of the first programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub partition_mapping: BTreeMap<String, BTreeMap<i32, i32>>,
}

impl Request {
    /// The name that a restore has when it is given none.
    pub fn default_id(&self) -> RestoreId {
        let json = serde_json::to_vec(self).expect("a request has string keys");
        let digest = document::sha256_hex(&json);
        format!("r-{}", &digest[..16]).parse().expect("hexadecimal digits are a name")
    }
}

/// What a restore is about to do to topics. A run that is killed after it had created some of them finds them there, and
/// only this tells it that they are its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Intent {
    /// What was asked for.
    pub request: Request,
    /// What happens to each target topic.
    pub actions: BTreeMap<String, Action>,
    /// When the cut of the backup was made, in milliseconds since the epoch: another backup may be made under the id of one that was
    /// deleted. Absent in journals of the first programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_cut_at_ms: Option<i64>,
    /// Topics that are to be deleted first, with the ids that they had.
    pub overwritten: BTreeMap<String, Uuid>,
    /// What was to be done with topics that were there; absent in journals of the first programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_topics: Option<ExistingTopics>,
    /// The settings of those topics that are created or replaced, by the topic's name in the target; absent in journals of the
    /// first programs.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub settings: BTreeMap<String, TopicSettings>,
}

/// The settings of a topic that is created or replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicSettings {
    /// What is set while data flows.
    pub meanwhile: BTreeMap<String, String>,
    /// What is set after it; none for what is not set on the topic.
    pub after: BTreeMap<String, Option<String>>,
}

impl Intent {
    /// Topics that the restore was to create or replace and that are there, going by the topics' ids now, and those that it
    /// has deleted and not created again.
    pub fn created(&self, ids: &BTreeMap<String, Uuid>) -> (Vec<&str>, Vec<&str>) {
        let is_there = |name: &&str| ids.get(*name).is_some_and(|id| self.overwritten.get(*name) != Some(id));
        let is_gone = |name: &&str| !ids.contains_key(*name) && self.overwritten.contains_key(*name);
        (self.new_topics().filter(is_there).collect(), self.new_topics().filter(is_gone).collect())
    }

    /// Topics that the restore was to create or replace.
    pub fn new_topics(&self) -> impl Iterator<Item = &str> {
        let is_new = |(_, action): &(&String, &Action)| matches!(action, Action::Create | Action::Overwrite);
        self.actions.iter().filter(is_new).map(|(name, _)| name.as_str())
    }
}

/// The ids of the topics that a restore has created, as the controller has answered: another restore may create topics of the same names
/// with the same settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreatedTopics {
    /// By the topic's name in the target. A topic is missing here if its creation was not answered, or if the cluster has no topic ids.
    pub ids: BTreeMap<String, Uuid>,
}

impl CreatedTopics {
    /// Forgets the ids of these topics; whether it had one.
    pub fn forget<'n>(&mut self, topics: impl Iterator<Item = &'n str>) -> bool {
        topics.filter(|topic| self.ids.remove(*topic).is_some()).count() > 0
    }
}

/// What became of the settings of topics since the restore began to write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// What another program has set in the place of a protective setting, by topic and setting; none where it took the
    /// setting off the topic. It is put back in the end, in the place of what was there before the restore.
    pub reversed: BTreeMap<String, BTreeMap<String, Option<String>>>,
    /// Topics that have their own settings back, since a run failed in a way that the same command may not overcome.
    pub put_back: BTreeSet<String>,
}

/// Where a group stood before a restore committed its offsets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct GroupBefore {
    /// The group's name in the target.
    pub group: String,
    /// Topic, partition and committed offset, of those partitions that are about to get another.
    pub offsets: Vec<(String, i32, i64)>,
}

impl GroupBefore {
    /// What `found` says of the partitions that are `wanted`.
    pub fn new(group: &str, wanted: &CommittedOffsets, found: &CommittedOffsets) -> Self {
        let of = |(topic, partition): &TopicPartition| {
            let found = found.get(&(topic.clone(), *partition))?;
            Some((topic.clone(), *partition, found.offset))
        };
        Self { group: group.to_owned(), offsets: wanted.keys().filter_map(of).collect() }
    }

    /// Where the group stood in a partition, if it had committed anything there.
    pub fn offset(&self, (topic, partition): &TopicPartition) -> Option<i64> {
        let found = self.offsets.iter().find(|(name, number, _)| (name, number) == (topic, partition))?;
        Some(found.2)
    }
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

impl PreparedTopic {
    /// Where a partition ended, by its number in the target.
    pub fn base_offset(&self, partition: i32) -> Option<i64> {
        self.base_offsets.get(usize::try_from(partition).ok()?).copied()
    }
}

const fn first_boundary_rules() -> u32 {
    1
}

/// Everything that must not change between two runs of one restore.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Prepared {
    /// The producer's id.
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// Bytes of records that small batches are joined up to, before compression: what is joined must not change between two
    /// runs. Absent where no batches are joined, and in journals of the first programs, which joined none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub joined_records_bytes: Option<u64>,
    /// The rules by which batches are split and joined, [`BOUNDARY_RULES`]; 1 where it is absent, in journals of the first
    /// programs.
    #[serde(default = "first_boundary_rules")]
    pub boundary_rules: u32,
    /// The topics, in the order of the plan.
    pub topics: Vec<PreparedTopic>,
}

impl Prepared {
    /// Whether this program makes the same batches as the one that began the restore.
    pub const fn has_our_boundaries(&self) -> bool {
        self.boundary_rules == BOUNDARY_RULES
    }

    /// The one producer of the restore.
    pub fn producer(&self) -> Producer {
        Producer { id: self.producer_id, epoch: self.producer_epoch }
    }
}

/// A restore is never to be resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Abandoned {
    /// Since when, in milliseconds since the epoch.
    pub at_ms: i64,
}

/// The journal of one restore.
#[derive(Debug, Clone)]
pub struct Journal {
    store: Store,
    keys: ArchiveKeys,
    folder: String,
    /// The restore.
    pub id: RestoreId,
}

impl Journal {
    /// The journal of the restore of this id.
    pub fn new(store: Store, keys: &ArchiveKeys, id: RestoreId) -> Self {
        Self { store, keys: keys.clone(), folder: keys.restore_folder(&id), id }
    }

    /// The folder of its lease.
    pub fn lease(&self) -> String {
        format!("{}lease", self.folder)
    }

    /// Says that the restore has not ended, and of which backup it is. Only the holder of the lease does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn open(&self, backup: &BackupId) -> Result<(), Error> {
        for key in [self.keys.restore_of(backup, &self.id), self.keys.unfinished_restore(&self.id)] {
            self.store.put(&key, Bytes::from_static(NAMED)).await?;
        }
        Ok(())
    }

    /// Says that the restore has ended, if it has; and nothing of it if it has not begun. Only the holder of the lease does.
    ///
    /// # Errors
    /// When the journal cannot be read or written.
    pub async fn close(&self, backup: &BackupId) -> Result<(), Error> {
        let has_begun = self.begun().await?.is_some();
        if !has_begun {
            self.store.delete(&self.keys.restore_of(backup, &self.id)).await?;
        }
        if !has_begun || self.done().await?.is_some() || self.is_abandoned().await? {
            self.store.delete(&self.keys.unfinished_restore(&self.id)).await?;
        }
        Ok(())
    }

    fn map_key(&self, topic: usize, partition: i32) -> String {
        format!("{}maps/{topic:05}/{partition:06}", self.folder)
    }

    /// Writes the intent down; one that is there already counts.
    ///
    /// # Errors
    /// When it cannot be written, or the one that is there is of another request.
    pub async fn write_intent(&self, intent: Intent) -> Result<Intent, Error> {
        let request = intent.request.clone();
        let written = self.create("intent", DocumentKind::Journal, intent).await?;
        self.of_request(written, &request)
    }

    /// The intent, if one was written.
    ///
    /// # Errors
    /// When it cannot be read, or is of another request: its topics are others, and nothing of it may be gone on with.
    pub async fn intent(&self, request: &Request) -> Result<Option<Intent>, Error> {
        let written: Option<Intent> = self.read("intent", DocumentKind::Journal).await?;
        written.map(|written| self.of_request(written, request)).transpose()
    }

    fn of_request(&self, written: Intent, request: &Request) -> Result<Intent, Error> {
        if written.request == *request {
            return Ok(written);
        }
        Err(Error::OtherRequest { id: self.id.clone(), backup_id: written.request.backup_id })
    }

    /// The backup that a restore of this id began with, if one did.
    ///
    /// # Errors
    /// When the intent cannot be read.
    pub async fn backup_id(&self) -> Result<Option<BackupId>, Error> {
        Ok(self.begun().await?.map(|intent| intent.request.backup_id))
    }

    /// The intent of whatever restore has this id.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn begun(&self) -> Result<Option<Intent>, Error> {
        self.read("intent", DocumentKind::Journal).await
    }

    /// Whether the restore was abandoned.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn is_abandoned(&self) -> Result<bool, Error> {
        let abandoned: Option<Abandoned> = self.read("abandoned", DocumentKind::Journal).await?;
        Ok(abandoned.is_some())
    }

    /// Writes down that the restore is never to be resumed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_abandoned(&self, abandoned: Abandoned) -> Result<(), Error> {
        self.create("abandoned", DocumentKind::Journal, abandoned).await.map(drop)
    }

    /// The topics that the restore has created, as far as it is known: a damaged object keeps no restore from being resumed or abandoned.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn created(&self) -> Result<CreatedTopics, Error> {
        match self.read("created", DocumentKind::Journal).await {
            Err(error) if error.kind() == Kind::Corrupt => {
                tracing::warn!("it is not known which topics restore {} has created: {error}", self.id);
                Ok(CreatedTopics::default())
            }
            created => Ok(created?.unwrap_or_default()),
        }
    }

    /// Writes down which topics the restore has created, in the place of what was written before. Only the holder of the lease does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_created(&self, created: &CreatedTopics) -> Result<(), Error> {
        let sealed = document::seal(DocumentKind::Journal, VERSION, Encoding::Json, created);
        Ok(self.store.put(&format!("{}created", self.folder), sealed.into()).await?)
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

    /// What became of the settings of topics since the first record.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn settings(&self) -> Result<Settings, Error> {
        Ok(self.read("settings", DocumentKind::Journal).await?.unwrap_or_default())
    }

    /// Writes down what became of the settings of topics, in the place of what was written before. Only the holder of the
    /// lease does.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_settings(&self, settings: &Settings) -> Result<(), Error> {
        let sealed = document::seal(DocumentKind::Journal, VERSION, Encoding::Json, settings);
        Ok(self.store.put(&format!("{}settings", self.folder), sealed.into()).await?)
    }

    /// The report of a restore that has written everything, and has only to give the topics their own settings.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn written(&self) -> Result<Option<RestoreReport>, Error> {
        self.read("written", DocumentKind::RestoreReport).await
    }

    /// Writes down that only the topics' own settings are missing: from here on a topic may lose records, and no protective
    /// setting is ever set again.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_written(&self, report: RestoreReport) -> Result<RestoreReport, Error> {
        self.create("written", DocumentKind::RestoreReport, report).await
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

    /// The key of what is remembered of a group, whose name may hold anything.
    fn group_name(group: &str, what: &str) -> String {
        format!("groups/{}/{what}", &document::sha256_hex(group.as_bytes())[..32])
    }

    /// Where a group stood before its offsets were committed, if a run of this restore came so far.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn group_before(&self, group: &str) -> Result<Option<GroupBefore>, Error> {
        self.read(&Self::group_name(group, "before"), DocumentKind::Journal).await
    }

    /// Writes down where a group stands before its offsets are committed.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_group_before(&self, before: GroupBefore) -> Result<(), Error> {
        self.create(&Self::group_name(&before.group, "before"), DocumentKind::Journal, before.clone()).await.map(drop)
    }

    /// What was committed for a group, if it was.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn group_committed(&self, group: &str) -> Result<Option<GroupReport>, Error> {
        self.read(&Self::group_name(group, "committed"), DocumentKind::Journal).await
    }

    /// Writes down that the offsets of a group are committed; what is there already counts.
    ///
    /// # Errors
    /// When it cannot be written.
    pub async fn write_group_committed(&self, group: &str, report: GroupReport) -> Result<GroupReport, Error> {
        self.create(&Self::group_name(group, "committed"), DocumentKind::Journal, report).await
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
            Created::AlreadyThere => self.read(name, kind).await?.ok_or(Error::Vanished { key }),
        }
    }
}

/// Where partitions ended, by number, as a journal keeps it.
pub fn base_offsets(ends: &BTreeMap<TopicPartition, i64>, topic: &str, partitions: usize) -> Option<Vec<i64>> {
    let end = |partition: usize| ends.get(&(topic.to_owned(), i32::try_from(partition).ok()?)).copied();
    (0..partitions).map(end).collect()
}

#[cfg(test)]
mod tests;
