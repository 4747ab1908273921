//! The same intent in both groups gives equal plans: whatever comes after them cannot tell the groups apart.

use serde::de::DeserializeOwned;
use strimzi_discovery::{Kafka, KafkaUser};

use super::{Plan, oso, strimzi};
use crate::build::tests_owner;
use crate::owner::{Kind, Owner};
use crate::references::ClusterReferences;

fn read<T: DeserializeOwned>(yaml: &str) -> T {
    serde_saphyr::from_str(yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

/// The cluster that `bootstrapServers` of the other group name, and a user of each type.
fn references(user: Option<&str>) -> ClusterReferences {
    let kafka: Kafka = read(
        "metadata: {name: my-cluster, namespace: kafka, generation: 1}
spec:
  kafka:
    listeners:
      - {name: plain, port: 9092, type: internal, tls: false}
      - {name: scram, port: 9095, type: internal, tls: false, authentication: {type: scram-sha-512}}
status:
  observedGeneration: 1
  conditions: [{type: Ready, status: 'True'}]
  listeners:
    - {name: plain, bootstrapServers: 'kafka:9092'}
    - {name: scram, bootstrapServers: 'kafka:9095'}
",
    );
    let user = user.map(|type_| -> KafkaUser {
        read(&format!(
            "metadata: {{name: user, namespace: kafka, generation: 1, labels: {{strimzi.io/cluster: my-cluster}}}}
spec: {{authentication: {{type: {type_}}}}}
status: {{observedGeneration: 1, conditions: [{{type: Ready, status: 'True'}}], username: user, secret: user}}
"
        ))
    });
    ClusterReferences { is_strimzi_served: true, kafka: Some(kafka), user }
}

/// One owner for both: what follows from the group's name alone is no difference.
fn owner(kind: Kind) -> Owner {
    Owner { kind, ..tests_owner() }
}

fn backups(strimzi_spec: &str, oso_spec: &str) -> [Plan; 2] {
    let owner = owner(Kind::Backup);
    [
        strimzi::backup(&owner, &read(strimzi_spec), &references(None)).unwrap(),
        oso::backup(&owner, &read(oso_spec)).unwrap(),
    ]
}

#[track_caller]
fn assert_equal([strimzi, oso]: [Plan; 2]) {
    assert_eq!(strimzi, oso);
}

const STRIMZI: &str = "strimziClusterRef: {name: my-cluster}\n";
const OSO: &str = "kafkaCluster: {bootstrapServers: ['kafka:9092']}\n";
const STRIMZI_S3: &str = "storage: {type: s3, s3: {bucket: backups, region: eu-west-1, prefix: a/b/}}\n";
const OSO_S3: &str = "storage: {storageType: s3, s3: {bucket: backups, region: eu-west-1, prefix: a/b}}\n";

fn twins(strimzi: &str, oso: &str) -> [Plan; 2] {
    backups(&format!("{STRIMZI}{STRIMZI_S3}{strimzi}"), &format!("{OSO}{OSO_S3}{oso}"))
}

#[test]
fn once() {
    assert_equal(twins("", ""));
}

#[test]
fn topics() {
    assert_equal(twins(
        "topics: {include: [orders, 'events-.*'], exclude: ['__.*']}\n",
        "topics: [orders, 'events-*']\nexcludeTopics: ['__*']\n",
    ));
}

#[test]
fn schedule_with_a_time_zone() {
    assert_equal(twins(
        "schedule: {cron: '0 2 * * *', timezone: Europe/London, suspend: true}\n",
        "schedule: '0 2 * * *'\ntimezone: Europe/London\nsuspend: true\n",
    ));
}

#[test]
fn retention() {
    assert_equal(twins("retention: {maxBackups: 7}\n", "retention: {backups: 7}\n"));
}

#[test]
fn compression() {
    assert_equal(twins(
        "backup: {compression: zstd, compressionLevel: 3}\n",
        "compression: zstd\ncompressionLevel: 3\n",
    ));
}

#[test]
fn pods_and_jobs() {
    let both = "resources: {limits: {memory: 1Gi}}\njob: {backoffLimit: 1, activeDeadlineSeconds: 60, ttlSecondsAfterFinished: 5}\n";
    assert_equal(twins(
        &format!(
            "{both}template: {{pod: {{metadata: {{labels: {{a: b}}, annotations: {{c: d}}}}, nodeSelector: {{e: f}}, tolerations: [{{key: g, operator: Exists}}], serviceAccountName: h}}}}\n"
        ),
        &format!(
            "{both}podTemplate: {{labels: {{a: b}}, annotations: {{c: d}}, nodeSelector: {{e: f}}, tolerations: [{{key: g, operator: Exists}}], serviceAccountName: h}}\n"
        ),
    ));
}

#[test]
fn a_claim() {
    assert_equal(backups(
        &format!("{STRIMZI}storage: {{type: pvc, pvc: {{claimName: backups, subPath: kafka}}}}\n"),
        &format!("{OSO}storage: {{storageType: pvc, pvc: {{claimName: backups, subPath: kafka}}}}\n"),
    ));
}

#[test]
fn restores() {
    let owner = owner(Kind::Restore);
    let strimzi = strimzi::restore(
        &owner,
        &read(&format!(
            "{STRIMZI}{STRIMZI_S3}backupRef: {{name: nightly, backupId: nightly-20260212-143000}}
pointInTime: {{timestamp: '2026-02-12T14:30:00.000Z'}}
topics: {{include: [orders]}}
topicMapping: [{{sourceTopic: orders, targetTopic: orders-restored}}]
consumerGroups: {{restore: true, mapping: [{{sourceGroup: a, targetGroup: b}}]}}
"
        )),
        &references(None),
        None,
    );
    let oso = oso::restore(
        &owner,
        &read(&format!(
            "{}{OSO_S3}backupRef: {{name: nightly}}
backupId: nightly-20260212-143000
pitr: {{timestampMillis: 1770906600000}}
topics: [orders]
topicMapping: {{orders: orders-restored}}
consumerGroups: {{restore: true, mapping: [{{sourceGroup: a, targetGroup: b}}]}}
",
            OSO.replace("kafkaCluster", "targetCluster")
        )),
        None,
    );
    assert_eq!(strimzi.unwrap(), oso.unwrap());
}

#[test]
fn a_user_of_strimzi_s_and_the_same_by_hand() {
    // The other group reads the user's name from the Secret; everything else is alike.
    let owner = owner(Kind::Backup);
    let by_user: crate::api::strimzi::KafkaBackupSpec =
        read(&format!("{STRIMZI}{STRIMZI_S3}authentication: {{type: scram-sha-512, kafkaUserRef: {{name: user}}}}\n"));
    let by_hand = read(&format!(
        "{STRIMZI}{STRIMZI_S3}authentication: {{type: scram-sha-512, username: user, passwordSecret: {{name: user, key: password}}}}\n"
    ));
    let plan = |spec| strimzi::backup(&owner, spec, &references(Some("scram-sha-512"))).unwrap();
    assert_eq!(plan(&by_user), plan(&by_hand));
}

#[test]
fn what_is_wrong_is_told_by_name() {
    let owner = owner(Kind::Backup);
    let strimzi = |more: &str, user: Option<&str>| {
        let spec = read(&format!("{STRIMZI}{more}"));
        strimzi::backup(&owner, &spec, &references(user)).unwrap_err()
    };
    for (spec, user, told) in [
        (
            "storage: {type: azure, azure: {storageAccount: abc, container: abc}}\n".to_owned(),
            None,
            "spec.storage.azure is not supported",
        ),
        ("storage: {type: gcs, gcs: {bucket: abc}}\n".to_owned(), None, "spec.storage.gcs is not supported"),
        (format!("{STRIMZI_S3}topics: {{include: ['(']}}\n"), None, "spec.topics"),
        (format!("{STRIMZI_S3}schedule: {{cron: '99 * * * *'}}\n"), None, "spec.schedule.cron"),
        (format!("{STRIMZI_S3}retention: {{maxAge: soon}}\n"), None, "spec.retention.maxAge"),
        (
            format!("{STRIMZI_S3}backup: {{compression: lz4, compressionLevel: 20}}\n"),
            None,
            "spec.backup.compressionLevel 20",
        ),
        (
            format!("{STRIMZI_S3}authentication: {{type: tls, kafkaUserRef: {{name: user}}}}\n"),
            Some("scram-sha-512"),
            "spec.authentication.type is tls, and user authenticates with scram-sha-512",
        ),
        (
            format!("{STRIMZI_S3}authentication: {{type: tls, kafkaUserRef: {{name: user}}}}\n"),
            None,
            "there is no KafkaUser \"user\"",
        ),
        (
            format!("{STRIMZI_S3}template: {{container: {{securityContext: {{privileged: true}}}}}}\n"),
            None,
            "spec.template.container.securityContext.privileged",
        ),
        (
            format!("{STRIMZI_S3}template: {{pod: {{metadata: {{labels: {{strimzi.io/name: x}}}}}}}}\n"),
            None,
            "spec.template.pod.metadata.labels: \"strimzi.io/name\"",
        ),
    ] {
        let refusal = strimzi(&spec, user);
        assert!(refusal.message.contains(told), "{refusal} for\n{spec}");
        assert!(!refusal.message.contains('\n'), "{refusal}");
    }
    let nowhere = strimzi::backup(&owner, &read(&format!("{STRIMZI}{STRIMZI_S3}")), &ClusterReferences::default());
    assert!(nowhere.unwrap_err().is_waiting);
}
