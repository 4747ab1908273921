//! Free ports.

use std::hash::{BuildHasher, RandomState};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Result, bail};

/// Below the range from which the kernel takes the ports of outgoing connections: a broker that a test stops and starts
/// again must find its port free, although clients knock at it all the while.
const FIRST: u64 = 15_000;
const COUNT: u64 = 17_000;

/// A port that nothing listens on, on neither loopback address.
///
/// Somebody else may take it before it is used: whoever binds it has to try again with another one.
///
/// # Errors
/// When no port is free.
pub fn free() -> Result<u16> {
    free_at(Ipv4Addr::LOCALHOST)
}

/// A port that nothing listens on, at this address of the machine and on neither loopback address.
///
/// # Errors
/// When no port is free.
pub fn free_at(address: Ipv4Addr) -> Result<u16> {
    static NEXT: LazyLock<AtomicU64> = LazyLock::new(|| AtomicU64::new(RandomState::new().hash_one(0) % COUNT));
    for _ in 0..COUNT {
        let candidate = FIRST + NEXT.fetch_add(1, Ordering::Relaxed) % COUNT;
        let Ok(port) = u16::try_from(candidate) else { continue };
        let is_free = |address: Ipv4Addr| TcpListener::bind((address, port)).is_ok();
        if is_free(Ipv4Addr::LOCALHOST) && (address.is_loopback() || is_free(address)) && is_free_on_ipv6(port) {
            return Ok(port);
        }
    }
    bail!("no port between {FIRST} and {} is free", FIRST + COUNT)
}

/// A machine without IPv6 has nothing listening there either.
fn is_free_on_ipv6(port: u16) -> bool {
    match TcpListener::bind((Ipv6Addr::LOCALHOST, port)) {
        Ok(_) => true,
        Err(error) => error.kind() != std::io::ErrorKind::AddrInUse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_calls_give_two_ports() {
        assert_ne!(free().unwrap(), free().unwrap());
    }
}
