//! Which worker reads what: stretches of partitions, by the broker that leads them.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use tokio::time::Instant;

use super::committed::Stretch;
use super::unlisted::Unlisted;
use crate::format::manifest::TopicCut;
use crate::format::segment::TopicKey;
use crate::kafka::fetch::FetchTarget;

/// A stretch longer than this is cut, so that several workers can read a large partition at once.
pub const STRETCH_OFFSETS_MAX: u64 = 500_000;
/// Stretches of one partition at most, whatever end a broker tells.
const STRETCHES_MAX: u64 = 4_096;
/// A worker takes stretches of about so many offsets at once: many small partitions, or a few large ones.
const TAKE_OFFSETS: u64 = 100_000;
/// Partitions in one fetch request at most, which bounds the request's size.
const TAKE_STRETCHES: usize = 500;

/// The leader is in a later epoch than the request names.
const FENCED_LEADER_EPOCH: i16 = 74;
/// So many failures in a row a leader epoch may have when it is refused once more.
const REFUSALS_MAX: u32 = 3;

/// So many requests in a row are sent to a broker that does not answer within the retry timeout.
const REQUESTS_IN_VAIN_MAX: u32 = 2;

/// Stands for the leader of a partition that had none when it was looked for.
pub const NO_BROKER: i32 = -1;

/// A partition of the cut.
pub type PartitionKey = (TopicKey, i32);

/// What the log cleaner may do to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cleaning {
    /// Nothing: its `cleanup.policy` has no `compact`.
    Never,
    /// It removes records that were overwritten.
    Compacts,
    /// The configuration could not be read: any of the two.
    Unknown,
}

impl Cleaning {
    /// What the cut says of a topic.
    pub const fn of(topic: &TopicCut) -> Self {
        match (topic.config_unknown, topic.compacted) {
            (true, _) => Self::Unknown,
            (false, true) => Self::Compacts,
            (false, false) => Self::Never,
        }
    }

    /// Whether records may vanish while they are read.
    pub const fn is_possible(self) -> bool {
        match self {
            Self::Never => false,
            Self::Compacts | Self::Unknown => true,
        }
    }
}

/// Why the last requests for a task failed, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// When the first of them failed.
    pub since: Instant,
    /// How many have failed, one after the other.
    pub failures: u32,
    /// The last failure.
    pub last: crate::kafka::Error,
}

/// Requests for a task, one after the other, that a broker did not answer within the retry timeout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InVain {
    /// The broker.
    pub broker: i32,
    /// How many they are.
    pub requests: u32,
}

/// A stretch that waits for a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The topic.
    pub topic: Arc<TopicKey>,
    /// The partition's number.
    pub partition: i32,
    /// What of it is to be read.
    pub stretch: Stretch,
    /// Whether the log cleaner may have taken batches: then the stretch grows with the log until its reader has caught up.
    pub cleaning: Cleaning,
    /// The end of the cut, beyond which only a log that is cleaned is read.
    pub cut_end_offset: i64,
    /// Since when the reader is beyond the cut's end and has not caught up.
    pub behind_since: Option<Instant>,
    /// Why it cannot be read right now.
    pub trouble: Option<Trouble>,
    /// The last requests for it that were not answered, until an error or records are.
    pub in_vain: Option<InVain>,
    /// Whether a request names the leader epoch that is known (KIP-320), until leaders have refused it several times in a row: then the
    /// metadata has a wrong one (KAFKA-9212).
    pub names_epoch: bool,
    /// What tells whether the list of its next response may lack an aborted transaction.
    pub unlisted: Unlisted,
    /// Since when it lets the other partitions of its broker go first, as nothing of it came in its turn; until a batch comes.
    pub yields_since: Option<Instant>,
}

impl Task {
    /// A task of which nothing was tried yet.
    pub fn new(topic: Arc<TopicKey>, partition: i32, stretch: Stretch, cleaning: Cleaning) -> Self {
        let (cut_end_offset, unlisted) = (stretch.end_offset, Unlisted::default());
        Self {
            topic,
            partition,
            stretch,
            cleaning,
            cut_end_offset,
            behind_since: None,
            trouble: None,
            in_vain: None,
            names_epoch: true,
            unlisted,
            yields_since: None,
        }
    }

