//! The `components` of a document: every type that its paths reach, as upstream's generator words it.

use std::collections::BTreeMap;

use api::schema::{self, Field, ListType, Shape, Type};
use model::descriptions::Texts;
use model::resource::Resource;
use serde_json::{Map, Value, json};

use super::custom::{self, Published};
use super::enums;

pub(super) const QUANTITY: &str = "io.k8s.apimachinery.pkg.api.resource.Quantity";
const INT_OR_STRING: &str = "io.k8s.apimachinery.pkg.util.intstr.IntOrString";
const RAW: &str = "io.k8s.apimachinery.pkg.runtime.RawExtension";
pub(super) const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";
const EXTENSIONS: &str = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1";

/// The fields of `/version`, and whether each is always there.
const VERSION: &[(&str, bool)] = &[
    ("major", true),
    ("minor", true),
    ("emulationMajor", false),
    ("emulationMinor", false),
    ("minCompatibilityMajor", false),
    ("minCompatibilityMinor", false),
    ("gitVersion", true),
    ("gitCommit", true),
    ("gitTreeState", true),
    ("buildDate", true),
    ("goVersion", true),
    ("compiler", true),
    ("platform", true),
];

/// The schemas that one document needs, collected as its parts refer to them.
pub(super) struct Wanted<'a> {
    group: String,
    version: String,
    found: BTreeMap<String, Value>,
    open: Vec<&'static Type>,
    texts: &'a Texts,
}

impl<'a> Wanted<'a> {
    pub(super) fn new(group: &str, version: &str, texts: &'a Texts) -> Self {
        Self { group: group.into(), version: version.into(), found: BTreeMap::new(), open: Vec::new(), texts }
    }

    /// A reference to a type, which is then among the schemas.
    pub(super) fn refer(&mut self, ty: &'static Type) -> Value {
        let name = ty.openapi_name();
        if !self.found.contains_key(&name) {
            self.found.insert(name.clone(), Value::Null);
            self.open.push(ty);
        }
        reference(&name)
    }

    /// What a field of DeleteOptions is for.
    pub(super) fn described_option(&self, name: &str) -> Option<&str> {
        self.texts.of(&format!("{META}.DeleteOptions"), Some(name))
    }

    /// A reference to a type of meta/v1.
    pub(super) fn refer_named(&mut self, name: &str) -> Value {
        schema::named("meta.v1", name).map(|ty| self.refer(ty)).unwrap_or_default()
    }

    /// A reference to the numbers of replicas.
    pub(super) fn refer_scale(&mut self) -> Value {
        schema::named("autoscaling.v1", "Scale").map(|ty| self.refer(ty)).unwrap_or_default()
    }

    /// A reference to a custom kind.
    pub(super) fn refer_custom(&mut self, row: &Resource, published: &Published) -> Value {
        let name = custom::name(row, &row.kind);
        let schema = custom::schema(row, published, self);
        self.found.insert(name.clone(), schema);
        reference(&name)
    }

    /// A reference to the lists of a custom kind.
    pub(super) fn refer_custom_list(&mut self, row: &Resource, published: &Published) -> Value {
        let name = custom::name(row, published.list_kind);
        let schema = custom::list(row, published, &reference(&custom::name(row, &row.kind)), self);
        self.found.insert(name.clone(), schema);
        reference(&name)
    }

    /// `apiVersion` and `kind`, as every kind has them.
    pub(super) fn type_meta(&self) -> [(String, Value); 2] {
        ["apiVersion", "kind"].map(|field| (field.into(), self.described(json!({"type": "string"}), "", field)))
    }

    /// A reference to the body of a patch, which is any object.
    pub(super) fn refer_patch(&mut self) -> Value {
        self.refer_special(&format!("{META}.Patch"), || json!({"type": "object"}))
    }

    /// A reference to what `/version` answers, which is no kind of the API: the texts it has.
    pub(super) fn refer_version(&mut self) -> Value {
        const NAME: &str = "io.k8s.apimachinery.pkg.version.Info";
        let properties: Map<String, Value> = VERSION
            .iter()
            .map(|(field, always)| {
                let mut property = self.described(json!({"type": "string"}), NAME, field);
                if *always {
                    property["default"] = "".into();
                }
                ((*field).to_owned(), property)
            })
            .collect();
        let required: Vec<&str> = VERSION.iter().filter(|(_, always)| *always).map(|(field, _)| *field).collect();
        self.refer_special(NAME, || json!({"type": "object", "properties": properties, "required": required}))
    }

