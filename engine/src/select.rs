//! Which topics and groups a backup takes, from patterns.

use regex::Regex;

/// A regular expression on a whole name; one that is itself a legal name stands for just that name.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    regex: Option<Regex>,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a regular expression: {reason}")]
pub struct PatternError {
    /// The pattern as it was given.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Pattern {
    /// Reads a pattern. `orders.v1` is a name, since dots are legal in names; `orders.*` is an expression.
    ///
    /// # Errors
    /// When it is neither a legal name nor a regular expression.
    pub fn new(text: &str) -> Result<Self, PatternError> {
        let is_name = !text.is_empty()
            && text.len() <= 249
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
        if is_name {
            return Ok(Self { text: text.to_owned(), regex: None });
        }
        let failed = |reason: String| PatternError { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(failed("it is empty".to_owned()));
        }
        let regex = Regex::new(&format!("^(?:{text})$")).map_err(|error| {
            // The library draws a picture over several lines; its last line says what is wrong.
            let reason = error.to_string();
            failed(reason.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned())
        })?;
        Ok(Self { text: text.to_owned(), regex: Some(regex) })
    }

    /// Whether the pattern stands for one name, which must exist.
    pub fn is_literal(&self) -> bool {
        self.regex.is_none()
    }

    /// Whether the whole of `name` fits.
    pub fn matches(&self, name: &str) -> bool {
        self.regex.as_ref().map_or(self.text == name, |regex| regex.is_match(name))
    }

    /// The pattern as it was given.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// What patterns chose.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The chosen names, in order.
    pub names: Vec<String>,
    /// Names that were asked for and are not there.
    pub missing: Vec<String>,
    /// Expressions that fit nothing.
    pub idle: Vec<String>,
}

/// Chooses among `names`: those that a pattern of `include` fits (all when there is none) and no pattern of `exclude`.
pub fn select<'a>(names: impl Iterator<Item = &'a str>, include: &[Pattern], exclude: &[Pattern]) -> Selection {
    let mut used = vec![false; include.len()];
    let mut chosen: Vec<String> = names
        .filter(|name| {
            let mut fits = include.is_empty();
            for (pattern, used) in include.iter().zip(&mut used) {
                if pattern.matches(name) {
                    *used = true;
                    fits = true;
                }
            }
            fits && !exclude.iter().any(|pattern| pattern.matches(name))
        })
        .map(str::to_owned)
        .collect();
    chosen.sort();
    let mut selection = Selection { names: chosen, ..Selection::default() };
    for (pattern, _) in include.iter().zip(used).filter(|(_, used)| !used) {
        let list = if pattern.is_literal() { &mut selection.missing } else { &mut selection.idle };
        list.push(pattern.text.clone());
    }
    selection
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Vec<Pattern> {
        texts.iter().map(|text| Pattern::new(text).unwrap()).collect()
    }

    #[test]
    fn an_expression_fits_the_whole_name() {
        let selection = select(["orders", "orders-eu", "my-orders"].into_iter(), &patterns(&["order(s|z)"]), &[]);
        assert_eq!(selection.names, ["orders"]);
    }

    #[test]
    fn alternatives_are_anchored_on_both_sides() {
        let selection = select(["a1", "xb", "b"].into_iter(), &patterns(&["a|b"]), &[]);
        assert_eq!(selection.names, ["b"]);
    }

    #[test]
    fn a_name_with_dots_is_just_that_name() {
        let selection = select(["orders.v1", "ordersxv1"].into_iter(), &patterns(&["orders.v1"]), &[]);
        assert_eq!(selection.names, ["orders.v1"]);
    }

    #[test]
    fn what_fits_nothing_is_told_apart_from_what_is_missing() {
        let selection = select(["orders"].into_iter(), &patterns(&["gone", "gone.*", "orders"]), &[]);
        assert_eq!(selection.missing, ["gone"]);
        assert_eq!(selection.idle, ["gone.*"]);
    }

    #[test]
    fn exclusion_wins_and_does_not_make_a_name_missing() {
        let selection = select(["orders"].into_iter(), &patterns(&["orders"]), &patterns(&[".*"]));
        assert_eq!(selection, Selection::default());
    }

    #[test]
    fn a_bad_expression_is_one_line() {
        let error = Pattern::new("orders-(").unwrap_err().to_string();
        assert!(!error.contains('\n') && error.contains("orders-("), "{error}");
    }
}
