//! Coordinators: the brokers that answer for consumer groups and transactional ids.
//!
//! One is looked up again for every try, so that a move is followed.

#[cfg(test)]
pub(crate) mod stand_in;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use kafka_protocol::messages::{FindCoordinatorRequest, FindCoordinatorResponse};

use crate::kafka::api::Api;
use crate::kafka::cluster::{Answers, Asked, Cluster};
use crate::kafka::error::{Error, Resource};
use crate::kafka::metadata::string;
use crate::kafka::rounds::{Rounds, left_out, of_all};

/// Groups in one request: what a coordinator says of all of them comes back in one response.
pub(crate) const KEYS_PER_REQUEST: usize = 100;
/// Requests about groups that are on their way at a time, over all brokers: thousands of groups take a few round trips
/// of a slow line, and their answers never fill the memory.
pub(crate) const REQUESTS_AT_ONCE: usize = 16;
/// From this version on, a request looks up many coordinators (KIP-699).
const MANY_COORDINATORS_VERSION: i16 = 4;

/// What a coordinator is looked up for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CoordinatorOf {
    /// A consumer group.
    Group,
    /// A transactional id.
    Transaction,
}

impl CoordinatorOf {
    const fn key_type(self) -> i8 {
        match self {
            Self::Group => 0,
            Self::Transaction => 1,
        }
    }

    fn resource(self, key: &str) -> Resource {
        match self {
            Self::Group => Resource::Group(key.to_owned()),
            Self::Transaction => Resource::TransactionalId(key.to_owned()),
        }
    }
}

impl Cluster {
    /// The broker that coordinates a group or a transactional id right now; one try.
    pub(crate) async fn coordinator(&self, of: CoordinatorOf, key: &str) -> Result<i32, Error> {
        let mut found = self.coordinators(of, &[key.to_owned()]).await?;
        found.remove(key).unwrap_or_else(|| Err(left_out(FindCoordinatorRequest::NAME, key)))
    }

    /// The coordinators of all keys; one that cannot be found has its own error.
    async fn coordinators(
        &self,
        of: CoordinatorOf,
        keys: &[String],
    ) -> Result<HashMap<String, Result<i32, Error>>, Error> {
        if keys.is_empty() {
            return Ok(HashMap::new());
        }
        let first = self.look_up(of, &keys[..keys.len().min(KEYS_PER_REQUEST)]).await?;
        // Brokers before Kafka 3.0 answer for one key, so that their requests are made side by side.
        let at_once = if first.len() == 1 { 1 } else { KEYS_PER_REQUEST };
        let rest = &keys[first.len().min(keys.len())..];
        let parts: Vec<BoxFuture<'_, Answers<String, i32>>> =
            rest.chunks(at_once).map(|part| self.look_up_all(of, part).boxed()).collect();
        let mut found: HashMap<String, Result<i32, Error>> = first.into_iter().collect();
        let mut parts = stream::iter(parts).buffer_unordered(REQUESTS_AT_ONCE);
        while let Some(answers) = parts.next().await {
            found.extend(answers);
        }
        Ok(found)
    }

    /// Looks up all keys, by more than one request if a broker answers for one key alone.
    async fn look_up_all(&self, of: CoordinatorOf, keys: &[String]) -> Answers<String, i32> {
        let mut found = Vec::with_capacity(keys.len());
        let mut rest = keys;
        while !rest.is_empty() {
            match self.look_up(of, rest).await {
                Ok(answers) => {
                    rest = &rest[answers.len().clamp(1, rest.len())..];
                    found.extend(answers);
                }
                Err(error) => {
                    found.extend(of_all(rest, Err(error)));
                    break;
                }
            }
        }
        found
    }

    /// One request, and what it says of the first key or of all of them.
    async fn look_up(&self, of: CoordinatorOf, keys: &[String]) -> Result<Answers<String, i32>, Error> {
        let response = self.call_any_once(|version| build_find_coordinator(version, of, keys)).await?;
        // Versions before 4 answer for one key, and only the newer ones fill this list.
        Ok(match (response.coordinators.is_empty(), keys.first()) {
            (true, Some(first)) => vec![(first.clone(), process_coordinator(of, first, &response))],
            (true, None) | (false, _) => process_coordinators(of, response),
        })
    }

