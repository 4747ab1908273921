//! The Java client: writes what our own code must not be trusted to write, and reads what it must not judge itself.
//!
//! One JVM a process serves every [`Witness`]; the requests of several threads run side by side in it. A failure is an
//! error whose text begins with the name of Kafka's exception, such as `TopicExistsException: ..`.

mod group;
mod jvm;
mod motion;
mod topic;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use self::group::{Commit, Group, GroupListing, Protocol, StreamsProtocol};
use self::jvm::Jvm;
pub(crate) use self::jvm::compiled;
pub use self::motion::{OracleReader, Transform};
pub use self::topic::{NewTopic, Partition, Position, Topic};
use crate::dump::{self, Record};
use crate::unique;

/// Properties of a Java client, or of a topic.
pub type Properties = BTreeMap<String, String>;

/// The Java client as it sees one cluster.
#[derive(Debug, Clone)]
pub struct Witness {
    jvm: &'static Jvm,
    cluster: Properties,
}

/// What a consumer sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolation {
    /// Records of committed transactions only, up to the last stable offset.
    Committed,
    /// Everything up to the high watermark.
    Uncommitted,
}

impl Isolation {
    const fn level(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// Which offset of a partition is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// The log start offset.
    Earliest,
    /// The high watermark.
    Latest,
    /// The last stable offset.
    Stable,
}

/// What was read of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Consumed {
    /// Its number.
    pub partition: i32,
    /// The log start offset when reading began.
    pub start_offset: i64,
    /// The end when reading began, as the isolation level sees it; exclusive.
    pub end_offset: i64,
    /// How many records there were.
    pub records: u64,
    /// SHA-256, in hexadecimal, over all but the offset and the timestamp type: equal for an equal copy.
    pub digest: String,
}

/// What the values of generated records look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Small JSON objects, about as long as asked for, which compress well.
    Json,
    /// Random bytes, exactly as long as asked for, which do not.
    Random,
}

/// A stream of records that follow from a seed.
#[derive(Debug, Clone)]
pub struct Generate {
    /// The topic, which exists.
    pub topic: String,
    /// Its partitions, written in turn.
    pub partitions: i32,
    /// How many records over all partitions.
    pub records: u64,
    /// The same seed gives the same records.
    pub seed: u64,
    /// What values look like.
    pub shape: Shape,
    /// How long a value is.
    pub value_bytes: u32,
    /// How many different keys; 0 leaves them null.
    pub keys: u64,
    /// The timestamp of the first record of each partition, in milliseconds since 1970; each next one is 1 ms later.
    pub timestamp_ms: i64,
    /// Producer settings, such as `compression.type`, `batch.size`, `linger.ms`.
    pub config: Properties,
}

/// A producer in the JVM. Dropping it leaves it, and its open transaction, as they are.
#[derive(Debug)]
pub struct Producer {
    witness: Witness,
    name: String,
}

/// A consumer that stays in its group until it leaves.
#[derive(Debug)]
pub struct Member {
    witness: Witness,
    name: String,
}

/// A Kafka Streams application without state that runs until it is stopped.
#[derive(Debug)]
pub struct Application {
    witness: Witness,
    name: String,
}