    /// What to ask its leader for next.
    pub fn target(&self, max_bytes: i32) -> FetchTarget {
        FetchTarget {
            topic: self.topic.name.clone(),
            topic_id: self.topic.id,
            partition: self.partition,
            leader_epoch: -1,
            offset: self.stretch.next_offset,
            max_bytes,
        }
    }

    /// No batch that begins from there on will be taken, wherever the log ends.
    pub const fn end_offset_max(&self) -> i64 {
        if self.cleaning.is_possible() { i64::MAX } else { self.stretch.end_offset }
    }

    /// Whether it is read before all others: one that cannot be read right now must not keep readers from them.
    const fn goes_first(&self) -> bool {
        self.cleaning.is_possible() && self.trouble.is_none()
    }

    /// The task after this broker has not answered a request for it within the retry timeout.
    #[must_use]
    pub fn unanswered(self, broker: i32, last: crate::kafka::Error, now: Instant) -> Self {
        let before = self.in_vain.filter(|in_vain| in_vain.broker == broker).map_or(0, |in_vain| in_vain.requests);
        Self { in_vain: Some(InVain { broker, requests: before + 1 }), ..self.troubled(last, now) }
    }

    /// Whether a broker has answered no request for it, and was asked once more.
    pub fn is_never_answered(&self) -> bool {
        self.in_vain.is_some_and(|in_vain| in_vain.requests >= REQUESTS_IN_VAIN_MAX)
    }

    /// The task after another failure.
    #[must_use]
    pub fn troubled(self, last: crate::kafka::Error, now: Instant) -> Self {
        let (since, failures) = self.trouble.as_ref().map_or((now, 0), |trouble| (trouble.since, trouble.failures));
        let is_fenced = |error: &crate::kafka::Error| error.code() == Some(FENCED_LEADER_EPOCH);
        let was_fenced = self.trouble.as_ref().is_some_and(|trouble| is_fenced(&trouble.last));
        let is_refused_again = is_fenced(&last) && was_fenced && failures >= REFUSALS_MAX;
        let names_epoch = self.names_epoch && !is_refused_again;
        // An error with a code is a response.
        let in_vain = self.in_vain.filter(|_| last.code().is_none());
        Self { trouble: Some(Trouble { since, failures: failures + 1, last }), in_vain, names_epoch, ..self }
    }
}

/// Cuts what is left of a partition into stretches.
///
/// A compacted log is read in one: the log cleaner could remove the very batch by which two neighbours find out where
/// one ends and the other begins.
///
/// What is left begins where the log does, or where a run that is stored ends. A run ends inside a batch only if the log began
/// there when it was read, so that the run was a hole alone: a batch that reaches over the first start is nobody else's.
pub fn stretches(left: Range<i64>, compacted: bool) -> Vec<Stretch> {
    let offsets = left.end.abs_diff(left.start);
    let pieces = if compacted { 1 } else { offsets.div_ceil(STRETCH_OFFSETS_MAX).clamp(1, STRETCHES_MAX) };
    let step = i64::try_from(offsets.div_ceil(pieces)).unwrap_or(i64::MAX);
    let mut stretches = Vec::new();
    let mut start = left.start;
    while start < left.end {
        let end = start.saturating_add(step).min(left.end);
        stretches.push(Stretch::new(start..end, start == left.start));
        start = end;
    }
    stretches
}

/// Tasks by the broker that leads their partitions.
#[derive(Debug, Default)]
pub struct Queue {
    by_broker: BTreeMap<i32, VecDeque<Task>>,
    readers: BTreeMap<i32, usize>,
    /// Tasks that workers hold and may give back.
    taken: usize,
    /// Brokers that did not answer for as long as the retry timeout, until they answer.
    unreachable: BTreeSet<i32>,
}

impl Queue {
    /// Adds a task for the leader `broker`. Partitions that may be compacted go first: the longer they wait, the more of their
    /// records are replaced by later ones. Those that had a turn in which nothing came stay behind those that had none.
    pub fn push(&mut self, broker: i32, task: Task) {
        let tasks = self.by_broker.entry(broker).or_default();
        if task.cleaning.is_possible() {
            tasks.push_front(task);
            return;
        }
        let had_turns = tasks.iter().rev().take_while(|waiting| waiting.yields_since.is_some());
        let behind = if task.yields_since.is_none() { had_turns.count() } else { 0 };
        tasks.insert(tasks.len() - behind, task);
    }

