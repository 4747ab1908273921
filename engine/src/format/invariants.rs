//! What must hold of everything that is written, checked before each write and after each read.

use std::collections::BTreeMap;

use super::manifest::{Cut, Part, PartitionSummary};
use super::run::{Content, Run};
use super::segment::TopicKey;

/// A promise that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Runs leave offsets out.
    #[error("{topic}-{partition}: no run answers for the offsets {start_offset}..{end_offset}")]
    Missing {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// The first offset that is left out.
        start_offset: i64,
        /// The offset after the last one that is left out.
        end_offset: i64,
    },
    /// Runs hold offsets twice, or offsets that nobody asked for.
    #[error("{topic}-{partition}: more than one run answers for offset {offset}, or one reaches over the range")]
    Twice {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
        /// The first offset concerned.
        offset: i64,
    },
    /// Runs that hold other things than is said of their partition.
    #[error("{topic}-{partition}: its runs do not add up to what is said of it")]
    Content {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
    },
    /// Runs of a partition that was not selected.
    #[error("{topic}-{partition}: there are runs of a partition that is not in the backup")]
    Stranger {
        /// The topic's name.
        topic: String,
        /// The partition's number.
        partition: i32,
    },
}

/// Runs by topic and partition, each list in the order of offsets.
pub type RunsByPartition<'a> = BTreeMap<(&'a TopicKey, i32), Vec<&'a Run>>;

/// Groups runs by topic and partition, in the order of offsets.
pub fn by_partition<'a>(runs: impl Iterator<Item = (&'a TopicKey, &'a Run)>) -> RunsByPartition<'a> {
    let mut grouped = RunsByPartition::new();
    for (topic, run) in runs {
        grouped.entry((topic, run.partition)).or_default().push(run);
    }
    for runs in grouped.values_mut() {
        runs.sort_by_key(|run| run.start_offset);
    }
    grouped
}

/// The runs of a partition answer for every offset of its range, and for each only once.
///
/// # Errors
/// The first offset of which that is not true.
pub fn runs_tile(
    topic: &TopicKey,
    partition: i32,
    start_offset: i64,
    end_offset: i64,
    runs: &[&Run],
) -> Result<Content, Broken> {
    let topic = || topic.name.clone();
    let mut content = Content::default();
    let mut at = start_offset;
    for run in runs {
        if run.start_offset > at {
            return Err(Broken::Missing { topic: topic(), partition, start_offset: at, end_offset: run.start_offset });
        }
        if run.start_offset < at || run.end_offset > end_offset || run.end_offset <= run.start_offset {
            return Err(Broken::Twice { topic: topic(), partition, offset: run.start_offset });
        }
        at = run.end_offset;
        content.add(&run.content);
    }
    if at == end_offset {
        return Ok(content);
    }
    Err(Broken::Missing { topic: topic(), partition, start_offset: at, end_offset })
}

/// The runs of a partition tile the range that a manifest states, and hold what it states.
///
/// # Errors
/// The first offset of which that is not true, or [`Broken::Content`].
pub fn summary_holds(topic: &TopicKey, summary: &PartitionSummary, runs: &[&Run]) -> Result<(), Broken> {
    let PartitionSummary { partition, start_offset, end_offset, content, .. } = summary;
    let found = runs_tile(topic, *partition, *start_offset, *end_offset, runs)?;
    if found == *content {
        return Ok(());
    }
    Err(Broken::Content { topic: topic.name.clone(), partition: *partition })
}

/// Where what was read of a partition ends: at the end of the cut, or after it. A compacted partition is read on until the
/// reader has caught up, and a last batch may reach over the end.
pub fn read_end(cut_end_offset: i64, runs: &[&Run]) -> i64 {
    runs.iter().map(|run| run.end_offset).fold(cut_end_offset, i64::max)
}

