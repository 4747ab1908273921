//! A point in time, other names, topics that are there already, groups that are at work: what the options of a restore promise.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use e2e::compare::{self, Rules};
use e2e::dump::{self, Record};
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{At, Commit, NewTopic, Position, Protocol, Witness, properties};
use kafka_backup::format::batch::batches;
use kafka_backup::format::checksum::crc32c;
use kafka_backup::format::codec::{Compression, Compressor};
use kafka_backup::format::segment::{Footer, open_index};

const START_MS: i64 = 1_770_000_000_000;
const RECORDS: i64 = 500;

/// A topic whose timestamps are out of order, in batches of many records, and its backup.
struct BackedUp {
    repository: Repository<'static>,
    bootstrap: String,
    witness: Witness,
    topic: String,
    backup_id: String,
}

impl BackedUp {
    fn new(stem: &str) -> Self {
        let kafka = Kafka::shared(Shared::Plain);
        let (bootstrap, witness, topic) = (kafka.bootstrap(Listener::Plain), kafka.witness(), unique(stem));
        witness.create_topics(&[NewTopic::new(&topic, 2).with("retention.ms", 1_000_000_000_000_i64)]).unwrap();
        // 7 and 500 have no common divisor: every time from START_MS on is there once, none in its place.
        let record = |n: i64| {
            Record::new((n % 2).try_into().unwrap(), START_MS + n * 7 % RECORDS, n.to_string(), vec![b'v'; 50])
        };
        let records: Vec<Record> = (0..RECORDS).map(record).collect();
        let config = properties([("linger.ms", "50"), ("compression.type", "zstd")]);
        witness.produce(&topic, &config, &records).unwrap();
        let repository = Repository::folder().unwrap();
        let report =
            repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
        let backup_id = report["backupId"].as_str().unwrap().to_owned();
        Self { repository, bootstrap, witness, topic, backup_id }
    }

    fn restore(&self, more: &[&str]) -> Vec<String> {
        let command = ["restore", "--bootstrap-servers", &self.bootstrap, "--backup", &self.backup_id];
        [&command[..], more].concat().into_iter().map(str::to_owned).collect()
    }

