//! A manifest: what makes segments a backup.
//!
//! It says what was selected and cut, and names the *parts* that list the runs of every partition. Parts are objects of
//! their own, so that a later backup can share those of an earlier one and write only what is new. The checksum of
//! each part stands in the manifest, that of each segment's index in the part, that of each frame in the frame: whoever
//! holds a manifest can tell whether anything below it was changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::document::{self, DocumentKind, Encoding};
use super::layout::{ArchiveName, BackupId, PartId, SegmentId};
use super::run::{Content, Run};
use super::segment::{IndexedRun, SegmentRef, StoredSegment, TopicKey};

/// The newest version of manifests, cuts, checkpoints and parts.
pub const VERSION: u32 = 1;

/// Which topic of which cluster a committed offset belongs to, and how far its group came.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CommittedOffset {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The offset of the next record that the group would read.
    pub offset: i64,
    /// Leader epoch of the last record that it read; -1 when unknown.
    pub leader_epoch: i32,
    /// What the group's members wrote beside it.
    pub metadata: String,
}

/// A consumer, streams or share group, as it stood at the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Group {
    /// The group's id.
    pub id: String,
    /// Its protocol as Kafka names it: `classic`, `consumer` (KIP-848), `streams` (KIP-1071) or `share` (KIP-932).
    pub protocol: String,
    /// The committed offsets of the selected topics; of a share group, its start offsets.
    pub offsets: Vec<CommittedOffset>,
}

/// What a partition was to be copied of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionCut {
    /// The partition's number.
    pub partition: i32,
    /// The log start offset at the cut.
    pub start_offset: i64,
    /// The last stable offset at the cut: what a `read_committed` consumer would have read up to.
    pub end_offset: i64,
    /// The high watermark at the cut; larger than `end_offset` when a transaction was open.
    pub high_watermark: i64,
    /// The leader epoch of the log's end at the cut; absent when the broker does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader_epoch: Option<i32>,
    /// Whether the partition could not be asked, so that nothing of it is in the backup.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
}

/// A topic, as it stood at the cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicCut {
    /// Name and id.
    pub topic: TopicKey,
    /// Replicas of each partition.
    pub replication_factor: i16,
    /// The configuration that was set on the topic itself.
    pub configs: BTreeMap<String, String>,
    /// Whether the log cleaner works on it: then runs are not split, since batches may vanish between two reads, and it is
    /// read on beyond the cut until the reader has caught up. Also true when that is not known.
    pub compacted: bool,
    /// Whether its configuration could not be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub config_unknown: bool,
    /// The effective `delete.retention.ms` of a compacted topic: for so long, in milliseconds, the log cleaner leaves a
    /// tombstone to its readers. Absent when the broker does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delete_retention_ms: Option<i64>,
    /// Whether old records may be in other storage than the disks of the brokers, which returns nothing while it is slow or away.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tiered: bool,
    /// Every partition, by number, from 0.
    pub partitions: Vec<PartitionCut>,
}

/// A transaction that was open at the cut, so that nothing after its beginning is in the backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OpenTransaction {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The producer that holds it open; absent when the broker did not tell.
    pub producer_id: Option<i64>,
    /// Where it begins in the partition.
    pub start_offset: i64,
    /// When the producer last wrote, in milliseconds since the epoch; absent when the broker did not tell.
    pub last_timestamp_ms: Option<i64>,
    /// Offsets that are held back: high watermark minus last stable offset.
    pub held_back: i64,
}

/// What a backup run fixes before it reads the first record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Cut {
    /// The backup.
    pub backup_id: BackupId,
    /// When the cut was made, in milliseconds since the epoch.
    pub at_ms: i64,
    /// The cluster that was read.
    pub source_cluster_id: String,
    /// What was asked for, as one text: a run goes on with a cut only if it was asked for the same.
    pub selection: String,
    /// The selected topics, by name.
    pub topics: Vec<TopicCut>,
    /// The consumer groups, by id.
    pub groups: Vec<Group>,
    /// Transactions that were open.
    pub open_transactions: Vec<OpenTransaction>,
    /// What could not be had, each in one line; the backup is partial when there is any.
    pub problems: Vec<String>,
    /// What the user should know, each in one line.
    pub warnings: Vec<String>,
}

