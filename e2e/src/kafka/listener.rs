//! The doors of a broker, and who may come in by them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::certificates::Certificates;

/// A listener of every broker of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Listener {
    /// No encryption, no authentication; the brokers' own, and the harness's.
    Plain,
    /// TLS that shows the server's certificate and asks for none.
    Tls,
    /// TLS on the IPv6 loopback, by address.
    TlsIpv6,
    /// TLS that demands a certificate of the client.
    MutualTls,
    /// TLS with a server certificate of the year 2020.
    ExpiredTls,
    /// SASL over TLS.
    SaslTls,
    /// SASL in the clear.
    SaslPlain,
}

impl Listener {
    /// All but [`Listener::Plain`], which every cluster has.
    pub const SECURE: [Self; 6] =
        [Self::Tls, Self::TlsIpv6, Self::MutualTls, Self::ExpiredTls, Self::SaslTls, Self::SaslPlain];

    /// The name of it in the broker's properties.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::Tls => "TLS",
            Self::TlsIpv6 => "TLSV6",
            Self::MutualTls => "MUTUAL",
            Self::ExpiredTls => "EXPIRED",
            Self::SaslTls => "SASLTLS",
            Self::SaslPlain => "SASLPLAIN",
        }
    }

    /// What the names of its own settings begin with in the broker's properties.
    pub fn prefix(self) -> String {
        format!("listener.name.{}", self.name().to_lowercase())
    }

    /// Kafka's `security.protocol` for it.
    pub const fn security_protocol(self) -> &'static str {
        match self {
            Self::Plain => "PLAINTEXT",
            Self::Tls | Self::TlsIpv6 | Self::MutualTls | Self::ExpiredTls => "SSL",
            Self::SaslTls => "SASL_SSL",
            Self::SaslPlain => "SASL_PLAINTEXT",
        }
    }

    /// The host that clients are told where a broker serves at `address`: on loopback, names where certificates are, so
    /// that name checks and SNI are exercised.
    pub(super) fn host(self, address: Ipv4Addr) -> String {
        match self {
            Self::TlsIpv6 => "[::1]".to_owned(),
            Self::Tls | Self::MutualTls | Self::ExpiredTls | Self::SaslTls if address.is_loopback() => {
                "localhost".to_owned()
            }
            Self::Plain | Self::SaslPlain | Self::Tls | Self::MutualTls | Self::ExpiredTls | Self::SaslTls => {
                address.to_string()
            }
        }
    }

    /// The address that the broker binds where it serves at `address`.
    pub(super) fn bound(self, address: Ipv4Addr) -> String {
        match self {
            Self::TlsIpv6 => "[::1]".to_owned(),
            Self::Plain | Self::SaslPlain | Self::Tls | Self::MutualTls | Self::ExpiredTls | Self::SaslTls => {
                address.to_string()
            }
        }
    }

    /// Whether a user and a password are needed.
    pub const fn is_sasl(self) -> bool {
        matches!(self, Self::SaslTls | Self::SaslPlain)
    }

    /// Whether it is encrypted.
    pub const fn is_tls(self) -> bool {
        !matches!(self, Self::Plain | Self::SaslPlain)
    }
}

/// A SASL mechanism, by Kafka's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Name and password as they are.
    Plain,
    /// SCRAM with SHA-256.
    ScramSha256,
    /// SCRAM with SHA-512.
    ScramSha512,
}

impl Mechanism {
    /// Kafka's name of it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
        }
    }

    /// The class by which a Java client logs in.
    pub const fn login_module(self) -> &'static str {
        match self {
            Self::Plain => "org.apache.kafka.common.security.plain.PlainLoginModule",
            Self::ScramSha256 | Self::ScramSha512 => "org.apache.kafka.common.security.scram.ScramLoginModule",
        }
    }
}

/// A user that the SASL listeners know. The passwords protect nothing but a test's broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The principal is `User:` and this name.
    pub name: &'static str,
    /// Its password.
    pub password: &'static str,
    /// The mechanism that knows it.
    pub mechanism: Mechanism,
}

impl User {
    /// Known to SCRAM-SHA-256 only.
    pub const SCRAM_256: Self =
        Self { name: "scram256", password: "scram256-secret", mechanism: Mechanism::ScramSha256 };
    /// Known to SCRAM-SHA-512 only.
    pub const SCRAM_512: Self =
        Self { name: "scram512", password: "scram512-secret", mechanism: Mechanism::ScramSha512 };
    /// Known to PLAIN only.
    pub const PLAIN: Self = Self { name: "plainuser", password: "plain-secret", mechanism: Mechanism::Plain };
}

pub(super) fn client_properties(
    listener: Listener,
    user: Option<&User>,
    certificates: &Certificates,
) -> BTreeMap<String, String> {
    let mut properties = BTreeMap::new();
    let mut set = |name: &str, value: String| drop(properties.insert(name.to_owned(), value));
    set("security.protocol", listener.security_protocol().to_owned());
    if listener.is_tls() {
        set("ssl.truststore.type", "PEM".to_owned());
        set("ssl.truststore.location", certificates.file("ca.crt").display().to_string());
    }
    if listener == Listener::MutualTls {
        set("ssl.keystore.type", "PEM".to_owned());
        set("ssl.keystore.location", certificates.file("client.pem").display().to_string());
    }
    if listener.is_sasl() {
        let User { name, password, mechanism } = *user.unwrap_or(&User::SCRAM_512);
        set("sasl.mechanism", mechanism.name().to_owned());
        let module = mechanism.login_module();
        set("sasl.jaas.config", format!(r#"{module} required username="{name}" password="{password}";"#));
    }
    properties
}
