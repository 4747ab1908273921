//! One connection to one broker: frames, correlation ids, versions, deadlines.
//!
//! Any number of requests may be on their way; they reach the broker in the order in which [`Connection::start`]
//! was called, and the broker answers in that order. A writer and a reader task own the two halves of the stream,
//! so dropping a waiting future leaves nothing half written and nothing half read: its answer is read and thrown away.

use std::collections::HashMap;
use std::io;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kafka_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;

use crate::kafka::api::{self, Api};
use crate::kafka::bounds;
use crate::kafka::buffers::Buffers;
use crate::kafka::error::{Error, UNSUPPORTED_VERSION, one_line};
use crate::kafka::transport::{Duplex, Transport};

/// No response may be longer, in bytes: more than twice what a broker sends for the largest fetch we ask for
/// together with a record batch of the largest size in use. Checked before a byte of it is allocated.
pub const RESPONSE_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Small requests that are in line go out together, up to so many bytes.
const WRITE_BYTES: usize = 64 * 1024;
/// Small answers that came together are taken in together, up to so many bytes; large ones go where they belong at once.
const READ_BYTES: usize = 16 * 1024;

/// The longest time that a broker may keep us quiet, in milliseconds. Quotas of Apache Kafka ask for seconds; a broker that asks
/// for days is broken, and the request's deadline is suspended meanwhile.
const THROTTLE_MS_MAX: u64 = 5 * 60 * 1000;

/// How we call ourselves towards brokers, in their logs and quotas.
pub const CLIENT_ID: &str = "kafka-backup";

/// Where the correlation id stands in a request: after length, API key and API version.
const CORRELATION_ID_AT: usize = 8;

/// An open connection; a clone is the same one. It ends with its last clone.
#[derive(Clone)]
pub struct Connection {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    outbox: mpsc::UnboundedSender<BytesMut>,
    versions: OnceLock<HashMap<i16, (i16, i16)>>,
    expires_at: OnceLock<Instant>,
    request_timeout: Duration,
    tasks: [AbortHandle; 2],
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// What both tasks and all callers see.
struct Shared {
    address: String,
    transport: Transport,
    buffers: Buffers,
    state: Mutex<State>,
}

struct State {
    next_correlation_id: i32,
    waiting: HashMap<i32, oneshot::Sender<Result<Bytes, Error>>>,
    /// Why nothing can be sent any more.
    broken: Option<Error>,
    /// When the last answer came.
    answered_at: Option<Instant>,
    /// The broker asked us to keep quiet until then (KIP-219).
    quiet_until: Option<Instant>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection: everybody who waits, or comes later, is told why. Only the first cause counts.
    fn fail(&self, error: Error) {
        let waiting = {
            let mut state = self.state();
            state.broken.get_or_insert_with(|| error.clone());
            std::mem::take(&mut state.waiting)
        };
        for (_, answer) in waiting {
            // A caller that is gone does not need to know.
            drop(answer.send(Err(error.clone())));
        }
    }

    fn fail_io(&self, error: &io::Error) {
        let answered = self.state().answered_at.is_some();
        self.fail(self.transport.explain_io(&self.address, error, answered));
    }

    fn quiet_until(&self) -> Option<Instant> {
        self.state().quiet_until
    }

