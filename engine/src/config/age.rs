//! A stretch of time as people write it: `90d`, `24h`, `4w`, `30s`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The units, the largest first, with their milliseconds.
const UNITS: [(&str, i64); 5] =
    [("w", 7 * 86_400_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)];

/// Why a text is not a stretch of time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a stretch of time: write a whole number and one of s, m, h, d, w, as in 90d or 24h")]
pub struct Error {
    /// What was written.
    pub text: String,
}

/// A stretch of time, at least 0, in whole seconds. Its text form, in serde too, is a number and a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age {
    ms: i64,
}

impl Age {
    /// So many hours.
    pub const fn hours(hours: u32) -> Self {
        Self { ms: hours as i64 * 3_600_000 }
    }

    /// In milliseconds.
    pub const fn as_ms(self) -> i64 {
        self.ms
    }
}

impl FromStr for Age {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = || Error { text: text.to_owned() };
        let digits = text.trim_end_matches(|letter: char| !letter.is_ascii_digit());
        let (_, unit_ms) = UNITS.into_iter().find(|(unit, _)| *unit == &text[digits.len()..]).ok_or_else(error)?;
        if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(error());
        }
        let count: i64 = digits.parse().map_err(|_| error())?;
        Ok(Self { ms: count.checked_mul(unit_ms).ok_or_else(error)? })
    }
}

impl TryFrom<String> for Age {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

impl From<Age> for String {
    fn from(age: Age) -> Self {
        age.to_string()
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fitting = UNITS.into_iter().find(|(_, unit_ms)| self.ms != 0 && self.ms % unit_ms == 0);
        let (unit, unit_ms) = fitting.unwrap_or(("s", 1000));
        write!(f, "{}{unit}", self.ms / unit_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_and_written_alike() {
        for (text, ms) in
            [("90d", 7_776_000_000), ("25h", 90_000_000), ("4w", 2_419_200_000), ("30s", 30_000), ("0s", 0)]
        {
            let age: Age = text.parse().unwrap();
            assert_eq!((age.as_ms(), age.to_string().as_str()), (ms, text));
        }
        assert_eq!(Age::hours(24).to_string(), "1d");
    }

    #[test]
    fn what_is_no_age_is_refused_in_one_line() {
        for text in ["", "90", "d", "-1d", "+1d", "1.5d", "90 d", "90y", "1d2h", "99999999999999999w", "9٣d"] {
            let error = text.parse::<Age>().unwrap_err().to_string();
            assert!(error.contains("90d") && !error.contains('\n'), "{error}");
        }
    }
}
