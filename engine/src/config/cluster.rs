//! How a Kafka cluster is reached.
//!
//! [`ClusterConfig`] is what a user writes; [`ClusterConfig::check`] refuses contradictions by name, reads the
//! files it points at, and gives [`Checked`], which the client takes.

mod address;
mod security;

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::address::Address;
pub use self::security::{SaslMechanism, SecurityProtocol};
pub use super::pem::PemFile;
use super::pem::{self, BYTE_ORDER_MARK};
use crate::error::Kind;

/// A broker answers within this time or is given up: what the Java clients wait too (`request.timeout.ms`).
pub const REQUEST_TIMEOUT_MS: u64 = 30_000;
/// Long enough for a TCP handshake over a bad line, short enough to move on to the next bootstrap server.
pub const CONNECT_TIMEOUT_MS: u64 = 10_000;
/// Covers the restart of a broker and the election of new leaders, as `delivery.timeout.ms` does in the Java producer.
pub const RETRY_TIMEOUT_MS: u64 = 120_000;
/// Failures in a row that open the circuit breaker.
pub const BREAKER_FAILURE_THRESHOLD: u32 = 5;
/// How long an open circuit breaker keeps everybody waiting.
pub const BREAKER_RESET_TIMEOUT_SECS: u64 = 60;

/// Why a cluster configuration is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No bootstrap server is given.
    #[error("bootstrapServers is empty: give at least one host:port")]
    NoBootstrapServers,
    /// A bootstrap server is not `host:port`.
    #[error("bootstrapServers: {server:?} is not host:port: {why}")]
    Address {
        /// What was written.
        server: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// `sasl` is given, and the protocol has no SASL.
    #[error(
        "sasl is given, but securityProtocol {protocol} has no SASL: use SASL_SSL or SASL_PLAINTEXT, or leave sasl out"
    )]
    SaslWithoutProtocol {
        /// The protocol that was chosen.
        protocol: SecurityProtocol,
    },
    /// The protocol has SASL, and `sasl` is missing.
    #[error("securityProtocol {protocol} needs sasl with mechanism, username or usernameFile, and passwordFile")]
    ProtocolWithoutSasl {
        /// The protocol that was chosen.
        protocol: SecurityProtocol,
    },
    /// `tls` is given, and the protocol has no TLS.
    #[error("tls is given, but securityProtocol {protocol} has no TLS: use SSL or SASL_SSL, or leave tls out")]
    TlsWithoutProtocol {
        /// The protocol that was chosen.
        protocol: SecurityProtocol,
    },
    /// A client certificate without its key, or the other way round.
    #[error("tls.{given} is given without tls.{missing}: a client certificate needs both")]
    HalfIdentity {
        /// The setting that is there.
        given: &'static str,
        /// The setting that is not.
        missing: &'static str,
    },
    /// A user name with nothing in it.
    #[error("sasl.username is empty")]
    NoUsername,
    /// Neither or both of the two ways to give the user's name.
    #[error("sasl needs the user's name once, as sasl.username or as sasl.usernameFile, and has {0}")]
    WhichUsername(&'static str),
    /// A file with nothing in it.
    #[error("the file {path} ({setting}) is empty")]
    EmptyFile {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// A file cannot be read.
    #[error("cannot read {path} ({setting}): {why}")]
    File {
        /// The setting that names it.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// A number that makes no sense.
    #[error("{setting} must be at least 1")]
    Zero {
        /// The setting.
        setting: &'static str,
    },
}

impl Error {
    /// Always [`Kind::Usage`]: the configuration has to be mended.
    pub const fn kind(&self) -> Kind {
        Kind::Usage
    }
}

/// Who we are towards the broker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SaslConfig {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// The user's name. Either this or `username_file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// A file that holds the user's name and nothing else; line ends after it do not count. Either this or `username`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username_file: Option<PathBuf>,
    /// A file that holds the password and nothing else; line ends after it do not count.
    pub password_file: PathBuf,
}

/// Certificates, all in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TlsConfig {
    /// Certificates of the authorities that are trusted, one or more; the system's when left out. Of a folder, all files
    /// `ca*.crt` are read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// The client's certificate, followed by its chain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_file: Option<PathBuf>,
    /// The client's key (PKCS#8, PKCS#1 or SEC1, not encrypted).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
}

