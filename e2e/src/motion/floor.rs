//! What a motion has to have shown, so that it says something when nothing is wrong. Pure.

use std::time::Duration;

use super::counts::Counts;

/// A shorter motion need not show anything. From this length on, all demands follow from the plan:
///
/// - One action of each sort comes before any broker is away, a restart after a quarter of the time, and an election after half of it.
/// - A backup is killed when it has stored a checkpoint, and the next one resumes it. It reads records seconds after its cut.
/// - Restores are killed while they write and run again, restore a group, and meet an operator, until one of them has shown it.
pub const FLOOR_LENGTH: Duration = Duration::from_secs(75);

/// What did not happen of what has to happen in a motion of this length.
pub fn never_happened(counts: &Counts, length: Duration) -> Vec<&'static str> {
    if length < FLOOR_LENGTH {
        return Vec::new();
    }
    demands(counts).into_iter().filter(|(_, happened)| !happened).map(|(what, _)| what).collect()
}

fn demands(counts: &Counts) -> [(&'static str, bool); 19] {
    [
        ("a backup whose records and keys were checked", counts.checked > 0),
        ("a killed backup", counts.backup_kills > 0),
        ("a backup that was resumed", counts.resumed > 0),
        ("records that expired while they were backed up", counts.holes.expired > 0),
        ("records that the log cleaner took", counts.holes.compaction > 0),
        ("transactions that were aborted", counts.holes.aborted > 0),
        ("output records of the exactly-once application", counts.output > 0),
        ("records deleted by DeleteRecords", counts.log_starts_moved > 0),
        ("a partition that was added", counts.partitions_added > 0),
        ("a topic that was created again", counts.recreated > 0),
        ("a leader that was moved", counts.leaders_moved > 0),
        ("a restarted broker", counts.broker_restarts > 0),
        ("an unclean election", counts.unclean_elections > 0),
        ("a truncated log", counts.truncations > 0),
        ("a killed restore", counts.restore_kills > 0),
        ("a restore that was resumed", counts.restores_resumed > 0),
        ("a restore that was read back", counts.restores > 0 && counts.records_read_back > 0),
        ("restored offsets of a group that were read back", counts.offsets_read_back > 0),
        (
            "a setting that the operator set back and a restore set again",
            counts.settings_set_back > 0 && counts.settings_set_again > 0,
        ),
    ]
}

#[cfg(test)]
mod tests {
    use kafka_backup::format::hole::HoleCounts;

    use super::*;

    fn all() -> Counts {
        Counts {
            checked: 1,
            backup_kills: 1,
            resumed: 1,
            holes: HoleCounts { expired: 1, compaction: 1, aborted: 1, ..HoleCounts::default() },
            output: 1,
            log_starts_moved: 1,
            partitions_added: 1,
            recreated: 1,
            leaders_moved: 1,
            broker_restarts: 1,
            unclean_elections: 1,
            truncations: 1,
            restore_kills: 1,
            restores_resumed: 1,
            restores: 1,
            records_read_back: 1,
            offsets_read_back: 1,
            settings_set_back: 1,
            settings_set_again: 1,
            ..Counts::default()
        }
    }

    #[test]
    fn a_motion_in_which_everything_happened_lacks_nothing_and_one_in_which_nothing_did_lacks_everything() {
        assert!(never_happened(&all(), FLOOR_LENGTH).is_empty());
        assert_eq!(never_happened(&Counts::default(), FLOOR_LENGTH).len(), demands(&all()).len());
        assert!(never_happened(&Counts::default(), FLOOR_LENGTH / 2).is_empty(), "too short for a floor");
    }

    #[test]
    fn what_did_not_happen_is_named_and_a_kill_of_a_restore_is_none_of_a_backup() {
        let lacks = |counts: Counts| never_happened(&counts, FLOOR_LENGTH);
        assert_eq!(lacks(Counts { backup_kills: 0, restore_kills: 9, ..all() }), ["a killed backup"]);
        assert_eq!(lacks(Counts { restore_kills: 0, backup_kills: 9, ..all() }), ["a killed restore"]);
        assert_eq!(lacks(Counts { restores_resumed: 0, resumed: 9, ..all() }), ["a restore that was resumed"]);
        assert_eq!(lacks(Counts { truncations: 0, ..all() }), ["a truncated log"]);
        let operator = "a setting that the operator set back and a restore set again";
        assert_eq!(lacks(Counts { settings_set_back: 0, ..all() }), [operator]);
        assert_eq!(lacks(Counts { settings_set_again: 0, ..all() }), [operator]);
    }
}
