//! A segment: an immutable object with runs of one or more partitions, and an index of them at its end.
//!
//! ```text
//! header   "KBSEG\r\n\0"  version u16  codec u8  encryption u8  id length u16  id  key id length u16 (0)  CRC-32C u32
//! frames   of the first run, of the second, ..
//! index    a document (see `document`): topics, runs, the size of every frame
//! footer   index position u64  index bytes u64  version u32  CRC-32C of these u32  "KBSEGEND"
//! ```
//!
//! A segment is written in one pass and never held in memory: [`OpenSegment`] gives the bytes to append, [`OpenSegment::seal`]
//! the last of them. Only a [`SealedSegment`] whose upload has ended becomes a [`StoredSegment`], and only stored
//! segments can enter a checkpoint or a manifest. The index holds all that a manifest says of the segment's runs, so that a
//! manifest can be made again from segments alone.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::batch::{Batch, Compression};
use super::checksum;
use super::codec::{self, Compressor, Decompressor};
use super::document::{self, DocumentKind, Encoding};
use super::frame::{self, ArchiveCompression, Body};
use super::hole::{self, Hole};
use super::layout::SegmentId;
use super::rope::Rope;
use super::run::{Content, Run};

/// The newest version of segments and their index.
pub const VERSION: u32 = 1;
/// Bytes of the footer.
pub const FOOTER_BYTES: usize = 32;
/// What to read from the end of a segment to have footer and, mostly, the index in one request.
pub const TAIL_BYTES: u64 = 64 << 10;

/// Holes in one frame at most, so that a log of nothing but aborted transactions does not fill the memory.
const HOLES_MAX: usize = 1 << 16;

const MAGIC: [u8; 8] = *b"KBSEG\r\n\0";
/// Bytes of the header without the id.
const HEADER_BYTES: usize = MAGIC.len() + 2 + 1 + 1 + 2 + 2 + 4;
const END_MAGIC: [u8; 8] = *b"KBSEGEND";

/// Why bytes are not a segment.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The beginning of the object is no header, or that of another segment.
    #[error("its beginning is not the header of this segment: damaged, or another segment's object")]
    Header,
    /// The end of the object is no footer: it was cut short, or is something else.
    #[error("its end is not the end of a segment: cut short or damaged")]
    Footer,
    /// The index is damaged.
    #[error("its index is damaged: {0}")]
    Index(#[from] document::Error),
    /// The index is not the one that the manifest was made from.
    #[error("its index is not the one that was stored")]
    OtherIndex,
}

/// A topic by id and name; ids keep an old and a new topic of one name apart (KIP-516).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicKey {
    /// The topic's name.
    pub name: String,
    /// The topic's id; nil on brokers before Kafka 2.8.
    pub id: Uuid,
}

/// A run in the index: what a manifest lists, and the frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IndexedRun {
    /// Position of the topic in [`Index::topics`].
    pub topic: usize,
    /// The run.
    pub run: Run,
    /// Every frame: its bytes, the offset it begins with, and its largest timestamp in milliseconds.
    pub frames: Vec<(u64, i64, i64)>,
}

impl IndexedRun {
    /// The bytes of the segment that hold the frames which may have a record at or after `offset`.
    pub fn bytes_from_offset(&self, offset: i64) -> Range<u64> {
        let before = self.frames.iter().skip(1).take_while(|(_, start_offset, _)| *start_offset <= offset);
        let skipped: u64 = self.frames.iter().zip(before).map(|((bytes, ..), _)| bytes).sum();
        self.run.position + skipped..self.run.byte_range().end
    }
}

/// What a segment holds.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Index {
    /// The topics of the runs.
    pub topics: Vec<TopicKey>,
    /// The runs, in the order of their bytes.
    pub runs: Vec<IndexedRun>,
}

fn header(id: &SegmentId, codec: Compression) -> Vec<u8> {
    let name = id.as_str().as_bytes();
    let mut header = Vec::with_capacity(HEADER_BYTES + name.len());
    header.extend_from_slice(&MAGIC);
    header.extend_from_slice(&(VERSION as u16).to_be_bytes());
    header.push(codec.id() as u8);
    header.push(0);
    header.extend_from_slice(&u16::try_from(name.len()).expect("names have at most 200 bytes").to_be_bytes());
    header.extend_from_slice(name);
    header.extend_from_slice(&0_u16.to_be_bytes());
    header.extend_from_slice(&checksum::crc32c(&header).to_be_bytes());
    header
}

