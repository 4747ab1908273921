//! What is written down of a run while it goes on: each stored segment at once, or nothing until the run has to end early.
//!
//! A backup of terabytes stores tens of thousands of segments. So that a run that resumes it does not read as many objects,
//! every [`FOLDED`]th checkpoint repeats those before it, which are removed then. Killed between the two, both are there, and the
//! names say which ones stand for which.

use super::Error;
use super::archive::Archive;
use crate::format::layout::{BackupId, CheckpointName};
use crate::format::manifest::Part;
use crate::store::lease::Lease;

/// Checkpoints that a folded one stands for.
const FOLDED: usize = 64;

/// The checkpoints of one run.
pub struct Checkpoints<'a> {
    archive: Archive,
    lease: &'a Lease,
    backup_id: BackupId,
    are_written_at_once: bool,
    parts: Vec<Part>,
}

impl<'a> Checkpoints<'a> {
    /// Those of a run that writes `backup_id` under `lease`.
    pub fn new(archive: Archive, lease: &'a Lease, backup_id: BackupId, are_written_at_once: bool) -> Self {
        Self { archive, lease, backup_id, are_written_at_once, parts: Vec::new() }
    }

    /// What this run has stored, in the order in which it did.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Writes down what this run has just stored.
    ///
    /// # Errors
    /// When the lease is lost, or the store fails.
    pub async fn add(&mut self, part: Part) -> Result<(), Error> {
        self.parts.push(part);
        if !self.are_written_at_once {
            return Ok(());
        }
        let folded = folded(self.parts.len());
        let name = |number: usize, folded: usize| CheckpointName {
            epoch: self.lease.epoch(),
            number: number as u64,
            folded: folded as u64,
        };
        let last = self.parts.len() - 1;
        let first = self.parts.len() - folded;
        self.lease.check().await?;
        let part = Part::merge(self.parts[first..].iter().cloned());
        self.archive.store_checkpoint(&self.backup_id, name(last, folded), &part).await?;
        if folded > 1 {
            self.archive.remove_checkpoints(&self.backup_id, (first..last).map(|number| name(number, 1))).await;
        }
        Ok(())
    }

    /// The run does not come to its end: what it has stored is named for the next one.
    ///
    /// # Errors
    /// As [`Checkpoints::add`].
    pub async fn end_early(&self) -> Result<(), Error> {
        if self.are_written_at_once || self.parts.is_empty() {
            return Ok(());
        }
        self.lease.check().await?;
        let name = CheckpointName { epoch: self.lease.epoch(), number: 0, folded: 1 };
        self.archive.store_checkpoint(&self.backup_id, name, &Part::merge(self.parts.iter().cloned())).await
    }
}

/// How many checkpoints the last of so many stands for.
const fn folded(checkpoints: usize) -> usize {
    if checkpoints.is_multiple_of(FOLDED) { FOLDED } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::document::DocumentKind;
    use crate::format::layout::SegmentId;
    use crate::format::manifest::TopicRuns;
    use crate::format::run::{Content, Run};
    use crate::format::segment::SegmentRef;
    use crate::repository::sample::{Sample, topic};
    use crate::store::lease::{Holder, WaitPolicy};

    fn part(backup: &BackupId, number: u64) -> Part {
        let offset = i64::try_from(number).unwrap();
        let run = Run {
            partition: 0,
            start_offset: offset,
            end_offset: offset + 1,
            leader_epoch: 0,
            position: 0,
            content: Content::default(),
            crc32c: 0,
        };
        let id = SegmentId::new(backup, 1, 0, number);
        Part {
            segments: vec![SegmentRef { id, bytes: 1, index_sha256: String::new() }],
            topics: vec![TopicRuns { topic: topic("orders"), runs: vec![(0, run)] }],
        }
    }

    #[tokio::test]
    async fn a_run_that_resumes_finds_every_segment_in_few_checkpoints() {
        let sample = Sample::new().await;
        let backup: BackupId = "b".parse().unwrap();
        let archive = Archive::new(sample.archive.store.clone(), sample.archive.name.clone());
        let holder = Holder::current("b");
        let prefix = archive.keys.lease();
        let lease = Lease::acquire(&archive.store, &prefix, holder, 60_000, WaitPolicy::Refuse).await.unwrap();
        let mut checkpoints = Checkpoints::new(archive.clone(), &lease, backup.clone(), true);
        let folder = archive.keys.progress_folder(&backup);
        for number in 0..(3 * FOLDED as u64 + 5) {
            checkpoints.add(part(&backup, number)).await.unwrap();
            // Whenever the run is killed, the names that are listed cover all that is stored.
            let listed = archive.store.list(&folder).await.unwrap();
            let names = listed.iter().filter_map(|object| CheckpointName::parse(&object.key[folder.len()..]));
            let mut offsets = Vec::new();
            for name in CheckpointName::covering(names.collect()) {
                let bytes = archive.store.read(&archive.keys.checkpoint(&backup, name)).await.unwrap();
                let part = Part::open(DocumentKind::Checkpoint, &bytes).unwrap();
                offsets.extend(part.runs().map(|(_, _, run)| run.start_offset));
            }
            assert_eq!(offsets, (0..=i64::try_from(number).unwrap()).collect::<Vec<_>>());
            assert!(listed.len() < FOLDED + 3, "{} objects after {number}", listed.len());
        }
        lease.release().await.unwrap();
    }
}
