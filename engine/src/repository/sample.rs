//! Small archives for tests: a folder with backups of two topics, of which later ones share what earlier ones stored.

use bytes::Bytes;
use tempfile::TempDir;
use uuid::Uuid;

use super::Archive;
use crate::config::storage::{FileStorage, StorageConfig};
use crate::format::batch::{Batch, Compression};
use crate::format::builder::BatchBuilder;
use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::facts::{BackupFacts, FactsDetails, Holdings};
use crate::format::frame::ArchiveCompression;
use crate::format::hole::{Hole, HoleReason};
use crate::format::invariants::{by_partition, runs_tile};
use crate::format::layout::{self, BackupId, CheckpointName, PartId, SegmentId};
use crate::format::manifest::{
    ArchiveOwner, Cut, Manifest, Part, PartRef, PartitionSummary, Repository, TopicSummary, VERSION,
};
use crate::format::record::OwnedRecord;
use crate::format::rope::Rope;
use crate::format::run::Content;
use crate::format::segment::{OpenSegment, StoredSegment, TopicKey};
use crate::store::Store;

/// The archive's name.
pub(crate) const ARCHIVE: &str = "sample";
/// Offsets of partition 0 of `orders` that each backup adds.
pub(crate) const ORDERS_0_ADDED: i64 = 12;
/// Offsets of partition 1 of `orders` that each backup adds.
pub(crate) const ORDERS_1_ADDED: i64 = 8;

/// An archive in a temporary folder.
pub(crate) struct Sample {
    pub(crate) dir: TempDir,
    pub(crate) storage: StorageConfig,
    pub(crate) archive: Archive,
}

/// A backup of a sample.
#[derive(Clone)]
pub(crate) struct Made {
    pub(crate) manifest: Manifest,
    pub(crate) stored: Vec<StoredSegment>,
}

