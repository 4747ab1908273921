//! What is in a backup, told from its manifest.

use serde::{Deserialize, Serialize};

use crate::config::describe::DescribeConfig;
use crate::format::manifest::Manifest;
use crate::repository::{Error, Repository};

/// A backup, as its manifest tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DescribeReport {
    /// The manifest, whole.
    pub manifest: Manifest,
}

/// Describes a backup.
///
/// # Errors
/// When there is no such backup, or its manifest is damaged.
pub async fn run(config: &DescribeConfig) -> Result<DescribeReport, Error> {
    let repository = Repository::open(&config.storage).await?;
    let (_, manifest) = repository.find(&config.backup).await?;
    Ok(DescribeReport { manifest })
}
