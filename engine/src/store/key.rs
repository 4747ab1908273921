//! The name of an object: parts with `/` between them.

use super::Error;

/// What the names of unfinished files begin with. They are inside the store's folder, so that the rename stays inside
/// one file system, and no listing shows them.
pub(super) const TEMPORARY: &str = ".tmp-";

/// Longest key in bytes: the limit of S3.
const KEY_BYTES_MAX: usize = 1024;
/// Longest part in bytes: the limit of the usual file systems.
const PART_BYTES_MAX: usize = 255;

/// Refuses keys that a file system and S3 would take differently: both must hold the same archive, byte for byte.
///
/// # Errors
/// [`Error::Key`].
pub(super) fn check(key: &str) -> Result<(), Error> {
    let refuse = |reason| Err(Error::Key { key: key.to_owned(), reason });
    if key.len() > KEY_BYTES_MAX {
        return refuse("it is longer than 1,024 bytes");
    }
    if key.chars().any(char::is_control) {
        return refuse("it has control characters");
    }
    if key.trim() != key {
        return refuse("it begins or ends with a space");
    }
    for part in key.split('/') {
        if matches!(part, "" | "." | "..") {
            return refuse("it has an empty, \".\" or \"..\" part");
        }
        if part.len() > PART_BYTES_MAX {
            return refuse("a part of it is longer than 255 bytes");
        }
        if part.starts_with(TEMPORARY) {
            return refuse("names that begin with .tmp- are for unfinished files");
        }
    }
    Ok(())
}

/// Like [`check`], for a folder: it may be empty, which is the whole store, and may end in `/`.
///
/// Returns the prefix without the slash.
pub(super) fn check_prefix(prefix: &str) -> Result<&str, Error> {
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if !prefix.is_empty() {
        check(prefix)?;
    }
    Ok(prefix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_keys_that_leave_the_store() {
        for key in ["", "/a", "a/", "a//b", "..", "a/../b", "./a", "a/\0", "a\nb", " a", "a/.tmp-1"] {
            assert!(matches!(check(key), Err(Error::Key { .. })), "{key:?}");
        }
        assert!(check(&"a".repeat(256)).is_err());
        assert!(check(&"a/".repeat(600)).is_err());
    }

    #[test]
    fn takes_the_names_that_people_use() {
        for key in ["a", "archives/größe %2F+?*/x", "a/.hidden", "a/..b", "a b/c:d"] {
            check(key).unwrap();
        }
    }

    #[test]
    fn a_prefix_may_be_empty_or_end_in_a_slash() {
        assert_eq!(check_prefix("").unwrap(), "");
        assert_eq!(check_prefix("a/b/").unwrap(), "a/b");
        assert!(check_prefix("a//").is_err());
        assert!(check_prefix("../a").is_err());
    }
}