/// Runs of a topic's partitions, with the number of their segment in the list beside them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicRuns {
    /// Name and id of the topic.
    pub topic: TopicKey,
    /// Segment's position in [`Part::segments`], and the run.
    pub runs: Vec<(usize, Run)>,
}

/// A list of runs: what a manifest, and a checkpoint of one that is still to come, are made of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Part {
    /// The segments that the runs stand in.
    pub segments: Vec<SegmentRef>,
    /// The runs, by topic.
    pub topics: Vec<TopicRuns>,
}

impl Part {
    /// Lists the runs of a stored segment.
    pub fn of(stored: &StoredSegment) -> Self {
        let StoredSegment { segment, index } = stored;
        let without_runs = |topic: &TopicKey| TopicRuns { topic: topic.clone(), runs: Vec::new() };
        let mut topics: Vec<TopicRuns> = index.topics.iter().map(without_runs).collect();
        for IndexedRun { topic, run, .. } in &index.runs {
            topics[*topic].runs.push((0, run.clone()));
        }
        Self { segments: vec![segment.clone()], topics }
    }

    /// Lists the runs of several parts in one, by topic, partition and offset.
    pub fn merge(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut segments = Vec::new();
        let mut by_topic: BTreeMap<TopicKey, Vec<(usize, Run)>> = BTreeMap::new();
        for part in parts {
            let first = segments.len();
            segments.extend(part.segments);
            for TopicRuns { topic, runs } in part.topics {
                let runs = runs.into_iter().map(|(segment, run)| (first + segment, run));
                by_topic.entry(topic).or_default().extend(runs);
            }
        }
        let in_order = |(topic, mut runs): (TopicKey, Vec<(usize, Run)>)| {
            runs.sort_by_key(|(_, run)| (run.partition, run.start_offset));
            TopicRuns { topic, runs }
        };
        Self { segments, topics: by_topic.into_iter().map(in_order).collect() }
    }

    /// Cuts the list into parts of at most `runs_max` runs, each with the segments that it names, in the same order.
    pub fn split(&self, runs_max: usize) -> Vec<Self> {
        let runs: Vec<_> = self.runs().collect();
        runs.chunks(runs_max.max(1))
            .map(|chunk| {
                Self::merge(chunk.iter().map(|(topic, segment, run)| Self {
                    segments: vec![(*segment).clone()],
                    topics: vec![TopicRuns { topic: (*topic).clone(), runs: vec![(0, (*run).clone())] }],
                }))
                .with_segments_once()
            })
            .collect()
    }

    /// Names every segment once, in the order of their ids.
    fn with_segments_once(mut self) -> Self {
        let once: BTreeMap<&SegmentId, &SegmentRef> =
            self.segments.iter().map(|segment| (&segment.id, segment)).collect();
        let number: BTreeMap<&SegmentId, usize> = once.keys().enumerate().map(|(number, id)| (*id, number)).collect();
        for topic in &mut self.topics {
            for (segment, _) in &mut topic.runs {
                *segment = number[&self.segments[*segment].id];
            }
        }
        self.segments = once.into_values().cloned().collect();
        self
    }

