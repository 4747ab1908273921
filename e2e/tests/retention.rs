//! Records that expire between the cut and their reading, and a target that lets nothing be kept for long.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use e2e::cli::Cli;
use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, Isolation, NewTopic, Position, properties};

const RECORDS: u64 = 60_000;

#[test]
fn records_that_expire_during_a_backup_are_a_warning_and_the_backup_completes() {
    let kafka = Kafka::shared(Shared::Plain);
    let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
    let sample = Sample::write(&witness, "expiring", RECORDS).unwrap();
    let repository = Repository::folder().unwrap();
    let mut backup =
        ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &sample.topic].to_vec();
    backup.extend(["--rate-limit-bytes=4000000", "--parallelism=1"]);
    let mut running = repository.start(&backup).unwrap();
    let is_cut = || repository.objects().unwrap().iter().any(|path| path.ends_with("cut"));
    running.wait_until("the cut is taken", is_cut);
    // Partitions are read one after the other: the last ones have not had their turn.
    let ends = witness.offsets(&sample.topic, At::Latest).unwrap();
    let before = (0..).zip(&ends).map(|(partition, end)| Position::new(&sample.topic, partition, end - 100));
    witness.delete_records(&before.collect::<Vec<_>>()).unwrap();

    let ended = running.ended().unwrap().succeeded();
    let report = ended.json().unwrap();
    assert_eq!((&report["outcome"], &report["holes"]["deleted"]), (&"completed".into(), &0.into()), "{report}");
    let expired = report["holes"]["expired"].as_u64().unwrap();
    assert!(expired > 0, "{report}");
    // A batch into which the log start moved is stored whole: its first records are counted twice here.
    let records = report["records"].as_u64().unwrap();
    assert!(records < RECORDS && records + expired >= RECORDS, "{report}");
    let warnings = report["warnings"].to_string();
    assert!(warnings.contains("expired between the cut and their reading"), "{warnings}");
    repository.report(&["verify", "--archive", "a", "--level", "records"]);

    // The log start lies inside batches: what they hold before it had been deleted, and does not come back.
    let target = format!("{}-back", sample.topic);
    let mapping = format!("--topic-mapping={}={target}", sample.topic);
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", &mapping];
    assert_eq!(repository.report(&restore)["outcome"], "completed");
    let id = report["backupId"].as_str().unwrap();
    let cat = Cli::new(["cat", "--storage", &repository.url(), "--backup", id, "--topic", &sample.topic]).unwrap();
    let shown = cat.run().unwrap().succeeded().stdout.lines().count() as u64;
    assert_eq!(shown + expired, RECORDS);
    let found = witness.digest(&target, Isolation::Committed).unwrap();
    assert_eq!(found.iter().map(|partition| partition.records).sum::<u64>(), shown);
}

const DAY_MS: i64 = 24 * 3_600_000;

#[test]
fn a_target_that_limits_retention_is_restored_to_with_the_risk_stated_also_into_a_topic_made_by_hand() {
    let (source, target) = (Kafka::shared(Shared::Plain), limited());
    let (from, to) = (source.bootstrap(Listener::Plain), target.bootstrap(Listener::Plain));
    let now_ms = i64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_millis()).unwrap();
    let repository = Repository::folder().unwrap();
    for (stem, age_ms, is_restored) in [("young", 60_000, true), ("old", 20 * DAY_MS, false)] {
        // More than the target allows.
        let topic = unique(stem);
        let settings = NewTopic::new(&topic, 1).with("retention.ms", 30 * DAY_MS);
        source.witness().create_topics(&[settings]).unwrap();
        let records: Vec<Record> = (0..100).map(|n| Record::new(0, now_ms - age_ms + n, n.to_string(), "v")).collect();
        source.witness().produce(&topic, &properties([]), &records).unwrap();
        repository.report(&["backup", "--bootstrap-servers", &from, "--archive", stem, "--topics", &topic]);

        let witness = target.witness();
        let (created, by_hand) = (format!("{topic}-created"), format!("{topic}-by-hand"));
        witness.create_topics(&[NewTopic::new(&by_hand, 1).with("retention.ms", DAY_MS)]).unwrap();
        for (name, own) in [(&created, None), (&by_hand, Some(DAY_MS.to_string()))] {
            let mapping = format!("--topic-mapping={topic}={name}");
            let restore = ["restore", "--bootstrap-servers", &to, "--archive", stem, &mapping];
            for more in [&["--dry-run"][..], &[]] {
                let ended = repository.run(&[&restore[..], more].concat()).unwrap();
                let said = format!("{}{}", ended.stdout, ended.stderr);
                assert!(
                    said.contains("retention.ms cannot be set while the restore runs"),
                    "{name} {more:?}: {ended:?}"
                );
                match is_restored {
                    true => assert_eq!(ended.code, Some(0), "{name} {more:?}: {ended:?}"),
                    false => assert!(
                        ended.code != Some(0) && said.contains("give a startTime"),
                        "{name} {more:?}: {ended:?}"
                    ),
                }
            }
            let Ok(found) = witness.describe_topic(name) else {
                assert!(!is_restored && own.is_none(), "{name} is not there");
                continue;
            };
            assert_eq!(found.configs.get("retention.ms"), own.as_ref(), "{name}");
            assert_eq!(witness.offsets(name, At::Latest).unwrap(), [if is_restored { 100 } else { 0 }], "{name}");
        }
    }
}

/// A cluster that keeps records for seven days, and whose policies allow no topic to keep them longer. It does not look for expired ones here.
fn limited() -> Kafka {
    let properties = [
        ("log.retention.ms", "604800000"),
        ("log.initial.task.delay.ms", "3600000"),
        ("log.retention.check.interval.ms", "3600000"),
    ];
    let extra_properties = properties.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Kafka::start(KafkaOptions { limits_retention: true, extra_properties, ..KafkaOptions::default() }).unwrap()
}
