//! What the fuzzer and the property tests call: each function takes any bytes and must come to an end without a panic.
//!
//! Whatever can be read is used as a run uses it. A checksum that no random bytes would hit is put right first, so that what
//! lies behind it is reached.

use bytes::Bytes;
use kafka_backup::format::batch::{Batch, batches};
use kafka_backup::format::codec::Decompressor;
use kafka_backup::format::document::{self, DocumentKind};
use kafka_backup::format::frame::{self, Frame};
use kafka_backup::format::manifest::{self, ArchiveOwner, Cut, Manifest, Part, Repository};
use kafka_backup::format::record;
use kafka_backup::format::run::Content;
use kafka_backup::format::segment::{self, FOOTER_BYTES, Footer};
use kafka_backup::offsets::map::OffsetMap;

/// Where the CRC-32C of a frame stands in its header, by the layout of version 1.
const FRAME_CRC_AT: usize = 36;

/// What a broker's response may hold.
pub fn batch_walk(bytes: &[u8]) {
    for truncated_tail_is_end in [true, false] {
        let mut walked = 0;
        for batch in batches(bytes, truncated_tail_is_end) {
            let Ok(batch) = batch else { break };
            walked += batch.bytes().len();
            use_batch(&batch);
        }
        assert!(walked <= bytes.len(), "{walked} bytes of {}", bytes.len());
    }
}

/// The records of whatever is a batch.
pub fn record_decode(bytes: &[u8]) {
    let mut decompressor = Decompressor::new();
    for batch in batches(bytes, true).map_while(Result::ok) {
        let Ok(records) = record::decode(&batch, &mut decompressor) else { continue };
        assert_eq!(records.len(), usize::try_from(batch.record_count()).expect("a count is not negative"));
        assert!(records.iter().all(|(offset, _)| batch.offsets().contains(offset)));
        assert!(records.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

/// A run's bytes, as they stand and with the checksum of the first frame put right.
pub fn frames(bytes: &[u8]) {
    use_frames(bytes);
    let mut mended = bytes.to_vec();
    if let Ok(header) = frame::Header::parse(bytes)
        && let Some(whole) = mended.get_mut(..header.frame_bytes())
    {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&whole[..FRAME_CRC_AT]), &whole[FRAME_CRC_AT + 4..]);
        whole[FRAME_CRC_AT..FRAME_CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        use_frames(&mended);
    }
}

/// The end of a segment, whose footer may be right, and its index.
pub fn segment_end(bytes: &[u8]) {
    for object_bytes in [bytes.len() as u64, u64::MAX] {
        if let Ok(Footer { index_position, index_bytes }) = Footer::parse(bytes, object_bytes) {
            assert_eq!(index_position.checked_add(index_bytes + FOOTER_BYTES as u64), Some(object_bytes));
        }
    }
    in_documents(DocumentKind::SegmentIndex, bytes, |document| {
        let Ok(index) = segment::open_index(document, None) else { return };
        assert!(index.runs.iter().all(|indexed| indexed.topic < index.topics.len()));
    });
}

/// Everything that stands beside the segments.
pub fn documents(bytes: &[u8]) {
    in_documents(DocumentKind::Manifest, bytes, |document| {
        if let Ok(manifest) = Manifest::open(document) {
            assert_eq!(Manifest::open(&manifest.seal()).expect("what was read can be written"), manifest);
        }
    });
    for kind in [DocumentKind::Part, DocumentKind::Checkpoint] {
        in_documents(kind, bytes, |document| {
            if let Ok(part) = Part::open(kind, document) {
                let runs = part.runs().count();
                assert_eq!(runs, part.run_count());
                assert_eq!(Part::merge([part]).run_count(), runs);
            }
        });
    }
    in_documents(DocumentKind::Cut, bytes, |document| {
        drop(document::open::<Cut>(DocumentKind::Cut, manifest::VERSION, document));
    });
    in_documents(DocumentKind::Archive, bytes, |document| {
        drop(document::open::<ArchiveOwner>(DocumentKind::Archive, manifest::VERSION, document));
    });
    in_documents(DocumentKind::Repository, bytes, |document| {
        drop(document::open::<Repository>(DocumentKind::Repository, manifest::VERSION, document));
    });
}

/// The map of a restored partition.
pub fn offset_map(bytes: &[u8]) {
    in_documents(DocumentKind::OffsetMap, bytes, |document| {
        let Ok(map) = OffsetMap::open(document) else { return };
        let mut last = i64::MIN;
        for source in [i64::MIN, -1, 0, 1, 1000, i64::MAX - 1, i64::MAX] {
            let target = map.translate(source);
            assert!(last <= target, "offset {source} goes backwards to {target}");
            last = target;
        }
        assert_eq!(map.translate(i64::MAX), map.end_offset());
        assert_eq!(OffsetMap::open(&map.seal()).expect("what was read can be written"), map);
    });
}

fn use_batch(batch: &Batch<'_>) {
    assert!(batch.base_offset() < batch.next_offset());
    drop(batch.check_crc());
    let mut content = Content::default();
    content.add_batch(batch);
    assert_eq!(content.raw_bytes, batch.bytes().len() as u64);
}

fn use_frames(bytes: &[u8]) {
    for frame in segment::frames(Bytes::copy_from_slice(bytes)) {
        let Ok(frame) = frame else { break };
        drop(frame.check());
        use_frame(&frame);
    }
}

fn use_frame(frame: &Frame) {
    for batch in frame.batches().map_while(Result::ok) {
        use_batch(&batch);
    }
}

/// The bytes as they stand, and as the body of a document of this kind that nobody has damaged.
fn in_documents(kind: DocumentKind, bytes: &[u8], read: impl Fn(&[u8])) {
    read(bytes);
    for encoding in ["json", "json+zstd"] {
        read(&sealed(kind, encoding, bytes));
    }
}

/// A document whose header fits its body.
pub fn sealed(kind: DocumentKind, encoding: &str, body: &[u8]) -> Vec<u8> {
    let header = serde_json::json!({
        "kafkaBackup": kind,
        "version": 1,
        "encoding": encoding,
        "bytes": body.len(),
        "sha256": document::sha256_hex(body),
    });
    [header.to_string().as_bytes(), b"\n", body].concat()
}
