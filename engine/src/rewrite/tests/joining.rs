use super::*;
use crate::rewrite::joining::{Joiner, Limits, RECORDS_BYTES_MAX};

const LIMIT: usize = 1 << 20;

/// Limits of a partition whose batches are small on average.
fn limits(max_batch_bytes: usize) -> Option<Limits> {
    Limits::of(1, 100, RECORDS_BYTES_MAX, max_batch_bytes)
}

/// What is produced of these batches, which stand in frames.
fn produced(frames: &[Vec<Vec<u8>>], request: &Request, limits: Option<Limits>) -> (Vec<ProducibleBatch>, u64) {
    try_produced(frames, request, limits).expect("rewrites")
}

/// The same; an error where the target takes no batch that holds one of the records.
fn try_produced(
    frames: &[Vec<Vec<u8>>],
    request: &Request,
    limits: Option<Limits>,
) -> Result<(Vec<ProducibleBatch>, u64), Error> {
    let (mut joiner, mut scratch) = (Joiner::new(limits), Scratch::default());
    let mut produced = Vec::new();
    for frame in frames {
        for bytes in frame {
            let batch = Batch::parse(bytes).expect("a batch");
            let made = match decide(&batch, request) {
                Verdict::Skip(_) => continue,
                Verdict::Pass => vec![pass_through(&batch)],
                Verdict::Rewrite(_) => rewrite(&batch, request, &mut scratch)?.batches,
            };
            produced.extend(joiner.push(made, bytes.len(), &mut scratch)?);
        }
        produced.extend(joiner.flush(&mut scratch)?);
    }
    Ok((produced, joiner.joined()))
}

fn records(batches: Vec<ProducibleBatch>) -> Vec<(i64, OwnedRecord)> {
    delivered(&Rewritten { batches, ..Rewritten::default() })
}

/// One record each, as a producer without `linger.ms` writes them.
fn single(count: i64, compression: Compression, value_bytes: usize) -> Vec<Vec<u8>> {
    let value = "v".repeat(value_bytes);
    let one = |n: i64| {
        let record = record(1_700_000_000_000 + n * 37 % 11, &format!("{n} {value}"));
        built(&BatchBuilder::new(n).compression(compression).producer(5, 0, 9).record(record))
    };
    (0..count).map(one).collect()
}

#[test]
fn batches_of_one_record_become_few_whatever_their_codec() {
    for compression in Compression::ALL {
        let frames = [single(2_000, compression, 100)];
        let (joined, count) = produced(&frames, &request(Cut::default()), limits(LIMIT));
        assert_eq!(count, 2_000);
        assert!((3..=6).contains(&joined.len()), "{compression:?}: {} batches", joined.len());
        let codecs = joined.iter().map(|batch| Batch::parse(batch.as_unstamped()).expect("a batch").compression());
        assert!(codecs.clone().all(|codec| codec == compression), "{compression:?}");
        assert!(joined.iter().all(|batch| batch.stretches().len() == 1), "offsets without a hole are one stretch");
        let (apart, none) = produced(&frames, &request(Cut::default()), None);
        assert_eq!((apart.len(), none), (2_000, 0));
        assert_eq!(records(joined), records(apart));
    }
}

#[test]
fn a_batch_without_a_small_neighbour_keeps_its_bytes() {
    let large = built(&BatchBuilder::new(1).record(record(1, &"x".repeat(5_000))));
    let mut zstd = single(3, Compression::Zstd, 10);
    let small = [single(1, Compression::None, 10), vec![zstd.remove(2)]].concat();
    let frame = vec![small[0].clone(), large.clone(), small[1].clone()];
    let (batches, joined) = produced(std::slice::from_ref(&frame), &request(Cut::default()), limits(LIMIT));
    let passed = frame.iter().map(|bytes| pass_through(&Batch::parse(bytes).expect("a batch")));
    assert_eq!((batches, joined), (passed.collect(), 0));
    let (batches, joined) =
        produced(&[vec![frame[0].clone(), frame[2].clone()]], &request(Cut::default()), limits(LIMIT));
    assert_eq!((batches.len(), joined), (2, 0), "codecs are not mixed");
}

