//! Why there is no connection: what was found, and what would fit.

use std::fmt;

use crate::authentication::Authentication;
use crate::readiness::NotReady;
use crate::resources::Listener;

/// The listeners that a cluster has, each with its type and authentication, for a person to choose from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenersFound(Vec<String>);

impl ListenersFound {
    pub(crate) fn of(listeners: &[Listener]) -> Self {
        Self(listeners.iter().map(Listener::to_string).collect())
    }
}

impl fmt::Display for ListenersFound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("it has no listeners");
        }
        write!(f, "its listeners are {}", self.0.join(", "))
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The cluster is not up yet, or not at the moment.
    #[error("Kafka {cluster} is not ready: {why}")]
    ClusterNotReady {
        /// The cluster.
        cluster: String,
        /// What its status says.
        why: NotReady,
    },
    /// There is no listener of the name that was asked for.
    #[error("Kafka {cluster} has no listener {listener:?}: {found}; name one with {wanted}")]
    ListenerNotFound {
        /// The cluster.
        cluster: String,
        /// The name that was asked for.
        listener: String,
        /// What would fit.
        wanted: Authentication,
        /// What there is.
        found: ListenersFound,
    },
    /// The listener that was asked for does not take such a client.
    #[error("listener {listener} of Kafka {cluster} does not fit: a listener with {wanted} is needed; {found}")]
    ListenerDoesNotFit {
        /// The cluster.
        cluster: String,
        /// The listener, with its type and authentication.
        listener: String,
        /// What would fit.
        wanted: Authentication,
        /// What there is.
        found: ListenersFound,
    },
    /// No listener takes such a client.
    #[error("Kafka {cluster} has no listener with {wanted}: {found}; add one, or authenticate as one of them wants it")]
    NoListenerFits {
        /// The cluster.
        cluster: String,
        /// What would fit.
        wanted: Authentication,
        /// What there is.
        found: ListenersFound,
    },
    /// The listener is new, or its load balancer has no address.
    #[error(
        "listener {listener:?} of Kafka {cluster} has no address in status.listeners: Strimzi has not set it up yet"
    )]
    ListenerWithoutAddress {
        /// The cluster.
        cluster: String,
        /// The listener's name.
        listener: String,
    },
    /// The listener has a certificate of its own, which the status does not show.
    #[error(
        "listener {listener:?} of Kafka {cluster} has a certificate of its own (brokerCertChainAndKey), which status.listeners does not show yet"
    )]
    ListenerWithoutCertificate {
        /// The cluster.
        cluster: String,
        /// The listener's name.
        listener: String,
    },
    /// The user has not been made yet, or could not be.
    #[error("KafkaUser {user} is not ready: {why}")]
    UserNotReady {
        /// The user.
        user: String,
        /// What its status says.
        why: NotReady,
    },
    /// The status is there, and lacks what a client needs.
    #[error("KafkaUser {user} has no status.{field}: Strimzi's User Operator is not done with it")]
    UserStatusIncomplete {
        /// The user.
        user: String,
        /// The field that is missing.
        field: &'static str,
    },
    /// The user's label names another cluster, or none.
    #[error(
        "KafkaUser {user} is no user of Kafka {cluster}: its label strimzi.io/cluster {}, and should be {cluster}",
        .label.as_ref().map_or("is missing".to_owned(), |label| format!("is {label}"))
    )]
    UserOfAnotherCluster {
        /// The user.
        user: String,
        /// The cluster that was asked for.
        cluster: String,
        /// What the label says.
        label: Option<String>,
    },
    /// The user's Secret and the cluster's cannot be mounted by one pod.
    #[error(
        "KafkaUser {user} is in namespace {user_namespace:?}, and Kafka {cluster} in {cluster_namespace:?}: a pod mounts Secrets of one namespace only"
    )]
    UserInAnotherNamespace {
        /// The user.
        user: String,
        /// The cluster.
        cluster: String,
        /// Where the user is.
        user_namespace: String,
        /// Where the cluster is.
        cluster_namespace: String,
    },
    /// Somebody else issues the user's certificate, and Strimzi does not have it.
    #[error(
        "KafkaUser {user} has authentication tls-external, for which Strimzi keeps no certificate: give its certificate and key from a Secret of your own, or use a KafkaUser with tls or scram-sha-512"
    )]
    UserTlsExternal {
        /// The user.
        user: String,
    },
    /// A type that came after Strimzi 1.2.
    #[error("KafkaUser {user} has authentication {type_}, which is not supported: use one with tls or scram-sha-512")]
    UserTypeUnknown {
        /// The user.
        user: String,
        /// Its type.
        type_: String,
    },
    /// The user carries only quotas or ACLs.
    #[error("KafkaUser {user} has no spec.authentication: use one with tls or scram-sha-512")]
    UserWithoutAuthentication {
        /// The user.
        user: String,
    },
}

impl Error {
    /// The reason of a condition: one word in CamelCase, which stays the same whatever the message says.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::ClusterNotReady { .. } => "KafkaNotReady",
            Self::ListenerNotFound { .. } => "ListenerNotFound",
            Self::ListenerDoesNotFit { .. } => "ListenerDoesNotFit",
            Self::NoListenerFits { .. } => "NoListenerFits",
            Self::ListenerWithoutAddress { .. } => "ListenerNotReady",
            Self::ListenerWithoutCertificate { .. } => "ListenerCertificateNotReady",
            Self::UserNotReady { .. } | Self::UserStatusIncomplete { .. } => "KafkaUserNotReady",
            Self::UserOfAnotherCluster { .. } => "KafkaUserOfAnotherCluster",
            Self::UserInAnotherNamespace { .. } => "KafkaUserInAnotherNamespace",
            Self::UserTlsExternal { .. } | Self::UserTypeUnknown { .. } => "KafkaUserTypeNotSupported",
            Self::UserWithoutAuthentication { .. } => "KafkaUserWithoutAuthentication",
        }
    }

    /// Whether it may pass when Strimzi goes on; otherwise somebody has to change a resource.
    pub const fn is_waiting(&self) -> bool {
        match self {
            Self::ClusterNotReady { .. }
            | Self::ListenerWithoutAddress { .. }
            | Self::ListenerWithoutCertificate { .. }
            | Self::UserNotReady { .. }
            | Self::UserStatusIncomplete { .. } => true,
            Self::ListenerNotFound { .. }
            | Self::ListenerDoesNotFit { .. }
            | Self::NoListenerFits { .. }
            | Self::UserOfAnotherCluster { .. }
            | Self::UserInAnotherNamespace { .. }
            | Self::UserTlsExternal { .. }
            | Self::UserTypeUnknown { .. }
            | Self::UserWithoutAuthentication { .. } => false,
        }
    }
}
