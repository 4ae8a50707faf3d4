//! The 403 of a request that nobody allowed, in upstream's words (`responsewriters/errors.go`).

use machinery::gvk::GroupResource;
use machinery::status::StatusError;
use model::values::quoted;

use super::Attributes;

/// Who cannot do what where, and why.
pub fn forbidden(attributes: &Attributes<'_>, reason: &str) -> StatusError {
    // Names in it are the client's, and some client shows it in a web page.
    let escaped = message(attributes).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let message = if reason.is_empty() { escaped } else { format!("{escaped}: {reason}") };
    StatusError::forbidden(&GroupResource::new(attributes.group, attributes.resource), attributes.name, message)
}

fn message(a: &Attributes<'_>) -> String {
    let (user, verb) = (quoted(&a.user.name), a.verb);
    if !a.resource_request {
        return format!("User {user} cannot {verb} path {}", quoted(a.path));
    }
    let resource = if a.subresource.is_empty() {
        quoted(a.resource)
    } else {
        quoted(&format!("{}/{}", a.resource, a.subresource))
    };
    let place = if a.namespace.is_empty() {
        "at the cluster scope".into()
    } else {
        format!("in the namespace {}", quoted(a.namespace))
    };
    format!("User {user} cannot {verb} resource {resource} in API group {} {place}", quoted(a.group))
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::user::UserInfo;

    #[test]
    fn the_message_is_upstreams() {
        let user = UserInfo { name: "x".into(), ..UserInfo::default() };
        let list = Attributes::resource(&user, "list", "apps", "deployments");
        for (attributes, reason, expect) in [
            (
                Attributes { namespace: "default", ..list },
                "",
                r#"deployments.apps is forbidden: User "x" cannot list resource "deployments" in API group "apps" in the namespace "default""#,
            ),
            (
                Attributes { name: "a", ..Attributes::resource(&user, "get", "", "nodes") },
                "because",
                r#"nodes "a" is forbidden: User "x" cannot get resource "nodes" in API group "" at the cluster scope: because"#,
            ),
            (
                Attributes { subresource: "status", name: "a<b>", namespace: "<", ..list },
                "",
                r#"deployments.apps "a<b>" is forbidden: User "x" cannot list resource "deployments/status" in API group "apps" in the namespace "&lt;""#,
            ),
            (Attributes::path(&user, "get", "/metrics"), "", r#"forbidden: User "x" cannot get path "/metrics""#),
        ] {
            assert_eq!(forbidden(&attributes, reason).message, expect);
        }
    }
}
