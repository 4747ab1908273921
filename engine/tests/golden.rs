//! What version 1 of the stored format looked like, and must be read like for ever.
//!
//! The files under `golden/v1` are never written again: a change of the format gets a new version and a new folder.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use bytes::Bytes;
use kafka_backup::format::batch::{Compression, batches};
use kafka_backup::format::codec::Decompressor;
use kafka_backup::format::document::{self, DocumentKind};
use kafka_backup::format::hole::{Hole, HoleCounts, HoleReason};
use kafka_backup::format::invariants;
use kafka_backup::format::layout::SegmentId;
use kafka_backup::format::manifest::{
    ArchiveOwner, CommittedOffset, Cut, Manifest, OpenTransaction, Part, PartitionCut, Repository, VERSION,
};
use kafka_backup::format::record;
use kafka_backup::format::run::Timestamp;
use kafka_backup::format::segment::{self, FOOTER_BYTES, Footer, frames, open_index};
use uuid::Uuid;

const SEGMENT: &[u8] = include_bytes!("golden/v1/segment");
const PART: &[u8] = include_bytes!("golden/v1/part");
const CHECKPOINT: &[u8] = include_bytes!("golden/v1/checkpoint");
const MANIFEST: &[u8] = include_bytes!("golden/v1/manifest");
const MANIFEST_WITH_HEADERS: &[u8] = include_bytes!("golden/v1/manifest-with-headers");
const CUT: &[u8] = include_bytes!("golden/v1/cut");
const REPOSITORY: &[u8] = include_bytes!("golden/v1/repository.json");
const ARCHIVE: &[u8] = include_bytes!("golden/v1/archive.json");

const ORDERS_ID: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

fn segment_id() -> SegmentId {
    SegmentId::new(&"shop-20260212-143000".parse().unwrap(), 1, 0, 0)
}

/// Offsets, key and whether there is a value, of all records of a run's bytes.
fn records(run: &[u8]) -> (Vec<(i64, String, bool)>, Vec<Hole>) {
    let (mut found, mut holes, mut decompressor) = (Vec::new(), Vec::new(), Decompressor::new());
    for frame in frames(Bytes::copy_from_slice(run)) {
        let frame = frame.unwrap();
        frame.check().unwrap();
        for batch in batches(&frame.batches, false) {
            for (offset, record) in record::decode(&batch.unwrap(), &mut decompressor).unwrap() {
                assert_eq!(record.headers[0], (b"h".to_vec(), None));
                assert_eq!(record.headers[1], (b"h".to_vec(), Some(vec![0xff, u8::try_from(offset).unwrap()])));
                found.push((offset, String::from_utf8(record.key.unwrap()).unwrap(), record.value.is_some()));
            }
        }
        holes.extend(frame.holes);
    }
    (found, holes)
}

