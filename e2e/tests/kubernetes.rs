//! A real Kubernetes, and what of the machine its pods reach: what the tests of the operator rest on.
#![expect(clippy::unwrap_used, reason = "a failure in what tests share fails the test")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use e2e::cli;
use e2e::dump::Record;
use e2e::image::Image;
use e2e::kafka::{KafkaOptions, Listener, User, Version};
use e2e::kubernetes::{Kubernetes, KubernetesOptions, TOOLS_IMAGE, VERSION};
use e2e::minio::{ACCESS_KEY_ID, Minio, MinioOptions, SECRET_ACCESS_KEY};
use e2e::process::started_ticks;
use e2e::strimzi::{Release, Strimzi, StrimziOptions};
use e2e::unique;
use e2e::witness::{NewTopic, Witness, properties};
use serde_json::Value;
use strimzi_discovery::{Connection, Credentials, Identity, SecretKey, Trust, connect};

const PROJECT_IMAGE: &str = "localhost/strimzi-backup-operator:e2e";

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(120);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not happen in 120 s");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A Job of one pod that keeps to the restricted Pod Security Standard; `pod` is what the container has beside that.
fn job(namespace: &str, name: &str, image: &str, container: &str, volumes: &str) -> String {
    format!(
        "apiVersion: batch/v1
kind: Job
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  backoffLimit: 0
  template:
    spec:
      restartPolicy: Never
      automountServiceAccountToken: false
      securityContext: {{runAsNonRoot: true, runAsUser: 65532, fsGroup: 65532, seccompProfile: {{type: RuntimeDefault}}}}
      volumes: [{volumes}]
      containers:
      - name: main
        image: {image}
        imagePullPolicy: Never
        securityContext: {{allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {{drop: [ALL]}}}}
{container}"
    )
}

/// The shared cluster with the project's image in it.
fn with_image() -> &'static Kubernetes {
    static LOADED: std::sync::Once = std::sync::Once::new();
    let kubernetes = Kubernetes::shared();
    LOADED.call_once(|| {
        let programs = [("kafka-backup", cli::binary().unwrap().as_path())];
        kubernetes.load(&Image::of_project(PROJECT_IMAGE, &programs).unwrap()).unwrap();
    });
    kubernetes
}

#[test]
fn the_node_is_ready_and_is_of_the_version_that_was_built() {
    let kubernetes = Kubernetes::shared();
    let node = kubernetes.get(&["node", &kubernetes.node_name()]).unwrap();
    assert_eq!(node["status"]["nodeInfo"]["kubeletVersion"], format!("v{VERSION}"));
    let version: serde_json::Value =
        serde_json::from_str(&kubernetes.kubectl(&["get", "--raw", "/version"]).unwrap()).unwrap();
    assert_eq!(version["gitVersion"], format!("v{VERSION}"));
    assert!(kubernetes.helm(&["list", "--all-namespaces"]).unwrap().starts_with("NAME"));
}

#[test]
fn a_pod_reads_a_secret_from_a_file_and_from_its_environment() {
    let kubernetes = Kubernetes::shared();
    let namespace = kubernetes.make_namespace("secrets", true).unwrap();
    kubernetes
        .apply(&format!(
            "apiVersion: v1\nkind: Secret\nmetadata: {{name: credentials, namespace: {namespace}}}\n\
             stringData: {{password: from a file, variable: from a variable}}\n"
        ))
        .unwrap();
    let container = "        command: [sh, -c, 'cat /secrets/password; echo; echo $VARIABLE']
        env: [{name: VARIABLE, valueFrom: {secretKeyRef: {name: credentials, key: variable}}}]
        volumeMounts: [{name: secret, mountPath: /secrets, readOnly: true}]\n";
    let volumes = "{name: secret, secret: {secretName: credentials}}";
    kubernetes.apply(&job(&namespace, "reader", TOOLS_IMAGE, container, volumes)).unwrap();
    assert_eq!(kubernetes.wait_for_job(&namespace, "reader").unwrap(), "from a file\nfrom a variable\n");
}

