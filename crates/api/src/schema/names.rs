//! Fields by their JSON name: every member of every object that is read or written is looked up here, several times.
//!
//! An open hash table a type, at most half full, with a hash that looks at a few bytes alone: a lookup is mostly one
//! comparison, where searching a sorted list takes five.

/// No field.
const NONE: u8 = u8::MAX;

/// The positions of a type's fields by their names.
#[derive(Debug)]
pub(super) struct Names {
    /// A power of two of them, half of them [`NONE`] at least.
    slots: Box<[u8]>,
}

impl Names {
    /// Of fields with these names, each once.
    pub(super) fn new<'n>(names: impl ExactSizeIterator<Item = &'n str>) -> Self {
        let mut slots = vec![NONE; (2 * names.len()).next_power_of_two()].into_boxed_slice();
        for (position, name) in names.enumerate() {
            let mut slot = hash(name) & (slots.len() - 1);
            while slots[slot] != NONE {
                slot = (slot + 1) & (slots.len() - 1);
            }
            slots[slot] = u8::try_from(position).expect("fewer than 255 fields");
        }
        Self { slots }
    }

    /// The position of a name; `name_of` tells the name at a position.
    pub(super) fn find<'n>(&self, name: &str, name_of: impl Fn(usize) -> &'n str) -> Option<usize> {
        let mut slot = hash(name) & (self.slots.len() - 1);
        loop {
            match self.slots[slot] {
                NONE => return None,
                position if name_of(position.into()) == name => return Some(position.into()),
                _ => slot = (slot + 1) & (self.slots.len() - 1),
            }
        }
    }
}

/// Of the length, the ends and the middle, by which the names of one type differ.
fn hash(name: &str) -> usize {
    let bytes = name.as_bytes();
    let [first, .., last] = bytes else { return bytes.len() };
    let middle = bytes[bytes.len() / 2];
    let key = bytes.len() << 24 | usize::from(*first) << 16 | usize::from(middle) << 8 | usize::from(*last);
    key.wrapping_mul(0x9e37_79b9) >> 12
}
