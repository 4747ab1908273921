//! The limit at work: one for all workers of a run.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::RateLimit;
use crate::stop::Stop;

/// Shared by all workers of a run.
#[derive(Debug, Clone)]
pub struct RateLimiter {
    limit: RateLimit,
    stop: Stop,
    started: Instant,
    /// Until when what was taken so far fills the limit, since `started`.
    busy_until: Arc<Mutex<Duration>>,
}

impl RateLimiter {
    /// A limiter that begins with nothing taken, and keeps nobody waiting once the run is asked to stop.
    pub fn new(limit: RateLimit, stop: Stop) -> Self {
        Self { limit, stop, started: Instant::now(), busy_until: Arc::default() }
    }

    /// Takes what was just moved, and waits until it fits the limit, or the run is asked to stop: what is in hand then is to be
    /// stored while there is time.
    pub async fn take(&self, bytes: u64, records: u64) {
        let cost = cost(self.limit, bytes, records);
        if cost.is_zero() {
            return;
        }
        let wait_until = {
            let mut busy_until = self.busy_until.lock().unwrap_or_else(PoisonError::into_inner);
            *busy_until = advance(*busy_until, self.started.elapsed(), cost);
            *busy_until
        };
        tokio::select! {
            () = tokio::time::sleep_until(self.started + wait_until) => {}
            () = self.stop.wait() => {}
        }
    }
}

/// How long it takes to move this much at the limit.
fn cost(limit: RateLimit, bytes: u64, records: u64) -> Duration {
    let at = |amount: u64, per_second: Option<std::num::NonZeroU64>| {
        per_second.map_or(Duration::ZERO, |limit| Duration::from_secs_f64(amount as f64 / limit.get() as f64))
    };
    at(bytes, limit.bytes_per_second).max(at(records, limit.records_per_second))
}

/// Time that passed unused is not saved up: a pause is no reason for a burst.
fn advance(busy_until: Duration, now: Duration, cost: Duration) -> Duration {
    busy_until.max(now) + cost
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;

    #[test]
    fn the_tighter_limit_counts() {
        let limit = RateLimit { bytes_per_second: NonZeroU64::new(1000), records_per_second: NonZeroU64::new(10) };
        assert_eq!(cost(limit, 500, 1), Duration::from_millis(500));
        assert_eq!(cost(limit, 500, 20), Duration::from_secs(2));
        assert_eq!(cost(RateLimit::default(), u64::MAX, u64::MAX), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn workers_share_one_limit() {
        let limit = RateLimit { bytes_per_second: NonZeroU64::new(1000), records_per_second: None };
        let limiter = RateLimiter::new(limit, Stop::default());
        let begin = Instant::now();
        futures::future::join_all((0..4).map(|_| limiter.take(500, 0))).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_time_is_not_saved_up() {
        let limit = RateLimit { bytes_per_second: NonZeroU64::new(1000), records_per_second: None };
        let limiter = RateLimiter::new(limit, Stop::default());
        tokio::time::sleep(Duration::from_secs(100)).await;
        let begin = Instant::now();
        limiter.take(3000, 0).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_without_a_limit_never_waits() {
        let limiter = RateLimiter::new(RateLimit::default(), Stop::default());
        let begin = Instant::now();
        for _ in 0..1000 {
            limiter.take(1 << 40, 1 << 40).await;
        }
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn records_are_limited_as_bytes_are_and_small_takes_add_up() {
        let limit = RateLimit { bytes_per_second: NonZeroU64::new(1 << 40), records_per_second: NonZeroU64::new(100) };
        let limiter = RateLimiter::new(limit, Stop::default());
        let begin = Instant::now();
        for _ in 0..1000 {
            limiter.take(10, 1).await;
        }
        // The runtime's clock has steps of a millisecond.
        let waited = begin.elapsed().as_millis();
        assert!((10_000..=10_001).contains(&waited), "{waited} ms");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_the_limit_once_the_run_is_to_stop() {
        let stop = Stop::default();
        let limit = RateLimit { bytes_per_second: NonZeroU64::new(1), records_per_second: None };
        let limiter = RateLimiter::new(limit, stop.clone());
        let begin = Instant::now();
        let stopping = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.set();
        };
        tokio::join!(limiter.take(1_000_000, 1), limiter.take(1_000_000, 1), stopping);
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
        limiter.take(1_000_000, 1).await;
        assert_eq!(begin.elapsed(), Duration::from_secs(1));
    }
}
