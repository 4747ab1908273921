//! The batches of one partition on their way: what to send, and what an answer, or none, means.
//!
//! What is to land in a partition is a fixed sequence of batches. A batch's place is the number of records before it, its
//! target offset is `base_offset` plus that, and its producer sequence is the place modulo 2^31, whichever process sends
//! it. So a broker recognises a batch that it has already, also when a killed process sent it (it remembers the last five,
//! hence [`IN_FLIGHT_MAX`]); and the end of the log says how many records have landed, whatever answers were lost.
//!
//! After any failure nothing more is sent until every answer is in; then the log's end is asked for, and sending goes on
//! behind it. This is a pure state machine: events in, what to do next out.

use std::collections::VecDeque;

/// How many batches of a producer and partition a broker remembers, and so how many may be unanswered.
pub const IN_FLIGHT_MAX: usize = 5;
/// Bytes of unanswered batches, above which no further batch is taken, so that a few large batches do not fill the
/// memory.
pub const IN_FLIGHT_BYTES_MAX: usize = 1 << 20;

/// Why the target does not hold what was sent to it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A batch landed somewhere else than it must.
    #[error("a batch landed at offset {found} instead of {expected}: somebody else writes to it")]
    Misplaced {
        /// Where it had to land.
        expected: i64,
        /// Where the broker says that it landed.
        found: i64,
    },
    /// The log ends in the middle of a batch of ours, or beyond everything that we sent.
    #[error("its log ends at offset {end_offset}, where none of the restored batches ends: somebody else wrote to it")]
    Stranger {
        /// The end of the log.
        end_offset: i64,
    },
    /// The log ends before what was acknowledged.
    #[error(
        "its log ends at offset {end_offset}, although everything before {acknowledged} was acknowledged: the target lost \
         records (an unclean leader election?), and the same command sends them again"
    )]
    Lost {
        /// The end of the log.
        end_offset: i64,
        /// Where it ended before.
        acknowledged: i64,
    },
}

/// The sequence number of the record at this place in what is produced to a partition.
pub const fn sequence(place: u64) -> i32 {
    // After 2147483647 comes 0, as brokers count.
    (place & i32::MAX as u64) as i32
}

/// What the answer about a batch means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It is in the log; at this offset, if the broker says.
    Landed {
        /// The offset of its first record; negative when the broker knows only that it has the batch.
        offset: i64,
    },
    /// It may have landed or not.
    Unknown,
}

/// What a partition needs next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A batch waits to be sent.
    Send,
    /// Nothing but answers, or further batches.
    Nothing,
    /// The log's end is to be asked for.
    End,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    InFlight,
    Landed,
}

#[derive(Debug, Clone)]
struct Outgoing<T> {
    place: u64,
    records: u64,
    bytes: usize,
    state: State,
    batch: T,
}

/// The unanswered batches of a partition, `T` being what is sent.
#[derive(Debug, Clone)]
pub struct Sender<T> {
    base_offset: i64,
    /// Where the log was seen to end, as a place.
    seen_end: u64,
    /// Records that are known to have landed, all from the first.
    landed: u64,
    /// Records that were taken, landed ones among them.
    taken: u64,
    window: VecDeque<Outgoing<T>>,
    bytes: usize,
    failed: bool,
}

impl<T: Clone> Sender<T> {
    /// A partition whose log ended at `base_offset` before the first batch, and ends at `end_offset` now.
    ///
    /// # Errors
    /// [`Error::Lost`] when it ends before it began.
    pub fn new(base_offset: i64, end_offset: i64) -> Result<Self, Error> {
        let lost = Error::Lost { end_offset, acknowledged: base_offset };
        let seen_end = end_offset.checked_sub(base_offset).and_then(|end| u64::try_from(end).ok()).ok_or(lost)?;
        Ok(Self { base_offset, seen_end, landed: 0, taken: 0, window: VecDeque::new(), bytes: 0, failed: false })
    }

    /// Records that are known to have landed.
    pub fn landed(&self) -> u64 {
        self.landed
    }

    /// The target's end offset once everything that was taken has landed.
    pub fn end_offset(&self) -> i64 {
        self.offset_of(self.taken)
    }

