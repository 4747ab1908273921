//! The programs of a node, built or fetched once a machine: Kubernetes and its tools from the Go module proxy, what they
//! need of the operating system from Debian's packages, none of which is installed.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

use crate::cache;
use crate::image::{self, Image};

/// The version of Kubernetes that `hyperkube/go.mod` requires, without the `v`.
pub const VERSION: &str = "1.35.4";

const HYPERKUBE: [(&str, &str); 3] = [
    ("go.mod", include_str!("../../kubernetes/hyperkube/go.mod")),
    ("go.sum", include_str!("../../kubernetes/hyperkube/go.sum")),
    ("main.go", include_str!("../../kubernetes/hyperkube/main.go")),
];
const TOOLS: [(&str, &str); 3] = [
    ("go.mod", include_str!("../../kubernetes/tools/go.mod")),
    ("go.sum", include_str!("../../kubernetes/tools/go.sum")),
    ("coredns/main.go", include_str!("../../kubernetes/tools/coredns/main.go")),
];
/// The names under which the one binary is called.
const COMPONENTS: [&str; 7] =
    ["etcd", "kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"];
/// What a node needs of Debian, with the libraries that a machine does not have anyway.
const PACKAGES: [&str; 15] = [
    "busybox-static",
    "conntrack",
    "containerd",
    "containernetworking-plugins",
    "libedit2",
    "libjansson4",
    "libmnl0",
    "libnetfilter-conntrack3",
    "libnfnetlink0",
    "libnftables1",
    "libnftnl11",
    "libseccomp2",
    "libxtables12",
    "nftables",
    "runc",
];
/// A wheel that carries the JSON schemas of Kubernetes' resources, and the folder in it with those that refuse fields
/// which no resource has.
const SCHEMAS: (&str, &str) = ("kubernetes-validate==1.37.0", "v1.35.0-local-strict");
const GO: &str = "Go 1.25 or later from https://go.dev/dl";

/// The folders with everything that a node runs, and the images that it starts with (`*.tar`).
#[derive(Debug, Clone)]
pub struct Programs {
    /// `hyperkube`, and its links.
    pub hyperkube: PathBuf,
    /// `helm` and `kubeconform`.
    pub tools: PathBuf,
    /// Debian's packages, unpacked.
    pub packages: PathBuf,
}

impl Programs {
    /// All of them, made on first use: that takes from seven minutes on two idle cores to half an hour on busy ones.
    ///
    /// # Errors
    /// When a tool that makes them is missing or fails; the text says how to install it.
    pub fn get() -> Result<Self> {
        Ok(Self { packages: packages()?, tools: tools()?, hyperkube: hyperkube()? })
    }

    /// The client of the API server.
    pub fn kubectl(&self) -> PathBuf {
        self.hyperkube.join("kubectl")
    }

    /// The client that installs charts.
    pub fn helm(&self) -> PathBuf {
        self.tools.join("helm")
    }

    /// The program that checks manifests against [`schemas`].
    pub fn kubeconform(&self) -> PathBuf {
        self.tools.join("kubeconform")
    }
}

/// The folder with JSON schemas of the resources of this version, as `kubeconform` reads them:
/// `-schema-location FOLDER/{{.ResourceKind}}{{.KindSuffix}}.json`. Fetched on first use.
///
/// # Errors
/// When they cannot be fetched.
pub fn schemas() -> Result<PathBuf> {
    let name = format!("kubernetes/schemas-{}", cache::key(&[SCHEMAS.0, SCHEMAS.1]));
    cache::entry(&name, "pip to fetch the schemas of Kubernetes (10 MB, seconds)", |folder| {
        let fetched = tempfile::tempdir()?;
        let mut pip = Command::new("python3");
        pip.args(["-m", "pip", "download", "--quiet", "--no-deps", "--dest"]).arg(fetched.path()).arg(SCHEMAS.0);
        cache::run(&mut pip, "apt-get install python3-pip")?;
        let mut unpack = Command::new("python3");
        unpack.args(["-m", "zipfile", "--extract"]).arg(only_file(fetched.path())?).arg(fetched.path());
        cache::run(&mut unpack, "apt-get install python3")?;
        let from = find_schemas(fetched.path())?;
        for entry in fs::read_dir(&from).with_context(|| format!("cannot list {}", from.display()))? {
            let path = entry?.path();
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.file_name().context("a file has a name")?;
            fs::write(folder.join(name), relative_schema(&text)?)?;
        }
        Ok(())
    })
}

