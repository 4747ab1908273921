//! The operator as it is installed elsewhere: for some namespaces, for one API group, beside an older Strimzi, beside none, with an image
//! that cannot be pulled.
#![expect(clippy::unwrap_used, reason = "a failure in what tests share fails the test")]

use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use e2e::kafka::{Kafka, KafkaOptions, Listener, Version};
use e2e::kubernetes::{Kubernetes, KubernetesOptions};
use e2e::operator::{self, Applied, Operator, RELEASE, REPOSITORY, condition};
use e2e::sample::Sample;
use e2e::strimzi::{Release, Strimzi, StrimziOptions};
use e2e::unique;
use e2e::witness::Witness;
use serde_json::{Value, json};

const CLUSTER: &str = "my-cluster";

/// An API group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    /// `backup.strimzi.io`.
    Strimzi,
    /// `kafka.oso.sh`.
    Oso,
}

impl Group {
    const fn name(self) -> &'static str {
        match self {
            Self::Strimzi => "backup.strimzi.io",
            Self::Oso => "kafka.oso.sh",
        }
    }
}

/// A namespace with a claim for backups.
struct Place<'a> {
    kubernetes: &'a Kubernetes,
    namespace: String,
}

impl<'a> Place<'a> {
    fn make(kubernetes: &'a Kubernetes, stem: &str) -> Self {
        let namespace = kubernetes.make_namespace(stem, true).unwrap();
        let claim = format!(
            "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {{name: backups, namespace: {namespace}}}\n\
             spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: 1Gi}}}}}}\n"
        );
        kubernetes.apply(&claim).unwrap();
        Self { kubernetes, namespace }
    }

    fn apply(&self, group: Group, kind: &str, name: &str, spec: &[&str]) {
        let (group, namespace) = (group.name(), &self.namespace);
        let spec = spec.iter().fold(String::new(), |spec, line| format!("{spec}  {line}\n"));
        let manifest = format!(
            "apiVersion: {group}/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}, namespace: {namespace}}}\nspec:\n{spec}"
        );
        self.kubernetes.apply(&manifest).unwrap_or_else(|error| panic!("{error:#}\n{manifest}"));
    }

    /// A `KafkaBackup` of this topic to the claim; `cluster` says of which cluster.
    fn back_up(&self, group: Group, name: &str, cluster: &str, topic: &str) {
        let (topics, storage) = match group {
            Group::Strimzi => {
                (format!("topics: {{include: [{topic}]}}"), "storage: {type: pvc, pvc: {claimName: backups}}")
            }
            Group::Oso => (format!("topics: [{topic}]"), "storage: {storageType: pvc, pvc: {claimName: backups}}"),
        };
        self.apply(group, "KafkaBackup", name, &[cluster, &topics, storage]);
    }

    /// A `KafkaRestore` of what this `KafkaBackup` made, with the topic under another name.
    fn bring_back(&self, group: Group, name: &str, backup: &str, cluster: &str, topic: &str, target: &str) {
        let mapping = match group {
            Group::Strimzi => format!("topicMapping: [{{sourceTopic: {topic}, targetTopic: {target}}}]"),
            Group::Oso => format!("topicMapping: {{{topic}: {target}}}"),
        };
        self.apply(group, "KafkaRestore", name, &[cluster, &format!("backupRef: {{name: {backup}}}"), &mapping]);
    }

    fn get(&self, kind: &str, name: &str) -> Value {
        self.kubernetes.get(&[kind, name, "--namespace", &self.namespace]).unwrap()
    }

    fn wait(&self, group: Group, kind: &str, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let kind = format!("{kind}.{}", group.name());
        let resource = Applied { kubernetes: self.kubernetes, kind: &kind, namespace: &self.namespace, name };
        resource.wait(what, is_so).unwrap()
    }

