//! LZ4 frames, as Kafka uses them: written by the C library, read in safe Rust.

use std::io::Write;

use lz4::liblz4::BlockChecksum;
use lz4::{BlockMode, BlockSize, ContentChecksum, EncoderBuilder};

use super::{Output, Stop, malformed, take, take_u32, to_usize};

const MAGIC: u32 = 0x184D_2204;
/// What the LZ4 library, and the Java client with it, takes without a level: its fast mode, which is also level 1.
const LEVEL_DEFAULT: u32 = 0;
/// How far back an LZ4 match may reach, so how much of the output a linked block needs.
const WINDOW_BYTES: usize = 64 * 1024;
/// One byte of an LZ4 block can lengthen a match by at most 255.
const RATIO_MAX: usize = 255;

/// Blocks of 64 KB that stand alone, without checksums, and no content size: the Java client refuses linked blocks and
/// misreads a size.
///
/// This is the C library, for its levels. It only ever compresses: what somebody else has compressed may be made to do harm,
/// and is read in safe Rust ([`decompress`]).
pub(super) fn compress(level: Option<i32>, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
    let level = level.and_then(|level| u32::try_from(level).ok()).unwrap_or(LEVEL_DEFAULT);
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

/// Reads one frame, and those behind it that are whole. Other bytes behind a frame are ignored, as by the Java client, with
/// which a broker reads what is produced: such batches are in logs.
pub(super) fn decompress(bytes: &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    if bytes.is_empty() {
        return Err(malformed("there is none"));
    }
    let mut rest = bytes;
    read_frame(&mut rest, output)?;
    while !rest.is_empty() {
        let end = output.out.len();
        match read_frame(&mut rest, output) {
            Ok(()) => {}
            Err(Stop::Full) => return Err(Stop::Full),
            Err(Stop::Malformed(_)) => {
                output.out.truncate(end);
                break;
            }
        }
    }
    Ok(())
}

/// Reads one frame, walking its blocks here: the library's own reader takes a frame without its end mark for a whole one.
fn read_frame(rest: &mut &[u8], output: &mut Output<'_>) -> Result<(), Stop> {
    const CUT: &str = "cut short in the frame header";
    if take_u32(rest, CUT, u32::from_le_bytes)? != MAGIC {
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
            read_block(block, block_bytes_max, linked.then_some(frame_start), output)?;
        }
    }
    if content_checksum {
        take(rest, 4, "cut short in the content checksum")?;
    }
    Ok(())
}

fn read_block(block: &[u8], bytes_max: usize, linked_from: Option<usize>, output: &mut Output<'_>) -> Result<(), Stop> {
    let at = output.out.len();
    output.out.resize(at + bytes_max.min(block.len().saturating_mul(RATIO_MAX)), 0);
    let (before, into) = output.out.split_at_mut(at);
    let written = match linked_from {
        None => lz4_flex::block::decompress_into(block, into),
        Some(from) => {
            let window = &before[from.max(at.saturating_sub(WINDOW_BYTES))..];
            lz4_flex::block::decompress_into_with_dict(block, into, window)
        }
    }
    .map_err(|error| malformed(error.to_string()))?;
    output.out.truncate(at + written);
    output.check()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::codec::{Compression, Compressor, Decompressor};

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
                assert_eq!(
                    Decompressor::new().decompress(Compression::Lz4, &packed, plain.len()).expect("reads"),
                    plain
                );
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
                assert_eq!(packed[..4], MAGIC.to_le_bytes());
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
}
