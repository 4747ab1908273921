//! What the oracle saw: every committed record that the Java client read, and where the logs began and ended.
//!
//! `e2e/java/Oracle.java` writes the file and describes its lines. The oracle may miss records that went before it came to
//! them. What it saw is certain.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// A topic of one id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Log {
    /// Its name.
    pub topic: String,
    /// Its id, as Kafka writes it.
    pub id: String,
    /// When the oracle was told that it is to be deleted, in milliseconds since 1970.
    pub forgotten_ms: Option<i64>,
    /// What is known of each partition.
    pub partitions: BTreeMap<i32, Partition>,
}

/// What is known of a partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Partition {
    /// The records, by generation and offset.
    pub records: Vec<Seen>,
    /// Stretches of offsets of which nothing is known, since they went before they could be read.
    pub jumps: Vec<(i64, i64)>,
    /// Where each generation but the first begins.
    pub truncations: Vec<Truncation>,
    /// Where the log began and ended, in the order of time.
    pub samples: Vec<Sample>,
}

/// A record that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// How often the log had been truncated before.
    pub generation: u32,
    /// Its offset.
    pub offset: i64,
    /// When it was read, in milliseconds since 1970.
    pub seen_ms: i64,
    /// CRC-32C of timestamp, key, value and headers.
    pub crc: u32,
    /// A hash of the key, if it has one.
    pub key: Option<u64>,
    /// Whether its value is null.
    pub is_tombstone: bool,
}

/// The log was truncated by an unclean election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Truncation {
    /// The generation that begins.
    pub generation: u32,
    /// The first offset that is another record since.
    pub offset: i64,
    /// When the oracle noticed it, in milliseconds since 1970: it had happened by then.
    pub at_ms: i64,
}

/// Where a log began and ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// When this was asked, in milliseconds since 1970.
    pub before_ms: i64,
    /// When the answer was there, likewise.
    pub after_ms: i64,
    /// The log start offset.
    pub start_offset: i64,
    /// The high watermark.
    pub high_watermark: i64,
    /// The last stable offset.
    pub stable_offset: i64,
}

impl Truncation {
    /// Whether it took this record.
    const fn takes(&self, seen: &Seen) -> bool {
        self.generation > seen.generation && self.offset <= seen.offset
    }
}

impl Partition {
    /// Whether a record was lost when the log was truncated.
    pub fn is_dead(&self, seen: &Seen) -> bool {
        self.truncations.iter().any(|truncation| truncation.takes(seen))
    }

    /// Whether a record was lost in a truncation that the oracle had noticed before this time.
    pub fn was_dead(&self, seen: &Seen, before_ms: i64) -> bool {
        self.truncations.iter().any(|truncation| truncation.at_ms < before_ms && truncation.takes(seen))
    }

    /// The first answer to a question that was asked after this time.
    pub fn sample_after(&self, at_ms: i64) -> Option<&Sample> {
        self.samples.get(self.samples.partition_point(|sample| sample.before_ms <= at_ms))
    }

    /// The offsets of which every committed record was seen, apart from the jumps.
    pub fn covered(&self) -> std::ops::Range<i64> {
        let first = self.records.iter().map(|seen| seen.offset).min().unwrap_or(0);
        let last = self.records.iter().map(|seen| seen.offset).max();
        first..last.map_or(first, |last| last + 1)
    }

    /// Whether nothing is known of an offset, since it went before it could be read.
    pub fn is_jumped(&self, offset: i64) -> bool {
        self.jumps.iter().any(|(from, to)| (*from..*to).contains(&offset))
    }
}

/// All that the oracle saw, by the id of the topic.
pub type Oracle = BTreeMap<String, Log>;

/// Reads the oracle's file.
///
/// # Errors
/// When it cannot be read, or a line has another form.
pub fn read(path: &Path) -> Result<Oracle> {
    let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    parse(BufReader::with_capacity(1 << 20, file)).with_context(|| format!("cannot understand {}", path.display()))
}

