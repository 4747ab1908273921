//! What Strimzi leaves in a cluster: its definitions, and resources, status and Secrets as its operators write them.
//!
//! Strimzi's operators are published as images only, which a cluster of the harness cannot pull. So the harness runs the
//! broker on this machine and writes what the operators would: the shapes are those of Strimzi's documentation ("Deploying
//! and Managing", for the Secrets "Security") and of its API, whose own definitions check them.
//!
//! Clients in pods find the broker as they would find Strimzi's, by `CLUSTER-kafka-bootstrap.NAMESPACE.svc`, a Service
//! that leads to this machine.

mod crds;
mod secrets;

use std::io::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

pub use self::crds::Release;
use crate::certificates::{Authority, Issued};
use crate::kafka::{Kafka, KafkaOptions, Listener, Mechanism};
use crate::kubernetes::Kubernetes;
use crate::unique;

/// Who the fields of a status belong to.
const FIELD_MANAGER: &str = "strimzi-cluster-operator";
/// When everything happened: nothing here depends on it.
const THEN: &str = "2026-10-02T11:00:31.402193Z";

/// A listener that the `Kafka` resource shows: its name, its port, what it asks for, and the broker's own.
struct Shown {
    name: &'static str,
    port: u16,
    authentication: Option<&'static str>,
    listener: Listener,
}

const LISTENERS: [Shown; 4] = [
    Shown { name: "plain", port: 9092, authentication: None, listener: Listener::Plain },
    Shown { name: "tls", port: 9093, authentication: Some("tls"), listener: Listener::MutualTls },
    Shown { name: "scram", port: 9094, authentication: Some("scram-sha-512"), listener: Listener::SaslTls },
    Shown { name: "scramplain", port: 9095, authentication: Some("scram-sha-512"), listener: Listener::SaslPlain },
];

/// The listener whose certificate the cluster CA has not signed.
const OWN: Shown = Shown { name: "own", port: 9096, authentication: None, listener: Listener::Tls };
/// The Secret with that certificate.
const OWN_SECRET: &str = "own-certificate";

/// What to start.
#[derive(Debug, Clone)]
pub struct StrimziOptions {
    /// The release whose definitions the cluster has.
    pub release: Release,
    /// The namespace, which has to be there.
    pub namespace: String,
    /// The name of the `Kafka` resource.
    pub cluster: String,
    /// The broker; where it serves, its listeners and its authorizer are set by [`Strimzi::start`].
    pub kafka: KafkaOptions,
    /// Whether there is a listener `own` beside the others, with TLS, no authentication, and a certificate that another authority than
    /// the cluster CA has signed (`brokerCertChainAndKey`).
    pub has_own_certificate: bool,
}

/// A Kafka cluster as Strimzi shows it; dropping it ends the broker and leaves the resources.
#[derive(Debug)]
pub struct Strimzi<'a> {
    kubernetes: &'a Kubernetes,
    kafka: Kafka,
    release: Release,
    namespace: String,
    cluster: String,
    authorities: Mutex<Authorities>,
    own: Option<OwnCertificate>,
}

/// The cluster CA, and what becomes of it.
#[derive(Debug)]
struct Authorities {
    /// PEM certificates that the Secret holds, the current one last.
    cluster: Vec<String>,
    /// How often there was another one.
    renewals: u32,
    /// The current one, where it is not the one that signed the brokers' certificates.
    is_to_serve: Option<Authority>,
}

/// A certificate that is not Strimzi's.
#[derive(Debug)]
struct OwnCertificate {
    /// The certificate and that of its authority, PEM.
    chain: String,
    issued: Issued,
    /// Chain and key, as the broker reads them when it starts.
    file: NamedTempFile,
}

impl OwnCertificate {
    fn new(names: &[String]) -> Result<Self> {
        let authority = Authority::new("e2e somebody's CA")?;
        let issued = authority.issue_server("own", names)?;
        let chain = format!("{}{}", issued.certificate, authority.certificate());
        let mut file = NamedTempFile::new().context("no temporary file")?;
        write!(file, "{}{chain}", issued.key).context("cannot write a certificate")?;
        Ok(Self { chain, issued, file })
    }
}

