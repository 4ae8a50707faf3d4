//! Changes that the kernel makes all together, or none of.

use crate::tables::{Element, Hook, Rule, Set, Table};

/// One change.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The table is there; it may have been.
    AddTable(Table),
    /// It goes with all that is in it.
    DeleteTable(Table),
    /// The chain is there, at a hook or for others to jump to; it may have been.
    AddChain(Table, String, Option<Hook>),
    /// Its rules go.
    FlushChain(Table, String),
    /// It goes; nothing leads to it.
    DeleteChain(Table, String),
    /// The last rule of a chain.
    AddRule(Table, String, Rule),
    /// The set or map is there; it may have been.
    AddSet(Table, Set),
    /// It goes; no rule uses it.
    DeleteSet(Table, String),
    /// The counter is there; it may have been, and then it goes on from where it is.
    AddCounter(Table, String),
    /// It goes; no rule uses it.
    DeleteCounter(Table, String),
    /// Elements of it; those that are there may be added again, if they lead to the same.
    AddElements(Table, Set, Vec<Element>),
    /// They go; they are there.
    DeleteElements(Table, Set, Vec<Element>),
}

/// See the module. It prints as a script of `nft`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Transaction {
    pub(crate) changes: Vec<Change>,
}

impl Transaction {
    /// Adds a change to its end.
    pub fn push(&mut self, change: Change) {
        self.changes.push(change);
    }

    /// Adds another's changes to its end.
    pub fn append(&mut self, other: Transaction) {
        self.changes.extend(other.changes);
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }
}

impl Extend<Change> for Transaction {
    fn extend<I: IntoIterator<Item = Change>>(&mut self, changes: I) {
        self.changes.extend(changes);
    }
}
