//! The kinds as one reconcile sees them: each group says how its resources become a plan and how a state becomes its status.

mod oso;
mod strimzi;

use std::fmt::Debug;

use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::Store;
use kube::{Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::api::restore_status::RestoreStatus;
use crate::owner::{Kind, Owner};
use crate::plan::{Plan, Refusal};
use crate::references::StrimziStores;
use crate::state::{BackupState, State};
use crate::status::Style;

/// What every kind is.
pub trait Reconciled:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Serialize
    + Send
    + Sync
    + 'static
{
    /// The group.
    const GROUP: &'static str;
    /// The kind.
    const KIND: Kind;
    /// How conditions are written.
    const STYLE: Style;
    /// What the status is written from.
    type Status: Serialize + PartialEq + Default + Send + Sync;
    /// What is known of a resource.
    type State: State + Send;

    /// The `Kafka` resource that it names, if it is of a kind that names one.
    fn kafka(&self) -> Option<&str>;
    /// The `KafkaUser` resource that it names.
    fn kafka_user(&self) -> Option<&str>;
    /// The status as it is.
    fn status(&self) -> Option<&Self::Status>;
    /// What it tells.
    fn state(&self) -> Self::State;
    /// What is known, in the group's own words.
    fn to_status(state: Self::State) -> Self::Status;

    /// Whose runs are made for it.
    fn owner(&self) -> Owner {
        Owner {
            group: Self::GROUP,
            version: crate::api::VERSION,
            kind: Self::KIND,
            namespace: self.namespace().unwrap_or_default(),
            name: self.name_any(),
            uid: self.uid().unwrap_or_default(),
            cluster: self.kafka().map(str::to_owned),
        }
    }
}

/// A `KafkaBackup` of either group.
pub trait Backup: Reconciled<State = BackupState> {
    /// The annotation that starts a run.
    const TRIGGER_ANNOTATION: &'static str;
    /// The annotation by which an archive of somebody else is taken over.
    const ADOPT_ANNOTATION: &'static str;

    /// What is to run.
    ///
    /// # Errors
    /// Why nothing can be.
    fn plan(&self, strimzi: Option<&StrimziStores>) -> Result<Plan, Refusal>;
    /// Whether no schedule is to start runs: it has none, or that is suspended.
    fn is_suspended(&self) -> bool;
}

/// A `KafkaRestore` of either group.
pub trait Restore: Reconciled<State = RestoreStatus> {
    /// The `KafkaBackup` of the same group.
    type Backup: Backup;

    /// The name of the `KafkaBackup` that made the backup, as far as the spec tells.
    fn backup_name(&self) -> Option<&str>;
    /// What is to run.
    ///
    /// # Errors
    /// Why nothing can be.
    fn plan(&self, strimzi: Option<&StrimziStores>, backups: &Store<Self::Backup>) -> Result<Plan, Refusal>;
}

/// A restore that names no backup waits until there is one.
fn has_newest(name: &str, state: Option<&BackupState>) -> Result<(), Refusal> {
    match state {
        Some(state) if state.newest.is_none() => Err(Refusal::waiting(
            "BackupNotCompleted",
            format!("KafkaBackup {name:?} has no completed backup yet: waiting for one"),
        )),
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Newest;

    #[test]
    fn a_restore_that_names_no_backup_waits_for_one_that_is_complete() {
        let none = BackupState::default();
        let refusal = has_newest("nightly", Some(&none)).unwrap_err();
        assert_eq!((refusal.reason, refusal.is_waiting), ("BackupNotCompleted", true));
        let made = BackupState { newest: Some(Newest::default()), ..none };
        assert_eq!(has_newest("nightly", Some(&made)), Ok(()));
    }
}
