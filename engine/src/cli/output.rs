//! What leaves the process: the report on stdout, one line of error on stderr, the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use clap::error::ErrorKind;
use kafka_backup::error::Kind;
use kafka_backup::report::{RunReport, failure_json};

/// How the report is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Output {
    /// Words for people.
    #[default]
    Text,
    /// One JSON object, and nothing else.
    Json,
}

impl Output {
    /// Prints the report of a run that came to its end.
    pub fn succeed(self, report: &RunReport) -> ExitCode {
        let text = match self {
            Self::Text => report.to_text(),
            Self::Json => report.to_json() + "\n",
        };
        match print(text.as_bytes()) {
            Ok(()) => report.shortfall().map_or(ExitCode::SUCCESS, ExitCode::from),
            Err(error) => complain(Kind::Unavailable, &format!("the report cannot be written to stdout: {error}")),
        }
    }

    /// Prints why a run failed.
    pub fn fail(self, kind: Kind, message: &str) -> ExitCode {
        // Whoever reads JSON looks at stdout only; when that is gone, the line on stderr and the exit code remain.
        let _ = match self {
            Self::Text => Ok(()),
            Self::Json => print((failure_json(kind, message) + "\n").as_bytes()),
        };
        complain(kind, message)
    }
}

/// A reader that has seen enough (`| head`) is no failure.
fn print(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn complain(kind: Kind, message: &str) -> ExitCode {
    // Nobody is left to be told when stderr is gone.
    let _ = writeln!(io::stderr(), "error: {}", one_line(message));
    kind.into()
}

/// Systems and libraries put line ends into their messages; a log reader wants one line an error.
fn one_line(message: &str) -> String {
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    // Names of groups, and texts of brokers, may hold what a terminal would obey.
    line.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Prints help and version as they are, and what is wrong with the arguments in one line.
pub fn refused_arguments(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        return match print(error.render().to_string().as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(Kind::Unavailable, &format!("the help cannot be written to stdout: {error}")),
        };
    }
    let text = error.render().to_string();
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        // Whoever gives no command wants to see them; that there was none still is an error to a script.
        let _ = io::stderr().write_all(text.as_bytes());
        return Kind::Usage.into();
    }
    let told = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let told = told.collect::<Vec<_>>().join(" ");
    complain(Kind::Usage, &format!("{}; see --help", one_line(told.trim_start_matches("error: "))))
}

/// Prints the completions for a shell.
pub fn completions(shell: clap_complete::Shell, command: &mut clap::Command) -> ExitCode {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    clap_complete::generate(shell, command, name, &mut script);
    match print(&script) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => complain(Kind::Unavailable, &format!("the completions cannot be written to stdout: {error}")),
    }
}
