//! What is fetched or built once for a machine: Kafka's jars, the compiled witness, MinIO, Kubernetes.
//!
//! It stands outside `target/`, in a folder that `KAFKA_BACKUP_E2E_CACHE` names, else in the user's cache folder.
//! Test processes run side by side, so every entry is made under a lock, and is complete once its mark is there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// The cache folder; it need not exist yet.
///
/// # Errors
/// When no variable says where the user's files are.
pub fn folder() -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = variable("KAFKA_BACKUP_E2E_CACHE") {
        return std::path::absolute(folder).context("KAFKA_BACKUP_E2E_CACHE is no path");
    }
    let caches = variable("XDG_CACHE_HOME").or_else(|| variable("HOME").map(|home| home.join(".cache")));
    let caches = caches.context("neither KAFKA_BACKUP_E2E_CACHE, XDG_CACHE_HOME nor HOME is set: set one")?;
    Ok(caches.join("kafka-backup-e2e"))
}

/// The entry `name` of the cache, made by `make` if it is not there yet.
///
/// `make` gets an empty folder beside the final one, which is moved into place when it succeeded, so that an entry is
/// either whole or absent. `waiting_for` completes the sentence "e2e: waiting for .." on standard error.
///
/// # Errors
/// When `make` fails, or the cache cannot be written.
pub fn entry(name: &str, waiting_for: &str, make: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let target = folder()?.join(name);
    let mark = target.join(".ok");
    if mark.exists() {
        return Ok(target);
    }
    let _lock = lock(&name.replace('/', "-"), waiting_for)?;
    if mark.exists() {
        return Ok(target);
    }
    let parent = target.parent().context("a cache entry has a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let making = tempfile::tempdir_in(parent).with_context(|| format!("cannot write to {}", parent.display()))?;
    waiting(waiting_for, || make(making.path()))?;
    File::create(making.path().join(".ok")).context("cannot mark a cache entry")?;
    if target.exists() {
        // Left behind without its mark: whoever made it was interrupted, and we hold the lock.
        fs::remove_dir_all(&target).with_context(|| format!("cannot remove {}", target.display()))?;
    }
    fs::rename(making.keep(), &target).with_context(|| format!("cannot write {}", target.display()))?;
    Ok(target)
}

/// Holds the lock of this name until it is dropped; the kernel frees it when the process ends.
///
/// # Errors
/// When the lock file cannot be made.
pub fn lock(name: &str, waiting_for: &str) -> Result<File> {
    let folder = folder()?.join("locks");
    fs::create_dir_all(&folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = folder.join(name);
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    if file.try_lock().is_err() {
        eprintln!("e2e: another process is at it: waiting for {waiting_for}");
        file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    }
    Ok(file)
}

/// The `bin` folder of a JDK 17 or later, from `JAVA_HOME` if it is set, else from the path.
///
/// # Errors
/// When there is none; the text names the command that installs one.
pub fn jdk() -> Result<&'static Jdk> {
    static JDK: LazyLock<Result<Jdk, String>> = LazyLock::new(Jdk::find);
    JDK.as_ref().map_err(|text| anyhow::anyhow!("{text}"))
}

/// A Java development kit.
#[derive(Debug)]
pub struct Jdk {
    /// The launcher.
    pub java: PathBuf,
    /// The compiler.
    pub javac: PathBuf,
}

impl Jdk {
    pub(crate) const INSTALL: &str = "apt-get install openjdk-17-jdk-headless";

    fn find() -> Result<Self, String> {
        let home = std::env::var_os("JAVA_HOME").filter(|value| !value.is_empty());
        let program = |name: &str| match &home {
            Some(home) => Path::new(home).join("bin").join(name),
            None => PathBuf::from(name),
        };
        let jdk = Self { java: program("java"), javac: program("javac") };
        let Ok(answer) = Command::new(&jdk.javac).arg("-version").output() else {
            return Err(format!("Kafka needs a JDK 17 or later, and {:?} does not run: {}", jdk.javac, Self::INSTALL));
        };
        // Java 8 printed this on standard error.
        let text = String::from_utf8_lossy(&[answer.stdout, answer.stderr].concat()).into_owned();
        match java_release(&text) {
            Some(release) if release >= 17 => Ok(jdk),
            _ => Err(format!(
                "Kafka needs a JDK 17 or later, and {:?} is {:?}: {}",
                jdk.javac,
                text.trim(),
                Self::INSTALL
            )),
        }
    }
}

/// The feature release in the answer of `javac -version`: 17 for `javac 17.0.15`, 1 for the `1.8` of old.
fn java_release(answer: &str) -> Option<u32> {
    let version = answer.lines().find_map(|line| line.strip_prefix("javac "))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Runs a tool to its end, quietly; when it fails, the error holds the end of what it printed.
///
/// # Errors
/// When the tool is not installed (`install` completes the sentence), or fails.
pub fn run(command: &mut Command, install: &str) -> Result<()> {
    let output = match command.stdin(Stdio::null()).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            bail!("{:?} is needed and not installed: {install}", command.get_program())
        }
        Err(error) => return Err(error).with_context(|| format!("cannot run {command:?}")),
    };
    if !output.status.success() {
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        bail!("{command:?} failed ({}): {}", output.status, lines[lines.len().saturating_sub(20)..].join("\n"));
    }
    Ok(())
}

/// Says on standard error what is waited for, and every minute that it still is.
pub fn waiting<T>(waiting_for: &str, work: impl FnOnce() -> T) -> T {
    const MINUTE: Duration = Duration::from_secs(60);
    eprintln!("e2e: waiting for {waiting_for}");
    thread::scope(|scope| {
        let (working, ended) = mpsc::channel::<()>();
        scope.spawn(move || {
            let mut minutes = 0;
            while ended.recv_timeout(MINUTE) == Err(RecvTimeoutError::Timeout) {
                minutes += 1;
                eprintln!("e2e: waiting for {waiting_for}: {minutes} min");
            }
        });
        let outcome = work();
        drop(working);
        outcome
    })
}

/// The first 16 hex digits of a hash over these texts, which an entry can be named by.
pub fn key(texts: &[&str]) -> String {
    use sha2::{Digest, Sha256};
    let mut hasher = Sha256::new();
    for text in texts {
        hasher.update(text.len().to_be_bytes());
        hasher.update(text);
    }
    hasher.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_feature_release_of_old_and_new_compilers() {
        assert_eq!(java_release("javac 17.0.15\n"), Some(17));
        assert_eq!(java_release("javac 1.8.0_292"), Some(1));
        assert_eq!(java_release("Picked up JAVA_TOOL_OPTIONS: -Dx=y\njavac 25\n"), Some(25));
        assert_eq!(java_release("command not found"), None);
    }

    #[test]
    fn a_missing_tool_is_named_with_the_command_that_installs_it() {
        let error = run(&mut Command::new("no-such-tool-anywhere"), "apt-get install it").unwrap_err();
        assert_eq!(error.to_string(), "\"no-such-tool-anywhere\" is needed and not installed: apt-get install it");
    }
}
