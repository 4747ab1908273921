//! One program of a running cluster: outages, and what it has logged.

use std::fs;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::cache;
use crate::kubernetes::Kubernetes;
use crate::kubernetes::machine::UTIL_LINUX;

const PATIENCE: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
const NAMES: [&str; 7] =
    ["containerd", "etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubelet"];

/// A component, such as `kube-apiserver`.
#[derive(Debug)]
pub struct Component<'a> {
    kubernetes: &'a Kubernetes,
    name: String,
}

impl<'a> Component<'a> {
    /// The component of this name.
    ///
    /// # Panics
    /// When a node has none of this name.
    pub(super) fn new(kubernetes: &'a Kubernetes, name: &str) -> Self {
        assert!(NAMES.contains(&name), "a node has {NAMES:?}, and no {name:?}");
        Self { kubernetes, name: name.to_owned() }
    }

    /// Ends it at once (SIGKILL), and leaves it ended until [`Component::start`]; then it is gone when this returns.
    ///
    /// # Errors
    /// When the system refuses, or it does not end.
    pub fn stop(&self) -> Result<()> {
        fs::create_dir_all(self.path("stop").parent().context("a file stands in a folder")?)?;
        fs::write(self.path("stop"), "").with_context(|| format!("cannot stop {}", self.name))?;
        self.poll("end", || {
            if self.path("stopped").exists() {
                return Ok(true);
            }
            self.kill()?;
            Ok(false)
        })
    }

    /// Lets it run again, and waits until it does; the API server, until it serves.
    ///
    /// # Errors
    /// When it does not.
    pub fn start(&self) -> Result<()> {
        match fs::remove_file(self.path("stop")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("cannot start {}", self.name));
            }
            _ => {}
        }
        self.poll("start", || Ok(!self.path("stopped").exists() && self.process_id().is_some()))?;
        if self.name == "kube-apiserver" {
            self.kubernetes.wait_until_served()?;
        }
        Ok(())
    }

    /// Ends it at once and waits until it runs again.
    ///
    /// # Errors
    /// As [`Component::stop`] and [`Component::start`].
    pub fn restart(&self) -> Result<()> {
        self.stop()?;
        self.start()
    }

    /// All that it has logged, over all its starts; empty when it has not said anything.
    pub fn log(&self) -> String {
        fs::read(self.kubernetes.folder().join("log").join(format!("{}.log", self.name)))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// The process id inside the node.
    fn process_id(&self) -> Option<u32> {
        fs::read_to_string(self.path("pid")).ok()?.trim().parse().ok()
    }

    fn kill(&self) -> Result<()> {
        let Some(id) = self.process_id() else { return Ok(()) };
        let mut kill = self.kubernetes.node_command();
        // It may have ended since.
        kill.args(["sh", "-c", &format!("kill -KILL {id} 2>/dev/null; true")]);
        cache::run(&mut kill, UTIL_LINUX)
    }

    fn poll(&self, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !is_so()? {
            if Instant::now() > deadline {
                let log = self.log();
                let lines: Vec<&str> = log.lines().collect();
                bail!("{} does not {what}: {}", self.name, lines[lines.len().saturating_sub(20)..].join("\n"));
            }
            thread::sleep(POLL);
        }
        ensure!(self.kubernetes.is_running(), "the node has ended");
        Ok(())
    }

    fn path(&self, kind: &str) -> PathBuf {
        self.kubernetes.folder().join(kind).join(&self.name)
    }
}
