//! A circuit breaker over broker and store calls: a sick cluster is left alone for a while, instead of hammered.
//!
//! All workers of a run share two: one over the brokers and one over the store, since a store that answers says nothing
//! about a broker that does not. Enough failures in a row open a breaker, and whoever asks for [`Breaker::ready`] waits. After the
//! reset timeout one caller goes through as a probe: its success closes the breaker, its failure opens it for another reset
//! timeout.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::cluster::CircuitBreakerConfig;

/// Shared by everything that calls the brokers, or the store; a clone is the same breaker.
#[derive(Debug, Clone)]
pub struct Breaker {
    over: &'static str,
    state: Option<Arc<Mutex<State>>>,
    born: Instant,
}

impl Breaker {
    /// A closed breaker; one that never opens if the configuration says so. `over` is what the log calls what it protects.
    pub fn new(over: &'static str, config: CircuitBreakerConfig) -> Self {
        let state = config.enabled.then(|| {
            let reset_ms = config.reset_timeout_secs.saturating_mul(1000);
            Arc::new(Mutex::new(State::new(config.failure_threshold, reset_ms)))
        });
        Self { over, state, born: Instant::now() }
    }

    /// A breaker that never opens.
    pub fn disabled() -> Self {
        Self { over: "nothing", state: None, born: Instant::now() }
    }

    /// Returns at once while the breaker is closed; else waits until this caller may go on.
    pub async fn ready(&self) {
        while let Some(wait_ms) = self.with(|state, now_ms| state.ready(now_ms)).flatten() {
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
    }

    /// A call was answered.
    pub fn success(&self) {
        if let Some(Some(change)) = self.with(|state, _| state.success()) {
            change.tell(self.over);
        }
    }

    /// A call was not answered, or answered by a sick system.
    pub fn failure(&self) {
        if let Some(Some(change)) = self.with(State::failure) {
            change.tell(self.over);
        }
    }

    /// Whether callers wait right now.
    pub fn is_open(&self) -> bool {
        self.with(|state, _| !matches!(state.phase, Phase::Closed { .. })).unwrap_or(false)
    }

    /// How often it opened since the run began; a probe that failed counts.
    pub fn times_opened(&self) -> u64 {
        self.with(|state, _| state.times_opened).unwrap_or(0)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State, u64) -> T) -> Option<T> {
        let now_ms = u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.state.as_ref().map(|state| act(&mut lock(state), now_ms))
    }
}

/// A state that a panicking thread left behind is still a state: every change to it is one assignment.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the log has to be told.
#[derive(Debug, PartialEq, Eq)]
enum Change {
    Opened { failures: u32, reset_ms: u64 },
    Closed,
}

