//! What is known of a finished backup without opening its manifest.
//!
//! A manifest of a large cluster has megabytes, and an archive has thousands of manifests. So the few numbers that a choice, a
//! listing, retention and the totals need are in the *name* of a small object next to the manifest: one listing of an archive's
//! backups brings all of them.
//!
//! ```text
//! 1-<cut>-<completed>-p<problems>-t<topics>.<partitions>.<groups>-r<records>-b<raw bytes>-s<stored bytes>-
//!     n<segments>.<bytes>.<parts>-m<manifest bytes>-<SHA-256 of the manifest, 16 digits>[-l]
//! ```
//!
//! Times are milliseconds since the epoch; all numbers are decimal without leading zeros. `n` counts the segments, their bytes and
//! the parts that runs of this very backup wrote; it is `x` when the backup rests on those of other backups too. `l` says that the
//! backup has a label. The label and the problems themselves are in the object, see [`FactsDetails`].
//!
//! The facts are created before the manifest, and the creation of the manifest is the commit: facts without a manifest mean nothing.
//! Two attempts of one backup may leave two of them. [`chosen`] tells which one counts: that which has the size of the manifest, and
//! where several have, that which has its checksum. Where none does, the manifest itself is read.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::{self, DocumentKind, Encoding};
use super::layout::BackupId;
use super::manifest::{Manifest, VERSION};
use super::segment::SegmentRef;

/// Hexadecimal digits of the manifest's SHA-256 that a name holds.
const DIGEST_DIGITS: usize = 16;
/// Problems that are repeated next to the manifest; the rest is counted.
const PROBLEMS_KEPT: usize = 100;

/// What runs of a backup wrote themselves, and whether the backup needs anything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holdings {
    /// Segments that the backup names and its own runs wrote.
    pub segments: u64,
    /// Bytes of these segments.
    pub bytes: u64,
    /// Parts that the manifest names and its own runs wrote.
    pub parts: u64,
    /// Whether the backup also names segments or parts that runs of other backups wrote.
    pub shares: bool,
}

impl Holdings {
    /// What this manifest and the segments of its runs come to.
    pub fn of(manifest: &Manifest, segments: &[SegmentRef]) -> Self {
        let is_own = |backup: Option<BackupId>| backup.as_ref() == Some(&manifest.backup_id);
        let own: Vec<&SegmentRef> = segments.iter().filter(|segment| is_own(segment.id.backup())).collect();
        let parts = manifest.parts.iter().filter(|part| is_own(part.id.backup())).count();
        Self {
            segments: own.len() as u64,
            bytes: own.iter().map(|segment| segment.bytes).sum(),
            parts: parts as u64,
            shares: own.len() < segments.len() || parts < manifest.parts.len(),
        }
    }
}

/// The numbers of a finished backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// When the cut was made, in milliseconds since the epoch.
    pub cut_at_ms: i64,
    /// When the manifest was made, in milliseconds since the epoch.
    pub completed_at_ms: i64,
    /// How many problems the manifest names; the backup is partial when there is any.
    pub problems: u64,
    /// Topics.
    pub topics: u64,
    /// Partitions of all topics.
    pub partitions: u64,
    /// Consumer groups.
    pub groups: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the record batches as the brokers hold them.
    pub raw_bytes: u64,
    /// Bytes of all segments that the backup names.
    pub stored_bytes: u64,
    /// What its own runs wrote; `None` when the facts are those of a manifest alone.
    pub holdings: Option<Holdings>,
    /// Size of the manifest's object in bytes.
    pub manifest_bytes: u64,
    /// The first digits of the SHA-256 of the manifest's object.
    pub manifest_digest: String,
    /// Whether the user gave the cluster a label.
    pub has_label: bool,
}

impl BackupFacts {
    /// The facts of a manifest and of its object. `holdings` cannot be told by a manifest alone: its parts list the segments.
    pub fn of(manifest: &Manifest, object: &[u8], holdings: Option<Holdings>) -> Self {
        let partitions: usize = manifest.topics.iter().map(|topic| topic.partitions.len()).sum();
        Self {
            cut_at_ms: manifest.cut_at_ms,
            completed_at_ms: manifest.completed_at_ms,
            problems: manifest.problems.len() as u64,
            topics: manifest.topics.len() as u64,
            partitions: partitions as u64,
            groups: manifest.groups.len() as u64,
            records: manifest.content.records,
            raw_bytes: manifest.content.raw_bytes,
            stored_bytes: manifest.segment_bytes,
            holdings,
            manifest_bytes: object.len() as u64,
            manifest_digest: digest(object),
            has_label: manifest.source_cluster_label.is_some(),
        }
    }

    /// Whether something that was asked for is missing from the backup.
    pub const fn is_partial(&self) -> bool {
        self.problems > 0
    }

