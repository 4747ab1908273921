//! How long a trouble may last is counted from its own beginning.

use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::At;

use crate::BackedUp;
use crate::hiding_proxy::behind_a_proxy;

const PRODUCE: i16 = 0;

#[test]
fn a_trouble_that_begins_later_than_the_retry_timeout_after_another_one_is_overcome() {
    const RATE: i64 = 100_000;
    const RETRY_TIMEOUT_MS: i64 = 8_000;
    let (proxy, kafka) = behind_a_proxy();
    let (backed_up, witness, target) = (BackedUp::new(&kafka, "troubles", 6_000), kafka.witness(), unique("troubled"));
    let (rate, timeout) = (RATE.to_string(), RETRY_TIMEOUT_MS.to_string());
    let command = backed_up.command(&target, &["--rate-limit-bytes", &rate, "--retry-timeout-ms", &timeout]);
    let mut running = backed_up.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    let landed = || witness.offsets(&target, At::Latest).map_or(0, |ends| ends.iter().sum::<i64>());
    // At the rate, these take longer than the retry timeout, and are a good half of all records.
    let apart = RATE * RETRY_TIMEOUT_MS / 1_000 * 5 / 4 / i64::from(Sample::VALUE_BYTES);
    let mut after = 1;
    for trouble in ["first", "second"] {
        running.wait_until(&format!("the {trouble} trouble is due"), || landed() >= after);
        proxy.hold(Some(PRODUCE));
        running.wait_until("a batch is on its way", || proxy.holds_one());
        proxy.end_connections();
        proxy.hold(None);
        after = landed().max(after) + apart;
    }
    running.ended().unwrap().succeeded();
    backed_up.sample.came_back_as(&witness, &target).unwrap();
}
