//! How the runs authenticate at the brokers.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the client proves itself with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AuthenticationType {
    /// A client certificate.
    #[serde(rename = "tls")]
    Tls,
    /// A name and a password.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// Exactly one way in: a `KafkaUser`, or credentials of one's own in a Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.kafkaUserRef) ? 1 : 0) + (has(self.certificateAndKey) ? 1 : 0) + (has(self.username) || has(self.passwordSecret) ? 1 : 0) == 1")
        .message("give exactly one of kafkaUserRef, certificateAndKey, or username with passwordSecret"),
    validation = Rule::new("has(self.username) == has(self.passwordSecret)").message("username and passwordSecret go together"),
    validation = Rule::new("self.type != 'tls' || !has(self.username)").message("type tls takes kafkaUserRef or certificateAndKey, no username"),
    validation = Rule::new("self.type != 'scram-sha-512' || !has(self.certificateAndKey)").message("type scram-sha-512 takes kafkaUserRef or username with passwordSecret, no certificateAndKey"),
)]
pub struct Authentication {
    /// `tls` or `scram-sha-512`; of a `kafkaUserRef`, the type that the user has.
    #[serde(rename = "type")]
    pub type_: AuthenticationType,
    /// A `KafkaUser` of the cluster; its Secret is found by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_user_ref: Option<KafkaUserRef>,
    /// A client certificate of one's own, for `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate_and_key: Option<CertificateAndKey>,
    /// The user's name, for `scram-sha-512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub username: Option<String>,
    /// Where the user's password is, for `scram-sha-512`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<PasswordSecret>,
}

/// A `KafkaUser` of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaUserRef {
    /// The name of the `KafkaUser` resource.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// A client certificate in a Secret, both parts in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CertificateAndKey {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub secret_name: String,
    /// The key of the certificate, or its chain.
    #[schemars(length(min = 1, max = 253))]
    pub certificate: String,
    /// The key of the private key.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// A password in a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PasswordSecret {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key that holds the password and nothing else.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
