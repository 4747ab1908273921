//! Pruning archives in a folder, and being killed while doing it.

use super::*;
use crate::config::verify::{Level, VerifyConfig};
use crate::format::document::{self, DocumentKind, Encoding};
use crate::format::manifest::VERSION;
use crate::progress::Progress;
use crate::repository::sample::{ARCHIVE, Made, Sample};
use crate::verify;

const DAY_MS: i64 = 86_400_000;

/// Objects of the samples are some milliseconds old: all are older than this.
const NO_GRACE: &str = "0s";

fn config(sample: &Sample, max_backups: usize, grace: &str, confirm: bool) -> PruneConfig {
    PruneConfig {
        storage: sample.storage.clone(),
        archive: ARCHIVE.parse().unwrap(),
        max_backups: NonZeroUsize::new(max_backups),
        max_age: None,
        grace: grace.parse::<Age>().unwrap(),
        confirm,
    }
}

async fn prune(config: &PruneConfig) -> PruneReport {
    // The clock of the store has milliseconds, and what is exactly as old as the grace period stays.
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    run(config, &Stop::default()).await.unwrap()
}

fn ids(decisions: &[Decision]) -> Vec<&str> {
    decisions.iter().map(|decision| decision.backup_id.as_str()).collect()
}

/// Four backups: the second shares the first one's segment; the others stand alone.
async fn four() -> (Sample, Vec<Made>) {
    let sample = Sample::new().await;
    let day = |n: i64| now_ms() - (10 - n) * DAY_MS;
    let first = sample.backup("b1", day(1), None).await;
    let second = sample.backup("b2", day(2), Some(&first)).await;
    let third = sample.backup("b3", day(3), None).await;
    let fourth = sample.backup("b4", day(4), Some(&third)).await;
    (sample, vec![first, second, third, fourth])
}

async fn verified(sample: &Sample) -> verify::VerifyReport {
    let archive = Some(ARCHIVE.parse().unwrap());
    let config = VerifyConfig {
        storage: sample.storage.clone(),
        backup: None,
        archive,
        level: Level::Records,
        parallelism: 2,
        decompressed_batch_bytes_max: 1 << 20,
    };
    verify::run(&config, &Progress::default(), &Stop::default()).await.unwrap()
}

/// What a listing shows without leases, which every run leaves behind.
async fn keys(sample: &Sample) -> Vec<String> {
    sample.keys().await.into_iter().filter(|key| !key.contains("/lease/")).collect()
}

#[tokio::test]
async fn without_confirmation_nothing_is_touched_and_the_plan_is_what_is_done_later() {
    let (sample, _) = four().await;
    sample.unfinished("u1").await;
    let before = sample.keys().await;
    let planned = prune(&config(&sample, 1, NO_GRACE, false)).await;
    assert_eq!((planned.outcome, sample.keys().await), (Outcome::Planned, before));
    let done = prune(&config(&sample, 1, NO_GRACE, true)).await;
    assert_eq!(done.outcome, Outcome::Completed);
    assert_eq!((planned.removed, planned.kept), (done.removed, done.kept));
    assert_eq!((planned.objects, planned.bytes), (done.objects, done.bytes));
}

#[tokio::test]
async fn what_stays_is_whole_and_nothing_is_left_over() {
    let (sample, _) = four().await;
    sample.unfinished("u1").await;
    let spent = sample.archive.keys.cut(&"b4".parse().unwrap());
    sample.put(&spent, b"progress of a backup that is finished".to_vec()).await;
    let report = prune(&config(&sample, 2, NO_GRACE, true)).await;
    assert_eq!((ids(&report.removed), ids(&report.kept)), (vec!["b1", "b2", "u1"], vec!["b3", "b4"]));
    assert!(!keys(&sample).await.contains(&spent));
    let verified = verified(&sample).await;
    assert_eq!((verified.outcome, verified.backups.len(), verified.leftovers.len()), (verify::Outcome::Intact, 2, 0));
    assert!(!keys(&sample).await.iter().any(|key| key.contains("/b1") || key.contains("/b2") || key.contains("/u1")));
}

