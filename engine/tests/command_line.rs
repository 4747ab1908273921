//! What the binary promises to whoever calls it: one line an error, one object a report, the right exit code.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::io::{BufRead, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use bytes::Bytes;
use kafka_backup::config::storage::StorageConfig;
use kafka_backup::error::Kind;
use kafka_backup::format::batch::{Batch, Compression};
use kafka_backup::format::builder::BatchBuilder;
use kafka_backup::format::document::{self, DocumentKind, Encoding};
use kafka_backup::format::frame::ArchiveCompression;
use kafka_backup::format::layout::{self, ArchiveKeys, ArchiveName, BackupId, PartId, SegmentId};
use kafka_backup::format::manifest::{
    ArchiveOwner, Manifest, Part, PartRef, PartitionSummary, Repository, TopicSummary, VERSION,
};
use kafka_backup::format::record::OwnedRecord;
use kafka_backup::format::rope::Rope;
use kafka_backup::format::segment::{OpenSegment, TopicKey};
use kafka_backup::store::Store;
use serde_json::Value;
use uuid::Uuid;

/// Ten records in one partition of the topic `orders`, in the backup `id` of the archive `shop`.
async fn store_backup(dir: &Path, id: &str, problems: &[&str]) {
    store_batches(dir, id, problems, &[batch(5, Compression::None)]).await;
}

/// A batch of ten records.
fn batch(base_offset: i64, compression: Compression) -> Vec<u8> {
    let record =
        |n: u8| OwnedRecord { timestamp_ms: 1_700_000_000_000, value: Some(vec![n; 100]), ..Default::default() };
    BatchBuilder::new(base_offset).compression(compression).records((0..10).map(record)).build().unwrap()
}

/// These batches, which follow each other from offset 5, as the partition 0 of the topic `orders`.
async fn store_batches(dir: &Path, id: &str, problems: &[&str], batches: &[Vec<u8>]) {
    let storage: StorageConfig = format!("file://{}", dir.display()).parse().unwrap();
    let store = Store::open_or_create(&storage).await.unwrap();
    let (archive, id): (ArchiveName, BackupId) = ("shop".parse().unwrap(), id.parse().unwrap());
    let keys = ArchiveKeys::new(&archive);
    let repository = Repository { id: Uuid::from_u128(1) };
    let sealed = document::seal(DocumentKind::Repository, VERSION, Encoding::Json, &repository);
    store.create(layout::REPOSITORY, sealed.into()).await.unwrap();
    let owner = ArchiveOwner {
        group: None,
        kind: None,
        namespace: None,
        name: "shop".to_owned(),
        uid: None,
        source_cluster_id: "cluster-a".to_owned(),
    };
    let sealed = document::seal(DocumentKind::Archive, VERSION, Encoding::Json, &owner);
    store.create(&keys.archive(), sealed.into()).await.unwrap();

    let topic = TopicKey { name: "orders".to_owned(), id: Uuid::from_u128(2) };
    let mut object = Rope::default();
    let compression = ArchiveCompression { codec: Compression::Zstd, level: None };
    let mut segment = OpenSegment::new(SegmentId::new(&id, 1, 0, 0), compression, &mut object);
    segment.begin_run(&topic, 0, 5, &mut object).unwrap();
    let mut end_offset = 5;
    for bytes in batches.iter().map(|bytes| Bytes::copy_from_slice(bytes)) {
        let batch = Batch::parse(&bytes).unwrap();
        segment.push_batch(&batch, &bytes, &mut object).unwrap();
        end_offset = batch.next_offset();
    }
    let stored = segment.seal(&mut object).unwrap().stored();
    store.put(&keys.segment(&stored.segment.id), object.to_bytes()).await.unwrap();

    let part = Part::of(&stored);
    let content = part.runs().next().unwrap().2.content;
    let sealed = part.seal(DocumentKind::Part);
    let reference = PartRef::new(PartId::new(&id, 1, 0), &part, &sealed);
    store.put(&keys.part(&reference.id), sealed.into()).await.unwrap();
    let partition =
        PartitionSummary { partition: 0, start_offset: 5, end_offset, content, ..PartitionSummary::default() };
    let manifest = Manifest {
        backup_id: id.clone(),
        archive,
        engine_version: "0.1.0".to_owned(),
        source_cluster_id: "cluster-a".to_owned(),
        cut_at_ms: 1_770_906_600_123,
        completed_at_ms: 1_770_906_601_000,
        topics: vec![TopicSummary {
            topic,
            replication_factor: 3,
            configs: [("cleanup.policy".to_owned(), "compact".to_owned())].into(),
            partitions: vec![partition],
        }],
        groups: Vec::new(),
        parts: vec![reference],
        open_transactions: Vec::new(),
        problems: problems.iter().map(|problem| (*problem).to_owned()).collect(),
        warnings: Vec::new(),
        content,
        segment_bytes: stored.segment.bytes,
        include_offset_headers: true,
        source_cluster_label: Some("production".to_owned()),
    };
    store.put(&keys.manifest(&id), manifest.seal().into()).await.unwrap();
}

