//! What is found in resources of several releases of Strimzi, and what is said where nothing fits.
//!
//! `tests/resources/` holds, by release, resources in the shape in which Strimzi writes them; each is valid by the CRDs of that release (the early
//! ones by those of 0.45). The certificates in them are not real.

use std::path::Path;

use serde::de::DeserializeOwned;
use strimzi_discovery::{
    Authentication, Connection, Credentials, Error, Identity, Kafka, KafkaUser, SecretKey, SecurityProtocol, Trust,
    choose, connect, credentials,
};

fn read<T: DeserializeOwned>(path: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/resources").join(path);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn kafka(path: &str) -> Kafka {
    read(path)
}

fn user(path: &str) -> KafkaUser {
    read(path)
}

fn key(secret: &str, key: &str) -> SecretKey {
    SecretKey { secret: secret.to_owned(), key: key.to_owned() }
}

fn cluster_ca() -> Option<Trust> {
    Some(Trust::ClusterCa { secret: "my-cluster-cluster-ca-cert".to_owned() })
}

fn chosen(kafka: &Kafka, authentication: Authentication) -> String {
    choose(kafka, authentication, None).expect("a listener that fits").listener
}

/// The cluster with these listeners only.
fn keep(mut kafka: Kafka, names: &[&str]) -> Kafka {
    kafka.spec.kafka.listeners.retain(|listener| names.contains(&listener.name.as_str()));
    kafka
}

mod choosing_a_listener {
    use super::*;

    #[test]
    fn anonymous_clients_get_the_listener_without_authentication() {
        let endpoint = choose(&kafka("0.45/kafka.yaml"), Authentication::None, None).unwrap();
        assert_eq!(endpoint.listener, "plain");
        assert_eq!(endpoint.bootstrap_servers, ["my-cluster-kafka-bootstrap.kafka.svc:9092"]);
        assert_eq!(endpoint.trust, None);
    }

    #[test]
    fn in_cluster_without_tls_goes_before_external_with_tls() {
        let kafka = keep(kafka("1.2/kafka.yaml"), &["anonoutside", "anonymous"]);
        assert_eq!(chosen(&kafka, Authentication::None), "anonymous");
    }

    #[test]
    fn tls_goes_before_plain_whatever_the_names_say() {
        let kafka = keep(kafka("1.2/kafka.yaml"), &["scram0plain", "scramb"]);
        assert_eq!(chosen(&kafka, Authentication::ScramSha512), "scramb");
    }

    #[test]
    fn tls_goes_before_the_type_among_external_listeners() {
        let mut kafka = keep(kafka("0.51/kafka.yaml"), &["route", "proxied"]);
        kafka.spec.kafka.listeners[1].tls = false;
        assert_eq!(chosen(&kafka, Authentication::ScramSha512), "route");
    }

    #[test]
    fn cluster_ip_goes_before_a_route() {
        assert_eq!(chosen(&kafka("0.51/kafka.yaml"), Authentication::ScramSha512), "proxied");
    }

    #[test]
    fn an_unknown_listener_type_goes_last_and_is_usable() {
        let mut kafka = kafka("0.51/kafka.yaml");
        kafka.spec.kafka.listeners[1].type_ = "tlsroute".to_owned().into();
        assert_eq!(chosen(&kafka, Authentication::ScramSha512), "route");
        assert_eq!(chosen(&keep(kafka, &["proxied"]), Authentication::ScramSha512), "proxied");
    }

    #[test]
    fn the_name_decides_between_equals_in_any_order_of_the_list() {
        let mut kafka = kafka("1.2/kafka.yaml");
        assert_eq!(chosen(&kafka, Authentication::ScramSha512), "scrama");
        kafka.spec.kafka.listeners.reverse();
        assert_eq!(chosen(&kafka, Authentication::ScramSha512), "scrama");
    }

    #[test]
    fn a_listener_that_is_named_is_taken_although_another_is_nearer() {
        let endpoint = choose(&kafka("1.2/kafka.yaml"), Authentication::None, Some("anonoutside")).unwrap();
        assert_eq!(endpoint.listener, "anonoutside");
        assert_eq!(endpoint.bootstrap_servers, ["kafka.example.com:443"]);
        assert_eq!(endpoint.trust, cluster_ca());
    }

