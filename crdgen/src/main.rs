//! Prints the custom resource definitions: all of them as one YAML stream, or each into a file of its own.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use strimzi_backup_operator::api::definitions;

/// Prints the custom resource definitions of the operator
#[derive(Debug, Parser)]
struct Arguments {
    /// Writes a file for each into this folder, as the chart carries them; all go to standard output when it is left out
    folder: Option<PathBuf>,
}

fn main() -> Result<()> {
    let Arguments { folder } = Arguments::parse();
    let mut stdout = std::io::stdout().lock();
    for definition in definitions() {
        match &folder {
            Some(folder) => {
                let path = folder.join(definition.file_name());
                std::fs::write(&path, definition.to_yaml()?)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
            None => write!(stdout, "---\n{}", definition.to_yaml()?).context("cannot write to stdout")?,
        }
    }
    Ok(())
}
