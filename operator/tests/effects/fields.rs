//! Field by field.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::made::{at, children};
use crate::table::{Effect, KINDS, Refused, groups};

/// Whether lines set a field: `[]` stands for any element, `{}` for any entry.
fn sets(lines: &Value, field: &str) -> bool {
    let (part, rest) = field.split_once('.').unwrap_or((field, ""));
    let name = part.trim_end_matches(['[', ']', '{', '}']);
    let mut found = vec![&lines[name]];
    for _ in 0..(part.len() - name.len()) / 2 {
        found = found.into_iter().flat_map(children).collect();
    }
    found.into_iter().any(|value| if rest.is_empty() { !value.is_null() } else { sets(value, rest) })
}

#[test]
fn every_field_does_what_its_row_says() {
    for group in groups() {
        for kind in KINDS {
            for Effect { field, with, set, gives } in group.effects(kind) {
                assert!(sets(set, field), "{field} is not in {set}");
                let [found, without] = group.specs(kind, with, set).map(|spec| group.document(kind, spec));
                assert!(!gives.is_empty(), "{field}");
                for (place, wanted) in gives {
                    assert_eq!(at(&found, place), *wanted, "{} {kind}: {field} at {place}", group.name);
                    assert_ne!(at(&without, place), *wanted, "{} {kind}: so without {field} at {place}", group.name);
                }
            }
        }
    }
}

#[test]
fn what_is_not_run_is_refused_by_its_name() {
    for group in groups() {
        for kind in KINDS {
            for Refused { fields, with, set, says } in group.refused(kind) {
                assert!(fields.iter().all(|field| sets(set, field)), "{fields:?} are not in {set}");
                let [found, without] = group.specs(kind, with, set).map(|spec| group.plan(kind, spec));
                let refusal = found.expect_err(says);
                assert!(refusal.message.contains(says), "{} {kind}: {fields:?}: {refusal}", group.name);
                assert_eq!(without.err(), None, "{} {kind}: without {fields:?}", group.name);
            }
        }
    }
}

#[test]
fn every_field_has_a_row_and_every_row_a_field() {
    for group in groups() {
        let (effects, refused) = group.rows();
        let rows = effects.iter().map(|row| &row.field).chain(refused.iter().flat_map(|row| &row.fields));
        let shown: BTreeSet<String> = rows.cloned().collect();
        let there: BTreeSet<String> = KINDS.into_iter().flat_map(|kind| group.fields(kind)).collect();
        let missing: Vec<_> = there.difference(&shown).collect();
        let unknown: Vec<_> = shown.difference(&there).collect();
        assert!(missing.is_empty(), "{}: no row shows what these do: {missing:?}", group.name);
        assert!(unknown.is_empty(), "{}: no schema has these: {unknown:?}", group.name);
    }
}
