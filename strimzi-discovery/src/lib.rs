//! Where and how to connect to a Kafka cluster that [Strimzi](https://strimzi.io) manages, and which Secrets to mount for it.
//!
//! The flow: a [`Kafka`] resource and an [`Identity`] go into [`connect`], which lets [`choose`] find the listener, lets
//! [`credentials`] find what a [`KafkaUser`] connects with, and gives a [`Connection`]. Nothing here does I/O: resources are values that
//! somebody else has read, Secrets are names and keys, and the content of a Secret is never seen.
//!
//! # Words
//!
//! They are Strimzi's. A **listener** is a way into the brokers, with a name, a type (`internal`, `nodeport`, ..), TLS or not, and an
//! authentication or none. A **bootstrap server** is a `host:port` where a client begins. The **cluster CA** signs the certificates of the
//! brokers; the **clients CA** signs those of the users, and proves nothing about a broker. **Ready** is a resource whose
//! status says where it is reached; a condition `NotReady` with the status `"True"` says that it is not.
//!
//! Where nothing can be given, the [`Error`] names what was found and what would fit, and tells whether to wait for Strimzi.

mod authentication;
mod connection;
mod credentials;
mod error;
pub mod fetch;
mod listener;
mod readiness;
pub mod resources;

pub use authentication::Authentication;
pub use connection::{Connection, Identity, SecurityProtocol, connect};
pub use credentials::{Credentials, SecretKey, USER_CERTIFICATE, USER_KEY, USER_PASSWORD, credentials};
pub use error::{Error, ListenersFound};
pub use listener::{Endpoint, Trust, choose};
pub use readiness::NotReady;
pub use resources::{Kafka, KafkaUser};
