//! What a machine must have, so that a node can stand on it.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

/// How to get `ip`.
pub(super) const IPROUTE2: &str = "apt-get install iproute2";
/// How to get `unshare` and `nsenter`.
pub(super) const UTIL_LINUX: &str = "apt-get install util-linux";

/// The hierarchies of cgroup version 1 in which the kubelet and runc put pods.
const HIERARCHIES: [&str; 9] = ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids", "systemd"];
const CGROUPS: &str = "/sys/fs/cgroup";

/// Says the first thing that is missing.
///
/// # Errors
/// When something is missing; the text says what to do.
pub(super) fn check() -> Result<()> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    ensure!(is_root(&status), "a Kubernetes node needs namespaces, mounts and cgroups: run this as root");
    for (program, install) in [("ip", IPROUTE2), ("unshare", UTIL_LINUX), ("nsenter", UTIL_LINUX)] {
        ensure!(is_installed(program), "a Kubernetes node needs {program:?}, which is not installed: {install}");
    }
    let file_systems = fs::read_to_string("/proc/filesystems").context("cannot read /proc/filesystems")?;
    let has_overlay = file_systems.split_whitespace().any(|word| word == "overlay");
    ensure!(has_overlay, "a Kubernetes node needs overlayfs, which this kernel does not offer: modprobe overlay");
    for hierarchy in HIERARCHIES {
        if !Path::new(CGROUPS).join(hierarchy).is_dir() {
            bail!(
                "there is no cgroup hierarchy {CGROUPS}/{hierarchy}: this harness's Kubernetes node was made for machines \
                 with cgroup version 1, and knows no other"
            );
        }
    }
    Ok(())
}

/// Makes the cgroup in which all pods of a node stand.
///
/// # Errors
/// When the system refuses.
pub(super) fn make_cgroup(name: &str) -> Result<()> {
    let make = |hierarchy: &str| -> Result<()> {
        let parent = Path::new(CGROUPS).join(hierarchy);
        let folder = parent.join(name);
        fs::create_dir_all(&folder)?;
        if hierarchy == "cpuset" {
            // A new one has neither processors nor memory.
            for file in ["cpuset.cpus", "cpuset.mems"] {
                fs::write(folder.join(file), fs::read(parent.join(file))?)?;
            }
        }
        Ok(())
    };
    HIERARCHIES.iter().try_for_each(|hierarchy| {
        make(hierarchy).with_context(|| format!("cannot make the cgroup {CGROUPS}/{hierarchy}/{name}"))
    })
}

/// Whether the effective user in a `/proc/PID/status` is root.
fn is_root(status: &str) -> bool {
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    ids.and_then(|ids| ids.split_whitespace().nth(1)) == Some("0")
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_effective_user_decides() {
        assert!(is_root("Name:\tx\nUid:\t1000\t0\t0\t0\n"));
        assert!(!is_root("Name:\tx\nUid:\t0\t1000\t0\t0\n"));
    }
}
