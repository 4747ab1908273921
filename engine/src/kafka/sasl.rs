//! SASL: SaslHandshake (version 1), then SaslAuthenticate until the mechanism is done (KIP-152).

use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};
use kafka_protocol::protocol::StrBytes;
use rsasl::prelude::{Mechname, MessageSent, SASLClient, SASLConfig, Session, State};

use crate::config::cluster::Credentials;
use crate::kafka::connection::Connection;
use crate::kafka::error::{Error, one_line};
use crate::kafka::retry::code_name;

/// A connection is replaced after this part of its session, so that no request meets the end of it.
const SESSION_USED: f64 = 0.85;

/// How many iterations a broker may ask for. A million take about a second.
const ITERATIONS: RangeInclusive<u32> = 4_096..=1_000_000;
/// The longest time for one step of the exchange, computed here.
const STEP_TIMEOUT: Duration = Duration::from_secs(30);

/// Proves who we are on a fresh connection, and notes when the session ends (KIP-368).
///
/// # Errors
/// [`Error::Mechanism`], [`Error::Authentication`], or whatever happens to the connection.
pub(crate) async fn authenticate(connection: &Connection, credentials: &Credentials) -> Result<(), Error> {
    let handshake =
        SaslHandshakeRequest::default().with_mechanism(StrBytes::from_static_str(credentials.mechanism.name()));
    let version = connection.version::<SaslHandshakeRequest>()?;
    process_handshake(connection.address(), credentials, connection.call(version, &handshake).await?)?;

    let refuse = |why: String| refused(connection.address(), credentials, &why);
    let mut session = begin(credentials).map_err(refuse)?;
    let mut challenge: Option<Bytes> = None;
    loop {
        let Step { session: next, state, answer } = step(session, challenge).await.map_err(refuse)?;
        session = next;
        // SCRAM ends with the broker's own proof, which is checked in the step above and needs no answer.
        if matches!(state, State::Finished(MessageSent::No)) {
            return Ok(());
        }
        let began = Instant::now();
        let version = connection.version::<SaslAuthenticateRequest>()?;
        let request = SaslAuthenticateRequest::default().with_auth_bytes(answer.into());
        let response = connection.call(version, &request).await?;
        let accepted = process_authenticate(connection.address(), credentials, response)?;
        if let Some(lifetime) = accepted.session_lifetime {
            connection.set_expiry(began + lifetime.mul_f64(SESSION_USED));
        }
        if !state.is_running() {
            return Ok(());
        }
        challenge = Some(accepted.challenge);
    }
}

/// A step of the exchange that was taken.
struct Step {
    session: Session,
    state: State,
    answer: Vec<u8>,
}

/// Takes one step: the key of SCRAM takes as many rounds of a hash as the broker says.
async fn step(mut session: Session, challenge: Option<Bytes>) -> Result<Step, String> {
    check_iterations(challenge.as_deref().unwrap_or_default())?;
    compute(move || {
        let mut answer = Vec::new();
        let state = session.step(challenge.as_deref(), &mut answer).map_err(|error| error.to_string())?;
        Ok(Step { session, state, answer })
    })
    .await
}

/// Computes on a thread where nothing else waits for its turn, for [`STEP_TIMEOUT`] at most. What takes longer is computed in vain.
async fn compute<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    match tokio::time::timeout(STEP_TIMEOUT, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => done,
        Ok(Err(_)) => Err("the exchange was given up".to_owned()),
        Err(_) => Err(format!("the proof of the password was not computed within {} s", STEP_TIMEOUT.as_secs())),
    }
}

/// Checks the iteration count of SCRAM's first server message, as in `r=..,s=..,i=4096`. Fewer than 4,096 let whoever poses as
/// the broker guess the password cheaply (RFC 7677, which the Java client enforces too); very many keep this client computing.
fn check_iterations(challenge: &[u8]) -> Result<(), String> {
    let text = String::from_utf8_lossy(challenge);
    for iterations in text.split(',').filter_map(|attribute| attribute.strip_prefix("i=")) {
        let is_allowed = iterations.parse().is_ok_and(|count: u32| ITERATIONS.contains(&count));
        if !is_allowed {
            return Err(format!(
                "the broker asks for {} SCRAM iterations; {} to {} are accepted: create the user's credentials with a count in this range",
                iterations.chars().take(20).filter(char::is_ascii_alphanumeric).collect::<String>(),
                ITERATIONS.start(),
                ITERATIONS.end()
            ));
        }
    }
    Ok(())
}

