//! Thousands of partitions with little data each: a backup writes objects in proportion to bytes, not to partitions.

use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::runs::Repository;
use e2e::witness::{NewTopic, properties};

const TOPICS: usize = 15;
const PARTITIONS: i32 = 200;

#[test]
fn three_thousand_partitions_make_a_handful_of_objects() {
    let kafka = Kafka::start(KafkaOptions { heap_mb: 1024, ..KafkaOptions::default() }).unwrap();
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let topics: Vec<String> = (0..TOPICS).map(|number| format!("many-{number}")).collect();
    for topic in &topics {
        witness.create_topics(&[NewTopic::new(topic, PARTITIONS)]).unwrap();
        // Every tenth partition stays empty.
        let records: Vec<Record> = (0..PARTITIONS)
            .filter(|partition| partition % 10 != 0)
            .flat_map(|partition| {
                (0..3).map(move |n| Record::new(partition, 1_700_000_000_000 + n, "key", vec![b'v'; 100]))
            })
            .collect();
        witness.produce(topic, &properties([("linger.ms", "20")]), &records).unwrap();
    }

    let repository = Repository::folder().unwrap();
    let report =
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--parallelism", "4"]);
    assert_eq!(report["outcome"], "completed", "{report}");
    assert_eq!(report["partitions"], TOPICS * PARTITIONS.unsigned_abs() as usize);
    assert_eq!(report["records"], TOPICS * 180 * 3);
    let objects = repository.objects().unwrap();
    let segments = objects.iter().filter(|path| path.components().any(|part| part.as_os_str() == "segments")).count();
    assert!(segments <= 4, "one segment a worker, not {segments}");
    assert!(objects.len() <= 12, "{objects:?}");
    repository.report(&["verify", "--archive", "a", "--level", "records"]);

    let mut restore = vec!["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", "many-1|many-2"];
    restore.extend(["--topic-mapping", "many-1=back-1", "--topic-mapping", "many-2=back-2"]);
    assert_eq!(repository.report(&restore)["records"], 2 * 180 * 3);
    for (source, target) in [("many-1", "back-1"), ("many-2", "back-2")] {
        let digests = |topic: &str| -> Vec<String> {
            let read = witness.digest(topic, e2e::witness::Isolation::Committed).unwrap();
            read.into_iter().map(|partition| partition.digest).collect()
        };
        assert_eq!(digests(source), digests(target));
    }
}
