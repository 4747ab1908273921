//! Calls that are made again: one call, or one request about many things.
//!
//! The table of [`crate::kafka::retry`] decides, the circuit breaker is asked first, and the metadata is refreshed where a
//! failure calls for it.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::kafka::cluster::{Answers, Cluster};
use crate::kafka::error::Error;
use crate::kafka::retry::{Budget, Class};

/// The one place where a call is made again.
pub(crate) struct Retry<'a> {
    cluster: &'a Cluster,
    /// Since the first failure after the last success: a broker that keeps us quiet (KIP-219) is no trouble yet.
    budget: Option<Budget>,
    limit: Duration,
    seed: u64,
    refresh: bool,
}

impl<'a> Retry<'a> {
    /// Calls are made again until nothing has succeeded for so long. Runs of different seeds do not pause in step.
    pub(crate) fn new(cluster: &'a Cluster, limit: Duration, seed: u64) -> Self {
        Self { cluster, budget: None, limit, seed, refresh: false }
    }

    /// Waits until a call may be made: the breaker is closed, and the metadata fresh if the last failure asked for it.
    pub(crate) async fn ready(&mut self) {
        self.cluster.breaker().ready().await;
        if std::mem::take(&mut self.refresh)
            && let Err(error) = self.cluster.refresh().await
        {
            tracing::debug!(%error, "the metadata could not be refreshed");
        }
    }

    /// Something succeeded: the retry timeout begins again.
    pub(crate) fn progress_if(&mut self, succeeded: bool) {
        if succeeded {
            self.budget = None;
        }
    }

    /// Pauses before the next try.
    ///
    /// # Errors
    /// The failure itself if it is not one to retry, or [`Error::Exhausted`] when the time is up.
    pub(crate) async fn again(&mut self, error: Error) -> Result<(), Error> {
        if !error.is_retriable() {
            return Err(error);
        }
        let Some(pause) = self.pause() else { return Err(self.exhausted(error)) };
        tracing::debug!(%error, pause_ms = pause.as_millis(), "trying again");
        self.refresh |= error.class() == Class::RefreshMetadata;
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// The same for a part of a request: what is to be asked again, or everything with its own last failure.
    async fn again_all<K>(&mut self, failed: Vec<(K, Error)>) -> Result<Vec<K>, Vec<(K, Error)>> {
        let Some((_, first)) = failed.first() else { return Ok(Vec::new()) };
        let Some(pause) = self.pause() else {
            return Err(failed.into_iter().map(|(key, error)| (key, self.exhausted(error))).collect());
        };
        tracing::debug!(error = %first, parts = failed.len(), pause_ms = pause.as_millis(), "trying again");
        self.refresh |= failed.iter().any(|(_, error)| error.class() == Class::RefreshMetadata);
        tokio::time::sleep(pause).await;
        Ok(failed.into_iter().map(|(key, _)| key).collect())
    }

    fn pause(&mut self) -> Option<Duration> {
        let now = Instant::now();
        self.budget.get_or_insert_with(|| Budget::new(self.limit, now, self.seed)).pause(now)
    }

    fn exhausted(&self, last: Error) -> Error {
        let after_ms = u64::try_from(self.limit.as_millis()).unwrap_or(u64::MAX);
        Error::Exhausted { after_ms, last: Box::new(last) }
    }
}

/// A request about many things, each of which is answered by itself: those whose answer may pass are asked for again.
pub(crate) struct Rounds<'a, K, T> {
    retry: Retry<'a>,
    api: &'static str,
    open: Vec<K>,
    done: BTreeMap<K, Result<T, Error>>,
}

impl<'a, K: Debug + Clone + Ord + Hash, T> Rounds<'a, K, T> {
    pub(crate) fn new(retry: Retry<'a>, api: &'static str, things: impl IntoIterator<Item = K>) -> Self {
        Self { retry, api, open: things.into_iter().collect(), done: BTreeMap::new() }
    }

    /// What is to be asked for now, once that may be done; nothing when all is answered.
    pub(crate) async fn next(&mut self) -> Option<Vec<K>> {
        if self.open.is_empty() {
            return None;
        }
        self.retry.ready().await;
        Some(self.open.clone())
    }

    /// Takes the answers of a round, and pauses before the next if there is to be one. A thing that nothing was said about is
    /// an [`Error::Protocol`].
    pub(crate) async fn settle(
        &mut self,
        answers: impl IntoIterator<Item = (K, Result<T, Error>)>,
        may_pass: impl Fn(&Error) -> bool,
    ) {
        let mut failed = Vec::new();
        for (thing, answer) in complete(self.api, std::mem::take(&mut self.open), answers) {
            match answer {
                Err(error) if may_pass(&error) => failed.push((thing, error)),
                answer => {
                    self.retry.progress_if(answer.is_ok());
                    self.done.insert(thing, answer);
                }
            }
        }
        match self.retry.again_all(failed).await {
            Ok(open) => self.open = open,
            Err(given_up) => self.done.extend(given_up.into_iter().map(|(thing, error)| (thing, Err(error)))),
        }
    }

    /// Every thing with its last answer.
    pub(crate) fn done(self) -> BTreeMap<K, Result<T, Error>> {
        self.done
    }
}

/// Everything that was asked for, with its answer.
fn complete<K: Debug + Hash + Eq, T>(
    api: &'static str,
    asked: Vec<K>,
    answers: impl IntoIterator<Item = (K, Result<T, Error>)>,
) -> Answers<K, T> {
    let mut answers: HashMap<K, Result<T, Error>> = answers.into_iter().collect();
    let answer = |thing| {
        let answer = answers.remove(&thing).unwrap_or_else(|| Err(left_out(api, &thing)));
        (thing, answer)
    };
    asked.into_iter().map(answer).collect()
}

/// The complaint about an answer that says nothing about a thing that was asked for.
pub(crate) fn left_out(api: &'static str, thing: impl Debug) -> Error {
    Error::Protocol { address: "a broker".to_owned(), api, why: format!("nothing about {thing:?}") }
}

/// The answers to one request about these things; a failure of the request is the answer for each.
pub(crate) fn of_all<K: Clone, T>(asked: &[K], answers: Result<Answers<K, T>, Error>) -> Answers<K, T> {
    answers.unwrap_or_else(|error| asked.iter().map(|thing| (thing.clone(), Err(error.clone()))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_broker_leaves_out_is_a_failure_of_that_thing_alone() {
        let answers = complete("ListOffsets", vec![("t", 0), ("t", 1)], [(("t", 1), Ok(7))]);
        assert!(matches!(&answers[0], ((_, 0), Err(Error::Protocol { api: "ListOffsets", .. }))));
        assert_eq!(answers[1], (("t", 1), Ok(7)));
    }

    #[test]
    fn a_failure_of_the_request_is_the_answer_for_each_thing() {
        let failed = left_out("ListOffsets", "all");
        assert_eq!(of_all::<_, ()>(&[1, 2], Err(failed.clone())), [(1, Err(failed.clone())), (2, Err(failed))]);
    }
}
