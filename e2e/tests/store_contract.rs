//! The promises of a store, kept by a real one.

use std::fs;

use e2e::minio::Minio;
use kafka_backup::store::{Store, contract};

#[test]
fn minio_keeps_the_contract() {
    let minio = Minio::shared();
    let bucket = minio.make_bucket("contract").unwrap();
    let credentials = tempfile::tempdir().unwrap();
    for (name, value) in minio.environment() {
        fs::write(credentials.path().join(name), value).unwrap();
    }
    let url = format!("{}&credentials_file={}", minio.url(&bucket, "suite"), credentials.path().display());
    let storage = url.parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&storage).await.unwrap();
        contract::keeps_all(&store, "suite").await;
    });
}
