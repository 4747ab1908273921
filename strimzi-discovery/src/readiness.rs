//! Whether a resource can be used: what its status says, before anything is taken from it.

use std::fmt;

use crate::resources::{Condition, KafkaStatus, KafkaUserStatus};

/// Why a resource cannot be used yet. Each may pass when Strimzi goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotReady {
    /// There is no status.
    NoStatus,
    /// The status names no generation that it is about.
    NotObserved,
    /// The condition `NotReady` holds.
    Condition {
        /// Its reason, or `NotReady` where it has none.
        reason: String,
        /// The first line of its message.
        message: String,
    },
    /// What is needed is missing in the status, and the resource is annotated with `strimzi.io/pause-reconciliation`.
    Paused,
}

impl fmt::Display for NotReady {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStatus => f.write_str("it has no status: does a Strimzi operator watch its namespace?"),
            Self::NotObserved => f.write_str("its status has no observedGeneration: Strimzi is not done with it"),
            Self::Condition { reason, message } if message.is_empty() => f.write_str(reason),
            Self::Condition { reason, message } => write!(f, "{reason}: {message}"),
            Self::Paused => f.write_str(
                "its reconciliation is paused, and so its status lacks what is needed: remove the annotation strimzi.io/pause-reconciliation",
            ),
        }
    }
}

/// The parts of a status that every kind of Strimzi's has.
pub(crate) trait Status {
    fn conditions(&self) -> &[Condition];
    fn observed_generation(&self) -> Option<i64>;
}

impl Status for KafkaStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
    fn observed_generation(&self) -> Option<i64> {
        self.observed_generation
    }
}

impl Status for KafkaUserStatus {
    fn conditions(&self) -> &[Condition] {
        &self.conditions
    }
    fn observed_generation(&self) -> Option<i64> {
        self.observed_generation
    }
}

/// The status of a resource that is ready.
///
/// A status about an older generation is good enough: it says where the brokers are reached while Strimzi works on the newer.
pub(crate) fn ready<S: Status>(status: Option<&S>) -> Result<&S, NotReady> {
    let status = status.ok_or(NotReady::NoStatus)?;
    if let Some(condition) = status.conditions().iter().find(|condition| condition.holds("NotReady")) {
        let message = condition.message.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
        return Err(NotReady::Condition {
            reason: condition.reason.clone().unwrap_or_else(|| "NotReady".to_owned()),
            message: message.trim().to_owned(),
        });
    }
    if status.observed_generation().is_none() {
        return Err(NotReady::NotObserved);
    }
    Ok(status)
}

/// Whether Strimzi was told to leave the resource alone. Its status keeps little else then.
pub(crate) fn is_paused<S: Status>(status: &S) -> bool {
    status.conditions().iter().any(|condition| condition.holds("ReconciliationPaused"))
}
