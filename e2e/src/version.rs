//! The release lines of Apache Kafka: their jars, and a `java` that runs them.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache::{self, Jdk};

/// A release line of Apache Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// The line after the current one.
    V4_4,
    /// The current line: the one of Strimzi 1.2.
    V4_3,
    /// The line before 4.0.
    V3_9,
}

impl Version {
    /// The release, as Maven and Kafka write it.
    pub const fn number(self) -> &'static str {
        match self {
            Self::V4_4 => "4.4.0",
            Self::V4_3 => "4.3.1",
            Self::V3_9 => "3.9.2",
        }
    }

    const fn pom(self) -> &'static str {
        match self {
            Self::V4_4 => include_str!("../java/kafka-4.4.0.xml"),
            Self::V4_3 => include_str!("../java/kafka-4.3.1.xml"),
            Self::V3_9 => include_str!("../java/kafka-3.9.2.xml"),
        }
    }

    const fn logging(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::V4_4 | Self::V4_3 => {
                ("log4j2.yaml", "-Dlog4j2.configurationFile=", include_str!("../java/log4j2.yaml"))
            }
            Self::V3_9 => {
                ("log4j1.properties", "-Dlog4j.configuration=file:", include_str!("../java/log4j1.properties"))
            }
        }
    }

    /// The folder with this release's jars: brokers, tools and clients. Fetched on first use.
    ///
    /// # Errors
    /// When Maven is missing or cannot fetch them.
    pub fn libs(self) -> Result<PathBuf> {
        let number = self.number();
        cache::entry(
            // Other dependencies are another entry.
            &format!("kafka/{number}/libs-{}", cache::key(&[self.pom()])),
            &format!("Maven to fetch Apache Kafka {number} (54 MB, about a minute)"),
            |folder| {
                let project = tempfile::tempdir()?;
                fs::write(project.path().join("pom.xml"), self.pom())?;
                let mut maven = Command::new("mvn");
                maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
                maven.arg(format!("-DoutputDirectory={}", folder.display())).current_dir(project.path());
                cache::run(&mut maven, "apt-get install maven")
            },
        )
    }

    /// A `java` with this release on its class path that logs to standard error from `level` up.
    ///
    /// # Errors
    /// When there is no JDK, or the jars cannot be fetched.
    pub fn java(self, heap_mb: u32, is_short_lived: bool, level: &str) -> Result<Command> {
        let Jdk { java, .. } = cache::jdk()?;
        let libs = self.libs()?;
        let (file, flag, text) = self.logging();
        // Outside the entry: one that an earlier version of the harness made has none.
        let logging = cache::folder()?.join("kafka").join(file);
        if fs::read_to_string(&logging).ok().as_deref() != Some(text) {
            let written = tempfile::NamedTempFile::new_in(cache::folder()?.join("kafka"))?;
            fs::write(written.path(), text)?;
            written.persist(&logging).with_context(|| format!("cannot write {}", logging.display()))?;
        }
        let mut command = Command::new(java);
        command.arg(format!("-Xmx{heap_mb}m")).args(["-XX:+UseSerialGC", "-Xshare:auto", "-Djava.awt.headless=true"]);
        if is_short_lived {
            // The second compiler costs more at the start than it gives back within a test.
            command.arg("-XX:TieredStopAtLevel=1");
        }
        command.arg(format!("-Dharness.log.level={level}")).arg(format!("{flag}{}", logging.display()));
        command.arg("-cp").arg(format!("{}/*", libs.display()));
        Ok(command)
    }
}
