//! The kinds of admissionregistration.k8s.io: webhook configurations, and admission policies with their bindings. Expressions
//! that were there before an update are not tried again where nothing that they see has changed. Follows
//! `pkg/apis/admissionregistration/validation` and the strategies in `pkg/registry/admissionregistration`.

mod bindings;
mod conditions;
pub mod expressions;
mod matching;
mod policies;
mod policy_status;
#[cfg(test)]
mod tests;
mod webhooks;

use machinery::field::ErrorList;
use machinery::{go, meta};
use serde_json::Value;

use writes::strategy::{Strategy, WriteContext};

const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

/// Names with this end are for configurations in files.
const STATIC_SUFFIX: &str = ".static.k8s.io";

/// One of the kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// ValidatingWebhookConfiguration.
    ValidatingWebhooks,
    /// MutatingWebhookConfiguration.
    MutatingWebhooks,
    /// ValidatingAdmissionPolicy.
    ValidatingPolicy,
    /// MutatingAdmissionPolicy.
    MutatingPolicy,
    /// ValidatingAdmissionPolicyBinding.
    ValidatingBinding,
    /// MutatingAdmissionPolicyBinding.
    MutatingBinding,
}

impl Kind {
    fn mutates(self) -> bool {
        matches!(self, Kind::MutatingWebhooks | Kind::MutatingPolicy | Kind::MutatingBinding)
    }

    fn check(self, object: &Value, old: Option<&Value>) -> ErrorList {
        match self {
            Kind::ValidatingWebhooks | Kind::MutatingWebhooks => webhooks::validate(object, old, self.mutates()),
            Kind::ValidatingPolicy => policies::validating(object, old),
            Kind::MutatingPolicy => policies::mutating(object, old),
            Kind::ValidatingBinding | Kind::MutatingBinding => bindings::validate(object, self.mutates()),
        }
    }
}

impl Strategy for Kind {
    fn validate(&self, _: &WriteContext<'_>, object: &Value) -> ErrorList {
        self.check(object, None)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, object: &Value, old: &Value) -> ErrorList {
        match cx.subresource {
            Some(_) => policy_status::validate(&object["status"]),
            None => self.check(object, Some(old)),
        }
    }

    fn warnings(&self, _: &WriteContext<'_>, object: &Value, _: Option<&Value>) -> Vec<String> {
        if !meta::name(object).ends_with(STATIC_SUFFIX) {
            return Vec::new();
        }
        vec![format!(
            "metadata.name: names ending with {} are reserved for static manifest-based configurations and cannot be managed via the API",
            go::quote(STATIC_SUFFIX)
        )]
    }
}
