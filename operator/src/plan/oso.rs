//! `kafka.oso.sh`: spec and references -> plan.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kafka_backup::config::RunConfig;
use kafka_backup::config::backup::BackupConfig;
use kafka_backup::config::cluster::CircuitBreakerConfig;
use kafka_backup::config::restore::RestoreConfig;

use super::connection::{self, ConnectionPlan};
use super::settings::{self, BackupShape, RestoreShape};
use super::storage::{self, Bucket, StoragePlan};
use super::{Cron, Fields, JobPlan, Plan, PodPlan, Refusal, Retention, Source, When, archive_name};
use crate::api::backup_ref::BackupRef;
use crate::api::oso::{
    Checkpoint, CircuitBreaker, KafkaBackupSpec, KafkaRestoreSpec, OffsetReset, Pitr, PodTemplate, RateLimit, Rollback,
    S3Credentials, S3Storage, Storage,
};
use crate::api::storage_type::StorageType;
use crate::owner::Owner;

/// What a `KafkaBackup` calls the engine's settings.
const BACKUP_FIELDS: Fields = Fields(&[
    ("bootstrapServers", "spec.kafkaCluster.bootstrapServers"),
    ("topics", "spec.topics"),
    ("excludeTopics", "spec.excludeTopics"),
    ("compressionLevel", "spec.compressionLevel"),
    ("checkpointIntervalSecs", "spec.checkpointIntervalSecs"),
]);
/// What a `KafkaRestore` calls them.
const RESTORE_FIELDS: Fields = Fields(&[
    ("bootstrapServers", "spec.targetCluster.bootstrapServers"),
    ("backupId", "spec.backupId"),
    ("pointInTime", "spec.pitr"),
    ("startTime", "spec.pitr.startTime"),
    ("topics", "spec.topics"),
    ("topicMapping", "spec.topicMapping"),
    ("groupMapping", "spec.consumerGroups.mapping"),
    ("consumerGroups", "spec.consumerGroups"),
    ("partitionMapping", "spec.partitionMapping"),
]);

/// The plan of a `KafkaBackup`.
///
/// # Errors
/// Why nothing can be run.
pub fn backup(owner: &Owner, spec: &KafkaBackupSpec) -> Result<Plan, Refusal> {
    let KafkaBackupSpec {
        kafka_cluster,
        topics,
        exclude_topics,
        storage,
        schedule,
        timezone,
        suspend,
        compression,
        compression_level,
        include_offset_headers,
        source_cluster_id,
        checkpoint,
        checkpoint_interval_secs,
        retention,
        rate_limit,
        circuit_breaker,
        resources,
        job,
        pod_template,
    } = spec;
    let when = match schedule {
        None => When::Once,
        Some(cron) => {
            When::Scheduled(Cron::new(["spec.schedule", "spec.timezone"], cron, timezone.as_deref(), *suspend)?)
        }
    };
    let StoragePlan { config: storage, mount } = self::storage(storage)?;
    let archive = archive_name("metadata.name", owner.group, &owner.namespace, &owner.name)?;
    let retention = match retention.as_ref().and_then(|retention| retention.backups) {
        None => None,
        Some(backups) => Some(Retention {
            max_backups: settings::count("spec.retention.backups", Some(backups))?,
            max_age: None,
            is_every_run: true,
        }),
    };
    let interval = checkpoint.as_ref().and_then(|checkpoint| checkpoint.interval_secs).or(*checkpoint_interval_secs);
    let run = BackupShape {
        fields: BACKUP_FIELDS,
        topics: expressions("spec.topics", topics)?,
        exclude_topics: expressions("spec.excludeTopics", exclude_topics)?,
        compression: compression.map(settings::codec),
        compression_level: *compression_level,
        parallelism: None,
        checkpoint_interval_secs: match checkpoint {
            Some(Checkpoint { enabled: false, .. }) => Some(0),
            Some(Checkpoint { enabled: true, .. }) | None => interval,
        },
        include_offset_headers: *include_offset_headers,
        source_cluster_id: source_cluster_id.clone(),
        rate_limit: match rate_limit {
            None => kafka_backup::rate_limit::RateLimit::default(),
            Some(limit) => self::rate_limit(limit)?,
        },
    };
    let ConnectionPlan { config: mut cluster, mut mounts, files } = connection::of_addresses(kafka_cluster);
    if let Some(breaker) = circuit_breaker {
        cluster.circuit_breaker = self::circuit_breaker(breaker)?;
    }
    mounts.extend(mount);
    let config: BackupConfig = settings::backup(owner, cluster, storage, archive, run, retention.as_ref())?;
    Ok(Plan {
        run: RunConfig::Backup(Box::new(config)),
        when,
        retention,
        mounts,
        files,
        pod: pod(pod_template.as_ref(), resources.clone())?,
        job: JobPlan::from(job.clone()),
    })
}

