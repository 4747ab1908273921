//! What is set in motion, and what happens when: all of it follows from the seed.

use std::time::Duration;

use super::random::Random;
use crate::witness::NewTopic;

/// All topics that are backed up have names with this prefix.
pub const PREFIX: &str = "src-";
/// The group of the exactly-once application.
pub const APPLICATION: &str = "motion-copier";
/// Everything is written to by then.
const FIRST_AT: Duration = Duration::from_secs(5);
const FIRST_EVERY: Duration = Duration::from_secs(1);

/// What a topic is for, which decides its settings, who writes to it, and what may happen to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Written without transactions; nothing happens to it.
    Plain,
    /// Written in transactions, some of which are aborted.
    Transactional,
    /// Compacted, written without transactions.
    Compacted,
    /// Compacted, written in transactions, some of which are aborted.
    CompactedTransactional,
    /// Compacted, and its old segments are deleted too.
    CompactedExpiring,
    /// Its records are deleted after seconds.
    Expiring,
    /// DeleteRecords moves its log start.
    Trimmed,
    /// Partitions are added to it.
    Growing,
    /// It is deleted and created again.
    Recreated,
    /// Two replicas, one of which is enough: it loses records in an unclean election.
    Unclean,
    /// Compacted, and loses records in an unclean election too.
    UncleanCompacted,
    /// What the exactly-once application reads.
    Input,
    /// What the exactly-once application writes.
    Output,
}

impl Kind {
    /// How often each kind is there in sixty topics.
    const SHARES: [(Self, usize); 13] = [
        (Self::Plain, 10),
        (Self::Transactional, 10),
        (Self::Compacted, 5),
        (Self::CompactedTransactional, 6),
        (Self::CompactedExpiring, 3),
        (Self::Expiring, 6),
        (Self::Trimmed, 6),
        (Self::Growing, 4),
        (Self::Recreated, 5),
        (Self::Unclean, 2),
        (Self::UncleanCompacted, 1),
        (Self::Input, 1),
        (Self::Output, 1),
    ];

    /// Whether the log cleaner takes records out of it.
    pub const fn is_compacted(self) -> bool {
        matches!(
            self,
            Self::Compacted | Self::CompactedTransactional | Self::CompactedExpiring | Self::UncleanCompacted
        )
    }

    /// Whether a replica that is not in sync may come to lead it, so that its log is truncated.
    ///
    /// No such topic is written to in transactions. An election may take the marker of a transaction and leave its records. The next
    /// marker of the same producer then decides about them, so that an aborted record may be committed, and the last stable offset may
    /// stay where it is for ever. Neither is a fault of a backup.
    pub const fn elects_unclean(self) -> bool {
        matches!(self, Self::Unclean | Self::UncleanCompacted)
    }

    /// Whether anybody writes to it in transactions.
    pub const fn has_transactions(self) -> bool {
        matches!(self, Self::Transactional | Self::CompactedTransactional | Self::Output)
    }

    /// Whether retention or DeleteRecords move its log start.
    pub const fn log_start_moves(self) -> bool {
        matches!(self, Self::Expiring | Self::CompactedExpiring | Self::Trimmed)
    }

    /// Whether the load writes to it, and not the application.
    pub const fn is_written_by_load(self) -> bool {
        !matches!(self, Self::Output)
    }

    const fn stem(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Transactional => "tx",
            Self::Compacted => "compacted",
            Self::CompactedTransactional => "compacted-tx",
            Self::CompactedExpiring => "compacted-expiring",
            Self::Expiring => "expiring",
            Self::Trimmed => "trimmed",
            Self::Growing => "growing",
            Self::Recreated => "recreated",
            Self::Unclean => "unclean",
            Self::UncleanCompacted => "unclean-compacted",
            Self::Input => "input",
            Self::Output => "output",
        }
    }

    /// The kind of the topic of this name.
    pub fn of(topic: &str) -> Option<Self> {
        let stem = topic.strip_prefix(PREFIX)?.rsplit_once('-')?.0;
        Self::SHARES.into_iter().map(|(kind, _)| kind).find(|kind| kind.stem() == stem)
    }
}

