//! What a user sees of input that is wrong: at apply, from the API server, or as a condition, from the operator.

use e2e::unique;

use crate::world::{Group, NAMESPACE, Place, Way, manifest, world};

/// Where a user is told.
#[derive(Debug, Clone, Copy)]
enum Told {
    /// By `kubectl apply`: nothing is created.
    AtApply,
    /// By the condition that says that the resource is not ready, for this reason.
    AsCondition(&'static str),
}
use Told::{AsCondition, AtApply};

const STRIMZI: &str = "strimziClusterRef: {name: my-cluster}";
const OSO: &str = "kafkaCluster: {bootstrapServers: ['kafka:9092']}";
const STRIMZI_S3: &str = "storage: {type: s3, s3: {bucket: backups}}";
const OSO_S3: &str = "storage: {storageType: s3, s3: {bucket: backups}}";

/// Group, kind, lines of the spec, where it is told, and a part of the message.
type Row = (Group, &'static str, &'static [&'static str], Told, &'static str);

#[rustfmt::skip]
const ROWS: &[Row] = &[
    // Storage
    (Group::Strimzi, "KafkaBackup", &[STRIMZI], AtApply, "spec.storage: Required value"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, "storage: {type: s3}"], AtApply, "give exactly the one of s3, azure, gcs, pvc that type names"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, "storage: {type: s3, pvc: {claimName: a}}"], AtApply, "give exactly the one of s3, azure, gcs, pvc that type names"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, "storage: {type: s3, s3: {bucket: abc}, pvc: {claimName: a}}"], AtApply, "give exactly the one of s3, azure, gcs, pvc that type names"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, "storage: {type: tape}"], AtApply, "Unsupported value: \"tape\""),
    (Group::Oso, "KafkaBackup", &[OSO, "storage: {storageType: pvc, s3: {bucket: abc}}"], AtApply, "give exactly the one of s3, azure, gcs, pvc that storageType names"),
    (Group::Oso, "KafkaBackup", &[OSO, "storage: {storageType: pvc, pvc: {claimName: a, subPath: ../b}}"], AtApply, "subPath is a folder inside the volume"),
    (Group::Oso, "KafkaBackup", &[OSO, "storage: {storageType: s3, s3: {bucket: abc, credentialsSecret: {name: a, accessKeyIdKey: b, accessKeyKey: c, secretKeyKey: d}}}"], AtApply, "accessKeyIdKey and accessKeyKey are two names of one thing"),
    (Group::Oso, "KafkaBackup", &[OSO, "storage: {storageType: s3, s3: {bucket: abc, credentialsSecret: {name: a, accessKeyKey: c}}}"], AtApply, "go together"),
    (Group::Oso, "KafkaBackup", &[OSO, "storage: {storageType: azure, azure: {accountName: abc, container: abc}}"], AtApply, "give exactly one of credentialsSecret, sasTokenSecret, servicePrincipalSecret, useWorkloadIdentity: true"),
    (Group::Oso, "KafkaBackup", &[OSO, "storage: {storageType: s3, s3: {bucket: Not_A_Bucket}}"], AsCondition("InvalidSpec"), "\"Not_A_Bucket\" is not a bucket name"),
    (Group::Oso, "KafkaBackup", &[OSO, "storage: {storageType: s3, s3: {bucket: abc, endpoint: 'ftp://x'}}"], AsCondition("InvalidSpec"), "endpoint"),
    // Not here yet
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, "storage: {type: azure, azure: {storageAccount: abc, container: abc}}"], AsCondition("NotSupported"), "spec.storage.azure is not supported by this release"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, "storage: {type: gcs, gcs: {bucket: abc}}"], AsCondition("NotSupported"), "spec.storage.gcs is not supported by this release"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "targetCluster: {bootstrapServers: ['a:1']}", OSO_S3, "offsetReset: {enabled: true, strategy: earliest}"], AsCondition("NotSupported"), "spec.offsetReset is not supported by this release"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "targetCluster: {bootstrapServers: ['a:1']}", OSO_S3, "rollback: {snapshotBeforeRestore: true}"], AsCondition("NotSupported"), "spec.rollback is not supported by this release"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "targetCluster: {bootstrapServers: ['a:1']}", OSO_S3, "rollback: {snapshotId: before}"], AsCondition("NotSupported"), "spec.rollback is not supported by this release"),
    // Authentication
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "authentication: {type: tls}"], AtApply, "give exactly one of kafkaUserRef, certificateAndKey, or username with passwordSecret"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "authentication: {type: tls, kafkaUserRef: {name: a}, certificateAndKey: {secretName: a, certificate: b, key: c}}"], AtApply, "give exactly one of kafkaUserRef"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "authentication: {type: scram-sha-512, username: a}"], AtApply, "username and passwordSecret go together"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "authentication: {type: tls, username: a, passwordSecret: {name: a, key: b}}"], AtApply, "type tls takes kafkaUserRef or certificateAndKey, no username"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "authentication: {type: oauth}"], AtApply, "Unsupported value: \"oauth\""),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "authentication: {type: tls, kafkaUserRef: {name: backup-scram}}"], AsCondition("InvalidSpec"), "spec.authentication.type is tls, and backup-scram authenticates with scram-sha-512"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "authentication: {type: tls, kafkaUserRef: {name: nobody}}"], AsCondition("KafkaUserNotFound"), "there is no KafkaUser \"nobody\" in this namespace"),
    (Group::Oso, "KafkaBackup", &["kafkaCluster: {bootstrapServers: ['a:1'], securityProtocol: SASL_SSL}", OSO_S3], AtApply, "saslSecret goes with securityProtocol SASL_PLAINTEXT or SASL_SSL"),
    (Group::Oso, "KafkaBackup", &["kafkaCluster: {bootstrapServers: ['a:1'], tlsSecret: {name: a}}", OSO_S3], AtApply, "tlsSecret goes with securityProtocol SSL or SASL_SSL"),
    (Group::Oso, "KafkaBackup", &["kafkaCluster: {bootstrapServers: ['a:1'], securityProtocol: SSL, tlsSecret: {name: a, certKey: '', keyKey: b}}", OSO_S3], AtApply, "certKey and keyKey go together"),
    (Group::Oso, "KafkaBackup", &["kafkaCluster: {bootstrapServers: ['a:1'], securityProtocol: SASL_SSL, saslSecret: {name: a, mechanism: SCRAM_SHA_512}}", OSO_S3], AtApply, "Unsupported value: \"SCRAM_SHA_512\""),
    (Group::Oso, "KafkaBackup", &["kafkaCluster: {bootstrapServers: []}", OSO_S3], AtApply, "spec.kafkaCluster.bootstrapServers"),
    (Group::Oso, "KafkaBackup", &["kafkaCluster: {bootstrapServers: ['kafka']}", OSO_S3], AsCondition("InvalidSpec"), "spec.kafkaCluster.bootstrapServers: \"kafka\" is not host:port"),
    // The cluster
    (Group::Strimzi, "KafkaBackup", &["strimziClusterRef: {name: nowhere}", STRIMZI_S3], AsCondition("KafkaNotFound"), "there is no Kafka \"nowhere\" in this namespace"),
    (Group::Strimzi, "KafkaBackup", &["strimziClusterRef: {name: my-cluster, listener: side}", STRIMZI_S3], AsCondition("ListenerNotFound"), "has no listener \"side\": its listeners are plain"),
    (Group::Strimzi, "KafkaBackup", &["strimziClusterRef: {name: my-cluster, listener: scram}", STRIMZI_S3], AsCondition("ListenerDoesNotFit"), "a listener with no authentication is needed"),
    // Topics
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "topics: {include: ['orders(']}"], AtApply, "spec.topics.include"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "topics: {include: ['']}"], AtApply, "spec.topics.include[0]"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "topics: ['orders|payments']"], AsCondition("InvalidSpec"), "spec.topics: \"orders|payments\" is neither the name of a topic nor a glob"),
    // When
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "schedule: {cron: '0 2 * *'}"], AtApply, "spec.schedule.cron"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "schedule: {cron: '@daily'}"], AtApply, "spec.schedule.cron"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "schedule: {cron: '0 2 * * *', timezone: Mars/Base}"], AtApply, "Mars/Base"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "schedule: '0 25 * * *'"], AsCondition("InvalidSpec"), "spec.schedule \"0 25 * * *\""),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "timezone: Europe/London"], AtApply, "timezone goes with a schedule"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "schedule: '0 2 * *'"], AtApply, "spec.schedule"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "schedule: '0 2 * * *'", "timezone: Mars/Base"], AtApply, "Mars/Base"),
    // Numbers
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "retention: {}"], AtApply, "give maxBackups, maxAge or both"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "retention: {maxBackups: 0}"], AtApply, "spec.retention.maxBackups"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "retention: {maxAge: soon}"], AtApply, "spec.retention.maxAge"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "backup: {parallelism: 0}"], AtApply, "spec.backup.parallelism"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "compression: lz4", "compressionLevel: 20"], AsCondition("InvalidSpec"), "spec.compressionLevel 20 is not one of lz4"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "backup: {compression: lz4, compressionLevel: 20}"], AsCondition("InvalidSpec"), "spec.backup.compressionLevel 20 is not one of lz4"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "compression: rar"], AtApply, "Unsupported value: \"rar\""),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "checkpoint: {intervalSecs: 10}", "checkpointIntervalSecs: 20"], AtApply, "two names of one thing"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "rateLimit: {bytesPerSecond: 0}"], AtApply, "spec.rateLimit.bytesPerSecond"),
    // Restores
    (Group::Oso, "KafkaRestore", &[OSO_S3], AtApply, "give backupId or backupRef"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "backupRef: {name: x, backupId: b}"], AtApply, "backupId and backupRef.backupId are two names of one thing"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "targetCluster: {bootstrapServers: ['a:1']}", OSO_S3, OSO], AsCondition("InvalidSpec"), "spec.targetCluster and spec.kafkaCluster are two names of one thing"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "pitr: {enabled: true}"], AtApply, "give timestamp, timestampMillis or endTime"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "pitr: {timestamp: '2024-12-01T12:00:00Z', timestampMillis: 1}"], AtApply, "names of one thing"),
    (Group::Oso, "KafkaRestore", &["backupRef: {name: nothing}"], AsCondition("BackupNotFound"), "there is no KafkaBackup \"nothing\" in this namespace"),
    (Group::Strimzi, "KafkaRestore", &[STRIMZI, "backupRef: {name: nothing}"], AsCondition("BackupNotFound"), "there is no KafkaBackup \"nothing\" in this namespace"),
    (Group::Strimzi, "KafkaRestore", &[STRIMZI, STRIMZI_S3, "backupRef: {name: a, backupId: b}", "pointInTime: {timestamp: yesterday}"], AtApply, "spec.pointInTime.timestamp"),
    (Group::Strimzi, "KafkaRestore", &[STRIMZI, STRIMZI_S3, "backupRef: {name: a, backupId: b}", "topicMapping: [{sourceTopic: a, targetTopic: 'no/topic'}]"], AsCondition("InvalidSpec"), "\"no/topic\" is no topic name"),
    (Group::Strimzi, "KafkaRestore", &[STRIMZI, STRIMZI_S3, "backupRef: {name: a, backupId: b}", "consumerGroups: {restore: false, mapping: [{sourceGroup: a, targetGroup: b}]}"], AtApply, "mapping needs restore: true"),
    (Group::Strimzi, "KafkaRestore", &[STRIMZI, STRIMZI_S3, "backupRef: {name: a, backupId: b}", "topicMapping: [{sourceTopic: a, targetTopic: b}, {sourceTopic: a, targetTopic: c}]"], AsCondition("InvalidSpec"), "spec.topicMapping: sourceTopic \"a\" is given twice"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "targetCluster: {bootstrapServers: ['a:1']}", OSO_S3, "consumerGroups: {restore: true, mapping: [{sourceGroup: a, targetGroup: b}, {sourceGroup: a, targetGroup: c}]}"], AsCondition("InvalidSpec"), "sourceGroup \"a\" is given twice"),
    (Group::Oso, "KafkaRestore", &["backupId: a", OSO_S3], AsCondition("BackupNotFound"), "give spec.targetCluster"),
    (Group::Oso, "KafkaRestore", &["backupId: a", "targetCluster: {bootstrapServers: ['a:1']}", OSO_S3, "pitr: {timestamp: '2026-02-12T14:30:00Z', startTime: '2026-02-13T14:30:00Z'}"], AsCondition("InvalidSpec"), "spec.pitr.startTime 2026-02-13T14:30:00Z is after spec.pitr 2026-02-12T14:30:00Z"),
    // Pods
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "template: {container: {securityContext: {privileged: true}}}"], AsCondition("InvalidSpec"), "spec.template.container.securityContext.privileged: a run needs no right of the node"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "template: {pod: {volumes: [{name: a}]}}"], AtApply, "give exactly one of secret, configMap, emptyDir, persistentVolumeClaim, csi"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "podTemplate: {labels: {app.kubernetes.io/managed-by: me}}"], AsCondition("InvalidSpec"), "spec.podTemplate.labels: \"app.kubernetes.io/managed-by\" is set by the operator"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "job: {backoffLimit: -1}"], AtApply, "spec.job.backoffLimit"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "template: {pod: {volumes: [{name: tmp, emptyDir: {}}]}}"], AsCondition("InvalidSpec"), "spec.template.pod.volumes: tmp is given twice, or is the operator's own"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "resources: {requests: {memory: 1Gi}, limits: {memory: 64Mi}}"], AsCondition("RefusedByKubernetes"), "must be less than or equal to memory limit"),
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "schedule: '0 0 1 1 *'", "podTemplate: {nodeSelector: {disk: 'not a label'}}"], AsCondition("RefusedByKubernetes"), "not a label"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "template: {pod: {volumes: [{name: a, emptyDir: {}}]}, container: {volumeMounts: [{name: a, mountPath: /usr/local/bin}]}}"], AsCondition("InvalidSpec"), "spec.template.container.volumeMounts: /usr/local/bin is used by the operator"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "template: {container: {securityContext: {capabilities: {add: [NET_ADMIN]}}}}"], AsCondition("InvalidSpec"), "securityContext.capabilities.add: a run needs no right of the node"),
    (Group::Strimzi, "KafkaBackup", &[STRIMZI, STRIMZI_S3, "schedule: {cron: '0 0 1 1 *'}", "template: {container: {env: [{name: A, value: a}, {name: A, value: b}]}}"], AsCondition("InvalidSpec"), "spec.template.container.env: A is given twice"),
    // A field that does not exist
    (Group::Oso, "KafkaBackup", &[OSO, OSO_S3, "compresion: zstd"], AtApply, ".spec.compresion: field not declared in schema"),
];

