//! A broker that is far away: a proxy in front of it, through which every byte takes half a round trip longer.
//!
//! Bytes are delayed and not slowed down: as many as like may be on their way, in both directions.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

const BUFFER_BYTES: usize = 256 << 10;

/// A proxy that runs until this process ends.
#[derive(Debug)]
pub struct FarLine {
    port: u16,
    target_port: Arc<AtomicU16>,
    one_way_us: Arc<AtomicU64>,
}

impl FarLine {
    /// Starts a proxy on a free port of the loopback address. It leads nowhere at first, and delays nothing.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("the proxy cannot listen")?;
        let port = listener.local_addr().context("the proxy has no address")?.port();
        let line = Self { port, target_port: Arc::default(), one_way_us: Arc::default() };
        let (target_port, one_way_us) = (Arc::clone(&line.target_port), Arc::clone(&line.one_way_us));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let target_port = target_port.load(Ordering::SeqCst);
                let one_way_us = Arc::clone(&one_way_us);
                // A connection that cannot be served is closed, which the client sees.
                thread::spawn(move || drop(serve(&client, target_port, &one_way_us)));
            }
        });
        Ok(line)
    }

    /// Where clients come in.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Where it leads from now on.
    pub fn lead_to(&self, target_port: u16) {
        self.target_port.store(target_port, Ordering::SeqCst);
    }

    /// How long a byte and its answer take together from now on.
    pub fn set_round_trip(&self, round_trip: Duration) {
        let one_way_us = u64::try_from(round_trip.as_micros() / 2).unwrap_or(u64::MAX);
        self.one_way_us.store(one_way_us, Ordering::SeqCst);
    }
}

fn serve(client: &TcpStream, target_port: u16, one_way_us: &Arc<AtomicU64>) -> std::io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, target_port))?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let answers = carry(server.try_clone()?, client.try_clone()?, Arc::clone(one_way_us));
    let requests = carry(client.try_clone()?, server, Arc::clone(one_way_us));
    for direction in [answers, requests] {
        // It ends with the connection, whatever it was at.
        let _ = direction.join();
    }
    Ok(())
}

/// Carries what comes from one side to the other, each byte as long after it came as a byte takes.
fn carry(mut from: TcpStream, mut to: TcpStream, one_way_us: Arc<AtomicU64>) -> thread::JoinHandle<()> {
    let (departed, arriving) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(bytes @ 1..) = from.read(&mut buffer) {
            let arrives = Instant::now() + Duration::from_micros(one_way_us.load(Ordering::SeqCst));
            if departed.send((arrives, buffer[..bytes].to_vec())).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        for (arrives, bytes) in arriving {
            thread::sleep(arrives.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        // Either side may have closed already.
        let _ = to.shutdown(Shutdown::Both);
    })
}