#[tokio::test]
async fn the_grace_period_saves_segments_and_unfinished_backups_but_not_surplus_ones() {
    let (sample, _) = four().await;
    let lost = sample.unfinished("u1").await;
    let report = prune(&config(&sample, 1, "1h", true)).await;
    // A manifest each, and its facts.
    assert_eq!((ids(&report.removed), report.objects), (vec!["b1", "b2", "b3"], 6));
    let left = keys(&sample).await;
    assert!(lost.iter().all(|key| left.contains(key)));
    assert_eq!(verified(&sample).await.outcome, verify::Outcome::Intact);
}

#[tokio::test]
async fn killed_after_any_deletion_every_remaining_backup_is_whole_and_the_next_run_ends_the_work() {
    let deletions = {
        let (sample, _) = four().await;
        sample.unfinished("u1").await;
        prune(&config(&sample, 1, NO_GRACE, false)).await.objects
    };
    assert!(deletions > 8, "{deletions}");
    for killed_after in 0..=deletions {
        let (sample, _) = four().await;
        sample.unfinished("u1").await;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        let rules = Rules { max_backups: Some(1), ..Rules::default() };
        let facts = facts::read(&sample.archive, true, 0, now_ms()).await.unwrap();
        let plan = plan::plan(&facts, &rules, now_ms());
        let needed = plan::needed(&facts, &plan.gone());
        let sweep = Sweep::of(&sample.archive, needed, Scope::All, u64::MAX, 0).await.unwrap();
        let objects = sweep.deletions().await.unwrap();
        assert_eq!(plan.steps.iter().map(Vec::len).sum::<usize>() + objects.len(), deletions);
        for deletion in plan.steps.iter().flatten().chain(&objects).take(killed_after) {
            sample.archive.store.delete(&deletion.key).await.unwrap();
        }
        let between = verified(&sample).await;
        assert_eq!(between.findings, [], "killed after {killed_after} deletions");
        prune(&config(&sample, 1, NO_GRACE, true)).await;
        let after = verified(&sample).await;
        assert_eq!((after.findings.len(), after.leftovers.len(), after.backups.len()), (0, 0, 1));
    }
}

#[tokio::test]
async fn a_cut_goes_after_its_checkpoints() {
    let sample = Sample::new().await;
    sample.unfinished("u1").await;
    let facts = facts::read(&sample.archive, true, 0, now_ms() + 1000).await.unwrap();
    let plan = plan::plan(&facts, &Rules::default(), now_ms() + 1000);
    let keys: Vec<_> = plan.steps.iter().flatten().map(|object| object.key.rsplit('/').next().unwrap()).collect();
    assert_eq!(keys, ["e000001-000000", "cut"]);
}

/// The folder of a restore that has begun.
async fn begun_restore(sample: &Sample, id: &str, backup: &str) -> String {
    let (id, keys) = (id.parse().unwrap(), &sample.archive.keys);
    let folder = keys.restore_folder(&id);
    sample.put(&keys.restore_of(&backup.parse().unwrap(), &id), b"{}".to_vec()).await;
    sample.put(&keys.unfinished_restore(&id), b"{}".to_vec()).await;
    // Only that one has replaced a topic.
    let overwritten =
        if id.as_str() == "open" { serde_json::json!({ "t": uuid::Uuid::nil() }) } else { serde_json::json!({}) };
    let intent = serde_json::json!({ "request": { "backupId": backup, "topics": {} }, "overwritten": overwritten });
    let sealed = document::seal(DocumentKind::Journal, VERSION, Encoding::Json, &intent);
    sample.put(&format!("{folder}intent"), sealed).await;
    folder
}

