//! Types of expressions. Those of data carry how large their values can be, for estimates; it is no part of the type.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

pub use crate::escape::escape;

/// No bound is known.
pub const UNBOUNDED: u64 = u64::MAX;

/// A type; numbers are the most elements, or characters, that a value can have.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Type {
    /// Anything: checked when it is evaluated.
    Dyn(u64),
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String(u64),
    Bytes(u64),
    Timestamp,
    Duration,
    List(Arc<Type>, u64),
    Map(Arc<Type>, Arc<Type>, u64),
    Object(Arc<Object>),
    /// Of objects that expressions make, by their name: `Object.spec`, `JSONPatch`.
    Made(Arc<str>),
    Optional(Arc<Type>),
    /// Of a library, by its name.
    Opaque(&'static str),
    /// The type of types.
    Type,
    /// Any one type within a signature.
    Param(char),
}

/// Data with known fields.
#[derive(Debug)]
pub struct Object {
    /// Shown in faults.
    pub name: String,
    /// By their names in expressions.
    pub fields: BTreeMap<String, Type>,
}

impl Type {
    /// A list.
    pub fn list(item: Type, max: u64) -> Self {
        Type::List(Arc::new(item), max)
    }

    /// Anything, however large.
    pub const ANY: Self = Type::Dyn(UNBOUNDED);

    /// What an empty list has: nothing, of any type.
    pub(super) const NOTHING: Self = Type::Dyn(0);

    /// A type that one can make objects of, where an environment has such types.
    pub(super) fn made(name: &str) -> Option<Self> {
        let known = matches!(name, "Object" | "JSONPatch") || name.starts_with("Object.");
        known.then(|| Type::Made(name.into()))
    }

    /// The type of a field of an object that an expression makes; an object may have any.
    pub(super) fn made_field(name: &str, field: &str) -> Option<Self> {
        match (name, field) {
            ("JSONPatch", "op" | "path" | "from") => Some(Type::String(UNBOUNDED)),
            ("JSONPatch", "value") => Some(Type::ANY),
            ("JSONPatch", _) => None,
            _ => Some(Type::ANY),
        }
    }

    /// How large a value is at most, when it is part of the data.
    pub(super) fn max_size(&self) -> u64 {
        match self {
            Type::Dyn(max) | Type::String(max) | Type::Bytes(max) | Type::List(_, max) | Type::Map(_, _, max) => *max,
            Type::Optional(_) => UNBOUNDED,
            Type::Timestamp | Type::Duration => 30,
            _ => 0,
        }
    }

    /// Whether values of any type may be here.
    pub(super) fn is_dyn(&self) -> bool {
        matches!(self, Type::Dyn(_))
    }
}

impl PartialEq for Type {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Type::List(a, _), Type::List(b, _)) | (Type::Optional(a), Type::Optional(b)) => a == b,
            (Type::Map(a, b, _), Type::Map(c, d, _)) => a == c && b == d,
            (Type::Object(a), Type::Object(b)) => a.name == b.name,
            (Type::Made(a), Type::Made(b)) => a == b,
            (Type::Opaque(a), Type::Opaque(b)) => a == b,
            (Type::Param(a), Type::Param(b)) => a == b,
            _ => std::mem::discriminant(self) == std::mem::discriminant(other),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn(_) => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String(_) => f.write_str("string"),
            Type::Bytes(_) => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(item, _) => write!(f, "list({item})"),
            Type::Map(key, value, _) => write!(f, "map({key}, {value})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Made(name) => f.write_str(name),
            Type::Optional(inner) => write!(f, "optional_type({inner})"),
            Type::Opaque(name) => f.write_str(name),
            Type::Type => f.write_str("type"),
            Type::Param(name) => write!(f, "{name}"),
        }
    }
}

/// Type parameters that a call has bound.
pub(super) type Bound = BTreeMap<char, Type>;

/// Whether a value of the one type can be given where the other is asked for.
pub(super) fn unify(wanted: &Type, given: &Type, bound: &mut Bound) -> bool {
    match (wanted, given) {
        (Type::Param(name), _) => match bound.get(name).cloned() {
            Some(Type::Dyn(0)) => {
                bound.insert(*name, given.clone());
                true
            }
            Some(already) if already.is_dyn() => true,
            Some(already) => {
                if given.is_dyn() {
                    return true;
                }
                let fits = unify(&already, given, bound);
                if fits {
                    bound.insert(*name, known(already, given));
                }
                fits
            }
            None => {
                bound.insert(*name, given.clone());
                true
            }
        },
        (Type::Dyn(_), _) | (_, Type::Dyn(_)) => true,
        (Type::Null, Type::Object(_) | Type::Made(_) | Type::Timestamp | Type::Duration | Type::Opaque(_))
        | (Type::Object(_) | Type::Made(_) | Type::Timestamp | Type::Duration | Type::Opaque(_), Type::Null) => true,
        (Type::List(a, _), Type::List(b, _)) | (Type::Optional(a), Type::Optional(b)) => unify(a, b, bound),
        (Type::Map(a, b, _), Type::Map(c, d, _)) => unify(a, c, bound) && unify(b, d, bound),
        (a, b) => a == b,
    }
}

/// Of two types that fit, the first with what only the second knows: an empty list says nothing of its elements.
pub(super) fn known(first: Type, second: &Type) -> Type {
    match (first, second) {
        (Type::Dyn(0), second) => second.clone(),
        (Type::List(a, max), Type::List(b, _)) => Type::List(Arc::new(known((*a).clone(), b)), max),
        (Type::Map(k, a, max), Type::Map(l, b, _)) => {
            Type::Map(Arc::new(known((*k).clone(), l)), Arc::new(known((*a).clone(), b)), max)
        }
        (first, _) => first,
    }
}

/// A result with its parameters filled in.
pub(super) fn substitute(ty: &Type, bound: &Bound) -> Type {
    match ty {
        Type::Param(name) => bound.get(name).cloned().unwrap_or(Type::ANY),
        Type::List(item, max) => Type::List(Arc::new(substitute(item, bound)), *max),
        Type::Optional(inner) => Type::Optional(Arc::new(substitute(inner, bound))),
        Type::Map(key, value, max) => {
            Type::Map(Arc::new(substitute(key, bound)), Arc::new(substitute(value, bound)), *max)
        }
        other => other.clone(),
    }
}
