//! One configuration from a file and flags, and every complaint with the place it belongs to.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::pem::BYTE_ORDER_MARK;
use super::{Needed, RunConfig, RunKind};
use crate::error::Kind;

/// The key of a file that says what the run does.
const RUN: &str = "run";
/// What has to be there when a part of it is; the user's name only where it does not stand in a file.
const SASL: [Needed; 3] = [
    ("cluster.sasl.mechanism", "--sasl-mechanism"),
    ("cluster.sasl.passwordFile", "--password-file"),
    ("cluster.sasl.username", "--username"),
];
const USERNAME_FILE: &str = "cluster.sasl.usernameFile";

/// Why no configuration comes out of file and flags.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read.
    #[error("--config {}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        why: std::io::Error,
    },
    /// The file is neither YAML nor JSON.
    #[error("{}: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, in one line.
        why: String,
    },
    /// The file describes another kind of run.
    #[error("{}: run is {found}, but the command is {wanted}: use the command that the file is for, or mend its run", path.display())]
    OtherRun {
        /// The file.
        path: PathBuf,
        /// The command that it says, if that is one.
        found: &'static str,
        /// The command.
        wanted: &'static str,
    },
    /// A setting that has to be there is not.
    #[error("{flag} is missing: give the flag, or {setting} in the file of --config")]
    Missing {
        /// The flag.
        flag: &'static str,
        /// The setting's place in a file.
        setting: &'static str,
    },
    /// A setting cannot be used.
    #[error("{origin}: {why}")]
    Setting {
        /// The flag, or file and place.
        origin: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// Always [`Kind::Usage`]: flag or file has to be mended.
    pub const fn kind(&self) -> Kind {
        Kind::Usage
    }
}

/// The settings that were given as flags.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flags(Vec<Flag>);

#[derive(Debug, Clone, PartialEq)]
struct Flag {
    name: &'static str,
    setting: &'static str,
    value: Value,
}

impl Flags {
    /// Notes that the flag `name` (with its dashes) gives `setting` (with dots between its parts) this value, if it has one.
    pub fn set(&mut self, setting: &'static str, name: &'static str, value: &Option<impl Serialize>) -> &mut Self {
        if let Some(value) = value {
            let value = serde_json::to_value(value).expect("flags are texts, numbers and lists of them");
            self.0.push(Flag { name, setting, value });
        }
        self
    }

    /// As [`Flags::set`], for a flag that may be given often and counts when it was given at all.
    pub fn set_list(&mut self, setting: &'static str, name: &'static str, values: &[impl Serialize]) -> &mut Self {
        self.set(setting, name, &(!values.is_empty()).then_some(values))
    }

    /// As [`Flags::set`], for a flag that gives one entry of a map each time.
    ///
    /// # Errors
    /// When two of them are for one key.
    pub fn set_map(
        &mut self,
        setting: &'static str,
        name: &'static str,
        entries: &[(String, String)],
    ) -> Result<&mut Self, Error> {
        let mut map = Map::new();
        for (from, to) in entries {
            if map.insert(from.clone(), Value::from(to.as_str())).is_some() {
                return Err(Error::Setting { origin: name.to_owned(), why: format!("{from:?} is given twice") });
            }
        }
        Ok(self.set(setting, name, &(!map.is_empty()).then_some(map)))
    }

    /// As [`Flags::set`], for a flag without a value.
    pub fn set_true(&mut self, setting: &'static str, name: &'static str, given: bool) -> &mut Self {
        self.set(setting, name, &given.then_some(true))
    }

