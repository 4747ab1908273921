//! How a cluster is reached that is given by addresses.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Kafka's `security.protocol`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    #[serde(rename = "PLAINTEXT")]
    Plaintext,
    /// Encrypted; authenticated where `tlsSecret` has a client certificate.
    #[serde(rename = "SSL")]
    Ssl,
    /// Authenticated by a name and a password, not encrypted.
    #[serde(rename = "SASL_PLAINTEXT")]
    SaslPlaintext,
    /// Encrypted and authenticated by a name and a password.
    #[serde(rename = "SASL_SSL")]
    SaslSsl,
}

/// Kafka's `sasl.mechanism`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// RFC 4616.
    #[serde(rename = "PLAIN")]
    Plain,
    /// RFC 5802 with SHA-256.
    #[serde(rename = "SCRAM-SHA-256")]
    ScramSha256,
    /// RFC 5802 with SHA-512.
    #[serde(rename = "SCRAM-SHA-512")]
    ScramSha512,
}

/// A Kafka cluster by addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.saslSecret) == (has(self.securityProtocol) && self.securityProtocol.startsWith('SASL_'))")
        .message("saslSecret goes with securityProtocol SASL_PLAINTEXT or SASL_SSL, and is needed there"),
    validation = Rule::new("!has(self.tlsSecret) || (has(self.securityProtocol) && self.securityProtocol.endsWith('SSL'))")
        .message("tlsSecret goes with securityProtocol SSL or SASL_SSL"),
)]
pub struct KafkaCluster {
    /// `host:port` of brokers to begin at; the others are found from there.
    #[schemars(length(min = 1, max = 100), inner(length(min = 3, max = 300)))]
    pub bootstrap_servers: Vec<String>,
    /// `PLAINTEXT` when left out.
    #[serde(default)]
    pub security_protocol: SecurityProtocol,
    /// Certificates, in PEM. Left out with TLS: the public authorities are trusted, and no client certificate is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_secret: Option<TlsSecret>,
    /// The name and the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl_secret: Option<SaslSecret>,
}

/// A Secret with certificates, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.certKey) == has(self.keyKey) && (!has(self.certKey) || (self.certKey == '') == (self.keyKey == ''))").message("certKey and keyKey go together"))]
pub struct TlsSecret {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of the authorities to trust; `ca.crt` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub ca_key: Option<String>,
    /// The key of the client certificate. Left out: `tls.crt` with `SSL`, and no certificate is shown with `SASL_SSL`. Empty: none is
    /// shown with `SSL` either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub cert_key: Option<String>,
    /// The key of the client's private key. Left out: `tls.key` with `SSL`. Empty where `certKey` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub key_key: Option<String>,
}

/// A Secret with a name and a password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SaslSecret {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`.
    pub mechanism: Mechanism,
    /// The key of the user's name.
    #[serde(default = "username")]
    #[schemars(length(min = 1, max = 253))]
    pub username_key: String,
    /// The key of the password.
    #[serde(default = "password")]
    #[schemars(length(min = 1, max = 253))]
    pub password_key: String,
}

fn username() -> String {
    "username".to_owned()
}

fn password() -> String {
    "password".to_owned()
}
