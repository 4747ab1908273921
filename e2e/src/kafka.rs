//! Apache Kafka: real brokers in KRaft mode, on free ports, from the jars that Maven fetches.

mod listener;
mod properties;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub use self::listener::{Listener, Mechanism, User};
use crate::cache::{self, Jdk};
use crate::certificates::Certificates;
use crate::port;
use crate::process::{Output, Process};
pub use crate::version::Version;
use crate::witness::{self, Witness};

/// What to start.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// The release line.
    pub version: Version,
    /// Combined brokers and controllers: 1, or 3 with a replication factor of 3 and `min.insync.replicas` 2.
    pub nodes: u16,
    /// Listeners beside [`Listener::Plain`], which is always there.
    pub listeners: Vec<Listener>,
    /// Whether access is checked; who comes in by [`Listener::Plain`] may do everything.
    pub authorizer: bool,
    /// Where all listeners but [`Listener::TlsIpv6`] serve: loopback, or the address of this machine that the pods of a
    /// cluster reach ([`crate::kubernetes::Kubernetes::host_ip`]). Certificates are good for it.
    pub address: Ipv4Addr,
    /// Names by which clients reach the brokers beside that, such as that of a Service: certificates are good for them.
    pub names: Vec<String>,
    /// Further lines for every broker's properties; they win over the harness's own.
    pub extra_properties: Vec<(String, String)>,
    /// Whether the brokers have the policies of `e2e/java/RetentionLimit.java`, which refuse a retention of more than 7 days.
    pub limits_retention: bool,
    /// The heap of each node.
    pub heap_mb: u32,
    /// Whether the second compiler of the JVM runs: a slower start, full speed after it.
    pub is_benchmark: bool,
    /// Whether the brokers go on, with their data, when this process ends.
    pub outlives_harness: bool,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            version: Version::V4_3,
            nodes: 1,
            listeners: Vec::new(),
            authorizer: false,
            address: Ipv4Addr::LOCALHOST,
            names: Vec::new(),
            extra_properties: Vec::new(),
            limits_retention: false,
            heap_mb: 384,
            is_benchmark: false,
            outlives_harness: false,
        }
    }
}

impl KafkaOptions {
    /// The class path with the policies of `e2e/java`, where brokers have one.
    fn add_classes(&self, command: &mut Command) -> Result<()> {
        let has_policy = self.extra_properties.iter().any(|(name, _)| name == "create.topic.policy.class.name");
        if self.limits_retention || has_policy {
            let (libs, classes) = (self.version.libs()?, witness::compiled()?);
            // The class path came last.
            command.arg("-cp").arg(format!("{}/*:{}", libs.display(), classes.display()));
        }
        Ok(())
    }

    fn certified_names(&self) -> Vec<String> {
        let address = self.address.to_string();
        self.names.iter().cloned().chain([address]).collect()
    }
}

/// A cluster that tests of one process share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// One node.
    Plain,
    /// One node with every listener and an authorizer.
    Secure,
    /// Three nodes.
    Three,
    /// One node of the older line.
    Older,
    /// One node of the newer line.
    Newer,
}

/// A running cluster; dropping it ends its brokers and removes their data.
#[derive(Debug)]
pub struct Kafka {
    options: KafkaOptions,
    folder: PathBuf,
    cluster_id: String,
    certificates: Certificates,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    id: u16,
    folder: PathBuf,
    ports: BTreeMap<Listener, u16>,
    controller_port: u16,
    running: Mutex<Running>,
}

#[derive(Debug)]
struct Running {
    process: Option<Process>,
    /// How often the node was started: each start has a log of its own.
    starts: u32,
}

/// Long, because a machine that builds something else at the same time starts a JVM in half a minute.
const START_PATIENCE: Duration = Duration::from_secs(120);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const USER_PATIENCE: Duration = Duration::from_secs(30);

impl Kafka {
    /// Starts a cluster and waits until it serves.
    ///
    /// # Errors
    /// When a tool is missing, or a broker does not start; the text holds the broker's own words.
    pub fn start(options: KafkaOptions) -> Result<Self> {
        ensure!(matches!(options.nodes, 1 | 3), "a cluster has 1 or 3 nodes, not {}", options.nodes);
        let mut attempts = 3;
        loop {
            attempts -= 1;
            match Self::start_once(options.clone()) {
                Err(error) if attempts > 0 && format!("{error:#}").contains("Address already in use") => {
                    eprintln!("e2e: a port was taken while a broker started: trying others");
                }
                outcome => return outcome,
            }
        }
    }

