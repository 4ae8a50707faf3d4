//! The faults of upstream's own tests of CertificateSigningRequest, by requests and certificates made here.

use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::validation::{Allowed, create, update};
use super::*;
use model::check::said;

struct Made {
    request: String,
    /// Signed by another key than its own.
    forged: String,
    certificate: String,
}

static MADE: LazyLock<Made> = LazyLock::new(|| {
    let [own, other] = [(); 2].map(|()| rcgen::KeyPair::generate().expect("a key"));
    let parameters = rcgen::CertificateParams::new(vec!["a.example.com".to_owned()]).expect("parameters");
    let pem = |key: &rcgen::KeyPair| parameters.serialize_request(key).expect("a request").pem().expect("PEM");
    let request = pem(&own);
    // The other's signature is the end of its request, and as long.
    let der = |pem: &str| super::pem::decode(pem).expect("a block").0.bytes;
    let (mut forged, theirs) = (der(&request), der(&pem(&other)));
    let tail = 40.min(forged.len()).min(theirs.len());
    let at = forged.len() - tail;
    forged[at..].copy_from_slice(&theirs[theirs.len() - tail..]);
    let forged = format!(
        "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
        STANDARD.encode(forged)
    );
    let certificate = parameters.self_signed(&own).expect("a certificate").pem();
    Made { request, forged, certificate }
});

fn of(change: impl FnOnce(&mut Value)) -> Value {
    let mut request = json!({
        "metadata": {"name": "r"},
        "spec": {"usages": ["any"], "signerName": "example.com/something", "request": STANDARD.encode(&MADE.request)},
        "status": {},
    });
    change(&mut request);
    request
}

fn check(change: impl FnOnce(&mut Value), want: &[String]) {
    assert_eq!(said(&create(&of(change))), want);
}

const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

#[test]
fn requests_are_signed_with_their_own_key() {
    check(|_| {}, &[]);
    let no_pem = "PEM block type must be CERTIFICATE REQUEST";
    check(|r| r["spec"]["request"] = Value::Null, &[format!("spec.request: Invalid value: null: {no_pem}")]);
    let encoded = STANDARD.encode("invalid data");
    check(
        |r| r["spec"]["request"] = json!(encoded),
        &[format!("spec.request: Invalid value: \"{encoded}\": {no_pem}")],
    );
    let certificate = STANDARD.encode(&MADE.certificate);
    let said_of = |request: String| said(&create(&of(|r| r["spec"]["request"] = json!(request))));
    assert!(said_of(certificate)[0].ends_with(no_pem));
    assert!(said_of(STANDARD.encode(&MADE.forged))[0].ends_with("x509: ECDSA verification failure"));
}

