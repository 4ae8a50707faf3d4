//! Requests for certificates by table: who is approved, what is signed, what is cleaned up.

use std::time::Duration;

use component::tls::issue::Request;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use serde_json::{Value, json};

use super::{
    approve, clean,
    sign::{self, Decision},
    usages,
};

type Csr = super::Csr;

const NOW: &str = "2026-01-01T12:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// What a request in PEM would say.
fn request(common_name: &str, organization: &str, names: Vec<SanType>) -> Request {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.distinguished_name.push(DnType::OrganizationName, organization);
    params.subject_alt_names = names;
    let pem = params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap();
    Request::parse(pem.as_bytes()).unwrap()
}

fn node(names: Vec<SanType>) -> Request {
    request("system:node:a", "system:nodes", names)
}

fn dns() -> SanType {
    SanType::DnsName("a".try_into().unwrap())
}

fn uses(of: &[&str]) -> Vec<String> {
    of.iter().map(|u| (*u).to_owned()).collect()
}

fn csr(spec: Value, status: Value) -> Csr {
    let mut whole = json!({"request": "", "signerName": "kubernetes.io/kube-apiserver-client-kubelet"});
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    let meta = json!({"name": "r", "creationTimestamp": NOW});
    serde_json::from_value(json!({"metadata": meta, "spec": whole, "status": status})).unwrap()
}

const CLIENT: [&str; 3] = ["digital signature", "key encipherment", "client auth"];
const SERVER: [&str; 3] = ["digital signature", "key encipherment", "server auth"];

#[test]
fn kubelets_ask_for_what_a_kubelet_needs() {
    let ip = || SanType::IpAddress("10.0.0.1".parse().unwrap());
    let mail = || SanType::Rfc822Name("a@b".try_into().unwrap());
    let uri = || SanType::URI("a://b".try_into().unwrap());
    let client = |request: &Request, of: &[&str]| usages::kubelet_client(request, &uses(of)).err().unwrap_or_default();
    assert_eq!(client(&node(vec![]), &CLIENT), "");
    assert_eq!(client(&node(vec![]), &["client auth", "digital signature"]), "", "keys need not be RSA");
    assert_eq!(
        client(&request("system:node:a", "others", vec![]), &CLIENT),
        "subject organization is not system:nodes"
    );
    assert_eq!(
        client(&request("a", "system:nodes", vec![]), &CLIENT),
        "subject common name does not begin with system:node:"
    );
    assert_eq!(client(&node(vec![dns()]), &CLIENT), "DNS subjectAltNames are not allowed");
    assert_eq!(client(&node(vec![mail()]), &CLIENT), "Email subjectAltNames are not allowed");
    assert_eq!(client(&node(vec![ip()]), &CLIENT), "IP subjectAltNames are not allowed");
    assert_eq!(client(&node(vec![uri()]), &CLIENT), "URI subjectAltNames are not allowed");
    let fault = "usages did not match [client auth digital signature key encipherment]";
    for wrong in [&SERVER[..], &["client auth"], &["digital signature", "client auth", "server auth"], &[]] {
        assert_eq!(client(&node(vec![]), wrong), fault, "{wrong:?}");
    }

    let server = |request: &Request, of: &[&str]| usages::kubelet_serving(request, &uses(of)).err().unwrap_or_default();
    assert_eq!(server(&node(vec![dns()]), &SERVER), "");
    assert_eq!(server(&node(vec![ip()]), &["server auth", "digital signature"]), "");
    assert_eq!(server(&node(vec![]), &SERVER), "DNS or IP subjectAltName is required");
    assert_eq!(server(&node(vec![dns(), mail()]), &SERVER), "Email subjectAltNames are not allowed");
    assert_eq!(server(&node(vec![dns(), uri()]), &SERVER), "URI subjectAltNames are not allowed");
    assert_eq!(
        server(&node(vec![dns()]), &CLIENT),
        "usages did not match [digital signature key encipherment server auth]"
    );
    assert_eq!(
        server(&request("a", "system:nodes", vec![dns()]), &SERVER),
        "subject common name does not begin with system:node:"
    );

    let any = |of: &[&str]| usages::client(&uses(of)).err().unwrap_or_default();
    assert_eq!(any(&["client auth"]), "");
    assert_eq!(any(&CLIENT), "");
    assert_eq!(any(&["client auth", "cert sign"]), "invalid usage for client certificate: cert sign");
    assert_eq!(any(&["digital signature"]), "missing required usage for client certificate: client auth");
}

#[test]
fn usages_are_encoded_once_and_in_order() {
    let (bits, extended) =
        usages::encoded(&uses(&["s/mime", "client auth", "email protection", "signing", "crl sign", "any"])).unwrap();
    assert_eq!(bits, 0b100_0001);
    let ends: Vec<_> = extended.iter().map(|oid| *oid.last().unwrap()).collect();
    assert_eq!(ends, [0, 2, 4]);
    assert_eq!(
        usages::encoded(&uses(&["a", "client auth", "b"])).unwrap_err(),
        r#"unrecognized usage values: ["a" "b"]"#
    );
}

#[test]
fn requests_of_kubelets_are_recognised() {
    let check = |spec: Value, request: &Request, want: &[&str]| {
        let got: Vec<_> =
            approve::kinds(&csr(spec.clone(), json!({})), request).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(got, want, "{spec}");
    };
    check(json!({"usages": CLIENT, "username": "bootstrap"}), &node(vec![]), &["nodeclient"]);
    check(json!({"usages": CLIENT, "username": "system:node:a"}), &node(vec![]), &["selfnodeclient", "nodeclient"]);
    check(json!({"usages": CLIENT, "username": "system:node:b"}), &node(vec![]), &["nodeclient"]);
    check(json!({"usages": SERVER, "username": "system:node:a"}), &node(vec![]), &[]);
    check(json!({"usages": CLIENT, "username": "system:node:a"}), &node(vec![dns()]), &[]);
    let other =
        json!({"usages": CLIENT, "username": "system:node:a", "signerName": "kubernetes.io/kube-apiserver-client"});
    check(other, &node(vec![]), &[]);
}