fn begin(credentials: &Credentials) -> Result<Session, String> {
    let config =
        SASLConfig::with_credentials(None, credentials.username.clone(), credentials.password.expose().to_owned())
            .map_err(|error| error.to_string())?;
    let mechanism = Mechname::parse(credentials.mechanism.name().as_bytes()).map_err(|error| error.to_string())?;
    SASLClient::new(config).start_suggested(&[mechanism]).map_err(|error| error.to_string())
}

fn refused(address: &str, credentials: &Credentials, why: &str) -> Error {
    Error::Authentication {
        address: address.to_owned(),
        mechanism: credentials.mechanism,
        user: credentials.user(),
        why: without_secrets(credentials, one_line(why)),
    }
}

/// A broker may repeat what it was sent.
fn without_secrets(credentials: &Credentials, text: String) -> String {
    let username = credentials.username_file.is_some().then_some(credentials.username.as_str());
    let secrets = [Some(credentials.password.expose()), username];
    secrets
        .into_iter()
        .flatten()
        .filter(|secret| !secret.is_empty())
        .fold(text, |text, secret| text.replace(secret, "***"))
}

fn process_handshake(address: &str, credentials: &Credentials, response: SaslHandshakeResponse) -> Result<(), Error> {
    match response.error_code {
        0 => Ok(()),
        UNSUPPORTED_SASL_MECHANISM => Err(Error::Mechanism {
            address: address.to_owned(),
            mechanism: credentials.mechanism,
            offered: response.mechanisms.iter().map(|name| name.to_string()).collect(),
        }),
        ILLEGAL_SASL_STATE => Err(Error::NotKafka {
            address: address.to_owned(),
            protocol: "SASL_PLAINTEXT or SASL_SSL",
            why: "this listener has no SASL".to_owned(),
        }),
        code => Err(refused(address, credentials, &code_name(code))),
    }
}

const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const ILLEGAL_SASL_STATE: i16 = 34;

#[derive(Debug, PartialEq)]
struct Accepted {
    challenge: Bytes,
    session_lifetime: Option<Duration>,
}

