//! Where backups are kept.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::pvc::PvcStorage;
use crate::api::storage_type::StorageType;

/// One storage, of the kind that `type` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.s3) == (self.type == 's3') && has(self.azure) == (self.type == 'azure') && has(self.gcs) == (self.type == 'gcs') && has(self.pvc) == (self.type == 'pvc')")
        .message("give exactly the one of s3, azure, gcs, pvc that type names"),
)]
pub struct Storage {
    /// Which of the fields below is given.
    #[serde(rename = "type")]
    pub type_: StorageType,
    /// For `type: s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Storage>,
    /// For `type: azure`. Not run by this release: a resource with it says so in a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureStorage>,
    /// For `type: gcs`. Not run by this release: a resource with it says so in a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsStorage>,
    /// For `type: pvc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pvc: Option<PvcStorage>,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3Storage {
    /// The bucket, which must exist.
    #[schemars(length(min = 3, max = 63))]
    pub bucket: String,
    /// The region of the bucket. Left out: `AWS_REGION` of the pod, which EKS sets for a pod with an identity; with an `endpoint`, else
    /// `us-east-1`. Amazon's S3 wants it from one of the two.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub region: Option<String>,
    /// What every key begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub prefix: Option<String>,
    /// `http://` or `https://` address of a store that is not Amazon's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub endpoint: Option<String>,
    /// Whether the bucket stands in the path instead of the host name. Left out: it does where there is an `endpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub force_path_style: Option<bool>,
    /// An AWS shared-credentials file, or JSON of the same names. Left out: the pod's own identity (IRSA, Pod Identity, instance).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<CredentialsSecret>,
}

/// A container of Azure Blob Storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureStorage {
    /// The storage account.
    #[schemars(length(min = 3, max = 24))]
    pub storage_account: String,
    /// The container, which must exist.
    #[schemars(length(min = 3, max = 63))]
    pub container: String,
    /// What every blob's name begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub prefix: Option<String>,
    /// A connection string. Left out: the pod's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<CredentialsSecret>,
}

/// A bucket of Google Cloud Storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcsStorage {
    /// The bucket, which must exist.
    #[schemars(length(min = 3, max = 222))]
    pub bucket: String,
    /// What every object's name begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub prefix: Option<String>,
    /// The JSON of a service account. Left out: the pod's own identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<CredentialsSecret>,
}

/// A key of a Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSecret {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