    fn report(&self, more: &[&str]) -> serde_json::Value {
        self.repository.report(&self.restore(more).iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn dump(&self, topic: &str, folder: &Path) -> std::path::PathBuf {
        let folder = folder.join(topic);
        self.witness.dump(topic, &folder).unwrap();
        folder
    }
}

#[test]
fn a_point_in_time_is_exact_to_the_millisecond_though_times_are_out_of_order() {
    let backed_up = BackedUp::new("point");
    let folder = tempfile::tempdir().unwrap();
    let before = backed_up.dump(&backed_up.topic, folder.path());
    // 2026-02-02T02:40:00.000Z is START_MS.
    for (time, last_ms) in
        [("2026-02-02T02:40:00.123Z", START_MS + 123), ("2026-02-02T03:40:00.322+01:00", START_MS + 322)]
    {
        let target = unique("at");
        let mapping = format!("{}={target}", backed_up.topic);
        let report = backed_up.report(&["--topic-mapping", &mapping, "--point-in-time", time]);
        let kept = u64::try_from(last_ms - START_MS + 1).unwrap();
        assert_eq!(report["records"], kept, "{report}");
        let after = backed_up.dump(&target, folder.path());
        let keep = |record: &Record| record.timestamp_ms <= last_ms;
        assert_eq!(compare::selected(&before, &after, Rules::RESTORED, keep).unwrap().records, kept);
    }
}

#[test]
fn a_dry_run_says_what_would_be_done_and_does_nothing() {
    let backed_up = BackedUp::new("dry");
    let target = unique("planned");
    let mapping = format!("{}={target}", backed_up.topic);
    let report = backed_up.report(&["--topic-mapping", &mapping, "--dry-run"]);
    assert_eq!(report["outcome"], "planned");
    let topic = &report["plan"]["topics"][0];
    assert_eq!((&topic["target"], &topic["action"]), (&target.as_str().into(), &"create".into()));
    let planned: i64 = topic["partitions"].as_array().unwrap().iter().map(|p| p["records"].as_i64().unwrap()).sum();
    assert_eq!(planned, RECORDS);
    assert!(backed_up.witness.describe_topic(&target).is_err(), "the dry run has created the topic");
}

#[test]
fn appending_comes_behind_what_is_there_and_only_once() {
    let backed_up = BackedUp::new("append");
    let folder = tempfile::tempdir().unwrap();
    let configs = backed_up.witness.describe_topic(&backed_up.topic).unwrap().configs;
    for _ in 0..2 {
        backed_up.report(&["--existing-topics", "append"]);
        let after = backed_up.dump(&backed_up.topic, folder.path());
        let records = dump::read_all(&after).unwrap();
        assert_eq!(records.len() as i64, 2 * RECORDS);
        let half = |partition: i32| -> Vec<(i64, Option<Vec<u8>>)> {
            let of_partition = records.iter().filter(|record| record.partition == partition);
            of_partition.map(|record| (record.timestamp_ms, record.key.clone())).collect()
        };
        for partition in 0..2 {
            let all = half(partition);
            assert_eq!(all[..all.len() / 2], all[all.len() / 2..]);
        }
    }
    assert_eq!(backed_up.witness.describe_topic(&backed_up.topic).unwrap().configs, configs, "put back as it was");
}

#[test]
fn overwriting_leaves_only_what_was_in_the_backup() {
    let backed_up = BackedUp::new("overwrite");
    let folder = tempfile::tempdir().unwrap();
    let before = backed_up.dump(&backed_up.topic, &folder.path().join("before"));
    let id = backed_up.witness.describe_topic(&backed_up.topic).unwrap().id;
    backed_up.witness.produce(&backed_up.topic, &properties([]), &[Record::new(0, START_MS, "late", "late")]).unwrap();
    backed_up.report(&["--existing-topics", "overwrite"]);
    let after = backed_up.dump(&backed_up.topic, &folder.path().join("after"));
    compare::dumps(&before, &after, Rules::RESTORED).unwrap();
    assert_ne!(backed_up.witness.describe_topic(&backed_up.topic).unwrap().id, id, "it is another topic now");
}

#[test]
fn overwriting_touches_nothing_when_the_backup_is_damaged() {
    let backed_up = BackedUp::new("damaged");
    let folder = tempfile::tempdir().unwrap();
    let before = backed_up.dump(&backed_up.topic, &folder.path().join("before"));
    let id = backed_up.witness.describe_topic(&backed_up.topic).unwrap().id;
    let objects = backed_up.repository.objects().unwrap();
    for (kind, how) in
        [("/parts/", "cut short"), ("/parts/", "missing"), ("/segments/", "cut short"), ("/segments/", "missing")]
    {
        let object = objects.iter().find(|path| path.to_str().unwrap().contains(kind)).unwrap();
        let whole = std::fs::read(object).unwrap();
        std::fs::remove_file(object).unwrap();
        if how == "cut short" {
            std::fs::write(object, &whole[..whole.len() - 1]).unwrap();
        }
        for more in [&[][..], &["--dry-run"]] {
            let command = backed_up.restore(&[&["--existing-topics", "overwrite"], more].concat());
            let command: Vec<&str> = command.iter().map(String::as_str).collect();
            let ended = backed_up.repository.run(&command).unwrap();
            assert!(ended.code != Some(0), "{kind} {how}: {ended:?}");
        }
        assert_eq!(backed_up.witness.describe_topic(&backed_up.topic).unwrap().id, id, "{kind} {how}");
        std::fs::remove_file(object).ok();
        std::fs::write(object, &whole).unwrap();
    }
    let after = backed_up.dump(&backed_up.topic, &folder.path().join("after"));
    compare::dumps(&before, &after, Rules::RESTORED).unwrap();
    // With the backup as it was, the same command does what it says.
    assert_eq!(backed_up.report(&["--existing-topics", "overwrite"])["outcome"], "completed");
}

#[test]
fn a_group_that_is_at_work_is_left_alone_and_named() {
    let backed_up = BackedUp::new("group");
    let BackedUp { witness, topic, bootstrap, repository, .. } = &backed_up;
    let group = unique("at-work");
    witness.commit_offsets(&group, &[Commit::from(Position::new(topic, 0, 42))]).unwrap();
    let report = repository.report(&["backup", "--bootstrap-servers", bootstrap, "--archive", "b", "--topics", topic]);
    let member = witness.join_group(&group, Protocol::Classic, &[topic]).unwrap();
    let mapping = format!("{topic}={}", unique("elsewhere"));
    let groups = format!("--consumer-groups={group}");
    let restore = ["restore", "--bootstrap-servers", bootstrap, "--backup", report["backupId"].as_str().unwrap()];
    let ended = repository.run(&[&restore[..], &["--topic-mapping", &mapping, &groups]].concat()).unwrap();
    assert_eq!(ended.code, Some(7), "{ended:?}");
    let problems = ended.json().unwrap()["problems"].to_string();
    assert!(problems.contains(&group) && problems.contains(member.client_id()), "{problems}");
    assert!(!ended.json().unwrap()["warnings"].to_string().contains(&group), "it is told once: {ended:?}");
    member.leave().unwrap();
}

/// What the journals of a repository hold whose key contains `part`.
fn journal_objects(repository: &Repository<'_>, part: &str) -> Vec<std::path::PathBuf> {
    let objects = repository.objects().unwrap().into_iter();
    objects
        .filter(|path| path.to_str().is_some_and(|path| path.contains("/restores/") && path.contains(part)))
        .collect()
}

#[test]
fn a_group_is_restored_once_and_never_set_back() {
    let backed_up = BackedUp::new("once");
    let BackedUp { witness, topic, bootstrap, repository, .. } = &backed_up;
    let group = unique("restored-once");
    let commit = |topic: &str, offset| witness.commit_offsets(&group, &[Commit::from(Position::new(topic, 0, offset))]);
    commit(topic, 42).unwrap();
    let report = repository.report(&["backup", "--bootstrap-servers", bootstrap, "--archive", "b", "--topics", topic]);
    let target = unique("once-back");
    let mapping = format!("{topic}={target}");
    let groups = format!("--consumer-groups={group}");
    let restore = ["restore", "--bootstrap-servers", bootstrap, "--backup", report["backupId"].as_str().unwrap()];
    let restore = [&restore[..], &["--topic-mapping", &mapping, &groups]].concat();
    let offset = || {
        let offsets = witness.group_offsets(&group).unwrap();
        offsets.iter().find(|commit| commit.position.topic == target).map(|commit| commit.position.offset)
    };
    assert_eq!(repository.report(&restore)["groups"][0]["committed"], 1);
    assert_eq!(offset(), Some(42));
    let forget = |part: &str| {
        let objects = journal_objects(repository, part);
        assert_eq!(objects.len(), 1, "{part}: {objects:?}");
        std::fs::remove_file(&objects[0]).unwrap();
    };

    // Killed after the commit, before it was written down: the group stands where the commit has put it.
    forget("/done");
    forget("/written");
    forget("/committed");
    let report = repository.report(&restore);
    assert_eq!((&report["outcome"], offset()), (&"completed".into(), Some(42)), "{report}");

    // Killed before the report was written, and the group has worked since.
    commit(&target, 50).unwrap();
    forget("/done");
    let report = repository.report(&restore);
    assert_eq!((&report["outcome"], &report["groups"][0]["committed"]), (&"completed".into(), &1.into()), "{report}");
    let told = report["warnings"].to_string().contains(&group);
    assert_eq!((told, offset()), (false, Some(50)), "{report}");

    // Killed after the commit, before it was written down, and the group has worked since: nobody can tell.
    forget("/done");
    forget("/written");
    forget("/committed");
    let ended = repository.run(&restore).unwrap();
    assert_eq!((ended.code, offset()), (Some(7), Some(50)), "{ended:?}");
    assert!(ended.json().unwrap()["problems"][0].as_str().unwrap().contains("is left as it is"), "{ended:?}");
}

#[test]
fn whoever_asks_again_for_a_restore_that_has_ended_learns_what_happened_since() {
    let backed_up = BackedUp::new("since");
    let target = unique("since-back");
    let mapping = format!("{}={target}", backed_up.topic);
    let restore = |more: &[&str]| backed_up.report(&[&["--topic-mapping", &mapping], more].concat());
    let warnings = |report: &serde_json::Value| report["warnings"].to_string();
    restore(&[]);
    let report = restore(&[]);
    assert_eq!((&report["alreadyRestored"], warnings(&report).as_str()), (&true.into(), "[]"), "{report}");

    let late = Record::new(0, START_MS, "late", "late");
    backed_up.witness.produce(&target, &properties([]), &[late]).unwrap();
    assert!(warnings(&restore(&[])).contains("somebody has written to 1 of its partitions"));
    backed_up.witness.delete_records(&[Position::new(&target, 1, 5)]).unwrap();
    assert!(warnings(&restore(&[])).contains("deleted from the beginning of 1 of its partitions"));

    let id = backed_up.witness.describe_topic(&target).unwrap().id;
    assert!(warnings(&restore(&["--existing-topics", "overwrite"])).contains("with --existing-topics fail"));
    assert_eq!(backed_up.witness.describe_topic(&target).unwrap().id, id, "nothing was overwritten");

    backed_up.witness.delete_topics(&[&target]).unwrap();
    let report = restore(&[]);
    assert_eq!((&report["alreadyRestored"], &report["records"]), (&false.into(), &RECORDS.into()), "{report}");
    assert!(warnings(&report).contains("deleted or created again") && warnings(&report).contains(&target), "{report}");
}

#[test]
fn the_original_offset_is_added_only_when_it_is_asked_for() {
    let backed_up = BackedUp::new("header");
    let folder = tempfile::tempdir().unwrap();
    let target = unique("with-header");
    let mapping = format!("{}={target}", backed_up.topic);
    backed_up.report(&["--topic-mapping", &mapping, "--original-offset-header", "source-offset"]);
    let before = dump::read_all(&backed_up.dump(&backed_up.topic, folder.path())).unwrap();
    let after = dump::read_all(&backed_up.dump(&target, folder.path())).unwrap();
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        let header = (b"source-offset".to_vec(), Some(before.offset.to_string().into_bytes()));
        assert_eq!(after.headers, [header]);
        assert_eq!((&after.key, &after.value), (&before.key, &before.value));
    }
}

#[test]
fn a_backup_may_ask_its_restores_to_add_the_original_offset_and_a_restore_may_refuse() {
    let backed_up = BackedUp::new("headers");
    let folder = tempfile::tempdir().unwrap();
    let backup =
        ["backup", "--bootstrap-servers", &backed_up.bootstrap, "--archive", "a", "--backup-id", "with-headers"];
    let more = ["--topics", &backed_up.topic, "--include-offset-headers", "--source-cluster-id", "production"];
    backed_up.repository.report(&[&backup[..], &more].concat());
    let described = backed_up.repository.report(&["describe", "--backup", "with-headers"]);
    let manifest = &described["manifest"];
    assert_eq!(
        (&manifest["includeOffsetHeaders"], &manifest["sourceClusterLabel"]),
        (&true.into(), &"production".into())
    );
    let before = dump::read_all(&backed_up.dump(&backed_up.topic, folder.path())).unwrap();
    for (flags, key) in [(&[][..], Some("x-original-offset")), (&["--offset-headers=false"], None)] {
        let target = unique("asked");
        let mapping = format!("--topic-mapping={}={target}", backed_up.topic);
        let restore = ["restore", "--bootstrap-servers", &backed_up.bootstrap, "--backup", "with-headers", &mapping];
        backed_up.repository.report(&[&restore[..], flags].concat());
        let after = dump::read_all(&backed_up.dump(&target, folder.path())).unwrap();
        assert_eq!(before.len(), after.len());
        for (before, after) in before.iter().zip(&after) {
            let offset = Some(before.offset.to_string().into_bytes());
            let added = key.map(|key| (key.as_bytes().to_vec(), offset));
            assert_eq!((&after.key, &after.headers), (&before.key, &added.into_iter().collect()));
        }
    }
}

#[test]
fn the_java_client_reads_a_record_that_fits_the_target_at_the_highest_lz4_level_only() {
    let kafka = Kafka::shared(Shared::Plain);
    let (bootstrap, witness, folder) =
        (kafka.bootstrap(Listener::Plain), kafka.witness(), tempfile::tempdir().unwrap());
    let (topic, target) = (unique("large"), unique("tight"));
    let value = (0..40_000_u64).map(|n| format!("{} ", n * n * 2_654_435_761 % 1_000_003 % 300)).collect::<String>();
    let packed_bytes = |level| {
        let mut packed = Vec::new();
        Compressor::new().compress(Compression::Lz4, level, value.as_bytes(), &mut packed).unwrap();
        packed.len()
    };
    let (fast, highest) = (packed_bytes(None), packed_bytes(Some(12)));
    let between = highest + (fast - highest) / 2;
    witness
        .create_topics(&[NewTopic::new(&topic, 1), NewTopic::new(&target, 1).with("max.message.bytes", between)])
        .unwrap();
    let record = Record::new(0, START_MS, "large", value.into_bytes());
    witness.produce_batch(&topic, 0, "lz4", &[record]).unwrap();
    let (repository, cluster) = (Repository::folder().unwrap(), ["--bootstrap-servers", &bootstrap]);
    repository.report(&[&["backup", "--archive", "a", "--backup-id", "b", "--topics", &topic][..], &cluster].concat());
    let mapping = format!("{topic}={target}");
    let restore = ["restore", "--backup", "b", "--existing-topics", "append", "--topic-mapping", &mapping];
    let report = repository.report(&[&restore[..], &cluster].concat());
    assert_eq!(report["records"], 1, "{report}");
    let dumped = [&topic, &target].map(|topic| {
        let folder = folder.path().join(topic);
        witness.dump(topic, &folder).unwrap();
        folder
    });
    assert_eq!(compare::dumps(&dumped[0], &dumped[1], Rules::RESTORED).unwrap().records, 1);
}

#[test]
fn batches_that_are_larger_than_a_segment_of_the_target_are_split() {
    const SEGMENT_BYTES: usize = 1 << 20;
    let kafka = Kafka::shared(Shared::Plain);
    let (bootstrap, witness, folder) =
        (kafka.bootstrap(Listener::Plain), kafka.witness(), tempfile::tempdir().unwrap());
    let (topic, target) = (unique("wide"), unique("short-segments"));
    let limit = 4 * SEGMENT_BYTES;
    witness
        .create_topics(&[
            NewTopic::new(&topic, 1).with("max.message.bytes", limit),
            NewTopic::new(&target, 1).with("max.message.bytes", limit).with("segment.bytes", SEGMENT_BYTES),
        ])
        .unwrap();
    let value = |number: u32| number.to_be_bytes().repeat(SEGMENT_BYTES / 16);
    let records: Vec<Record> = (0..9).map(|number| Record::new(0, START_MS, "large", value(number))).collect();
    witness.produce_batch(&topic, 0, "none", &records).unwrap();
    let (repository, cluster) = (Repository::folder().unwrap(), ["--bootstrap-servers", &bootstrap]);
    repository.report(&[&["backup", "--archive", "a", "--backup-id", "b", "--topics", &topic][..], &cluster].concat());
    let mapping = format!("{topic}={target}");
    let restore = ["restore", "--backup", "b", "--topic-mapping", &mapping];
    let report = repository.report(&[&restore[..], &cluster].concat());
    assert_eq!(report["records"], 9, "{report}");
    let dumped = [&topic, &target].map(|topic| {
        let folder = folder.path().join(topic);
        witness.dump(topic, &folder).unwrap();
        folder
    });
    assert_eq!(compare::dumps(&dumped[0], &dumped[1], Rules::RESTORED).unwrap().records, 9);
}

#[test]
fn partitions_come_back_under_other_numbers_and_groups_follow_them() {
    let backed_up = BackedUp::new("partitions");
    let (folder, group, target) = (tempfile::tempdir().unwrap(), unique("follows"), unique("renumbered"));
    let topic = &backed_up.topic;
    backed_up.witness.commit_offsets(&group, &[Commit::from(Position::new(topic, 0, 17))]).unwrap();
    let bootstrap = ["--bootstrap-servers", &backed_up.bootstrap];
    let backup = ["backup", "--archive", "a", "--backup-id", "b2", "--topics", topic, "--consumer-groups", &group];
    backed_up.repository.report(&[&backup[..], &bootstrap].concat());
    let config = folder.path().join("restore.yaml");
    let text = format!("run: restore\nbackup: b2\npartitionMapping: {{ {topic}: {{ 0: 2, 1: 0 }} }}\n");
    std::fs::write(&config, text).unwrap();
    let mapping = format!("--topic-mapping={topic}={target}");
    let groups = format!("--consumer-groups={group}");
    let restore = ["restore", "--config", config.to_str().unwrap(), &mapping, &groups];
    let restore = [&restore[..], &bootstrap].concat();
    for already in [false, true] {
        let report = backed_up.repository.report(&restore);
        assert_eq!(
            (&report["alreadyRestored"], &report["warnings"]),
            (&already.into(), &serde_json::json!([])),
            "{report}"
        );
    }

    let before = dump::read_all(&backed_up.dump(topic, folder.path())).unwrap();
    let after = dump::read_all(&backed_up.dump(&target, folder.path())).unwrap();
    let of = |records: &[Record], partition: i32| -> Vec<(i64, Option<Vec<u8>>)> {
        let of_partition = records.iter().filter(|record| record.partition == partition);
        of_partition.map(|record| (record.timestamp_ms, record.key.clone())).collect()
    };
    assert_eq!((of(&after, 2), of(&after, 0)), (of(&before, 0), of(&before, 1)));
    assert!(of(&after, 1).is_empty() && !of(&after, 2).is_empty());
    let committed = backed_up.witness.group_offsets(&group).unwrap();
    let followed = committed.iter().find(|commit| commit.position.topic == target).unwrap();
    assert_eq!((followed.position.partition, followed.position.offset), (2, 17));
}

/// Puts bytes that no codec writes into a batch on the broker's disk, with a checksum that fits them.
fn spoil_batch(kafka: &Kafka, topic: &str, base_offset: i64) {
    const CRC: std::ops::Range<usize> = 17..21;
    const RECORDS_AT: usize = 61;
    let segment = kafka.data_folder(1).join(format!("{topic}-0/{:020}.log", 0));
    let mut log = fs::read(&segment).unwrap();
    let sizes: Vec<(i64, usize)> = batches(&log, true)
        .map(|batch| batch.map(|batch| (batch.base_offset(), batch.bytes().len())).unwrap())
        .collect();
    let at: usize = sizes.iter().take_while(|(offset, _)| *offset < base_offset).map(|(_, bytes)| bytes).sum();
    let bytes = sizes.iter().find(|(offset, _)| *offset == base_offset).unwrap().1;
    let batch = &mut log[at..at + bytes];
    batch[RECORDS_AT..].fill(0xff);
    let crc = crc32c(&batch[CRC.end..]);
    batch[CRC].copy_from_slice(&crc.to_be_bytes());
    fs::write(segment, log).unwrap();
}

#[test]
fn a_batch_that_cannot_be_read_is_named_and_the_rest_is_restored() {
    // Its own: it is stopped while its disk is changed.
    let kafka = Kafka::start(KafkaOptions::default()).unwrap();
    let (bootstrap, witness, topic) = (kafka.bootstrap(Listener::Plain), kafka.witness(), unique("spoiled"));
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    let record = |n: i64| Record::new(0, START_MS + n, n.to_string(), vec![b'v'; 50]);
    for first in [0, 10, 20] {
        let records: Vec<Record> = (first..first + 10).map(record).collect();
        assert_eq!(witness.produce_batch(&topic, 0, "zstd", &records).unwrap(), first);
    }
    kafka.stop_node(1).unwrap();
    spoil_batch(&kafka, &topic, 10);
    kafka.start_node(1).unwrap();
    let repository = Repository::folder().unwrap();
    let report =
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
    assert_eq!(report["records"], 30, "{report}");

    let late = format!("{topic}-late");
    let mapping = format!("--topic-mapping={topic}={late}");
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", &mapping];
    let restore = [&restore[..], &["--start-time", "2026-02-02T02:40:00.005Z"]].concat();
    // Said again, the same is said.
    for _ in 0..2 {
        let ended = repository.start(&restore).unwrap().ended().unwrap();
        assert_eq!(ended.code, Some(7), "{ended:?}");
        let report = ended.json().unwrap();
        assert_eq!((&report["outcome"], &report["records"]), (&"partial".into(), &15.into()), "{report}");
        let problem = report["problems"][0].as_str().unwrap();
        let named = format!("{late}-0: up to 10 records are not there: the record batch at offset 10 of {topic}-0");
        assert!(problem.starts_with(&named), "{problem}");
    }
    let folder = tempfile::tempdir().unwrap();
    witness.dump(&late, folder.path()).unwrap();
    let keys: Vec<_> = dump::read_all(folder.path()).unwrap().into_iter().filter_map(|record| record.key).collect();
    let expected: Vec<Vec<u8>> = (5..10).chain(20..30).map(|n: i64| n.to_string().into_bytes()).collect();
    assert_eq!(keys, expected);
}

/// Writes batches of records of 1,000 bytes that no codec makes smaller, so that a backup in small segments has several runs of them.
fn produce_several_runs(witness: &Witness, topic: &str, batch: i64, all_records: i64) {
    let value = |n: i64| -> Vec<u8> {
        let mut state = n.unsigned_abs();
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..1_000).map(next).collect()
    };
    for first in (0..all_records / batch).map(|number| number * batch) {
        let record = |n: i64| Record::new(0, START_MS + n, n.to_string(), value(n));
        let records: Vec<Record> = (first..first + batch).map(record).collect();
        assert_eq!(witness.produce_batch(topic, 0, "zstd", &records).unwrap(), first);
    }
}

