//! Which backups of an archive a backup run deletes when its own is there.

use std::num::NonZeroUsize;

use serde::{Deserialize, Serialize};

use super::age::Age;

/// How long backups are kept. With neither limit only what killed runs left behind goes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RetentionConfig {
    /// Completed backups to keep, that of the run among them; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backups: Option<NonZeroUsize>,
    /// Backups whose cut is older go, except the newest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age: Option<Age>,
}
