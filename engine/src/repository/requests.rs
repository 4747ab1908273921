//! How many requests the commands have under way at a time in a bucket, and how many delete.

use std::time::Duration;

use bytes::Bytes;

use super::sample::{ARCHIVE, Sample};
use crate::clock::now_ms;
use crate::config::list::ListConfig;
use crate::config::prune::{GRACE, PruneConfig};
use crate::config::verify::{Level, VerifyConfig};
use crate::format::layout::{BackupId, SegmentId};
use crate::progress::Progress;
use crate::stop::Stop;
use crate::store::{Asked, Bucket};
use crate::{list, prune, verify};

/// The sample, in a bucket.
async fn in_a_bucket(sample: &Sample) -> Bucket {
    let bucket = Bucket::start().await;
    for object in sample.archive.store.list("").await.unwrap() {
        let bytes = sample.archive.store.read(&object.key).await.unwrap();
        bucket.insert(&object.key, bytes, object.modified_ms);
    }
    bucket
}

/// The result of the work, which does not end where it waits for requests that are not sent.
async fn in_time<T>(work: impl Future<Output = T>) -> T {
    let time = Duration::from_secs(20);
    tokio::time::timeout(time, work).await.expect("so many requests are under way at a time")
}

#[tokio::test]
async fn a_list_reads_the_problems_of_sixteen_backups_at_a_time() {
    let sample = Sample::new().await;
    for number in 1..=32 {
        sample.bare(&format!("b{number}"), number, &["a group could not be read"]);
    }
    let bucket = in_a_bucket(&sample).await;
    bucket.meet(Asked::Get, "/facts/", 16);
    let config = ListConfig { storage: bucket.storage.clone(), archive: Some(ARCHIVE.parse().unwrap()) };
    let report = in_time(list::run(&config)).await.unwrap();
    let backups = &report.archives[0].backups;
    assert_eq!((backups.len(), bucket.count(Asked::Get, "/facts/"), bucket.most_under_way()), (32, 32, 16));
    assert!(backups.iter().all(|backup| backup.problems == ["a group could not be read"]), "{backups:?}");
}

#[tokio::test]
async fn a_verification_reads_sixteen_parts_and_looks_at_sixteen_segments_at_a_time() {
    let sample = Sample::new().await;
    let mut made = sample.backup("b01", 1, None).await;
    for number in 2..=32 {
        made = sample.backup(&format!("b{number:02}"), number, Some(&made)).await;
    }
    assert_eq!((made.stored.len(), made.manifest.parts.len()), (32, 32));
    let bucket = in_a_bucket(&sample).await;
    let config = VerifyConfig {
        storage: bucket.storage.clone(),
        backup: Some(made.manifest.backup_id.clone()),
        archive: None,
        level: Level::Objects,
        parallelism: 1,
        decompressed_batch_bytes_max: 1 << 20,
    };
    for (asked, of) in [(Asked::Get, "/parts/"), (Asked::Head, "/segments/")] {
        bucket.meet(asked, of, 16);
        let report = in_time(verify::run(&config, &Progress::default(), &Stop::default())).await.unwrap();
        assert_eq!((report.outcome, report.segments), (verify::Outcome::Intact, 32), "{:?}", report.findings);
        assert_eq!(bucket.most_under_way(), 16, "{asked:?}");
    }
}

#[tokio::test]
async fn a_prune_deletes_a_thousand_segments_by_a_request() {
    let sample = Sample::new().await;
    sample.bare("kept", now_ms(), &[]);
    let bucket = in_a_bucket(&sample).await;
    let (keys, gone): (_, BackupId) = (&sample.archive.keys, "gone".parse().unwrap());
    for number in 0..2_500 {
        bucket.insert(&keys.segment(&SegmentId::new(&gone, 1, 0, number)), Bytes::from_static(b"segment"), 0);
    }
    let config = PruneConfig {
        storage: bucket.storage.clone(),
        archive: ARCHIVE.parse().unwrap(),
        max_backups: None,
        max_age: None,
        grace: GRACE,
        confirm: true,
    };
    let report = in_time(prune::run(&config, &Stop::default())).await.unwrap();
    assert_eq!((report.outcome, report.objects), (prune::Outcome::Completed, 2_500), "{:?}", report.problems);
    assert_eq!((bucket.count(Asked::DeleteMany, ""), bucket.count(Asked::Delete, "")), (3, 0));
    assert!(!bucket.keys().iter().any(|key| key.contains("gone")));
}
