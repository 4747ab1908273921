//! The pod of a run, under the restricted Pod Security Standard.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    Capabilities, ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, EnvVarSource,
    KeyToPath, LocalObjectReference, ObjectFieldSelector, PersistentVolumeClaimVolumeSource, PodSecurityContext,
    PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecretVolumeSource, SecurityContext, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::ObjectMeta;

use super::config_map::CONFIG_FILE;
use super::run::RunKey;
use super::{Blueprint, labels};
use crate::plan::{CONFIG_FOLDER, JOB_NAME_VARIABLE, Mount, Plan, PodPlan, Source};

/// The container's name.
pub const CONTAINER: &str = "kafka-backup";
/// The port of progress and metrics.
pub const HTTP_PORT: u16 = 9404;
/// The engine in the image.
const PROGRAM: &str = "/usr/local/bin/kafka-backup";
/// The engine ends by itself within 20 seconds of being asked to: the rest is for what it was waiting for.
const GRACE_SECONDS: i64 = 60;
/// For temporary files, of which a run has few.
const TMP_SIZE: &str = "64Mi";
/// A backup stays below 64 MiB and a restore below 128, whatever the size of topics and records.
const MEMORY_REQUEST: &str = "128Mi";
/// With room for what the kernel keeps for the network.
const MEMORY_LIMIT: &str = "512Mi";
const CPU_REQUEST: &str = "100m";
const TERMINATION_MESSAGE: &str = "/dev/termination-log";

/// The command of a run, and the backup that it makes.
#[derive(Debug, Clone, Copy)]
pub enum Backup<'a> {
    /// None: a restore, or pruning.
    None,
    /// The one of this id.
    Id(&'a str),
    /// The one that the name of the pod's Job tells.
    OfJob,
}

/// The pods of a run, whose configuration is in the ConfigMap of this name.
pub fn template(blueprint: Blueprint<'_>, key: &RunKey, config_map: &str, backup: Backup<'_>) -> PodTemplateSpec {
    let Blueprint { owner, plan, installation } = blueprint;
    let mut pod_labels = plan.pod.labels.clone();
    pod_labels.extend(labels::of(owner));
    pod_labels.insert(labels::RUN.to_owned(), key.kind().label().to_owned());
    if installation.has_azure_workload_identity {
        pod_labels.insert("azure.workload.identity/use".to_owned(), "true".to_owned());
    }
    let annotations = plan.pod.annotations.clone();
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(pod_labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec(blueprint, config_map, backup)),
    }
}

fn spec(blueprint: Blueprint<'_>, config_map: &str, backup: Backup<'_>) -> PodSpec {
    let Blueprint { owner: _, plan, installation } = blueprint;
    let PodPlan {
        labels: _,
        annotations: _,
        image_pull_secrets,
        security_context,
        termination_grace_period_seconds,
        affinity,
        tolerations,
        topology_spread_constraints,
        node_selector,
        priority_class_name,
        scheduler_name,
        host_aliases,
        dns_policy,
        dns_config,
        enable_service_links,
        tmp_dir_size_limit,
        volumes,
        host_users,
        service_account_name,
        env: _,
        container_security_context: _,
        volume_mounts: _,
        resources: _,
    } = plan.pod.clone();
    let pull_secrets = installation.image_pull_secrets.iter().map(|name| LocalObjectReference { name: name.clone() });
    let pull_secrets = pull_secrets.chain(image_pull_secrets).fold(Vec::new(), |mut all, secret| {
        // Kubernetes refuses one that is named twice.
        if !all.contains(&secret) {
            all.push(secret);
        }
        all
    });
    let mut all_volumes = vec![config_volume(config_map), tmp_volume(tmp_dir_size_limit)];
    all_volumes.extend(plan.mounts.iter().map(volume));
    all_volumes.extend(volumes);
    PodSpec {
        containers: vec![container(blueprint, backup)],
        volumes: Some(all_volumes),
        restart_policy: Some("Never".to_owned()),
        service_account_name: service_account_name.or_else(|| installation.service_account.clone()),
        // A run speaks to brokers and a store. Cloud identities bring tokens of their own.
        automount_service_account_token: Some(false),
        security_context: Some(match security_context {
            // Without a group of the pod's own its user could read no Secret.
            Some(given) => PodSecurityContext { fs_group: given.fs_group.or(installation.user), ..given },
            None => pod_security(installation.user),
        }),
        termination_grace_period_seconds: Some(termination_grace_period_seconds.unwrap_or(GRACE_SECONDS)),
        enable_service_links: Some(enable_service_links.unwrap_or(false)),
        image_pull_secrets: some(pull_secrets),
        affinity,
        tolerations: some(tolerations),
        topology_spread_constraints: some(topology_spread_constraints),
        node_selector: (!node_selector.is_empty()).then_some(node_selector),
        priority_class_name,
        scheduler_name,
        host_aliases: some(host_aliases),
        dns_policy,
        dns_config,
        host_users,
        ..PodSpec::default()
    }
}

