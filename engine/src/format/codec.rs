//! The four codecs, as Kafka uses them inside a record batch; frames of the archive use them too.
//!
//! Reading takes whatever a producer may have written (both snappy framings, several gzip members, several zstd
//! frames, linked LZ4 blocks, bytes after the end of gzip and LZ4) and never more than a limit: a few bytes may claim gigabytes. Writing makes what
//! Kafka's Java client reads, and the same bytes from the same input every time.

mod lz4;

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use zstd::zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name};

pub use super::compression::{Compression, level_range, name};
use crate::config::DECOMPRESSED_BATCH_BYTES_MAX;
use crate::error::Kind;

/// What `snappy-java` puts before its stream: the magic, then two integers (version, oldest compatible version).
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;
/// The block size of `SnappyOutputStream`, which the Java client leaves at its default.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// A snappy element makes at most 64 bytes, and takes at least one.
const SNAPPY_RATIO_MAX: usize = 64;

/// Output is reserved in steps no larger than this, so that a false size in a header reserves no more.
const RESERVE_BYTES_MAX: usize = 16 << 20;
/// No batch's records are read beyond this size, whatever a run allows.
const RECORDS_BYTES_LIMIT: usize = 1 << 30;
/// The first reservation, when nothing tells the size: records of a kind compress to about a quarter.
const RESERVE_FACTOR: usize = 4;

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The bytes are not what the codec writes.
    #[error("the {} data is malformed: {reason}", name(*.codec))]
    Malformed {
        /// The codec that was asked to read them.
        codec: Compression,
        /// What it found.
        reason: String,
    },
    /// More would come out than the caller allows.
    #[error("the {} data grows beyond the limit of {limit_bytes} bytes", name(*.codec))]
    TooLarge {
        /// The codec that was asked to read them.
        codec: Compression,
        /// The limit that was given, in bytes.
        limit_bytes: usize,
    },
    /// The codec has no such level.
    #[error("{} has no compression level {level}: {}", name(*.codec), levels_text(*.codec))]
    Level {
        /// The codec.
        codec: Compression,
        /// The level asked for.
        level: i32,
    },
    /// The codec's library failed on good input, for want of memory at most.
    #[error("{} compression failed: {reason}", name(*.codec))]
    Failed {
        /// The codec.
        codec: Compression,
        /// What the library says.
        reason: String,
    },
}

impl Error {
    /// What the failure asks of its reader.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Malformed { .. } | Self::TooLarge { .. } => Kind::Corrupt,
            Self::Level { .. } => Kind::Usage,
            Self::Failed { .. } => Kind::Bug,
        }
    }
}

fn levels_text(codec: Compression) -> String {
    level_range(codec).map_or_else(
        || "it has none at all".to_owned(),
        |range| format!("choose one of {} to {}", range.start(), range.end()),
    )
}

/// Compresses, and keeps the codecs' working memory from call to call.
pub struct Compressor {
    snappy: snap::raw::Encoder,
    zstd: Option<CCtx<'static>>,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Compressor").finish_non_exhaustive()
    }
}

impl Default for Compressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Compressor {
    /// A compressor that holds next to nothing until a codec is used.
    pub fn new() -> Self {
        Self { snappy: snap::raw::Encoder::new(), zstd: None }
    }

    /// Appends the compressed `bytes` to `out`. Without a level it is the codec's own default, as Kafka's producers use it
    /// (gzip 6, zstd 3, the fast mode of lz4).
    ///
    /// # Errors
    /// [`Error::Level`] when the level is not in [`level_range`]. [`Error::Failed`] only when memory runs out. `out` is as
    /// it was then.
    pub fn compress(
        &mut self,
        codec: Compression,
        level: Option<i32>,
        bytes: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        if let Some(level) = level
            && !level_range(codec).is_some_and(|range| range.contains(&level))
        {
            return Err(Error::Level { codec, level });
        }
        let start = out.len();
        let done = match codec {
            Compression::None => {
                out.extend_from_slice(bytes);
                Ok(())
            }
            Compression::Gzip => gzip(level, bytes, out),
            Compression::Snappy => self.snappy(bytes, out),
            Compression::Lz4 => lz4::compress(level, bytes, out),
            Compression::Zstd => self.zstd(level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL), bytes, out),
        };
        done.map_err(|reason| {
            out.truncate(start);
            Error::Failed { codec, reason }
        })
    }

    /// The framing of `snappy-java`: what the Java client writes, and every client reads.
    fn snappy(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        out.extend_from_slice(&XERIAL_MAGIC);
        out.extend_from_slice(&1_i32.to_be_bytes());
        out.extend_from_slice(&1_i32.to_be_bytes());
        for block in bytes.chunks(XERIAL_BLOCK_BYTES) {
            let at = out.len();
            out.resize(at + 4 + snap::raw::max_compress_len(block.len()), 0);
            let written = self.snappy.compress(block, &mut out[at + 4..]).map_err(|error| error.to_string())?;
            let length = u32::try_from(written).map_err(|error| error.to_string())?;
            out[at..at + 4].copy_from_slice(&length.to_be_bytes());
            out.truncate(at + 4 + written);
        }
        Ok(())
    }

    /// The highest levels take windows of up to 128 MiB, which cost a multiple of that for each worker. Theirs is kept small.
    fn zstd(&mut self, level: i32, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        /// Base 2 logarithm of the largest window of a level from 20 on; of the others, the level's own (0) is less than that.
        const WINDOW_LOG_MAX: u32 = 23;
        let context = match &mut self.zstd {
            Some(context) => context,
            none => none.insert(CCtx::try_create().ok_or("no memory for a zstd context")?),
        };
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(zstd_reason)?;
        let window_log = if level >= 20 { WINDOW_LOG_MAX } else { 0 };
        context.set_parameter(CParameter::WindowLog(window_log)).map_err(zstd_reason)?;
        let at = out.len();
        out.resize(at + compress_bound(bytes.len()), 0);
        let written = context.compress2(&mut out[at..], bytes).map_err(zstd_reason)?;
        out.truncate(at + written);
        Ok(())
    }
}