/// Properties from pairs.
pub fn properties<const N: usize>(pairs: [(&str, &str); N]) -> Properties {
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Witness {
    /// A client with these properties, `bootstrap.servers` among them.
    ///
    /// # Panics
    /// When the JVM cannot be started, for every test that asks for it.
    pub fn connect(cluster: Properties) -> Self {
        static JVM: LazyLock<Jvm> =
            LazyLock::new(|| Jvm::start().unwrap_or_else(|error| panic!("cannot start the Java witness: {error:#}")));
        Self { jvm: &JVM, cluster }
    }

    /// Creates topics and waits until every partition has a leader.
    ///
    /// # Errors
    /// Kafka's, as for all methods here.
    pub fn create_topics(&self, topics: &[NewTopic]) -> Result<()> {
        self.call("create_topics", json!({ "topics": topics }))
    }

    /// Adds partitions to a topic up to `total`.
    ///
    /// # Errors
    /// Kafka's.
    pub fn create_partitions(&self, topic: &str, total: i32) -> Result<()> {
        self.call("create_partitions", json!({ "topic": topic, "total": total }))
    }

    /// Deletes topics and waits until they are gone.
    ///
    /// # Errors
    /// Kafka's.
    pub fn delete_topics(&self, topics: &[&str]) -> Result<()> {
        self.call("delete_topics", json!({ "topics": topics }))
    }

    /// Describes a topic.
    ///
    /// # Errors
    /// Kafka's.
    pub fn describe_topic(&self, topic: &str) -> Result<Topic> {
        let mut topics: Vec<Topic> = self.call("describe_topics", json!({ "topics": [topic] }))?;
        topics.pop().with_context(|| format!("{topic} was not described"))
    }

    /// Changes a topic's configs: sets some, and deletes others so that the default holds again.
    ///
    /// # Errors
    /// Kafka's.
    pub fn alter_topic(&self, topic: &str, set: &Properties, delete: &[&str]) -> Result<()> {
        let change = json!({ "resource": "TOPIC", "name": topic, "set": set, "delete": delete });
        self.call("alter_configs", change)
    }

    /// Changes a setting of all brokers.
    ///
    /// # Errors
    /// Kafka's.
    pub fn alter_brokers(&self, set: &Properties, delete: &[&str]) -> Result<()> {
        let change = json!({ "resource": "BROKER", "name": "", "set": set, "delete": delete });
        self.call("alter_configs", change)
    }

    /// Moves a partition's leadership to a node that holds a replica, and waits until it is there.
    ///
    /// # Errors
    /// Kafka's.
    pub fn move_leader(&self, topic: &str, partition: i32, node: u16) -> Result<()> {
        self.call("move_leader", json!({ "topic": topic, "partition": partition, "node": node }))
    }

    /// Begins to move a partition to this node, as its only replica; it is there when the node has caught up.
    ///
    /// # Errors
    /// Kafka's.
    pub fn begin_reassignment(&self, topic: &str, partition: i32, node: u16) -> Result<()> {
        self.call("begin_reassignment", json!({ "topic": topic, "partition": partition, "node": node }))
    }

    /// Elects a leader among the replicas that live, in sync or not, which may lose records.
    ///
    /// # Errors
    /// Kafka's.
    pub fn elect_unclean(&self, topic: &str, partition: i32) -> Result<()> {
        self.call("elect_unclean", json!({ "topic": topic, "partition": partition }))
    }

    /// An offset of each partition of a topic, in the order of their numbers.
    ///
    /// # Errors
    /// Kafka's.
    pub fn offsets(&self, topic: &str, at: At) -> Result<Vec<i64>> {
        let at = match at {
            At::Earliest => "earliest",
            At::Latest => "latest",
            At::Stable => "stable",
        };
        self.call("offsets", json!({ "topic": topic, "at": at }))
    }

    /// Deletes the records before each of these positions.
    ///
    /// # Errors
    /// Kafka's.
    pub fn delete_records(&self, before: &[Position]) -> Result<()> {
        self.call("delete_records", json!({ "positions": before }))
    }

    /// Allows `principal` (such as `User:scram512`) an operation (`READ`, `ALL`, ..) on a resource (`TOPIC`, `GROUP`,
    /// `CLUSTER`, ..) of this name (`*` for every one).
    ///
    /// # Errors
    /// Kafka's.
    pub fn allow(&self, principal: &str, operation: &str, resource: &str, name: &str) -> Result<()> {
        let rule = json!({ "principal": principal, "operation": operation, "resource": resource, "name": name });
        self.call("allow", rule)
    }

    /// Allows it on all resources whose names begin with `prefix`.
    ///
    /// # Errors
    /// Kafka's.
    pub fn allow_prefixed(&self, principal: &str, operation: &str, resource: &str, prefix: &str) -> Result<()> {
        let rule = json!({ "principal": principal, "operation": operation, "resource": resource, "prefix": prefix });
        self.call("allow", rule)
    }

    /// Gives a user, new or not, this password for SCRAM-SHA-512. Brokers may take a moment to know it.
    ///
    /// # Errors
    /// Kafka's.
    pub fn set_password(&self, user: &str, password: &str) -> Result<()> {
        self.call("set_password", json!({ "user": user, "password": password }))
    }

    /// Opens a producer. With a `transactional.id` it is initialised for transactions.
    ///
    /// # Errors
    /// Kafka's.
    pub fn producer(&self, config: &Properties) -> Result<Producer> {
        let producer = Producer { witness: self.clone(), name: unique("producer") };
        producer.call("open_producer", json!({ "config": config }))
    }

    /// Writes records with a producer of its own; where each came to stand, in their order.
    ///
    /// # Errors
    /// Kafka's.
    pub fn produce(&self, topic: &str, config: &Properties, records: &[Record]) -> Result<Vec<Position>> {
        let producer = self.producer(config)?;
        let placed = producer.send(topic, records)?;
        producer.close()?;
        Ok(placed)
    }

    /// Writes all records as one batch, header keys byte by byte, also such as no client can say; its base offset.
    ///
    /// `codec` is `none`, `gzip`, `snappy`, `lz4` or `zstd`. Timestamps must be given. Only through a plain listener.
    ///
    /// # Errors
    /// Kafka's.
    pub fn produce_batch(&self, topic: &str, partition: i32, codec: &str, records: &[Record]) -> Result<i64> {
        let file = self.jvm.file();
        dump::write_file(&file, records)?;
        let batch = json!({ "topic": topic, "partition": partition, "codec": codec, "file": file });
        let base_offset = self.call("produce_batch", batch);
        let _ = fs::remove_file(&file);
        base_offset
    }

    /// Writes a stream of records that follow from a seed.
    ///
    /// # Errors
    /// Kafka's.
    pub fn generate(&self, stream: &Generate) -> Result<()> {
        let shape = match stream.shape {
            Shape::Json => "json",
            Shape::Random => "random",
        };
        let request = json!({
            "topic": stream.topic, "partitions": stream.partitions, "records": stream.records, "seed": stream.seed,
            "shape": shape, "value_bytes": stream.value_bytes, "keys": stream.keys,
            "timestamp_ms": stream.timestamp_ms, "config": stream.config,
        });
        self.call("generate", request)
    }

    /// Reads a whole topic and counts and digests its records.
    ///
    /// # Errors
    /// Kafka's.
    pub fn digest(&self, topic: &str, isolation: Isolation) -> Result<Vec<Consumed>> {
        self.consume(topic, isolation, None)
    }

    /// Reads a whole topic, as far as committed, into a folder, which is created, in the form of [`dump`].
    ///
    /// # Errors
    /// Kafka's, or when the folder cannot be written.
    pub fn dump(&self, topic: &str, folder: &Path) -> Result<Vec<Consumed>> {
        self.consume(topic, Isolation::Committed, Some(folder))
    }

    /// Reads a whole topic from its first offset to its end when the call begins.
    ///
    /// # Errors
    /// Kafka's, or when the folder cannot be written.
    pub fn consume(&self, topic: &str, isolation: Isolation, folder: Option<&Path>) -> Result<Vec<Consumed>> {
        if let Some(folder) = folder {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        let config = properties([("isolation.level", isolation.level())]);
        self.call("consume", json!({ "topic": topic, "folder": folder, "config": config }))
    }

    /// The committed record that a consumer reads next from each position, or `None` at the end.
    ///
    /// # Errors
    /// Kafka's.
    pub fn next_records(&self, positions: &[Position]) -> Result<Vec<Option<Record>>> {
        self.next(None, json!(positions))
    }

    /// The committed record that a consumer of the group reads next in each partition (of a topic and a number), or
    /// `None` at the end.
    ///
    /// # Errors
    /// Kafka's.
    pub fn next_of_group(&self, group: &str, partitions: &[(&str, i32)]) -> Result<Vec<Option<Record>>> {
        let partitions: Vec<Value> =
            partitions.iter().map(|(topic, partition)| json!({ "topic": topic, "partition": partition })).collect();
        self.next(Some(group), json!(partitions))
    }

    /// Commits offsets for a group that has no members; it is made if it does not exist, of the classic type.
    ///
    /// # Errors
    /// Kafka's.
    pub fn commit_offsets(&self, group: &str, offsets: &[Commit]) -> Result<()> {
        self.call("commit_offsets", json!({ "group": group, "offsets": offsets }))
    }

    /// The committed offsets of a group, by topic and partition.
    ///
    /// # Errors
    /// Kafka's.
    pub fn group_offsets(&self, group: &str) -> Result<Vec<Commit>> {
        self.call("group_offsets", json!({ "group": group }))
    }

    /// All groups, of every type.
    ///
    /// # Errors
    /// Kafka's.
    pub fn list_groups(&self) -> Result<Vec<GroupListing>> {
        self.call("list_groups", json!({}))
    }

    /// Describes a consumer group.
    ///
    /// # Errors
    /// Kafka's.
    pub fn describe_group(&self, group: &str) -> Result<Group> {
        self.call("describe_group", json!({ "group": group }))
    }

    /// Deletes a group that has no members.
    ///
    /// # Errors
    /// Kafka's.
    pub fn delete_group(&self, group: &str) -> Result<()> {
        self.call("delete_group", json!({ "group": group }))
    }

    /// Joins a group with a new consumer, and waits until it was given partitions.
    ///
    /// # Errors
    /// Kafka's.
    pub fn join_group(&self, group: &str, protocol: Protocol, topics: &[&str]) -> Result<Member> {
        let protocol = match protocol {
            Protocol::Classic => "classic",
            Protocol::Consumer => "consumer",
        };
        let name = unique("member");
        let config = properties([("group.protocol", protocol), ("client.id", name.as_str())]);
        let request = json!({ "member": name, "group": group, "topics": topics, "config": config });
        self.call::<()>("join_group", request)?;
        Ok(Member { witness: self.clone(), name })
    }

    /// Starts a Kafka Streams application that reads a topic from its beginning, or from where its group goes on, and waits
    /// until it runs. Its client id begins with the name of its group.
    ///
    /// # Errors
    /// Kafka's.
    pub fn start_streams(&self, group: &str, protocol: StreamsProtocol, topic: &str) -> Result<Application> {
        let protocol = match protocol {
            StreamsProtocol::Classic => "classic",
            StreamsProtocol::Streams => "streams",
        };
        let name = unique("application");
        let config = properties([("group.protocol", protocol), ("client.id", group)]);
        let request = json!({ "application": name, "group": group, "topic": topic, "config": config });
        self.call::<()>("start_streams", request)?;
        Ok(Application { witness: self.clone(), name })
    }

    /// Takes so many records of a topic as a member of a share group, acknowledges them, and leaves; their values. A new
    /// group begins with the first record that there is.
    ///
    /// # Errors
    /// Kafka's, or when there are fewer records for two minutes.
    pub fn share(&self, group: &str, topic: &str, records: usize) -> Result<Vec<String>> {
        let config = properties([("client.id", group)]);
        let request = json!({ "group": group, "topics": [topic], "records": records, "config": config });
        self.call("share_values", request)
    }

    /// The start offsets of a share group, by topic and partition; -1 where nothing was delivered yet.
    ///
    /// # Errors
    /// Kafka's.
    pub fn share_offsets(&self, group: &str) -> Result<Vec<Position>> {
        self.call("share_offsets", json!({ "group": group }))
    }

    fn next(&self, group: Option<&str>, positions: Value) -> Result<Vec<Option<Record>>> {
        let file = self.jvm.file();
        let config = properties([("isolation.level", Isolation::Committed.level())]);
        let request = json!({ "group": group, "positions": positions, "file": file, "config": config });
        let found: Vec<bool> = self.call("next_records", request)?;
        let mut records = dump::read_file(&file)?.into_iter();
        let _ = fs::remove_file(&file);
        Ok(found.into_iter().map(|is_there| if is_there { records.next() } else { None }).collect())
    }

    fn call<T: DeserializeOwned>(&self, command: &str, mut request: Value) -> Result<T> {
        request["cluster"] = json!(self.cluster);
        let result = self.jvm.call(command, request)?;
        serde_json::from_value(result).with_context(|| format!("{command}: an answer of another form"))
    }
}

impl Producer {
    /// Writes records and waits until they are acknowledged; where each came to stand, in their order.
    ///
    /// # Errors
    /// Kafka's.
    pub fn send(&self, topic: &str, records: &[Record]) -> Result<Vec<Position>> {
        let file = self.witness.jvm.file();
        dump::write_file(&file, records)?;
        let request = json!({ "producer": self.name, "topic": topic, "file": file });
        let placed = self.witness.call("produce", request);
        let _ = fs::remove_file(&file);
        placed
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// Kafka's.
    pub fn begin(&self) -> Result<()> {
        self.witness.call("begin_transaction", json!({ "producer": self.name }))
    }

    /// Commits offsets of a group in the transaction: they count when it is committed.
    ///
    /// # Errors
    /// Kafka's.
    pub fn commit_offsets(&self, group: &str, offsets: &[Commit]) -> Result<()> {
        let request = json!({ "producer": self.name, "group": group, "offsets": offsets });
        self.witness.call("commit_in_transaction", request)
    }

    /// Commits the transaction.
    ///
    /// # Errors
    /// Kafka's.
    pub fn commit(&self) -> Result<()> {
        self.witness.call("commit_transaction", json!({ "producer": self.name }))
    }

    /// Aborts the transaction.
    ///
    /// # Errors
    /// Kafka's.
    pub fn abort(&self) -> Result<()> {
        self.witness.call("abort_transaction", json!({ "producer": self.name }))
    }

    /// Closes the producer; an open transaction is aborted.
    ///
    /// # Errors
    /// Kafka's.
    pub fn close(self) -> Result<()> {
        self.witness.call("close_producer", json!({ "producer": self.name }))
    }

    fn call(self, command: &str, mut request: Value) -> Result<Self> {
        request["producer"] = json!(self.name);
        self.witness.call::<()>(command, request)?;
        Ok(self)
    }
}

impl Application {
    /// The values that it was given so far.
    ///
    /// # Errors
    /// Kafka's.
    pub fn values(&self) -> Result<Vec<String>> {
        self.witness.call("streams_values", json!({ "application": self.name }))
    }

    /// Stops it, which commits its offsets; all values that it was given.
    ///
    /// # Errors
    /// Kafka's.
    pub fn stop(self) -> Result<Vec<String>> {
        self.witness.call("stop_streams", json!({ "application": self.name }))
    }
}

impl Member {
    /// The client id under which the coordinator knows it.
    pub fn client_id(&self) -> &str {
        &self.name
    }

    /// Commits offsets as a member of the group.
    ///
    /// # Errors
    /// Kafka's.
    pub fn commit(&self, offsets: &[Commit]) -> Result<()> {
        self.witness.call("commit_as_member", json!({ "member": self.name, "offsets": offsets }))
    }

    /// Leaves the group; its type and its offsets stay.
    ///
    /// # Errors
    /// Kafka's.
    pub fn leave(self) -> Result<()> {
        self.witness.call("leave_group", json!({ "member": self.name }))
    }
}
