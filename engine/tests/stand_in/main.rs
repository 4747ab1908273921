//! Runs of the library against a stand-in for a broker: sizes and failures that no real cluster on one machine has.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod answer;
mod broker;
mod configs;
mod created_again;
mod forgotten_producer;
mod groups;
mod idle_worker;
mod in_motion;
mod left_out;
mod lookahead;
mod many_partitions;
mod outage;
mod overlap;
mod rate_limit;
mod resumed;
mod retry_timeout;
mod silent_broker;
mod stop_at;
mod system_topics;
mod topic;
