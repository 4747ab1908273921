//! A backup and a restore that succeed print, store and send no byte of a secret: in a bucket, and in a folder.
//!
//! What is refused, and what other commands print, is in `engine/tests/secrets.rs`.

use std::fs;
use std::path::Path;

use e2e::cli::Cli;
use e2e::dump::Record;
use e2e::kafka::{Kafka, KafkaOptions, Listener, Shared};
use e2e::minio::{ACCESS_KEY_ID, Minio, SECRET_ACCESS_KEY};
use e2e::recording_proxy::RecordingProxy;
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::{At, Commit, NewTopic, Position, properties};
use kafka_backup::format::document::{self, DocumentKind};
use serde_json::Value;
use tempfile::TempDir;

use crate::search::{Secrets, holds};

const PASSWORD: &str = "correct horse battery staple 0123456789";
/// Variables that nobody asked for.
const PLANTED: [(&str, &str); 2] = [
    ("KAFKA_PASSWORD", "violet-marsh-hunter-7731-lantern"),
    ("SASL_JAAS_CONFIG", "PlainLoginModule-amber-quarry-5520-thistle"),
];
const RECORDS: i64 = 20;

/// A topic and a group, and a user who may back them up and restore them.
struct World<'a> {
    kafka: &'a Kafka,
    /// The way in, and where it is.
    listener: Listener,
    bootstrap: String,
    topic: String,
    group: String,
    user: String,
    folder: TempDir,
}

