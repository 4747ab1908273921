//! Where backups are kept: the engine's URL, and what a pod mounts for it.

use std::path::PathBuf;

use kafka_backup::config::storage::{FileStorage, S3Storage, StorageConfig};

use super::{CLAIM_FOLDER, Mount, Refusal, SECRETS_FOLDER, Source};
use crate::api::pvc::PvcStorage;

pub(super) const CREDENTIALS: &str = "storage-credentials";
pub(super) const CLAIM: &str = "backups";

/// A storage, and how to get at it.
#[derive(Debug, Clone, PartialEq)]
pub struct StoragePlan {
    /// For the engine.
    pub config: StorageConfig,
    /// For the pod.
    pub mount: Option<Mount>,
}

/// Whether a mount belongs to the storage, and not to the cluster.
pub fn is_storage(mount: &Mount) -> bool {
    matches!(mount.name, CREDENTIALS | CLAIM)
}

/// A bucket, as either group describes it.
#[derive(Debug, Clone, Default)]
pub struct Bucket {
    /// The bucket.
    pub bucket: String,
    /// The region.
    pub region: Option<String>,
    /// What keys begin with, with or without slashes at its ends.
    pub prefix: Option<String>,
    /// Another address than Amazon's.
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path.
    pub force_path_style: Option<bool>,
    /// Where the credentials come from; the pod's own identity when absent.
    pub credentials: Option<Source>,
}

/// The plan for a bucket.
///
/// # Errors
/// When the engine would refuse it: before a pod is started, not after.
pub fn bucket(bucket: Bucket) -> Result<StoragePlan, Refusal> {
    let Bucket { bucket, region, prefix, endpoint, force_path_style, credentials } = bucket;
    let given = |text: Option<String>| text.filter(|text| !text.is_empty());
    let path = format!("{SECRETS_FOLDER}/{CREDENTIALS}");
    let credentials_file = credentials.as_ref().map(|source| match source {
        // One key is one file; of a whole Secret the engine finds the files itself.
        Source::SecretKeys { keys, .. } if keys.len() == 1 => PathBuf::from(format!("{path}/{}", keys[0].1)),
        Source::SecretKeys { .. } | Source::Secret { .. } | Source::Claim { .. } => PathBuf::from(&path),
    });
    let storage = StorageConfig::S3(S3Storage {
        bucket,
        prefix: given(prefix).unwrap_or_default().trim_matches('/').to_owned(),
        endpoint: given(endpoint).map(|endpoint| endpoint.trim_end_matches('/').to_owned()),
        region: given(region),
        force_path_style,
        ca_file: None,
        credentials_file,
    });
    let config = storage.to_string().parse().map_err(|error| Refusal::invalid(format!("spec.storage.s3: {error}")))?;
    if config != storage {
        return Err(Refusal::invalid(format!(
            "spec.storage.s3: bucket and prefix are no names of S3's: they would be read as {config}"
        )));
    }
    let mount = credentials.map(|source| Mount { name: CREDENTIALS, path, source });
    Ok(StoragePlan { config, mount })
}

/// The plan for a claim.
pub fn claim(claim: &PvcStorage) -> StoragePlan {
    let PvcStorage { claim_name, sub_path } = claim;
    let sub_path = sub_path.clone().filter(|path| !path.is_empty());
    let source = Source::Claim { name: claim_name.clone(), sub_path };
    StoragePlan {
        config: StorageConfig::File(FileStorage { dir: PathBuf::from(CLAIM_FOLDER) }),
        mount: Some(Mount { name: CLAIM, path: CLAIM_FOLDER.to_owned(), source }),
    }
}
