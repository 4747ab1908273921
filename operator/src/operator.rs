//! The process: probes and metrics, the lease, the APIs that are served, and the controllers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use strimzi_discovery::fetch::{self, Served};
use tokio::sync::{Notify, watch};

use crate::api::{OSO_GROUP, STRIMZI_GROUP, VERSION};
use crate::args::Arguments;
use crate::controllers::{Settings, controllers};
use crate::health::{self, Readiness};
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::watches::stopped;

/// While something is missing that somebody has to install, it is looked for this often.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Runs until it is asked to stop, or cannot go on.
///
/// # Errors
/// When there is no API server, a port is taken, or the lease is lost.
pub async fn run(arguments: Arguments) -> Result<()> {
    let client = client().await.context("cannot find the API server")?;
    let (stopper, stop) = watch::channel(false);
    let (readiness, metrics) = (Readiness::default(), Metrics::default());
    let probes = tokio::spawn(health::serve_probes(arguments.health_address, readiness.clone(), stopped(stop.clone())));
    let scraped = arguments.metrics.then(|| {
        tokio::spawn(health::serve_metrics(arguments.metrics_address, metrics.clone(), stopped(stop.clone())))
    });
    let candidate = arguments
        .leader_election
        .then(|| Candidate::new(client.clone(), &arguments.pod_namespace, &arguments.lease_name, &arguments.pod_name));

    // Whoever has not begun ends as soon as it is asked to.
    let lead = async {
        wait_for_kinds(&client, arguments.kafka_oso).await;
        let Some(candidate) = &candidate else { return None };
        readiness.set(true);
        tracing::info!(lease = %arguments.lease_name, "waiting for the lease");
        let acquired = candidate.acquire().await;
        tracing::info!(lease = %arguments.lease_name, "the lease is held");
        // It is not any more before its watches are synced.
        readiness.set(false);
        Some((candidate, acquired))
    };
    let work = async {
        let leader = tokio::select! {
            leader = lead => leader,
            () = stopped(stop.clone()) => return Ok(()),
        };
        let controlled = control(&client, &arguments, &metrics, &readiness, &stop);
        match leader {
            None => controlled.await,
            Some((candidate, acquired)) => tokio::select! {
                controlled = controlled => controlled,
                lost = candidate.keep(acquired) => Err(lost.into()),
            },
        }
    };
    let result = tokio::select! {
        result = work => result,
        result = listen(probes, "health") => result,
        result = async { match scraped { Some(scraped) => listen(scraped, "metrics").await, None => std::future::pending().await } } => result,
        () = asked_to_stop(stopper) => Ok(()),
    };
    if let (Some(candidate), Ok(())) = (&candidate, &result) {
        candidate.release().await;
    }
    result
}

/// A client that waits for no answer for ever: a watch, which is the longest, ends by itself before that.
async fn client() -> Result<Client> {
    const READ_TIMEOUT: Duration = Duration::from_secs(330);
    let mut config = kube::Config::infer().await?;
    config.read_timeout = Some(READ_TIMEOUT);
    config.reset_reader_on_write = true;
    Ok(Client::try_from(config)?)
}

/// Runs the controllers; again whenever Strimzi's API has become another.
async fn control(
    client: &Client,
    arguments: &Arguments,
    metrics: &Metrics,
    readiness: &Readiness,
    stop: &watch::Receiver<bool>,
) -> Result<()> {
    let failed = Arc::new(Notify::new());
    loop {
        let strimzi = served(client).await;
        match &strimzi {
            Some(served) => tracing::info!(api = %served.kafka.api_version, "Strimzi is there"),
            None => tracing::info!("Strimzi is not there: resources that name a Kafka cluster wait for it"),
        }
        let (ender, end) = watch::channel(false);
        let settings = Settings {
            client: client.clone(),
            installation: arguments.installation(),
            has_oso: arguments.kafka_oso,
            strimzi: strimzi.clone(),
            metrics: metrics.clone(),
            failed: Arc::clone(&failed),
            stop: end,
        };
        metrics.forget();
        let mut tasks = tokio::task::JoinSet::new();
        let mut synced = Vec::new();
        for scope in arguments.scopes() {
            let made = controllers(&settings, scope.as_deref()).context("cannot make a client for pods")?;
            synced.push(made.synced);
            tasks.spawn(made.ended);
        }
        let ready = async {
            if futures::future::join_all(synced).await.into_iter().all(|is_synced| is_synced) {
                readiness.set(true);
                tracing::info!("watches are synced");
            }
            std::future::pending::<()>().await;
        };
        let is_over = tokio::select! {
            () = ready => true,
            () = changed(client, strimzi.as_ref(), &failed) => false,
            () = stopped(stop.clone()) => true,
            Some(ended) = tasks.join_next() => bail!("the controllers have ended by themselves: {ended:?}"),
        };
        // Reconciles that are under way end before anything else begins.
        let _ = ender.send(true);
        while tasks.join_next().await.is_some() {}
        if is_over {
            return Ok(());
        }
    }
}

/// Which API of Strimzi's is served. Whoever does not answer is asked again.
async fn served(client: &Client) -> Option<Served> {
    loop {
        match fetch::served(client).await {
            Ok(served) => return served,
            Err(error) => {
                tracing::warn!("the API server does not say which APIs it serves, and is asked again: {error}")
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Ends when Strimzi's API is another than the one that is known: it was installed, upgraded, or is gone. One that is known is asked for
/// again when a watch fails, so that an idle operator makes no call.
async fn changed(client: &Client, known: Option<&Served>, failed: &Notify) {
    // Whoever does not answer is asked again.
    let is_another = || async { fetch::served(client).await.is_ok_and(|served| served.as_ref() != known) };
    loop {
        match known {
            None => tokio::time::sleep(LOOK_EVERY).await,
            Some(_) => failed.notified().await,
        }
        if is_another().await {
            // An API server that was just started does not serve yet all that it will.
            tokio::time::sleep(LOOK_EVERY).await;
            if is_another().await {
                return;
            }
        }
    }
}

/// Waits until the kinds of the operator are defined.
async fn wait_for_kinds(client: &Client, has_oso: bool) {
    let groups: &[&str] = if has_oso { &[STRIMZI_GROUP, OSO_GROUP] } else { &[STRIMZI_GROUP] };
    for group in groups {
        while let Err(error) = has_kinds(client, group).await {
            tracing::warn!(group, "waiting for the custom resource definitions: {error:#}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

async fn has_kinds(client: &Client, group: &str) -> Result<()> {
    let served = client
        .list_api_group_resources(&format!("{group}/{VERSION}"))
        .await
        .context("the API server does not serve them")?;
    for kind in ["KafkaBackup", "KafkaRestore"] {
        if !served.resources.iter().any(|resource| resource.kind == kind) {
            bail!("{kind} is not defined");
        }
    }
    Ok(())
}

async fn listen(server: tokio::task::JoinHandle<std::io::Result<()>>, what: &str) -> Result<()> {
    match server.await {
        Ok(Ok(())) => std::future::pending().await,
        Ok(Err(error)) => Err(error).with_context(|| format!("cannot listen for {what}")),
        Err(error) => Err(error).with_context(|| format!("the {what} server ended")),
    }
}

/// Ends a moment after a signal: whatever is under way hears of it first.
async fn asked_to_stop(stopper: watch::Sender<bool>) {
    const PATIENCE: Duration = Duration::from_secs(10);
    let mut terminate = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::warn!("SIGTERM cannot be listened for: {error}");
            return std::future::pending().await;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("stopping");
    let _ = stopper.send(true);
    tokio::time::sleep(PATIENCE).await;
}