#[tokio::test]
async fn the_journals_of_ended_restores_go_after_their_backup() {
    let (sample, _) = four().await;
    let keys_of = |id: &str| sample.archive.keys.restore_folder(&id.parse().unwrap());
    for (id, backup, end) in [
        ("done-gone", "b1", Some("done")),
        ("abandoned-gone", "b1", Some("abandoned")),
        ("open", "b2", None),
        ("open-and-harmless", "b1", None),
        ("done-kept", "b4", Some("done")),
    ] {
        let folder = begun_restore(&sample, id, backup).await;
        if let Some(end) = end {
            sample.put(&format!("{folder}{end}"), b"anything".to_vec()).await;
            sample.put(&format!("{folder}maps/00000/000000"), b"anything".to_vec()).await;
            sample.archive.store.delete(&sample.archive.keys.unfinished_restore(&id.parse().unwrap())).await.unwrap();
        }
    }
    let planned = prune(&config(&sample, 1, NO_GRACE, false)).await;
    let report = prune(&config(&sample, 1, NO_GRACE, true)).await;
    assert_eq!(ids(&report.removed), ["b1", "b3"], "an interrupted restore may have replaced what b2 is the copy of");
    assert!(
        report.problems.len() == 1 && report.problems[0].contains("b2 is kept for restore open"),
        "{:?}",
        report.problems
    );
    assert_eq!(planned.removed, report.removed);
    let left = keys(&sample).await;
    let left_of = |id: &str| -> Vec<String> {
        left.iter().filter_map(|key| key.strip_prefix(&keys_of(id))).map(str::to_owned).collect()
    };
    assert_eq!(left_of("done-gone"), ["done", "intent"], "the same command is the same restore");
    assert_eq!(left_of("abandoned-gone"), ["abandoned", "intent"]);
    assert_eq!(left_of("open"), ["intent"], "its topics may have the settings of a restore");
    assert_eq!(left_of("done-kept"), ["done", "intent", "maps/00000/000000"], "it can be run again");
    let named: Vec<&String> = left.iter().filter(|key| key.contains("/restores-of/")).collect();
    assert_eq!(named.len(), 3, "{named:?}");
}

#[tokio::test]
async fn what_a_running_restore_reads_stays() {
    let (sample, _) = four().await;
    let archive = &sample.archive;
    let folder = begun_restore(&sample, "r1", "b1").await;
    let holder = Holder::current("r1");
    let prefix = format!("{folder}lease");
    let lease = Lease::acquire(&archive.store, &prefix, holder, LEASE_TTL_MS, WaitPolicy::Refuse).await.unwrap();
    let report = prune(&config(&sample, 1, NO_GRACE, true)).await;
    assert_eq!(ids(&report.kept), ["b1", "b4"]);
    assert_eq!(verified(&sample).await.outcome, verify::Outcome::Intact);
    lease.release().await.unwrap();
    sample.put(&format!("{folder}done"), b"anything".to_vec()).await;
    let report = prune(&config(&sample, 1, "1h", true)).await;
    assert_eq!(ids(&report.removed), ["b1"], "a restore that is done needs nothing");
}

#[tokio::test]
async fn a_damaged_manifest_stops_the_deletion_of_segments_and_the_report_says_so() {
    let (sample, _) = four().await;
    let lost = sample.unfinished("u1").await;
    sample.put(&sample.archive.keys.manifest(&"b2".parse().unwrap()), b"no manifest".to_vec()).await;
    let report = prune(&config(&sample, 1, NO_GRACE, true)).await;
    assert_eq!((report.outcome, ids(&report.kept)), (Outcome::Partial, vec!["b4", "b2"]));
    assert!(report.problems.len() == 1 && report.problems[0].contains("b2/manifest"), "{:?}", report.problems);
    let left = keys(&sample).await;
    assert!(lost.iter().all(|key| left.contains(key)));
}

