//! The flags, and the setting of a configuration file that each stands for.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use kafka_backup::config::{self, Flags};

use super::logs::LogFlags;
use super::output::Output;

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  a bug in kafka-backup
  2  usage: a flag, a file, or a name that they give has to be mended
  3  unavailable: a broker or a store does not answer, or has no room left; try again later
  4  denied: credentials were refused, a permission is missing, or a certificate is not trusted
  5  corrupt: bytes in the archive, or a log of the source, are not what they were; the error names the object or the partition
  6  conflict: another run, client or version of the program holds, has made, or has changed what this run needs
  7  partial: there is a result, with less than was asked for; the report names what is missing
  8  interrupted by a signal; the same command goes on where it stopped";

/// Byte-exact backup and restore of Apache Kafka
#[derive(Debug, Parser)]
#[command(name = "kafka-backup", version, after_help = EXIT_CODES, max_term_width = 120)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Logs.
    #[command(flatten)]
    pub logs: LogFlags,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Copy topics of a cluster into an archive
    Backup(Box<BackupFlags>),
    /// Bring a backup's topics back to a cluster
    Restore(Box<RestoreFlags>),
    /// List the archives of a repository, or the backups of one archive
    List(ListFlags),
    /// Tell what is in a backup
    Describe(DescribeFlags),
    /// Check that every byte of a backup, or of a whole archive, is what was stored
    Verify(VerifyFlags),
    /// Delete backups of an archive that are not to be kept, and what killed runs left behind
    Prune(PruneFlags),
    /// Show records of a backup as JSON lines, straight from the archive
    Cat(CatFlags),
    /// Print a completion script
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// The cluster to connect to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cluster")]
pub struct ClusterFlags {
    /// Where to begin; the other brokers are found from there. An IPv6 address stands in brackets
    #[arg(long, value_name = "HOST:PORT", value_delimiter = ',')]
    bootstrap_servers: Vec<String>,
    /// PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL [default: PLAINTEXT]
    #[arg(long, value_name = "PROTOCOL")]
    security_protocol: Option<String>,
    /// PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512
    #[arg(long, value_name = "MECHANISM")]
    sasl_mechanism: Option<String>,
    /// The user of SASL
    #[arg(long, value_name = "NAME")]
    username: Option<String>,
    /// A file that holds the user's name and nothing else, instead of --username
    #[arg(long, value_name = "FILE")]
    username_file: Option<PathBuf>,
    /// A file that holds the user's password and nothing else
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Certificates of trusted authorities, PEM; a folder whose files ca*.crt are all trusted, too [default: the system's]
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The client's certificate with its chain, PEM
    #[arg(long, value_name = "FILE")]
    cert_file: Option<PathBuf>,
    /// The client's key, PEM, not encrypted
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// Milliseconds that a request may take [default: 30000]
    #[arg(long, value_name = "MS")]
    request_timeout_ms: Option<u64>,
    /// Milliseconds that a TCP and TLS handshake may take [default: 10000]
    #[arg(long, value_name = "MS")]
    connect_timeout_ms: Option<u64>,
    /// Milliseconds without any success after which a call is given up [default: 120000]
    #[arg(long, value_name = "MS")]
    retry_timeout_ms: Option<u64>,
    /// Failures in a row after which the run pauses instead of trying on [default: 5]
    #[arg(long, value_name = "N")]
    failure_threshold: Option<u32>,
    /// Seconds of such a pause [default: 60]
    #[arg(long, value_name = "SECONDS")]
    reset_timeout_secs: Option<u64>,
}

impl ClusterFlags {
    fn settings(&self, flags: &mut Flags) {
        flags
            .set_list("cluster.bootstrapServers", "--bootstrap-servers", &self.bootstrap_servers)
            .set("cluster.securityProtocol", "--security-protocol", &self.security_protocol)
            .set("cluster.sasl.mechanism", "--sasl-mechanism", &self.sasl_mechanism)
            .set("cluster.sasl.username", "--username", &self.username)
            .set("cluster.sasl.usernameFile", "--username-file", &self.username_file)
            .set("cluster.sasl.passwordFile", "--password-file", &self.password_file)
            .set("cluster.tls.caFile", "--ca-file", &self.ca_file)
            .set("cluster.tls.certFile", "--cert-file", &self.cert_file)
            .set("cluster.tls.keyFile", "--key-file", &self.key_file)
            .set("cluster.requestTimeoutMs", "--request-timeout-ms", &self.request_timeout_ms)
            .set("cluster.connectTimeoutMs", "--connect-timeout-ms", &self.connect_timeout_ms)
            .set("cluster.retryTimeoutMs", "--retry-timeout-ms", &self.retry_timeout_ms)
            .set("cluster.circuitBreaker.failureThreshold", "--failure-threshold", &self.failure_threshold)
            .set("cluster.circuitBreaker.resetTimeoutSecs", "--reset-timeout-secs", &self.reset_timeout_secs);
    }
}

/// What every run takes.
#[derive(Debug, Args)]
pub struct RunFlags {
    /// Settings in YAML or JSON; a flag wins over the file
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The repository: file:///dir or s3://bucket/prefix?endpoint=..&region=..&force_path_style=true&ca_file=..&credentials_file=..
    #[arg(long, value_name = "URL")]
    storage: Option<String>,
}

impl RunFlags {
    fn settings(&self) -> Flags {
        let mut flags = Flags::default();
        flags.set("storage", "--storage", &self.storage);
        flags
    }
}

/// What a run that ends with a report takes.
#[derive(Debug, Args)]
pub struct ReportFlags {
    /// How the report on stdout is written
    #[arg(long, value_enum, default_value = "text", value_name = "FORMAT")]
    pub output: Output,
}

/// What a run may move in a second.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitFlags {
    /// Workers at once, 1 to 64 [default: 4]
    #[arg(long, value_name = "N")]
    parallelism: Option<usize>,
    /// Bytes of record batches a second, for the whole run [default: no limit]
    #[arg(long, value_name = "BYTES")]
    rate_limit_bytes: Option<u64>,
    /// Records a second, for the whole run [default: no limit]
    #[arg(long, value_name = "N")]
    rate_limit_records: Option<u64>,
}