#[test]
fn a_job_that_fails_is_told_with_what_its_pod_said() {
    let kubernetes = Kubernetes::shared();
    let namespace = kubernetes.make_namespace("failing", true).unwrap();
    let container = "        command: [sh, -c, 'echo this went wrong; exit 3']\n";
    kubernetes.apply(&job(&namespace, "failing", TOOLS_IMAGE, container, "")).unwrap();
    let error = format!("{:#}", kubernetes.wait_for_job(&namespace, "failing").unwrap_err());
    assert!(error.contains("this went wrong") && error.contains("BackoffLimitExceeded"), "{error}");
}

#[test]
fn a_namespace_that_is_restricted_refuses_a_pod_of_root() {
    let kubernetes = Kubernetes::shared();
    let namespace = kubernetes.make_namespace("restricted", true).unwrap();
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: root, namespace: {namespace}}}\n\
         spec: {{containers: [{{name: main, image: '{TOOLS_IMAGE}'}}]}}\n"
    );
    let error = kubernetes.apply(&pod).unwrap_err().to_string();
    assert!(error.contains("violates PodSecurity \"restricted"), "{error}");
}

#[test]
fn the_image_of_the_project_runs_restricted() {
    let kubernetes = with_image();
    let namespace = kubernetes.make_namespace("image", true).unwrap();
    let container = "        args: [--version]\n";
    kubernetes.apply(&job(&namespace, "version", PROJECT_IMAGE, container, "")).unwrap();
    let said = kubernetes.wait_for_job(&namespace, "version").unwrap();
    assert_eq!(said, cli::run(["--version"]).unwrap().succeeded().stdout);
}

/// A cluster of Strimzi's current release, in a namespace of its own of the shared cluster.
fn strimzi() -> &'static Strimzi<'static> {
    static STRIMZI: LazyLock<Strimzi<'static>> = LazyLock::new(|| {
        let kubernetes = Kubernetes::shared();
        Release::V1_2.install(kubernetes).unwrap();
        let namespace = kubernetes.make_namespace("kafka", true).unwrap();
        let (cluster, kafka) = ("my-cluster".to_owned(), KafkaOptions::default());
        Strimzi::start(
            kubernetes,
            StrimziOptions { release: Release::V1_2, namespace, cluster, kafka, has_own_certificate: false },
        )
        .unwrap()
    });
    &STRIMZI
}

/// Where and how this user of Strimzi's connects, by what the API server holds of it.
fn connection(kubernetes: &Kubernetes, strimzi: &Strimzi<'_>, user: &str) -> Connection {
    let get = |kind: &str, name: &str| kubernetes.get(&[kind, name, "--namespace", strimzi.namespace()]).unwrap();
    let kafka: strimzi_discovery::Kafka = serde_json::from_value(get("kafka", strimzi.cluster())).unwrap();
    let user: strimzi_discovery::KafkaUser = serde_json::from_value(get("kafkauser", user)).unwrap();
    connect(&kafka, Identity::User(&user), None).unwrap()
}

/// A Job that backs up a topic to `storage` by this connection, with Secrets as files, into an archive of this name.
fn back_up(namespace: &str, connection: &Connection, archive: &str, topic: &str, storage: &str) -> String {
    let bootstrap = connection.bootstrap_servers.join(",");
    let protocol = connection.security_protocol.as_str();
    let mut arguments = vec!["backup", "--bootstrap-servers", &bootstrap, "--security-protocol", protocol];
    arguments.extend(["--archive", archive, "--topics", topic, "--storage", storage, "--ca-file", "/authority/ca.crt"]);
    let Some(Trust::ClusterCa { secret: authority }) = &connection.trust else { panic!("{connection:?}") };
    let file = |key: &SecretKey| format!("/user/{}", key.key);
    let (files, secret);
    match connection.credentials.as_ref().unwrap() {
        Credentials::Tls { certificate, key } => {
            (files, secret) = ([file(certificate), file(key)], &key.secret);
            arguments.extend(["--cert-file", &files[0], "--key-file", &files[1]]);
        }
        Credentials::ScramSha512 { username, password } => {
            (files, secret) = ([file(password), String::new()], &password.secret);
            arguments.extend([
                "--sasl-mechanism",
                "SCRAM-SHA-512",
                "--username",
                username,
                "--password-file",
                &files[0],
            ]);
        }
    }
    let arguments = serde_json::to_string(&arguments).unwrap();
    let container = format!(
        "        args: {arguments}
        env: [{{name: AWS_ACCESS_KEY_ID, value: {ACCESS_KEY_ID}}}, {{name: AWS_SECRET_ACCESS_KEY, value: {SECRET_ACCESS_KEY}}}]
        volumeMounts: [{{name: authority, mountPath: /authority, readOnly: true}}, {{name: user, mountPath: /user, readOnly: true}}]\n"
    );
    let volumes = format!(
        "{{name: authority, secret: {{secretName: {authority}}}}}, {{name: user, secret: {{secretName: {secret}}}}}"
    );
    job(namespace, &unique(archive), PROJECT_IMAGE, &container, &volumes)
}