/// A topic that is backed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicPlan {
    /// Its name, by which [`Kind::of`] knows its kind.
    pub name: String,
    /// What it is for.
    pub kind: Kind,
    /// Partitions at first.
    pub partitions: i32,
    /// How long a tombstone stays, in milliseconds.
    pub delete_retention_ms: u64,
}

impl TopicPlan {
    /// How it is created.
    pub fn new_topic(&self) -> NewTopic {
        let topic = NewTopic::new(&self.name, self.partitions);
        match self.kind {
            Kind::Plain | Kind::Growing | Kind::Recreated | Kind::Transactional | Kind::Trimmed => topic,
            Kind::Input | Kind::Output => topic,
            Kind::Compacted | Kind::CompactedTransactional => self.compacted(topic).with("cleanup.policy", "compact"),
            Kind::CompactedExpiring => {
                self.compacted(topic).with("cleanup.policy", "compact,delete").with("retention.ms", 15_000)
            }
            Kind::Expiring => topic.with("retention.ms", 4_000).with("segment.ms", 1_000),
            Kind::Unclean => unclean(topic),
            Kind::UncleanCompacted => unclean(self.compacted(topic).with("cleanup.policy", "compact")),
        }
    }

    fn compacted(&self, topic: NewTopic) -> NewTopic {
        topic
            .with("min.cleanable.dirty.ratio", "0.01")
            .with("segment.ms", 1_500)
            .with("delete.retention.ms", self.delete_retention_ms)
    }
}

fn unclean(topic: NewTopic) -> NewTopic {
    let topic = topic.with("unclean.leader.election.enable", "true").with("min.insync.replicas", 1);
    NewTopic { replication_factor: Some(2), ..topic }
}

/// Something that happens to topics or brokers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// The log start of every partition moves to this part of the log, in percent.
    DeleteRecords {
        /// The topic.
        topic: String,
        /// How much of the log goes, in percent.
        percent: u64,
    },
    /// A partition is added.
    AddPartition {
        /// The topic.
        topic: String,
    },
    /// The topic is deleted and, after a while, created again.
    Recreate {
        /// The topic.
        topic: String,
        /// How long it is not there.
        pause: Duration,
    },
    /// Partitions of a topic get another leader by a reassignment and a preferred election.
    MoveLeaders {
        /// The topic.
        topic: String,
    },
    /// A broker ends, and starts again.
    RestartBroker {
        /// Its node id.
        node: u16,
        /// Whether it ends by SIGKILL.
        is_killed: bool,
    },
    /// A topic loses records: an unclean election.
    UncleanElection {
        /// The topic.
        topic: String,
    },
}

impl Action {
    /// Whether it needs all brokers, or takes one away: such actions come one after the other.
    pub const fn concerns_brokers(&self) -> bool {
        match self {
            Self::MoveLeaders { .. } | Self::RestartBroker { .. } | Self::UncleanElection { .. } => true,
            Self::DeleteRecords { .. } | Self::AddPartition { .. } | Self::Recreate { .. } => false,
        }
    }
}

/// A whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The topics.
    pub topics: Vec<TopicPlan>,
    /// What happens to them, each with its time since the beginning, the earliest first.
    pub actions: Vec<(Duration, Action)>,
}

impl Plan {
    /// What the seed says for so many topics and so long a time.
    pub fn new(seed: &Random, topics: usize, length: Duration) -> Self {
        let topics = topics_of(&mut seed.fork("topics"), topics);
        let mut actions = on_topics(&mut seed.fork("on topics"), &topics, length);
        actions.extend(on_brokers(&mut seed.fork("on brokers"), &topics, length));
        actions.sort_by_key(|(at, _)| *at);
        Self { topics, actions }
    }

