//! How brokers are reached: the engine's configuration, and what a pod mounts for it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use kafka_backup::config::cluster::{ClusterConfig, SaslConfig, SaslMechanism, SecurityProtocol, TlsConfig};
use strimzi_discovery::{Connection, Credentials, Trust};

use super::{CONFIG_FOLDER, Mount, SECRETS_FOLDER, Source};
use crate::api::oso::{KafkaCluster, Mechanism, SaslSecret, SecurityProtocol as Protocol, TlsSecret};

pub(super) const CLUSTER_CA: &str = "cluster-ca";
pub(super) const USER: &str = "user";
pub(super) const SASL: &str = "sasl";
const CA_FILE: &str = "ca.crt";
const CERTIFICATE_FILE: &str = "user.crt";
const KEY_FILE: &str = "user.key";
const USERNAME_FILE: &str = "username";
const PASSWORD_FILE: &str = "password";
/// The file, beside the configuration, with the chain of a listener that has a certificate of its own.
const LISTENER_CERTIFICATES: &str = "listener.crt";
const CERTIFICATE_KEY_OF_TLS_SECRETS: &str = "tls.crt";
const KEY_KEY_OF_TLS_SECRETS: &str = "tls.key";

/// A cluster, and how to get at it.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionPlan {
    /// For the engine.
    pub config: ClusterConfig,
    /// For the pod.
    pub mounts: Vec<Mount>,
    /// Public files, for the pod.
    pub files: BTreeMap<String, String>,
}

fn folder(name: &str) -> String {
    format!("{SECRETS_FOLDER}/{name}")
}

fn file(folder_name: &str, file: &str) -> PathBuf {
    PathBuf::from(folder(folder_name)).join(file)
}

fn mount(name: &'static str, source: Source) -> Mount {
    Mount { name, path: folder(name), source }
}

fn keys(name: &str, keys: &[(&str, &str)]) -> Source {
    let keys = keys.iter().map(|(key, file)| ((*key).to_owned(), (*file).to_owned())).collect();
    Source::SecretKeys { name: name.to_owned(), keys }
}

/// The plan for a cluster that Strimzi manages.
pub fn of_strimzi(connection: &Connection) -> ConnectionPlan {
    let Connection { listener: _, bootstrap_servers, security_protocol, trust, credentials } = connection;
    let mut config = ClusterConfig::plaintext(bootstrap_servers.clone());
    config.security_protocol = match security_protocol {
        strimzi_discovery::SecurityProtocol::Plaintext => SecurityProtocol::Plaintext,
        strimzi_discovery::SecurityProtocol::Ssl => SecurityProtocol::Ssl,
        strimzi_discovery::SecurityProtocol::SaslPlaintext => SecurityProtocol::SaslPlaintext,
        strimzi_discovery::SecurityProtocol::SaslSsl => SecurityProtocol::SaslSsl,
    };
    let mut tls = TlsConfig::default();
    let mut mounts = Vec::new();
    let mut files = BTreeMap::new();
    match trust {
        None => {}
        Some(Trust::ClusterCa { secret }) => {
            // Whole, since there are several authorities while one is renewed.
            tls.ca_file = Some(PathBuf::from(folder(CLUSTER_CA)));
            mounts.push(mount(CLUSTER_CA, Source::Secret { name: secret.clone() }));
        }
        Some(Trust::Certificates(chain)) => {
            tls.ca_file = Some(PathBuf::from(CONFIG_FOLDER).join(LISTENER_CERTIFICATES));
            files.insert(LISTENER_CERTIFICATES.to_owned(), chain.join("\n"));
        }
    }
    match credentials {
        None => {}
        Some(Credentials::Tls { certificate, key }) => {
            tls.cert_file = Some(file(USER, CERTIFICATE_FILE));
            tls.key_file = Some(file(USER, KEY_FILE));
            // Both are of one Secret: a KafkaUser's, or the one that the spec names.
            mounts.push(mount(
                USER,
                keys(&certificate.secret, &[(&certificate.key, CERTIFICATE_FILE), (&key.key, KEY_FILE)]),
            ));
        }
        Some(Credentials::ScramSha512 { username, password }) => {
            config.sasl = Some(SaslConfig {
                mechanism: SaslMechanism::ScramSha512,
                username: Some(username.clone()),
                username_file: None,
                password_file: file(SASL, PASSWORD_FILE),
            });
            mounts.push(mount(SASL, keys(&password.secret, &[(&password.key, PASSWORD_FILE)])));
        }
    }
    config.tls = config.security_protocol.has_tls().then_some(tls);
    ConnectionPlan { config, mounts, files }
}

