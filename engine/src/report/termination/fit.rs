//! A message that is shortened until Kubernetes keeps all of it.

use serde::Serialize;

use super::{Ended, MESSAGE_BYTES_MAX, RestoreResult, Termination};

/// The most that one line of problems and warnings takes, and one name of a list, in bytes of JSON.
const LINE_BYTES_MAX: usize = 300;
/// The most that the reason of a failure takes, in bytes of JSON.
const REASON_BYTES_MAX: usize = 1000;
/// Entries of a list that are looked at: more than fit in any message.
const ENTRIES_MAX: usize = 100;

impl Termination {
    /// The message, shortened until it fits.
    #[must_use]
    pub(super) fn fitted(mut self) -> Self {
        self.lists().into_iter().for_each(|(list, omitted)| list.shorten_to(ENTRIES_MAX, omitted));
        self.cut_texts();
        while self.to_json().len() > MESSAGE_BYTES_MAX {
            // The list that takes most room loses an entry, so that none crowds the others out.
            let mut lists = self.lists();
            let longest = lists.iter_mut().max_by_key(|(list, _)| list.json_bytes());
            match longest {
                Some((list, omitted)) if !list.is_empty() => list.shorten_to(list.len() - 1, omitted),
                Some(_) | None => break,
            }
        }
        self
    }

    /// Every list, with the count of what it lacks.
    fn lists(&mut self) -> Lists<'_> {
        fn of<'a, R>(ended: &'a mut Ended<R>, of_result: impl FnOnce(&'a mut R) -> Lists<'a>) -> Lists<'a> {
            let Ended { outcome: _, result, problems, problems_omitted, warnings, warnings_omitted, error: _ } = ended;
            let mut lists: Lists<'_> = vec![(problems, problems_omitted), (warnings, warnings_omitted)];
            lists.extend(result.as_mut().map(of_result).into_iter().flatten());
            lists
        }
        match self {
            Self::Backup(ended) => of(ended, |result| vec![(&mut result.pruned, &mut result.pruned_omitted)]),
            Self::Restore(ended) => of(ended, |result| {
                vec![(&mut result.topics, &mut result.topics_omitted), (&mut result.groups, &mut result.groups_omitted)]
            }),
            Self::Prune(ended) => of(ended, |result| vec![(&mut result.removed, &mut result.removed_omitted)]),
            Self::Verify(ended) => of(ended, |_| Vec::new()),
        }
    }

    fn cut_texts(&mut self) {
        fn of<R>(ended: &mut Ended<R>) -> Option<&mut R> {
            let Ended { outcome: _, result, problems, problems_omitted: _, warnings, warnings_omitted: _, error } =
                ended;
            problems.iter_mut().chain(warnings).for_each(|line| cut(line, LINE_BYTES_MAX));
            error.iter_mut().for_each(|error| cut(&mut error.message, REASON_BYTES_MAX));
            result.as_mut()
        }
        match self {
            Self::Backup(ended) => {
                of(ended).into_iter().for_each(|result| cut(&mut result.source_cluster_id, LINE_BYTES_MAX));
            }
            Self::Restore(ended) => {
                if let Some(RestoreResult { target_cluster_id, topics, groups, .. }) = of(ended) {
                    cut(target_cluster_id, LINE_BYTES_MAX);
                    topics.iter_mut().for_each(|topic| cut(&mut topic.name, LINE_BYTES_MAX));
                    groups.iter_mut().for_each(|group| cut(group, LINE_BYTES_MAX));
                }
            }
            Self::Prune(ended) => drop(of(ended)),
            Self::Verify(ended) => drop(of(ended)),
        }
    }
}

/// Lists that may lose entries, each with the count of those that it has lost.
type Lists<'a> = Vec<(&'a mut dyn List, &'a mut usize)>;

/// A list that may lose entries at its end.
trait List {
    fn len(&self) -> usize;
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    fn json_bytes(&self) -> usize;
    fn shorten_to(&mut self, entries: usize, omitted: &mut usize);
}

impl<T: Serialize> List for Vec<T> {
    fn len(&self) -> usize {
        self.len()
    }

    fn json_bytes(&self) -> usize {
        serde_json::to_vec(self).map_or(0, |json| json.len())
    }

    fn shorten_to(&mut self, entries: usize, omitted: &mut usize) {
        *omitted += self.len().saturating_sub(entries);
        self.truncate(entries);
    }
}

/// Cuts a text that takes more than so many bytes in JSON, and shows that something is missing.
pub(super) fn cut(text: &mut String, json_bytes_max: usize) {
    const MORE: char = '…';
    let mut room = json_bytes_max.saturating_sub(MORE.len_utf8());
    let mut fits = 0;
    for (at, letter) in text.char_indices() {
        let bytes = match letter {
            '"' | '\\' => 2,
            '\0'..='\u{1f}' => 6,
            letter => letter.len_utf8(),
        };
        match room.checked_sub(bytes) {
            Some(left) => (room, fits) = (left, at + letter.len_utf8()),
            None => {
                text.truncate(fits);
                text.push(MORE);
                return;
            }
        }
    }
}
