//! Labels and selectors as the cycle needs them: sorted, shared strings, compiled once.
//!
//! A selector is matched thousands of times a second against label sets that hardly ever change, so both are turned
//! into this shape when an object enters the cache; nothing is parsed inside a cycle. Semantics are upstream's
//! (`apimachinery/pkg/labels`, `component-helpers/scheduling/corev1/nodeaffinity`).

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use k8s_openapi::{
    api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};

/// Shares equal strings between all cached objects; what nobody uses any more is dropped as the set grows.
#[derive(Debug, Default)]
pub struct Interner {
    strings: HashSet<Arc<str>>,
    sweep_at: usize,
}

impl Interner {
    /// The one copy of `text`.
    pub fn intern(&mut self, text: &str) -> Arc<str> {
        if let Some(known) = self.strings.get(text) {
            return known.clone();
        }
        if self.strings.len() >= self.sweep_at.max(1024) {
            self.strings.retain(|text| Arc::strong_count(text) > 1);
            self.sweep_at = self.strings.len() * 2;
        }
        let text: Arc<str> = Arc::from(text);
        self.strings.insert(text.clone());
        text
    }
}

/// Labels sorted by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Labels(Box<[(Arc<str>, Arc<str>)]>);

impl Labels {
    /// From the API's map, which is sorted already.
    pub fn new(map: Option<&BTreeMap<String, String>>, interner: &mut Interner) -> Self {
        Self(map.into_iter().flatten().map(|(key, value)| (interner.intern(key), interner.intern(value))).collect())
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Arc<str>> {
        let at = self.0.binary_search_by(|(known, _)| (**known).cmp(key)).ok()?;
        Some(&self.0[at].1)
    }

    /// All pairs in order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = &(Arc<str>, Arc<str>)> {
        self.0.iter()
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl machinery::selector::Labels for Labels {
    fn value_of(&self, name: &str) -> Option<&str> {
        self.get(name).map(|value| &**value)
    }
}

/// What a requirement asks of a label's value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Op {
    /// One of the values.
    In,
    /// Absent, or none of the values.
    NotIn,
    /// Present.
    Exists,
    /// Absent.
    DoesNotExist,
    /// An integer above the value.
    Gt,
    /// An integer below the value.
    Lt,
}

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label.
    pub key: Arc<str>,
    /// The operator.
    pub op: Op,
    /// Its operands.
    pub values: Box<[Arc<str>]>,
}

impl Requirement {
    fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match self.op {
            Op::In => value.is_some_and(|value| self.values.contains(value)),
            Op::NotIn => value.is_none_or(|value| !self.values.contains(value)),
            Op::Exists => value.is_some(),
            Op::DoesNotExist => value.is_none(),
            Op::Gt | Op::Lt => {
                let number = |text: &Arc<str>| text.parse::<i64>().ok();
                match (value.and_then(number), self.values.first().and_then(number)) {
                    (Some(value), Some(bound)) => match self.op {
                        Op::Gt => value > bound,
                        _ => value < bound,
                    },
                    _ => false,
                }
            }
        }
    }
}

/// A compiled label selector.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum Selector {
    /// Matches no object (an absent selector).
    #[default]
    Nothing,
    /// All requirements hold; none at all matches everything.
    All(Box<[Requirement]>),
}

