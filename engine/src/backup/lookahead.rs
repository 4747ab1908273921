//! Reads on in the log to find out whether a transaction was aborted.

use super::queue::Task;
use super::unlisted::Undecided;
use crate::format::batch;
use crate::kafka::Cluster;
use crate::kafka::Error;
use crate::kafka::fetch::{FetchError, FetchLimits, FetchTarget, FetchedPartition};
use crate::stop::Stop;

/// Bytes that are asked for at first: most markers come soon.
const FIRST_BYTES: i32 = 64 << 10;
/// Bytes that are asked for at most.
const BYTES_MAX: i32 = 1 << 20;
/// Requests for the answers to one request.
const REQUESTS_MAX: u32 = 64;
/// Answers without a batch, one after the other, after which nothing more is to be expected now.
const EMPTY_ANSWERS: u32 = 3;

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

impl Lookahead<'_> {
    /// Completes the lists of aborted transactions in a broker's answers. An answer loses what cannot be decided now; where that is all of
    /// it, it becomes a failure that may pass: batches that are there must not look like none. Returns how many bytes were read.
    pub async fn complete(&self, asked: &mut [Task], outcomes: &mut [FetchedPartition]) -> u64 {
        let mut open: Vec<(usize, Undecided)> = Vec::new();
        for (number, (task, answered)) in asked.iter_mut().zip(&mut *outcomes).enumerate() {
            if let Ok(fetched) = &mut answered.outcome {
                let (next_offset, end_offset) = (task.stretch.next_offset, task.end_offset_max());
                open.push((number, task.unlisted.complete(fetched, next_offset, end_offset)));
            }
        }
        open.retain(|(_, undecided)| !undecided.is_over());
        let (mut bytes, mut max_bytes, mut requests, mut empty_answers) = (0, FIRST_BYTES, 0, 0);
        while let Some((_, first)) = open.first() {
            if self.stop.is_set() || requests >= REQUESTS_MAX || empty_answers >= EMPTY_ANSWERS {
                break;
            }
            let isolation = first.isolation();
            let (wanted, others): (Vec<_>, Vec<_>) =
                open.into_iter().partition(|(_, undecided)| undecided.isolation() == isolation);
            let target = |(number, undecided): &(usize, Undecided)| FetchTarget {
                offset: undecided.next_offset(),
                ..asked[*number].target(max_bytes)
            };
            let targets: Vec<FetchTarget> = wanted.iter().map(target).collect();
            let limits = FetchLimits { max_bytes, min_bytes: 1, max_wait_ms: self.max_wait_ms, isolation };
            let answers = self.cluster.fetch(self.broker, self.lane, &targets, limits).await;
            let mut has_batches = false;
            open = Vec::new();
            for (at, (number, mut undecided)) in wanted.into_iter().enumerate() {
                let seen = match &answers {
                    Ok(answers) => answers[at].outcome.clone(),
                    Err(error) => Err(FetchError::Later(error.clone())),
                };
                let looked = seen.and_then(|seen| {
                    bytes += seen.records.len() as u64;
                    let Ok(fetched) = &mut outcomes[number].outcome else { return Ok(false) };
                    undecided.look_at(&seen, &mut fetched.aborted).map_err(|error| unreadable(&targets[at], &error))
                });
                match looked {
                    Ok(has_some) => {
                        has_batches |= has_some;
                        open.push((number, undecided));
                    }
                    Err(error) => leave_out(&undecided, error, &mut asked[number], &mut outcomes[number]),
                }
            }
            open.extend(others);
            open.retain(|(_, undecided)| !undecided.is_over());
            requests += 1;
            empty_answers = if has_batches { 0 } else { empty_answers + 1 };
            max_bytes = (2 * max_bytes).min(BYTES_MAX);
        }
        for (number, undecided) in open {
            let error = not_told(&asked[number].target(0), &undecided);
            leave_out(&undecided, error, &mut asked[number], &mut outcomes[number]);
        }
        bytes
    }
}

fn leave_out(undecided: &Undecided, error: FetchError, task: &mut Task, answered: &mut FetchedPartition) {
    let Ok(fetched) = &mut answered.outcome else { return };
    if undecided.leave_out(fetched, &mut task.unlisted) {
        answered.outcome = Err(error);
    }
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
