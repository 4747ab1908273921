//! What a restore has to remember, in the archive that it reads.
//!
//! ```text
//! restores/<id>/lease/      who works on it
//! restores/<id>/intent      before a topic is deleted or created: what is asked for, and what happens to which topic
//! restores/<id>/prepared    before the first record: producer, topic ids, and where every partition ended
//! restores/<id>/maps/..     one for each partition that is finished
//! restores/<id>/groups/..   for each group: where it stood before its offsets are committed, and that they are
//! restores/<id>/done        the report
//! restores/<id>/abandoned   it is never to be resumed
//! ```
//!
//! Each is created once. A restore that is run again begins behind the last of them that is there.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::plan::Action;
use super::{Error, RestoreReport};
use crate::config::restore::ExistingTopics;
use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::layout::{ArchiveKeys, BackupId, RestoreId};
use crate::kafka::TopicPartition;
use crate::kafka::groups::CommittedOffsets;
use crate::kafka::producer_id::Producer;
use crate::offsets::groups::GroupReport;
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
    /// Topics that are to be deleted first, with the ids that they had.
    pub overwritten: BTreeMap<String, Uuid>,
    /// What was to be done with topics that were there; absent in journals of the first programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_topics: Option<ExistingTopics>,
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
        self.changed(ids).is_empty()
    }

    /// Names of the topics that are others now, or not there.
    pub fn changed(&self, ids: &BTreeMap<String, Uuid>) -> Vec<&str> {
        let is_other = |topic: &&PreparedTopic| ids.get(&topic.target) != Some(&topic.topic_id);
        self.topics.iter().filter(is_other).map(|topic| topic.target.as_str()).collect()
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
            Created::AlreadyThere => self.read(name, kind).await?.ok_or(Error::NoAnswer),
        }
    }
}