impl<'a> Strimzi<'a> {
    /// Starts a broker that pods reach, and writes the resources, Secrets and status that say so: a `Kafka` that is ready,
    /// a `KafkaNodePool`, the certificates of both CAs, and the bootstrap Service.
    ///
    /// # Errors
    /// When the broker does not start, or the API server refuses something; the text holds what it said.
    pub fn start(kubernetes: &'a Kubernetes, options: StrimziOptions) -> Result<Self> {
        let StrimziOptions { release, namespace, cluster, kafka, has_own_certificate } = options;
        let service = format!("{cluster}-kafka-bootstrap");
        let names = ["", ".NS", ".NS.svc", ".NS.svc.cluster.local"]
            .map(|domain| format!("{service}{}", domain.replace("NS", &namespace)));
        let own = match has_own_certificate {
            true => Some(OwnCertificate::new(&[&names[..], &[kubernetes.host_ip().to_string()]].concat())?),
            false => None,
        };
        let mut listeners = vec![Listener::MutualTls, Listener::SaslTls, Listener::SaslPlain];
        let mut extra_properties = kafka.extra_properties.clone();
        if let Some(own) = &own {
            listeners.push(OWN.listener);
            let keystore = format!("{}.ssl.keystore.location", OWN.listener.prefix());
            extra_properties.push((keystore, own.file.path().display().to_string()));
        }
        let kafka = Kafka::start(KafkaOptions {
            address: kubernetes.host_ip(),
            names: names.to_vec(),
            listeners,
            authorizer: true,
            extra_properties,
            ..kafka
        })?;
        let authority = std::fs::read_to_string(kafka.certificates().file("ca.crt")).context("cannot read ca.crt")?;
        let authorities = Mutex::new(Authorities { cluster: vec![authority], renewals: 0, is_to_serve: None });
        let strimzi = Self { kubernetes, kafka, release, namespace, cluster, authorities, own };
        if let Err(error) = strimzi.write_resources() {
            // A broker that outlives the harness would be known to nobody.
            for node in strimzi.kafka.node_ids() {
                strimzi.kafka.kill_node(node)?;
            }
            return Err(error);
        }
        Ok(strimzi)
    }

    fn write_resources(&self) -> Result<()> {
        self.apply(&self.resources())?;
        self.write_service()?;
        self.write_authorities()?;
        self.set_ready()
    }

    /// The broker.
    pub fn kafka(&self) -> &Kafka {
        &self.kafka
    }