#[test]
fn a_segment_of_version_1_is_read() {
    segment::check_header(&segment_id(), &SEGMENT[..usize::try_from(segment::header_bytes(&segment_id())).unwrap()])
        .unwrap();
    let footer = Footer::parse(SEGMENT, SEGMENT.len() as u64).unwrap();
    let position = usize::try_from(footer.index_position).unwrap();
    let index = open_index(&SEGMENT[position..SEGMENT.len() - FOOTER_BYTES], None).unwrap();
    assert_eq!(
        index.topics.iter().map(|topic| (topic.name.as_str(), topic.id)).collect::<Vec<_>>(),
        [("orders", ORDERS_ID), ("audit", Uuid::nil())]
    );

    let [orders, audit] = index.runs.as_slice() else { panic!("{} runs", index.runs.len()) };
    assert_eq!((orders.run.partition, orders.run.start_offset, orders.run.end_offset), (2, 100, 120));
    assert_eq!(orders.run.leader_epoch, 4);
    assert_eq!(orders.run.content.max_timestamp_ms, Timestamp(1_700_000_000_115));
    assert_eq!((audit.run.partition, audit.run.start_offset, audit.run.end_offset), (0, 0, 9));
    let bytes_of = |range: std::ops::Range<u64>| {
        &SEGMENT[usize::try_from(range.start).unwrap()..usize::try_from(range.end).unwrap()]
    };
    for run in [orders, audit] {
        assert_eq!(crc32c::crc32c(bytes_of(run.run.byte_range())), run.run.crc32c);
    }

    let (found, holes) = records(bytes_of(orders.run.byte_range()));
    // The batch began before the log did, and is stored as the broker returned it.
    let offsets: Vec<_> = found.iter().map(|(offset, ..)| *offset).collect();
    assert_eq!(offsets, [98, 99, 100, 101, 102, 103, 110, 115]);
    assert!(
        found.iter().all(|(offset, key, has_value)| *key == format!("key-{offset}") && *has_value == (offset % 3 != 0))
    );
    assert_eq!(
        holes.iter().map(|hole| (hole.start_offset, hole.end_offset, hole.reason)).collect::<Vec<_>>(),
        [(104, 107, HoleReason::Aborted), (107, 108, HoleReason::Control), (108, 110, HoleReason::Compaction)]
    );
    let (found, holes) = records(bytes_of(audit.run.byte_range()));
    assert_eq!(found.iter().map(|(offset, ..)| *offset).collect::<Vec<_>>(), [7, 8]);
    assert_eq!(holes, [Hole { start_offset: 0, end_offset: 7, reason: HoleReason::Deleted }]);
}

#[test]
fn batches_of_a_segment_of_version_1_come_out_byte_for_byte() {
    let footer = Footer::parse(SEGMENT, SEGMENT.len() as u64).unwrap();
    let position = usize::try_from(footer.index_position).unwrap();
    let index = open_index(&SEGMENT[position..SEGMENT.len() - FOOTER_BYTES], None).unwrap();
    let start = usize::try_from(index.runs[0].run.position).unwrap();
    let all: Vec<_> = frames(Bytes::copy_from_slice(&SEGMENT[start..position])).map(Result::unwrap).collect();
    let compressions: Vec<_> = all
        .iter()
        .flat_map(|frame| frame.batches().map(|batch| batch.unwrap().compression()).collect::<Vec<_>>())
        .collect();
    assert_eq!(compressions, [Compression::None, Compression::Snappy, Compression::None]);
    for frame in &all {
        for batch in frame.batches() {
            batch.unwrap().check_crc().unwrap();
        }
    }
}

#[test]
fn a_part_and_a_checkpoint_of_version_1_are_read() {
    for (kind, bytes) in [(DocumentKind::Part, PART), (DocumentKind::Checkpoint, CHECKPOINT)] {
        let part = Part::open(kind, bytes).unwrap();
        let runs: Vec<_> = part
            .runs()
            .map(|(topic, segment, run)| {
                assert_eq!((segment.id.clone(), segment.bytes), (segment_id(), SEGMENT.len() as u64));
                (topic.name.as_str(), run.partition, run.start_offset, run.end_offset)
            })
            .collect();
        assert_eq!(runs, [("orders", 2, 100, 120), ("audit", 0, 0, 9)]);
    }
}

