//! What the fuzzer and the property tests call: each function takes any bytes and must come to an end without a panic.
//!
//! Whatever can be read is used as a run uses it. A checksum that no random bytes would hit is put right first, so that what
//! lies behind it is reached.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use bytes::Bytes;
use kafka_backup::breaker::Breaker;
use kafka_backup::config::cluster::ClusterConfig;
use kafka_backup::format::batch::{Batch, batches};
use kafka_backup::format::codec::Decompressor;
use kafka_backup::format::document::{self, DocumentKind};
use kafka_backup::format::frame::{self, Frame};
use kafka_backup::format::manifest::{self, ArchiveOwner, Cut, Manifest, Part, Repository};
use kafka_backup::format::record;
use kafka_backup::format::run::Content;
use kafka_backup::format::segment::{self, FOOTER_BYTES, Footer};
use kafka_backup::kafka::Cluster;
use kafka_backup::kafka::fetch::{FetchLimits, FetchTarget, Isolation};
use kafka_backup::kafka::list_offsets::Position;
use kafka_backup::offsets::map::OffsetMap;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Where the CRC-32C of a frame stands in its header, by the layout of version 1.
const FRAME_CRC_AT: usize = 36;

/// Requests of a client by their numbers in the protocol, and the id of the topic that they are about.
pub const FETCH: i16 = 1;
pub const LIST_OFFSETS: i16 = 2;
pub const METADATA: i16 = 3;
pub const OFFSET_FETCH: i16 = 9;
pub const DESCRIBE_GROUPS: i16 = 15;
pub const LIST_GROUPS: i16 = 16;
pub const OFFSET_FOR_LEADER_EPOCH: i16 = 23;
pub const DESCRIBE_CONFIGS: i16 = 32;
pub const DESCRIBE_PRODUCERS: i16 = 61;
pub const CONSUMER_GROUP_DESCRIBE: i16 = 69;
pub const SHARE_GROUP_DESCRIBE: i16 = 77;
pub const STREAMS_GROUP_DESCRIBE: i16 = 89;
pub const TOPIC_ID: &str = "00000000-0000-0000-0000-000000000002";
const FIND_COORDINATOR: i16 = 10;
const API_VERSIONS: i16 = 18;

/// The requests whose responses are of any bytes, each with its oldest and its newest version.
pub const REQUESTS: [(i16, i16, i16); 12] = [
    (FETCH, 4, 17),
    (LIST_OFFSETS, 2, 9),
    // The version in which the stand-in answers it.
    (METADATA, 4, 4),
    (OFFSET_FETCH, 2, 9),
    (DESCRIBE_GROUPS, 0, 6),
    (LIST_GROUPS, 1, 5),
    (OFFSET_FOR_LEADER_EPOCH, 2, 4),
    (DESCRIBE_CONFIGS, 1, 4),
    (DESCRIBE_PRODUCERS, 0, 0),
    (CONSUMER_GROUP_DESCRIBE, 0, 1),
    (SHARE_GROUP_DESCRIBE, 1, 1),
    (STREAMS_GROUP_DESCRIBE, 0, 0),
];

/// How long a call may take whose response asks for silence: a broker may ask for minutes of it before the next request (KIP-219).
const THROTTLED_TIME_MAX: Duration = Duration::from_millis(500);
/// How long any other call may take: longer than every timeout of a client, so that only a call that never ends takes longer.
const CALL_TIME_MAX: Duration = Duration::from_secs(120);

thread_local! {
    /// Panics of this thread. One in a task that nobody joins shows nowhere else.
    static PANICS: Cell<u64> = const { Cell::new(0) };
}

/// What a broker's response may hold.
pub fn batch_walk(bytes: &[u8]) {
    for truncated_tail_is_end in [true, false] {
        let mut walked = 0;
        for batch in batches(bytes, truncated_tail_is_end) {
            let Ok(batch) = batch else { break };
            walked += batch.bytes().len();
            use_batch(&batch);
        }
        assert!(walked <= bytes.len(), "{walked} bytes of {}", bytes.len());
    }
}

