//! The users of `examples/strimzi` may do what a backup and a restore need, and nothing that they do not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use e2e::cli::Ended;
use e2e::dump::Record;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{At, Commit, NewTopic, Position, properties};
use serde_json::Value;
use tempfile::TempDir;

const USAGE: i32 = 2;
const DENIED: i32 = 4;
const PARTIAL: i32 = 7;
const RECORDS: i64 = 20;

/// An operation that is allowed, in Kafka's own words.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rule {
    operation: String,
    resource: String,
    name: String,
}

/// What the `KafkaUser` of an example may do.
fn rules(example: &str) -> Vec<Rule> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/strimzi").join(example);
    let user: Value = serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let lists = user["spec"]["authorization"]["acls"].as_array().unwrap().iter().flat_map(|acl| {
        let resource = acl["resource"]["type"].as_str().unwrap().to_uppercase();
        let name = acl["resource"]["name"].as_str().unwrap_or("kafka-cluster");
        let operations = acl["operations"].as_array().unwrap().iter();
        operations.map(move |operation| Rule {
            operation: in_capitals(operation.as_str().unwrap()),
            resource: resource.clone(),
            name: name.to_owned(),
        })
    });
    lists.collect()
}

/// `AlterConfigs`, as Strimzi writes it, is `ALTER_CONFIGS`.
fn in_capitals(operation: &str) -> String {
    let mut words = String::new();
    for letter in operation.chars() {
        if letter.is_uppercase() && !words.is_empty() {
            words.push('_');
        }
        words.extend(letter.to_uppercase());
    }
    words
}

/// A topic and a group that has read half of it, on a broker that lets in nobody without permission.
struct Source {
    kafka: &'static Kafka,
    topic: String,
    group: String,
    passwords: TempDir,
}

impl Source {
    fn new() -> Self {
        let kafka = Kafka::shared(Shared::Secure);
        let (topic, group) = (unique("orders"), unique("readers"));
        let witness = kafka.witness();
        witness.create_topics(&[NewTopic::new(&topic, 1).with("retention.ms", -1)]).unwrap();
        let records: Vec<Record> = (0..RECORDS).map(|n| Record::new(0, n, n.to_string(), "v")).collect();
        witness.produce(&topic, &properties([]), &records).unwrap();
        witness.commit_offsets(&group, &[Commit::from(Position::new(&topic, 0, RECORDS / 2))]).unwrap();
        Self { kafka, topic, group, passwords: tempfile::tempdir().unwrap() }
    }

    /// Runs a command as somebody who may do this and nothing else.
    fn run(&self, repository: &Repository<'_>, rules: &[Rule], command: &[&str]) -> Ended {
        let (name, password) = (unique("user"), unique("password"));
        let file = self.passwords.path().join(&name);
        fs::write(&file, &password).unwrap();
        let witness = self.kafka.witness();
        for Rule { operation, resource, name: of } in rules {
            witness.allow(&format!("User:{name}"), operation, resource, of).unwrap();
        }
        self.kafka.add_user(&name, &password).unwrap();
        let bootstrap = self.kafka.bootstrap(Listener::SaslPlain);
        let file = file.to_str().unwrap();
        let protocol = ["--security-protocol", Listener::SaslPlain.security_protocol()];
        let login = ["--sasl-mechanism", "SCRAM-SHA-512", "--username", &name, "--password-file", file];
        let cluster = ["--archive", "a", "--bootstrap-servers", &bootstrap];
        repository.run(&[command, &cluster[..], &protocol[..], &login[..]].concat()).unwrap()
    }

    fn back_up(&self, repository: &Repository<'_>, rules: &[Rule]) -> Ended {
        let groups = format!("--consumer-groups={}", self.group);
        self.run(repository, rules, &["backup", "--topics", &self.topic, &groups])
    }

    /// Restores topic and group under other names.
    fn restore(&self, repository: &Repository<'_>, rules: &[Rule]) -> Ended {
        self.restore_as(&unique("restored"), repository, rules, &[])
    }

