//! Restores under other names, at the same time: some are killed while they work and run again, some write to topics that an
//! operator sets back.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kafka_backup::clock::{now_ms, utc};
use kafka_backup::format::layout::ArchiveKeys;

use super::archive::{self, Backup, crc_of};
use super::backups::{Failure, Made};
use super::checker::{Fault, Wrong};
use super::engine::{ARCHIVE, Engine, Kill, Outcome, tail};
use super::journal::Journal;
use super::operator::{Insistence, Operator};
use super::plan::{APPLICATION, Kind};
use super::random::Random;
use super::restored::{self, Policy};
use crate::cli::Ended;
use crate::dump;
use crate::witness::{NewTopic, Properties, Witness, properties};

const CONFLICT: i32 = 6;
const PARTIAL: i32 = 7;

/// Everything that restores need.
#[derive(Debug)]
pub struct Restores<'a> {
    /// The binary.
    pub engine: &'a Engine<'a>,
    /// A client of the cluster.
    pub witness: &'a Witness,
    /// Who sets topics back.
    pub operator: &'a Operator,
    /// The backups.
    pub made: &'a Made,
    /// A folder for what is read back.
    pub folder: PathBuf,
    /// Set when there are to be no more.
    pub stop: &'a AtomicBool,
}

/// What became of the restores.
#[derive(Debug, Default)]
pub struct Done {
    /// Restores that completed.
    pub completed: u32,
    /// Restores that ended with a conflict, as they may.
    pub conflicts: u32,
    /// Runs that were killed, each after it had begun to change the target.
    pub kills: u32,
    /// Completed restores of which a run was killed while it wrote.
    pub resumed: u32,
    /// Records that were read back.
    pub records: usize,
    /// Committed offsets that were read back.
    pub offsets: usize,
    /// Completed restores that set a setting again which the operator had set back.
    pub set_again: u32,
    /// What is wrong.
    pub failures: Vec<Failure>,
}

/// What no restore has shown so far, so that the next one is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Owed {
    /// A run that is killed while it writes, and resumed.
    resume: bool,
    /// The offsets of a group.
    group: bool,
    /// A setting that is set back, and set again.
    set_again: bool,
}

impl Owed {
    const fn is_any(self) -> bool {
        self.resume || self.group || self.set_again
    }
}

impl Done {
    const fn owed(&self) -> Owed {
        Owed { resume: self.resumed == 0, group: self.offsets == 0, set_again: self.set_again == 0 }
    }
}

/// One restore.
struct Job {
    number: u32,
    backup: Backup,
    /// Source and target.
    topics: Vec<(String, String)>,
    /// The target that the operator looks after, with what is declared of it.
    operated: Option<(String, Properties)>,
    /// How often the operator sets it back.
    insistence: Insistence,
    owed: Owed,
    rate: u64,
    /// Replicas of the targets; those of the sources when absent.
    replicas: Option<u64>,
    /// The latest timestamp that is restored, in milliseconds since 1970.
    point_in_time_ms: Option<i64>,
    /// A group of the source whose offsets are restored, with its name in the target.
    group: Option<(String, String)>,
}

