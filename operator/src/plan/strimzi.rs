//! `backup.strimzi.io`: spec and references -> plan.

use k8s_openapi::api::core::v1::Volume;
use kafka_backup::config::RunConfig;
use kafka_backup::config::backup::BackupConfig;
use kafka_backup::config::restore::RestoreConfig;
use strimzi_discovery::{Credentials, Identity, Kafka, KafkaUser, SecretKey, connect};

use super::connection::{self, ConnectionPlan};
use super::settings::{self, BackupShape, RestoreShape};
use super::storage::{self, Bucket, StoragePlan};
use super::{Cron, Fields, JobPlan, Plan, PodPlan, Refusal, Retention, Source, When, archive_name};
use crate::api::storage_type::StorageType;
use crate::api::strimzi::{
    AdditionalVolume, Authentication, AuthenticationType, BackupSettings, CertificateAndKey, ContainerTemplate,
    CredentialsSecret, DnsPolicy, KafkaBackupSpec, KafkaRestoreSpec, MetadataTemplate, PodTemplate, S3Storage,
    Schedule, Storage, StrimziClusterRef, Template, TopicMapping,
};
use crate::owner::Owner;
use crate::references::ClusterReferences;

/// What a `KafkaBackup` calls the engine's settings.
const BACKUP_FIELDS: Fields = Fields(&[
    ("bootstrapServers", "Kafka status.listeners"),
    ("topics", "spec.topics.include"),
    ("excludeTopics", "spec.topics.exclude"),
    ("compressionLevel", "spec.backup.compressionLevel"),
    ("parallelism", "spec.backup.parallelism"),
]);
/// What a `KafkaRestore` calls them.
const RESTORE_FIELDS: Fields = Fields(&[
    ("bootstrapServers", "Kafka status.listeners"),
    ("backupId", "spec.backupRef.backupId"),
    ("pointInTime", "spec.pointInTime.timestamp"),
    ("topics", "spec.topics.include"),
    ("excludeTopics", "spec.topics.exclude"),
    ("topicMapping", "spec.topicMapping"),
    ("groupMapping", "spec.consumerGroups.mapping"),
    ("consumerGroups", "spec.consumerGroups"),
]);

/// The plan of a `KafkaBackup`.
///
/// # Errors
/// Why nothing can be run, or not yet.
pub fn backup(owner: &Owner, spec: &KafkaBackupSpec, references: &ClusterReferences) -> Result<Plan, Refusal> {
    let KafkaBackupSpec {
        strimzi_cluster_ref,
        authentication,
        topics,
        storage,
        backup,
        schedule,
        retention,
        resources,
        job,
        template,
    } = spec;
    let when = match schedule {
        None => When::Once,
        Some(Schedule { cron, timezone, suspend }) => {
            let fields = ["spec.schedule.cron", "spec.schedule.timezone"];
            When::Scheduled(Cron::new(fields, cron, timezone.as_deref(), *suspend)?)
        }
    };
    let StoragePlan { config: storage, mount } = self::storage(storage)?;
    let archive = archive_name("metadata.name", owner.group, &owner.namespace, &owner.name)?;
    let retention = match retention {
        None => None,
        Some(limits) => Some(self::retention(limits)?),
    };
    let pod = pod(template.as_ref(), resources.clone())?;
    // What Strimzi is asked for comes last: what is wrong with the spec itself is told even while the cluster is not there.
    let connection = connection(strimzi_cluster_ref, authentication.as_ref(), references)?;
    let topics = topics.clone().unwrap_or_default();
    let BackupSettings { compression, compression_level, parallelism } = backup.clone().unwrap_or_default();
    let run = BackupShape {
        fields: BACKUP_FIELDS,
        topics: topics.include,
        exclude_topics: topics.exclude,
        compression: compression.map(settings::codec),
        compression_level,
        parallelism,
        ..BackupShape::default()
    };
    let ConnectionPlan { config: cluster, mut mounts, files } = connection;
    mounts.extend(mount);
    let config: BackupConfig = settings::backup(owner, cluster, storage, archive, run, retention.as_ref())?;
    Ok(Plan {
        run: RunConfig::Backup(Box::new(config)),
        when,
        retention,
        mounts,
        files,
        pod,
        job: JobPlan::from(job.clone()),
    })
}