/// How many bytes of the segment of this id come before its first frame.
pub fn header_bytes(id: &SegmentId) -> u64 {
    (HEADER_BYTES + id.as_str().len()) as u64
}

/// Checks the first [`header_bytes`] of a segment. Nothing that is read later depends on them: they are for whoever finds the
/// object without its key.
///
/// # Errors
/// [`Error::Header`].
pub fn check_header(id: &SegmentId, bytes: &[u8]) -> Result<(), Error> {
    let codec = bytes.get(MAGIC.len() + 2).and_then(|codec| Compression::from_id(i16::from(*codec)));
    if codec.is_some_and(|codec| header(id, codec) == bytes) { Ok(()) } else { Err(Error::Header) }
}

/// A segment that takes batches.
pub struct OpenSegment {
    id: SegmentId,
    index: Index,
    /// The numbers of the index's topics.
    numbers: HashMap<TopicKey, usize>,
    position: u64,
    pending: Pending,
    compressor: Compressor,
    compression: ArchiveCompression,
}

/// The frame that is being filled.
#[derive(Default)]
struct Pending {
    /// Batches that are stored as they are.
    as_is: Rope,
    /// CRC-32C over these.
    as_is_crc32c: u32,
    /// Batches that are to be compressed.
    to_compress: Vec<u8>,
    holes: Vec<Hole>,
    content: Content,
    start_offset: i64,
    end_offset: i64,
    leader_epoch: i32,
}

impl Pending {
    fn raw_bytes(&self) -> usize {
        self.as_is.len() + self.to_compress.len()
    }
}

impl OpenSegment {
    /// Opens a segment; `out` gets the first bytes of the object.
    pub fn new(id: SegmentId, compression: ArchiveCompression, out: &mut Rope) -> Self {
        let header = header(&id, compression.codec);
        out.copy(&header);
        let position = header.len() as u64;
        let compressor = Compressor::new();
        Self {
            id,
            index: Index::default(),
            numbers: HashMap::new(),
            position,
            pending: Pending::default(),
            compressor,
            compression,
        }
    }

    /// Whether nothing stands in the segment yet.
    pub fn is_empty(&self) -> bool {
        self.index.runs.is_empty()
    }

    /// Bytes of the object so far, with what waits in the open frame.
    pub fn bytes(&self) -> u64 {
        self.position + self.pending.raw_bytes() as u64
    }