impl Restores<'_> {
    /// Restores until it is stopped.
    ///
    /// # Errors
    /// When the binary cannot be run or a backup cannot be read.
    pub fn run(&self, mut random: Random) -> Result<Done> {
        let mut done = Done::default();
        for number in 0.. {
            while self.made.ids().is_empty() && !self.stop.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(100));
            }
            let ids = self.made.ids();
            let owed = done.owed();
            // The newest is sure to have what every cluster has after a while, such as a group.
            let newest = &ids[ids.len().saturating_sub(if owed.is_any() { 1 } else { 3 })..];
            let Some(id) = random.pick(newest).filter(|_| !self.stop.load(Ordering::Relaxed)) else { break };
            let backup = archive::read(&self.engine.repository, id)?;
            let job = plan(number, backup, owed, &mut random);
            let begin_ms = now_ms();
            let faults = self.restore(&job, &mut random, &mut done)?;
            let end_ms = now_ms();
            done.failures.extend(faults.into_iter().map(|(code, fault)| Failure { begin_ms, end_ms, code, fault }));
            self.clean_up(&job);
            sleep(Duration::from_millis(random.between(200, 2_000)));
        }
        Ok(done)
    }

    fn restore(&self, job: &Job, random: &mut Random, done: &mut Done) -> Result<Vec<(Option<i32>, Fault)>> {
        if let Some((target, configs)) = &job.operated {
            let source = job.topics.iter().find(|(_, to)| to == target).map(|(from, _)| from);
            let partitions =
                source.and_then(|source| job.backup.topics.get(source)).map_or(1, |topic| topic.partitions.len());
            let new = NewTopic { configs: configs.clone(), ..NewTopic::new(target, i32::try_from(partitions)?) };
            if let Err(error) = self.witness.create_topics(&[new]) {
                self.engine.events.failed(now_ms(), "creating a target", &error);
                return Ok(Vec::new());
            }
            self.operator.declare(target, configs.clone(), job.insistence);
        }
        let (ended, was_half_written) = self.run_until_it_ends(job, random, done)?;
        if ended.code == Some(0) {
            done.completed += 1;
            done.resumed += u32::from(was_half_written);
            done.set_again += u32::from(has_set_again(&ended)?);
            return self.compare(job, done);
        }
        match &job.operated {
            Some((target, configs))
                if is_conflict_about(&ended, target, configs) || is_problem_about(&ended, target, configs)? =>
            {
                done.conflicts += 1;
                Ok(Vec::new())
            }
            Some(_) | None => {
                let text = format!("a restore; it ended with {:?}:\n{}", ended.code, tail(&ended.stderr));
                Ok(vec![(ended.code, job.fault("", -1, -1, text))])
            }
        }
    }

    /// Runs a restore until a run of it ends by itself; how that one ended, and whether one before it was killed while it wrote.
    fn run_until_it_ends(&self, job: &Job, random: &mut Random, done: &mut Done) -> Result<(Ended, bool)> {
        let keys = ArchiveKeys::new(&ARCHIVE.parse()?);
        let journal = Journal::new(&self.engine.repository, &keys, &job.restore_id().parse()?);
        let (kills, pauses_ms) = match (job.owed.resume, random.between(0, 3)) {
            // By then it has written something, and is far from its end.
            (true, _) => (1, 500..2_500),
            (false, drawn) => (drawn, 0..5_000),
        };
        let mut was_half_written = false;
        for attempt in 0..=kills {
            let pause = Duration::from_millis(random.between(pauses_ms.start, pauses_ms.end));
            let kill = if attempt < kills {
                Kill::OnceBegun { journal: &journal, is_ready: job.owed.resume, pause }
            } else {
                Kill::Never
            };
            match self.engine.run(&format!("restore-{}-{attempt}", job.number), &job.arguments(), kill)? {
                Outcome::Killed => {
                    done.kills += 1;
                    was_half_written |= journal.is_half_written();
                }
                Outcome::Ended(ended) => return Ok((ended, was_half_written)),
            }
        }
        bail!("the last attempt is not killed")
    }

    /// Reads the targets with the Java client.
    fn compare(&self, job: &Job, done: &mut Done) -> Result<Vec<(Option<i32>, Fault)>> {
        let mut faults = Vec::new();
        for (source, target) in &job.topics {
            let folder = self.folder.join(target);
            let read = match self.witness.dump(target, &folder) {
                Ok(read) => read,
                Err(error) => {
                    faults.push((None, job.fault(source, -1, -1, format!("a target that can be read: {error:#}"))));
                    continue;
                }
            };
            let declared = job.operated.as_ref().filter(|(operated, _)| operated == target).map(|(_, configs)| configs);
            let policy = Policy::of(Kind::of(source), declared);
            for (number, partition) in &job.backup.topics[source].partitions {
                let found = read_back(&folder, *number)?;
                done.records += found.len();
                let restored = restored::until(&partition.records, job.point_in_time_ms);
                let end_offset = read.iter().find(|read| read.partition == *number).map_or(0, |read| read.end_offset);
                let differs = restored::difference(&restored, &found, policy);
                if let Some((offset, text)) = differs.or_else(|| restored::other_end(&restored, end_offset)) {
                    faults.push((None, job.fault(source, *number, offset, text)));
                }
            }
            // What is right is not kept.
            if faults.is_empty() {
                let _ = std::fs::remove_dir_all(&folder);
            }
        }
        faults.extend(self.compare_group(job, done)?);
        Ok(faults)
    }

    /// Whether the group is at exactly the next record.
    fn compare_group(&self, job: &Job, done: &mut Done) -> Result<Vec<(Option<i32>, Fault)>> {
        let Some((source, group)) = &job.group else { return Ok(Vec::new()) };
        let found = self.witness.group_offsets(group)?;
        let mut faults = Vec::new();
        for ((topic, number), committed) in &job.backup.groups[source] {
            let Some((_, target)) = job.topics.iter().find(|(from, _)| from == topic) else { continue };
            let partitions = job.backup.topics.get(topic).map(|topic| &topic.partitions);
            let Some(partition) = partitions.and_then(|partitions| partitions.get(number)) else { continue };
            let wanted = restored::position(&restored::until(&partition.records, job.point_in_time_ms), *committed);
            let positions = found.iter().map(|commit| &commit.position);
            let found =
                positions.filter(|at| (&at.topic, at.partition) == (target, *number)).map(|at| at.offset).next();
            done.offsets += 1;
            if found != Some(wanted) {
                let text = format!(
                    "group {source}, which had committed {committed}, at {wanted} in the target, found {found:?}"
                );
                faults.push((None, job.fault(topic, *number, *committed, text)));
            }
        }
        Ok(faults)
    }

    fn clean_up(&self, job: &Job) {
        if let Some((target, _)) = &job.operated {
            self.operator.forget(target);
        }
        for (_, target) in &job.topics {
            // A restore that failed may not have created all.
            let _ = self.witness.delete_topics(&[target]);
        }
        if let Some((_, group)) = &job.group {
            let _ = self.witness.delete_group(group);
        }
    }
}

