//! What a backup holds, read straight from the archive by the engine's own library: records, holes, warnings.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use kafka_backup::config::DECOMPRESSED_BATCH_BYTES_MAX;
use kafka_backup::config::storage::StorageConfig;
use kafka_backup::format::checksum::crc32c;
use kafka_backup::format::codec::Decompressor;
use kafka_backup::format::frame::Frame;
use kafka_backup::format::hole::Hole;
use kafka_backup::format::manifest::{Group, Manifest};
use kafka_backup::format::record::{self, OwnedRecord};
use kafka_backup::repository::segment::{pieces, read_index};
use kafka_backup::repository::{Archive, Repository};

use super::oracle::hash;
use crate::dump::Record;

/// What values of records hold that are written in a transaction which is then aborted.
pub const ABORTED_MARK: &str = "fate=aborted";

/// A backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Backup {
    /// Its id.
    pub id: String,
    /// When its cut was made, in milliseconds since 1970.
    pub cut_at_ms: i64,
    /// When its manifest was made, likewise.
    pub completed_at_ms: i64,
    /// The topics, by name.
    pub topics: BTreeMap<String, Topic>,
    /// What groups have committed, by group, topic and partition.
    pub groups: BTreeMap<String, BTreeMap<(String, i32), i64>>,
    /// What is missing, each in one line.
    pub problems: Vec<String>,
    /// What else should be known, each in one line.
    pub warnings: Vec<String>,
}

/// A topic of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topic {
    /// Its id, as Kafka writes it.
    pub id: String,
    /// The partitions, by number.
    pub partitions: BTreeMap<i32, Partition>,
}

/// A partition of a backup.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// The first offset that the backup answers for.
    pub start_offset: i64,
    /// The offset after the last one that the backup answers for.
    pub end_offset: i64,
    /// The last stable offset at the cut.
    pub cut_end_offset: i64,
    /// Whether it could not be read.
    pub is_missing: bool,
    /// The records, in the order in which they are stored.
    pub records: Vec<Stored>,
    /// The holes, in the same order.
    pub holes: Vec<Hole>,
    /// Offsets that batches leave out between their first and last record.
    pub inner_holes: Vec<i64>,
}

/// A record of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since 1970.
    pub timestamp_ms: i64,
    /// CRC-32C of timestamp, key, value and headers.
    pub crc: u32,
    /// A hash of the key, if it has one.
    pub key: Option<u64>,
    /// Whether its value is null.
    pub is_tombstone: bool,
    /// Whether its value says that it was written in a transaction which was then aborted.
    pub is_aborted: bool,
}

impl Stored {
    /// What is kept of a record.
    pub fn of(offset: i64, record: &OwnedRecord) -> Result<Self> {
        let OwnedRecord { timestamp_ms, key, value, headers } = record;
        let is_aborted = value.as_ref().is_some_and(|value| holds(value, ABORTED_MARK.as_bytes()));
        let dumped = Record {
            timestamp_ms: *timestamp_ms,
            key: key.clone(),
            value: value.clone(),
            headers: headers.clone(),
            ..Record::default()
        };
        Ok(Self {
            offset,
            timestamp_ms: *timestamp_ms,
            crc: crc_of(&dumped)?,
            key: key.as_deref().map(hash),
            is_tombstone: value.is_none(),
            is_aborted,
        })
    }
}

/// CRC-32C of what a record is beside its place, as the oracle computes it.
pub fn crc_of(record: &Record) -> Result<u32> {
    /// Partition, offset and timestamp type come first in a dump.
    const PLACE_BYTES: usize = 4 + 8 + 1;
    let mut bytes = Vec::new();
    record.write(&mut bytes)?;
    Ok(crc32c(&bytes[PLACE_BYTES..]))
}

fn holds(bytes: &[u8], wanted: &[u8]) -> bool {
    bytes.windows(wanted.len()).any(|window| window == wanted)
}

/// Reads a backup of the repository in this folder.
///
/// # Errors
/// When the backup is not there, or anything in it is damaged.
pub fn read(folder: &Path, id: &str) -> Result<Backup> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(read_backup(folder, id)).with_context(|| format!("backup {id} cannot be read"))
}

async fn read_backup(folder: &Path, id: &str) -> Result<Backup> {
    let storage: StorageConfig = format!("file://{}", folder.display()).parse()?;
    let repository = Repository::open(&storage).await?;
    let (archive, manifest) = repository.find(&id.parse()?).await?;
    let mut backup = described(&manifest);
    read_runs(&archive, &manifest, &mut backup).await?;
    Ok(backup)
}

