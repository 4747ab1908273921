//! Problems of a backup: of which topic or partition each is, and what it means for a restore. A backup has them as lines of text.

use crate::backup::lines::{self, MAY_HOLD_TWO_LOGS};

/// Whether a problem of the backup names this partition or its topic. Then keys may lack a value, which neither offsets nor holes show.
pub fn lacks_keys(problem: &str, topic: &str, partition: i32) -> bool {
    problem.starts_with(&lines::of_partition(topic, partition, "")) || problem.starts_with(&lines::of_topic(topic, ""))
}

/// Whether a problem of the backup says that this partition may hold records of two logs.
pub fn is_of_two_logs(problem: &str, topic: &str, partition: i32) -> bool {
    lines::partitions(problem, topic)
        .is_some_and(|(partitions, says)| says.contains(MAY_HOLD_TWO_LOGS) && partitions.contains(&partition))
}

/// Whether a problem of the backup says that it lacks the configuration of this topic.
pub fn lacks_configuration(problem: &str, topic: &str) -> bool {
    problem.starts_with(&lines::without_configuration(topic, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_about_partitions_is_known_from_the_function_that_writes_it() {
        for topic in ["orders", "a.b_c-1", "quo\"ted"] {
            let problem = lines::unproven(topic, &[0, 11].into());
            let partitions: Vec<i32> =
                (-1..13).filter(|partition| is_of_two_logs(&problem, topic, *partition)).collect();
            assert_eq!(partitions, [0, 11], "{problem}");
            assert!(!is_of_two_logs(&problem, "order", 0) && !is_of_two_logs(&problem, "orders-0", 0), "{problem}");
            assert!(!lacks_keys(&problem, topic, 0) && !lacks_configuration(&problem, topic), "{problem}");
        }
        let slow = lines::slow_reading("orders", &[0].into(), 2, 3);
        assert!(!is_of_two_logs(&slow, "orders", 0), "{slow}");
    }

    #[test]
    fn a_line_of_one_kind_is_not_taken_for_one_of_another() {
        // As they are in archives.
        let behind = "orders-1: the topic is compacted, and is written to faster than it is read";
        let deleted = "orders-1: the topic was deleted before its reader had caught up with the log";
        let compacted =
            "topic \"orders\": cleanup.policy became compact after the cut, and records are missing between those";
        let not_configured =
            "the configuration of topic \"orders\" is not in the backup: TOPIC_AUTHORIZATION_FAILED (29)";
        let given_up =
            "partition orders-1 is not in the backup: topic \"orders\" partition 1 has no leader that answers";
        for (problem, keys, configuration) in [
            (behind, [false, true], false),
            (deleted, [false, true], false),
            (compacted, [true, true], false),
            (not_configured, [false, false], true),
            (given_up, [false, false], false),
        ] {
            assert_eq!([0, 1].map(|partition| lacks_keys(problem, "orders", partition)), keys, "{problem}");
            assert_eq!(lacks_configuration(problem, "orders"), configuration, "{problem}");
            assert!(!is_of_two_logs(problem, "orders", 1), "{problem}");
            assert!(!lacks_keys(problem, "order", 1) && !lacks_configuration(problem, "order"), "{problem}");
        }
    }
}
