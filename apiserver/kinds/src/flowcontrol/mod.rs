//! FlowSchemas and PriorityLevelConfigurations: how requests are sorted and shared out. Some of them every cluster has, with
//! a spec that nobody may change. Follows `pkg/apis/flowcontrol/validation`.

pub mod flow_schema;
pub mod priority_level;

use api::internal;
use api::schema::{self, Type};
use machinery::field::{Error, ErrorList, Path};
use machinery::gvk::GroupVersionKind;
use machinery::meta;
use serde_json::Value;

use machinery::json::Fields;
use model::check::Faults;

/// The schemas that a new cluster has (`apiserver/pkg/apis/flowcontrol/bootstrap`).
pub const FLOW_SCHEMAS: &str = include_str!("flow_schemas.json");
/// The levels that a new cluster has.
pub const PRIORITY_LEVELS: &str = include_str!("priority_levels.json");

/// The specs that may not change, as stored objects have them: `exempt` and `catch-all` of these objects.
fn mandatory(objects: &str, kind: &str) -> Vec<(String, Value)> {
    let kind = GroupVersionKind::new("flowcontrol.apiserver.k8s.io", "v1", kind);
    let objects: Vec<Value> = serde_json::from_str(objects).expect("committed data, read by the tests");
    let wanted = objects.into_iter().filter(|object| matches!(meta::name(object), "exempt" | "catch-all"));
    let specs = wanted.map(|mut object| {
        api::defaults::apply(&kind, &mut object);
        if let Some(ty) = schema::of(&kind) {
            api::encode::normalise(&mut object, ty);
        }
        (meta::name(&object).to_owned(), object["spec"].take())
    });
    specs.collect()
}

/// A fault of a whole spec.
fn whole_spec(spec: &Value, name: &str, detail: String) -> Error {
    let ty: &Type = schema::named("flowcontrol.v1", name).expect("the table has the specs of flow control");
    Error::invalid(&Path::new("spec"), Value::Null, detail).printed(&internal::show(spec, ty))
}

/// Conditions have a type, each its own.
fn status(object: &Value) -> ErrorList {
    let mut errors = ErrorList::new();
    let conditions = object["status"].list("conditions");
    for (i, condition) in conditions.iter().enumerate() {
        let at = Path::new("status").child("conditions").index(i).child("type");
        let kind = condition.text("type");
        if conditions[..i].iter().any(|earlier| earlier.text("type") == kind) {
            errors.duplicate(&at, kind);
        }
        if kind.is_empty() {
            errors.required(&at, "");
        }
    }
    errors
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use model::check::said;

    #[test]
    fn conditions_have_a_type_of_their_own() {
        let of = |kinds: &[&str]| {
            let conditions: Vec<Value> = kinds.iter().map(|kind| json!({"type": kind})).collect();
            json!({"status": {"conditions": conditions}})
        };
        assert_eq!(status(&json!({})), []);
        assert_eq!(status(&of(&["1", "2"])), []);
        assert_eq!(said(&status(&of(&["1", "1"]))), [r#"status.conditions[1].type: Duplicate value: "1""#]);
        assert_eq!(said(&status(&of(&[""]))), ["status.conditions[0].type: Required value"]);
    }

    #[test]
    fn what_every_cluster_has_is_valid() {
        let levels: Vec<Value> = serde_json::from_str(PRIORITY_LEVELS).expect("JSON");
        let schemas: Vec<Value> = serde_json::from_str(FLOW_SCHEMAS).expect("JSON");
        for schema in &schemas {
            assert_eq!(flow_schema::validate(schema), [], "{schema}");
        }
        for level in &levels {
            assert_eq!(priority_level::validate(level), [], "{level}");
        }
        assert_eq!(mandatory(FLOW_SCHEMAS, "FlowSchema").len(), 2);
        assert_eq!(mandatory(PRIORITY_LEVELS, "PriorityLevelConfiguration").len(), 2);
    }
}