impl LimitFlags {
    fn settings(&self, flags: &mut Flags) {
        flags
            .set("parallelism", "--parallelism", &self.parallelism)
            .set("rateLimit.bytesPerSecond", "--rate-limit-bytes", &self.rate_limit_bytes)
            .set("rateLimit.recordsPerSecond", "--rate-limit-records", &self.rate_limit_records);
    }
}

/// What a run tells a pod's keeper.
#[derive(Debug, Args)]
#[command(next_help_heading = "In a pod")]
pub struct MessageFlags {
    /// A file that gets the result or the reason of the failure at the end, in one JSON object of at most 4096 bytes
    /// [default: none]
    #[arg(long, value_name = "FILE")]
    pub termination_message: Option<PathBuf>,
}

/// Where a run tells how far it is.
#[derive(Debug, Args)]
#[command(next_help_heading = "In a pod")]
pub struct ServerFlags {
    /// Answer GET /progress (JSON), /metrics (Prometheus) and /healthz at this address while the run lasts
    /// [default: do not listen]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,
}

/// Flags of `backup`.
#[derive(Debug, Args)]
pub struct BackupFlags {
    #[command(flatten)]
    pub run: RunFlags,
    #[command(flatten)]
    pub report: ReportFlags,
    #[command(flatten)]
    pub message: MessageFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    /// The archive: all backups of one source, kept together
    #[arg(long, value_name = "NAME")]
    archive: Option<String>,
    /// The id of the backup [default: that of an unfinished backup of the same selection, else PREFIX-YYYYMMDD-HHMMSS]
    #[arg(long, value_name = "ID")]
    backup_id: Option<String>,
    /// Take the id from the name of a CronJob's Job, which ends with the time that it was scheduled for
    #[arg(long, value_name = "NAME", conflicts_with = "backup_id")]
    backup_id_of_job: Option<String>,
    /// What comes before the time in an id [default: the archive's name]
    #[arg(long, value_name = "PREFIX")]
    backup_id_prefix: Option<String>,
    /// Take an archive over that belongs to another owner or cluster
    #[arg(long)]
    adopt: bool,
    /// Topics to back up, a name or a regular expression on the whole name; may be repeated. Topics of Kafka's add-ons, such as
    /// Cruise Control, are taken only by their exact name [default: all]
    #[arg(long, value_name = "REGEX")]
    topics: Vec<String>,
    /// Topics to leave out, likewise
    #[arg(long, value_name = "REGEX")]
    exclude_topics: Vec<String>,
    /// Consumer groups whose committed offsets are kept, likewise [default: all]
    #[arg(long, value_name = "REGEX")]
    consumer_groups: Vec<String>,
    /// Keep no committed offsets
    #[arg(long, conflicts_with = "consumer_groups")]
    no_consumer_groups: bool,
    /// How batches that the producer left uncompressed are stored: none, gzip, snappy, lz4 or zstd [default: zstd]
    #[arg(long, value_name = "CODEC")]
    compression: Option<String>,
    /// Level of that codec: 0 to 9 for gzip, 1 to 12 for lz4, 1 to 22 for zstd [default: the codec's own]
    #[arg(long, value_name = "LEVEL", allow_negative_numbers = true)]
    compression_level: Option<i32>,
    /// Seconds between checkpoints: how much a killed run may have to read again; 0 for none [default: 30]
    #[arg(long, value_name = "SECONDS")]
    checkpoint_interval_secs: Option<u64>,
    /// Bytes at which a segment is closed, at least 1048576 [default: 134217728]
    #[arg(long, value_name = "BYTES")]
    segment_bytes_max: Option<u64>,
    /// Let restores of this backup add a header with the source's offset to every record, unless they say otherwise
    #[arg(long)]
    include_offset_headers: bool,
    /// What the cluster is called in lists and descriptions of the backup [default: nothing but its id]
    #[arg(long, value_name = "NAME")]
    source_cluster_id: Option<String>,
    /// When the backup is there, delete older ones of the archive until this many completed ones are left, it among them; at
    /// least 1 [default: delete none]
    #[arg(long, value_name = "N")]
    max_backups: Option<usize>,
    /// When the backup is there, delete those of the archive whose cut is older than this, as in 90d [default: none]
    #[arg(long, value_name = "AGE")]
    max_age: Option<String>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
}

