//! Bytes in pieces: parts of a broker's responses as they came, and what was written between them.
//!
//! A record batch on its way from a response into a segment is never copied: the rope refers to the response's own
//! buffer, which stays in memory for as long as it does.

use bytes::Bytes;

/// Pieces of bytes that stand one after the other.
#[derive(Debug, Clone, Default)]
pub struct Rope {
    pieces: Vec<Bytes>,
    /// What was copied since the last piece.
    tail: Vec<u8>,
    bytes: usize,
}

impl Rope {
    /// Bytes of all pieces.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there is no byte.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Appends a copy.
    pub fn copy(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.bytes += bytes.len();
    }

    /// Appends `part`, which must be a part of `buffer`, without copying it. Parts that follow each other in their buffer
    /// become one piece.
    ///
    /// # Panics
    /// When `part` is no part of `buffer`.
    pub fn share(&mut self, buffer: &Bytes, part: &[u8]) {
        if part.is_empty() {
            return;
        }
        let mut piece = buffer.slice_ref(part);
        self.end_tail();
        if let Some(last) = self.pieces.pop_if(|last| last.as_ptr_range().end == part.as_ptr_range().start) {
            // Two buffers may happen to touch each other; only within one is there a slice that holds both.
            match last.as_ptr().addr().checked_sub(buffer.as_ptr().addr()) {
                Some(start) => piece = buffer.slice(start..start + last.len() + part.len()),
                None => self.pieces.push(last),
            }
        }
        self.pieces.push(piece);
        self.bytes += part.len();
    }

    /// Appends bytes that nobody else needs, without copying them.
    pub fn own(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() {
            self.end_tail();
            self.bytes += bytes.len();
            self.pieces.push(Bytes::from(bytes));
        }
    }

    /// Appends another rope.
    pub fn append(&mut self, mut other: Self) {
        if other.pieces.is_empty() {
            self.tail.append(&mut other.tail);
        } else {
            self.end_tail();
            self.pieces.append(&mut other.pieces);
            self.tail = other.tail;
        }
        self.bytes += other.bytes;
    }

    /// Copies what is shared, so that no buffer is kept in memory for a part of it.
    pub fn detach(&mut self) {
        if !self.pieces.is_empty() {
            let mut copied = Vec::with_capacity(self.bytes);
            self.pieces().for_each(|piece| copied.extend_from_slice(piece));
            (self.pieces, self.tail) = (Vec::new(), copied);
        }
    }

    /// The pieces in their order, none of them empty.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        let tail = Some(&self.tail[..]).filter(|tail| !tail.is_empty());
        self.pieces.iter().map(|piece| &piece[..]).chain(tail)
    }

    /// The pieces in their order, none of them empty.
    pub fn into_pieces(mut self) -> Vec<Bytes> {
        self.end_tail();
        self.pieces
    }

    /// All bytes in one.
    pub fn to_bytes(&self) -> Bytes {
        self.pieces().collect::<Vec<_>>().concat().into()
    }

    fn end_tail(&mut self) {
        if !self.tail.is_empty() {
            self.pieces.push(Bytes::from(std::mem::take(&mut self.tail)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Act {
        Copy(Vec<u8>),
        Own(Vec<u8>),
        Share(usize, usize),
        Append(Vec<u8>, usize),
        Detach,
    }

    fn act() -> impl Strategy<Value = Act> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..20);
        prop_oneof![
            bytes().prop_map(Act::Copy),
            bytes().prop_map(Act::Own),
            (1_usize..60, 1_usize..40).prop_map(|(start, length)| Act::Share(start, length)),
            (bytes(), 1_usize..50).prop_map(|(copied, shared)| Act::Append(copied, shared)),
            Just(Act::Detach),
        ]
    }

    proptest! {
        #[test]
        fn a_rope_holds_what_was_appended_in_its_order(acts in prop::collection::vec(act(), 0..30)) {
            let buffer = Bytes::from((0..100).collect::<Vec<u8>>());
            let (mut rope, mut expected) = (Rope::default(), Vec::new());
            for act in acts {
                match act {
                    Act::Copy(bytes) => {
                        rope.copy(&bytes);
                        expected.extend(bytes);
                    }
                    Act::Own(bytes) => {
                        expected.extend(&bytes);
                        rope.own(bytes);
                    }
                    Act::Share(start, length) => {
                        rope.share(&buffer, &buffer[start..start + length]);
                        expected.extend(&buffer[start..start + length]);
                    }
                    Act::Append(copied, shared) => {
                        let mut other = Rope::default();
                        other.copy(&copied);
                        if shared % 2 == 0 {
                            other.share(&buffer, &buffer[..shared]);
                        }
                        expected.extend(other.to_bytes());
                        rope.append(other);
                    }
                    Act::Detach => rope.detach(),
                }
            }
            prop_assert_eq!(rope.len(), expected.len());
            prop_assert_eq!(&rope.to_bytes()[..], &expected[..]);
            prop_assert!(rope.pieces().all(|piece| !piece.is_empty()));
            prop_assert_eq!(rope.into_pieces().concat(), expected);
        }
    }

    #[test]
    fn parts_that_follow_each_other_are_one_piece_of_the_buffer_itself() {
        let buffer = Bytes::from(vec![7; 100]);
        let mut rope = Rope::default();
        for start in [0, 10, 20, 50] {
            rope.share(&buffer, &buffer[start..start + 10]);
        }
        let pieces = rope.into_pieces();
        assert_eq!(pieces.iter().map(Bytes::len).collect::<Vec<_>>(), [30, 10]);
        assert_eq!(pieces[0].as_ptr(), buffer.as_ptr());
    }

    #[test]
    fn a_detached_rope_lets_its_buffers_go() {
        let buffer = Bytes::from(vec![7; 100]);
        let mut rope = Rope::default();
        rope.share(&buffer, &buffer[10..20]);
        assert!(!buffer.is_unique());
        rope.detach();
        assert!(buffer.is_unique());
        assert_eq!(rope.len(), 10);
    }
}
