//! Batches with bytes behind their compressed stream, which brokers take and Kafka's own consumer reads.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use e2e::compare::{self, Rules};
use e2e::dump;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::NewTopic;
use kafka_backup::format::batch::Compression;
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::checksum::crc32c;
use kafka_backup::format::record::OwnedRecord;

use crate::search::holds;
use crate::shown;

/// 2026-02-02T02:40:00Z.
const START_MS: i64 = 1_770_000_000_000;
const RECORDS_OF_A_BATCH: i64 = 50;
const CODECS: [Compression; 2] = [Compression::Gzip, Compression::Lz4];
/// What stands behind the stream of each batch of a partition: nothing that begins another gzip member or LZ4 frame.
const TRAILING: [&[u8]; 2] = [&[0; 40], GARBAGE];
const GARBAGE: &[u8] = b"bytes behind the end of the compressed stream";

/// A batch of records whose times begin at [`START_MS`], with these bytes behind its compressed stream.
fn batch(codec: Compression, number: usize, trailing: &[u8]) -> Vec<u8> {
    let record = |n: i64| OwnedRecord {
        timestamp_ms: START_MS + n,
        key: Some(format!("{number}-{n}").into_bytes()),
        value: Some(format!("value of {n}, and of {n} once more").into_bytes()),
        headers: Vec::new(),
    };
    let records = (0..RECORDS_OF_A_BATCH).map(record);
    let mut batch = BatchBuilder::new(0).leader_epoch(-1).compression(codec).records(records).build().unwrap();
    batch.extend_from_slice(trailing);
    // The length counts from behind itself; the checksum is over what comes after it.
    let length = u32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    let checksum = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&checksum.to_be_bytes());
    batch
}

/// Produces a batch with every byte as it is, which no client does.
fn produce(bootstrap: &str, topic: &str, partition: i32, batch: &[u8]) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap().to_be_bytes();
    let topic_length = u16::try_from(topic.len()).unwrap().to_be_bytes();
    let request = [
        // Produce, version 3, a correlation id, no client id, no transactional id, all replicas, within 30 s.
        &[0_u8, 0, 0, 3, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0x75, 0x30][..],
        // One topic, and one partition of it.
        &[0, 0, 0, 1],
        &topic_length,
        topic.as_bytes(),
        &[0, 0, 0, 1],
        &partition.to_be_bytes(),
        &length(batch),
        batch,
    ]
    .concat();
    let mut stream = TcpStream::connect(bootstrap).unwrap();
    stream.write_all(&[&length(&request)[..], &request].concat()).unwrap();
    let mut size = [0; 4];
    stream.read_exact(&mut size).unwrap();
    let mut response = vec![0; usize::try_from(u32::from_be_bytes(size)).unwrap()];
    stream.read_exact(&mut response).unwrap();
    // Correlation id, one topic, its name, one partition, its number.
    let error_at = 4 + 4 + 2 + topic.len() + 4 + 4;
    assert_eq!(response[error_at..error_at + 2], [0, 0], "the broker refuses the batch: {response:?}");
}

/// The partitions of which the first segment of the log has [`GARBAGE`] in it.
fn with_garbage(kafka: &Kafka, topic: &str) -> Vec<usize> {
    let data = kafka.data_folder(1);
    let segment = |partition: &usize| data.join(format!("{topic}-{partition}")).join("00000000000000000000.log");
    let has_garbage = |segment: &Path| holds(&fs::read(segment).unwrap(), GARBAGE);
    (0..CODECS.len()).filter(|partition| has_garbage(&segment(partition))).collect()
}

#[test]
fn bytes_behind_a_compressed_stream_spoil_no_backup_and_no_restore() {
    let kafka = Kafka::shared(Shared::Plain);
    let (bootstrap, witness, topic) = (kafka.bootstrap(Listener::Plain), kafka.witness(), unique("trailing"));
    witness.create_topics(&[NewTopic::new(&topic, i32::try_from(CODECS.len()).unwrap())]).unwrap();
    for (partition, codec) in (0..).zip(CODECS) {
        for (number, trailing) in TRAILING.into_iter().enumerate() {
            produce(&bootstrap, &topic, partition, &batch(codec, number, trailing));
        }
    }
    let batches = (CODECS.len() * TRAILING.len()) as u64;
    let records = batches * RECORDS_OF_A_BATCH.unsigned_abs();
    assert_eq!(with_garbage(kafka, &topic), [0, 1], "the broker has compressed the batches again");
    let folder = tempfile::tempdir().unwrap();
    let before = folder.path().join("before");
    witness.dump(&topic, &before).unwrap();
    let expected = dump::read_all(&before).unwrap();
    assert_eq!(expected.len() as u64, records, "Kafka's own consumer reads all of them");

    let repository = Repository::folder().unwrap();
    let report =
        repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &records.into()), "{report}");
    let verified = repository.report(&["verify", "--archive", "a", "--level", "records"]);
    assert_eq!((&verified["outcome"], &verified["records"]), (&"intact".into(), &records.into()), "{verified}");
    let shown = shown(&repository, report["backupId"].as_str().unwrap(), &topic);
    let found = shown.iter().map(|line| (line["partition"].as_i64(), line["offset"].as_i64(), line["value"].as_str()));
    let wanted = expected.iter().map(|record| {
        let value = record.value.as_deref().map(|value| std::str::from_utf8(value).unwrap());
        (Some(i64::from(record.partition)), Some(record.offset), value)
    });
    assert!(found.eq(wanted), "{shown:?}");

    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a"];
    let restored = |name: &str, more: &[&str], keep_from_ms: i64| {
        let target = format!("{topic}-{name}");
        let mapping = format!("--topic-mapping={topic}={target}");
        let report = repository.report(&[&restore[..], &[mapping.as_str()], more].concat());
        assert_eq!(report["outcome"], "completed", "{report}");
        let after = folder.path().join(name);
        witness.dump(&target, &after).unwrap();
        let compared =
            compare::selected(&before, &after, Rules::RESTORED, |record| record.timestamp_ms >= keep_from_ms);
        (report["topics"][0].clone(), compared.unwrap().records, with_garbage(kafka, &target))
    };
    // As they are, every byte of them.
    let (counts, found, garbage) = restored("passed", &["--keep-batches"], START_MS);
    assert_eq!((&counts["passed"], found, garbage), (&batches.into(), records, vec![0, 1]), "{counts}");
    // Joined, or as they are, as the restore sees fit.
    assert_eq!(restored("joined", &[], START_MS).1, records);
    // A time within each of them: each is decompressed, and compressed again.
    let late = ["--start-time", "2026-02-02T02:40:00.010Z"];
    let (counts, found, garbage) = restored("late", &late, START_MS + 10);
    assert_eq!((&counts["rewritten"], garbage), (&batches.into(), Vec::new()), "{counts}");
    assert_eq!(found, records - batches * 10);
}