#[test]
fn a_batch_that_cannot_be_read_is_named_once_by_a_restore_that_was_killed_behind_it() {
    const BATCH: i64 = 100;
    const ALL_RECORDS: i64 = 3_000;
    // Its own: it is stopped while its disk is changed.
    let kafka = Kafka::start(KafkaOptions::default()).unwrap();
    let (bootstrap, witness, topic) = (kafka.bootstrap(Listener::Plain), kafka.witness(), unique("spoiled"));
    witness.create_topics(&[NewTopic::new(&topic, 1).with("retention.ms", -1)]).unwrap();
    produce_several_runs(&witness, &topic, BATCH, ALL_RECORDS);
    kafka.stop_node(1).unwrap();
    spoil_batch(&kafka, &topic, 5 * BATCH);
    kafka.start_node(1).unwrap();
    let (repository, cluster) = (Repository::folder().unwrap(), ["--bootstrap-servers", &bootstrap, "--archive", "a"]);
    let small = ["backup", "--topics", &topic, "--segment-bytes-max", "1048576"];
    assert_eq!(repository.report(&[&small[..], &cluster].concat())["records"], ALL_RECORDS);

    let target = format!("{topic}-resumed");
    let mapping = format!("--topic-mapping={topic}={target}");
    // Every batch has to be changed.
    let restore = ["restore", &mapping, "--original-offset-header", "source-offset"];
    let restore = [&restore[..], &cluster].concat();
    let mut running = repository.start(&[&restore[..], &["--rate-limit-bytes", "300000"]].concat()).unwrap();
    let end = || witness.offsets(&target, At::Latest).map_or(0, |ends| ends[0]);
    running.wait_until("more than the first run has landed", || end() > ALL_RECORDS / 2);
    running.kill().unwrap();
    assert!(end() < ALL_RECORDS - BATCH, "it was killed too late");

    let ended = repository.run(&restore).unwrap();
    assert_eq!(ended.code, Some(7), "{ended:?}");
    let report = ended.json().unwrap();
    assert_eq!(report["records"], ALL_RECORDS - BATCH, "{report}");
    let [problem] = report["problems"].as_array().unwrap().as_slice() else { panic!("once: {report}") };
    let named = format!(
        "{target}-0: up to {BATCH} records are not there: the record batch at offset {} of {topic}-0",
        5 * BATCH
    );
    assert!(problem.as_str().unwrap().starts_with(&named), "{problem}");
    let folder = tempfile::tempdir().unwrap();
    witness.dump(&target, folder.path()).unwrap();
    let keys: Vec<_> = dump::read_all(folder.path()).unwrap().into_iter().filter_map(|record| record.key).collect();
    let expected = (0..5 * BATCH).chain(6 * BATCH..ALL_RECORDS).map(|n| n.to_string().into_bytes());
    assert_eq!(keys, expected.collect::<Vec<_>>());
}