    /// The list without the runs that `is_kept` refuses, and without the segments that no other run stands in.
    #[must_use]
    pub fn retain(self, mut is_kept: impl FnMut(&TopicKey, &Run) -> bool) -> Self {
        let Self { segments, topics } = self;
        let kept = topics.into_iter().map(|TopicRuns { topic, mut runs }| {
            runs.retain(|(_, run)| is_kept(&topic, run));
            TopicRuns { topic, runs }
        });
        let topics: Vec<_> = kept.filter(|topic| !topic.runs.is_empty()).collect();
        let used: std::collections::BTreeSet<usize> =
            topics.iter().flat_map(|topic| topic.runs.iter().map(|(segment, _)| *segment)).collect();
        let mut number = vec![0; segments.len()];
        let mut left = Vec::new();
        for (position, segment) in segments.into_iter().enumerate().filter(|(position, _)| used.contains(position)) {
            number[position] = left.len();
            left.push(segment);
        }
        let renumber = |TopicRuns { topic, runs }: TopicRuns| {
            let runs = runs.into_iter().filter_map(|(segment, run)| Some((*number.get(segment)?, run)));
            TopicRuns { topic, runs: runs.collect() }
        };
        Self { topics: topics.into_iter().map(renumber).collect(), segments: left }
    }

    /// Every run, with its topic and segment.
    pub fn runs(&self) -> impl Iterator<Item = (&TopicKey, &SegmentRef, &Run)> {
        self.topics.iter().flat_map(|topic| {
            topic.runs.iter().filter_map(|(segment, run)| Some((&topic.topic, self.segments.get(*segment)?, run)))
        })
    }

    /// How many runs are listed.
    pub fn run_count(&self) -> usize {
        self.topics.iter().map(|topic| topic.runs.len()).sum()
    }

    /// Writes the part as a document of this kind: a checkpoint, or a part of a manifest.
    pub fn seal(&self, kind: DocumentKind) -> Vec<u8> {
        document::seal(kind, VERSION, Encoding::JsonZstd, self)
    }

    /// Reads what [`Part::seal`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else, or name a segment that is not listed.
    pub fn open(kind: DocumentKind, bytes: &[u8]) -> Result<Self, document::Error> {
        let part: Self = document::open(kind, VERSION, bytes)?;
        let dangling =
            part.topics.iter().flat_map(|topic| &topic.runs).any(|(segment, _)| *segment >= part.segments.len());
        if dangling {
            return Err(document::Error::Content("a run names a segment that is not listed".to_owned()));
        }
        Ok(part)
    }
}

/// A place in the order in which parts list their runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartPlace {
    /// The topic.
    pub topic: TopicKey,
    /// The partition's number.
    pub partition: i32,
    /// An offset of the partition.
    pub offset: i64,
}

/// What a part may hold: runs between two places, ordered by topic, partition and offset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartRange {
    /// The first offset of the first run.
    pub start: PartPlace,
    /// The offset after the last one of the last run.
    pub end: PartPlace,
    /// How many runs are listed.
    pub runs: u64,
    /// How many segments they are in.
    pub segments: u64,
}

impl PartRange {
    /// The range of a part; `None` when it lists no run.
    pub fn of(part: &Part) -> Option<Self> {
        let place =
            |topic: &TopicKey, run: &Run, offset| PartPlace { topic: topic.clone(), partition: run.partition, offset };
        let start =
            part.runs().map(|(topic, _, run)| (topic, run.partition, run.start_offset, run)).min_by_key(by_place)?;
        let end =
            part.runs().map(|(topic, _, run)| (topic, run.partition, run.end_offset, run)).max_by_key(by_place)?;
        Some(Self {
            start: place(start.0, start.3, start.2),
            end: place(end.0, end.3, end.2),
            runs: part.run_count() as u64,
            segments: part.segments.len() as u64,
        })
    }
}

fn by_place<'a>((topic, partition, offset, _): &(&'a TopicKey, i32, i64, &Run)) -> (&'a TopicKey, i32, i64) {
    (topic, *partition, *offset)
}

/// How a manifest names a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartRef {
    /// Its id, the last part of its key.
    pub id: PartId,
    /// The size of the object.
    pub bytes: u64,
    /// SHA-256 of the object, in lower-case hexadecimal.
    pub sha256: String,
    /// What it may hold; absent in manifests of the first programs, and of a part without runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<PartRange>,
}

