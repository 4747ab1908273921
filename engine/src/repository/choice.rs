//! Which of an archive's backups a restore reads when it is not told.

use crate::format::manifest::Manifest;

/// The backup that a restore to a point in time is to read: the oldest completed one whose cut is not before it, since every
/// later one lacks more of what retention has taken, else the newest completed one. A partial one is never chosen.
///
/// Gives `None` when none is completed; beside the backup, in one line, that it does not reach the point in time.
pub fn reaching(manifests: Vec<Manifest>, at_ms: i64) -> Option<(Manifest, Option<String>)> {
    let completed = manifests.into_iter().filter(|manifest| !manifest.is_partial());
    let (later, earlier): (Vec<_>, Vec<_>) = completed.partition(|manifest| manifest.cut_at_ms >= at_ms);
    let by_cut = |manifest: &Manifest| (manifest.cut_at_ms, manifest.backup_id.clone());
    if let Some(oldest) = later.into_iter().min_by_key(by_cut) {
        return Some((oldest, None));
    }
    let newest = earlier.into_iter().max_by_key(by_cut)?;
    let time = |at_ms| {
        jiff::Timestamp::from_millisecond(at_ms).map_or_else(|_| format!("{at_ms} ms"), |at| format!("{at:.3}"))
    };
    let warning = format!(
        "no completed backup reaches {}: the newest, {}, was cut at {}, and what was written after that is not in it",
        time(at_ms),
        newest.backup_id,
        time(newest.cut_at_ms)
    );
    Some((newest, Some(warning)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::run::Content;

    fn manifest(id: &str, cut_at_ms: i64, is_partial: bool) -> Manifest {
        Manifest {
            backup_id: id.parse().unwrap(),
            archive: "shop".parse().unwrap(),
            engine_version: String::new(),
            source_cluster_id: String::new(),
            cut_at_ms,
            completed_at_ms: cut_at_ms,
            topics: Vec::new(),
            groups: Vec::new(),
            parts: Vec::new(),
            open_transactions: Vec::new(),
            problems: if is_partial { vec!["something is missing".to_owned()] } else { Vec::new() },
            warnings: Vec::new(),
            content: Content::default(),
            segment_bytes: 0,
            include_offset_headers: false,
            source_cluster_label: None,
        }
    }

    fn chosen(at_ms: i64, manifests: &[(&str, i64, bool)]) -> Option<(String, Option<String>)> {
        let manifests = manifests.iter().map(|(id, cut_at_ms, is_partial)| manifest(id, *cut_at_ms, *is_partial));
        reaching(manifests.collect(), at_ms).map(|(manifest, warning)| (manifest.backup_id.to_string(), warning))
    }

    const THREE: [(&str, i64, bool); 3] = [("c", 3000, false), ("a", 1000, false), ("b", 2000, false)];

    #[test]
    fn the_oldest_backup_that_reaches_the_point_in_time_is_read() {
        for (at_ms, id) in [(0, "a"), (1000, "a"), (1001, "b"), (2000, "b"), (3000, "c")] {
            assert_eq!(chosen(at_ms, &THREE), Some((id.to_owned(), None)), "{at_ms}");
        }
    }

    #[test]
    fn where_none_reaches_it_the_newest_is_read_with_a_warning() {
        let (id, warning) = chosen(3001, &THREE).unwrap();
        let warning = warning.unwrap();
        assert_eq!(id, "c");
        assert!(
            warning.contains("reaches 1970-01-01T00:00:03.001Z") && warning.contains("1970-01-01T00:00:03.000Z"),
            "{warning}"
        );
    }

    #[test]
    fn a_partial_backup_is_never_chosen() {
        let (id, warning) = chosen(1500, &[("a", 1000, false), ("b", 2000, true)]).unwrap();
        assert_eq!((id.as_str(), warning.is_some()), ("a", true));
        assert_eq!(chosen(1500, &[("b", 2000, true)]), None);
        assert_eq!(chosen(1500, &[]), None);
    }
}