fn run(kubernetes: &Kubernetes, strimzi: &Strimzi<'_>, manifest: &str) -> anyhow::Result<String> {
    let name = manifest.lines().find_map(|line| line.strip_prefix("metadata: {name: ")).unwrap();
    kubernetes.apply(manifest)?;
    kubernetes.wait_for_job(strimzi.namespace(), name.split(',').next().unwrap())
}

#[test]
fn a_pod_backs_up_to_a_bucket_as_a_user_of_strimzi_and_after_its_credentials_have_changed() {
    let (kubernetes, strimzi) = (with_image(), strimzi());
    let minio = Minio::start(MinioOptions { address: kubernetes.host_ip(), ..MinioOptions::default() }).unwrap();
    let storage = minio.url(&minio.make_bucket("pods").unwrap(), "backups");
    let (topic, witness) = (unique("orders"), strimzi.kafka().witness());
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    witness.produce(&topic, &properties([]), &[Record::new(0, 1_767_225_600_000, "k", "v")]).unwrap();
    strimzi.add_user_tls("by-certificate").unwrap();
    strimzi.add_user_scram("by-password").unwrap();
    let try_as = |user: &str| {
        let connection = connection(kubernetes, strimzi, user);
        let manifest = back_up(strimzi.namespace(), &connection, user, &topic, &storage);
        run(kubernetes, strimzi, &manifest).unwrap();
        (connection.listener, connection.bootstrap_servers)
    };
    // The names of the bootstrap servers are those of a Service: the pod looks them up.
    assert_eq!(try_as("by-certificate"), ("tls".to_owned(), vec![strimzi.bootstrap("tls")]));
    assert_eq!(try_as("by-password"), ("scram".to_owned(), vec![strimzi.bootstrap("scram")]));
    strimzi.change_password("by-password").unwrap();
    try_as("by-password");

    let list = minio
        .environment()
        .into_iter()
        .fold(cli::Cli::new(["list", "--storage", &storage, "--output", "json"]).unwrap(), |cli, (name, value)| {
            cli.env(name, value)
        });
    let listed = list.run().unwrap().succeeded().stdout;
    assert!(listed.contains("by-certificate") && listed.contains("by-password"), "{listed}");
}

#[test]
fn a_renewed_authority_is_current_and_the_one_before_it_still_there() {
    let kubernetes = Kubernetes::shared();
    strimzi();
    let namespace = kubernetes.make_namespace("renewal", false).unwrap();
    let (cluster, kafka) = ("renewed".to_owned(), KafkaOptions::default());
    let options = StrimziOptions {
        release: Release::V1_2,
        namespace: namespace.clone(),
        cluster,
        kafka,
        has_own_certificate: false,
    };
    let strimzi = Strimzi::start(kubernetes, options).unwrap();
    let secret = || kubernetes.get(&["secret", "renewed-cluster-ca-cert", "--namespace", &namespace]).unwrap();
    let before = secret();
    strimzi.renew_cluster_authority().unwrap();
    let after = secret();
    let keys: Vec<&String> = after["data"].as_object().unwrap().keys().collect();
    assert_eq!(keys, ["ca-2027-10-02T11-00-31Z.crt", "ca.crt"]);
    assert_eq!(after["data"]["ca-2027-10-02T11-00-31Z.crt"], before["data"]["ca.crt"]);
    assert_ne!(after["data"]["ca.crt"], before["data"]["ca.crt"]);
    // The broker shows a certificate that only the new authority has signed, and the status shows that one.
    let folder = tempfile::tempdir().unwrap();
    let trusts = |key: &str| {
        let pem = kubernetes
            .kubectl(&[
                "get",
                "secret",
                "renewed-cluster-ca-cert",
                "--namespace",
                &namespace,
                "--output",
                &format!("go-template={{{{index .data \"{key}\" | base64decode}}}}"),
            ])
            .unwrap();
        let path = folder.path().join(key);
        std::fs::write(&path, &pem).unwrap();
        let mut properties = strimzi.kafka().client_properties(Listener::SaslTls, Some(&User::SCRAM_512));
        properties.insert("ssl.truststore.location".to_owned(), path.display().to_string());
        (pem, Witness::connect(properties).list_groups())
    };
    let (current, outcome) = trusts("ca.crt");
    outcome.unwrap();
    let status = kubernetes.get(&["kafka", "renewed", "--namespace", &namespace]).unwrap()["status"].clone();
    assert_eq!(status["listeners"][1]["certificates"], serde_json::json!([current]));
    let error = format!("{:#}", trusts("ca-2027-10-02T11-00-31Z.crt").1.unwrap_err());
    assert!(error.contains("SslAuthenticationException"), "{error}");
    strimzi.forget_old_cluster_authorities().unwrap();
    let alone = secret();
    assert_eq!(alone["data"].as_object().unwrap().keys().collect::<Vec<_>>(), ["ca.crt"]);
    let generation = "strimzi.io/ca-cert-generation";
    assert_eq!(alone["metadata"]["annotations"][generation], "1");
}

