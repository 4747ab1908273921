//! Records of a backup as JSON lines, straight from the archive: nothing is restored, and no more is read than is shown.
//!
//! The manifest knows the part that lists the run that holds an offset, the index of its segment the frame, and one ranged request
//! brings it.

mod line;

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use self::line::Line;
use crate::config::cat::CatConfig;
use crate::error::Kind;
use crate::format::batch;
use crate::format::batch::Batch;
use crate::format::codec::Decompressor;
use crate::format::frame::{self, Frame};
use crate::format::layout::{BackupId, SegmentId};
use crate::format::manifest::{Manifest, Part, PartRange, PartRef};
use crate::format::record;
use crate::format::run::Run;
use crate::format::segment::{Index, IndexedRun, SegmentRef, TopicKey};
use crate::repository::segment::{self as stored, pieces, read_index};
use crate::repository::{self, Archive, Repository};
use crate::stop::Stop;
use crate::store;

/// What one request reads, after the first frame of a run.
const PIECE_BYTES_MAX: u64 = 4 << 20;
/// Indexes that are kept: partitions that lie beside each other stand in the same segments.
const INDEXES_KEPT: usize = 16;
/// Names that an error lists.
const NAMES_SHOWN: usize = 10;

/// Why records cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The repository.
    #[error(transparent)]
    Repository(#[from] repository::Error),
    /// A segment.
    #[error(transparent)]
    Segment(#[from] stored::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The backup does not have the topic.
    #[error("backup {backup} has no topic {topic:?}: {known}")]
    NoTopic {
        /// The backup.
        backup: BackupId,
        /// What was asked for.
        topic: String,
        /// What there is, in words.
        known: String,
    },
    /// The topic does not have the partition.
    #[error("topic {topic:?} has no partition {partition} in backup {backup}: its partitions are 0 to {last}")]
    NoPartition {
        /// The backup.
        backup: BackupId,
        /// The topic.
        topic: String,
        /// What was asked for.
        partition: i32,
        /// The largest number that there is.
        last: i32,
    },
    /// An offset that no log has.
    #[error("the offset {0} to begin with is below 0")]
    FromOffset(i64),
    /// The segment's index and the manifest do not agree.
    #[error("{key}, bytes {}..{}: the index has not the run that the manifest names: verify the backup", bytes.start, bytes.end)]
    NoRun {
        /// The segment.
        key: String,
        /// Where the run should be.
        bytes: Range<u64>,
    },
    /// A frame, or a batch in it, is damaged.
    #[error("{key}, bytes {}..{}: {why}", bytes.start, bytes.end)]
    Damaged {
        /// The segment.
        key: String,
        /// Where.
        bytes: Range<u64>,
        /// What is wrong.
        why: Damage,
    },
    /// Records of some batches were left out.
    #[error("{}{} cannot be shown, everything else is", names.join("; "), match more { 0 => String::new(), more => format!("; and {more} more batches") })]
    Unreadable {
        /// The first of them, each with its topic, partition, offset and the reason.
        names: Vec<String>,
        /// How many others there are.
        more: usize,
    },
    /// The records cannot be written out.
    #[error("the records cannot be written: {0}")]
    Output(io::Error),
    /// The run was asked to stop.
    #[error("stopped as asked, after {records} records")]
    Interrupted {
        /// Records that were shown.
        records: u64,
    },
}

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// The frame.
    #[error(transparent)]
    Frame(#[from] frame::Error),
    /// A batch.
    #[error(transparent)]
    Batch(#[from] batch::Error),
}

impl Error {
    /// What it asks of whoever reads it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Repository(error) => error.kind(),
            Self::Segment(error) => error.kind(),
            Self::Store(error) => error.kind(),
            Self::NoTopic { .. } | Self::NoPartition { .. } | Self::FromOffset(_) => Kind::Usage,
            Self::NoRun { .. } | Self::Damaged { .. } | Self::Unreadable { .. } => Kind::Corrupt,
            Self::Output(_) => Kind::Unavailable,
            Self::Interrupted { .. } => Kind::Interrupted,
        }
    }
}

/// What was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CatReport {
    /// Records that were written.
    pub records: u64,
}

