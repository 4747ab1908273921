//! How long a run waits for a leader: for the retry timeout, from the beginning of the search on, and once.

use std::time::{Duration, Instant};

use kafka_backup::backup::{self, BackupReport, Outcome, Patience};
use kafka_backup::config::backup::PARALLELISM;
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use kafka_protocol::messages::ApiKey;
use serde_json::json;

use crate::broker::Broker;
use crate::configs::{self, PATIENCE};
use crate::topic::{Log, Topic};

/// Backs up all that the broker has, except groups. A log that gives nothing is waited for.
async fn back_up(broker: &Broker, retry_timeout_ms: u64) -> BackupReport {
    back_up_by(PARALLELISM, broker, retry_timeout_ms).await
}

/// Backs it up by so many workers.
async fn back_up_by(parallelism: usize, broker: &Broker, retry_timeout_ms: u64) -> BackupReport {
    let folder = tempfile::tempdir().unwrap();
    let mut cluster = broker.config();
    cluster.retry_timeout_ms = retry_timeout_ms;
    let settings = json!({ "cluster": cluster, "consumerGroups": [], "parallelism": parallelism });
    let config = configs::backup(broker, folder.path(), settings);
    let patience = Patience { stall: Duration::from_secs(600), ..PATIENCE };
    backup::run_with(patience, &config, &Progress::default(), &Stop::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_sought_for_the_whole_retry_timeout_however_long_nothing_was_read_before() {
    const NOT_LEADER_OR_FOLLOWER: i16 = 6;
    const RETRY_TIMEOUT_MS: u64 = 800;
    /// For so long the log gives nothing, before nobody leads it.
    const SILENCE: Duration = Duration::from_millis(1_500);
    let mut silent_since: Option<Instant> = None;
    let mut has_lost_leader = false;
    let log = Log::of_keys(&["a", "b", "c"]).with(move |log, offset| {
        if offset == 1 && !has_lost_leader {
            log.is_silent = silent_since.get_or_insert_with(Instant::now).elapsed() < SILENCE;
            if !log.is_silent {
                (log.error_code, log.has_no_leader, has_lost_leader) = (NOT_LEADER_OR_FOLLOWER, true, true);
            }
        }
    });
    let broker = Broker::start(vec![Topic::new("orders", vec![log])]).await;
    broker.answer_within(Duration::from_millis(20));
    let log = &broker.topics()[0].partitions[0];
    let election = async {
        let mut looks = 0;
        while !log.state().has_no_leader {
            looks = broker.requests_of(ApiKey::Metadata);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Nobody leads the partition until the run has looked for its leader.
        while broker.requests_of(ApiKey::Metadata) == looks {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let mut log = log.state();
        (log.error_code, log.has_no_leader) = (0, false);
    };
    let (report, ()) = tokio::join!(back_up(&broker, RETRY_TIMEOUT_MS), election);
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 3), "{report:?}");
}

/// Backs up a topic of two partitions, of which the second may have no leader. Returns the number of requests for metadata, too.
async fn backed_up(has_no_leader: bool) -> (BackupReport, u64) {
    let orders = vec![Log::of_noise(3, 100, 1), Log::of_noise(3, 100, 2)];
    orders[1].state().has_no_leader = has_no_leader;
    let broker = Broker::start(vec![Topic::new("orders", orders)]).await;
    let report = back_up(&broker, 1_000).await;
    (report, broker.requests_of(ApiKey::Metadata))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_a_leader_at_the_cut_is_waited_for_once() {
    /// The leader is looked for so many times at most within a second: pauses double, from at least 50 ms on, and requests for
    /// metadata are at least 250 ms apart.
    const LOOKS_MAX: u64 = 5;
    let (report, usual) = backed_up(false).await;
    assert_eq!((report.outcome, report.records), (Outcome::Completed, 6), "{report:?}");
    let (report, requests) = backed_up(true).await;
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 3), "{report:?}");
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert!(problem.starts_with("partition orders-1 is not in the backup: gave up after 1000 ms"), "{problem}");
    let looks = requests - usual;
    assert!((1..=LOOKS_MAX).contains(&looks), "{looks} requests for metadata while nobody led the partition");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_return_an_error_and_nothing_in_turn_are_given_up() {
    const KAFKA_STORAGE_ERROR: i16 = 56;
    let slow = || {
        Log::of_keys(&["a", "b"]).with(|log, _| {
            let fails = log.error_code == 0;
            (log.error_code, log.is_silent) = if fails { (KAFKA_STORAGE_ERROR, false) } else { (0, true) };
        })
    };
    let broker = Broker::start(vec![Topic::new("orders", vec![slow(), slow(), Log::of_keys(&["c"])])]).await;
    broker.answer_within(Duration::from_millis(20));
    let report = tokio::time::timeout(Duration::from_secs(60), back_up(&broker, 1_000)).await.expect("it ends");
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    let says = |part: &str| report.problems.iter().any(|problem| problem.contains(part));
    for part in ["orders-0 is not in the backup", "orders-1 is not in the backup", "KAFKA_STORAGE_ERROR (56)"] {
        assert!(says(part), "{:?}", report.problems);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_whose_broker_hangs_and_has_nothing_at_hand_in_turn_is_given_up() {
    const RETRY_TIMEOUT_MS: u64 = 2_000;
    /// After so long a request was given up, with its last pause, and the next one is answered.
    const HANGS: Duration = Duration::from_millis(3_300);
    let silent = Log::of_keys(&["a"]);
    silent.state().is_silent = true;
    let topics = vec![Topic::new("a-small", vec![Log::of_keys(&["a"])]), Topic::new("silent", vec![silent])];
    let broker = Broker::start(topics).await;
    broker.answer_within(Duration::from_millis(20));
    broker.answer_fetches(1);
    let answers = async {
        loop {
            tokio::time::sleep(HANGS).await;
            broker.answer_another_fetch();
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(60), async {
        tokio::select! {
            report = back_up_by(1, &broker, RETRY_TIMEOUT_MS) => report,
            () = answers => unreachable!("it answers for ever"),
        }
    });
    let report = ended.await.expect("it ends");
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    assert!(report.problems[0].starts_with("partition silent-0 is not in the backup"), "{:?}", report.problems);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_partitions_of_a_broker_that_answers_no_fetch_are_waited_for_together() {
    /// Partitions, each of which is read in three stretches.
    const PARTITIONS: usize = 4;
    const END_OFFSET: i64 = 1_500_000;
    /// Within a second a request is tried about five times. The first partition is waited for twice as long, and the others together.
    const ATTEMPTS_MAX: u64 = 40;
    let large = |_| {
        let log = Log::of_keys(&["a"]);
        log.state().ends_at = END_OFFSET;
        log
    };
    let topics = vec![
        Topic::new("a-small", vec![Log::of_keys(&["a"])]),
        Topic::new("large", (0..PARTITIONS).map(large).collect()),
    ];
    let broker = Broker::start(topics).await;
    broker.answer_fetches(1);
    let report = back_up_by(1, &broker, 1_000).await;
    assert_eq!((report.outcome, report.records), (Outcome::Partial, 1), "{report:?}");
    assert_eq!(report.problems.len(), PARTITIONS, "{:?}", report.problems);
    assert!(broker.attempts_in_vain() <= ATTEMPTS_MAX, "{} fetches in vain", broker.attempts_in_vain());
}