#[tokio::test]
async fn a_backup_at_work_is_left_alone() {
    let (sample, _) = four().await;
    sample.unfinished("u1").await;
    let store = &sample.archive.store;
    let prefix = sample.archive.keys.lease();
    let holder = Holder::current("u1");
    let lease = Lease::acquire(store, &prefix, holder, LEASE_TTL_MS, WaitPolicy::Refuse).await.unwrap();
    let planned = prune(&config(&sample, 1, NO_GRACE, false)).await;
    assert!(ids(&planned.kept).contains(&"u1"));
    lease.release().await.unwrap();
}

#[tokio::test]
async fn objects_that_are_not_ours_stay() {
    let (sample, _) = four().await;
    let strangers =
        ["archives/sample/segments/.hidden", "archives/sample/segments/deeper/x", "archives/other/segments/x"];
    for key in strangers {
        sample.put(key, b"stranger".to_vec()).await;
    }
    prune(&config(&sample, 1, NO_GRACE, true)).await;
    let left = keys(&sample).await;
    assert!(strangers.iter().all(|key| left.iter().any(|found| found == key)), "{left:?}");
}

#[tokio::test]
async fn a_prune_that_is_stopped_says_so() {
    let (sample, _) = four().await;
    let stop = Stop::default();
    stop.set();
    let error = run(&config(&sample, 1, NO_GRACE, true), &stop).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
    assert_eq!(verified(&sample).await.backups.len(), 4);
}

#[tokio::test]
async fn a_run_that_holds_the_lease_prunes_under_it_and_keeps_it() {
    let (sample, _) = four().await;
    let holder = Holder::current("backup");
    let keys = &sample.archive.keys;
    let lease = Lease::acquire(&sample.archive.store, &keys.lease(), holder, LEASE_TTL_MS, WaitPolicy::Refuse).await;
    let lease = lease.unwrap();
    let retention = RetentionConfig { max_backups: NonZeroUsize::new(2), max_age: None };
    let made = "b4".parse().unwrap();
    let pruned = under(&sample.archive, &retention, &made, &lease, &Stop::default()).await.unwrap();
    assert_eq!((ids(&pruned.removed), pruned.problems.len()), (vec!["b1", "b2"], 0));
    // Segments of the samples are younger than the grace period of retention.
    assert_eq!(pruned.sweep.delete(&Stop::default()).await.unwrap(), Swept::default());
    lease.check().await.unwrap();
    assert_eq!(sample.archive.contents().await.unwrap().backups, 2);
    let stopped = Stop::default();
    stopped.set();
    let one = RetentionConfig { max_backups: NonZeroUsize::new(1), max_age: None };
    assert_eq!(under(&sample.archive, &one, &made, &lease, &stopped).await.unwrap_err().kind(), Kind::Interrupted);
    assert_eq!(sample.archive.contents().await.unwrap().backups, 2);
}

#[tokio::test]
async fn what_pruning_reads_does_not_grow_with_the_archive() {
    let mut costs = Vec::new();
    for backups in [20, 200] {
        let sample = Sample::new().await;
        sample.many(backups, now_ms());
        let holder = Holder::current("backup");
        let archive = &sample.archive;
        let prefix = archive.keys.lease();
        let lease = Lease::acquire(&archive.store, &prefix, holder, LEASE_TTL_MS, WaitPolicy::Refuse).await.unwrap();
        sample.cost();
        let facts = facts::read(archive, true, 0, now_ms()).await.unwrap();
        assert_eq!(facts.backups.len(), usize::try_from(backups).unwrap());
        let of_plan = sample.cost();
        // One complete backup goes.
        let complete = usize::try_from(backups - backups / 10).unwrap();
        let made = format!("b{:04}", backups - 1).parse().unwrap();
        let retention = RetentionConfig { max_backups: NonZeroUsize::new(complete - 1), max_age: None };
        let pruned = under(archive, &retention, &made, &lease, &Stop::default()).await.unwrap();
        assert_eq!(ids(&pruned.removed), ["b0000"]);
        pruned.sweep.delete(&Stop::default()).await.unwrap();
        costs.push([of_plan, sample.cost()]);
        lease.release().await.unwrap();
    }
    assert_eq!(costs[0], costs[1]);
    assert!(costs[0].iter().all(|cost| cost.manifests == 0 && cost.calls < 20), "{costs:?}");
}