    /// A reference to a type that the schema table has no row for.
    pub(super) fn refer_special(&mut self, name: &str, schema: impl FnOnce() -> Value) -> Value {
        if !self.found.contains_key(name) {
            let mut schema = schema();
            if let Some(text) = self.texts.of(name, None) {
                schema["description"] = text.into();
            }
            self.found.insert(name.to_owned(), schema);
        }
        reference(name)
    }

    /// A reference to amounts.
    pub(super) fn refer_quantity(&mut self) -> Value {
        self.refer_special(QUANTITY, || json!({"oneOf": [{"type": "string"}, {"type": "number"}]}))
    }

    /// All that were referred to, and what they refer to in turn.
    pub(super) fn schemas(mut self) -> Value {
        while let Some(ty) = self.open.pop() {
            let schema = self.object(ty);
            self.found.insert(ty.openapi_name(), schema);
        }
        self.found.into_iter().collect()
    }

    fn object(&mut self, ty: &'static Type) -> Value {
        let name = ty.openapi_name();
        let mut properties = Map::new();
        if ty.is_kind {
            for field in ["apiVersion", "kind"] {
                properties.insert(field.into(), self.described(json!({"type": "string"}), &name, field));
            }
        }
        for field in ty.fields {
            properties.insert(field.name.into(), self.property(&name, ty, field));
        }
        let required: Vec<&str> = ty.fields.iter().filter(|f| f.required).map(|f| f.name).collect();
        let mut schema = json!({"type": "object"});
        if let Some(text) = self.texts.of(&name, None) {
            schema["description"] = text.into();
        }
        if !properties.is_empty() {
            schema["properties"] = properties.into();
        }
        if !required.is_empty() {
            schema["required"] = required.into();
        }
        if ty.atomic {
            schema["x-kubernetes-map-type"] = "atomic".into();
        }
        if let Some(union) = &ty.union {
            // Go's names of the fields.
            let upper = |name: &str| name[..1].to_ascii_uppercase() + &name[1..];
            let fields: Map<String, Value> = union.fields.iter().map(|f| ((*f).to_owned(), upper(f).into())).collect();
            schema["x-kubernetes-unions"] = json!([{"fields-to-discriminateBy": fields}]);
            if !union.discriminator.is_empty() {
                schema["x-kubernetes-unions"][0]["discriminator"] = union.discriminator.into();
            }
        }
        let kinds = self.kinds(ty);
        if !kinds.is_empty() {
            schema["x-kubernetes-group-version-kind"] = kinds.into();
        }
        schema
    }

    fn described(&self, mut schema: Value, owner: &str, field: &str) -> Value {
        if let Some(text) = self.texts.of(owner, Some(field)) {
            schema["description"] = text.into();
        }
        schema
    }

    /// The kinds a type is registered as. Options and watch events are registered in every group.
    fn kinds(&self, ty: &Type) -> Vec<Value> {
        let kind = |group: &str, version: &str| json!({"group": group, "kind": ty.name, "version": version});
        let everywhere = ty.package.alias == "meta.v1" && matches!(ty.name, "DeleteOptions" | "WatchEvent");
        if everywhere {
            let mut kinds = vec![kind("", "v1")];
            if !self.group.is_empty() {
                kinds.push(kind(&self.group, &self.version));
            }
            return kinds;
        }
        let registered =
            ty.is_kind && schema::kind(ty.package.group, ty.package.version, ty.name).is_some_and(|t| t.id == ty.id);
        let meta = ty.package.alias == "meta.v1";
        match registered {
            true if !meta
                || matches!(ty.name, "Status" | "APIGroup" | "APIGroupList" | "APIResourceList" | "APIVersions") =>
            {
                vec![kind(ty.package.group, ty.package.version)]
            }
            _ => Vec::new(),
        }
    }

