//! The walk: one serde visitor for every shape, which builds the value as the parser goes.

use std::cell::RefCell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::{STRICT_LIMIT, is_scalar, scalar};
use crate::schema::{Field, Shape, Type};

/// Where the walk is and what it found.
#[derive(Default)]
pub(super) struct Context {
    path: RefCell<Vec<Step>>,
    strict: RefCell<Vec<String>>,
    error: RefCell<Option<String>>,
}

enum Step {
    Field(&'static Type, &'static Field),
    /// kind or apiVersion, which every kind inlines from its TypeMeta.
    Meta(&'static Type, &'static str),
    Key(String),
    Index(usize),
}

impl Context {
    pub(super) fn error(&self) -> Option<String> {
        self.error.borrow().clone()
    }

    pub(super) fn into_strict(self) -> Vec<String> {
        self.strict.into_inner()
    }

    fn within<T>(&self, step: Step, f: impl FnOnce() -> T) -> T {
        self.path.borrow_mut().push(step);
        let result = f();
        self.path.borrow_mut().pop();
        result
    }

    /// `unknown field` or `duplicate field` at a key of the object that the walk is in.
    fn refuse(&self, what: &str, key: &str) {
        let mut strict = self.strict.borrow_mut();
        if strict.len() >= STRICT_LIMIT {
            return;
        }
        let mut path = String::new();
        for step in self.path.borrow().iter() {
            match step {
                Step::Index(i) => path.push_str(&format!("[{i}]")),
                Step::Field(_, field) => dotted(&mut path, field.name),
                Step::Meta(_, name) => dotted(&mut path, name),
                Step::Key(key) => dotted(&mut path, key),
            }
        }
        dotted(&mut path, key);
        let message = format!("{what} {path:?}");
        if !strict.contains(&message) {
            strict.push(message);
        }
    }

    /// Keeps the first error that is not one of syntax.
    fn fail<E: serde::de::Error>(&self, message: impl FnOnce() -> String) -> E {
        self.error.borrow_mut().get_or_insert_with(message);
        E::custom("type mismatch")
    }

    /// Go's message for a value of the wrong type: the innermost struct, and the names of the fields on the way.
    fn mismatch<E: serde::de::Error>(&self, found: &str, go_type: &str) -> E {
        self.fail(|| {
            let path = self.path.borrow();
            let mut innermost = None;
            let mut names = Vec::new();
            for step in path.iter() {
                match step {
                    Step::Field(ty, field) => {
                        innermost = Some(ty.name);
                        names.extend(field.inlined.split('.').filter(|s| !s.is_empty()));
                        names.push(field.name);
                    }
                    Step::Meta(ty, name) => {
                        innermost = Some(ty.name);
                        names.extend(["TypeMeta", name]);
                    }
                    Step::Key(_) | Step::Index(_) => {}
                }
            }
            match innermost {
                Some(name) => format!(
                    "json: cannot unmarshal {found} into Go struct field {name}.{} of type {go_type}",
                    names.join(".")
                ),
                None => format!("json: cannot unmarshal {found} into Go value of type {go_type}"),
            }
        })
    }
}

fn dotted(path: &mut String, name: &str) {
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(name);
}

/// That a value is one of a shape; why not, without where.
pub(super) fn check(value: &Value, shape: Shape) -> Result<(), String> {
    let cx = Context::default();
    let read = Seed::shape(shape, &cx).deserialize(value);
    match (cx.error(), read) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(error.to_string()),
        (None, Ok(_)) => Ok(()),
    }
}

#[derive(Clone, Copy)]
enum Target {
    Shape(Shape),
    Object(&'static Type),
}

/// Reads one value; `None` is JSON's null, which leaves a field as if it had not been given.
#[derive(Clone, Copy)]
pub(super) struct Seed<'c> {
    target: Target,
    cx: &'c Context,
}

impl<'c> Seed<'c> {
    pub(super) fn object(ty: &'static Type, cx: &'c Context) -> Self {
        Self { target: Target::Object(ty), cx }
    }

    fn shape(shape: Shape, cx: &'c Context) -> Self {
        let target = match shape {
            Shape::Object(id) => Target::Object(id.get()),
            other => Target::Shape(other),
        };
        Self { target, cx }
    }

    fn mismatch<E: serde::de::Error>(&self, found: &str) -> E {
        let go_type = match self.target {
            Target::Object(ty) => ty.go_name(),
            Target::Shape(shape) => shape.go_name(),
        };
        self.cx.mismatch(found, &go_type)
    }

    fn scalar_shape(&self) -> Option<Shape> {
        match self.target {
            Target::Shape(shape) => Some(shape),
            Target::Object(_) => None,
        }
    }

