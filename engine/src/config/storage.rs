//! Where an archive is kept, written as one URL.
//!
//! | URL | means |
//! |---|---|
//! | `file:///var/backups` | a folder of this machine, by its absolute path |
//! | `s3://bucket/prefix` | a bucket of Amazon S3, and what its keys begin with |
//! | `s3://bucket/prefix?endpoint=https://minio:9000&region=eu-central-1&force_path_style=true&ca_file=/tls/ca.crt` | any store that speaks S3 |
//! | `s3://bucket/prefix?credentials_file=/secrets/s3` | .. with credentials from a file or a folder |
//!
//! A URL is logged, shown in a status and stored in reports, so it never carries a credential: user info and
//! access key options are refused by name. The path of a file with credentials is none. Anything that is not understood is refused too, for a misspelt option
//! that is silently ignored ends as a backup in the wrong place.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The options that an S3 URL may carry, as error texts name them.
const S3_OPTIONS: &str = "endpoint, region, force_path_style, ca_file, credentials_file";

/// The option that names where credentials stand.
const CREDENTIALS_FILE: &str = "credentials_file";

/// Why a text is not the URL of a storage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The scheme is missing or is none of ours.
    #[error("storage {url:?} does not begin with file:///folder or s3://bucket/prefix: these are the two that exist")]
    Scheme {
        /// The text, without anything after `?`, where a secret may stand.
        url: String,
    },
    /// A file URL names a host, or its path is not absolute.
    #[error("storage {url:?} is not an absolute path: a file URL has three slashes, as in file:///var/backups")]
    NotAbsolute {
        /// The URL.
        url: String,
    },
    /// User name, password or access key inside the URL.
    #[error(
        "the storage URL carries a credential ({what}): URLs are logged, so S3 credentials come from a file (credentials_file=/path), AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the shared AWS files, or the pod's identity"
    )]
    Credential {
        /// Where it stands; never its value.
        what: String,
    },
    /// An option that is not known.
    #[error("storage option {option:?} is not known: {scheme} takes {allowed}")]
    UnknownOption {
        /// The option's name.
        option: String,
        /// The scheme that was used.
        scheme: &'static str,
        /// What is allowed.
        allowed: &'static str,
    },
    /// An option that is given twice.
    #[error("storage option {option:?} is given more than once")]
    RepeatedOption {
        /// The option's name.
        option: String,
    },
    /// An option whose value cannot be used.
    #[error("storage option {option:?} cannot be {value:?}: {expected}")]
    OptionValue {
        /// The option's name.
        option: &'static str,
        /// The value that was given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A path of credentials that is none, and may be the credentials themselves.
    #[error(
        "storage option \"credentials_file\" is no absolute path: it names a file or folder that holds the credentials"
    )]
    CredentialsPath,
    /// A bucket name that no store would accept.
    #[error(
        "{bucket:?} is not a bucket name: 3 to 63 lower case letters, digits, dots and hyphens, a letter or digit at both ends"
    )]
    Bucket {
        /// The name.
        bucket: String,
    },
    /// A path with `.`, `..`, an empty part or a NUL in it.
    #[error("the path {path:?} of a storage URL has an empty, \".\" or \"..\" part, or a NUL character")]
    Path {
        /// The path, decoded.
        path: String,
    },
    /// `%` that is not followed by two hexadecimal digits, or bytes that are not UTF-8 once decoded.
    #[error("{text:?} in the storage URL is not percent-encoded UTF-8: a literal percent sign is written %25")]
    Encoding {
        /// The part of the URL.
        text: String,
    },
    /// A fragment: `#` has no meaning here.
    #[error("a storage URL has no fragment: a literal # is written %23")]
    Fragment,
}

impl Error {
    /// What the failure asks of the reader.
    pub const fn kind(&self) -> crate::error::Kind {
        crate::error::Kind::Usage
    }
}

/// A checked storage location. Its text form, in serde too, is the URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum StorageConfig {
    /// A folder of a file system.
    File(FileStorage),
    /// A bucket of S3 or of a store that speaks S3.
    S3(S3Storage),
}

