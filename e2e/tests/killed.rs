//! Killed at random moments, again and again: the next run completes, nothing is lost, nothing is there twice.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::thread::sleep;
use std::time::{Duration, Instant};

use e2e::dump::Record;
use e2e::kafka::{Kafka, Listener, Shared};
use e2e::minio::Minio;
use e2e::process::Output;
use e2e::runs::Repository;
use e2e::sample::Sample;
use e2e::unique;
use e2e::witness::{At, NewTopic, properties};

const KILLS: u32 = 50;
/// A run on a bucket is longer, and there are fewer kinds of moments in it than runs of [`KILLS`] would meet.
const KILLS_ON_S3: u32 = 15;
/// For each codec.
const KILLS_OF_JOINING: u32 = 25;
const RECORDS: u64 = 120_000;

/// The moments of the kills follow from a seed: `KILL_SEED`, or else the clock. It is printed.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let given = std::env::var("KILL_SEED").ok().and_then(|text| text.parse().ok());
        let seed = given.unwrap_or_else(|| kafka_backup::clock::now_ms().unsigned_abs());
        eprintln!("KILL_SEED={seed}");
        Self(seed)
    }

    /// A part of `of`, evenly spread (SplitMix64).
    fn next(&mut self, of: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        of.mul_f64(((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64)
    }
}

/// Kills runs so many times, at moments spread over the time that one takes alone. `arguments` gives the command after so
/// many have ended by themselves, and `ended` sees the report of each of those; the last one ends without a killer.
fn run_with_kills(
    repository: &Repository<'_>,
    kills_wanted: u32,
    alone: Duration,
    arguments: impl Fn(u32) -> Vec<String>,
    ended: impl Fn(u32, &serde_json::Value),
) {
    let mut moments = Moments::new();
    let (mut kills, mut whole) = (0, 0);
    while kills < kills_wanted {
        let command = arguments(whole);
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let mut running = repository.start(&command).unwrap();
        let moment = Instant::now() + moments.next(alone);
        while Instant::now() < moment && running.status().unwrap().is_none() {
            sleep(Duration::from_millis(1));
        }
        if let Some(status) = running.status().unwrap() {
            assert!(status.success(), "after {kills} kills: {:?}", running.ended().unwrap());
            ended(whole, &serde_json::Value::Null);
            whole += 1;
        } else {
            running.kill().unwrap();
            kills += 1;
        }
    }
    let command = arguments(whole);
    let report = repository.report(&command.iter().map(String::as_str).collect::<Vec<_>>());
    ended(whole, &report);
    eprintln!("killed {kills} times, {} runs came to their end", whole + 1);
}

fn how_long<T>(run: impl FnOnce() -> T) -> (Duration, T) {
    let begin = Instant::now();
    let done = run();
    (begin.elapsed(), done)
}

/// Kills backups, and looks at what the archive is worth after that.
fn a_backup_completes(repository: &Repository<'_>, kills: u32) {
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let sample = Sample::write(&witness, "killed-backup", RECORDS).unwrap();
    // Slow enough, and with segments small enough, that there is much to be killed in; without groups, whose lists are a second apart.
    let slow = ["--rate-limit-bytes=20000000", "--segment-bytes-max=1048576", "--parallelism=4", "--log-level=warn"];
    let arguments = |archive: &str| {
        let command = ["backup", "--bootstrap-servers", &bootstrap, "--archive", archive, "--topics", &sample.topic];
        [&command[..], &["--no-consumer-groups"], &slow[..]].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let command = arguments("alone");
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (alone, _) = how_long(|| repository.report(&command));
    run_with_kills(
        repository,
        kills,
        alone,
        |_| arguments("killed"),
        |_, report| {
            if !report.is_null() {
                assert_eq!(
                    (&report["outcome"], &report["records"]),
                    (&"completed".into(), &RECORDS.into()),
                    "{report}"
                );
            }
        },
    );
    // Whatever was killed, each backup of the archive is whole; and the newest is restored here.
    repository.report(&["verify", "--archive", "killed", "--level", "records"]);
    let target = format!("{}-back", sample.topic);
    let mapping = format!("{}={target}", sample.topic);
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "killed", "--topic-mapping", &mapping];
    assert_eq!(repository.report(&restore)["outcome"], "completed");
    sample.came_back_as(&witness, &target).unwrap();

    // And what killed runs left behind can be told from what belongs to backups, and goes.
    repository.report(&["prune", "--archive", "killed", "--grace", "0h", "--confirm"]);
    let left = repository.report(&["verify", "--archive", "killed", "--level", "records"]);
    assert_eq!(left["leftovers"].as_array().map(Vec::len), Some(0), "{left}");
    let listed = repository.report(&["list", "--archive", "killed"]);
    let states = listed["archives"][0]["backups"].as_array().unwrap().iter().map(|backup| &backup["state"]);
    assert!(states.clone().count() > 0 && states.clone().all(|state| state == "completed"), "{listed}");
}

#[test]
fn a_backup_that_is_killed_again_and_again_completes() {
    a_backup_completes(&Repository::folder().unwrap(), KILLS);
}

#[test]
fn a_backup_to_s3_that_is_killed_again_and_again_completes() {
    a_backup_completes(&Repository::bucket(Minio::shared(), "killed").unwrap(), KILLS_ON_S3);
}

#[test]
fn a_restore_that_is_killed_again_and_again_adds_nothing_twice() {
    let witness = Kafka::shared(Shared::Plain).witness();
    let sample = Sample::write(&witness, "killed-restore", RECORDS).unwrap();
    a_restore_adds_nothing_twice(&sample, KILLS, |_| {});
}

#[test]
fn a_restore_that_joins_batches_and_is_killed_again_and_again_adds_nothing_twice() {
    let witness = Kafka::shared(Shared::Plain).witness();
    for codec in ["none", "zstd"] {
        let sample = Sample::write_few_in_a_batch(&witness, "killed-joining", RECORDS, codec).unwrap();
        a_restore_adds_nothing_twice(&sample, KILLS_OF_JOINING, |report| {
            let counts = &report["topics"][0];
            assert!(counts["joined"].as_u64() > Some(RECORDS / 8), "{report}");
            assert!(counts["passed"].as_u64() >= Some(RECORDS / 6), "{report}");
        });
    }
}

/// Kills restores of a sample, and compares what is there with it; `alone` sees the report of one that was not killed.
fn a_restore_adds_nothing_twice(sample: &Sample, kills: u32, alone: impl Fn(&serde_json::Value)) {
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let topic = &sample.topic;
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", topic]);

    // A restore that has ended adds nothing any more: the next one goes to another topic.
    let target = |number: u32| format!("{topic}-{number}");
    let arguments = |number: u32| {
        let mapping = format!("{topic}={}", target(number));
        ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping]
            .map(str::to_owned)
            .to_vec()
    };
    let command = arguments(1000);
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    let (took, report) = how_long(|| repository.report(&command));
    alone(&report);
    sample.came_back_as(&witness, &target(1000)).unwrap();
    let came_back = |number: u32, _: &serde_json::Value| sample.came_back_as(&witness, &target(number)).unwrap();
    run_with_kills(&repository, kills, took, arguments, came_back);
}

