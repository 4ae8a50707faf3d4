//! Whom transactions are given to.

use std::sync::Arc;

use component::supervisor;
use netfilter::{Error, Socket, Transaction};
use parking_lot::Mutex;

/// See the module; clones are the same.
#[derive(Clone)]
pub struct Rules(Arc<dyn Fn(&Transaction) -> Result<(), Error> + Send + Sync>);

impl Rules {
    /// The kernel's, in the network namespace of this thread.
    ///
    /// # Errors
    /// It has no netfilter.
    pub fn of_kernel() -> std::io::Result<Self> {
        Ok(Self::of(Socket::open()?))
    }

    /// The kernel's, in the network namespace of a socket.
    pub fn of(socket: Socket) -> Self {
        let socket = Mutex::new(socket);
        Self::new(move |transaction| socket.lock().apply(transaction))
    }

    /// Somebody else's.
    pub fn new(apply: impl Fn(&Transaction) -> Result<(), Error> + Send + Sync + 'static) -> Self {
        Self(Arc::new(apply))
    }

    /// Makes all changes, or none.
    ///
    /// # Errors
    /// What is said against it.
    pub async fn apply(&self, transaction: Transaction) -> Result<(), Error> {
        let apply = self.0.clone();
        let done = supervisor::blocking("nftables", move || apply(&transaction)).await;
        done.unwrap_or_else(|error| Err(Error::Io(std::io::Error::other(error))))
    }
}
