//! Batches on their way out: which pass as they are, which are left out, and how the rest is made anew.
//!
//! A broker takes a batch from a producer only when its records have consecutive offset deltas and its size is within
//! the topic's limit, and it takes a batch with the LogAppendTime bit but loses its times. So most stored batches need
//! a new header and no more ([`pass_through`]), while those that cannot go as they are, or not with all of their
//! records, are decompressed and encoded again ([`rewrite`]). [`decide`] tells them apart from the header alone. Nothing
//! here reads a clock or draws a random number: the same batch and request give the same bytes, split at the same
//! records, so that a restore that was killed can go on where it was.

pub mod joining;
mod producible;

use std::ops::Range;

use crate::error::Kind;
use crate::format::Header;
use crate::format::batch::{Batch, Compression, HEADER_BYTES};
use crate::format::codec::{self, Compressor, Decompressor};
use crate::format::record::{self, Added, Record, RecordTime, Records};

pub use producible::{Producer, ProducibleBatch, Stretch, pass_through, stamp};

/// The number of the rules by which batches are split and joined: all of this module and of [`joining`]. Whoever changes what
/// comes out of the same batches, or which of them can be read, gives the rules another number. A restore that was begun under other rules cannot be
/// resumed: it would look for the ends of its batches where there are none.
pub const BOUNDARY_RULES: u32 = 2;

/// The scratch memory that is kept for the next batch, in bytes; a larger batch gives its memory back.
const SCRATCH_BYTES_MAX: usize = 2 << 20;

/// Digits of an offset at most.
const OFFSET_DIGITS_MAX: usize = 19;
/// Bytes of a varint of 32 bits at most.
const VARINT_BYTES_MAX: usize = 5;
/// Bytes by which a record grows at most when it gets other deltas: time, offset, and its own length in front.
const MOVED_BYTES_MAX: u64 = 20;

/// Why a batch cannot be made anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The records of the batch are not what a broker stores.
    #[error(
        "the record batch at offset {base_offset} of the source cannot be read: {source}. A batch that needs no change is restored \
         all the same: restore without --point-in-time, --start-time and offset headers, into a topic whose max.message.bytes is \
         that of the source; or leave the topic out with --exclude-topics"
    )]
    Records {
        /// The base offset of the batch in the source.
        base_offset: i64,
        /// What is wrong with them.
        source: record::Error,
    },
    /// One record alone is larger than the target takes.
    #[error(
        "the record at offset {source_offset} takes a batch of {batch_bytes} bytes, and the target takes {max_batch_bytes}: \
         raise max.message.bytes or segment.bytes of the target topic, or socket.request.max.bytes of its brokers, whichever is the \
         smallest"
    )]
    RecordTooLarge {
        /// The record's offset in the source.
        source_offset: i64,
        /// Bytes of a batch that holds nothing else.
        batch_bytes: usize,
        /// The largest batch that the target takes, in bytes.
        max_batch_bytes: usize,
    },
    /// The codec failed on records that were read well.
    #[error("the record batch at offset {base_offset} cannot be compressed again: {source}")]
    Compress {
        /// The base offset of the batch in the source.
        base_offset: i64,
        /// What the codec says.
        source: codec::Error,
    },
    /// A control batch was to be rewritten; [`decide`] skips them.
    #[error("the control batch at offset {base_offset} was to be rewritten, and holds no data")]
    Control {
        /// The base offset of the batch in the source.
        base_offset: i64,
    },
}

impl Error {
    /// What the failure asks of its reader.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Records { source, .. } => source.kind(),
            Self::RecordTooLarge { .. } => Kind::Usage,
            Self::Compress { source, .. } => source.kind(),
            Self::Control { .. } => Kind::Bug,
        }
    }

    /// Whether the batch may be read with more memory.
    pub const fn is_too_large(&self) -> bool {
        matches!(self, Self::Records { source: record::Error::TooLarge { .. }, .. })
    }
}

/// Which records are wanted, and in what shape the target takes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The records that are wanted.
    pub cut: Cut,
    /// The largest batch that the target takes, header included: `max.message.bytes` of the topic, in bytes.
    pub max_batch_bytes: usize,
    /// Headers that every record gets.
    pub headers: Vec<InjectedHeader>,
}

