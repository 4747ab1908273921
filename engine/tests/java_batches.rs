//! Batches that the Java client wrote, read by us: bytes that no code of ours made.

use kafka_backup::format::batch::{Batch, Compression};
use kafka_backup::format::codec::Decompressor;
use kafka_backup::format::record::{self, OwnedRecord};
use kafka_backup::rewrite::{Cut, Producer, Request, Scratch, pass_through, rewrite};

const BATCHES: [(Compression, &str); 5] = [
    (Compression::None, include_str!("golden/batches/none.hex")),
    (Compression::Gzip, include_str!("golden/batches/gzip.hex")),
    (Compression::Snappy, include_str!("golden/batches/snappy.hex")),
    (Compression::Lz4, include_str!("golden/batches/lz4.hex")),
    (Compression::Zstd, include_str!("golden/batches/zstd.hex")),
];

fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.split_whitespace().collect();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("two digits");
    (0..digits.len()).step_by(2).map(byte).collect()
}

fn record(timestamp_ms: i64, key: Option<&[u8]>, value: Option<&[u8]>) -> OwnedRecord {
    OwnedRecord { timestamp_ms, key: key.map(Vec::from), value: value.map(Vec::from), headers: Vec::new() }
}

/// What `MakeBatches.java` writes.
fn expected(compression: Compression) -> Vec<(i64, OwnedRecord)> {
    let mut records = vec![
        (42, record(1_700_000_000_000, Some(b"k1"), Some(b"v1"))),
        (43, record(1_600_000_000_000, None, Some(b"older by years"))),
        (44, record(1_700_000_000_001, Some(b"tombstone"), None)),
        (45, record(1_700_000_000_002, Some(b""), Some(b""))),
    ];
    records[1].1.headers = vec![
        (b"a".to_vec(), Some(b"1".to_vec())),
        (b"a".to_vec(), Some(b"2".to_vec())),
        (b"n".to_vec(), None),
        (b"e".to_vec(), Some(Vec::new())),
    ];
    if compression != Compression::None {
        records.push((46, record(1_700_000_000_003, Some(b"large"), Some(&[b'x'; 70_000]))));
    }
    records
}

#[test]
fn reads_what_the_java_client_wrote_with_every_codec() {
    for (compression, hex) in BATCHES {
        let bytes = bytes(hex);
        let batch = Batch::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.compression(), compression);
        assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (4000, 3, 17));
        let records = record::decode(&batch, &mut Decompressor::new()).unwrap();
        assert!(records == expected(compression), "{compression:?}");
    }
}

#[test]
fn passes_the_java_clients_records_on_untouched() {
    for (compression, hex) in BATCHES {
        let bytes = bytes(hex);
        let batch = Batch::parse(&bytes).unwrap();
        let sent = pass_through(&batch).stamp(&Producer { producer_id: 9, producer_epoch: 1, base_sequence: 0 });
        let sent = Batch::parse(&sent).unwrap();
        sent.check_crc().unwrap();
        assert!(sent.records() == batch.records(), "{compression:?}");
    }
}

#[test]
fn cuts_through_the_java_clients_batches() {
    let cut = Cut { point_in_time_ms: Some(1_700_000_000_001), ..Cut::default() };
    let request = Request { cut, max_batch_bytes: 1 << 20, headers: Vec::new() };
    for (compression, hex) in BATCHES {
        let bytes = bytes(hex);
        let batch = Batch::parse(&bytes).unwrap();
        let rewritten = rewrite(&batch, &request, &mut Scratch::default()).unwrap();
        let [producible] = <[_; 1]>::try_from(rewritten.batches).unwrap();
        let sent = producible.stamp(&Producer::NONE);
        let sent = Batch::parse(&sent).unwrap();
        let records = record::decode(&sent, &mut Decompressor::new()).unwrap();
        let kept = expected(compression).into_iter().take(3).map(|(offset, record)| (offset - 42, record));
        assert!(records == kept.collect::<Vec<_>>(), "{compression:?}");
    }
}
