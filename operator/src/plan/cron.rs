//! A schedule, read as Kubernetes' CronJob controller reads it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::Refusal;

/// A schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    /// Five fields.
    pub schedule: String,
    /// An IANA time zone; UTC when absent.
    pub time_zone: Option<String>,
    /// Whether nothing new is started.
    pub is_suspended: bool,
}

impl Cron {
    /// Checks a schedule: `fields` are what the spec calls it and its time zone.
    ///
    /// # Errors
    /// When it is no schedule, or its time zone does not exist.
    pub fn new(
        fields: [&str; 2],
        schedule: &str,
        time_zone: Option<&str>,
        is_suspended: bool,
    ) -> Result<Self, Refusal> {
        let [field, zone_field] = fields;
        let cron = Self {
            schedule: schedule.split_whitespace().collect::<Vec<_>>().join(" "),
            time_zone: time_zone.map(str::to_owned),
            is_suspended,
        };
        cron.times().map_err(|why| Refusal::invalid(format!("{field} {schedule:?}: {why}")))?;
        cron.zone().map_err(|why| Refusal::invalid(format!("{zone_field}: {why}")))?;
        Ok(cron)
    }

    fn times(&self) -> Result<croner::Cron, String> {
        // Seconds, years and nicknames are croner's own, Kubernetes has none of them.
        if self.schedule.split(' ').count() != 5 {
            return Err("give five fields: minute, hour, day of the month, month, day of the week".to_owned());
        }
        self.schedule.parse().map_err(|error: croner::errors::CronError| error.to_string())
    }

    fn zone(&self) -> Result<TimeZone, String> {
        match &self.time_zone {
            None => Ok(TimeZone::UTC),
            Some(name) => TimeZone::get(name).map_err(|_| format!("there is no time zone {name:?}")),
        }
    }

    /// When it runs next after `now`; `None` when never, or while it is suspended.
    pub fn next_after(&self, now: Timestamp) -> Option<Timestamp> {
        if self.is_suspended {
            return None;
        }
        self.times()
            .ok()?
            .find_next_occurrence(&now.to_zoned(self.zone().ok()?), false)
            .ok()
            .map(|next| next.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [&str; 2] = ["spec.schedule.cron", "spec.schedule.timezone"];

    fn next(schedule: &str, zone: Option<&str>, now: &str) -> Option<String> {
        let cron = Cron::new(FIELDS, schedule, zone, false).unwrap();
        cron.next_after(now.parse().unwrap()).map(|next| next.to_string())
    }

    #[test]
    fn the_next_run_is_in_the_schedule_s_own_time_zone() {
        let next = |zone| next("0 2 * * *", zone, "2026-07-01T00:30:00Z").unwrap();
        assert_eq!(next(None), "2026-07-01T02:00:00Z");
        assert_eq!(next(Some("Europe/London")), "2026-07-01T01:00:00Z");
    }

    #[test]
    fn days_of_the_week_are_numbered_from_sunday_and_either_kind_of_day_will_do() {
        // 2026-11-22 is a Sunday; the 25th is a Wednesday.
        assert_eq!(next("0 0 * * 0", None, "2026-11-21T12:00:00Z").unwrap(), "2026-11-22T00:00:00Z");
        assert_eq!(next("0 0 25 * 1", None, "2026-11-21T12:00:00Z").unwrap(), "2026-11-23T00:00:00Z");
        assert_eq!(next("0 0 25 * 1", None, "2026-11-23T12:00:00Z").unwrap(), "2026-11-25T00:00:00Z");
    }

    #[test]
    fn a_suspended_schedule_has_no_next_run() {
        let cron = Cron::new(FIELDS, "* * * * *", None, true).unwrap();
        assert_eq!(cron.next_after(Timestamp::UNIX_EPOCH), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused_by_its_field() {
        for (schedule, zone, field) in [
            ("61 * * * *", None, "spec.schedule.cron "),
            ("* * *", None, "spec.schedule.cron "),
            ("* * * * * *", None, "spec.schedule.cron "),
            ("@hourly", None, "spec.schedule.cron "),
            ("* * * * *", Some("Mars/Base"), "spec.schedule.timezone: there is no time zone"),
        ] {
            let refusal = Cron::new(FIELDS, schedule, zone, false).unwrap_err();
            assert!(refusal.message.starts_with(field), "{refusal}");
            assert!(!refusal.is_waiting);
        }
    }
}
