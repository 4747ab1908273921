//! What a backup run is told.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cluster::{self, ClusterConfig};
use super::job;
pub use super::retention::RetentionConfig;
use super::storage::StorageConfig;
use crate::error::Kind;
use crate::format::compression::{self, ArchiveCompression, Compression};
use crate::format::layout::{ArchiveName, BackupId, BackupIdPrefix, NameError};
use crate::rate_limit::RateLimit;
use crate::select::{PatternError, Patterns};

/// Workers that read and store at once. Four keep a broker and a store busy, and need less than 128 MiB.
pub const PARALLELISM: usize = 4;
/// More workers than this only wait for each other.
pub const PARALLELISM_MAX: usize = 64;
/// How much a killed run may have to read again, in seconds.
pub const CHECKPOINT_INTERVAL_SECS: u64 = 30;
/// A segment is closed at this size: large enough to be few, small enough that pruning gives space back.
pub const SEGMENT_BYTES_MAX: u64 = 128 << 20;

/// A codec of the archive, in Kafka's spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionName {
    /// Batches stay as they are.
    None,
    /// gzip, levels 0 to 9.
    Gzip,
    /// Snappy, without levels.
    Snappy,
    /// LZ4, levels 1 to 12.
    Lz4,
    /// Zstandard, levels 1 to 22.
    #[default]
    Zstd,
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::None => Self::None,
            CompressionName::Gzip => Self::Gzip,
            CompressionName::Snappy => Self::Snappy,
            CompressionName::Lz4 => Self::Lz4,
            CompressionName::Zstd => Self::Zstd,
        }
    }
}

impl std::str::FromStr for CompressionName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd]
            .into_iter()
            .find(|name| compression::name((*name).into()) == text)
            .ok_or_else(|| format!("{text:?} is none of none, gzip, snappy, lz4, zstd"))
    }
}

/// What an archive belongs to, as whoever starts the run names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OwnerConfig {
    /// API group of the resource.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// A backup, as it is written in a file or put together from flags.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BackupConfig {
    /// The cluster to read.
    pub cluster: ClusterConfig,
    /// The repository to write to.
    pub storage: StorageConfig,
    /// The archive in it.
    pub archive: ArchiveName,
    /// The id of the backup. Absent: an unfinished backup of the same selection is gone on with, else the time gives one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<BackupId>,
    /// The name of the Job of a CronJob that this run belongs to: the time it was scheduled for gives the id, so that a pod that
    /// is started again goes on with the same backup. Not together with `backup_id`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id_of_job: Option<String>,
    /// What comes before the time in an id; the archive's name when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_id_prefix: Option<BackupIdPrefix>,
    /// The resource that the archive belongs to; absent when it belongs to its name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<OwnerConfig>,
    /// Take an archive over that belongs to another owner or cluster.
    #[serde(default)]
    pub adopt: bool,
    /// Topics, as names or regular expressions on the whole name; all when empty. Topics that are internal to Kafka are
    /// never taken, those of its add-ons ([`crate::system_topics`]) only if they are named exactly.
    #[serde(default)]
    pub topics: Vec<String>,
    /// Topics to leave out, likewise.
    #[serde(default)]
    pub exclude_topics: Vec<String>,
    /// Consumer groups whose committed offsets are kept, likewise; absent means all, empty means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_groups: Option<Vec<String>>,
    /// How batches that the producer left uncompressed are stored.
    #[serde(default)]
    pub compression: CompressionName,
    /// Level of that codec; its own default when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression_level: Option<i32>,
    /// Workers, 1 to 64.
    #[serde(default = "parallelism")]
    pub parallelism: usize,
    /// Seconds between checkpoints; with 0 there are none before the run ends, and one that is killed reads all over again.
    #[serde(default = "checkpoint_interval_secs")]
    pub checkpoint_interval_secs: u64,
    /// Bytes at which a segment is closed, at least 1 MiB.
    #[serde(default = "segment_bytes_max")]
    pub segment_bytes_max: u64,
    /// What may be read in a second.
    #[serde(default)]
    pub rate_limit: RateLimit,
    /// Whether restores of this backup add a header with the source's offset to every record, unless they say otherwise. The
    /// archive itself holds every record as it was.
    #[serde(default)]
    pub include_offset_headers: bool,
    /// What the cluster is called, as lists and descriptions of the backup show it; its own id is read from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_id: Option<String>,
    /// Which backups of the archive are deleted when this one is there; none when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionConfig>,
}

const fn parallelism() -> usize {
    PARALLELISM
}

const fn checkpoint_interval_secs() -> u64 {
    CHECKPOINT_INTERVAL_SECS
}

const fn segment_bytes_max() -> u64 {
    SEGMENT_BYTES_MAX
}

