//! The flows of the documents, each to its end.

use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::operator::condition;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{Commit, NewTopic, Position, properties};
use serde_json::Value;

use crate::world::{Group, Place, Way, is_done, newest, world};

const RECORDS: u64 = 2_000;

/// Whether these are moments, as Kubernetes writes them.
fn are_times(of: &Value, names: &[&str]) {
    for name in names {
        let is_time = of[name].as_str().is_some_and(|time| time.starts_with("20") && time.ends_with('Z'));
        assert!(is_time, "{name} of {of:#}");
    }
}

/// What the status of a backup that has run once says of it, in each group's own words.
fn tells_of_the_newest(group: Group, status: &Value) {
    let is_positive = |name: &str| assert!(status[name].as_i64().is_some_and(|size| size > 0), "{name} of {status:#}");
    is_positive("storageBytes");
    match group {
        Group::Strimzi => {
            are_times(status, &["lastSuccessTime", "recoverableTo"]);
            assert!(status["size"].as_str().is_some_and(|size| size.ends_with('B')), "{status:#}");
            assert_eq!(status["lastBackup"]["records"], RECORDS);
        }
        Group::Oso => {
            are_times(status, &["lastBackupTime", "recoverableTo"]);
            is_positive("lastBackupSize");
            assert_eq!((&status["phase"], &status["lastBackupRecords"]), (&"Completed".into(), &RECORDS.into()));
        }
    }
}

/// Backs a topic up and brings it back under another name.
fn round_trip(group: Group, way: Way, place: Place<'_>) {
    let world = world();
    let witness = world.witness();
    let sample = Sample::write(&witness, "orders", RECORDS).unwrap();
    let (name, restore, target) = (unique("backup"), unique("restore"), unique("restored"));
    let cluster = world.cluster(group, way);
    let storage = world.storage(group, place);
    world.apply(group, "KafkaBackup", &name, &[&cluster, &world.topics(group, &sample.topic), &storage]);
    let backup = world.backup(group, &name).wait("completed", is_done).unwrap();
    let history = &backup["status"]["backupHistory"][0];
    assert_eq!((&history["records"], &history["outcome"]), (&RECORDS.into(), &"success".into()), "{history:#}");
    assert!(history["size"].as_i64().unwrap() > 0, "{history:#}");
    are_times(history, &["startTime", "completionTime", "cutTime"]);
    tells_of_the_newest(group, &backup["status"]);
    assert_eq!(world.jobs_of(&backup).len(), 1);
    let mapping = world.mapping(group, &sample.topic, &target);
    // Where a backup was made is known by its id, as long as its resource is there.
    let reference = match (group, way, newest(group, &backup)) {
        (Group::Oso, Way::Plain, Some(id)) => format!("backupId: {id}"),
        _ => format!("backupRef: {{name: {name}}}"),
    };
    world.apply(group, "KafkaRestore", &restore, &[&cluster, &reference, &mapping]);
    let restored = world.restore(group, &restore).wait("completed", is_done).unwrap();
    let status = &restored["status"];
    assert_eq!(status["restoredRecords"], RECORDS, "{status:#}");
    assert_eq!(status["restoredTopics"], serde_json::json!([{ "name": target, "records": RECORDS }]));
    assert_eq!(status["backupId"].as_str(), newest(group, &backup).as_deref());
    assert_eq!((&status["phase"], &status["progress"]), (&"Completed".into(), &100.into()));
    are_times(status, &["startTime", "completionTime"]);
    sample.came_back_as(&witness, &target).unwrap();
}

#[test]
fn beside_strimzi_without_authentication() {
    round_trip(Group::Strimzi, Way::Open, Place::S3("open"));
}

#[test]
fn beside_strimzi_by_the_certificate_of_a_kafka_user() {
    round_trip(Group::Strimzi, Way::TlsUser, Place::S3("tls-user"));
}

#[test]
fn beside_strimzi_by_a_certificate_of_one_s_own_to_a_claim() {
    world().make_claim("strimzi-claim");
    round_trip(Group::Strimzi, Way::TlsByHand, Place::Pvc("strimzi-claim"));
}

#[test]
fn beside_strimzi_by_the_password_of_a_kafka_user() {
    round_trip(Group::Strimzi, Way::ScramUser, Place::S3("scram-user"));
}

#[test]
fn beside_strimzi_by_a_password_of_one_s_own() {
    round_trip(Group::Strimzi, Way::ScramByHand, Place::S3("scram-by-hand"));
}

#[test]
fn by_addresses_without_authentication_to_a_claim() {
    world().make_claim("oso-claim");
    round_trip(Group::Oso, Way::Open, Place::Pvc("oso-claim"));
}

