//! Acting as somebody else, by `Impersonate-*` headers, as far as one may.
//!
//! Since v1.36 there are several ways to be allowed to, tried in order: narrow ones, which need a right on the sort of
//! user *and* a right on what is done as them (`impersonate-on:<mode>:<verb>`), and the old right to be somebody in
//! everything (`impersonate`). Where none allows, the first refusal is the answer. Follows
//! `endpoints/filters/impersonation/mode.go`.

use std::collections::BTreeMap;

use access::authn::claims::{groups as service_account_groups, split_username};
use access::authn::request_header::{string, unescape};
use access::authz::{Attributes, Authorizer, Decision, forbidden};
use http::HeaderMap;
use machinery::names;
use machinery::status::StatusError;
use model::user::{ANONYMOUS, AUTHENTICATED, MASTERS, NODES, UNAUTHENTICATED, UserInfo};
use model::values::{quoted, quoted_list};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// From this many checks of one sort on, a right to all of them is asked for first.
const MANY: usize = 4;

/// The user that the request is made as; `None` where it asks for none but its own. `asked` is what the request is.
pub fn apply(
    authorizer: &dyn Authorizer,
    asked: &Attributes<'_>,
    headers: &HeaderMap,
) -> Result<Option<UserInfo>, StatusError> {
    let Some(wanted) = wanted(headers)? else { return Ok(None) };
    let mut refusal = None;
    for mode in [Mode::AssociatedNode, Mode::ArbitraryNode, Mode::ServiceAccount, Mode::UserInfo, Mode::Legacy] {
        if !mode.concerns(&wanted, asked.user) {
            continue;
        }
        match mode.check(authorizer, asked, &wanted) {
            Ok(user) => return Ok(Some(user)),
            Err(error) => drop(refusal.get_or_insert(error)),
        }
    }
    Err(refusal.unwrap_or_else(|| StatusError::internal("all impersonation modes failed")))
}

/// The user that the headers name.
fn wanted(headers: &HeaderMap) -> Result<Option<UserInfo>, StatusError> {
    let one = |name: &str| headers.get(name).map(string).unwrap_or_default();
    let mut user = UserInfo { name: one(USER), uid: one(UID), ..UserInfo::default() };
    user.groups = headers.get_all(GROUP).iter().map(string).collect();
    let mut extra: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in headers {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            extra.entry(unescape(key)).or_default().push(string(value));
        }
    }
    user.extra = extra;
    if !user.name.is_empty() {
        return Ok(Some(user));
    }
    if user == UserInfo::default() {
        return Ok(None);
    }
    let groups: Vec<String> = user.groups.iter().map(|g| quoted(g)).collect();
    let extra: Vec<String> = user
        .extra
        .iter()
        .map(|(k, v)| {
            format!("{}:[]string{{{}}}", quoted(k), v.iter().map(|v| quoted(v)).collect::<Vec<_>>().join(", "))
        })
        .collect();
    // Go's %#v of the user, which is what upstream answers.
    Err(StatusError::bad_request(format!(
        "requested &user.DefaultInfo{{Name:\"\", UID:{}, Groups:[]string{}, Extra:map[string][]string{}}} without impersonating a user name",
        quoted(&user.uid),
        if groups.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", groups.join(", ")) },
        if extra.is_empty() { "(nil)".to_owned() } else { format!("{{{}}}", extra.join(", ")) },
    )))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// A service account whose token is bound to a pod of that node.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    UserInfo,
    Legacy,
}

