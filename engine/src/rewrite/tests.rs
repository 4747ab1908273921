use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::format::arbitrary;
use crate::format::builder::BatchBuilder;
use crate::format::record::{ControlType, OwnedRecord, decode};

mod joining;

const NO_LIMIT: usize = 1 << 30;

fn request(cut: Cut) -> Request {
    Request { cut, max_batch_bytes: NO_LIMIT, headers: Vec::new() }
}

fn record(timestamp_ms: i64, value: &str) -> OwnedRecord {
    OwnedRecord { timestamp_ms, key: None, value: Some(value.into()), headers: Vec::new() }
}

fn built(builder: &BatchBuilder) -> Vec<u8> {
    builder.build().expect("builds")
}

fn verdict(builder: &BatchBuilder, request: &Request) -> Verdict {
    decide(&Batch::parse(&built(builder)).expect("a batch"), request)
}

fn decoded(bytes: &[u8]) -> Vec<(i64, OwnedRecord)> {
    let batch = Batch::parse(bytes).expect("a batch");
    assert_eq!(batch.check_crc(), Ok(()));
    decode(&batch, &mut Decompressor::new()).expect("readable records")
}

fn rewritten(bytes: &[u8], request: &Request) -> Result<Rewritten, Error> {
    rewrite(&Batch::parse(bytes).expect("a batch"), request, &mut Scratch::default())
}

/// The records of all batches with the source offsets that the stretches give them. Checks what a broker checks.
fn delivered(rewritten: &Rewritten) -> Vec<(i64, OwnedRecord)> {
    let mut delivered = Vec::new();
    for producible in &rewritten.batches {
        let bytes = producible.clone().stamp(&Producer { producer_id: 5, producer_epoch: 2, base_sequence: 9 });
        assert_eq!(bytes.len(), producible.len_bytes());
        let batch = Batch::parse(&bytes).expect("a batch");
        assert_eq!((batch.base_offset(), batch.leader_epoch()), (0, -1));
        assert_eq!((batch.producer_id(), batch.producer_epoch(), batch.base_sequence()), (5, 2, 9));
        assert_eq!(batch.attributes(), batch.compression().id());
        assert_eq!(batch.record_count(), producible.record_count());
        assert!(!batch.has_holes());
        let records = decoded(&bytes);
        assert!((0..).zip(&records).all(|(expected, (offset, _))| expected == *offset));
        assert_eq!(records.iter().map(|(_, record)| record.timestamp_ms).max(), Some(batch.max_timestamp_ms()));
        let offsets = producible
            .stretches()
            .iter()
            .flat_map(|stretch| stretch.source_offset..stretch.source_offset + stretch.count);
        assert_eq!(offsets.clone().count(), records.len());
        delivered.extend(offsets.zip(records.into_iter().map(|(_, record)| record)));
    }
    delivered
}

mod deciding {
    use super::*;

    fn three() -> BatchBuilder {
        BatchBuilder::new(100).records([record(10, "a"), record(30, "b"), record(20, "c")])
    }

    fn point_in_time(point_in_time_ms: i64) -> Request {
        request(Cut { point_in_time_ms: Some(point_in_time_ms), ..Cut::default() })
    }

    fn start(start_ms: i64) -> Request {
        request(Cut { start_ms: Some(start_ms), ..Cut::default() })
    }

    fn window(start: i64, end: i64) -> Request {
        request(Cut { source_start_offset: Some(start), source_end_offset: Some(end), ..Cut::default() })
    }

    #[test]
    fn a_whole_batch_passes() {
        assert_eq!(verdict(&three(), &request(Cut::default())), Verdict::Pass);
        assert_eq!(verdict(&three().transactional().producer(1, 2, 3), &request(Cut::default())), Verdict::Pass);
        assert_eq!(verdict(&three(), &window(100, 103)), Verdict::Pass);
    }

    #[test]
    fn control_and_empty_batches_are_skipped() {
        let control = BatchBuilder::new(0).control(ControlType::Commit, 1);
        assert_eq!(verdict(&control, &request(Cut::default())), Verdict::Skip(Skip::Control));
        let empty = BatchBuilder::new(0).last_offset_delta(4);
        assert_eq!(verdict(&empty, &request(Cut::default())), Verdict::Skip(Skip::Empty));
    }

