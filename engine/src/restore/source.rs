//! The batches of one partition of a backup, in the order of offsets, read a piece at a time.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use super::Error;
use crate::format::codec::Decompressor;
use crate::format::frame::{self, Frame, Header};
use crate::format::run::Run;
use crate::store::Store;

/// Bytes of a segment that are asked for at once; more only when a single frame is larger.
const READ_BYTES: u64 = 2 << 20;

/// Frames of a partition, one after the other.
pub struct Source {
    store: Store,
    /// Keys of segments and the runs in them, in the order of offsets.
    runs: VecDeque<(String, Run)>,
    /// The run that is being read, and the position in its segment that is to be asked for next.
    current: Option<(String, Run, u64)>,
    /// What was read and not yet used.
    buffer: Bytes,
    decompressor: Decompressor,
}

impl Source {
    /// Reads these runs, which are in the order of offsets.
    pub fn new(store: Store, runs: impl IntoIterator<Item = (String, Run)>) -> Self {
        Self {
            store,
            runs: runs.into_iter().collect(),
            current: None,
            buffer: Bytes::new(),
            decompressor: Decompressor::new(),
        }
    }

    /// The next frame, checked; none at the end.
    ///
    /// # Errors
    /// What the store fails with, and [`Error::Damaged`] when the bytes are not what was written.
    pub async fn next(&mut self) -> Result<Option<Frame>, Error> {
        loop {
            let Some((key, run, position)) = &mut self.current else {
                let Some((key, run)) = self.runs.pop_front() else { return Ok(None) };
                let position = run.position;
                self.current = Some((key, run, position));
                continue;
            };
            let end = run.byte_range().end;
            let at = *position - self.buffer.len() as u64;
            if at == end {
                self.current = None;
                continue;
            }
            let damaged = |error| Error::Damaged { key: key.clone(), start: at, end, error };
            let missing = match Header::parse(&self.buffer) {
                Ok(header) if self.buffer.len() >= header.frame_bytes() => 0,
                Ok(header) => header.frame_bytes() - self.buffer.len(),
                Err(frame::Error::Truncated { need, .. }) => need - self.buffer.len(),
                Err(error) => return Err(damaged(error)),
            };
            if missing > 0 {
                let wanted = READ_BYTES.max(missing as u64).min(end - *position);
                if wanted < missing as u64 {
                    let have = self.buffer.len();
                    return Err(damaged(frame::Error::Truncated { have, need: have + missing }));
                }
                let read = self.store.read_range(key, *position..*position + wanted).await?;
                *position += wanted;
                if self.buffer.is_empty() {
                    self.buffer = read;
                } else {
                    let mut joined = BytesMut::with_capacity(self.buffer.len() + read.len());
                    joined.extend_from_slice(&self.buffer);
                    joined.extend_from_slice(&read);
                    self.buffer = joined.freeze();
                }
                continue;
            }
            let (frame, used) = Frame::decode(&self.buffer, &mut self.decompressor).map_err(damaged)?;
            self.buffer.advance(used);
            return Ok(Some(frame));
        }
    }
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Source").field("runs", &self.runs.len()).finish_non_exhaustive()
    }
}