    /// The names of all topics of a kind that passes.
    pub fn names(&self, passes: impl Fn(Kind) -> bool) -> Vec<String> {
        self.topics.iter().filter(|topic| passes(topic.kind)).map(|topic| topic.name.clone()).collect()
    }
}

fn topics_of(random: &mut Random, count: usize) -> Vec<TopicPlan> {
    let all: usize = Kind::SHARES.iter().map(|(_, share)| share).sum();
    let mut topics = Vec::new();
    for (kind, share) in Kind::SHARES {
        let is_single = matches!(kind, Kind::Input | Kind::Output);
        let of_kind = if is_single { 1 } else { (share * count / all).max(1) };
        for number in 0..of_kind {
            let partitions = if kind.elects_unclean() { 1 } else { random.between(1, 4) };
            topics.push(TopicPlan {
                name: format!("{PREFIX}{}-{number}", kind.stem()),
                kind,
                partitions: i32::try_from(partitions).unwrap_or(1),
                delete_retention_ms: random.between(2_000, 6_000),
            });
        }
    }
    topics
}

fn named(topics: &[TopicPlan], passes: impl Fn(Kind) -> bool) -> Vec<String> {
    topics.iter().filter(|topic| passes(topic.kind)).map(|topic| topic.name.clone()).collect()
}

/// When the first action of each sort begins. That is before any broker is away, so that nothing keeps it from being done.
fn first_times() -> impl Iterator<Item = Duration> {
    (0..).map(|number| FIRST_AT + FIRST_EVERY * number)
}

fn on_topics(random: &mut Random, topics: &[TopicPlan], length: Duration) -> Vec<(Duration, Action)> {
    let trimmed = named(topics, |kind| kind == Kind::Trimmed);
    let growing = named(topics, |kind| kind == Kind::Growing);
    let recreated = named(topics, |kind| kind == Kind::Recreated);
    let first_of = |names: &[String]| names.first().cloned();
    let first = [
        first_of(&trimmed).map(|topic| Action::DeleteRecords { topic, percent: 50 }),
        first_of(&growing).map(|topic| Action::AddPartition { topic }),
        first_of(&recreated).map(|topic| Action::Recreate { topic, pause: FIRST_EVERY }),
    ];
    let mut actions: Vec<(Duration, Action)> =
        first_times().zip(first.into_iter().flatten()).take_while(|(at, _)| *at < length).collect();
    let mut at = Duration::from_millis(random.between(9_000, 12_000));
    while at < length {
        let action = match random.between(0, 10) {
            0..5 => random
                .pick(&trimmed)
                .map(|topic| Action::DeleteRecords { topic: topic.clone(), percent: random.between(30, 101) }),
            5 => random.pick(&growing).map(|topic| Action::AddPartition { topic: topic.clone() }),
            _ => random.pick(&recreated).map(|topic| Action::Recreate {
                topic: topic.clone(),
                pause: Duration::from_millis(random.between(0, 4_000)),
            }),
        };
        actions.extend(action.map(|action| (at, action)));
        at += Duration::from_millis(random.between(700, 4_000));
    }
    actions
}

