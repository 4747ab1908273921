//! The records inside a batch, as byte slices: nothing is copied, decoded further, or put in another order.
//!
//! Layout of KIP-98: a length, then attributes, timestamp delta, offset delta, key, value and headers, with every number
//! but the attributes a zigzag varint. The reader is as lenient as Kafka's Java client, which a broker checks produced
//! batches with: a negative key, value or header value length is null, and a varint may be longer than it needs to be.

mod control;
mod varint;

use std::borrow::Cow;
use std::ops::RangeInclusive;

pub use self::control::ControlType;
use self::varint::{
    Cursor, bytes_len, put_bytes, put_nullable, put_varint, put_varlong, to_i32, varint_len, varlong_len,
};
use super::batch::Batch;
use super::codec::{self, Decompressor};
use crate::error::Kind;

/// Why bytes are not the records of a batch. Records are counted from 0, in the order in which they stand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The records cannot be decompressed.
    #[error(transparent)]
    Codec(#[from] codec::Error),
    /// A broker bounds only the compressed size of a batch. A megabyte of zstd can hold a gigabyte of zeros and be honest.
    #[error(
        "its records take more than {limit_bytes} bytes decompressed: raise --decompressed-batch-bytes-max \
         (decompressedBatchBytesMax in a file), and the memory of the run by three times as much"
    )]
    TooLarge {
        /// What is allowed, in bytes.
        limit_bytes: usize,
    },
    /// The bytes end inside a record.
    #[error("record {record} of the batch is cut short in its {field}")]
    Truncated {
        /// Which record.
        record: i32,
        /// The field that the end falls into.
        field: &'static str,
    },
    /// A varint goes on beyond the 5 or 10 bytes that its type can take.
    #[error("record {record} of the batch has an endless varint as its {field}")]
    Varint {
        /// Which record.
        record: i32,
        /// The field.
        field: &'static str,
    },
    /// A number that must not be negative is.
    #[error("record {record} of the batch has an impossible {field}: {value}")]
    Negative {
        /// Which record.
        record: i32,
        /// The field.
        field: &'static str,
        /// Its value.
        value: i32,
    },
    /// The fields of a record do not end where the record does.
    #[error("record {record} of the batch says that it takes {declared} bytes, {unread} more than its fields take")]
    Length {
        /// Which record.
        record: i32,
        /// The record's length field, in bytes.
        declared: i32,
        /// Bytes of it that belong to no field.
        unread: usize,
    },
    /// Bytes are left when all the records that the header counts have been read.
    #[error("{unread} bytes follow the last of {records} records in the batch")]
    Trailing {
        /// The count in the batch header.
        records: i32,
        /// Bytes left.
        unread: usize,
    },
    /// Offsets in the batch run backwards, repeat, or leave the range that the header gives.
    #[error("record {record} of the batch stands at offset delta {offset_delta}, out of order or out of range")]
    OffsetOrder {
        /// Which record.
        record: i32,
        /// Its offset delta.
        offset_delta: i32,
    },
    /// A batch with the control bit set does not hold a marker that can be read.
    #[error("the control batch at offset {base_offset} holds no readable control record")]
    Control {
        /// The base offset of the batch.
        base_offset: i64,
    },
}

impl Error {
    /// What the failure asks of its reader.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Codec(error) => error.kind(),
            Self::TooLarge { .. } => Kind::Usage,
            Self::Truncated { .. }
            | Self::Varint { .. }
            | Self::Negative { .. }
            | Self::Length { .. }
            | Self::Trailing { .. }
            | Self::OffsetOrder { .. }
            | Self::Control { .. } => Kind::Corrupt,
        }
    }
}

