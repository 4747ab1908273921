//! What of a partition's batches has landed in the target, and what is to be sent next.
//!
//! The batches of a target partition are a function of the archive, the request and the journal. So a batch is known by the
//! number of records before it, and the sequence number that the broker checks (KIP-98) follows from that number alone:
//! two processes that restore the same thing, one after the other was killed, send the same bytes under the same producer
//! id, epoch and sequence. A request of the first that arrives late is a duplicate to the broker, or ours is.
//!
//! Pure: events in, decisions out.

use std::collections::VecDeque;

use bytes::Bytes;

/// As far back as a broker remembers the batches of a producer, and so as many as may be unanswered (KIP-98).
pub const IN_FLIGHT_MAX: usize = 5;

/// A batch that was sent and is not known to have landed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Records of the partition before it.
    pub first: u64,
    /// Its records.
    pub records: u64,
    /// Its bytes, stamped with its sequence.
    pub bytes: Bytes,
}

impl Sent {
    fn end(&self) -> u64 {
        self.first + self.records
    }
}

/// The target holds something that we did not put there, or lost something that it had acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Surprise {
    /// The end of the target lies inside a batch of ours.
    #[error("it ends inside a batch of this restore, after {landed} records: somebody else writes to it")]
    InsideBatch {
        /// Records between the base and the end of the target.
        landed: u64,
    },
    /// The target is shorter than what it has acknowledged.
    #[error("it holds {landed} records of this restore, and had acknowledged {acknowledged}: it has lost some")]
    Lost {
        /// Records between the base and the end of the target.
        landed: u64,
        /// Records that were acknowledged.
        acknowledged: u64,
    },
    /// A batch stands somewhere else than behind the one before it.
    #[error("a batch of this restore stands at offset {found} instead of {expected}: somebody else writes to it")]
    Misplaced {
        /// Where it must stand.
        expected: i64,
        /// Where the broker says that it stands.
        found: i64,
    },
    /// The target ends with a batch that is not ours, or not where ours has to be.
    #[error(
        "the batch at offset {offset}, with which it ends, is not one that this restore has put there: somebody else has \
         written to it since the restore began"
    )]
    Stranger {
        /// The base offset of the batch.
        offset: i64,
    },
    /// The target is longer than what was sent.
    #[error("it holds {landed} records where only {sent} were sent: somebody else writes to it")]
    TooMany {
        /// Records between the base and the end of the target.
        landed: u64,
        /// Records that were sent.
        sent: u64,
    },
}

/// The batch that a target ends with, as far as it tells who wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastBatch {
    /// The offset of its first record.
    pub base_offset: i64,
    /// Who wrote it.
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// The sequence of its first record; -1 for none.
    pub base_sequence: i32,
    /// Whether the broker has given its records the time at which they were appended.
    pub has_log_append_time: bool,
}

impl LastBatch {
    /// Whether it is ours and all before it, down to `base_offset`, as well: our sequence counts our records only, and so
    /// it falls behind the offset by as many as others have written.
    ///
    /// # Errors
    /// [`Surprise::Stranger`]: what others wrote would be taken for records that have landed, and these be left out.
    pub fn is_ours(&self, producer_id: i64, producer_epoch: i16, base_offset: i64) -> Result<(), Surprise> {
        let expected = u64::try_from(self.base_offset - base_offset).map(sequence);
        let is_ours = self.producer_id == producer_id && self.producer_epoch == producer_epoch;
        if is_ours && expected == Ok(self.base_sequence) {
            return Ok(());
        }
        Err(Surprise::Stranger { offset: self.base_offset })
    }
}

/// Where the restore of a partition stands.
#[derive(Debug, Default)]
pub struct Landing {
    /// Records known to have landed.
    landed: u64,
    /// Records of all batches that were made so far.
    made: u64,
    unanswered: VecDeque<Sent>,
    /// Whether the leader has taken a batch since we began, or since something failed. A broker takes any sequence from a
    /// producer that it does not know (KIP-360): were the first batch refused for a passing reason, the second would land
    /// in its place. So the first goes alone.
    is_known: bool,
    /// Only an answer about a batch from here on says that the leader knows us; by the number of records before it.
    alone_from: u64,
}