/// One restart and one unclean election in a short run, and every few minutes in a long one. The first election is about a topic that
/// is not compacted, of which the checker knows more. Later ones take turns among the kinds.
fn on_brokers(random: &mut Random, topics: &[TopicPlan], length: Duration) -> Vec<(Duration, Action)> {
    const PERIOD: Duration = Duration::from_secs(240);
    let unclean = [Kind::Unclean, Kind::UncleanCompacted].map(|kind| named(topics, |found| found == kind));
    let movable = named(topics, |kind| kind != Kind::Recreated);
    let of_first = movable.first().map(|topic| Action::MoveLeaders { topic: topic.clone() });
    let mut actions: Vec<(Duration, Action)> = first_times().zip(of_first).take_while(|(at, _)| *at < length).collect();
    let (mut begin, mut turns) = (Duration::ZERO, unclean.iter().cycle());
    while begin < length {
        let period = PERIOD.min(length - begin);
        let restart = Action::RestartBroker {
            node: u16::try_from(random.between(1, 4)).unwrap_or(1),
            is_killed: random.chance(50),
        };
        actions.push((begin + period.mul_f64(0.25), restart));
        if let Some(topic) = turns.next().and_then(|topics| random.pick(topics)) {
            actions.push((begin + period.mul_f64(0.55), Action::UncleanElection { topic: topic.clone() }));
        }
        begin += PERIOD;
    }
    let mut at = Duration::from_millis(random.between(8_000, 10_000));
    while at < length {
        actions.extend(random.pick(&movable).map(|topic| (at, Action::MoveLeaders { topic: topic.clone() })));
        at += Duration::from_millis(random.between(2_000, 8_000));
    }
    actions
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::motion::floor::FLOOR_LENGTH;

    #[test]
    fn the_seed_decides_everything_and_every_kind_is_there() {
        let plan = |seed| Plan::new(&Random::new(seed), 60, Duration::from_secs(75));
        assert_eq!(plan(1).actions, plan(1).actions);
        assert_ne!(plan(1).actions, plan(2).actions);
        assert_eq!(plan(1).topics.len(), 60);
        for (kind, _) in Kind::SHARES {
            let topic = plan(1).topics.into_iter().find(|topic| topic.kind == kind).unwrap();
            assert_eq!(Kind::of(&topic.name), Some(kind));
        }
    }

    #[test]
    fn one_action_of_each_sort_comes_before_a_broker_is_away() {
        for seed in 0..20 {
            let plan = Plan::new(&Random::new(seed), 60, FLOOR_LENGTH);
            let is_away =
                |action: &Action| matches!(action, Action::RestartBroker { .. } | Action::UncleanElection { .. });
            let (away_at, _) = plan.actions.iter().find(|(_, action)| is_away(action)).unwrap();
            // Each may take seconds.
            let until = *away_at - Duration::from_secs(8);
            let comes = |is: fn(&Action) -> bool| plan.actions.iter().any(|(at, action)| *at < until && is(action));
            assert!(comes(|action| matches!(action, Action::DeleteRecords { .. })), "seed {seed}");
            assert!(comes(|action| matches!(action, Action::AddPartition { .. })), "seed {seed}");
            assert!(comes(|action| matches!(action, Action::Recreate { .. })), "seed {seed}");
            assert!(comes(|action| matches!(action, Action::MoveLeaders { .. })), "seed {seed}");
        }
    }

    #[test]
    fn elections_take_turns_among_the_kinds_of_topics_that_they_truncate() {
        let elected = |minutes: u64| -> Vec<Option<Kind>> {
            let plan = Plan::new(&Random::new(1), 60, Duration::from_secs(60 * minutes));
            let topics = plan.actions.into_iter().filter_map(|(_, action)| {
                let Action::UncleanElection { topic } = action else { return None };
                Some(topic)
            });
            topics.map(|topic| Kind::of(&topic)).collect()
        };
        assert_eq!(elected(1), [Some(Kind::Unclean)]);
        assert_eq!(elected(9), [Some(Kind::Unclean), Some(Kind::UncleanCompacted), Some(Kind::Unclean)]);
    }

    #[test]
    fn a_short_run_has_one_restart_and_one_unclean_election() {
        let plan = Plan::new(&Random::new(3), 12, Duration::from_secs(60));
        let count = |is: fn(&Action) -> bool| plan.actions.iter().filter(|(_, action)| is(action)).count();
        assert_eq!(count(|action| matches!(action, Action::RestartBroker { .. })), 1);
        assert_eq!(count(|action| matches!(action, Action::UncleanElection { .. })), 1);
        assert!(count(|action| matches!(action, Action::Recreate { .. })) > 0);
        assert!(count(|action| matches!(action, Action::DeleteRecords { .. })) > 0);
    }
}
