//! How a run begins: what is asked for, what the target looks like, and what an earlier run of the same restore has decided.

use std::collections::BTreeSet;

use super::error::listed;
use super::journal::{Intent, Journal, Prepared, PreparedTopic, Request};
use super::left::Touched;
use super::plan::{self, Earlier, Plan, TargetFacts, TopicPlan};
use super::rehearsal::Rehearsal;
use super::{Begun, Error, Planned, Restore, is_kept, others, target};
use crate::config::restore::ExistingTopics;
use crate::format::layout::RestoreId;
use crate::format::manifest::TopicSummary;

/// The journal of a restore, and what it holds.
struct Found {
    journal: Journal,
    intent: Option<Intent>,
    prepared: Option<Prepared>,
    /// Why it is not the journal that the request alone leads to.
    again: Option<String>,
    /// Why nothing may be appended by it.
    refusal: Option<String>,
}

impl Restore<'_> {
    /// Finds out what is asked for, what the target looks like, and what an earlier run of the same restore has decided.
    pub(super) async fn begin(&self, at_ms: i64) -> Result<Begun, Error> {
        let not_there = |reasons| Error::NotInBackup { backup_id: self.manifest.backup_id.clone(), reasons };
        let topics = plan::wanted_topics(&self.manifest, self.config).map_err(not_there)?;
        let groups = plan::wanted_groups(&self.manifest, self.config).map_err(not_there)?;
        let request = self.request(&topics);
        let id = self.config.config.restore_id.clone().unwrap_or_else(|| request.default_id());
        let mut journal = Journal::new(self.archive.store.clone(), &self.archive.keys, id.clone());
        let begun = async {
            journal = self.last_begun(&id).await?;
            // A dry run proves it too: lease and journal are in the archive.
            self.archive.store.check_writable(&self.archive.keys.write_check()).await?;
            let facts = target::facts(&self.cluster, &topics, &groups).await?;
            // The journal is read after the target: whoever created the topics that were seen had written it before.
            let found = self.journal(&id, &request).await?;
            journal = found.journal.clone();
            self.decide(found, request, &topics, &groups, facts, at_ms).await
        };
        let begun = tokio::select! {
            begun = begun => begun,
            () = self.patience() => Err(Error::Interrupted),
        };
        match begun {
            Ok(begun) => Ok(begun),
            // An earlier run may have been killed before it could say anything.
            Err(error) => Err(self.left_by_any_run(error, &journal).await),
        }
    }

    /// Plans what an earlier run of the restore has decided, or decides it.
    async fn decide(
        &self,
        found: Found,
        request: Request,
        topics: &[(&TopicSummary, String)],
        groups: &[(String, String)],
        facts: TargetFacts,
        at_ms: i64,
    ) -> Result<Begun, Error> {
        let Found { journal, intent, prepared, again, refusal } = found;
        let done = journal.done().await?;
        self.has_touched(Touched::new(done.is_some(), intent.as_ref(), prepared.as_ref()));
        let ids = facts.existing.iter().map(|(name, topic)| (name.clone(), topic.id)).collect();
        let created = intent.as_ref().map(|intent| intent.created(&ids).0.into_iter().map(str::to_owned).collect());
        let created: BTreeSet<String> = created.unwrap_or_default();
        let policy = intent.as_ref().and_then(|intent| intent.existing_topics);
        let earlier = Earlier {
            actions: intent.as_ref().map(|intent| intent.actions.clone()).unwrap_or_default(),
            groups: done.iter().flat_map(|done| &done.groups).map(|group| group.target.clone()).collect(),
            has_prepared: prepared.is_some(),
        };
        let mut plan = plan::make(&self.manifest, topics, groups, self.config, &facts, &earlier, at_ms);
        plan.warnings.extend(self.warnings.iter().cloned());
        plan.warnings.extend(again);
        plan.refusals.extend(refusal);
        let policy_now = self.config.config.existing_topics;
        if done.is_some() {
            plan.warnings.extend(other_policy(&journal.id, policy, policy_now));
        }
        if prepared.is_none() {
            // What was decided under another policy may delete topics that this one keeps.
            plan.refusals.extend(begun_otherwise(&journal.id, policy, policy_now));
            let kept = plan.topics.iter().filter(|topic| is_kept(topic));
            let kept = kept.filter_map(|topic| Some((topic.target.as_str(), facts.existing.get(&topic.target)?)));
            let holding = others::holding(&self.archive, &journal.id, &facts.cluster_id, &kept.collect()).await?;
            plan.refusals.extend(holding.refusals);
            plan.warnings.extend(holding.warnings);
            let (cluster, start_ms) = (&self.cluster, self.config.start_ms);
            Rehearsal { cluster, sources: topics, facts: &facts, created: &created, start_ms, at_ms }
                .of(&mut plan)
                .await?;
            plan.refusals.extend(self.expiring(&plan, &facts, at_ms).await?);
        }
        let is_resumed = prepared.is_some();
        Ok(Begun { journal, intent, prepared, planned: Planned { request, plan, facts, is_resumed } })
    }

    /// Why topics must not be overwritten under a retention that the restore cannot lift, in one line each.
    async fn expiring(&self, plan: &Plan, facts: &TargetFacts, at_ms: i64) -> Result<Vec<String>, Error> {
        let limited = |topic: &TopicPlan| plan::protection::limited_retention(topic, facts);
        if !plan.refusals.is_empty() || !plan.topics.iter().any(|topic| limited(topic).is_some()) {
            return Ok(Vec::new());
        }
        let (runs, start_ms) = (self.runs(plan).await?, self.config.start_ms);
        let expiring = plan.topics.iter().filter_map(|topic| {
            let of_topic = runs.contents(&topic.source.name);
            plan::protection::expiring_runs(&topic.target, limited(topic)?, of_topic, start_ms, at_ms)
        });
        Ok(expiring.collect())
    }

    fn request(&self, topics: &[(&TopicSummary, String)]) -> Request {
        let names = topics.iter().map(|(source, target)| (source.topic.name.clone(), target.clone()));
        Request {
            backup_id: self.manifest.backup_id.clone(),
            target_cluster_id: self.cluster.cluster_id().unwrap_or_default(),
            topics: names.collect(),
            point_in_time_ms: self.config.point_in_time_ms,
            start_ms: self.config.start_ms,
            original_offset_header: self.config.config.original_offset_header.clone(),
            partition_mapping: self.config.config.partition_mapping.clone(),
        }
    }

    /// The last of the journals that a restore of this name has begun, under its name with a number as well; or else that of its name.
    async fn last_begun(&self, first: &RestoreId) -> Result<Journal, Error> {
        let of = |id| Journal::new(self.archive.store.clone(), &self.archive.keys, id);
        let mut last = of(first.clone());
        for attempt in 2.. {
            let Ok(id) = format!("{first}-{attempt}").parse() else { break };
            let next = of(id);
            if next.begun().await?.is_none() {
                break;
            }
            last = next;
        }
        self.has_touched(Touched::read(&last).await?);
        Ok(last)
    }

    /// The journal of this restore. Topics that were deleted or replaced since make it another restore: its name gets a
    /// number.
    async fn journal(&self, first: &RestoreId, request: &Request) -> Result<Found, Error> {
        let mut id = first.clone();
        let (mut again, mut refusal) = (None, None);
        for attempt in 2.. {
            let journal = Journal::new(self.archive.store.clone(), &self.archive.keys, id);
            let intent = journal.intent(request).await?;
            let prepared = journal.prepared().await?;
            if journal.is_abandoned().await? {
                if let Some(written) = &prepared {
                    let changed = target::changed(&self.cluster, written).await?;
                    refusal = self.written_before(&journal.id, written, &changed).await?;
                }
                again = Some(format!("restore {} was abandoned, so that this is another restore", journal.id));
            } else if self.was_of_another_backup(&journal, intent.as_ref(), prepared.as_ref()).await? {
                again = Some(format!(
                    "restore {} was one of another backup of the id {}, so that this is another restore",
                    journal.id, self.manifest.backup_id
                ));
            } else {
                let changed = match &prepared {
                    Some(prepared) => target::changed(&self.cluster, prepared).await?,
                    None => Vec::new(),
                };
                let Some(written) = prepared.as_ref().filter(|_| !changed.is_empty()) else {
                    // One that was begun since has been decided on with all this in view.
                    let refusal = refusal.filter(|_| intent.is_none());
                    return Ok(Found { journal, intent, prepared, again, refusal });
                };
                let not_given_back = self.not_given_back(&journal).await?;
                let written_before = self.written_before(&journal.id, written, &changed).await?;
                let refusals: Vec<String> = [not_given_back, written_before].into_iter().flatten().collect();
                refusal = (!refusals.is_empty()).then(|| refusals.join("; "));
                again = Some(format!(
                    "topics were deleted or created again since restore {} wrote to them, so that this is another restore: {}",
                    journal.id,
                    changed.join(", ")
                ));
            }
            id = format!("{first}-{attempt}").parse().map_err(|_| Error::NoIdLeft { first: first.clone() })?;
        }
        Err(Error::NoIdLeft { first: first.clone() })
    }

    /// Whether a restore was begun with a backup that was deleted since, and whose id this one has. Of a restore that has ended, the
    /// list of what it wrote to goes with its backup.
    async fn was_of_another_backup(
        &self,
        journal: &Journal,
        intent: Option<&Intent>,
        prepared: Option<&Prepared>,
    ) -> Result<bool, Error> {
        let Some(intent) = intent else { return Ok(false) };
        let is_another = intent.backup_cut_at_ms.is_some_and(|cut_at_ms| cut_at_ms != self.manifest.cut_at_ms);
        Ok(is_another || (prepared.is_none() && journal.done().await?.is_some()))
    }

    /// Why the same command may not append to, or overwrite, its topics again, when an earlier restore was abandoned, or some of its
    /// topics are others now: the topics that are not `changed` hold its records, and whatever was written since.
    async fn written_before(
        &self,
        id: &RestoreId,
        prepared: &Prepared,
        changed: &[String],
    ) -> Result<Option<String>, Error> {
        let again = match self.config.config.existing_topics {
            // Topics that hold records are refused in any case.
            ExistingTopics::Fail => return Ok(None),
            ExistingTopics::Append => "append them a second time",
            ExistingTopics::Overwrite => "delete them, with all that was written since",
        };
        let unchanged: Vec<&PreparedTopic> =
            prepared.topics.iter().filter(|topic| !changed.contains(&topic.target)).collect();
        let landed: Vec<String> =
            target::landed(&self.cluster, &unchanged).await?.iter().map(|topic| format!("{topic:?}")).collect();
        Ok((!landed.is_empty()).then(|| {
            format!(
                "restore {id} has written records to {} topics that are still the same, and the same command would {again}: leave \
                 these topics out (--topics, --exclude-topics) to restore the others, or give another restoreId to restore all: {}",
                landed.len(),
                listed(&landed)
            )
        }))
    }
}

