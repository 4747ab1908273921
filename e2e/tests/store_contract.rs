//! The promises of a store, kept by a real one.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;

use e2e::kafka::{Kafka, Listener, Shared};
use e2e::minio::Minio;
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{At, NewTopic, properties};
use kafka_backup::store::{Store, contract};

fn keeps_the_contract(minio: &Minio, bucket: &str, has_versions: bool) {
    let credentials = tempfile::tempdir().unwrap();
    for (name, value) in minio.environment() {
        fs::write(credentials.path().join(name), value).unwrap();
    }
    let url = format!("{}&credentials_file={}", minio.url(bucket, "suite"), credentials.path().display());
    let storage = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&storage).await.unwrap();
        match has_versions {
            true => contract::keeps_all_with_versions(&store, "suite").await,
            false => contract::keeps_all(&store, "suite").await,
        }
    });
}

#[test]
fn minio_keeps_the_contract() {
    let minio = Minio::shared();
    keeps_the_contract(minio, &minio.make_bucket("contract").unwrap(), false);
}

#[test]
fn a_bucket_with_object_lock_keeps_the_contract_of_one_with_versions() {
    let minio = Minio::shared();
    keeps_the_contract(minio, &minio.make_locked_bucket("locked-contract").unwrap(), true);
}

/// Everything is done in a bucket whose Object Lock forbids for a day to delete or overwrite a version.
#[test]
fn backups_are_made_restored_and_pruned_in_a_bucket_with_object_lock() {
    let (kafka, minio) = (Kafka::shared(Shared::Plain), Minio::shared());
    let (bootstrap, witness) = (kafka.bootstrap(Listener::Plain), kafka.witness());
    let repository = Repository::Bucket { minio, bucket: minio.make_locked_bucket("locked").unwrap() };
    let Repository::Bucket { bucket, .. } = &repository else { unreachable!() };
    let topic = unique("locked");
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    let records: Vec<_> = (0..100).map(|n| e2e::dump::Record::new(0, 1_700_000_000_000 + n, "k", "v")).collect();
    witness.produce(&topic, &properties([]), &records).unwrap();
    let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic];
    let first = repository.report(&backup);
    std::thread::sleep(std::time::Duration::from_secs(1));
    let second = repository.report(&[&backup[..], &["--max-backups", "1"]].concat());
    assert_eq!((&first["outcome"], &second["outcome"]), (&"completed".into(), &"completed".into()));
    assert_eq!(second["warnings"].as_array().map_or(0, Vec::len), 0, "{second}");
    let listed = repository.report(&["list", "--archive", "a"]);
    assert_eq!(listed["archives"][0]["backups"].as_array().unwrap().len(), 1, "{listed}");
    repository.report(&["verify", "--archive", "a", "--level", "records"]);

    let mapping = format!("{topic}={topic}-back");
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping];
    assert_eq!(repository.report(&restore)["records"], 100);
    assert_eq!(witness.offsets(&format!("{topic}-back"), At::Latest).unwrap(), [100]);

    // The pruned backup is hidden, and nobody can take its bytes.
    let versions = minio.call("GET", &format!("{bucket}?versions"), &[], "").unwrap();
    let manifest = format!("archives/a/backups/{}/manifest", first["backupId"].as_str().unwrap());
    let of_manifest = versions.split("<Version>").find(|version| version.contains(&manifest)).expect(&versions);
    let id = of_manifest.split("<VersionId>").nth(1).unwrap().split('<').next().unwrap();
    let key = of_manifest.split("<Key>").nth(1).unwrap().split('<').next().unwrap();
    let refused = minio.call("DELETE", &format!("{bucket}/{key}?versionId={id}"), &[], "").unwrap_err().to_string();
    assert!(refused.contains("WORM") || refused.contains("AccessDenied"), "{refused}");
}