    /// Since when a request has been the broker's to answer, that was put in line at `started`. A broker answers the requests of a
    /// connection one after the other, and may use up its time for each; and time in which it wants no request from us does not
    /// count against it.
    fn waits_since(&self, started: Instant) -> Instant {
        let state = self.state();
        [state.answered_at, state.quiet_until].into_iter().flatten().fold(started, Instant::max)
    }
}

impl Connection {
    /// Takes a stream, and learns which versions its broker speaks.
    ///
    /// # Errors
    /// Whatever the broker's first answer fails with.
    pub(crate) async fn open(
        stream: Box<dyn Duplex>,
        address: String,
        transport: Transport,
        buffers: Buffers,
        request_timeout: Duration,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            address,
            transport,
            buffers,
            state: Mutex::new(State {
                next_correlation_id: 0,
                waiting: HashMap::new(),
                broken: None,
                answered_at: None,
                quiet_until: None,
            }),
        });
        let (reader, writer) = tokio::io::split(stream);
        let (outbox, frames) = mpsc::unbounded_channel();
        let tasks = [
            tokio::spawn(read(reader, Arc::clone(&shared))).abort_handle(),
            tokio::spawn(write(writer, frames, Arc::clone(&shared))).abort_handle(),
        ];
        let connection = Self {
            inner: Arc::new(Inner {
                shared,
                outbox,
                versions: OnceLock::new(),
                expires_at: OnceLock::new(),
                request_timeout,
                tasks,
            }),
        };
        let versions = connection.api_versions().await?;
        connection.inner.versions.get_or_init(|| versions);
        Ok(connection)
    }

    /// Host and port, as they were dialled.
    pub fn address(&self) -> &str {
        &self.inner.shared.address
    }

    /// Whether requests can still be sent.
    pub fn is_alive(&self) -> bool {
        self.inner.shared.state().broken.is_none()
    }

    /// How many requests wait for their answer.
    pub fn in_flight(&self) -> usize {
        self.inner.shared.state().waiting.len()
    }

    /// The broker ends an authenticated session at this time unless it is renewed (KIP-368).
    pub(crate) fn set_expiry(&self, at: Instant) {
        self.inner.expires_at.get_or_init(|| at);
    }

    /// When this connection should be replaced, if ever.
    pub(crate) fn expires_at(&self) -> Option<Instant> {
        self.inner.expires_at.get().copied()
    }

    /// The highest version of a request that the broker and this client both speak.
    ///
    /// # Errors
    /// [`Error::Version`] if there is none.
    pub fn version<A: Api>(&self) -> Result<i16, Error> {
        self.version_up_to::<A>(*A::VERSIONS.end())
    }

    /// The same, and not above `newest`: for requests that a newer version could not carry.
    ///
    /// # Errors
    /// [`Error::Version`] if there is none.
    pub fn version_up_to<A: Api>(&self, newest: i16) -> Result<i16, Error> {
        let theirs = self.inner.versions.get().and_then(|versions| versions.get(&A::KEY)).copied();
        let ours = *A::VERSIONS.start()..=newest.min(*A::VERSIONS.end());
        api::choose(&ours, theirs).ok_or_else(|| Error::Version {
            address: self.address().to_owned(),
            api: A::NAME,
            theirs,
            ours: (*ours.start(), *ours.end()),
        })
    }

    /// Sends a request and waits for its answer, for as long as a request may take.
    ///
    /// # Errors
    /// [`Error::Lost`], [`Error::Timeout`], [`Error::Protocol`]; error codes inside the answer are the caller's.
    pub async fn call<A: Api>(&self, version: i16, request: &A) -> Result<A::Response, Error> {
        self.start(version, request)?.response().await
    }

    /// Puts a request in line before it returns: the order of calls is the order on the wire.
    ///
    /// # Errors
    /// [`Error::Encode`] if the version cannot carry it, and the cause if the connection has ended.
    pub fn start<A: Api>(&self, version: i16, request: &A) -> Result<Pending<A>, Error> {
        let mut frame = encode(version, request)?;
        let (answer, receiver) = oneshot::channel();
        let mut state = self.inner.shared.state();
        if let Some(error) = &state.broken {
            return Err(error.clone());
        }
        let correlation_id = state.next_correlation_id;
        state.next_correlation_id = correlation_id.wrapping_add(1);
        frame[CORRELATION_ID_AT..CORRELATION_ID_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        state.waiting.insert(correlation_id, answer);
        // Still under the lock, so that frames line up in the order of their numbers. The writer only goes away
        // after a failure, and then everybody who waits is told by it.
        drop(self.inner.outbox.send(frame));
        Ok(Pending {
            connection: self.clone(),
            version,
            receiver,
            started: Instant::now(),
            timeout: self.inner.request_timeout,
            api: PhantomData,
        })
    }

    /// ApiVersions is the one request whose refusal is readable: a broker that does not know version 3 answers in
    /// version 0, with error 35 (KIP-511).
    async fn api_versions(&self) -> Result<HashMap<i16, (i16, i16)>, Error> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str(CLIENT_ID))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let newest = *ApiVersionsRequest::VERSIONS.end();
        let answer = self.start(newest, &request)?.frame().await?;
        let response = match error_code_of(&answer) {
            Some(UNSUPPORTED_VERSION) => self.call(0, &ApiVersionsRequest::default()).await?,
            Some(_) | None => decode::<ApiVersionsRequest>(self.address(), newest, answer)?,
        };
        process_api_versions(self.address(), response)
    }

    fn end(&self, error: Error) {
        self.inner.shared.fail(error);
        self.inner.tasks.iter().for_each(AbortHandle::abort);
    }

    fn keep_quiet(&self, throttle_time_ms: i32) {
        let Ok(ms @ 1..) = u64::try_from(throttle_time_ms) else { return };
        let until = Instant::now() + Duration::from_millis(ms.min(THROTTLE_MS_MAX));
        let mut state = self.inner.shared.state();
        state.quiet_until = state.quiet_until.max(Some(until));
        tracing::debug!(broker = self.address(), throttle_time_ms, "the broker asks to slow down");
    }
}

