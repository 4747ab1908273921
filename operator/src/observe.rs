//! Jobs and their pods, as runs. [`run`] is pure; what only a call can tell is asked by [`crate::ask`].

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, Pod};
use kafka_backup::report::termination::{Failure, Termination};
use kube::ResourceExt;

use crate::api::history::Progress;
use crate::api::run_kind::RunKind;
use crate::build::{labels, pod};

/// What keeps a run from going on, or ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// One word in CamelCase.
    pub reason: String,
    /// What, where, and what to do.
    pub message: String,
}

/// A run, as its Job and pods show it.
#[derive(Debug, Clone, PartialEq)]
pub struct ObservedRun {
    /// The Job's name.
    pub job: String,
    /// Why it was started; `None` when its label was taken away.
    pub kind: Option<RunKind>,
    /// The backup that it was to make, where the operator chose it.
    pub backup_id: Option<String>,
    /// The value of the trigger annotation that it was started for.
    pub trigger: Option<String>,
    /// The retention that it prunes by.
    pub limits: Option<String>,
    /// The generation that it was started for.
    pub generation: Option<i64>,
    /// When the Job was created.
    pub started_at: Timestamp,
    /// Whether Kubernetes is to delete the Job by itself.
    pub is_expiring: bool,
    /// Whether a pod that is there runs, or has run.
    pub has_begun: bool,
    /// Whether its Job is on its way out.
    pub is_going: bool,
    /// How far it is.
    pub state: RunState,
}

/// How far a run is.
#[derive(Debug, Clone, PartialEq)]
pub enum RunState {
    /// It goes on.
    Active {
        /// Its newest pod's name and address, while that is running.
        pod: Option<RunningPod>,
        /// What keeps it from going on.
        trouble: Option<Trouble>,
        /// The pod that has been waiting without saying why: events may tell.
        silent_pod: Option<String>,
        /// How far it is, once its pod has been asked.
        progress: Option<Progress>,
    },
    /// It is over.
    Ended {
        /// When.
        at: Timestamp,
        /// What the engine said; boxed, since it is large.
        termination: Option<Box<Termination>>,
        /// Why the Job failed; `None` when it did not.
        failure: Option<Trouble>,
    },
}

/// A pod that can be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningPod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: String,
}

impl ObservedRun {
    /// Whether it goes on.
    pub const fn is_active(&self) -> bool {
        matches!(self.state, RunState::Active { .. })
    }
}

/// A Job and its pods as a run.
pub fn run(job: &Job, pods: &[&Pod]) -> ObservedRun {
    let annotation = |name: &str| job.annotations().get(name).cloned();
    let mut pods: Vec<&Pod> = pods.to_vec();
    pods.sort_by_key(|pod| pod.creation_timestamp().map(|time| time.0));
    ObservedRun {
        job: job.name_any(),
        kind: job.labels().get(labels::RUN).and_then(|label| RunKind::of(label)),
        backup_id: annotation(labels::BACKUP_ID),
        trigger: annotation(labels::TRIGGER),
        limits: annotation(labels::LIMITS),
        generation: annotation(labels::GENERATION).and_then(|text| text.parse().ok()),
        started_at: job.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        is_expiring: job.spec.as_ref().is_some_and(|spec| spec.ttl_seconds_after_finished.is_some()),
        is_going: job.metadata.deletion_timestamp.is_some(),
        has_begun: pods.iter().any(|pod| has_begun(pod)),
        state: state(job, &pods),
    }
}