impl BackupFlags {
    /// The settings that were given.
    pub fn settings(&self) -> Flags {
        let mut flags = self.run.settings();
        self.cluster.settings(&mut flags);
        self.limits.settings(&mut flags);
        let no_groups: Option<[String; 0]> = self.no_consumer_groups.then_some([]);
        flags
            .set("archive", "--archive", &self.archive)
            .set("backupId", "--backup-id", &self.backup_id)
            .set("backupIdOfJob", "--backup-id-of-job", &self.backup_id_of_job)
            .set("backupIdPrefix", "--backup-id-prefix", &self.backup_id_prefix)
            .set_true("adopt", "--adopt", self.adopt)
            .set_list("topics", "--topics", &self.topics)
            .set_list("excludeTopics", "--exclude-topics", &self.exclude_topics)
            .set_list("consumerGroups", "--consumer-groups", &self.consumer_groups)
            .set("consumerGroups", "--no-consumer-groups", &no_groups)
            .set("compression", "--compression", &self.compression)
            .set("compressionLevel", "--compression-level", &self.compression_level)
            .set("checkpointIntervalSecs", "--checkpoint-interval-secs", &self.checkpoint_interval_secs)
            .set("segmentBytesMax", "--segment-bytes-max", &self.segment_bytes_max)
            .set_true("includeOffsetHeaders", "--include-offset-headers", self.include_offset_headers)
            .set("sourceClusterId", "--source-cluster-id", &self.source_cluster_id)
            .set("retention.maxBackups", "--max-backups", &self.max_backups)
            .set("retention.maxAge", "--max-age", &self.max_age);
        flags
    }
}

/// Flags of `list`.
#[derive(Debug, Args)]
pub struct ListFlags {
    #[command(flatten)]
    pub run: RunFlags,
    #[command(flatten)]
    pub report: ReportFlags,
    /// The archive whose backups are listed [default: list the archives]
    #[arg(long, value_name = "NAME")]
    archive: Option<String>,
}

impl ListFlags {
    /// The settings that were given.
    pub fn settings(&self) -> Flags {
        let mut flags = self.run.settings();
        flags.set("archive", "--archive", &self.archive);
        flags
    }
}

/// Flags of `describe`.
#[derive(Debug, Args)]
pub struct DescribeFlags {
    #[command(flatten)]
    pub run: RunFlags,
    #[command(flatten)]
    pub report: ReportFlags,
    /// The backup
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
}

impl DescribeFlags {
    /// The settings that were given.
    pub fn settings(&self) -> Flags {
        let mut flags = self.run.settings();
        flags.set("backup", "--backup", &self.backup);
        flags
    }
}