impl Landing {
    /// Begins where the target ends now: `landed` records behind the base that the journal names.
    pub fn resumed(landed: u64) -> Self {
        Self { landed, ..Self::default() }
    }

    /// The sequence of the batch that is made next.
    pub fn next_sequence(&self) -> i32 {
        sequence(self.made)
    }

    /// Whether a batch of so many records, made next, has landed before this process began.
    ///
    /// # Errors
    /// [`Surprise::InsideBatch`] when only a part of it has.
    pub fn skip(&mut self, records: u64) -> Result<bool, Surprise> {
        let end = self.made + records;
        if end <= self.landed {
            self.made = end;
            return Ok(true);
        }
        if self.made < self.landed { Err(Surprise::InsideBatch { landed: self.landed }) } else { Ok(false) }
    }

    /// Takes a batch that is being sent.
    pub fn sent(&mut self, records: u64, bytes: Bytes) -> Sent {
        let sent = Sent { first: self.made, records, bytes };
        self.made += records;
        self.unanswered.push_back(sent.clone());
        sent
    }

    /// A pause may have been so long that the broker has forgotten the producer: the next batch goes alone.
    pub const fn paused(&mut self) {
        self.is_known = false;
        self.alone_from = self.made;
    }

    /// Whether another batch may be sent before an answer has come.
    pub fn has_room(&self) -> bool {
        self.unanswered.len() < if self.is_known { IN_FLIGHT_MAX } else { 1 }
    }

    /// Batches that were sent and have no answer yet.
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// The oldest unanswered batch, by the number of records before it.
    pub fn oldest_unanswered(&self) -> Option<u64> {
        self.unanswered.front().map(|sent| sent.first)
    }

    /// The oldest unanswered batch stands at `offset`, `base_offset` being where the first of all was to stand. A broker
    /// that knows only that it has the batch tells -1.
    ///
    /// # Errors
    /// [`Surprise::Misplaced`]: the offset map, and what a later process took for landed, would be wrong.
    pub fn answered_at(&mut self, base_offset: i64, offset: i64) -> Result<(), Surprise> {
        let expected = self.unanswered.front().map(|sent| base_offset.saturating_add_unsigned(sent.first));
        if let Some(expected) = expected.filter(|expected| offset >= 0 && offset != *expected) {
            return Err(Surprise::Misplaced { expected, found: offset });
        }
        self.answered();
        Ok(())
    }

    /// The oldest unanswered batch has landed, now or before.
    fn answered(&mut self) -> Option<Sent> {
        let sent = self.unanswered.pop_front()?;
        self.landed = self.landed.max(sent.end());
        self.is_known |= sent.first >= self.alone_from;
        Some(sent)
    }

    /// The batches that have landed although no answer says so, when the target ends `landed` records behind its base: for
    /// each the number of records before it.
    pub fn landed_without_answer(&self, landed: u64) -> Vec<u64> {
        self.unanswered.iter().filter(|sent| sent.end() <= landed).map(|sent| sent.first).collect()
    }

    /// After a failure, with nothing under way any more: the target ends `landed` records behind its base. Gives back what
    /// is to be sent again, in order, the first of it alone. It may end behind all that was made here, when requests of a process that was killed
    /// arrive late: then [`Landing::skip`] passes over them.
    ///
    /// # Errors
    /// When the end of the target is one that these batches cannot make.
    pub fn recover(&mut self, landed: u64) -> Result<Vec<Sent>, Surprise> {
        if landed < self.landed {
            return Err(Surprise::Lost { landed, acknowledged: self.landed });
        }
        while self.unanswered.front().is_some_and(|sent| sent.end() <= landed) {
            self.answered();
        }
        self.is_known = false;
        self.alone_from = landed;
        if self.unanswered.front().is_some_and(|sent| sent.first < landed) {
            return Err(Surprise::InsideBatch { landed });
        }
        self.landed = landed;
        Ok(self.unanswered.iter().cloned().collect())
    }

