//! Backups, one after the other, some of which are killed: the next run resumes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kafka_backup::clock::now_ms;

use super::checker::{Fault, Wrong};
use super::engine::{Engine, Outcome, tail};
use super::plan::PREFIX;
use super::random::Random;

/// The archive of all backups.
pub const ARCHIVE: &str = "motion";
const PARTIAL: i32 = 7;
/// Tries of the last backup, which nobody kills.
const LAST_TRIES: u32 = 5;

/// The backups that there are, and the runs that failed.
#[derive(Debug, Default)]
pub struct Made {
    ids: Mutex<Vec<String>>,
    failures: Mutex<Vec<Failure>>,
    kills: Mutex<u32>,
    resumed: Mutex<u32>,
}

/// A run that ended with an error, and when.
#[derive(Debug, Clone)]
pub struct Failure {
    /// When it began, in milliseconds since 1970.
    pub begin_ms: i64,
    /// When it ended, likewise.
    pub end_ms: i64,
    /// Its exit code.
    pub code: Option<i32>,
    /// What it said.
    pub fault: Fault,
}

impl Made {
    /// The ids of the backups, the oldest first.
    pub fn ids(&self) -> Vec<String> {
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The runs that failed.
    pub fn failures(&self) -> Vec<Failure> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many runs were killed.
    pub fn kills(&self) -> u32 {
        *self.kills.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many runs went on with what a killed one had stored.
    pub fn resumed(&self) -> u32 {
        *self.resumed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes backups until it is stopped, and then a last one that nobody kills.
///
/// # Errors
/// When the binary cannot be run, or the last backup fails again and again.
pub fn run(engine: &Engine<'_>, mut random: Random, made: &Made, stop: &AtomicBool) -> Result<()> {
    let mut last_bytes = 0;
    for number in 0_u32.. {
        let is_last = stop.load(Ordering::Relaxed);
        let seconds = random.between(2, 14);
        let mut arguments = vec!["backup".to_owned(), format!("--archive={ARCHIVE}"), format!("--topics={PREFIX}.*")];
        arguments.push(format!("--parallelism={}", random.between(1, 6)));
        arguments.push(format!("--segment-bytes-max={}", 1_u64 << random.between(20, 25)));
        if random.chance(80) {
            arguments.push("--checkpoint-interval-secs=1".to_owned());
        }
        // The more there is the faster it goes, so that each takes some seconds, in which there is motion.
        let rate = (last_bytes / seconds).max(300_000);
        let is_slow = random.chance(75);
        let kill = random.chance(45).then(|| Duration::from_millis(random.between(20, 1_000 * seconds)));
        if is_slow && !is_last {
            arguments.push(format!("--rate-limit-bytes={rate}"));
        }
        let begin_ms = now_ms();
        match engine.run(&format!("backup-{number}"), &arguments, kill.filter(|_| !is_last))? {
            Outcome::Killed => *made.kills.lock().unwrap_or_else(PoisonError::into_inner) += 1,
            Outcome::Ended(ended) if matches!(ended.code, Some(0 | PARTIAL)) => {
                let report = ended.json()?;
                let id = report["backupId"].as_str().context("a report without an id")?.to_owned();
                if report["resumed"] == true {
                    *made.resumed.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                }
                last_bytes = report["bytes"].as_u64().unwrap_or(0);
                let mut ids = made.ids.lock().unwrap_or_else(PoisonError::into_inner);
                // One that was killed after its manifest is reported again.
                if !ids.contains(&id) {
                    ids.push(id);
                }
                if is_last {
                    return Ok(());
                }
            }
            Outcome::Ended(ended) => {
                let fault = Fault {
                    backup: format!("run {number}"),
                    wrong: Wrong::Run,
                    topic: String::new(),
                    partition: -1,
                    offset: -1,
                    expected: format!("a backup; it ended with {:?}:\n{}", ended.code, tail(&ended.stderr)),
                };
                let failure = Failure { begin_ms, end_ms: now_ms(), code: ended.code, fault };
                let mut failures = made.failures.lock().unwrap_or_else(PoisonError::into_inner);
                failures.push(failure);
                if is_last && failures.len() > LAST_TRIES as usize {
                    bail!("no backup is made any more: {}", tail(&ended.stderr));
                }
            }
        }
        // Two backups of one second would have one id.
        sleep(Duration::from_millis(random.between(1_000, 2_000)));
    }
    Ok(())
}
