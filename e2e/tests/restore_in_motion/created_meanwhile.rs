//! An application creates a topic between the plan of a restore and the creation of the topic.

use e2e::compare::{self, Rules};
use e2e::dump::Record;
use e2e::kafka::Listener;
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{At, NewTopic, Position, properties};

use crate::hiding_proxy::behind_a_proxy_with;
use crate::{CONFLICT, OLD_MS, own_configs};

const CREATE_TOPICS: i16 = 19;
/// Partitions of the topics that applications create.
const PARTITIONS: i32 = 6;

#[test]
fn a_topic_that_an_application_creates_after_the_plan_gets_all_records_and_archived_settings_or_is_refused() {
    let partitions = PARTITIONS.to_string();
    let (proxy, kafka) =
        behind_a_proxy_with(&[("auto.create.topics.enable", "true"), ("num.partitions", partitions.as_str())]);
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::Plain));
    for (partitions, code) in [(PARTITIONS, 0), (2, CONFLICT)] {
        let (source, target) = (unique("source"), unique("created"));
        witness.create_topics(&[NewTopic::new(&source, partitions).with("min.cleanable.dirty.ratio", "0.3")]).unwrap();
        let record = |n: i32| Record::new(n % partitions, OLD_MS + i64::from(n), n.to_string(), "v");
        witness.produce(&source, &properties([]), &(0..600).map(record).collect::<Vec<_>>()).unwrap();
        let repository = Repository::folder().unwrap();
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &source]);

        let mapping = format!("{source}={target}");
        let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping];
        let running = proxy.start_and_hold(CREATE_TOPICS, || repository.start(&restore).unwrap());
        assert!(witness.describe_topic(&target).is_err(), "the restore has created it already");
        // The broker creates a topic that a consumer asks for.
        assert!(witness.next_records(&[Position::new(&target, 0, 0)]).unwrap()[0].is_none());
        witness.alter_topic(&target, &properties([("retention.ms", "1000")]), &[]).unwrap();
        proxy.hold(None);
        let ended = running.ended().unwrap();
        assert!(ended.stderr.contains("the topic was created by another client"), "{ended:?}");
        assert_eq!(ended.code, Some(code), "{ended:?}");
        if code == 0 {
            let folder = tempfile::tempdir().unwrap();
            let dumps = [&source, &target].map(|topic| folder.path().join(topic));
            witness.dump(&source, &dumps[0]).unwrap();
            witness.dump(&target, &dumps[1]).unwrap();
            assert_eq!(compare::dumps(&dumps[0], &dumps[1], Rules::RESTORED).unwrap().records, 600);
            assert_eq!(own_configs(&witness, &target), own_configs(&witness, &source), "{ended:?}");
        } else {
            let error = format!("topic {target:?} has {PARTITIONS} partitions instead of {partitions}");
            assert!(ended.stderr.contains(&error), "{ended:?}");
            assert_eq!(witness.offsets(&target, At::Latest).unwrap(), vec![0; 6], "{ended:?}");
            assert_eq!(own_configs(&witness, &target), properties([("retention.ms", "1000")]), "{ended:?}");
        }
    }
}
