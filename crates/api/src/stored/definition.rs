//! A CustomResourceDefinition in JSON as upstream's servers store it: in v1beta1, which is not served any more, with the fields
//! in that version's order. What its parts have in common with v1 is written by v1's types.

use machinery::gvk::GroupVersionKind;
use serde_json::{Map, Value};

use crate::encode;
use crate::schema::{self, Shape};

/// How a field is written.
enum Written {
    /// As any value.
    Plain,
    /// As the field of v1 at that path, through lists.
    Like(&'static [&'static str]),
    /// As an object of those fields.
    Fields(&'static [Member]),
    /// As a list of such objects.
    Each(&'static [Member]),
}

type Member = (&'static str, Written);

use Written::{Each, Fields, Like, Plain};

const DEFINITION: &[Member] = &[
    ("kind", Plain),
    ("apiVersion", Plain),
    ("metadata", Like(&["metadata"])),
    ("spec", Fields(SPEC)),
    ("status", Like(&["status"])),
];

const SPEC: &[Member] = &[
    ("group", Plain),
    ("version", Plain),
    ("names", Like(&["spec", "names"])),
    ("scope", Plain),
    ("validation", Like(&["spec", "versions", "schema"])),
    ("subresources", Like(&["spec", "versions", "subresources"])),
    ("versions", Each(VERSION)),
    ("additionalPrinterColumns", Each(COLUMN)),
    ("selectableFields", Like(&["spec", "versions", "selectableFields"])),
    ("conversion", Fields(CONVERSION)),
    ("preserveUnknownFields", Plain),
];

const VERSION: &[Member] = &[
    ("name", Plain),
    ("served", Plain),
    ("storage", Plain),
    ("deprecated", Plain),
    ("deprecationWarning", Plain),
    ("schema", Like(&["spec", "versions", "schema"])),
    ("subresources", Like(&["spec", "versions", "subresources"])),
    ("additionalPrinterColumns", Each(COLUMN)),
    ("selectableFields", Like(&["spec", "versions", "selectableFields"])),
];

const COLUMN: &[Member] = &[
    ("name", Plain),
    ("type", Plain),
    ("format", Plain),
    ("description", Plain),
    ("priority", Plain),
    ("JSONPath", Plain),
];

const CONVERSION: &[Member] = &[
    ("strategy", Plain),
    ("webhookClientConfig", Like(&["spec", "conversion", "webhook", "clientConfig"])),
    ("conversionReviewVersions", Plain),
];

/// Whether that is how definitions are stored.
pub(super) fn is_stored_as(kind: &GroupVersionKind) -> bool {
    (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str())
        == ("apiextensions.k8s.io", "v1beta1", "CustomResourceDefinition")
}

/// Appends a definition of v1beta1.
pub(super) fn write(definition: &Value, out: &mut Vec<u8>) {
    fields(definition, DEFINITION, out);
}

fn fields(value: &Value, members: &[Member], out: &mut Vec<u8>) {
    let none = Map::new();
    let map = value.as_object().unwrap_or(&none);
    let mut open = b'{';
    for (name, how) in members {
        let Some(value) = map.get(*name).filter(|value| !value.is_null()) else { continue };
        out.push(std::mem::replace(&mut open, b','));
        encode::write_string(name, out);
        out.push(b':');
        match how {
            Plain => encode::write_untyped(value, out),
            Like(path) => match shape(path) {
                Some(shape) => encode::shaped(value, shape, out),
                None => encode::write_untyped(value, out),
            },
            Fields(members) => fields(value, members, out),
            Each(members) => {
                let items = value.as_array().map_or(&[][..], Vec::as_slice);
                encode::list_with(items, out, |item, out| fields(item, members, out));
            }
        }
    }
    if open == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
}

/// The shape of v1's field at that path.
fn shape(path: &[&str]) -> Option<&'static Shape> {
    let (last, parents) = path.split_last()?;
    let mut ty = schema::of(&GroupVersionKind::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition"))?;
    for parent in parents {
        let mut shape = &ty.field(parent)?.shape;
        while let Shape::List(item) = shape {
            shape = item;
        }
        ty = match shape {
            Shape::Object(id) => id.get(),
            _ => return None,
        };
    }
    ty.field(last).map(|field| &field.shape)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_definition_is_written_in_the_order_of_its_version() {
        for (_, how) in SPEC.iter().chain(VERSION).chain(CONVERSION).chain(DEFINITION) {
            if let Like(path) = how {
                assert!(shape(path).is_some(), "{path:?}");
            }
        }
        let definition = json!({"apiVersion": "apiextensions.k8s.io/v1beta1", "kind": "CustomResourceDefinition",
            "metadata": {"uid": "u", "name": "xs.example.org"},
            "spec": {"additionalPrinterColumns": [{"JSONPath": ".n", "type": "integer", "name": "N"}],
                "conversion": {"strategy": "None"}, "group": "example.org", "preserveUnknownFields": false, "scope": "Cluster",
                "names": {"kind": "X", "plural": "xs"}, "validation": {"openAPIV3Schema": {"type": "object", "description": "d"}},
                "version": "v1", "versions": [{"storage": true, "served": true, "name": "v1"}]},
            "status": {"storedVersions": ["v1"], "conditions": [], "acceptedNames": {"kind": "X", "plural": "xs"}}});
        let mut out = Vec::new();
        write(&definition, &mut out);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            concat!(
                r#"{"kind":"CustomResourceDefinition","apiVersion":"apiextensions.k8s.io/v1beta1","metadata":{"name":"xs.example.org","uid":"u"},"#,
                r#""spec":{"group":"example.org","version":"v1","names":{"plural":"xs","kind":"X"},"scope":"Cluster","#,
                r#""validation":{"openAPIV3Schema":{"description":"d","type":"object"}},"versions":[{"name":"v1","served":true,"storage":true}],"#,
                r#""additionalPrinterColumns":[{"name":"N","type":"integer","JSONPath":".n"}],"conversion":{"strategy":"None"},"preserveUnknownFields":false},"#,
                r#""status":{"conditions":[],"acceptedNames":{"plural":"xs","kind":"X"},"storedVersions":["v1"]}}"#
            )
        );
    }
}
