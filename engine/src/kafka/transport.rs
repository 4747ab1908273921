//! TCP and TLS: from an address to a stream of bytes.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::AlertDescription;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;

use crate::config::cluster::{Address, Checked, SaslMechanism};
use crate::kafka::dial::dial;
use crate::kafka::error::Error;
use crate::tls::{self, alert_words};

/// A connection's bytes, encrypted or not.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// How connections of one cluster are opened.
#[derive(Clone)]
pub(crate) struct Transport {
    tls: Option<TlsConnector>,
    has_identity: bool,
    protocol: &'static str,
    timeout: Duration,
}

impl Transport {
    /// # Errors
    /// A PEM file that holds no certificate or key, or a key that does not fit its certificate.
    pub(crate) fn new(config: &Checked) -> Result<Self, Error> {
        let tls = config.tls.as_ref().map(tls::client_config).transpose()?;
        let protocol = match (config.tls.is_some(), config.sasl.is_some()) {
            (false, false) => "PLAINTEXT",
            (true, false) => "SSL",
            (false, true) => "SASL_PLAINTEXT",
            (true, true) => "SASL_SSL",
        };
        // Here, and not where a connection is opened: a run has one transport and many connections.
        if let Some(warning) = readable_password(config) {
            tracing::warn!("{warning}");
        }
        Ok(Self {
            tls: tls.map(|config| TlsConnector::from(Arc::new(config))),
            has_identity: config.tls.as_ref().is_some_and(|tls| tls.identity.is_some()),
            protocol,
            timeout: Duration::from_millis(config.connect_timeout_ms),
        })
    }

    /// A connection to `address`, through its handshakes.
    ///
    /// # Errors
    /// [`Error::Unreachable`] also when it takes longer than the connect timeout; [`Error::Certificate`] and
    /// [`Error::NotKafka`] from TLS.
    pub(crate) async fn open(&self, address: &Address) -> Result<Box<dyn Duplex>, Error> {
        let opened = async { self.handshakes(address, look_up(address).await?).await };
        tokio::time::timeout(self.timeout, opened).await.unwrap_or_else(|_| {
            Err(unreachable(address, format!("no connection within {} ms", self.timeout.as_millis())))
        })
    }

    async fn handshakes(
        &self,
        address: &Address,
        candidates: impl Iterator<Item = SocketAddr>,
    ) -> Result<Box<dyn Duplex>, Error> {
        let tcp = dial(candidates.collect()).await.map_err(|error| unreachable(address, cause(&error)))?;
        // A request is written whole, so waiting for more bytes only costs time.
        tcp.set_nodelay(true).map_err(|error| unreachable(address, cause(&error)))?;
        let Some(tls) = &self.tls else { return Ok(Box::new(tcp)) };
        let stream = tls
            .connect(server_name(address)?, tcp)
            .await
            .map_err(|error| self.explain(&address.to_string(), &error, Phase::Handshake))?;
        Ok(Box::new(stream))
    }

    /// What a failed read or write on an open connection means. `answered`: whether the broker ever answered on it.
    /// Until then TLS 1.3 may still refuse our certificate, for its client is done before the server has looked.
    pub(crate) fn explain_io(&self, address: &str, error: &io::Error, answered: bool) -> Error {
        let phase = if answered { Phase::Open } else { Phase::FirstAnswer };
        self.explain(address, error, phase)
    }

    fn explain(&self, address: &str, error: &io::Error, phase: Phase) -> Error {
        let address = address.to_owned();
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match (tls, phase) {
            (Some(tls), _) => self.explain_tls(address, tls),
            (None, Phase::Handshake) => Error::Unreachable {
                address,
                why: format!("the TLS handshake was cut off, {} (does this port speak TLS?)", cause(error)),
            },
            (None, Phase::FirstAnswer) if self.tls.is_some() && !self.has_identity => Error::Lost {
                address,
                why: format!("{} (does this listener ask for a client certificate?)", cause(error)),
            },
            (None, Phase::FirstAnswer | Phase::Open) => Error::Lost { address, why: cause(error) },
        }
    }