#[test]
fn by_addresses_and_a_certificate() {
    round_trip(Group::Oso, Way::TlsByHand, Place::S3("oso-tls"));
}

#[test]
fn by_addresses_and_scram_sha_512() {
    round_trip(Group::Oso, Way::ScramByHand, Place::S3("oso-512"));
}

#[test]
fn by_addresses_and_scram_sha_256() {
    round_trip(Group::Oso, Way::Scram256, Place::S3("oso-256"));
}

#[test]
fn by_addresses_and_plain() {
    round_trip(Group::Oso, Way::Plain, Place::S3("oso-plain"));
}

/// Two topics: one that is restored to a point in time, with a group that gets another name.
fn to_a_point_in_time(group: Group) {
    const T0: i64 = 1_770_000_000_000;
    let world = world();
    let witness = world.witness();
    let (topic, target) = (unique("timed"), unique("until"));
    let (from, to) = (unique("group"), unique("renamed"));
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    let records: Vec<Record> = (0..10).map(|n| Record::new(0, T0 + n * 1000, "k", format!("v{n}"))).collect();
    witness.produce(&topic, &properties([]), &records).unwrap();
    witness.commit_offsets(&from, &[Commit::from(Position::new(&topic, 0, 3))]).unwrap();
    let (name, restore) = (unique("timed"), unique("until"));
    let cluster = world.cluster(group, Way::Open);
    let storage = world.storage(group, Place::S3("timed"));
    world.apply(group, "KafkaBackup", &name, &[&cluster, &world.topics(group, &topic), &storage]);
    let backup = world.backup(group, &name).wait("completed", is_done).unwrap();
    let id = newest(group, &backup).unwrap();
    // The sixth record is the last: both ends of the range are in.
    let time = "2026-02-02T02:40:05.000Z";
    let time = match group {
        Group::Strimzi => format!("pointInTime: {{timestamp: '{time}'}}"),
        Group::Oso => format!("pitr: {{enabled: true, timestamp: '{time}'}}"),
    };
    let groups = format!("consumerGroups: {{restore: true, mapping: [{{sourceGroup: {from}, targetGroup: {to}}}]}}");
    let reference = format!("backupRef: {{name: {name}, backupId: {id}}}");
    let mapping = world.mapping(group, &topic, &target);
    world.apply(group, "KafkaRestore", &restore, &[&cluster, &reference, &time, &groups, &mapping]);
    let restored = world.restore(group, &restore).wait("completed", is_done).unwrap();
    assert_eq!(restored["status"]["restoredRecords"], 6);
    assert_eq!(restored["status"]["restoredGroups"], serde_json::json!([to]));
    let next = witness.next_of_group(&to, &[(&target, 0)]).unwrap();
    assert_eq!(next[0].as_ref().unwrap().value.as_deref(), Some(&b"v3"[..]));
    assert_eq!(witness.offsets(&target, e2e::witness::At::Latest).unwrap(), [6]);
}

#[test]
fn beside_strimzi_to_a_point_in_time_with_a_renamed_group() {
    to_a_point_in_time(Group::Strimzi);
}

#[test]
fn by_addresses_to_a_point_in_time_with_a_renamed_group() {
    to_a_point_in_time(Group::Oso);
}

/// A schedule that runs every minute: one run of it, and what the status says.
fn on_schedule(group: Group) {
    let world = world();
    let sample = Sample::write(&world.witness(), "scheduled", RECORDS).unwrap();
    let name = unique("scheduled");
    let schedule = match group {
        Group::Strimzi => "schedule: {cron: '* * * * *', timezone: Europe/London}",
        Group::Oso => "schedule: '* * * * *'",
    };
    let (cluster, storage) = (world.cluster(group, Way::Open), world.storage(group, Place::S3("scheduled")));
    world.apply(group, "KafkaBackup", &name, &[&cluster, &world.topics(group, &sample.topic), &storage, schedule]);
    let waiting = world.backup(group, &name).wait_for_condition("Ready", "True", "BackupScheduled").unwrap();
    assert!(waiting.starts_with("Next backup scheduled for 20"), "{waiting}");
    let backup = world
        .backup(group, &name)
        .wait("a run has ended", |backup| !backup["status"]["backupHistory"][0].is_null())
        .unwrap();
    let run = &backup["status"]["backupHistory"][0];
    assert_eq!((&run["outcome"], &run["records"]), (&"success".into(), &RECORDS.into()), "{run:#}");
    // The id is the time that the run was scheduled for, to the minute, and no clock's.
    let id = run["backupId"].as_str().unwrap();
    assert!(id.starts_with(&format!("{name}-20")) && id.ends_with("00"), "{id}");
    assert!(backup["status"]["nextScheduledTime"].as_str().unwrap().ends_with(":00Z"));
    world
        .kubernetes
        .kubectl(&["delete", world.backup(group, &name).kind, &name, "--namespace", crate::world::NAMESPACE])
        .unwrap();
}

