//! Devices that somebody else uses may be looked at by administrators: in namespaces that are labelled for it.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::meta;
use serde_json::Value;

use model::check::Faults;
use model::resources::NAMESPACES;
use writes::strategy::WriteContext;

const LABEL: &str = "resource.kubernetes.io/admin-access";

/// The requests of a claim.
pub(super) fn of_requests(cx: &WriteContext<'_>, claim: &Value) -> ErrorList {
    let requests = claim.sub("devices").list("requests");
    let asks = |request: &Value| request.sub("exactly").flag("adminAccess") == Some(true);
    let at = Path::new("spec").child("devices").child("requests");
    allowed(cx, requests.iter().position(asks).map(|i| at.index(i).child("adminAccess")))
}

/// What a claim was given. (What it has already stays.)
pub(super) fn of_results(cx: &WriteContext<'_>, claim: &Value, old: &Value) -> ErrorList {
    let first = |claim: &Value| {
        let results = claim["status"].sub("allocation").sub("devices").list("results");
        results.iter().position(|result| result.flag("adminAccess") == Some(true))
    };
    if first(old).is_some() {
        return ErrorList::new();
    }
    let at = Path::new("status").child("allocation").child("devices").child("results");
    allowed(cx, first(claim).map(|i| at.index(i).child("adminAccess")))
}

fn allowed(cx: &WriteContext<'_>, at: Option<Path>) -> ErrorList {
    let mut errors = ErrorList::new();
    let Some(at) = at else { return errors };
    let namespace = cx.registry.get(&NAMESPACES, None, cx.namespace.unwrap_or_default());
    if namespace.as_deref().and_then(|namespace| meta::label(namespace, LABEL)) != Some("true") {
        let detail = format!("admin access to devices requires the `{LABEL}: true` label on the containing namespace");
        errors.forbidden(&at, detail);
    }
    errors
}
