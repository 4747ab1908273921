//! Batches on their way to the leaders of their partitions: one produce request carries a batch of each of many partitions.
//!
//! A broker serves one request per connection at a time, and with acks=all it answers when the replicas have everything of
//! it. So what a connection writes in a second is decided by how much one request carries. While few requests are
//! unanswered, a batch leaves at once; while many are, batches wait and leave together, as those of Kafka's own producer
//! do. Nobody waits for a request to be full.
//!
//! Batches of one partition leave in the order in which they were pushed, one per request at most: more are refused by
//! brokers (KIP-98). What became of each is answered by itself, so that a failure of one partition concerns no other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::kafka::cluster::Cluster;
use crate::kafka::error::Error;
use crate::kafka::produce::{ProduceBatch, Produced};

/// Bytes of a request at most, without its header, unless its first batch alone has more: what Kafka's own producer sends by
/// default (`max.request.size`).
pub const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Unanswered requests of a connection: as many as Kafka's own producer has by default. More would only wait at the broker,
/// and leave with fewer batches each.
const REQUESTS_MAX: usize = 5;

type Outcome = Result<Produced, Error>;

/// A batch that waits for its request, and whoever waits for its answer.
struct Queued {
    batch: ProduceBatch,
    answer: oneshot::Sender<Outcome>,
}

/// A batch that was queued and waits for its answer.
#[derive(Debug)]
pub struct PendingBatch(oneshot::Receiver<Outcome>);

