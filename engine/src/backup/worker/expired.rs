//! Offsets that are out of range: records that have expired, a log that has become shorter, or a leader that is behind.

use tokio::time::Instant;

use super::Worker;
use crate::backup::Error;
use crate::backup::committed::Stretch;
use crate::backup::queue::Task;
use crate::backup::unlisted::Unlisted;
use crate::format::hole::HoleReason;
use crate::kafka::TopicPartition;
use crate::kafka::list_offsets::Position;

/// How often a log start offset is asked for that does not explain why an offset is out of range: a new leader may be behind.
const LOG_START_TRIES: u32 = 3;

impl Worker {
    /// An offset is out of range. Where the log start offset has moved over it, the records have expired: they become a hole, and
    /// the rest is read. Where the log ends before it, the log has become shorter. Where it is in range after all, whoever leads by now
    /// may know less than the leader that refused it, or storage other than the broker's own disks may have nothing at hand: it is tried
    /// again, for as long as other troubles are.
    pub(super) async fn skip_expired(&mut self, task: Task) -> Result<Option<Task>, Error> {
        let at = task.stretch.next_offset;
        let key = (task.topic.name.clone(), task.partition);
        for _ in 0..LOG_START_TRIES {
            let mut earliest = self.shared.cluster.list_offsets([key.clone()], Position::Earliest).await;
            match earliest.remove(&key) {
                Some(Ok(earliest)) if earliest.offset > at => return self.expire(task, earliest.offset).await,
                Some(Ok(_)) | None => drop(self.shared.cluster.refresh().await),
                Some(Err(error)) => {
                    // The search for the leader finds out whether the topic is still there.
                    return Ok(Some(task.troubled(error, Instant::now())));
                }
            }
        }
        let mut latest = self.shared.cluster.list_offsets([key.clone()], Position::HighWatermark).await;
        match latest.remove(&key) {
            Some(Ok(latest)) if latest.offset < at => {
                self.give_up(&task, Error::truncated(&task, at));
                Ok(None)
            }
            Some(Err(error)) => Ok(Some(task.troubled(error, Instant::now()))),
            Some(Ok(_)) | None => Ok(Some(task.troubled(refused(&key, at), Instant::now()))),
        }
    }

    async fn expire(&mut self, task: Task, log_start_offset: i64) -> Result<Option<Task>, Error> {
        let (topic, partition, start_offset) = (&task.topic.name, task.partition, task.stretch.next_offset);
        // A compacted log is read on to wherever it ends by now.
        let end_offset = match task.cleaning.is_possible() {
            true => task.stretch.end_offset.max(log_start_offset),
            false => task.stretch.end_offset,
        };
        let expired = log_start_offset.min(end_offset);
        tracing::warn!(
            topic,
            partition,
            start_offset,
            end_offset = expired,
            "records expired before they could be read"
        );
        self.hole(&task, expired, HoleReason::Expired).await?;
        let stretch = Stretch { epoch: task.stretch.epoch, ..Stretch::new(expired..end_offset, true) };
        let is_over = stretch.is_done() && !task.cleaning.is_possible();
        Ok((!is_over).then_some(Task { stretch, trouble: None, unlisted: Unlisted::default(), ..task }))
    }
}

/// The leader refuses an offset that is in its log.
fn refused((topic, partition): &TopicPartition, offset: i64) -> crate::kafka::Error {
    let why = format!(
        "offset {offset} of {topic}-{partition} is out of range, and is within the range that the broker names"
    );
    crate::kafka::Error::Protocol { address: "the leader".to_owned(), api: "Fetch", why }
}
