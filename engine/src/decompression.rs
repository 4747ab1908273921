//! The memory in which the workers of a run decompress the records of batches.
//!
//! How much a batch takes shows only when it is decompressed: gzip, Snappy and LZ4 do not tell, and what zstd tells may be wrong.
//! Each worker has a share, which is enough for the batches of nearly every producer. A batch that does not fit into it is
//! decompressed again with all that a batch may take, by one worker at a time. So a run holds the shares of its workers and one
//! large batch, and not one for each worker.

use tokio::sync::Semaphore;

/// What all shares come to, in bytes. With the largest batch that is allowed by default, and three copies of each, this is 288 MiB: with
/// the 128 MiB that a restore takes besides, it fits into the 512 MiB of a pod.
const SHARES_BYTES: usize = 32 << 20;
/// A share is not smaller, in bytes, however many workers there are: most batches would wait for each other.
const SHARE_BYTES_MIN: usize = 1 << 20;

/// What the workers of a run may decompress at a time.
#[derive(Debug)]
pub(crate) struct Decompression {
    batch_bytes_max: usize,
    share_bytes: usize,
    /// One permit: for the batch that takes more than a share.
    large_batch: Semaphore,
}

impl Decompression {
    /// For so many workers, and batches whose records may take so many bytes decompressed.
    pub(crate) fn new(workers: usize, batch_bytes_max: usize) -> Self {
        let share_bytes = (SHARES_BYTES / workers.max(1)).max(SHARE_BYTES_MIN).min(batch_bytes_max);
        Self { batch_bytes_max, share_bytes, large_batch: Semaphore::new(1) }
    }

    /// Bytes that the records of a batch may take for which nobody waits.
    pub(crate) const fn share_bytes(&self) -> usize {
        self.share_bytes
    }

    /// Works on a batch that is larger than a share, while nobody else works on another such batch: `work` is told how many bytes the
    /// batch's records may take, and must not keep them.
    pub(crate) async fn alone<T>(&self, work: impl FnOnce(usize) -> T) -> T {
        // The semaphore is never closed.
        let _permit = self.large_batch.acquire().await.ok();
        work(self.batch_bytes_max)
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::poll;

    use super::*;
    use crate::config::DECOMPRESSED_BATCH_BYTES_MAX;
    use crate::config::backup::PARALLELISM;

    #[tokio::test]
    async fn only_one_batch_at_a_time_takes_more_than_a_share() {
        let decompression = Decompression::new(4, 64 << 20);
        let left = decompression.alone(|_| decompression.large_batch.available_permits()).await;
        assert_eq!(left, 0, "the permit is held while the batch is worked on");
        let permit = decompression.large_batch.acquire().await.unwrap();
        let mut waiting = pin!(decompression.alone(|batch_bytes_max| batch_bytes_max));
        assert!(poll!(&mut waiting).is_pending());
        drop(permit);
        assert_eq!(waiting.await, 64 << 20);
    }

    #[test]
    fn a_pod_has_room_for_the_shares_of_all_workers_and_one_batch_of_the_largest_size() {
        const POD_BYTES: usize = 512 << 20;
        const RESTORE_BYTES: usize = 128 << 20;
        let shares = |workers| workers * Decompression::new(workers, DECOMPRESSED_BATCH_BYTES_MAX).share_bytes();
        for workers in 1..=PARALLELISM {
            let decompressed = 3 * (shares(workers) + DECOMPRESSED_BATCH_BYTES_MAX);
            assert!(RESTORE_BYTES + decompressed <= POD_BYTES, "{workers} workers: {decompressed}");
        }
        assert_eq!(Decompression::new(64, 64 << 20).share_bytes(), 1 << 20);
        assert_eq!(Decompression::new(4, 4096).share_bytes(), 4096, "no more than a batch may take at all");
    }
}
