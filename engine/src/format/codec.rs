//! stub
use super::batch::Compression;
#[derive(Debug, thiserror::Error)]
#[error("codec")]
pub struct Error;
pub struct Compressor(Compression);
impl Compressor {
    pub fn new(c: Compression, _l: Option<i32>) -> Result<Self, Error> {
        Ok(Self(c))
    }
    pub fn codec(&self) -> Compression {
        self.0
    }
    pub fn compress(&mut self, b: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if self.0 == Compression::None {
            out.extend_from_slice(b)
        } else {
            out.extend(zstd::bulk::compress(b, 3).map_err(|_| Error)?)
        }
        Ok(())
    }
}
pub fn decompress(_c: Compression, b: &[u8], limit: usize) -> Result<Vec<u8>, Error> {
    zstd::bulk::decompress(b, limit).map_err(|_| Error)
}
