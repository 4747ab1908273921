//! No byte of a file that may hold a secret is ever printed, whatever is wrong with the file.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

/// Every piece of a secret of this length is looked for.
const PIECE_BYTES: usize = 12;

/// What must not be printed, and what it may look like when it is.
struct Secrets {
    forbidden: Vec<String>,
}

impl Secrets {
    fn of(texts: &[&str]) -> Self {
        let mut forbidden = Vec::new();
        for text in texts {
            // BEGIN lines are no secret, and error texts name them.
            for line in text.lines().filter(|line| !line.starts_with("-----")) {
                for piece in line.as_bytes().chunks(PIECE_BYTES).filter(|piece| piece.len() == PIECE_BYTES) {
                    forbidden.push(String::from_utf8(piece.to_vec()).unwrap());
                    forbidden.push(piece.iter().map(u8::to_string).collect::<Vec<_>>().join(", "));
                    forbidden.push(piece.iter().map(|byte| format!("{byte:02x}")).collect());
                    forbidden.push(piece.iter().map(|byte| format!("{byte:02X}")).collect());
                    // In Base64 a piece looks different at each of three alignments; the ends depend on what surrounds it.
                    for skipped in 0..3 {
                        let whole = &piece[skipped..skipped + (PIECE_BYTES - skipped) / 3 * 3];
                        forbidden.push(STANDARD_NO_PAD.encode(whole));
                    }
                }
            }
        }
        Self { forbidden }
    }

    #[track_caller]
    fn look_in(&self, printed: &str, what: &str) {
        for forbidden in &self.forbidden {
            assert!(!printed.contains(forbidden.as_str()), "{what}: {forbidden:?} is in:\n{printed}");
        }
    }
}

/// Everything that a run prints, at the most talkative level.
fn printed(arguments: &[String], environment: &[(&str, String)]) -> String {
    static RUNS: AtomicUsize = AtomicUsize::new(0);
    let number = RUNS.fetch_add(1, Ordering::Relaxed);
    let folder = tempfile::tempdir().unwrap();
    let message = folder.path().join(format!("message-{number}"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_kafka-backup"));
    command.args(arguments).args(["--log-level", "trace"]).stdin(Stdio::null());
    if ["backup", "restore", "verify", "prune"].contains(&arguments[0].as_str()) {
        command.arg("--termination-message").arg(&message);
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env_remove("AWS_ACCESS_KEY_ID")
        .env_remove("AWS_SECRET_ACCESS_KEY");
    let output = command.envs(environment.iter().map(|(name, value)| (name, value))).output().unwrap();
    assert_ne!(output.status.code(), Some(0), "{arguments:?} was to fail: {output:?}");
    assert_ne!(output.status.code(), Some(101), "{arguments:?}: {output:?}");
    let message = fs::read_to_string(&message).unwrap_or_default();
    format!("{}\n{}\n{message}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
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

/// Something that listens and answers every connection with `answer`.
fn answering(answer: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            std::thread::spawn(move || {
                drop(stream.read(&mut [0; 4096]));
                drop(stream.write_all(answer.as_bytes()));
            });
        }
    });
    port
}

/// A TLS server that asks for a client certificate and says nothing.
fn tls_server(certificate: &rcgen::Certificate, key: &KeyPair) -> u16 {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate.der().clone()).unwrap();
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
    let config = Arc::new(config);
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

struct World {
    folder: tempfile::TempDir,
    certificate: String,
    key: String,
    server: u16,
    kafka: u16,
    s3: u16,
}

impl World {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        Self {
            folder: tempfile::tempdir().unwrap(),
            server: tls_server(&certificate, &key),
            certificate: certificate.pem().replace("\r\n", "\n"),
            key: key.serialize_pem().replace("\r\n", "\n"),
            kafka: answering("HTTP/1.1 400 Bad Request\r\n\r\n"),
            s3: answering("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
        }
    }

    fn file(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        static FILES: AtomicUsize = AtomicUsize::new(0);
        let path: PathBuf = self.folder.path().join(format!("{}-{name}", FILES.fetch_add(1, Ordering::Relaxed)));
        fs::write(&path, bytes).unwrap();
        path.display().to_string()
    }

    fn secrets(&self, more: &[&str]) -> Secrets {
        Secrets::of(&[&[self.certificate.as_str(), self.key.as_str()], more].concat())
    }

    fn backup(&self, port: u16, protocol: &str, flags: &[&str], output: &str) -> Vec<String> {
        let storage = format!("file://{}", self.folder.path().join("repository").display());
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
            "--retry-timeout-ms",
            "1",
            "--request-timeout-ms",
            "1000",
            "--connect-timeout-ms",
            "2000",
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
            let storage = format!(
                "s3://bucket/x?endpoint=https://localhost:{}&ca_file={file}&credentials_file={file}",
                world.server
            );
            runs.push((shape, words(&["list", "--storage", &storage, "--output", "json"])));
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
    let mut runs = Vec::new();
    for text in [&profile, &json, &world.key] {
        for (shape, bytes) in broken(text) {
            let file = world.file("credentials", bytes);
            let endpoint = format!("s3://bucket/x?endpoint=http://localhost:{}", world.s3);
            runs.push((
                shape,
                words(&["list", "--storage", &format!("{endpoint}&credentials_file={file}")]),
                Vec::new(),
            ));
            let shared = vec![("AWS_SHARED_CREDENTIALS_FILE", file.clone()), ("AWS_CONFIG_FILE", file.clone())];
            runs.push((shape, words(&["list", "--storage", &endpoint, "--output", "json"]), shared));
        }
    }
    let storage = format!(
        "s3://bucket/x?endpoint=http://localhost:{}&credentials_file={}",
        world.s3,
        world.file("profile", &profile)
    );
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