    /// Restores the topic under this name, and the group under another one.
    fn restore_as(&self, target: &str, repository: &Repository<'_>, rules: &[Rule], more: &[&str]) -> Ended {
        let topic = format!("--topic-mapping={}={target}", self.topic);
        let groups = format!("--consumer-groups={}", self.group);
        let group = format!("--group-mapping={}={}", self.group, unique("restored"));
        self.run(repository, rules, &[&["restore", &topic, &groups, &group][..], more].concat())
    }
}

/// The rules, each time without another one of them.
fn without_one(rules: &[Rule]) -> impl Iterator<Item = (&Rule, Vec<Rule>)> {
    rules.iter().map(|left_out| (left_out, rules.iter().filter(|rule| *rule != left_out).cloned().collect()))
}

#[test]
fn the_users_of_the_examples_may_do_what_a_backup_and_a_restore_need() {
    let source = Source::new();
    let repository = Repository::folder().unwrap();
    let report = source.back_up(&repository, &rules("kafka-user-backup.yaml")).succeeded().json().unwrap();
    assert_eq!((&report["outcome"], &report["groups"]), (&"completed".into(), &1.into()), "{report}");
    let report = source.restore(&repository, &rules("kafka-user-restore.yaml")).succeeded().json().unwrap();
    assert_eq!((&report["outcome"], &report["groups"][0]["committed"]), (&"completed".into(), &1.into()), "{report}");
}

#[test]
fn groups_that_permissions_hide_are_told_of_and_those_of_the_examples_hide_none() {
    let source = Source::new();
    let all_groups = |rules: &[Rule]| {
        let report = source.run(&Repository::folder().unwrap(), rules, &["backup", "--topics", &source.topic]);
        let report = report.succeeded().json().unwrap();
        let tells = report["warnings"].to_string().contains("grant Describe on the cluster or Describe on each group");
        let is_there = report["groups"].as_u64().unwrap() > 0;
        (tells, is_there)
    };
    let rules = rules("kafka-user-backup.yaml");
    assert_eq!(all_groups(&rules), (false, true), "Describe on every group");
    let rule = |operation: &str, resource: &str, name: &str| Rule {
        operation: operation.to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
    };
    let topics: Vec<Rule> = rules.into_iter().filter(|rule| rule.resource == "TOPIC").collect();
    assert_eq!(all_groups(&topics), (true, false), "none");
    let one = [&topics[..], &[rule("DESCRIBE", "GROUP", &source.group)]].concat();
    assert_eq!(all_groups(&one), (true, true), "Describe on one group");

    // With Describe on the cluster every group is listed, and one that cannot be read is named.
    let listed = [&one[..], &[rule("DESCRIBE", "CLUSTER", "kafka-cluster")]].concat();
    let hidden = unique("hidden");
    let position = Position::new(&source.topic, 0, 1);
    source.kafka.witness().commit_offsets(&hidden, &[position.into()]).unwrap();
    let ended = source.run(&Repository::folder().unwrap(), &listed, &["backup", "--topics", &source.topic]);
    assert_eq!(ended.code, Some(PARTIAL), "{ended:?}");
    let report = ended.json().unwrap();
    assert!(report["problems"].to_string().contains(&hidden), "{report}");
    assert!(!report["warnings"].to_string().contains("grant Describe"), "{report}");
}

#[test]
fn topics_that_permissions_hide_are_told_of_where_all_are_asked_for() {
    let source = Source::new();
    let tells = |rules: &[Rule], topics: &[&str]| {
        let ended = source.run(&Repository::folder().unwrap(), rules, &[&["backup"], topics].concat());
        ended.json().unwrap()["warnings"].to_string().contains("it lacks Describe on all topics")
    };
    let rules = rules("kafka-user-backup.yaml");
    let of_one = rules.iter().map(|rule| Rule {
        name: if rule.resource == "TOPIC" { source.topic.clone() } else { rule.name.clone() },
        ..rule.clone()
    });
    let of_one: Vec<Rule> = of_one.collect();
    assert!(tells(&of_one, &[]) && tells(&of_one, &["--topics", ".*"]));
    assert!(!tells(&of_one, &["--topics", &source.topic]), "nothing else was asked for");
    assert!(!tells(&rules, &[]), "nothing is hidden");
}