    /// Compares the target's end with all that was made, when there is no more to come.
    ///
    /// # Errors
    /// When the target holds more or less.
    pub fn finish(&self, landed: u64) -> Result<(), Surprise> {
        match landed.cmp(&self.made) {
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Less => Err(Surprise::Lost { landed, acknowledged: self.made }),
            std::cmp::Ordering::Greater => Err(Surprise::TooMany { landed, sent: self.made }),
        }
    }
}

/// Sequence numbers count records and go from `i32::MAX` on to 0 (`DefaultRecordBatch.incrementSequence` in Kafka).
pub fn sequence(records_before: u64) -> i32 {
    i32::try_from(records_before % (1 << 31)).expect("less than 2^31")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rewrite::Producer;

    #[test]
    fn sequences_go_on_as_kafka_counts_them() {
        for (before, records) in [(0_u64, 1), ((1 << 31) - 1, 1), ((1 << 31) - 5, 10), ((1 << 31) + 7, 100)] {
            let next = Producer::sequence_after(sequence(before), records);
            assert_eq!(sequence(before + u64::from(records.unsigned_abs())), next, "{before} + {records}");
        }
    }

    #[test]
    fn an_end_inside_a_batch_is_somebody_elses() {
        let mut landing = Landing::resumed(15);
        assert_eq!(landing.skip(10), Ok(true));
        assert_eq!(landing.skip(10), Err(Surprise::InsideBatch { landed: 15 }));
    }

    #[test]
    fn a_batch_that_stands_behind_somebody_elses_is_noticed() {
        let mut landing = Landing::resumed(0);
        landing.sent(10, Bytes::new());
        landing.answered_at(100, 100).unwrap();
        landing.sent(10, Bytes::new());
        assert_eq!(landing.answered_at(100, 111), Err(Surprise::Misplaced { expected: 110, found: 111 }));
        assert_eq!(landing.answered_at(100, -1), Ok(()), "a duplicate whose place is forgotten");
        assert_eq!(landing.landed, 20);
    }

    #[test]
    fn the_first_batch_goes_alone_and_so_does_the_first_after_a_pause() {
        let mut landing = Landing::resumed(0);
        for _ in 0..2 {
            landing.sent(1, Bytes::new());
            assert!(!landing.has_room());
            landing.answered();
            for _ in 0..IN_FLIGHT_MAX {
                assert!(landing.has_room());
                landing.sent(1, Bytes::new());
            }
            assert!(!landing.has_room());
            (0..IN_FLIGHT_MAX).for_each(|_| drop(landing.answered()));
            landing.paused();
        }
    }

    #[test]
    fn an_answer_about_a_batch_of_before_a_pause_does_not_let_others_follow_the_first_one_after_it() {
        let mut landing = Landing::resumed(0);
        landing.sent(1, Bytes::new());
        landing.answered();
        (0..3).for_each(|_| drop(landing.sent(1, Bytes::new())));
        landing.paused();
        landing.sent(1, Bytes::new());
        for _ in 0..3 {
            assert!(!landing.has_room());
            landing.answered();
        }
        assert!(!landing.has_room(), "the first one after the pause is not answered");
        landing.answered();
        landing.sent(1, Bytes::new());
        assert!(landing.has_room());
    }

    #[test]
    fn what_was_not_answered_before_a_failure_goes_alone_until_it_is() {
        let mut landing = Landing::resumed(0);
        (0..2).for_each(|_| drop(landing.sent(1, Bytes::new())));
        landing.paused();
        assert_eq!(landing.recover(0).unwrap().len(), 2, "both are sent again");
        landing.answered();
        assert!(landing.has_room(), "the first of them was answered");
    }

    #[test]
    fn a_batch_of_somebody_else_is_not_taken_for_one_that_landed() {
        let last = LastBatch {
            base_offset: 110,
            producer_id: 7,
            producer_epoch: 1,
            base_sequence: 10,
            has_log_append_time: false,
        };
        assert_eq!(last.is_ours(7, 1, 100), Ok(()));
        let stranger = Err(Surprise::Stranger { offset: 110 });
        for other in [
            LastBatch { producer_id: -1, producer_epoch: -1, base_sequence: -1, ..last },
            LastBatch { producer_id: 8, ..last },
            LastBatch { producer_epoch: 2, ..last },
            // Ours, behind two records of somebody else.
            LastBatch { base_sequence: 8, ..last },
        ] {
            assert_eq!(other.is_ours(7, 1, 100), stranger, "{other:?}");
        }
        assert_eq!(last.is_ours(7, 1, 111), stranger, "it begins before the restore does");
        let late = LastBatch { base_offset: 5 + (1 << 31), base_sequence: 5, ..last };
        assert_eq!(late.is_ours(7, 1, 0), Ok(()), "sequences go round");
    }

    #[test]
    fn a_target_that_lost_records_is_noticed() {
        let mut landing = Landing::resumed(0);
        landing.sent(10, Bytes::new());
        landing.answered();
        assert_eq!(landing.recover(0), Err(Surprise::Lost { landed: 0, acknowledged: 10 }));
        assert_eq!(landing.finish(9), Err(Surprise::Lost { landed: 9, acknowledged: 10 }));
        assert_eq!(landing.finish(11), Err(Surprise::TooMany { landed: 11, sent: 10 }));
        assert_eq!(landing.finish(10), Ok(()));
    }

    /// A broker as far as sequences go: it remembers the last five batches, and takes only what follows.
    #[derive(Default)]
    struct Broker {
        log: Vec<(u64, u64)>,
    }

    impl Broker {
        fn end(&self) -> u64 {
            self.log.iter().map(|(_, records)| records).sum()
        }

        /// Whether the batch is in the log afterwards; a batch that skips over another is refused.
        fn take(&mut self, sent: &Sent) -> bool {
            let batch = (sent.first, sent.records);
            if self.log.iter().rev().take(IN_FLIGHT_MAX).any(|known| *known == batch) {
                return true;
            }
            // From a producer that it does not know, a broker takes any sequence.
            if sent.first != self.end() && !self.log.is_empty() {
                return false;
            }
            self.log.push(batch);
            true
        }
    }

    proptest! {
        /// Requests and answers are lost, requests arrive late, and processes die: every batch is there once, in order.
        #[test]
        fn every_batch_lands_once(
            sizes in prop::collection::vec(1_u64..10, 1..30),
            chances in prop::collection::vec(0_u8..12, 1..400),
        ) {
            let mut broker = Broker::default();
            let mut late: Vec<Sent> = Vec::new();
            let mut chances = chances.into_iter().chain(std::iter::repeat(11));
            'process: loop {
                let mut landing = Landing::resumed(broker.end());
                let mut batches = sizes.iter();
                let mut waiting = batches.next();
                while waiting.is_some() || landing.made > broker.end() || !landing.unanswered.is_empty() {
                    while let Some(records) = waiting {
                        if landing.skip(*records).unwrap() {
                            waiting = batches.next();
                            continue;
                        }
                        if !landing.has_room() {
                            break;
                        }
                        landing.sent(*records, Bytes::new());
                        waiting = batches.next();
                    }
                    let mut failed = false;
                    for (number, sent) in landing.unanswered.clone().into_iter().enumerate() {
                        if number > 0 && !landing.is_known { break; }
                        match chances.next().unwrap() {
                            0 => continue 'process,
                            1 => { late.push(sent); failed = true; }
                            2 => { broker.take(&sent); failed = true; }
                            3 => failed = true,
                            4 => late.drain(..).for_each(|sent| { broker.take(&sent); }),
                            _ if failed => { broker.take(&sent); }
                            _ if broker.take(&sent) => { landing.answered(); }
                            _ => failed = true,
                        }
                        if failed { break; }
                    }
                    landing.recover(broker.end()).unwrap();
                }
                break;
            }
            let expected: Vec<(u64, u64)> = sizes.iter().scan(0, |at, records| {
                let first = *at;
                *at += records;
                Some((first, *records))
            }).collect();
            prop_assert_eq!(broker.log, expected);
        }
    }
}
