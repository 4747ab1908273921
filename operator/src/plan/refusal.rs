//! Why nothing is run.

/// Why nothing is run, for a condition.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// One word in CamelCase.
    pub reason: &'static str,
    /// One line: what, where, and what to do.
    pub message: String,
    /// Whether it goes away by itself, once something else is there.
    pub is_waiting: bool,
}

impl Refusal {
    /// Something of the spec that cannot be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self { reason: "InvalidSpec", message: message.into(), is_waiting: false }
    }

    /// Something of the spec that this release does not run.
    pub fn unsupported(field: &str) -> Self {
        let message = format!(
            "{field} is not supported by this release: nothing is run; remove it, or wait for a release that has it"
        );
        Self { reason: "NotSupported", message, is_waiting: false }
    }

    /// Something that is not there yet.
    pub fn waiting(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), is_waiting: true }
    }
}

impl From<strimzi_discovery::Error> for Refusal {
    fn from(error: strimzi_discovery::Error) -> Self {
        Self { reason: error.reason(), message: error.to_string(), is_waiting: error.is_waiting() }
    }
}
