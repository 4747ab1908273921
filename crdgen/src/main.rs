//! Prints the custom resource definitions: all of them as one YAML stream, or each into a file of its own.
//!
//! `crdgen` writes to stdout; `crdgen FOLDER` writes the files that the chart carries.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use strimzi_backup_operator::api::definitions;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    let folder = arguments.next().map(PathBuf::from);
    if arguments.next().is_some() {
        bail!("usage: crdgen [FOLDER]");
    }
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
