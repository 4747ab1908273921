//! What no watch tells: asked for only while a run is under way, or where something is odd.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::ListParams;
use kube::{Api, Client, ResourceExt};
use reqwest::redirect::Policy;
use serde::Deserialize;

use crate::api::history::Progress;
use crate::build::labels;
use crate::build::pod::HTTP_PORT;
use crate::observe::{self, ObservedRun, RunState, RunningPod, Trouble};
use crate::owner::Owner;

/// A pod that does not answer within this time is asked again later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// Many times what an answer holds. Whoever may create pods chooses what stands behind their addresses.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A run's pod is asked this often, however often its resource is looked at: what it tells is written into the status, and that has the
/// resource looked at again.
pub const PROGRESS_EVERY: Duration = Duration::from_secs(5);

/// What a pod has told, and when.
type Answer = (Instant, Option<Progress>);

/// Who can be asked.
#[derive(Clone)]
pub struct Asker {
    client: Client,
    http: reqwest::Client,
    /// What pods have told, and when, by their names.
    told: Arc<Mutex<HashMap<String, Answer>>>,
}

/// What a pod tells of its run.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    percent: Option<f64>,
    records: u64,
    bytes: u64,
    bytes_per_second: f64,
    eta_seconds: Option<f64>,
}

impl Asker {
    /// Somebody who asks with this client.
    ///
    /// # Errors
    /// When the system has no room for another client.
    pub fn new(client: Client) -> Result<Self, reqwest::Error> {
        // Pods are asked at their own addresses, whatever proxy the environment names.
        let http = reqwest::Client::builder().timeout(ANSWER_TIMEOUT).no_proxy().redirect(Policy::none()).build()?;
        Ok(Self { client, http, told: Arc::default() })
    }

    /// Completes what the watches show of a run.
    pub async fn complete(&self, namespace: &str, run: &mut ObservedRun) {
        let job = run.job.clone();
        match &mut run.state {
            RunState::Active { pod, trouble, silent_pod, progress } => {
                if let (Some(silent), None) = (silent_pod.as_ref(), trouble.as_ref()) {
                    *trouble = self.event_of(namespace, "Pod", silent).await;
                }
                if let Some(pod) = pod {
                    *progress = self.last_progress(namespace, pod).await;
                } else if silent_pod.is_none() && trouble.is_none() && !run.has_begun {
                    // Without a pod, the Job knows why.
                    *trouble = self.event_of(namespace, "Job", &job).await;
                }
            }
            RunState::Ended { .. } => {}
        }
    }

    /// A Job that the watches do not show, with its pods: it may be newer than they are.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn job(&self, namespace: &str, name: &str) -> Result<Option<ObservedRun>, kube::Error> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), namespace);
        match jobs.get_opt(name).await? {
            None => Ok(None),
            Some(job) => Ok(Some(self.with_pods(namespace, &job).await?)),
        }
    }

    /// Whether the API server has Jobs of this resource that are not among these runs.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn has_other_jobs(&self, owner: &Owner, runs: &[ObservedRun]) -> Result<bool, kube::Error> {
        let jobs: Api<Job> = Api::namespaced(self.client.clone(), &owner.namespace);
        // By the labels that the watch over Jobs is told: what it is not told of would be missed for ever.
        let ours = format!("{}={},{}={}", labels::MANAGED_BY, labels::OPERATOR, labels::RESOURCE_UID, owner.uid);
        let ours = ListParams::default().labels(&ours);
        let found = jobs.list_metadata(&ours).await?;
        Ok(found.iter().any(|job| !runs.iter().any(|run| run.job == job.name_any())))
    }

    /// A Job with its pods as they are now: the watch over pods may be behind that over Jobs.
    ///
    /// # Errors
    /// What the API server says.
    pub async fn with_pods(&self, namespace: &str, job: &Job) -> Result<ObservedRun, kube::Error> {
        let name = job.metadata.name.as_deref().unwrap_or_default();
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let of_job = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={name}"));
        let pods = pods.list(&of_job).await?.items;
        Ok(observe::run(job, &pods.iter().collect::<Vec<_>>()))
    }

    /// The newest warning about an object.
    async fn event_of(&self, namespace: &str, kind: &str, name: &str) -> Option<Trouble> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), namespace);
        let about = format!("involvedObject.kind={kind},involvedObject.name={name},type=Warning");
        let found = match events.list(&ListParams::default().fields(&about)).await {
            Ok(found) => found.items,
            Err(error) => {
                tracing::warn!(%namespace, %name, "events cannot be read: {error}");
                return None;
            }
        };
        let newest = found.into_iter().max_by_key(|event| {
            let time = event.last_timestamp.as_ref().map(|time| time.0);
            time.or_else(|| event.event_time.as_ref().map(|time| time.0))
                .or_else(|| event.metadata.creation_timestamp.as_ref().map(|time| time.0))
        })?;
        let message = newest.message.unwrap_or_default();
        Some(Trouble {
            reason: newest.reason.unwrap_or_else(|| "PodWaits".to_owned()),
            message: format!("{} {name}: {message}", kind.to_lowercase()),
        })
    }

    /// What a pod told last, asked again when that was a while ago.
    async fn last_progress(&self, namespace: &str, pod: &RunningPod) -> Option<Progress> {
        let key = format!("{namespace}/{}", pod.name);
        let known = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            // Pods that have not been asked for a while are gone.
            told.retain(|_, (at, _)| at.elapsed() < 10 * PROGRESS_EVERY);
            told.get(&key).filter(|(at, _)| at.elapsed() < PROGRESS_EVERY).map(|(_, progress)| progress.clone())
        };
        if let Some(progress) = known {
            return progress;
        }
        let progress = self.progress(pod).await;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(key, (Instant::now(), progress.clone()));
        progress
    }

    async fn told(&self, url: &str) -> Result<Told, Box<dyn std::error::Error + Send + Sync>> {
        let mut answer = self.http.get(url).send().await?.error_for_status()?;
        let mut told = Vec::new();
        while let Some(chunk) = answer.chunk().await? {
            told.extend_from_slice(&chunk);
            if told.len() > ANSWER_BYTES_MAX {
                return Err("the answer is too long".into());
            }
        }
        Ok(serde_json::from_slice(&told)?)
    }

    /// What a pod tells; nothing while it does not answer.
    async fn progress(&self, pod: &RunningPod) -> Option<Progress> {
        let host = if pod.address.contains(':') { format!("[{}]", pod.address) } else { pod.address.clone() };
        let told = match self.told(&format!("http://{host}:{HTTP_PORT}/progress")).await {
            Ok(told) => told,
            Err(error) => {
                tracing::debug!(pod = %pod.name, "progress cannot be had: {error}");
                return None;
            }
        };
        let integer = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Some(Progress {
            percent: told.percent.map(whole),
            records: integer(told.records),
            bytes: integer(told.bytes),
            bytes_per_second: whole(told.bytes_per_second),
            eta_seconds: told.eta_seconds.map(whole),
        })
    }
}

/// A number without what stands behind the point; none of these is near the ends of either type.
#[expect(clippy::cast_possible_truncation, reason = "percents, rates and seconds; a cast saturates")]
fn whole(number: f64) -> i64 {
    number.floor() as i64
}
