//! What happens to a resource beside its runs: it is applied again, edited, paused, shared with others, deleted, and its operator killed.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use e2e::operator::{Applied, LOOK_EVERY, condition};
use e2e::sample::Sample;
use e2e::unique;
use serde_json::Value;

use crate::world::{Group, NAMESPACE, Place, Way, is_done, manifest, newest, world};

/// How often a pod is asked for its progress, at most.
const PROGRESS_EVERY: Duration = Duration::from_secs(5);
/// Versions of a resource from its run's middle to its end that are not of progress: the one that was there, what is told while the pod is
/// between its end and its Job's, and the result.
const BESIDE_PROGRESS: u64 = 4;
/// Seconds in which something that must not happen would have happened.
const QUIET: Duration = Duration::from_secs(6);

fn uids(jobs: &[Value]) -> Vec<String> {
    jobs.iter().map(|job| job["metadata"]["uid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn applying_the_same_again_or_in_another_order_changes_nothing() {
    let world = world();
    let sample = Sample::write(&world.witness(), "again", 500).unwrap();
    for group in [Group::Strimzi, Group::Oso] {
        let name = unique("again");
        let cluster = world.cluster(group, Way::Open);
        let (topics, storage) = (world.topics(group, &sample.topic), world.storage(group, Place::S3("again")));
        world.apply(group, "KafkaBackup", &name, &[&cluster, &topics, &storage]);
        let backup = world.backup(group, &name);
        let before = backup.wait("completed", is_done).unwrap();
        world.apply(group, "KafkaBackup", &name, &[&cluster, &topics, &storage]);
        world.apply(group, "KafkaBackup", &name, &[&storage, &topics, &cluster]);
        let jobs = uids(&world.jobs_of(&before));
        let until = Instant::now() + QUIET;
        while Instant::now() < until {
            let now = backup.get().unwrap();
            assert_eq!(now["status"], before["status"]);
            assert_eq!(now["metadata"]["generation"], before["metadata"]["generation"]);
            assert_eq!(uids(&world.jobs_of(&now)), jobs);
            thread::sleep(LOOK_EVERY);
        }
    }
}

#[test]
fn what_others_have_added_stays() {
    let world = world();
    let (group, name) = (Group::Oso, unique("shared"));
    let (cluster, storage) = (world.cluster(group, Way::Open), world.storage(group, Place::S3("shared")));
    let schedule = |minute: u8| format!("schedule: '{minute} 0 1 1 *'");
    world.apply(group, "KafkaBackup", &name, &[&cluster, &storage, &schedule(1), "timezone: Europe/London"]);
    let backup = world.backup(group, &name);
    let found = backup.wait_for_condition("Ready", "True", "BackupScheduled").map(|_| backup.get().unwrap()).unwrap();
    let selector = format!("backup.strimzi.io/resource-uid={}", found["metadata"]["uid"].as_str().unwrap());
    let cron_job = || {
        world.kubernetes.get(&["cronjobs", "--namespace", NAMESPACE, "--selector", &selector]).unwrap()["items"][0]
            .clone()
    };
    let cron_name = cron_job()["metadata"]["name"].as_str().unwrap().to_owned();
    let spec = &cron_job()["spec"];
    assert_eq!((&spec["schedule"], &spec["timeZone"]), (&"1 0 1 1 *".into(), &"Europe/London".into()));
    assert_eq!((&spec["concurrencyPolicy"], &spec["suspend"]), (&"Forbid".into(), &false.into()));
    assert!(spec["startingDeadlineSeconds"].as_i64().is_some_and(|seconds| seconds >= 60), "{spec:#}");
    for (kind, object) in [("cronjob", cron_name.as_str()), (backup.kind, &name)] {
        let kubectl =
            |arguments: &[&str]| world.kubernetes.kubectl(&[arguments, &["--namespace", NAMESPACE]].concat()).unwrap();
        kubectl(&["label", kind, object, "team=payments"]);
        kubectl(&[
            "patch",
            kind,
            object,
            "--type=json",
            "--patch",
            r#"[{"op": "add", "path": "/metadata/finalizers", "value": ["example.com/keep"]}]"#,
        ]);
    }
    world.apply(group, "KafkaBackup", &name, &[&cluster, &storage, &schedule(2), "suspend: true"]);
    world.kubernetes.wait_until("the CronJob follows", || Ok(cron_job()["spec"]["schedule"] == "2 0 1 1 *")).unwrap();
    // What was taken away from the resource goes from the CronJob, too.
    assert!(cron_job()["spec"]["timeZone"].is_null(), "{:#}", cron_job()["spec"]);
    assert_eq!(cron_job()["spec"]["suspend"], true);
    for object in [cron_job(), backup.get().unwrap()] {
        assert_eq!(object["metadata"]["labels"]["team"], "payments");
        assert_eq!(object["metadata"]["finalizers"], serde_json::json!(["example.com/keep"]));
    }
    for (kind, object) in [("cronjob", cron_name.as_str()), (backup.kind, &name)] {
        world
            .kubernetes
            .kubectl(&[
                "patch",
                kind,
                object,
                "--namespace",
                NAMESPACE,
                "--type=merge",
                "--patch",
                r#"{"metadata": {"finalizers": null}}"#,
            ])
            .unwrap();
    }
}

#[test]
fn a_paused_resource_is_left_alone_until_it_is_not() {
    let world = world();
    let sample = Sample::write(&world.witness(), "paused", 500).unwrap();
    let (group, name) = (Group::Strimzi, unique("paused"));
    let spec = [
        world.cluster(group, Way::Open),
        world.topics(group, &sample.topic),
        world.storage(group, Place::S3("paused")),
    ];
    let text = manifest(group, "KafkaBackup", &name, &spec.each_ref().map(String::as_str));
    let paused = text.replace("metadata: {", "metadata: {annotations: {strimzi.io/pause-reconciliation: 'true'}, ");
    world.kubernetes.apply(&paused).unwrap();
    let backup = world.backup(group, &name);
    backup.wait_for_condition("ReconciliationPaused", "True", "Paused").unwrap();
    let until = Instant::now() + QUIET;
    while Instant::now() < until {
        assert_eq!(world.jobs_of(&backup.get().unwrap()), [] as [Value; 0]);
        thread::sleep(LOOK_EVERY);
    }
    world
        .kubernetes
        .kubectl(&["annotate", backup.kind, &name, "strimzi.io/pause-reconciliation-", "--namespace", NAMESPACE])
        .unwrap();
    let done = backup.wait("completed", is_done).unwrap();
    assert!(condition(&done, "ReconciliationPaused").is_none());
}

/// A backup that takes a while, since it may read only so much in a second.
fn slow(prefix: &str, records: u64, seconds: u64) -> (String, Sample) {
    slow_on(prefix, records, seconds, "suspend: false")
}

/// The same on a schedule.
fn slow_on(prefix: &str, records: u64, seconds: u64, schedule: &str) -> (String, Sample) {
    let world = world();
    let sample = Sample::write(&world.witness(), "slow", records).unwrap();
    let name = unique(prefix);
    let rate = records * u64::from(Sample::VALUE_BYTES) / seconds;
    world.apply(
        Group::Oso,
        "KafkaBackup",
        &name,
        &[
            &world.cluster(Group::Oso, Way::Open),
            &world.topics(Group::Oso, &sample.topic),
            &world.storage(Group::Oso, Place::S3(prefix)),
            &format!("rateLimit: {{bytesPerSecond: {rate}}}"),
            "checkpointIntervalSecs: 1",
            schedule,
        ],
    );
    (name, sample)
}

#[test]
fn progress_is_told_while_a_run_is_under_way() {
    let world = world();
    let (name, _) = slow("progress", 20_000, 20);
    let backup = world.backup(Group::Oso, &name);
    let running = backup
        .wait("its progress is told", |backup| {
            let progress = &backup["status"]["activeRun"]["progress"];
            progress["percent"].as_i64().is_some_and(|percent| percent > 0 && percent < 100)
                && progress["etaSeconds"].is_i64()
        })
        .unwrap();
    let progress = &running["status"]["activeRun"]["progress"];
    assert_eq!(running["status"]["phase"], "Running");
    assert!(progress["bytes"].as_i64().unwrap() > 0 && progress["records"].as_i64().unwrap() > 0, "{progress}");
    assert!(progress["bytesPerSecond"].as_i64().unwrap() > 0, "{progress}");

    // The pod is asked now and then, and what it tells is written once: a status that is written has its resource looked at.
    let (since, mut versions) = (Instant::now(), BTreeSet::new());
    let done = loop {
        let found = backup.get().unwrap();
        versions.insert(found["metadata"]["resourceVersion"].as_str().unwrap().to_owned());
        if is_done(&found) {
            break found;
        }
        thread::sleep(Duration::from_millis(200));
    };
    let asked = since.elapsed().as_secs() / PROGRESS_EVERY.as_secs();
    let (written, may_be) = (versions.len() as u64, asked + BESIDE_PROGRESS);
    assert!(written <= may_be, "the status was written {written} times in {:?}", since.elapsed());
    assert!(done["status"]["activeRun"].is_null());
}

/// The CronJob of a resource.
fn cron_job_of(resource: &Value) -> Option<Value> {
    let selector = format!("backup.strimzi.io/resource-uid={}", resource["metadata"]["uid"].as_str().unwrap());
    let found = world().kubernetes.get(&["cronjobs", "--namespace", NAMESPACE, "--selector", &selector]).unwrap();
    found["items"].get(0).cloned()
}

#[test]
fn the_schedule_is_held_while_a_triggered_run_is_under_way() {
    let world = world();
    let (name, sample) = slow_on("held", 20_000, 15, "schedule: '0 0 1 1 *'");
    let backup = world.backup(Group::Oso, &name);
    backup.wait_for_condition("Ready", "True", "BackupScheduled").unwrap();
    let is_suspended = || Some(cron_job_of(&backup.get().unwrap())?["spec"]["suspend"] == true);
    assert_eq!(is_suspended(), Some(false));
    world
        .kubernetes
        .kubectl(&["annotate", backup.kind, &name, "kafka.oso.sh/trigger-backup=1", "--namespace", NAMESPACE])
        .unwrap();
    backup.wait("the run is under way", |backup| !backup["status"]["activeRun"].is_null()).unwrap();
    assert_eq!(is_suspended(), Some(true));
    let done = backup.wait("the run has ended", |backup| !backup["status"]["backupHistory"][0].is_null()).unwrap();
    assert_eq!(done["status"]["lastBackupRecords"], sample.records);
    world.kubernetes.wait_until("the schedule goes on", || Ok(is_suspended() == Some(false))).unwrap();
}

#[test]
fn a_configuration_that_somebody_deletes_comes_back_when_a_run_misses_it() {
    let world = world();
    let (name, sample) = slow_on("deleted", 500, 1, "schedule: '* * * * *'");
    let backup = world.backup(Group::Oso, &name);
    backup.wait_for_condition("Ready", "True", "BackupScheduled").unwrap();
    let cron_job = cron_job_of(&backup.get().unwrap()).unwrap();
    let config = cron_job["metadata"]["name"].as_str().unwrap();
    world.kubernetes.kubectl(&["delete", "configmap", config, "--namespace", NAMESPACE]).unwrap();
    let done = backup.wait("a run has ended", |backup| !backup["status"]["backupHistory"][0].is_null()).unwrap();
    assert_eq!(done["status"]["lastBackupRecords"], sample.records, "{done:#}");
    world.kubernetes.kubectl(&["delete", backup.kind, &name, "--namespace", NAMESPACE]).unwrap();
}

/// Kills the operator again and again until the Job of a resource is complete, from a moment on that `is_begun` tells; gives back the uids of
/// all Jobs that were seen.
fn kill_until_complete(resource: &Applied<'_>, seed: u64, is_begun: impl Fn(&Value) -> bool) -> BTreeSet<String> {
    let world = world();
    let (mut seen, mut random) = (BTreeSet::new(), seed);
    resource.wait("it has begun", is_begun).unwrap();
    for kills in 1..=30 {
        world.operator.kill().unwrap();
        let jobs = world.jobs_of(&resource.get().unwrap());
        let is_complete = jobs.iter().any(|job| job["status"]["completionTime"].is_string());
        seen.extend(uids(&jobs));
        if is_complete {
            return seen;
        }
        // The next one is killed before it has begun, while it reads, or once it works: on a slow machine, too, sooner or later.
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        thread::sleep(Duration::from_millis((random >> 33) % (4_000 + 500 * kills)));
    }
    panic!("its Job is not complete: {:#?}", world.jobs_of(&resource.get().unwrap()));
}

#[test]
fn an_operator_that_is_killed_at_any_moment_makes_no_second_job_and_loses_no_status() {
    let world = world();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let (name, sample) = slow("killed", 20_000, 15);
    let backup = world.backup(Group::Oso, &name);
    // Before anything is known of it, too.
    world.operator.kill().unwrap();
    let jobs = kill_until_complete(&backup, seed, |backup| !backup["status"]["activeRun"].is_null());
    let done = backup.wait("completed", is_done).unwrap();
    assert_eq!((jobs.len(), uids(&world.jobs_of(&done))), (1, jobs.into_iter().collect()));
    assert_eq!(done["status"]["backupHistory"].as_array().unwrap().len(), 1);
    assert_eq!(done["status"]["totals"]["succeeded"], 1);
    assert_eq!(done["status"]["lastBackupRecords"], sample.records);

    let (restore, target) = (unique("killed"), unique("killed-target"));
    let mapping = world.mapping(Group::Oso, &sample.topic, &target);
    world.apply(Group::Oso, "KafkaRestore", &restore, &[&format!("backupRef: {{name: {name}}}"), &mapping]);
    let restored = world.restore(Group::Oso, &restore);
    let jobs = kill_until_complete(&restored, seed + 1, |_| true);
    let done = restored.wait("completed", is_done).unwrap();
    assert_eq!((jobs.len(), uids(&world.jobs_of(&done))), (1, jobs.into_iter().collect()));
    assert_eq!(
        (&done["status"]["totals"]["succeeded"], &done["status"]["restoredRecords"]),
        (&1.into(), &sample.records.into())
    );
    sample.came_back_as(&world.witness(), &target).unwrap();
}

/// Waits until nothing is left of what was made for a resource.
fn nothing_is_left_of(resource: &Value) {
    let selector = format!("backup.strimzi.io/resource-uid={}", resource["metadata"]["uid"].as_str().unwrap());
    let kubernetes = world().kubernetes;
    let made = ["jobs,pods,configmaps,cronjobs", "--namespace", NAMESPACE, "--selector", &selector];
    let is_gone = || Ok(kubernetes.get(&made)?["items"].as_array().is_some_and(Vec::is_empty));
    kubernetes.wait_until("nothing of it is left", is_gone).unwrap();
}

#[test]
fn deleting_a_resource_ends_its_run_and_leaves_no_pod() {
    let world = world();
    let (name, _) = slow("deleted", 20_000, 120);
    let backup = world.backup(Group::Oso, &name);
    let running = backup.wait("its pod runs", |backup| !backup["status"]["activeRun"]["progress"].is_null()).unwrap();
    world.kubernetes.kubectl(&["delete", backup.kind, &name, "--namespace", NAMESPACE]).unwrap();
    nothing_is_left_of(&running);

    // Nor does a restore that waits for a Secret.
    let cluster = world.cluster(Group::Strimzi, Way::Open);
    let storage = world.storage(Group::Strimzi, Place::S3("deleted")).replace("aws-credentials", "no-credentials");
    let wanted = "backupRef: {name: deleted, backupId: deleted-1}";
    world.apply(Group::Strimzi, "KafkaRestore", &name, &[&cluster, &storage, wanted]);
    let restore = world.restore(Group::Strimzi, &name);
    restore.wait_for_condition("NotReady", "True", "FailedMount").unwrap();
    let waiting = restore.get().unwrap();
    assert_eq!(world.jobs_of(&waiting).len(), 1);
    world.kubernetes.kubectl(&["delete", restore.kind, &name, "--namespace", NAMESPACE]).unwrap();
    nothing_is_left_of(&waiting);
}

#[test]
fn nothing_is_begun_for_a_resource_that_a_finalizer_of_somebody_else_keeps() {
    let world = world();
    let (group, name, later) = (Group::Oso, unique("kept"), unique("kept-later"));
    let (cluster, storage) = (world.cluster(group, Way::Open), world.storage(group, Place::S3("kept")));
    let schedule = |minute: u8| format!("schedule: '{minute} 0 1 1 *'");
    world.apply(group, "KafkaBackup", &name, &[&cluster, &storage, &schedule(1)]);
    let backup = world.backup(group, &name);
    backup.wait_for_condition("Ready", "True", "BackupScheduled").unwrap();
    let kubectl =
        |arguments: &[&str]| world.kubernetes.kubectl(&[arguments, &["--namespace", NAMESPACE]].concat()).unwrap();
    let finalizers = |names: &str| format!(r#"{{"metadata": {{"finalizers": {names}}}}}"#);
    kubectl(&["patch", backup.kind, &name, "--type=merge", "--patch", &finalizers(r#"["example.com/keep"]"#)]);
    kubectl(&["delete", backup.kind, &name, "--wait=false"]);
    kubectl(&["annotate", backup.kind, &name, "kafka.oso.sh/trigger-backup=1"]);
    world.apply(group, "KafkaBackup", &name, &[&cluster, &storage, &schedule(2)]);
    // One that came afterwards was seen to.
    world.apply(group, "KafkaBackup", &later, &[&cluster, &storage, &schedule(3)]);
    world.backup(group, &later).wait_for_condition("Ready", "True", "BackupScheduled").unwrap();
    let going = backup.get().unwrap();
    assert_eq!(world.jobs_of(&going), [] as [Value; 0]);
    assert_eq!(cron_job_of(&going).unwrap()["spec"]["schedule"], "1 0 1 1 *");
    kubectl(&["patch", backup.kind, &name, "--type=merge", "--patch", &finalizers("null")]);
    nothing_is_left_of(&going);
}

#[test]
fn a_restore_that_has_started_cannot_be_changed() {
    let world = world();
    let sample = Sample::write(&world.witness(), "fixed", 500).unwrap();
    for group in [Group::Strimzi, Group::Oso] {
        let (name, restore, target) = (unique("fixed"), unique("fixed"), unique("fixed-target"));
        let cluster = world.cluster(group, Way::Open);
        let storage = world.storage(group, Place::S3("fixed"));
        // A restore that comes before its backup waits for it.
        let spec =
            [cluster.clone(), format!("backupRef: {{name: {name}}}"), world.mapping(group, &sample.topic, &target)];
        world.apply(group, "KafkaRestore", &restore, &spec.each_ref().map(String::as_str));
        let (type_, status) = match group {
            Group::Strimzi => ("NotReady", "True"),
            Group::Oso => ("Ready", "False"),
        };
        world.restore(group, &restore).wait_for_condition(type_, status, "BackupNotFound").unwrap();
        world.apply(group, "KafkaBackup", &name, &[&cluster, &world.topics(group, &sample.topic), &storage]);
        let backup = world.backup(group, &name).wait("completed", is_done).unwrap();
        let restored = world.restore(group, &restore).wait("completed", is_done).unwrap();
        assert_eq!(restored["status"]["backupId"].as_str(), newest(group, &backup).as_deref());
        let other = [cluster, format!("backupRef: {{name: {name}}}"), world.mapping(group, &sample.topic, "elsewhere")];
        let text = manifest(group, "KafkaRestore", &restore, &other.each_ref().map(String::as_str));
        let error = world.kubernetes.apply(&text).unwrap_err().to_string();
        assert!(error.contains("a restore that has started cannot be changed: create another KafkaRestore"), "{error}");
    }
}

/// The lines of the operator's metrics about one resource.
fn metrics_of(name: &str) -> Vec<String> {
    let text = world().operator.metrics().unwrap();
    assert!(text.contains("kafka_backup_reconciliations_total") && text.ends_with("# EOF\n"), "{text}");
    text.lines().filter(|line| line.contains(&format!("name=\"{name}\""))).map(str::to_owned).collect()
}

#[test]
fn another_operator_tells_the_same_metrics() {
    let world = world();
    let sample = Sample::write(&world.witness(), "measured", 500).unwrap();
    let (group, name) = (Group::Strimzi, unique("measured"));
    let (topics, storage) = (world.topics(group, &sample.topic), world.storage(group, Place::S3("measured")));
    world.apply(group, "KafkaBackup", &name, &[&world.cluster(group, Way::Open), &topics, &storage]);
    world.backup(group, &name).wait("completed", is_done).unwrap();
    // The lag grows by itself; everything else stands in the status.
    let told = || -> Vec<String> {
        metrics_of(&name).into_iter().filter(|line| !line.starts_with("strimzi_backup_lag_seconds")).collect()
    };
    let before = told();
    let has = |metric: &str, value: &str| {
        let found = before.iter().any(|line| line.starts_with(metric) && line.ends_with(&format!(" {value}")));
        assert!(found, "{metric} {value} is not in {before:#?}");
    };
    has("strimzi_backup_records_total", "500");
    has("kafka_backup_backup_records", "500");
    has("strimzi_backup_duration_seconds_count", "1");
    // Without the last bucket a histogram is none (OpenMetrics 1.0, "Histogram").
    has("strimzi_backup_duration_seconds_bucket{le=\"+Inf\"", "1");
    has("kafka_backup_backups_total", "1");
    for metric in
        ["strimzi_backup_bytes_total", "strimzi_backup_last_success_timestamp", "strimzi_backup_storage_bytes"]
    {
        let value = before.iter().find(|line| line.starts_with(metric)).and_then(|line| line.rsplit(' ').next());
        let value: f64 = value.unwrap_or_else(|| panic!("{metric} is not in {before:#?}")).parse().unwrap();
        assert!(value > 0.0, "{metric} is {value}");
    }
    world.operator.kill().unwrap();
    world.operator.wait_until_ready().unwrap();
    // It is ready before it has looked at every resource.
    let give_up = Instant::now() + Duration::from_secs(60);
    while told() != before && Instant::now() < give_up {
        thread::sleep(LOOK_EVERY);
    }
    assert_eq!(told(), before);

    // What happened stands on the resource too, for `kubectl describe`.
    let about = format!("involvedObject.name={name}");
    let events = world.kubernetes.get(&["events", "--namespace", NAMESPACE, "--field-selector", &about]).unwrap();
    let reasons: Vec<&str> =
        events["items"].as_array().unwrap().iter().filter_map(|event| event["reason"].as_str()).collect();
    assert!(["BackupStarted", "BackupCompleted"].iter().all(|wanted| reasons.contains(wanted)), "{reasons:?}");
}
