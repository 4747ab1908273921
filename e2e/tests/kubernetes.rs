//! A real Kubernetes, and what of the machine its pods reach: what the tests of the operator rest on.
#![expect(clippy::unwrap_used, reason = "a failure in what tests share fails the test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::cli;
use e2e::image::Image;
use e2e::kubernetes::{Kubernetes, KubernetesOptions, TOOLS_IMAGE, VERSION};
use e2e::process::started_ticks;

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

/// What the project's image prints when it runs `kafka-backup` with these arguments, as a restricted pod.
fn in_a_pod(kubernetes: &Kubernetes, namespace: &str, name: &str, arguments: &[&str], environment: &str) -> String {
    let command = serde_json::to_string(&[&["kafka-backup"], arguments].concat()).unwrap();
    let container = format!("        command: {command}\n        env: [{environment}]\n");
    kubernetes.apply(&job(namespace, name, PROJECT_IMAGE, &container, "")).unwrap();
    kubernetes.wait_for_job(namespace, name).unwrap()
}

/// The shared cluster with the project's image in it.
fn with_image() -> &'static Kubernetes {
    static LOADED: std::sync::Once = std::sync::Once::new();
    let kubernetes = Kubernetes::shared();
    LOADED.call_once(|| {
        let archive = tempfile::NamedTempFile::new().unwrap();
        let programs = [("kafka-backup", cli::binary().unwrap().as_path())];
        Image::of_project(PROJECT_IMAGE, &programs).unwrap().write(archive.path()).unwrap();
        kubernetes.load_image(archive.path()).unwrap();
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
    let said = in_a_pod(kubernetes, &namespace, "version", &["--version"], "");
    let here = cli::run(["--version"]).unwrap().succeeded().stdout;
    assert_eq!(said, here);
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
    let told = tempfile::NamedTempFile::new().unwrap();
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "holds_a_cluster_until_it_is_killed", "--ignored"])
        .env("E2E_TELL", told.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = Vec::new();
    eventually("the cluster of the other process runs", || {
        assert!(test.try_wait().unwrap().is_none(), "the other process has ended");
        lines = std::fs::read_to_string(told.path()).unwrap().lines().map(str::to_owned).collect();
        lines.len() == 4
    });
    let (name, folder) = (&lines[0], Path::new(&lines[1]));
    let processes: Vec<u32> = lines[2..].iter().map(|id| id.parse().unwrap()).collect();
    assert!(traces(name, folder).len() > 3 && processes.iter().all(|id| started_ticks(*id).is_some()), "{lines:?}");
    test.kill().unwrap();
    test.wait().unwrap();
    eventually("the node and its pod are gone", || processes.iter().all(|id| started_ticks(*id).is_none()));
    eventually("nothing of the cluster is left", || traces(name, folder).is_empty());
}

#[test]
#[ignore = "run by a_killed_test_takes_its_cluster_with_it, which kills it"]
fn holds_a_cluster_until_it_is_killed() {
    let kubernetes = Kubernetes::start(KubernetesOptions::default()).unwrap();
    // Its name server is a pod that runs; from outside, its process is one of this machine.
    let ids =
        Command::new("pgrep").args(["--full", "--exact", "/coredns -conf /etc/coredns/Corefile"]).output().unwrap();
    let cgroup = format!("/{}/", kubernetes.node_name());
    let is_ours =
        |id: &&str| std::fs::read_to_string(format!("/proc/{id}/cgroup")).is_ok_and(|text| text.contains(&cgroup));
    let ids = String::from_utf8(ids.stdout).unwrap();
    let pod = ids.lines().find(is_ours).unwrap();
    let node = kubernetes.process_id().unwrap();
    let told = format!("{}\n{}\n{node}\n{pod}\n", kubernetes.node_name(), kubernetes.folder().display());
    std::fs::write(std::env::var_os("E2E_TELL").unwrap(), told).unwrap();
    thread::sleep(Duration::from_secs(600));
}