#[tokio::test]
async fn what_a_killed_run_of_a_finished_backup_left_goes_and_its_own_segments_stay() {
    let sample = Sample::new().await;
    let own = sample.backup("b1", now_ms(), None).await;
    let lost = sample.archive.keys.segment(&crate::format::layout::SegmentId::new(&"b1".parse().unwrap(), 1, 3, 7));
    sample.put(&lost, b"of a run that was killed".to_vec()).await;
    let report = prune(&config(&sample, 1, "1h", true)).await;
    assert_eq!(report.objects, 0, "it is younger than the grace period");
    let report = prune(&config(&sample, 1, NO_GRACE, true)).await;
    assert_eq!((report.objects, report.outcome), (1, Outcome::Completed));
    let left = keys(&sample).await;
    assert!(!left.contains(&lost));
    assert!(left.contains(&sample.archive.keys.segment(&own.stored[0].segment.id)));
    assert_eq!(verified(&sample).await.outcome, verify::Outcome::Intact);
}

#[tokio::test]
async fn a_damaged_manifest_of_years_ago_keeps_its_own_segments_and_stops_no_pruning() {
    let sample = Sample::new().await;
    let day = |n: i64| now_ms() - (10 - n) * DAY_MS;
    let old = sample.backup("b1", day(1), None).await;
    sample.backup("b2", day(2), None).await;
    sample.backup("b3", day(3), None).await;
    sample.put(&sample.archive.keys.manifest(&"b1".parse().unwrap()), b"no manifest".to_vec()).await;
    let report = prune(&config(&sample, 1, NO_GRACE, true)).await;
    assert_eq!((report.outcome, ids(&report.removed)), (Outcome::Partial, vec!["b2"]));
    let [problem] = report.problems.as_slice() else { panic!("{:?}", report.problems) };
    assert!(problem.starts_with("backup b1 is kept, since it cannot be read: "), "{problem}");
    let left = keys(&sample).await;
    assert!(left.contains(&sample.archive.keys.segment(&old.stored[0].segment.id)));
    assert!(!left.iter().any(|key| key.contains("segments/b2/")), "{left:?}");
}

#[tokio::test]
async fn what_a_later_run_writes_for_a_deleted_backup_is_out_of_reach_of_a_sweep_that_goes_on() {
    let sample = Sample::new().await;
    sample.backup("b1", now_ms() - DAY_MS, None).await;
    sample.backup("b2", now_ms(), None).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let archive = &sample.archive;
    let rules = Rules { max_backups: Some(1), ..Rules::default() };
    let holder = Holder::current("prune");
    let prefix = archive.keys.lease();
    let lease = Lease::acquire(&archive.store, &prefix, holder, LEASE_TTL_MS, WaitPolicy::Refuse).await.unwrap();
    let stop = Stop::default();
    let (_, _, sweep) = Pruning::new(archive, &lease, &stop).begin(&rules, Scope::All).await.unwrap();
    lease.release().await.unwrap();
    // Another run holds the lease now, and makes a backup of the id that was deleted.
    let holder = Holder::current("b1");
    let prefix = archive.keys.lease();
    let next = Lease::acquire(&archive.store, &prefix, holder, LEASE_TTL_MS, WaitPolicy::Refuse).await.unwrap();
    let id = crate::format::layout::SegmentId::new(&"b1".parse().unwrap(), next.epoch(), 0, 0);
    sample.put(&archive.keys.segment(&id), b"new".to_vec()).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    sweep.delete(&stop).await.unwrap();
    let left: Vec<String> = keys(&sample).await.into_iter().filter(|key| key.contains("segments/b1/")).collect();
    assert_eq!(left, [archive.keys.segment(&id)]);
    next.release().await.unwrap();
}

