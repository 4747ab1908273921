//! A cluster in motion under backups and restores that are killed: see `e2e/src/motion.rs`.
//!
//! By hand, for as long as there is patience: `cargo run -p e2e -- motion --minutes 30 --seed 7`.

use std::time::Duration;

use e2e::motion::{self, FLOOR_LENGTH, Options, Summary};

const SEED: u64 = 20_260_212;
/// The shortest in which everything has to happen: a shorter one would show less.
const LENGTH: Duration = FLOOR_LENGTH;
const TOPICS: usize = 60;

#[test]
fn backups_and_restores_of_a_cluster_in_motion_are_right() {
    eprintln!("seed {SEED}");
    let folder = tempfile::Builder::new().prefix("e2e-motion-").tempdir().unwrap();
    let options = Options { seed: SEED, length: LENGTH, topics: TOPICS, folder: folder.path().to_owned() };
    let outcome = motion::run(&options);
    if !outcome.as_ref().is_ok_and(Summary::is_right) {
        eprintln!("seed {SEED}: everything is kept in {}", folder.keep().display());
    }
    let summary = outcome.unwrap();
    let faults: Vec<String> = summary.faults.iter().map(|fault| format!("seed {SEED}: {fault}")).collect();
    assert!(faults.is_empty(), "{}\n{summary}", faults.join("\n"));
    assert!(summary.missing.is_empty(), "seed {SEED}: {summary}");
    eprintln!("{summary}");
}
