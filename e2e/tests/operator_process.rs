//! The operator as a process beside a real API server: when it is ready, what it logs, how it ends.
#![expect(clippy::unwrap_used, reason = "a failure in what tests share fails the test")]

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use e2e::cli;
use e2e::kubernetes::{Kubernetes, KubernetesOptions};
use e2e::operator::{Applied, chart};
use e2e::port;
use e2e::process::{Output, Process};
use e2e::strimzi::Release;
use serde_json::Value;

const NAMESPACE: &str = "default";

/// An operator with a port for probes and a log.
struct Running {
    process: Process,
    health: u16,
    log: PathBuf,
}

impl Running {
    fn start(kubernetes: &Kubernetes, name: &str) -> Self {
        let [health, metrics] = [(); 2].map(|()| port::free().unwrap());
        let log = kubernetes.folder().join(format!("{name}.log"));
        let mut command = Command::new(cli::build("strimzi-backup-operator").unwrap());
        command.env("KUBECONFIG", kubernetes.kubeconfig()).args([
            "--image=localhost/none:none",
            "--leader-election=true",
            &format!("--pod-name={name}"),
            &format!("--health-address=127.0.0.1:{health}"),
            &format!("--metrics-address=127.0.0.1:{metrics}"),
        ]);
        let process = Process::tethered(&command, None, Output::File(File::create(&log).unwrap())).unwrap();
        Self { process, health, log }
    }

    /// The answer of a probe: its code and its text.
    fn probe(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.health)).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, text) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, text.to_owned()))
    }

    fn wait_until_ready(&self, kubernetes: &Kubernetes) {
        let is_ready = || Ok(self.probe("/readyz").is_some_and(|(code, _)| code == 200));
        kubernetes.wait_until("the operator is ready", is_ready).unwrap();
    }

    fn wait_for_log(&self, kubernetes: &Kubernetes, part: &str) {
        let is_there = || Ok(fs::read_to_string(&self.log)?.contains(part));
        kubernetes.wait_until(&format!("the log says: {part}"), is_there).unwrap();
    }

    /// Its log, every line of which is an object.
    fn lines(&self) -> Vec<Value> {
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }
}

fn holder(kubernetes: &Kubernetes) -> Value {
    kubernetes.get(&["lease", "strimzi-backup-operator", "--namespace", NAMESPACE]).unwrap()["spec"]["holderIdentity"]
        .clone()
}

#[test]
fn it_is_ready_when_it_can_work_and_ends_when_it_is_asked_to_or_its_lease_is_lost() {
    let kubernetes = Kubernetes::start(KubernetesOptions::default()).unwrap();
    // Strimzi's operators for topics and users can stand alone: that is no Strimzi.
    Release::V1_2.install(&kubernetes).unwrap();
    kubernetes.kubectl(&["delete", "crd", "kafkas.kafka.strimzi.io", "--timeout=60s"]).unwrap();
    let mut first = Running::start(&kubernetes, "first");
    let is_up = || Ok(first.probe("/healthz").is_some_and(|(code, _)| code == 200));
    kubernetes.wait_until("the operator is alive", is_up).unwrap();
    first.wait_for_log(&kubernetes, "waiting for the custom resource definitions");
    let (code, text) = first.probe("/readyz").unwrap();
    assert!(code == 503 && text.starts_with("custom resource definitions are missing"), "{code} {text}");

    kubernetes.kubectl(&["create", "--filename", chart().join("crds").to_str().unwrap()]).unwrap();
    first.wait_for_log(&kubernetes, "watches are synced");
    first.wait_until_ready(&kubernetes);
    assert_eq!(holder(&kubernetes), "first");

    let backup = "apiVersion: backup.strimzi.io/v1alpha1
kind: KafkaBackup
metadata: {name: nightly, namespace: default}
spec: {strimziClusterRef: {name: my-cluster}, storage: {type: pvc, pvc: {claimName: backups}}}
";
    kubernetes.apply(backup).unwrap();
    let name = "nightly";
    let nightly =
        Applied { kubernetes: &kubernetes, kind: "kafkabackups.backup.strimzi.io", namespace: NAMESPACE, name };
    let told = |part: &str| {
        let is_told = |found: &Value| {
            found["status"]["conditions"][0]["message"].as_str().is_some_and(|told| told.contains(part))
        };
        nightly.wait(part, is_told).unwrap()
    };
    told("no kafka.strimzi.io API");
    first.wait_for_log(&kubernetes, "Strimzi is not there");
    Release::V1_2.install(&kubernetes).unwrap();
    told("there is no Kafka \"my-cluster\" in this namespace");

    // A second one waits, and works at once when the first has ended as it was asked to.
    let mut second = Running::start(&kubernetes, "second");
    second.wait_for_log(&kubernetes, "waiting for the lease");
    second.wait_until_ready(&kubernetes);
    assert_eq!(holder(&kubernetes), "first");
    assert!(!fs::read_to_string(&second.log).unwrap().contains("watches are synced"));
    assert!(first.process.stop(Duration::from_secs(30)).unwrap().success(), "{:#?}", first.lines());
    second.wait_for_log(&kubernetes, "watches are synced");
    assert_eq!(holder(&kubernetes), "second");

    // One that waits need not wait to end.
    let mut third = Running::start(&kubernetes, "third");
    third.wait_for_log(&kubernetes, "waiting for the lease");
    assert!(third.process.stop(Duration::from_secs(30)).unwrap().success(), "{:#?}", third.lines());

    // Without an API server nobody can know that nobody else has taken over.
    let server = kubernetes.component("kube-apiserver");
    server.stop().unwrap();
    let since = Instant::now();
    let ended = kubernetes.wait_for("the operator gives up", || second.process.ended()).unwrap();
    println!("it gave up after {:?}", since.elapsed());
    assert_eq!(ended.code(), Some(1));
    let last = second.lines().pop().unwrap().to_string();
    assert!(last.contains("the lease strimzi-backup-operator was lost"), "{last}");
    for running in [&first, &third] {
        assert!(running.lines().iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()));
    }
}
