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
//! - **segment**: an immutable object with runs of one or more partitions.
//! - **run**: a stretch of whole record batches of one partition inside a segment.
//! - **frame**: about a megabyte of a run: what is checked, compressed and read at once.
//! - **hole**: a stretch of offsets without a record, with its reason.
//! - **part**: a list of runs; a manifest names parts, and a checkpoint is one.
//! - **manifest**: what makes segments a backup. Created once, never overwritten.
//! - **plan**: all that a restore is going to do, as a value.
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
//! # Where to begin reading
//!
//! [`backup::run`] is one page from topic to manifest; [`mod@format`] says what is stored.

pub mod backup;
pub mod breaker;
pub mod cat;
pub mod clock;
pub mod config;
pub mod describe;
pub mod error;
pub mod format;
pub mod kafka;
pub mod list;
pub mod offsets;
pub mod progress;
pub mod prune;
pub mod rate_limit;
pub mod report;
pub mod repository;
pub mod restore;
pub mod rewrite;
pub mod select;
pub mod stop;
pub mod store;
pub mod verify;