    /// Adds a task that was in reading, for the leader `broker`, before all others of its kind: what it has not read yet is the oldest.
    pub fn push_first(&mut self, broker: i32, task: Task) {
        let tasks = self.by_broker.entry(broker).or_default();
        let at = match (task.goes_first(), task.cleaning.is_possible()) {
            (true, _) => 0,
            (false, true) => tasks.iter().take_while(|task| task.goes_first()).count(),
            (false, false) => tasks.iter().take_while(|task| task.cleaning.is_possible()).count(),
        };
        tasks.insert(at, task);
    }

    /// Adds a task that had its turn and gave nothing, for the leader `broker`, after all others of its kind.
    pub fn push_last(&mut self, broker: i32, task: Task) {
        let tasks = self.by_broker.entry(broker).or_default();
        let at = match task.cleaning.is_possible() {
            true => tasks.iter().take_while(|task| task.cleaning.is_possible()).count(),
            false => tasks.len(),
        };
        tasks.insert(at, task);
    }

    /// Whether anything waits for the leader `broker`.
    pub fn waits(&self, broker: i32) -> bool {
        self.by_broker.get(&broker).is_some_and(|tasks| !tasks.is_empty())
    }

    /// Gives a worker something to read from one broker: one of those with partitions that may be compacted while there are any, and of
    /// them the one that the fewest workers read from, so that all brokers share the load.
    pub fn take(&mut self) -> Option<(i32, Vec<Task>)> {
        let readers = |broker: &i32| self.readers.get(broker).copied().unwrap_or(0);
        let waits = |broker: &i32, tasks: &VecDeque<Task>| !has_cleaned(*broker, tasks);
        let broker = self
            .by_broker
            .iter()
            .filter(|(_, tasks)| !tasks.is_empty())
            .min_by_key(|(broker, tasks)| (waits(broker, tasks), readers(broker), std::cmp::Reverse(tasks.len())))
            .map(|(broker, _)| *broker)?;
        let mut taken = Vec::new();
        self.top_up(broker, &mut taken);
        *self.readers.entry(broker).or_default() += 1;
        self.taken += 1;
        Some((broker, taken))
    }

    /// Adds to what a worker still has to read from a broker, so that its next request asks for a whole response again: a
    /// worker whose responses run dry one partition at a time waits for each of them. While partitions that may be compacted wait for
    /// another broker's reader, a worker takes no others: it is to go there.
    pub fn top_up(&mut self, broker: i32, held: &mut Vec<Task>) {
        let others_wait = self.by_broker.iter().any(|(other, tasks)| *other != broker && has_cleaned(*other, tasks));
        let Some(tasks) = self.by_broker.get_mut(&broker) else { return };
        let key = |task: &Task| (Arc::clone(&task.topic), task.partition);
        let mut partitions: HashSet<_> = held.iter().map(key).collect();
        let mut offsets = held.iter().fold(0_u64, |offsets, task| offsets.saturating_add(task.stretch.remaining()));
        // Only what is passed over is moved: tens of thousands of stretches may wait, and this is asked with every response.
        let mut passed_over = Vec::new();
        // Each request to a broker that does not answer takes as long as the retry timeout, and so does each search for leaders.
        let offsets_max = match broker == NO_BROKER || self.unreachable.contains(&broker) {
            true => u64::MAX,
            false => TAKE_OFFSETS,
        };
        while held.len() < TAKE_STRETCHES && (held.is_empty() || offsets < offsets_max) {
            let Some(task) = tasks.pop_front_if(|task| !others_wait || task.cleaning.is_possible()) else { break };
            // A fetch request names a partition once: two stretches of it are two requests.
            if partitions.insert(key(&task)) {
                offsets = offsets.saturating_add(task.stretch.remaining());
                held.push(task);
            } else {
                passed_over.push(task);
            }
        }
        passed_over.into_iter().rev().for_each(|task| tasks.push_front(task));
    }

