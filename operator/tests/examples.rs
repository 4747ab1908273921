//! Every manifest of `examples/` becomes a plan, or is refused by the name of what this release does not run.

use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use strimzi_backup_operator::api::{VERSION, oso, strimzi};
use strimzi_backup_operator::kinds::Reconciled;
use strimzi_backup_operator::plan::{self, Plan, Refusal};
use strimzi_backup_operator::references::ClusterReferences;
use strimzi_discovery::resources::CLUSTER_LABEL;
use strimzi_discovery::{Kafka, KafkaUser};

fn manifests(group: &str) -> Vec<(PathBuf, String)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../examples")).join(group);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder is read").path());
    let mut found: Vec<_> =
        paths.map(|path| (path.clone(), fs::read_to_string(&path).expect("a manifest is text"))).collect();
    found.sort();
    assert!(found.len() > 20, "{} has only {} manifests", folder.display(), found.len());
    found
}

fn read<T: DeserializeOwned>(path: &Path, text: &str) -> T {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A cluster with a listener for everybody, and the user that is named, of the type that is wanted.
fn references(namespace: &str, kafka: &str, user: Option<&str>, type_: &str) -> ClusterReferences {
    let kafka_text = format!(
        "metadata: {{name: {kafka}, namespace: {namespace}, generation: 1}}
spec:
  kafka:
    listeners:
      - {{name: plain, port: 9092, type: internal, tls: false}}
      - {{name: tls, port: 9093, type: internal, tls: true, authentication: {{type: tls}}}}
      - {{name: scram, port: 9094, type: internal, tls: true, authentication: {{type: scram-sha-512}}}}
      - {{name: external, port: 9095, type: loadbalancer, tls: true, authentication: {{type: tls}}}}
status:
  observedGeneration: 1
  conditions: [{{type: Ready, status: 'True'}}]
  listeners:
    - {{name: plain, bootstrapServers: 'plain:9092'}}
    - {{name: tls, bootstrapServers: 'tls:9093'}}
    - {{name: scram, bootstrapServers: 'scram:9094'}}
    - {{name: external, bootstrapServers: 'external:9095'}}
"
    );
    let user = user.map(|user| -> KafkaUser {
        let text = format!(
            "metadata: {{name: {user}, namespace: {namespace}, generation: 1, labels: {{strimzi.io/cluster: {kafka}}}}}
spec: {{authentication: {{type: {type_}}}}}
status: {{observedGeneration: 1, conditions: [{{type: Ready, status: 'True'}}], username: {user}, secret: {user}}}
"
        );
        read(Path::new("the user"), &text)
    });
    let kafka: Kafka = read(Path::new("the cluster"), &kafka_text);
    ClusterReferences { is_strimzi_served: true, kafka: Some(kafka), user }
}

/// Planned, unless the file is about what this release does not run.
#[track_caller]
fn check(path: &Path, text: &str, planned: Result<Plan, Refusal>) {
    let later = ["azure:", "gcs:", "offsetReset:", "rollback:"];
    let is_later = text.lines().any(|line| later.iter().any(|field| line.trim_start().starts_with(field)));
    match (planned, is_later) {
        (Ok(_), false) => {}
        (Err(refusal), true) => {
            assert_eq!(refusal.reason, "NotSupported", "{}: {refusal}", path.display());
            let named = later.iter().any(|field| refusal.message.contains(field.trim_end_matches(':')));
            assert!(named, "{}: {refusal}", path.display());
        }
        (Ok(_), true) => panic!("{} is run, and names what this release does not run", path.display()),
        (Err(refusal), false) => panic!("{}: {refusal}", path.display()),
    }
}

#[test]
fn those_beside_strimzi() {
    for (path, text) in manifests("strimzi") {
        let type_ = if text.contains("type: scram-sha-512") { "scram-sha-512" } else { "tls" };
        if text.contains("kind: KafkaUser\n") {
            // Who is named in the other manifests; that it is allowed enough is shown with a broker.
            let user: KafkaUser = read(&path, &text);
            let name = path.file_stem().and_then(|stem| stem.to_str()?.strip_prefix("kafka-user-"));
            assert_eq!(Some(user.metadata.name.trim_end_matches("-user")), name, "{}", path.display());
            assert_eq!(user.metadata.labels[CLUSTER_LABEL], "my-cluster", "{}", path.display());
        } else if text.contains("kind: KafkaRestore") {
            let mut restore: strimzi::KafkaRestore = read(&path, &text);
            restore.metadata.namespace.get_or_insert_with(|| "kafka".to_owned());
            restore.metadata.uid = Some("uid".to_owned());
            let owner = restore.owner();
            let found =
                references(&owner.namespace, restore.kafka().expect("it names one"), restore.kafka_user(), type_);
            let backup: strimzi::KafkaBackup = read(
                Path::new("its backup"),
                &format!(
                    "apiVersion: backup.strimzi.io/{VERSION}\nkind: KafkaBackup\nmetadata: {{name: b}}\nspec: {{strimziClusterRef: {{name: a}}, storage: {{type: s3, s3: {{bucket: abc}}}}}}\n"
                ),
            );
            check(&path, &text, plan::strimzi::restore(&owner, &restore.spec, &found, Some(&backup.spec)));
        } else {
            let mut backup: strimzi::KafkaBackup = read(&path, &text);
            backup.metadata.namespace.get_or_insert_with(|| "kafka".to_owned());
            backup.metadata.uid = Some("uid".to_owned());
            let owner = backup.owner();
            let found = references(&owner.namespace, backup.kafka().expect("it names one"), backup.kafka_user(), type_);
            check(&path, &text, plan::strimzi::backup(&owner, &backup.spec, &found));
        }
    }
}

#[test]
fn those_by_addresses() {
    for (path, text) in manifests("oso") {
        if text.contains("kind: KafkaRestore") {
            let mut restore: oso::KafkaRestore = read(&path, &text);
            restore.metadata.namespace.get_or_insert_with(|| "kafka".to_owned());
            restore.metadata.uid = Some("uid".to_owned());
            let backup: oso::KafkaBackup = read(
                Path::new("its backup"),
                &format!(
                    "apiVersion: kafka.oso.sh/{VERSION}\nkind: KafkaBackup\nmetadata: {{name: b}}\nspec: {{kafkaCluster: {{bootstrapServers: ['a:1']}}, storage: {{storageType: s3, s3: {{bucket: abc}}}}}}\n"
                ),
            );
            check(&path, &text, plan::oso::restore(&restore.owner(), &restore.spec, Some(&backup.spec)));
        } else {
            let mut backup: oso::KafkaBackup = read(&path, &text);
            backup.metadata.namespace.get_or_insert_with(|| "kafka".to_owned());
            backup.metadata.uid = Some("uid".to_owned());
            check(&path, &text, plan::oso::backup(&backup.owner(), &backup.spec));
        }
    }
}