    /// A backup and a restore to their ends, and all of it is back.
    fn round_trip(&self, group: Group, cluster: &str, witness: &Witness) -> String {
        let sample = Sample::write(witness, "orders", 500).unwrap();
        let (name, target) = (unique("orders"), unique("restored"));
        self.back_up(group, &name, cluster, &sample.topic);
        self.wait(group, "kafkabackups", &name, "completed", is_done);
        self.bring_back(group, &name, &name, cluster, &sample.topic, &target);
        self.wait(group, "kafkarestores", &name, "completed", is_done);
        sample.came_back_as(witness, &target).unwrap();
        name
    }

    /// What there is in it of this kind.
    fn objects(&self, kind: &str) -> Vec<Value> {
        self.kubernetes.get(&[kind, "--namespace", &self.namespace]).unwrap()["items"].as_array().unwrap().clone()
    }

    /// Reasons of the events about a resource.
    fn events_about(&self, name: &str) -> Vec<String> {
        let about = |event: &Value| event["involvedObject"]["name"] == name;
        let events = self.objects("events").into_iter().filter(about);
        events.map(|event| event["reason"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

/// Whether a backup or a restore has ended well.
fn is_done(resource: &Value) -> bool {
    condition(resource, "Ready").is_some_and(|ready| {
        ready["status"] == "True" && matches!(ready["reason"].as_str(), Some("BackupCompleted" | "RestoreCompleted"))
    })
}

/// The message of the condition that says that the resource is not ready, if it is for this reason.
fn waits_for<'a>(resource: &'a Value, group: Group, reasons: &[&str]) -> Option<&'a str> {
    let (type_, status) = match group {
        Group::Strimzi => ("NotReady", "True"),
        Group::Oso => ("Ready", "False"),
    };
    let condition = condition(resource, type_).filter(|condition| condition["status"] == status)?;
    reasons.iter().any(|reason| condition["reason"] == *reason).then(|| condition["message"].as_str()).flatten()
}

/// A cluster of Strimzi's by a user of Strimzi's.
fn of_strimzi(type_: &str, user: &str) -> String {
    format!(
        "strimziClusterRef: {{name: {CLUSTER}}}\n  authentication: {{type: {type_}, kafkaUserRef: {{name: {user}}}}}"
    )
}

fn by_addresses(bootstrap: &str) -> String {
    format!("kafkaCluster: {{bootstrapServers: ['{bootstrap}']}}")
}

/// A Strimzi that serves `v1beta2` alone, in the first of two namespaces that an operator watches and of three that there are.
struct Narrow {
    kubernetes: &'static Kubernetes,
    strimzi: Strimzi<'static>,
    watched: [Place<'static>; 2],
    other: Place<'static>,
    operator: Operator<'static>,
}

fn narrow() -> &'static Narrow {
    static NARROW: LazyLock<Narrow> = LazyLock::new(|| {
        let kubernetes = Kubernetes::shared();
        Release::V0_45.install(kubernetes).unwrap();
        let watched = ["team-a", "team-b"].map(|stem| Place::make(kubernetes, stem));
        let other = Place::make(kubernetes, "team-c");
        let options = StrimziOptions {
            release: Release::V0_45,
            namespace: watched[0].namespace.clone(),
            cluster: CLUSTER.to_owned(),
            kafka: KafkaOptions { version: Version::V3_9, ..KafkaOptions::default() },
            has_own_certificate: false,
        };
        let strimzi = Strimzi::start(kubernetes, options).unwrap();
        let namespaces = format!("watchNamespaces={{{},{}}}", watched[0].namespace, watched[1].namespace);
        let operator = Operator::install(kubernetes, "narrow-operator", &[&namespaces]).unwrap();
        Narrow { kubernetes, strimzi, watched, other, operator }
    });
    &NARROW
}

#[test]
fn beside_a_strimzi_that_serves_v1beta2_alone_by_a_certificate_and_by_a_password() {
    let Narrow { strimzi, watched: [team, _], .. } = narrow();
    strimzi.add_user_tls("by-certificate").unwrap();
    strimzi.add_user_scram("by-password").unwrap();
    assert_eq!(team.get("kafka", CLUSTER)["apiVersion"], "kafka.strimzi.io/v1beta2");
    let witness = strimzi.kafka().witness();
    team.round_trip(Group::Strimzi, &of_strimzi("tls", "by-certificate"), &witness);
    team.round_trip(Group::Strimzi, &of_strimzi("scram-sha-512", "by-password"), &witness);
}

#[test]
fn only_the_watched_namespaces_are_served_and_by_roles_alone() {
    let Narrow { kubernetes, strimzi, watched, other, operator } = narrow();
    let witness = strimzi.kafka().witness();
    let addresses = by_addresses(&strimzi.kafka().bootstrap(Listener::Plain));
    let open = format!("strimziClusterRef: {{name: {CLUSTER}}}");
    let left_alone = unique("left-alone");
    other.back_up(Group::Oso, &left_alone, &addresses, "orders");
    other.back_up(Group::Strimzi, &left_alone, &open, "orders");
    let served = [
        watched[0].round_trip(Group::Strimzi, &open, &witness),
        watched[1].round_trip(Group::Oso, &addresses, &witness),
    ];

    // What is in the third was there before, and nothing has come of it.
    for group in [Group::Strimzi, Group::Oso] {
        let found = other.get(&format!("kafkabackups.{}", group.name()), &left_alone);
        assert!(found["status"].is_null(), "{found:#}");
    }
    for kind in ["jobs", "cronjobs", "pods"] {
        assert_eq!(other.objects(kind), [] as [Value; 0]);
    }
    assert_eq!(other.events_about(&left_alone), [""; 0]);
    let metrics = operator.metrics().unwrap();
    for (place, name) in watched.iter().zip(&served) {
        assert!(place.events_about(name).contains(&"BackupCompleted".to_owned()), "{:?}", place.events_about(name));
        let (namespace, name) = (format!("namespace=\"{}\"", place.namespace), format!("name=\"{name}\""));
        let is_its = |line: &&str| line.contains(&namespace) && line.contains(&name);
        let of_it: Vec<&str> = metrics.lines().filter(is_its).collect();
        assert!(
            of_it.iter().any(|line| line.starts_with("kafka_backup_backup_records{") && line.ends_with(" 500")),
            "{of_it:#?}"
        );
    }
    assert!(!metrics.contains(&left_alone), "{metrics}");

    let is_its = |subject: &Value| subject["name"] == RELEASE && subject["namespace"] == operator.namespace();
    let bindings = |kind: &str| -> Vec<String> {
        let found = kubernetes.get(&[kind, "--all-namespaces"]).unwrap();
        let bindings = found["items"].as_array().unwrap().iter();
        bindings
            .filter(|binding| binding["subjects"].as_array().is_some_and(|subjects| subjects.iter().any(is_its)))
            .map(|binding| binding["metadata"]["namespace"].as_str().unwrap_or_default().to_owned())
            .collect()
    };
    assert_eq!(bindings("clusterrolebindings"), [""; 0]);
    let mut places = watched.each_ref().map(|place| place.namespace.clone());
    places.sort();
    assert_eq!(bindings("rolebindings"), places);
}

#[test]
fn an_image_that_cannot_be_pulled_is_named_and_the_run_goes_on_once_it_can() {
    let Narrow { kubernetes, strimzi, .. } = narrow();
    let place = Place::make(kubernetes, "pulling");
    // The operator runs already when its image goes from the node, and no registry has it.
    let (tag, image) = ("gone", format!("{REPOSITORY}:gone"));
    operator::load_image(kubernetes, tag).unwrap();
    let namespaces = format!("watchNamespaces={{{}}}", place.namespace);
    let values = ["image.tag=gone", "image.pullPolicy=IfNotPresent", &namespaces];
    let _operator = Operator::install(kubernetes, "pulling-operator", &values).unwrap();
    kubernetes.unload(&image).unwrap();

    let sample = Sample::write(&strimzi.kafka().witness(), "pulled", 500).unwrap();
    let name = unique("pulled");
    place.back_up(Group::Oso, &name, &by_addresses(&strimzi.kafka().bootstrap(Listener::Plain)), &sample.topic);
    for words in ["ErrImagePull", "ImagePullBackOff"] {
        let is_told = |found: &Value| {
            let told = waits_for(found, Group::Oso, &["ImagePullBackOff"]);
            told.is_some_and(|told| told.contains(&image) && told.contains(words) && !told.contains('\n'))
        };
        place.wait(Group::Oso, "kafkabackups", &name, &format!("{words} is told, with the image"), is_told);
    }
    operator::load_image(kubernetes, tag).unwrap();
    place.wait(Group::Oso, "kafkabackups", &name, "completed", is_done);
}

#[test]
fn a_kubernetes_without_strimzi_is_served_and_strimzi_is_found_when_it_comes() {
    let kubernetes = Kubernetes::start(KubernetesOptions::default()).unwrap();
    let operator = Operator::install(&kubernetes, "backup-operator", &[]).unwrap();
    let place = Place::make(&kubernetes, "kafka");
    let kafka = Kafka::start(KafkaOptions { address: kubernetes.host_ip(), ..KafkaOptions::default() }).unwrap();
    let (witness, addresses) = (kafka.witness(), by_addresses(&kafka.bootstrap(Listener::Plain)));

    // A backup of a cluster of Strimzi's is told what is missing; its restore waits for it.
    let sample = Sample::write(&witness, "waiting", 500).unwrap();
    let (waiting, target) = (unique("waiting"), unique("waiting-target"));
    let open = format!("strimziClusterRef: {{name: {CLUSTER}}}");
    place.back_up(Group::Strimzi, &waiting, &open, &sample.topic);
    place.bring_back(Group::Strimzi, &waiting, &waiting, &open, &sample.topic, &target);
    let misses = |found: &Value| {
        waits_for(found, Group::Strimzi, &["KafkaNotFound"])
            .is_some_and(|told| told.contains("no kafka.strimzi.io API: install Strimzi"))
    };
    place.wait(Group::Strimzi, "kafkabackups", &waiting, "it misses Strimzi", misses);
    place.round_trip(Group::Oso, &addresses, &witness);
    let found = place.get("kafkabackups.backup.strimzi.io", &waiting);
    assert!(misses(&found), "{found:#}");

    // Nobody tells the operator, nor starts it again.
    Release::V1_2.install(&kubernetes).unwrap();
    show_as_strimzi_does(&place, &kafka);
    for kind in ["kafkabackups", "kafkarestores"] {
        place.wait(Group::Strimzi, kind, &waiting, "completed", is_done);
    }
    sample.came_back_as(&witness, &target).unwrap();
    let pods = kubernetes.get(&["pods", "--namespace", operator.namespace()]).unwrap();
    assert_eq!(pods["items"][0]["status"]["containerStatuses"][0]["restartCount"], 0, "{}", operator.log());

    through_an_absence_of_the_api_server(&place, &addresses, &witness);
    without_the_second_group(&operator, &place, &addresses, &witness);
}

/// The API server goes away while a run is under way, and stays so until that has ended; what came of it is told all the same.
fn through_an_absence_of_the_api_server(place: &Place<'_>, addresses: &str, witness: &Witness) {
    let Place { kubernetes, .. } = place;
    let sample = Sample::write(witness, "away", 20_000).unwrap();
    let (name, target) = (unique("away"), unique("away-target"));
    let seconds = 10;
    let rate = sample.records * u64::from(Sample::VALUE_BYTES) / seconds;
    let limited = format!("{addresses}\n  rateLimit: {{bytesPerSecond: {rate}}}");
    place.back_up(Group::Oso, &name, &limited, &sample.topic);
    place.wait(Group::Oso, "kafkabackups", &name, "it is under way", |found| {
        found["status"]["activeRun"]["progress"]["records"].as_i64() > Some(0)
    });
    let server = kubernetes.component("kube-apiserver");
    server.stop().unwrap();
    thread::sleep(Duration::from_secs(seconds + 5));
    server.start().unwrap();
    kubernetes
        .wait_until("the API server answers", || Ok(kubernetes.kubectl(&["get", "--raw", "/readyz"]).is_ok()))
        .unwrap();
    let done = place.wait(Group::Oso, "kafkabackups", &name, "completed", is_done);
    assert_eq!(done["status"]["lastBackupRecords"], sample.records);
    assert_eq!(done["status"]["backupHistory"].as_array().unwrap().len(), 1, "{:#}", done["status"]);
    let jobs =
        place.objects("jobs").into_iter().filter(|job| job["metadata"]["ownerReferences"][0]["name"] == name[..]);
    assert_eq!(jobs.count(), 1);
    place.bring_back(Group::Oso, &name, &name, addresses, &sample.topic, &target);
    place.wait(Group::Oso, "kafkarestores", &name, "completed", is_done);
    sample.came_back_as(witness, &target).unwrap();
}

/// Writes a `Kafka` that leads to this broker, by its listener without TLS.
fn show_as_strimzi_does(place: &Place<'_>, kafka: &Kafka) {
    let kubernetes = place.kubernetes;
    let resource = json!({
        "apiVersion": Release::V1_2.api_version(),
        "kind": "Kafka",
        "metadata": { "name": CLUSTER, "namespace": place.namespace },
        "spec": { "kafka": { "listeners": [{ "name": "plain", "port": 9092, "type": "internal", "tls": false }] } },
    });
    kubernetes.apply(&resource.to_string()).unwrap();
    let listener = json!({ "name": "plain", "bootstrapServers": kafka.bootstrap(Listener::Plain) });
    let status = json!({
        "observedGeneration": 1,
        "conditions": [{ "type": "Ready", "status": "True", "lastTransitionTime": "2026-10-02T11:00:31Z" }],
        "listeners": [listener],
    });
    let patch = json!({ "status": status }).to_string();
    let target = ["patch", "kafka", CLUSTER, "--namespace", &place.namespace, "--subresource=status"];
    kubernetes.kubectl(&[&target[..], &["--type=merge", "--patch", &patch]].concat()).unwrap();
}

/// `apis.kafkaOso.enabled=false`, with the definitions of that group and without.
fn without_the_second_group(operator: &Operator<'_>, place: &Place<'_>, addresses: &str, witness: &Witness) {
    operator.upgrade(&["apis.kafkaOso.enabled=false"]).unwrap();
    let left_alone = unique("left-alone");
    let open = format!("strimziClusterRef: {{name: {CLUSTER}}}");
    place.back_up(Group::Oso, &left_alone, addresses, "orders");
    place.round_trip(Group::Strimzi, &open, witness);
    let found = place.get("kafkabackups.kafka.oso.sh", &left_alone);
    assert!(found["status"].is_null(), "{found:#}");
    assert_eq!(place.events_about(&left_alone), [""; 0]);
    let is_about_it = |text: &str| text.contains(Group::Oso.name());
    assert!(!is_about_it(&operator.metrics().unwrap()));
    // It has no right to watch them: one that tried would say so.
    assert!(!is_about_it(&operator.log()), "{}", operator.log());

    let definitions = ["kafkabackups", "kafkarestores"].map(|plural| format!("{plural}.{}", Group::Oso.name()));
    let delete = ["delete", "crd", &definitions[0], &definitions[1], "--timeout=60s"];
    place.kubernetes.kubectl(&delete).unwrap();
    operator.kill().unwrap();
    operator.wait_until_ready().unwrap();
    place.round_trip(Group::Strimzi, &open, witness);
    assert!(!is_about_it(&operator.log()), "{}", operator.log());
}
