//! Fields that a write to an object, or to a part of it, leaves as they are, whatever it says: its manager does not own
//! them (upstream's `GetResetFields` and `GetResetFieldsFilter`).

use super::{Comparison, Set};

/// Paths by field name; `*` is any one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resets {
    /// These fields and all below them are reset.
    Below(&'static [&'static [&'static str]]),
    /// All but these fields and what is below them is reset.
    AllBut(&'static [&'static [&'static str]]),
}

impl Resets {
    /// Takes the fields out that are reset.
    pub fn filter(&self, set: &mut Set) {
        match self {
            Resets::Below(paths) => paths.iter().for_each(|path| set.subtract_below(&Set::of(path))),
            Resets::AllBut(paths) => set.keep(paths),
        }
    }

    /// The same for all of a comparison.
    pub(super) fn exclude(&self, found: &mut Comparison) {
        for set in [&mut found.added, &mut found.modified, &mut found.removed] {
            self.filter(set);
        }
    }
}
