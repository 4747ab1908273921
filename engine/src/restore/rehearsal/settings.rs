//! Finds the settings to which a refusal is due.

use std::collections::BTreeMap;

use super::is_about_a_setting;
use crate::kafka::Error as KafkaError;

/// Settings by name.
pub type Configs = BTreeMap<String, String>;

/// Those settings of `wanted` that have to keep their value of `base`, or to be left out, so that the target accepts the
/// rest, each with the reason. `whole` is what the target says of all of `wanted`. `base` is a configuration that is known to
/// be accepted, if there is one. What is left when the refused ones are taken out has been accepted as a whole.
///
/// - Each setting is left out alone first: a policy may demand some settings and limit others, so that no setting can be
///   tried by itself.
/// - If several are refused, settings are added one at a time to what is accepted: `base`, no setting at all, or one setting
///   that is accepted alone.
///
/// `None` when nothing was accepted: then the reason may be none of the settings.
pub async fn refused(
    base: Option<&Configs>,
    wanted: &Configs,
    whole: &KafkaError,
    check: impl AsyncFn(&Configs) -> Result<(), KafkaError>,
) -> Option<BTreeMap<String, KafkaError>> {
    let nothing = Configs::new();
    let before = base.unwrap_or(&nothing);
    let changes = || wanted.iter().filter(|(name, value)| before.get(*name) != Some(*value));
    for (name, _) in changes() {
        let mut others = wanted.clone();
        match before.get(name) {
            Some(value) => drop(others.insert(name.clone(), value.clone())),
            None => drop(others.remove(name)),
        }
        if check(&others).await.is_ok() {
            return Some([(name.clone(), whole.clone())].into());
        }
    }
    let mut accepted = match base {
        Some(base) => base.clone(),
        None => accepted_start(wanted, &check).await?,
    };
    let mut refused = BTreeMap::new();
    for (name, value) in changes() {
        if accepted.get(name) == Some(value) {
            continue;
        }
        let mut more = accepted.clone();
        more.insert(name.clone(), value.clone());
        match check(&more).await {
            Ok(()) => accepted = more,
            Err(error) if is_about_a_setting(&error) => drop(refused.insert(name.clone(), error)),
            Err(_) => return None,
        }
    }
    (!refused.is_empty()).then_some(refused)
}

/// A configuration to begin with that is accepted: none, or one setting.
async fn accepted_start(wanted: &Configs, check: &impl AsyncFn(&Configs) -> Result<(), KafkaError>) -> Option<Configs> {
    let alone = wanted.iter().map(|(name, value)| Configs::from([(name.clone(), value.clone())]));
    for start in std::iter::once(Configs::new()).chain(alone) {
        if check(&start).await.is_ok() {
            return Some(start);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::error::Resource;

    fn configs(pairs: &[(&str, &str)]) -> Configs {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    fn violation(why: &str) -> KafkaError {
        let resource = Resource::Topic("t".to_owned());
        KafkaError::Broker { resource, api: "CreateTopics", code: 44, message: Some(why.to_owned()) }
    }

    /// A policy that demands settings and refuses the value -1 of others.
    async fn found(
        base: Option<&Configs>,
        wanted: &Configs,
        demanded: &[&str],
        limited: &[&str],
    ) -> Option<Vec<String>> {
        let check = async |configs: &Configs| {
            let lacks = demanded.iter().find(|name| !configs.contains_key(**name));
            let exceeds = limited.iter().find(|name| configs.get(**name).is_some_and(|value| value == "-1"));
            lacks.or(exceeds).map_or(Ok(()), |name| Err(violation(name)))
        };
        let refused = refused(base, wanted, &violation("all"), check).await?;
        Some(refused.into_keys().collect())
    }

    #[tokio::test]
    async fn a_setting_is_found_under_a_policy_that_demands_another() {
        let base = configs(&[("min.insync.replicas", "1"), ("retention.ms", "1000")]);
        let wanted = configs(&[("a", "x"), ("min.insync.replicas", "1"), ("retention.ms", "-1")]);
        let (demanded, limited) = (&["min.insync.replicas"][..], &["retention.ms"][..]);
        assert_eq!(found(Some(&base), &wanted, demanded, limited).await.unwrap(), ["retention.ms"]);
        assert_eq!(found(None, &wanted, demanded, limited).await.unwrap(), ["retention.ms"]);
    }

    #[tokio::test]
    async fn several_settings_are_found_and_the_rest_is_kept() {
        let base = configs(&[("min.insync.replicas", "1"), ("retention.ms", "1000")]);
        let wanted = configs(&[("b", "-1"), ("c", "x"), ("min.insync.replicas", "1"), ("retention.ms", "-1")]);
        let (demanded, limited) = (&["min.insync.replicas"][..], &["b", "retention.ms"][..]);
        assert_eq!(found(Some(&base), &wanted, demanded, limited).await.unwrap(), ["b", "retention.ms"]);
        assert_eq!(found(None, &wanted, demanded, limited).await.unwrap(), ["b", "retention.ms"]);
        assert_eq!(found(None, &wanted, &[], limited).await.unwrap(), ["b", "retention.ms"]);
    }

    #[tokio::test]
    async fn a_refusal_that_no_setting_mends_is_about_something_else() {
        let wanted = configs(&[("c", "x"), ("retention.ms", "1000")]);
        assert_eq!(found(None, &wanted, &["the name"], &[]).await, None);
    }
}
