//! Writing the 61 bytes before a batch's records; reading them is [`super::batch`].

use super::batch::{CRC_START, HEADER_BYTES, LENGTH_PREFIX_BYTES};
use super::checksum;

const CRC_AT: usize = 17;
const PRODUCER_AT: usize = 43;
const MAGIC: u8 = 2;

/// The header fields that depend neither on the records' bytes nor on who sends the batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub base_offset: i64,
    pub leader_epoch: i32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub record_count: i32,
}

impl Header {
    /// Fills the first 61 bytes of `batch`, whose records stand behind them already. The producer is none and the CRC 0
    /// until they are stamped.
    ///
    /// # Panics
    /// When `batch` is shorter than a header or longer than a length field can tell (2 GiB).
    pub fn write(&self, batch: &mut [u8]) {
        let length =
            i32::try_from(batch.len() - LENGTH_PREFIX_BYTES).expect("a batch is kept far below 2 GiB by its makers");
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            batch[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(&self.base_offset.to_be_bytes());
        put(&length.to_be_bytes());
        put(&self.leader_epoch.to_be_bytes());
        put(&[MAGIC]);
        put(&[0; 4]);
        put(&self.attributes.to_be_bytes());
        put(&self.last_offset_delta.to_be_bytes());
        put(&self.base_timestamp_ms.to_be_bytes());
        put(&self.max_timestamp_ms.to_be_bytes());
        put(&[0xff; 14]);
        put(&self.record_count.to_be_bytes());
        debug_assert_eq!(at, HEADER_BYTES);
    }
}

/// Writes the producer's id, epoch and base sequence into a batch; the CRC does not fit after that.
pub(crate) fn stamp_producer(batch: &mut [u8], producer_id: i64, producer_epoch: i16, base_sequence: i32) {
    let field = &mut batch[PRODUCER_AT..HEADER_BYTES];
    field[..8].copy_from_slice(&producer_id.to_be_bytes());
    field[8..10].copy_from_slice(&producer_epoch.to_be_bytes());
    field[10..14].copy_from_slice(&base_sequence.to_be_bytes());
}

/// Computes the CRC-32C of a batch anew and writes it.
pub(crate) fn stamp_crc(batch: &mut [u8]) {
    let crc = checksum::crc32c(&batch[CRC_START..]);
    batch[CRC_AT..CRC_START].copy_from_slice(&crc.to_be_bytes());
}
