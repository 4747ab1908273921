//! A cluster that nobody reaches for a while is left alone but for one probe at a time, and then everybody goes on.

use kafka_backup::breaker::Breaker;
use kafka_backup::config::cluster::CircuitBreakerConfig;
use kafka_backup::kafka::Cluster;

use crate::broker::Broker;
use crate::topic::{Log, Topic};

const WORKERS: usize = 20;
/// How often the breaker opens before the cluster is back.
const OPENED: u64 = 3;
/// One try of a call makes so many connections at most: to the broker, and when it is silent to the bootstrap server.
const CONNECTIONS: u64 = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sick_cluster_is_left_alone_but_for_one_probe_at_a_time() {
    let broker = Broker::start(vec![Topic::new("orders", vec![Log::of_noise(1, 100, 1)])]).await;
    let config = CircuitBreakerConfig { enabled: true, failure_threshold: 1, reset_timeout_secs: 1 };
    let breaker = Breaker::new("brokers", config);
    let cluster = Cluster::connect(&broker.config(), breaker.clone()).await.unwrap();
    cluster.metadata(None).await.unwrap();

    broker.set_away(true);
    let calls = (0..WORKERS).map(|_| {
        let cluster = cluster.clone();
        tokio::spawn(async move { cluster.metadata(None).await })
    });
    let calls: Vec<_> = calls.collect();
    while breaker.times_opened() < OPENED {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    broker.set_away(false);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    // All at once before it opened, and a probe for each time after that.
    let attempts = broker.attempts_in_vain();
    assert!(attempts <= CONNECTIONS * (WORKERS as u64 + OPENED), "{attempts} attempts");
    assert!(!breaker.is_open());
}
