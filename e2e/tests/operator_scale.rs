//! What the operator costs with many resources, and what becomes of it when the API server is away.
#![expect(clippy::unwrap_used, reason = "a failure in what tests share fails the test")]

use std::fmt::Write;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use e2e::kubernetes::{Kubernetes, KubernetesOptions};
use e2e::operator::{Operator, RELEASE};
use e2e::strimzi::Release;

const RESOURCES: usize = 500;
/// What the operator promises to stay under, in KiB.
const MEMORY_MAX_KIB: u64 = 128 << 10;
/// Longer than any period of the operator's own, and shorter than that after which a watch begins anew.
const IDLE: Duration = Duration::from_secs(65);
/// What the API server calls the operator's requests.
const FLOW: &str = "backup-operator";

fn backup(number: usize, minute: usize) -> String {
    format!(
        "apiVersion: kafka.oso.sh/v1alpha1
kind: KafkaBackup
metadata: {{name: backup-{number}, namespace: default}}
spec:
  kafkaCluster: {{bootstrapServers: ['kafka:9092']}}
  topics: [orders]
  storage: {{storageType: pvc, pvc: {{claimName: backups}}}}
  schedule: '{minute} 2 * * *'
  suspend: true
"
    )
}

/// The most memory that the operator's process has had, in KiB, as the kernel counts it.
fn peak_kib() -> u64 {
    let statuses = fs::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let is_operator = String::from_utf8_lossy(&line).starts_with("/usr/local/bin/strimzi-backup-operator");
        is_operator.then(|| fs::read_to_string(entry.path().join("status")).unwrap_or_default())
    });
    let peak = |status: String| -> Option<u64> {
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?.to_owned();
        line.split_whitespace().nth(1)?.parse().ok()
    };
    statuses.filter_map(peak).max().expect("the operator runs on this machine")
}

/// Has the API server count what the operator asks, and nobody else.
fn count_requests(kubernetes: &Kubernetes, operator: &Operator<'_>) {
    let namespace = operator.namespace();
    let schema = format!(
        "apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {{name: {FLOW}}}
spec:
  priorityLevelConfiguration: {{name: workload-low}}
  matchingPrecedence: 100
  rules:
  - subjects: [{{kind: ServiceAccount, serviceAccount: {{name: {RELEASE}, namespace: {namespace}}}}}]
    resourceRules: [{{verbs: ['*'], apiGroups: ['*'], resources: ['*'], clusterScope: true, namespaces: ['*']}}]
    nonResourceRules: [{{verbs: ['*'], nonResourceURLs: ['*']}}]
"
    );
    kubernetes.apply(&schema).unwrap();
}

