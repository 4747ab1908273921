//! Objects into the cluster: by server-side apply, so that what others have added to them stays.

use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};
use serde_json::{Value, json};

use crate::build::{Blueprint, Run, config_map, cron_job, job, labels, names};

/// Starts a run: its ConfigMap, then its Job. Gives back the Job, be it made here or there already.
///
/// # Errors
/// What the API server says. Whatever was made stays, and the next attempt goes on with it.
pub async fn start(client: &Client, blueprint: Blueprint<'_>, run: &Run, generation: i64) -> Result<Job, kube::Error> {
    let namespace = &blueprint.owner.namespace;
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let name = names::job(blueprint.owner, &run.key);
    apply_config(client, blueprint, &name, blueprint.owner.reference()).await?;
    let wanted = job::job(blueprint, run, generation);
    let started = match jobs
        .create(&PostParams { field_manager: Some(labels::OPERATOR.to_owned()), ..PostParams::default() }, &wanted)
        .await
    {
        Ok(job) => job,
        // A run is made once: whoever decided on it a second time finds the first.
        Err(kube::Error::Api(status)) if status.is_already_exists() => jobs.get(&name).await?,
        Err(error) => return Err(error),
    };
    // From here on the configuration goes with the Job, and not only with the resource.
    if let Some(uid) = started.uid() {
        let owner = OwnerReference {
            api_version: "batch/v1".to_owned(),
            kind: "Job".to_owned(),
            name: name.clone(),
            uid,
            controller: Some(true),
            block_owner_deletion: None,
        };
        apply_config(client, blueprint, &name, owner).await?;
    }
    Ok(started)
}

/// Makes the CronJob as it is wanted, if `found` is not that already.
///
/// # Errors
/// What the API server says.
pub async fn schedule(
    client: &Client,
    blueprint: Blueprint<'_>,
    mut wanted: CronJob,
    found: Option<&CronJob>,
) -> Result<(), kube::Error> {
    let config = config_map::config_map(blueprint, &names::cron_job(blueprint.owner), blueprint.owner.reference());
    let as_json = |cron_job: &CronJob| serde_json::to_value(cron_job).expect("a CronJob is JSON");
    // The configuration has no watch: the CronJob tells which one was applied with it. It tells what was applied of itself too, since a field
    // that is no longer wanted is not seen among those that the API server has added.
    let text = format!("{}{}", as_json(&wanted), serde_json::to_string(&config.data).expect("texts"));
    wanted.annotations_mut().insert(labels::CONFIG.to_owned(), crate::build::short_hash(&text));
    if found.is_some_and(|found| is_within(&as_json(&wanted), &as_json(found))) {
        return Ok(());
    }
    let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), &blueprint.owner.namespace);
    let (name, patch) = (wanted.name_any(), Patch::Apply(&wanted));
    // A CronJob that is refused keeps the configuration that it was made with.
    cron_jobs.patch(&name, &ours().dry_run(), &patch).await?;
    apply_config(client, blueprint, &name, blueprint.owner.reference()).await?;
    cron_jobs.patch(&name, &ours(), &patch).await?;
    Ok(())
}

/// Sees that there is no CronJob of this name. A Job of it that is under way ends with it.
///
/// # Errors
/// What the API server says, but for `NotFound`.
pub async fn unschedule(client: &Client, namespace: &str, name: &str) -> Result<(), kube::Error> {
    let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), namespace);
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    gone(cron_jobs.delete(name, &DeleteParams::background()).await)?;
    gone(config_maps.delete(name, &DeleteParams::default()).await)
}

/// Has a CronJob start runs or not, and leaves it as it is otherwise.
///
/// # Errors
/// What the API server says, but for `NotFound`.
pub async fn keep(
    client: &Client,
    namespace: &str,
    found: &CronJob,
    is_held: bool,
    is_suspended: bool,
) -> Result<(), kube::Error> {
    let held = cron_job::is_only_held(is_held, is_suspended).then_some("true");
    let suspend = is_held || is_suspended;
    let is_so = found.spec.as_ref().and_then(|spec| spec.suspend).unwrap_or_default() == suspend
        && found.annotations().contains_key(labels::HELD) == held.is_some();
    if is_so {
        return Ok(());
    }
    let cron_jobs: Api<CronJob> = Api::namespaced(client.clone(), namespace);
    let annotations = json!({ (labels::HELD): held, (labels::CONFIG): null });
    let patch = Patch::Merge(json!({ "metadata": { "annotations": annotations }, "spec": { "suspend": suspend } }));
    gone(cron_jobs.patch(&found.name_any(), &PatchParams::default(), &patch).await)
}

/// Ends a Job and its pods.
///
/// # Errors
/// What the API server says, but for `NotFound`.
pub async fn end(client: &Client, namespace: &str, name: &str) -> Result<(), kube::Error> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    gone(jobs.delete(name, &DeleteParams::foreground()).await)
}

