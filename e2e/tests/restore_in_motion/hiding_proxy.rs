//! A broker that does not serve every request: a proxy in front of a real one, which takes a request out of the broker's list of those
//! that it serves (ApiVersions), lets a request wait, answers that a deletion took too long, or ends connections.
//!
//! Clients go to the address that a broker advertises, so the broker has to advertise that of the proxy.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use e2e::kafka::{Kafka, KafkaOptions, Listener};
use e2e::running::Running;

const API_VERSIONS: i16 = 18;
const DELETE_TOPICS: i16 = 20;
const DESCRIBE_LOG_DIRS: i16 = 35;
const REQUEST_TIMED_OUT: i16 = 7;
/// From this version on, an answer to DeleteTopics has topic ids (KIP-516).
const TOPIC_ID_VERSION: i16 = 6;
const TOPIC_ID_BYTES: usize = 16;
/// From this version on, the length of a list is a varint, and each entry has tagged fields (KIP-482).
const FLEXIBLE_VERSION: i16 = 3;
/// A request's number, and its lowest and highest version.
const ENTRY_BYTES: usize = 6;

/// A proxy that runs until this process ends.
pub struct HidingProxy {
    address: String,
    broker: Arc<OnceLock<String>>,
    answers: Arc<Mutex<Answers>>,
    held: Arc<Held>,
}

/// What clients get in the place of the broker's answers.
#[derive(Default)]
struct Answers {
    /// The request that is taken out of the list.
    hidden: Option<i16>,
    timed_out: TimedOut,
    /// Topics that the broker has deleted.
    deleted: usize,
}

/// Which answers to DeleteTopics say that the time was up, whatever the broker has done.
#[derive(Clone, Copy, Default)]
pub enum TimedOut {
    /// None.
    #[default]
    None,
    /// Those that said that topics were deleted. The same request, sent again, gets the broker's own answer.
    Deletions,
    /// All.
    All,
}

impl Answers {
    /// What the client gets as the answer to a request of this number and version.
    fn instead_of(&mut self, answer: Vec<u8>, api_key: i16, version: i16) -> Vec<u8> {
        match (api_key, self.hidden) {
            (API_VERSIONS, Some(hidden)) => without(&answer, version, hidden),
            (DELETE_TOPICS, _) if version >= TOPIC_ID_VERSION => {
                let (timed_out, deleted) = with_timeouts(&answer);
                self.deleted += deleted;
                match self.timed_out {
                    TimedOut::Deletions if deleted > 0 => timed_out,
                    TimedOut::All => timed_out,
                    TimedOut::None | TimedOut::Deletions => answer,
                }
            }
            _ => answer,
        }
    }
}

/// Requests of one number that wait at the proxy, and all behind them on their connections.
#[derive(Default)]
struct Held {
    state: Mutex<HeldState>,
    changed: Condvar,
}

#[derive(Default)]
struct HeldState {
    api_key: Option<i16>,
    /// The number of each request that waits.
    waiting: Vec<i16>,
    /// Both sides of all connections so far.
    streams: Vec<TcpStream>,
}

impl Held {
    /// Waits as long as requests of this number are held.
    fn pass(&self, api_key: i16) {
        let mut state = lock(&self.state);
        if state.api_key != Some(api_key) {
            return;
        }
        state.waiting.push(api_key);
        while state.api_key == Some(api_key) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let passed = state.waiting.iter().position(|waiting| *waiting == api_key).unwrap();
        state.waiting.swap_remove(passed);
    }
}

