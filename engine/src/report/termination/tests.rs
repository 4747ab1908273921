use proptest::prelude::*;

use super::fit::cut;
use super::*;
use crate::backup::{self, BackupReport};
use crate::config::RunKind;
use crate::format::contents::ArchiveContents;
use crate::format::hole::HoleCounts;
use crate::offsets::groups::GroupReport;
use crate::prune::{self, Decision, PruneReport};
use crate::report::RunReport;
use crate::restore::{self, Counts, RestoreReport, TopicReport};

/// What parses back is what a reader of the pod's status has.
fn read_back(told: &Termination) -> Result<Termination, TestCaseError> {
    let json = told.to_json();
    prop_assert!(json.len() <= MESSAGE_BYTES_MAX, "{} bytes", json.len());
    prop_assert!(!json.contains('\n'));
    serde_json::from_str(&json).map_err(|error| TestCaseError::fail(format!("{error}: {json}")))
}

fn lines() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(prop_oneof![".{0,20}", ".{200,900}", "[\"\\\\\0\n]{0,600}"], 0..150)
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,12}", "[a-z0-9]{170}"]
}

fn backup_report() -> impl Strategy<Value = BackupReport> {
    (name(), name(), ".{0,2000}", any::<(i64, i64, u64, u64)>(), lines(), lines()).prop_map(
        |(archive, id, source_cluster_id, (cut_at_ms, duration_ms, records, bytes), problems, warnings)| BackupReport {
            outcome: if problems.is_empty() { backup::Outcome::Completed } else { backup::Outcome::Partial },
            backup_id: id.parse().unwrap(),
            archive: archive.parse().unwrap(),
            source_cluster_id,
            cut_at_ms,
            started_at_ms: cut_at_ms,
            resumed: false,
            already_there: true,
            duration_ms,
            topics: usize::MAX,
            partitions: usize::MAX,
            records,
            bytes,
            stored_bytes: bytes,
            holes: HoleCounts::default(),
            groups: 5,
            open_transactions: Vec::new(),
            pruned: (0..records % 200).map(|n| format!("shop-{n}-{}", "x".repeat(30)).parse().unwrap()).collect(),
            archive_contents: Some(ArchiveContents { backups: usize::MAX, bytes }),
            problems,
            warnings,
        },
    )
}