fn process_api_versions(address: &str, response: ApiVersionsResponse) -> Result<HashMap<i16, (i16, i16)>, Error> {
    if response.error_code != 0 {
        return Err(Error::Protocol {
            address: address.to_owned(),
            api: ApiVersionsRequest::NAME,
            why: crate::kafka::retry::code_name(response.error_code),
        });
    }
    Ok(response.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect())
}

/// The error code of an ApiVersions answer, which in every version stands right after the correlation id.
fn error_code_of(frame: &Bytes) -> Option<i16> {
    Some(i16::from_be_bytes([*frame.get(4)?, *frame.get(5)?]))
}

/// A request that was put in line and waits for its answer. Dropping it is safe at any time.
pub struct Pending<A: Api> {
    connection: Connection,
    version: i16,
    receiver: oneshot::Receiver<Result<Bytes, Error>>,
    started: Instant,
    timeout: Duration,
    api: PhantomData<fn() -> A>,
}

impl<A: Api> Pending<A> {
    /// Gives the broker so much more time than a request usually has: it waits on purpose, as for a fetch.
    #[must_use]
    pub fn with_extra_time(mut self, extra: Duration) -> Self {
        self.timeout += extra;
        self
    }

    /// The version that the request was written in.
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// Waits for the answer.
    ///
    /// # Errors
    /// As [`Connection::call`].
    pub async fn response(self) -> Result<A::Response, Error> {
        let (connection, version) = (self.connection.clone(), self.version);
        let frame = self.frame().await?;
        let response = decode::<A>(connection.address(), version, frame)?;
        connection.keep_quiet(A::throttle_time_ms(&response));
        Ok(response)
    }

    async fn frame(mut self) -> Result<Bytes, Error> {
        loop {
            let from = self.connection.inner.shared.waits_since(self.started);
            let deadline = from + self.timeout;
            match tokio::time::timeout_at(deadline.into(), &mut self.receiver).await {
                Ok(Ok(answer)) => return answer,
                Ok(Err(_)) => {
                    return Err(Error::Lost {
                        address: self.connection.address().to_owned(),
                        why: "given up".to_owned(),
                    });
                }
                Err(_) if self.connection.inner.shared.waits_since(self.started) > from => {}
                Err(_) => {
                    let error = Error::Timeout {
                        address: self.connection.address().to_owned(),
                        api: A::NAME,
                        timeout_ms: u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX),
                    };
                    self.connection.end(error.clone());
                    return Err(error);
                }
            }
        }
    }
}

/// The whole frame, with room for the correlation id.
fn encode<A: Api>(version: i16, request: &A) -> Result<BytesMut, Error> {
    let refuse = |error: String| Error::Encode { api: A::NAME, version, why: one_line(&error) };
    let size = request.compute_size(version).map_err(|error| refuse(error.to_string()))?;
    let mut frame = BytesMut::with_capacity(size + 64);
    frame.put_i32(0);
    RequestHeader::default()
        .with_request_api_key(A::KEY)
        .with_request_api_version(version)
        .with_client_id(Some(StrBytes::from_static_str(CLIENT_ID)))
        .encode(&mut frame, A::header_version(version))
        .map_err(|error| refuse(error.to_string()))?;
    request.encode(&mut frame, version).map_err(|error| refuse(error.to_string()))?;
    let length = i32::try_from(frame.len() - 4).map_err(|_| refuse("it is larger than 2 GiB".to_owned()))?;
    frame[..4].copy_from_slice(&length.to_be_bytes());
    Ok(frame)
}