fn read_back(folder: &Path, partition: i32) -> Result<Vec<u32>> {
    let path = dump::file_of(folder, partition);
    if !path.exists() {
        return Ok(Vec::new());
    }
    dump::Records::open(&path)?.map(|record| crc_of(&record?)).collect()
}

fn plan(number: u32, backup: Backup, owed: Owed, random: &mut Random) -> Job {
    let names: Vec<String> = backup.topics.keys().cloned().collect();
    let count = usize::try_from(random.between(2, 7)).unwrap_or(2);
    let mut drawn = random.draw(&names, count);
    // A restore of nothing that the application reads has no offsets to restore.
    let is_with_group = random.chance(50) || owed.group;
    let group = backup.groups.get(APPLICATION).filter(|_| is_with_group).map(|offsets| {
        let read = offsets.keys().map(|(topic, _)| topic.clone()).find(|topic| !drawn.contains(topic));
        drawn.extend(read);
        (APPLICATION.to_owned(), format!("back-{number}-{APPLICATION}"))
    });
    let point_in_time_ms =
        random.chance(30).then(|| backup.cut_at_ms - i64::try_from(random.between(0, 20_000)).unwrap_or(0));
    // Before that time there may be nothing.
    let point_in_time_ms = point_in_time_ms.filter(|_| !owed.is_any());
    let topics: Vec<(String, String)> =
        drawn.into_iter().map(|name| (name.clone(), format!("back-{number}-{name}"))).collect();
    let declared = [
        properties([("retention.ms", "86400000")]),
        properties([("cleanup.policy", "compact")]),
        properties([("message.timestamp.type", "LogAppendTime")]),
        properties([("retention.ms", "2000"), ("segment.ms", "1000")]),
        properties([("max.message.bytes", "2000000"), ("min.insync.replicas", "1")]),
    ];
    let operated = random.chance(40).then(|| {
        let target = topics.first().map(|(_, target)| target.clone())?;
        Some((target, random.pick(&declared)?.clone()))
    });
    // With as many as there are brokers a restore is refused while one is away.
    let replicas = random.chance(80).then(|| random.between(1, 3));
    let (operated, rate) =
        (operated.flatten(), random.between(30_000, 400_000).max(rate_within_limit(&backup, &topics)));
    let job = Job {
        number,
        backup,
        topics,
        operated,
        insistence: Insistence::Always,
        owed,
        rate,
        replicas,
        point_in_time_ms,
        group,
    };
    if owed.is_any() { job.slow_and_sure(&declared[0]) } else { job }
}