/// A schema that finds its neighbours wherever it stands: what was made for `https://kubernetes.io/api` is refused by
/// kubeconform with no other word than that there is no schema.
fn relative_schema(text: &str) -> Result<String> {
    let text = text.replace("\"/api/_definitions.json#", "\"_definitions.json#");
    let mut schema: Value = serde_json::from_str(&text).context("a schema is JSON")?;
    if let Some(schema) = schema.as_object_mut() {
        schema.remove("$id");
    }
    serde_json::to_string(&schema).context("JSON can be written")
}

fn find_schemas(unpacked: &Path) -> Result<PathBuf> {
    let (package, wanted) = SCHEMAS;
    let mut folders = vec![unpacked.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {}", folder.display()))? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                if entry.file_name() == wanted {
                    return Ok(entry.path());
                }
                folders.push(entry.path());
            }
        }
    }
    bail!("there is no folder {wanted} in {package}")
}

fn only_file(folder: &Path) -> Result<PathBuf> {
    let mut files = fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    Ok(files.next().with_context(|| format!("{} is empty", folder.display()))??.path())
}

fn hyperkube() -> Result<PathBuf> {
    let texts: Vec<&str> = [VERSION].into_iter().chain(HYPERKUBE.iter().map(|(_, text)| *text)).collect();
    let name = format!("kubernetes/hyperkube-{}", cache::key(&texts));
    let waiting_for = "Go to build Kubernetes (five minutes on two idle cores, 4 GB of disk meanwhile)";
    cache::entry(&name, waiting_for, |folder| {
        let module = Module::write(&HYPERKUBE)?;
        let mut flags = "-s -w".to_owned();
        let (major, minor) = major_and_minor();
        // Without these the programs take themselves for version 0.0.0, and some features with it.
        for package in ["k8s.io/component-base/version", "k8s.io/client-go/pkg/version"] {
            let values = [
                ("gitVersion", format!("v{VERSION}")),
                ("gitMajor", major.to_owned()),
                ("gitMinor", minor.to_owned()),
                ("gitTreeState", "clean".to_owned()),
                ("gitCommit", "unknown".to_owned()),
                ("buildDate", "1970-01-01T00:00:00Z".to_owned()),
            ];
            for (name, value) in values {
                flags += &format!(" -X {package}.{name}={value}");
            }
        }
        module.build(folder, &flags, &["."])?;
        for component in COMPONENTS {
            symlink("hyperkube", folder.join(component)).context("cannot link")?;
        }
        // The source of the container that holds a pod's namespaces travels in the module.
        let source = module.folder_of("k8s.io/kubernetes")?.join("build/pause/linux/pause.c");
        let pause = module.folder.path().join("pause");
        let mut compiler = Command::new("cc");
        compiler.args(["-Os", "-static", "-s", "-DVERSION=e2e", "-o"]).arg(&pause).arg(source);
        cache::run(&mut compiler, "apt-get install gcc libc6-dev")?;
        let image = Image::new("localhost/pause:e2e").entrypoint(&["/pause"]).copy("pause", &pause, 0o755);
        image::write_into(folder, &image).map(drop)
    })
}

fn tools() -> Result<PathBuf> {
    let name = format!("kubernetes/tools-{}", cache::key(&TOOLS.map(|(_, text)| text)));
    cache::entry(&name, "Go to build CoreDNS, helm and kubeconform (two minutes on two idle cores)", |folder| {
        // A module of its own: its newer dependencies would be forced upon Kubernetes.
        let module = Module::write(&TOOLS)?;
        let (major, minor) = major_and_minor();
        let mut flags = "-s -w".to_owned();
        for package in ["helm.sh/helm/v3/pkg/lint/rules", "helm.sh/helm/v3/pkg/chartutil"] {
            flags += &format!(" -X {package}.k8sVersionMajor={major} -X {package}.k8sVersionMinor={minor}");
        }
        let programs = ["./coredns", "helm.sh/helm/v3/cmd/helm", "github.com/yannh/kubeconform/cmd/kubeconform"];
        module.build(folder, &flags, &programs)?;
        let coredns = folder.join("coredns");
        let image = Image::new("localhost/coredns:e2e").entrypoint(&["/coredns"]).copy("coredns", &coredns, 0o755);
        image::write_into(folder, &image)?;
        fs::remove_file(&coredns).context("cannot remove a binary")
    })
}

