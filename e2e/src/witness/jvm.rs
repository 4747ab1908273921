//! The JVM in which the Java client runs, and the lines that go to it and come back.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cache;
use crate::unique;
use crate::version::Version;

/// The JVM behind every witness of this process. It ends when its standard input does, hence with us.
#[derive(Debug)]
pub(super) struct Jvm {
    requests: Mutex<ChildStdin>,
    waiting: Waiting,
    next_id: AtomicU64,
    folder: PathBuf,
}

type Waiting = Arc<Mutex<HashMap<u64, mpsc::Sender<Reply>>>>;

#[derive(Debug, Deserialize)]
struct Reply {
    id: u64,
    #[serde(default)]
    result: Value,
    error: Option<String>,
}

impl Jvm {
    pub(super) fn start() -> Result<Self> {
        let classes = compiled()?;
        let folder = tempfile::Builder::new().prefix("e2e-witness-").tempdir().context("no temporary folder")?.keep();
        let mut command = Version::V4_3.java(768, false, "OFF")?;
        // The class path came last.
        let class_path = format!("{}/*:{}", Version::V4_3.libs()?.display(), classes.display());
        command.arg("-cp").arg(class_path).arg("Witness").arg(&folder);
        // In a group of its own no Ctrl-C reaches it: it ends by the end of its input, and cleans up.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).process_group(0);
        let mut child = command.spawn().context("cannot start the witness")?;
        let requests = child.stdin.take().context("a piped standard input")?;
        let replies = child.stdout.take().context("a piped standard output")?;
        let waiting = Waiting::default();
        let answered = Arc::clone(&waiting);
        thread::spawn(move || {
            for line in BufReader::new(replies).lines() {
                let reply: Option<Reply> = line.ok().and_then(|line| serde_json::from_str(&line).ok());
                let Some(reply) = reply else { break };
                if let Some(caller) = locked(&answered).remove(&reply.id) {
                    // A caller that panicked does not wait any more.
                    let _ = caller.send(reply);
                }
            }
            // Whoever still waits finds its channel closed.
            locked(&answered).clear();
            let _ = child.wait();
        });
        Ok(Self { requests: Mutex::new(requests), waiting, next_id: AtomicU64::new(1), folder })
    }

    pub(super) fn call(&self, command: &str, mut request: Value) -> Result<Value> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        request["id"] = json!(id);
        request["command"] = json!(command);
        let (caller, reply) = mpsc::channel();
        locked(&self.waiting).insert(id, caller);
        {
            let mut requests = locked(&self.requests);
            writeln!(requests, "{request}").and_then(|()| requests.flush()).context("the witness is gone")?;
        }
        let reply = reply.recv().with_context(|| format!("the witness ended during {command}"))?;
        match reply.error {
            Some(error) => bail!("{error} ({command})"),
            None => Ok(reply.result),
        }
    }

    /// A new file through which records pass to or from the JVM.
    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(unique("records"))
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A panicking test leaves nothing half done under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The folder with the classes of the witness and of the brokers' policies, compiled once for each state of their sources.
pub fn compiled() -> Result<PathBuf> {
    const SOURCES: [(&str, &str); 5] = [
        ("Witness.java", include_str!("../../java/Witness.java")),
        ("Oracle.java", include_str!("../../java/Oracle.java")),
        ("Transform.java", include_str!("../../java/Transform.java")),
        ("RetentionLimit.java", include_str!("../../java/RetentionLimit.java")),
        ("RefusedNames.java", include_str!("../../java/RefusedNames.java")),
    ];
    let jdk = cache::jdk()?;
    let libs = Version::V4_3.libs()?;
    let mut hasher = DefaultHasher::new();
    (SOURCES, Version::V4_3.number()).hash(&mut hasher);
    cache::entry(
        &format!("witness/{:016x}", hasher.finish()),
        "javac to compile the Java witness (seconds)",
        |folder| {
            let mut javac = Command::new(&jdk.javac);
            javac.arg("-d").arg(folder).arg("-cp").arg(format!("{}/*", libs.display()));
            for (name, source) in SOURCES {
                fs::write(folder.join(name), source)?;
                javac.arg(folder.join(name));
            }
            cache::run(&mut javac, cache::Jdk::INSTALL)
        },
    )
}