    #[test]
    fn a_point_in_time_looks_inside_only_below_the_latest_record() {
        assert_eq!(verdict(&three(), &point_in_time(30)), Verdict::Pass);
        let time = Verdict::Rewrite(Reasons { time: true, ..Reasons::default() });
        assert_eq!(verdict(&three(), &point_in_time(29)), time);
        // The base timestamp is no lower bound, so that even this may hold an early record.
        assert_eq!(verdict(&three(), &point_in_time(0)), time);
    }

    #[test]
    fn a_start_looks_inside_unless_all_is_before_it() {
        let time = Verdict::Rewrite(Reasons { time: true, ..Reasons::default() });
        assert_eq!(verdict(&three(), &start(30)), time);
        assert_eq!(verdict(&three(), &start(31)), Verdict::Skip(Skip::BeforeStart));
    }

    #[test]
    fn log_append_time_is_all_or_nothing() {
        let batch = three().log_append_time_ms(50);
        let rewrite = Verdict::Rewrite(Reasons { log_append_time: true, ..Reasons::default() });
        assert_eq!(verdict(&batch, &request(Cut::default())), rewrite);
        assert_eq!(verdict(&batch, &point_in_time(50)), rewrite);
        assert_eq!(verdict(&batch, &point_in_time(49)), Verdict::Skip(Skip::AfterPointInTime));
        assert_eq!(verdict(&batch, &start(50)), rewrite);
        assert_eq!(verdict(&batch, &start(51)), Verdict::Skip(Skip::BeforeStart));
    }

    #[test]
    fn a_batch_across_the_edge_of_the_offsets_is_cut() {
        let offsets = Verdict::Rewrite(Reasons { offsets: true, ..Reasons::default() });
        assert_eq!(verdict(&three(), &window(101, 200)), offsets);
        assert_eq!(verdict(&three(), &window(0, 102)), offsets);
        assert_eq!(verdict(&three(), &window(103, 200)), Verdict::Skip(Skip::OutsideOffsets));
        assert_eq!(verdict(&three(), &window(0, 100)), Verdict::Skip(Skip::OutsideOffsets));
    }

    #[test]
    fn what_a_broker_refuses_is_rewritten() {
        let holes = BatchBuilder::new(0).record_at(1, record(1, "a"));
        let reasons = Reasons { holes: true, ..Reasons::default() };
        assert_eq!(verdict(&holes, &request(Cut::default())), Verdict::Rewrite(reasons));
        let limit = built(&three()).len();
        let limited = |max_batch_bytes| Request { max_batch_bytes, ..request(Cut::default()) };
        assert_eq!(verdict(&three(), &limited(limit)), Verdict::Pass);
        let reasons = Reasons { too_large: true, ..Reasons::default() };
        assert_eq!(verdict(&three(), &limited(limit - 1)), Verdict::Rewrite(reasons));
    }

    #[test]
    fn wanted_headers_are_a_reason() {
        let headers = vec![InjectedHeader { key: "h".into(), value: HeaderValue::SourceOffset }];
        let reasons = Reasons { headers: true, ..Reasons::default() };
        let request = Request { headers, ..request(Cut::default()) };
        assert_eq!(verdict(&three(), &request), Verdict::Rewrite(reasons));
    }
}

#[test]
fn sequences_wrap_to_zero() {
    assert_eq!(Producer::sequence_after(0, 5), 5);
    assert_eq!(Producer::sequence_after(i32::MAX - 1, 1), i32::MAX);
    assert_eq!(Producer::sequence_after(i32::MAX, 1), 0);
    assert_eq!(Producer::sequence_after(i32::MAX - 3, 10), 6);
    assert_eq!(Producer::sequence_after(i32::MAX, i32::MAX), i32::MAX - 1);
}

#[test]
fn a_control_batch_is_never_rewritten() {
    let bytes = built(&BatchBuilder::new(8).control(ControlType::Abort, 1));
    assert_eq!(rewritten(&bytes, &request(Cut::default())), Err(Error::Control { base_offset: 8 }));
}

#[test]
fn log_append_time_becomes_each_records_own_time() {
    let builder = BatchBuilder::new(0).records([record(10, "a"), record(30, "b")]).log_append_time_ms(77);
    let rewritten = rewritten(&built(&builder), &request(Cut::default())).expect("rewrites");
    assert_eq!(delivered(&rewritten), [(0, record(77, "a")), (1, record(77, "b"))]);
}