/// Whether the oracle has written down, from this byte of its file on, that it read a record of a partition at this offset or a later one.
///
/// # Errors
/// When the file cannot be read.
pub fn has_read(path: &Path, from_byte: u64, topic: &str, partition: i32, offset: i64) -> Result<bool> {
    let open = || File::open(path).with_context(|| format!("cannot open {}", path.display()));
    // Its first lines name the topics that are there from the beginning.
    let mut first = BufReader::new(open()?).lines().map_while(std::io::Result::ok);
    let Some(log) = first.find_map(|line| log_of(&line, topic)) else { return Ok(false) };
    let mut rest = open()?;
    rest.seek(SeekFrom::Start(from_byte)).with_context(|| format!("cannot read {}", path.display()))?;
    let mut rest = BufReader::new(rest).lines().map_while(std::io::Result::ok);
    // The line at that byte, and the last one, may be halves of lines.
    Ok(rest.any(|line| offset_read(&line, log, partition).is_some_and(|read| read >= offset)))
}

/// The number of the log, in a line that says that this topic is followed.
fn log_of(line: &str, topic: &str) -> Option<usize> {
    let mut fields = line.strip_prefix("T ")?.split(' ');
    let log = fields.next()?.parse().ok()?;
    (fields.next()? == topic).then_some(log)
}

/// The offset, in a line about a record of this partition.
fn offset_read(line: &str, log: usize, partition: i32) -> Option<i64> {
    let rest = line.strip_prefix(&format!("R {log} {partition} "))?;
    let mut fields = rest.split(' ').skip(1);
    let offset = fields.next()?.parse().ok()?;
    // In half a line the offset may be half of one.
    fields.next().and(Some(offset))
}

fn parse(lines: impl BufRead) -> Result<Oracle> {
    let mut logs: Vec<Log> = Vec::new();
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line?;
        take(&mut logs, &line).with_context(|| format!("line {number}: {line}"))?;
    }
    for partition in logs.iter_mut().flat_map(|log| log.partitions.values_mut()) {
        partition.records.sort_by_key(|seen| (seen.generation, seen.offset));
    }
    Ok(logs.into_iter().map(|log| (log.id.clone(), log)).collect())
}

fn take(logs: &mut Vec<Log>, line: &str) -> Result<()> {
    let mut fields = line.split(' ');
    let kind = fields.next().unwrap_or_default();
    if kind == "E" {
        return Ok(());
    }
    let mut next = || fields.next().context("a field is missing");
    let log: usize = next()?.parse()?;
    if kind == "T" {
        let (topic, id) = (next()?.to_owned(), next()?.to_owned());
        if log != logs.len() {
            bail!("logs are numbered in their order");
        }
        logs.push(Log { topic, id, ..Log::default() });
        return Ok(());
    }
    let log = logs.get_mut(log).context("no such log")?;
    if kind == "X" {
        log.forgotten_ms = Some(next()?.parse()?);
        return Ok(());
    }
    let partition = log.partitions.entry(next()?.parse()?).or_default();
    match kind {
        "R" => partition.records.push(Seen {
            generation: next()?.parse()?,
            offset: next()?.parse()?,
            seen_ms: next()?.parse()?,
            crc: u32::from_str_radix(next()?, 16)?,
            key: match next()? {
                "-" => None,
                hex => Some(hash(&from_hex(hex)?)),
            },
            is_tombstone: next()? == "tombstone",
        }),
        "J" => partition.jumps.push((next()?.parse()?, next()?.parse()?)),
        "D" => partition.truncations.push(Truncation {
            generation: next()?.parse()?,
            offset: next()?.parse()?,
            at_ms: next()?.parse()?,
        }),
        "L" => partition.samples.push(Sample {
            before_ms: next()?.parse()?,
            after_ms: next()?.parse()?,
            start_offset: next()?.parse()?,
            high_watermark: next()?.parse()?,
            stable_offset: next()?.parse()?,
        }),
        _ => bail!("no such kind of line"),
    }
    Ok(())
}

