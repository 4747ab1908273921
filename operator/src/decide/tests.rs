//! What is decided, case by case.

use jiff::Timestamp;

use super::*;
use crate::api::history::Outcome;
use crate::api::phase::Phase;
use crate::api::restore_status::{RestoreStatus, RestoredTopic};
use crate::api::run_kind::RunKind;
use crate::build::{RunKey, names, tests_owner};
use crate::observe::RunState;
use crate::plan::{Plan, Refusal};
use crate::state::BackupState;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_770_000_000 + second).unwrap()
}

fn facts(second: i64) -> Facts {
    Facts { generation: 1, trigger: None, is_suspended: false, now: at(second) }
}

fn plan(more: &str) -> Result<Plan, Refusal> {
    let spec = format!(
        "kafkaCluster: {{bootstrapServers: ['kafka:9092']}}\nstorage: {{storageType: s3, s3: {{bucket: backups}}}}\n{more}"
    );
    crate::plan::oso::backup(&tests_owner(), &serde_saphyr::from_str(&spec).unwrap())
}

fn active(key: &RunKey, second: i64) -> ObservedRun {
    ObservedRun {
        job: names::job(&tests_owner(), key),
        kind: Some(key.kind()),
        backup_id: Some("nightly-20260202-030000".to_owned()),
        trigger: match key {
            RunKey::Trigger { value, .. } => Some(value.clone()),
            _ => None,
        },
        limits: None,
        generation: Some(1),
        started_at: at(second),
        is_expiring: false,
        has_begun: true,
        is_going: false,
        state: RunState::Active { pod: None, trouble: None, silent_pod: None, progress: None },
    }
}

fn ended(run: ObservedRun, second: i64, told: &str) -> ObservedRun {
    let termination: Option<kafka_backup::report::Termination> = serde_json::from_str(told).ok();
    let has_failed = told.contains("failed") || told.contains("partial") || told.is_empty();
    let failure =
        has_failed.then(|| Trouble { reason: "PodFailurePolicy".to_owned(), message: "the Job failed".to_owned() });
    ObservedRun { state: RunState::Ended { at: at(second), termination: termination.map(Box::new), failure }, ..run }
}

const COMPLETED: &str = r#"{"run":"backup","outcome":"completed","backupId":"nightly-20260202-030000","archive":"oso.kafka.nightly",
    "sourceClusterId":"c","cutAtMs":1770000001000,"startedAtMs":1770000000000,"durationMs":9000,"records":10,"bytes":1000,"storedBytes":500,
    "topics":1,"partitions":1,"groups":0,"alreadyThere":false,"resumed":false,"archiveBackups":1,"archiveBytes":700,"pruned":[]}"#;
const FAILED: &str =
    r#"{"run":"backup","outcome":"failed","error":{"kind":"denied","message":"broker refused the password"}}"#;

/// The state with these conditions in the status.
fn telling<S: State>(mut state: S, conditions: Vec<Condition>) -> S {
    state.common_mut().conditions = conditions;
    state
}

fn decide(
    facts: &Facts,
    before: &BackupState,
    plan: &Result<Plan, Refusal>,
    runs: &[ObservedRun],
) -> Decision<BackupState> {
    backup::decide(&tests_owner(), facts, before, plan, runs)
}

const ONCE: RunKey = RunKey::Once { generation: 1 };

#[test]
fn a_backup_without_a_schedule_runs_once_whatever_happens_to_its_job() {
    let plan = plan("");
    let first = decide(&facts(0), &BackupState::default(), &plan, &[]);
    let run = first.start.unwrap();
    assert_eq!((run.key.clone(), run.backup_id.as_deref()), (ONCE, Some("nightly-20260202-024000")));
    // Seen twice before the watch has heard of the Job: the same name again.
    assert_eq!(decide(&facts(1), &BackupState::default(), &plan, &[]).start.unwrap().key, run.key);
    let running = decide(&facts(2), &first.state, &plan, &[active(&ONCE, 1)]);
    assert_eq!((running.start, running.state.phase), (None, Phase::Running));
    let done = decide(&facts(10), &running.state, &plan, &[ended(active(&ONCE, 1), 9, COMPLETED)]);
    assert_eq!((done.start.as_ref(), done.state.phase), (None, Phase::Completed));
    assert!(done.verdict.is_ready);
    // The Job is gone, the operator is a new one, the spec is edited: all the same.
    let later = decide(&Facts { generation: 2, ..facts(99) }, &done.state, &plan, &[]);
    assert_eq!(later.start, None);
    assert_eq!(later.state.history, done.state.history);
}

