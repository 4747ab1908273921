//! A fetch request on its way, and its answer.

use tokio::time::Instant;

use super::Worker;
use crate::backup::queue::Task;
use crate::kafka::fetch::{FetchLimits, FetchTarget, FetchedPartition, Isolation};

/// Bytes of one response, as Kafka's own consumer asks a partition for. Two of them per worker are in memory, and what was just
/// read is still in the processor's cache when it is checked: larger ones cost more time, not less.
const FETCH_BYTES: i32 = 1 << 20;
/// How long a broker may hold an answer back when it has nothing to return.
const FETCH_WAIT_MS: i32 = 500;

/// A request on its way.
pub(super) struct Request {
    pub(super) answer: Answer,
    /// When it was sent.
    pub(super) sent: Instant,
    /// The leader epoch that each partition was asked for in; -1 for any.
    pub(super) leader_epochs: Vec<i32>,
}

/// An answer to come, which is given up with its worker.
pub(super) struct Answer(tokio::task::JoinHandle<Result<Vec<FetchedPartition>, crate::kafka::Error>>);

impl Future for Answer {
    type Output = Result<Result<Vec<FetchedPartition>, crate::kafka::Error>, tokio::task::JoinError>;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Self::Output> {
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Worker {
    /// Sends a fetch request; it is on its way before its answer is waited for. For topics that may be compacted, the request names the
    /// leader epoch from the metadata (KIP-320), so that no other leader answers, unless that has proved wrong.
    pub(super) fn ask(&self, broker: i32, tasks: &[Task], is_alone: bool) -> Request {
        let max_wait_ms = self.max_wait_ms(is_alone);
        let limits = FetchLimits { max_bytes: FETCH_BYTES, min_bytes: 1, max_wait_ms, isolation: Isolation::Committed };
        let target = |task: &Task| {
            let names_epoch = task.cleaning.is_possible() && task.names_epoch;
            let leader = || self.shared.cluster.leader(&task.topic.name, task.partition).ok();
            let leader = names_epoch.then(leader).flatten();
            FetchTarget { leader_epoch: leader.map_or(-1, |leader| leader.epoch), ..task.target(FETCH_BYTES) }
        };
        let targets: Vec<FetchTarget> = tasks.iter().map(target).collect();
        let leader_epochs = targets.iter().map(|target| target.leader_epoch).collect();
        let (cluster, lane) = (self.shared.cluster.clone(), self.lane);
        let answer = Answer(tokio::spawn(async move {
            if targets.is_empty() { Ok(Vec::new()) } else { cluster.fetch(broker, lane, &targets, limits).await }
        }));
        Request { answer, sent: Instant::now(), leader_epochs }
    }

    /// How long a broker may hold an answer back, in milliseconds.
    pub(super) fn max_wait_ms(&self, is_alone: bool) -> i32 {
        match is_alone {
            true => i32::try_from(self.shared.patience.alone_wait.as_millis()).unwrap_or(FETCH_WAIT_MS),
            false => FETCH_WAIT_MS,
        }
    }
}
