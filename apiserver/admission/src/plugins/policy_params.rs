//! Nobody learns of objects by way of a policy that they may not read: who writes an admission policy with a kind of
//! parameters, or a binding with parameters, has the right to read them.
//!
//! Not one of upstream's plugins and not to be turned off: upstream does this at the end of the four kinds' validation
//! (`pkg/registry/admissionregistration/*/authz.go`), of objects without other faults.

use std::sync::Arc;

use async_trait::async_trait;
use machinery::field::{Error, Path};
use machinery::gvk::{GroupResource, GroupVersion};
use machinery::json::Fields;
use machinery::meta;
use machinery::status::StatusError;
use serde_json::Value;

use access::authz::{Attributes, Authorizer};
use model::user::{MASTERS, UserInfo};
use writes::admission::{Plugin, Request};

const GROUP: &str = "admissionregistration.k8s.io";

/// See the module.
pub struct PolicyParams(pub Arc<dyn Authorizer>);

#[async_trait]
impl Plugin for PolicyParams {
    fn handles(&self, request: &Request<'_>) -> bool {
        request.resource.group == GROUP && request.subresource.is_none() && request.writes()
    }

    async fn validate(&self, request: &Request<'_>, obj: &Value) -> Result<(), StatusError> {
        if request.user.in_group(MASTERS) {
            return Ok(());
        }
        let (field, refusal) = match &*request.resource.resource {
            "validatingadmissionpolicies" | "mutatingadmissionpolicies" => ("paramKind", self.policy(request, obj)),
            "validatingadmissionpolicybindings" => {
                ("paramRef", self.binding(request, obj, "validatingadmissionpolicies"))
            }
            "mutatingadmissionpolicybindings" => ("paramRef", self.binding(request, obj, "mutatingadmissionpolicies")),
            _ => return Ok(()),
        };
        let Err(why) = refusal else { return Ok(()) };
        let fault = Error::forbidden(&Path::new("spec").child(field), why);
        Err(StatusError::invalid(&request.resource.group_kind(), meta::name(obj), vec![fault]))
    }
}

/// What a right is needed on: group, version and resource, each `*` where it is not known.
struct Target {
    group: String,
    version: String,
    resource: String,
    /// Why it is not known better.
    doubt: Option<&'static str>,
}

impl Target {
    fn anything(doubt: Option<&'static str>) -> Self {
        let any = || "*".to_owned();
        Self { group: any(), version: any(), resource: any(), doubt }
    }

    /// The resource of a `paramKind`.
    fn of(request: &Request<'_>, kind: &Value) -> Self {
        let Ok(version) = GroupVersion::parse(kind.text("apiVersion")) else {
            return Self::anything(Some("parse"));
        };
        let name = kind.text("kind");
        let rows = request.registry.rows();
        let row =
            rows.iter().find(|row| row.group == version.group && row.version == version.version && row.kind == name);
        let (resource, doubt) = match row {
            Some(row) => (row.resource.to_string(), None),
            None => ("*".to_owned(), Some("resolve")),
        };
        Self { group: version.group, version: version.version, resource, doubt }
    }
}

impl PolicyParams {
    fn allowed(&self, user: &UserInfo, verb: &str, target: &Target, namespace: &str, name: &str) -> bool {
        let attributes = Attributes {
            version: &target.version,
            namespace,
            name,
            ..Attributes::resource(user, verb, &target.group, &target.resource)
        };
        self.0.authorize(&attributes).allowed()
    }

    fn policy(&self, request: &Request<'_>, policy: &Value) -> Result<(), String> {
        let kind = &policy["spec"]["paramKind"];
        if kind.is_null() || request.old.is_some_and(|old| old["spec"]["paramKind"] == *kind) {
            return Ok(());
        }
        if self.allowed(request.user, "get", &Target::of(request, kind), "*", "*") {
            return Ok(());
        }
        Err(format!(
            "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
            shown(request.user),
            kind.text("kind"),
            kind.text("apiVersion")
        ))
    }

    fn binding(&self, request: &Request<'_>, binding: &Value, policies: &str) -> Result<(), String> {
        let reference = &binding["spec"]["paramRef"];
        if reference.is_null() {
            return Ok(());
        }
        let name = binding.sub("spec").text("policyName");
        let policy = request.registry.get(&GroupResource::new(GROUP, policies), None, name);
        let kind = policy.as_ref().map(|policy| &policy["spec"]["paramKind"]);
        let target = match kind {
            None => Target::anything(Some("get")),
            Some(Value::Null) => Target::anything(None),
            Some(kind) => Target::of(request, kind),
        };
        let param = reference.text("name");
        let verb = if param.is_empty() { "list" } else { "get" };
        if self.allowed(request.user, verb, &target, reference.text("namespace"), param) {
            return Ok(());
        }
        let user = shown(request.user);
        let everything = format!(
            "to determine minimum required permissions and user {user} does not have \"{verb}\" permission for all groups, versions and resources"
        );
        let kind =
            kind.map(|kind| format!("&{{{} {}}}", kind.text("apiVersion"), kind.text("kind"))).unwrap_or_default();
        Err(match target.doubt {
            Some("get") => format!("unable to get policy {name} {everything}"),
            Some(doubt) => format!("unable to {doubt} paramKind {kind} {everything}"),
            // Upstream's sentence for mutating policies has the two the wrong way around.
            None if policies.starts_with("mutating") => {
                format!("user {verb} does not have \"{user}\" permission on the object referenced by paramRef")
            }
            None => format!("user {user} does not have \"{verb}\" permission on the object referenced by paramRef"),
        })
    }
}

/// A user as Go prints a pointer to its struct.
fn shown(user: &UserInfo) -> String {
    let extra: Vec<String> = user.extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    format!("&{{{} {} [{}] map[{}]}}", user.name, user.uid, user.groups.join(" "), extra.join(" "))
}