fn state(job: &Job, pods: &[&Pod]) -> RunState {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let holds =
        |type_: &str| conditions.iter().find(|condition| condition.type_ == type_ && condition.status == "True");
    let at = |time: Option<&k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>| {
        time.map_or(Timestamp::UNIX_EPOCH, |time| time.0)
    };
    if let Some(complete) = holds("Complete") {
        let completed = job.status.as_ref().and_then(|status| status.completion_time.as_ref());
        // What an earlier pod of it said is not the result.
        let succeeded = pods.iter().rev().find(|pod| phase(pod) == "Succeeded");
        let termination = succeeded.and_then(|pod| termination(pod)).map(Box::new);
        return RunState::Ended {
            at: at(completed.or(complete.last_transition_time.as_ref())),
            termination,
            failure: None,
        };
    }
    if let Some(failed) = holds("Failed") {
        let reason = failed.reason.clone().unwrap_or_default();
        let told = failed.message.clone().unwrap_or_default();
        let failure = Trouble { message: why_failed(&reason, &told, pods), reason };
        let termination = pods.last().and_then(|pod| termination(pod)).map(Box::new);
        return RunState::Ended { at: at(failed.last_transition_time.as_ref()), termination, failure: Some(failure) };
    }
    let newest = pods.last().copied();
    let waiting = newest.and_then(waiting);
    // A pod that was ended is told until the next one runs.
    let earlier = match newest {
        Some(newest) if phase(newest) == "Running" => None,
        _ => pods.iter().rev().find_map(|pod| ended(pod)).map(|ended| Trouble {
            reason: ended.reason.clone(),
            message: format!("{}; another pod goes on from the last checkpoint", ended.message),
        }),
    };
    RunState::Active {
        pod: newest.filter(|pod| phase(pod) == "Running").and_then(|pod| {
            let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone())?;
            Some(RunningPod { name: pod.name_any(), address })
        }),
        silent_pod: match (&waiting, newest) {
            (None, Some(pod)) if phase(pod) == "Pending" => Some(pod.name_any()),
            (Some(_), _) | (None, _) => None,
        },
        trouble: waiting.or(earlier),
        progress: None,
    }
}

/// Whether its container has run: a pod that is deleted before that gets a phase of its end, too.
fn has_begun(pod: &Pod) -> bool {
    container_state(pod).is_some_and(|state| {
        state.running.is_some() || state.terminated.as_ref().is_some_and(|ended| ended.started_at.is_some())
    })
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

fn container_state(pod: &Pod) -> Option<&ContainerState> {
    let statuses = pod.status.as_ref()?.container_statuses.as_deref()?;
    statuses.iter().find(|status| status.name == pod::CONTAINER)?.state.as_ref()
}

fn terminated(pod: &Pod) -> Option<&ContainerStateTerminated> {
    container_state(pod)?.terminated.as_ref()
}

fn termination(pod: &Pod) -> Option<Termination> {
    serde_json::from_str(terminated(pod)?.message.as_deref()?).ok()
}

/// What a pod that does not start says of itself.
fn waiting(pod: &Pod) -> Option<Trouble> {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let unscheduled =
        conditions.iter().find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        return Some(Trouble {
            reason: condition.reason.clone().unwrap_or_else(|| "Unschedulable".to_owned()),
            message: format!("pod {} has no node: {}", pod.name_any(), condition.message.clone().unwrap_or_default()),
        });
    }
    let waiting = container_state(pod)?.waiting.as_ref()?;
    let reason = waiting.reason.clone()?;
    if matches!(reason.as_str(), "ContainerCreating" | "PodInitializing") {
        return None;
    }
    let message = waiting.message.clone().unwrap_or_else(|| "the kubelet says no more".to_owned());
    let message = format!("pod {} does not start: {reason}: {message}", pod.name_any());
    // An image that cannot be pulled alternates between the two.
    let reason = if reason == "ErrImagePull" { "ImagePullBackOff".to_owned() } else { reason };
    Some(Trouble { reason, message })
}