/// The wanted part of a partition. The default wants all of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Cut {
    /// Only records of this time or earlier, in milliseconds since the Unix epoch. Records without a time (-1) are
    /// always early enough.
    pub point_in_time_ms: Option<i64>,
    /// Only records of this time or later, in milliseconds since the Unix epoch.
    pub start_ms: Option<i64>,
    /// Only records at this source offset or later.
    pub source_start_offset: Option<i64>,
    /// Only records before this source offset.
    pub source_end_offset: Option<i64>,
}

impl Cut {
    fn wants_offset(&self, offset: i64) -> bool {
        self.source_start_offset.is_none_or(|start| offset >= start)
            && self.source_end_offset.is_none_or(|end| offset < end)
    }

    fn is_after(&self, timestamp_ms: i64) -> bool {
        self.point_in_time_ms.is_some_and(|last| timestamp_ms > last)
    }

    fn is_before(&self, timestamp_ms: i64) -> bool {
        self.start_ms.is_some_and(|first| timestamp_ms < first)
    }
}

/// A header that is put behind a record's own, unless the record has one with this key already: what an earlier
/// restore wrote stays, so that copies of copies still name the first source and headers do not pile up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InjectedHeader {
    /// The header's key.
    pub key: String,
    /// Where its value comes from.
    pub value: HeaderValue,
}

/// The value of an injected header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HeaderValue {
    /// The record's offset in the source as decimal ASCII digits: every console shows it, every language parses it.
    SourceOffset,
    /// The same bytes for all records.
    Literal(Vec<u8>),
}

/// What is to become of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes with all its records as they are: [`pass_through`].
    Pass,
    /// Nothing of it goes.
    Skip(Skip),
    /// It, or a part of it, must be encoded again: [`rewrite`]. Whether any record is left, only that tells.
    Rewrite(Reasons),
}

/// Why nothing of a batch is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// A transaction marker; no client may produce one.
    Control,
    /// Compaction took every record; a produce request cannot carry that.
    Empty,
    /// All of it is outside the wanted offsets.
    OutsideOffsets,
    /// All of it is before the wanted time.
    BeforeStart,
    /// All of it is after the point in time.
    AfterPointInTime,
}

/// Why a batch cannot go as it is; at least one holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reasons {
    /// Some of its records may be outside the wanted time.
    pub time: bool,
    /// Some of its records may be outside the wanted offsets.
    pub offsets: bool,
    /// Compaction left holes between its offset deltas, which a broker refuses in a produced batch.
    pub holes: bool,
    /// Its times are the broker's, and would be lost with the bit that says so.
    pub log_append_time: bool,
    /// It is larger than the target takes.
    pub too_large: bool,
    /// Its records are to get headers.
    pub headers: bool,
}

/// Tells from its header what is to become of a batch.
pub fn decide(batch: &Batch<'_>, request: &Request) -> Verdict {
    let cut = &request.cut;
    if batch.is_control() {
        return Verdict::Skip(Skip::Control);
    }
    if batch.record_count() == 0 {
        return Verdict::Skip(Skip::Empty);
    }
    let offsets = batch.offsets();
    if cut.source_start_offset.is_some_and(|start| offsets.end <= start)
        || cut.source_end_offset.is_some_and(|end| offsets.start >= end)
    {
        return Verdict::Skip(Skip::OutsideOffsets);
    }
    let latest_ms = batch.max_timestamp_ms();
    if cut.is_before(latest_ms) {
        return Verdict::Skip(Skip::BeforeStart);
    }
    if batch.is_log_append_time() && cut.is_after(latest_ms) {
        return Verdict::Skip(Skip::AfterPointInTime);
    }
    let reasons = Reasons {
        // The header knows the latest record and not the earliest, so that a start always needs a look inside.
        time: !batch.is_log_append_time() && (cut.is_after(latest_ms) || cut.start_ms.is_some()),
        offsets: !cut.wants_offset(offsets.start) || !cut.wants_offset(batch.last_offset()),
        holes: batch.has_holes(),
        log_append_time: batch.is_log_append_time(),
        too_large: batch.bytes().len() > request.max_batch_bytes,
        headers: !request.headers.is_empty(),
    };
    if reasons == Reasons::default() { Verdict::Pass } else { Verdict::Rewrite(reasons) }
}