fn container(blueprint: Blueprint<'_>, backup: Backup<'_>) -> Container {
    let Blueprint { owner: _, plan, installation } = blueprint;
    let mut mounts = vec![mount("config", CONFIG_FOLDER, None, true), mount("tmp", "/tmp", None, false)];
    mounts.extend(plan.mounts.iter().map(volume_mount));
    mounts.extend(plan.pod.volume_mounts.iter().cloned());
    let mut env = plan.pod.env.clone();
    if matches!(backup, Backup::OfJob) {
        // Kubernetes puts this label on the pods of every Job since 1.27.
        let field = ObjectFieldSelector {
            field_path: "metadata.labels['batch.kubernetes.io/job-name']".to_owned(),
            ..ObjectFieldSelector::default()
        };
        let source = EnvVarSource { field_ref: Some(field), ..EnvVarSource::default() };
        env.push(EnvVar { name: JOB_NAME_VARIABLE.to_owned(), value: None, value_from: Some(source) });
    }
    Container {
        name: CONTAINER.to_owned(),
        image: Some(installation.image.clone()),
        image_pull_policy: installation.image_pull_policy.clone(),
        command: Some(vec![PROGRAM.to_owned()]),
        args: Some(arguments(plan, backup)),
        env: some(env),
        ports: has_http(plan).then(|| {
            vec![ContainerPort {
                name: Some("http".to_owned()),
                container_port: HTTP_PORT.into(),
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]
        }),
        resources: Some(plan.pod.resources.clone().unwrap_or_else(resources)),
        security_context: Some(plan.pod.container_security_context.clone().unwrap_or_else(container_security)),
        termination_message_path: Some(TERMINATION_MESSAGE.to_owned()),
        // A pod that was killed has left no message: its last words are better than none.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(mounts),
        ..Container::default()
    }
}

/// Pruning has no progress to tell.
fn has_http(plan: &Plan) -> bool {
    matches!(plan.run.kind(), kafka_backup::config::RunKind::Backup | kafka_backup::config::RunKind::Restore)
}

fn arguments(plan: &Plan, backup: Backup<'_>) -> Vec<String> {
    let config = format!("{CONFIG_FOLDER}/{CONFIG_FILE}");
    let mut arguments: Vec<String> = [
        "--log-format",
        "json",
        plan.run.kind().name(),
        "--config",
        &config,
        "--output",
        "json",
        "--termination-message",
        TERMINATION_MESSAGE,
    ]
    .map(str::to_owned)
    .into();
    if has_http(plan) {
        arguments.extend(["--listen".to_owned(), format!("0.0.0.0:{HTTP_PORT}")]);
    }
    match backup {
        Backup::None => {}
        Backup::Id(id) => arguments.extend(["--backup-id".to_owned(), id.to_owned()]),
        Backup::OfJob => arguments.extend(["--backup-id-of-job".to_owned(), format!("$({JOB_NAME_VARIABLE})")]),
    }
    arguments
}

fn config_volume(config_map: &str) -> Volume {
    let source = ConfigMapVolumeSource { name: config_map.to_owned(), ..ConfigMapVolumeSource::default() };
    Volume { name: "config".to_owned(), config_map: Some(source), ..Volume::default() }
}

fn tmp_volume(size: Option<String>) -> Volume {
    let size = Quantity(size.unwrap_or_else(|| TMP_SIZE.to_owned()));
    let source = EmptyDirVolumeSource { size_limit: Some(size), ..EmptyDirVolumeSource::default() };
    Volume { name: "tmp".to_owned(), empty_dir: Some(source), ..Volume::default() }
}

/// Secrets are for the group of the pod, and for nobody else.
const SECRET_MODE: i32 = 0o440;

fn volume(mount: &Mount) -> Volume {
    let Mount { name, path: _, source } = mount;
    let secret = |name: &str, items| SecretVolumeSource {
        secret_name: Some(name.to_owned()),
        items,
        default_mode: Some(SECRET_MODE),
        ..SecretVolumeSource::default()
    };
    let empty = Volume { name: (*name).to_owned(), ..Volume::default() };
    match source {
        Source::Secret { name } => Volume { secret: Some(secret(name, None)), ..empty },
        Source::SecretKeys { name, keys } => {
            let items = keys.iter().map(|(key, file)| KeyToPath { key: key.clone(), path: file.clone(), mode: None });
            Volume { secret: Some(secret(name, Some(items.collect()))), ..empty }
        }
        Source::Claim { name, sub_path: _ } => {
            let claim = PersistentVolumeClaimVolumeSource { claim_name: name.clone(), read_only: None };
            Volume { persistent_volume_claim: Some(claim), ..empty }
        }
    }
}

fn volume_mount(of: &Mount) -> VolumeMount {
    let Mount { name, path, source } = of;
    match source {
        Source::Secret { .. } | Source::SecretKeys { .. } => mount(name, path, None, true),
        Source::Claim { name: _, sub_path } => mount(name, path, sub_path.clone(), false),
    }
}

fn mount(name: &str, path: &str, sub_path: Option<String>, is_read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        sub_path,
        read_only: is_read_only.then_some(true),
        ..VolumeMount::default()
    }
}

