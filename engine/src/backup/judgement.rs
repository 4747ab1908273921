//! What a response means for the stretch that it was asked for. Decisions, made of values and of a time that is given.

use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use super::patience::Patience;
use super::queue::{Cleaning, Task};
use super::silence::Stalls;
use crate::kafka::fetch::{FetchError, Fetched};

/// A partition that was asked for first, among others, and gave nothing so many times is asked for alone.
const IDLE_ANSWERS: u32 = 5;
/// The reader of a compacted partition may follow the growing log for so many times the time that it took to the cut's end.
const CATCH_UP_FACTOR: u32 = 4;

/// What is to be done with a task after an answer.
#[derive(Debug)]
pub enum After {
    /// Ask for more.
    GoOn(Task),
    /// All was read.
    Done(Task),
    /// Somebody else leads the partition now, or will soon, or the leader fails for a moment.
    Elsewhere(Task),
    /// The offset that we want to read is not in the log.
    Gone(Task),
    /// It cannot be read.
    GiveUp(Task, Error),
}

impl After {
    /// The task as the answer has left it.
    pub const fn task(&self) -> &Task {
        match self {
            Self::GoOn(task) | Self::Done(task) | Self::Elsewhere(task) | Self::Gone(task) | Self::GiveUp(task, _) => {
                task
            }
        }
    }
}

/// Judges an answer by the headers of its batches.
///
/// A compacted log is read up to the last stable offset of the very response that gets there, not up to the cut: of a key
/// that was written again after the cut, the log cleaner may have removed the value that the key had at the cut.
/// Whatever the log holds at that moment as the latest value of a key was read, since latest values are not removed.
///
/// `is_filled`: whether partitions that the request named before this one gave records. They may have filled the response, and that it has
/// no records of this one then says nothing about it.
pub fn after(task: &Task, is_filled: bool, outcome: &Result<Fetched, FetchError>, now: Instant) -> After {
    match outcome {
        Ok(fetched) => {
            let mut task = task.clone();
            if !fetched.records.is_empty() {
                task.yields_since = None;
            }
            // Storage other than the broker's own disks may fail, or hang, in one response and have nothing at hand in the next one.
            if !fetched.records.is_empty() || is_filled {
                (task.trouble, task.in_vain) = (None, None);
            }
            if task.cleaning.is_possible() {
                task.stretch = task.stretch.extended_to(fetched.last_stable_offset);
            }
            match task.stretch.after(&fetched.records) {
                Ok(stretch) if stretch.is_done() => After::Done(Task { stretch, ..task }),
                Ok(stretch) => After::GoOn(Task { stretch, ..task }),
                Err(error) => {
                    let error = Error::log(&task, error);
                    After::GiveUp(task, error)
                }
            }
        }
        Err(FetchError::OffsetOutOfRange(_)) => After::Gone(Task { in_vain: None, ..task.clone() }),
        Err(FetchError::NotLeader(error) | FetchError::Later(error) | FetchError::UnknownTopic(error)) => {
            After::Elsewhere(task.clone().troubled(error.clone(), now))
        }
        Err(FetchError::Final(error)) => After::GiveUp(task.clone(), Error::Kafka(error.clone())),
    }
}

/// Whether the reader of a compacted log follows a log that grows faster than it can be read.
///
/// `began` is when the run began, and `behind_since` when the reader was at the end of the cut.
pub fn falls_behind(began: Instant, behind_since: Instant, now: Instant, patience: &Patience) -> bool {
    let allowed = (behind_since.duration_since(began) * CATCH_UP_FACTOR).max(patience.catch_up_min);
    now.duration_since(behind_since) > allowed
}

/// So many answers in a row say that a partition cannot be read, before it is given up. While brokers restart one after the
/// other, or partitions go back to the brokers that are to lead them, each broker says so once, and the partition waits for
/// its turn in between.
const FAILURES_MIN: u32 = 8;

