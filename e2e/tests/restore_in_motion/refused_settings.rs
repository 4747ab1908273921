//! A cluster that does not let a protective setting be set: that is known before the first record, and before a topic is deleted.

use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Shared};
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, NewTopic, Witness, properties};

use crate::{BackedUp, CONFLICT, OLD_MS, own_configs};

/// A broker that lets no topic have a value of its own for this setting, and has this value for all.
fn insisting(setting: &str, default: (&str, &str)) -> Kafka {
    let own = [
        ("create.topic.policy.class.name", "RefusedNames$OfSettings"),
        ("alter.config.policy.class.name", "RefusedNames$OfSettings"),
        ("e2e.refused.settings", setting),
        default,
    ];
    let extra_properties = own.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Kafka::start(KafkaOptions { extra_properties, ..KafkaOptions::default() }).unwrap()
}

/// A topic with one record.
fn live_topic(witness: &Witness) -> String {
    let topic = unique("live");
    witness.create_topics(&[NewTopic::new(&topic, Sample::PARTITIONS)]).unwrap();
    witness.produce(&topic, &properties([]), &[Record::new(0, OLD_MS, "mine", "mine")]).unwrap();
    topic
}

#[test]
fn a_compression_type_that_cannot_be_set_is_named_before_the_restore_and_costs_no_record() {
    let kafka = insisting("compression.type", ("compression.type", "gzip"));
    let (backed_up, witness) = (BackedUp::new(&kafka, "squeezed", 600), kafka.witness());
    let (created, used, overwritten) = (unique("created"), unique("used"), live_topic(&witness));
    witness.create_topics(&[NewTopic::new(&used, Sample::PARTITIONS)]).unwrap();
    for (target, policy) in [(&created, "fail"), (&used, "append"), (&overwritten, "overwrite")] {
        let before = witness.describe_topic(target).ok();
        let planned = backed_up.restore(target, &["--existing-topics", policy, "--dry-run"]).succeeded();
        assert_eq!(witness.describe_topic(target).ok(), before, "{policy}: {planned:?}");
        let restored = backed_up.restore(target, &["--existing-topics", policy]).succeeded();
        for ended in [planned, restored] {
            let warnings = ended.json().unwrap()["warnings"].to_string();
            assert!(warnings.contains("compression.type cannot be set while the restore runs"), "{policy}: {ended:?}");
            assert!(warnings.contains("it is gzip: brokers may compress the batches again"), "{policy}: {ended:?}");
        }
        backed_up.sample.came_back_as(&witness, target).unwrap();
        assert!(own_configs(&witness, target).is_empty(), "{policy}: {:?}", own_configs(&witness, target));
    }
}

#[test]
fn nothing_is_deleted_or_written_where_every_record_would_get_the_time_of_the_restore() {
    let kafka = insisting("message.timestamp.type", ("log.message.timestamp.type", "LogAppendTime"));
    let backed_up = BackedUp { kafka: &kafka, ..BackedUp::new(Kafka::shared(Shared::Plain), "stamped", 600) };
    let witness = kafka.witness();
    let (created, live) = (unique("created"), live_topic(&witness));
    for (target, policy) in [(&created, "fail"), (&live, "append"), (&live, "overwrite")] {
        let before = witness.describe_topic(target).ok();
        for more in [&["--dry-run"][..], &[]] {
            let ended = backed_up.restore(target, &[&["--existing-topics", policy][..], more].concat());
            assert_eq!(ended.code, Some(CONFLICT), "{policy} {more:?}: {ended:?}");
            let said = format!("{}{}", ended.stdout, ended.stderr);
            for part in ["message.timestamp.type cannot be set", "every record would get the time of the restore"] {
                assert!(said.contains(part), "{policy} {more:?}: {ended:?}");
            }
            assert_eq!(witness.describe_topic(target).ok(), before, "{policy} {more:?}: {ended:?}");
        }
    }
    assert_eq!(witness.offsets(&live, At::Latest).unwrap().iter().sum::<i64>(), 1, "nothing was written");
}