    #[test]
    fn all_bootstrap_servers_of_a_nodeport_are_given() {
        let endpoint = choose(&kafka("0.45/kafka.yaml"), Authentication::ScramSha512, None).unwrap();
        assert_eq!(endpoint.bootstrap_servers, ["10.0.0.10:32100", "10.0.0.11:32100"]);
    }

    #[test]
    fn the_cluster_ca_is_trusted_although_the_status_shows_its_certificate() {
        let endpoint = choose(&kafka("1.2/kafka.yaml"), Authentication::Tls, None).unwrap();
        assert_eq!(endpoint.trust, cluster_ca());
    }

    #[test]
    fn a_listener_with_a_certificate_of_its_own_is_trusted_by_its_chain() {
        let endpoint = choose(&kafka("0.51/kafka.yaml"), Authentication::Tls, None).unwrap();
        let chain = "-----BEGIN CERTIFICATE-----\nb3duIGNoYWlu\n-----END CERTIFICATE-----\n";
        assert_eq!(endpoint.trust, Some(Trust::Certificates(vec![chain.to_owned()])));
    }

    #[test]
    fn a_certificate_of_its_own_is_waited_for_and_not_replaced_by_the_cluster_ca() {
        let mut kafka = kafka("0.51/kafka.yaml");
        kafka.status.as_mut().unwrap().listeners[3].certificates.clear();
        let error = choose(&kafka, Authentication::Tls, None).unwrap_err();
        assert_eq!(error.reason(), "ListenerCertificateNotReady");
        assert!(error.is_waiting());
    }

    #[test]
    fn custom_and_oauth_fit_nobody() {
        for (path, name) in [("1.2/kafka.yaml", "federated"), ("0.51/kafka.yaml", "oauth")] {
            let kafka = keep(kafka(path), &[name]);
            for wanted in [Authentication::None, Authentication::Tls, Authentication::ScramSha512] {
                assert_eq!(choose(&kafka, wanted, None).unwrap_err().reason(), "NoListenerFits", "{name}, {wanted}");
                assert_eq!(choose(&kafka, wanted, Some(name)).unwrap_err().reason(), "ListenerDoesNotFit");
            }
        }
    }

    #[test]
    fn a_client_certificate_needs_a_listener_with_tls() {
        let mut kafka = keep(kafka("1.2/kafka.yaml"), &["mutual"]);
        kafka.spec.kafka.listeners[0].tls = false;
        assert_eq!(choose(&kafka, Authentication::Tls, None).unwrap_err().reason(), "NoListenerFits");
    }

    #[test]
    fn a_status_that_names_listeners_by_type_is_read() {
        let endpoint = choose(&kafka("early-v1beta2/kafka-status-by-type.yaml"), Authentication::None, None).unwrap();
        assert_eq!(endpoint.bootstrap_servers, ["old-kafka-bootstrap.kafka.svc:9092"]);
    }

    #[test]
    fn a_status_with_type_and_name_and_only_addresses_is_read() {
        let endpoint =
            choose(&kafka("early-v1beta2/kafka-status-by-type.yaml"), Authentication::ScramSha512, None).unwrap();
        assert_eq!(endpoint.bootstrap_servers, ["old-kafka-bootstrap.kafka.svc:9093"]);
    }

    #[test]
    fn the_best_listener_is_waited_for_and_not_replaced_by_one_without_tls() {
        let mut kafka = keep(kafka("1.2/kafka.yaml"), &["scrama", "scram0plain"]);
        kafka.status.as_mut().unwrap().listeners.retain(|listener| !listener.is_about("scrama"));
        let error = choose(&kafka, Authentication::ScramSha512, None).unwrap_err();
        assert_eq!(
            error,
            Error::ListenerWithoutAddress { cluster: "my-cluster".to_owned(), listener: "scrama".to_owned() }
        );
        assert!(error.is_waiting());
    }

    #[test]
    fn an_address_without_host_is_none() {
        let mut kafka = kafka("1.2/kafka.yaml");
        for listener in &mut kafka.status.as_mut().unwrap().listeners {
            listener.bootstrap_servers = None;
            listener.addresses[0].host = None;
        }
        assert_eq!(choose(&kafka, Authentication::None, None).unwrap_err().reason(), "ListenerNotReady");
    }

