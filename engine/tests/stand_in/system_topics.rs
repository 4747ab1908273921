//! Topics of Kafka's add-ons are taken only by their exact name.

use kafka_backup::backup;
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::json;

use crate::broker::Broker;
use crate::configs;
use crate::topic::{Log, Topic};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_does_not_take_a_topic_of_an_add_on_and_its_exact_name_does() {
    let topic = |name| Topic::new(name, vec![Log::of_noise(1, 10, 1)]);
    let broker = Broker::start(vec![topic("orders"), topic("__CruiseControlMetrics")]).await;
    for (wanted, taken) in [
        (json!({}), 1),
        (json!({ "topics": [".*"] }), 1),
        (json!({ "topics": [".*", "__CruiseControlMetrics"] }), 2),
        (json!({ "topics": ["__CruiseControlMetrics"] }), 1),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = configs::backup(&broker, folder.path(), wanted.clone());
        let report = backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
        assert_eq!(report.topics, taken, "{wanted}");
    }
}
