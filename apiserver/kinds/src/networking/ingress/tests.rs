//! The faults of upstream's own tests of Ingress, and what an update forgives.

use serde_json::json;

use super::*;
use model::check::said;

const LABEL: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";
const WILDCARD: &str = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

fn of(spec: Value) -> Value {
    json!({"metadata": {"name": "i"}, "spec": spec})
}

fn service(port: Value) -> Value {
    json!({"service": {"name": "defaultbackend", "port": port}})
}

fn rule(host: &str, path: &str, kind: Value) -> Value {
    let path = json!({"path": path, "pathType": kind, "backend": service(json!({"number": 80}))});
    json!({"host": host, "http": {"paths": [path]}})
}

fn check(spec: Value, want: &[String]) {
    assert_eq!(said(&create(&of(spec.clone()))), want, "{spec}");
}

#[test]
fn there_is_a_backend_or_a_rule() {
    check(json!({}), &["spec: Invalid value: null: either `defaultBackend` or `rules` must be specified".to_owned()]);
    check(json!({"defaultBackend": service(json!({"number": 80}))}), &[]);
    check(json!({"rules": [{"host": "foo.bar.com"}]}), &[]);
}

#[test]
fn backends_are_a_service_with_one_port_or_a_resource() {
    let backend = |backend: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("spec.defaultBackend{fault}")).collect();
        check(json!({"defaultBackend": backend}), &want);
    };
    backend(service(json!({"name": "http"})), &[]);
    backend(json!({}), &[r#": Invalid value: "": resource or service backend is required"#]);
    backend(service(json!({})), &[": Required value: port name or number is required"]);
    backend(
        service(json!({"number": 80, "name": "http"})),
        &[r#": Invalid value: "": cannot set both port name & port number"#],
    );
    backend(
        service(json!({"number": -1})),
        &[".service.port.number: Invalid value: -1: must be between 1 and 65535, inclusive"],
    );
    backend(
        service(json!({"name": "h--p"})),
        &[r#".service.port.name: Invalid value: "h--p": must not contain consecutive hyphens"#],
    );
    backend(json!({"service": {"port": {"number": 80}}}), &[".service.name: Required value"]);
    backend(json!({"service": {"name": "1-service", "port": {"number": 80}}}), &[]);
    backend(
        json!({"service": {"name": "a.b", "port": {"number": 80}}}),
        &[r#".service.name: Invalid value: "a.b": must not contain dots"#],
    );
    let named = json!({"service": {"name": "A", "port": {"number": 80}}});
    backend(named, &[&format!(r#".service.name: Invalid value: "A": {LABEL}"#)]);
    let resource = json!({"apiGroup": "example.com", "kind": "foo", "name": "bar"});
    backend(json!({"resource": resource}), &[]);
    backend(
        json!({"resource": resource, "service": {"name": "s", "port": {"number": 1}}}),
        &[r#": Invalid value: "": cannot set both resource and service backends"#],
    );
    backend(
        json!({"resource": {"apiGroup": "e_x", "kind": "a/b"}}),
        &[
            &format!(r#".resource.apiGroup: Invalid value: "e_x": {SUBDOMAIN}"#),
            r#".resource.kind: Invalid value: "a/b": may not contain '/'"#,
            ".resource.name: Required value",
        ],
    );
}

#[test]
fn paths_are_of_a_known_type_and_absolute() {
    let at = "spec.rules[0].http.paths[0]";
    let path = |path: &str, kind: &str, want: Option<&str>| {
        let want: Vec<String> =
            want.iter().map(|fault| format!("{at}.path: Invalid value: \"{path}\": {fault}")).collect();
        check(json!({"rules": [rule("foo.bar.com", path, json!(kind))]}), &want);
    };
    for kind in ["Exact", "Prefix"] {
        path("/", kind, None);
        path("/foo", kind, None);
        path("foo", kind, Some("must be an absolute path"));
        path("", kind, Some("must be an absolute path"));
        path("/foo/", kind, None);
        path("/foo//bar/foo", kind, Some("must not contain '//'"));
        path("/foo/./foo", kind, Some("must not contain '/./'"));
        path("/foo/../foo", kind, Some("must not contain '/../'"));
        path("/foo/%2f/foo", kind, Some("must not contain '%2f'"));
        path("/foo/%2F/foo", kind, Some("must not contain '%2F'"));
        path("/foo/..", kind, Some("cannot end with '/..'"));
        path("/foo/.", kind, Some("cannot end with '/.'"));
    }
    path("", "ImplementationSpecific", None);
    path("foo", "ImplementationSpecific", Some("must be an absolute path"));
    path("/foo//bar", "ImplementationSpecific", None);
    check(
        json!({"rules": [rule("a.b", "/", Value::Null)]}),
        &[format!("{at}.pathType: Required value: pathType must be specified")],
    );
    check(
        json!({"rules": [rule("a.b", "/", json!("Regex"))]}),
        &[format!(
            r#"{at}.pathType: Unsupported value: "Regex": supported values: "Exact", "ImplementationSpecific", "Prefix""#
        )],
    );
    check(json!({"rules": [{"host": "a.b", "http": {}}]}), &["spec.rules[0].http.paths: Required value".to_owned()]);
}

#[test]
fn hosts_are_domains_or_wildcards() {
    let host = |host: &str, want: &[String]| {
        let want: Vec<String> =
            want.iter().map(|fault| format!("spec.rules[0].host: Invalid value: \"{host}\": {fault}")).collect();
        check(json!({"rules": [{"host": host}]}), &want);
    };
    host("foo.bar.com", &[]);
    host("*.bar.com", &[]);
    host("foobar:80", &[SUBDOMAIN.to_owned()]);
    host("foo.*.bar.com", &[WILDCARD.to_owned()]);
    host("*", &[WILDCARD.to_owned()]);
    host("1.2.3.4", &[NOT_AN_IP.to_owned()]);
    host("::1", &[NOT_AN_IP.to_owned(), SUBDOMAIN.to_owned()]);
    let tls = |hosts: Value, secret: &str, want: &[String]| {
        let backend = service(json!({"number": 80}));
        check(json!({"defaultBackend": backend, "tls": [{"hosts": hosts, "secretName": secret}]}), want);
    };
    tls(json!(["abc.bar.com", "*.bar.com"]), "", &[]);
    tls(
        json!(["a_b", "*b"]),
        "s",
        &[
            format!("spec.tls[0].hosts[0]: Invalid value: \"a_b\": {SUBDOMAIN}"),
            format!("spec.tls[0].hosts[1]: Invalid value: \"*b\": {WILDCARD}"),
        ],
    );
    tls(json!([]), "invalid name", &[format!("spec.tls[0].secretName: Invalid value: \"invalid name\": {SUBDOMAIN}")]);
    check(
        json!({"rules": [{}], "ingressClassName": "a_b"}),
        &[format!("spec.ingressClassName: Invalid value: \"a_b\": {SUBDOMAIN}")],
    );
}

#[test]
fn the_annotation_of_old_says_the_same_class() {
    let with = |annotation: &str, class: Value| json!({"metadata": {"annotations": {CLASS: annotation}}, "spec": {"rules": [{}], "ingressClassName": class}});
    assert_eq!(said(&create(&with("foo", Value::Null))), [""; 0]);
    assert_eq!(said(&create(&with("foo", json!("foo")))), [""; 0]);
    assert_eq!(
        said(&create(&with("foo", json!("bar")))),
        [
            r#"annotations.kubernetes.io/ingress.class: Invalid value: "foo": must match `ingressClassName` when both are specified"#
        ]
    );
}

#[test]
fn what_was_let_pass_may_stay() {
    let secret = |name: &str| of(json!({"rules": [{}], "tls": [{"secretName": name}]}));
    assert_eq!(update(&secret("also invalid"), &secret("invalid name")), []);
    assert_eq!(update(&secret("invalid name"), &secret("valid")).len(), 1);
    let wildcard = |path: &str| of(json!({"rules": [rule("*.foo.bar.com", path, json!("Exact"))]}));
    assert_eq!(update(&wildcard("bar"), &wildcard("foo")), []);
    assert_eq!(
        said(&update(&wildcard("foo"), &wildcard("/foo"))),
        [r#"spec.rules[0].http.paths[0].path: Invalid value: "foo": must be an absolute path"#]
    );
    // Upstream sees a name of the newer rules as a fault of the old object here, and lets the new one's rules pass.
    let mut old = wildcard("/foo");
    old["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]["name"] = json!("1-service");
    assert_eq!(update(&wildcard("foo"), &old), []);
}

#[test]
fn a_status_has_addresses_and_names() {
    let of = |points: Value| json!({"status": {"loadBalancer": {"ingress": points}}});
    let at = "status.loadBalancer.ingress";
    let old = of(json!([{"ip": "127.0.0.1"}, {"ip": "1.2.3.04"}]));
    assert_eq!(status(&of(json!([{"ip": "127.0.0.2", "hostname": "test.com"}, {"ip": "1.2.3.04"}])), &old), []);
    assert_eq!(
        said(&status(
            &of(json!([{"ip": "abcd"}, {"hostname": "127.0.0.1"}, {"hostname": "a_b"}, {"ip": "1.2.3.05"}])),
            &old
        )),
        [
            format!(
                "{at}[0].ip: Invalid value: \"abcd\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
            ),
            format!("{at}[1].hostname: Invalid value: \"127.0.0.1\": {NOT_AN_IP}"),
            format!("{at}[2].hostname: Invalid value: \"a_b\": {SUBDOMAIN}"),
            format!("{at}[3].ip: Invalid value: \"1.2.3.05\": must not have leading 0s"),
        ]
    );
    assert_eq!(
        address_warnings(&of(json!([{"ip": "1.2.3.4"}, {"ip": "1.2.3.05"}]))),
        [r#"status.loadBalancer.ingress[1]: non-standard IP address "1.2.3.05" is invalid: use "1.2.3.5""#]
    );
}
