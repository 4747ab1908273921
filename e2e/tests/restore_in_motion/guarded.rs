//! Nothing is deleted before it is proven that the topic can be created again as it is planned.

use std::time::Duration;

use e2e::cli::{Cli, Ended};
use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::minio::Minio;
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::slow_proxy::SlowProxy;
use e2e::unique;
use e2e::witness::{NewTopic, Position, properties};

use crate::{own_configs, whole_records};

const DENIED: i32 = 4;

/// A topic with records that a user may not overwrite, for one reason or another, and a backup of it.
struct Guarded {
    kafka: &'static Kafka,
    repository: Repository<'static>,
    topic: String,
    records: u64,
}

impl Guarded {
    fn new() -> Self {
        let kafka = Kafka::shared(Shared::Secure);
        let sample = Sample::write(&kafka.witness(), "guarded", 600).unwrap();
        let repository = Repository::folder().unwrap();
        let bootstrap = kafka.bootstrap(Listener::Plain);
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &sample.topic]);
        Self { kafka, repository, topic: sample.topic, records: sample.records }
    }

    /// Overwrites the topic as a user who may do these things with it.
    fn overwrite(&self, operations: &[&str], more: &[&str]) -> Ended {
        self.overwrite_as(operations, &["CREATE"], more)
    }

    /// Overwrites the topic as a user who may do these things with it, and of these things those that are `prefixed` with all topics
    /// whose names begin with its name.
    fn overwrite_as(&self, operations: &[&str], prefixed: &[&str], more: &[&str]) -> Ended {
        let (name, password) = (unique("user"), unique("password"));
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &password).unwrap();
        for operation in operations {
            let (witness, user) = (self.kafka.witness(), format!("User:{name}"));
            match prefixed.contains(operation) {
                true => witness.allow_prefixed(&user, operation, "TOPIC", &self.topic).unwrap(),
                false => witness.allow(&user, operation, "TOPIC", &self.topic).unwrap(),
            }
        }
        self.kafka.add_user(&name, &password).unwrap();
        let bootstrap = self.kafka.bootstrap(Listener::SaslPlain);
        let protocol = Listener::SaslPlain.security_protocol();
        let command =
            ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--existing-topics", "overwrite"];
        let login = ["--security-protocol", protocol, "--sasl-mechanism", "SCRAM-SHA-512", "--username", &name];
        let password = ["--password-file", file.path().to_str().unwrap()];
        self.repository.run(&[&command[..], &login, &password, more].concat()).unwrap()
    }
}

#[test]
fn nothing_is_deleted_for_a_user_who_lacks_a_permission_and_the_dry_run_says_so() {
    let guarded = Guarded::new();
    let witness = guarded.kafka.witness();
    let id = witness.describe_topic(&guarded.topic).unwrap().id;
    let all = ["READ", "WRITE", "CREATE", "DELETE", "ALTER_CONFIGS", "DESCRIBE_CONFIGS"];
    for missing in ["WRITE", "CREATE", "DELETE", "ALTER_CONFIGS"] {
        let operations: Vec<&str> = all.into_iter().filter(|operation| *operation != missing).collect();
        for more in [&["--dry-run"][..], &[]] {
            let ended = guarded.overwrite(&operations, more);
            assert_eq!(ended.code, Some(DENIED), "without {missing} {more:?}: {ended:?}");
            let named = missing.replace('_', "").to_lowercase();
            assert!(ended.stderr.to_lowercase().contains(&named), "without {missing}: {ended:?}");
            assert_eq!(witness.describe_topic(&guarded.topic).unwrap().id, id, "without {missing}");
        }
    }
    assert_eq!(whole_records(&witness, &guarded.topic), guarded.records);
    guarded.overwrite(&all, &[]).succeeded();
    assert_ne!(witness.describe_topic(&guarded.topic).unwrap().id, id);
    assert_eq!(whole_records(&witness, &guarded.topic), guarded.records);
}