/// The records of whatever is a batch.
pub fn record_decode(bytes: &[u8]) {
    let mut decompressor = Decompressor::new();
    for batch in batches(bytes, true).map_while(Result::ok) {
        let Ok(records) = record::decode(&batch, &mut decompressor) else { continue };
        assert_eq!(records.len(), usize::try_from(batch.record_count()).expect("a count is not negative"));
        assert!(records.iter().all(|(offset, _)| batch.offsets().contains(offset)));
        assert!(records.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}

/// A run's bytes, as they stand and with the checksum of the first frame put right.
pub fn frames(bytes: &[u8]) {
    use_frames(bytes);
    let mut mended = bytes.to_vec();
    if let Ok(header) = frame::Header::parse(bytes)
        && let Some(whole) = mended.get_mut(..header.frame_bytes())
    {
        let crc = crc32c::crc32c_append(crc32c::crc32c(&whole[..FRAME_CRC_AT]), &whole[FRAME_CRC_AT + 4..]);
        whole[FRAME_CRC_AT..FRAME_CRC_AT + 4].copy_from_slice(&crc.to_be_bytes());
        use_frames(&mended);
    }
}

/// The end of a segment, whose footer may be right, and its index.
pub fn segment_end(bytes: &[u8]) {
    for object_bytes in [bytes.len() as u64, u64::MAX] {
        if let Ok(Footer { index_position, index_bytes }) = Footer::parse(bytes, object_bytes) {
            assert_eq!(index_position.checked_add(index_bytes + FOOTER_BYTES as u64), Some(object_bytes));
        }
    }
    in_documents(DocumentKind::SegmentIndex, bytes, |document| {
        let Ok(index) = segment::open_index(document, None) else { return };
        assert!(index.runs.iter().all(|indexed| indexed.topic < index.topics.len()));
    });
}

/// Everything that stands beside the segments.
pub fn documents(bytes: &[u8]) {
    in_documents(DocumentKind::Manifest, bytes, |document| {
        if let Ok(manifest) = Manifest::open(document) {
            assert_eq!(Manifest::open(&manifest.seal()).expect("what was read can be written"), manifest);
        }
    });
    for kind in [DocumentKind::Part, DocumentKind::Checkpoint] {
        in_documents(kind, bytes, |document| {
            if let Ok(part) = Part::open(kind, document) {
                let runs = part.runs().count();
                assert_eq!(runs, part.run_count());
                assert_eq!(Part::merge([part]).run_count(), runs);
            }
        });
    }
    in_documents(DocumentKind::Cut, bytes, |document| {
        drop(document::open::<Cut>(DocumentKind::Cut, manifest::VERSION, document));
    });
    in_documents(DocumentKind::Archive, bytes, |document| {
        drop(document::open::<ArchiveOwner>(DocumentKind::Archive, manifest::VERSION, document));
    });
    in_documents(DocumentKind::Repository, bytes, |document| {
        drop(document::open::<Repository>(DocumentKind::Repository, manifest::VERSION, document));
    });
}

/// The map of a restored partition.
pub fn offset_map(bytes: &[u8]) {
    in_documents(DocumentKind::OffsetMap, bytes, |document| {
        let Ok(map) = OffsetMap::open(document) else { return };
        let mut last = i64::MIN;
        for source in [i64::MIN, -1, 0, 1, 1000, i64::MAX - 1, i64::MAX] {
            let target = map.translate(source);
            assert!(last <= target, "offset {source} goes backwards to {target}");
            last = target;
        }
        assert_eq!(map.translate(i64::MAX), map.end_offset());
        assert_eq!(OffsetMap::open(&map.seal()).expect("what was read can be written"), map);
    });
}

/// A broker's response. The first byte chooses the request, the second its version; what follows stands behind the correlation id.
pub fn response(bytes: &[u8]) {
    let [request, version, body @ ..] = bytes else { return };
    let (api, version) = chosen(*request, *version);
    is_understood(api, version, body);
}

/// One of [`REQUESTS`], and one of its versions.
pub fn chosen(request: u8, version: u8) -> (i16, i16) {
    let (api, oldest, newest) = REQUESTS[usize::from(request) % REQUESTS.len()];
    (api, oldest + i16::from(version) % (newest - oldest + 1))
}

/// Makes a request of a broker that responds with these bytes. Says whether the client took them for the answer.
pub fn is_understood(api: i16, version: i16, body: &[u8]) -> bool {
    count_panics();
    let panics = PANICS.get();
    let understood = is_answered(api, version, body);
    // The tasks of a connection are tasks of this thread.
    assert_eq!(PANICS.get(), panics, "a task of the client or of the broker panicked");
    understood
}

/// Counts panics from now on, in addition to what is done about them.
fn count_panics() {
    static COUNTED: Once = Once::new();
    COUNTED.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |panicked| {
            PANICS.set(PANICS.get() + 1);
            hook(panicked);
        }));
    });
}