    /// Sends the groups' questions to their coordinators, so many groups in a request and a few requests at a time, and
    /// asks again for those whose failure `may_pass`. Every group is in the result.
    pub(crate) async fn ask_coordinators<'a, T: Send + 'a>(
        &self,
        api: &'static str,
        groups: &BTreeSet<String>,
        may_pass: impl Fn(&Error) -> bool,
        send: impl Fn(i32, Arc<[String]>) -> Asked<'a, String, T>,
    ) -> BTreeMap<String, Result<T, Error>> {
        let mut rounds = Rounds::new(self.retry(), api, groups.iter().cloned());
        while let Some(open) = rounds.next().await {
            let mut answers: Answers<String, T> = Vec::with_capacity(open.len());
            let mut by_coordinator: BTreeMap<i32, Vec<String>> = BTreeMap::new();
            match self.coordinators(CoordinatorOf::Group, &open).await {
                Ok(found) => found.into_iter().for_each(|(group, coordinator)| match coordinator {
                    Ok(broker) => by_coordinator.entry(broker).or_default().push(group),
                    Err(error) => answers.push((group, Err(error))),
                }),
                Err(error) => answers = of_all(&open, Err(error)),
            }
            let mut asked: Vec<BoxFuture<'a, Answers<String, T>>> = Vec::new();
            for (broker, groups) in by_coordinator {
                for part in groups.chunks(KEYS_PER_REQUEST) {
                    let part: Arc<[String]> = part.into();
                    let answers = send(broker, Arc::clone(&part));
                    asked.push(async move { of_all(&part, answers.await) }.boxed());
                }
            }
            let mut asked = stream::iter(asked).buffer_unordered(REQUESTS_AT_ONCE);
            while let Some(part) = asked.next().await {
                answers.extend(part);
            }
            rounds.settle(answers, &may_pass).await;
        }
        rounds.done()
    }
}

fn build_find_coordinator(version: i16, of: CoordinatorOf, keys: &[String]) -> FindCoordinatorRequest {
    let request = FindCoordinatorRequest::default().with_key_type(of.key_type());
    if version >= MANY_COORDINATORS_VERSION {
        request.with_coordinator_keys(keys.iter().map(|key| string(key)).collect())
    } else {
        request.with_key(keys.first().map(|key| string(key)).unwrap_or_default())
    }
}

fn process_coordinators(of: CoordinatorOf, response: FindCoordinatorResponse) -> Vec<(String, Result<i32, Error>)> {
    let answers = response.coordinators.into_iter().map(|answer| {
        let key = answer.key.to_string();
        let message = answer.error_message.as_deref();
        let error = Error::from_code(FindCoordinatorRequest::NAME, answer.error_code, || of.resource(&key), message);
        (key, error.map_or(Ok(*answer.node_id), Err))
    });
    answers.collect()
}

fn process_coordinator(of: CoordinatorOf, key: &str, response: &FindCoordinatorResponse) -> Result<i32, Error> {
    let message = response.error_message.as_deref();
    let error = Error::from_code(FindCoordinatorRequest::NAME, response.error_code, || of.resource(key), message);
    error.map_or(Ok(*response.node_id), Err)
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::messages::find_coordinator_response::Coordinator;
    use kafka_protocol::protocol::Encodable;

    use super::*;
    use crate::error::Kind;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn every_version_can_carry_its_request() {
        for version in FindCoordinatorRequest::VERSIONS {
            let request = build_find_coordinator(version, CoordinatorOf::Group, &names(&["g", "h"]));
            request.encode(&mut BytesMut::new(), version).unwrap();
        }
    }

    #[test]
    fn coordinators_come_one_by_one_or_together() {
        let response = FindCoordinatorResponse::default().with_coordinators(vec![
            Coordinator::default().with_key(string("g")).with_node_id(BrokerId(2)),
            Coordinator::default().with_key(string("h")).with_error_code(15),
        ]);
        let found = process_coordinators(CoordinatorOf::Group, response);
        assert_eq!(found[0], ("g".to_owned(), Ok(2)));
        assert!(found[1].1.as_ref().unwrap_err().is_retriable());
        let single = FindCoordinatorResponse::default().with_node_id(BrokerId(3));
        assert_eq!(process_coordinator(CoordinatorOf::Group, "g", &single), Ok(3));
        let denied = FindCoordinatorResponse::default().with_error_code(30);
        let error = process_coordinator(CoordinatorOf::Group, "g", &denied).unwrap_err();
        assert!(error.kind() == Kind::Denied && error.to_string().contains(r#"group "g""#), "{error}");
        assert_eq!(build_find_coordinator(3, CoordinatorOf::Group, &names(&["g", "h"])).key.as_str(), "g");
    }
}