fn node_of(user: &str) -> Option<&str> {
    user.strip_prefix("system:node:").filter(|name| names::dns1123_subdomain(name).is_empty())
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::AssociatedNode => "associated-node",
            Mode::ArbitraryNode => "arbitrary-node",
            Mode::ServiceAccount => "serviceaccount",
            Mode::UserInfo => "user-info",
            Mode::Legacy => "",
        }
    }

    fn verb(self) -> String {
        match self {
            Mode::Legacy => "impersonate".into(),
            mode => format!("impersonate:{}", mode.name()),
        }
    }

    /// Whether the mode is for such a user.
    fn concerns(self, wanted: &UserInfo, requestor: &UserInfo) -> bool {
        let name_only = wanted.uid.is_empty() && wanted.groups.is_empty() && wanted.extra.is_empty();
        match self {
            Mode::AssociatedNode => {
                let own = requestor.extra.get("authentication.kubernetes.io/node-name").map(Vec::as_slice);
                let own = own.and_then(|names| if let [one] = names { Some(one.as_str()) } else { None });
                name_only
                    && split_username(&requestor.name).is_some()
                    && node_of(&wanted.name).is_some_and(|node| own == Some(node))
            }
            Mode::ArbitraryNode => name_only && node_of(&wanted.name).is_some(),
            Mode::ServiceAccount => name_only && split_username(&wanted.name).is_some(),
            Mode::UserInfo => node_of(&wanted.name).is_none() && split_username(&wanted.name).is_none(),
            Mode::Legacy => true,
        }
    }

    fn check(
        self,
        authorizer: &dyn Authorizer,
        asked: &Attributes<'_>,
        wanted: &UserInfo,
    ) -> Result<UserInfo, StatusError> {
        if self != Mode::Legacy {
            let verb = format!("impersonate-on:{}:{}", self.name(), asked.verb);
            ask(authorizer, &Attributes { verb: &verb, ..*asked })?;
        }
        let verb = self.verb();
        let group = if self == Mode::Legacy { "" } else { AUTHENTICATION };
        let mut user = wanted.clone();
        self.check_name(authorizer, asked.user, &verb, group, &mut user)?;
        if !wanted.uid.is_empty() {
            ask(
                authorizer,
                &Attributes {
                    version: "v1",
                    name: &wanted.uid,
                    ..Attributes::resource(asked.user, &verb, AUTHENTICATION, "uids")
                },
            )?;
        }
        self.check_groups(authorizer, asked.user, &verb, group, &wanted.groups)?;
        self.check_extra(authorizer, asked.user, &verb, &wanted.extra)?;
        let group = match user.name.as_str() {
            ANONYMOUS => Some(UNAUTHENTICATED),
            _ if user.in_group(UNAUTHENTICATED) => None,
            _ => Some(AUTHENTICATED),
        };
        if let Some(group) = group.filter(|group| !user.in_group(group)) {
            user.groups.push(group.into());
        }
        Ok(user)
    }

    fn check_name(
        self,
        authorizer: &dyn Authorizer,
        requestor: &UserInfo,
        verb: &str,
        group: &str,
        user: &mut UserInfo,
    ) -> Result<(), StatusError> {
        let wanted = user.name.clone();
        let mut attributes =
            Attributes { version: "v1", name: &wanted, ..Attributes::resource(requestor, verb, group, "users") };
        let constrained = self != Mode::Legacy;
        if let Some(node) = node_of(&wanted).filter(|_| constrained) {
            (attributes.resource, attributes.name) = ("nodes", node);
            if !user.groups.is_empty() {
                let why = format!("when impersonating a node, cannot impersonate groups {}", quoted_list(&user.groups));
                return Err(forbidden(&attributes, &why));
            }
            user.groups = vec![NODES.into()];
        }
        if let Some((namespace, name)) = split_username(&wanted) {
            (attributes.resource, attributes.namespace, attributes.name) = ("serviceaccounts", namespace, name);
            if constrained && !user.groups.is_empty() {
                let why = format!(
                    "when impersonating a service account, cannot impersonate groups {}",
                    quoted_list(&user.groups)
                );
                return Err(forbidden(&attributes, &why));
            }
            if user.groups.is_empty() {
                user.groups = service_account_groups(namespace);
            }
        }
        if self == Mode::AssociatedNode {
            // The right is for whichever node the token is bound to.
            attributes.name = "*";
        }
        ask(authorizer, &attributes)
    }

    fn check_groups(
        self,
        authorizer: &dyn Authorizer,
        requestor: &UserInfo,
        verb: &str,
        group: &str,
        wanted: &[String],
    ) -> Result<(), StatusError> {
        let attributes = Attributes { version: "v1", ..Attributes::resource(requestor, verb, group, "groups") };
        if self != Mode::Legacy {
            if wanted.iter().any(String::is_empty) {
                return Err(forbidden(&attributes, "impersonating the empty string group is not allowed"));
            }
            if wanted.iter().any(|g| g == MASTERS) {
                let attributes = Attributes { name: MASTERS, ..attributes };
                return Err(forbidden(&attributes, "impersonating the system:masters group is not allowed"));
            }
            if wanted.len() >= MANY && ask(authorizer, &Attributes { name: "*", ..attributes }).is_ok() {
                return Ok(());
            }
        }
        wanted.iter().try_for_each(|name| ask(authorizer, &Attributes { name, ..attributes }))
    }

    fn check_extra(
        self,
        authorizer: &dyn Authorizer,
        requestor: &UserInfo,
        verb: &str,
        wanted: &BTreeMap<String, Vec<String>>,
    ) -> Result<(), StatusError> {
        let attributes =
            Attributes { version: "v1", ..Attributes::resource(requestor, verb, AUTHENTICATION, "userextras") };
        if self != Mode::Legacy {
            valid_extra(wanted).map_err(|why| forbidden(&attributes, &why))?;
            let many = wanted.len() >= MANY || wanted.values().map(Vec::len).sum::<usize>() >= MANY;
            if many && ask(authorizer, &Attributes { subresource: "*", name: "*", ..attributes }).is_ok() {
                return Ok(());
            }
        }
        for (subresource, values) in wanted {
            values.iter().try_for_each(|name| ask(authorizer, &Attributes { subresource, name, ..attributes }))?;
        }
        Ok(())
    }
}