/// When a sick cluster or store is left alone for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CircuitBreakerConfig {
    /// Whether there is a circuit breaker at all.
    pub enabled: bool,
    /// How many failures in a row open it; at least 1.
    pub failure_threshold: u32,
    /// Seconds until the next try; at least 1.
    pub reset_timeout_secs: u64,
}

impl Default for CircuitBreakerConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            failure_threshold: BREAKER_FAILURE_THRESHOLD,
            reset_timeout_secs: BREAKER_RESET_TIMEOUT_SECS,
        }
    }
}

/// A Kafka cluster, as a user writes it down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterConfig {
    /// Where to begin: `host:port` each, an IPv6 address in brackets. The other brokers are found from there.
    pub bootstrap_servers: Vec<String>,
    /// What protects the connections.
    #[serde(default)]
    pub security_protocol: SecurityProtocol,
    /// Needed by, and only allowed with, the `SASL_` protocols.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sasl: Option<SaslConfig>,
    /// Only allowed with `SSL` and `SASL_SSL`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Milliseconds that a request may take.
    #[serde(default = "request_timeout_ms")]
    pub request_timeout_ms: u64,
    /// Milliseconds that a TCP and TLS handshake may take.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Milliseconds without any success after which a call that may be retried is given up.
    #[serde(default = "retry_timeout_ms")]
    pub retry_timeout_ms: u64,
    /// When the cluster is left alone for a while.
    #[serde(default)]
    pub circuit_breaker: CircuitBreakerConfig,
}

const fn request_timeout_ms() -> u64 {
    REQUEST_TIMEOUT_MS
}

const fn connect_timeout_ms() -> u64 {
    CONNECT_TIMEOUT_MS
}

const fn retry_timeout_ms() -> u64 {
    RETRY_TIMEOUT_MS
}

impl ClusterConfig {
    /// A cluster reached in plain text, everything else as by default.
    pub fn plaintext(bootstrap_servers: Vec<String>) -> Self {
        Self {
            bootstrap_servers,
            security_protocol: SecurityProtocol::Plaintext,
            sasl: None,
            tls: None,
            request_timeout_ms: REQUEST_TIMEOUT_MS,
            connect_timeout_ms: CONNECT_TIMEOUT_MS,
            retry_timeout_ms: RETRY_TIMEOUT_MS,
            circuit_breaker: CircuitBreakerConfig::default(),
        }
    }

    /// All of [`ClusterConfig::check`] but the files: for whoever writes a configuration that another process will read.
    ///
    /// # Errors
    /// The first contradiction or malformed address.
    pub fn check_values(&self) -> Result<(), Error> {
        let protocol = self.security_protocol;
        if self.bootstrap_servers.is_empty() {
            return Err(Error::NoBootstrapServers);
        }
        self.addresses()?;
        for (setting, value) in [
            ("requestTimeoutMs", self.request_timeout_ms),
            ("connectTimeoutMs", self.connect_timeout_ms),
            ("retryTimeoutMs", self.retry_timeout_ms),
            ("circuitBreaker.failureThreshold", u64::from(self.circuit_breaker.failure_threshold)),
            ("circuitBreaker.resetTimeoutSecs", self.circuit_breaker.reset_timeout_secs),
        ] {
            if value == 0 {
                return Err(Error::Zero { setting });
            }
        }
        match (&self.sasl, protocol.has_sasl()) {
            (Some(_), false) => Err(Error::SaslWithoutProtocol { protocol }),
            (None, true) => Err(Error::ProtocolWithoutSasl { protocol }),
            (Some(sasl), true) => username(sasl).map(|_| ()),
            (None, false) => Ok(()),
        }?;
        match (&self.tls, protocol.has_tls()) {
            (Some(_), false) => Err(Error::TlsWithoutProtocol { protocol }),
            (Some(tls), true) => identity(tls).map(drop),
            (None, _) => Ok(()),
        }
    }

    fn addresses(&self) -> Result<Vec<Address>, Error> {
        // A list on the command line may have a blank after its commas.
        self.bootstrap_servers.iter().map(|server| server.trim().parse()).collect()
    }

