//! The names of what is made for a resource: they follow from the resource and the run alone.

use super::run::{RunKey, short_hash};
use crate::owner::Owner;

/// A CronJob's name has room for the eleven characters that its Jobs' names add to it
/// (<https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/>).
const CRON_JOB_NAME_MAX: usize = 52;

/// What the names of everything begin with that is made for a resource: readable, and never that of another resource, of another group
/// or of the same name in an earlier life.
fn stem(owner: &Owner) -> String {
    let hash = short_hash(&format!("{}/{}/{}", owner.group, owner.kind, owner.uid));
    let room = CRON_JOB_NAME_MAX - hash.len() - 1 - "-p12345678".len();
    let name: String = owner.name.chars().map(|letter| if letter == '.' { '-' } else { letter }).take(room).collect();
    format!("{}-{hash}", name.trim_end_matches('-'))
}

/// The name of the CronJob, and of its ConfigMap.
pub fn cron_job(owner: &Owner) -> String {
    stem(owner)
}

/// The name of a Job that the operator starts itself, and of its ConfigMap.
pub fn job(owner: &Owner, key: &RunKey) -> String {
    format!("{}-{}", stem(owner), key.suffix())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests_owner as owner;

    #[test]
    fn names_fit_into_what_kubernetes_allows() {
        let long = Owner { name: format!("{}.x", "a".repeat(250)), ..owner() };
        assert!(cron_job(&long).len() <= CRON_JOB_NAME_MAX);
        for key in [
            RunKey::Once { generation: 9_999_999 },
            RunKey::Trigger { value: "x".repeat(1000), generation: 9_999_999 },
            RunKey::Prune { limits: "maxBackups=1".to_owned(), generation: 1 },
        ] {
            let name = job(&long, &key);
            assert!(name.len() <= 63 && !name.contains('.'), "{name}");
        }
    }

    #[test]
    fn no_two_resources_share_a_name() {
        let names = [
            owner(),
            Owner { group: crate::api::OSO_GROUP, ..owner() },
            Owner { kind: crate::owner::Kind::Restore, ..owner() },
            Owner { uid: "another".to_owned(), ..owner() },
        ]
        .map(|owner| cron_job(&owner));
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len(), "{names:?}");
    }

    #[test]
    fn the_same_trigger_of_the_same_spec_gives_the_same_name() {
        let name = |value: &str, generation| job(&owner(), &RunKey::Trigger { value: value.to_owned(), generation });
        assert_eq!(name("1", 1), name("1", 1));
        assert_ne!(name("1", 1), name("2", 1));
        assert_ne!(name("1", 1), name("1", 2));
    }
}
