//! A borrowed view of one Kafka record batch, format v2.
//!
//! Only the 61-byte header is read and the CRC-32C checked; records stay bytes. Layout and meaning are those of
//! KIP-98 and of the "Record Batch" page of Kafka's protocol documentation.

use std::ops::Range;

use super::checksum;
pub use super::compression::Compression;

/// Bytes of a record batch before its records.
pub const HEADER_BYTES: usize = 61;
/// Bytes before and including the length field, which the length does not count.
pub const LENGTH_PREFIX_BYTES: usize = 12;
/// Where the bytes that the CRC covers begin: everything after the CRC itself.
pub const CRC_START: usize = 21;

const COMPRESSION_MASK: i16 = 0b111;
const LOG_APPEND_TIME_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const DELETE_HORIZON_BIT: i16 = 1 << 6;

/// Why bytes are not a record batch of format v2.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than the batch says that it has, or than a header takes.
    #[error("the record batch is cut short: {have} of {need} bytes")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that the batch needs.
        need: usize,
    },
    /// An older message format, or no batch at all.
    #[error("message format v{magic} at offset {base_offset} is not supported: only v2 is (Kafka 0.11 and later)")]
    Magic {
        /// The magic byte found.
        magic: i8,
        /// The base offset that stands before it.
        base_offset: i64,
    },
    /// A header field is outside the range that the format gives it.
    #[error("the record batch at offset {base_offset} has an impossible {field}: {value}")]
    Field {
        /// The base offset of the batch.
        base_offset: i64,
        /// The field's name in the protocol documentation.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The CRC-32C does not fit the bytes.
    #[error("the record batch at offset {base_offset} fails its CRC-32C: {stored:08x} stored, {computed:08x} computed")]
    Crc {
        /// The base offset of the batch.
        base_offset: i64,
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

/// One whole record batch. Making one checks every bound; the accessors cannot fail after that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batch<'a> {
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// Reads the batch that begins at the start of `bytes`; what follows it is left alone. The CRC is not checked here.
    ///
    /// # Errors
    /// [`Error::Truncated`], [`Error::Magic`] and [`Error::Field`]: never a panic, whatever the bytes are.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() < LENGTH_PREFIX_BYTES + 5 {
            return Err(Error::Truncated { have: bytes.len(), need: HEADER_BYTES });
        }
        let base_offset = i64_at(bytes, 0);
        let magic = i8::from_be_bytes([bytes[16]]);
        if magic != 2 {
            return Err(Error::Magic { magic, base_offset });
        }
        if bytes.len() < HEADER_BYTES {
            return Err(Error::Truncated { have: bytes.len(), need: HEADER_BYTES });
        }
        let length = i32_at(bytes, 8);
        let field = |field, value: i64| Error::Field { base_offset, field, value };
        let need = usize::try_from(length)
            .ok()
            .and_then(|length| length.checked_add(LENGTH_PREFIX_BYTES))
            .filter(|need| *need >= HEADER_BYTES)
            .ok_or_else(|| field("batchLength", i64::from(length)))?;
        if bytes.len() < need {
            return Err(Error::Truncated { have: bytes.len(), need });
        }
        let batch = Self { bytes: &bytes[..need] };
        let last_offset_delta = i32_at(bytes, 23);
        let count = i32_at(bytes, 57);
        if base_offset < 0 {
            return Err(field("baseOffset", base_offset));
        }
        if last_offset_delta < 0 || base_offset.checked_add(i64::from(last_offset_delta) + 1).is_none() {
            return Err(field("lastOffsetDelta", i64::from(last_offset_delta)));
        }
        if count < 0 || i64::from(count) > i64::from(last_offset_delta) + 1 {
            return Err(field("recordsCount", i64::from(count)));
        }
        if Compression::from_id(batch.attributes() & COMPRESSION_MASK).is_none() {
            return Err(field("attributes", i64::from(batch.attributes())));
        }
        Ok(batch)
    }

    /// Checks the CRC-32C over everything after the checksum.
    ///
    /// # Errors
    /// [`Error::Crc`] with both values.
    pub fn check_crc(&self) -> Result<(), Error> {
        let stored = u32::from_be_bytes(array_at(self.bytes, 17));
        let computed = checksum::crc32c(&self.bytes[CRC_START..]);
        if stored == computed {
            return Ok(());
        }
        Err(Error::Crc { base_offset: self.base_offset(), stored, computed })
    }

    /// All bytes of the batch, header and records.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The records, compressed as [`Batch::compression`] says.
    pub fn records(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Offset of the first record when the batch was written; compaction may have removed that record.
    pub fn base_offset(&self) -> i64 {
        i64_at(self.bytes, 0)
    }

    /// Offset of the last record when the batch was written, inclusive; compaction keeps it.
    pub fn last_offset(&self) -> i64 {
        self.base_offset() + i64::from(self.last_offset_delta())
    }

    /// The offset after the batch, where reading goes on.
    pub fn next_offset(&self) -> i64 {
        self.last_offset() + 1
    }

    /// The offsets that the batch takes in its partition, half open.
    pub fn offsets(&self) -> Range<i64> {
        self.base_offset()..self.next_offset()
    }

    /// Last offset minus base offset.
    pub fn last_offset_delta(&self) -> i32 {
        i32_at(self.bytes, 23)
    }

    /// Leader epoch of the leader that appended the batch; -1 when unknown.
    pub fn leader_epoch(&self) -> i32 {
        i32_at(self.bytes, 12)
    }

    /// The attribute bits as they stand.
    pub fn attributes(&self) -> i16 {
        i16::from_be_bytes(array_at(self.bytes, 21))
    }

    /// The records' codec.
    pub fn compression(&self) -> Compression {
        Compression::from_id(self.attributes() & COMPRESSION_MASK).expect("checked when the batch was parsed")
    }

    /// Whether the broker's clock gave the time: then every record's time is [`Batch::max_timestamp_ms`].
    pub fn is_log_append_time(&self) -> bool {
        self.attributes() & LOG_APPEND_TIME_BIT != 0
    }

    /// Whether the batch belongs to a transaction (KIP-98).
    pub fn is_transactional(&self) -> bool {
        self.attributes() & TRANSACTIONAL_BIT != 0
    }

    /// Whether the batch holds a control record, a transaction marker for one, and no data.
    pub fn is_control(&self) -> bool {
        self.attributes() & CONTROL_BIT != 0
    }

    /// Whether the base timestamp is a delete horizon that the log cleaner set (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes() & DELETE_HORIZON_BIT != 0
    }

    /// What the records' timestamp deltas are added to, in milliseconds. No bound on the records' times.
    pub fn base_timestamp_ms(&self) -> i64 {
        i64_at(self.bytes, 27)
    }

    /// The largest timestamp of the records, in milliseconds; -1 when there is none.
    pub fn max_timestamp_ms(&self) -> i64 {
        i64_at(self.bytes, 35)
    }

    /// Id of the producer; -1 when it was not idempotent.
    pub fn producer_id(&self) -> i64 {
        i64_at(self.bytes, 43)
    }

    /// Epoch of the producer; -1 when it was not idempotent.
    pub fn producer_epoch(&self) -> i16 {
        i16::from_be_bytes(array_at(self.bytes, 51))
    }

    /// Sequence number of the first record; -1 when the producer was not idempotent.
    pub fn base_sequence(&self) -> i32 {
        i32_at(self.bytes, 53)
    }

    /// How many records the batch holds now; compaction lowers it, down to 0.
    pub fn record_count(&self) -> i32 {
        i32_at(self.bytes, 57)
    }

    /// Whether compaction took records out of the batch, so that its offset deltas are not consecutive.
    pub fn has_holes(&self) -> bool {
        i64::from(self.record_count()) != i64::from(self.last_offset_delta()) + 1
    }
}

/// Walks over the batches that stand one after the other in `bytes`.
///
/// A batch that is cut off by the end of the bytes ends the walk without an error when `truncated_tail_is_end` is
/// set: a fetch response may end in the middle of a batch. Anything else that is no batch is an error, once.
pub fn batches(bytes: &[u8], truncated_tail_is_end: bool) -> impl Iterator<Item = Result<Batch<'_>, Error>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        match Batch::parse(rest) {
            Ok(batch) => {
                rest = &rest[batch.bytes.len()..];
                Some(Ok(batch))
            }
            Err(Error::Truncated { .. }) if truncated_tail_is_end => None,
            Err(error) => {
                rest = &[];
                Some(Err(error))
            }
        }
    })
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has the array's length")
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, at))
}
