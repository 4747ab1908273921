//! The contract of a store in a folder, and what its file system may do to it.

use std::time::Duration;

use super::sweep::is_temporary;
use super::*;
use crate::config::storage::{FileStorage, StorageConfig};
use crate::store::{Backend, Store, contract};

fn config(dir: &Path) -> StorageConfig {
    StorageConfig::File(FileStorage { dir: dir.to_owned() })
}

async fn store(dir: &tempfile::TempDir) -> Store {
    Store::open(&config(dir.path())).await.unwrap()
}

fn temporaries(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with(TEMPORARY)).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn keeps_the_contract() {
    let dir = tempfile::tempdir().unwrap();
    contract::keeps_all(&store(&dir).await, "suite").await;
}

/// A store on a file system that has these calls only.
fn store_with(dir: &tempfile::TempDir, naming: Naming) -> Store {
    Store::over(Backend::File(FileStore::unopened(Arc::from("a folder"), dir.path(), naming)))
}

fn refused(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_hard_links_the_contract_is_kept_by_a_rename() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(&dir, Naming { link: refused, ..Naming::SYSTEM });
    contract::keeps_all(&store, "suite").await;
    store.create("a/b", Bytes::new()).await.unwrap();
    assert!(matches!(store.create("a", Bytes::new()).await, Err(Error::Refused { .. })));
}

#[tokio::test]
async fn a_file_system_that_cannot_keep_what_is_there_is_refused_and_nothing_is_left_on_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(&dir, Naming { link: refused, rename_if_absent: refused, ..Naming::SYSTEM });
    let error = store.check_writable("write-check").await.unwrap_err();
    assert!(matches!(error, Error::Misconfigured { .. }) && error.to_string().contains("renameat2"), "{error}");
    let mut upload = store.upload("key").await.unwrap();
    upload.write(vec![Bytes::from_static(b"1")]).await.unwrap();
    assert!(matches!(upload.finish().await, Err(Error::Misconfigured { .. })));
    assert_eq!((store.list("").await.unwrap(), temporaries(dir.path())), (Vec::new(), 0));
}

/// A file system on which each folder has a volume, or a quota, of its own.
const APART: Naming = Naming { link: link_apart, rename: rename_apart, ..Naming::SYSTEM };

fn link_apart(from: &Path, to: &Path) -> io::Result<()> {
    if from.parent() == to.parent() { fs::hard_link(from, to) } else { Err(io::ErrorKind::CrossesDevices.into()) }
}