#[test]
fn every_mistake_is_told_in_one_place_and_names_what_is_wrong() {
    let world = world();
    let mut failures = Vec::new();
    let mut waiting = Vec::new();
    for (group, kind, spec, told, part) in ROWS {
        let name = unique("bad");
        let manifest = manifest(*group, kind, &name, spec);
        let applied = world.kubernetes.apply(&manifest);
        match (told, applied) {
            (AtApply, Err(error)) if format!("{error:#}").contains(part) => {}
            (AtApply, Err(error)) => failures.push(format!("{manifest}is told: {error:#}\nnot: {part}")),
            (AtApply, Ok(())) => failures.push(format!("{manifest}was taken, and should be told: {part}")),
            (AsCondition(_), Err(error)) => failures.push(format!("{manifest}was refused at once: {error:#}")),
            (AsCondition(reason), Ok(())) => waiting.push((group, kind, name, *reason, part, manifest)),
        }
    }
    for (group, kind, name, reason, part, manifest) in waiting {
        let resource = if *kind == "KafkaBackup" { world.backup(*group, &name) } else { world.restore(*group, &name) };
        let (type_, status) = match group {
            Group::Strimzi => ("NotReady", "True"),
            Group::Oso => ("Ready", "False"),
        };
        match resource.wait_for_condition(type_, status, reason) {
            Ok(message) if message.contains(part) && !message.contains('\n') => {}
            Ok(message) => failures.push(format!("{manifest}is told: {message}\nnot: {part}")),
            Err(error) => failures.push(format!("{manifest}{error:#}")),
        }
        if !world.jobs_of(&resource.get().unwrap()).is_empty() {
            failures.push(format!("{manifest}was run"));
        }
        world.kubernetes.kubectl(&["delete", resource.kind, &name, "--namespace", NAMESPACE, "--wait=false"]).unwrap();
    }
    assert!(failures.is_empty(), "{} of {} rows:\n{}", failures.len(), ROWS.len(), failures.join("\n---\n"));
}

/// What only the engine can know is told by the condition too, in the engine's own words.
#[test]
fn what_the_engine_finds_out_is_told_as_it_says_it() {
    let world = world();
    let storage = world.storage(Group::Oso, Place::S3("bad"));
    for (name, cluster, topics, job, part) in [
        (
            unique("topicless"),
            world.cluster(Group::Oso, Way::Open),
            "topics: [no-such-topic]",
            "job: {backoffLimit: 3}",
            "no-such-topic",
        ),
        (
            unique("refused"),
            world.cluster(Group::Oso, Way::Scram256).replace("name: scram256", "name: scram512"),
            "topics: ['*']",
            "job: {backoffLimit: 0}",
            "refuses the user",
        ),
    ] {
        world.apply(Group::Oso, "KafkaBackup", &name, &[&cluster, &storage, topics, job]);
        let backup = world.backup(Group::Oso, &name);
        let told = backup.wait_for_condition("Ready", "False", "BackupFailed").unwrap();
        assert!(told.contains(part), "{told}");
        // What another pod would not do better is not tried again.
        assert_eq!(world.jobs_of(&backup.get().unwrap())[0]["status"]["failed"], 1);
    }
}
