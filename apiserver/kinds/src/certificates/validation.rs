//! What a CertificateSigningRequest must obey. What an older server let pass may stay in an update, each sort of it for
//! itself.

use api::internal;
use api::schema::{self, Type};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{difflib, go, names};
use serde_json::Value;

use super::signed;
use model::check::{Faults, same};

const LEGACY_SIGNER: &str = "kubernetes.io/legacy-unknown";
const MIN_EXPIRATION_SECONDS: i64 = 600;

/// What a certificate may be for, as upstream sorts it.
const USAGES: [&str; 23] = [
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

/// What an older server let pass.
#[derive(Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools)]
pub(super) struct Allowed {
    pub(super) approved_and_denied: bool,
    pub(super) legacy_signer: bool,
    pub(super) duplicate_conditions: bool,
    pub(super) empty_condition: bool,
    pub(super) any_certificate: bool,
    pub(super) duplicate_usages: bool,
    pub(super) unknown_usages: bool,
}

impl Allowed {
    pub(super) fn by(old: &Value, new: &Value) -> Self {
        let conditions = old["status"].list("conditions");
        let is = |kind: &str| conditions.iter().any(|condition| condition.text("type") == kind);
        let usages: Vec<&str> = old["spec"].texts("usages").collect();
        Self {
            approved_and_denied: is("Approved") && is("Denied"),
            legacy_signer: old["spec"].text("signerName") == LEGACY_SIGNER,
            duplicate_conditions: conditions.iter().enumerate().any(|(i, condition)| {
                conditions[..i].iter().any(|earlier| earlier.text("type") == condition.text("type"))
            }),
            empty_condition: is(""),
            any_certificate: certificate(new) == certificate(old) || signed::certificates(&certificate(old)).is_err(),
            duplicate_usages: usages.iter().enumerate().any(|(i, usage)| usages[..i].contains(usage)),
            unknown_usages: usages.iter().any(|usage| !USAGES.contains(usage)),
        }
    }
}

/// Base64 as text; what is none reads as it is, and is no PEM.
fn decoded(encoded: &str) -> String {
    STANDARD.decode(encoded).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

fn certificate(request: &Value) -> String {
    decoded(request["status"].text("certificate"))
}

pub(super) fn create(request: &Value) -> ErrorList {
    validate(request, &Allowed::default())
}

fn validate(request: &Value, allowed: &Allowed) -> ErrorList {
    let (spec, at) = (&request["spec"], Path::new("spec"));
    let mut errors = ErrorList::new();
    if let Err(fault) = signed::request(&decoded(spec.text("request"))) {
        errors.invalid(&at.child("request"), spec.get("request").cloned(), fault);
    }
    let usages: Vec<&str> = spec.texts("usages").collect();
    let here = at.child("usages");
    if usages.is_empty() {
        errors.required(&here, "");
    }
    for (i, usage) in usages.iter().enumerate().filter(|_| !allowed.unknown_usages) {
        if !USAGES.contains(usage) {
            errors.unsupported(&here.index(i), *usage, &USAGES);
        }
    }
    for (i, usage) in usages.iter().enumerate().filter(|_| !allowed.duplicate_usages) {
        if usages[..i].contains(usage) {
            errors.duplicate(&here.index(i), *usage);
        }
    }
    let (signer, here) = (spec.text("signerName"), at.child("signerName"));
    if signer == LEGACY_SIGNER && !allowed.legacy_signer {
        errors.invalid(&here, signer, "the legacy signerName is not allowed via this API version");
    } else {
        signer_name(signer, &here, &mut errors);
    }
    if let Some(seconds) = spec.int("expirationSeconds").filter(|seconds| *seconds < MIN_EXPIRATION_SECONDS) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        errors.invalid(&at.child("expirationSeconds"), seconds, detail);
    }
    conditions(request["status"].list("conditions"), allowed, &mut errors);
    if !allowed.any_certificate
        && let Err(fault) = signed::certificates(&certificate(request))
    {
        errors.invalid(&Path::new("status").child("certificate"), "<certificate data>", fault);
    }
    errors
}

/// The name of a signer: a domain, and a path of subdomains.
fn signer_name(name: &str, at: &Path, errors: &mut ErrorList) {
    if name.is_empty() {
        return errors.required(at, "");
    }
    let Some((domain, path)) = name.split_once('/').filter(|(_, path)| !path.contains('/')) else {
        let detail = "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return errors.invalid(at, name, detail);
    };
    if domain.len() > names::DNS1123_SUBDOMAIN_MAX_LENGTH {
        errors.push(Error::too_long(at, names::DNS1123_SUBDOMAIN_MAX_LENGTH));
    }
    labels(domain, names::dns1123_label, at, errors);
    if !domain.contains('.') {
        errors.invalid(at, domain, "should be a domain with at least two segments separated by dots");
    }
    labels(path, names::dns1123_subdomain, at, errors);
    // A path has room for a namespace, a dot and a name.
    let most = 2 * names::DNS1123_SUBDOMAIN_MAX_LENGTH + names::DNS1123_LABEL_MAX_LENGTH + 2;
    if name.len() > most {
        errors.push(Error::too_long(at, most));
    }
}

/// The first label that is none is told.
fn labels(text: &str, rule: fn(&str) -> Vec<String>, at: &Path, errors: &mut ErrorList) {
    let faulty = text.split('.').map(|label| (label, rule(label))).find(|(_, faults)| !faults.is_empty());
    if let Some((label, faults)) = faulty {
        let faults = faults.into_iter().map(|fault| format!("validating label {}: {fault}", go::quote(label)));
        errors.each(at, text, faults.collect());
    }
}

fn conditions(conditions: &[Value], allowed: &Allowed, errors: &mut ErrorList) {
    let at = Path::new("status").child("conditions");
    let seen = |before: usize, kind: &str| conditions[..before].iter().any(|c| c.text("type") == kind);
    for (i, condition) in conditions.iter().enumerate() {
        let here = at.index(i);
        let (kind, state) = (condition.text("type"), condition.text("status"));
        if kind.is_empty() && !allowed.empty_condition {
            errors.required(&here.child("type"), "");
        }
        let known: &[&str] = match kind {
            "Approved" | "Denied" | "Failed" => &["True"],
            _ => &["False", "True", "Unknown"],
        };
        errors.one_of(&here.child("status"), state, known);
        let other = match kind {
            "Approved" => "Denied",
            "Denied" => "Approved",
            _ => "",
        };
        if !allowed.approved_and_denied && !other.is_empty() && seen(i, other) {
            errors.invalid(&at, kind, "Approved and Denied conditions are mutually exclusive");
        }
        if !allowed.duplicate_conditions && seen(i, kind) {
            errors.duplicate(&here.child("type"), kind);
        }
    }
}

/// Faults of an update of the object, or of its part `status` or `approval`.
pub(super) fn update(request: &Value, old: &Value, part: &str) -> ErrorList {
    let mut errors = validate(request, &Allowed::by(old, request));
    let at = Path::new("status").child("conditions");
    let of = |object: &Value, kind: &str| -> Vec<Value> {
        let conditions = object["status"].list("conditions").iter();
        conditions.filter(|condition| condition.text("type") == kind).cloned().collect()
    };
    for kind in ["Approved", "Denied", "Failed"] {
        if of(request, kind).len() < of(old, kind).len() {
            errors.forbidden(&at, format!("updates may not remove a condition of type \"{kind}\""));
        }
    }
    for kind in ["Approved", "Denied"].into_iter().filter(|_| part != "approval") {
        let (new, before) = (of(request, kind), of(old, kind));
        if new.len() > before.len() {
            errors.forbidden(&at, format!("updates may not add a condition of type \"{kind}\""));
        } else if new.len() == before.len() && !same(Some(&new.clone().into()), Some(&before.clone().into())) {
            let difference = difflib::unified(&printed(&before), &printed(&new));
            errors.forbidden(&at, format!("updates may not modify a condition of type \"{kind}\"\n{difference}"));
        }
    }
    let at = Path::new("status").child("certificate");
    if certificate(request) != certificate(old) {
        if part != "status" {
            errors.forbidden(&at, "updates may not set certificate content");
        } else if !certificate(old).is_empty() {
            errors.forbidden(&at, "updates may not modify existing certificate content");
        }
    }
    errors
}

fn printed(conditions: &[Value]) -> String {
    let ty: &Type = schema::named("certificates.v1", "CertificateSigningRequestCondition")
        .expect("the table has the condition's type");
    internal::indent(&internal::show_list(Some(&conditions.to_vec().into()), ty))
}