#[tokio::test]
async fn what_a_listing_did_not_show_is_asked_for_before_its_folder_goes() {
    let sample = Sample::new().await;
    sample.backup("b1", now_ms() - DAY_MS, None).await;
    sample.backup("b2", now_ms(), None).await;
    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    let archive = &sample.archive;
    let manifest = archive.keys.manifest(&"b1".parse().unwrap());
    let object = archive.store.read(&manifest).await.unwrap();
    let (holder, prefix) = (Holder::current("prune"), archive.keys.lease());
    let lease = Lease::acquire(&archive.store, &prefix, holder, LEASE_TTL_MS, WaitPolicy::Refuse).await.unwrap();
    let (rules, stop) = (Rules { max_backups: Some(1), ..Rules::default() }, Stop::default());
    let (plan, _, sweep) = Pruning::new(archive, &lease, &stop).begin(&rules, Scope::All).await.unwrap();
    assert_eq!(ids(&plan.remove), ["b1"]);
    // The listing lagged behind: it is there after all.
    sample.put(&manifest, object.to_vec()).await;
    let swept = sweep.delete(&stop).await.unwrap();
    assert_eq!((swept.objects, swept.problems.len()), (0, 1), "{swept:?}");
    lease.release().await.unwrap();
    assert_eq!(verified(&sample).await.outcome, verify::Outcome::Intact);
}

#[tokio::test]
async fn a_newest_backup_that_has_rotted_replaces_none_that_can_be_read() {
    let (sample, _) = four().await;
    let manifest = sample.archive.keys.manifest(&"b4".parse().unwrap());
    let mut object = sample.archive.store.read(&manifest).await.unwrap().to_vec();
    let middle = object.len() / 2;
    object[middle] ^= 1;
    sample.put(&manifest, object).await;
    let report = prune(&config(&sample, 1, NO_GRACE, true)).await;
    assert_eq!((report.outcome, ids(&report.removed)), (Outcome::Partial, vec!["b1", "b2"]));
    assert!(report.problems.iter().any(|problem| problem.contains("b4")), "{:?}", report.problems);
}

#[tokio::test]
async fn a_clock_that_is_wrong_stops_what_goes_by_age() {
    let (sample, _) = four().await;
    let archive = &sample.archive;
    let (holder, prefix) = (Holder::current("prune"), archive.keys.lease());
    let lease = Lease::acquire(&archive.store, &prefix, holder, LEASE_TTL_MS, WaitPolicy::Refuse).await.unwrap();
    for object in archive.store.list(&prefix).await.unwrap() {
        // As a store sees it whose clock is an hour behind this one's.
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis((now_ms() - 3_600_000).unsigned_abs());
        let file = std::fs::File::options().write(true).open(sample.dir.path().join(&object.key)).unwrap();
        file.set_modified(at).unwrap();
    }
    let stop = Stop::default();
    let error = Pruning::new(archive, &lease, &stop).begin(&Rules::default(), Scope::All).await.unwrap_err();
    assert!(error.to_string().starts_with("the clock of this machine is 60 minutes ahead of that of "), "{error}");
    lease.release().await.unwrap();
}

#[tokio::test]
async fn what_may_not_be_deleted_keeps_nothing_else() {
    let (sample, _) = four().await;
    // Nobody may delete a file of the kernel's own.
    std::os::unix::fs::symlink("/proc/self", sample.dir.path().join("held")).unwrap();
    let held = "held/status".to_owned();
    let mut swept = Swept::default();
    let deletion = |key: &str| plan::Deletion { key: key.to_owned(), bytes: 1 };
    let other = sample.archive.keys.manifest(&"b1".parse().unwrap());
    swept.delete(&sample.archive.store, &[deletion(&held), deletion(&other)]).await.unwrap();
    assert_eq!((swept.objects, swept.problems.len()), (0, 1), "{swept:?}");
    assert!(!keys(&sample).await.contains(&other));
}
