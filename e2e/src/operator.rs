//! The operator in a cluster: the project's own image and its own chart, as a user installs them.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::cli;
use crate::image::Image;
use crate::kubernetes::Kubernetes;

/// The image's name without its tag.
pub const REPOSITORY: &str = "localhost/strimzi-backup-operator";
/// The tag.
pub const TAG: &str = "e2e";
/// The name of the release, and of what the chart makes.
pub const RELEASE: &str = "strimzi-backup-operator";

/// An operator that helm has installed; dropping it leaves it to the cluster.
#[derive(Debug)]
pub struct Operator<'a> {
    kubernetes: &'a Kubernetes,
    namespace: String,
}

/// Puts the project's image into the cluster under this tag: both programs, from the binaries that cargo makes.
///
/// # Errors
/// When they do not build, or the cluster does not take the image.
pub fn load_image(kubernetes: &Kubernetes, tag: &str) -> Result<()> {
    let operator = cli::build("strimzi-backup-operator")?;
    let programs = [("strimzi-backup-operator", operator.as_path()), ("kafka-backup", cli::binary()?.as_path())];
    kubernetes.load(&Image::of_project(&format!("{REPOSITORY}:{tag}"), &programs)?)
}

/// The chart of the project.
pub fn chart() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../helm"))
}

impl<'a> Operator<'a> {
    /// Loads the image, installs the chart into a namespace that it makes, and waits until the operator is ready. `values` are set beside
    /// those that name the image, as `--set` takes them.
    ///
    /// # Errors
    /// When helm refuses something, or the operator does not become ready; the text holds its log.
    pub fn install(kubernetes: &'a Kubernetes, namespace: &str, values: &[&str]) -> Result<Self> {
        load_image(kubernetes, TAG)?;
        let operator = Self { kubernetes, namespace: namespace.to_owned() };
        operator.helm(&["install", "--create-namespace"], values)?;
        Ok(operator)
    }

    /// Gives the release these values in place of those that it has.
    ///
    /// # Errors
    /// As [`Operator::install`].
    pub fn upgrade(&self, values: &[&str]) -> Result<()> {
        self.helm(&["upgrade"], values)
    }

    fn helm(&self, verb: &[&str], values: &[&str]) -> Result<()> {
        let chart = chart().to_str().context("the chart's path is text")?;
        let repository = format!("image.repository={REPOSITORY}");
        let tag = format!("image.tag={TAG}");
        let mut arguments = [verb, &[RELEASE, chart, "--namespace", &self.namespace]].concat();
        for value in [repository.as_str(), &tag, "image.pullPolicy=Never"].iter().chain(values) {
            arguments.extend(["--set", value]);
        }
        self.kubernetes.helm(&arguments)?;
        self.wait_until_ready()
    }

    /// Waits until all its pods are ready and none of an earlier configuration is left.
    ///
    /// # Errors
    /// When they do not become so in time; the text holds the operator's log.
    pub fn wait_until_ready(&self) -> Result<()> {
        let waited = self.kubernetes.kubectl(&[
            "rollout",
            "status",
            &format!("deployment/{RELEASE}"),
            "--namespace",
            &self.namespace,
            "--timeout=120s",
        ]);
        match waited {
            Ok(_) => Ok(()),
            Err(error) => bail!("the operator is not ready: {error:#}\n{}\n{}", self.log(), self.kubernetes.describe()),
        }
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let log = self.kubernetes.kubectl(&[
            "logs",
            &format!("deployment/{RELEASE}"),
            "--namespace",
            &self.namespace,
            "--tail=200",
        ]);
        log.unwrap_or_else(|error| format!("no log: {error:#}"))
    }

    /// What it tells Prometheus, as OpenMetrics text, once it answers.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub fn metrics(&self) -> Result<String> {
        self.kubernetes.wait_for("the operator tells its metrics", || Ok(self.scrape().ok()))
    }

    fn scrape(&self) -> Result<String> {
        let pods = self.kubernetes.get(&["pods", "--namespace", &self.namespace])?;
        let mut pods = pods["items"].as_array().into_iter().flatten();
        let pod = pods.find(|pod| pod["metadata"]["deletionTimestamp"].is_null()).context("the operator has no pod")?;
        let name = pod["metadata"]["name"].as_str().context("an object has a name")?;
        let path = format!("/api/v1/namespaces/{}/pods/{name}:9090/proxy/metrics", self.namespace);
        self.kubernetes.kubectl(&["get", "--raw", &path])
    }

    /// Kills its pods with SIGKILL; the deployment starts others.
    ///
    /// # Errors
    /// When the API server refuses it.
    pub fn kill(&self) -> Result<()> {
        self.kubernetes.kubectl(&[
            "delete",
            "pods",
            "--namespace",
            &self.namespace,
            "--selector",
            &format!("app.kubernetes.io/instance={RELEASE}"),
            "--grace-period=0",
            "--force",
        ])?;
        Ok(())
    }

    /// The namespace that it runs in.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }
}

/// A resource of the operator, as a test looks at it.
#[derive(Debug, Clone, Copy)]
pub struct Applied<'a> {
    /// The cluster.
    pub kubernetes: &'a Kubernetes,
    /// `plural.group`, since both groups have kinds of the same names.
    pub kind: &'a str,
    /// The namespace.
    pub namespace: &'a str,
    /// The name.
    pub name: &'a str,
}

impl Applied<'_> {
    /// The resource as it is.
    ///
    /// # Errors
    /// When it is not there.
    pub fn get(&self) -> Result<Value> {
        self.kubernetes.get(&[self.kind, self.name, "--namespace", self.namespace])
    }

    /// Waits until the resource is as `is_so` wants it, and gives it back.
    ///
    /// # Errors
    /// When it does not become so in time; the text holds the resource and what the cluster looked like.
    pub fn wait(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let waited = self.kubernetes.wait_for(&format!("{} {}: {what}", self.kind, self.name), || {
            last = self.get()?;
            Ok(is_so(&last).then(|| last.clone()))
        });
        waited.with_context(|| {
            format!(
                "{} {} is {}",
                self.kind,
                self.name,
                serde_json::to_string_pretty(&last["status"]).unwrap_or_default()
            )
        })
    }

    /// Waits until the condition of this type is true for this reason, and gives back its message.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for_condition(&self, type_: &str, status: &str, reason: &str) -> Result<String> {
        let found = self.wait(&format!("{type_} is {status} for {reason}"), |resource| {
            condition(resource, type_)
                .is_some_and(|condition| condition["status"] == status && condition["reason"] == reason)
        })?;
        Ok(condition(&found, type_).and_then(|condition| condition["message"].as_str()).unwrap_or_default().to_owned())
    }
}

/// The condition of this type.
pub fn condition<'a>(resource: &'a Value, type_: &str) -> Option<&'a Value> {
    resource["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
}

/// How often a loop that looks for something that must not happen looks.
pub const LOOK_EVERY: Duration = Duration::from_millis(500);
