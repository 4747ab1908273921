//! What goes wrong between us and a Kafka cluster.

use std::fmt;

use crate::config::cluster::SaslMechanism;
use crate::error::Kind;
use crate::kafka::retry::{self, Class};

/// What a broker's error code is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Resource {
    /// The cluster as a whole.
    Cluster,
    /// One broker, by its id.
    Broker(i32),
    /// A topic.
    Topic(String),
    /// One partition of a topic.
    Partition(String, i32),
    /// A consumer group.
    Group(String),
    /// What a group committed for one partition.
    GroupPartition(String, String, i32),
    /// A transactional id.
    TransactionalId(String),
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster => f.write_str("the cluster"),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::Topic(topic) => write!(f, "topic {topic:?}"),
            Self::Partition(topic, partition) => write!(f, "topic {topic:?} partition {partition}"),
            Self::Group(group) => write!(f, "group {group:?}"),
            Self::GroupPartition(group, topic, partition) => {
                write!(f, "group {group:?} on topic {topic:?} partition {partition}")
            }
            Self::TransactionalId(id) => write!(f, "transactional id {id:?}"),
        }
    }
}

/// A failure of the Kafka client. Its text is one line; a clone is cheap enough to give to every waiting caller.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The configuration contradicts itself, or names a file that cannot be read.
    #[error(transparent)]
    Config(#[from] crate::config::cluster::Error),
    /// A certificate or key file does not hold what it should.
    #[error("{path}: {why}")]
    TlsFile {
        /// The file, or what stands for it.
        path: String,
        /// What is wrong with it; never a byte of it.
        why: String,
    },
    /// No connection to a host: unknown, refused, or no answer in time.
    #[error("cannot reach {address}: {why}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// What the system said.
        why: String,
    },
    /// The TLS handshake failed over a certificate, theirs or ours.
    #[error("TLS with {address} is refused: {why}")]
    Certificate {
        /// Host and port.
        address: String,
        /// Which certificate, and what is wrong with it.
        why: String,
    },
    /// Whoever listens there does not speak what we expect.
    #[error("{address} does not answer as a Kafka broker would with securityProtocol {protocol}: {why}")]
    NotKafka {
        /// Host and port.
        address: String,
        /// The security protocol we tried.
        protocol: &'static str,
        /// What came instead.
        why: String,
    },
    /// The broker refuses the user or the password.
    #[error("{address} refuses {user} with {mechanism}: {why}")]
    Authentication {
        /// Host and port.
        address: String,
        /// The mechanism that was used.
        mechanism: SaslMechanism,
        /// The user: the name, or the file that holds it.
        user: String,
        /// What the broker, or the mechanism, said; never a secret.
        why: String,
    },
    /// The broker does not offer the SASL mechanism.
    #[error("{address} does not offer the SASL mechanism {mechanism}, but {}", offered.join(", "))]
    Mechanism {
        /// Host and port.
        address: String,
        /// The mechanism that was asked for.
        mechanism: SaslMechanism,
        /// Those that the broker names.
        offered: Vec<String>,
    },
    /// No bootstrap server could be used.
    #[error("no bootstrap server can be used: {}", join(causes))]
    Bootstrap {
        /// Each server's own failure.
        causes: Vec<Error>,
    },
    /// The connection ended while requests were waiting, or before they could be sent.
    #[error("the connection to {address} ended: {why}")]
    Lost {
        /// Host and port.
        address: String,
        /// What the system said.
        why: String,
    },
    /// No answer within the deadline. The connection was given up, since its next answer could be the late one.
    #[error("{address} did not answer {api} within {timeout_ms} ms")]
    Timeout {
        /// Host and port.
        address: String,
        /// The request's name.
        api: &'static str,
        /// The deadline in milliseconds.
        timeout_ms: u64,
    },
    /// A response announces more bytes than any response may have.
    #[error(
        "{address} announces a response of {bytes} bytes, the limit is {max}: is this the right port and securityProtocol?"
    )]
    FrameTooLarge {
        /// Host and port.
        address: String,
        /// What the length field says; may be negative.
        bytes: i64,
        /// The limit.
        max: usize,
    },
    /// A response that cannot be read, or that does not answer what was asked.
    #[error("{address} answered {api} with something unexpected: {why}")]
    Protocol {
        /// Host and port.
        address: String,
        /// The request's name.
        api: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A request that cannot be written in the version that the broker speaks.
    #[error("{api} version {version} cannot carry this request: {why}")]
    Encode {
        /// The request's name.
        api: &'static str,
        /// Its version.
        version: i16,
        /// What does not fit.
        why: String,
    },
    /// The broker's versions of an API and ours have nothing in common.
    #[error("{address} speaks {api} {}, this program {}..={}", range(*theirs), ours.0, ours.1)]
    Version {
        /// Host and port.
        address: String,
        /// The request's name.
        api: &'static str,
        /// Lowest and highest of the broker; none if it does not have the API at all.
        theirs: Option<(i16, i16)>,
        /// Our own lowest and highest.
        ours: (i16, i16),
    },
    /// The cluster's metadata has no such broker (any more).
    #[error("broker {id} is not part of the cluster right now")]
    UnknownBroker {
        /// The broker's id.
        id: i32,
    },
    /// A host that belonged to the cluster, or should have, answers for another one.
    #[error("{address} belongs to cluster {found}, this run works with cluster {expected}: nothing was sent to it")]
    OtherCluster {
        /// Host and port.
        address: String,
        /// The id of the cluster that the run began with.
        expected: String,
        /// The id that came now.
        found: String,
    },
    /// A broker's error code.
    #[error("{resource}: {} ({code}) from {api}{}", retry::code_name(*code), message.as_deref().map(|m| format!(": {m}")).unwrap_or_default())]
    Broker {
        /// What the code is about.
        resource: Resource,
        /// The request's name.
        api: &'static str,
        /// Kafka's error code; never 0.
        code: i16,
        /// What the broker added, on one line.
        message: Option<String>,
    },
    /// A call that may be retried never succeeded within its time.
    #[error("gave up after {after_ms} ms: {last}")]
    Exhausted {
        /// Milliseconds since the last success.
        after_ms: u64,
        /// The last failure.
        last: Box<Error>,
    },
}