fn decode<A: Api>(address: &str, version: i16, mut frame: Bytes) -> Result<A::Response, Error> {
    let refuse = |why: String| Error::Protocol { address: address.to_owned(), api: A::NAME, why };
    bounds::decode::<ResponseHeader>(&mut frame, A::Response::header_version(version)).map_err(refuse)?;
    bounds::decode::<A::Response>(&mut frame, version).map_err(refuse)
}

async fn write(
    mut stream: impl AsyncWrite + Unpin,
    mut frames: mpsc::UnboundedReceiver<BytesMut>,
    shared: Arc<Shared>,
) {
    while let Some(mut frame) = frames.recv().await {
        while frame.len() < WRITE_BYTES
            && let Ok(next) = frames.try_recv()
        {
            frame.extend_from_slice(&next);
        }
        if let Some(until) = shared.quiet_until() {
            tokio::time::sleep_until(until.into()).await;
        }
        let written = match stream.write_all(&frame).await {
            Ok(()) => stream.flush().await,
            Err(error) => Err(error),
        };
        if let Err(error) = written {
            // The reader usually knows better why: a broker that refuses us says so before it closes. It gets a
            // moment to find that, and this is the cause if it does not.
            tokio::time::sleep(Duration::from_millis(200)).await;
            return shared.fail_io(&error);
        }
    }
}

async fn read(stream: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let mut stream = BufReader::with_capacity(READ_BYTES, stream);
    loop {
        match read_frame(&mut stream, &shared.buffers, &shared.address).await {
            Ok(frame) => {
                let correlation_id = (&frame[..4]).get_i32();
                let answer = {
                    let mut state = shared.state();
                    state.answered_at = Some(Instant::now());
                    state.waiting.remove(&correlation_id)
                };
                match answer {
                    // A caller that is gone has no use for its answer.
                    Some(answer) => drop(answer.send(Ok(frame))),
                    None => {
                        return shared.fail(Error::Lost {
                            address: shared.address.clone(),
                            why: format!("it answered request {correlation_id}, which was never sent"),
                        });
                    }
                }
            }
            Err(ReadError::Io(error)) => return shared.fail_io(&error),
            Err(ReadError::Length(error)) => return shared.fail(error),
        }
    }
}

