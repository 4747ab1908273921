use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::*;
use crate::config::restore::{ExistingTopics, RestoreConfig};
use crate::format::manifest::{CommittedOffset, Group, PartitionSummary};
use crate::format::run::{Content, Timestamp};
use crate::format::segment::TopicKey;
use crate::kafka::permissions::Operations;

/// The newest record of the topics below.
const NEWEST_MS: i64 = 1_000_000;
const NOW_MS: i64 = 2_000_000;

fn config(change: impl FnOnce(&mut RestoreConfig)) -> Checked {
    let text = r#"{"cluster": {"bootstrapServers": ["localhost:9092"]}, "storage": "file:///b", "backup": "b"}"#;
    let mut config: RestoreConfig = serde_json::from_str(text).unwrap();
    change(&mut config);
    config.check().unwrap()
}

fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn topic(name: &str, configs: &[(&str, &str)]) -> TopicSummary {
    let content = Content {
        batches: 10,
        records: 100,
        rewrite_batches: 3,
        batch_bytes_max: 5_000,
        max_timestamp_ms: Timestamp(NEWEST_MS),
        ..Content::default()
    };
    let partition = |partition| PartitionSummary {
        partition,
        start_offset: 5,
        end_offset: 110,
        content,
        ..PartitionSummary::default()
    };
    TopicSummary {
        topic: TopicKey { name: name.to_owned(), id: Uuid::from_u128(1) },
        replication_factor: 3,
        configs: map(configs),
        partitions: vec![partition(0), partition(1)],
    }
}

fn manifest(topics: Vec<TopicSummary>) -> Manifest {
    let committed = |topic: &str| CommittedOffset {
        topic: topic.to_owned(),
        partition: 0,
        offset: 50,
        leader_epoch: 0,
        metadata: String::new(),
    };
    let offsets = vec![committed("orders"), committed("elsewhere")];
    let group = |id: &str| Group { id: id.to_owned(), protocol: "classic".to_owned(), offsets: offsets.clone() };
    Manifest {
        backup_id: "b".parse().unwrap(),
        archive: "a".parse().unwrap(),
        engine_version: String::new(),
        source_cluster_id: "source".to_owned(),
        cut_at_ms: 0,
        completed_at_ms: 0,
        topics,
        groups: vec![group("billing"), group("shipping")],
        parts: Vec::new(),
        open_transactions: Vec::new(),
        problems: Vec::new(),
        warnings: Vec::new(),
        content: Content::default(),
        segment_bytes: 0,
        include_offset_headers: false,
        source_cluster_label: None,
    }
}

fn orders() -> Manifest {
    manifest(vec![topic("orders", &[("cleanup.policy", "compact")])])
}

fn existing(partitions: usize, is_empty: bool) -> Existing {
    Existing {
        id: Uuid::from_u128(2),
        internal: false,
        partitions,
        replicas: 3,
        is_empty,
        end_offsets: vec![i64::from(!is_empty); partitions],
        min_insync_replicas: 1,
        max_message_bytes: 4_000,
        configs: map(&[("cleanup.policy", "compact")]),
        effective: map(&[("cleanup.policy", "compact")]),
        operations: Operations::NOT_TOLD,
    }
}

fn facts(change: impl FnOnce(&mut TargetFacts)) -> TargetFacts {
    let mut facts = TargetFacts {
        cluster_id: "target".to_owned(),
        brokers: 3,
        min_insync_replicas: 1,
        has_timestamp_before_and_after: true,
        ..TargetFacts::default()
    };
    change(&mut facts);
    facts
}

fn made_after(manifest: &Manifest, config: &Checked, facts: &TargetFacts, earlier: &Earlier) -> Plan {
    let topics = wanted_topics(manifest, config).unwrap();
    let groups = wanted_groups(manifest, config).unwrap();
    make(manifest, &topics, &groups, config, facts, earlier, NOW_MS)
}

fn made(manifest: &Manifest, config: &Checked, facts: &TargetFacts) -> Plan {
    made_after(manifest, config, facts, &Earlier::default())
}

fn with_orders(topic: Existing) -> TargetFacts {
    facts(|facts| drop(facts.existing.insert("orders".to_owned(), topic)))
}

