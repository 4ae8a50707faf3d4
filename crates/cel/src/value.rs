//! Values, and how they compare.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use machinery::quantity::Quantity;

/// A value. Cloning is cheap.
#[derive(Clone, Debug)]
#[allow(missing_docs)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i64),
    List(Arc<List>),
    Map(Arc<Map>),
    Optional(Option<Arc<Value>>),
    Type(Arc<str>),
    Quantity(Arc<Quantity>),
    Url(Arc<str>),
    Ip(IpAddr),
    /// An address and the length of its prefix.
    Cidr(IpAddr, u8),
    Semver(Arc<Semver>),
    /// A format, by its name.
    Format(&'static str),
}

/// A map, and what a key has that is not in it.
#[derive(Debug, Default)]
pub struct Map {
    entries: BTreeMap<Key, Value>,
    other: Option<Value>,
}

impl Map {
    /// A map where every other key has that value when it is asked for.
    pub fn with_other(entries: BTreeMap<Key, Value>, other: Value) -> Self {
        Self { entries, other: Some(other) }
    }

    /// What every key has that is not in it.
    pub fn other(&self) -> Option<&Value> {
        self.other.as_ref()
    }
}

impl std::ops::Deref for Map {
    type Target = BTreeMap<Key, Value>;

    fn deref(&self) -> &Self::Target {
        &self.entries
    }
}

impl From<BTreeMap<Key, Value>> for Map {
    fn from(entries: BTreeMap<Key, Value>) -> Self {
        Self { entries, other: None }
    }
}

impl FromIterator<(Key, Value)> for Map {
    fn from_iter<I: IntoIterator<Item = (Key, Value)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect(), other: None }
    }
}

/// A list, and when it equals another.
#[derive(Debug)]
pub struct List {
    /// The elements.
    pub items: Vec<Value>,
    /// How they are told apart.
    pub order: Order,
}

/// What the order of a list's elements means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Something.
    Sequence,
    /// Nothing: sets, and lists with keys.
    Any,
}

/// A key of a map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Key {
    Bool(bool),
    Int(i64),
    Uint(u64),
    String(Arc<str>),
}

/// A semantic version.
#[derive(Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Semver {
    pub numbers: [u64; 3],
    pub pre: Vec<String>,
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::String(text.into())
    }
}

impl Value {
    /// A list whose order matters.
    pub fn list(items: Vec<Value>) -> Self {
        Value::List(Arc::new(List { items, order: Order::Sequence }))
    }

    /// `%T`, as `type()` shows it.
    pub fn type_name(&self) -> &str {
        match self {
            Value::Null => "null_type",
            Value::Bool(_) => "bool",
            Value::Int(_) => "int",
            Value::Uint(_) => "uint",
            Value::Double(_) => "double",
            Value::String(_) => "string",
            Value::Bytes(_) => "bytes",
            Value::Timestamp(_) => "google.protobuf.Timestamp",
            Value::Duration(_) => "google.protobuf.Duration",
            Value::List(_) => "list",
            Value::Map(_) => "map",
            Value::Optional(_) => "optional_type",
            Value::Type(_) => "type",
            Value::Quantity(_) => "kubernetes.Quantity",
            Value::Url(_) => "kubernetes.URL",
            Value::Ip(_) => "net.IP",
            Value::Cidr(..) => "net.CIDR",
            Value::Semver(_) => "kubernetes.Semver",
            Value::Format(_) => "kubernetes.NamedFormat",
        }
    }

    /// As the key of a map.
    pub fn key(&self) -> Option<Key> {
        Some(match self {
            Value::Bool(b) => Key::Bool(*b),
            Value::Int(i) => Key::Int(*i),
            Value::Uint(u) => Key::Uint(*u),
            Value::String(s) => Key::String(s.clone()),
            Value::Double(d) if d.fract() == 0.0 && d.abs() < 9e15 => Key::Int(*d as i64),
            _ => return None,
        })
    }

    /// How much of it there is, for costs.
    pub fn size(&self) -> u64 {
        match self {
            Value::String(s) => s.chars().count() as u64,
            Value::Bytes(b) => b.len() as u64,
            Value::List(list) => list.items.len() as u64,
            Value::Map(map) => map.len() as u64,
            Value::Url(s) => s.len() as u64,
            _ => 1,
        }
    }

    /// Whether it is the zero of its type.
    pub fn is_zero(&self) -> bool {
        match self {
            Value::Null | Value::Bool(false) | Value::Int(0) | Value::Uint(0) | Value::Duration(0) => true,
            Value::Double(d) => *d == 0.0,
            Value::String(s) => s.is_empty(),
            Value::Bytes(b) => b.is_empty(),
            Value::List(list) => list.items.is_empty(),
            Value::Map(map) => map.is_empty(),
            Value::Optional(inner) => inner.is_none(),
            _ => false,
        }
    }