impl From<crate::tls::Unusable> for Error {
    fn from(error: crate::tls::Unusable) -> Self {
        Self::TlsFile { path: error.path.display().to_string(), why: error.why }
    }
}

fn join(causes: &[Error]) -> String {
    causes.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

fn range(theirs: Option<(i16, i16)>) -> String {
    theirs.map_or_else(|| "in no version".to_owned(), |(low, high)| format!("{low}..={high}"))
}

impl Error {
    /// A broker's error code about a resource, with what the broker added to it; `None` if the code is 0.
    pub(crate) fn from_code(
        api: &'static str,
        code: i16,
        resource: impl FnOnce() -> Resource,
        message: Option<&str>,
    ) -> Option<Self> {
        (code != 0).then(|| Self::Broker {
            resource: resource(),
            api,
            code,
            message: message.filter(|text| !text.is_empty()).map(one_line),
        })
    }

    /// What to do about it.
    pub fn class(&self) -> Class {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } | Self::Timeout { .. } | Self::UnknownBroker { .. } => {
                Class::RefreshMetadata
            }
            Self::Certificate { .. } | Self::Authentication { .. } => Class::Denied,
            Self::Config(_)
            | Self::TlsFile { .. }
            | Self::NotKafka { .. }
            | Self::Mechanism { .. }
            | Self::FrameTooLarge { .. }
            | Self::Version { .. } => Class::Usage,
            Self::OtherCluster { .. } => Class::Conflict,
            Self::Protocol { .. } | Self::Encode { .. } => Class::Fatal,
            Self::Broker { code, .. } => retry::class(*code),
            Self::Bootstrap { causes } => worst(causes),
            Self::Exhausted { last, .. } => last.class(),
        }
    }

    /// What it means for whoever reads it. A topic that stays unknown however often we ask is the request's mistake.
    pub fn kind(&self) -> Kind {
        match self.code() {
            Some(UNKNOWN_TOPIC_OR_PARTITION | UNKNOWN_TOPIC_ID) => Kind::Usage,
            Some(_) | None => self.class().kind(),
        }
    }

    /// Whether the same call may succeed when it is made again.
    pub fn is_retriable(&self) -> bool {
        !matches!(self, Self::Exhausted { .. }) && self.class().is_retriable()
    }

    /// Kafka's error code, if a broker gave one.
    pub fn code(&self) -> Option<i16> {
        match self {
            Self::Broker { code, .. } => Some(*code),
            Self::Exhausted { last, .. } => last.code(),
            Self::Config(_)
            | Self::TlsFile { .. }
            | Self::Unreachable { .. }
            | Self::Certificate { .. }
            | Self::NotKafka { .. }
            | Self::Authentication { .. }
            | Self::Mechanism { .. }
            | Self::Bootstrap { .. }
            | Self::Lost { .. }
            | Self::Timeout { .. }
            | Self::FrameTooLarge { .. }
            | Self::Protocol { .. }
            | Self::Encode { .. }
            | Self::Version { .. }
            | Self::OtherCluster { .. }
            | Self::UnknownBroker { .. } => None,
        }
    }

    /// Whether it stays unknown if a broker acted on the request: one that changes something may have been carried out.
    pub fn leaves_doubt(&self) -> bool {
        matches!(self, Self::Lost { .. } | Self::Timeout { .. }) || self.code() == Some(REQUEST_TIMED_OUT)
    }

    /// Whether no broker could be talked to, as opposed to one that answered with an error.
    pub(crate) const fn is_silence(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Lost { .. } | Self::Timeout { .. } | Self::Bootstrap { .. })
    }
}

