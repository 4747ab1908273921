//! A store that hangs while segments of deleted backups are removed from it.

use std::time::Duration;

use e2e::cli::Cli;
use e2e::dump::Record;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::minio::Minio;
use e2e::running::Running;
use e2e::runs::Repository;
use e2e::slow_proxy::SlowProxy;
use e2e::unique;
use e2e::witness::{NewTopic, properties};
use serde_json::Value;

/// An archive in a bucket which runs reach directly, or by way of a proxy at which requests can wait.
pub(super) struct Archive {
    pub(super) repository: Repository<'static>,
    pub(super) proxy: SlowProxy,
    pub(super) bootstrap: String,
    pub(super) topic: String,
}

impl Archive {
    pub(super) fn new() -> Self {
        let (kafka, minio) = (Kafka::shared(Shared::Plain), Minio::shared());
        let (witness, topic) = (kafka.witness(), unique("hanging"));
        witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
        witness.produce(&topic, &properties([]), &[Record::new(0, -1, "key", "value")]).unwrap();
        let port = minio.endpoint().rsplit(':').next().unwrap().parse().unwrap();
        let proxy = SlowProxy::start(port, Duration::ZERO).unwrap();
        let repository = Repository::bucket(minio, "hanging").unwrap();
        Self { repository, proxy, bootstrap: kafka.bootstrap(Listener::Plain), topic }
    }

    pub(super) fn backup<'a>(&'a self, id: &'a str) -> Vec<&'a str> {
        let which = ["--topics", &self.topic, "--no-consumer-groups", "--backup-id", id];
        [&["backup", "--bootstrap-servers", &self.bootstrap, "--archive", "a"][..], &which].concat()
    }

    pub(super) fn run(&self, command: &[&str]) -> Value {
        self.repository.report(command)
    }

    /// A command that reaches the store by way of the proxy.
    pub(super) fn by_way_of_the_proxy(&self, command: &[&str]) -> Cli {
        let minio = Minio::shared();
        let storage = self.repository.url().replace(&minio.endpoint(), &self.proxy.endpoint());
        let cli = Cli::new([command, &["--storage", &storage, "--output", "json"]].concat()).unwrap();
        minio.environment().into_iter().fold(cli, |cli, (name, value)| cli.env(name, value))
    }

    /// Starts a command by way of the proxy, at which its first request waits that has to do with this folder, and waits for that.
    fn start_and_hold(&self, command: &[&str], folder: &str) -> Running {
        self.proxy.hold(Some(folder));
        let mut running = Running::start(self.by_way_of_the_proxy(command)).unwrap();
        running.wait_until("a request waits", || self.proxy.holds_one());
        running
    }

    fn release(&self, running: Running) -> Value {
        self.proxy.hold(None);
        running.ended().unwrap().succeeded().json().unwrap()
    }

    fn segments_of(&self, id: &str) -> usize {
        let folder = format!("/segments/{id}/");
        let objects = self.repository.objects().unwrap();
        objects.iter().filter(|path| path.to_string_lossy().contains(&folder)).count()
    }
}

#[test]
fn a_backup_has_the_lease_while_a_prune_removes_segments() {
    let archive = Archive::new();
    for id in ["first", "second"] {
        archive.run(&archive.backup(id));
    }
    let prune = ["prune", "--archive", "a", "--max-backups", "1", "--grace", "0s", "--confirm"];
    let pruning = archive.start_and_hold(&prune, "/segments/first/");
    let report = archive.run(&archive.backup("third"));
    assert_eq!((&report["outcome"], &report["alreadyThere"]), (&"completed".into(), &false.into()), "{report}");
    assert!(archive.proxy.holds_one() && archive.segments_of("first") > 0, "the prune is still at it");
    let report = archive.release(pruning);
    assert_eq!((&report["outcome"], archive.segments_of("first")), (&"completed".into(), 0), "{report}");
    archive.run(&["verify", "--archive", "a", "--level", "records"]);
}

#[test]
fn a_backup_has_the_lease_while_the_one_before_removes_segments_of_those_that_it_does_not_keep() {
    let archive = Archive::new();
    archive.run(&archive.backup("first"));
    let keeping_one = [&archive.backup("second")[..], &["--max-backups", "1"]].concat();
    let keeping = archive.start_and_hold(&keeping_one, "/segments/first/");
    let report = archive.run(&archive.backup("third"));
    assert_eq!((&report["outcome"], &report["alreadyThere"]), (&"completed".into(), &false.into()), "{report}");
    assert!(archive.proxy.holds_one(), "the run before is still at it");
    let report = archive.release(keeping);
    assert_eq!((&report["outcome"], &report["pruned"][0]), (&"completed".into(), &"first".into()), "{report}");
    archive.run(&["verify", "--archive", "a", "--level", "records"]);
}
