//! Whom transactions are given to.

use std::io;
use std::sync::Arc;

use component::supervisor;
use netfilter::tables::Table;
use netfilter::{Error, Socket, TimedAddresses, Transaction};
use parking_lot::Mutex;

/// What has tables of rules. Its calls block.
pub trait Kernel: Send + Sync + 'static {
    /// Makes all changes, or none.
    ///
    /// # Errors
    /// What is said against it.
    fn apply(&self, transaction: &Transaction) -> Result<(), Error>;

    /// See [`Socket::timed_addresses`].
    ///
    /// # Errors
    /// They can't be read.
    fn timed_addresses(&self, table: &Table) -> io::Result<Option<TimedAddresses>>;
}

impl Kernel for Mutex<Socket> {
    fn apply(&self, transaction: &Transaction) -> Result<(), Error> {
        self.lock().apply(transaction)
    }

    fn timed_addresses(&self, table: &Table) -> io::Result<Option<TimedAddresses>> {
        self.lock().timed_addresses(table)
    }
}

/// A kernel, asked without blocking; clones are the same.
#[derive(Clone)]
pub struct Rules(Arc<dyn Kernel>);

impl Rules {
    /// This one, in the network namespace of this thread.
    ///
    /// # Errors
    /// It has no netfilter.
    pub fn of_kernel() -> io::Result<Self> {
        Ok(Self::of(Mutex::new(Socket::open()?)))
    }

    /// That one.
    pub fn of(kernel: impl Kernel) -> Self {
        Self(Arc::new(kernel))
    }

    /// Makes all changes, or none.
    ///
    /// # Errors
    /// What is said against it.
    pub async fn apply(&self, transaction: Transaction) -> Result<(), Error> {
        let kernel = self.0.clone();
        let done = supervisor::blocking("nftables", move || kernel.apply(&transaction)).await;
        done.unwrap_or_else(|error| Err(Error::Io(io::Error::other(error))))
    }

    /// The addresses in a table's sets whose elements go after a time; `None` if there is no such table.
    ///
    /// # Errors
    /// They can't be read.
    pub async fn timed_addresses(&self, table: Table) -> io::Result<Option<TimedAddresses>> {
        let kernel = self.0.clone();
        let read = supervisor::blocking("nftables", move || kernel.timed_addresses(&table)).await;
        read.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}