#[test]
fn a_restore_does_not_go_on_behind_records_that_somebody_else_has_written() {
    const FEW: i64 = 400;
    let kafka = Kafka::shared(Shared::Plain);
    let bootstrap = kafka.bootstrap(Listener::Plain);
    let witness = kafka.witness();
    let topic = unique("strangers");
    witness.create_topics(&[NewTopic::new(&topic, 1)]).unwrap();
    // One record a batch, and none are joined: whatever is written meanwhile, the target ends where a batch of the restore
    // does. The second run goes on as the first began.
    let records: Vec<Record> = (0..FEW).map(|n| Record::new(0, 1_700_000_000_000 + n, n.to_string(), "v")).collect();
    witness.produce(&topic, &properties([("batch.size", "0")]), &records).unwrap();
    let repository = Repository::folder().unwrap();
    repository.report(&["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &topic]);

    let target = format!("{topic}-back");
    let mapping = format!("{topic}={target}");
    let restore = ["restore", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topic-mapping", &mapping];
    let slow = [&restore[..], &["--rate-limit-records", "50", "--keep-batches"]].concat();
    let mut process = repository.cli(&slow).unwrap().spawn(Output::Discard).unwrap();
    let end = || witness.offsets(&target, At::Latest).map_or(0, |ends| ends[0]);
    let deadline = Instant::now() + Duration::from_secs(60);
    while end() < 20 {
        assert!(Instant::now() < deadline && process.ended().unwrap().is_none(), "it restores nothing, or all at once");
    }
    process.kill().unwrap();
    witness.produce(&target, &properties([]), &[Record::new(0, 1_700_000_000_000, "stranger", "v")]).unwrap();
    let found = end();
    assert!(found < FEW, "there is something left to restore");
    let ended = repository.run(&restore).unwrap();
    assert_eq!(ended.code, Some(6), "{ended:?}");
    assert!(ended.stdout.contains("somebody else has written to it"), "{ended:?}");
    assert_eq!(end(), found, "nothing was written behind it");
}
