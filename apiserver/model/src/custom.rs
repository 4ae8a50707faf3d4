//! One version of a custom resource, as its definition describes it: how its objects are read, defaulted and owned.
//!
//! Objects stay raw JSON. Only their metadata is read by the schema table, since it is the same in all kinds.

use std::collections::BTreeMap;
use std::sync::Arc;

use api::decode::{Decoded, Error};
use machinery::json::Fields;
use machinery::managed_fields::Versions;
use serde_json::{Map, Value};
use structural::{Place, Structural};

use crate::types::Source;

pub mod columns;
pub mod conversion;
pub mod scale;

use columns::Column;
use conversion::{Conversion, Conversions};
pub use scale::Scale;

/// The schemas of all versions of a custom resource, by `group/version`.
pub type Schemas = BTreeMap<String, Arc<Structural>>;

/// The steps to the replicas by `group/version`; none where there is no `scale` part.
pub type ReplicasPaths = BTreeMap<String, Vec<String>>;

/// See the module.
#[derive(Debug)]
pub struct Custom {
    /// `group/version`.
    pub api_version: String,
    /// Its schema.
    pub schema: Arc<Structural>,
    /// The schemas of all versions, this one among them.
    pub schemas: Arc<Schemas>,
    /// How its versions are converted.
    pub conversion: Arc<Conversion>,
    /// Where the `scale` part finds its numbers.
    pub scale: Option<Scale>,
    /// Where all versions keep their replicas.
    pub replicas: Arc<ReplicasPaths>,
    /// What its Table shows beside the name.
    pub columns: Vec<Column>,
}

impl Custom {
    /// Reads an object that a client sent, or that a patch made.
    pub fn decode(&self, source: Source<'_>) -> Result<Decoded, Error> {
        let (mut value, mut strict) = match source {
            Source::Json(bytes) => {
                let document = machinery::json::from_slice(bytes).map_err(Error)?;
                let duplicates = document.duplicates.iter().map(|path| format!("duplicate field {path:?}")).collect();
                (document.value, duplicates)
            }
            Source::Value(value) => (value, Vec::new()),
            Source::Protobuf(_) => return Err(Error("custom resources have no protobuf".into())),
        };
        let Some(members) = value.as_object_mut() else {
            let kind = machinery::go::json_kind(&value);
            let why = format!("json: cannot unmarshal {kind} into Go value of type map[string]interface {{}}");
            return Err(Error(why));
        };
        strict.extend(read_metadata(members)?);
        let unknown = |path: String| format!("unknown field {path:?}");
        strict.extend(self.schema.prune(&mut value).into_iter().map(unknown));
        let embedded = self.schema.coerce(&mut value, false).map_err(|error| Error(error.to_string()))?;
        strict.extend(embedded.into_iter().map(unknown));
        Ok(Decoded { value, strict })
    }

    /// Reads an object that an apply made. Its fields were checked already; a null that somebody applied stays, and is for
    /// validation to refuse.
    pub fn applied(&self, mut value: Value) -> Result<Value, Error> {
        if let Some(members) = value.as_object_mut() {
            read_metadata(members)?;
        }
        self.schema.coerce(&mut value, false).map_err(|error| Error(error.to_string()))?;
        Ok(value)
    }

    /// Whether an encoded object is in this version: it begins with its `apiVersion`.
    pub fn is_in(&self, body: &[u8]) -> bool {
        let rest =
            body.strip_prefix(b"{\"apiVersion\":\"").and_then(|rest| rest.strip_prefix(self.api_version.as_bytes()));
        rest.is_some_and(|rest| rest.starts_with(b"\""))
    }

    /// A stored object in the form of now: its version's schema may have been another when it was written. What does not fit
    /// any more is dropped where that can be told, and else stays.
    pub fn stored(&self, object: &mut Value) {
        self.conform(object);
        if let Some(schema) = self.schemas.get(object.text("apiVersion")) {
            schema.default(object);
        }
    }

    /// Takes from an object what its version does not know: nothing is kept in a version that could not be written in it.
    /// As upstream, what is converted is not defaulted again.
    pub fn conform(&self, object: &mut Value) {
        let Some(schema) = self.schemas.get(object.text("apiVersion")) else { return };
        let members = object.as_object_mut();
        if let Some(members) = members
            && let Some(given) = members.get("metadata").cloned()
            && read_metadata(members).is_err()
        {
            members.insert("metadata".into(), given);
        }
        schema.prune(object);
        let _ = schema.coerce(object, true);
    }

