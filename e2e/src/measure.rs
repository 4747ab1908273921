//! What a child process cost, as the kernel counted it.
//!
//! The kernel adds up the usage of all children that a process has waited for, and keeps one maximum of their memory. To
//! tell one child's figures exactly, each runs under a process of its own, which does nothing else: a program that calls [`measure`], usually this one
//! once more.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use serde::{Deserialize, Serialize};

/// The hidden subcommand that [`run`] starts this program with.
pub const SUBCOMMAND: &str = "measure";

/// What a child took.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Seconds of processor time, in user and in system mode, over all threads.
    pub cpu_s: f64,
    /// Seconds from its start to its end.
    pub wall_s: f64,
    /// The most memory that was resident at one moment, in MiB.
    pub peak_mib: f64,
}

impl Figures {
    /// The median of each figure by itself; of an even number the upper one.
    ///
    /// # Panics
    /// Without any runs.
    pub fn median(runs: &[Self]) -> Self {
        let median = |figure: fn(&Self) -> f64| {
            let mut figures: Vec<f64> = runs.iter().map(figure).collect();
            figures.sort_by(f64::total_cmp);
            figures[figures.len() / 2]
        };
        Self {
            cpu_s: median(|figures| figures.cpu_s),
            wall_s: median(|figures| figures.wall_s),
            peak_mib: median(|figures| figures.peak_mib),
        }
    }
}

/// Runs a command, which must succeed, to its end; its figures, and what it printed. The program that calls this must call [`measure`]
/// for [`SUBCOMMAND`].
///
/// # Errors
/// When the command fails, or cannot be measured.
pub fn run(command: &Command) -> Result<(Figures, String)> {
    run_by(&std::env::current_exe().context("the path of this program is unknown")?, command)
}

/// The same by another program that calls [`measure`] for [`SUBCOMMAND`], since that of a test does not.
///
/// # Errors
/// As [`run`].
pub fn run_by(program: &Path, command: &Command) -> Result<(Figures, String)> {
    let result = tempfile::NamedTempFile::new().context("no temporary file")?;
    let mut measured = Command::new(program);
    measured.args([SUBCOMMAND, "--result"]).arg(result.path()).arg("--");
    measured.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => measured.env(name, value),
            None => measured.env_remove(name),
        };
    }
    let output = measured.stdin(Stdio::null()).output().with_context(|| format!("cannot run {command:?}"))?;
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} failed ({}): {stdout}{stderr}", output.status);
    let figures = fs::read(result.path()).context("the figures cannot be read")?;
    Ok((serde_json::from_slice(&figures).context("the figures cannot be understood")?, stdout))
}

/// The measuring process: runs one command and writes its figures to a file.
///
/// # Errors
/// When the command fails, or the kernel does not tell what it took.
pub fn measure(result: &Path, command: &[String]) -> Result<()> {
    let (program, arguments) = command.split_first().context("no command to measure")?;
    let began = Instant::now();
    let status = Command::new(program).args(arguments).status().with_context(|| format!("cannot run {program}"))?;
    let wall_s = began.elapsed().as_secs_f64();
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).context("the kernel does not tell usage")?;
    ensure!(status.success(), "{program} ended with {status}");
    fs::write(result, serde_json::to_vec(&figures(&usage, wall_s))?).context("the figures cannot be written")
}

fn figures(usage: &Usage, wall_s: f64) -> Figures {
    let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
    Figures {
        cpu_s: seconds(usage.user_time()) + seconds(usage.system_time()),
        wall_s,
        // Linux counts in KiB.
        peak_mib: usage.max_rss() as f64 / 1024.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(cpu_s: f64, wall_s: f64, peak_mib: f64) -> Figures {
        Figures { cpu_s, wall_s, peak_mib }
    }

    #[test]
    fn each_figure_has_a_median_of_its_own() {
        let runs = [figures(1.0, 30.0, 200.0), figures(3.0, 10.0, 100.0), figures(2.0, 20.0, 300.0)];
        assert_eq!(Figures::median(&runs), figures(2.0, 20.0, 200.0));
        assert_eq!(Figures::median(&runs[..1]), runs[0]);
    }

    #[test]
    fn a_command_is_measured_and_one_that_fails_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let result = folder.path().join("figures");
        let shell = |line: &str| ["/bin/sh", "-c", line].map(str::to_owned).to_vec();
        measure(&result, &shell("sleep 0.05")).unwrap();
        let measured: Figures = serde_json::from_slice(&fs::read(&result).unwrap()).unwrap();
        assert!(measured.wall_s >= 0.05 && measured.peak_mib > 0.0, "{measured:?}");
        assert!(measure(&result, &shell("exit 3")).unwrap_err().to_string().contains("exit status: 3"));
    }
}