    fn property(&mut self, owner: &str, ty: &'static Type, field: &'static Field) -> Value {
        let mut property = self.shape(ty, &field.shape);
        let mut text = self.texts.of(owner, Some(field.name)).map(str::to_owned);
        if let Some(values) = property["enum"].as_array() {
            let values: String = values.iter().map(|v| format!("\n - `{v}`")).collect();
            text = Some(format!("{}\n\nPossible enum values:{values}", text.unwrap_or_default()));
        }
        // Beside a reference nothing else is allowed; what is to be said of the field goes around it.
        let wrapped = property.get("$ref").is_some();
        if wrapped && !(text.is_none() && undescribed(ty, field)) {
            property = json!({"allOf": [property]});
        }
        if let Some(text) = text {
            property["description"] = text.into();
        }
        if let Some(default) = default(ty, field) {
            property["default"] = default;
        }
        match field.list {
            ListType::Map(keys) => {
                property["x-kubernetes-list-type"] = "map".into();
                property["x-kubernetes-list-map-keys"] = keys.into();
            }
            ListType::Set => property["x-kubernetes-list-type"] = "set".into(),
            ListType::Atomic if field.marked_atomic => property["x-kubernetes-list-type"] = "atomic".into(),
            ListType::Atomic => {}
        }
        if field.atomic || field.granular {
            property["x-kubernetes-map-type"] = if field.atomic { "atomic" } else { "granular" }.into();
        }
        let patch = field.patch;
        let strategies = [("merge", patch.merge), ("replace", patch.replace), ("retainKeys", patch.retain_keys)];
        let strategies: Vec<&str> = strategies.into_iter().filter(|(_, on)| *on).map(|(name, _)| name).collect();
        if !strategies.is_empty() {
            property["x-kubernetes-patch-strategy"] = strategies.join(",").into();
        }
        if !patch.merge_key.is_empty() {
            property["x-kubernetes-patch-merge-key"] = patch.merge_key.into();
        }
        property
    }

    fn shape(&mut self, ty: &'static Type, shape: &'static Shape) -> Value {
        match shape {
            Shape::String(name) => match enums::values(ty.package.alias, name) {
                Some(values) => json!({"type": "string", "enum": values}),
                None => json!({"type": "string"}),
            },
            Shape::Int32(_) => json!({"type": "integer", "format": "int32"}),
            Shape::Int64(_) => json!({"type": "integer", "format": "int64"}),
            Shape::Bool => json!({"type": "boolean"}),
            Shape::Double => json!({"type": "number", "format": "double"}),
            Shape::Bytes => json!({"type": "string", "format": "byte"}),
            Shape::Strings => json!({"type": "array", "items": {"type": "string"}}),
            Shape::Object(id) => self.refer(id.get()),
            Shape::List(item) => json!({"type": "array", "items": self.shape(ty, item)}),
            Shape::Map(item) => json!({"type": "object", "additionalProperties": self.shape(ty, item)}),
            Shape::Time => self.refer_special(&format!("{META}.Time"), date_time),
            Shape::MicroTime => self.refer_special(&format!("{META}.MicroTime"), date_time),
            Shape::Duration => self.refer_special(&format!("{META}.Duration"), || json!({"type": "string"})),
            Shape::Quantity => self.refer_quantity(),
            Shape::IntOrString => self.refer_special(
                INT_OR_STRING,
                || json!({"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]}),
            ),
            Shape::Raw => self.refer_special(RAW, || json!({"type": "object"})),
            Shape::FieldsV1 => self.refer_special(&format!("{META}.FieldsV1"), || json!({"type": "object"})),
            Shape::Json => self.refer_special(&format!("{EXTENSIONS}.JSON"), || json!({})),
            Shape::SchemaOrArray => self.refer_special(&format!("{EXTENSIONS}.JSONSchemaPropsOrArray"), || json!({})),
            Shape::SchemaOrBool => self.refer_special(&format!("{EXTENSIONS}.JSONSchemaPropsOrBool"), || json!({})),
            Shape::SchemaOrStrings => {
                self.refer_special(&format!("{EXTENSIONS}.JSONSchemaPropsOrStringArray"), || json!({}))
            }
        }
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

pub(super) fn date_time() -> Value {
    json!({"type": "string", "format": "date-time"})
}

/// The few fields that upstream does not describe.
fn undescribed(ty: &Type, field: &Field) -> bool {
    (ty.name == "JSONSchemaProps" && field.name != "default") || (ty.name == "IngressRule" && field.name == "http")
}

/// The declared default, or the zero value of what is always written.
fn default(ty: &Type, field: &Field) -> Option<Value> {
    if let Some(declared) = api::defaults::declared(ty, field.name) {
        return Some(declared);
    }
    // Zero values that upstream declares on fields it omits when they are zero: seen in documents only.
    match (ty.name, field.name) {
        ("ScaleSpec", "replicas") | ("ReplicationControllerSpec", "minReadySeconds") => return Some(0.into()),
        ("LocalObjectReference", "name") => return Some("".into()),
        (_, "name") if field.inlined == "LocalObjectReference" => return Some("".into()),
        _ => {}
    }
    match field.shape {
        Shape::Object(_) if !field.pointer => Some(json!({})),
        _ if !field.always || field.pointer => None,
        Shape::String(_) => Some("".into()),
        Shape::Int32(_) | Shape::Int64(_) => Some(0.into()),
        Shape::Bool => Some(false.into()),
        _ => None,
    }
}
