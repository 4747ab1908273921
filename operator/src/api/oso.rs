//! `kafka.oso.sh`: for clusters that are reached by addresses and Secrets.

mod backup_id;
#[expect(clippy::duplicated_attributes, reason = "each column says its type")]
mod kafka_backup;
mod kafka_cluster;
mod kafka_restore;
mod pod_template;
mod storage;

pub use self::backup_id::backup_name;
pub use self::kafka_backup::{
    Checkpoint, CircuitBreaker, KafkaBackup, KafkaBackupSpec, KafkaBackupStatus, RateLimit, Retention,
};
pub use self::kafka_cluster::{KafkaCluster, Mechanism, SaslSecret, SecurityProtocol, TlsSecret};
pub use self::kafka_restore::{
    KafkaRestore, KafkaRestoreSpec, KafkaRestoreStatus, OffsetReset, OffsetResetStatus, OffsetResetStrategy, Pitr,
    Rollback,
};
pub use self::pod_template::PodTemplate;
pub use self::storage::{
    AzureAccountKey, AzureSasToken, AzureServicePrincipal, AzureStorage, GcsCredentials, GcsStorage, S3Credentials,
    S3Storage, Storage,
};

/// Starts one run now, whenever it gets a new value.
pub const TRIGGER_ANNOTATION: &str = "kafka.oso.sh/trigger-backup";
/// While it is `true`, an archive that belongs to another resource or cluster is taken over.
pub const ADOPT_ANNOTATION: &str = "kafka.oso.sh/adopt-archive";
