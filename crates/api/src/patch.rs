//! What a strategic merge patch needs to know of built-in kinds, read from the schema table.

use machinery::patch::strategic::{PatchField, PatchSchema};

use crate::schema::{Shape, Type};

/// A built-in type as patches see it.
pub struct TypeSchema(pub &'static Type);

/// A value that is no struct: a map's or a list's content.
struct ShapeSchema(&'static Shape);

impl PatchSchema for TypeSchema {
    fn field(&self, name: &str) -> Result<PatchField<'_>, String> {
        let unknown = || format!("unable to find api field in struct {} for the json field {name:?}", self.0.name);
        let field = self.0.field(name).ok_or_else(unknown)?;
        let element = match &field.shape {
            Shape::List(item) => item,
            other => other,
        };
        Ok(PatchField {
            schema: schema(element),
            merge: field.patch.merge,
            replace: field.patch.replace,
            retain_keys: field.patch.retain_keys,
            merge_key: Some(field.patch.merge_key).filter(|k| !k.is_empty()),
        })
    }
}

impl PatchSchema for ShapeSchema {
    fn field(&self, name: &str) -> Result<PatchField<'_>, String> {
        match self.name() {
            "struct" => {
                Err(format!("unable to find api field in struct {} for the json field {name:?}", go_struct(self.0)))
            }
            kind => Err(format!("merging an object in json but data type is not struct, instead is: {kind}")),
        }
    }

    fn name(&self) -> &str {
        match self.0 {
            Shape::String(_) => "string",
            Shape::Int32(_) => "int32",
            Shape::Int64(_) => "int64",
            Shape::Bool => "bool",
            Shape::Double => "float64",
            Shape::Bytes | Shape::List(_) | Shape::Strings => "slice",
            Shape::Map(_) => "map",
            _ => "struct",
        }
    }
}

fn schema(shape: &'static Shape) -> Box<dyn PatchSchema> {
    match shape {
        Shape::Object(id) => Box::new(TypeSchema(id.get())),
        other => Box::new(ShapeSchema(other)),
    }
}

/// The Go struct of shapes that are written as something else.
fn go_struct(shape: &Shape) -> String {
    let name = match shape {
        Shape::Time => "Time".into(),
        Shape::MicroTime => "MicroTime".into(),
        Shape::Duration => "Duration".into(),
        Shape::IntOrString => "IntOrString".into(),
        Shape::SchemaOrArray => "JSONSchemaPropsOrArray".into(),
        Shape::SchemaOrBool => "JSONSchemaPropsOrBool".into(),
        Shape::SchemaOrStrings => "JSONSchemaPropsOrStringArray".into(),
        other => other.go_name(),
    };
    name.rsplit('.').next().unwrap_or(&name).to_owned()
}

#[cfg(test)]
mod tests {
    use machinery::patch::strategic::PatchSchema;

    use super::TypeSchema;
    use crate::schema;

    #[test]
    fn fields_say_how_they_merge() {
        let pod = TypeSchema(schema::kind("", "v1", "Pod").unwrap());
        let spec = pod.field("spec").unwrap();
        let containers = spec.schema.field("containers").unwrap();
        assert_eq!((containers.merge, containers.retain_keys, containers.merge_key), (true, false, Some("name")));
        let volumes = spec.schema.field("volumes").unwrap();
        assert_eq!((volumes.merge, volumes.retain_keys, volumes.merge_key), (true, true, Some("name")));
        let tolerations = spec.schema.field("tolerations").unwrap();
        assert!(!tolerations.merge);
        let node_selector = spec.schema.field("nodeSelector").unwrap();
        assert_eq!(node_selector.schema.name(), "map");
        let error = |schema: &dyn PatchSchema, name: &str| schema.field(name).err().unwrap();
        assert_eq!(
            error(&*spec.schema, "foo"),
            r#"unable to find api field in struct PodSpec for the json field "foo""#
        );
        assert_eq!(
            error(&*node_selector.schema, "a"),
            "merging an object in json but data type is not struct, instead is: map"
        );
    }
}
