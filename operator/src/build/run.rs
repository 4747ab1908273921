//! One run of a plan, and what tells it from every other run of the same resource.

use sha2::{Digest, Sha256};

use crate::api::run_kind::RunKind;

/// What tells a run from every other run of its resource. The Job's name follows from it, so that it is made once, however often it
/// is decided on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunKey {
    /// The run that is made once, for the spec of this generation: another generation tries again after a failure.
    Once {
        /// `metadata.generation`.
        generation: i64,
    },
    /// What the trigger annotation asked for.
    Trigger {
        /// The annotation's value.
        value: String,
        /// `metadata.generation`: one that could not begin is replaced once the spec is edited, and its Job may not be gone by then.
        generation: i64,
    },
    /// Pruning, by limits that are new.
    Prune {
        /// The limits.
        limits: String,
        /// `metadata.generation`: an edited spec tries again after a failure.
        generation: i64,
    },
    /// What the CronJob started.
    Scheduled,
}

impl RunKey {
    /// The end of the Job's name; the CronJob names its own.
    pub fn suffix(&self) -> String {
        match self {
            Self::Once { generation } => format!("g{generation}"),
            Self::Trigger { value, generation } => format!("t{}", short_hash(&format!("{value}/{generation}"))),
            Self::Prune { limits, generation } => format!("p{}", short_hash(&format!("{limits}/{generation}"))),
            Self::Scheduled => "s".to_owned(),
        }
    }

    /// Why the run is started.
    pub const fn kind(&self) -> RunKind {
        match self {
            Self::Once { .. } => RunKind::Once,
            Self::Trigger { .. } => RunKind::Trigger,
            Self::Prune { .. } => RunKind::Prune,
            Self::Scheduled => RunKind::Scheduled,
        }
    }
}

/// One run that the operator starts itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// What tells it from others.
    pub key: RunKey,
    /// The id of the backup that it makes; `None` for a restore and for pruning.
    pub backup_id: Option<String>,
}

/// Eight hexadecimal digits of a text's SHA-256.
pub fn short_hash(text: &str) -> String {
    Sha256::digest(text).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}
