//! Producers that are careless, topics that may not be read, leaders that lose records, archives that grow old, and stores that
//! hang; and that no secret gets out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod aged;
mod denied;
mod elected;
mod hanging;
#[path = "../../../engine/tests/secrets/search.rs"]
mod search;
mod secrets;
mod trailing;

use e2e::cli::Cli;
use e2e::runs::Repository;
use serde_json::Value;

/// What `cat` shows of a topic of a backup, a record a value, in the order of partitions and offsets.
fn shown(repository: &Repository<'_>, backup: &str, topic: &str) -> Vec<Value> {
    let url = repository.url();
    let cat = Cli::new(["cat", "--storage", &url, "--backup", backup, "--topic", topic]).unwrap();
    let lines = cat.run().unwrap().succeeded().stdout;
    lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
