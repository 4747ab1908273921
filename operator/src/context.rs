//! What a reconcile works with.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::Pod;
use kube::Client;
use kube::runtime::reflector::Store;
use tokio::sync::watch;

use crate::ask::Asker;
use crate::build::Installation;
use crate::metrics::Metrics;
use crate::references::StrimziStores;

/// What a reconcile works with. The stores hold what the watches have seen; nothing is read from the API server that they hold.
#[derive(Clone)]
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What no watch tells.
    pub asker: Asker,
    /// What the installation says of every pod.
    pub installation: Installation,
    /// Counts of reconciles.
    pub metrics: Metrics,
    /// Our Jobs.
    pub jobs: Store<Job>,
    /// Their pods.
    pub pods: Store<Pod>,
    /// Our CronJobs.
    pub cron_jobs: Store<CronJob>,
    /// Strimzi's resources, where Strimzi is and a resource may name them.
    pub strimzi: Option<StrimziStores>,
    /// Becomes true when these stores hold what the API server holds.
    pub synced: watch::Receiver<bool>,
}

impl Context {
    /// Waits until the stores are filled; false when they never will be, since everything is about to end. Who reconciles before they are
    /// would take every run for lost.
    pub async fn is_synced(&self) -> bool {
        self.synced.clone().wait_for(|is_synced| *is_synced).await.is_ok()
    }
}