/// Writes the records that are asked for, one JSON object a line, partition by partition in the order of offsets.
///
/// When the reader of `out` goes away, that is the end, and no error.
///
/// # Errors
/// When the backup, the topic or the partition is not there, or what is to be shown is damaged.
pub async fn run(config: &CatConfig, out: &mut (impl Write + Send), stop: &Stop) -> Result<CatReport, Error> {
    if config.from_offset < 0 {
        return Err(Error::FromOffset(config.from_offset));
    }
    let repository = Repository::open(&config.storage).await?;
    let (archive, manifest) = repository.find(&config.backup).await?;
    match show(config, &archive, &manifest, out, stop).await {
        Err(error) if is_missing(&error) => Err(unless_deleted(&archive, &manifest, error).await),
        shown => shown,
    }
}

/// Whether an object that the backup names is not there.
fn is_missing(error: &Error) -> bool {
    matches!(
        error,
        Error::Repository(repository::Error::Store(error))
        | Error::Segment(stored::Error::Store(error))
        | Error::Store(error) if error.is_not_found()
    )
}

/// What it means that an object is not there. No lease is taken, so retention may have deleted the backup since its manifest was
/// read, and a run may even have made another one of its id: neither is damage.
async fn unless_deleted(archive: &Archive, manifest: &Manifest, error: Error) -> Error {
    match archive.still_holds(manifest).await {
        // It was deleted or replaced; or the store does not answer any more, which says nothing of the backup.
        Err(other) if other.kind() != Kind::Corrupt => other.into(),
        Ok(()) | Err(_) => error,
    }
}

/// Writes the records that are asked for, of a backup whose manifest was read.
async fn show(
    config: &CatConfig,
    archive: &Archive,
    manifest: &Manifest,
    out: &mut (impl Write + Send),
    stop: &Stop,
) -> Result<CatReport, Error> {
    let (topic, partitions) = partitions(config, manifest)?;
    let left = config.limit.unwrap_or(u64::MAX);
    let mut cat = Cat { config, archive, stop, out, indexes: VecDeque::new(), left, unreadable: Vec::new() };
    let mut parts = Parts { archive, manifest, last: None };
    let shown = async {
        for partition in partitions {
            for group in parts_of(manifest, topic, partition, config.from_offset) {
                if cat.left == 0 {
                    break;
                }
                let part = parts.read(group).await?;
                let runs = part.runs().filter(|(of, _, run)| *of == topic && run.partition == partition);
                for (topic, segment, run) in runs {
                    if cat.left > 0 && run.end_offset > config.from_offset {
                        cat.show(topic, segment, run).await?;
                    }
                }
            }
        }
        cat.out.flush().map_err(Error::Output)
    }
    .await;
    let unreadable = std::mem::take(&mut cat.unreadable);
    let records = config.limit.unwrap_or(u64::MAX) - cat.left;
    match shown {
        Err(Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(CatReport { records }),
        Ok(()) if !unreadable.is_empty() => {
            let more = unreadable.len().saturating_sub(NAMES_SHOWN);
            Err(Error::Unreadable { names: unreadable.into_iter().take(NAMES_SHOWN).collect(), more })
        }
        shown => shown.map(|()| CatReport { records }),
    }
}

/// The parts that may list runs of a partition from this offset on, by their numbers, in the order of their offsets. Parts whose
/// ranges are not stated, or overlap, are read together: only then their runs are in order.
fn parts_of(manifest: &Manifest, topic: &TopicKey, partition: i32, from_offset: i64) -> Vec<Vec<usize>> {
    let may_hold = |(_, part): &(usize, &PartRef)| part.may_hold(topic, partition, from_offset);
    let mut wanted: Vec<(usize, &PartRef)> = manifest.parts.iter().enumerate().filter(may_hold).collect();
    if wanted.iter().any(|(_, part)| part.range.is_none()) {
        return vec![wanted.into_iter().map(|(number, _)| number).collect()];
    }
    wanted.sort_by_key(|(_, part)| part.range.as_ref().map(|range| &range.start));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let mut end = None;
    for (number, part) in wanted {
        let Some(PartRange { start, end: end_of_part, .. }) = &part.range else { continue };
        match groups.last_mut() {
            Some(group) if end.is_some_and(|end| start < end) => group.push(number),
            Some(_) | None => groups.push(vec![number]),
        }
        end = end.max(Some(end_of_part));
    }
    groups
}

/// Parts as they are needed. Neighbouring partitions are listed in the same ones.
struct Parts<'a> {
    archive: &'a Archive,
    manifest: &'a Manifest,
    last: Option<(Vec<usize>, Arc<Part>)>,
}

