//! What a choice costs, and what it does about backups that are partial or damaged.

use super::sample::{Cost, Sample};
use super::*;
use crate::clock::now_ms;
use crate::list;

const DAY_MS: i64 = 86_400_000;

/// A bare backup without facts next to its manifest.
fn without_facts(sample: &Sample, id: &str, cut_at_ms: i64) {
    let manifest = sample.bare(id, cut_at_ms, &[]);
    let folder = sample.archive.keys.facts(&manifest.backup_id, "");
    std::fs::remove_dir_all(sample.dir.path().join(folder)).unwrap();
}

fn damage(sample: &Sample, id: &str) {
    sample.write(&sample.archive.keys.manifest(&id.parse().unwrap()), b"no manifest");
}

async fn newest(sample: &Sample) -> Result<(String, Vec<String>), Error> {
    let (manifest, warnings) = sample.archive.newest().await?;
    Ok((manifest.backup_id.to_string(), warnings))
}

#[tokio::test]
async fn what_a_choice_a_listing_and_the_totals_cost_does_not_grow_with_the_archive() {
    let mut costs = Vec::new();
    for backups in [20, 200] {
        let sample = Sample::new().await;
        let now_ms = now_ms();
        sample.many(backups, now_ms);
        sample.cost();
        let archive = &sample.archive;
        assert_eq!(newest(&sample).await.unwrap().0, format!("b{:04}", backups - 1));
        let of_newest = sample.cost();
        let (manifest, _) = archive.reaching(now_ms - 10 * DAY_MS).await.unwrap();
        assert_eq!(manifest.cut_at_ms, now_ms - 10 * DAY_MS);
        let of_reaching = sample.cost();
        let entry = list::entry(archive).await.unwrap();
        assert_eq!(entry.backups.len(), usize::try_from(backups).unwrap());
        let of_list = sample.cost();
        // The problems of the partial ones are read from small objects.
        let partial = usize::try_from(backups / 10).unwrap();
        let of_list = Cost { calls: of_list.calls - partial, ..of_list };
        let contents = archive.contents().await.unwrap();
        assert_eq!(contents.backups, usize::try_from(backups - backups / 10).unwrap());
        costs.push([of_newest, of_reaching, of_list, sample.cost()]);
    }
    assert_eq!(costs[0], costs[1]);
    let manifests: Vec<usize> = costs[0].iter().map(|cost| cost.manifests).collect();
    assert_eq!(manifests, [1, 1, 0, 0]);
    assert!(costs[0].iter().all(|cost| cost.calls <= 4), "{costs:?}");
}

#[tokio::test]
async fn of_two_attempts_the_facts_of_the_one_that_made_the_manifest_count() {
    let sample = Sample::new().await;
    let first = sample.bare("b", 1000, &[]);
    // The second attempt stored its facts, and its manifest came too late.
    let mut second = first.clone();
    second.problems = vec!["a group could not be read".to_owned()];
    let object = second.seal();
    let other = BackupFacts::of(&second, &object, Some(crate::format::facts::Holdings::of(&second, &[])));
    let key = |facts: &BackupFacts| sample.archive.keys.facts(&"b".parse().unwrap(), &facts.name().unwrap());
    sample.write(&key(&other), &FactsDetails::of(&second).seal());
    sample.cost();
    let listing = sample.archive.listing().await.unwrap();
    let facts = sample.archive.facts(&listing).await.unwrap();
    assert_eq!(facts[&"b".parse().unwrap()].as_ref().unwrap().problems, 0);
    assert_eq!(sample.cost().manifests, 0, "the size of the manifest tells");
    // Of the same size: the manifest has to be opened, once.
    let twin = BackupFacts { manifest_bytes: first.seal().len() as u64, ..other };
    sample.write(&key(&twin), &FactsDetails::of(&second).seal());
    let listing = sample.archive.listing().await.unwrap();
    let facts = sample.archive.facts(&listing).await.unwrap();
    assert_eq!(facts[&"b".parse().unwrap()].as_ref().unwrap().problems, 0);
    assert_eq!(sample.cost().manifests, 1);
}

#[tokio::test]
async fn a_backup_without_facts_is_known_by_its_manifest() {
    let sample = Sample::new().await;
    sample.bare("a", 1000, &[]);
    without_facts(&sample, "b", 2000);
    assert_eq!(newest(&sample).await.unwrap(), ("b".to_owned(), Vec::new()));
    assert_eq!(sample.archive.contents().await.unwrap().backups, 2);
    assert_eq!(list::entry(&sample.archive).await.unwrap().backups.len(), 2);
}

