//! Ingresses: hosts and paths, and the Service or resource behind each. What an older server let pass (names of secrets,
//! rules of wildcard hosts) may stay in an update.

use machinery::field::{ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use serde_json::Value;

use super::typed_reference;
use model::check::Faults;
use writes::strategy::{Strategy, WriteContext};

#[cfg(test)]
mod tests;

const CLASS: &str = "kubernetes.io/ingress.class";
const NOT_AN_IP: &str = "must be a DNS name, not an IP address";

/// Ingresses.
pub struct Ingresses;

impl Strategy for Ingresses {
    fn validate(&self, _: &WriteContext<'_>, ingress: &Value) -> ErrorList {
        create(ingress)
    }

    fn validate_update(&self, cx: &WriteContext<'_>, ingress: &Value, old: &Value) -> ErrorList {
        if cx.subresource == Some("status") {
            return status(ingress, old);
        }
        update(ingress, old)
    }

    fn warnings(&self, cx: &WriteContext<'_>, ingress: &Value, old: Option<&Value>) -> Vec<String> {
        match (old, cx.subresource) {
            (None, _) if meta::annotation(ingress, CLASS).is_some() && !ingress["spec"].has("ingressClassName") => {
                vec![format!("annotation \"{CLASS}\" is deprecated, please use 'spec.ingressClassName' instead")]
            }
            (Some(_), Some("status")) => address_warnings(ingress),
            _ => Vec::new(),
        }
    }
}

/// What an older server let pass.
#[derive(Clone, Copy, Default)]
struct Allowed {
    secret_names: bool,
    wildcard_rules: bool,
}

fn create(ingress: &Value) -> ErrorList {
    let mut errors = spec(&ingress["spec"], Allowed::default());
    let class = ingress["spec"].sub("ingressClassName").and_then(Value::as_str);
    if let (Some(annotation), Some(class)) = (meta::annotation(ingress, CLASS), class)
        && annotation != class
    {
        let at = Path::new("annotations").child(CLASS);
        errors.invalid(&at, annotation, "must match `ingressClassName` when both are specified");
    }
    errors
}

fn update(ingress: &Value, old: &Value) -> ErrorList {
    let before = &old["spec"];
    let secret = |tls: &Value| !secret_name(tls.text("secretName")).is_empty();
    // Upstream compares with the strictest rules: names of Services as they were before 1.36.
    let wildcard = |rule: &Value| {
        let mut errors = ErrorList::new();
        http(rule, &Path::nil(), names::dns1035_label, &mut errors);
        rule.text("host").contains('*') && !errors.is_empty()
    };
    let allowed = Allowed {
        secret_names: before.list("tls").iter().any(secret),
        wildcard_rules: before.list("rules").iter().any(wildcard),
    };
    spec(&ingress["spec"], allowed)
}

fn spec(spec: &Value, allowed: Allowed) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("spec");
    let rules = spec.list("rules");
    if rules.is_empty() && !spec.has("defaultBackend") {
        let given = spec.get("rules").cloned();
        errors.invalid(&at, given, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(backend) = spec.sub("defaultBackend") {
        self::backend(backend, &at.child("defaultBackend"), names::dns1123_label, &mut errors);
    }
    for (i, rule) in rules.iter().enumerate() {
        let at = at.child("rules").index(i);
        let name = rule.text("host");
        let wildcard = host(name, &at.child("host"), true, &mut errors);
        if !wildcard || !allowed.wildcard_rules {
            http(rule, &at, names::dns1123_label, &mut errors);
        }
    }
    for (i, tls) in spec.list("tls").iter().enumerate() {
        let at = at.child("tls").index(i);
        for (j, name) in tls.texts("hosts").enumerate() {
            host(name, &at.child("hosts").index(j), false, &mut errors);
        }
        if !allowed.secret_names {
            let name = tls.text("secretName");
            errors.each(&at.child("secretName"), name, secret_name(name));
        }
    }
    if let Some(class) = spec.sub("ingressClassName").and_then(Value::as_str) {
        errors.each(&at.child("ingressClassName"), class, names::dns1123_subdomain(class));
    }
    errors
}

fn secret_name(name: &str) -> Vec<String> {
    if name.is_empty() { Vec::new() } else { names::dns1123_subdomain(name) }
}

/// Faults of a host, and whether it has a wildcard. That of a rule may be left out, and be no address.
fn host(name: &str, at: &Path, of_rule: bool, errors: &mut ErrorList) -> bool {
    if of_rule && name.is_empty() {
        return false;
    }
    if of_rule && names::parse_ip_sloppy(name).is_some() {
        errors.invalid(at, name, NOT_AN_IP);
    }
    let wildcard = name.contains('*');
    let faults = if wildcard { names::wildcard_dns1123_subdomain(name) } else { names::dns1123_subdomain(name) };
    errors.each(at, name, faults);
    wildcard
}

/// A rule for names, as `names` has them.
type Rule = fn(&str) -> Vec<String>;

fn http(rule: &Value, at: &Path, service_name: Rule, errors: &mut ErrorList) {
    let Some(http) = rule.sub("http") else { return };
    let at = at.child("http").child("paths");
    if http.list("paths").is_empty() {
        errors.required(&at, "");
    }
    for (i, path) in http.list("paths").iter().enumerate() {
        http_path(path, &at.index(i), service_name, errors);
    }
}

fn http_path(path: &Value, at: &Path, service_name: Rule, errors: &mut ErrorList) {
    let Some(kind) = path.sub("pathType").and_then(Value::as_str) else {
        return errors.required(&at.child("pathType"), "pathType must be specified");
    };
    let text = path.text("path");
    let here = at.child("path");
    let exact = match kind {
        "Exact" | "Prefix" => true,
        "ImplementationSpecific" => false,
        _ => {
            errors.unsupported(&at.child("pathType"), kind, &["Exact", "ImplementationSpecific", "Prefix"]);
            return backend(&path["backend"], &at.child("backend"), service_name, errors);
        }
    };
    if !text.starts_with('/') && (exact || !text.is_empty()) {
        errors.invalid(&here, text, "must be an absolute path");
    }
    if exact {
        for part in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|part| text.contains(part)) {
            errors.invalid(&here, text, format!("must not contain '{part}'"));
        }
        for end in ["/..", "/."].into_iter().filter(|end| text.ends_with(end)) {
            errors.invalid(&here, text, format!("cannot end with '{end}'"));
        }
    }
    backend(&path["backend"], &at.child("backend"), service_name, errors);
}

fn backend(backend: &Value, at: &Path, service_name: Rule, errors: &mut ErrorList) {
    let (resource, service) = match (backend.sub("resource"), backend.sub("service")) {
        (Some(_), Some(_)) => return errors.invalid(at, "", "cannot set both resource and service backends"),
        (None, None) => return errors.invalid(at, "", "resource or service backend is required"),
        found => found,
    };
    if let Some(resource) = resource {
        typed_reference(resource, &at.child("resource"), errors);
    }
    let Some(service) = service else { return };
    let (name, here) = (service.text("name"), at.child("service"));
    if name.is_empty() {
        errors.required(&here.child("name"), "");
    } else {
        errors.each(&here.child("name"), name, service_name(name));
    }
    let (port, here) = (service.sub("port"), here.child("port"));
    let (name, number) = (port.text("name"), port.int("number").unwrap_or(0));
    match (name, number) {
        ("", 0) => errors.required(at, "port name or number is required"),
        ("", number) => {
            for fault in names::port_num(number) {
                errors.invalid(&here.child("number"), number, fault);
            }
        }
        (name, 0) => errors.each(&here.child("name"), name, names::port_name(name)),
        _ => errors.invalid(at, "", "cannot set both port name & port number"),
    }
}

fn balancers(ingress: &Value) -> &[Value] {
    ingress["status"].sub("loadBalancer").list("ingress")
}

fn status(ingress: &Value, old: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let known: Vec<&str> = balancers(old).iter().map(|point| point.text("ip")).filter(|ip| !ip.is_empty()).collect();
    for (i, point) in balancers(ingress).iter().enumerate() {
        let at = Path::new("status").child("loadBalancer").child("ingress").index(i);
        let (ip, host) = (point.text("ip"), point.text("hostname"));
        if !ip.is_empty() {
            errors.extend(names::ip_for_legacy_field(&at.child("ip"), ip, &known));
        }
        if !host.is_empty() {
            errors.each(&at.child("hostname"), host, names::dns1123_subdomain(host));
            if names::parse_ip_sloppy(host).is_some() {
                errors.invalid(&at.child("hostname"), host, NOT_AN_IP);
            }
        }
    }
    errors
}

fn address_warnings(ingress: &Value) -> Vec<String> {
    let at = Path::new("status").child("loadBalancer").child("ingress");
    let points = balancers(ingress).iter().enumerate();
    points.flat_map(|(i, point)| names::ip_warnings(&at.index(i), point.text("ip"))).collect()
}