/// A segment with the run of a backup's only partition that begins at offset 0, the run's bytes in it, and how many records the run has.
fn first_run(repository: &Repository<'_>) -> (PathBuf, Range<usize>, u64) {
    let objects = repository.objects().unwrap().into_iter();
    let mut segments = objects.filter(|path| path.to_str().is_some_and(|path| path.contains("/segments/")));
    let first_of = |path: PathBuf| {
        let bytes = fs::read(&path).unwrap();
        let footer = Footer::parse(&bytes, bytes.len() as u64).unwrap();
        let at = |position: u64| usize::try_from(position).unwrap();
        let index = &bytes[at(footer.index_position)..at(footer.index_position + footer.index_bytes)];
        let runs = open_index(index, None).unwrap().runs.into_iter();
        let first = runs.map(|indexed| indexed.run).find(|run| run.start_offset == 0)?;
        let range = first.byte_range();
        Some((path, at(range.start)..at(range.end), first.content.records))
    };
    segments.find_map(first_of).unwrap()
}

#[test]
fn what_has_landed_of_a_restore_is_not_read_again() {
    const ALL_RECORDS: i64 = 3_000;
    let kafka = Kafka::shared(Shared::Plain);
    let (bootstrap, witness, topic) = (kafka.bootstrap(Listener::Plain), kafka.witness(), unique("landed"));
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    produce_several_runs(&witness, &topic, 100, ALL_RECORDS);
    let (repository, cluster) = (Repository::folder().unwrap(), ["--bootstrap-servers", &bootstrap, "--archive", "a"]);
    let small = ["backup", "--topics", &topic, "--segment-bytes-max", "1048576"];
    assert_eq!(repository.report(&[&small[..], &cluster].concat())["records"], ALL_RECORDS);
    let (segment, range, records) = first_run(&repository);

    let (target, other) = (unique("landed-back"), unique("unread"));
    let [mapping, to_other] = [&target, &other].map(|target| format!("--topic-mapping={topic}={target}"));
    let restore = [&["restore", &mapping][..], &cluster].concat();
    let mut running = repository.start(&[&restore[..], &["--rate-limit-bytes", "300000"]].concat()).unwrap();
    let end = || witness.offsets(&target, At::Latest).map_or(0, |ends| ends[0]);
    running.wait_until("the first run has landed", || end().unsigned_abs() > records);
    running.kill().unwrap();
    assert!(end() < ALL_RECORDS, "it was killed too late");

    let mut bytes = fs::read(&segment).unwrap();
    bytes[range].fill(0);
    fs::remove_file(&segment).unwrap();
    fs::write(&segment, bytes).unwrap();
    let ended = repository.run(&[&["restore", &to_other][..], &cluster].concat()).unwrap();
    assert_eq!(ended.code, Some(5), "a restore that reads the run notices: {ended:?}");
    assert_eq!(repository.report(&restore)["records"], ALL_RECORDS);
    let folder = tempfile::tempdir().unwrap();
    let dumps = [&topic, &target].map(|topic| {
        let folder = folder.path().join(topic);
        witness.dump(topic, &folder).unwrap();
        folder
    });
    let compared = compare::dumps(&dumps[0], &dumps[1], Rules::RESTORED).unwrap();
    assert_eq!(compared.records, ALL_RECORDS.unsigned_abs());
}