impl Change {
    fn tell(self, over: &'static str) {
        match self {
            Self::Opened { failures, reset_ms } => tracing::warn!(
                over,
                failures,
                pause_secs = reset_ms / 1000,
                "the circuit breaker is open: too many calls failed in a row, the run pauses"
            ),
            Self::Closed => {
                tracing::warn!(over, "the circuit breaker is closed: calls are answered again, the run goes on");
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// `counted_at_ms` is the time of the last failure that counted.
    Closed {
        failures: u32,
        counted_at_ms: u64,
    },
    Open {
        until_ms: u64,
    },
    /// A probe is on its way. If it never reports (its future was dropped), the next one goes at `until_ms`.
    HalfOpen {
        until_ms: u64,
    },
}

impl Phase {
    const CLOSED: Self = Self::Closed { failures: 0, counted_at_ms: 0 };
}

/// The decisions, as a function of time alone. Times are milliseconds of any clock that never goes back.
#[derive(Debug)]
struct State {
    threshold: u32,
    reset_ms: u64,
    phase: Phase,
    times_opened: u64,
}

/// Failures within this time of one that was counted are the same failure: many workers hit the same broker at once,
/// and the election of a new leader, which takes a second or two, is nothing to pause a run for.
const ONE_FAILURE_MS: u64 = 1_000;

/// How often a caller looks again while somebody else's probe is on its way.
const PROBE_POLL_MS: u64 = 50;

impl State {
    const fn new(threshold: u32, reset_ms: u64) -> Self {
        Self { threshold, reset_ms, phase: Phase::CLOSED, times_opened: 0 }
    }

    /// `None` to go on, or how long to wait before asking again. Going on while open makes the caller the probe.
    fn ready(&mut self, now_ms: u64) -> Option<u64> {
        match self.phase {
            Phase::Closed { .. } => None,
            Phase::Open { until_ms } if now_ms < until_ms => Some(until_ms - now_ms),
            Phase::HalfOpen { until_ms } if now_ms < until_ms => Some(PROBE_POLL_MS.min(until_ms - now_ms)),
            Phase::Open { .. } | Phase::HalfOpen { .. } => {
                self.phase = Phase::HalfOpen { until_ms: now_ms.saturating_add(self.reset_ms) };
                None
            }
        }
    }

    fn success(&mut self) -> Option<Change> {
        let was = std::mem::replace(&mut self.phase, Phase::CLOSED);
        // An answer to a call that was already on its way when the breaker opened counts as well: the system lives.
        (!matches!(was, Phase::Closed { .. })).then_some(Change::Closed)
    }

    fn failure(&mut self, now_ms: u64) -> Option<Change> {
        let failures = match self.phase {
            Phase::Closed { failures: 1.., counted_at_ms } if now_ms < counted_at_ms.saturating_add(ONE_FAILURE_MS) => {
                return None;
            }
            Phase::Closed { failures, .. } => failures.saturating_add(1),
            Phase::HalfOpen { .. } => {
                // Told once when it opened; a probe that failed is no news.
                self.open(now_ms);
                return None;
            }
            // Calls that were on their way when it opened must not push the probe further away.
            Phase::Open { .. } => return None,
        };
        if failures < self.threshold {
            self.phase = Phase::Closed { failures, counted_at_ms: now_ms };
            return None;
        }
        self.open(now_ms);
        Some(Change::Opened { failures, reset_ms: self.reset_ms })
    }

    fn open(&mut self, now_ms: u64) {
        self.phase = Phase::Open { until_ms: now_ms.saturating_add(self.reset_ms) };
        self.times_opened += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened_at(now_ms: u64) -> State {
        let mut state = State::new(3, 1000);
        let begin_ms = now_ms - 2 * ONE_FAILURE_MS;
        assert_eq!(state.failure(begin_ms), None);
        assert_eq!(state.failure(begin_ms + ONE_FAILURE_MS), None);
        assert_eq!(state.failure(now_ms), Some(Change::Opened { failures: 3, reset_ms: 1000 }));
        state
    }

    #[test]
    fn opens_at_the_threshold_of_failures_in_a_row() {
        let mut state = State::new(3, 1000);
        for second in (0..20).step_by(2) {
            assert_eq!((state.failure(second * 1000), state.failure((second + 1) * 1000)), (None, None));
            assert_eq!(state.success(), None);
        }
        assert_eq!((state.ready(0), state.times_opened), (None, 0));
        assert_eq!(opened_at(2000).times_opened, 1);
    }

    #[test]
    fn failures_at_the_same_moment_are_one_failure() {
        let mut state = State::new(2, 1000);
        for at_ms in [0, 0, 1, 500, 999] {
            assert_eq!(state.failure(at_ms), None);
        }
        assert!(state.failure(1000).is_some());
    }

    #[test]
    fn everybody_waits_while_it_is_open() {
        let mut state = opened_at(2500);
        assert_eq!(state.ready(2500), Some(1000));
        assert_eq!(state.ready(3499), Some(1));
    }

    #[test]
    fn late_failures_do_not_push_the_probe_away() {
        let mut state = opened_at(2000);
        assert_eq!(state.failure(2999), None);
        assert_eq!(state.ready(3000), None);
    }

    #[test]
    fn one_probe_goes_through_and_its_success_closes() {
        let mut state = opened_at(2000);
        assert_eq!(state.ready(3000), None);
        assert_eq!(state.ready(3000), Some(PROBE_POLL_MS));
        assert_eq!(state.success(), Some(Change::Closed));
        assert_eq!((state.ready(3200), state.ready(3200)), (None, None));
    }

    #[test]
    fn a_failed_probe_opens_again_and_counts() {
        let mut state = opened_at(2000);
        assert_eq!(state.ready(3000), None);
        assert_eq!(state.failure(3100), None);
        assert_eq!((state.ready(3100), state.times_opened), (Some(1000), 2));
    }

    #[test]
    fn a_probe_that_never_reports_is_replaced() {
        let mut state = opened_at(2000);
        assert_eq!(state.ready(3000), None);
        assert_eq!(state.ready(3990), Some(10));
        assert_eq!(state.ready(4000), None);
    }

    #[tokio::test]
    async fn a_disabled_breaker_lets_everything_through() {
        let breaker = Breaker::disabled();
        (0..100).for_each(|_| breaker.failure());
        breaker.ready().await;
        assert!(!breaker.is_open());
    }

    #[tokio::test]
    async fn clones_share_one_state() {
        let breaker = Breaker::new(
            "brokers",
            CircuitBreakerConfig { enabled: true, failure_threshold: 1, reset_timeout_secs: 60 },
        );
        breaker.clone().failure();
        assert!(breaker.is_open());
        assert_eq!(breaker.times_opened(), 1);
        breaker.clone().success();
        assert!(!breaker.is_open());
        breaker.ready().await;
    }
}
