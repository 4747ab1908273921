//! What every store must keep, as functions that a test calls with a store of any kind.
//!
//! Each takes a prefix of its own, which must be empty, and panics where the store breaks its word.

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;

use super::lease::{self, Holder, Lease, WaitPolicy};
use super::{Created, CreatedOrSame, Error, Store};
use crate::error::Kind;

/// Runs all of them below `prefix`.
pub async fn keeps_all(store: &Store, prefix: &str) {
    keeps_all_with_versions(store, prefix).await;
    folders_go_with_their_last_object(store, &format!("{prefix}/last")).await;
}

/// Those that a bucket with versions keeps too.
pub async fn keeps_all_with_versions(store: &Store, prefix: &str) {
    let below = |name: &str| format!("{prefix}/{name}");
    store.check_writable("write-check").await.expect("the store is writable");
    reads_what_was_written(store, &below("read")).await;
    only_what_is_not_there_is_not_found(store, &below("absent")).await;
    short_reads_are_errors(store, &below("short")).await;
    one_creator_wins(store, &below("create")).await;
    creating_again_compares(store, &below("again")).await;
    put_replaces_whole_objects(store, &below("put")).await;
    uploads_appear_when_finished(store, &below("upload")).await;
    uploads_never_replace(store, &below("conflict")).await;
    lists_completely_and_sorted(store, &below("list")).await;
    folders_are_not_beginnings_of_names(store, &below("folders")).await;
    many_are_read_in_order_and_deleted_at_once(store, &below("many")).await;
    refuses_keys_that_lead_elsewhere(store).await;
    one_of_twelve_gets_the_lease(store, &below("lease")).await;
    whoever_was_taken_over_from_is_fenced(store, &below("fenced")).await;
}

fn text(text: &str) -> Bytes {
    Bytes::from(text.to_owned())
}

/// Whole, by range, by tail; also keys with characters that URLs and file systems treat specially.
pub async fn reads_what_was_written(store: &Store, prefix: &str) {
    for name in ["plain", "a b/ü%2F+?*&=#:@~'/x", "..x/.hidden", "empty"] {
        let key = format!("{prefix}/{name}");
        let bytes = if name == "empty" { Bytes::new() } else { text("0123456789") };
        assert_eq!(store.create(&key, bytes.clone()).await, Ok(Created::New), "{key}");
        assert_eq!(store.read(&key).await.as_ref(), Ok(&bytes), "{key}");
        assert_eq!(store.size(&key).await, Ok(Some(bytes.len() as u64)), "{key}");
        assert_eq!(store.exists(&key).await, Ok(true), "{key}");
        assert_eq!(store.read_tail(&key, 100).await, Ok((bytes.clone(), bytes.len() as u64)), "{key}");
    }
    let key = format!("{prefix}/plain");
    assert_eq!(store.read_range(&key, 3..7).await, Ok(text("3456")));
    assert_eq!(store.read_range(&key, 0..10).await, Ok(text("0123456789")));
    assert_eq!(store.read_range(&key, 7..7).await, Ok(Bytes::new()));
    assert_eq!(store.read_tail(&key, 3).await, Ok((text("789"), 10)));
    assert_eq!(store.read_tail(&key, 0).await, Ok((Bytes::new(), 10)));
}

/// And deleting what is not there is fine.
pub async fn only_what_is_not_there_is_not_found(store: &Store, prefix: &str) {
    store.create(&format!("{prefix}/a/b"), text("x")).await.expect("created");
    for key in ["nothing", "a", "a/b2", "a/c/d"].map(|name| format!("{prefix}/{name}")) {
        assert!(matches!(store.read(&key).await, Err(Error::NotFound { .. })), "{key}");
        assert!(matches!(store.read_range(&key, 0..1).await, Err(Error::NotFound { .. })), "{key}");
        assert!(matches!(store.read_tail(&key, 1).await, Err(Error::NotFound { .. })), "{key}");
        assert_eq!(store.size(&key).await, Ok(None), "{key}");
        assert_eq!(store.exists(&key).await, Ok(false), "{key}");
    }
    let key = format!("{prefix}/a/b");
    assert_eq!(store.delete(&key).await, Ok(()));
    assert_eq!(store.delete(&key).await, Ok(()));
    assert_eq!(store.exists(&key).await, Ok(false));
}

