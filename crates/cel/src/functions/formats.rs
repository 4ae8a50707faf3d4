//! Named formats (upstream's `library/format.go`): what is wrong with a text, if anything.

use formats::matches as matches_format;
use machinery::names;

use super::{Outcome, boxed, strings_of};
use crate::value::Value;

const NAMES: [&str; 13] = [
    "dns1123Label",
    "dns1123Subdomain",
    "dns1035Label",
    "qualifiedName",
    "dns1123LabelPrefix",
    "dns1123SubdomainPrefix",
    "dns1035LabelPrefix",
    "labelValue",
    "uri",
    "uuid",
    "byte",
    "date",
    "datetime",
];

fn named(name: &str) -> Option<&'static str> {
    NAMES.iter().find(|known| **known == name).copied()
}

fn faults(format: &str, text: &str) -> Vec<String> {
    match format {
        "dns1123Label" => names::dns1123_label(text),
        "dns1123Subdomain" => names::dns1123_subdomain(text),
        "dns1035Label" => names::dns1035_label(text),
        "qualifiedName" => names::qualified_name(text),
        "labelValue" => names::label_value(text),
        "dns1123LabelPrefix" => names::name_is_dns_label(text, true),
        "dns1123SubdomainPrefix" => names::name_is_dns_subdomain(text, true),
        "dns1035LabelPrefix" => names::name_is_dns1035_label(text, true),
        other if matches_format(other, text) => Vec::new(),
        "uuid" => vec!["does not match the UUID format".to_owned()],
        "byte" => vec!["invalid base64".to_owned()],
        other => vec![format!("invalid {other}")],
    }
}

pub(super) fn call(name: &str, args: &[Value]) -> Option<Outcome> {
    Some(match (name, args) {
        ("format.named", [Value::String(name)]) => Ok(boxed(named(name).map(Value::Format))),
        ("validate", [Value::Format(format), Value::String(text)]) => {
            let found = faults(format, text);
            Ok(boxed((!found.is_empty()).then(|| strings_of(found))))
        }
        (name, []) => Ok(Value::Format(named(name.strip_prefix("format.")?)?)),
        _ => return None,
    })
}
