//! The certificates and keys of a cluster's components, and the kubeconfigs that hold them.
//!
//! Names and groups are those that Kubernetes' own RBAC rules know ("PKI certificates and requirements", kubernetes.io).

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rcgen::KeyPair;

use crate::certificates::{Authority, Issued};
use crate::kubernetes::network::Network;

/// Writes everything into `run`: `pki/*` and `etc/*.kubeconfig`.
///
/// # Errors
/// When it cannot be written.
pub(super) fn write(run: &Path, network: &Network) -> Result<()> {
    let folder = run.join("pki");
    let name = network.name();
    let authority = Authority::new("e2e kubernetes")?;
    put(&folder, "ca.crt", authority.certificate())?;
    let api_server =
        ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
    let mut names: Vec<String> = api_server.iter().map(|&name| name.to_owned()).collect();
    names.extend([network.node().to_string(), network.api_server().to_string()]);
    put_issued(&folder, "kube-apiserver", &authority.issue_server("kube-apiserver", &names)?)?;
    let kubelet = authority.issue_server(&name, &[name.clone(), network.node().to_string()])?;
    put_issued(&folder, "kubelet-server", &kubelet)?;
    put_issued(&folder, "kubelet-client", &authority.issue_client("kube-apiserver", Some("system:masters"))?)?;
    let service_accounts = KeyPair::generate()?;
    put(&folder, "service-accounts.key", &service_accounts.serialize_pem())?;
    put(&folder, "service-accounts.pub", &service_accounts.public_key_pem())?;

    let node = format!("system:node:{name}");
    for (user, common_name, group) in [
        ("admin", "e2e", Some("system:masters")),
        ("kube-controller-manager", "system:kube-controller-manager", None),
        ("kube-scheduler", "system:kube-scheduler", None),
        ("kube-proxy", "system:kube-proxy", None),
        ("kubelet", node.as_str(), Some("system:nodes")),
    ] {
        let kubeconfig = kubeconfig(network, &authority, &authority.issue_client(common_name, group)?);
        put(&run.join("etc"), &format!("{user}.kubeconfig"), &kubeconfig)?;
    }
    Ok(())
}

fn kubeconfig(network: &Network, authority: &Authority, user: &Issued) -> String {
    include_str!("../../kubernetes/kubeconfig.yaml")
        .replace("@NODE_ADDRESS@", &network.node().to_string())
        .replace("@AUTHORITY@", &STANDARD.encode(authority.certificate()))
        .replace("@CERTIFICATE@", &STANDARD.encode(&user.certificate))
        .replace("@KEY@", &STANDARD.encode(&user.key))
}

fn put_issued(folder: &Path, name: &str, issued: &Issued) -> Result<()> {
    put(folder, &format!("{name}.crt"), &issued.certificate)?;
    put(folder, &format!("{name}.key"), &issued.key)
}

fn put(folder: &Path, name: &str, text: &str) -> Result<()> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