/// Whether requests for the task have failed for as long, and as often, as they may.
pub fn is_hopeless(task: &Task, retry_timeout: Duration, now: Instant) -> bool {
    task.trouble.as_ref().is_some_and(|trouble| trouble.failures >= FAILURES_MIN)
        && has_failed_for(task, retry_timeout, now)
}

/// Whether requests for the task have failed for so long.
pub fn has_failed_for(task: &Task, time: Duration, now: Instant) -> bool {
    task.trouble.as_ref().is_some_and(|trouble| now.duration_since(trouble.since) > time)
}

/// How often, and since when, the first partition of a request gave nothing.
///
/// A broker fills its answer in the order of the request, and gives at least one batch of the first partition that has any
/// at hand. Where records are in other storage than the broker's own disks, it gives none when the storage is slow; so a
/// partition that gives nothing is asked for alone, and for a long time, before anything is made of it.
#[derive(Debug, Default)]
pub struct Idle {
    answers: u32,
    /// Since when it gives nothing.
    since: Option<Instant>,
    /// Since when it gives nothing, and its last stable offset was never before the end.
    ended_since: Option<Instant>,
    /// Whether nothing else is asked for.
    pub is_alone: bool,
}

/// What happens next to the first partition of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextTurn {
    /// Nothing changes: what is left of it is asked for as before.
    Same,
    /// It is asked for alone.
    Alone,
    /// It gave nothing, and waits until the others of its broker have had their turns.
    Last {
        /// Since when it has waited like this.
        since: Instant,
    },
    /// Its log has ended: there is no batch between here and the end.
    End,
    /// It is given up: there should be a batch, and none comes.
    Stalled,
    /// It is given up with all others of its broker.
    Silent {
        /// How many of them were waited for in vain before.
        stalls: u32,
    },
}

impl Idle {
    /// Judges what a request brought of its first task. `answer` is absent where the task has come further, or is read elsewhere;
    /// `was_cleaned`: whether logs of its topic show the log cleaner's work, although the topic need not be compacted any more; `silence`:
    /// the partitions of its broker that were waited for in vain, where the whole broker is silent.
    pub fn judge(
        &mut self,
        task: &Task,
        answer: Option<&Fetched>,
        was_cleaned: bool,
        silence: Option<Stalls>,
        patience: &Patience,
        now: Instant,
    ) -> NextTurn {
        let Some(fetched) = answer else {
            *self = Self::default();
            return NextTurn::Same;
        };
        if fetched.is_throttled {
            *self = Self { is_alone: self.is_alone, ..Self::default() };
            return NextTurn::Same;
        }
        self.answers += 1;
        let turn = match (self.is_alone, silence) {
            // That the log cleaner was in its topic has become known since it is alone.
            (true, None) if lets_others_go_first(task, was_cleaned) => NextTurn::Last { since: now },
            (true, _) => {
                let may_be_at_end = may_be_at_end(task.cleaning, was_cleaned);
                self.judge_alone(task, fetched, may_be_at_end, silence.is_some(), patience, now)
            }
            (false, Some(stalls)) => turn_over(task, stalls, patience, now),
            (false, None) if self.answers < IDLE_ANSWERS => NextTurn::Same,
            (false, None) if lets_others_go_first(task, was_cleaned) => NextTurn::Last { since: now },
            (false, None) => NextTurn::Alone,
        };
        if turn != NextTurn::Same {
            *self = Self { is_alone: turn == NextTurn::Alone, ..Self::default() };
        }
        turn
    }