/// The records of these topics of a backup.
fn records_of(backup: &Backup, topics: &[(String, String)]) -> u64 {
    let partitions = |(source, _): &(String, String)| backup.topics[source].partitions.values();
    topics.iter().flat_map(partitions).map(|partition| partition.records.len() as u64).sum()
}

/// The rate, in bytes a second, at which a restore of these topics ends long before it is taken for one that hangs.
fn rate_within_limit(backup: &Backup, topics: &[(String, String)]) -> u64 {
    const BYTES_A_RECORD: u64 = 600;
    const SECONDS: u64 = 200;
    records_of(backup, topics) * BYTES_A_RECORD / SECONDS
}

impl Job {
    /// One that takes some seconds, in which it is killed and meets the operator, and completes whichever broker is away. A setting that is
    /// set back as `declared` may be set again.
    fn slow_and_sure(mut self, declared: &Properties) -> Self {
        /// A record takes about six times as many bytes in the backup.
        const BYTES_A_RECORD: u64 = 100;
        const RATE_MIN: u64 = 10_000;
        self.rate = (records_of(&self.backup, &self.topics) * BYTES_A_RECORD).max(RATE_MIN);
        self.replicas = Some(2);
        if self.owed.set_again {
            self.operated = self.topics.first().map(|(_, target)| (target.clone(), declared.clone()));
            self.insistence = Insistence::Once;
        } else {
            // A restore that ends with a conflict shows nothing of a group.
            self.operated = None;
        }
        self
    }

    fn restore_id(&self) -> String {
        format!("r{}", self.number)
    }

    fn arguments(&self) -> Vec<String> {
        let mut arguments = vec![
            "restore".to_owned(),
            format!("--archive={ARCHIVE}"),
            format!("--backup={}", self.backup.id),
            format!("--restore-id={}", self.restore_id()),
            format!("--rate-limit-bytes={}", self.rate),
        ];
        arguments.extend(self.replicas.map(|replicas| format!("--replication-factor={replicas}")));
        arguments.extend(self.point_in_time_ms.map(|at_ms| format!("--point-in-time={}", utc(at_ms))));
        if let Some((source, target)) = &self.group {
            arguments.push(format!("--consumer-groups={source}"));
            arguments.push(format!("--group-mapping={source}={target}"));
        }
        for (source, target) in &self.topics {
            arguments.push(format!("--topics={source}"));
            arguments.push(format!("--topic-mapping={source}={target}"));
        }
        arguments
    }

    fn fault(&self, topic: &str, partition: i32, offset: i64, expected: String) -> Fault {
        let backup = format!("{} (restore {})", self.backup.id, self.number);
        Fault { backup, wrong: Wrong::Restore, topic: topic.to_owned(), partition, offset, expected }
    }
}