impl PartRef {
    /// Names the part that was sealed into this object.
    pub fn new(id: PartId, part: &Part, sealed: &[u8]) -> Self {
        let (bytes, sha256) = (sealed.len() as u64, document::sha256_hex(sealed));
        Self { id, bytes, sha256, range: PartRange::of(part) }
    }

    /// Whether a run of this topic may be listed.
    pub fn may_hold_topic(&self, topic: &TopicKey) -> bool {
        self.range.as_ref().is_none_or(|range| (&range.start.topic..=&range.end.topic).contains(&topic))
    }

    /// Whether a run may be listed that holds an offset of this partition from `from_offset` on.
    pub fn may_hold(&self, topic: &TopicKey, partition: i32, from_offset: i64) -> bool {
        let Some(PartRange { start, end, .. }) = &self.range else { return true };
        (&start.topic, start.partition) <= (topic, partition)
            && (&end.topic, end.partition, end.offset) > (topic, partition, from_offset)
    }
}

/// What a manifest says of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionSummary {
    /// The partition's number.
    pub partition: i32,
    /// The first offset that the backup answers for.
    pub start_offset: i64,
    /// The offset after the last one that the backup answers for.
    pub end_offset: i64,
    /// What stands between them.
    pub content: Content,
    /// The last stable offset at the cut, to which the committed offsets of the groups belong; absent when it is
    /// `end_offset`. A compacted partition is read on until the reader has caught up, which is later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cut_end_offset: Option<i64>,
    /// Leader epoch of the last batch, which tells later whether the log is still the same log; absent when there is no
    /// batch, or the broker does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_leader_epoch: Option<i32>,
    /// Whether the partition could not be read, so that the backup says nothing about its records: `start_offset` and
    /// `end_offset` are equal then, which does not mean that the partition was empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
}

/// A topic in a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicSummary {
    /// Name and id.
    pub topic: TopicKey,
    /// Replicas of each partition.
    pub replication_factor: i16,
    /// The configuration that was set on the topic itself.
    pub configs: BTreeMap<String, String>,
    /// Every partition, by number, from 0; also those that are empty.
    pub partitions: Vec<PartitionSummary>,
}

impl TopicSummary {
    /// What the partitions hold together.
    pub fn content(&self) -> Content {
        let mut content = Content::default();
        self.partitions.iter().for_each(|partition| content.add(&partition.content));
        content
    }
}

/// A backup, from which it can be restored without any other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// The backup.
    pub backup_id: BackupId,
    /// The archive that it belongs to.
    pub archive: ArchiveName,
    /// Version of the program that wrote it.
    pub engine_version: String,
    /// The cluster that was read.
    pub source_cluster_id: String,
    /// When the cut was made, in milliseconds since the epoch.
    pub cut_at_ms: i64,
    /// When the manifest was made, in milliseconds since the epoch.
    pub completed_at_ms: i64,
    /// The topics, by name.
    pub topics: Vec<TopicSummary>,
    /// The consumer groups at the cut, by id.
    pub groups: Vec<Group>,
    /// The lists of runs.
    pub parts: Vec<PartRef>,
    /// Transactions that were open at the cut.
    pub open_transactions: Vec<OpenTransaction>,
    /// What could not be had, each in one line; the backup is partial when there is any.
    pub problems: Vec<String>,
    /// What the user should know, each in one line.
    pub warnings: Vec<String>,
    /// Everything together.
    pub content: Content,
    /// Bytes of all segments that the runs stand in.
    pub segment_bytes: u64,
    /// Whether restores of this backup are to add a header with the source's offset, unless they say otherwise; absent in
    /// manifests of the first programs. The archive itself holds every record as it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub include_offset_headers: bool,
    /// What the user calls the cluster that was read; absent when it was given no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_label: Option<String>,
}

impl Manifest {
    /// Writes the manifest as a document, readable as it stands.
    pub fn seal(&self) -> Vec<u8> {
        document::seal(DocumentKind::Manifest, VERSION, Encoding::Json, self)
    }

