//! Backups, one after the other, some of which are killed: the next run resumes them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kafka_backup::clock::now_ms;

use super::checker::{Fault, Wrong};
use super::engine::{ARCHIVE, Engine, Kill, Outcome, tail};
use super::plan::PREFIX;
use super::random::Random;

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

/// What a run has to show, whatever the seed says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// A whole backup at full speed, so that there is something to restore.
    Made,
    /// A kill that leaves something to resume.
    KilledOnceStored,
    /// The end, at full speed, of what the killed run has left.
    Resumes,
    /// What the seed says.
    Any,
}

impl Purpose {
    /// The purpose of the run of this number. `has_left`: the run before was killed when it had stored something.
    const fn of(number: u32, has_left: bool, resumed: u32) -> Self {
        match (number, resumed) {
            (0, _) => Self::Made,
            (_, 0) if has_left => Self::Resumes,
            (_, 0) => Self::KilledOnceStored,
            _ => Self::Any,
        }
    }
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
    let (mut last_bytes, mut has_left) = (0, false);
    for number in 0_u32.. {
        let is_last = stop.load(Ordering::Relaxed);
        let purpose = if is_last { Purpose::Made } else { Purpose::of(number, has_left, made.resumed()) };
        let seconds = random.between(2, 14);
        let mut arguments = vec!["backup".to_owned(), format!("--archive={ARCHIVE}"), format!("--topics={PREFIX}.*")];
        arguments.push(format!("--parallelism={}", random.between(1, 6)));
        arguments.push(format!("--segment-bytes-max={}", 1_u64 << random.between(20, 25)));
        if random.chance(80) || purpose == Purpose::KilledOnceStored {
            arguments.push("--checkpoint-interval-secs=1".to_owned());
        }
        // The more there is the faster it goes, so that each takes some seconds, in which there is motion.
        let rate = (last_bytes / seconds).max(300_000);
        let is_slow = random.chance(75);
        let drawn = random.chance(45).then(|| Duration::from_millis(random.between(20, 1_000 * seconds)));
        let (is_slow, kill) = match purpose {
            Purpose::Made | Purpose::Resumes => (false, Kill::Never),
            Purpose::KilledOnceStored => (true, Kill::OnceStored),
            Purpose::Any => (is_slow, drawn.map_or(Kill::Never, Kill::After)),
        };
        if is_slow {
            arguments.push(format!("--rate-limit-bytes={rate}"));
        }
        let begin_ms = now_ms();
        let outcome = engine.run(&format!("backup-{number}"), &arguments, kill)?;
        has_left = kill == Kill::OnceStored && matches!(outcome, Outcome::Killed);
        match outcome {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_killed_when_they_have_stored_something_until_one_is_resumed() {
        assert_eq!(Purpose::of(0, false, 0), Purpose::Made);
        assert_eq!(Purpose::of(1, false, 0), Purpose::KilledOnceStored);
        assert_eq!(Purpose::of(2, true, 0), Purpose::Resumes);
        assert_eq!(
            Purpose::of(3, false, 0),
            Purpose::KilledOnceStored,
            "the second was over too soon, or nothing was resumed"
        );
        assert_eq!(Purpose::of(3, false, 1), Purpose::Any);
    }
}
