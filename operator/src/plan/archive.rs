//! Which archive belongs to a `KafkaBackup`.

use kafka_backup::format::layout::ArchiveName;

use super::Refusal;
use crate::api::STRIMZI_GROUP;

/// The archive of the `KafkaBackup` of this group, namespace and name; `field` is where the name stands.
///
/// Resources of both groups may have one name, so the group is in it; a namespace has no dot, so no two resources share an archive.
///
/// # Errors
/// When the name is too long for an archive, or none.
pub fn archive_name(field: &str, group: &str, namespace: &str, backup: &str) -> Result<ArchiveName, Refusal> {
    let short = if group == STRIMZI_GROUP { "strimzi" } else { "oso" };
    format!("{short}.{namespace}.{backup}").parse().map_err(|_| {
        Refusal::invalid(format!(
            "{field} {backup:?} names no archive: together with the namespace {namespace:?} it may have 190 letters, digits, '.' and '-'"
        ))
    })
}
