//! The reviews of `authorization.k8s.io`: may somebody do something, and what may I do. Follows
//! `pkg/registry/authorization`.

use access::authz::{Attributes, Authorizer, Decision};
use async_trait::async_trait;
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupKind;
use machinery::json::Fields;
use machinery::meta;
use machinery::selector::FieldSelector;
use machinery::status::StatusError;
use model::request_info::RequestInfo;
use model::user::UserInfo;
use serde_json::{Value, json};
use writes::strategy::WriteContext;

use crate::Server;
use crate::virtual_::Virtual;

const GROUP: &str = "authorization.k8s.io";

/// `subjectaccessreviews`: may that user.
pub struct SubjectAccessReview;

/// `localsubjectaccessreviews`: may that user, in this namespace; can be granted by namespace.
pub struct LocalSubjectAccessReview;

/// `selfsubjectaccessreviews`: may I.
pub struct SelfSubjectAccessReview;

/// `selfsubjectrulesreviews`: what may I, in a namespace.
pub struct SelfSubjectRulesReview;

#[async_trait]
impl Virtual for SubjectAccessReview {
    async fn serve(
        &self,
        server: &Server,
        _: &WriteContext<'_>,
        _: &RequestInfo,
        body: Value,
    ) -> Result<Value, StatusError> {
        let mut errors = validate(&body, true);
        errors.extend(empty_metadata(&body, false));
        refuse(errors)?;
        Ok(answer(&*server.authorizer, &subject(&body), body))
    }
}

#[async_trait]
impl Virtual for LocalSubjectAccessReview {
    async fn serve(
        &self,
        server: &Server,
        cx: &WriteContext<'_>,
        _: &RequestInfo,
        mut body: Value,
    ) -> Result<Value, StatusError> {
        let namespace = cx.namespace.unwrap_or_default();
        if meta::namespace(&body).is_empty() {
            machinery::meta::set_namespace(&mut body, namespace);
        }
        let mut errors = validate(&body, true);
        errors.extend(empty_metadata(&body, true));
        errors.extend(local(&body));
        refuse(errors)?;
        if meta::namespace(&body) != namespace {
            return Err(StatusError::bad_request(format!(
                "spec.resourceAttributes.namespace must match namespace: {namespace}"
            )));
        }
        Ok(answer(&*server.authorizer, &subject(&body), body))
    }
}

#[async_trait]
impl Virtual for SelfSubjectAccessReview {
    async fn serve(
        &self,
        server: &Server,
        cx: &WriteContext<'_>,
        _: &RequestInfo,
        body: Value,
    ) -> Result<Value, StatusError> {
        let mut errors = validate(&body, false);
        errors.extend(empty_metadata(&body, false));
        refuse(errors)?;
        Ok(answer(&*server.authorizer, cx.user, body))
    }
}

#[async_trait]
impl Virtual for SelfSubjectRulesReview {
    async fn serve(
        &self,
        server: &Server,
        cx: &WriteContext<'_>,
        _: &RequestInfo,
        body: Value,
    ) -> Result<Value, StatusError> {
        let namespace = body.sub("spec").text("namespace");
        if namespace.is_empty() {
            return Err(StatusError::bad_request("no namespace on request"));
        }
        Ok(rules(&*server.authorizer, cx.user, namespace))
    }
}

fn refuse(errors: ErrorList) -> Result<(), StatusError> {
    if errors.is_empty() {
        return Ok(());
    }
    // Upstream has lost the kind by now, and says so.
    Err(StatusError::invalid(&GroupKind::new(GROUP, ""), "", errors))
}

fn given<'b>(body: &'b Value, path: &str) -> Option<&'b Value> {
    body.at(path)
}

/// One question, of a resource or of a path, about somebody.
fn validate(body: &Value, about: bool) -> ErrorList {
    let spec = Path::new("spec");
    let mut errors = ErrorList::new();
    let (resource, path) = (given(body, "/spec/resourceAttributes"), given(body, "/spec/nonResourceAttributes"));
    match (resource, path) {
        (Some(_), Some(path)) => {
            let detail = "cannot be specified in combination with resourceAttributes";
            errors.push(Error::invalid(&spec.child("nonResourceAttributes"), path.clone(), detail));
        }
        (None, None) => {
            let detail = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(Error::invalid(&spec.child("resourceAttributes"), Value::Null, detail));
        }
        _ => {}
    }
    if about && body.sub("spec").text("user").is_empty() && body.sub("spec").list("groups").is_empty() {
        errors.push(Error::invalid(&spec.child("user"), "", "at least one of user or group must be specified"));
    }
    for which in ["fieldSelector", "labelSelector"] {
        let at = Path::new("spec.resourceAttributes").child(which);
        let Some(selector) = resource.and_then(|r| given(r, &format!("/{which}"))) else { continue };
        let (raw, requirements) = (selector.text("rawSelector"), selector.list("requirements"));
        if !raw.is_empty() && !requirements.is_empty() {
            let detail = "may not specified at the same time as requirements";
            errors.push(Error::invalid(&at.child("rawSelector"), raw, detail));
        }
        if raw.is_empty() && requirements.is_empty() {
            let detail = format!("when {at} is specified, requirements or rawSelector is required");
            errors.push(Error::required(&at.child("requirements"), detail));
        }
    }
    errors
}