    /// Whether these are the facts of this manifest, by its object.
    pub fn is_of(&self, object: &[u8]) -> bool {
        self.manifest_bytes == object.len() as u64 && self.manifest_digest == digest(object)
    }

    /// The name of the object; `None` for facts that lack what only the run knew. At most 255 bytes, which file systems take.
    pub fn name(&self) -> Option<String> {
        self.holdings.map(|holdings| Name { facts: self, holdings }.to_string())
    }

    /// Reads a name; `None` when it is of a later version, or no such name.
    pub fn parse(name: &str) -> Option<Self> {
        let mut fields = name.split('-');
        let mut field = |tag: &str| fields.next()?.strip_prefix(tag);
        if field("")? != "1" {
            return None;
        }
        let (cut_at_ms, completed_at_ms) = (field("")?.parse().ok()?, field("")?.parse().ok()?);
        let problems = field("p")?.parse().ok()?;
        let [topics, partitions, groups] = numbers(field("t")?)?;
        let records = field("r")?.parse().ok()?;
        let raw_bytes = field("b")?.parse().ok()?;
        let stored_bytes = field("s")?.parse().ok()?;
        let held = field("")?;
        let [segments, bytes, parts] = numbers(held.get(1..)?)?;
        let holdings = Some(Holdings { segments, bytes, parts, shares: held.starts_with('x') });
        let manifest_bytes = field("m")?.parse().ok()?;
        let manifest_digest = field("")?.to_owned();
        let has_label = field("l").is_some();
        let facts = Self {
            cut_at_ms,
            completed_at_ms,
            problems,
            topics,
            partitions,
            groups,
            records,
            raw_bytes,
            stored_bytes,
            holdings,
            manifest_bytes,
            manifest_digest,
            has_label,
        };
        // One value has one name: whatever else reads like it was not written by us.
        (facts.name()? == name && facts.manifest_digest.len() == DIGEST_DIGITS).then_some(facts)
    }
}

fn digest(object: &[u8]) -> String {
    let mut digest = document::sha256_hex(object);
    digest.truncate(DIGEST_DIGITS);
    digest
}

fn numbers<const N: usize>(text: &str) -> Option<[u64; N]> {
    let numbers: Vec<u64> = text.split('.').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    numbers.try_into().ok()
}

struct Name<'a> {
    facts: &'a BackupFacts,
    holdings: Holdings,
}

impl fmt::Display for Name<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BackupFacts {
            cut_at_ms,
            completed_at_ms,
            problems,
            topics,
            partitions,
            groups,
            records,
            raw_bytes,
            stored_bytes,
            holdings: _,
            manifest_bytes,
            manifest_digest,
            has_label,
        } = self.facts;
        let Holdings { segments, bytes, parts, shares } = self.holdings;
        // A clock before 1970 is no time to tell, and a sign would be a separator.
        let (cut, completed) = (cut_at_ms.max(&0), completed_at_ms.max(&0));
        write!(out, "1-{cut}-{completed}-p{problems}-t{topics}.{partitions}.{groups}-r{records}-b{raw_bytes}")?;
        write!(out, "-s{stored_bytes}-{}{segments}.{bytes}.{parts}", if shares { 'x' } else { 'n' })?;
        write!(out, "-m{manifest_bytes}-{manifest_digest}{}", if *has_label { "-l" } else { "" })
    }
}

/// What a listing of the names leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chosen<'a> {
    /// These are the facts of the manifest.
    Known(&'a BackupFacts),
    /// None has the size of the manifest, or several have: the manifest has to be read.
    Open,
}

/// Which facts count for a manifest of this size, going by the listing alone.
pub fn chosen(all: &[BackupFacts], manifest_bytes: u64) -> Chosen<'_> {
    let mut fitting = all.iter().filter(|facts| facts.manifest_bytes == manifest_bytes);
    match (fitting.next(), fitting.next()) {
        (Some(facts), None) => Chosen::Known(facts),
        (None, _) | (Some(_), Some(_)) => Chosen::Open,
    }
}

/// What is in the object: for people, and for what has no bounded length.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FactsDetails {
    /// The backup.
    pub backup_id: BackupId,
    /// What the user calls the cluster that was read; absent when it was given no name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_cluster_label: Option<String>,
    /// The first problems of the backup, each in one line; the last line counts the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
}

impl FactsDetails {
    /// The details of a manifest.
    pub fn of(manifest: &Manifest) -> Self {
        let mut problems: Vec<String> = manifest.problems.iter().take(PROBLEMS_KEPT).cloned().collect();
        if manifest.problems.len() > PROBLEMS_KEPT {
            problems.push(format!("and {} more problems", manifest.problems.len() - PROBLEMS_KEPT));
        }
        Self {
            backup_id: manifest.backup_id.clone(),
            source_cluster_label: manifest.source_cluster_label.clone(),
            problems,
        }
    }