impl HidingProxy {
    /// Takes a free port of the loopback address, and closes all connections until there is a broker.
    pub fn listen() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let broker: Arc<OnceLock<String>> = Arc::default();
        let answers: Arc<Mutex<Answers>> = Arc::default();
        let held: Arc<Held> = Arc::default();
        let shared = (Arc::clone(&broker), Arc::clone(&answers), Arc::clone(&held));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (broker, answers, held) = shared.clone();
                thread::spawn(move || {
                    if let Some(broker) = broker.get() {
                        // A connection that cannot be served is closed, which the client sees.
                        drop(serve(client, broker, &answers, held));
                    }
                });
            }
        });
        Self { address, broker, answers, held }
    }

    /// The address that the broker has to advertise.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Serves from now on, in front of the broker at this address.
    pub fn serve(&self, broker: String) {
        self.broker.set(broker).unwrap();
    }

    /// Takes the request of this number out of the list that new connections get, and no other request.
    pub fn hide(&self, api_key: Option<i16>) {
        lock(&self.answers).hidden = api_key;
    }

    /// Says from now on in these answers to DeleteTopics that the time was up.
    pub fn time_out(&self, answers: TimedOut) {
        lock(&self.answers).timed_out = answers;
    }

    /// How many topics the broker has deleted.
    pub fn deleted(&self) -> usize {
        lock(&self.answers).deleted
    }

    /// Lets requests of this number wait from now on, and those that waited pass.
    pub fn hold(&self, api_key: Option<i16>) {
        lock(&self.held.state).api_key = api_key;
        self.held.changed.notify_all();
    }

    /// Ends all connections that there are, with the requests that wait on them.
    pub fn end_connections(&self) {
        for stream in lock(&self.held.state).streams.drain(..) {
            // It may have ended already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Whether a request waits of those that are held now. One that was let pass may not have gone yet.
    pub fn holds_one(&self) -> bool {
        let state = lock(&self.held.state);
        state.api_key.is_some_and(|held| state.waiting.contains(&held))
    }

    /// Starts a restore, and returns when a request of this number waits that is no part of its plan: before the plan is made, a restore
    /// tries many requests out.
    pub fn start_and_hold(&self, api_key: i16, start: impl FnOnce() -> Running) -> Running {
        // How much room there is on the disks is the last that a plan asks for.
        self.hold(Some(DESCRIBE_LOG_DIRS));
        let mut running = start();
        running.wait_until("the plan is made", || self.holds_one());
        self.hold(Some(api_key));
        running.wait_until("a request is held", || self.holds_one());
        running
    }
}

/// A broker behind a proxy. It does not look for expired records while a test runs.
pub fn behind_a_proxy() -> (HidingProxy, Kafka) {
    const HOUR_MS: &str = "3600000";
    behind_a_proxy_with(&[("log.initial.task.delay.ms", HOUR_MS), ("log.retention.check.interval.ms", HOUR_MS)])
}

/// A broker with these properties behind a proxy.
pub fn behind_a_proxy_with(properties: &[(&str, &str)]) -> (HidingProxy, Kafka) {
    let proxy = HidingProxy::listen();
    let advertised = format!("PLAIN://{}", proxy.address());
    let own = properties.iter().copied().chain([("advertised.listeners", advertised.as_str())]);
    let extra_properties = own.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let kafka = Kafka::start(KafkaOptions { extra_properties, ..KafkaOptions::default() }).unwrap();
    proxy.serve(kafka.bootstrap(Listener::Plain));
    (proxy, kafka)
}

/// The broker behind a proxy that tests of this process share, one after the other: what the proxy holds, it holds for all.
pub fn shared() -> MutexGuard<'static, (HidingProxy, Kafka)> {
    static SHARED: LazyLock<Mutex<(HidingProxy, Kafka)>> = LazyLock::new(|| Mutex::new(behind_a_proxy()));
    let shared = lock(&SHARED);
    // A test that failed may have left something held.
    shared.0.hold(None);
    shared
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(client: TcpStream, broker: &str, answers: &Mutex<Answers>, held: Arc<Held>) -> io::Result<()> {
    let server = TcpStream::connect(broker)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    lock(&held.state).streams.extend([client.try_clone()?, server.try_clone()?]);
    let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
    let (mut from_server, mut to_client) = (server, client);
    // Number and version of each request that is not answered yet and whose answer may be changed, by its correlation id.
    let asked: Arc<Mutex<HashMap<i32, (i16, i16)>>> = Arc::default();
    let questions = Arc::clone(&asked);
    let requests = thread::spawn(move || {
        while let Ok(request) = read_frame(&mut from_client) {
            let (api_key, version) = (i16_at(&request, 0), i16_at(&request, 2));
            if [API_VERSIONS, DELETE_TOPICS].contains(&api_key) {
                lock(&questions).insert(i32_at(&request, 4), (api_key, version));
            }
            held.pass(api_key);
            if write_frame(&mut to_server, &request).is_err() {
                break;
            }
        }
        // Either side may have closed already.
        let _ = to_server.shutdown(Shutdown::Both);
    });
    while let Ok(answer) = read_frame(&mut from_server) {
        let request = lock(&asked).remove(&i32_at(&answer, 0));
        let answer = match request {
            Some((api_key, version)) => lock(answers).instead_of(answer, api_key, version),
            None => answer,
        };
        if write_frame(&mut to_client, &answer).is_err() {
            break;
        }
    }
    let _ = to_client.shutdown(Shutdown::Both);
    // It ends with the connection, whatever it was at.
    let _ = requests.join();
    Ok(())
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).map_err(io::Error::other)?;
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

fn write_frame(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = i32::try_from(frame.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes()[..], frame].concat())
}

