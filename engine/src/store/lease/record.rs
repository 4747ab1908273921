//! What a lease's object says, and who may take the lease.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Holder, Liveness};

/// How far the clocks of two machines may be apart, in milliseconds, for an expired lease to be really expired.
pub const CLOCK_SKEW_MS: i64 = 15_000;
/// The version of the record that this program writes, and the only one that it reads.
pub(super) const VERSION: u32 = 1;

/// What stands in the object of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LeaseRecord {
    /// Version of this form; 1.
    pub version: u32,
    /// Who holds, or held, the epoch.
    pub holder: Holder,
    /// When the epoch was taken, by the holder's clock.
    pub acquired_at_ms: i64,
    /// When the holder last said that it lives, by its own clock.
    pub renewed_at_ms: i64,
    /// For how long after that the lease is held, in milliseconds.
    pub ttl_ms: i64,
    /// Whether the holder has given it back.
    pub released: bool,
}

impl LeaseRecord {
    /// When others may take it, in milliseconds since the Unix epoch, unless it is renewed.
    pub fn free_at_ms(&self) -> i64 {
        self.renewed_at_ms.saturating_add(self.ttl_ms).saturating_add(CLOCK_SKEW_MS)
    }

    pub(super) fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("a record has string keys and finite numbers only"))
    }

    /// # Errors
    /// One line about what is wrong.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Version {
            version: u32,
        }
        let Version { version } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("it has version {version}, this program knows version {VERSION}"));
        }
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }
}

/// What a process that wants the lease has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Create the object of this epoch: whoever succeeds holds the lease.
    Take {
        /// The epoch.
        epoch: u64,
    },
    /// Somebody holds it; look again now and then, and at this time it is free unless it was renewed.
    WaitUntil(
        /// Milliseconds since the Unix epoch.
        i64,
    ),
}

/// Decides from the newest epoch and its record.
///
/// `unchanged_ms` is for how long we have seen this very record ourselves: it ends the lease of a holder whose clock
/// runs ahead, whom the times in the record would keep alive long after its death.
pub fn judge(
    latest: Option<(u64, &LeaseRecord)>,
    me: &Holder,
    now_ms: i64,
    unchanged_ms: i64,
    liveness: impl FnOnce(&Holder) -> Liveness,
) -> Verdict {
    let Some((epoch, record)) = latest else {
        return Verdict::Take { epoch: 1 };
    };
    let take = Verdict::Take { epoch: epoch.saturating_add(1) };
    let free_at_ms = record.free_at_ms();
    let patience_ms = record.ttl_ms.saturating_add(CLOCK_SKEW_MS);
    if record.released || now_ms >= free_at_ms || unchanged_ms >= patience_ms {
        return take;
    }
    match liveness(&record.holder) {
        Liveness::Dead => take,
        // Two starts of one run side by side: the first one is here, and at work.
        Liveness::Alive => Verdict::WaitUntil(free_at_ms),
        // A pod was started again for the same run. Should the old one still be alive somewhere, it is fenced.
        Liveness::Unknown if !me.run.is_empty() && record.holder.run == me.run => take,
        Liveness::Unknown => Verdict::WaitUntil(free_at_ms),
    }
}
