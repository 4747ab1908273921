//! A limit on bytes and records a second, for a whole run and not for each of its workers.

#[cfg(feature = "run")]
mod limiter;

use serde::{Deserialize, Serialize};

#[cfg(feature = "run")]
pub use self::limiter::RateLimiter;

/// What a run may move in a second; absent means without limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RateLimit {
    /// Bytes of record batches a second; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<std::num::NonZeroU64>,
    /// Records a second; at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records_per_second: Option<std::num::NonZeroU64>,
}
