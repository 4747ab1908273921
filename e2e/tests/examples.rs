//! Every manifest in `examples/` is taken by an API server that knows our definitions and Strimzi's, field by field.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use e2e::kubernetes::Kubernetes;
use e2e::strimzi::Release;
use serde_json::Value;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The YAML files of a folder, in order.
fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder} is empty");
    paths
}

fn manifests() -> impl Iterator<Item = (PathBuf, String)> {
    ["examples/strimzi", "examples/oso"].into_iter().flat_map(files).map(|path| {
        let text = fs::read_to_string(&path).unwrap();
        (path, text)
    })
}

#[test]
fn every_manifest_is_one_resource_below_its_intent() {
    for (path, text) in manifests() {
        let first = text.lines().next().unwrap();
        assert!(first.starts_with("# ") && first.ends_with('.'), "{}: {first:?}", path.display());
        let documents: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        let [resource] = &documents[..] else { panic!("{}: {} documents", path.display(), documents.len()) };
        let is_strimzi = path.parent().unwrap().ends_with("strimzi");
        let name = path.file_stem().unwrap().to_str().unwrap();
        let kind = match name {
            _ if name.starts_with("backup-") => "KafkaBackup",
            _ if name.starts_with("kafka-user-") && is_strimzi => "KafkaUser",
            _ => "KafkaRestore",
        };
        let api_version = match kind {
            "KafkaUser" => Release::V1_2.api_version(),
            _ if is_strimzi => "backup.strimzi.io/v1alpha1",
            _ => "kafka.oso.sh/v1alpha1",
        };
        assert_eq!(resource["apiVersion"], api_version, "{}", path.display());
        assert_eq!(resource["kind"], kind, "{}", path.display());
    }
}

#[test]
fn every_manifest_is_taken_by_the_api_server() {
    let kubernetes = Kubernetes::shared();
    Release::V1_2.install(kubernetes).unwrap();
    for definition in files("helm/crds") {
        kubernetes.apply(&fs::read_to_string(definition).unwrap()).unwrap();
    }
    kubernetes
        .wait_until("the definitions are established", || {
            let found = kubernetes.get(&["customresourcedefinitions"])?;
            let found = found["items"].as_array().map(Vec::as_slice).unwrap_or_default();
            let is_established = |definition: &Value| {
                let conditions = definition["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
                conditions.iter().any(|condition| condition["type"] == "Established" && condition["status"] == "True")
            };
            Ok(!found.is_empty() && found.iter().all(is_established))
        })
        .unwrap();
    let namespaces: BTreeSet<String> = manifests()
        .filter_map(|(_, text)| {
            let resource: Value = serde_saphyr::from_str(&text).unwrap();
            resource["metadata"]["namespace"].as_str().map(str::to_owned)
        })
        .collect();
    for namespace in namespaces {
        kubernetes.apply(&format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}}}\n")).unwrap();
    }
    let mut refused = Vec::new();
    for (path, text) in manifests() {
        // Strict: a field that the server would drop is an error.
        let arguments = ["apply", "--dry-run=server", "--validate=strict", "--filename", "-"];
        if let Err(error) = kubernetes.kubectl_with_input(&arguments, &text) {
            refused.push(format!("{}: {error:#}", path.display()));
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}