fn restore_report() -> impl Strategy<Value = RestoreReport> {
    let topics = prop::collection::vec(("[a-z.]{1,249}", any::<u64>()), 0..300);
    let groups = prop::collection::vec(".{0,300}", 0..300);
    (name(), name(), name(), topics, groups, lines(), lines()).prop_map(
        |(archive, backup_id, restore_id, topics, groups, problems, warnings)| RestoreReport {
            outcome: if problems.is_empty() { restore::Outcome::Completed } else { restore::Outcome::Partial },
            restore_id: restore_id.parse().unwrap(),
            backup_id: backup_id.parse().unwrap(),
            archive: archive.parse().unwrap(),
            target_cluster_id: "\u{1}".repeat(500),
            already_restored: false,
            duration_ms: i64::MIN,
            records: u64::MAX,
            bytes: u64::MAX,
            topics: topics
                .into_iter()
                .map(|(target, records)| TopicReport {
                    source: target.clone(),
                    target,
                    counts: Counts { records, ..Counts::default() },
                })
                .collect(),
            groups: groups
                .into_iter()
                .map(|target| GroupReport { source: target.clone(), target, committed: 1, left_out: 0 })
                .collect(),
            plan: None,
            problems,
            warnings,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_message_of_any_backup_fits_and_is_read_back(report in backup_report()) {
        let told = Termination::of(&RunReport::Backup(report.clone())).unwrap();
        prop_assert_eq!(&read_back(&told)?, &told);
        let Termination::Backup(ended) = told else { panic!("another run") };
        prop_assert_eq!(ended.problems.len() + ended.problems_omitted, report.problems.len());
        prop_assert_eq!(ended.warnings.len() + ended.warnings_omitted, report.warnings.len());
        let result = ended.result.unwrap();
        prop_assert_eq!(result.pruned.len() + result.pruned_omitted, report.pruned.len());
        prop_assert_eq!(result.backup_id, report.backup_id);
        prop_assert_eq!(ended.outcome == Outcome::Completed, report.problems.is_empty());
    }

    #[test]
    fn the_message_of_any_restore_fits_and_is_read_back(report in restore_report()) {
        let told = Termination::of(&RunReport::Restore(report.clone())).unwrap();
        prop_assert_eq!(&read_back(&told)?, &told);
        let Termination::Restore(ended) = told else { panic!("another run") };
        let result = ended.result.unwrap();
        prop_assert_eq!(result.topics.len() + result.topics_omitted, report.topics.len());
        let committed = report.groups.iter().filter(|group| group.committed > 0).count();
        prop_assert_eq!(result.groups.len() + result.groups_omitted, committed);
        for (told, topic) in result.topics.iter().zip(&report.topics) {
            prop_assert_eq!((&told.name, told.records), (&topic.target, topic.counts.records));
        }
    }

    #[test]
    fn the_message_of_any_failure_fits_and_is_read_back(message in "(.|\0|\"){0,3000}") {
        for run in [RunKind::Backup, RunKind::Restore, RunKind::Prune, RunKind::Verify] {
            let told = Termination::of_failure(run, Kind::Denied, &message).unwrap();
            prop_assert_eq!(&read_back(&told)?, &told);
        }
    }
}

#[test]
fn a_message_that_fits_loses_nothing() {
    let removed = (0..30).map(|n| Decision { backup_id: format!("shop-{n}").parse().unwrap(), why: "old".to_owned() });
    let report = PruneReport {
        outcome: prune::Outcome::Completed,
        confirmed: true,
        archive: "shop".parse().unwrap(),
        removed: removed.collect(),
        kept: vec![Decision { backup_id: "shop-31".parse().unwrap(), why: "young".to_owned() }],
        objects: 40,
        bytes: 4000,
        archive_contents: ArchiveContents { backups: 1, bytes: 70 },
        problems: Vec::new(),
        duration_ms: 7,
    };
    let told = Termination::of(&RunReport::Prune(report)).unwrap();
    let Termination::Prune(Ended { outcome, result: Some(result), .. }) = &told else { panic!("{told:?}") };
    assert_eq!((*outcome, result.removed.len(), result.removed_omitted, result.kept), (Outcome::Completed, 30, 0, 1));
    assert_eq!((result.archive_backups, result.archive_bytes), (1, 70));
    let json: serde_json::Value = serde_json::from_str(&told.to_json()).unwrap();
    assert_eq!(
        (&json["run"], &json["outcome"], &json["removed"][0]),
        (&"prune".into(), &"completed".into(), &"shop-0".into())
    );
    assert!(json.get("removedOmitted").is_none() && json.get("problems").is_none() && json.get("error").is_none());
}

#[test]
fn a_failure_tells_its_kind_and_an_interruption_is_none() {
    let json = |kind| Termination::of_failure(RunKind::Backup, kind, "why").unwrap().to_json();
    assert_eq!(json(Kind::Denied), r#"{"run":"backup","outcome":"failed","error":{"kind":"denied","message":"why"}}"#);
    assert!(json(Kind::Interrupted).contains(r#""outcome":"interrupted""#));
    assert_eq!(Termination::of_failure(RunKind::List, Kind::Denied, "why"), None);
}

#[test]
fn a_long_text_is_cut_between_two_letters_and_shows_it() {
    let cut_to = |text: &str, bytes| {
        let mut text = text.to_owned();
        cut(&mut text, bytes);
        text
    };
    assert_eq!(cut_to("größer", 30), "größer");
    assert_eq!(cut_to("größer", 7), "grö…");
    assert_eq!(cut_to("a\"b", 5), "a…");
}