#[test]
fn a_batch_that_takes_more_memory_than_is_allowed_ends_a_restore_that_has_to_change_it_and_is_not_left_out() {
    const BYTES_MAX: usize = 1 << 20;
    let kafka = Kafka::shared(Shared::Plain);
    let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
    let (topic, target) = (unique("inflated"), unique("inflated-back"));
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    // The broker has some hundred bytes of each batch.
    for (first, value_bytes) in [(0, 50), (10, BYTES_MAX / 5), (20, 50)] {
        let record = |n: i64| Record::new(0, START_MS + n, n.to_string(), vec![b'v'; value_bytes]);
        let records: Vec<Record> = (first..first + 10).map(record).collect();
        assert_eq!(witness.produce_batch(&topic, 0, "zstd", &records).unwrap(), first);
    }
    let (repository, cluster) = (Repository::folder().unwrap(), ["--bootstrap-servers", &bootstrap, "--archive", "a"]);
    assert_eq!(repository.report(&[&["backup", "--topics", &topic][..], &cluster].concat())["records"], 30);

    let mapping = format!("--topic-mapping={topic}={target}");
    let restore = ["restore", &mapping, "--original-offset-header", "source-offset"];
    let (restore, bytes_max) = ([&restore[..], &cluster].concat(), BYTES_MAX.to_string());
    let ended = repository.run(&[&restore[..], &["--decompressed-batch-bytes-max", &bytes_max]].concat()).unwrap();
    assert_eq!(ended.code, Some(2), "{ended:?}");
    let place = format!("topic {target:?} partition 0: the record batch at offset 10 of the source cannot be read");
    let advice = format!("more than {bytes_max} bytes decompressed: raise --decompressed-batch-bytes-max");
    assert!(ended.stderr.contains(&place) && ended.stderr.contains(&advice), "{ended:?}");
    let end = || witness.offsets(&target, At::Latest).unwrap()[0];
    assert!(end() <= 10, "what comes behind the batch is not written without it: {ended:?}");
    let report = repository.report(&restore);
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &30.into()), "{report}");
    assert_eq!(end(), 30);
}
