//! A run of a restore that was frozen, and that another run has replaced meanwhile.

use e2e::dump::Record;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{NewTopic, properties};

use crate::hiding_proxy::shared;
use crate::{BackedUp, CONFLICT, OLD_MS, take_over};

const LIST_OFFSETS: i16 = 2;

#[test]
fn a_run_that_was_frozen_takes_the_records_of_its_successor_for_no_foreign_ones() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (backed_up, witness) = (BackedUp::new(kafka, "frozen", 60), kafka.witness());
    let record = [Record::new(0, OLD_MS, "k", "v")];
    // A topic that is overwritten is looked at as soon as it is created again, and one that is only created is with all others.
    for policy in ["fail", "overwrite"] {
        let target = unique("frozen-target");
        if policy == "overwrite" {
            witness.create_topics(&[NewTopic::new(&target, Sample::PARTITIONS)]).unwrap();
            witness.produce(&target, &properties([]), &record).unwrap();
        }
        let command = backed_up.command(&target, &["--existing-topics", policy, "--restore-id", policy]);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        // The topic is created, and the run is about to see that it is empty.
        let running = proxy.start_and_hold(LIST_OFFSETS, || backed_up.repository.start(&command).unwrap());
        running.signal("STOP").unwrap();
        take_over(&backed_up.repository.path().join("archives/a/restores").join(policy).join("lease"));
        witness.produce(&target, &properties([]), &record).unwrap();
        proxy.hold(None);
        running.signal("CONT").unwrap();
        let ended = running.ended().unwrap();
        assert_eq!(ended.code, Some(CONFLICT), "{policy}: {ended:?}");
        assert!(ended.stderr.contains("another process has taken over"), "{policy}: {ended:?}");
        assert!(!ended.stderr.contains("somebody else has written to it"), "{policy}: {ended:?}");
    }
}
