//! Which topics are meant.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Topics, by patterns. An empty `include` means all but the brokers' own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicSelection {
    /// Regular expressions (RE2), each on the whole name. One without metacharacters, dots aside, is the name of a topic that must exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    #[x_kube(validation = Rule::new("self.all(pattern, ''.matches(pattern) in [true, false])").message("each pattern is a regular expression"))]
    pub include: Vec<String>,
    /// Topics to leave out, likewise. They need not exist.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 512)))]
    #[x_kube(validation = Rule::new("self.all(pattern, ''.matches(pattern) in [true, false])").message("each pattern is a regular expression"))]
    pub exclude: Vec<String>,
}