impl PendingBatch {
    /// Waits for what the leader says about the batch. Dropping this instead leaves open what became of it.
    ///
    /// # Errors
    /// [`Error::leaves_doubt`] tells whether the batch may have been written nevertheless.
    pub async fn answer(self) -> Result<Produced, Error> {
        let gone = || Error::Lost { address: "the broker".to_owned(), why: "the queue has ended".to_owned() };
        self.0.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// The queues of all brokers and lanes; they end with this value, and what still waits in them is not sent.
pub struct ProduceQueues {
    cluster: Cluster,
    request_bytes_max: usize,
    queues: Mutex<HashMap<(i32, usize), Queue>>,
}

struct Queue {
    arrivals: mpsc::UnboundedSender<Queued>,
    task: AbortHandle,
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ProduceQueues {
    /// Queues to this cluster, all of them empty. Requests have so many bytes at most, without the header, unless the first batch alone has
    /// more.
    pub fn new(cluster: Cluster, request_bytes_max: usize) -> Self {
        Self { cluster, request_bytes_max, queues: Mutex::default() }
    }

    /// Queues a batch for the broker that leads its partition. Batches of a partition reach the broker in the order of these
    /// calls as long as broker and lane stay the same; await all answers before you change either, and keep at most five
    /// batches of a partition unanswered: that is how far back a broker remembers sequence numbers (KIP-98).
    ///
    /// Nothing is bounded here: whoever pushes has to bound the bytes that are unanswered.
    pub fn push(&self, broker: i32, lane: usize, batch: ProduceBatch) -> PendingBatch {
        let (answer, pending) = oneshot::channel();
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let start = || {
            let (arrivals, arriving) = mpsc::unbounded_channel();
            let task = tokio::spawn(send_all(self.cluster.clone(), broker, lane, self.request_bytes_max, arriving))
                .abort_handle();
            Queue { arrivals, task }
        };
        let queue = queues.entry((broker, lane)).or_insert_with(start);
        // One whose task has ended would send nothing any more.
        if queue.arrivals.is_closed() {
            *queue = start();
        }
        // One that has ended since drops the batch, and with it the answer's other end, which says so.
        drop(queue.arrivals.send(Queued { batch, answer }));
        PendingBatch(pending)
    }
}

/// Sends what arrives until nothing can arrive any more.
async fn send_all(
    cluster: Cluster,
    broker: i32,
    lane: usize,
    bytes_max: usize,
    mut arriving: mpsc::UnboundedReceiver<Queued>,
) {
    let mut waiting = VecDeque::new();
    let mut unanswered = FuturesUnordered::new();
    loop {
        while let Ok(arrived) = arriving.try_recv() {
            waiting.push_back(arrived);
        }
        if !waiting.is_empty() && unanswered.len() < REQUESTS_MAX {
            unanswered.push(send(&cluster, broker, lane, next_request(&mut waiting, bytes_max)).await);
            continue;
        }
        tokio::select! {
            arrived = arriving.recv() => match arrived {
                Some(arrived) => waiting.push_back(arrived),
                None => return,
            },
            Some(()) = unanswered.next() => {
                // Several partitions have just learnt that they may go on: their next batches leave together.
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Puts one request in line; the future that it gives waits for the answer and hands it out.
async fn send(cluster: &Cluster, broker: i32, lane: usize, request: Vec<Queued>) -> impl Future<Output = ()> + use<> {
    let (batches, answers): (Vec<_>, Vec<_>) =
        request.into_iter().map(|Queued { batch, answer }| (batch, answer)).unzip();
    let sent = cluster.produce(broker, lane, None, batches).await;
    async move {
        let outcomes = match sent {
            Ok(pending) => pending.answer().await,
            Err(error) => Err(error),
        };
        hand_out(answers, outcomes.map(|answered| answered.into_iter().map(|partition| partition.outcome)));
    }
}

/// Gives each batch its own answer, in the order of the request; a failure of the request is the answer for all of them.
fn hand_out(answers: Vec<oneshot::Sender<Outcome>>, outcomes: Result<impl Iterator<Item = Outcome>, Error>) {
    // A partition that is given up has dropped its end, and needs no answer.
    match outcomes {
        Ok(outcomes) => answers.into_iter().zip(outcomes).for_each(|(answer, outcome)| drop(answer.send(outcome))),
        Err(error) => answers.into_iter().for_each(|answer| drop(answer.send(Err(error.clone())))),
    }
}

/// Takes the batches of the next request: of each partition the first that waits, in the order in which they came, as many as
/// fit into `bytes_max`. There is one at least if any waits.
fn next_request(waiting: &mut VecDeque<Queued>, bytes_max: usize) -> Vec<Queued> {
    let mut partitions = HashSet::new();
    let mut bytes = 0;
    let mut is_full = false;
    let mut is_taken = Vec::with_capacity(waiting.len());
    for Queued { batch, .. } in &*waiting {
        let is_first = !is_full && partitions.insert((batch.topic.as_str(), batch.partition));
        // Whoever does not fit is the first of the next request: a small batch does not overtake a large one for ever.
        is_full |= is_first && bytes > 0 && bytes + batch.request_bytes() > bytes_max;
        let takes = is_first && !is_full;
        bytes += if takes { batch.request_bytes() } else { 0 };
        is_taken.push(takes);
    }
    let mut request = Vec::with_capacity(partitions.len());
    let mut left = VecDeque::with_capacity(waiting.len() - is_taken.iter().filter(|taken| **taken).count());
    for (queued, taken) in waiting.drain(..).zip(is_taken) {
        if taken { request.push(queued) } else { left.push_back(queued) }
    }
    *waiting = left;
    request
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn queued(partition: i32, number: u8, bytes: usize) -> (Queued, PendingBatch) {
        let (answer, pending) = oneshot::channel();
        let batch = Bytes::from(vec![number; bytes]);
        let batch = ProduceBatch { topic: "t".to_owned(), topic_id: Uuid::nil(), partition, batch };
        (Queued { batch, answer }, PendingBatch(pending))
    }

    fn named(request: &[Queued]) -> Vec<(i32, u8)> {
        request.iter().map(|queued| (queued.batch.partition, queued.batch.batch[0])).collect()
    }

    #[test]
    fn a_request_takes_the_first_batch_of_each_partition() {
        let waiting = [(0, 1), (0, 2), (1, 1), (2, 1), (1, 2)];
        let mut waiting: VecDeque<_> = waiting.map(|(partition, number)| queued(partition, number, 10).0).into();
        assert_eq!(named(&next_request(&mut waiting, 1_000)), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(named(&next_request(&mut waiting, 1_000)), [(0, 2), (1, 2)]);
        assert!(next_request(&mut waiting, 1_000).is_empty());
    }

    #[test]
    fn what_stands_around_small_batches_counts() {
        let mut waiting: VecDeque<_> = (0..1_000).map(|partition| queued(partition, 1, 1).0).collect();
        let request = next_request(&mut waiting, 1_000);
        assert!((2..100).contains(&request.len()), "{}", request.len());
    }

    #[test]
    fn a_batch_that_does_not_fit_is_not_overtaken_and_leaves_alone_if_it_must() {
        let waiting = [(0, 1, 600), (1, 1, 5_000), (2, 1, 10), (1, 2, 10)];
        let mut waiting: VecDeque<_> =
            waiting.map(|(partition, number, bytes)| queued(partition, number, bytes).0).into();
        assert_eq!(named(&next_request(&mut waiting, 1_000)), [(0, 1)]);
        assert_eq!(named(&next_request(&mut waiting, 1_000)), [(1, 1)]);
        assert_eq!(named(&next_request(&mut waiting, 1_000)), [(2, 1), (1, 2)]);
    }

    #[tokio::test]
    async fn each_batch_gets_its_own_answer_and_a_lost_request_is_everybodys() {
        let lost = || Error::Lost { address: "b:9092".to_owned(), why: "closed".to_owned() };
        let produced = Produced { base_offset: 7, log_append_time_ms: -1, log_start_offset: 0 };
        let two = || [queued(0, 1, 1), queued(1, 1, 1)].map(|(queued, pending)| (queued.answer, pending));
        let [(first, one), (second, other)] = two();
        hand_out(vec![first, second], Ok([Err(lost()), Ok(produced)].into_iter()));
        assert_eq!((one.answer().await, other.answer().await), (Err(lost()), Ok(produced)));
        let [(first, one), (second, other)] = two();
        hand_out(vec![first, second], Err::<std::iter::Empty<_>, _>(lost()));
        assert_eq!((one.answer().await, other.answer().await), (Err(lost()), Err(lost())));
        let [(_, unanswered), _] = two();
        assert!(unanswered.answer().await.unwrap_err().leaves_doubt());
    }

    proptest! {
        /// Whatever waits leaves once, in order within its partition, in requests that brokers take.
        #[test]
        fn every_batch_leaves_once_and_in_order(
            batches in proptest::collection::vec((0_i32..5, 1_usize..60), 0..40),
            bytes_max in 1_usize..400,
        ) {
            let numbered = (0_u8..).zip(&batches).map(|(number, (partition, bytes))| queued(*partition, number, *bytes).0);
            let mut waiting: VecDeque<_> = numbered.collect();
            let mut left = Vec::new();
            while !waiting.is_empty() {
                let request = next_request(&mut waiting, bytes_max);
                let bytes: usize = request.iter().map(|queued| queued.batch.request_bytes()).sum();
                prop_assert!(request.len() == 1 || (!request.is_empty() && bytes <= bytes_max));
                let partitions: HashSet<_> = request.iter().map(|queued| queued.batch.partition).collect();
                prop_assert_eq!(partitions.len(), request.len());
                left.extend(named(&request));
            }
            for partition in 0..5 {
                let of = |all: &[(i32, u8)]| all.iter().filter(|(of, _)| *of == partition).map(|(_, number)| *number).collect::<Vec<_>>();
                let pushed: Vec<(i32, u8)> = (0_u8..).zip(&batches).map(|(number, (partition, _))| (*partition, number)).collect();
                prop_assert_eq!(of(&left), of(&pushed));
            }
        }
    }
}