/// Flags of `restore`.
#[derive(Debug, Args)]
pub struct RestoreFlags {
    #[command(flatten)]
    pub run: RunFlags,
    #[command(flatten)]
    pub report: ReportFlags,
    #[command(flatten)]
    pub message: MessageFlags,
    #[command(flatten)]
    pub server: ServerFlags,
    /// The backup to restore
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// The archive that the backup is in; without --backup its newest one is restored, or with --point-in-time the oldest
    /// completed one that reaches it
    #[arg(long, value_name = "NAME")]
    archive: Option<String>,
    /// Names the restore for its journal, so that the same command goes on with it; one that has ended is not done again,
    /// whatever --existing-topics says [default: derived from all that decides what lands]
    #[arg(long, value_name = "NAME")]
    restore_id: Option<String>,
    /// Restore nothing, but end the restore ID, which is not to be completed: its topics get their own settings back
    #[arg(long, value_name = "ID", conflicts_with_all = ["restore_id", "dry_run"])]
    abandon: Option<String>,
    /// Only records with a timestamp at or before this one, as in 2026-02-12T14:30:00.000Z [default: all]
    #[arg(long, value_name = "TIME")]
    point_in_time: Option<String>,
    /// Only records with a timestamp at or after this one, likewise [default: all]
    #[arg(long, value_name = "TIME")]
    start_time: Option<String>,
    /// Topics of the backup, a name or a regular expression on the whole name; may be repeated [default: all]
    #[arg(long, value_name = "REGEX")]
    topics: Vec<String>,
    /// Topics to leave out, likewise
    #[arg(long, value_name = "REGEX")]
    exclude_topics: Vec<String>,
    /// Restore the topic FROM under the name TO; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = mapping)]
    topic_mapping: Vec<(String, String)>,
    /// Restore the committed offsets of consumer groups: of all, or of those that fit; may be repeated [default: none]
    #[arg(long, value_name = "REGEX", num_args = 0..=1)]
    consumer_groups: Option<Vec<String>>,
    /// Restore the group FROM under the name TO; may be repeated
    #[arg(long, value_name = "FROM=TO", value_parser = mapping)]
    group_mapping: Vec<(String, String)>,
    /// What to do with a target topic that is there already: fail (unless it is empty), append or overwrite
    /// [default: fail]
    #[arg(long, value_name = "WHAT")]
    existing_topics: Option<String>,
    /// Replicas of created topics [default: as in the backup]
    #[arg(long, value_name = "N")]
    replication_factor: Option<i16>,
    /// Add a header with the record's source offset to every record, or do not [default: as the backup says]
    #[arg(long, value_name = "true|false")]
    offset_headers: Option<bool>,
    /// The key of that header, which is added then [default: x-original-offset]
    #[arg(long, value_name = "KEY")]
    original_offset_header: Option<String>,
    /// Restore every record batch as one; by default small ones that follow each other are joined, with the same records
    #[arg(long)]
    keep_batches: bool,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Bytes that the records of one batch may take decompressed, up to 1 GiB; a run holds a few such batches in memory
    /// [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    decompressed_batch_bytes_max: Option<usize>,
    #[command(flatten)]
    limits: LimitFlags,
    #[command(flatten)]
    cluster: ClusterFlags,
}

impl RestoreFlags {
    /// The settings that were given.
    ///
    /// # Errors
    /// When a mapping names a source twice.
    pub fn settings(&self) -> Result<Flags, config::Error> {
        let mut flags = self.run.settings();
        self.cluster.settings(&mut flags);
        self.limits.settings(&mut flags);
        flags
            .set("decompressedBatchBytesMax", "--decompressed-batch-bytes-max", &self.decompressed_batch_bytes_max)
            .set("backup", "--backup", &self.backup)
            .set("archive", "--archive", &self.archive)
            .set("restoreId", "--restore-id", &self.restore_id)
            .set("abandon", "--abandon", &self.abandon)
            .set("pointInTime", "--point-in-time", &self.point_in_time)
            .set("startTime", "--start-time", &self.start_time)
            .set_list("topics", "--topics", &self.topics)
            .set_list("excludeTopics", "--exclude-topics", &self.exclude_topics)
            .set_map("topicMapping", "--topic-mapping", &self.topic_mapping)?
            .set("consumerGroups", "--consumer-groups", &self.consumer_groups)
            .set_map("groupMapping", "--group-mapping", &self.group_mapping)?
            .set("existingTopics", "--existing-topics", &self.existing_topics)
            .set("replicationFactor", "--replication-factor", &self.replication_factor)
            .set("offsetHeaders", "--offset-headers", &self.offset_headers)
            .set("originalOffsetHeader", "--original-offset-header", &self.original_offset_header)
            .set_true("keepBatches", "--keep-batches", self.keep_batches)
            .set_true("dryRun", "--dry-run", self.dry_run);
        Ok(flags)
    }
}

