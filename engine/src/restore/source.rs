//! The frames of one partition of a backup, in the order of offsets, with the next piece read ahead.

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::Error;
use super::memory::Memory;
use super::reader::{Piece, Reader};
use crate::format::frame::Frame;
use crate::format::run::Run;
use crate::store::{self, Store};

/// Frames of a partition, one after the other.
pub struct Source {
    store: Store,
    reader: Reader,
    /// The piece after the one that is being opened; none before the first is asked for.
    ahead: Option<Ahead>,
}

impl Source {
    /// Reads these runs, which are in the order of offsets, each with the key of its segment. So many bytes are asked for at
    /// once: two such pieces, and the frame that is being sent, are in memory.
    pub fn new(store: Store, runs: impl IntoIterator<Item = (String, Run)>, piece_bytes: u64) -> Self {
        let reader = Reader::new(runs, piece_bytes);
        Self { store, reader, ahead: None }
    }

    /// The next frame, checked; none at the end.
    ///
    /// # Errors
    /// What the store fails with, and [`Error::Damaged`] when the bytes are not what was written.
    pub async fn next(&mut self, memory: &Memory) -> Result<Option<Frame>, Error> {
        loop {
            if let Some(frame) = memory.with_bench(|bench| self.reader.next_frame(&mut bench.decompressor)).await? {
                return Ok(Some(frame));
            }
            let piece = match self.ahead.take() {
                Some(ahead) => ahead.piece().await?,
                None => match self.reader.ask() {
                    Some(Piece { key, range }) => self.store.read_range(&key, range).await?,
                    None => return Ok(None),
                },
            };
            self.reader.take(piece);
            self.ahead = self.reader.ask().map(|piece| Ahead::new(self.store.clone(), piece));
        }
    }
}

/// A piece that is being read, and is given up with its reader.
struct Ahead(JoinHandle<Result<Bytes, store::Error>>);

impl Ahead {
    fn new(store: Store, Piece { key, range }: Piece) -> Self {
        Self(tokio::spawn(async move { store.read_range(&key, range).await }))
    }

    async fn piece(mut self) -> Result<Bytes, Error> {
        Ok((&mut self.0).await.map_err(|_| Error::WorkerEnded)??)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("reader", &self.reader).finish_non_exhaustive()
    }
}