    /// Whether every batch that was taken has landed.
    pub fn is_idle(&self) -> bool {
        self.window.is_empty()
    }

    /// Whether a further batch may be taken.
    pub fn has_room(&self) -> bool {
        !self.failed && self.window.len() < IN_FLIGHT_MAX && (self.bytes < IN_FLIGHT_BYTES_MAX || self.window.is_empty())
    }

    /// The place of the next batch that is taken.
    pub fn next_place(&self) -> u64 {
        self.taken
    }

    /// Whether the log has the next batch, one of `records` records, already: then it is passed over, and not to be
    /// pushed.
    ///
    /// # Errors
    /// [`Error::Stranger`] when the log ends in the middle of it.
    pub fn pass_if_landed(&mut self, records: u64) -> Result<bool, Error> {
        if self.taken >= self.seen_end {
            return Ok(false);
        }
        if self.taken + records > self.seen_end {
            return Err(Error::Stranger { end_offset: self.offset_of(self.seen_end) });
        }
        self.taken += records;
        self.landed = self.taken;
        Ok(true)
    }

    /// Takes the next batch of the sequence; its place is [`Sender::next_place`].
    pub fn push(&mut self, records: u64, bytes: usize, batch: T) {
        self.window.push_back(Outgoing { place: self.taken, records, bytes, state: State::Waiting, batch });
        self.taken += records;
        self.bytes += bytes;
    }

    /// What is to be done next.
    pub fn need(&self) -> Need {
        let any = |state| self.window.iter().any(|outgoing| outgoing.state == state);
        match (self.failed, any(State::InFlight)) {
            (true, true) => Need::Nothing,
            (true, false) => Need::End,
            (false, _) if any(State::Waiting) => Need::Send,
            (false, _) => Need::Nothing,
        }
    }

    /// Takes the next batch to send, with its place; nothing while [`Need::Send`] does not hold.
    pub fn send(&mut self) -> Option<(u64, T)> {
        if self.failed {
            return None;
        }
        let outgoing = self.window.iter_mut().find(|outgoing| outgoing.state == State::Waiting)?;
        outgoing.state = State::InFlight;
        Some((outgoing.place, outgoing.batch.clone()))
    }

    /// Hears what became of the batch at `place`. Gives back how many records are newly known to have landed.
    ///
    /// # Errors
    /// [`Error::Misplaced`].
    pub fn answered(&mut self, place: u64, answer: Answer) -> Result<u64, Error> {
        let expected = self.offset_of(place);
        let Some(outgoing) = self.window.iter_mut().find(|outgoing| outgoing.place == place) else { return Ok(0) };
        match answer {
            Answer::Landed { offset } if offset >= 0 && offset != expected => {
                return Err(Error::Misplaced { expected, found: offset });
            }
            Answer::Landed { .. } => outgoing.state = State::Landed,
            Answer::Unknown => {
                outgoing.state = State::Waiting;
                self.failed = true;
            }
        }
        let before = self.landed;
        while self.window.front().is_some_and(|outgoing| outgoing.state == State::Landed) {
            self.drop_first();
        }
        Ok(self.landed - before)
    }

    /// Hears where the log ends, after [`Need::End`]; sending goes on from there. Gives back how many records are newly
    /// known to have landed.
    ///
    /// # Errors
    /// [`Error::Lost`] and [`Error::Stranger`].
    pub fn ends_at(&mut self, end_offset: i64) -> Result<u64, Error> {
        let acknowledged = self.window.iter().filter(|outgoing| outgoing.state == State::Landed).next_back();
        let acknowledged = acknowledged.map_or(self.landed, |outgoing| outgoing.place + outgoing.records);
        if end_offset < self.offset_of(acknowledged) {
            return Err(Error::Lost { end_offset, acknowledged: self.offset_of(acknowledged) });
        }
        let before = self.landed;
        while self.offset_of(self.landed) < end_offset && !self.window.is_empty() {
            self.drop_first();
        }
        if self.offset_of(self.landed) > end_offset {
            return Err(Error::Stranger { end_offset });
        }
        // It may end behind all that we sent: a request of a process that was killed can land late.
        self.seen_end = end_offset.abs_diff(self.base_offset);
        self.failed = false;
        Ok(self.landed - before)
    }