#[test]
fn beside_strimzi_on_schedule() {
    on_schedule(Group::Strimzi);
}

#[test]
fn by_addresses_on_schedule() {
    on_schedule(Group::Oso);
}

/// Runs that are triggered, and what retention leaves of them.
fn triggered(group: Group) {
    let world = world();
    let sample = Sample::write(&world.witness(), "triggered", RECORDS).unwrap();
    let (name, prefix) = (unique("triggered"), unique("triggered"));
    let (schedule, retention, lower, annotation, archive) = match group {
        Group::Strimzi => (
            "schedule: {cron: '0 0 1 1 *', suspend: true}",
            "retention: {maxBackups: 2, pruneOnSchedule: true}",
            "retention: {maxBackups: 1, pruneOnSchedule: true}",
            "backup.strimzi.io/trigger-backup",
            format!("strimzi.{}.{name}", crate::world::NAMESPACE),
        ),
        Group::Oso => (
            "schedule: '0 0 1 1 *'\n  suspend: true",
            "retention: {backups: 2}",
            "retention: {backups: 1}",
            "kafka.oso.sh/trigger-backup",
            format!("oso.{}.{name}", crate::world::NAMESPACE),
        ),
    };
    let (cluster, storage) = (world.cluster(group, Way::Open), world.storage(group, Place::S3(&prefix)));
    let topics = world.topics(group, &sample.topic);
    world.apply(group, "KafkaBackup", &name, &[&cluster, &topics, &storage, schedule, retention]);
    let backup = world.backup(group, &name);
    backup.wait_for_condition("Ready", "True", "BackupSuspended").unwrap();
    let mut ids = Vec::new();
    for value in 1..=3 {
        let value = format!("{annotation}={value}");
        world
            .kubernetes
            .kubectl(&["annotate", backup.kind, &name, &value, "--overwrite", "--namespace", crate::world::NAMESPACE])
            .unwrap();
        let before = ids.len();
        let found = backup.wait("the run that was triggered has ended", |backup| {
            backup["status"]["backupHistory"].as_array().is_some_and(|history| history.len() > before)
        });
        ids.push(newest(group, &found.unwrap()).unwrap());
    }
    assert_eq!(world.listed(&prefix, &archive), ids[1..], "of {ids:?}");
    assert_eq!(world.jobs_of(&backup.get().unwrap()).len(), 3);
    world.apply(group, "KafkaBackup", &name, &[&cluster, &topics, &storage, schedule, lower]);
    world
        .kubernetes
        .wait_until("lowering the retention prunes", || Ok(world.listed(&prefix, &archive) == ids[2..]))
        .unwrap();
    let after = backup
        .wait("the pruning is written down", |backup| backup["status"]["bookkeeping"]["prunedBy"] == "maxBackups=1")
        .unwrap();
    assert!(condition(&after, "Warning").is_none(), "{after:#}");
}

#[test]
fn beside_strimzi_when_triggered_with_retention() {
    triggered(Group::Strimzi);
}

#[test]
fn by_addresses_when_triggered_with_retention() {
    triggered(Group::Oso);
}

/// The resource that made the backup is gone: its storage and the id are enough.
fn without_its_backup(group: Group) {
    let world = world();
    let witness = world.witness();
    let sample = Sample::write(&witness, "lost", RECORDS).unwrap();
    let (name, restore, target, prefix) = (unique("lost"), unique("found"), unique("found"), unique("lost"));
    let (cluster, storage) = (world.cluster(group, Way::Open), world.storage(group, Place::S3(&prefix)));
    world.apply(group, "KafkaBackup", &name, &[&cluster, &world.topics(group, &sample.topic), &storage]);
    let backup = world.backup(group, &name).wait("completed", is_done).unwrap();
    let id = newest(group, &backup).unwrap();
    world
        .kubernetes
        .kubectl(&["delete", world.backup(group, &name).kind, &name, "--namespace", crate::world::NAMESPACE])
        .unwrap();
    let (which, cluster) = match group {
        Group::Strimzi => (format!("backupRef: {{name: {name}, backupId: {id}}}"), cluster),
        Group::Oso => (format!("backupId: {id}"), format!("targetCluster: {}", world.addresses(Way::Open))),
    };
    let mapping = world.mapping(group, &sample.topic, &target);
    world.apply(group, "KafkaRestore", &restore, &[&cluster, &which, &storage, &mapping]);
    world.restore(group, &restore).wait("completed", is_done).unwrap();
    sample.came_back_as(&witness, &target).unwrap();
}

