//! What Strimzi changes under the operator: a cluster that comes up, an authority that is renewed, a certificate that is not Strimzi's.

use e2e::kafka::{KafkaOptions, Listener};
use e2e::operator::{Applied, condition};
use e2e::sample::Sample;
use e2e::strimzi::{Release, Strimzi, StrimziOptions};
use e2e::unique;
use serde_json::{Value, json};

use crate::world::{CLUSTER, Group, NAMESPACE, Place, Way, is_done, manifest_in, newest, world};

const BACKUPS: &str = "kafkabackups.backup.strimzi.io";
const RESTORES: &str = "kafkarestores.backup.strimzi.io";
/// Only a trigger starts a run.
const SUSPENDED: &str = "schedule: {cron: '0 0 1 1 *', suspend: true}";

/// A second `Kafka` that leads to the broker of the shared one, and is there and ready when a test wants it.
struct Late {
    name: String,
}

impl Late {
    /// What its user writes: no status yet.
    fn create(&self) {
        let shared = shared_kafka();
        let kafka = json!({
            "apiVersion": shared["apiVersion"],
            "kind": "Kafka",
            "metadata": { "name": self.name, "namespace": NAMESPACE },
            "spec": shared["spec"],
        });
        world().kubernetes.apply(&kafka.to_string()).unwrap();
    }

    /// What Strimzi's operator writes.
    fn set_status(&self, status: &Value) {
        let patch = json!({ "status": status }).to_string();
        world()
            .kubernetes
            .kubectl(&[
                "patch",
                "kafka",
                &self.name,
                "--namespace",
                NAMESPACE,
                "--subresource=status",
                "--type=merge",
                "--patch",
                &patch,
            ])
            .unwrap();
    }

    fn set_ready(&self) {
        self.set_status(&shared_kafka()["status"]);
    }

    fn set_not_ready(&self, reason: &str, message: &str) {
        let condition = json!({
            "type": "NotReady", "status": "True", "lastTransitionTime": "2026-10-02T11:00:31Z", "reason": reason, "message": message,
        });
        self.set_status(&json!({ "observedGeneration": 1, "conditions": [condition] }));
    }
}

fn shared_kafka() -> Value {
    world().kubernetes.get(&["kafka", CLUSTER, "--namespace", NAMESPACE]).unwrap()
}

/// Waits until the resource says that it waits for the cluster, with this part of a message, and has no Job.
fn waits(resource: &Applied<'_>, reason: &str, part: &str) {
    let waiting = resource
        .wait(&format!("NotReady for {reason}: {part}"), |found| {
            condition(found, "NotReady").is_some_and(|condition| {
                condition["status"] == "True"
                    && condition["reason"] == reason
                    && condition["message"].as_str().is_some_and(|message| message.contains(part))
            })
        })
        .unwrap();
    assert_eq!(world().jobs_of(&waiting), [] as [Value; 0], "{part}");
}

#[test]
fn a_cluster_that_is_not_there_or_not_ready_is_told_and_runs_start_once_it_is() {
    let world = world();
    let sample = Sample::write(&world.witness(), "late", 500).unwrap();
    let late = Late { name: unique("late-cluster") };
    let (name, restore, target) = (unique("late"), unique("late"), unique("late-target"));
    let cluster = world.cluster(Group::Strimzi, Way::Open).replace(CLUSTER, &late.name);
    let (topics, storage) =
        (world.topics(Group::Strimzi, &sample.topic), world.storage(Group::Strimzi, Place::S3("late")));
    world.apply(Group::Strimzi, "KafkaBackup", &name, &[&cluster, &topics, &storage]);
    let backup = world.backup(Group::Strimzi, &name);
    waits(&backup, "KafkaNotFound", &format!("there is no Kafka {:?}", late.name));
    late.create();
    waits(&backup, "KafkaNotReady", "it has no status");
    late.set_not_ready("Creating", "Kafka cluster is being deployed");
    waits(&backup, "KafkaNotReady", "Creating: Kafka cluster is being deployed");
    // A resource that waits is looked at again only when a watch tells of something.
    late.set_ready();
    let done = backup.wait("completed", is_done).unwrap();
    assert_eq!(world.jobs_of(&done).len(), 1);

    late.set_not_ready("TimeoutException", "Exceeded timeout of 300000ms while waiting for Pods resource");
    let mapping = world.mapping(Group::Strimzi, &sample.topic, &target);
    let reference = format!("backupRef: {{name: {name}}}");
    world.apply(Group::Strimzi, "KafkaRestore", &restore, &[&cluster, &reference, &mapping]);
    let restore = world.restore(Group::Strimzi, &restore);
    waits(&restore, "KafkaNotReady", "TimeoutException: Exceeded timeout of 300000ms");
    late.set_ready();
    restore.wait("completed", is_done).unwrap();
    sample.came_back_as(&world.witness(), &target).unwrap();
}

