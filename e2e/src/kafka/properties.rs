//! The `server.properties` of a node.

use std::collections::BTreeMap;

use super::listener::{Listener, Mechanism, User};
use super::{Kafka, Node};
use crate::version::Version;

/// The properties of one node of a cluster.
pub(super) fn of_node(kafka: &Kafka, node: &Node) -> String {
    let mut lines = quorum(kafka, node);
    lines.extend(listeners(kafka, node));
    lines.extend(behaviour(kafka));
    if kafka.options.authorizer {
        lines.insert(
            "authorizer.class.name".to_owned(),
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        );
        // The brokers themselves and the harness come in by the plain listener.
        lines.insert("super.users".to_owned(), "User:ANONYMOUS".to_owned());
    }
    if kafka.options.limits_retention {
        lines.insert("create.topic.policy.class.name".to_owned(), "RetentionLimit$OnCreate".to_owned());
        lines.insert("alter.config.policy.class.name".to_owned(), "RetentionLimit$OnAlter".to_owned());
    }
    lines.extend(kafka.options.extra_properties.iter().cloned());
    lines.iter().map(|(name, value)| format!("{name}={value}\n")).collect()
}

type Lines = BTreeMap<String, String>;

fn quorum(kafka: &Kafka, node: &Node) -> Lines {
    let voter = |node: &Node| format!("{}@127.0.0.1:{}", node.id, node.controller_port);
    let voters: Vec<String> = kafka.nodes.iter().map(voter).collect();
    owned([
        ("process.roles", "broker,controller".to_owned()),
        ("node.id", node.id.to_string()),
        ("controller.quorum.voters", voters.join(",")),
        ("controller.listener.names", "CONTROLLER".to_owned()),
        ("log.dirs", node.folder.join("data").display().to_string()),
    ])
}

fn listeners(kafka: &Kafka, node: &Node) -> Lines {
    let join = |part: &dyn Fn(Listener, u16) -> String| {
        node.ports.iter().map(|(listener, port)| part(*listener, *port)).collect::<Vec<_>>().join(",")
    };
    let address = kafka.options.address;
    let bound = join(&|listener, port| format!("{}://{}:{port}", listener.name(), listener.bound(address)));
    let advertised = join(&|listener, port| format!("{}://{}:{port}", listener.name(), listener.host(address)));
    let protocols = join(&|listener, _| format!("{}:{}", listener.name(), listener.security_protocol()));
    let mut lines = owned([
        ("listeners", format!("{bound},CONTROLLER://127.0.0.1:{}", node.controller_port)),
        ("advertised.listeners", advertised),
        ("listener.security.protocol.map", format!("{protocols},CONTROLLER:PLAINTEXT")),
        ("inter.broker.listener.name", Listener::Plain.name().to_owned()),
        ("sasl.enabled.mechanisms", "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512".to_owned()),
    ]);
    let file = |name| kafka.certificates.file(name).display().to_string();
    for listener in node.ports.keys() {
        let prefix = listener.prefix();
        if listener.is_tls() {
            let keystore = if *listener == Listener::ExpiredTls { "expired.pem" } else { "server.pem" };
            lines.insert(format!("{prefix}.ssl.keystore.type"), "PEM".to_owned());
            lines.insert(format!("{prefix}.ssl.keystore.location"), file(keystore));
            lines.insert(format!("{prefix}.ssl.truststore.type"), "PEM".to_owned());
            lines.insert(format!("{prefix}.ssl.truststore.location"), file("clients.crt"));
            let demand = if *listener == Listener::MutualTls { "required" } else { "none" };
            lines.insert(format!("{prefix}.ssl.client.auth"), demand.to_owned());
        }
        if listener.is_sasl() {
            for mechanism in [Mechanism::Plain, Mechanism::ScramSha256, Mechanism::ScramSha512] {
                // SCRAM users are in the metadata log; those of PLAIN stand in the configuration itself.
                let users = match mechanism {
                    Mechanism::Plain => format!(r#" user_{}="{}""#, User::PLAIN.name, User::PLAIN.password),
                    Mechanism::ScramSha256 | Mechanism::ScramSha512 => String::new(),
                };
                lines.insert(
                    format!("{prefix}.{}.sasl.jaas.config", mechanism.name().to_lowercase()),
                    format!("{} required{users};", mechanism.login_module()),
                );
            }
        }
    }
    lines
}

/// Small, quick to start, and quick to do in a test what a broker does in minutes: clean, sweep, notice.
fn behaviour(kafka: &Kafka) -> Lines {
    let (replicas, in_sync) = if kafka.options.nodes < 3 { ("1", "1") } else { ("3", "2") };
    let protocols = match kafka.options.version {
        Version::V4_4 | Version::V4_3 => "classic,consumer,streams,share",
        Version::V3_9 => "classic,consumer",
    };
    let lines = [
        ("auto.create.topics.enable", "false"),
        ("background.threads", "2"),
        ("default.replication.factor", replicas),
        ("group.consumer.heartbeat.interval.ms", "1000"),
        ("group.consumer.min.heartbeat.interval.ms", "1000"),
        ("group.coordinator.rebalance.protocols", protocols),
        ("group.initial.rebalance.delay.ms", "0"),
        ("log.cleaner.backoff.ms", "200"),
        ("log.cleaner.dedupe.buffer.size", "2097152"),
        ("log.initial.task.delay.ms", "500"),
        ("log.retention.check.interval.ms", "1000"),
        // Tests write old timestamps; one that wants them swept sets `retention.ms` on its topic.
        ("log.retention.ms", "-1"),
        ("log.segment.delete.delay.ms", "1000"),
        ("min.insync.replicas", in_sync),
        ("num.io.threads", "2"),
        ("num.network.threads", "2"),
        ("num.recovery.threads.per.data.dir", "1"),
        ("num.replica.fetchers", "1"),
        ("offsets.topic.num.partitions", "4"),
        ("offsets.topic.replication.factor", replicas),
        ("share.coordinator.state.topic.min.isr", "1"),
        ("share.coordinator.state.topic.num.partitions", "1"),
        ("share.coordinator.state.topic.replication.factor", replicas),
        ("transaction.state.log.min.isr", in_sync),
        ("transaction.state.log.num.partitions", "4"),
        ("transaction.state.log.replication.factor", replicas),
    ];
    owned(lines.map(|(name, value)| (name, value.to_owned())))
}

fn owned<const N: usize>(lines: [(&str, String); N]) -> Lines {
    lines.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}
