//! The harness itself: what the other tests rest on.
#![expect(clippy::unwrap_used, reason = "a failure in what tests share fails the test")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use e2e::compare::{self, Rules};
use e2e::dump::{self, Record};
use e2e::kafka::{Kafka, Listener, Shared, User};
use e2e::minio::{ACCESS_KEY_ID, Minio, MinioOptions, REGION, SECRET_ACCESS_KEY};
use e2e::process::started_ticks;
use e2e::unique;
use e2e::witness::{At, Commit, Isolation, NewTopic, Position, Properties, Protocol, Witness, properties};

/// 2026-01-01, in milliseconds since 1970.
const START_MS: i64 = 1_767_225_600_000;

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what} did not happen in 30 s");
        thread::sleep(Duration::from_millis(50));
    }
}

fn new_topic(witness: &Witness, partitions: i32) -> String {
    let topic = unique("orders");
    witness.create_topics(&[NewTopic::new(&topic, partitions)]).unwrap();
    topic
}

fn strange_records() -> Vec<Record> {
    vec![
        Record::new(0, START_MS, "key", "value").with_header("h", Some(b"1")).with_header("h", None),
        Record { key: None, ..Record::new(0, START_MS - 5, "", "no key") },
        Record { value: None, ..Record::new(0, START_MS + 40 * 86_400_000, "tombstone", "") },
        Record::new(1, START_MS, "", "").with_header("", Some(b"")),
    ]
}

/// Writes and reads records through `listener`, as a Java client that came in by it.
fn round_trip(kafka: &Kafka, listener: Listener, user: Option<&User>) {
    let witness = Witness::connect(kafka.client_properties(listener, user));
    let topic = new_topic(&kafka.witness(), 2);
    if let Some(user) = user {
        kafka.witness().allow(&format!("User:{}", user.name), "ALL", "TOPIC", &topic).unwrap();
    }
    witness.produce(&topic, &Properties::new(), &strange_records()).unwrap();
    let consumed = witness.digest(&topic, Isolation::Committed).unwrap();
    assert_eq!(consumed.iter().map(|partition| partition.records).collect::<Vec<_>>(), [3, 1], "{listener:?}");
}

#[test]
fn what_the_witness_wrote_it_reads_back() {
    let witness = Kafka::shared(Shared::Plain).witness();
    let topic = new_topic(&witness, 2);
    let written = strange_records();
    let placed = witness.produce(&topic, &properties([("compression.type", "zstd")]), &written).unwrap();
    let expected: Vec<Record> =
        written.into_iter().zip(&placed).map(|(record, at)| Record { offset: at.offset, ..record }).collect();

    let folder = tempfile::tempdir().unwrap();
    let consumed = witness.dump(&topic, folder.path()).unwrap();
    assert_eq!(dump::read_all(folder.path()).unwrap(), expected);
    assert_eq!(consumed[0].end_offset, 3);
    let compared = compare::dumps(folder.path(), folder.path(), Rules::IDENTICAL).unwrap();
    assert_eq!((compared.partitions, compared.records), (2, 4));

    let next = witness.next_records(&[Position::new(&topic, 0, 1), Position::new(&topic, 0, 3)]).unwrap();
    assert_eq!(next, [Some(expected[1].clone()), None]);
}

#[test]
fn header_keys_that_are_no_text_pass_byte_by_byte() {
    let witness = Kafka::shared(Shared::Plain).witness();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = new_topic(&witness, 1);
        let record = Record::new(0, START_MS, "k", "v")
            .with_header([0xff, 0xfe, 0x00], None)
            .with_header([0xc3, 0x28], Some(b"\xff"))
            .with_header([0xff, 0xfe, 0x00], Some(b""));
        let later = Record { offset: 1, timestamp_ms: START_MS + 1, ..record.clone() };
        let base_offset = witness.produce_batch(&topic, 0, codec, &[record.clone(), later.clone()]).unwrap();
        assert_eq!(base_offset, 0);
        let folder = tempfile::tempdir().unwrap();
        witness.dump(&topic, folder.path()).unwrap();
        assert_eq!(dump::read_all(folder.path()).unwrap(), [record, later], "{codec}");
    }
}

