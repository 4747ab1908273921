//! What a manifest says: whether it agrees with itself, and what must be true of segments for it to be true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::{Finding, Stretch};
use crate::format::invariants;
use crate::format::layout::{ArchiveKeys, BackupId, PartId, SegmentId};
use crate::format::manifest::{Manifest, Part};
use crate::format::run::{Content, Run};
use crate::format::segment::{SegmentRef, TopicKey};

/// A run's place: topic, partition, first offset, and position in its segment.
pub type RunPlace = (TopicKey, i32, i64, u64);

/// The place of a run of this topic.
pub fn place(topic: &TopicKey, run: &Run) -> RunPlace {
    (topic.clone(), run.partition, run.start_offset, run.position)
}

/// What backups need of a segment.
#[derive(Debug, Clone)]
pub struct WantedSegment {
    /// Its size, and the sum of its index.
    pub segment: SegmentRef,
    /// The runs in it.
    pub runs: BTreeMap<RunPlace, Run>,
    /// The backups that name it.
    pub backups: BTreeSet<BackupId>,
}

impl WantedSegment {
    /// How many offsets its runs answer for.
    pub fn offsets(&self) -> u64 {
        self.runs.values().map(|run| run.end_offset.abs_diff(run.start_offset)).sum()
    }

    /// The offsets that are lost with the segment; neighbours as one.
    pub fn stretches(&self) -> Vec<Stretch> {
        let mut stretches: Vec<Stretch> = Vec::new();
        for ((topic, ..), run) in &self.runs {
            let next = Stretch::of(topic, run);
            match stretches.last_mut() {
                Some(last)
                    if (&last.topic, last.partition, last.end_offset)
                        == (&next.topic, next.partition, next.start_offset) =>
                {
                    last.end_offset = next.end_offset;
                }
                Some(_) | None => stretches.push(next),
            }
        }
        stretches
    }
}

/// What backups need of an archive.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Segments.
    pub segments: BTreeMap<SegmentId, Arc<WantedSegment>>,
    /// Parts.
    pub parts: BTreeSet<PartId>,
}

impl Wanted {
    /// Adds what a manifest needs, and says where it contradicts itself, its parts or another manifest. With a part
    /// missing (`is_complete` is false) it cannot be told whether all offsets are answered for.
    pub fn add(
        &mut self,
        keys: &ArchiveKeys,
        manifest: &Manifest,
        parts: Vec<Part>,
        is_complete: bool,
    ) -> Vec<Finding> {
        let runs = Part::merge(parts);
        let of = std::slice::from_ref(&manifest.backup_id);
        let wrong = |what: String| Finding::of_object(keys.manifest(&manifest.backup_id), of, what);
        let mut findings = Vec::new();
        for (topic, segment, run) in runs.runs() {
            let known = self.segments.entry(segment.id.clone()).or_insert_with(|| {
                let (runs, backups) = (BTreeMap::new(), BTreeSet::new());
                Arc::new(WantedSegment { segment: segment.clone(), runs, backups })
            });
            let known = Arc::make_mut(known);
            known.backups.insert(manifest.backup_id.clone());
            let listed = known.runs.entry(place(topic, run)).or_insert_with(|| run.clone());
            if *listed != *run || known.segment != *segment {
                let what = format!("it says other things of segment {} than was said before", segment.id);
                findings.push(wrong(what).holding(vec![Stretch::of(topic, run)]));
            }
        }
        if is_complete {
            findings.extend(contradictions(manifest, &runs).into_iter().map(wrong));
        }
        findings
    }
}

/// Where a manifest and its runs contradict each other, each in one line.
fn contradictions(manifest: &Manifest, runs: &Part) -> Vec<String> {
    let mut by_partition = invariants::by_partition(runs.runs().map(|(topic, _, run)| (topic, run)));
    let mut wrong = Vec::new();
    let mut all = Content::default();
    for topic in &manifest.topics {
        for summary in &topic.partitions {
            let of_partition = by_partition.remove(&(&topic.topic, summary.partition)).unwrap_or_default();
            if let Err(broken) = invariants::summary_holds(&topic.topic, summary, &of_partition) {
                wrong.push(broken.to_string());
            }
            all.add(&summary.content);
        }
    }
    if all != manifest.content {
        wrong.push("its partitions do not add up to what is said of the whole".to_owned());
    }
    let strangers = by_partition.keys().map(|(topic, partition)| {
        format!("{}-{partition}: there are runs of a partition that is not in the backup", topic.name)
    });
    wrong.extend(strangers);
    wrong
}
