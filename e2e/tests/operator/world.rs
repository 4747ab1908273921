//! What the tests share: a cluster with the operator, a Kafka cluster of Strimzi's, a store, and the Secrets of both.

use std::fmt::Write;
use std::sync::LazyLock;

use e2e::kafka::{KafkaOptions, User};
use e2e::kubernetes::Kubernetes;
use e2e::minio::{ACCESS_KEY_ID, Minio, MinioOptions, SECRET_ACCESS_KEY};
use e2e::operator::{Applied, Operator};
use e2e::strimzi::{Release, Strimzi, StrimziOptions};
use e2e::witness::Witness;
use serde_json::{Value, json};

pub const NAMESPACE: &str = "kafka";
pub const CLUSTER: &str = "my-cluster";
/// The store as pods find it: by the name of a Service.
const STORE: &str = "http://minio.kafka.svc:9000";

/// An API group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// `backup.strimzi.io`.
    Strimzi,
    /// `kafka.oso.sh`.
    Oso,
}

/// How a resource authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Not at all.
    Open,
    /// By a certificate of a `KafkaUser`.
    TlsUser,
    /// By a certificate in a Secret of one's own.
    TlsByHand,
    /// By the password of a `KafkaUser`.
    ScramUser,
    /// By SCRAM-SHA-512 and a Secret of one's own.
    ScramByHand,
    /// By SCRAM-SHA-256, likewise.
    Scram256,
    /// By PLAIN, likewise.
    Plain,
}

/// Where backups are kept.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// Below this prefix of the bucket.
    S3(&'a str),
    /// In this claim.
    Pvc(&'a str),
}

pub struct World {
    pub kubernetes: &'static Kubernetes,
    pub strimzi: Strimzi<'static>,
    pub minio: Minio,
    pub bucket: String,
    pub operator: Operator<'static>,
}

pub fn world() -> &'static World {
    static WORLD: LazyLock<World> = LazyLock::new(make);
    &WORLD
}

fn make() -> World {
    let kubernetes = Kubernetes::shared();
    Release::V1_2.install(kubernetes).unwrap();
    let minio = Minio::start(MinioOptions { address: kubernetes.host_ip(), ..MinioOptions::default() }).unwrap();
    let bucket = minio.make_bucket("operator").unwrap();
    let namespace = format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {NAMESPACE}\n  labels: {{pod-security.kubernetes.io/enforce: restricted}}\n"
    );
    kubernetes.apply(&namespace).unwrap();
    kubernetes.apply(&service_of(&minio).to_string()).unwrap();
    let options = StrimziOptions {
        release: Release::V1_2,
        namespace: NAMESPACE.to_owned(),
        cluster: CLUSTER.to_owned(),
        kafka: KafkaOptions::default(),
        has_own_certificate: false,
    };
    let strimzi = Strimzi::start(kubernetes, options).unwrap();
    strimzi.add_user_tls("backup-user").unwrap();
    strimzi.add_user_scram("backup-scram").unwrap();
    kubernetes.apply(&secrets(&strimzi)).unwrap();
    let operator = Operator::install(kubernetes, "backup-operator", &[]).unwrap();
    World { kubernetes, strimzi, minio, bucket, operator }
}

/// A Service that leads to the store on this machine.
fn service_of(minio: &Minio) -> Value {
    let endpoint = minio.endpoint();
    let (address, port) = endpoint.trim_start_matches("http://").rsplit_once(':').unwrap();
    let port: u16 = port.parse().unwrap();
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": "minio", "namespace": NAMESPACE },
        "spec": { "ports": [{ "name": "s3", "port": 9000 }] },
    });
    let slice = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": { "name": "minio", "namespace": NAMESPACE, "labels": { "kubernetes.io/service-name": "minio" } },
        "addressType": "IPv4",
        "ports": [{ "name": "s3", "port": port }],
        "endpoints": [{ "addresses": [address] }],
    });
    json!({ "apiVersion": "v1", "kind": "List", "items": [service, slice] })
}

