//! A small stored document: one line that says what follows and how to check it, then the body.
//!
//! ```text
//! {"kafkaBackup":"manifest","version":1,"encoding":"json","bytes":1234,"sha256":".."}
//! { .. }
//! ```
//!
//! The body is JSON, or JSON compressed with zstd. `tail -n +2 manifest | sha256sum` checks it without any of our
//! code. Nothing of a body is looked at before its length and checksum are right.

use std::io::{BufReader, BufWriter, Read};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The longest header line that is looked for.
const HEADER_BYTES_MAX: usize = 1024;
/// The longest body after decompression: a hostile object cannot take more time and memory than this.
const BODY_BYTES_MAX: u64 = 1 << 30;
/// zstd level of compressed bodies: the lists of runs shrink tenfold at next to no cost.
const ZSTD_LEVEL: i32 = 3;
/// JSON that is in memory at a time while a compressed body is written or read.
const JSON_BUFFER_BYTES: usize = 64 << 10;

/// What a document is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DocumentKind {
    /// Format version and id of a repository.
    Repository,
    /// What an archive belongs to.
    Archive,
    /// A backup's manifest.
    Manifest,
    /// What a listing says of a backup.
    Facts,
    /// A list of runs that a manifest refers to.
    Part,
    /// The index at the end of a segment.
    SegmentIndex,
    /// What a backup run began with.
    Cut,
    /// What a backup run had stored at a moment.
    Checkpoint,
    /// What a restore began with.
    Journal,
    /// Where the records of a restored partition stand in the target.
    OffsetMap,
    /// What a restore did.
    RestoreReport,
}

/// How the body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Encoding {
    /// JSON, readable as it stands.
    #[serde(rename = "json")]
    Json,
    /// JSON in one zstd frame.
    #[serde(rename = "json+zstd")]
    JsonZstd,
}

/// Why bytes are not the document they should be.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The first line is missing or is no header.
    #[error("it does not begin with a kafka-backup header line")]
    NoHeader,
    /// It is another document.
    #[error("it is a {found:?}, not a {wanted:?}")]
    Kind {
        /// What the header says.
        found: DocumentKind,
        /// What was looked for.
        wanted: DocumentKind,
    },
    /// Written by a later version of this format.
    #[error("it has format version {found}, this program reads up to {supported}: use a newer kafka-backup")]
    Version {
        /// What the header says.
        found: u32,
        /// The newest that this program knows.
        supported: u32,
    },
    /// The body has another length than the header says.
    #[error("it has {found} bytes after its header where {wanted} were written: cut short or edited")]
    Length {
        /// Bytes there are.
        found: usize,
        /// Bytes the header names.
        wanted: usize,
    },
    /// The body is not what was written.
    #[error("its SHA-256 does not fit its content: damaged, or edited by hand")]
    Checksum,
    /// The checksum is right and yet the body cannot be read.
    #[error("its content cannot be read: {0}")]
    Content(String),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Header {
    kafka_backup: DocumentKind,
    version: u32,
    encoding: Encoding,
    bytes: usize,
    sha256: String,
}

/// The lower-case hexadecimal SHA-256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Writes `value` as a document.
pub fn seal<T: Serialize>(kind: DocumentKind, version: u32, encoding: Encoding, value: &T) -> Vec<u8> {
    const PLAIN: &str = "our own types have string keys and no failing serializer";
    let body = match encoding {
        Encoding::Json => serde_json::to_vec(value).expect(PLAIN),
        Encoding::JsonZstd => {
            // A list of millions of numbers is never in memory as JSON.
            let encoder = zstd::Encoder::new(Vec::new(), ZSTD_LEVEL).expect("the level is one of zstd's");
            let mut encoder = BufWriter::with_capacity(JSON_BUFFER_BYTES, encoder);
            serde_json::to_writer(&mut encoder, value).expect(PLAIN);
            let encoder = encoder.into_inner().ok().expect("writing into memory cannot fail");
            encoder.finish().expect("compressing into memory cannot fail")
        }
    };
    let header = Header { kafka_backup: kind, version, encoding, bytes: body.len(), sha256: sha256_hex(&body) };
    let mut sealed = serde_json::to_vec(&header).expect("a header is plain");
    sealed.push(b'\n');
    sealed.extend_from_slice(&body);
    sealed
}

/// Checks a document and reads its body; `supported` is the newest version that `T` stands for.
///
/// # Errors
/// Every way in which the bytes are not such a document.
pub fn open<T: DeserializeOwned>(kind: DocumentKind, supported: u32, bytes: &[u8]) -> Result<T, Error> {
    let line_end = bytes.iter().take(HEADER_BYTES_MAX).position(|byte| *byte == b'\n').ok_or(Error::NoHeader)?;
    let header: Header = serde_json::from_slice(&bytes[..line_end]).map_err(|_| Error::NoHeader)?;
    if header.kafka_backup != kind {
        return Err(Error::Kind { found: header.kafka_backup, wanted: kind });
    }
    if header.version > supported || header.version == 0 {
        return Err(Error::Version { found: header.version, supported });
    }
    let body = &bytes[line_end + 1..];
    if body.len() != header.bytes {
        return Err(Error::Length { found: body.len(), wanted: header.bytes });
    }
    if sha256_hex(body) != header.sha256 {
        return Err(Error::Checksum);
    }
    match header.encoding {
        Encoding::Json => serde_json::from_slice(body).map_err(content),
        Encoding::JsonZstd => {
            let json = zstd::stream::Decoder::with_buffer(body).map_err(content)?.take(BODY_BYTES_MAX);
            serde_json::from_reader(BufReader::with_capacity(JSON_BUFFER_BYTES, json)).map_err(content)
        }
    }
}

fn content(error: impl std::fmt::Display) -> Error {
    Error::Content(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(encoding: Encoding) -> Vec<u8> {
        seal(DocumentKind::Manifest, 1, encoding, &vec!["orders".to_owned(); 20])
    }

    #[test]
    fn what_was_sealed_is_opened() {
        for encoding in [Encoding::Json, Encoding::JsonZstd] {
            let value: Vec<String> = open(DocumentKind::Manifest, 1, &sealed(encoding)).unwrap();
            assert_eq!(value, vec!["orders"; 20]);
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        for encoding in [Encoding::Json, Encoding::JsonZstd] {
            let whole = sealed(encoding);
            for at in 0..whole.len() * 8 {
                let mut flipped = whole.clone();
                flipped[at / 8] ^= 1 << (at % 8);
                assert!(open::<Vec<String>>(DocumentKind::Manifest, 1, &flipped).is_err(), "bit {at} went unnoticed");
            }
        }
    }

    #[test]
    fn every_cut_is_found() {
        let whole = sealed(Encoding::Json);
        for length in 0..whole.len() {
            assert!(open::<Vec<String>>(DocumentKind::Manifest, 1, &whole[..length]).is_err());
        }
    }

    #[test]
    fn another_document_and_a_later_version_are_named() {
        let whole = sealed(Encoding::Json);
        let error = open::<Vec<String>>(DocumentKind::Part, 1, &whole).unwrap_err();
        assert_eq!(error.to_string(), "it is a Manifest, not a Part");
        let later = seal(DocumentKind::Manifest, 2, Encoding::Json, &["orders"]);
        let error = open::<Vec<String>>(DocumentKind::Manifest, 1, &later).unwrap_err();
        assert!(error.to_string().contains("newer kafka-backup"), "{error}");
    }
}
