//! How large the requests are that brokers of the target take: they close the connection of a larger one without a word
//! (`NetworkReceive` in Kafka), and a topic may have been deleted by then.

use crate::kafka::produce_queue::REQUEST_BYTES_MAX;

/// What brokers take unless it is set otherwise (`socket.request.max.bytes`), in bytes.
const REQUEST_BYTES_DEFAULT: u64 = 100 << 20;
/// What brokers surely take, in bytes: twice the batch that topics take by default. With less, producers with default settings could not write.
const REQUEST_BYTES_SURE: u64 = 2 << 20;
/// What of a produce request is not its batch: its header, with the client's id, and the name of the topic.
const ROOM_BYTES: u64 = 4 << 10;

/// The largest request that brokers take (`socket.request.max.bytes`), in bytes. Each has a setting of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RequestLimit {
    /// The smallest that a broker has told.
    pub told: Option<u64>,
    /// Whether all of them have.
    pub is_whole: bool,
}

impl RequestLimit {
    /// The limit, from what each broker tells.
    pub fn of(brokers: &[Option<u64>]) -> Self {
        let told = brokers.iter().flatten().min().copied();
        Self { told, is_whole: told.is_some() && brokers.iter().all(Option::is_some) }
    }

    /// The largest batch that fits into a request, in bytes: by Kafka's default where brokers do not tell.
    pub fn batch_bytes_max(self) -> u64 {
        self.told.unwrap_or(REQUEST_BYTES_DEFAULT).saturating_sub(ROOM_BYTES)
    }

    /// The largest batch that surely does, in bytes.
    pub fn sure_batch_bytes_max(self) -> u64 {
        let untold = if self.is_whole { u64::MAX } else { REQUEST_BYTES_SURE };
        self.told.unwrap_or(u64::MAX).min(untold).saturating_sub(ROOM_BYTES)
    }

    /// How many bytes of batches a request of several may carry.
    pub fn joined_bytes_max(self) -> usize {
        usize::try_from(self.batch_bytes_max()).map_or(REQUEST_BYTES_MAX, |bytes| bytes.min(REQUEST_BYTES_MAX))
    }
}