/// What is true of a `Kafka` and its users, whatever the release.
fn assert_is_shown(kubernetes: &Kubernetes, strimzi: &Strimzi<'_>, api_version: &str) {
    let namespace = strimzi.namespace();
    let condition = |resource: &Value| {
        let condition = &resource["status"]["conditions"][0];
        (condition["type"].as_str().unwrap().to_owned(), condition["status"].as_str().unwrap().to_owned())
    };
    let ready = ("Ready".to_owned(), "True".to_owned());
    let kafka = kubernetes.get(&["kafka", strimzi.cluster(), "--namespace", namespace]).unwrap();
    assert_eq!((kafka["apiVersion"].as_str().unwrap(), condition(&kafka)), (api_version, ready.clone()));
    assert_eq!(kafka["status"]["observedGeneration"], kafka["metadata"]["generation"]);
    assert_eq!(kafka["status"]["clusterId"], strimzi.kafka().cluster_id());
    let servers = |listener: &Value| listener["bootstrapServers"].as_str().unwrap().to_owned();
    let shown: Vec<String> = kafka["status"]["listeners"].as_array().unwrap().iter().map(servers).collect();
    let expected: Vec<String> = ["plain", "tls", "scram", "scramplain"].map(|name| strimzi.bootstrap(name)).to_vec();
    assert_eq!(shown, expected);

    strimzi.add_user_tls("shown-tls").unwrap();
    strimzi.add_user_scram("shown-scram").unwrap();
    for (name, username, keys) in [
        ("shown-tls", "CN=shown-tls", ["ca.crt", "user.crt", "user.key"].as_slice()),
        ("shown-scram", "shown-scram", ["password", "sasl.jaas.config"].as_slice()),
    ] {
        let user = kubernetes.get(&["kafkauser", name, "--namespace", namespace]).unwrap();
        assert_eq!((condition(&user), &user["status"]["username"]), (ready.clone(), &Value::from(username)));
        let secret = user["status"]["secret"].as_str().unwrap();
        let secret = kubernetes.get(&["secret", secret, "--namespace", namespace]).unwrap();
        assert_eq!(secret["data"].as_object().unwrap().keys().collect::<Vec<_>>(), keys);
        assert_eq!(secret["metadata"]["labels"]["strimzi.io/cluster"], strimzi.cluster());
        assert_eq!(secret["metadata"]["ownerReferences"][0]["uid"], user["metadata"]["uid"]);
    }
    assert_eq!(connection(kubernetes, strimzi, "shown-tls").bootstrap_servers, [strimzi.bootstrap("tls")]);
    assert_eq!(connection(kubernetes, strimzi, "shown-scram").bootstrap_servers, [strimzi.bootstrap("scram")]);
    strimzi.set_user_not_ready("shown-tls", "InvalidResourceException", "no").unwrap();
    let user = kubernetes.get(&["kafkauser", "shown-tls", "--namespace", namespace]).unwrap();
    assert_eq!(condition(&user), ("NotReady".to_owned(), "True".to_owned()));
}

