//! What a restore run is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::backup::{self, PARALLELISM, PARALLELISM_MAX, check_patterns, patterns};
use super::cluster::{self, ClusterConfig};
use super::partitions;
use super::storage::StorageConfig;
use crate::error::Kind;
use crate::format::layout::{ArchiveName, BackupId, RestoreId};
use crate::rate_limit::RateLimit;
use crate::select::Patterns;

/// The largest number that a partition can be given: a topic is created with as many partitions as the largest one needs.
pub const PARTITION_MAX: i32 = 99_999;
/// The header with the source's offset that a backup asks restores to add.
pub const OFFSET_HEADER: &str = "x-original-offset";

/// What to do with a target topic that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExistingTopics {
    /// Refuse it unless it is empty.
    #[default]
    Fail,
    /// Write behind what it holds.
    Append,
    /// Delete it and create it again.
    Overwrite,
}

impl std::fmt::Display for ExistingTopics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Fail => "fail",
            Self::Append => "append",
            Self::Overwrite => "overwrite",
        })
    }
}

impl std::str::FromStr for ExistingTopics {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "fail" => Ok(Self::Fail),
            "append" => Ok(Self::Append),
            "overwrite" => Ok(Self::Overwrite),
            _ => Err(format!("{text:?} is none of fail, append, overwrite")),
        }
    }
}

/// A restore, as it is written in a file or put together from flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RestoreConfig {
    /// The cluster to write to.
    pub cluster: ClusterConfig,
    /// The repository to read.
    pub storage: StorageConfig,
    /// The backup to restore.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupId>,
    /// The archive that the backup is in. Without `backup` its newest completed backup is restored, or with `point_in_time` the
    /// oldest completed one whose cut is not before that time. A run that is started again under the same `restore_id` goes on
    /// with the backup that it began with, whatever was made meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub archive: Option<ArchiveName>,
    /// Names the restore, so that the same command goes on with it; by default derived from backup, target cluster, topics,
    /// times and header, and not from `existing_topics`: what has ended is not done again under another policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore_id: Option<RestoreId>,
    /// Restores nothing: ends the restore of this id in `archive` that was begun in this cluster and is not to be completed. Its
    /// topics get the settings that they would have at its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abandon: Option<RestoreId>,
    /// Only records with a timestamp at or before this one: RFC 3339, to the millisecond.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<String>,
    /// Only records with a timestamp at or after this one, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<String>,
    /// Topics of the backup, as names or regular expressions on the whole name; all when empty.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Topics to leave out, likewise.
    #[serde(default)]
    pub exclude_topics: Vec<String>,
    /// Other names for topics: from the name in the backup to the name in the target.
    #[serde(default)]
    pub topic_mapping: BTreeMap<String, String>,
    /// Other numbers for partitions: by the topic's name in the backup, from the partition's number there to that in the target,
    /// 0 to [`PARTITION_MAX`]. Partitions that are not named keep their number; no two of a topic may get the same.
    #[serde(default, deserialize_with = "partitions::read", skip_serializing_if = "BTreeMap::is_empty")]
    pub partition_mapping: BTreeMap<String, BTreeMap<i32, i32>>,
    /// Consumer groups whose offsets are restored, likewise; absent means none, empty means all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_groups: Option<Vec<String>>,
    /// Other names for consumer groups.
    #[serde(default)]
    pub group_mapping: BTreeMap<String, String>,
    /// What to do with a target topic that is there already.
    #[serde(default)]
    pub existing_topics: ExistingTopics,
    /// Replicas of created topics, at least 1; as in the backup when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replication_factor: Option<i16>,
    /// Add a header with the record's offset in the source (decimal) to every record, or do not. Absent means as the backup says:
    /// yes if it was made with `includeOffsetHeaders`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_headers: Option<bool>,
    /// The key of that header, which is added then; [`OFFSET_HEADER`] unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub original_offset_header: Option<String>,
    /// Restores every record batch as one, however small it is. Absent or false: where the batches of a partition are smaller
    /// than 4 KiB on average, those that follow each other are joined into larger ones, with the same records. A restore that
    /// was begun goes on as it began.
    #[serde(default)]
    pub keep_batches: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
    /// Workers, 1 to 64.
    #[serde(default = "parallelism")]
    pub parallelism: usize,
    /// What may be written in a second.
    #[serde(default)]
    pub rate_limit: RateLimit,
    /// The most bytes that the records of one batch may take decompressed, up to 1 GiB. Larger batches are named in an error or a
    /// finding.
    #[serde(default = "super::decompressed_batch_bytes_max")]
    pub decompressed_batch_bytes_max: usize,
}

