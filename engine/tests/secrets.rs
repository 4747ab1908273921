//! No byte of a file or a variable that may hold a secret is ever printed, stored, told or sent: not when the file is wrong in any
//! way, and not when everything is right.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[path = "stand_in/answer.rs"]
mod answer;
#[expect(dead_code, reason = "a backup of one topic needs little of it")]
#[path = "stand_in/broker.rs"]
mod broker;
#[path = "secrets/search.rs"]
mod search;
#[expect(dead_code, reason = "a backup of one topic needs little of it")]
#[path = "stand_in/topic.rs"]
mod topic;

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::protocol::{Decodable, Encodable};
use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsAcceptor;

use crate::broker::{Broker, Group};
use crate::search::{Secrets, holds};
use crate::topic::{Log, Topic};

/// What the environment of runs holds: variables that are read, and others that nobody asked for.
const PLANTED: [(&str, &str); 5] = [
    ("AWS_SECRET_ACCESS_KEY", "kDq7Vw2ZpLx9RtYbNc4MhGs8JfUaEo1Ti6Wv5Xr3"),
    ("AWS_SESSION_TOKEN", "IQoJb3Zk3Hn8Qe5Ty2Ub7Ip4Ol9As6Df1Gj0Wm"),
    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "Bearer-pX4cQ9uM2wE7yR1tK6nS3vD8"),
    ("KAFKA_PASSWORD", "violet-marsh-hunter-7731-lantern"),
    ("SASL_JAAS_CONFIG", "PlainLoginModule-amber-quarry-5520-thistle"),
];

/// The program, at the most talkative level, in an environment that holds secrets.
fn command(arguments: &[String], environment: &[(&str, String)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafka-backup"));
    // The libraries that sign requests (reqsign) log keys at the level trace. The longest prefix of a module decides its level.
    let levels = "trace,reqsign=trace,reqsign_core=trace,reqsign_aws_v4=trace";
    command.args(arguments).args(["--log-level", levels]).stdin(Stdio::null());
    command.env("AWS_EC2_METADATA_DISABLED", "true").env("AWS_ACCESS_KEY_ID", "AKIAPLANTED").envs(PLANTED);
    if !environment.is_empty() {
        // Files that variables point at are read only where no variable holds a key.
        command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY").env_remove("AWS_SESSION_TOKEN");
        command.envs(environment.iter().map(|(name, value)| (name, value)));
    }
    command
}

/// The exit code of a run, and everything that it prints.
fn run(arguments: &[String], environment: &[(&str, String)]) -> (Option<i32>, Vec<u8>) {
    let folder = tempfile::tempdir().unwrap();
    let message = folder.path().join("message");
    let mut command = command(arguments, environment);
    if ["backup", "restore", "verify", "prune"].contains(&arguments[0].as_str()) {
        command.arg("--termination-message").arg(&message);
    }
    let output = command.output().unwrap();
    let message = fs::read(&message).unwrap_or_default();
    (output.status.code(), [output.stdout, output.stderr, message].concat())
}

/// Everything that a run prints that is to fail.
fn printed(arguments: &[String], environment: &[(&str, String)]) -> Vec<u8> {
    let (code, printed) = run(arguments, environment);
    let is_refused = !matches!(code, Some(0 | 101));
    assert!(is_refused, "{arguments:?} ended with {code:?}:\n{}", String::from_utf8_lossy(&printed));
    printed
}

/// Everything that a run prints that is to succeed.
fn printed_in_success(arguments: &[String]) -> Vec<u8> {
    let (code, printed) = run(arguments, &[]);
    assert_eq!(code, Some(0), "{arguments:?}:\n{}", String::from_utf8_lossy(&printed));
    printed
}

/// What may have happened to a text on its way into a file.
fn broken(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let bytes = |text: String| text.into_bytes();
    let half = text.len() / 2;
    let utf_16 = [0xff, 0xfe].into_iter().chain(text.encode_utf16().flat_map(u16::to_le_bytes)).collect();
    let mut lines: Vec<&str> = text.lines().collect();
    lines.retain(|line| !line.contains("END"));
    vec![
        ("as it is", bytes(text.to_owned())),
        ("without line ends", bytes(text.replace('\n', ""))),
        ("with blanks for line ends", bytes(text.replace('\n', " "))),
        ("with \\n for line ends", bytes(text.replace('\n', "\\n"))),
        ("with carriage returns", bytes(text.replace('\n', "\r"))),
        ("cut in the middle", bytes(text[..half].to_owned())),
        ("without its beginning", bytes(text[half..].to_owned())),
        ("without the END line", bytes(lines.join("\n"))),
        ("with a character that is not Base64", bytes(text.replacen('A', "!", 3))),
        ("with a byte order mark", bytes(format!("\u{feff}{text}"))),
        ("as UTF-16", utf_16),
        ("indented", bytes(text.replace('\n', "\n  "))),
        ("in quotes", bytes(format!("{text:?}"))),
        ("as a setting", bytes(format!("key: {}\n", text.replace('\n', "\n  ")))),
        ("as JSON", bytes(format!("{{\"key\": {}, {text}", serde_json::Value::from(text)))),
        ("in Base64", bytes(STANDARD.encode(text))),
        ("with bytes that are no text", [text.as_bytes(), &[0xff, 0x00, 0xfe]].concat()),
    ]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Something that listens, answers every connection with `answer`, and keeps what it is sent.
fn answering(answer: &'static str, sent: &Arc<Mutex<Vec<u8>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let sent = Arc::clone(sent);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let sent = Arc::clone(&sent);
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                let length = stream.read(&mut request).unwrap_or(0);
                sent.lock().unwrap().extend_from_slice(&request[..length]);
                drop(stream.write_all(answer.as_bytes()));
            });
        }
    });
    port
}