/// A folder of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStorage {
    /// Absolute, without `.` and `..`.
    pub dir: PathBuf,
}

/// A bucket of S3 or of a store that speaks S3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct S3Storage {
    /// The bucket, which must exist.
    pub bucket: String,
    /// What every key begins with, without a slash at either end; may be empty.
    pub prefix: String,
    /// `http://` or `https://` address of the store; `None` means `AWS_ENDPOINT_URL` if set, else Amazon's.
    pub endpoint: Option<String>,
    /// Region to sign for; `None` means `AWS_REGION`, then `AWS_DEFAULT_REGION`.
    pub region: Option<String>,
    /// Whether the bucket is part of the path instead of the host name; see [`S3Storage::uses_path_style`].
    pub force_path_style: Option<bool>,
    /// PEM file with the authorities to trust instead of the system's, or a folder whose files `ca*.crt` hold them; `None`
    /// means `AWS_CA_BUNDLE` if set.
    pub ca_file: Option<PathBuf>,
    /// File or folder that holds the credentials; `None` means the AWS environment, files or identity.
    pub credentials_file: Option<PathBuf>,
}

impl S3Storage {
    /// Whether requests go to `endpoint/bucket/key` (true) or `bucket.endpoint/key`.
    ///
    /// Unless the URL says so: true with an endpoint of one's own, which seldom has a DNS entry and a certificate
    /// for each bucket, and for a bucket with a dot in its name, which no wildcard certificate covers.
    pub fn uses_path_style(&self, has_endpoint: bool) -> bool {
        self.force_path_style.unwrap_or(has_endpoint || self.bucket.contains('.'))
    }
}

impl FromStr for StorageConfig {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let (location, query) = match url.split_once('?') {
            Some((location, query)) => (location, Some(query)),
            None => (url, None),
        };
        let Some((scheme, rest)) = location.split_once("://") else {
            return Err(Error::Scheme { url: location.to_owned() });
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(Error::Credential { what: "user info before the @".to_owned() });
        }
        if url.contains('#') {
            return Err(Error::Fragment);
        }
        match scheme {
            "file" => parse_file(location, authority, path, query).map(Self::File),
            "s3" => parse_s3(authority, path, query).map(Self::S3),
            _ => Err(Error::Scheme { url: location.to_owned() }),
        }
    }
}

fn parse_file(url: &str, authority: &str, path: &str, query: Option<&str>) -> Result<FileStorage, Error> {
    if let Some((name, _)) = options(query)?.into_iter().next() {
        return Err(Error::UnknownOption { option: name, scheme: "file", allowed: "no options" });
    }
    if !authority.is_empty() || path.is_empty() {
        return Err(Error::NotAbsolute { url: url.to_owned() });
    }
    let path = decode(path)?;
    let trimmed = path.trim_end_matches('/');
    // The root of the file system is no place for an archive; it is what is left of file:///$UNSET.
    check_parts(trimmed.strip_prefix('/').unwrap_or(trimmed), &path)?;
    Ok(FileStorage { dir: PathBuf::from(trimmed) })
}

fn parse_s3(authority: &str, path: &str, query: Option<&str>) -> Result<S3Storage, Error> {
    let bucket = decode(authority)?;
    if !is_bucket(&bucket) {
        return Err(Error::Bucket { bucket });
    }
    let path = decode(path)?;
    let prefix = path.strip_prefix('/').unwrap_or(&path);
    let prefix = prefix.strip_suffix('/').unwrap_or(prefix);
    if !prefix.is_empty() {
        check_parts(prefix, &path)?;
    }
    let mut storage = S3Storage {
        bucket,
        prefix: prefix.to_owned(),
        endpoint: None,
        region: None,
        force_path_style: None,
        ca_file: None,
        credentials_file: None,
    };
    for (name, value) in options(query)? {
        match name.as_str() {
            "endpoint" => storage.endpoint = Some(endpoint(value)?),
            "region" => storage.region = Some(region(value)?),
            "force_path_style" => storage.force_path_style = Some(flag("force_path_style", value)?),
            "ca_file" => storage.ca_file = Some(absolute_file("ca_file", value)?),
            CREDENTIALS_FILE => storage.credentials_file = Some(credentials_file(&value)?),
            _ => return Err(Error::UnknownOption { option: name, scheme: "s3", allowed: S3_OPTIONS }),
        }
    }
    Ok(storage)
}