    #[test]
    fn a_warning_or_a_not_ready_that_does_not_hold_is_no_obstacle() {
        let mut kafka = kafka("0.45/kafka.yaml");
        let conditions = &mut kafka.status.as_mut().unwrap().conditions;
        conditions[0].type_ = "NotReady".to_owned();
        conditions[0].status = "False".to_owned();
        assert_eq!(chosen(&kafka, Authentication::None), "plain");
    }

    #[test]
    fn a_paused_cluster_whose_status_kept_its_listeners_is_usable() {
        let mut kafka = kafka("0.45/kafka.yaml");
        kafka.status.as_mut().unwrap().conditions[0].type_ = "ReconciliationPaused".to_owned();
        assert_eq!(chosen(&kafka, Authentication::None), "plain");
    }

    #[test]
    fn what_can_never_fit_is_said_before_the_cluster_is_ready() {
        let error = choose(&kafka("1.2/kafka-creating.yaml"), Authentication::Tls, None).unwrap_err();
        assert_eq!(error.reason(), "NoListenerFits");
        assert!(!error.is_waiting());
    }
}

mod credentials_of_a_user {
    use super::*;

    #[test]
    fn tls_gives_the_certificate_and_key_of_the_secret_in_the_status() {
        for (path, secret) in [("0.45/user-tls.yaml", "backup-user"), ("1.2/user-tls.yaml", "kafka-backup-user")] {
            let found = credentials(&kafka("1.2/kafka.yaml"), &user(path)).unwrap();
            let expected = Credentials::Tls { certificate: key(secret, "user.crt"), key: key(secret, "user.key") };
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn scram_gives_the_name_in_the_status_and_the_password_of_strimzis_own_secret() {
        for (path, secret) in [("0.45/user-scram.yaml", "backup-scram"), ("1.2/user-scram.yaml", "kafka-backup-scram")]
        {
            let found = credentials(&kafka("1.2/kafka.yaml"), &user(path)).unwrap();
            let username = "backup-scram".to_owned();
            assert_eq!(found, Credentials::ScramSha512 { username, password: key(secret, "password") }, "{path}");
        }
    }

    #[test]
    fn a_user_whose_status_lacks_secret_or_name_is_waited_for() {
        let mut without_secret = user("1.2/user-tls.yaml");
        without_secret.status.as_mut().unwrap().secret = None;
        let mut without_name = user("1.2/user-scram.yaml");
        without_name.status.as_mut().unwrap().username = None;
        for (user, field) in [(without_secret, "secret"), (without_name, "username")] {
            let error = credentials(&kafka("1.2/kafka.yaml"), &user).unwrap_err();
            assert_eq!(error, Error::UserStatusIncomplete { user: user.metadata.name.clone(), field });
            assert!(error.is_waiting());
        }
    }
}

mod connecting {
    use super::*;

    #[test]
    fn anonymous_is_plaintext_without_credentials() {
        let connection = connect(&kafka("0.45/kafka.yaml"), Identity::Anonymous, None).unwrap();
        assert_eq!(
            connection,
            Connection {
                listener: "plain".to_owned(),
                bootstrap_servers: vec!["my-cluster-kafka-bootstrap.kafka.svc:9092".to_owned()],
                security_protocol: SecurityProtocol::Plaintext,
                trust: None,
                credentials: None,
            }
        );
    }

    #[test]
    fn a_tls_user_trusts_the_cluster_ca_and_not_the_clients_ca_beside_its_key() {
        let connection = connect(&kafka("0.45/kafka.yaml"), Identity::User(&user("0.45/user-tls.yaml")), None).unwrap();
        assert_eq!(connection.listener, "tls");
        assert_eq!(connection.security_protocol.as_str(), "SSL");
        assert_eq!(connection.trust, cluster_ca());
        let (certificate, key) = (key("backup-user", "user.crt"), key("backup-user", "user.key"));
        assert_eq!(connection.credentials, Some(Credentials::Tls { certificate, key }));
    }

    #[test]
    fn the_protocol_follows_the_listener_and_the_credentials() {
        let cluster = kafka("1.2/kafka.yaml");
        let (tls, scram) = (user("1.2/user-tls.yaml"), user("1.2/user-scram.yaml"));
        for (identity, listener, protocol) in [
            (Identity::Anonymous, "anonymous", "PLAINTEXT"),
            (Identity::Anonymous, "anonoutside", "SSL"),
            (Identity::User(&tls), "mutual", "SSL"),
            (Identity::User(&scram), "scram0plain", "SASL_PLAINTEXT"),
            (Identity::User(&scram), "scramb", "SASL_SSL"),
        ] {
            let connection = connect(&cluster, identity, Some(listener)).unwrap();
            assert_eq!(connection.security_protocol.to_string(), protocol, "{listener}");
            assert_eq!(connection.trust.is_some(), protocol.ends_with("SSL"), "{listener}");
        }
    }

    #[test]
    fn credentials_of_ones_own_choose_the_listener_that_takes_them() {
        let given = Credentials::Tls { certificate: key("mine", "tls.crt"), key: key("mine", "tls.key") };
        let connection = connect(&kafka("1.2/kafka.yaml"), Identity::Given(given.clone()), None).unwrap();
        assert_eq!(connection.listener, "mutual");
        assert_eq!(connection.credentials, Some(given));
    }
}

/// What a user reads, whole: each line names what was found and what would fit.
#[test]
fn every_refusal_says_what_was_found_and_what_to_do() {
    let ready = || kafka("0.45/kafka.yaml");
    let anonymous = |kafka: Kafka, listener| connect(&kafka, Identity::Anonymous, listener);
    let by_user = |user: KafkaUser| connect(&ready(), Identity::User(&user), None);

    let mut not_observed = ready();
    not_observed.status.as_mut().unwrap().observed_generation = None;
    let mut not_ready_without_reason = ready();
    let condition = &mut not_ready_without_reason.status.as_mut().unwrap().conditions[0];
    condition.type_ = "NotReady".to_owned();
    let mut paused_user = user("1.2/user-tls.yaml");
    let status = paused_user.status.as_mut().unwrap();
    status.conditions[0].type_ = "ReconciliationPaused".to_owned();
    status.secret = None;
    let mut of_another_cluster = user("0.45/user-tls.yaml");
    of_another_cluster.metadata.labels.insert("strimzi.io/cluster".to_owned(), "other".to_owned());
    let mut of_no_cluster = user("0.45/user-tls.yaml");
    of_no_cluster.metadata.labels.clear();
    let mut elsewhere = user("0.45/user-tls.yaml");
    elsewhere.metadata.namespace = Some("users".to_owned());
    let mut of_a_new_type = user("0.45/user-tls.yaml");
    of_a_new_type.spec.authentication.as_mut().unwrap().type_ = "passkey".to_owned();
    let mut without_address = ready();
    without_address.status.as_mut().unwrap().listeners.clear();
    let mut without_certificate = kafka("0.51/kafka.yaml");
    without_certificate.status.as_mut().unwrap().listeners[3].certificates.clear();
    let mut incomplete = user("0.45/user-tls.yaml");
    incomplete.status.as_mut().unwrap().secret = None;

    const WAITING: bool = true;
    const FINAL: bool = false;
    let cases = [
        (
            anonymous(kafka("1.2/kafka-without-status.yaml"), None),
            "KafkaNotReady",
            WAITING,
            "Kafka my-cluster is not ready: it has no status: does a Strimzi operator watch its namespace?",
        ),
        (
            anonymous(kafka("1.2/kafka-creating.yaml"), None),
            "KafkaNotReady",
            WAITING,
            "Kafka my-cluster is not ready: Creating: Kafka cluster is being deployed",
        ),
        (
            anonymous(not_ready_without_reason, None),
            "KafkaNotReady",
            WAITING,
            "Kafka my-cluster is not ready: NotReady",
        ),
        (
            anonymous(not_observed, None),
            "KafkaNotReady",
            WAITING,
            "Kafka my-cluster is not ready: its status has no observedGeneration: Strimzi is not done with it",
        ),
        (
            anonymous(kafka("1.2/kafka-paused.yaml"), None),
            "KafkaNotReady",
            WAITING,
            "Kafka my-cluster is not ready: its reconciliation is paused, and so its status lacks what is needed: remove the annotation \
             strimzi.io/pause-reconciliation",
        ),
        (
            anonymous(ready(), Some("tsl")),
            "ListenerNotFound",
            FINAL,
            "Kafka my-cluster has no listener \"tsl\": its listeners are plain (internal, no TLS, no authentication), \
             tls (internal, TLS, authentication tls), external (nodeport, TLS, authentication scram-sha-512); \
             name one with no authentication",
        ),
        (
            anonymous(ready(), Some("external")),
            "ListenerDoesNotFit",
            FINAL,
            "listener external (nodeport, TLS, authentication scram-sha-512) of Kafka my-cluster does not fit: \
             a listener with no authentication is needed; its listeners are plain (internal, no TLS, no authentication), \
             tls (internal, TLS, authentication tls), external (nodeport, TLS, authentication scram-sha-512)",
        ),
        (
            anonymous(keep(ready(), &["tls"]), None),
            "NoListenerFits",
            FINAL,
            "Kafka my-cluster has no listener with no authentication: its listeners are tls (internal, TLS, authentication tls); \
             add one, or authenticate as one of them wants it",
        ),
        (
            anonymous(keep(ready(), &[]), None),
            "NoListenerFits",
            FINAL,
            "Kafka my-cluster has no listener with no authentication: it has no listeners; \
             add one, or authenticate as one of them wants it",
        ),
        (
            anonymous(without_address, None),
            "ListenerNotReady",
            WAITING,
            "listener \"plain\" of Kafka my-cluster has no address in status.listeners: Strimzi has not set it up yet",
        ),
        (
            connect(&without_certificate, Identity::User(&user("0.45/user-tls.yaml")), None),
            "ListenerCertificateNotReady",
            WAITING,
            "listener \"public\" of Kafka my-cluster has a certificate of its own (brokerCertChainAndKey), which status.listeners \
             does not show yet",
        ),
        (
            by_user(user("1.2/user-without-status.yaml")),
            "KafkaUserNotReady",
            WAITING,
            "KafkaUser new is not ready: it has no status: does a Strimzi operator watch its namespace?",
        ),
        (
            by_user(user("1.2/user-not-ready.yaml")),
            "KafkaUserNotReady",
            WAITING,
            "KafkaUser refused is not ready: InvalidResourceException: Secret chosen-password with requested user password does not exist.",
        ),
        (
            by_user(paused_user),
            "KafkaUserNotReady",
            WAITING,
            "KafkaUser backup-user is not ready: its reconciliation is paused, and so its status lacks what is needed: \
             remove the annotation strimzi.io/pause-reconciliation",
        ),
        (
            by_user(incomplete),
            "KafkaUserNotReady",
            WAITING,
            "KafkaUser backup-user has no status.secret: Strimzi's User Operator is not done with it",
        ),
        (
            by_user(of_another_cluster),
            "KafkaUserOfAnotherCluster",
            FINAL,
            "KafkaUser backup-user is no user of Kafka my-cluster: its label strimzi.io/cluster is other, and should be my-cluster",
        ),
        (
            by_user(of_no_cluster),
            "KafkaUserOfAnotherCluster",
            FINAL,
            "KafkaUser backup-user is no user of Kafka my-cluster: its label strimzi.io/cluster is missing, and should be my-cluster",
        ),
        (
            by_user(elsewhere),
            "KafkaUserInAnotherNamespace",
            FINAL,
            "KafkaUser backup-user is in namespace \"users\", and Kafka my-cluster in \"kafka\": a pod mounts Secrets of one namespace only",
        ),
        (
            by_user(user("0.51/user-tls-external.yaml")),
            "KafkaUserTypeNotSupported",
            FINAL,
            "KafkaUser from-elsewhere has authentication tls-external, for which Strimzi keeps no certificate: \
             give its certificate and key from a Secret of your own, or use a KafkaUser with tls or scram-sha-512",
        ),
        (
            by_user(of_a_new_type),
            "KafkaUserTypeNotSupported",
            FINAL,
            "KafkaUser backup-user has authentication passkey, which is not supported: use one with tls or scram-sha-512",
        ),
        (
            by_user(user("0.51/user-quotas-only.yaml")),
            "KafkaUserWithoutAuthentication",
            FINAL,
            "KafkaUser quotas has no spec.authentication: use one with tls or scram-sha-512",
        ),
    ];
    for (result, reason, waiting, message) in cases {
        let error = result.expect_err(message);
        assert_eq!(error.to_string(), message);
        assert_eq!((error.reason(), error.is_waiting()), (reason, waiting), "{message}");
    }
}