#[tokio::test]
async fn an_old_damaged_manifest_stops_no_restore_and_is_named() {
    let sample = Sample::new().await;
    without_facts(&sample, "shop-20240101-000000", 1);
    damage(&sample, "shop-20240101-000000");
    sample.bare("shop-20260101-000000", now_ms(), &[]);
    let (id, warnings) = newest(&sample).await.unwrap();
    assert_eq!(id, "shop-20260101-000000");
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    assert!(warning.starts_with("backup shop-20240101-000000 cannot be read: "), "{warning}");
    let (manifest, warnings) = sample.archive.reaching(5).await.unwrap();
    assert_eq!((manifest.backup_id.as_str(), warnings.len()), ("shop-20260101-000000", 1));
}

#[tokio::test]
async fn a_damaged_manifest_that_may_be_the_newest_is_left_to_the_user() {
    let sample = Sample::new().await;
    sample.bare("a", 1000, &[]);
    sample.bare("b", 2000, &[]);
    // Another size: the listing shows it. The same size: only opening it does.
    let key = sample.archive.keys.manifest(&"b".parse().unwrap());
    let same_size = vec![b'x'; std::fs::read(sample.dir.path().join(&key)).unwrap().len()];
    for damaged in [&b"no manifest"[..], &same_size] {
        sample.write(&key, damaged);
        let error = newest(&sample).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Corrupt);
        let text = error.to_string();
        assert!(text.contains("backup b may be the one") && text.ends_with("such as a"), "{text}");
        // A reaches it, whatever b holds.
        let (manifest, warnings) = sample.archive.reaching(900).await.unwrap();
        assert_eq!(manifest.backup_id.as_str(), "a");
        assert!(warnings.len() <= 1, "{warnings:?}");
    }
}

#[tokio::test]
async fn an_archive_of_partial_backups_is_restored_with_a_warning_that_names_what_is_missing() {
    let sample = Sample::new().await;
    sample.bare("a", 1000, &["topic x: it could not be read"]);
    sample.bare("b", 2000, &["topic y: it could not be read"]);
    let (id, warnings) = newest(&sample).await.unwrap();
    assert_eq!(id, "b");
    assert!(warnings.len() == 1 && warnings[0].contains("topic y: it could not be read"), "{warnings:?}");
    let (manifest, warnings) = sample.archive.reaching(500).await.unwrap();
    assert_eq!(manifest.backup_id.as_str(), "a");
    assert!(warnings[0].contains("topic x"), "{warnings:?}");
}

#[tokio::test]
async fn an_archive_without_backups_says_so() {
    let sample = Sample::new().await;
    sample.unfinished("u").await;
    assert_eq!(newest(&sample).await.unwrap_err().to_string(), "archive sample has no finished backup");
}

#[tokio::test]
async fn the_totals_count_the_segments_of_unfinished_backups_too() {
    let sample = Sample::new().await;
    let first = sample.backup("b1", 1, None).await;
    sample.backup("b2", 2, Some(&first)).await;
    sample.unfinished("u").await;
    let stored: u64 = {
        let objects = sample.archive.store.list(&sample.archive.keys.segments()).await.unwrap();
        objects.iter().map(|object| object.size).sum()
    };
    assert_eq!(sample.archive.contents().await.unwrap(), ArchiveContents { backups: 2, bytes: stored });
}

#[tokio::test]
async fn a_backup_that_is_deleted_or_made_again_after_it_was_read_is_told_from_a_damaged_one() {
    let sample = Sample::new().await;
    let archive = &sample.archive;
    let read = sample.bare("b1", 1_000, &[]);
    archive.still_holds(&read).await.unwrap();
    sample.bare("b1", 2_000, &[]);
    assert!(matches!(archive.still_holds(&read).await, Err(Error::Replaced { .. })));
    damage(&sample, "b1");
    let error = archive.still_holds(&read).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    archive.store.delete(&archive.keys.manifest(&read.backup_id)).await.unwrap();
    let error = archive.still_holds(&read).await.unwrap_err();
    assert!(matches!(error, Error::Deleted { .. }) && error.kind() == Kind::Usage, "{error}");
}
