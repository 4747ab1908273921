//! Which listener of a cluster to connect to.

use crate::authentication::Authentication;
use crate::error::{Error, ListenersFound};
use crate::readiness::{NotReady, is_paused, ready};
use crate::resources::{Kafka, Listener};

/// What a client takes for the authority over the brokers' certificates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trust {
    /// Every `ca*.crt` of the cluster CA's Secret, which has to be mounted whole: there are several while the CA is renewed.
    ClusterCa {
        /// `<cluster>-cluster-ca-cert`, in the namespace of the cluster.
        secret: String,
    },
    /// The listener's own chain, in PEM. It is public.
    Certificates(Vec<String>),
}

/// Where and how brokers are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub listener: String,
    /// At least one `host:port`.
    pub bootstrap_servers: Vec<String>,
    /// Whom to trust; `None` where the listener has no TLS.
    pub trust: Option<Trust>,
}

/// Chooses the listener for a client that authenticates in this way, or checks the one that is asked for by name.
///
/// In-cluster goes before external, then TLS before plain, then the listener types in the order of
/// [`ListenerType`](crate::resources::ListenerType), then the name: the same resource always gives the same listener. A listener that fits best
/// and has no address yet is waited for, since the next best may be one without TLS.
///
/// # Errors
///
/// Waiting: the cluster is not ready, or its status lacks the listener's address or its own certificate. Final: no listener of
/// that name, or none that fits.
pub fn choose(kafka: &Kafka, authentication: Authentication, name: Option<&str>) -> Result<Endpoint, Error> {
    let listener = select(kafka, authentication, name)?;
    let cluster = || kafka.metadata.name.clone();
    let not_ready = |why| Error::ClusterNotReady { cluster: cluster(), why };

    let status = ready(kafka.status.as_ref()).map_err(not_ready)?;
    let listener_status = status.listeners.iter().find(|status| status.is_about(&listener.name));
    let bootstrap_servers = listener_status.map(|status| status.bootstrap_servers()).unwrap_or_default();
    if bootstrap_servers.is_empty() {
        return Err(match is_paused(status) {
            true => not_ready(NotReady::Paused),
            false => Error::ListenerWithoutAddress { cluster: cluster(), listener: listener.name.clone() },
        });
    }

    let trust = if !listener.tls {
        None
    } else if listener.configuration.broker_cert_chain_and_key.is_none() {
        Some(Trust::ClusterCa { secret: format!("{}-cluster-ca-cert", kafka.metadata.name) })
    } else {
        let certificates = listener_status.map(|status| status.certificates.clone()).unwrap_or_default();
        if certificates.is_empty() {
            return Err(Error::ListenerWithoutCertificate { cluster: cluster(), listener: listener.name.clone() });
        }
        Some(Trust::Certificates(certificates))
    };
    Ok(Endpoint { listener: listener.name.clone(), bootstrap_servers, trust })
}

fn select<'a>(kafka: &'a Kafka, wanted: Authentication, name: Option<&str>) -> Result<&'a Listener, Error> {
    let cluster = || kafka.metadata.name.clone();
    let listeners = &kafka.spec.kafka.listeners;
    let found = || ListenersFound::of(listeners);
    match name {
        Some(name) => {
            let listener = listeners.iter().find(|listener| listener.name == name).ok_or_else(|| {
                Error::ListenerNotFound { cluster: cluster(), listener: name.to_owned(), wanted, found: found() }
            })?;
            if wanted.fits(listener) {
                Ok(listener)
            } else {
                Err(Error::ListenerDoesNotFit {
                    cluster: cluster(),
                    listener: listener.to_string(),
                    wanted,
                    found: found(),
                })
            }
        }
        None => listeners
            .iter()
            .filter(|listener| wanted.fits(listener))
            .min_by_key(|listener| (!listener.type_.is_in_cluster(), !listener.tls, &listener.type_, &listener.name))
            .ok_or_else(|| Error::NoListenerFits { cluster: cluster(), wanted, found: found() }),
    }
}