/// Of a TLS server that asks for a client certificate from the authority.
fn server_config(authority: &Certificate, certificate: &Certificate, key: &KeyPair) -> Arc<rustls::ServerConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls::pki_types::PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )
        .unwrap();
    Arc::new(config)
}

/// A TLS server that says nothing.
fn tls_server(config: Arc<rustls::ServerConfig>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || {
                while connection.is_handshaking() && connection.complete_io(&mut stream).is_ok() {}
                connection.send_close_notify();
                drop(connection.complete_io(&mut stream));
            });
        }
    });
    port
}

/// Speaks TLS and SASL in front of the stand-in, which speaks neither, and keeps what it is sent.
struct Front {
    port: u16,
    sent: Arc<Mutex<Vec<u8>>>,
}

impl Front {
    async fn start(world: &World, broker: &Broker) -> Self {
        let acceptor = TlsAcceptor::from(Arc::clone(&world.tls));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let behind: SocketAddr = broker.config().bootstrap_servers[0].parse().unwrap();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&sent);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, sent) = (acceptor.clone(), Arc::clone(&kept));
                // A client that goes away ends its connection, and nothing else.
                tokio::spawn(async move {
                    let client = acceptor.accept(stream).await?;
                    let server = tokio::net::TcpStream::connect(behind).await?;
                    relay(client, server, [behind.port(), port], &sent).await
                });
            }
        });
        Self { port, sent }
    }
}

/// Passes requests and answers on, and makes the proof of the password itself. `ports` are those of the broker and of the front.
async fn relay(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    mut server: impl AsyncRead + AsyncWrite + Unpin,
    ports: [u16; 2],
    sent: &Mutex<Vec<u8>>,
) -> io::Result<()> {
    const SASL_HANDSHAKE: i16 = 17;
    const API_VERSIONS: i16 = 18;
    const SASL_AUTHENTICATE: i16 = 36;
    loop {
        let request = frame(&mut client).await?;
        let api = i16::from_be_bytes([request[0], request[1]]);
        let version = i16::from_be_bytes([request[2], request[3]]);
        let correlation_id = &request[4..8];
        // PLAIN is to send the password, in this request and in no other.
        if api != SASL_AUTHENTICATE {
            sent.lock().unwrap().extend_from_slice(&request);
        }
        let answer = match api {
            // No error, one mechanism.
            SASL_HANDSHAKE => [correlation_id, &[0, 0, 0, 0, 0, 1, 0, 5], b"PLAIN"].concat(),
            // No error, no message, no challenge, no end of the session.
            SASL_AUTHENTICATE => [correlation_id, &[0, 0, 0xff, 0xff], &[0; 12]].concat(),
            _ => {
                server.write_all(&framed(&request)).await?;
                let answer = through(frame(&mut server).await?, ports);
                if api == API_VERSIONS { with_sasl(&answer, version) } else { answer }
            }
        };
        client.write_all(&framed(&answer)).await?;
        client.flush().await?;
    }
}

