use bytes::Bytes;

use super::*;
use crate::config::storage::{FileStorage, StorageConfig};

const NOW_MS: i64 = 1_000_000_000;
const TTL_MS: i64 = 60_000;

fn holder(run: &str) -> Holder {
    Holder { host: "elsewhere".to_owned(), boot_id: Some("another boot".to_owned()), ..Holder::current(run) }
}

fn record(run: &str, renewed_at_ms: i64) -> LeaseRecord {
    LeaseRecord {
        version: VERSION,
        holder: holder(run),
        acquired_at_ms: renewed_at_ms,
        renewed_at_ms,
        ttl_ms: TTL_MS,
        released: false,
    }
}

fn judged(record: &LeaseRecord, run: &str, unchanged_ms: i64, liveness: Liveness) -> Verdict {
    judge(Some((7, record)), &holder(run), NOW_MS, unchanged_ms, |_| liveness)
}

async fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(&StorageConfig::File(FileStorage { dir: dir.path().to_owned() })).await.unwrap()
}

async fn plant(store: &Store, epoch: u64, record: &LeaseRecord) {
    store.put(&key("lease", epoch), record.to_bytes()).await.unwrap();
}

async fn acquire(store: &Store, holder: Holder) -> Result<Lease, Error> {
    Lease::acquire(store, "lease", holder, TTL_MS, WaitPolicy::Refuse).await
}

#[test]
fn the_first_epoch_is_one() {
    assert_eq!(judge(None, &holder("run"), NOW_MS, 0, |_| Liveness::Alive), Verdict::Take { epoch: 1 });
}

#[test]
fn a_held_lease_is_waited_for_until_it_expires() {
    let free_at_ms = NOW_MS - 10 + TTL_MS + CLOCK_SKEW_MS;
    for liveness in [Liveness::Unknown, Liveness::Alive] {
        assert_eq!(judged(&record("a", NOW_MS - 10), "b", 0, liveness), Verdict::WaitUntil(free_at_ms));
    }
}

#[test]
fn an_expired_lease_is_taken_only_after_the_clock_skew() {
    let renewed_at_ms = NOW_MS - TTL_MS - CLOCK_SKEW_MS;
    assert_eq!(judged(&record("a", renewed_at_ms), "b", 0, Liveness::Unknown), Verdict::Take { epoch: 8 });
    assert_eq!(judged(&record("a", renewed_at_ms + 1), "b", 0, Liveness::Unknown), Verdict::WaitUntil(NOW_MS + 1));
}

#[test]
fn a_holder_whose_clock_runs_ahead_does_not_hold_for_ever() {
    let ahead = record("a", NOW_MS + 365 * 24 * 3600 * 1000);
    assert!(matches!(judged(&ahead, "b", TTL_MS, Liveness::Unknown), Verdict::WaitUntil(_)));
    assert_eq!(judged(&ahead, "b", TTL_MS + CLOCK_SKEW_MS, Liveness::Unknown), Verdict::Take { epoch: 8 });
}

#[test]
fn a_dead_holders_lease_is_taken_at_once() {
    assert_eq!(judged(&record("a", NOW_MS), "b", 0, Liveness::Dead), Verdict::Take { epoch: 8 });
}

#[test]
fn a_released_lease_is_taken_at_once() {
    let released = LeaseRecord { released: true, ..record("a", NOW_MS) };
    assert_eq!(judged(&released, "b", 0, Liveness::Alive), Verdict::Take { epoch: 8 });
}

#[test]
fn the_same_run_takes_over_at_once_unless_it_is_seen_at_work() {
    let same = record("a", NOW_MS);
    assert_eq!(judged(&same, "a", 0, Liveness::Unknown), Verdict::Take { epoch: 8 });
    assert!(matches!(judged(&same, "a", 0, Liveness::Alive), Verdict::WaitUntil(_)));
}

#[test]
fn runs_without_a_name_are_not_the_same_run() {
    assert!(matches!(judged(&record("", NOW_MS), "", 0, Liveness::Unknown), Verdict::WaitUntil(_)));
}

#[tokio::test]
async fn who_holds_a_lease_can_be_asked_without_taking_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    assert_eq!(held_by(&store, "lease", now_ms()).await.unwrap(), None);
    let lease = acquire(&store, Holder::current("a")).await.unwrap();
    assert_eq!(held_by(&store, "lease", now_ms()).await.unwrap().unwrap().run, "a");
    assert_eq!(lease.epoch(), 1);
    lease.release().await.unwrap();
    assert_eq!(held_by(&store, "lease", now_ms()).await.unwrap(), None);
}

#[test]
fn refuses_records_that_it_does_not_know() {
    let text = String::from_utf8(record("a", 1).to_bytes().to_vec()).unwrap();
    assert_eq!(LeaseRecord::parse(text.as_bytes()).unwrap().ttl_ms, TTL_MS);
    let newer = text.replacen("\"version\":1", "\"version\":2", 1);
    assert!(LeaseRecord::parse(newer.as_bytes()).unwrap_err().contains("version 2"));
    let more = text.replacen('{', "{\"quorum\":3,", 1);
    assert!(LeaseRecord::parse(more.as_bytes()).unwrap_err().contains("quorum"));
    assert!(LeaseRecord::parse(b"").is_err());
}

