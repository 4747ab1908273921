//! The way into a stored segment: its index, checked against what a manifest says, and the pieces in which a run is read.

use std::ops::Range;

use crate::error::Kind;
use crate::format::layout::ArchiveKeys;
use crate::format::segment::{self, FOOTER_BYTES, Footer, Index, IndexedRun, SegmentRef, TAIL_BYTES};
use crate::store::{self, Store};

/// Why a segment cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store, or the object is not there.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The object has another size than it was stored with.
    #[error("{key}: it has {found} bytes where {wanted} were stored: cut short, or another object")]
    Size {
        /// The object.
        key: String,
        /// Its size.
        found: u64,
        /// The size that it was stored with.
        wanted: u64,
    },
    /// Index or footer is not what was stored.
    #[error("{key}, bytes {}..{}: {why}", bytes.start, bytes.end)]
    Damaged {
        /// The object.
        key: String,
        /// Where the damage is.
        bytes: Range<u64>,
        /// What is wrong.
        why: segment::Error,
    },
}

impl Error {
    /// What it asks of whoever reads it.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Store(error) => error.kind(),
            Self::Size { .. } | Self::Damaged { .. } => Kind::Corrupt,
        }
    }
}

/// The index of a segment that a manifest names, and where in the object it begins.
///
/// # Errors
/// Every way in which the object is not the one that the manifest was made from.
pub async fn read_index(store: &Store, keys: &ArchiveKeys, segment: &SegmentRef) -> Result<(Index, u64), Error> {
    let key = keys.segment(&segment.id);
    let (tail, found) = store.read_tail(&key, TAIL_BYTES).await?;
    if found != segment.bytes {
        return Err(Error::Size { key, found, wanted: segment.bytes });
    }
    let damaged = |bytes: Range<u64>, why| Error::Damaged { key: key.clone(), bytes, why };
    let end = found.saturating_sub(FOOTER_BYTES as u64);
    let footer = Footer::parse(&tail, found).map_err(|why| damaged(end..found, why))?;
    let bytes = footer.index_position..end;
    // What is read at once holds the whole index unless there are very many runs.
    let missing = footer.index_bytes.saturating_sub((tail.len() - FOOTER_BYTES) as u64);
    let index = if missing == 0 {
        let index_bytes = usize::try_from(footer.index_bytes).expect("no more than the tail, which is in memory");
        tail.slice(tail.len() - FOOTER_BYTES - index_bytes..tail.len() - FOOTER_BYTES)
    } else {
        store.read_range(&key, bytes.clone()).await?
    };
    let index = segment::open_index(&index, Some(&segment.index_sha256)).map_err(|why| damaged(bytes, why))?;
    Ok((index, footer.index_position))
}

/// Some neighbouring frames of a run, to be read by one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Where they stand in the segment.
    pub bytes: Range<u64>,
    /// Their numbers in [`IndexedRun::frames`].
    pub frames: Range<usize>,
}

/// Cuts a run into pieces of at most `bytes_max` bytes, beginning with the frame `first`. A frame that is larger makes a
/// piece alone.
pub fn pieces(run: &IndexedRun, first: usize, bytes_max: u64) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let mut position = run.run.position;
    for (number, (bytes, ..)) in run.frames.iter().enumerate() {
        let end = position.saturating_add(*bytes);
        match pieces.last_mut() {
            Some(piece) if end - piece.bytes.start <= bytes_max => {
                piece.bytes.end = end;
                piece.frames.end = number + 1;
            }
            Some(_) | None if number >= first => {
                pieces.push(Piece { bytes: position..end, frames: number..number + 1 });
            }
            Some(_) | None => {}
        }
        position = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::run::{Content, Run};

    fn run(frames: &[u64]) -> IndexedRun {
        let run = Run {
            partition: 0,
            start_offset: 0,
            end_offset: frames.len() as i64,
            position: 100,
            leader_epoch: -1,
            crc32c: 0,
            content: Content { stored_bytes: frames.iter().sum(), ..Content::default() },
        };
        IndexedRun { topic: 0, run, frames: frames.iter().zip(0..).map(|(bytes, at)| (*bytes, at, -1)).collect() }
    }

    #[test]
    fn pieces_hold_every_frame_from_the_first_that_is_wanted_and_keep_below_the_limit() {
        let cut = |first, max| {
            pieces(&run(&[10, 20, 70, 5]), first, max)
                .into_iter()
                .map(|piece| (piece.bytes, piece.frames))
                .collect::<Vec<_>>()
        };
        assert_eq!(cut(0, 1000), [(100..205, 0..4)]);
        assert_eq!(cut(0, 30), [(100..130, 0..2), (130..200, 2..3), (200..205, 3..4)]);
        assert_eq!(cut(1, 90), [(110..200, 1..3), (200..205, 3..4)]);
        assert_eq!(cut(4, 90), []);
    }
}
