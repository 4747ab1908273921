//! `kafka.oso.sh`.

use kube::runtime::reflector::{ObjectRef, Store};

use super::{Backup, Reconciled, Restore, has_newest};
use crate::api::OSO_GROUP;
use crate::api::oso::{
    ADOPT_ANNOTATION, KafkaBackup, KafkaBackupStatus, KafkaRestore, KafkaRestoreStatus, TRIGGER_ANNOTATION,
};
use crate::api::restore_status::RestoreStatus;
use crate::owner::Kind;
use crate::plan::{self, Plan, Refusal};
use crate::references::StrimziStores;
use crate::state::BackupState;
use crate::status::Style;

impl Reconciled for KafkaBackup {
    const GROUP: &'static str = OSO_GROUP;
    const KIND: Kind = Kind::Backup;
    const STYLE: Style = Style::Kubernetes;
    type Status = KafkaBackupStatus;
    type State = BackupState;

    fn kafka(&self) -> Option<&str> {
        None
    }

    fn kafka_user(&self) -> Option<&str> {
        None
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

    fn plan(&self, _: Option<&StrimziStores>) -> Result<Plan, Refusal> {
        plan::oso::backup(&self.owner(), &self.spec)
    }

    fn is_suspended(&self) -> bool {
        self.spec.schedule.is_none() || self.spec.suspend
    }
}

impl Reconciled for KafkaRestore {
    const GROUP: &'static str = OSO_GROUP;
    const KIND: Kind = Kind::Restore;
    const STYLE: Style = Style::Kubernetes;
    type Status = KafkaRestoreStatus;
    type State = RestoreStatus;

    fn kafka(&self) -> Option<&str> {
        None
    }

    fn kafka_user(&self) -> Option<&str> {
        None
    }

    fn status(&self) -> Option<&Self::Status> {
        self.status.as_ref()
    }

    fn state(&self) -> Self::State {
        self.status.as_ref().map(|status| status.restore.clone()).unwrap_or_default()
    }

    fn to_status(state: Self::State) -> Self::Status {
        // What else it may hold is not run by this release; a resource that asks for it is refused.
        KafkaRestoreStatus { restore: state, ..KafkaRestoreStatus::default() }
    }
}

impl Restore for KafkaRestore {
    type Backup = KafkaBackup;

    fn backup_name(&self) -> Option<&str> {
        plan::oso::wanted_backup(self.spec.backup_id.as_deref(), self.spec.backup_ref.as_ref()).name
    }

    fn plan(&self, _: Option<&StrimziStores>, backups: &Store<KafkaBackup>) -> Result<Plan, Refusal> {
        let owner = self.owner();
        let wanted = plan::oso::wanted_backup(self.spec.backup_id.as_deref(), self.spec.backup_ref.as_ref());
        let of_name = wanted.name.and_then(|name| backups.get(&ObjectRef::new(name).within(&owner.namespace)));
        // An id of one's own choice tells no name, but a status may know it.
        let backup = of_name.or_else(|| {
            let id = wanted.id?;
            backups.find(|backup| {
                let state = backup.status.as_ref().map(BackupState::from).unwrap_or_default();
                backup.metadata.namespace.as_deref() == Some(&owner.namespace)
                    && state.history.iter().any(|record| record.backup_id.as_deref() == Some(id))
            })
        });
        if let (None, None, Some(name)) = (&self.spec.storage, wanted.id, wanted.name) {
            has_newest(name, backup.as_ref().map(|backup| backup.state()).as_ref())?;
        }
        plan::oso::restore(&owner, &self.spec, backup.as_ref().map(|backup| &backup.spec))
    }
}