    fn number<E: serde::de::Error>(&self, n: Number) -> Result<Option<Value>, E> {
        let in_range = |min: i64, max: i64| n.as_i64().is_some_and(|i| (min..=max).contains(&i));
        let fits = match self.scalar_shape() {
            Some(Shape::Int32(_) | Shape::IntOrString) => in_range(i32::MIN.into(), i32::MAX.into()),
            Some(Shape::Int64(_)) => in_range(i64::MIN, i64::MAX),
            Some(Shape::Double | Shape::Json) => true,
            Some(Shape::Quantity) => {
                return scalar::quantity(&n.to_string())
                    .map(|q| Some(Value::String(q)))
                    .map_err(|e| self.cx.fail(|| e));
            }
            _ => return Err(self.mismatch("number")),
        };
        if fits { Ok(Some(Value::Number(n))) } else { Err(self.mismatch(&format!("number {n}"))) }
    }

    fn text<E: serde::de::Error>(&self, text: &str, owned: Option<String>) -> Result<Option<Value>, E> {
        let keep = |owned: Option<String>| Ok(Some(Value::String(owned.unwrap_or_else(|| text.to_owned()))));
        let checked = match self.scalar_shape() {
            Some(Shape::String(_) | Shape::IntOrString | Shape::Json) => return keep(owned),
            Some(Shape::Time) => scalar::time(text),
            Some(Shape::MicroTime) => scalar::micro_time(text),
            Some(Shape::Duration) => scalar::duration(text),
            Some(Shape::Quantity) => scalar::quantity(text),
            Some(Shape::Bytes) => match scalar::bytes(text) {
                Ok(None) => return keep(owned),
                Ok(Some(cleaned)) => Ok(cleaned),
                Err(e) => Err(e),
            },
            _ => return Err(self.mismatch("string")),
        };
        checked.map(|t| Some(Value::String(t))).map_err(|e| self.cx.fail(|| e))
    }

