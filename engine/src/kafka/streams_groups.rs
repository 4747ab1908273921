//! StreamsGroupDescribe: the members of a group of the streams protocol (KIP-1071).
//!
//! The library that has the other messages does not have this one, so that it is written and read here. Of an answer
//! only what tells whether a group is at work is kept: its state and its members.

use std::ops::RangeInclusive;

use kafka_protocol::protocol::buf::{ByteBuf, ByteBufMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

use crate::kafka::api::Api;
use crate::kafka::error::{Error, Resource};
use crate::kafka::groups::{GroupDescription, GroupKind, GroupMember};

/// Asks about groups by their ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StreamsGroupDescribeRequest {
    groups: Vec<String>,
}

/// The answer, one entry for each group that was asked about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct StreamsGroupDescribeResponse {
    throttle_time_ms: i32,
    groups: Vec<DescribedGroup>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct DescribedGroup {
    error_code: i16,
    error_message: Option<String>,
    group: String,
    state: String,
    members: Vec<GroupMember>,
}

impl Api for StreamsGroupDescribeRequest {
    type Response = StreamsGroupDescribeResponse;
    const KEY: i16 = 89;
    const NAME: &'static str = "StreamsGroupDescribe";
    const VERSIONS: RangeInclusive<i16> = 0..=0;
    fn throttle_time_ms(response: &Self::Response) -> i32 {
        response.throttle_time_ms
    }
}

impl HeaderVersion for StreamsGroupDescribeRequest {
    fn header_version(_version: i16) -> i16 {
        2
    }
}

impl HeaderVersion for StreamsGroupDescribeResponse {
    fn header_version(_version: i16) -> i16 {
        1
    }
}

impl Encodable for StreamsGroupDescribeRequest {
    fn encode<B: ByteBufMut>(&self, buf: &mut B, _version: i16) -> anyhow::Result<()> {
        put_length(self.groups.len(), buf)?;
        for group in &self.groups {
            put_length(group.len(), buf)?;
            buf.put_slice(group.as_bytes());
        }
        // Authorized operations are not asked for, and there are no tagged fields.
        buf.put_u8(0);
        buf.put_u8(0);
        Ok(())
    }

    fn compute_size(&self, _version: i16) -> anyhow::Result<usize> {
        // A bound: lengths take at most five bytes.
        Ok(self.groups.iter().map(|group| group.len() + 5).sum::<usize>() + 7)
    }
}

impl Decodable for StreamsGroupDescribeResponse {
    fn decode<B: ByteBuf>(buf: &mut B, _version: i16) -> anyhow::Result<Self> {
        let throttle_time_ms = buf.try_get_i32()?;
        let groups = array(buf, described_group)?.unwrap_or_default();
        skip_tagged(buf)?;
        Ok(Self { throttle_time_ms, groups })
    }
}

fn described_group<B: ByteBuf>(buf: &mut B) -> anyhow::Result<DescribedGroup> {
    let error_code = buf.try_get_i16()?;
    let error_message = text(buf)?;
    let group = text(buf)?.unwrap_or_default();
    let state = text(buf)?.unwrap_or_default();
    let _group_epoch = buf.try_get_i32()?;
    let _assignment_epoch = buf.try_get_i32()?;
    // A struct that may be absent begins with -1 when it is.
    if buf.try_get_i8()? >= 0 {
        skip_topology(buf)?;
    }
    let members = array(buf, member)?.unwrap_or_default();
    let _authorized_operations = buf.try_get_i32()?;
    skip_tagged(buf)?;
    Ok(DescribedGroup { error_code, error_message, group, state, members })
}

fn skip_topology<B: ByteBuf>(buf: &mut B) -> anyhow::Result<()> {
    let _epoch = buf.try_get_i32()?;
    array(buf, |buf| {
        text(buf)?;
        array(buf, text)?;
        array(buf, text)?;
        array(buf, skip_topic)?;
        array(buf, skip_topic)?;
        skip_tagged(buf)
    })?;
    skip_tagged(buf)
}

fn skip_topic<B: ByteBuf>(buf: &mut B) -> anyhow::Result<()> {
    text(buf)?;
    let (_partitions, _replication_factor) = (buf.try_get_i32()?, buf.try_get_i16()?);
    array(buf, skip_pair)?;
    skip_tagged(buf)
}

fn skip_pair<B: ByteBuf>(buf: &mut B) -> anyhow::Result<()> {
    text(buf)?;
    text(buf)?;
    skip_tagged(buf)
}

