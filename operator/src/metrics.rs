//! What Prometheus is told: made of the statuses at every scrape, so that an operator that was started again tells the same.

use std::fmt;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use jiff::Timestamp;
use kube::ResourceExt;
use kube::runtime::reflector::Store;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::api::history::Totals;
use crate::api::restore_status::RestoreStatus;
use crate::decide::BUCKETS;
use crate::kinds::{Backup, Reconciled, Restore};
use crate::state::BackupState;

/// Seconds of a reconcile, from a look at the stores to a few calls.
const RECONCILE_BUCKETS: [f64; 8] = [0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0];

/// Counts of this process, and where the statuses are. Clones share both.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    stores: Arc<Stores>,
    reconciliations: Counter,
    failures: Counter,
    seconds: Histogram,
}

/// Reads the rows of a scope.
type Rows<R> = Box<dyn Fn() -> Vec<R> + Send + Sync>;

#[derive(Default)]
struct Stores {
    backups: RwLock<Vec<Rows<BackupRow>>>,
    restores: RwLock<Vec<Rows<RestoreRow>>>,
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stores")
    }
}

/// Group, namespace, name and cluster of a resource.
type Labels = [(&'static str, String); 4];

/// What a `KafkaBackup` adds.
struct BackupRow {
    labels: Labels,
    state: BackupState,
}

/// What a `KafkaRestore` adds.
struct RestoreRow {
    labels: Labels,
    state: RestoreStatus,
}

fn labels<K: Reconciled>(resource: &K) -> Labels {
    [
        ("group", K::GROUP.to_owned()),
        ("namespace", resource.namespace().unwrap_or_default()),
        ("name", resource.name_any()),
        ("cluster", resource.kafka().unwrap_or_default().to_owned()),
    ]
}

impl Default for Metrics {
    fn default() -> Self {
        let stores = Arc::new(Stores::default());
        let mut registry = Registry::default();
        let (reconciliations, failures) = (Counter::default(), Counter::default());
        let seconds = Histogram::new(RECONCILE_BUCKETS);
        registry.register("kafka_backup_reconciliations", "Reconciles that were begun", reconciliations.clone());
        registry.register(
            "kafka_backup_reconcile_failures",
            "Reconciles that failed and are tried again",
            failures.clone(),
        );
        registry.register("kafka_backup_reconcile_duration_seconds", "Seconds that a reconcile takes", seconds.clone());
        registry.register_collector(Box::new(Statuses(Arc::clone(&stores))));
        Self { registry: Arc::new(Mutex::new(registry)), stores, reconciliations, failures, seconds }
    }
}

impl Metrics {
    /// Adds the resources of one group in one scope.
    pub fn watch<B: Backup, R: Restore>(&self, backups: Store<B>, restores: Store<R>) {
        let rows = move || {
            backups
                .state()
                .iter()
                .map(|backup| BackupRow { labels: labels(&**backup), state: backup.state() })
                .collect()
        };
        self.stores.backups.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(rows));
        let rows = move || {
            restores
                .state()
                .iter()
                .map(|restore| RestoreRow { labels: labels(&**restore), state: restore.state() })
                .collect()
        };
        self.stores.restores.write().unwrap_or_else(PoisonError::into_inner).push(Box::new(rows));
    }

    /// Forgets all resources: other stores are about to be made.
    pub fn forget(&self) {
        self.stores.backups.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.stores.restores.write().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Counts a reconcile.
    ///
    /// # Errors
    /// Its own.
    pub async fn count<T, E>(&self, reconcile: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let started = Instant::now();
        self.reconciliations.inc();
        let result = reconcile.await;
        self.seconds.observe(started.elapsed().as_secs_f64());
        if result.is_err() {
            self.failures.inc();
        }
        result
    }

    /// All of it, in the OpenMetrics text format.
    ///
    /// # Errors
    /// None that is known: the format is written to a text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode(&mut out, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(out)
    }
}

/// What the statuses say.
#[derive(Debug)]
struct Statuses(Arc<Stores>);

impl Collector for Statuses {
    fn encode(&self, mut out: DescriptorEncoder<'_>) -> fmt::Result {
        let now = Timestamp::now();
        let backups: Vec<BackupRow> =
            self.0.backups.read().unwrap_or_else(PoisonError::into_inner).iter().flat_map(|rows| rows()).collect();
        let restores: Vec<RestoreRow> =
            self.0.restores.read().unwrap_or_else(PoisonError::into_inner).iter().flat_map(|rows| rows()).collect();
        encode_backups(&mut out, &backups, now)?;
        encode_restores(&mut out, &restores)
    }
}

fn encode_backups(out: &mut DescriptorEncoder<'_>, rows: &[BackupRow], now: Timestamp) -> fmt::Result {
    let each = || rows.iter().map(|row| (&row.labels, &row.state));
    counter(
        out,
        "strimzi_backup_records",
        "Total records backed up",
        each().map(|(of, state)| (of, state.common.totals.records)),
    )?;
    counter(
        out,
        "strimzi_backup_bytes",
        "Total bytes backed up",
        each().map(|(of, state)| (of, state.common.totals.bytes)),
    )?;
    durations(
        out,
        "strimzi_backup_duration_seconds",
        "Backup duration",
        each().map(|(of, state)| (of, &state.common.totals)),
    )?;
    let second = |text: &str| text.parse::<Timestamp>().ok().map(Timestamp::as_second);
    let success = |state: &BackupState| state.newest.as_ref().and_then(|newest| second(&newest.completed_at));
    let failure = |state: &BackupState| state.last_failure_time.as_deref().and_then(second);
    let given =
        |value: fn(&BackupState) -> Option<i64>| each().filter_map(move |(of, state)| Some((of, value(state)?)));
    gauge(
        out,
        "strimzi_backup_last_success_timestamp",
        "Last successful backup time, in seconds since the epoch",
        each().filter_map(|(of, state)| Some((of, success(state)?))),
    )?;
    gauge(
        out,
        "strimzi_backup_last_failure_timestamp",
        "Last failed backup time, in seconds since the epoch",
        each().filter_map(|(of, state)| Some((of, failure(state)?))),
    )?;
    gauge(out, "strimzi_backup_storage_bytes", "Total storage used", given(|state| state.storage_bytes))?;
    gauge(
        out,
        "strimzi_backup_lag_seconds",
        "Time since the newest complete backup was finished, in seconds",
        each().filter_map(|(of, state)| Some((of, now.as_second() - success(state)?))),
    )?;
    gauge(
        out,
        "kafka_backup_backup_size_bytes",
        "Bytes of the newest backup in the storage",
        given(|state| Some(state.newest.as_ref()?.size)),
    )?;
    gauge(
        out,
        "kafka_backup_backup_records",
        "Records in the newest backup",
        given(|state| Some(state.newest.as_ref()?.records)),
    )?;
    by_status(
        out,
        "kafka_backup_backups",
        "Backup runs that have ended, by status",
        each().map(|(of, state)| (of, &state.common.totals)),
    )
}

fn encode_restores(out: &mut DescriptorEncoder<'_>, rows: &[RestoreRow]) -> fmt::Result {
    let each = || rows.iter().map(|row| (&row.labels, &row.state));
    counter(
        out,
        "strimzi_restore_records",
        "Total records restored",
        each().map(|(of, state)| (of, state.common.totals.records)),
    )?;
    counter(
        out,
        "strimzi_restore_bytes",
        "Total bytes restored",
        each().map(|(of, state)| (of, state.common.totals.bytes)),
    )?;
    durations(
        out,
        "strimzi_restore_duration_seconds",
        "Restore duration",
        each().map(|(of, state)| (of, &state.common.totals)),
    )?;
    by_status(
        out,
        "kafka_backup_restores",
        "Restores that have ended, by status",
        each().map(|(of, state)| (of, &state.common.totals)),
    )
}

fn counter<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (&'a Labels, i64)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, value) in rows {
        let value = u64::try_from(value).unwrap_or_default();
        metric.encode_family(labels)?.encode_counter::<[(&str, &str); 0], u64, f64>(&value, None)?;
    }
    Ok(())
}

