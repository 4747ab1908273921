//! TCP connections to a name that may have several addresses (RFC 8305, "happy eyeballs").

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::net::TcpStream;

/// How long an address is tried alone before the next one is tried beside it: what RFC 8305 recommends.
const NEXT_ADDRESS_AFTER: Duration = Duration::from_millis(250);

/// Connects to whichever address answers first. An address that swallows packets costs [`NEXT_ADDRESS_AFTER`]; the caller
/// bounds the whole.
///
/// # Errors
/// The first failure, when every address has failed.
pub(super) async fn dial(addresses: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = alternate(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut failure = None;
    loop {
        match waiting.next() {
            Some(address) => attempts.push(TcpStream::connect(address)),
            None if attempts.is_empty() => {
                return Err(failure.unwrap_or_else(|| io::Error::other("the name has no address")));
            }
            None => {}
        }
        let outcome = match waiting.len() {
            0 => attempts.next().await,
            _ => match tokio::time::timeout(NEXT_ADDRESS_AFTER, attempts.next()).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            },
        };
        match outcome {
            Some(Ok(stream)) => return Ok(stream),
            Some(Err(error)) => {
                failure.get_or_insert(error);
            }
            None => {}
        }
    }
}

/// The addresses in the resolver's order, but the two families in turn: often one of them does not work at all.
fn alternate(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let Some(first) = addresses.first() else { return addresses };
    let is_v4 = first.is_ipv4();
    let (same, other): (Vec<_>, Vec<_>) = addresses.into_iter().partition(|address| address.is_ipv4() == is_v4);
    let mut other = other.into_iter();
    let mut all = Vec::new();
    for address in same {
        all.push(address);
        all.extend(other.next());
    }
    all.extend(other);
    all
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    /// An address that swallows packets: the system drops what comes behind a full backlog.
    pub(in crate::kafka) struct Swallowing {
        pub(in crate::kafka) address: SocketAddr,
        _listener: TcpListener,
        _queued: Vec<TcpStream>,
    }

    impl Swallowing {
        pub(in crate::kafka) async fn start() -> Self {
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let listener = socket.listen(1).unwrap();
            let address = listener.local_addr().unwrap();
            let mut queued = Vec::new();
            while let Ok(stream) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
                queued.push(stream.unwrap());
            }
            Self { address, _listener: listener, _queued: queued }
        }
    }

    #[test]
    fn the_families_take_turns_in_the_order_of_the_resolver() {
        let all = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        assert_eq!(
            alternate(all(&["[::1]:1", "[::2]:1", "1.1.1.1:1", "2.2.2.2:1", "3.3.3.3:1"])),
            all(&["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "3.3.3.3:1"])
        );
        assert_eq!(alternate(Vec::new()), Vec::new());
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_does_not_keep_the_next_from_being_tried() {
        let silent = Swallowing::start().await;
        let swallows = silent.address;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        // Far longer than two pauses, and far shorter than the minutes after which the system gives an address up.
        let dialled = tokio::time::timeout(Duration::from_secs(10), dial(vec![swallows, swallows, answers])).await;
        let stream = dialled.expect("the next address is tried meanwhile").unwrap();
        assert_eq!(stream.peer_addr().unwrap(), answers);
    }

    #[tokio::test]
    async fn an_address_that_refuses_is_followed_by_the_next_and_is_the_error_of_the_last() {
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let answers = listener.local_addr().unwrap();
        assert_eq!(dial(vec![closed, answers]).await.unwrap().peer_addr().unwrap(), answers);
        assert_eq!(dial(vec![closed, closed]).await.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
        assert!(dial(Vec::new()).await.is_err());
    }
}
