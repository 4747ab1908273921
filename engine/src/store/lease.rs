//! One writer at a time, among processes that share nothing but a store.
//!
//! Whoever holds the lease owns the object `<prefix>/<epoch>`, with the highest epoch there is. The only thing that
//! is asked of the store is "create if absent":
//!
//! - Taking over from epoch N is creating N + 1; of several that try, one wins.
//! - The holder of N writes to no object but N: it renews there, and marks it released in the end. So nothing that a
//!   holder does late, after it was paused or cut off, can undo a take-over.
//! - A holder that finds an epoch above its own has lost the lease and must stop: [`Lease::check`], before each
//!   checkpoint and before the commit. This is the fencing: clocks decide when a lease may be taken, never whether
//!   two may commit. (The commit itself is another "create if absent".)
//!
//! A crash leaves the lease behind until it expires; it is taken at once when the holder can be shown to be dead, or
//! when it was an earlier start of the same run.

mod holder;
mod record;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::holder::{Holder, Liveness};
use self::record::VERSION;
pub use self::record::{CLOCK_SKEW_MS, LeaseRecord, Verdict, judge};
use super::{CreatedOrSame, Object, Store};
use crate::clock::{now_ms, utc};
use crate::error::Kind;

/// How often a waiting process looks again, in milliseconds.
const POLL_MS: i64 = 1_000;

/// Why a lease cannot be had, or is not held any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Another process holds it.
    #[error(
        "{place} is being written by {holder} since {since}; it may hold it until {until}: wait for it to end, or for that time to pass"
    )]
    Held {
        /// Store and prefix.
        place: String,
        /// Who.
        holder: String,
        /// When it was acquired, RFC 3339.
        since: String,
        /// When it expires unless it is renewed, RFC 3339.
        until: String,
    },
    /// It was held and is not any more: nothing may be written under it.
    #[error(
        "the lease on {place} (epoch {epoch}) is lost: {reason}; nothing was committed, run the same command again"
    )]
    Lost {
        /// Store and prefix.
        place: String,
        /// The epoch that was held.
        epoch: u64,
        /// How it was seen.
        reason: String,
    },
    /// The newest record cannot be understood, so nobody knows whether it is held.
    #[error("the lease record {key} cannot be read: {reason}")]
    Record {
        /// The record's key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] super::Error),
}

impl Error {
    /// What the failure asks of the reader.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Held { .. } | Self::Lost { .. } => Kind::Conflict,
            Self::Record { .. } => Kind::Corrupt,
            Self::Store(error) => error.kind(),
        }
    }
}

/// For how long to wait for a lease that somebody holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitPolicy {
    /// Not at all.
    Refuse,
    /// This many milliseconds.
    UpTo(
        /// Milliseconds.
        i64,
    ),
}

/// A lease that is held, and renewed in the background every third of its time to live. Dropping it stops the
/// renewals, so that it expires; [`Lease::release`] gives it back at once.
#[derive(Debug)]
pub struct Lease {
    own: Own,
    renewals: JoinHandle<()>,
    /// The renewals end when this goes, after the one that is on its way.
    stop: oneshot::Sender<()>,
}

/// The epoch that is ours. Shared with the task that renews it.
#[derive(Debug, Clone)]
struct Own {
    store: Store,
    prefix: String,
    epoch: u64,
    record: LeaseRecord,
    /// When the last renewal that succeeded was begun.
    renewed_at_ms: Arc<AtomicI64>,
    superseded: Arc<AtomicBool>,
}

