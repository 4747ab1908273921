//! Every way of getting in, and every way of being kept out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use e2e::cli::{Cli, Ended};
use e2e::kafka::{Kafka, Listener, Shared, User};
use e2e::minio::{Minio, MinioOptions};
use e2e::runs::Repository;
use e2e::unique;
use e2e::witness::NewTopic;

const DENIED: i32 = 4;

fn a_topic(kafka: &Kafka) -> String {
    let topic = unique("security");
    let witness = kafka.witness();
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    witness.produce(&topic, &e2e::witness::properties([]), &[e2e::dump::Record::new(0, 1, "k", "v")]).unwrap();
    for user in ["User:*", "User:ANONYMOUS"] {
        for (operation, resource, name) in
            [("ALL", "TOPIC", "*"), ("ALL", "GROUP", "*"), ("ALL", "CLUSTER", "kafka-cluster")]
        {
            witness.allow(user, operation, resource, name).unwrap();
        }
    }
    topic
}

fn backup(kafka: &Kafka, repository: &Repository<'_>, listener: Listener, topic: &str, flags: &[String]) -> Ended {
    let bootstrap = kafka.bootstrap(listener);
    let protocol = listener.security_protocol();
    let command = [
        "backup",
        "--bootstrap-servers",
        &bootstrap,
        "--archive",
        "a",
        "--topics",
        topic,
        "--security-protocol",
        protocol,
    ];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    repository.run(&[&command[..], &flags].concat()).unwrap()
}

fn flags<const N: usize>(flags: [(&str, &Path); N]) -> Vec<String> {
    flags.into_iter().flat_map(|(name, path)| [name.to_owned(), path.display().to_string()]).collect()
}

fn sasl(user: &User, password_file: &Path) -> Vec<String> {
    let mut all = flags([("--password-file", password_file)]);
    all.extend(["--sasl-mechanism", user.mechanism.name(), "--username", user.name].map(str::to_owned));
    all
}

#[track_caller]
fn denied(ended: &Ended, words: &[&str]) {
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!((ended.code, errors.len()), (Some(DENIED), 1), "{ended:?}");
    for word in words {
        assert!(errors[0].contains(word), "{word:?} is missing in {:?}", errors[0]);
    }
}

