//! Reports in words.

use std::fmt::Write as _;

use super::RunReport;
use super::size::bytes;
use crate::backup::{BackupReport, Outcome};
use crate::clock::utc;
use crate::config::restore::OFFSET_HEADER;
use crate::config::verify::Level;
use crate::describe::DescribeReport;
use crate::format::contents::ArchiveContents;
use crate::format::hole::HoleCounts;
use crate::format::manifest::{Group, Manifest, OpenTransaction, TopicSummary};
use crate::list::{ArchiveEntry, BackupEntry, ListReport, State};
use crate::prune::PruneReport;
use crate::restore::plan::{Action, Plan};
use crate::restore::{self, Counts, RestoreReport};
use crate::verify::{self, VerifyReport};

/// The report of any run.
pub fn render(report: &RunReport) -> String {
    match report {
        RunReport::Backup(report) => backup(report),
        RunReport::Restore(report) => restore(report),
        RunReport::List(report) => list(report),
        RunReport::Describe(report) => describe(report),
        RunReport::Verify(report) => verify(report),
        RunReport::Prune(report) => prune(report),
    }
}

fn backup(report: &BackupReport) -> String {
    let mut out = Lines::default();
    let done = match (report.already_there, report.outcome) {
        (true, _) => "was there already, nothing was done",
        (false, Outcome::Completed) => "completed",
        (false, Outcome::Partial) => "is there, but PARTIAL: see the problems below",
    };
    out.line(format_args!("backup {} {done}", report.backup_id));
    out.field("archive", &report.archive);
    out.field("source cluster", &report.source_cluster_id);
    out.field("cut", utc(report.cut_at_ms));
    out.field(
        "took",
        format_args!("{}{}", duration(report.duration_ms), if report.resumed { ", gone on with" } else { "" }),
    );
    out.field("topics", format_args!("{} with {} partitions", report.topics, report.partitions));
    out.field("records", report.records);
    out.field("bytes", format_args!("{}, stored in {}", bytes(report.bytes), bytes(report.stored_bytes)));
    out.field("without record", holes(&report.holes));
    out.field("groups", report.groups);
    if !report.pruned.is_empty() {
        out.field("pruned", report.pruned.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    }
    if let Some(contents) = &report.archive_contents {
        out.contents(contents);
    }
    out.transactions(&report.open_transactions);
    out.notes("problem", &report.problems);
    out.notes("warning", &report.warnings);
    out.0
}

fn restore(report: &RestoreReport) -> String {
    let mut out = Lines::default();
    let done = match (report.already_restored, report.outcome) {
        (_, restore::Outcome::Planned) => "is planned, nothing was done",
        (_, restore::Outcome::Abandoned) => "was abandoned, its topics have their own settings",
        (true, restore::Outcome::Completed) => "was done already, nothing was added",
        (false, restore::Outcome::Completed) => "completed",
        (_, restore::Outcome::Partial) => "is done, but PARTIAL: see the problems below",
    };
    out.line(format_args!("restore {} {done}", report.restore_id));
    out.field("backup", &report.backup_id);
    out.field("target cluster", &report.target_cluster_id);
    out.field("took", duration(report.duration_ms));
    out.field("records", format_args!("{} in {} of batches", report.records, bytes(report.bytes)));
    for topic in &report.topics {
        let Counts { records, passed, rewritten, skipped, joined, records_outside_time } = &topic.counts;
        out.line(format_args!(
            "topic {} -> {}: {records} records; batches sent as they are {passed}, made anew {rewritten}, skipped \
             {skipped}, of the sent ones joined {joined}; records outside of the times {records_outside_time}",
            topic.source, topic.target
        ));
    }
    for group in &report.groups {
        out.line(format_args!(
            "group {} -> {}: {} offsets committed, {} on other topics left out",
            group.source, group.target, group.committed, group.left_out
        ));
    }
    if let Some(plan) = &report.plan {
        plan_of(plan, &mut out);
    }
    out.notes("problem", &report.problems);
    out.notes("warning", &report.warnings);
    out.0
}

fn plan_of(plan: &Plan, out: &mut Lines) {
    for topic in &plan.topics {
        let action = match topic.action {
            Action::Create => "create",
            Action::Use => "use, it is empty",
            Action::Append => "append to",
            Action::Overwrite => "delete and create",
        };
        out.line(format_args!(
            "topic {} -> {}: {action}; {} partitions, {} replicas",
            topic.source.name, topic.target, topic.target_partitions, topic.replication_factor
        ));
        for partition in &topic.partitions {
            let number = match partition.target == partition.partition {
                true => partition.partition.to_string(),
                false => format!("{} -> {}", partition.partition, partition.target),
            };
            out.line(format_args!(
                "  partition {number}: offsets {}..{}, {} records; batches to send as they are {}, to make anew {}, to look \
                 into {}",
                partition.start_offset,
                partition.end_offset,
                partition.records,
                partition.batches_as_they_are,
                partition.batches_made_anew,
                partition.batches_to_look_at
            ));
        }
    }
    for group in &plan.groups {
        out.line(format_args!("group {} -> {}: {} offsets", group.source, group.target, group.offsets.len()));
    }
}

fn list(report: &ListReport) -> String {
    match (&report.archive, report.archives.as_slice()) {
        (Some(_), [archive]) => backups(archive),
        (_, []) => "the repository has no archive\n".to_owned(),
        (_, archives) => {
            let row = |archive: &ArchiveEntry| {
                let newest = archive.newest();
                [
                    archive.archive.to_string(),
                    archive.backups.iter().filter(|backup| backup.state == State::Completed).count().to_string(),
                    archive.backups.iter().filter(|backup| backup.state != State::Completed).count().to_string(),
                    newest.map_or_else(|| "-".to_owned(), |backup| backup.backup_id.to_string()),
                    newest.and_then(|backup| backup.cut_at_ms).map_or_else(|| "-".to_owned(), utc),
                ]
            };
            table(["ARCHIVE", "COMPLETED", "OTHER", "NEWEST BACKUP", "CUT"], archives.iter().map(row))
        }
    }
}

fn backups(archive: &ArchiveEntry) -> String {
    let row = |backup: &BackupEntry| {
        let state = match backup.state {
            State::Completed => "completed",
            State::Partial => "partial",
            State::Unfinished => "unfinished",
            State::GivenUp => "given up",
            State::Damaged => "DAMAGED",
        };
        [
            backup.backup_id.to_string(),
            state.to_owned(),
            backup.cut_at_ms.map_or_else(|| "-".to_owned(), utc),
            backup.topics.to_string(),
            backup.partitions.to_string(),
            backup.records.to_string(),
            bytes(backup.bytes),
            bytes(backup.stored_bytes),
            backup.source_cluster_label.clone().unwrap_or_else(|| "-".to_owned()),
        ]
    };
    let mut out = Lines::default();
    if archive.backups.is_empty() {
        out.line(format_args!("archive {} has no backup", archive.archive));
    } else {
        let head = ["BACKUP", "STATE", "CUT", "TOPICS", "PARTITIONS", "RECORDS", "SIZE", "STORED", "SOURCE"];
        out.0.push_str(&table(head, archive.backups.iter().map(row)));
    }
    for backup in &archive.backups {
        for problem in &backup.problems {
            out.line(format_args!("problem: {}: {problem}", backup.backup_id));
        }
    }
    out.0
}

fn verify(report: &VerifyReport) -> String {
    let VerifyReport {
        outcome,
        archive,
        level,
        backups,
        parts,
        segments,
        records,
        bytes: read,
        findings,
        warnings,
        deleted,
        leftovers,
        duration_ms,
    } = report;
    let mut out = Lines::default();
    let looked = match level {
        Level::Manifest => "manifests and parts; NOT segments",
        Level::Objects => "manifests, parts, size and index of every segment; NOT records",
        Level::Records => "every byte",
    };
    match outcome {
        verify::Outcome::Intact => out.line(format_args!("archive {archive} is intact, as far as was looked")),
        verify::Outcome::Damaged => out.line(format_args!("archive {archive} is DAMAGED")),
    }
    out.field("looked at", looked);
    out.field("backups", backups.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "));
    out.field("objects", format_args!("{parts} parts, {segments} segments"));
    out.field("records", format_args!("{records} in {}", bytes(*read)));
    out.field("took", duration(*duration_ms));
    for finding in findings {
        out.line(format_args!("damage: {finding}"));
    }
    out.notes("warning", warnings);
    for backup in deleted {
        out.line(format_args!("deleted meanwhile: {backup} (by prune or retention, which is no damage)"));
    }
    for leftover in leftovers {
        out.line(format_args!("leftover: {leftover} (no backup names it; prune removes it)"));
    }
    out.0
}

fn prune(report: &PruneReport) -> String {
    let PruneReport {
        outcome: _,
        confirmed,
        archive,
        removed,
        kept,
        objects,
        bytes: freed,
        archive_contents,
        problems,
        duration_ms,
    } = report;
    let mut out = Lines::default();
    let (what, goes) = if *confirmed { ("pruned", "deleted") } else { ("plan for", "would be deleted") };
    out.line(format_args!("{what} archive {archive}"));
    let row = |goes: &str, decision: &crate::prune::Decision| {
        [format!("  {goes}"), decision.backup_id.to_string(), decision.why.clone()]
    };
    let rows =
        removed.iter().map(|decision| row(goes, decision)).chain(kept.iter().map(|decision| row("kept", decision)));
    if !(removed.is_empty() && kept.is_empty()) {
        out.0.push_str(&table(["  WHAT", "BACKUP", "WHY"], rows));
    }
    out.field("objects", format_args!("{objects} {goes}, {}", bytes(*freed)));
    out.contents(archive_contents);
    out.field("took", duration(*duration_ms));
    out.notes("problem", problems);
    if !confirmed && *objects > 0 {
        out.line(format_args!("nothing was deleted: give --confirm"));
    }
    out.0
}

fn describe(report: &DescribeReport) -> String {
    let manifest = &report.manifest;
    let Manifest {
        backup_id,
        archive,
        engine_version,
        source_cluster_id,
        cut_at_ms,
        completed_at_ms,
        topics,
        groups,
        parts,
        open_transactions,
        problems,
        warnings,
        content,
        segment_bytes,
        include_offset_headers,
        source_cluster_label,
    } = manifest;
    let mut out = Lines::default();
    out.line(format_args!("backup {backup_id}{}", if manifest.is_partial() { " (partial)" } else { "" }));
    out.field("archive", archive);
    match source_cluster_label {
        Some(label) => out.field("source cluster", format_args!("{source_cluster_id} ({label})")),
        None => out.field("source cluster", source_cluster_id),
    }
    out.field("cut", utc(*cut_at_ms));
    out.field("completed", utc(*completed_at_ms));
    out.field("written by", format_args!("kafka-backup {engine_version}"));
    out.field("records", format_args!("{} in {} batches", content.records, content.batches));
    out.field("bytes", format_args!("{}, stored in {}", bytes(content.raw_bytes), bytes(*segment_bytes)));
    out.field("without record", holes(&content.holes));
    out.field(
        "newest record",
        if content.max_timestamp_ms.0 < 0 { "-".to_owned() } else { utc(content.max_timestamp_ms.0) },
    );
    out.field("lists of runs", parts.len());
    if *include_offset_headers {
        out.field("headers", format_args!("restores add {OFFSET_HEADER} with the source's offset"));
    }
    for topic in topics {
        describe_topic(topic, &mut out);
    }
    for group in groups {
        describe_group(group, &mut out);
    }
    out.transactions(open_transactions);
    out.notes("problem", problems);
    out.notes("warning", warnings);
    out.0
}

fn describe_topic(topic: &TopicSummary, out: &mut Lines) {
    let TopicSummary { topic: key, replication_factor, configs, partitions } = topic;
    out.line(format_args!(
        "\ntopic {} (id {}), {} partitions, replication factor {replication_factor}",
        key.name,
        key.id,
        partitions.len()
    ));
    for (name, value) in configs {
        out.line(format_args!("  {name}={value}"));
    }
    let row = |partition: &crate::format::manifest::PartitionSummary| {
        let offsets = match partition.missing {
            true => "NOT IN THE BACKUP".to_owned(),
            false => format!("{}..{}", partition.start_offset, partition.end_offset),
        };
        [
            format!("  {}", partition.partition),
            offsets,
            partition.content.records.to_string(),
            bytes(partition.content.raw_bytes),
            holes(&partition.content.holes),
        ]
    };
    out.0.push_str(&table(["  PARTITION", "OFFSETS", "RECORDS", "SIZE", "WITHOUT RECORD"], partitions.iter().map(row)));
}

fn describe_group(group: &Group, out: &mut Lines) {
    out.line(format_args!("\ngroup {} ({})", group.id, group.protocol));
    let row = |offset: &crate::format::manifest::CommittedOffset| {
        [format!("  {}-{}", offset.topic, offset.partition), offset.offset.to_string()]
    };
    out.0.push_str(&table(["  PARTITION", "NEXT OFFSET"], group.offsets.iter().map(row)));
}

/// Lines of a report.
#[derive(Default)]
pub(super) struct Lines(pub(super) String);

impl Lines {
    /// A line as it is.
    pub(super) fn line(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.0, "{}", printable(&text.to_string()));
    }

    /// A named value, values below each other.
    pub(super) fn field(&mut self, name: &str, value: impl std::fmt::Display) {
        self.line(format_args!("  {name:<15} {value}"));
    }

    fn contents(&mut self, contents: &ArchiveContents) {
        let ArchiveContents { backups, bytes: stored } = contents;
        self.field("archive holds", format_args!("{backups} completed backups in {}", bytes(*stored)));
    }

    fn transactions(&mut self, transactions: &[OpenTransaction]) {
        for transaction in transactions {
            let OpenTransaction { topic, partition, producer_id, start_offset, last_timestamp_ms, held_back } =
                transaction;
            let producer = producer_id.map_or_else(|| "unknown".to_owned(), |id| id.to_string());
            let since = last_timestamp_ms.map_or_else(|| "unknown".to_owned(), utc);
            self.line(format_args!(
                "open transaction: {topic}-{partition} from offset {start_offset}, producer {producer}, last write {since}: \
                 {held_back} offsets are held back"
            ));
        }
    }

    /// One line for each, after what they are.
    pub(super) fn notes(&mut self, what: &str, notes: &[String]) {
        for note in notes {
            self.line(format_args!("{what}: {note}"));
        }
    }
}

/// A line with nothing in it that a terminal would obey: ids of groups may hold any character. Line ends at its beginning are the
/// report's own.
pub(super) fn printable(line: &str) -> String {
    let own = line.len() - line.trim_start_matches('\n').len();
    let (own, rest) = line.split_at(own);
    let mut out = own.to_owned();
    for character in rest.chars() {
        match character.is_control() {
            true => out.extend(character.escape_default()),
            false => out.push(character),
        }
    }
    out
}

/// Columns as wide as their widest cell; the first is left-aligned as are all texts.
pub(super) fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut cells = vec![head.map(str::to_owned)];
    cells.extend(rows.map(|row| row.map(|cell| printable(&cell))));
    let width: [usize; N] =
        std::array::from_fn(|column| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0));
    let mut out = String::new();
    for row in cells {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(width) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

/// A stretch of time, in the largest unit that leaves a number above 1.
pub(super) fn duration(ms: i64) -> String {
    match ms {
        ..1000 => format!("{ms} ms"),
        1000..120_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        120_000.. => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1000),
    }
}

