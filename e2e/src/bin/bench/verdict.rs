//! The figures of one topic side by side, and whether what is promised of them holds.

use std::fmt::{self, Display};

use e2e::measure::Figures;

use super::payload::Shape;

/// The most memory that a backup may take, in MiB.
const PEAK_MIB_MAX: f64 = 128.0;

/// All that was measured on one topic.
#[derive(Debug, Clone)]
pub struct Row {
    /// What was run.
    pub name: &'static str,
    /// What it took.
    pub figures: Figures,
}

/// What is compared by the ratios.
#[derive(Debug, Clone, Copy)]
pub struct Compared {
    /// The topic.
    pub shape: Shape,
    /// Fetch and discard.
    pub discard: Figures,
    /// A backup of which the segments are thrown away.
    pub discarding_backup: Figures,
    /// A backup to a folder in memory, compressing nothing; `None` without such a folder.
    pub free_backup: Option<Figures>,
    /// A backup to disk with default settings.
    pub backup: Figures,
    /// A restore from disk.
    pub restore: Figures,
    /// Another version of the program, where one was named.
    pub other: Option<Other>,
    /// Kafka's own consumer tool.
    pub consumer: Figures,
    /// Kafka's own producer tool.
    pub producer: Figures,
}

/// What another version took.
#[derive(Debug, Clone, Copy)]
pub struct Other {
    /// A backup to disk with default settings.
    pub backup: Figures,
    /// A restore from disk.
    pub restore: Figures,
}

/// A ratio, or a figure, with its bound.
#[derive(Debug, Clone, PartialEq)]
pub struct Verdict {
    what: &'static str,
    value: f64,
    unit: &'static str,
    /// The bound, and whether the value may reach it; `None` where nothing is promised.
    bound: Option<(f64, bool)>,
}

impl Verdict {
    /// Whether the promise is kept; one that was not given cannot be broken.
    pub fn holds(&self) -> bool {
        self.bound.is_none_or(|(bound, may_reach)| self.value < bound || may_reach && self.value == bound)
    }
}

impl Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, value, unit, bound } = self;
        write!(f, "{what:56} {value:8.3}{unit:4}")?;
        match bound {
            None => write!(f, "  (no bound)"),
            Some((bound, may_reach)) => {
                let relation = if *may_reach { "at most" } else { "below" };
                let verdict = if self.holds() { "holds" } else { "DOES NOT HOLD" };
                write!(f, "  {relation} {bound}: {verdict}")
            }
        }
    }
}

/// What is promised of the compressed JSON topic, and of memory for every topic.
pub fn verdicts(compared: &Compared) -> Vec<Verdict> {
    let Compared { shape, discard, discarding_backup, free_backup, backup, restore, other, consumer, producer } =
        compared;
    let ratio = |what, value: f64, bound: f64, may_reach| Verdict {
        what,
        value,
        unit: "",
        bound: matches!(shape, Shape::Json).then_some((bound, may_reach)),
    };
    let mut verdicts =
        vec![ratio("CPU: backup to disk / ConsumerPerformance", backup.cpu_s / consumer.cpu_s, 0.1, true)];
    let wall = discarding_backup.wall_s / discard.wall_s;
    verdicts.push(ratio("wall: backup and discard / fetch and discard", wall, 1.6, true));
    verdicts.push(ratio("wall: restore / ProducerPerformance", restore.wall_s / producer.wall_s, 1.0, false));
    verdicts.push(ratio("CPU: restore / ProducerPerformance", restore.cpu_s / producer.cpu_s, 0.1, true));
    let peak_mib = free_backup.map_or(backup.peak_mib, |free| free.peak_mib.max(backup.peak_mib));
    let bound = Some((PEAK_MIB_MAX, true));
    verdicts.push(Verdict { what: "peak memory: backup", value: peak_mib, unit: " MiB", bound });
    verdicts.push(Verdict { what: "peak memory: restore", value: restore.peak_mib, unit: " MiB", bound });
    if let Some(other) = other {
        let told = |what, value| Verdict { what, value, unit: "", bound: None };
        verdicts.push(told("CPU: backup / backup of the other program", backup.cpu_s / other.backup.cpu_s));
        verdicts.push(told("wall: backup / backup of the other program", backup.wall_s / other.backup.wall_s));
        verdicts.push(told("CPU: restore / restore of the other program", restore.cpu_s / other.restore.cpu_s));
        verdicts.push(told("wall: restore / restore of the other program", restore.wall_s / other.restore.wall_s));
    }
    verdicts
}

