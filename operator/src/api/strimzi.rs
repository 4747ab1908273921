//! `backup.strimzi.io`: for clusters that Strimzi manages, in Strimzi's own words.

mod authentication;
mod cluster;
#[expect(clippy::duplicated_attributes, reason = "each column says its type")]
mod kafka_backup;
mod kafka_restore;
mod storage;
mod template;
mod topics;

pub use self::authentication::{Authentication, AuthenticationType, CertificateAndKey, KafkaUserRef, PasswordSecret};
pub use self::cluster::StrimziClusterRef;
pub use self::kafka_backup::{
    BackupSettings, KafkaBackup, KafkaBackupSpec, KafkaBackupStatus, LastBackup, Retention, Schedule,
};
pub use self::kafka_restore::{KafkaRestore, KafkaRestoreSpec, PointInTime, TopicMapping};
pub use self::storage::{AzureStorage, CredentialsSecret, GcsStorage, S3Storage, Storage};
pub use self::template::{AdditionalVolume, ContainerTemplate, DnsPolicy, MetadataTemplate, PodTemplate, Template};
pub use self::topics::TopicSelection;

/// Starts one run now, whenever it gets a new value.
pub const TRIGGER_ANNOTATION: &str = "backup.strimzi.io/trigger-backup";
/// While it is `true`, an archive that belongs to another resource or cluster is taken over.
pub const ADOPT_ANNOTATION: &str = "backup.strimzi.io/adopt-archive";
