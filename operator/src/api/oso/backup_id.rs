//! Which `KafkaBackup` made a backup, by the backup's id.

/// The name in `<name>-YYYYMMDD-HHMMSS`, or in the `<name>-YYYYMMDD` that people shorten it to; `None` for an id of another form.
pub fn backup_name(backup_id: &str) -> Option<&str> {
    let is_number = |text: &str, digits: usize| text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    let (rest, last) = backup_id.rsplit_once('-')?;
    match rest.rsplit_once('-') {
        Some((name, day)) if is_number(day, 8) && is_number(last, 6) => Some(name),
        Some(_) | None => is_number(last, 8).then_some(rest),
    }
    .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_is_what_stands_before_the_time() {
        assert_eq!(backup_name("production-backup-20241201-120000"), Some("production-backup"));
        assert_eq!(backup_name("backup-20241201"), Some("backup"));
        assert_eq!(backup_name("a-1-20241201-120000"), Some("a-1"));
    }

    #[test]
    fn an_id_of_another_form_names_nobody() {
        for id in ["", "nightly", "nightly-1", "-20241201-120000", "20241201-120000", "a-2024120-120000"] {
            assert_eq!(backup_name(id), None, "{id}");
        }
    }
}
