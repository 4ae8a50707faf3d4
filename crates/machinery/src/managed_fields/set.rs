//! A set of fields.

use super::{MergeSchema, Relation, element};
use serde_json::{Map, Value};
use std::cmp::Ordering;

/// Fields by their path elements, in FieldsV1's writing.
///
/// A sorted list: objects are walked in the order of their names, so that a set is made by appending, and most are small.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Set(Vec<(String, Node)>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    // Whether the path that ends here is in the set itself.
    member: bool,
    children: Set,
}

impl Node {
    fn into_value(self) -> Value {
        let has_both = self.member && !self.children.is_empty();
        let mut value = self.children.into_value();
        if has_both {
            value["."] = Value::Object(Map::new());
        }
        value
    }
}

impl Set {
    /// The set of one field.
    pub fn of(path: &[&str]) -> Self {
        let mut set = Set::default();
        set.insert(path.iter().map(|name| format!("f:{name}")));
        set
    }

    /// Adds the path of these elements.
    pub fn insert(&mut self, path: impl IntoIterator<Item = String>) {
        let mut path = path.into_iter();
        let Some(first) = path.next() else { return };
        let mut node = self.node(first);
        for element in path {
            node = node.children.node(element);
        }
        node.member = true;
    }

    fn find(&self, element: &str) -> Result<usize, usize> {
        match self.0.last() {
            Some((last, _)) if last.as_str() < element => Err(self.0.len()),
            _ => self.0.binary_search_by(|(there, _)| there.as_str().cmp(element)),
        }
    }

    fn at(&self, element: &str) -> Option<&Node> {
        self.find(element).ok().map(|at| &self.0[at].1)
    }

    /// The node of an element, made where there is none.
    fn node(&mut self, element: String) -> &mut Node {
        let at = match self.find(&element) {
            Ok(at) => at,
            Err(at) => {
                self.0.insert(at, (element, Node::default()));
                at
            }
        };
        &mut self.0[at].1
    }

    pub(super) fn put(&mut self, element: String, member: bool, children: Set) {
        if !member && children.is_empty() {
            return;
        }
        let node = self.node(element);
        node.member |= member;
        node.children.extend(children);
    }

    /// Whether nothing is in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds all of the other.
    pub fn extend(&mut self, other: Set) {
        if self.0.is_empty() {
            self.0 = other.0;
            return;
        }
        if other.0.is_empty() {
            return;
        }
        let mut ours = std::mem::take(&mut self.0).into_iter().peekable();
        let mut theirs = other.0.into_iter().peekable();
        while let (Some((our, _)), Some((their, _))) = (ours.peek(), theirs.peek()) {
            let order = our.cmp(their);
            let from = if order == Ordering::Greater { &mut theirs } else { &mut ours };
            let Some((element, mut node)) = from.next() else { break };
            if order == Ordering::Equal
                && let Some((_, more)) = theirs.next()
            {
                node.member |= more.member;
                node.children.extend(more.children);
            }
            self.0.push((element, node));
        }
        self.0.extend(ours.chain(theirs));
    }

    /// Takes out what is in the other, path by path.
    pub fn subtract(&mut self, other: &Set) {
        if other.0.is_empty() {
            return;
        }
        self.0.retain_mut(|(element, node)| {
            if let Some(theirs) = other.at(element) {
                node.member &= !theirs.member;
                node.children.subtract(&theirs.children);
            }
            node.member || !node.children.is_empty()
        });
    }

    /// Keeps what is in the other.
    pub fn intersect(&mut self, other: &Set) {
        self.0.retain_mut(|(element, node)| match other.at(element) {
            None => false,
            Some(theirs) => {
                node.member &= theirs.member;
                node.children.intersect(&theirs.children);
                node.member || !node.children.is_empty()
            }
        });
    }

    /// Takes out what is at or below this path of field names.
    pub(super) fn subtract_below_path(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else { return };
        let Ok(at) = self.find(&element::field(first)) else { return };
        let node = &mut self.0[at].1;
        node.children.subtract_below_path(rest);
        if rest.is_empty() || (!node.member && node.children.is_empty()) {
            self.0.remove(at);
        }
    }

