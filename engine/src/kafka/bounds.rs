//! Bounds of a response before it is decoded.
//!
//! `kafka-protocol` reserves memory for as many elements as the length of an array says, before it has read one of them. A
//! broken or hostile broker could end the process with a frame of a few bytes, since a reservation that fails cannot be
//! caught. [`Bounded`] stands between the frame and the decoder, and lets no length pass that the frame cannot hold.
//!
//! The decoder does not say what a number is for. Two rules make up for that:
//!
//! - In flexible versions (KIP-482) every length is an unsigned varint, and unsigned varints are nothing but lengths, counts and
//!   tags. One that is larger than the rest of the frame is an error.
//! - In older versions a length is an int32, as are node ids and times. The first decoding reads every int32 that is larger
//!   than the rest of the frame as "as many as there are bytes left". Elements of arrays take two bytes or more there, so an array
//!   of this length is an error. If the frame decodes like this, then none of these numbers was the length of an array, and
//!   the second decoding reads them as they are.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

/// What a varint may exceed the rest of the frame by: a tag is a small number that is no length.
const TAG_MAX: u64 = 64;

/// Decodes a message, in memory that is bounded by the size of the frame. Takes it off the frame.
///
/// # Errors
/// What the decoder says, on one line.
pub(crate) fn decode<T: Decodable>(frame: &mut Bytes, version: i16) -> Result<T, String> {
    let text = |error: &dyn std::fmt::Display| super::error::one_line(&error.to_string());
    let mut bounded = Bounded::new(frame.clone());
    let decoded = T::decode(&mut bounded, version).map_err(|error| text(&error))?;
    if !bounded.replaced {
        *frame = bounded.bytes;
        return Ok(decoded);
    }
    T::decode(frame, version).map_err(|error| text(&error))
}

/// A frame that is being read.
#[derive(Debug)]
struct Bounded {
    bytes: Bytes,
    /// The varint that is being read, and how many bits of it have come.
    varint: u64,
    varint_bits: u32,
    /// Whether a number was replaced, so that the result cannot be used.
    replaced: bool,
}

impl Bounded {
    const fn new(bytes: Bytes) -> Self {
        Self { bytes, varint: 0, varint_bits: 0, replaced: false }
    }
}

impl Buf for Bounded {
    fn remaining(&self) -> usize {
        self.bytes.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.bytes.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    /// A boolean, or a byte of a varint.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.bytes.try_get_u8()?;
        self.varint |= u64::from(byte & 0x7f) << self.varint_bits.min(56);
        self.varint_bits += 7;
        if byte & 0x80 == 0 {
            let (value, left) = (std::mem::take(&mut self.varint), self.remaining());
            self.varint_bits = 0;
            if value > left as u64 + TAG_MAX {
                return Err(TryGetError { requested: usize::try_from(value).unwrap_or(usize::MAX), available: left });
            }
        }
        Ok(byte)
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let value = self.bytes.try_get_i32()?;
        let left = i32::try_from(self.remaining()).unwrap_or(i32::MAX);
        if value <= left {
            return Ok(value);
        }
        self.replaced = true;
        Ok(left.max(1))
    }
}

impl ByteBuf for Bounded {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.bytes.peek_bytes(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.bytes.get_bytes(size)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use kafka_protocol::messages::list_groups_response::ListedGroup;
    use kafka_protocol::messages::metadata_response::{MetadataResponseBroker, MetadataResponseTopic};
    use kafka_protocol::messages::{
        ApiVersionsResponse, ListGroupsResponse, MetadataResponse, SaslAuthenticateResponse,
    };
    use kafka_protocol::protocol::{Encodable, StrBytes};

    use super::*;

    fn metadata() -> MetadataResponse {
        // Numbers that are larger than the frame, and no lengths.
        let broker = MetadataResponseBroker::default().with_node_id(2_000_000_000.into()).with_port(i32::MAX);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(StrBytes::from_static_str("t").into()))
            .with_topic_authorized_operations(i32::MAX);
        MetadataResponse::default()
            .with_throttle_time_ms(i32::MAX)
            .with_brokers(vec![broker.clone(), broker])
            .with_topics(vec![topic])
    }

    #[test]
    fn large_numbers_that_are_no_lengths_are_read_as_they_are() {
        for version in 8..=12 {
            let mut frame = BytesMut::new();
            metadata().encode(&mut frame, version).unwrap();
            let mut frame = frame.freeze();
            let decoded: MetadataResponse = decode(&mut frame, version).unwrap();
            assert_eq!((&decoded.brokers, decoded.throttle_time_ms), (&metadata().brokers, i32::MAX), "{version}");
            assert!(frame.is_empty());
        }
    }

    #[test]
    fn every_length_that_the_frame_cannot_hold_is_an_error() {
        for version in 4..=12 {
            let mut whole = BytesMut::new();
            let response = MetadataResponse::default().with_brokers(metadata().brokers).with_topics(vec![
                MetadataResponseTopic::default().with_name(Some(StrBytes::from_static_str("t").into())),
            ]);
            response.encode(&mut whole, version).unwrap();
            // A length of 2 GiB at every place where there may be one.
            for at in 0..whole.len() {
                for large in [&i32::MAX.to_be_bytes()[..], &[0xff, 0xff, 0xff, 0xff, 0x07]] {
                    for rest in [&whole[at..], &[]] {
                        let mut frame = Bytes::from([&whole[..at], large, rest].concat());
                        // An error or not, and in either case no reservation of gigabytes, which would end the process.
                        drop(decode::<MetadataResponse>(&mut frame, version));
                    }
                }
            }
        }
    }

    #[test]
    fn a_frame_that_claims_two_billion_groups_is_an_error() {
        let claim = |bytes: &[u8], version| decode::<ListGroupsResponse>(&mut Bytes::copy_from_slice(bytes), version);
        // Throttle time, error code, and the length of the array of groups.
        assert!(claim(&[0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff], 1).is_err());
        assert!(claim(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x07], 4).is_err());
        // As crafted as it can be: whatever is read in place of the length, the rest decodes as elements.
        let crafted: Vec<u8> = [&[0, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff][..], &[0; 64]].concat();
        assert!(claim(&crafted, 1).is_err());
        let groups = vec![ListedGroup::default(); 3];
        let mut frame = BytesMut::new();
        ListGroupsResponse::default().with_groups(groups.clone()).encode(&mut frame, 4).unwrap();
        assert_eq!(claim(&frame, 4).unwrap().groups, groups);
    }

    #[test]
    fn answers_before_any_authentication_are_bounded_too() {
        let claim = [0, 0, 0x7f, 0xff, 0xff, 0xff];
        for version in [0, 3] {
            assert!(
                decode::<ApiVersionsResponse>(&mut Bytes::copy_from_slice(&claim), version).is_err() || version == 3
            );
        }
        assert!(
            decode::<SaslAuthenticateResponse>(&mut Bytes::from_static(&[0, 0, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]), 0)
                .is_err()
        );
    }
}