    fn judge_alone(
        &mut self,
        task: &Task,
        fetched: &Fetched,
        may_be_at_end: bool,
        is_silent: bool,
        patience: &Patience,
        now: Instant,
    ) -> NextTurn {
        let since = *self.since.get_or_insert(now);
        // While the whole broker is silent, an empty response does not mean the end of a log.
        let has_all = fetched.last_stable_offset >= task.stretch.end_offset && !is_silent;
        self.ended_since = has_all.then(|| self.ended_since.unwrap_or(now));
        let ended_for = self.ended_since.map_or(Duration::ZERO, |since| now.duration_since(since));
        let is_empty = self.answers >= IDLE_ANSWERS && fetched.records.is_empty();
        let is_at_end = may_be_at_end && is_empty && ended_for >= patience.empty_end;
        match (is_at_end, now.duration_since(since) >= patience.stall) {
            (true, _) => NextTurn::End,
            (false, true) => NextTurn::Stalled,
            (false, false) => NextTurn::Same,
        }
    }
}

/// Whether a log that gives nothing may be at an end that the log cleaner left without a batch.
const fn may_be_at_end(cleaning: Cleaning, was_cleaned: bool) -> bool {
    match cleaning {
        Cleaning::Compacts => true,
        // The topic may have been compacted before the cut. The offsets that the cleaner removed at the log's end stay missing in every
        // backup.
        Cleaning::Never => was_cleaned,
        // Where nothing is known to be cleaned, records that do not come are not records that are not there.
        Cleaning::Unknown => false,
    }
}

/// Whether the task waits, once, until the others of its broker have had their turns, before it is asked for alone. Nothing but empty
/// responses says that a log has ended whose topic is not compacted any more, and a broker that gives nothing at all sends the same. It is
/// known to be silent only when enough of its other partitions were waited for in vain.
const fn lets_others_go_first(task: &Task, was_cleaned: bool) -> bool {
    matches!(task.cleaning, Cleaning::Never) && was_cleaned && task.yields_since.is_none()
}

/// Judges the first partition of a request to a silent broker, of which nothing came. One empty answer may be that of a leader that was
/// elected just now, and storage other than the broker's own disks may be away for minutes. So the partition is waited for as long as one
/// that is asked for alone, and the others have their turns meanwhile.
fn turn_over(task: &Task, stalls: Stalls, patience: &Patience, now: Instant) -> NextTurn {
    // A turn from before the broker became silent was in another silence, or of another broker.
    match task.yields_since.filter(|since| *since >= stalls.since) {
        Some(since) if now.duration_since(since) >= patience.stall => NextTurn::Silent { stalls: stalls.count },
        Some(since) => NextTurn::Last { since },
        None => NextTurn::Last { since: now },
    }
}

/// The announced size and the limit, if a response is too large to be read.
pub const fn too_large(error: &crate::kafka::Error) -> Option<(i64, usize)> {
    match error {
        crate::kafka::Error::FrameTooLarge { bytes, max, .. } => Some((*bytes, *max)),
        _ => None,
    }
}

/// Why a partition that gives nothing is given up.
pub fn stalled(task: &Task, broker: i32, patience: &Patience) -> Error {
    Error::Stalled {
        topic: task.topic.name.clone(),
        partition: task.partition,
        broker,
        offset: task.stretch.next_offset,
        end_offset: task.stretch.end_offset,
        seconds: patience.stall.as_secs(),
    }
}