/// A range that the object does not have is never filled up with less.
pub async fn short_reads_are_errors(store: &Store, prefix: &str) {
    let key = format!("{prefix}/ten");
    store.create(&key, text("0123456789")).await.expect("created");
    for range in [5..11, 10..11, 1_000..2_000, 0..u64::MAX >> 1] {
        let read = store.read_range(&key, range.clone()).await;
        assert!(matches!(read, Err(Error::Short { .. })), "{range:?}: {read:?}");
    }
}

/// Twelve at a time, several times.
pub async fn one_creator_wins(store: &Store, prefix: &str) {
    for round in 0..4 {
        let key = format!("{prefix}/{round}");
        let writers: Vec<_> = (0..12)
            .map(|writer| {
                let (store, key) = (store.clone(), key.clone());
                tokio::spawn(async move { (writer, store.create(&key, text(&format!("writer {writer}"))).await) })
            })
            .collect();
        let mut winners = Vec::new();
        for result in join_all(writers).await {
            let (writer, created) = result.expect("the writer ran");
            if created.expect("no writer fails") == Created::New {
                winners.push(writer);
            }
        }
        assert_eq!(winners.len(), 1, "winners of {key}");
        assert_eq!(store.read(&key).await, Ok(text(&format!("writer {}", winners[0]))));
    }
}

/// So that a call whose answer got lost can be repeated.
pub async fn creating_again_compares(store: &Store, prefix: &str) {
    let key = format!("{prefix}/key");
    assert_eq!(store.create_or_same(&key, text("one")).await, Ok(CreatedOrSame::New));
    assert_eq!(store.create_or_same(&key, text("one")).await, Ok(CreatedOrSame::AlreadyThere { same: true }));
    assert_eq!(store.create_or_same(&key, text("two")).await, Ok(CreatedOrSame::AlreadyThere { same: false }));
    assert_eq!(store.read(&key).await, Ok(text("one")));
}

/// A reader who looks all the while sees one version or the other.
pub async fn put_replaces_whole_objects(store: &Store, prefix: &str) {
    let key = format!("{prefix}/key");
    let version = |n: u8| Bytes::from(vec![n; 50_000 + usize::from(n)]);
    store.put(&key, version(0)).await.expect("put");
    let writer = {
        let (store, key) = (store.clone(), key.clone());
        tokio::spawn(async move {
            for n in 1..20 {
                store.put(&key, version(n)).await.expect("put");
            }
        })
    };
    while !writer.is_finished() {
        let read = store.read(&key).await.expect("read");
        assert_eq!(read, version(read[0]));
    }
    writer.await.expect("the writer ran");
    assert_eq!(store.read(&key).await, Ok(version(19)));
}

