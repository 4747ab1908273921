//! Which backup of an archive is restored, and what the report says of the choice.

use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::NewTopic;
use kafka_backup::clock;

use crate::hiding_proxy::shared;
use crate::{BackedUp, PARTIAL, replace};

const FETCH: i16 = 1;

#[test]
fn a_newer_backup_that_is_partial_and_an_older_one_that_cannot_be_read_are_named_and_stop_nothing() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (witness, target) = (kafka.witness(), unique("chosen-target"));
    let [sample, lost] = ["chosen", "lost"].map(|stem| Sample::write(&witness, stem, 60).unwrap());
    let backed_up = BackedUp::of(kafka, sample, &["--backup-id", "old"]);
    backed_up.start_backup(&["--backup-id", "whole"]).ended().unwrap().succeeded();
    let between = clock::utc(clock::now_ms());
    // A topic that was replaced after the cut, and before it was read, is missing.
    proxy.hold(Some(FETCH));
    let mut running = backed_up.start_backup(&["--backup-id", "part", "--topics", &lost.topic]);
    running.wait_until("the cut is taken, and nothing is read", || proxy.holds_one());
    replace(&witness, &NewTopic::new(&lost.topic, Sample::PARTITIONS));
    proxy.hold(None);
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(PARTIAL), "{ended:?}");
    std::fs::write(backed_up.repository.path().join("archives/a/backups/old/manifest"), "no manifest").unwrap();

    // To the newest, to a time that only the partial one reaches, and not only as a plan.
    let at_a_time = ["--dry-run", "--point-in-time", &between];
    for more in [&["--dry-run"][..], &at_a_time, &[]] {
        let report = backed_up.restore(&target, more).succeeded().json().unwrap();
        assert_eq!(report["backupId"], "whole", "{more:?}: {report}");
        let warnings = report["warnings"].as_array().unwrap().iter().filter_map(|warning| warning.as_str());
        let is_named = |begins: &str, contains: &str| {
            warnings.clone().any(|warning| warning.starts_with(begins) && warning.contains(contains))
        };
        assert!(is_named("backup part, cut at ", "was not chosen since it is partial"), "{more:?}: {report}");
        assert!(is_named("backup old cannot be read: ", "backups/old/manifest"), "{more:?}: {report}");
        let is_short = is_named("no completed backup reaches ", &between);
        assert_eq!(is_short, more.contains(&"--point-in-time"), "{more:?}: {report}");
    }
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}
