//! Whatever is put into a segment comes out of it, byte for byte, and whatever changes on the way is noticed.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Range;

use bytes::Bytes;
use kafka_backup::format::batch::{Batch, Compression, batches};
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::frame::ArchiveCompression;
use kafka_backup::format::hole::{Hole, HoleReason};
use kafka_backup::format::invariants::{self, Broken};
use kafka_backup::format::manifest::Part;
use kafka_backup::format::record::OwnedRecord;
use kafka_backup::format::rope::Rope;
use kafka_backup::format::segment::{
    self, FOOTER_BYTES, Footer, OpenSegment, StoredSegment, TopicKey, frames, open_index,
};
use proptest::prelude::*;
use proptest::sample::select;
use uuid::Uuid;

/// What a run is made of.
#[derive(Debug, Clone)]
enum Piece {
    Batch(Vec<u8>),
    Hole(Hole),
}

#[derive(Debug, Clone)]
struct Run {
    topic: TopicKey,
    partition: i32,
    start_offset: i64,
    end_offset: i64,
    pieces: Vec<Piece>,
}

fn batch(base_offset: i64, count: usize, value_bytes: usize, compression: Compression) -> Vec<u8> {
    let record = |n: usize| OwnedRecord {
        timestamp_ms: 1_000 + base_offset,
        key: Some(n.to_string().into_bytes()),
        value: Some(vec![b'x'; value_bytes]),
        headers: Vec::new(),
    };
    BatchBuilder::new(base_offset).compression(compression).records((0..count).map(record)).build().unwrap()
}

fn compressions() -> impl Strategy<Value = Compression> {
    select(Compression::ALL.to_vec())
}

fn reasons() -> impl Strategy<Value = HoleReason> {
    prop_oneof![Just(HoleReason::Compaction), Just(HoleReason::Control), Just(HoleReason::Aborted)]
}

/// Runs of a few partitions, some of which go on with each other.
fn runs() -> impl Strategy<Value = Vec<Run>> {
    let piece = (
        0_i64..3,
        prop_oneof![
            3 => (1_usize..20, 0_usize..200_000, compressions()).prop_map(Ok),
            1 => (1_i64..1000, reasons()).prop_map(Err),
        ],
    );
    let run = (0_i32..3, 0_u8..2, prop::collection::vec(piece, 1..8));
    prop::collection::vec(run, 1..8).prop_map(|runs| {
        let mut ends = std::collections::HashMap::new();
        runs.into_iter()
            .map(|(partition, topic, pieces)| {
                let topic = TopicKey { name: format!("topic-{topic}"), id: Uuid::from_u128(u128::from(topic)) };
                let end = ends.entry((topic.clone(), partition)).or_insert(7_i64);
                let start_offset = *end;
                let pieces = pieces
                    .into_iter()
                    .map(|(gap, piece)| {
                        let at = *end + gap;
                        match piece {
                            Ok((count, value_bytes, compression)) => {
                                *end = at + i64::try_from(count).unwrap();
                                Piece::Batch(batch(at, count, value_bytes, compression))
                            }
                            Err((length, reason)) => {
                                *end = at + length;
                                Piece::Hole(Hole { start_offset: at, end_offset: *end, reason })
                            }
                        }
                    })
                    .collect();
                Run { topic, partition, start_offset, end_offset: *end, pieces }
            })
            .collect()
    })
}

fn store(runs: &[Run], codec: Compression) -> (Vec<u8>, StoredSegment) {
    let mut out = Rope::default();
    let compression = ArchiveCompression { codec, level: None };
    let mut segment = OpenSegment::new("s-1".parse().unwrap(), compression, &mut out);
    for run in runs {
        segment.begin_run(&run.topic, run.partition, run.start_offset, &mut out).unwrap();
        for piece in &run.pieces {
            match piece {
                Piece::Batch(bytes) => {
                    let response = Bytes::copy_from_slice(bytes);
                    segment.push_batch(&Batch::parse(&response).unwrap(), &response, &mut out).unwrap();
                }
                Piece::Hole(hole) => segment.push_hole(*hole, &mut out).unwrap(),
            }
        }
    }
    let sealed = segment.seal(&mut out).unwrap();
    assert_eq!(sealed.bytes(), out.len() as u64);
    (out.to_bytes().into(), sealed.stored())
}