#[test]
fn an_edited_spec_tries_again_after_a_failure_and_not_before() {
    let plan = plan("");
    let failed = decide(&facts(10), &BackupState::default(), &plan, &[ended(active(&ONCE, 1), 9, FAILED)]);
    assert_eq!(failed.start, None);
    assert_eq!((failed.state.phase, failed.verdict.message.as_str()), (Phase::Failed, "broker refused the password"));
    let edited =
        decide(&Facts { generation: 2, ..facts(11) }, &failed.state, &plan, &[ended(active(&ONCE, 1), 9, FAILED)]);
    assert_eq!(edited.start.unwrap().key, RunKey::Once { generation: 2 });
}

#[test]
fn what_has_ended_is_written_down_once() {
    let plan = plan("");
    let runs = [ended(active(&ONCE, 1), 9, COMPLETED)];
    let first = decide(&facts(10), &BackupState::default(), &plan, &runs);
    let second = decide(&facts(11), &first.state, &plan, &runs);
    assert_eq!(second.state, first.state);
    assert!(!first.notes.is_empty() && second.notes.is_empty());
    let totals = &second.state.common.totals;
    assert_eq!((totals.succeeded, totals.records, totals.bytes, totals.seconds), (1, 10, 1000, 8));
    assert_eq!(totals.duration_buckets, [1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(second.state.storage_bytes, Some(700));
}

#[test]
fn what_a_complete_backup_warns_of_is_kept_with_it() {
    let told = COMPLETED.replace("\"pruned\":[]", "\"pruned\":[],\"warnings\":[\"retention: no\"]");
    let made = decide(&facts(10), &BackupState::default(), &plan(""), &[ended(active(&ONCE, 1), 9, &told)]);
    let record = &made.state.history[0];
    assert_eq!((record.outcome, record.message.as_deref()), (Outcome::Success, Some("retention: no")));
    assert_eq!(made.warnings, [("BackupWarning".to_owned(), "retention: no".to_owned())]);
}

#[test]
fn what_a_complete_restore_warns_of_is_told_and_stays() {
    let plan = restore_plan();
    let told = RESTORED.replace("\"durationMs\":1000", "\"durationMs\":1000,\"warnings\":[\"no backup reaches it\"]");
    let before = RestoreStatus::default();
    let done = restore::decide(&facts(10), &before, &plan, &[ended(active(&ONCE, 1), 9, &told)]);
    let warning = ("RestoreWarning".to_owned(), "no backup reaches it".to_owned());
    assert_eq!((done.verdict.is_ready, &done.warnings), (true, &vec![warning.clone()]));
    assert!(done.notes.iter().any(|note| note.is_warning && note.message == warning.1), "{:?}", done.notes);
    let style = crate::status::Style::Strimzi;
    let conditions = crate::status::conditions(style, &done.verdict, &done.warnings, &[], at(10));
    let later = restore::decide(&facts(99), &telling(done.state, conditions), &plan, &[]);
    assert_eq!((later.warnings, later.notes), (vec![warning], vec![]));
}

#[test]
fn what_the_api_server_refuses_is_told_once_for_a_spec_in_its_first_words() {
    let style = crate::status::Style::Kubernetes;
    let refused = |facts: &Facts, before: &BackupState, attempt: &str| {
        let mut decision = decide(facts, before, &plan(""), &[]);
        decision.start = None;
        decision.refuse(Verdict::not_ready("RefusedByKubernetes", attempt), before);
        let conditions = crate::status::conditions(style, &decision.verdict, &decision.warnings, &[], at(1));
        (telling(decision.state, conditions), decision.notes, decision.verdict.message)
    };
    let (first, notes, _) = refused(&facts(1), &BackupState::default(), "attempt 1");
    assert_eq!((notes.len(), first.phase, first.common.conditions.len()), (1, Phase::Failed, 1));
    let (again, notes, message) = refused(&facts(2), &first, "attempt 2");
    assert_eq!((notes.as_slice(), message.as_str()), ([].as_slice(), "attempt 1"));
    assert_eq!(again, first);
    let edited = Facts { generation: 2, ..facts(3) };
    let (_, notes, message) = refused(&edited, &first, "attempt 3");
    assert_eq!((notes.len(), message.as_str()), (1, "attempt 3"));
}

#[test]
fn a_schedule_that_is_refused_hides_nothing_of_the_run_beside_it() {
    let plan = plan("schedule: '0 2 * * *'\n");
    let style = crate::status::Style::Strimzi;
    let trouble = Trouble { reason: "ErrImagePull".to_owned(), message: "no such image".to_owned() };
    let state = RunState::Active { pod: None, trouble: Some(trouble), silent_pod: None, progress: None };
    let stuck = ObservedRun { state, ..active(&RunKey::Trigger { value: "1".to_owned(), generation: 1 }, 1) };
    let look = |before: &BackupState, second| {
        let mut decision = decide(&facts(second), before, &plan, std::slice::from_ref(&stuck));
        decision.refuse(Verdict::not_ready("RefusedByKubernetes", "no room"), before);
        let conditions = crate::status::conditions(style, &decision.verdict, &decision.warnings, &[], at(1));
        let reasons: Vec<_> = decision.notes.into_iter().map(|note| note.reason).collect();
        (telling(decision.state, conditions), reasons)
    };
    let (first, told) = look(&BackupState::default(), 1);
    assert_eq!(
        (first.phase, told.as_slice()),
        (Phase::Running, ["BackupStarted", "ErrImagePull", "RefusedByKubernetes"].map(str::to_owned).as_slice())
    );
    assert_eq!(
        first.common.conditions.iter().map(|told| told.reason.as_str()).collect::<Vec<_>>(),
        ["RefusedByKubernetes", "ErrImagePull"]
    );
    assert_eq!(look(&first, 2), (first, vec![]));
}

#[test]
fn a_partial_backup_is_told_and_is_not_what_a_restore_takes() {
    let told = COMPLETED.replace("\"completed\"", "\"partial\",\"problems\":[\"group g cannot be read\"]");
    let made = decide(&facts(10), &BackupState::default(), &plan(""), &[ended(active(&ONCE, 1), 9, &told)]);
    assert_eq!((made.state.newest.as_ref(), made.state.history[0].outcome), (None, Outcome::Partial));
    assert_eq!((made.verdict.is_ready, made.verdict.reason.as_str()), (true, "BackupPartial"));
    assert_eq!(made.warnings, [("BackupPartial".to_owned(), "group g cannot be read".to_owned())]);
    assert_eq!(made.state.common.totals.partial, 1);
}

#[test]
fn an_archive_is_adopted_only_where_the_plan_is_told_to() {
    let adopts = |plan: &Plan| match &plan.run {
        kafka_backup::config::RunConfig::Backup(backup) => backup.adopt,
        _ => unreachable!("it is a backup"),
    };
    let plan = plan("").unwrap();
    assert!(!adopts(&plan));
    assert!(adopts(&plan.adopting()));
}

#[test]
fn a_trigger_is_acted_on_once_for_each_value_and_waits_for_its_turn() {
    let plan = plan("schedule: '0 2 * * *'\n");
    let triggered = |value: &str, second| Facts { trigger: Some(value.to_owned()), ..facts(second) };
    let key = RunKey::Trigger { value: "1".to_owned(), generation: 1 };
    let scheduled = ObservedRun { job: "nightly-29500000".to_owned(), ..active(&RunKey::Scheduled, 0) };
    let busy = decide(&triggered("1", 1), &BackupState::default(), &plan, std::slice::from_ref(&scheduled));
    assert_eq!(busy.start, None);
    let free = decide(&triggered("1", 2), &busy.state, &plan, &[ended(scheduled, 2, COMPLETED)]);
    assert_eq!(free.start.as_ref().unwrap().key, key);
    let done = decide(&triggered("1", 9), &free.state, &plan, &[ended(active(&key, 3), 8, COMPLETED)]);
    assert_eq!((done.start.as_ref(), done.state.common.bookkeeping.is_last_trigger("1")), (None, true));
    assert_eq!(decide(&triggered("1", 10), &done.state, &plan, &[]).start, None);
    let other = decide(&triggered("2", 11), &done.state, &plan, &[]).start.unwrap().key;
    // A value of before starts nothing, be its Job there or not, and whatever the spec is by now; that is told once.
    let other = decide(&triggered("2", 20), &done.state, &plan, &[ended(active(&other, 12), 19, COMPLETED)]);
    let again = Facts { generation: 2, ..triggered("1", 21) };
    let repeated = decide(&again, &other.state, &plan, &[]);
    let reasons: Vec<_> = repeated.notes.iter().map(|note| note.reason.as_str()).collect();
    assert_eq!((repeated.start, reasons.as_slice()), (None, ["TriggerRepeated"].as_slice()));
    assert_eq!(decide(&again, &repeated.state, &plan, &[]).notes, []);
}

#[test]
fn a_trigger_runs_a_backup_again_that_is_made_once() {
    let plan = plan("");
    let done = decide(&facts(9), &BackupState::default(), &plan, &[ended(active(&ONCE, 1), 8, COMPLETED)]);
    let triggered = Facts { trigger: Some("1".to_owned()), ..facts(10) };
    let again = decide(&triggered, &done.state, &plan, &[]).start.unwrap();
    assert_eq!(again.key, RunKey::Trigger { value: "1".to_owned(), generation: 1 });
}

#[test]
fn the_schedule_is_held_while_another_run_is_under_way() {
    let plan = plan("schedule: '0 2 * * *'\n");
    let triggered = Facts { trigger: Some("1".to_owned()), ..facts(1) };
    let starting = decide(&triggered, &BackupState::default(), &plan, &[]);
    assert_eq!(starting.cron, CronAction::Apply { is_held: true, anew: false });
    let run = active(&RunKey::Trigger { value: "1".to_owned(), generation: 1 }, 1);
    let running = decide(&triggered, &starting.state, &plan, std::slice::from_ref(&run));
    assert_eq!(running.cron, CronAction::Apply { is_held: true, anew: false });
    // The next time is that of the schedule all the same: what is missed is started afterwards.
    assert_eq!(running.verdict.reason, "BackupScheduled");
    let ended = decide(&triggered, &running.state, &plan, &[ended(run, 9, COMPLETED)]);
    assert_eq!(ended.cron, CronAction::Apply { is_held: false, anew: false });
    let scheduled = ObservedRun { job: "nightly-29500000".to_owned(), ..active(&RunKey::Scheduled, 10) };
    let next = decide(&triggered, &ended.state, &plan, std::slice::from_ref(&scheduled));
    assert_eq!(next.cron, CronAction::Apply { is_held: false, anew: false });
    let trouble = Trouble { reason: "FailedMount".to_owned(), message: "no such ConfigMap".to_owned() };
    let state = RunState::Active { pod: None, trouble: Some(trouble), silent_pod: None, progress: None };
    let stuck = decide(&triggered, &next.state, &plan, &[ObservedRun { state, ..scheduled }]);
    assert_eq!(stuck.cron, CronAction::Apply { is_held: false, anew: true });
}

#[test]
fn that_a_run_began_and_what_keeps_it_from_going_on_is_told_once_each() {
    let plan = plan("");
    let reasons = |decision: &Decision<BackupState>| -> Vec<String> {
        decision.notes.iter().map(|note| note.reason.clone()).collect()
    };
    let conditions = |decision: &Decision<BackupState>| {
        let conditions = crate::status::conditions(crate::status::Style::Strimzi, &decision.verdict, &[], &[], at(0));
        telling(decision.state.clone(), conditions)
    };
    let run = active(&ONCE, 1);
    let began = decide(&facts(2), &BackupState::default(), &plan, std::slice::from_ref(&run));
    assert_eq!(reasons(&began), ["BackupStarted"]);
    let trouble = Trouble { reason: "ErrImagePull".to_owned(), message: "no such image".to_owned() };
    let state = RunState::Active { pod: None, trouble: Some(trouble), silent_pod: None, progress: None };
    let stuck = ObservedRun { state, ..run };
    let told = decide(&facts(3), &conditions(&began), &plan, std::slice::from_ref(&stuck));
    assert_eq!((reasons(&told), told.notes[0].is_warning), (vec!["ErrImagePull".to_owned()], true));
    assert_eq!(reasons(&decide(&facts(4), &conditions(&told), &plan, &[stuck])), [""; 0]);
}

#[test]
fn new_limits_prune_once_there_is_a_backup() {
    let none =
        decide(&facts(0), &BackupState::default(), &plan("schedule: '0 2 * * *'\nretention: {backups: 3}\n"), &[]);
    assert_eq!(none.start, None);
    let run = ObservedRun { limits: Some("maxBackups=3".to_owned()), ..active(&RunKey::Scheduled, 1) };
    let plan_of = |backups| plan(&format!("schedule: '0 2 * * *'\nretention: {{backups: {backups}}}\n"));
    let made = decide(&facts(9), &none.state, &plan_of(3), &[ended(run, 8, COMPLETED)]);
    assert_eq!((made.start, made.state.common.bookkeeping.pruned_by.as_deref()), (None, Some("maxBackups=3")));
    let lowered = decide(&facts(10), &made.state, &plan_of(1), &[]);
    assert!(matches!(lowered.start.unwrap().key, RunKey::Prune { limits, .. } if limits == "maxBackups=1"));
}

#[test]
fn a_job_that_was_deleted_while_it_ran_is_a_failure() {
    let plan = plan("schedule: '0 2 * * *'\n");
    let run = ObservedRun { job: "nightly-29500000".to_owned(), ..active(&RunKey::Scheduled, 0) };
    let running = decide(&facts(1), &BackupState::default(), &plan, &[run]);
    let gone = decide(&facts(2), &running.state, &plan, &[]);
    assert_eq!(gone.state.history[0].outcome, Outcome::Failed);
    let later = decide(&facts(3), &gone.state, &plan, &[]).state;
    assert_eq!((later.history.len(), later.common.totals.failed), (1, 1));
    // It was no backup that was lost.
    let prune = RunKey::Prune { limits: "maxBackups=1".to_owned(), generation: 1 };
    let pruning = decide(&facts(4), &BackupState::default(), &plan, &[active(&prune, 4)]);
    let gone = decide(&facts(5), &pruning.state, &plan, &[]).state;
    assert_eq!((gone.history.len(), gone.common.totals.failed), (0, 0));
}

#[test]
fn a_backup_that_was_made_stays_ready_while_old_ones_are_removed() {
    let plan = plan("retention: {backups: 1}\n");
    let made = decide(&facts(9), &BackupState::default(), &plan, &[ended(active(&ONCE, 1), 8, COMPLETED)]);
    assert_eq!(made.verdict.reason, "BackupCompleted");
    let prune = made.start.unwrap().key;
    assert_eq!(prune.kind(), RunKind::Prune);
    let pruning = decide(&facts(10), &made.state, &plan, &[active(&prune, 10)]);
    assert_eq!((pruning.verdict.is_ready, pruning.verdict.reason.as_str()), (true, "BackupCompleted"));
}

#[test]
fn the_schedule_goes_on_while_strimzi_rolls_its_brokers_and_rests_when_something_is_wrong() {
    let waiting = Err(Refusal::waiting("KafkaNotReady", "rolling"));
    let wrong = Err(Refusal::invalid("spec.topics: no"));
    let cron = |plan: &Result<Plan, Refusal>| decide(&facts(0), &BackupState::default(), plan, &[]).cron;
    assert_eq!(cron(&waiting), CronAction::Keep { is_held: false, is_suspended: false });
    assert_eq!(cron(&wrong), CronAction::Keep { is_held: false, is_suspended: true });
    assert_eq!(cron(&plan("schedule: '0 2 * * *'\n")), CronAction::Apply { is_held: false, anew: false });
    let verdict = decide(&facts(0), &BackupState::default(), &waiting, &[]).verdict;
    assert_eq!((verdict.is_ready, verdict.reason.as_str()), (false, "KafkaNotReady"));
    let rests = decide(
        &facts(0),
        &decide(&facts(0), &BackupState::default(), &plan("schedule: '0 2 * * *'\n"), &[]).state,
        &wrong,
        &[],
    );
    assert_eq!(rests.state.next_scheduled_time, None);
    // A schedule that is taken away goes once its run has ended, which would end with it.
    let scheduled = ObservedRun { job: "nightly-29500000".to_owned(), ..active(&RunKey::Scheduled, 0) };
    let cron = |run: ObservedRun| decide(&facts(9), &BackupState::default(), &plan(""), &[run]).cron;
    assert_eq!(cron(scheduled.clone()), CronAction::Keep { is_held: false, is_suspended: true });
    assert_eq!(cron(ended(scheduled, 8, COMPLETED)), CronAction::Delete);
}

#[test]
fn the_next_run_is_told_as_a_time() {
    let decision = decide(&facts(0), &BackupState::default(), &plan("schedule: '0 * * * *'\n"), &[]);
    assert_eq!(decision.state.next_scheduled_time.as_deref(), Some("2026-02-02T03:00:00Z"));
    assert_eq!(decision.verdict.message, "Next backup scheduled for 2026-02-02T03:00:00Z");
}

#[test]
fn jobs_go_only_once_they_are_written_down() {
    let plan = plan("job: {ttlSecondsAfterFinished: 7}\n");
    let decision = decide(&facts(2), &BackupState::default(), &plan, &[active(&ONCE, 1)]);
    assert_eq!(decision.expire, []);
    let run = ended(active(&ONCE, 1), 9, COMPLETED);
    let decision = decide(&facts(10), &decision.state, &plan, std::slice::from_ref(&run));
    assert_eq!(decision.expire, [(run.job.clone(), 7)]);
    let told = ObservedRun { is_expiring: true, ..run };
    assert_eq!(decide(&facts(11), &decision.state, &plan, &[told]).expire, []);
}

#[test]
fn of_jobs_that_nobody_limits_the_newest_stay() {
    let key = |value: i64| RunKey::Trigger { value: value.to_string(), generation: 1 };
    let mut runs: Vec<_> = (0..7).map(|value| ended(active(&key(value), value), value + 1, COMPLETED)).collect();
    let oldest: Vec<_> = runs[..2].iter().rev().map(|run| (run.job.clone(), 0)).collect();
    assert_eq!(decide(&facts(10), &BackupState::default(), &plan(""), &runs).expire, oldest);
    runs.iter_mut().for_each(|run| run.kind = Some(RunKind::Scheduled));
    assert_eq!(decide(&facts(10), &BackupState::default(), &plan(""), &runs).expire, []);
}

#[test]
fn what_could_not_be_done_yet_is_told_beside_the_rest_in_its_first_words() {
    let style = crate::status::Style::Kubernetes;
    let look = |before: &BackupState, error: &str| {
        let mut decision = decide(&facts(1), before, &plan(""), &[]);
        decision.put_off(error, before);
        let conditions = crate::status::conditions(style, &decision.verdict, &decision.warnings, &[], at(1));
        (telling(decision.state, conditions), decision.notes.len())
    };
    let (first, notes) = look(&BackupState::default(), "webhook timed out after 10.1 s");
    let warning = &first.common.conditions[1];
    assert_eq!(
        (notes, warning.reason.as_str(), warning.message.as_str()),
        (1, "KubernetesError", "webhook timed out after 10.1 s")
    );
    assert_eq!(look(&first, "webhook timed out after 10.3 s"), (first.clone(), 0));
    assert_eq!(look(&first, "no route to host"), (first, 0));
}

#[test]
fn a_restore_that_could_not_be_started_yet_says_so_once_and_no_more_when_it_is() {
    let style = crate::status::Style::Kubernetes;
    let look = |before: &RestoreStatus, error: Option<&str>| {
        let mut decision = restore::decide(&facts(1), before, &restore_plan(), &[]);
        if let Some(error) = error {
            decision.put_off(error, before);
        }
        let conditions = crate::status::conditions(style, &decision.verdict, &decision.warnings, &[], at(1));
        telling(decision.state, conditions)
    };
    let first = look(&RestoreStatus::default(), Some("webhook timed out"));
    assert_eq!(first.common.conditions.len(), 2);
    assert_eq!(look(&first, Some("webhook timed out")), first);
    assert_eq!(look(&first, None).common.conditions.len(), 1);
}

#[test]
fn a_run_that_is_written_down_stays_so_while_its_job_and_its_pods_go() {
    let schedule = plan("schedule: '0 2 * * *'\n");
    let key = RunKey::Trigger { value: "1".to_owned(), generation: 1 };
    let triggered = |generation, second| Facts { generation, trigger: Some("1".to_owned()), ..facts(second) };
    let run = ended(active(&key, 1), 9, COMPLETED);
    let done = decide(&triggered(1, 10), &BackupState::default(), &schedule, std::slice::from_ref(&run));
    let going = ObservedRun { is_going: true, has_begun: false, ..run };
    let edited = decide(&triggered(2, 11), &done.state, &schedule, std::slice::from_ref(&going));
    assert_eq!((edited.start.as_ref(), edited.replace.as_slice()), (None, [].as_slice()));
    assert_eq!(decide(&triggered(2, 12), &edited.state, &schedule, &[]).start, None);
    // Nor is a result lost that nobody has seen before.
    let unseen = decide(&triggered(2, 11), &BackupState::default(), &schedule, &[going]);
    assert_eq!((unseen.start.as_ref(), unseen.state.history.len()), (None, 1));
}

fn restore_plan() -> Result<Plan, Refusal> {
    let spec = "backupId: nightly-20260202-030000\ntargetCluster: {bootstrapServers: ['kafka:9092']}\nstorage: {storageType: s3, s3: {bucket: backups}}\n";
    crate::plan::oso::restore(&tests_owner(), &serde_saphyr::from_str(spec).unwrap(), None)
}

const RESTORED: &str = r#"{"run":"restore","outcome":"completed","restoreId":"r","backupId":"nightly-20260202-030000","archive":"a",
    "targetClusterId":"c","planned":false,"alreadyRestored":false,"records":10,"bytes":1000,"topics":[{"name":"orders","records":10}],
    "groups":["g"],"durationMs":1000}"#;

#[test]
fn a_restore_is_made_once_and_what_came_of_it_is_final() {
    let plan = restore_plan();
    let first = restore::decide(&facts(0), &RestoreStatus::default(), &plan, &[]);
    assert_eq!(first.start.unwrap().key, ONCE);
    let running = restore::decide(&facts(2), &first.state, &plan, &[active(&ONCE, 1)]);
    assert_eq!((running.start.as_ref(), running.state.start_time.is_some()), (None, true));
    let done = restore::decide(&facts(10), &running.state, &plan, &[ended(active(&ONCE, 1), 9, RESTORED)]);
    assert_eq!((done.state.phase, done.state.restored_records), (Phase::Completed, Some(10)));
    assert_eq!(done.state.restored_topics, [RestoredTopic { name: "orders".to_owned(), records: 10 }]);
    // The Job is gone, and with it the note that its result was written down.
    let later = restore::decide(&facts(99), &done.state, &plan, &[]);
    let mut known = done.state;
    known.common.bookkeeping = later.state.common.bookkeeping.clone();
    assert_eq!((later.start, later.state), (None, known));
}

#[test]
fn how_far_a_restore_is_stays_told_while_its_pod_is_silent() {
    let progress = crate::api::history::Progress {
        percent: Some(40),
        records: 4,
        bytes: 400,
        bytes_per_second: 100,
        eta_seconds: Some(6),
    };
    let state = RunState::Active { pod: None, trouble: None, silent_pod: None, progress: Some(progress) };
    let telling = ObservedRun { state, ..active(&ONCE, 1) };
    let running = restore::decide(&facts(2), &RestoreStatus::default(), &restore_plan(), &[telling]);
    assert_eq!((running.state.phase, running.state.progress), (Phase::Running, Some(40)));
    let silent = restore::decide(&facts(3), &running.state, &restore_plan(), &[active(&ONCE, 1)]);
    assert_eq!((silent.state.progress, silent.state.common.active_run), (Some(40), running.state.common.active_run));
}

#[test]
fn a_failed_restore_is_not_tried_again() {
    let plan = restore_plan();
    let told = FAILED.replace("backup", "restore");
    let failed = restore::decide(&facts(10), &RestoreStatus::default(), &plan, &[ended(active(&ONCE, 1), 9, &told)]);
    assert_eq!((failed.state.phase, failed.verdict.message.as_str()), (Phase::Failed, "broker refused the password"));
    let edited = restore::decide(&Facts { generation: 2, ..facts(11) }, &failed.state, &plan, &[]);
    assert_eq!((edited.start, edited.state.phase), (None, Phase::Failed));
}

#[test]
fn a_restore_whose_job_was_deleted_has_failed() {
    let plan = restore_plan();
    let running = restore::decide(&facts(2), &RestoreStatus::default(), &plan, &[active(&ONCE, 1)]);
    let gone = restore::decide(&facts(3), &running.state, &plan, &[]);
    assert_eq!((gone.start, gone.state.phase), (None, Phase::Failed));
}

#[test]
fn a_run_that_never_began_makes_room_for_an_edited_spec() {
    let edited = |second| Facts { generation: 2, trigger: Some("1".to_owned()), ..facts(second) };
    let trouble = Trouble { reason: "FailedMount".to_owned(), message: "no such Secret".to_owned() };
    let stuck = |key: &RunKey| ObservedRun {
        has_begun: false,
        state: RunState::Active { pod: None, trouble: Some(trouble.clone()), silent_pod: None, progress: None },
        ..active(key, 1)
    };
    let stuck_trigger = stuck(&RunKey::Trigger { value: "1".to_owned(), generation: 1 });
    let stuck = stuck(&ONCE);
    let before = decide(&facts(2), &BackupState::default(), &plan(""), std::slice::from_ref(&stuck));
    assert_eq!(before.replace, [""; 0]);
    let replaced = decide(&edited(3), &before.state, &plan(""), std::slice::from_ref(&stuck));
    assert_eq!((replaced.replace.as_slice(), replaced.start.as_ref()), ([stuck.job.clone()].as_slice(), None));
    assert_eq!(replaced.notes.iter().map(|note| note.reason.as_str()).collect::<Vec<_>>(), ["BackupReplaced"]);
    // While the Job is on its way out nothing is told again, whatever becomes of the plan and of its pod, and once it is gone it was no failure.
    let waiting = Err(Refusal::waiting("KafkaNotReady", "rolling"));
    let failed = ended(ObservedRun { is_going: true, ..stuck.clone() }, 4, "");
    let unlucky = decide(&edited(4), &replaced.state, &waiting, &[failed]);
    assert_eq!((unlucky.state.history.len(), unlucky.state.common.totals.failed), (0, 0));
    let state = RunState::Active { pod: None, trouble: None, silent_pod: None, progress: None };
    let going = ObservedRun { is_going: true, state, ..stuck };
    assert_eq!(decide(&edited(4), &replaced.state, &plan(""), &[going]).notes, []);
    let gone = decide(&edited(5), &replaced.state, &plan(""), &[]);
    assert_eq!((gone.start.unwrap().key, gone.state.common.totals.failed), (RunKey::Once { generation: 2 }, 0));

    // One that has begun goes on, as does one that only takes its time; one that was triggered is triggered again.
    let starting = ObservedRun { has_begun: false, ..active(&ONCE, 1) };
    for goes_on in [active(&ONCE, 1), starting] {
        assert_eq!(decide(&edited(6), &before.state, &plan(""), &[goes_on]).replace, [""; 0]);
    }
    let schedule = plan("schedule: '0 2 * * *'\n");
    let replaced = decide(&edited(7), &BackupState::default(), &schedule, &[stuck_trigger]);
    let again = RunKey::Trigger { value: "1".to_owned(), generation: 2 };
    assert_eq!(decide(&edited(8), &replaced.state, &schedule, &[]).start.unwrap().key, again);
}

#[test]
fn a_run_that_nobody_has_seen_to_its_end_is_no_failure_where_later_ones_have_ended() {
    let plan = plan("schedule: '0 2 * * *'\n");
    let run = |job: &str, second| ObservedRun { job: job.to_owned(), ..active(&RunKey::Scheduled, second) };
    let running = decide(&facts(1), &BackupState::default(), &plan, &[run("nightly-29500000", 0)]);
    let later = decide(&facts(99), &running.state, &plan, &[ended(run("nightly-29500060", 60), 90, COMPLETED)]);
    assert_eq!((later.state.history.len(), later.state.common.totals.failed), (1, 0));
    assert_eq!(later.verdict.reason, "BackupScheduled");
}

#[test]
fn a_backup_whose_result_nobody_has_read_can_be_restored_all_the_same() {
    let run = ended(active(&ONCE, 1), 9, "unread");
    let made = decide(&facts(10), &BackupState::default(), &plan(""), &[run]);
    assert_eq!(made.state.newest.map(|newest| newest.id).as_deref(), Some("nightly-20260202-030000"));
    let job = "nightly-29515110".to_owned();
    let run = ended(ObservedRun { job, backup_id: None, ..active(&RunKey::Scheduled, 1) }, 9, "unread");
    let made = decide(&facts(10), &BackupState::default(), &plan("schedule: '0 2 * * *'\n"), &[run]);
    assert_eq!(made.state.newest.map(|newest| newest.id).as_deref(), Some("nightly-20260212-143000"));
}

#[test]
fn pruning_that_failed_is_tried_again_when_the_spec_is_edited_and_hides_nothing() {
    let plan = plan("schedule: '0 2 * * *'\nretention: {backups: 1}\n");
    let newest = crate::state::Newest { id: "a".to_owned(), ..crate::state::Newest::default() };
    let before = BackupState { newest: Some(newest), ..BackupState::default() };
    let key = RunKey::Prune { limits: "maxBackups=1".to_owned(), generation: 1 };
    assert_eq!(decide(&facts(0), &before, &plan, &[]).start.unwrap().key, key);
    let run = ObservedRun { limits: Some("maxBackups=1".to_owned()), ..active(&key, 1) };
    let failed = decide(&facts(3), &before, &plan, &[ended(run, 2, "")]);
    let gone = decide(&facts(4), &failed.state, &plan, &[]);
    assert_eq!(gone.start, None);
    let edited = decide(&Facts { generation: 2, ..facts(5) }, &gone.state, &plan, &[]);
    assert!(matches!(edited.start.unwrap().key, RunKey::Prune { generation: 2, .. }));
}

#[test]
fn a_plan_that_waits_holds_no_schedule_and_tells_no_time_that_is_past() {
    let schedule = plan("schedule: '0 * * * *'\n");
    let waiting = Err(Refusal::waiting("KafkaNotReady", "rolling"));
    let before = decide(&facts(0), &BackupState::default(), &schedule, &[]).state;
    let run = active(&RunKey::Trigger { value: "1".to_owned(), generation: 1 }, 1);
    assert_eq!(
        decide(&facts(1), &before, &waiting, &[run]).cron,
        CronAction::Keep { is_held: true, is_suspended: false }
    );
    let soon = decide(&facts(2), &before, &waiting, &[]);
    assert_eq!(
        (soon.cron, &soon.state.next_scheduled_time),
        (CronAction::Keep { is_held: false, is_suspended: false }, &before.next_scheduled_time)
    );
    assert_eq!(decide(&facts(3600), &before, &waiting, &[]).state.next_scheduled_time, None);
    // Who suspends it meanwhile is heard, though nothing else of the spec can be acted on.
    let suspending = decide(&Facts { is_suspended: true, ..facts(2) }, &before, &waiting, &[]);
    assert_eq!(suspending.cron, CronAction::Keep { is_held: false, is_suspended: true });
}