#[test]
fn transactions_commit_abort_and_stay_open() {
    let witness = Kafka::shared(Shared::Plain).witness();
    let topic = new_topic(&witness, 1);
    let producer = || witness.producer(&properties([("transactional.id", &unique("transaction"))])).unwrap();
    let (first, second) = (producer(), producer());
    let one = |value: &str| [Record::new(0, START_MS, "k", value)];
    first.begin().unwrap();
    first.send(&topic, &one("committed")).unwrap();
    second.begin().unwrap();
    second.send(&topic, &one("aborted")).unwrap();
    first.commit().unwrap();
    second.abort().unwrap();
    second.begin().unwrap();
    second.send(&topic, &one("open")).unwrap();

    // committed 0, aborted 1, the markers of both 2 and 3, open 4.
    assert_eq!(witness.offsets(&topic, At::Stable).unwrap(), [4]);
    assert_eq!(witness.offsets(&topic, At::Latest).unwrap(), [5]);
    let folder = tempfile::tempdir().unwrap();
    witness.dump(&topic, folder.path()).unwrap();
    let values: Vec<_> = dump::read_all(folder.path()).unwrap().into_iter().map(|record| record.value).collect();
    assert_eq!(values, [Some(b"committed".to_vec())]);
    assert_eq!(witness.digest(&topic, Isolation::Uncommitted).unwrap()[0].records, 3);
    second.abort().unwrap();
}

#[test]
fn groups_of_both_protocols_keep_their_offsets_when_members_leave() {
    let witness = Kafka::shared(Shared::Plain).witness();
    let topic = new_topic(&witness, 1);
    witness.produce(&topic, &Properties::new(), &strange_records()[..3]).unwrap();
    for (protocol, kind) in [(Protocol::Classic, "Classic"), (Protocol::Consumer, "Consumer")] {
        let group = unique("group");
        let member = witness.join_group(&group, protocol, &[&topic]).unwrap();
        assert_eq!(witness.describe_group(&group).unwrap().members, [member.client_id()]);
        let commit = Commit { metadata: "note".to_owned(), ..Commit::from(Position::new(&topic, 0, 2)) };
        member.commit(std::slice::from_ref(&commit)).unwrap();
        member.leave().unwrap();
        let described = witness.describe_group(&group).unwrap();
        assert_eq!((described.kind.as_str(), described.state.as_str(), described.members.len()), (kind, "Empty", 0));
        assert_eq!(witness.group_offsets(&group).unwrap(), [commit]);
        let next = witness.next_of_group(&group, &[(&topic, 0)]).unwrap();
        assert_eq!(next[0].as_ref().map(|record| record.offset), Some(2));
    }
    let group = unique("group");
    witness.commit_offsets(&group, &[Position::new(&topic, 0, 1).into()]).unwrap();
    assert!(witness.list_groups().unwrap().iter().any(|listed| listed.group == group && listed.kind == "Classic"));
}

#[test]
fn every_listener_lets_in_who_belongs_there() {
    let kafka = Kafka::shared(Shared::Secure);
    let client = User { name: "CN=client", ..User::PLAIN };
    round_trip(kafka, Listener::MutualTls, Some(&client));
    for listener in [Listener::SaslTls, Listener::SaslPlain] {
        for user in [User::PLAIN, User::SCRAM_256, User::SCRAM_512] {
            round_trip(kafka, listener, Some(&user));
        }
    }
    let anonymous = User { name: "ANONYMOUS", ..User::PLAIN };
    for listener in [Listener::Tls, Listener::TlsIpv6] {
        round_trip(kafka, listener, Some(&anonymous));
    }
}

#[test]
fn an_expired_certificate_is_refused_by_the_java_client() {
    let kafka = Kafka::shared(Shared::Secure);
    let witness = Witness::connect(kafka.client_properties(Listener::ExpiredTls, None));
    let error = format!("{:#}", witness.list_groups().unwrap_err());
    assert!(error.contains("SslAuthenticationException"), "{error}");
}