/// The plan of a `KafkaRestore`; `backup` is the `KafkaBackup` that it refers to, if there is one of that name.
///
/// # Errors
/// Why nothing can be run, or not yet.
pub fn restore(
    owner: &Owner,
    spec: &KafkaRestoreSpec,
    references: &ClusterReferences,
    backup: Option<&KafkaBackupSpec>,
) -> Result<Plan, Refusal> {
    let KafkaRestoreSpec {
        strimzi_cluster_ref,
        authentication,
        backup_ref,
        storage,
        point_in_time,
        topics,
        topic_mapping,
        consumer_groups,
        resources,
        job,
        template,
    } = spec;
    let is_elsewhere = storage.is_some() && backup.is_none();
    let StoragePlan { config: storage, mount } = match (storage, backup) {
        (Some(storage), _) => self::storage(storage)?,
        (None, Some(backup)) => {
            self::storage(&backup.storage).map_err(|refusal| settings::of_backup(Some(&backup_ref.name), refusal))?
        }
        (None, None) => return Err(settings::no_backup(Some(&backup_ref.name))),
    };
    let pod = pod(template.as_ref(), resources.clone())?;
    let topics = topics.clone().unwrap_or_default();
    let shape = RestoreShape {
        fields: RESTORE_FIELDS,
        archive: match &backup_ref.backup_id {
            // Whose backup it is may have lived in another namespace: its id tells enough.
            Some(_) if is_elsewhere => None,
            Some(_) | None => {
                Some(archive_name("spec.backupRef.name", owner.group, &owner.namespace, &backup_ref.name)?)
            }
        },
        backup_id: backup_ref.backup_id.clone(),
        point_in_time: point_in_time.as_ref().map(|point| point.timestamp.clone()),
        topics: topics.include,
        exclude_topics: topics.exclude,
        topic_mapping: settings::mapping(
            "spec.topicMapping: sourceTopic",
            topic_mapping.iter().map(|TopicMapping { source_topic, target_topic }| (source_topic, target_topic)),
        )?,
        groups: consumer_groups.as_ref().map(settings::groups).transpose()?.flatten(),
        ..RestoreShape::default()
    };
    let connection = connection(strimzi_cluster_ref, authentication.as_ref(), references)?;
    let ConnectionPlan { config: cluster, mut mounts, files } = connection;
    mounts.extend(mount);
    let config: RestoreConfig = settings::restore(owner, cluster, storage, shape)?;
    Ok(Plan {
        run: RunConfig::Restore(Box::new(config)),
        when: When::Once,
        retention: None,
        mounts,
        files,
        pod,
        job: JobPlan::from(job.clone()),
    })
}

fn retention(limits: &crate::api::strimzi::Retention) -> Result<Retention, Refusal> {
    let crate::api::strimzi::Retention { max_backups, max_age, prune_on_schedule } = limits;
    Ok(Retention {
        max_backups: settings::count("spec.retention.maxBackups", *max_backups)?,
        max_age: match max_age {
            None => None,
            Some(age) => {
                Some(age.parse().map_err(|error| Refusal::invalid(format!("spec.retention.maxAge: {error}")))?)
            }
        },
        is_every_run: *prune_on_schedule,
    })
}

fn connection(
    cluster: &StrimziClusterRef,
    authentication: Option<&Authentication>,
    references: &ClusterReferences,
) -> Result<ConnectionPlan, Refusal> {
    let StrimziClusterRef { name, listener } = cluster;
    let kafka: &Kafka = references.kafka.as_ref().ok_or_else(|| {
        Refusal::waiting(
            "KafkaNotFound",
            match references.is_strimzi_served {
                true => format!("there is no Kafka {name:?} in this namespace: waiting for it"),
                false => "the Kubernetes cluster has no kafka.strimzi.io API: install Strimzi, or use kafka.oso.sh"
                    .to_owned(),
            },
        )
    })?;
    let identity = match authentication {
        None => Identity::Anonymous,
        Some(authentication) => identity(authentication, references.user.as_ref())?,
    };
    let connection = connect(kafka, identity, listener.as_deref())?;
    if let (Some(authentication), Some(credentials)) = (authentication, &connection.credentials) {
        check_type(authentication, credentials)?;
    }
    Ok(connection::of_strimzi(&connection))
}

fn identity<'a>(authentication: &Authentication, user: Option<&'a KafkaUser>) -> Result<Identity<'a>, Refusal> {
    let Authentication { type_: _, kafka_user_ref, certificate_and_key, username, password_secret } = authentication;
    match (kafka_user_ref, certificate_and_key, username, password_secret) {
        (Some(wanted), None, None, None) => user.map(Identity::User).ok_or_else(|| {
            let message = format!("there is no KafkaUser {:?} in this namespace: waiting for it", wanted.name);
            Refusal::waiting("KafkaUserNotFound", message)
        }),
        (None, Some(CertificateAndKey { secret_name, certificate, key }), None, None) => {
            let of_secret = |key: &String| SecretKey { secret: secret_name.clone(), key: key.clone() };
            Ok(Identity::Given(Credentials::Tls { certificate: of_secret(certificate), key: of_secret(key) }))
        }
        (None, None, Some(username), Some(secret)) => Ok(Identity::Given(Credentials::ScramSha512 {
            username: username.clone(),
            password: SecretKey { secret: secret.name.clone(), key: secret.key.clone() },
        })),
        _ => Err(Refusal::invalid(
            "spec.authentication: give exactly one of kafkaUserRef, certificateAndKey, or username with passwordSecret",
        )),
    }
}

