//! UIDs of objects that are known to be gone: the latest few, so that the server is not asked about each.

use std::collections::{HashSet, VecDeque};

/// As many as upstream remembers.
const MOST: usize = 500;

/// The UIDs of the objects that went last.
#[derive(Default)]
pub(crate) struct Gone {
    order: VecDeque<String>,
    known: HashSet<String>,
}

impl Gone {
    /// An object went; the one that went first is forgotten when there are too many.
    pub(crate) fn add(&mut self, uid: &str) {
        if self.known.insert(uid.to_owned()) {
            self.order.push_back(uid.to_owned());
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// Whether it is known to be gone; false says nothing.
    pub(crate) fn has(&self, uid: &str) -> bool {
        self.known.contains(uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_are_remembered() {
        let mut gone = Gone::default();
        (0..=MOST).for_each(|uid| gone.add(&uid.to_string()));
        gone.add("1");
        assert_eq!(["0", "1", "500", "501"].map(|uid| gone.has(uid)), [false, true, true, false]);
        assert_eq!(gone.known.len(), MOST);
    }
}