#[test]
fn holes_close_and_the_stretches_remember_them() {
    let builder = BatchBuilder::new(50)
        .record_at(1, record(1, "a"))
        .record(record(2, "b"))
        .record_at(7, record(3, "c"))
        .last_offset_delta(9);
    let rewritten = rewritten(&built(&builder), &request(Cut::default())).expect("rewrites");
    let [producible] = &rewritten.batches[..] else { panic!("one batch, not {}", rewritten.batches.len()) };
    assert_eq!(
        producible.stretches(),
        [Stretch { source_offset: 51, count: 2 }, Stretch { source_offset: 57, count: 1 }]
    );
    assert_eq!(delivered(&rewritten), [(51, record(1, "a")), (52, record(2, "b")), (57, record(3, "c"))]);
}

#[test]
fn a_batch_that_needs_no_change_keeps_its_bytes() {
    let builder = BatchBuilder::new(3).compression(Compression::Snappy).records([record(10, "a"), record(30, "b")]);
    let bytes = built(&builder);
    let batch = Batch::parse(&bytes).expect("a batch");
    let suspicious = request(Cut { start_ms: Some(10), ..Cut::default() });
    assert!(matches!(decide(&batch, &suspicious), Verdict::Rewrite(_)));
    assert_eq!(rewritten(&bytes, &suspicious).expect("rewrites").batches, [pass_through(&batch)]);
}

#[test]
fn nothing_is_produced_when_no_record_is_wanted() {
    let builder = BatchBuilder::new(0).records([record(10, "a"), record(30, "b")]);
    let rewritten = rewritten(&built(&builder), &request(Cut { point_in_time_ms: Some(5), ..Cut::default() }));
    assert_eq!(rewritten, Ok(Rewritten { records_outside_time: 2, ..Rewritten::default() }));
}

#[test]
fn headers_are_put_last_and_only_once() {
    let mut marked = record(1, "marked");
    marked.headers = vec![(b"from".to_vec(), None), (b"x".to_vec(), Some(b"y".to_vec()))];
    let builder = BatchBuilder::new(400).records([marked.clone(), record(2, "plain")]);
    let headers = vec![
        InjectedHeader { key: "from".into(), value: HeaderValue::Literal(b"orders".to_vec()) },
        InjectedHeader { key: "at".into(), value: HeaderValue::SourceOffset },
    ];
    let request = Request { headers, ..request(Cut::default()) };
    let once = rewritten(&built(&builder), &request).expect("rewrites");
    let delivered_once = delivered(&once);
    let header = |key: &str, value: &str| (key.as_bytes().to_vec(), Some(value.as_bytes().to_vec()));
    marked.headers.push(header("at", "400"));
    assert_eq!(delivered_once[0].1, marked);
    assert_eq!(delivered_once[1].1.headers, [header("from", "orders"), header("at", "401")]);

    let bytes = once.batches[0].clone().stamp(&Producer::NONE);
    assert_eq!(decoded(&bytes), delivered(&rewritten(&bytes, &request).expect("rewrites")));
}

#[test]
fn a_record_that_can_never_fit_is_named() {
    let builder = BatchBuilder::new(10).records([record(1, "small"), record(2, &"x".repeat(5000)), record(3, "small")]);
    let request = Request { max_batch_bytes: 1000, ..request(Cut::default()) };
    let error = rewritten(&built(&builder), &request).expect_err("5000 bytes do not fit");
    assert_eq!(error, Error::RecordTooLarge { source_offset: 11, batch_bytes: 5070, max_batch_bytes: 1000 });
    assert_eq!(error.kind(), Kind::Usage);
}

#[test]
fn a_record_that_fits_at_a_higher_level_only_still_fits() {
    let value: String = (0..20_000_u64).map(|n| format!("{} ", n * n * 2_654_435_761 % 1_000_003 % 300)).collect();
    for compression in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let builder = BatchBuilder::new(0).compression(compression).record(record(1, &value));
        let bytes = built(&builder.clone().log_append_time_ms(1));
        let max_batch_bytes = bytes.len() - 1;
        let request = Request { max_batch_bytes, ..request(Cut::default()) };
        let rewritten = rewritten(&bytes, &request).expect("the highest level saves a byte at least");
        assert!(rewritten.batches[0].len_bytes() <= max_batch_bytes);
        assert_eq!(delivered(&rewritten), [(0, record(1, &value))]);
    }
}

