//! What becomes of a running operator when what it reads changes its shape: Strimzi's API, or its own kinds.
#![expect(clippy::unwrap_used, reason = "a failure in what tests share fails the test")]

use e2e::kubernetes::{Kubernetes, KubernetesOptions};
use e2e::operator::{Applied, Operator};
use e2e::strimzi::Release;
use serde_json::{Value, json};

fn kafka(api_version: &str, name: &str) -> String {
    format!(
        "apiVersion: {api_version}
kind: Kafka
metadata: {{name: {name}, namespace: default}}
spec: {{kafka: {{listeners: [{{name: plain, port: 9092, type: internal, tls: false}}]}}}}
"
    )
}

fn backup_of(kafka: &str) -> String {
    format!(
        "apiVersion: backup.strimzi.io/v1alpha1
kind: KafkaBackup
metadata: {{name: of-{kafka}, namespace: default}}
spec:
  strimziClusterRef: {{name: {kafka}}}
  storage: {{type: pvc, pvc: {{claimName: backups}}}}
"
    )
}

fn backup_by_addresses(name: &str, topics: &str) -> String {
    format!(
        "apiVersion: kafka.oso.sh/v1alpha1
kind: KafkaBackup
metadata: {{name: {name}, namespace: default}}
spec:
  kafkaCluster: {{bootstrapServers: ['kafka:9092']}}
  topics: {topics}
  storage: {{storageType: pvc, pvc: {{claimName: backups}}}}
  schedule: '0 2 * * *'
"
    )
}

fn applied<'a>(kubernetes: &'a Kubernetes, kind: &'a str, name: &'a str) -> Applied<'a> {
    Applied { kubernetes, kind, namespace: "default", name }
}

/// Changes a definition as `change` says.
fn redefine(kubernetes: &Kubernetes, definition: &str, change: impl Fn(&mut Value)) {
    let mut found = kubernetes.get(&["customresourcedefinition", definition]).unwrap();
    change(&mut found);
    kubernetes.kubectl_with_input(&["replace", "--filename", "-"], &found.to_string()).unwrap();
}

/// As Strimzi is upgraded from a release that serves `v1beta2` alone to one that serves `v1` alone, by way of those that serve both.
fn upgrade_strimzi(kubernetes: &Kubernetes) {
    let found = kubernetes.get(&["customresourcedefinitions"]).unwrap();
    let names = found["items"].as_array().unwrap().iter().filter_map(|found| found["metadata"]["name"].as_str());
    let definitions: Vec<_> = names.filter(|name| name.ends_with(".strimzi.io") && !name.contains("backup")).collect();
    assert!(definitions.contains(&"kafkas.kafka.strimzi.io"), "{definitions:?}");
    for definition in &definitions {
        redefine(kubernetes, definition, |found| {
            let versions = found["spec"]["versions"].as_array_mut().unwrap();
            let mut newest = versions.iter().find(|version| version["storage"] == true).unwrap().clone();
            versions.iter_mut().for_each(|version| version["storage"] = json!(false));
            newest["name"] = json!("v1");
            versions.push(newest);
        });
    }
    kubernetes
        .wait_until("both versions are served", || {
            Ok(kubernetes.kubectl(&["get", "kafkas.v1.kafka.strimzi.io", "--namespace", "default"]).is_ok())
        })
        .unwrap();
    let kafkas = kubernetes.get(&["kafkas.v1.kafka.strimzi.io", "--namespace", "default"]).unwrap();
    kubernetes.kubectl_with_input(&["replace", "--filename", "-"], &kafkas.to_string()).unwrap();
    for definition in &definitions {
        let stored = r#"{"status": {"storedVersions": ["v1"]}}"#;
        kubernetes
            .kubectl(&[
                "patch",
                "customresourcedefinition",
                definition,
                "--subresource=status",
                "--type=merge",
                "-p",
                stored,
            ])
            .unwrap();
    }
    Release::V1_2.install(kubernetes).unwrap();
}