    /// Reads what [`Manifest::seal`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn open(bytes: &[u8]) -> Result<Self, document::Error> {
        document::open(DocumentKind::Manifest, VERSION, bytes)
    }

    /// Whether something that was asked for is missing.
    pub fn is_partial(&self) -> bool {
        !self.problems.is_empty()
    }
}

/// Format version and id of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Repository {
    /// Tells one repository from another.
    pub id: Uuid,
}

/// What an archive belongs to; compared exactly, never by a part of the name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ArchiveOwner {
    /// API group of the resource; absent for an archive that the command line made.
    pub group: Option<String>,
    /// Kind of the resource.
    pub kind: Option<String>,
    /// Namespace of the resource.
    pub namespace: Option<String>,
    /// Name of the resource, or of the archive.
    pub name: String,
    /// Uid of the resource.
    pub uid: Option<String>,
    /// The cluster that the archive's backups are taken from.
    pub source_cluster_id: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(name: &str) -> TopicKey {
        TopicKey { name: name.to_owned(), id: Uuid::nil() }
    }

    fn run(partition: i32, start_offset: i64, end_offset: i64) -> Run {
        let content = Content::default();
        Run { partition, start_offset, end_offset, leader_epoch: 0, position: 0, content, crc32c: 0 }
    }

    fn part(runs: &[(&str, i32, i64, i64)]) -> Part {
        let segment = SegmentRef { id: "s".parse().unwrap(), bytes: 1, index_sha256: String::new() };
        Part::merge(runs.iter().map(|(name, partition, start, end)| Part {
            segments: vec![segment.clone()],
            topics: vec![TopicRuns { topic: topic(name), runs: vec![(0, run(*partition, *start, *end))] }],
        }))
    }

    fn named(part: &Part) -> PartRef {
        PartRef::new("p".parse().unwrap(), part, b"sealed")
    }

    #[test]
    fn a_part_that_can_hold_an_offset_is_never_left_out_and_others_are() {
        let all = part(&[("a", 0, 0, 10), ("a", 1, 5, 20), ("b", 0, 0, 7), ("b", 0, 7, 30), ("c", 2, 0, 1)]);
        let parts: Vec<(Part, PartRef)> = all.split(2).into_iter().map(|part| (part.clone(), named(&part))).collect();
        assert_eq!(parts.len(), 3);
        let mut opened = 0;
        for name in ["a", "b", "bb", "c", "d"] {
            for partition in 0..4 {
                for from_offset in 0..32 {
                    for (part, named) in &parts {
                        let holds = part.runs().any(|(of, _, run)| {
                            *of == topic(name) && run.partition == partition && run.end_offset > from_offset
                        });
                        let may_hold = named.may_hold(&topic(name), partition, from_offset);
                        assert!(may_hold || !holds, "{name}-{partition} from {from_offset}");
                        assert!(named.may_hold_topic(&topic(name)) || !holds, "{name}");
                        opened += usize::from(may_hold);
                    }
                }
            }
        }
        assert!(opened < 5 * 4 * 32, "{opened} of {}", 5 * 4 * 32 * 3);
        assert!(!parts[2].1.may_hold(&topic("c"), 2, 1) && parts[2].1.may_hold(&topic("c"), 2, 0));
    }

    #[test]
    fn a_part_of_which_no_range_is_stated_may_hold_everything() {
        let empty = named(&Part::default());
        assert_eq!(empty.range, None);
        assert!(empty.may_hold(&topic("a"), 0, 0) && empty.may_hold_topic(&topic("a")));
    }

    #[test]
    fn a_range_counts_runs_and_segments() {
        let range = named(&part(&[("a", 0, 3, 10), ("a", 0, 10, 20)]).with_segments_once()).range.unwrap();
        assert_eq!((range.start.offset, range.end.offset, range.runs, range.segments), (3, 20, 2, 1));
    }
}
