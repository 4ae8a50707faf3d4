//! Names of tasks: what they are, and which of them this one is.

use std::{fmt, sync::Arc};

/// A task's name: a label that stands in the source, and optionally which of all tasks with that label it is.
///
/// The label alone is in metrics, so that their number is bounded; both are in the log and in health checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    label: &'static str,
    of: Option<Arc<str>>,
}

impl Name {
    /// The part that stands in the source.
    pub fn label(&self) -> &'static str {
        self.label
    }
}

impl From<&'static str> for Name {
    fn from(label: &'static str) -> Self {
        Self { label, of: None }
    }
}

impl From<(&'static str, &str)> for Name {
    fn from((label, of): (&'static str, &str)) -> Self {
        Self { label, of: Some(of.into()) }
    }
}

impl From<(&'static str, String)> for Name {
    fn from((label, of): (&'static str, String)) -> Self {
        Self { label, of: Some(of.into()) }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Some(of) => write!(f, "{}/{of}", self.label),
            None => f.write_str(self.label),
        }
    }
}