impl<'a> World<'a> {
    fn new(kafka: &'a Kafka, listener: Listener, bootstrap: String) -> Self {
        let (topic, group, user) = (unique("orders"), unique("readers"), unique("operator"));
        let witness = kafka.witness();
        witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
        let records: Vec<Record> = (0..RECORDS).map(|n| Record::new(0, n, n.to_string(), "v")).collect();
        witness.produce(&topic, &properties([]), &records).unwrap();
        witness.commit_offsets(&group, &[Commit::from(Position::new(&topic, 0, RECORDS / 2))]).unwrap();
        kafka.add_user(&user, PASSWORD).unwrap();
        Self { kafka, listener, bootstrap, topic, group, user, folder: tempfile::tempdir().unwrap() }
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    /// Everything that a run prints at the most talkative level, and its termination message; it has to succeed.
    fn printed(&self, command: &[&str], storage: &str, more: &[&str]) -> Vec<u8> {
        let (password, message) = (self.file("password", PASSWORD), self.folder.path().join("message"));
        let groups = format!("--consumer-groups={}", self.group);
        let protocol = self.listener.security_protocol();
        let cluster = ["--bootstrap-servers", &self.bootstrap, "--security-protocol", protocol];
        let login = ["--sasl-mechanism", "SCRAM-SHA-512", "--username", &self.user, "--password-file", &password];
        let place = ["--archive", "a", "--storage", storage, "--output", "json", &groups];
        let talk = ["--log-level", "trace,reqsign=trace", "--termination-message", message.to_str().unwrap()];
        let cli = Cli::new([command, &cluster, &login, &place, &talk, more].concat()).unwrap();
        let cli = PLANTED.iter().fold(cli, |cli, (name, value)| cli.env(name, value));
        let ended = cli.run().unwrap().succeeded();
        let message = fs::read(&message).unwrap();
        assert!(holds(&message, b"completed"), "{ended:?}");
        [ended.stdout.as_bytes(), ended.stderr.as_bytes(), &message].concat()
    }

    /// Backs up, and restores under other names; the name of the target.
    fn there_and_back(&self, secrets: &Secrets, storage: &str, more: &[&str]) -> String {
        let target = format!("{}-back", self.topic);
        let backup = ["backup", "--topics", &self.topic];
        secrets.look_in(&self.printed(&backup, storage, more), "backup");
        let topics = format!("--topic-mapping={}={target}", self.topic);
        let groups = format!("--group-mapping={0}={0}-back", self.group);
        let restore = ["restore", &topics, &groups];
        secrets.look_in(&self.printed(&restore, storage, more), "restore");
        assert_eq!(self.kafka.witness().offsets(&target, At::Latest).unwrap(), [RECORDS]);
        target
    }
}

/// A broker that leads its clients to proxies: one for the harness, and one for the program under test.
fn recorded() -> (RecordingProxy, Kafka) {
    let [plain, sasl] = [(), ()].map(|()| RecordingProxy::listen().unwrap());
    let advertised = format!("PLAIN://{},SASLPLAIN://{}", plain.address(), sasl.address());
    let kafka = Kafka::start(KafkaOptions {
        listeners: vec![Listener::SaslPlain],
        extra_properties: vec![("advertised.listeners".to_owned(), advertised)],
        ..KafkaOptions::default()
    });
    let kafka = kafka.unwrap();
    plain.serve(kafka.bootstrap(Listener::Plain)).unwrap();
    sasl.serve(kafka.bootstrap(Listener::SaslPlain)).unwrap();
    (sasl, kafka)
}

#[test]
fn no_secret_is_printed_or_sent_by_a_backup_to_a_bucket_and_a_restore_from_it() {
    let (to_broker, kafka) = recorded();
    let world = World::new(&kafka, Listener::SaslPlain, to_broker.address().to_string());
    let minio = Minio::shared();
    let to_store = RecordingProxy::listen().unwrap();
    let endpoint = minio.endpoint();
    to_store.serve(endpoint.trim_start_matches("http://").to_owned()).unwrap();
    let profile =
        format!("[default]\naws_access_key_id = {ACCESS_KEY_ID}\naws_secret_access_key = {SECRET_ACCESS_KEY}\n");
    let credentials = world.file("credentials", &profile);
    let url = minio.url(&minio.make_bucket("secrets").unwrap(), "x");
    let url = url.replace(&endpoint, &format!("http://{}", to_store.address()));
    let storage = format!("{url}&credentials_file={credentials}");
    let planted = PLANTED.map(|(_, secret)| secret);
    let secrets = Secrets::of(&[&[PASSWORD, SECRET_ACCESS_KEY][..], &planted].concat());
    let target = world.there_and_back(&secrets, &storage, &[]);
    let (brokers, store) = (to_broker.sent(), to_store.sent());
    // Requests of both were seen, those that create the topic and begin the journal among them.
    assert!(holds(&brokers, target.as_bytes()) && holds(&brokers, format!("{}-back", world.group).as_bytes()));
    assert!(holds(&store, format!("Credential={ACCESS_KEY_ID}/").as_bytes()) && holds(&store, b"/restores/"));
    secrets.look_in(&brokers, "sent to the broker");
    secrets.look_in(&store, "sent to the store");
}

#[test]
fn no_secret_is_printed_or_stored_by_a_restore_over_tls() {
    let kafka = Kafka::shared(Shared::Secure);
    let world = World::new(kafka, Listener::SaslTls, kafka.bootstrap(Listener::SaslTls));
    let (witness, principal) = (kafka.witness(), format!("User:{}", world.user));
    for (resource, name) in [("TOPIC", "*"), ("GROUP", "*"), ("CLUSTER", "kafka-cluster")] {
        witness.allow(&principal, "ALL", resource, name).unwrap();
    }
    let files = ["ca.crt", "client.crt", "client.key"].map(|name| kafka.certificates().file(name));
    let texts = files.each_ref().map(|path| fs::read_to_string(path).unwrap());
    let [ca, certificate, key] = files.each_ref().map(|path| path.to_str().unwrap());
    let planted = PLANTED.map(|(_, secret)| secret);
    let secrets = Secrets::of(&[&[PASSWORD][..], &planted, &texts.each_ref().map(String::as_str)].concat());
    let repository = Repository::folder().unwrap();
    let tls = ["--ca-file", ca, "--cert-file", certificate, "--key-file", key];
    let target = world.there_and_back(&secrets, &repository.url(), &tls);
    let objects = repository.objects().unwrap();
    assert!(objects.iter().any(|path| path.to_string_lossy().contains("/restores/")), "{objects:?}");
    let stored: Vec<u8> = objects.iter().flat_map(|path| stored(path)).collect();
    assert!(holds(&stored, target.as_bytes()), "the journal names the topic");
    secrets.look_in(&stored, "stored");
}

/// What an object holds, with its key; and what it says, if it is a document that may be compressed.
fn stored(path: &Path) -> Vec<u8> {
    let object = fs::read(path).unwrap();
    let header = object.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let header: Option<Value> = serde_json::from_slice(header).ok();
    let kind: Option<DocumentKind> =
        header.and_then(|header| serde_json::from_value(header["kafkaBackup"].clone()).ok());
    let document: Option<Value> = kind.and_then(|kind| document::open(kind, u32::MAX, &object).ok());
    let says = document.map_or_else(String::new, |document| document.to_string());
    [path.as_os_str().as_encoded_bytes(), &object, says.as_bytes()].concat()
}
