//! What must be known of a kind to say which of its fields are one value and which are many, and what of its versions.

use serde_json::Value;
use std::borrow::Cow;

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

/// What a value looks like, whether or not it is owned as one: what an applied configuration is checked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form<S> {
    /// Anything.
    Any,
    /// A string.
    Text,
    /// A number.
    Number,
    /// true or false.
    Truth,
    /// A string, a number, or true or false.
    Scalar,
    /// An object with known fields.
    Struct,
    /// An object with any keys and values like that.
    Map(S),
    /// A list of values like that.
    List(S),
}

/// A handle on a place in a kind's schema.
pub trait MergeSchema<'a>: Copy {
    /// How the value here is owned.
    fn relation(self) -> Relation<'a, Self>;

    /// What the value here looks like.
    fn form(self) -> Form<Self> {
        Form::Any
    }

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

/// A kind in all its versions: managers may have written in another one than the request's.
pub trait Versions<'a> {
    /// A place in the schema of a version.
    type Schema: MergeSchema<'a>;

    /// The schema of a version; None where the kind has no such version.
    fn schema(&self, api_version: &str) -> Option<Self::Schema>;

    /// The object in another version; None where the kind has no such version. `from` and `to` are `apiVersion`s, and
    /// differ.
    fn convert(&self, object: &Value, from: &str, to: &str) -> Option<Value>;

    /// Whether an object can be told apart into fields. One that was read by its type always can.
    fn fits(&self, _object: &Value, _api_version: &str) -> bool {
        true
    }

    /// The object in the version `to`, with that version's schema.
    fn at<'v>(&self, object: &'v Value, from: &str, to: &str) -> Option<(Cow<'v, Value>, Self::Schema)> {
        let schema = self.schema(to)?;
        let object = if from == to { Cow::Borrowed(object) } else { Cow::Owned(self.convert(object, from, to)?) };
        Some((object, schema))
    }
}
