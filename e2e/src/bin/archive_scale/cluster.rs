//! A broker whose topics and groups have the shape of the synthetic backups.

use anyhow::Result;
use e2e::dump::Record;
use e2e::kafka::Kafka;
use e2e::witness::{Commit, NewTopic, Position, properties};

use super::{OFFSETS_OF_A_GROUP, Options, PARTITIONS_OF_A_TOPIC, group_name, topic_name};

/// Creates the topics, with one record a partition before this point in time and one behind it, and the groups.
pub fn fill(kafka: &Kafka, options: &Options, point_in_time_ms: i64) -> Result<()> {
    let witness = kafka.witness();
    for number in 0..options.partitions.div_ceil(PARTITIONS_OF_A_TOPIC) {
        let topic = topic_name(number);
        let partitions = i32::try_from(partitions_of(number, options.partitions))?;
        witness.create_topics(&[NewTopic::new(&topic, partitions)])?;
        let records: Vec<Record> = [point_in_time_ms, point_in_time_ms + 1]
            .into_iter()
            .flat_map(|at_ms| {
                (0..partitions).map(move |partition| Record::new(partition, at_ms, "key", vec![b'v'; 100]))
            })
            .collect();
        witness.produce(&topic, &properties([("linger.ms", "20")]), &records)?;
    }
    let topic = topic_name(0);
    let offsets = 0..i32::try_from(offsets_of_a_group(options.partitions))?;
    let commits: Vec<Commit> =
        offsets.map(|partition| Position { topic: topic.clone(), partition, offset: 1 }.into()).collect();
    for number in 0..options.groups {
        witness.commit_offsets(&group_name(number), &commits)?;
    }
    Ok(())
}

/// How many partitions the topic of this number has, where all topics together have so many.
pub fn partitions_of(number: usize, all: usize) -> usize {
    PARTITIONS_OF_A_TOPIC.min(all - number * PARTITIONS_OF_A_TOPIC)
}

/// How many offsets each group has committed, all of them in the first topic.
pub fn offsets_of_a_group(all: usize) -> usize {
    OFFSETS_OF_A_GROUP.min(all)
}
