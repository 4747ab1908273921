//! Does to the cluster what the plan says.

use std::fs;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use kafka_backup::clock::now_ms;

use super::events::{Events, What};
use super::oracle;
use super::plan::{Action, TopicPlan};
use super::random::Random;
use crate::kafka::Kafka;
use crate::witness::{At, OracleReader, Position, Witness};

/// The cluster and who has to be told.
#[derive(Debug)]
pub struct Cluster<'a> {
    /// The brokers.
    pub kafka: &'a Kafka,
    /// A client that may do everything.
    pub witness: &'a Witness,
    /// It must not take a topic for the one before.
    pub oracle: &'a OracleReader,
    /// What it has seen so far.
    pub oracle_file: &'a Path,
    /// The topics.
    pub topics: &'a [TopicPlan],
    /// What was done.
    pub events: &'a Events,
}

impl Cluster<'_> {
    /// Creates all topics.
    ///
    /// # Errors
    /// Kafka's.
    pub fn create_topics(&self) -> Result<()> {
        let begin_ms = now_ms();
        let new: Vec<_> = self.topics.iter().map(TopicPlan::new_topic).collect();
        self.witness.create_topics(&new)?;
        self.topics.iter().try_for_each(|topic| self.created(begin_ms, topic))
    }

    fn created(&self, begin_ms: i64, topic: &TopicPlan) -> Result<()> {
        let id = self.witness.describe_topic(&topic.name)?.id;
        let (topic, partitions) = (topic.name.clone(), topic.partitions);
        self.events.add(begin_ms, What::Created { topic, id, partitions });
        Ok(())
    }

    /// Does one action; what cannot be done now is an event, and no error.
    pub fn act(&self, action: &Action, random: &mut Random) {
        let begin_ms = now_ms();
        if let Err(error) = self.try_to_act(action, random) {
            self.events.failed(begin_ms, &format!("{action:?}"), &error);
        }
    }

    fn try_to_act(&self, action: &Action, random: &mut Random) -> Result<()> {
        match action {
            Action::DeleteRecords { topic, percent } => self.delete_records(topic, *percent),
            Action::AddPartition { topic } => self.add_partition(topic),
            Action::Recreate { topic, pause } => self.recreate(topic, *pause),
            Action::MoveLeaders { topic } => self.move_leaders(topic, random),
            Action::RestartBroker { node, is_killed } => self.restart(*node, *is_killed),
            Action::UncleanElection { topic } => self.elect_unclean(topic),
        }
    }

    fn delete_records(&self, topic: &str, percent: u64) -> Result<()> {
        let begin_ms = now_ms();
        let (starts, ends) = (self.witness.offsets(topic, At::Earliest)?, self.witness.offsets(topic, At::Latest)?);
        let percent = i64::try_from(percent).unwrap_or(100);
        let positions: Vec<Position> = (0..)
            .zip(starts.iter().zip(&ends))
            .map(|(partition, (start, end))| Position::new(topic, partition, start + (end - start) * percent / 100))
            .collect();
        self.witness.delete_records(&positions)?;
        for Position { topic, partition, offset: before } in positions {
            self.events.add(begin_ms, What::RecordsDeleted { topic, partition, before });
        }
        Ok(())
    }

    fn add_partition(&self, topic: &str) -> Result<()> {
        /// More would only make the run slower.
        const PARTITIONS_MAX: i32 = 6;
        let begin_ms = now_ms();
        let total = i32::try_from(self.witness.describe_topic(topic)?.partitions.len())? + 1;
        if total <= PARTITIONS_MAX {
            self.witness.create_partitions(topic, total)?;
            self.events.add(begin_ms, What::PartitionsAdded { topic: topic.to_owned(), total });
        }
        Ok(())
    }

    fn recreate(&self, topic: &str, pause: Duration) -> Result<()> {
        let plan = self.topics.iter().find(|plan| plan.name == topic).context("no such topic")?;
        // An earlier attempt may have failed half way.
        if let Ok(described) = self.witness.describe_topic(topic) {
            self.oracle.forget(topic, &described.id)?;
            let begin_ms = now_ms();
            let deleted = self.witness.delete_topics(&[topic]);
            // Also if nobody answered: it may be gone.
            self.events.add(begin_ms, What::Deleted { topic: topic.to_owned(), id: described.id });
            deleted?;
            sleep(pause);
        }
        let begin_ms = now_ms();
        self.witness.create_topics(&[plan.new_topic()])?;
        self.created(begin_ms, plan)
    }

    fn move_leaders(&self, topic: &str, random: &mut Random) -> Result<()> {
        for partition in self.witness.describe_topic(topic)?.partitions {
            let others: Vec<i32> = partition.in_sync.iter().copied().filter(|node| *node != partition.leader).collect();
            let Some(node) = random.pick(&others).and_then(|node| u16::try_from(*node).ok()) else { continue };
            let begin_ms = now_ms();
            self.witness.move_leader(topic, partition.partition, node)?;
            let (topic, partition) = (topic.to_owned(), partition.partition);
            self.events.add(begin_ms, What::LeaderMoved { topic, partition, node });
        }
        Ok(())
    }

    fn restart(&self, node: u16, is_killed: bool) -> Result<()> {
        let begin_ms = now_ms();
        if is_killed {
            self.kafka.kill_node(node)?
        } else {
            self.kafka.stop_node(node)?
        }
        self.kafka.start_node(node)?;
        self.events.add(begin_ms, What::BrokerRestarted { node, is_killed });
        self.wait_until_in_sync();
        Ok(())
    }

    /// Kills the follower, waits for records that only the leader has, kills the leader too, and starts the follower first:
    /// it leads without them. While both are away the controllers have no quorum.
    fn elect_unclean(&self, topic: &str) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(60);
        self.wait_until_in_sync();
        let described = self.witness.describe_topic(topic)?;
        let partition = described.partitions.first().context("no partition")?;
        let leader = u16::try_from(partition.leader)?;
        let others = partition.replicas.iter().filter_map(|node| u16::try_from(*node).ok());
        let follower = others.clone().find(|node| *node != leader).context("no follower")?;
        let begin_ms = now_ms();
        self.kafka.kill_node(follower)?;
        let outcome = (|| {
            let begin = Instant::now();
            let end = || self.witness.offsets(topic, At::Latest).map(|ends| ends.first().copied().unwrap_or(0));
            let is_alone = || {
                let partition = self.witness.describe_topic(topic).ok()?.partitions.first()?.clone();
                Some(partition.in_sync == [i32::from(leader)])
            };
            while is_alone() != Some(true) {
                ensure!(begin.elapsed() < PATIENCE, "the follower stays in sync although it is gone");
                sleep(Duration::from_millis(100));
            }
            let from_byte = fs::metadata(self.oracle_file)?.len();
            let before = end()?;
            while end()? < before + 20 {
                ensure!(begin.elapsed() < PATIENCE, "nobody writes to the leader");
                sleep(Duration::from_millis(100));
            }
            // Only what it has read before can the oracle see truncated. A backup may read what is going to be lost, too.
            while begin.elapsed() < PATIENCE
                && !oracle::has_read(self.oracle_file, from_byte, topic, partition.partition, before)?
            {
                sleep(Duration::from_millis(200));
            }
            self.kafka.kill_node(leader)
        })();
        // Whatever went wrong, the brokers come back.
        let started = self.kafka.start_node(follower);
        let elected = outcome.and(started).and_then(|()| {
            self.witness.elect_unclean(topic, partition.partition)?;
            self.wait_for_leader(topic, follower)
        });
        let back = if self.kafka.process_id(leader).is_none() { self.kafka.start_node(leader) } else { Ok(()) };
        self.wait_until_in_sync();
        let what = What::UncleanElection { topic: topic.to_owned(), is_elected: elected.is_ok() };
        self.events.add(begin_ms, what);
        elected.and(back)
    }

    /// Waits until this node leads the first partition. The old leader would lead on if it came back before it is missed.
    fn wait_for_leader(&self, topic: &str, node: u16) -> Result<()> {
        const PATIENCE: Duration = Duration::from_secs(60);
        let begin = Instant::now();
        let leads = || {
            let described = self.witness.describe_topic(topic).ok()?;
            Some(described.partitions.first()?.leader == i32::from(node))
        };
        while leads() != Some(true) {
            ensure!(begin.elapsed() < PATIENCE, "node {node} is not elected");
            sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Waits, for a while, until all replicas have caught up: another action would end one too many.
    fn wait_until_in_sync(&self) {
        const PATIENCE: Duration = Duration::from_secs(30);
        let begin = Instant::now();
        let is_whole = |topic: &TopicPlan| {
            self.witness.describe_topic(&topic.name).is_ok_and(|described| {
                described.partitions.iter().all(|partition| partition.in_sync.len() == partition.replicas.len())
            })
        };
        // One topic of many stands for all, roughly; the one that an election is about is looked at too.
        while begin.elapsed() < PATIENCE && !self.topics.iter().filter(|topic| topic.name.ends_with("-0")).all(is_whole)
        {
            sleep(Duration::from_millis(200));
        }
    }
}