#[test]
fn without_one_of_their_permissions_something_is_missing_and_is_told() {
    let source = Source::new();
    for (left_out, rules) in without_one(&rules("kafka-user-backup.yaml")) {
        let ended = source.back_up(&Repository::folder().unwrap(), &rules);
        assert!([USAGE, DENIED, PARTIAL].map(Some).contains(&ended.code), "without {left_out:?}: {ended:?}");
    }
    let repository = Repository::folder().unwrap();
    source.back_up(&repository, &rules("kafka-user-backup.yaml")).succeeded();
    for (left_out, rules) in without_one(&rules("kafka-user-restore.yaml")) {
        let ended = source.restore(&repository, &rules);
        match (left_out.resource.as_str(), left_out.operation.as_str()) {
            // The brokers' defaults only serve to check the plan, of which one part cannot be checked then.
            ("CLUSTER", _) => {
                let warnings = ended.succeeded().json().unwrap()["warnings"].to_string();
                let said = "lacks DescribeConfigs on the cluster, so that its min.insync.replicas is not known";
                assert!(warnings.contains(said), "{warnings}");
                assert!(warnings.contains("topics to create: 1, replicas: 1."), "{warnings}");
            }
            // All records are there, and the offsets of the group are not.
            ("GROUP", _) | (_, "READ") => {
                assert_eq!(ended.code, Some(PARTIAL), "without {left_out:?}: {ended:?}");
                assert_eq!(ended.json().unwrap()["records"], RECORDS, "without {left_out:?}: {ended:?}");
            }
            _ => assert_eq!(ended.code, Some(DENIED), "without {left_out:?}: {ended:?}"),
        }
    }
}

#[test]
fn nothing_is_created_or_written_for_a_user_who_lacks_a_permission_on_the_topic_and_the_dry_run_says_so() {
    let source = Source::new();
    let (repository, witness) = (Repository::folder().unwrap(), source.kafka.witness());
    source.back_up(&repository, &rules("kafka-user-backup.yaml")).succeeded();
    let (new, there) = (unique("new"), unique("there"));
    witness.create_topics(&[NewTopic::new(&there, 1)]).unwrap();
    let all = rules("kafka-user-restore.yaml");
    let nothing = "nothing was restored";
    for (target, operation, what, named) in [
        (&new, "CREATE", nothing, "Create"),
        (&new, "WRITE", nothing, "Write"),
        (&new, "ALTER_CONFIGS", nothing, "AlterConfigs"),
        (&there, "WRITE", nothing, "Write"),
        // It includes DescribeConfigs, without which nobody knows what a topic that is there takes.
        (&there, "ALTER_CONFIGS", "the settings of topics cannot be read", "DescribeConfigs"),
    ] {
        let rules: Vec<Rule> = all.iter().filter(|rule| rule.operation != operation).cloned().collect();
        assert_eq!(rules.len() + 1, all.len(), "the example grants {operation} once");
        let before = witness.describe_topic(target).ok();
        for more in [&["--dry-run"][..], &[]] {
            let ended = source.restore_as(target, &repository, &rules, more);
            assert_eq!(ended.code, Some(DENIED), "without {operation} {more:?}: {ended:?}");
            let error = format!("{what}: the user lacks {named} on topic {target:?}");
            assert!(ended.stderr.contains(&error), "without {operation} {more:?}: {ended:?}");
            assert_eq!(witness.describe_topic(target).ok(), before, "without {operation} {more:?}: {ended:?}");
        }
    }
    let error = format!("{:#}", witness.describe_topic(&new).unwrap_err());
    assert!(error.contains("UnknownTopicOrPartition"), "it was never created: {error}");
    assert_eq!(witness.offsets(&there, At::Latest).unwrap(), [0], "nothing was written");
    // With all of them, the same restore is done.
    source.restore_as(&new, &repository, &all, &[]).succeeded();
    assert_eq!(witness.offsets(&new, At::Latest).unwrap(), [RECORDS]);
}