#[test]
fn a_cluster_of_three_survives_a_killed_node_and_moves_its_leaders() {
    let kafka = Kafka::shared(Shared::Three);
    let witness = kafka.witness();
    let topic = new_topic(&witness, 3);
    assert_eq!(witness.describe_topic(&topic).unwrap().partitions[0].replicas.len(), 3);
    kafka.kill_node(2).unwrap();
    let records: Vec<Record> = (0..3).map(|partition| Record::new(partition, START_MS, "k", "v")).collect();
    witness.produce(&topic, &Properties::new(), &records).unwrap();
    kafka.start_node(2).unwrap();
    eventually("the killed node is in sync again", || {
        witness.describe_topic(&topic).unwrap().partitions.iter().all(|partition| partition.in_sync.len() == 3)
    });
    for node in kafka.node_ids() {
        witness.move_leader(&topic, 0, node).unwrap();
        assert_eq!(witness.describe_topic(&topic).unwrap().partitions[0].leader, i32::from(node));
    }
    let read: u64 =
        witness.digest(&topic, Isolation::Committed).unwrap().iter().map(|partition| partition.records).sum();
    assert_eq!(read, 3);
}

#[test]
fn the_older_line_works_and_its_tools_run() {
    let kafka = Kafka::shared(Shared::Older);
    round_trip(kafka, Listener::Plain, None);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let listed =
        kafka.tool("org.apache.kafka.tools.TopicCommand", &["--bootstrap-server", &bootstrap, "--list"]).unwrap();
    assert!(listed.lines().any(|topic| topic.starts_with("orders-")), "{listed}");
}

#[test]
fn a_killed_test_takes_its_broker_and_its_files_with_it() {
    let mut holder = Command::new(env!("CARGO_BIN_EXE_hold"))
        .arg("broker")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines: Vec<String> =
        BufReader::new(holder.stdout.take().unwrap()).lines().map_while(Result::ok).take(3).collect();
    let [bootstrap, broker, folder] = &lines[..] else { panic!("the other process has ended") };
    let (broker, folder) = (broker.parse().unwrap(), std::path::Path::new(folder));
    assert!(TcpStream::connect(bootstrap).is_ok() && started_ticks(broker).is_some() && folder.is_dir());
    holder.kill().unwrap();
    holder.wait().unwrap();
    eventually("the broker is gone", || started_ticks(broker).is_none());
    eventually("its port is free", || TcpStream::connect(bootstrap).is_err());
    eventually("its folder is gone", || !folder.exists());
}

#[test]
fn a_bucket_takes_signed_requests_and_outlives_a_restart_of_its_server() {
    let minio = Minio::start(MinioOptions::default()).unwrap();
    let bucket = minio.make_bucket("backups").unwrap();
    let store = store(&minio, &bucket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(store.write("a/b", "bytes")).unwrap();
    minio.stop().unwrap();
    minio.start_again().unwrap();
    // The client's first request may go down the connection that the old server left behind.
    let mut read = Vec::new();
    eventually("the object is read again", || {
        runtime.block_on(store.read("a/b")).is_ok_and(|bytes| {
            read = bytes.to_vec();
            true
        })
    });
    assert_eq!(read, b"bytes");
    let missing = self::store(&minio, "no-such-bucket");
    assert!(runtime.block_on(missing.write("a", "bytes")).is_err());
}

#[test]
fn minio_serves_https() {
    let minio = Minio::start(MinioOptions { is_tls: true, ..MinioOptions::default() }).unwrap();
    let port = minio.endpoint().rsplit_once(':').unwrap().1.parse::<u16>().unwrap();
    let mut connection = TcpStream::connect(("127.0.0.1", port)).unwrap();
    connection.write_all(b"GET /minio/health/ready HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("Client sent an HTTP request to an HTTPS server"), "{answer}");
}

fn store(minio: &Minio, bucket: &str) -> opendal::Operator {
    opendal_http_transport_reqwest::install_default();
    let service = opendal::services::S3::default()
        .endpoint(&minio.endpoint())
        .region(REGION)
        .bucket(bucket)
        .access_key_id(ACCESS_KEY_ID)
        .secret_access_key(SECRET_ACCESS_KEY);
    opendal::Operator::new(service).unwrap()
}

#[test]
fn the_binary_under_test_is_built_and_runs() {
    let ended = e2e::cli::run(["--help"]).unwrap().succeeded();
    assert_eq!(ended.stderr, "");
}
