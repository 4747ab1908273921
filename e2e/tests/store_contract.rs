//! The promises of a store, kept by a real one.

use std::process::{Command, Stdio};

use e2e::minio::Minio;
use kafka_backup::store::{Store, contract};

const URL: &str = "E2E_STORE_URL";

/// Credentials come from the environment, which a process gets from the one that starts it.
#[test]
fn minio_keeps_the_contract() {
    let minio = Minio::shared();
    let bucket = minio.make_bucket("contract").unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "the_store_at_a_url_keeps_the_contract", "--ignored", "--nocapture"]);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("AWS_")) {
        child.env_remove(name);
    }
    child.envs(minio.environment()).env(URL, minio.url(&bucket, "suite"));
    let output = child.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    // A filter that fits no test would pass as well.
    let has_run = said.contains("1 passed");
    assert!(output.status.success() && has_run, "{said}{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
#[ignore = "run by minio_keeps_the_contract, which says where the store is"]
fn the_store_at_a_url_keeps_the_contract() {
    let storage = std::env::var(URL).unwrap().parse().unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let store = Store::open(&storage).await.unwrap();
        contract::keeps_all(&store, "suite").await;
    });
}
