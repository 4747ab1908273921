//! Reads on in the log for the markers that tell whether a transaction was aborted.

use super::queue::Task;
use super::unlisted::Undecided;
use crate::kafka::Cluster;
use crate::kafka::fetch::{FetchLimits, FetchTarget, FetchedPartition, Isolation};

/// Bytes that are asked for at first: most markers come soon.
const FIRST_BYTES: i32 = 64 << 10;
/// Bytes that are asked for at most.
const BYTES_MAX: i32 = 1 << 20;
/// How long a broker may hold an answer back when it has nothing to return.
const WAIT_MS: i32 = 500;
/// Answers without a batch, one after the other, after which it is tried again later.
const EMPTY_ANSWERS: u32 = 3;

/// Completes the lists of aborted transactions in a broker's answers. Of a partition of which the broker does not tell enough, the answer loses
/// what cannot be decided.
pub async fn decide(
    cluster: &Cluster,
    broker: i32,
    lane: usize,
    asked: &mut [Task],
    outcomes: &mut [FetchedPartition],
) {
    let mut open: Vec<(usize, Undecided)> = Vec::new();
    for (number, (task, answered)) in asked.iter_mut().zip(&mut *outcomes).enumerate() {
        if let Ok(fetched) = &mut answered.outcome {
            open.push((number, task.unlisted.complete(fetched, task.stretch.next_offset)));
        }
    }
    open.retain(|(_, undecided)| !undecided.is_over());
    let (mut max_bytes, mut empty_answers) = (FIRST_BYTES, 0);
    while !open.is_empty() && empty_answers < EMPTY_ANSWERS {
        let target = |(number, undecided): &(usize, Undecided)| FetchTarget {
            offset: undecided.next_offset,
            ..asked[*number].target(max_bytes)
        };
        let targets: Vec<FetchTarget> = open.iter().map(target).collect();
        let limits = FetchLimits { max_bytes, min_bytes: 1, max_wait_ms: WAIT_MS, isolation: Isolation::Uncommitted };
        let answers = match cluster.fetch(broker, lane, &targets, limits).await {
            Ok(answers) => answers,
            Err(error) => {
                tracing::debug!(broker, "cannot look for the markers of transactions: {error}");
                break;
            }
        };
        let mut has_batches = false;
        for ((number, undecided), answer) in open.iter_mut().zip(answers) {
            if let (Ok(fetched), Ok(seen)) = (&mut outcomes[*number].outcome, answer.outcome) {
                has_batches |= undecided.look_at(&seen, &mut fetched.aborted);
            }
        }
        open.retain(|(_, undecided)| !undecided.is_over());
        empty_answers = if has_batches { 0 } else { empty_answers + 1 };
        max_bytes = (2 * max_bytes).min(BYTES_MAX);
    }
    for (number, undecided) in open {
        if let Ok(fetched) = &mut outcomes[number].outcome {
            undecided.leave_out(fetched, &mut asked[number].unlisted);
        }
    }
}
