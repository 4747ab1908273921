//! One operator at a time: a Lease, as Kubernetes' own components hold one.
//!
//! Times are compared with this machine's clock only against what this machine has seen: a holder counts as gone when its lease has not
//! changed for the lease's duration, whatever its clock says (as in client-go's `leaderelection`).

use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};

/// How long a holder that fell silent keeps it.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long gives up before others may take over.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed, and how often others look.
const PERIOD: Duration = Duration::from_secs(2);

/// Who wants the lease, and which.
#[derive(Clone)]
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    identity: String,
}

/// The lease is lost: somebody else may have it.
#[derive(Debug, thiserror::Error)]
#[error("the lease {name} was lost: {why}")]
pub struct Lost {
    name: String,
    why: String,
}

impl Candidate {
    /// Somebody who wants the lease of this name; `identity` tells the candidates apart.
    pub fn new(client: Client, namespace: &str, name: &str, identity: &str) -> Self {
        Self { api: Api::namespaced(client, namespace), name: name.to_owned(), identity: identity.to_owned() }
    }

    /// Waits until the lease is held.
    pub async fn acquire(&self) {
        let mut seen: Option<(String, Instant)> = None;
        loop {
            match self.try_take(&mut seen).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(lease = %self.name, "the lease cannot be read or taken, and is tried again: {error}")
                }
            }
            tokio::time::sleep(PERIOD).await;
        }
    }

    /// Takes the lease if nobody holds it, or its holder has been silent for its duration.
    async fn try_take(&self, seen: &mut Option<(String, Instant)>) -> Result<bool, kube::Error> {
        let Some(found) = self.api.get_opt(&self.name).await? else {
            let lease = self.held(Lease::default());
            return taken(self.api.create(&PostParams::default(), &lease).await);
        };
        let version = found.metadata.resource_version.clone().unwrap_or_default();
        let holder = found.spec.as_ref().and_then(|spec| spec.holder_identity.clone()).unwrap_or_default();
        let is_free = holder.is_empty() || holder == self.identity;
        let since = match seen {
            Some((known, since)) if *known == version => *since,
            _ => seen.insert((version, Instant::now())).1,
        };
        if !is_free && since.elapsed() < DURATION {
            return Ok(false);
        }
        taken(self.api.replace(&self.name, &PostParams::default(), &self.held(found)).await)
    }

    /// Holds the lease until it is lost.
    ///
    /// # Errors
    /// Always: it ends when the lease is lost.
    pub async fn keep(&self) -> Lost {
        let mut renewed = Instant::now();
        loop {
            tokio::time::sleep(PERIOD).await;
            // Others count from what they have seen, which is no earlier than this.
            let asked = Instant::now();
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let why = match tokio::time::timeout(left, self.renew()).await {
                Ok(Ok(true)) => {
                    renewed = asked;
                    continue;
                }
                Ok(Ok(false)) => return self.lost("another operator holds it"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "the API server does not answer".to_owned(),
            };
            if renewed.elapsed() >= RENEW_DEADLINE {
                return self.lost(&why);
            }
            tracing::warn!(lease = %self.name, "the lease cannot be renewed, and is tried again: {why}");
        }
    }

    async fn renew(&self) -> Result<bool, kube::Error> {
        let Some(found) = self.api.get_opt(&self.name).await? else { return Ok(false) };
        let is_ours = found.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity);
        if !is_ours {
            return Ok(false);
        }
        taken(self.api.replace(&self.name, &PostParams::default(), &self.held(found)).await)
    }

    /// Gives the lease back, so that another operator need not wait.
    pub async fn release(&self) {
        let released = async {
            let Some(mut found) = self.api.get_opt(&self.name).await? else { return Ok(()) };
            let spec = found.spec.get_or_insert_default();
            if spec.holder_identity.as_ref() == Some(&self.identity) {
                spec.holder_identity = Some(String::new());
                self.api.replace(&self.name, &PostParams::default(), &found).await?;
            }
            Ok::<_, kube::Error>(())
        };
        if let Err(error) = released.await {
            tracing::warn!(lease = %self.name, "the lease could not be given back and has to expire: {error}");
        }
    }

    fn held(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(Timestamp::now());
        lease.metadata = ObjectMeta { name: Some(self.name.clone()), managed_fields: None, ..lease.metadata };
        let spec = lease.spec.get_or_insert_with(LeaseSpec::default);
        if spec.holder_identity.as_ref() != Some(&self.identity) {
            spec.acquire_time = Some(now.clone());
            spec.lease_transitions = Some(spec.lease_transitions.unwrap_or_default() + 1);
        }
        spec.holder_identity = Some(self.identity.clone());
        spec.lease_duration_seconds = i32::try_from(DURATION.as_secs()).ok();
        spec.renew_time = Some(now);
        lease
    }

    fn lost(&self, why: &str) -> Lost {
        Lost { name: self.name.clone(), why: why.to_owned() }
    }
}

/// Whoever comes second has not taken it.
fn taken(answer: Result<Lease, kube::Error>) -> Result<bool, kube::Error> {
    match answer {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.is_already_exists() || status.is_conflict() => Ok(false),
        Err(error) => Err(error),
    }
}