#[test]
fn reads_version_one_for_ever() {
    let text = r#"{"version":1,"holder":{"run":"nightly-20260212-143000","id":"8c2b8f5e-5d3e-4a39-9a0e-0d6c5d3b7a11",
        "host":"pod-1","pid":1,"bootId":"b","pidNamespace":"pid:[4026531836]","startedTicks":17},
        "acquiredAtMs":1,"renewedAtMs":2,"ttlMs":60000,"released":false}"#;
    let record = LeaseRecord::parse(text.as_bytes()).unwrap();
    assert_eq!((record.holder.started_ticks, record.free_at_ms()), (Some(17), 2 + 60_000 + CLOCK_SKEW_MS));
}

#[tokio::test]
async fn a_conflict_names_the_holder_and_how_long_it_may_take() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let now_ms = now_ms();
    plant(&store, 3, &record("nightly", now_ms)).await;
    let error = acquire(&store, holder("other")).await.unwrap_err();
    let Error::Held { holder, until, .. } = &error else { panic!("{error}") };
    assert!(holder.starts_with("nightly on elsewhere (process "), "{holder}");
    let until: jiff::Timestamp = until.parse().unwrap();
    assert_eq!(until.as_millisecond(), now_ms + TTL_MS + CLOCK_SKEW_MS);
}

#[tokio::test]
async fn a_holder_that_was_silent_for_long_renews_before_it_writes() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let lease = acquire(&store, holder("run")).await.unwrap();
    lease.own.renewed_at_ms.fetch_sub(TTL_MS + 1, Ordering::Relaxed);
    let (_, mut record) = latest(&store, "lease").await.unwrap().unwrap();
    record.renewed_at_ms -= 2 * TTL_MS;
    store.put(&key("lease", 1), record.to_bytes()).await.unwrap();
    lease.check().await.unwrap();
    assert!(matches!(acquire(&store, holder("other")).await, Err(Error::Held { .. })));
}

#[tokio::test]
async fn a_holder_that_was_silent_for_long_and_cannot_renew_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let lease = acquire(&store, holder("run")).await.unwrap();
    lease.own.renewed_at_ms.fetch_sub(TTL_MS + 1, Ordering::Relaxed);
    std::fs::remove_dir_all(dir.path()).unwrap();
    assert!(matches!(lease.check().await, Err(Error::Store(_))));
}

#[tokio::test]
async fn a_holder_that_was_silent_for_long_and_was_taken_over_from_has_lost() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let lease = acquire(&store, holder("run")).await.unwrap();
    lease.own.renewed_at_ms.fetch_sub(TTL_MS + 1, Ordering::Relaxed);
    plant(&store, 2, &record("other", now_ms())).await;
    assert!(matches!(lease.check().await, Err(Error::Lost { epoch: 1, .. })));
}

#[tokio::test]
async fn a_released_lease_is_there_for_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    for epoch in 1..=4 {
        let lease = acquire(&store, Holder::current(&format!("run-{epoch}"))).await.unwrap();
        assert_eq!(lease.epoch(), epoch);
        lease.release().await.unwrap();
    }
    assert_eq!(epochs(&store, "lease").await.unwrap(), [3, 4]);
}

#[tokio::test]
async fn renewals_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let lease = Lease::acquire(&store, "lease", holder("run"), 1_200, WaitPolicy::Refuse).await.unwrap();
    let (_, before) = latest(&store, "lease").await.unwrap().unwrap();
    // More than twice its time to live: without renewals it would be over.
    tokio::time::sleep(Duration::from_millis(3_000)).await;
    lease.check().await.unwrap();
    let (_, after) = latest(&store, "lease").await.unwrap().unwrap();
    assert!(after.renewed_at_ms > before.renewed_at_ms);
    drop(lease);
    tokio::time::sleep(Duration::from_millis(600)).await;
    let (_, dropped) = latest(&store, "lease").await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(latest(&store, "lease").await.unwrap().unwrap().1, dropped);
}

#[tokio::test]
async fn waits_until_it_is_released() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let first = acquire(&store, Holder::current("first")).await.unwrap();
    let second = {
        let store = store.clone();
        tokio::spawn(async move {
            Lease::acquire(&store, "lease", Holder::current("second"), TTL_MS, WaitPolicy::UpTo(20_000)).await
        })
    };
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!second.is_finished());
    first.release().await.unwrap();
    assert_eq!(second.await.unwrap().unwrap().epoch(), 2);
}

#[tokio::test]
async fn an_epoch_in_a_gap_is_no_lease() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    plant(&store, 9, &record("newest", now_ms())).await;
    let own = Own::take(&store, "lease", 3, &holder("slept long"), TTL_MS).await.unwrap();
    assert!(own.is_none());
    assert_eq!(epochs(&store, "lease").await.unwrap(), [9]);
}

#[tokio::test]
async fn an_unreadable_record_is_not_a_free_lease() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    store.put(&key("lease", 1), Bytes::from_static(b"{}")).await.unwrap();
    assert!(matches!(acquire(&store, holder("run")).await, Err(Error::Record { .. })));
}

#[tokio::test]
async fn who_looks_for_a_successor_changes_the_folder_first_so_that_nfs_asks_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let lease = acquire(&store, Holder::current("a")).await.unwrap();
    let folder = dir.path().join("lease");
    let long_ago = std::time::SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    std::fs::File::open(&folder).unwrap().set_modified(long_ago).unwrap();
    lease.check().await.unwrap();
    assert_ne!(std::fs::metadata(&folder).unwrap().modified().unwrap(), long_ago);
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 1, "{left:?}");
}
