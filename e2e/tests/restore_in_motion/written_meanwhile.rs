//! Somebody else writes to a topic, or has created it again, between the plan of a restore and its first record.

use e2e::dump::Record;
use e2e::kafka::Kafka;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, NewTopic, Witness, properties};

use crate::hiding_proxy::shared;
use crate::{BackedUp, CONFLICT, OLD_MS, replace};

const LIST_OFFSETS: i16 = 2;
const OVERWRITE: [&str; 2] = ["--existing-topics", "overwrite"];
const RECORDS: u64 = 60;

/// Two topics and a backup of both. A restore that overwrites them replaces the first alone, and looks whether it is empty, before it
/// deletes the second.
fn two(kafka: &Kafka) -> (BackedUp<'_>, String) {
    let [first, second] = ["first", "second"].map(|stem| Sample::write(&kafka.witness(), stem, RECORDS).unwrap());
    (BackedUp::of(kafka, first, &["--topics", &second.topic]), second.topic)
}

/// Writes one record, as a producer that does not know of the restore.
fn write(witness: &Witness, topic: &str) {
    witness.produce(topic, &properties([]), &[Record::new(0, OLD_MS, "mine", "mine")]).unwrap();
}

/// Records of all partitions.
fn records(witness: &Witness, topic: &str) -> i64 {
    witness.offsets(topic, At::Latest).unwrap().iter().sum()
}

/// What a restore says of a topic that it has just created and somebody else has written to.
fn not_new(topic: &str) -> String {
    format!("topic {topic:?} was just created by this restore, and somebody else has written to it")
}

#[test]
fn a_topic_that_somebody_else_writes_to_before_the_first_record_is_refused_and_gets_none() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (backed_up, witness) = (BackedUp::new(kafka, "written", RECORDS), kafka.witness());
    for is_there in [false, true] {
        let target = unique("written-target");
        if is_there {
            witness.create_topics(&[NewTopic::new(&target, Sample::PARTITIONS)]).unwrap();
        }
        // The topic is there, and the run is about to see where its partitions end.
        let running = proxy.start_and_hold(LIST_OFFSETS, || backed_up.start(&target, &[]));
        write(&witness, &target);
        proxy.hold(None);
        let ended = running.ended().unwrap();
        assert_eq!(ended.code, Some(CONFLICT), "{is_there}: {ended:?}");
        let error = match is_there {
            true => format!("topic {target:?} was empty and was just written to by somebody else"),
            false => not_new(&target),
        };
        assert!(ended.stderr.contains(&error), "{is_there}: {ended:?}");
        assert_eq!(records(&witness, &target), 1, "{is_there}: {ended:?}");
    }
}

#[test]
fn a_producer_that_writes_to_the_first_topic_that_is_replaced_costs_no_other_topic() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let ((backed_up, second), witness) = (two(kafka), kafka.witness());
    let (first, before) = (&backed_up.sample.topic, witness.describe_topic(&second).unwrap());
    let running = proxy.start_and_hold(LIST_OFFSETS, || backed_up.start(first, &OVERWRITE));
    write(&witness, first);
    proxy.hold(None);
    let ended = running.ended().unwrap();
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains(&not_new(first)), "{ended:?}");
    assert!(ended.stderr.contains(&format!("1 ({second}) are untouched")), "{ended:?}");
    assert_eq!(records(&witness, first), 1, "{ended:?}");
    assert_eq!(witness.describe_topic(&second).unwrap(), before, "{ended:?}");
    assert_eq!(records(&witness, &second).unsigned_abs(), RECORDS, "{ended:?}");
}

#[test]
fn a_topic_that_its_owner_creates_again_after_the_plan_is_not_deleted_in_the_place_of_the_one_of_the_plan() {
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let ((backed_up, second), witness) = (two(kafka), kafka.witness());
    let (first, before) = (&backed_up.sample.topic, witness.describe_topic(&second).unwrap());
    let running = proxy.start_and_hold(LIST_OFFSETS, || backed_up.start(first, &OVERWRITE));
    // Its owner asks for offsets as well, so that the run has to wait otherwise.
    running.signal("STOP").unwrap();
    assert_eq!(witness.describe_topic(&second).unwrap(), before, "the restore has replaced it already");
    proxy.hold(None);
    replace(&witness, &NewTopic::new(&second, Sample::PARTITIONS).with("segment.ms", 604_800_000));
    write(&witness, &second);
    let owned = witness.describe_topic(&second).unwrap();
    running.signal("CONT").unwrap();
    let ended = running.ended().unwrap();
    assert_eq!(witness.describe_topic(&second).unwrap(), owned, "{ended:?}");
    assert_eq!(records(&witness, &second), 1, "{ended:?}");
    assert_eq!(ended.code, Some(CONFLICT), "{ended:?}");
    assert!(ended.stderr.contains(&not_new(&second)), "{ended:?}");
}
