//! What a prune run is told.

use serde::{Deserialize, Serialize};

use super::age::Age;
use super::storage::StorageConfig;
use crate::format::layout::ArchiveName;

/// Objects younger than this are left alone, whoever they belong to: a run that lost its lease may still be writing.
pub const GRACE: Age = Age::hours(24);

/// Which backups of an archive may go. With neither of the two limits only leftovers of runs that were killed go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PruneConfig {
    /// The repository.
    pub storage: StorageConfig,
    /// The archive.
    pub archive: ArchiveName,
    /// Completed backups to keep, at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backups: Option<std::num::NonZeroUsize>,
    /// Backups whose cut is older may go, except the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Age>,
    /// For how long objects that no backup names are left alone.
    #[serde(default = "grace")]
    pub grace: Age,
    /// Whether anything is deleted; else the plan is only shown.
    #[serde(default)]
    pub confirm: bool,
}

const fn grace() -> Age {
    GRACE
}