    /// Begins a run of a partition at `start_offset`, or goes on with the last one when it is that partition's and ends there.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn begin_run(
        &mut self,
        topic: &TopicKey,
        partition: i32,
        start_offset: i64,
        out: &mut Rope,
    ) -> Result<(), codec::Error> {
        let goes_on = self.index.runs.last().is_some_and(|last| {
            last.run.partition == partition
                && self.index.topics[last.topic] == *topic
                && self.pending.end_offset == start_offset
        });
        if goes_on { Ok(()) } else { self.begin_new_run(topic, partition, start_offset, out) }
    }

    /// Begins a run of its own, whatever the last one is: only the first batch of a run may begin before it.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn begin_new_run(
        &mut self,
        topic: &TopicKey,
        partition: i32,
        start_offset: i64,
        out: &mut Rope,
    ) -> Result<(), codec::Error> {
        self.close_frame(out)?;
        let topic = match self.numbers.get(topic) {
            Some(number) => *number,
            None => {
                let number = self.index.topics.len();
                self.index.topics.push(topic.clone());
                self.numbers.insert(topic.clone(), number);
                number
            }
        };
        let run = Run {
            partition,
            start_offset,
            end_offset: start_offset,
            position: self.position,
            leader_epoch: -1,
            crc32c: 0,
            content: Content::default(),
        };
        self.index.runs.push(IndexedRun { topic, run, frames: Vec::new() });
        let to_compress = std::mem::take(&mut self.pending.to_compress);
        self.pending =
            Pending { to_compress, start_offset, end_offset: start_offset, leader_epoch: -1, ..Pending::default() };
        Ok(())
    }

    /// Appends a batch, which is a part of `response`, to the run that was begun; offsets between the run's end and the
    /// batch become a hole of compaction, since the log itself has nothing there. The first batch of a run may begin before
    /// it.
    ///
    /// # Errors
    /// When the codec fails.
    ///
    /// # Panics
    /// When no run was begun, or the batch begins before the run's end: the caller has mixed up partitions.
    pub fn push_batch(&mut self, batch: &Batch<'_>, response: &Bytes, out: &mut Rope) -> Result<(), codec::Error> {
        let is_first = self.index.runs.last().is_some_and(|last| last.run.start_offset == self.pending.end_offset);
        self.push_gap(if is_first { batch.base_offset().max(self.pending.end_offset) } else { batch.base_offset() });
        let is_as_is = self.compression.codec == Compression::None || batch.compression() != Compression::None;
        let others = if is_as_is { self.pending.to_compress.len() } else { self.pending.as_is.len() };
        let raw_bytes = self.pending.raw_bytes();
        if raw_bytes > 0 && (others > 0 || raw_bytes + batch.bytes().len() > frame::RAW_BYTES_TARGET) {
            self.close_frame(out)?;
        }
        let pending = &mut self.pending;
        if is_as_is {
            pending.as_is.share(response, batch.bytes());
            // The batch's own checksum was looked at a moment ago: its bytes are still in the processor's cache.
            pending.as_is_crc32c = checksum::append(pending.as_is_crc32c, batch.bytes());
        } else {
            pending.to_compress.extend_from_slice(batch.bytes());
        }
        pending.content.add_batch(batch);
        pending.end_offset = batch.next_offset();
        pending.leader_epoch = pending.leader_epoch.max(batch.leader_epoch());
        Ok(())
    }

    /// Lets go of the responses whose batches wait in the open frame: a frame that is large enough is closed, and the batches of
    /// another are copied.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn release(&mut self, out: &mut Rope) -> Result<(), codec::Error> {
        if self.pending.as_is.len() >= frame::RAW_BYTES_TARGET / 4 {
            return self.close_frame(out);
        }
        self.pending.as_is.detach();
        Ok(())
    }

    /// Appends a hole to the run that was begun; offsets between the run's end and the hole become one of compaction.
    ///
    /// # Errors
    /// When the codec fails.
    ///
    /// # Panics
    /// When no run was begun, or the hole begins before the run's end.
    pub fn push_hole(&mut self, hole: Hole, out: &mut Rope) -> Result<(), codec::Error> {
        self.push_gap(hole.start_offset);
        hole::push(&mut self.pending.holes, hole);
        self.pending.content.holes.add_hole(&hole);
        self.pending.end_offset = hole.end_offset;
        if self.pending.holes.len() >= HOLES_MAX { self.close_frame(out) } else { Ok(()) }
    }

    fn push_gap(&mut self, next_offset: i64) {
        assert!(!self.index.runs.is_empty(), "a run is begun before anything is appended");
        let end_offset = self.pending.end_offset;
        assert!(end_offset <= next_offset, "offset {next_offset} comes after {end_offset} in a run");
        if end_offset < next_offset {
            let gap = Hole { start_offset: end_offset, end_offset: next_offset, reason: hole::HoleReason::Compaction };
            hole::push(&mut self.pending.holes, gap);
            self.pending.content.holes.add_hole(&gap);
            self.pending.end_offset = next_offset;
        }
    }

    fn close_frame(&mut self, out: &mut Rope) -> Result<(), codec::Error> {
        let Pending { as_is, as_is_crc32c, mut to_compress, holes, content, start_offset, end_offset, leader_epoch } =
            std::mem::take(&mut self.pending);
        let body = if to_compress.is_empty() {
            Body::as_is(as_is, as_is_crc32c)
        } else {
            Body::compressed(&mut self.compressor, self.compression, &to_compress)?
        };
        to_compress.clear();
        self.pending =
            Pending { to_compress, start_offset: end_offset, end_offset, leader_epoch, ..Pending::default() };
        if start_offset == end_offset {
            return Ok(());
        }
        let begin = out.len();
        let IndexedRun { run, frames, .. } =
            self.index.runs.last_mut().expect("a frame is filled only after a run was begun");
        run.crc32c = frame::encode(body, &holes, start_offset..end_offset, run.crc32c, out);
        let bytes = (out.len() - begin) as u64;
        self.position += bytes;
        run.end_offset = end_offset;
        run.leader_epoch = leader_epoch;
        run.content.add(&Content { stored_bytes: bytes, ..content });
        frames.push((bytes, start_offset, content.max_timestamp_ms.0));
        Ok(())
    }

    /// Closes the segment; `out` gets the last bytes of the object.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn seal(mut self, out: &mut Rope) -> Result<SealedSegment, codec::Error> {
        self.close_frame(out)?;
        self.index.runs.retain(|indexed| !indexed.frames.is_empty());
        let index = document::seal(DocumentKind::SegmentIndex, VERSION, Encoding::JsonZstd, &self.index);
        out.copy(&index);
        let mut footer = Vec::with_capacity(FOOTER_BYTES);
        footer.extend_from_slice(&self.position.to_be_bytes());
        footer.extend_from_slice(&(index.len() as u64).to_be_bytes());
        footer.extend_from_slice(&VERSION.to_be_bytes());
        footer.extend_from_slice(&checksum::crc32c(&footer).to_be_bytes());
        footer.extend_from_slice(&END_MAGIC);
        out.copy(&footer);
        let segment = SegmentRef {
            id: self.id,
            bytes: self.position + (index.len() + FOOTER_BYTES) as u64,
            index_sha256: document::sha256_hex(&index),
        };
        Ok(SealedSegment { segment, index: self.index })
    }
}