#[test]
fn a_policy_that_limits_retention_refuses_before_a_deletion_or_does_no_harm() {
    // It does not look for expired records before they are backed up.
    let rarely = ["log.initial.task.delay.ms", "log.retention.check.interval.ms"];
    let extra_properties = rarely.map(|name| (name.to_owned(), "3600000".to_owned())).to_vec();
    let options = KafkaOptions { limits_retention: true, extra_properties, ..KafkaOptions::default() };
    let kafka = Kafka::start(options).unwrap();
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let repository = Repository::folder().unwrap();
    for (stem, age_ms, days, is_restored) in
        [("new", 60_000, 7, true), ("old", 30 * 86_400_000, 7, false), ("old-and-short", 30 * 86_400_000, 1, false)]
    {
        let topic = unique(stem);
        let retention_ms = days * 86_400_000_i64;
        witness
            .create_topics(&[NewTopic::new(&topic, 1)
                .with("retention.ms", retention_ms)
                .with("segment.ms", 604_800_000)])
            .unwrap();
        let records: Vec<Record> = (0..100).map(|n| Record::new(0, now_ms - age_ms + n, n.to_string(), "v")).collect();
        witness.produce(&topic, &properties([]), &records).unwrap();
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", stem, "--topics", &topic]);
        let id = witness.describe_topic(&topic).unwrap().id;
        let restore =
            ["restore", "--bootstrap-servers", &bootstrap, "--archive", stem, "--existing-topics", "overwrite"];
        for more in [&["--dry-run"][..], &[]] {
            let ended = repository.run(&[&restore[..], more].concat()).unwrap();
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(said.contains("retention.ms"), "{stem}: {ended:?}");
            if is_restored {
                assert_eq!(ended.code, Some(0), "{stem}: {ended:?}");
            } else {
                assert!(said.contains("give a startTime"), "{stem}: {ended:?}");
                assert_ne!(ended.code, Some(0), "{stem}: {ended:?}");
                assert_eq!(witness.describe_topic(&topic).unwrap().id, id, "{stem}: nothing was deleted");
            }
        }
        if is_restored {
            let ends: Vec<i64> = witness.offsets(&topic, e2e::witness::At::Latest).unwrap();
            assert_eq!(ends, [100]);
            assert_eq!(own_configs(&witness, &topic).get("retention.ms"), Some(&retention_ms.to_string()));
        }
    }
}

#[test]
fn a_compacted_topic_keeps_what_it_held_where_its_retention_cannot_be_lifted() {
    let kafka = Kafka::start(KafkaOptions { limits_retention: true, ..KafkaOptions::default() }).unwrap();
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let (source, live) = (unique("young"), unique("live"));
    let of_a_day = ("retention.ms", 86_400_000);
    witness.create_topics(&[NewTopic::new(&source, 1).with(of_a_day.0, of_a_day.1)]).unwrap();
    let value = "v".repeat(2_000);
    let young: Vec<Record> = (0..100).map(|n| Record::new(0, now_ms + n, n.to_string(), value.as_str())).collect();
    witness.produce(&source, &properties([("batch.size", "4096")]), &young).unwrap();
    // Keys of 2023, several segments of them, which only compaction looks at.
    let compacted = NewTopic::new(&live, 1).with("cleanup.policy", "compact").with(of_a_day.0, of_a_day.1);
    witness.create_topics(&[compacted.with("segment.bytes", 1_048_576)]).unwrap();
    let old: Vec<Record> =
        (0..3_000).map(|n| Record::new(0, crate::OLD_MS + n, format!("old-{n}"), value.as_str())).collect();
    witness.produce(&live, &properties([]), &old).unwrap();
    let before = own_configs(&witness, &live);

    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &source]);
    let mapping = format!("{source}={live}");
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping];
    // Longer than the second after which brokers look for expired segments.
    let more = ["--existing-topics", "append", "--rate-limit-bytes", "40000"];
    let report = repository.report(&[&restore[..], &more].concat());
    assert_eq!(report["outcome"], "completed", "{report}");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("cleanup.policy cannot be set while the restore runs"), "{warnings}");
    assert_eq!(witness.offsets(&live, e2e::witness::At::Earliest).unwrap(), [0], "{report}");
    assert_eq!(witness.offsets(&live, e2e::witness::At::Latest).unwrap(), [3_100]);
    assert_eq!(own_configs(&witness, &live), before);
}

