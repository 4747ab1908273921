//! What happened to restored topics since: a restore that has ended is not done again, and whoever asks for it again should
//! know when the topics are not as it left them.

use std::collections::BTreeMap;

use super::Error;
use super::journal::{Prepared, PreparedTopic};
use super::target::{self, listed};
use crate::kafka::list_offsets::Position;
use crate::kafka::{Cluster, TopicPartition};
use crate::offsets::positions::Restored;

/// Where a partition begins and ends, and where a restore had it begin and end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Extent {
    base_offset: i64,
    restored_end_offset: i64,
    start_offset: i64,
    end_offset: i64,
}

/// How the topics differ from what a restore that has ended left behind, in one line each.
///
/// # Errors
/// When a leader does not answer.
pub async fn since(cluster: &Cluster, prepared: &Prepared, restored: &Restored) -> Result<Vec<String>, Error> {
    let extents = extents(cluster, prepared, restored).await?;
    Ok(extents.iter().filter_map(|(topic, extents)| change(topic, extents)).collect())
}

/// Sees, when everything has landed, that the topics are those that were written to, and end behind the last record.
///
/// # Errors
/// [`Error::Changed`] with all topics of which this is not so, and when a leader does not answer.
pub async fn none_lost(cluster: &Cluster, prepared: &Prepared, restored: &Restored) -> Result<(), Error> {
    let others = target::changed(cluster, prepared).await?;
    if !others.is_empty() {
        return Err(Error::Changed(others.iter().map(|topic| replaced(topic)).collect()));
    }
    let extents = extents(cluster, prepared, restored).await?;
    let lost: Vec<String> = extents.iter().filter_map(|(topic, extents)| lost(topic, extents)).collect();
    if lost.is_empty() { Ok(()) } else { Err(Error::Changed(lost)) }
}

/// What is to be said of a topic that is another one now.
pub fn replaced(topic: &str) -> String {
    format!("topic {topic:?} was deleted, or created again, while the restore wrote to it")
}

/// The partitions that were restored, by topic.
async fn extents<'p>(
    cluster: &Cluster,
    prepared: &'p Prepared,
    restored: &Restored,
) -> Result<Vec<(&'p str, Vec<Extent>)>, Error> {
    let ends: BTreeMap<TopicPartition, i64> =
        restored.values().map(|partition| (partition.target.clone(), partition.end_offset)).collect();
    let start_offsets = listed(cluster, ends.keys().cloned(), Position::Earliest).await?;
    let end_offsets = listed(cluster, ends.keys().cloned(), Position::HighWatermark).await?;
    let of_topic = |topic: &'p PreparedTopic| {
        let extents = (0..).zip(&topic.base_offsets).filter_map(|(partition, base_offset)| {
            let key = (topic.target.clone(), partition);
            Some(Extent {
                base_offset: *base_offset,
                restored_end_offset: *ends.get(&key)?,
                start_offset: *start_offsets.get(&key)?,
                end_offset: *end_offsets.get(&key)?,
            })
        });
        (topic.target.as_str(), extents.collect())
    };
    Ok(prepared.topics.iter().map(of_topic).collect())
}

fn lost(topic: &str, partitions: &[Extent]) -> Option<String> {
    let lost = partitions.iter().filter(|extent| extent.end_offset < extent.restored_end_offset).count();
    (lost > 0).then(|| format!("topic {topic:?} ends before the last restored record in {lost} of its partitions"))
}

fn change(topic: &str, partitions: &[Extent]) -> Option<String> {
    let count = |what: &str, is_so: fn(&Extent) -> bool| match partitions.iter().filter(|extent| is_so(extent)).count()
    {
        0 => None,
        partitions => Some(format!("{what} {partitions} of its partitions")),
    };
    let changes = [
        count("somebody has written to", |extent| extent.end_offset > extent.restored_end_offset),
        count("restored records lack at the end of", |extent| extent.end_offset < extent.restored_end_offset),
        count("restored records were deleted from the beginning of", |extent| extent.start_offset > extent.base_offset),
    ];
    let changes: Vec<String> = changes.into_iter().flatten().collect();
    (!changes.is_empty()).then(|| {
        format!(
            "topic {topic:?} is not as this restore left it: {}; give another restoreId, or make another KafkaRestore, to restore it again",
            changes.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happened_to_a_restored_topic_is_told_and_nothing_else() {
        let as_left = Extent { base_offset: 10, restored_end_offset: 30, start_offset: 10, end_offset: 30 };
        assert_eq!(change("t", &[as_left, Extent { start_offset: 3, ..as_left }]), None);
        let told = |extents: &[Extent]| change("t", extents).unwrap();
        let written = Extent { end_offset: 31, ..as_left };
        assert!(told(&[as_left, written, written]).contains("written to 2 of its partitions"));
        let lost = Extent { end_offset: 29, ..as_left };
        let swept = Extent { start_offset: 11, ..as_left };
        let both = told(&[lost, swept]);
        assert!(both.contains("lack at the end of 1 ") && both.contains("from the beginning of 1 "), "{both}");
        assert!(both.contains("another restoreId"), "it says what to do");
    }

    #[test]
    fn a_partition_that_ends_too_early_has_lost_records_and_one_that_was_written_to_has_not() {
        let as_left = Extent { base_offset: 0, restored_end_offset: 30, start_offset: 0, end_offset: 30 };
        assert_eq!(lost("t", &[as_left, Extent { end_offset: 31, ..as_left }]), None);
        let replaced = Extent { end_offset: 0, ..as_left };
        assert!(lost("t", &[as_left, replaced]).unwrap().contains("in 1 of its partitions"));
    }
}