/// What the operator has asked of the API server since it counts, watches among it.
fn requests(kubernetes: &Kubernetes) -> f64 {
    let text = kubernetes.kubectl(&["get", "--raw", "/metrics"]).unwrap();
    let is_its = |line: &&str| {
        line.starts_with("apiserver_flowcontrol_dispatched_requests_total{") && line.contains(&format!("\"{FLOW}\""))
    };
    text.lines().filter(is_its).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn schedule_of(kubernetes: &Kubernetes, uid: &str) -> Option<String> {
    let selector = format!("backup.strimzi.io/resource-uid={uid}");
    let found = kubernetes.get(&["cronjobs", "--namespace", "default", "--selector", &selector]).unwrap();
    found["items"][0]["spec"]["schedule"].as_str().map(str::to_owned)
}

/// Changes a resource and waits until its CronJob has followed; how long that took.
fn follow(kubernetes: &Kubernetes, number: usize, minute: usize) -> Duration {
    let name = format!("backup-{number}");
    let resource = kubernetes.get(&["kafkabackups.kafka.oso.sh", &name, "--namespace", "default"]).unwrap();
    let uid = resource["metadata"]["uid"].as_str().unwrap();
    kubernetes.apply(&backup(number, minute)).unwrap();
    let started = Instant::now();
    let wanted = format!("{minute} 2 * * *");
    kubernetes
        .wait_until("the CronJob follows", || Ok(schedule_of(kubernetes, uid).as_ref() == Some(&wanted)))
        .unwrap();
    started.elapsed()
}

#[test]
fn five_hundred_backups_cost_little_and_an_api_server_that_was_away_is_met_again() {
    let kubernetes = Kubernetes::start(KubernetesOptions::default()).unwrap();
    Release::V1_2.install(&kubernetes).unwrap();
    let operator = Operator::install(&kubernetes, "backup-operator", &[]).unwrap();
    let all = (0..RESOURCES).fold(String::new(), |mut all, number| {
        write!(all, "---\n{}", backup(number, 1)).unwrap();
        all
    });
    kubernetes.apply(&all).unwrap();
    kubernetes
        .wait_until("every backup has its CronJob", || {
            let found = kubernetes.get(&["cronjobs", "--namespace", "default"])?;
            Ok(found["items"].as_array().is_some_and(|items| items.len() == RESOURCES))
        })
        .unwrap();
    kubernetes
        .wait_until("every backup is ready", || {
            let found = kubernetes.get(&["kafkabackups.kafka.oso.sh", "--namespace", "default"])?;
            let ready = |item: &serde_json::Value| {
                e2e::operator::condition(item, "Ready").is_some_and(|ready| ready["status"] == "True")
            };
            Ok(found["items"].as_array().is_some_and(|items| items.iter().all(ready)))
        })
        .unwrap();
    println!("a change was followed in {:?} with {RESOURCES} resources", follow(&kubernetes, 250, 2));

    count_requests(&kubernetes, &operator);
    println!("and in {:?} the next time", follow(&kubernetes, 251, 3));
    let after_a_change = requests(&kubernetes);
    assert!(after_a_change > 0.0, "the API server counts what the operator asks");
    // What was decided last may still be on its way, and watches begin anew every few minutes: in one of these stretches there is neither.
    let mut asked = 0.0;
    for _ in 0..4 {
        let before = requests(&kubernetes);
        thread::sleep(IDLE);
        asked = requests(&kubernetes) - before;
        if asked == 0.0 {
            break;
        }
        println!("not idle yet: {asked} requests");
    }
    assert!(asked == 0.0, "an idle operator makes no call but its watches, and has made {asked}");

    let peak = peak_kib();
    println!("the operator's peak was {} MiB", peak >> 10);
    assert!(peak < MEMORY_MAX_KIB, "{peak} KiB");

    let server = kubernetes.component("kube-apiserver");
    server.stop().unwrap();
    thread::sleep(Duration::from_secs(8));
    server.start().unwrap();
    kubernetes
        .wait_until("the API server answers", || Ok(kubernetes.kubectl(&["get", "--raw", "/readyz"]).is_ok()))
        .unwrap();
    follow(&kubernetes, 251, 6);
    let pods = kubernetes.get(&["pods", "--namespace", operator.namespace()]).unwrap();
    assert_eq!(pods["items"][0]["status"]["containerStatuses"][0]["restartCount"], 0, "{}", operator.log());

    one_of_two_works_and_the_other_takes_over(&kubernetes, &operator);
}

fn holder(kubernetes: &Kubernetes, operator: &Operator<'_>) -> Option<String> {
    let leases = kubernetes.get(&["leases", "--namespace", operator.namespace()]).unwrap();
    let holder = leases["items"][0]["spec"]["holderIdentity"].as_str()?;
    (!holder.is_empty()).then(|| holder.to_owned())
}

fn one_of_two_works_and_the_other_takes_over(kubernetes: &Kubernetes, operator: &Operator<'_>) {
    operator.upgrade(&["replicaCount=2", "leaderElection.enabled=true"]).unwrap();
    follow(kubernetes, 252, 4);
    let first = holder(kubernetes, operator).expect("somebody holds the lease");
    kubernetes
        .kubectl(&["delete", "pod", &first, "--namespace", operator.namespace(), "--grace-period=0", "--force"])
        .unwrap();
    // The one that was deleted may still work until the kubelet has ended it.
    kubernetes
        .wait_until("the other holds the lease", || {
            Ok(holder(kubernetes, operator).is_some_and(|holder| holder != first))
        })
        .unwrap();
    follow(kubernetes, 253, 5);
}
