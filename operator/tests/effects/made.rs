//! From a spec to everything that is made of it.

use std::hash::Hash;

use clap::Parser;
use kafka_backup::config::RunKind;
use kube::core::{DynamicObject, GroupVersionKind};
use kube::discovery::ApiResource;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{Lookup, Store};
use kube::runtime::watcher::Event;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use strimzi_backup_operator::args::Arguments;
use strimzi_backup_operator::build::{Blueprint, Run, RunKey, config_map, cron_job, job, names};
use strimzi_backup_operator::kinds::{Backup, Reconciled, Restore};
use strimzi_backup_operator::owner::{Kind, Owner};
use strimzi_backup_operator::plan::{Plan, Refusal, When};
use strimzi_backup_operator::references::StrimziStores;

/// What there is beside the resource that is planned.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Around {
    #[serde(default)]
    kafkas: Vec<DynamicObject>,
    #[serde(default)]
    users: Vec<DynamicObject>,
    backups: Vec<Value>,
}

/// Whose run it is and what is run, or why nothing is.
pub type Planned = Result<(Owner, Plan), Refusal>;

/// The plan of a resource called `mine` of this kind, in the API group of `R`.
pub fn planned<R: Restore>(around: &Around, kind: Kind, spec: Value) -> Planned {
    let strimzi = |kind: &str, objects: &[DynamicObject]| {
        let type_ = ApiResource::from_gvk(&GroupVersionKind::gvk("kafka.strimzi.io", "v1", kind));
        seen(type_, objects.to_vec())
    };
    let stores = StrimziStores { kafkas: strimzi("Kafka", &around.kafkas), users: strimzi("KafkaUser", &around.users) };
    match kind {
        Kind::Backup => {
            let backup: R::Backup = resource(spec);
            Ok((backup.owner(), backup.plan(Some(&stores))?))
        }
        Kind::Restore => {
            let restore: R = resource(spec);
            let backups = around.backups.iter().cloned().map(read).collect();
            Ok((restore.owner(), restore.plan(Some(&stores), &seen((), backups))?))
        }
    }
}

fn resource<K: Reconciled>(spec: Value) -> K {
    let metadata = json!({"name": "mine", "namespace": "kafka", "uid": "8d6c5b1e-0000-4000-8000-000000000001"});
    read(json!({"apiVersion": K::api_version(&()), "kind": K::kind(&()), "metadata": metadata, "spec": spec}))
}

fn read<T: DeserializeOwned>(value: Value) -> T {
    let text = value.to_string();
    serde_json::from_value(value).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// The objects as a watch has seen them.
fn seen<K>(type_: K::DynamicType, objects: Vec<K>) -> Store<K>
where
    K: Lookup<DynamicType: Eq + Hash + Clone> + Clone + 'static,
{
    let mut writer = Writer::new(type_);
    objects.into_iter().for_each(|object| writer.apply_watcher_event(&Event::Apply(object)));
    writer.as_reader()
}

/// Everything that is made of a plan by an operator with these arguments. `pod`, `container`, `volumes` and `mounts` are parts of the
/// Job, the last two by name.
pub fn document(owner: &Owner, plan: &Plan, arguments: &[&str]) -> Value {
    let arguments = [&["operator", "--image", "r.example/kafka-backup:1"], arguments].concat();
    let installation = Arguments::try_parse_from(arguments).unwrap_or_else(|error| panic!("{error}")).installation();
    let blueprint = Blueprint { owner, plan, installation: &installation };
    let backup_id = (plan.run.kind() == RunKind::Backup).then(|| "mine-20260212-143000".to_owned());
    let run = Run { key: RunKey::Once { generation: 1 }, backup_id };
    let job = json!(job::job(blueprint, &run, 1));
    let config_map = json!(config_map::config_map(blueprint, &names::job(owner, &run.key), owner.reference()));
    let config = config_map["data"][config_map::CONFIG_FILE].as_str().expect("the engine's configuration is there");
    let pod = &job["spec"]["template"];
    let container = &pod["spec"]["containers"][0];
    json!({
        "config": serde_json::from_str::<Value>(config).expect("it is JSON"),
        "configMap": config_map,
        "job": job,
        "pod": pod,
        "container": container,
        "volumes": by_name(&pod["spec"]["volumes"]),
        "mounts": by_name(&container["volumeMounts"]),
        "cronJob": match &plan.when {
            When::Once => None,
            When::Scheduled(cron) => Some(cron_job::cron_job(blueprint, cron, false, 1)),
        },
        "prune": plan.pruning().map(|plan| plan.run),
        "afterwards": { "ttlSecondsAfterFinished": plan.job.ttl_seconds_after_finished },
    })
}

fn by_name(list: &Value) -> Value {
    let name = |item: &Value| item["name"].as_str().expect("it has a name").to_owned();
    Value::Object(list.as_array().expect("it is a list").iter().map(|item| (name(item), item.clone())).collect())
}

/// What stands at a place of a document; null when nothing does.
pub fn at(document: &Value, place: &str) -> Value {
    document.pointer(place).cloned().unwrap_or_default()
}

/// What stands in a list or a map.
pub fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Object(entries) => entries.values().collect(),
        Value::Array(elements) => elements.iter().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}