fn kafka_backup(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kafka-backup")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

fn storage(dir: &Path) -> String {
    format!("file://{}", dir.display())
}

/// The one line that a failed call leaves on stderr.
fn refused(arguments: &[&str], kind: Kind) -> String {
    let output = kafka_backup(arguments);
    assert_eq!(output.status.code(), Some(i32::from(kind.code())), "{arguments:?}: {output:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}: {output:?}");
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "{arguments:?}: {line}");
    line.strip_prefix("error: ").unwrap_or_else(|| panic!("{arguments:?}: {line}")).trim_end().to_owned()
}

#[test]
fn every_refusal_is_one_line_that_names_the_flag() {
    let dir = tempfile::tempdir().unwrap();
    let url = storage(dir.path());
    let cluster = ["backup", "--archive", "a", "--storage", &url, "--bootstrap-servers", "localhost:1"];
    let with = |flags: &[&'static str]| refused(&[&cluster[..], flags].concat(), Kind::Usage);
    for (flags, named) in [
        (&["--security-protocol", "TLS"][..], "--security-protocol"),
        (&["--sasl-mechanism", "GSSAPI", "--username", "me", "--password-file", "p"], "--sasl-mechanism"),
        (&["--username", "me"], "--sasl-mechanism"),
        (&["--ca-file", "/no/such/file", "--security-protocol", "SSL"], "/no/such/file"),
        (&["--ca-file", "/no/such/file"], "securityProtocol PLAINTEXT"),
        (&["--topics", "(", "--topics", "a"], "topics"),
        (&["--compression", "rar"], "--compression"),
        (&["--compression-level", "99"], "compressionLevel 99"),
        (
            &["--compression", "lz4", "--compression-level", "13"],
            "compressionLevel 13 is not one of lz4: choose 1 to 12",
        ),
        (&["--compression-level", "x"], "--compression-level"),
        (&["--parallelism", "0"], "parallelism"),
        (&["--rate-limit-bytes", "0"], "--rate-limit-bytes"),
        (&["--backup-id", "a/b"], "--backup-id"),
        (&["--backup-id", "a", "--backup-id-of-job", "b-29515110"], "--backup-id-of-job"),
        (&["--backup-id-of-job", "by-hand"], "backupIdOfJob"),
        (&["--backup-id-prefix", "a/b"], "--backup-id-prefix"),
        (&["--consumer-groups", "a", "--no-consumer-groups"], "--no-consumer-groups"),
        (&["--no-such-flag"], "--no-such-flag"),
        (&["--log-level", "="], "--log-level"),
        (&["--listen", "9404"], "--listen"),
        (&["--max-backups", "0"], "--max-backups"),
        (&["--max-age", "5"], "--max-age"),
        (&["--checkpoint-interval-secs", "86401"], "checkpointIntervalSecs"),
        (&["--config", "/no/such/file"], "--config /no/such/file"),
        // What a terminal would obey is escaped.
        (&["--config", "/no/such/\u{1b}file"], "--config /no/such/\\u{1b}file"),
    ] {
        let line = with(flags);
        assert!(line.contains(named), "{flags:?}: {line}");
    }
    assert!(refused(&["backup"], Kind::Usage).contains("--bootstrap-servers"));
    assert!(refused(&["list"], Kind::Usage).contains("--storage"));
    assert!(refused(&["list", "--storage", "gs://bucket"], Kind::Usage).contains("--storage"));
    assert!(refused(&["describe", "--storage", &url], Kind::Usage).contains("--backup"));
    assert!(refused(&["frobnicate"], Kind::Usage).contains("frobnicate"));
}

#[tokio::test]
async fn a_restore_that_cannot_be_is_refused_before_a_broker_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    let url = storage(dir.path());
    let restore = ["restore", "--storage", &url, "--bootstrap-servers", "localhost:1"];
    for (flags, named) in [
        (&[][..], "neither"),
        (&["--backup", "shop-1", "--archive", "b"], "has no archive b"),
        (&["--backup", "shop-2", "--archive", "shop"], "archive shop has no backup shop-2"),
        (&["--archive", "shop", "--point-in-time", "yesterday"], "yesterday"),
        (&["--archive", "shop", "--point-in-time", "2026-02-30T00:00:00Z"], "2026-02-30"),
        (&["--archive", "shop", "--topic-mapping", "orders"], "--topic-mapping"),
        (&["--archive", "shop", "--topic-mapping", "a=b", "--topic-mapping", "a=c"], "--topic-mapping: \"a\""),
        (&["--archive", "shop", "--topic-mapping", "a=c", "--topic-mapping", "b=c"], "\"c\""),
        (&["--archive", "shop", "--topic-mapping", "a=b/c"], "b/c"),
        (&["--archive", "shop", "--group-mapping", "a=b"], "consumerGroups"),
        (&["--archive", "shop", "--existing-topics", "ignore"], "--existing-topics"),
        (&["--archive", "shop", "--replication-factor", "0"], "replicationFactor"),
        (&["--archive", "shop", "--restore-id", "a/b"], "--restore-id"),
    ] {
        let line = refused(&[&restore[..], flags].concat(), Kind::Usage);
        assert!(line.contains(named), "{flags:?}: {line}");
    }
}