/// Not before, and not when they are dropped or aborted; small ones and ones of several parts.
pub async fn uploads_appear_when_finished(store: &Store, prefix: &str) {
    let piece = Bytes::from((0..1_000_003_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>());
    for pieces in [0_usize, 1, 30] {
        let key = format!("{prefix}/{pieces}");
        for end in ["drop", "abort", "finish"] {
            let mut upload = store.upload(&key).await.expect("begun");
            for _ in 0..pieces {
                upload.write(vec![piece.clone()]).await.expect("written");
            }
            assert_eq!(store.exists(&key).await, Ok(false), "{key} before {end}");
            assert_eq!(store.list(prefix).await.expect("listed").iter().filter(|o| o.key == key).count(), 0, "{key}");
            match end {
                "drop" => drop(upload),
                "abort" => upload.abort().await,
                _ => assert_eq!(upload.finish().await, Ok((pieces * piece.len()) as u64)),
            }
            assert_eq!(store.exists(&key).await, Ok(end == "finish"), "{key} after {end}");
        }
        let read = store.read(&key).await.expect("read");
        assert!(read == piece.repeat(pieces), "{key} is not what was uploaded");
    }
}

/// A finished upload whose key was taken meanwhile is a conflict, and what was there stays.
pub async fn uploads_never_replace(store: &Store, prefix: &str) {
    for pieces in [1_usize, 20] {
        let key = format!("{prefix}/{pieces}");
        let mut upload = store.upload(&key).await.expect("begun");
        for _ in 0..pieces {
            upload.write(vec![Bytes::from(vec![7; 1_000_000])]).await.expect("written");
        }
        store.create(&key, text("first")).await.expect("created");
        assert!(matches!(upload.finish().await, Err(Error::Conflict { .. })), "{key}");
        assert_eq!(store.read(&key).await, Ok(text("first")));
    }
}

/// More than one page of S3, with names whose order differs between file systems, locales and bytes.
pub async fn lists_completely_and_sorted(store: &Store, prefix: &str) {
    const OBJECTS: usize = 1_203;
    let mut keys: Vec<_> = (0..OBJECTS)
        .map(|n| match n % 3 {
            0 => format!("{prefix}/{n}"),
            1 => format!("{prefix}/folder/{n}"),
            _ => format!("{prefix}/folder-{}/Ä{n}", n % 10),
        })
        .collect();
    for chunk in keys.chunks(50) {
        for put in join_all(chunk.iter().map(|key| store.put(key, text(key)))).await {
            put.expect("put");
        }
    }
    keys.sort_unstable();
    let listed = store.list(prefix).await.expect("listed");
    assert!(listed.iter().map(|object| &object.key).eq(&keys), "{} of {OBJECTS} keys", listed.len());
    let now_ms = crate::clock::now_ms();
    for object in &listed {
        assert_eq!(object.size, object.key.len() as u64);
        // The store's clock may differ from ours; a unit that is wrong differs more.
        assert!((object.modified_ms - now_ms).abs() < 24 * 3600 * 1000, "{object:?} at {now_ms}");
    }
    let dirs = store.list_dirs(prefix).await.expect("listed");
    let mut expected = vec!["folder".to_owned()];
    expected.extend((0..10).map(|n| format!("folder-{n}")));
    expected.sort_unstable();
    assert_eq!(dirs, expected);
}

/// `orders` does not hold what is in `orders-eu`, and what is missing is empty.
pub async fn folders_are_not_beginnings_of_names(store: &Store, prefix: &str) {
    for name in ["orders/a", "orders-eu/b", "ordersz"] {
        store.put(&format!("{prefix}/{name}"), text(name)).await.expect("put");
    }
    for folder in ["orders", "orders/"] {
        let listed = store.list(&format!("{prefix}/{folder}")).await.expect("listed");
        assert_eq!(listed.len(), 1);
        assert_eq!(listed[0].key, format!("{prefix}/orders/a"));
    }
    assert_eq!(store.list_dirs(prefix).await, Ok(vec!["orders".to_owned(), "orders-eu".to_owned()]));
    assert_eq!(store.list(&format!("{prefix}/order")).await, Ok(Vec::new()));
    assert_eq!(store.list_dirs(&format!("{prefix}/order")).await, Ok(Vec::new()));
}

/// And are not listed any more.
pub async fn folders_go_with_their_last_object(store: &Store, prefix: &str) {
    for key in ["a/x", "b/x"] {
        store.put(&format!("{prefix}/{key}"), text(key)).await.expect("put");
    }
    store.delete(&format!("{prefix}/a/x")).await.expect("deleted");
    assert_eq!(store.list_dirs(prefix).await, Ok(vec!["b".to_owned()]));
}

/// More than one request of S3 deletes, with keys that XML treats specially; others stay.
pub async fn many_are_read_in_order_and_deleted_at_once(store: &Store, prefix: &str) {
    const OBJECTS: usize = 1_021;
    let mut keys: Vec<_> = (0..OBJECTS).map(|n| format!("{prefix}/{}/a & b <{n}>", n % 3)).collect();
    let stays = format!("{prefix}/0/stays");
    for chunk in keys.chunks(50) {
        for put in join_all(chunk.iter().map(|key| store.put(key, text(key)))).await {
            put.expect("put");
        }
    }
    store.put(&stays, text("stays")).await.expect("put");
    let missing = format!("{prefix}/missing");
    keys.insert(7, missing.clone());
    let read: Vec<_> = store.read_many(keys.clone()).collect().await;
    assert!(read.iter().map(|(key, _)| key).eq(&keys));
    for (key, bytes) in read {
        match bytes {
            Ok(bytes) => assert_eq!(bytes, text(&key)),
            Err(error) => assert!(error.is_not_found() && key == missing, "{key}: {error}"),
        }
    }
    store.delete_many(&keys).await.expect("deleted");
    let left = store.list(prefix).await.expect("listed");
    assert_eq!(left.iter().map(|object| &object.key).collect::<Vec<_>>(), [&stays]);
    store.delete_many(&keys).await.expect("deleted already");
    store.delete_many(&[]).await.expect("nothing to delete");
}

/// Whatever the call.
pub async fn refuses_keys_that_lead_elsewhere(store: &Store) {
    for key in ["", "/etc/passwd", "a/../../b", "a//b", "a/", " a"] {
        assert!(matches!(store.read(key).await, Err(Error::Key { .. })), "{key:?}");
        assert!(matches!(store.put(key, Bytes::new()).await, Err(Error::Key { .. })), "{key:?}");
        assert!(matches!(store.create(key, Bytes::new()).await, Err(Error::Key { .. })), "{key:?}");
        assert!(matches!(store.delete(key).await, Err(Error::Key { .. })), "{key:?}");
        assert!(matches!(store.delete_many(&[key.to_owned()]).await, Err(Error::Key { .. })), "{key:?}");
        assert!(store.upload(key).await.is_err(), "{key:?}");
    }
    assert!(matches!(store.list("../a").await, Err(Error::Key { .. })));
}

async fn acquire(store: &Store, prefix: &str, holder: Holder) -> Result<Lease, lease::Error> {
    Lease::acquire(store, prefix, holder, 60_000, WaitPolicy::Refuse).await
}

/// And when it gives it back, the next one.
pub async fn one_of_twelve_gets_the_lease(store: &Store, prefix: &str) {
    for round in 1..=3 {
        let attempts = (0..12).map(|n| {
            let (store, prefix) = (store.clone(), prefix.to_owned());
            tokio::spawn(async move { acquire(&store, &prefix, Holder::current(&format!("run-{n}"))).await })
        });
        let mut leases = Vec::new();
        for attempt in join_all(attempts.collect::<Vec<_>>()).await {
            match attempt.expect("the attempt ran") {
                Ok(lease) => leases.push(lease),
                Err(error) => assert_eq!(error.kind(), Kind::Conflict, "{error}"),
            }
        }
        let lease = leases.pop().expect("somebody gets it");
        assert!(leases.is_empty(), "{} others have it too", leases.len());
        assert_eq!(lease.epoch(), round);
        lease.check().await.expect("it is held");
        lease.release().await.expect("it is given back");
    }
}

/// As soon as the other has it, and whatever it writes late.
pub async fn whoever_was_taken_over_from_is_fenced(store: &Store, prefix: &str) {
    // A pod that was started again somewhere else, for the same run.
    let elsewhere = |number: u32| Holder {
        host: format!("elsewhere-{number}"),
        boot_id: Some("another boot".to_owned()),
        ..Holder::current("run")
    };
    let first = acquire(store, prefix, elsewhere(1)).await.expect("it is free");
    first.check().await.expect("it is held");
    let second = acquire(store, prefix, elsewhere(2)).await.expect("the same run may take it over");
    assert!(matches!(first.check().await, Err(lease::Error::Lost { epoch: 1, .. })));
    first.release().await.expect("written, and without effect");
    second.check().await.expect("it is held");
    assert!(matches!(acquire(store, prefix, Holder::current("other")).await, Err(lease::Error::Held { .. })));
}