/// A review is not an object: it has no name or labels.
fn empty_metadata(body: &Value, namespaced: bool) -> ErrorList {
    let Some(metadata) = body.get("metadata").and_then(Value::as_object) else { return ErrorList::new() };
    let allowed = |key: &str| key == "managedFields" || namespaced && key == "namespace";
    let said = |value: &Value| {
        !matches!(value, Value::Null) && *value != json!("") && *value != json!({}) && *value != json!([])
    };
    if metadata.iter().any(|(key, value)| !allowed(key) && said(value)) {
        let detail = if namespaced { "must be empty except for namespace" } else { "must be empty" };
        return ErrorList::from_iter([Error::invalid(&Path::new("metadata"), body["metadata"].clone(), detail)]);
    }
    ErrorList::new()
}

fn local(body: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    if given(body, "/spec/resourceAttributes").is_some() {
        let namespace = body.at("/spec/resourceAttributes").text("namespace");
        if namespace != meta::namespace(body) {
            errors.push(Error::invalid(
                &Path::new("spec.resourceAttributes.namespace"),
                namespace,
                "must match metadata.namespace",
            ));
        }
    }
    if let Some(path) = given(body, "/spec/nonResourceAttributes") {
        errors.push(Error::invalid(
            &Path::new("spec.nonResourceAttributes"),
            path.clone(),
            "disallowed on this kind of request",
        ));
    }
    errors
}

/// Whom a review is about.
fn subject(body: &Value) -> UserInfo {
    let extra = body.at("/spec/extra").and_then(Value::as_object).into_iter().flatten();
    UserInfo {
        name: body.sub("spec").text("user").to_owned(),
        uid: body.sub("spec").text("uid").to_owned(),
        groups: body.sub("spec").texts("groups").map(str::to_owned).collect(),
        extra: extra
            .map(|(key, values)| {
                (
                    key.clone(),
                    values.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
                )
            })
            .collect(),
    }
}

/// The selector of a question as one text, and whether something in it was not understood.
fn field_selector(resource: &Value) -> (String, Option<&'static str>) {
    const IGNORED: &str = "spec.resourceAttributes.fieldSelector ignored due to parse error";
    let raw = resource.sub("fieldSelector").text("rawSelector");
    if !raw.is_empty() {
        return match FieldSelector::parse(raw) {
            Ok(_) => (raw.to_owned(), None),
            Err(_) => (String::new(), Some(IGNORED)),
        };
    }
    let requirements = resource.sub("fieldSelector").list("requirements");
    let term = |r: &Value| match (r.text("operator"), r.texts("values").collect::<Vec<_>>().as_slice()) {
        ("In", [value]) => Some(format!("{}={value}", r.text("key"))),
        ("NotIn", [value]) => Some(format!("{}!={value}", r.text("key"))),
        _ => None,
    };
    let terms: Vec<String> = requirements.iter().filter_map(term).collect();
    let error = match (terms.len(), requirements.len()) {
        (known, all) if known == all => None,
        (0, _) => Some(IGNORED),
        _ => Some("spec.resourceAttributes.fieldSelector partially ignored due to parse error"),
    };
    (terms.join(","), error)
}

/// The review with its answer.
fn answer(authorizer: &dyn Authorizer, user: &UserInfo, mut body: Value) -> Value {
    let mut problems = Vec::new();
    let decision = if let Some(resource) = given(&body, "/spec/resourceAttributes") {
        let (selector, problem) = field_selector(resource);
        problems.extend(problem);
        let version = resource.text("version");
        authorizer.authorize(&Attributes {
            version: if version.is_empty() { "*" } else { version },
            subresource: resource.text("subresource"),
            namespace: resource.text("namespace"),
            name: resource.text("name"),
            field_selector: &selector,
            label_selector: resource.sub("labelSelector").text("rawSelector"),
            ..Attributes::resource(user, resource.text("verb"), resource.text("group"), resource.text("resource"))
        })
    } else {
        let path = &body["spec"]["nonResourceAttributes"];
        authorizer.authorize(&Attributes::path(user, path.text("verb"), path.text("path")))
    };
    let mut status = json!({"allowed": decision.allowed()});
    if matches!(decision, Decision::Deny(_)) {
        status["denied"] = true.into();
    }
    if !decision.reason().is_empty() {
        status["reason"] = decision.reason().into();
    }
    if !problems.is_empty() {
        status["evaluationError"] = problems.join("; ").into();
    }
    body["status"] = status;
    body
}

