//! What a manifest says: whether it agrees with itself and its facts, and what must be true of segments for it to be true.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::finding::Stretch;
use crate::format::document;
use crate::format::invariants;
use crate::format::layout::{BackupId, PartId, SegmentId};
use crate::format::manifest::{Manifest, Part};
use crate::format::run::{Content, Run};
use crate::format::segment::{SegmentRef, TopicKey};

/// A run's place: topic, partition, first offset, and position in its segment.
pub type RunPlace = (TopicKey, i32, i64, u64);

/// The place of a run of this topic.
pub fn place(topic: &TopicKey, run: &Run) -> RunPlace {
    (topic.clone(), run.partition, run.start_offset, run.position)
}

/// What a backup needs of a segment.
#[derive(Debug, Clone)]
pub struct WantedSegment {
    /// Its size, and the sum of its index.
    pub segment: SegmentRef,
    /// The runs in it.
    pub runs: BTreeMap<RunPlace, Run>,
    /// The backup that names it.
    pub backup: BackupId,
}

impl WantedSegment {
    /// How many offsets its runs answer for.
    pub fn offsets(&self) -> u64 {
        self.runs.values().map(|run| run.end_offset.abs_diff(run.start_offset)).sum()
    }

    /// A few bytes that are the same for two backups that say the same of the segment.
    pub fn fingerprint(&self) -> u128 {
        let Self { segment, runs, backup: _ } = self;
        let runs: Vec<_> = runs.iter().collect();
        let text =
            serde_json::to_vec(&(segment, runs)).expect("our own types have string keys and no failing serializer");
        let digits = document::sha256_hex(&text);
        u128::from_str_radix(&digits[..32], 16).expect("SHA-256 has 64 hexadecimal digits")
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

/// What a backup needs of an archive.
#[derive(Debug, Default)]
pub struct Wanted {
    /// Segments.
    pub segments: BTreeMap<SegmentId, Arc<WantedSegment>>,
    /// Parts.
    pub parts: BTreeSet<PartId>,
}

impl Wanted {
    /// What a manifest and its parts need, and where they contradict themselves or each other, each in one line. With a part missing
    /// (`is_complete` is false) it cannot be told whether all offsets are answered for.
    pub fn of(manifest: &Manifest, parts: Vec<Part>, is_complete: bool) -> (Self, Vec<String>) {
        let runs = Part::merge(parts);
        let mut wrong = Vec::new();
        let mut segments: BTreeMap<SegmentId, WantedSegment> = BTreeMap::new();
        for (topic, segment, run) in runs.runs() {
            let known = segments.entry(segment.id.clone()).or_insert_with(|| WantedSegment {
                segment: segment.clone(),
                runs: BTreeMap::new(),
                backup: manifest.backup_id.clone(),
            });
            let listed = known.runs.entry(place(topic, run)).or_insert_with(|| run.clone());
            if *listed != *run || known.segment != *segment {
                wrong.push(format!("it says two things of segment {}", segment.id));
            }
        }
        if is_complete {
            wrong.extend(contradictions(manifest, &runs));
        }
        let segments = segments.into_iter().map(|(id, segment)| (id, Arc::new(segment))).collect();
        (Self { segments, parts: manifest.parts.iter().map(|part| part.id.clone()).collect() }, wrong)
    }

    /// How many offsets its runs answer for.
    pub fn offsets(&self) -> u64 {
        self.segments.values().map(|segment| segment.offsets()).sum()
    }

    /// The segments, each once.
    pub fn segment_refs(&self) -> Vec<SegmentRef> {
        self.segments.values().map(|wanted| wanted.segment.clone()).collect()
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
