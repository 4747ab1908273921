//! Every kind of damage, on small archives in a folder.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::format::document::DocumentKind;
use crate::format::facts::BackupFacts;
use crate::format::manifest::Part;
use crate::repository::sample::{ARCHIVE, ORDERS_0_ADDED, Sample};

fn config(sample: &Sample, level: Level) -> VerifyConfig {
    let archive = Some(ARCHIVE.parse().unwrap());
    VerifyConfig {
        storage: sample.storage.clone(),
        backup: None,
        archive,
        level,
        parallelism: 2,
        decompressed_batch_bytes_max: 1 << 20,
    }
}

async fn verify(sample: &Sample, level: Level) -> Result<VerifyReport, Error> {
    run(&config(sample, level), &Progress::default(), &Stop::default()).await
}

async fn findings(sample: &Sample, level: Level) -> Vec<String> {
    let report = verify(sample, level).await.unwrap();
    assert_eq!(report.outcome == Outcome::Damaged, !report.findings.is_empty());
    report.findings.iter().map(ToString::to_string).collect()
}

/// Two backups, of which the second shares what the first has stored.
async fn two_backups() -> Sample {
    let sample = Sample::new().await;
    let first = sample.backup("b1", 1, None).await;
    sample.backup("b2", 2, Some(&first)).await;
    sample
}

fn path(sample: &Sample, key: &str) -> PathBuf {
    sample.dir.path().join(key)
}

fn change(sample: &Sample, key: &str, edit: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path(sample, key)).unwrap();
    edit(&mut bytes);
    fs::write(path(sample, key), bytes).unwrap();
}

async fn key_of(sample: &Sample, part_of_name: &str) -> String {
    sample.keys().await.into_iter().find(|key| key.contains(part_of_name)).unwrap()
}

#[tokio::test]
async fn an_untouched_archive_is_intact_at_every_level() {
    let sample = two_backups().await;
    for level in [Level::Manifest, Level::Objects, Level::Records] {
        let report = verify(&sample, level).await.unwrap();
        assert_eq!((report.outcome, &report.findings), (Outcome::Intact, &Vec::new()));
        assert_eq!((report.backups.len(), report.leftovers.len()), (2, 0));
        // 16 records in each of the two segments; the shared one is read once.
        assert_eq!(report.records, if level == Level::Records { 32 } else { 0 });
        assert_eq!(report.segments, if level == Level::Manifest { 0 } else { 2 });
    }
}

#[tokio::test]
async fn what_is_unlikely_about_a_backup_is_a_warning_of_the_report() {
    let sample = Sample::new().await;
    let mut manifest = sample.backup("b1", 1, None).await.manifest;
    assert_eq!(verify(&sample, Level::Manifest).await.unwrap().warnings, [""; 0]);
    manifest.topics[0].partitions[0].content.holes.compaction += 7;
    let key = sample.archive.keys.manifest(&manifest.backup_id);
    fs::write(path(&sample, &key), manifest.seal()).unwrap();
    let warnings = verify(&sample, Level::Manifest).await.unwrap().warnings;
    assert!(warnings.iter().any(|warning| warning.contains("as if the log cleaner had taken them")), "{warnings:?}");
}

