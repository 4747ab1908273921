//! Makes what is produced of the batches of a partition: which go as they are, which are made anew, and which are joined.

use crate::format::batch::Batch;
use crate::rewrite::joining::{self, Joiner};
use crate::rewrite::{self, ProducibleBatch, Request, Scratch, Verdict};

/// What was done with the batches of a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Records in the target.
    pub records: u64,
    /// Batches whose records were sent as they are.
    pub passed: u64,
    /// Batches that were made anew.
    pub rewritten: u64,
    /// Batches of which nothing was wanted.
    pub skipped: u64,
    /// Of the batches that were sent, those that became part of larger ones; absent in reports of the first programs.
    #[serde(default)]
    pub joined: u64,
    /// Records that lie outside of the wanted times.
    pub records_outside_time: u64,
}

impl Counts {
    /// Counts others in.
    pub fn add(&mut self, other: &Self) {
        let Self { records, passed, rewritten, skipped, joined, records_outside_time } = other;
        self.records += records;
        self.passed += passed;
        self.rewritten += rewritten;
        self.skipped += skipped;
        self.joined += joined;
        self.records_outside_time += records_outside_time;
    }
}

/// Makes the batches of one partition, which it is given in the order of offsets.
#[derive(Debug)]
pub struct Maker {
    request: Request,
    joiner: Joiner,
    counts: Counts,
    source_bytes: u64,
}

impl Maker {
    /// A maker of what is requested; small batches are joined within the limits, if there are any.
    pub fn new(request: Request, limits: Option<joining::Limits>) -> Self {
        Self { request, joiner: Joiner::new(limits), counts: Counts::default(), source_bytes: 0 }
    }

    /// What is requested.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// What was done so far; records are not counted here.
    pub const fn counts(&self) -> Counts {
        Counts { joined: self.joiner.joined(), ..self.counts }
    }

    /// Bytes of the source's batches of which something was wanted.
    pub const fn source_bytes(&self) -> u64 {
        self.source_bytes
    }

    /// Begins a frame. Its first batch may begin before it: the log had come to begin inside that batch, and what lies before had
    /// expired.
    pub fn begin_frame(&mut self, start_offset: i64) {
        let cut = &mut self.request.cut;
        cut.source_start_offset = cut.source_start_offset.max(Some(start_offset));
    }

    /// Takes the next batch of the source; gives what is to be produced now, in order.
    ///
    /// # Errors
    /// When a batch that cannot go as it is cannot be made anew.
    pub fn make(&mut self, batch: &Batch<'_>, scratch: &mut Scratch) -> Result<Vec<ProducibleBatch>, rewrite::Error> {
        let made = match rewrite::decide(batch, &self.request) {
            Verdict::Skip(_) => {
                self.counts.skipped += 1;
                return Ok(Vec::new());
            }
            Verdict::Pass => {
                self.counts.passed += 1;
                vec![rewrite::pass_through(batch)]
            }
            Verdict::Rewrite(_) => {
                let rewritten = rewrite::rewrite(batch, &self.request, scratch)?;
                self.counts.rewritten += 1;
                self.counts.records_outside_time += rewritten.records_outside_time;
                rewritten.batches
            }
        };
        self.source_bytes += batch.bytes().len() as u64;
        self.joiner.push(made, batch.bytes().len(), scratch)
    }

    /// Ends a frame: gives what waited to be joined, in order.
    ///
    /// # Errors
    /// When what was joined cannot be compressed.
    pub fn end_frame(&mut self, scratch: &mut Scratch) -> Result<Vec<ProducibleBatch>, rewrite::Error> {
        self.joiner.flush(scratch)
    }
}
