//! What happens to pods: killed, evicted, never started.

use std::fs;
use std::process::Command;

use e2e::operator::Applied;
use e2e::sample::Sample;
use e2e::unique;
use serde_json::Value;

use crate::world::{Group, NAMESPACE, Place, Way, is_done, world};

/// Pods of a Job, the oldest first.
fn pods_of(job: &str) -> Vec<Value> {
    let selector = format!("batch.kubernetes.io/job-name={job}");
    let pods = world().kubernetes.get(&["pods", "--namespace", NAMESPACE, "--selector", &selector]).unwrap();
    pods["items"].as_array().unwrap().clone()
}

/// A backup under way, with this line beside, that has stored at least one checkpoint; its Job, and the name of its pod.
fn running(stem: &str, more: &str) -> (String, Sample, String, String) {
    let world = world();
    let sample = Sample::write(&world.witness(), stem, 20_000).unwrap();
    let name = unique(stem);
    world.apply(
        Group::Oso,
        "KafkaBackup",
        &name,
        &[
            &world.cluster(Group::Oso, Way::Open),
            &world.topics(Group::Oso, &sample.topic),
            &world.storage(Group::Oso, Place::S3(stem)),
            &format!("rateLimit: {{bytesPerSecond: {}}}", sample.records * u64::from(Sample::VALUE_BYTES) / 30),
            "checkpointIntervalSecs: 1",
            more,
        ],
    );
    let backup = world.backup(Group::Oso, &name);
    let found = backup
        .wait("a fifth is done", |backup| {
            backup["status"]["activeRun"]["progress"]["percent"].as_i64().is_some_and(|percent| percent >= 20)
        })
        .unwrap();
    let job = found["status"]["activeRun"]["job"].as_str().unwrap().to_owned();
    let pod = pods_of(&job)[0]["metadata"]["name"].as_str().unwrap().to_owned();
    (name, sample, job, pod)
}

/// The run has ended with everything, its Job's second pod went on where the first was, and all of it comes back.
fn goes_on(name: &str, sample: &Sample, job: &str, first: &str) {
    let world = world();
    let done = world.backup(Group::Oso, name).wait("completed", is_done).unwrap();
    let pods = pods_of(job);
    let second =
        pods.iter().find(|pod| pod["metadata"]["name"] != *first).unwrap_or_else(|| panic!("only one pod: {pods:#?}"));
    let told = second["status"]["containerStatuses"][0]["state"]["terminated"]["message"].as_str().unwrap();
    let told: Value = serde_json::from_str(told).unwrap();
    assert_eq!(told["resumed"], true, "{told:#}");
    assert_eq!(done["status"]["lastBackupRecords"], sample.records);
    assert_eq!(done["status"]["backupHistory"].as_array().unwrap().len(), 1);
    let (restore, target) = (unique("goes-on"), unique("goes-on"));
    let mapping = world.mapping(Group::Oso, &sample.topic, &target);
    world.apply(Group::Oso, "KafkaRestore", &restore, &[&format!("backupRef: {{name: {name}}}"), &mapping]);
    world.restore(Group::Oso, &restore).wait("completed", is_done).unwrap();
    sample.came_back_as(&world.witness(), &target).unwrap();
}

#[test]
fn a_pod_that_is_killed_is_followed_by_one_that_goes_on_from_the_checkpoint() {
    let (name, sample, job, pod) = running("sigkill", "job: {backoffLimit: 1}");
    let backup_id = world().kubernetes.get(&["job", &job, "--namespace", NAMESPACE]).unwrap()["metadata"]["annotations"]["backup.strimzi.io/backup-id"]
        .as_str()
        .unwrap()
        .to_owned();
    // Its process is one of this machine too; nobody else has this backup on its command line.
    let is_its = |line: &str| line.contains("kafka-backup") && line.contains(&backup_id);
    let process = fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let process: i32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        is_its(&String::from_utf8_lossy(&line)).then_some(process)
    });
    let process = process.unwrap_or_else(|| panic!("no process of {pod}")).to_string();
    assert!(Command::new("kill").args(["-9", &process]).status().unwrap().success());
    goes_on(&name, &sample, &job, &pod);
}

#[test]
fn a_pod_that_is_evicted_is_followed_by_one_that_goes_on_from_the_checkpoint() {
    // It counts for no failure: the Job has none to lose.
    let (name, sample, job, pod) = running("evicted", "job: {backoffLimit: 0}");
    let eviction = serde_json::json!({
        "apiVersion": "policy/v1", "kind": "Eviction", "metadata": { "name": pod, "namespace": NAMESPACE },
    });
    let path = format!("/api/v1/namespaces/{NAMESPACE}/pods/{pod}/eviction");
    world()
        .kubernetes
        .kubectl_with_input(&["create", "--raw", &path, "--filename", "-"], &eviction.to_string())
        .unwrap();
    goes_on(&name, &sample, &job, &pod);
}