#[test]
fn beside_strimzi_without_the_backup_s_resource() {
    without_its_backup(Group::Strimzi);
}

#[test]
fn by_addresses_without_the_backup_s_resource() {
    without_its_backup(Group::Oso);
}

#[test]
fn beside_strimzi_a_new_password_is_picked_up_by_the_next_run_and_a_user_that_is_not_ready_is_told() {
    let world = world();
    let sample = Sample::write(&world.witness(), "renewed", RECORDS).unwrap();
    let (name, user) = (unique("renewed"), unique("renewed-user"));
    world.strimzi.add_user_scram(&user).unwrap();
    let cluster = world.cluster(Group::Strimzi, Way::ScramUser).replace("backup-scram", &user);
    let (topics, storage) =
        (world.topics(Group::Strimzi, &sample.topic), world.storage(Group::Strimzi, Place::S3("renewed")));
    let schedule = "schedule: {cron: '0 0 1 1 *', suspend: true}";
    world.apply(Group::Strimzi, "KafkaBackup", &name, &[&cluster, &topics, &storage, schedule]);
    let backup = world.backup(Group::Strimzi, &name);
    for (run, value) in ["first", "second"].into_iter().enumerate() {
        let value = format!("backup.strimzi.io/trigger-backup={value}");
        world
            .kubernetes
            .kubectl(&["annotate", backup.kind, &name, &value, "--overwrite", "--namespace", crate::world::NAMESPACE])
            .unwrap();
        let found = backup
            .wait("the run that was triggered has ended", |backup| {
                backup["status"]["backupHistory"].as_array().is_some_and(|history| history.len() > run)
            })
            .unwrap();
        assert_eq!(found["status"]["backupHistory"][0]["outcome"], "success", "{:#}", found["status"]);
        world.strimzi.change_password(&user).unwrap();
    }

    // The user is told of as Strimzi tells it.
    world.strimzi.set_user_not_ready(&user, "InvalidResourceException", "no such thing").unwrap();
    let told = backup.wait_for_condition("NotReady", "True", "KafkaUserNotReady").unwrap();
    assert!(told.contains("InvalidResourceException: no such thing"), "{told}");
}

#[test]
fn by_addresses_an_archive_of_another_cluster_is_refused_until_it_is_to_be_adopted() {
    let world = world();
    let sample = Sample::write(&world.witness(), "adopted", RECORDS).unwrap();
    let name = unique("adopted");
    let (group, prefix) = (Group::Oso, unique("adopted"));
    let (topics, storage) = (world.topics(group, &sample.topic), world.storage(group, Place::S3(&prefix)));
    world.apply(group, "KafkaBackup", &name, &[&world.cluster(group, Way::Open), &topics, &storage]);
    let backup = world.backup(group, &name);
    backup.wait("completed", is_done).unwrap();

    // The cluster was built anew, and has another id.
    let anew = KafkaOptions { address: world.kubernetes.host_ip(), ..KafkaOptions::default() };
    let anew = Kafka::start(anew).unwrap();
    let again = Sample::write(&anew.witness(), "adopted", RECORDS).unwrap();
    let cluster = format!("kafkaCluster: {{bootstrapServers: ['{}']}}", anew.bootstrap(Listener::Plain));
    world.apply(group, "KafkaBackup", &name, &[&cluster, &world.topics(group, &again.topic), &storage]);
    let annotate = |annotation: &str| {
        let annotate =
            ["annotate", backup.kind, &name, annotation, "--overwrite", "--namespace", crate::world::NAMESPACE];
        world.kubernetes.kubectl(&annotate).unwrap();
    };
    annotate("kafka.oso.sh/trigger-backup=1");
    let told = backup.wait_for_condition("Ready", "False", "BackupFailed").unwrap();
    assert!(told.contains("belongs to") && told.contains("adopt-archive"), "{told}");
    annotate("kafka.oso.sh/adopt-archive=true");
    annotate("kafka.oso.sh/trigger-backup=2");
    let done = backup.wait("completed", is_done).unwrap();
    let outcomes: Vec<&str> =
        done["status"]["backupHistory"].as_array().unwrap().iter().filter_map(|run| run["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["success", "failed", "success"]);
    let archive = format!("oso.{}.{name}", crate::world::NAMESPACE);
    assert_eq!(world.listed(&prefix, &archive).len(), 2);
}