    /// Writes the details as a document, readable as it is.
    pub fn seal(&self) -> Vec<u8> {
        document::seal(DocumentKind::Facts, VERSION, Encoding::Json, self)
    }

    /// Reads what [`FactsDetails::seal`] wrote.
    ///
    /// # Errors
    /// When the bytes are anything else.
    pub fn open(bytes: &[u8]) -> Result<Self, document::Error> {
        document::open(DocumentKind::Facts, VERSION, bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> BackupFacts {
        BackupFacts {
            cut_at_ms: 1_770_906_600_123,
            completed_at_ms: 1_770_906_601_000,
            problems: 1,
            topics: 2,
            partitions: 30,
            groups: 4,
            records: 500,
            raw_bytes: 6_000,
            stored_bytes: 7_000,
            holdings: Some(Holdings { segments: 8, bytes: 6_500, parts: 1, shares: false }),
            manifest_bytes: 900,
            manifest_digest: "0123456789abcdef".to_owned(),
            has_label: false,
        }
    }

    #[test]
    fn a_name_is_read_as_it_was_written() {
        let name = "1-1770906600123-1770906601000-p1-t2.30.4-r500-b6000-s7000-n8.6500.1-m900-0123456789abcdef";
        assert_eq!(facts().name().as_deref(), Some(name));
        assert_eq!(BackupFacts::parse(name), Some(facts()));
        let holdings = facts().holdings.map(|holdings| Holdings { shares: true, ..holdings });
        let other = BackupFacts { holdings, has_label: true, ..facts() };
        assert_eq!(BackupFacts::parse(&other.name().unwrap()), Some(other));
    }

    #[test]
    fn a_name_that_was_not_written_by_us_has_no_facts() {
        let name = facts().name().unwrap();
        for at in 0..name.len() {
            assert_eq!(BackupFacts::parse(&name[..at]), None, "{}", &name[..at]);
        }
        let later = name.replacen('1', "2", 1);
        for other in
            [later, format!("{name}-x"), format!("{name}-l-l"), name.replace("-p1", "-p01"), name.replace("-n8", "-y8")]
        {
            assert_eq!(BackupFacts::parse(&other), None, "{other}");
        }
    }

    #[test]
    fn facts_of_a_manifest_alone_have_no_name() {
        assert_eq!(BackupFacts { holdings: None, ..facts() }.name(), None);
    }

    proptest! {
        #[test]
        fn every_name_fits_a_file_system_and_is_read_back(
            times in any::<[u32; 2]>(),
            counts in any::<[u32; 4]>(),
            sums in any::<[u64; 3]>(),
            held in any::<(u32, u64, u32, bool)>(),
            manifest_bytes in any::<u32>(),
            has_label in any::<bool>(),
        ) {
            let facts = BackupFacts {
                // Until the year 2248.
                cut_at_ms: i64::from(times[0]) * 2048,
                completed_at_ms: i64::from(times[1]) * 2048,
                problems: counts[0].into(),
                topics: counts[1].into(),
                partitions: counts[2].into(),
                groups: counts[3].into(),
                records: sums[0],
                raw_bytes: sums[1],
                stored_bytes: sums[2],
                holdings: Some(Holdings { segments: held.0.into(), bytes: held.1, parts: held.2.into(), shares: held.3 }),
                manifest_bytes: manifest_bytes.into(),
                manifest_digest: "f".repeat(DIGEST_DIGITS),
                has_label,
            };
            let name = facts.name().unwrap();
            prop_assert!(name.len() <= 255);
            prop_assert_eq!(BackupFacts::parse(&name), Some(facts));
        }
    }

    #[test]
    fn of_two_attempts_those_facts_count_that_fit_the_manifest() {
        let first = facts();
        let second = BackupFacts { manifest_bytes: 901, ..facts() };
        let both = [first.clone(), second.clone()];
        assert_eq!(chosen(&both, 900), Chosen::Known(&first));
        assert_eq!(chosen(&both, 901), Chosen::Known(&second));
        // Neither fits: the manifest was replaced by hand.
        assert_eq!(chosen(&both, 902), Chosen::Open);
        assert_eq!(chosen(&[], 900), Chosen::Open);
        // Both fit: only the checksum tells.
        let twin = BackupFacts { manifest_digest: digest(b"other"), ..facts() };
        assert_eq!(chosen(&[first, twin], 900), Chosen::Open);
    }

    #[test]
    fn the_checksum_tells_whose_facts_they_are() {
        let object = vec![7; 900];
        assert!(!facts().is_of(&object));
        let own = BackupFacts { manifest_digest: digest(&object), ..facts() };
        assert!(own.is_of(&object));
        assert!(!own.is_of(&object[1..]));
    }
}