fn i16_at(bytes: &[u8], at: usize) -> i16 {
    i16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

/// The answer to ApiVersions of this version, without one of the requests in its list.
fn without(answer: &[u8], version: i16, api_key: i16) -> Vec<u8> {
    // Correlation id and error code. A refusal of the version has another form.
    let (head, rest) = answer.split_at(6);
    if i16_at(head, 4) != 0 {
        return answer.to_vec();
    }
    let is_flexible = version >= FLEXIBLE_VERSION;
    let (count, rest) = match is_flexible {
        true => {
            let (count, rest) = read_varint(rest);
            (count - 1, rest)
        }
        false => (usize::try_from(i32_at(rest, 0)).unwrap(), &rest[4..]),
    };
    // No entry has a tagged field, of which there is a byte that says so.
    let entry_bytes = ENTRY_BYTES + usize::from(is_flexible);
    let (entries, rest) = rest.split_at(count * entry_bytes);
    let kept: Vec<&[u8]> = entries.chunks(entry_bytes).filter(|entry| i16_at(entry, 0) != api_key).collect();
    let length = match is_flexible {
        true => varint(kept.len() + 1),
        false => i32::try_from(kept.len()).unwrap().to_be_bytes().to_vec(),
    };
    [head, &length[..], &kept.concat()[..], rest].concat()
}

/// The answer to DeleteTopics of a version with topic ids, when it says of each topic that the time was up; and how many topics the
/// broker says it has deleted.
fn with_timeouts(answer: &[u8]) -> (Vec<u8>, usize) {
    // Correlation id, the header's tagged fields, and for how long the client is to be quiet.
    const HEAD_BYTES: usize = 4 + 1 + 4;
    let (count, mut rest) = read_varint(&answer[HEAD_BYTES..]);
    let (mut changed, mut deleted) = (answer.to_vec(), 0);
    for _ in 1..count {
        // Lengths are one more than they are, and 0 for a text that is not there.
        let (name, after) = read_varint(rest);
        let at = answer.len() - after.len() + name.saturating_sub(1) + TOPIC_ID_BYTES;
        deleted += usize::from(i16_at(answer, at) == 0);
        changed[at..at + 2].copy_from_slice(&REQUEST_TIMED_OUT.to_be_bytes());
        let (message, after) = read_varint(&answer[at + 2..]);
        // A byte says that there are no tagged fields.
        rest = &after[message.saturating_sub(1) + 1..];
    }
    (changed, deleted)
}

/// The unsigned varint with which these bytes begin, and what comes after it.
fn read_varint(bytes: &[u8]) -> (usize, &[u8]) {
    let last = bytes.iter().position(|byte| *byte < 0x80).unwrap();
    let (varint, rest) = bytes.split_at(last + 1);
    (varint.iter().rev().fold(0, |value, byte| (value << 7) | usize::from(byte & 0x7f)), rest)
}

fn varint(mut value: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while value >= 0x80 {
        bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

#[test]
fn a_hidden_request_is_missing_in_both_forms_of_the_list_and_nothing_else_is() {
    let list = |count: &[u8], api_keys: &[i16], tagged: &[u8]| {
        let entries: Vec<u8> =
            api_keys.iter().flat_map(|key| [&key.to_be_bytes()[..], &[0, 1, 0, 7][..], tagged].concat()).collect();
        [&[0, 0, 0, 5, 0, 0][..], count, &entries[..], &[9; 5][..]].concat()
    };
    let (all, left) = ([18, 20, 22], [18, 22]);
    assert_eq!(without(&list(&[0, 0, 0, 3], &all, &[]), 0, 20), list(&[0, 0, 0, 2], &left, &[]));
    assert_eq!(without(&list(&[4], &all, &[0]), 3, 20), list(&[3], &left, &[0]));
    assert_eq!(read_varint(&varint(300)).0, 300);
}

#[test]
fn an_answer_about_deletions_says_that_the_time_was_up_and_is_otherwise_as_it_was() {
    // One topic with its name and without a message, and one the other way round.
    let answer = |first: i16, second: i16| {
        let (first, second) = (first.to_be_bytes(), second.to_be_bytes());
        let head = [0, 0, 0, 5, 0, 0, 0, 0, 0, 3];
        let named = [&[2, b't'][..], &[7; TOPIC_ID_BYTES][..], &first[..], &[0, 0][..]].concat();
        let nameless = [&[0][..], &[8; TOPIC_ID_BYTES][..], &second[..], &[3, b'n', b'o', 0][..]].concat();
        [&head[..], &named[..], &nameless[..], &[0][..]].concat()
    };
    assert_eq!(with_timeouts(&answer(0, 100)), (answer(REQUEST_TIMED_OUT, REQUEST_TIMED_OUT), 1));
    assert_eq!(with_timeouts(&answer(100, 29)).1, 0);
}