/// Whether a completed restore reports that another program had changed a setting, and that it set it again.
fn has_set_again(ended: &Ended) -> Result<bool> {
    let report = ended.json()?;
    let warnings = report["warnings"].as_array().context("a report without warnings")?;
    let is_such = |line: &str| line.contains("another program changed") && line.contains("the restore set it again");
    Ok(warnings.iter().filter_map(|line| line.as_str()).any(is_such))
}

/// Whether a restore ended with a conflict about the topic, because of a setting that was set back or what came of it.
fn is_conflict_about(ended: &Ended, target: &str, configs: &Properties) -> bool {
    // A restore also warns of each setting that it sets again, whatever it ends with.
    let Some(error) = ended.stderr.lines().rfind(|line| line.starts_with("error: ")) else { return false };
    ended.code == Some(CONFLICT) && is_reversal(&error["error: ".len()..], target, configs)
}

/// Whether a restore ended as one with problems, all of which are such conflicts that it met after it had committed all offsets.
fn is_problem_about(ended: &Ended, target: &str, configs: &Properties) -> Result<bool> {
    if ended.code != Some(PARTIAL) {
        return Ok(false);
    }
    let report = ended.json()?;
    let problems = report["problems"].as_array().context("a report without problems")?;
    Ok(problems.iter().filter_map(|line| line.as_str()).all(|line| is_reversal(line, target, configs)))
}

/// Whether a line says of the topic that a setting was set back, or what came of it.
fn is_reversal(line: &str, target: &str, configs: &Properties) -> bool {
    // What comes behind may list the target among the topics that keep the settings of the restore.
    let is_about = line.starts_with(&format!("topic {target:?}"));
    let names_setting = configs.keys().map(String::as_str).chain(PROTECTIVE).any(|name| line.contains(name));
    let was_swept = Policy::of(None, Some(configs)).expires() && line.contains("records were deleted");
    is_about && (names_setting || was_swept)
}

