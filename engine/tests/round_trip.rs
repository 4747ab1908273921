//! `restore(backup(log)) == log`, for any log that a broker can hold, without a broker.
//!
//! A generated log is read as a broker answers fetches, cut into stretches and responses of any size; what is committed
//! goes into a segment; its frames come out again, their batches pass or are made anew, and a stand-in for the target takes
//! them as strictly as a broker does. In the end every record that a `read_committed` consumer would have seen is there
//! once, in order, equal in key, value, headers and time, and the offset map knows where.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use kafka_backup::backup::committed::{Step, Stretch};
use kafka_backup::format::batch::{Batch, Compression, batches};
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::codec::Decompressor;
use kafka_backup::format::frame::{ArchiveCompression, Frame};
use kafka_backup::format::hole::{Hole, HoleReason};
use kafka_backup::format::invariants;
use kafka_backup::format::record::{self, ControlType, OwnedRecord};
use kafka_backup::format::rope::Rope;
use kafka_backup::format::run::Run;
use kafka_backup::format::segment::{OpenSegment, TopicKey};
use kafka_backup::kafka::fetch::AbortedTransaction;
use kafka_backup::offsets::map::OffsetMap;
use kafka_backup::rewrite::{
    self, Cut, HeaderValue, InjectedHeader, Producer, ProducibleBatch, Request, Scratch, Verdict,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

const PRODUCER_ID: i64 = 4_711;
const PRODUCER_EPOCH: i16 = 3;
const OFFSET_HEADER: &str = "source-offset";

/// What happens to a log, one after the other.
#[derive(Debug, Clone)]
enum Event {
    /// A batch, as compaction left it: distances between its records, and how far its last offset lies behind them.
    Data {
        /// Which transactional producer wrote it; none for a plain one.
        producer: Option<usize>,
        codec: Compression,
        log_append_time_ms: Option<i64>,
        delete_horizon_ms: Option<i64>,
        records: Vec<(i32, OwnedRecord)>,
        cut_tail: i32,
    },
    /// A transaction ends.
    End { producer: usize, commit: bool },
    /// Offsets that compaction emptied, batches and all.
    Gap(i64),
    /// A batch that compaction left without a record, to remember its producer's sequence.
    Emptied(i32),
}

/// A log as a broker holds it, and what is to be known about it.
#[derive(Debug, Default)]
struct Log {
    batches: Vec<Vec<u8>>,
    /// Producer, first offset and offset of the marker.
    aborted: Vec<(i64, i64, i64)>,
    last_stable_offset: i64,
    /// Every record that a `read_committed` consumer sees when it begins at 0, with its offset.
    committed: Vec<(i64, OwnedRecord)>,
}

fn build(events: &[Event]) -> Log {
    let mut log = Log::default();
    let mut at = 0_i64;
    // First offset of each open transaction, and what it has written.
    let mut open: BTreeMap<usize, (i64, Vec<(i64, OwnedRecord)>)> = BTreeMap::new();
    for event in events {
        let batch = match event {
            Event::Gap(offsets) => {
                at += offsets;
                continue;
            }
            Event::Emptied(last_delta) => BatchBuilder::new(at).producer(9, 0, 5).last_offset_delta(*last_delta),
            Event::End { producer, commit } => {
                let Some((first_offset, written)) = open.remove(producer) else { continue };
                let id = producer_id(*producer);
                if *commit {
                    log.committed.extend(written);
                } else {
                    log.aborted.push((id, first_offset, at));
                }
                let control = if *commit { ControlType::Commit } else { ControlType::Abort };
                BatchBuilder::new(at).producer(id, 0, -1).control(control, 1_700_000_000_000)
            }
            Event::Data { producer, codec, log_append_time_ms, delete_horizon_ms, records, cut_tail } => {
                let mut batch = BatchBuilder::new(at).compression(*codec);
                if let Some(time) = log_append_time_ms {
                    batch = batch.log_append_time_ms(*time);
                }
                if let Some(time) = delete_horizon_ms {
                    batch = batch.delete_horizon_ms(*time);
                }
                let mut delta = -1;
                let mut written = Vec::new();
                for (distance, record) in records {
                    delta += 1 + distance;
                    batch = batch.record_at(delta, record.clone());
                    let timestamp_ms = log_append_time_ms.unwrap_or(record.timestamp_ms);
                    written.push((at + i64::from(delta), OwnedRecord { timestamp_ms, ..record.clone() }));
                }
                if *cut_tail > 0 {
                    batch = batch.last_offset_delta(delta + cut_tail);
                }
                match producer {
                    Some(producer) => {
                        open.entry(*producer).or_insert_with(|| (at, Vec::new())).1.extend(written);
                        batch.producer(producer_id(*producer), 0, 0).transactional()
                    }
                    None => {
                        log.committed.extend(written);
                        batch
                    }
                }
            }
        };
        let bytes = batch.build().unwrap();
        at = Batch::parse(&bytes).unwrap().next_offset();
        log.batches.push(bytes);
    }
    log.last_stable_offset = open.values().map(|(first_offset, _)| *first_offset).min().unwrap_or(at);
    let last_stable_offset = log.last_stable_offset;
    log.committed.retain(|(offset, _)| *offset < last_stable_offset);
    log.committed.sort_by_key(|(offset, _)| *offset);
    log
}

fn producer_id(number: usize) -> i64 {
    100 + number as i64
}

impl Log {
    /// What a leader answers: whole batches from the one that holds the offset or follows it, up to the last stable offset,
    /// the last one cut short by the response's size; and the aborted transactions of that stretch.
    fn fetch(&self, offset: i64, whole: usize, torn: bool) -> (Vec<u8>, Vec<AbortedTransaction>) {
        let there = |bytes: &&Vec<u8>| {
            let batch = Batch::parse(bytes).unwrap();
            batch.next_offset() > offset && batch.base_offset() < self.last_stable_offset
        };
        let mut rest = self.batches.iter().filter(there);
        let mut response: Vec<u8> = rest.by_ref().take(whole).flatten().copied().collect();
        let end = batches(&response, true).last().map_or(offset, |batch| batch.unwrap().next_offset());
        if let Some(next) = rest.next().filter(|_| torn) {
            response.extend_from_slice(&next[..next.len() - 1]);
        }
        let aborted = self.aborted.iter().filter(|(_, first, marker)| *marker >= offset && *first < end);
        let aborted = aborted
            .map(|(producer_id, first, _)| AbortedTransaction { producer_id: *producer_id, first_offset: *first });
        (response, aborted.collect())
    }
}

/// Backs `offsets` up in stretches that end at `bounds`; gives back the segment and its runs.
fn back_up(
    log: &Log,
    offsets: Range<i64>,
    bounds: &[i64],
    response_batches: usize,
    torn: bool,
    compression: ArchiveCompression,
) -> (Vec<u8>, Vec<Run>) {
    let topic = TopicKey { name: "orders".to_owned(), id: uuid::Uuid::nil() };
    let mut out = Rope::default();
    let mut segment = OpenSegment::new("s".parse().unwrap(), compression, &mut out);
    let mut edges: Vec<i64> = bounds.iter().copied().filter(|edge| offsets.contains(edge)).collect();
    edges.extend([offsets.start, offsets.end]);
    edges.sort_unstable();
    edges.dedup();
    // Stretches are read by several workers at once, in any order; here the last one first.
    for edge in edges.windows(2).rev() {
        let mut stretch = Stretch::new(edge[0]..edge[1], edge[0] == offsets.start);
        while !stretch.is_done() {
            let (response, aborted) = log.fetch(stretch.next_offset, response_batches, torn);
            let response = Bytes::from(response);
            let after = stretch.after(&response).unwrap();
            let mut start_offset = stretch.next_offset;
            let mut begun = false;
            let end = Hole {
                start_offset: stretch.next_offset,
                end_offset: stretch.end_offset,
                reason: HoleReason::Compaction,
            };
            // A compacted log may have nothing up to its end, and no batch that says so.
            let is_over = after == stretch;
            let rest = is_over.then_some(Ok(Step::Hole(end)));
            for step in stretch.steps(&response, &aborted).chain(rest) {
                let step = step.unwrap();
                if let Step::NotOurs { start_offset: moved } = step {
                    start_offset = moved;
                    continue;
                }
                if !std::mem::replace(&mut begun, true) {
                    segment.begin_run(&topic, 0, start_offset, &mut out).unwrap();
                }
                match step {
                    Step::Batch(batch) => segment.push_batch(&batch, &response, &mut out).unwrap(),
                    Step::Hole(hole) => segment.push_hole(hole, &mut out).unwrap(),
                    Step::NotOurs { .. } => {}
                }
            }
            segment.release(&mut out).unwrap();
            if is_over {
                break;
            }
            stretch = after;
        }
    }
    let stored = segment.seal(&mut out).unwrap().stored();
    let mut runs: Vec<Run> = stored.index.runs.iter().map(|indexed| indexed.run.clone()).collect();
    runs.sort_by_key(|run| run.start_offset);
    let all: Vec<&Run> = runs.iter().collect();
    invariants::runs_tile(&topic, 0, offsets.start, offsets.end, &all).unwrap();
    (out.to_bytes().into(), runs)
}

/// A target partition that takes what a leader takes, and is as strict.
struct Target {
    base_offset: i64,
    max_batch_bytes: usize,
    records: Vec<OwnedRecord>,
    requests: Vec<Bytes>,
}

impl Target {
    fn end_offset(&self) -> i64 {
        self.base_offset + self.records.len() as i64
    }

    fn produce(&mut self, batch: ProducibleBatch) {
        let base_sequence = i32::try_from(self.records.len()).unwrap();
        let producer = Producer { producer_id: PRODUCER_ID, producer_epoch: PRODUCER_EPOCH, base_sequence };
        let bytes = batch.stamp(&producer);
        let sent = Batch::parse(&bytes).unwrap();
        assert_eq!(sent.bytes().len(), bytes.len(), "one batch a partition");
        sent.check_crc().unwrap();
        assert!(bytes.len() <= self.max_batch_bytes, "MESSAGE_TOO_LARGE: {} bytes", bytes.len());
        assert!(!sent.is_control() && !sent.is_transactional() && !sent.has_delete_horizon());
        assert!(!sent.is_log_append_time(), "its times would be lost");
        assert_eq!(sent.base_offset(), 0);
        assert!(sent.record_count() > 0 && sent.record_count() == sent.last_offset_delta() + 1, "INVALID_RECORD");
        assert_eq!((sent.producer_id(), sent.producer_epoch()), (PRODUCER_ID, PRODUCER_EPOCH));
        assert_eq!(sent.base_sequence(), base_sequence, "OUT_OF_ORDER_SEQUENCE_NUMBER");
        let records = record::decode(&sent, &mut Decompressor::new()).unwrap();
        let deltas: Vec<i64> = records.iter().map(|(offset, _)| *offset).collect();
        assert_eq!(deltas, (0..i64::from(sent.record_count())).collect::<Vec<_>>(), "INVALID_RECORD");
        let latest = records.iter().map(|(_, record)| record.timestamp_ms).max();
        assert_eq!(latest, Some(sent.max_timestamp_ms()), "the broker's time index would lie");
        self.records.extend(records.into_iter().map(|(_, record)| record));
        self.requests.push(bytes);
    }
}

/// Restores the runs.
fn restore(segment: &[u8], runs: &[Run], request: &Request, base_offset: i64) -> (Target, OffsetMap) {
    let max_batch_bytes = request.max_batch_bytes;
    let mut target = Target { base_offset, max_batch_bytes, records: Vec::new(), requests: Vec::new() };
    let mut map = OffsetMap::new(base_offset);
    let mut scratch = Scratch::default();
    let mut decompressor = Decompressor::new();
    for run in runs {
        let range = run.byte_range();
        let mut bytes = Bytes::copy_from_slice(&segment[range.start as usize..range.end as usize]);
        while !bytes.is_empty() {
            let (frame, frame_bytes) = Frame::decode(&bytes, &mut decompressor).unwrap();
            frame.check().unwrap();
            for batch in frame.batches() {
                let batch = batch.unwrap();
                let made = match rewrite::decide(&batch, request) {
                    Verdict::Pass => vec![rewrite::pass_through(&batch)],
                    Verdict::Skip(_) => Vec::new(),
                    Verdict::Rewrite(_) => rewrite::rewrite(&batch, request, &mut scratch).unwrap().batches,
                };
                for producible in made {
                    for stretch in producible.stretches() {
                        map.push(stretch.source_offset, stretch.count.unsigned_abs()).unwrap();
                    }
                    target.produce(producible);
                }
            }
            bytes = bytes.slice(frame_bytes..);
        }
    }
    (target, map)
}

/// A batch that holds nothing but the largest of these records must be within what the target takes; every codec may
/// make it a little larger.
fn bytes_of_largest(records: &[(i64, OwnedRecord)]) -> usize {
    let bytes = |record: &OwnedRecord| {
        let mut out = Vec::new();
        record.append_to(&mut out, record.timestamp_ms, 0);
        out.len()
    };
    let largest = records.iter().map(|(_, record)| bytes(record)).max().unwrap_or(0);
    61 + 40 + largest * 7 / 6 + 64
}

fn codec() -> impl Strategy<Value = Compression> {
    select(Compression::ALL.to_vec())
}

/// Near each other and out of order, far apart, absent.
fn timestamp_ms() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => 1_700_000_000_000_i64..1_700_000_000_100,
        2 => 0_i64..4_000_000_000_000,
        1 => Just(-1_i64),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..24),
        3 => "[a-z]{0,60}".prop_map(String::into_bytes),
        1 => (any::<u8>(), 0_usize..40_000).prop_map(|(byte, count)| vec![byte; count]),
    ]
}