fn mapping(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((from, to)) if !from.is_empty() && !to.is_empty() => Ok((from.to_owned(), to.to_owned())),
        Some(_) | None => Err("write FROM=TO".to_owned()),
    }
}

/// Flags of `verify`.
#[derive(Debug, Args)]
pub struct VerifyFlags {
    #[command(flatten)]
    pub run: RunFlags,
    #[command(flatten)]
    pub report: ReportFlags,
    #[command(flatten)]
    pub message: MessageFlags,
    /// The backup to verify
    #[arg(long, value_name = "ID", conflicts_with = "archive")]
    backup: Option<String>,
    /// The archive to verify, with all its backups
    #[arg(long, value_name = "NAME")]
    archive: Option<String>,
    /// manifest (lists and sums agree), objects (every segment is there, with its size and index) or records (every byte)
    /// [default: records]
    #[arg(long, value_name = "LEVEL")]
    level: Option<String>,
    /// Segments that are read at once, 1 to 64 [default: 4]
    #[arg(long, value_name = "N")]
    parallelism: Option<usize>,
    /// Bytes that the records of one batch may take decompressed, up to 1 GiB; a run holds a few such batches in memory
    /// [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    decompressed_batch_bytes_max: Option<usize>,
}

impl VerifyFlags {
    /// The settings that were given.
    pub fn settings(&self) -> Flags {
        let mut flags = self.run.settings();
        flags
            .set("decompressedBatchBytesMax", "--decompressed-batch-bytes-max", &self.decompressed_batch_bytes_max)
            .set("backup", "--backup", &self.backup)
            .set("archive", "--archive", &self.archive)
            .set("level", "--level", &self.level)
            .set("parallelism", "--parallelism", &self.parallelism);
        flags
    }
}

/// Flags of `cat`.
#[derive(Debug, Args)]
pub struct CatFlags {
    #[command(flatten)]
    pub run: RunFlags,
    /// The backup
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// The topic, by its whole name
    #[arg(long, value_name = "NAME")]
    topic: Option<String>,
    /// The partition [default: all, one after the other]
    #[arg(long, value_name = "N")]
    partition: Option<i32>,
    /// The first offset to show, in each partition [default: 0]
    #[arg(long, value_name = "OFFSET")]
    from_offset: Option<i64>,
    /// How many records to show, in all [default: every one]
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    /// Bytes that the records of one batch may take decompressed, up to 1 GiB; a run holds a few such batches in memory
    /// [default: 67108864]
    #[arg(long, value_name = "BYTES")]
    decompressed_batch_bytes_max: Option<usize>,
}

impl CatFlags {
    /// The settings that were given.
    pub fn settings(&self) -> Flags {
        let mut flags = self.run.settings();
        flags
            .set("decompressedBatchBytesMax", "--decompressed-batch-bytes-max", &self.decompressed_batch_bytes_max)
            .set("backup", "--backup", &self.backup)
            .set("topic", "--topic", &self.topic)
            .set("partition", "--partition", &self.partition)
            .set("fromOffset", "--from-offset", &self.from_offset)
            .set("limit", "--limit", &self.limit);
        flags
    }
}

/// Flags of `prune`.
#[derive(Debug, Args)]
pub struct PruneFlags {
    #[command(flatten)]
    pub run: RunFlags,
    #[command(flatten)]
    pub report: ReportFlags,
    #[command(flatten)]
    pub message: MessageFlags,
    /// The archive
    #[arg(long, value_name = "NAME")]
    archive: Option<String>,
    /// Completed backups to keep, at least 1 [default: all]
    #[arg(long, value_name = "N")]
    max_backups: Option<usize>,
    /// Backups whose cut is older than this may go, except the newest, as in 90d [default: none]
    #[arg(long, value_name = "AGE")]
    max_age: Option<String>,
    /// For how long objects that no backup names are left alone [default: 24h]
    #[arg(long, value_name = "AGE")]
    grace: Option<String>,
    /// Delete; without it the plan is only shown
    #[arg(long)]
    confirm: bool,
}

impl PruneFlags {
    /// The settings that were given.
    pub fn settings(&self) -> Flags {
        let mut flags = self.run.settings();
        flags
            .set("archive", "--archive", &self.archive)
            .set("maxBackups", "--max-backups", &self.max_backups)
            .set("maxAge", "--max-age", &self.max_age)
            .set("grace", "--grace", &self.grace)
            .set_true("confirm", "--confirm", self.confirm);
        flags
    }
}
