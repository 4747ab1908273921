//! Reads on in the log to find out whether a transaction was aborted.

use super::judgement::too_large;
use super::queue::Task;
use super::unlisted::Undecided;
use crate::format::batch;
use crate::kafka::Cluster;
use crate::kafka::Error;
use crate::kafka::fetch::{FetchError, FetchLimits, FetchTarget, FetchedPartition, Isolation};
use crate::stop::Stop;

/// Bytes that are asked for at first: most markers come soon.
const FIRST_BYTES: i32 = 64 << 10;
/// Bytes that are asked for at most.
const BYTES_MAX: i32 = 1 << 20;
/// Bytes behind the beginning of a transaction in which its end is looked for. After these the broker's list of aborted transactions is
/// used as it is, with a warning: it is wrong only in rare cases.
const BYTES_BEHIND_MAX: usize = 60 << 20;
/// Requests for the answers to one request; after these the list is used, too.
const REQUESTS_MAX: u32 = 256;
/// Times in a row that a partition gave nothing, as the first of a request or together with all others, after which nothing more is to be
/// expected now.
const EMPTY_ANSWERS: u32 = 4;
/// So many of them when stable batches were asked for, and the log cleaner may have left none.
const EMPTY_STABLE_ANSWERS: u32 = 2;

/// Where and how long to look.
#[derive(Clone, Copy)]
pub struct Lookahead<'a> {
    /// The cluster.
    pub cluster: &'a Cluster,
    /// The broker that has answered.
    pub broker: i32,
    /// The lane on which it was asked.
    pub lane: usize,
    /// How long it may hold an answer back when it has nothing to return, in milliseconds.
    pub max_wait_ms: i32,
    /// Ends the search.
    pub stop: &'a Stop,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Looked {
    /// How many bytes were read.
    pub bytes: u64,
    /// Answers, by their number, of which the log does not tell soon enough what became of a transaction, and where the first of those
    /// begins. They hold what the broker says.
    pub untold: Vec<(usize, i64)>,
}

impl Looked {
    fn believe(&mut self, one: &Open) {
        self.untold.extend(one.undecided.first_offset().map(|offset| (one.number, offset)));
    }
}

/// An answer that is not complete yet.
struct Open {
    number: usize,
    undecided: Undecided,
    empty_answers: u32,
}

/// What to do with an answer that is not complete yet.
enum Next {
    Read,
    Believe,
    LeaveOut,
}

impl Open {
    fn next(&self) -> Next {
        match (self.empty_answers, self.undecided.bytes_behind()) {
            (EMPTY_ANSWERS.., _) => Next::LeaveOut,
            (_, BYTES_BEHIND_MAX..) => Next::Believe,
            (_, _) => Next::Read,
        }
    }

    /// A response had batches for it, or none although it had its turn.
    const fn note(&mut self, has_batches: bool, isolation: Isolation) {
        self.empty_answers = if has_batches { 0 } else { self.empty_answers + 1 };
        if matches!(isolation, Isolation::Committed) && self.empty_answers >= EMPTY_STABLE_ANSWERS {
            self.undecided.nothing_stable_is_left();
        }
    }
}