fn rules(authorizer: &dyn Authorizer, user: &UserInfo, namespace: &str) -> Value {
    let held = authorizer.rules_for(user, namespace);
    let list = |paths: bool| {
        let wanted =
            held.rules.iter().filter(|r| if paths { !r.non_resource_urls.is_empty() } else { !r.resources.is_empty() });
        let shown = wanted.map(|rule| {
            let mut rule = rule.clone();
            if paths {
                (rule.api_groups, rule.resources, rule.resource_names) = Default::default();
            } else {
                rule.non_resource_urls.clear();
            }
            rule.to_value()
        });
        shown.collect::<Vec<_>>()
    };
    let mut status =
        json!({"resourceRules": list(false), "nonResourceRules": list(true), "incomplete": held.incomplete});
    if !held.errors.is_empty() {
        status["evaluationError"] = access::authz::rbac::aggregate(&held.errors).into();
    }
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": "SelfSubjectRulesReview",
        "metadata": {},
        "spec": {},
        "status": status,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use access::authz::Rules;
    use access::authz::rbac::Rule;

    struct Jane;

    impl Authorizer for Jane {
        fn authorize(&self, a: &Attributes<'_>) -> Decision {
            match (a.user.name.as_str(), a.verb) {
                ("jane", "get") if !a.resource_request || a.selects("spec.nodeName", "n") => {
                    Decision::Allow("because".into())
                }
                ("jane", "delete") => Decision::Deny("never".into()),
                _ => Decision::NoOpinion(String::new()),
            }
        }

        fn rules_for(&self, _: &UserInfo, _: &str) -> Rules {
            Rules { rules: Rule::everything(), incomplete: true, errors: vec!["a".into(), "b".into()] }
        }
    }

    fn review(spec: Value) -> Value {
        json!({"metadata": {}, "spec": spec})
    }

    #[test]
    fn a_question_is_answered_with_its_reason() {
        for (spec, expect) in [
            (
                json!({"user": "jane", "nonResourceAttributes": {"verb": "get", "path": "/x"}}),
                json!({"allowed": true, "reason": "because"}),
            ),
            (json!({"user": "joe", "nonResourceAttributes": {"verb": "get", "path": "/x"}}), json!({"allowed": false})),
            (
                json!({"user": "jane", "resourceAttributes": {"verb": "delete", "resource": "pods"}}),
                json!({"allowed": false, "denied": true, "reason": "never"}),
            ),
            (
                json!({"user": "jane", "resourceAttributes": {"verb": "get", "resource": "pods", "fieldSelector": {"requirements": [{"key": "spec.nodeName", "operator": "In", "values": ["n"]}, {"key": "x", "operator": "Exists"}]}}}),
                json!({"allowed": true, "reason": "because", "evaluationError": "spec.resourceAttributes.fieldSelector partially ignored due to parse error"}),
            ),
        ] {
            let body = review(spec);
            assert_eq!(validate(&body, true), ErrorList::new());
            assert_eq!(answer(&Jane, &subject(&body), body)["status"], expect);
        }
    }

    #[test]
    fn half_a_question_is_refused() {
        let message = |body: &Value, errors: ErrorList| {
            refuse(errors).err().map(|e| e.message).unwrap_or_else(|| body.to_string())
        };
        let body = review(json!({}));
        assert_eq!(
            message(&body, validate(&body, true)),
            r#".authorization.k8s.io "" is invalid: [spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified, spec.user: Invalid value: "": at least one of user or group must be specified]"#
        );
        let body = json!({"metadata": {"name": "x"}, "spec": {}});
        assert_eq!(empty_metadata(&body, false).len(), 1);
        let body = json!({"metadata": {"namespace": "a"}, "spec": {"resourceAttributes": {"namespace": "b"}}});
        assert_eq!((empty_metadata(&body, true).len(), local(&body).len()), (0, 1));
    }

    #[test]
    fn my_rules() {
        let status = &rules(&Jane, &UserInfo::default(), "ns")["status"];
        assert_eq!(status["resourceRules"], json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]));
        assert_eq!(status["nonResourceRules"], json!([{"verbs": ["*"], "nonResourceURLs": ["*"]}]));
        assert_eq!((status["incomplete"].as_bool(), status["evaluationError"].as_str()), (Some(true), Some("[a, b]")));
    }
}