#[test]
fn what_is_approved_is_signed_if_it_is_what_it_says() {
    let is = |kind: &str| json!({"type": kind, "status": "True"});
    let check = |signer: &str, usages: &[&str], conditions: Value, want: Decision| {
        let csr = csr(json!({"signerName": signer, "usages": usages}), json!({"conditions": conditions}));
        assert_eq!(sign::decide(&csr, || Ok(node(vec![]))).unwrap(), want, "{csr:?}");
    };
    let (kubelet, client) = ("kubernetes.io/kube-apiserver-client-kubelet", "kubernetes.io/kube-apiserver-client");
    check(kubelet, &CLIENT, json!([is("Approved")]), Decision::Sign);
    check(kubelet, &CLIENT, json!([]), Decision::Leave);
    check(kubelet, &CLIENT, json!([is("Approved"), is("Denied")]), Decision::Leave);
    check(kubelet, &CLIENT, json!([is("Approved"), is("Failed")]), Decision::Leave);
    check(kubelet, &CLIENT, json!([is("Approved"), {"type": "Failed", "status": "False"}]), Decision::Sign);
    check("example.com/mine", &CLIENT, json!([is("Approved")]), Decision::Leave);
    check(client, &CLIENT, json!([is("Approved")]), Decision::Sign);
    check(
        client,
        &SERVER,
        json!([is("Approved")]),
        Decision::Fail("invalid usage for client certificate: server auth".into()),
    );
    let nameless = Decision::Fail("DNS or IP subjectAltName is required".into());
    check("kubernetes.io/kubelet-serving", &SERVER, json!([is("Approved")]), nameless);
    check("kubernetes.io/legacy-unknown", &["any"], json!([is("Approved")]), Decision::Sign);
    let unreadable = csr(json!({"usages": CLIENT}), json!({"conditions": [is("Approved")]}));
    assert!(sign::decide(&unreadable, || anyhow::bail!("unreadable")).is_err());
}

#[test]
fn certificates_last_as_long_as_asked_within_limits() {
    let (year, hour) = (Duration::from_secs(365 * 86400), 3600);
    let check = |asked: Option<i32>, want: u64| assert_eq!(sign::lasts(asked, year).as_secs(), want, "{asked:?}");
    check(None, 365 * 86400);
    check(Some(hour), 3600);
    check(Some(i32::MAX), 365 * 86400);
    check(Some(599), 600);
    check(Some(-5), 600);

    let until = |hours: i64| now() + SignedDuration::from_hours(hours);
    let check = |lasts: u64, authority: i64, want: Result<i64, &str>| {
        let got = sign::terms(&[], Duration::from_secs(lasts), until(authority), now());
        let got = got.map_err(|e| e.to_string());
        if let Ok(terms) = &got {
            assert_eq!(terms.not_before, now() - SignedDuration::from_mins(5));
        }
        let got = got.map(|terms| terms.not_after.duration_since(now()).as_secs());
        assert_eq!(got, want.map_err(str::to_owned), "{lasts} {authority}");
    };
    check(3600, 24, Ok(3600));
    check(8 * 3600 - 1, 24, Ok(8 * 3600 - 1));
    check(8 * 3600, 24, Ok(8 * 3600 - 300));
    check(48 * 3600, 24, Ok(24 * 3600));
    check(3600, 0, Err("refusing to sign a certificate that expired in the past: NotAfter=2026-01-01T12:00:00Z"));
    check(3600, -1, Err("the signer has expired: NotAfter=2026-01-01T11:00:00Z"));
}

#[test]
fn old_requests_go() {
    let at = |hours: i64, more: i64| (now() - SignedDuration::from_secs(hours * 3600 + more)).to_string();
    let check = |created: String, conditions: Value, certificate: Option<&str>, want: Option<&str>| {
        let mut csr = csr(json!({}), json!({"conditions": conditions}));
        csr.metadata.creation_timestamp = serde_json::from_value(json!(created)).unwrap();
        let certificate = certificate.map(|pem| k8s_openapi::ByteString(pem.as_bytes().to_vec()));
        csr.status.as_mut().unwrap().certificate = certificate;
        assert_eq!(clean::why(&csr, now()), want, "{csr:?}");
    };
    let is = |kind: &str, at: String| json!([{"type": kind, "status": "True", "lastUpdateTime": at}]);
    check(at(24, 0), json!([]), None, None);
    check(at(24, 1), json!([]), None, Some("unhandled"));
    for (state, why) in [("Denied", "denied"), ("Failed", "failed")] {
        check(at(99, 0), is(state, at(1, 0)), None, None);
        check(at(99, 0), is(state, at(1, 1)), None, Some(why));
    }
    check(at(99, 0), is("Approved", at(24, 0)), None, None);
    check(at(99, 0), is("Approved", at(24, 1)), None, Some("approved but unissued"));
    check(at(99, 0), is("Approved", at(1, 0)), Some("nonsense"), None);
    check(at(99, 0), is("Approved", at(1, 1)), Some("nonsense"), Some("approved and issued"));
    let until = |year: i32| {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2025, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 12, 31);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    };
    check(at(0, 0), is("Approved", at(0, 0)), Some(&until(2025)), Some("its certificate is expired"));
    check(at(0, 0), is("Approved", at(0, 0)), Some(&until(2026)), None);
}
