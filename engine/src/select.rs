//! Which topics and groups a backup takes, from patterns.

use std::collections::BTreeSet;

use regex::{RegexSet, RegexSetBuilder};
use regex_syntax::ast;

/// How deep groups and classes of an expression may nest.
const NEST_MAX: u32 = 50;
/// Memory of the expressions of one setting, compiled, in bytes. An expression of a few bytes like `\w{200}` takes a thousand times more.
const COMPILED_BYTES_MAX: usize = 32 << 20;

/// The patterns of one setting. Each is a regular expression on a whole name; one that is itself a legal name stands for just that name.
#[derive(Debug, Clone, Default)]
pub struct Patterns {
    /// As they were given.
    texts: Vec<String>,
    names: BTreeSet<String>,
    /// In the order of the set.
    expressions: Vec<String>,
    set: RegexSet,
}

/// Why a pattern cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It cannot be read.
    #[error("{text:?} is not a regular expression: {reason}")]
    Syntax {
        /// The pattern as it was given.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It takes too much memory.
    #[error(
        "{0:?}, with the expressions before it, takes more than {limit} MiB of memory: repeat classes like \\w fewer times, or give fewer expressions",
        limit = COMPILED_BYTES_MAX >> 20
    )]
    TooLarge(String),
}

impl Patterns {
    /// Reads patterns. `orders.v1` is a name, since dots are legal in names; `orders.*` is an expression.
    ///
    /// # Errors
    /// When one is neither a legal name nor a regular expression, or when they take too much memory.
    pub fn new(texts: &[String]) -> Result<Self, PatternError> {
        Self::check(texts)?;
        let (names, expressions): (Vec<String>, Vec<String>) = texts.iter().cloned().partition(|text| is_name(text));
        let set = compile(&expressions).map_err(|error| {
            // As many as can be compiled together are not to blame.
            let counts: Vec<usize> = (1..=expressions.len()).collect();
            let fit = counts.partition_point(|count| compile(&expressions[..*count]).is_ok());
            let text = expressions[fit].clone();
            match error {
                regex::Error::CompiledTooBig(_) => PatternError::TooLarge(text),
                other => PatternError::Syntax { text, reason: last_line(&other.to_string()) },
            }
        })?;
        Ok(Self { texts: texts.to_vec(), names: names.into_iter().collect(), expressions, set })
    }

