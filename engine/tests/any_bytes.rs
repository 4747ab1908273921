//! Whatever a broker or a store returns, reading it comes to an end without a panic: what the fuzzer looks for as well
//! (`engine/fuzz`), here on a stable compiler, with bytes that are nearly right.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../fuzz/entry.rs"]
mod entry;

use kafka_backup::format::batch::Compression;
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::document::DocumentKind;
use kafka_backup::format::record::OwnedRecord;
use kafka_backup::offsets::map::OffsetMap;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::sample::select;

const SEGMENT: &[u8] = include_bytes!("golden/v1/segment");
const MANIFEST: &[u8] = include_bytes!("golden/v1/manifest");
const PART: &[u8] = include_bytes!("golden/v1/part");
const CHECKPOINT: &[u8] = include_bytes!("golden/v1/checkpoint");
const CUT: &[u8] = include_bytes!("golden/v1/cut");
const REPOSITORY: &[u8] = include_bytes!("golden/v1/repository.json");
const ARCHIVE: &[u8] = include_bytes!("golden/v1/archive.json");

/// Where the first frame of the segment begins: its magic.
fn first_frame() -> &'static [u8] {
    let at = SEGMENT.windows(4).position(|bytes| bytes == b"KBFR").unwrap();
    &SEGMENT[at..]
}

/// The JSON of a document, without its header line; none for a compressed one.
fn body(document: &[u8]) -> &[u8] {
    &document[document.iter().position(|byte| *byte == b'\n').unwrap() + 1..]
}

fn batch(codec: Compression, values: &[u8]) -> Vec<u8> {
    let record = |value: &u8| OwnedRecord {
        timestamp_ms: 1_700_000_000_000 + i64::from(*value),
        key: (!value.is_multiple_of(3)).then(|| vec![*value; 3]),
        value: (!value.is_multiple_of(5)).then(|| vec![*value; usize::from(*value)]),
        headers: vec![(b"h".to_vec(), None), (vec![0xff], Some(vec![*value]))],
    };
    BatchBuilder::new(7).compression(codec).records(values.iter().map(record)).build().unwrap()
}

fn codec() -> impl Strategy<Value = Compression> {
    select(Compression::ALL.to_vec())
}

/// Two batches of any codec, one after the other.
fn log() -> impl Strategy<Value = Vec<u8>> {
    vec((codec(), vec(any::<u8>(), 1..6)), 2)
        .prop_map(|batches| batches.into_iter().flat_map(|(codec, values)| batch(codec, &values)).collect())
}

/// Some bytes are others, in most cases with values that lengths and counts dislike, and the end may be missing.
fn damaged(whole: impl Strategy<Value = Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![Just(0_u8), Just(0x7f), Just(0x80), Just(0xff), any::<u8>()];
    (whole, vec((any::<Index>(), byte), 0..4), prop::option::weighted(0.2, any::<Index>())).prop_map(
        |(mut bytes, changes, cut)| {
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            bytes
        },
    )
}

fn stored() -> impl Strategy<Value = Vec<u8>> {
    let documents = [MANIFEST, PART, CHECKPOINT, CUT, REPOSITORY, ARCHIVE];
    let bodies = documents.map(body);
    prop::sample::select([documents.to_vec(), bodies.to_vec()].concat()).prop_map(<[u8]>::to_vec)
}

/// The body of a map with any numbers, small ones and such as overflow.
fn map_body() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![0_u64..5, Just(i64::MAX.unsigned_abs()), Just(u64::MAX), any::<u64>()];
    let base_offset = prop_oneof![0_i64..5, Just(i64::MAX), any::<i64>()];
    (base_offset, vec(number, 0..6), prop::option::of(any::<u64>())).prop_map(|(base_offset, stretches, records)| {
        let lengths = stretches.iter().skip(1).step_by(2);
        let sum = lengths.fold(0_u64, |sum, length| sum.wrapping_add(*length));
        let map = serde_json::json!({
            "baseOffset": base_offset,
            "records": records.unwrap_or(sum),
            "stretches": stretches,
        });
        map.to_string().into_bytes()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes_at_all_are_read_to_an_end(bytes in vec(any::<u8>(), 0..300)) {
        entry::batch_walk(&bytes);
        entry::record_decode(&bytes);
        entry::frames(&bytes);
        entry::segment_end(&bytes);
        entry::documents(&bytes);
        entry::offset_map(&bytes);
    }

    #[test]
    fn damaged_batches_are_read_to_an_end(bytes in damaged(log())) {
        entry::batch_walk(&bytes);
        entry::record_decode(&bytes);
    }

    #[test]
    fn damaged_frames_are_read_to_an_end(bytes in damaged(Just(first_frame().to_vec()))) {
        entry::frames(&bytes);
    }

    #[test]
    fn damaged_ends_of_segments_are_read_to_an_end(bytes in damaged(Just(SEGMENT.to_vec()))) {
        entry::segment_end(&bytes);
    }

    #[test]
    fn damaged_documents_are_read_to_an_end(bytes in damaged(stored())) {
        entry::documents(&bytes);
        entry::segment_end(&bytes);
    }

    #[test]
    fn maps_of_any_numbers_are_read_to_an_end(bytes in map_body()) {
        entry::offset_map(&bytes);
    }
}

#[test]
fn the_bytes_that_are_damaged_here_are_read_when_they_are_whole() {
    let log = batch(Compression::Zstd, &[1, 2, 3]);
    assert_eq!(kafka_backup::format::batch::batches(&log, false).filter(Result::is_ok).count(), 1);
    entry::record_decode(&log);
    let mut frames = kafka_backup::format::segment::frames(first_frame().to_vec().into());
    assert!(frames.next().unwrap().is_ok());
    let map = br#"{"baseOffset":5,"records":3,"stretches":[2,3]}"#;
    let opened = OffsetMap::open(&entry::sealed(DocumentKind::OffsetMap, "json", map));
    assert_eq!(opened.unwrap().translate(4), 7);
}