/// Why a backup's configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster's part.
    #[error(transparent)]
    Cluster(#[from] cluster::Error),
    /// An id that a prefix and a time do not make.
    #[error("backupIdPrefix: {0}")]
    Name(#[from] NameError),
    /// Two ways to give the id.
    #[error("backupId and backupIdOfJob are both given: one of them says which backup this is")]
    TwoIds,
    /// A Job's name that tells no time.
    #[error(
        "backupIdOfJob: {0:?} is not the name of a CronJob's Job, which ends with '-' and the minutes since the epoch: give \
         backupId instead"
    )]
    Job(String),
    /// A pattern.
    #[error("{setting}: {error}")]
    Pattern {
        /// The setting that holds it.
        setting: &'static str,
        /// What is wrong.
        error: PatternError,
    },
    /// A level that the codec does not have.
    #[error("compressionLevel {level} is not one of {codec}: {range}")]
    Level {
        /// The codec.
        codec: &'static str,
        /// The level that was given.
        level: i32,
        /// The levels that there are.
        range: String,
    },
    /// A number out of its range.
    #[error("{setting} is {value}, which is not in {range}")]
    Range {
        /// The setting.
        setting: &'static str,
        /// Its value.
        value: u64,
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

/// A backup's configuration that holds together.
#[derive(Debug, Clone)]
pub struct Checked {
    /// As it was written.
    pub config: BackupConfig,
    /// The id of the backup, if it is known before the run.
    pub backup_id: Option<BackupId>,
    /// What comes before the time in an id that the run itself makes.
    pub backup_id_prefix: BackupIdPrefix,
    /// The cluster to read.
    pub cluster: cluster::Checked,
    /// Topics to take.
    pub topics: Patterns,
    /// Topics to leave out.
    pub exclude_topics: Patterns,
    /// Consumer groups to take; `None` for all.
    pub consumer_groups: Option<Patterns>,
    /// How batches that the producer left uncompressed are stored.
    pub compression: ArchiveCompression,
    /// The time between checkpoints; `None` for none before the run ends.
    pub checkpoint_interval: Option<Duration>,
}

impl Checked {
    /// What is selected, as one text: only a run that asks for the same may go on with an unfinished backup.
    pub fn selection(&self) -> String {
        let BackupConfig { topics, exclude_topics, consumer_groups, .. } = &self.config;
        format!("topics {topics:?} without {exclude_topics:?}, groups {consumer_groups:?}")
    }
}

/// Reads the patterns of a setting.
///
/// # Errors
/// [`Error::Pattern`].
pub fn patterns(setting: &'static str, texts: &[String]) -> Result<Patterns, Error> {
    Patterns::new(texts).map_err(|error| Error::Pattern { setting, error })
}

/// Refuses patterns that cannot be read.
///
/// # Errors
/// [`Error::Pattern`].
pub fn check_patterns(setting: &'static str, texts: &[String]) -> Result<(), Error> {
    Patterns::check(texts).map_err(|error| Error::Pattern { setting, error })
}

impl BackupConfig {
    /// Refuses what does not hold together, and reads no file: for whoever writes a configuration that another process will
    /// read.
    ///
    /// # Errors
    /// The first thing that is wrong, by the name of its setting.
    pub fn check_values(&self) -> Result<(), Error> {
        let codec = Compression::from(self.compression);
        if let Some(level) = self.compression_level {
            let range = compression::level_range(codec);
            if !range.as_ref().is_some_and(|range| range.contains(&level)) {
                let range = range.map_or_else(
                    || "it has no levels, leave compressionLevel out".to_owned(),
                    |range| format!("choose {} to {}", range.start(), range.end()),
                );
                return Err(Error::Level { codec: compression::name(codec), level, range });
            }
        }
        let in_range = |setting, value: u64, range: std::ops::RangeInclusive<u64>, text| {
            if range.contains(&value) { Ok(()) } else { Err(Error::Range { setting, value, range: text }) }
        };
        in_range("parallelism", self.parallelism as u64, 1..=PARALLELISM_MAX as u64, "1 to 64")?;
        in_range("checkpointIntervalSecs", self.checkpoint_interval_secs, 0..=86_400, "0 to 86400")?;
        in_range("segmentBytesMax", self.segment_bytes_max, 1 << 20..=1 << 40, "1 MiB to 1 TiB, in bytes")?;
        self.id()?;
        check_patterns("topics", &self.topics)?;
        check_patterns("excludeTopics", &self.exclude_topics)?;
        check_patterns("consumerGroups", self.consumer_groups.as_deref().unwrap_or_default())?;
        Ok(self.cluster.check_values()?)
    }

    fn prefix(&self) -> BackupIdPrefix {
        self.backup_id_prefix.clone().unwrap_or_else(|| self.archive.clone().into())
    }

    /// The id of the backup, if it is known before the run.
    fn id(&self) -> Result<Option<BackupId>, Error> {
        match (&self.backup_id, &self.backup_id_of_job) {
            (Some(_), Some(_)) => Err(Error::TwoIds),
            (given, None) => Ok(given.clone()),
            (None, Some(name)) => {
                let at_ms = job::scheduled_ms(name).ok_or_else(|| Error::Job(name.clone()))?;
                Ok(Some(BackupId::at(&self.prefix(), at_ms)?))
            }
        }
    }

    /// Refuses what does not hold together, and reads the files that the cluster's part points at.
    ///
    /// # Errors
    /// The first thing that is wrong, by the name of its setting.
    pub fn check(self) -> Result<Checked, Error> {
        self.check_values()?;
        let groups = self.consumer_groups.as_deref();
        Ok(Checked {
            backup_id: self.id()?,
            backup_id_prefix: self.prefix(),
            cluster: self.cluster.check()?,
            topics: patterns("topics", &self.topics)?,
            exclude_topics: patterns("excludeTopics", &self.exclude_topics)?,
            consumer_groups: groups.map(|groups| patterns("consumerGroups", groups)).transpose()?,
            compression: ArchiveCompression { codec: self.compression.into(), level: self.compression_level },
            checkpoint_interval: Some(self.checkpoint_interval_secs).filter(|secs| *secs > 0).map(Duration::from_secs),
            config: self,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(more: serde_json::Value) -> Result<Checked, String> {
        let mut config = serde_json::json!({
            "cluster": {"bootstrapServers": ["localhost:9092"]}, "storage": "file:///backups", "archive": "shop"
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let config: BackupConfig = serde_json::from_value(config).map_err(|error| error.to_string())?;
        config.check().map_err(|error| error.to_string())
    }

    #[test]
    fn the_id_of_a_backup_comes_from_the_job_with_the_prefix_that_is_wanted() {
        let id = |more| check(more).unwrap().backup_id.map(|id| id.to_string());
        assert_eq!(id(serde_json::json!({})), None);
        assert_eq!(id(serde_json::json!({"backupId": "x"})).as_deref(), Some("x"));
        let job = "nightly-29515110";
        assert_eq!(id(serde_json::json!({"backupIdOfJob": job})).as_deref(), Some("shop-20260212-143000"));
        let more = serde_json::json!({"backupIdOfJob": job, "backupIdPrefix": "prod"});
        assert_eq!(id(more).as_deref(), Some("prod-20260212-143000"));
        assert_eq!(check(serde_json::json!({})).unwrap().backup_id_prefix.as_str(), "shop");
    }

    #[test]
    fn an_id_that_cannot_be_made_is_refused_by_name() {
        for (more, says) in [
            (serde_json::json!({"backupIdOfJob": "by-hand"}), r#"backupIdOfJob: "by-hand" is not"#),
            (serde_json::json!({"backupIdOfJob": "n-29515110", "backupId": "x"}), "backupId and backupIdOfJob"),
            (serde_json::json!({"backupIdPrefix": "a/b"}), "a/b"),
            (serde_json::json!({"backupIdOfJob": "n-29515110", "backupIdPrefix": "x".repeat(190)}), "1 to 154 letters"),
        ] {
            let error = check(more).unwrap_err();
            assert!(error.contains(says) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn values_are_checked_where_the_files_are_not() {
        let cluster = serde_json::json!(
            {"bootstrapServers": ["a:1"], "securityProtocol": "SSL", "tls": {"caFile": "/no/such/file"}}
        );
        let config = |more: serde_json::Value| -> BackupConfig {
            let mut config = serde_json::json!({"cluster": cluster, "storage": "file:///b", "archive": "shop"});
            config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            serde_json::from_value(config).unwrap()
        };
        for right in [
            serde_json::json!({}),
            serde_json::json!({"compression": "lz4", "compressionLevel": 1}),
            serde_json::json!({"compression": "lz4", "compressionLevel": 12}),
        ] {
            assert_eq!(config(right.clone()).check_values(), Ok(()), "{right}");
        }
        assert!(matches!(config(serde_json::json!({})).check(), Err(Error::Cluster(_))));
        for wrong in [
            serde_json::json!({"topics": ["("]}),
            serde_json::json!({"consumerGroups": ["("]}),
            serde_json::json!({"compression": "lz4", "compressionLevel": 0}),
            serde_json::json!({"compression": "lz4", "compressionLevel": 13}),
            serde_json::json!({"compression": "snappy", "compressionLevel": 3}),
            serde_json::json!({"parallelism": 0}),
            serde_json::json!({"checkpointIntervalSecs": 86_401}),
            serde_json::json!({"backupIdOfJob": "by-hand"}),
            serde_json::json!({"cluster": {"bootstrapServers": []}}),
        ] {
            assert!(config(wrong.clone()).check_values().is_err(), "{wrong}");
        }
    }
}
