//! What a `KafkaUser` connects with: names of Secrets and keys in them, never what they hold.

use crate::authentication::Authentication;
use crate::error::Error;
use crate::readiness::{NotReady, is_paused, ready};
use crate::resources::{CLUSTER_LABEL, Kafka, KafkaUser};

/// The key of the certificate in the Secret of a user of type `tls`. The `ca.crt` beside it is the clients CA, never the brokers'.
pub const USER_CERTIFICATE: &str = "user.crt";
/// The key of the private key, in PKCS#8, in the Secret of a user of type `tls`.
pub const USER_KEY: &str = "user.key";
/// The key of the password in the Secret of a user of type `scram-sha-512`.
pub const USER_PASSWORD: &str = "password";

/// A key in a Secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretKey {
    /// The Secret's name.
    pub secret: String,
    /// The key in it, which is the file's name where the Secret is mounted.
    pub key: String,
}

/// What a client proves itself with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credentials {
    /// A client certificate, in PEM.
    Tls {
        /// The certificate, or its chain.
        certificate: SecretKey,
        /// The private key.
        key: SecretKey,
    },
    /// A name and a password (RFC 5802 with SHA-512).
    ScramSha512 {
        /// The name, which is no secret.
        username: String,
        /// The password.
        password: SecretKey,
    },
}

impl Credentials {
    /// What a listener must ask for to take them.
    pub fn authentication(&self) -> Authentication {
        match self {
            Self::Tls { .. } => Authentication::Tls,
            Self::ScramSha512 { .. } => Authentication::ScramSha512,
        }
    }
}

/// What Strimzi keeps in the Secret of a user.
enum Kept {
    Certificate,
    Password,
}

/// Finds what a user of this cluster connects with.
///
/// # Errors
///
/// Waiting: the user is not ready, or its status lacks the Secret or the name. Final: it belongs to another cluster or
/// namespace, or has a type for which Strimzi keeps no credentials.
pub fn credentials(kafka: &Kafka, user: &KafkaUser) -> Result<Credentials, Error> {
    let name = || user.metadata.name.clone();
    // The User Operator looks only at users that carry its cluster's label, so that a status would never come.
    let label = user.metadata.labels.get(CLUSTER_LABEL);
    if label != Some(&kafka.metadata.name) {
        return Err(Error::UserOfAnotherCluster {
            user: name(),
            cluster: kafka.metadata.name.clone(),
            label: label.cloned(),
        });
    }
    // A pod mounts Secrets of its own namespace only: the cluster's and the user's have to be in one.
    if user.metadata.namespace != kafka.metadata.namespace {
        return Err(Error::UserInAnotherNamespace {
            user: name(),
            cluster: kafka.metadata.name.clone(),
            user_namespace: user.metadata.namespace.clone().unwrap_or_default(),
            cluster_namespace: kafka.metadata.namespace.clone().unwrap_or_default(),
        });
    }
    let kept = match user.spec.authentication.as_ref().map(|authentication| authentication.type_.as_str()) {
        Some("tls") => Kept::Certificate,
        Some("scram-sha-512") => Kept::Password,
        Some("tls-external") => return Err(Error::UserTlsExternal { user: name() }),
        Some(other) => return Err(Error::UserTypeUnknown { user: name(), type_: other.to_owned() }),
        None => return Err(Error::UserWithoutAuthentication { user: name() }),
    };

    let not_ready = |why| Error::UserNotReady { user: name(), why };
    let status = ready(user.status.as_ref()).map_err(not_ready)?;
    let lacks = |field| match is_paused(status) {
        true => not_ready(NotReady::Paused),
        false => Error::UserStatusIncomplete { user: name(), field },
    };
    let secret = status.secret.as_deref().filter(|secret| !secret.is_empty()).ok_or_else(|| lacks("secret"))?;
    let key = |key: &str| SecretKey { secret: secret.to_owned(), key: key.to_owned() };
    match kept {
        Kept::Certificate => Ok(Credentials::Tls { certificate: key(USER_CERTIFICATE), key: key(USER_KEY) }),
        Kept::Password => Ok(Credentials::ScramSha512 {
            username: status.username.clone().ok_or_else(|| lacks("username"))?,
            password: key(USER_PASSWORD),
        }),
    }
}
