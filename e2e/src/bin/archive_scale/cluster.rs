//! A broker whose topics and groups have the shape of the synthetic backups.

use anyhow::Result;
use e2e::dump::Record;
use e2e::kafka::Kafka;
use e2e::witness::{Commit, NewTopic, Position, properties};

use super::{OFFSETS_OF_A_GROUP, Options, PARTITIONS_OF_A_TOPIC, group_name, topic_name};

/// Creates the topics, with one record a partition, and the groups.
pub fn fill(kafka: &Kafka, options: &Options) -> Result<()> {
    let witness = kafka.witness();
    for number in 0..options.partitions.div_ceil(PARTITIONS_OF_A_TOPIC) {
        let topic = topic_name(number);
        let partitions = i32::try_from(PARTITIONS_OF_A_TOPIC.min(options.partitions - number * PARTITIONS_OF_A_TOPIC))?;
        witness.create_topics(&[NewTopic::new(&topic, partitions)])?;
        let records: Vec<Record> = (0..partitions)
            .map(|partition| Record::new(partition, 1_700_000_000_000, "key", vec![b'v'; 100]))
            .collect();
        witness.produce(&topic, &properties([("linger.ms", "20")]), &records)?;
    }
    let topic = topic_name(0);
    let offsets = 0..i32::try_from(OFFSETS_OF_A_GROUP.min(options.partitions))?;
    let commits: Vec<Commit> =
        offsets.map(|partition| Position { topic: topic.clone(), partition, offset: 1 }.into()).collect();
    for number in 0..options.groups {
        witness.commit_offsets(&group_name(number), &commits)?;
    }
    Ok(())
}