    /// Whether patterns can be read, at the cost of reading them: what an expression of a few bytes takes when it is compiled
    /// is up to whoever compiles it.
    ///
    /// # Errors
    /// When one is neither a legal name nor a regular expression.
    pub fn check(texts: &[String]) -> Result<(), PatternError> {
        texts.iter().filter(|text| !is_name(text)).try_for_each(|text| {
            let failed = |reason: &str| PatternError::Syntax { text: text.clone(), reason: last_line(reason) };
            if text.is_empty() {
                return Err(failed("it is empty"));
            }
            let mut parser = ast::parse::ParserBuilder::new().nest_limit(NEST_MAX).build();
            parser.parse(text).map(drop).map_err(|error| failed(&error.to_string()))
        })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// Whether all of them stand for one name each, which must exist.
    pub fn are_names(&self) -> bool {
        self.expressions.is_empty()
    }

    /// Whether one of them is this name.
    pub fn names(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Those that fit the whole of `name`.
    fn that_fit(&self, name: &str) -> impl Iterator<Item = &str> {
        let expressions = self.set.matches(name).into_iter().map(|index| &self.expressions[index]);
        self.names.get(name).into_iter().chain(expressions).map(String::as_str)
    }
}

fn is_name(text: &str) -> bool {
    (1..=249).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

fn compile(expressions: &[String]) -> Result<RegexSet, regex::Error> {
    let whole = expressions.iter().map(|text| format!("^(?:{text})$"));
    RegexSetBuilder::new(whole).nest_limit(NEST_MAX + 1).size_limit(COMPILED_BYTES_MAX).build()
}

/// The library draws a picture over several lines; its last line says what is wrong.
fn last_line(error: &str) -> String {
    error.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
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
pub fn select<'a>(names: impl Iterator<Item = &'a str>, include: &Patterns, exclude: &Patterns) -> Selection {
    let mut used = BTreeSet::new();
    let mut chosen: Vec<String> = names
        .filter(|name| {
            let mut fits = include.is_empty();
            for pattern in include.that_fit(name) {
                used.insert(pattern);
                fits = true;
            }
            fits && exclude.that_fit(name).next().is_none()
        })
        .map(str::to_owned)
        .collect();
    chosen.sort();
    let unused = include.texts.iter().filter(|text| !used.contains(text.as_str())).cloned();
    let (missing, idle) = unused.partition(|text| is_name(text));
    Selection { names: chosen, missing, idle }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> Patterns {
        Patterns::new(&owned(texts)).unwrap()
    }

    fn owned(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn none() -> Patterns {
        Patterns::default()
    }

    #[test]
    fn an_expression_fits_the_whole_name() {
        let selection = select(["orders", "orders-eu", "my-orders"].into_iter(), &patterns(&["order(s|z)"]), &none());
        assert_eq!(selection.names, ["orders"]);
    }

    #[test]
    fn alternatives_are_anchored_on_both_sides() {
        let selection = select(["a1", "xb", "b"].into_iter(), &patterns(&["a|b"]), &none());
        assert_eq!(selection.names, ["b"]);
        // What would end the group that anchors them is no expression by itself.
        assert!(Patterns::check(&owned(&["a)|(?:b"])).is_err());
    }

    #[test]
    fn a_name_with_dots_is_just_that_name() {
        let selection = select(["orders.v1", "ordersxv1"].into_iter(), &patterns(&["orders.v1"]), &none());
        assert_eq!(selection.names, ["orders.v1"]);
    }

    #[test]
    fn what_fits_nothing_is_told_apart_from_what_is_missing() {
        let wanted = patterns(&["gone", "gone.*", "orders", "orders", "(orders|x)", "o.*"]);
        let selection = select(["orders"].into_iter(), &wanted, &none());
        assert_eq!(
            selection,
            Selection { names: owned(&["orders"]), missing: owned(&["gone"]), idle: owned(&["gone.*"]) }
        );
    }

    #[test]
    fn exclusion_wins_and_does_not_make_a_name_missing() {
        let selection = select(["orders"].into_iter(), &patterns(&["orders"]), &patterns(&[".*"]));
        assert_eq!(selection, Selection::default());
    }

    #[test]
    fn a_bad_expression_is_one_line() {
        for bad in ["orders-(", "", "(?=a)b", "[z-a]", r"\p{Nothing}+", &"(".repeat(200)] {
            let error = Patterns::new(&owned(&["orders", bad])).unwrap_err().to_string();
            assert!(!error.contains('\n') && error.contains(&format!("{bad:?}")), "{error}");
        }
    }

    #[test]
    fn expressions_that_take_too_much_memory_are_refused_by_the_first_that_does_not_fit() {
        let mut texts = owned(&["orders-.*", r"\w{200}"]);
        texts.extend((0..60).map(|each| format!(r"\w{{200}}-{each}")));
        // Reading them takes next to nothing.
        Patterns::check(&texts).unwrap();
        let error = Patterns::new(&texts).unwrap_err();
        let PatternError::TooLarge(text) = &error else { panic!("{error}") };
        assert!(text.starts_with(r"\w{200}-"), "{text}");
        let before = texts.iter().position(|each| each == text).unwrap();
        Patterns::new(&texts[..before]).unwrap();
        let message = error.to_string();
        assert!(message.contains("32 MiB") && message.contains(r"classes like \w fewer times"), "{message}");
    }

    #[test]
    fn hundreds_of_usual_expressions_fit() {
        let texts: Vec<String> = (0..256).map(|each| format!(r"\w+\.team-{each}\.[a-z0-9-]+(\.dlq)?")).collect();
        let selection =
            select(["shop.team-7.orders.dlq", "team-7"].into_iter(), &Patterns::new(&texts).unwrap(), &none());
        assert_eq!(selection.names, ["shop.team-7.orders.dlq"]);
        assert_eq!(selection.idle.len(), 255);
    }
}