fn gzip(level: Option<i32>, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let level =
        level.and_then(|level| u32::try_from(level).ok()).map_or_else(Default::default, flate2::Compression::new);
    let mut encoder = GzEncoder::new(out, level);
    encoder.write_all(bytes).and_then(|()| encoder.finish()).map(drop).map_err(|error| error.to_string())
}

/// Decompresses, and keeps the codecs' working memory from call to call.
pub struct Decompressor {
    snappy: snap::raw::Decoder,
    zstd: Option<DCtx<'static>>,
    records_bytes_max: usize,
}

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Decompressor").finish_non_exhaustive()
    }
}

impl Default for Decompressor {
    fn default() -> Self {
        Self::new()
    }
}

impl Decompressor {
    /// A decompressor that holds next to nothing until a codec is used.
    pub fn new() -> Self {
        Self::for_records_up_to(DECOMPRESSED_BATCH_BYTES_MAX)
    }

    /// The same, for records of a batch that may take so many bytes decompressed.
    pub fn for_records_up_to(records_bytes_max: usize) -> Self {
        // Positions of records are kept in 32 bits.
        let records_bytes_max = records_bytes_max.min(RECORDS_BYTES_LIMIT);
        Self { snappy: snap::raw::Decoder::new(), zstd: None, records_bytes_max }
    }

    /// How many bytes the records of one batch may take decompressed.
    pub const fn records_bytes_max(&self) -> usize {
        self.records_bytes_max
    }

    /// The decompressed bytes, borrowed when there is nothing to decompress.
    ///
    /// # Errors
    /// As [`Decompressor::decompress_into`].
    pub fn decompress<'a>(
        &mut self,
        codec: Compression,
        bytes: &'a [u8],
        limit_bytes: usize,
    ) -> Result<Cow<'a, [u8]>, Error> {
        if codec == Compression::None && bytes.len() <= limit_bytes {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut out = Vec::new();
        self.decompress_into(codec, bytes, limit_bytes, &mut out)?;
        Ok(Cow::Owned(out))
    }

    /// Appends the decompressed `bytes` to `out`: at most `limit_bytes` of them.
    ///
    /// The checksums inside gzip and zstd are checked. Those inside an LZ4 frame are not, as in the Java client: what
    /// holds the frame has a checksum of its own.
    ///
    /// # Errors
    /// [`Error::Malformed`] and [`Error::TooLarge`], with `out` as it was; never a panic, whatever the bytes are.
    /// Compressed data of no bytes at all is malformed: every codec writes some for an empty input.
    pub fn decompress_into(
        &mut self,
        codec: Compression,
        bytes: &[u8],
        limit_bytes: usize,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let start = out.len();
        let mut output = Output { out, start, limit_bytes };
        let done = match codec {
            Compression::None => output.append(bytes),
            Compression::Gzip => ungzip(bytes, &mut output),
            Compression::Snappy => self.unsnappy(bytes, &mut output),
            Compression::Lz4 => lz4::decompress(bytes, &mut output),
            Compression::Zstd => self.unzstd(bytes, &mut output),
        };
        done.map_err(|stop| {
            out.truncate(start);
            match stop {
                Stop::Full => Error::TooLarge { codec, limit_bytes },
                Stop::Malformed(reason) => Error::Malformed { codec, reason },
            }
        })
    }

    fn unsnappy(&mut self, bytes: &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
        if !bytes.starts_with(&XERIAL_MAGIC) {
            return self.unsnappy_block(bytes, output);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            // Streams may stand one after the other; the first byte of the magic makes it no block length.
            if rest.starts_with(&XERIAL_MAGIC) {
                rest = rest.get(XERIAL_HEADER_BYTES..).ok_or_else(|| malformed("cut short in the stream header"))?;
                continue;
            }
            let length = take_u32(&mut rest, "cut short in a block length", u32::from_be_bytes)?;
            let block = take(&mut rest, to_usize(length), "cut short in a block")?;
            self.unsnappy_block(block, output)?;
        }
        Ok(())
    }

    fn unsnappy_block(&mut self, block: &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
        let length = snap::raw::decompress_len(block).map_err(|error| malformed(error.to_string()))?;
        if length / SNAPPY_RATIO_MAX > block.len() {
            return Err(malformed("a block claims more than snappy can hold"));
        }
        if length > output.room() {
            return Err(Stop::Full);
        }
        let at = output.out.len();
        output.out.resize(at + length, 0);
        let written =
            self.snappy.decompress(block, &mut output.out[at..]).map_err(|error| malformed(error.to_string()))?;
        output.out.truncate(at + written);
        Ok(())
    }

    fn unzstd(&mut self, bytes: &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
        if bytes.is_empty() {
            return Err(malformed("there is none"));
        }
        let context = match &mut self.zstd {
            Some(context) => context,
            none => none.insert(DCtx::try_create().ok_or_else(|| malformed("no memory for a zstd context"))?),
        };
        // An earlier call may have ended in the middle of a frame.
        context.reset(ResetDirective::SessionOnly).map_err(|code| malformed(zstd_reason(code)))?;
        let declared = zstd::zstd_safe::get_frame_content_size(bytes).ok().flatten();
        let hint = declared.and_then(|size| usize::try_from(size).ok());
        output.reserve(hint.unwrap_or_else(|| bytes.len().saturating_mul(RESERVE_FACTOR)));
        let mut input = InBuffer::around(bytes);
        loop {
            let at = output.out.len();
            if at == output.out.capacity() {
                output.reserve(at.saturating_sub(output.start).max(64 * 1024));
            }
            let mut buffer = OutBuffer::around_pos(output.out, at);
            let left_in_frame =
                context.decompress_stream(&mut buffer, &mut input).map_err(|code| malformed(zstd_reason(code)))?;
            output.check()?;
            let all_read = input.pos() == bytes.len();
            if left_in_frame == 0 && all_read {
                return Ok(());
            }
            let had_room = output.out.len() < output.out.capacity();
            if left_in_frame != 0 && all_read && had_room {
                return Err(malformed("cut short"));
            }
        }
    }
}

