//! The status that a plugin returns for a pod, or for a pod on a node: success, or a refusal with its reasons.

use std::borrow::Cow;

use smallvec::SmallVec;

/// A reason in upstream's words; mostly constants, so that saying no allocates nothing.
pub type Reason = Cow<'static, str>;

/// Upstream's status codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Code {
    /// Fine.
    #[default]
    Success,
    /// Something went wrong inside.
    Error,
    /// Not now; removing pods could help.
    Unschedulable,
    /// Not now; removing pods would not help.
    UnschedulableAndUnresolvable,
    /// The plugin has nothing to do for this pod.
    Skip,
}

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The verdict.
    pub code: Code,
    /// Why.
    pub reasons: SmallVec<[Reason; 1]>,
}

impl Status {
    /// Fine.
    pub const fn success() -> Self {
        Self { code: Code::Success, reasons: SmallVec::new_const() }
    }

    /// Nothing to do.
    pub const fn skip() -> Self {
        Self { code: Code::Skip, reasons: SmallVec::new_const() }
    }

    /// A code with one reason.
    pub fn new(code: Code, reason: impl Into<Reason>) -> Self {
        let mut reasons = SmallVec::new();
        reasons.push(reason.into());
        Self { code, reasons }
    }

    /// Whether it is fine.
    pub fn is_success(&self) -> bool {
        self.code == Code::Success
    }

    /// Whether the pod was turned away, as against an error.
    pub fn is_rejected(&self) -> bool {
        matches!(self.code, Code::Unschedulable | Code::UnschedulableAndUnresolvable)
    }

    /// The reasons in one line.
    pub fn message(&self) -> String {
        self.reasons.join(", ")
    }
}
