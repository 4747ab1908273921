//! A store in a bucket of S3, or of any store that speaks S3.
//!
//! Credentials come from `credentials_file` of the URL, which is read once, when the store is opened (see `credentials`);
//! without it, from the first of these that has them: the variables `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`
//! and `AWS_SESSION_TOKEN`; the profile `AWS_PROFILE` (or `default`) of the shared files, `~/.aws/credentials` and
//! `~/.aws/config` or where `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE` point; a cached SSO login; a web
//! identity token (`AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`: IAM roles for service accounts); the container
//! endpoint (`AWS_CONTAINER_CREDENTIALS_FULL_URI`: EKS Pod Identity, ECS); the metadata service of an EC2 instance,
//! unless `AWS_EC2_METADATA_DISABLED=true`. They are renewed before they expire. A profile's `credential_process` is
//! not run.
//!
//! The permissions that are used: `s3:ListBucket`, `s3:GetObject`, `s3:PutObject`, `s3:AbortMultipartUpload`,
//! `s3:DeleteObject`. Without `s3:ListBucket` S3 answers "denied" where an object is missing, and so do we.

#[cfg(test)]
pub(super) mod bucket;
mod conditional;
mod credentials;
mod failure;
mod part;
#[cfg(test)]
mod stand_in;
mod upload;

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use opendal::layers::{RetryEvent, RetryLayer};
use opendal::options::{ListOptions, ReadOptions};
use opendal::{EntryMode, ErrorKind, HttpTransporter, OperationContext, Operator};

use self::credentials::Credentials;
use self::failure::S3Failure;
pub use self::part::UPLOAD_MEMORY_BYTES;
pub(super) use self::upload::S3Upload;
use super::error::{Error, Place};
use super::key::TEMPORARY;
use super::transport::Transport;
use super::{Object, REQUESTS_AT_ONCE};
use crate::breaker::Breaker;
use crate::config::cluster::Tls;
use crate::config::pem::PemFile;
use crate::config::storage::S3Storage;
use crate::tls;

/// Objects that one request deletes: as many as S3 takes.
const DELETIONS_OF_A_REQUEST: usize = 1_000;
/// Such requests that are under way at a time. S3 takes a few thousand deletions a second.
const DELETE_REQUESTS_AT_ONCE: usize = 4;
/// Longest time for a connection. The metadata service of EC2 is asked in vain where there is none.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Repetitions of a call that failed in passing, after 0.2, 0.4, 0.8 and 1.6 seconds, with jitter. Longer outages
/// are for the circuit breaker of the run, which pauses it and says so.
const RETRIES: usize = 4;
/// The same in a run that has a circuit breaker: two minutes of pauses, which the breaker stretches, and so at least what a
/// broker is waited for.
const RETRIES_WITH_BREAKER: usize = 17;
const RETRY_FIRST_PAUSE: Duration = Duration::from_millis(200);
const RETRY_LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The checksum that goes with every object and every part. Buckets with Object Lock refuse what comes without one, and a store
/// that checks it finds what was damaged on the way.
const CHECKSUM: &str = "crc32c";
/// Where an endpoint may be named, as AWS's tools have it, and two names that others use.
const ENDPOINT_VARIABLES: [&str; 4] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AWS_S3_ENDPOINT"];

/// A variable of the environment, if it has a value. A line end, which `echo` puts into a Secret, is no part of it.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

#[derive(Clone)]
pub(super) struct S3Store {
    pub(super) name: Arc<str>,
    bucket: Arc<str>,
    operator: Operator,
    source: Arc<Source>,
}

/// What an operator is made of.
struct Source {
    /// Without any layer.
    service: Operator,
    client: reqwest::Client,
}

impl Source {
    /// Deadlines and breaker inside, repetitions around them: each attempt has a deadline of its own, and asks the breaker.
    fn operator(&self, breaker: Breaker, retries: usize, name: &Arc<str>) -> Operator {
        let logged = Arc::clone(name);
        let repetitions = RetryLayer::new()
            .with_max_times(retries)
            .with_min_delay(RETRY_FIRST_PAUSE)
            .with_max_delay(RETRY_LONGEST_PAUSE)
            .with_factor(2.0)
            .with_jitter()
            .with_notify(move |event: RetryEvent<'_>| {
                let (operation, attempt) = (event.op, event.attempt);
                tracing::warn!(store = %logged, %operation, attempt, "a call failed in passing, repeating it");
            });
        let transport = HttpTransporter::new(Transport::new(self.client.clone(), breaker));
        let context = OperationContext::default().with_http_transport(transport);
        self.service.clone().with_context(context).layer(repetitions)
    }
}