/// Working memory for [`rewrite`], to be kept from batch to batch; one for each thread.
#[derive(Debug, Default)]
pub struct Scratch {
    decompressor: Decompressor,
    compressor: Compressor,
    plain: Vec<u8>,
    encoded: Vec<u8>,
    kept: Vec<Kept>,
}

impl Scratch {
    /// Memory for batches whose records may take so many bytes decompressed.
    pub fn for_records_up_to(records_bytes_max: usize) -> Self {
        Self { decompressor: Decompressor::for_records_up_to(records_bytes_max), ..Self::default() }
    }

    fn release(&mut self) {
        self.plain.clear();
        self.plain.shrink_to(SCRATCH_BYTES_MAX);
        self.encoded.clear();
        self.encoded.shrink_to(SCRATCH_BYTES_MAX);
        self.kept.clear();
        self.kept.shrink_to(SCRATCH_BYTES_MAX / size_of::<Kept>());
    }
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rewritten {
    /// The batches to produce, in this order; none when no record was wanted.
    pub batches: Vec<ProducibleBatch>,
    /// Records that were left out because of their offset.
    pub records_outside_offsets: u64,
    /// Records that were left out because of their time.
    pub records_outside_time: u64,
}

/// Makes a batch anew from those of its records that are wanted: CreateTime, consecutive offset deltas, the codec of
/// the source, and as many batches as it takes for none to be larger than `request.max_batch_bytes`.
///
/// A record of a LogAppendTime batch gets as its own time what it had: the max timestamp of the batch. A batch that
/// turns out to need no change has its records passed on as they are.
///
/// # Errors
/// [`Error`]; nothing is kept of a batch that fails.
pub fn rewrite(batch: &Batch<'_>, request: &Request, scratch: &mut Scratch) -> Result<Rewritten, Error> {
    if batch.is_control() {
        return Err(Error::Control { base_offset: batch.base_offset() });
    }
    if batch.record_count() == 0 {
        return Ok(Rewritten::default());
    }
    let rewritten = rewrite_records(batch, request, scratch);
    scratch.release();
    rewritten
}

fn rewrite_records(batch: &Batch<'_>, request: &Request, scratch: &mut Scratch) -> Result<Rewritten, Error> {
    let Scratch { decompressor, compressor, plain, encoded, kept } = scratch;
    let unreadable = |source| Error::Records { base_offset: batch.base_offset(), source };
    let limit_bytes = decompressor.records_bytes_max();
    decompressor
        .decompress_into(batch.compression(), batch.records(), limit_bytes, plain)
        .map_err(|error| unreadable(record::codec_error(error)))?;
    let mut rewritten = select(batch, &request.cut, plain, kept)?;
    if kept.is_empty() {
        return Ok(rewritten);
    }
    if needs_no_change(batch, request, kept) {
        rewritten.batches.push(pass_through(batch));
        return Ok(rewritten);
    }
    let mut encoder = Encoder { batch, request, plain, kept, encoded, compressor };
    // The stack holds what is still to be encoded, its first part on top.
    let mut pending = encoder.presplit();
    pending.reverse();
    while let Some(part) = pending.pop() {
        let batch_bytes = match encoder.encode(part.clone(), None)? {
            Encoded::Fits(producible) => {
                rewritten.batches.push(producible);
                continue;
            }
            Encoded::TooLarge { batch_bytes } => batch_bytes,
        };
        if part.len() > 1 {
            pending.extend(encoder.split(part, batch_bytes / request.max_batch_bytes.max(1) + 1).into_iter().rev());
        } else {
            rewritten.batches.push(encoder.encode_hardest(part)?);
        }
    }
    Ok(rewritten)
}

/// A wanted record: where it stands among the decompressed records, and what its header fields come to.
#[derive(Debug, Clone, Copy)]
struct Kept {
    at: u32,
    bytes: u32,
    timestamp_ms: i64,
    offset_delta: i32,
}

/// Reads all records, and notes the wanted ones in `kept`.
fn select(batch: &Batch<'_>, cut: &Cut, plain: &[u8], kept: &mut Vec<Kept>) -> Result<Rewritten, Error> {
    let base_offset = batch.base_offset();
    let time = RecordTime::of_batch(batch);
    let mut rewritten = Rewritten::default();
    let mut at = 0;
    for record in Records::new(plain, batch) {
        let record = record.map_err(|source| Error::Records { base_offset, source })?;
        let offset_delta = record.offset_delta;
        let timestamp_ms = time.of(&record);
        if !cut.wants_offset(base_offset + i64::from(offset_delta)) {
            rewritten.records_outside_offsets += 1;
        } else if cut.is_after(timestamp_ms) || cut.is_before(timestamp_ms) {
            rewritten.records_outside_time += 1;
        } else {
            kept.push(Kept { at: to_u32(at), bytes: to_u32(record.raw.len()), timestamp_ms, offset_delta });
        }
        at += record.raw.len();
    }
    Ok(rewritten)
}

/// Whether the header's suspicion was wrong, and the whole batch goes as it is.
fn needs_no_change(batch: &Batch<'_>, request: &Request, kept: &[Kept]) -> bool {
    let all_kept = i32::try_from(kept.len()) == Ok(batch.record_count());
    all_kept
        && !batch.has_holes()
        && !batch.is_log_append_time()
        && request.headers.is_empty()
        && batch.bytes().len() <= request.max_batch_bytes
}

/// Encodes stretches of the wanted records of one batch.
struct Encoder<'a> {
    batch: &'a Batch<'a>,
    request: &'a Request,
    plain: &'a [u8],
    kept: &'a [Kept],
    encoded: &'a mut Vec<u8>,
    compressor: &'a mut Compressor,
}