fn member<B: ByteBuf>(buf: &mut B) -> anyhow::Result<GroupMember> {
    let member_id = text(buf)?.unwrap_or_default();
    let _member_epoch = buf.try_get_i32()?;
    let (_instance, _rack) = (text(buf)?, text(buf)?);
    let client_id = text(buf)?.unwrap_or_default();
    let host = text(buf)?.unwrap_or_default();
    let _topology_epoch = buf.try_get_i32()?;
    let _process_id = text(buf)?;
    if buf.try_get_i8()? >= 0 {
        let (_host, _port) = (text(buf)?, buf.try_get_u16()?);
        skip_tagged(buf)?;
    }
    array(buf, skip_pair)?;
    array(buf, skip_task_offset)?;
    array(buf, skip_task_offset)?;
    skip_assignment(buf)?;
    skip_assignment(buf)?;
    let _is_classic = buf.try_get_u8()?;
    skip_tagged(buf)?;
    Ok(GroupMember { member_id, client_id, host })
}

fn skip_task_offset<B: ByteBuf>(buf: &mut B) -> anyhow::Result<()> {
    text(buf)?;
    let (_partition, _offset) = (buf.try_get_i32()?, buf.try_get_i64()?);
    skip_tagged(buf)
}

fn skip_assignment<B: ByteBuf>(buf: &mut B) -> anyhow::Result<()> {
    for _ in ["active", "standby", "warm-up"] {
        array(buf, |buf| {
            text(buf)?;
            array(buf, |buf| Ok(buf.try_get_i32()?))?;
            skip_tagged(buf)
        })?;
    }
    skip_tagged(buf)
}

/// Writes a length, or a count of items, as the flexible versions have it: one more than it is, since 0 stands for null.
fn put_length<B: ByteBufMut>(length: usize, buf: &mut B) -> anyhow::Result<()> {
    let mut rest = u32::try_from(length)?.saturating_add(1);
    while rest >= 0x80 {
        buf.put_u8((rest & 0x7f) as u8 | 0x80);
        rest >>= 7;
    }
    buf.put_u8(rest as u8);
    Ok(())
}

fn varint<B: ByteBuf>(buf: &mut B) -> anyhow::Result<u32> {
    let mut value = 0_u32;
    for shift in (0..32).step_by(7) {
        let byte = buf.try_get_u8()?;
        value |= u32::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(value);
        }
    }
    anyhow::bail!("a length of more than 32 bits")
}

/// The items of an array; nothing for null. No memory is set aside for a count that a broken broker may have made up.
fn array<B: ByteBuf, T>(buf: &mut B, item: impl Fn(&mut B) -> anyhow::Result<T>) -> anyhow::Result<Option<Vec<T>>> {
    let Some(count) = varint(buf)?.checked_sub(1) else { return Ok(None) };
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(buf)?);
    }
    Ok(Some(items))
}

fn text<B: ByteBuf>(buf: &mut B) -> anyhow::Result<Option<String>> {
    let Some(length) = varint(buf)?.checked_sub(1) else { return Ok(None) };
    let bytes = buf.try_get_bytes(usize::try_from(length)?)?;
    Ok(Some(std::str::from_utf8(&bytes)?.to_owned()))
}

fn skip_tagged<B: ByteBuf>(buf: &mut B) -> anyhow::Result<()> {
    for _ in 0..varint(buf)? {
        let _tag = varint(buf)?;
        let length = varint(buf)?;
        buf.try_get_bytes(usize::try_from(length)?)?;
    }
    Ok(())
}

pub(crate) fn build_describe_streams_groups(groups: &[String]) -> StreamsGroupDescribeRequest {
    StreamsGroupDescribeRequest { groups: groups.to_vec() }
}