/// Null, empty and any keys and values; header keys that repeat, are empty, or are not UTF-8.
fn any_record() -> impl Strategy<Value = OwnedRecord> {
    let key = prop_oneof![
        Just(b"a".to_vec()),
        Just(Vec::new()),
        Just(vec![0xff, 0xfe]),
        Just(OFFSET_HEADER.as_bytes().to_vec())
    ];
    let headers = vec((key, option::of(vec(any::<u8>(), 0..6))), 0..4);
    (timestamp_ms(), option::weighted(0.8, bytes()), option::weighted(0.8, bytes()), headers)
        .prop_map(|(timestamp_ms, key, value, headers)| OwnedRecord { timestamp_ms, key, value, headers })
}

fn event() -> impl Strategy<Value = Event> {
    let distance = prop_oneof![3 => Just(0_i32), 1 => 1_i32..5];
    let records = prop_oneof![
        3 => vec((Just(0_i32), any_record()), 1..10),
        1 => vec((distance, any_record()), 1..10),
    ];
    let data = (
        option::weighted(0.5, 0_usize..3),
        codec(),
        option::weighted(0.2, 1_700_000_000_000_i64..1_700_000_000_100),
        option::weighted(0.1, 1_700_000_000_000_i64..1_800_000_000_000),
        records,
        prop_oneof![4 => Just(0_i32), 1 => 1_i32..4],
    );
    prop_oneof![
        10 => data.prop_map(|(producer, codec, log_append_time_ms, delete_horizon_ms, records, cut_tail)| Event::Data {
            producer, codec, log_append_time_ms, delete_horizon_ms, records, cut_tail,
        }),
        5 => (0_usize..3, any::<bool>()).prop_map(|(producer, commit)| Event::End { producer, commit }),
        1 => (1_i64..50).prop_map(Event::Gap),
        1 => (0_i32..5).prop_map(Event::Emptied),
    ]
}