    /// Fills in the schema's defaults.
    pub fn default(&self, object: &mut Value) {
        self.schema.default(object);
    }

    /// All versions, for managedFields, with the conversions between them that are known.
    pub fn versions<'c>(&'c self, conversions: &'c Conversions) -> Family<'c> {
        Family { custom: self, conversions }
    }
}

/// Brings the metadata of an object into the form that the server's own kinds have: known fields of the right type, empty
/// ones left out. What is unknown is told.
fn read_metadata(obj: &mut Map<String, Value>) -> Result<Vec<String>, Error> {
    let Some(given) = obj.remove("metadata") else { return Ok(Vec::new()) };
    let decoded = api::decode::value(given, api::schema::object_meta())?;
    let mut metadata = decoded.value;
    if let Some(members) = metadata.as_object_mut() {
        members.retain(|_, value| !empty(value));
    }
    obj.insert("metadata".into(), metadata);
    let inner = |told: String| match told.split_once('"') {
        Some((what, path)) => format!("{what}\"metadata.{path}"),
        None => told,
    };
    Ok(decoded.strict.into_iter().map(inner).collect())
}

fn empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        Value::Bool(_) => false,
    }
}

/// A custom resource in all its versions. Who owns what is told in the version that it was written in, so that a write in
/// another one may take a webhook to be told apart.
#[derive(Clone, Copy)]
pub struct Family<'c> {
    custom: &'c Custom,
    conversions: &'c Conversions,
}

impl<'c> Versions<'c> for Family<'c> {
    type Schema = Place<'c>;

    fn schema(&self, api_version: &str) -> Option<Place<'c>> {
        self.custom.schemas.get(api_version).map(|schema| schema.merge())
    }

    fn fits(&self, object: &Value, api_version: &str) -> bool {
        self.schema(api_version).is_none_or(|schema| machinery::managed_fields::fits(object, schema))
    }

    fn convert(&self, object: &Value, _from: &str, to: &str) -> Option<Value> {
        self.custom.schemas.get(to)?;
        let by_name = || {
            let mut object = object.clone();
            object["apiVersion"] = to.into();
            object
        };
        if self.custom.conversion.is_by_name() || object["kind"].is_null() {
            return Some(by_name());
        }
        // Fields keep their owners where nobody can say what became of them.
        self.conversions.get(object, to).or_else(|| Some(by_name()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn custom(schema: Value) -> Custom {
        let schema = Arc::new(Structural::of(&schema, false).expect("structural"));
        let schemas = Arc::new(Schemas::from([("example.com/v1".to_string(), schema.clone())]));
        let conversion = Arc::new(Conversion::None);
        let api_version = "example.com/v1".into();
        Custom { api_version, schema, schemas, conversion, scale: None, replicas: Arc::default(), columns: Vec::new() }
    }

    #[test]
    fn metadata_is_read_by_its_type_and_the_rest_by_the_schema() {
        let custom = custom(json!({ "type": "object", "properties": { "spec": { "type": "object",
            "properties": { "x": { "type": "number" }, "y": { "type": "string", "default": "d" } } } } }));
        let body = br#"{"apiVersion":"example.com/v1","kind":"W","metadata":{"name":"a","labels":{},"nope":1,
            "finalizers":null},"spec":{"n":null,"x":1.5,"x":2}}"#;
        let mut decoded = custom.decode(Source::Json(body)).expect("read");
        assert_eq!(decoded.value["metadata"], json!({ "name": "a" }));
        assert_eq!(decoded.value["spec"], json!({ "x": 2 }));
        assert_eq!(
            decoded.strict,
            ["duplicate field \"spec.x\"", "unknown field \"metadata.nope\"", "unknown field \"spec.n\""]
        );
        custom.default(&mut decoded.value);
        assert_eq!(decoded.value["spec"], json!({ "x": 2, "y": "d" }));
        let wrong = json!({ "metadata": { "labels": { "a": 1 } } });
        let error = custom.decode(Source::Value(wrong)).expect_err("a number is no label").0;
        assert!(error.contains("cannot unmarshal number into Go struct field ObjectMeta.labels"), "{error}");
    }
}