/// The plan for a cluster by addresses.
pub fn of_addresses(cluster: &KafkaCluster) -> ConnectionPlan {
    let KafkaCluster { bootstrap_servers, security_protocol, tls_secret, sasl_secret } = cluster;
    let mut config = ClusterConfig::plaintext(bootstrap_servers.clone());
    config.security_protocol = match security_protocol {
        Protocol::Plaintext => SecurityProtocol::Plaintext,
        Protocol::Ssl => SecurityProtocol::Ssl,
        Protocol::SaslPlaintext => SecurityProtocol::SaslPlaintext,
        Protocol::SaslSsl => SecurityProtocol::SaslSsl,
    };
    let mut mounts = Vec::new();
    if let Some(TlsSecret { name, ca_key, cert_key, key_key }) = tls_secret {
        let mut tls = TlsConfig { ca_file: Some(file(CLUSTER_CA, CA_FILE)), ..TlsConfig::default() };
        mounts.push(mount(CLUSTER_CA, keys(name, &[(ca_key.as_deref().unwrap_or(CA_FILE), CA_FILE)])));
        // Without SASL a Secret of type kubernetes.io/tls is there for its certificate; with SASL it is shown only if asked for.
        let shown = match (cert_key.as_deref(), security_protocol) {
            (Some(""), _) | (None, Protocol::Plaintext | Protocol::SaslPlaintext | Protocol::SaslSsl) => None,
            (None, Protocol::Ssl) => Some(CERTIFICATE_KEY_OF_TLS_SECRETS),
            (Some(certificate), _) => Some(certificate),
        };
        if let Some(certificate) = shown {
            tls.cert_file = Some(file(USER, CERTIFICATE_FILE));
            tls.key_file = Some(file(USER, KEY_FILE));
            let key = key_key.as_deref().unwrap_or(KEY_KEY_OF_TLS_SECRETS);
            mounts.push(mount(USER, keys(name, &[(certificate, CERTIFICATE_FILE), (key, KEY_FILE)])));
        }
        config.tls = Some(tls);
    }
    if let Some(SaslSecret { name, mechanism, username_key, password_key }) = sasl_secret {
        config.sasl = Some(SaslConfig {
            mechanism: match mechanism {
                Mechanism::Plain => SaslMechanism::Plain,
                Mechanism::ScramSha256 => SaslMechanism::ScramSha256,
                Mechanism::ScramSha512 => SaslMechanism::ScramSha512,
            },
            username: None,
            username_file: Some(file(SASL, USERNAME_FILE)),
            password_file: file(SASL, PASSWORD_FILE),
        });
        mounts.push(mount(SASL, keys(name, &[(username_key, USERNAME_FILE), (password_key, PASSWORD_FILE)])));
    }
    ConnectionPlan { config, mounts, files: BTreeMap::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_certificate_is_shown_with_ssl_unless_its_key_is_empty_and_with_sasl_if_it_is_asked_for() {
        let shown = |protocol: &str, keys: &str| {
            let text = format!(
                "bootstrapServers: ['kafka:9093']\nsecurityProtocol: {protocol}\ntlsSecret: {{name: kafka-tls{keys}}}\n"
            );
            let plan = of_addresses(&serde_saphyr::from_str(&text).unwrap());
            let tls = plan.config.tls.unwrap();
            assert_eq!(tls.cert_file.is_some(), tls.key_file.is_some());
            assert_eq!(tls.cert_file.is_some(), plan.mounts.iter().any(|mount| mount.name == USER));
            tls.cert_file.is_some()
        };
        assert!(shown("SSL", ""));
        assert!(shown("SSL", ", certKey: a, keyKey: b"));
        assert!(!shown("SSL", ", certKey: '', keyKey: ''"));
        assert!(!shown("SASL_SSL", ""));
        assert!(shown("SASL_SSL", ", certKey: a, keyKey: b"));
        assert!(!shown("SASL_SSL", ", certKey: '', keyKey: ''"));
    }
}
