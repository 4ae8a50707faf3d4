//! Label selectors.

use super::{Labels, parser};
use crate::field::{self, Error, Path};
use crate::json::Fields;
use crate::{go, names};
use serde_json::Value;
use std::fmt;

/// How a requirement compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `in`
    In,
    /// `notin`
    NotIn,
    /// `=`
    Equals,
    /// `==`
    DoubleEquals,
    /// `!=`
    NotEquals,
    /// `key`
    Exists,
    /// `!key`
    DoesNotExist,
    /// `>`
    GreaterThan,
    /// `<`
    LessThan,
}

/// One condition on one label.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label's key.
    pub key: String,
    /// How.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// All requirements must hold; none at all selects everything. `Nothing` is what a missing metav1.LabelSelector selects.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LabelSelector {
    /// Selects no object.
    Nothing,
    /// Selects what fulfils them all.
    All(Vec<Requirement>),
}

pub(super) fn check_key(key: &str, path: &Path) -> Result<(), Error> {
    let errors = names::qualified_name(key);
    if errors.is_empty() { Ok(()) } else { Err(Error::invalid(path, key, errors.join("; "))) }
}

impl Requirement {
    /// Checks key, operator and values as upstream's `NewRequirement`.
    pub fn new(key: &str, operator: Operator, values: Vec<String>, path: &Path) -> Result<Self, String> {
        let mut errors = Vec::new();
        errors.extend(check_key(key, &path.child("key")).err());
        let at = path.child("values");
        let bad = |detail: &str| Error::invalid(&at, values.clone(), detail);
        match operator {
            Operator::In | Operator::NotIn if values.is_empty() => {
                errors.push(bad("for 'in', 'notin' operators, values set can't be empty"));
            }
            Operator::Equals | Operator::DoubleEquals | Operator::NotEquals if values.len() != 1 => {
                errors.push(bad("exact-match compatibility requires one single value"));
            }
            Operator::Exists | Operator::DoesNotExist if !values.is_empty() => {
                errors.push(bad("values set must be empty for exists and does not exist"));
            }
            Operator::GreaterThan | Operator::LessThan => {
                if values.len() != 1 {
                    errors.push(bad("for 'Gt', 'Lt' operators, exactly one value is required"));
                }
                for (i, value) in values.iter().enumerate() {
                    if parse_int(value).is_none() {
                        let detail = "for 'Gt', 'Lt' operators, the value must be an integer";
                        errors.push(Error::invalid(&at.index(i), value.as_str(), detail));
                    }
                }
            }
            _ => {}
        }
        for (i, value) in values.iter().enumerate() {
            let faults = names::label_value(value);
            if !faults.is_empty() {
                errors.push(Error::invalid(&at.index(i).key(key), value.as_str(), faults.join("; ")));
            }
        }
        match field::aggregate(&errors) {
            Some(message) => Err(message),
            None => Ok(Requirement { key: key.to_owned(), operator, values }),
        }
    }

    /// Whether labels fulfil it.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        let found = labels.value_of(&self.key);
        let among = |value: &str| self.values.iter().any(|v| v == value);
        match self.operator {
            Operator::In | Operator::Equals | Operator::DoubleEquals => found.is_some_and(among),
            Operator::NotIn | Operator::NotEquals => !found.is_some_and(among),
            Operator::Exists => found.is_some(),
            Operator::DoesNotExist => found.is_none(),
            Operator::GreaterThan | Operator::LessThan => {
                let (Some(have), [limit]) = (found.and_then(parse_int), self.values.as_slice()) else { return false };
                let Some(limit) = parse_int(limit) else { return false };
                if self.operator == Operator::GreaterThan { have > limit } else { have < limit }
            }
        }
    }
}

// strconv.ParseInt(s, 10, 64), which like Rust's takes a leading plus.
fn parse_int(text: &str) -> Option<i64> {
    text.parse().ok()
}

impl Default for LabelSelector {
    fn default() -> Self {
        Self::everything()
    }
}

