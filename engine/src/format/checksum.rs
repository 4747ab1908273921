//! CRC-32C (Castagnoli, RFC 3720 B.4): the checksum of Kafka's record batches, and of everything that is stored.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of some bytes.
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum of bytes that follow others, of which `before` is the checksum; 0 is that of no bytes.
pub fn append(before: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!before));
    digest.update(bytes);
    low(digest.finalize())
}

/// The checksum of bytes that follow others, from the checksums of both and the number of the bytes that follow. It takes as
/// long as reading some hundred kilobytes.
pub fn combine(before: u32, after: u32, after_bytes: usize) -> u32 {
    let (before, after) = (u64::from(before), u64::from(after));
    low(crc_fast::checksum_combine(CrcAlgorithm::Crc32Iscsi, before, after, after_bytes as u64))
}

fn low(checksum: u64) -> u32 {
    u32::try_from(checksum).expect("a CRC-32C has 32 bits")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_is_the_castagnoli_polynomial() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa, "RFC 3720 B.4");
        assert_eq!(crc32c(b""), 0);
    }

    proptest! {
        #[test]
        fn parts_have_the_checksum_of_the_whole(bytes in prop::collection::vec(any::<u8>(), 0..5000), cut in any::<prop::sample::Index>()) {
            let (before, after) = bytes.split_at(cut.index(bytes.len() + 1));
            let whole = ::crc32c::crc32c(&bytes);
            prop_assert_eq!(crc32c(&bytes), whole);
            prop_assert_eq!(append(crc32c(before), after), whole);
            prop_assert_eq!(combine(crc32c(before), crc32c(after), after.len()), whole);
        }
    }
}
