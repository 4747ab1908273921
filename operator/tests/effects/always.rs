//! What is so whatever a spec says, or as long as it says nothing.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use strimzi_backup_operator::build::labels;
use strimzi_backup_operator::owner::{Kind, Owner};
use strimzi_backup_operator::plan::{Cron, JOB_NAME_VARIABLE, Plan, When};

use crate::made::{at, children, document};
use crate::table::{Effect, KINDS, groups};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    everything: BTreeMap<String, Value>,
    scheduled: BTreeMap<String, Value>,
    installation: Vec<Argument>,
}

/// An argument of the operator, and what it gives every pod.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    argument: String,
    gives: BTreeMap<String, Value>,
}

fn table() -> Table {
    serde_saphyr::from_str(include_str!("always.yaml")).unwrap_or_else(|error| panic!("{error}"))
}

/// The minimal resource of each kind of each group, with its plan.
fn minimal() -> Vec<(Owner, Plan)> {
    let mut plans = Vec::new();
    for group in groups() {
        for kind in KINDS {
            let [spec, _] = group.specs(kind, &Map::new(), &json!({}));
            let (owner, plan) = group.plan(kind, spec).unwrap_or_else(|refusal| panic!("{refusal}"));
            plans.push((owner, plan));
        }
    }
    plans
}

fn scheduled(plan: Plan) -> Plan {
    let cron = Cron::new(["spec.schedule", "spec.timezone"], "0 2 * * *", None, false).expect("it is a schedule");
    Plan { when: When::Scheduled(cron), ..plan }
}

#[track_caller]
fn assert_there(document: &Value, wanted: &BTreeMap<String, Value>) {
    for (place, wanted) in wanted {
        assert_eq!(at(document, place), *wanted, "{place}");
    }
}

#[test]
fn what_a_spec_leaves_out_is_as_a_run_needs_it() {
    let Table { everything, scheduled: of_schedule, installation: _ } = table();
    for (owner, plan) in minimal() {
        assert_there(&document(&owner, &plan, &[]), &everything);
        assert_there(&document(&owner, &scheduled(plan), &[]), &of_schedule);
    }
}

#[test]
fn what_the_installation_says_reaches_every_pod() {
    for (owner, plan) in minimal() {
        for Argument { argument, gives } in table().installation {
            assert_there(&document(&owner, &plan, &[&argument]), &gives);
            let without = document(&owner, &plan, &[]);
            assert!(gives.iter().all(|(place, given)| at(&without, place) != *given), "{argument}");
        }
    }
}

#[test]
fn everything_goes_with_its_resource_and_is_waited_for_by_a_deletion_in_the_foreground() {
    for (owner, plan) in minimal() {
        let document = document(&owner, &scheduled(plan), &[]);
        for object in ["configMap", "job", "cronJob"] {
            let metadata = &document[object]["metadata"];
            let wanted = json!([{
                "apiVersion": format!("{}/v1alpha1", owner.group),
                "kind": owner.kind.as_str(),
                "name": "mine",
                "uid": owner.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }]);
            assert_eq!(metadata["ownerReferences"], wanted, "{object}");
            assert_eq!(metadata["namespace"], "kafka", "{object}");
        }
    }
}

/// A Job's spec without what tells a run of the schedule from one that the operator starts itself.
fn likened(mut spec: Value) -> Value {
    spec["template"]["metadata"]["labels"][labels::RUN].take();
    let pod = &mut spec["template"]["spec"];
    pod["volumes"][0]["configMap"]["name"].take();
    let container = &mut pod["containers"][0];
    let is_id = |argument: &&Value| argument.as_str().is_some_and(|text| text.starts_with("--backup-id"));
    let arguments = children(&container["args"]).into_iter().take_while(|argument| !is_id(argument)).cloned().collect();
    let is_job = |variable: &&Value| variable["name"] == JOB_NAME_VARIABLE;
    let env = children(&container["env"]).into_iter().filter(|variable| !is_job(variable)).cloned().collect();
    container["args"] = arguments;
    container["env"] = env;
    spec
}

#[test]
fn a_run_of_the_schedule_is_the_same_run() {
    for group in groups() {
        for Effect { field, with, set, .. } in group.effects(Kind::Backup) {
            let [spec, _] = group.specs(Kind::Backup, with, set);
            let (owner, plan) = group.plan(Kind::Backup, spec).unwrap();
            let document = document(&owner, &scheduled(plan), &[]);
            let [by_hand, by_schedule] =
                ["/job/spec", "/cronJob/spec/jobTemplate/spec"].map(|place| at(&document, place));
            assert_ne!(by_hand, by_schedule, "{field}");
            assert_eq!(likened(by_hand), likened(by_schedule), "{field}");
        }
    }
}

#[test]
fn a_run_that_prunes_sees_the_store_and_nothing_of_the_cluster() {
    let spec = json!({
        "storage": {"s3": {"credentialsSecret": {"name": "of-the-bucket", "key": "file"}}},
        "authentication": {"type": "tls", "kafkaUserRef": {"name": "ada"}},
        "retention": {"maxBackups": 3},
    });
    let [group, _] = groups();
    let [spec, _] = group.specs(Kind::Backup, &Map::new(), &spec);
    let (owner, plan) = group.plan(Kind::Backup, spec).unwrap();
    let volumes =
        |plan| document(&owner, plan, &[])["volumes"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(volumes(&plan), ["cluster-ca", "config", "storage-credentials", "tmp", "user"]);
    assert_eq!(volumes(&plan.pruning().unwrap()), ["config", "storage-credentials", "tmp"]);
}

/// Everything that stands under a name, at any depth.
fn under<'a>(name: &str, value: &'a Value) -> Vec<&'a Value> {
    let below = children(value).into_iter().flat_map(|child| under(name, child));
    value.get(name).into_iter().chain(below).collect()
}

#[test]
fn no_configuration_holds_anything_of_a_secret_and_no_pod_gets_a_token() {
    for group in groups() {
        for kind in KINDS {
            for Effect { with, set, .. } in group.effects(kind) {
                let [spec, _] = group.specs(kind, with, set);
                let document = group.document(kind, spec);
                assert_eq!(document["pod"]["spec"]["automountServiceAccountToken"], false);
                let data = document["configMap"]["data"].to_string();
                let by_key = under("secretKeyRef", &document["job"]).into_iter().map(|reference| &reference["name"]);
                for secret in under("secretName", &document["job"]).into_iter().chain(by_key) {
                    let name = secret.as_str().expect("a Secret is referred to by its name");
                    assert!(!data.contains(name), "{name}: {data}");
                }
                for value in ["password", "secretKey", "accessKey", "token", "key", "cert", "ca"] {
                    assert!(under(value, &document["config"]).is_empty(), "{value}: {data}");
                }
            }
        }
    }
}