#[test]
fn records_that_cannot_be_read_keep_their_batch() {
    let mut broken = single(3, Compression::Zstd, 10);
    let at = broken[1].len() - 5;
    broken[1].truncate(at);
    let length = i32::try_from(at - 12).expect("small");
    broken[1][8..12].copy_from_slice(&length.to_be_bytes());
    let (batches, joined) = produced(&[broken.clone()], &request(Cut::default()), limits(LIMIT));
    let passed = broken.iter().map(|bytes| pass_through(&Batch::parse(bytes).expect("a batch")));
    assert_eq!((batches, joined), (passed.collect(), 0));
}

#[test]
fn large_batches_on_average_are_left_alone() {
    assert!(Limits::of(10, 10 * 4_096, RECORDS_BYTES_MAX, LIMIT).is_none());
    assert!(Limits::of(10, 10 * 4_095, RECORDS_BYTES_MAX, LIMIT).is_some());
    assert!(Limits::of(0, 0, RECORDS_BYTES_MAX, LIMIT).is_none());
}

#[test]
fn a_target_with_a_small_limit_gets_small_batches() {
    for compression in Compression::ALL {
        let frames = [single(500, compression, 100)];
        for max_batch_bytes in [100, 300, 1_000, 10_000] {
            let (joined, _) = produced(&frames, &request(Cut::default()), limits(max_batch_bytes));
            let largest = joined.iter().map(ProducibleBatch::len_bytes).max();
            let alone = frames[0].iter().map(Vec::len).max();
            assert!(largest <= Some(max_batch_bytes).max(alone), "{compression:?} {max_batch_bytes}: {largest:?}");
        }
    }
}

/// Batches one behind the other, as they stand in a log, with holes between them now and then.
fn log() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    vec(vec((arbitrary::batch(), prop_oneof![3 => Just(0_i64), 1 => 1_i64..4]), 0..12), 1..4).prop_map(|frames| {
        let mut next = 0;
        let mut place = |(builder, gap): (BatchBuilder, i64)| {
            let mut bytes = built(&builder);
            bytes[..8].copy_from_slice(&(next + gap).to_be_bytes());
            next = Batch::parse(&bytes).expect("a batch").next_offset();
            bytes
        };
        frames.into_iter().map(|frame| frame.into_iter().map(&mut place).collect()).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn joined_batches_hold_the_same_records(
        frames in log(),
        headers in any::<bool>(),
        max_batch_bytes in prop_oneof![2 => Just(LIMIT), 1 => 110_000_usize..200_000],
    ) {
        let injected = InjectedHeader { key: "at".into(), value: HeaderValue::SourceOffset };
        let headers = if headers { vec![injected] } else { Vec::new() };
        let request = Request { headers, max_batch_bytes, ..request(Cut::default()) };
        // A record that the target does not take is refused whether batches are joined or not.
        let Ok((apart, _)) = try_produced(&frames, &request, None) else { return Ok(()) };
        let (joined, count) = produced(&frames, &request, limits(max_batch_bytes));
        prop_assert!(joined.iter().all(|batch| batch.len_bytes() <= max_batch_bytes));
        prop_assert!(joined.len() <= apart.len());
        prop_assert_eq!(count > 0, joined.len() < apart.len());
        prop_assert_eq!(records(joined), records(apart));
    }

    /// A run that passes over frames that have landed joins the rest as a run from the beginning does.
    #[test]
    fn what_is_joined_does_not_depend_on_where_a_run_begins(frames in log(), skipped in 0_usize..4) {
        let request = request(Cut::default());
        let from_the_start = produced(&frames, &request, limits(LIMIT)).0;
        let resumed = produced(&frames[skipped.min(frames.len())..], &request, limits(LIMIT)).0;
        prop_assert_eq!(&from_the_start[from_the_start.len() - resumed.len()..], &resumed[..]);
    }
}
