//! Parse, run, report, exit: each command is a short function between its flags and the library.

mod args;
mod bar;
mod error;
mod logs;
mod output;
mod signals;

use std::ffi::OsString;
use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use kafka_backup::config::{self, Flags, RunConfig, RunKind};
use kafka_backup::error::Kind;
use kafka_backup::progress::Progress;
use kafka_backup::report::RunReport;
use kafka_backup::stop::Stop;
use kafka_backup::{backup, cat, describe, list, prune, restore, verify};

use self::args::{Arguments, Command};
use self::bar::Bar;
use self::error::Error;
use self::output::Output;

/// How long a run may take to end by itself: less than the 30 seconds after which Kubernetes kills it. One that waits for a
/// broker may need longer, and nothing is lost when it is dropped.
const STOPPING: Duration = Duration::from_secs(20);

/// Runs the tool with these arguments, the program's name among them.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => return output::refused_arguments(&error),
    };
    let bar = Bar::new();
    if let Err(error) = logs::start(&arguments.logs, &bar) {
        return Output::Text.fail(Kind::Usage, &error);
    }
    let command = match arguments.command {
        Command::Completions { shell } => return output::completions(shell, &mut Arguments::command()),
        Command::Backup(flags) => Run::new(RunKind::Backup, flags.config.clone(), flags.output, flags.settings()),
        Command::Restore(flags) => match flags.settings() {
            Ok(settings) => Run::new(RunKind::Restore, flags.config.clone(), flags.output, settings),
            Err(error) => return flags.output.fail(error.kind(), &error.to_string()),
        },
        Command::List(flags) => Run::new(RunKind::List, flags.config.clone(), flags.output, flags.settings()),
        Command::Verify(flags) => Run::new(RunKind::Verify, flags.config.clone(), flags.output, flags.settings()),
        Command::Prune(flags) => Run::new(RunKind::Prune, flags.config.clone(), flags.output, flags.settings()),
        Command::Cat(flags) => Run::new(RunKind::Cat, flags.config.clone(), Output::Text, flags.settings()),
        Command::Describe(flags) => Run::new(RunKind::Describe, flags.config.clone(), flags.output, flags.settings()),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return command.output.fail(Kind::Bug, &format!("the runtime cannot be started: {error}")),
    };
    let code = runtime.block_on(command.finish(&bar));
    // A thread that still waits for a file system does not keep the process.
    runtime.shutdown_background();
    code
}

/// One run of the tool.
struct Run {
    kind: RunKind,
    file: Option<PathBuf>,
    output: Output,
    flags: Flags,
}

impl Run {
    const fn new(kind: RunKind, file: Option<PathBuf>, output: Output, flags: Flags) -> Self {
        Self { kind, file, output, flags }
    }

    async fn finish(self, bar: &Bar) -> ExitCode {
        let stop = Stop::default();
        let progress = Progress::default();
        signals::listen(stop.clone());
        let watching = bar.watch(progress.clone());
        let done = match config::load(self.kind, self.file.as_deref(), &self.flags) {
            Ok(config) => tokio::select! {
                done = run(config, &progress, &stop) => done,
                () = patience(self.kind, &stop) => Err(Error::Interrupted),
            },
            Err(error) => Err(error.into()),
        };
        watching.end();
        match done {
            Ok(Some(report)) => self.output.succeed(&report),
            Ok(None) => ExitCode::SUCCESS,
            Err(error) => self.output.fail(error.kind(), &error.to_string()),
        }
    }
}

/// Ends when a run was asked to stop, and had the time to do so by itself.
async fn patience(kind: RunKind, stop: &Stop) {
    stop.wait().await;
    match kind {
        RunKind::Backup | RunKind::Restore | RunKind::Verify | RunKind::Prune => {
            tokio::time::sleep(STOPPING).await;
        }
        RunKind::List | RunKind::Describe | RunKind::Cat => {}
    }
}

/// The report of a run; of one whose result stands on stdout already, none.
async fn run(config: RunConfig, progress: &Progress, stop: &Stop) -> Result<Option<RunReport>, Error> {
    Ok(Some(match config {
        RunConfig::Backup(config) => RunReport::Backup(backup::run(&config.check()?, progress, stop).await?),
        RunConfig::Restore(config) => RunReport::Restore(restore::run(&config.check()?, progress, stop).await?),
        RunConfig::List(config) => RunReport::List(list::run(&config).await?),
        RunConfig::Describe(config) => RunReport::Describe(describe::run(&config).await?),
        RunConfig::Verify(config) => RunReport::Verify(verify::run(&config, progress, stop).await?),
        RunConfig::Prune(config) => RunReport::Prune(prune::run(&config, stop).await?),
        RunConfig::Cat(config) => {
            cat::run(&config, &mut BufWriter::new(io::stdout()), stop).await?;
            return Ok(None);
        }
    }))
}
