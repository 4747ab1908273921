//! The binary under test, as a user runs it.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context, Result, bail, ensure};

use crate::cache;
use crate::process::{Output, Process};

/// A `kafka-backup` command line with its environment.
#[derive(Debug)]
pub struct Cli {
    command: Command,
}

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Ended {
    /// The exit code, or `None` after a signal.
    pub code: Option<i32>,
    /// Everything on standard output.
    pub stdout: String,
    /// Everything on standard error.
    pub stderr: String,
}

impl Ended {
    /// The run itself when it succeeded.
    ///
    /// # Panics
    /// With everything that the run said, when it did not: this is what a test wants to show.
    pub fn succeeded(self) -> Self {
        assert_eq!(self.code, Some(0), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// The JSON object that `--output json` printed.
    ///
    /// # Errors
    /// When standard output is anything but one JSON value.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON on standard output: {}", self.stdout))
    }
}

/// The path of the binary, built once a process, in the profile in which the harness itself was built.
///
/// # Errors
/// When it does not build.
pub fn binary() -> Result<&'static PathBuf> {
    static BINARY: LazyLock<Result<PathBuf, String>> =
        LazyLock::new(|| build("kafka-backup").map_err(|error| format!("{error:#}")));
    BINARY.as_ref().map_err(|text| anyhow::anyhow!("{text}"))
}

/// The environment variable that names a folder with programs that were built otherwise, such as those that an image is shipped with:
/// everything then runs these.
pub const BINARIES: &str = "E2E_BINARIES";

/// Builds a program of this workspace, in the profile in which the harness itself was built, and gives its path; or gives that in the
/// folder that [`BINARIES`] names.
///
/// # Errors
/// When it does not build, or the folder does not have it.
pub fn build(program: &str) -> Result<PathBuf> {
    let Some(folder) = std::env::var_os(BINARIES) else {
        return run_cargo(program).with_context(|| format!("cannot build {program}"));
    };
    let path = PathBuf::from(folder).join(program);
    ensure!(path.is_file(), "{BINARIES} names a folder without {program}: {} is no file", path.display());
    Ok(path)
}

impl Cli {
    /// `kafka-backup` with these arguments.
    ///
    /// # Errors
    /// When it does not build.
    pub fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Self> {
        let mut command = Command::new(binary()?);
        command.args(arguments);
        // A credential of the machine must never decide what a test proves.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("AWS_") || name == "RUST_LOG" {
                command.env_remove(name);
            }
        }
        Ok(Self { command })
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// The command itself, for what is not offered here.
    pub fn command_mut(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// When it cannot be started; that it failed is in the result.
    pub fn run(mut self) -> Result<Ended> {
        let output = self.command.stdin(Stdio::null()).output().context("cannot run kafka-backup")?;
        Ok(Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Starts it and returns at once, to be killed or signalled; it ends with this process. `output` takes what it says.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn spawn(self, output: Output) -> Result<Process> {
        Process::tethered(&self.command, None, output)
    }
}

/// Runs `kafka-backup` with these arguments to its end.
///
/// # Errors
/// When it cannot be built or started; that it failed is in the result.
pub fn run<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Result<Ended> {
    Cli::new(arguments)?.run()
}

/// A test of the workspace that takes no time to build.
const SMALLEST_TEST: &str = "prints";

fn run_cargo(program: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--workspace", "--bin", program, "--message-format=json"]);
    if cfg!(debug_assertions) {
        // The whole workspace and a test are selected, as in `cargo test --workspace`: so dependencies have the same features, those of
        // `dev-dependencies` among them, and are not compiled a second time.
        command.args(["--test", SMALLEST_TEST]);
    } else {
        command.arg("--release");
    }
    command.current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    command.stdin(Stdio::null()).stderr(Stdio::inherit());
    let waiting_for = format!("cargo to build {program} (ten minutes the first time, seconds when it is built)");
    let output = cache::waiting(&waiting_for, || command.output()).context("cannot run cargo")?;
    if !output.status.success() {
        bail!("cargo failed ({})", output.status);
    }
    let executable = |line: &str| -> Option<PathBuf> {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == program).then(|| Some(message["executable"].as_str()?.into()))?
    };
    let text = String::from_utf8_lossy(&output.stdout);
    text.lines().filter_map(executable).next_back().context("cargo named no executable")
}
