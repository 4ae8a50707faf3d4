//! What a body says that it is, before the rest of it is read. Follows `apimachinery/pkg/runtime/serializer/json`.

use std::fmt;

use machinery::gvk::{GroupVersion, GroupVersionKind};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;

/// `kind` and `apiVersion`; empty where there are none.
#[derive(Default, Debug)]
pub(crate) struct Head {
    pub(crate) api_version: String,
    pub(crate) kind: String,
}

impl Head {
    /// Of an encoded object; the rest is skipped. Why not, in Go's words.
    pub(crate) fn of_json(bytes: &[u8]) -> Result<Self, String> {
        let read: Result<Members, _> = serde_json::from_slice(bytes);
        let found = match read {
            Ok(found) => found,
            Err(error) => {
                let document = machinery::json::from_slice(bytes);
                let value = document.map_err(|why| parse_error(&why))?.value;
                if value.is_object() {
                    return Err(parse_error(&error.to_string()));
                }
                return Self::of(&value);
            }
        };
        Ok(Self { api_version: text("apiVersion", &found.api_version)?, kind: text("kind", &found.kind)? })
    }

    /// Of a value. Why not, in Go's words.
    pub(crate) fn of(value: &Value) -> Result<Self, String> {
        match value {
            // Go reads nothing as an object without members.
            Value::Null => Ok(Self::default()),
            Value::Object(members) => {
                let member = |name: &str| text(name, members.get(name).unwrap_or(&Value::Null));
                Ok(Self { api_version: member("apiVersion")?, kind: member("kind")? })
            }
            other => Err(parse_error(&no_object(other))),
        }
    }

    /// The kind in its version. Why `apiVersion` is none, in upstream's words.
    pub(crate) fn gvk(&self) -> Result<GroupVersionKind, String> {
        Ok(GroupVersion::parse(&self.api_version)?.with_kind(&self.kind))
    }
}

/// What Go says of a value that was to be an object.
pub fn no_object(value: &Value) -> String {
    let go = machinery::go::json_kind(value);
    format!(
        r#"json: cannot unmarshal {go} into Go value of type struct {{ APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }}"#
    )
}

fn parse_error(why: &str) -> String {
    format!("couldn't get version/kind; json parse error: {why}")
}

fn text(name: &str, value: &Value) -> Result<String, String> {
    match value {
        Value::Null => Ok(String::new()),
        Value::String(text) => Ok(text.clone()),
        other => {
            let go = machinery::go::json_kind(other);
            Err(parse_error(&format!("json: cannot unmarshal {go} into Go struct field .{name} of type string")))
        }
    }
}

/// The two members as they are; of members given twice the last ones.
#[derive(Default)]
struct Members {
    api_version: Value,
    kind: Value,
}

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_map(MembersVisitor)
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
        let mut members = Members::default();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match &*name {
                "apiVersion" => members.api_version = map.next_value()?,
                "kind" => members.kind = map.next_value()?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(members)
    }
}