impl Lease {
    /// Takes the lease on `prefix`, or waits for it.
    ///
    /// `ttl_ms` is the time after which a holder that fell silent has lost it, in milliseconds.
    ///
    /// # Errors
    /// [`Error::Held`] when it was not free in time, [`Error::Record`], [`Error::Store`].
    pub async fn acquire(
        store: &Store,
        prefix: &str,
        holder: Holder,
        ttl_ms: i64,
        wait: WaitPolicy,
    ) -> Result<Self, Error> {
        let patience_until_ms = match wait {
            WaitPolicy::Refuse => i64::MIN,
            WaitPolicy::UpTo(wait_ms) => now_ms().saturating_add(wait_ms),
        };
        let mut seen: Option<(LeaseRecord, i64)> = None;
        loop {
            let latest = latest(store, prefix).await?;
            let now_ms = now_ms();
            let first_seen_ms = match (&seen, &latest) {
                (Some((before, since_ms)), Some((_, record))) if before == record => *since_ms,
                _ => now_ms,
            };
            let view = latest.as_ref().map(|(epoch, record)| (*epoch, record));
            match judge(view, &holder, now_ms, now_ms.saturating_sub(first_seen_ms), Holder::liveness) {
                Verdict::Take { epoch } => {
                    // Losing the race is not the end: the winner may be gone again the next time we look.
                    if let Some(own) = Own::take(store, prefix, epoch, &holder, ttl_ms).await? {
                        let (stop, stopped) = oneshot::channel();
                        // A breaker that is open must not keep the renewals from a store that is well again.
                        let renewing = Own { store: store.without_breaker(), ..own.clone() };
                        let renewals = tokio::spawn(renewing.keep_renewing(stopped));
                        return Ok(Self { own, renewals, stop });
                    }
                }
                Verdict::WaitUntil(free_at_ms) => {
                    let (_, record) = latest.expect("there is something to wait for only when there is a record");
                    if now_ms >= patience_until_ms {
                        return Err(held(store, prefix, &record));
                    }
                    let pause_ms = POLL_MS.min(free_at_ms - now_ms).min(patience_until_ms - now_ms).max(1);
                    seen = Some((record, first_seen_ms));
                    tokio::time::sleep(Duration::from_millis(pause_ms.unsigned_abs())).await;
                }
            }
        }
    }

    /// The epoch: higher than that of every holder before. 1 is the first.
    pub fn epoch(&self) -> u64 {
        self.own.epoch
    }

    /// Makes sure that nobody took over, and that others can see that we live. Call it before each checkpoint and before the
    /// commit; what it says holds for the moment at which the store answered.
    ///
    /// After a time in which no renewal got through, it renews first: a lease that was free for the taking and that nobody
    /// took is still ours.
    ///
    /// # Errors
    /// [`Error::Lost`]: stop writing. [`Error::Store`]: it is not known, so do not write now.
    pub async fn check(&self) -> Result<(), Error> {
        if self.own.is_superseded().await? {
            return Err(self.own.lost("another process has taken over".to_owned()));
        }
        let silent_ms = now_ms().saturating_sub(self.own.renewed_at_ms.load(Ordering::Relaxed));
        if silent_ms <= self.own.record.ttl_ms {
            return Ok(());
        }
        tracing::warn!(silent_secs = silent_ms / 1000, "the lease had expired and nobody took it: renewing it");
        self.own.renew().await?;
        // Whoever took it between the two looks has seen it expired, and ours may have come too late to be seen.
        if self.own.is_superseded().await? {
            return Err(self.own.lost(format!("another process took over after {} silent seconds", silent_ms / 1000)));
        }
        Ok(())
    }

    /// Gives the lease back, so that the next one need not wait.
    ///
    /// # Errors
    /// [`Error::Store`]: then it expires.
    pub async fn release(self) -> Result<(), Error> {
        let Self { own, renewals, stop } = self;
        // A renewal on its way could arrive after the release and undo it: it ends first.
        drop(stop);
        if let Err(panicked) = renewals.await
            && let Ok(panic) = panicked.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
        own.write(now_ms(), true).await
    }
}

impl Own {
    /// Creates the object of `epoch`; `None` when somebody else was faster.
    async fn take(
        store: &Store,
        prefix: &str,
        epoch: u64,
        holder: &Holder,
        ttl_ms: i64,
    ) -> Result<Option<Self>, Error> {
        let now_ms = now_ms();
        let record = LeaseRecord {
            version: VERSION,
            holder: holder.clone(),
            acquired_at_ms: now_ms,
            renewed_at_ms: now_ms,
            ttl_ms,
            released: false,
        };
        // "The same" is an earlier attempt of ours whose answer got lost: the holder's id is drawn for this one.
        match store.create_or_same(&key(prefix, epoch), record.to_bytes()).await? {
            CreatedOrSame::New | CreatedOrSame::AlreadyThere { same: true } => {}
            CreatedOrSame::AlreadyThere { same: false } => return Ok(None),
        }
        let own = Self {
            store: store.clone(),
            prefix: prefix.to_owned(),
            epoch,
            record,
            renewed_at_ms: Arc::new(AtomicI64::new(now_ms)),
            superseded: Arc::default(),
        };
        // Whoever slept between looking and creating may have filled the gap of an epoch that was removed long ago.
        let epochs = epochs(store, prefix).await?;
        if epochs.iter().any(|other| *other > epoch) {
            store.delete(&key(prefix, epoch)).await?;
            return Ok(None);
        }
        // The one before stays, for whoever wants to know what happened.
        for old in epochs.into_iter().filter(|old| old.saturating_add(1) < epoch) {
            if let Err(error) = store.delete(&key(prefix, old)).await {
                tracing::debug!(%error, "an old lease record is left behind");
            }
        }
        Ok(Some(own))
    }

