//! A consumer group that cannot be read makes the backup partial, and is named; the others are in it.

use std::net::TcpListener;

use kafka_backup::backup::{self, BackupReport, Outcome};
use kafka_backup::progress::Progress;
use kafka_backup::stop::Stop;
use serde_json::json;

use crate::broker::{Broker, Group};
use crate::configs;
use crate::topic::{Log, Topic};

const GROUP_AUTHORIZATION_FAILED: i16 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_cannot_be_read_makes_the_backup_partial_and_is_named() {
    let group = |name: &str, committed| Group { name: name.to_owned(), committed, missed_lists: 0 };
    let groups = vec![
        group("billing", Ok(("orders".to_owned(), 1))),
        group("secret", Err(GROUP_AUTHORIZATION_FAILED)),
        group("shipping", Ok(("orders".to_owned(), 2))),
    ];
    let broker = Broker::start_with(vec![Topic::new("orders", vec![Log::of_noise(3, 10, 1)])], groups).await;
    for (wanted, outcome, held) in [
        (json!({}), Outcome::Partial, 2),
        (json!({ "consumerGroups": ["secret", "billing"] }), Outcome::Partial, 1),
        (json!({ "consumerGroups": ["billing", "shipping"] }), Outcome::Completed, 2),
        (json!({ "consumerGroups": [] }), Outcome::Completed, 0),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = configs::backup(&broker, folder.path(), wanted.clone());
        let report = backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
        assert_eq!((report.outcome, report.groups, report.records), (outcome, held, 3), "{wanted}");
        let names_it = report.problems.iter().any(|problem| problem.contains("\"secret\""));
        assert_eq!(names_it, outcome == Outcome::Partial, "{wanted}: {:?}", report.problems);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_whose_coordinator_moves_while_groups_are_listed_is_in_the_backup_or_its_lack_is_told() {
    // The last one moves for longer than a backup lists groups.
    for (missed_lists, held, outcome) in
        [(1, 2, Outcome::Completed), (3, 2, Outcome::Completed), (9, 1, Outcome::Partial)]
    {
        let group = |name: &str, missed_lists| Group {
            name: name.to_owned(),
            committed: Ok(("orders".to_owned(), 1)),
            missed_lists,
        };
        let topics = vec![
            Topic::new("orders", vec![Log::of_noise(3, 10, 1)]),
            Topic::new("__consumer_offsets", vec![Log::default()]),
        ];
        let broker = Broker::start_with(topics, vec![group("stays", 0), group("moves", missed_lists)]).await;
        let folder = tempfile::tempdir().unwrap();
        let config = configs::backup(&broker, folder.path(), json!({}));
        let report = backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
        assert_eq!((report.outcome, report.groups), (outcome, held), "{missed_lists}: {report:?}");
        let tells = report.problems.iter().any(|problem| problem.contains("groups may be missing"));
        assert_eq!(tells, outcome == Outcome::Partial, "{:?}", report.problems);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_listed_again_while_coordinators_move_although_a_broker_hangs() {
    const MOVED: &str = "groups may be missing in the backup";
    const HANGS: &str = "not in the backup are the groups of broker 2";
    // Since one broker does not answer, the others are asked twice for each list: the second list has the group that moves. The one that
    // moves on and on is in none.
    let (once, on_and_on) = tokio::join!(listed_next_to_a_broker_that_hangs(2), listed_next_to_a_broker_that_hangs(99));
    for (report, held, says) in [(once, 2, &[HANGS][..]), (on_and_on, 1, &[HANGS, MOVED])] {
        assert_eq!((report.outcome, report.groups, report.records), (Outcome::Partial, held, 3), "{report:?}");
        assert_eq!(report.problems.len(), says.len(), "{:?}", report.problems);
        for (problem, says) in report.problems.iter().zip(says) {
            assert!(problem.starts_with(says), "{problem}");
        }
    }
}

/// Backs up a topic and two groups of one broker, while a second one takes connections and answers nothing. The coordinator of one group
/// moves, so that so many lists miss it.
async fn listed_next_to_a_broker_that_hangs(missed_lists: u64) -> BackupReport {
    let group = |name: &str, missed_lists| Group {
        name: name.to_owned(),
        committed: Ok(("orders".to_owned(), 1)),
        missed_lists,
    };
    let topics = vec![
        Topic::new("orders", vec![Log::of_noise(3, 10, 1)]),
        Topic::new("__consumer_offsets", vec![Log::default()]),
    ];
    let broker = Broker::start_with(topics, vec![group("stays", 0), group("moves", missed_lists)]).await;
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    broker.knows(2, hangs.local_addr().unwrap().port());
    let mut cluster = broker.config();
    (cluster.request_timeout_ms, cluster.retry_timeout_ms) = (1_000, 1);
    let folder = tempfile::tempdir().unwrap();
    let config = configs::backup(&broker, folder.path(), json!({ "cluster": cluster }));
    backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_its_new_coordinator_does_not_list_yet_is_in_the_backup() {
    // The metadata names the new coordinator all the time, and the group is in the second list.
    let group = Group { name: "late".to_owned(), committed: Ok(("orders".to_owned(), 1)), missed_lists: 1 };
    let broker = Broker::start_with(vec![Topic::new("orders", vec![Log::of_noise(3, 10, 1)])], vec![group]).await;
    let folder = tempfile::tempdir().unwrap();
    let config = configs::backup(&broker, folder.path(), json!({}));
    let report = backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
    assert_eq!((report.outcome, report.groups), (Outcome::Completed, 1), "{report:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_whose_coordinator_nobody_leads_are_in_no_list_and_make_the_backup_partial() {
    let partition = |has_no_leader| {
        let log = Log::default();
        log.state().has_no_leader = has_no_leader;
        log
    };
    for (has_no_leader, outcome) in [(false, Outcome::Completed), (true, Outcome::Partial)] {
        let coordinators = Topic::new("__consumer_offsets", vec![partition(false), partition(has_no_leader)]);
        let broker = Broker::start(vec![Topic::new("orders", vec![Log::of_noise(3, 10, 1)]), coordinators]).await;
        let folder = tempfile::tempdir().unwrap();
        let config = configs::backup(&broker, folder.path(), json!({}));
        let report = backup::run(&config, &Progress::default(), &Stop::default()).await.unwrap();
        assert_eq!((report.outcome, report.topics, report.records), (outcome, 1, 3), "{report:?}");
        let names_it = report.problems.iter().any(|problem| problem.contains("partitions [1] of __consumer_offsets"));
        assert_eq!(names_it, has_no_leader, "{:?}", report.problems);
    }
}
