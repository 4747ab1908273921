//! Records as all witnesses hand them over: a folder with one file a partition, `<partition>.records`, in offset order.
//!
//! A record is: partition (i32), offset (i64), timestamp type (i8: 0 create, 1 append), timestamp (i64), key, value,
//! the number of headers (i32), and each header's key and value. Everything is big-endian, as Java writes it; a key or a
//! value is its length (i32, -1 for null) and its bytes. Header keys are bytes here, since a broker takes any.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// One record, as it stands in a partition or is to be written to one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Record {
    /// The partition; -1 lets a producer choose.
    pub partition: i32,
    /// The offset; a producer ignores it.
    pub offset: i64,
    /// Whether the timestamp is the broker's (LogAppendTime) and not the producer's; a producer ignores it.
    pub is_append_time: bool,
    /// Milliseconds since 1970; -1 lets a producer take the present.
    pub timestamp_ms: i64,
    /// The key, or null.
    pub key: Option<Vec<u8>>,
    /// The value, or null: a tombstone.
    pub value: Option<Vec<u8>>,
    /// In the record's order, keys repeated as they are.
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// Larger than any record that a broker takes; a length beyond it is a damaged file.
const FIELD_BYTES_MAX: i32 = 1 << 30;

impl Record {
    /// A record for `partition` with a key, a value, and a timestamp in milliseconds since 1970.
    pub fn new(partition: i32, timestamp_ms: i64, key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        Self { partition, timestamp_ms, key: Some(key.into()), value: Some(value.into()), ..Self::default() }
    }

    /// Adds a header after those that are there.
    #[must_use]
    pub fn with_header(mut self, key: impl Into<Vec<u8>>, value: Option<&[u8]>) -> Self {
        self.headers.push((key.into(), value.map(<[u8]>::to_vec)));
        self
    }

    /// Appends the record to a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, file: &mut impl Write) -> io::Result<()> {
        file.write_all(&self.partition.to_be_bytes())?;
        file.write_all(&self.offset.to_be_bytes())?;
        file.write_all(&[u8::from(self.is_append_time)])?;
        file.write_all(&self.timestamp_ms.to_be_bytes())?;
        write_bytes(file, self.key.as_deref())?;
        write_bytes(file, self.value.as_deref())?;
        file.write_all(&length(self.headers.len())?.to_be_bytes())?;
        for (key, value) in &self.headers {
            write_bytes(file, Some(key))?;
            write_bytes(file, value.as_deref())?;
        }
        Ok(())
    }

    /// The next record of a file, or `None` at its end.
    fn read(file: &mut impl io::BufRead) -> io::Result<Option<Self>> {
        if file.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let mut record = Self {
            partition: i32::from_be_bytes(array(file)?),
            offset: i64::from_be_bytes(array(file)?),
            is_append_time: array::<1>(file)? == [1],
            timestamp_ms: i64::from_be_bytes(array(file)?),
            key: read_bytes(file)?,
            value: read_bytes(file)?,
            headers: Vec::new(),
        };
        for _ in 0..i32::from_be_bytes(array(file)?) {
            let key = read_bytes(file)?.ok_or_else(|| io::Error::other("a header without a key"))?;
            record.headers.push((key, read_bytes(file)?));
        }
        Ok(Some(record))
    }
}

/// The records of one partition or file, read one after the other.
#[derive(Debug)]
pub struct Records {
    file: BufReader<File>,
    path: PathBuf,
}

impl Records {
    /// Opens a file of records.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self { file: BufReader::with_capacity(1 << 18, file), path: path.to_owned() })
    }
}

impl Iterator for Records {
    type Item = Result<Record>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = Record::read(&mut self.file).with_context(|| format!("cannot read {}", self.path.display()));
        read.transpose()
    }
}

/// The file of one partition in a dump.
pub fn file_of(folder: &Path, partition: i32) -> PathBuf {
    folder.join(format!("{partition}.records"))
}

/// The partitions that a dump holds, in order.
///
/// # Errors
/// When the folder cannot be read, or holds something else.
pub fn partitions(folder: &Path) -> Result<Vec<i32>> {
    let mut partitions = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match name.strip_suffix(".records").and_then(|number| number.parse().ok()) {
            Some(partition) => partitions.push(partition),
            None => bail!("{} is no file of a dump", path.display()),
        }
    }
    partitions.sort_unstable();
    Ok(partitions)
}

/// Writes records to one file.
///
/// # Errors
/// When it cannot be written.
pub fn write_file(path: &Path, records: &[Record]) -> Result<()> {
    let context = || format!("cannot write {}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(context)?);
    records.iter().try_for_each(|record| record.write(&mut file)).with_context(context)?;
    file.flush().with_context(context)
}

/// All records of one file; only for small ones.
///
/// # Errors
/// When it cannot be read.
pub fn read_file(path: &Path) -> Result<Vec<Record>> {
    Records::open(path)?.collect()
}

/// All records of a dump, partition after partition; only for small ones.
///
/// # Errors
/// When it cannot be read.
pub fn read_all(folder: &Path) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    for partition in partitions(folder)? {
        records.extend(read_file(&file_of(folder, partition))?);
    }
    Ok(records)
}

fn length(length: usize) -> io::Result<i32> {
    i32::try_from(length).map_err(|_| io::Error::other("too long for a record"))
}

fn write_bytes(file: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    match bytes {
        Some(bytes) => {
            file.write_all(&length(bytes.len())?.to_be_bytes())?;
            file.write_all(bytes)
        }
        None => file.write_all(&(-1_i32).to_be_bytes()),
    }
}

fn array<const N: usize>(file: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_bytes(file: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
    let length = i32::from_be_bytes(array(file)?);
    if length == -1 {
        return Ok(None);
    }
    if !(0..=FIELD_BYTES_MAX).contains(&length) {
        return Err(io::Error::other(format!("a field of {length} bytes")));
    }
    let mut bytes = vec![0; length.unsigned_abs() as usize];
    file.read_exact(&mut bytes)?;
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_with_its_nulls_and_repeated_headers() {
        let strange = Record {
            partition: 3,
            offset: i64::MAX,
            is_append_time: true,
            timestamp_ms: -1,
            key: None,
            value: Some(Vec::new()),
            headers: vec![(vec![0xff, 0xfe], None), (b"h".to_vec(), Some(Vec::new())), (b"h".to_vec(), None)],
        };
        let plain = Record::new(0, 5, "key", "value");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.records");
        write_file(&path, &[strange.clone(), plain.clone()]).unwrap();
        assert_eq!(read_file(&path).unwrap(), [strange, plain]);
    }

    #[test]
    fn a_file_that_ends_inside_a_record_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.records");
        write_file(&path, &[Record::new(0, 5, "key", "value")]).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() - 1]).unwrap();
        assert!(read_file(&path).is_err());
    }
}