/// How a segment is named where it is listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SegmentRef {
    /// Its id, the last part of its key.
    pub id: SegmentId,
    /// The size of the whole object.
    pub bytes: u64,
    /// SHA-256 of its index, in lower-case hexadecimal.
    pub index_sha256: String,
}

/// A segment that takes no more batches, and whose upload may still be under way.
pub struct SealedSegment {
    segment: SegmentRef,
    index: Index,
}

impl SealedSegment {
    /// How large the object must be when it is stored.
    pub fn bytes(&self) -> u64 {
        self.segment.bytes
    }

    /// Declares that the whole object is stored durably. Call it when the upload has been acknowledged, not before.
    pub fn stored(self) -> StoredSegment {
        StoredSegment { segment: self.segment, index: self.index }
    }
}

/// A segment that is in the store: what checkpoints and manifests are made from.
#[derive(Debug, Clone)]
pub struct StoredSegment {
    /// How it is named.
    pub segment: SegmentRef,
    /// What it holds.
    pub index: Index,
}

/// Where the index of a segment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Footer {
    /// Position of the index in the object, in bytes.
    pub index_position: u64,
    /// Size of the index, in bytes.
    pub index_bytes: u64,
}

impl Footer {
    /// Reads the footer from the last bytes of an object of `object_bytes`.
    ///
    /// # Errors
    /// When they are no footer of an object of this size.
    pub fn parse(tail: &[u8], object_bytes: u64) -> Result<Self, Error> {
        let start = tail.len().checked_sub(FOOTER_BYTES).ok_or(Error::Footer)?;
        let footer = &tail[start..];
        let u64_at = |at: usize| u64::from_be_bytes(footer[at..at + 8].try_into().expect("eight bytes"));
        let u32_at = |at: usize| u32::from_be_bytes(footer[at..at + 4].try_into().expect("four bytes"));
        if footer[24..] != END_MAGIC || u32_at(20) != checksum::crc32c(&footer[..20]) {
            return Err(Error::Footer);
        }
        if u32_at(16) != VERSION {
            return Err(Error::Index(document::Error::Version { found: u32_at(16), supported: VERSION }));
        }
        let parsed = Self { index_position: u64_at(0), index_bytes: u64_at(8) };
        let end =
            parsed.index_position.checked_add(parsed.index_bytes).and_then(|end| end.checked_add(FOOTER_BYTES as u64));
        if end == Some(object_bytes) { Ok(parsed) } else { Err(Error::Footer) }
    }
}

/// Reads an index, and checks it against the checksum that a manifest has of it when there is one.
///
/// # Errors
/// When it is damaged, or another one.
pub fn open_index(bytes: &[u8], index_sha256: Option<&str>) -> Result<Index, Error> {
    let index: Index = document::open(DocumentKind::SegmentIndex, VERSION, bytes)?;
    if index_sha256.is_some_and(|wanted| wanted != document::sha256_hex(bytes)) {
        return Err(Error::OtherIndex);
    }
    if index.runs.iter().any(|indexed| indexed.topic >= index.topics.len()) {
        return Err(Error::Index(document::Error::Content("a run names a topic that is not listed".to_owned())));
    }
    Ok(index)
}

/// The frames of one run, from its bytes.
pub fn frames(run_bytes: Bytes) -> impl Iterator<Item = Result<frame::Frame, frame::Error>> {
    let mut rest = run_bytes;
    let mut decompressor = Decompressor::new();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match frame::Frame::decode(&rest, &mut decompressor) {
            Ok((frame, bytes)) => {
                bytes::Buf::advance(&mut rest, bytes);
                Some(Ok(frame))
            }
            Err(error) => {
                rest.clear();
                Some(Err(error))
            }
        }
    })
}
