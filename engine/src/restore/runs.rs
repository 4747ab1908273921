//! The runs of what is restored, checked before anything in the target is touched: a backup of which a list of runs or a
//! segment is missing must not cost the topics that it was to replace.

use std::collections::BTreeMap;

use crate::format::invariants::{self, Broken};
use crate::format::layout::ArchiveKeys;
use crate::format::manifest::{Part, TopicSummary};
use crate::format::run::{Content, Run};
use crate::format::segment::SegmentRef;
use crate::rewrite::{Cut, Request};
use crate::store::Object;

/// Segments that are named in an error; the rest is counted.
const SEGMENTS_NAMED: usize = 3;

/// The runs of each partition, by the topic's name in the source, each with its segment and in the order of offsets.
#[derive(Debug, Default)]
pub struct Runs(BTreeMap<(String, i32), Vec<(SegmentRef, Run)>>);

impl Runs {
    /// Those runs of `part` that belong to these topics of a manifest.
    ///
    /// # Errors
    /// The first partition whose runs do not tile the offsets that the manifest states, or do not hold what it states.
    pub fn of_topics<'m>(topics: impl Iterator<Item = &'m TopicSummary>, part: &Part) -> Result<Self, Broken> {
        let by_partition = invariants::by_partition(part.runs().map(|(topic, _, run)| (topic, run)));
        let mut runs = Self::default();
        for topic in topics {
            for partition in &topic.partitions {
                let of_partition = by_partition.get(&(&topic.topic, partition.partition));
                invariants::summary_holds(&topic.topic, partition, of_partition.map_or(&[][..], Vec::as_slice))?;
                runs.0.insert((topic.topic.name.clone(), partition.partition), Vec::new());
            }
        }
        for (topic, segment, run) in part.runs() {
            if let Some(of_partition) = runs.0.get_mut(&(topic.name.clone(), run.partition)) {
                of_partition.push((segment.clone(), run.clone()));
            }
        }
        runs.0.values_mut().for_each(|of_partition| of_partition.sort_by_key(|(_, run)| run.start_offset));
        Ok(runs)
    }

    /// The runs of a partition, which are given out once.
    pub fn take(&mut self, topic: &str, partition: i32) -> Vec<(SegmentRef, Run)> {
        self.0.remove(&(topic.to_owned(), partition)).unwrap_or_default()
    }

    /// What the runs of a topic hold, by the topic's name in the source.
    pub fn contents(&self, topic: &str) -> impl Iterator<Item = &Content> {
        let of_topic = self.0.iter().filter(move |((name, _), _)| name == topic);
        of_topic.flat_map(|(_, runs)| runs.iter().map(|(_, run)| &run.content))
    }

    /// The segments that the runs are in, as often as there are runs.
    pub fn segments(&self) -> impl Iterator<Item = &SegmentRef> {
        self.0.values().flatten().map(|(segment, _)| segment)
    }

    /// What is wrong with the segments that the runs stand in, going by what the store lists: one line, if anything is.
    pub fn lost_segments(&self, keys: &ArchiveKeys, listed: &[Object]) -> Option<String> {
        let sizes: BTreeMap<&str, u64> = listed.iter().map(|object| (object.key.as_str(), object.size)).collect();
        let wanted: BTreeMap<_, _> =
            self.0.values().flatten().map(|(segment, _)| (&segment.id, segment.bytes)).collect();
        let mut lost = wanted.into_iter().filter_map(|(id, bytes)| {
            let key = keys.segment(id);
            match sizes.get(key.as_str()) {
                None => Some(format!("{key} is not there")),
                Some(found) if *found != bytes => Some(format!("{key} has {found} bytes instead of {bytes}")),
                Some(_) => None,
            }
        });
        let named: Vec<String> = lost.by_ref().take(SEGMENTS_NAMED).collect();
        let more = match lost.count() {
            0 => String::new(),
            more => format!("; and {more} more segments"),
        };
        (!named.is_empty()).then(|| format!("{}{more}", named.join("; ")))
    }
}

/// What the runs of a partition hold together.
pub fn content<'a>(runs: impl Iterator<Item = &'a Run>) -> Content {
    runs.fold(Content::default(), |mut sum, run| {
        sum.add(&run.content);
        sum
    })
}

