//! A log with everything in it that backup tools have lost, changed or stumbled over.
//!
//! It follows from a seed, except for what brokers and clients decide: append times, producer ids, and where compressed
//! batches end.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use ::rskafka::client::partition::Compression;
use anyhow::{Context, Result, bail, ensure};

use crate::dump::Record;
use crate::kafka::{Kafka, Listener};
use crate::witness::{At, Isolation, NewTopic, Position, Producer, Properties, Witness, properties};
use crate::{librdkafka, rskafka, unique};

/// The timestamp around which the log lies, in milliseconds since 1970: in the past on every machine, so that no broker
/// refuses what is later by weeks.
pub const START_MS: i64 = 1_700_000_000_000;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The log as it was written.
#[derive(Debug)]
pub struct HostileLog {
    /// Its topics.
    pub topics: Vec<HostileTopic>,
    /// Holds a transaction open in [`Trait::Transactions`]; abort or commit it when it has done its work.
    pub open_transaction: Producer,
}

/// One topic of the log.
#[derive(Debug, Clone)]
pub struct HostileTopic {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: i32,
    /// What is hostile about it.
    pub hostility: Trait,
}

/// What is hostile about a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trait {
    /// Every codec, by the Java client (partitions 0 to 4) and by librdkafka (5 to 9).
    Codecs,
    /// Every codec by rskafka, one a partition.
    Rskafka,
    /// Nulls, empties and tombstones; header keys repeated and, in partition 1, no text.
    Oddities,
    /// Timestamps out of order, further apart in one batch than 32 bits of milliseconds, at zero, and absent.
    Times,
    /// LogAppendTime; the producers' own times stand in the records, years away.
    AppendTime,
    /// Committed and aborted transactions interleaved over partitions; aborted ones at the end of partition 0, one open
    /// in partition 1, with records behind it.
    Transactions,
    /// Cleaned by the log cleaner: holes, removed batches, batches without a record, tombstones.
    Compacted,
    /// Records of 900 kB, up to the default size of a batch.
    LargeRecords,
    /// A batch of more than 3 MB, which a topic with default settings refuses.
    LargeBatches,
    /// 200 partitions, every other one empty.
    Wide,
    /// Begins behind offset 0; partition 1 holds nothing but has an end offset.
    Truncated,
    /// Never written to.
    Empty,
}

impl Trait {
    /// Whether clients that take header keys for text can read it.
    pub const fn has_text_header_keys(self) -> bool {
        !matches!(self, Self::Oddities)
    }
}

impl HostileLog {
    /// The topic of this trait.
    ///
    /// # Panics
    /// Never: [`write`] writes one of each.
    pub fn topic(&self, hostility: Trait) -> &HostileTopic {
        let found = self.topics.iter().find(|topic| topic.hostility == hostility);
        found.expect("a hostile log has a topic of every trait")
    }

    /// Positions of all topics, drawn by `seed`: on records and holes, at the start and at the end. Offsets of a partition
    /// lie within its start and its last stable offset, both included.
    ///
    /// # Errors
    /// When the cluster does not tell its offsets.
    pub fn random_positions(&self, witness: &Witness, seed: u64, count: usize) -> Result<Vec<Position>> {
        let mut random = Random(seed);
        let mut ranges = Vec::new();
        for topic in &self.topics {
            let starts = witness.offsets(&topic.name, At::Earliest)?;
            let ends = witness.offsets(&topic.name, At::Stable)?;
            ranges.push((topic, starts, ends));
        }
        let draw = |_| {
            let (topic, starts, ends) = &ranges[random.below(ranges.len())];
            let partition = random.below(starts.len());
            let (start, end) = (starts[partition], ends[partition]);
            let offset = match random.below(10) {
                0 => start,
                1 => end,
                _ => start + random.between(0, end - start + 1),
            };
            Ok(Position::new(&topic.name, i32::try_from(partition)?, offset))
        };
        (0..count).map(draw).collect()
    }
}

