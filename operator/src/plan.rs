//! What is to run for a resource: one neutral value, whichever API group the resource is of.
//!
//! [`strimzi`] and [`oso`] make it from a spec and what the spec refers to; they are pure. Everything after them ([`crate::build`] and on)
//! knows nothing of the two groups.

mod archive;
mod connection;
pub mod cron;
mod fields;
pub mod oso;
mod pod;
mod refusal;
mod settings;
mod storage;
pub mod strimzi;
#[cfg(test)]
mod twins;

use std::collections::BTreeMap;

use kafka_backup::config::RunConfig;
use kafka_backup::config::prune::{GRACE, PruneConfig};

pub use self::archive::archive_name;
pub use self::cron::Cron;
pub use self::fields::Fields;
pub use self::pod::{JobPlan, PodPlan};
pub use self::refusal::Refusal;

/// Where the pods find the configuration and the public files beside it.
pub const CONFIG_FOLDER: &str = "/etc/kafka-backup";
/// Below it the pods find Secrets, each in a folder of its own.
pub const SECRETS_FOLDER: &str = "/etc/kafka-backup-secrets";
/// Where the pods find a claim.
pub const CLAIM_FOLDER: &str = "/backups";
/// The environment variable by which a scheduled run knows its Job's name, and so the time that it was scheduled for.
pub const JOB_NAME_VARIABLE: &str = "KAFKA_BACKUP_JOB";

/// What is to run, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What the engine is told. The ids of backup and restore are not in it: they belong to the run.
    pub run: RunConfig,
    /// When.
    pub when: When,
    /// Which backups are kept; `None` for all.
    pub retention: Option<Retention>,
    /// What the container sees beside its image.
    pub mounts: Vec<Mount>,
    /// Public files that stand beside the configuration, by name.
    pub files: BTreeMap<String, String>,
    /// The pod.
    pub pod: PodPlan,
    /// The Job.
    pub job: JobPlan,
}

/// When it is to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// Once in the life of the resource.
    Once,
    /// Again and again.
    Scheduled(Cron),
}

/// Which backups are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Complete backups.
    pub max_backups: Option<std::num::NonZeroUsize>,
    /// How old they may be.
    pub max_age: Option<kafka_backup::config::age::Age>,
    /// Whether every run sees to it.
    pub is_every_run: bool,
}

impl Retention {
    /// The limits as one text, by which a change is noticed.
    pub fn limits(&self) -> String {
        let Self { max_backups, max_age, is_every_run: _ } = self;
        let count = max_backups.map(|count| format!("maxBackups={count}"));
        let age = max_age.map(|age| format!("maxAge={age}"));
        [count, age].into_iter().flatten().collect::<Vec<_>>().join(",")
    }
}

/// What the container sees beside its image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Unique in its pod, a DNS label.
    pub name: &'static str,
    /// The folder in the container.
    pub path: String,
    /// What is in it.
    pub source: Source,
}

/// Where files come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A Secret, whole.
    Secret {
        /// Its name.
        name: String,
    },
    /// Some keys of a Secret, under other names. A pod does not start before all of them are there.
    SecretKeys {
        /// The Secret's name.
        name: String,
        /// Key, and the file's name.
        keys: Vec<(String, String)>,
    },
    /// A PersistentVolumeClaim.
    Claim {
        /// Its name.
        name: String,
        /// A folder of it.
        sub_path: Option<String>,
    },
}

impl Plan {
    /// The same for an archive that may belong to somebody else, and is taken over then.
    #[must_use]
    pub fn adopting(mut self) -> Self {
        if let RunConfig::Backup(backup) = &mut self.run {
            backup.adopt = true;
        }
        self
    }

    /// The run that removes what is not to be kept, where there is a limit.
    pub fn pruning(&self) -> Option<Self> {
        let Retention { max_backups, max_age, is_every_run: _ } = self.retention.clone()?;
        let RunConfig::Backup(backup) = &self.run else { return None };
        let run = RunConfig::Prune(PruneConfig {
            storage: backup.storage.clone(),
            archive: backup.archive.clone(),
            max_backups,
            max_age,
            grace: GRACE,
            confirm: true,
        });
        // Only the store is needed: whoever prunes sees nothing of the cluster.
        let mounts = self.mounts.iter().filter(|mount| storage::is_storage(mount)).cloned().collect();
        Some(Self { run, when: When::Once, retention: None, mounts, files: BTreeMap::new(), ..self.clone() })
    }
}
