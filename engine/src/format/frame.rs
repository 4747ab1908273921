//! A frame: about a megabyte of whole batches of one partition, with the holes between them.
//!
//! The frame is what is read, checked and decompressed at once. Batches that the producer compressed stand in it as
//! they are; batches that it left uncompressed are compressed together with the archive's codec. A frame holds one
//! of the two kinds only, so that nothing is compressed twice.
//!
//! ```text
//!  0 magic "KBFR"     4 codec u8   5 encryption u8 (0 none)   6 flags u16 (0)
//!  8 raw bytes u32   12 stored bytes u32   16 holes bytes u32
//! 20 start offset i64   28 end offset i64   36 CRC-32C u32 of everything else
//! 40 batches as stored, then the holes
//! ```
//! Numbers are big-endian, as in Kafka's own formats.

use std::ops::Range;

use bytes::Bytes;

use super::batch::{self, Batch, Compression};
use super::checksum;
use super::codec::{self, Compressor, Decompressor};
pub use super::compression::ArchiveCompression;
use super::hole::{self, Hole};
use super::rope::Rope;

/// Bytes before the batches.
pub const HEADER_BYTES: usize = 40;
/// A frame is closed when it holds this many bytes of batches: large enough to compress well and to read in one
/// request, small enough that one batch is found without reading much.
pub const RAW_BYTES_TARGET: usize = 1 << 20;
/// The most bytes that one frame may claim to hold: the target and one batch of the largest size that Kafka can carry
/// (`socket.request.max.bytes`, 100 MiB by default).
pub const RAW_BYTES_MAX: usize = 128 << 20;

const MAGIC: [u8; 4] = *b"KBFR";
const CRC_AT: usize = 36;

/// Why bytes are not a frame.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Fewer bytes than a frame has.
    #[error("the frame is cut short: {have} of {need} bytes")]
    Truncated {
        /// Bytes that are there.
        have: usize,
        /// Bytes that are needed.
        need: usize,
    },
    /// Not the beginning of a frame.
    #[error("no frame begins here")]
    Magic,
    /// A header field has a value that no frame has.
    #[error("the frame's {field} is impossible: {value}")]
    Field {
        /// The field.
        field: &'static str,
        /// Its value.
        value: i64,
    },
    /// The bytes are not what was written.
    #[error("the frame fails its CRC-32C")]
    Crc,
    /// The frame is encrypted, and this version cannot read it.
    #[error("the frame is encrypted (scheme {0}), which this version cannot read")]
    Encrypted(u8),
    /// The batches cannot be decompressed.
    #[error("the frame cannot be decompressed: {0}")]
    Codec(#[from] codec::Error),
    /// A batch in the frame is not what was written.
    #[error("{0}")]
    Batch(#[from] batch::Error),
    /// Batches and holes do not tile the offsets that the frame answers for.
    #[error("batches and holes of the frame leave or repeat offset {0}")]
    Tiling(i64),
}

/// The header of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// How the batches are stored.
    pub codec: Compression,
    /// Bytes of the batches.
    pub raw_bytes: usize,
    /// Bytes of the batches as stored.
    pub stored_bytes: usize,
    /// Bytes of the holes.
    pub holes_bytes: usize,
    /// The offsets that the frame answers for.
    pub offsets: Range<i64>,
    crc32c: u32,
}

impl Header {
    /// Reads a header; the bytes after it need not be there yet.
    ///
    /// # Errors
    /// Everything that no frame's header says.
    pub fn parse(bytes: &[u8]) -> Result<Self, Error> {
        if bytes.len() < HEADER_BYTES {
            return Err(Error::Truncated { have: bytes.len(), need: HEADER_BYTES });
        }
        if bytes[..4] != MAGIC {
            return Err(Error::Magic);
        }
        if bytes[5] != 0 {
            return Err(Error::Encrypted(bytes[5]));
        }
        let codec = Compression::from_id(i16::from(bytes[4]))
            .ok_or(Error::Field { field: "codec", value: i64::from(bytes[4]) })?;
        let size = |field, at: usize| {
            let value = u32_at(bytes, at) as usize;
            if value > RAW_BYTES_MAX { Err(Error::Field { field, value: value as i64 }) } else { Ok(value) }
        };
        let offsets = i64_at(bytes, 20)..i64_at(bytes, 28);
        if offsets.start < 0 || offsets.start >= offsets.end {
            return Err(Error::Field { field: "end offset", value: offsets.end });
        }
        Ok(Self {
            codec,
            raw_bytes: size("raw size", 8)?,
            stored_bytes: size("stored size", 12)?,
            holes_bytes: size("size of holes", 16)?,
            offsets,
            crc32c: u32_at(bytes, CRC_AT),
        })
    }

    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        HEADER_BYTES + self.stored_bytes + self.holes_bytes
    }
}

/// The batches of a frame, one after the other, as they are stored.
#[derive(Debug)]
pub struct Body {
    /// The codec that stores them.
    pub codec: Compression,
    /// Their bytes before the codec.
    pub raw_bytes: usize,
    /// What the codec made of them.
    pub stored: Rope,
    /// CRC-32C over what is stored.
    pub crc32c: u32,
}

impl Body {
    /// Batches that are stored as they are, with the CRC-32C over all of them.
    pub fn as_is(batches: Rope, crc32c: u32) -> Self {
        Self { codec: Compression::None, raw_bytes: batches.len(), stored: batches, crc32c }
    }

