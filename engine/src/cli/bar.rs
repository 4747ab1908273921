//! How far a run is: a bar on a terminal, a log line now and then elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kafka_backup::progress::{Pace, Progress};
use kafka_backup::report::bytes;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Often enough to look alive.
const DRAW_EVERY: Duration = Duration::from_millis(200);
/// Seldom enough for a log that is kept.
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The bar of this process, if stderr is a terminal. Clones share it.
#[derive(Debug, Clone)]
pub struct Bar(Option<ProgressBar>);

impl Bar {
    /// A bar that shows nothing until there is something to show.
    pub fn new() -> Self {
        let style = ProgressStyle::with_template("{bar:30} {percent:>3}% {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        Self(io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::hidden());
            bar.with_style(style)
        }))
    }

    /// Whether somebody watches.
    pub const fn is_terminal(&self) -> bool {
        self.0.is_some()
    }

    /// Does something on stderr without the bar in its way.
    pub fn aside<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.0 {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Shows this progress until the end of what is given back.
    pub fn watch(&self, progress: Progress, started: Instant) -> Watching {
        Watching { bar: self.0.clone(), task: tokio::spawn(watch(self.0.clone(), progress, started)) }
    }
}

/// Progress that is shown.
pub struct Watching {
    bar: Option<ProgressBar>,
    task: JoinHandle<()>,
}

impl Watching {
    /// Shows it no longer.
    pub fn end(self) {
        self.task.abort();
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn watch(bar: Option<ProgressBar>, progress: Progress, started: Instant) {
    let mut ticks = interval(if bar.is_some() { DRAW_EVERY } else { LOG_EVERY });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = progress.snapshot();
        if now.offsets_total == 0 {
            continue;
        }
        let text = words(&now.pace(started.elapsed()));
        match &bar {
            Some(bar) => {
                if bar.is_hidden() {
                    bar.set_draw_target(ProgressDrawTarget::stderr());
                }
                bar.set_length(now.offsets_total);
                bar.set_position(now.offsets);
                bar.set_message(text);
            }
            None => tracing::info!("{} of {} offsets, {text}", now.offsets, now.offsets_total),
        }
    }
}

/// Bytes, records, rate, and the time that is left if it goes on like this.
fn words(pace: &Pace) -> String {
    let left = pace.eta_seconds.map_or_else(
        || "time left unknown".to_owned(),
        |seconds| format!("{}:{:02}:{:02} left", seconds / 3600, seconds / 60 % 60, seconds % 60),
    );
    format!("{}, {} records, {}/s, {left}", bytes(pace.bytes), pace.records, bytes(pace.bytes_per_second))
}

#[cfg(test)]
mod tests {
    use kafka_backup::progress::Snapshot;

    use super::*;

    #[test]
    fn a_pace_is_told_in_a_few_words() {
        let now = Snapshot { offsets_total: 1000, offsets: 600, offsets_before: 500, records: 90, bytes: 1 << 20 };
        assert_eq!(words(&now.pace(Duration::from_secs(10))), "1.0 MiB, 90 records, 102.3 KiB/s, 0:00:40 left");
        let first = Snapshot { offsets: 500, ..now };
        assert!(words(&first.pace(Duration::from_secs(10))).ends_with("time left unknown"));
    }
}
