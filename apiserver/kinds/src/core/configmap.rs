//! ConfigMaps (`ValidateConfigMap`).

use machinery::field::{Error, ErrorList, Path};
use machinery::json::Fields;
use machinery::names;
use model::check::{Faults, same};
use serde_json::Value;
use writes::strategy::{Strategy, WriteContext};

/// Most bytes of values in a ConfigMap or Secret.
pub const MAX_BYTES: usize = 1 << 20;

/// ConfigMaps.
pub struct ConfigMaps;

impl Strategy for ConfigMaps {
    fn validate(&self, _: &WriteContext<'_>, map: &Value) -> ErrorList {
        validate(map)
    }

    fn validate_update(&self, _: &WriteContext<'_>, map: &Value, old: &Value) -> ErrorList {
        let mut errors = immutable(map, old, &["data", "binaryData"]);
        errors.extend(validate(map));
        errors
    }
}

/// What `immutable: true` forbids.
pub fn immutable(new: &Value, old: &Value, fields: &[&str]) -> ErrorList {
    let mut errors = ErrorList::new();
    if old.flag("immutable") != Some(true) {
        return errors;
    }
    let detail = "field is immutable when `immutable` is set";
    if new.flag("immutable") != Some(true) {
        errors.forbidden(&Path::new("immutable"), detail);
    }
    for field in fields {
        if !same(new.sub(field), old.sub(field)) {
            errors.forbidden(&Path::new(*field), detail);
        }
    }
    errors
}

/// The bytes that base64 stands for.
pub fn decoded_length(text: &str) -> usize {
    let padding = text.bytes().rev().take_while(|b| *b == b'=').count();
    (text.len() / 4 * 3).saturating_sub(padding)
}

fn validate(map: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let mut size = 0;
    for (key, value) in map.entries("data") {
        let at = Path::new("data").key(key);
        errors.each(&at, key, names::config_map_key(key));
        if map.sub("binaryData").has(key) {
            errors.invalid(&at, key, "duplicate of key present in binaryData");
        }
        size += value.as_str().unwrap_or_default().len();
    }
    for (key, value) in map.entries("binaryData") {
        errors.each(&Path::new("binaryData").key(key), key, names::config_map_key(key));
        size += decoded_length(value.as_str().unwrap_or_default());
    }
    if size > MAX_BYTES {
        errors.push(Error { field: String::new(), ..Error::too_long(&Path::nil(), MAX_BYTES) });
    }
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::check::said;
    use serde_json::json;

    #[test]
    fn rules() {
        assert!(validate(&json!({"data": {"a.b_C-1": "x"}})).is_empty());
        assert_eq!(
            said(&validate(&json!({"data": {"a": "x"}, "binaryData": {"a": "eA=="}}))),
            ["data[a]: Invalid value: \"a\": duplicate of key present in binaryData",]
        );
        let bad = said(&validate(&json!({"data": {"a/b": "x"}})));
        assert!(bad[0].starts_with("data[a/b]: Invalid value: \"a/b\": a valid config key must consist of"), "{bad:?}");
        let big = said(&validate(&json!({"data": {"a": "x".repeat(MAX_BYTES + 1)}})));
        assert_eq!(big, [": Too long: may not be more than 1048576 bytes"]);
        let old = json!({"immutable": true, "data": {"a": "1"}});
        assert_eq!(
            said(&immutable(&json!({"data": {"a": "2"}}), &old, &["data", "binaryData"])),
            [
                "immutable: Forbidden: field is immutable when `immutable` is set",
                "data: Forbidden: field is immutable when `immutable` is set",
            ]
        );
        assert_eq!((decoded_length("eA=="), decoded_length("eHg="), decoded_length("eHh4")), (1, 2, 3));
    }
}
