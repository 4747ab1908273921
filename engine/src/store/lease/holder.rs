//! Who holds a lease, and whether that process can be shown to be dead.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// The process that takes a lease, as it is written down for others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Holder {
    /// What it does: a backup id, say. A process started again for the same run has the same name.
    pub run: String,
    /// Drawn anew for every attempt, so that each knows its own record.
    pub id: uuid::Uuid,
    /// Name of the machine or pod.
    pub host: String,
    /// Process id inside `pid_namespace`.
    pub pid: u32,
    /// The boot of the kernel that the process runs on; pods of one node share it.
    pub boot_id: Option<String>,
    /// The namespace in which `pid` means something; no two containers at one time share it, unless told to.
    pub pid_namespace: Option<String>,
    /// When the process started, in clock ticks since the boot: tells it from a later one with the same id.
    pub started_ticks: Option<u64>,
}

/// Whether the holder of a lease still runs, as far as it can be told from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs, on this machine.
    Alive,
    /// It ran on this machine, in this very namespace, and is gone.
    Dead,
    /// It runs or ran where we cannot look.
    Unknown,
}

impl Holder {
    /// This process, at work on `run`.
    pub fn current(run: &str) -> Self {
        let read = |path: &str| fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
        let pid = std::process::id();
        Self {
            run: run.to_owned(),
            id: uuid::Uuid::new_v4(),
            host: read("/proc/sys/kernel/hostname").unwrap_or_else(|| "unknown".to_owned()),
            pid,
            boot_id: read("/proc/sys/kernel/random/boot_id"),
            pid_namespace: fs::read_link("/proc/self/ns/pid").ok().map(|path| path.to_string_lossy().into_owned()),
            started_ticks: match Process::look(pid) {
                Process::Runs { started_ticks } => Some(started_ticks),
                Process::Gone | Process::Hidden => None,
            },
        }
    }

    /// Looks whether this holder still runs.
    pub fn liveness(&self) -> Liveness {
        self.liveness_seen_by(&Self::current(""), Process::look)
    }

    fn liveness_seen_by(&self, here: &Self, look: impl FnOnce(u32) -> Process) -> Liveness {
        let is_same = |theirs: &Option<String>, ours: &Option<String>| theirs.is_some() && theirs == ours;
        if !is_same(&self.boot_id, &here.boot_id) || !is_same(&self.pid_namespace, &here.pid_namespace) {
            return Liveness::Unknown;
        }
        match (look(self.pid), self.started_ticks) {
            (Process::Gone, _) => Liveness::Dead,
            (Process::Runs { started_ticks }, Some(started)) if started_ticks == started => Liveness::Alive,
            (Process::Runs { .. }, Some(_)) => Liveness::Dead,
            (Process::Runs { .. }, None) | (Process::Hidden, _) => Liveness::Unknown,
        }
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} on {} (process {})", self.run, self.host, self.pid)
    }
}

/// What `/proc` says about a process id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Runs { started_ticks: u64 },
    Gone,
    Hidden,
}

impl Process {
    fn look(pid: u32) -> Self {
        match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => Self::parse(&stat),
            // With the mount option hidepid, the processes of others look as if they were not there; the first
            // process, which always is, tells.
            Err(error) if error.kind() == io::ErrorKind::NotFound && Path::new("/proc/1/stat").exists() => Self::Gone,
            Err(_) => Self::Hidden,
        }
    }

    /// Reads proc_pid_stat(5): the name in parentheses, which may hold anything, then the state as field 3 and the
    /// start time as field 22.
    fn parse(stat: &str) -> Self {
        let Some((_, fields)) = stat.rsplit_once(')') else {
            return Self::Hidden;
        };
        let mut fields = fields.split_ascii_whitespace();
        let state = fields.next();
        match (state, fields.nth(18).and_then(|ticks| ticks.parse().ok())) {
            // A zombie has ended; only its parent has not taken note.
            (Some("Z" | "X" | "x"), _) => Self::Gone,
            (Some(_), Some(started_ticks)) => Self::Runs { started_ticks },
            _ => Self::Hidden,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_name_with_parentheses_and_spaces() {
        let fields = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20";
        assert_eq!(Process::parse(&format!("7 (a) b (c) {fields}")), Process::Runs { started_ticks: 4242 });
        assert_eq!(Process::parse("7 (a) Z 1"), Process::Gone);
        assert_eq!(Process::parse("7 (a) S 1"), Process::Hidden);
        assert_eq!(Process::parse(""), Process::Hidden);
    }

    #[test]
    fn this_process_is_alive() {
        assert_eq!(Holder::current("run").liveness(), Liveness::Alive);
    }

    #[test]
    fn a_process_that_ended_is_dead() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let holder = Holder { pid: child.id(), started_ticks: Some(1), ..Holder::current("run") };
        child.wait().unwrap();
        assert_eq!(holder.liveness(), Liveness::Dead);
    }

    #[test]
    fn a_process_id_that_was_given_again_is_dead() {
        let me = Holder::current("run");
        let before = Holder { started_ticks: me.started_ticks.map(|ticks| ticks - 1), ..me };
        assert_eq!(before.liveness(), Liveness::Dead);
    }

    #[test]
    fn elsewhere_nothing_is_known() {
        let me = Holder::current("run");
        for holder in [
            Holder { boot_id: Some("other".to_owned()), ..me.clone() },
            Holder { boot_id: None, ..me.clone() },
            Holder { pid_namespace: Some("pid:[1]".to_owned()), ..me.clone() },
            Holder { pid_namespace: None, ..me.clone() },
        ] {
            assert_eq!(holder.liveness_seen_by(&me, |_| Process::Gone), Liveness::Unknown);
        }
        assert_eq!(me.liveness_seen_by(&me, |_| Process::Hidden), Liveness::Unknown);
    }
}
