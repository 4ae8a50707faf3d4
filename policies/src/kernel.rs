//! Whom transactions are given to: this kernel, asked without blocking.

use std::io;
use std::sync::Arc;

use component::supervisor;
use netfilter::tables::{self, Version};
use netfilter::{Counted, Error, Socket, Transaction};
use parking_lot::Mutex;

use crate::table::Table;

/// Clones are the same.
#[derive(Clone)]
pub struct Kernel(Arc<Mutex<Socket>>);

impl Kernel {
    /// In the network namespace of this thread.
    ///
    /// # Errors
    /// It has no netfilter.
    pub fn open() -> io::Result<Self> {
        Ok(Self::of(Socket::open()?))
    }

    /// By that socket.
    pub fn of(socket: Socket) -> Self {
        Self(Arc::new(Mutex::new(socket)))
    }

    /// Makes all changes, or none.
    ///
    /// # Errors
    /// What is said against it.
    pub async fn apply(&self, transaction: Transaction) -> Result<(), Error> {
        let kernel = self.0.clone();
        let done = supervisor::blocking("nftables", move || kernel.lock().apply(&transaction)).await;
        done.unwrap_or_else(|error| Err(Error::Io(io::Error::other(error))))
    }

    /// Whether a table of ours is there.
    ///
    /// # Errors
    /// The kernel does not let us.
    pub async fn has(&self, table: &tables::Table) -> Result<bool, Error> {
        match self.apply(Table::sign_of_life(table)).await {
            Ok(()) => Ok(true),
            Err(Error::Refused { .. }) => Ok(false),
            Err(other) => Err(other),
        }
    }

    /// The counters of our tables, of both families. The kernel answers at once.
    ///
    /// # Errors
    /// It does not let us.
    pub fn counters(&self) -> io::Result<Vec<Counted>> {
        let mut socket = self.0.lock();
        let mut all = Vec::new();
        for table in [Version::V4, Version::V6].into_iter().flat_map(Table::names) {
            all.extend(socket.counters(&table)?);
        }
        Ok(all)
    }
}
