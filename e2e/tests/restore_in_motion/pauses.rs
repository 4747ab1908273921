//! A pause between two batches, as a rate limit makes one, takes nothing from the time that a trouble may last.

use e2e::dump::Record;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, NewTopic};

use crate::hiding_proxy::shared;
use crate::{BackedUp, OLD_MS};

const PRODUCE: i16 = 0;

#[test]
fn a_trouble_that_begins_longer_than_the_retry_timeout_after_the_last_batch_is_overcome() {
    const BATCHES: i64 = 3;
    const BATCH_RECORDS: i64 = 60;
    // Each batch waits six seconds for its turn.
    const RECORDS_PER_SECOND: i64 = 10;
    const RETRY_TIMEOUT_MS: i64 = 4_000;
    let shared = shared();
    let (proxy, kafka) = &*shared;
    let (witness, topic, target) = (kafka.witness(), unique("paused"), unique("paused-target"));
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    for batch in 0..BATCHES {
        let record = |n: i64| Record::new(0, OLD_MS + n, n.to_string(), "v");
        let records: Vec<Record> = (batch * BATCH_RECORDS..(batch + 1) * BATCH_RECORDS).map(record).collect();
        witness.produce_batch(&topic, 0, "none", &records).unwrap();
    }
    let sample = Sample { topic, records: (BATCHES * BATCH_RECORDS).unsigned_abs() };
    let backed_up = BackedUp::of(kafka, sample, &[]);
    let (rate, timeout) = (RECORDS_PER_SECOND.to_string(), RETRY_TIMEOUT_MS.to_string());
    // Joined, they would be one batch.
    let slowly = ["--keep-batches", "--rate-limit-records", &rate, "--retry-timeout-ms", &timeout];
    let mut running = backed_up.start(&target, &slowly);
    running.wait_until("the first batch has landed", || {
        witness.offsets(&target, At::Latest).is_ok_and(|ends| ends[0] > 0)
    });
    proxy.hold(Some(PRODUCE));
    running.wait_until("the next batch is on its way", || proxy.holds_one());
    proxy.end_connections();
    proxy.hold(None);
    running.ended().unwrap().succeeded();
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}
