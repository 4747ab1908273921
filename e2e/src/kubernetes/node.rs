//! The node's process: what it is configured with, how it starts, and how one gets into it.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::kubernetes::machine;
use crate::kubernetes::network::Network;
use crate::kubernetes::pki;
use crate::kubernetes::programs::Programs;
use crate::process::{CLEAN_UP, Output, Process};

const PATIENCE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// What is written into `etc/` of every node, with `@NAME@` for what differs.
const CONFIGURATION: [(&str, &str); 5] = [
    ("containerd.toml", include_str!("../../kubernetes/containerd.toml")),
    ("kubelet.yaml", include_str!("../../kubernetes/kubelet.yaml")),
    ("kube-proxy.yaml", include_str!("../../kubernetes/kube-proxy.yaml")),
    ("cni/10-bridge.conflist", include_str!("../../kubernetes/cni.json")),
    ("resolv.conf", "# There is no name server outside of the cluster.\n"),
];
const INIT: &str = include_str!("../../kubernetes/node.sh");
const CLEANING: &str = include_str!("../../kubernetes/clean-up.sh");

/// Writes the folder of a node: configuration, certificates, the scripts that start it and clean up after it.
///
/// # Errors
/// When the folder cannot be written.
pub(super) fn prepare(run: &Path, network: &Network) -> Result<()> {
    for folder in ["etc/cni", "pki"] {
        fs::create_dir_all(run.join(folder)).with_context(|| format!("cannot write to {}", run.display()))?;
    }
    for (name, text) in CONFIGURATION {
        fs::write(run.join("etc").join(name), filled_in(text, network))?;
    }
    fs::write(run.join("node.sh"), INIT)?;
    // It is told by its text whom it is about, because whoever runs it may know nothing but the folder.
    fs::write(run.join(CLEAN_UP), format!("set -- {}\n{CLEANING}", network.name()))?;
    pki::write(run, network)
}

/// A text with the addresses of a cluster.
pub(super) fn filled_in(text: &str, network: &Network) -> String {
    text.replace("@NAME@", &network.name())
        .replace("@NODE_ADDRESS@", &network.node().to_string())
        .replace("@DNS_ADDRESS@", &network.dns().to_string())
        .replace("@POD_NETWORK@", &network.pods())
}

/// Starts the node and lays the wire to it. The process that is returned holds it all: when it is killed, the kernel
/// kills the node's first process, and with it whatever runs in the node's process namespace.
///
/// # Errors
/// When the system refuses.
pub(super) fn launch(run: &Path, network: &Network, programs: &Programs, is_tethered: bool) -> Result<Node> {
    let path = run.join("node.log");
    let log = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--pid", "--net", "--uts", "--ipc", "--fork", "--mount-proc", "--kill-child=SIGKILL"]);
    // Nothing of the harness's own environment gets in, a proxy's address for instance.
    command.args(["--propagation", "private", "env", "-i", "HOME=/run", "LANG=C.UTF-8"]);
    for (name, folder) in
        [("HYPERKUBE", &programs.hyperkube), ("TOOLS", &programs.tools), ("PACKAGES", &programs.packages)]
    {
        command.arg(format!("{name}={}", folder.display()));
    }
    command.arg(format!("RUN={}", run.display())).arg(format!("NAME={}", network.name()));
    command.arg(format!("NODE_ADDRESS={}", network.node())).arg(format!("HOST_ADDRESS={}", network.host()));
    command.arg(format!("SERVICE_NETWORK={}", network.services()));
    command.args(["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "bash"]).arg(run.join("node.sh"));
    let mut process = if is_tethered {
        Process::tethered(&command, Some(run), Output::File(log))?
    } else {
        Process::detached(&command, Output::File(log))?
    };
    let mut equip = || -> Result<u32> {
        // After the start, so that whatever is taken of the machine has somebody who gives it back.
        machine::make_cgroup(&network.name())?;
        let init = wait_for_init(&mut process, &path)?;
        network.connect(init)?;
        // The node waits for this.
        fs::write(run.join("connected"), "").context("cannot write to the node's folder")?;
        Ok(init)
    };
    match equip() {
        Ok(init) => Ok(Node { process: Some(process), init }),
        Err(error) => {
            // One without a tether would go on.
            let _ = process.kill();
            Err(error)
        }
    }
}

/// A node at work.
#[derive(Debug)]
pub(super) struct Node {
    /// The process that ends it all, until it has ended.
    pub(super) process: Option<Process>,
    init: u32,
}

impl Node {
    /// A command that runs in the node's namespaces; the program and its arguments are to be added.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.init.to_string()).args(["--mount", "--pid", "--net", "--uts", "--ipc", "--"]);
        command.args(["env", "PATH=/run/hyperkube:/run/packages/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin"]);
        command.arg(format!("LD_LIBRARY_PATH=/run/packages/usr/lib/{}-linux-gnu", std::env::consts::ARCH));
        command
    }
}

/// The process id of the node's first process, once it has a network of its own.
fn wait_for_init(process: &mut Process, log: &Path) -> Result<u32> {
    let network_of = |id: &str| fs::read_link(format!("/proc/{id}/ns/net")).ok();
    let ours = network_of("self");
    let children = format!("/proc/{0}/task/{0}/children", process.id());
    let deadline = Instant::now() + PATIENCE;
    loop {
        // The tether is a child too, and stays in our own network.
        let list = fs::read_to_string(&children).unwrap_or_default();
        let has_its_own = |child: &&str| network_of(child).is_some_and(|network| Some(network) != ours);
        if let Some(init) = list.split_whitespace().find(has_its_own) {
            return init.parse().context("a process id is a number");
        }
        let ended = process.ended()?;
        if ended.is_some() || Instant::now() > deadline {
            bail!("the node does not start: {}", fs::read_to_string(log).unwrap_or_default().trim());
        }
        thread::sleep(POLL);
    }
}
