//! Backups of samples that are there already, and restores of them that are watched.

use e2e::kafka::{Kafka, Listener};
use e2e::running::Running;
use e2e::runs::Repository;
use e2e::sample::Sample;

use crate::BackedUp;

impl<'a> BackedUp<'a> {
    /// A sample that is there already, and its backup by a command with these further arguments.
    pub fn of(kafka: &'a Kafka, sample: Sample, more: &[&str]) -> Self {
        let backed_up = Self { kafka, repository: Repository::folder().unwrap(), sample };
        backed_up.start_backup(more).ended().unwrap().succeeded();
        backed_up
    }

    /// Starts another backup of the sample.
    pub fn start_backup(&self, more: &[&str]) -> Running {
        let bootstrap = self.kafka.bootstrap(Listener::Plain);
        let backup = ["backup", "--bootstrap-servers", &bootstrap, "--archive", "a", "--topics", &self.sample.topic];
        self.repository.start(&[&backup[..], more].concat()).unwrap()
    }

    /// Starts a restore of the sample.
    pub fn start(&self, target: &str, more: &[&str]) -> Running {
        let command = self.command(target, more);
        self.repository.start(&command.iter().map(String::as_str).collect::<Vec<_>>()).unwrap()
    }
}