    /// Compresses batches.
    ///
    /// # Errors
    /// When the codec fails.
    pub fn compressed(
        compressor: &mut Compressor,
        compression: ArchiveCompression,
        batches: &[u8],
    ) -> Result<Self, codec::Error> {
        let (mut stored, mut compressed) = (Rope::default(), Vec::new());
        compressor.compress(compression.codec, compression.level, batches, &mut compressed)?;
        let crc32c = checksum::crc32c(&compressed);
        stored.own(compressed);
        Ok(Self { codec: compression.codec, raw_bytes: batches.len(), stored, crc32c })
    }
}

/// Appends one frame: the body, with `holes` between and around its batches. Gives back the CRC-32C over everything from the
/// beginning of its run: `run_crc32c` is the one over the frames before it.
pub fn encode(body: Body, holes: &[Hole], offsets: Range<i64>, run_crc32c: u32, out: &mut Rope) -> u32 {
    let Body { codec, raw_bytes, stored, crc32c } = body;
    let mut encoded_holes = Vec::new();
    hole::encode(offsets.start, holes, &mut encoded_holes);
    let mut header = [0; HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[4] = codec.id() as u8;
    for (at, size) in [(8, raw_bytes), (12, stored.len()), (16, encoded_holes.len())] {
        let size = u32::try_from(size).expect("a frame is closed long before 4 GiB");
        header[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    header[20..28].copy_from_slice(&offsets.start.to_be_bytes());
    header[28..36].copy_from_slice(&offsets.end.to_be_bytes());
    let rest_bytes = stored.len() + encoded_holes.len();
    let rest = checksum::append(crc32c, &encoded_holes);
    let checksum = checksum::combine(checksum::crc32c(&header[..CRC_AT]), rest, rest_bytes);
    header[CRC_AT..].copy_from_slice(&checksum.to_be_bytes());
    out.copy(&header);
    out.append(stored);
    out.copy(&encoded_holes);
    checksum::combine(checksum::append(run_crc32c, &header), rest, rest_bytes)
}

fn checksum_of(frame: &[u8]) -> u32 {
    checksum::append(checksum::crc32c(&frame[..CRC_AT]), &frame[CRC_AT + 4..])
}

/// A checked frame, opened.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The offsets that the frame answers for.
    pub offsets: Range<i64>,
    /// Whole batches, one after the other, as the broker returned them.
    pub batches: Bytes,
    /// The offsets without a record, in order.
    pub holes: Vec<Hole>,
}

impl Frame {
    /// Checks and opens the frame that begins at the start of `bytes`; gives back its size too.
    ///
    /// # Errors
    /// Everything that differs from what was written.
    pub fn decode(bytes: &Bytes, decompressor: &mut Decompressor) -> Result<(Self, usize), Error> {
        let header = Header::parse(bytes)?;
        let frame_bytes = header.frame_bytes();
        if bytes.len() < frame_bytes {
            return Err(Error::Truncated { have: bytes.len(), need: frame_bytes });
        }
        if checksum_of(&bytes[..frame_bytes]) != header.crc32c {
            return Err(Error::Crc);
        }
        let stored = bytes.slice(HEADER_BYTES..HEADER_BYTES + header.stored_bytes);
        let batches = match header.codec {
            Compression::None => stored,
            Compression::Gzip | Compression::Snappy | Compression::Lz4 | Compression::Zstd => {
                let mut raw = Vec::with_capacity(header.raw_bytes);
                decompressor.decompress_into(header.codec, &stored, header.raw_bytes, &mut raw)?;
                Bytes::from(raw)
            }
        };
        if batches.len() != header.raw_bytes {
            return Err(Error::Field { field: "raw size", value: header.raw_bytes as i64 });
        }
        let holes = hole::decode(header.offsets.start, &bytes[HEADER_BYTES + header.stored_bytes..frame_bytes])
            .ok_or(Error::Field { field: "list of holes", value: header.holes_bytes as i64 })?;
        Ok((Self { offsets: header.offsets, batches, holes }, frame_bytes))
    }

    /// The batches, each with its bounds checked.
    pub fn batches(&self) -> impl Iterator<Item = Result<Batch<'_>, batch::Error>> {
        batch::batches(&self.batches, false)
    }

    /// Checks that every batch is whole and that batches and holes together take every offset of the frame once.
    ///
    /// A batch may begin before the frame's offsets: after DeleteRecords the log starts in the middle of a batch, and
    /// the broker still returns it whole.
    ///
    /// # Errors
    /// The first batch that is damaged, or the first offset that is left out or taken twice.
    pub fn check(&self) -> Result<(), Error> {
        let mut at = self.offsets.start;
        let mut holes = self.holes.iter().peekable();
        for batch in self.batches() {
            let batch = batch?;
            batch.check_crc()?;
            while let Some(hole) = holes.next_if(|hole| hole.start_offset < batch.base_offset()) {
                at = step(at, hole.start_offset..hole.end_offset)?;
            }
            let base_offset = batch.base_offset().max(self.offsets.start);
            at = step(at, base_offset..batch.next_offset())?;
        }
        for hole in holes {
            at = step(at, hole.start_offset..hole.end_offset)?;
        }
        if at == self.offsets.end { Ok(()) } else { Err(Error::Tiling(at)) }
    }
}

fn step(at: i64, taken: Range<i64>) -> Result<i64, Error> {
    if at == taken.start { Ok(taken.end) } else { Err(Error::Tiling(at.min(taken.start))) }
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