    /// Where a complaint about the setting at `path` belongs.
    fn origin(&self, path: &str, file: Option<&Path>) -> String {
        let below = |setting: &str| {
            path.strip_prefix(setting).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        match (self.0.iter().find(|flag| below(flag.setting)), file) {
            (Some(flag), _) => flag.name.to_owned(),
            (None, Some(file)) if path == "." => file.display().to_string(),
            (None, Some(file)) => format!("{}: {path}", file.display()),
            (None, None) => path.to_owned(),
        }
    }
}

/// Puts the configuration of a run together: what the file says, and the flags over it.
///
/// # Errors
/// One line that names the flag, or the file and the place in it.
pub fn load(run: RunKind, file: Option<&Path>, flags: &Flags) -> Result<RunConfig, Error> {
    let mut settings = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|why| Error::File { path: path.to_owned(), why })?;
            parse(path, &text)?
        }
        None => Map::new(),
    };
    let written = Value::Object(settings.clone());
    match (settings.remove(RUN), file) {
        (Some(found), Some(path)) if found != run.name() => {
            let found = RunKind::ALL.iter().find(|kind| found == kind.name()).map_or("no command", |kind| kind.name());
            return Err(Error::OtherRun { path: path.to_owned(), found, wanted: run.name() });
        }
        (Some(_) | None, _) => {}
    }
    for flag in &flags.0 {
        put(&mut settings, flag.setting, flag.value.clone()).map_err(|place| misplaced(flags, file, place))?;
    }
    let sasl = match (is_given(&settings, "cluster.sasl"), is_given(&settings, USERNAME_FILE)) {
        (false, _) => &[],
        (true, false) => &SASL[..],
        (true, true) => &SASL[..2],
    };
    for (setting, flag) in run.needed().iter().chain(sasl) {
        if !is_given(&settings, setting) {
            return Err(Error::Missing { flag, setting });
        }
    }
    let settings = Value::Object(settings);
    let file = file.map(|path| (path, &written));
    Ok(match run {
        RunKind::Backup => RunConfig::Backup(typed(settings, flags, file)?),
        RunKind::Restore => RunConfig::Restore(typed(settings, flags, file)?),
        RunKind::List => RunConfig::List(typed(settings, flags, file)?),
        RunKind::Describe => RunConfig::Describe(typed(settings, flags, file)?),
        RunKind::Verify => RunConfig::Verify(typed(settings, flags, file)?),
        RunKind::Prune => RunConfig::Prune(typed(settings, flags, file)?),
        RunKind::Cat => RunConfig::Cat(typed(settings, flags, file)?),
    })
}

/// JSON is read as JSON, for its error texts; everything else as YAML. The parsers' own words are left out: they quote the file,
/// which may be another one than was meant, with a secret in it.
fn parse(path: &Path, text: &str) -> Result<Map<String, Value>, Error> {
    let text = text.trim_start_matches(BYTE_ORDER_MARK);
    let syntax = |why: &str| Error::Syntax { path: path.to_owned(), why: why.to_owned() };
    let is_json = path.extension().is_some_and(|extension| extension == "json") || text.trim_start().starts_with('{');
    let value = if is_json {
        serde_json::from_str(text)
            .map_err(|error| syntax(&format!("it is not JSON, at line {} column {}", error.line(), error.column())))?
    } else {
        serde_saphyr::from_str(text).map_err(|error| {
            syntax(&match error.location() {
                Some(at) => format!("it is not YAML, or has a key twice, at line {} column {}", at.line(), at.column()),
                None => "it is not YAML".to_owned(),
            })
        })?
    };
    match value {
        Value::Object(settings) => Ok(settings),
        Value::Null => Ok(Map::new()),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            Err(syntax("it is no map of settings, one `name: value` a line"))
        }
    }
}

/// An error of ours is one line.
fn one_line(text: &str) -> String {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("it cannot be read");
    first.trim_start_matches("error: ").to_owned()
}

/// Puts a value where a dotted path points, making what lies on the way; gives the place back that is no map.
fn put<'p>(settings: &mut Map<String, Value>, path: &'p str, value: Value) -> Result<(), &'p str> {
    let mut at = settings;
    let (folders, name) = path.rsplit_once('.').map_or(("", path), |(folders, name)| (folders, name));
    let mut seen = 0;
    for folder in folders.split('.').filter(|folder| !folder.is_empty()) {
        seen += folder.len() + 1;
        let inner = at.entry(folder).or_insert(Value::Null);
        if inner.is_null() {
            *inner = Value::Object(Map::new());
        }
        at = inner.as_object_mut().ok_or(&path[..seen - 1])?;
    }
    at.insert(name.to_owned(), value);
    Ok(())
}

