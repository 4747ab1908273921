//! `backup.strimzi.io`.

use kafka_backup::report::bytes;

use crate::api::phase::Phase;
use crate::api::strimzi::{KafkaBackupStatus, LastBackup};
use crate::state::{BackupState, Newest};

impl From<&KafkaBackupStatus> for BackupState {
    fn from(status: &KafkaBackupStatus) -> Self {
        let KafkaBackupStatus {
            common,
            next_scheduled_time,
            last_backup,
            last_success_time,
            last_failure_time,
            recoverable_to,
            size: _,
            storage_bytes,
            backup_history,
        } = status.clone();
        Self {
            common,
            // The phase is not shown in this group, and follows from the rest.
            phase: Phase::default(),
            next_scheduled_time,
            newest: last_backup.map(|LastBackup { id, records, size }| Newest {
                id,
                completed_at: last_success_time.unwrap_or_default(),
                cut_at: recoverable_to,
                size,
                records,
            }),
            last_failure_time,
            storage_bytes,
            history: backup_history,
        }
    }
}

impl From<BackupState> for KafkaBackupStatus {
    fn from(state: BackupState) -> Self {
        let BackupState { common, phase: _, next_scheduled_time, newest, last_failure_time, storage_bytes, history } =
            state;
        Self {
            common,
            next_scheduled_time,
            last_success_time: newest.as_ref().map(|newest| newest.completed_at.clone()),
            recoverable_to: newest.as_ref().and_then(|newest| newest.cut_at.clone()),
            last_backup: newest.map(|Newest { id, size, records, .. }| LastBackup { id, records, size }),
            last_failure_time,
            size: storage_bytes.map(|size| bytes(u64::try_from(size).unwrap_or_default())),
            storage_bytes,
            backup_history: history,
        }
    }
}