const fn parallelism() -> usize {
    PARALLELISM
}

/// Why a restore's configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster's part.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// A pattern.
    #[error(transparent)]
    Pattern(#[from] backup::Error),
    /// Neither backup nor archive.
    #[error("give a backup id (backup), an archive whose newest backup is meant (archive), or both; there is neither")]
    WhichBackup,
    /// Not a point in time.
    #[error("{setting}: {text:?} is no time such as 2026-02-12T14:30:00.000Z (RFC 3339)")]
    Time {
        /// The setting.
        setting: &'static str,
        /// What was given.
        text: String,
    },
    /// Nothing lies between the two times.
    #[error("startTime {start} is after pointInTime {end}: nothing lies between them")]
    EmptyTimes {
        /// The earlier bound.
        start: String,
        /// The later bound.
        end: String,
    },
    /// A name that Kafka does not allow.
    #[error(
        "topicMapping: {0:?} is no topic name: 1 to 249 letters, digits, '.', '_' and '-', and neither '.' nor '..'"
    )]
    TopicName(String),
    /// Two sources for one target.
    #[error("{setting}: {first:?} and {second:?} are both to become {target:?}")]
    Collision {
        /// The setting.
        setting: &'static str,
        /// One source.
        first: String,
        /// The other.
        second: String,
        /// The target.
        target: String,
    },
    /// A key for a header that is not to be added.
    #[error("originalOffsetHeader is given, but offsetHeaders is false: leave one of them out")]
    HeaderWithoutHeaders,
    /// What is to become of a partition cannot be.
    #[error("partitionMapping: topic {topic:?}: {why}")]
    Partition {
        /// The topic's name in the backup.
        topic: String,
        /// What is wrong.
        why: String,
    },
    /// Groups are renamed and none is restored.
    #[error("groupMapping is given, but no consumer group is restored: give consumerGroups too")]
    MappingWithoutGroups,
    /// An empty name where one is needed.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A number out of its range.
    #[error("{setting} is {value}, which is not in {range}")]
    Range {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: i64,
        /// What it may be.
        range: &'static str,
    },
}

impl Error {
    /// Always [`Kind::Usage`]: the configuration has to be mended.
    pub const fn kind(&self) -> Kind {
        Kind::Usage
    }
}

/// Which backup is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhichBackup {
    /// This one, in whichever archive it is.
    Id(BackupId),
    /// This one of this archive.
    Of(ArchiveName, BackupId),
    /// The newest of this archive that is complete.
    NewestOf(ArchiveName),
    /// The oldest of this archive that is complete and reaches this time, in milliseconds since the epoch.
    Reaching(ArchiveName, i64),
}

/// A restore's configuration that holds together.
#[derive(Debug, Clone)]
pub struct Checked {
    /// As it was written.
    pub config: RestoreConfig,
    /// The cluster to write to.
    pub cluster: cluster::Checked,
    /// The backup to read.
    pub which: WhichBackup,
    /// The latest timestamp that is wanted, in milliseconds since the epoch, inclusive.
    pub point_in_time_ms: Option<i64>,
    /// The earliest timestamp that is wanted, in milliseconds since the epoch, inclusive.
    pub start_ms: Option<i64>,
    /// Topics to restore.
    pub topics: Patterns,
    /// Topics to leave out.
    pub exclude_topics: Patterns,
    /// Consumer groups to restore; `None` for none, empty for all.
    pub consumer_groups: Option<Patterns>,
}