fn holes(holes: &HoleCounts) -> String {
    let HoleCounts { compaction, control, aborted, deleted, expired } = holes;
    let reasons = [
        (*compaction, "compacted"),
        (*control, "transaction markers"),
        (*aborted, "aborted"),
        (*expired, "expired"),
        (*deleted, "DELETED BEFORE THEY WERE READ"),
    ];
    let named: Vec<_> =
        reasons.iter().filter(|(count, _)| *count > 0).map(|(count, reason)| format!("{count} {reason}")).collect();
    if named.is_empty() { "-".to_owned() } else { named.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        let id = "a\nb\u{1b}[31m\tx";
        let mut out = Lines::default();
        out.line(format_args!("\ngroup {id}"));
        out.0.push_str(&table(["GROUP"], std::iter::once([id.to_owned()])));
        assert_eq!(out.0, "\ngroup a\\nb\\u{1b}[31m\\tx\nGROUP\na\\nb\\u{1b}[31m\\tx\n");
    }

    #[test]
    fn times_are_told_to_the_millisecond_in_utc() {
        assert_eq!(utc(1_770_906_600_123), "2026-02-12T14:30:00.123Z");
        assert_eq!(utc(i64::MAX), "9223372036854775807 ms");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["a".to_owned(), "1".to_owned()], ["größer".to_owned(), String::new()]];
        assert_eq!(table(["NAME", "N"], rows.into_iter()), "NAME    N\na       1\ngrößer\n");
    }

    #[test]
    fn lost_offsets_stand_out() {
        let counts = HoleCounts { compaction: 1, control: 0, aborted: 0, deleted: 2, expired: 0 };
        assert_eq!(holes(&counts), "1 compacted, 2 DELETED BEFORE THEY WERE READ");
        assert_eq!(holes(&HoleCounts::default()), "-");
    }

    #[test]
    fn a_stretch_of_time_is_told_in_a_unit_that_fits() {
        assert_eq!([0, 999, 1500, 125_000].map(duration), ["0 ms", "999 ms", "1.5 s", "2 min 5 s"]);
    }
}
