//! An archive of many backups of one shape, made without a cluster.

use anyhow::{Context, Result};
use kafka_backup::clock::now_ms;
use kafka_backup::format::document::{self, DocumentKind, Encoding};
use kafka_backup::format::facts::{BackupFacts, FactsDetails, Holdings};
use kafka_backup::format::layout::{self, BackupId, PartId, SegmentId};
use kafka_backup::format::manifest::{
    ArchiveOwner, CommittedOffset, Group, Manifest, Part, PartRef, PartitionSummary, Repository, TopicRuns,
    TopicSummary, VERSION,
};
use kafka_backup::format::run::{Content, Run};
use kafka_backup::format::segment::{SegmentRef, TopicKey};
use kafka_backup::repository::Archive;

use super::{
    ARCHIVE, DAY_MS, OFFSETS_OF_A_GROUP, Options, PARTITIONS_OF_A_TOPIC, archive, cluster, group_name, topic_name,
};

const SEGMENT: &[u8] = b"it is counted and never opened";

/// Fills the archive with daily backups up to today; the size of a manifest in bytes.
pub async fn fill(storage: &str, options: &Options, cluster_id: &str) -> Result<usize> {
    let archive = archive(storage).await?;
    let Archive { store, keys, .. } = &archive;
    let owner = ArchiveOwner {
        group: None,
        kind: None,
        namespace: None,
        name: ARCHIVE.to_owned(),
        uid: None,
        source_cluster_id: cluster_id.to_owned(),
    };
    let repository = Repository { id: "00000000-0000-0000-0000-000000000001".parse()? };
    let sealed = document::seal(DocumentKind::Repository, VERSION, Encoding::Json, &repository);
    store.put(layout::REPOSITORY, sealed.into()).await?;
    store.put(&keys.archive(), document::seal(DocumentKind::Archive, VERSION, Encoding::Json, &owner).into()).await?;
    let mut manifest = manifest(options, cluster_id)?;
    let now_ms = now_ms();
    let mut bytes = 0;
    for number in 0..options.backups {
        let cut_at_ms = now_ms - DAY_MS * i64::try_from(options.backups - number)?;
        let id: BackupId = format!("large-{number:06}").parse()?;
        let part = part(&id, &manifest);
        let sealed = part.seal(DocumentKind::Part);
        let named = PartRef::new(PartId::new(&id, 1, 0), &part, &sealed);
        store.put(&keys.segment(&part.segments[0].id), SEGMENT.into()).await?;
        store.put(&keys.part(&named.id), sealed.into()).await?;
        (manifest.backup_id, manifest.cut_at_ms, manifest.completed_at_ms) = (id, cut_at_ms, cut_at_ms + 1);
        manifest.parts = vec![named];
        let object = manifest.seal();
        bytes = object.len();
        let facts = BackupFacts::of(&manifest, &object, Some(Holdings::of(&manifest, &part.segments)));
        let name = facts.name().context("facts without a name")?;
        store.put(&keys.facts(&manifest.backup_id, &name), FactsDetails::of(&manifest).seal().into()).await?;
        store.put(&keys.manifest(&manifest.backup_id), object.into()).await?;
        if number % 100 == 99 {
            eprintln!("{} of {} backups", number + 1, options.backups);
        }
    }
    Ok(bytes)
}

/// One segment with a run of each partition.
fn part(id: &BackupId, manifest: &Manifest) -> Part {
    let segment = SegmentRef {
        id: SegmentId::new(id, 1, 0, 0),
        bytes: SEGMENT.len() as u64,
        index_sha256: document::sha256_hex(SEGMENT),
    };
    let run = |partition: &PartitionSummary| Run {
        partition: partition.partition,
        start_offset: partition.start_offset,
        end_offset: partition.end_offset,
        position: 0,
        leader_epoch: 0,
        crc32c: 0,
        content: partition.content,
    };
    let runs = |topic: &TopicSummary| TopicRuns {
        topic: topic.topic.clone(),
        runs: topic.partitions.iter().map(|partition| (0, run(partition))).collect(),
    };
    Part { segments: vec![segment], topics: manifest.topics.iter().map(runs).collect() }
}

/// The manifest of every backup, without its id, times and parts.
fn manifest(options: &Options, cluster_id: &str) -> Result<Manifest> {
    let content = Content { batches: 900, records: 1_000_000, raw_bytes: 123_456_789, ..Content::default() };
    let mut topics = Vec::new();
    for number in 0..options.partitions.div_ceil(PARTITIONS_OF_A_TOPIC) {
        let partitions = cluster::partitions_of(number, options.partitions);
        let partition = |partition| {
            let partition = i32::try_from(partition)?;
            Ok(PartitionSummary {
                partition,
                start_offset: 1_000_000,
                end_offset: 2_000_000,
                cut_end_offset: None,
                last_leader_epoch: Some(7),
                missing: false,
                content,
            })
        };
        topics.push(TopicSummary {
            topic: TopicKey { name: topic_name(number), id: format!("00000000-0000-0000-0000-{number:012}").parse()? },
            replication_factor: 3,
            configs: [("retention.ms".to_owned(), "604800000".to_owned())].into(),
            partitions: (0..partitions).map(partition).collect::<Result<_>>()?,
        });
    }
    let group = |number: usize| Group {
        id: group_name(number),
        protocol: "classic".to_owned(),
        offsets: (0..OFFSETS_OF_A_GROUP)
            .map(|partition| CommittedOffset {
                topic: topic_name(number % options.partitions.div_ceil(PARTITIONS_OF_A_TOPIC)),
                partition: i32::try_from(partition).unwrap_or_default(),
                offset: 1_500_000,
                leader_epoch: 7,
                metadata: String::new(),
            })
            .collect(),
    };
    let mut all = Content::default();
    topics.iter().for_each(|topic| all.add(&topic.content()));
    Ok(Manifest {
        backup_id: "large".parse()?,
        archive: ARCHIVE.parse()?,
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        source_cluster_id: cluster_id.to_owned(),
        cut_at_ms: 0,
        completed_at_ms: 0,
        topics,
        groups: (0..options.groups).map(group).collect(),
        parts: Vec::new(),
        open_transactions: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        content: all,
        segment_bytes: SEGMENT.len() as u64,
        include_offset_headers: false,
        source_cluster_label: None,
    })
}
