//! One record as one line of JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::format::record::OwnedRecord;

/// A record, as it is shown. Its fields are the keys of the JSON object.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Line<'a> {
    topic: &'a str,
    partition: i32,
    offset: i64,
    timestamp_ms: i64,
    timestamp_type: TimestampType,
    key: Option<Bytes<'a>>,
    value: Option<Bytes<'a>>,
    headers: Vec<Header<'a>>,
}

/// Who gave the record its time.
#[derive(Debug, serde::Serialize)]
#[serde(rename_all = "camelCase")]
enum TimestampType {
    CreateTime,
    LogAppendTime,
}

#[derive(Debug, serde::Serialize)]
struct Header<'a> {
    key: Bytes<'a>,
    value: Option<Bytes<'a>>,
}

impl<'a> Line<'a> {
    /// The line of a record at this place.
    pub fn of(topic: &'a str, partition: i32, offset: i64, is_log_append_time: bool, record: &'a OwnedRecord) -> Self {
        let OwnedRecord { timestamp_ms, key, value, headers } = record;
        let header = |(key, value): &'a (Vec<u8>, Option<Vec<u8>>)| Header {
            key: Bytes(key),
            value: value.as_deref().map(Bytes),
        };
        Self {
            topic,
            partition,
            offset,
            timestamp_ms: *timestamp_ms,
            timestamp_type: if is_log_append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            key: key.as_deref().map(Bytes),
            value: value.as_deref().map(Bytes),
            headers: headers.iter().map(header).collect(),
        }
    }
}

/// Bytes as text when they are UTF-8, else as an object with their base64: the two cannot be mistaken for each other.
#[derive(Debug)]
struct Bytes<'a>(&'a [u8]);

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => {
                let mut map = serializer.serialize_map(Some(1))?;
                map.serialize_entry("base64", &STANDARD.encode(self.0))?;
                map.end()
            }
        }
    }
}