/// The decoded options in their order, each name once. A name that smells of a credential is refused before it is
/// looked at any further.
fn options(query: Option<&str>) -> Result<Vec<(String, String)>, Error> {
    let mut options: Vec<(String, String)> = Vec::new();
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let name = decode(name)?;
        let letters: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
        let smells =
            ["accesskey", "secret", "token", "password", "credential"].iter().any(|word| letters.contains(word));
        if smells && name != CREDENTIALS_FILE {
            return Err(Error::Credential { what: format!("option {name:?}") });
        }
        if options.iter().any(|(known, _)| *known == name) {
            return Err(Error::RepeatedOption { option: name });
        }
        options.push((name, decode(value)?));
    }
    Ok(options)
}

fn endpoint(value: String) -> Result<String, Error> {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let Some(rest) = rest else {
        return Err(bad_endpoint(value));
    };
    if rest.contains('@') {
        return Err(Error::Credential { what: "user info in option \"endpoint\"".to_owned() });
    }
    let host = rest.split('/').next().unwrap_or_default();
    if host.is_empty() || host.starts_with(':') || rest.contains(['?', '#', ' ']) {
        return Err(bad_endpoint(value));
    }
    Ok(value.trim_end_matches('/').to_owned())
}

fn bad_endpoint(value: String) -> Error {
    Error::OptionValue { option: "endpoint", value, expected: "an address like https://minio.example:9000" }
}

fn region(value: String) -> Result<String, Error> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_') {
        return Ok(value);
    }
    Err(Error::OptionValue { option: "region", value, expected: "a region's name like eu-central-1" })
}

fn flag(option: &'static str, value: String) -> Result<bool, Error> {
    match value.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Error::OptionValue { option, value, expected: "true or false" }),
    }
}

fn absolute_file(option: &'static str, value: String) -> Result<PathBuf, Error> {
    is_absolute(&value).then(|| PathBuf::from(&value)).ok_or(Error::OptionValue {
        option,
        value,
        expected: "an absolute path",
    })
}

/// As [`absolute_file`], for a value that must not be repeated.
fn credentials_file(value: &str) -> Result<PathBuf, Error> {
    is_absolute(value).then(|| PathBuf::from(value)).ok_or(Error::CredentialsPath)
}

fn is_absolute(value: &str) -> bool {
    let path = Path::new(value);
    path.is_absolute() && !value.contains('\0') && matches!(path.components().next_back(), Some(Component::Normal(_)))
}

fn is_bucket(name: &str) -> bool {
    let end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    (3..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-')
        && end(name.bytes().next())
        && end(name.bytes().next_back())
        && !name.contains("..")
}

fn check_parts(parts: &str, path: &str) -> Result<(), Error> {
    if parts.split('/').any(|part| matches!(part, "" | "." | "..")) || parts.contains('\0') {
        return Err(Error::Path { path: path.to_owned() });
    }
    Ok(())
}

/// Percent-decoding, RFC 3986. `+` stays `+`: it means a space in forms only.
fn decode(text: &str) -> Result<String, Error> {
    let bad = || Error::Encoding { text: text.to_owned() };
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|byte| char::from(byte).to_digit(16)).ok_or_else(bad);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).map_err(|_| bad())?);
    }
    String::from_utf8(bytes).map_err(|_| bad())
}

/// What a decoded text looks like inside a URL. Characters that mean something to [`StorageConfig::from_str`] are
/// encoded; `/` and `:` are left alone so that paths and addresses stay readable.
fn encode(text: &str, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:+,!()*'[]".contains(&byte) {
            write!(out, "{}", char::from(byte))?;
        } else {
            write!(out, "%{byte:02X}")?;
        }
    }
    Ok(())
}