/// The plan of a `KafkaRestore`; `backup` is the `KafkaBackup` that made the backup, if it is still there.
///
/// # Errors
/// Why nothing can be run, or not yet.
pub fn restore(owner: &Owner, spec: &KafkaRestoreSpec, backup: Option<&KafkaBackupSpec>) -> Result<Plan, Refusal> {
    let KafkaRestoreSpec {
        backup_id,
        backup_ref,
        target_cluster,
        kafka_cluster,
        storage,
        topics,
        topic_mapping,
        partition_mapping,
        pitr,
        include_original_offset_header,
        consumer_groups,
        offset_reset,
        rollback,
        resources,
        job,
        pod_template,
    } = spec;
    if let Some(OffsetReset { enabled: true, .. }) = offset_reset {
        return Err(Refusal::unsupported("spec.offsetReset"));
    }
    if rollback.as_ref().is_some_and(keeps_offsets) {
        return Err(Refusal::unsupported("spec.rollback"));
    }
    let wanted = wanted_backup(backup_id.as_deref(), backup_ref.as_ref());
    let is_elsewhere = storage.is_some() && backup.is_none();
    let storage = match (storage, backup) {
        (Some(storage), _) => self::storage(storage)?,
        (None, Some(backup)) => {
            self::storage(&backup.storage).map_err(|refusal| settings::of_backup(wanted.name, refusal))?
        }
        (None, None) => return Err(settings::no_backup(wanted.name)),
    };
    // A rule of the schema cannot compare them.
    if let (Some(target), Some(kafka)) = (target_cluster, kafka_cluster)
        && target != kafka
    {
        return Err(Refusal::invalid(
            "spec.targetCluster and spec.kafkaCluster are two names of one thing, and differ: give one of them",
        ));
    }
    let target = target_cluster
        .as_ref()
        .or(kafka_cluster.as_ref())
        .or_else(|| backup.map(|backup| &backup.kafka_cluster))
        .ok_or_else(|| settings::no_target(wanted.name))?;
    let StoragePlan { config: storage, mount } = storage;
    let pitr = pitr.as_ref().filter(|pitr| pitr.enabled);
    let shape = RestoreShape {
        fields: RESTORE_FIELDS,
        archive: match backup_ref {
            // Whose backup it is may have lived in another namespace: its id tells enough.
            Some(_) if is_elsewhere && wanted.id.is_some() => None,
            Some(BackupRef { name, .. }) => {
                Some(archive_name("spec.backupRef.name", owner.group, &owner.namespace, name)?)
            }
            None => None,
        },
        backup_id: wanted.id.map(str::to_owned),
        point_in_time: match pitr {
            None => None,
            Some(Pitr { timestamp, timestamp_millis, end_time, .. }) => match timestamp_millis {
                Some(millis) => Some(settings::time("spec.pitr.timestampMillis", *millis)?),
                None => timestamp.clone().or_else(|| end_time.clone()),
            },
        },
        start_time: pitr.and_then(|pitr| pitr.start_time.clone()),
        topics: expressions("spec.topics", topics)?,
        exclude_topics: Vec::new(),
        topic_mapping: topic_mapping.clone(),
        partition_mapping: partitions(partition_mapping)?,
        groups: consumer_groups.as_ref().map(settings::groups).transpose()?.flatten(),
        offset_header: *include_original_offset_header,
    };
    let ConnectionPlan { config: cluster, mut mounts, files } = connection::of_addresses(target);
    mounts.extend(mount);
    let config: RestoreConfig = settings::restore(owner, cluster, storage, shape)?;
    Ok(Plan {
        run: RunConfig::Restore(Box::new(config)),
        when: When::Once,
        retention: None,
        mounts,
        files,
        pod: pod(pod_template.as_ref(), resources.clone())?,
        job: JobPlan::from(job.clone()),
    })
}