/// What a restore sets while it writes, and an operator that has not declared it takes away.
const PROTECTIVE: [&str; 4] = ["cleanup.policy", "retention.ms", "retention.bytes", "message.timestamp"];

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Backup {
        let stored = |offset| archive::Stored {
            offset,
            timestamp_ms: offset,
            crc: 0,
            key: None,
            is_tombstone: false,
            is_aborted: false,
        };
        let partition = archive::Partition { records: (0..1_000).map(stored).collect(), ..Default::default() };
        let topic = archive::Topic { id: "A".to_owned(), partitions: [(0, partition)].into() };
        let committed = [(("src-input-0".to_owned(), 0), 5)].into();
        Backup {
            topics: [("src-input-0".to_owned(), topic.clone()), ("src-plain-0".to_owned(), topic)].into(),
            groups: [(APPLICATION.to_owned(), committed)].into(),
            ..Backup::default()
        }
    }

    #[test]
    fn what_no_restore_has_shown_is_asked_of_the_next_one_whatever_the_seed_says() {
        let owed = Done::default().owed();
        assert_eq!(owed, Owed { resume: true, group: true, set_again: true });
        let killed = Done { kills: 1, offsets: 1, set_again: 1, ..Done::default() };
        assert_eq!(
            killed.owed(),
            Owed { resume: true, group: false, set_again: false },
            "a killed run need not have written, nor the next one completed"
        );
        let nothing = Done { resumed: 1, ..killed }.owed();
        assert!(!nothing.is_any());
        let jobs = |owed: Owed| (0..50).map(move |seed| plan(0, backup(), owed, &mut Random::new(seed)));
        for job in jobs(owed) {
            assert!(job.group.is_some() && job.point_in_time_ms.is_none());
            assert!(job.operated.is_some() && job.insistence == Insistence::Once);
            assert_eq!((job.rate, job.replicas), (100_000 * job.topics.len() as u64, Some(2)));
        }
        assert!(jobs(Owed { set_again: false, ..owed }).all(|job| job.operated.is_none() && job.group.is_some()));
        assert!(jobs(nothing).any(|job| job.group.is_none()) && jobs(nothing).any(|job| job.group.is_some()));
        assert!(jobs(nothing).any(|job| job.operated.is_some() && job.insistence == Insistence::Always));
    }

    #[test]
    fn a_setting_that_was_set_again_is_known_by_the_warning_about_it() {
        let reported = |warnings: &str| {
            let stdout = format!("{{\"outcome\": \"completed\", \"warnings\": [{warnings}]}}");
            has_set_again(&Ended { code: Some(0), stdout, stderr: String::new() })
        };
        let warning = "topic \\\"back-1\\\": another program changed retention.ms before the restore had ended, and the restore set it \
                       again; no record was lost by it";
        assert!(reported(&format!("\"something else\", \"{warning}\"")).unwrap());
        assert!(!reported("\"another program changed nothing\"").unwrap());
        assert!(!reported("").unwrap());
    }

    #[test]
    fn a_conflict_counts_only_when_it_names_topic_and_setting() {
        let ended = |code, stderr: &str| Ended { code: Some(code), stdout: String::new(), stderr: stderr.to_owned() };
        let declared = properties([("segment.ms", "1000")]);
        let is_about = |ended| is_conflict_about(&ended, "back-1", &declared);
        assert!(is_about(ended(CONFLICT, "error: topic \"back-1\": segment.ms was set back")));
        assert!(is_about(ended(CONFLICT, "WARN it is slow\nerror: topic \"back-1\": retention.ms was set back; more")));
        assert!(!is_about(ended(CONFLICT, "error: topic \"back-1\" is another")));
        assert!(!is_about(ended(CONFLICT, "error: topic \"back-2\": segment.ms")));
        assert!(!is_about(ended(3, "error: topic \"back-1\": segment.ms")));
        assert!(!is_about(ended(CONFLICT, "")));
    }

    #[test]
    fn a_problem_counts_as_a_conflict_only_when_all_of_them_are_about_the_setting() {
        let is_about = |code, problems: &[&str]| {
            let stdout = serde_json::json!({ "problems": problems }).to_string();
            let ended = Ended { code: Some(code), stdout, stderr: String::new() };
            is_problem_about(&ended, "back-1", &properties([("segment.ms", "1000")])).unwrap()
        };
        let set_back = "topic \"back-1\": segment.ms was set back";
        assert!(is_about(PARTIAL, &[set_back]));
        assert!(!is_about(PARTIAL, &[set_back, "topic \"back-2\": segment.ms was set back"]));
        assert!(!is_about(0, &[set_back]));
    }

    #[test]
    fn a_setting_that_was_set_back_before_excuses_no_other_conflict() {
        let twice = "WARN another program has set a setting of the restore back: it is set again topic=\"back-1\" \
                     setting=\"retention.ms\"\nerror: topic \"back-1\" partition 0: it holds 9 records where only 8 were sent: \
                     somebody else writes to it";
        let ended = |stderr: &str| Ended { code: Some(CONFLICT), stdout: String::new(), stderr: stderr.to_owned() };
        let declared = |retention_ms: &str| properties([("retention.ms", retention_ms)]);
        assert!(!is_conflict_about(&ended(twice), "back-1", &declared("2000")));
        let listed = "error: topic \"back-2\": retention.ms was set back; topics that keep the settings of a restore, such as no \
                      retention: 1 (back-1)";
        assert!(!is_conflict_about(&ended(listed), "back-1", &declared("2000")));
        let swept = "error: topic \"back-1\" partition 0 begins at offset 5 now: restored records were deleted";
        assert!(is_conflict_about(&ended(swept), "back-1", &declared("2000")));
        assert!(!is_conflict_about(&ended(swept), "back-1", &declared("86400000")), "a day has not passed");
    }
}
