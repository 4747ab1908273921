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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::holder::{Holder, Liveness};
use super::{CreatedOrSame, Store};
use crate::clock::now_ms;
use crate::error::Kind;

/// How far the clocks of two machines may be apart, in milliseconds, for an expired lease to be really expired.
pub const CLOCK_SKEW_MS: i64 = 15_000;
/// How often a waiting process looks again, in milliseconds.
const POLL_MS: i64 = 1_000;
/// The version of the record that this program writes, and the only one that it reads.
const VERSION: u32 = 1;

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

    fn to_bytes(&self) -> Bytes {
        Bytes::from(serde_json::to_vec(self).expect("a record has string keys and finite numbers only"))
    }

    /// # Errors
    /// One line about what is wrong.
    fn parse(bytes: &[u8]) -> Result<Self, String> {
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
            let newer = epochs(&self.store, &self.prefix).await?.into_iter().any(|epoch| epoch > self.epoch);
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
    let time = |ms| jiff::Timestamp::from_millisecond(ms).map_or_else(|_| format!("{ms} ms"), |time| time.to_string());
    Error::Held {
        place: place(store, prefix),
        holder: record.holder.to_string(),
        since: time(record.acquired_at_ms),
        until: time(record.free_at_ms()),
    }
}

async fn epochs(store: &Store, prefix: &str) -> Result<Vec<u64>, Error> {
    let objects = store.list(prefix).await?;
    let names = objects.iter().filter_map(|object| object.key.rsplit('/').next());
    Ok(names.filter(|name| name.len() == 20).filter_map(|name| name.parse().ok()).collect())
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
mod tests {
    use super::*;
    use crate::config::storage::{FileStorage, StorageConfig};

    const NOW_MS: i64 = 1_000_000_000;
    const TTL_MS: i64 = 60_000;

    fn holder(run: &str) -> Holder {
        Holder { host: "elsewhere".to_owned(), boot_id: Some("another boot".to_owned()), ..Holder::current(run) }
    }

    fn record(run: &str, renewed_at_ms: i64) -> LeaseRecord {
        LeaseRecord {
            version: VERSION,
            holder: holder(run),
            acquired_at_ms: renewed_at_ms,
            renewed_at_ms,
            ttl_ms: TTL_MS,
            released: false,
        }
    }

    fn judged(record: &LeaseRecord, run: &str, unchanged_ms: i64, liveness: Liveness) -> Verdict {
        judge(Some((7, record)), &holder(run), NOW_MS, unchanged_ms, |_| liveness)
    }

    async fn store(dir: &tempfile::TempDir) -> Store {
        Store::open(&StorageConfig::File(FileStorage { dir: dir.path().to_owned() })).await.unwrap()
    }

    async fn plant(store: &Store, epoch: u64, record: &LeaseRecord) {
        store.put(&key("lease", epoch), record.to_bytes()).await.unwrap();
    }

    async fn acquire(store: &Store, holder: Holder) -> Result<Lease, Error> {
        Lease::acquire(store, "lease", holder, TTL_MS, WaitPolicy::Refuse).await
    }

    #[test]
    fn the_first_epoch_is_one() {
        assert_eq!(judge(None, &holder("run"), NOW_MS, 0, |_| Liveness::Alive), Verdict::Take { epoch: 1 });
    }

    #[test]
    fn a_held_lease_is_waited_for_until_it_expires() {
        let free_at_ms = NOW_MS - 10 + TTL_MS + CLOCK_SKEW_MS;
        for liveness in [Liveness::Unknown, Liveness::Alive] {
            assert_eq!(judged(&record("a", NOW_MS - 10), "b", 0, liveness), Verdict::WaitUntil(free_at_ms));
        }
    }

    #[test]
    fn an_expired_lease_is_taken_only_after_the_clock_skew() {
        let renewed_at_ms = NOW_MS - TTL_MS - CLOCK_SKEW_MS;
        assert_eq!(judged(&record("a", renewed_at_ms), "b", 0, Liveness::Unknown), Verdict::Take { epoch: 8 });
        assert_eq!(judged(&record("a", renewed_at_ms + 1), "b", 0, Liveness::Unknown), Verdict::WaitUntil(NOW_MS + 1));
    }

    #[test]
    fn a_holder_whose_clock_runs_ahead_does_not_hold_for_ever() {
        let ahead = record("a", NOW_MS + 365 * 24 * 3600 * 1000);
        assert!(matches!(judged(&ahead, "b", TTL_MS, Liveness::Unknown), Verdict::WaitUntil(_)));
        assert_eq!(judged(&ahead, "b", TTL_MS + CLOCK_SKEW_MS, Liveness::Unknown), Verdict::Take { epoch: 8 });
    }

    #[test]
    fn a_dead_holders_lease_is_taken_at_once() {
        assert_eq!(judged(&record("a", NOW_MS), "b", 0, Liveness::Dead), Verdict::Take { epoch: 8 });
    }

    #[test]
    fn a_released_lease_is_taken_at_once() {
        let released = LeaseRecord { released: true, ..record("a", NOW_MS) };
        assert_eq!(judged(&released, "b", 0, Liveness::Alive), Verdict::Take { epoch: 8 });
    }

    #[test]
    fn the_same_run_takes_over_at_once_unless_it_is_seen_at_work() {
        let same = record("a", NOW_MS);
        assert_eq!(judged(&same, "a", 0, Liveness::Unknown), Verdict::Take { epoch: 8 });
        assert!(matches!(judged(&same, "a", 0, Liveness::Alive), Verdict::WaitUntil(_)));
    }

    #[test]
    fn runs_without_a_name_are_not_the_same_run() {
        assert!(matches!(judged(&record("", NOW_MS), "", 0, Liveness::Unknown), Verdict::WaitUntil(_)));
    }

    #[tokio::test]
    async fn who_holds_a_lease_can_be_asked_without_taking_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        assert_eq!(held_by(&store, "lease", now_ms()).await.unwrap(), None);
        let lease = acquire(&store, Holder::current("a")).await.unwrap();
        assert_eq!(held_by(&store, "lease", now_ms()).await.unwrap().unwrap().run, "a");
        assert_eq!(lease.epoch(), 1);
        lease.release().await.unwrap();
        assert_eq!(held_by(&store, "lease", now_ms()).await.unwrap(), None);
    }

    #[test]
    fn refuses_records_that_it_does_not_know() {
        let text = String::from_utf8(record("a", 1).to_bytes().to_vec()).unwrap();
        assert_eq!(LeaseRecord::parse(text.as_bytes()).unwrap().ttl_ms, TTL_MS);
        let newer = text.replacen("\"version\":1", "\"version\":2", 1);
        assert!(LeaseRecord::parse(newer.as_bytes()).unwrap_err().contains("version 2"));
        let more = text.replacen('{', "{\"quorum\":3,", 1);
        assert!(LeaseRecord::parse(more.as_bytes()).unwrap_err().contains("quorum"));
        assert!(LeaseRecord::parse(b"").is_err());
    }

    #[test]
    fn reads_version_one_for_ever() {
        let text = r#"{"version":1,"holder":{"run":"nightly-20260212-143000","id":"8c2b8f5e-5d3e-4a39-9a0e-0d6c5d3b7a11",
            "host":"pod-1","pid":1,"bootId":"b","pidNamespace":"pid:[4026531836]","startedTicks":17},
            "acquiredAtMs":1,"renewedAtMs":2,"ttlMs":60000,"released":false}"#;
        let record = LeaseRecord::parse(text.as_bytes()).unwrap();
        assert_eq!((record.holder.started_ticks, record.free_at_ms()), (Some(17), 2 + 60_000 + CLOCK_SKEW_MS));
    }

    #[tokio::test]
    async fn a_conflict_names_the_holder_and_how_long_it_may_take() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let now_ms = now_ms();
        plant(&store, 3, &record("nightly", now_ms)).await;
        let error = acquire(&store, holder("other")).await.unwrap_err();
        let Error::Held { holder, until, .. } = &error else { panic!("{error}") };
        assert!(holder.starts_with("nightly on elsewhere (process "), "{holder}");
        let until: jiff::Timestamp = until.parse().unwrap();
        assert_eq!(until.as_millisecond(), now_ms + TTL_MS + CLOCK_SKEW_MS);
    }

    #[tokio::test]
    async fn a_holder_that_was_silent_for_long_renews_before_it_writes() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let lease = acquire(&store, holder("run")).await.unwrap();
        lease.own.renewed_at_ms.fetch_sub(TTL_MS + 1, Ordering::Relaxed);
        let (_, mut record) = latest(&store, "lease").await.unwrap().unwrap();
        record.renewed_at_ms -= 2 * TTL_MS;
        store.put(&key("lease", 1), record.to_bytes()).await.unwrap();
        lease.check().await.unwrap();
        assert!(matches!(acquire(&store, holder("other")).await, Err(Error::Held { .. })));
    }

    #[tokio::test]
    async fn a_holder_that_was_silent_for_long_and_cannot_renew_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let lease = acquire(&store, holder("run")).await.unwrap();
        lease.own.renewed_at_ms.fetch_sub(TTL_MS + 1, Ordering::Relaxed);
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert!(matches!(lease.check().await, Err(Error::Store(_))));
    }

    #[tokio::test]
    async fn a_holder_that_was_silent_for_long_and_was_taken_over_from_has_lost() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let lease = acquire(&store, holder("run")).await.unwrap();
        lease.own.renewed_at_ms.fetch_sub(TTL_MS + 1, Ordering::Relaxed);
        plant(&store, 2, &record("other", now_ms())).await;
        assert!(matches!(lease.check().await, Err(Error::Lost { epoch: 1, .. })));
    }

    #[tokio::test]
    async fn a_released_lease_is_there_for_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        for epoch in 1..=4 {
            let lease = acquire(&store, Holder::current(&format!("run-{epoch}"))).await.unwrap();
            assert_eq!(lease.epoch(), epoch);
            lease.release().await.unwrap();
        }
        assert_eq!(epochs(&store, "lease").await.unwrap(), [3, 4]);
    }

    #[tokio::test]
    async fn renewals_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let lease = Lease::acquire(&store, "lease", holder("run"), 1_200, WaitPolicy::Refuse).await.unwrap();
        let (_, before) = latest(&store, "lease").await.unwrap().unwrap();
        // More than twice its time to live: without renewals it would be over.
        tokio::time::sleep(Duration::from_millis(3_000)).await;
        lease.check().await.unwrap();
        let (_, after) = latest(&store, "lease").await.unwrap().unwrap();
        assert!(after.renewed_at_ms > before.renewed_at_ms);
        drop(lease);
        tokio::time::sleep(Duration::from_millis(600)).await;
        let (_, dropped) = latest(&store, "lease").await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(600)).await;
        assert_eq!(latest(&store, "lease").await.unwrap().unwrap().1, dropped);
    }

    #[tokio::test]
    async fn waits_until_it_is_released() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        let first = acquire(&store, Holder::current("first")).await.unwrap();
        let second = {
            let store = store.clone();
            tokio::spawn(async move {
                Lease::acquire(&store, "lease", Holder::current("second"), TTL_MS, WaitPolicy::UpTo(20_000)).await
            })
        };
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(!second.is_finished());
        first.release().await.unwrap();
        assert_eq!(second.await.unwrap().unwrap().epoch(), 2);
    }

    #[tokio::test]
    async fn an_epoch_in_a_gap_is_no_lease() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        plant(&store, 9, &record("newest", now_ms())).await;
        let own = Own::take(&store, "lease", 3, &holder("slept long"), TTL_MS).await.unwrap();
        assert!(own.is_none());
        assert_eq!(epochs(&store, "lease").await.unwrap(), [9]);
    }

    #[tokio::test]
    async fn an_unreadable_record_is_not_a_free_lease() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(&dir).await;
        store.put(&key("lease", 1), Bytes::from_static(b"{}")).await.unwrap();
        assert!(matches!(acquire(&store, holder("run")).await, Err(Error::Record { .. })));
    }
}
