//! How far a run is, for whoever asks over HTTP: an operator, a probe, Prometheus.

use std::fmt::Write as _;
use std::net::SocketAddr;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use kafka_backup::config::RunKind;
use kafka_backup::progress::{Pace, Progress};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::Instant;

const JSON: &str = "application/json";
/// Prometheus' text format (<https://prometheus.io/docs/instrumenting/exposition_formats/>).
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The address cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("--listen {address}: {why}")]
pub struct Error {
    address: SocketAddr,
    why: std::io::Error,
}

/// A server that answers until it is dropped.
#[derive(Debug)]
pub struct Server(JoinHandle<()>);

impl Drop for Server {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Answers about the run from now on.
///
/// # Errors
/// When the address is taken, or is not one of this machine.
pub async fn serve(address: SocketAddr, run: RunKind, progress: Progress, started: Instant) -> Result<Server, Error> {
    let listener = TcpListener::bind(address).await.map_err(|why| Error { address, why })?;
    if let Ok(bound) = listener.local_addr() {
        tracing::info!("the progress is told at http://{bound}/progress, metrics at http://{bound}/metrics");
    }
    let pace = move || progress.snapshot().pace(started.elapsed());
    let of_metrics = pace.clone();
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/progress", get(async move || ([(CONTENT_TYPE, JSON)], json(run, &pace()))))
        .route("/metrics", get(async move || ([(CONTENT_TYPE, PROMETHEUS)], metrics(run, &of_metrics()))));
    Ok(Server(tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, routes).await {
            tracing::warn!("nobody can ask about the progress any more: {error}");
        }
    })))
}

fn json(run: RunKind, pace: &Pace) -> String {
    #[derive(Serialize)]
    struct Answer<'a> {
        run: &'static str,
        #[serde(flatten)]
        pace: &'a Pace,
    }
    serde_json::to_string(&Answer { run: run.name(), pace }).expect("an answer has string keys and finite numbers only")
}

/// Counters and gauges by Prometheus' rules (<https://prometheus.io/docs/practices/naming/>): base units, `_total` for what
/// only grows, and no rates, which `rate()` takes from counters. What is not known yet is left out.
fn metrics(run: RunKind, pace: &Pace) -> String {
    let Pace { offsets, offsets_total, percent, records, bytes, elapsed_ms, eta_seconds, .. } = *pace;
    let known = (offsets_total > 0).then_some(offsets_total);
    let milliseconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
    let rows = [
        ("records_total", "counter", "Records that this run has copied.", Some(records.to_string())),
        ("bytes_total", "counter", "Bytes of record batches that this run has copied.", Some(bytes.to_string())),
        (
            "offsets_total",
            "counter",
            "Offsets that are dealt with, holes and those of an earlier run among them.",
            Some(offsets.to_string()),
        ),
        ("offsets_expected", "gauge", "Offsets that the run has to deal with.", known.map(|known| known.to_string())),
        (
            "progress_ratio",
            "gauge",
            "How far the run is, from 0 to 1.",
            percent.map(|percent| (percent / 100.0).to_string()),
        ),
        ("elapsed_seconds", "gauge", "Time since the run began.", Some(milliseconds(elapsed_ms))),
        (
            "remaining_seconds",
            "gauge",
            "Time until the end, if the run goes on at its pace.",
            eta_seconds.map(|seconds| seconds.to_string()),
        ),
    ];
    let mut text = String::new();
    for (name, kind, help, value) in rows {
        if let Some(value) = value {
            let run = run.name();
            // Writing into a String cannot fail.
            let _ = write!(
                text,
                "# HELP kafka_backup_run_{name} {help}\n# TYPE kafka_backup_run_{name} {kind}\n\
                 kafka_backup_run_{name}{{run=\"{run}\"}} {value}\n"
            );
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use kafka_backup::progress::Snapshot;

    use super::*;

    fn pace(snapshot: Snapshot) -> Pace {
        snapshot.pace(Duration::from_millis(2500))
    }

    #[test]
    fn what_is_not_known_is_null_and_no_metric() {
        let pace = pace(Snapshot::default());
        let answer: serde_json::Value = serde_json::from_str(&json(RunKind::Backup, &pace)).unwrap();
        let expected = serde_json::json!({
            "run": "backup", "offsets": 0, "offsetsTotal": 0, "percent": null, "records": 0, "bytes": 0,
            "elapsedMs": 2500, "bytesPerSecond": 0, "recordsPerSecond": 0, "etaSeconds": null
        });
        assert_eq!(answer, expected);
        let metrics = metrics(RunKind::Backup, &pace);
        assert!(!metrics.contains("progress_ratio") && !metrics.contains("remaining_seconds"), "{metrics}");
    }

    #[test]
    fn metrics_are_in_base_units_with_help_and_type() {
        let snapshot = Snapshot { offsets_total: 400, offsets: 100, offsets_before: 50, records: 40, bytes: 1000 };
        let text = metrics(RunKind::Restore, &pace(snapshot));
        for line in [
            "# TYPE kafka_backup_run_records_total counter",
            "kafka_backup_run_records_total{run=\"restore\"} 40",
            "kafka_backup_run_bytes_total{run=\"restore\"} 1000",
            "kafka_backup_run_offsets_total{run=\"restore\"} 100",
            "kafka_backup_run_offsets_expected{run=\"restore\"} 400",
            "kafka_backup_run_progress_ratio{run=\"restore\"} 0.25",
            "kafka_backup_run_elapsed_seconds{run=\"restore\"} 2.500",
            "kafka_backup_run_remaining_seconds{run=\"restore\"} 15",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(text.ends_with('\n') && text.lines().count() == 21, "{text}");
    }
}