fn restarts(kubernetes: &Kubernetes, operator: &Operator<'_>) -> Value {
    let pods = kubernetes.get(&["pods", "--namespace", operator.namespace()]).unwrap();
    pods["items"][0]["status"]["containerStatuses"][0]["restartCount"].clone()
}

#[test]
fn the_operator_goes_on_when_strimzi_is_upgraded_and_when_one_resource_cannot_be_read() {
    let kubernetes = Kubernetes::start(KubernetesOptions::default()).unwrap();
    Release::V0_45.install(&kubernetes).unwrap();
    let operator = Operator::install(&kubernetes, "backup-operator", &[]).unwrap();

    // Nothing here is ever ready, so nothing is run: the reasons tell what the operator sees.
    let kind = "kafkabackups.backup.strimzi.io";
    let (before, after) = (applied(&kubernetes, kind, "of-before"), applied(&kubernetes, kind, "of-after"));
    kubernetes.apply(&kafka(Release::V0_45.api_version(), "before")).unwrap();
    kubernetes.apply(&backup_of("before")).unwrap();
    before.wait_for_condition("NotReady", "True", "KafkaNotReady").unwrap();
    upgrade_strimzi(&kubernetes);
    kubernetes.apply(&backup_of("after")).unwrap();
    after.wait_for_condition("NotReady", "True", "KafkaNotFound").unwrap();
    kubernetes.apply(&kafka(Release::V1_2.api_version(), "after")).unwrap();
    after.wait_for_condition("NotReady", "True", "KafkaNotReady").unwrap();
    kubernetes.kubectl(&["delete", "kafkas.kafka.strimzi.io", "before", "--namespace", "default"]).unwrap();
    before.wait_for_condition("NotReady", "True", "KafkaNotFound").unwrap();

    // A definition of another release may let something in that this one does not know.
    let kind = "kafkabackups.kafka.oso.sh";
    redefine(&kubernetes, kind, |found| {
        found["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    });
    kubernetes
        .wait_until("the definition has changed", || {
            Ok(kubernetes.apply(&backup_by_addresses("odd", "{all: true}")).is_ok())
        })
        .unwrap();
    let is_told = || {
        let about = "involvedObject.name=odd,reason=NotUnderstood";
        let events = kubernetes.get(&["events", "--namespace", "default", "--field-selector", about])?;
        Ok(events["items"][0]["message"].as_str().is_some_and(|message| message.contains("cannot read it")))
    };
    kubernetes.wait_until("the resource says that it cannot be read", is_told).unwrap();
    kubernetes.apply(&backup_by_addresses("even", "[orders]")).unwrap();
    applied(&kubernetes, kind, "even").wait_for_condition("Ready", "True", "BackupScheduled").unwrap();
    // One that was read and cannot be any more is left alone, and leaves nothing behind when it goes.
    kubernetes.apply(&backup_by_addresses("even", "{all: true}")).unwrap();
    kubernetes.kubectl(&["delete", kind, "even", "--namespace", "default"]).unwrap();
    let cron_jobs =
        || kubernetes.get(&["cronjobs", "--namespace", "default"]).unwrap()["items"].as_array().unwrap().len();
    kubernetes.wait_until("its CronJob is gone", || Ok(cron_jobs() == 0)).unwrap();
    std::thread::sleep(std::time::Duration::from_secs(5));
    assert_eq!(cron_jobs(), 0, "{}", operator.log());
    assert_eq!(restarts(&kubernetes, &operator), 0, "{}", operator.log());

    // An operator that was started again meets it in its first list.
    operator.kill().unwrap();
    operator.wait_until_ready().unwrap();
    kubernetes.apply(&backup_by_addresses("later", "[orders]")).unwrap();
    applied(&kubernetes, kind, "later").wait_for_condition("Ready", "True", "BackupScheduled").unwrap();
}
