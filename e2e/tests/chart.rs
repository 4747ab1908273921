//! The chart: what every value does, what is refused and in which words, and that the operator's rights end where they should.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::Result;
use e2e::kubernetes::Kubernetes;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

const RELEASE: &str = "op";
const NAMESPACE: &str = "here";
/// What is made in the release's namespace.
const NAME: &str = "op-strimzi-backup-operator";
/// Values whose fields are Kubernetes' own.
const FOREIGN: [&str; 2] = ["podSecurityContext", "securityContext"];
/// Values that Helm's `null` may take away: there is nothing in their place then.
const DISPENSABLE: [&str; 7] = [
    "jobs.runAsUser",
    "podSecurityContext",
    "resources.limits.cpu",
    "resources.limits.memory",
    "resources.requests.cpu",
    "resources.requests.memory",
    "securityContext",
];
/// Values that take any resource that a node has.
const OPEN: [&str; 2] = ["resources.limits", "resources.requests"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn chart() -> String {
    root().join("helm").to_str().unwrap().to_owned()
}

fn table<T: DeserializeOwned>(text: &str) -> T {
    serde_saphyr::from_str(text).unwrap()
}

/// What `helm` says with these values; an error holds what it said.
fn helm(arguments: &[&str], values: &Value) -> Result<String> {
    let mut file = tempfile::Builder::new().suffix(".yaml").tempfile()?;
    write!(file, "{values}")?;
    Kubernetes::shared().helm(&[arguments, &["--values", &file.path().to_string_lossy()]].concat())
}

/// What the chart makes in text; an error holds why it is refused.
fn rendered_text(namespace: &str, values: &Value) -> Result<String> {
    helm(&["template", RELEASE, &chart(), "--namespace", namespace], values)
}

/// What the chart makes of some values.
struct Rendered(Vec<Value>);

impl Rendered {
    fn of(values: &Value) -> Self {
        Self::in_namespace(NAMESPACE, values)
    }

    fn in_namespace(namespace: &str, values: &Value) -> Self {
        let text = rendered_text(namespace, values).unwrap_or_else(|error| panic!("{values}: {error:#}"));
        Self(serde_saphyr::from_multiple(&text).unwrap_or_else(|error| panic!("{values}: {error}")))
    }

    fn of_kind(&self, kind: &str) -> Vec<&Value> {
        self.0.iter().filter(|object| object["kind"] == kind).collect()
    }

    fn names_of_kind(&self, kind: &str) -> Vec<&str> {
        self.of_kind(kind).into_iter().map(|object| object["metadata"]["name"].as_str().unwrap()).collect()
    }

    /// What stands at a place of an object (`Kind/name`), null for nothing: a JSON pointer, or `env:NAME` for a variable of
    /// the only container.
    fn at(&self, object: &str, place: &str) -> Value {
        let (kind, name) = object.split_once('/').unwrap();
        let Some(object) = self.of_kind(kind).into_iter().find(|object| object["metadata"]["name"] == name) else {
            return Value::Null;
        };
        let Some(variable) = place.strip_prefix("env:") else {
            return object.pointer(place).cloned().unwrap_or_default();
        };
        let env = object.pointer("/spec/template/spec/containers/0/env").and_then(Value::as_array).unwrap();
        env.iter().find(|env| env["name"] == variable).map_or(Value::Null, |env| env["value"].clone())
    }

    /// The rules of all roles.
    fn rules(&self) -> Vec<&Value> {
        let roles = ["Role", "ClusterRole"].into_iter().flat_map(|kind| self.of_kind(kind));
        roles.flat_map(|role| role["rules"].as_array().unwrap()).collect()
    }
}

/// `{"a": {"b": value}}` for `a.b`.
fn nested(path: &str, value: Value) -> Value {
    path.rsplit('.').fold(value, |inner, name| Value::Object(Map::from_iter([(name.to_owned(), inner)])))
}

/// `over` laid over `under`, as Helm does with values.
fn merged(under: Value, over: Value) -> Value {
    match (under, over) {
        (Value::Object(mut under), Value::Object(over)) => {
            for (name, value) in over {
                let beneath = under.remove(&name).unwrap_or_default();
                under.insert(name, merged(beneath, value));
            }
            Value::Object(under)
        }
        (_, over) => over,
    }
}

/// Every value by its name, with dots, and its default.
fn defaults() -> BTreeMap<String, Value> {
    let text = fs::read_to_string(root().join("helm/values.yaml")).unwrap();
    let mut leaves = BTreeMap::new();
    collect_leaves("", serde_saphyr::from_str(&text).unwrap(), &mut leaves);
    leaves
}

fn collect_leaves(path: &str, value: Value, leaves: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() && !FOREIGN.contains(&path) => {
            for (name, value) in map {
                let path = if path.is_empty() { name } else { format!("{path}.{name}") };
                collect_leaves(&path, value, leaves);
            }
        }
        value => drop(leaves.insert(path.to_owned(), value)),
    }
}