fn index_of(object: &[u8]) -> Result<segment::Index, segment::Error> {
    let footer = Footer::parse(object, object.len() as u64)?;
    let start = usize::try_from(footer.index_position).unwrap();
    open_index(&object[start..object.len() - FOOTER_BYTES], None)
}

fn bytes_at(object: &[u8], range: Range<u64>) -> Bytes {
    Bytes::copy_from_slice(&object[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn what_is_put_in_comes_out(runs in runs(), codec in compressions()) {
        let (object, stored) = store(&runs, codec);
        let index = index_of(&object).unwrap();
        prop_assert_eq!(&index, &stored.index);

        // Batches of each partition, in the order in which they went in and come out.
        let mut expected: std::collections::BTreeMap<(TopicKey, i32), Vec<u8>> = std::collections::BTreeMap::new();
        for run in &runs {
            let bytes = expected.entry((run.topic.clone(), run.partition)).or_default();
            for piece in &run.pieces {
                if let Piece::Batch(batch) = piece {
                    bytes.extend_from_slice(batch);
                }
            }
        }
        let mut found: std::collections::BTreeMap<(TopicKey, i32), Vec<u8>> = std::collections::BTreeMap::new();
        let part = Part::of(&stored);
        for indexed in &index.runs {
            let run_bytes = bytes_at(&object, indexed.run.byte_range());
            prop_assert_eq!(crc32c::crc32c(&run_bytes), indexed.run.crc32c);
            let bytes = found.entry((index.topics[indexed.topic].clone(), indexed.run.partition)).or_default();
            let mut at = indexed.run.start_offset;
            let mut records = 0;
            for frame in frames(run_bytes) {
                let frame = frame.unwrap();
                frame.check().unwrap();
                prop_assert_eq!(frame.offsets.start, at);
                at = frame.offsets.end;
                bytes.extend_from_slice(&frame.batches);
                records += frame.batches().map(|batch| u64::try_from(batch.unwrap().record_count()).unwrap()).sum::<u64>();
            }
            prop_assert_eq!(at, indexed.run.end_offset);
            prop_assert_eq!(records, indexed.run.content.records);
        }
        prop_assert_eq!(found, expected);

        // Runs of a partition tile what went in.
        let by_partition = invariants::by_partition(part.runs().map(|(topic, _, run)| (topic, run)));
        for ((topic, partition), listed) in &by_partition {
            let of_partition = || runs.iter().filter(|run| run.topic == **topic && run.partition == *partition);
            let (start, end) = (of_partition().next().unwrap().start_offset, of_partition().next_back().unwrap().end_offset);
            let content = invariants::runs_tile(topic, *partition, start, end, listed).unwrap();
            prop_assert_eq!(content.records + content.holes.total(), end.abs_diff(start));
        }
    }

    /// One ranged request from the index is enough to find any offset.
    #[test]
    fn any_offset_is_found_by_one_range(runs in runs(), codec in compressions(), pick in any::<prop::sample::Index>()) {
        let (object, stored) = store(&runs, codec);
        let offsets: Vec<_> = runs
            .iter()
            .flat_map(|run| run.pieces.iter().filter_map(move |piece| match piece {
                Piece::Batch(bytes) => Some((run, Batch::parse(bytes).unwrap().last_offset(), bytes)),
                Piece::Hole(_) => None,
            }))
            .collect();
        prop_assume!(!offsets.is_empty());
        let (run, offset, bytes) = offsets[pick.index(offsets.len())];
        let indexed = stored.index.runs.iter().find(|indexed| {
            stored.index.topics[indexed.topic] == run.topic
                && indexed.run.partition == run.partition
                && (indexed.run.start_offset..indexed.run.end_offset).contains(&offset)
        });
        let indexed = indexed.unwrap();
        let first = frames(bytes_at(&object, indexed.bytes_from_offset(offset))).next().unwrap().unwrap();
        prop_assert!(first.offsets.contains(&offset));
        let found = batches(&first.batches, false).map(Result::unwrap).find(|batch| batch.offsets().contains(&offset));
        prop_assert_eq!(found.unwrap().bytes(), bytes.as_slice());
    }

    /// A part that is cut into pieces and put together again lists the same runs of the same segments.
    #[test]
    fn splitting_a_part_loses_no_run(runs in runs(), runs_max in 1_usize..4) {
        let parts: Vec<Part> = runs
            .iter()
            .enumerate()
            .map(|(number, run)| {
                let (_, mut stored) = store(std::slice::from_ref(run), Compression::None);
                stored.segment.id = format!("s-{number}").parse().unwrap();
                Part::of(&stored)
            })
            .collect();
        let whole = Part::merge(parts);
        let pieces = whole.split(runs_max);
        prop_assert!(pieces.iter().all(|piece| piece.run_count() <= runs_max));
        let listed = |part: &Part| -> Vec<_> {
            part.runs().map(|(topic, segment, run)| (topic.clone(), segment.clone(), run.clone())).collect()
        };
        prop_assert_eq!(listed(&Part::merge(pieces)), listed(&whole));
    }
}

#[test]
fn every_flipped_bit_of_a_segment_is_noticed() {
    let topic = TopicKey { name: "orders".to_owned(), id: Uuid::nil() };
    let pieces = vec![
        Piece::Batch(batch(0, 3, 10, Compression::None)),
        Piece::Hole(Hole { start_offset: 3, end_offset: 4, reason: HoleReason::Control }),
        Piece::Batch(batch(4, 2, 10, Compression::Zstd)),
    ];
    let run = Run { topic, partition: 0, start_offset: 0, end_offset: 6, pieces };
    let (object, stored) = store(&[run], Compression::Zstd);
    let frames_start = usize::try_from(stored.index.runs[0].run.position).unwrap();
    for bit in 0..object.len() * 8 {
        let mut flipped = object.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let has_header = segment::check_header(&stored.segment.id, &flipped[..frames_start]).is_ok();
        let whole = index_of(&flipped).is_ok_and(|index| {
            has_header
                && index.runs.iter().all(|indexed| {
                    frames(bytes_at(&flipped, indexed.run.byte_range()))
                        .all(|frame| frame.is_ok_and(|frame| frame.check().is_ok()))
                })
        });
        assert!(!whole, "bit {bit} went unnoticed");
    }
}

#[test]
fn producer_compressed_batches_are_never_compressed_again() {
    let topic = TopicKey { name: "orders".to_owned(), id: Uuid::nil() };
    let compressed = batch(0, 50, 1000, Compression::Zstd);
    let plain = batch(50, 50, 1000, Compression::None);
    let pieces = vec![Piece::Batch(compressed.clone()), Piece::Batch(plain.clone())];
    let run = Run { topic, partition: 0, start_offset: 0, end_offset: 100, pieces };
    let (object, stored) = store(&[run], Compression::Zstd);
    let has = |part: &[u8]| object.windows(part.len()).any(|window| window == part);
    assert!(has(&compressed), "the compressed batch must stand in the segment as it is");
    assert!(!has(&plain), "the plain batch must be compressed");
    assert_eq!(stored.index.runs[0].frames.len(), 2);
}

#[test]
fn runs_that_leave_offsets_out_or_repeat_them_are_refused() {
    let topic = TopicKey { name: "orders".to_owned(), id: Uuid::nil() };
    let run = |start: i64| {
        let bytes = batch(start, 10, 1, Compression::None);
        let run = Run {
            topic: topic.clone(),
            partition: 0,
            start_offset: start,
            end_offset: start + 10,
            pieces: vec![Piece::Batch(bytes)],
        };
        store(&[run], Compression::None).1.index.runs.remove(0).run
    };
    let tile = |runs: &[&kafka_backup::format::run::Run]| invariants::runs_tile(&topic, 0, 0, 20, runs);
    assert!(tile(&[&run(0), &run(10)]).is_ok());
    assert!(matches!(tile(&[&run(0)]), Err(Broken::Missing { start_offset: 10, end_offset: 20, .. })));
    assert!(matches!(tile(&[&run(10)]), Err(Broken::Missing { start_offset: 0, end_offset: 10, .. })));
    assert!(matches!(tile(&[&run(0), &run(5)]), Err(Broken::Twice { offset: 5, .. })));
    assert!(matches!(tile(&[&run(0), &run(10), &run(20)]), Err(Broken::Twice { offset: 20, .. })));
    assert_eq!(invariants::uncovered(0, 30, &[&run(5), &run(15)]), [0..5, 25..30]);
}