fn rename_apart(from: &Path, to: &Path) -> io::Result<()> {
    if from.parent() == to.parent() { fs::rename(from, to) } else { Err(io::ErrorKind::CrossesDevices.into()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_no_file_can_be_moved_to_another_folder_the_contract_is_kept_by_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    contract::keeps_all(&store_with(&dir, APART), "suite").await;
}

#[tokio::test]
async fn a_copy_has_every_byte_and_leaves_no_unfinished_file() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(&dir, APART);
    let key = "archives/a/segments/b/s";
    let bytes = Bytes::from((0..300_000_u32).flat_map(u32::to_be_bytes).collect::<Vec<_>>());
    for finished in [Ok(bytes.len() as u64), Err(store_conflict(key))] {
        let mut upload = store.upload(key).await.unwrap();
        upload.write(vec![bytes.clone()]).await.unwrap();
        assert_eq!(upload.finish().await, finished);
        assert_eq!(store.read(key).await.unwrap(), bytes);
    }
    store.put(key, Bytes::from_static(b"2")).await.unwrap();
    assert_eq!(store.read(key).await.unwrap(), "2");
    assert_eq!(unfinished(dir.path()), Vec::<PathBuf>::new());
}

fn store_conflict(key: &str) -> Error {
    Error::Conflict { store: Arc::from("a folder"), key: key.to_owned() }
}

#[tokio::test]
async fn a_moved_file_is_durable_where_it_is_and_gone_for_good_where_it_was() {
    static SYNCED: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    fn noted(folder: &Path) -> io::Result<()> {
        SYNCED.lock().unwrap().push(folder.to_owned());
        (Naming::SYSTEM.sync_folder)(folder)
    }
    let synced = || std::mem::take(&mut *SYNCED.lock().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let (at, was_at) = (dir.path().join("archives/a/segments/b"), dir.path().join("archives/a"));
    let linking = Naming { sync_folder: noted, ..Naming::SYSTEM };
    for (naming, wanted) in
        [(linking, vec![at.clone()]), (Naming { link: refused, ..linking }, vec![at.clone(), was_at.clone()])]
    {
        let store = store_with(&dir, naming);
        // The first one makes the folders.
        store.put("archives/a/segments/b/first", Bytes::new()).await.unwrap();
        synced();
        let key = format!("archives/a/segments/b/{}", wanted.len());
        assert_eq!(store.create(&key, Bytes::new()).await, Ok(Created::New));
        assert_eq!(synced(), wanted);
        store.put(&key, Bytes::new()).await.unwrap();
        assert_eq!(synced(), [at.clone(), was_at.clone()]);
    }
}

#[tokio::test]
async fn a_name_that_is_taken_by_our_own_file_is_a_lost_answer() {
    fn link_and_lose_the_answer(from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)?;
        Err(io::ErrorKind::AlreadyExists.into())
    }
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(&dir, Naming { link: link_and_lose_the_answer, ..Naming::SYSTEM });
    assert_eq!(store.create("key", Bytes::from_static(b"1")).await, Ok(Created::New));
    fs::write(dir.path().join("other"), "2").unwrap();
    assert_eq!(store.create("other", Bytes::new()).await, Ok(Created::AlreadyThere));
}

#[tokio::test]
async fn opening_to_write_makes_the_last_folder_only() {
    let dir = tempfile::tempdir().unwrap();
    let inside = dir.path().join("backups");
    assert!(matches!(Store::open(&config(&inside)).await, Err(Error::Misconfigured { .. })));
    Store::open_or_create(&config(&inside)).await.unwrap();
    assert!(inside.is_dir());
    let deep = dir.path().join("typo/backups");
    let error = Store::open_or_create(&config(&deep)).await.unwrap_err();
    assert!(error.to_string().contains("typo does not exist"), "{error}");
    assert!(!dir.path().join("typo").exists());
}

#[tokio::test]
async fn a_parent_that_takes_no_folder_is_not_called_missing() {
    let error = Store::open_or_create(&config(Path::new("/proc/backups"))).await.unwrap_err();
    assert!(matches!(error, Error::Misconfigured { .. }));
    let text = error.to_string();
    assert!(text.contains("no folder can be made in /proc") && !text.contains("does not exist"), "{text}");
}

#[tokio::test]
async fn a_file_in_place_of_the_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for config in [config(&file), config(&file.join("below"))] {
        assert!(matches!(Store::open_or_create(&config).await, Err(Error::Misconfigured { .. })));
    }
}

#[tokio::test]
async fn a_folder_that_vanished_is_not_an_empty_store() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let store = Store::open_or_create(&config(&root)).await.unwrap();
    store.put("a/b", Bytes::from_static(b"1")).await.unwrap();
    fs::rename(&root, dir.path().join("elsewhere")).unwrap();
    assert!(matches!(store.size("a/b").await, Err(Error::Misconfigured { .. })));
    assert!(matches!(store.read("a/b").await, Err(Error::Misconfigured { .. })));
    assert!(matches!(store.list("").await, Err(Error::Misconfigured { .. })));
    assert!(matches!(store.list_dirs("").await, Err(Error::Misconfigured { .. })));
    assert!(matches!(store.delete("a/b").await, Err(Error::Misconfigured { .. })));
    assert!(matches!(store.create("a/c", Bytes::new()).await, Err(Error::Misconfigured { .. })));
    assert!(matches!(store.create("d/c", Bytes::new()).await, Err(Error::Misconfigured { .. })));
}

