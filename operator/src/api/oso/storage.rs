//! Where backups are kept.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use crate::api::pvc::PvcStorage;
use crate::api::storage_type::StorageType;

/// One storage, of the kind that `storageType` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.s3) == (self.storageType == 's3') && has(self.azure) == (self.storageType == 'azure') && has(self.gcs) == (self.storageType == 'gcs') && has(self.pvc) == (self.storageType == 'pvc')")
        .message("give exactly the one of s3, azure, gcs, pvc that storageType names"),
)]
pub struct Storage {
    /// Which of the fields below is given.
    pub storage_type: StorageType,
    /// For `storageType: s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Storage>,
    /// For `storageType: azure`. Not run by this release: a resource with it says so in a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureStorage>,
    /// For `storageType: gcs`. Not run by this release: a resource with it says so in a condition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<GcsStorage>,
    /// For `storageType: pvc`.
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
    /// `http://` or `https://` address of a store that is not Amazon's; empty is the same as left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub endpoint: Option<String>,
    /// An access key. Left out: the pod's own identity (IRSA, Pod Identity, instance).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<S3Credentials>,
}

/// A Secret with an access key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.accessKeyIdKey) || !has(self.accessKeyKey) || self.accessKeyIdKey == self.accessKeyKey")
        .message("accessKeyIdKey and accessKeyKey are two names of one thing: give one of them"),
    validation = Rule::new("!has(self.secretAccessKeyKey) || !has(self.secretKeyKey) || self.secretAccessKeyKey == self.secretKeyKey")
        .message("secretAccessKeyKey and secretKeyKey are two names of one thing: give one of them"),
    validation = Rule::new("(has(self.accessKeyIdKey) || has(self.accessKeyKey)) == (has(self.secretAccessKeyKey) || has(self.secretKeyKey))")
        .message("the key of the access key id and the key of the secret access key go together"),
)]
pub struct S3Credentials {
    /// The Secret. Without the keys below it holds `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, else `accessKey` and `secretKey`.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of the access key id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub access_key_id_key: Option<String>,
    /// Another name of `accessKeyIdKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub access_key_key: Option<String>,
    /// The key of the secret access key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_access_key_key: Option<String>,
    /// Another name of `secretAccessKeyKey`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub secret_key_key: Option<String>,
}

/// A container of Azure Blob Storage, with exactly one way in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.credentialsSecret), has(self.sasTokenSecret), has(self.servicePrincipalSecret), has(self.useWorkloadIdentity) && self.useWorkloadIdentity].filter(given, given).size() == 1")
        .message("give exactly one of credentialsSecret, sasTokenSecret, servicePrincipalSecret, useWorkloadIdentity: true"),
)]
pub struct AzureStorage {
    /// The storage account.
    #[schemars(length(min = 3, max = 24))]
    pub account_name: String,
    /// The container, which must exist.
    #[schemars(length(min = 3, max = 63))]
    pub container: String,
    /// What every blob's name begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub prefix: Option<String>,
    /// Another address, as sovereign clouds have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub endpoint: Option<String>,
    /// Whether the pod's own identity opens it.
    #[serde(default)]
    pub use_workload_identity: bool,
    /// An account key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<AzureAccountKey>,
    /// A SAS token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sas_token_secret: Option<AzureSasToken>,
    /// A service principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_principal_secret: Option<AzureServicePrincipal>,
}

/// A Secret with an account key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureAccountKey {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of the account key.
    #[serde(default = "azure_storage_key")]
    pub account_key_key: String,
}

fn azure_storage_key() -> String {
    "AZURE_STORAGE_KEY".to_owned()
}

/// A Secret with a SAS token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureSasToken {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of the token.
    #[serde(default = "azure_sas_token")]
    pub sas_token_key: String,
}

fn azure_sas_token() -> String {
    "AZURE_SAS_TOKEN".to_owned()
}

/// A Secret with a service principal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureServicePrincipal {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of the client id.
    #[serde(default = "azure_client_id")]
    pub client_id_key: String,
    /// The key of the tenant id.
    #[serde(default = "azure_tenant_id")]
    pub tenant_id_key: String,
    /// The key of the client secret.
    #[serde(default = "azure_client_secret")]
    pub client_secret_key: String,
}

fn azure_client_id() -> String {
    "AZURE_CLIENT_ID".to_owned()
}

fn azure_tenant_id() -> String {
    "AZURE_TENANT_ID".to_owned()
}

fn azure_client_secret() -> String {
    "AZURE_CLIENT_SECRET".to_owned()
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
    pub credentials_secret: Option<GcsCredentials>,
}

/// A key of a Secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GcsCredentials {
    /// The Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}
