//! The memory of a restore, which is bounded whatever the size of records: bytes of batches that are under way, over all
//! partitions, and the working memory that is lent to whoever reads or rewrites a batch at the moment.
//!
//! Nobody waits for room who has a batch under way: whoever finds none waits for an answer of its own first, which gives
//! room back. So room is held only by those who go on.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::decompression::Decompression;
use crate::format::codec::Decompressor;
use crate::rewrite::Scratch;

/// Bytes of batches that may be under way for each worker. Each is in memory twice until it is on the wire, so that this
/// comes to a tenth of the 128 MiB that four workers may take; it is four times what one connection needs for 100 MB/s over
/// a line of 5 ms.
const IN_FLIGHT_BYTES_PER_WORKER: usize = 2 << 20;

/// Bytes that the partitions under way may take for each worker: pieces of segments that were read, and the frame that is
/// being sent. Two partitions take somewhat less than that, or dozens of small ones.
const READING_BYTES_PER_WORKER: usize = 8 << 20;

/// Room for a batch or a partition that is under way; dropping it gives the room back.
#[derive(Debug)]
pub struct Room {
    _permit: Option<OwnedSemaphorePermit>,
}

/// What a worker needs while it works on one frame or batch.
pub struct Bench {
    /// Opens frames.
    pub decompressor: Decompressor,
    /// Makes batches anew.
    pub scratch: Scratch,
}

/// The memory that all partitions share.
pub struct Memory {
    in_flight: Arc<Semaphore>,
    in_flight_bytes: usize,
    reading: Arc<Semaphore>,
    reading_bytes: usize,
    /// Those that nobody works at.
    benches: Mutex<Vec<Bench>>,
    /// How many may be worked at.
    free_benches: Semaphore,
    workers: usize,
    decompression: Decompression,
}

impl Memory {
    /// Memory for so many workers.
    pub fn new(workers: usize) -> Self {
        let in_flight_bytes = workers.max(1) * IN_FLIGHT_BYTES_PER_WORKER;
        let reading_bytes = workers.max(1) * READING_BYTES_PER_WORKER;
        Self {
            in_flight: Arc::new(Semaphore::new(in_flight_bytes)),
            in_flight_bytes,
            reading: Arc::new(Semaphore::new(reading_bytes)),
            reading_bytes,
            benches: Mutex::new(Vec::new()),
            free_benches: Semaphore::new(workers.max(1)),
            workers,
            decompression: Decompression::new(workers, DECOMPRESSED_BATCH_BYTES_MAX),
        }
    }

    /// The same, for batches whose records may take so many bytes decompressed.
    #[must_use]
    pub fn for_batches_up_to(self, decompressed_batch_bytes_max: usize) -> Self {
        Self { decompression: Decompression::new(self.workers, decompressed_batch_bytes_max), ..self }
    }

    /// Room for a batch of so many bytes, if there is some now.
    pub fn try_room(&self, bytes: usize) -> Option<Room> {
        let permit = Arc::clone(&self.in_flight).try_acquire_many_owned(permits(bytes, self.in_flight_bytes)).ok()?;
        Some(Room { _permit: Some(permit) })
    }

    /// Room for a batch of so many bytes, as soon as others have given it back. Only for whoever has no batch under way.
    pub async fn room(&self, bytes: usize) -> Room {
        // The semaphore is never closed; were it, to go on without a bound would be the lesser evil.
        let permits = permits(bytes, self.in_flight_bytes);
        Room { _permit: Arc::clone(&self.in_flight).acquire_many_owned(permits).await.ok() }
    }

    /// Room for a partition that takes so many bytes while it is read, as soon as others have given it back.
    pub async fn place(&self, bytes: usize) -> Room {
        let permits = permits(bytes, self.reading_bytes);
        Room { _permit: Arc::clone(&self.reading).acquire_many_owned(permits).await.ok() }
    }

    /// Lends working memory for a moment, in which nothing is waited for: there is some for each worker, however many threads
    /// the machine has.
    pub async fn with_bench<T>(&self, work: impl FnOnce(&mut Bench) -> T) -> T {
        // The semaphore is never closed.
        let _free = self.free_benches.acquire().await.ok();
        // What a panic left behind is only memory.
        let benches = || self.benches.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Bench {
            decompressor: Decompressor::new(),
            scratch: Scratch::for_records_up_to(self.decompression.share_bytes()),
        };
        let mut bench = benches().pop().unwrap_or_else(new);
        let done = work(&mut bench);
        benches().push(bench);
        done
    }

    /// Lends working memory for a batch that is larger than a bench takes: for one batch at a time.
    pub async fn alone<T>(&self, work: impl FnOnce(&mut Scratch) -> T) -> T {
        self.decompression.alone(|bytes_max| work(&mut Scratch::for_records_up_to(bytes_max))).await
    }
}

/// Whatever is larger than all room there is takes it all.
fn permits(bytes: usize, all_bytes: usize) -> u32 {
    u32::try_from(bytes.min(all_bytes)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn room_is_given_until_it_is_used_up_and_comes_back() {
        let memory = Memory::new(1);
        let first = memory.try_room(IN_FLIGHT_BYTES_PER_WORKER - 10).unwrap();
        let second = memory.try_room(10).unwrap();
        assert!(memory.try_room(1).is_none());
        drop(second);
        assert!(memory.try_room(11).is_none() && memory.try_room(10).is_some());
        drop(first);
        assert!(memory.try_room(usize::MAX).is_some(), "a batch larger than all room goes alone");
    }

    #[tokio::test]
    async fn whoever_waits_for_room_is_served_before_those_who_come_later() {
        let memory = Arc::new(Memory::new(1));
        let held = memory.room(IN_FLIGHT_BYTES_PER_WORKER / 2).await;
        let mut waiting = Box::pin(memory.room(usize::MAX));
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err());
        assert!(memory.try_room(1).is_none(), "a small batch would starve a large one");
        drop(held);
        let all = waiting.await;
        assert!(memory.try_room(1).is_none());
        drop(all);
        assert!(memory.try_room(1).is_some());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn there_is_no_more_working_memory_than_there_are_workers() {
        let memory = Arc::new(Memory::new(2));
        let at_work = Arc::new(AtomicUsize::new(0));
        let work = |_| {
            let (memory, at_work) = (Arc::clone(&memory), Arc::clone(&at_work));
            tokio::spawn(async move {
                let most = memory.with_bench(|_| {
                    let now = at_work.fetch_add(1, Ordering::SeqCst) + 1;
                    std::thread::sleep(Duration::from_millis(5));
                    at_work.fetch_sub(1, Ordering::SeqCst);
                    now
                });
                most.await
            })
        };
        let tasks: Vec<_> = (0..8).map(work).collect();
        for task in tasks {
            assert!(task.await.unwrap() <= 2);
        }
        assert!(memory.benches.lock().unwrap().len() <= 2);
    }
}
