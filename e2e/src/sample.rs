//! A topic of generated records, large enough to be interrupted in, and what came back of it.

use anyhow::{Result, ensure};

use crate::compare::{self, Rules};
use crate::unique;
use crate::witness::{Generate, NewTopic, Shape, Witness};

/// A topic whose records no codec makes smaller, in many small batches.
#[derive(Debug)]
pub struct Sample {
    /// Its name.
    pub topic: String,
    /// Records over all its partitions.
    pub records: u64,
}

impl Sample {
    /// Bytes of each record's value.
    pub const VALUE_BYTES: u32 = 300;
    /// Partitions of the topic.
    pub const PARTITIONS: i32 = 6;

    /// Writes so many records to a new topic whose name begins with `stem`.
    ///
    /// # Errors
    /// The witness's.
    pub fn write(witness: &Witness, stem: &str, records: u64) -> Result<Self> {
        Self::write_with(witness, stem, records, &[("batch.size", "4096"), ("linger.ms", "1")])
    }

    /// The same in batches of one to three records each, as producers without `linger.ms` write them when they have little to
    /// do.
    ///
    /// # Errors
    /// The witness's.
    pub fn write_few_in_a_batch(witness: &Witness, stem: &str, records: u64, codec: &str) -> Result<Self> {
        let config = [("batch.size", "1100"), ("linger.ms", "0"), ("compression.type", codec)];
        Self::write_with(witness, stem, records, &config)
    }

    fn write_with(witness: &Witness, stem: &str, records: u64, config: &[(&str, &str)]) -> Result<Self> {
        let topic = unique(stem);
        witness.create_topics(&[NewTopic::new(&topic, Self::PARTITIONS)])?;
        witness.generate(&Generate {
            topic: topic.clone(),
            partitions: Self::PARTITIONS,
            records,
            seed: 1,
            shape: Shape::Random,
            value_bytes: Self::VALUE_BYTES,
            keys: 1000,
            timestamp_ms: 1_700_000_000_000,
            config: config.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        })?;
        Ok(Self { topic, records })
    }

    /// Compares all of it with all of the topic `target`.
    ///
    /// # Errors
    /// The first difference in words.
    pub fn came_back_as(&self, witness: &Witness, target: &str) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let (before, after) = (folder.path().join("before"), folder.path().join("after"));
        witness.dump(&self.topic, &before)?;
        witness.dump(target, &after)?;
        let compared = compare::dumps(&before, &after, Rules::RESTORED)?;
        ensure!(compared.records == self.records, "{} of {} records are there", compared.records, self.records);
        Ok(())
    }
}