async fn frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut frame = vec![0; usize::try_from(stream.read_i32().await?).unwrap()];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length[..], bytes].concat()
}

/// An answer that leads clients to the front and not to the broker: host and port follow each other in it.
fn through(mut answer: Vec<u8>, ports: [u16; 2]) -> Vec<u8> {
    let [broker, front] = ports.map(|port| [&b"127.0.0.1"[..], &i32::from(port).to_be_bytes()].concat());
    if let Some(at) = answer.windows(broker.len()).position(|bytes| bytes == broker) {
        answer[at..at + front.len()].copy_from_slice(&front);
    }
    answer
}

/// The answer to ApiVersions, with version 1 of both requests of SASL.
fn with_sasl(answer: &[u8], version: i16) -> Vec<u8> {
    let (correlation_id, body) = answer.split_at(4);
    let mut response = ApiVersionsResponse::decode(&mut Bytes::copy_from_slice(body), version).unwrap();
    let sasl = [17, 36].map(|api| ApiVersion::default().with_api_key(api).with_min_version(1).with_max_version(1));
    response.api_keys.extend(sasl);
    let mut bytes = BytesMut::from(correlation_id);
    response.encode(&mut bytes, version).unwrap();
    bytes.to_vec()
}

struct World {
    folder: tempfile::TempDir,
    /// The authority, which is a server, too.
    certificate: String,
    key: String,
    /// What the authority has issued, for a server and its client.
    issued_certificate: String,
    issued_key: String,
    tls: Arc<rustls::ServerConfig>,
    server: u16,
    kafka: u16,
    s3: u16,
    /// What `kafka` and `s3` were sent.
    sent: Arc<Mutex<Vec<u8>>>,
}