/// Values that together reach every branch of every template.
fn configurations() -> Vec<Value> {
    let everywhere: Vec<Value> = table(include_str!("chart/configurations.yaml"));
    let confined =
        everywhere.clone().into_iter().map(|values| merged(values, json!({"watchNamespaces": ["kafka", "123"]})));
    confined.collect::<Vec<_>>().into_iter().chain(everywhere).collect()
}

#[test]
fn helm_has_nothing_to_say_against_the_chart() {
    for values in configurations() {
        let said = helm(&["lint", "--strict", &chart()], &values).unwrap_or_else(|error| panic!("{values}: {error:#}"));
        assert!(
            said.contains("1 chart(s) linted, 0 chart(s) failed") && !said.contains("[WARNING]"),
            "{values}: {said}"
        );
    }
}

/// Whether the labels hold everything that is selected.
fn selects(selector: &Value, labels: &Value) -> bool {
    let selector = selector.as_object().unwrap();
    !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
}

#[test]
fn what_monitors_look_for_is_there() {
    let monitors = json!({"metrics": {"serviceMonitor": {"enabled": true}}, "jobs": {"podMonitor": {"enabled": true}}});
    let rendered = Rendered::of(&monitors);
    let [service_monitor, service, deployment, pod_monitor] =
        ["ServiceMonitor", "Service", "Deployment", "PodMonitor"].map(|kind| rendered.of_kind(kind)[0]);
    assert!(selects(&service_monitor["spec"]["selector"]["matchLabels"], &service["metadata"]["labels"]));
    assert_eq!(service_monitor["spec"]["endpoints"][0]["port"], service["spec"]["ports"][0]["name"]);
    let pod = &deployment["spec"]["template"];
    assert!(selects(&service["spec"]["selector"], &pod["metadata"]["labels"]));
    let ports = pod["spec"]["containers"][0]["ports"].as_array().unwrap();
    assert!(ports.iter().any(|port| port["name"] == service["spec"]["ports"][0]["targetPort"]));

    // The operator's own tests say what stands on the pods of Jobs.
    let of_jobs =
        json!({"app.kubernetes.io/managed-by": "strimzi-backup-operator", "app.kubernetes.io/component": "job"});
    assert!(selects(&pod_monitor["spec"]["selector"]["matchLabels"], &of_jobs), "{pod_monitor:#}");
}

