//! Where the walk stands. The path is a chain of frames on the stack and is written out only for a fault, since nearly all
//! objects have none.

use std::cell::RefCell;
use std::collections::HashSet;

use machinery::field::{ErrorList, Path};
use serde_json::Value;

use crate::schema::{Field, Shape, Type};

use super::compile::Stop;

/// A value in an object that is examined, and what it was before.
pub struct Here<'p, 'v> {
    /// The value; null where it is absent.
    pub value: &'v Value,
    /// What it was before, where this is a change and the place can be told from the others (an item of a list that has no
    /// keys can not).
    pub old: Option<&'v Value>,
    pub(super) root: (&'v Value, Option<&'v Value>),
    pub(super) place: Place<'p>,
    pub(super) seen: Option<&'p Seen<'v>>,
    /// What the walk does at types.
    pub(super) stops: &'p [Option<Stop>],
    /// The value's type, where it is an object.
    pub(super) ty: Option<&'static Type>,
    /// The field that the value is of, where it is no item.
    pub(super) field: Option<&'static Field>,
    parent: Option<&'p Here<'p, 'v>>,
}

/// The last part of a path, and where the rest is.
#[derive(Clone, Copy)]
pub(super) enum Place<'p> {
    Base(&'p Path),
    Root,
    Field(&'p Place<'p>, &'static str),
    Index(&'p Place<'p>, usize),
    Key(&'p Place<'p>, &'p str),
}

/// Values that items of a list had, by the fact that asks.
pub(super) type Seen<'v> = RefCell<Vec<(usize, HashSet<&'v Value>)>>;

static ABSENT: Value = Value::Null;

impl<'p, 'v> Here<'p, 'v> {
    pub(super) fn new(
        stops: &'p [Option<Stop>],
        place: Place<'p>,
        ty: &'static Type,
        value: &'v Value,
        old: Option<&'v Value>,
    ) -> Self {
        Here { value, old, root: (value, old), place, seen: None, stops, ty: Some(ty), field: None, parent: None }
    }

    /// A field of the object here. (Where the object was not there before, the field was not either; that an item can
    /// not be told from the others holds for its fields too.)
    pub(super) fn to<'h>(
        &'h self,
        field: &'static Field,
        shown: &'static str,
        value: Option<&'v Value>,
        old: Option<&'v Value>,
    ) -> Here<'h, 'v> {
        Here {
            value: value.unwrap_or(&ABSENT),
            old: self.old.map(|_| old.unwrap_or(&ABSENT)),
            root: self.root,
            place: Place::Field(&self.place, shown),
            seen: self.seen,
            stops: self.stops,
            ty: match field.shape {
                Shape::Object(id) => Some(id.get()),
                _ => None,
            },
            field: Some(field),
            parent: Some(self),
        }
    }

    /// An item of the list or an entry of the map here.
    pub(super) fn item<'h>(
        &'h self,
        place: Place<'h>,
        value: &'v Value,
        old: Option<&'v Value>,
        ty: Option<&'static Type>,
        seen: &'h Seen<'v>,
    ) -> Here<'h, 'v> {
        Here {
            value,
            old,
            root: self.root,
            place,
            seen: Some(seen),
            stops: self.stops,
            ty,
            field: None,
            parent: Some(self),
        }
    }

    /// The field of that name of the object here.
    pub fn at<'h>(&'h self, name: &'static str) -> Here<'h, 'v> {
        self.at_shown(name, name)
    }

    /// The field of that name, which upstream shows as another in paths.
    pub fn at_shown<'h>(&'h self, name: &str, shown: &'static str) -> Here<'h, 'v> {
        let field = self.ty.and_then(|ty| ty.field(name)).expect("code names fields of the type that it is for");
        let of = |object: &'v Value| object.get(name).filter(|value| !value.is_null());
        self.to(field, shown, of(self.value), self.old.and_then(of))
    }

    /// Examines the value, or the objects in it, by the rows of their type.
    pub fn walk(&self, errors: &mut ErrorList) {
        super::walk::below(self, errors);
    }

    /// The path of the value.
    pub fn path(&self) -> Path {
        self.place.path()
    }

    /// The path of what the value is a field or an item of.
    pub fn parent_path(&self) -> Path {
        match self.place {
            Place::Field(rest, _) | Place::Index(rest, _) | Place::Key(rest, _) => rest.path(),
            Place::Base(_) | Place::Root => Path::nil(),
        }
    }

    /// The path of a field of the value.
    pub fn child(&self, name: &str) -> Path {
        self.path().child(name)
    }

    /// The nearest object of that type around the value (or the value itself).
    pub fn around(&self, ty: &str) -> Option<&'v Value> {
        match self.ty {
            Some(this) if this.name == ty => Some(self.value),
            _ => self.parent.and_then(|parent| parent.around(ty)),
        }
    }

    /// The whole object.
    pub fn root(&self) -> &'v Value {
        self.root.0
    }

    /// The whole object before the change; `None` where it is a new one.
    pub fn old_root(&self) -> Option<&'v Value> {
        self.root.1
    }

    /// Whether an earlier item of the list had this value; notes it.
    pub(super) fn repeated(&self, fact: usize) -> bool {
        let Some(seen) = self.seen else { return false };
        let mut seen = seen.borrow_mut();
        let at = match seen.iter().position(|(key, _)| *key == fact) {
            Some(at) => at,
            None => {
                seen.push((fact, HashSet::new()));
                seen.len() - 1
            }
        };
        !seen[at].1.insert(self.value)
    }
}

impl Place<'_> {
    fn path(&self) -> Path {
        match self {
            Place::Base(path) => (*path).clone(),
            Place::Root => Path::nil(),
            Place::Field(rest, name) => rest.path().child(name),
            Place::Index(rest, index) => rest.path().index(*index),
            Place::Key(rest, key) => rest.path().key(key),
        }
    }
}
