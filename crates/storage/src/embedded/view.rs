//! What readers and watches see of a store, whatever writes it: the state, the open watches, and whether it has ended.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;

use super::state::State;
use super::watch::Watchers;
use crate::{Error, Result};

/// See the module.
pub struct View {
    /// What is durable.
    pub state: RwLock<State>,
    /// Who waits for more.
    pub watchers: Watchers,
    closed: AtomicBool,
}

impl View {
    /// A view of a state.
    pub fn new(state: State) -> Self {
        Self { state: RwLock::new(state), watchers: Watchers::default(), closed: AtomicBool::new(false) }
    }

    /// Ends the watches, and says from now on that the store is closed.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.watchers.wake_all();
    }

    /// Whether the store has ended.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Fails with `Closed` if the store has ended.
    pub fn open(&self) -> Result<()> {
        if self.is_closed() { Err(Error::Closed) } else { Ok(()) }
    }
}
