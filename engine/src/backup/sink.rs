//! Where a worker puts what it read: a segment that is uploaded while it is written.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Error;
use super::committed::Step;
use super::queue::{Cleaning, Task};
use crate::format::frame::ArchiveCompression;
use crate::format::hole::{Hole, HoleReason};
use crate::format::layout::{ArchiveKeys, BackupId, SegmentId};
use crate::format::rope::Rope;
use crate::format::run::Content;
use crate::format::segment::{OpenSegment, SegmentRef, StoredSegment};
use crate::store::{Store, Upload};

/// Where segments of a run go, and how they are made.
#[derive(Debug)]
pub struct SegmentPlan {
    /// The repository.
    pub store: Store,
    /// The keys of the archive.
    pub keys: ArchiveKeys,
    /// The backup that the segments are made for.
    pub backup_id: BackupId,
    /// The lease under which they are written.
    pub epoch: u64,
    /// How batches that the producer left uncompressed are stored.
    pub compression: ArchiveCompression,
    /// Bytes at which a segment is closed.
    pub segment_bytes_max: u64,
    /// The age at which a segment is closed, so that a checkpoint can name it; none where there are no checkpoints.
    pub segment_age_max: Option<Duration>,
}

/// The segments of one worker, one after the other.
pub struct Sink {
    plan: Arc<SegmentPlan>,
    worker: usize,
    number: u64,
    open: Option<Open>,
}

struct Open {
    segment: OpenSegment,
    upload: Upload,
    /// What waits for the upload.
    out: Rope,
    opened_at: Instant,
}

impl Sink {
    /// The sink of worker number `worker`.
    pub fn new(plan: Arc<SegmentPlan>, worker: usize) -> Self {
        Self { plan, worker, number: 0, open: None }
    }

    /// Appends steps of the task's partition, of which the first begins at the task's next offset; says what they held.
    /// Batches are parts of `response`, which stays in memory until [`Sink::flush`].
    ///
    /// # Errors
    /// What the log or the store fails with.
    pub async fn append(
        &mut self,
        task: &Task,
        response: &Bytes,
        steps: impl Iterator<Item = Result<Step<'_>, super::committed::Error>> + Send,
    ) -> Result<Content, Error> {
        let mut content = Content::default();
        let mut start_offset = task.stretch.next_offset;
        let mut begun = false;
        // Whether the log still held what was read of the epoch before may not be known yet: its run ends where that epoch was left, so
        // that also the next process can ask.
        let is_later_epoch = task.stretch.epoch_before(response).is_some();
        for step in steps {
            let step = step.map_err(|error| Error::log(task, error))?;
            if let Step::NotOurs { start_offset: moved } = step {
                start_offset = moved;
                continue;
            }
            let open = self.open().await?;
            if !begun {
                begun = true;
                // After records that expired, the log may begin inside a batch.
                let reaches_back = matches!(&step, Step::Batch(batch) if batch.base_offset() < start_offset);
                // By its own run, the next process tells an end without a batch from gaps between batches. Of a compacted log, which is
                // read on beyond the cut, the leader epoch of the batches before has to answer for the end, too.
                let is_compaction = matches!(&step, Step::Hole(hole) if hole.reason == HoleReason::Compaction);
                let is_empty_end = response.is_empty() && is_compaction && task.cleaning == Cleaning::Never;
                let Open { segment, out, .. } = &mut *open;
                match reaches_back || is_later_epoch || is_empty_end {
                    true => segment.begin_new_run(&task.topic, task.partition, start_offset, out)?,
                    false => segment.begin_run(&task.topic, task.partition, start_offset, out)?,
                }
            }
            match step {
                Step::Batch(batch) => {
                    content.add_batch(&batch);
                    open.segment.push_batch(&batch, response, &mut open.out)?;
                }
                Step::Hole(hole) => {
                    content.holes.add_hole(&hole);
                    open.segment.push_hole(hole, &mut open.out)?;
                }
                Step::NotOurs { .. } => {}
            }
        }
        Ok(content)
    }

    /// Records that the rest of the task up to the hole's end holds no record.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn append_hole(&mut self, task: &Task, hole: Hole) -> Result<Content, Error> {
        self.append(task, &Bytes::new(), std::iter::once(Ok(Step::Hole(hole)))).await
    }

    async fn open(&mut self) -> Result<&mut Open, Error> {
        let open = match self.open.take() {
            Some(open) => open,
            None => {
                let SegmentPlan { store, keys, backup_id, epoch, compression, .. } = &*self.plan;
                let id = SegmentId::new(backup_id, *epoch, self.worker, self.number);
                self.number += 1;
                let upload = store.upload(&keys.segment(&id)).await?;
                let mut out = Rope::default();
                let segment = OpenSegment::new(id, *compression, &mut out);
                Open { segment, upload, out, opened_at: Instant::now() }
            }
        };
        Ok(self.open.insert(open))
    }

    /// Hands what was appended to the upload, and lets go of the responses that it came in.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn flush(&mut self) -> Result<(), Error> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.segment.release(&mut open.out)?;
        let out = std::mem::take(&mut open.out);
        if out.is_empty() { Ok(()) } else { Ok(open.upload.write(out.into_pieces()).await?) }
    }

    /// Closes the segment when it is large or old enough; gives it back once it is stored.
    ///
    /// # Errors
    /// What the store fails with.
    pub async fn rotate(&mut self) -> Result<Option<StoredSegment>, Error> {
        let is_due = self.open.as_ref().is_some_and(|open| {
            open.segment.bytes() >= self.plan.segment_bytes_max
                || self.plan.segment_age_max.is_some_and(|age_max| open.opened_at.elapsed() >= age_max)
        });
        if is_due { self.close().await } else { Ok(None) }
    }

    /// Closes the segment, if one is open; gives it back once it is stored.
    ///
    /// # Errors
    /// What the store fails with, and [`Error::Stored`] when it says that it holds another number of bytes than it was given.
    pub async fn close(&mut self) -> Result<Option<StoredSegment>, Error> {
        let Some(mut open) = self.open.take() else { return Ok(None) };
        if open.segment.is_empty() {
            open.upload.abort().await;
            return Ok(None);
        }
        let sealed = open.segment.seal(&mut open.out)?;
        open.upload.write(open.out.into_pieces()).await?;
        let stored_bytes = open.upload.finish().await?;
        let stored = sealed.stored();
        let SegmentRef { id, bytes, .. } = &stored.segment;
        if stored_bytes != *bytes {
            return Err(Error::Stored { key: self.plan.keys.segment(id), written: *bytes, stored: stored_bytes });
        }
        Ok(Some(stored))
    }
}
