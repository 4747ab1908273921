//! Memory for large answers, used again for the next ones.
//!
//! Fresh memory of some megabytes costs more, page by page in the kernel, than to fill it from a socket.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};

/// Buffers kept at most: two for each of four workers, of which one is worked on while the other is filled.
const KEPT_MAX: usize = 8;
/// Sizes that are kept, in bytes: smaller ones do not matter, and larger ones are too rare to hold memory for.
const KEPT_BYTES: RangeInclusive<usize> = 64 * 1024..=8 * 1024 * 1024;
/// Sizes are rounded up to this, so that a slightly larger answer fits as well.
const STEP_BYTES: usize = 1024 * 1024;

/// The buffers of all connections of one cluster; a clone has the same ones.
#[derive(Clone, Default)]
pub(crate) struct Buffers(Arc<Mutex<VecDeque<BytesMut>>>);

impl Buffers {
    /// An empty buffer with room for so many bytes: a kept one, if whatever was read into it is not in use any more.
    pub(crate) fn take(&self, bytes: usize) -> BytesMut {
        if !KEPT_BYTES.contains(&bytes) {
            return BytesMut::with_capacity(bytes);
        }
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = kept.iter_mut().position(|buffer| buffer.try_reclaim(bytes));
        let taken = free.and_then(|free| kept.remove(free));
        taken.unwrap_or_else(|| BytesMut::with_capacity(bytes.next_multiple_of(STEP_BYTES)))
    }

    /// What was read into a buffer, which is kept for when the last part of it is dropped.
    pub(crate) fn freeze(&self, mut buffer: BytesMut) -> Bytes {
        let answer = buffer.split().freeze();
        if KEPT_BYTES.contains(&answer.len()) {
            let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kept.push_back(buffer);
            if kept.len() > KEPT_MAX {
                kept.pop_front();
            }
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 1024 * 1024;

    fn fill(buffers: &Buffers, bytes: usize, with: u8) -> Bytes {
        let mut buffer = buffers.take(bytes);
        assert!(buffer.is_empty() && buffer.capacity() >= bytes);
        buffer.resize(bytes, with);
        buffers.freeze(buffer)
    }

    #[test]
    fn memory_is_used_again_once_the_last_part_of_its_answer_is_dropped() {
        let buffers = Buffers::default();
        let first = fill(&buffers, LARGE, 1);
        let at = first.as_ptr();
        let part = first.slice(10..20);
        drop(first);
        let second = fill(&buffers, LARGE, 2);
        assert_ne!(second.as_ptr(), at);
        assert_eq!(&part[..], [1; 10]);
        drop(part);
        assert_eq!(fill(&buffers, LARGE, 3).as_ptr(), at);
        assert_eq!(second, vec![2; LARGE]);
    }

    #[test]
    fn no_more_than_a_few_are_kept_and_none_that_is_small_or_huge() {
        let buffers = Buffers::default();
        let answers: Vec<Bytes> = (0..20).map(|with| fill(&buffers, LARGE, with)).collect();
        for (answer, with) in answers.iter().zip(0..) {
            assert_eq!(answer, &vec![with; LARGE]);
        }
        fill(&buffers, 1000, 0);
        fill(&buffers, 9 * LARGE, 0);
        assert_eq!(buffers.0.lock().unwrap().len(), KEPT_MAX);
    }
}
