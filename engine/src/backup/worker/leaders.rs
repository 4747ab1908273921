//! Partitions whose leader cannot be read from: who leads them now, and what becomes of those that nobody leads.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use super::Worker;
use crate::backup::judgement::is_hopeless;
use crate::backup::queue::{NO_BROKER, PartitionKey, Task};
use crate::backup::{Error, findings};
use crate::error::Kind;
use crate::format::hole::HoleReason;
use crate::kafka::Cluster;
use crate::kafka::retry::Budget;

/// A topic that nobody knows for so long was deleted; for a moment a broker may not know a topic that is there.
const UNKNOWN_TOPIC_MEANS_DELETED: Duration = Duration::from_secs(10);

/// The broker that leads a task's partition, as far as that is known.
pub fn broker_of(cluster: &Cluster, task: &Task) -> i32 {
    cluster.leader(&task.topic.name, task.partition).map_or(NO_BROKER, |leader| leader.broker)
}

impl Worker {
    /// A broker did not answer for as long as the retry timeout, and still leads these partitions. Somebody else may lead them soon:
    /// they are tried once more, and then given up. The others are read.
    pub(super) fn unanswered(
        &self,
        broker: i32,
        tasks: Vec<Task>,
        error: &crate::kafka::Error,
        now: Instant,
    ) -> Vec<Task> {
        let tried = tasks.into_iter().map(|task| task.unanswered(broker, error.clone(), now));
        // Two brokers that hang may hand the leadership to each other.
        let is_hopeless = |task: &Task| task.is_never_answered() || is_hopeless(task, self.shared.retry_timeout, now);
        let (hopeless, back): (Vec<_>, Vec<_>) = tried.partition(is_hopeless);
        for task in hopeless {
            self.give_up(&task, Error::leaderless(&task, self.leader_error(&task)));
        }
        back
    }

    /// Finds out who leads the partitions now, and queues them there. A topic that is gone, or is another one of the same name,
    /// is lost; a partition without a leader for as long as the retry timeout is given up.
    pub(super) async fn find_leaders(&mut self, mut back: Vec<Task>) -> Result<(), Error> {
        let mut unknown_since: BTreeMap<PartitionKey, Instant> = BTreeMap::new();
        // The time begins with the search: how long this worker has had nothing to read says nothing about the cluster.
        let mut budget = Budget::new(self.shared.retry_timeout, std::time::Instant::now(), self.lane as u64);
        while !back.is_empty() && !self.shared.stop.is_set() {
            let refreshed = self.shared.cluster.refresh().await;
            let mut suspected = Vec::new();
            for task in self.queue_led(std::mem::take(&mut back)).await? {
                let key = findings::key(&task);
                let is_suspected = match (self.is_replaced(&task), self.is_unknown(&task)) {
                    (true, _) => true,
                    (false, true) => {
                        let since = unknown_since.entry(key).or_insert_with(Instant::now);
                        since.elapsed() > UNKNOWN_TOPIC_MEANS_DELETED
                    }
                    (false, false) => {
                        unknown_since.remove(&key);
                        false
                    }
                };
                if is_suspected { suspected.push(task) } else { back.push(task) }
            }
            back.extend(self.lose_gone(suspected).await?);
            if back.is_empty() {
                break;
            }
            match budget.pause(std::time::Instant::now()) {
                Some(pause) => tokio::time::sleep(pause).await,
                None => {
                    // Where nobody answers at all, the cluster is away, and the next run reads on.
                    refreshed?;
                    for task in std::mem::take(&mut back) {
                        let why = self.leader_error(&task);
                        self.give_up(&task, Error::leaderless(&task, why));
                    }
                }
            }
        }
        Ok(())
    }

    /// Queues those of the tasks first that have a leader, and returns the others.
    pub(super) async fn queue_led(&mut self, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
        let mut others = Vec::new();
        for task in tasks {
            match self.shared.cluster.leader(&task.topic.name, task.partition) {
                _ if self.findings().is_given_up(&task.topic, task.partition) => {}
                _ if self.is_replaced(&task) => others.push(task),
                Ok(leader) => self.queue().push_first(leader.broker, task),
                Err(_) => others.push(task),
            }
        }
        Ok(others)
    }

    /// Loses the tasks of topics that are gone, as most of several brokers say, and returns the others.
    async fn lose_gone(&mut self, tasks: Vec<Task>) -> Result<Vec<Task>, Error> {
        let topics = tasks.iter().map(|task| (task.topic.name.clone(), task.topic.id)).collect();
        let gone = self.shared.cluster.gone(&topics).await;
        let (gone, others): (Vec<Task>, Vec<Task>) =
            tasks.into_iter().partition(|task| gone.contains(&task.topic.name));
        for task in gone {
            self.lose(&task).await?;
        }
        Ok(others)
    }

    /// The topic is gone, and with it what was not read yet.
    async fn lose(&mut self, task: &Task) -> Result<(), Error> {
        // Before Kafka 3.1 a topic is read by its name: what was read last may be of the one that was created in its place.
        if self.is_replaced(task) && self.shared.cluster.fetches_by_name() {
            self.give_up(task, Error::truncated(task, task.stretch.next_offset));
            return Ok(());
        }
        let (topic, partition) = (&task.topic.name, task.partition);
        let (start_offset, end_offset) = (task.stretch.next_offset, task.stretch.end_offset);
        tracing::warn!(topic, partition, start_offset, end_offset, "the topic was deleted before it was read");
        self.findings().topic_is_gone(findings::key(task));
        self.findings().times.caught_up(&findings::key(task), Instant::now());
        if task.stretch.is_done() {
            let says = "the topic was deleted before its reader had caught up with the log";
            self.findings().fell_behind(findings::key(task), says);
        }
        self.hole(task, end_offset, HoleReason::Deleted).await
    }

    /// What the cluster says about the leader of a task's partition; else why its last requests failed.
    pub(super) fn leader_error(&self, task: &Task) -> Option<crate::kafka::Error> {
        let of_leader = self.shared.cluster.leader(&task.topic.name, task.partition).err();
        of_leader.or_else(|| task.trouble.as_ref().map(|trouble| trouble.last.clone()))
    }

    /// Whether the broker that was asked last does not know the topic, or the partition.
    fn is_unknown(&self, task: &Task) -> bool {
        let leader = self.shared.cluster.leader(&task.topic.name, task.partition);
        leader.is_err_and(|error| error.kind() == Kind::Usage)
    }

    /// Whether the topic's name belongs to another topic now (KIP-516).
    pub(super) fn is_replaced(&self, task: &Task) -> bool {
        let id = self.shared.cluster.topic_id(&task.topic.name);
        !id.is_nil() && !task.topic.id.is_nil() && id != task.topic.id
    }
}