#[tokio::test]
async fn another_folder_in_place_of_the_root_is_not_written_to() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let store = Store::open_or_create(&config(&root)).await.unwrap();
    store.put("archives/a/b/x", Bytes::from_static(b"1")).await.unwrap();
    let upload = store.upload("archives/a/b/y").await.unwrap();
    // As if the volume were unmounted: its mount point is an empty folder.
    fs::rename(&root, dir.path().join("volume")).unwrap();
    fs::create_dir(&root).unwrap();
    let written = [
        store.create("archives/a/b/z", Bytes::new()).await.map(drop),
        store.put("archives/a/b/x", Bytes::new()).await,
        upload.finish().await.map(drop),
    ];
    for error in written.map(Result::unwrap_err) {
        assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
        assert!(error.to_string().contains("another folder than when this run began"), "{error}");
    }
    let unknown = [store.size("archives/a/b/x").await.map(drop), store.list("archives").await.map(drop)];
    for error in unknown.map(Result::unwrap_err) {
        assert!(error.to_string().contains("another folder than when this run began"), "{error}");
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
}

#[tokio::test]
async fn another_root_with_the_same_folders_is_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let (root, folder) = (dir.path().join("root"), "archives/a/segments/b");
    let store = Store::open_or_create(&config(&root)).await.unwrap();
    let [known, new, unknown] = ["archives/a/segments/b/known", "archives/a/segments/b/new", "archives/a/parts/b/new"];
    store.put(known, Bytes::from_static(b"1")).await.unwrap();
    let uploads = [store.upload(new).await.unwrap(), store.upload(unknown).await.unwrap()];
    // As if an older copy of the volume were mounted over it.
    fs::rename(&root, dir.path().join("volume")).unwrap();
    fs::create_dir_all(root.join(folder)).unwrap();
    fs::write(root.join(known), "older").unwrap();
    let mut changes = vec![
        store.create(new, Bytes::new()).await.map(drop),
        store.put(known, Bytes::new()).await,
        store.delete(known).await,
        store.delete_many(&[known.to_owned()]).await,
        store.list_now(folder).await.map(drop),
    ];
    for upload in uploads {
        changes.push(upload.finish().await.map(drop));
    }
    for error in changes.into_iter().map(Result::unwrap_err) {
        assert!(matches!(error, Error::Misconfigured { .. }), "{error}");
        assert!(error.to_string().contains("another folder than when this run began"), "{error}");
    }
    assert_eq!(fs::read_to_string(root.join(known)).unwrap(), "older");
    assert_eq!(fs::read_dir(root.join(folder)).unwrap().count(), 1);
    assert_eq!((unfinished(&root), root.join("archives/a/parts").exists()), (Vec::new(), false));
}

#[tokio::test]
async fn the_root_is_held_open_so_that_no_other_folder_gets_its_inode_number() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().canonicalize().unwrap();
    let is_held = || {
        let open = fs::read_dir("/proc/self/fd").unwrap().map(|entry| fs::read_link(entry.unwrap().path()));
        open.flatten().any(|path| path == root)
    };
    let store = store(&dir).await;
    assert!(is_held());
    drop(store);
    assert!(!is_held());
}

#[tokio::test]
async fn no_unfinished_file_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    store.create("a", Bytes::from_static(b"1")).await.unwrap();
    assert_eq!(store.create("a", Bytes::from_static(b"2")).await.unwrap(), Created::AlreadyThere);
    store.put("a", Bytes::from_static(b"3")).await.unwrap();
    let mut upload = store.upload("b").await.unwrap();
    upload.write(vec![Bytes::from_static(b"1")]).await.unwrap();
    assert_eq!(temporaries(dir.path()), 1);
    drop(upload);
    assert_eq!(temporaries(dir.path()), 0);
}

