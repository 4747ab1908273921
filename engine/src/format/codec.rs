//! The four codecs, as Kafka uses them inside a record batch; frames of the archive use them too.
//!
//! Reading takes whatever a producer may have written (both snappy framings, several gzip members, several zstd
//! frames, linked LZ4 blocks) and never more than a limit: a few bytes may claim gigabytes. Writing makes what
//! Kafka's Java client reads, and the same bytes from the same input every time.

use std::borrow::Cow;
use std::io::{Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4::liblz4::BlockChecksum;
use lz4::{BlockMode, BlockSize, ContentChecksum, EncoderBuilder};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, InBuffer, OutBuffer, ResetDirective, compress_bound, get_error_name};

pub use super::compression::{Compression, level_range, name};
use crate::error::Kind;

/// What `snappy-java` puts before its stream: the magic, then two integers (version, oldest compatible version).
const XERIAL_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
const XERIAL_HEADER_BYTES: usize = 16;
/// The block size of `SnappyOutputStream`, which the Java client leaves at its default.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// A snappy element makes at most 64 bytes, and takes at least one.
const SNAPPY_RATIO_MAX: usize = 64;

const LZ4_MAGIC: u32 = 0x184D_2204;
/// What the LZ4 library, and the Java client with it, takes without a level: its fast mode, which is also level 1.
const LZ4_LEVEL_DEFAULT: u32 = 0;
/// How far back an LZ4 match may reach, so how much of the output a linked block needs.
const LZ4_WINDOW_BYTES: usize = 64 * 1024;
/// One byte of an LZ4 block can lengthen a match by at most 255.
const LZ4_RATIO_MAX: usize = 255;

