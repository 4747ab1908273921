//! The frames of a partition in the order of its offsets, out of bytes that somebody else reads.
//!
//! The runs of a partition are read in pieces of a fixed size, one after the other. Where a piece ends in the middle of a
//! frame, that frame alone is put together from both. This module says what to read next and checks what came; it does
//! no I/O.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::Error;
use crate::format::codec::Decompressor;
use crate::format::frame::{self, Frame};
use crate::format::run::Run;

/// What is to be read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The segment.
    pub key: String,
    /// Its bytes.
    pub range: Range<u64>,
}

/// Reads the runs of one partition.
#[derive(Debug)]
pub struct Reader {
    piece_bytes: u64,
    /// What was not asked for yet.
    to_ask: VecDeque<(String, Range<u64>)>,
    /// Runs that are being opened.
    to_open: VecDeque<(String, Run)>,
    /// Pieces that came and were not opened yet, in order.
    pieces: VecDeque<Bytes>,
    /// The beginning of a frame whose rest is in the next piece.
    torn: BytesMut,
    /// Where the next frame of the run begins, and which offset it begins with; absent before a run's first frame.
    next: Option<(u64, i64)>,
}

impl Reader {
    /// A reader of these runs, which are in the order of offsets, each with the key of its segment.
    pub fn new(runs: impl IntoIterator<Item = (String, Run)>, piece_bytes: u64) -> Self {
        let runs = runs.into_iter().filter(|(_, run)| run.content.stored_bytes > 0);
        let to_open: VecDeque<(String, Run)> = runs.collect();
        Self {
            piece_bytes: piece_bytes.max(1),
            to_ask: to_open.iter().map(|(key, run)| (key.clone(), run.byte_range())).collect(),
            to_open,
            pieces: VecDeque::new(),
            torn: BytesMut::new(),
            next: None,
        }
    }

    #[cfg(test)]
    pub fn is_done(&self) -> bool {
        self.to_open.is_empty()
    }

    /// What to read next. Every piece that is asked for must be given to [`Reader::take`], in the same order.
    pub fn ask(&mut self) -> Option<Piece> {
        let (key, left) = self.to_ask.front_mut()?;
        let range = left.start..left.end.min(left.start + self.piece_bytes);
        left.start = range.end;
        let piece = Piece { key: key.clone(), range };
        if left.is_empty() {
            self.to_ask.pop_front();
        }
        Some(piece)
    }

    /// Takes what was asked for.
    pub fn take(&mut self, piece: Bytes) {
        self.pieces.push_back(piece);
    }

    /// The next frame, checked; `None` when the next piece is needed for it, or all were given out.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub fn next_frame(&mut self, decompressor: &mut Decompressor) -> Result<Option<Frame>, Error> {
        let Some((key, run)) = self.to_open.front() else { return Ok(None) };
        let (position, offset) = self.next.unwrap_or((run.position, run.start_offset));
        let end = run.byte_range().end;
        let damaged = |error| Error::Damaged { key: key.clone(), start: position, end, error };
        let assembled = assemble(&mut self.torn, &mut self.pieces, end.saturating_sub(position));
        let Some(bytes) = assembled.map_err(damaged)? else { return Ok(None) };
        let (frame, frame_bytes) = Frame::decode(&bytes, decompressor).map_err(damaged)?;
        // The batches get new checksums on their way out, which would hide what is wrong with them.
        frame.check().map_err(damaged)?;
        let next = position + frame_bytes as u64;
        let is_last = next == end;
        let is_too_short = is_last && frame.offsets.end != run.end_offset;
        if frame.offsets.start != offset || frame.offsets.end > run.end_offset || is_too_short {
            return Err(damaged(frame::Error::Tiling(offset)));
        }
        self.next = (!is_last).then_some((next, frame.offsets.end));
        if is_last {
            self.to_open.pop_front();
        }
        Ok(Some(frame))
    }
}

/// The bytes of the next frame, which begins where `torn` does, or the first piece; `None` when its rest has not come.
/// `left` bytes of the run are left, this frame's among them.
fn assemble(torn: &mut BytesMut, pieces: &mut VecDeque<Bytes>, left: u64) -> Result<Option<Bytes>, frame::Error> {
    if left < frame::HEADER_BYTES as u64 {
        return Err(frame::Error::Truncated { have: usize::try_from(left).unwrap_or(0), need: frame::HEADER_BYTES });
    }
    if torn.is_empty() {
        let Some(first) = pieces.front_mut() else { return Ok(None) };
        if first.len() >= frame::HEADER_BYTES {
            let need = size(first, left)?;
            if first.len() >= need {
                let bytes = first.split_to(need);
                if first.is_empty() {
                    pieces.pop_front();
                }
                return Ok(Some(bytes));
            }
            torn.reserve(need);
        }
    }
    loop {
        let has_header = torn.len() >= frame::HEADER_BYTES;
        let need = if has_header { size(torn, left)? } else { frame::HEADER_BYTES };
        if has_header && torn.len() == need {
            return Ok(Some(std::mem::take(torn).freeze()));
        }
        let Some(first) = pieces.front_mut() else { return Ok(None) };
        let more = (need - torn.len()).min(first.len());
        torn.extend_from_slice(&first.split_to(more));
        if first.is_empty() {
            pieces.pop_front();
        }
    }
}

