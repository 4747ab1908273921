//! Conditions, in the two ways in which the groups write them.

use jiff::Timestamp;

use crate::api::condition::Condition;
use crate::decide::text;
use crate::state::Verdict;

/// The type of the condition of a resource that is left alone.
pub const PAUSED: &str = "ReconciliationPaused";

/// How a group writes whether all is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// `Ready` or `NotReady`, whichever holds, with the status `True`: Strimzi's way.
    Strimzi,
    /// `Ready` with the status `True` or `False`: Kubernetes' way.
    Kubernetes,
}

/// The conditions of a resource; `before` are those of its status, whose times stay where nothing has changed.
pub fn conditions(
    style: Style,
    verdict: &Verdict,
    warnings: &[(String, String)],
    before: &[Condition],
    now: Timestamp,
) -> Vec<Condition> {
    let (type_, status) = match (style, verdict.is_ready) {
        (Style::Strimzi, true) | (Style::Kubernetes, true) => ("Ready", "True"),
        (Style::Strimzi, false) => ("NotReady", "True"),
        (Style::Kubernetes, false) => ("Ready", "False"),
    };
    let main = condition(type_, status, &verdict.reason, &verdict.message, before, now);
    let warnings = warnings.iter().map(|(reason, message)| condition("Warning", "True", reason, message, before, now));
    std::iter::once(main).chain(warnings).collect()
}

/// One condition. Its time is that of the one before it that says the same of the same.
pub fn condition(
    type_: &str,
    status: &str,
    reason: &str,
    message: &str,
    before: &[Condition],
    now: Timestamp,
) -> Condition {
    // Of one type there is one condition, but for warnings, which their reasons tell apart.
    let same = before.iter().find(|condition| {
        condition.type_ == type_ && condition.status == status && (type_ != "Warning" || condition.reason == reason)
    });
    Condition {
        type_: type_.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        last_transition_time: same.map_or_else(|| text(now), |condition| condition.last_transition_time.clone()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_condition_keeps_its_time_until_its_status_changes() {
        let running = Verdict::not_ready("BackupRunning", "one");
        let first = conditions(Style::Strimzi, &running, &[], &[], at(1));
        let second = conditions(Style::Strimzi, &Verdict::not_ready("BackupFailed", "two"), &[], &first, at(2));
        assert_eq!(second[0].last_transition_time, first[0].last_transition_time);
        assert_eq!((second[0].reason.as_str(), second[0].message.as_str()), ("BackupFailed", "two"));
        let third = conditions(Style::Strimzi, &Verdict::ready("BackupCompleted", "three"), &[], &second, at(3));
        assert_eq!(third[0].last_transition_time, text(at(3)));
    }

    #[test]
    fn each_group_has_its_own_way_of_not_being_ready() {
        let verdict = Verdict::not_ready("KafkaNotReady", "wait");
        let of = |style| conditions(style, &verdict, &[], &[], at(1))[0].clone();
        assert_eq!((of(Style::Strimzi).type_.as_str(), of(Style::Strimzi).status.as_str()), ("NotReady", "True"));
        assert_eq!((of(Style::Kubernetes).type_.as_str(), of(Style::Kubernetes).status.as_str()), ("Ready", "False"));
    }

    #[test]
    fn warnings_stand_beside_it() {
        let warnings = [("BackupPartial".to_owned(), "group g".to_owned())];
        let all = conditions(Style::Strimzi, &Verdict::ready("BackupScheduled", "next"), &warnings, &[], at(1));
        assert_eq!(all.iter().map(|condition| condition.type_.as_str()).collect::<Vec<_>>(), ["Ready", "Warning"]);
    }
}