/// Where partitions ended, by number, as a journal keeps it.
pub fn base_offsets(ends: &BTreeMap<TopicPartition, i64>, topic: &str, partitions: usize) -> Option<Vec<i64>> {
    let end = |partition: usize| ends.get(&(topic.to_owned(), i32::try_from(partition).ok()?)).copied();
    (0..partitions).map(end).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::kafka::groups::CommittedOffset;
    use crate::restore::{Counts, Outcome, TopicReport};

    fn request() -> Request {
        Request {
            backup_id: "b".parse().unwrap(),
            target_cluster_id: "target".to_owned(),
            topics: [("orders".to_owned(), "orders-2".to_owned())].into(),
            point_in_time_ms: None,
            start_ms: None,
            original_offset_header: None,
            partition_mapping: BTreeMap::new(),
        }
    }

    fn intent(action: Action) -> Intent {
        let actions = [("orders-2".to_owned(), action)].into();
        Intent { request: request(), actions, overwritten: BTreeMap::new(), existing_topics: None }
    }

    async fn journal(folder: &tempfile::TempDir) -> Journal {
        let storage = format!("file://{}", folder.path().display()).parse().unwrap();
        let store = Store::open_or_create(&storage).await.unwrap();
        Journal::new(store, &ArchiveKeys::new(&"a".parse().unwrap()), "r".parse().unwrap())
    }

    #[tokio::test]
    async fn the_first_intent_counts_whatever_a_later_run_sees() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(&folder).await;
        assert_eq!(journal.intent(&request()).await.unwrap(), None);
        assert_eq!(journal.backup_id().await.unwrap(), None);
        journal.write_intent(intent(Action::Create)).await.unwrap();
        assert_eq!(journal.backup_id().await.unwrap(), Some("b".parse().unwrap()));
        let again = journal.write_intent(intent(Action::Use)).await.unwrap();
        assert_eq!(again, intent(Action::Create));
        assert_eq!(journal.intent(&request()).await.unwrap(), Some(intent(Action::Create)));
    }

    #[tokio::test]
    async fn a_restore_of_something_else_under_the_same_id_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(&folder).await;
        journal.write_intent(intent(Action::Create)).await.unwrap();
        let changes: [fn(&mut Request); 7] = [
            |request| request.backup_id = "b2".parse().unwrap(),
            |request| request.target_cluster_id = "elsewhere".to_owned(),
            |request| drop(request.topics.insert("payments".to_owned(), "payments".to_owned())),
            |request| request.point_in_time_ms = Some(1),
            |request| request.start_ms = Some(1),
            |request| request.original_offset_header = Some("h".to_owned()),
            |request| drop(request.partition_mapping.insert("orders".to_owned(), [(0, 1)].into())),
        ];
        for change in changes {
            let mut other = request();
            change(&mut other);
            assert_eq!(journal.intent(&other).await.unwrap_err().kind(), Kind::Conflict, "{other:?}");
            assert_ne!(other.default_id(), request().default_id(), "{other:?}");
        }
    }

    #[tokio::test]
    async fn what_was_done_with_a_group_is_remembered_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(&folder).await;
        let offset = |offset| CommittedOffset { offset, leader_epoch: -1, metadata: String::new() };
        let wanted: CommittedOffsets = [(("t".to_owned(), 0), offset(5)), (("t".to_owned(), 1), offset(6))].into();
        let found: CommittedOffsets = [(("t".to_owned(), 1), offset(3)), (("u".to_owned(), 1), offset(9))].into();
        for group in ["g", "../../g", "", "a/b", "\u{1f980} \n"] {
            assert_eq!(journal.group_before(group).await.unwrap(), None, "{group:?}");
            let before = GroupBefore::new(group, &wanted, &found);
            assert_eq!((before.offset(&("t".to_owned(), 0)), before.offset(&("t".to_owned(), 1))), (None, Some(3)));
            journal.write_group_before(before.clone()).await.unwrap();
            assert_eq!(journal.group_before(group).await.unwrap(), Some(before));
            assert_eq!(journal.group_committed(group).await.unwrap(), None);
            let report =
                |committed| GroupReport { source: "s".to_owned(), target: group.to_owned(), committed, left_out: 0 };
            journal.write_group_committed(group, report(2)).await.unwrap();
            assert_eq!(journal.write_group_committed(group, report(3)).await.unwrap(), report(2), "the first counts");
            assert_eq!(journal.group_committed(group).await.unwrap(), Some(report(2)));
        }
    }

    #[test]
    fn a_topic_that_was_deleted_or_created_again_makes_it_another_restore() {
        let topic = |target: &str, id| PreparedTopic {
            target: target.to_owned(),
            topic_id: Uuid::from_u128(id),
            max_batch_bytes: 0,
            base_offsets: Vec::new(),
            configs_meanwhile: BTreeMap::new(),
            configs_after: BTreeMap::new(),
        };
        let prepared = Prepared {
            producer_id: 1,
            producer_epoch: 0,
            joined_records_bytes: None,
            topics: vec![topic("orders", 1), topic("payments", 2)],
        };
        let ids = |pairs: &[(&str, u128)]| {
            pairs.iter().map(|(name, id)| ((*name).to_owned(), Uuid::from_u128(*id))).collect::<BTreeMap<_, _>>()
        };
        assert!(prepared.is_current(&ids(&[("orders", 1), ("payments", 2), ("others", 3)])));
        assert!(!prepared.is_current(&ids(&[("orders", 1)])));
        assert_eq!(prepared.changed(&ids(&[("orders", 1), ("payments", 3)])), ["payments"]);
    }

    #[test]
    fn base_offsets_stand_in_the_order_of_partitions_and_none_may_lack() {
        let ends: BTreeMap<_, _> = [(("t".to_owned(), 1), 7), (("t".to_owned(), 0), 5)].into();
        assert_eq!(base_offsets(&ends, "t", 2), Some(vec![5, 7]));
        assert_eq!(base_offsets(&ends, "t", 3), None);
    }

    /// A journal that holds what version 1 of this program wrote into it. These files are never written again.
    async fn golden(folder: &tempfile::TempDir) -> Journal {
        let journal = journal(folder).await;
        let files: [(&str, &'static [u8]); 4] = [
            ("intent", include_bytes!("../../tests/golden/v1/restore/intent")),
            ("prepared", include_bytes!("../../tests/golden/v1/restore/prepared")),
            ("maps/00001/000007", include_bytes!("../../tests/golden/v1/restore/map")),
            ("done", include_bytes!("../../tests/golden/v1/restore/done")),
        ];
        for (name, bytes) in files {
            let key = format!("{}{name}", journal.folder);
            journal.store.create(&key, bytes::Bytes::from_static(bytes)).await.unwrap();
        }
        journal
    }

    fn text(text: &str) -> String {
        text.to_owned()
    }

    #[tokio::test]
    async fn a_journal_of_version_1_is_gone_on_with() {
        let folder = tempfile::tempdir().unwrap();
        let journal = golden(&folder).await;
        let request = Request {
            backup_id: "shop-20260212-143000".parse().unwrap(),
            target_cluster_id: text("q3nQpogpmv3qTkVvPCD9OA"),
            topics: [(text("orders"), text("orders-2")), (text("audit"), text("audit"))].into(),
            point_in_time_ms: Some(1_770_906_600_123),
            start_ms: Some(1_700_000_000_000),
            original_offset_header: Some(text("source-offset")),
            partition_mapping: BTreeMap::new(),
        };
        // A restore that was begun by an older program goes on only if its request still has the same name.
        assert_eq!(request.default_id().as_str(), "r-0eb92eb6092c0a73");
        let intent = journal.intent(&request).await.unwrap().unwrap();
        assert_eq!(intent.actions, [(text("orders-2"), Action::Overwrite), (text("audit"), Action::Append)].into());
        assert_eq!(intent.overwritten, [(text("orders-2"), Uuid::from_u128(5))].into());
        assert_eq!(intent.existing_topics, None);

        let prepared = journal.prepared().await.unwrap().unwrap();
        assert_eq!(prepared.producer(), Producer { id: 4_000_000_007, epoch: 3 });
        let [orders, audit] = prepared.topics.as_slice() else { panic!("{} topics", prepared.topics.len()) };
        assert_eq!((orders.target.as_str(), orders.topic_id), ("orders-2", Uuid::from_u128(6)));
        assert_eq!((orders.max_batch_bytes, orders.base_offsets.as_slice()), (1_048_588, &[0, 0][..]));
        assert_eq!(orders.configs_meanwhile, [(text("retention.ms"), text("-1"))].into());
        assert_eq!(orders.configs_after, [(text("retention.ms"), None)].into());
        assert_eq!((audit.topic_id, audit.base_offsets.as_slice()), (Uuid::nil(), &[17][..]));
        assert_eq!(audit.configs_after, [(text("cleanup.policy"), Some(text("compact")))].into());

        let map = journal.map(1, 7).await.unwrap().unwrap();
        assert_eq!((map.records(), map.translate(107)), (2_000_005, 21));
    }

    #[tokio::test]
    async fn what_a_journal_of_version_1_says_of_policy_and_groups_is_read_and_still_written_so() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(&folder).await;
        let files: [(&str, &'static [u8]); 3] = [
            ("intent", include_bytes!("../../tests/golden/v1/restore/intent-with-policy")),
            (
                "groups/834d97761b49d6a3d612ae68c181329d/before",
                include_bytes!("../../tests/golden/v1/restore/group-before"),
            ),
            (
                "groups/834d97761b49d6a3d612ae68c181329d/committed",
                include_bytes!("../../tests/golden/v1/restore/group-committed"),
            ),
        ];
        for (name, bytes) in files {
            let key = format!("{}{name}", journal.folder);
            journal.store.create(&key, bytes::Bytes::from_static(bytes)).await.unwrap();
        }
        let request = Request {
            backup_id: "shop-20260212-143000".parse().unwrap(),
            target_cluster_id: text("q3nQpogpmv3qTkVvPCD9OA"),
            ..request()
        };
        let intent = journal.intent(&request).await.unwrap().unwrap();
        assert_eq!(intent.existing_topics, Some(ExistingTopics::Overwrite));
        let before = journal.group_before("billing-2").await.unwrap().unwrap();
        assert_eq!(before.offsets, [(text("orders-2"), 0, 7), (text("orders-2"), 2, 0)]);
        let report = journal.group_committed("billing-2").await.unwrap().unwrap();
        assert_eq!((report.source.as_str(), report.committed, report.left_out), ("billing", 2, 1));
        // What this program writes is what it reads: the same bytes.
        let sealed = [
            document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &intent),
            document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &before),
            document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &report),
        ];
        for ((name, golden), sealed) in files.iter().zip(sealed) {
            assert_eq!(String::from_utf8_lossy(golden), String::from_utf8_lossy(&sealed), "{name}");
        }
    }

    #[tokio::test]
    async fn an_intent_with_other_numbers_for_partitions_is_read_and_still_written_so() {
        let folder = tempfile::tempdir().unwrap();
        let journal = journal(&folder).await;
        let bytes: &[u8] = include_bytes!("../../tests/golden/v1/restore/intent-with-partitions");
        journal.store.create(&format!("{}intent", journal.folder), bytes::Bytes::from_static(bytes)).await.unwrap();
        let request = Request {
            backup_id: "shop-20260212-143000".parse().unwrap(),
            target_cluster_id: text("q3nQpogpmv3qTkVvPCD9OA"),
            partition_mapping: [(text("orders"), [(0, 2), (2, 0)].into())].into(),
            ..request()
        };
        let intent = journal.intent(&request).await.unwrap().unwrap();
        let sealed = document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &intent);
        assert_eq!(String::from_utf8_lossy(bytes), String::from_utf8_lossy(&sealed));
    }

    #[tokio::test]
    async fn a_report_of_version_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let done = golden(&folder).await.done().await.unwrap().unwrap();
        assert_eq!((done.outcome, done.records, done.duration_ms), (Outcome::Partial, 2_000_005, 1_234));
        assert_eq!((done.restore_id.as_str(), done.archive.as_str()), ("r-0123456789abcdef", "shop"));
        let counts =
            Counts { records: 2_000_005, passed: 40, rewritten: 3, skipped: 2, joined: 0, records_outside_time: 9 };
        assert_eq!(done.topics, [TopicReport { source: text("orders"), target: text("orders-2"), counts }]);
        let group = GroupReport { source: text("billing"), target: text("billing-2"), committed: 2, left_out: 1 };
        assert_eq!(done.groups, [group]);
        assert_eq!((done.problems, done.warnings), (vec![text("a problem")], vec![text("a warning")]));
        assert!(!done.already_restored && done.plan.is_none());
    }
}