/// A hash by which keys are told apart (FNV-1a).
pub fn hash(key: &[u8]) -> u64 {
    key.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

fn from_hex(hex: &str) -> Result<Vec<u8>> {
    (0..hex.len())
        .step_by(2)
        .map(|at| {
            let digits = hex.get(at..at + 2).context("an odd number of digits")?;
            u8::from_str_radix(digits, 16).context("no hexadecimal digit")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "T 0 src-a AAA\nE trouble of some kind\nR 0 1 0 5 1000 ff 6b value\nL 0 1 1001 1002 5 9 8\n\
                        R 0 1 0 6 1003 1 - tombstone\nJ 0 1 7 20 1010\nD 0 1 1 6 1011\nR 0 1 1 6 1012 2 - value\n\
                        X 0 1020\nT 1 src-a BBB\nL 1 0 2000 2001 0 0 0\n";

    #[test]
    fn a_file_is_read_with_a_log_for_each_id() {
        let oracle = parse(FILE.as_bytes()).unwrap();
        assert_eq!(oracle.keys().collect::<Vec<_>>(), ["AAA", "BBB"]);
        let log = &oracle["AAA"];
        assert_eq!((log.topic.as_str(), log.forgotten_ms), ("src-a", Some(1020)));
        let partition = &log.partitions[&1];
        assert_eq!(
            partition.records.iter().map(|seen| (seen.generation, seen.offset)).collect::<Vec<_>>(),
            [(0, 5), (0, 6), (1, 6)]
        );
        assert_eq!((partition.records[0].crc, partition.records[0].key), (255, Some(hash(b"k"))));
        assert!(partition.records[1].is_tombstone && partition.records[1].key.is_none());
        assert_eq!(partition.sample_after(1000).unwrap().start_offset, 5);
        assert_eq!(partition.sample_after(1001), None);
    }

    #[test]
    fn what_the_oracle_has_read_by_now_is_in_its_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), FILE).unwrap();
        let has_read = |from_byte: usize, partition, offset| {
            has_read(file.path(), u64::try_from(from_byte).unwrap(), "src-a", partition, offset).unwrap()
        };
        assert!(has_read(0, 1, 6) && !has_read(0, 1, 7) && !has_read(0, 0, 5));
        let truncated = FILE.find("D 0").unwrap();
        assert!(has_read(truncated, 1, 6));
        assert!(!has_read(FILE.find("X 0").unwrap(), 1, 5), "that was read before");
    }

    #[test]
    fn half_a_line_says_nothing_about_an_offset() {
        assert_eq!(offset_read("R 0 1 0 512 1000 ff 6b value", 0, 1), Some(512));
        assert_eq!(offset_read("R 0 1 0 51", 0, 1), None);
        assert_eq!(offset_read("0 1 0 512 1000 ff 6b value", 0, 1), None);
    }

    #[test]
    fn records_behind_a_truncation_are_dead_and_offsets_in_a_jump_are_not_covered() {
        let oracle = parse(FILE.as_bytes()).unwrap();
        let partition = &oracle["AAA"].partitions[&1];
        assert_eq!(
            partition.records.iter().map(|seen| partition.is_dead(seen)).collect::<Vec<_>>(),
            [false, true, false]
        );
        let was_dead = |before_ms| partition.records.iter().any(|seen| partition.was_dead(seen, before_ms));
        assert!(was_dead(1012) && !was_dead(1011), "it was noticed at 1011 ms");
        assert_eq!(partition.covered(), 5..7);
        assert!(partition.is_jumped(7) && partition.is_jumped(19) && !partition.is_jumped(20));
    }

    #[test]
    fn a_line_of_another_form_is_named() {
        let error = parse("T 0 a A\nR 0 0 0 x".as_bytes()).unwrap_err();
        assert!(format!("{error:#}").contains("line 2"), "{error:#}");
    }
}