#[test]
fn a_schedule_follows_its_cluster_without_anyone_touching_the_backup() {
    let world = world();
    let (late, name) = (Late { name: unique("moving-cluster") }, unique("moving"));
    late.create();
    late.set_ready();
    let cluster = world.cluster(Group::Strimzi, Way::Open).replace(CLUSTER, &late.name);
    let storage = world.storage(Group::Strimzi, Place::S3("moving"));
    world.apply(Group::Strimzi, "KafkaBackup", &name, &[&cluster, &storage, "schedule: {cron: '0 0 1 1 *'}"]);
    let backup = world.backup(Group::Strimzi, &name);
    backup.wait_for_condition("Ready", "True", "BackupScheduled").unwrap();
    let uid = backup.get().unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let selector = format!("backup.strimzi.io/resource-uid={uid}");
    let address = || -> anyhow::Result<Value> {
        let found = world.kubernetes.get(&["configmaps", "--namespace", NAMESPACE, "--selector", &selector])?;
        let run: Value = serde_json::from_str(found["items"][0]["data"]["run.json"].as_str().unwrap_or("null"))?;
        Ok(run["cluster"]["bootstrapServers"][0].clone())
    };
    assert_eq!(address().unwrap(), world.strimzi.bootstrap("plain"));
    let mut moved = shared_kafka()["status"].clone();
    for listener in moved["listeners"].as_array_mut().unwrap() {
        listener["bootstrapServers"] = json!("elsewhere.kafka.svc:9092");
    }
    late.set_status(&moved);
    world.kubernetes.wait_until("the next run knows", || Ok(address()? == "elsewhere.kafka.svc:9092")).unwrap();
}

/// A cluster of Strimzi's whose certificates a test may change, and a claim for backups, in a namespace of their own.
struct Apart {
    strimzi: Strimzi<'static>,
}

impl Apart {
    fn start(stem: &str, has_own_certificate: bool) -> Self {
        let world = world();
        let namespace = world.kubernetes.make_namespace(stem, true).unwrap();
        world.make_claim_in(&namespace, "backups");
        let (cluster, kafka) = (CLUSTER.to_owned(), KafkaOptions::default());
        let options = StrimziOptions { release: Release::V1_2, namespace, cluster, kafka, has_own_certificate };
        Self { strimzi: Strimzi::start(world.kubernetes, options).unwrap() }
    }

    fn apply(&self, kind: &str, name: &str, spec: &[&str]) {
        let manifest = manifest_in(self.strimzi.namespace(), Group::Strimzi, kind, name, spec);
        world().kubernetes.apply(&manifest).unwrap_or_else(|error| panic!("{error:#}\n{manifest}"));
    }

    /// A `KafkaBackup` of this topic, with these lines beside.
    fn back_up<'a>(&'a self, name: &'a str, topic: &str, spec: &[&str]) -> Applied<'a> {
        let topics = world().topics(Group::Strimzi, topic);
        let storage = world().storage(Group::Strimzi, Place::Pvc("backups"));
        self.apply("KafkaBackup", name, &[spec, &[&topics, &storage]].concat());
        self.resource(BACKUPS, name)
    }

    /// Brings a topic back under another name, and compares all of it.
    fn comes_back(&self, backup: &str, cluster: &str, sample: &Sample) {
        let (name, target) = (unique("back"), unique("back"));
        let mapping = world().mapping(Group::Strimzi, &sample.topic, &target);
        self.apply("KafkaRestore", &name, &[cluster, &format!("backupRef: {{name: {backup}}}"), &mapping]);
        self.resource(RESTORES, &name).wait("completed", is_done).unwrap();
        sample.came_back_as(&self.strimzi.kafka().witness(), &target).unwrap();
    }

    fn resource<'a>(&'a self, kind: &'a str, name: &'a str) -> Applied<'a> {
        Applied { kubernetes: world().kubernetes, kind, namespace: self.strimzi.namespace(), name }
    }

    /// How many bytes in a second this user may read; as many as it likes for `None`.
    fn set_quota(&self, user: &str, bytes_per_second: Option<u64>) {
        let quota = bytes_per_second.map(|bytes| format!("consumer_byte_rate={bytes}"));
        let change = match &quota {
            Some(quota) => ["--add-config", quota],
            None => ["--delete-config", "consumer_byte_rate"],
        };
        let bootstrap = self.strimzi.kafka().bootstrap(Listener::Plain);
        let of_user = ["--bootstrap-server", &bootstrap, "--alter", "--entity-type", "users", "--entity-name", user];
        self.strimzi.kafka().tool("kafka.admin.ConfigCommand", &[&of_user[..], &change].concat()).unwrap();
    }
}