#[test]
fn no_topic_is_deleted_for_an_archive_that_cannot_be_written_or_segments_that_cannot_be_read() {
    let (kafka, minio) = (Kafka::shared(Shared::Plain), Minio::shared());
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    let endpoint = minio.endpoint();
    let port = endpoint.rsplit(':').next().unwrap().parse().unwrap();
    let proxy = SlowProxy::start(port, Duration::ZERO).unwrap();
    let storage = minio.url(&minio.make_bucket("archived").unwrap(), "x").replace(&endpoint, &proxy.endpoint());
    let run = |command: &[&str]| {
        let cli = Cli::new([command, &["--bootstrap-servers", &bootstrap, "--storage", &storage]].concat()).unwrap();
        minio.environment().into_iter().fold(cli, |cli, (name, value)| cli.env(name, value)).run().unwrap()
    };
    let sample = Sample::write(&witness, "archived", 600).unwrap();
    run(&["backup", "--archive", "a", "--topics", &sample.topic]).succeeded();
    let id = witness.describe_topic(&sample.topic).unwrap().id;
    let restore = ["restore", "--archive", "a", "--existing-topics", "overwrite"];
    // A user who may only read the archive; and a lifecycle rule that moves segments to another storage class, and leaves small objects
    // where they are.
    for (refused, named) in [("PUT other", "write-check"), ("GET segments", "/segments/")] {
        proxy.refuse(refused);
        for more in [&["--dry-run"][..], &[]] {
            let ended = run(&[&restore[..], more].concat());
            assert_eq!(ended.code, Some(DENIED), "{ended:?}");
            assert!(ended.stderr.contains(named), "{ended:?}");
            assert_eq!(witness.describe_topic(&sample.topic).unwrap().id, id, "nothing was deleted");
        }
    }
}

#[test]
fn a_dry_run_names_groups_whose_offsets_could_not_be_committed() {
    let guarded = Guarded::new();
    let (witness, bootstrap) = (guarded.kafka.witness(), guarded.kafka.bootstrap(Listener::Plain));
    let group = unique("readers");
    witness.commit_offsets(&group, &[Position::new(&guarded.topic, 0, 1).into()]).unwrap();
    let groups = format!("--consumer-groups={group}");
    let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &guarded.topic, &groups];
    guarded.repository.report(&[&backup[..], &["--backup-id", "with-group"]].concat());
    let all = ["READ", "WRITE", "CREATE", "DELETE", "ALTER_CONFIGS", "DESCRIBE_CONFIGS"];
    let more = ["--dry-run", "--backup", "with-group", &groups];
    let report = guarded.overwrite(&all, &more).succeeded().json().unwrap();
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("lacks Read on the group") && warnings.contains(&group), "{report}");
}

#[test]
fn a_topic_whose_creation_only_its_own_name_is_permitted_for_is_not_deleted() {
    let guarded = Guarded::new();
    let witness = guarded.kafka.witness();
    let id = witness.describe_topic(&guarded.topic).unwrap().id;
    let all = ["READ", "WRITE", "CREATE", "DELETE", "ALTER_CONFIGS", "DESCRIBE_CONFIGS"];
    for more in [&["--dry-run"][..], &[]] {
        let ended = guarded.overwrite_as(&all, &[], more);
        assert_eq!(ended.code, Some(DENIED), "{more:?}: {ended:?}");
        assert!(ended.stderr.contains("a prefixed permission") && ended.stderr.contains(&guarded.topic), "{ended:?}");
        assert_eq!(witness.describe_topic(&guarded.topic).unwrap().id, id, "{more:?}");
    }
    assert_eq!(whole_records(&witness, &guarded.topic), guarded.records);
}

/// A text of 60,000 characters that no codec makes much smaller.
fn large(seed: i64) -> String {
    let mut state = seed.unsigned_abs();
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(b'!' + u8::try_from((state >> 33) % 90).unwrap())
    };
    std::iter::repeat_with(next).take(60_000).collect()
}