fn gauge<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (&'a Labels, i64)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for (labels, value) in rows {
        metric.encode_family(labels)?.encode_gauge(&value)?;
    }
    Ok(())
}

fn by_status<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (&'a Labels, &'a Totals)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Counter)?;
    for (labels, totals) in rows {
        for (status, count) in [("success", totals.succeeded), ("partial", totals.partial), ("failed", totals.failed)] {
            let [group, namespace, name, cluster] = labels.clone();
            let labels = [group, namespace, name, cluster, ("status", status.to_owned())];
            let count = u64::try_from(count).unwrap_or_default();
            metric.encode_family(&labels)?.encode_counter::<[(&str, &str); 0], u64, f64>(&count, None)?;
        }
    }
    Ok(())
}

fn durations<'a>(
    out: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    rows: impl Iterator<Item = (&'a Labels, &'a Totals)>,
) -> fmt::Result {
    let mut metric = out.encode_descriptor(name, help, None, MetricType::Histogram)?;
    for (labels, totals) in rows {
        histogram(metric.encode_family(labels)?, totals)?;
    }
    Ok(())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus counts in floating point; seconds and bounds are far from 2^53"
)]
fn histogram(mut metric: MetricEncoder<'_>, totals: &Totals) -> fmt::Result {
    let bounds = BUCKETS.iter().map(|bound| *bound as f64).chain([f64::INFINITY]);
    let counts = totals.duration_buckets.iter().map(|count| u64::try_from(*count).unwrap_or_default());
    let buckets: Vec<(f64, u64)> = bounds.zip(counts.chain(std::iter::repeat(0))).collect();
    let count = buckets.iter().map(|(_, count)| count).sum();
    metric.encode_histogram::<[(&str, &str); 0]>(totals.seconds as f64, count, &buckets, None)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kube::runtime::reflector::store::Writer;
    use kube::runtime::watcher::Event;

    use super::*;
    use crate::api::strimzi::{KafkaBackup, KafkaRestore};

    fn store<K: Reconciled>(text: &str) -> Store<K> {
        let mut writer = Writer::<K>::default();
        writer.apply_watcher_event(&Event::Apply(serde_saphyr::from_str(text).unwrap()));
        writer.as_reader()
    }

    /// What is told of one backup and one restore, each of which has run.
    fn told() -> String {
        let totals = "totals: {succeeded: 2, partial: 1, failed: 3, records: 40, bytes: 500, seconds: 9, durationBuckets: [3, 0, 0, 0, 0, 0, 0, 0, 0]}";
        let metadata = "metadata: {name: nightly, namespace: kafka}";
        let backup = format!(
            "apiVersion: backup.strimzi.io/v1alpha1
kind: KafkaBackup
{metadata}
spec: {{strimziClusterRef: {{name: my-cluster}}, storage: {{type: s3, s3: {{bucket: backups}}}}}}
status:
  {totals}
  lastBackup: {{id: nightly-1, records: 20, size: 250}}
  lastSuccessTime: '2026-02-02T02:00:00Z'
  lastFailureTime: '2026-02-01T02:00:00Z'
  storageBytes: 600
"
        );
        let restore = format!(
            "apiVersion: backup.strimzi.io/v1alpha1
kind: KafkaRestore
{metadata}
spec: {{strimziClusterRef: {{name: my-cluster}}, backupRef: {{name: nightly}}}}
status: {{{totals}}}
"
        );
        let metrics = Metrics::default();
        metrics.watch(store::<KafkaBackup>(&backup), store::<KafkaRestore>(&restore));
        metrics.text().unwrap()
    }

    #[test]
    fn the_metrics_are_those_of_the_document_and_of_its_types() {
        let document = include_str!("../../docs/metrics.md");
        let rows = document.lines().filter_map(|line| line.strip_prefix("| `")?.split_once("` | "));
        let written: BTreeSet<(String, String)> =
            rows.map(|(name, rest)| (name.to_owned(), rest.split(' ').next().unwrap_or_default().to_owned())).collect();
        let text = told();
        let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        let found = types.map(|(name, type_)| {
            let suffix = if type_ == "counter" { "_total" } else { "" };
            (format!("{name}{suffix}"), type_.to_owned())
        });
        assert_eq!(found.collect::<BTreeSet<_>>(), written);
    }

    #[test]
    fn each_tells_what_the_status_says() {
        let text = told();
        let value = |name: &str, label: &str| -> f64 {
            let is_it = |line: &&str| line.starts_with(&format!("{name}{{")) && line.contains(label);
            let line = text.lines().find(is_it).unwrap_or_else(|| panic!("{name} {label} is not in {text}"));
            line.rsplit(' ').next().unwrap().parse().unwrap()
        };
        let of = "group=\"backup.strimzi.io\",namespace=\"kafka\",name=\"nightly\",cluster=\"my-cluster\"";
        for (name, wanted) in [
            ("strimzi_backup_records_total", 40.0),
            ("strimzi_backup_bytes_total", 500.0),
            ("strimzi_backup_duration_seconds_count", 3.0),
            ("strimzi_backup_duration_seconds_sum", 9.0),
            ("strimzi_backup_last_success_timestamp", 1_769_997_600.0),
            ("strimzi_backup_last_failure_timestamp", 1_769_911_200.0),
            ("strimzi_backup_storage_bytes", 600.0),
            ("strimzi_restore_records_total", 40.0),
            ("strimzi_restore_bytes_total", 500.0),
            ("strimzi_restore_duration_seconds_count", 3.0),
            ("kafka_backup_backup_size_bytes", 250.0),
            ("kafka_backup_backup_records", 20.0),
        ] {
            assert_eq!(value(name, of), wanted, "{name}");
        }
        for (status, wanted) in [("success", 2.0), ("partial", 1.0), ("failed", 3.0)] {
            for name in ["kafka_backup_backups_total", "kafka_backup_restores_total"] {
                assert_eq!(value(name, &format!("status=\"{status}\"")), wanted, "{name} {status}");
            }
        }
        assert!(value("strimzi_backup_lag_seconds", of) > 0.0);
    }
}