    /// The checked form, with every file read.
    ///
    /// # Errors
    /// The first contradiction, malformed address or unreadable file.
    pub fn check(&self) -> Result<Checked, Error> {
        self.check_values()?;
        let tls = self.security_protocol.has_tls().then(|| read_tls(&self.tls.clone().unwrap_or_default()));
        Ok(Checked {
            bootstrap_servers: self.addresses()?,
            tls: tls.transpose()?,
            sasl: self.sasl.as_ref().map(read_sasl).transpose()?,
            request_timeout_ms: self.request_timeout_ms,
            connect_timeout_ms: self.connect_timeout_ms,
            retry_timeout_ms: self.retry_timeout_ms,
        })
    }
}

/// Where the user's name stands.
enum Username<'a> {
    Here(&'a str),
    In(&'a Path),
}

fn username(sasl: &SaslConfig) -> Result<Username<'_>, Error> {
    match (&sasl.username, &sasl.username_file) {
        (Some(username), None) if username.is_empty() => Err(Error::NoUsername),
        (Some(username), None) => Ok(Username::Here(username)),
        (None, Some(file)) => Ok(Username::In(file)),
        (None, None) => Err(Error::WhichUsername("neither")),
        (Some(_), Some(_)) => Err(Error::WhichUsername("both")),
    }
}

fn read_sasl(sasl: &SaslConfig) -> Result<Credentials, Error> {
    let (username, username_file) = match username(sasl)? {
        Username::Here(username) => (username.to_owned(), None),
        Username::In(file) => (read_text("sasl.usernameFile", file)?, Some(file.to_owned())),
    };
    let password = Password(read_text("sasl.passwordFile", &sasl.password_file)?);
    Ok(Credentials { mechanism: sasl.mechanism, username, username_file, password })
}

/// A file that holds one text. Editors and `echo` end it with a line end, and some begin it with a byte order mark; neither is
/// part of the text.
fn read_text(setting: &'static str, path: &Path) -> Result<String, Error> {
    let refuse = |why: String| Error::File { setting, path: path.to_owned(), why };
    let bytes = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8 text".to_owned()))?;
    match text.trim_start_matches(BYTE_ORDER_MARK).trim_end_matches(['\r', '\n']) {
        "" => Err(Error::EmptyFile { setting, path: path.to_owned() }),
        text => Ok(text.to_owned()),
    }
}

/// The files of the client's certificate and key, if it has any.
fn identity(tls: &TlsConfig) -> Result<Option<(&Path, &Path)>, Error> {
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(None),
        (Some(_), None) => Err(Error::HalfIdentity { given: "certFile", missing: "keyFile" }),
        (None, Some(_)) => Err(Error::HalfIdentity { given: "keyFile", missing: "certFile" }),
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
    }
}

fn read_tls(tls: &TlsConfig) -> Result<Tls, Error> {
    let file = |setting| move |error: pem::Error| Error::File { setting, path: error.path, why: error.why };
    let ca = tls.ca_file.as_deref().map(PemFile::read_authorities).transpose().map_err(file("tls.caFile"))?;
    let identity = match identity(tls)? {
        None => None,
        Some((cert, key)) => Some(Identity {
            certificate: PemFile::read(cert).map_err(file("tls.certFile"))?,
            key: PemFile::read(key).map_err(file("tls.keyFile"))?,
        }),
    };
    Ok(Tls { ca, identity })
}

/// A cluster configuration without contradictions; the files it names have been read.
#[derive(Debug, Clone)]
pub struct Checked {
    /// Where to begin; at least one.
    pub bootstrap_servers: Vec<Address>,
    /// Given if connections are TLS.
    pub tls: Option<Tls>,
    /// Given if connections begin with SASL.
    pub sasl: Option<Credentials>,
    /// Milliseconds that a request may take.
    pub request_timeout_ms: u64,
    /// Milliseconds that a TCP and TLS handshake may take.
    pub connect_timeout_ms: u64,
    /// Milliseconds without success after which a retried call is given up.
    pub retry_timeout_ms: u64,
}

/// A secret that never shows itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(String);

impl Password {
    /// The secret itself; for the authentication exchange and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Password {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A user and what proves it.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// How the password is proven.
    pub mechanism: SaslMechanism,
    /// The user's name. It is shown by [`Credentials::user`] only.
    pub username: String,
    /// The file that the user's name was read from, if it was.
    pub username_file: Option<PathBuf>,
    /// The user's password.
    pub password: Password,
}

