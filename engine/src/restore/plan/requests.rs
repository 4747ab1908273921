//! How large the requests are that brokers of the target take: they close the connection of a larger one without a word
//! (`NetworkReceive` in Kafka), and a topic may have been deleted by then.

use crate::kafka::produce_queue::REQUEST_BYTES_MAX;

/// What brokers take unless it is set otherwise (`socket.request.max.bytes`), in bytes.
const REQUEST_BYTES_DEFAULT: u64 = 100 << 20;
/// What of a produce request is not its batch: its header, with the client's id, and the name of the topic.
const ROOM_BYTES: u64 = 4 << 10;

/// The largest batch that fits into a request, in bytes. `request_bytes_max`: what brokers take, as far as they tell.
pub fn batch_bytes_max(request_bytes_max: Option<u64>) -> u64 {
    request_bytes_max.unwrap_or(REQUEST_BYTES_DEFAULT).saturating_sub(ROOM_BYTES)
}

/// How many bytes of batches a request of several may carry.
pub fn joined_bytes_max(request_bytes_max: Option<u64>) -> usize {
    usize::try_from(batch_bytes_max(request_bytes_max)).map_or(REQUEST_BYTES_MAX, |bytes| bytes.min(REQUEST_BYTES_MAX))
}