fn valid_extra(extra: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    for (key, values) in extra {
        if key.is_empty() {
            return Err("impersonating the empty string key in extra is not allowed".into());
        }
        let path = machinery::field::Path::new("extra").child("key");
        if let Some(why) = machinery::field::aggregate(&names::domain_prefixed_path(&path, key)) {
            return Err(format!("impersonating an invalid key in extra is not allowed: {why}"));
        }
        if values.iter().any(String::is_empty) {
            return Err("impersonating the empty string value in extra is not allowed".into());
        }
    }
    Ok(())
}

fn ask(authorizer: &dyn Authorizer, attributes: &Attributes<'_>) -> Result<(), StatusError> {
    match authorizer.authorize(attributes) {
        Decision::Allow(_) => Ok(()),
        Decision::Deny(why) | Decision::NoOpinion(why) => Err(forbidden(attributes, &why)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Allows questions that are listed as `verb group/resource[/subresource] [namespace/]name`.
    struct Allowed(&'static [&'static str]);

    impl Authorizer for Allowed {
        fn authorize(&self, a: &Attributes<'_>) -> Decision {
            let mut question = format!("{} {}/{}", a.verb, a.group, a.resource);
            if !a.subresource.is_empty() {
                question.push_str(&format!("/{}", a.subresource));
            }
            question.push(' ');
            if !a.namespace.is_empty() {
                question.push_str(&format!("{}/", a.namespace));
            }
            question.push_str(a.name);
            if self.0.contains(&question.trim_end()) {
                Decision::Allow(String::new())
            } else {
                Decision::NoOpinion(String::new())
            }
        }
    }

    fn act(allowed: &'static [&'static str], headers: &[(&'static str, &str)]) -> Result<Option<String>, String> {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let jane = UserInfo { name: "jane".into(), ..UserInfo::default() };
        let asked = Attributes::resource(&jane, "list", "", "pods");
        let user = apply(&Allowed(allowed), &asked, &map).map_err(|e| e.message)?;
        Ok(user.map(|u| format!("{} {}", u.name, u.groups.join(","))))
    }

    #[test]
    fn the_old_right_is_enough() {
        assert_eq!(act(&[], &[]), Ok(None));
        let joe = [(USER, "joe")];
        assert_eq!(act(&["impersonate /users joe"], &joe), Ok(Some("joe system:authenticated".into())));
        let account = [(USER, "system:serviceaccount:ns:web")];
        let expect =
            "system:serviceaccount:ns:web system:serviceaccounts,system:serviceaccounts:ns,system:authenticated";
        assert_eq!(act(&["impersonate /serviceaccounts ns/web"], &account), Ok(Some(expect.into())));
        let more = [(USER, "joe"), (GROUP, "devs"), ("impersonate-extra-scopes", "s"), (UID, "1")];
        let rights = &[
            "impersonate /users joe",
            "impersonate /groups devs",
            "impersonate authentication.k8s.io/userextras/scopes s",
            "impersonate authentication.k8s.io/uids 1",
        ];
        assert_eq!(act(rights, &more), Ok(Some("joe devs,system:authenticated".into())));
        assert_eq!(
            act(&["impersonate /users system:anonymous"], &[(USER, "system:anonymous")]),
            Ok(Some("system:anonymous system:unauthenticated".into()))
        );
    }

    #[test]
    fn narrow_rights_need_the_user_and_the_deed() {
        let joe = [(USER, "joe")];
        let both = &["impersonate:user-info authentication.k8s.io/users joe", "impersonate-on:user-info:list /pods"];
        assert_eq!(act(both, &joe), Ok(Some("joe system:authenticated".into())));
        let node = [(USER, "system:node:a")];
        let rights =
            &["impersonate:arbitrary-node authentication.k8s.io/nodes a", "impersonate-on:arbitrary-node:list /pods"];
        assert_eq!(act(rights, &node), Ok(Some("system:node:a system:nodes,system:authenticated".into())));
        assert_eq!(
            act(&["impersonate:user-info authentication.k8s.io/users joe"], &joe).unwrap_err(),
            r#"pods is forbidden: User "jane" cannot impersonate-on:user-info:list resource "pods" in API group "" at the cluster scope"#
        );
    }

    #[test]
    fn nobody_becomes_an_administrator_by_a_narrow_right() {
        let rights = &[
            "impersonate-on:user-info:list /pods",
            "impersonate:user-info authentication.k8s.io/users joe",
            "impersonate:user-info authentication.k8s.io/groups system:masters",
        ];
        let error = act(rights, &[(USER, "joe"), (GROUP, MASTERS)]).unwrap_err();
        assert!(error.ends_with("impersonating the system:masters group is not allowed"), "{error}");
        let error = act(&[], &[(GROUP, "devs")]).unwrap_err();
        assert!(error.ends_with("without impersonating a user name"), "{error}");
    }
}