#[test]
fn a_batch_is_split_into_few() {
    let value = |n: i32| format!("{n:0>100}");
    let builder = BatchBuilder::new(0).records((0..1000).map(|n| record(i64::from(n), &value(n))));
    let bytes = built(&builder);
    let max_batch_bytes = bytes.len() / 4;
    let rewritten = rewritten(&bytes, &Request { max_batch_bytes, ..request(Cut::default()) }).expect("rewrites");
    assert!((5..=6).contains(&rewritten.batches.len()), "{} batches", rewritten.batches.len());
    assert_eq!(delivered(&rewritten), decoded(&bytes));
}

#[test]
fn records_that_are_out_of_order_are_an_error() {
    let builder = BatchBuilder::new(9).record_at(2, record(1, "a")).record_at(1, record(2, "b")).last_offset_delta(5);
    let source = record::Error::OffsetOrder { record: 1, offset_delta: 1 };
    let error = rewritten(&built(&builder), &request(Cut::default())).expect_err("out of order");
    assert_eq!(error, Error::Records { base_offset: 9, source });
    assert_eq!(error.kind(), Kind::Corrupt);
}

fn cut() -> impl Strategy<Value = Cut> {
    let time =
        || option::of(prop_oneof![4 => 1_699_999_999_990_i64..1_700_000_000_110, 1 => arbitrary::timestamp_ms()]);
    // Offsets in a generated batch come later, as distances from its base offset.
    (time(), option::weighted(0.2, time()), option::of(-2_i64..30), option::of(-2_i64..30)).prop_map(
        |(point_in_time_ms, start_ms, source_start_offset, source_end_offset)| Cut {
            point_in_time_ms,
            start_ms: start_ms.flatten(),
            source_start_offset,
            source_end_offset,
        },
    )
}

fn wanted(cut: &Cut, offset: i64, timestamp_ms: i64) -> bool {
    cut.point_in_time_ms.is_none_or(|last| timestamp_ms <= last)
        && cut.start_ms.is_none_or(|first| first <= timestamp_ms)
        && cut.source_start_offset.is_none_or(|start| start <= offset)
        && cut.source_end_offset.is_none_or(|end| offset < end)
}

