//! What stands in a control batch.

use super::{Error, Record};
use crate::format::batch::{Batch, Compression};

/// What a control record says (KIP-98, KIP-595).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlType {
    /// The end of an aborted transaction.
    Abort,
    /// The end of a committed transaction.
    Commit,
    /// A type that says nothing about transactions, by its number.
    Other(i16),
}

impl ControlType {
    /// The type in the key of a control record: a version, then the type, 16 bits each.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        let [_, _, high, low, ..] = *key else { return None };
        Some(match i16::from_be_bytes([high, low]) {
            0 => Self::Abort,
            1 => Self::Commit,
            other => Self::Other(other),
        })
    }

    /// The type of a control batch, from its first record. Brokers do not compress control batches.
    ///
    /// # Errors
    /// [`Error::Control`] when there is none to read, besides those of [`Record::parse`].
    pub fn of_batch(batch: &Batch<'_>) -> Result<Self, Error> {
        let none = Error::Control { base_offset: batch.base_offset() };
        if batch.compression() != Compression::None || batch.record_count() == 0 {
            return Err(none);
        }
        let record = Record::parse(batch.records(), 0)?;
        record.key.and_then(Self::from_key).ok_or(none)
    }

    /// The key of a control record of this type, in version 0.
    pub fn to_key(self) -> Vec<u8> {
        let id: i16 = match self {
            Self::Abort => 0,
            Self::Commit => 1,
            Self::Other(id) => id,
        };
        let mut key = vec![0, 0];
        key.extend_from_slice(&id.to_be_bytes());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::builder::BatchBuilder;
    use crate::format::record::OwnedRecord;

    #[test]
    fn reads_every_control_type() {
        for control in [ControlType::Abort, ControlType::Commit, ControlType::Other(4)] {
            let bytes = BatchBuilder::new(5).control(control, 1000).build().expect("builds");
            let batch = Batch::parse(&bytes).expect("a batch");
            assert!(batch.is_control() && batch.is_transactional());
            assert_eq!(ControlType::of_batch(&batch), Ok(control));
        }
        let bytes = BatchBuilder::new(5).record(OwnedRecord::default()).build().expect("builds");
        let batch = Batch::parse(&bytes).expect("a batch");
        assert_eq!(ControlType::of_batch(&batch), Err(Error::Control { base_offset: 5 }));
    }
}
