//! The hostile log is what it says, and clients that are not ours agree on it.

use e2e::compare::{self, Rules};
use e2e::dump;
use e2e::hostile::{self, Trait};
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::witness::{At, Isolation};
use e2e::{librdkafka, rskafka};

#[test]
fn the_hostile_log_is_hostile_and_read_alike_by_other_clients() {
    let kafka = Kafka::shared(Shared::Plain);
    let witness = kafka.witness();
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let log = hostile::write(kafka, 1).unwrap();

    let folder = tempfile::tempdir().unwrap();
    for topic in &log.topics {
        let by_java = folder.path().join("java").join(&topic.name);
        let consumed = witness.dump(&topic.name, &by_java).unwrap();
        assert_eq!(consumed.len(), topic.partitions.unsigned_abs() as usize, "{topic:?}");
        if topic.hostility.has_text_header_keys() {
            let by_c = folder.path().join("librdkafka").join(&topic.name);
            librdkafka::dump(&bootstrap, &topic.name, &by_c).unwrap();
            compare::dumps(&by_java, &by_c, Rules::IDENTICAL).unwrap_or_else(|error| panic!("{topic:?}: {error}"));
        }
    }
    let dump_of = |hostility| {
        let topic = &log.topic(hostility).name;
        dump::read_all(&folder.path().join("java").join(topic)).unwrap()
    };

    let by_rskafka = folder.path().join("rskafka");
    rskafka::dump(&bootstrap, &log.topic(Trait::Rskafka).name, &by_rskafka).unwrap();
    let by_java = folder.path().join("java").join(&log.topic(Trait::Rskafka).name);
    let compared = compare::dumps(&by_java, &by_rskafka, Rules::IDENTICAL).unwrap();
    assert_eq!((compared.partitions, compared.records), (5, 1200));

    let is_repeated = |record: &dump::Record| record.headers.windows(2).any(|pair| pair[0].0 == pair[1].0);
    let oddities = dump_of(Trait::Oddities);
    assert!(oddities.iter().any(is_repeated));
    assert!(oddities.iter().any(|record| record.headers.iter().any(|(key, _)| std::str::from_utf8(key).is_err())));
    assert!(oddities.iter().any(|record| record.value.is_none()));
    assert!(oddities.iter().any(|record| record.value == Some(Vec::new())));

    let times = dump_of(Trait::Times);
    assert!(times.windows(2).any(|pair| pair[0].timestamp_ms - pair[1].timestamp_ms > 100 * 86_400_000));
    assert!(
        times.iter().any(|record| record.timestamp_ms == -1) && times.iter().any(|record| record.timestamp_ms == 0)
    );
    assert!(dump_of(Trait::AppendTime).iter().all(|record| record.is_append_time));

    let transactions = &log.topic(Trait::Transactions).name;
    let stable = witness.offsets(transactions, At::Stable).unwrap();
    assert!(stable[1] < witness.offsets(transactions, At::Latest).unwrap()[1], "a transaction is open");
    let seen: u64 = witness.digest(transactions, Isolation::Uncommitted).unwrap().iter().map(|read| read.records).sum();
    assert!(seen > dump_of(Trait::Transactions).len() as u64 + 10, "transactions were aborted");
    assert!(dump_of(Trait::Transactions).len() > 50, "transactions were committed");

    let compacted = &log.topic(Trait::Compacted).name;
    assert!(hostile::batches_without_records(kafka, 1, compacted).unwrap() >= 3, "one a partition");
    let holes = dump_of(Trait::Compacted).windows(2).filter(|pair| pair[1].offset > pair[0].offset + 1).count();
    assert!(holes > 10, "{holes} holes");

    let truncated = &log.topic(Trait::Truncated).name;
    assert_eq!(witness.offsets(truncated, At::Earliest).unwrap(), [37, 100]);
    assert!(dump_of(Trait::LargeRecords).iter().all(|record| record.value.as_ref().unwrap().len() == 900 * 1024));

    let positions = log.random_positions(&witness, 5, 300).unwrap();
    assert_eq!(positions.len(), 300);
    let next = witness.next_records(&positions).unwrap();
    assert!(next.iter().flatten().count() > 100);
    for (position, next) in positions.iter().zip(&next) {
        assert!(next.as_ref().is_none_or(|record| record.offset >= position.offset), "{position:?} {next:?}");
    }
    log.open_transaction.abort().unwrap();
}