impl World {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::from_params(&params, &key);
        let issued_key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let issued = CertificateParams::new(names).unwrap().signed_by(&issued_key, &issuer).unwrap();
        let sent = Arc::default();
        Self {
            folder: tempfile::tempdir().unwrap(),
            server: tls_server(server_config(&certificate, &certificate, &key)),
            tls: server_config(&certificate, &issued, &issued_key),
            certificate: certificate.pem().replace("\r\n", "\n"),
            key: key.serialize_pem().replace("\r\n", "\n"),
            issued_certificate: issued.pem().replace("\r\n", "\n"),
            issued_key: issued_key.serialize_pem().replace("\r\n", "\n"),
            kafka: answering("HTTP/1.1 400 Bad Request\r\n\r\n", &sent),
            s3: answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", &sent),
            sent,
        }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let path: PathBuf = self.folder.path().join(format!("{}-{name}", FILES.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn secrets(&self, more: &[&str]) -> Secrets {
        let files = [&self.certificate, &self.key, &self.issued_certificate, &self.issued_key].map(String::as_str);
        Secrets::of(&[&files[..], &PLANTED.map(|(_, secret)| secret), more].concat())
    }

    fn repository(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    fn storage(&self) -> String {
        format!("file://{}", self.repository().display())
    }

    /// A backup that gives up soon.
    fn backup(&self, port: u16, protocol: &str, flags: &[&str], output: &str) -> Vec<String> {
        let soon = ["--retry-timeout-ms", "1", "--request-timeout-ms", "1000", "--connect-timeout-ms", "2000"];
        self.patient_backup(port, protocol, &[&soon[..], flags].concat(), output)
    }

    fn patient_backup(&self, port: u16, protocol: &str, flags: &[&str], output: &str) -> Vec<String> {
        let storage = self.storage();
        let servers = format!("localhost:{port}");
        let common = words(&[
            "backup",
            "--archive",
            "a",
            "--storage",
            &storage,
            "--bootstrap-servers",
            &servers,
            "--security-protocol",
            protocol,
            "--output",
            output,
        ]);
        [common, words(flags)].concat()
    }
}

#[test]
fn no_byte_of_a_certificate_or_key_file_is_printed() {
    let world = World::new();
    let secrets = world.secrets(&[]);
    let both = format!("{}{}", world.certificate, world.key);
    let (good_certificate, good_key) = (world.file("good.crt", &world.certificate), world.file("good.key", &world.key));
    let mut runs = Vec::new();
    for text in [&both, &world.key, &world.certificate] {
        for (shape, bytes) in broken(text) {
            let file = world.file("broken.pem", bytes);
            for (number, flags) in [
                vec!["--ca-file", &file],
                vec!["--ca-file", &good_certificate, "--cert-file", &file, "--key-file", &good_key],
                vec!["--ca-file", &good_certificate, "--cert-file", &good_certificate, "--key-file", &file],
                vec!["--ca-file", &file, "--cert-file", &file, "--key-file", &file],
            ]
            .into_iter()
            .enumerate()
            {
                let output = if number % 2 == 0 { "json" } else { "text" };
                runs.push((shape, world.backup(world.server, "SSL", &flags, output)));
            }
            // Each in a run of its own: a broken file of credentials ends the run before the other is read.
            for option in ["ca_file", "credentials_file"] {
                let storage = format!("s3://bucket/x?endpoint=https://localhost:{}&{option}={file}", world.server);
                runs.push((shape, words(&["list", "--storage", &storage, "--output", "json"])));
            }
        }
    }
    in_parallel(&runs, |(shape, arguments)| secrets.look_in(&printed(arguments, &[]), shape));
}

#[test]
fn no_byte_of_a_password_or_username_file_is_printed() {
    let world = World::new();
    let password = "correct horse battery staple 0123456789";
    let secrets = world.secrets(&[password]);
    let good = world.file("good", "somebody");
    let mut runs = Vec::new();
    for text in [password, &world.key] {
        for (shape, bytes) in broken(text) {
            let file = world.file("broken", bytes);
            for mechanism in ["PLAIN", "SCRAM-SHA-512"] {
                for flags in [
                    ["--username-file", &good, "--password-file", &file],
                    ["--username-file", &file, "--password-file", &good],
                ] {
                    let flags = [&["--sasl-mechanism", mechanism][..], &flags].concat();
                    runs.push((shape, world.backup(world.kafka, "SASL_PLAINTEXT", &flags, "json")));
                }
            }
        }
    }
    in_parallel(&runs, |(shape, arguments)| secrets.look_in(&printed(arguments, &[]), shape));
    let sent = world.sent.lock().unwrap();
    assert!(!sent.is_empty());
    secrets.look_in(&sent, "sent to something that is no broker");
}

/// Every command, with credentials for its store that are broken, or of the wrong kind, or refused.
#[test]
fn no_byte_of_a_credentials_file_is_printed() {
    let world = World::new();
    let secret = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY";
    let token = "FwoGZXIvYXdzEBYaDLongSessionTokenOfTheTest";
    let secrets = world.secrets(&[secret, token]);
    let profile = format!(
        "[default]\naws_access_key_id = AKIA1\naws_secret_access_key = {secret}\naws_session_token = {token}\n"
    );
    let json = format!(
        "{{\"aws_access_key_id\": \"AKIA1\", \"aws_secret_access_key\": \"{secret}\", \"aws_session_token\": \"{token}\"}}"
    );
    let endpoint = format!("s3://bucket/x?endpoint=http://localhost:{}", world.s3);
    let mut runs = vec![("in the environment", words(&["list", "--storage", &endpoint]), Vec::new())];
    for text in [&profile, &json, &world.key] {
        for (shape, bytes) in broken(text) {
            let file = world.file("credentials", bytes);
            runs.push((
                shape,
                words(&["list", "--storage", &format!("{endpoint}&credentials_file={file}")]),
                Vec::new(),
            ));
            let shared = vec![("AWS_SHARED_CREDENTIALS_FILE", file.clone()), ("AWS_CONFIG_FILE", file.clone())];
            runs.push((shape, words(&["list", "--storage", &endpoint, "--output", "json"]), shared));
        }
    }
    let storage = format!("{endpoint}&credentials_file={}", world.file("profile", &profile));
    let servers = ["--bootstrap-servers", "localhost:1"];
    for arguments in [
        vec!["backup", "--archive", "a", servers[0], servers[1]],
        vec!["restore", "--archive", "a", servers[0], servers[1]],
        vec!["describe", "--backup", "b"],
        vec!["verify"],
        vec!["prune", "--archive", "a"],
        vec!["cat", "--backup", "b", "--topic", "t"],
    ] {
        runs.push(("refused", words(&[&arguments[..], &["--storage", &storage]].concat()), Vec::new()));
    }
    in_parallel(&runs, |(shape, arguments, environment)| secrets.look_in(&printed(arguments, environment), shape));
    let sent = world.sent.lock().unwrap();
    for key_id in ["AKIA1", "AKIAPLANTED"] {
        assert!(holds(&sent, format!("Credential={key_id}/").as_bytes()), "no request was signed with {key_id}");
    }
    // A token is part of each request that is signed with its key; the key never is.
    Secrets::of(&[secret, PLANTED[0].1, &world.key]).look_in(&sent, "sent to the store");
}

#[test]
fn no_byte_of_a_configuration_file_is_printed_but_the_names_of_settings() {
    let world = World::new();
    let secret = "ThisValueMustNotBePrintedAnywhere0123";
    let secrets = world.secrets(&[secret]);
    let mut runs = Vec::new();
    for text in [
        format!("run: {secret}\nstorage: {secret}\n"),
        format!("storage: s3://me:{secret}@bucket/x\n"),
        format!("storage: s3://bucket/x?secret_key={secret}\n"),
        format!("storage: file:///x\nparallelism: {secret}\ncompression: {secret}\n"),
        format!("storage: file:///x\ncluster: {{ bootstrapServers: ['me:{secret}@kafka:9092'] }}\n"),
        format!("storage: file:///x\ncluster: {{ securityProtocol: {secret}, bootstrapServers: [\"a:1\"] }}\n"),
        format!("storage: file:///x\ncluster: {{ sasl: {{ password: {secret} }} }}\n"),
        format!("storage: file:///x\ncluster: {{ sasl: {{ passwordFile: {{ {secret}: {secret} }} }} }}\n"),
        format!("[default]\naws_secret_access_key = {secret}\n"),
        format!("{secret}: {secret}\n"),
        secret.to_owned(),
        world.key.clone(),
    ] {
        for (shape, bytes) in broken(&text) {
            let file = world.file("config.yaml", bytes);
            let servers = ["--archive", "a", "--bootstrap-servers", "localhost:1", "--retry-timeout-ms", "1"];
            let backup = [&["backup", "--config", &file, "--output", "json"][..], &servers].concat();
            runs.push((shape, words(&backup)));
            for command in ["restore", "list", "describe", "verify", "prune", "cat"] {
                if shape == "as it is" {
                    runs.push((shape, words(&[command, "--config", &file])));
                }
            }
        }
    }
    in_parallel(&runs, |(shape, arguments)| {
        let output = printed(arguments, &[]);
        secrets.look_in(&output, &format!("{shape} {arguments:?} {}", config_of(arguments)));
    });
}

/// A backup over TLS with a client certificate and a password, and then whatever can be done with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_printed_stored_or_sent_where_everything_succeeds() {
    let world = World::new();
    let (username, password) = ("operator-of-the-planted-name", "correct horse battery staple 0123456789");
    let secrets = world.secrets(&[username, password]);
    let group = Group { name: "billing".to_owned(), committed: Ok(("orders".to_owned(), 1)), missed_lists: 0 };
    let broker = Broker::start_with(vec![Topic::new("orders", vec![Log::of_noise(3, 100, 1)])], vec![group]).await;
    let front = Front::start(&world, &broker).await;

    let [ca, certificate, key] =
        [&world.certificate, &world.issued_certificate, &world.issued_key].map(|text| world.file("planted.pem", text));
    let [username, password] = [username, password].map(|text| world.file("planted", text));
    let tls = ["--ca-file", &ca, "--cert-file", &certificate, "--key-file", &key];
    let sasl = ["--sasl-mechanism", "PLAIN", "--username-file", &username, "--password-file", &password];
    let flags = [&tls[..], &sasl, &["--backup-id", "b"]].concat();
    let backup = printed_in_success(&world.patient_backup(front.port, "SASL_SSL", &flags, "json"));
    secrets.look_in(&backup, "backup");
    // What is compressed is searched, too: the group is named nowhere else.
    let stored = stored(&world.repository());
    assert!(holds(&stored, b"billing"));
    secrets.look_in(&stored, "stored");
    let sent = front.sent.lock().unwrap().clone();
    assert!(holds(&sent, b"orders"));
    secrets.look_in(&sent, "sent to brokers");

    let storage = world.storage();
    for arguments in [
        &["list"][..],
        &["list", "--archive", "a", "--output", "json"],
        &["describe", "--backup", "b", "--output", "json"],
        &["verify", "--archive", "a", "--output", "json"],
        &["cat", "--backup", "b", "--topic", "orders"],
        &["prune", "--archive", "a", "--max-backups", "1", "--grace", "0s", "--confirm", "--output", "json"],
    ] {
        let printed = printed_in_success(&words(&[arguments, &["--storage", &storage]].concat()));
        secrets.look_in(&printed, arguments[0]);
    }
}

/// A run that waits for its cluster, and is asked how far it is.
#[test]
fn no_secret_is_told_over_http() {
    let world = World::new();
    let (username, password) = ("operator-of-the-planted-name", "correct horse battery staple 0123456789");
    let secrets = world.secrets(&[username, password]);
    // A broker that takes connections and never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let [username, password] = [username, password].map(|text| world.file("planted", text));
    let sasl = ["--sasl-mechanism", "PLAIN", "--username-file", &username, "--password-file", &password];
    let flags = [&sasl[..], &["--listen", "127.0.0.1:0"]].concat();
    let arguments = world.patient_backup(silent.local_addr().unwrap().port(), "SASL_PLAINTEXT", &flags, "json");
    let mut child = command(&arguments, &[]).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("/progress")).unwrap();
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap();
    for path in ["/progress", "/metrics", "/healthz", "/"] {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{path}");
        secrets.look_in(&answer, path);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// All that the files of a folder hold, and their names.
fn stored(folder: &Path) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        all.extend_from_slice(path.file_name().unwrap().as_encoded_bytes());
        all.extend(if path.is_dir() { stored(&path) } else { unpacked(&fs::read(&path).unwrap()) });
    }
    all
}

/// What a file holds, and what every Zstandard frame in it holds.
fn unpacked(bytes: &[u8]) -> Vec<u8> {
    const FRAME: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
    let mut all = bytes.to_vec();
    for (at, _) in bytes.windows(FRAME.len()).enumerate().filter(|(_, begin)| *begin == FRAME) {
        let mut frame = zstd::Decoder::new(&bytes[at..]).unwrap().single_frame();
        // These four bytes may begin no frame; then there is nothing in it.
        drop(frame.read_to_end(&mut all));
    }
    all
}

fn config_of(arguments: &[String]) -> String {
    let file = arguments.iter().skip_while(|argument| *argument != "--config").nth(1).unwrap();
    String::from_utf8_lossy(&fs::read(Path::new(file)).unwrap()).into_owned()
}

fn in_parallel<T: Sync>(all: &[T], check: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(one) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    check(one);
                }
            });
        }
    });
}
