//! Which of Strimzi's APIs an API server serves: the only thing that one is asked here.

use kube::Client;
use kube::core::{ApiResource, GroupVersionKind};

/// Strimzi's group.
const GROUP: &str = "kafka.strimzi.io";
/// The versions whose resources [`crate::resources`] reads, the better one first: Strimzi 1.0 and later serve `v1` only, releases before
/// 0.49 only `v1beta2`.
const VERSIONS: [&str; 2] = ["v1", "v1beta2"];

/// The resources of the version to use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Served {
    /// `Kafka`.
    pub kafka: ApiResource,
    /// `KafkaUser`.
    pub user: ApiResource,
}

/// Asks which version to use; `None` where Strimzi's clusters or users are not defined.
///
/// # Errors
/// When the API server does not answer.
pub async fn served(client: &Client) -> Result<Option<Served>, kube::Error> {
    let groups = client.list_api_groups().await?.groups;
    let Some(group) = groups.into_iter().find(|group| group.name == GROUP) else { return Ok(None) };
    let versions: Vec<String> = group.versions.into_iter().map(|version| version.version).collect();
    let Some(version) = choose(&versions) else { return Ok(None) };
    // Strimzi's operators for topics and users can be installed alone: then there are no clusters.
    let kinds = match client.list_api_group_resources(&format!("{GROUP}/{version}")).await {
        Ok(kinds) => kinds.resources,
        // Its definitions have gone since.
        Err(kube::Error::Api(status)) if status.is_not_found() => return Ok(None),
        Err(error) => return Err(error),
    };
    let has = |kind| kinds.iter().any(|resource| resource.kind == kind);
    let resource =
        |kind, plural| ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, version, kind), plural);
    Ok((has("Kafka") && has("KafkaUser"))
        .then(|| Served { kafka: resource("Kafka", "kafkas"), user: resource("KafkaUser", "kafkausers") }))
}

fn choose(served: &[String]) -> Option<&'static str> {
    VERSIONS.into_iter().find(|version| served.iter().any(|served| served == version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newer_version_is_used_where_it_is_served() {
        let choose =
            |versions: &[&str]| choose(&versions.iter().map(|version| (*version).to_owned()).collect::<Vec<_>>());
        assert_eq!(choose(&["v1"]), Some("v1"));
        assert_eq!(choose(&["v1beta2", "v1"]), Some("v1"));
        assert_eq!(choose(&["v1beta2"]), Some("v1beta2"));
        assert_eq!(choose(&["v1alpha1"]), None);
    }
}