/// What mends several failures at once: a server that refuses us will do so again, whatever the others do.
fn worst(causes: &[Error]) -> Class {
    let classes: Vec<Class> = causes.iter().map(Error::class).collect();
    [Class::Denied, Class::Usage, Class::Conflict, Class::Fatal]
        .into_iter()
        .find(|class| classes.contains(class))
        .unwrap_or(Class::RefreshMetadata)
}

/// Texts of a broker may have several lines; ours have one.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `UNKNOWN_TOPIC_OR_PARTITION`.
pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// `LEADER_NOT_AVAILABLE`.
pub(crate) const LEADER_NOT_AVAILABLE: i16 = 5;
/// `REQUEST_TIMED_OUT`.
pub(crate) const REQUEST_TIMED_OUT: i16 = 7;
/// `GROUP_AUTHORIZATION_FAILED`.
pub(crate) const GROUP_AUTHORIZATION_FAILED: i16 = 30;
/// `UNSUPPORTED_VERSION`.
pub(crate) const UNSUPPORTED_VERSION: i16 = 35;
/// `TOPIC_ALREADY_EXISTS`.
pub(crate) const TOPIC_ALREADY_EXISTS: i16 = 36;
/// `GROUP_ID_NOT_FOUND`.
pub(crate) const GROUP_ID_NOT_FOUND: i16 = 69;
/// `UNSTABLE_OFFSET_COMMIT`.
pub(crate) const UNSTABLE_OFFSET_COMMIT: i16 = 88;
/// `UNKNOWN_TOPIC_ID`.
pub(crate) const UNKNOWN_TOPIC_ID: i16 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(code: i16, resource: Resource) -> Error {
        Error::Broker { resource, api: "Fetch", code, message: None }
    }

    #[test]
    fn a_refused_permission_names_its_resource_and_is_denied() {
        for (code, resource, named) in [
            (29, Resource::Topic("orders".to_owned()), r#"topic "orders""#),
            (30, Resource::Group("billing".to_owned()), r#"group "billing""#),
            (31, Resource::Cluster, "the cluster"),
        ] {
            let error = broker(code, resource);
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.to_string().contains(named) && error.to_string().contains("AUTHORIZATION_FAILED"), "{error}");
        }
    }

    #[test]
    fn a_topic_that_stays_unknown_is_a_usage_error() {
        let unknown = broker(3, Resource::Topic("t".to_owned()));
        assert!(unknown.is_retriable());
        let exhausted = Error::Exhausted { after_ms: 1, last: Box::new(unknown) };
        assert_eq!((exhausted.kind(), exhausted.is_retriable()), (Kind::Usage, false));
    }

    #[test]
    fn connection_failures_are_unavailable_and_retriable() {
        let address = "h:1".to_owned();
        for error in [
            Error::Unreachable { address: address.clone(), why: "unknown host".to_owned() },
            Error::Lost { address: address.clone(), why: "reset".to_owned() },
            Error::Timeout { address: address.clone(), api: "Fetch", timeout_ms: 1 },
            broker(6, Resource::Cluster),
        ] {
            assert_eq!((error.kind(), error.is_retriable()), (Kind::Unavailable, true), "{error}");
        }
    }

    #[test]
    fn a_bootstrap_failure_names_every_server_and_takes_the_kind_that_needs_a_hand() {
        let unreachable = |host: &str| Error::Unreachable { address: format!("{host}:1"), why: "no".to_owned() };
        let all = Error::Bootstrap { causes: vec![unreachable("a"), unreachable("b")] };
        assert_eq!(all.kind(), Kind::Unavailable);
        let text = all.to_string();
        assert!(text.contains("a:1") && text.contains("b:1") && !text.contains('\n'), "{text}");
        let refused = Error::Certificate { address: "c:1".to_owned(), why: "expired".to_owned() };
        assert_eq!(Error::Bootstrap { causes: vec![unreachable("a"), refused] }.kind(), Kind::Denied);
    }

    #[test]
    fn a_brokers_message_stays_on_one_line() {
        let error = Error::from_code("CreateTopics", 44, || Resource::Topic("t".to_owned()), Some("a\n  b")).unwrap();
        assert_eq!(error.to_string(), r#"topic "t": POLICY_VIOLATION (44) from CreateTopics: a b"#);
        assert_eq!(Error::from_code("CreateTopics", 0, || Resource::Cluster, None), None);
    }
}