#[test]
fn a_manifest_of_version_1_is_read() {
    let manifest = Manifest::open(MANIFEST).unwrap();
    assert_eq!((manifest.backup_id.as_str(), manifest.archive.as_str()), ("shop-20260212-143000", "shop"));
    assert_eq!(
        (manifest.engine_version.as_str(), manifest.source_cluster_id.as_str()),
        ("0.1.0", "q3nQpogpmv3qTkVvPCD9OA")
    );
    assert_eq!((manifest.cut_at_ms, manifest.completed_at_ms), (1_770_906_600_123, 1_770_906_601_000));
    assert!(manifest.is_partial());
    assert_eq!(manifest.warnings, ["a warning"]);
    assert_eq!(manifest.content.holes, HoleCounts { compaction: 2, control: 1, aborted: 3, deleted: 7, expired: 0 });
    assert_eq!(
        (manifest.content.batches, manifest.content.records, manifest.segment_bytes),
        (3, 10, SEGMENT.len() as u64)
    );
    let billing = CommittedOffset {
        topic: "orders".to_owned(),
        partition: 2,
        offset: 105,
        leader_epoch: 3,
        metadata: "m".to_owned(),
    };
    assert_eq!((manifest.groups[0].id.as_str(), manifest.groups[0].protocol.as_str()), ("billing", "consumer"));
    assert_eq!(manifest.groups[0].offsets, [billing]);
    assert_eq!(manifest.open_transactions, [open_transaction()]);
    assert_eq!(
        (manifest.parts[0].bytes, manifest.parts[0].sha256.as_str()),
        (PART.len() as u64, document::sha256_hex(PART).as_str())
    );

    let part = Part::open(DocumentKind::Part, PART).unwrap();
    let runs = invariants::by_partition(part.runs().map(|(topic, _, run)| (topic, run)));
    for topic in &manifest.topics {
        assert_eq!((topic.replication_factor, topic.configs["retention.ms"].as_str()), (3, "-1"));
        for partition in &topic.partitions {
            let of_partition = &runs[&(&topic.topic, partition.partition)];
            let (start, end) = (partition.start_offset, partition.end_offset);
            let content = invariants::runs_tile(&topic.topic, partition.partition, start, end, of_partition).unwrap();
            assert_eq!(content, partition.content);
        }
    }
}

#[test]
fn a_manifest_says_what_restores_add_and_what_the_cluster_is_called_and_the_first_ones_do_not() {
    let first = Manifest::open(MANIFEST).unwrap();
    assert_eq!((first.include_offset_headers, &first.source_cluster_label), (false, &None));
    let later = Manifest::open(MANIFEST_WITH_HEADERS).unwrap();
    assert_eq!((later.include_offset_headers, later.source_cluster_label.as_deref()), (true, Some("production")));
    // What this program writes is what it reads: the same bytes, and none for what was not asked for.
    assert_eq!(String::from_utf8(first.seal()).unwrap(), String::from_utf8_lossy(MANIFEST));
    assert_eq!(String::from_utf8(later.seal()).unwrap(), String::from_utf8_lossy(MANIFEST_WITH_HEADERS));
}

fn open_transaction() -> OpenTransaction {
    OpenTransaction {
        topic: "orders".to_owned(),
        partition: 2,
        producer_id: Some(7),
        start_offset: 120,
        last_timestamp_ms: Some(1_700_000_000_500),
        held_back: 4,
    }
}

#[test]
fn a_cut_of_version_1_is_read() {
    let cut: Cut = document::open(DocumentKind::Cut, VERSION, CUT).unwrap();
    assert_eq!((cut.at_ms, cut.selection.as_str()), (1_770_906_600_123, r#"topics ["orders"]"#));
    let topic = &cut.topics[0];
    assert_eq!(
        (topic.topic.id, topic.compacted, topic.configs["cleanup.policy"].as_str()),
        (ORDERS_ID, true, "compact")
    );
    assert_eq!(
        topic.partitions,
        [PartitionCut {
            partition: 2,
            start_offset: 100,
            end_offset: 120,
            high_watermark: 124,
            leader_epoch: None,
            missing: false
        }]
    );
    assert_eq!(cut.open_transactions, [open_transaction()]);
}

#[test]
fn a_repository_and_an_archive_of_version_1_are_read() {
    let repository: Repository = document::open(DocumentKind::Repository, VERSION, REPOSITORY).unwrap();
    assert_eq!(repository.id, Uuid::from_u128(5));
    let owner: ArchiveOwner = document::open(DocumentKind::Archive, VERSION, ARCHIVE).unwrap();
    let text = |part: &str| Some(part.to_owned());
    assert_eq!(
        (owner.group, owner.kind, owner.namespace),
        (text("backup.strimzi.io"), text("KafkaBackup"), text("kafka"))
    );
    assert_eq!(
        (owner.name.as_str(), owner.uid, owner.source_cluster_id.as_str()),
        ("shop", text("u-1"), "q3nQpogpmv3qTkVvPCD9OA")
    );
}