impl S3Store {
    pub(super) async fn open(storage: &S3Storage) -> Result<Self, Error> {
        let environment = |names: &[&str]| names.iter().find_map(|name| variable(name));
        let endpoint = storage.endpoint.clone().or_else(|| environment(&ENDPOINT_VARIABLES));
        let mut name = format!("s3://{}", storage.bucket);
        for (separator, part) in [("/", storage.prefix.as_str()), (" at ", endpoint.as_deref().unwrap_or_default())] {
            if !part.is_empty() {
                name.push_str(separator);
                name.push_str(part);
            }
        }
        let name: Arc<str> = Arc::from(name);
        let place = Place { store: &name, key: "" };

        let region = storage.region.clone().or_else(|| environment(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
        let region = match (region, &endpoint) {
            (Some(region), _) => region,
            // Stores of one's own take any region, and this is what they call theirs.
            (None, Some(_)) => "us-east-1".to_owned(),
            (None, None) => {
                return Err(place.misconfigured(
                    "its region is not known: name it (region of the storage, ?region=.. of a URL) or set AWS_REGION",
                ));
            }
        };
        let mut builder = service(&storage.bucket, &region).root(&format!("/{}", storage.prefix));
        if let Some(endpoint) = &endpoint {
            builder = builder.endpoint(endpoint);
        }
        if !storage.uses_path_style(endpoint.is_some()) {
            builder = builder.enable_virtual_host_style();
        }
        let credentials = match &storage.credentials_file {
            Some(path) => Some(Credentials::read(path).map_err(|error| place.misconfigured(error.to_string()))?),
            None => Credentials::from_variables(variable),
        };
        if let Some(Credentials { access_key_id, secret_access_key, session_token }) = credentials {
            builder = builder.access_key_id(&access_key_id).secret_access_key(&secret_access_key);
            if let Some(token) = session_token {
                builder = builder.session_token(&token);
            }
            builder = builder.disable_config_load().disable_ec2_metadata();
        }
        let ca_file = storage.ca_file.clone().or_else(|| environment(&["AWS_CA_BUNDLE"]).map(Into::into));
        let client = http_client(place, ca_file.as_deref())?;
        let operator = Operator::new(builder).map_err(|error| S3Failure::read(&error).at(place, &storage.bucket))?;
        let store = Self::over(operator, client, name.clone(), &storage.bucket);
        store.probe().await?;
        Ok(store)
    }

    fn over(service: Operator, client: reqwest::Client, name: Arc<str>, bucket: &str) -> Self {
        let source = Source { service, client };
        let operator = source.operator(Breaker::disabled(), RETRIES, &name);
        Self { name, bucket: Arc::from(bucket), operator, source: Arc::new(source) }
    }

    pub(super) fn with_breaker(&self, breaker: Breaker) -> Self {
        Self { operator: self.source.operator(breaker, RETRIES_WITH_BREAKER, &self.name), ..self.clone() }
    }

    pub(super) fn without_breaker(&self) -> Self {
        Self { operator: self.source.operator(Breaker::disabled(), RETRIES, &self.name), ..self.clone() }
    }

    /// One listing of at most one key: it finds a missing bucket, a wrong key, a wrong certificate.
    async fn probe(&self) -> Result<(), Error> {
        let options = ListOptions { limit: Some(1), ..Default::default() };
        let probe = async {
            let mut entries = self.operator.lister_options("/", options).await?;
            entries.try_next().await
        };
        probe.await.map(drop).map_err(|error| self.error("", &error))
    }

    fn place<'a>(&'a self, key: &'a str) -> Place<'a> {
        Place { store: &self.name, key }
    }

    fn error(&self, key: &str, error: &opendal::Error) -> Error {
        S3Failure::read(error).at(self.place(key), &self.bucket)
    }

    pub(super) async fn read(&self, key: &str) -> Result<Bytes, Error> {
        let read = self.operator.read(key).await;
        read.map(|buffer| buffer.to_bytes()).map_err(|error| self.error(key, &error))
    }

    pub(super) async fn read_range(&self, key: &str, range: Range<u64>) -> Result<Bytes, Error> {
        let error = match self.get_range(key, range.clone()).await {
            Ok(bytes) => return self.place(key).whole(&range, bytes),
            Err(error) => error,
        };
        // A range that begins after the end is refused, one that ends after it is cut, and neither answer comes
        // through with the size: ask for it.
        if matches!(error.kind(), ErrorKind::RangeNotSatisfied | ErrorKind::Unexpected)
            && let Ok(metadata) = self.operator.stat(key).await
            && metadata.content_length() < range.end
        {
            let have = metadata.content_length().saturating_sub(range.start);
            return Err(self.place(key).short(&range, have));
        }
        Err(self.error(key, &error))
    }

    async fn get_range(&self, key: &str, range: Range<u64>) -> opendal::Result<Bytes> {
        let options = ReadOptions { range: range.into(), ..Default::default() };
        Ok(self.operator.read_options(key, options).await?.to_bytes())
    }

    pub(super) async fn read_tail(&self, key: &str, bytes_max: u64) -> Result<(Bytes, u64), Error> {
        let Some(size) = self.size(key).await? else {
            return Err(self.place(key).not_found());
        };
        let range = size.saturating_sub(bytes_max)..size;
        let tail = if range.is_empty() { Bytes::new() } else { self.read_range(key, range).await? };
        Ok((tail, size))
    }

    pub(super) async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        match self.operator.stat(key).await {
            Ok(metadata) => return Ok(Some(metadata.content_length())),
            Err(error) => {
                let failure = S3Failure::read(&error);
                if !failure.leaves_open() {
                    return Err(failure.at(self.place(key), &self.bucket));
                }
            }
        }
        // The response to HEAD has no body, so that a missing bucket looks like a missing key, an expired token like a wrong request, and a
        // wrong clock like a missing permission. The response to GET says which it is.
        match self.get_range(key, 0..1).await {
            Ok(_) => self.restat(key).await.map(Some),
            Err(error) if error.kind() == ErrorKind::RangeNotSatisfied => self.restat(key).await.map(Some),
            Err(error) => match self.error(key, &error) {
                Error::NotFound { .. } => Ok(None),
                error => Err(error),
            },
        }
    }

    /// The size of an object that came into being between two calls.
    async fn restat(&self, key: &str) -> Result<u64, Error> {
        let metadata = self.operator.stat(key).await.map_err(|error| self.error(key, &error))?;
        Ok(metadata.content_length())
    }

    pub(super) async fn put(&self, key: &str, bytes: Bytes) -> Result<(), Error> {
        self.operator.write(key, bytes).await.map(drop).map_err(|error| self.error(key, &error))
    }

    pub(super) async fn delete(&self, key: &str) -> Result<(), Error> {
        match self.operator.delete(key).await.map_err(|error| self.error(key, &error)) {
            Err(Error::NotFound { .. }) => Ok(()),
            result => result,
        }
    }

    /// Removes them by one request for a thousand (`DeleteObjects`), or each by one of its own where the store has no such call.
    pub(super) async fn delete_many(&self, keys: &[String]) -> Result<(), Error> {
        let chunks: Vec<Vec<String>> = keys.chunks(DELETIONS_OF_A_REQUEST).map(<[String]>::to_vec).collect();
        let removals = chunks.into_iter().map(|chunk| self.delete_chunk(chunk));
        all_tried(stream::iter(removals).buffer_unordered(DELETE_REQUESTS_AT_ONCE)).await
    }

    async fn delete_chunk(&self, keys: Vec<String>) -> Result<(), Error> {
        match self.operator.delete_iter(keys.clone()).await {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(self.error(keys.first().map_or("", String::as_str), &error));
            }
            // A store without this call, or one of the objects: only a call for each says which, and why.
            Err(error) => {
                tracing::debug!(store = %self.name, kind = %error.kind(), "deleting many at once failed, deleting one by one");
            }
        }
        let removals = keys.into_iter().map(|key| async move { self.delete(&key).await });
        all_tried(stream::iter(removals).buffer_unordered(REQUESTS_AT_ONCE)).await
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Object>, Error> {
        let options = ListOptions { recursive: true, ..Default::default() };
        let list = async {
            let mut entries = self.operator.lister_options(&folder(prefix), options).await?;
            let (mut objects, mut listing) = (Vec::new(), Listing::default());
            while let Some(entry) = entries.try_next().await? {
                let (path, metadata) = (entry.path(), entry.metadata());
                listing.goes_on(path)?;
                let is_object =
                    metadata.mode() == EntryMode::FILE && !path.split('/').any(|part| part.starts_with(TEMPORARY));
                if is_object {
                    objects.push(Object {
                        key: path.to_owned(),
                        size: metadata.content_length(),
                        modified_ms: metadata.last_modified().map_or(0, |time| time.into_inner().as_millisecond()),
                    });
                }
            }
            Ok(objects)
        };
        list.await.map_err(|error| self.error(prefix, &error))
    }

    pub(super) async fn list_dirs(&self, prefix: &str) -> Result<Vec<String>, Error> {
        let folder = folder(prefix);
        let list = async {
            let mut entries = self.operator.lister_options(&folder, ListOptions::default()).await?;
            let (mut names, mut listing) = (Vec::new(), Listing::default());
            while let Some(entry) = entries.try_next().await? {
                listing.goes_on(entry.path())?;
                let name = entry.path().strip_prefix(folder.trim_start_matches('/')).unwrap_or_default();
                if let Some(name) = name.strip_suffix('/')
                    && !name.is_empty()
                {
                    names.push(name.to_owned());
                }
            }
            Ok(names)
        };
        list.await.map_err(|error| self.error(prefix, &error))
    }
}

/// Notices a listing that has no end. A store that knows the first version of the call only says that there is more, and gives no token
/// with which to ask for it: each request is answered with the first page.
#[derive(Default)]
struct Listing {
    first: Option<String>,
}

impl Listing {
    fn goes_on(&mut self, path: &str) -> opendal::Result<()> {
        match &self.first {
            // More than one key has this path: that of the folder, and those with a slash more.
            _ if path == "/" => Ok(()),
            Some(first) if first == path => Err(opendal::Error::new(
                ErrorKind::Unsupported,
                "the store answers ListObjectsV2 with the same page again: this version of it cannot be used",
            )),
            Some(_) => Ok(()),
            None => {
                self.first = Some(path.to_owned());
                Ok(())
            }
        }
    }
}

/// The first failure of deletions of which each is tried, until the store cannot be reached.
async fn all_tried(mut removals: impl Stream<Item = Result<(), Error>> + Unpin) -> Result<(), Error> {
    let mut removed = Ok(());
    while let Some(one) = removals.next().await {
        match one {
            Err(error @ Error::Unavailable { .. }) => return Err(error),
            one => removed = removed.and(one),
        }
    }
    removed
}

fn folder(prefix: &str) -> String {
    format!("{prefix}/")
}

/// What the service of every bucket is built with, that of a stand-in included.
fn service(bucket: &str, region: &str) -> opendal::services::S3 {
    opendal::services::S3::default().bucket(bucket).region(region).checksum_algorithm(CHECKSUM)
}

fn http_client(place: Place<'_>, ca_file: Option<&Path>) -> Result<reqwest::Client, Error> {
    // A request is signed for one host: a store that redirects it could not take it elsewhere. A login page could be taken for the store.
    let mut builder =
        reqwest::Client::builder().connect_timeout(CONNECT_TIMEOUT).redirect(reqwest::redirect::Policy::none());
    if let Some(path) = ca_file {
        let files =
            PemFile::read_authorities(path).map_err(|error| place.misconfigured(format!("ca_file: {error}")))?;
        let mut tls = tls::client_config(&Tls { ca: Some(files), identity: None })
            .map_err(|error| place.misconfigured(format!("ca_file: {error}")))?;
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        builder = builder.tls_backend_preconfigured(tls);
    }
    let refused = |_| place.misconfigured("TLS cannot be set up: are the system's certificates readable?");
    builder.build().map_err(refused)
}

#[cfg(test)]
mod tests;
