//! Records and batches for property tests: everything that a log can hold, and more often what is rare there.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use super::batch::Compression;
use super::builder::BatchBuilder;
use super::record::OwnedRecord;

pub(crate) fn compression() -> impl Strategy<Value = Compression> {
    select(Compression::ALL.to_vec())
}

/// Times near each other, years apart, before 1970, absent, and at the ends of their type.
pub(crate) fn timestamp_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 1_700_000_000_000_i64..1_700_000_000_100,
        2 => 0_i64..4_000_000_000_000,
        1 => Just(-1_i64),
        1 => any::<i64>(),
    ]
}

/// Null, empty, random (so not UTF-8), and long enough for several blocks of any codec.
fn payload() -> impl Strategy<Value = Option<Vec<u8>>> {
    option::weighted(
        0.8,
        prop_oneof![
            8 => vec(any::<u8>(), 0..24),
            4 => "[a-z]{0,60}".prop_map(String::into_bytes),
            1 => (any::<u8>(), 0_usize..100_000).prop_map(|(byte, count)| vec![byte; count]),
        ],
    )
}

/// Few different keys, so that they repeat within a record; some of them are not UTF-8.
fn header() -> impl Strategy<Value = (Vec<u8>, Option<Vec<u8>>)> {
    let key = prop_oneof![Just(b"a".to_vec()), Just(Vec::new()), Just(vec![0xff, 0xfe]), vec(any::<u8>(), 0..6)];
    (key, option::of(vec(any::<u8>(), 0..6)))
}

pub(crate) fn record() -> impl Strategy<Value = OwnedRecord> {
    (timestamp_ms(), payload(), payload(), vec(header(), 0..5))
        .prop_map(|(timestamp_ms, key, value, headers)| OwnedRecord { timestamp_ms, key, value, headers })
}

/// A data batch with a record at least; with holes in a third of all cases.
pub(crate) fn batch() -> impl Strategy<Value = BatchBuilder> {
    let hole = prop_oneof![4 => Just(0_i32), 1 => 1_i32..5];
    let records = prop_oneof![
        2 => vec((Just(0), record()), 1..12),
        1 => vec((hole, record()), 1..12),
    ];
    let log_append_time_ms = option::weighted(0.2, 1_700_000_000_000_i64..1_700_000_000_100);
    (0_i64..1_000_000, compression(), records, log_append_time_ms, 0_i32..3, any::<bool>()).prop_map(
        |(base_offset, compression, records, log_append_time_ms, cut_tail, transactional)| {
            let mut builder = BatchBuilder::new(base_offset).compression(compression).producer(7, 1, 100);
            if let Some(timestamp_ms) = log_append_time_ms {
                builder = builder.log_append_time_ms(timestamp_ms);
            }
            if transactional {
                builder = builder.transactional();
            }
            let has_holes = records.iter().any(|(hole, _)| *hole > 0);
            let mut next = 0;
            for (hole, record) in records {
                builder = builder.record_at(next + hole, record);
                next += hole + 1;
            }
            if has_holes { builder.last_offset_delta(next - 1 + cut_tail) } else { builder }
        },
    )
}
