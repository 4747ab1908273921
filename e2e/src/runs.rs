//! Backups and restores as the tests ask for them: the real binary, from the command line, with its JSON report.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::cli::{Cli, Ended};
use crate::minio::Minio;
use crate::running::Running;

/// Where a test keeps its archive.
#[derive(Debug)]
pub enum Repository<'a> {
    /// A folder that goes with the test.
    Folder(TempDir),
    /// A bucket.
    Bucket {
        /// The server.
        minio: &'a Minio,
        /// The bucket.
        bucket: String,
    },
}

impl<'a> Repository<'a> {
    /// An empty folder.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn folder() -> Result<Self> {
        Ok(Self::Folder(tempfile::tempdir().context("no folder for the archive")?))
    }

    /// A new bucket.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn bucket(minio: &'a Minio, stem: &str) -> Result<Self> {
        Ok(Self::Bucket { minio, bucket: minio.make_bucket(stem)? })
    }

    /// What `--storage` takes.
    pub fn url(&self) -> String {
        match self {
            Self::Folder(folder) => format!("file://{}", folder.path().display()),
            Self::Bucket { minio, bucket } => minio.url(bucket, "archives-of-tests"),
        }
    }

    /// Where the files are.
    ///
    /// # Panics
    /// For a bucket.
    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder.path(),
            Self::Bucket { .. } => panic!("a bucket has no files"),
        }
    }

    /// The binary with these arguments, `--storage` and `--output json`, and what it needs to reach the store.
    ///
    /// # Errors
    /// When the binary does not build.
    pub fn cli(&self, arguments: &[&str]) -> Result<Cli> {
        let url = self.url();
        let all = arguments.iter().copied().chain(["--storage", &url, "--output", "json"]);
        let cli = Cli::new(all)?;
        Ok(match self {
            Self::Folder(_) => cli,
            Self::Bucket { minio, .. } => {
                minio.environment().into_iter().fold(cli, |cli, (name, value)| cli.env(name, value))
            }
        })
    }

    /// Runs the binary to its end.
    ///
    /// # Errors
    /// When it does not run; that it failed is in the result.
    pub fn run(&self, arguments: &[&str]) -> Result<Ended> {
        self.cli(arguments)?.run()
    }

    /// Starts the binary, to be watched, signalled or killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, arguments: &[&str]) -> Result<Running> {
        Running::start(self.cli(arguments)?)
    }

    /// Runs the binary, which must succeed, and gives back its report.
    ///
    /// # Panics
    /// With all that it said, when it fails.
    pub fn report(&self, arguments: &[&str]) -> Value {
        let ended = self.run(arguments).unwrap_or_else(|error| panic!("{error:#}")).succeeded();
        ended.json().unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Every object that is stored, by its path; in a bucket by that of the folder in which MinIO keeps it.
    ///
    /// # Errors
    /// When a folder cannot be read.
    pub fn objects(&self) -> Result<Vec<PathBuf>> {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                let is_object_of_minio = path.join("xl.meta").is_file();
                match path.is_dir() && !is_object_of_minio {
                    // A writer removes its unfinished files while we look.
                    true if path.exists() => walk(&path, found)?,
                    true | false => found.push(path),
                }
            }
            Ok(())
        }
        let mut found = Vec::new();
        let folder = match self {
            Self::Folder(folder) => folder.path().to_owned(),
            Self::Bucket { minio, bucket } => minio.folder().join("data").join(bucket),
        };
        walk(&folder, &mut found)?;
        found.sort();
        Ok(found)
    }
}
