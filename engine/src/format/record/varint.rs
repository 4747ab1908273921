//! The numbers and byte strings that a record is made of: zigzag varints, as in Protocol Buffers.

use super::Error;

/// Reads forward through one record; every step is bounded by what is left.
pub(super) struct Cursor<'a> {
    pub(super) rest: &'a [u8],
    pub(super) record: i32,
}

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: i32, field: &'static str) -> Result<&'a [u8], Error> {
        let record = self.record;
        let count = usize::try_from(count).map_err(|_| Error::Negative { record, field, value: count })?;
        let (taken, left) = self.rest.split_at_checked(count).ok_or(Error::Truncated { record, field })?;
        self.rest = left;
        Ok(taken)
    }

    pub(super) fn length(&mut self, field: &'static str) -> Result<i32, Error> {
        let value = self.varint(field)?;
        if value < 0 { Err(Error::Negative { record: self.record, field, value }) } else { Ok(value) }
    }

    pub(super) fn nullable(&mut self, field: &'static str) -> Result<Option<&'a [u8]>, Error> {
        let length = self.varint(field)?;
        if length < 0 { Ok(None) } else { self.take(length, field).map(Some) }
    }

    pub(super) fn varint(&mut self, field: &'static str) -> Result<i32, Error> {
        let value = self.unsigned(5, field)?;
        // Bits beyond the 32nd fall off, as in the Java client.
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the fifth byte of a varint holds more bits than it has a use for"
        )]
        let value = value as u32;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub(super) fn varlong(&mut self, field: &'static str) -> Result<i64, Error> {
        let value = self.unsigned(10, field)?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    fn unsigned(&mut self, bytes_max: usize, field: &'static str) -> Result<u64, Error> {
        let record = self.record;
        let mut value = 0_u64;
        for (index, byte) in self.rest.iter().take(bytes_max).enumerate() {
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        if self.rest.len() < bytes_max {
            Err(Error::Truncated { record, field })
        } else {
            Err(Error::Varint { record, field })
        }
    }
}

pub(super) fn put_varint(out: &mut Vec<u8>, value: i32) {
    put_unsigned(out, u64::from(zigzag(value)));
}

pub(super) fn put_varlong(out: &mut Vec<u8>, value: i64) {
    put_unsigned(out, zigzag_long(value));
}

fn put_unsigned(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, to_i32(bytes.len()));
    out.extend_from_slice(bytes);
}

pub(super) fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => put_bytes(out, bytes),
        None => put_varint(out, -1),
    }
}

pub(super) fn bytes_len(bytes: &[u8]) -> usize {
    varint_len(to_i32(bytes.len())) + bytes.len()
}

pub(super) fn varint_len(value: i32) -> usize {
    unsigned_len(u64::from(zigzag(value)))
}

pub(super) fn varlong_len(value: i64) -> usize {
    unsigned_len(zigzag_long(value))
}

/// Seven bits go into a byte, and nothing at all still takes one.
fn unsigned_len(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

const fn zigzag(value: i32) -> u32 {
    (value << 1 ^ value >> 31).cast_unsigned()
}

const fn zigzag_long(value: i64) -> u64 {
    (value << 1 ^ value >> 63).cast_unsigned()
}

pub(super) fn to_i32(length: usize) -> i32 {
    i32::try_from(length).expect("a record is kept below 2 GiB by the limit of a decompressor")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn lengths_are_told_before_they_are_written(int in any::<i32>(), long in any::<i64>(), shift in 0_u32..64) {
            let (int, long) = (int >> (shift / 2), long >> shift);
            let mut out = Vec::new();
            put_varint(&mut out, int);
            prop_assert_eq!(out.len(), varint_len(int));
            put_varlong(&mut out, long);
            prop_assert_eq!(out.len(), varint_len(int) + varlong_len(long));
            let mut cursor = Cursor { rest: &out, record: 0 };
            prop_assert_eq!(cursor.varint("int"), Ok(int));
            prop_assert_eq!(cursor.varlong("long"), Ok(long));
            prop_assert!(cursor.rest.is_empty());
        }
    }
}
