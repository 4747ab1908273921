//! A proxy in front of a broker or a store which keeps what clients send.
//!
//! Clients go to the address that a broker advertises, so a broker has to advertise that of the proxy: the proxy has an address before
//! there is anything behind it.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};

const BUFFER_BYTES: usize = 256 << 10;

/// A proxy that runs until this process ends.
#[derive(Debug)]
pub struct RecordingProxy {
    address: SocketAddr,
    behind: Arc<OnceLock<String>>,
    sent: Arc<Sent>,
}

/// What was sent, by connection: what two clients send at a time does not stand between the pieces of either.
#[derive(Debug, Default)]
struct Sent(Mutex<Vec<Vec<u8>>>);

impl Sent {
    fn connections(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number of a new connection.
    fn begin(&self) -> usize {
        let mut connections = self.connections();
        connections.push(Vec::new());
        connections.len() - 1
    }
}

impl RecordingProxy {
    /// Takes a free port of the loopback address, and closes all connections until there is something to serve.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn listen() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the proxy cannot listen")?;
        let address = listener.local_addr().context("the proxy has no address")?;
        let behind: Arc<OnceLock<String>> = Arc::default();
        let sent: Arc<Sent> = Arc::default();
        let shared = (Arc::clone(&behind), Arc::clone(&sent));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (behind, sent) = shared.clone();
                thread::spawn(move || {
                    if let Some(behind) = behind.get() {
                        // A connection that cannot be served is closed, which the client sees.
                        drop(serve(client, behind, &sent));
                    }
                });
            }
        });
        Ok(Self { address, behind, sent })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves from now on, in front of this `host:port`.
    ///
    /// # Errors
    /// When it serves already.
    pub fn serve(&self, behind: String) -> Result<()> {
        if let Err(behind) = self.behind.set(behind) {
            bail!("the proxy at {} serves already, and cannot serve {behind}", self.address);
        }
        Ok(())
    }

    /// All that clients have sent so far, one connection after the other.
    pub fn sent(&self) -> Vec<u8> {
        self.sent.connections().concat()
    }
}

fn serve(mut client: TcpStream, behind: &str, sent: &Sent) -> io::Result<()> {
    let mut server = TcpStream::connect(behind)?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
    let answers = thread::spawn(move || {
        // Either side may close, or have closed, at any time.
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let connection = sent.begin();
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(bytes @ 1..) = client.read(&mut buffer) {
        sent.connections()[connection].extend_from_slice(&buffer[..bytes]);
        if server.write_all(&buffer[..bytes]).is_err() {
            break;
        }
    }
    let _ = server.shutdown(Shutdown::Both);
    // It ends with the connection, whatever it was at.
    let _ = answers.join();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_is_kept_and_answered_by_what_is_behind() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = RecordingProxy::listen().unwrap();
        proxy.serve(listener.local_addr().unwrap().to_string()).unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 8];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(b"answer").unwrap();
            question
        });
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        client.write_all(b"question").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        assert_eq!((&server.join().unwrap(), answer.as_slice()), (b"question", &b"answer"[..]));
        assert_eq!(proxy.sent(), b"question");
        assert!(proxy.serve("127.0.0.1:1".to_owned()).is_err());
    }
}
