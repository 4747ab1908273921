//! A broker whose answers claim more than they hold ends the run with an error, not the process; and what a run says that is to
//! prove itself to a broker over a line that others can read.

#![expect(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use kafka_protocol::messages::ApiVersionsResponse;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::protocol::Encodable;

/// Answers every request with what `answer` makes of its API key: the bytes behind the correlation id.
fn broker(answer: impl Fn(i16) -> Vec<u8> + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            while let Some((api_key, correlation_id)) = request(&mut stream) {
                let body = answer(api_key);
                let length = i32::try_from(4 + body.len()).unwrap().to_be_bytes();
                if stream.write_all(&[&length[..], &correlation_id, &body].concat()).is_err() {
                    break;
                }
            }
        }
    });
    port
}

fn request(stream: &mut TcpStream) -> Option<(i16, [u8; 4])> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length)).ok()?];
    stream.read_exact(&mut frame).ok()?;
    Some((i16::from_be_bytes([frame[0], frame[1]]), frame[4..8].try_into().ok()?))
}

const API_VERSIONS: i16 = 18;
const METADATA: i16 = 3;

/// What a broker of Kafka 0.11 says, whose versions are not flexible.
fn old_versions() -> Vec<u8> {
    let api = |key, max| ApiVersion::default().with_api_key(key).with_min_version(0).with_max_version(max);
    let response = ApiVersionsResponse::default().with_api_keys(vec![api(API_VERSIONS, 3), api(METADATA, 4)]);
    let mut bytes = BytesMut::new();
    response.encode(&mut bytes, 3).unwrap();
    bytes.to_vec()
}

/// The error of a backup from the broker, in a process that may not have more than 2 GiB.
fn error_of_a_backup(port: u16) -> String {
    error_of_a_backup_with(&format!("--bootstrap-servers 127.0.0.1:{port}"))
}

/// The same with these flags, which say where the brokers are.
fn error_of_a_backup_with(flags: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let command = format!(
        "ulimit -v 2097152; exec {} backup --archive a --storage file://{}/r --request-timeout-ms 2000 --retry-timeout-ms 1 {flags}",
        env!("CARGO_BIN_EXE_kafka-backup"),
        folder.path().display()
    );
    let output = Command::new("sh").args(["-c", &command]).stdin(Stdio::null()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // A process that could not have its memory ends by a signal, and has no code.
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    stderr
}

#[test]
fn a_frame_of_a_few_bytes_that_claims_two_billion_elements_is_an_error() {
    // Error code, then an array of 2^31-2 elements, as a varint.
    let error = error_of_a_backup(broker(|_| vec![0, 0, 0xff, 0xff, 0xff, 0xff, 0x07]));
    assert!(error.contains("answered ApiVersions with something unexpected"), "{error}");
    // Throttle time, then an array of 2^31-1 brokers, as an int32.
    let error = error_of_a_backup(broker(|api_key| match api_key {
        API_VERSIONS => old_versions(),
        _ => vec![0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff],
    }));
    assert!(error.contains("answered Metadata with something unexpected"), "{error}");
}

#[test]
fn a_password_that_is_sent_in_clear_text_is_warned_about_once_however_many_connections_there_are() {
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, "tell-nobody").unwrap();
    for (mechanism, warnings) in [("PLAIN", 1), ("SCRAM-SHA-512", 0)] {
        let connections = Arc::new(AtomicUsize::new(0));
        // The first request of a connection is answered with too little, which ends it.
        let ports = [(); 2].map(|()| {
            let connections = Arc::clone(&connections);
            broker(move |_| {
                connections.fetch_add(1, Ordering::SeqCst);
                Vec::new()
            })
        });
        let servers = ports.map(|port| format!("127.0.0.1:{port}"));
        let error = error_of_a_backup_with(&format!(
            "--bootstrap-servers {} --security-protocol SASL_PLAINTEXT --sasl-mechanism {mechanism} --username alice --password-file {}",
            servers.join(","),
            password.display()
        ));
        assert_eq!(connections.load(Ordering::SeqCst), 2, "{error}");
        let told: Vec<&str> = error.lines().filter(|line| line.contains("in clear text")).collect();
        assert_eq!(told.len(), warnings, "{mechanism}: {error}");
        for warning in told {
            assert!(warning.contains("WARN") && warning.contains(&servers.join(", ")), "{warning}");
        }
        assert!(!error.contains("tell-nobody"), "{error}");
    }
}