impl Sample {
    /// An archive without backups.
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let storage = StorageConfig::File(FileStorage { dir: dir.path().to_owned() });
        let store = Store::open(&storage).await.unwrap();
        let archive = Archive::new(store, ARCHIVE.parse().unwrap());
        let repository = Repository { id: Uuid::from_u128(1) };
        let owner = ArchiveOwner {
            group: None,
            kind: None,
            namespace: None,
            name: ARCHIVE.to_owned(),
            uid: None,
            source_cluster_id: "source".to_owned(),
        };
        let sample = Self { dir, storage, archive };
        let seal = |kind, json: &serde_json::Value| document::seal(kind, VERSION, Encoding::Json, json);
        let repository = seal(DocumentKind::Repository, &serde_json::to_value(repository).unwrap());
        let owner = seal(DocumentKind::Archive, &serde_json::to_value(owner).unwrap());
        sample.put(layout::REPOSITORY, repository).await;
        sample.put(&sample.archive.keys.archive(), owner).await;
        sample
    }

    pub(crate) async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.archive.store.put(key, Bytes::from(bytes)).await.unwrap();
    }

    /// Keys of everything in the store, sorted.
    pub(crate) async fn keys(&self) -> Vec<String> {
        self.archive.store.list("").await.unwrap().into_iter().map(|object| object.key).collect()
    }

    /// A backup that goes on with `previous`, sharing its segments.
    pub(crate) async fn backup(&self, id: &str, cut_at_ms: i64, previous: Option<&Made>) -> Made {
        let id: BackupId = id.parse().unwrap();
        let mut stored = previous.map_or_else(Vec::new, |made| made.stored.clone());
        let number = i64::try_from(stored.len()).unwrap();
        let (object, segment) = segment(SegmentId::new(&id, 1, 0, 0), number);
        self.put(&self.archive.keys.segment(&segment.segment.id), object).await;
        stored.push(segment);
        let runs = Part::merge(stored.iter().map(Part::of));
        // Two parts, so that there is something between them.
        let mut parts = Vec::new();
        for (number, part) in runs.split(2).into_iter().enumerate() {
            let sealed = part.seal(DocumentKind::Part);
            let id = PartId::new(&id, 1, number);
            parts.push(PartRef::new(id.clone(), &part, &sealed));
            self.put(&self.archive.keys.part(&id), sealed).await;
        }
        let manifest = manifest(id, cut_at_ms, &runs, parts);
        self.commit(&manifest, &runs).await;
        Made { manifest, stored }
    }

    /// Puts facts and manifest of a backup, as a run does at its end.
    pub(crate) async fn commit(&self, manifest: &Manifest, runs: &Part) {
        let object = manifest.seal();
        let facts = BackupFacts::of(manifest, &object, Some(Holdings::of(manifest, &runs.segments)));
        let key = self.archive.keys.facts(&manifest.backup_id, &facts.name().unwrap());
        self.put(&key, FactsDetails::of(manifest).seal()).await;
        self.put(&self.archive.keys.manifest(&manifest.backup_id), object).await;
    }

    /// A backup of nothing, and of which something is missing when there are problems. Cheap enough for hundreds.
    pub(crate) fn bare(&self, id: &str, cut_at_ms: i64, problems: &[&str]) -> Manifest {
        let problems = problems.iter().map(|&problem| problem.to_owned()).collect();
        let bare = Manifest { problems, ..manifest(id.parse().unwrap(), cut_at_ms, &Part::default(), Vec::new()) };
        let object = bare.seal();
        let facts = BackupFacts::of(&bare, &object, Some(Holdings::of(&bare, &[])));
        let keys = &self.archive.keys;
        self.write(&keys.facts(&bare.backup_id, &facts.name().unwrap()), &FactsDetails::of(&bare).seal());
        self.write(&keys.manifest(&bare.backup_id), &object);
        bare
    }

    /// So many bare backups, a day apart and the newest of today, every tenth of them partial.
    pub(crate) fn many(&self, backups: i64, now_ms: i64) {
        for number in 0..backups {
            let cut_at_ms = now_ms - (backups - number) * 86_400_000;
            let problems: &[&str] = if number % 10 == 3 { &["a group could not be read"] } else { &[] };
            self.bare(&format!("b{number:04}"), cut_at_ms, problems);
        }
    }

    /// Past the store, which makes every object durable.
    pub(crate) fn write(&self, key: &str, bytes: &[u8]) {
        let path = self.dir.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    /// Calls since the last time: of all, manifests that were read, and listings.
    pub(crate) fn cost(&self) -> Cost {
        let calls = self.archive.store.take_calls();
        let of = |is: fn(&(&str, String)) -> bool| calls.iter().filter(|call| is(call)).count();
        Cost {
            calls: calls.len(),
            manifests: of(|(call, key)| *call == "read" && key.ends_with("/manifest")),
            listings: of(|(call, _)| matches!(*call, "list" | "list_dirs")),
        }
    }

    /// What a backup run that was killed leaves behind: a cut, a checkpoint, the segment that it names, and one that nothing
    /// names. Gives back the keys of the two segments.
    pub(crate) async fn unfinished(&self, id: &str) -> [String; 2] {
        let id: BackupId = id.parse().unwrap();
        let keys = &self.archive.keys;
        let (object, named) = segment(SegmentId::new(&id, 1, 0, 0), 0);
        let named_key = keys.segment(&named.segment.id);
        self.put(&named_key, object.clone()).await;
        let lost_key = keys.segment(&SegmentId::new(&id, 1, 0, 1));
        self.put(&lost_key, object).await;
        let cut = Cut {
            backup_id: id.clone(),
            at_ms: 0,
            source_cluster_id: "source".to_owned(),
            selection: "all".to_owned(),
            topics: Vec::new(),
            groups: Vec::new(),
            open_transactions: Vec::new(),
            problems: Vec::new(),
            warnings: Vec::new(),
        };
        self.put(&keys.cut(&id), document::seal(DocumentKind::Cut, VERSION, Encoding::JsonZstd, &cut)).await;
        self.put(
            &keys.checkpoint(&id, CheckpointName { epoch: 1, number: 0, folded: 1 }),
            Part::of(&named).seal(DocumentKind::Checkpoint),
        )
        .await;
        [named_key, lost_key]
    }
}

/// What was asked of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    pub(crate) calls: usize,
    pub(crate) manifests: usize,
    pub(crate) listings: usize,
}

/// A topic of the samples.
pub(crate) fn topic(name: &str) -> TopicKey {
    TopicKey { name: name.to_owned(), id: Uuid::from_u128(name.len() as u128) }
}

