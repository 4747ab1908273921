//! The codecs of record batches, by name, number and level; what they do with bytes is in `codec`.

use std::ops::RangeInclusive;

/// The codec of a batch's records, as bits 0 to 2 of the attributes tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Records stand as they are.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// Snappy, raw or in the framing of `snappy-java`.
    Snappy,
    /// LZ4 frame format.
    Lz4,
    /// Zstandard (KIP-110).
    Zstd,
}

impl Compression {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number, if there is one.
    pub const fn from_id(id: i16) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The codec's number in the attributes.
    pub const fn id(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
}

/// The codec's name in Kafka's `compression.type`.
pub const fn name(codec: Compression) -> &'static str {
    match codec {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
    }
}

/// The levels that this codec takes; `None` for a codec without levels.
pub const fn level_range(codec: Compression) -> Option<RangeInclusive<i32>> {
    match codec {
        Compression::Gzip => Some(0..=9),
        Compression::Lz4 => Some(1..=12),
        Compression::Zstd => Some(1..=22),
        Compression::None | Compression::Snappy => None,
    }
}

/// How batches that the producer left uncompressed are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveCompression {
    /// The codec.
    pub codec: Compression,
    /// The codec's level; its own default when absent.
    pub level: Option<i32>,
}

impl ArchiveCompression {
    /// Batches stay as they are.
    pub const NONE: Self = Self { codec: Compression::None, level: None };
}