pub(crate) fn process_describe_streams_groups(
    response: StreamsGroupDescribeResponse,
) -> Vec<(String, Result<GroupDescription, Error>)> {
    let answers = response.groups.into_iter().map(|described| {
        let DescribedGroup { error_code, error_message, group, state, members } = described;
        let resource = || Resource::Group(group.clone());
        let error = Error::from_code(StreamsGroupDescribeRequest::NAME, error_code, resource, error_message.as_deref());
        let description = GroupDescription { kind: GroupKind::Streams, state, members };
        (group, error.map_or(Ok(description), Err))
    });
    answers.collect()
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut, Bytes, BytesMut};

    use super::*;
    use crate::kafka::error::GROUP_ID_NOT_FOUND;

    fn put_text(text: &str, buf: &mut BytesMut) {
        put_length(text.len(), buf).unwrap();
        buf.put_slice(text.as_bytes());
    }

    /// One group with a topology and a member, each field as the schema of Kafka 4.3 has it.
    fn answer() -> BytesMut {
        let mut buf = BytesMut::new();
        buf.put_i32(7);
        put_length(2, &mut buf).unwrap();
        buf.put_i16(0);
        buf.put_u8(0);
        put_text("app", &mut buf);
        put_text("Stable", &mut buf);
        buf.put_i32(3);
        buf.put_i32(3);
        buf.put_i8(1);
        buf.put_i32(0);
        put_length(1, &mut buf).unwrap();
        put_text("0", &mut buf);
        put_length(1, &mut buf).unwrap();
        put_text("orders", &mut buf);
        put_length(0, &mut buf).unwrap();
        put_length(1, &mut buf).unwrap();
        put_text("app-store-changelog", &mut buf);
        buf.put_i32(0);
        buf.put_i16(0);
        put_length(1, &mut buf).unwrap();
        put_text("cleanup.policy", &mut buf);
        put_text("compact", &mut buf);
        buf.put_u8(0);
        buf.put_u8(0);
        put_length(0, &mut buf).unwrap();
        buf.put_u8(0);
        buf.put_u8(0);
        put_length(1, &mut buf).unwrap();
        put_text("m-1", &mut buf);
        buf.put_i32(3);
        buf.put_u8(0);
        buf.put_u8(0);
        put_text("app-client", &mut buf);
        put_text("/10.0.0.1", &mut buf);
        buf.put_i32(0);
        put_text("process", &mut buf);
        buf.put_i8(1);
        put_text("host", &mut buf);
        buf.put_u16(8080);
        buf.put_u8(0);
        put_length(0, &mut buf).unwrap();
        put_length(1, &mut buf).unwrap();
        put_text("0", &mut buf);
        buf.put_i32(0);
        buf.put_i64(12);
        buf.put_u8(0);
        put_length(0, &mut buf).unwrap();
        for _ in ["current", "target"] {
            put_length(1, &mut buf).unwrap();
            put_text("0", &mut buf);
            put_length(2, &mut buf).unwrap();
            buf.put_i32(0);
            buf.put_i32(1);
            buf.put_u8(0);
            put_length(0, &mut buf).unwrap();
            put_length(0, &mut buf).unwrap();
            buf.put_u8(0);
        }
        buf.put_u8(0);
        buf.put_u8(0);
        buf.put_i32(i32::MIN);
        // A tagged field of a later version.
        buf.put_slice(&[1, 5, 2, 9, 9]);
        // A group that is not there.
        buf.put_i16(GROUP_ID_NOT_FOUND);
        put_text("not found", &mut buf);
        put_text("gone", &mut buf);
        put_text("", &mut buf);
        buf.put_i32(0);
        buf.put_i32(0);
        buf.put_i8(-1);
        put_length(0, &mut buf).unwrap();
        buf.put_i32(i32::MIN);
        buf.put_u8(0);
        buf.put_u8(0);
        buf
    }

    #[test]
    fn state_and_members_are_read_past_everything_else() {
        let mut bytes = answer().freeze();
        let response = StreamsGroupDescribeResponse::decode(&mut bytes, 0).unwrap();
        assert!(bytes.is_empty(), "{} bytes are left", bytes.len());
        assert_eq!(StreamsGroupDescribeRequest::throttle_time_ms(&response), 7);
        let answers = process_describe_streams_groups(response);
        let member = GroupMember {
            member_id: "m-1".to_owned(),
            client_id: "app-client".to_owned(),
            host: "/10.0.0.1".to_owned(),
        };
        let expected = GroupDescription { kind: GroupKind::Streams, state: "Stable".to_owned(), members: vec![member] };
        assert_eq!(answers[0], ("app".to_owned(), Ok(expected)));
        assert_eq!(answers[1].1.as_ref().unwrap_err().code(), Some(GROUP_ID_NOT_FOUND));
    }

    #[test]
    fn an_answer_that_is_cut_short_is_an_error() {
        let whole = answer().freeze();
        for length in 0..whole.len() {
            assert!(StreamsGroupDescribeResponse::decode(&mut whole.slice(..length), 0).is_err(), "{length} bytes");
        }
        // A count of four billion groups, and nothing after it.
        let mut hostile = Bytes::from_static(&[0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(StreamsGroupDescribeResponse::decode(&mut hostile, 0).is_err());
    }

    #[test]
    fn the_request_takes_no_more_bytes_than_it_says() {
        let request = build_describe_streams_groups(&["app".to_owned(), "b".repeat(200)]);
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, 0).unwrap();
        assert!(bytes.len() <= request.compute_size(0).unwrap());
        let group_ids = array(&mut bytes, text).unwrap().unwrap();
        assert_eq!(group_ids, [Some("app".to_owned()), Some("b".repeat(200))]);
        assert_eq!(&bytes[..], [0, 0]);
    }
}