/// Whether a response may have a throttle time. It stands at the beginning, and in flexible versions behind an empty list of tagged
/// fields, so that it is 0 if all these bytes are.
fn may_be_throttled(body: &[u8]) -> bool {
    !body.starts_with(&[0; 5])
}

fn is_answered(api: i16, version: i16, body: &[u8]) -> bool {
    let is_throttled = may_be_throttled(body);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("there is a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let body = Mutex::new(Some(body.to_vec()));
        let broker = Arc::new(StandIn { port, api, version, body, is_met: AtomicBool::new(false) });
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&broker)));
            }
        });
        let mut config = ClusterConfig::plaintext(vec![format!("127.0.0.1:{port}")]);
        config.retry_timeout_ms = 1;
        let Ok(cluster) = Cluster::connect(&config, Breaker::disabled()).await else { return false };
        let time_max = if is_throttled { THROTTLED_TIME_MAX } else { CALL_TIME_MAX };
        match tokio::time::timeout(time_max, ask(&cluster, api)).await {
            Ok(is_answered) => is_answered,
            Err(_) => {
                assert!(is_throttled, "a call that no broker asks to wait does not end");
                false
            }
        }
    })
}

async fn ask(cluster: &Cluster, api: i16) -> bool {
    let (topic, partition) = ("t".to_owned(), ("t".to_owned(), 0));
    let groups = BTreeSet::from(["g".to_owned()]);
    match api {
        FETCH => {
            let topic_id = serde_json::from_value(serde_json::json!(TOPIC_ID)).expect("it is an id");
            let target = FetchTarget { topic, topic_id, partition: 0, leader_epoch: -1, offset: 7, max_bytes: 1 << 20 };
            let isolation = Isolation::Committed;
            let limits = FetchLimits { max_bytes: 1 << 20, min_bytes: 1, max_wait_ms: 0, isolation };
            let fetched = cluster.fetch(1, 0, &[target], limits).await;
            fetched.is_ok_and(|fetched| fetched.iter().all(|partition| partition.outcome.is_ok()))
        }
        METADATA => cluster.metadata(None).await.is_ok(),
        LIST_GROUPS => cluster.list_groups().await.is_ok_and(|(_, missing)| missing.is_empty()),
        LIST_OFFSETS => all_answered(&cluster.list_offsets([partition], Position::Earliest).await),
        OFFSET_FOR_LEADER_EPOCH => all_answered(&cluster.epoch_ends(&BTreeMap::from([(partition, 0)])).await),
        DESCRIBE_PRODUCERS => all_answered(&cluster.open_transactions([partition]).await),
        DESCRIBE_CONFIGS => all_answered(&cluster.topic_configs(&BTreeSet::from([topic]), None).await),
        OFFSET_FETCH => all_answered(&cluster.committed_offsets(&groups).await),
        _ => all_answered(&cluster.describe_groups(&groups).await),
    }
}

fn all_answered<K, T, E>(answers: &BTreeMap<K, Result<T, E>>) -> bool {
    answers.values().all(Result::is_ok)
}

/// A cluster of one broker, which leads the topic `t` and answers one request with any bytes.
struct StandIn {
    port: u16,
    /// That request, in the one version that the broker speaks.
    api: i16,
    version: i16,
    /// What it is answered once.
    body: Mutex<Option<Vec<u8>>>,
    /// Whether a client knows the cluster.
    is_met: AtomicBool,
}