/// Whether anything of it is switched on.
fn keeps_offsets(rollback: &Rollback) -> bool {
    let Rollback { enabled, snapshot_before_restore, auto_rollback_on_failure, snapshot_id } = rollback;
    let is_named = snapshot_id.is_some() && *enabled != Some(false);
    is_named || [enabled, snapshot_before_restore, auto_rollback_on_failure].contains(&&Some(true))
}

/// The backup that a restore is about, and the `KafkaBackup` that made it, as far as the spec tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedBackup<'a> {
    /// The backup's id; `None` for the newest.
    pub id: Option<&'a str>,
    /// The name of the `KafkaBackup`.
    pub name: Option<&'a str>,
}

/// Reads which backup a restore is about.
pub fn wanted_backup<'a>(backup_id: Option<&'a str>, backup_ref: Option<&'a BackupRef>) -> WantedBackup<'a> {
    let id = backup_id.or_else(|| backup_ref.and_then(|reference| reference.backup_id.as_deref()));
    let name = backup_ref.map(|reference| reference.name.as_str());
    WantedBackup { id, name: name.or_else(|| id.and_then(crate::api::oso::backup_name)) }
}

/// Names and globs as what the engine takes.
///
/// # Errors
/// When something could be neither: an expression is not a glob, and would be taken for a name that no topic has.
fn expressions(field: &str, globs: &[String]) -> Result<Vec<String>, Refusal> {
    let is_glob = |glob: &String| {
        glob.chars().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-' | '*' | '?'))
    };
    match globs.iter().find(|glob| !is_glob(glob)) {
        None => Ok(globs.iter().map(|glob| expression(glob)).collect()),
        Some(glob) => Err(Refusal::invalid(format!(
            "{field}: {glob:?} is neither the name of a topic nor a glob: give letters, digits, '.', '_' and '-', with '*' for any number of \
             them and '?' for one"
        ))),
    }
}

/// A glob as the expression on the whole name that the engine takes; a name stays a name.
fn expression(glob: &str) -> String {
    if !glob.contains(['*', '?']) {
        return glob.to_owned();
    }
    glob.chars().fold(String::new(), |mut expression, letter| {
        match letter {
            '*' => expression.push_str(".*"),
            '?' => expression.push('.'),
            '.' => expression.push_str(r"\."),
            letter => expression.push(letter),
        }
        expression
    })
}

fn rate_limit(limit: &RateLimit) -> Result<kafka_backup::rate_limit::RateLimit, Refusal> {
    let RateLimit { bytes_per_second, records_per_second } = limit;
    Ok(kafka_backup::rate_limit::RateLimit {
        bytes_per_second: settings::rate("spec.rateLimit.bytesPerSecond", *bytes_per_second)?,
        records_per_second: settings::rate("spec.rateLimit.recordsPerSecond", *records_per_second)?,
    })
}

fn circuit_breaker(breaker: &CircuitBreaker) -> Result<CircuitBreakerConfig, Refusal> {
    let CircuitBreaker { enabled, failure_threshold, reset_timeout_secs } = breaker;
    let default = CircuitBreakerConfig::default();
    let too_large = |field: &str| Refusal::invalid(format!("{field} is too large"));
    Ok(CircuitBreakerConfig {
        enabled: *enabled,
        failure_threshold: match failure_threshold {
            None => default.failure_threshold,
            Some(count) => u32::try_from(*count).map_err(|_| too_large("spec.circuitBreaker.failureThreshold"))?,
        },
        reset_timeout_secs: match reset_timeout_secs {
            None => default.reset_timeout_secs,
            Some(seconds) => u64::try_from(*seconds).map_err(|_| too_large("spec.circuitBreaker.resetTimeoutSecs"))?,
        },
    })
}