#[tokio::test]
async fn pruning_deletes_nothing_unless_it_is_confirmed() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    store_backup(dir.path(), "shop-2", &[]).await;
    let url = storage(dir.path());
    let prune = ["prune", "--storage", &url, "--archive", "shop", "--max-backups", "1", "--grace", "0s"];
    let manifests = || {
        let backups = std::fs::read_dir(dir.path().join("archives/shop/backups")).unwrap();
        backups.filter(|backup| backup.as_ref().unwrap().path().join("manifest").exists()).count()
    };
    let planned = kafka_backup(&prune);
    assert!(planned.status.success(), "{planned:?}");
    let text = String::from_utf8(planned.stdout).unwrap();
    assert!(text.contains("would be deleted") && text.contains("--confirm"), "{text}");
    assert_eq!(manifests(), 2);
    let done = kafka_backup(&[&prune[..], &["--confirm", "--output", "json"]].concat());
    assert!(done.status.success(), "{done:?}");
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((report["outcome"].as_str(), report["confirmed"].as_bool()), (Some("completed"), Some(true)));
    assert_eq!(manifests(), 1);
    let line = refused(&[&prune[..], &["--max-age", "5"]].concat(), Kind::Usage);
    assert!(line.contains("--max-age") && line.contains("90d"), "{line}");
}

#[tokio::test]
async fn a_batch_that_cannot_be_read_is_named_and_everything_else_is_shown_and_verified() {
    let dir = tempfile::tempdir().unwrap();
    // Compressed as its neighbours are, and so in one frame with them: only the offsets of the batch are named.
    let [before, mut broken, after] = [5, 15, 25].map(|base_offset| batch(base_offset, Compression::Gzip));
    broken[61..].fill(0xff);
    let crc32c = crc32c::crc32c(&broken[21..]);
    broken[17..21].copy_from_slice(&crc32c.to_be_bytes());
    store_batches(dir.path(), "shop-1", &[], &[before, broken, after]).await;
    let url = storage(dir.path());
    let cat = kafka_backup(&["cat", "--storage", &url, "--backup", "shop-1", "--topic", "orders"]);
    assert_eq!(cat.status.code(), Some(i32::from(Kind::Corrupt.code())), "{cat:?}");
    assert_eq!(String::from_utf8(cat.stdout).unwrap().lines().count(), 20);
    let line = String::from_utf8(cat.stderr).unwrap();
    assert!(line.contains("topic \"orders\" partition 0: the batch at offset 15"), "{line}");
    let verify = kafka_backup(&["verify", "--storage", &url, "--backup", "shop-1", "--output", "json"]);
    let report: Value = serde_json::from_slice(&verify.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 1, "{report}");
    let offsets = &findings[0]["offsets"][0];
    assert_eq!((offsets["startOffset"].as_i64(), offsets["endOffset"].as_i64()), (Some(15), Some(25)), "{report}");
}