/// A backup of no topic in particular, with these lines in place of what works.
fn broken<'a>(name: &'a str, cluster: &str, storage: &str, more: &str) -> Applied<'a> {
    world().apply(Group::Oso, "KafkaBackup", name, &[cluster, storage, more]);
    world().backup(Group::Oso, name)
}

#[test]
fn a_missing_secret_or_key_is_named_within_seconds_and_the_run_goes_on_once_it_is_there() {
    let world = world();
    let sample = Sample::write(&world.witness(), "secretless", 500).unwrap();
    let (name, secret) = (unique("secretless"), unique("late-keys"));
    let cluster = world.cluster(Group::Oso, Way::Open);
    let storage = world.storage(Group::Oso, Place::S3("secretless")).replace("s3-keys", &secret);
    let backup = broken(&name, &cluster, &storage, &world.topics(Group::Oso, &sample.topic));
    let told = backup.wait_for_condition("Ready", "False", "FailedMount").unwrap();
    assert!(told.contains(&format!("secret \"{secret}\" not found")), "{told}");
    let (id, key) = (e2e::minio::ACCESS_KEY_ID, e2e::minio::SECRET_ACCESS_KEY);
    world
        .kubernetes
        .apply(&format!("apiVersion: v1\nkind: Secret\nmetadata: {{name: {secret}, namespace: {NAMESPACE}}}\nstringData: {{accessKey: {id}, secretKey: {key}}}\n"))
        .unwrap();
    backup.wait("completed", is_done).unwrap();

    let name = unique("keyless");
    let cluster =
        world.cluster(Group::Oso, Way::ScramByHand).replace("name: scram512", "name: scram512, passwordKey: pass");
    let storage = world.storage(Group::Oso, Place::S3("secretless"));
    let backup = broken(&name, &cluster, &storage, &world.topics(Group::Oso, &sample.topic));
    let told = backup.wait_for_condition("Ready", "False", "FailedMount").unwrap();
    assert!(told.contains("references non-existent secret key: pass"), "{told}");
    // Nor need anybody tidy up: the edited spec takes the place of the run that never began.
    let edited = world.cluster(Group::Oso, Way::ScramByHand);
    broken(&name, &edited, &storage, &world.topics(Group::Oso, &sample.topic)).wait("completed", is_done).unwrap();
    world
        .kubernetes
        .wait_until("the run that never began is gone", || Ok(world.jobs_of(&backup.get().unwrap()).len() == 1))
        .unwrap();
    assert_eq!(backup.get().unwrap()["status"]["totals"]["failed"], 0);
}

#[test]
fn pods_that_cannot_run_are_told_with_their_reason() {
    let world = world();
    let sample = Sample::write(&world.witness(), "stuck", 500).unwrap();
    let cluster = world.cluster(Group::Oso, Way::Open);
    let storage = world.storage(Group::Oso, Place::S3("stuck"));
    let topics = world.topics(Group::Oso, &sample.topic);

    let name = unique("nowhere");
    let nowhere =
        broken(&name, &cluster, &storage, &format!("{topics}\n  podTemplate: {{nodeSelector: {{planet: mars}}}}"));
    let told = nowhere.wait_for_condition("Ready", "False", "Unschedulable").unwrap();
    assert!(told.contains("has no node"), "{told}");

    let name = unique("late");
    let late = broken(
        &name,
        &cluster,
        &storage,
        &format!("{topics}\n  job: {{activeDeadlineSeconds: 3}}\n  rateLimit: {{recordsPerSecond: 1}}"),
    );
    let told = late.wait_for_condition("Ready", "False", "BackupFailed").unwrap();
    assert!(told.contains("job.activeDeadlineSeconds"), "{told}");

    // A run stays below its default limits, but not below this one.
    let large = Sample::write(&world.witness(), "stuck", 60_000).unwrap();
    let name = unique("small");
    let small = broken(
        &name,
        &cluster,
        &storage,
        &format!("topics: [{}]\n  job: {{backoffLimit: 0}}\n  resources: {{limits: {{memory: 8Mi}}}}", large.topic),
    );
    let told = small.wait_for_condition("Ready", "False", "BackupFailed").unwrap();
    // The kubelet may hear of the end of a container before it hears why.
    assert!(told.contains("used more memory than its limit") || told.contains("was killed"), "{told}");
    for name in [nowhere.name, late.name, small.name] {
        world.kubernetes.kubectl(&["delete", nowhere.kind, name, "--namespace", NAMESPACE]).unwrap();
    }
}