#[test]
fn each_listener_lets_in_who_has_what_it_asks_for_and_nobody_else() {
    let kafka = Kafka::shared(Shared::Secure);
    let topic = a_topic(kafka);
    let repository = Repository::folder().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let certificates = kafka.certificates();
    let ca = certificates.file("ca.crt");
    let try_in = |listener, flags: &[String]| backup(kafka, &repository, listener, &topic, flags);

    for listener in [Listener::Tls, Listener::TlsIpv6] {
        try_in(listener, &flags([("--ca-file", &ca)])).succeeded();
    }
    // Of a folder every authority counts, in whichever file the right one stands.
    let secret = tempfile::tempdir().unwrap();
    fs::copy(certificates.file("foreign-ca.crt"), secret.path().join("ca.crt")).unwrap();
    denied(&try_in(Listener::Tls, &flags([("--ca-file", secret.path())])), &["certificate"]);
    std::os::unix::fs::symlink(&ca, secret.path().join("ca-2025.crt")).unwrap();
    try_in(Listener::Tls, &flags([("--ca-file", secret.path())])).succeeded();
    let (cert, key) = (certificates.file("client.crt"), certificates.file("client.key"));
    try_in(Listener::MutualTls, &flags([("--ca-file", &ca), ("--cert-file", &cert), ("--key-file", &key)])).succeeded();
    for user in [User::SCRAM_256, User::SCRAM_512, User::PLAIN] {
        let password = folder.path().join(user.name);
        fs::write(&password, format!("{}\n", user.password)).unwrap();
        let with_ca = [flags([("--ca-file", &ca)]), sasl(&user, &password)].concat();
        try_in(Listener::SaslTls, &with_ca).succeeded();
        try_in(Listener::SaslPlain, &sasl(&user, &password)).succeeded();
        let username = folder.path().join("username");
        fs::write(&username, format!("{}\n", user.name)).unwrap();
        let named = flags([("--password-file", &password), ("--username-file", &username)]);
        let mechanism = ["--sasl-mechanism", user.mechanism.name()].map(str::to_owned);
        try_in(Listener::SaslPlain, &[named, mechanism.to_vec()].concat()).succeeded();

        let wrong = folder.path().join("wrong");
        fs::write(&wrong, "an-open-sesame").unwrap();
        let ended = try_in(Listener::SaslPlain, &sasl(&user, &wrong));
        denied(&ended, &[user.name, user.mechanism.name()]);
        assert!(!format!("{ended:?}").contains("an-open-sesame"), "{ended:?}");
    }

    let address = |listener| kafka.bootstrap(listener);
    // Nobody vouches for the broker, the wrong one does, or its time is over.
    denied(&try_in(Listener::Tls, &[]), &[&address(Listener::Tls), "certificate"]);
    let foreign = flags([("--ca-file", &certificates.file("foreign-ca.crt"))]);
    denied(&try_in(Listener::Tls, &foreign), &[&address(Listener::Tls), "certificate"]);
    denied(&try_in(Listener::ExpiredTls, &flags([("--ca-file", &ca)])), &[&address(Listener::ExpiredTls), "expired"]);
    // The broker asks for a certificate, and gets none, or one of somebody else.
    denied(&try_in(Listener::MutualTls, &flags([("--ca-file", &ca)])), &[&address(Listener::MutualTls)]);
    let (cert, key) = (certificates.file("foreign-client.crt"), certificates.file("foreign-client.key"));
    let stranger = flags([("--ca-file", &ca), ("--cert-file", &cert), ("--key-file", &key)]);
    denied(&try_in(Listener::MutualTls, &stranger), &[&address(Listener::MutualTls)]);
}

#[test]
fn a_store_whose_certificate_is_not_trusted_is_asked_once() {
    let minio = Minio::start(MinioOptions { is_tls: true, ..MinioOptions::default() }).unwrap();
    let bucket = minio.make_bucket("trust").unwrap();
    let list = |more: &str| {
        let storage = format!("{}{more}", minio.url(&bucket, "x"));
        let cli = Cli::new(["list", "--storage", &storage]).unwrap();
        minio.environment().into_iter().fold(cli, |cli, (name, value)| cli.env(name, value)).run().unwrap()
    };
    let ended = list("");
    denied(&ended, &["certificate"]);
    assert!(!ended.stderr.contains("repeating it"), "{}", ended.stderr);
    // With the right authority it is only empty.
    let ended = list(&format!("&ca_file={}", minio.certificates().file("ca.crt").display()));
    assert!(ended.stderr.contains("holds no repository"), "{ended:?}");
}

#[test]
fn a_bucket_is_opened_with_the_credentials_of_a_file_whatever_the_environment_says() {
    let minio = Minio::shared();
    let bucket = minio.make_bucket("credentials").unwrap();
    let [(_, key_id), (_, secret)] = minio.environment();
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    };
    let list = |path: &Path| {
        let storage = format!("{}&credentials_file={}", minio.url(&bucket, "x"), path.display());
        let cli = Cli::new(["list", "--storage", &storage]).unwrap();
        cli.env("AWS_ACCESS_KEY_ID", "nobody").env("AWS_SECRET_ACCESS_KEY", "an-open-sesame").run().unwrap()
    };
    let profile = |secret: &str| format!("[default]\naws_access_key_id = {key_id}\naws_secret_access_key = {secret}\n");
    file("keys/accessKey", key_id);
    file("keys/secretKey", secret);
    for right in [file("profile", &profile(secret)), folder.path().join("keys")] {
        // It is let in, and finds the bucket empty.
        let ended = list(&right);
        assert!(ended.stderr.contains("holds no repository"), "{ended:?}");
    }
    let ended = list(&file("wrong", &profile("another-sesame")));
    denied(&ended, &[&bucket]);
    assert!(!format!("{ended:?}").contains("sesame"), "{ended:?}");
}
