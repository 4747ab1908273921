//! A simulated Topic Operator: every two seconds it sets topics back to what somebody has declared of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use crate::witness::{Properties, Witness};

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(2);

/// How often a topic is set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Insistence {
    /// Once: Strimzi's operator looks every two minutes, so that most restores meet it no more than once.
    Once,
    /// Whenever it differs.
    Always,
}

/// The topics that it looks after.
#[derive(Debug, Default)]
pub struct Operator {
    declared: Mutex<BTreeMap<String, (Properties, Insistence)>>,
    set_back: AtomicU32,
}

impl Operator {
    /// Looks after a topic from now on.
    pub fn declare(&self, topic: &str, configs: Properties, insistence: Insistence) {
        let mut declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner);
        declared.insert(topic.to_owned(), (configs, insistence));
    }

    /// Leaves a topic alone from now on.
    pub fn forget(&self, topic: &str) {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// Sets topics back until it is stopped.
    pub fn run(&self, witness: &Witness, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (topic, (configs, insistence)) in declared {
                // A topic that is not there now is looked for again.
                let Ok(found) = witness.describe_topic(&topic) else { continue };
                if let Some(others) = to_delete(&found.configs, &configs)
                    && witness.alter_topic(&topic, &configs, &others).is_ok()
                {
                    self.has_set_back(&topic, insistence);
                }
            }
            sleep(PERIOD);
        }
    }

    fn has_set_back(&self, topic: &str, insistence: Insistence) {
        self.set_back.fetch_add(1, Ordering::Relaxed);
        match insistence {
            Insistence::Once => self.forget(topic),
            Insistence::Always => {}
        }
    }

    /// How often it has set a topic back.
    pub fn set_back(&self) -> u32 {
        self.set_back.load(Ordering::Relaxed)
    }
}

/// The settings to delete, or `None` when nothing differs.
fn to_delete<'f>(found: &'f Properties, declared: &Properties) -> Option<Vec<&'f str>> {
    (found != declared).then(|| found.keys().filter(|name| !declared.contains_key(*name)).map(String::as_str).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::witness::properties;

    #[test]
    fn a_topic_that_is_set_back_once_is_left_alone_then() {
        let operator = Operator::default();
        let is_declared = |topic: &str| operator.declared.lock().unwrap().contains_key(topic);
        operator.declare("once", properties([]), Insistence::Once);
        operator.declare("always", properties([]), Insistence::Always);
        operator.has_set_back("once", Insistence::Once);
        operator.has_set_back("always", Insistence::Always);
        assert_eq!(operator.set_back(), 2);
        assert!(!is_declared("once") && is_declared("always"));
    }

    #[test]
    fn what_is_not_declared_is_deleted_and_what_is_as_declared_is_left_alone() {
        let declared = properties([("retention.ms", "1000")]);
        assert_eq!(to_delete(&declared, &declared), None);
        let found = properties([("retention.ms", "-1"), ("cleanup.policy", "delete")]);
        assert_eq!(to_delete(&found, &declared), Some(vec!["cleanup.policy"]));
        assert_eq!(to_delete(&properties([]), &declared), Some(Vec::new()));
    }
}
