//! How long a run waits before it takes silence for an answer.

use std::time::Duration;

/// Limits of a run's patience. The defaults are right for every cluster; tests have less time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How long a broker may hold back its response to a request for one partition that gives nothing. Longer than the time that
    /// a read from tiered storage is given (`remote.fetch.max.wait.ms`, 0.5 s), after which brokers answer without records.
    pub alone_wait: Duration,
    /// For so long a compacted partition, asked for alone, gives nothing before its end, until that is taken for an end that the
    /// log cleaner left without a batch.
    pub empty_end: Duration,
    /// For so long a partition, asked for alone, gives nothing although its log goes on, until it is given up.
    pub stall: Duration,
    /// For so long the reader of a compacted partition may follow a log that grows, at least.
    pub catch_up_min: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            alone_wait: Duration::from_secs(5),
            empty_end: Duration::from_secs(30),
            stall: Duration::from_secs(60),
            catch_up_min: Duration::from_secs(3600),
        }
    }
}