/// The type in the spec is that of the credentials, a `KafkaUser`'s too.
fn check_type(authentication: &Authentication, credentials: &Credentials) -> Result<(), Refusal> {
    let (given, found) = match (authentication.type_, credentials) {
        (AuthenticationType::Tls, Credentials::Tls { .. })
        | (AuthenticationType::ScramSha512, Credentials::ScramSha512 { .. }) => return Ok(()),
        (AuthenticationType::Tls, Credentials::ScramSha512 { .. }) => ("tls", "scram-sha-512"),
        (AuthenticationType::ScramSha512, Credentials::Tls { .. }) => ("scram-sha-512", "tls"),
    };
    let user = authentication.kafka_user_ref.as_ref().map_or("its credentials", |user| &user.name);
    Err(Refusal::invalid(format!(
        "spec.authentication.type is {given}, and {user} authenticates with {found}: write type: {found}"
    )))
}

fn storage(storage: &Storage) -> Result<StoragePlan, Refusal> {
    let Storage { type_, s3, azure, gcs, pvc } = storage;
    match (type_, s3, pvc) {
        (StorageType::S3, Some(s3), _) if azure.is_none() && gcs.is_none() => {
            let S3Storage { bucket, region, prefix, endpoint, force_path_style, credentials_secret } = s3;
            storage::bucket(Bucket {
                bucket: bucket.clone(),
                region: region.clone(),
                prefix: prefix.clone(),
                endpoint: endpoint.clone(),
                force_path_style: *force_path_style,
                credentials: credentials_secret.as_ref().map(|CredentialsSecret { name, key }| Source::SecretKeys {
                    name: name.clone(),
                    keys: vec![(key.clone(), "credentials".to_owned())],
                }),
            })
        }
        (StorageType::Pvc, _, Some(pvc)) => Ok(storage::claim(pvc)),
        (StorageType::Azure, ..) => Err(Refusal::unsupported("spec.storage.azure")),
        (StorageType::Gcs, ..) => Err(Refusal::unsupported("spec.storage.gcs")),
        (StorageType::S3 | StorageType::Pvc, ..) => {
            Err(Refusal::invalid("spec.storage: give exactly the one of s3, azure, gcs, pvc that type names"))
        }
    }
}

fn pod(
    template: Option<&Template>,
    resources: Option<k8s_openapi::api::core::v1::ResourceRequirements>,
) -> Result<PodPlan, Refusal> {
    let Template { pod, container } = template.cloned().unwrap_or_default();
    let PodTemplate {
        metadata,
        image_pull_secrets,
        security_context,
        termination_grace_period_seconds,
        affinity,
        tolerations,
        topology_spread_constraints,
        node_selector,
        priority_class_name,
        scheduler_name,
        host_aliases,
        dns_policy,
        dns_config,
        enable_service_links,
        tmp_dir_size_limit,
        volumes,
        host_users,
        service_account_name,
    } = pod.unwrap_or_default();
    let ContainerTemplate { env, security_context: container_security_context, volume_mounts } =
        container.unwrap_or_default();
    let MetadataTemplate { labels, annotations } = metadata.unwrap_or_default();
    PodPlan {
        labels,
        annotations,
        image_pull_secrets: image_pull_secrets.unwrap_or_default(),
        security_context,
        termination_grace_period_seconds,
        affinity,
        tolerations: tolerations.unwrap_or_default(),
        topology_spread_constraints: topology_spread_constraints.unwrap_or_default(),
        node_selector: node_selector.unwrap_or_default(),
        priority_class_name,
        scheduler_name,
        host_aliases: host_aliases.unwrap_or_default(),
        dns_policy: dns_policy.map(|policy| {
            match policy {
                DnsPolicy::ClusterFirst => "ClusterFirst",
                DnsPolicy::ClusterFirstWithHostNet => "ClusterFirstWithHostNet",
                DnsPolicy::Default => "Default",
                DnsPolicy::None => "None",
            }
            .to_owned()
        }),
        dns_config,
        enable_service_links,
        tmp_dir_size_limit,
        volumes: volumes.unwrap_or_default().into_iter().map(volume).collect(),
        host_users,
        service_account_name: service_account_name.filter(|name| !name.is_empty()),
        env: env.unwrap_or_default(),
        container_security_context,
        volume_mounts: volume_mounts.unwrap_or_default(),
        resources,
    }
    .check("spec.template.pod.metadata.labels")
}

fn volume(volume: AdditionalVolume) -> Volume {
    let AdditionalVolume { name, secret, config_map, empty_dir, persistent_volume_claim, csi } = volume;
    Volume { name, secret, config_map, empty_dir, persistent_volume_claim, csi, ..Volume::default() }
}
