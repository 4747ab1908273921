//! A cluster in motion: three brokers, sixty topics, writers, an exactly-once application, the log cleaner, retention,
//! deletions and elections, under backups and restores that are killed at any moment; and at the end a comparison with what
//! a client that is not ours has seen.
//!
//! What happens when follows from one seed ([`plan`]), though not how threads and processes overtake each other. [`oracle`]
//! is what the Java client saw, [`archive`] what a backup holds, and [`checker`] says, without any I/O, where the two
//! contradict each other. Events, reports and logs are kept in a folder when something is wrong.

pub mod archive;
mod backups;
pub mod checker;
mod cluster;
mod command;
mod counts;
mod engine;
pub mod events;
mod floor;
mod journal;
mod load;
mod operator;
pub mod oracle;
pub mod plan;
pub mod random;
mod restored;
mod restores;

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use self::backups::{Failure, Made};
use self::checker::{Facts, Fault, Wrong};
use self::cluster::Cluster;
pub use self::command::Arguments;
pub use self::counts::Counts;
use self::engine::Engine;
use self::events::{Event, Events, What};
pub use self::floor::FLOOR_LENGTH;
use self::load::Load;
use self::operator::Operator;
use self::plan::{Action, Kind, Plan};
use self::random::Random;
use self::restores::{Done, Restores};
use crate::cli;
use crate::kafka::Listener;
use crate::kafka::{Kafka, KafkaOptions};
use crate::witness::Witness;

/// Runs that may fail while so many brokers are away that nothing can be asked.
const UNAVAILABLE: i32 = 3;
const CONFLICT: i32 = 6;
/// Writers of each sort.
const WRITERS: usize = 2;
/// What the oracle saw, in the folder of a run.
const ORACLE_FILE: &str = "oracle.txt";

/// What to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Decides everything that is decided by chance.
    pub seed: u64,
    /// How long there is motion; beginning and end take another minute.
    pub length: Duration,
    /// About how many topics.
    pub topics: usize,
    /// Where everything is kept: a new folder.
    pub folder: PathBuf,
}

/// What was done, and what is wrong.
#[derive(Debug)]
pub struct Summary {
    /// What was done.
    pub counts: Counts,
    /// What is wrong.
    pub faults: Vec<Fault>,
    /// What has to happen in so long a time and did not, so that nothing was shown of it.
    pub missing: Vec<&'static str>,
}

impl Summary {
    /// Whether everything happened that has to, and nothing is wrong.
    pub fn is_right(&self) -> bool {
        self.faults.is_empty() && self.missing.is_empty()
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} faults", self.counts, self.faults.len())?;
        if self.missing.is_empty() { Ok(()) } else { write!(f, "\nnothing was shown of: {}", self.missing.join(", ")) }
    }
}