/// One record, borrowed from the decompressed records of its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The attribute bits, none of which has a meaning yet.
    pub attributes: i8,
    /// Milliseconds after the batch's base timestamp; of any size and sign (see [`RecordTime`]).
    pub timestamp_delta_ms: i64,
    /// Offset minus the batch's base offset.
    pub offset_delta: i32,
    /// The key, if it is not null.
    pub key: Option<&'a [u8]>,
    /// The value; null is a tombstone in a compacted topic.
    pub value: Option<&'a [u8]>,
    /// The headers, in their order.
    pub headers: Headers<'a>,
    /// The whole record as it stands, its length field included.
    pub raw: &'a [u8],
    /// Key and value as they stand, lengths included.
    key_value: &'a [u8],
}

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes`; what follows it is left alone. `record` is its number, for the errors.
    ///
    /// # Errors
    /// All of [`Error`] but those about a whole batch; never a panic, whatever the bytes are.
    pub fn parse(bytes: &'a [u8], record: i32) -> Result<Self, Error> {
        let mut cursor = Cursor { rest: bytes, record };
        let declared = cursor.length("length")?;
        let prefix_bytes = bytes.len() - cursor.rest.len();
        let body = cursor.take(declared, "body")?;
        let raw = &bytes[..prefix_bytes + body.len()];

        let mut cursor = Cursor { rest: body, record };
        let [attributes] = *cursor.take(1, "attributes")? else {
            return Err(Error::Truncated { record, field: "attributes" });
        };
        let timestamp_delta_ms = cursor.varlong("timestampDelta")?;
        let offset_delta = cursor.varint("offsetDelta")?;
        let after_deltas = cursor.rest;
        let key = cursor.nullable("key")?;
        let value = cursor.nullable("value")?;
        let key_value = &after_deltas[..after_deltas.len() - cursor.rest.len()];
        let count = cursor.length("headersCount")?;
        let encoded_headers = cursor.rest;
        for _ in 0..count {
            let key_bytes = cursor.length("headerKey")?;
            cursor.take(key_bytes, "headerKey")?;
            cursor.nullable("headerValue")?;
        }
        if !cursor.rest.is_empty() {
            return Err(Error::Length { record, declared, unread: cursor.rest.len() });
        }
        Ok(Self {
            attributes: i8::from_be_bytes([attributes]),
            timestamp_delta_ms,
            offset_delta,
            key,
            value,
            headers: Headers { count, rest: encoded_headers },
            raw,
            key_value,
        })
    }

    /// Appends the record to `out` with other deltas and with `added` headers behind its own. Key, value and headers are
    /// copied as they are encoded.
    ///
    /// # Panics
    /// When the record would take 2 GiB or more.
    pub fn append_moved(&self, out: &mut Vec<u8>, timestamp_delta_ms: i64, offset_delta: i32, added: &[Added<'_>]) {
        let count = self.headers.count + i32::try_from(added.len()).expect("headers are added one by one");
        let added_bytes: usize = added.iter().map(|(key, value)| bytes_len(key) + bytes_len(value)).sum();
        let body_bytes = 1
            + varlong_len(timestamp_delta_ms)
            + varint_len(offset_delta)
            + self.key_value.len()
            + varint_len(count)
            + self.headers.rest.len()
            + added_bytes;
        put_varint(out, to_i32(body_bytes));
        out.extend_from_slice(&self.attributes.to_be_bytes());
        put_varlong(out, timestamp_delta_ms);
        put_varint(out, offset_delta);
        out.extend_from_slice(self.key_value);
        put_varint(out, count);
        out.extend_from_slice(self.headers.rest);
        for (key, value) in added {
            put_bytes(out, key);
            put_bytes(out, value);
        }
    }

    /// A copy that needs no batch, with the record's absolute time.
    pub fn to_owned(&self, time: RecordTime) -> OwnedRecord {
        OwnedRecord {
            timestamp_ms: time.of(self),
            key: self.key.map(Vec::from),
            value: self.value.map(Vec::from),
            headers: self.headers.map(|(key, value)| (key.to_vec(), value.map(Vec::from))).collect(),
        }
    }
}

/// A header to add to a record: key and value.
pub type Added<'a> = (&'a [u8], &'a [u8]);

/// Walks over the headers of a record, in their order: key and value. Keys are not checked to be UTF-8, and may repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'a> {
    count: i32,
    rest: &'a [u8],
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.count == 0 {
            return None;
        }
        // All of it was read once when the record was parsed, so that `ok` hides no error.
        let mut cursor = Cursor { rest: self.rest, record: 0 };
        let key_bytes = cursor.length("headerKey").ok()?;
        let key = cursor.take(key_bytes, "headerKey").ok()?;
        let value = cursor.nullable("headerValue").ok()?;
        *self = Self { count: self.count - 1, rest: cursor.rest };
        Some((key, value))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let count = usize::try_from(self.count).unwrap_or(0);
        (count, Some(count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Walks over the decompressed records of a batch. After an error it ends.
///
/// The records that come out have rising offset deltas within the batch's range, so that base offset plus delta is safe
/// to compute.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    read: i32,
    count: i32,
    deltas_left: RangeInclusive<i32>,
    ended: bool,
}

impl<'a> Records<'a> {
    /// The records that `decompressed` must hold, and nothing besides, according to the header of their batch.
    pub fn new(decompressed: &'a [u8], batch: &Batch<'_>) -> Self {
        Self::with_header(decompressed, batch.record_count(), batch.last_offset_delta())
    }

    const fn with_header(decompressed: &'a [u8], count: i32, last_offset_delta: i32) -> Self {
        Self { rest: decompressed, read: 0, count, deltas_left: 0..=last_offset_delta, ended: false }
    }

    fn read(&mut self) -> Result<Record<'a>, Error> {
        let record = Record::parse(self.rest, self.read)?;
        let offset_delta = record.offset_delta;
        if !self.deltas_left.contains(&offset_delta) {
            return Err(Error::OffsetOrder { record: self.read, offset_delta });
        }
        // After the last delta that there can be, the range is empty whatever its start.
        self.deltas_left = offset_delta.saturating_add(1)..=*self.deltas_left.end();
        self.rest = &self.rest[record.raw.len()..];
        self.read += 1;
        Ok(record)
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        if self.read >= self.count {
            self.ended = true;
            let unread = self.rest.len();
            return (unread > 0).then_some(Err(Error::Trailing { records: self.count, unread }));
        }
        let record = self.read();
        self.ended = record.is_err();
        Some(record)
    }
}

/// How the records of a batch come by their times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordTime {
    /// The producer gave each record its time, kept as a difference to a base.
    Create {
        /// The batch's base timestamp, in milliseconds.
        base_timestamp_ms: i64,
    },
    /// The broker gave the whole batch one time; the differences in the records still are the producer's, and mean
    /// nothing.
    LogAppend {
        /// The batch's max timestamp, in milliseconds.
        max_timestamp_ms: i64,
    },
}

impl RecordTime {
    /// How the records of this batch come by their times.
    pub fn of_batch(batch: &Batch<'_>) -> Self {
        if batch.is_log_append_time() {
            Self::LogAppend { max_timestamp_ms: batch.max_timestamp_ms() }
        } else {
            Self::Create { base_timestamp_ms: batch.base_timestamp_ms() }
        }
    }

    /// The record's time, in milliseconds since the Unix epoch; -1 when its producer gave none. It wraps on overflow, as it
    /// does in every Java consumer, so that no bytes can make reading fail.
    pub fn of(self, record: &Record<'_>) -> i64 {
        match self {
            Self::Create { base_timestamp_ms } => base_timestamp_ms.wrapping_add(record.timestamp_delta_ms),
            Self::LogAppend { max_timestamp_ms } => max_timestamp_ms,
        }
    }
}

/// A record that stands alone, with its absolute time; for those who show records or make them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct OwnedRecord {
    /// Milliseconds since the Unix epoch; -1 for none.
    pub timestamp_ms: i64,
    /// The key, if it is not null.
    pub key: Option<Vec<u8>>,
    /// The value, if it is not null.
    pub value: Option<Vec<u8>>,
    /// The headers, in their order.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl OwnedRecord {
    /// Appends the record in the layout of KIP-98, its time as the difference to `base_timestamp_ms`.
    ///
    /// # Panics
    /// When the record would take 2 GiB or more.
    pub fn append_to(&self, out: &mut Vec<u8>, base_timestamp_ms: i64, offset_delta: i32) {
        let mut body = vec![0];
        put_varlong(&mut body, self.timestamp_ms.wrapping_sub(base_timestamp_ms));
        put_varint(&mut body, offset_delta);
        put_nullable(&mut body, self.key.as_deref());
        put_nullable(&mut body, self.value.as_deref());
        put_varint(&mut body, to_i32(self.headers.len()));
        for (key, value) in &self.headers {
            put_bytes(&mut body, key);
            put_nullable(&mut body, value.as_deref());
        }
        put_varint(out, to_i32(body.len()));
        out.extend_from_slice(&body);
    }
}

/// The decompressed records of a batch, borrowed when there is nothing to decompress.
///
/// # Errors
/// [`Error::Codec`], and [`Error::TooLarge`] when they take more bytes than the decompressor is for.
pub fn decompress<'a>(batch: &Batch<'a>, decompressor: &mut Decompressor) -> Result<Cow<'a, [u8]>, Error> {
    let limit_bytes = decompressor.records_bytes_max();
    decompressor.decompress(batch.compression(), batch.records(), limit_bytes).map_err(codec_error)
}

/// What a codec's failure means for the records of a batch.
pub fn codec_error(error: codec::Error) -> Error {
    match error {
        codec::Error::TooLarge { limit_bytes, .. } => Error::TooLarge { limit_bytes },
        error => Error::Codec(error),
    }
}

/// The decompressed records of a batch, after each of them was read: nothing is wrong with them.
///
/// # Errors
/// Whatever is wrong with the records, [`Error`].
pub fn checked<'a>(batch: &Batch<'a>, decompressor: &mut Decompressor) -> Result<Cow<'a, [u8]>, Error> {
    if batch.record_count() == 0 && batch.records().is_empty() {
        return Ok(Cow::Borrowed(&[]));
    }
    let bytes = decompress(batch, decompressor)?;
    Records::new(&bytes, batch).try_for_each(|record| record.map(drop))?;
    Ok(bytes)
}

/// All records of a batch with their offsets. For comparing; the way of bulk data is [`Records`].
///
/// # Errors
/// Whatever is wrong with the records, [`Error`].
pub fn decode(batch: &Batch<'_>, decompressor: &mut Decompressor) -> Result<Vec<(i64, OwnedRecord)>, Error> {
    let bytes = checked(batch, decompressor)?;
    let time = RecordTime::of_batch(batch);
    Records::new(&bytes, batch)
        .map(|record| {
            record.map(|record| (batch.base_offset() + i64::from(record.offset_delta), record.to_owned(time)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::format::arbitrary;
    use crate::format::batch::Compression;
    use crate::format::builder::BatchBuilder;

    fn encoded(record: &OwnedRecord) -> Vec<u8> {
        let mut out = Vec::new();
        record.append_to(&mut out, 0, 0);
        out
    }

    fn at_offset_deltas(offset_deltas: &[i32]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for offset_delta in offset_deltas {
            OwnedRecord::default().append_to(&mut bytes, 0, *offset_delta);
        }
        bytes
    }

    fn all(bytes: &[u8], count: i32) -> Result<Vec<Record<'_>>, Error> {
        Records::with_header(bytes, count, i32::MAX - 1).collect()
    }

    #[test]
    fn writes_the_layout_of_kip_98() {
        let record = OwnedRecord {
            timestamp_ms: 1003,
            key: Some(b"k".to_vec()),
            value: None,
            headers: vec![(b"h".to_vec(), Some(b"v".to_vec())), (b"n".to_vec(), None)],
        };
        let mut out = Vec::new();
        record.append_to(&mut out, 1000, 2);
        // length 14, attributes, +3 ms, +2, key of 1, value null, two headers, each with its key's and value's length
        assert_eq!(out, [28, 0, 6, 4, 2, b'k', 1, 4, 2, b'h', 2, b'v', 2, b'n', 1]);
    }

    #[test]
    fn a_null_is_not_an_empty_value() {
        let record = |value: Option<&[u8]>| OwnedRecord { value: value.map(Vec::from), ..OwnedRecord::default() };
        let (null, empty) = (encoded(&record(None)), encoded(&record(Some(b""))));
        assert_eq!(Record::parse(&null, 0).expect("reads").value, None);
        assert_eq!(Record::parse(&empty, 0).expect("reads").value, Some(&b""[..]));
    }

    #[test]
    fn rejects_a_count_that_does_not_fit() {
        let bytes = at_offset_deltas(&[0, 1]);
        assert_eq!(all(&bytes, 2).expect("reads").len(), 2);
        assert_eq!(all(&bytes, 1), Err(Error::Trailing { records: 1, unread: bytes.len() / 2 }));
        assert_eq!(all(&bytes, 3), Err(Error::Truncated { record: 2, field: "length" }));
    }

    #[test]
    fn rejects_fields_that_leave_bytes_over() {
        let mut bytes = encoded(&OwnedRecord::default());
        bytes[0] += 2;
        bytes.push(0);
        let declared = i32::try_from(bytes.len() - 1).expect("small");
        assert_eq!(all(&bytes, 1), Err(Error::Length { record: 0, declared, unread: 1 }));
    }

    #[test]
    fn rejects_negative_counts_and_endless_varints() {
        assert_eq!(all(&[1], 1), Err(Error::Negative { record: 0, field: "length", value: -1 }));
        assert_eq!(all(&[0xff; 8], 1), Err(Error::Varint { record: 0, field: "length" }));
        // attributes, two deltas, key and value null, then -1 headers
        let bytes = [12, 0, 0, 0, 1, 1, 1];
        assert_eq!(all(&bytes, 1), Err(Error::Negative { record: 0, field: "headersCount", value: -1 }));
    }

    #[test]
    fn rejects_offsets_out_of_order_or_range() {
        let walk = |offset_deltas: &[i32]| {
            let bytes = at_offset_deltas(offset_deltas);
            Records::with_header(&bytes, 2, 5).map(|record| record.map(drop)).collect::<Result<Vec<_>, _>>()
        };
        assert_eq!(walk(&[2, 5]).map(|read| read.len()), Ok(2));
        for (offset_deltas, record) in [([-1, 0], 0), ([2, 2], 1), ([3, 2], 1), ([2, 6], 1), ([5, i32::MIN], 1)] {
            let offset_delta = offset_deltas[record];
            let record = i32::try_from(record).expect("small");
            assert_eq!(walk(&offset_deltas), Err(Error::OffsetOrder { record, offset_delta }));
        }
    }

    #[test]
    fn a_walk_ends_after_its_first_error() {
        let mut records = Records::with_header(&[0xff; 40], 30, 29);
        assert!(records.next().is_some_and(|record| record.is_err()));
        assert!(records.next().is_none());
    }

    #[test]
    fn a_delete_horizon_leaves_the_times_alone() {
        let record = OwnedRecord { timestamp_ms: 1000, ..OwnedRecord::default() };
        let bytes = BatchBuilder::new(0).record(record.clone()).delete_horizon_ms(5_000_000).build().expect("builds");
        let batch = Batch::parse(&bytes).expect("a batch");
        assert!(batch.has_delete_horizon());
        assert_eq!(decode(&batch, &mut Decompressor::new()), Ok(vec![(0, record)]));
    }

    #[test]
    fn an_empty_batch_has_no_records_whatever_its_codec() {
        let bytes = BatchBuilder::new(7).compression(Compression::Zstd).last_offset_delta(3).build().expect("builds");
        let batch = Batch::parse(&bytes).expect("a batch");
        assert_eq!(batch.offsets(), 7..11);
        assert_eq!(decode(&batch, &mut Decompressor::new()), Ok(Vec::new()));
    }

    proptest! {
        #[test]
        fn records_read_back_as_they_were_written(records in vec(arbitrary::record(), 0..8), base_ms in arbitrary::timestamp_ms()) {
            let mut bytes = Vec::new();
            for (offset_delta, record) in (0..).zip(&records) {
                record.append_to(&mut bytes, base_ms, offset_delta);
            }
            let count = i32::try_from(records.len()).expect("few");
            let read = all(&bytes, count).expect("reads");
            let time = RecordTime::Create { base_timestamp_ms: base_ms };
            prop_assert_eq!(read.iter().map(|record| record.to_owned(time)).collect::<Vec<_>>(), records);
            prop_assert_eq!(read.iter().map(|record| record.offset_delta).collect::<Vec<_>>(), (0..count).collect::<Vec<_>>());
            prop_assert_eq!(read.iter().flat_map(|record| record.raw).copied().collect::<Vec<_>>(), bytes);
        }

        #[test]
        fn a_moved_record_differs_only_in_its_deltas(
            record in arbitrary::record(), delta_ms in any::<i64>(), offset_delta in any::<i32>(),
        ) {
            let bytes = encoded(&record);
            let before = Record::parse(&bytes, 0).expect("reads");
            let mut moved = Vec::new();
            before.append_moved(&mut moved, delta_ms, offset_delta, &[(b"extra", b"1")]);
            let after = Record::parse(&moved, 0).expect("reads");
            prop_assert_eq!(after.raw.len(), moved.len());
            prop_assert_eq!((after.timestamp_delta_ms, after.offset_delta), (delta_ms, offset_delta));
            prop_assert_eq!((after.key, after.value, after.attributes), (before.key, before.value, before.attributes));
            let with_extra: Vec<_> = before.headers.chain([(&b"extra"[..], Some(&b"1"[..]))]).collect();
            prop_assert_eq!(after.headers.len(), with_extra.len());
            prop_assert_eq!(after.headers.collect::<Vec<_>>(), with_extra);
        }

        #[test]
        fn batches_read_back_as_they_were_built(builder in arbitrary::batch()) {
            let bytes = builder.build().expect("builds");
            let batch = Batch::parse(&bytes).expect("a batch");
            prop_assert_eq!(batch.check_crc(), Ok(()));
            let read = decode(&batch, &mut Decompressor::new()).expect("reads");
            prop_assert_eq!(read.len(), usize::try_from(batch.record_count()).expect("not negative"));
            prop_assert!(read.iter().all(|(offset, _)| batch.offsets().contains(offset)));
            prop_assert!(read.is_sorted_by(|a, b| a.0 < b.0));
        }

        #[test]
        fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..200), count in 0_i32..20) {
            for record in Records::with_header(&bytes, count, 19) {
                let Ok(record) = record else { break };
                prop_assert_eq!(record.headers.len(), record.headers.count());
            }
        }

        #[test]
        fn flipped_bits_never_panic(builder in arbitrary::batch(), flips in vec((any::<prop::sample::Index>(), 0_u8..8), 1..4)) {
            let mut bytes = builder.build().expect("builds");
            for (at, bit) in flips {
                let at = at.index(bytes.len());
                bytes[at] ^= 1 << bit;
            }
            if let Ok(batch) = Batch::parse(&bytes) {
                drop(decode(&batch, &mut Decompressor::new()));
            }
        }
    }
}