    /// A struct, field by field.
    fn fields<'de, A: MapAccess<'de>>(&self, ty: &'static Type, mut map: A) -> Result<Map<String, Value>, A::Error> {
        let cx = self.cx;
        let mut object = Map::new();
        let mut seen = Seen::default();
        while let Some(key) = map.next_key_seed(KeySeed(ty))? {
            match key {
                Key::Field(i) => {
                    let field = &ty.fields[i];
                    let again = seen.again(i);
                    if again {
                        cx.refuse("duplicate field", field.name);
                    }
                    let value =
                        cx.within(Step::Field(ty, field), || map.next_value_seed(Seed::shape(field.shape, cx)))?;
                    match value {
                        Some(value) if unwritten(field, &value) => {
                            if again {
                                object.remove(field.name);
                            }
                        }
                        Some(value) if !again => {
                            object.insert(field.name.to_owned(), value);
                        }
                        value => put(&mut object, field.name, value),
                    }
                }
                Key::Meta(name) => {
                    if seen.again(if name == "kind" { 126 } else { 127 }) {
                        cx.refuse("duplicate field", name);
                    }
                    let value =
                        cx.within(Step::Meta(ty, name), || map.next_value_seed(Seed::shape(Shape::String(""), cx)))?;
                    put(&mut object, name, value);
                }
                Key::Unknown(name) => {
                    cx.refuse("unknown field", &name);
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(object)
    }

    fn entries<'de, A: MapAccess<'de>>(&self, shape: Shape, mut map: A) -> Result<Map<String, Value>, A::Error> {
        let mut object = Map::new();
        let cx = self.cx;
        while let Some(key) = map.next_key::<String>()? {
            if object.contains_key(&key) {
                cx.refuse("duplicate field", &key);
            }
            let seed = Seed::shape(shape, cx);
            let value = if is_scalar(&shape) {
                map.next_value_seed(seed)?
            } else {
                cx.within(Step::Key(key.clone()), || map.next_value_seed(seed))?
            };
            object.insert(key, value.unwrap_or_else(|| zero(&shape)));
        }
        Ok(object)
    }

    fn items<'de, A: SeqAccess<'de>>(&self, shape: Shape, mut seq: A) -> Result<Option<Value>, A::Error> {
        let mut items = Vec::new();
        let seed = Seed::shape(shape, self.cx);
        loop {
            let next = if is_scalar(&shape) {
                seq.next_element_seed(seed)?
            } else {
                self.cx.within(Step::Index(items.len()), || seq.next_element_seed(seed))?
            };
            match next {
                Some(item) => items.push(item.unwrap_or_else(|| zero(&shape))),
                None => return Ok(Some(Value::Array(items))),
            }
        }
    }
}

/// Whether a value is one that Go cannot tell from none, and does not write: a client that gives it has said nothing.
fn unwritten(field: &Field, value: &Value) -> bool {
    // An empty managedFields is a wish to forget them.
    if field.pointer || field.always || field.name == "managedFields" {
        return false;
    }
    match (field.shape, value) {
        (Shape::String(_) | Shape::Bytes, Value::String(text)) => text.is_empty(),
        (Shape::Int32(_) | Shape::Int64(_) | Shape::Double, Value::Number(number)) => number.as_f64() == Some(0.0),
        (Shape::Bool, Value::Bool(truth)) => !truth,
        (Shape::List(_) | Shape::Strings, Value::Array(items)) => items.is_empty(),
        (Shape::Map(_), Value::Object(map)) => map.is_empty(),
        _ => false,
    }
}

/// What Go has in a list or map where JSON has null.
fn zero(shape: &Shape) -> Value {
    match shape {
        Shape::String(_) | Shape::Bytes => Value::String(String::new()),
        Shape::Int32(_) | Shape::Int64(_) | Shape::Double | Shape::IntOrString => Value::from(0),
        Shape::Bool => Value::Bool(false),
        Shape::Quantity => Value::String("0".into()),
        Shape::Object(_) | Shape::Map(_) => Value::Object(Map::new()),
        Shape::List(_) | Shape::Strings => Value::Array(Vec::new()),
        _ => Value::Null,
    }
}

/// A repeated key decodes into what the first one left: structs are merged, all else is replaced, null changes nothing.
fn put(object: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match (value, object.get_mut(name)) {
        (None, _) => {}
        (Some(Value::Object(new)), Some(Value::Object(old))) => old.extend(new),
        (Some(value), Some(old)) => *old = value,
        (Some(value), None) => {
            object.insert(name.to_owned(), value);
        }
    }
}

/// Which fields of a struct have been seen.
#[derive(Default)]
struct Seen(u128);

impl Seen {
    fn again(&mut self, field: usize) -> bool {
        let bit = 1u128 << (field & 127);
        let again = self.0 & bit != 0;
        self.0 |= bit;
        again
    }
}

enum Key {
    Field(usize),
    Meta(&'static str),
    Unknown(String),
}

struct KeySeed(&'static Type);

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Key, D::Error> {
        d.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Key;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }
    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<Key, E> {
        Ok(match self.0.field_index(name) {
            Some(i) => Key::Field(i),
            None if self.0.is_kind && name == "kind" => Key::Meta("kind"),
            None if self.0.is_kind && name == "apiVersion" => Key::Meta("apiVersion"),
            None => Key::Unknown(name.to_owned()),
        })
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Value>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        match self.target {
            // Not examined, only read: any JSON is right.
            Target::Shape(Shape::Json | Shape::Raw | Shape::FieldsV1) => {
                let value = <Value as serde::Deserialize>::deserialize(d)?;
                Ok(Some(value).filter(|v| !v.is_null()))
            }
            _ => d.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E: serde::de::Error>(self, b: bool) -> Result<Self::Value, E> {
        match self.scalar_shape() {
            Some(Shape::Bool | Shape::Json | Shape::SchemaOrBool) => Ok(Some(Value::Bool(b))),
            Some(Shape::Quantity) => self.text(if b { "true" } else { "false" }, None),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Self::Value, E> {
        self.number(n.into())
    }

    fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Self::Value, E> {
        self.number(n.into())
    }

    fn visit_f64<E: serde::de::Error>(self, n: f64) -> Result<Self::Value, E> {
        let number = Number::from_f64(n).ok_or_else(|| E::custom("number out of range"))?;
        self.number(number)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        self.text(text, None)
    }

    fn visit_string<E: serde::de::Error>(self, text: String) -> Result<Self::Value, E> {
        // The copy that borrowing while giving away would cost is made only where the text is kept as it is.
        match self.scalar_shape() {
            Some(Shape::String(_) | Shape::IntOrString | Shape::Json) => Ok(Some(Value::String(text))),
            _ => self.text(&text, None),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
        match self.target {
            Target::Shape(Shape::List(item)) => self.items(*item, seq),
            Target::Shape(Shape::Strings | Shape::SchemaOrStrings) => self.items(Shape::String(""), seq),
            Target::Shape(shape @ Shape::SchemaOrArray) => {
                let props = shape.object().expect("schema shapes have a type");
                let mut items = Vec::new();
                let mut seq = seq;
                while let Some(item) = seq.next_element_seed(Seed::object(props, self.cx))? {
                    items.push(item.unwrap_or_else(|| Value::Object(Map::new())));
                }
                Ok(Some(Value::Array(items)))
            }
            _ => Err(self.mismatch("array")),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
        let object = match self.target {
            Target::Object(ty) => self.fields(ty, map)?,
            Target::Shape(Shape::Map(item)) => self.entries(*item, map)?,
            Target::Shape(shape @ (Shape::SchemaOrArray | Shape::SchemaOrBool | Shape::SchemaOrStrings)) => {
                self.fields(shape.object().expect("schema shapes have a type"), map)?
            }
            _ => return Err(self.mismatch("object")),
        };
        Ok(Some(Value::Object(object)))
    }
}