/// Sets a cluster in motion, and checks every backup and restore.
///
/// # Errors
/// When a system does not start or a tool fails. What is wrong with backups is in the summary.
pub fn run(options: &Options) -> Result<Summary> {
    let folder = &options.folder;
    for name in ["repository", "runs", "read-back"] {
        fs::create_dir_all(folder.join(name)).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    let seed = Random::new(options.seed);
    let plan = Plan::new(&seed, options.topics, options.length);
    fs::write(folder.join("plan.txt"), format!("seed {}\n{plan:#?}\n", options.seed))?;
    // Building it takes a while, which is no motion.
    cli::binary()?;
    let events = Events::create(&folder.join("events.jsonl"))?;
    let kafka = start_brokers()?;
    let (made, operator) = (Made::default(), Operator::default());
    let done = set_in_motion(options, &seed, &plan, &kafka, &events, &made, &operator)?;
    conclude(options, &events, &made, done, operator.set_back())
}

fn start_brokers() -> Result<Kafka> {
    let extra = [
        // A broker that is gone is missed soon.
        ("broker.session.timeout.ms", "6000"),
        ("broker.heartbeat.interval.ms", "1000"),
        ("replica.lag.time.max.ms", "5000"),
    ];
    let extra_properties = extra.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Kafka::start(KafkaOptions { nodes: 3, heap_mb: 320, extra_properties, ..KafkaOptions::default() })
}

/// Everything runs at once until the time is over, then a last backup is made, and the oracle catches up.
fn set_in_motion(
    options: &Options,
    seed: &Random,
    plan: &Plan,
    kafka: &Kafka,
    events: &Events,
    made: &Made,
    operator: &Operator,
) -> Result<Done> {
    let folder = &options.folder;
    let witness = &kafka.witness();
    let oracle_file = &folder.join(ORACLE_FILE);
    let oracle = witness.start_oracle(plan::PREFIX, oracle_file)?;
    let cluster = &Cluster { kafka, witness, oracle: &oracle, oracle_file, topics: &plan.topics, events };
    cluster.create_topics()?;
    let application =
        match (plan.names(|kind| kind == Kind::Input).pop(), plan.names(|kind| kind == Kind::Output).pop()) {
            (Some(from), Some(to)) => Some(witness.start_transform(plan::APPLICATION, &from, &to)?),
            _ => None,
        };
    let engine = &Engine {
        bootstrap: kafka.bootstrap(Listener::Plain),
        repository: folder.join("repository"),
        logs: folder.join("runs"),
        events,
    };
    let (stop, stop_operator) = (&AtomicBool::new(false), &AtomicBool::new(false));
    let restores = &Restores { engine, witness, operator, made, folder: folder.join("read-back"), stop };
    let begin = Instant::now();
    let done = thread::scope(|scope| {
        let load = Load { witness, topics: &plan.topics, events, stop };
        for writer in load.writers(seed, WRITERS) {
            scope.spawn(move || writer.run());
        }
        for concerns_brokers in [false, true] {
            let random = seed.fork(if concerns_brokers { "brokers" } else { "topics in motion" });
            scope.spawn(move || act(cluster, plan, concerns_brokers, random, begin, stop));
        }
        scope.spawn(|| operator.run(witness, stop_operator));
        let backing_up = scope.spawn(|| {
            wait_for_offsets(witness, stop);
            backups::run(engine, seed.fork("backups"), made, stop)
        });
        let restoring = scope.spawn(|| restores.run(seed.fork("restores")));
        while begin.elapsed() < options.length && !backing_up.is_finished() && !restoring.is_finished() {
            sleep(Duration::from_millis(200));
        }
        stop.store(true, Ordering::Relaxed);
        let done = joined(restoring);
        stop_operator.store(true, Ordering::Relaxed);
        joined(backing_up)?;
        done
    })?;
    // Another look at where the logs begin, behind the last backup.
    sleep(Duration::from_secs(2));
    if let Some(application) = application {
        application.stop()?;
    }
    oracle.stop()?;
    Ok(done)
}

fn joined<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Waits, for a while, until the application has committed offsets, so that the first backup has records and a group.
fn wait_for_offsets(witness: &Witness, stop: &AtomicBool) {
    const PATIENCE: Duration = Duration::from_secs(20);
    let begin = Instant::now();
    // Without a coordinator, or a group, there are none yet.
    let are_there = || witness.group_offsets(plan::APPLICATION).is_ok_and(|offsets| !offsets.is_empty());
    while begin.elapsed() < PATIENCE && !stop.load(Ordering::Relaxed) && !are_there() {
        sleep(Duration::from_millis(200));
    }
}

/// Does one sort of actions, each at its time or as soon as the one before is over.
fn act(
    cluster: &Cluster<'_>,
    plan: &Plan,
    concerns_brokers: bool,
    mut random: Random,
    begin: Instant,
    stop: &AtomicBool,
) {
    /// An action that is so late would only pile up with others.
    const LATE: Duration = Duration::from_secs(10);
    let is_rare = |action: &Action| matches!(action, Action::RestartBroker { .. } | Action::UncleanElection { .. });
    for (at, action) in plan.actions.iter().filter(|(_, action)| action.concerns_brokers() == concerns_brokers) {
        while begin.elapsed() < *at && !stop.load(Ordering::Relaxed) {
            sleep(Duration::from_millis(50));
        }
        if stop.load(Ordering::Relaxed) {
            return;
        }
        if begin.elapsed() < *at + LATE || is_rare(action) {
            cluster.act(action, &mut random);
        }
    }
}

/// Reads all backups and holds them against what the oracle saw.
fn conclude(options: &Options, events: &Events, made: &Made, done: Done, settings_set_back: u32) -> Result<Summary> {
    let folder = &options.folder;
    let oracle = oracle::read(&folder.join(ORACLE_FILE))?;
    let events = events.all();
    let facts = Facts::of(&events);
    let mut counts = Counts::of(&events, &oracle, made, &done, settings_set_back);
    let mut faults: Vec<Fault> = Vec::new();
    for id in &made.ids() {
        let backup = archive::read(&folder.join("repository"), id)?;
        let verdict = checker::check(&backup, &oracle, &facts);
        counts.add(&backup, &verdict);
        faults.extend(verdict.faults);
    }
    let failures = made.failures().into_iter().chain(done.failures);
    faults.extend(failures.filter(|failure| !is_excused(failure, &events)).map(|failure| failure.fault));
    fs::write(folder.join("faults.json"), serde_json::to_vec_pretty(&faults)?)?;
    let missing = floor::never_happened(&counts, options.length);
    Ok(Summary { counts, faults, missing })
}

/// Whether a run may have failed: the controllers had no quorum, or a partition no leader, or a restore was refused since a
/// broker was away at that moment and its topics have more replicas than there are brokers, or a target lost restored records in
/// an unclean election.
fn is_excused(failure: &Failure, events: &[Event]) -> bool {
    // Such a topic comes back as it was configured, and loses what was restored in the same way.
    let loses_records = failure.code == Some(CONFLICT) && failure.fault.expected.contains("-src-unclean-") && {
        let mut lines = failure.fault.expected.lines();
        let says = ["ends before the last restored record", "it has lost some"];
        lines.any(|line| line.starts_with("error: ") && says.iter().any(|says| line.contains(says)))
    };
    // They may be lost when the restore has ended, too, before they are read back.
    let lost_records = failure.code.is_none()
        && failure.fault.wrong == Wrong::Restore
        && failure.fault.topic.starts_with("src-unclean");
    let is_unclean = |what: &What| matches!(what, What::UncleanElection { .. });
    let takes_a_broker = |what: &What| is_unclean(what) || matches!(what, What::BrokerRestarted { .. });
    let during = |passes: &dyn Fn(&What) -> bool| {
        let mut overlapping =
            events.iter().filter(|event| event.begin_ms <= failure.end_ms && event.end_ms >= failure.begin_ms);
        overlapping.any(|event| passes(&event.what))
    };
    let refused_for = ["replicas, the target has 2 brokers", "because only 2 broker(s) are registered"];
    let lacks_brokers = failure.code == Some(CONFLICT)
        && refused_for.iter().any(|refused_for| failure.fault.expected.contains(refused_for));
    ((failure.code == Some(UNAVAILABLE) || loses_records || lost_records) && during(&is_unclean))
        || (lacks_brokers && during(&takes_a_broker))
}
