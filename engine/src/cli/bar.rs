//! How far a run is: a bar on a terminal, a log line now and then elsewhere.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use kafka_backup::progress::{Progress, Snapshot};
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
    pub fn watch(&self, progress: Progress) -> Watching {
        Watching { bar: self.0.clone(), task: tokio::spawn(watch(self.0.clone(), progress)) }
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

async fn watch(bar: Option<ProgressBar>, progress: Progress) {
    let started = Instant::now();
    let mut ticks = interval(if bar.is_some() { DRAW_EVERY } else { LOG_EVERY });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    // A run that goes on with an earlier one begins with offsets that it did not deal with itself.
    let mut first = None;
    loop {
        ticks.tick().await;
        let now = progress.snapshot();
        if now.offsets_total == 0 {
            continue;
        }
        let first = *first.get_or_insert(now);
        let text = words(first, now, started.elapsed());
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
fn words(first: Snapshot, now: Snapshot, elapsed: Duration) -> String {
    let ms = u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX).max(1);
    let rate = now.bytes.saturating_mul(1000) / ms;
    let done = u128::from(now.offsets.saturating_sub(first.offsets));
    let left = u128::from(now.offsets_total.saturating_sub(now.offsets));
    let left = (u128::from(ms) * left).checked_div(done).map_or_else(
        || "time left unknown".to_owned(),
        |left_ms| {
            let seconds = left_ms / 1000;
            format!("{}:{:02}:{:02} left", seconds / 3600, seconds / 60 % 60, seconds % 60)
        },
    );
    format!("{}, {} records, {}/s, {left}", bytes(now.bytes), now.records, bytes(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_left_follows_from_what_this_run_did_itself() {
        let first = Snapshot { offsets_total: 1000, offsets: 500, records: 0, bytes: 0 };
        let now = Snapshot { offsets_total: 1000, offsets: 600, records: 90, bytes: 1 << 20 };
        assert_eq!(words(first, now, Duration::from_secs(10)), "1.0 MiB, 90 records, 102.3 KiB/s, 0:00:40 left");
        assert!(words(first, first, Duration::from_secs(10)).ends_with("time left unknown"));
    }
}