enum ReadError {
    Io(io::Error),
    Length(Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// One response, without its length: at least a correlation id, at most [`RESPONSE_BYTES_MAX`].
async fn read_frame(
    stream: &mut (impl AsyncRead + Unpin),
    buffers: &Buffers,
    address: &str,
) -> Result<Bytes, ReadError> {
    let announced = stream.read_i32().await?;
    let length = match usize::try_from(announced) {
        Ok(length @ 4..=RESPONSE_BYTES_MAX) => length,
        Ok(length) if length > RESPONSE_BYTES_MAX => {
            return Err(ReadError::Length(Error::FrameTooLarge {
                address: address.to_owned(),
                bytes: i64::from(announced),
                max: RESPONSE_BYTES_MAX,
            }));
        }
        // No response has this length: the stream is damaged, and that of a new connection may not be.
        Ok(_) | Err(_) => {
            let why = format!("a response announces {announced} bytes");
            return Err(ReadError::Length(Error::Lost { address: address.to_owned(), why }));
        }
    };
    let mut frame = buffers.take(length);
    while frame.len() < length {
        let missing = length - frame.len();
        if stream.read_buf(&mut (&mut frame).limit(missing)).await? == 0 {
            return Err(ReadError::Io(io::ErrorKind::UnexpectedEof.into()));
        }
    }
    Ok(buffers.freeze(frame))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::ListGroupsRequest;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::config::cluster::ClusterConfig;
    use crate::error::Kind;

    /// The other side: a broker that speaks ListGroups version 1, whose answers the test writes.
    struct Fake {
        stream: TcpStream,
    }

    impl Fake {
        async fn request(&mut self) -> (i16, i16, i32) {
            let length = self.stream.read_i32().await.unwrap();
            let mut frame = vec![0; usize::try_from(length).unwrap()];
            self.stream.read_exact(&mut frame).await.unwrap();
            let mut frame = &frame[..];
            (frame.get_i16(), frame.get_i16(), frame.get_i32())
        }

        async fn answer(&mut self, correlation_id: i32, body: &[u8]) {
            self.stream.write_i32(i32::try_from(body.len() + 4).unwrap()).await.unwrap();
            self.stream.write_i32(correlation_id).await.unwrap();
            self.stream.write_all(body).await.unwrap();
        }

        async fn answer_api_versions(&mut self) {
            let (key, version, id) = self.request().await;
            assert_eq!((key, version), (18, 3));
            // Error 35 in version 0, as an old broker answers: then the same again in version 0.
            self.answer(id, &[0, 35, 0, 0, 0, 0]).await;
            let (key, version, id) = self.request().await;
            assert_eq!((key, version), (18, 0));
            self.answer(id, &[0, 0, 0, 0, 0, 1, 0, 16, 0, 0, 0, 1]).await;
        }
    }

    async fn pair(timeout: Duration) -> (Connection, Fake) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let transport = Transport::new(&ClusterConfig::plaintext(vec![address.clone()]).check().unwrap()).unwrap();
        let stream = transport.open(&address.parse().unwrap()).await.unwrap();
        let mut fake = Fake { stream: listener.accept().await.unwrap().0 };
        let (connection, ()) = tokio::join!(
            Connection::open(stream, address, transport, Buffers::default(), timeout),
            fake.answer_api_versions()
        );
        (connection.unwrap(), fake)
    }

    /// An empty ListGroups answer of version 1 that carries `n` as its throttle time.
    fn groups(n: u8) -> [u8; 10] {
        [0, 0, 0, n, 0, 0, 0, 0, 0, 0]
    }

    fn list(connection: &Connection) -> Pending<ListGroupsRequest> {
        connection.start(connection.version::<ListGroupsRequest>().unwrap(), &ListGroupsRequest::default()).unwrap()
    }

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn falls_back_to_api_versions_0_and_takes_the_highest_common_version() {
        let (connection, _fake) = pair(LONG).await;
        assert_eq!(connection.version::<ListGroupsRequest>().unwrap(), 1);
        let none = connection.version::<kafka_protocol::messages::FetchRequest>().unwrap_err();
        assert_eq!(none.kind(), Kind::Usage);
        assert!(none.to_string().contains("speaks Fetch in no version, this program 4..=17"), "{none}");
    }

    #[tokio::test]
    async fn requests_leave_in_the_order_of_their_calls_and_answers_find_their_caller() {
        let (connection, mut fake) = pair(LONG).await;
        let pending: Vec<_> = (0..5).map(|_| list(&connection)).collect();
        assert_eq!(connection.in_flight(), 5);
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(fake.request().await.2);
        }
        assert!(ids.is_sorted());
        // Even answers that come the other way round.
        for (n, id) in ids.iter().enumerate().rev() {
            fake.answer(*id, &groups(u8::try_from(n + 1).unwrap())).await;
        }
        for (n, pending) in pending.into_iter().enumerate() {
            assert_eq!(pending.response().await.unwrap().throttle_time_ms, i32::try_from(n + 1).unwrap());
        }
        assert_eq!(connection.in_flight(), 0);
    }

    #[tokio::test]
    async fn a_dropped_caller_does_not_corrupt_the_stream() {
        let (connection, mut fake) = pair(LONG).await;
        drop(list(&connection));
        let (_, _, dropped) = fake.request().await;
        let kept = list(&connection);
        let (_, _, id) = fake.request().await;
        fake.answer(dropped, &groups(1)).await;
        fake.answer(id, &groups(2)).await;
        assert_eq!(kept.response().await.unwrap().throttle_time_ms, 2);
        assert!(connection.is_alive());
    }

    #[tokio::test]
    async fn a_late_answer_ends_the_connection_and_tells_everybody() {
        let (connection, _fake) = pair(LONG).await;
        // The handshake takes what it takes; from here on, time passes only while everybody waits.
        tokio::time::pause();
        let (slow, other) = (list(&connection), list(&connection).with_extra_time(LONG));
        let late = slow.response().await.unwrap_err();
        assert!(matches!(late, Error::Timeout { api: "ListGroups", timeout_ms: 10_000, .. }), "{late}");
        assert!(matches!(other.response().await.unwrap_err(), Error::Timeout { .. }));
        assert!(!connection.is_alive());
        assert!(connection.start(1, &ListGroupsRequest::default()).is_err());
    }

