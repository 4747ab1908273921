//! Parse, run, report, exit: each command is a short function between its flags and the library.

mod args;
mod bar;
mod error;
mod http;
mod logs;
mod message;
mod output;
mod signals;

use std::ffi::OsString;
use std::io::{self, BufWriter};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use kafka_backup::config::{self, Flags, RunConfig, RunKind};
use kafka_backup::error::Kind;
use kafka_backup::progress::Progress;
use kafka_backup::report::{RunReport, Termination};
use kafka_backup::stop::Stop;
use kafka_backup::{backup, cat, describe, list, prune, restore, verify};
use tokio::time::Instant;

use self::args::{Arguments, Command};
use self::bar::Bar;
use self::error::Error;
use self::message::Message;
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
    let run = match arguments.command {
        Command::Completions { shell } => return output::completions(shell, &mut Arguments::command()),
        Command::Backup(flags) => {
            Run::new(RunKind::Backup, flags.run.config.clone(), flags.report.output, Ok(flags.settings()))
                .with_message(flags.message.termination_message)
                .with_server(flags.server.listen)
        }
        Command::Restore(flags) => {
            Run::new(RunKind::Restore, flags.run.config.clone(), flags.report.output, flags.settings())
                .with_message(flags.message.termination_message)
                .with_server(flags.server.listen)
        }
        Command::Verify(flags) => {
            Run::new(RunKind::Verify, flags.run.config.clone(), flags.report.output, Ok(flags.settings()))
                .with_message(flags.message.termination_message)
        }
        Command::Prune(flags) => {
            Run::new(RunKind::Prune, flags.run.config.clone(), flags.report.output, Ok(flags.settings()))
                .with_message(flags.message.termination_message)
        }
        Command::List(flags) => {
            Run::new(RunKind::List, flags.run.config.clone(), flags.report.output, Ok(flags.settings()))
        }
        Command::Cat(flags) => Run::new(RunKind::Cat, flags.run.config.clone(), Output::Text, Ok(flags.settings())),
        Command::Describe(flags) => {
            Run::new(RunKind::Describe, flags.run.config.clone(), flags.report.output, Ok(flags.settings()))
        }
    };
    let bar = Bar::new();
    let started = logs::start(&arguments.logs, &bar).map_err(Error::Logs);
    let (kind, output) = (run.kind, run.output);
    let message = match Message::open(run.message.as_deref()) {
        Ok(message) => message,
        Err(error) => return output.fail(Kind::Usage, &error.to_string()),
    };
    match started.and_then(|()| run.finish(&bar)) {
        Ok(report) => {
            message.write(report.as_ref().and_then(Termination::of).as_ref());
            report.map_or(ExitCode::SUCCESS, |report| output.succeed(&report))
        }
        Err(error) => {
            let (failed, why) = (error.kind(), error.to_string());
            message.write(Termination::of_failure(kind, failed, &why).as_ref());
            output.fail(failed, &why)
        }
    }
}

/// One run of the tool.
struct Run {
    kind: RunKind,
    file: Option<PathBuf>,
    output: Output,
    flags: Result<Flags, config::Error>,
    message: Option<PathBuf>,
    listen: Option<SocketAddr>,
}

impl Run {
    const fn new(kind: RunKind, file: Option<PathBuf>, output: Output, flags: Result<Flags, config::Error>) -> Self {
        Self { kind, file, output, flags, message: None, listen: None }
    }

    fn with_message(self, message: Option<PathBuf>) -> Self {
        Self { message, ..self }
    }

    fn with_server(self, listen: Option<SocketAddr>) -> Self {
        Self { listen, ..self }
    }

    /// The report of the run; of one whose result stands on stdout already, none.
    fn finish(self, bar: &Bar) -> Result<Option<RunReport>, Error> {
        let config = config::load(self.kind, self.file.as_deref(), &self.flags?)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Error::Runtime)?;
        let done = runtime.block_on(async {
            let stop = Stop::default();
            let progress = Progress::default();
            let started = Instant::now();
            signals::listen(stop.clone());
            let _server = match self.listen {
                Some(address) => Some(http::serve(address, self.kind, progress.clone(), started).await?),
                None => None,
            };
            let watching = bar.watch(progress.clone(), started);
            let done = tokio::select! {
                done = run(config, &progress, &stop) => done,
                () = patience(self.kind, &stop) => Err(Error::Interrupted),
            };
            watching.end();
            done
        });
        // A thread that still waits for a file system does not keep the process.
        runtime.shutdown_background();
        done
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