/// `user` is the group too: the one that Secrets are readable for, and that a claim is handed to.
fn pod_security(user: Option<i64>) -> PodSecurityContext {
    PodSecurityContext {
        run_as_non_root: Some(true),
        run_as_user: user,
        run_as_group: user,
        fs_group: user,
        // A claim with millions of files is not walked at every start.
        fs_group_change_policy: Some("OnRootMismatch".to_owned()),
        seccomp_profile: Some(seccomp()),
        ..PodSecurityContext::default()
    }
}

fn seccomp() -> SeccompProfile {
    SeccompProfile { type_: "RuntimeDefault".to_owned(), localhost_profile: None }
}

/// Restricted by itself, whatever is said of the pod.
fn container_security() -> SecurityContext {
    SecurityContext {
        run_as_non_root: Some(true),
        seccomp_profile: Some(seccomp()),
        allow_privilege_escalation: Some(false),
        read_only_root_filesystem: Some(true),
        capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
        ..SecurityContext::default()
    }
}

fn resources() -> ResourceRequirements {
    let quantities = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
        pairs.iter().map(|(name, quantity)| ((*name).to_owned(), Quantity((*quantity).to_owned()))).collect()
    };
    ResourceRequirements {
        requests: Some(quantities(&[("cpu", CPU_REQUEST), ("memory", MEMORY_REQUEST)])),
        limits: Some(quantities(&[("memory", MEMORY_LIMIT)])),
        ..ResourceRequirements::default()
    }
}

fn some<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

#[cfg(test)]
mod tests {
    use crate::api::oso;
    use crate::build::{Installation, tests_owner};
    use crate::plan;

    use super::*;

    fn security(user: Option<i64>, given: Option<PodSecurityContext>) -> PodSecurityContext {
        let backup: oso::KafkaBackup = serde_saphyr::from_str(
            "apiVersion: kafka.oso.sh/v1alpha1\nkind: KafkaBackup\nmetadata: {name: b}\nspec: {kafkaCluster: {bootstrapServers: ['a:1']}, topics: [t], \
             storage: {storageType: pvc, pvc: {claimName: backups}}}\n",
        )
        .unwrap();
        let owner = tests_owner();
        let mut plan = plan::oso::backup(&owner, &backup.spec).unwrap();
        plan.pod.security_context = given;
        let installation = Installation { user, ..Installation::default() };
        let blueprint = Blueprint { owner: &owner, plan: &plan, installation: &installation };
        let template = template(blueprint, &RunKey::Scheduled, "config", Backup::OfJob);
        template.spec.unwrap().security_context.unwrap()
    }

    #[test]
    fn a_pod_runs_as_the_user_of_the_installation_and_its_files_are_for_that_group() {
        let PodSecurityContext { run_as_user, run_as_group, fs_group, run_as_non_root, .. } = security(Some(7), None);
        assert_eq!((run_as_user, run_as_group, fs_group), (Some(7), Some(7), Some(7)));
        assert_eq!(run_as_non_root, Some(true));
    }

    #[test]
    fn without_a_user_the_platform_chooses_and_root_is_refused_all_the_same() {
        let unnamed = security(None, None);
        let named = security(Some(7), None);
        assert_eq!(
            unnamed,
            PodSecurityContext { run_as_user: None, run_as_group: None, fs_group: None, ..named },
            "nothing but the user is missing"
        );
        assert_eq!(unnamed.run_as_non_root, Some(true));
    }

    #[test]
    fn what_a_resource_says_of_its_pods_is_kept_and_the_files_are_for_the_group_of_the_installation() {
        let given = PodSecurityContext { run_as_user: Some(3), ..PodSecurityContext::default() };
        let with_group = |fs_group| PodSecurityContext { fs_group, ..given.clone() };
        assert_eq!(security(Some(7), Some(given.clone())), with_group(Some(7)));
        assert_eq!(security(Some(7), Some(with_group(Some(5)))), with_group(Some(5)));
        assert_eq!(security(None, Some(given.clone())), given);
    }
}