    /// The broker did not answer for as long as the retry timeout: as much of it is taken at once as fits into a request.
    pub fn set_unreachable(&mut self, broker: i32) {
        self.unreachable.insert(broker);
    }

    /// The broker answers. A worker that has taken more of it while it did not keeps as much as it takes of others, and gives the rest to
    /// all; so does each further worker that is answered. What waits for the others to have had their turns stays behind them.
    pub fn answers(&mut self, broker: i32, held: &mut Vec<Task>) {
        self.unreachable.remove(&broker);
        let mut offsets: u64 = 0;
        let (kept, rest): (Vec<Task>, Vec<Task>) = held.drain(..).partition(|task| {
            let waits = task.yields_since.is_some();
            let fits = offsets < TAKE_OFFSETS;
            offsets = offsets.saturating_add(if waits { 0 } else { task.stretch.remaining() });
            waits || fits
        });
        *held = kept;
        rest.into_iter().rev().for_each(|task| self.push_first(broker, task));
    }

    /// Says that a worker is done with what it took, and has pushed what it could not read.
    pub fn finish(&mut self, broker: i32) {
        if let Some(readers) = self.readers.get_mut(&broker) {
            *readers = readers.saturating_sub(1);
        }
        self.taken = self.taken.saturating_sub(1);
    }

    /// Whether nothing waits, and nobody holds anything that could come back.
    pub fn is_over(&self) -> bool {
        self.taken == 0 && self.by_broker.values().all(VecDeque::is_empty)
    }
}