#[tokio::test]
async fn a_verification_of_one_backup_looks_at_what_it_shares_with_others() {
    let sample = two_backups().await;
    let shared = key_of(&sample, "segments/b1/").await;
    change(&sample, &shared, |bytes| bytes[60] ^= 1);
    let config = VerifyConfig { archive: None, backup: Some("b2".parse().unwrap()), ..config(&sample, Level::Records) };
    let report = run(&config, &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!(report.findings.len(), 1);
    assert_eq!(report.findings[0].object, shared);
    assert_eq!(report.findings[0].backups, ["b2".parse().unwrap()]);
}

#[tokio::test]
async fn a_flipped_bit_in_a_frame_names_bytes_offsets_and_backups_and_nothing_else() {
    let sample = two_backups().await;
    let key = key_of(&sample, "segments/b2/").await;
    let (index, _) = {
        let parts = Archive::new(sample.archive.store.clone(), ARCHIVE.parse().unwrap());
        let manifest = parts.manifest(&"b2".parse().unwrap()).await.unwrap();
        let runs = parts.runs(&manifest).await.unwrap();
        let segment = runs.segments.iter().find(|segment| key.ends_with(segment.id.as_str())).unwrap();
        repository::segment::read_index(&parts.store, &parts.keys, segment).await.unwrap()
    };
    // The second frame of the first run: the batch that the producer had compressed.
    let run = &index.runs[0];
    let start = run.run.position + run.frames[0].0;
    let end = start + run.frames[1].0;
    change(&sample, &key, |bytes| bytes[usize::try_from(start).unwrap() + 70] ^= 0x10);
    let report = verify(&sample, Level::Records).await.unwrap();
    let [finding] = report.findings.as_slice() else { panic!("{:?}", report.findings) };
    assert_eq!((finding.start_byte, finding.end_byte), (Some(start), Some(end)));
    let base = ORDERS_0_ADDED;
    let [stretch] = finding.offsets.as_slice() else { panic!("{finding}") };
    assert_eq!((stretch.topic.as_str(), stretch.partition), ("orders", 0));
    assert_eq!((stretch.start_offset, stretch.end_offset), (base + 4, base + 8));
    assert_eq!(finding.backups, ["b2".parse().unwrap()]);
    assert!(finding.what.contains("CRC-32C"), "{finding}");
    // The levels above do not read so far.
    assert_eq!(findings(&sample, Level::Objects).await, [""; 0]);
}

#[tokio::test]
async fn a_missing_segment_is_named_with_all_that_is_lost() {
    let sample = two_backups().await;
    let key = key_of(&sample, "segments/b1/").await;
    fs::remove_file(path(&sample, &key)).unwrap();
    assert_eq!(findings(&sample, Level::Manifest).await, [""; 0]);
    for level in [Level::Objects, Level::Records] {
        assert_eq!(
            findings(&sample, level).await,
            [format!(
                "{key}: it is not there; it holds orders-0 offsets 0..12, orders-1 offsets 0..8 (2 backups, b1 to b2)"
            )]
        );
    }
}

#[tokio::test]
async fn a_segment_cut_short_is_named_with_its_sizes_and_the_runs_that_it_takes_along() {
    let sample = Sample::new().await;
    let made = sample.backup("b1", 1, None).await;
    let first_run = &made.stored[0].index.runs[0].run;
    let key = key_of(&sample, "segments/b1/").await;
    let size = first_run.byte_range().end;
    change(&sample, &key, |bytes| bytes.truncate(usize::try_from(size).unwrap()));
    let stored = made.stored[0].segment.bytes;
    let cut_short = format!(
        "{key}, bytes {size}..{stored}: it has {size} bytes where {stored} were stored: cut short, or another object; it \
         holds orders-1 offsets 0..8 (backup b1)"
    );
    assert_eq!(findings(&sample, Level::Objects).await, std::slice::from_ref(&cut_short));
    // The run before the cut is read, and whole.
    let records = findings(&sample, Level::Records).await;
    assert!(records[0] == cut_short && !records.iter().any(|line| line.contains("orders-0")), "{records:?}");
}

#[tokio::test]
async fn a_damaged_index_does_not_hide_what_is_still_whole() {
    let sample = two_backups().await;
    let key = key_of(&sample, "segments/b1/").await;
    change(&sample, &key, |bytes| {
        let at = bytes.len() - 40;
        bytes[at] ^= 1;
    });
    for level in [Level::Objects, Level::Records] {
        let lines = findings(&sample, level).await;
        assert!(lines.len() == 1 && lines[0].contains("index"), "{lines:?}");
    }
}

#[tokio::test]
async fn an_edited_manifest_is_named() {
    let sample = two_backups().await;
    let key = key_of(&sample, "b2/manifest").await;
    change(&sample, &key, |bytes| {
        let text = String::from_utf8(std::mem::take(bytes)).unwrap();
        *bytes = text.replace("\"cutAtMs\":2", "\"cutAtMs\":3").into_bytes();
    });
    let lines = findings(&sample, Level::Manifest).await;
    assert!(lines.len() == 1 && lines[0].starts_with(&key) && lines[0].contains("edited by hand"), "{lines:?}");
}

#[tokio::test]
async fn a_manifest_that_contradicts_its_parts_is_found_even_when_its_checksum_fits() {
    let sample = Sample::new().await;
    let made = sample.backup("b1", 1, None).await;
    let mut manifest = made.manifest;
    manifest.topics[1].partitions[0].end_offset += 1;
    manifest.topics[1].partitions[1].content.records += 1;
    sample.put(&sample.archive.keys.manifest(&manifest.backup_id), manifest.seal()).await;
    let lines = findings(&sample, Level::Manifest).await;
    assert!(lines.iter().any(|line| line.contains("orders-0: no run answers for the offsets 12..13")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("orders-1: its runs do not add up")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("the whole")), "{lines:?}");
}

#[tokio::test]
async fn a_part_that_is_missing_or_another_one_is_named() {
    let sample = Sample::new().await;
    let made = sample.backup("b1", 1, None).await;
    let key = sample.archive.keys.part(&made.manifest.parts[0].id);
    sample.put(&key, Part::default().seal(DocumentKind::Part)).await;
    let lines = findings(&sample, Level::Manifest).await;
    assert!(lines.len() == 1 && lines[0].contains("another size"), "{lines:?}");
    fs::remove_file(path(&sample, &key)).unwrap();
    let lines = findings(&sample, Level::Manifest).await;
    assert!(lines.len() == 1 && lines[0] == format!("{key}: it is not there (backup b1)"), "{lines:?}");
}

#[tokio::test]
async fn a_manifest_under_another_name_is_found() {
    let sample = Sample::new().await;
    let made = sample.backup("b1", 1, None).await;
    sample.put(&sample.archive.keys.manifest(&"b9".parse().unwrap()), made.manifest.seal()).await;
    let lines = findings(&sample, Level::Manifest).await;
    assert!(lines.len() == 1 && lines[0].contains("backup b1 of archive sample"), "{lines:?}");
}

#[tokio::test]
async fn a_segment_in_the_place_of_another_is_found() {
    let sample = two_backups().await;
    let (first, second) = (key_of(&sample, "segments/b1/").await, key_of(&sample, "segments/b2/").await);
    fs::copy(path(&sample, &first), path(&sample, &second)).unwrap();
    let lines = findings(&sample, Level::Objects).await;
    assert!(lines.iter().any(|line| line.starts_with(&second)), "{lines:?}");
}

#[tokio::test]
async fn objects_that_no_backup_names_are_told_and_are_no_damage() {
    let sample = two_backups().await;
    let left = sample.unfinished("b3").await;
    let report = verify(&sample, Level::Records).await.unwrap();
    assert_eq!(report.outcome, Outcome::Intact);
    assert_eq!(report.leftovers, left);
}

#[tokio::test]
async fn nothing_is_called_intact_without_being_looked_at() {
    let sample = Sample::new().await;
    let error = verify(&sample, Level::Records).await.unwrap_err();
    assert_eq!((error.kind(), error.to_string().as_str()), (Kind::Usage, "archive sample has no finished backup"));
    let config = VerifyConfig { archive: None, ..config(&sample, Level::Records) };
    let error = run(&config, &Progress::default(), &Stop::default()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
}

#[tokio::test]
async fn a_verification_that_is_stopped_has_no_result() {
    let sample = two_backups().await;
    let stop = Stop::default();
    stop.set();
    let error = run(&config(&sample, Level::Records), &Progress::default(), &stop).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Interrupted);
}

#[tokio::test]
async fn a_backup_that_is_pruned_while_it_is_verified_is_no_damage() {
    for gone in ["manifest", "segments"] {
        let sample = Sample::new().await;
        sample.backup("b1", 1, None).await;
        sample.backup("b2", 2, None).await;
        let listed: Vec<_> = sample.archive.listing().await.unwrap().finished.into_iter().collect();
        fs::remove_file(path(&sample, &key_of(&sample, "b1/manifest").await)).unwrap();
        if gone == "segments" {
            fs::remove_file(path(&sample, &key_of(&sample, "segments/b1/").await)).unwrap();
        }
        let config = config(&sample, Level::Records);
        let (progress, stop) = (Progress::default(), Stop::default());
        let report = verified(&config, sample.archive.clone(), listed, &progress, &stop, 0).await.unwrap();
        assert_eq!((report.outcome, report.findings.as_slice()), (Outcome::Intact, &[][..]));
        assert_eq!((report.backups, report.deleted), (vec!["b2".parse().unwrap()], vec!["b1".parse().unwrap()]));
    }
}

async fn listed(sample: &Sample) -> Vec<(BackupId, Listed)> {
    sample.archive.listing().await.unwrap().finished.into_iter().collect()
}

/// What a verification has read of a backup before it looks at the segments.
async fn documents(sample: &Sample, id: &str) -> (BackupId, Documents) {
    let id: BackupId = id.parse().unwrap();
    let listed = sample.archive.listed(&id).await.unwrap().unwrap();
    let reader = Reader { archive: sample.archive.clone(), lists_folders: true };
    let documents = reader.read(&id, &listed).await.unwrap();
    (id, documents)
}

#[tokio::test]
async fn a_backup_that_is_pruned_or_made_again_after_its_documents_were_read_is_no_damage() {
    for (meanwhile, is_damage) in [("pruned", false), ("made again", false), ("damaged", true)] {
        let sample = Sample::new().await;
        let made = sample.backup("b1", 1, None).await;
        let listed = listed(&sample).await;
        let (id, documents) = documents(&sample, "b1").await;
        let segment = key_of(&sample, "segments/b1/").await;
        let manifest = sample.archive.keys.manifest(&id);
        match meanwhile {
            "pruned" => fs::remove_file(path(&sample, &manifest)).unwrap(),
            "made again" => sample.put(&manifest, Manifest { cut_at_ms: 2, ..made.manifest }.seal()).await,
            _ => {}
        }
        fs::remove_file(path(&sample, &segment)).unwrap();
        let (config, progress, stop) = (config(&sample, Level::Objects), Progress::default(), Stop::default());
        let mut run = Run::new(&sample.archive, &config, &progress, &stop, &listed);
        let found = run.backup(&id, documents).await.unwrap();
        let objects = found.map(|found| found.findings.into_iter().map(|finding| finding.object).collect::<Vec<_>>());
        assert_eq!(objects, is_damage.then(|| vec![segment]), "{meanwhile}");
    }
}

#[tokio::test]
async fn damage_of_a_shared_segment_is_found_although_a_backup_that_names_it_is_pruned_meanwhile() {
    let sample = two_backups().await;
    let shared = key_of(&sample, "segments/b1/").await;
    change(&sample, &shared, |bytes| bytes[60] ^= 1);
    let listed = listed(&sample).await;
    let (first, of_first) = documents(&sample, "b1").await;
    let (second, of_second) = documents(&sample, "b2").await;
    fs::remove_file(path(&sample, &key_of(&sample, "b1/manifest").await)).unwrap();
    let (config, progress, stop) = (config(&sample, Level::Records), Progress::default(), Stop::default());
    let mut run = Run::new(&sample.archive, &config, &progress, &stop, &listed);
    assert!(run.backup(&first, of_first).await.unwrap().is_none());
    let Some(found) = run.backup(&second, of_second).await.unwrap() else { panic!("{second} is there") };
    let objects: Vec<&str> = found.findings.iter().map(|finding| finding.object.as_str()).collect();
    assert_eq!(objects, [shared.as_str()]);
}

#[tokio::test]
async fn nothing_is_called_intact_when_all_of_it_was_deleted_meanwhile() {
    let sample = Sample::new().await;
    sample.backup("b1", 1, None).await;
    let listed = listed(&sample).await;
    fs::remove_file(path(&sample, &key_of(&sample, "b1/manifest").await)).unwrap();
    let (config, progress, stop) = (config(&sample, Level::Records), Progress::default(), Stop::default());
    let verified = verified(&config, sample.archive.clone(), listed, &progress, &stop, 0).await;
    let error = verified.unwrap_err();
    assert!(matches!(error, Error::Deleted { .. }) && error.kind() == Kind::Usage, "{error}");
}

#[tokio::test]
async fn a_manifest_that_was_damaged_and_is_whole_again_is_no_deleted_backup() {
    for (at_first, is_gone) in [("damaged", false), ("missing", true)] {
        let sample = Sample::new().await;
        let made = sample.backup("b1", 1, None).await;
        let listed = listed(&sample).await;
        let manifest = sample.archive.keys.manifest(&made.manifest.backup_id);
        match at_first {
            "damaged" => change(&sample, &manifest, |bytes| bytes.truncate(100)),
            _ => fs::remove_file(path(&sample, &manifest)).unwrap(),
        }
        let reader = Reader { archive: sample.archive.clone(), lists_folders: true };
        let (id, entry) = &listed[0];
        let documents = reader.read(id, entry).await.unwrap();
        sample.put(&manifest, made.manifest.seal()).await;
        let (config, progress, stop) = (config(&sample, Level::Objects), Progress::default(), Stop::default());
        let mut run = Run::new(&sample.archive, &config, &progress, &stop, &listed);
        let found = run.backup(id, documents).await.unwrap();
        let objects = found.map(|found| found.findings.into_iter().map(|finding| finding.object).collect::<Vec<_>>());
        assert_eq!(objects, (!is_gone).then(|| vec![manifest]), "{at_first}");
    }
}

#[tokio::test]
async fn of_backups_that_share_nothing_no_segment_is_remembered() {
    let sample = Sample::new().await;
    sample.backup("b1", 1, None).await;
    sample.backup("b2", 2, None).await;
    let listed = listed(&sample).await;
    assert!(listed.iter().all(|(_, listed)| !listed.holdings().unwrap().shares));
    let report = verify(&sample, Level::Records).await.unwrap();
    assert_eq!((report.segments, report.records, report.leftovers.len()), (2, 32, 0));
    let (config, progress, stop) = (config(&sample, Level::Records), Progress::default(), Stop::default());
    let mut run = Run::new(&sample.archive, &config, &progress, &stop, &listed);
    assert_eq!(run.backups(listed).await.unwrap().0.len(), 2);
    assert!(run.seen.is_none() && run.elsewhere.is_empty() && run.unnamed.is_empty());
}

#[tokio::test]
async fn of_backups_that_share_each_segment_is_remembered_once() {
    let sample = two_backups().await;
    let listed = listed(&sample).await;
    let (config, progress, stop) = (config(&sample, Level::Objects), Progress::default(), Stop::default());
    let mut run = Run::new(&sample.archive, &config, &progress, &stop, &listed);
    assert_eq!(run.backups(listed).await.unwrap().0.len(), 2);
    // Three are named by two backups.
    assert_eq!((run.seen.as_ref().map(HashSet::len), run.found.segments), (Some(2), 2));
}

#[tokio::test]
async fn facts_that_do_not_say_what_the_manifest_says_are_found() {
    let sample = Sample::new().await;
    sample.backup("b1", 1, None).await;
    let key = key_of(&sample, "b1/facts/").await;
    // Renamed by hand: one record more.
    let name = key.rsplit('/').next().unwrap();
    let mut facts = BackupFacts::parse(name).unwrap();
    facts.records += 1;
    let other = key.replace(name, &facts.name().unwrap());
    fs::rename(path(&sample, &key), path(&sample, &other)).unwrap();
    assert_eq!(
        findings(&sample, Level::Manifest).await,
        [format!("{other}: it does not say what the manifest says (backup b1)")]
    );
    // Those of another manifest.
    facts.manifest_digest = "0123456789abcdef".to_owned();
    fs::rename(path(&sample, &other), path(&sample, &key.replace(name, &facts.name().unwrap()))).unwrap();
    let lines = findings(&sample, Level::Manifest).await;
    assert!(lines.len() == 1 && lines[0].contains("replaced by hand"), "{lines:?}");
}

/// Any single bit of any object, and the object is named.
#[test]
fn every_flipped_bit_is_found() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (sample, keys) = runtime.block_on(async {
        let sample = two_backups().await;
        let keys = sample.keys().await;
        (sample, keys)
    });
    let picks = (any::<prop::sample::Index>(), any::<prop::sample::Index>());
    let mut runner = TestRunner::new(ProptestConfig { cases: 1000, ..ProptestConfig::default() });
    let flipped = runner.run(&picks, |(object, bit)| {
        let key = &keys[object.index(keys.len())];
        let flip = |bytes: &mut Vec<u8>| {
            let at = bit.index(bytes.len() * 8);
            bytes[at / 8] ^= 1 << (at % 8);
        };
        change(&sample, key, flip);
        let verified = runtime.block_on(verify(&sample, Level::Records));
        change(&sample, key, flip);
        match verified {
            Ok(report) => {
                prop_assert!(
                    report.findings.iter().any(|finding| finding.object == *key),
                    "{key}: {:?}",
                    report.findings
                );
                prop_assert!(report.findings.iter().all(|finding| !finding.to_string().contains('\n')));
            }
            // Without the repository's own description nothing is looked at.
            Err(error) => {
                prop_assert_eq!(error.kind(), Kind::Corrupt);
                prop_assert!(error.to_string().starts_with(key.as_str()), "{}", error);
            }
        }
        Ok(())
    });
    flipped.unwrap();
}
