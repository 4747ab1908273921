//! The arguments, each of which an environment variable can give too.

use std::net::SocketAddr;
use std::str::FromStr;

use clap::{ArgAction, Parser, ValueEnum};

use crate::build::Installation;

/// Backs up and restores Kafka clusters: watches KafkaBackup and KafkaRestore resources and runs Jobs for them
#[derive(Debug, Clone, Parser)]
#[command(name = "strimzi-backup-operator", version, max_term_width = 120)]
pub struct Arguments {
    /// Namespaces to watch, separated by commas; all when empty
    #[arg(long, env = "WATCH_NAMESPACES", value_delimiter = ',', value_name = "NAMESPACE")]
    pub watch_namespaces: Vec<String>,
    /// The image of the runs: the operator's own
    #[arg(long, env = "KAFKA_BACKUP_IMAGE", value_name = "IMAGE")]
    pub image: String,
    /// How Kubernetes pulls it: Always, IfNotPresent or Never; Kubernetes' default when empty
    #[arg(long, env = "KAFKA_BACKUP_IMAGE_PULL_POLICY", default_value = "", value_name = "POLICY")]
    pub image_pull_policy: String,
    /// Secrets to pull it with, in the namespace of each run, separated by commas
    #[arg(long, env = "KAFKA_BACKUP_IMAGE_PULL_SECRETS", value_delimiter = ',', value_name = "SECRET")]
    pub image_pull_secrets: Vec<String>,
    /// The service account of runs whose resource names none; the namespace's default when empty
    #[arg(long, env = "KAFKA_BACKUP_SERVICE_ACCOUNT", default_value = "", value_name = "NAME")]
    pub job_service_account: String,
    /// The user and group that runs have unless their resource says otherwise, 1 to 2147483647; the platform's choice when empty
    #[arg(long, env = "KAFKA_BACKUP_RUN_AS_USER", default_value = "65532", value_name = "ID")]
    pub job_run_as_user: RunAsUser,
    /// Whether runs carry the label by which Azure Workload Identity finds them
    #[arg(long, env = "AZURE_WORKLOAD_IDENTITY", default_value_t = false, action = ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub azure_workload_identity: bool,
    /// Whether kafka.oso.sh is served beside backup.strimzi.io
    #[arg(long, env = "KAFKA_OSO_ENABLED", default_value_t = true, action = ArgAction::Set)]
    pub kafka_oso: bool,
    /// Whether several operators agree on one that works
    #[arg(long, env = "LEADER_ELECTION_ENABLED", default_value_t = false, action = ArgAction::Set)]
    pub leader_election: bool,
    /// The Lease that they agree by
    #[arg(long, env = "LEASE_NAME", default_value = "strimzi-backup-operator", value_name = "NAME")]
    pub lease_name: String,
    /// The namespace of the Lease
    #[arg(long, env = "POD_NAMESPACE", default_value = "default", value_name = "NAMESPACE")]
    pub pod_namespace: String,
    /// What tells this operator from others
    #[arg(long, env = "POD_NAME", default_value = "strimzi-backup-operator", value_name = "NAME")]
    pub pod_name: String,
    /// Which log lines are written, as tracing's filters say it
    #[arg(long, env = "RUST_LOG", default_value = "info", value_name = "FILTER")]
    pub log_level: String,
    /// How they are written
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value = "json", value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// Whether Prometheus is answered
    #[arg(long, env = "METRICS_ENABLED", default_value_t = true, action = ArgAction::Set)]
    pub metrics: bool,
    /// Where Prometheus asks for /metrics
    #[arg(long, default_value = "0.0.0.0:9090", value_name = "ADDRESS:PORT")]
    pub metrics_address: SocketAddr,
    /// Where probes ask for /healthz and /readyz
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT")]
    pub health_address: SocketAddr,
}

/// A user of pods by its number, or whichever the platform chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunAsUser(pub Option<i64>);

impl FromStr for RunAsUser {
    type Err = String;

    /// Root is refused: pods say that they do not run as root, and the kubelet would start none of them.
    fn from_str(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let user = text.parse().ok().filter(|user| (1..=i64::from(i32::MAX)).contains(user));
        let user = user.ok_or_else(|| format!("give a number from 1 to {}, or nothing", i32::MAX))?;
        Ok(Self(Some(user)))
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Arguments {
    /// What the installation says of every pod.
    pub fn installation(&self) -> Installation {
        let given = |text: &String| (!text.is_empty()).then(|| text.clone());
        Installation {
            image: self.image.clone(),
            image_pull_policy: given(&self.image_pull_policy),
            image_pull_secrets: self.image_pull_secrets.iter().filter_map(given).collect(),
            service_account: given(&self.job_service_account),
            user: self.job_run_as_user.0,
            has_azure_workload_identity: self.azure_workload_identity,
        }
    }

    /// The namespaces to watch; `None` stands for all of them.
    pub fn scopes(&self) -> Vec<Option<String>> {
        let mut named: Vec<Option<String>> = self
            .watch_namespaces
            .iter()
            .map(|name| name.trim())
            .filter(|name| !name.is_empty())
            .map(|name| Some(name.to_owned()))
            .collect();
        named.sort();
        named.dedup();
        if named.is_empty() { vec![None] } else { named }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(more: &[&str]) -> Arguments {
        Arguments::try_parse_from([&["operator", "--image", "i"], more].concat()).unwrap()
    }

    #[test]
    fn no_namespace_means_all_of_them() {
        assert_eq!(arguments(&[]).scopes(), [None]);
        assert_eq!(arguments(&["--watch-namespaces", ""]).scopes(), [None]);
        assert_eq!(arguments(&["--watch-namespaces", "b, a,b"]).scopes(), [Some("a".to_owned()), Some("b".to_owned())]);
    }

    #[test]
    fn what_is_empty_is_left_to_kubernetes() {
        let empty = ["--image-pull-policy", "", "--image-pull-secrets", "", "--job-run-as-user", ""];
        let installation = arguments(&empty).installation();
        assert_eq!(installation, Installation { image: "i".to_owned(), ..Installation::default() });
    }

    #[test]
    fn runs_have_the_user_of_the_image_or_another_that_is_not_root() {
        assert_eq!(arguments(&[]).installation().user, Some(65_532));
        assert_eq!(arguments(&["--job-run-as-user", "1000"]).installation().user, Some(1_000));
        for no_user in ["0", "-1", "2147483648", "nobody"] {
            let error = no_user.parse::<RunAsUser>().unwrap_err();
            assert_eq!(error, "give a number from 1 to 2147483647, or nothing", "{no_user}");
        }
    }
}
