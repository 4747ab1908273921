//! Byte-exact backup and restore of Apache Kafka.
//!
//! # The flow
//!
//! ```text
//! topic -> batch -> frame -> run -> segment -> part -> manifest        a backup  (`backup`)
//! manifest -> plan -> batch -> topic                                   a restore (`restore`)
//! ```
//!
//! # The words
//!
//! - **repository**: what a storage URL points at; it holds archives.
//! - **archive**: all backups of one source, by name. One writer at a time, held by a lease.
//! - **backup**: the selected topics and consumer groups as they stood at one *cut*. It exists once its manifest does.
//! - **cut**: for every partition the offsets to copy, and the committed offsets of the groups at that moment, fixed first.
//! - **stretch**: a range of offsets of one partition that one worker of a backup reads.
//! - **segment**: an immutable object with runs of one or more partitions.
//! - **run**: a range of whole record batches of one partition inside a segment.
//! - **frame**: about a megabyte of a run: what is checked, compressed and read at once.
//! - **hole**: a range of offsets without a record, with its reason.
//! - **part**: a list of runs; a manifest names parts.
//! - **checkpoint**: a part of a backup that is not finished: what the next run need not read again.
//! - **manifest**: what makes segments a backup. Created once, never overwritten.
//! - **facts**: a small object beside a manifest with what lists, retention and the choice of a backup need of it.
//! - **plan**: all that a restore is going to do, as a value.
//! - **journal**: what a restore has decided and done, in the archive: a run of the same restore reads it and resumes.
//! - **source** is what is read, **target** is what is written.
//!
//! All ranges are half open, `start_offset..end_offset`; an inclusive bound is called `last_offset`.
//!
//! # The guarantees
//!
//! - The bytes of a record batch are never touched on the way in: what was in the log is in the archive.
//! - Only committed data is in a backup, and every offset without a record is a hole with a reason.
//! - A run that is killed at any instruction leaves an archive in which every committed backup restores, and the next run goes
//!   on where it stopped.
//! - A restore that is run again adds nothing twice.
//! - Only `NotFound` means "not there"; any other failure is a failure.
//!
//! # Without the feature `run`
//!
//! Whoever only writes configurations and reads termination messages (an operator, say) takes this crate without its
//! default feature: then there are [`config`], [`error`], [`select`], the names and keys of [`mod@format`], and
//! [`report::Termination`], and neither network nor storage nor codec is compiled.
//!
//! # Where to begin reading
//!
//! `backup::run` is one page from topic to manifest; [`mod@format`] says what is stored.

#[cfg(feature = "run")]
pub mod backup;
#[cfg(feature = "run")]
pub mod breaker;
#[cfg(feature = "run")]
pub mod cat;
#[cfg(feature = "run")]
pub mod clock;
pub mod config;
#[cfg(feature = "run")]
mod decompression;
#[cfg(feature = "run")]
pub mod describe;
pub mod error;
pub mod format;
#[cfg(feature = "run")]
pub mod kafka;
#[cfg(feature = "run")]
pub mod list;
#[cfg(feature = "run")]
pub mod offsets;
#[cfg(feature = "run")]
pub mod progress;
#[cfg(feature = "run")]
pub mod prune;
pub mod rate_limit;
pub mod report;
#[cfg(feature = "run")]
pub mod repository;
#[cfg(feature = "run")]
pub mod restore;
#[cfg(feature = "run")]
pub mod rewrite;
pub mod select;
#[cfg(feature = "run")]
pub mod stop;
#[cfg(feature = "run")]
pub mod store;
pub mod system_topics;
#[cfg(feature = "run")]
mod tls;
#[cfg(feature = "run")]
pub mod verify;