    /// Whether the path of these elements is in it.
    pub fn contains(&self, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else { return false };
        match self.at(first) {
            None => false,
            Some(node) if rest.is_empty() => node.member,
            Some(node) => node.children.contains(rest),
        }
    }

    /// Whether the element is in the set itself, and what of the set is below it.
    pub(super) fn get(&self, element: &str) -> Option<(bool, &Set)> {
        self.at(element).map(|node| (node.member, &node.children))
    }

    /// The paths in it as `.spec.replicas`, what ends at a place before what is below it, as upstream lists conflicts.
    pub fn paths(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.list(&mut String::new(), &mut out);
        out
    }

    fn list(&self, path: &mut String, out: &mut Vec<String>) {
        let mut nodes: Vec<(&String, &Node)> = self.0.iter().map(|(element, node)| (element, node)).collect();
        nodes.sort_by(|a, b| element::order(a.0, b.0));
        let length = path.len();
        for (element, _) in nodes.iter().filter(|(_, node)| node.member) {
            element::show(element, path);
            out.push(path.clone());
            path.truncate(length);
        }
        for (element, node) in nodes {
            element::show(element, path);
            node.children.list(path, out);
            path.truncate(length);
        }
    }

    /// With the fields of structs that have something below them in it (`EnsureNamedFieldsAreMembers`).
    pub(super) fn named<'a, S: MergeSchema<'a>>(&self, schema: S) -> Set {
        self.named_below(Some(schema))
    }

    fn named_below<'a, S: MergeSchema<'a>>(&self, schema: Option<S>) -> Set {
        let nodes = self.0.iter().map(|(element, node)| {
            let child = schema.and_then(|schema| below(schema, element));
            let is_struct = schema.is_some_and(|schema| matches!(schema.relation(), Relation::Struct));
            let member = node.member || (is_struct && child.is_some());
            (element.clone(), Node { member, children: node.children.named_below(child) })
        });
        Set(nodes.collect())
    }

    /// Where a value has become one that is owned as a whole, whoever owned something in it owns it
    /// (`ReconcileFieldSetWithSchema`).
    pub(super) fn reconcile<'a, S: MergeSchema<'a>>(&mut self, schema: S) {
        for (element, node) in self.0.iter_mut().filter(|(_, node)| !node.children.is_empty()) {
            match below(schema, element) {
                Some(child) if matches!(child.relation(), Relation::Leaf) => {
                    *node = Node { member: true, children: Set::default() };
                }
                Some(child) => node.children.reconcile(child),
                None => {}
            }
        }
    }

    /// FieldsV1.
    pub fn to_value(&self) -> Value {
        self.clone().into_value()
    }

    /// FieldsV1, of a set that is not needed any more.
    pub fn into_value(self) -> Value {
        let mut out = Map::new();
        for (element, node) in self.0 {
            out.insert(element, node.into_value());
        }
        Value::Object(out)
    }

    /// Reads FieldsV1; what is not of its form is an error.
    pub fn from_value(value: &Value) -> Result<Self, String> {
        let map = value.as_object().ok_or("fieldsV1 is not an object")?;
        let mut set = Set::default();
        for (element, inner) in map.iter().filter(|(e, _)| *e != ".") {
            if !matches!(element.as_bytes(), [b'f' | b'k' | b'v' | b'i', b':', ..]) {
                return Err(format!("unknown path element {element:?}"));
            }
            let children = Set::from_value(inner)?;
            let member = children.is_empty() || inner.get(".").is_some();
            set.0.push((element.clone(), Node { member, children }));
        }
        Ok(set)
    }
}

fn below<'a, S: MergeSchema<'a>>(schema: S, element: &str) -> Option<S> {
    match (schema.relation(), element.split_at_checked(2)?) {
        (Relation::Struct, ("f:", name)) => schema.field(name),
        (Relation::Map(values), ("f:", _)) => Some(values),
        (Relation::Keyed(items, _), ("k:", _)) => Some(items),
        _ => None,
    }
}
