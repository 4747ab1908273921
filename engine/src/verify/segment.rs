//! One segment: its size, its index, and every byte of it.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::Level;
use super::backup::{WantedSegment, place};
use super::finding::{Finding, Stretch};
use super::frame::{self, Expected, Sum};
use crate::decompression::Decompression;
use crate::error::Kind;
use crate::format::checksum;
use crate::format::codec::Decompressor;
use crate::format::layout::ArchiveKeys;
use crate::format::run::Run;
use crate::format::segment::{self, Index, IndexedRun, TopicKey};
use crate::progress::Progress;
use crate::repository::segment as stored;
use crate::stop::Stop;
use crate::store::{self, Store};

/// What one request reads. Times the parallelism, and the same again for what is decompressed, it is the memory of a run.
const PIECE_BYTES_MAX: u64 = 4 << 20;

/// What came out of segments.
#[derive(Debug, Default)]
pub struct Read {
    /// Records that were read.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

/// The verification of one segment.
pub struct Check {
    /// The repository.
    pub store: Store,
    /// The archive's keys.
    pub keys: ArchiveKeys,
    /// The segment's key.
    pub key: String,
    /// What must be true of it.
    pub wanted: Arc<WantedSegment>,
    /// How deep to look.
    pub level: Level,
    /// What the records of a batch may take decompressed.
    pub decompression: Arc<Decompression>,
    /// What is counted.
    pub progress: Progress,
    /// Ends the verification between two pieces; the caller sees that it was set.
    pub stop: Stop,
}

impl Check {
    /// Verifies the segment.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn run(self) -> Result<Read, store::Error> {
        let mut read = Read::default();
        let index = match stored::read_index(&self.store, &self.keys, &self.wanted.segment).await {
            Ok((index, index_position)) => self.checked(index, index_position, &mut read),
            Err(stored::Error::Store(error)) if error.is_not_found() => {
                let finding = self.finding("it is not there").holding(self.wanted.stretches());
                read.findings.push(finding);
                return Ok(read);
            }
            Err(stored::Error::Store(error)) if error.kind() != Kind::Corrupt => return Err(error),
            Err(error) => {
                read.findings.push(self.unreadable(&error));
                None
            }
        };
        if self.level < Level::Records {
            return Ok(read);
        }
        self.header(&mut read).await?;
        match index {
            Some(index) => {
                for run in &index.runs {
                    self.run_by_frames(&index.topics[run.topic], run, &mut read).await?;
                }
            }
            None => {
                for ((topic, ..), run) in &self.wanted.runs {
                    self.run_by_sum(topic, run, &mut read).await?;
                }
            }
        }
        Ok(read)
    }

    fn finding(&self, what: impl std::fmt::Display) -> Finding {
        Finding::of_object(self.key.clone(), std::slice::from_ref(&self.wanted.backup), what)
    }

    fn unreadable(&self, error: &stored::Error) -> Finding {
        match error {
            stored::Error::Damaged { bytes, why, .. } => self.finding(why).at(bytes.clone()),
            stored::Error::Size { found, wanted, .. } => {
                let what = format!("it has {found} bytes where {wanted} were stored: cut short, or another object");
                let runs = self.wanted.runs.iter().filter(|(_, run)| run.byte_range().end > *found);
                let beyond = runs.map(|((topic, ..), run)| Stretch::of(topic, run)).collect();
                self.finding(what).at((*found).min(*wanted)..(*found).max(*wanted)).holding(beyond)
            }
            stored::Error::Store(error) => self.finding(error),
        }
    }

    /// The index, when it agrees with itself; findings where it says other things than the manifest.
    fn checked(&self, index: Index, index_position: u64, read: &mut Read) -> Option<Index> {
        let listed: std::collections::BTreeMap<_, _> =
            index.runs.iter().map(|indexed| (place(&index.topics[indexed.topic], &indexed.run), indexed)).collect();
        for (place, run) in &self.wanted.runs {
            if listed.get(place).is_none_or(|indexed| indexed.run != *run) {
                let finding = self.finding("its index does not have the run that the manifest names");
                read.findings.push(finding.at(run.byte_range()).holding(vec![Stretch::of(&place.0, run)]));
            }
        }
        let header_bytes = segment::header_bytes(&self.wanted.segment.id);
        if fills(&index, header_bytes..index_position) {
            return Some(index);
        }
        let bytes = index_position..self.wanted.segment.bytes;
        read.findings.push(self.finding("the runs and frames of its index do not fill the segment").at(bytes));
        None
    }

    async fn header(&self, read: &mut Read) -> Result<(), store::Error> {
        let bytes = 0..segment::header_bytes(&self.wanted.segment.id);
        let header = self.piece(bytes.clone(), Vec::new, read).await?;
        if let Some(Err(error)) = header.map(|header| segment::check_header(&self.wanted.segment.id, &header)) {
            read.findings.push(self.finding(error).at(bytes));
        }
        Ok(())
    }

