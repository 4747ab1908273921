//! A cluster in motion under backups and restores that are killed: see `e2e/src/motion.rs`.
//!
//! By hand, for as long as there is patience: `cargo run -p e2e -- motion --minutes 30 --seed 7`.

use std::time::Duration;

use e2e::motion::{self, Options};

const SEED: u64 = 20_260_212;
const LENGTH: Duration = Duration::from_secs(75);
const TOPICS: usize = 60;

#[test]
fn backups_and_restores_of_a_cluster_in_motion_are_right() {
    eprintln!("seed {SEED}");
    let folder = tempfile::Builder::new().prefix("e2e-motion-").tempdir().unwrap();
    let options = Options { seed: SEED, length: LENGTH, topics: TOPICS, folder: folder.path().to_owned() };
    let outcome = motion::run(&options);
    let is_right = outcome.as_ref().is_ok_and(|summary| summary.faults.is_empty());
    if !is_right {
        eprintln!("seed {SEED}: everything is kept in {}", folder.keep().display());
    }
    let summary = outcome.unwrap();
    let faults: Vec<String> = summary.faults.iter().map(|fault| format!("seed {SEED}: {fault}")).collect();
    assert!(faults.is_empty(), "{}\n{}", faults.join("\n"), summary.text);
    eprintln!("{}", summary.text);
}