/// A record that tells its offset.
pub(crate) fn record(offset: i64) -> OwnedRecord {
    OwnedRecord {
        timestamp_ms: 1_770_000_000_000 + offset,
        key: (offset % 3 != 0).then(|| format!("key {offset}").into_bytes()),
        value: if offset % 5 == 0 { None } else { Some(vec![0xff, u8::try_from(offset % 256).unwrap()]) },
        headers: vec![(b"h".to_vec(), None), (b"h".to_vec(), Some(b"twice".to_vec()))],
    }
}

fn segment(id: SegmentId, number: i64) -> (Vec<u8>, StoredSegment) {
    let mut out = Rope::default();
    let compression = ArchiveCompression { codec: Compression::Zstd, level: None };
    let mut open = OpenSegment::new(id, compression, &mut out);
    let batch = |base: i64, count: i64, codec| {
        let records = (base..base + count).map(record);
        BatchBuilder::new(base).compression(codec).leader_epoch(3).records(records)
    };
    let push = |open: &mut OpenSegment, builder: BatchBuilder, out: &mut Rope| {
        let bytes = Bytes::from(builder.build().unwrap());
        open.push_batch(&Batch::parse(&bytes).unwrap(), &bytes, out).unwrap();
    };

    let start = number * ORDERS_0_ADDED;
    open.begin_run(&topic("orders"), 0, start, &mut out).unwrap();
    push(&mut open, batch(start, 4, Compression::None), &mut out);
    push(&mut open, batch(start + 4, 3, Compression::Gzip), &mut out);
    let hole = Hole { start_offset: start + 7, end_offset: start + 8, reason: HoleReason::Control };
    open.push_hole(hole, &mut out).unwrap();
    push(&mut open, batch(start + 8, 4, Compression::None), &mut out);

    let start = number * ORDERS_1_ADDED;
    open.begin_run(&topic("orders"), 1, start, &mut out).unwrap();
    let hole = Hole { start_offset: start, end_offset: start + 3, reason: HoleReason::Aborted };
    open.push_hole(hole, &mut out).unwrap();
    push(&mut open, batch(start + 3, 5, Compression::None).log_append_time_ms(1_770_000_009_999), &mut out);

    let sealed = open.seal(&mut out).unwrap();
    (out.to_bytes().into(), sealed.stored())
}

/// A manifest that names nothing.
pub(crate) fn empty(id: &str) -> Manifest {
    manifest(id.parse().unwrap(), 0, &Part::default(), Vec::new())
}

fn manifest(backup_id: BackupId, cut_at_ms: i64, runs: &Part, parts: Vec<PartRef>) -> Manifest {
    let by_partition = by_partition(runs.runs().map(|(topic, _, run)| (topic, run)));
    let partition = |name: &str, partition| {
        let key = topic(name);
        let of_partition = by_partition.get(&(&key, partition)).cloned().unwrap_or_default();
        let end_offset = of_partition.last().map_or(0, |run| run.end_offset);
        let content = runs_tile(&key, partition, 0, end_offset, &of_partition).unwrap();
        PartitionSummary { partition, start_offset: 0, end_offset, content, ..PartitionSummary::default() }
    };
    let summary = |name: &str, partitions: i32| TopicSummary {
        topic: topic(name),
        replication_factor: 1,
        configs: [("retention.ms".to_owned(), "-1".to_owned())].into(),
        partitions: (0..partitions).map(|number| partition(name, number)).collect(),
    };
    let topics = vec![summary("empty", 1), summary("orders", 2)];
    let mut content = Content::default();
    topics.iter().for_each(|topic| content.add(&topic.content()));
    Manifest {
        backup_id,
        archive: ARCHIVE.parse().unwrap(),
        engine_version: "0.0.0".to_owned(),
        source_cluster_id: "source".to_owned(),
        cut_at_ms,
        completed_at_ms: cut_at_ms + 1,
        topics,
        groups: Vec::new(),
        parts,
        open_transactions: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        content,
        segment_bytes: runs.segments.iter().map(|segment| segment.bytes).sum(),
        include_offset_headers: false,
        source_cluster_label: None,
    }
}
