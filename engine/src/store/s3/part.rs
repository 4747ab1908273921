//! The parts that an object is sent in, when it is not in memory as a whole.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Size of the first parts of an upload, in bytes: the smallest that S3 takes.
const PART_BYTES: usize = 5 << 20;
/// After so many parts they double in size. S3 takes 10,000 parts of an object, so that it may have 4.8 TiB.
const PARTS_OF_A_SIZE: u32 = 1_000;
/// Parts of one upload that are under way at a time. A part takes a store some tenths of a second; with a second one under way
/// the worker reads on meanwhile.
pub(super) const PARTS_IN_FLIGHT: usize = 2;
/// Parts that the writer holds: those under way, and one that it keeps back, since the last part is sent in another way.
const PARTS_GIVEN_OUT: usize = PARTS_IN_FLIGHT + 1;
/// Most memory that one upload to S3 holds, in bytes, while the object has less than [`PARTS_OF_A_SIZE`] parts (5 GB): the
/// parts that the writer holds, and the next.
pub const UPLOAD_MEMORY_BYTES: usize = PART_BYTES * (PARTS_GIVEN_OUT + 1);

/// The part that is being filled, and the number that it will have, from 0. Bytes are copied into it: pieces would keep all
/// the memory alive that they are a part of.
#[derive(Debug, Default)]
pub(super) struct Part {
    bytes: BytesMut,
    number: u32,
    /// The last parts that were given out. Once the store has the oldest one, its memory is filled again: allocators keep
    /// more than what is in use when blocks of this size come and go.
    given_out: VecDeque<Bytes>,
}

impl Part {
    /// Takes what there is room for out of `bytes`; gives the part back when it is full.
    pub(super) fn fill(&mut self, bytes: &mut Bytes) -> Option<Bytes> {
        let size = part_bytes(self.number);
        if self.bytes.is_empty() {
            self.bytes = self.empty(size);
        }
        let piece = bytes.split_to((size - self.bytes.len()).min(bytes.len()));
        self.bytes.extend_from_slice(&piece);
        (self.bytes.len() == size).then(|| self.take())
    }

    /// Whether nothing waits in it.
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Memory for a part of this size.
    fn empty(&mut self, size: usize) -> BytesMut {
        let oldest = if self.given_out.len() > PARTS_GIVEN_OUT { self.given_out.pop_front() } else { None };
        let mut again = oldest.and_then(|part| part.try_into_mut().ok()).unwrap_or_default();
        again.clear();
        if again.capacity() < size {
            again = BytesMut::with_capacity(size);
        }
        again
    }

    /// Gives out what there is, and begins the next.
    pub(super) fn take(&mut self) -> Bytes {
        self.number += 1;
        let part = std::mem::take(&mut self.bytes).freeze();
        self.given_out.push_back(part.clone());
        part
    }
}

/// The size of a part, by its number from 0. All before the last have the same size up to 5 GB, which some stores want.
fn part_bytes(number: u32) -> usize {
    PART_BYTES << (number / PARTS_OF_A_SIZE).min(9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_exactly_and_an_object_of_4_tib_needs_no_more_than_10_000() {
        let mut part = Part::default();
        let mut cut = Vec::new();
        for size in [1, PART_BYTES - 1, 3 * PART_BYTES, 7, 0] {
            let mut bytes = Bytes::from(vec![7; size]);
            while !bytes.is_empty() {
                cut.extend(part.fill(&mut bytes).map(|part| part.len()));
            }
        }
        assert_eq!((cut, part.bytes.len(), part.number), (vec![PART_BYTES; 4], 7, 4));
        assert_eq!((part.take().len(), part.bytes.len()), (7, 0));
        let all: u64 = (0..10_000).map(|number| part_bytes(number) as u64).sum();
        assert!(all >= 4 << 40, "{all} bytes");
    }

    #[test]
    fn the_memory_of_a_part_that_the_store_has_is_filled_again() {
        let mut part = Part::default();
        let mut places = Vec::new();
        for round in 0..12_u8 {
            let full = part.fill(&mut Bytes::from(vec![round; PART_BYTES])).unwrap();
            assert!(full.iter().all(|byte| *byte == round));
            places.push(full.as_ptr());
        }
        const AGAIN: usize = PARTS_GIVEN_OUT + 1;
        assert_eq!(places[AGAIN..2 * AGAIN], places[..AGAIN]);
        assert_eq!(places[2 * AGAIN..], places[..AGAIN]);
        // What somebody still reads is left alone.
        let held = part.fill(&mut Bytes::from(vec![9; PART_BYTES])).unwrap();
        for _ in 0..=AGAIN {
            part.fill(&mut Bytes::from(vec![7; PART_BYTES])).unwrap();
        }
        assert!(held.iter().all(|byte| *byte == 9));
    }
}