#[test]
fn a_folder_without_a_repository_is_no_empty_repository() {
    let dir = tempfile::tempdir().unwrap();
    let line = refused(&["list", "--storage", &storage(dir.path())], Kind::Usage);
    assert!(line.contains("holds no repository"), "{line}");
    let missing = storage(&dir.path().join("missing"));
    assert!(refused(&["list", "--storage", &missing], Kind::Usage).contains(&missing));
}

#[test]
fn help_names_every_exit_code_and_no_command_shows_it() {
    let help = kafka_backup(&["--help"]);
    assert!(help.status.success());
    let text = String::from_utf8(help.stdout).unwrap();
    let kinds = [
        Kind::Bug,
        Kind::Usage,
        Kind::Unavailable,
        Kind::Denied,
        Kind::Corrupt,
        Kind::Conflict,
        Kind::Partial,
        Kind::Interrupted,
    ];
    for kind in kinds {
        assert!(text.contains(&format!("\n  {}  ", kind.code())), "{kind:?} is not in: {text}");
    }
    let nothing = kafka_backup(&[]);
    assert_eq!(nothing.status.code(), Some(2));
    assert!(String::from_utf8(nothing.stderr).unwrap().contains("Commands:"));
}

#[test]
fn completions_are_made_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = kafka_backup(&["completions", shell]);
        assert!(
            output.status.success() && String::from_utf8_lossy(&output.stdout).contains("bootstrap-servers"),
            "{shell}"
        );
    }
}

#[tokio::test]
async fn a_listing_tells_what_can_be_restored() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    store_backup(dir.path(), "shop-2", &["group x: it could not be read"]).await;
    std::fs::create_dir_all(dir.path().join("archives/shop/progress/shop-3")).unwrap();
    std::fs::write(dir.path().join("archives/shop/progress/shop-3/e000001-000001"), "x").unwrap();
    let url = storage(dir.path());

    let output = kafka_backup(&["list", "--storage", &url, "--archive", "shop", "--output", "json"]);
    assert!(output.status.success(), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["run"], "list");
    let backups = report["archives"][0]["backups"].as_array().unwrap();
    let states: Vec<_> = backups
        .iter()
        .map(|backup| (backup["backupId"].as_str().unwrap(), backup["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states, [("shop-3", "unfinished"), ("shop-1", "completed"), ("shop-2", "partial")]);
    assert_eq!((&backups[1]["records"], &backups[1]["sourceClusterLabel"]), (&10.into(), &"production".into()));

    let text = String::from_utf8(kafka_backup(&["list", "--storage", &url]).stdout).unwrap();
    let row = text.lines().nth(1).unwrap();
    assert_eq!(row.split_whitespace().collect::<Vec<_>>(), ["shop", "1", "2", "shop-2", "2026-02-12T14:30:00.123Z"]);
    assert!(refused(&["list", "--storage", &url, "--archive", "sho"], Kind::Usage).contains("there is shop"));
}

#[tokio::test]
async fn a_damaged_manifest_is_an_entry_of_the_listing_and_an_error_of_its_description() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    store_backup(dir.path(), "shop-2", &[]).await;
    let manifest = dir.path().join("archives/shop/backups/shop-1/manifest");
    let edited = std::fs::read_to_string(&manifest).unwrap().replace("cluster-a", "cluster-b");
    std::fs::write(&manifest, edited).unwrap();
    let url = storage(dir.path());
    let text = String::from_utf8(kafka_backup(&["list", "--storage", &url, "--archive", "shop"]).stdout).unwrap();
    assert!(
        text.contains("DAMAGED") && text.contains("problem: shop-1: archives/shop/backups/shop-1/manifest:"),
        "{text}"
    );
    let line = refused(&["describe", "--storage", &url, "--backup", "shop-1"], Kind::Corrupt);
    assert!(line.starts_with("archives/shop/backups/shop-1/manifest:") && line.contains("SHA-256"), "{line}");
}

#[tokio::test]
async fn a_manifest_in_the_place_of_another_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    let backups = dir.path().join("archives/shop/backups");
    std::fs::rename(backups.join("shop-1"), backups.join("shop-9")).unwrap();
    let line = refused(&["describe", "--storage", &storage(dir.path()), "--backup", "shop-9"], Kind::Corrupt);
    assert!(line.contains("backup shop-1 of archive shop"), "{line}");
}

