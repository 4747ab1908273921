//! Credentials for S3 from a file or a folder, as a mounted Secret is.
//!
//! | what the path leads to | what is read |
//! |---|---|
//! | a file that begins with `{` | JSON with `aws_access_key_id`, `aws_secret_access_key` and perhaps `aws_session_token` |
//! | any other file | the profile `[default]` of an AWS shared-credentials file, with the same names |
//! | a folder | its files `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and perhaps `AWS_SESSION_TOKEN`; where the first is missing, `accessKey` and `secretKey` |
//!
//! Errors name files and names, never a value: a line that is not understood may be a key.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::config::pem::BYTE_ORDER_MARK;

const KEY_ID: &str = "aws_access_key_id";
const SECRET: &str = "aws_secret_access_key";
const TOKEN: &str = "aws_session_token";
/// The profile that is read, whatever `AWS_PROFILE` says: the file was made for this store.
const PROFILE: &str = "default";
/// The files of a folder: those of key id and secret, and of a session token. Each is the variable of that name in every AWS tool.
const VARIABLES: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];
/// Other names of the first two: those of MinIO's own Secrets.
const KEYS: [&str; 2] = ["accessKey", "secretKey"];

/// Why credentials cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("credentials_file: {path} {why}", path = path.display())]
pub struct Error {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong with it; never a value.
    pub why: String,
}

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The key's id.
    pub access_key_id: String,
    /// The key.
    pub secret_access_key: String,
    /// The token of a key that is for a time only.
    pub session_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Credentials(***)")
    }
}

impl Credentials {
    /// Reads what the path leads to.
    ///
    /// # Errors
    /// What cannot be read or understood, or which name is missing.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
        if metadata.is_dir() {
            return Self::read_folder(path);
        }
        let text = text(path, fs::read(path))?;
        Self::parse(&text).map_err(|why| Error { path: path.to_owned(), why })
    }

    /// What the variables of the environment say; `None` unless both key id and key are there, for then other sources count.
    pub fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        let [key_id, secret, token] = VARIABLES;
        let (access_key_id, secret_access_key) = (variable(key_id)?, variable(secret)?);
        Some(Self { access_key_id, secret_access_key, session_token: variable(token) })
    }

    fn read_folder(folder: &Path) -> Result<Self, Error> {
        let [key_id, secret, token] = VARIABLES;
        if let Some(access_key_id) = value(folder, key_id)? {
            return Ok(Self {
                access_key_id,
                secret_access_key: value(folder, secret)?.ok_or_else(|| no_file(folder, secret))?,
                session_token: value(folder, token)?,
            });
        }
        let [key_id, secret] = KEYS;
        let access_key_id = value(folder, key_id)?.ok_or_else(|| Error {
            path: folder.to_owned(),
            why: format!("has neither a file {} nor a file {key_id}", VARIABLES[0]),
        })?;
        let secret_access_key = value(folder, secret)?.ok_or_else(|| no_file(folder, secret))?;
        Ok(Self { access_key_id, secret_access_key, session_token: None })
    }

    /// Reads the text of a file.
    fn parse(text: &str) -> Result<Self, String> {
        let (mut values, place) =
            if text.trim_start().starts_with('{') { (json(text)?, "") } else { (profile(text)?, " in [default]") };
        let mut take = |name: &str| values.remove(name).filter(|value| !value.is_empty());
        let missing = |name: &str| format!("has no {name}{place}");
        Ok(Self {
            access_key_id: take(KEY_ID).ok_or_else(|| missing(KEY_ID))?,
            secret_access_key: take(SECRET).ok_or_else(|| missing(SECRET))?,
            session_token: take(TOKEN),
        })
    }
}

fn json(text: &str) -> Result<BTreeMap<String, String>, String> {
    // The parser's own words may repeat a value.
    let parsed: BTreeMap<String, Value> =
        serde_json::from_str(text).map_err(|error| format!("is not JSON, at line {} of it", error.line()))?;
    let text = |(name, value)| match value {
        Value::String(text) => Some((name, text)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    };
    Ok(parsed.into_iter().filter_map(text).collect())
}

/// The names and values of the profile `[default]`, as AWS's tools read them: `#` and `;` begin a comment at the beginning
/// of a line, names are the same in any case.
fn profile(text: &str) -> Result<BTreeMap<String, String>, String> {
    let mut values = None;
    let mut is_ours = false;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            is_ours = name.trim() == PROFILE;
            if is_ours {
                values.get_or_insert_with(BTreeMap::new);
            }
        } else if let Some((name, value)) = line.split_once('=')
            && is_ours
            && !line.starts_with(['#', ';'])
        {
            values.get_or_insert_with(BTreeMap::new).insert(name.trim().to_lowercase(), value.trim().to_owned());
        }
    }
    values.ok_or_else(|| "is neither JSON nor an AWS shared-credentials file with a profile [default]".to_owned())
}

