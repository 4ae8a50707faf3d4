//! A cached object in the versions that it was asked for in, where making one takes a webhook. They live as long as the object:
//! the webhook is asked once, however many lists and watches show it, and a definition that changes makes new objects.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio::sync::OnceCell;

use super::Entry;

/// One version of an object: there, or being made by one of those that wait for it.
pub type Slot = Arc<OnceCell<Arc<Entry>>>;

/// See the module. Costs objects that are never converted nothing but a pointer.
#[derive(Debug, Default)]
pub struct Versions(OnceLock<Box<Slots>>);

type Slots = Mutex<Vec<(Box<str>, Slot)>>;

impl Versions {
    /// The object in a version (`group/version`).
    pub fn slot(&self, version: &str) -> Slot {
        let mut slots = self.0.get_or_init(Box::default).lock();
        if let Some((_, slot)) = slots.iter().find(|(there, _)| &**there == version) {
            return slot.clone();
        }
        let slot = Slot::default();
        slots.push((version.into(), slot.clone()));
        slot
    }
}