impl fmt::Display for StorageConfig {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(FileStorage { dir }) => {
                out.write_str("file://")?;
                encode(&dir.to_string_lossy(), out)
            }
            Self::S3(storage) => {
                let S3Storage { bucket, prefix, endpoint, region, force_path_style, ca_file, credentials_file } =
                    storage;
                let text = |path: &PathBuf| path.to_string_lossy().into_owned();
                write!(out, "s3://{bucket}/")?;
                encode(prefix, out)?;
                let options = [
                    ("endpoint", endpoint.clone()),
                    ("region", region.clone()),
                    ("force_path_style", force_path_style.map(|flag| flag.to_string())),
                    ("ca_file", ca_file.as_ref().map(text)),
                    (CREDENTIALS_FILE, credentials_file.as_ref().map(text)),
                ];
                let mut separator = '?';
                for (name, value) in options {
                    if let Some(value) = value {
                        write!(out, "{separator}{name}=")?;
                        encode(&value, out)?;
                        separator = '&';
                    }
                }
                Ok(())
            }
        }
    }
}

impl TryFrom<String> for StorageConfig {
    type Error = Error;

    fn try_from(url: String) -> Result<Self, Error> {
        url.parse()
    }
}

impl From<StorageConfig> for String {
    fn from(storage: StorageConfig) -> Self {
        storage.to_string()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(url: &str) -> Result<StorageConfig, Error> {
        url.parse()
    }

    fn s3(url: &str) -> S3Storage {
        match parse(url).unwrap() {
            StorageConfig::S3(storage) => storage,
            StorageConfig::File(_) => panic!("{url} is not S3"),
        }
    }

    #[test]
    fn reads_a_folder() {
        let expected = StorageConfig::File(FileStorage { dir: PathBuf::from("/var/backups of kafka") });
        assert_eq!(parse("file:///var/backups%20of%20kafka").unwrap(), expected);
        assert_eq!(parse("file:///var/backups%20of%20kafka/").unwrap(), expected);
    }

    #[test]
    fn reads_a_bucket_with_every_option() {
        let storage = s3(
            "s3://my.bucket/a/b%25/?endpoint=http%3A%2F%2F127.0.0.1:9000/&region=eu-1&force_path_style=false&ca_file=/ca.pem&credentials_file=/secrets/s3",
        );
        assert_eq!(storage.bucket, "my.bucket");
        assert_eq!(storage.prefix, "a/b%");
        assert_eq!(storage.endpoint.as_deref(), Some("http://127.0.0.1:9000"));
        assert_eq!(storage.region.as_deref(), Some("eu-1"));
        assert_eq!(storage.force_path_style, Some(false));
        assert_eq!(storage.ca_file, Some(PathBuf::from("/ca.pem")));
        assert_eq!(storage.credentials_file, Some(PathBuf::from("/secrets/s3")));
        let again = StorageConfig::S3(storage);
        assert_eq!(parse(&again.to_string()), Ok(again));
        assert_eq!(s3("s3://bucket").prefix, "");
    }

    #[test]
    fn refuses_what_is_neither_of_the_two_schemes() {
        for url in
            ["/x", "s3:/x", "s3:bucket", "gcs://bucket/x", "https://host/x", "S3://bucket", "backups", "", "://x"]
        {
            assert!(matches!(parse(url), Err(Error::Scheme { .. })), "{url}");
        }
    }

    #[test]
    fn refuses_a_file_url_with_a_host() {
        for url in ["file://relative", "file://relative/path", "file://localhost/path", "file://"] {
            assert!(matches!(parse(url), Err(Error::NotAbsolute { .. })), "{url}");
        }
    }

    #[test]
    fn refuses_paths_that_lead_elsewhere() {
        for url in ["file:///", "file:////", "file:///a/../b", "file:///a/%2e%2e/b", "file:///a//b", "file:///a%00"] {
            assert!(matches!(parse(url), Err(Error::Path { .. })), "{url}");
        }
        for url in ["s3://bucket/a/../b", "s3://bucket//a", "s3://bucket/a/./b", "s3://bucket/a//"] {
            assert!(matches!(parse(url), Err(Error::Path { .. })), "{url}");
        }
    }

    #[test]
    fn refuses_unknown_and_repeated_options() {
        let error = parse("s3://bucket/x?regoin=eu").unwrap_err();
        assert_eq!(
            error.to_string(),
            "storage option \"regoin\" is not known: s3 takes endpoint, region, force_path_style, ca_file, credentials_file"
        );
        assert_eq!(
            parse("s3://bucket?region=a&region=a").unwrap_err(),
            Error::RepeatedOption { option: "region".to_owned() }
        );
        assert!(matches!(parse("file:///x?region=a"), Err(Error::UnknownOption { scheme: "file", .. })));
    }

    #[test]
    fn refuses_option_values_that_mean_nothing() {
        for query in
            ["endpoint=minio:9000", "endpoint=https://", "endpoint=", "region=", "force_path_style=1", "ca_file=ca.pem"]
        {
            assert!(matches!(parse(&format!("s3://bucket?{query}")), Err(Error::OptionValue { .. })), "{query}");
        }
    }

    #[test]
    fn refuses_credentials_without_repeating_them() {
        for url in [
            "s3://AKIA:hunter2@bucket/x",
            "s3://bucket/x?access_key_id=hunter2",
            "s3://bucket/x?secretAccessKey=hunter2",
            "s3://bucket/x?session-token=hunter2",
            "s3://bucket/x?endpoint=https://me:hunter2@host",
        ] {
            let error = parse(url).unwrap_err();
            assert!(matches!(error, Error::Credential { .. }), "{url}");
            assert!(!error.to_string().contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{url}");
        }
        for value in ["AKIA:hunter2", "hunter2", "", "hunter2/file"] {
            let error = parse(&format!("s3://bucket/x?credentials_file={value}")).unwrap_err();
            assert_eq!(error, Error::CredentialsPath);
            assert!(!error.to_string().contains("hunter2"));
        }
        let error = parse("gcs://bucket?secret=hunter2").unwrap_err();
        assert!(!error.to_string().contains("hunter2"));
    }

    #[test]
    fn refuses_impossible_bucket_names() {
        for url in ["s3://", "s3:///prefix", "s3://ab", "s3://Bucket", "s3://-bucket", "s3://bu_cket", "s3://b..t"] {
            assert!(matches!(parse(url), Err(Error::Bucket { .. })), "{url}");
        }
        assert_eq!(s3("s3://abc").bucket, "abc");
    }

    #[test]
    fn refuses_broken_percent_encoding() {
        for url in ["file:///a%", "file:///a%2", "file:///a%zz", "file:///a%ff", "s3://bucket/%+1"] {
            assert!(matches!(parse(url), Err(Error::Encoding { .. })), "{url}");
        }
        assert_eq!(parse("file:///a#b"), Err(Error::Fragment));
    }

    #[test]
    fn path_style_follows_the_endpoint_unless_told() {
        assert!(!s3("s3://bucket").uses_path_style(false));
        assert!(s3("s3://bucket").uses_path_style(true));
        assert!(s3("s3://buc.ket").uses_path_style(false));
        assert!(!s3("s3://bucket?force_path_style=false").uses_path_style(true));
    }

    #[test]
    fn stands_in_serde_as_its_url() {
        let json = "\"s3://bucket/p?region=eu-1\"";
        let storage: StorageConfig = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&storage).unwrap(), json);
        assert!(serde_json::from_str::<StorageConfig>("\"/x\"").is_err());
    }

    proptest! {
        #[test]
        fn display_is_read_back_equal(dir in "/[^/\0]{1,20}(/[^/\0]{1,9}){0,3}") {
            prop_assume!(!dir.split('/').any(|part| part == "." || part == ".."));
            let storage = StorageConfig::File(FileStorage { dir: PathBuf::from(dir) });
            prop_assert_eq!(storage.to_string().parse::<StorageConfig>(), Ok(storage));
        }

        #[test]
        fn never_panics(url in "(file|s3)://.{0,40}") {
            if let Ok(storage) = url.parse::<StorageConfig>() {
                prop_assert_eq!(storage.to_string().parse::<StorageConfig>(), Ok(storage));
            }
        }
    }
}
