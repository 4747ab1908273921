//! `backup.strimzi.io`.

use kube::runtime::reflector::{ObjectRef, Store};

use super::{Backup, Reconciled, Restore, has_newest};
use crate::api::STRIMZI_GROUP;
use crate::api::restore_status::RestoreStatus;
use crate::api::strimzi::{
    ADOPT_ANNOTATION, Authentication, KafkaBackup, KafkaBackupStatus, KafkaRestore, TRIGGER_ANNOTATION,
};
use crate::owner::Kind;
use crate::plan::{self, Plan, Refusal};
use crate::references::{self, StrimziStores};
use crate::state::BackupState;
use crate::status::Style;

fn user(authentication: Option<&Authentication>) -> Option<&str> {
    authentication?.kafka_user_ref.as_ref().map(|user| user.name.as_str())
}

impl Reconciled for KafkaBackup {
    const GROUP: &'static str = STRIMZI_GROUP;
    const KIND: Kind = Kind::Backup;
    const STYLE: Style = Style::Strimzi;
    type Status = KafkaBackupStatus;
    type State = BackupState;

    fn kafka(&self) -> Option<&str> {
        Some(&self.spec.strimzi_cluster_ref.name)
    }

    fn kafka_user(&self) -> Option<&str> {
        user(self.spec.authentication.as_ref())
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn state(&self) -> Self::State {
        self.status.as_ref().map(BackupState::from).unwrap_or_default()
    }

    fn to_status(state: Self::State) -> Self::Status {
        state.into()
    }
}

impl Backup for KafkaBackup {
    const TRIGGER_ANNOTATION: &'static str = TRIGGER_ANNOTATION;
    const ADOPT_ANNOTATION: &'static str = ADOPT_ANNOTATION;

    fn plan(&self, strimzi: Option<&StrimziStores>) -> Result<Plan, Refusal> {
        let owner = self.owner();
        let cluster = &self.spec.strimzi_cluster_ref.name;
        let references = references::cluster(strimzi, &owner.namespace, cluster, self.kafka_user())?;
        plan::strimzi::backup(&owner, &self.spec, &references)
    }

    fn is_suspended(&self) -> bool {
        self.spec.schedule.as_ref().is_none_or(|schedule| schedule.suspend)
    }
}

impl Reconciled for KafkaRestore {
    const GROUP: &'static str = STRIMZI_GROUP;
    const KIND: Kind = Kind::Restore;
    const STYLE: Style = Style::Strimzi;
    type Status = RestoreStatus;
    type State = RestoreStatus;

    fn kafka(&self) -> Option<&str> {
        Some(&self.spec.strimzi_cluster_ref.name)
    }

    fn kafka_user(&self) -> Option<&str> {
        user(self.spec.authentication.as_ref())
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn state(&self) -> Self::State {
        self.status.clone().unwrap_or_default()
    }

    fn to_status(state: Self::State) -> Self::Status {
        state
    }
}

impl Restore for KafkaRestore {
    type Backup = KafkaBackup;

    fn backup_name(&self) -> Option<&str> {
        Some(&self.spec.backup_ref.name)
    }

    fn plan(&self, strimzi: Option<&StrimziStores>, backups: &Store<KafkaBackup>) -> Result<Plan, Refusal> {
        let owner = self.owner();
        let reference = &self.spec.backup_ref;
        let backup = backups.get(&ObjectRef::new(&reference.name).within(&owner.namespace));
        if self.spec.storage.is_none() && reference.backup_id.is_none() {
            has_newest(&reference.name, backup.as_ref().map(|backup| backup.state()).as_ref())?;
        }
        let cluster = &self.spec.strimzi_cluster_ref.name;
        let references = references::cluster(strimzi, &owner.namespace, cluster, self.kafka_user())?;
        plan::strimzi::restore(&owner, &self.spec, &references, backup.as_ref().map(|backup| &backup.spec))
    }
}
