//! Numbers of partitions as the keys of a map.
//!
//! JSON has texts only for keys, YAML has numbers too, and between the two a configuration is kept in forms that do not turn one
//! into the other by themselves.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Reads a map by topic and partition.
///
/// # Errors
/// A key that is no number of a partition.
pub fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, BTreeMap<i32, i32>>, D::Error> {
    let read = BTreeMap::<String, BTreeMap<Number, i32>>::deserialize(deserializer)?;
    let numbers = |of_topic: BTreeMap<Number, i32>| of_topic.into_iter().map(|(Number(from), to)| (from, to)).collect();
    Ok(read.into_iter().map(|(topic, of_topic)| (topic, numbers(of_topic))).collect())
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Number(i32);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number of a partition")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
        i32::try_from(number).map(Number).map_err(|_| E::custom(format!("{number} is no number of a partition")))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
        i32::try_from(number).map(Number).map_err(|_| E::custom(format!("{number} is no number of a partition")))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
        // "07" would be a second name of 7.
        let number: Option<i32> = text.parse().ok().filter(|number: &i32| number.to_string() == text);
        number.map(Number).ok_or_else(|| E::custom(format!("{text:?} is no number of a partition")))
    }
}
