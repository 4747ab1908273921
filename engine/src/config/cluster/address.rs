//! Where a broker is.

use std::fmt;
use std::str::FromStr;

use super::Error;

/// A host and a port; prints as `host:port`, an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// A name or an IP address, never in brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl FromStr for Address {
    type Err = Error;

    fn from_str(server: &str) -> Result<Self, Error> {
        // A user and a password before an @ are not repeated.
        let shown = server.rsplit_once('@').map_or_else(|| server.to_owned(), |(_, host)| format!("***@{host}"));
        let refuse = |why| Error::Address { server: shown.clone(), why };
        if server.contains("://") {
            return Err(refuse("leave out the scheme, and say how to connect with securityProtocol"));
        }
        let (host, port) = match server.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or_else(|| refuse("the bracket is not closed"))?;
                host.parse::<std::net::Ipv6Addr>().map_err(|_| refuse("brackets are for an IPv6 address"))?;
                (host, rest.strip_prefix(':').ok_or_else(|| refuse("the port is missing"))?)
            }
            None => server.rsplit_once(':').ok_or_else(|| refuse("the port is missing"))?,
        };
        if host.is_empty() {
            return Err(refuse("the host is missing"));
        }
        if !server.starts_with('[') && host.contains(':') {
            return Err(refuse("an IPv6 address needs brackets, as in [::1]:9092"));
        }
        if host.chars().any(|c| c.is_whitespace() || c.is_control() || matches!(c, '/' | ',' | '@')) {
            return Err(refuse("the host has characters that no host has"));
        }
        match port.parse::<u16>() {
            Ok(number) if number > 0 && !port.starts_with('+') => Ok(Self { host: host.to_owned(), port: number }),
            Ok(_) | Err(_) => Err(refuse("the port is not a number from 1 to 65535")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_an_address_is_not_repeated() {
        for server in ["SASL_SSL://me:sesame@kafka:9092", "me:sesame@kafka:9092", "me:sesame@kafka"] {
            let error = server.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains("***@kafka") && !error.contains("sesame"), "{error}");
        }
    }

    #[test]
    fn addresses_are_host_and_port_with_ipv6_in_brackets() {
        let address = |text: &str| text.parse::<Address>();
        assert_eq!(address("kafka.example:9092").unwrap(), Address { host: "kafka.example".to_owned(), port: 9092 });
        let v6 = address("[::1]:9093").unwrap();
        assert_eq!((v6.host.as_str(), v6.port, v6.to_string().as_str()), ("::1", 9093, "[::1]:9093"));
        for bad in [
            "",
            "host",
            "host:",
            ":9092",
            "host:0",
            "host:65536",
            "host:-1",
            "host:+1",
            "::1:9092",
            "[::1]",
            "[::1]9092",
            "[host]:1",
            "SSL://host:1",
            "a b:1",
            "a,b:1",
            "host:1 ",
        ] {
            assert!(address(bad).is_err(), "{bad:?} was taken");
        }
    }
}
