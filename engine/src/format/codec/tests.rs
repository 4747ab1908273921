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
fn bytes_behind_the_end_are_ignored_where_the_java_client_ignores_them() {
    let plain = b"records ".repeat(100);
    for codec in [Compression::Gzip, Compression::Lz4] {
        for behind in [&[0; 1][..], &[0; 600], b"garbage", &[0x1f], &[0x1f, 0x8b], &[0x04, 0x22, 0x4d, 0x18]] {
            let bytes = [&compressed(codec, &plain)[..], behind].concat();
            assert_eq!(decompressed(codec, &bytes, plain.len()).as_deref(), Ok(&plain[..]), "{codec:?} {behind:?}");
        }
    }
    // A second member that begins well and is damaged is no garbage, to GZIPInputStream either.
    let whole = compressed(Compression::Gzip, &plain);
    let damaged = [&whole[..], &whole[..whole.len() / 2]].concat();
    assert!(decompressed(Compression::Gzip, &damaged, plain.len() * 2).is_err());
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