/// How many of these runs, from the first on, are in a target that holds `landed` records of their partition, and need not
/// be read to know it: every offset of such a run holds a record, all of them are wanted, and no batch has to be changed, so that
/// none was left out.
pub fn landed(runs: &[(String, Run)], request: &Request, landed: u64) -> usize {
    let Cut { point_in_time_ms, start_ms, source_start_offset, source_end_offset } = request.cut;
    if point_in_time_ms.is_some() || start_ms.is_some() || !request.headers.is_empty() {
        return 0;
    }
    let mut records = 0;
    let is_landed = |(_, run): &&(String, Run)| {
        // A batch that begins before its run and one with a gap inside could make up for each other in the sums.
        let is_dense = run.content.holes.total() == 0
            && run.content.rewrite_batches == 0
            && run.content.batch_bytes_max <= request.max_batch_bytes as u64
            && run.content.records == run.end_offset.abs_diff(run.start_offset)
            && source_start_offset.is_none_or(|start| run.start_offset >= start)
            && source_end_offset.is_none_or(|end| run.end_offset <= end);
        records += run.content.records;
        is_dense && records <= landed
    };
    runs.iter().take_while(is_landed).count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::{PartitionSummary, TopicRuns};
    use crate::format::segment::TopicKey;
    use crate::rewrite::{HeaderValue, InjectedHeader};

    fn key(name: &str) -> TopicKey {
        TopicKey { name: name.to_owned(), id: uuid::Uuid::nil() }
    }

    fn content(records: u64) -> Content {
        Content { records, ..Content::default() }
    }

    fn run(partition: i32, start_offset: i64, end_offset: i64) -> Run {
        let content = content(end_offset.abs_diff(start_offset));
        Run { partition, start_offset, end_offset, leader_epoch: 0, position: 64, content, crc32c: 0 }
    }

    fn topic(name: &str) -> TopicSummary {
        let partition = |partition| PartitionSummary {
            partition,
            start_offset: 5,
            end_offset: 25,
            content: content(20),
            ..PartitionSummary::default()
        };
        TopicSummary {
            topic: key(name),
            replication_factor: 1,
            configs: BTreeMap::new(),
            partitions: vec![partition(0), partition(1)],
        }
    }

    fn part(runs: Vec<Run>) -> Part {
        let segment = |id: &str| SegmentRef { id: id.parse().unwrap(), bytes: 100, index_sha256: String::new() };
        let runs = runs.into_iter().enumerate().map(|(number, run)| (number % 2, run)).collect();
        Part { segments: vec![segment("s-0"), segment("s-1")], topics: vec![TopicRuns { topic: key("orders"), runs }] }
    }

    fn whole() -> Vec<Run> {
        vec![run(0, 12, 25), run(0, 5, 12), run(1, 5, 25)]
    }

    #[test]
    fn the_runs_of_a_partition_come_in_order_and_once() {
        let mut runs = Runs::of_topics([topic("orders")].iter(), &part(whole())).unwrap();
        let starts: Vec<_> =
            runs.take("orders", 0).iter().map(|(s, run)| (s.id.to_string(), run.start_offset)).collect();
        assert_eq!(starts, [("s-1".to_owned(), 5), ("s-0".to_owned(), 12)]);
        assert!(runs.take("orders", 0).is_empty());
        assert_eq!(runs.take("orders", 1).len(), 1);
    }

    #[test]
    fn runs_that_do_not_make_up_what_the_manifest_states_are_refused() {
        let orders = [topic("orders")];
        let refused = |runs| Runs::of_topics(orders.iter(), &part(runs)).unwrap_err().to_string();
        for missing in 0..3 {
            let mut runs = whole();
            runs.remove(missing);
            assert!(refused(runs).contains("no run answers"), "{missing}");
        }
        let mut twice = whole();
        twice.push(run(1, 10, 15));
        assert!(refused(twice).contains("more than one run"));
        let mut fewer = whole();
        fewer[0].content.records -= 1;
        assert!(refused(fewer).contains("do not add up"));
        let others = [topic("payments")];
        assert!(Runs::of_topics(others.iter(), &part(whole())).is_err(), "runs of another topic are none of this one");
    }

    #[test]
    fn a_segment_that_is_missing_or_has_another_size_is_named() {
        let keys = ArchiveKeys::new(&"a".parse().unwrap());
        let runs = Runs::of_topics([topic("orders")].iter(), &part(whole())).unwrap();
        let object = |id: &str, size| Object { key: keys.segment(&id.parse().unwrap()), size, modified_ms: 0 };
        assert_eq!(runs.lost_segments(&keys, &[object("s-0", 100), object("s-1", 100), object("s-2", 1)]), None);
        let lost = runs.lost_segments(&keys, &[object("s-0", 99)]).unwrap();
        assert!(lost.contains("s-0 has 99 bytes instead of 100") && lost.ends_with("s-1 is not there"), "{lost}");
    }

    #[test]
    fn runs_that_have_landed_are_passed_over_unless_something_of_them_may_be_missing() {
        let named = |runs: Vec<Run>| runs.into_iter().map(|run| ("s".to_owned(), run)).collect::<Vec<_>>();
        let dense = named(vec![run(0, 5, 12), run(0, 12, 25), run(0, 25, 30)]);
        let of = |cut| Request { cut, max_batch_bytes: 1_000, headers: Vec::new() };
        let all = of(Cut::default());
        for (records, expected) in [(0, 0), (6, 0), (7, 1), (19, 1), (20, 2), (24, 2), (25, 3), (100, 3)] {
            assert_eq!(landed(&dense, &all, records), expected, "{records} records");
        }
        let from_6 = of(Cut { source_start_offset: Some(6), ..Cut::default() });
        assert_eq!(landed(&dense, &from_6, 100), 0, "the first run begins before the first wanted record");
        let to_29 = of(Cut { source_start_offset: Some(5), source_end_offset: Some(29), ..Cut::default() });
        assert_eq!(landed(&dense, &to_29, 100), 2);
        for bound in [Cut { start_ms: Some(0), ..Cut::default() }, Cut { point_in_time_ms: Some(9), ..Cut::default() }]
        {
            assert_eq!(landed(&dense, &of(bound), 100), 0, "only the records tell how many are wanted");
        }
        let header = InjectedHeader { key: "offset".to_owned(), value: HeaderValue::SourceOffset };
        let headers = Request { headers: vec![header], ..all.clone() };
        assert_eq!(landed(&dense, &headers, 100), 0, "a batch that could not be read was left out");
        let mut large = dense.clone();
        large[1].1.content.batch_bytes_max = 1_001;
        assert_eq!(landed(&large, &all, 100), 1, "a batch that could not be split was left out");
        let mut sparse = dense.clone();
        sparse[1].1.content.records -= 1;
        assert_eq!(landed(&sparse, &all, 100), 1);
        let mut holes = dense.clone();
        holes[0].1.content.holes.control = 1;
        assert_eq!(landed(&holes, &all, 100), 0);
        let mut gaps = dense;
        gaps[1].1.content.rewrite_batches = 1;
        assert_eq!(landed(&gaps, &all, 100), 1);
    }
}