fn misplaced(flags: &Flags, file: Option<&Path>, place: &str) -> Error {
    Error::Setting { origin: flags.origin(place, file), why: "it has to be a map of settings".to_owned() }
}

fn is_given(settings: &Map<String, Value>, path: &str) -> bool {
    let mut names = path.split('.');
    let first = names.next().and_then(|name| settings.get(name));
    names.fold(first, |value, name| value?.get(name)).is_some_and(|value| !value.is_null())
}

fn typed<T: DeserializeOwned>(settings: Value, flags: &Flags, file: Option<(&Path, &Value)>) -> Result<T, Error> {
    serde_path_to_error::deserialize(settings).map_err(|error| {
        let (place, why) = (error.path().to_string(), one_line(&error.inner().to_string()));
        let origin = flags.origin(&place, file.map(|(path, _)| path));
        match file {
            // What a flag says stands in the command line already.
            Some((path, written)) if origin.starts_with(&path.display().to_string()) => {
                complaint(path, written, &place, origin, &why)
            }
            Some(_) | None => Error::Setting { origin, why },
        }
    })
}

/// A complaint about something in a file: where it is and what is expected there, but not what is there. The file may be another
/// one than was meant, or a secret may be in the wrong place.
fn complaint(path: &Path, settings: &Value, place: &str, origin: String, why: &str) -> Error {
    let expected = || why.rsplit_once(", expected ").map_or("another value", |(_, expected)| expected);
    let hidden =
        |what: &str| Error::Setting { origin: origin.clone(), why: format!("{what}, expected {}", expected()) };
    if why.starts_with("unknown field ") {
        let is_setting = |key: &String| key == RUN || expected().contains(&format!("`{key}`"));
        let is_top = !place.contains('.');
        // Only a file of settings has keys that may be shown.
        return match settings.as_object() {
            Some(map) if is_top && !map.keys().any(is_setting) => Error::Syntax {
                path: path.to_owned(),
                why: "none of its keys is a setting: is it the right file?".to_owned(),
            },
            Some(_) | None => Error::Setting { origin, why: why.to_owned() },
        };
    }
    if why.starts_with("unknown variant ") {
        return hidden("unknown value");
    }
    for kind in ["invalid type: ", "invalid value: "] {
        if let Some(rest) = why.strip_prefix(kind) {
            let what = rest.split(['"', '`', ',']).next().unwrap_or_default().trim_end();
            return hidden(&format!("{kind}{what}"));
        }
    }
    Error::Setting { origin, why: without_values(settings, why) }
}

/// A text of a check of ours, with `***` for everything between quotes that is part of a value of the file.
fn without_values(settings: &Value, why: &str) -> String {
    let mut values = Vec::new();
    texts(settings, &mut values);
    let pieces = why.split('"').enumerate().map(|(number, piece)| {
        let is_quoted = number % 2 == 1;
        let is_known = || values.iter().any(|value| value.contains(piece) || format!("{value:?}").contains(piece));
        if is_quoted && !piece.is_empty() && is_known() { "***" } else { piece }
    });
    pieces.collect::<Vec<_>>().join("\"")
}

