//! What a write takes from what all writes share (cluster IPs, node ports) until it is known whether it was stored.
//!
//! An allocation is a guard: whatever ends the write, an error, a panic or the end of its task, what it took is given back,
//! unless the write was stored. Then what the object held before and needs no longer is given back instead.

use std::fmt;
use std::pin::Pin;

/// Gives something back.
pub type Release = Box<dyn FnOnce() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send>;

/// See the module.
#[derive(Default)]
pub struct Allocation {
    taken: Vec<Release>,
    surplus: Vec<Release>,
}

impl fmt::Debug for Allocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Allocation({} taken, {} surplus)", self.taken.len(), self.surplus.len())
    }
}

impl Allocation {
    /// Notes what has been taken, to be given back if the write is not stored.
    pub fn taken(&mut self, release: Release) {
        self.taken.push(release);
    }

    /// Notes what the object held before and does not need any more, to be given back once the write is stored.
    pub fn surplus(&mut self, release: Release) {
        self.surplus.push(release);
    }

    /// The end of the write: returns when what has to be given back is.
    pub async fn settle(mut self, stored: bool) {
        let (taken, surplus) = (std::mem::take(&mut self.taken), std::mem::take(&mut self.surplus));
        for release in if stored { surplus } else { taken } {
            release().await;
        }
    }
}

impl Drop for Allocation {
    fn drop(&mut self) {
        if self.taken.is_empty() || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let taken = std::mem::take(&mut self.taken);
        component::supervisor::detached("allocation", async move {
            for release in taken {
                release().await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    fn release(said: &Arc<Mutex<Vec<&'static str>>>, what: &'static str) -> Release {
        let said = said.clone();
        Box::new(move || Box::pin(async move { said.lock().expect("not poisoned").push(what) }))
    }

    #[tokio::test]
    async fn what_was_taken_is_kept_by_a_write_that_is_stored_and_given_back_by_any_other() {
        let said = Arc::default();
        let allocation = || {
            let mut allocation = Allocation::default();
            allocation.taken(release(&said, "taken"));
            allocation.surplus(release(&said, "surplus"));
            allocation
        };
        allocation().settle(true).await;
        assert_eq!(said.lock().expect("not poisoned").drain(..).collect::<Vec<_>>(), ["surplus"]);
        allocation().settle(false).await;
        assert_eq!(said.lock().expect("not poisoned").drain(..).collect::<Vec<_>>(), ["taken"]);
        // A panic, or a task that was ended.
        drop(allocation());
        while said.lock().expect("not poisoned").is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(*said.lock().expect("not poisoned"), ["taken"]);
    }
}
