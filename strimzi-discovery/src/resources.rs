//! Strimzi's `Kafka` and `KafkaUser` resources, as far as a client needs them.
//!
//! `kafka.strimzi.io/v1` and `v1beta2` have the same shape here. Fields that are not named are ignored, so that a newer Strimzi can be read.
//! Source: the API reference of Strimzi 0.45 to 1.2.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;

/// The label by which a `KafkaUser` belongs to a `Kafka`.
pub const CLUSTER_LABEL: &str = "strimzi.io/cluster";

/// Who a resource is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Metadata {
    /// Unique for its kind in its namespace.
    pub name: String,
    /// Where the resource and its Secrets are; a resource that was read from an API server always has one.
    pub namespace: Option<String>,
    /// Labels, of which only [`CLUSTER_LABEL`] counts here.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A statement in a status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Condition {
    /// `Ready`, `NotReady`, `Warning` or `ReconciliationPaused`.
    #[serde(rename = "type")]
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// One word in CamelCase.
    pub reason: Option<String>,
    /// For a person to read.
    pub message: Option<String>,
}

impl Condition {
    /// Whether the condition is of this type and holds.
    pub fn holds(&self, type_: &str) -> bool {
        self.type_ == type_ && self.status == "True"
    }
}

/// A Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Kafka {
    /// Its name is the name of the cluster.
    pub metadata: Metadata,
    /// What is wanted.
    pub spec: KafkaSpec,
    /// What is there; absent until Strimzi has looked at the resource for the first time.
    pub status: Option<KafkaStatus>,
}

/// What is wanted of a Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KafkaSpec {
    /// The brokers.
    pub kafka: KafkaClusterSpec,
}

/// What is wanted of the brokers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KafkaClusterSpec {
    /// The ways in.
    #[serde(default)]
    pub listeners: Vec<Listener>,
}

/// A way into the brokers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Listener {
    /// Unique in its cluster, chosen by the user: nothing follows from it.
    pub name: String,
    /// The port inside the Kubernetes cluster.
    pub port: i32,
    /// How it is reached.
    #[serde(rename = "type")]
    pub type_: ListenerType,
    /// Whether the connection is encrypted.
    #[serde(default)]
    pub tls: bool,
    /// How clients authenticate; absent where they don't.
    pub authentication: Option<TypeOnly>,
    /// Further settings.
    #[serde(default)]
    pub configuration: ListenerConfiguration,
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tls = if self.tls { "TLS" } else { "no TLS" };
        write!(f, "{} ({}, {tls}, ", self.name, self.type_)?;
        match &self.authentication {
            Some(authentication) => write!(f, "authentication {})", authentication.type_),
            None => write!(f, "no authentication)"),
        }
    }
}

/// How a listener is reached, the nearest first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(from = "String")]
pub enum ListenerType {
    /// A Service and the pods' own names, inside the Kubernetes cluster only.
    Internal,
    /// A Service of type ClusterIP for each broker, made for proxies.
    ClusterIp,
    /// A Service of type LoadBalancer for each broker.
    LoadBalancer,
    /// Ports of the nodes.
    NodePort,
    /// An Ingress with TLS passthrough.
    Ingress,
    /// A Route of OpenShift.
    Route,
    /// A type that came after Strimzi 1.2.
    Other(String),
}

impl ListenerType {
    /// Whether the listener is made for clients inside the Kubernetes cluster.
    pub fn is_in_cluster(&self) -> bool {
        *self == Self::Internal
    }
}

impl From<String> for ListenerType {
    fn from(text: String) -> Self {
        match text.as_str() {
            "internal" => Self::Internal,
            "cluster-ip" => Self::ClusterIp,
            "loadbalancer" => Self::LoadBalancer,
            "nodeport" => Self::NodePort,
            "ingress" => Self::Ingress,
            "route" => Self::Route,
            _ => Self::Other(text),
        }
    }
}