    fn explain_tls(&self, address: String, error: &rustls::Error) -> Error {
        match error {
            rustls::Error::InvalidCertificate(why) => Error::Certificate { address, why: tls::certificate_cause(why) },
            rustls::Error::NoCertificatesPresented => {
                Error::Certificate { address, why: "the broker has no certificate".to_owned() }
            }
            rustls::Error::AlertReceived(alert) if refuses_certificate(*alert) => {
                let words = alert_words(*alert);
                let why = match self.has_identity {
                    true => format!("the broker does not accept our client certificate ({words})"),
                    false => format!("the broker asks for a client certificate, and none is given ({words})"),
                };
                Error::Certificate { address, why }
            }
            rustls::Error::InvalidMessage(_) => {
                Error::NotKafka { address, protocol: self.protocol, why: "what it sends is not TLS".to_owned() }
            }
            other => Error::Lost { address, why: format!("TLS: {}", tls::cause(other)) },
        }
    }
}

/// The warning about a password that can be read on its way to the brokers; none where TLS or SCRAM hides it.
fn readable_password(config: &Checked) -> Option<String> {
    let sends_password = config.sasl.as_ref().is_some_and(|sasl| sasl.mechanism == SaslMechanism::Plain);
    let servers = || config.bootstrap_servers.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    (sends_password && config.tls.is_none()).then(|| {
        format!(
            "the password is sent in clear text to the brokers of {}, where every host on the way can read it: use securityProtocol \
             SASL_SSL, or the SASL mechanism SCRAM-SHA-512",
            servers()
        )
    })
}

#[derive(Clone, Copy)]
enum Phase {
    Handshake,
    FirstAnswer,
    Open,
}

/// Every address that the host's name has.
async fn look_up(address: &Address) -> Result<impl Iterator<Item = SocketAddr>, Error> {
    tokio::net::lookup_host((address.host.as_str(), address.port))
        .await
        .map_err(|error| unreachable(address, format!("unknown host ({error})")))
}

fn unreachable(address: &Address, why: String) -> Error {
    Error::Unreachable { address: address.to_string(), why }
}

/// A short cause for the frequent failures, the system's words for the rest.
fn cause(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => "connection reset by the broker".to_owned(),
        io::ErrorKind::UnexpectedEof => "closed by the broker".to_owned(),
        io::ErrorKind::TimedOut => "no answer".to_owned(),
        _ => crate::kafka::error::one_line(&error.to_string()),
    }
}

/// What a broker answers to a client certificate that is missing or that it does not trust.
fn refuses_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::CertificateRequired
            | AlertDescription::NoCertificate
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError
            | AlertDescription::HandshakeFailure
    )
}

/// The name that the certificate must be for: an IP address matches IP entries, a name is also sent as SNI.
fn server_name(address: &Address) -> Result<ServerName<'static>, Error> {
    // A trailing dot makes a name absolute for DNS; certificates never have it.
    let host = address.host.strip_suffix('.').unwrap_or(&address.host).to_owned();
    ServerName::try_from(host).map_err(|_| unreachable(address, "this host name cannot be in a certificate".to_owned()))
}

#[cfg(test)]
mod tests {
    use rustls::{CertificateError, ClientConfig, RootCertStore};

    use super::*;
    use crate::config::cluster::{ClusterConfig, Credentials, Tls};
    use crate::error::Kind;
    use crate::kafka::dial::tests::Swallowing;

    fn transport(tls: bool, has_identity: bool) -> Transport {
        let tls = tls.then(|| {
            let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(RootCertStore::empty())
                .with_no_client_auth();
            TlsConnector::from(Arc::new(config))
        });
        Transport { tls, has_identity, protocol: "SSL", timeout: Duration::from_secs(1) }
    }

    #[tokio::test]
    async fn a_name_whose_first_address_swallows_packets_is_connected_to_by_its_second() {
        let silent = Swallowing::start().await;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let candidates = [silent.address, listener.local_addr().unwrap()].into_iter();
        let address = "kafka.example:9092".parse().unwrap();
        let transport = transport(false, false);
        let connected = tokio::time::timeout(Duration::from_secs(10), transport.handshakes(&address, candidates)).await;
        assert!(connected.expect("the second address is tried meanwhile").is_ok());
    }

