//! Validation as data: facts by type and field, walked over the schema table as the defaults are.
//!
//! Upstream declares many facts of fields on its types (`+k8s:required`, `+k8s:format`, `+k8s:maxItems`) and states the
//! others in validators by hand (`pkg/apis/*/validation`), type by type. Here each type has a [`Row`]: steps in the order
//! in which upstream's validator takes them, since clients see all faults of an object, in that order. A step is a field
//! with its facts, or code that relates several fields. Where the facts of a field do not end its examination, the walk goes on
//! into its parts, by the rows of their types, before the next step. What a row does not mention is walked last, in the
//! schema's order, so that the rules of a type hold wherever it occurs; only metadata and status of a kind are left
//! out (metadata has generic rules, status is examined by writes to it).
//!
//! A row has two lists of steps: what holds of every object, and what holds of a change from one to another. Upstream's
//! validators of updates evaluate one after the other, in an order that differs by kind; so do the callers here.
//!
//! The rows themselves belong to the API server (`registry/rules`): code in them may need what this crate must not know.

use machinery::field::ErrorList;

mod compile;
mod equal;
mod fact;
mod here;
#[cfg(test)]
mod tests;
mod walk;

pub use compile::Rules;
pub use equal::equal;
pub use fact::immutable;
pub use here::Here;

/// The rules of one type.
#[derive(Clone, Copy)]
pub struct Row {
    package: &'static str,
    name: &'static str,
    object: &'static [Step],
    change: &'static [Step],
}

/// The rules of a type, by its package's alias and its name: what holds of every object, in upstream's order.
pub const fn of(package: &'static str, name: &'static str, object: &'static [Step]) -> Row {
    Row { package, name, object, change: &[] }
}

impl Row {
    /// What holds of a change, beside that.
    pub const fn change(self, steps: &'static [Step]) -> Self {
        Self { change: steps, ..self }
    }
}

/// Code that relates fields: it sees the object where it stands, and notes what is wrong.
pub type Code = fn(&Here<'_, '_>, &mut ErrorList);

/// One step of a type's examination.
pub enum Step {
    /// The facts of a field, and then its parts.
    Field(&'static str, &'static [Fact]),
    /// Code that relates fields.
    Code(Code),
    /// Steps that are taken under a condition.
    When(fn(&Here<'_, '_>) -> bool, &'static [Step]),
    /// What the row does not mention is not walked.
    Only,
}

/// What holds of a field.
///
/// Absent is, as in upstream's structs, also a zero value, unless the field is behind a pointer. The facts of an absent field
/// see a zero (so a format may refuse an empty text), unless `Required` or `Optional` ends it before; an
/// absent field behind a pointer is of no concern to any but `Required`, `Needed`, `Missing` and those of changes.
pub enum Fact {
    /// Must be given; this is said where it is not, and the field is done.
    Required(&'static str),
    /// Must be given; without it nothing else of the object is examined.
    Needed(&'static str),
    /// Must be given; the other facts are evaluated too.
    Missing(&'static str),
    /// A text that is given is not empty, else the field is done: for what is behind a pointer.
    NotEmpty(&'static str),
    /// Where it is absent, or an empty text, the field is done.
    Optional,
    /// The parts of the field are not walked.
    Opaque,
    /// May not be given, for that reason.
    Forbidden(&'static str),
    /// One of these texts, in the order in which the message lists them.
    OneOf(&'static [&'static str]),
    /// A text with a form: the messages about what it breaks.
    Form(fn(&str) -> Vec<String>),
    /// A text with a form whose faults name the path themselves.
    Parsed(fn(&machinery::field::Path, &str) -> ErrorList),
    /// A number with a form (a port).
    Number(fn(i64) -> Vec<String>),
    /// A number that is not below this one.
    AtLeast(i64),
    /// A number that is not above this one.
    AtMost(i64),
    /// A number of that range.
    Between(i64, i64),
    /// A number above zero.
    Positive,
    /// A quantity that is not below zero.
    QuantityAtLeastZero,
    /// A text of at most that many bytes.
    MaxBytes(usize),
    /// A text of at most that many characters.
    MaxCharacters(usize),
    /// A list of at least that many items.
    MinItems(usize),
    /// A list (or map) of at most that many items; with more of them the field is done.
    MaxItems(usize),
    /// Not equal to that of an earlier item, of the innermost list around it.
    Unique,
    /// The facts of a list's items, or of a map's values.
    Each(&'static [Fact]),
    /// Of a list's items, no two have the same in that field (empty: are the same). Evaluated when the items have been
    /// examined.
    Distinct(&'static str),
    /// The facts of a map's keys (their form, mostly), at the path of the map.
    Keys(&'static [Fact]),
    /// The rules of the field's objects here, in place of those of their type.
    Is(&'static [Step]),
    /// Code that sees the field's value; null where it is absent.
    Check(Code),
    /// Of a change: the value stays.
    Immutable,
    /// Of a change: the value stays; this is said where it does not.
    Fixed(&'static str),
}

/// Must be given.
pub const REQUIRED: Fact = Fact::Required("");
/// A number that is not negative.
pub const NOT_NEGATIVE: Fact = Fact::AtLeast(0);
