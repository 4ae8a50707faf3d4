//! Secrets (`ValidateSecret`): what each type must hold. No error shows a value.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::{meta, names};
use model::check::{Faults, keep};
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

use super::configmap::{MAX_BYTES, decoded_length, immutable};

/// Secrets.
pub struct Secrets;

const ACCOUNT: &str = "kubernetes.io/service-account.name";

impl Strategy for Secrets {
    fn prepare_for_update(&self, _: &WriteContext<'_>, secret: &mut Value, old: &Value) {
        // A client that leaves the type out keeps it.
        if secret.text("type").is_empty() {
            keep(secret, old, "type");
        }
    }

    fn validate(&self, _: &WriteContext<'_>, secret: &Value) -> ErrorList {
        validate(secret)
    }

    fn validate_update(&self, _: &WriteContext<'_>, secret: &Value, old: &Value) -> ErrorList {
        let mut errors = ErrorList::new();
        if secret.text("type") != old.text("type") {
            errors.invalid(&Path::new("type"), secret.text("type"), "field is immutable");
        }
        errors.extend(immutable(secret, old, &["data"]));
        errors.extend(validate(secret));
        errors
    }
}

fn validate(secret: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let at = Path::new("data");
    let mut size = 0;
    for (key, value) in secret.entries("data") {
        errors.each(&at.key(key), key, names::config_map_key(key));
        size += decoded_length(value.as_str().unwrap_or_default());
    }
    if size > MAX_BYTES {
        errors.push(Error::too_long(&at, MAX_BYTES));
    }
    let data = secret.sub("data");
    let mut need = |key: &str| {
        if !data.has(key) {
            errors.required(&at.key(key), "");
        }
    };
    match secret.text("type") {
        "kubernetes.io/service-account-token" if meta::annotation(secret, ACCOUNT).unwrap_or_default().is_empty() => {
            errors.required(&Path::new("metadata").child("annotations").key(ACCOUNT), "");
        }
        "kubernetes.io/dockercfg" => docker(data, ".dockercfg", &at, &mut errors),
        "kubernetes.io/dockerconfigjson" => docker(data, ".dockerconfigjson", &at, &mut errors),
        "kubernetes.io/basic-auth" if !data.has("username") && !data.has("password") => {
            need("username");
            need("password");
        }
        "kubernetes.io/ssh-auth" if data.text("ssh-privatekey").is_empty() => {
            errors.required(&at.key("ssh-privatekey"), "");
        }
        "kubernetes.io/tls" => {
            need("tls.crt");
            need("tls.key");
        }
        _ => {}
    }
    errors
}

fn docker(data: Option<&Value>, key: &str, at: &Path, errors: &mut ErrorList) {
    let at = at.key(key);
    let Some(text) = data.sub(key).and_then(Value::as_str) else { return errors.required(&at, "") };
    let bytes = STANDARD.decode(text).unwrap_or_default();
    let fault = match machinery::json::from_slice(&bytes) {
        Err(message) => message,
        Ok(document) if document.value.is_object() || document.value.is_null() => return,
        Ok(document) => {
            let kind = machinery::go::json_kind(&document.value);
            format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}")
        }
    };
    errors.invalid(&at, "<secret contents redacted>", fault);
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::check::said;
    use serde_json::json;

    #[test]
    fn each_type_has_its_keys() {
        for (secret, want) in [
            (json!({"type": "Opaque", "data": {"a": "eA=="}}), vec![]),
            (json!({"type": "kubernetes.io/tls", "data": {"tls.crt": ""}}), vec!["data[tls.key]: Required value"]),
            (
                json!({"type": "kubernetes.io/basic-auth"}),
                vec!["data[username]: Required value", "data[password]: Required value"],
            ),
            (json!({"type": "kubernetes.io/basic-auth", "data": {"password": ""}}), vec![]),
            (
                json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}}),
                vec!["data[ssh-privatekey]: Required value"],
            ),
            (
                json!({"type": "kubernetes.io/service-account-token"}),
                vec!["metadata.annotations[kubernetes.io/service-account.name]: Required value"],
            ),
            (json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}}), vec![]),
            (
                json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "eA=="}}),
                vec![
                    "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\": invalid character 'x' looking for beginning of value",
                ],
            ),
        ] {
            assert_eq!(said(&validate(&secret)), want, "{secret}");
        }
    }
}