/// Whether partitions that go first wait for this broker's reader. Those without a leader are not worth a reader.
fn has_cleaned(broker: i32, tasks: &VecDeque<Task>) -> bool {
    broker != NO_BROKER && tasks.front().is_some_and(Task::goes_first)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(partition: i32, offsets: Range<i64>) -> Task {
        let topic = Arc::new(TopicKey { name: "orders".to_owned(), id: uuid::Uuid::nil() });
        Task::new(topic, partition, Stretch::new(offsets, true), Cleaning::Never)
    }

    #[test]
    fn partitions_that_may_be_compacted_go_first() {
        let mut queue = Queue::default();
        for (partition, cleaning) in
            [(0, Cleaning::Never), (1, Cleaning::Compacts), (2, Cleaning::Never), (3, Cleaning::Unknown)]
        {
            queue.push(1, Task { cleaning, ..task(partition, 0..10) });
        }
        let taken: Vec<_> = queue.take().unwrap().1.iter().map(|task| task.partition).collect();
        assert_eq!(taken, [3, 1, 0, 2]);
    }

    #[test]
    fn of_a_broker_that_does_not_answer_as_much_is_taken_as_fits_into_a_request() {
        let large = |partition| task(partition, 0..i64::try_from(STRETCH_OFFSETS_MAX).unwrap());
        let taken = |broker: i32, answers: &[bool]| {
            let mut queue = Queue::default();
            (0..600).for_each(|partition| queue.push(broker, large(partition)));
            for answers in answers {
                match answers {
                    true => queue.answers(1, &mut Vec::new()),
                    false => queue.set_unreachable(1),
                }
            }
            queue.take().unwrap().1.len()
        };
        assert_eq!([taken(1, &[]), taken(1, &[false]), taken(2, &[false])], [1, TAKE_STRETCHES, 1]);
        assert_eq!(taken(1, &[false, true]), 1, "it answers again");
        assert_eq!(taken(NO_BROKER, &[]), TAKE_STRETCHES, "they have no leader");
    }

    #[test]
    fn once_a_broker_answers_again_what_workers_hold_of_it_is_for_all() {
        let mut queue = Queue::default();
        (0..9).for_each(|partition| queue.push(1, task(partition, 0..60_000)));
        let (_, mut always_answered) = queue.take().unwrap();
        queue.answers(1, &mut always_answered);
        let partitions = |tasks: &[Task]| tasks.iter().map(|task| task.partition).collect::<Vec<_>>();
        assert_eq!(partitions(&always_answered), [0, 1], "it takes no more than it keeps");
        queue.set_unreachable(1);
        let [mut one, mut other] = [3, 4].map(|count| {
            let mut held = Vec::new();
            queue.top_up(1, &mut held);
            held.drain(count..).rev().for_each(|task| queue.push_first(1, task));
            held
        });
        queue.answers(1, &mut one);
        queue.answers(1, &mut other);
        assert_eq!((partitions(&one), partitions(&other)), (vec![2, 3], vec![5, 6]));
        let (_, of_a_third) = queue.take().unwrap();
        assert_eq!(partitions(&of_a_third), [7, 8]);
        assert_eq!(partitions(&queue.take().unwrap().1), [4]);
    }

    #[test]
    fn what_waits_for_the_turns_of_others_is_not_given_back() {
        let mut queue = Queue::default();
        let waits = Task { yields_since: Some(Instant::now()), ..task(9, 0..10) };
        let mut held = vec![task(0, 0..60_000), task(1, 0..60_000), task(2, 0..60_000), waits];
        queue.answers(1, &mut held);
        assert_eq!(held.iter().map(|task| task.partition).collect::<Vec<_>>(), [0, 1, 9]);
    }

    #[test]
    fn a_task_is_asked_for_twice_of_a_broker_that_does_not_answer() {
        let now = Instant::now();
        let error = || crate::kafka::Error::UnknownBroker { id: 1 };
        let once = task(0, 0..10).troubled(error(), now).troubled(error(), now).unanswered(1, error(), now);
        assert!(!once.is_never_answered(), "what failed before was answered");
        assert!(once.clone().unanswered(1, error(), now).is_never_answered());
        let resource = || crate::kafka::error::Resource::Partition("orders".to_owned(), 0);
        let refused = crate::kafka::Error::from_code("Fetch", FENCED_LEADER_EPOCH, resource, None).unwrap();
        assert!(
            !once.clone().troubled(refused, now).unanswered(1, error(), now).is_never_answered(),
            "it has answered"
        );
        assert!(
            once.clone().troubled(error(), now).unanswered(1, error(), now).is_never_answered(),
            "its connection failed"
        );
        assert!(!once.unanswered(2, error(), now).is_never_answered(), "another one leads it now");
    }

    #[test]
    fn a_partition_that_had_its_turn_waits_for_all_others_of_its_kind() {
        let mut queue = Queue::default();
        let of = |partition, cleaning| Task { cleaning, ..task(partition, 0..10) };
        for (partition, cleaning) in
            [(0, Cleaning::Never), (1, Cleaning::Unknown), (2, Cleaning::Never), (3, Cleaning::Unknown)]
        {
            queue.push(1, of(partition, cleaning));
        }
        queue.push_last(1, of(4, Cleaning::Unknown));
        queue.push_last(1, of(5, Cleaning::Never));
        let taken: Vec<_> = queue.take().unwrap().1.iter().map(|task| task.partition).collect();
        assert_eq!(taken, [3, 1, 4, 0, 2, 5]);
    }

    #[test]
    fn partitions_that_may_be_compacted_go_first_wherever_their_leaders_are() {
        let mut queue = Queue::default();
        for (broker, partition, cleaning) in
            [(1, 0, Cleaning::Compacts), (1, 1, Cleaning::Never), (2, 2, Cleaning::Never)]
        {
            queue.push(broker, Task { cleaning, ..task(partition, 0..10) });
        }
        queue.push(2, Task { cleaning: Cleaning::Compacts, ..task(3, 0..10) });
        // One worker for both brokers.
        let mut order = Vec::new();
        while let Some((broker, tasks)) = queue.take() {
            order.push((broker, tasks.iter().map(|task| task.partition).collect::<Vec<_>>()));
            queue.finish(broker);
        }
        assert_eq!(order[0], (1, vec![0]));
        assert_eq!(order[1], (2, vec![3, 2]));
        assert_eq!(order[2], (1, vec![1]));
    }

    /// The task after failures with these codes.
    fn troubled(codes: &[i16]) -> Task {
        let resource = || crate::kafka::error::Resource::Partition("orders".to_owned(), 0);
        let refused = |code| crate::kafka::Error::from_code("Fetch", code, resource, None).unwrap();
        codes.iter().fold(task(0, 0..10), |task, code| task.troubled(refused(*code), Instant::now()))
    }

    #[test]
    fn an_epoch_that_is_refused_again_and_again_is_named_no_more() {
        const FENCED: i16 = FENCED_LEADER_EPOCH;
        const NOT_LEADER: i16 = 6;
        assert!(troubled(&[FENCED, FENCED, FENCED]).names_epoch && troubled(&[NOT_LEADER; 9]).names_epoch);
        assert!(troubled(&[FENCED, FENCED, FENCED, NOT_LEADER, FENCED]).names_epoch);
        assert!(!troubled(&[FENCED; 4]).names_epoch);
        assert!(!troubled(&[FENCED, FENCED, FENCED, FENCED, NOT_LEADER]).names_epoch, "it stays so");
    }

    #[test]
    fn a_partition_that_cannot_be_read_right_now_keeps_no_reader_from_others() {
        let mut queue = Queue::default();
        queue.push(2, task(1, 0..10));
        queue.push_first(1, Task { cleaning: Cleaning::Compacts, ..troubled(&[56]) });
        queue.push_first(2, Task { cleaning: Cleaning::Compacts, partition: 7, ..troubled(&[56]) });
        queue.push(2, Task { cleaning: Cleaning::Compacts, ..task(2, 0..10) });
        let taken = |queue: &mut Queue| queue.take().unwrap().1.iter().map(|task| task.partition).collect::<Vec<_>>();
        assert_eq!(taken(&mut queue), [2, 7, 1], "nothing waits for the one that has failed");
        assert_eq!(taken(&mut queue), [0]);
    }

    #[test]
    fn partitions_without_a_leader_keep_no_reader_from_its_work() {
        let mut queue = Queue::default();
        queue.push(NO_BROKER, Task { cleaning: Cleaning::Compacts, ..task(0, 0..1_000_000) });
        queue.push(NO_BROKER, Task { cleaning: Cleaning::Compacts, ..task(1, 0..1_000_000) });
        (2..4).for_each(|partition| queue.push(1, task(partition, 0..1_000_000)));
        let brokers: Vec<_> = (0..2).map(|_| queue.take().unwrap().0).collect();
        assert_eq!(brokers, [NO_BROKER, 1], "the readers spread over both");
        let mut held = Vec::new();
        queue.top_up(1, &mut held);
        assert_eq!(held.len(), 1);
    }

    #[test]
    fn a_partition_that_comes_back_goes_behind_those_that_may_be_compacted() {
        let mut queue = Queue::default();
        queue.push(1, Task { cleaning: Cleaning::Compacts, ..task(0, 0..10) });
        queue.push(1, task(1, 0..10));
        queue.push_first(1, task(2, 5..10));
        queue.push_first(1, Task { cleaning: Cleaning::Compacts, ..task(3, 5..10) });
        let taken: Vec<_> = queue.take().unwrap().1.iter().map(|task| task.partition).collect();
        assert_eq!(taken, [3, 0, 2, 1]);
    }

    #[test]
    fn an_end_that_no_log_can_have_makes_no_more_stretches_than_memory_holds() {
        let stretches = stretches(0..i64::MAX, false);
        assert!(stretches.len() <= 4_097, "{}", stretches.len());
        assert_eq!(stretches.last().unwrap().end_offset, i64::MAX);
    }

    #[test]
    fn stretches_tile_what_is_left() {
        for left in [0..1, 7..7, 5..1_234_567, 900_000..2_000_001] {
            let stretches = stretches(left.clone(), false);
            let mut at = left.start;
            for stretch in &stretches {
                assert_eq!(stretch.next_offset, at);
                assert!(stretch.remaining() <= STRETCH_OFFSETS_MAX);
                assert_eq!(stretch.starts_log, at == left.start);
                at = stretch.end_offset;
            }
            assert_eq!(at, left.end);
        }
    }

    #[test]
    fn a_compacted_log_is_read_in_one() {
        assert_eq!(stretches(0..5_000_000, true).len(), 1);
    }

    #[test]
    fn many_small_partitions_are_taken_together_and_large_ones_alone() {
        let mut queue = Queue::default();
        (0..1000).for_each(|partition| queue.push(1, task(partition, 0..10)));
        assert_eq!(queue.take().unwrap().1.len(), TAKE_STRETCHES);
        let mut queue = Queue::default();
        (0..4).for_each(|partition| queue.push(1, task(partition, 0..1_000_000)));
        assert_eq!(queue.take().unwrap().1.len(), 1);
    }

    #[test]
    fn a_partition_is_never_taken_twice_at_once() {
        let mut queue = Queue::default();
        [0..10, 10..20].into_iter().for_each(|offsets| queue.push(1, task(0, offsets)));
        queue.push(1, task(1, 0..10));
        let starts = |tasks: &[Task]| -> Vec<_> {
            tasks.iter().map(|task| (task.partition, task.stretch.next_offset)).collect()
        };
        assert_eq!(starts(&queue.take().unwrap().1), [(0, 0), (1, 0)]);
        assert_eq!(starts(&queue.take().unwrap().1), [(0, 10)]);
    }

    #[test]
    fn what_is_held_is_topped_up_with_other_partitions_of_the_same_broker() {
        let mut queue = Queue::default();
        queue.push(1, task(0, 0..TAKE_OFFSETS.cast_signed()));
        let (broker, mut held) = queue.take().unwrap();
        queue.push(1, task(0, 500_000..500_010));
        queue.push(2, task(1, 0..10));
        queue.push(1, task(2, 0..10));
        queue.top_up(broker, &mut held);
        assert_eq!(held.len(), 1, "a whole response is held already");
        held[0].stretch.next_offset += 1;
        queue.top_up(broker, &mut held);
        assert_eq!(held.iter().map(|task| task.partition).collect::<Vec<_>>(), [0, 2]);
        held.clear();
        queue.top_up(broker, &mut held);
        assert_eq!(held.iter().map(|task| task.stretch.next_offset).collect::<Vec<_>>(), [500_000]);
    }

    #[tokio::test]
    async fn a_partition_that_had_a_turn_in_which_nothing_came_stays_behind_those_that_had_none() {
        let mut queue = Queue::default();
        let had_turn = |partition| Task { yields_since: Some(Instant::now()), ..task(partition, 0..10) };
        queue.push(1, task(0, 0..10));
        queue.push_last(1, had_turn(1));
        queue.push(1, had_turn(2));
        queue.push(1, task(3, 0..10));
        let order: Vec<i32> = queue.by_broker[&1].iter().map(|task| task.partition).collect();
        assert_eq!(order, [0, 3, 1, 2]);
    }

    #[test]
    fn tens_of_thousands_of_waiting_stretches_are_not_moved_with_every_response() {
        let mut queue = Queue::default();
        queue.push(1, task(0, 0..TAKE_OFFSETS.cast_signed()));
        let (broker, mut held) = queue.take().unwrap();
        queue.push(1, task(0, 500_000..500_010));
        (1..20_000).for_each(|partition| queue.push(1, task(partition, 0..10)));
        let places = |queue: &Queue| queue.by_broker[&1].iter().map(std::ptr::from_ref).collect::<Vec<_>>();
        let before = places(&queue);
        queue.top_up(broker, &mut held);
        assert!(places(&queue) == before, "nothing was wanted");
        held[0].stretch.next_offset += 30;
        queue.top_up(broker, &mut held);
        let after = places(&queue);
        // The first that waits was passed over, and three others were taken.
        assert_eq!((held.len(), after.len()), (4, before.len() - 3));
        assert!(after[1..] == before[4..]);
    }

    #[test]
    fn workers_spread_over_the_brokers() {
        let mut queue = Queue::default();
        (0..30).for_each(|partition| queue.push(partition % 3, task(partition, 0..1_000_000)));
        let brokers: Vec<_> = (0..3).map(|_| queue.take().unwrap().0).collect();
        assert_eq!(brokers, [0, 1, 2]);
    }

    #[test]
    fn it_is_over_only_when_nobody_can_give_anything_back() {
        let mut queue = Queue::default();
        queue.push(1, task(0, 0..10));
        let (broker, tasks) = queue.take().unwrap();
        assert!(!queue.is_over());
        tasks.into_iter().for_each(|task| queue.push(2, task));
        queue.finish(broker);
        assert!(!queue.is_over());
        let (broker, _) = queue.take().unwrap();
        assert_eq!(broker, 2);
        queue.finish(broker);
        assert!(queue.is_over());
    }
}
