//! One thing that is not as it was stored: where it is, and what it takes with it.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::format::layout::BackupId;
use crate::format::run::Run;
use crate::format::segment::TopicKey;
use crate::repository;

/// Stretches that one line names; the report has them all.
const STRETCHES_SHOWN: usize = 3;

/// Offsets of a partition that stand in what is damaged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stretch {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: i32,
    /// The first offset.
    pub start_offset: i64,
    /// The offset after the last one.
    pub end_offset: i64,
}

impl Stretch {
    /// The offsets that a run answers for.
    pub fn of(topic: &TopicKey, run: &Run) -> Self {
        Self::within(topic, run.partition, run.start_offset..run.end_offset)
    }

    /// Some offsets of a partition.
    pub fn within(topic: &TopicKey, partition: i32, offsets: Range<i64>) -> Self {
        Self { topic: topic.name.clone(), partition, start_offset: offsets.start, end_offset: offsets.end }
    }
}

impl fmt::Display for Stretch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, partition, start_offset, end_offset } = self;
        write!(out, "{topic}-{partition} offsets {start_offset}..{end_offset}")
    }
}

/// Something that is not as it was stored. Its text is one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The key of the object.
    pub object: String,
    /// The first byte concerned; absent when it is the object as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_byte: Option<u64>,
    /// The byte after the last one concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_byte: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// The offsets that cannot be relied on.
    pub offsets: Vec<Stretch>,
    /// The backups that need the object.
    pub backups: Vec<BackupId>,
}

impl Finding {
    /// A finding about a whole object.
    pub fn of_object(object: String, backups: &[BackupId], what: impl fmt::Display) -> Self {
        let what = what.to_string();
        Self { object, start_byte: None, end_byte: None, what, offsets: Vec::new(), backups: backups.to_vec() }
    }

    /// The same, narrowed to these bytes.
    #[must_use]
    pub fn at(self, bytes: Range<u64>) -> Self {
        Self { start_byte: Some(bytes.start), end_byte: Some(bytes.end), ..self }
    }

    /// The same, with the offsets that stand there.
    #[must_use]
    pub fn holding(self, offsets: Vec<Stretch>) -> Self {
        Self { offsets, ..self }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { object, start_byte, end_byte, what, offsets, backups } = self;
        out.write_str(object)?;
        if let (Some(start), Some(end)) = (start_byte, end_byte) {
            write!(out, ", bytes {start}..{end}")?;
        }
        write!(out, ": {what}")?;
        for (number, stretch) in offsets.iter().take(STRETCHES_SHOWN).enumerate() {
            write!(out, "{}{stretch}", if number == 0 { "; it holds " } else { ", " })?;
        }
        if offsets.len() > STRETCHES_SHOWN {
            write!(out, " and {} more stretches", offsets.len() - STRETCHES_SHOWN)?;
        }
        match backups.as_slice() {
            [] => Ok(()),
            [backup] => write!(out, " (backup {backup})"),
            [first, .., last] => write!(out, " ({} backups, {first} to {last})", backups.len()),
        }
    }
}

/// What is wrong with an object, without its key, which the finding has already.
pub(super) fn without_key(error: &repository::Error) -> String {
    match error {
        repository::Error::Document { error, .. } => error.to_string(),
        repository::Error::Part { why, .. } => (*why).to_owned(),
        repository::Error::Misplaced { found, .. } => {
            format!("it is the document of {found}, moved or renamed by hand")
        }
        repository::Error::Store(error) if error.is_not_found() => "it is not there".to_owned(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_that_names_object_bytes_offsets_and_backups() {
        let topic = TopicKey { name: "orders".to_owned(), id: uuid::Uuid::nil() };
        let stretch = |at: i64| Stretch::within(&topic, 1, at..at + 5);
        let backups = ["b1".parse().unwrap(), "b2".parse().unwrap()];
        let finding = Finding::of_object("segments/s".to_owned(), &backups, "it is damaged")
            .at(3..9)
            .holding((0..5).map(|n| stretch(n * 10)).collect());
        assert_eq!(
            finding.to_string(),
            "segments/s, bytes 3..9: it is damaged; it holds orders-1 offsets 0..5, orders-1 offsets 10..15, orders-1 offsets \
             20..25 and 2 more stretches (2 backups, b1 to b2)"
        );
    }
}
