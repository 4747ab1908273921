//! How large the requests are that brokers of the target take: they close the connection of a larger one without a word
//! (`NetworkReceive` in Kafka), and a topic may have been deleted by then.

use super::TargetFacts;
use crate::kafka::produce_queue::REQUEST_BYTES_MAX as JOINED_BYTES_MAX;

/// What brokers take unless it is set otherwise (`socket.request.max.bytes`), in bytes.
const REQUEST_BYTES_DEFAULT: u64 = 100 << 20;
/// What of a produce request is not its batch: its header, with the client's id, and the name of the topic.
const ROOM_BYTES: u64 = 4 << 10;

/// The largest batch that fits into a request, in bytes.
pub fn batch_bytes_max(facts: &TargetFacts) -> u64 {
    facts.request_bytes_max.unwrap_or(REQUEST_BYTES_DEFAULT).saturating_sub(ROOM_BYTES)
}

/// Why requests that carry batches of many partitions would not be taken.
pub fn refusal(facts: &TargetFacts) -> Option<String> {
    let needed = JOINED_BYTES_MAX as u64 + ROOM_BYTES;
    let taken = facts.request_bytes_max.filter(|taken| *taken < needed)?;
    Some(format!(
        "brokers of the target take requests of {taken} bytes (socket.request.max.bytes), and a restore sends requests of up to \
         {needed}: raise it"
    ))
}