impl Checked {
    /// The configuration for a backup that does, or does not, ask for headers with the source's offset: what was left open is
    /// decided.
    #[must_use]
    pub fn for_backup(mut self, include_offset_headers: bool) -> Self {
        let is_added = self.config.offset_headers.unwrap_or(include_offset_headers);
        let key = self.config.original_offset_header.take();
        self.config.original_offset_header = key.or_else(|| is_added.then(|| OFFSET_HEADER.to_owned()));
        self
    }
}

/// Whether Kafka takes this name for a topic.
pub fn is_topic_name(name: &str) -> bool {
    (1..=249).contains(&name.len())
        && !matches!(name, "." | "..")
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn time(setting: &'static str, text: Option<&String>) -> Result<Option<i64>, Error> {
    text.map(|text| {
        let error = || Error::Time { setting, text: text.clone() };
        text.parse::<jiff::Timestamp>().map(jiff::Timestamp::as_millisecond).map_err(|_| error())
    })
    .transpose()
}

fn no_collision(setting: &'static str, mapping: &BTreeMap<String, String>) -> Result<(), Error> {
    let mut sources: BTreeMap<&str, &str> = BTreeMap::new();
    for (source, target) in mapping {
        if source.is_empty() || target.is_empty() {
            return Err(Error::Empty(setting));
        }
        if let Some(first) = sources.insert(target, source) {
            let (first, second, target) = (first.to_owned(), source.clone(), target.clone());
            return Err(Error::Collision { setting, first, second, target });
        }
    }
    Ok(())
}

fn no_partition_collision(mapping: &BTreeMap<String, BTreeMap<i32, i32>>) -> Result<(), Error> {
    for (topic, partitions) in mapping {
        let refuse = |why: String| Error::Partition { topic: topic.clone(), why };
        let mut sources = BTreeMap::new();
        for (source, target) in partitions {
            if *source < 0 {
                return Err(refuse(format!("there is no partition {source}")));
            }
            if !(0..=PARTITION_MAX).contains(target) {
                return Err(refuse(format!("partition {source} cannot become {target}: 0 to {PARTITION_MAX}")));
            }
            if let Some(first) = sources.insert(*target, *source) {
                return Err(refuse(format!("partitions {first} and {source} are both to become {target}")));
            }
        }
    }
    Ok(())
}

/// A restore's configuration that holds together, without the cluster.
struct Values {
    which: WhichBackup,
    point_in_time_ms: Option<i64>,
    start_ms: Option<i64>,
}

impl RestoreConfig {
    /// Refuses what does not hold together, and reads no file: for whoever writes a configuration that another process will
    /// read.
    ///
    /// # Errors
    /// The first thing that is wrong, by the name of its setting.
    pub fn check_values(&self) -> Result<(), Error> {
        self.values()?;
        Ok(self.cluster.check_values()?)
    }

    /// Everything but the cluster.
    fn values(&self) -> Result<Values, Error> {
        let point_in_time_ms = time("pointInTime", self.point_in_time.as_ref())?;
        let which = match (&self.backup, &self.archive, point_in_time_ms) {
            (Some(id), None, _) => WhichBackup::Id(id.clone()),
            (Some(id), Some(archive), _) => WhichBackup::Of(archive.clone(), id.clone()),
            (None, Some(archive), None) => WhichBackup::NewestOf(archive.clone()),
            (None, Some(archive), Some(at_ms)) => WhichBackup::Reaching(archive.clone(), at_ms),
            (None, None, _) => return Err(Error::WhichBackup),
        };
        let start_ms = time("startTime", self.start_time.as_ref())?;
        if let (Some(start), Some(end)) = (&self.start_time, &self.point_in_time)
            && start_ms > point_in_time_ms
        {
            return Err(Error::EmptyTimes { start: start.clone(), end: end.clone() });
        }
        no_collision("topicMapping", &self.topic_mapping)?;
        no_collision("groupMapping", &self.group_mapping)?;
        if let Some(name) = self.topic_mapping.values().find(|name| !is_topic_name(name)) {
            return Err(Error::TopicName(name.clone()));
        }
        no_partition_collision(&self.partition_mapping)?;
        if !self.group_mapping.is_empty() && self.consumer_groups.is_none() {
            return Err(Error::MappingWithoutGroups);
        }
        if self.original_offset_header.as_ref().is_some_and(String::is_empty) {
            return Err(Error::Empty("originalOffsetHeader"));
        }
        if self.original_offset_header.is_some() && self.offset_headers == Some(false) {
            return Err(Error::HeaderWithoutHeaders);
        }
        if !(1..=PARALLELISM_MAX).contains(&self.parallelism) {
            let value = i64::try_from(self.parallelism).unwrap_or(i64::MAX);
            return Err(Error::Range { setting: "parallelism", value, range: "1 to 64" });
        }
        if let Some(value) = self.replication_factor.filter(|factor| *factor < 1) {
            let value = i64::from(value);
            return Err(Error::Range { setting: "replicationFactor", value, range: "1 to the number of brokers" });
        }
        check_patterns("topics", &self.topics)?;
        check_patterns("excludeTopics", &self.exclude_topics)?;
        check_patterns("consumerGroups", self.consumer_groups.as_deref().unwrap_or_default())?;
        Ok(Values { which, point_in_time_ms, start_ms })
    }

    /// Refuses what does not hold together, and reads the files that the cluster's part points at.
    ///
    /// # Errors
    /// The first thing that is wrong, by the name of its setting.
    pub fn check(self) -> Result<Checked, Error> {
        let Values { which, point_in_time_ms, start_ms } = self.values()?;
        let groups = self.consumer_groups.as_deref();
        Ok(Checked {
            cluster: self.cluster.check()?,
            which,
            point_in_time_ms,
            start_ms,
            topics: patterns("topics", &self.topics)?,
            exclude_topics: patterns("excludeTopics", &self.exclude_topics)?,
            consumer_groups: groups.map(|groups| patterns("consumerGroups", groups)).transpose()?,
            config: self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> RestoreConfig {
        let text =
            r#"{"cluster": {"bootstrapServers": ["localhost:9092"]}, "storage": "file:///backups", "backup": "b"}"#;
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_time_is_read_to_the_millisecond() {
        let with = |text: &str| RestoreConfig { point_in_time: Some(text.to_owned()), ..config() }.check();
        assert_eq!(with("2026-02-12T14:30:00.123Z").unwrap().point_in_time_ms, Some(1_770_906_600_123));
        assert_eq!(with("2026-02-12T15:30:00.123+01:00").unwrap().point_in_time_ms, Some(1_770_906_600_123));
        for text in ["", "yesterday", "2026-02-12", "2026-02-12T14:30:00", "1770906600123", "2026-13-12T14:30:00Z"] {
            let error = with(text).unwrap_err().to_string();
            assert!(error.contains("pointInTime") && error.contains("RFC 3339"), "{error}");
        }
    }

    #[test]
    fn values_are_checked_where_the_files_are_not() {
        let mut unread = config();
        unread.cluster.security_protocol = cluster::SecurityProtocol::Ssl;
        unread.cluster.tls = Some(cluster::TlsConfig { ca_file: Some("/no/such/file".into()), ..Default::default() });
        assert_eq!(unread.check_values(), Ok(()));
        assert!(matches!(unread.clone().check(), Err(Error::Cluster(_))));
        let wrong: [fn(&mut RestoreConfig); 5] = [
            |config| config.point_in_time = Some("yesterday".to_owned()),
            |config| config.topics = vec!["(".to_owned()],
            |config| config.backup = None,
            |config| config.parallelism = 0,
            |config| config.cluster.bootstrap_servers.clear(),
        ];
        for change in wrong {
            let mut wrong = unread.clone();
            change(&mut wrong);
            assert!(wrong.check_values().is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn two_topics_cannot_become_one() {
        let topic_mapping = [("a", "x"), ("b", "x")].map(|(from, to)| (from.to_owned(), to.to_owned())).into();
        let error = RestoreConfig { topic_mapping, ..config() }.check().unwrap_err();
        assert_eq!(error.to_string(), r#"topicMapping: "a" and "b" are both to become "x""#);
    }

    #[test]
    fn a_backup_is_named_by_its_id_its_archive_or_both() {
        assert_eq!(RestoreConfig { backup: None, ..config() }.check().unwrap_err(), Error::WhichBackup);
        let which = |config: RestoreConfig| config.check().unwrap().which;
        let (archive, id): (ArchiveName, BackupId) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_eq!(which(config()), WhichBackup::Id(id.clone()));
        let both = RestoreConfig { archive: Some(archive.clone()), ..config() };
        assert_eq!(which(both.clone()), WhichBackup::Of(archive.clone(), id));
        let newest = RestoreConfig { backup: None, ..both };
        assert_eq!(which(newest.clone()), WhichBackup::NewestOf(archive.clone()));
        let point_in_time = Some("2026-02-12T14:30:00.123Z".to_owned());
        let reaching = RestoreConfig { point_in_time, ..newest };
        assert_eq!(which(reaching), WhichBackup::Reaching(archive, 1_770_906_600_123));
    }

    #[test]
    fn two_partitions_of_a_topic_cannot_become_one() {
        let with = |topic: &str, pairs: &[(i32, i32)]| {
            let partition_mapping = [(topic.to_owned(), pairs.iter().copied().collect())].into();
            RestoreConfig { partition_mapping, ..config() }.check_values().map_err(|error| error.to_string())
        };
        assert_eq!(with("orders", &[(0, 5), (1, 0), (5, 99_999)]), Ok(()));
        for (pairs, says) in [
            (&[(0, 5), (1, 5)][..], "partitions 0 and 1 are both to become 5"),
            (&[(-1, 5)], "there is no partition -1"),
            (&[(0, -1)], "partition 0 cannot become -1"),
            (&[(0, 100_000)], "partition 0 cannot become 100000"),
        ] {
            let error = with("orders", pairs).unwrap_err();
            assert!(error.starts_with(r#"partitionMapping: topic "orders": "#) && error.contains(says), "{error}");
        }
    }

    #[test]
    fn the_offset_header_is_as_the_backup_says_unless_the_restore_says_otherwise() {
        let header = |offset_headers, key: Option<&str>, of_backup| {
            let original_offset_header = key.map(str::to_owned);
            let checked = RestoreConfig { offset_headers, original_offset_header, ..config() }.check()?;
            Ok::<_, Error>(checked.for_backup(of_backup).config.original_offset_header)
        };
        let default = || Ok(Some("x-original-offset".to_owned()));
        assert_eq!((header(None, None, false), header(None, None, true)), (Ok(None), default()));
        assert_eq!((header(Some(false), None, true), header(Some(true), None, false)), (Ok(None), default()));
        for (offset_headers, of_backup) in [(None, false), (None, true), (Some(true), false)] {
            assert_eq!(header(offset_headers, Some("h"), of_backup), Ok(Some("h".to_owned())));
        }
        assert_eq!(header(Some(false), Some("h"), true), Err(Error::HeaderWithoutHeaders));
        assert_eq!(header(None, Some(""), true), Err(Error::Empty("originalOffsetHeader")));
    }

    #[test]
    fn names_that_kafka_refuses_are_refused() {
        for name in ["", ".", "..", "a b", "a/b", &"x".repeat(250)] {
            assert!(!is_topic_name(name), "{name:?}");
        }
        assert!(is_topic_name("orders.v1_x-2"));
    }
}
