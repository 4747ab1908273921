//! Strimzi's own custom resource definitions, made from the jars that it publishes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::cache;
use crate::kubernetes::Kubernetes;

/// The kinds that are defined, by their class in Strimzi's API; the last two are older than the rest, and were served in
/// versions that the rest never had.
const KINDS: [(&str, &str); 4] = [
    ("kafka.Kafka", "kafkas"),
    ("nodepool.KafkaNodePool", "kafkanodepools"),
    ("topic.KafkaTopic", "kafkatopics"),
    ("user.KafkaUser", "kafkausers"),
];
const POM: &str = "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">
  <modelVersion>4.0.0</modelVersion>
  <groupId>e2e</groupId><artifactId>strimzi</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>io.strimzi</groupId><artifactId>api</artifactId><version>@VERSION@</version></dependency>
    <dependency><groupId>io.strimzi</groupId><artifactId>crd-generator</artifactId><version>@VERSION@</version></dependency>
  </dependencies>
</project>
";
const JAVA_RELEASE: u32 = 21;

/// A release of Strimzi.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Release {
    /// The last but few that served `v1beta2` alone.
    V0_45,
    /// One that serves `v1` alone.
    V1_2,
}

impl Release {
    /// The number under which Strimzi publishes it.
    pub const fn number(self) -> &'static str {
        match self {
            Self::V0_45 => "0.45.0",
            Self::V1_2 => "1.2.0",
        }
    }

    /// The group and version of its resources.
    pub const fn api_version(self) -> &'static str {
        match self {
            Self::V0_45 => "kafka.strimzi.io/v1beta2",
            Self::V1_2 => "kafka.strimzi.io/v1",
        }
    }

    /// The versions of a kind that it serves, as its generator takes them, and the one that is stored.
    fn versions(self, kind: &str) -> (&'static str, &'static str) {
        let is_old = kind.starts_with("topic.") || kind.starts_with("user.");
        match self {
            Self::V0_45 if is_old => ("v1alpha1,v1beta1,v1beta2", "v1beta2"),
            Self::V0_45 => ("v1beta2", "v1beta2"),
            Self::V1_2 => ("v1", "v1"),
        }
    }

    /// The folder with its definitions, a YAML file for each kind. Made on first use, by Strimzi's own generator.
    ///
    /// # Errors
    /// When Maven or a JDK 21 is missing, or the jars cannot be fetched.
    pub fn definitions(self) -> Result<PathBuf> {
        let number = self.number();
        let name = format!("strimzi/{number}");
        let waiting_for = format!("Maven to fetch Strimzi {number}, and its generator (half a minute)");
        cache::entry(&name, &waiting_for, |folder| {
            let java = java()?;
            let project = tempfile::tempdir()?;
            fs::write(project.path().join("pom.xml"), POM.replace("@VERSION@", number))?;
            let libs = project.path().join("libs");
            let mut maven = Command::new("mvn");
            maven.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime"]);
            maven.arg(format!("-DoutputDirectory={}", libs.display())).current_dir(project.path());
            cache::run(&mut maven, "apt-get install maven")?;
            KINDS.iter().try_for_each(|(class, plural)| {
                let (served, stored) = self.versions(class);
                let mut generator = Command::new(&java);
                generator.args(["-XX:TieredStopAtLevel=1", "-cp"]).arg(format!("{}/*", libs.display()));
                generator.args(["io.strimzi.crdgenerator.CrdGenerator", "--yaml", "--target-kube", "1.16+"]);
                generator.args(["--label", "app:strimzi", "--label", "strimzi.io/crd-install:true"]);
                generator.args(["--crd-api-version", "v1", "--api-versions", served, "--storage-version", stored]);
                let file = folder.join(format!("{plural}.yaml"));
                generator.arg(format!("io.strimzi.api.kafka.model.{class}={}", file.display()));
                cache::run(&mut generator, "a JDK 21")
            })
        })
    }

    /// Defines its resources in a cluster, and waits until they are served. A cluster has the definitions of one release.
    ///
    /// # Errors
    /// When they cannot be made, or the API server refuses them.
    pub fn install(self, kubernetes: &Kubernetes) -> Result<()> {
        let folder = self.definitions()?;
        for (_, plural) in KINDS {
            let path = folder.join(format!("{plural}.yaml"));
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            // On the server's side: the one of Kafka is too large for the annotation that kubectl would leave on it.
            kubernetes.apply(&text)?;
        }
        let names = KINDS.map(|(_, plural)| format!("crd/{plural}.kafka.strimzi.io"));
        let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
        wait.extend(names.iter().map(String::as_str));
        kubernetes.kubectl(&wait).map(drop)
    }
}

/// A `java` that is new enough for Strimzi's jars, of `JAVA_HOME` or of those that are installed.
fn java() -> Result<PathBuf> {
    let home = std::env::var_os("JAVA_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let installed = fs::read_dir("/usr/lib/jvm").into_iter().flatten().flatten().map(|entry| entry.path());
    let is_new = |home: &PathBuf| {
        let text = fs::read_to_string(home.join("release")).unwrap_or_default();
        java_release(&text).is_some_and(|release| release >= JAVA_RELEASE)
    };
    let mut installed: Vec<PathBuf> = home.into_iter().chain(installed).filter(is_new).collect();
    installed.sort();
    let home: Option<&Path> = installed.first().map(PathBuf::as_path);
    Ok(home
        .with_context(|| {
            format!(
                "Strimzi's generator needs a JDK {JAVA_RELEASE} or later, and neither JAVA_HOME nor /usr/lib/jvm has one: \
                 apt-get install temurin-25-jdk (https://adoptium.net), or openjdk-21-jdk-headless where Debian has it"
            )
        })?
        .join("bin/java"))
}

/// The feature release in the file `release` of a JDK: `JAVA_VERSION="25.0.1"`.
fn java_release(text: &str) -> Option<u32> {
    let version = text.lines().find_map(|line| line.strip_prefix("JAVA_VERSION=\""))?;
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_release_of_a_jdk_is_read_from_its_file() {
        assert_eq!(java_release("IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"25.0.1\"\n"), Some(25));
        assert_eq!(java_release("JAVA_VERSION=\"1.8.0_292\"\n"), Some(1));
        assert_eq!(java_release(""), None);
    }
}