fn storage(storage: &Storage) -> Result<StoragePlan, Refusal> {
    let Storage { storage_type, s3, azure, gcs, pvc } = storage;
    match (storage_type, s3, pvc) {
        (StorageType::S3, Some(s3), _) if azure.is_none() && gcs.is_none() => {
            let S3Storage { bucket, region, prefix, endpoint, credentials_secret } = s3;
            storage::bucket(Bucket {
                bucket: bucket.clone(),
                region: region.clone(),
                prefix: prefix.clone(),
                endpoint: endpoint.clone(),
                force_path_style: None,
                credentials: credentials_secret.as_ref().map(credentials),
            })
        }
        (StorageType::Pvc, _, Some(pvc)) => Ok(storage::claim(pvc)),
        (StorageType::Azure, ..) => Err(Refusal::unsupported("spec.storage.azure")),
        (StorageType::Gcs, ..) => Err(Refusal::unsupported("spec.storage.gcs")),
        (StorageType::S3 | StorageType::Pvc, ..) => {
            Err(Refusal::invalid("spec.storage: give exactly the one of s3, azure, gcs, pvc that storageType names"))
        }
    }
}

/// Keys that are named become files of the names that the engine knows; else it looks for them in the whole Secret.
fn credentials(secret: &S3Credentials) -> Source {
    let S3Credentials { name, access_key_id_key, access_key_key, secret_access_key_key, secret_key_key } = secret;
    let name = name.clone();
    match (
        access_key_id_key.as_ref().or(access_key_key.as_ref()),
        secret_access_key_key.as_ref().or(secret_key_key.as_ref()),
    ) {
        (Some(id), Some(secret)) => Source::SecretKeys {
            name,
            keys: vec![
                (id.clone(), "AWS_ACCESS_KEY_ID".to_owned()),
                (secret.clone(), "AWS_SECRET_ACCESS_KEY".to_owned()),
            ],
        },
        (None | Some(_), None | Some(_)) => Source::Secret { name },
    }
}

fn partitions(
    mapping: &BTreeMap<String, BTreeMap<String, i32>>,
) -> Result<BTreeMap<String, BTreeMap<i32, i32>>, Refusal> {
    let number = |topic: &str, source: &str| {
        source.parse::<i32>().ok().filter(|number| *number >= 0).ok_or_else(|| {
            Refusal::invalid(format!("spec.partitionMapping.{topic}: {source:?} is no number of a partition"))
        })
    };
    mapping
        .iter()
        .map(|(topic, pairs)| {
            let pairs = pairs.iter().map(|(source, target)| Ok((number(topic, source)?, *target)));
            Ok((topic.clone(), pairs.collect::<Result<_, Refusal>>()?))
        })
        .collect()
}

fn pod(template: Option<&PodTemplate>, resources: Option<ResourceRequirements>) -> Result<PodPlan, Refusal> {
    let PodTemplate { annotations, labels, node_selector, tolerations, service_account_name } =
        template.cloned().unwrap_or_default();
    PodPlan {
        annotations,
        labels,
        node_selector,
        tolerations,
        service_account_name: service_account_name.filter(|name| !name.is_empty()),
        resources,
        ..PodPlan::default()
    }
    .check("spec.podTemplate.labels")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_become_expressions_and_names_stay_names() {
        assert_eq!(expression("orders.v1"), "orders.v1");
        assert_eq!(expression("events-*"), "events-.*");
        assert_eq!(expression("__*"), "__.*");
        assert_eq!(expression("a.b?"), r"a\.b.");
        assert_eq!(expression("*"), ".*");
    }

    #[test]
    fn a_backup_is_found_by_its_id_or_its_reference() {
        let reference = BackupRef { name: "nightly".to_owned(), backup_id: Some("nightly-20241201-120000".to_owned()) };
        let both = WantedBackup { id: Some("nightly-20241201-120000"), name: Some("nightly") };
        assert_eq!(wanted_backup(None, Some(&reference)), both);
        assert_eq!(wanted_backup(Some("nightly-20241201-120000"), None), both);
        let named = BackupRef { name: "nightly".to_owned(), backup_id: None };
        assert_eq!(wanted_backup(None, Some(&named)), WantedBackup { id: None, name: Some("nightly") });
    }
}