    /// `==`. Numbers of all types compare with one another; other types are never equal.
    pub fn equals(&self, other: &Value) -> bool {
        match (self, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(a), Value::Bool(b)) => a == b,
            (Value::String(a), Value::String(b))
            | (Value::Type(a), Value::Type(b))
            | (Value::Url(a), Value::Url(b)) => a == b,
            (Value::Bytes(a), Value::Bytes(b)) => a == b,
            (Value::Timestamp(a), Value::Timestamp(b)) => a == b,
            (Value::Duration(a), Value::Duration(b)) => a == b,
            (Value::List(a), Value::List(b)) => lists(a, b),
            (Value::Map(a), Value::Map(b)) => {
                a.len() == b.len() && a.iter().all(|(key, value)| find(b, key).is_some_and(|other| value.equals(other)))
            }
            (Value::Optional(a), Value::Optional(b)) => match (a, b) {
                (Some(a), Some(b)) => a.equals(b),
                (a, b) => a.is_none() && b.is_none(),
            },
            (Value::Quantity(a), Value::Quantity(b)) => (**a).cmp(&**b) == Ordering::Equal,
            (Value::Ip(a), Value::Ip(b)) => a == b,
            (Value::Cidr(a, n), Value::Cidr(b, m)) => a == b && n == m,
            (Value::Semver(a), Value::Semver(b)) => a == b,
            (Value::Format(a), Value::Format(b)) => a == b,
            (a, b) => a.compare(b) == Some(Ordering::Equal),
        }
    }

    /// The order of two values, where there is one.
    pub fn compare(&self, other: &Value) -> Option<Ordering> {
        match (self, other) {
            (Value::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Value::Uint(a), Value::Uint(b)) => Some(a.cmp(b)),
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::Int(a), Value::Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Uint(a), Value::Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Value::Double(a), Value::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Value::Int(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
            (Value::Double(a), Value::Uint(b)) => a.partial_cmp(&(*b as f64)),
            (Value::Uint(a), Value::Double(b)) => (*a as f64).partial_cmp(b),
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Bytes(a), Value::Bytes(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Quantity(a), Value::Quantity(b)) => Some((**a).cmp(&**b)),
            (Value::Semver(a), Value::Semver(b)) => Some(a.order(b)),
            _ => None,
        }
    }
}

/// An entry, whichever number its key is.
pub fn find<'m>(map: &'m BTreeMap<Key, Value>, key: &Key) -> Option<&'m Value> {
    map.get(key).or_else(|| match key {
        Key::Int(i) => map.get(&Key::Uint(u64::try_from(*i).ok()?)),
        Key::Uint(u) => map.get(&Key::Int(i64::try_from(*u).ok()?)),
        _ => None,
    })
}

fn lists(a: &List, b: &List) -> bool {
    if a.items.len() != b.items.len() {
        return false;
    }
    match (a.order, b.order) {
        (Order::Sequence, Order::Sequence) => a.items.iter().zip(&b.items).all(|(a, b)| a.equals(b)),
        _ => a.items.iter().all(|x| b.items.iter().any(|y| x.equals(y))),
    }
}

impl From<Key> for Value {
    fn from(key: Key) -> Self {
        match key {
            Key::Bool(b) => Value::Bool(b),
            Key::Int(i) => Value::Int(i),
            Key::Uint(u) => Value::Uint(u),
            Key::String(s) => Value::String(s),
        }
    }
}

impl Semver {
    /// From `1.2.3-rc.1+build`; with `normalize` also `v1.2`.
    pub fn parse(text: &str, normalize: bool) -> Option<Self> {
        let text = if normalize { text.trim().trim_start_matches('v') } else { text };
        let text = text.split('+').next().unwrap_or_default();
        let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
        let mut parts: Vec<&str> = core.split('.').collect();
        while normalize && parts.len() < 3 {
            parts.push("0");
        }
        let number = |part: &str| {
            let part = if normalize { part.trim_start_matches('0') } else { part };
            let part = if part.is_empty() && normalize { "0" } else { part };
            let plain = part.bytes().all(|b| b.is_ascii_digit()) && (part.len() == 1 || !part.starts_with('0'));
            plain.then(|| part.parse::<u64>().ok()).flatten()
        };
        let numbers: Vec<u64> = parts.iter().map(|part| number(part)).collect::<Option<_>>()?;
        let pre: Vec<String> = pre.map(|p| p.split('.').map(str::to_owned).collect()).unwrap_or_default();
        let named = |p: &String| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        Some(Semver { numbers: numbers.try_into().ok()?, pre: pre.iter().all(named).then_some(pre)? })
    }

    fn order(&self, other: &Self) -> Ordering {
        let pre = || match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let part = |p: &String| p.parse::<u64>().map_err(|_| p.clone());
                let order = |(a, b): (&String, &String)| match (part(a), part(b)) {
                    (Ok(a), Ok(b)) => a.cmp(&b),
                    (Ok(_), Err(_)) => Ordering::Less,
                    (Err(_), Ok(_)) => Ordering::Greater,
                    (Err(a), Err(b)) => a.cmp(&b),
                };
                let first = self.pre.iter().zip(&other.pre).map(order).find(|o| o.is_ne());
                first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(pre)
    }
}