/// Leaves out of a merged list each run that answers for an offset which a run before it answers for already: two runs of
/// one backup may have stored the same, when one took over from the other.
pub fn without_repeats(merged: Part) -> Part {
    let mut covered: BTreeMap<(String, uuid::Uuid, i32), i64> = BTreeMap::new();
    merged.retain(|topic, run| {
        let covered = covered.entry((topic.name.clone(), topic.id, run.partition)).or_insert(i64::MIN);
        let is_new = run.start_offset >= *covered;
        if is_new {
            *covered = run.end_offset;
        }
        is_new
    })
}

/// Every partition of the cut is tiled by its runs, and there are no others. A partition that `is_missing` has none.
///
/// # Errors
/// The first partition of which that is not true.
pub fn cut_is_covered(
    cut: &Cut,
    runs: &RunsByPartition<'_>,
    is_missing: impl Fn(&TopicKey, i32) -> bool,
) -> Result<(), Broken> {
    let mut known = 0;
    for topic in &cut.topics {
        for partition in &topic.partitions {
            let of_partition = runs.get(&(&topic.topic, partition.partition));
            known += usize::from(of_partition.is_some());
            let of_partition = of_partition.map_or(&[][..], Vec::as_slice);
            let end_offset = match is_missing(&topic.topic, partition.partition) {
                true => partition.start_offset,
                false => read_end(partition.end_offset, of_partition),
            };
            runs_tile(&topic.topic, partition.partition, partition.start_offset, end_offset, of_partition)?;
        }
    }
    if known == runs.len() {
        return Ok(());
    }
    let selected = |topic: &TopicKey, partition: i32| {
        cut.topics
            .iter()
            .any(|cut| cut.topic == *topic && cut.partitions.iter().any(|known| known.partition == partition))
    };
    let stranger = runs.keys().find(|(topic, partition)| !selected(topic, *partition));
    stranger
        .map_or(Ok(()), |(topic, partition)| Err(Broken::Stranger { topic: topic.name.clone(), partition: *partition }))
}

/// The stretches of `start_offset..end_offset` that no run answers for, in order.
pub fn uncovered(start_offset: i64, end_offset: i64, runs: &[&Run]) -> Vec<std::ops::Range<i64>> {
    let mut stretches = Vec::new();
    let mut at = start_offset;
    for run in runs {
        if run.start_offset > at {
            stretches.push(at..run.start_offset);
        }
        at = at.max(run.end_offset);
    }
    if at < end_offset {
        stretches.push(at..end_offset);
    }
    stretches
}

#[cfg(test)]
mod tests {
    use super::super::manifest::TopicRuns;
    use super::super::segment::SegmentRef;
    use super::*;

    fn part(segment: &str, runs: &[(i64, i64)]) -> Part {
        let run = |(start_offset, end_offset): &(i64, i64)| {
            let (content, leader_epoch) = (Content::default(), 0);
            let run = Run {
                partition: 0,
                start_offset: *start_offset,
                end_offset: *end_offset,
                position: 0,
                leader_epoch,
                crc32c: 0,
                content,
            };
            (0, run)
        };
        let segment = SegmentRef { id: segment.parse().unwrap(), bytes: 1, index_sha256: String::new() };
        let topic = TopicKey { name: "t".to_owned(), id: uuid::Uuid::nil() };
        Part { segments: vec![segment], topics: vec![TopicRuns { topic, runs: runs.iter().map(run).collect() }] }
    }

    #[test]
    fn of_two_runs_that_answer_for_one_offset_the_first_is_kept() {
        let merged =
            Part::merge([part("a", &[(0, 10), (20, 30)]), part("b", &[(0, 10), (5, 15)]), part("c", &[(10, 20)])]);
        let kept = without_repeats(merged);
        let ranges: Vec<_> =
            kept.runs().map(|(_, segment, run)| (segment.id.to_string(), run.start_offset, run.end_offset)).collect();
        let expected = [("a", 0, 10), ("c", 10, 20), ("a", 20, 30)];
        assert_eq!(ranges, expected.map(|(segment, start, end)| (segment.to_owned(), start, end)));
        assert_eq!(kept.segments.len(), 2, "a segment without a run is left out");
    }
}