impl Credentials {
    /// The user as messages name it. A name out of a file is not shown: the file may be another one than was meant, with a
    /// password in it.
    pub fn user(&self) -> String {
        match &self.username_file {
            None => format!("user {:?}", self.username),
            Some(file) => format!("the user of {}", file.display()),
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("mechanism", &self.mechanism)
            .field("user", &self.user())
            .field("password", &self.password)
            .finish()
    }
}

/// What TLS trusts, and who we are in it.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Files with trusted authorities; the system's are trusted when there are none.
    pub ca: Option<Vec<PemFile>>,
    /// Our own certificate and key.
    pub identity: Option<Identity>,
}

/// A client certificate with its key.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The certificate and its chain.
    pub certificate: PemFile,
    /// The private key.
    pub key: PemFile,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(json: serde_json::Value) -> ClusterConfig {
        serde_json::from_value(json).unwrap()
    }

    fn refusal(json: serde_json::Value) -> String {
        config(json).check().unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_those_of_the_documentation() {
        let config = config(serde_json::json!({"bootstrapServers": ["localhost:9092"]}));
        assert_eq!(config, ClusterConfig::plaintext(vec!["localhost:9092".to_owned()]));
        assert_eq!(
            (config.request_timeout_ms, config.connect_timeout_ms, config.retry_timeout_ms),
            (30_000, 10_000, 120_000)
        );
        assert_eq!(
            config.circuit_breaker,
            CircuitBreakerConfig { enabled: true, failure_threshold: 5, reset_timeout_secs: 60 }
        );
    }

    #[test]
    fn what_is_written_reads_back_equal() {
        let mut config = ClusterConfig::plaintext(vec!["a:1".to_owned()]);
        config.security_protocol = SecurityProtocol::SaslSsl;
        config.sasl = Some(SaslConfig {
            mechanism: SaslMechanism::ScramSha512,
            username: Some("u".to_owned()),
            username_file: None,
            password_file: "p".into(),
        });
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.contains(r#""SASL_SSL""#) && text.contains(r#""SCRAM-SHA-512""#), "{text}");
        assert_eq!(serde_json::from_str::<ClusterConfig>(&text).unwrap(), config);
    }

    #[test]
    fn rejects_unknown_keys_and_other_spellings() {
        for json in [
            r#"{"bootstrapServers":["a:1"],"bootstrap":1}"#,
            r#"{"bootstrapServers":["a:1"],"securityProtocol":"ssl"}"#,
            r#"{"bootstrapServers":["a:1"],"sasl":{"mechanism":"SCRAM_SHA_512","username":"u","passwordFile":"p"}}"#,
            r#"{"bootstrapServers":["a:1"],"circuitBreaker":{"threshold":1}}"#,
        ] {
            assert!(serde_json::from_str::<ClusterConfig>(json).is_err(), "{json}");
        }
        assert!("sasl_ssl".parse::<SecurityProtocol>().is_err());
        assert_eq!("SASL_SSL".parse(), Ok(SecurityProtocol::SaslSsl));
        assert_eq!("SCRAM-SHA-256".parse(), Ok(SaslMechanism::ScramSha256));
    }

    #[test]
    fn a_blank_around_a_bootstrap_server_does_not_count() {
        let servers = ClusterConfig::plaintext(vec!["a:1".to_owned(), " b:2".to_owned(), "c:3\n".to_owned()]);
        let all: Vec<String> = servers.check().unwrap().bootstrap_servers.iter().map(ToString::to_string).collect();
        assert_eq!(all, ["a:1", "b:2", "c:3"]);
    }

    #[test]
    fn rejects_contradictions_by_name() {
        let sasl = serde_json::json!({"mechanism": "PLAIN", "username": "u", "passwordFile": "/does/not/exist"});
        let servers = serde_json::json!(["a:1"]);
        let refused = refusal(serde_json::json!({"bootstrapServers": servers, "sasl": sasl}));
        assert!(refused.contains("PLAINTEXT has no SASL"), "{refused}");
        let refused = refusal(serde_json::json!({"bootstrapServers": servers, "securityProtocol": "SASL_SSL"}));
        assert!(refused.contains("SASL_SSL needs sasl"), "{refused}");
        let refused = refusal(serde_json::json!({"bootstrapServers": servers, "tls": {"caFile": "x"}}));
        assert!(refused.contains("PLAINTEXT has no TLS"), "{refused}");
        let refused = refusal(serde_json::json!(
            {"bootstrapServers": servers, "securityProtocol": "SSL", "tls": {"certFile": "x"}}
        ));
        assert!(refused.contains("tls.certFile is given without tls.keyFile"), "{refused}");
        let refused = refusal(serde_json::json!(
            {"bootstrapServers": servers, "securityProtocol": "SASL_PLAINTEXT", "sasl": sasl}
        ));
        assert!(refused.contains("/does/not/exist (sasl.passwordFile)"), "{refused}");
        let refused = refusal(serde_json::json!({"bootstrapServers": []}));
        assert!(refused.contains("bootstrapServers is empty"), "{refused}");
        let refused = refusal(serde_json::json!({"bootstrapServers": servers, "requestTimeoutMs": 0}));
        assert!(refused.contains("requestTimeoutMs"), "{refused}");
    }

    #[test]
    fn values_are_checked_where_the_files_are_not() {
        let sasl =
            serde_json::json!({"mechanism": "PLAIN", "usernameFile": "/no/name", "passwordFile": "/no/password"});
        let tls = serde_json::json!({"caFile": "/no/ca", "certFile": "/no/cert", "keyFile": "/no/key"});
        let whole = serde_json::json!(
            {"bootstrapServers": ["a:1"], "securityProtocol": "SASL_SSL", "sasl": sasl, "tls": tls}
        );
        assert_eq!(config(whole.clone()).check_values(), Ok(()));
        assert!(refusal(whole.clone()).contains("/no/"));
        for (place, value) in [
            ("/bootstrapServers/0", serde_json::json!("a")),
            ("/securityProtocol", serde_json::json!("SASL_PLAINTEXT")),
            ("/securityProtocol", serde_json::json!("SSL")),
            ("/sasl/usernameFile", serde_json::Value::Null),
            ("/tls/keyFile", serde_json::Value::Null),
        ] {
            let mut changed = whole.clone();
            *changed.pointer_mut(place).unwrap() = value;
            let error = config(changed.clone()).check_values().unwrap_err();
            assert_eq!(config(changed).check().unwrap_err(), error, "{place}");
        }
    }

    #[test]
    fn a_password_loses_its_byte_order_mark_and_its_line_end_and_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        std::fs::write(&path, "\u{feff} secret-word \r\n").unwrap();
        let json = serde_json::json!({
            "bootstrapServers": ["a:1"], "securityProtocol": "SASL_PLAINTEXT",
            "sasl": {"mechanism": "PLAIN", "username": "u", "passwordFile": path}
        });
        let checked = config(json.clone()).check().unwrap();
        assert_eq!(checked.sasl.as_ref().unwrap().password.expose(), " secret-word ");
        let shown = format!("{checked:?}");
        assert!(shown.contains("***") && !shown.contains("secret-word"), "{shown}");
        std::fs::write(&path, "\n").unwrap();
        assert!(refusal(json).contains("is empty"));
    }

    #[test]
    fn a_user_name_is_given_once_in_the_configuration_or_in_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (name, none, password) = (file("name", "\u{feff}reader \n"), file("none", "\r\n"), file("password", "p"));
        let with = |more: serde_json::Value| {
            let mut sasl = serde_json::json!({"mechanism": "SCRAM-SHA-512", "passwordFile": password});
            sasl.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let protocol = "SASL_PLAINTEXT";
            config(serde_json::json!({"bootstrapServers": ["a:1"], "securityProtocol": protocol, "sasl": sasl})).check()
        };
        let username = |more| with(more).unwrap().sasl.unwrap().username;
        assert_eq!(username(serde_json::json!({"usernameFile": name})), "reader ");
        assert_eq!(username(serde_json::json!({"username": "writer"})), "writer");
        for (more, words) in [
            (serde_json::json!({"username": "u", "usernameFile": name}), "has both"),
            (serde_json::json!({}), "has neither"),
            (serde_json::json!({"usernameFile": none}), "none (sasl.usernameFile) is empty"),
            (serde_json::json!({"usernameFile": "/does/not/exist"}), "/does/not/exist (sasl.usernameFile)"),
        ] {
            let error = with(more).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_key_never_shows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "key-material").unwrap();
        let checked = config(serde_json::json!({
            "bootstrapServers": ["a:1"], "securityProtocol": "SSL", "tls": {"certFile": path, "keyFile": path}
        }))
        .check()
        .unwrap();
        let shown = format!("{checked:?}");
        assert!(!shown.contains("key-material") && !shown.contains("107, 101, 121"), "{shown}");
    }
}