proptest! {
    /// Another version of a codec makes other bytes of the same records.
    #[test]
    fn how_batches_are_split_does_not_depend_on_what_a_codec_makes_of_them(
        records in vec(arbitrary::record(), 1..12),
        max_batch_bytes in 2_000_usize..150_000,
    ) {
        let counts = |compression: Compression| -> Option<Vec<i32>> {
            let builder = BatchBuilder::new(7).compression(compression).records(records.clone()).log_append_time_ms(5);
            let request = Request { max_batch_bytes, ..request(Cut::default()) };
            let rewritten = rewritten(&built(&builder), &request).ok()?;
            Some(rewritten.batches.iter().map(ProducibleBatch::record_count).collect())
        };
        let codecs = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        let split: Vec<_> = codecs.into_iter().filter_map(counts).collect();
        prop_assert!(split.windows(2).all(|pair| pair[0] == pair[1]), "{:?}", split);
    }

    #[test]
    fn exactly_the_wanted_records_arrive_whatever_the_verdict(builder in arbitrary::batch(), mut cut in cut()) {
        let bytes = built(&builder);
        let batch = Batch::parse(&bytes).expect("a batch");
        for edge in [&mut cut.source_start_offset, &mut cut.source_end_offset] {
            *edge = edge.map(|distance| batch.base_offset() + distance);
        }
        let all = decoded(&bytes);
        let expected: Vec<_> =
            all.iter().filter(|(offset, record)| wanted(&cut, *offset, record.timestamp_ms)).cloned().collect();
        let request = request(cut);
        let arrived = match decide(&batch, &request) {
            Verdict::Pass => delivered(&Rewritten { batches: vec![pass_through(&batch)], ..Rewritten::default() }),
            Verdict::Skip(_) => Vec::new(),
            Verdict::Rewrite(_) => {
                let rewritten = rewritten(&bytes, &request).expect("rewrites");
                let left_out = rewritten.records_outside_offsets + rewritten.records_outside_time;
                prop_assert_eq!(left_out, (all.len() - expected.len()) as u64);
                delivered(&rewritten)
            }
        };
        prop_assert_eq!(arrived, expected);
    }

    #[test]
    fn passing_through_keeps_the_records_bytes(builder in arbitrary::batch(), producer_id in 0_i64.., sequence in 0_i32..) {
        let bytes = built(&builder);
        let source = Batch::parse(&bytes).expect("a batch");
        let producer = Producer { producer_id, producer_epoch: 3, base_sequence: sequence };
        let sent = pass_through(&source).stamp(&producer);
        let batch = Batch::parse(&sent).expect("a batch");
        prop_assert_eq!(batch.check_crc(), Ok(()));
        prop_assert_eq!(batch.records(), source.records());
        prop_assert_eq!((batch.producer_id(), batch.base_sequence()), (producer_id, sequence));
        prop_assert!(!batch.is_transactional() && !batch.has_delete_horizon());
        prop_assert_eq!(
            (batch.base_timestamp_ms(), batch.max_timestamp_ms(), batch.last_offset_delta()),
            (source.base_timestamp_ms(), source.max_timestamp_ms(), source.last_offset_delta())
        );
    }

    #[test]
    fn split_batches_fit_and_add_up_to_the_whole(builder in arbitrary::batch(), divisor in 1_usize..20) {
        let bytes = built(&builder);
        let max_batch_bytes = HEADER_BYTES + bytes.len() / divisor;
        let request = Request { max_batch_bytes, ..request(Cut::default()) };
        match rewritten(&bytes, &request) {
            Ok(rewritten) => {
                prop_assert!(rewritten.batches.iter().all(|batch| batch.len_bytes() <= max_batch_bytes));
                prop_assert_eq!(delivered(&rewritten), decoded(&bytes));
            }
            Err(Error::RecordTooLarge { source_offset, batch_bytes, .. }) => {
                prop_assert!(batch_bytes > max_batch_bytes);
                prop_assert!(decoded(&bytes).iter().any(|(offset, _)| *offset == source_offset));
            }
            Err(error) => return Err(TestCaseError::fail(error.to_string())),
        }
    }

    #[test]
    fn used_scratch_memory_changes_nothing(builders in vec(arbitrary::batch(), 1..5), max_batch_bytes in 100_usize..3000) {
        let request = Request { max_batch_bytes, ..request(Cut::default()) };
        let mut scratch = Scratch::default();
        for builder in builders {
            let bytes = built(&builder);
            let batch = Batch::parse(&bytes).expect("a batch");
            prop_assert_eq!(rewrite(&batch, &request, &mut scratch), rewritten(&bytes, &request));
        }
    }

    #[test]
    fn flipped_bits_never_panic(
        builder in arbitrary::batch(),
        flips in vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
        max_batch_bytes in 0_usize..3000,
    ) {
        let mut bytes = built(&builder);
        for (at, bit) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        if let Ok(batch) = Batch::parse(&bytes) {
            drop(rewrite(&batch, &Request { max_batch_bytes, ..request(Cut::default()) }, &mut Scratch::default()));
        }
    }
}

#[test]
fn a_batch_beyond_the_limit_is_named_with_the_flag_that_raises_it() {
    let builder = BatchBuilder::new(7).compression(Compression::Gzip).record(record(1, &"x".repeat(5000)));
    let bytes = built(&builder.log_append_time_ms(1));
    let batch = Batch::parse(&bytes).expect("a batch");
    let error =
        rewrite(&batch, &request(Cut::default()), &mut Scratch::for_records_up_to(4096)).expect_err("5000 bytes");
    assert!(error.is_too_large() && error.kind() == Kind::Usage);
    let text = error.to_string();
    assert!(text.contains("offset 7") && text.contains("--decompressed-batch-bytes-max"), "{text}");
}

#[test]
fn a_batch_takes_no_more_memory_than_its_length() {
    let builder = BatchBuilder::new(7).compression(Compression::Zstd).record(record(1, &"x".repeat(1 << 20)));
    let rewritten = rewritten(&built(&builder.log_append_time_ms(1)), &request(Cut::default())).expect("rewrites");
    let [batch] = rewritten.batches.as_slice() else { panic!("one batch") };
    assert!(batch.capacity() < 64 << 10, "{} for {}", batch.capacity(), batch.len_bytes());
}
