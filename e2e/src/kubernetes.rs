//! Kubernetes: a real node whose pods really run, in namespaces of its own, that ends with the process that started it.
//!
//! One node with everything that belongs to it (etcd, API server, controllers, scheduler, kubelet, containerd, kube-proxy,
//! CoreDNS) stands in its own mount, process, network, host name and IPC namespaces. A pair of virtual network devices
//! joins it to the machine: pods reach servers of the machine at [`Kubernetes::host_ip`], and the machine reaches pods at
//! their own addresses. There is no way further: images are loaded, not pulled, and names outside of the cluster do not
//! resolve. NetworkPolicies are taken and not enforced.

mod component;
mod machine;
mod network;
mod node;
mod pki;
mod programs;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

pub use self::component::Component;
use self::network::Network;
use self::node::Node;
use self::programs::Programs;
pub use self::programs::{VERSION, schemas};
use crate::image::Image;
use crate::kubernetes::machine::UTIL_LINUX;
use crate::process::{Process, remove_folder};

/// The image with busybox that every node has: `sh`, `wget`, `nslookup` and what else a test asks a pod to do.
pub const TOOLS_IMAGE: &str = "localhost/tools:e2e";

/// How long a test waits for something that has to happen. Long, since machines that build are slow; nothing that passes
/// takes as long.
const PATIENCE: Duration = Duration::from_secs(180);
const POLL: Duration = Duration::from_millis(250);
const ADDONS: &str = include_str!("../kubernetes/addons.yaml");

/// What to start.
#[derive(Debug, Clone, Copy, Default)]
pub struct KubernetesOptions {
    /// Whether the node goes on when this process ends.
    pub outlives_harness: bool,
}

/// A running cluster of one node; dropping it ends every process in it and leaves nothing behind.
#[derive(Debug)]
pub struct Kubernetes {
    /// Whether it goes on when it is dropped: only one that has come up.
    is_left: bool,
    folder: PathBuf,
    network: Network,
    programs: Programs,
    node: Mutex<Option<Node>>,
}

impl Kubernetes {
    /// Starts a node and waits until it is ready and its pods can look up names.
    ///
    /// # Errors
    /// When the machine lacks something (the text says what), when the programs cannot be built, or when the node does
    /// not come up: the text holds what its programs say.
    pub fn start(options: KubernetesOptions) -> Result<Self> {
        machine::check()?;
        let programs = Programs::get()?;
        let network = Network::take()?;
        let folder =
            tempfile::Builder::new().prefix("e2e-kubernetes-").tempdir().context("no temporary folder")?.keep();
        let mut kubernetes = Self { is_left: false, folder, network, programs, node: Mutex::new(None) };
        node::prepare(&kubernetes.folder, &kubernetes.network)?;
        let node =
            node::launch(&kubernetes.folder, &kubernetes.network, &kubernetes.programs, !options.outlives_harness)?;
        *kubernetes.node() = Some(node);
        kubernetes.wait_until_served()?;
        kubernetes.apply(&node::filled_in(ADDONS, &kubernetes.network))?;
        kubernetes.wait_until("the node is ready, and its name server", || {
            let ready = |conditions: &Value, kind: &str| {
                let conditions = conditions.as_array().map(Vec::as_slice).unwrap_or_default();
                conditions.iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
            };
            let node = kubernetes.get(&["node", &kubernetes.network.name()])?;
            let dns = kubernetes.get(&["deployment", "coredns", "--namespace", "kube-system"])?;
            // Pods are refused in a namespace that has no service account yet.
            let account = kubernetes.kubectl(&["get", "serviceaccount", "default", "--namespace", "default"]);
            Ok(account.is_ok()
                && ready(&node["status"]["conditions"], "Ready")
                && ready(&dns["status"]["conditions"], "Available"))
        })?;
        kubernetes.is_left = options.outlives_harness;
        Ok(kubernetes)
    }

