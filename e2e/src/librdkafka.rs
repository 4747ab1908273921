//! librdkafka, the C client: a second opinion beside Java's, with compression code of its own.
//!
//! Header keys must be text here; the Rust binding panics on others.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, Headers, Message, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::dump::{self, Record};

const PATIENCE: Duration = Duration::from_secs(60);

/// Remembers the first record that did not arrive.
#[derive(Debug, Default)]
struct Deliveries {
    failure: Mutex<Option<KafkaError>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

/// Writes records with the settings of librdkafka's producer in `config`, and waits until all are acknowledged.
///
/// # Errors
/// librdkafka's.
pub fn produce(bootstrap: &str, topic: &str, config: &BTreeMap<String, String>, records: &[Record]) -> Result<()> {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", bootstrap).extend(config.clone());
    let producer: BaseProducer<Deliveries> =
        settings.create_with_context(Deliveries::default()).context("librdkafka makes no producer")?;
    for record in records {
        let mut headers = OwnedHeaders::new();
        for (key, value) in &record.headers {
            let key = std::str::from_utf8(key).context("a header key that librdkafka's binding cannot say")?;
            headers = headers.insert(Header { key, value: value.as_ref() });
        }
        let mut sending = BaseRecord::<[u8], [u8]>::to(topic).headers(headers);
        if record.partition >= 0 {
            sending = sending.partition(record.partition);
        }
        if record.timestamp_ms >= 0 {
            sending = sending.timestamp(record.timestamp_ms);
        }
        sending.key = record.key.as_deref();
        sending.payload = record.value.as_deref();
        loop {
            match producer.send(sending) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), refused)) => {
                    sending = refused;
                    producer.poll(Duration::from_millis(50));
                }
                Err((error, _)) => return Err(error).context("librdkafka does not take a record"),
            }
        }
    }
    producer.flush(PATIENCE).context("librdkafka did not deliver in time")?;
    match producer.context().failure.lock().unwrap_or_else(PoisonError::into_inner).take() {
        Some(error) => Err(error).context("librdkafka did not deliver a record"),
        None => Ok(()),
    }
}

/// Reads a whole topic, as far as committed, into a folder, which is created, in the form of [`dump`].
///
/// # Errors
/// librdkafka's, or when the folder cannot be written.
pub fn dump(bootstrap: &str, topic: &str, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "librdkafka-witness")
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true")
        .create()
        .context("librdkafka makes no consumer")?;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).context("librdkafka finds no metadata")?;
    let partitions = metadata.topics().first().map(|topic| topic.partitions()).unwrap_or_default();
    let mut files = BTreeMap::new();
    let mut assigned = TopicPartitionList::new();
    for partition in partitions.iter().map(|partition| partition.id()) {
        let path = dump::file_of(folder, partition);
        let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        files.insert(partition, BufWriter::new(file));
        assigned.add_partition_offset(topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&assigned).context("librdkafka takes no assignment")?;
    let mut open = files.len();
    let mut deadline = Instant::now() + PATIENCE;
    while open > 0 {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let record = record(&message)?;
                let file = files.get_mut(&record.partition).context("a partition that was not assigned")?;
                record.write(file).context("cannot write the dump")?;
                deadline = Instant::now() + PATIENCE;
            }
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                let mut file = files.remove(&partition).context("a partition ended twice")?;
                file.flush().context("cannot write the dump")?;
                open -= 1;
            }
            Some(Err(error)) => return Err(error).context("librdkafka cannot read"),
            None if Instant::now() > deadline => bail!("librdkafka read nothing of {topic} for {PATIENCE:?}"),
            None => {}
        }
    }
    Ok(())
}

/// The record with which a member of this group goes on that joins by the consumer protocol (KIP-848); nothing is committed.
///
/// # Errors
/// librdkafka's, or when no record comes.
pub fn next_of_consumer_group(bootstrap: &str, group: &str, topic: &str) -> Result<Record> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", group)
        .set("group.protocol", "consumer")
        .set("enable.auto.commit", "false")
        // A group whose committed offset is not found must not begin anywhere.
        .set("auto.offset.reset", "error")
        .create()
        .context("librdkafka makes no consumer")?;
    consumer.subscribe(&[topic]).context("librdkafka does not subscribe")?;
    let deadline = Instant::now() + PATIENCE;
    while Instant::now() < deadline {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => return record(&message),
            Some(Err(error)) => return Err(error).context("librdkafka cannot read"),
            None => {}
        }
    }
    bail!("group {group} read nothing of {topic} for {PATIENCE:?}")
}

fn record(message: &impl Message) -> Result<Record> {
    let (is_append_time, timestamp_ms) = match message.timestamp() {
        Timestamp::NotAvailable => (false, -1),
        Timestamp::CreateTime(ms) => (false, ms),
        Timestamp::LogAppendTime(ms) => (true, ms),
    };
    let mut headers = Vec::new();
    if let Some(list) = message.headers() {
        for index in 0..list.count() {
            let header = list.try_get(index).context("a header that was counted")?;
            headers.push((header.key.as_bytes().to_vec(), header.value.map(<[u8]>::to_vec)));
        }
    }
    Ok(Record {
        partition: message.partition(),
        offset: message.offset(),
        is_append_time,
        timestamp_ms,
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    })
}