/// How a log is backed up and restored.
#[derive(Debug, Clone)]
struct Way {
    events: Vec<Event>,
    log_start: prop::sample::Index,
    bounds: Vec<prop::sample::Index>,
    response_batches: usize,
    torn: bool,
    archive_codec: Compression,
    base_offset: i64,
    split: bool,
    point_in_time_ms: Option<i64>,
    start_ms: Option<i64>,
    offset_header: bool,
}

fn way() -> impl Strategy<Value = Way> {
    let near = || option::weighted(0.3, 1_700_000_000_000_i64..1_700_000_000_100);
    // Transactions that stay open hold back all that follows: most logs have none at their end.
    let events =
        (vec(event(), 1..40), prop::bool::weighted(0.7), any::<bool>()).prop_map(|(mut events, is_ended, commit)| {
            events.extend((0..3).filter(|_| is_ended).map(|producer| Event::End { producer, commit }));
            events
        });
    let log = (events, any::<prop::sample::Index>(), vec(any::<prop::sample::Index>(), 0..4));
    let reading = (1_usize..6, any::<bool>(), codec());
    let writing = (prop_oneof![Just(0_i64), 0_i64..1 << 40], any::<bool>(), near(), near(), prop::bool::weighted(0.3));
    (log, reading, writing).prop_map(
        |(
            (events, log_start, bounds),
            (response_batches, torn, archive_codec),
            (base_offset, split, point_in_time_ms, start_ms, offset_header),
        )| Way {
            events,
            log_start,
            bounds,
            response_batches,
            torn,
            archive_codec,
            base_offset,
            split,
            point_in_time_ms,
            start_ms,
            offset_header,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(768))]

    #[test]
    fn what_was_backed_up_is_restored(way in way()) {
        let log = build(&way.events);
        let end_offset = log.last_stable_offset;
        let anywhere = usize::try_from(end_offset).unwrap() + 1;
        // Half of the logs begin where they were created, the others somewhere: also inside a batch, or a transaction.
        let start_offset = (way.log_start.index(anywhere * 2) as i64 - anywhere as i64).max(0);
        let bounds: Vec<i64> = way.bounds.iter().map(|bound| bound.index(anywhere) as i64).collect();
        let compression = ArchiveCompression { codec: way.archive_codec, level: None };
        let offsets = start_offset..end_offset;
        let (segment, runs) =
            back_up(&log, offsets.clone(), &bounds, way.response_batches, way.torn, compression);

        let is_wanted = |offset: i64, timestamp_ms: i64| {
            offsets.contains(&offset)
                && way.point_in_time_ms.is_none_or(|last| timestamp_ms <= last)
                && way.start_ms.is_none_or(|first| timestamp_ms >= first)
        };
        let mut expected: Vec<(i64, OwnedRecord)> = log.committed.clone();
        expected.retain(|(offset, record)| is_wanted(*offset, record.timestamp_ms));
        if way.offset_header {
            for (offset, record) in &mut expected {
                if record.headers.iter().all(|(key, _)| key != OFFSET_HEADER.as_bytes()) {
                    record.headers.push((OFFSET_HEADER.as_bytes().to_vec(), Some(offset.to_string().into_bytes())));
                }
            }
        }
        let header = InjectedHeader { key: OFFSET_HEADER.to_owned(), value: HeaderValue::SourceOffset };
        let request = Request {
            cut: Cut {
                point_in_time_ms: way.point_in_time_ms,
                start_ms: way.start_ms,
                source_start_offset: Some(start_offset),
                source_end_offset: Some(end_offset),
            },
            max_batch_bytes: if way.split { bytes_of_largest(&expected) } else { 1 << 20 },
            headers: way.offset_header.then_some(header).into_iter().collect(),
        };
        let (target, map) = restore(&segment, &runs, &request, way.base_offset);

        let wanted: Vec<&OwnedRecord> = expected.iter().map(|(_, record)| record).collect();
        prop_assert_eq!(target.records.iter().collect::<Vec<_>>(), wanted);
        prop_assert_eq!(map.end_offset(), target.end_offset());
        let stored = OffsetMap::open(&map.seal()).unwrap();
        for source in start_offset..=end_offset + 1 {
            let before = expected.iter().take_while(|(offset, _)| *offset < source).count();
            let position = way.base_offset + before as i64;
            prop_assert_eq!((map.translate(source), stored.translate(source)), (position, position));
        }
        // A process that goes on where another was killed must make the very same batches.
        let (again, _) = restore(&segment, &runs, &request, way.base_offset);
        prop_assert_eq!(again.requests, target.requests);
    }
}