/// Lets Kubernetes delete a Job so many seconds after its end.
///
/// # Errors
/// What the API server says, but for `NotFound`.
pub async fn expire(client: &Client, namespace: &str, name: &str, ttl_seconds: i32) -> Result<(), kube::Error> {
    let jobs: Api<Job> = Api::namespaced(client.clone(), namespace);
    let patch = Patch::Merge(json!({ "spec": { "ttlSecondsAfterFinished": ttl_seconds } }));
    gone(jobs.patch(name, &PatchParams::default(), &patch).await)
}

async fn apply_config(
    client: &Client,
    blueprint: Blueprint<'_>,
    name: &str,
    owner: OwnerReference,
) -> Result<(), kube::Error> {
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &blueprint.owner.namespace);
    let config = config_map::config_map(blueprint, name, owner);
    config_maps.patch(name, &ours(), &Patch::Apply(&config)).await?;
    Ok(())
}

/// Ours is what we apply: another manager that has written it too loses it.
pub fn ours() -> PatchParams {
    PatchParams::apply(labels::OPERATOR).force()
}

fn gone<T>(answer: Result<T, kube::Error>) -> Result<(), kube::Error> {
    match answer {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether everything that is wanted is found: defaults that the API server has added do not count.
fn is_within(wanted: &Value, found: &Value) -> bool {
    match (wanted, found) {
        (Value::Object(wanted), Value::Object(found)) => wanted
            .iter()
            .all(|(key, value)| value.is_null() || found.get(key).is_some_and(|found| is_within(value, found))),
        (Value::Array(wanted), Value::Array(found)) => {
            wanted.len() == found.len() && wanted.iter().zip(found).all(|(wanted, found)| is_within(wanted, found))
        }
        (wanted, found) => wanted == found,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use axum::body::Bytes;
    use axum::http::Method;
    use axum::{Json, Router};

    use super::*;
    use crate::build::{Installation, RunKey, tests_owner};
    use crate::plan::oso;

    type Asked = Arc<Mutex<Vec<(Method, Value)>>>;

    /// An API server that takes everything, and what it was asked for.
    fn server() -> (Client, Asked) {
        let asked = Asked::default();
        let seen = asked.clone();
        let take = async move |method: Method, body: Bytes| {
            let mut object: Value = serde_json::from_slice(&body).unwrap();
            seen.lock().unwrap().push((method.clone(), object.clone()));
            if method == Method::DELETE {
                return Json(json!({ "kind": "Status", "apiVersion": "v1", "status": "Success" }));
            }
            object["metadata"]["uid"] = json!("uid-of-the-job");
            Json(object)
        };
        (Client::new(Router::new().fallback(take), "kafka"), asked)
    }

    #[tokio::test]
    async fn a_run_is_its_configuration_then_its_job_that_owns_it() {
        let (client, asked) = server();
        let spec = "{kafkaCluster: {bootstrapServers: ['a:1']}, storage: {storageType: s3, s3: {bucket: abc}}}";
        let owner = tests_owner();
        let plan = oso::backup(&owner, &serde_saphyr::from_str(spec).unwrap()).unwrap();
        let blueprint = Blueprint { owner: &owner, plan: &plan, installation: &Installation::default() };
        let run = Run { key: RunKey::Once { generation: 1 }, backup_id: Some("nightly-20260212-143000".to_owned()) };
        start(&client, blueprint, &run, 1).await.unwrap();
        let asked = asked.lock().unwrap();
        let told = asked.iter().map(|(method, object)| {
            let owner = &object["metadata"]["ownerReferences"][0];
            (
                method.as_str(),
                object["kind"].as_str().unwrap(),
                owner["kind"].as_str().unwrap(),
                owner["uid"].as_str().unwrap(),
            )
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [
                ("PATCH", "ConfigMap", "KafkaBackup", owner.uid.as_str()),
                ("POST", "Job", "KafkaBackup", &owner.uid),
                ("PATCH", "ConfigMap", "Job", "uid-of-the-job"),
            ]
        );
    }

    #[tokio::test]
    async fn a_job_is_gone_only_when_its_pods_are() {
        let (client, asked) = server();
        end(&client, "kafka", "nightly").await.unwrap();
        let asked = asked.lock().unwrap();
        assert_eq!(asked.len(), 1);
        assert_eq!((&asked[0].0, &asked[0].1["propagationPolicy"]), (&Method::DELETE, &json!("Foreground")));
    }

    #[test]
    fn defaults_that_were_added_are_no_difference() {
        let wanted = json!({"spec": {"schedule": "0 2 * * *", "list": [{"name": "a"}], "gone": null}});
        assert!(is_within(
            &wanted,
            &json!({"spec": {"schedule": "0 2 * * *", "suspend": false, "list": [{"name": "a", "mode": 1}]}})
        ));
        assert!(!is_within(&wanted, &json!({"spec": {"schedule": "0 3 * * *", "list": [{"name": "a"}]}})));
        assert!(!is_within(
            &wanted,
            &json!({"spec": {"schedule": "0 2 * * *", "list": [{"name": "a"}, {"name": "b"}]}})
        ));
    }
}
