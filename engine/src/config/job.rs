//! The name of a Kubernetes Job, as far as it tells when its run was to begin.

/// Minutes from the epoch to 2020: whoever gives a Job a name by hand may end it with a number or a date, and no schedule
/// of ours lies so far back.
const EARLIEST_MINUTES: i64 = 26_297_280;

/// The time that a CronJob's Job was scheduled for, in milliseconds since the epoch. Kubernetes names such a Job
/// `<cronjob>-<minutes since the epoch>` (`getJobName` of its CronJob controller), and makes every pod of it, also the one
/// that comes after a failure, under that name. `None` for every other name.
pub fn scheduled_ms(job: &str) -> Option<i64> {
    let (_, minutes) = job.rsplit_once('-').filter(|(cron_job, _)| !cron_job.is_empty())?;
    let is_number = !minutes.is_empty() && minutes.bytes().all(|digit| digit.is_ascii_digit());
    let minutes: i64 = minutes.parse().ok().filter(|_| is_number)?;
    let at_ms = minutes.checked_mul(60_000).filter(|_| minutes >= EARLIEST_MINUTES)?;
    jiff::Timestamp::from_millisecond(at_ms).ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_job_of_a_cron_job_tells_the_minute_that_it_was_scheduled_for() {
        // 2026-02-12T14:30:00Z
        assert_eq!(scheduled_ms("shop-29515110"), Some(1_770_906_600_000));
        assert_eq!(scheduled_ms("shop-2-29515110"), Some(1_770_906_600_000));
    }

    #[test]
    fn other_names_tell_nothing() {
        for name in [
            "",
            "shop",
            "shop-",
            "29515110",
            "-29515110",
            "shop-7",
            "shop-20260212",
            "shop-29515110a",
            "shop-+29515110",
            "shop-99999999999999999999",
            "shop-9223372036854775807",
            "shop-29515110-x",
        ] {
            assert_eq!(scheduled_ms(name), None, "{name}");
        }
    }
}