/// Output is reserved in steps no larger than this, so that a false size in a header reserves no more.
const RESERVE_BYTES_MAX: usize = 16 << 20;
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
            Compression::Lz4 => lz4(level, bytes, out),
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

    fn zstd(&mut self, level: i32, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        let context = match &mut self.zstd {
            Some(context) => context,
            none => none.insert(CCtx::try_create().ok_or("no memory for a zstd context")?),
        };
        context.set_parameter(CParameter::CompressionLevel(level)).map_err(zstd_reason)?;
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

/// Blocks of 64 KB that stand alone, without checksums, and no content size: the Java client refuses linked blocks and
/// misreads a size.
///
/// This is the C library, for its levels. It only ever compresses: what somebody else has compressed may be made to do harm,
/// and is read in safe Rust (`unlz4`).
fn lz4(level: Option<i32>, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let level = level.and_then(|level| u32::try_from(level).ok()).unwrap_or(LZ4_LEVEL_DEFAULT);
    let mut encoder = EncoderBuilder::new()
        .block_size(BlockSize::Max64KB)
        .block_mode(BlockMode::Independent)
        .block_checksum(BlockChecksum::NoBlockChecksum)
        .checksum(ContentChecksum::NoChecksum)
        .level(level)
        .build(out)
        .map_err(|error| error.to_string())?;
    encoder.write_all(bytes).map_err(|error| error.to_string())?;
    encoder.finish().1.map_err(|error| error.to_string())
}

/// Decompresses, and keeps the codecs' working memory from call to call.
pub struct Decompressor {
    snappy: snap::raw::Decoder,
    zstd: Option<DCtx<'static>>,
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
        Self { snappy: snap::raw::Decoder::new(), zstd: None }
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
            Compression::Lz4 => unlz4(bytes, &mut output),
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

fn ungzip(bytes: &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    output.reserve(bytes.len().saturating_mul(RESERVE_FACTOR));
    let limit = u64::try_from(output.limit_bytes).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(bytes).take(limit).read_to_end(output.out).map_err(|error| malformed(error.to_string()))?;
    output.check()
}

fn unlz4(bytes: &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    if bytes.is_empty() {
        return Err(malformed("there is none"));
    }
    let mut rest = bytes;
    while !rest.is_empty() {
        unlz4_frame(&mut rest, output)?;
    }
    Ok(())
}

/// Reads one frame, walking its blocks here: the library's own reader takes a frame without its end mark for a whole one.
fn unlz4_frame(rest: &mut &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    const CUT: &str = "cut short in the frame header";
    if take_u32(rest, CUT, u32::from_le_bytes)? != LZ4_MAGIC {
        return Err(malformed("no frame begins here"));
    }
    let [flags, descriptor] = take(rest, 2, CUT)? else {
        return Err(malformed(CUT));
    };
    if flags >> 6 != 1 {
        return Err(malformed(format!("frame version {} is unknown", flags >> 6)));
    }
    if flags & 0b1 != 0 {
        return Err(malformed("it needs a dictionary"));
    }
    let linked = flags & (1 << 5) == 0;
    let block_checksums = flags & (1 << 4) != 0;
    let content_size = flags & (1 << 3) != 0;
    let content_checksum = flags & (1 << 2) != 0;
    let block_bytes_max: usize = match descriptor >> 4 & 0b111 {
        code @ 4..=7 => 1 << (8 + 2 * code),
        code => return Err(malformed(format!("block size {code} is unknown"))),
    };
    // The size is a promise that only saves allocations; the header checksum follows it.
    take(rest, if content_size { 9 } else { 1 }, CUT)?;
    let frame_start = output.out.len();
    loop {
        let word = take_u32(rest, "cut short before its end mark", u32::from_le_bytes)?;
        if word == 0 {
            break;
        }
        let stored = word & (1 << 31) != 0;
        let length = to_usize(word & !(1 << 31));
        if length > block_bytes_max {
            return Err(malformed("a block is larger than its frame allows"));
        }
        let block = take(rest, length, "cut short in a block")?;
        if block_checksums {
            take(rest, 4, "cut short in a block checksum")?;
        }
        if stored {
            output.append(block)?;
        } else {
            unlz4_block(block, block_bytes_max, linked.then_some(frame_start), output)?;
        }
    }
    if content_checksum {
        take(rest, 4, "cut short in the content checksum")?;
    }
    Ok(())
}

fn unlz4_block(
    block: &[u8],
    bytes_max: usize,
    linked_from: Option<usize>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let at = output.out.len();
    output.out.resize(at + bytes_max.min(block.len().saturating_mul(LZ4_RATIO_MAX)), 0);
    let (before, into) = output.out.split_at_mut(at);
    let written = match linked_from {
        None => lz4_flex::block::decompress_into(block, into),
        Some(from) => {
            let window = &before[from.max(at.saturating_sub(LZ4_WINDOW_BYTES))..];
            lz4_flex::block::decompress_into_with_dict(block, into, window)
        }
    }
    .map_err(|error| malformed(error.to_string()))?;
    output.out.truncate(at + written);
    output.check()
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
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::format::arbitrary;

    fn compressed(codec: Compression, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Compressor::new().compress(codec, None, bytes, &mut out).expect("compresses");
        out
    }

    fn decompressed(codec: Compression, bytes: &[u8], limit_bytes: usize) -> Result<Vec<u8>, Error> {
        Decompressor::new().decompress(codec, bytes, limit_bytes).map(Cow::into_owned)
    }

    #[test]
    fn appends_to_what_is_there() {
        for codec in Compression::ALL {
            let mut packed = b"head".to_vec();
            Compressor::new().compress(codec, None, b"hello hello hello", &mut packed).expect("compresses");
            assert_eq!(&packed[..4], b"head");
            let mut plain = b"front ".to_vec();
            Decompressor::new().decompress_into(codec, &packed[4..], 17, &mut plain).expect("decompresses");
            assert_eq!(plain, b"front hello hello hello", "{codec:?}");
        }
    }

    #[test]
    fn a_limit_is_the_last_size_that_passes() {
        let plain = vec![b'x'; 3_000_000];
        for codec in Compression::ALL {
            let packed = compressed(codec, &plain);
            assert_eq!(decompressed(codec, &packed, plain.len()).expect("at the limit"), plain, "{codec:?}");
            for limit_bytes in [0, 1, 70_000, plain.len() - 1] {
                let mut out = b"kept".to_vec();
                let error = Decompressor::new().decompress_into(codec, &packed, limit_bytes, &mut out);
                assert_eq!(error, Err(Error::TooLarge { codec, limit_bytes }));
                assert_eq!(out, b"kept", "{codec:?}");
            }
        }
    }

    #[test]
    fn every_level_reads_back_and_no_other_is_taken() {
        let plain: Vec<u8> = (0..20_000_u32).flat_map(|n| (n / 3).to_be_bytes()).collect();
        for codec in Compression::ALL {
            let range = level_range(codec);
            for level in -1..=23 {
                let mut packed = Vec::new();
                let done = Compressor::new().compress(codec, Some(level), &plain, &mut packed);
                if range.as_ref().is_some_and(|range| range.contains(&level)) {
                    done.expect("a level of the range");
                    assert_eq!(decompressed(codec, &packed, plain.len()).expect("decompresses"), plain);
                } else {
                    assert_eq!(done, Err(Error::Level { codec, level }));
                }
            }
        }
    }

    #[test]
    fn a_level_asked_for_once_does_not_stay() {
        let plain: Vec<u8> = (0..20_000_u32).flat_map(|n| (n % 777).to_le_bytes()).collect();
        let mut compressor = Compressor::new();
        let mut high = Vec::new();
        compressor.compress(Compression::Zstd, Some(19), &plain, &mut high).expect("compresses");
        let mut default = Vec::new();
        compressor.compress(Compression::Zstd, None, &plain, &mut default).expect("compresses");
        assert_eq!(default, compressed(Compression::Zstd, &plain));
        assert_ne!(default, high);
    }

    #[test]
    fn reads_raw_snappy() {
        let raw = snap::raw::Encoder::new().compress_vec(b"raw raw raw raw raw").expect("compresses");
        assert_eq!(decompressed(Compression::Snappy, &raw, 100).expect("reads"), b"raw raw raw raw raw");
    }

    #[test]
    fn reads_several_members_frames_and_streams() {
        for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
            let packed = [compressed(codec, b"one"), compressed(codec, b""), compressed(codec, b"two")].concat();
            assert_eq!(decompressed(codec, &packed, 6).expect("reads"), b"onetwo", "{codec:?}");
            assert_eq!(decompressed(codec, &packed, 5), Err(Error::TooLarge { codec, limit_bytes: 5 }));
        }
    }

    #[test]
    fn reads_zstd_without_a_content_size() {
        let plain = vec![7; 500_000];
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).expect("an encoder");
        encoder.write_all(&plain).expect("compresses");
        let packed = encoder.finish().expect("compresses");
        assert!(!matches!(zstd::zstd_safe::get_frame_content_size(&packed), Ok(Some(_))));
        assert_eq!(decompressed(Compression::Zstd, &packed, plain.len()).expect("reads"), plain);
    }

    #[test]
    fn reads_lz4_of_every_shape() {
        let plain: Vec<u8> = (0..200_000_u32).flat_map(|n| (n % 5000).to_be_bytes()).collect();
        for block_size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for block_mode in [BlockMode::Independent, BlockMode::Linked] {
                let mut encoder = EncoderBuilder::new()
                    .block_size(block_size.clone())
                    .block_mode(block_mode)
                    .block_checksum(BlockChecksum::BlockChecksumEnabled)
                    .checksum(ContentChecksum::ChecksumEnabled)
                    .content_size(plain.len() as u64)
                    .build(Vec::new())
                    .expect("an encoder");
                encoder.write_all(&plain).expect("compresses");
                let (packed, done) = encoder.finish();
                done.expect("compresses");
                assert_eq!(decompressed(Compression::Lz4, &packed, plain.len()).expect("reads"), plain);
            }
        }
    }

    #[test]
    fn writes_lz4_frames_as_the_java_client_does() {
        // KafkaLZ4BlockOutputStream: version 1, blocks that stand alone, no checksums, no content size; blocks of 64 KB.
        const JAVA_FLAGS: u8 = 0b0110_0000;
        const JAVA_DESCRIPTOR: u8 = 0b0100_0000;
        let plain: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_be_bytes()).collect();
        for level in [None, Some(1), Some(12)] {
            for plain in [&plain[..], &[]] {
                let mut packed = Vec::new();
                Compressor::new().compress(Compression::Lz4, level, plain, &mut packed).expect("compresses");
                assert_eq!(packed[..4], LZ4_MAGIC.to_le_bytes());
                assert_eq!(packed[4..6], [JAVA_FLAGS, JAVA_DESCRIPTOR], "level {level:?}");
            }
        }
    }

    #[test]
    fn a_higher_lz4_level_makes_no_more_bytes_and_the_highest_makes_fewer() {
        let plain =
            (0..50_000_u64).map(|n| format!("{} ", n * n * 2_654_435_761 % 1_000_003 % 300)).collect::<String>();
        let packed_bytes = |level| {
            let mut packed = Vec::new();
            Compressor::new().compress(Compression::Lz4, level, plain.as_bytes(), &mut packed).expect("compresses");
            packed.len()
        };
        let fast = packed_bytes(Some(1));
        assert_eq!(packed_bytes(None), fast);
        for level in 2..=12 {
            assert!(packed_bytes(Some(level)) <= fast, "level {level}: {} of {fast}", packed_bytes(Some(level)));
        }
        assert!(packed_bytes(Some(12)) < fast);
    }

    #[test]
    fn a_level_that_lz4_does_not_have_is_refused_with_those_it_has() {
        for level in [0, 13] {
            let error =
                Compressor::new().compress(Compression::Lz4, Some(level), b"", &mut Vec::new()).expect_err("no level");
            assert_eq!(error.to_string(), format!("lz4 has no compression level {level}: choose one of 1 to 12"));
        }
    }

    #[test]
    fn every_cut_is_an_error() {
        let plain: Vec<u8> = (0..3000_u32).flat_map(u32::to_be_bytes).collect();
        for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
            let packed = compressed(codec, &plain);
            for end in 0..packed.len() {
                assert!(decompressed(codec, &packed[..end], 1 << 20).is_err(), "{codec:?} cut at {end}");
            }
        }
        // A framed snappy stream may end after any block; within one it may not.
        let packed = compressed(Compression::Snappy, &plain);
        assert!(decompressed(Compression::Snappy, &packed[..packed.len() - 1], 1 << 20).is_err());
        assert!(decompressed(Compression::Snappy, &packed[..10], 1 << 20).is_err());
        assert!(decompressed(Compression::Snappy, &[], 1 << 20).is_err());
    }

    #[test]
    fn a_false_size_allocates_nothing_much() {
        // A snappy block of ten bytes that says it holds 4 GiB less one.
        let bytes = [0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0, 0];
        let error = decompressed(Compression::Snappy, &bytes, usize::MAX).expect_err("it cannot");
        assert!(matches!(error, Error::Malformed { codec: Compression::Snappy, .. }), "{error}");
    }

    proptest! {
        #[test]
        fn what_was_compressed_reads_back(codec in arbitrary::compression(), plain in vec(any::<u8>(), 0..3000), copies in 1_usize..40) {
            let plain = plain.repeat(copies);
            let packed = compressed(codec, &plain);
            prop_assert_eq!(decompressed(codec, &packed, plain.len()).expect("decompresses"), plain);
        }

        #[test]
        fn a_used_compressor_makes_the_same_bytes_as_a_new_one(
            inputs in vec((arbitrary::compression(), vec(0_u8..4, 0..2000)), 1..8),
        ) {
            let mut used = Compressor::new();
            for (codec, plain) in inputs {
                let mut packed = Vec::new();
                used.compress(codec, None, &plain, &mut packed).expect("compresses");
                prop_assert_eq!(packed, compressed(codec, &plain));
            }
        }

        #[test]
        fn flipped_bits_never_panic_nor_spoil_the_next_call(
            codec in arbitrary::compression(),
            plain in vec(0_u8..8, 1..3000),
            flips in vec((any::<prop::sample::Index>(), 0_u8..8), 1..4),
        ) {
            let good = compressed(codec, &plain);
            let mut bad = good.clone();
            for (at, bit) in flips {
                let at = at.index(bad.len());
                bad[at] ^= 1 << bit;
            }
            let mut decompressor = Decompressor::new();
            if let Ok(out) = decompressor.decompress(codec, &bad, 5000) {
                prop_assert!(out.len() <= 5000);
            }
            prop_assert_eq!(decompressor.decompress(codec, &good, 5000).expect("good bytes"), plain);
        }

        #[test]
        fn random_bytes_never_panic(codec in arbitrary::compression(), bytes in vec(any::<u8>(), 0..300)) {
            if let Ok(out) = decompressed(codec, &bytes, 10_000) {
                prop_assert!(out.len() <= 10_000);
            }
        }
    }
}