#[tokio::test]
async fn an_upload_with_an_abandoned_write_cannot_be_finished() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let mut upload = store.upload("a").await.unwrap();
    // So large that it cannot be done within one poll.
    let large = Bytes::from(vec![1; 64 << 20]);
    let started = futures::future::poll_immediate(upload.write(vec![large])).await;
    assert_eq!(started, None);
    assert!(matches!(upload.write(vec![Bytes::from_static(b"2")]).await, Err(Error::Broken { .. })));
    assert!(matches!(upload.finish().await, Err(Error::Broken { .. })));
    assert_eq!(store.size("a").await.unwrap(), None);
}

#[tokio::test]
async fn sweeping_takes_old_unfinished_files_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    store.create("a/b", Bytes::from_static(b"1")).await.unwrap();
    let left = dir.path().join("a").join(format!("{TEMPORARY}{}", uuid::Uuid::from_u128(7)));
    let others = dir.path().join("a").join(format!("{TEMPORARY}of-another-program"));
    fs::write(&left, "half").unwrap();
    fs::write(&others, "whole").unwrap();
    assert_eq!(store.sweep_temporary("a/b").await.unwrap(), 0);
    assert!(left.exists());
    [&left, &others].into_iter().for_each(|path| age(path, MINUTE_MS));
    assert_eq!(store.sweep_temporary("a/b").await.unwrap(), 1);
    assert!(!left.exists() && others.exists());
    assert_eq!(store.read("a/b").await.unwrap(), "1");
}

/// What a killed process leaves of an upload: its file, and nobody to remove it.
async fn killed(store: &Store, key: &str) {
    let mut upload = store.upload(key).await.unwrap();
    upload.write(vec![Bytes::from_static(b"half")]).await.unwrap();
    std::mem::forget(upload);
}

/// The unfinished files of a store, wherever they are.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_type().unwrap().is_dir() {
            found.extend(unfinished(&entry.path()));
        } else if is_temporary(&entry.file_name().to_string_lossy()) {
            found.push(entry.path());
        }
    }
    found
}

/// Lets a file be as old as the files that are removed, and a minute older or younger.
fn age(path: &Path, and_ms: i64) {
    let modified = date(crate::clock::now_ms() - crate::store::TEMPORARY_AGE_MS - and_ms);
    File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
}

fn date(at_ms: i64) -> std::time::SystemTime {
    std::time::UNIX_EPOCH + Duration::from_millis(at_ms.unsigned_abs())
}

const MINUTE_MS: i64 = 60_000;
/// One of every depth that an archive has.
const WRITTEN: [&str; 5] = [
    "repository.json",
    "archives/a/archive.json",
    "archives/a/lease/1",
    "archives/a/segments/b/s",
    "archives/a/backups/b/facts/f",
];

#[tokio::test]
async fn a_run_removes_what_killed_runs_left_of_any_object() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    for key in WRITTEN {
        killed(&store, key).await;
    }
    let left = unfinished(dir.path());
    assert_eq!(left.len(), WRITTEN.len(), "{left:?}");
    left.iter().for_each(|path| age(path, MINUTE_MS));
    // Another process is writing this one.
    killed(&store, WRITTEN[3]).await;
    store.check_writable("write-check").await.unwrap();
    // It goes on while the run goes about its work.
    let swept = async {
        while left.iter().any(|path| path.exists()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), swept).await.expect("each is removed");
    assert_eq!(unfinished(dir.path()).len(), 1);
}

#[tokio::test]
async fn a_file_that_cannot_be_removed_does_not_stop_the_sweep() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    for key in [&WRITTEN[..], &["archives/z/archive.json"]].concat() {
        killed(&store, key).await;
    }
    unfinished(dir.path()).iter().for_each(|path| age(path, MINUTE_MS));
    // Nobody can tell how old the file is to which this link leads.
    let link = dir.path().join(format!("{TEMPORARY}{}", uuid::Uuid::from_u128(7)));
    std::os::unix::fs::symlink(&link, &link).unwrap();
    let swept = store.sweep_unfinished("archives/a/write-check").await;
    assert!(matches!(swept, Err(Error::Unavailable { .. })), "{swept:?}");
    assert_eq!(unfinished(dir.path()), [link]);
}