#[test]
fn everything_that_is_made_is_what_kubernetes_knows() {
    for values in configurations() {
        let text = rendered_text(NAMESPACE, &values).unwrap();
        // The kinds of the Prometheus operator have no schema there.
        let said = Kubernetes::shared()
            .kubeconform(&["-skip", "ServiceMonitor,PodMonitor"], &text)
            .unwrap_or_else(|error| panic!("{values}: {error:#}"));
        assert!(said.contains("Invalid: 0, Errors: 0"), "{values}: {said}");
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Effect {
    value: String,
    to: Value,
    #[serde(default)]
    with: Map<String, Value>,
    object: String,
    place: String,
    #[serde(default)]
    is: Value,
}

#[test]
fn every_value_does_what_it_says() {
    let effects: Vec<Effect> = table(include_str!("chart/effects.yaml"));
    for effect in &effects {
        let Effect { value, to, with, object, place, is } = effect;
        let with = Value::Object(with.clone());
        let without = Rendered::of(&with).at(object, place);
        let found = Rendered::of(&merged(with, nested(value, to.clone()))).at(object, place);
        assert_eq!(found, *is, "{effect:?}");
        assert_ne!(found, without, "{effect:?} is so without the value");
    }
    let shown: BTreeSet<&str> = effects.iter().map(|effect| effect.value.as_str()).collect();
    let defaults = defaults();
    let all: BTreeSet<&str> = defaults.keys().map(String::as_str).collect();
    assert_eq!(shown, all, "values whose effect is shown, and values that there are");
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refusal {
    values: Value,
    says: String,
}

#[test]
fn values_that_cannot_be_meant_are_refused_in_words() {
    let refusals: Vec<Refusal> = table(include_str!("chart/refusals.yaml"));
    for Refusal { values, says } in refusals {
        let Err(error) = rendered_text(NAMESPACE, &values) else { panic!("{values} is taken") };
        assert!(format!("{error:#}").contains(&says), "{values}: {says:?} is not in {error:#}");
    }
}

#[test]
fn a_value_that_there_is_not_is_refused_at_every_place() {
    let defaults = defaults();
    let places: BTreeSet<&str> =
        defaults.keys().map(|path| path.rsplit_once('.').map_or("", |(place, _)| place)).collect();
    for place in places.into_iter().filter(|place| !OPEN.contains(place)) {
        let values = nested(format!("{place}.unheardOf").trim_start_matches('.'), json!(1));
        let Err(error) = rendered_text(NAMESPACE, &values) else { panic!("{values} is taken") };
        assert!(format!("{error:#}").contains("additional properties 'unheardOf' not allowed"), "{values}: {error:#}");
    }
}

#[test]
fn a_value_that_is_left_empty_is_nothing_or_is_missed_by_name() {
    let everything = configurations().pop().unwrap();
    for (value, default) in defaults() {
        let without = merged(everything.clone(), nested(&value, Value::Null));
        let emptied = rendered_text(NAMESPACE, &without).map_err(|error| format!("{error:#}"));
        let is_empty_by_default = [json!({}), json!([]), json!("")].contains(&default);
        if DISPENSABLE.contains(&value.as_str()) {
            emptied.unwrap_or_else(|error| panic!("{value}: {error}"));
        } else if value == "azureWorkloadIdentity.clientId" {
            let error = emptied.unwrap_err();
            assert!(error.contains("give the client id of the managed identity"), "{error}");
        } else if is_empty_by_default {
            let emptied = emptied.unwrap_or_else(|error| panic!("{value}: {error}"));
            let default = rendered_text(NAMESPACE, &merged(without, nested(&value, default))).unwrap();
            assert_eq!(emptied, default, "{value}");
        } else {
            let name = value.rsplit('.').next().unwrap();
            let error = emptied.unwrap_err();
            assert!(error.contains(&format!("missing property '{name}'")), "{value}: {error}");
        }
    }
}

#[test]
fn the_table_of_values_says_what_the_chart_says() {
    let text = fs::read_to_string(root().join("docs/helm-values.md")).unwrap();
    let rows = text.lines().filter_map(|line| line.strip_prefix("| `")?.strip_suffix("` |"));
    let documented: BTreeMap<String, Value> = rows
        .map(|row| {
            let (name, rest) = row.split_once("` |").unwrap();
            let (_, default) = rest.rsplit_once("| `").unwrap();
            (name.to_owned(), serde_saphyr::from_str(default).unwrap())
        })
        .collect();
    assert_eq!(documented, defaults());
}

#[test]
fn azure_workload_identity_gives_jobs_a_service_account_that_azure_knows() {
    let account = format!("{NAME}-jobs");
    let shown = |values: &Value| {
        let rendered = Rendered::of(values);
        let label = "/metadata/labels/azure.workload.identity~1use";
        (
            rendered.at(&format!("Deployment/{NAME}"), "env:KAFKA_BACKUP_SERVICE_ACCOUNT"),
            rendered.at(&format!("ServiceAccount/{account}"), label),
        )
    };
    assert_eq!(shown(&json!({})), (Value::Null, Value::Null));
    let with = json!({"azureWorkloadIdentity": {"enabled": true, "clientId": "c"}});
    assert_eq!(shown(&with), (json!(account), json!("true")));
}

#[test]
fn a_release_whose_name_no_service_can_have_is_told_so() {
    let template = |values: &Value| helm(&["template", "1op", &chart(), "--namespace", NAMESPACE], values);
    let error = format!("{:#}", template(&json!({})).unwrap_err());
    assert!(error.contains("the Service 1op-strimzi-backup-operator-metrics, which Kubernetes refuses"), "{error}");
    template(&json!({"fullnameOverride": "op1"})).unwrap();
    assert!(!template(&json!({"metrics": {"enabled": false}})).unwrap().contains("kind: Service\n"));
}

#[test]
fn no_role_reaches_secrets_or_everything() {
    for values in configurations() {
        let rendered = Rendered::of(&values);
        for rule in rendered.rules() {
            let words = |field: &str| rule[field].as_array().cloned().unwrap_or_default();
            let said = [words("apiGroups"), words("resources"), words("verbs")].concat();
            assert!(!said.contains(&json!("*")), "{values}: {rule}");
            let forbidden =
                ["secrets", "serviceaccounts", "serviceaccounts/token", "pods/exec", "roles", "clusterroles"];
            assert!(!words("resources").iter().any(|word| forbidden.iter().any(|no| word == no)), "{values}: {rule}");
        }
    }
}

#[test]
fn with_watched_namespaces_the_rights_end_there() {
    let values = json!({"watchNamespaces": ["kafka", "123"], "leaderElection": {"enabled": true}});
    let rendered = Rendered::of(&values);
    assert_eq!(rendered.names_of_kind("ClusterRoleBinding"), [""; 0]);
    let aggregated: Vec<String> = ["view", "edit"].map(|who| format!("{NAME}.{NAMESPACE}-{who}")).into();
    assert_eq!(rendered.names_of_kind("ClusterRole"), aggregated);
    for kind in ["Role", "RoleBinding"] {
        let places: BTreeSet<(&str, &str)> = rendered
            .of_kind(kind)
            .into_iter()
            .map(|role| &role["metadata"])
            .map(|metadata| (metadata["namespace"].as_str().unwrap(), metadata["name"].as_str().unwrap()))
            .collect();
        let (leader, served) = (format!("{NAME}-leader"), format!("{NAME}.{NAMESPACE}"));
        assert_eq!(
            places,
            BTreeSet::from([(NAMESPACE, leader.as_str()), ("123", served.as_str()), ("kafka", served.as_str())])
        );
    }
    for binding in rendered.of_kind("RoleBinding") {
        assert_eq!(binding["roleRef"]["kind"], "Role");
        assert_eq!(binding["subjects"], json!([{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]));
    }
}

#[test]
fn without_the_second_group_nothing_speaks_of_it() {
    let groups = |values: &Value| -> BTreeSet<String> {
        let rendered = Rendered::of(values);
        let groups = rendered.rules().into_iter().flat_map(|rule| rule["apiGroups"].as_array().unwrap());
        groups.map(|group| group.as_str().unwrap().to_owned()).collect()
    };
    assert!(groups(&json!({})).contains("kafka.oso.sh"));
    assert!(!groups(&json!({"apis": {"kafkaOso": {"enabled": false}}})).contains("kafka.oso.sh"));
}

#[test]
fn labels_of_ones_own_do_not_take_the_pods_from_the_operator() {
    let rendered = Rendered::of(&json!({"podLabels": {"app.kubernetes.io/name": "another", "team": "platform"}}));
    let deployment = format!("Deployment/{NAME}");
    let selector = rendered.at(&deployment, "/spec/selector/matchLabels");
    let labels = rendered.at(&deployment, "/spec/template/metadata/labels");
    assert_eq!(labels["team"], "platform");
    for (name, value) in selector.as_object().unwrap() {
        assert_eq!(labels[name], *value, "{name}");
    }
}

#[test]
fn releases_of_one_name_in_two_namespaces_make_nothing_twice() {
    let places = |namespace: &str, values: &Value| -> BTreeSet<(String, String, String)> {
        let rendered = Rendered::in_namespace(namespace, values);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let metadata = |object: &Value| {
            (text(&object["kind"]), text(&object["metadata"]["namespace"]), text(&object["metadata"]["name"]))
        };
        rendered.0.iter().map(metadata).collect()
    };
    for values in configurations() {
        // The service account of Jobs has one name wherever it is made.
        let values = merged(
            values,
            json!({"jobs": {"serviceAccount": {"create": false, "name": "for-jobs", "annotations": null}}}),
        );
        let both: Vec<_> = places("one", &values).intersection(&places("two", &values)).cloned().collect();
        assert_eq!(both, [], "{values}");
    }
}

/// Whether the operator of the release in `release` may do this in `namespace`.
fn may(release: &str, verb: &str, resource: &str, namespace: &str) -> bool {
    let who = format!("system:serviceaccount:{release}:{NAME}");
    let question = ["auth", "can-i", verb, resource, "--as", &who, "--namespace", namespace];
    let output = Kubernetes::shared().kubectl_command(&question).output().unwrap();
    match String::from_utf8_lossy(&output.stdout).trim() {
        "yes" => true,
        "no" => false,
        other => panic!("{question:?}: {other} {}", String::from_utf8_lossy(&output.stderr)),
    }
}

#[test]
fn two_releases_stand_side_by_side_and_neither_gets_to_secrets() {
    let kubernetes = Kubernetes::shared();
    let [wide, narrow] = ["wide", "narrow"].map(|stem| kubernetes.make_namespace(stem, true).unwrap());
    let [watched, other] = ["watched", "other"].map(|stem| kubernetes.make_namespace(stem, false).unwrap());
    let confined = json!({
        "watchNamespaces": [watched],
        "replicaCount": 2,
        "leaderElection": {"enabled": true},
        "podDisruptionBudget": {"enabled": true},
        "networkPolicy": {"enabled": true},
        "jobs": {"serviceAccount": {"create": true}},
    });
    let notes = helm(&["install", RELEASE, &chart(), "--namespace", &wide], &json!({})).unwrap();
    assert!(notes.contains("backup.strimzi.io and kafka.oso.sh in all namespaces"), "{notes}");
    assert!(notes.contains(&format!("kubectl --namespace {wide} rollout status deployment/{NAME}")), "{notes}");
    helm(&["install", RELEASE, &chart(), "--namespace", &narrow], &confined).unwrap();

    for release in [&wide, &narrow] {
        for namespace in [&wide, &narrow, &watched, &other] {
            for verb in ["get", "list", "watch", "create"] {
                assert!(!may(release, verb, "secrets", namespace), "{release}: {verb} in {namespace}");
            }
            let is_served = release == &wide || namespace == &watched;
            assert_eq!(may(release, "create", "jobs.batch", namespace), is_served, "{release} in {namespace}");
        }
    }
    let lease = format!("leases.coordination.k8s.io/{NAME}");
    assert!(may(&narrow, "update", &lease, &narrow));
    assert!(!may(&narrow, "update", "leases.coordination.k8s.io/another", &narrow));
    assert!(!may(&wide, "update", &lease, &wide));

    // The namespaces admit nothing but restricted pods, so that these are.
    for (release, replicas) in [(&wide, 1), (&narrow, 2)] {
        let selector = format!("app.kubernetes.io/instance={RELEASE}");
        kubernetes
            .wait_until("the operator's pods are admitted", || {
                let pods = kubernetes.get(&["pods", "--namespace", release, "--selector", &selector])?;
                Ok(pods["items"].as_array().is_some_and(|pods| pods.len() == replicas))
            })
            .unwrap();
    }

    // Kubernetes keeps the settings of a rolling update, and refuses them with another type, unless they are ours.
    let strategy =
        || kubernetes.get(&["deployment", NAME, "--namespace", &narrow]).unwrap()["spec"]["strategy"]["type"].clone();
    assert_eq!(strategy(), "RollingUpdate");
    let alone = json!({"watchNamespaces": [watched]});
    helm(&["upgrade", RELEASE, &chart(), "--namespace", &narrow], &alone).unwrap();
    assert_eq!(strategy(), "Recreate");

    for release in [&wide, &narrow] {
        kubernetes.helm(&["uninstall", RELEASE, "--namespace", release, "--wait"]).unwrap();
    }
    let left = kubernetes.get(&["clusterroles,clusterrolebindings,roles,rolebindings", "--all-namespaces"]).unwrap();
    let names: Vec<&str> =
        left["items"].as_array().unwrap().iter().filter_map(|role| role["metadata"]["name"].as_str()).collect();
    assert!(!names.iter().any(|name| name.starts_with(NAME)), "{names:?}");
    // With the definitions everything of their kinds would be gone, and the backups' statuses with it.
    let definitions = ["kafkabackups", "kafkarestores"]
        .into_iter()
        .flat_map(|plural| ["backup.strimzi.io", "kafka.oso.sh"].map(|group| format!("{plural}.{group}")));
    for definition in definitions {
        kubernetes.get(&["customresourcedefinition", &definition]).unwrap();
    }
}