async fn converse(mut stream: TcpStream, broker: Arc<StandIn>) -> std::io::Result<()> {
    loop {
        let length = stream.read_i32().await?;
        let mut request = vec![0; usize::try_from(length).expect("a client sends no negative length")];
        stream.read_exact(&mut request).await?;
        let number = |at: usize| i16::from_be_bytes([request[at], request[at + 1]]);
        let answer = broker.answer(number(0), number(2));
        let length = i32::try_from(answer.len() + 4).expect("it is short");
        stream.write_all(&[&length.to_be_bytes()[..], &request[4..8], &answer].concat()).await?;
    }
}

impl StandIn {
    fn answer(&self, api: i16, version: i16) -> Vec<u8> {
        match api {
            // UNSUPPORTED_VERSION, upon which a client asks in version 0.
            API_VERSIONS if version > 0 => vec![0, 35, 0, 0, 0, 0],
            API_VERSIONS => self.versions(),
            METADATA if self.api != METADATA || !self.is_met.swap(true, Ordering::Relaxed) => self.metadata(),
            FIND_COORDINATOR => self.coordinator(),
            // Asked again, it answers nothing that a client could read, which ends the call.
            _ => self.body.lock().expect("nobody panics with it").take().unwrap_or_default(),
        }
    }

    /// ApiVersions, version 0.
    fn versions(&self) -> Vec<u8> {
        let spoken = [(METADATA, 4), (FIND_COORDINATOR, 1), (self.api, self.version)];
        let spoken = spoken.map(|(api, version)| [api, version, version].map(i16::to_be_bytes));
        [&[0_u8, 0, 0, 0, 0, 3][..], spoken.as_flattened().as_flattened()].concat()
    }

    /// Metadata, version 4: the broker 1, and one topic with one partition, which it leads.
    fn metadata(&self) -> Vec<u8> {
        let no_text = [0xff_u8; 2];
        let one = [0_u8, 0, 0, 1];
        let topic = [&one[..], &[0, 0, 0, 1, b't', 0]];
        let partition = [&one[..], &[0; 6], &one, &one, &one, &one, &one];
        [&[0_u8; 4][..], &one, &one, &self.address(), &no_text, &no_text, &one, &topic.concat(), &partition.concat()]
            .concat()
    }

    /// FindCoordinator, version 1: the broker 1.
    fn coordinator(&self) -> Vec<u8> {
        [&[0_u8, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 1][..], &self.address()].concat()
    }

    /// Host and port.
    fn address(&self) -> Vec<u8> {
        [&[0_u8, 9][..], b"127.0.0.1", &i32::from(self.port).to_be_bytes()].concat()
    }
}

fn use_batch(batch: &Batch<'_>) {
    assert!(batch.base_offset() < batch.next_offset());
    drop(batch.check_crc());
    let mut content = Content::default();
    content.add_batch(batch);
    assert_eq!(content.raw_bytes, batch.bytes().len() as u64);
}

fn use_frames(bytes: &[u8]) {
    for frame in segment::frames(Bytes::copy_from_slice(bytes)) {
        let Ok(frame) = frame else { break };
        drop(frame.check());
        use_frame(&frame);
    }
}

fn use_frame(frame: &Frame) {
    for batch in frame.batches().map_while(Result::ok) {
        use_batch(&batch);
    }
}

/// The bytes as they stand, and as the body of a document of this kind that nobody has damaged.
fn in_documents(kind: DocumentKind, bytes: &[u8], read: impl Fn(&[u8])) {
    read(bytes);
    for encoding in ["json", "json+zstd"] {
        read(&sealed(kind, encoding, bytes));
    }
}

/// A document whose header fits its body.
pub fn sealed(kind: DocumentKind, encoding: &str, body: &[u8]) -> Vec<u8> {
    let header = serde_json::json!({
        "kafkaBackup": kind,
        "version": 1,
        "encoding": encoding,
        "bytes": body.len(),
        "sha256": document::sha256_hex(body),
    });
    [header.to_string().as_bytes(), b"\n", body].concat()
}