fn process_authenticate(
    address: &str,
    credentials: &Credentials,
    response: SaslAuthenticateResponse,
) -> Result<Accepted, Error> {
    if response.error_code != 0 {
        let name = code_name(response.error_code);
        let why = match response.error_message.as_deref().filter(|message| !message.is_empty()) {
            Some(message) => format!("{name}: {message}"),
            None => name,
        };
        return Err(refused(address, credentials, &why));
    }
    let session_lifetime =
        u64::try_from(response.session_lifetime_ms).ok().filter(|ms| *ms > 0).map(Duration::from_millis);
    Ok(Accepted { challenge: response.auth_bytes, session_lifetime })
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::mpsc;
    use std::task::Poll;

    use futures::poll;

    use super::*;
    use crate::config::cluster::SaslMechanism;
    use crate::error::Kind;

    fn alice(mechanism: SaslMechanism) -> Credentials {
        Credentials {
            mechanism,
            username: "alice".to_owned(),
            username_file: None,
            password: "tell-nobody".to_owned().into(),
        }
    }

    #[test]
    fn a_wrong_password_is_denied_on_one_line_without_the_password() {
        let response = SaslAuthenticateResponse::default()
            .with_error_code(58)
            .with_error_message(Some(StrBytes::from_static_str("Authentication failed\nduring exchange")));
        let error = process_authenticate("h:9093", &alice(SaslMechanism::ScramSha512), response).unwrap_err();
        assert_eq!(error.kind(), Kind::Denied);
        let text = error.to_string();
        for part in ["h:9093", "alice", "SCRAM-SHA-512", "SASL_AUTHENTICATION_FAILED"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(!text.contains('\n') && !text.contains("tell-nobody"), "{text}");
    }

    #[test]
    fn a_broker_that_repeats_the_password_does_not_get_it_into_the_error() {
        let response = SaslAuthenticateResponse::default()
            .with_error_code(58)
            .with_error_message(Some(StrBytes::from_static_str("alice/tell-nobody is wrong")));
        let mut credentials = alice(SaslMechanism::Plain);
        credentials.username_file = Some("/etc/user".into());
        let text = process_authenticate("h:9093", &credentials, response).unwrap_err().to_string();
        assert!(text.contains("the user of /etc/user") && text.ends_with("***/*** is wrong"), "{text}");
        assert!(!format!("{credentials:?}").contains("alice"), "{credentials:?}");
    }

    #[test]
    fn an_unsupported_mechanism_names_those_that_the_broker_offers() {
        let response = SaslHandshakeResponse::default()
            .with_error_code(33)
            .with_mechanisms(vec![StrBytes::from_static_str("PLAIN"), StrBytes::from_static_str("OAUTHBEARER")]);
        let error = process_handshake("h:1", &alice(SaslMechanism::ScramSha256), response).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        assert!(error.to_string().ends_with("SCRAM-SHA-256, but PLAIN, OAUTHBEARER"), "{error}");
    }

    #[test]
    fn a_session_that_ends_is_noticed() {
        let accepted = |ms| {
            let response = SaslAuthenticateResponse::default().with_session_lifetime_ms(ms);
            process_authenticate("h:1", &alice(SaslMechanism::Plain), response).unwrap().session_lifetime
        };
        assert_eq!((accepted(0), accepted(1500)), (None, Some(Duration::from_millis(1500))));
    }

    #[test]
    fn plain_sends_user_and_password_between_zero_bytes() {
        let mut sent = Vec::new();
        begin(&alice(SaslMechanism::Plain)).unwrap().step(None, &mut sent).unwrap();
        assert_eq!(sent, b"\0alice\0tell-nobody");
    }

    /// An exchange of SCRAM whose broker asks for so many iterations.
    fn challenged(iterations: &str) -> (Session, Bytes) {
        let mut session = begin(&alice(SaslMechanism::ScramSha256)).unwrap();
        let mut sent = Vec::new();
        session.step(None, &mut sent).unwrap();
        let nonce = String::from_utf8(sent).unwrap().split("r=").nth(1).unwrap().to_owned();
        (session, Bytes::from(format!("r={nonce}theirs,s=c2FsdA==,i={iterations}")))
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_only_async_thread_goes_on_while_the_key_of_scram_is_computed() {
        let (session, challenge) = challenged("1000000");
        let mut stepped = pin!(step(session, Some(challenge)));
        let mut turns = 0_u64;
        let stepped = loop {
            match poll!(&mut stepped) {
                Poll::Ready(stepped) => break stepped,
                Poll::Pending => turns += 1,
            }
            tokio::task::yield_now().await;
        };
        assert!(stepped.is_ok());
        // A thread that computed the key itself would have had one or two.
        assert!(turns > 100, "{turns} turns");
    }

    #[tokio::test(flavor = "current_thread", start_paused = true)]
    async fn a_proof_that_is_not_computed_in_time_is_refused_and_not_waited_for() {
        // The work ends when this test lets it.
        let (release, released) = mpsc::channel::<()>();
        let mut computed = pin!(compute(move || Ok(released.recv().is_ok())));
        assert!(poll!(&mut computed).is_pending());
        tokio::time::advance(STEP_TIMEOUT - Duration::from_secs(1)).await;
        assert!(poll!(&mut computed).is_pending(), "it has its time");
        tokio::time::advance(Duration::from_secs(2)).await;
        let outcome = poll!(&mut computed);
        drop(release);
        let Poll::Ready(Err(why)) = outcome else { panic!("{outcome:?}") };
        assert_eq!(why, "the proof of the password was not computed within 30 s");
    }

    #[tokio::test]
    async fn scram_computes_no_more_and_no_less_than_a_safe_number_of_iterations() {
        for (iterations, is_allowed) in
            [("0", false), ("4095", false), ("4096", true), ("1000001", false), ("4294967295", false), ("x", false)]
        {
            let (session, challenge) = challenged(iterations);
            let stepped = step(session, Some(challenge)).await;
            assert_eq!(stepped.is_ok(), is_allowed, "{iterations}");
            if let Err(why) = stepped {
                assert!(why.contains("4096 to 1000000"), "{why}");
            }
        }
    }

    #[test]
    fn scram_begins_without_channel_binding_and_refuses_a_forged_nonce() {
        for mechanism in [SaslMechanism::ScramSha256, SaslMechanism::ScramSha512] {
            let mut session = begin(&alice(mechanism)).unwrap();
            let mut sent = Vec::new();
            assert!(session.step(None, &mut sent).unwrap().is_running());
            assert!(sent.starts_with(b"n,,n=alice,r="), "{}", String::from_utf8_lossy(&sent));
            let forged = b"r=notours,s=c2FsdA==,i=4096";
            assert!(session.step(Some(forged), &mut Vec::new()).is_err());
        }
    }
}