#[tokio::test]
async fn a_run_removes_no_file_that_may_be_written_still() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    for key in WRITTEN {
        killed(&store, key).await;
    }
    unfinished(dir.path()).iter().for_each(|path| age(path, -MINUTE_MS));
    assert_eq!(store.sweep_unfinished("write-check").await.unwrap(), 0);
    assert_eq!(unfinished(dir.path()).len(), WRITTEN.len());
}

#[tokio::test]
async fn a_run_looks_for_unfinished_files_in_no_folder_of_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    store.create("archives/a/segments/b/s", Bytes::new()).await.unwrap();
    let deep = dir.path().join("archives/a/segments/b").join(format!("{TEMPORARY}{}", uuid::Uuid::from_u128(7)));
    fs::write(&deep, "made by another version").unwrap();
    age(&deep, MINUTE_MS);
    assert_eq!(store.sweep_unfinished("write-check").await.unwrap(), 0);
    // Prune looks everywhere.
    assert_eq!(store.sweep_temporary("archives/a/write-check").await.unwrap(), 1);
    assert_eq!(unfinished(dir.path()), Vec::<PathBuf>::new());
}

type Create = fn(&Path) -> io::Result<File>;

fn created_an_hour_ago(path: &Path) -> io::Result<File> {
    created(path, -60 * MINUTE_MS)
}

fn created_in_an_hour(path: &Path) -> io::Result<File> {
    created(path, 60 * MINUTE_MS)
}

/// A new file as a server dates it whose clock is this far ahead of that of this machine.
fn created(path: &Path, ahead_ms: i64) -> io::Result<File> {
    let file = (Naming::SYSTEM.create)(path)?;
    file.set_modified(date(crate::clock::now_ms() + ahead_ms))?;
    Ok(file)
}

#[tokio::test]
async fn a_clock_that_is_an_hour_off_makes_no_file_older_or_younger() {
    let servers: [(Create, i64); 2] = [(created_an_hour_ago, 60 * MINUTE_MS), (created_in_an_hour, -60 * MINUTE_MS)];
    for (create, behind_ms) in servers {
        let dir = tempfile::tempdir().unwrap();
        let store = store_with(&dir, Naming { create, ..Naming::SYSTEM });
        let [written, left] = [1, 2].map(|id| dir.path().join(format!("{TEMPORARY}{}", uuid::Uuid::from_u128(id))));
        for is_prune in [false, true] {
            fs::write(&written, "by a run that is alive").unwrap();
            fs::write(&left, "by a run that was killed").unwrap();
            age(&written, behind_ms - MINUTE_MS);
            age(&left, behind_ms + MINUTE_MS);
            let swept = match is_prune {
                false => store.sweep_unfinished("write-check").await,
                true => store.sweep_temporary("write-check").await,
            };
            assert_eq!((swept, unfinished(dir.path())), (Ok(1), vec![written.clone()]), "{behind_ms} {is_prune}");
        }
    }
}

#[tokio::test]
async fn what_is_left_of_copies_goes_with_the_last_object_of_their_folder() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let folder = dir.path().join("archives/a/segments/b");
    let keys = ["1", "2", "3"].map(|name| format!("archives/a/segments/b/{name}"));
    for key in &keys[..2] {
        store.put(key, Bytes::new()).await.unwrap();
    }
    let [left, written] = [1, 2].map(|id| folder.join(format!("{TEMPORARY}{}", uuid::Uuid::from_u128(id))));
    fs::write(&left, "by a run that was killed").unwrap();
    fs::write(&written, "by a run that is alive").unwrap();
    age(&left, MINUTE_MS);
    age(&written, -MINUTE_MS);
    store.delete_many(&keys[..1]).await.unwrap();
    assert!(left.exists(), "the folder has objects still");
    store.delete_many(&keys[1..2]).await.unwrap();
    assert_eq!(unfinished(dir.path()), std::slice::from_ref(&written));
    age(&written, MINUTE_MS);
    store.put(&keys[2], Bytes::new()).await.unwrap();
    store.delete_many(&keys[2..]).await.unwrap();
    assert!(!dir.path().join("archives").exists());
}