#[test]
fn usages_signers_and_times() {
    check(|r| r["spec"]["usages"] = json!([]), &["spec.usages: Required value".to_owned()]);
    let said = said(&create(&of(|r| r["spec"]["usages"] = json!(["unknown", "any", "any"]))));
    assert!(
        said[0].starts_with(r#"spec.usages[0]: Unsupported value: "unknown": supported values: "any", "cert sign", "#)
    );
    assert_eq!(said[1..], [r#"spec.usages[2]: Duplicate value: "any""#]);
    for seconds in [-1, 0, 1, 60] {
        check(
            |r| r["spec"]["expirationSeconds"] = json!(seconds),
            &[format!(
                "spec.expirationSeconds: Invalid value: {seconds}: may not specify a duration less than 600 seconds (10 minutes)"
            )],
        );
    }
    check(|r| r["spec"]["expirationSeconds"] = json!(600), &[]);

    let signer = |name: &str, want: &[String]| {
        let want: Vec<String> = want.iter().map(|fault| format!("spec.signerName: {fault}")).collect();
        check(|r| r["spec"]["signerName"] = json!(name), &want);
    };
    signer("", &["Required value".to_owned()]);
    for name in ["an-invalid-signer-name", "an-invalid-signer-name.com/something/else"] {
        signer(
            name,
            &[format!(
                "Invalid value: \"{name}\": must be a fully qualified domain and path of the form 'example.com/signer-name'"
            )],
        );
    }
    signer(
        "example/some-signer-name",
        &[r#"Invalid value: "example": should be a domain with at least two segments separated by dots"#.to_owned()],
    );
    for path in ["", "something-", "-"] {
        signer(
            &format!("example.com/{path}"),
            &[format!("Invalid value: \"{path}\": validating label \"{path}\": {SUBDOMAIN}")],
        );
    }
    let [a61, a63, a66, a253] = [61, 63, 66, 253].map(|n| "a".repeat(n));
    let domain = format!("{a63}.{a63}.{a63}.{a61}");
    signer(&format!("{domain}/{a63}.{a253}"), &[]);
    signer(&format!("abc.io/{a253}.{a253}"), &[]);
    signer(&format!("{domain}/{a63}.{a253}.toolong"), &["Too long: may not be more than 571 bytes".to_owned()]);
    signer(&format!("{domain}.extra/valid-path"), &["Too long: may not be more than 253 bytes".to_owned()]);
    signer(
        &format!("{a66}.example.io/valid-path"),
        &[format!(
            "Invalid value: \"{a66}.example.io\": validating label \"{a66}\": must be no more than 63 characters"
        )],
    );
    signer("kubernetes.io/legacy-unknown", &[
        r#"Invalid value: "kubernetes.io/legacy-unknown": the legacy signerName is not allowed via this API version"#
            .to_owned(),
    ]);
}

fn conditions(kinds: &[&str]) -> Value {
    kinds.iter().map(|kind| json!({"type": kind, "status": "True"})).collect()
}

#[test]
fn conditions_are_told_once_and_true_where_they_decide() {
    let with = |given: Value, want: &[&str]| {
        let want: Vec<String> = want.iter().map(|fault| format!("status.conditions{fault}")).collect();
        check(|r| r["status"]["conditions"] = given, &want);
    };
    with(conditions(&["Approved", "Failed", "Other"]), &[]);
    with(conditions(&[""]), &["[0].type: Required value"]);
    let exclusive = "Approved and Denied conditions are mutually exclusive";
    with(conditions(&["Approved", "Denied"]), &[&format!(r#": Invalid value: "Denied": {exclusive}"#)]);
    with(conditions(&["Approved", "Approved"]), &[r#"[1].type: Duplicate value: "Approved""#]);
    with(
        json!([{"type": "Approved", "status": "False"}, {"type": "Other", "status": "Perhaps"}, {"type": "X"}]),
        &[
            r#"[0].status: Unsupported value: "False": supported values: "True""#,
            r#"[1].status: Unsupported value: "Perhaps": supported values: "False", "True", "Unknown""#,
            "[2].status: Required value",
        ],
    );
}

#[test]
fn certificates_are_pem_without_headers() {
    let with = |pem: &str, want: &str| {
        let want =
            (!want.is_empty()).then(|| format!("status.certificate: Invalid value: \"<certificate data>\": {want}"));
        check(|r| r["status"]["certificate"] = json!(STANDARD.encode(pem)), &Vec::from_iter(want));
    };
    let block = |kind: &str, body: &str| format!("-----BEGIN {kind}-----\n{body}-----END {kind}-----\n");
    with(&MADE.certificate, "");
    with(&format!("# leaf\n{0}# same\n{0}", MADE.certificate), "");
    with("no PEM blocks", "must contain at least one CERTIFICATE PEM block");
    with(&block("CERTIFICATE1", "AAEC\n"), r#"only CERTIFICATE PEM blocks are allowed, found "CERTIFICATE1""#);
    with(&block("CERTIFICATE", "Some: header\n\nAAEC\n"), "no PEM block headers are permitted");
    with(&block("CERTIFICATE", "?\n"), "must contain at least one CERTIFICATE PEM block");
    with(&block("CERTIFICATE", ""), "found CERTIFICATE PEM block containing 0 certificates");
    with(&block("CERTIFICATE", "AAEC\n"), "x509: malformed certificate");
}

#[test]
fn each_part_has_its_writers() {
    let conditioned = |kinds: &[&str]| of(|r| r["status"]["conditions"] = conditions(kinds));
    let certified = |pem: &str| of(|r| r["status"]["certificate"] = json!(STANDARD.encode(pem)));
    let check = |new: &Value, old: &Value, part: &str, want: &[&str]| {
        assert_eq!(said(&update(new, old, part)), want, "{part}");
    };
    let bare = of(|_| {});
    for kind in ["Approved", "Denied"] {
        let add = format!("status.conditions: Forbidden: updates may not add a condition of type \"{kind}\"");
        check(&conditioned(&[kind]), &bare, "", &[&add]);
        check(&conditioned(&[kind]), &bare, "status", &[&add]);
        check(&conditioned(&[kind]), &bare, "approval", &[]);
    }
    for part in ["", "status", "approval"] {
        check(&bare, &bare, part, &[]);
        check(&conditioned(&["Failed"]), &bare, part, &[]);
        for kind in ["Approved", "Denied", "Failed"] {
            let remove = format!("status.conditions: Forbidden: updates may not remove a condition of type \"{kind}\"");
            check(&bare, &conditioned(&[kind]), part, &[&remove]);
        }
    }
    let set = "status.certificate: Forbidden: updates may not set certificate content";
    check(&certified(&MADE.certificate), &bare, "", &[set]);
    check(&certified(&MADE.certificate), &bare, "approval", &[set]);
    check(&certified(&MADE.certificate), &bare, "status", &[]);
    check(
        &certified("no PEM"),
        &bare,
        "status",
        &[
            r#"status.certificate: Invalid value: "<certificate data>": must contain at least one CERTIFICATE PEM block"#,
        ],
    );
    let two = format!("{0}{0}", MADE.certificate);
    check(
        &certified(&two),
        &certified(&MADE.certificate),
        "status",
        &["status.certificate: Forbidden: updates may not modify existing certificate content"],
    );
    let mut changed = conditioned(&["Approved"]);
    changed["status"]["conditions"][0]["reason"] = json!("B");
    check(
        &changed,
        &conditioned(&["Approved"]),
        "",
        &[concat!(
            "status.conditions: Forbidden: updates may not modify a condition of type \"Approved\"\n",
            "@@ -2,7 +2,7 @@\n  {\n   \"Type\": \"Approved\",\n   \"Status\": \"True\",\n-  \"Reason\": \"\",\n+  \"Reason\": \"B\",\n",
            "   \"Message\": \"\",\n   \"LastUpdateTime\": null,\n   \"LastTransitionTime\": null\n",
        )],
    );
}

#[test]
fn what_was_let_pass_may_stay() {
    let allowed = |change: fn(&mut Value)| {
        let old = of(change);
        let mut new = old.clone();
        new["status"]["certificate"] = json!(STANDARD.encode("new"));
        let sorts = Allowed::by(&old, &new);
        assert_eq!(update(&old, &old, ""), []);
        sorts
    };
    assert_eq!(allowed(|_| {}), Allowed::default());
    assert!(allowed(|r| r["status"]["conditions"] = conditions(&["Approved", "Denied"])).approved_and_denied);
    assert!(allowed(|r| r["status"]["conditions"] = conditions(&["A", "A"])).duplicate_conditions);
    assert!(allowed(|r| r["status"]["conditions"] = conditions(&[""])).empty_condition);
    assert!(allowed(|r| r["status"]["certificate"] = json!(STANDARD.encode("old"))).any_certificate);
    assert!(allowed(|r| r["spec"]["signerName"] = json!("kubernetes.io/legacy-unknown")).legacy_signer);
    assert!(allowed(|r| r["spec"]["usages"] = json!(["unknown"])).unknown_usages);
    assert!(allowed(|r| r["spec"]["usages"] = json!(["any", "any"])).duplicate_usages);
}

#[test]
fn what_a_write_takes() {
    let now = jiff::Timestamp::from_second(1000).expect("a time");
    let mut request = of(|r| r["spec"]["username"] = json!("somebody"));
    let user = UserInfo { name: "u".into(), groups: vec!["g".into()], ..UserInfo::default() };
    note_requestor(&mut request, &user);
    assert_eq!((&request["spec"]["username"], &request["spec"]["groups"]), (&json!("u"), &json!(["g"])));
    assert!(!request["spec"].has("uid") && !request["spec"].has("extra"));

    let since = json!("1970-01-01T00:00:05Z");
    let old = of(|r| {
        let times = json!({"type": "Approved", "status": "True", "reason": "A", "lastTransitionTime": since, "lastUpdateTime": since});
        r["status"] = json!({"certificate": "x", "conditions": [times]});
    });
    let mut approval = old.clone();
    approval["spec"] = json!({});
    approval["status"] = json!({"certificate": "y", "conditions": conditions(&["Approved", "Failed"])});
    let mut status = approval.clone();
    prepare_approval(&mut approval, &old, now);
    assert_eq!((&approval["spec"], &approval["status"]["certificate"]), (&old["spec"], &json!("x")));
    let made = &approval["status"]["conditions"];
    let noted = json!("1970-01-01T00:16:40Z");
    assert_eq!((&made[0]["lastTransitionTime"], &made[0]["lastUpdateTime"]), (&since, &noted));
    assert_eq!((&made[1]["lastTransitionTime"], &made[1]["lastUpdateTime"]), (&noted, &noted));

    prepare_status(&mut status, &old, now);
    let made = &status["status"]["conditions"];
    assert_eq!(made[0], old["status"]["conditions"][0], "an approval is left as it was");
    assert_eq!((&status["status"]["certificate"], &made[1]["lastUpdateTime"]), (&json!("y"), &noted));
}