impl Selector {
    /// Equality with every pair of a map.
    pub fn from_map<'a>(pairs: impl Iterator<Item = (&'a String, &'a String)>, interner: &mut Interner) -> Self {
        Self::All(
            pairs
                .map(|(key, value)| Requirement {
                    key: interner.intern(key),
                    op: Op::In,
                    values: Box::new([interner.intern(value)]),
                })
                .collect(),
        )
    }

    /// From the API's selector; `None` selects nothing, and so does one with an operator nobody knows.
    pub fn from_api(selector: Option<&LabelSelector>, interner: &mut Interner) -> Self {
        let Some(selector) = selector else { return Self::Nothing };
        let Self::All(equal) = Self::from_map(selector.match_labels.iter().flatten(), interner) else {
            return Self::Nothing;
        };
        let mut all = equal.into_vec();
        for expression in selector.match_expressions.iter().flatten() {
            let op = match expression.operator.as_str() {
                "In" => Op::In,
                "NotIn" => Op::NotIn,
                "Exists" => Op::Exists,
                "DoesNotExist" => Op::DoesNotExist,
                _ => return Self::Nothing,
            };
            all.push(Requirement {
                key: interner.intern(&expression.key),
                op,
                values: expression.values.iter().flatten().map(|v| interner.intern(v)).collect(),
            });
        }
        Self::All(all.into())
    }

    /// Both must hold.
    pub fn and(self, other: &Self) -> Self {
        match (self, other) {
            (Self::All(mine), Self::All(theirs)) => {
                Self::All(mine.into_vec().into_iter().chain(theirs.iter().cloned()).collect())
            }
            _ => Self::Nothing,
        }
    }

    /// Whether the labels satisfy it.
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::Nothing => false,
            Self::All(all) => all.iter().all(|requirement| requirement.matches(labels)),
        }
    }

    /// Whether it has no requirement, so that it matches everything.
    pub fn is_everything(&self) -> bool {
        matches!(self, Self::All(all) if all.is_empty())
    }
}

/// One term of a node selector; terms are alternatives.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct NodeTerm {
    labels: Option<Selector>,
    /// `metadata.name` equal (true) or unequal to the value.
    names: Box<[(bool, Arc<str>)]>,
    /// Names of nodes an `In` on `metadata.name` admits, for narrowing the search.
    valid: bool,
}

impl NodeTerm {
    /// From the API; a term that upstream could not parse matches nothing.
    pub fn new(term: &NodeSelectorTerm, interner: &mut Interner) -> Self {
        let expressions = term.match_expressions.as_deref().unwrap_or_default();
        let fields = term.match_fields.as_deref().unwrap_or_default();
        let mut valid = !(expressions.is_empty() && fields.is_empty());
        let labels = requirements(expressions, interner, &mut valid);
        let mut names = Vec::new();
        for field in fields {
            let values = field.values.as_deref().unwrap_or_default();
            match (field.key.as_str(), field.operator.as_str(), values) {
                ("metadata.name", "In", [name]) => names.push((true, interner.intern(name))),
                ("metadata.name", "NotIn", [name]) => names.push((false, interner.intern(name))),
                _ => valid = false,
            }
        }
        Self { labels: (!expressions.is_empty()).then_some(labels), names: names.into(), valid }
    }

    /// Whether a node's labels and name satisfy the term.
    pub fn matches(&self, labels: &Labels, name: &str) -> bool {
        self.valid
            && self.labels.as_ref().is_none_or(|selector| selector.matches(labels))
            && self.names.iter().all(|(equal, wanted)| (&**wanted == name) == *equal)
    }

    /// The one node that the term admits by name: `None` when it does not narrow, an empty answer when it contradicts itself.
    pub fn only_names(&self) -> Option<Vec<Arc<str>>> {
        let mut wanted = self.names.iter().filter(|(equal, _)| *equal).map(|(_, name)| name);
        let first = wanted.next()?;
        Some(if wanted.all(|other| other == first) { vec![first.clone()] } else { Vec::new() })
    }
}

fn requirements(from: &[NodeSelectorRequirement], interner: &mut Interner, valid: &mut bool) -> Selector {
    let mut all = Vec::with_capacity(from.len());
    for expression in from {
        let op = match expression.operator.as_str() {
            "In" => Op::In,
            "NotIn" => Op::NotIn,
            "Exists" => Op::Exists,
            "DoesNotExist" => Op::DoesNotExist,
            "Gt" => Op::Gt,
            "Lt" => Op::Lt,
            _ => {
                *valid = false;
                continue;
            }
        };
        all.push(Requirement {
            key: interner.intern(&expression.key),
            op,
            values: expression.values.iter().flatten().map(|v| interner.intern(v)).collect(),
        });
    }
    Selector::All(all.into())
}
