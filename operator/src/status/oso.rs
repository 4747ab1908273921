//! `kafka.oso.sh`.

use crate::api::oso::KafkaBackupStatus;
use crate::state::{BackupState, Newest};

impl From<&KafkaBackupStatus> for BackupState {
    fn from(status: &KafkaBackupStatus) -> Self {
        let KafkaBackupStatus {
            common,
            phase,
            last_backup_id,
            last_backup_time,
            last_backup_size,
            last_backup_records,
            recoverable_to,
            last_failure_time,
            next_scheduled_time,
            storage_bytes,
            backup_history,
        } = status.clone();
        Self {
            common,
            phase,
            next_scheduled_time,
            newest: last_backup_id.map(|id| Newest {
                id,
                completed_at: last_backup_time.unwrap_or_default(),
                cut_at: recoverable_to,
                size: last_backup_size.unwrap_or_default(),
                records: last_backup_records.unwrap_or_default(),
            }),
            last_failure_time,
            storage_bytes,
            history: backup_history,
        }
    }
}

impl From<BackupState> for KafkaBackupStatus {
    fn from(state: BackupState) -> Self {
        let BackupState { common, phase, next_scheduled_time, newest, last_failure_time, storage_bytes, history } =
            state;
        Self {
            common,
            phase,
            last_backup_time: newest.as_ref().map(|newest| newest.completed_at.clone()),
            last_backup_size: newest.as_ref().map(|newest| newest.size),
            last_backup_records: newest.as_ref().map(|newest| newest.records),
            recoverable_to: newest.as_ref().and_then(|newest| newest.cut_at.clone()),
            last_backup_id: newest.map(|newest| newest.id),
            last_failure_time,
            next_scheduled_time,
            storage_bytes,
            backup_history: history,
        }
    }
}
