//! stub
use super::batch::Compression;
#[derive(Debug, thiserror::Error)]
#[error("codec")]
pub struct Error;
pub struct Compressor;
impl Compressor {
    pub fn new() -> Self {
        Self
    }
    pub fn compress(&mut self, c: Compression, _l: Option<i32>, b: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if c == Compression::None {
            out.extend_from_slice(b)
        } else {
            out.extend(zstd::bulk::compress(b, 3).map_err(|_| Error)?)
        }
        Ok(())
    }
}
pub struct Decompressor;
impl Decompressor {
    pub fn new() -> Self {
        Self
    }
    pub fn decompress_into(&mut self, _c: Compression, b: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), Error> {
        out.extend(zstd::bulk::decompress(b, limit).map_err(|_| Error)?);
        Ok(())
    }
}
