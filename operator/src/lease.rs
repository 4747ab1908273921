//! One operator at a time: a Lease, as Kubernetes' own components hold one.
//!
//! Times are compared with this machine's clock only against what this machine has seen: a holder counts as gone when its lease has not
//! changed for the lease's duration, whatever its clock says (as in client-go's `leaderelection`).

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::time::Instant;

/// How long a holder that fell silent keeps it.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for this long gives up before others may take over.
const RENEW_DEADLINE: Duration = Duration::from_secs(10);
/// How often it is renewed, and how often others look.
const PERIOD: Duration = Duration::from_secs(2);
/// A request that is not answered within this time is made again, over another connection perhaps.
const PATIENCE: Duration = Duration::from_secs(5);
const SILENT: &str = "the API server does not answer";

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

    /// Waits until the lease is held. Gives back since when, as others may count it.
    pub async fn acquire(&self) -> Instant {
        let mut seen: Option<(String, Instant)> = None;
        loop {
            let asked = Instant::now();
            let why = match tokio::time::timeout(PATIENCE, self.try_take(&mut seen)).await {
                Ok(Ok(true)) => return asked,
                Ok(Ok(false)) => None,
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some(SILENT.to_owned()),
            };
            if let Some(why) = why {
                tracing::warn!(lease = %self.name, "the lease cannot be read or taken, and is tried again: {why}");
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

    /// Holds the lease, which was acquired at this moment, until it is lost.
    pub async fn keep(&self, acquired: Instant) -> Lost {
        let mut renewed = acquired;
        loop {
            tokio::time::sleep(PERIOD).await;
            // Others count from what they have seen, which is no earlier than this.
            let asked = Instant::now();
            let left = RENEW_DEADLINE.saturating_sub(renewed.elapsed());
            let why = match tokio::time::timeout(left.min(PATIENCE), self.renew()).await {
                Ok(Ok(true)) => {
                    renewed = asked;
                    continue;
                }
                Ok(Ok(false)) => return self.lost("another operator holds it"),
                Ok(Err(error)) => error.to_string(),
                Err(_) => SILENT.to_owned(),
            };
            if renewed.elapsed() >= RENEW_DEADLINE {
                return self.lost(&why);
            }
            tracing::warn!(lease = %self.name, "the lease cannot be renewed, and is tried again: {why}");
        }
    }

    /// Whether it is still held. That somebody has put a label on it meanwhile is an error, after which it is tried again.
    async fn renew(&self) -> Result<bool, kube::Error> {
        let Some(found) = self.api.get_opt(&self.name).await? else {
            // Somebody has deleted it.
            return taken(self.api.create(&PostParams::default(), &self.held(Lease::default())).await);
        };
        let is_ours = found.spec.as_ref().and_then(|spec| spec.holder_identity.as_ref()) == Some(&self.identity);
        if is_ours {
            self.api.replace(&self.name, &PostParams::default(), &self.held(found)).await?;
        }
        Ok(is_ours)
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
        let why = match tokio::time::timeout(PATIENCE, released).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => SILENT.to_owned(),
        };
        tracing::warn!(lease = %self.name, "the lease could not be given back and has to expire: {why}");
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::Json;
    use axum::Router;
    use axum::extract::State;
    use axum::http::StatusCode;
    use axum::response::{IntoResponse, Response};
    use axum::routing::get;
    use serde_json::{Value, json};

    use super::*;

    /// An API server with one Lease, which can fall silent.
    #[derive(Clone, Default)]
    struct Server {
        lease: Arc<Mutex<Option<Lease>>>,
        is_silent: Arc<Mutex<bool>>,
    }

    impl Server {
        fn candidate(&self, identity: &str) -> Candidate {
            let lease = get(Self::read).put(Self::write);
            let app = Router::new()
                .route("/apis/coordination.k8s.io/v1/namespaces/ns/leases/lease", lease)
                .route("/apis/coordination.k8s.io/v1/namespaces/ns/leases", axum::routing::post(Self::write))
                .with_state(self.clone());
            Candidate::new(Client::new(app, "ns"), "ns", "lease", identity)
        }

        fn holder(&self) -> Option<String> {
            self.lease.lock().unwrap().clone()?.spec?.holder_identity
        }

        async fn answer(&self) {
            if *self.is_silent.lock().unwrap() {
                std::future::pending::<()>().await;
            }
        }

        async fn read(State(server): State<Self>) -> Response {
            server.answer().await;
            let lease = server.lease.lock().unwrap().clone();
            lease.map_or_else(|| refusal(StatusCode::NOT_FOUND, "NotFound"), |lease| Json(lease).into_response())
        }

        async fn write(State(server): State<Self>, Json(mut lease): Json<Lease>) -> Response {
            server.answer().await;
            let mut held = server.lease.lock().unwrap();
            let version = held.as_ref().and_then(|held| held.metadata.resource_version.clone());
            if lease.metadata.resource_version != version {
                return refusal(StatusCode::CONFLICT, "Conflict");
            }
            let next = version.map_or(1, |version| version.parse::<u64>().unwrap() + 1);
            lease.metadata.resource_version = Some(next.to_string());
            *held = Some(lease.clone());
            Json(lease).into_response()
        }
    }

    fn refusal(code: StatusCode, reason: &str) -> Response {
        let body: Value = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": reason, "code": code.as_u16() });
        (code, Json(body)).into_response()
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_cannot_renew_gives_up_before_another_may_take_over() {
        let server = Server::default();
        let (first, second) = (server.candidate("first"), server.candidate("second"));
        let acquired = first.acquire().await;
        *server.is_silent.lock().unwrap() = true;
        let lost = first.keep(acquired).await;
        let given_up = acquired.elapsed();
        assert_eq!(lost.to_string(), "the lease lease was lost: the API server does not answer");
        assert!(given_up >= RENEW_DEADLINE && given_up < DURATION, "{given_up:?}");
        // Another has to see for itself for how long it does not change.
        *server.is_silent.lock().unwrap() = false;
        let asked = Instant::now();
        second.acquire().await;
        assert!(asked.elapsed() >= DURATION);
        assert_eq!(server.holder().as_deref(), Some("second"));
        assert!(first.keep(Instant::now()).await.to_string().ends_with("another operator holds it"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_goes_on_after_a_short_silence_and_through_what_others_do_to_its_lease() {
        let server = Server::default();
        let holder = server.candidate("first");
        let acquired = holder.acquire().await;
        let disturbed = async {
            *server.is_silent.lock().unwrap() = true;
            tokio::time::sleep(RENEW_DEADLINE / 2).await;
            *server.is_silent.lock().unwrap() = false;
            *server.lease.lock().unwrap() = None;
            tokio::time::sleep(2 * DURATION).await;
        };
        tokio::select! {
            lost = holder.keep(acquired) => panic!("{lost}"),
            () = disturbed => {}
        }
        assert_eq!(server.holder().as_deref(), Some("first"));
        holder.release().await;
        let other = server.candidate("second");
        let asked = Instant::now();
        other.acquire().await;
        assert!(asked.elapsed() < DURATION, "one that was given back is free at once");
    }
}
