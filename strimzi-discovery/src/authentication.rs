//! How a client authenticates, and which listeners take it.

use std::fmt;

use crate::resources::Listener;

/// How a client authenticates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    /// Not at all.
    None,
    /// By a certificate.
    Tls,
    /// By a name and a password.
    ScramSha512,
}

impl Authentication {
    /// Whether a listener takes such a client. `custom` and `oauth` need what nobody can know from the resource, and take none.
    pub(crate) fn fits(self, listener: &Listener) -> bool {
        let type_ = listener.authentication.as_ref().map(|authentication| authentication.type_.as_str());
        match self {
            Self::None => type_.is_none(),
            // A certificate is shown in the TLS handshake: without TLS there is none.
            Self::Tls => type_ == Some("tls") && listener.tls,
            Self::ScramSha512 => type_ == Some("scram-sha-512"),
        }
    }
}

impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "no authentication",
            Self::Tls => "authentication tls",
            Self::ScramSha512 => "authentication scram-sha-512",
        })
    }
}
