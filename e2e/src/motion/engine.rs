//! Runs of the binary under test: to their end, or killed on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use kafka_backup::clock::now_ms;

use super::events::{Events, What};
use crate::cli::{Cli, Ended};
use crate::running::Running;

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

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// It was killed.
    Killed,
    /// By itself.
    Ended(Ended),
}

impl Engine<'_> {
    /// Runs the binary. `name` is that of the files with its report and its log. It is killed at the moment that is given, if
    /// it is still at work then.
    ///
    /// # Errors
    /// When it cannot be started, or does not end in ten minutes.
    pub fn run(&self, name: &str, arguments: &[String], kill_after: Option<Duration>) -> Result<Outcome> {
        let begin_ms = now_ms();
        let outcome = self.run_until(name, arguments, kill_after)?;
        let code = match &outcome {
            Outcome::Killed => None,
            Outcome::Ended(ended) => ended.code,
        };
        self.events.add(begin_ms, What::RunEnded { run: name.to_owned(), code });
        Ok(outcome)
    }

    fn run_until(&self, name: &str, arguments: &[String], kill_after: Option<Duration>) -> Result<Outcome> {
        let storage = format!("file://{}", self.repository.display());
        let all = ["--bootstrap-servers", &self.bootstrap, "--storage", &storage, "--output", "json"];
        let cli = Cli::new(arguments.iter().map(String::as_str).chain(all))?;
        let mut running = Running::start(cli)?;
        let begin = Instant::now();
        while running.status()?.is_none() {
            if kill_after.is_some_and(|moment| begin.elapsed() >= moment) {
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

/// The last lines of a log.
pub fn tail(log: &str) -> String {
    const LINES: usize = 12;
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}