#[test]
fn the_generated_logs_hold_what_is_hard() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let mut seen = BTreeMap::from(
        ["aborted", "open", "inside a batch", "holes", "emptied", "log append time", "many records"]
            .map(|what| (what, 0)),
    );
    for _ in 0..200 {
        let way = way().new_tree(&mut runner).unwrap().current();
        let log = build(&way.events);
        let ends = log.batches.last().map_or(0, |last| Batch::parse(last).unwrap().next_offset());
        let parsed = || log.batches.iter().map(|bytes| Batch::parse(bytes).unwrap());
        let start = way.log_start.index(usize::try_from(log.last_stable_offset).unwrap() + 1) as i64;
        for (what, is_there) in [
            ("aborted", !log.aborted.is_empty()),
            ("open", log.last_stable_offset < ends),
            ("inside a batch", parsed().any(|batch| batch.base_offset() < start && start < batch.next_offset())),
            ("holes", parsed().any(|batch| batch.record_count() > 0 && batch.has_holes())),
            ("many records", log.committed.len() >= 20),
            ("emptied", parsed().any(|batch| batch.record_count() == 0)),
            ("log append time", parsed().any(|batch| batch.is_log_append_time())),
        ] {
            *seen.get_mut(what).unwrap() += usize::from(is_there);
        }
    }
    assert!(seen.values().all(|count| *count >= 20), "{seen:?}");
}