    /// The cluster that the tests of this process share, started on first use.
    ///
    /// # Panics
    /// When it does not start, for every test that asks for it.
    pub fn shared() -> &'static Self {
        static SHARED: LazyLock<Kubernetes> = LazyLock::new(|| {
            Kubernetes::start(KubernetesOptions::default())
                .unwrap_or_else(|error| panic!("cannot start Kubernetes: {error:#}"))
        });
        &SHARED
    }

    /// The folder that holds everything of this cluster.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The kubeconfig of somebody who may do everything.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("etc/admin.kubeconfig")
    }

    /// The address at which the node and its pods reach servers of this machine.
    pub fn host_ip(&self) -> Ipv4Addr {
        self.network.host()
    }

    /// The id of the process that ends the cluster when it is killed, or `None` when it has ended.
    pub fn process_id(&self) -> Option<u32> {
        self.node().as_ref()?.process.as_ref().map(Process::id)
    }

    /// The name of the node, which is also that of its network interface and of its cgroups on this machine.
    pub fn node_name(&self) -> String {
        self.network.name()
    }

    /// The folders with `kubectl`, and with `helm` and `kubeconform`, for the path of a person.
    pub fn program_folders(&self) -> [&Path; 2] {
        [&self.programs.hyperkube, &self.programs.tools]
    }

    /// A `kubectl` command line for this cluster, for what is not offered here.
    pub fn kubectl_command(&self, arguments: &[&str]) -> Command {
        self.client(&self.programs.kubectl(), arguments)
    }

    /// What `kubectl` with these arguments prints.
    ///
    /// # Errors
    /// When it fails; the text holds what it said.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        output_of(&mut self.kubectl_command(arguments), None)
    }

    /// What `kubectl` with these arguments prints that reads `input`.
    ///
    /// # Errors
    /// When it fails; the text holds what it said.
    pub fn kubectl_with_input(&self, arguments: &[&str], input: &str) -> Result<String> {
        output_of(&mut self.kubectl_command(arguments), Some(input))
    }

    /// Applies these manifests on the server's side, and takes over fields that somebody else has set.
    ///
    /// # Errors
    /// When the server refuses one; the text holds what it said.
    pub fn apply(&self, manifests: &str) -> Result<()> {
        self.kubectl_with_input(&["apply", "--server-side", "--force-conflicts", "--filename", "-"], manifests)
            .map(drop)
    }

    /// What `kubectl get --output json` gives with these arguments.
    ///
    /// # Errors
    /// When it fails, as it does for a name that there is not.
    pub fn get(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.kubectl(&[&["get", "--output", "json"], arguments].concat())?;
        serde_json::from_str(&text).context("kubectl printed no JSON")
    }

    /// Makes a namespace and gives its name, which begins with `stem`; tests that share a cluster share nothing else.
    /// Its pods have to keep to the restricted Pod Security Standard when `is_restricted`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make_namespace(&self, stem: &str, is_restricted: bool) -> Result<String> {
        let name = crate::unique(stem);
        let labels = if is_restricted { "pod-security.kubernetes.io/enforce: restricted" } else { "" };
        self.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{{labels}}}}}\n"))?;
        // Pods are refused until there is an account that they can have.
        self.wait_until("a new namespace has its service account", || {
            Ok(self.kubectl(&["get", "serviceaccount", "default", "--namespace", &name]).is_ok())
        })?;
        Ok(name)
    }

    /// What `helm` with these arguments prints.
    ///
    /// # Errors
    /// When it fails; the text holds what it said.
    pub fn helm(&self, arguments: &[&str]) -> Result<String> {
        output_of(&mut self.client(&self.programs.helm(), arguments), None)
    }

    /// What `kubeconform`, strict and with the schemas of this version, says about these manifests.
    ///
    /// # Errors
    /// When one is not as its schema says; the text names it.
    pub fn kubeconform(&self, arguments: &[&str], manifests: &str) -> Result<String> {
        let location = format!("{}/{{{{ .ResourceKind }}}}{{{{ .KindSuffix }}}}.json", schemas()?.display());
        let mut command = Command::new(self.programs.kubeconform());
        command.args(["-strict", "-summary", "-schema-location", &location]).args(arguments).arg("-");
        output_of(&mut command, Some(manifests))
    }

    /// Makes an image known to the node, under its own name.
    ///
    /// # Errors
    /// When a file of it cannot be read.
    pub fn load(&self, image: &Image) -> Result<()> {
        let archive = tempfile::NamedTempFile::new().context("no temporary file")?;
        image.write(archive.path())?;
        self.load_image(archive.path())
    }

    /// Makes the image in this OCI archive known to the node, under the name that it has inside.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load_image(&self, archive: &Path) -> Result<()> {
        let file = File::open(archive).with_context(|| format!("cannot read {}", archive.display()))?;
        let mut import = self.node_command();
        // The node does not see the files of this machine's temporary folders.
        import.args(["ctr", "--namespace", "k8s.io", "images", "import", "-"]).stdin(file);
        let output = import.output().with_context(|| format!("cannot run nsenter: {UTIL_LINUX}"))?;
        if !output.status.success() {
            bail!("cannot load {}: {}", archive.display(), String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(())
    }

    /// Makes an image unknown to the node; containers that run it go on.
    ///
    /// # Errors
    /// When there is none of this name.
    pub fn unload(&self, name: &str) -> Result<()> {
        let mut remove = self.node_command();
        remove.args(["ctr", "--namespace", "k8s.io", "images", "remove", "--sync", name]).stdin(Stdio::null());
        let output = remove.output().with_context(|| format!("cannot run nsenter: {UTIL_LINUX}"))?;
        // Who asks for an image that there is not is warned and told of success.
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() || said.contains("image not found") {
            bail!("cannot remove the image {name}: {}", said.trim());
        }
        Ok(())
    }

    /// One of the node's programs, such as `kube-apiserver`.
    ///
    /// # Panics
    /// When a node has none of this name.
    pub fn component(&self, name: &str) -> Component<'_> {
        Component::new(self, name)
    }

    /// What the containers of this object (`pod/NAME`, `job/NAME`) have printed.
    ///
    /// # Errors
    /// When there is no such object, or it has no container that has started.
    pub fn logs(&self, namespace: &str, of: &str) -> Result<String> {
        self.kubectl(&["logs", "--namespace", namespace, of, "--all-containers", "--tail=-1"])
    }

    /// Waits until something is so.
    ///
    /// # Errors
    /// When it is not after three minutes, or the node has ended: with the last error, and what the cluster looks like.
    pub fn wait_until(&self, what: &str, mut is_so: impl FnMut() -> Result<bool>) -> Result<()> {
        self.wait_for(what, || Ok(is_so()?.then_some(())))
    }

    /// Waits until there is something.
    ///
    /// # Errors
    /// As [`Kubernetes::wait_until`].
    pub fn wait_for<T>(&self, what: &str, mut find: impl FnMut() -> Result<Option<T>>) -> Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let last = match find() {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => None,
                Err(error) => Some(error),
            };
            let is_running = self.is_running();
            if !is_running || Instant::now() > deadline {
                let why = if is_running { "waited in vain" } else { "the node has ended before this" };
                let last = last.map_or(String::new(), |error| format!("; at last: {error:#}"));
                bail!("{why}: {what}{last}\n{}", self.describe());
            }
            thread::sleep(POLL);
        }
    }

    /// Waits until this Job has completed, and gives what its pods have printed.
    ///
    /// # Errors
    /// When it fails, or does not end; the text holds what its pods have printed.
    pub fn wait_for_job(&self, namespace: &str, name: &str) -> Result<String> {
        let end = self.wait_for(&format!("the Job {namespace}/{name} ends"), || {
            let job = self.get(&["job", name, "--namespace", namespace])?;
            let conditions = job["status"]["conditions"].as_array().cloned().unwrap_or_default();
            let is_end = |condition: &&Value| {
                condition["status"] == "True" && (condition["type"] == "Complete" || condition["type"] == "Failed")
            };
            Ok(conditions.iter().find(is_end).cloned())
        })?;
        let log = self.logs(namespace, &format!("job/{name}"));
        if end["type"] == "Failed" {
            let said = log.unwrap_or_else(|error| format!("{error:#}"));
            bail!(
                "the Job {namespace}/{name} failed ({}, {}): {said}\n{}",
                end["reason"],
                end["message"],
                self.describe()
            );
        }
        log
    }

    /// What the cluster looks like: pods and events, or what the node's programs say when there is no API server.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        let pods = self.kubectl(&["get", "pods", "--all-namespaces", "--output", "wide"]);
        let events = self.kubectl(&["get", "events", "--all-namespaces", "--sort-by=.metadata.creationTimestamp"]);
        for outcome in [pods, events] {
            match outcome {
                Ok(said) => text += &format!("{}\n", last_lines(&said, 40)),
                Err(error) => text += &format!("{error:#}\n"),
            }
        }
        let names = fs::read_dir(self.folder.join("log")).into_iter().flatten().flatten();
        let mut logs: Vec<PathBuf> = names.map(|entry| entry.path()).chain([self.folder.join("node.log")]).collect();
        logs.sort();
        for log in logs {
            let said = fs::read(&log).unwrap_or_default();
            let said = String::from_utf8_lossy(&said);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "--- {}\n{}", log.display(), last_lines(&said, 4));
        }
        text
    }

    /// Whether the node has not ended.
    pub(self) fn is_running(&self) -> bool {
        match self.node().as_mut().and_then(|node| node.process.as_mut()) {
            Some(process) => process.ended().is_ok_and(|ended| ended.is_none()),
            None => false,
        }
    }

    /// A command in the node's namespaces; the program is to be added.
    ///
    /// # Panics
    /// When the node was not started.
    fn node_command(&self) -> Command {
        self.node()
            .as_ref()
            .map(Node::command)
            .unwrap_or_else(|| panic!("the node of {:?} was not started", self.folder))
    }

    fn wait_until_served(&self) -> Result<()> {
        self.wait_until("the API server serves", || Ok(self.kubectl(&["get", "--raw", "/readyz"]).is_ok()))
    }

    fn client(&self, program: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env("KUBECONFIG", self.kubeconfig()).env("HOME", &self.folder);
        for (name, folder) in [("KUBECACHEDIR", "cache"), ("HELM_CACHE_HOME", "helm/cache")] {
            command.env(name, self.folder.join(folder));
        }
        command.env("HELM_CONFIG_HOME", self.folder.join("helm/config"));
        command.env("HELM_DATA_HOME", self.folder.join("helm/data"));
        command
    }

    fn node(&self) -> MutexGuard<'_, Option<Node>> {
        self.node.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        if self.is_left {
            return;
        }
        if let Some(mut process) = self.node().take().and_then(|mut node| node.process.take()) {
            // A node that ended by itself needs no end.
            let _ = process.kill();
        }
        if let Err(error) = remove_folder(&self.folder) {
            eprintln!("e2e: something of a cluster is left: {error:#}");
        }
    }
}

fn output_of(command: &mut Command, input: Option<&str>) -> Result<String> {
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {:?}", command.get_program()))?;
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        if let (Some(mut stdin), Some(input)) = (stdin, input) {
            // A program that ends before it has read everything says why by itself.
            scope.spawn(move || stdin.write_all(input.as_bytes()));
        }
        child.wait_with_output().context("cannot wait for a program")
    })?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let name = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy();
        let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{name} {} failed: {}{}", arguments.join(" "), said, errors.trim());
    }
    Ok(said)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
