//! What stands in `examples/cli` can be used as it is.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use kafka_backup::config::cluster::{ClusterConfig, SecurityProtocol};
use kafka_backup::config::{Flags, RunConfig, RunKind, load};

const RUNS: [RunKind; 7] = [
    RunKind::Backup,
    RunKind::Restore,
    RunKind::List,
    RunKind::Describe,
    RunKind::Verify,
    RunKind::Prune,
    RunKind::Cat,
];

/// Every example, with its text and the command that its second line gives.
fn examples() -> Vec<(PathBuf, String, RunKind)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/cli");
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let command = text.lines().nth(1).unwrap();
        let run = RUNS
            .into_iter()
            .find(|run| command == format!("# kafka-backup {} --config examples/cli/{name}", run.name()))
            .unwrap_or_else(|| panic!("{name}: its second line is {command:?}, which does not run it"));
        (path, text, run)
    };
    paths.into_iter().map(read).collect()
}

/// The files of certificates and passwords that an example names are not on this machine.
fn without_files(cluster: &mut ClusterConfig) {
    cluster.security_protocol = SecurityProtocol::Plaintext;
    cluster.tls = None;
    cluster.sasl = None;
}

#[test]
fn every_example_is_taken_by_the_command_that_it_names() {
    for (path, _, run) in examples() {
        let checked = match load(run, Some(&path), &Flags::default()).unwrap_or_else(|error| panic!("{error}")) {
            RunConfig::Backup(mut config) => {
                without_files(&mut config.cluster);
                config.check().map(drop).map_err(|error| error.to_string())
            }
            RunConfig::Restore(mut config) => {
                without_files(&mut config.cluster);
                config.check().map(drop).map_err(|error| error.to_string())
            }
            RunConfig::List(_)
            | RunConfig::Describe(_)
            | RunConfig::Verify(_)
            | RunConfig::Prune(_)
            | RunConfig::Cat(_) => Ok(()),
        };
        assert_eq!(checked, Ok(()), "{}", path.display());
    }
}

#[test]
fn every_example_begins_with_its_intent_as_a_sentence() {
    for (path, text, _) in examples() {
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("# ") && first.ends_with('.'), "{}: {first:?}", path.display());
    }
}

#[test]
fn there_is_an_example_of_every_run() {
    let shown: BTreeSet<&str> = examples().iter().map(|(_, _, run)| run.name()).collect();
    assert_eq!(shown, RUNS.iter().map(|run| run.name()).collect());
}