impl Parts<'_> {
    async fn read(&mut self, group: Vec<usize>) -> Result<Arc<Part>, Error> {
        if let Some((numbers, part)) = &self.last
            && *numbers == group
        {
            return Ok(Arc::clone(part));
        }
        // What is not needed any more is not in memory next to what is.
        self.last = None;
        let parts = group.iter().filter_map(|number| self.manifest.parts.get(*number).cloned()).collect();
        let part = Arc::new(self.archive.runs_in(&self.manifest.backup_id, parts).await?);
        self.last = Some((group, Arc::clone(&part)));
        Ok(part)
    }
}

/// The topic, and its partitions to show.
fn partitions<'m>(config: &CatConfig, manifest: &'m Manifest) -> Result<(&'m TopicKey, Vec<i32>), Error> {
    let backup = || manifest.backup_id.clone();
    let Some(topic) = manifest.topics.iter().find(|topic| topic.topic.name == config.topic) else {
        let names: Vec<_> = manifest.topics.iter().map(|topic| topic.topic.name.as_str()).collect();
        let more = names.len().saturating_sub(NAMES_SHOWN);
        let known = match (names.as_slice(), more) {
            ([], _) => "it has none at all".to_owned(),
            (names, 0) => format!("it has {}", names.join(", ")),
            (names, more) => format!("it has {} and {more} more", names[..NAMES_SHOWN].join(", ")),
        };
        return Err(Error::NoTopic { backup: backup(), topic: config.topic.clone(), known });
    };
    let numbers: Vec<i32> = topic.partitions.iter().map(|partition| partition.partition).collect();
    match config.partition {
        None => Ok((&topic.topic, numbers)),
        Some(partition) if numbers.contains(&partition) => Ok((&topic.topic, vec![partition])),
        Some(partition) => Err(Error::NoPartition {
            backup: backup(),
            topic: config.topic.clone(),
            partition,
            last: numbers.last().copied().unwrap_or(-1),
        }),
    }
}

struct Cat<'a, W> {
    config: &'a CatConfig,
    archive: &'a Archive,
    stop: &'a Stop,
    out: &'a mut W,
    indexes: VecDeque<(SegmentId, Arc<Index>)>,
    /// Records that may still be shown.
    left: u64,
    /// Batches whose records cannot be read, in words.
    unreadable: Vec<String>,
}

