//! Topics that Kafka's add-ons keep for themselves: state of one cluster and of the tools around it, never user data.
//!
//! Topics that Kafka itself calls internal (`__consumer_offsets`, `__transaction_state`) are flagged in its metadata, and are
//! not listed here.

/// Names and what they belong to.
const NAMES: [&str; 10] = [
    // Tiered storage (KIP-405): where the remote segments of this very cluster are.
    "__remote_log_metadata",
    // Cruise Control.
    "__KafkaCruiseControlModelTrainingSamples",
    "__KafkaCruiseControlPartitionMetricSamples",
    // Cruise Control as Strimzi configures it, and the store of its Topic Operator.
    "strimzi.cruisecontrol.metrics",
    "strimzi.cruisecontrol.modeltrainingsamples",
    "strimzi.cruisecontrol.partitionmetricsamples",
    "__strimzi_canary",
    "__strimzi_store_topic",
    "__strimzi-topic-operator-kstreams-topic-store-changelog",
    // Confluent's support client.
    "__confluent.support.metrics",
];

/// Beginnings of names; `_confluent_balancer_` is Confluent's Self-Balancing, and `_redpanda.` Redpanda's audit and transform logs.
const PREFIXES: [&str; 5] = ["__CruiseControl", "__amazon_msk_", "_confluent-", "_confluent_balancer_", "_redpanda."];

/// Beginnings of names that a prefix above covers although applications keep their own state there: the offsets of MSK
/// Connect's connectors, and the statements of ksqlDB.
const APPLICATION_PREFIXES: [&str; 2] = ["__amazon_msk_connect_", "_confluent-ksql-"];

/// Whether MirrorMaker 2 keeps pairs of offsets there, which mean something only between the two clusters (KIP-382, KIP-690).
fn is_of_mirror_maker(name: &str) -> bool {
    (name.starts_with("mm2-offset-syncs.") && name.ends_with(".internal")) || name.ends_with(".checkpoints.internal")
}

/// Whether the topic of this name belongs to an add-on of Kafka.
///
/// A backup leaves these topics out unless its configuration names them exactly.
pub fn is_system_topic(name: &str) -> bool {
    let begins = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    NAMES.contains(&name) || is_of_mirror_maker(name) || (begins(&PREFIXES) && !begins(&APPLICATION_PREFIXES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_add_ons_are_told_from_those_of_applications() {
        for name in [
            "__remote_log_metadata",
            "__CruiseControlMetrics",
            "__KafkaCruiseControlModelTrainingSamples",
            "__amazon_msk_canary",
            "_confluent-metrics",
            "_confluent-telemetry-metrics",
            "strimzi.cruisecontrol.metrics",
            "__confluent.support.metrics",
            "_confluent_balancer_api_state",
            "_redpanda.audit_log",
            "mm2-offset-syncs.west.internal",
            "east.checkpoints.internal",
        ] {
            assert!(is_system_topic(name), "{name}");
        }
        for name in [
            "orders",
            "_schemas",
            "connect-offsets",
            "__debezium-heartbeat.orders",
            "my_confluent-metrics",
            "__amazon_msk_connect_offsets_orders_1",
            "_confluent-ksql-default__command_topic",
            "mm2-offsets.west.internal",
            "orders.internal",
        ] {
            assert!(!is_system_topic(name), "{name}");
        }
    }
}