/// Writes the log to a cluster; it takes about half a minute.
///
/// # Errors
/// The clients', or when the log cleaner does not do its part.
pub fn write(kafka: &Kafka, seed: u64) -> Result<HostileLog> {
    let mut writer = Writer {
        witness: kafka.witness(),
        bootstrap: kafka.bootstrap(Listener::Plain),
        random: Random(seed),
        topics: Vec::new(),
    };
    // First, for the cleaner works while the rest is written.
    let compacted = writer.compacted()?;
    writer.codecs()?;
    writer.rskafka()?;
    writer.oddities()?;
    writer.times()?;
    writer.append_time()?;
    let open_transaction = writer.transactions()?;
    writer.large()?;
    writer.wide()?;
    writer.truncated()?;
    writer.topic(Trait::Empty, 3, &[])?;
    compacted.wait_until_cleaned(kafka, &writer.witness)?;
    Ok(HostileLog { topics: writer.topics, open_transaction })
}

/// How many batches of a topic hold no record, counted in the segment files of one node.
///
/// # Errors
/// When a segment cannot be read.
pub fn batches_without_records(kafka: &Kafka, node: u16, topic: &str) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir(kafka.data_folder(node)).context("cannot read the data folder")? {
        let partition = entry?.path();
        let name = partition.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.rsplit_once('-').is_none_or(|(of, _)| of != topic) {
            continue;
        }
        for entry in fs::read_dir(&partition)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "log") {
                // The cleaner may have replaced it since the folder was read.
                count += fs::read(&path).map_or(0, |segment| empty_batches(&segment));
            }
        }
    }
    Ok(count)
}

/// A batch is its base offset (8 bytes), its length behind this field (4), and, among others, its record count at 57.
fn empty_batches(mut segment: &[u8]) -> usize {
    const HEADER_BYTES: usize = 61;
    let mut count = 0;
    while let Some(header) = segment.first_chunk::<HEADER_BYTES>() {
        let field = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        count += usize::from(field(57) == 0);
        segment = segment.get(12 + field(8) as usize..).unwrap_or_default();
    }
    count
}

struct Writer {
    witness: Witness,
    bootstrap: String,
    random: Random,
    topics: Vec<HostileTopic>,
}

/// A topic that the cleaner has yet to clean.
struct Compacted {
    topic: String,
    written: u64,
}

const CODECS: [&str; 5] = ["none", "gzip", "snappy", "lz4", "zstd"];

impl Writer {
    fn topic(&mut self, hostility: Trait, partitions: i32, configs: &[(&str, &str)]) -> Result<String> {
        let mut topic = NewTopic::new(unique(&format!("hostile-{hostility:?}").to_lowercase()), partitions);
        for (name, value) in configs {
            topic = topic.with(name, value);
        }
        let name = topic.name.clone();
        self.witness.create_topics(&[topic])?;
        self.topics.push(HostileTopic { name: name.clone(), partitions, hostility });
        Ok(name)
    }

    /// Records in order of time, some with headers, values of up to 300 bytes that compress a little.
    fn records(&mut self, partition: i32, count: usize) -> Vec<Record> {
        let record = |number| {
            let random = &mut self.random;
            let timestamp_ms = START_MS + i64::from(partition) + 1_000 * number;
            let value_bytes = random.below(300);
            let mut record =
                Record::new(partition, timestamp_ms, format!("key-{}", random.below(50)), random.text(value_bytes));
            for header in 0..random.below(3) {
                record = record.with_header(format!("header-{header}"), Some(&random.bytes(8)));
            }
            record
        };
        (0_i64..).take(count).map(record).collect()
    }

    fn codecs(&mut self) -> Result<()> {
        let topic = self.topic(Trait::Codecs, 10, &[])?;
        for (partition, codec) in (0..).zip(CODECS) {
            let records = self.records(partition, 400);
            let batches = [("compression.type", codec), ("batch.size", "4000"), ("linger.ms", "20")];
            self.witness.produce(&topic, &properties(batches), &records)?;
            let records = self.records(partition + 5, 400);
            let batches =
                [("compression.codec", codec), ("batch.num.messages", "40"), ("queue.buffering.max.ms", "20")];
            librdkafka::produce(&self.bootstrap, &topic, &properties(batches), &records)?;
        }
        Ok(())
    }

