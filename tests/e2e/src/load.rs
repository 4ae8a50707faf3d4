//! Steady requests, each on a new connection, from the machine's own network; every one that fails is kept.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::machine::Machine;

/// How long a request may take.
const LIMIT: Duration = Duration::from_secs(10);

/// One GET on a new connection; the body of a 200, or what went wrong.
pub fn request(address: SocketAddr) -> Result<String, String> {
    let fault = |what: &str, error: std::io::Error| format!("{what}: {error}");
    let mut stream = TcpStream::connect_timeout(&address, LIMIT).map_err(|e| fault("connect", e))?;
    stream.set_read_timeout(Some(LIMIT)).map_err(|e| fault("timeout", e))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n").map_err(|e| fault("write", e))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|e| fault("read", e))?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => Err(format!("not a 200: {answer:?}")),
    }
}

/// Requests that go on until asked for their outcome.
pub struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<(usize, Vec<String>)>,
}

impl Load {
    /// `per_second` requests to an address of the machine's network.
    pub fn start(machine: &Machine, address: &str, per_second: u32) -> Self {
        let address: SocketAddr =
            address.trim_start_matches("http://").trim_end_matches('/').parse().expect("an address with a port");
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, count) = (stop.clone(), answered.clone());
        let thread = machine.on_network(move || {
            let (started, mut sent) = (Instant::now(), Vec::new());
            while !stopped.load(Ordering::Acquire) {
                let (at, count) = (started.elapsed(), count.clone());
                sent.push(std::thread::spawn(move || {
                    let answer = request(address).map_err(|fault| format!("at {at:?}: {fault}"));
                    count.fetch_add(usize::from(answer.is_ok()), Ordering::AcqRel);
                    answer
                }));
                let next = Duration::from_secs(1) * u32::try_from(sent.len()).unwrap_or(u32::MAX) / per_second;
                std::thread::sleep(next.saturating_sub(started.elapsed()));
            }
            let total = sent.len();
            (total, sent.into_iter().filter_map(|thread| thread.join().expect("no panic").err()).collect())
        });
        Self { stop, answered, thread }
    }

    /// How many were answered so far.
    pub fn answered(&self) -> usize {
        self.answered.load(Ordering::Acquire)
    }

    /// Ends them: how many there were, and the failures.
    pub fn finish(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("no panic")
    }
}