/// The task, if more of it is to be asked for.
pub fn to_read_on(after: &After) -> Option<Task> {
    match after {
        After::GoOn(task) => Some(task.clone()),
        After::Done(_) | After::Elsewhere(_) | After::Gone(_) | After::GiveUp(..) => None,
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use std::sync::Arc;

    use super::super::committed::Stretch;
    use super::*;
    use crate::format::builder::BatchBuilder;
    use crate::format::segment::TopicKey;

    const PATIENCE: Patience = Patience {
        alone_wait: Duration::from_secs(5),
        empty_end: Duration::from_secs(30),
        stall: Duration::from_secs(60),
        catch_up_min: Duration::from_secs(600),
    };

    fn task(cleaning: Cleaning) -> Task {
        let topic = Arc::new(TopicKey { name: "t".to_owned(), id: uuid::Uuid::nil() });
        Task::new(topic, 0, Stretch::new(10..20, false), cleaning)
    }

    fn empty(last_stable_offset: i64) -> Fetched {
        Fetched {
            high_watermark: last_stable_offset,
            last_stable_offset,
            log_start_offset: 0,
            aborted: Vec::new(),
            records: Bytes::new(),
            is_throttled: false,
        }
    }

    /// What comes of answers without a batch, five seconds apart.
    fn turns(cleaning: Cleaning, answers: &[Fetched]) -> Vec<NextTurn> {
        turns_of(&task(cleaning), false, answers)
    }

    fn turns_of(task: &Task, was_cleaned: bool, answers: &[Fetched]) -> Vec<NextTurn> {
        let (mut idle, mut now) = (Idle::default(), Instant::now());
        let judge = |fetched: &Fetched| {
            now += Duration::from_secs(5);
            idle.judge(task, Some(fetched), was_cleaned, None, &PATIENCE, now)
        };
        answers.iter().map(judge).collect()
    }

    fn last(cleaning: Cleaning, answers: &[Fetched]) -> NextTurn {
        turns(cleaning, answers).pop().unwrap()
    }

    #[tokio::test]
    async fn a_compacted_partition_that_gives_nothing_is_asked_for_alone_and_for_long_before_it_is_at_its_end() {
        let answers = vec![empty(20); 5 + 7];
        let judged = turns(Cleaning::Compacts, &answers);
        assert_eq!(judged[..4], [NextTurn::Same; 4]);
        assert_eq!(judged[4], NextTurn::Alone);
        // Thirty seconds after the first answer to a request for it alone.
        assert_eq!(judged[5..11], [NextTurn::Same; 6]);
        assert_eq!(judged[11], NextTurn::End);
    }

    #[test]
    fn a_response_with_nothing_ends_no_trouble_unless_the_partitions_before_have_filled_it() {
        let now = Instant::now();
        let hung = task(Cleaning::Never).unanswered(1, crate::kafka::Error::UnknownBroker { id: 1 }, now);
        let still_in_trouble = |is_filled| {
            let after = after(&hung, is_filled, &Ok(empty(20)), now);
            (after.task().trouble.is_some(), after.task().in_vain.is_some())
        };
        assert_eq!((still_in_trouble(false), still_in_trouble(true)), ((true, true), (false, false)));
        let out_of_range = FetchError::OffsetOutOfRange(crate::kafka::Error::UnknownBroker { id: 1 });
        let gone = after(&hung, false, &Err(out_of_range), now);
        assert!(gone.task().in_vain.is_none() && gone.task().trouble.is_some(), "an error is a response");
    }

    #[tokio::test]
    async fn what_is_not_known_to_be_compacted_stalls_and_never_ends() {
        let answers = vec![empty(20); 5 + 13];
        for cleaning in [Cleaning::Never, Cleaning::Unknown] {
            assert_eq!(last(cleaning, &answers[..17]), NextTurn::Same);
            assert_eq!(last(cleaning, &answers), NextTurn::Stalled);
        }
    }

    #[tokio::test]
    async fn a_log_that_was_compacted_before_the_cut_ends_where_nothing_comes_as_a_compacted_one() {
        let waited = |cleaning| Task { yields_since: Some(Instant::now()), ..task(cleaning) };
        let answers = vec![empty(20); 5 + 7];
        let compacted = turns(Cleaning::Compacts, &answers);
        assert_eq!(compacted.last(), Some(&NextTurn::End));
        assert_eq!(turns_of(&waited(Cleaning::Never), true, &answers), compacted);
        let short = vec![empty(15); 5 + 13];
        let goes_on = turns_of(&waited(Cleaning::Never), true, &short);
        assert_eq!(goes_on.last(), Some(&NextTurn::Stalled), "the log goes on");
        let answers = vec![empty(20); 5 + 13];
        assert_eq!(turns_of(&waited(Cleaning::Unknown), true, &answers).last(), Some(&NextTurn::Stalled));
    }

    #[tokio::test]
    async fn a_log_that_was_compacted_before_the_cut_lets_the_others_of_its_broker_go_first() {
        let answers = vec![empty(20); 5];
        let fifth = |cleaning, was_cleaned| turns_of(&task(cleaning), was_cleaned, &answers).pop().unwrap();
        assert!(matches!(fifth(Cleaning::Never, true), NextTurn::Last { .. }));
        assert_eq!(fifth(Cleaning::Never, false), NextTurn::Alone, "it is never at its end");
        assert_eq!(fifth(Cleaning::Compacts, true), NextTurn::Alone, "its records may be replaced meanwhile");
        assert_eq!(fifth(Cleaning::Unknown, true), NextTurn::Alone);
    }

    #[tokio::test]
    async fn a_partition_of_a_silent_broker_has_more_than_one_turn_and_as_much_time_as_one_that_is_asked_for_alone() {
        let began = Instant::now();
        let later = |seconds| began + Duration::from_secs(seconds);
        let turn = |task: &Task, yields_since, patience: &Patience, seconds| {
            let stalls = Stalls { count: 8, since: yields_since };
            Idle::default().judge(task, Some(&empty(20)), true, Some(stalls), patience, later(seconds))
        };
        let once = task(Cleaning::Never);
        assert_eq!(turn(&once, began, &PATIENCE, 0), NextTurn::Last { since: began }, "its first turn");
        let twice = Task { yields_since: Some(began), ..once.clone() };
        assert_eq!(turn(&twice, began, &PATIENCE, 59), NextTurn::Last { since: began }, "too soon");
        assert_eq!(turn(&twice, later(600), &PATIENCE, 720), NextTurn::Last { since: later(720) }, "another silence");
        assert_eq!(turn(&twice, began, &PATIENCE, 60), NextTurn::Silent { stalls: 8 });
        let no_patience = Patience { stall: Duration::ZERO, ..PATIENCE };
        assert_eq!(turn(&once, began, &no_patience, 0), NextTurn::Last { since: began });
        let batch = BatchBuilder::new(10).producer(1, 0, 0).build().unwrap();
        let with_batch = Fetched { records: batch.into(), ..empty(20) };
        assert_eq!(after(&twice, false, &Ok(with_batch), later(60)).task().yields_since, None);
        assert_eq!(after(&twice, false, &Ok(empty(20)), later(60)).task().yields_since, Some(began));
    }

    #[tokio::test]
    async fn a_partition_that_is_asked_for_alone_is_not_at_its_end_while_its_broker_is_silent() {
        let began = Instant::now();
        // It is asked every five seconds.
        let judged = |silent: usize, then: usize| {
            let mut idle = Idle { is_alone: true, ..Idle::default() };
            let stalls = Some(Stalls { count: 8, since: began });
            let silences = std::iter::repeat_n(stalls, silent).chain(std::iter::repeat_n(None, then)).enumerate();
            let judged = silences.map(|(number, silence)| {
                let now = began + Duration::from_secs(5 * number as u64);
                idle.judge(&task(Cleaning::Compacts), Some(&empty(20)), false, silence, &PATIENCE, now)
            });
            judged.collect::<Vec<NextTurn>>()
        };
        let always = judged(13, 0);
        assert_eq!(always[..12], [NextTurn::Same; 12]);
        assert_eq!(always[12], NextTurn::Stalled);
        let once = judged(5, 7);
        assert_eq!(once[..11], [NextTurn::Same; 11], "the time of the silence does not count");
        assert_eq!(once[11], NextTurn::End);
    }

    #[tokio::test]
    async fn a_partition_that_is_alone_lets_others_go_first_once_its_topic_is_known_to_have_been_cleaned() {
        let mut idle = Idle { is_alone: true, ..Idle::default() };
        let now = Instant::now();
        let mut judge =
            |was_cleaned| idle.judge(&task(Cleaning::Never), Some(&empty(20)), was_cleaned, None, &PATIENCE, now);
        assert_eq!(judge(false), NextTurn::Same);
        assert_eq!(judge(true), NextTurn::Last { since: now });
    }

    #[tokio::test]
    async fn neither_a_throttled_answer_nor_a_last_stable_offset_before_the_end_counts_towards_an_end() {
        let throttled = Fetched { is_throttled: true, ..empty(20) };
        let mut answers = vec![empty(20); 5 + 6];
        answers.push(throttled);
        assert_eq!(last(Cleaning::Compacts, &answers), NextTurn::Same);
        *answers.last_mut().unwrap() = empty(15);
        answers.extend(vec![empty(20); 6]);
        assert!(!turns(Cleaning::Compacts, &answers).contains(&NextTurn::End));
    }

    #[tokio::test]
    async fn a_compacted_partition_is_done_when_a_response_brings_its_reader_to_the_end_that_it_names() {
        let now = Instant::now();
        let at_end = Task { stretch: Stretch::new(20..20, false), ..task(Cleaning::Compacts) };
        assert!(matches!(after(&at_end, false, &Ok(empty(20)), now), After::Done(_)));
        let After::GoOn(task) = after(&at_end, false, &Ok(empty(25)), now) else { panic!("there is more") };
        assert_eq!(task.stretch.end_offset, 25);
        let not_compacted = Task { cleaning: Cleaning::Never, ..at_end };
        assert!(matches!(after(&not_compacted, false, &Ok(empty(25)), now), After::Done(_)));
    }

    #[tokio::test]
    async fn a_reader_that_does_not_catch_up_in_several_times_its_time_to_the_cut_falls_behind() {
        let began = Instant::now();
        let minutes = |minutes: u64| began + Duration::from_secs(60 * minutes);
        assert!(!falls_behind(began, minutes(0), minutes(10), &PATIENCE));
        assert!(falls_behind(began, minutes(0), minutes(11), &PATIENCE));
        assert!(!falls_behind(began, minutes(100), minutes(500), &PATIENCE));
        assert!(falls_behind(began, minutes(100), minutes(501), &PATIENCE));
    }

    #[tokio::test]
    async fn trouble_begins_with_the_first_failure_and_ends_with_a_batch() {
        let began = Instant::now();
        let failed = crate::kafka::Error::UnknownBroker { id: 1 };
        let error = || Err(FetchError::Later(failed.clone()));
        let After::Elsewhere(task) = after(&task(Cleaning::Never), false, &error(), began) else {
            panic!("it may pass")
        };
        let later = began + Duration::from_secs(100);
        let After::Elsewhere(mut task) = after(&task, false, &error(), later) else { panic!("it may pass") };
        assert!(has_failed_for(&task, Duration::from_secs(99), later));
        assert!(!has_failed_for(&task, Duration::from_secs(100), later));
        assert!(!is_hopeless(&task, Duration::from_secs(99), later), "it has waited for its turn between two brokers");
        for _ in 2..FAILURES_MIN {
            let After::Elsewhere(again) = after(&task, false, &error(), later) else { panic!("it may pass") };
            task = again;
        }
        assert!(is_hopeless(&task, Duration::from_secs(99), later));
        let trouble_of = |fetched, is_filled| after(&task, is_filled, &Ok(fetched), later).task().trouble.clone();
        assert_eq!(trouble_of(empty(20), false), task.trouble, "the next request may fail again");
        assert_eq!(trouble_of(empty(20), true), None, "others have filled the response");
        let batch = BatchBuilder::new(10).producer(1, 0, 0).build().unwrap();
        assert_eq!(trouble_of(Fetched { records: batch.into(), ..empty(20) }, false), None);
    }
}
