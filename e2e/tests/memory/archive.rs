//! An archive with a backup that was made without a cluster.

use anyhow::{Context, Result};
use kafka_backup::config::storage::StorageConfig;
use kafka_backup::format::batch::{Batch, Compression, batches};
use kafka_backup::format::document::{self, DocumentKind, Encoding};
use kafka_backup::format::frame::ArchiveCompression;
use kafka_backup::format::layout::{self, ArchiveKeys, ArchiveName, BackupId, PartId, SegmentId};
use kafka_backup::format::manifest::{
    ArchiveOwner, Manifest, Part, PartRef, PartitionSummary, Repository, TopicSummary, VERSION,
};
use kafka_backup::format::rope::Rope;
use kafka_backup::format::segment::{OpenSegment, StoredSegment, TopicKey};
use kafka_backup::store::Store;

/// The archive's name.
pub const ARCHIVE: &str = "a";
const BACKUP: &str = "a-1";
const CLUSTER: &str = "of-nobody";
const CUT_AT_MS: i64 = 1_770_906_600_000;

/// Stores a backup of one topic. Each partition is a segment, in which this batch is so often, each copy behind the one before.
///
/// # Errors
/// When the storage cannot be written to.
pub fn store(storage: &str, topic: &str, partitions: i32, batch: &[u8], copies: i64) -> Result<()> {
    let storage: StorageConfig = storage.parse().context("the storage cannot be read")?;
    let log = log(batch, copies)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?;
    runtime.block_on(store_backup(&storage, topic, partitions, &log))
}

/// The log of a partition, from offset 0 on.
fn log(batch: &[u8], copies: i64) -> Result<Rope> {
    let offsets = Batch::parse(batch)?.next_offset();
    let mut log = Rope::default();
    for number in 0..copies {
        // No checksum covers the base offset, which a broker fills in.
        log.copy(&(number * offsets).to_be_bytes());
        log.copy(&batch[8..]);
    }
    Ok(log)
}

async fn store_backup(storage: &StorageConfig, topic: &str, partitions: i32, log: &Rope) -> Result<()> {
    let store = Store::open_or_create(storage).await?;
    let (archive, id): (ArchiveName, BackupId) = (ARCHIVE.parse()?, BACKUP.parse()?);
    let keys = ArchiveKeys::new(&archive);
    let repository = Repository { id: "00000000-0000-0000-0000-000000000001".parse()? };
    let sealed = document::seal(DocumentKind::Repository, VERSION, Encoding::Json, &repository);
    store.put(layout::REPOSITORY, sealed.into()).await?;
    let owner = ArchiveOwner {
        group: None,
        kind: None,
        namespace: None,
        name: ARCHIVE.to_owned(),
        uid: None,
        source_cluster_id: CLUSTER.to_owned(),
    };
    let sealed = document::seal(DocumentKind::Archive, VERSION, Encoding::Json, &owner);
    store.put(&keys.archive(), sealed.into()).await?;

    let topic = TopicKey { name: topic.to_owned(), id: "00000000-0000-0000-0000-000000000002".parse()? };
    let (mut parts, mut summaries) = (Vec::new(), Vec::new());
    for partition in 0..partitions {
        let number = u64::from(partition.unsigned_abs());
        let (stored, object) = segment(SegmentId::new(&id, 1, 0, number), &topic, partition, log)?;
        store.put(&keys.segment(&stored.segment.id), object.to_bytes()).await?;
        summaries.extend(stored.index.runs.iter().map(|indexed| PartitionSummary {
            partition,
            start_offset: indexed.run.start_offset,
            end_offset: indexed.run.end_offset,
            content: indexed.run.content,
            ..PartitionSummary::default()
        }));
        parts.push(Part::of(&stored));
    }
    let part = Part::merge(parts);
    let sealed = part.seal(DocumentKind::Part);
    let named = PartRef::new(PartId::new(&id, 1, 0), &part, &sealed);
    store.put(&keys.part(&named.id), sealed.into()).await?;

    // The records are older than what brokers keep by default.
    let configs = [("retention.ms".to_owned(), "-1".to_owned())].into();
    let topic = TopicSummary { topic, replication_factor: 1, configs, partitions: summaries };
    let manifest = Manifest {
        backup_id: id.clone(),
        archive,
        engine_version: env!("CARGO_PKG_VERSION").to_owned(),
        source_cluster_id: CLUSTER.to_owned(),
        cut_at_ms: CUT_AT_MS,
        completed_at_ms: CUT_AT_MS + 1,
        content: topic.content(),
        topics: vec![topic],
        groups: Vec::new(),
        parts: vec![named],
        open_transactions: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        segment_bytes: part.segments.iter().map(|segment| segment.bytes).sum(),
        include_offset_headers: false,
        source_cluster_label: None,
    };
    store.put(&keys.manifest(&id), manifest.seal().into()).await?;
    Ok(())
}

/// A segment with this log of a partition, and its bytes.
fn segment(id: SegmentId, topic: &TopicKey, partition: i32, log: &Rope) -> Result<(StoredSegment, Rope)> {
    let (log, mut object) = (log.to_bytes(), Rope::default());
    let compression = ArchiveCompression { codec: Compression::Zstd, level: None };
    let mut segment = OpenSegment::new(id, compression, &mut object);
    segment.begin_run(topic, partition, 0, &mut object)?;
    for batch in batches(&log, false) {
        segment.push_batch(&batch?, &log, &mut object)?;
    }
    Ok((segment.seal(&mut object)?.stored(), object))
}