    async fn is_superseded(&self) -> Result<bool, Error> {
        if !self.superseded.load(Ordering::Relaxed) {
            // All epochs, not just the next one: that one may have been removed by those who came after it.
            let newer =
                epochs_of(&self.store.list_now(&self.prefix).await?).into_iter().any(|epoch| epoch > self.epoch);
            self.superseded.fetch_or(newer, Ordering::Relaxed);
        }
        Ok(self.superseded.load(Ordering::Relaxed))
    }

    async fn keep_renewing(self, mut stopped: oneshot::Receiver<()>) {
        let pause = Duration::from_millis((self.record.ttl_ms / 3).max(1).unsigned_abs());
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = &mut stopped => return,
            }
            match self.renew().await {
                Ok(true) => {}
                Ok(false) => return,
                // The next one may succeed; whether it came in time is for `check` to say.
                Err(error) => tracing::warn!(%error, "the lease could not be renewed"),
            }
        }
    }

    /// Says that we live; false when the epoch is not the newest any more.
    async fn renew(&self) -> Result<bool, Error> {
        if self.is_superseded().await? {
            return Ok(false);
        }
        // The time of the beginning: the record becomes visible at some moment after it.
        let now_ms = now_ms();
        self.write(now_ms, false).await?;
        self.renewed_at_ms.store(now_ms, Ordering::Relaxed);
        Ok(true)
    }

    async fn write(&self, now_ms: i64, released: bool) -> Result<(), Error> {
        let record = LeaseRecord { renewed_at_ms: now_ms, released, ..self.record.clone() };
        Ok(self.store.put(&key(&self.prefix, self.epoch), record.to_bytes()).await?)
    }

    fn lost(&self, reason: String) -> Error {
        Error::Lost { place: place(&self.store, &self.prefix), epoch: self.epoch, reason }
    }
}

/// Who holds the lease on `prefix` at `now_ms`, as far as the newest record tells; `None` when it is free. Takes nothing.
///
/// # Errors
/// [`Error::Record`], [`Error::Store`].
pub async fn held_by(store: &Store, prefix: &str, now_ms: i64) -> Result<Option<Holder>, Error> {
    let Some((epoch, record)) = latest(store, prefix).await? else { return Ok(None) };
    match judge(Some((epoch, &record)), &Holder::current(""), now_ms, 0, Holder::liveness) {
        Verdict::Take { .. } => Ok(None),
        Verdict::WaitUntil(_) => Ok(Some(record.holder)),
    }
}

fn key(prefix: &str, epoch: u64) -> String {
    format!("{prefix}/{epoch:020}")
}

fn place(store: &Store, prefix: &str) -> String {
    format!("{prefix} in {}", store.name())
}

fn held(store: &Store, prefix: &str, record: &LeaseRecord) -> Error {
    Error::Held {
        place: place(store, prefix),
        holder: record.holder.to_string(),
        since: utc(record.acquired_at_ms),
        until: utc(record.free_at_ms()),
    }
}

async fn epochs(store: &Store, prefix: &str) -> Result<Vec<u64>, Error> {
    Ok(epochs_of(&store.list(prefix).await?))
}

fn epochs_of(objects: &[Object]) -> Vec<u64> {
    let names = objects.iter().filter_map(|object| object.key.rsplit('/').next());
    names.filter(|name| name.len() == 20).filter_map(|name| name.parse().ok()).collect()
}

async fn latest(store: &Store, prefix: &str) -> Result<Option<(u64, LeaseRecord)>, Error> {
    loop {
        let Some(epoch) = epochs(store, prefix).await?.into_iter().max() else {
            return Ok(None);
        };
        let key = key(prefix, epoch);
        match store.read(&key).await {
            Ok(bytes) => {
                let record = LeaseRecord::parse(&bytes).map_err(|reason| Error::Record { key, reason })?;
                return Ok(Some((epoch, record)));
            }
            // Its maker found that it came too late and took it back.
            Err(super::Error::NotFound { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
