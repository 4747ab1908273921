//! The addresses of a cluster, and the wire between its node and the machine.
//!
//! Each cluster has a `10.N.0.0/16` of its own, so that clusters stand side by side. The number is held by an abstract
//! socket, which the kernel frees however its holder ends, and while the cluster's network interface is there.

use std::fs;
use std::net::Ipv4Addr;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cache;
use crate::kubernetes::machine::IPROUTE2;

const NUMBERS: std::ops::Range<u8> = 200..250;

/// The addresses of one cluster, taken for as long as this value lives.
#[derive(Debug)]
pub(super) struct Network {
    number: u8,
    _held: UnixListener,
}

impl Network {
    /// Takes a number that no other cluster has, and whose addresses lead nowhere else.
    ///
    /// # Errors
    /// When there is none.
    pub(super) fn take() -> Result<Self> {
        let routes = fs::read_to_string("/proc/net/route").context("cannot read the machine's routes")?;
        for number in NUMBERS {
            let address = SocketAddr::from_abstract_name(format!("kafka-backup-e2e-kubernetes-{number}"))
                .context("an abstract socket has a name")?;
            let Ok(held) = UnixListener::bind_addr(&address) else { continue };
            let network = Self { number, _held: held };
            if !is_routed(&routes, number) && !network.has_leftovers() {
                return Ok(network);
            }
        }
        bail!("no network 10.N.0.0/16 with N in {NUMBERS:?} is free: end some cluster, or see `ip route`")
    }

    /// The name of the cluster's network interface, of its node, and of its cgroup.
    pub(super) fn name(&self) -> String {
        format!("e2e-k8s-{}", self.number)
    }

    /// The machine, as the node and its pods see it.
    pub(super) fn host(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 1)
    }

    /// The node.
    pub(super) fn node(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 0, 2)
    }

    /// The addresses of pods.
    pub(super) fn pods(&self) -> String {
        format!("10.{}.64.0/24", self.number)
    }

    /// The addresses of services.
    pub(super) fn services(&self) -> String {
        format!("10.{}.128.0/24", self.number)
    }

    /// The API server, as pods see it: the first address of services.
    pub(super) fn api_server(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 128, 1)
    }

    /// The name server, as pods see it.
    pub(super) fn dns(&self) -> Ipv4Addr {
        Ipv4Addr::new(10, self.number, 128, 10)
    }

    /// Lays the wire between this machine and the namespace of the process `init`.
    ///
    /// # Errors
    /// When the system refuses.
    pub(super) fn connect(&self, init: u32) -> Result<()> {
        let name = self.name();
        let ip = |arguments: &str| cache::run(Command::new("ip").args(arguments.split(' ')), IPROUTE2);
        ip(&format!("link add {name} type veth peer name eth0 netns {init}"))?;
        ip(&format!("address add {}/30 dev {name}", self.host()))?;
        ip(&format!("link set {name} up"))?;
        ip(&format!("route add 10.{}.0.0/16 via {} dev {name} onlink", self.number, self.node()))
    }

    /// Whether a cluster whose process has ended is still being cleaned up, or could not be.
    fn has_leftovers(&self) -> bool {
        let name = self.name();
        fs::exists(format!("/sys/class/net/{name}")).unwrap_or(true)
            || fs::exists(format!("/sys/fs/cgroup/cpu/{name}")).unwrap_or(true)
    }
}

/// Whether a table of routes, as `/proc/net/route` shows it, leads anywhere for an address of `10.number.0.0/16`; the
/// default route does not count.
fn is_routed(table: &str, number: u8) -> bool {
    let network = u32::from(Ipv4Addr::new(10, number, 0, 0));
    let wide = u32::from(Ipv4Addr::new(255, 255, 0, 0));
    // Addresses are printed as the kernel holds them in memory, the lowest byte last.
    let address = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    table.lines().skip(1).any(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (Some(to), Some(mask)) =
            (fields.get(1).and_then(|text| address(text)), fields.get(7).and_then(|text| address(text)))
        else {
            return false;
        };
        let common = mask & wide;
        mask != 0 && to & common == network & common
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_clusters_have_two_networks() {
        let (one, other) = (Network::take().unwrap(), Network::take().unwrap());
        assert_ne!(one.number, other.number);
        assert_ne!((one.name(), one.host(), one.pods()), (other.name(), other.host(), other.pods()));
    }

    #[test]
    fn a_network_is_taken_when_a_route_leads_into_it_or_over_it() {
        let table = |to: &str, mask: &str| {
            format!(
                "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n x\t{to}\t0\t1\t0\t0\t0\t{mask}\t0\n"
            )
        };
        // 10.201.0.0/16, 10.201.0.0/30, 10.0.0.0/8, 10.202.0.0/16, and the default route.
        assert!(is_routed(&table("0000C90A", "0000FFFF"), 201));
        assert!(is_routed(&table("0000C90A", "FCFFFFFF"), 201));
        assert!(is_routed(&table("0000000A", "000000FF"), 201));
        assert!(!is_routed(&table("0000CA0A", "0000FFFF"), 201));
        assert!(!is_routed(&table("00000000", "00000000"), 201));
    }
}