fn packages() -> Result<PathBuf> {
    let name = format!("kubernetes/packages-{}", cache::key(&PACKAGES));
    cache::entry(&name, "apt-get to fetch containerd and what belongs to it (37 MB, half a minute)", |folder| {
        let fetched = tempfile::tempdir()?;
        // The user as which apt-get fetches has to get in.
        fs::set_permissions(fetched.path(), fs::Permissions::from_mode(0o755))?;
        let hint = "a node is made of Debian's packages";
        let download = || {
            let mut apt = Command::new("apt-get");
            apt.args(["--quiet", "download"]).args(PACKAGES).current_dir(fetched.path());
            cache::run(&mut apt, hint)
        };
        if download().is_err() {
            // A new machine knows no packages yet, and one of last month knows versions that are gone.
            cache::run(Command::new("apt-get").args(["--quiet", "update"]), hint)?;
            download()?;
        }
        for entry in fs::read_dir(fetched.path())? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract").arg(entry?.path()).arg(folder);
            cache::run(&mut unpack, hint)?;
        }
        let busybox = folder.join("bin/busybox");
        let mut list = Command::new(&busybox);
        let applets = list.arg("--list").output().context("cannot run busybox")?.stdout;
        let mut image = Image::new("localhost/tools:e2e").copy("bin/busybox", &busybox, 0o755).folder("tmp", 0o1777);
        for applet in String::from_utf8_lossy(&applets).lines().filter(|applet| *applet != "busybox") {
            image = image.link(&format!("bin/{applet}"), "busybox");
        }
        image::write_into(folder, &image).map(drop)
    })
}

fn major_and_minor() -> (&'static str, &'static str) {
    let mut numbers = VERSION.split('.');
    (numbers.next().unwrap_or_default(), numbers.next().unwrap_or_default())
}

/// A Go module in a folder of its own, with Go's caches, which are removed with it: they take gigabytes.
struct Module {
    folder: TempDir,
}

impl Module {
    fn write(files: &[(&str, &str)]) -> Result<Self> {
        // Beside the cache: a temporary folder is often in memory.
        let parent = cache::folder()?.join("kubernetes");
        let folder = tempfile::Builder::new().prefix("go-").tempdir_in(&parent);
        let folder = folder.with_context(|| format!("cannot write to {}", parent.display()))?;
        for (name, text) in files {
            let path = folder.path().join("module").join(name);
            fs::create_dir_all(path.parent().unwrap_or(&path))?;
            fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(Self { folder })
    }

    fn build(&self, into: &Path, linker_flags: &str, packages: &[&str]) -> Result<()> {
        let mut go = self.go();
        // A trailing slash says that it is a folder.
        go.args(["build", "-trimpath", "-ldflags", linker_flags, "-o"]).arg(into.join("")).args(packages);
        cache::run(&mut go, GO)
    }

    fn folder_of(&self, module: &str) -> Result<PathBuf> {
        let output = self.go().args(["list", "-m", "-f", "{{.Dir}}", module]).output();
        match output {
            Ok(output) if output.status.success() => Ok(String::from_utf8_lossy(&output.stdout).trim().into()),
            Ok(output) => bail!("go list -m {module} failed: {}", String::from_utf8_lossy(&output.stderr).trim()),
            Err(error) if error.kind() == ErrorKind::NotFound => bail!("Go is needed and not installed: {GO}"),
            Err(error) => Err(error).context("cannot run go"),
        }
    }

    fn go(&self) -> Command {
        let mut go = Command::new("go");
        go.current_dir(self.folder.path().join("module"));
        go.env("CGO_ENABLED", "0").env("GOTOOLCHAIN", "local").env("GOWORK", "off");
        // Modules that may be written to can be removed.
        go.env("GOFLAGS", "-buildvcs=false -mod=readonly -modcacherw");
        for (name, folder) in [("GOMODCACHE", "modules"), ("GOCACHE", "cache")] {
            if std::env::var_os(name).is_none_or(|value| value.is_empty()) {
                go.env(name, self.folder.path().join(folder));
            }
        }
        go
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_the_one_that_the_module_requires() {
        let (_, module) = HYPERKUBE[0];
        assert!(module.contains(&format!("\tk8s.io/kubernetes v{VERSION}\n")));
        assert!(SCHEMAS.1.starts_with(&format!("v{}.{}.0-", major_and_minor().0, major_and_minor().1)));
    }

    #[test]
    fn a_schema_refers_to_its_neighbours() {
        let text = r##"{"$id": "https://kubernetes.io/api/pod.json", "$ref": "/api/_definitions.json#/a"}"##;
        assert_eq!(relative_schema(text).unwrap(), r##"{"$ref":"_definitions.json#/a"}"##);
    }
}