enum Encoded {
    Fits(ProducibleBatch),
    TooLarge { batch_bytes: usize },
}

impl Encoder<'_> {
    /// Splits by what the records take before compression, so that every part of two records or more fits. What a codec makes
    /// of them does not count: a restore that is resumed by a program with another version of the codec has to split at the
    /// same records.
    fn presplit(&self) -> Vec<Range<usize>> {
        let all = 0..self.kept.len();
        let room = self.limit_bytes().saturating_sub(HEADER_BYTES);
        let room = match self.batch.compression() {
            Compression::None => room,
            // Records that no codec makes smaller take somewhat more when they are compressed.
            Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => room / 8 * 7,
        };
        let total: u64 = self.kept.iter().map(|kept| self.encoded_bytes(kept)).sum();
        match total.div_ceil(room.max(1) as u64) {
            0 | 1 => vec![all],
            parts => self.split(all, usize::try_from(parts).unwrap_or(usize::MAX)),
        }
    }

    /// Bytes that a record takes in a batch of its own making at most, before compression.
    fn encoded_bytes(&self, kept: &Kept) -> u64 {
        let added = |header: &InjectedHeader| match &header.value {
            HeaderValue::SourceOffset => header.key.len() + OFFSET_DIGITS_MAX,
            HeaderValue::Literal(value) => header.key.len() + value.len(),
        };
        let headers: usize = self.request.headers.iter().map(|header| added(header) + 2 * VARINT_BYTES_MAX).sum();
        u64::from(kept.bytes) + MOVED_BYTES_MAX + headers as u64
    }

    /// Splits a stretch of two records or more into `parts` of about equal size, or somewhat more of them; each has a
    /// record at least, and there are two at least.
    fn split(&self, stretch: Range<usize>, parts: usize) -> Vec<Range<usize>> {
        let total: u64 = self.kept[stretch.clone()].iter().map(|kept| self.encoded_bytes(kept)).sum();
        let part_bytes = total / u64::try_from(parts.max(2)).unwrap_or(u64::MAX);
        let mut split = Vec::new();
        let mut start = stretch.start;
        let mut bytes = 0;
        for index in stretch.clone() {
            let next = self.encoded_bytes(&self.kept[index]);
            if index > start && bytes + next > part_bytes {
                split.push(start..index);
                start = index;
                bytes = 0;
            }
            bytes += next;
        }
        split.push(start..stretch.end);
        split
    }

    /// Encodes a stretch of one record at the codec's highest level: its producer may have used that to stay within the
    /// limit.
    fn encode_hardest(&mut self, stretch: Range<usize>) -> Result<ProducibleBatch, Error> {
        let source_offset = self.batch.base_offset() + i64::from(self.kept[stretch.start].offset_delta);
        let level = codec::level_range(self.batch.compression()).map(|range| *range.end());
        match self.encode(stretch, level)? {
            Encoded::Fits(producible) => Ok(producible),
            Encoded::TooLarge { batch_bytes } => {
                let max_batch_bytes = self.request.max_batch_bytes;
                Err(Error::RecordTooLarge { source_offset, batch_bytes, max_batch_bytes })
            }
        }
    }

    fn encode(&mut self, stretch: Range<usize>, level: Option<i32>) -> Result<Encoded, Error> {
        let kept = &self.kept[stretch];
        let base_timestamp_ms = kept.first().map_or(-1, |first| first.timestamp_ms);
        self.encoded.clear();
        for (offset_delta, kept) in (0..).zip(kept) {
            self.append(kept, kept.timestamp_ms.wrapping_sub(base_timestamp_ms), offset_delta);
        }
        let compression = self.batch.compression();
        let mut bytes = vec![0; HEADER_BYTES];
        if compression == Compression::None && HEADER_BYTES + self.encoded.len() > self.limit_bytes() {
            return Ok(Encoded::TooLarge { batch_bytes: HEADER_BYTES + self.encoded.len() });
        }
        self.compressor
            .compress(compression, level, self.encoded, &mut bytes)
            .map_err(|source| Error::Compress { base_offset: self.batch.base_offset(), source })?;
        if bytes.len() > self.limit_bytes() {
            return Ok(Encoded::TooLarge { batch_bytes: bytes.len() });
        }
        let record_count = i32::try_from(kept.len()).expect("no more records than the source batch had");
        Header {
            base_offset: 0,
            leader_epoch: -1,
            attributes: compression.id(),
            last_offset_delta: record_count - 1,
            base_timestamp_ms,
            max_timestamp_ms: kept.iter().map(|kept| kept.timestamp_ms).max().unwrap_or(-1),
            record_count,
        }
        .write(&mut bytes);
        let source_offsets = kept.iter().map(|kept| self.batch.base_offset() + i64::from(kept.offset_delta));
        Ok(Encoded::Fits(ProducibleBatch::new(bytes, Stretch::of_offsets(source_offsets))))
    }

    fn append(&mut self, kept: &Kept, timestamp_delta_ms: i64, offset_delta: i32) {
        let (at, bytes) = (kept.at as usize, kept.bytes as usize);
        let record = Record::parse(&self.plain[at..at + bytes], 0).expect("it was parsed when it was selected");
        if self.request.headers.is_empty() {
            return record.append_moved(self.encoded, timestamp_delta_ms, offset_delta, &[]);
        }
        let source_offset = (self.batch.base_offset() + i64::from(kept.offset_delta)).to_string();
        let added: Vec<Added<'_>> = self
            .request
            .headers
            .iter()
            .filter(|header| !record.headers.into_iter().any(|(key, _)| key == header.key.as_bytes()))
            .map(|header| {
                let value = match &header.value {
                    HeaderValue::SourceOffset => source_offset.as_bytes(),
                    HeaderValue::Literal(value) => value,
                };
                (header.key.as_bytes(), value)
            })
            .collect();
        record.append_moved(self.encoded, timestamp_delta_ms, offset_delta, &added);
    }

    /// The target's limit, and never more than the length field of a batch can tell.
    fn limit_bytes(&self) -> usize {
        self.request.max_batch_bytes.min(i32::MAX as usize)
    }
}

fn to_u32(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("decompressed records are bounded by the limit of a decompressor")
}

#[cfg(test)]
mod tests;