/// Why a restore that was begun is not gone on with: its decisions were made under another policy.
fn begun_otherwise(id: &RestoreId, then: Option<ExistingTopics>, now: ExistingTopics) -> Option<String> {
    then.filter(|then| *then != now).map(|then| {
        format!(
            "restore {id} was begun with --existing-topics {then}, and not with {now}: give {then} to complete it, or end it with \
             restore --abandon {id}"
        )
    })
}

/// A restore's name does not tell what was to be done with topics that were there; who asks for something else now, and gets
/// nothing, is told.
fn other_policy(id: &RestoreId, then: Option<ExistingTopics>, now: ExistingTopics) -> Option<String> {
    then.filter(|then| *then != now).map(|then| {
        format!(
            "restore {id} has ended, with --existing-topics {then}: nothing is done with {now}; give another --restore-id to \
             restore again"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_policy_than_that_of_a_restore_that_has_ended_is_told() {
        let id: RestoreId = "r".parse().unwrap();
        let told = |then, now| other_policy(&id, then, now);
        assert_eq!(told(Some(ExistingTopics::Append), ExistingTopics::Append), None);
        assert_eq!(told(None, ExistingTopics::Append), None, "an older journal does not know");
        let text = told(Some(ExistingTopics::Append), ExistingTopics::Overwrite).unwrap();
        assert!(text.contains("with --existing-topics append: nothing is done with overwrite"), "{text}");
        let text = begun_otherwise(&id, Some(ExistingTopics::Overwrite), ExistingTopics::Fail).unwrap();
        assert!(text.contains("begun with --existing-topics overwrite") && text.contains("--abandon r"), "{text}");
        assert_eq!(begun_otherwise(&id, Some(ExistingTopics::Fail), ExistingTopics::Fail), None);
    }
}