    fn tls_error(error: rustls::Error) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }

    #[test]
    fn only_a_password_that_neither_tls_nor_its_mechanism_hides_is_warned_about() {
        let warning = |mechanism: Option<SaslMechanism>, has_tls: bool| {
            let plaintext = ClusterConfig::plaintext(vec!["a:1".to_owned(), "b:2".to_owned()]).check().unwrap();
            let credentials = |mechanism| Credentials {
                mechanism,
                username: "alice".to_owned(),
                username_file: None,
                password: "tell-nobody".to_owned().into(),
            };
            let tls = has_tls.then_some(Tls { ca: None, identity: None });
            readable_password(&Checked { tls, sasl: mechanism.map(credentials), ..plaintext })
        };
        for (mechanism, has_tls) in [
            (None, false),
            (None, true),
            (Some(SaslMechanism::Plain), true),
            (Some(SaslMechanism::ScramSha256), false),
            (Some(SaslMechanism::ScramSha512), false),
            (Some(SaslMechanism::ScramSha512), true),
        ] {
            assert_eq!(warning(mechanism, has_tls), None, "{mechanism:?} {has_tls}");
        }
        let warning = warning(Some(SaslMechanism::Plain), false).unwrap();
        for part in ["in clear text", "a:1, b:2", "SASL_SSL", "SCRAM-SHA-512"] {
            assert!(warning.contains(part), "{warning}");
        }
        assert!(!warning.contains('\n') && !warning.contains("alice") && !warning.contains("tell-nobody"), "{warning}");
    }

    #[test]
    fn ip_addresses_are_verified_as_addresses_and_names_as_names() {
        let name = |address: &str| server_name(&address.parse().unwrap()).unwrap();
        assert!(matches!(name("127.0.0.1:1"), ServerName::IpAddress(_)));
        assert!(matches!(name("[::1]:1"), ServerName::IpAddress(_)));
        assert_eq!(name("kafka.example.:1").to_str(), "kafka.example");
        assert!(server_name(&"under_score-.-:1".parse().unwrap()).is_err());
    }

    #[test]
    fn certificate_failures_are_denied_with_one_clear_line() {
        let transport = transport(true, false);
        for (error, says) in [
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), "not from an authority"),
            (rustls::Error::InvalidCertificate(CertificateError::Expired), "has expired"),
            (rustls::Error::InvalidCertificate(CertificateError::NotValidForName), "another host name"),
            (rustls::Error::AlertReceived(AlertDescription::CertificateRequired), "asks for a client certificate"),
        ] {
            let error = transport.explain("h:1", &tls_error(error), Phase::Handshake);
            assert_eq!(error.kind(), Kind::Denied);
            assert!(error.to_string().contains(says) && error.to_string().contains("h:1"), "{error}");
        }
    }

    #[test]
    fn a_refused_client_certificate_is_denied_after_the_handshake_too() {
        let alert = || tls_error(rustls::Error::AlertReceived(AlertDescription::UnknownCA));
        let error = transport(true, true).explain_io("h:1", &alert(), false);
        assert_eq!(error.kind(), Kind::Denied);
        assert!(error.to_string().contains("does not accept our client certificate"), "{error}");
    }

    #[test]
    fn a_connection_that_breaks_is_unavailable() {
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        for (tls, answered) in [(true, true), (true, false), (false, false)] {
            assert_eq!(transport(tls, false).explain_io("h:1", &reset, answered).kind(), Kind::Unavailable);
        }
    }

    #[tokio::test]
    async fn an_unknown_host_and_a_closed_port_are_told_apart() {
        let transport = transport(false, false);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let refused = transport.open(&format!("127.0.0.1:{port}").parse().unwrap()).await.err().unwrap();
        assert!(refused.to_string().contains("connection refused"), "{refused}");
        let unknown = transport.open(&"no-such-host.invalid:1".parse().unwrap()).await.err().unwrap();
        assert!(
            unknown.to_string().contains("unknown host") || unknown.to_string().contains("no connection"),
            "{unknown}"
        );
    }
}
