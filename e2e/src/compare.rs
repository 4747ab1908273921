//! Says whether two dumps hold the same records, and where they first differ.
//!
//! Both are read side by side, a record at a time, so dumps may be larger than memory.

use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::dump::{self, Record, Records};

/// What counts as the same.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rules {
    /// Whether offsets must be equal too.
    pub offsets: bool,
    /// Whether a record whose time the broker set may come back with the same time as if the producer had set it.
    pub append_time_may_become_create_time: bool,
}

impl Rules {
    /// What a restore with translated offsets promises.
    pub const RESTORED: Self = Self { offsets: false, append_time_may_become_create_time: true };
    /// Everything, offsets and timestamp types included.
    pub const IDENTICAL: Self = Self { offsets: true, append_time_may_become_create_time: false };
}

/// How much was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Partitions, empty ones included.
    pub partitions: usize,
    /// Records over all partitions.
    pub records: u64,
}

/// Compares two dumps, partition by partition, record by record.
///
/// # Errors
/// The first difference in words, or what could not be read.
pub fn dumps(expected: &Path, actual: &Path, rules: Rules) -> Result<Compared> {
    selected(expected, actual, rules, |_| true)
}

/// Compares what `keep` keeps of the expected dump with all of the actual one.
///
/// # Errors
/// The first difference in words, or what could not be read.
pub fn selected(expected: &Path, actual: &Path, rules: Rules, keep: impl Fn(&Record) -> bool) -> Result<Compared> {
    let partitions = dump::partitions(expected)?;
    let found = dump::partitions(actual)?;
    if partitions != found {
        bail!("expected the partitions {partitions:?}, found {found:?}");
    }
    let mut compared = Compared { partitions: partitions.len(), records: 0 };
    for partition in partitions {
        let mut expected =
            Records::open(&dump::file_of(expected, partition))?.filter(|record| record.as_ref().map_or(true, &keep));
        let mut actual = Records::open(&dump::file_of(actual, partition))?;
        for number in 0_u64.. {
            match (expected.next().transpose()?, actual.next().transpose()?) {
                (None, None) => break,
                (Some(expected), Some(actual)) => {
                    if let Some(difference) = difference(&expected, &actual, rules) {
                        bail!(
                            "partition {partition}, record {number} (offset {} expected, {} found): {difference}",
                            expected.offset,
                            actual.offset
                        );
                    }
                }
                (Some(missing), None) => {
                    let left = 1 + rest(expected)?;
                    bail!("partition {partition} ends after {number} records, {left} are missing; next {missing:?}");
                }
                (None, Some(surplus)) => {
                    let left = 1 + rest(actual)?;
                    bail!("partition {partition} has {left} records too many after {number}; the first is {surplus:?}");
                }
            }
            compared.records += 1;
        }
    }
    Ok(compared)
}

/// In what two records differ, or `None`.
pub fn difference(expected: &Record, actual: &Record, rules: Rules) -> Option<String> {
    let differing = |what: &str, expected: &dyn std::fmt::Debug, actual: &dyn std::fmt::Debug| {
        Some(format!("{what} {} expected, {} found", shortened(expected), shortened(actual)))
    };
    if expected.key != actual.key {
        return differing("key", &text(expected.key.as_deref()), &text(actual.key.as_deref()));
    }
    if expected.value != actual.value {
        return differing("value", &text(expected.value.as_deref()), &text(actual.value.as_deref()));
    }
    if expected.headers != actual.headers {
        return differing("headers", &expected.headers, &actual.headers);
    }
    if expected.timestamp_ms != actual.timestamp_ms {
        return differing("timestamp", &expected.timestamp_ms, &actual.timestamp_ms);
    }
    let is_allowed = rules.append_time_may_become_create_time && expected.is_append_time;
    if expected.is_append_time != actual.is_append_time && !is_allowed {
        return differing("append time", &expected.is_append_time, &actual.is_append_time);
    }
    if rules.offsets && expected.offset != actual.offset {
        return differing("offset", &expected.offset, &actual.offset);
    }
    None
}

fn rest(mut records: impl Iterator<Item = Result<Record>>) -> Result<u64> {
    records.try_fold(0, |count, record| record.map(|_| count + 1)).context("while counting the rest")
}

fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| bytes.escape_ascii().to_string())
}

fn shortened(value: &dyn std::fmt::Debug) -> String {
    const CHARACTERS_MAX: usize = 300;
    let text = format!("{value:?}");
    match text.char_indices().nth(CHARACTERS_MAX) {
        Some((end, _)) => format!("{}.. ({} characters)", &text[..end], text.chars().count()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    fn dump(records: &[Record]) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        dump::write_file(&dump::file_of(folder.path(), 0), records).unwrap();
        folder
    }

    fn verdict(expected: &[Record], actual: &[Record], rules: Rules) -> Result<u64, String> {
        let (expected, actual) = (dump(expected), dump(actual));
        dumps(expected.path(), actual.path(), rules)
            .map(|compared| compared.records)
            .map_err(|difference| difference.to_string())
    }

    fn record() -> Record {
        Record::new(0, 7, "k", "v").with_header("a", None).with_header("b", Some(b""))
    }

    #[test]
    fn equal_dumps_are_counted() {
        assert_eq!(verdict(&[record(), record()], &[record(), record()], Rules::IDENTICAL), Ok(2));
    }

    #[test]
    fn tells_null_from_empty() {
        let found = verdict(&[record()], &[Record { key: None, ..record() }], Rules::RESTORED).unwrap_err();
        assert!(found.contains("key Some(\"k\") expected, None found"), "{found}");
        let mut emptied = record();
        emptied.headers[0].1 = Some(Vec::new());
        assert!(verdict(&[record()], &[emptied], Rules::RESTORED).unwrap_err().contains("headers"));
    }

    #[test]
    fn the_order_of_headers_counts() {
        let mut swapped = record();
        swapped.headers.swap(0, 1);
        assert!(verdict(&[record()], &[swapped], Rules::RESTORED).unwrap_err().contains("headers"));
    }

    #[test]
    fn a_missing_and_a_surplus_record_are_told_apart() {
        let both = [record(), record()];
        assert!(verdict(&both, &both[..1], Rules::RESTORED).unwrap_err().contains("1 are missing"));
        assert!(verdict(&both[..1], &both, Rules::RESTORED).unwrap_err().contains("1 records too many"));
    }

    #[test]
    fn append_time_may_become_create_time_but_never_the_reverse() {
        let append = Record { is_append_time: true, ..record() };
        assert_eq!(verdict(std::slice::from_ref(&append), &[record()], Rules::RESTORED), Ok(1));
        assert!(verdict(std::slice::from_ref(&append), &[record()], Rules::IDENTICAL).is_err());
        assert!(verdict(&[record()], &[append], Rules::RESTORED).is_err());
    }

    #[test]
    fn offsets_count_only_when_asked_for() {
        let moved = Record { offset: 9, ..record() };
        assert_eq!(verdict(&[record()], std::slice::from_ref(&moved), Rules::RESTORED), Ok(1));
        assert!(verdict(&[record()], &[moved], Rules::IDENTICAL).unwrap_err().contains("offset"));
    }

    #[test]
    fn a_selection_is_compared_with_everything_that_came_back() {
        let late = Record { timestamp_ms: 100, ..record() };
        let (expected, actual) = (dump(&[record(), late, record()]), dump(&[record(), record()]));
        let compared =
            selected(expected.path(), actual.path(), Rules::RESTORED, |record| record.timestamp_ms < 50).unwrap();
        assert_eq!(compared, Compared { partitions: 1, records: 2 });
    }
}
