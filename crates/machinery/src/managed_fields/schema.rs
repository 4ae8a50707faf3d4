//! What must be known of a kind to say which of its fields are one value and which are many.

use serde_json::Value;

/// How a value is owned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation<'a, S> {
    /// As one: scalars, atomic lists, maps and structs.
    Leaf,
    /// Field by field.
    Struct,
    /// Key by key, with values like that.
    Map(S),
    /// A list whose elements are each owned by their value.
    Set,
    /// A list whose elements are told apart by these fields, and owned field by field.
    Keyed(S, &'a [&'a str]),
    /// Unknown: maps key by key, lists as one.
    Deduced,
}

/// A handle on a place in a kind's schema.
pub trait MergeSchema<'a>: Copy {
    /// How the value here is owned.
    fn relation(self) -> Relation<'a, Self>;

    /// The field of a struct; None for a field that the schema does not know.
    fn field(self, name: &str) -> Option<Self>;

    /// Visits the fields that upstream writes also when they are not set (Go: no `omitempty`, or a struct), with what it
    /// writes then. A write that leaves them out still owns them.
    fn always(self, visit: &mut dyn FnMut(&'a str, &'a Value, Self));

    /// The value that a key of a keyed list has when an element lacks it.
    fn key_default(self, _key: &str) -> Option<&'a Value> {
        None
    }
}