#[test]
fn a_mapping_from_a_topic_that_is_not_restored_is_an_error() {
    let mapped = |mapping: &[(&str, &str)]| {
        let mapping = map(mapping);
        wanted_topics(&orders(), &config(|config| config.topic_mapping = mapping)).map(|topics| topics[0].1.clone())
    };
    assert_eq!(mapped(&[("orders", "orders-2")]), Ok("orders-2".to_owned()));
    assert!(mapped(&[("gone", "x")]).unwrap_err()[0].contains(r#""gone""#));
}

#[test]
fn a_topic_that_takes_the_name_of_another_is_an_error() {
    let manifest = manifest(vec![topic("orders", &[]), topic("payments", &[])]);
    let config = config(|config| config.topic_mapping = map(&[("payments", "orders")]));
    assert!(wanted_topics(&manifest, &config).unwrap_err()[0].contains("are both to become"));
}

#[test]
fn what_was_asked_for_and_is_not_in_the_backup_is_an_error() {
    for pattern in ["gone", "gone.*"] {
        let config = config(|config| config.topics = vec![pattern.to_owned()]);
        assert!(wanted_topics(&orders(), &config).is_err(), "{pattern}");
    }
    let excluded = config(|config| config.exclude_topics = vec![".*".to_owned()]);
    assert_eq!(wanted_topics(&orders(), &excluded), Err(vec!["no topic is left to restore".to_owned()]));
    let group = config(|config| config.consumer_groups = Some(vec!["gone".to_owned()]));
    assert!(wanted_groups(&orders(), &group).is_err());
}

#[test]
fn a_created_topic_keeps_its_configuration_and_takes_old_records_meanwhile() {
    let plan = made(&orders(), &config(|_| ()), &facts(|_| ()));
    let topic = &plan.topics[0];
    assert_eq!((topic.action, topic.replication_factor), (Action::Create, 3));
    assert_eq!(topic.configs, map(&[("cleanup.policy", "compact")]));
    let meanwhile = |name: &str| topic.configs_meanwhile.get(name).map(String::as_str);
    assert_eq!(meanwhile("cleanup.policy"), Some("delete"));
    assert_eq!(meanwhile("retention.ms"), Some("-1"));
    assert_eq!(meanwhile("message.timestamp.type"), Some("CreateTime"));
    assert_eq!(meanwhile("message.timestamp.after.max.ms"), Some("9223372036854775807"));
    assert_eq!(meanwhile("message.timestamp.difference.max.ms"), None);
    assert!(plan.refusals.is_empty() && plan.warnings.is_empty(), "{plan:?}");
    let older = made(&orders(), &config(|_| ()), &facts(|facts| facts.has_timestamp_before_and_after = false));
    assert!(older.topics[0].configs_meanwhile.contains_key("message.timestamp.difference.max.ms"));
}

#[test]
fn a_created_topic_takes_the_largest_batch_whatever_its_limit_was() {
    let largest = |limit: &str| {
        let mut topic = topic("orders", &[("max.message.bytes", limit)]);
        topic.partitions[1].content.batch_bytes_max = 3_000_000;
        let plan = made(&manifest(vec![topic]), &config(|_| ()), &facts(|_| ()));
        assert_eq!(plan.topics[0].configs_meanwhile["max.message.bytes"], plan.topics[0].max_batch_bytes.to_string());
        plan.topics[0].max_batch_bytes
    };
    assert!(largest("1000") > 3_000_000);
    assert_eq!(largest("5000000"), 5_000_000);
}

#[test]
fn a_topic_with_records_is_refused_unless_the_request_says_what_to_do() {
    let plan_for = |policy, is_empty| {
        made(&orders(), &config(|config| config.existing_topics = policy), &with_orders(existing(2, is_empty)))
    };
    let refused = plan_for(ExistingTopics::Fail, false);
    assert!(refused.refusals[0].contains(r#""orders" exists and is not empty"#));
    for (policy, is_empty, action) in [
        (ExistingTopics::Fail, true, Action::Use),
        (ExistingTopics::Append, true, Action::Use),
        (ExistingTopics::Append, false, Action::Append),
        (ExistingTopics::Overwrite, false, Action::Overwrite),
        (ExistingTopics::Overwrite, true, Action::Overwrite),
    ] {
        let plan = plan_for(policy, is_empty);
        assert_eq!((plan.topics[0].action, plan.refusals.len()), (action, 0), "{policy:?} {is_empty}");
    }
}

fn with_partitions(mapping: &[(&str, &[(i32, i32)])]) -> Checked {
    let of_topic = |pairs: &[(i32, i32)]| pairs.iter().copied().collect();
    config(|config| {
        config.partition_mapping =
            mapping.iter().map(|(topic, pairs)| ((*topic).to_owned(), of_topic(pairs))).collect();
    })
}

#[test]
fn partitions_get_the_numbers_that_are_wanted_and_the_topic_as_many_as_the_largest_needs() {
    for (mapping, numbers, wanted) in
        [(&[(0, 4)][..], [(0, 4), (1, 1)], 5), (&[(0, 1), (1, 0)], [(0, 1), (1, 0)], 2), (&[], [(0, 0), (1, 1)], 2)]
    {
        let config = with_partitions(&[("orders", mapping)]);
        let plan = made(&orders(), &config, &facts(|_| ()));
        let topic = &plan.topics[0];
        let told: Vec<(i32, i32)> =
            topic.partitions.iter().map(|partition| (partition.partition, partition.target)).collect();
        assert_eq!((told.as_slice(), topic.target_partitions), (&numbers[..], wanted), "{mapping:?}");
        let existing = made(&orders(), &config, &with_orders(existing(2, true)));
        assert_eq!(existing.refusals.is_empty(), wanted == 2, "{mapping:?}: {:?}", existing.refusals);
    }
}

#[test]
fn partitions_that_would_meet_or_are_not_there_are_refused_by_name() {
    for (mapping, says) in [
        (("orders", &[(0, 1)][..]), r#"partitions 0 and 1 of topic "orders" would both become 1"#),
        (("orders", &[(7, 8)]), r#"partition 7 of topic "orders", which the backup does not have"#),
        (("audit", &[(0, 1)]), r#"names topic "audit", which is not among the topics"#),
    ] {
        let errors = wanted_topics(&orders(), &with_partitions(&[mapping])).unwrap_err();
        assert!(errors.len() == 1 && errors[0].contains(says), "{errors:?}");
    }
}

#[test]
fn an_existing_topic_needs_as_many_partitions() {
    let plan = |partitions| made(&orders(), &config(|_| ()), &with_orders(existing(partitions, true)));
    assert!(plan(1).refusals[0].contains("1 partitions, the restore needs 2"));
    assert!(plan(2).refusals.is_empty() && plan(3).refusals.is_empty());
    assert!(plan(3).warnings.iter().any(|warning| warning.contains("another partition")));
}

#[test]
fn an_existing_topic_keeps_its_limit_and_its_configuration_and_that_is_said() {
    let mut topic = existing(2, true);
    topic.configs = map(&[("cleanup.policy", "delete")]);
    let plan = made(&orders(), &config(|_| ()), &with_orders(topic));
    assert_eq!(plan.topics[0].max_batch_bytes, 4_000);
    assert!(!plan.topics[0].configs_meanwhile.contains_key("max.message.bytes"));
    assert!(plan.warnings.iter().any(|warning| warning.contains("these are split")), "{:?}", plan.warnings);
    assert!(plan.warnings.iter().any(|warning| warning.ends_with("other values of cleanup.policy")));
}

#[test]
fn no_batch_is_larger_than_a_segment_of_the_target() {
    let segments_of = |bytes: &str| map(&[("segment.bytes", bytes)]);
    let kept = with_orders(Existing { effective: segments_of("3000"), ..existing(2, true) });
    assert_eq!(made(&orders(), &config(|_| ()), &kept).topics[0].max_batch_bytes, 3_000);
    let archived = manifest(vec![topic("orders", &[("segment.bytes", "3000")])]);
    let created = made(&archived, &config(|_| ()), &facts(|_| ()));
    assert_eq!(created.topics[0].max_batch_bytes, 3_000, "the source had larger segments when it took its batches");
    let overwrite = config(|config| config.existing_topics = ExistingTopics::Overwrite);
    let there = Existing { effective: segments_of("1073741824"), ..existing(2, false) };
    let refused = made(&archived, &overwrite, &with_orders(there)).refusals;
    assert!(refused[0].contains("a record may be larger"), "nothing is deleted on a hope: {refused:?}");
    let by_default = facts(|facts| facts.segment_bytes_min = Some(2_000));
    assert_eq!(made(&orders(), &config(|_| ()), &by_default).topics[0].max_batch_bytes, 2_000);
}

#[test]
fn no_batch_is_larger_than_a_request_that_brokers_take() {
    let taking = |bytes| facts(|facts| facts.request_limit = RequestLimit::of(&[Some(bytes), Some(bytes + 1)]));
    let large = |batch_bytes_max| {
        let mut topic = topic("orders", &[]);
        for partition in &mut topic.partitions {
            (partition.content.batch_bytes_max, partition.content.rewrite_batches) = (batch_bytes_max, 0);
        }
        manifest(vec![topic])
    };
    let created = made(&large(3_000_000), &config(|_| ()), &taking(2_000_000));
    assert!(created.topics[0].max_batch_bytes < 2_000_000, "there is room for the rest of the request");
    assert!(created.warnings.iter().any(|warning| warning.contains("these are split")), "{:?}", created.warnings);
    let overwrite = config(|config| config.existing_topics = ExistingTopics::Overwrite);
    let there = TargetFacts { existing: with_orders(existing(2, false)).existing, ..taking(2_000_000) };
    let refused = made(&large(3_000_000), &overwrite, &there).refusals;
    assert!(refused[0].contains("socket.request.max.bytes"), "nothing is deleted on a hope: {refused:?}");
    assert!(made(&large(1_990_000), &overwrite, &there).refusals.is_empty());
    // A header with the offset makes a batch larger, and so may another end of it.
    let with_header = config(|config| {
        config.existing_topics = ExistingTopics::Overwrite;
        config.original_offset_header = Some("offset".to_owned());
    });
    let to_a_time = config(|config| {
        config.existing_topics = ExistingTopics::Overwrite;
        config.point_in_time = Some("2026-02-12T14:30:00Z".to_owned());
    });
    for config in [with_header, to_a_time] {
        assert_eq!(made(&large(1_990_000), &config, &there).refusals.len(), 1);
    }
}

#[test]
fn nothing_is_deleted_on_a_size_of_requests_that_not_all_brokers_tell() {
    let of_bytes = |batch_bytes_max| {
        let mut topic = topic("orders", &[]);
        topic.partitions.iter_mut().for_each(|partition| partition.content.batch_bytes_max = batch_bytes_max);
        manifest(vec![topic])
    };
    let overwrite = config(|config| config.existing_topics = ExistingTopics::Overwrite);
    let told = |brokers: &[Option<u64>]| TargetFacts {
        request_limit: RequestLimit::of(brokers),
        ..with_orders(existing(2, false))
    };
    for untold in [told(&[]), told(&[None, None]), told(&[Some(100 << 20), None])] {
        assert!(made(&of_bytes(1_048_588), &overwrite, &untold).refusals.is_empty(), "any broker takes that");
        let refused = made(&of_bytes(10 << 20), &overwrite, &untold).refusals;
        assert!(refused[0].contains("grant this user DescribeConfigs on the cluster"), "{refused:?}");
        // What an earlier run has begun to replace is restored as well as can be.
        let begun = Earlier { actions: [("orders".to_owned(), Action::Overwrite)].into(), ..Earlier::default() };
        assert!(made_after(&of_bytes(10 << 20), &overwrite, &untold, &begun).refusals.is_empty());
        // A topic that is created is lost to nobody.
        assert!(made(&of_bytes(10 << 20), &config(|_| ()), &facts(|_| ())).refusals.is_empty());
    }
    let all = told(&[Some(100 << 20), Some(100 << 20)]);
    assert!(made(&of_bytes(10 << 20), &overwrite, &all).refusals.is_empty());
}

#[test]
fn a_limit_in_which_brokers_differ_is_set_on_a_topic_that_is_created() {
    let archived = manifest(vec![topic("orders", &[])]);
    let created = |facts: &TargetFacts| {
        let topic = made(&archived, &config(|_| ()), facts).topics.remove(0);
        topic.configs_created.get("max.message.bytes").cloned()
    };
    let same = facts(|facts| facts.defaults = map(&[("max.message.bytes", "1048588")]));
    assert_eq!(created(&same), None, "all brokers have it already");
    let differ = facts(|facts| facts.message_bytes_min = Some(4_000));
    assert_eq!(created(&differ).as_deref(), Some("1048588"));
}

#[test]
fn topics_of_kafka_itself_are_never_written_to() {
    for policy in [ExistingTopics::Fail, ExistingTopics::Append, ExistingTopics::Overwrite] {
        let to_internal = config(|config| {
            config.existing_topics = policy;
            config.topic_mapping = map(&[("orders", "__consumer_offsets")]);
        });
        assert!(made(&orders(), &to_internal, &facts(|_| ())).refusals[0].contains("Kafka's own"));
    }
    let internal = Existing { internal: true, ..existing(2, true) };
    assert!(made(&orders(), &config(|_| ()), &with_orders(internal)).refusals[0].contains("Kafka's own"));
}

#[test]
fn topics_of_add_ons_of_the_cluster_are_never_written_to() {
    for policy in [ExistingTopics::Fail, ExistingTopics::Append, ExistingTopics::Overwrite] {
        let to_add_on = config(|config| {
            config.existing_topics = policy;
            config.topic_mapping = map(&[("orders", "__remote_log_metadata")]);
        });
        assert!(made(&orders(), &to_add_on, &facts(|_| ())).refusals[0].contains("state of an add-on"));
    }
}

#[test]
fn a_point_in_time_of_a_compacted_topic_is_warned_about() {
    let warned = |configs: &[(&str, &str)], time: Option<&str>| {
        let mut manifest = manifest(vec![topic("orders", configs)]);
        manifest.cut_at_ms = 60_000;
        let config = config(|config| config.point_in_time = time.map(str::to_owned));
        made(&manifest, &config, &facts(|_| ())).warnings.iter().any(|warning| warning.contains("is compacted"))
    };
    assert!(warned(&[("cleanup.policy", "compact")], Some("1970-01-01T00:00:59Z")));
    assert!(warned(&[("cleanup.policy", "compact,delete")], Some("1970-01-01T00:00:59Z")));
    assert!(!warned(&[("cleanup.policy", "compact")], Some("1970-01-01T00:01:00Z")), "nothing came after it");
    assert!(!warned(&[("cleanup.policy", "compact")], None));
    assert!(!warned(&[], Some("1970-01-01T00:00:59Z")));
}

#[test]
fn a_setting_that_the_target_refuses_is_left_out_only_where_no_record_is_lost() {
    use super::protection::{Harm, without};
    let manifest = manifest(vec![topic("orders", &[("retention.ms", "3600000")])]);
    let source = &manifest.topics[0];
    let age_ms = NOW_MS - NEWEST_MS;
    let harm = |setting: &str, value: Option<&str>, start_ms: Option<i64>| {
        let mut there = existing(2, true);
        there.effective.extend(value.map(|value| (setting.to_owned(), value.to_owned())));
        let facts = with_orders(there);
        let plan = made(&manifest, &config(|_| ()), &facts);
        without(setting, source, &plan.topics[0], &facts, start_ms, NOW_MS)
    };
    assert_eq!(harm("retention.ms", Some("-1"), None), Harm::None);
    assert!(matches!(harm("retention.ms", Some(&age_ms.to_string()), None), Harm::Risk(_)));
    assert!(matches!(harm("retention.ms", Some(&(age_ms - 1).to_string()), None), Harm::Loss(_)));
    assert_eq!(harm("retention.ms", Some("1000"), Some(NOW_MS - 1000)), Harm::None, "older records are not wanted");
    assert!(matches!(harm("retention.ms", None, None), Harm::Risk(_)));
    assert!(matches!(harm("message.timestamp.type", Some("LogAppendTime"), None), Harm::Loss(_)));
    assert_eq!(harm("message.timestamp.type", Some("CreateTime"), None), Harm::None);
    assert!(matches!(harm("message.timestamp.before.max.ms", Some("1000"), None), Harm::Loss(_)));
    assert!(matches!(harm("message.timestamp.before.max.ms", Some(&age_ms.to_string()), None), Harm::Risk(_)));
    assert_eq!(harm("message.timestamp.before.max.ms", Some("1000"), Some(NOW_MS - 1000)), Harm::None);
    assert_eq!(harm("message.timestamp.after.max.ms", Some("1000"), None), Harm::None, "no record is ahead of now");
    assert!(matches!(harm("message.timestamp.after.max.ms", Some(&(-age_ms - 1).to_string()), None), Harm::Loss(_)));
    assert!(matches!(harm("compression.type", Some("zstd"), None), Harm::Risk(_)));
    assert!(matches!(harm("cleanup.policy", Some("compact"), None), Harm::Risk(_)));
    assert_eq!(harm("retention.bytes", Some("-1"), None), Harm::None);
}

#[test]
fn a_topic_is_not_overwritten_under_a_retention_that_may_take_records() {
    use super::protection::{Harm, expiring_runs, limited_retention, without};
    let manifest = manifest(vec![topic("orders", &[("retention.ms", "3600000")])]);
    let overwrite = config(|config| config.existing_topics = ExistingTopics::Overwrite);
    let facts = with_orders(Existing { effective: map(&[("retention.ms", "-1")]), ..existing(2, false) });
    let mut plan = made(&manifest, &overwrite, &facts);
    assert_eq!(limited_retention(&plan.topics[0], &facts), None, "it is lifted while data flows");
    let mut unknown = plan.topics[0].clone();
    unknown.configs.remove("retention.ms");
    let unknown = without("retention.ms", &manifest.topics[0], &unknown, &facts, None, NOW_MS);
    assert!(matches!(unknown, Harm::Loss(_)), "{unknown:?}");
    // What could not be restored again under another name must not be deleted on a hope.
    for (setting, value) in [
        ("max.message.bytes", Some("4999")),
        ("message.timestamp.before.max.ms", Some("1500000")),
        ("message.timestamp.before.max.ms", None),
        ("message.timestamp.type", None),
        ("retention.bytes", None),
    ] {
        let mut topic = plan.topics[0].clone();
        topic.configs.extend(value.map(|value| (setting.to_owned(), value.to_owned())));
        let harm = |topic: &TopicPlan| without(setting, &manifest.topics[0], topic, &facts, None, NOW_MS);
        assert!(matches!(harm(&topic), Harm::Loss(_)), "{setting} {value:?}: {:?}", harm(&topic));
        topic.action = Action::Create;
        assert!(matches!(harm(&topic), Harm::Risk(_)), "{setting} {value:?}: {:?}", harm(&topic));
    }
    plan.topics[0].configs_meanwhile.remove("retention.ms");
    assert_eq!(limited_retention(&plan.topics[0], &facts), Some(3_600_000));

    let run =
        |max_timestamp_ms| Content { records: 1, max_timestamp_ms: Timestamp(max_timestamp_ms), ..Content::default() };
    let runs = [run(NOW_MS - 5_000), run(NOW_MS)];
    let told = |retention_ms, start_ms| expiring_runs("orders", retention_ms, runs.iter(), start_ms, NOW_MS);
    assert_eq!(told(5_000, None), None);
    assert!(told(4_999, None).unwrap().contains("1 runs"));
    assert_eq!(told(4_999, Some(NOW_MS - 4_000)), None, "older records are not wanted");
}

#[test]
fn records_survive_only_without_an_end_or_under_compaction() {
    use super::protection::survives;
    let after = |pairs: &[(&str, Option<&str>)]| -> BTreeMap<String, Option<String>> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), value.map(str::to_owned))).collect()
    };
    let infinite = facts(|facts| facts.defaults = map(&[("retention.ms", "-1"), ("retention.bytes", "-1")]));
    let limited = facts(|facts| facts.defaults = map(&[("retention.ms", "5"), ("retention.bytes", "-1")]));
    let of_defaults = after(&[("retention.ms", None), ("retention.bytes", None), ("cleanup.policy", None)]);
    assert!(survives("orders", &of_defaults, &infinite));
    assert!(!survives("orders", &of_defaults, &limited) && !survives("orders", &of_defaults, &facts(|_| ())));
    let own = |policy, retention| {
        after(&[("cleanup.policy", policy), ("retention.ms", retention), ("retention.bytes", Some("-1"))])
    };
    assert!(survives("orders", &own(Some("compact"), Some("5")), &limited));
    assert!(!survives("orders", &own(Some("compact,delete"), Some("5")), &limited));
    assert!(survives("orders", &own(None, Some("-1")), &limited));
    // A setting that is not changed stays as it is.
    let topic = Existing { effective: map(&[("retention.ms", "-1")]), ..existing(2, true) };
    assert!(survives("orders", &after(&[("retention.bytes", Some("-1"))]), &with_orders(topic)));
}

#[test]
fn local_disks_of_tiered_storage_are_not_filled_by_a_restore() {
    let meanwhile = |configs: &[(&str, &str)]| {
        let plan = made(&manifest(vec![topic("orders", configs)]), &config(|_| ()), &facts(|_| ()));
        plan.topics[0].configs_meanwhile.get("local.retention.bytes").cloned()
    };
    assert_eq!(meanwhile(&[]), None);
    assert!(meanwhile(&[("remote.storage.enable", "true")]).is_some());
    assert_eq!(meanwhile(&[("remote.storage.enable", "true"), ("local.retention.ms", "1000")]), None);
}

#[test]
fn what_the_cluster_does_already_is_not_set_at_the_creation() {
    let defaults = map(&[("compression.type", "producer"), ("cleanup.policy", "delete"), ("retention.ms", "-1")]);
    let facts = facts(|facts| facts.defaults = defaults);
    let plan = made(&manifest(vec![topic("orders", &[("retention.ms", "1000")])]), &config(|_| ()), &facts);
    let topic = &plan.topics[0];
    assert!(!topic.configs_created.contains_key("compression.type"));
    assert_eq!(topic.configs_created["retention.ms"], "-1", "the archived value is another");
    assert_eq!(topic.configs_meanwhile["compression.type"], "producer", "it is held all the same");
}

#[test]
fn a_partition_that_the_backup_lacks_never_replaces_data_by_nothing() {
    // It could not be read; or its topic was deleted before it was read to its end.
    let lacks: [fn(&mut PartitionSummary); 2] =
        [|partition| partition.missing = true, |partition| partition.content.holes.deleted = 7];
    for lack in lacks {
        let mut manifest = orders();
        lack(&mut manifest.topics[0].partitions[1]);
        let plan = |policy, topic: Option<Existing>| {
            let config = config(|config| config.existing_topics = policy);
            made(&manifest, &config, &topic.map_or_else(|| facts(|_| ()), with_orders))
        };
        let overwritten = plan(ExistingTopics::Overwrite, Some(existing(2, false)));
        assert!(overwritten.refusals[0].contains("the backup lacks all or a part (1)"), "{overwritten:?}");
        for plan in [
            plan(ExistingTopics::Overwrite, Some(existing(2, true))),
            plan(ExistingTopics::Append, Some(existing(2, false))),
            plan(ExistingTopics::Fail, None),
        ] {
            assert!(plan.refusals.is_empty(), "{plan:?}");
            assert!(plan.warnings.iter().any(|warning| warning.contains("a part of partitions 1")), "{plan:?}");
        }
    }
}

#[test]
fn a_compacted_partition_whose_reader_fell_behind_never_replaces_data() {
    let refusals = |name: &str, problem: &str| {
        let mut manifest = manifest(vec![topic(name, &[("cleanup.policy", "compact")])]);
        manifest.problems.push(problem.to_owned());
        let config = config(|config| config.existing_topics = ExistingTopics::Overwrite);
        let there = facts(|facts| drop(facts.existing.insert(name.to_owned(), existing(2, false))));
        made(&manifest, &config, &there).refusals
    };
    // As the backup says it.
    let behind = "orders-1: the topic is compacted, and is written to faster than it is read: of keys that were written again after \
                  offset 7, the backup may hold no value";
    let refused = refusals("orders", behind);
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(refused[0].contains("the backup lacks all or a part (1)"), "{refused:?}");
    let since = r#"topic "orders": cleanup.policy became compact after the cut, and records are missing between those that were read"#;
    assert!(refusals("orders", since)[0].contains("the backup lacks all or a part (0, 1)"), "each partition may");
    assert!(refusals("orders-2", since).is_empty(), "another topic");
    assert!(refusals("orders", &behind.replace("orders-1:", "orders-10:")).is_empty(), "another partition");
    assert!(refusals("orders", &behind.replace("orders-1:", "orders-1-1:")).is_empty(), "another topic");
}

#[test]
fn data_is_not_replaced_by_what_may_be_of_two_logs_and_no_configuration_by_the_defaults_of_the_cluster() {
    let plan = |policy, is_empty, problem: &str| {
        let mut manifest = orders();
        manifest.problems.push(problem.to_owned());
        let config = config(|config| config.existing_topics = policy);
        made(&manifest, &config, &with_orders(existing(2, is_empty)))
    };
    let two_logs = crate::backup::lines::unproven("orders", &[1, 7].into());
    let not_configured = r#"the configuration of topic "orders" is not in the backup: TOPIC_AUTHORIZATION_FAILED (29)"#;
    for (problem, says) in [
        (two_logs.as_str(), "the backup may hold records of two logs (1)"),
        (not_configured, "would lose its configuration"),
    ] {
        let refusals = plan(ExistingTopics::Overwrite, false, problem).refusals;
        assert!(refusals.len() == 1 && refusals[0].contains(says), "{refusals:?}");
        for (policy, is_empty) in [(ExistingTopics::Overwrite, true), (ExistingTopics::Append, false)] {
            let plan = plan(policy, is_empty, problem);
            assert!(
                plan.refusals.is_empty() && plan.warnings.iter().any(|warning| warning.ends_with(problem)),
                "{plan:?}"
            );
        }
    }
}

#[test]
fn a_replication_factor_that_the_cluster_cannot_give_is_refused() {
    let one = |facts: &mut TargetFacts| facts.brokers = 1;
    assert!(made(&orders(), &config(|_| ()), &facts(one)).refusals[0].contains("or give replicationFactor"));
    let given = config(|config| config.replication_factor = Some(1));
    let plan = made(&orders(), &given, &facts(one));
    assert_eq!((plan.topics[0].replication_factor, plan.refusals.len()), (1, 0));
}

#[test]
fn fewer_replicas_than_must_be_in_sync_are_refused_or_the_number_is_lowered_and_said() {
    let manifest = manifest(vec![topic("orders", &[("min.insync.replicas", "2")])]);
    let given = config(|config| config.replication_factor = Some(1));
    let plan = made(&manifest, &given, &facts(|_| ()));
    assert_eq!(plan.topics[0].configs["min.insync.replicas"], "1");
    assert!(plan.warnings[0].contains("min.insync.replicas is lowered"));
    let of_cluster = facts(|facts| facts.min_insync_replicas = 4);
    assert!(made(&orders(), &config(|_| ()), &of_cluster).refusals[0].contains("min.insync.replicas"));
    let existing = Existing { replicas: 1, min_insync_replicas: 2, ..existing(2, true) };
    assert!(made(&orders(), &config(|_| ()), &with_orders(existing)).refusals[0].contains("nothing can be written"));
}

#[test]
fn how_many_replicas_topics_get_is_said_where_nobody_can_tell_whether_they_are_enough() {
    let few = TopicSummary { replication_factor: 1, ..topic("few", &[]) };
    let told = topic("told", &[("min.insync.replicas", "2")]);
    let manifest = manifest(vec![few, topic("orders", &[]), told]);
    let warnings = |facts: &TargetFacts| -> Vec<String> {
        let warnings = made(&manifest, &config(|_| ()), facts).warnings.into_iter();
        warnings.filter(|warning| warning.contains("DescribeConfigs on the cluster")).collect()
    };
    assert!(warnings(&facts(|_| ())).is_empty());
    let denied = facts(|facts| facts.lacks_describe_configs = true);
    let warnings = warnings(&denied);
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("topics to create: 2, replicas: 1 to 3."), "{warnings:?}");
    let earlier = Earlier { has_prepared: true, ..Earlier::default() };
    let resumed = made_after(&manifest, &config(|_| ()), &denied, &earlier);
    assert!(!resumed.warnings.iter().any(|warning| warning.contains("DescribeConfigs")), "they are there: {resumed:?}");
    let used = made(
        &orders(),
        &config(|_| ()),
        &TargetFacts { lacks_describe_configs: true, ..with_orders(existing(2, true)) },
    );
    assert!(!used.warnings.iter().any(|warning| warning.contains("DescribeConfigs")), "it is there: {used:?}");
}

#[test]
fn settings_that_mean_nothing_in_the_target_are_left_out_and_named() {
    let throttled = "leader.replication.throttled.replicas";
    let manifest = manifest(vec![topic("orders", &[(throttled, "0:1"), ("confluent.x", "y")])]);
    let plan = made(&manifest, &config(|_| ()), &facts(|_| ()));
    assert_eq!(plan.topics[0].configs, map(&[("confluent.x", "y")]), "what is unknown only the cluster can tell");
    assert!(plan.warnings[0].contains(throttled));
    let overwrite = config(|config| config.existing_topics = ExistingTopics::Overwrite);
    let plan = made(&manifest, &overwrite, &with_orders(existing(2, false)));
    assert!(plan.topics[0].configs.is_empty());
    assert!(plan.warnings.iter().any(|warning| warning.contains("confluent.x=y")));
}

#[test]
fn batches_are_counted_by_what_is_known_of_them() {
    let counts = |change: &dyn Fn(&mut RestoreConfig)| {
        let plan = made(&orders(), &config(|config| change(config)), &facts(|_| ()));
        let partition = plan.topics[0].partitions[0];
        (partition.batches_as_they_are, partition.batches_made_anew, partition.batches_to_look_at)
    };
    assert_eq!(counts(&|_| ()), (7, 3, 0));
    // 1,000,000 ms after the epoch is the newest record: then all pass, and one millisecond earlier any may not.
    assert_eq!(counts(&|config| config.point_in_time = Some("1970-01-01T00:16:40.000Z".to_owned())), (7, 3, 0));
    assert_eq!(counts(&|config| config.point_in_time = Some("1970-01-01T00:16:39.999Z".to_owned())), (0, 3, 7));
    assert_eq!(counts(&|config| config.start_time = Some("1970-01-01T00:00:00Z".to_owned())), (0, 3, 7));
    assert_eq!(counts(&|config| config.original_offset_header = Some("h".to_owned())), (0, 10, 0));
}

#[test]
fn records_that_the_target_would_sweep_at_once_are_warned_about() {
    let age_ms = NOW_MS - NEWEST_MS;
    let warned = |configs: &[(&str, &str)], of_cluster: Option<i64>| {
        let facts = facts(|facts| facts.retention_ms = of_cluster);
        let plan = made(&manifest(vec![topic("orders", configs)]), &config(|_| ()), &facts);
        plan.warnings.iter().any(|warning| warning.contains("all records of 2 partitions are older"))
    };
    assert!(warned(&[], Some(age_ms - 1)));
    assert!(!warned(&[], Some(age_ms)));
    assert!(!warned(&[], Some(-1)) && !warned(&[], None));
    assert!(warned(&[("retention.ms", "1000")], Some(-1)));
    assert!(!warned(&[("retention.ms", "1000"), ("cleanup.policy", "compact")], None));
    assert!(warned(&[("retention.ms", "1000"), ("cleanup.policy", "compact,delete")], None));
}

#[test]
fn offsets_on_topics_that_are_not_restored_are_counted_and_left_out() {
    let config = config(|config| {
        config.consumer_groups = Some(vec!["bill.*".to_owned()]);
        config.group_mapping = map(&[("billing", "billing-2")]);
    });
    let plan = made(&orders(), &config, &facts(|_| ()));
    let [group] = plan.groups.as_slice() else { panic!("{:?}", plan.groups) };
    assert_eq!((group.source.as_str(), group.target.as_str()), ("billing", "billing-2"));
    assert_eq!((group.offsets.len(), group.left_out), (1, 1));
}

#[test]
fn a_group_that_is_busy_is_warned_about_until_it_is_restored() {
    let config = config(|config| config.consumer_groups = Some(Vec::new()));
    let busy = facts(|facts| drop(facts.busy_groups.insert("billing".to_owned(), "members".to_owned())));
    let plan = made(&orders(), &config, &busy);
    assert_eq!((plan.groups.len(), plan.busy_groups.len(), plan.problems.len()), (2, 1, 0));
    assert!(plan.warnings.is_empty(), "it is told once");
    let earlier = Earlier { groups: BTreeSet::from(["billing".to_owned()]), ..Earlier::default() };
    assert!(made_after(&orders(), &config, &busy, &earlier).busy_groups.is_empty());
}

#[test]
fn a_run_that_goes_on_keeps_to_what_was_decided() {
    let decided = |action| Earlier { actions: [("orders".to_owned(), action)].into(), ..Earlier::default() };
    let plan = |action, is_empty| {
        made_after(&orders(), &config(|_| ()), &with_orders(existing(2, is_empty)), &decided(action))
    };
    // A killed run had created the topic: it is still one that gets the archived configuration in the end.
    let created = plan(Action::Create, true);
    assert_eq!((created.topics[0].action, created.refusals.len()), (Action::Create, 0));
    assert!(created.topics[0].configs_meanwhile.contains_key("max.message.bytes"));
    for (action, is_empty, refused) in [
        (Action::Create, false, true),
        (Action::Use, false, true),
        (Action::Append, false, false),
        (Action::Overwrite, false, false),
    ] {
        assert_eq!(!plan(action, is_empty).refusals.is_empty(), refused, "{action:?}");
    }
}

#[test]
fn a_partial_backup_is_said_to_be_one() {
    let mut manifest = orders();
    manifest.problems.push("partition 7 had no leader".to_owned());
    assert_eq!(
        made(&manifest, &config(|_| ()), &facts(|_| ())).warnings,
        ["the backup is partial: partition 7 had no leader"]
    );
}