    fn rskafka(&mut self) -> Result<()> {
        let topic = self.topic(Trait::Rskafka, 5, &[])?;
        let codecs =
            [Compression::NoCompression, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        for (partition, codec) in (0..).zip(codecs) {
            for _ in 0..4 {
                let records = self.records(partition, 60);
                rskafka::produce(&self.bootstrap, &topic, codec, &records)?;
            }
        }
        Ok(())
    }

    fn oddities(&mut self) -> Result<()> {
        let topic = self.topic(Trait::Oddities, 2, &[])?;
        for codec in CODECS {
            let text = self.odd_records(0, &[b"a", b"", "schl\u{fc}ssel".as_bytes()]);
            self.witness.produce(&topic, &properties([("compression.type", codec)]), &text)?;
            let bytes = self.odd_records(1, &[b"\xff\xfe", b"\x00", b"\xc3\x28", b"\xed\xa0\x80"]);
            self.witness.produce_batch(&topic, 1, codec, &bytes)?;
        }
        Ok(())
    }

    /// Every combination of null, empty and filled, with header keys that repeat, also side by side.
    fn odd_records(&mut self, partition: i32, header_keys: &[&[u8]]) -> Vec<Record> {
        let mut records = Vec::new();
        for key in [None, Some(&b""[..]), Some(b"k"), Some(b"\xff\x00\xfe")] {
            for value in [None, Some(&b""[..]), Some(b"v"), Some(b"\x80\x00\x81")] {
                let mut record = Record {
                    partition,
                    timestamp_ms: START_MS + self.random.between(0, DAY_MS),
                    key: key.map(<[u8]>::to_vec),
                    value: value.map(<[u8]>::to_vec),
                    ..Record::default()
                };
                for _ in 0..self.random.below(6) {
                    let header = header_keys[self.random.below(header_keys.len())];
                    let value = [None, Some(&b""[..]), Some(b"x"), Some(b"\xff")][self.random.below(4)];
                    record = record.with_header(header, value);
                }
                records.push(record);
            }
        }
        records
    }

    fn times(&mut self) -> Result<()> {
        let topic = self.topic(Trait::Times, 3, &[])?;
        for codec in CODECS {
            for partition in 0..2 {
                let mut records = self.records(partition, 100);
                for record in &mut records {
                    // Far more than the 24.8 days that fit in 32 bits, both ways, within one batch.
                    record.timestamp_ms += self.random.between(-400 * DAY_MS, 400 * DAY_MS);
                }
                records[50].timestamp_ms = 0;
                if partition == 0 {
                    let batches = [("compression.type", codec), ("linger.ms", "20")];
                    self.witness.produce(&topic, &properties(batches), &records)?;
                } else {
                    self.witness.produce_batch(&topic, partition, codec, &records)?;
                }
            }
            let mut records = self.records(2, 20);
            records.iter_mut().for_each(|record| record.timestamp_ms = -1);
            self.witness.produce_batch(&topic, 2, codec, &records)?;
        }
        Ok(())
    }

    fn append_time(&mut self) -> Result<()> {
        let topic = self.topic(Trait::AppendTime, 2, &[("message.timestamp.type", "LogAppendTime")])?;
        for codec in CODECS {
            for partition in 0..2 {
                let mut records = self.records(partition, 100);
                records.iter_mut().for_each(|record| record.timestamp_ms += self.random.between(0, 400 * DAY_MS));
                let batches = [("compression.type", codec), ("batch.size", "4000"), ("linger.ms", "20")];
                self.witness.produce(&topic, &properties(batches), &records)?;
            }
        }
        Ok(())
    }

    fn transactions(&mut self) -> Result<Producer> {
        const STEPS: usize = 120;
        let topic = self.topic(Trait::Transactions, 4, &[])?;
        let mut producers = Vec::new();
        for codec in CODECS {
            let id = unique("hostile");
            let config = properties([
                ("transactional.id", &id),
                ("compression.type", codec),
                ("transaction.timeout.ms", "900000"),
            ]);
            producers.push((self.witness.producer(&config)?, false));
        }
        for _ in 0..STEPS {
            let (producer, is_open) = &mut producers[self.random.below(CODECS.len())];
            if !*is_open {
                producer.begin()?;
                *is_open = true;
            }
            for _ in 0..1 + self.random.below(3) {
                let partition = i32::try_from(self.random.below(4))?;
                let random = &mut self.random;
                let time = START_MS + random.between(0, DAY_MS);
                let record = Record::new(partition, time, random.text(5), random.text(40));
                producer.send(&topic, &[record.clone(), Record { timestamp_ms: time + 1, ..record }])?;
            }
            match self.random.below(6) {
                0 => producer.commit()?,
                1 => producer.abort()?,
                _ => continue,
            }
            *is_open = false;
        }
        for (producer, _) in producers.iter().filter(|(_, is_open)| *is_open) {
            if self.random.below(2) == 0 { producer.commit()? } else { producer.abort()? }
        }
        let (open, _) = producers.pop().context("there are five producers")?;
        for (producer, _) in &producers {
            producer.begin()?;
            producer.send(&topic, &[Record::new(0, START_MS, "k", "aborted at the end")])?;
            producer.abort()?;
        }
        open.begin()?;
        open.send(&topic, &[Record::new(1, START_MS, "k", "open")])?;
        let behind = [Record::new(1, START_MS, "k", "behind the last stable offset")];
        self.witness.produce(&topic, &Properties::new(), &behind)?;
        for (producer, _) in producers {
            producer.close()?;
        }
        Ok(open)
    }

    fn compacted(&mut self) -> Result<Compacted> {
        const PARTITIONS: i32 = 3;
        const KEYS: usize = 60;
        let configs = [
            ("cleanup.policy", "compact"),
            ("min.cleanable.dirty.ratio", "0.01"),
            // Segments roll by the records' own time: each round below is an hour after the one before.
            ("segment.ms", "60000"),
        ];
        let topic = self.topic(Trait::Compacted, PARTITIONS, &configs)?;
        let mut written = 0;
        for (partition, codec) in (0..PARTITIONS).zip(["none", "zstd", "lz4"]) {
            let small = properties([("compression.type", codec), ("batch.size", "400"), ("linger.ms", "20")]);
            let record = |key: usize, value: Vec<u8>, hour: i64| {
                Record::new(partition, START_MS + hour * HOUR_MS, format!("key-{key:02}"), value)
            };
            let first: Vec<Record> = (0..KEYS).map(|key| record(key, self.random.text(40), 0)).collect();
            // The last keys of the first round all come again: the cleaner empties that producer's last batch, but keeps
            // it for its sequence number.
            let is_repeated: Vec<bool> = (0..KEYS).map(|key| key >= KEYS - 20 || self.random.below(10) < 6).collect();
            let again = |key: &usize| is_repeated[*key];
            let second: Vec<Record> = (0..KEYS)
                .filter(again)
                .map(|key| match self.random.below(4) {
                    0 => Record { value: None, ..record(key, Vec::new(), 1) },
                    _ => record(key, self.random.text(40), 1),
                })
                .collect();
            for round in [&first, &second] {
                self.witness.produce(&topic, &small, round)?;
                written += round.len() as u64;
            }
            let id = unique("hostile");
            let producer = self.witness.producer(&properties([("transactional.id", id.as_str())]))?;
            for is_committed in [true, false, true] {
                let records: Vec<Record> =
                    (0..8).map(|_| record(self.random.below(KEYS), self.random.text(40), 2)).collect();
                producer.begin()?;
                producer.send(&topic, &records)?;
                if is_committed {
                    producer.commit()?
                } else {
                    producer.abort()?
                }
                written += records.len() as u64;
            }
            producer.close()?;
            // The active segment is never cleaned: these push everything before them out of it.
            for hour in [3, 4] {
                let last = Record { key: Some(format!("last-{hour}").into_bytes()), ..record(0, b"v".to_vec(), hour) };
                self.witness.produce(&topic, &small, &[last])?;
                written += 1;
            }
        }
        Ok(Compacted { topic, written })
    }

    fn large(&mut self) -> Result<()> {
        const RECORD_BYTES: usize = 900 * 1024;
        let topic = self.topic(Trait::LargeRecords, 1, &[])?;
        let incompressible: Vec<Record> =
            (0..4).map(|number| Record::new(0, START_MS + number, "large", self.random.bytes(RECORD_BYTES))).collect();
        self.witness.produce(&topic, &Properties::new(), &incompressible)?;
        let text: Vec<Record> =
            (0..4).map(|number| Record::new(0, START_MS + number, "large", self.random.text(RECORD_BYTES))).collect();
        self.witness.produce(&topic, &properties([("compression.type", "zstd")]), &text)?;

        let topic = self.topic(Trait::LargeBatches, 1, &[("max.message.bytes", "8000000")])?;
        let records: Vec<Record> =
            (0..6).map(|number| Record::new(0, START_MS + number, "large", self.random.bytes(600 * 1024))).collect();
        self.witness.produce_batch(&topic, 0, "none", &records)?;
        self.witness.produce_batch(&topic, 0, "lz4", &records)?;
        Ok(())
    }

    fn wide(&mut self) -> Result<()> {
        const PARTITIONS: i32 = 200;
        let topic = self.topic(Trait::Wide, PARTITIONS, &[])?;
        let mut records = Vec::new();
        for partition in (1..PARTITIONS).step_by(2) {
            let count = 1 + self.random.below(5);
            records.extend(self.records(partition, count));
        }
        self.witness.produce(&topic, &Properties::new(), &records)?;
        Ok(())
    }

    fn truncated(&mut self) -> Result<()> {
        let topic = self.topic(Trait::Truncated, 2, &[])?;
        for partition in 0..2 {
            let records = self.records(partition, 100);
            self.witness.produce(&topic, &properties([("batch.size", "2000")]), &records)?;
        }
        self.witness.delete_records(&[Position::new(&topic, 0, 37), Position::new(&topic, 1, 100)])
    }
}

impl Compacted {
    /// Waits until records are gone, none goes any more, and the batches left empty are there.
    fn wait_until_cleaned(&self, kafka: &Kafka, witness: &Witness) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(120);
        const QUIET: Duration = Duration::from_secs(3);
        let deadline = Instant::now() + PATIENCE;
        let mut left = self.written;
        let mut since = Instant::now();
        loop {
            let read = witness.digest(&self.topic, Isolation::Uncommitted)?;
            ensure!(read.iter().all(|partition| partition.start_offset == 0), "{} lost its start", self.topic);
            let now_left = read.iter().map(|partition| partition.records).sum();
            if now_left != left {
                (left, since) = (now_left, Instant::now());
            }
            let node = kafka.node_ids().next().context("a cluster has a node")?;
            let is_cleaned = left < self.written && batches_without_records(kafka, node, &self.topic)? > 0;
            if is_cleaned && since.elapsed() > QUIET {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{}: {left} of {} records are left and the cleaner does not go on", self.topic, self.written);
            }
            thread::sleep(Duration::from_millis(200));
        }
    }
}

/// SplitMix64: a stream of numbers that follows from its seed.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// In `start..end`.
    fn between(&mut self, start: i64, end: i64) -> i64 {
        start + (self.next() % start.abs_diff(end)).cast_signed()
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.next().to_le_bytes());
        words.flatten().take(count).collect()
    }

    /// Letters from a small alphabet, which compress.
    fn text(&mut self, count: usize) -> Vec<u8> {
        self.bytes(count).into_iter().map(|byte| b"abcdefgh"[usize::from(byte & 7)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_the_batches_without_records_of_a_segment() {
        let batch = |record_count: u32, payload: usize| {
            let mut batch = vec![0; 61 + payload];
            batch[8..12].copy_from_slice(&u32::try_from(49 + payload).unwrap().to_be_bytes());
            batch[57..61].copy_from_slice(&record_count.to_be_bytes());
            batch
        };
        let segment = [batch(3, 40), batch(0, 0), batch(1, 9), batch(0, 0)].concat();
        assert_eq!(empty_batches(&segment), 2);
        assert_eq!(empty_batches(&segment[..segment.len() - 1]), 1, "a torn batch does not count");
    }

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| (Random(seed).bytes(20), Random(seed).text(20));
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