#[test]
fn a_policy_that_demands_one_setting_and_limits_another_never_costs_a_topic() {
    let demands = ("create.topic.policy.class.name".to_owned(), "RetentionLimit$OnCreateWithReplicas".to_owned());
    let options = KafkaOptions { limits_retention: true, extra_properties: vec![demands], ..KafkaOptions::default() };
    let kafka = Kafka::start(options).unwrap();
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let repository = Repository::folder().unwrap();
    // Of the last topic half of the records are young. Where any are old, it is compacted, so that the broker keeps them until the backup; the
    // log cleaner finds nothing, since no key repeats.
    for (stem, ages_days, is_restored) in [("new", [0, 0], true), ("old", [30, 30], false), ("both", [30, 0], false)] {
        let topic = unique(stem);
        let settings = NewTopic::new(&topic, 1).with("min.insync.replicas", 1).with("retention.ms", 604_800_000);
        let policy = if stem == "new" { "delete" } else { "compact" };
        witness.create_topics(&[settings.with("cleanup.policy", policy)]).unwrap();
        for (number, days) in ages_days.into_iter().enumerate() {
            let at_ms = now_ms - 60_000 - days * 86_400_000;
            let records: Vec<Record> =
                (0..50).map(|n| Record::new(0, at_ms + n, format!("{number}-{n}"), large(n).as_str())).collect();
            witness.produce(&topic, &properties([]), &records).unwrap();
            let id = format!("{stem}-{number}");
            let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", stem, "--topics", &topic];
            // Several segments, so that there are runs of which all records are old.
            let small = ["--backup-id", &id, "--segment-bytes-max", "1048576"];
            repository.report(&[&backup[..], &small].concat());
        }
        let before = witness.describe_topic(&topic).unwrap();
        let restore =
            ["restore", "--bootstrap-servers", &bootstrap, "--archive", stem, "--existing-topics", "overwrite"];
        for more in [&["--dry-run"][..], &[]] {
            let ended = repository.run(&[&restore[..], more].concat()).unwrap();
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(said.contains("retention.ms cannot be set while the restore runs"), "{stem}: {ended:?}");
            match is_restored {
                true => assert_eq!(ended.code, Some(0), "{stem}: {ended:?}"),
                false => {
                    assert_ne!(ended.code, Some(0), "{stem}: {ended:?}");
                    assert!(said.contains("startTime"), "{stem}: {ended:?}");
                    assert_eq!(witness.describe_topic(&topic).unwrap().id, before.id, "{stem}: nothing was deleted");
                }
            }
        }
        assert_eq!(own_configs(&witness, &topic), before.configs, "{stem}");
        assert_eq!(witness.offsets(&topic, e2e::witness::At::Latest).unwrap(), [100]);
    }
}

#[test]
fn a_batch_that_does_not_fit_into_a_request_of_the_target_never_costs_a_topic() {
    let source = Kafka::shared(Shared::Plain);
    let (witness, topic) = (source.witness(), unique("large-batches"));
    witness.create_topics(&[NewTopic::new(&topic, 1).with("max.message.bytes", 4_000_000)]).unwrap();
    let records: Vec<Record> =
        (0..40).map(|n| Record::new(0, 1_700_000_000_000 + n, n.to_string(), large(n).as_str())).collect();
    let in_one_batch = [("batch.size", "3000000"), ("max.request.size", "4000000"), ("linger.ms", "5000")];
    witness.produce(&topic, &properties(in_one_batch), &records).unwrap();
    let repository = Repository::folder().unwrap();
    let bootstrap = source.bootstrap(Listener::Plain);
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);

    let takes = ("socket.request.max.bytes".to_owned(), "1500000".to_owned());
    let target = Kafka::start(KafkaOptions { extra_properties: vec![takes], ..KafkaOptions::default() }).unwrap();
    let (witness, bootstrap) = (target.witness(), target.bootstrap(Listener::Plain));
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    witness.produce(&topic, &properties([]), &[Record::new(0, 1_700_000_000_000, "there", "before")]).unwrap();
    let before = witness.describe_topic(&topic).unwrap().id;
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a"];
    for more in [&["--dry-run"][..], &[]] {
        let overwrite = [&restore[..], &["--existing-topics", "overwrite"], more].concat();
        let ended = repository.run(&overwrite).unwrap();
        let said = format!("{}{}", ended.stdout, ended.stderr);
        assert!(said.contains("socket.request.max.bytes"), "{ended:?}");
        assert_eq!(witness.describe_topic(&topic).unwrap().id, before, "nothing was deleted");
    }
    // Under another name the batch is split.
    let (back, records) = (unique("back"), records.len());
    let mapping = format!("--topic-mapping={topic}={back}");
    let report = repository.report(&[&restore[..], &[&mapping]].concat());
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &records.into()), "{report}");
    assert_eq!(witness.offsets(&back, e2e::witness::At::Latest).unwrap(), [40]);
}

#[test]
fn a_cluster_that_deletes_no_topics_is_known_before_the_restore() {
    let never = ("delete.topic.enable".to_owned(), "false".to_owned());
    let kafka = Kafka::start(KafkaOptions { extra_properties: vec![never], ..KafkaOptions::default() }).unwrap();
    let (witness, bootstrap, topic) = (kafka.witness(), kafka.bootstrap(Listener::Plain), unique("kept"));
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--existing-topics", "overwrite"];
    let ended = repository.run(&[&restore[..], &["--dry-run"]].concat()).unwrap();
    assert!(ended.stdout.contains("delete.topic.enable"), "{ended:?}");
    let ended = repository.run(&restore).unwrap();
    assert!(ended.stderr.contains("nothing was restored") && ended.stderr.contains("delete.topic.enable"), "{ended:?}");
}