impl Lookahead<'_> {
    /// Completes the lists of aborted transactions in a broker's answers. An answer loses what cannot be decided now; where that is all of
    /// it, it becomes a failure that may pass: batches that are there must not look like none.
    pub async fn complete(&self, asked: &mut [Task], outcomes: &mut [FetchedPartition]) -> Looked {
        let mut looked = Looked::default();
        let mut open = begin(asked, outcomes, &mut looked);
        let (mut max_bytes, mut requests) = (FIRST_BYTES, 0);
        while !open.is_empty() && requests < REQUESTS_MAX && !self.stop.is_set() {
            let isolation = open[0].undecided.isolation();
            let (wanted, mut others): (Vec<Open>, Vec<Open>) =
                open.into_iter().partition(|one| one.undecided.isolation() == isolation);
            let mut read = self.read(wanted, isolation, max_bytes, asked, outcomes, &mut looked).await;
            // A broker fills its answer in the order of the request: each is to be the first in its turn.
            if !read.is_empty() {
                read.rotate_left(1);
            }
            others.extend(read);
            open = Vec::new();
            for one in others {
                match one.next() {
                    Next::Read => open.push(one),
                    Next::Believe => looked.believe(&one),
                    Next::LeaveOut => leave_out_untold(&one, asked, outcomes),
                }
            }
            requests += 1;
            max_bytes = (2 * max_bytes).min(BYTES_MAX);
        }
        for one in &open {
            if self.stop.is_set() { leave_out_untold(one, asked, outcomes) } else { looked.believe(one) }
        }
        looked
    }

    /// Reads on once, behind each of these answers, and returns those that are not complete yet.
    async fn read(
        &self,
        mut wanted: Vec<Open>,
        isolation: Isolation,
        max_bytes: i32,
        asked: &mut [Task],
        outcomes: &mut [FetchedPartition],
        looked: &mut Looked,
    ) -> Vec<Open> {
        let target = |Open { number, undecided, .. }: &Open| FetchTarget {
            offset: undecided.next_offset(),
            ..asked[*number].target(max_bytes)
        };
        let targets: Vec<FetchTarget> = wanted.iter().map(target).collect();
        let first = wanted.first().map(|one| one.number);
        let limits = FetchLimits { max_bytes, min_bytes: 1, max_wait_ms: self.max_wait_ms, isolation };
        let answers = self.cluster.fetch(self.broker, self.lane, &targets, limits).await;
        if answers.as_ref().err().and_then(too_large).is_some() {
            // Nobody can read on there, most likely behind the first. It is taken as every consumer takes it, and the others go on.
            looked.believe(&wanted.remove(0));
            return wanted;
        }
        let (mut open, mut is_silent): (Vec<Open>, bool) = (Vec::new(), true);
        for (at, mut one) in wanted.into_iter().enumerate() {
            let Ok(fetched) = &mut outcomes[one.number].outcome else { continue };
            let seen = match &answers {
                Ok(answers) => answers[at].outcome.clone(),
                Err(error) => Err(FetchError::Later(error.clone())),
            };
            let is_throttled = seen.as_ref().is_ok_and(|seen| seen.is_throttled);
            let is_read = seen.and_then(|seen| {
                looked.bytes += seen.records.len() as u64;
                let is_read = one.undecided.look_at(&seen, &mut fetched.aborted);
                is_read.map_err(|error| unreadable(&targets[at], &error))
            });
            let has_batches = one.undecided.next_offset() > targets[at].offset;
            is_silent &= !has_batches && !is_throttled;
            if has_batches || (at == 0 && !is_throttled) {
                one.note(has_batches, isolation);
            }
            match is_read {
                Ok(()) if one.undecided.is_over() => looked.believe(&one),
                Ok(()) => open.push(one),
                Err(error) => leave_out(&one.undecided, error, &mut asked[one.number], &mut outcomes[one.number]),
            }
        }
        if is_silent {
            // No other can have filled the response.
            let others = open.iter_mut().filter(|one| Some(one.number) != first);
            others.for_each(|one| one.note(false, isolation));
        }
        open
    }
}

/// What the answers alone do not tell. Some of it no search tells either.
fn begin(asked: &mut [Task], outcomes: &mut [FetchedPartition], looked: &mut Looked) -> Vec<Open> {
    let mut open = Vec::new();
    for (number, (task, answered)) in asked.iter_mut().zip(outcomes).enumerate() {
        if let Ok(fetched) = &mut answered.outcome {
            let (next_offset, end_offset) = (task.stretch.next_offset, task.end_offset_max());
            let undecided = task.unlisted.complete(fetched, next_offset, end_offset);
            let one = Open { number, undecided, empty_answers: 0 };
            if one.undecided.is_over() { looked.believe(&one) } else { open.push(one) }
        }
    }
    open
}

fn leave_out(undecided: &Undecided, error: FetchError, task: &mut Task, answered: &mut FetchedPartition) {
    let Ok(fetched) = &mut answered.outcome else { return };
    if undecided.leave_out(fetched, &mut task.unlisted) {
        answered.outcome = Err(error);
    }
}

fn leave_out_untold(one: &Open, asked: &mut [Task], outcomes: &mut [FetchedPartition]) {
    let error = not_told(&asked[one.number].target(0), &one.undecided);
    leave_out(&one.undecided, error, &mut asked[one.number], &mut outcomes[one.number]);
}

fn unreadable(target: &FetchTarget, error: &batch::Error) -> FetchError {
    later(format!("{}-{}, behind what was asked for: {error}", target.topic, target.partition))
}

fn not_told(target: &FetchTarget, undecided: &Undecided) -> FetchError {
    let (topic, partition, offset) = (&target.topic, target.partition, undecided.next_offset());
    later(format!("{topic}-{partition}: the log up to offset {offset} does not tell whether a transaction was aborted"))
}

/// It may pass.
fn later(why: String) -> FetchError {
    FetchError::Later(Error::Protocol { address: "the leader".to_owned(), api: "Fetch", why })
}