    #[tokio::test]
    async fn a_request_has_its_time_from_the_answer_before_it() {
        let (connection, mut fake) = pair(LONG).await;
        let (first, second) = (list(&connection), list(&connection));
        let ids = [fake.request().await.2, fake.request().await.2];
        // The broker needs less than the time for each, and more for both. Real time: a clock that jumps jumps over the answers.
        let answers = async {
            for id in ids {
                tokio::time::sleep(LONG / 8 * 5).await;
                fake.answer(id, &groups(0)).await;
            }
        };
        let (first, second, ()) = tokio::join!(first.response(), second.response(), answers);
        assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    }

    #[tokio::test]
    async fn an_oversized_frame_is_refused_before_it_is_allocated() {
        for announced in [i32::MAX, i32::from_be_bytes(*b"HTTP")] {
            let (connection, mut fake) = pair(LONG).await;
            let pending = list(&connection);
            fake.request().await;
            fake.stream.write_i32(announced).await.unwrap();
            let error = pending.response().await.unwrap_err();
            assert!(matches!(error, Error::FrameTooLarge { bytes, .. } if bytes == i64::from(announced)), "{error}");
        }
    }

    #[tokio::test]
    async fn a_length_that_no_response_has_is_a_lost_connection() {
        for announced in [-1, 0, 3] {
            let (connection, mut fake) = pair(LONG).await;
            let pending = list(&connection);
            fake.request().await;
            fake.stream.write_i32(announced).await.unwrap();
            let error = pending.response().await.unwrap_err();
            assert!(matches!(error, Error::Lost { .. }) && error.is_retriable(), "{error}");
        }
    }

    #[tokio::test]
    async fn a_broker_that_closes_in_the_middle_of_a_frame_is_a_lost_connection() {
        let (connection, mut fake) = pair(LONG).await;
        let pending = list(&connection);
        fake.request().await;
        fake.stream.write_all(&[0, 0, 0, 14, 0, 0]).await.unwrap();
        drop(fake);
        let error = pending.response().await.unwrap_err();
        assert!(matches!(error, Error::Lost { .. }) && error.is_retriable(), "{error}");
    }

    #[tokio::test]
    async fn an_answer_nobody_asked_for_ends_the_connection() {
        let (connection, mut fake) = pair(LONG).await;
        let pending = list(&connection);
        fake.request().await;
        fake.answer(77, &groups(0)).await;
        assert!(pending.response().await.unwrap_err().to_string().contains("request 77"));
    }

    #[tokio::test]
    async fn a_truncated_answer_is_an_error_and_not_a_panic() {
        let (connection, mut fake) = pair(LONG).await;
        let pending = list(&connection);
        let (_, _, id) = fake.request().await;
        fake.answer(id, &[0, 0, 0]).await;
        assert!(matches!(pending.response().await.unwrap_err(), Error::Protocol { api: "ListGroups", .. }));
    }

    #[tokio::test]
    async fn the_next_request_waits_for_the_throttle_time() {
        let (connection, mut fake) = pair(LONG).await;
        let first = list(&connection);
        let (_, _, id) = fake.request().await;
        fake.answer(id, &groups(250)).await;
        first.response().await.unwrap();
        let asked = Instant::now();
        let second = list(&connection);
        let (_, _, id) = fake.request().await;
        assert!(asked.elapsed() >= Duration::from_millis(200), "{:?}", asked.elapsed());
        fake.answer(id, &groups(0)).await;
        second.response().await.unwrap();
    }

    #[tokio::test]
    async fn a_broker_that_asks_for_silence_for_weeks_gets_minutes() {
        let (connection, mut fake) = pair(LONG).await;
        let first = list(&connection);
        let (_, _, id) = fake.request().await;
        fake.answer(id, &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0]).await;
        first.response().await.unwrap();
        let until = connection.inner.shared.quiet_until().unwrap();
        assert!(until <= Instant::now() + Duration::from_millis(THROTTLE_MS_MAX));
    }

    #[tokio::test]
    async fn the_last_clone_closes_the_socket() {
        let (connection, mut fake) = pair(LONG).await;
        drop(connection);
        assert_eq!(fake.stream.read(&mut [0]).await.unwrap(), 0);
    }
}