/// The Secrets that a user without Strimzi makes by hand, and those of the store.
fn secrets(strimzi: &Strimzi<'_>) -> String {
    let certificates = strimzi.kafka().certificates();
    let pem = |text: &str| text.lines().fold(String::new(), |all, line| format!("{all}    {line}\n"));
    let client = certificates.clients().issue_client("by-hand", None).unwrap();
    let mut manifests = format!(
        "apiVersion: v1
kind: Secret
metadata: {{name: s3-keys, namespace: {NAMESPACE}}}
stringData: {{accessKey: {ACCESS_KEY_ID}, secretKey: {SECRET_ACCESS_KEY}}}
---
apiVersion: v1
kind: Secret
metadata: {{name: aws-credentials, namespace: {NAMESPACE}}}
stringData:
  credentials: |
    [default]
    aws_access_key_id = {ACCESS_KEY_ID}
    aws_secret_access_key = {SECRET_ACCESS_KEY}
---
apiVersion: v1
kind: Secret
metadata: {{name: by-hand-tls, namespace: {NAMESPACE}}}
stringData:
  ca.crt: |
{}  tls.crt: |
{}  tls.key: |
{}",
        pem(&std::fs::read_to_string(certificates.file("ca.crt")).unwrap()),
        pem(&client.certificate),
        pem(&client.key),
    );
    for User { name, password, .. } in [User::SCRAM_256, User::SCRAM_512, User::PLAIN] {
        write!(
            manifests,
            "---
apiVersion: v1
kind: Secret
metadata: {{name: {name}, namespace: {NAMESPACE}}}
stringData: {{username: {name}, password: {password}}}
"
        )
        .unwrap();
    }
    for (resource, of) in [("TOPIC", "*"), ("GROUP", "*"), ("CLUSTER", "kafka-cluster"), ("TRANSACTIONAL_ID", "*")] {
        for user in ["CN=by-hand", User::SCRAM_256.name, User::SCRAM_512.name, User::PLAIN.name] {
            strimzi.kafka().witness().allow(&format!("User:{user}"), "ALL", resource, of).unwrap();
        }
    }
    manifests
}

impl World {
    pub fn witness(&self) -> Witness {
        self.strimzi.kafka().witness()
    }

    pub fn backup<'a>(&'a self, group: Group, name: &'a str) -> Applied<'a> {
        let kind = match group {
            Group::Strimzi => "kafkabackups.backup.strimzi.io",
            Group::Oso => "kafkabackups.kafka.oso.sh",
        };
        Applied { kubernetes: self.kubernetes, kind, namespace: NAMESPACE, name }
    }

    pub fn restore<'a>(&'a self, group: Group, name: &'a str) -> Applied<'a> {
        let kind = match group {
            Group::Strimzi => "kafkarestores.backup.strimzi.io",
            Group::Oso => "kafkarestores.kafka.oso.sh",
        };
        Applied { kubernetes: self.kubernetes, kind, namespace: NAMESPACE, name }
    }

    /// Applies a resource whose spec is these lines.
    pub fn apply(&self, group: Group, kind: &str, name: &str, spec: &[&str]) {
        let manifest = manifest(group, kind, name, spec);
        self.kubernetes.apply(&manifest).unwrap_or_else(|error| panic!("{error:#}\n{manifest}"));
    }

    /// The lines of a spec that say which cluster, and how.
    pub fn cluster(&self, group: Group, way: Way) -> String {
        match group {
            Group::Strimzi => {
                let authentication = match way {
                    Way::Open => return format!("strimziClusterRef: {{name: {CLUSTER}}}"),
                    Way::TlsUser => "{type: tls, kafkaUserRef: {name: backup-user}}",
                    Way::TlsByHand => {
                        "{type: tls, certificateAndKey: {secretName: by-hand-tls, certificate: tls.crt, key: tls.key}}"
                    }
                    Way::ScramUser => "{type: scram-sha-512, kafkaUserRef: {name: backup-scram}}",
                    Way::ScramByHand => {
                        "{type: scram-sha-512, username: scram512, passwordSecret: {name: scram512, key: password}}"
                    }
                    Way::Scram256 | Way::Plain => panic!("Strimzi has no {way:?}"),
                };
                format!("strimziClusterRef: {{name: {CLUSTER}}}\n  authentication: {authentication}")
            }
            Group::Oso => format!("kafkaCluster: {}", self.addresses(way)),
        }
    }

    /// A cluster by addresses.
    pub fn addresses(&self, way: Way) -> String {
        let sasl = |mechanism: &str, user: &str| {
            format!(
                "{{bootstrapServers: ['{}'], securityProtocol: SASL_SSL, tlsSecret: {{name: by-hand-tls}}, saslSecret: {{name: {user}, mechanism: {mechanism}}}}}",
                self.strimzi.bootstrap("scram")
            )
        };
        match way {
            Way::Open => format!("{{bootstrapServers: ['{}']}}", self.strimzi.bootstrap("plain")),
            Way::TlsByHand => format!(
                "{{bootstrapServers: ['{}'], securityProtocol: SSL, tlsSecret: {{name: by-hand-tls, caKey: ca.crt, certKey: tls.crt, keyKey: tls.key}}}}",
                self.strimzi.bootstrap("tls")
            ),
            Way::ScramByHand => sasl("SCRAM-SHA-512", "scram512"),
            Way::Scram256 => sasl("SCRAM-SHA-256", "scram256"),
            Way::Plain => sasl("PLAIN", "plainuser"),
            Way::TlsUser | Way::ScramUser => panic!("{way:?} is Strimzi's"),
        }
    }