impl LabelSelector {
    /// Selects every object.
    pub const fn everything() -> Self {
        LabelSelector::All(Vec::new())
    }

    /// Parses the text of `labelSelector=`. The error has upstream's words.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::parse_at(text, &Path::nil())
    }

    /// The same with the path that errors name.
    pub fn parse_at(text: &str, path: &Path) -> Result<Self, String> {
        parser::parse(text, path).map(LabelSelector::All)
    }

    /// From a `metav1.LabelSelector`; null or missing selects nothing, the empty one everything.
    pub fn from_value(value: Option<&Value>) -> Result<Self, String> {
        let Some(value) = value.filter(|v| !v.is_null()) else { return Ok(LabelSelector::Nothing) };
        let mut requirements = Vec::new();
        let nil = Path::nil();
        for (key, v) in value["matchLabels"].as_object().into_iter().flatten() {
            let v = v.as_str().unwrap_or_default().to_owned();
            requirements.push(Requirement::new(key, Operator::Equals, vec![v], &nil)?);
        }
        for expression in value["matchExpressions"].as_array().into_iter().flatten() {
            let text = expression.text("operator");
            let operator = match text {
                "In" => Operator::In,
                "NotIn" => Operator::NotIn,
                "Exists" => Operator::Exists,
                "DoesNotExist" => Operator::DoesNotExist,
                other => return Err(format!("{} is not a valid label selector operator", go::quote(other))),
            };
            let values = expression["values"].as_array().into_iter().flatten();
            let values = values.filter_map(Value::as_str).map(str::to_owned).collect();
            let key = expression.text("key");
            requirements.push(Requirement::new(key, operator, values, &nil)?);
        }
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        Ok(LabelSelector::All(requirements))
    }

    /// `key=value` for each pair, unchecked (`SelectorFromSet`).
    pub fn from_set<K: Into<String>, V: Into<String>>(set: impl IntoIterator<Item = (K, V)>) -> Self {
        let mut requirements: Vec<Requirement> = set
            .into_iter()
            .map(|(k, v)| Requirement { key: k.into(), operator: Operator::Equals, values: vec![v.into()] })
            .collect();
        requirements.sort_by(|a, b| a.key.cmp(&b.key));
        LabelSelector::All(requirements)
    }

    /// Whether labels are selected.
    pub fn matches(&self, labels: &(impl Labels + ?Sized)) -> bool {
        match self {
            LabelSelector::Nothing => false,
            LabelSelector::All(requirements) => requirements.iter().all(|r| r.matches(labels)),
        }
    }

    /// Whether it selects everything.
    pub fn is_everything(&self) -> bool {
        matches!(self, LabelSelector::All(r) if r.is_empty())
    }

    /// The one value that a label must have.
    pub fn exact_match(&self, key: &str) -> Option<&str> {
        let LabelSelector::All(requirements) = self else { return None };
        let r = requirements.iter().find(|r| r.key == key)?;
        match (r.operator, r.values.as_slice()) {
            (Operator::Equals | Operator::DoubleEquals | Operator::In, [only]) => Some(only),
            _ => None,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match self.operator {
            Operator::Exists => return f.write_str(&self.key),
            Operator::DoesNotExist => return write!(f, "!{}", self.key),
            Operator::Equals => "=",
            Operator::DoubleEquals => "==",
            Operator::NotEquals => "!=",
            Operator::GreaterThan => ">",
            Operator::LessThan => "<",
            Operator::In => " in ",
            Operator::NotIn => " notin ",
        };
        let mut values: Vec<&str> = self.values.iter().map(String::as_str).collect();
        values.sort_unstable();
        let values = values.join(",");
        match self.operator {
            Operator::In | Operator::NotIn => write!(f, "{}{sign}({values})", self.key),
            _ => write!(f, "{}{sign}{values}", self.key),
        }
    }
}

impl fmt::Display for LabelSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LabelSelector::All(requirements) = self else { return Ok(()) };
        for (i, r) in requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            write!(f, "{r}")?;
        }
        Ok(())
    }
}
