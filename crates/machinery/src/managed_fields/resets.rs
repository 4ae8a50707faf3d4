//! Fields that a write to an object, or to a part of it, leaves as they are, whatever it says: its manager does not own
//! them (upstream's `GetResetFields`).

use super::{Comparison, Set};

/// Paths by field name. They are reset, and all below them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resets(pub &'static [&'static [&'static str]]);

impl Resets {
    /// Takes the fields out that are reset.
    pub fn filter(&self, set: &mut Set) {
        self.0.iter().for_each(|path| set.subtract_below_path(path));
    }

    /// The same for all of a comparison.
    pub(super) fn exclude(&self, found: &mut Comparison) {
        for set in [&mut found.added, &mut found.modified, &mut found.removed] {
            self.filter(set);
        }
    }
}