/// What a file of a folder holds, without the blanks and line ends around it, which no key has; `None` when it is not there.
fn value(folder: &Path, name: &str) -> Result<Option<String>, Error> {
    let path = folder.join(name);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => match text(&path, read)?.trim() {
            "" => Err(Error { path, why: "is empty".to_owned() }),
            text => Ok(Some(text.to_owned())),
        },
    }
}

fn text(path: &Path, read: io::Result<Vec<u8>>) -> Result<String, Error> {
    let bytes = read.map_err(|error| unreadable(path, &error))?;
    let text =
        String::from_utf8(bytes).map_err(|_| Error { path: path.to_owned(), why: "is not UTF-8 text".to_owned() })?;
    Ok(text.trim_start_matches(BYTE_ORDER_MARK).to_owned())
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    Error { path: path.to_owned(), why: format!("cannot be read: {error}") }
}

fn no_file(folder: &Path, name: &str) -> Error {
    Error { path: folder.to_owned(), why: format!("has no file {name}") }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Output};
    use std::sync::{Arc, Mutex};

    use futures::future::ready;

    use super::*;
    use crate::store::Store;
    use crate::store::s3::stand_in::{Answer, document, listen};
    use crate::store::s3::variable;

    fn known(token: Option<&str>) -> Credentials {
        Credentials {
            access_key_id: "AKIA1".to_owned(),
            secret_access_key: "open=sesame/+".to_owned(),
            session_token: token.map(str::to_owned),
        }
    }

    #[test]
    fn a_shared_credentials_file_and_json_say_the_same() {
        for text in [
            "[default]\naws_access_key_id=AKIA1\naws_secret_access_key=open=sesame/+\n",
            "# ours\n[other]\naws_access_key_id = X\n\n[ default ]\r\n; aws_access_key_id = Y\r\nAWS_ACCESS_KEY_ID = AKIA1\r\nregion = eu\r\naws_secret_access_key\t=  open=sesame/+ \r\n[last]\naws_secret_access_key=Z",
            r#" {"aws_access_key_id": "AKIA1", "aws_secret_access_key": "open=sesame/+", "expires": 5}"#,
        ] {
            assert_eq!(Credentials::parse(text).unwrap(), known(None), "{text}");
        }
        let with_token = "[default]\naws_session_token=t\naws_access_key_id=AKIA1\naws_secret_access_key=open=sesame/+";
        assert_eq!(Credentials::parse(with_token).unwrap(), known(Some("t")));
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        for text in [
            "[default]\naws_access_key_id=AKIA1\naws_secret_access_key=open=sesame/+",
            r#"{"aws_access_key_id": "AKIA1", "aws_secret_access_key": "open=sesame/+"}"#,
        ] {
            fs::write(&path, format!("\u{feff}{text}")).unwrap();
            assert_eq!(Credentials::read(&path).unwrap(), known(None), "{text}");
        }
    }

    #[test]
    fn what_is_missing_is_named_and_no_value_is() {
        for (text, says) in [
            ("[default]\naws_access_key_id=AKIA1", "has no aws_secret_access_key in [default]"),
            ("[default]\naws_access_key_id=\naws_secret_access_key=sesame", "has no aws_access_key_id in [default]"),
            ("[prod]\naws_secret_access_key=sesame", "with a profile [default]"),
            ("sesame", "is neither JSON nor"),
            ("", "is neither JSON nor"),
            (r#"{"aws_secret_access_key": "sesame"}"#, "has no aws_access_key_id"),
            (r#"{"aws_access_key_id": 7, "aws_secret_access_key": "sesame"}"#, "has no aws_access_key_id"),
            (r#"{"aws_secret_access_key": sesame}"#, "is not JSON, at line 1"),
        ] {
            let why = Credentials::parse(text).unwrap_err();
            assert!(why.contains(says) && !why.contains("sesame"), "{text}: {why}");
        }
        assert_eq!(format!("{:?}", known(Some("t"))), "Credentials(***)");
    }

    #[test]
    fn the_environment_counts_when_it_has_both_halves_of_a_key() {
        let of = |pairs: &'static [(&str, &str)]| {
            Credentials::from_variables(|name| {
                pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert_eq!(
            of(&[("AWS_ACCESS_KEY_ID", "AKIA1"), ("AWS_SECRET_ACCESS_KEY", "open=sesame/+")]),
            Some(known(None))
        );
        assert_eq!(of(&[("AWS_ACCESS_KEY_ID", "AKIA1")]), None);
    }

    /// A variable that only processes have that a test has started.
    const STARTED_BY_A_TEST: &str = "KAFKA_BACKUP_STARTED_BY_A_TEST";

    /// Runs one test of this module in a process with these variables: a process that has begun cannot be given others.
    fn run_with(test: &str, variables: &[(&str, String)]) -> Output {
        let (_, module) = module_path!().split_once("::").unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", &format!("{module}::{test}")]).env(STARTED_BY_A_TEST, "yes");
        command.envs(variables.iter().map(|(name, value)| (name, value))).output().unwrap()
    }

    #[tokio::test]
    async fn a_line_end_is_no_part_of_a_variable_and_the_endpoint_of_s3_goes_before_that_of_all_services() {
        const THIS: &str =
            "a_line_end_is_no_part_of_a_variable_and_the_endpoint_of_s3_goes_before_that_of_all_services";
        if std::env::var_os(STARTED_BY_A_TEST).is_some() {
            assert_eq!(Credentials::from_variables(variable), Some(known(Some("t"))));
            Store::open(&"s3://bucket".parse().unwrap()).await.unwrap();
            return;
        }
        let requests = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&requests);
        let address = listen(move |request| -> Answer {
            let (signature, token) = (request.header("authorization"), request.header("x-amz-security-token"));
            noted.lock().unwrap().push((signature.unwrap_or_default(), token));
            Box::pin(ready(Some(
                document("<ListBucketResult><IsTruncated>false</IsTruncated></ListBucketResult>").into_bytes(),
            )))
        })
        .await;
        let nobody = "http://127.0.0.1:1";
        for (of_s3, of_all) in [
            (format!("http://{address}\n"), nobody.to_owned()),
            // As good as not set.
            ("\n".to_owned(), format!(" http://{address}\r\n")),
        ] {
            let variables = [
                ("AWS_ENDPOINT_URL_S3", of_s3),
                ("AWS_ENDPOINT_URL", of_all),
                ("AWS_REGION", "eu-central-1\n".to_owned()),
                ("AWS_ACCESS_KEY_ID", "AKIA1\n".to_owned()),
                ("AWS_SECRET_ACCESS_KEY", "open=sesame/+\r\n".to_owned()),
                ("AWS_SESSION_TOKEN", "t\n".to_owned()),
            ];
            let output = tokio::task::spawn_blocking(move || run_with(THIS, &variables)).await.unwrap();
            let told = String::from_utf8_lossy(&output.stdout);
            // A name that fits no test is a success of none.
            assert!(output.status.success() && told.contains("1 passed"), "{told}");
            let requests = std::mem::take(&mut *requests.lock().unwrap());
            assert!(!requests.is_empty());
            for (signature, token) in requests {
                assert!(
                    signature.contains("Credential=AKIA1/") && signature.contains("/eu-central-1/s3/"),
                    "{signature}"
                );
                assert_eq!(token.as_deref(), Some("t"));
            }
        }
    }

    #[test]
    fn a_folder_holds_the_variables_or_else_the_keys() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let read = || Credentials::read(folder.path()).map_err(|error| error.to_string());
        let refused = |says: &str| {
            let error = read().unwrap_err();
            assert!(error.starts_with("credentials_file: ") && error.ends_with(says), "{error}");
        };
        refused("has neither a file AWS_ACCESS_KEY_ID nor a file accessKey");
        put("accessKey", "\u{feff} AKIA1 \n");
        refused("has no file secretKey");
        put("secretKey", "open=sesame/+");
        assert_eq!(read().unwrap(), known(None));
        put("AWS_ACCESS_KEY_ID", "AKIA1");
        refused("has no file AWS_SECRET_ACCESS_KEY");
        put("AWS_SECRET_ACCESS_KEY", "open=sesame/+\r\n");
        put("AWS_SESSION_TOKEN", "t");
        assert_eq!(read().unwrap(), known(Some("t")));
        put("AWS_SECRET_ACCESS_KEY", "\n");
        refused("AWS_SECRET_ACCESS_KEY is empty");
        let nowhere = Credentials::read(&folder.path().join("nowhere")).unwrap_err().to_string();
        assert!(nowhere.contains("nowhere cannot be read: "), "{nowhere}");
    }
}
