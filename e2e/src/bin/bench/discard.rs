//! The bare limit: a topic is fetched as a backup fetches it, and thrown away.
//!
//! What a backup takes beyond this is its own work, checksums and frames, and what storing them costs. To tell the two apart,
//! the same backup is also run into a storage that costs nothing.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use kafka_backup::backup;
use kafka_backup::breaker::Breaker;
use kafka_backup::config::backup::BackupConfig;
use kafka_backup::config::cluster::ClusterConfig;
use kafka_backup::format::batch::{Batch, Error};
use kafka_backup::kafka::fetch::{FetchLimits, FetchTarget, Isolation};
use kafka_backup::kafka::list_offsets::{ListedOffset, Position};
use kafka_backup::kafka::{Cluster, TopicPartition};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use kafka_backup::store::Store;
use serde_json::json;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

/// The hidden subcommand that runs [`fetch_and_discard`].
pub const FETCH: &str = "fetch-and-discard";
/// The hidden subcommand that runs [`backup_and_discard`].
pub const BACKUP: &str = "backup-and-discard";

/// A storage that costs nothing but the copy: memory that looks like a folder.
pub const FREE_STORAGE: &str = "/dev/shm";

/// Bytes of one response, as a backup asks for.
const FETCH_BYTES: i32 = 1 << 20;

type Listed = BTreeMap<TopicPartition, Result<ListedOffset, kafka_backup::kafka::Error>>;

/// Fetches a topic of a cluster with one broker up to its end, over `parallelism` connections; how many offsets it was.
pub fn fetch_and_discard(bootstrap: &str, topic: &str, parallelism: usize) -> Result<u64> {
    Runtime::new().context("no async runtime")?.block_on(async {
        let config = ClusterConfig::plaintext(vec![bootstrap.to_owned()]);
        let cluster = Cluster::connect(&config, Breaker::disabled()).await?;
        let metadata = cluster.metadata(Some(&[topic.to_owned()])).await?;
        let partitions = &metadata.topics.get(topic).context("the topic is not there")?.partitions;
        let keys = || partitions.iter().map(|partition| (topic.to_owned(), partition.partition));
        let mut starts = cluster.list_offsets(keys(), Position::Earliest).await;
        let mut ends = cluster.list_offsets(keys(), Position::LastStable).await;
        let mut lanes: Vec<Vec<Left>> = vec![Vec::new(); parallelism];
        let mut offsets = 0;
        for (number, key) in keys().enumerate() {
            let (start, end) = (offset(&mut starts, &key)?, offset(&mut ends, &key)?);
            offsets += end.abs_diff(start);
            if start < end {
                let target = FetchTarget {
                    topic: topic.to_owned(),
                    topic_id: cluster.topic_id(topic),
                    partition: key.1,
                    leader_epoch: -1,
                    offset: start,
                    max_bytes: FETCH_BYTES,
                };
                lanes[number % parallelism].push(Left { target, end });
            }
        }
        let mut running = JoinSet::new();
        for (lane, left) in lanes.into_iter().enumerate() {
            running.spawn(read(cluster.clone(), lane, left));
        }
        while let Some(ended) = running.join_next().await {
            ended.context("a lane ended without a word")??;
        }
        Ok(offsets)
    })
}

/// Backs a topic up as the command line does, into a store that throws segments away; how many records it was.
pub fn backup_and_discard(bootstrap: &str, topic: &str, parallelism: usize) -> Result<u64> {
    // Documents are kept, in memory where that can be had: to sync them to a disk is not what is measured here.
    let memory = Path::new(FREE_STORAGE);
    let folder = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
    let folder = folder.context("no temporary folder")?;
    let config: BackupConfig = serde_json::from_value(json!({
        "cluster": { "bootstrapServers": [bootstrap] },
        "storage": format!("file://{}", folder.path().display()),
        "archive": "bench",
        "topics": [topic],
        "consumerGroups": [],
        "compression": "none",
        "parallelism": parallelism,
    }))?;
    Runtime::new().context("no async runtime")?.block_on(async {
        let store = Store::open(&config.storage).await?.discarding_uploads();
        let report = backup::run_into(store, &config.check()?, &Progress::default(), &Stop::default()).await?;
        Ok(report.records)
    })
}

fn offset(listed: &mut Listed, key: &TopicPartition) -> Result<i64> {
    Ok(listed.remove(key).context("an offset was not listed")??.offset)
}

/// A partition that is read up to `end`, exclusive.
#[derive(Clone)]
struct Left {
    target: FetchTarget,
    end: i64,
}

async fn read(cluster: Cluster, lane: usize, mut left: Vec<Left>) -> Result<()> {
    let brokers = cluster.brokers();
    let [broker] = brokers.as_slice() else { bail!("{} brokers, where one was expected", brokers.len()) };
    let limits =
        FetchLimits { max_bytes: FETCH_BYTES, min_bytes: 1, max_wait_ms: 500, isolation: Isolation::Committed };
    while !left.is_empty() {
        let targets: Vec<FetchTarget> = left.iter().map(|left| left.target.clone()).collect();
        let answers = cluster.fetch(broker.id, lane, &targets, limits).await?;
        for (left, answered) in left.iter_mut().zip(answers) {
            left.target.offset = next_offset(left.target.offset, &answered.outcome?.records)?;
        }
        left.retain(|left| left.target.offset < left.end);
    }
    Ok(())
}

/// Where reading goes on after these batches, of which the last may be cut short.
fn next_offset(mut offset: i64, mut records: &[u8]) -> Result<i64> {
    while !records.is_empty() {
        let batch = match Batch::parse(records) {
            Ok(batch) => batch,
            Err(Error::Truncated { .. }) => break,
            Err(error) => return Err(error.into()),
        };
        ensure!(batch.next_offset() > offset, "the broker returned a batch before offset {offset}");
        offset = batch.next_offset();
        records = &records[batch.bytes().len()..];
    }
    Ok(offset)
}