    /// Whether the log was seen to end behind everything that was taken; once there is nothing more to take, somebody
    /// else wrote to it.
    pub fn is_overrun(&self) -> bool {
        self.seen_end > self.taken
    }

    fn drop_first(&mut self) {
        if let Some(outgoing) = self.window.pop_front() {
            self.landed = outgoing.place + outgoing.records;
            self.bytes -= outgoing.bytes;
        }
    }

    fn offset_of(&self, place: u64) -> i64 {
        self.base_offset.saturating_add_unsigned(place)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sequences_wrap_as_brokers_count() {
        assert_eq!(sequence(0), 0);
        assert_eq!(sequence(2_147_483_647), i32::MAX);
        assert_eq!(sequence(2_147_483_648), 0);
        assert_eq!(sequence(5 << 31), 0);
        let before = sequence((3 << 31) - 2);
        assert_eq!(crate::rewrite::Producer::sequence_after(before, 7), sequence((3 << 31) + 5));
    }

    #[test]
    fn at_most_as_many_batches_are_unanswered_as_a_broker_remembers() {
        let mut sender = Sender::new(0, 0).unwrap();
        while sender.has_room() {
            sender.push(1, 10, ());
        }
        assert_eq!(std::iter::from_fn(|| sender.send()).count(), IN_FLIGHT_MAX);
        assert_eq!(sender.need(), Need::Nothing);
        sender.answered(1, Answer::Landed { offset: 1 }).unwrap();
        assert!(!sender.has_room(), "the first batch is still unanswered");
        assert_eq!(sender.answered(0, Answer::Landed { offset: 0 }), Ok(2));
        assert!(sender.has_room());
    }

    #[test]
    fn large_batches_go_one_at_a_time() {
        let mut sender = Sender::new(0, 0).unwrap();
        sender.push(1, 10 << 20, ());
        assert!(!sender.has_room());
        sender.send();
        sender.answered(0, Answer::Landed { offset: 0 }).unwrap();
        assert!(sender.has_room());
    }

    #[test]
    fn nothing_is_sent_after_a_failure_until_the_end_is_known() {
        let mut sender = Sender::new(100, 100).unwrap();
        (0..3).for_each(|_| sender.push(10, 1, ()));
        sender.send();
        sender.send();
        sender.answered(0, Answer::Unknown).unwrap();
        assert_eq!((sender.need(), sender.send(), sender.has_room()), (Need::Nothing, None, false));
        sender.answered(10, Answer::Unknown).unwrap();
        assert_eq!((sender.need(), sender.send()), (Need::End, None));
        assert_eq!(sender.ends_at(110), Ok(10));
        assert_eq!(sender.send().map(|(place, ())| place), Some(10));
    }

    #[test]
    fn another_writer_is_noticed() {
        let mut sender = Sender::new(100, 100).unwrap();
        sender.push(10, 1, ());
        sender.send();
        let found = sender.clone().answered(0, Answer::Landed { offset: 101 });
        assert_eq!(found, Err(Error::Misplaced { expected: 100, found: 101 }));
        sender.answered(0, Answer::Unknown).unwrap();
        assert_eq!(sender.clone().ends_at(105), Err(Error::Stranger { end_offset: 105 }));
        assert_eq!(sender.clone().ends_at(99), Err(Error::Lost { end_offset: 99, acknowledged: 100 }));
        sender.ends_at(111).unwrap();
        assert!(sender.is_overrun());
        assert_eq!(sender.pass_if_landed(10), Err(Error::Stranger { end_offset: 111 }));
        assert_eq!(sender.pass_if_landed(1), Ok(true));
    }

    #[test]
    fn what_a_former_process_sent_is_passed_over() {
        let mut sender = Sender::<()>::new(100, 115).unwrap();
        assert_eq!(sender.pass_if_landed(10), Ok(true));
        assert_eq!(sender.pass_if_landed(5), Ok(true));
        assert_eq!(sender.pass_if_landed(5), Ok(false));
        assert_eq!((sender.landed(), sender.next_place(), sender.end_offset()), (15, 15, 115));
        assert_eq!(Sender::<()>::new(100, 99).unwrap_err(), Error::Lost { end_offset: 99, acknowledged: 100 });
    }

    /// A leader as far as producing goes: it takes a batch if its sequence comes next, knows the last five again, and
    /// refuses everything else.
    #[derive(Default)]
    struct Broker {
        log: Vec<u64>,
        known: VecDeque<(u64, i64)>,
    }

    impl Broker {
        fn produce(&mut self, place: u64, records: u64) -> Answer {
            if let Some((_, offset)) = self.known.iter().find(|(known, _)| *known == place) {
                return Answer::Landed { offset: *offset };
            }
            if place != self.log.len() as u64 {
                return Answer::Unknown;
            }
            let offset = self.log.len() as i64;
            self.known.push_back((place, offset));
            if self.known.len() > IN_FLIGHT_MAX {
                self.known.pop_front();
            }
            self.log.extend(place..place + records);
            Answer::Landed { offset }
        }
    }

    #[derive(Debug, Clone, Copy)]
    enum Fate {
        Arrives,
        AnswerLost,
        Lost,
        ArrivesTwice,
        /// The process is killed, and the next one begins at the log's end. What was on its way arrives later.
        Killed,
    }

    fn fates() -> impl Strategy<Value = Vec<Fate>> {
        let fate = prop_oneof![
            6 => Just(Fate::Arrives),
            2 => Just(Fate::AnswerLost),
            2 => Just(Fate::Lost),
            1 => Just(Fate::ArrivesTwice),
            1 => Just(Fate::Killed),
        ];
        proptest::collection::vec(fate, 0..200)
    }

    proptest! {
        #[test]
        fn each_record_lands_once_and_in_order(sizes in proptest::collection::vec(1_u64..20, 1..60), fates in fates()) {
            let mut fates = fates.into_iter();
            let mut broker = Broker::default();
            let mut sender = Sender::new(0, 0).unwrap();
            let total: u64 = sizes.iter().sum();
            let starts: Vec<u64> = sizes.iter().scan(0, |at, size| { *at += size; Some(*at - size) }).collect();
            let mut late: Vec<(u64, u64)> = Vec::new();
            let mut steps = 0;
            while sender.landed() < total {
                steps += 1;
                prop_assert!(steps < 10_000, "it does not end");
                while sender.has_room() && sender.next_place() < total {
                    let next = starts.binary_search(&sender.next_place());
                    prop_assert!(next.is_ok(), "batches begin where batches begin");
                    let size = sizes[next.unwrap_or_default()];
                    if !sender.pass_if_landed(size).unwrap() {
                        sender.push(size, 100, size);
                    }
                }
                let mut sent = Vec::new();
                while let Some(batch) = sender.send() { sent.push(batch) }
                let mut killed = false;
                for (place, size) in sent {
                    match fates.next().unwrap_or(Fate::Arrives) {
                        Fate::Killed => { killed = true; late.push((place, size)); }
                        _ if killed => late.push((place, size)),
                        Fate::Arrives => {
                            let answer = broker.produce(place, size);
                            sender.answered(place, answer).unwrap();
                        }
                        Fate::AnswerLost => {
                            broker.produce(place, size);
                            sender.answered(place, Answer::Unknown).unwrap();
                        }
                        Fate::Lost => { sender.answered(place, Answer::Unknown).unwrap(); }
                        Fate::ArrivesTwice => {
                            let answer = broker.produce(place, size);
                            broker.produce(place, size);
                            sender.answered(place, answer).unwrap();
                        }
                    }
                }
                if killed {
                    sender = Sender::new(0, broker.log.len() as i64).unwrap();
                    for (place, size) in late.drain(..) {
                        broker.produce(place, size);
                    }
                } else if sender.need() == Need::End {
                    sender.ends_at(broker.log.len() as i64).unwrap();
                }
            }
            prop_assert_eq!(broker.log, (0..total).collect::<Vec<_>>());
        }
    }
}
