//! Counts the stalled partitions of each broker. A stall takes a minute; a broker with thousands of them would keep a run busy for hours.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::patience::Patience;

/// So many partitions of a broker stall one after the other, with no batch of any other in between, before the rest is waited for in turns
/// and not one by one.
const STALLS_MIN: u32 = 8;
/// For so many times the patience with one partition, from the first of them on.
const STALL_TIMES_MIN: u32 = 2;

/// The brokers of which partitions have stalled since they last gave a batch.
#[derive(Debug, Default)]
pub struct SilentBrokers(BTreeMap<i32, Stalls>);

/// Partitions of a broker that were waited for in vain, one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stalls {
    /// How many.
    pub count: u32,
    /// When the first of them was given up.
    pub since: Instant,
}

impl SilentBrokers {
    /// The broker gave a batch.
    pub fn gave(&mut self, broker: i32) {
        self.0.remove(&broker);
    }

    /// A partition was given up, for which the broker gave nothing.
    pub fn stalled(&mut self, broker: i32, now: Instant) {
        self.0.entry(broker).or_insert(Stalls { count: 0, since: now }).count += 1;
    }

    /// The broker's partitions that were waited for in vain, if they are enough to call it silent.
    pub fn stalls(&self, broker: i32, now: Instant, patience: &Patience) -> Option<Stalls> {
        let is_enough = |stalls: &Stalls| {
            stalls.count >= STALLS_MIN && now.duration_since(stalls.since) >= patience.stall * STALL_TIMES_MIN
        };
        self.0.get(&broker).copied().filter(is_enough)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_broker_is_waited_for_until_partition_after_partition_has_stalled_for_long() {
        let patience = Patience::default();
        let began = Instant::now();
        let at = |seconds: u64| began + Duration::from_secs(seconds);
        let mut silent = SilentBrokers::default();
        (1..STALLS_MIN).for_each(|_| silent.stalled(1, at(60)));
        assert_eq!(silent.stalls(1, at(600), &patience), None, "too few");
        silent.stalled(1, at(120));
        assert_eq!(silent.stalls(1, at(179), &patience), None, "too soon");
        assert_eq!(silent.stalls(1, at(180), &patience), Some(Stalls { count: STALLS_MIN, since: at(60) }));
        assert_eq!(silent.stalls(2, at(180), &patience), None, "another broker");
        silent.gave(1);
        assert_eq!(silent.stalls(1, at(180), &patience), None, "it gives something");
        silent.stalled(1, at(200));
        assert_eq!(silent.stalls(1, at(600), &patience), None, "it begins anew");
    }
}
