//! Starts a broker or a Kubernetes node, says on its output what there is of it, and holds it until the end of its input:
//! the process that tests of the harness kill.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::kubernetes::{Kubernetes, KubernetesOptions};

#[derive(Debug, Parser)]
#[command(about = "Holds a real system until it is killed or its input ends")]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum What {
    /// A broker. Says three lines: its address, its process id, its folder.
    Broker,
    /// A Kubernetes node. Says four lines: its name, its folder, the process ids of the node and of a pod. Needs root.
    Cluster,
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Broker => {
            let kafka = Kafka::start(KafkaOptions::default())?;
            let id = kafka.process_id(1).context("the broker has ended")?;
            say(&[&kafka.bootstrap(Listener::Plain), &id.to_string(), path(kafka.folder())?])?;
            until_the_input_ends()
        }
        What::Cluster => {
            let kubernetes = Kubernetes::start(KubernetesOptions::default())?;
            let node = kubernetes.process_id().context("the node has ended")?;
            let pod = process_of_name_server(&kubernetes.node_name())?;
            say(&[&kubernetes.node_name(), path(kubernetes.folder())?, &node.to_string(), &pod])?;
            until_the_input_ends()
        }
    }
}

/// The cluster's name server is a pod that runs; from outside, its process is one of this machine.
fn process_of_name_server(node_name: &str) -> Result<String> {
    let cgroup = format!("/{node_name}/");
    for entry in Path::new("/proc").read_dir()? {
        let folder = entry?.path();
        // Processes end while we look.
        let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap_or_default();
        if read("cgroup").contains(&cgroup) && read("cmdline").starts_with("/coredns\0") {
            return Ok(folder.file_name().and_then(|id| id.to_str()).context("a process without an id")?.to_owned());
        }
    }
    anyhow::bail!("no process of the name server")
}

fn path(folder: &Path) -> Result<&str> {
    folder.to_str().context("the folder's name is no text")
}

fn say(lines: &[&str]) -> Result<()> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(out.flush()?)
}

/// Whoever started this process has the other end of its input, so it does not outlive them.
fn until_the_input_ends() -> Result<()> {
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}
