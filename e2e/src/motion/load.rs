//! Who writes: producers without and with transactions, each in a thread of its own, until they are stopped.
//!
//! A value says which record it is and what becomes of its transaction. Whether a write that failed was taken is not known
//! here, and need not be: only the oracle says what is in a log.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::Result;
use kafka_backup::clock::now_ms;

use super::archive::ABORTED_MARK;
use super::events::{Events, What};
use super::plan::{Kind, TopicPlan};
use super::random::Random;
use crate::dump::Record;
use crate::witness::{Producer, Properties, Witness, properties};

/// Keys of a compacted topic: few, so that each is written again and again.
const KEYS: u64 = 40;
/// How long a producer pauses between two requests.
const PAUSE: Duration = Duration::from_millis(20);

/// What all writers share.
#[derive(Debug, Clone, Copy)]
pub struct Load<'a> {
    /// The cluster.
    pub witness: &'a Witness,
    /// The topics.
    pub topics: &'a [TopicPlan],
    /// What was done.
    pub events: &'a Events,
    /// Set when they are to end.
    pub stop: &'a AtomicBool,
}

impl<'a> Load<'a> {
    /// So many writers of each sort, each to be run by a thread of its own.
    pub fn writers(self, seed: &Random, of_each: usize) -> Vec<Writer<'a>> {
        let sorts = [Sort::Plain, Sort::Transactional, Sort::Recreated];
        let of = |number: usize| {
            sorts.map(|sort| Writer::new(self, sort, number, seed.fork(&format!("{sort:?} writer {number}"))))
        };
        (0..of_each).flat_map(of).collect()
    }
}

/// Which topics a writer writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Plain,
    Transactional,
    /// Those that are deleted now and then, and hold up who writes to them.
    Recreated,
}

impl Sort {
    const fn of(kind: Kind) -> Self {
        if kind.has_transactions() {
            return Self::Transactional;
        }
        if matches!(kind, Kind::Recreated) { Self::Recreated } else { Self::Plain }
    }
}

/// A producer at work.
#[derive(Debug)]
pub struct Writer<'a> {
    load: Load<'a>,
    transactional_id: Option<String>,
    topics: Vec<&'a TopicPlan>,
    random: Random,
    written: u64,
}

impl<'a> Writer<'a> {
    fn new(load: Load<'a>, sort: Sort, number: usize, random: Random) -> Self {
        let is_mine = |topic: &&TopicPlan| topic.kind.is_written_by_load() && Sort::of(topic.kind) == sort;
        let topics = load.topics.iter().filter(is_mine).collect();
        let transactional_id = (sort == Sort::Transactional).then(|| format!("motion-tx-{number}"));
        Self { load, transactional_id, topics, random, written: 0 }
    }

    /// Writes until it is stopped.
    pub fn run(mut self) {
        while !self.is_over() {
            let begin_ms = now_ms();
            if let Err(error) = self.write_until_it_fails() {
                self.load.events.failed(begin_ms, "writing", &error);
                sleep(Duration::from_millis(300));
            }
        }
    }

    fn is_over(&self) -> bool {
        self.load.stop.load(Ordering::Relaxed)
    }

    fn write_until_it_fails(&mut self) -> Result<()> {
        let producer = self.load.witness.producer(&self.config())?;
        let outcome = self.write(&producer);
        // Closing aborts what is open; a producer that failed may refuse even that.
        let closed = producer.close();
        outcome.and(closed)
    }

    fn config(&mut self) -> Properties {
        let codec = self.random.pick(&["none", "gzip", "lz4", "zstd", "snappy"]).copied().unwrap_or("none");
        let mut config = properties([
            ("compression.type", codec),
            ("linger.ms", "2"),
            ("batch.size", "2000"),
            ("max.block.ms", "5000"),
            ("request.timeout.ms", "5000"),
            ("delivery.timeout.ms", "15000"),
        ]);
        if let Some(id) = &self.transactional_id {
            config.insert("transactional.id".to_owned(), id.clone());
            config.insert("transaction.timeout.ms".to_owned(), "20000".to_owned());
        }
        config
    }

    fn write(&mut self, producer: &Producer) -> Result<()> {
        while !self.is_over() {
            if self.transactional_id.is_some() {
                self.transaction(producer)?;
            } else {
                let Some(topic) = self.random.pick(&self.topics).copied() else { return Ok(()) };
                self.send(producer, topic, "committed")?;
            }
            sleep(PAUSE);
        }
        Ok(())
    }

    /// Several topics in one transaction, which stays open for a while and is aborted now and then.
    fn transaction(&mut self, producer: &Producer) -> Result<()> {
        let is_aborted = self.random.chance(25);
        producer.begin()?;
        for _ in 0..self.random.between(1, 4) {
            let Some(topic) = self.random.pick(&self.topics).copied() else { break };
            self.send(producer, topic, if is_aborted { "aborted" } else { "committed" })?;
        }
        if self.random.chance(10) {
            sleep(Duration::from_millis(self.random.between(100, 1_500)));
        }
        if is_aborted { producer.abort() } else { producer.commit() }
    }

    fn send(&mut self, producer: &Producer, topic: &TopicPlan, fate: &str) -> Result<()> {
        let count = self.random.between(5, 50);
        let records: Vec<Record> = (0..count).map(|_| self.record(topic, fate)).collect();
        let begin_ms = now_ms();
        let placed = producer.send(&topic.name, &records)?;
        for (record, at) in records.iter().zip(&placed).filter(|(record, _)| record.value.is_none()) {
            let key = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
            let (partition, offset) = (at.partition, at.offset);
            let written = What::TombstoneWritten { topic: at.topic.clone(), partition, offset, key };
            self.load.events.add(begin_ms, written);
        }
        Ok(())
    }

    fn record(&mut self, topic: &TopicPlan, fate: &str) -> Record {
        self.written += 1;
        let partition = i32::try_from(self.random.between(0, topic.partitions.unsigned_abs().into())).unwrap_or(0);
        let is_compacted = topic.kind.is_compacted();
        let key = match (is_compacted, self.random.chance(20)) {
            (true, _) => Some(format!("key-{}", self.random.between(0, KEYS))),
            (false, true) => None,
            (false, false) => Some(format!("key-{}", self.random.number())),
        };
        // A tombstone cannot say that its transaction is aborted, so those are never in one.
        let is_tombstone = is_compacted && fate == "committed" && self.random.chance(15);
        // Codecs find little in it, so that there is something to read at a limited rate.
        let filler: String = (0..self.random.between(0, 90)).map(|_| format!("{:x}", self.random.number())).collect();
        let writer = self.transactional_id.as_deref().unwrap_or("plain");
        let value = format!("{}:{writer}:{:x} fate={fate} {filler}", self.written, self.random.number());
        debug_assert!(fate != "aborted" || value.contains(ABORTED_MARK), "a mark that nobody finds");
        let record = Record {
            partition,
            timestamp_ms: now_ms(),
            key: key.map(String::into_bytes),
            value: (!is_tombstone).then(|| value.into_bytes()),
            ..Record::default()
        };
        match (topic.kind, self.random.chance(20)) {
            (Kind::Plain | Kind::Transactional, true) => record.with_header("h", Some(b"1")).with_header("h", None),
            _ => record,
        }
    }
}