impl<W: Write> Cat<'_, W> {
    async fn show(&mut self, topic: &TopicKey, segment: &SegmentRef, run: &Run) -> Result<(), Error> {
        let key = self.archive.keys.segment(&segment.id);
        let index = self.index(segment).await?;
        let is_it = |indexed: &&IndexedRun| indexed.run == *run && index.topics[indexed.topic] == *topic;
        let Some(indexed) = index.runs.iter().find(is_it) else {
            return Err(Error::NoRun { key, bytes: run.byte_range() });
        };
        let offsets = run.start_offset.max(self.config.from_offset)..run.end_offset;
        let first = indexed.frames.iter().rposition(|(_, start_offset, _)| *start_offset <= offsets.start).unwrap_or(0);
        // One frame first: often no more is wanted.
        let mut piece_bytes_max = 0;
        let mut next = first;
        let mut decompressor = Decompressor::for_records_up_to(self.config.decompressed_batch_bytes_max);
        while let Some(piece) = pieces(indexed, next, piece_bytes_max).into_iter().next() {
            if self.stop.is_set() {
                let records = self.config.limit.unwrap_or(u64::MAX) - self.left;
                return Err(Error::Interrupted { records });
            }
            let mut bytes = self.archive.store.read_range(&key, piece.bytes.clone()).await?;
            let mut position = piece.bytes.start;
            for (frame_bytes, ..) in &indexed.frames[piece.frames.clone()] {
                let at = position..position + frame_bytes;
                let damaged = |why| Error::Damaged { key: key.clone(), bytes: at.clone(), why };
                let (frame, taken) = Frame::decode(&bytes, &mut decompressor).map_err(|error| damaged(error.into()))?;
                for batch in frame.batches() {
                    let batch = batch.map_err(|error| damaged(error.into()))?;
                    if batch.next_offset() > offsets.start {
                        match record::checked(&batch, &mut decompressor) {
                            Ok(records) => self.write(run.partition, &batch, &records, &offsets)?,
                            Err(error) => self.unreadable.push(format!(
                                "topic {:?} partition {}: the batch at offset {}: {error}",
                                self.config.topic,
                                run.partition,
                                batch.base_offset()
                            )),
                        }
                    }
                    if self.left == 0 {
                        return Ok(());
                    }
                }
                bytes::Buf::advance(&mut bytes, taken);
                position = at.end;
            }
            next = piece.frames.end;
            piece_bytes_max = PIECE_BYTES_MAX;
        }
        Ok(())
    }

    fn write(&mut self, partition: i32, batch: &Batch<'_>, records: &[u8], offsets: &Range<i64>) -> Result<(), Error> {
        let time = record::RecordTime::of_batch(batch);
        for record in record::Records::new(records, batch).map_while(Result::ok) {
            let offset = batch.base_offset() + i64::from(record.offset_delta);
            if !offsets.contains(&offset) {
                continue;
            }
            if self.left == 0 {
                return Ok(());
            }
            let record = record.to_owned(time);
            let line = Line::of(&self.config.topic, partition, offset, batch.is_log_append_time(), &record);
            serde_json::to_writer(&mut self.out, &line).map_err(|error| Error::Output(error.into()))?;
            self.out.write_all(b"\n").map_err(Error::Output)?;
            self.left -= 1;
        }
        Ok(())
    }

    async fn index(&mut self, segment: &SegmentRef) -> Result<Arc<Index>, Error> {
        if let Some((_, index)) = self.indexes.iter().find(|(id, _)| *id == segment.id) {
            return Ok(Arc::clone(index));
        }
        let (index, _) = read_index(&self.archive.store, &self.archive.keys, segment).await?;
        let index = Arc::new(index);
        self.indexes.truncate(INDEXES_KEPT - 1);
        self.indexes.push_front((segment.id.clone(), Arc::clone(&index)));
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::format::manifest::PartPlace;
    use crate::repository::sample::Sample;

    fn config(sample: &Sample) -> CatConfig {
        CatConfig {
            storage: sample.storage.clone(),
            backup: "b2".parse().unwrap(),
            topic: "orders".to_owned(),
            partition: None,
            from_offset: 0,
            limit: None,
            decompressed_batch_bytes_max: crate::config::DECOMPRESSED_BATCH_BYTES_MAX,
        }
    }

    async fn cat(sample: &Sample, edit: impl FnOnce(&mut CatConfig)) -> Result<Vec<Value>, Error> {
        let mut config = config(sample);
        edit(&mut config);
        let mut out = Vec::new();
        let report = run(&config, &mut out, &Stop::default()).await?;
        let lines: Vec<Value> = out
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        assert_eq!(lines.len() as u64, report.records);
        Ok(lines)
    }

    async fn two_backups() -> Sample {
        let sample = Sample::new().await;
        let first = sample.backup("b1", 1, None).await;
        sample.backup("b2", 2, Some(&first)).await;
        sample
    }

    fn offsets(lines: &[Value]) -> Vec<(i64, i64)> {
        lines.iter().map(|line| (line["partition"].as_i64().unwrap(), line["offset"].as_i64().unwrap())).collect()
    }

    #[tokio::test]
    async fn shows_every_record_in_order_across_segments_and_skips_holes() {
        let sample = two_backups().await;
        let shown = offsets(&cat(&sample, |_| {}).await.unwrap());
        let of_0 = (0..24).filter(|offset| offset % 12 != 7).map(|offset| (0, offset));
        let of_1 = (0..16).filter(|offset| offset % 8 > 2).map(|offset| (1, offset));
        assert_eq!(shown, of_0.chain(of_1).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn begins_at_any_offset_and_ends_at_the_limit() {
        let sample = two_backups().await;
        let all = offsets(&cat(&sample, |config| config.partition = Some(0)).await.unwrap());
        for from in 0..26 {
            for limit in [0, 1, 3, 100] {
                let shown = cat(&sample, |config| {
                    (config.partition, config.from_offset, config.limit) = (Some(0), from, Some(limit));
                });
                let wanted = all.iter().copied().filter(|(_, offset)| *offset >= from);
                let wanted: Vec<_> = wanted.take(usize::try_from(limit).unwrap()).collect();
                assert_eq!(offsets(&shown.await.unwrap()), wanted, "from {from}, limit {limit}");
            }
        }
    }

    #[tokio::test]
    async fn a_line_tells_everything_of_a_record_and_bytes_that_are_no_text_in_base64() {
        let sample = two_backups().await;
        let shown = cat(&sample, |config| (config.partition, config.from_offset, config.limit) = (Some(0), 4, Some(2)));
        let shown = shown.await.unwrap();
        let headers = json!([{ "key": "h", "value": null }, { "key": "h", "value": "twice" }]);
        assert_eq!(
            shown,
            [
                json!({
                    "topic": "orders", "partition": 0, "offset": 4, "timestampMs": 1_770_000_000_004_i64,
                    "timestampType": "createTime", "key": "key 4", "value": { "base64": "/wQ=" }, "headers": headers
                }),
                json!({
                    "topic": "orders", "partition": 0, "offset": 5, "timestampMs": 1_770_000_000_005_i64,
                    "timestampType": "createTime", "key": "key 5", "value": null, "headers": headers
                })
            ]
        );
        let shown = cat(&sample, |config| (config.partition, config.limit) = (Some(1), Some(1))).await.unwrap();
        assert_eq!(shown[0]["timestampType"], "logAppendTime");
        assert_eq!(shown[0]["timestampMs"], 1_770_000_009_999_i64);
        assert_eq!(shown[0]["key"], Value::Null);
    }

    #[tokio::test]
    async fn a_topic_without_records_has_no_lines() {
        let sample = two_backups().await;
        assert_eq!(cat(&sample, |config| config.topic = "empty".to_owned()).await.unwrap(), [Value::Null; 0]);
    }

    #[tokio::test]
    async fn names_what_is_not_there_in_one_line() {
        let sample = two_backups().await;
        let error = |error: Error| (error.kind(), error.to_string());
        let shown = cat(&sample, |config| config.topic = "order".to_owned()).await;
        let text = "backup b2 has no topic \"order\": it has empty, orders".to_owned();
        assert_eq!(error(shown.unwrap_err()), (Kind::Usage, text));
        let shown = cat(&sample, |config| config.partition = Some(2)).await;
        let text = "topic \"orders\" has no partition 2 in backup b2: its partitions are 0 to 1".to_owned();
        assert_eq!(error(shown.unwrap_err()), (Kind::Usage, text));
        let shown = cat(&sample, |config| config.backup = "b9".parse().unwrap()).await;
        assert_eq!(shown.unwrap_err().kind(), Kind::Usage);
        let shown = cat(&sample, |config| config.from_offset = -1).await;
        assert_eq!(shown.unwrap_err().kind(), Kind::Usage);
    }

    #[tokio::test]
    async fn a_damaged_frame_is_named_and_nothing_of_it_is_shown() {
        let sample = two_backups().await;
        let key = sample.keys().await.into_iter().find(|key| key.contains("segments/b1/")).unwrap();
        let mut bytes = std::fs::read(sample.dir.path().join(&key)).unwrap();
        bytes[100] ^= 1;
        std::fs::write(sample.dir.path().join(&key), bytes).unwrap();
        let error = cat(&sample, |config| config.limit = Some(1)).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        assert!(error.to_string().starts_with(&format!("{key}, bytes ")), "{error}");
        // What stands elsewhere is still readable.
        assert_eq!(cat(&sample, |config| config.from_offset = 12).await.unwrap().len(), 15);
    }

    struct Gone;

    impl Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }

    #[tokio::test]
    async fn a_reader_that_went_away_is_the_end_and_no_error() {
        let sample = two_backups().await;
        let config = config(&sample);
        assert_eq!(run(&config, &mut Gone, &Stop::default()).await.unwrap(), CatReport { records: 0 });
    }

    /// A reader that does something when the first record comes.
    struct Meanwhile<F>(Option<F>);

    impl<F: FnOnce()> Write for Meanwhile<F> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if let Some(act) = self.0.take() {
                act();
            }
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_batch_beyond_the_limit_is_named_with_the_flag_that_raises_it_and_the_others_are_shown() {
        let sample = two_backups().await;
        let config = CatConfig { partition: Some(0), decompressed_batch_bytes_max: 80, ..config(&sample) };
        let mut out = Vec::new();
        let text = run(&config, &mut out, &Stop::default()).await.unwrap_err().to_string();
        for part in ["partition 0: the batch at offset 0", "80 bytes decompressed", "--decompressed-batch-bytes-max"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), 6);
    }

    #[tokio::test]
    async fn a_backup_that_is_deleted_while_it_is_shown_is_no_damage() {
        for (gone, missing) in [
            (&["backups/b2", "segments/b2"][..], None),
            (&["backups/b2", "parts/b2"], None),
            (&["segments/b2"], Some("archives/sample/segments/b2/")),
            (&["parts/b2"], Some("archives/sample/parts/b2/")),
        ] {
            let sample = two_backups().await;
            let folder = sample.dir.path().join("archives/sample");
            let delete = || gone.iter().for_each(|name| std::fs::remove_dir_all(folder.join(name)).unwrap());
            let shown = run(&config(&sample), &mut Meanwhile(Some(delete)), &Stop::default()).await;
            let (error, text) = shown.map_err(|error| (error.kind(), error.to_string())).unwrap_err();
            match missing {
                None => {
                    assert!(error == Kind::Usage && text.contains("backup b2 was deleted while it was read"), "{text}")
                }
                Some(key) => assert!(error == Kind::Corrupt && text.contains(key), "{text}"),
            }
        }
    }

    #[tokio::test]
    async fn a_backup_that_is_made_again_while_it_is_shown_is_no_damage() {
        let sample = two_backups().await;
        let keys = &sample.archive.keys;
        let id: BackupId = "b2".parse().unwrap();
        let other = Manifest { cut_at_ms: 3, ..sample.archive.manifest(&id).await.unwrap() };
        let replace = || {
            std::fs::remove_dir_all(sample.dir.path().join(keys.segments_of(&id))).unwrap();
            sample.write(&keys.manifest(&id), &other.seal());
        };
        let error = run(&config(&sample), &mut Meanwhile(Some(replace)), &Stop::default()).await.unwrap_err();
        assert!(
            matches!(&error, Error::Repository(repository::Error::Replaced { backup }) if *backup == id),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_store_that_stops_answering_while_a_backup_is_shown_is_no_damage_either() {
        let sample = two_backups().await;
        let keys = &sample.archive.keys;
        let id: BackupId = "b2".parse().unwrap();
        let manifest = sample.dir.path().join(keys.manifest(&id));
        let fail = || {
            std::fs::remove_dir_all(sample.dir.path().join(keys.segments_of(&id))).unwrap();
            // A path that leads through itself: the file system refuses to follow it.
            std::fs::remove_file(&manifest).unwrap();
            std::os::unix::fs::symlink(&manifest, &manifest).unwrap();
        };
        let error = run(&config(&sample), &mut Meanwhile(Some(fail)), &Stop::default()).await.unwrap_err();
        assert!(error.kind() != Kind::Corrupt && error.to_string().contains(&keys.manifest(&id)), "{error}");
    }

    #[tokio::test]
    async fn only_the_parts_that_can_hold_what_is_wanted_are_read() {
        let sample = two_backups().await;
        let keys = sample.keys().await;
        let parts: Vec<&String> = keys.iter().filter(|key| key.contains("parts/b2/")).collect();
        assert_eq!(parts.len(), 2);
        for (gone, partition, from_offset) in [(parts[1], 0, 20), (parts[0], 1, 3)] {
            let (path, aside) = (sample.dir.path().join(gone), sample.dir.path().join("aside"));
            std::fs::rename(&path, &aside).unwrap();
            let shown = cat(&sample, |config| {
                (config.partition, config.from_offset, config.limit) = (Some(partition), from_offset, Some(1));
            });
            assert_eq!(offsets(&shown.await.unwrap()), [(i64::from(partition), from_offset)]);
            std::fs::rename(&aside, &path).unwrap();
        }
    }

    #[test]
    fn parts_whose_ranges_overlap_or_are_not_stated_are_read_together() {
        let topic = crate::repository::sample::topic("orders");
        let place = |offset| PartPlace { topic: topic.clone(), partition: 0, offset };
        let part = |number: usize, range: Option<(i64, i64)>| PartRef {
            id: format!("p{number}").parse().unwrap(),
            bytes: 0,
            sha256: String::new(),
            range: range.map(|(start, end)| PartRange { start: place(start), end: place(end), runs: 1, segments: 1 }),
        };
        let groups = |ranges: &[Option<(i64, i64)>], from_offset| {
            let mut manifest = crate::repository::sample::empty("b");
            manifest.parts = ranges.iter().enumerate().map(|(number, range)| part(number, *range)).collect();
            parts_of(&manifest, &topic, 0, from_offset)
        };
        let apart = [Some((10, 20)), Some((0, 10)), Some((20, 30))];
        assert_eq!(groups(&apart, 0), [[1], [0], [2]]);
        assert_eq!(groups(&apart, 19), [[0], [2]]);
        assert_eq!(groups(&apart, 30), Vec::<Vec<usize>>::new());
        assert_eq!(groups(&[Some((0, 10)), Some((5, 20)), Some((20, 30)), Some((8, 9))], 0), [vec![0, 1, 3], vec![2]]);
        assert_eq!(groups(&[Some((0, 10)), None], 20), [[1]]);
        assert_eq!(groups(&[Some((0, 10)), None], 0), [[0, 1]]);
    }

    /// What is asked of the store to show records of a backup whose manifest was read.
    async fn asked(sample: &Sample, edit: impl FnOnce(&mut CatConfig)) -> Vec<(&'static str, String)> {
        let mut config = config(sample);
        edit(&mut config);
        let archive = &sample.archive;
        let manifest = archive.manifest(&config.backup).await.unwrap();
        drop(archive.store.take_calls());
        let report = show(&config, archive, &manifest, &mut Vec::<u8>::new(), &Stop::default()).await.unwrap();
        assert_eq!(Some(report.records), config.limit);
        archive.store.take_calls()
    }

    #[tokio::test]
    async fn a_record_costs_one_part_one_index_and_one_frame() {
        let sample = two_backups().await;
        let keys = sample.keys().await;
        let key = |folder: &str| keys.iter().find(|key| key.contains(folder)).unwrap().clone();
        let (part, segment) = (("read", key("parts/b2/")), key("segments/b1/"));
        let (index, frame) = (("read_tail", segment.clone()), ("read_range", segment));
        let from = |offset: i64, limit: u64| {
            asked(&sample, move |config| {
                (config.partition, config.from_offset, config.limit) = (Some(0), offset, Some(limit));
            })
        };
        // The second frame of the run holds the offsets 4 to 6 and the hole behind them.
        assert_eq!(from(4, 3).await, [part.clone(), index.clone(), frame.clone()]);
        // That the next record takes another request shows that the first one brought no more than the frame.
        assert_eq!(from(4, 4).await, [part, index, frame.clone(), frame]);
    }

    #[tokio::test]
    async fn only_the_frame_that_is_wanted_is_read() {
        let sample = two_backups().await;
        // Every other byte of the segment is gone: a request beyond the frame and the index would meet the damage.
        let key = sample.keys().await.into_iter().find(|key| key.contains("segments/b1/")).unwrap();
        let path = sample.dir.path().join(&key);
        let archive = &sample.archive;
        let manifest = archive.manifest(&"b1".parse().unwrap()).await.unwrap();
        let runs = archive.runs(&manifest).await.unwrap();
        let (index, index_position) = read_index(&archive.store, &archive.keys, &runs.segments[0]).await.unwrap();
        let run = &index.runs[0];
        let second = run.run.position + run.frames[0].0..run.run.position + run.frames[0].0 + run.frames[1].0;
        let mut bytes = std::fs::read(&path).unwrap();
        for (at, byte) in bytes.iter_mut().enumerate().take(usize::try_from(index_position).unwrap()) {
            if !second.contains(&(at as u64)) {
                *byte = 0;
            }
        }
        std::fs::write(&path, bytes).unwrap();
        let shown = cat(&sample, |config| (config.partition, config.from_offset, config.limit) = (Some(0), 4, Some(3)));
        assert_eq!(offsets(&shown.await.unwrap()), [(0, 4), (0, 5), (0, 6)]);
    }
}
