//! rskafka, a client in pure Rust: a third opinion, for what it can express.
//!
//! It keeps headers in a map, so a record may have no header key twice, no null header value and only text as keys; and
//! it hands out the records of aborted transactions. Topics with such things are not for it.

use std::collections::BTreeMap;
use std::path::Path;

use ::rskafka::chrono::DateTime;
use ::rskafka::client::partition::{Compression, OffsetAt, PartitionClient, UnknownTopicHandling};
use ::rskafka::client::{Client, ClientBuilder};
use ::rskafka::record;
use anyhow::{Context, Result, bail, ensure};

use crate::dump::{self, Record};

/// Writes records, each partition's in one batch.
///
/// # Errors
/// rskafka's, or when it cannot say a record.
pub fn produce(bootstrap: &str, topic: &str, compression: Compression, records: &[Record]) -> Result<()> {
    let mut batches: BTreeMap<i32, Vec<record::Record>> = BTreeMap::new();
    for record in records {
        batches.entry(record.partition).or_default().push(to_rskafka(record)?);
    }
    block_on(async {
        let client = connect(bootstrap).await?;
        for (partition, batch) in batches {
            partition_client(&client, topic, partition).await?.produce(batch, compression).await?;
        }
        Ok(())
    })
}

/// Reads a whole topic into a folder, which is created, in the form of [`dump`].
///
/// # Errors
/// rskafka's, or when the folder cannot be written.
pub fn dump(bootstrap: &str, topic: &str, folder: &Path) -> Result<()> {
    const FETCH_BYTES_MAX: i32 = 8 << 20;
    std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    block_on(async {
        let client = connect(bootstrap).await?;
        let topics = client.list_topics().await?;
        let found = topics.iter().find(|found| found.name == topic).with_context(|| format!("no topic {topic}"))?;
        for partition in found.partitions.iter().copied() {
            let client = partition_client(&client, topic, partition).await?;
            let (mut offset, end_offset) =
                (client.get_offset(OffsetAt::Earliest).await?, client.get_offset(OffsetAt::Latest).await?);
            let mut records = Vec::new();
            while offset < end_offset {
                let (fetched, _) = client.fetch_records(offset, 1..FETCH_BYTES_MAX, 500).await?;
                let Some(last) = fetched.last() else { bail!("rskafka reads nothing at {topic}-{partition}@{offset}") };
                offset = last.offset + 1;
                records.extend(fetched.into_iter().map(|fetched| from_rskafka(partition, fetched)));
            }
            dump::write_file(&dump::file_of(folder, partition), &records)?;
        }
        Ok(())
    })
}

fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("no runtime")?.block_on(work)
}

async fn connect(bootstrap: &str) -> Result<Client> {
    let servers = bootstrap.split(',').map(str::to_owned).collect();
    ClientBuilder::new(servers).build().await.context("rskafka cannot connect")
}

async fn partition_client(client: &Client, topic: &str, partition: i32) -> Result<PartitionClient> {
    client
        .partition_client(topic, partition, UnknownTopicHandling::Retry)
        .await
        .with_context(|| format!("rskafka does not find {topic}-{partition}"))
}

fn to_rskafka(record: &Record) -> Result<record::Record> {
    let mut headers = BTreeMap::new();
    for (key, value) in &record.headers {
        let key = String::from_utf8(key.clone()).context("a header key that rskafka cannot say")?;
        let value = value.clone().context("a null header value, which rskafka cannot say")?;
        ensure!(headers.insert(key, value).is_none(), "a header key twice, which rskafka cannot say");
    }
    let timestamp = DateTime::from_timestamp_millis(record.timestamp_ms).context("a timestamp beyond a calendar")?;
    Ok(record::Record { key: record.key.clone(), value: record.value.clone(), headers, timestamp })
}

fn from_rskafka(partition: i32, fetched: record::RecordAndOffset) -> Record {
    let record::RecordAndOffset { record, offset } = fetched;
    Record {
        partition,
        offset,
        // It does not tell.
        is_append_time: false,
        timestamp_ms: record.timestamp.timestamp_millis(),
        key: record.key,
        value: record.value,
        headers: record.headers.into_iter().map(|(key, value)| (key.into_bytes(), Some(value))).collect(),
    }
}
