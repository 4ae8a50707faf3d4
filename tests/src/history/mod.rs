//! What clients saw of one server, and whether a correct server could have shown it.
//!
//! Every write of the API has a revision, so the order in which writes took effect is known and need not be searched
//! for: the checker joins all that was seen into one log ([`log`]) and holds every answer ([`operations`]) and every
//! watch ([`watches`]) against it. Ticks are a shared counter, so "answered before it was asked" is exact.

use serde::{Deserialize, Serialize};

mod log;
mod operations;
mod watches;

pub use log::{Log, Span};

/// A moment: the value of one counter that all clients share.
pub type Tick = u64;
/// A resourceVersion.
pub type Revision = i64;

/// An object as it was shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// `namespace/name`.
    pub key: String,
    /// Its resourceVersion.
    pub revision: Revision,
    /// Its uid.
    pub uid: String,
    /// What the last write put there; no two writes put the same.
    pub value: String,
    /// The label that selectors select by.
    pub color: String,
}

/// Which objects a list or a watch is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only this colour.
    pub color: Option<String>,
}

impl Selection {
    /// Whether an object belongs to it.
    pub fn matches(&self, item: &Item) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| self.covers(&item.key, namespace))
            && self.color.as_ref().is_none_or(|color| *color == item.color)
    }

    fn covers(&self, key: &str, namespace: &str) -> bool {
        key.split_once('/').is_some_and(|(there, _)| there == namespace)
    }

    /// Whether every object belongs to it.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }
}

/// How fresh a read asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadAt {
    /// Nothing acknowledged before may be missing.
    Latest,
    /// resourceVersion 0.
    Any,
    /// At least this revision.
    NotOlderThan(Revision),
    /// This revision.
    Exact(Revision),
}

/// What was asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Action {
    Create {
        key: String,
        value: String,
    },
    /// A PUT with a resourceVersion.
    Update {
        key: String,
        value: String,
        from: Revision,
    },
    /// A merge patch without a resourceVersion.
    Patch {
        key: String,
        value: String,
    },
    Delete {
        key: String,
        from: Option<Revision>,
    },
    Get {
        key: String,
        at: ReadAt,
    },
    List {
        selection: Selection,
        at: ReadAt,
    },
}

impl Action {
    /// The one object that it is about.
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Create { key, .. }
            | Self::Update { key, .. }
            | Self::Patch { key, .. }
            | Self::Delete { key, .. }
            | Self::Get { key, .. } => Some(key),
            Self::List { .. } => None,
        }
    }

    /// What it would put there.
    pub fn value(&self) -> Option<&str> {
        match self {
            Self::Create { value, .. } | Self::Update { value, .. } | Self::Patch { value, .. } => Some(value),
            _ => None,
        }
    }
}

/// What was answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Outcome {
    Item(Item),
    /// Deleted; the answer names the uid and no revision.
    Deleted {
        uid: String,
    },
    /// A list in one page or several: each with its revision.
    Pages(Vec<(Revision, Vec<Item>)>),
    Refused {
        code: u16,
        reason: String,
    },
    /// No answer, or one that does not say what happened: a write may take effect at any time from its call on.
    Unknown,
}

/// One request.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Op {
    pub client: usize,
    pub call: Tick,
    pub ret: Tick,
    pub action: Action,
    pub outcome: Outcome,
}

/// Where a watch began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// After a revision.
    After(Revision),
    /// With the state, closed by an annotated bookmark (`sendInitialEvents`).
    State,
    /// With the state, whose end is not told (resourceVersion 0 or none).
    Legacy,
}

/// One frame of a watch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Seen {
    Added(Item),
    Modified(Item),
    Deleted(Item),
    Bookmark { revision: Revision, ends_state: bool },
    Error { code: i64, message: String },
}

/// One watch.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Watch {
    pub client: usize,
    pub selection: Selection,
    pub start: Start,
    /// How fresh the state that a [`Start::State`] begins with has to be.
    pub at: ReadAt,
    pub call: Tick,
    pub frames: Vec<(Tick, Seen)>,
}

/// All that was seen.
#[derive(Debug, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct History {
    pub seed: u64,
    pub ops: Vec<Op>,
    pub watches: Vec<Watch>,
}

impl History {
    /// Everything that no correct server could have shown, in words.
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let log = Log::build(self, &mut faults);
        for op in &self.ops {
            if let Err(why) = operations::check(&log, op) {
                faults.push(format!("{why}\n    {op:?}"));
            }
        }
        for watch in &self.watches {
            if let Err(why) = watches::check(&log, watch) {
                faults.push(format!(
                    "client {}'s watch of {:?} from {:?}: {why}",
                    watch.client, watch.selection, watch.start
                ));
            }
        }
        faults
    }
}

#[cfg(test)]
mod tests;
