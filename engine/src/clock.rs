//! The one place where time is read, and how it is written for people. Decisions take the time as a value.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch, UTC.
pub fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the edge at which time enters")]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A time in milliseconds since the epoch for people, in UTC, as in `2026-02-12T14:30:00.000Z`. A time that no calendar has is
/// written as milliseconds.
pub fn utc(at_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| format!("{at_ms} ms"), |at| format!("{at:.3}"))
}