impl fmt::Display for ListenerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Internal => "internal",
            Self::ClusterIp => "cluster-ip",
            Self::LoadBalancer => "loadbalancer",
            Self::NodePort => "nodeport",
            Self::Ingress => "ingress",
            Self::Route => "route",
            Self::Other(text) => text,
        })
    }
}

/// An authentication, of which only the type counts here.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct TypeOnly {
    /// Of a listener: `tls`, `scram-sha-512`, `custom`, or `oauth` before `v1`. Of a user: `tls`, `tls-external` or `scram-sha-512`.
    #[serde(rename = "type")]
    pub type_: String,
}

/// Further settings of a listener.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerConfiguration {
    /// The listener's own certificate, instead of one that the cluster CA signed.
    pub broker_cert_chain_and_key: Option<CertChainAndKey>,
}

/// Where a listener's own certificate comes from. Clients find the chain in the status.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CertChainAndKey {
    /// The Secret, which holds a private key and is none of a client's business.
    pub secret_name: String,
}

/// What is there of a Kafka cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaStatus {
    /// Statements about the whole.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The generation of the resource that the status is about.
    pub observed_generation: Option<i64>,
    /// The addresses. A cluster whose reconciliation is paused has none.
    #[serde(default)]
    pub listeners: Vec<ListenerStatus>,
    /// The brokers' own id of the cluster.
    pub cluster_id: Option<String>,
    /// The release that the brokers run.
    pub kafka_version: Option<String>,
}

/// Where a listener is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListenerStatus {
    /// The listener's name.
    pub name: Option<String>,
    /// The listener's name again, as old releases of Strimzi wrote it, beside `name` or instead of it. It is not the listener's type.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// `host:port`, separated by commas.
    pub bootstrap_servers: Option<String>,
    /// The same, one by one.
    #[serde(default)]
    pub addresses: Vec<Address>,
    /// PEM: the listener's own chain where it has one, else the cluster CA's current certificate. Absent without TLS.
    #[serde(default)]
    pub certificates: Vec<String>,
}

impl ListenerStatus {
    /// Whether this is about the listener of that name.
    pub fn is_about(&self, listener: &str) -> bool {
        self.name.as_deref().or(self.type_.as_deref()) == Some(listener)
    }

    /// Every `host:port` to begin at, in Strimzi's order; empty while there is none.
    pub fn bootstrap_servers(&self) -> Vec<String> {
        match &self.bootstrap_servers {
            Some(list) => {
                list.split(',').map(str::trim).filter(|server| !server.is_empty()).map(str::to_owned).collect()
            }
            None => self.addresses.iter().filter_map(Address::host_and_port).collect(),
        }
    }
}

/// An address of a listener.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Address {
    /// A name or an IP address; absent while it is not assigned.
    pub host: Option<String>,
    /// The port; absent while it is not assigned.
    pub port: Option<i32>,
}

impl Address {
    fn host_and_port(&self) -> Option<String> {
        Some(format!("{}:{}", self.host.as_ref()?, self.port?))
    }
}

/// A user of a Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct KafkaUser {
    /// Its label [`CLUSTER_LABEL`] says whose user it is.
    pub metadata: Metadata,
    /// What is wanted.
    #[serde(default)]
    pub spec: KafkaUserSpec,
    /// What is there; absent until Strimzi's User Operator has looked at the resource for the first time.
    pub status: Option<KafkaUserStatus>,
}

/// What is wanted of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct KafkaUserSpec {
    /// How the user authenticates; absent for one that only carries quotas or ACLs.
    pub authentication: Option<TypeOnly>,
}

/// What is there of a user.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KafkaUserStatus {
    /// Statements about the whole.
    #[serde(default)]
    pub conditions: Vec<Condition>,
    /// The generation of the resource that the status is about.
    pub observed_generation: Option<i64>,
    /// The name that brokers know the user by; `CN=<name>` for `tls`.
    pub username: Option<String>,
    /// The Secret with the credentials. Its name may have a prefix that the resource's has not.
    pub secret: Option<String>,
}
