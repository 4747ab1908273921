//! Records that expire between the cut and their reading.

use e2e::cli::Cli;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::witness::{At, Isolation, Position};

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