fn texts<'a>(value: &'a Value, out: &mut Vec<&'a str>) {
    match value {
        Value::String(text) => out.push(text),
        Value::Array(values) => values.iter().for_each(|value| texts(value, out)),
        Value::Object(map) => map.values().for_each(|value| texts(value, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::config::backup::{BackupConfig, CompressionName};

    fn file(name: &str, text: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        (dir, path)
    }

    const WHOLE: &str = "\
run: backup
storage: file:///backups
archive: orders
topics: [orders, payments]
compression: lz4
cluster:
  bootstrapServers: ['a:1', 'b:2']
  tls: { caFile: /ca.pem }
  securityProtocol: SSL
";

    fn backup(path: &Path, flags: &Flags) -> Result<BackupConfig, String> {
        match load(RunKind::Backup, Some(path), flags) {
            Ok(RunConfig::Backup(config)) => Ok(*config),
            Ok(other) => panic!("{other:?} is no backup"),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn a_flag_replaces_its_setting_and_no_other() {
        let (_dir, path) = file("c.yaml", WHOLE);
        let mut flags = Flags::default();
        flags
            .set_list("topics", "--topics", &["refunds"])
            .set("cluster.tls.certFile", "--cert-file", &Some("/cert.pem"))
            .set("compression", "--compression", &None::<String>);
        let config = backup(&path, &flags).unwrap();
        assert_eq!(config.topics, ["refunds"]);
        assert_eq!(config.compression, CompressionName::Lz4);
        assert_eq!(config.cluster.bootstrap_servers, ["a:1", "b:2"]);
        let tls = config.cluster.tls.unwrap();
        assert_eq!(tls.ca_file, Some(PathBuf::from("/ca.pem")));
        assert_eq!(tls.cert_file, Some(PathBuf::from("/cert.pem")));
    }

    #[test]
    fn what_is_serialised_is_read_back_from_json_and_yaml() {
        let (_dir, path) = file("c.yaml", WHOLE);
        let config = RunConfig::Backup(Box::new(backup(&path, &Flags::default()).unwrap()));
        let json = serde_json::to_string(&config).unwrap();
        assert!(json.starts_with(r#"{"run":"backup""#), "{json}");
        assert_eq!(serde_json::from_str::<RunConfig>(&json).unwrap(), config);
        for name in ["c.json", "c.yaml", "c"] {
            let (_dir, path) = file(name, &json);
            assert_eq!(load(RunKind::Backup, Some(&path), &Flags::default()).unwrap(), config);
        }
    }

    #[test]
    fn an_unknown_key_is_refused_by_name_and_place() {
        for (line, place) in [
            ("storge: file:///x", "storge"),
            ("cluster: { bootstrapServers: ['a:1'], tls: { caFil: x } }", "cluster.tls.caFil"),
            ("rateLimit: { bytes: 1 }", "rateLimit.bytes"),
        ] {
            let kept: Vec<_> = WHOLE
                .lines()
                .filter(|kept| !line.starts_with("cluster") || !(kept.starts_with("cluster") || kept.starts_with(' ')))
                .collect();
            let (_dir, path) = file("c.yaml", &format!("{}\n{line}\n", kept.join("\n")));
            let error = backup(&path, &Flags::default()).unwrap_err();
            assert!(error.starts_with(&format!("{}: {place}: unknown field", path.display())), "{error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_complaint_names_the_flag_or_the_place_in_the_file() {
        let (_dir, path) = file("c.yaml", &WHOLE.replace("lz4", "lzma"));
        let error = backup(&path, &Flags::default()).unwrap_err();
        assert!(
            error.starts_with(&format!("{}: compression: unknown value, expected one of `none`", path.display())),
            "{error}"
        );
        assert!(!error.contains("lzma"), "{error}");
        let mut flags = Flags::default();
        flags.set("compression", "--compression", &Some("rar"));
        let error = backup(&path, &flags).unwrap_err();
        assert!(error.starts_with("--compression: unknown variant `rar`"), "{error}");
    }

    #[test]
    fn what_is_missing_is_named_as_flag_and_as_setting() {
        let (_dir, path) = file("c.yaml", "run: backup\ncluster: { bootstrapServers: ['a:1'] }\nstorage: null\n");
        let error = backup(&path, &Flags::default()).unwrap_err();
        assert_eq!(error, "--storage is missing: give the flag, or storage in the file of --config");
        assert!(matches!(load(RunKind::Backup, None, &Flags::default()), Err(Error::Missing { .. })));
    }

    #[test]
    fn the_file_in_the_readme_is_taken() {
        let readme = include_str!("../../../README.md");
        let text = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
        let (_dir, path) = file("c.yaml", text);
        let config = backup(&path, &Flags::default()).unwrap();
        assert_eq!(config.topics, ["orders", r"payments\..*"]);
        assert!(config.rate_limit.bytes_per_second.is_some() && config.cluster.tls.is_some());
    }

    #[test]
    fn numbers_of_partitions_are_read_however_yaml_writes_them() {
        let text = "cluster: { bootstrapServers: ['a:1'] }\nstorage: file:///b\nbackup: b\npartitionMapping:\n  orders: { 0: 3, \"1\": 0 }\n";
        let (_dir, path) = file("c.yaml", text);
        let RunConfig::Restore(config) = load(RunKind::Restore, Some(&path), &Flags::default()).unwrap() else {
            panic!("another run")
        };
        assert_eq!(config.partition_mapping["orders"], [(0, 3), (1, 0)].into());
        let json = serde_json::to_string(&RunConfig::Restore(config.clone())).unwrap();
        assert_eq!(serde_json::from_str::<RunConfig>(&json).unwrap(), RunConfig::Restore(config));
        for key in ["x", "07", "1.0"] {
            let (_dir, path) = file("c.yaml", &text.replace("\"1\"", &format!("{key:?}")));
            let error = load(RunKind::Restore, Some(&path), &Flags::default()).unwrap_err().to_string();
            assert!(error.contains("partitionMapping") && error.contains("is no number of a partition"), "{error}");
        }
    }

    #[test]
    fn the_file_of_another_command_is_refused() {
        let (_dir, path) = file("c.yaml", WHOLE);
        let error = load(RunKind::List, Some(&path), &Flags::default()).unwrap_err();
        assert!(matches!(&error, Error::OtherRun { found: "backup", wanted: "list", .. }), "{error}");
    }

    #[test]
    fn a_value_of_a_file_is_not_repeated() {
        for (from, to) in [
            ("lz4", "sesame"),
            ("lz4", "{ sesame: sesame }"),
            ("[orders, payments]", "sesame"),
            ("file:///backups", "sesame"),
            ("file:///backups", "s3://Sesame/sesame"),
            ("file:///backups", "s3://bucket/x?force_path_style=sesame"),
            ("run: backup", "run: sesame"),
            ("SSL", "sesame"),
            ("run: backup", "rateLimit: { bytesPerSecond: sesame, expected sesame }"),
        ] {
            let (_dir, path) = file("c.yaml", &WHOLE.replace(from, to));
            let error = backup(&path, &Flags::default()).unwrap_err();
            assert!(!error.to_lowercase().contains("sesame"), "{error}");
        }
        for text in [
            "sesame: sesame",
            "sesame",
            "{\"sesame\": \"sesame\"}",
            "[default]\nkey = sesame",
            "a: *sesame",
            "sesame: 1\nsesame: 2",
        ] {
            let (_dir, path) = file("c.yaml", text);
            let mut flags = Flags::default();
            flags.set_list("cluster.bootstrapServers", "--bootstrap-servers", &["a:1"]);
            flags.set("storage", "--storage", &Some("file:///x")).set("archive", "--archive", &Some("a"));
            let error = backup(&path, &flags).unwrap_err();
            assert!(!error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_file() {
        let json = r#"{"storage": "file:///b", "archive": "a", "cluster": {"bootstrapServers": ["a:1"]}}"#;
        for (name, text) in [("c.yaml", WHOLE), ("c.json", json)] {
            let (_dir, path) = file(name, &format!("\u{feff}{text}"));
            assert_eq!(backup(&path, &Flags::default()).map(drop), Ok(()));
        }
    }

    #[test]
    fn every_broken_file_is_refused_in_one_line_with_its_name() {
        let texts = [
            "a: [",
            "- a\n- b",
            "just text",
            "{\"a\": }",
            "a: 1\na: 2",
            "\tx: 1",
            "cluster: 7",
            "cluster: { bootstrapServers: 7 }",
        ];
        for text in texts {
            let (_dir, path) = file("c.yaml", text);
            let mut flags = Flags::default();
            flags.set("storage", "--storage", &Some("file:///x")).set("archive", "--archive", &Some("a")).set(
                "cluster.requestTimeoutMs",
                "--request-timeout-ms",
                &Some(7),
            );
            let error = backup(&path, &flags).unwrap_err();
            assert!(
                !error.contains('\n') && (error.contains("c.yaml") || error.contains("--bootstrap-servers")),
                "{text:?}: {error}"
            );
        }
        let error = load(RunKind::List, Some(Path::new("/no/such/file")), &Flags::default()).unwrap_err();
        assert!(error.to_string().starts_with("--config /no/such/file: "), "{error}");
    }
}