/// Rows of a table, with its head.
pub fn table(rows: &[Row]) -> String {
    let mut text = format!("{:44} {:>9} {:>9} {:>9}\n", "", "CPU s", "wall s", "peak MiB");
    for Row { name, figures: Figures { cpu_s, wall_s, peak_mib } } in rows {
        text += &format!("{name:44} {cpu_s:9.2} {wall_s:9.2} {peak_mib:9.1}\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(cpu_s: f64, wall_s: f64, peak_mib: f64) -> Figures {
        Figures { cpu_s, wall_s, peak_mib }
    }

    fn compared() -> Compared {
        Compared {
            shape: Shape::Json,
            discard: figures(0.5, 1.0, 20.0),
            discarding_backup: figures(0.6, 1.6, 60.0),
            free_backup: Some(figures(0.8, 1.6, 90.0)),
            backup: figures(1.0, 2.0, 80.0),
            restore: figures(2.0, 9.0, 70.0),
            other: None,
            consumer: figures(10.0, 8.0, 300.0),
            producer: figures(20.0, 10.0, 300.0),
        }
    }

    fn broken(compared: &Compared) -> Vec<&'static str> {
        verdicts(compared).into_iter().filter(|verdict| !verdict.holds()).map(|verdict| verdict.what).collect()
    }

    #[test]
    fn every_bound_may_be_reached_but_the_wall_time_of_a_restore() {
        assert_eq!(broken(&compared()), [""; 0]);
        let slow = Compared { restore: figures(2.0, 10.0, 70.0), ..compared() };
        assert_eq!(broken(&slow), ["wall: restore / ProducerPerformance"]);
    }

    #[test]
    fn each_broken_promise_is_named() {
        let worse = Compared {
            discarding_backup: figures(0.6, 1.7, 60.0),
            free_backup: Some(figures(0.8, 1.6, 129.0)),
            backup: figures(1.1, 2.0, 80.0),
            restore: figures(2.1, 9.0, 128.5),
            ..compared()
        };
        assert_eq!(
            broken(&worse),
            [
                "CPU: backup to disk / ConsumerPerformance",
                "wall: backup and discard / fetch and discard",
                "CPU: restore / ProducerPerformance",
                "peak memory: backup",
                "peak memory: restore"
            ]
        );
        assert!(verdicts(&worse)[0].to_string().ends_with("at most 0.1: DOES NOT HOLD"));
    }

    #[test]
    fn another_program_is_compared_and_binds_nothing() {
        let other = Other { backup: figures(0.5, 1.0, 80.0), restore: figures(4.0, 3.0, 70.0) };
        let beside = verdicts(&Compared { other: Some(other), ..compared() });
        let ratios: Vec<f64> = beside.iter().skip(verdicts(&compared()).len()).map(|verdict| verdict.value).collect();
        assert_eq!(ratios, [2.0, 2.0, 0.5, 3.0]);
        assert!(beside.iter().all(Verdict::holds));
    }

    #[test]
    fn other_topics_are_bound_in_memory_only() {
        let small = Compared { shape: Shape::Small, backup: figures(9.0, 9.0, 130.0), ..compared() };
        assert_eq!(broken(&small), ["peak memory: backup"]);
    }
}