/// Reads members, one after the other. What follows the last one and does not begin with the header of another is ignored, as
/// by `GZIPInputStream`, with which brokers and the Java client read: such batches are in logs.
fn ungzip(bytes: &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    output.reserve(bytes.len().saturating_mul(RESERVE_FACTOR));
    let mut rest = bytes;
    let mut is_first = true;
    while !rest.is_empty() {
        let mut member = GzDecoder::new(rest);
        if !is_first && member.header().is_none() {
            return Ok(());
        }
        let limit = u64::try_from(output.room()).unwrap_or(u64::MAX).saturating_add(1);
        let read = member.by_ref().take(limit).read_to_end(output.out);
        read.map_err(|error| malformed(error.to_string()))?;
        output.check()?;
        rest = member.into_inner();
        is_first = false;
    }
    if is_first { Err(malformed("there is none")) } else { Ok(()) }
}

/// Where decompressed bytes go, and how many of them may.
struct Output<'a> {
    out: &'a mut Vec<u8>,
    start: usize,
    limit_bytes: usize,
}

impl Output<'_> {
    fn room(&self) -> usize {
        self.limit_bytes.saturating_sub(self.out.len() - self.start)
    }

    fn check(&self) -> Result<(), Stop> {
        if self.out.len() - self.start > self.limit_bytes { Err(Stop::Full) } else { Ok(()) }
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        if bytes.len() > self.room() {
            return Err(Stop::Full);
        }
        self.out.extend_from_slice(bytes);
        Ok(())
    }

    /// Makes room for `wanted` bytes more, as far as the limit (and one byte, to see that it is passed) allows.
    fn reserve(&mut self, wanted: usize) {
        self.out.reserve(wanted.min(self.room().saturating_add(1)).min(RESERVE_BYTES_MAX));
    }
}

enum Stop {
    Full,
    Malformed(String),
}

fn malformed(reason: impl Into<String>) -> Stop {
    Stop::Malformed(reason.into())
}

fn zstd_reason(code: usize) -> String {
    get_error_name(code).to_owned()
}

fn take<'a>(rest: &mut &'a [u8], count: usize, cut: &'static str) -> Result<&'a [u8], Stop> {
    let (taken, left) = rest.split_at_checked(count).ok_or_else(|| malformed(cut))?;
    *rest = left;
    Ok(taken)
}

fn take_u32(rest: &mut &[u8], cut: &'static str, from: fn([u8; 4]) -> u32) -> Result<u32, Stop> {
    let (taken, left) = rest.split_first_chunk().ok_or_else(|| malformed(cut))?;
    *rest = left;
    Ok(from(*taken))
}

/// A length of 32 bits; on a machine where it does not fit it is more than there can be.
fn to_usize(value: u32) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