#[test]
fn what_is_written_for_strimzi_is_what_its_definitions_take() {
    let (kubernetes, strimzi) = (Kubernetes::shared(), strimzi());
    assert_is_shown(kubernetes, strimzi, "kafka.strimzi.io/v1");
    // The definitions are strict, or this would show nothing.
    let user = format!(
        "apiVersion: kafka.strimzi.io/v1\nkind: KafkaUser\nmetadata: {{name: odd, namespace: {}}}\n\
         spec: {{authentication: {{type: by-handshake}}}}\n",
        strimzi.namespace()
    );
    let error = kubernetes.apply(&user).unwrap_err().to_string();
    assert!(error.contains("spec.authentication.type"), "{error}");
}

#[test]
fn what_is_written_for_an_older_strimzi_is_what_its_definitions_take_and_can_cease_to_be_ready() {
    // A cluster has the definitions of one release.
    let kubernetes = Kubernetes::start(KubernetesOptions::default()).unwrap();
    Release::V0_45.install(&kubernetes).unwrap();
    let kafka = KafkaOptions { version: Version::V3_9, ..KafkaOptions::default() };
    let (namespace, cluster) = ("default".to_owned(), "older".to_owned());
    let options = StrimziOptions { release: Release::V0_45, namespace, cluster, kafka, has_own_certificate: false };
    let strimzi = Strimzi::start(&kubernetes, options).unwrap();
    assert_is_shown(&kubernetes, &strimzi, "kafka.strimzi.io/v1beta2");
    strimzi.set_not_ready("Creating", "Kafka cluster is being deployed").unwrap();
    let kafka = kubernetes.get(&["kafka", "older"]).unwrap();
    assert_eq!(kafka["status"]["conditions"][0]["type"], "NotReady");
    assert_eq!(kafka["status"]["conditions"].as_array().unwrap().len(), 1);
}

#[test]
fn a_manifest_with_a_field_that_no_resource_has_is_found_without_a_server() {
    let kubernetes = Kubernetes::shared();
    let pod = |field: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\n\
             spec: {{{field}containers: [{{name: main, image: '{TOOLS_IMAGE}'}}]}}\n"
        )
    };
    kubernetes.kubeconform(&[], &pod("")).unwrap();
    let error = kubernetes.kubeconform(&[], &pod("restartsometimes: true, ")).unwrap_err().to_string();
    assert!(error.contains("restartsometimes"), "{error}");
}

#[test]
fn an_api_server_that_was_away_knows_what_it_knew() {
    // A cluster of its own: the tests beside this one need theirs.
    let kubernetes = Kubernetes::start(KubernetesOptions::default()).unwrap();
    let namespace = kubernetes.make_namespace("outage", false).unwrap();
    let api_server = kubernetes.component("kube-apiserver");
    api_server.stop().unwrap();
    let error = kubernetes.get(&["namespace", &namespace]).unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    api_server.start().unwrap();
    kubernetes.get(&["namespace", &namespace]).unwrap();
    assert!(!api_server.log().is_empty());

    let (name, folder, process) =
        (kubernetes.node_name(), kubernetes.folder().to_owned(), kubernetes.process_id().unwrap());
    drop(kubernetes);
    assert!(started_ticks(process).is_none());
    assert_eq!(traces(&name, &folder), Vec::<PathBuf>::new());
}

/// What there is of a cluster on the machine.
fn traces(name: &str, folder: &Path) -> Vec<PathBuf> {
    let cgroups = std::fs::read_dir("/sys/fs/cgroup").unwrap().map(|entry| entry.unwrap().path().join(name));
    let others = [Path::new("/sys/class/net").join(name), folder.to_owned()];
    cgroups.chain(others).filter(|path| path.exists()).collect()
}

#[test]
fn a_killed_test_takes_its_cluster_with_it() {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_hold"))
        .arg("cluster")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok).take(4).collect();
    let [name, folder, ids @ ..] = &lines[..] else { panic!("the other process has ended") };
    let (folder, processes) = (Path::new(folder), ids.iter().map(|id| id.parse().unwrap()).collect::<Vec<u32>>());
    assert_eq!(processes.len(), 2, "the other process has ended");
    assert!(traces(name, folder).len() > 3 && processes.iter().all(|id| started_ticks(*id).is_some()), "{lines:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("the node and its pod are gone", || processes.iter().all(|id| started_ticks(*id).is_none()));
    eventually("nothing of the cluster is left", || traces(name, folder).is_empty());
}
