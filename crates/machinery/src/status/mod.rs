//! The one error of the API: shaped like `metav1.Status`, made where the fault is known, turned into HTTP once, last.
//! Messages are upstream's (`apimachinery/pkg/api/errors`): clients print them, and programs match on them.

mod new;
mod wire;

use std::borrow::Cow;
use std::fmt;

/// A failure that a client is told of. `reason` is what programs decide by, `message` what people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusError {
    /// HTTP status.
    pub code: u16,
    /// metav1.StatusReason, empty for unknown.
    pub reason: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// About what, and why. Boxed, as results with this error are returned everywhere.
    pub details: Option<Box<Details>>,
    /// `metadata.continue`: with an expired list, where to go on; empty otherwise.
    pub continue_token: String,
}

/// metav1.StatusDetails; empty strings and zero are left out on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// The object's name.
    pub name: String,
    /// Its group.
    pub group: String,
    /// Its kind, or (upstream's habit) its resource.
    pub kind: String,
    /// Its UID.
    pub uid: String,
    /// One a fault.
    pub causes: Vec<Cause>,
    /// When to try again; also the `Retry-After` header.
    pub retry_after_seconds: i32,
}

/// metav1.StatusCause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cause {
    /// Machine-readable; `reason` on the wire.
    pub kind: Cow<'static, str>,
    /// For people.
    pub message: String,
    /// The field's path, may be empty.
    pub field: String,
}

impl StatusError {
    /// Whether the reason is that.
    pub fn is(&self, reason: &str) -> bool {
        self.reason == reason
    }

    /// `IsNotFound`.
    pub fn is_not_found(&self) -> bool {
        self.is("NotFound") || (self.reason.is_empty() && self.code == 404)
    }

    /// `IsAlreadyExists`.
    pub fn is_already_exists(&self) -> bool {
        self.is("AlreadyExists")
    }

    /// `IsConflict`.
    pub fn is_conflict(&self) -> bool {
        self.is("Conflict") || (self.reason.is_empty() && self.code == 409)
    }

    /// `IsResourceExpired`.
    pub fn is_expired(&self) -> bool {
        self.is("Expired")
    }
}

impl fmt::Display for StatusError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StatusError {}

#[cfg(test)]
mod tests;