/// Bytes of the frame that `bytes` begin with; never more than its run has.
fn size(bytes: &[u8], left: u64) -> Result<usize, frame::Error> {
    let need = frame::Header::parse(bytes)?.frame_bytes();
    let have = usize::try_from(left).unwrap_or(usize::MAX);
    if need > have { Err(frame::Error::Truncated { have, need }) } else { Ok(need) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::format::batch::{Batch, Compression};
    use crate::format::builder::BatchBuilder;
    use crate::format::frame::ArchiveCompression;
    use crate::format::record::OwnedRecord;
    use crate::format::rope::Rope;
    use crate::format::segment::{OpenSegment, TopicKey};

    /// A segment with one run of uncompressed batches of these many bytes of value each.
    fn segment(sizes: &[usize], compression: Compression) -> (Vec<u8>, Run, Vec<Vec<u8>>) {
        let mut out = Rope::default();
        let compression = ArchiveCompression { codec: compression, level: None };
        let mut segment = OpenSegment::new("s".parse().unwrap(), compression, &mut out);
        let topic = TopicKey { name: "t".to_owned(), id: uuid::Uuid::nil() };
        segment.begin_run(&topic, 0, 0, &mut out).unwrap();
        let mut batches = Vec::new();
        for (offset, size) in sizes.iter().enumerate() {
            let record = OwnedRecord { value: Some(vec![7; *size]), ..OwnedRecord::default() };
            let bytes = BatchBuilder::new(offset as i64).record(record).build().unwrap();
            let bytes = Bytes::from(bytes);
            segment.push_batch(&Batch::parse(&bytes).unwrap(), &bytes, &mut out).unwrap();
            batches.push(bytes.into());
        }
        let stored = segment.seal(&mut out).unwrap().stored();
        let run = stored.index.runs[0].run.clone();
        (out.to_bytes().into(), run, batches)
    }

    fn read(run: Run, piece_bytes: u64, segment: &[u8]) -> Result<Vec<Vec<u8>>, Error> {
        let mut reader = Reader::new([("s".to_owned(), run)], piece_bytes);
        let mut decompressor = Decompressor::default();
        let mut batches = Vec::new();
        while !reader.is_done() {
            if let Some(frame) = reader.next_frame(&mut decompressor)? {
                batches.extend(frame.batches().map(|batch| batch.unwrap().bytes().to_vec()));
            } else {
                let piece = reader.ask().expect("a reader that is not done has something to ask for");
                let range = piece.range.start as usize..piece.range.end as usize;
                reader.take(Bytes::copy_from_slice(&segment[range]));
            }
        }
        assert_eq!(reader.ask(), None);
        Ok(batches)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn batches_come_back_whatever_the_pieces(
            sizes in proptest::collection::vec(0_usize..600_000, 1..8),
            piece_bytes in prop_oneof![1_u64..200, 1_000_u64..4_000_000],
            zstd in any::<bool>(),
        ) {
            let piece_bytes = piece_bytes.max(sizes.iter().sum::<usize>() as u64 / 2_000);
            let (segment, run, batches) = segment(&sizes, if zstd { Compression::Zstd } else { Compression::None });
            prop_assert_eq!(read(run, piece_bytes, &segment).unwrap(), batches);
        }
    }

    #[test]
    fn a_flipped_bit_is_named_by_object_and_place() {
        let (mut segment, run, _) = segment(&[100, 200, 300], Compression::None);
        let position = run.position;
        segment[position as usize + 300] ^= 1;
        let error = read(run, 1 << 20, &segment).unwrap_err();
        assert!(error.to_string().starts_with(&format!("s, bytes {position}..")), "{error}");
    }

    #[test]
    fn frames_that_do_not_fill_their_run_are_refused() {
        let (segment, mut run, _) = segment(&[100, 200], Compression::None);
        run.end_offset += 1;
        let error = read(run, 1 << 20, &segment).unwrap_err();
        assert!(matches!(error, Error::Damaged { error: frame::Error::Tiling(0), .. }), "{error}");
    }

    #[test]
    fn a_run_that_ends_in_a_frame_is_refused() {
        let (segment, mut run, _) = segment(&[100, 200], Compression::None);
        for stored_bytes in [run.content.stored_bytes - 1, 10] {
            run.content.stored_bytes = stored_bytes;
            let error = read(run.clone(), 1 << 20, &segment).unwrap_err();
            assert!(matches!(error, Error::Damaged { error: frame::Error::Truncated { .. }, .. }), "{error}");
        }
    }
}