    /// The cluster of this kind that the tests of this process share, started on first use.
    ///
    /// # Panics
    /// When it does not start, for every test that asks for it.
    pub fn shared(kind: Shared) -> &'static Self {
        static PLAIN: LazyLock<Kafka> = LazyLock::new(|| start_shared(Shared::Plain));
        static SECURE: LazyLock<Kafka> = LazyLock::new(|| start_shared(Shared::Secure));
        static THREE: LazyLock<Kafka> = LazyLock::new(|| start_shared(Shared::Three));
        static OLDER: LazyLock<Kafka> = LazyLock::new(|| start_shared(Shared::Older));
        static NEWER: LazyLock<Kafka> = LazyLock::new(|| start_shared(Shared::Newer));
        match kind {
            Shared::Plain => &PLAIN,
            Shared::Secure => &SECURE,
            Shared::Three => &THREE,
            Shared::Older => &OLDER,
            Shared::Newer => &NEWER,
        }
    }

    /// The bootstrap servers of a listener: one `host:port` a node.
    ///
    /// # Panics
    /// When the cluster was started without that listener.
    pub fn bootstrap(&self, listener: Listener) -> String {
        let server = |node: &Node| {
            let port = node.ports.get(&listener).unwrap_or_else(|| panic!("no {listener:?} in {:?}", self.options));
            format!("{}:{port}", listener.host(self.options.address))
        };
        self.nodes.iter().map(server).collect::<Vec<_>>().join(",")
    }

    /// The cluster id, as brokers report it.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// The release that its brokers run.
    pub fn version(&self) -> Version {
        self.options.version
    }

    /// The certificates of its listeners and for its clients.
    pub fn certificates(&self) -> &Certificates {
        &self.certificates
    }

    /// The folder that holds everything of this cluster.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The node ids, from 1.
    pub fn node_ids(&self) -> impl Iterator<Item = u16> {
        self.nodes.iter().map(|node| node.id)
    }

    /// The process id of a node, or `None` while it is stopped.
    pub fn process_id(&self, node: u16) -> Option<u32> {
        self.node(node).running().process.as_ref().map(Process::id)
    }

    /// The log of a node's latest start.
    pub fn log_path(&self, node: u16) -> PathBuf {
        let node = self.node(node);
        node.log_path(node.running().starts)
    }

    /// The folder in which a node keeps its partitions, `<topic>-<partition>` each.
    pub fn data_folder(&self, node: u16) -> PathBuf {
        self.node(node).folder.join("data")
    }

    /// A Java client of this cluster that may do everything.
    ///
    /// # Panics
    /// When the witness cannot be compiled or started.
    pub fn witness(&self) -> Witness {
        Witness::connect(self.client_properties(Listener::Plain, None))
    }

    /// What a Java client sets to come in by `listener`: as `user` by the SASL ones (by default the SCRAM-SHA-512 user),
    /// with the client certificate by [`Listener::MutualTls`].
    pub fn client_properties(&self, listener: Listener, user: Option<&User>) -> BTreeMap<String, String> {
        let mut properties = listener::client_properties(listener, user, &self.certificates);
        properties.insert("bootstrap.servers".to_owned(), self.bootstrap(listener));
        properties
    }

    /// Gives a user, new or not, this password for SCRAM-SHA-512, and waits until [`Listener::SaslPlain`], which has to be there, lets it in
    /// by it: a broker answers before all of it has heard.
    ///
    /// # Errors
    /// Kafka's, or that it does not let the user in.
    pub fn add_user(&self, name: &str, password: &str) -> Result<()> {
        self.witness().set_password(name, password)?;
        let deadline = Instant::now() + USER_PATIENCE;
        let mut properties = self.client_properties(Listener::SaslPlain, None);
        let module = Mechanism::ScramSha512.login_module();
        let jaas = format!("{module} required username=\"{name}\" password=\"{password}\";");
        properties.insert("sasl.jaas.config".to_owned(), jaas);
        loop {
            match Witness::connect(properties.clone()).list_groups() {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => {
                    bail!("the broker does not let in {name} by its new password: {error:#}")
                }
                Err(_) => thread::sleep(Duration::from_millis(100)),
            }
        }
    }

    /// Ends a node in order (SIGTERM): it hands over its leaderships first.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn stop_node(&self, node: u16) -> Result<()> {
        match self.node(node).running().process.take() {
            Some(mut process) => process.stop(STOP_PATIENCE).map(drop),
            None => Ok(()),
        }
    }

    /// Ends a node at once (SIGKILL).
    ///
    /// # Errors
    /// When the system refuses.
    pub fn kill_node(&self, node: u16) -> Result<()> {
        match self.node(node).running().process.take() {
            Some(mut process) => process.kill().map(drop),
            None => Ok(()),
        }
    }

    /// Starts a node that was stopped or killed, on its old ports and data, and waits until it serves.
    ///
    /// # Errors
    /// When it runs already, or does not start.
    pub fn start_node(&self, node: u16) -> Result<()> {
        let node = self.node(node);
        let mut running = node.running();
        ensure!(running.process.is_none(), "node {} runs already", node.id);
        node.launch(&mut running, &self.options, &self.folder)?;
        node.wait_until_ready(&mut running)
    }

    /// A command that runs one of Kafka's own tools (such as `org.apache.kafka.tools.TopicCommand`); its arguments are
    /// to be added. With the JVM's full compiler: it is what we are measured against.
    ///
    /// # Errors
    /// When a JDK or the jars are missing.
    pub fn tool_command(&self, class: &str) -> Result<Command> {
        let mut command = self.options.version.java(512, false, "WARN")?;
        command.arg(class);
        Ok(command)
    }

    /// What one of Kafka's own tools prints.
    ///
    /// # Errors
    /// When it fails; the text holds what it printed.
    pub fn tool(&self, class: &str, arguments: &[&str]) -> Result<String> {
        let output =
            self.tool_command(class)?.args(arguments).output().with_context(|| format!("cannot run {class}"))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        if !output.status.success() {
            bail!("{class} {arguments:?} failed: {text}{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(text)
    }

    fn start_once(options: KafkaOptions) -> Result<Self> {
        options.version.libs()?;
        let folder = tempfile::Builder::new().prefix("e2e-kafka-").tempdir().context("no temporary folder")?;
        let folder_path = folder.path().to_owned();
        let certificates = Certificates::create_for(&folder_path.join("certificates"), &options.certified_names())?;
        let listeners: Vec<Listener> = [Listener::Plain].into_iter().chain(options.listeners.iter().copied()).collect();
        let mut nodes = Vec::new();
        for id in 1..=options.nodes {
            let ports = listeners
                .iter()
                .map(|listener| Ok((*listener, port::free_at(options.address)?)))
                .collect::<Result<_>>()?;
            let running = Mutex::new(Running { process: None, starts: 0 });
            let node_folder = folder_path.join(format!("node-{id}"));
            fs::create_dir(&node_folder).with_context(|| format!("cannot create {}", node_folder.display()))?;
            nodes.push(Node { id, folder: node_folder, ports, controller_port: port::free()?, running });
        }
        let cluster_id = random_cluster_id();
        let kafka = Self { options, folder: folder.keep(), cluster_id, certificates, nodes };
        kafka.format()?;
        for node in &kafka.nodes {
            node.launch(&mut node.running(), &kafka.options, &kafka.folder)?;
        }
        for node in &kafka.nodes {
            node.wait_until_ready(&mut node.running())?;
        }
        Ok(kafka)
    }

    /// Writes each node's properties and the first records of its metadata log, the SCRAM users among them.
    fn format(&self) -> Result<()> {
        thread::scope(|scope| {
            let format = |node| move || self.format_node(node);
            let started: Vec<_> = self.nodes.iter().map(|node| scope.spawn(format(node))).collect();
            started.into_iter().try_for_each(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(panic) => std::panic::resume_unwind(panic),
            })
        })
    }

    fn format_node(&self, node: &Node) -> Result<()> {
        let path = node.folder.join("server.properties");
        fs::write(&path, properties::of_node(self, node))
            .with_context(|| format!("cannot write {}", path.display()))?;
        let mut command = self.options.version.java(192, true, "WARN")?;
        self.options.add_classes(&mut command)?;
        command.args(["kafka.tools.StorageTool", "format", "-t", &self.cluster_id, "-c"]).arg(&path);
        if self.options.listeners.iter().any(|listener| listener.is_sasl()) {
            for user in [User::SCRAM_256, User::SCRAM_512] {
                let (mechanism, name, password) = (user.mechanism.name(), user.name, user.password);
                command.arg("--add-scram").arg(format!("{mechanism}=[name={name},password={password}]"));
            }
        }
        cache::run(&mut command, Jdk::INSTALL)
    }

    fn node(&self, id: u16) -> &Node {
        self.nodes.iter().find(|node| node.id == id).unwrap_or_else(|| panic!("there is no node {id}"))
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if self.options.outlives_harness {
            return;
        }
        for node in &self.nodes {
            drop(node.running().process.take());
        }
        // Best effort: what is left of a killed broker's folder harms nobody.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Node {
    fn running(&self) -> MutexGuard<'_, Running> {
        // A test that panicked while it held the lock leaves nothing half done in it.
        self.running.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn log_path(&self, starts: u32) -> PathBuf {
        self.folder.join(format!("broker-{starts}.log"))
    }

    fn launch(&self, running: &mut Running, options: &KafkaOptions, cluster_folder: &Path) -> Result<()> {
        running.starts += 1;
        let path = self.log_path(running.starts);
        let log = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut command = options.version.java(options.heap_mb, !options.is_benchmark, "INFO")?;
        options.add_classes(&mut command)?;
        command.arg("kafka.Kafka").arg(self.folder.join("server.properties"));
        running.process = Some(if options.outlives_harness {
            Process::detached(&command, Output::File(log))?
        } else {
            Process::tethered(&command, Some(cluster_folder), Output::File(log))?
        });
        Ok(())
    }

    fn wait_until_ready(&self, running: &mut Running) -> Result<()> {
        let path = self.log_path(running.starts);
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            let log = fs::read_to_string(&path).unwrap_or_default();
            if log.contains("Kafka Server started") {
                return Ok(());
            }
            let process = running.process.as_mut().context("the node was not launched")?;
            let ended = process.ended()?;
            if ended.is_some() || Instant::now() > deadline {
                let what = ended.map_or("is not ready".to_owned(), |status| format!("ended ({status})"));
                let is_telling = |line: &&str| ["ERROR", "FATAL", "Exception"].iter().any(|word| line.contains(word));
                let lines: Vec<&str> = log.lines().filter(is_telling).take(20).collect();
                running.process = None;
                bail!("broker {} {what}; its log {} says:\n{}", self.id, path.display(), lines.join("\n"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

fn start_shared(kind: Shared) -> Kafka {
    let options = match kind {
        Shared::Plain => KafkaOptions::default(),
        Shared::Secure => {
            KafkaOptions { listeners: Listener::SECURE.to_vec(), authorizer: true, ..KafkaOptions::default() }
        }
        Shared::Three => KafkaOptions { nodes: 3, heap_mb: 256, ..KafkaOptions::default() },
        Shared::Older => KafkaOptions { version: Version::V3_9, ..KafkaOptions::default() },
        Shared::Newer => KafkaOptions { version: Version::V4_4, ..KafkaOptions::default() },
    };
    Kafka::start(options).unwrap_or_else(|error| panic!("cannot start the shared cluster {kind:?}: {error:#}"))
}

/// Kafka writes ids as 22 characters of base64url: 16 bytes, of which the last character carries only two bits.
fn random_cluster_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut id = String::new();
    let mut bits = 0;
    while id.len() < 21 {
        if id.len().is_multiple_of(10) {
            bits = RandomState::new().hash_one(id.len());
        }
        id.push(char::from(ALPHABET[(bits & 63) as usize]));
        bits >>= 6;
    }
    // A leading dash would look like an option to Kafka's tools.
    if id.starts_with('-') {
        id.replace_range(..1, "k");
    }
    id.push('A');
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cluster_ids_have_the_form_that_kafka_takes_and_differ() {
        let id = random_cluster_id();
        assert_eq!(id.len(), 22);
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c)) && !id.starts_with('-'));
        assert_ne!(id, random_cluster_id());
    }
}