    /// The line of a spec that says where backups are kept.
    pub fn storage(&self, group: Group, place: Place<'_>) -> String {
        let (bucket, endpoint) = (&self.bucket, STORE);
        match (group, place) {
            (Group::Strimzi, Place::S3(prefix)) => format!(
                "storage: {{type: s3, s3: {{bucket: {bucket}, prefix: {prefix}, endpoint: '{endpoint}', region: us-east-1, forcePathStyle: true, credentialsSecret: {{name: aws-credentials, key: credentials}}}}}}"
            ),
            (Group::Oso, Place::S3(prefix)) => format!(
                "storage: {{storageType: s3, s3: {{bucket: {bucket}, prefix: {prefix}, endpoint: '{endpoint}', region: us-east-1, credentialsSecret: {{name: s3-keys}}}}}}"
            ),
            (Group::Strimzi, Place::Pvc(claim)) => {
                format!("storage: {{type: pvc, pvc: {{claimName: {claim}, subPath: kafka}}}}")
            }
            (Group::Oso, Place::Pvc(claim)) => {
                format!("storage: {{storageType: pvc, pvc: {{claimName: {claim}, subPath: kafka}}}}")
            }
        }
    }

    /// The line of a spec that names topics of a backup.
    pub fn topics(&self, group: Group, topic: &str) -> String {
        match group {
            Group::Strimzi => format!("topics: {{include: [{topic}]}}"),
            Group::Oso => format!("topics: [{topic}]"),
        }
    }

    /// The line of a spec that gives a topic another name.
    pub fn mapping(&self, group: Group, source: &str, target: &str) -> String {
        match group {
            Group::Strimzi => format!("topicMapping: [{{sourceTopic: {source}, targetTopic: {target}}}]"),
            Group::Oso => format!("topicMapping: {{{source}: {target}}}"),
        }
    }

    pub fn make_claim(&self, name: &str) {
        self.make_claim_in(NAMESPACE, name);
    }

    pub fn make_claim_in(&self, namespace: &str, name: &str) {
        let claim = format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: {name}, namespace: {namespace}}}\n\
             spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
        );
        self.kubernetes.apply(&claim).unwrap();
    }

    /// The Jobs of a resource, by its uid.
    pub fn jobs_of(&self, resource: &Value) -> Vec<Value> {
        let metadata = |field: &str| resource["metadata"][field].as_str().unwrap();
        let selector = format!("backup.strimzi.io/resource-uid={}", metadata("uid"));
        let jobs = ["jobs", "--namespace", metadata("namespace"), "--selector", &selector];
        let jobs = self.kubernetes.get(&jobs).unwrap();
        jobs["items"].as_array().unwrap().clone()
    }

    /// The ids of the complete backups below a prefix of the bucket, as the engine lists them.
    pub fn listed(&self, prefix: &str, archive: &str) -> Vec<String> {
        let storage = self.minio.url(&self.bucket, prefix);
        let cli =
            e2e::cli::Cli::new(["list", "--storage", &storage, "--archive", archive, "--output", "json"]).unwrap();
        let cli = self.minio.environment().into_iter().fold(cli, |cli, (name, value)| cli.env(name, value));
        let listed = cli.run().unwrap().succeeded().json().unwrap();
        let backups = listed["archives"][0]["backups"].as_array().unwrap_or_else(|| panic!("{listed:#}"));
        backups.iter().map(|backup| backup["backupId"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn manifest(group: Group, kind: &str, name: &str, spec: &[&str]) -> String {
    manifest_in(NAMESPACE, group, kind, name, spec)
}

pub fn manifest_in(namespace: &str, group: Group, kind: &str, name: &str, spec: &[&str]) -> String {
    let group = match group {
        Group::Strimzi => "backup.strimzi.io",
        Group::Oso => "kafka.oso.sh",
    };
    let spec = spec.iter().fold(String::new(), |spec, line| format!("{spec}  {line}\n"));
    format!(
        "apiVersion: {group}/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{spec}"
    )
}

/// Whether a backup or a restore has ended well, in either group's words.
pub fn is_done(resource: &Value) -> bool {
    let ready = e2e::operator::condition(resource, "Ready");
    ready.is_some_and(|ready| {
        ready["status"] == "True" && matches!(ready["reason"].as_str(), Some("BackupCompleted" | "RestoreCompleted"))
    })
}

/// The id of the newest complete backup.
pub fn newest(group: Group, backup: &Value) -> Option<String> {
    let id = match group {
        Group::Strimzi => &backup["status"]["lastBackup"]["id"],
        Group::Oso => &backup["status"]["lastBackupId"],
    };
    id.as_str().map(str::to_owned)
}