    /// The namespace of all resources.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The name of the `Kafka` resource.
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    fn listeners(&self) -> impl Iterator<Item = &'static Shown> {
        LISTENERS.iter().chain(self.own.is_some().then_some(&OWN))
    }

    /// The bootstrap server that the status shows for a listener (`plain`, `tls`, `scram`, `scramplain`, `own`), as pods reach it.
    ///
    /// # Panics
    /// When there is no listener of this name.
    pub fn bootstrap(&self, listener: &str) -> String {
        let shown = self.listeners().find(|shown| shown.name == listener);
        let port = shown.unwrap_or_else(|| panic!("there is no listener {listener:?}")).port;
        format!("{}:{port}", self.host())
    }

    /// Writes the status of a cluster that serves.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn set_ready(&self) -> Result<()> {
        // The current one alone.
        let certificate = self.authorities().cluster.last().cloned();
        let listeners = self.listeners().map(|Shown { name, port, listener, .. }| {
            let mut shown = json!({
                "name": name,
                "addresses": [{ "host": self.host(), "port": port }],
                "bootstrapServers": format!("{}:{port}", self.host()),
            });
            if let Some(own) = self.own.as_ref().filter(|_| *name == OWN.name) {
                shown["certificates"] = json!([own.chain]);
            } else if listener.is_tls() {
                shown["certificates"] = json!([certificate]);
            }
            shown
        });
        let listeners: Vec<Value> = listeners.collect();
        let version = self.kafka_version();
        let metadata_version = metadata_version(version);
        let mut status = json!({
            "clusterId": self.kafka.cluster_id(),
            "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": THEN }],
            "kafkaMetadataVersion": metadata_version,
            "kafkaNodePools": [{ "name": "dual" }],
            "kafkaVersion": version,
            "listeners": listeners,
            "operatorLastSuccessfulVersion": self.release.number(),
        });
        if self.release == Release::V0_45 {
            status["kafkaMetadataState"] = json!("KRaft");
            status["registeredNodeIds"] = json!(self.kafka.node_ids().collect::<Vec<_>>());
        }
        self.write_status("kafka", &self.cluster, status)
    }

    /// Writes that the cluster is not ready, for this reason (`Creating`, `ForbiddenException`, ..). The rest of the status
    /// stays as it was.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn set_not_ready(&self, reason: &str, message: &str) -> Result<()> {
        let condition = json!({
            "type": "NotReady", "status": "True", "lastTransitionTime": THEN, "reason": reason, "message": message,
        });
        self.write_status("kafka", &self.cluster, json!({ "conditions": [condition] }))
    }

    /// Replaces the cluster CA as Strimzi does: the Secret trusts the new and the old one, then the brokers show
    /// certificates of the new one. Clients that have mounted the Secret's `ca.crt` alone are out; the old one goes on in
    /// `ca-DATE.crt`.
    ///
    /// # Errors
    /// When the API server refuses something, or a broker does not start again.
    pub fn renew_cluster_authority(&self) -> Result<()> {
        self.trust_new_cluster_authority()?;
        self.serve_by_new_cluster_authority()
    }

    /// The first step of replacing the cluster CA: `ca.crt` of the Secret is the new one, while the brokers still show certificates of the
    /// old one, which has gone to `ca-DATE.crt`.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn trust_new_cluster_authority(&self) -> Result<()> {
        {
            let mut authorities = self.authorities();
            authorities.renewals += 1;
            let authority = Authority::new(&format!("e2e cluster-ca v{}", authorities.renewals))?;
            authorities.cluster.push(authority.certificate().to_owned());
            authorities.is_to_serve = Some(authority);
        }
        self.write_authorities()
    }

    /// The second step: every broker is started again, and shows a certificate of the new one.
    ///
    /// # Errors
    /// When the first step has not been made, the API server refuses something, or a broker does not start again.
    pub fn serve_by_new_cluster_authority(&self) -> Result<()> {
        let authority = self.authorities().is_to_serve.take().context("the authority is no new one")?;
        self.kafka.certificates().serve_by(&authority)?;
        for node in self.kafka.node_ids() {
            self.kafka.stop_node(node)?;
            self.kafka.start_node(node)?;
        }
        self.set_ready()
    }

    /// The last step, a reconciliation later: the Secret holds the new one alone.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn forget_old_cluster_authorities(&self) -> Result<()> {
        {
            let mut authorities = self.authorities();
            let old = authorities.cluster.len() - 1;
            authorities.cluster.drain(..old);
        }
        self.write_authorities()
    }

    /// Adds a user that comes in by a client certificate, with every permission.
    ///
    /// # Errors
    /// When the API server or the broker refuses something.
    pub fn add_user_tls(&self, name: &str) -> Result<()> {
        let principal = format!("CN={name}");
        let uid = self.write_user(name, "tls")?;
        let issued = self.kafka.certificates().clients().issue_client(name, None)?;
        let authority = self.kafka.certificates().clients().certificate().to_owned();
        let data = [("ca.crt", authority), ("user.crt", issued.certificate), ("user.key", issued.key)];
        self.apply(&secrets::of_user(&self.namespace, &self.cluster, name, self.release, &uid, &data))?;
        self.finish_user(name, &principal)
    }

    /// Adds a user that comes in by SCRAM-SHA-512, with every permission.
    ///
    /// # Errors
    /// When the API server or the broker refuses something.
    pub fn add_user_scram(&self, name: &str) -> Result<()> {
        let uid = self.write_user(name, "scram-sha-512")?;
        self.write_password(name, &uid)?;
        self.finish_user(name, name)
    }

    /// Gives a user that comes in by SCRAM-SHA-512 another password, in the broker and in its Secret.
    ///
    /// # Errors
    /// When the API server or the broker refuses something.
    pub fn change_password(&self, name: &str) -> Result<()> {
        let user = self.kubernetes.get(&["kafkauser", name, "--namespace", &self.namespace])?;
        self.write_password(name, user["metadata"]["uid"].as_str().context("an object has a uid")?)
    }

    /// Writes that a user is not ready, and why.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn set_user_not_ready(&self, name: &str, reason: &str, message: &str) -> Result<()> {
        let condition = json!({
            "type": "NotReady", "status": "True", "lastTransitionTime": THEN, "reason": reason, "message": message,
        });
        self.write_status("kafkauser", name, json!({ "conditions": [condition] }))
    }

    fn resources(&self) -> Value {
        let listeners = self.listeners().map(|Shown { name, port, authentication, listener }| {
            let mut spec = json!({ "name": name, "port": port, "type": "internal", "tls": listener.is_tls() });
            if let Some(kind) = authentication {
                spec["authentication"] = json!({ "type": kind });
            }
            if *name == OWN.name {
                let secret = json!({ "secretName": OWN_SECRET, "certificate": "tls.crt", "key": "tls.key" });
                spec["configuration"] = json!({ "brokerCertChainAndKey": secret });
            }
            spec
        });
        let listeners: Vec<Value> = listeners.collect();
        let version = self.kafka_version();
        let mut kafka = json!({
            "apiVersion": self.release.api_version(),
            "kind": "Kafka",
            "metadata": { "name": self.cluster, "namespace": self.namespace },
            "spec": {
                "kafka": {
                    "version": version,
                    "metadataVersion": metadata_version(version),
                    "listeners": listeners,
                    "authorization": { "type": "simple" },
                },
                "entityOperator": { "userOperator": {} },
            },
        });
        if self.release == Release::V0_45 {
            // Without these, that release would run it with ZooKeeper.
            kafka["metadata"]["annotations"] =
                json!({ "strimzi.io/kraft": "enabled", "strimzi.io/node-pools": "enabled" });
        }
        let pool = json!({
            "apiVersion": self.release.api_version(),
            "kind": "KafkaNodePool",
            "metadata": {
                "name": "dual", "namespace": self.namespace, "labels": { "strimzi.io/cluster": self.cluster },
            },
            "spec": {
                "replicas": self.kafka.node_ids().count(),
                "roles": ["controller", "broker"],
                "storage": { "type": "ephemeral" },
            },
        });
        let secret = self.own.as_ref().map(|own| {
            json!({
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": { "name": OWN_SECRET, "namespace": self.namespace },
                "stringData": { "tls.crt": own.chain, "tls.key": own.issued.key },
            })
        });
        let items: Vec<Value> = [kafka, pool].into_iter().chain(secret).collect();
        json!({ "apiVersion": "v1", "kind": "List", "items": items })
    }

    /// The bootstrap Service, without a selector: its endpoints are the brokers' ports on this machine.
    fn write_service(&self) -> Result<()> {
        let name = format!("{}-kafka-bootstrap", self.cluster);
        let metadata = json!({
            "name": name, "namespace": self.namespace, "labels": secrets::labels(&self.cluster, &format!("{}-kafka", self.cluster), "kafka"),
        });
        let port =
            |shown: &Shown| json!({ "name": format!("tcp-{}", shown.name), "port": shown.port, "protocol": "TCP" });
        let ports: Vec<Value> = self.listeners().map(port).collect();
        let mut items = vec![json!({
            "apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": { "type": "ClusterIP", "ports": ports },
        })];
        // Every broker has ports of its own, and so a slice of its own.
        for (index, node) in self.kafka.node_ids().enumerate() {
            let mut ports = Vec::new();
            for Shown { name, listener, .. } in self.listeners() {
                let servers = self.kafka.bootstrap(*listener);
                let port = servers.split(',').nth(index).and_then(|server| server.rsplit_once(':'));
                let port: u16 = port.context("a bootstrap server has a port")?.1.parse()?;
                ports.push(json!({ "name": format!("tcp-{name}"), "port": port, "protocol": "TCP" }));
            }
            items.push(json!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {
                    "name": format!("{name}-{node}"), "namespace": self.namespace,
                    "labels": { "kubernetes.io/service-name": name, "endpointslice.kubernetes.io/managed-by": "e2e" },
                },
                "addressType": "IPv4",
                "ports": ports,
                "endpoints": [{ "addresses": [self.kubernetes.host_ip()], "conditions": { "ready": true } }],
            }));
        }
        self.apply(&json!({ "apiVersion": "v1", "kind": "List", "items": items }))
    }

    /// The Secrets with the certificates of the cluster CA and of the clients CA.
    fn write_authorities(&self) -> Result<()> {
        let kafka = self.kubernetes.get(&["kafka", &self.cluster, "--namespace", &self.namespace])?;
        let uid = kafka["metadata"]["uid"].as_str().context("an object has a uid")?;
        let (cluster, renewals) = {
            let authorities = self.authorities();
            (secrets::keys_of_authorities(&authorities.cluster), authorities.renewals)
        };
        let clients = vec![("ca.crt".to_owned(), self.kafka.certificates().clients().certificate().to_owned())];
        for (suffix, generation, data) in [("cluster-ca-cert", renewals, cluster), ("clients-ca-cert", 0, clients)] {
            let name = format!("{}-{suffix}", self.cluster);
            let secret = secrets::Authorities { name: &name, generation, data: &data };
            self.apply(&secrets::of_authority(&self.namespace, &self.cluster, self.release, uid, &secret))?;
        }
        Ok(())
    }

    /// Writes a `KafkaUser` that may do everything, and gives its uid.
    fn write_user(&self, name: &str, kind: &str) -> Result<String> {
        let rule = |resource: Value| json!({ "resource": resource, "operations": ["All"], "host": "*" });
        let rules = [
            rule(json!({ "type": "topic", "name": "*", "patternType": "literal" })),
            rule(json!({ "type": "group", "name": "*", "patternType": "literal" })),
            rule(json!({ "type": "cluster" })),
        ];
        self.apply(&json!({
            "apiVersion": self.release.api_version(),
            "kind": "KafkaUser",
            "metadata": { "name": name, "namespace": self.namespace, "labels": { "strimzi.io/cluster": self.cluster } },
            "spec": { "authentication": { "type": kind }, "authorization": { "type": "simple", "acls": rules } },
        }))?;
        let user = self.kubernetes.get(&["kafkauser", name, "--namespace", &self.namespace])?;
        Ok(user["metadata"]["uid"].as_str().context("an object has a uid")?.to_owned())
    }

    fn write_password(&self, name: &str, uid: &str) -> Result<()> {
        let password = unique("password");
        self.kafka.add_user(name, &password)?;
        let module = Mechanism::ScramSha512.login_module();
        let jaas = format!("{module} required username=\"{name}\" password=\"{password}\";");
        let data = [("password", password), ("sasl.jaas.config", jaas)];
        self.apply(&secrets::of_user(&self.namespace, &self.cluster, name, self.release, uid, &data))
    }

    /// The permissions of a user, and the status that says where its credentials are.
    fn finish_user(&self, name: &str, principal: &str) -> Result<()> {
        let witness = self.kafka.witness();
        for (resource, of) in [("TOPIC", "*"), ("GROUP", "*"), ("CLUSTER", "kafka-cluster")] {
            witness.allow(&format!("User:{principal}"), "ALL", resource, of)?;
        }
        let ready = json!({ "type": "Ready", "status": "True", "lastTransitionTime": THEN });
        let status = json!({ "conditions": [ready], "secret": name, "username": principal });
        self.write_status("kafkauser", name, status)
    }

    /// Merges this into the status, with the generation that is there.
    fn write_status(&self, kind: &str, name: &str, mut status: Value) -> Result<()> {
        let resource = self.kubernetes.get(&[kind, name, "--namespace", &self.namespace])?;
        status["observedGeneration"] = resource["metadata"]["generation"].clone();
        let patch = json!({ "status": status }).to_string();
        let target = ["patch", kind, name, "--namespace", &self.namespace, "--subresource", "status"];
        let how = ["--type", "merge", "--field-manager", FIELD_MANAGER, "--patch", &patch];
        self.kubernetes.kubectl(&[&target[..], &how[..]].concat()).map(drop)
    }

    fn apply(&self, manifest: &Value) -> Result<()> {
        self.kubernetes.apply(&manifest.to_string())
    }

    fn host(&self) -> String {
        format!("{}-kafka-bootstrap.{}.svc", self.cluster, self.namespace)
    }

    fn kafka_version(&self) -> &'static str {
        self.kafka.version().number()
    }

    fn authorities(&self) -> MutexGuard<'_, Authorities> {
        self.authorities.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The metadata version that a release of Kafka begins with: `4.3-IV0` for `4.3.1`.
fn metadata_version(kafka_version: &str) -> String {
    let minor = kafka_version.rsplit_once('.').map_or(kafka_version, |(minor, _)| minor);
    format!("{minor}-IV0")
}
