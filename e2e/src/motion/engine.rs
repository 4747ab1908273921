//! Runs of the binary under test: to their end, or killed on the way.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kafka_backup::clock::now_ms;
use kafka_backup::format::layout::{ArchiveKeys, CheckpointName};

use super::events::{Events, What};
use super::journal::Journal;
use crate::cli::{Cli, Ended};
use crate::running::Running;

/// The archive of all backups.
pub const ARCHIVE: &str = "motion";
/// A run that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(600);
const POLL: Duration = Duration::from_millis(10);

/// Where runs read and write.
#[derive(Debug)]
pub struct Engine<'a> {
    /// The cluster.
    pub bootstrap: String,
    /// The repository.
    pub repository: PathBuf,
    /// Where reports and logs are kept, for examination.
    pub logs: PathBuf,
    /// What was done.
    pub events: &'a Events,
}

/// When a run is killed, if it is still at work then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kill<'a> {
    /// Never.
    Never,
    /// After so long.
    After(Duration),
    /// As soon as a checkpoint of a backup is in the repository, by which the next run resumes it.
    OnceStored,
    /// So long after this run of a restore has begun.
    OnceBegun {
        /// That of the restore.
        journal: &'a Journal,
        /// Whether it has begun only when its topics are ready for records, and not when it changes the target.
        is_ready: bool,
        /// How long after it.
        pause: Duration,
    },
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was killed.
    Killed,
    /// By itself.
    Ended(Ended),
}

impl Engine<'_> {
    /// Runs the binary. `name` is that of the files with its report and its log.
    ///
    /// # Errors
    /// When it cannot be started, or does not end in ten minutes.
    pub fn run(&self, name: &str, arguments: &[String], kill: Kill<'_>) -> Result<Outcome> {
        let begin_ms = now_ms();
        let outcome = self.run_until(name, arguments, kill)?;
        let code = match &outcome {
            Outcome::Killed => None,
            Outcome::Ended(ended) => ended.code,
        };
        self.events.add(begin_ms, What::RunEnded { run: name.to_owned(), code });
        Ok(outcome)
    }

    fn run_until(&self, name: &str, arguments: &[String], kill: Kill<'_>) -> Result<Outcome> {
        let storage = format!("file://{}", self.repository.display());
        let all = ["--bootstrap-servers", &self.bootstrap, "--storage", &storage, "--output", "json"];
        let cli = Cli::new(arguments.iter().map(String::as_str).chain(all))?;
        // Killed runs of the restore have left their leases, and the intent.
        let epoch_before = match kill {
            Kill::OnceBegun { journal, .. } => journal.epoch(),
            Kill::Never | Kill::After(_) | Kill::OnceStored => 0,
        };
        let mut running = Running::start(cli)?;
        let begin = Instant::now();
        let mut begun: Option<Instant> = None;
        while running.status()?.is_none() {
            let is_due = match kill {
                Kill::Never => false,
                Kill::After(moment) => begin.elapsed() >= moment,
                Kill::OnceStored => has_checkpoint(&self.repository)?,
                Kill::OnceBegun { journal, is_ready, pause } => {
                    let has_begun =
                        || journal.has_begun_since(epoch_before) && (!is_ready || journal.is_half_written());
                    if begun.is_none() && has_begun() {
                        begun = Some(Instant::now());
                    }
                    begun.is_some_and(|begun| begun.elapsed() >= pause)
                }
            };
            if is_due {
                self.keep(&format!("{name}.log"), &running.log()?)?;
                running.kill()?;
                return Ok(Outcome::Killed);
            }
            if begin.elapsed() > LIMIT {
                self.keep(&format!("{name}.log"), &running.log()?)?;
                running.kill()?;
                bail!("{name} does not end");
            }
            sleep(POLL);
        }
        let ended = running.ended()?;
        self.keep(&format!("{name}.log"), &ended.stderr)?;
        self.keep(&format!("{name}.json"), &ended.stdout)?;
        Ok(Outcome::Ended(ended))
    }

    fn keep(&self, name: &str, text: &str) -> Result<()> {
        let path: &Path = &self.logs.join(name);
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}

/// Whether there is a checkpoint of an unfinished backup in a repository.
fn has_checkpoint(repository: &Path) -> Result<bool> {
    let progress = repository.join(ArchiveKeys::new(&ARCHIVE.parse()?).progress());
    let Ok(unfinished) = fs::read_dir(&progress) else { return Ok(false) };
    // A folder that is removed meanwhile is that of a backup which has just ended.
    let objects = unfinished.flatten().filter_map(|folder| fs::read_dir(folder.path()).ok()).flatten().flatten();
    let is_checkpoint = |name: &OsStr| name.to_str().and_then(CheckpointName::parse).is_some();
    Ok(objects.map(|object| object.file_name()).any(|name| is_checkpoint(&name)))
}

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use kafka_backup::format::layout::BackupId;

    use super::*;

    #[test]
    fn a_backup_that_has_a_cut_only_has_stored_nothing_to_resume() {
        let folder = tempfile::tempdir().unwrap();
        let (keys, id): (_, BackupId) = (ArchiveKeys::new(&ARCHIVE.parse().unwrap()), "a-backup".parse().unwrap());
        assert!(!has_checkpoint(folder.path()).unwrap(), "there is no archive");
        fs::create_dir_all(folder.path().join(keys.progress_folder(&id))).unwrap();
        fs::write(folder.path().join(keys.cut(&id)), "").unwrap();
        assert!(!has_checkpoint(folder.path()).unwrap());
        let first = CheckpointName { epoch: 1, number: 0, folded: 1 };
        fs::write(folder.path().join(keys.checkpoint(&id, first)), "").unwrap();
        assert!(has_checkpoint(folder.path()).unwrap());
    }
}
