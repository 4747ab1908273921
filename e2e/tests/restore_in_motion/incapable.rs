//! A cluster that does not serve every request: what a restore cannot do without ends it before anything is deleted or changed, and what
//! it can do without keeps no record away.

use e2e::dump::Record;
use e2e::kafka::Listener;
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, NewTopic, properties};

use crate::hiding_proxy::behind_a_proxy;
use crate::{BackedUp, CONFLICT, OLD_MS, own_configs};

const DELETE_TOPICS: i16 = 20;
const INIT_PRODUCER_ID: i16 = 22;
const INCREMENTAL_ALTER_CONFIGS: i16 = 44;

#[test]
fn nothing_is_deleted_or_changed_where_the_cluster_lacks_a_request_and_the_dry_run_names_it() {
    let (proxy, kafka) = behind_a_proxy();
    let (witness, bootstrap, topic) = (kafka.witness(), kafka.bootstrap(Listener::Plain), unique("kept"));
    // Under this retention brokers delete old records, so that a restore has to lift it, and to set it again.
    witness.create_topics(&[NewTopic::new(&topic, 1).with("retention.ms", 86_400_000)]).unwrap();
    let records: Vec<Record> = (0..10).map(|n| Record::new(0, OLD_MS + n, n.to_string(), "v")).collect();
    witness.produce(&topic, &properties([]), &records).unwrap();
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--existing-topics"];
    let before = witness.describe_topic(&topic).unwrap();
    for (api_key, named, policy) in [
        (DELETE_TOPICS, "DeleteTopics", "overwrite"),
        (INIT_PRODUCER_ID, "InitProducerId", "overwrite"),
        (INIT_PRODUCER_ID, "InitProducerId", "append"),
        (INCREMENTAL_ALTER_CONFIGS, "IncrementalAlterConfigs", "overwrite"),
        (INCREMENTAL_ALTER_CONFIGS, "IncrementalAlterConfigs", "append"),
    ] {
        proxy.hide(Some(api_key));
        for more in [&["--dry-run"][..], &[]] {
            let ended = repository.run(&[&restore[..], &[policy], more].concat()).unwrap();
            assert_eq!(ended.code, Some(CONFLICT), "{policy} without {named} {more:?}: {ended:?}");
            let said = format!("{}{}", ended.stdout, ended.stderr);
            assert!(said.contains(&format!("the cluster has no {named}")), "{policy} {more:?}: {ended:?}");
            assert_eq!(witness.describe_topic(&topic).unwrap(), before, "{policy} without {named} {more:?}");
            assert_eq!(witness.offsets(&topic, At::Latest).unwrap(), [10], "{policy} without {named} {more:?}");
        }
    }
    // Where the cluster lacks nothing, the same restore is done.
    proxy.hide(None);
    let report = repository.report(&[&restore[..], &["overwrite"]].concat());
    assert_eq!((&report["outcome"], &report["records"]), (&"completed".into(), &10.into()), "{report}");
    assert_ne!(witness.describe_topic(&topic).unwrap().id, before.id);
}

#[test]
fn a_cluster_without_incremental_alter_configs_is_restored_to_where_no_record_needs_another_setting() {
    let (proxy, kafka) = behind_a_proxy();
    let (backed_up, witness) = (BackedUp::new(&kafka, "fixed", 600), kafka.witness());
    let [created, compacted] = ["created", "compacted"].map(unique);
    witness.create_topics(&[NewTopic::new(&compacted, Sample::PARTITIONS).with("cleanup.policy", "compact")]).unwrap();
    let before = own_configs(&witness, &compacted);
    proxy.hide(Some(INCREMENTAL_ALTER_CONFIGS));
    for (target, is_compacted) in [(&created, false), (&compacted, true)] {
        for more in [&["--dry-run"][..], &[]] {
            let report = backed_up.restore(target, more).succeeded().json().unwrap();
            let warnings = report["warnings"].to_string();
            let left_out = "(the cluster has no IncrementalAlterConfigs), and it is compact";
            assert_eq!(warnings.contains(left_out), is_compacted, "{target} {more:?}: {report}");
        }
        backed_up.sample.came_back_as(&witness, target).unwrap();
    }
    assert!(own_configs(&witness, &created).is_empty(), "{:?}", own_configs(&witness, &created));
    assert_eq!(own_configs(&witness, &compacted), before);
}