#[tokio::test]
async fn a_description_tells_topics_offsets_and_settings() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    let url = storage(dir.path());
    let text = String::from_utf8(kafka_backup(&["describe", "--storage", &url, "--backup", "shop-1"]).stdout).unwrap();
    for told in [
        "cluster-a (production)",
        "restores add x-original-offset",
        "2026-02-12T14:30:00.123Z",
        "topic orders",
        "cleanup.policy=compact",
        "5..15",
        "replication factor 3",
    ] {
        assert!(text.contains(told), "{told} is not in: {text}");
    }
    let output = kafka_backup(&["describe", "--storage", &url, "--backup", "shop-1", "--output", "json"]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["manifest"]["topics"][0]["partitions"][0]["endOffset"], 15);
}

#[tokio::test]
async fn damage_is_reported_with_the_code_for_it() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    let url = storage(dir.path());
    let verify = ["verify", "--storage", &url, "--archive", "shop"];
    let output = kafka_backup(&verify);
    assert!(output.status.success(), "{output:?}");
    let segment = dir.path().join("archives/shop/segments/shop-1/shop-1-e000001-w00-000000");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let output = kafka_backup(&[&verify[..], &["--output", "json"]].concat());
    assert_eq!(output.status.code(), Some(i32::from(Kind::Corrupt.code())), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcome"], "damaged");
    assert_eq!(report["findings"][0]["object"], "archives/shop/segments/shop-1/shop-1-e000001-w00-000000");
}

#[tokio::test]
async fn records_are_shown_as_json_lines_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    let url = storage(dir.path());
    let cat = ["cat", "--storage", &url, "--backup", "shop-1", "--topic", "orders"];
    let output = kafka_backup(&[&cat[..], &["--from-offset", "12", "--limit", "2"]].concat());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let lines: Vec<Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().map(|line| line["offset"].as_i64().unwrap()).collect::<Vec<_>>(), [12, 13]);
    let line = refused(&["cat", "--storage", &url, "--backup", "shop-1", "--topic", "order"], Kind::Usage);
    assert!(line.contains("orders"), "{line}");
    // A report has no place where records are.
    assert!(refused(&[&cat[..], &["--output", "json"]].concat(), Kind::Usage).contains("--output"));
}

#[test]
fn a_failure_is_one_json_object_when_json_is_asked_for() {
    let output = kafka_backup(&["list", "--storage", "file:///no/such/folder", "--output", "json"]);
    assert_eq!(output.status.code(), Some(2));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["outcome"], "failed");
    assert_eq!(report["error"]["kind"], "usage");
    assert!(report["error"]["message"].as_str().unwrap().contains("/no/such/folder"));
}

/// What a run left in the file of its termination message.
fn message_of(arguments: &[&str], file: &Path) -> (Output, Value) {
    std::fs::write(file, "what an earlier run has left").unwrap();
    let output = kafka_backup(&[arguments, &["--termination-message", file.to_str().unwrap()]].concat());
    let text = std::fs::read_to_string(file).unwrap();
    let message = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text:?}, {output:?}"));
    (output, message)
}

