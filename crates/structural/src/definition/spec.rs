//! A definition's spec as upstream holds it: what all versions say alike is said of the definition, and faults in it are
//! told there (`spec.validation`, `spec.subresources`, ...).

use machinery::json::Fields;
use serde_json::{Value, json};

use crate::parse::Schema;

pub(super) struct Spec<'a> {
    pub(super) raw: &'a Value,
    pub(super) group: &'a str,
    pub(super) scope: &'a str,
    pub(super) preserve_unknown: bool,
    /// What belongs to all versions.
    pub(super) common: Parts<'a>,
    pub(super) versions: Vec<Version<'a>>,
}

/// What a version, or all of them, says.
#[derive(Default)]
pub(super) struct Parts<'a> {
    /// `schema`, with or without an `openAPIV3Schema`.
    pub(super) validation: Option<Validation>,
    pub(super) subresources: Option<&'a Value>,
    pub(super) columns: &'a [Value],
    pub(super) selectable: &'a [Value],
}

pub(super) struct Validation {
    pub(super) schema: Option<Schema>,
    pub(super) raw: Value,
}

pub(super) struct Version<'a> {
    pub(super) raw: &'a Value,
    pub(super) name: &'a str,
    pub(super) served: bool,
    pub(super) storage: bool,
    pub(super) own: Parts<'a>,
}

fn validation(raw: Option<&Value>) -> Option<Validation> {
    let raw = raw?;
    Some(Validation {
        schema: raw.sub("openAPIV3Schema").map(Schema::of),
        raw: raw.get("openAPIV3Schema").cloned().unwrap_or_default(),
    })
}

impl<'a> Spec<'a> {
    pub(super) fn of(definition: &'a Value) -> Self {
        let raw = &definition["spec"];
        let given = raw.list("versions");
        let same = |name: &str| given.iter().all(|v| v.sub(name) == given.first().sub(name));
        let [schema, subresources, columns, selectable] =
            ["schema", "subresources", "additionalPrinterColumns", "selectableFields"].map(same);
        let parts = |version: &'a Value, common: bool| Parts {
            validation: if schema == common { validation(version.sub("schema")) } else { None },
            subresources: if subresources == common { version.sub("subresources") } else { None },
            columns: if columns == common { version.list("additionalPrinterColumns") } else { &[] },
            selectable: if selectable == common { version.list("selectableFields") } else { &[] },
        };
        Spec {
            raw,
            group: raw.text("group"),
            scope: raw.text("scope"),
            preserve_unknown: raw.get("preserveUnknownFields") == Some(&Value::Bool(true)),
            common: given.first().map(|v| parts(v, true)).unwrap_or_default(),
            versions: given
                .iter()
                .map(|v| Version {
                    raw: v,
                    name: v.text("name"),
                    served: v.get("served") == Some(&Value::Bool(true)),
                    storage: v.get("storage") == Some(&Value::Bool(true)),
                    own: parts(v, false),
                })
                .collect(),
        }
    }

    pub(super) fn name(&self, which: &str) -> &'a str {
        self.raw.sub("names").text(which)
    }

    fn parts(&self) -> impl Iterator<Item = &Parts<'a>> {
        std::iter::once(&self.common).chain(self.versions.iter().map(|v| &v.own))
    }

    /// All schemas.
    pub(super) fn schemas(&self) -> impl Iterator<Item = &Schema> {
        self.parts().filter_map(|p| p.validation.as_ref()?.schema.as_ref())
    }

    pub(super) fn has_common_schema(&self) -> bool {
        self.common.validation.as_ref().is_some_and(|v| v.schema.is_some())
    }

    pub(super) fn has_all_schemas(&self) -> bool {
        self.has_common_schema()
            || self.versions.iter().all(|v| v.own.validation.as_ref().is_some_and(|v| v.schema.is_some()))
    }

    /// The subresources that hold for a version.
    pub(super) fn subresources(&self, version: &Version<'a>) -> Option<&'a Value> {
        if self.versions.iter().any(|v| v.own.subresources.is_some()) {
            version.own.subresources
        } else {
            self.common.subresources
        }
    }

    pub(super) fn has_any_status(&self) -> bool {
        self.parts().any(|p| has_status(p.subresources))
    }

    /// The versions as upstream prints them: Go's names in Go's order, what is common left out.
    pub(super) fn printed_versions(&self) -> String {
        let null_or = |list: &[Value]| if list.is_empty() { Value::Null } else { Value::from(list.to_vec()) };
        let all = self.versions.iter().map(|v| {
            let schema = v.own.validation.as_ref().map(|s| json!({"OpenAPIV3Schema": s.raw}));
            let fields = [
                ("Name", Value::from(v.name)),
                ("Served", v.served.into()),
                ("Storage", v.storage.into()),
                ("Deprecated", (v.raw.get("deprecated") == Some(&Value::Bool(true))).into()),
                ("DeprecationWarning", v.raw.get("deprecationWarning").cloned().unwrap_or_default()),
                ("Schema", schema.unwrap_or_default()),
                ("Subresources", v.own.subresources.cloned().unwrap_or_default()),
                ("AdditionalPrinterColumns", null_or(v.own.columns)),
                ("SelectableFields", null_or(v.own.selectable)),
            ];
            let fields = fields.map(|(name, value)| format!("\"{name}\":{}", machinery::go::json(&value)));
            format!("{{{}}}", fields.join(","))
        });
        format!("[{}]", all.collect::<Vec<_>>().join(","))
    }
}

pub(super) fn has_status(subresources: Option<&Value>) -> bool {
    subresources.has("status")
}