#[tokio::test]
async fn a_folder_that_is_removed_while_its_object_is_written_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let key = "archives/a/segments/b/new";
    store.put("archives/a/segments/b/old", Bytes::new()).await.unwrap();
    let mut upload = store.upload(key).await.unwrap();
    upload.write(vec![Bytes::from_static(b"1")]).await.unwrap();
    store.delete_many(&["archives/a/segments/b/old".to_owned()]).await.unwrap();
    assert!(!dir.path().join("archives/a/segments").exists());
    assert_eq!(upload.finish().await, Ok(1));
    assert_eq!(store.read(key).await.unwrap(), "1");
    store.delete_many(&[key.to_owned()]).await.unwrap();
    store.put(key, Bytes::from_static(b"2")).await.unwrap();
    assert_eq!(store.read(key).await.unwrap(), "2");
}

#[tokio::test]
async fn a_write_whose_unfinished_file_is_removed_fails_and_is_not_called_missing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    let upload = store.upload("archives/a/segments/b/s").await.unwrap();
    unfinished(dir.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    assert!(matches!(upload.finish().await, Err(Error::Unavailable { .. })));
}

#[tokio::test]
async fn folders_go_with_their_last_object_while_others_write_into_them() {
    let dir = tempfile::tempdir().unwrap();
    let (remover, writer) = (store(&dir).await, store(&dir).await);
    remover.put("stays", Bytes::new()).await.unwrap();
    for round in 0..200 {
        let keys = [format!("a/b/{round}/x"), format!("a/b/{round}/y")];
        for key in &keys {
            remover.put(key, Bytes::from_static(b"1")).await.unwrap();
        }
        let new = format!("a/b/{round}/new");
        let (removed, created) = tokio::join!(remover.delete_many(&keys), writer.create(&new, Bytes::new()));
        assert_eq!((removed, created), (Ok(()), Ok(Created::New)), "round {round}");
        remover.delete_many(&[new]).await.unwrap();
        assert!(!dir.path().join("a").exists(), "round {round}");
    }
    assert!(dir.path().join("stays").exists());
}

#[tokio::test]
async fn an_object_that_cannot_be_deleted_does_not_keep_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    for key in ["a/x", "c/x"] {
        store.put(key, Bytes::new()).await.unwrap();
    }
    // Nobody may delete a file of the kernel's own.
    std::os::unix::fs::symlink("/proc/self", dir.path().join("b")).unwrap();
    let keys = ["a/x", "b/status", "c/x"].map(str::to_owned);
    assert!(matches!(store.delete_many(&keys).await, Err(Error::Denied { .. })));
    assert_eq!(store.list("").await.unwrap(), []);
}

#[tokio::test]
async fn an_object_and_a_folder_of_one_name_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(&dir).await;
    store.create("a/b", Bytes::new()).await.unwrap();
    assert!(matches!(store.create("a/b/c", Bytes::new()).await, Err(Error::Refused { .. })));
    assert!(matches!(store.create("a", Bytes::new()).await, Err(Error::Refused { .. })));
    assert!(matches!(store.put("a", Bytes::new()).await, Err(Error::Refused { .. })));
    store.create("a/d/e/f", Bytes::new()).await.unwrap();
    assert!(matches!(store.create("a/d/e/f/g", Bytes::new()).await, Err(Error::Refused { .. })));
    assert!(matches!(store.put("a/d/e/f/g", Bytes::new()).await, Err(Error::Refused { .. })));
    assert_eq!(store.size("a").await.unwrap(), None);
    assert_eq!(store.size("a/b/c").await.unwrap(), None);
}
