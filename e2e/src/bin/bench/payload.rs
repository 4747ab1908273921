//! What the records hold: files of lines, from which Kafka's own producer tool draws.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

/// One kind of topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Small JSON, compressed by the producer
    Json,
    /// Records of 1 kB, uncompressed
    Kilobyte,
    /// Records of 100 bytes, uncompressed
    Small,
    /// Records of 1 kB, uncompressed, in transactions of a tenth of a second
    Transactional,
}

/// Different lines a file: enough that no batch holds many of them twice.
const LINES: u64 = 20_000;

impl Shape {
    /// In words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Json => "small JSON, compressed by the producer (zstd)",
            Self::Kilobyte => "1 kB records, uncompressed",
            Self::Small => "100-byte records, uncompressed",
            Self::Transactional => "1 kB records, uncompressed, in transactions of 100 ms",
        }
    }

    /// A name that a topic may have.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Kilobyte => "kilobyte",
            Self::Small => "small",
            Self::Transactional => "transactional",
        }
    }

    /// The producer's `compression.type`.
    pub const fn codec(self) -> &'static str {
        match self {
            Self::Json => "zstd",
            Self::Kilobyte | Self::Small | Self::Transactional => "none",
        }
    }

    /// What tells the producer tool to write in transactions.
    pub const fn transactions(self) -> &'static [&'static str] {
        match self {
            Self::Json | Self::Kilobyte | Self::Small => &[],
            Self::Transactional => &["--transactional-id", "bench", "--transaction-duration-ms", "100"],
        }
    }

    /// Writes the file of lines.
    pub fn write(self, path: &Path) -> Result<()> {
        let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
        let mut file = BufWriter::new(file);
        for number in 0..LINES {
            let mut random = Random(number);
            let line = match self {
                Self::Json => json(&mut random, number),
                Self::Kilobyte | Self::Transactional => random.text(1_000),
                Self::Small => random.text(100),
            };
            // A delimiter after the last line would make an empty record.
            let delimiter = if number == 0 { "" } else { "\n" };
            write!(file, "{delimiter}{line}").context("cannot write the payload")?;
        }
        file.flush().context("cannot write the payload")
    }
}

/// An order of about 200 bytes.
fn json(random: &mut Random, number: u64) -> String {
    const CITIES: [&str; 4] = ["Lisbon", "Nairobi", "Osaka", "Quito"];
    const STATES: [&str; 4] = ["created", "paid", "shipped", "delivered"];
    let (customer, cents) = (random.below(100_000), random.below(1_000_000));
    let (city, state) = (CITIES[random.below(4) as usize], STATES[random.below(4) as usize]);
    let items: Vec<String> =
        (0..3).map(|_| format!(r#"{{"sku":"s-{}","count":{}}}"#, random.below(5_000), 1 + random.below(5))).collect();
    let items = items.join(",");
    format!(
        r#"{{"order":{number},"customer":"c-{customer}","state":"{state}","city":"{city}","cents":{cents},"currency":"EUR","items":[{items}]}}"#
    )
}

/// SplitMix64: the same lines on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// Letters and digits, of which a codec saves about a quarter.
    fn text(&mut self, bytes: usize) -> String {
        const ALPHABET: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
        (0..bytes).map(|_| char::from(ALPHABET[self.below(62) as usize])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_a_payload_is_one_record_of_its_size() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (shape, sizes) in [(Shape::Json, 150..250), (Shape::Kilobyte, 1_000..1_001), (Shape::Small, 100..101)] {
            shape.write(file.path()).unwrap();
            let text = std::fs::read_to_string(file.path()).unwrap();
            let lines: Vec<&str> = text.split('\n').collect();
            assert_eq!(lines.len() as u64, LINES);
            assert!(lines.iter().all(|line| sizes.contains(&line.len())), "{shape:?}");
        }
    }
}
