//! A simulated Topic Operator: every two seconds it sets topics back to what somebody has declared of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use crate::witness::{Properties, Witness};

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(2);

/// The topics that it looks after.
#[derive(Debug, Default)]
pub struct Operator {
    declared: Mutex<BTreeMap<String, Properties>>,
}

impl Operator {
    /// Looks after a topic from now on.
    pub fn declare(&self, topic: &str, configs: Properties) {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).insert(topic.to_owned(), configs);
    }

    /// Leaves a topic alone from now on.
    pub fn forget(&self, topic: &str) {
        self.declared.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// Sets topics back until it is stopped.
    pub fn run(&self, witness: &Witness, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let declared = self.declared.lock().unwrap_or_else(PoisonError::into_inner).clone();
            for (topic, configs) in declared {
                // A topic that is not there now is looked for again.
                let Ok(found) = witness.describe_topic(&topic) else { continue };
                if let Some(others) = to_delete(&found.configs, &configs) {
                    let _ = witness.alter_topic(&topic, &configs, &others);
                }
            }
            sleep(PERIOD);
        }
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
    fn what_is_not_declared_is_deleted_and_what_is_as_declared_is_left_alone() {
        let declared = properties([("retention.ms", "1000")]);
        assert_eq!(to_delete(&declared, &declared), None);
        let found = properties([("retention.ms", "-1"), ("cleanup.policy", "delete")]);
        assert_eq!(to_delete(&found, &declared), Some(vec!["cleanup.policy"]));
        assert_eq!(to_delete(&properties([]), &declared), Some(Vec::new()));
    }
}
