//! A custom resource definition as a file.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use super::{oso, strimzi};

/// The definition of one kind.
#[derive(Debug, Clone)]
pub struct Definition(pub CustomResourceDefinition);

/// The definitions of all kinds, in the order in which they are printed.
pub fn definitions() -> [Definition; 4] {
    [strimzi::KafkaBackup::crd(), strimzi::KafkaRestore::crd(), oso::KafkaBackup::crd(), oso::KafkaRestore::crd()]
        .map(Definition)
}

impl Definition {
    /// `<plural>.<group>.yaml`.
    pub fn file_name(&self) -> String {
        format!("{}.{}.yaml", self.0.spec.names.plural, self.0.spec.group)
    }

    /// One YAML document, with a line end.
    ///
    /// # Errors
    /// When YAML cannot hold it, which would be a bug.
    pub fn to_yaml(&self) -> Result<String, serde_saphyr::ser_error::Error> {
        serde_saphyr::to_string(&self.0)
    }
}