    /// Bytes of the segment; `None` and a finding when the object ends before them.
    async fn piece(
        &self,
        bytes: Range<u64>,
        offsets: impl FnOnce() -> Vec<Stretch>,
        read: &mut Read,
    ) -> Result<Option<Bytes>, store::Error> {
        match self.store.read_range(&self.key, bytes.clone()).await {
            Ok(piece) => {
                read.bytes += piece.len() as u64;
                Ok(Some(piece))
            }
            Err(store::Error::Short { .. }) => {
                read.findings.push(self.finding("the object ends before these bytes").at(bytes).holding(offsets()));
                Ok(None)
            }
            Err(error) if error.kind() == Kind::Corrupt => {
                read.findings.push(self.finding(&error).at(bytes).holding(offsets()));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Checks a run frame by frame. Behind a damaged frame it goes on with the next one, since the index knows where that is.
    async fn run_by_frames(&self, topic: &TopicKey, indexed: &IndexedRun, read: &mut Read) -> Result<(), store::Error> {
        let run = &indexed.run;
        let findings_before = read.findings.len();
        let mut decompressor = Decompressor::for_records_up_to(self.decompression.share_bytes());
        let mut sum = Sum { leader_epoch: -1, ..Sum::default() };
        let mut crc32c = 0;
        for piece in stored::pieces(indexed, 0, PIECE_BYTES_MAX) {
            if self.stop.is_set() {
                return Ok(());
            }
            let offsets = offsets_of(indexed, piece.frames.start).start..offsets_of(indexed, piece.frames.end - 1).end;
            self.progress.add(offsets.end.abs_diff(offsets.start), 0, 0);
            let stretch = || vec![Stretch::within(topic, run.partition, offsets)];
            let Some(mut bytes) = self.piece(piece.bytes.clone(), stretch, read).await? else { continue };
            crc32c = checksum::append(crc32c, &bytes);
            let mut position = piece.bytes.start;
            for number in piece.frames {
                let (frame_bytes, _, max_timestamp_ms) = indexed.frames[number];
                let expected = Expected { offsets: offsets_of(indexed, number), max_timestamp_ms };
                let end = position + frame_bytes;
                let frame =
                    bytes.split_to(usize::try_from(frame_bytes).map_or(bytes.len(), |size| size.min(bytes.len())));
                let mut checked = frame::check(&frame, &expected, &mut decompressor);
                if checked.as_ref().is_err_and(|all| all.iter().any(frame::Wrong::is_too_large)) {
                    let again =
                        |bytes_max| frame::check(&frame, &expected, &mut Decompressor::for_records_up_to(bytes_max));
                    checked = self.decompression.alone(again).await;
                }
                match checked {
                    Ok(of_frame) => {
                        read.records += of_frame.content.records;
                        self.progress.add(0, of_frame.content.records, of_frame.content.raw_bytes);
                        sum.content.add(&of_frame.content);
                        sum.leader_epoch = sum.leader_epoch.max(of_frame.leader_epoch);
                    }
                    Err(all) => read.findings.extend(all.into_iter().map(|wrong| {
                        let offsets = wrong.offsets().unwrap_or_else(|| expected.offsets.clone());
                        let stretch = Stretch::within(topic, run.partition, offsets);
                        self.finding(wrong).at(position..end).holding(vec![stretch])
                    })),
                }
                position = end;
            }
        }
        if read.findings.len() == findings_before
            && (sum.content, sum.leader_epoch, crc32c) != (run.content, run.leader_epoch, run.crc32c)
        {
            let finding = self.finding("its frames do not add up to what the index says of the run");
            read.findings.push(finding.at(run.byte_range()).holding(vec![Stretch::of(topic, run)]));
        }
        Ok(())
    }

    /// Checks a run of which no frames are known, because the index is damaged: whether its bytes are those that were stored.
    async fn run_by_sum(&self, topic: &TopicKey, run: &Run, read: &mut Read) -> Result<(), store::Error> {
        let stretch = || vec![Stretch::of(topic, run)];
        let Range { start: mut position, end } = run.byte_range();
        let mut crc32c = 0;
        self.progress.add(run.end_offset.abs_diff(run.start_offset), 0, 0);
        while position < end {
            if self.stop.is_set() {
                return Ok(());
            }
            let piece = position..end.min(position + PIECE_BYTES_MAX);
            position = piece.end;
            let Some(bytes) = self.piece(piece, stretch, read).await? else { return Ok(()) };
            crc32c = checksum::append(crc32c, &bytes);
        }
        if crc32c != run.crc32c {
            let finding = self.finding("the run fails its CRC-32C");
            read.findings.push(finding.at(run.byte_range()).holding(stretch()));
        }
        Ok(())
    }
}

/// The offsets that a frame of a run answers for.
fn offsets_of(indexed: &IndexedRun, frame: usize) -> Range<i64> {
    let end = indexed.frames.get(frame + 1).map_or(indexed.run.end_offset, |(_, start_offset, _)| *start_offset);
    indexed.frames[frame].1..end
}

/// Whether the runs stand one after the other in `bytes`, each filled by its frames, which rise from its first offset.
fn fills(index: &Index, bytes: Range<u64>) -> bool {
    let mut position = bytes.start;
    for IndexedRun { run, frames, .. } in &index.runs {
        let frames_bytes = frames.iter().try_fold(0_u64, |sum, (bytes, ..)| sum.checked_add(*bytes));
        let rise = frames.is_sorted_by(|a, b| a.1 < b.1);
        let within = frames.first().is_some_and(|first| first.1 == run.start_offset)
            && frames.last().is_some_and(|last| last.1 < run.end_offset);
        if run.position != position || frames_bytes != Some(run.content.stored_bytes) || !rise || !within {
            return false;
        }
        let Some(end) = position.checked_add(run.content.stored_bytes) else { return false };
        position = end;
    }
    position == bytes.end
}
