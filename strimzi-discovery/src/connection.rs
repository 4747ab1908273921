//! A cluster and a client put together.

use std::fmt;

use crate::authentication::Authentication;
use crate::credentials::{Credentials, credentials};
use crate::error::Error;
use crate::listener::{Endpoint, Trust, choose};
use crate::resources::{Kafka, KafkaUser};

/// Who connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity<'a> {
    /// Nobody in particular: a listener that asks for no authentication is needed.
    Anonymous,
    /// A user that Strimzi keeps.
    User(&'a KafkaUser),
    /// Credentials that somebody else keeps, in Secrets of the cluster's namespace.
    Given(Credentials),
}

/// Kafka's `security.protocol`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
    /// Encrypted, and authenticated where there is a client certificate.
    Ssl,
    /// Authenticated by SASL, not encrypted.
    SaslPlaintext,
    /// Encrypted, and authenticated by SASL.
    SaslSsl,
}

impl SecurityProtocol {
    /// The name in Kafka's configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plaintext => "PLAINTEXT",
            Self::Ssl => "SSL",
            Self::SaslPlaintext => "SASL_PLAINTEXT",
            Self::SaslSsl => "SASL_SSL",
        }
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where and how to connect, and what to mount for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Connection {
    /// The listener's name, for a status to show.
    pub listener: String,
    /// At least one `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// How to speak to it.
    pub security_protocol: SecurityProtocol,
    /// Whom to trust; `None` where the protocol has no TLS.
    pub trust: Option<Trust>,
    /// What to prove oneself with; `None` for [`Identity::Anonymous`].
    pub credentials: Option<Credentials>,
}

/// Finds the connection of a client to a cluster, by the listener of a name if one is given, else by the one that [`choose`] prefers.
///
/// # Errors
///
/// Those of [`credentials`], then those of [`choose`].
pub fn connect(kafka: &Kafka, identity: Identity<'_>, listener: Option<&str>) -> Result<Connection, Error> {
    let credentials = match identity {
        Identity::Anonymous => None,
        Identity::User(user) => Some(credentials(kafka, user)?),
        Identity::Given(credentials) => Some(credentials),
    };
    let authentication = credentials.as_ref().map_or(Authentication::None, Credentials::authentication);
    let Endpoint { listener, bootstrap_servers, trust } = choose(kafka, authentication, listener)?;
    let security_protocol = match (authentication, trust.is_some()) {
        (Authentication::None, false) => SecurityProtocol::Plaintext,
        (Authentication::None, true) | (Authentication::Tls, _) => SecurityProtocol::Ssl,
        (Authentication::ScramSha512, false) => SecurityProtocol::SaslPlaintext,
        (Authentication::ScramSha512, true) => SecurityProtocol::SaslSsl,
    };
    Ok(Connection { listener, bootstrap_servers, security_protocol, trust, credentials })
}
