//! Whose run it is: the resource that somebody applied.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// The kind of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A `KafkaBackup`.
    Backup,
    /// A `KafkaRestore`.
    Restore,
}

impl Kind {
    /// As Kubernetes writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Backup => "KafkaBackup",
            Self::Restore => "KafkaRestore",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A resource, as far as what is made for it needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// `backup.strimzi.io` or `kafka.oso.sh`.
    pub group: &'static str,
    /// The API version without the group.
    pub version: &'static str,
    /// The kind.
    pub kind: Kind,
    /// Where the resource is, and everything that is made for it.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What tells it from another of the same name, before or after it.
    pub uid: String,
    /// The `Kafka` resource, for Strimzi's label; `None` where the cluster is none of Strimzi's.
    pub cluster: Option<String>,
}

impl Owner {
    /// `group/version`.
    pub fn api_version(&self) -> String {
        format!("{}/{}", self.group, self.version)
    }

    /// What Kubernetes deletes everything by that was made for the resource, once the resource is gone.
    pub fn reference(&self) -> OwnerReference {
        OwnerReference {
            api_version: self.api_version(),
            kind: self.kind.as_str().to_owned(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        }
    }
}
