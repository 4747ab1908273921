//! Logs go to stderr, above the progress bar when there is one.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::bar::Bar;

/// What the modules begin with that are never logged, at whatever level: those of the library that signs requests to S3. At `debug` it
/// prints the secret key.
const SECRETIVE: &str = "reqsign";

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone, Args)]
pub struct LogFlags {
    /// How log lines on stderr are written
    #[arg(long, global = true, value_enum, default_value = "text", value_name = "FORMAT", help_heading = "Logs")]
    pub log_format: Format,
    /// error, warn, info, debug or trace; or a level for each module, as in info,kafka_backup::kafka=debug
    #[arg(long, global = true, default_value = "info", value_name = "LEVEL", help_heading = "Logs")]
    pub log_level: String,
}

/// Starts logging.
///
/// # Errors
/// One line when the level is none.
pub fn start(flags: &LogFlags, bar: &Bar) -> Result<(), String> {
    let wanted: Vec<&str> =
        flags.log_level.split(',').filter(|directive| !directive.trim_start().starts_with(SECRETIVE)).collect();
    let filter = EnvFilter::builder()
        .parse(wanted.join(","))
        .map_err(|error| format!("--log-level {:?}: {error}", flags.log_level))?
        .add_directive(format!("{SECRETIVE}=off").parse().expect("a target and a level"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(Stderr(bar.clone()));
    let started = match flags.log_format {
        Format::Text => builder.with_ansi(bar.is_terminal()).with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| format!("logging cannot be started: {error}"))
}

/// Moves the bar out of the way of each line.
#[derive(Clone)]
struct Stderr(Bar);

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Stderr {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.aside(|| io::stderr().write(line))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