#[tokio::test]
async fn every_end_of_a_run_is_in_its_termination_message() {
    let dir = tempfile::tempdir().unwrap();
    store_backup(dir.path(), "shop-1", &[]).await;
    store_backup(dir.path(), "shop-2", &[]).await;
    let (url, file) = (storage(dir.path()), dir.path().join("message"));

    let verify = ["verify", "--storage", &url, "--archive", "shop"];
    let (output, message) = message_of(&verify, &file);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        (&message["run"], &message["outcome"], &message["records"]),
        (&"verify".into(), &"completed".into(), &20.into())
    );
    let prune = ["prune", "--storage", &url, "--archive", "shop", "--max-backups", "1", "--confirm"];
    let (_, message) = message_of(&prune, &file);
    assert_eq!((&message["removed"], &message["kept"]), (&serde_json::json!(["shop-1"]), &1.into()));
    assert_eq!(message["archiveBackups"], 1);
    assert!(message["archiveBytes"].as_u64().unwrap() > 0, "{message}");

    let segment = dir.path().join("archives/shop/segments/shop-2/shop-2-e000001-w00-000000");
    let mut bytes = std::fs::read(&segment).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&segment, bytes).unwrap();
    let (output, message) = message_of(&verify, &file);
    assert_eq!(output.status.code(), Some(i32::from(Kind::Corrupt.code())));
    assert_eq!((&message["outcome"], &message["error"]["kind"]), (&"failed".into(), &"corrupt".into()));
    assert!(message["problems"][0].as_str().unwrap().contains("shop-2-e000001"), "{message}");

    // Refused before anything was done: by the configuration, the flags, the level of logs.
    let restore = ["restore", "--storage", &url, "--bootstrap-servers", "localhost:1"];
    for (flags, named) in [
        (&["--archive", "shop", "--point-in-time", "yesterday"][..], "yesterday"),
        (&["--archive", "shop", "--topic-mapping", "a=b", "--topic-mapping", "a=c"], "--topic-mapping"),
        (&["--archive", "shop", "--log-level", "="], "--log-level"),
        (&["--config", "/no/such/file"], "/no/such/file"),
    ] {
        let (output, message) = message_of(&[&restore[..], flags].concat(), &file);
        assert_eq!(output.status.code(), Some(i32::from(Kind::Usage.code())), "{flags:?}");
        assert_eq!((&message["run"], &message["outcome"]), (&"restore".into(), &"failed".into()), "{flags:?}");
        assert!(message["error"]["message"].as_str().unwrap().contains(named), "{flags:?}: {message}");
    }
    let line = refused(&[&verify[..], &["--termination-message", "/no/such/folder/x"]].concat(), Kind::Usage);
    assert!(line.starts_with("--termination-message /no/such/folder/x: "), "{line}");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kafka-backup"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut told = String::new();
    child.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(child.wait().unwrap().success(), "{told}");
    assert_eq!(told, "");
}

#[test]
fn a_cluster_that_is_not_there_is_unavailable() {
    let dir = tempfile::tempdir().unwrap();
    let url = storage(dir.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
    let server = format!("127.0.0.1:{port}");
    let flags = ["backup", "--archive", "a", "--storage", &url, "--bootstrap-servers", &server, "--log-level", "error"];
    let line = refused(&[&flags[..], &["--retry-timeout-ms", "300"]].concat(), Kind::Unavailable);
    assert!(line.contains(&server), "{line}");
}

/// The answer to `GET path`, whole.
fn get(address: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_run_that_waits_for_its_cluster_already_tells_how_far_it_is() {
    let dir = tempfile::tempdir().unwrap();
    // A broker that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, server) = (storage(dir.path()), silent.local_addr().unwrap().to_string());
    let backup = ["backup", "--archive", "a", "--storage", &url, "--bootstrap-servers", &server, "--listen"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_kafka-backup"))
        .args([&backup[..], &["127.0.0.1:0"]].concat())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains("/progress") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "it ended without a word");
    }
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().to_owned();

    let progress = get(&address, "/progress");
    assert!(progress.starts_with("HTTP/1.1 200") && progress.contains("application/json"), "{progress}");
    let progress: Value = serde_json::from_str(progress.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(
        (&progress["run"], &progress["percent"], &progress["etaSeconds"]),
        (&"backup".into(), &Value::Null, &Value::Null)
    );
    let metrics = get(&address, "/metrics");
    assert!(
        metrics.contains("version=0.0.4") && metrics.contains("kafka_backup_run_records_total{run=\"backup\"} 0"),
        "{metrics}"
    );
    assert!(get(&address, "/healthz").starts_with("HTTP/1.1 200"));
    assert!(get(&address, "/").starts_with("HTTP/1.1 404"));

    // The port is taken, which is seen before anything else is done.
    let line = refused(&[&backup[..], &[&address]].concat(), Kind::Usage);
    assert!(line.starts_with(&format!("--listen {address}: ")), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_second_signal_ends_a_run_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // A broker that takes connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let server = silent.local_addr().unwrap().to_string();
    let mut child = Command::new(env!("CARGO_BIN_EXE_kafka-backup"))
        .args(["backup", "--archive", "a", "--storage", &storage(dir.path()), "--bootstrap-servers", &server])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The run listens to signals before it connects.
    drop(silent.accept().unwrap());
    let id = child.id().to_string();
    let mut told = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
    while !line.contains("a second signal") {
        line.clear();
        assert!(told.read_line(&mut line).unwrap() > 0, "it ended without a word");
    }
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(i32::from(Kind::Interrupted.code())));
    let mut last = String::new();
    told.read_to_string(&mut last).unwrap();
    assert!(last.lines().last().unwrap().starts_with("error: stopped"), "{last}");
}
