//! A topic of several that the user may describe and not read.

use e2e::compare::{self, Rules};
use e2e::dump::Record;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{NewTopic, properties};

const PARTIAL: i32 = 7;
const PARTITIONS: i32 = 3;
const RECORDS: u64 = 300;

#[test]
fn a_topic_that_may_not_be_read_is_named_and_the_others_of_its_pattern_are_whole() {
    let kafka = Kafka::shared(Shared::Secure);
    let (witness, bootstrap) = (kafka.witness(), kafka.bootstrap(Listener::SaslPlain));
    let stem = unique("granted");
    let (open, closed) = (format!("{stem}-open"), format!("{stem}-closed"));
    witness.create_topics(&[&open, &closed].map(|topic| NewTopic::new(topic, PARTITIONS))).unwrap();
    let record =
        |n: i64| Record::new(i32::try_from(n).unwrap() % PARTITIONS, 1_700_000_000_000 + n, n.to_string(), "v");
    let records: Vec<Record> = (0..RECORDS.cast_signed()).map(record).collect();
    for topic in [&open, &closed] {
        witness.produce(topic, &properties([]), &records).unwrap();
    }
    let (user, password) = (unique("user"), unique("password"));
    let principal = format!("User:{user}");
    for operation in ["DESCRIBE", "DESCRIBE_CONFIGS"] {
        witness.allow_prefixed(&principal, operation, "TOPIC", &stem).unwrap();
    }
    witness.allow(&principal, "READ", "TOPIC", &open).unwrap();
    kafka.add_user(&user, &password).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let password_file = folder.path().join("password");
    std::fs::write(&password_file, &password).unwrap();

    let repository = Repository::folder().unwrap();
    let pattern = format!("{stem}-.*");
    let backup = ["backup", "--archive", "a", "--topics", &pattern, "--no-consumer-groups"];
    let protocol = Listener::SaslPlain.security_protocol();
    let cluster = ["--bootstrap-servers", &bootstrap, "--security-protocol", protocol];
    let login = ["--sasl-mechanism", "SCRAM-SHA-512", "--username", &user, "--password-file"];
    let login = [&login[..], &[password_file.to_str().unwrap()]].concat();
    let ended = repository.run(&[&backup[..], &cluster, &login].concat()).unwrap();
    assert_eq!(ended.code, Some(PARTIAL), "{ended:?}");
    let report = ended.json().unwrap();
    assert_eq!((&report["outcome"], &report["records"]), (&"partial".into(), &RECORDS.into()), "{report}");
    let problems: Vec<&str> =
        report["problems"].as_array().unwrap().iter().map(|problem| problem.as_str().unwrap()).collect();
    for partition in 0..PARTITIONS {
        let of_partition = format!("{closed}-{partition} ");
        assert!(problems.iter().any(|problem| problem.contains(&of_partition)), "{of_partition}: {report}");
    }
    assert!(!problems.iter().any(|problem| problem.contains(&open)), "{report}");

    assert_eq!(repository.report(&["verify", "--archive", "a", "--level", "records"])["outcome"], "intact");
    let (id, bootstrap) = (report["backupId"].as_str().unwrap(), kafka.bootstrap(Listener::Plain));
    let (target, topics) = (format!("{open}-back"), format!("--topics={open}"));
    let mapping = format!("--topic-mapping={open}={target}");
    let restored =
        repository.report(&["restore", "--bootstrap-servers", &bootstrap, "--backup", id, &topics, &mapping]);
    assert_eq!((&restored["outcome"], &restored["records"]), (&"completed".into(), &RECORDS.into()), "{restored}");
    let (before, after) = (folder.path().join("before"), folder.path().join("after"));
    witness.dump(&open, &before).unwrap();
    witness.dump(&target, &after).unwrap();
    assert_eq!(compare::dumps(&before, &after, Rules::RESTORED).unwrap().records, RECORDS);
}