/// What ended a pod, if something did that is no success.
fn ended(pod: &Pod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    if phase(pod) != "Failed" {
        return None;
    }
    let Some(terminated) = terminated(pod) else {
        let reason = status.reason.clone().unwrap_or_else(|| "PodFailed".to_owned());
        let told = status.message.clone().unwrap_or_default();
        return Some(Trouble { message: format!("pod {} ended: {reason}: {told}", pod.name_any()), reason });
    };
    let reason = terminated.reason.clone().unwrap_or_else(|| "Error".to_owned());
    if reason == "OOMKilled" {
        let message = format!(
            "pod {} was killed since it used more memory than its limit: raise spec.resources.limits.memory",
            pod.name_any()
        );
        return Some(Trouble { reason, message });
    }
    if let Some(message) = termination(pod).as_ref().and_then(error).map(|error| error.message.clone()) {
        return Some(Trouble { reason: "RunFailed".to_owned(), message });
    }
    let message = match (terminated.signal, status.reason.as_deref()) {
        (_, Some("Evicted")) => {
            format!("pod {} was evicted: {}", pod.name_any(), status.message.clone().unwrap_or_default())
        }
        (Some(signal), _) => format!("pod {} was ended by signal {signal}", pod.name_any()),
        (None, _) if terminated.exit_code == 137 => format!("pod {} was killed", pod.name_any()),
        (None, _) => format!("pod {} ended with exit code {}", pod.name_any(), terminated.exit_code),
    };
    Some(Trouble { reason, message })
}

/// Why the engine says that a run failed.
pub fn error(termination: &Termination) -> Option<&Failure> {
    match termination {
        Termination::Backup(ended) => ended.error.as_ref(),
        Termination::Restore(ended) => ended.error.as_ref(),
        Termination::Prune(ended) => ended.error.as_ref(),
        Termination::Verify(ended) => ended.error.as_ref(),
    }
}

fn why_failed(reason: &str, told: &str, pods: &[&Pod]) -> String {
    let last = pods.iter().rev().find_map(|pod| ended(pod)).map(|trouble| trouble.message);
    match (reason, last) {
        ("DeadlineExceeded", _) => format!("the run took longer than job.activeDeadlineSeconds: {told}"),
        (_, Some(last)) => last,
        (_, None) => told.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(condition: &str) -> Job {
        let job = json!({
            "metadata": { "name": "nightly-g1" },
            "status": { "conditions": [{ "type": condition, "status": "True", "reason": "BackoffLimitExceeded" }] },
        });
        serde_json::from_value(job).unwrap()
    }

    fn pod(second: u8, phase: &str, terminated: serde_json::Value) -> Pod {
        let pod = json!({
            "metadata": { "name": format!("pod-{second}"), "creationTimestamp": format!("2026-02-02T02:00:0{second}Z") },
            "status": { "phase": phase, "containerStatuses": [{
                "name": pod::CONTAINER, "image": "", "imageID": "", "ready": false, "restartCount": 0, "state": { "terminated": terminated },
            }] },
        });
        serde_json::from_value(pod).unwrap()
    }

    fn failed(second: u8) -> Pod {
        let message =
            r#"{"run":"backup","outcome":"failed","error":{"kind":"denied","message":"broker refused the password"}}"#;
        pod(second, "Failed", json!({ "exitCode": 4, "reason": "Error", "message": message }))
    }

    fn told(run: &ObservedRun) -> (bool, Option<&str>) {
        let RunState::Ended { termination, failure, .. } = &run.state else { panic!("it has ended: {run:?}") };
        (termination.is_some(), failure.as_ref().map(|failure| failure.message.as_str()))
    }

    #[test]
    fn what_an_earlier_pod_said_is_not_the_result_of_a_job_that_is_complete() {
        let pods = [failed(1)];
        assert_eq!(told(&run(&job("Complete"), &[&pods[0]])), (false, None));
        let succeeded = json!({ "exitCode": 0, "message": r#"{"run":"prune","outcome":"completed","archive":"a","archiveBytes":1,"kept":1,"removed":[]}"# });
        let pods = [failed(1), pod(2, "Succeeded", succeeded)];
        let ended = run(&job("Complete"), &pods.iter().collect::<Vec<_>>());
        assert_eq!(told(&ended), (true, None), "{ended:?}");
    }

    #[test]
    fn a_job_that_has_failed_says_what_its_last_pod_said() {
        let killed = pod(2, "Failed", json!({ "exitCode": 137, "reason": "OOMKilled" }));
        let oom = "pod pod-2 was killed since it used more memory than its limit: raise spec.resources.limits.memory";
        assert_eq!(told(&run(&job("Failed"), &[&failed(1), &killed])), (false, Some(oom)));
        assert_eq!(told(&run(&job("Failed"), &[&failed(1)])), (true, Some("broker refused the password")));
    }
}