/// Starts a run of each by its annotation, and waits until all have ended well.
fn trigger(backups: &[Applied<'_>], value: &str) {
    let ran = |backup: &Value| backup["status"]["backupHistory"].as_array().map_or(0, Vec::len);
    let before: Vec<usize> = backups.iter().map(|backup| ran(&backup.get().unwrap())).collect();
    for Applied { kubernetes, kind, namespace, name } in backups {
        let annotation = format!("backup.strimzi.io/trigger-backup={value}");
        kubernetes.kubectl(&["annotate", kind, name, &annotation, "--overwrite", "--namespace", namespace]).unwrap();
    }
    for (backup, before) in backups.iter().zip(before) {
        let found = backup.wait(&format!("the run {value} has ended"), |backup| ran(backup) > before).unwrap();
        assert_eq!(found["status"]["backupHistory"][0]["outcome"], "success", "{value}: {:#}", found["status"]);
        // Nobody has touched what it says.
        assert_eq!(found["metadata"]["generation"], 1);
    }
}

#[test]
fn runs_before_during_and_after_the_renewal_of_the_cluster_ca_succeed_and_so_does_one_that_lasts_through_it() {
    let apart = Apart::start("renewal", false);
    let (strimzi, witness) = (&apart.strimzi, apart.strimzi.kafka().witness());
    strimzi.add_user_tls("by-certificate").unwrap();
    strimzi.add_user_scram("by-password").unwrap();
    strimzi.add_user_scram("slow").unwrap();
    let cluster = |type_: &str, user: &str| {
        format!(
            "strimziClusterRef: {{name: {CLUSTER}}}\n  authentication: {{type: {type_}, kafkaUserRef: {{name: {user}}}}}"
        )
    };
    let sample = Sample::write(&witness, "renewed", 500).unwrap();
    let by_certificate =
        apart.back_up("by-certificate", &sample.topic, &[&cluster("tls", "by-certificate"), SUSPENDED]);
    let by_password =
        apart.back_up("by-password", &sample.topic, &[&cluster("scram-sha-512", "by-password"), SUSPENDED]);
    let backups = [by_certificate, by_password];
    trigger(&backups, "before");

    // One that reads for minutes, unless it is let go.
    let large = Sample::write(&witness, "renewed-slow", 20_000).unwrap();
    apart.set_quota("slow", Some(large.records * u64::from(Sample::VALUE_BYTES) / 200));
    let slow_cluster = cluster("scram-sha-512", "slow");
    let slow = apart.back_up("slow", &large.topic, &[&slow_cluster]);
    let is_reading = |backup: &Value| backup["status"]["activeRun"]["progress"]["records"].as_i64() > Some(0);
    slow.wait("it reads", is_reading).unwrap();

    // The Secret's ca.crt is the new one, and the brokers show certificates of the old one, which is beside it.
    strimzi.trust_new_cluster_authority().unwrap();
    trigger(&backups, "during");
    assert!(slow.get().unwrap()["status"]["lastBackup"].is_null(), "the slow one is not under way any more");

    strimzi.serve_by_new_cluster_authority().unwrap();
    apart.set_quota("slow", None);
    trigger(&backups, "after");
    strimzi.forget_old_cluster_authorities().unwrap();
    trigger(&backups, "alone");

    let done = slow.wait("completed", is_done).unwrap();
    assert_eq!(done["status"]["backupHistory"].as_array().unwrap().len(), 1, "{:#}", done["status"]);
    assert_eq!(done["status"]["backupHistory"][0]["records"], large.records);
    assert!(newest(Group::Strimzi, &done).is_some());
    apart.comes_back("slow", &slow_cluster, &large);
    apart.comes_back("by-certificate", &cluster("tls", "by-certificate"), &sample);
}

#[test]
fn a_listener_with_a_certificate_of_its_own_is_trusted_by_the_chain_in_the_status() {
    let apart = Apart::start("certified", true);
    let sample = Sample::write(&apart.strimzi.kafka().witness(), "certified", 500).unwrap();
    let cluster = format!("strimziClusterRef: {{name: {CLUSTER}, listener: own}}");
    let backup = apart.back_up("certified", &sample.topic, &[&cluster]);
    let done = backup.wait("completed", is_done).unwrap();
    apart.comes_back("certified", &cluster, &sample);

    // It was that listener, by its chain: the pod has nothing else to trust.
    let job = &world().jobs_of(&done)[0];
    let folders = &job["spec"]["template"]["spec"]["volumes"];
    assert!(!folders.to_string().contains("cluster-ca-cert"), "{folders:#}");
}