fn described(manifest: &Manifest) -> Backup {
    let topics = manifest.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let described = Partition {
                start_offset: partition.start_offset,
                end_offset: partition.end_offset,
                cut_end_offset: partition.cut_end_offset.unwrap_or(partition.end_offset),
                is_missing: partition.missing,
                ..Partition::default()
            };
            (partition.partition, described)
        });
        let id = kafka_id(topic.topic.id.as_bytes());
        (topic.topic.name.clone(), Topic { id, partitions: partitions.collect() })
    });
    Backup {
        id: manifest.backup_id.to_string(),
        cut_at_ms: manifest.cut_at_ms,
        completed_at_ms: manifest.completed_at_ms,
        topics: topics.collect(),
        groups: manifest.groups.iter().map(|group| (group.id.clone(), committed(group))).collect(),
        problems: manifest.problems.clone(),
        warnings: manifest.warnings.clone(),
    }
}

fn committed(group: &Group) -> BTreeMap<(String, i32), i64> {
    group.offsets.iter().map(|offset| ((offset.topic.clone(), offset.partition), offset.offset)).collect()
}

/// Reads every run, in the order of partitions and offsets.
async fn read_runs(archive: &Archive, manifest: &Manifest, backup: &mut Backup) -> Result<()> {
    let part = archive.runs(manifest).await?;
    let mut decompressor = Decompressor::for_records_up_to(DECOMPRESSED_BATCH_BYTES_MAX);
    let mut indexes = BTreeMap::new();
    for (topic, segment, run) in part.runs() {
        if !indexes.contains_key(&segment.id) {
            indexes.insert(segment.id.clone(), read_index(&archive.store, &archive.keys, segment).await?.0);
        }
        let index = &indexes[&segment.id];
        let indexed = index
            .runs
            .iter()
            .find(|indexed| indexed.run == *run && index.topics[indexed.topic] == *topic)
            .with_context(|| format!("segment {} has no run {topic:?} {run:?}", segment.id))?;
        let of_topic = backup.topics.get_mut(&topic.name).with_context(|| format!("a run of {topic:?}"))?;
        ensure!(of_topic.id == kafka_id(topic.id.as_bytes()), "a run of another topic of the name: {topic:?}");
        let partition = of_topic.partitions.get_mut(&run.partition).context("a run of an unknown partition")?;
        let key = archive.keys.segment(&segment.id);
        for piece in pieces(indexed, 0, 4 << 20) {
            let mut bytes = archive.store.read_range(&key, piece.bytes.clone()).await?;
            while !bytes.is_empty() {
                let (frame, taken) = Frame::decode(&bytes, &mut decompressor)?;
                frame.check()?;
                take(partition, &frame, run.start_offset..run.end_offset, &mut decompressor)?;
                bytes = bytes.slice(taken..);
            }
        }
    }
    Ok(())
}

fn take(
    partition: &mut Partition,
    frame: &Frame,
    offsets: std::ops::Range<i64>,
    decompressor: &mut Decompressor,
) -> Result<()> {
    for batch in frame.batches() {
        let batch = batch?;
        ensure!(!batch.is_control(), "a control batch at offset {}", batch.base_offset());
        let mut expected = batch.base_offset();
        for (offset, record) in record::decode(&batch, decompressor)? {
            partition.inner_holes.extend((expected..offset).filter(|offset| offsets.contains(offset)));
            expected = offset + 1;
            if offsets.contains(&offset) {
                partition.records.push(Stored::of(offset, &record)?);
            }
        }
        partition.inner_holes.extend((expected..batch.next_offset()).filter(|offset| offsets.contains(offset)));
    }
    partition.holes.extend(frame.holes.iter().copied());
    Ok(())
}

/// A topic id as Kafka writes it: base64 with the alphabet of URLs, without padding.
fn kafka_id(id: &[u8; 16]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_aborted_transaction_is_known_by_its_value() {
        let record = |value: &str| OwnedRecord { value: Some(value.into()), ..OwnedRecord::default() };
        assert!(Stored::of(0, &record("n=1 fate=aborted x")).unwrap().is_aborted);
        assert!(!Stored::of(0, &record("n=1 fate=committed x")).unwrap().is_aborted);
    }

    #[test]
    fn the_place_of_a_record_is_not_part_of_its_checksum_and_everything_else_is() {
        let record = Record::new(3, 5, "k", "v");
        let elsewhere = Record { partition: 1, offset: 77, is_append_time: true, ..record.clone() };
        assert_eq!(crc_of(&record).unwrap(), crc_of(&elsewhere).unwrap());
        assert_ne!(crc_of(&record).unwrap(), crc_of(&Record { timestamp_ms: 6, ..record.clone() }).unwrap());
        assert_ne!(crc_of(&record).unwrap(), crc_of(&record.with_header("h", None)).unwrap());
    }
}
